"""The sum over a mesh: the only code that knows a mesh exists.

The mesh is cut into tiles; a compiled loop computes the bands of one tile, their weights, and
adds them to the sums of every level. Nothing is kept of a tile, so memory does not grow with the
mesh. Outside of jit, the loop runs in segments of a second or so, between which a progress bar
moves.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.adaptive import Refinement, refine
from jaxspin.algebra import is_traced, keep
from jaxspin.levels import Levels, scans
from jaxspin.meshes import Adaptive, Mesh, Nodes
from jaxspin.models.base import number_of_bands
from jaxspin.observables import Observable, Weights
from jaxspin.progress import track
from jaxspin.spectrum import Bands, Degeneracy, group_mean, solve

_TILE_ELEMENTS = 2**15  # complex numbers in one n x n matrix of a tile: half a megabyte
# With mu in a band of Bi2Se3 at T = 0, twice the difference from the coarser mesh, for the worst
# component, was less than the true error in 8 of 320 values (8 meshes, 8 Fermi energies, 5
# components; scale and counts varied). Smooth integrands are far inside.
_SAFETY = 2.0
_SEGMENT = 2**16  # k-points between two looks at the clock


class Sums(eqx.Module):
    """A response summed over a mesh, and what was met on the way."""

    #: The sums at each level, (*levels.shape, components).
    value: Float[Array, "*levels c"]
    #: Their estimated error, twice the difference from the same rule on a coarser mesh.
    error: Float[Array, "*levels c"]
    #: Smallest splitting between two degenerate groups met on the mesh, eV.
    smallest_splitting: Float[Array, ""]
    #: Where the points of an adaptive mesh went.
    refinement: Refinement | None = None


def integrate(
    observable: Observable,
    model,
    mesh: Mesh | Adaptive,
    levels: Levels,
    degeneracy: Degeneracy,
    *,
    progress: bool | None = None,
    label: str = "integrating",
) -> Sums:
    """Σ_k Σ_m [f(ε_m) W_m + f'(ε_m) W'_m] for every level, with an error estimate.

    Args:
        observable: gives the weights W (and W') of each band.
        progress: show a progress bar; None shows it where standard error is a terminal.
    """
    if isinstance(mesh, Adaptive):
        return _refined(observable, model, mesh, levels, degeneracy)
    fine, splitting = _sum(observable, model, mesh, levels, degeneracy, progress, label)
    coarse, _ = _sum(observable, model, mesh.coarser(), levels, degeneracy, False, label)
    return Sums(fine, _SAFETY * jnp.abs(fine - coarse), splitting)


def _refined(observable, model, mesh: Adaptive, levels: Levels, degeneracy) -> Sums:
    value, error, splitting, refinement = refine(observable, model, mesh, levels, degeneracy)
    value, error = (jnp.asarray(x).reshape(*levels.shape, -1) for x in (value, error))
    return Sums(value, error, jnp.asarray(splitting), refinement)


def _sum(observable, model, mesh, levels, degeneracy, progress, label):
    bands = number_of_bands(model)
    shape = _shape_of_weights(observable, model, degeneracy)
    size = math.prod(shape.sea.shape[:-2])
    cells = mesh.domain != "periodic"  # on a uniform grid, points count as points
    sea = scans(levels, cells)
    surface = () if shape.surface is None else scans(levels, cells, derivative=True)
    plan = tuple(scan for _, scan in (*sea, *surface))
    tile = int(np.clip(_TILE_ELEMENTS // bands**2, 32, 2048))
    tiles = -(-mesh.size // tile)
    start = (tuple(scan.start(size) for scan in plan), jnp.asarray(jnp.inf))
    job = (observable, model, mesh, degeneracy, levels.window, plan, len(sea), tile)
    if is_traced(model, mesh, levels, observable):
        totals, splitting = _add_tiles_compiled(*job, start, jnp.asarray(0), tiles)
    else:
        count = min(tiles, -(-_SEGMENT // tile))
        totals = start
        for first in track(range(0, tiles, count), count * tile, mesh.size, label, progress):
            totals = jax.block_until_ready(
                _add_tiles_compiled(*job, totals, jnp.asarray(first), count)
            )
        totals, splitting = totals
    finished = [scan.finish(total) for scan, total in zip(plan, totals, strict=True)]
    value = _in_order(sea, finished[: len(sea)])
    if surface:
        value = value + _in_order(surface, finished[len(sea) :])
    return value.reshape(*levels.shape, size), splitting


def _add_tiles(observable, model, mesh, degeneracy, window, plan, seas, tile, totals, first, count):
    """`totals` with tiles first, ..., first + count - 1 added (tiles past the end add nothing)."""

    low, high = window

    def one(carry, number):
        totals, splitting = carry
        index = number * tile + jnp.arange(tile)
        inside = index < mesh.size
        nodes = mesh.points(jnp.where(inside, index, 0), model.lattice)
        weight = jnp.where(inside, nodes.weight, 0)
        bands = solve(model, nodes.k, degeneracy, observable.spin)
        spread = _spread(bands, nodes)
        bands = bands.settled(low - spread / 2, high + spread / 2)
        weights = observable(bands)
        sea = _flat(weights.sea, weight)
        surface = None if weights.surface is None else _flat(weights.surface, weight)
        totals = tuple(
            scan.add(total, bands.levels, spread, sea if i < seas else surface)
            for i, (scan, total) in enumerate(zip(plan, totals, strict=True))
        )
        closest = jnp.min(jnp.where(bands.same, jnp.inf, jnp.abs(bands.gap)))
        return (totals, jnp.minimum(splitting, jax.lax.stop_gradient(closest))), None

    return jax.lax.scan(one, totals, first + jnp.arange(count))[0]


_add_tiles_compiled = eqx.filter_jit(_add_tiles)


def _spread(bands: Bands, nodes: Nodes) -> Float[Array, "n K"]:
    """How much each energy varies over the cell of its point: root sum of squares over edges."""
    velocity = jnp.einsum("immK->imK", bands.velocity).real
    velocity = jax.vmap(group_mean, in_axes=(0, None))(velocity, bands.same)
    return jnp.sqrt(jnp.sum(jnp.einsum("ciK,imK->cmK", nodes.edges, velocity) ** 2, axis=0))


def _flat(weights: Float[Array, "*c n K"], weight: Float[Array, " K"]) -> Float[Array, "c n K"]:
    return keep(weights * weight).reshape(-1, *weights.shape[-2:])


def _in_order(plan, finished: list[Array]) -> Float[Array, "t e c"]:
    """The results of several scans, put back in the order of the temperatures."""
    order = np.concatenate([np.asarray(indices) for indices, _ in plan])
    return jnp.concatenate(finished)[np.argsort(order)]


def _shape_of_weights(observable, model, degeneracy) -> Weights:
    """The shapes of the weights of an observable, without computing them."""
    k = jax.ShapeDtypeStruct((model.dimension, 1), jnp.result_type(float))
    return eqx.filter_eval_shape(
        lambda k: observable(solve(model, k, degeneracy, observable.spin)), k
    )
