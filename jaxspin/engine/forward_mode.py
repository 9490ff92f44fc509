"""Derivatives with respect to all numbers that change, in forward mode, and their combination.

Reverse mode then goes back through the combination alone, so that it costs no more memory than
forward mode, and meets the same checks of degenerate bands.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree


def push_forward(function: Callable, primals, tangents) -> tuple[Any, Any]:
    """Value of a function at `primals`, and its derivative along `tangents` (None: constant).

    As `equinox.filter_jvp`, which calls what JAX has deprecated, for functions that return arrays.
    """
    moved, fixed = _part_moved(primals, tangents)
    at = lambda moved: function(*eqx.combine(moved, fixed))  # noqa: E731
    value, change = jax.jvp(at, (moved,), (tangents,))
    return value, jax.tree.map(lambda x: None if x.dtype == jax.dtypes.float0 else x, change)


def _part_moved(primals, tangents):
    """The arrays that have a tangent, and the rest."""
    moves = jax.tree.map(lambda t: t is not None, tangents, is_leaf=lambda t: t is None)
    return eqx.partition(primals, moves)


def along_all(function: Callable, primals, tangents) -> tuple[Any, Any]:
    """As `push_forward`, from the derivatives with respect to each number that changes."""
    changes, _ = ravel_pytree(_split_complex(tangents))
    moved, fixed = _part_moved(primals, tangents)
    numbers, as_tree = ravel_pytree(_split_complex(moved))

    def evaluate_at(numbers):
        return function(*eqx.combine(jax.tree.map(_join_complex, moved, as_tree(numbers)), fixed))

    value, slopes = with_slopes(evaluate_at, numbers)
    return value, jax.tree.map(lambda slope: slope @ changes, slopes)


def count_tangents(tangents) -> int:
    """Number of real inputs with a nonzero tangent; `along_all` takes a derivative for each."""
    return sum(x.size for x in jax.tree.leaves(_split_complex(tangents)))


def with_slopes(function: Callable, at) -> tuple[Any, Any]:
    """Value of a function of a vector, and its derivatives with respect to it along a last axis."""
    along = lambda unit: jax.jvp(function, (at,), (unit,))  # noqa: E731
    return jax.vmap(along, out_axes=(None, -1))(jnp.eye(at.size, dtype=at.dtype))


def _split_complex(tree):
    """Split complex arrays of a tree into real and imaginary parts along a new axis."""
    parts = lambda x: jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x  # noqa: E731
    return jax.tree.map(parts, tree)


def _join_complex(array, parts):
    """Join the parts that `_split_complex` made; complex if `array` is."""
    return jax.lax.complex(*parts) if jnp.iscomplexobj(array) else parts
