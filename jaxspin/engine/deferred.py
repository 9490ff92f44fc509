"""Imports at first use: libraries that take as long to import as all of the rest together."""

import importlib
from typing import Any


class _Deferred:
    """A module that is imported when it is first asked for something.

    It does not stand in `sys.modules`, so that no other package takes it for imported.
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # asked of any object, by inspection
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)

    def __repr__(self) -> str:
        return f"<module {self._name!r}, imported at its first use>"


def defer_import(name: str) -> Any:
    """Return a module that is imported at its first use, to be written beside

    ```python
    if TYPE_CHECKING:
        import xarray
    else:
        xarray = defer_import("xarray")
    ```
    """
    return _Deferred(name)
