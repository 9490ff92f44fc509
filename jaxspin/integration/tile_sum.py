"""The sum over the tiles of a mesh: what a tile adds, and the loop over them."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxspin.band_structure.degeneracy import Degeneracy
from jaxspin.engine.record import plain_record
from jaxspin.engine.xla import separate_kernel
from jaxspin.integration.error_estimates import Extremes
from jaxspin.integration.occupation_sums import FermiSum, OccupationSum
from jaxspin.integration.tile_weights import (
    Observed,
    Reduced,
    Weighed,
    reduce_in_one_kernel,
    weigh_in_lanes,
    weigh_points,
)
from jaxspin.meshes.coordinates import Coordinates
from jaxspin.models.base import Model
from jaxspin.models.lifted import Points
from jaxspin.quantities.observable import Observable

# Levels at which means are computed one by one.
_FEW_LEVELS = 2


@plain_record
class TileSum:
    """Everything that is fixed while the tiles of a mesh are summed."""

    observable: Observable
    model: Model
    degeneracy: Degeneracy
    #: Energies below which every state counts as filled, and above which as empty.
    window: tuple[Float[Array, ""], Float[Array, ""]]
    #: How the Fermi sea is accumulated (the first `seas`), and the Fermi surface.
    plan: tuple[OccupationSum, ...]
    seas: int = eqx.field(static=True)
    coordinates: Coordinates
    #: Nodes and widths along each coordinate, filled up with nodes of no width.
    nodes: tuple[Float[Array, " L"], ...]
    widths: tuple[Float[Array, " L"], ...]
    #: How many nodes of the full rule each node stands for.
    times: tuple[Float[Array, " L"], ...]
    #: Number of boxes along each axis; of points where a tile is a row of them.
    counts: Int[Any, " c"]
    #: The sides of a box: a box is a tile.
    box: tuple[int, ...] = eqx.field(static=True)
    #: Whether a tile is a row of points, over the ends of the lines of the mesh, or a box.
    rows: bool = eqx.field(static=True)
    #: Axis of the mesh along which each coordinate runs: the only one of a list of points for all.
    axes: tuple[int, ...] = eqx.field(static=True)
    #: Applied to a change of H that splits degenerate bands: `require_unlifted` or `nan_if_lifted`.
    check: Callable[[Array, Array], Array] = eqx.field(static=True)
    #: Whether each element of a matrix has a lane of its own (`Sizes`).
    scalars: bool = eqx.field(static=True)
    #: Whether means at few levels are one kernel (see `fused`).
    fused: bool = eqx.field(static=True)
    #: Numbers in the bins of lanes that have their own (`Sizes`).
    owned: int = eqx.field(static=True)

    @property
    def few(self) -> FermiSum | None:
        """The only occupations, if they are few levels, on a device where each means lanes."""
        first, *others = self.plan
        if others or not (self.scalars and isinstance(first, FermiSum)):
            return None
        return first if len(first.each) <= _FEW_LEVELS else None


def add_tiles(job: TileSum, totals, first, count):
    """`totals` with the tiles first, ..., first + count - 1 added; those beyond weigh nothing."""
    job, (sums, met) = prepare_model(job), totals

    def add_tile(number, carry):
        opened, met = carry
        tile, extremes = evaluate_tile(job, first + number)
        return add_weights(job, opened, tile), met.merge(extremes)

    points = math.prod(job.box)
    opened = [scan.open(x, points, job.owned) for scan, x in zip(job.plan, sums, strict=True)]
    opened, met = jax.lax.fori_loop(0, count, add_tile, (tuple(opened), met))
    closed = (scan.close(*pair) for scan, *pair in zip(job.plan, sums, opened, strict=True))
    return tuple(closed), met


def prepare_model(job: TileSum) -> TileSum:
    """The job with what its model computes once for all k-points."""
    return eqx.tree_at(lambda job: job.model, job, job.model.prepared())


def add_weights(job: TileSum, totals: tuple[Array, ...], tile: Weighed) -> tuple[Array, ...]:
    """`totals` with the weights of a tile added."""
    if job.few is not None and "levels" in tile.weights:
        return (job.few.add_means(totals[0], tile.weights["levels"]),)
    kinds = ["sea"] * job.seas + ["surface"] * (len(job.plan) - job.seas)
    return tuple(
        scan.add(total, tile.levels, tile.spread, tile.weights[kind])
        for scan, kind, total in zip(job.plan, kinds, totals, strict=True)
    )


def evaluate_tile(job: TileSum, number) -> tuple[Weighed, Extremes]:
    """Levels, spreads and weights of the bands on one tile, and the extremes there."""
    points, nodes = _place_tile(job, number)
    observed = Observed(job.observable, job.model, job.degeneracy, job.window, job.few)
    if job.fused and job.few is not None:
        reduced = reduce_in_one_kernel(observed, points, nodes, job.check)
        if reduced is not None:
            return _as_one_point(reduced)
    weigh = weigh_in_lanes if job.scalars else weigh_points
    weighed = weigh(observed, points, nodes, job.check)
    return weighed, jax.lax.stop_gradient(_find_extremes(weighed, nodes[0] != 0))


def _as_one_point(tile: Reduced) -> tuple[Weighed, Extremes]:
    """What is summed over a tile already."""
    levels, weights = tile.lowest[:, None], {"levels": tile.means[..., None]}
    weighed = Weighed(levels, jnp.zeros_like(levels), weights, tile.splitting[None])
    return weighed, Extremes(tile.splitting, tile.lowest, tile.highest)


def _place_tile(job: TileSum, number):
    """The points of a tile, their weights and, where cells are filled, edges of their cells."""
    (u, widths, times), inside = (_cut_row if job.rows else _cut_box)(job, number)
    cells = any(scan.fills_cells for scan in job.plan)

    @separate_kernel
    def map_nodes(*box):
        return _map_nodes(job, inside, cells, box)

    k, weight, edges = map_nodes(u, widths, times)
    product = not job.rows and len(job.axes) == len(job.box)
    box = [x.reshape(-1) for x in u] if product and job.coordinates.periodic else None
    return Points(k, box), (weight, edges)


def _find_extremes(tile: Weighed, inside: Bool[Array, " K"]) -> Extremes:
    """Extremes on the nodes that are inside the mesh."""
    return Extremes(
        jnp.min(jnp.where(inside, tile.splitting, jnp.inf)),
        jnp.min(jnp.where(inside, tile.levels, jnp.inf), axis=-1),
        jnp.max(jnp.where(inside, tile.levels, -jnp.inf), axis=-1),
    )


def _map_nodes(job: TileSum, inside, cells: bool, box):
    """k, weights and, where cells are filled, edges of the points of a box."""
    u, widths, times = box
    nodes = job.coordinates(u, widths, job.model.lattice)
    weight = nodes.weight * math.prod(times)
    flat = lambda x, axes: x.reshape(*x.shape[:axes], -1)  # noqa: E731
    k, weight = flat(nodes.k, 1), jnp.where(inside, flat(weight, 0), 0)
    if not cells:
        return k, weight, None
    edges = flat(nodes.edges, 2)  # those of a list of points are one for all
    return k, weight, jnp.broadcast_to(edges, (*edges.shape[:2], k.shape[-1]))


def _cut_row(job: TileSum, number) -> tuple[tuple[list[Array], ...], Bool[Array, " K"]]:
    """Coordinates, widths and times of a row of points, and which of them are in the mesh."""
    (points,) = job.box
    index = number * points + jnp.arange(points)
    inside, parts = index < jnp.prod(job.counts), {}
    for axis in reversed(range(len(job.counts))):
        index, parts[axis] = index // job.counts[axis], index % job.counts[axis]

    def take_nodes(table, axis):
        if len(table) == 1:  # a number that all nodes share
            return jnp.broadcast_to(table, points)
        return jnp.take(table, parts[axis], mode="clip")

    return _cut_tables(job, take_nodes), inside


def _cut_box(job: TileSum, number) -> tuple[tuple[list[Array], ...], Bool[Array, ""]]:
    """Coordinates, widths and times of the sides of one box, each along its own axis."""
    starts, inside = {}, number < jnp.prod(job.counts)
    for axis in reversed(range(len(job.box))):
        number, place = number // job.counts[axis], number % job.counts[axis]
        starts[axis] = place * job.box[axis]

    def cut_table(table, axis):
        if len(table) > 1:  # else a number that all nodes share
            table = jax.lax.dynamic_slice_in_dim(table, starts[axis], job.box[axis])
        return table.reshape([-1 if i == axis else 1 for i in range(len(job.box))])

    return _cut_tables(job, cut_table), inside


def _cut_tables(job: TileSum, cut: Callable[[Array, int], Array]) -> tuple[list[Array], ...]:
    """The nodes, widths and times of a tile along each coordinate."""
    return tuple(
        [cut(table, axis) for table, axis in zip(tables, job.axes, strict=True)]
        for tables in (job.nodes, job.widths, job.times)
    )
