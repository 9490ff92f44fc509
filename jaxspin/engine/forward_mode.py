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
from jaxtyping import Array, Float


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
    return eqx.partition(primals, which_move(tangents))


def which_move(tangents):
    """Which leaves have a tangent, as a tree of bools."""
    return jax.tree.map(lambda t: t is not None, tangents, is_leaf=lambda t: t is None)


def along_all(function: Callable, primals, tangents) -> tuple[Any, Any]:
    """As `push_forward`, from the derivatives with respect to each number that changes."""
    moved, fixed = _part_moved(primals, tangents)
    value, slopes = along_each(lambda moved: function(*eqx.combine(moved, fixed)), moved)
    return value, change_along(slopes, tangents)


def change_along(slopes, tangents):
    """The change along tangents from the derivatives by each number, on a last axis."""
    changes, _ = ravel_pytree(split_complex(tangents))
    return jax.tree.map(lambda slope: slope @ changes, slopes)


def along_each(function: Callable, moved) -> tuple[Any, Any]:
    """Value of a function of a tree, and its derivatives by each real number, on a last axis."""
    numbers, as_tree = ravel_pytree(split_complex(moved))
    join = lambda numbers: jax.tree.map(join_complex, moved, as_tree(numbers))  # noqa: E731
    return with_slopes(lambda numbers: function(join(numbers)), numbers)


def map_units(function: Callable, like):
    """A function of trees like this one with each real number 1 in turn and the others 0."""
    zeros, as_tree = ravel_pytree(split_complex(jax.tree.map(jnp.zeros_like, like)))
    units = jnp.eye(zeros.size, dtype=zeros.dtype)
    return jax.vmap(lambda unit: function(jax.tree.map(join_complex, like, as_tree(unit))))(units)


def as_cotangent(moved, derivatives: Float[Array, " n"]):
    """Cotangent of a tree from the derivatives of a real number by each number of it.

    JAX transposes dz -> a dx + b dy, z = x + iy, to a - ib.
    """
    found = ravel_pytree(split_complex(moved))[1](derivatives)
    return jax.tree.map(lambda z, x: jnp.conj(join_complex(z, x)).astype(z.dtype), moved, found)


def count_numbers(tree) -> int:
    """Number of real numbers in the arrays of a tree."""
    return sum(x.size for x in jax.tree.leaves(split_complex(tree)))


def with_slopes(function: Callable, at) -> tuple[Any, Any]:
    """Value of a function of a vector, and its derivatives with respect to it along a last axis."""
    along = lambda unit: jax.jvp(function, (at,), (unit,))  # noqa: E731
    return jax.vmap(along, out_axes=(None, -1))(jnp.eye(at.size, dtype=at.dtype))


def split_complex(tree):
    """Split complex arrays of a tree into real and imaginary parts along a new axis."""
    parts = lambda x: jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x  # noqa: E731
    return jax.tree.map(parts, tree)


def join_complex(array, parts):
    """Join the parts that `split_complex` made; complex if `array` is."""
    return jax.lax.complex(*parts) if jnp.iscomplexobj(array) else parts
