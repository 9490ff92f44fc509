"""Packages of other codes, which are loaded when they are needed."""

from importlib import import_module
from types import ModuleType


def required(name: str, caller: str) -> ModuleType:
    """The package `name`.

    Raises:
        ImportError: it is not installed; the text says how to install it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"`{caller}` needs {name}: pip install {name}") from error
