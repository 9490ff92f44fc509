"""What every test shares.

With the annotations of array shapes checked at run time: see CONTRIBUTING.md.
"""

import os

os.environ.setdefault("MPLBACKEND", "agg")

import jax
import numpy as np
import pytest

#: Wrong on purpose, for the type checker alone (test_typing.py).
collect_ignore = ["typing_mistakes.py"]


@pytest.fixture(autouse=True, scope="module")
def compiled_programs_go():
    """Programs of a file go with it: each maps memory, and the system allows 65,530 mappings."""
    yield
    jax.clear_caches()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same at every run."""
    return np.random.default_rng(20231119)


@pytest.fixture
def unchecked_annotations(request):
    """Skip where annotations are checked: they would refuse a bad argument before its own check."""
    if request.config.getoption("jaxtyping_packages", default=None):
        pytest.skip("annotations are checked first")
