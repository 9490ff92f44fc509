"""Meshes: where a k-integral takes its points, and with which weights.

A mesh never stores its points. It computes the k-points and weights of any set of flat indices,
so that an integral over 10⁸ points needs no more memory than one over 10⁴. The weights include
the (2π)^-d of Σ_k = ∫d^dk/(2π)^d.
"""

import functools
import math
from abc import abstractmethod
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from jaxspin.algebra import is_traced
from jaxspin.lattice import cell_volume, reciprocal_vectors


class Nodes(eqx.Module):
    """The k-points of some indices of a mesh."""

    #: Wave vectors, 1/Å, Cartesian.
    k: Float[Array, "d K"]
    #: Weights, including (2π)^-d.
    weight: Float[Array, " K"]
    #: Edges of the cell around each point, one vector for each coordinate of the rule, 1/Å.
    edges: Float[Array, "c d K"]


class Mesh(eqx.Module):
    """A domain of k and a product quadrature rule on it."""

    #: Number of nodes along each coordinate of the rule.
    shape: eqx.AbstractVar[tuple[int, ...]]

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Dimension of k."""

    @property
    @abstractmethod
    def domain(self) -> str:
        """ "periodic" (a Brillouin zone), "bounded" or "infinite" (continuum models)."""

    @abstractmethod
    def points(self, index: Int[Array, " K"], lattice: Float[Array, "d d"] | None) -> Nodes:
        """The points of the given flat indices."""

    @abstractmethod
    def coarser(self) -> "Mesh":
        """A rule of about half the nodes along each coordinate, to estimate the error with.

        An angle keeps at least 5 nodes: an integrand of few harmonics is exact there, and one of
        more is seen, because the number differs from that of the mesh itself.
        """

    @property
    def size(self) -> int:
        """Number of k-points."""
        return math.prod(self.shape)


class Grid(Mesh):
    """A uniform grid over the Brillouin zone of a lattice model: k = Σ_i (n_i + shift_i)/N_i b_i.

    Spectrally accurate for smooth periodic integrands. `shift` in units of the spacing moves the
    grid off the zone centre.
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    shift: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, shape: int | Sequence[int], shift: ArrayLike = 0.0):
        self.shape = _counts("shape", shape)
        shifts = (
            np.broadcast_to(shift, len(self.shape)) if np.ndim(shift) == 0 else np.asarray(shift)
        )
        if len(shifts) != len(self.shape) or not np.all(np.isfinite(shifts)):
            raise ValueError(
                f"Argument `shift` must be a number or {len(self.shape)} numbers, but is {shift!r}."
            )
        self.shift = tuple(float(s) for s in shifts)

    @property
    def dimension(self) -> int:
        return len(self.shape)

    @property
    def domain(self) -> str:
        return "periodic"

    def points(self, index, lattice):
        nodes = jnp.unravel_index(index, self.shape)
        fraction = jnp.stack(
            [(n + s) / count for n, s, count in zip(nodes, self.shift, self.shape, strict=True)]
        )
        reciprocal = reciprocal_vectors(lattice)
        edges = reciprocal / jnp.array(self.shape)[:, None]
        return Nodes(
            k=jnp.einsum("iK,ij->jK", fraction, reciprocal),
            weight=jnp.full(index.shape, 1.0) / (self.size * cell_volume(lattice)),
            edges=jnp.broadcast_to(edges[..., None], (*edges.shape, index.size)),
        )

    def coarser(self) -> "Grid":
        return Grid([max(1, n // 2) for n in self.shape], self.shift)


class Disk(Mesh):
    """The disk |k| < cutoff: Gauss-Legendre in the radius, uniform in the angle. 1/Å."""

    cutoff: Float[Array, ""]
    radial: int = eqx.field(static=True)
    angular: int = eqx.field(static=True)

    def __init__(self, cutoff: ArrayLike, radial: int, angular: int):
        self.cutoff = _lengths("cutoff", cutoff, ())
        self.radial, self.angular = _count("radial", radial), _count("angular", angular)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.radial, self.angular

    @property
    def dimension(self) -> int:
        return 2

    @property
    def domain(self) -> str:
        return "bounded"

    def points(self, index, lattice):
        i, j = jnp.unravel_index(index, self.shape)
        t, weight = _on_unit_interval(self.radial, i)
        return _polar(self.cutoff * t, self.cutoff * weight, j, self.angular, jnp.ones(2))

    def coarser(self) -> "Disk":
        return Disk(self.cutoff, _half(self.radial), _half_turn(self.angular))


class Plane(Mesh):
    """The whole plane, for continuum models: k_i = scale_i · t/(1-t) · n_i, 0 < t < 1.

    Gauss-Legendre in t, uniform in the angle of n. Integrands that fall off algebraically become
    smooth up to t = 1, so the Fermi sea is integrated to infinity with no cutoff. `scale` (1/Å,
    one number or one for each axis) is where the structure of the bands is: of the order of
    (gap)/(velocity).
    """

    scale: Float[Array, " 2"]
    radial: int = eqx.field(static=True)
    angular: int = eqx.field(static=True)

    def __init__(self, scale: ArrayLike, radial: int, angular: int):
        self.scale = _lengths("scale", scale, (2,))
        self.radial, self.angular = _count("radial", radial), _count("angular", angular)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.radial, self.angular

    @property
    def dimension(self) -> int:
        return 2

    @property
    def domain(self) -> str:
        return "infinite"

    def points(self, index, lattice):
        i, j = jnp.unravel_index(index, self.shape)
        return _polar(*_algebraic(self.radial, i), j, self.angular, self.scale)

    def coarser(self) -> "Plane":
        return Plane(self.scale, _half(self.radial), _half_turn(self.angular))


class Ball(Mesh):
    """The ball |k| < cutoff: Gauss-Legendre in radius and cos θ, uniform in the azimuth. 1/Å."""

    cutoff: Float[Array, ""]
    radial: int = eqx.field(static=True)
    polar: int = eqx.field(static=True)
    azimuthal: int = eqx.field(static=True)

    def __init__(self, cutoff: ArrayLike, radial: int, polar: int, azimuthal: int):
        self.cutoff = _lengths("cutoff", cutoff, ())
        self.radial, self.polar = _count("radial", radial), _count("polar", polar)
        self.azimuthal = _count("azimuthal", azimuthal)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.radial, self.polar, self.azimuthal

    @property
    def dimension(self) -> int:
        return 3

    @property
    def domain(self) -> str:
        return "bounded"

    def points(self, index, lattice):
        i, *angles = jnp.unravel_index(index, self.shape)
        t, weight = _on_unit_interval(self.radial, i)
        radius = self.cutoff * t, self.cutoff * weight
        return _spherical(*radius, *angles, self.shape[1:], jnp.ones(3))

    def coarser(self) -> "Ball":
        counts = _half(self.radial), _half(self.polar), _half_turn(self.azimuthal)
        return Ball(self.cutoff, *counts)


class Space(Mesh):
    """The whole of space, for continuum models: k_i = scale_i · t/(1-t) · n_i, 0 < t < 1.

    Gauss-Legendre in t and cos θ, uniform in the azimuth; the polar axis is z. `scale` as for
    `Plane`: one number, or one for each axis (1/Å).
    """

    scale: Float[Array, " 3"]
    radial: int = eqx.field(static=True)
    polar: int = eqx.field(static=True)
    azimuthal: int = eqx.field(static=True)

    def __init__(self, scale: ArrayLike, radial: int, polar: int, azimuthal: int):
        self.scale = _lengths("scale", scale, (3,))
        self.radial, self.polar = _count("radial", radial), _count("polar", polar)
        self.azimuthal = _count("azimuthal", azimuthal)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.radial, self.polar, self.azimuthal

    @property
    def dimension(self) -> int:
        return 3

    @property
    def domain(self) -> str:
        return "infinite"

    def points(self, index, lattice):
        i, *angles = jnp.unravel_index(index, self.shape)
        return _spherical(*_algebraic(self.radial, i), *angles, self.shape[1:], self.scale)

    def coarser(self) -> "Space":
        counts = _half(self.radial), _half(self.polar), _half_turn(self.azimuthal)
        return Space(self.scale, *counts)


class Path(eqx.Module):
    """A path of straight lines through named points, for band structures.

    `points` are in units of the reciprocal vectors for a lattice model and in 1/Å for a continuum
    model. The path never enters an integral.
    """

    points: np.ndarray
    labels: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, points: Sequence[Sequence[float]], labels: Sequence[str]):
        array = np.asarray(points, dtype=float)
        if array.ndim != 2 or len(array) < 2 or not np.all(np.isfinite(array)):
            raise ValueError(
                "Argument `points` must be at least two finite k-points of equal dimension, "
                f"but is {points!r}."
            )
        if len(labels) != len(array):
            raise ValueError(
                f"Argument `labels` must have {len(array)} names, one for each point, "
                f"but has {len(labels)}."
            )
        self.points = array
        self.labels = tuple(labels)

    def sample(
        self, number: int, lattice: Float[Array, "d d"] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """About `number` k-points spread evenly by length.

        Returns:
            k (K, d) in 1/Å; distance along the path (K,); distance of each named point.
        """
        corners = self.points
        if lattice is not None:
            corners = corners @ np.asarray(reciprocal_vectors(lattice))
        lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
        ticks = np.concatenate([[0.0], np.cumsum(lengths)])
        distance = np.unique(np.concatenate([np.linspace(0, ticks[-1], number), ticks]))
        k = np.stack([np.interp(distance, ticks, column) for column in corners.T], axis=-1)
        return k, distance, ticks


@functools.lru_cache(maxsize=64)
def _gauss_legendre(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [-1, 1]."""
    return np.polynomial.legendre.leggauss(number)


def _on_unit_interval(number: int, index: Int[Array, " K"]) -> tuple[Array, Array]:
    nodes, weights = _gauss_legendre(number)
    return jnp.asarray((nodes + 1) / 2)[index], jnp.asarray(weights / 2)[index]


def _algebraic(number: int, index: Int[Array, " K"]) -> tuple[Array, Array]:
    """Radius t/(1-t) and the weight that goes with dr = dt/(1-t)²."""
    t, weight = _on_unit_interval(number, index)
    return t / (1 - t), weight / (1 - t) ** 2


def _azimuth(index: Int[Array, " K"], number: int) -> Array:
    return 2 * jnp.pi * (index + 0.5) / number


def _polar(radius, width, j, angular, scale) -> Nodes:
    """Points of a polar rule whose radii carry the weights `width`."""
    step = 2 * jnp.pi / angular
    phi = _azimuth(j, angular)
    outward = jnp.stack([jnp.cos(phi), jnp.sin(phi)])
    around = jnp.stack([-jnp.sin(phi), jnp.cos(phi)])
    return Nodes(
        k=scale[:, None] * radius * outward,
        weight=radius * width * step * jnp.prod(scale) / (2 * jnp.pi) ** 2,
        edges=scale[:, None]
        * jnp.stack([_across(radius, width) * outward, radius * step * around]),
    )


def _spherical(radius, width, i, j, counts, scale) -> Nodes:
    """Points of a spherical rule whose radii carry the weights `width`."""
    nodes, weights = _gauss_legendre(counts[0])
    cosine, ring = jnp.asarray(nodes)[i], jnp.asarray(weights)[i]
    step = 2 * jnp.pi / counts[1]
    sine, phi = jnp.sqrt(1 - cosine**2), _azimuth(j, counts[1])
    flat = jnp.zeros_like(phi)
    outward = jnp.stack([sine * jnp.cos(phi), sine * jnp.sin(phi), cosine])
    downward = jnp.stack([cosine * jnp.cos(phi), cosine * jnp.sin(phi), -sine])
    around = jnp.stack([-jnp.sin(phi), jnp.cos(phi), flat])
    edges = jnp.stack(
        [
            _across(radius, width) * outward,
            radius * ring / sine * downward,
            radius * sine * step * around,
        ]
    )
    return Nodes(
        k=scale[:, None] * radius * outward,
        weight=radius**2 * width * ring * step * jnp.prod(scale) / (2 * jnp.pi) ** 3,
        edges=scale[:, None] * edges,
    )


def _across(radius, width):
    """Radial edge of a cell. The outermost cells of an algebraic map are as wide as they are far,
    too wide for energies linear in k; none of them may seem to reach the Fermi surface."""
    return jnp.minimum(width, radius / 2)


def _half(number: int) -> int:
    return max(1, number // 2)


def _half_turn(number: int) -> int:
    return max(number // 2, 5 if number != 5 else 6)


def _count(name: str, value: int) -> int:
    if np.ndim(value):
        raise ValueError(f"Argument `{name}` must be one positive integer, but is {value!r}.")
    return _counts(name, value)[0]


def _counts(name: str, value: int | Sequence[int]) -> tuple[int, ...]:
    counts = tuple(value) if np.ndim(value) else (value,)
    if not counts or not all(isinstance(n, int | np.integer) and n >= 1 for n in counts):
        raise ValueError(f"Argument `{name}` must be positive integers, but is {value!r}.")
    return tuple(int(n) for n in counts)


def _lengths(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    if np.shape(value) not in ((), shape):
        several = "".join(f" or {length}" for length in shape)
        raise ValueError(f"Argument `{name}` must be one number{several}, but is {value!r}.")
    if not is_traced(value):
        value = np.asarray(value, dtype=float)
        if not np.all(np.isfinite(value)) or not np.all(value > 0):
            raise ValueError(f"Argument `{name}` must be positive (1/Å), but is {value!r}.")
    return jnp.broadcast_to(jnp.asarray(value, dtype=jnp.result_type(float)), shape)
