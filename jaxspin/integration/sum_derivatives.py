"""Derivatives of a sum over the tiles of a mesh, forwards along tangents and backwards.

The sum of the derivatives of the tiles is one more loop in either direction, which keeps nothing of
a tile but its term. Backwards the change of H is not known, so that it cannot be checked that it
splits no degenerate bands: where bands are degenerate, or nearly so, the gradient is made of
derivatives along each number.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import Literal
from jaxtyping import Array, Bool, Float, Inexact, PyTree

from jaxspin.band_structure.degeneracy_lifting import refuse_gradient
from jaxspin.band_structure.eigensystem import allow_any
from jaxspin.engine.batches import replace_where
from jaxspin.engine.bilinear import differentiating_backwards
from jaxspin.engine.forward_mode import which_move
from jaxspin.engine.linear_maps import MOST_COLUMNS, LinearMap
from jaxspin.integration.tile_sum import (
    TileSum,
    add_tiles,
    add_weights,
    evaluate_tile,
    prepare_model,
)
from jaxspin.integration.tile_weights import Weighed


class Task(NamedTuple):
    """A sum over one mesh, to be done by the loop over its tiles."""

    job: TileSum
    #: Empty totals, and no extremes.
    start: tuple
    tiles: int
    #: The sums at each level from the totals.
    finish: Callable


def differentiate_sum(
    task_of: Callable[[Any, Callable], Task],
    differentiable: Callable[[Any], Array],
    held: Any,
    tangents: Any,
    like: Float[Array, "*levels c"],
    *,
    members: int,
) -> Float[Array, "*levels c"]:
    """Tangent of a sum over a mesh, a linear map with a transpose of its own.

    Args:
        task_of: (held, check) to the task of the sum.
        differentiable: held to the sum, of operations that JAX differentiates in forward mode.
        held: what the sum depends on.
        tangents: of the structure of `held`, None where it is constant.
        like: an array of the type of the sum.
        members: how many of a batch are computed at once.
    """
    arrays, constants = eqx.partition(held, eqx.is_array)
    known, as_held = jax.tree.flatten(arrays)
    moves = which_move(tangents)

    def split(known):
        return eqx.partition(eqx.combine(jax.tree.unflatten(as_held, known), constants), moves)

    def forward(known, changes):
        moved, fixed = split(known)
        along = jax.tree.unflatten(jax.tree.structure(moved), changes)
        return [jax.jvp(lambda x: differentiable(eqx.combine(x, fixed)), (moved,), (along,))[1]]

    @jax.jit  # so that all numbers are traced, as they are elsewhere
    def pull_back(known, cotangents):
        moved, fixed = split(known)
        return _pull_back(lambda x: task_of(eqx.combine(x, fixed), allow_any), moved, *cotangents)

    def backward(known, cotangents):
        gradient, met, spoilt = pull_back(known, cotangents)
        many = linear_map.number > MOST_COLUMNS
        if not many:
            arguments = known, cotangents
            gradient = replace_where(met.near, linear_map.columns, arguments, gradient)
        return [refuse_gradient(x, met.degenerate & many, spoilt) for x in gradient]

    changes = jax.tree.leaves(tangents)
    types = [tuple(map(jax.typeof, xs)) for xs in (changes, [like])]
    linear_map = LinearMap(forward, backward, types[0], types[1], members)
    return linear_map(known, changes)[0]


class _Met(NamedTuple):
    """What was met on the tiles."""

    #: Whether some bands are near each other, and whether some share a level and must not split.
    near: Bool[Array, ""]
    degenerate: Bool[Array, ""]
    #: Whether no weight is NaN.
    finite: Bool[Array, ""]

    def merge(self, other: "_Met") -> "_Met":
        """What was met on these tiles and on others."""
        near, degenerate = self.near | other.near, self.degenerate | other.degenerate
        return _Met(near, degenerate, self.finite & other.finite)


def _pull_back(task_of: Callable[[Any], Task], moved, cotangent):
    """Cotangents of the arrays that move, what was met, and whether they are NaN without cause."""
    job_of = lambda moved: prepare_model(task_of(moved).job)  # noqa: E731
    task, job = task_of(moved), job_of(moved)
    depends = _find_dependent(job_of, moved)
    moving, pull_job = jax.vjp(lambda moved: eqx.filter(job_of(moved), depends), moved)

    totals, _ = add_tiles(task.job, task.start, 0, task.tiles)  # unused, and gone, but at T = 0
    finish = lambda moved, totals: task_of(moved).finish(totals)  # noqa: E731
    direct, of_totals = jax.vjp(finish, moved, totals)[1](cotangent)

    def term(moving, number):
        here = eqx.combine(moving, job)
        tile, _ = evaluate_tile(here, number)
        return add_weights(here, task.start[0], tile), jax.lax.stop_gradient(_look_at(tile))

    of_job, met = _add_pulled_back(term, task.tiles, moving, of_totals)
    met = met._replace(degenerate=met.degenerate & (not job.observable.group_splitting))
    gradient = jax.tree.leaves(jax.tree.map(jnp.add, direct, pull_job(of_job)[0]))
    wrong = jnp.any(jnp.stack([jnp.any(jnp.isnan(x)) for x in gradient]))
    return gradient, met, wrong & met.finite & ~jnp.any(jnp.isnan(cotangent))


def _add_pulled_back(term: Callable, tiles: int, moving: PyTree[Inexact[Array, "..."]], cotangent):
    """Σ over tiles of the cotangents of what moves in a term, and what was met."""

    def add_tile(number, carry):
        total, met = carry
        with differentiating_backwards():
            _, pull, here = jax.vjp(lambda moving: term(moving, number), moving, has_aux=True)
            (change,) = pull(cotangent)
        return jax.tree.map(jnp.add, total, change), met.merge(here)

    no, yes = jnp.asarray(False), jnp.asarray(True)
    start = jax.tree.map(jnp.zeros_like, moving), _Met(no, no, yes)
    return jax.lax.fori_loop(0, tiles, add_tile, start)


# Bands are near each other if they are closer than this part of the largest energy at some k. Large
# numbers that cancel in the sum over both bands then leave rounding errors, in either direction:
# between a derivative forwards and one backwards 1e-11 of it for splittings of 3e-4 of the
# energies, 3e-9 for splittings of 3e-5.
_NEAR = 5e-4


def _look_at(tile: Weighed) -> _Met:
    """What is met on a tile; the bands of a group share a level."""
    gaps = tile.levels[1:] - tile.levels[:-1]
    near = jnp.any(gaps < _NEAR * jnp.max(jnp.abs(tile.levels), axis=0))
    finite = jnp.stack([~jnp.any(jnp.isnan(w)) for w in tile.weights.values()])
    return _Met(near, jnp.any(gaps == 0), jnp.all(finite))


def _find_dependent(function: Callable, moved) -> PyTree[bool]:
    """Which leaves of the result are arrays that depend on the argument and have a derivative."""
    numbers = lambda moved: jax.tree.leaves(eqx.filter(function(moved), eqx.is_inexact_array))  # noqa: E731
    program = jax.make_jaxpr(numbers)(moved).jaxpr
    moving = set(program.invars)
    for equation in program.eqns:
        if any(x in moving for x in equation.invars if not isinstance(x, Literal)):
            moving.update(equation.outvars)
    flags = (not isinstance(x, Literal) and x in moving for x in program.outvars)
    return jax.tree.map(lambda x: eqx.is_inexact_array(x) and next(flags), function(moved))
