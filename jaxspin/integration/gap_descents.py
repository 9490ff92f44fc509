"""Descents along the gap between two neighbouring bands to where it is smallest.

A Gauss-Newton step goes to where the gap closes: with H the matrix of the energies and V_a the
slopes, both without trace and restricted to the two bands (or to two degenerate groups, one above
the other),

    δk = -M⁻¹ b,  M_ab = Tr V_a V_b,  b_a = Tr V_a H.

That is exact for a Dirac or a Weyl cone; elsewhere the step is damped until the gap decreases
(Levenberg-Marquardt). Only H(k) and its slopes are compiled. What the descents of a model find is
kept, for the sums over other meshes ask for it again.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from jaxspin.engine.eigensolvers import eigh_of_few
from jaxspin.engine.programs import known_by_identity, plain_program, program
from jaxspin.engine.small_matrices import dagger, diagonal_of_product, matmul
from jaxspin.engine.tolerances import NO_GAP
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.lifted import Points
from jaxspin.symmetry.orbits import Matrix

_SolveBands = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class NearDegeneracies(NamedTuple):
    """Local minima of the gap between band `band` and the next one."""

    #: Wave vectors, 1/Å, and their coordinates in the unit cube of the mesh.
    k: Float[np.ndarray, "L d"]
    u: Float[np.ndarray, "L d"]
    band: Int[np.ndarray, " L"]
    #: Energy of the band, and the gap above it, eV.
    energy: Float[np.ndarray, " L"]
    gap: Float[np.ndarray, " L"]
    #: gap² grows by q·stiffness·q at a small distance q, eV² Å².
    stiffness: Float[np.ndarray, "L d d"]
    #: Number of equivalent places, of which this is one.
    images: Int[np.ndarray, " L"]

    @classmethod
    def none(cls, dimension: int) -> "NearDegeneracies":
        """No near degeneracy."""
        k, one = np.zeros((0, dimension)), np.zeros(0)
        count, stiffness = np.zeros(0, int), np.zeros((0, dimension, dimension))
        return cls(k, k, count, one, one, stiffness, count)

    def select(self, index) -> "NearDegeneracies":
        """Those of the given indices."""
        return NearDegeneracies(*(x[index] for x in self))


class DescentLanes(NamedTuple):
    """Where descents begin, and which of their ends are equivalent."""

    #: Node of `solve_starts` and band of each descent.
    starts: tuple[tuple[int, int], ...]
    #: A group of the model, as matrices on the reduced coordinates of k.
    maps: tuple[Matrix, ...]


@partial(known_by_identity, capacity=8)
def follow_starts(
    model, coordinates, lattice, code: str | None, lanes: DescentLanes
) -> NearDegeneracies:
    """Local minima of the gaps that descents from some nodes and bands find.

    Args:
        code: digest of the user's code that the model and the mesh run.
    """
    start, (node, band) = solve_starts(model, coordinates, lattice), np.array(lanes.starts).T
    zero = start.zero
    solve = lambda k: _diagonalize(*evaluate_matrices(model, k, code))  # noqa: E731
    reach = _STRIDE * longest_edges(start.edges)[node]
    k, energy, gap, stiffness = _descend_gaps(solve, start.k[node], band, reach, zero=zero)
    u = np.asarray(coordinates.inverse(k, lattice))
    inside = np.all((u >= 0) & (u < 1), axis=1) & np.all(np.isfinite(stiffness), axis=(1, 2))
    k = map_cube(coordinates, lattice, u, code)[0]
    images = np.ones(len(k), int)
    found = NearDegeneracies(k, u, band, energy, gap, stiffness, images).select(inside)
    return _keep_distinct(found, lattice, zero, np.array(lanes.maps))


def longest_edges(edges: Float[np.ndarray, "L d d"]) -> Float[np.ndarray, " L"]:
    """The longest edge of each cell, 1/Å."""
    return np.max(np.linalg.norm(edges, axis=2), axis=1)


def _descend_gaps(solve: _SolveBands, k, band, reach, *, zero: float):
    """Local minima of the gaps, from k on: k, energy, gap and stiffness."""
    energy, gap, gradient, matrix, factor = _measure_pair(*solve(k), band)
    k, damping, active = k.copy(), np.full(len(k), _DAMPING), np.ones(len(k), bool)
    for _ in range(_ITERATIONS):
        if not np.any(active):
            break
        i = np.flatnonzero(active)
        step, gain = _damped_step(gradient[i], matrix[i], damping[i], reach[i])
        trial = _measure_pair(*solve(k[i] + step), band[i])
        better = trial[1] < gap[i]
        j = i[better]
        k[j] += step[better]
        for old, new in zip((energy, gap, gradient, matrix, factor), trial, strict=True):
            old[j] = new[better]
        raised = np.maximum(10 * damping[i], _DAMPING)
        damping[i] = np.where(better, 0.1 * damping[i], raised)
        moving = factor[i] * gain > _STATIONARY * gap[i] ** 2
        active[i] = moving & (damping[i] < 1e6) & (gap[i] > zero)
    return k, energy, gap, factor[:, None, None] * matrix


def _keep_distinct(near: NearDegeneracies, lattice, zero: float, maps) -> NearDegeneracies:
    """Each near degeneracy once, and of equivalent ones one, those of the smallest gaps."""
    reciprocal = None if lattice is None else np.asarray(reciprocal_vectors(lattice))
    u = near.k if reciprocal is None else near.k @ np.linalg.inv(reciprocal)
    kept: list[int] = []
    counts: list[int] = []
    for i in np.argsort(near.gap):
        others = [*kept, int(i)]
        away = near.k[others] - near.k[i]
        if reciprocal is None:
            away = away[None]
        else:
            reduced = u[others] - (maps @ u[i])[:, None]
            away = (reduced - np.rint(reduced)) @ reciprocal
        apart = np.einsum("gLa,Lab,gLb->gL", away, near.stiffness[others], away)
        same = apart < (0.3 * np.maximum(near.gap[others], zero)) ** 2
        same &= near.band[others] == near.band[i]
        if not np.any(same[:, :-1]):
            kept.append(int(i))
            counts.append(round(len(same) / max(1, np.sum(same[:, -1]))))
    found = near.select(np.array(kept[:_KEPT], int))
    return found._replace(images=np.array(counts[:_KEPT], int))


# Nodes along each axis from which the search starts, by dimension, and their shifts in units of the
# spacing. H of more than so many bands takes as long as the start itself.
_COUNTS = {1: 48, 2: 24, 3: 10}
_COUNTS_OF_LARGE = {1: 24, 2: 14, 3: 6}
_SMALL = 8
_SHIFTS = (0.382, 0.277, 0.441)
# k-points for which H is computed at once; one program for all. For platinum, 18 bands, H and its
# slopes at 64 take half as long as at 256.
_BATCH = 64
# A step is at most so many spacings of the start.
_STRIDE = 2.0
_ITERATIONS = 60
# Damping of the first step, and the least after one that overshot.
_DAMPING = 1e-3
# A step that is to change gap² by less than this part is the last.
_STATIONARY = 1e-3
# Near degeneracies that are kept.
_KEPT = 48


def evaluate_in_batches(function, k: Float[np.ndarray, "*L d"]):
    """Arrays of function(k), whose k axis is last there and first here, _BATCH k at a time."""
    found, flat = [], k.reshape(-1, k.shape[-1])
    for first in range(0, len(flat), _BATCH):
        part = flat[first : first + _BATCH]
        fill = np.minimum(np.arange(_BATCH), len(part) - 1)
        arrays = function(part[fill].T)
        found.append([np.moveaxis(np.asarray(x), -1, 0)[: len(part)] for x in arrays])
    arrays = map(np.concatenate, zip(*found, strict=True))
    return tuple(x.reshape(*k.shape[:-1], *x.shape[1:]) for x in arrays)


def evaluate_matrices(model, k: Float[np.ndarray, "*L d"], code: str | None):
    """H(k) and its slopes, k first."""
    return evaluate_in_batches(partial(_lift_matrices, model, code=code), k)


def map_cube(coordinates, lattice, u: Float[np.ndarray, "*L d"], code: str | None):
    """k and the weight of volume at coordinates in the unit cube."""
    return evaluate_in_batches(partial(_map_points, coordinates, lattice, code=code), u)


@program
def _lift_matrices(model, k):
    lifted = model.prepared().lift(Points(k))
    return lifted.hamiltonian, lifted.slopes


@plain_program
def _map_points(coordinates, lattice, u):
    return _map_cube(coordinates, lattice, u)


def _map_cube(coordinates, lattice, u):
    """k and the weight of volume at coordinates (d, K) in the unit cube."""
    nodes = coordinates(list(u), [jnp.ones(())] * len(u), lattice)
    return nodes.k, jnp.broadcast_to(nodes.weight, u.shape[1:])


@plain_program
def _solve_places(model, coordinates, lattice, u):
    """k, edges, energies, spread and change of `Starts`, from places (d, 1 + 2d, L) in the unit
    cube: the nodes, and the upper and then the lower ends of the cells along each axis.
    """
    k = _map_cube(coordinates, lattice, u.reshape(len(u), -1))[0].reshape(u.shape)
    upper, lower = jnp.split(k[:, 1:], 2, axis=1)  # (a, i, L)
    edges = jnp.swapaxes(upper - lower, 0, 1)
    lifted = model.prepared().lift(Points(k[:, 0]))
    finite = jnp.all(jnp.isfinite(lifted.hamiltonian), axis=(0, 1))
    energies, basis = eigh_of_few(jnp.where(finite, lifted.hamiltonian, 0))
    velocity = diagonal_of_product(dagger(basis), matmul(lifted.slopes, basis)).real
    spread = jnp.sum(jnp.abs(jnp.sum(edges[:, :, None] * velocity, axis=1)), axis=0)
    change = _bound_changes(lifted.slopes, edges)
    found = k[:, 0], edges, jnp.where(finite, energies, jnp.nan), spread, change
    return [jnp.moveaxis(x, -1, 0) for x in found]


@np.errstate(invalid="ignore")  # slopes need not be finite where bands meet
def _diagonalize(hamiltonian, slopes) -> tuple[np.ndarray, np.ndarray]:
    """Energies, and slopes in the band basis; NaN where H is not finite."""
    energies, basis = _solve_finite(hamiltonian)
    return energies, basis.conj().swapaxes(-1, -2) @ slopes @ basis


def _solve_finite(hamiltonian) -> tuple[Float[np.ndarray, "L n"], Complex[np.ndarray, "L 1 n n"]]:
    """Energies and states; energies are NaN where H is not finite."""
    finite = np.all(np.isfinite(hamiltonian), axis=(1, 2))[:, None]
    energies, basis = np.linalg.eigh(np.where(finite[..., None], hamiltonian, 0))
    return np.where(finite, energies, np.nan), basis[:, None]


def find_periodic_axes(coordinates, dimension: int) -> Bool[np.ndarray, " d"]:
    """Axes along which the unit cube is periodic."""
    wraps = np.full(dimension, coordinates.periodic)
    wraps[-1] |= coordinates.angular
    return wraps


def clip_to_cube(u, wraps):
    """Move coordinates beyond the unit cube into it, along axes that are not periodic."""
    return np.where(wraps, u, np.clip(u, 0, 1 - 1e-9))


class Starts(NamedTuple):
    """The bands at the nodes from which the search starts."""

    u: Float[np.ndarray, "L d"]
    k: Float[np.ndarray, "L d"]
    counts: Int[np.ndarray, " d"]
    #: Edges in k of the cells around the nodes.
    edges: Float[np.ndarray, "L d d"]
    energies: Float[np.ndarray, "L n"]
    #: By how much each energy changes over a cell.
    spread: Float[np.ndarray, "L n"]
    #: By how much the splitting of two bands changes over each edge, at most.
    change: Float[np.ndarray, "L d"]
    #: The gap below which two bands are degenerate to rounding, eV.
    zero: float


@partial(known_by_identity, capacity=4)
@np.errstate(invalid="ignore")
def solve_starts(model, coordinates, lattice) -> Starts:
    """The bands at the nodes from which the search starts, H of all in one program."""
    u, counts = start_nodes(model.dimension, model.matrix_size)
    wraps = find_periodic_axes(coordinates, model.dimension)
    steps = np.diag(0.5 / counts)[:, None]
    ends = [clip_to_cube(u + sign * steps, wraps) for sign in (1, -1)]
    places = np.concatenate([u[None], *ends])  # (1 + 2 axes, L, d)
    k, *found = map(
        np.asarray, _solve_places(model, coordinates, lattice, np.moveaxis(places, -1, 0))
    )
    edges, energies, spread, change = found
    zero = NO_GAP.of(energies) * float(np.nanmax(np.abs(energies)))
    return Starts(u, k, counts, edges, energies, spread, change, zero)


def _bound_changes(
    slopes: Complex[Array, "d n n L"], edges: Float[Array, "d d L"]
) -> Float[Array, "d L"]:
    """By how much the splitting of two bands changes along each edge, at most.

    That is the spread of the eigenvalues of edge·∂H, which is at most √2 times its norm without
    the trace; twice that, as ∂H changes too.
    """
    along = jnp.sum(edges[:, :, None, None] * slopes, axis=1)
    trace = jnp.trace(along, axis1=1, axis2=2)
    squares = jnp.sum(jnp.abs(along) ** 2, axis=(1, 2)) - jnp.abs(trace) ** 2 / along.shape[1]
    return 2 * jnp.sqrt(2 * jnp.maximum(squares, 0))


@cache
def start_nodes(dimension: int, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in the unit cube, at no place that symmetry distinguishes, and counts by axis."""
    few = bands > _SMALL
    counts = np.full(dimension, (_COUNTS_OF_LARGE if few else _COUNTS)[dimension])
    axes = [(np.arange(n) + s) / n for n, s in zip(counts, _SHIFTS, strict=False)]
    u = np.stack([x.ravel() for x in np.meshgrid(*axes, indexing="ij")], axis=1)
    return u, counts


def _measure_pair(energies, slopes, band):
    """Energy of `band`, the gap above it, b and M (see above), and gap²/Tr H²."""
    lane = np.arange(len(band))
    gap = energies[lane, band + 1] - energies[lane, band]
    label = np.cumsum(np.diff(energies, prepend=energies[:, :1]) > _ALIKE * gap[:, None], axis=1)
    index = np.arange(energies.shape[1])
    lower = (label == label[lane, band][:, None]) & (index <= band[:, None])
    upper = (label == label[lane, band + 1][:, None]) & (index > band[:, None])
    chosen = lower | upper
    number = np.sum(chosen, axis=1)
    mean = np.sum(energies * chosen, axis=1) / number
    centred = (energies - mean[:, None]) * chosen
    inside = slopes * (chosen[:, None, :, None] & chosen[:, None, None, :])
    diagonal = np.einsum("Lamm->Lam", inside).real
    gradient = np.einsum("Lam,Lm->La", diagonal, centred)
    trace = diagonal.sum(axis=2)
    matrix = np.einsum("Lamn,Lbnm->Lab", inside, inside).real
    matrix -= trace[:, :, None] * trace[:, None] / number[:, None, None]
    factor = number / (np.sum(lower, axis=1) * np.sum(upper, axis=1))
    return energies[lane, band], gap, gradient, matrix, factor


# Bands closer than this part of the gap move with the pair, as one group.
_ALIKE = 0.25


def _damped_step(gradient, matrix, damping, reach):
    """The damped step, no longer than `reach`, and by how much it is to change Tr H²."""
    dimension = gradient.shape[1]
    size = np.trace(matrix, axis1=1, axis2=2) / dimension + np.finfo(float).tiny
    damped = matrix + (damping * size)[:, None, None] * np.eye(dimension)
    step = -np.linalg.solve(damped, gradient[..., None])[..., 0]
    length = np.linalg.norm(step, axis=1) + np.finfo(float).tiny
    step *= np.minimum(1, reach / length)[:, None]
    return step, -2 * np.sum(gradient * step, axis=1) - np.einsum(
        "La,Lab,Lb->L", step, matrix, step
    )
