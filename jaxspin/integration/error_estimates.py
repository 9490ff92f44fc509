"""Error estimates of sums over fixed meshes, from the same sums over coarser meshes.

A smooth sum converges so fast that its difference from one coarser mesh is far more than its own
error. A sum with a Fermi surface does not: whether a point of the mesh lies inside it is chance,
and so is the agreement of two meshes. There the root mean square of several differences, from
meshes of other numbers of nodes and other shifts, measures the noise of the coarser meshes, and
the power of the number of nodes by which it falls gives that of the mesh itself. The power is known
at T = 0; kT makes it larger, and so may the differences say.

All constants here were chosen on the models of benchmarks/honesty.py with seeds 0 to 301 and 1002
to 1081.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin.engine.programs import known_by_value
from jaxspin.engine.small_matrices import as_arrays
from jaxspin.integration.levels import Levels
from jaxspin.meshes.mesh import Mesh
from jaxspin.quantities.observable import Observable, Weights
from jaxspin.units import BOLTZMANN

#: Where `Response.info` has the number of coarser meshes that were compared.
COARSER_MESHES = "coarser_meshes"

_SMOOTH = 2.0  # times the difference from one coarser mesh
# Times the noise of the mesh, by law. Of Gaussian errors whose noise is measured by four samples,
# 5 times leaves 0.75 % outside (Student's distribution), with a median of 7 times the true error.
# A number of carriers has one component alone.
_SAFETY = {"smooth": 6.0, "states": 5.0, "surface": 5.0, "curvature": 5.0}
# Standard errors of the mean difference beyond which it is an error of the mesh itself.
_SHARED = 2.0
# A thermal sum of a metal is smooth on this mesh where two meshes agree to this part of it. Of a
# number of electrons the carriers that are excited across a gap may be a part of 1e-7.
_SETTLED = 1e-8
# States this far from mu, in units of kT, still count as those of a Fermi surface: f = 5e-5.
_THERMAL_REACH = 10.0
# The edge of a band beyond the extreme node, relative to its difference from a coarser mesh.
_EDGE = 2.0
# Powers of the number of nodes by which the noise of sums over Berry curvatures and spin currents
# falls on a uniform grid, by dimension. With (d+1)/2 the errors of the proper spin Hall
# conductivities were too small in 3 % of values in two dimensions (60 random models, 32²) and in 9
# to 16 % in three (40, 12³); with 1 in none, but 12 times too large in the median.
_CURVATURE = {2: 1.2, 3: 1.4}
# The powers on Disk and Ball at T = 0 and T > 0, by law and dimension. Where cells fill gradually
# (T = 0) and the rule in the radius is Gaussian, they are larger than those of counted points.
_BOUNDED = {
    ("smooth", 2): (1.8, 1.55),
    ("smooth", 3): (2.0, 1.8),
    ("curvature", 2): (1.75, 1.65),
    ("curvature", 3): (1.5, 1.65),
}
_WARM_SURFACE = 0.1  # added to the power of surface terms at T > 0
# kT adds to the power so many times kT over the steps of energy between nodes on a grid, and on a
# disk or ball (see `_smearing_power`), and at most 2. Without it the median error at 300 K was 15
# to 50 times the true one. Where gaps are wide it adds 1.5 times as much for curvatures.
_SMEARING, _RADIAL_SMEARING, _MOST_SMEARING = 4.5, 3.0, 2.0
_CURVATURE_SMEARING = 1.5
_WIDE_GAP = 1e3  # in steps of energy between nodes, resolved by any measure
# The power that the differences show themselves counts as much as the law where this many
# independent components beside the first show it. It makes the law's smaller by at most 1, and
# larger by at most 0.5.
_COMPONENTS, _SLOWER, _FASTER = 6.0, 1.0, 0.5
# The second smallest of four magnitudes relative to their root mean square, if they are Gaussian.
_SECOND_SMALLEST = 0.5
_BEYOND = 64  # rounding errors of the largest energy: beyond a node, and by next to nothing
_ROUNDING = 8  # rounding errors of the largest component that every sum has


class Extremes(NamedTuple):
    """Smallest splitting and edges of the bands on the nodes of a mesh."""

    #: Smallest splitting between two degenerate groups, eV.
    splitting: Float[Any, ""]
    #: Lowest and highest energy of each band, eV.
    lowest: Float[Any, " n"]
    highest: Float[Any, " n"]

    def merge(self, other: "Extremes") -> "Extremes":
        """The extremes on the nodes of both."""
        xp, _ = as_arrays(*self, *other)
        return Extremes(
            xp.minimum(self.splitting, other.splitting),
            xp.minimum(self.lowest, other.lowest),
            xp.maximum(self.highest, other.highest),
        )


class MeshSums(NamedTuple):
    """The sums over a mesh and coarser ones."""

    fine: Float[Array, "*levels c"]
    #: Those over the first of the coarser meshes; where no level is noisy only one of them counts.
    coarse: Any
    #: As `is_noisy` finds it.
    noisy: Bool[Array, "*levels"]
    #: Number of coarser meshes that were summed.
    compared: Any
    #: On the nodes of the mesh itself, and of the first of the coarser ones.
    extremes: Extremes
    coarser: Extremes
    #: Those over the first coarser mesh at `levels_at_edges`; None where there is no such level.
    at_edges: Any = None


def no_extremes(bands: int) -> Extremes:
    """The extremes before any node was met."""
    highest = np.full(bands, -np.inf, jnp.result_type(float))
    return Extremes(np.asarray(np.inf, highest.dtype), -highest, highest)


@known_by_value
def coarser_meshes(mesh: Mesh) -> tuple[Mesh, ...]:
    """The meshes that a sum is compared with: the first always, the others at a Fermi surface."""
    return mesh.coarser(), *mesh.much_coarser()


def has_fermi_surface(
    extremes: Extremes, coarser: Extremes, levels: Levels, periodic: bool
) -> Bool[Array, "*levels"]:
    """True at each level where a band crosses mu, within some kT.

    The edge of a band lies between nodes: see `_possible_edges`.
    """
    crossed = _find_crossings(*_possible_edges(extremes, coarser, periodic), levels)
    return crossed.any(axis=-1)


def _possible_edges(
    extremes: Extremes, coarser: Extremes, periodic: bool
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Lowest and highest energy that each band may reach between the nodes.

    It is beyond the extreme energy on them by less than twice what that differs from the one on a
    coarser mesh. The nodes of two grids may coincide at one edge, and then the other edges tell.
    """
    xp, (lowest, highest, low, high) = as_arrays(
        extremes.lowest, extremes.highest, coarser.lowest, coarser.highest
    )
    below, above = _EDGE * xp.abs(lowest - low), _EDGE * xp.abs(highest - high)
    if periodic:
        below = above = xp.max(xp.maximum(below, above))
    return lowest - below, highest + above


def levels_at_edges(
    mesh: Mesh, extremes: Extremes, coarser: Extremes, levels: Levels
) -> Levels | None:
    """Levels at which a pocket may lie between all nodes, moved to the closest node.

    That is a node of the first coarser mesh, at the edge of a band which no node of the mesh itself
    crosses and which may reach mu. Levels without such a band stay where they are; None if all do.
    """
    hidden = _find_hidden_pockets(mesh, extremes, coarser, levels)
    if not np.any(hidden):
        return None
    nodes = np.concatenate([coarser.lowest, coarser.highest])
    outwards = np.repeat([1, -1], len(coarser.lowest))
    rounding = np.finfo(nodes.dtype).eps * np.max(np.abs(nodes))
    nodes = nodes + outwards * _BEYOND * rounding  # that the node itself is filled, or empty
    away = np.where(hidden, np.abs(nodes - levels.mu[:, None]), np.inf)
    moved = np.where(hidden.any(axis=-1), nodes[np.argmin(away, axis=-1)], levels.mu)
    return Levels(moved, levels.temperature)


def _find_hidden_pockets(
    mesh: Mesh, extremes: Extremes, coarser: Extremes, levels: Levels
) -> Bool[Array, "e edges"]:
    """Edges of bands, the lower ones first, that mu may have passed between all nodes.

    Where a node of any band lies at mu the noise of the sums says what they miss.
    """
    mu, periodic = levels.mu[:, None], not mesh.fills_cells
    lowest, highest = _possible_edges(extremes, coarser, periodic)
    below = (lowest <= mu) & (mu < extremes.lowest)
    above = (extremes.highest <= mu) & (mu < highest)
    crossed = (extremes.lowest <= mu) & (mu < extremes.highest)
    return np.concatenate([below, above], axis=-1) & ~crossed.any(axis=-1, keepdims=True)


def _find_crossings(
    lowest: Float[Array, " n"], highest: Float[Array, " n"], levels: Levels
) -> Bool[Array, "*levels n"]:
    """True for each band between these energies that crosses mu, within some kT."""
    _, (lowest, highest, mu, temperature) = as_arrays(
        lowest, highest, levels.mu, levels.temperature
    )
    mu, reach = mu[:, None], _THERMAL_REACH * BOLTZMANN * temperature[..., None, None]
    return (lowest <= mu + reach) & (highest > mu - reach)


def is_noisy(
    fine: Float[Array, "*levels c"],
    coarse: Float[Array, "*levels c"],
    metal: Bool[Array, "*levels"],
    levels: Levels,
) -> Bool[Array, "*levels"]:
    """True at each level whose error is the chance of which nodes lie inside a Fermi surface.

    Any level of a metal at T = 0, and those of T > 0 where kT is too small for the spacing of the
    mesh: a thermal sum that two meshes do not agree on.
    """
    xp, (fine, coarse, temperature) = as_arrays(fine, coarse, levels.temperature)
    cold = temperature[..., None] == 0
    unsettled = xp.abs(fine - coarse) > _SETTLED * xp.max(xp.abs(fine), axis=-1, keepdims=True)
    return metal & (cold | xp.any(unsettled, axis=-1))


def estimate_error(
    mesh: Mesh, sums: MeshSums, levels: Levels, law: str
) -> Float[Array, "*levels c"]:
    """Error of the sums over `mesh`.

    Args:
        law: as `noise_law` finds it.
    """
    meshes, extremes = coarser_meshes(mesh)[: len(sums.coarse)], sums.extremes
    xp, (fine, coarse, noisy, temperature) = as_arrays(
        sums.fine, sums.coarse, sums.noisy, levels.temperature
    )
    largest = xp.max(xp.abs(fine), axis=-1, keepdims=True)
    least = _ROUNDING * xp.finfo(fine.dtype).eps * largest
    differences = fine - coarse
    smooth = _SMOOTH * xp.abs(differences[0])
    pocket = _hidden_pocket(mesh, law, sums, levels)
    if xp is np and not np.any(noisy):
        return np.maximum(smooth, pocket) + least
    crossed = _find_crossings(extremes.lowest, extremes.highest, levels)
    powers = _noise_powers(mesh, law, temperature[..., None] == 0)
    powers = powers + _smearing_power(mesh, law, extremes, crossed, levels)
    hidden = ~crossed.any(axis=-1) & (law == "curvature")
    noise = _measure_noise(mesh, meshes, differences, powers, hidden)
    noise = xp.maximum(_SAFETY[law] * noise, _shared_error(mesh, law, differences))
    noise = xp.maximum(noise, _missed_node(mesh, law, sums, levels)[..., None] * largest)
    return xp.maximum(xp.where(noisy[..., None] != 0, noise, smooth), pocket) + least


def _hidden_pocket(
    mesh: Mesh, law: str, sums: MeshSums, levels: Levels
) -> Float[Array, "*levels c"] | float:
    """What one node would add at the edge of a band that may have passed mu between all nodes.

    All sums may be zero there, and agree. A node of the coarser mesh at that edge says what it
    weighs, with mu there. In the pocket its occupation would be f of the edge in place of that of
    the extreme node, and ∂f/∂ε the largest; the cells of T = 0 reach it as they are.
    """
    if sums.at_edges is None:
        return 0.0
    hidden = _find_hidden_pockets(mesh, sums.extremes, sums.coarser, levels)
    node, edge = _occupations_at_edges(mesh, sums, levels)
    cold = levels.temperature[..., None, None] == 0
    if law in ("states", "surface"):
        filling = np.where(cold | (edge > 0), 0, node**2)
    else:  # f = (1 - tanh)/2, and with mu at the node f is 1 at T = 0, 1/2 else
        filling = np.where(cold, 1, node - edge)
    largest = np.max(np.where(hidden, filling, 0), axis=-1)[..., None]
    part = np.prod(coarser_meshes(mesh)[0].counts) / np.prod(mesh.counts)
    return part * largest * np.abs(sums.at_edges - np.asarray(sums.coarse[0]))


def _occupations_at_edges(mesh: Mesh, sums: MeshSums, levels: Levels) -> tuple[Any, Any]:
    """1 - 2f at the extreme nodes, the lower ones first, and at the edges beyond, (*levels, edges).

    As long as f of the node is above rounding, the sum has that of the edge within what the node
    differs from that of the coarser mesh; else nothing is known but how far the edge may reach.
    """
    fine, coarser = sums.extremes, sums.coarser
    lowest, highest = _possible_edges(fine, coarser, periodic=not mesh.fills_cells)
    mu, kelvin = levels.mu[:, None], levels.temperature[..., None, None]
    double = 2 * BOLTZMANN * np.where(kelvin > 0, kelvin, 1)

    def saturate(lowest, highest):
        return np.tanh(np.concatenate([lowest - mu, mu - highest], axis=-1) / double)

    node, furthest = saturate(fine.lowest, fine.highest), saturate(lowest, highest)
    closest = saturate(
        fine.lowest - np.abs(fine.lowest - coarser.lowest),
        fine.highest + np.abs(fine.highest - coarser.highest),
    )
    return node, np.where(node < 1, closest, furthest)


def _shared_error(
    mesh: Mesh, law: str, differences: Float[Array, "m *levels c"]
) -> Float[Array, "*levels c"]:
    """Error of a mesh from which all coarser ones differ in the same way.

    Where they agree with each other, a node of the mesh itself lies on a peak of the Berry
    curvature, and no power of the number of nodes says so: the mean difference counts beyond two
    standard errors. A list of points need not be a rule for the zone: there it counts as it is.
    """
    xp, (differences,) = as_arrays(differences)
    mean = xp.abs(xp.mean(differences, axis=0))
    if mesh.is_rule:
        standard_error = xp.std(differences, axis=0) / np.sqrt(max(1, len(differences) - 1))
        mean = xp.maximum(mean - _SHARED * standard_error, 0) * (law == "curvature")
    return _SMOOTH * mean


def _missed_node(mesh: Mesh, law: str, sums: MeshSums, levels: Levels) -> Float[Array, "*levels"]:
    """Part of a sum that one more node at the edge of a band would add: the least it is off by.

    Where all meshes agree to the last digit, that is no evidence. On a grid of N points it is 1/N
    of the largest component at T = 0, and nothing where kT smears a Fermi surface. For a level in a
    gap at T > 0 it is 1/N of the thermal occupation of the closest edge, which lies between nodes:
    beyond the extreme one by as much as the extremes on the coarser mesh lie within. All of a
    density of states in a gap comes from the extreme node, and the edge has more in proportion.
    """
    from_node, from_edge = _distances_from_bands(sums, levels)
    xp, (node, edge, temperature) = as_arrays(from_node, from_edge, levels.temperature)
    one_node = 0 if mesh.fills_cells else 1 / np.prod(mesh.counts)
    cold = temperature[..., None] == 0
    thermal = xp.where(cold, 1, BOLTZMANN * temperature[..., None])
    if law == "states":
        largest = np.log(xp.finfo(thermal.dtype).max) / 2
        warm = xp.expm1(xp.minimum((node - edge) / thermal, largest))
    else:
        warm = xp.where(edge > 0, one_node * xp.exp(-edge / thermal), 0)
    return xp.where(cold, one_node, warm)


def _distances_from_bands(
    sums: MeshSums, levels: Levels
) -> tuple[Float[Array, " e"], Float[Array, " e"]]:
    """Energy between each level and the closest extreme node, and the closest edge beyond it."""
    xp, (lowest, highest, low, high, mu) = as_arrays(
        sums.extremes.lowest,
        sums.extremes.highest,
        sums.coarser.lowest,
        sums.coarser.highest,
        levels.mu,
    )
    below, above = lowest - mu[:, None], mu[:, None] - highest
    nodes = xp.maximum(below, above)
    edges = xp.maximum(below - xp.abs(lowest - low), above - xp.abs(highest - high))
    from_node, from_edge = (xp.maximum(xp.min(x, axis=-1), 0) for x in (nodes, edges))
    return from_node, from_edge


def _measure_noise(
    mesh: Mesh,
    meshes: Sequence[Mesh],
    differences: Float[Array, "m *levels c"],
    powers: Float[Array, "*levels"],
    hidden: Bool[Array, "*levels"],
) -> Float[Array, "*levels c"]:
    """Noise of a mesh, from the differences of its sums from those over coarser meshes.

    The difference from a mesh whose noise is r^p times larger has the variance 1 + r^(2p), in units
    of the variance looked for. Where a Fermi surface is suspected between the nodes of the mesh
    (`hidden`), a node of a coarser mesh in a narrow gap would be all of the mean square of Berry
    curvatures, and two of the four meshes may have one: the second smallest takes its place.
    """
    xp, (differences, powers, hidden) = as_arrays(differences, powers, hidden)
    ratios = np.array([_ratio_of_counts(mesh, other) for other in meshes])
    powers = powers + _rate_correction(differences, ratios, powers)
    ratios = ratios.reshape(-1, *[1] * (differences.ndim - 1))
    squares = differences**2 / (1 + ratios ** (2 * powers[..., None]))
    typical = xp.sqrt(xp.sort(squares, axis=0)[min(1, len(squares) - 1)]) / _SECOND_SMALLEST
    return xp.where(hidden[..., None], typical, xp.sqrt(xp.mean(squares, axis=0)))


def _rate_correction(
    differences: Float[Array, "m *levels c"], ratios: np.ndarray, powers: Float[Array, "*levels"]
) -> Float[Array, "*levels"]:
    """Correction of `powers`, by which the noise falls, from the differences themselves.

    The logarithm of the root sum of squares over the components is fitted by a line in that of the
    number of nodes. One component says nothing, because its differences are small by chance; n say
    (n - 1)/(n + 5) of the whole.
    """
    xp, (differences, powers) = as_arrays(differences, powers)
    along = np.log(ratios) - np.mean(np.log(ratios))
    if np.max(np.abs(along)) == 0:
        return xp.zeros_like(powers)
    along = along / np.sum(along**2)
    tiny = xp.finfo(differences.dtype).tiny
    parts = differences / (xp.max(xp.abs(differences), axis=(0, -1), keepdims=True) + tiny)
    total = xp.sum(parts**2, axis=-1) + tiny
    ratios = ratios.reshape(-1, *[1] * powers.ndim)
    excess = xp.log(total) - xp.log1p(ratios ** (2 * powers))
    slope = xp.tensordot(xp.asarray(along), excess, axes=1) / 2
    others = xp.maximum(_count_independent(parts) - 1, 0)
    return others / (others + _COMPONENTS) * xp.clip(slope, -_SLOWER, _FASTER)


def _count_independent(differences: Float[Array, "m *levels c"]) -> Float[Array, "*levels"]:
    """Number of components of a tensor that vary independently from mesh to mesh.

    The squared overlap of two random unit vectors in n dimensions is 1/n in the mean. The entries
    xy and yx of an antisymmetric tensor, or those that a symmetry of the model relates, are one
    component, however many times it is written. A difference of zero says nothing.
    """
    xp, (differences,) = as_arrays(differences)
    squares = xp.sum(differences**2, axis=-1)
    overlaps = []
    for a, b in itertools.combinations(range(len(differences)), 2):
        overlap, known = xp.sum(differences[a] * differences[b], axis=-1), squares[a] * squares[b]
        overlaps.append(xp.where(known > 0, overlap**2 / xp.where(known > 0, known, 1), 1))
    return 1 / xp.maximum(sum(overlaps) / len(overlaps), 1 / differences.shape[-1])


def name_rule(info: Mapping[str, Array]) -> str:
    """The rule by which the error of a result was estimated, in words; empty if unknown."""
    if COARSER_MESHES not in info:
        return "the cells of the adaptive mesh" if "converged" in info else ""
    number = int(np.max(info[COARSER_MESHES]))
    if number == 1:
        return "one coarser mesh"
    return f"{number} coarser meshes, for a Fermi surface"


def noise_law(observable: Observable, weights: Weights) -> str:
    """The law of the noise of a sum.

    "surface" with a part that goes with ∂f/∂ε or the entropy, which peak at mu, "states" for a
    density of states, "smooth" where the weights are smooth functions of H, else "curvature".
    """
    if weights.surface is not None or observable.moment == 1:
        return "states" if observable.smooth else "surface"
    return "smooth" if observable.smooth else "curvature"


def _noise_powers(mesh: Mesh, law: str, cold: Bool[Array, "*t 1"]) -> Float[Array, "*t 1"] | float:
    """Powers of the number of nodes along an axis by which the noise falls, without smearing.

    The nodes within a cell of a Fermi surface, N^(d-1) on a grid of N^d, are in or out by chance,
    with the weight N^(-d) each: their noise is N^(-(d+1)/2). The weight of a node in a surface sum
    is N times more, since it counts only while the level is in its cell; in one dimension it is one
    cell that counts, with an error of its width. Weights that peak where bands come close have the
    noise of these peaks besides, which falls more slowly.
    """
    d = _count_axes(mesh)
    if d == 1:
        return 1.0
    if law in ("surface", "states"):
        return (d - 1) / 2 + _WARM_SURFACE * ~cold
    if mesh.fills_cells:
        at_zero, warm = _BOUNDED[law, d]
        return warm + (at_zero - warm) * cold
    return (d + 1) / 2 if law == "smooth" else _CURVATURE[d]


def _smearing_power(
    mesh: Mesh, law: str, extremes: Extremes, crossed: Bool[Array, "*levels n"], levels: Levels
) -> Float[Array, "*levels"]:
    """Power that kT adds, as it smears the Fermi surface over neighbouring nodes.

    kT smears occupations. A peak of the Berry curvature, of the width of a gap, stays as it is:
    where the smallest gap is narrower than the steps of energy between nodes kT adds nothing.

    In one dimension, where single nodes hold all of the weight, kT is of less use: with its power
    the errors of 8 % of densities of states were too small. On an infinite mesh the outermost nodes
    make the steps so wide that kT adds nothing.
    """
    xp, (temperature,) = as_arrays(levels.temperature)
    if _count_axes(mesh) == 1:
        return xp.zeros(levels.shape)
    steps = _energy_steps(mesh, extremes, crossed, levels)
    xp, (step, widest, splitting, temperature) = as_arrays(*steps, extremes.splitting, temperature)
    tiny = xp.finfo(step.dtype).tiny
    strength = _RADIAL_SMEARING if mesh.fills_cells else _SMEARING
    if law == "curvature":
        strength = _CURVATURE_SMEARING * strength
    thermal = strength * BOLTZMANN * temperature[..., None]
    power = xp.minimum(thermal, _MOST_SMEARING * step) / (step + tiny)
    gap = xp.minimum(splitting, _WIDE_GAP * widest)  # infinite if there is one band
    return power * gap / (gap + widest + tiny) if law == "curvature" else power


def _energy_steps(
    mesh: Mesh, extremes: Extremes, crossed: Bool[Array, "*levels n"], levels: Levels
) -> tuple[Float[Array, "*levels"], Float[Array, ""]]:
    """Steps of energy between neighbouring nodes: at mu, and the mean one of the widest band, eV.

    A grid of N nodes along an axis divides the width W of a band into N steps; at the edges of a
    band, where they are smaller, few nodes hold all of the Fermi surface. A parabola on a disk or
    ball has steps of about sqrt((mu - ε_min) W)/N along the radius. The band with the largest steps
    among those that cross mu counts, or among all if none does.
    """
    xp, (lowest, highest, crossed, mu, temperature) = as_arrays(
        extremes.lowest, extremes.highest, crossed, levels.mu, levels.temperature
    )
    width = highest - lowest
    if mesh.fills_cells:
        number = mesh.counts[0]
        thermal = xp.minimum(BOLTZMANN * temperature[..., None, None], width / 2)
        step = xp.sqrt(xp.clip(mu[:, None] - lowest, thermal, width) * width) / number
    else:
        number = min(n for n in mesh.counts if n > 1)
        step = width / number
    counts = crossed | ~crossed.any(axis=-1, keepdims=True)
    return xp.max(xp.where(counts, step, 0), axis=-1), xp.max(width) / number


def _ratio_of_counts(mesh: Mesh, coarser: Mesh) -> float:
    """The number of nodes of a mesh along an axis over that of a coarser one, where largest."""
    return max(n / other for n, other in zip(mesh.counts, coarser.counts, strict=True))


def _count_axes(mesh: Mesh) -> int:
    """Number of axes with more than one node."""
    return max(1, sum(n > 1 for n in mesh.counts))
