"""What every test shares.

With the annotations of array shapes checked at run time: see CONTRIBUTING.md.
"""

import gc
import os

os.environ.setdefault("MPLBACKEND", "agg")

# Tracing makes and keeps many objects: the collector, at its own thresholds, goes through them for
# a twentieth of the time of the tests.
gc.set_threshold(100_000, 20, 50)

# Most of the time of a test is XLA's, for a program that runs once: with little optimisation it
# compiles in less than a third of it. What a test starts inherits this. With programs as users have
# them: `JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS=" " pytest`.
_OPTIMISE_LITTLE = "JAX_DISABLE_MOST_OPTIMIZATIONS"
os.environ.setdefault(_OPTIMISE_LITTLE, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache


def pytest_configure(config):
    """Share what is compiled among the workers of a run, and keep it for the next run.

    JAX knows a program by its code, the options, and the versions of itself and XLA; `pytest
    --cache-clear` empties the folder. What a test starts takes part, by the environment.
    """
    # By `update` too, because a plugin may have imported JAX before.
    jax.config.update("jax_disable_most_optimizations", os.environ[_OPTIMISE_LITTLE] == "1")
    if not config.pluginmanager.has_plugin("cacheprovider"):
        return
    for name, value in (
        ("jax_compilation_cache_dir", str(config.cache.mkdir("compiled"))),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
    ):
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


#: Wrong on purpose, for the type checker alone (test_typing.py).
collect_ignore = ["typing_mistakes.py"]


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_go():
    """Programs of a file go with it: each maps memory, and the system allows 65,530 mappings."""
    yield
    jax.clear_caches()


@pytest.fixture
def optimised():
    """Programs that run for long are compiled as users have them."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", os.environ[_OPTIMISE_LITTLE] == "1")


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """What is compiled is kept in a folder of the test, not the user's; JAX is left as it was."""
    folder = tmp_path_factory.mktemp("cache")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(folder))
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    compilation_cache.reset_cache()
    yield folder / "jaxspin"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same at every run."""
    return np.random.default_rng(20231119)


@pytest.fixture
def unchecked_annotations(request):
    """Skip where annotations are checked: they would refuse a bad argument before its own check."""
    if request.config.getoption("jaxtyping_packages", default=None):
        pytest.skip("annotations are checked first")
