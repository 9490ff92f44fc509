"""Adaptive refinement: cells of a mesh are halved where the error is, until a tolerance is met.

A null rule (see `cubature`) says how well a cell is resolved along each axis. Halving a cell along
an axis shows what that number was worth, parent against children, and the children inherit this
calibration. The cells with the largest errors are halved along their worst axes, a batch at a
time, for all levels and components at once.
"""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.devices import limited_library
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.tile_sizes import sizes_for
from jaxspin.engine.tolerances import SAME_RULES
from jaxspin.integration.cubature import (
    Boxes,
    CellSum,
    Occupations,
    integrals,
)
from jaxspin.integration.cut_cells import ORDER, UNIT_NODES
from jaxspin.integration.grading import NARROWEST, BoxSet, grade
from jaxspin.integration.integrand import integrand_code
from jaxspin.integration.near_degeneracies import GapSearch, NearDegeneracies
from jaxspin.integration.problem import Problem
from jaxspin.integration.rounds import Rounds, RoundState
from jaxspin.meshes.coordinates import Coordinates
from jaxspin.meshes.mesh import Adaptive
from jaxspin.symmetry.irreducible_zone import IrreducibleZone, ZonePieces
from jaxspin.symmetry.wedge import Wedge
from jaxspin.units import BOLTZMANN


class Refinement(eqx.Module):
    """Final cells of an adaptive integral and their errors."""

    #: Lower corner and widths of each cell in the unit cube of the coordinates, (cell, axis).
    lower: Float[np.ndarray, "L d"]
    width: Float[np.ndarray, "L d"]
    #: Error of each cell in units of the tolerance, that of the worst level and component.
    error: Float[np.ndarray, " L"]
    #: The map from the unit cube to k, and the lattice it refers to.
    coordinates: Coordinates | ZonePieces
    lattice: Float[Array, "d d"] | None
    #: "periodic", "bounded" or "infinite", as that of a mesh.
    domain: str = eqx.field(static=True)
    #: Number of k-points evaluated in all.
    points: int = eqx.field(static=True)
    #: Whether the tolerance was met.
    converged: bool = eqx.field(static=True)

    def nodes(self) -> Float[Array, "d K"]:
        """The k of the cells whose error is not a number, or of all where none is."""
        wrong = ~np.isfinite(self.error)
        chosen = wrong if np.any(wrong) else np.ones_like(wrong)
        d = self.lower.shape[1]
        unit = np.stack(np.meshgrid(*[UNIT_NODES] * d, indexing="ij"), -1).reshape(-1, d)
        u = self.lower[chosen, None] + self.width[chosen, None] * unit
        columns = list(jnp.asarray(u.reshape(-1, d).T))
        return self.coordinates(columns, [jnp.ones(())] * d, self.lattice).k


class Refined(NamedTuple):
    """Sums at each level, (levels, components), their errors, and how they were reached."""

    value: np.ndarray
    error: np.ndarray
    smallest_splitting: float
    refinement: Refinement


def require_known(problem: Problem) -> None:
    """The numbers of a problem are known, on which the cells depend.

    Raises:
        ValueError: the model, mesh or levels are traced.
    """
    if is_traced(problem):
        raise ValueError(
            "Argument `mesh` must be a fixed mesh (Grid, Disk, ...) inside jit, grad and vmap, "
            "but is an Adaptive, whose cells depend on numbers that are not known there. Find out "
            "with Adaptive which fixed mesh is fine enough, and differentiate on that one."
        )


def refine(problem: Problem, wedge: Wedge | IrreducibleZone, rounds: Rounds) -> Refined:
    """Σ_k Σ_m [f(ε_m) W_m + f'(ε_m) W'_m] for every level, cells refined to the tolerance.

    Args:
        wedge: the part of the domain that is summed, once for each of its images.
    """
    observable, model, levels = problem.observable, problem.model, problem.levels
    adaptive, degeneracy = problem.mesh, problem.degeneracy
    evaluate = _Evaluate(observable, model, adaptive, levels, degeneracy, wedge=wedge)
    cells = evaluate.resume(_first_cells(adaptive.mesh, evaluate), rounds)
    cells = _to_tolerance(cells, adaptive, evaluate)
    search = GapSearch(observable, model, adaptive.mesh, levels, degeneracy, wedge=wedge)
    cells, near, resolved = _resolve_gaps(search, cells, adaptive, evaluate)
    sums = _sum_cells(cells, adaptive, evaluate.random)
    value, error, tolerance = (x[evaluate.order] for x in sums)
    merged = np.zeros((1, 1, 1)) if near is None else search.content_of_groups(near)
    hidden = np.sum(merged, axis=0)
    converged = resolved and bool(np.all((error <= tolerance) & (hidden <= tolerance / 2)))
    error = error + hidden
    if not converged and np.all(np.isfinite(error)):
        left = _Left(np.max(error / tolerance), near, merged / tolerance, resolved)
        _warn_of_tolerance(left, adaptive, evaluate.points, search.floor)
    refinement = Refinement(
        cells.lower,
        cells.width,
        np.max(cells.error[:, evaluate.order] / tolerance, axis=(1, 2), initial=0.0),
        evaluate.job.coordinates,
        model.lattice,
        adaptive.domain,
        evaluate.points,
        converged,
    )
    return Refined(value, error, evaluate.splitting, refinement)


def _resolve_gaps(search: GapSearch, cells: "_Cells", adaptive: Adaptive, evaluate: "_Evaluate"):
    """Cells that resolve every near degeneracy as well, these, and whether there were points."""
    if search.observable.smooth or not np.all(np.isfinite(cells.value)):
        return cells, None, True
    near, resolved = search.find(), True
    while resolved and _is_reached(cells, adaptive, evaluate):
        left = (adaptive.max_points - evaluate.points) // evaluate.nodes
        chosen, boxes = grade(search, near, cells.boxes, left)
        if not len(chosen):
            break
        resolved = evaluate.count_points(boxes) <= left * evaluate.nodes
        if resolved:
            fresh = _make_cells(boxes, evaluate)
            cells = _to_tolerance(cells.without(chosen).and_(fresh), adaptive, evaluate)
    return cells, near, resolved


def _is_reached(cells: "_Cells", adaptive: Adaptive, evaluate: "_Evaluate") -> bool:
    _, error, tolerance = _sum_cells(cells, adaptive, evaluate.random)
    return bool(np.all(error <= tolerance))


def _to_tolerance(cells: "_Cells", adaptive: Adaptive, evaluate: "_Evaluate") -> "_Cells":
    """The cells, halved where their error is until the tolerance or the end of points is met."""
    _, error, tolerance = _sum_cells(cells, adaptive, evaluate.random)
    while np.all(np.isfinite(error)) and np.any(error > tolerance):
        chosen, axes = _choose_worst(cells, np.any(error > tolerance, axis=1), tolerance)
        number = _count_affordable(
            adaptive.max_points - evaluate.points, cells, chosen, axes, evaluate
        )
        chosen, axes = chosen[:number], axes[:number]
        if number == 0:
            break
        cells = _halve_cells(cells, chosen, axes, evaluate)
        _, error, tolerance = _sum_cells(cells, adaptive, evaluate.random)
        evaluate.end_round(cells, float(np.max(error / tolerance)))
    return cells


@dataclass
class _Cells:
    """The cells at one stage. Levels and components are the last two axes where they are there."""

    lower: np.ndarray  # (cell, axis)
    width: np.ndarray  # (cell, axis)
    turn: np.ndarray  # (cell,): the last axis spans the full turn
    exact: np.ndarray  # (cell,): ... and was found to need no more nodes
    value: np.ndarray  # (cell, level, component)
    error: np.ndarray  # (cell, level, component)
    drift: np.ndarray  # (cell, level, component): its share of what the last halving changed
    null: np.ndarray  # (cell, axis, level): largest null rule over components, calibrated
    worth: np.ndarray  # (cell, axis, level): the calibration in it

    @property
    def boxes(self) -> BoxSet:
        return BoxSet(self.lower, self.width, self.turn, self.exact)

    def select(self, index) -> "_Cells":
        return _Cells(**{name: x[index] for name, x in vars(self).items()})

    def without(self, index) -> "_Cells":
        return self.select(np.setdiff1d(np.arange(len(self.lower)), index))

    def and_(self, other: "_Cells") -> "_Cells":
        return _Cells(
            **{name: np.concatenate([x, getattr(other, name)]) for name, x in vars(self).items()}
        )


class _Evaluate:
    """Integrals over any number of cells, in compiled batches of one size; counts the points."""

    def __init__(self, observable, model, adaptive, levels, degeneracy, *, wedge):
        temperatures, mesh = levels.temperatures, adaptive.mesh
        cold = bool(np.any(temperatures == 0))
        warm = np.flatnonzero(temperatures > 0)
        thermal = jnp.asarray(BOLTZMANN * temperatures[warm])
        low, high = map(jnp.asarray, levels.window)
        occupations = Occupations(
            jnp.asarray(levels.mu), thermal, (low, high), cold, observable.moment
        )
        self.job = CellSum(
            observable=observable,
            model=model,
            coordinates=wedge.choose_coordinates(mesh.coordinates),
            infinite=mesh.domain == "infinite",
            occupations=occupations,
            degeneracy=degeneracy,
        )
        self.code = integrand_code(observable, model, mesh, degeneracy)
        block = np.where(temperatures == 0, 0, np.cumsum(temperatures > 0) - 1 + cold)
        #: Where the levels of a result are among those that are summed.
        self.order = (block[:, None] * levels.mu.size + np.arange(levels.mu.size)).ravel()
        #: Which of the levels that are summed are of T = 0.
        self.cold = np.arange(occupations.number) < cold * levels.mu.size
        #: Which of them have cells whose errors are of either sign (`_sum_errors`).
        self.random = self.cold & (mesh.domain == "periodic")
        self.nodes = ORDER**mesh.dimension
        self.points, self.splitting, self.wedge = 0, np.inf, wedge
        self.rounds: Rounds | None = None
        tile = sizes_for(model.matrix_size, True).tile
        size = min(_BATCH_POINTS, _BATCH_TILES * tile) // self.nodes
        self.batch = int(np.clip(size, 4, None))

    def resume(self, cells: _Cells, rounds: Rounds) -> _Cells:
        """The cells of the last round in the checkpoint, or those to start from."""
        self.rounds = rounds
        state = rounds.resume(RoundState(vars(cells), self.points, self.splitting))
        self.points, self.splitting = state.points, state.splitting
        return _Cells(**state.cells)

    def end_round(self, cells: _Cells, error: float) -> None:
        """Show and keep what was reached."""
        if self.rounds is not None:
            self.rounds.add(RoundState(vars(cells), self.points, self.splitting), error)

    def count_points(self, boxes: BoxSet) -> int:
        return self.nodes * (len(boxes.lower) + int(np.sum(boxes.turn & ~boxes.exact)))

    def __call__(self, boxes: BoxSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, null rules (of a full turn: the difference from a turned rule), cut or not."""
        self.points += self.count_points(boxes)
        offset = np.where(boxes.turn, 0.5, -1.0)
        value, null, cut = self._evaluate_batches(boxes.lower, boxes.width, offset)
        again = np.flatnonzero(boxes.turn & ~boxes.exact)
        if len(again):
            turned = np.full(len(again), 0.5 + _TURNED)
            other, *_ = self._evaluate_batches(boxes.lower[again], boxes.width[again], turned)
            null[again, -1] = np.abs(other - value[again])
        return value, null, cut

    def _evaluate_batches(self, lower, width, offset):
        found = []
        for first in range(0, len(lower), self.batch):
            part = slice(first, first + self.batch)
            number = len(lower[part])
            fill = np.minimum(np.arange(self.batch), number - 1)
            boxes = Boxes(*(jnp.asarray(x[part][fill]) for x in (lower, width, offset)))
            with limited_library(self.job.model.matrix_size):
                part = jax.block_until_ready(integrals(self.job, boxes, code=self.code))
            sums = (np.asarray(x)[:number] * self.wedge.images for x in (part.value, part.null))
            found.append([*sums, np.asarray(part.cut)[:number]])
            self.splitting = min(self.splitting, float(part.splitting))
        return tuple(map(np.concatenate, zip(*found, strict=True)))


# Points that are evaluated at once, and the same in tiles of a sum, which a core's caches hold: for
# platinum, 18 bands and 27 components, 500 points take a quarter of the time of 4,000 (each).
_BATCH_POINTS, _BATCH_TILES = 2**12, 8
# A uniform rule turned by this part of its spacing differs in every harmonic it cannot integrate:
# no small multiple of it is near an integer.
_TURNED = 0.382


def _first_cells(mesh, evaluate) -> _Cells:
    """Cells of about as many nodes as the mesh has. An angle starts as one cell of the full turn,
    on which a uniform rule is exact for few harmonics."""
    angle = mesh.coordinates.angular
    counts = [n / ORDER for n in mesh.shape]
    if angle:
        counts[-1] = 1
    lower, width = evaluate.wedge.first_cells(counts)
    turn = np.full(len(lower), angle)
    boxes = BoxSet(lower, width, turn, np.zeros_like(turn))
    return _make_cells(boxes, evaluate)


def _make_cells(boxes: BoxSet, evaluate) -> _Cells:
    """Cells of which nothing is known yet."""
    value, null, _ = evaluate(boxes)
    worth = np.full(null.shape[:3], _UNSEEN)
    return _judge_cells(boxes, value, null, worth, np.zeros_like(value))


# What null rules are taken to be worth before any cell was halved: the curvature of a gap of 10⁻³
# of the bandwidth between the nodes leaves 1/25 of itself to see.
_UNSEEN = 30.0


def _judge_cells(boxes, value, null, worth, drift) -> _Cells:
    """Cells with the error that their null rules and what these are worth say."""
    error = np.einsum("Laec,Lae->Lec", null, worth) + _REMAINS * np.abs(drift)
    size = np.max(np.abs(value), axis=(1, 2))
    harmless = np.max(null[:, -1], axis=(1, 2)) <= SAME_RULES.of(value) * size
    exact = boxes.exact | (boxes.turn & harmless)
    null = null.max(axis=3) * worth
    return _Cells(boxes.lower, boxes.width, boxes.turn, exact, value, error, drift, null, worth)


def _sum_cells(cells: _Cells, adaptive: Adaptive, random: np.ndarray):
    """Value and error (level, component), and the tolerance of each level, (level, 1)."""
    value, error = np.sum(cells.value, axis=0), _sum_errors(cells, random)
    gross = np.max(np.sum(np.abs(cells.value), axis=0), axis=1)
    scale = np.maximum(np.max(np.abs(value), axis=1), _CANCELLED * gross)
    tolerance = np.maximum(adaptive.atol, adaptive.rtol * scale)
    tolerance = np.maximum(tolerance, 10 * np.finfo(value.dtype).eps * gross)
    return value, error, np.maximum(tolerance, _smallest_number(value))[:, None]


def _sum_errors(cells: _Cells, random: np.ndarray):
    """Error of the sum over the cells, (level, component).

    At T = 0 the errors of the cells of a Brillouin zone have either sign, and add up in quadrature;
    what they have in common shows in the sum of what the last halving of each of them changed. At
    T > 0 the few cells that hold the error may all miss the same, and so do all cells around an
    axis of a continuum model, at any temperature.
    """
    together = _TOGETHER * np.abs(np.sum(cells.drift, axis=0))
    quadrature = _DEVIATIONS * np.sqrt(np.sum(cells.error**2, axis=0))
    plain = np.sum(cells.error, axis=0)
    return np.where(random[:, None], np.minimum(plain, quadrature + together), plain)


# Of 18 random metals (benchmarks/metals_tolerance.py, seeds 0 to 11), to 1e-2 and 1e-3, the true
# error was at most 0.36 of the claimed one, and a ninth in the median; the plain sum of the errors
# of all cells is 10 to 30 times larger. Of cells with a kink in common, halving leaves a third of
# what it changed.
_DEVIATIONS = 3.0
_TOGETHER = 0.35
# A level whose cells cancel to less than this part of their sum of magnitudes has no relative
# error: its tolerance is relative to this part.
_CANCELLED = 1e-3
# Cells that hold this part of the error are halved in one round, along every axis whose null rule
# is this part of the largest. With these two, gaps of 0.1 to 5e-4 in the Haldane model took 10,000
# to 29,000 points to 1e-6; values of 0.5 to 0.8 and 0.2 to 0.5 took up to a third more.
_MARKED = 0.6
_COMPARABLE = 0.2


def _choose_worst(cells: _Cells, open_levels, tolerance):
    """The cells that hold most of the error, and along which axes to halve each."""
    score = np.max((cells.error / tolerance)[:, open_levels], axis=(1, 2))
    order = np.argsort(score)[::-1]
    held = np.cumsum(score[order] ** 2)
    chosen = order[: np.searchsorted(held, _MARKED * held[-1]) + 1]
    along = np.max((cells.null[chosen] / tolerance[:, 0])[:, :, open_levels], axis=2)
    along = np.where(cells.width[chosen] > NARROWEST, along, 0)
    axes = (along >= _COMPARABLE * along.max(axis=1, keepdims=True)) & (along > 0)
    possible = np.any(axes, axis=1)
    return chosen[possible], axes[possible]


def _count_affordable(points: int, cells: _Cells, chosen, axes, evaluate) -> int:
    """Number of the chosen cells that can be halved with so many points."""
    turned = cells.turn[chosen] & ~cells.exact[chosen] & ~axes[:, -1]
    each = 2 ** np.sum(axes, axis=1) * (1 + turned) * evaluate.nodes
    return int(np.searchsorted(np.cumsum(each), points, side="right"))


def _halve_cells(cells: _Cells, chosen, axes, evaluate) -> _Cells:
    """The cells with the chosen ones replaced by their halves, whose errors are calibrated."""
    parents = cells.select(chosen)
    boxes = parents.boxes.halve(axes)
    number = 2 ** np.sum(axes, axis=1)
    family = np.repeat(np.arange(len(chosen)), number)
    value, null, cut = evaluate(boxes)
    start = np.concatenate([[0], np.cumsum(number)[:-1]])
    signed = np.add.reduceat(value, start, axis=0) - parents.value  # (cell, level, component)
    change = np.abs(signed)
    expected = np.sum(parents.null * axes[:, :, None], axis=1)  # (cell, level)
    ratio = _SAFETY * change.max(axis=2) / np.maximum(expected, _smallest_number(value))
    ratio = np.where(axes[:, :, None], ratio[:, None], 1.0)
    worth = np.clip(parents.worth * ratio, *_WORTH)[family]
    # The calibration holds where the null rules shrink as those of a smooth integrand do.
    before = (parents.null / parents.worth)[family]
    shrunk = null.max(axis=3) / np.maximum(before, _smallest_number(value))
    doubt = np.where(axes[family][:, :, None], np.clip(_SMOOTH * shrunk, 1.0, 1e6) ** 2, 1.0)
    worth = np.where(worth < 1, np.minimum(1.0, worth * doubt), worth)
    least = np.where(evaluate.cold, _CUT, _CUT_WARM)
    worth = np.where(cut[:, None], np.maximum(worth, least), worth)
    # Part of the change is kept, where the halves are not resolved exactly.
    size = null.max(axis=(1, 3))
    share = size / np.maximum(np.add.reduceat(size, start, axis=0)[family], _smallest_number(size))
    drift = share[:, :, None] * signed[family]
    born = _judge_cells(boxes, value, null, worth, drift)
    return cells.without(chosen).and_(born)


# A null rule is worth twice what it was worth in the cell above, within these limits. That holds if
# it has shrunk to 1/16 (a smooth integrand: 1/32 at each halving); if not, it is worth more, up to
# its whole. In a cell that a Fermi surface of T = 0 cuts it is worth at least a tenth: of the cells
# of random metals the change by the next halving was below 0.4 of the null rules in 90 %, and below
# a hundredth in half of them. Of a thermal step too sharp for the nodes it is worth itself: nothing
# is known of where between the nodes the step is. A tenth of what a halving changed is always left
# over.
_SAFETY = 2.0
_WORTH = (1e-4, 10.0)
_SMOOTH = 16.0
_CUT = 0.1
_CUT_WARM = 1.0
_REMAINS = 0.1


def _smallest_number(array: np.ndarray) -> float:
    return float(np.finfo(array.dtype).tiny)


class _Left(NamedTuple):
    """Remaining error where the tolerance was not met, in units of it."""

    error: float
    #: Near degeneracies, and what those hold that count as one group, (L, level, c).
    near: NearDegeneracies | None
    merged: np.ndarray
    #: Whether there were points to resolve the near degeneracies.
    resolved: bool


def _warn_of_tolerance(left: _Left, adaptive: Adaptive, points: int, floor: float) -> None:
    hidden, near = np.max(left.merged, axis=(1, 2), initial=0.0), left.near
    if near is not None and np.any(hidden > 0.5):
        worst = int(np.argmax(hidden))
        advice = (
            f"Bands {near.band[worst]} and {near.band[worst] + 1} come as close as "
            f"{near.gap[worst]:.1e} eV at k = {near.k[worst]}, where `degeneracy` takes them for "
            f"one group, since its tolerance is {floor:.1e} eV. If they are to count as "
            "two, give `degeneracy=Covariant(...)` a smaller one."
        )
    elif not left.resolved:
        advice = "Near degeneracies of bands are not resolved; a larger `max_points` helps."
    else:
        advice = "A larger `max_points`, a larger `rtol` or a positive temperature helps."
    warn_user(
        f"Adaptive stopped at {points} of at most {adaptive.max_points} k-points with an estimated "
        f"error {left.error:.3g} times the tolerance. The error is in the result. "
        f"{advice}"
    )
