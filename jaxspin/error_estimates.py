"""Error estimates of sums over fixed meshes, from the same sums over coarser meshes.

A smooth sum converges so fast that its difference from one coarser mesh is far more than its own
error. A sum with a Fermi surface does not: whether a point of the mesh lies inside it is chance,
and so is the agreement of two meshes. There the root mean square of several differences, from
meshes of other numbers of nodes and other shifts, measures the noise of the coarser meshes, and
the law by which it falls with the number of nodes gives that of the mesh itself.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin.algebra import as_arrays, on_device
from jaxspin.levels import Levels
from jaxspin.meshes import Mesh
from jaxspin.observables import Observable, Weights
from jaxspin.units import BOLTZMANN

#: Where `Response.info` has the number of coarser meshes that were compared.
COARSER_MESHES = "coarser_meshes"

_SMOOTH = 2.0  # times the difference from one coarser mesh
# Times the noise of the mesh. Of Gaussian errors whose noise is measured by four samples, 5.5 times
# leaves 0.5 % outside (Student's distribution), 4 times 1.6 %. Measured by benchmarks/honesty.py:
# the noise at T > 0 is less than its law says, for kT smears the Fermi surface.
_COLD, _WARM = 5.5, 4.0
# A thermal sum of a metal is smooth on this mesh where two meshes agree to this part of it.
_SETTLED = 1e-6
# States this far from mu, in units of kT, still count as those of a Fermi surface: f = 5e-5.
_THERMAL_REACH = 10.0
# The edge of a band beyond the extreme node, relative to its difference from a coarser mesh.
_EDGE = 2.0
# Largest power of the number of nodes by which the noise of sums over Berry curvatures and spin
# currents falls. With (d+1)/2 the errors of the proper spin Hall conductivities were too small in
# 3 % of values in two dimensions (60 random models, 32²) and in 9 to 16 % in three (40, 12³); with
# 1 in none, but 12 times too large in the median.
_CURVATURE = 1.25
_ROUNDING = 8  # rounding errors of the largest component that every sum has


class Extremes(NamedTuple):
    """What is met on the nodes of a mesh beside the sums."""

    #: Smallest splitting between two degenerate groups, eV.
    splitting: Float[Array, ""]
    #: Lowest and highest energy of each band, eV.
    lowest: Float[Array, " n"]
    highest: Float[Array, " n"]

    def merge(self, other: "Extremes") -> "Extremes":
        """The extremes on the nodes of both."""
        return Extremes(
            jnp.minimum(self.splitting, other.splitting),
            jnp.minimum(self.lowest, other.lowest),
            jnp.maximum(self.highest, other.highest),
        )


def no_extremes(bands: int) -> Extremes:
    """The extremes before any node was met."""
    highest = np.full(bands, -np.inf)
    return Extremes(*map(on_device, (np.asarray(np.inf), -highest, highest)))


def coarser_meshes(mesh: Mesh) -> tuple[Mesh, ...]:
    """The meshes that a sum is compared with: the first always, the others at a Fermi surface."""
    return mesh.coarser(), *mesh.much_coarser()


def has_fermi_surface(
    extremes: Extremes, coarser: Extremes, levels: Levels, periodic: bool
) -> Bool[Array, "*levels"]:
    """Whether a band crosses mu, within some kT, at each level.

    The edge of a band lies between nodes: beyond the extreme energy on them, by less than twice
    what that differs from the one on a coarser mesh. The nodes of two grids may coincide at one
    edge, and then the other edges tell.
    """
    xp, (lowest, highest, low, high, mu, temperature) = as_arrays(
        extremes.lowest,
        extremes.highest,
        coarser.lowest,
        coarser.highest,
        levels.mu,
        levels.temperature,
    )
    below, above = _EDGE * xp.abs(lowest - low), _EDGE * xp.abs(highest - high)
    if periodic:
        below = above = xp.max(xp.maximum(below, above))
    mu, reach = mu[:, None], _THERMAL_REACH * BOLTZMANN * temperature[..., None, None]
    crossed = (lowest - below <= mu + reach) & (highest + above > mu - reach)
    return xp.any(crossed, axis=-1)


def is_noisy(
    fine: Float[Array, "*levels c"],
    coarse: Float[Array, "*levels c"],
    metal: Bool[Array, "*levels"],
    levels: Levels,
) -> Bool[Array, "*levels"]:
    """Whether the error at each level is the chance of which nodes lie inside a Fermi surface.

    Any level of a metal at T = 0, and those of T > 0 where kT is too small for the spacing of the
    mesh: a thermal sum that two meshes do not agree on.
    """
    xp, (fine, coarse, temperature) = as_arrays(fine, coarse, levels.temperature)
    cold = temperature[..., None] == 0
    unsettled = xp.abs(fine - coarse) > _SETTLED * xp.max(xp.abs(fine), axis=-1, keepdims=True)
    return metal & (cold | xp.any(unsettled, axis=-1))


def estimate_error(
    mesh: Mesh,
    meshes: Sequence[Mesh],
    fine: Float[Array, "*levels c"],
    coarse: Float[Array, "m *levels c"],
    noisy: Bool[Array, "*levels"],
    levels: Levels,
    law: str,
) -> Float[Array, "*levels c"]:
    """The error of the sums `fine` over `mesh`.

    Args:
        meshes: the coarser meshes.
        coarse: the sums over them; where no level is noisy only the first is used.
        noisy: as `is_noisy` finds it.
        law: as `noise_law` finds it.
    """
    xp, (fine, coarse, noisy, temperature) = as_arrays(fine, coarse, noisy, levels.temperature)
    largest = xp.max(xp.abs(fine), axis=-1, keepdims=True)
    least = _ROUNDING * xp.finfo(fine.dtype).eps * largest
    smooth = _SMOOTH * xp.abs(fine - coarse[0])
    ratio = np.array([_growth_of_noise(mesh, other, law) for other in meshes])
    ratio = ratio.reshape(-1, *[1] * fine.ndim)
    noise = xp.sqrt(xp.mean((fine - coarse) ** 2 / (1 + ratio**2), axis=0))
    cold = temperature[..., None, None] == 0
    noise = xp.where(cold, _COLD, _WARM) * noise
    # Meshes that agree to the last digit are no evidence: one node more or less is the least.
    noise = xp.maximum(noise, xp.where(cold, largest / np.prod(_counts(mesh)), 0))
    return xp.where(noisy[..., None] != 0, noise, smooth) + least


def name_rule(info: Mapping[str, Array]) -> str:
    """The rule by which the error of a result was estimated, in words; empty if unknown."""
    if COARSER_MESHES not in info:
        return "the cells of the adaptive mesh" if "converged" in info else ""
    number = int(np.max(info[COARSER_MESHES]))
    if number == 1:
        return "one coarser mesh"
    return f"{number} coarser meshes, for a Fermi surface"


def noise_law(observable: Observable, weights: Weights) -> str:
    """The law of the noise of a sum: "surface" with a part that goes with ∂f/∂ε, "smooth" where
    the weights are smooth functions of H, else "curvature"."""
    if weights.surface is not None:
        return "surface"
    return "smooth" if observable.smooth else "curvature"


def _growth_of_noise(mesh: Mesh, coarser: Mesh, law: str) -> float:
    """The noise of a coarser mesh relative to that of a mesh, with a Fermi surface.

    The nodes within a cell of a Fermi surface, N^(d-1) on a grid of N^d, are in or out by chance,
    with the weight N^(-d) each: their noise is N^(-(d+1)/2). The weight of a node in a surface sum
    is N times more, since it counts only while the level is in its cell; in one dimension it is one
    cell that counts, with an error of its width. Weights that peak where bands come close have the
    noise of these peaks besides, which falls more slowly.
    """
    counts, others = _counts(mesh), _counts(coarser)
    d = max(1, sum(n > 1 for n in counts))
    power = (d + 1) / 2
    if law == "surface" and d > 1:
        power = (d - 1) / 2
    elif law == "curvature":
        power = min(power, _CURVATURE)
    return max(n / other for n, other in zip(counts, others, strict=True)) ** power


def _counts(mesh: Mesh) -> list[float]:
    """The number of nodes along each coordinate, of a folded mesh those they stand for."""
    return [float(np.sum(rule.times)) for rule in mesh.rules]
