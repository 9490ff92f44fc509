"""Near degeneracies: wave vectors at which the gap between two neighbouring bands is smallest.

The Berry curvature of a narrow gap is as large as (velocity/gap)² on a region as narrow as
gap/velocity, which may lie between all nodes of a mesh. The gap itself is seen from afar. At a node
where it is smaller than at the neighbours a Gauss-Newton step goes to where it closes: with H the
matrix of the energies and V_a the slopes, both without trace and restricted to the two bands (or to
two degenerate groups, one above the other),

    δk = -M⁻¹ b,  M_ab = Tr V_a V_b,  b_a = Tr V_a H.

That is exact for a Dirac or a Weyl cone; elsewhere the step is damped until the gap decreases
(Levenberg-Marquardt). Only H(k) and its slopes are compiled.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Complex, Float, Int

from jaxspin.band_structure.bands import solve_bands
from jaxspin.band_structure.degeneracy import Covariant, Degeneracy
from jaxspin.engine.programs import known_by_value, plain_program, program
from jaxspin.engine.tolerances import NO_GAP
from jaxspin.integration.integrand import integrand_code
from jaxspin.integration.levels import Levels, fermi
from jaxspin.integration.occupation_sums import pad_levels
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.meshes.mesh import Mesh
from jaxspin.models.lifted import Points
from jaxspin.symmetry.wedge import Wedge, whole_cube
from jaxspin.units import BOLTZMANN


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

    @classmethod
    def none(cls, dimension: int) -> "NearDegeneracies":
        """No near degeneracy."""
        k, one = np.zeros((0, dimension)), np.zeros(0)
        return cls(k, k, np.zeros(0, int), one, one, np.zeros((0, dimension, dimension)))

    def select(self, index) -> "NearDegeneracies":
        """Those of the given indices."""
        return NearDegeneracies(*(x[index] for x in self))


class Neighbours(NamedTuple):
    """Pairs of bands at a distance from their near degeneracies, along each axis of a mesh."""

    #: Gap in units of the smallest one, the larger of both directions. About 1 where that is zero
    #: and the gap grows in proportion to the distance, a cone without a scale.
    growth: Float[np.ndarray, "L d"]
    #: Whether a level lies between the two bands, or passes one of them, on the way.
    matters: Bool[np.ndarray, " L"]
    #: The largest distance, 1/Å.
    distance: Float[np.ndarray, " L"]


class GapSearch:
    """The bands of a model at any k of a mesh, and the search for where they come close."""

    def __init__(
        self,
        observable,
        model,
        mesh: Mesh,
        levels: Levels,
        degeneracy: Degeneracy,
        *,
        wedge: Wedge | None = None,
    ):
        self.observable, self.model, self.levels = observable, model, levels
        self.degeneracy = degeneracy
        self.coordinates, self.lattice = mesh.coordinates, model.lattice
        #: Digest of the user's code, which all of the search runs.
        self.code = integrand_code(observable, model, mesh, degeneracy)
        self.wraps = _find_periodic_axes(self.coordinates, mesh.dimension)
        #: The part of the domain whose cells are refined.
        self.wedge = whole_cube(mesh.dimension) if wedge is None else wedge

    def find(self, cell_widths: Callable | None = None) -> NearDegeneracies:
        """Local minima of the gaps of pairs of bands whose occupations can differ.

        Args:
            cell_widths: the widths of the cells of a mesh at points of the unit cube, where minima
                that such cells resolve need not be found.
        """
        start = _solve_starts(self.model, self.coordinates, self.lattice)
        energies, edges, counts = start.energies, start.edges, start.counts
        #: Gaps below these energies are zero to rounding, and to the sum.
        self.zero = NO_GAP.of(energies) * float(np.nanmax(np.abs(energies)))
        self.floor = max(self.zero, float(np.nanmax(self.degeneracy.threshold(energies.T))))
        spread = start.spread
        matters = self._can_matter(
            energies[:, :-1] - spread[:, :-1], energies[:, 1:] + spread[:, 1:]
        )
        gap = np.diff(energies)
        gap = np.where(matters & (gap > self.floor), gap, np.inf)
        place = _find_minima(gap.reshape(*counts, -1), self.wraps)
        if cell_widths is not None:
            at = np.ravel_multi_index(place[:, :-1].T, counts)
            widest = cell_widths(start.u[at]) * counts
            change = start.change[at]
            place = place[~_is_resolved(gap[at, place[:, -1]], change, widest)]
        node, band = _choose_starts(place, counts, self.wraps)
        if not len(node):
            return NearDegeneracies.none(len(counts))
        spacing = np.max(np.linalg.norm(edges, axis=2), axis=1)
        #: Typical distance between the nodes from which the search starts, 1/Å.
        self.spacing = float(np.median(spacing))
        k, *pair = self._descend_gaps(start.k[node], band, _STRIDE * spacing[node])
        u = np.asarray(self.coordinates.inverse(k, self.lattice))
        inside = np.all((u >= 0) & (u < 1), axis=1) & np.all(np.isfinite(pair[-1]), axis=(1, 2))
        found = NearDegeneracies(self.wave_vectors(u), u, band, *pair).select(inside)
        return self._keep_distinct(found)

    def neighbours(self, near: NearDegeneracies, widths, floor: float) -> Neighbours:
        """The pairs at distances of `widths` (L, d) in the unit cube.

        Args:
            floor: gaps below this energy (eV) count as zero.
        """
        steps = np.array([-1, 1])[:, None, None, None] * widths * np.eye(near.u.shape[1])[:, None]
        k = self.wave_vectors(self._in_cube(near.u + steps))
        energies = self._solve_energies(k.reshape(-1, k.shape[-1])).reshape(*k.shape[:-1], -1)
        bands = np.broadcast_to(near.band[:, None], (*k.shape[:-1], 1))
        lower, upper = (np.take_along_axis(energies, bands + i, -1)[..., 0] for i in (0, 1))
        away = k - near.k
        linear = np.einsum("siLa,Lab,siLb->siL", away, near.stiffness, away)
        linear = np.where(near.gap <= floor, np.maximum(linear, 0), 0)  # below 0 by rounding
        least = np.maximum(near.gap, floor) ** 2 + linear
        growth = np.max((upper - lower) / np.sqrt(least), axis=0).T
        matters = self._can_matter(np.min(lower, axis=(0, 1)), np.max(upper, axis=(0, 1)))
        return Neighbours(growth, matters, np.linalg.norm(away, axis=-1).max(axis=(0, 1)))

    def content(self, near: NearDegeneracies, size, least) -> Float[np.ndarray, "L e c"]:
        """Twice ∫|Σ_m f W_m| of each independent component where the gap is narrow.

        Of a massive Dirac cone two thirds of the curvature lie where its gap is below three times
        the smallest.

        Args:
            size: distance up to which to look, 1/Å, (L,).
            least: a gap below this energy (eV) is narrow; one below three times the smallest is in
                any case.
        """
        axes = np.linalg.eigh(near.stiffness)[1]
        half = self._half_widths(near, axes, size, np.maximum(least, 3 * near.gap))
        x = np.random.default_rng(20231119).uniform(-1, 1, size=(_POINTS, near.k.shape[1]))
        k = near.k + np.einsum("Lai,Li,pi->pLa", axes, half, x)
        volume = np.prod(half / np.pi, axis=1)  # 2 half / 2π
        density = self._sample_density(Covariant(jnp.zeros(())), k)
        return np.einsum("pLec,L->Lec", np.abs(density), volume) * (2 / _POINTS)

    def content_of_groups(self, near: NearDegeneracies) -> Float[np.ndarray, "L e c"]:
        """The same of those that the tolerance for degenerate bands hides."""
        hidden = near.gap <= self.floor
        hidden &= self._can_matter(near.energy - self.floor, near.energy + near.gap + self.floor)
        if not np.any(hidden):
            return np.zeros((1, 1, 1))
        content = self.content(near, np.full(len(near.gap), self.spacing), self.floor)
        return np.where(hidden[:, None, None], content, 0)

    def _half_widths(self, near, axes, size, narrow):
        """Distance along each principal axis at which the gap is no longer narrow, (L, d)."""
        scales = size * 0.5 ** np.arange(_HALVINGS)[:, None]  # (j, L)
        away = np.einsum("Lai,jL->jiLa", axes, scales)
        k = np.stack([near.k + away, near.k - away])
        energies = self._solve_energies(k.reshape(-1, k.shape[-1])).reshape(*k.shape[:-1], -1)
        bands = np.broadcast_to(near.band[:, None], (*k.shape[:-1], 1))
        gaps = np.take_along_axis(np.diff(energies), bands, -1)[..., 0].min(axis=0)  # (j, i, L)
        inside = np.sum(np.cumprod(gaps[::-1] <= narrow, axis=0), axis=0)  # scales from below
        return (size * 0.5 ** (_HALVINGS - np.clip(inside + 1, 1, _HALVINGS))).T

    def wave_vectors(self, u: Float[np.ndarray, "*L d"]) -> Float[np.ndarray, "*L d"]:
        """k at coordinates in the unit cube, 1/Å."""
        return self._map_cube(u)[0]

    def _map_cube(self, u):
        """k and the weight of volume at coordinates in the unit cube."""
        return _in_batches(partial(_map_points, self.coordinates, self.lattice, code=self.code), u)

    def sample(self, degeneracy: Degeneracy) -> Float[np.ndarray, "e c"]:
        """The sum over the nodes from which the search starts, with other degenerate groups."""
        k, weight = self._map_cube(_start_nodes(self.model, len(self.wraps))[0])
        return np.einsum("Kec,K->ec", self._sample_density(degeneracy, k), weight) / len(k)

    def _sample_density(self, degeneracy: Degeneracy, k):
        """Σ_m f W_m of each independent component at k, (..., level, c)."""
        padded, number = pad_levels(self.levels), self.levels.mu.size
        levels = padded.mu, padded.temperatures, padded.window
        fixed = self.observable, self.model, levels, degeneracy
        found = _in_batches(partial(_weigh_levels, *fixed, code=self.code), k)[0]
        found = found.reshape(*k.shape[:-1], -1, padded.mu.size, found.shape[-1])
        return found[..., :number, :].reshape(*k.shape[:-1], -1, found.shape[-1])

    def _in_cube(self, u):
        return _clip_to_cube(u, self.wraps)

    def _can_matter(self, lower, upper):
        """True where a level lies between two energies, or a band is filled and that counts."""
        levels, reach = self.levels, _REACH * BOLTZMANN * np.max(self.levels.temperatures)
        mu = np.sort(levels.mu)
        above = np.searchsorted(mu, lower - reach)  # levels below the pair
        below = np.searchsorted(mu, upper + reach, side="right")
        return (below > above) | (self.observable.filled_pairs & (above < len(mu)))

    def _evaluate_matrices(self, k):
        return _in_batches(partial(_lift_matrices, self.model, code=self.code), k)

    def _solve_energies(self, k: Float[np.ndarray, "L d"]) -> Float[np.ndarray, "L n"]:
        hamiltonian, _ = self._evaluate_matrices(k)
        finite = np.all(np.isfinite(hamiltonian), axis=(1, 2))[:, None]
        energies = np.linalg.eigvalsh(np.where(finite[..., None], hamiltonian, 0))
        return np.where(finite, energies, np.nan)

    def _solve_bands(self, k) -> tuple[Float[np.ndarray, "L n"], Complex[np.ndarray, "L d n n"]]:
        """Energies, and ∂H/∂k in the band basis."""
        return _diagonalize(*self._evaluate_matrices(k))

    def _descend_gaps(self, k, band, reach):
        """Local minima of the gaps, from k on: k, gap and stiffness."""
        energy, gap, gradient, matrix, factor = _measure_pair(*self._solve_bands(k), band)
        k, damping, active = k.copy(), np.full(len(k), 1e-3), np.ones(len(k), bool)
        for _ in range(_ITERATIONS):
            if not np.any(active):
                break
            i = np.flatnonzero(active)
            step, gain = _damped_step(gradient[i], matrix[i], damping[i], reach[i])
            trial = _measure_pair(*self._solve_bands(k[i] + step), band[i])
            better = trial[1] < gap[i]
            j = i[better]
            k[j] += step[better]
            for old, new in zip((energy, gap, gradient, matrix, factor), trial, strict=True):
                old[j] = new[better]
            damping[i] *= np.where(better, 0.1, 10)
            moving = factor[i] * gain > _STATIONARY * gap[i] ** 2
            active[i] = moving & (damping[i] < 1e6) & (gap[i] > self.zero)
        return k, energy, gap, factor[:, None, None] * matrix

    def _keep_distinct(self, near: NearDegeneracies) -> NearDegeneracies:
        """Each near degeneracy once, those of the smallest gaps."""
        kept: list[int] = []
        for i in np.argsort(near.gap):
            away = near.k[kept] - near.k[i]
            if self.lattice is not None:
                turns = np.round(away @ np.asarray(self.lattice).T / (2 * np.pi))
                away = away - turns @ np.asarray(reciprocal_vectors(self.lattice))
            apart = np.einsum("La,Lab,Lb->L", away, near.stiffness[kept], away)
            same = apart < (0.3 * np.maximum(near.gap[kept], self.zero)) ** 2
            if not np.any(same & (near.band[kept] == near.band[i])):
                kept.append(int(i))
        return near.select(np.array(kept[:_KEPT], int))


# A peak of width w between nodes a distance h apart is summed with an error of exp(-2π w/h) of it,
# which the comparison with a coarser mesh sees while that is small. Peaks of w < h/4 are looked at.
WIDE = 4.0
# Nodes along each axis from which the search starts, by dimension, and their shifts in units of the
# spacing. H of more than so many bands takes as long as the start itself.
_COUNTS = {1: 48, 2: 24, 3: 10}
_COUNTS_OF_LARGE = {1: 24, 2: 14, 3: 6}
_SMALL = 8
_SHIFTS = (0.382, 0.277, 0.441)
# k-points for which H is computed at once; one program for all.
_BATCH = 256
# A step is at most so many spacings of the start.
_STRIDE = 2.0
_ITERATIONS = 60
# A step that is to change gap² by less than this part is the last.
_STATIONARY = 1e-3
# Energies, in kT, within which a level can tell two bands apart.
_REACH = 30.0
_POINTS = 64  # for the content of a near degeneracy
_HALVINGS = 40
# Descents at once, and near degeneracies that are kept.
_LANES = 256
_KEPT = 48


def _in_batches(function, k: Float[np.ndarray, "*L d"]):
    """Arrays of function(k), whose k axis is last there and first here, _BATCH k at a time."""
    found, flat = [], k.reshape(-1, k.shape[-1])
    for first in range(0, len(flat), _BATCH):
        part = flat[first : first + _BATCH]
        fill = np.minimum(np.arange(_BATCH), len(part) - 1)
        arrays = function(part[fill].T)
        found.append([np.moveaxis(np.asarray(x), -1, 0)[: len(part)] for x in arrays])
    arrays = map(np.concatenate, zip(*found, strict=True))
    return tuple(x.reshape(*k.shape[:-1], *x.shape[1:]) for x in arrays)


@plain_program
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
def _evaluate_nodes(model, coordinates, lattice, u):
    """k of places (d, p, L) in the unit cube; H and its slopes at the first of them."""
    k = _map_cube(coordinates, lattice, u.reshape(len(u), -1))[0].reshape(u.shape)
    lifted = model.prepared().lift(Points(k[:, 0]))
    return k, lifted.hamiltonian, lifted.slopes


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


@program
def _weigh_levels(observable, model, levels, degeneracy, k):
    """Σ_m f(ε_m) W_m of each independent component, (level, c, K)."""
    mu, temperatures, window = levels
    bands = solve_bands(model, k, degeneracy, **observable.needs).restrict_to_window(*window)
    sea = observable(bands).sea.reshape(-1, *bands.levels.shape)
    thermal = BOLTZMANN * jnp.maximum(temperatures, 1e-6)[:, None, None, None]
    f = fermi(bands.levels, mu[:, None, None], thermal)
    return (jnp.einsum("tenK,cnK->tecK", f, sea).reshape(-1, sea.shape[0], k.shape[1]),)


def _find_periodic_axes(coordinates, dimension: int) -> Bool[np.ndarray, " d"]:
    """Axes along which the unit cube is periodic."""
    wraps = np.full(dimension, coordinates.periodic)
    wraps[-1] |= coordinates.angular
    return wraps


def _clip_to_cube(u, wraps):
    return np.where(wraps, u, np.clip(u, 0, 1 - 1e-9))


class _Starts(NamedTuple):
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


@partial(known_by_value, capacity=4)
@np.errstate(invalid="ignore")
def _solve_starts(model, coordinates, lattice) -> _Starts:
    """The bands at the nodes from which the search starts, H of all in one program."""
    u, counts = _start_nodes(model, model.dimension)
    wraps = _find_periodic_axes(coordinates, model.dimension)
    steps = np.diag(0.5 / counts)[:, None]
    ends = [_clip_to_cube(u + sign * steps, wraps) for sign in (1, -1)]
    places = np.concatenate([u[None], *ends])  # (1 + 2 axes, L, d)
    arrays = _evaluate_nodes(model, coordinates, lattice, np.moveaxis(places, -1, 0))
    k, *matrices = map(np.asarray, arrays)
    k, plus, minus = np.split(np.moveaxis(k, 0, -1), [1, 1 + len(counts)])
    edges = np.moveaxis(plus - minus, 0, 1)
    hamiltonian, slopes = (np.moveaxis(x, -1, 0) for x in matrices)
    energies, basis = _solve_finite(hamiltonian)
    velocity = np.sum(basis.conj() * (slopes @ basis), axis=2).real
    spread = np.sum(np.abs(np.einsum("Lia,Lam->Lim", edges, velocity)), axis=1)
    return _Starts(u, k[0], counts, edges, energies, spread, _bound_changes(slopes, edges))


def _bound_changes(slopes, edges) -> Float[np.ndarray, "L d"]:
    """By how much the splitting of two bands changes along each edge, at most.

    That is the spread of the eigenvalues of edge·∂H, which is at most √2 times its norm without
    the trace; twice that, as ∂H changes too.
    """
    along = np.einsum("Lia,Lamn->Limn", edges, slopes)
    trace = np.einsum("Limm->Li", along)
    squares = np.sum(np.abs(along) ** 2, axis=(2, 3)) - np.abs(trace) ** 2 / along.shape[-1]
    return 2 * np.sqrt(2 * np.maximum(squares, 0))


def _is_resolved(gap, change, ratios) -> Bool[np.ndarray, " L"]:
    """True at nodes near which the smallest gap is too wide for a mesh to miss it.

    The minimum is within half an edge of the node.

    Args:
        ratios: widths of the cells of the mesh, in units of those of the cells around the nodes.
    """
    least = gap - np.sum(change, axis=1) / 2
    return np.max(change * ratios, axis=1) < (np.sqrt(1 + WIDE**2) - 1) * least


def _start_nodes(model, dimension: int):
    """Nodes in the unit cube, at no place that symmetry distinguishes, and counts by axis."""
    few = model.matrix_size > _SMALL
    counts = np.full(dimension, (_COUNTS_OF_LARGE if few else _COUNTS)[dimension])
    axes = [(np.arange(n) + s) / n for n, s in zip(counts, _SHIFTS, strict=False)]
    u = np.stack([x.ravel() for x in np.meshgrid(*axes, indexing="ij")], axis=1)
    return u, counts


def _find_minima(gap: Float[np.ndarray, "*counts p"], wraps) -> Int[np.ndarray, "M _"]:
    """Nodes and pairs (*node, pair) with no smaller gap at a neighbour, the smallest first."""
    least = np.isfinite(gap)
    for axis in range(gap.ndim - 1):
        for shift in (1, -1):
            least &= gap <= _shift_axis(gap, shift, axis, wraps[axis])
    place = np.argwhere(least)
    return place[np.argsort(gap[tuple(place.T)])]


def _choose_starts(place, counts, wraps):
    """Nodes and bands to start from: minima of the gap (node, pair), and the nodes next to them."""
    dimension = len(counts)
    place = place[: _LANES // (2 * dimension + 1)]
    identity = np.eye(dimension, dtype=int)
    around = place[:, None, :-1] + np.concatenate([0 * identity[:1], identity, -identity])
    around = np.where(wraps, around % counts, np.clip(around, 0, counts - 1))
    node = np.ravel_multi_index(np.moveaxis(around, -1, 0), counts)
    lanes = np.stack(np.broadcast_arrays(node, place[:, -1:]), axis=-1)
    return np.unique(lanes.reshape(-1, 2), axis=0).T


def _shift_axis(array, shift, axis, wrap):
    moved = np.roll(array, shift, axis)
    if not wrap:
        edge = [slice(None)] * array.ndim
        edge[axis] = 0 if shift == 1 else -1
        moved[tuple(edge)] = np.inf
    return moved


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
