"""What every test shares.

With the annotations of array shapes checked at run time: see CONTRIBUTING.md.
"""

import os

os.environ.setdefault("MPLBACKEND", "agg")

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

#: Wrong on purpose, for the type checker alone (test_typing.py).
collect_ignore = ["typing_mistakes.py"]


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_go():
    """Programs of a file go with it: each maps memory, and the system allows 65,530 mappings."""
    yield
    jax.clear_caches()


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """What is compiled is kept in a folder of the test, not the user's; JAX is left as it was."""
    folder = tmp_path_factory.mktemp("cache")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(folder))
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
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
