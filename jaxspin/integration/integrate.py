"""The sum over the points of a mesh, tile by tile.

The mesh is cut into boxes, each small enough for the processor's cache (a tile). A compiled loop
computes the bands of one tile after the other and what they weigh, and adds the weights to the sums
of every level. Nothing else is kept, so memory does not grow with the mesh. Outside of jit the loop
runs in segments of a fraction of a second. Every segment starts from zero and the segments are
added in their order, so that it does not matter which device computed which, or whether the run was
interrupted in between.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxspin.band_structure.degeneracy import Degeneracy
from jaxspin.band_structure.degeneracy_lifting import (
    nan_if_lifted,
    require_finite_derivative,
)
from jaxspin.engine.checkpoint import describe
from jaxspin.engine.devices import limited_library, workers
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.forward_mode import along_all, count_tangents, push_forward
from jaxspin.engine.programs import wide_program
from jaxspin.engine.progress import Bar
from jaxspin.engine.segments import SegmentedRun, Segments
from jaxspin.engine.small_matrices import as_arrays, is_traced
from jaxspin.engine.xla import separate_kernel
from jaxspin.integration.adaptive import Refinement, refine, require_known
from jaxspin.integration.checks import check_finite_sums
from jaxspin.integration.error_estimates import (
    Extremes,
    MeshSums,
    coarser_meshes,
    estimate_error,
    has_fermi_surface,
    is_noisy,
    levels_at_edges,
    no_extremes,
    noise_law,
)
from jaxspin.integration.integrand import describe_code, describe_values, integrand_code
from jaxspin.integration.occupation_sums import OccupationSum, pad_levels, scans
from jaxspin.integration.problem import Problem, Run
from jaxspin.integration.tile_weights import Observed, Weighed, weigh_in_lanes, weigh_points
from jaxspin.integration.tiles import Layout, lay_out, tables_of_rules
from jaxspin.meshes.coordinates import Coordinates
from jaxspin.meshes.mesh import Adaptive, Mesh
from jaxspin.models.base import Model
from jaxspin.models.lifted import Points
from jaxspin.quantities.combine import Averaged, Differentiated
from jaxspin.quantities.observable import Observable, Weights
from jaxspin.symmetry.symmetric import Symmetric
from jaxspin.symmetry.tensors import averaged, mean_over_group
from jaxspin.symmetry.wedge import Wedge, whole_cube


class Sums(eqx.Module):
    """A response summed over a mesh, and what was met on the way."""

    #: The sums at each level, (*levels.shape, components).
    value: Float[Array, "*levels c"]
    #: Their estimated error (see `error_estimates`).
    error: Float[Array, "*levels c"]
    #: Smallest splitting between two degenerate groups met on the mesh, eV; of a downfolded model
    #: also between kept and removed bands.
    smallest_splitting: Float[Array, ""]
    #: Number of coarser meshes that the sums were compared with; absent for an adaptive mesh.
    compared: Int[Array, ""] | None = None
    #: Where the points of an adaptive mesh went.
    refinement: Refinement | None = None


class TileSum(eqx.Module):
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


def integrate(problem: Problem, run: Run = Run()) -> Sums:  # noqa: B008  (immutable)
    """Σ_k Σ_m [f(ε_m) W_m + f'(ε_m) W'_m] for every level, with an error estimate.

    Raises:
        ValueError: a checkpoint that is not of this sum, or of one that is being differentiated;
            numbers that are not finite, with the k and the bands.
        RuntimeError: another process has died or ended (see `distributed`).
    """
    mesh, complete = problem.mesh, average_over_group(problem)
    adaptive = isinstance(mesh, Adaptive) or isinstance(getattr(mesh, "mesh", None), Adaptive)
    if isinstance(mesh, Symmetric) and not adaptive:
        with evaluate_eagerly():  # which nodes are kept is structure
            problem = problem.replace(mesh=mesh.folded(problem.model.lattice))
    if adaptive:
        with evaluate_eagerly():  # cells depend on numbers, which must be known
            sums = _sum_refined(problem, run)
    elif is_traced(problem):
        run.refuse_checkpoint()
        sums = _estimate_errors(problem, problem.weights, complete, _sum_at_once(problem))
    else:
        layout = lay_out(problem, (problem.mesh, *coarser_meshes(problem.mesh)))
        sums = _estimate_errors(
            problem, layout.weights, complete, _sum_in_segments(problem, layout, run)
        )
    check_finite_sums(sums, problem.model, problem.mesh)
    return sums


def average_over_group(problem: Problem) -> Callable[[Array], Array]:
    """Average over the group of a `Symmetric` mesh, for sums over the nodes that it keeps. The
    identity for any other mesh."""
    if not isinstance(problem.mesh, Symmetric):
        return lambda sums: sums
    return averaged(problem.mesh.operations, problem.all_quantities, problem.model.dimension)


def _sum_at_once(problem: Problem) -> MeshSums:
    """As `_sum_in_segments`, in one computation that a derivative goes through."""
    observable = problem.observable
    if observable.smooth and problem.levels.warm:
        problem = problem.observe(Differentiated(observable))
    layout = lay_out(problem, (problem.mesh, *coarser_meshes(problem.mesh)))
    return _sum_both(_Held.of(problem), layout)


@evaluate_eagerly()  # inside a user's jit of other things, once and for all
def _sum_in_segments(problem: Problem, layout: Layout, run: Run) -> MeshSums:
    """The sums over a mesh and coarser ones, in segments of a fraction of a second."""
    mesh, levels = problem.mesh, problem.levels
    meshes = coarser_meshes(mesh)
    about = cache(partial(_describe_run, problem, layout))
    segmented = SegmentedRun(Bar(run.progress, mesh.size), run.checkpoint, about)
    code = integrand_code(problem.observable, problem.model, mesh, problem.degeneracy)
    quietly = lambda stage, other, levels=levels: _sum(  # noqa: E731
        problem.replace(levels=levels), layout, other, _SegmentedSum(stage, segmented, code, layout)
    )
    first, edges = quietly("coarser", meshes[0])
    shown = _SegmentedSum("mesh", segmented, code, layout, points=mesh.size)
    fine, extremes = _sum(problem, layout, mesh, shown)
    metal = has_fermi_surface(extremes, edges, levels, not mesh.fills_cells)
    noisy, coarse = is_noisy(fine, first, metal, levels), [first]
    if np.any(noisy):
        coarse += [quietly(f"coarser {i}", x)[0] for i, x in enumerate(meshes[1:], 1)]
    moved = levels_at_edges(mesh, extremes, edges, levels)
    at_edges = None if moved is None else quietly("edges", meshes[0], moved)[0]
    segmented.finish()
    return MeshSums(fine, coarse, noisy, len(coarse), extremes, edges, at_edges)


def sum_over_meshes(problem: Problem, meshes: Sequence[Mesh]) -> list[tuple[Array, Extremes]]:
    """The sums over several meshes of one domain, without errors, by one compiled program."""
    layout = lay_out(problem, tuple(meshes))
    code = integrand_code(problem.observable, problem.model, meshes[0], problem.degeneracy)
    quiet = _SegmentedSum("", SegmentedRun(Bar(False, 0), None, dict), code, layout)
    return [_sum(problem, layout, mesh, quiet) for mesh in meshes]


@evaluate_eagerly()
def _estimate_errors(
    problem: Problem, weights: Weights, complete: Callable, sums: MeshSums
) -> Sums:
    """Sums over a mesh with their error, from those over coarser meshes."""
    fine, coarse = complete(sums.fine), [complete(one) for one in sums.coarse]
    levels, sums = jax.tree.map(_stop_gradient, (problem.levels, sums))
    at_edges = None if sums.at_edges is None else complete(sums.at_edges)
    frozen = sums._replace(fine=_stop_gradient(fine), coarse=coarse, at_edges=at_edges)
    error = estimate_error(problem.mesh, frozen, levels, noise_law(problem.observable, weights))
    return Sums(fine, error, sums.extremes.splitting, as_arrays(sums.compared)[1][0])


def _sum_refined(problem: Problem, run: Run) -> Sums:
    if run.checkpoint is not None:
        raise ValueError("Argument `checkpoint` must be None for an Adaptive mesh.")
    require_known(problem)
    problem, wedge = _reduce_domain(problem)
    value, error, splitting, refinement = refine(problem, wedge)
    weights, shape = problem.weights, problem.levels.shape
    value, error = (weights.complete(jnp.asarray(x).reshape(*shape, -1)) for x in (value, error))
    return Sums(value, jnp.abs(error), jnp.asarray(splitting), refinement=refinement)


def _reduce_domain(problem: Problem) -> tuple[Problem, Wedge]:
    """The problem on an adaptive mesh, and the part of its domain to sum: by symmetry, for the
    average over the group, whose integral over each image is the same."""
    mesh, model = problem.mesh, problem.model
    if not isinstance(mesh, Symmetric):
        return problem, whole_cube(mesh.dimension)
    mean = mean_over_group(mesh.operations, problem.all_quantities, model.dimension)
    averaged_weights = Averaged(problem.observable, tuple(map(tuple, mean.tolist())))
    return problem.replace(mesh=mesh.mesh).observe(averaged_weights), mesh.wedge(model.lattice)


def _describe_run(problem: Problem, layout: Layout) -> dict[str, str]:
    """Description of a run, in which a checkpoint and other processes must agree."""
    observable, model, mesh = problem.observable, problem.model, problem.mesh
    levels, degeneracy = problem.levels, problem.degeneracy
    return {
        "jaxspin": version("jaxspin"),
        **describe(
            quantity=observable, model=model, mesh=mesh, levels=levels, degeneracy=degeneracy
        ),
        **describe_code(observable, model, mesh, degeneracy),
        **describe_values(observable, model),
        "tile": " x ".join(map(str, layout.box)),
        "tiles in a segment": str(layout.segment),
    }


def _sum(problem: Problem, layout: Layout, mesh: Mesh, add):
    """The sum over `mesh`, and what was met on it; `add` makes the totals of all tiles."""
    task = _prepare_task(problem, layout, mesh)
    totals, extremes = add(task.job, task.start, task.tiles)
    return task.finish(totals), extremes


class _Task(NamedTuple):
    """A sum over one mesh, to be done by the loop over its tiles."""

    job: TileSum
    #: Empty totals, and no extremes.
    start: tuple
    tiles: int
    #: The sums at each level from the totals.
    finish: Callable


def _prepare_task(problem: Problem, layout: Layout, mesh: Mesh) -> _Task:
    levels, shape = problem.levels, layout.weights
    traced, number = is_traced(problem, mesh), levels.mu.size
    padded = levels if traced else pad_levels(levels)  # the user's jit compiles for its own number
    size = math.prod(shape.sea.shape[:-2])
    sea = scans(padded, mesh.fills_cells)
    surface = () if shape.surface is None else scans(padded, mesh.fills_cells, derivative=True)
    plan = tuple(scan for _, scan in (*sea, *surface))
    (nodes, widths, times), counts = tables_of_rules(mesh, layout)
    job = TileSum(
        observable=problem.observable,
        model=problem.model,
        degeneracy=problem.degeneracy,
        window=levels.window,
        plan=plan,
        seas=len(sea),
        coordinates=mesh.coordinates,
        nodes=nodes,
        widths=widths,
        times=times,
        counts=np.asarray(counts),
        box=layout.box,
        rows=layout.rows,
        axes=mesh.axes,
        check=layout.check,
        scalars=layout.sizes.scalars,
    )
    lanes = math.prod(layout.box) if layout.sizes.apart else 1
    totals = tuple(
        scan.start(size, lanes) if traced else scan.start_known(size, lanes) for scan in plan
    )

    def finish(totals):
        finished = [scan.finish(total) for scan, total in zip(plan, totals, strict=True)]
        value = _in_order(sea, finished[: len(sea)])
        if surface:
            value = value + _in_order(surface, finished[len(sea) :])
        return shape.complete(value[:, :number]).reshape(*levels.shape, -1)

    start = totals, no_extremes(shape.sea.shape[-2])
    tiles = -(-mesh.size // layout.box[0]) if layout.rows else math.prod(counts)
    return _Task(job, start, tiles, finish)


class _Held(eqx.Module):
    """A problem for a custom derivative, which traces all arrays that it is given: levels and
    meshes whose numbers are known are hidden in functions, so that they stay known."""

    problem: Problem
    levels: Callable
    mesh: Callable

    @classmethod
    def of(cls, problem: Problem) -> "_Held":
        """Hide what is known of a problem."""
        hidden = (_hide_known(problem.levels), _hide_known(problem.mesh))
        return cls(problem.replace(levels=None, mesh=None), *hidden)

    def release(self) -> Problem:
        """The problem again."""
        return self.problem.replace(levels=self.levels(), mesh=self.mesh())


def _hide_known(tree) -> Callable:
    """A function that gives `tree`, whose numbers stay known: custom derivatives trace arrays."""
    return jax.tree_util.Partial(lambda tree: tree, tree) if is_traced(tree) else lambda: tree


def _plainly_both(held: _Held, layout: Layout) -> MeshSums:
    """The sums over a mesh and coarser ones, in one computation."""
    problem = held.release()
    fine, extremes = _sum(problem, layout, problem.mesh, _at_once)
    frozen = jax.tree.map(_stop_gradient, (problem, fine, extremes))
    return _compare_at_once(layout, *frozen)._replace(fine=fine)


def _stop_gradient(leaf):
    """Cut a leaf off from what is differentiated by; known numbers stay known."""
    return jax.lax.stop_gradient(leaf) if is_traced(leaf) else leaf


def _compare_at_once(layout: Layout, problem: Problem, fine, extremes: Extremes) -> MeshSums:
    """The sums `fine` with those over coarser meshes, one after the other in the same code; over
    one alone where no level is noisy.
    """
    mesh, levels = problem.mesh, problem.levels
    meshes = coarser_meshes(mesh)
    tasks = [_prepare_task(problem, layout, other) for other in meshes]
    where = lambda job: (job.nodes, job.widths, job.times, job.counts)  # noqa: E731
    tables = jax.tree.map(lambda *rows: jnp.stack(rows), *(where(task.job) for task in tasks))
    tiles = jnp.asarray([task.tiles for task in tasks])

    def find_noisy(first, edges):
        metal = has_fermi_surface(extremes, edges, levels, not mesh.fills_cells)
        return is_noisy(fine, first, metal, levels)

    def is_wanted(state):
        number, _, noisy, _ = state
        return (number == 0) | (jnp.any(noisy) & (number < len(meshes)))

    def add_mesh(state):
        number, coarse, noisy, first = state
        job = eqx.tree_at(where, tasks[0].job, jax.tree.map(lambda rows: rows[number], tables))
        totals, edges = _add_tiles(job, tasks[0].start, 0, tiles[number])
        value = tasks[0].finish(totals)
        noisy = jnp.where(number == 0, find_noisy(value, edges), noisy)
        first = jax.tree.map(partial(jnp.where, number == 0), edges, first)
        return number + 1, coarse.at[number].set(value), noisy, first

    empty = jnp.zeros((len(meshes), *fine.shape), fine.dtype)
    start = jnp.asarray(0), empty, jnp.zeros(levels.shape, bool), tasks[0].start[1]
    number, coarse, noisy, first = jax.lax.while_loop(is_wanted, add_mesh, start)
    noisy, number = (x.astype(fine.dtype) for x in (noisy, number))  # only numbers have tangents
    return MeshSums(fine, coarse, noisy, number, extremes, first)


_sum_both = eqx.filter_custom_jvp(_plainly_both)

# A number of the model costs about 1.3 sums in forward mode. Reverse mode costs 50 sums whatever
# their number, two minutes of compilation, and memory in proportion to the mesh.
_FORWARD = 32


@_sum_both.def_jvp
def _both_jvp(primals, tangents):
    if count_tangents(tangents) > _FORWARD:
        return push_forward(_plainly_both, primals, tangents)
    return along_all(_both_to_differentiate, primals, tangents)


def _both_to_differentiate(held: _Held, layout: Layout):
    """The same, with smaller tiles, for the tangents lie beside, and a check after the loop."""
    problem = held.release()
    meshes = problem.mesh, *coarser_meshes(problem.mesh)
    layout = lay_out(problem, meshes, parts=2, check=nan_if_lifted)
    sums = _plainly_both(held, layout)
    return sums._replace(fine=require_finite_derivative(sums.fine))


def _at_once(job: TileSum, start, tiles: int):
    """All tiles in one computation, as a derivative needs it."""
    return _add_tiles(job, start, 0, tiles)


class _SegmentedSum(NamedTuple):
    """All tiles, some thousand k-points at a time, on all devices and processes."""

    stage: str
    run: SegmentedRun
    code: str | None
    layout: Layout
    points: int = 0

    def __call__(self, job: TileSum, start, tiles: int):
        length, fixed = self.layout.segment, self.layout.sizes.fixed

        def prepare_lanes(devices):
            placed = dict.fromkeys(devices, (job, start))
            if tiles > length:  # else the only call puts the arrays where they are wanted
                arrays = _select_arrays((job, start))
                for device in set(devices):
                    placed[device] = eqx.combine(jax.device_put(arrays, device), (job, start))

            def sum_segment(first, device):
                count = length if fixed else np.asarray(min(length, tiles - first))
                with jax.default_device(device), limited_library(self.layout.matrix_size):
                    where = np.asarray(first), count
                    part = _run_tiles(*placed[device], *where, code=self.code)
                    return jax.block_until_ready(part)

            return sum_segment

        segments = Segments(
            range(0, tiles, length),
            self.points,
            workers(self.layout.matrix_size),
            prepare_lanes,
            add=_merge_totals,
            merge=_merge_totals,
        )
        return self.run.add_segments(self.stage, segments, start)


def _select_arrays(tree):
    return eqx.filter(tree, eqx.is_array)


def _merge_totals(a, b):
    (sums_a, extremes_a), (sums_b, extremes_b) = a, b
    xp, _ = as_arrays(*sums_a, *sums_b)
    return jax.tree.map(xp.add, sums_a, sums_b), extremes_a.merge(extremes_b)


def _add_tiles(job: TileSum, totals, first, count):
    """`totals` with the tiles first, ..., first + count - 1 added; those beyond weigh nothing."""
    job = eqx.tree_at(lambda job: job.model, job, job.model.prepared())
    kinds = ["sea"] * job.seas + ["surface"] * (len(job.plan) - job.seas)

    def add_tile(number, carry):
        totals, met = carry
        levels, spread, weights, extremes = _evaluate_tile(job, first + number)
        totals = tuple(
            scan.add(total, levels, spread, weights[kind])
            for scan, kind, total in zip(job.plan, kinds, totals, strict=True)
        )
        return totals, met.merge(extremes)

    return jax.lax.fori_loop(0, count, add_tile, totals)


_run_tiles = wide_program(_add_tiles)


def _evaluate_tile(job: TileSum, number):
    """Levels, spreads and weights of the bands on one tile, and the extremes there."""
    (u, widths, times), inside = (_cut_row if job.rows else _cut_box)(job, number)
    cells = any(scan.fills_cells for scan in job.plan)

    @separate_kernel
    def map_nodes(*box):
        return _map_nodes(job, inside, cells, box)

    k, weight, edges = map_nodes(u, widths, times)
    product = not job.rows and len(job.axes) == len(job.box)
    box = [x.reshape(-1) for x in u] if product and job.coordinates.periodic else None
    observed = Observed(job.observable, job.model, job.degeneracy, job.window)
    weigh = weigh_in_lanes if job.scalars else weigh_points
    weighed = weigh(observed, Points(k, box), (weight, edges), job.check)
    return *weighed[:3], jax.lax.stop_gradient(_find_extremes(weighed, weight != 0))


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


def _in_order(plan, finished: list) -> Float[Array, "t e c"]:
    """The results of several scans, put back in the order of the temperatures."""
    order = np.concatenate([np.asarray(indices) for indices, _ in plan])
    xp, arrays = as_arrays(*finished)
    return xp.concatenate(arrays)[np.argsort(order)]
