"""Snapshots of what a user's Python code reads, by which its trace is known again.

What JAX traces of a function depends on the code and on what the code reads: module globals,
closures, default arguments, attributes of classes and objects. A snapshot holds all of that by
value, at the cost of some hundred look-ups where a trace takes milliseconds. It is careful rather
than clever: of code that may read anything else (files, random numbers, the clock, names made at
run time) there is no snapshot, and such code is traced at each call.
"""

import builtins
import dataclasses
import dis
import enum
import functools
import hashlib
import sys
import types
from collections.abc import Hashable, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.core
import numpy as np

from jaxspin.engine.trusted import (
    PACKAGES,
    Unidentified,
    is_trusted,
    is_trusted_attribute,
    package_of,
)

#: Modules of Python whose functions read nothing that changes.
_PURE = (
    *("math", "cmath", "functools", "itertools", "operator", "enum", "typing", "dataclasses"),
    *("abc", "collections", "fractions", "numbers", "types", "builtins", "_operator"),
)
_CONSTANT = (*PACKAGES, *_PURE)
#: Names that stand for what a snapshot does not see.
_UNSEEN = {
    *("eval", "exec", "open", "input", "globals", "locals", "vars", "getattr", "id", "__import__"),
    *("__dict__", "__builtins__", "random", "rand", "randn", "default_rng", "RandomState"),
    *("load", "loadtxt", "genfromtxt", "fromfile", "memmap", "pure_callback", "io_callback"),
}


def take_snapshot(part: Any) -> Hashable:
    """Everything that the code of a module reads, by value; of its own arrays only the types.

    Raises:
        Unidentified: the code may read what no snapshot holds.
    """
    return _Reader().read_part(part)


class _Same:
    """An object that equals itself alone, and lives as long as the snapshot."""

    def __init__(self, thing: object):
        self._thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._thing is other._thing

    def __hash__(self) -> int:
        return id(self._thing)


class _Reader:
    """One snapshot: objects that are met again stand for themselves."""

    def __init__(self):
        self._met: dict[int, int] = {}
        self._kept: list[object] = []  # so that no other object gets the address of one met

    def read_part(self, part: Any) -> Hashable:
        """A module whose arrays are variables."""
        arrays, rest = eqx.partition(part, eqx.is_array)
        types_of_arrays = tuple((x.shape, x.dtype) for x in jax.tree.leaves(arrays))
        return jax.tree.structure(arrays), types_of_arrays, self.read(rest)

    def read(self, value: Any) -> Hashable:
        """Value of an object that code reads."""
        kind = type(value)
        if value is None or kind in (bool, int, str, bytes, float, complex):
            return kind, repr(value)
        if eqx.is_array(value):
            return _read_array(value)
        if id(value) in self._met:
            return "met", self._met[id(value)]
        self._met[id(value)] = len(self._met)
        self._kept.append(value)
        if kind in (tuple, list):
            return kind, tuple(map(self.read, value))
        if kind in (set, frozenset):
            return kind, frozenset(map(self.read, value))
        if kind in (dict, types.MappingProxyType):
            return kind, tuple((self.read(k), self.read(v)) for k, v in value.items())
        return self._read_object(value)

    def _read_object(self, value: Any) -> Hashable:
        if isinstance(value, types.FunctionType):
            return self._read_function(value)
        if isinstance(value, type):
            return self._read_class(value)
        if isinstance(value, types.ModuleType):
            return self._read_module(value, ())
        if isinstance(value, enum.Enum | np.dtype | np.ufunc):
            return _Same(value)
        if isinstance(value, range | slice | PurePath):
            return repr(value)
        if isinstance(value, property):
            return "property", self.read(value.fget)
        if isinstance(value, staticmethod | classmethod | types.MethodType):
            owner = getattr(value, "__self__", None)
            return type(value), self.read(value.__func__), self.read(owner)
        if isinstance(value, functools.partial):
            return "partial", self.read([value.func, value.args, value.keywords])
        if isinstance(value, functools.cached_property):
            return "cached", self.read(value.func)
        return self._read_instance(value)

    def _read_function(self, function: types.FunctionType) -> Hashable:
        if package_of(function) in _CONSTANT:
            return _Same(function)
        code = function.__code__
        if code.co_filename == "<string>" and code.co_name in _GENERATED:  # of a dataclass
            return _Same(code)
        names = _find_names(code)
        cells = [_cell_contents(cell) for cell in function.__closure__ or ()]
        return (
            _Same(code),
            self.read([function.__defaults__, function.__kwdefaults__, *cells]),
            tuple(self._read_global(function, name, names.attributes) for name in names.globals),
        )

    def _read_global(self, function: types.FunctionType, name: str, attributes) -> Hashable:
        if name in function.__globals__:
            value = function.__globals__[name]
            if isinstance(value, types.ModuleType):
                return self._read_module(value, attributes)
            return self.read(value)
        return _Same(getattr(builtins, name, None))

    def _read_module(self, module: types.ModuleType, attributes) -> Hashable:
        """The attributes of a module that code may ask it for."""
        package = module.__name__.partition(".")[0]
        if package in _CONSTANT:
            return _Same(module)
        if package in sys.stdlib_module_names or "__getattr__" in vars(module):
            raise Unidentified
        if id(module) in self._met:
            return "met", self._met[id(module)]
        self._met[id(module)] = len(self._met)
        wanted = [(name, vars(module)[name]) for name in attributes if name in vars(module)]
        read = lambda x: (  # noqa: E731
            self._read_module(x, attributes) if isinstance(x, types.ModuleType) else self.read(x)
        )
        return _Same(module), tuple((name, read(value)) for name, value in wanted)

    def _read_class(self, kind: type) -> Hashable:
        """A class: the attributes of its own and of its bases, but for those of packages."""
        if package_of(kind) in sys.stdlib_module_names and package_of(kind) not in _PURE:
            raise Unidentified
        bases = [base for base in kind.__mro__ if base.__module__ != "builtins"]
        return _Same(kind), tuple(self.read(x) for base in bases for x in _own_attributes(base))

    def _read_instance(self, value: Any) -> Hashable:
        kind = type(value)
        if dataclasses.is_dataclass(value):
            fields = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
            return self.read(kind), self.read(fields)
        if package_of(kind) in _LIBRARY and hasattr(value, "__wrapped__"):  # of jit, custom_jvp
            return _Same(value), self.read(vars(value))
        if callable(value) and package_of(value) in _CONSTANT and not hasattr(value, "__self__"):
            return _Same(value)
        plain = all(base is object or not is_trusted(base) for base in kind.__mro__)
        if not plain or "__getattr__" in vars(kind) or not hasattr(value, "__dict__"):
            raise Unidentified
        return self.read(kind), self.read(vars(value))


_LIBRARY = ("jax", "jaxlib")
_GENERATED = ("__init__", "__repr__", "__eq__", "__hash__")


def _read_array(array: Any) -> Hashable:
    if isinstance(array, jax.core.Tracer):
        raise Unidentified
    if isinstance(array, jax.Array):
        return _Same(array)
    if array.dtype.hasobject:
        raise Unidentified
    return array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).digest()


def _own_attributes(base: type) -> Iterator[Any]:
    """Attributes of a class that code may read; of a class of a package those put in its place."""
    trusted = is_trusted(base)
    for name, value in vars(base).items():
        if trusted and is_trusted_attribute(value):
            continue
        hidden = name.startswith("__") and not isinstance(value, types.FunctionType)
        if not hidden and name != "_abc_impl" and not _is_slot(value):
            yield value


def _is_slot(value: Any) -> bool:
    """Tell if an attribute of a class is a place in its instances."""
    return isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)


class _Names(NamedTuple):
    """Names in the code of a function, those of inner functions included."""

    globals: tuple[str, ...]
    attributes: tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def _find_names(code: types.CodeType) -> _Names:
    """Names that code reads.

    Raises:
        Unidentified: one of them stands for what a snapshot does not see.
    """
    found, attributes = set(), set(code.co_names)
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("IMPORT"):
            raise Unidentified
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found.add(instruction.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names = _find_names(inner)
            found |= set(names.globals)
            attributes |= set(names.attributes)
    if attributes & _UNSEEN:
        raise Unidentified
    return _Names(tuple(sorted(found)), tuple(sorted(attributes)))


def _cell_contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        raise Unidentified from None
