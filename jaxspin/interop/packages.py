"""Packages of other codes, which are loaded when they are needed."""

from importlib import import_module
from types import ModuleType


def required(name: str, caller: str, install: str | None = None) -> ModuleType:
    """The package or module `name`; `install` is what pip calls it, where that is another name.

    Raises:
        ImportError: it is not installed; the text says how to install it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"`{caller}` needs {name}: pip install {install or name}") from error
