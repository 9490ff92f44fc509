"""Packages whose functions and classes read nothing that changes between two calls."""

import operator
import sys
import types
from pathlib import PurePath
from weakref import WeakKeyDictionary

#: Packages of which that is known.
PACKAGES = ("jaxspin", "jax", "jaxlib", "numpy", "equinox", "optax", "optimistix", "lineax")


class Unidentified(Exception):
    """Error: no digest exists, as a constant is being traced or a part has no known trace."""


def is_trusted_class(kind: type) -> bool:
    """Tell if a class and all of its present methods are of trusted packages."""
    if not is_trusted(kind):
        return False
    bases = list(map(vars, kind.__mro__))
    present = [attribute for base in bases for attribute in base.values()]
    if _is_unchanged(_found_trusted.get(kind, ()), present):
        return True
    trusted = all(
        is_trusted_attribute(attribute)
        for base in bases
        for name, attribute in base.items()
        if name == "__call__" or not name.startswith("__")
    )
    if trusted:
        _found_trusted[kind] = present
    return trusted


#: Classes that were found trusted, with the attributes that they had then.
_found_trusted: WeakKeyDictionary[type, list] = WeakKeyDictionary()


def _is_unchanged(known, present: list) -> bool:
    return len(known) == len(present) and all(map(operator.is_, known, present))


def is_trusted_attribute(attribute: object) -> bool:
    """Tell if an attribute of a class is no function, or one of a trusted package."""
    if isinstance(attribute, property):
        attribute = attribute.fget
    return not callable(attribute) or is_trusted(attribute)


def is_trusted(value: object) -> bool:
    """Tell if a function, class or object reads nothing that changes between two calls."""
    if isinstance(value, types.MethodType):
        return is_trusted(value.__func__) and is_trusted(value.__self__)
    if isinstance(value, range | slice | frozenset | PurePath):
        return True
    package = package_of(value)
    return package in PACKAGES or (callable(value) and package in sys.stdlib_module_names)


def package_of(value: object) -> str:
    """Return the name of the package that a function, a class or the class of an object is of."""
    module = getattr(value, "__module__", None) or type(value).__module__
    return module.partition(".")[0]
