"""What is known inside a user's jit is computed there at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.extend.core import get_opaque_trace_state

_OUTSIDE = get_opaque_trace_state()


@contextmanager
def evaluate_eagerly() -> Iterator[None]:
    """Compute at once, inside a user's jit, what depends on nothing that is traced.

    As `jax.ensure_compile_time_eval`, which outside of jit acts on the programs that are traced
    inside: it compiles each of their operations on constants by itself, some dozens a program.
    """
    if get_opaque_trace_state() == _OUTSIDE:
        yield
        return
    with jax.ensure_compile_time_eval():
        yield
