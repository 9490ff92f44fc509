"""Near degeneracies: wave vectors at which the gap between two neighbouring bands is smallest.

The Berry curvature of a narrow gap is as large as (velocity/gap)² on a region as narrow as
gap/velocity, which may lie between all nodes of a mesh. The gap itself is seen from afar. At a node
where it is smaller than at the neighbours a descent begins (`gap_descents`).
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxspin.band_structure.bands import solve_bands
from jaxspin.band_structure.degeneracy import Covariant, Degeneracy
from jaxspin.engine.programs import known_by_identity, program
from jaxspin.integration.gap_descents import (
    DescentLanes,
    NearDegeneracies,
    Starts,
    clip_to_cube,
    evaluate_in_batches,
    evaluate_matrices,
    find_periodic_axes,
    follow_starts,
    longest_edges,
    map_cube,
    solve_starts,
    start_nodes,
)
from jaxspin.integration.integrand import integrand_code
from jaxspin.integration.levels import Levels, fermi
from jaxspin.integration.occupation_sums import pad_levels
from jaxspin.meshes.mesh import Mesh
from jaxspin.symmetry.irreducible import identity_matrix
from jaxspin.symmetry.irreducible_zone import IrreducibleZone
from jaxspin.symmetry.orbits import Matrix
from jaxspin.symmetry.wedge import Wedge, whole_cube
from jaxspin.units import BOLTZMANN


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
        wedge: Wedge | IrreducibleZone | None = None,
        maps: tuple[Matrix, ...] | None = None,
    ):
        self.observable, self.model, self.levels = observable, model, levels
        self.degeneracy = degeneracy
        self.coordinates, self.lattice = mesh.coordinates, model.lattice
        self._mesh = mesh
        self.wraps = find_periodic_axes(self.coordinates, mesh.dimension)
        #: The part of the domain whose cells are refined.
        self.wedge = whole_cube(mesh.dimension) if wedge is None else wedge
        #: A group that the model and the observable have, on the reduced coordinates of k.
        self.maps = (identity_matrix(mesh.dimension),) if maps is None else maps
        if isinstance(wedge, IrreducibleZone):
            self.maps = wedge.elements

    @cached_property
    def code(self) -> str:
        """Digest of the user's code, which all of the search runs."""
        return integrand_code(self.observable, self.model, self._mesh, self.degeneracy)

    @cached_property
    def _start(self) -> Starts:
        """The bands at the nodes from which the search starts."""
        return solve_starts(self.model, self.coordinates, self.lattice)

    @property
    def zero(self) -> float:
        """Gaps below this energy, eV, are zero to rounding."""
        return self._start.zero

    @cached_property
    def floor(self) -> float:
        """Gaps below this energy, eV, are zero to the sum."""
        thresholds = self.degeneracy.threshold(self._start.energies.T)
        return max(self.zero, float(np.nanmax(thresholds)))

    def find(self, cell_widths: Callable[[int], Any] | None = None) -> NearDegeneracies:
        """Local minima of the gaps of pairs of bands whose occupations can differ.

        Args:
            cell_widths: from the number of bands, the widths (L, d) of the cells of a mesh at
                `start_nodes`, where minima that such cells resolve need not be found.
        """
        start = self._start
        energies, counts = start.energies, start.counts
        spread = start.spread
        matters = self._can_matter(
            energies[:, :-1] - spread[:, :-1], energies[:, 1:] + spread[:, 1:]
        )
        gap = np.diff(energies)
        gap = np.where(matters & (gap > self.floor), gap, np.inf)
        followed = np.isfinite(gap)
        if cell_widths is not None:
            at, _ = np.nonzero(followed)
            widest = cell_widths(self.model.matrix_size)[at] * counts
            followed[followed] = ~_is_resolved(gap[followed], start.change[at], widest)
        if not np.any(followed):
            return NearDegeneracies.none(len(counts))
        place = _find_minima(gap.reshape(*counts, -1), self.wraps)
        place = place[followed.reshape(*counts, -1)[tuple(place.T)]]
        if not len(place):
            return NearDegeneracies.none(len(counts))
        place = place[: _LANES // (2 * len(counts) + 1)]
        place = _leave_out_images(place, start.u * counts, counts, np.array(self.maps))
        #: Typical distance between the nodes from which the search starts, 1/Å.
        self.spacing = float(np.median(longest_edges(start.edges)))
        lanes = DescentLanes(_choose_starts(place, counts, self.wraps), self.maps)
        return follow_starts(self.model, self.coordinates, self.lattice, self.code, lanes)

    def neighbours(
        self, near: NearDegeneracies, steps: Float[np.ndarray, "L a d"], floor: float
    ) -> Neighbours:
        """The pairs at a distance in the unit cube, along each of several axes and against it.

        Args:
            floor: gaps below this energy (eV) count as zero.
        """
        away = np.array([-1, 1])[:, None, None, None] * np.moveaxis(steps, 1, 0)
        k = self.wave_vectors(self._in_cube(near.u + away))
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
        # The content of a point node in three dimensions falls as q if the weights grow as 1/q².
        nodes = near.k.shape[1] == 3 and np.all(half <= (size * 0.5 ** (_HALVINGS - 1))[:, None])
        points = _POINTS_AT_NODES if nodes else _POINTS
        x = np.random.default_rng(20231119).uniform(-1, 1, size=(points, near.k.shape[1]))
        k = near.k + np.einsum("Lai,Li,pi->pLa", axes, half, x)
        volume = np.prod(half / np.pi, axis=1)  # 2 half / 2π
        density = self._sample_density(Covariant(jnp.zeros(())), k)
        return np.einsum("pLec,L->Lec", np.abs(density), volume) * (2 / points)

    def content_of_groups(self, near: NearDegeneracies) -> Float[np.ndarray, "L e c"]:
        """The same of those that the tolerance for degenerate bands hides."""
        hidden = near.gap <= self.floor
        hidden &= self._can_matter(near.energy - self.floor, near.energy + near.gap + self.floor)
        if not np.any(hidden):
            return np.zeros((1, 1, 1))
        content = self.content(near, np.full(len(near.gap), self.spacing), self.floor)
        return np.where(hidden[:, None, None], content * near.images[:, None, None], 0)

    def _half_widths(self, near, axes, size, narrow):
        """Distance along each principal axis at which the gap is no longer narrow, (L, d)."""

        def is_wide(j):
            return ~(self._least_gaps(near, axes, size * 0.5 ** j[:, None]) <= narrow)

        nowhere = is_wide(np.array([_HALVINGS - 1]))[0]  # narrow: the gap closes
        wide, rest = np.zeros((0, *nowhere.shape), bool), ~nowhere  # (j, i, L), from afar
        while np.any(rest) and len(wide) < _HALVINGS:
            wide = np.concatenate([wide, is_wide(len(wide) + np.arange(_HALVINGS_AT_ONCE))])
            rest = wide[-1] & ~nowhere  # else nor nearer to the minimum
        last = len(wide) - 1 - np.argmax(wide[::-1], axis=0) if len(wide) else 0
        exponent = np.where(nowhere, _HALVINGS - 1, np.where(np.any(wide, axis=0), last, 0))
        return (size * 0.5**exponent).T

    def _least_gaps(self, near, axes, scales: Float[np.ndarray, "j L"]):
        """The smaller of the gaps at distances in both directions of each axis, (j, i, L)."""
        away = np.einsum("Lai,jL->jiLa", axes, scales)
        k = np.stack([near.k + away, near.k - away])
        energies = self._solve_energies(k.reshape(-1, k.shape[-1])).reshape(*k.shape[:-1], -1)
        bands = np.broadcast_to(near.band[:, None], (*k.shape[:-1], 1))
        return np.take_along_axis(np.diff(energies), bands, -1)[..., 0].min(axis=0)

    def wave_vectors(self, u: Float[np.ndarray, "*L d"]) -> Float[np.ndarray, "*L d"]:
        """k at coordinates in the unit cube, 1/Å."""
        return map_cube(self.coordinates, self.lattice, u, self.code)[0]

    def find_regrouped(self, one: Degeneracy, other: Degeneracy) -> tuple[int, ...]:
        """The nodes from which the search starts that have other degenerate groups in one rule than
        in the other."""
        energies = self._start.energies
        low, high = (np.asarray(rule.threshold(energies.T))[:, None] for rule in (one, other))
        split = np.diff(energies)
        return tuple(np.flatnonzero(np.any((split > low) != (split > high), axis=1)).tolist())

    def sample(
        self, degeneracy: Degeneracy, nodes: tuple[int, ...] | None = None
    ) -> Float[np.ndarray, "e c"]:
        """The sum over the nodes from which the search starts, with other degenerate groups.

        Args:
            nodes: those whose terms are added; None for all.
        """
        found = _sample_starts(
            self._prepare_weights(degeneracy), self.coordinates, self.code, nodes
        )
        return self._drop_padding(found)

    def _sample_density(self, degeneracy: Degeneracy, k):
        """Σ_m f W_m of each independent component at k, (..., level, c)."""
        weigh = partial(_weigh_levels, *self._prepare_weights(degeneracy), code=self.code)
        return self._drop_padding(evaluate_in_batches(weigh, k)[0])

    def _prepare_weights(self, degeneracy: Degeneracy):
        """The arguments of `_weigh_levels` but k."""
        padded = pad_levels(self.levels)
        levels = tuple(map(jnp.asarray, (padded.mu, padded.temperatures, *padded.window)))
        return self.observable, self.model, levels, degeneracy

    def _drop_padding(self, found: Float[np.ndarray, "*k e c"]) -> Float[np.ndarray, "*k e c"]:
        """Leave out the levels that were repeated to fill up their number."""
        number, last = self.levels.mu.size, found.shape[-1]
        found = found.reshape(*found.shape[:-2], self.levels.temperatures.size, -1, last)
        return found[..., :number, :].reshape(*found.shape[:-3], -1, last)

    def _in_cube(self, u):
        return clip_to_cube(u, self.wraps)

    def _can_matter(self, lower, upper):
        """True where a level lies between two energies, or a band is filled and that counts."""
        levels, reach = self.levels, _REACH * BOLTZMANN * np.max(self.levels.temperatures)
        mu = np.sort(levels.mu)
        above = np.searchsorted(mu, lower - reach)  # levels below the pair
        below = np.searchsorted(mu, upper + reach, side="right")
        return (below > above) | (self.observable.filled_pairs & (above < len(mu)))

    def _solve_energies(self, k: Float[np.ndarray, "L d"]) -> Float[np.ndarray, "L n"]:
        hamiltonian, _ = evaluate_matrices(self.model, k, self.code)
        finite = np.all(np.isfinite(hamiltonian), axis=(1, 2))[:, None]
        energies = np.linalg.eigvalsh(np.where(finite[..., None], hamiltonian, 0))
        return np.where(finite, energies, np.nan)


# A peak of width w between nodes a distance h apart is summed with an error of exp(-2π w/h) of it,
# which the comparison with a coarser mesh sees while that is small. Peaks of w < h/4 are looked at.
WIDE = 4.0
# Energies, in kT, within which a level can tell two bands apart.
_REACH = 30.0
_POINTS, _POINTS_AT_NODES = 64, 8  # for the content of a near degeneracy
_HALVINGS, _HALVINGS_AT_ONCE = 40, 10
_LANES = 256  # descents at once


@partial(known_by_identity, capacity=8)
def _sample_starts(
    fixed, coordinates, code: str | None, nodes: tuple[int, ...] | None
) -> Float[np.ndarray, "e c"]:
    """Σ_m f W_m summed over the nodes from which the search starts, or over some of them.

    Args:
        fixed: the arguments of `_weigh_levels` but k.
    """
    model = fixed[1]
    u, _ = start_nodes(model.dimension, model.matrix_size)
    k, weight = map_cube(
        coordinates, model.lattice, u[slice(None) if nodes is None else nodes, :], code
    )
    density = evaluate_in_batches(partial(_weigh_levels, *fixed, code=code), k)[0]
    return np.einsum("Kec,K->ec", density, weight) / len(u)


@program
def _weigh_levels(observable, model, levels, degeneracy, k):
    """Σ_m f(ε_m) W_m of each independent component, (level, c, K)."""
    mu, temperatures, *window = levels
    bands = solve_bands(model, k, degeneracy, **observable.needs).restrict_to_window(*window)
    sea = observable(bands).sea.reshape(-1, *bands.levels.shape)
    thermal = BOLTZMANN * jnp.maximum(temperatures, 1e-6)[:, None, None, None]
    f = fermi(bands.levels, mu[:, None, None], thermal, moment=observable.moment)
    return (jnp.einsum("tenK,cnK->tecK", f, sea).reshape(-1, sea.shape[0], k.shape[1]),)


def _is_resolved(gap, change, ratios) -> Bool[np.ndarray, " L"]:
    """True at nodes near which the smallest gap is too wide for a mesh to miss it.

    The minimum is within half an edge of the node.

    Args:
        ratios: widths of the cells of the mesh, in units of those of the cells around the nodes.
    """
    least = gap - np.sum(change, axis=1) / 2
    return np.max(change * ratios, axis=1) < (np.sqrt(1 + WIDE**2) - 1) * least


def _find_minima(gap: Float[np.ndarray, "*counts p"], wraps) -> Int[np.ndarray, "M _"]:
    """Nodes and pairs (*node, pair) with no smaller gap at a neighbour, the smallest first."""
    least = np.isfinite(gap)
    for axis in range(gap.ndim - 1):
        for shift in (1, -1):
            least &= gap <= _shift_axis(gap, shift, axis, wraps[axis])
    place = np.argwhere(least)
    return place[np.argsort(gap[tuple(place.T)])]


def _leave_out_images(place, u, counts, maps) -> Int[np.ndarray, "M _"]:
    """Starts (*node, pair), without those next to an image of an earlier one of the same pair.

    Args:
        u: reduced coordinates of all nodes, in units of their spacing.
    """
    at = u[np.ravel_multi_index(place[:, :-1].T, counts)]
    kept: list[int] = []
    for i, pair in enumerate(place[:, -1]):
        images = at[i] @ (maps * counts[:, None] / counts).swapaxes(1, 2)
        away = at[kept] - images[:, None]
        away = np.abs(away - counts * np.rint(away / counts))
        if not np.any(np.all(away < 0.5, axis=2) & (place[kept, -1] == pair)):
            kept.append(i)
    return place[kept]


def _choose_starts(place, counts, wraps) -> tuple[tuple[int, int], ...]:
    """Nodes and bands to start from: minima of the gap (node, pair), and the nodes next to them."""
    identity = np.eye(len(counts), dtype=int)
    around = place[:, None, :-1] + np.concatenate([0 * identity[:1], identity, -identity])
    around = np.where(wraps, around % counts, np.clip(around, 0, counts - 1))
    node = np.ravel_multi_index(np.moveaxis(around, -1, 0), counts)
    lanes = np.stack(np.broadcast_arrays(node, place[:, -1:]), axis=-1)
    return tuple(map(tuple, np.unique(lanes.reshape(-1, 2), axis=0).tolist()))


def _shift_axis(array, shift, axis, wrap):
    moved = np.roll(array, shift, axis)
    if not wrap:
        edge = [slice(None)] * array.ndim
        edge[axis] = 0 if shift == 1 else -1
        moved[tuple(edge)] = np.inf
    return moved
