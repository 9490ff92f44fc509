"""What is known inside a user's jit is computed there at once."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import ParamSpec, TypeVar

import jax
from jax.extend.core import get_opaque_trace_state

_OUTSIDE = get_opaque_trace_state()
P = ParamSpec("P")
T = TypeVar("T")


class evaluate_eagerly:
    """Compute at once, inside a user's jit, what depends on nothing that is traced.

    As `jax.ensure_compile_time_eval`, which outside of jit acts on the programs that are traced
    inside: it compiles each of their operations on constants by itself, some dozens a program.
    """

    def __enter__(self) -> None:
        outside = get_opaque_trace_state() == _OUTSIDE
        self._inner: AbstractContextManager = (
            nullcontext() if outside else jax.ensure_compile_time_eval()
        )
        self._inner.__enter__()

    def __exit__(self, *error) -> None:
        self._inner.__exit__(*error)

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Decorate a function that is computed so."""

        @wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> T:
            if get_opaque_trace_state() == _OUTSIDE:
                return function(*arguments, **named)
            with jax.ensure_compile_time_eval():
                return function(*arguments, **named)

        return call
