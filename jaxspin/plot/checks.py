"""Checks of arguments that several figures share."""

from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.validate import check_type
from jaxspin.responses.response import Response


def check_response(response) -> None:
    """Check that `response` is one Response, of numbers.

    Raises:
        ValueError: it is something else, traced, or several from vmap.
    """
    check_type("response", response, Response, "a jaxspin.Response")
    check_known("response", response)
    if response.value.ndim != len(response.axes):
        raise ValueError(
            f"Argument `response` must be one response with the axes {response.axes}, "
            f"but holds values of shape {response.value.shape}: select one of them first."
        )


def check_known(name: str, value) -> None:
    """Check that what is to be drawn is numbers.

    Raises:
        ValueError: it is being traced.
    """
    if is_traced(value):
        raise ValueError(f"Argument `{name}` must be numbers, but is traced: draw outside jit.")
