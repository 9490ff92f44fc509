"""The response of the Fermi sea, exact up to the Fermi surface.

χ_O,j = Σ_k Σ_m f_m W_m,  W_m = Σ_n W_mn,  W_mn = −2 Im ⟨m|O|n⟩⟨n|∂_jH|m⟩/(ε_m − ε_n)²,  O = −∂_iH
or spin. Pairs that are both filled, or both empty, cancel, W_nm = −W_mn. With the number N(k) of
filled bands the sum is therefore Σ_k U_N(k),

    U_j = Σ_(m ≤ j < n) W_mn,  W_j = U_j − U_(j−1),

where U_j is singular only where the bands j and j + 1 cross. Where mu is not between these two
bands U_j contributes nothing, and may be replaced by anything smooth (`_regular_factor`): a
crossing below or above the Fermi energy then does not matter.

A step at the Fermi energy would spoil any rule on a mesh, so the occupied region of each band is
integrated from its boundary instead: with a field F whose divergence is W_j (divergence theorem)

    Σ_k θ(mu − ε_j) W_j = Σ_a w_a v_a·F(k_a) + what is filled where F starts,

w_a and v_a being the weights and velocities of the Fermi surface. F is the integral of W_j along a
straight ray to k_a: in a continuum from k = 0, F = k ∫_0^1 W_j(tk) t^(d−1) dt; on a lattice from a
plane in the Brillouin zone that the Fermi surface does not cross. Bands filled at the start of the
rays are integrated over the whole domain on a mesh.
"""

import functools
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jaxspin.band_structure.bands import DEGENERATE_TO_ROUNDING, Bands, solve_lifted
from jaxspin.disorder.fermi_states import FermiStates, as_vector
from jaxspin.disorder.operators import MeasuredOperator, measure_operators
from jaxspin.engine.small_matrices import dagger, join_tiles, matmul
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.meshes.mesh import Ball, Disk, Grid, Mesh, Plane, Space
from jaxspin.models.base import Model, hamiltonian_at
from jaxspin.models.lifted import Lifted, LiftedOperator, Needs, Points
from jaxspin.surfaces import FermiSurface

_TILE = 4096  # points of a mesh at a time
# Far out, in units of the scale of the mesh: Dirac bands are then 10⁻⁸ from their asymptotes.
_FAR = 1e4


class _Rays(NamedTuple):
    """Straight lines to the states of a Fermi surface, the axis of states last."""

    start: Float[Array, "d a"]
    #: From the start to the state.
    step: Float[Array, "d a"]
    #: Index of the band of each state.
    band: Int[Array, " a"]
    is_occupied: Bool[Array, " a"]


class FermiSea(eqx.Module):
    """Filled bands on a mesh: the part of the sea that does not depend on the Fermi energy."""

    #: g² U_j at each point of the mesh, g = ε_(j+1) − ε_j, and the energies there.
    layers: Float[Array, "o d l K"]
    energies: Float[Array, "n K"]
    #: Weights of the mesh, and those of estimates of its error (`_probe_axes`).
    weights: Float[Array, "r K"]
    #: Energies where the rays end: far out in each direction, or on the mesh of a lattice.
    ends: Float[Array, "n g"]
    #: Distance from k = 0 of the outermost points of the mesh, 1/Å; infinite on a lattice.
    reach: Float[Array, ""]
    mesh: Mesh
    operators: tuple[MeasuredOperator, ...]

    def __call__(
        self, model: Model, on_shell: FermiStates, band: Int[Array, " a"], mu: Float[Array, ""]
    ) -> tuple[Float[Array, "o d"], Float[Array, "o d"], Float[Array, "o d"], Bool[Array, ""]]:
        """The response of the sea, its estimated error (from each axis of the mesh and from the
        rays), the sum of the absolute values of all of it, and whether the mesh has room for this
        surface: a plane for the rays to start from, or points outside of it."""
        if self.mesh.domain == "periodic":
            filled, rays, fits = self._start_from_planes(model, on_shell, band, mu)
        else:
            filled, fits = self.ends < mu, _surface_size(on_shell) < self.reach
            rays = _Rays(jnp.zeros_like(on_shell.k), on_shell.k, band, on_shell.is_occupied)
        flow = jnp.sum(on_shell.velocity * rays.step, axis=0)
        flux = on_shell.weight * on_shell.group_size * flow  # of each band of a group
        (value, *errors), size = self._sum_filled(filled, mu)
        integrals = self._integrate_rays(model, rays, mu)
        along, along_thinned = integrals @ flux
        size = size + jnp.abs(integrals[0]) @ jnp.abs(flux)
        error = sum(map(jnp.abs, errors)) + jnp.abs(along - along_thinned)
        return value + along, error, size, fits

    def _sum_filled(
        self, filled: Bool[Array, "n g"], mu
    ) -> tuple[Float[Array, "r o d"], Float[Array, "o d"]]:
        """Σ_k (W_1 + ... ) of the bands that are filled where the rays end, and its errors, and the
        sum of absolute values."""
        last = filled[:-1] & ~filled[1:]  # the next band is empty
        last = last[:, jnp.arange(self.energies.shape[1]) % filled.shape[1]]
        share = jnp.where(last, _regular_factor(self.energies, mu), 0)
        terms = jnp.einsum("lK,odlK->odK", share, self.layers)
        size = jnp.abs(terms) @ jnp.abs(self.weights[0])
        return jnp.moveaxis(terms @ self.weights.T, -1, 0), size

    def _integrate_rays(self, model, rays: _Rays, mu) -> Float[Array, "2 o d a"]:
        """∫_0^1 W(start + t step) t^(d−1) dt for each ray, without the power on a lattice."""

        def add_node(total, node):
            t, weights = node
            k = rays.start + t * rays.step
            value = _weigh_band(_lift(model, k, self.operators), rays.band, mu)
            return total + weights[:, None, None] * jnp.where(rays.is_occupied, value, 0), None

        zero = jnp.zeros((2, *self.layers.shape[:2], len(rays.band)))
        return jax.lax.scan(add_node, zero, _place_on_rays(self.mesh, rays.step))[0]

    def _start_from_planes(self, model, on_shell, band, mu):
        """For each band the plane u_i = constant of the mesh that is furthest from mu."""
        shape, n = self.mesh.shape, len(self.ends)
        distance = self.ends.reshape(n, *shape) - mu
        labels, margins, signs = [], [], []
        for axis, size in enumerate(shape):
            across = tuple(i + 1 for i in range(len(shape)) if i != axis)
            low, high = jnp.min(distance, axis=across), jnp.max(distance, axis=across)
            margins.append(jnp.maximum(low, -high))
            signs.append(high < 0)
            labels += [(axis, u) for u in self.mesh.rules[axis].nodes[:size]]
        margin, below = jnp.concatenate(margins, axis=1), jnp.concatenate(signs, axis=1)
        best = jnp.argmax(jax.lax.stop_gradient(margin), axis=1)
        filled = jnp.take_along_axis(below, best[:, None], axis=1)
        axes, origins = (jnp.asarray(np.array(x))[best] for x in zip(*labels, strict=True))
        crossed = jnp.zeros(n, bool).at[band].max(on_shell.is_occupied)
        uncrossed = jnp.all((jnp.max(margin, axis=1) > 0) | ~crossed)
        reciprocal = reciprocal_vectors(model.lattice)
        u = jnp.linalg.solve(reciprocal.T, on_shell.k)
        along = jnp.take_along_axis(u, axes[band][None], axis=0)[0]
        ray = jnp.mod(along - origins[band], 1.0) * reciprocal[axes[band]].T
        return filled, _Rays(on_shell.k - ray, ray, band, on_shell.is_occupied), uncrossed


def fermi_sea(model: Model, mesh: Mesh, operators: tuple[MeasuredOperator, ...]) -> FermiSea:
    """The layers of bands on a mesh, of what is measured."""
    tile = min(_TILE, mesh.size)
    tiles = -(-mesh.size // tile)
    index = np.arange(tiles * tile).reshape(tiles, tile)

    def evaluate_tile(index):
        nodes = mesh.points(jnp.minimum(index, mesh.size - 1), model.lattice)
        bands = solve_lifted(_lift(model, nodes.k, operators), DEGENERATE_TO_ROUNDING)
        pairs = _weigh_pairs(bands)
        every = [_sum_layer(pairs, bands.energies, j) for j in range(len(bands.energies) - 1)]
        layers = jnp.stack(every, axis=2) if every else jnp.zeros((*pairs.shape[:2], 0, tile))
        return (
            layers,
            bands.energies,
            nodes.weight * _probe_axes(mesh, index),
        )

    tiled = jax.lax.map(evaluate_tile, jnp.asarray(index))
    layers, energies, weights = (join_tiles(x)[..., : mesh.size] for x in tiled)
    ends, reach = energies, jnp.asarray(jnp.inf)
    if mesh.domain != "periodic":
        ends, reach = _far_energies(model, mesh)
    far = jax.lax.stop_gradient((ends, reach))
    return FermiSea(layers, energies, weights, *far, mesh, operators)


def default_mesh(model: Model, surface: FermiSurface, mu: Float[Array, "..."]) -> Mesh:
    """The mesh for filled bands where none was asked for, for all of these Fermi energies."""
    if model.lattice is not None:
        return Grid({2: (64, 64), 3: (24, 24, 24)}[model.dimension], 0.5)
    scale = jax.lax.stop_gradient(_choose_scale(model, surface, mu))
    if model.dimension == 2:
        return eqx.tree_at(lambda m: m.scale, Plane(1.0, 64, 36), jnp.full(2, scale))
    return eqx.tree_at(lambda m: m.scale, Space(1.0, 48, 16, 24), jnp.full(3, scale))


def _choose_scale(model, surface, mu) -> Float[Array, ""]:
    """(spread of the energies at k = 0)/(velocity), within bounds relative to the surface's size.

    At the distance h of every mu from these energies the integrand is smooth over h/6
    (`_regular_factor`), as it is over half the spread where mu is between them.
    """
    lifted = model.lift(Points(jnp.zeros((model.dimension, 1))))
    energies = jnp.linalg.eigvalsh(lifted.hamiltonian[..., 0])
    velocity = jnp.sqrt(jnp.sum(jnp.abs(lifted.slopes) ** 2) / len(energies))
    away = jnp.min(jnp.maximum(jnp.maximum(mu - energies[-1], energies[0] - mu), 0))
    smooth = jnp.maximum(energies[-1] - energies[0], away / (_SHARP / 2))
    scale = smooth / jnp.where(velocity == 0, 1, velocity)
    size = _surface_size(surface)
    bounded = jnp.clip(scale, size * _SMALLEST, size * _LARGEST)
    return jnp.where(size > 0, bounded, jnp.where(scale > 0, scale, 1.0))


# Bounds of the scale, in units of the size of the surface. The outermost of n radii is at 0.7 n²
# scales (48: 1,600, 64: 2,900) and must be outside of the surface, hence the first. Measured on
# massive Dirac cones (mass 10⁻⁶ to 0.3 mu, Plane of 64 x 36): the sea is off by 10⁻¹⁵ of itself
# with scales of 0.1 to 1, 10⁻⁶ with 1/100, 3 % with either bound, and wrong below 1/2900.
_SMALLEST, _LARGEST = 1e-3, 1e2


def _surface_size(surface: FermiSurface | FermiStates) -> Float[Array, ""]:
    """The largest |k| of a surface, 0 where there is none."""
    return jnp.max(jnp.where(surface.weight != 0, jnp.linalg.norm(surface.k, axis=0), 0))


def _place_on_rays(mesh: Mesh, ray) -> tuple[Float[Array, "j a"], Float[Array, "j 2 a"]]:
    """t on each ray, and weights of ∫_0^1 t^(d−1) dt by all nodes and by every second one."""
    number = max(mesh.shape) if mesh.domain == "periodic" else mesh.shape[0]
    x, weight = np.polynomial.legendre.leggauss(number)
    x = jnp.asarray(x + 1)[:, None] / 2 + jnp.zeros(ray.shape[1])
    weights = jnp.asarray(np.stack([weight, weight * _thinned_weights(number)], axis=1)) / 2
    if mesh.domain == "periodic":
        return x, jnp.broadcast_to(weights[..., None], (number, 2, ray.shape[1]))
    t, slope = _gather_nodes(mesh, jax.lax.stop_gradient(jnp.linalg.norm(ray, axis=0)), x)
    return t, weights[..., None] * (slope * t ** (mesh.dimension - 1))[:, None]


def _gather_nodes(mesh: Any, length, x):
    """t(x) from 0 to 1 and its slope, with nodes gathered at k = 0, where gaps are small: equally
    dense in log(k + scale) where the scale of the structure there is known, else in the root."""
    if isinstance(mesh, Disk | Ball):
        return x**2, 2 * x
    scale = jnp.max(mesh.scale) / jnp.where(length > 0, length, 1)
    stretch = jnp.log1p(1 / scale)
    t = scale * jnp.expm1(stretch * x)
    return t, stretch * (t + scale)


@functools.cache
def _thinned_weights(number: int) -> np.ndarray:
    """Weights of the rule on every second Gauss-Legendre node over those on all; 0 at the others.

    The rule is exact for polynomials of a quarter of the degree. Its weights are 1.7 to 2.2 times
    as large (8 to 160 nodes).
    """
    x, weight = np.polynomial.legendre.leggauss(number)
    polynomials = np.polynomial.legendre.legvander(x[::2], len(x[::2]) - 1).T
    moments = 2.0 * (np.arange(len(polynomials)) == 0)
    ratio = np.zeros(number)
    ratio[::2] = np.linalg.solve(polynomials, moments) / weight[::2]
    return ratio


def _probe_axes(mesh: Mesh, index) -> Float[Array, "r K"]:
    """1, and for each axis factors of the weights whose sums are errors along that axis.

    In a continuum the change to every second node. On a lattice the highest waves that the nodes
    resolve, for the error is that of waves twice as high: with nodes at half a step from a mirror
    of the integrand, the rule on every second of them has the error of the whole rule.
    """
    numbers = jnp.unravel_index(jnp.minimum(index, mesh.size - 1), mesh.shape)
    factors = [jnp.ones(len(index))]
    for axis, (number, size) in enumerate(zip(numbers, mesh.shape, strict=True)):
        if mesh.domain == "periodic":
            along = _highest_waves(size)
        elif axis < len(mesh.shape) - 1:
            along = [1 - _thinned_weights(size)]
        else:
            along = [1 - np.where(np.arange(size) % 2 == 0, size / -(-size // 2), 0)]
        factors += [jnp.asarray(one)[number] for one in along]
    return jnp.stack(factors)


def _highest_waves(number: int) -> list[np.ndarray]:
    """Two sums of the six highest waves, 90° apart.

    The phases differ from wave to wave, or a sum would vanish at all nodes but a few.
    """
    highest = (number - 1) // 2
    lowest = min(max(number // 4 + 1, highest - 5), highest)
    waves = np.arange(lowest, highest + 1)[:, None]
    phase = 2 * np.pi * waves * np.arange(number) / number + waves**2
    return [2 * np.cos(phase).sum(axis=0), 2 * np.sin(phase).sum(axis=0)]


def _lift(model: Model, k, operators: tuple[MeasuredOperator, ...]) -> Lifted:
    """A model at many k, with the operators that are measured as one."""
    names = tuple(name for operator in operators for name in operator.needs)
    lifted = model.lift(Points(k), Needs(names))
    measured = {_MEASURED: LiftedOperator(measure_operators(operators, lifted, k))}
    return lifted._replace(operators=measured)


_MEASURED = "measured"


def _weigh_pairs(bands: Bands) -> Float[Array, "o d n n K"]:
    """(ε_m − ε_n)² W_mn, 0 in groups of degenerate bands, which a field does not mix."""
    operators = bands.operator(_MEASURED).matrices
    pairs = -2 * (operators[:, None] * jnp.conj(bands.velocity)).imag
    return jnp.where(bands.degenerate, 0, pairs)


def _sum_layer(pairs, energies, layer: Int[ArrayLike, "#K"]) -> Float[Array, "o d K"]:
    """g² U_j of one layer j at each k, g = ε_(j+1) − ε_j: finite where the two bands cross."""
    return jnp.sum(_compare_gaps(energies, layer) * pairs, axis=(2, 3))


def _compare_gaps(energies, layer: Int[ArrayLike, "#K"]) -> Float[Array, "n n K"]:
    """g²/(ε_m − ε_n)² of the pairs m ≤ j < n of one layer j, 0 of all others."""
    number = jnp.arange(len(energies))[:, None]
    across = (number <= layer)[:, None] & (number > layer)[None, :]
    gap = jnp.where(across, energies[None, :] - energies[:, None], 1)
    smallest = jnp.min(jnp.where(across, gap, jnp.inf), axis=(0, 1))
    smallest = jnp.where(jnp.isfinite(smallest), smallest, 1)  # there is no such layer
    ratio = jnp.where(gap == smallest, 1, smallest / jnp.where(gap == 0, 1, gap))
    return jnp.where(across, ratio**2, 0)


def _weigh_band(lifted: Lifted, band: Int[Array, " a"], mu) -> Float[Array, "o d a"]:
    """W_j of one band j at each k, as far as it counts: U_j − U_(j−1).

    Tr(O ρ) of each operator with ρ = i(X − X†), X_nm = c_mn ⟨n|∂H|m⟩ for the pairs m < n with
    their coefficients c: three matrices go to the basis of H(k), and not all operators from there.
    """
    bands = solve_lifted(lifted._replace(operators={}), DEGENERATE_TO_ROUNDING)
    shares = _regular_factor(bands.energies, mu)
    none = jnp.zeros((1, shares.shape[1]))
    shares = jnp.concatenate([none, shares, none])
    at = lambda j: jnp.take_along_axis(shares, j[None] + 1, axis=0)[0]  # noqa: E731
    above, below = (at(j) * _compare_gaps(bands.energies, j) for j in (band, band - 1))
    coefficient = jnp.where(bands.degenerate, 0, above - below)
    half = 1j * bands.velocity * coefficient.swapaxes(0, 1)
    states = matmul(matmul(bands.basis, half + dagger(half)), dagger(bands.basis))
    measured = as_vector(lifted.operators[_MEASURED].matrices)
    return jnp.einsum("oma,dma->oda", measured, as_vector(states))


# The two energies x = 6 away from where s(x) differs from 1, by 2e-15 there.
_SHARP = 6.0


def _regular_factor(energies: Float[Array, "n K"], mu) -> Float[Array, "n-1 K"]:
    """s/g² for each two neighbouring bands: 1/g² where mu is between them, and smooth elsewhere.

    s(x) = erf x − (2/√π) x e^(−x²), as in Ewald sums over dipoles, where x is 6 times the ratio
    of half the gap to the distance of mu from its middle. With mu between the bands the ratio is
    above 1, and s = 1 to rounding. Where bands cross away from mu s U_j is as smooth as H: for
    H = d·σ it is ∝ (o × v)·d s/|d|³, and s/|d|³ is analytic in d².
    """
    low, high = energies[:-1], energies[1:]
    gap, middle = high - low, (high + low) / 2 - mu
    x = _SHARP * gap / 2 / jnp.where(middle == 0, 1, jnp.abs(middle))
    plain = (middle == 0) | (x > _SHARP)
    x = jnp.where(plain, 1, x)
    # The closed form loses digits where x is small, and the series is good to 10⁻¹⁴ there.
    closed = (erf(x) - 2 / np.sqrt(np.pi) * x * jnp.exp(-(x**2))) / x**2
    series = 4 / np.sqrt(np.pi) * x * (1 / 3 - x**2 / 5 + x**4 / 14 - x**6 / 54)
    scaled = jnp.where(x < 0.03, series, closed)
    distance = 2 / _SHARP * jnp.where(middle == 0, 1, middle)
    return jnp.where(plain, 1 / jnp.where(gap == 0, 1, gap) ** 2, scaled / distance**2)


def _far_energies(model, mesh) -> tuple[Float[Array, "n g"], Float[Array, ""]]:
    """The energies at the edge of a bounded mesh, or far out, in each direction, and the distance
    from k = 0 of that edge, or of the outermost points."""
    directions = math.prod(mesh.shape[1:])
    outermost = mesh.points(mesh.size - directions + jnp.arange(directions), model.lattice).k
    radius = jnp.linalg.norm(outermost, axis=0)
    if isinstance(mesh, Disk | Ball):
        reach = far = jnp.asarray(mesh.cutoff)
    else:
        reach = jnp.min(radius)
        far = jnp.maximum(_FAR * jnp.max(mesh.scale), 10 * reach)
    energies = jax.vmap(_band_energies, (None, -1))(model, outermost / radius * far)
    return jnp.moveaxis(energies, 0, -1), reach


def _band_energies(model, k):
    return jnp.linalg.eigvalsh(hamiltonian_at(model, k))
