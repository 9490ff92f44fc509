"""The sum over the points of a mesh, tile by tile.

The mesh is cut into boxes, each small enough for the processor's cache (a tile). A compiled loop
computes the bands of one tile after the other and what they weigh, and adds the weights to the sums
of every level. Nothing else is kept, so memory does not grow with the mesh. Outside of jit the loop
runs in segments of a fraction of a second. Every segment starts from zero and the segments are
added in their order, so that it does not matter which device computed which, or whether the run was
interrupted in between.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxspin.band_structure.degeneracy_lifting import (
    nan_if_lifted,
    require_finite_derivative,
)
from jaxspin.engine import fused
from jaxspin.engine.batches import in_batches
from jaxspin.engine.checkpoint import describe
from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.devices import limited_library, workers
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.forward_mode import (
    along_each,
    change_along,
    count_numbers,
    push_forward,
    which_move,
)
from jaxspin.engine.programs import wide_program
from jaxspin.engine.progress import Bar
from jaxspin.engine.record import plain_record
from jaxspin.engine.segments import SegmentedRun, Segments
from jaxspin.engine.small_matrices import as_arrays, is_traced
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
from jaxspin.integration.occupation_sums import pad_levels, scans
from jaxspin.integration.problem import Problem, Run
from jaxspin.integration.rounds import follow_rounds
from jaxspin.integration.sum_derivatives import Task, differentiate_sum
from jaxspin.integration.symmetry_checks import has_symmetry, refuse_broken_derivative
from jaxspin.integration.tile_sum import TileSum, add_tiles
from jaxspin.integration.tiles import Layout, lay_out, place_nodes
from jaxspin.meshes.mesh import Adaptive, Mesh
from jaxspin.quantities.combine import Averaged, Differentiated
from jaxspin.quantities.observable import Weights
from jaxspin.symmetry.irreducible_zone import IrreducibleZone
from jaxspin.symmetry.symmetric import Symmetric, fixed_mesh
from jaxspin.symmetry.tensors import average_components, mean_over_group
from jaxspin.symmetry.wedge import Wedge, whole_cube


@plain_record
class Sums:
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
        value = refuse_broken_derivative(sums.value, problem.model, mesh)
        sums = eqx.tree_at(lambda sums: sums.value, sums, value)
    else:
        layout = lay_out(problem, (problem.mesh, *coarser_meshes(problem.mesh)))
        sums = _estimate_errors(
            problem, layout.weights, complete, _sum_in_segments(problem, layout, run)
        )
    check_finite_sums(sums, problem.model, problem.mesh)
    return sums


def average_over_group(problem: Problem) -> Callable[[Array], Array]:
    """Average over the group of a `Symmetric` mesh, for sums over the nodes that it keeps. The
    identity for any other mesh. NaN, value and derivative, where numbers are traced and the model
    does not have the group."""
    mesh, model, several = problem.mesh, problem.model, problem.all_quantities
    if not isinstance(mesh, Symmetric):
        return lambda sums: sums
    average = average_components(mesh.operations, several, model.dimension)
    if not is_traced(model, mesh):
        return average
    kept = has_symmetry(problem.observable, several, model, mesh, problem.degeneracy)
    return lambda sums: average(sums) * jnp.where(kept, 1.0, jnp.nan)


def average_at_each_k(problem: Problem) -> Problem:
    """The problem of the average over the group of a `Symmetric` mesh, which is the same at
    equivalent k. The problem itself for any other mesh."""
    mesh = problem.mesh
    if not isinstance(mesh, Symmetric):
        return problem
    mean = mean_over_group(mesh.operations, problem.all_quantities, problem.model.dimension)
    return problem.observe(Averaged(problem.observable, tuple(map(tuple, mean.tolist()))))


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
    task_of = _prepare_tasks(problem, layout, mesh)

    def add(stage, task, points=0):
        return _sum(task, _SegmentedSum(stage, segmented, code, layout, points))

    first, edges = add("coarser", task_of(meshes[0]))
    fine, extremes = add("mesh", task_of(mesh), mesh.size)
    metal = has_fermi_surface(extremes, edges, levels, not mesh.fills_cells)
    noisy, coarse = is_noisy(fine, first, metal, levels), [first]
    if np.any(noisy):
        coarse += [add(f"coarser {i}", task_of(x))[0] for i, x in enumerate(meshes[1:], 1)]
    moved = levels_at_edges(mesh, extremes, edges, levels)
    at_edges = None
    if moved is not None:
        task_of = _prepare_tasks(problem.replace(levels=moved), layout, mesh)
        at_edges = add("edges", task_of(meshes[0]))[0]
    segmented.finish()
    return MeshSums(fine, coarse, noisy, len(coarse), extremes, edges, at_edges)


def sum_over_meshes(problem: Problem, meshes: Sequence[Mesh]) -> list[tuple[Array, Extremes]]:
    """The sums over several meshes of one domain, without errors, by one compiled program."""
    layout = lay_out(problem, tuple(meshes))
    code = integrand_code(problem.observable, problem.model, meshes[0], problem.degeneracy)
    quiet = _SegmentedSum("", SegmentedRun(Bar(False, 0), None, dict), code, layout)
    return [_sum(task, quiet) for task in map(_prepare_tasks(problem, layout, meshes[0]), meshes)]


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
    require_known(problem)
    problem, wedge = _reduce_domain(problem)
    with follow_rounds(run, partial(_describe_refinement, problem, wedge)) as rounds:
        value, error, splitting, refinement = refine(problem, wedge, rounds)
    weights, shape = problem.weights, problem.levels.shape
    value, error = (weights.complete(jnp.asarray(x).reshape(*shape, -1)) for x in (value, error))
    return Sums(value, jnp.abs(error), jnp.asarray(splitting), refinement=refinement)


def _reduce_domain(problem: Problem) -> tuple[Problem, Wedge | IrreducibleZone]:
    """The problem on an adaptive mesh, and the part of its domain to sum: by symmetry, for the
    average over the group, whose integral over each image is the same."""
    mesh, model = problem.mesh, problem.model
    if not isinstance(mesh, Symmetric):
        return problem, whole_cube(mesh.dimension)
    return average_at_each_k(problem).replace(mesh=mesh.mesh), mesh.wedge(model.lattice)


def _describe_run(problem: Problem, layout: Layout) -> dict[str, str]:
    """Description of a run, in which a checkpoint and other processes must agree."""
    return {
        **_describe_problem(problem),
        "tile": " x ".join(map(str, layout.box)),
        "tiles in a segment": str(layout.segment),
    }


def _describe_refinement(problem: Problem, wedge: Wedge | IrreducibleZone) -> dict[str, str]:
    """The same of a refinement; the wedge follows from a symmetric mesh."""
    return {**_describe_problem(problem), "part of the domain": wedge.describe()}


def _describe_problem(problem: Problem) -> dict[str, str]:
    observable, model, mesh = problem.observable, problem.model, problem.mesh
    levels, degeneracy = problem.levels, problem.degeneracy
    return {
        "jaxspin": version("jaxspin"),
        **describe(
            quantity=observable, model=model, mesh=mesh, levels=levels, degeneracy=degeneracy
        ),
        **describe_code(observable, model, fixed_mesh(mesh), degeneracy),
        **describe_values(observable, model),
    }


def _sum(task: Task, add):
    """The sum over a mesh, and what was met on it; `add` makes the totals of all tiles."""
    totals, extremes = add(task.job, task.start, task.tiles)
    return task.finish(totals), extremes


def _prepare_tasks(problem: Problem, layout: Layout, mesh: Mesh) -> Callable[[Mesh], Task]:
    """The task of each of `mesh` and the coarser ones, which differ in their nodes alone."""
    levels, shape = problem.levels, layout.weights
    traced, number = is_traced(problem), levels.mu.size
    padded = levels if traced else pad_levels(levels)  # the user's jit compiles for its own number
    size = math.prod(shape.sea.shape[:-2])
    choose = partial(scans, padded, mesh.fills_cells, moment=problem.observable.moment)
    sea = choose()
    surface = () if shape.surface is None else choose(derivative=True)
    plan = tuple(scan for _, scan in (*sea, *surface))
    common = TileSum(
        observable=problem.observable,
        model=problem.model,
        degeneracy=problem.degeneracy,
        window=levels.window,
        plan=plan,
        seas=len(sea),
        **place_nodes(mesh, layout),
        box=layout.box,
        rows=layout.rows,
        check=layout.check,
        scalars=layout.sizes.scalars,
        fused=fused.ENABLED and not traced,
        owned=0 if traced else layout.sizes.owned,  # `vmap` would have them for each of a batch
    )
    lanes = math.prod(layout.box) if layout.sizes.apart else 1
    totals = tuple(
        scan.start(size, lanes) if traced else scan.start_known(size, lanes) for scan in plan
    )
    start = totals, no_extremes(shape.sea.shape[-2])

    def finish(totals):
        finished = [scan.finish(total) for scan, total in zip(plan, totals, strict=True)]
        value = _in_order(sea, finished[: len(sea)])
        if surface:
            value = value + _in_order(surface, finished[len(sea) :])
        return shape.complete(value[:, :number]).reshape(*levels.shape, -1)

    def task_of(other: Mesh) -> Task:
        job = dataclasses.replace(common, **place_nodes(other, layout))
        tiles = -(-other.size // layout.box[0]) if layout.rows else math.prod(job.counts)
        return Task(job, start, int(tiles), finish)

    return task_of


@plain_record
class _Held:
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
    fine, extremes = _sum(_prepare_tasks(problem, layout, problem.mesh)(problem.mesh), _at_once)
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
    tasks = list(map(_prepare_tasks(problem, layout, mesh), meshes))
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
        totals, edges = add_tiles(job, tasks[0].start, 0, tiles[number])
        value = tasks[0].finish(totals)
        noisy = jnp.where(number == 0, find_noisy(value, edges), noisy)
        first = jax.tree.map(partial(jnp.where, number == 0), edges, first)
        return number + 1, coarse.at[number].set(value), noisy, first

    empty = jnp.zeros((len(meshes), *fine.shape), fine.dtype)
    start = jnp.asarray(0), empty, jnp.zeros(levels.shape, bool), tasks[0].start[1]
    number, coarse, noisy, first = jax.lax.while_loop(is_wanted, add_mesh, start)
    noisy, number = (x.astype(fine.dtype) for x in (noisy, number))  # only numbers have tangents
    return MeshSums(fine, coarse, noisy, number, extremes, first)


@eqx.filter_custom_jvp
def _sum_both(held: _Held, layout: Layout) -> MeshSums:
    """The same, of a batch of problems some at a time."""
    return in_batches(partial(_plainly_both, layout=layout), layout.members)(held)


# Up to this many numbers a derivative along each of them, 1.3 sums, costs no more than one back,
# 3 sums whatever their number (Bi2Se3), and compiles in half the time.
_FEW = 2


@_sum_both.def_jvp
def _both_jvp(primals, tangents):
    (held, layout), (moved, _) = primals, tangents
    moving, rest = eqx.partition(held, which_move(moved))  # plain floats are no arrays yet
    moving, moved = jax.tree.map(jnp.asarray, (moving, moved))
    held = eqx.combine(moving, rest)
    if count_numbers(moved) <= _FEW:
        traced, known = eqx.partition(held, is_traced)
        sums, slopes = _both_with_slopes(traced, lambda: known, which_move(moved), layout)
        return sums, change_along(slopes, moved)
    sums = _sum_both(held, layout)
    ways = _task_to_differentiate, _differentiable_sum
    change = differentiate_sum(*ways, held, moved, sums.fine, members=layout.members)
    still = jax.tree.map(lambda _: None, sums)
    return sums, eqx.tree_at(lambda x: x.fine, still, change, is_leaf=lambda x: x is None)


def _find_slopes(
    traced: _Held, known: Callable[[], _Held], moves: Any, layout: Layout
) -> tuple[MeshSums, MeshSums]:
    """The same and its derivatives by each real number that moves, on a last axis."""
    moved, fixed = eqx.partition(eqx.combine(traced, known()), moves)
    along = lambda moved: _both_to_differentiate(eqx.combine(moved, fixed), layout)  # noqa: E731
    return along_each(along, moved)


# Of a batch some at a time. A second derivative is one of the operations of the first.
_both_with_slopes = with_derivative(
    partial(push_forward, _find_slopes), members=lambda *arguments: arguments[-1].members
)(_find_slopes)


def _both_to_differentiate(held: _Held, layout: Layout) -> MeshSums:
    """The same, in smaller tiles, with a check after the loop."""
    problem = held.release()
    meshes = problem.mesh, *coarser_meshes(problem.mesh)
    layout = lay_out(problem, meshes, parts=2, check=nan_if_lifted)
    sums = _plainly_both(held, layout)
    return sums._replace(fine=require_finite_derivative(sums.fine))


def _differentiable_sum(held: _Held) -> Float[Array, "*levels c"]:
    """The sum over the mesh, with a check after the loop."""
    task = _task_to_differentiate(held, nan_if_lifted)
    totals, _ = _at_once(task.job, task.start, task.tiles)
    return require_finite_derivative(task.finish(totals))


def _task_to_differentiate(held: _Held, check: Callable[[Array, Array], Array]) -> Task:
    """The sum over the mesh. Its tiles are whole: smaller ones are no faster, and LLVM takes longer
    for the loops over 32 points than for those over 64."""
    problem = held.release()
    meshes = problem.mesh, *coarser_meshes(problem.mesh)
    layout = lay_out(problem, meshes, check=check)
    return _prepare_tasks(problem, layout, problem.mesh)(problem.mesh)


def _at_once(job: TileSum, start, tiles: int):
    """All tiles in one computation, as a derivative needs it."""
    return add_tiles(job, start, 0, tiles)


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


_run_tiles = wide_program(add_tiles)


def _in_order(plan, finished: list) -> Float[Array, "t e c"]:
    """The results of several scans, put back in the order of the temperatures."""
    order = np.concatenate([np.asarray(indices) for indices, _ in plan])
    xp, arrays = as_arrays(*finished)
    return xp.concatenate(arrays)[np.argsort(order)]
