"""Threads of the linear algebra library that compiled programs call on a CPU.

LAPACK solves the matrices of a tile one after the other, each too small to share. The threads of
OpenBLAS wait for their part of it all the same, and waiting costs them a core each: 16³ points of
an 18-band model took 8 to 12 s of processor time with two threads, and 0.5 s with one.
"""

import ctypes
import functools
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

_lock = threading.Lock()
_limits: list[int] = []  # number of threads before each sum that runs now, oldest first


class _Library(NamedTuple):
    """The functions of OpenBLAS that read and set its number of threads."""

    get: Any
    set: Any


@contextmanager
def limit_threads() -> Iterator[None]:
    """Let the library of LAPACK have one thread inside, and as many as before afterwards."""
    library = _find_library()
    if library is None:
        yield
        return
    with _lock:
        _limits.append(library.get())
        library.set(1)
    try:
        yield
    finally:
        with _lock:  # of sums in several threads the last one to end restores the number
            first = _limits[0]
            _limits.pop()
            if not _limits:
                library.set(first)


@functools.cache
def _find_library() -> _Library | None:
    """The OpenBLAS that SciPy brings along, whose LAPACK XLA calls; None for any other library."""
    try:
        package = importlib.import_module("scipy.linalg.cython_lapack").__file__
    except ImportError:
        return None
    root = Path(str(package)).parents[2]
    folders = root / "scipy.libs", root / "scipy" / ".dylibs"
    for path in (path for folder in folders for path in folder.glob("*openblas*")):
        loaded = ctypes.CDLL(str(path))
        for suffix in ("", "64_"):
            names = [f"scipy_openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
            if all(hasattr(loaded, name) for name in names):
                return _Library(*(getattr(loaded, name) for name in names))
    return None
