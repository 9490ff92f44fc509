"""Packages whose functions and classes read nothing that changes between two calls."""

import sys
import types
from pathlib import PurePath

#: Packages of which that is known.
PACKAGES = ("jaxspin", "jax", "jaxlib", "numpy", "equinox", "optax", "optimistix", "lineax")


class Unidentified(Exception):
    """Error: no digest exists, as a constant is being traced or a part has no known trace."""


def is_trusted_class(kind: type) -> bool:
    """Tell if a class and all of its present methods are of trusted packages."""
    if not is_trusted(kind):
        return False
    attributes = (item for base in kind.__mro__ for item in vars(base).items())
    return all(
        is_trusted_attribute(attribute)
        for name, attribute in attributes
        if name == "__call__" or not name.startswith("__")
    )


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
