"""The program of a sum over a mesh as the package makes it for a GPU, captured without one."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxspin.engine import programs


class Found(Exception):
    """The program that was looked for; the call that asked for it need not go on."""


def as_on_gpu():
    """Have the package choose what it chooses on a GPU."""
    return mock.patch.object(jax, "default_backend", return_value="gpu")


def capture_program(call: Callable[[], Any], name: str = "add_tiles") -> tuple[Callable, tuple]:
    """A program that a call runs, the loop over the tiles of a mesh if none is named, and its
    arguments."""

    def run(program, *arguments, code=None):
        if program.__name__ != name:
            return original(program, *arguments, code=code)
        raise Found(program.__wrapped__, arguments)

    original = programs.Program.__call__
    with mock.patch.object(programs.Program, "__call__", run), as_on_gpu():
        try:
            call()
        except Found as found:
            return found.args
    raise ValueError(f"The call runs no program {name}.")


def split_arrays(function: Callable, arguments: tuple) -> tuple[Callable, Any]:
    """A function of its arrays alone, for `jax.jit`, and these or their shapes; the rest are
    constants."""
    is_array = lambda x: eqx.is_array(x) or isinstance(x, jax.ShapeDtypeStruct)  # noqa: E731
    as_array = lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x  # noqa: E731
    arrays, rest = eqx.partition(jax.tree.map(as_array, arguments), is_array)
    return lambda arrays: eqx.filter(function(*eqx.combine(arrays, rest)), eqx.is_array), arrays
