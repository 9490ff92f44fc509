"""Packages of other codes, which are loaded when they are needed."""

from importlib import import_module
from types import ModuleType


def require_package(name: str, caller: str, install: str | None = None) -> ModuleType:
    """Import the package or module `name`; `install` is its name for pip, where that differs.

    Raises:
        ImportError: it is not installed; the text says how to install it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"`{caller}` needs {name}: pip install {install or name}") from error
