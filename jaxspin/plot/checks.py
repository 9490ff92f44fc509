"""Checks of arguments that several figures share."""

import numpy as np

from jaxspin.engine.small_matrices import is_traced
from jaxspin.responses.response import Response


def check_response(response) -> None:
    """Check that `response` is one Response, of numbers.

    Raises:
        ValueError: it is something else, traced, or several from vmap.
    """
    if not isinstance(response, Response):
        raise ValueError(
            "Argument `response` must be a jaxspin.Response, "
            f"but is of type {type(response).__name__}."
        )
    if is_traced(response):
        raise ValueError("Argument `response` must be numbers, but is traced: draw outside jit.")
    if response.value.ndim != len(response.axes):
        raise ValueError(
            f"Argument `response` must be one response with the axes {response.axes}, "
            f"but holds values of shape {response.value.shape}: select one of them first."
        )


def check_number(number) -> None:
    """Check that the `number` of points is an integer above 1.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(number, int | np.integer) or number < 2:
        raise ValueError(f"Argument `number` must be an integer above 1, but is {number!r}.")
