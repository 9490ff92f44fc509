"""Objects in a line of text, with their numbers."""

import dataclasses
import sys
from typing import Any

import equinox as eqx
import numpy as np

from jaxspin.engine.small_matrices import is_traced

_MOST_NUMBERS = 12  # of an array that is written out


def describe_fields(thing: Any) -> str:
    """Write a dataclass as the call that makes it, with its numbers.

    >>> @dataclasses.dataclass
    ... class Box:
    ...     sides: np.ndarray
    >>> describe_fields(Box(np.array([0.5, 2.0])))
    'Box(sides=[0.5, 2])'
    """
    fields = ((field.name, getattr(thing, field.name)) for field in dataclasses.fields(thing))
    shown = (f"{name}={_describe_value(value)}" for name, value in fields)
    return f"{type(thing).__name__}({', '.join(shown)})"


def _describe_value(value: object) -> str:
    if isinstance(value, tuple | list) and any(map(dataclasses.is_dataclass, value)):
        return f"({', '.join(map(_describe_value, value))})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return repr(value)
    if not eqx.is_array(value):
        return repr(value)
    if is_traced(value):
        return f"traced {_type_and_shape(value)}"
    array = np.asarray(value)
    if array.size > _MOST_NUMBERS or array.dtype.kind not in "biufc":
        return _type_and_shape(array)
    numbers = np.array2string(
        array, separator=", ", formatter={"all": "{:.6g}".format}, max_line_width=sys.maxsize
    )
    return " ".join(numbers.split())


def _type_and_shape(array) -> str:
    return f"{array.dtype}{list(array.shape)}"
