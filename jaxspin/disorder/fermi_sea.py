"""The response of the Fermi sea, exact up to the Fermi surface.

χ_O,j = Σ_k Σ_m f_m W_m,  W_m = −2 Im Σ_n ⟨m|O|n⟩⟨n|∂_jH|m⟩/(ε_m − ε_n)²,  O = −∂_iH or spin.

A step at the Fermi energy would spoil any rule on a mesh, so the occupied region of each band is
integrated from its boundary instead: with a field F whose divergence is W_m (divergence theorem)

    Σ_k θ(mu − ε_m) W_m = Σ_a w_a v_a·F(k_a) + what is filled where F starts,

w_a and v_a being the weights and velocities of the Fermi surface. F is the integral of W_m along a
straight ray to k_a: in a continuum from k = 0, F = k ∫_0^1 W_m(tk) t^(d−1) dt; on a lattice from a
plane in the Brillouin zone that the Fermi surface does not cross. Bands filled at the start of the
rays are integrated over the whole domain on a mesh; only pairs of a filled and an empty band count,
since Σ_m W_m = 0.
"""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxspin.algebra import diagonal_of_product, product
from jaxspin.disorder.contributions import measured
from jaxspin.disorder.shell import Shell, shell
from jaxspin.lattice import reciprocal_vectors
from jaxspin.meshes import Ball, Disk, Grid, Mesh, Plane, Space
from jaxspin.models.base import Model, hamiltonian_at
from jaxspin.spectrum import Covariant, solve
from jaxspin.surfaces import FermiSurface

_TILE = 4096  # points of a mesh at a time
# Far out, in units of the scale of the mesh: Dirac bands are then 10⁻⁸ from their asymptotes.
_FAR = 1e4


class FermiSea(eqx.Module):
    """What the sea needs that does not depend on the Fermi energy."""

    #: Σ_k of each pair of bands, first by the mesh and then by fewer of its points (`_fewer`); g
    #: directions in a continuum, 1 on a lattice.
    pairs: Float[Array, "2 o d n n g"]
    #: Energies where the rays end: far out in each direction, or on the mesh of a lattice.
    energies: Float[Array, "n g"]
    mesh: Mesh

    def __call__(
        self, model: Model, on_shell: Shell, band: Int[Array, " a"], mu: Float[Array, ""]
    ) -> tuple[Float[Array, "o d"], Float[Array, " o"], Bool[Array, ""]]:
        """The response of the sea, the estimated error of each operator (from fewer points on the
        mesh and on the rays), and whether the rays had where to start."""
        if self.mesh.domain == "periodic":
            filled, start, ray, found = self._from_planes(model, on_shell, band, mu)
        else:
            filled = self.energies < mu
            start, ray, found = jnp.zeros_like(on_shell.k), on_shell.k, jnp.asarray(True)
        full = jnp.einsum("rojmng,mg,ng->roj", self.pairs, 1.0 * filled, 1.0 * ~filled)
        velocity = on_shell.expectation(on_shell.slopes)
        flux = on_shell.weight * jnp.sum(velocity * ray, axis=0)
        along = self._along(model, start, ray, band, on_shell.occupied)
        total = full + along @ flux
        return total[0], jnp.max(jnp.abs(total[0] - total[1]), axis=-1), found

    def _along(self, model, start, ray, band, occupied) -> Float[Array, "2 o d a"]:
        """∫_0^1 W(start + t ray) t^(d−1) dt for each ray, without the power on a lattice."""

        def add(total, node):
            t, weights = node
            surface = FermiSurface(start + t * ray, band, 1.0 * occupied)
            return total + weights[:, None, None] * _weight(shell(model, surface)), None

        operators = model.dimension + 3
        zero = jnp.zeros((2, operators, model.dimension, len(band)))
        return jax.lax.scan(add, zero, _on_rays(self.mesh, ray))[0]

    def _from_planes(self, model, on_shell, band, mu):
        """For each band the plane u_i = constant of the mesh that is furthest from mu."""
        shape, n = self.mesh.shape, len(self.energies)
        distance = self.energies.reshape(n, *shape) - mu
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
        crossed = jnp.zeros(n, bool).at[band].max(on_shell.occupied)
        found = jnp.all((jnp.max(margin, axis=1) > 0) | ~crossed)
        reciprocal = reciprocal_vectors(model.lattice)
        u = jnp.linalg.solve(reciprocal.T, on_shell.k)
        along = jnp.take_along_axis(u, axes[band][None], axis=0)[0]
        ray = jnp.mod(along - origins[band], 1.0) * reciprocal[axes[band]].T
        return filled, on_shell.k - ray, ray, found


def fermi_sea(model: Model, mesh: Mesh) -> FermiSea:
    """The sums over whole bands on a mesh."""
    tile = min(_TILE, mesh.size)
    tiles = -(-mesh.size // tile)
    index = np.arange(tiles * tile).reshape(tiles, tile)
    groups = 1 if mesh.domain == "periodic" else math.prod(mesh.shape[1:])

    def of_tile(index):
        inside = index < mesh.size
        nodes = mesh.points(jnp.minimum(index, mesh.size - 1), model.lattice)
        weight = jnp.where(inside, nodes.weight, 0)
        second = weight * _fewer(mesh, index)
        pairs, energies = _pairs(model, nodes.k)
        summed = [
            jax.ops.segment_sum(jnp.moveaxis(pairs * w, -1, 0), index % groups, groups)
            for w in (weight, second)
        ]
        return jnp.stack(summed), energies

    pairs, energies = jax.lax.map(of_tile, jnp.asarray(index))
    pairs = jnp.moveaxis(jnp.sum(pairs, axis=0), 1, -1)
    if mesh.domain == "periodic":
        energies = jnp.moveaxis(energies, 0, 1).reshape(energies.shape[1], -1)[:, : mesh.size]
    else:
        energies = _far_energies(model, mesh)
    return FermiSea(pairs, jax.lax.stop_gradient(energies), mesh)


def default_mesh(model: Model, surface: FermiSurface) -> Mesh:
    """The mesh for filled bands where none was asked for."""
    if model.lattice is not None:
        return Grid({2: (64, 64), 3: (24, 24, 24)}[model.dimension], 0.5)
    scale = jax.lax.stop_gradient(_scale(model, surface))
    if model.dimension == 2:
        return eqx.tree_at(lambda m: m.scale, Plane(1.0, 64, 36), jnp.full(2, scale))
    return eqx.tree_at(lambda m: m.scale, Space(1.0, 48, 16, 24), jnp.full(3, scale))


def _scale(model, surface) -> Float[Array, ""]:
    """(spread of the energies at k = 0)/(velocity), at most 100 times the size of the surface and
    at least 1/1000 of it, below which a Plane of 64 radii has too few of them farther out."""
    origin = jnp.zeros((model.dimension, 1))
    hamiltonian, slopes = model.tile(origin)
    energies = jnp.linalg.eigvalsh(hamiltonian[..., 0])
    velocity = jnp.sqrt(jnp.sum(jnp.abs(slopes) ** 2) / len(energies))
    scale = (energies[-1] - energies[0]) / jnp.where(velocity == 0, 1, velocity)
    size = jnp.max(jnp.where(surface.weight != 0, jnp.linalg.norm(surface.k, axis=0), 0))
    bounded = jnp.clip(scale, size / 1000, 100 * size)
    return jnp.where(size > 0, bounded, jnp.where(scale > 0, scale, 1.0))


def _on_rays(mesh: Mesh, ray) -> tuple[Float[Array, "j a"], Float[Array, "j 2 a"]]:
    """t on each ray, and weights of ∫_0^1 t^(d−1) dt by all nodes and by every second one."""
    number = max(mesh.shape) if mesh.domain == "periodic" else mesh.shape[0]
    x, weight = np.polynomial.legendre.leggauss(number)
    x = jnp.asarray(x + 1)[:, None] / 2 + jnp.zeros(ray.shape[1])
    weights = jnp.asarray(np.stack([weight, weight * _every_second(number)], axis=1)) / 2
    if mesh.domain == "periodic":
        return x, jnp.broadcast_to(weights[..., None], (number, 2, ray.shape[1]))
    t, slope = _gathered(mesh, jax.lax.stop_gradient(jnp.linalg.norm(ray, axis=0)), x)
    return t, weights[..., None] * (slope * t ** (mesh.dimension - 1))[:, None]


def _gathered(mesh: Mesh, length, x):
    """t(x) from 0 to 1 and its slope, with nodes gathered at k = 0, where gaps are small: equally
    dense in log(k + scale) where the scale of the structure there is known, else in the root."""
    if isinstance(mesh, Disk | Ball):
        return x**2, 2 * x
    scale = jnp.max(mesh.scale) / jnp.where(length > 0, length, 1)
    stretch = jnp.log1p(1 / scale)
    t = scale * jnp.expm1(stretch * x)
    return t, stretch * (t + scale)


@functools.cache
def _every_second(number: int) -> np.ndarray:
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


def _fewer(mesh: Mesh, index) -> Float[Array, " K"]:
    """The weight of a point in a rule with every second radius and direction, over that in the
    mesh; on a lattice every second point along the last axis."""
    last = mesh.shape[-1]
    share = jnp.where(index % last % 2 == 0, last / -(-last // 2), 0)
    if mesh.domain == "periodic":
        return share
    radius = jnp.minimum(index, mesh.size - 1) // math.prod(mesh.shape[1:])
    return share * jnp.asarray(_every_second(mesh.shape[0]))[radius]


def _weight(on_shell: Shell) -> Float[Array, "o d a"]:
    """W = −2 Im Tr(P O R² ∂_jH) of one band each."""
    squared = product(on_shell.resolvent, on_shell.resolvent)
    seen = product(product(on_shell.projector, measured(on_shell)), squared)[:, None]
    return -2 * jnp.sum(diagonal_of_product(seen, on_shell.slopes), axis=-2).imag


def _pairs(model, k) -> tuple[Float[Array, "o d n n K"], Float[Array, "n K"]]:
    """What the pairs of bands contribute, and the energies."""
    bands = solve(model, k, Covariant())
    spin = jnp.broadcast_to(bands.spin, (3, *bands.velocity.shape[1:]))
    operators = jnp.concatenate([-bands.velocity, spin])
    moved = operators[:, None] * jnp.conj(bands.velocity)
    return -2 * moved.imag * bands.inverse_gap**2, bands.energies


def _far_energies(model, mesh) -> Float[Array, "n g"]:
    """The energies at the edge of a bounded mesh, or far out, in each direction."""
    directions = math.prod(mesh.shape[1:])
    outermost = mesh.points(jnp.arange(directions), model.lattice).k
    edge = mesh.cutoff if isinstance(mesh, Disk | Ball) else _FAR * jnp.max(mesh.scale)
    k = outermost / jnp.linalg.norm(outermost, axis=0) * edge
    return jnp.moveaxis(jax.vmap(_energies, (None, -1))(model, k), 0, -1)


def _energies(model, k):
    return jnp.linalg.eigvalsh(hamiltonian_at(model, k))
