"""Meshes: where a k-integral takes its points, and with which weights.

A mesh is a domain and a rule. `coordinates` maps the unit cube to the domain; the rule is a product
of one-dimensional rules on the unit interval (`rules`). The points themselves are never stored, so
that an integral over 10⁸ points needs no more memory than one over 10⁴. The weights include the
(2π)^-d of Σ_k = ∫d^dk/(2π)^d.
"""

import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from jaxspin.algebra import finite_reals, is_traced, shortened
from jaxspin.descriptions import describe_fields
from jaxspin.lattice import cell_volume, reciprocal_vectors
from jaxspin.tolerances import ALIKE


class Rule(eqx.Module):
    """A quadrature rule on the unit interval: nodes, and the width of the cell of each."""

    nodes: Float[np.ndarray, " N"]
    widths: Float[np.ndarray, " N"]
    #: How many nodes of the full rule each node stands for: more than 1 on a folded mesh.
    times: Float[np.ndarray, " N"]

    def __init__(self, nodes: np.ndarray, widths: np.ndarray, times: np.ndarray | None = None):
        self.nodes, self.widths = nodes, widths
        self.times = np.ones(len(nodes)) if times is None else times


#: How an orthogonal map of k acts on one coordinate of the unit cube: u -> sign u + offset.
Reflection = tuple[int, float]


class Nodes(eqx.Module):
    """k-points of a mesh."""

    #: Wave vectors, 1/Å, Cartesian.
    k: Float[Array, "d *K"]
    #: Weights, including (2π)^-d.
    weight: Float[Array, "*K"]
    #: Edges of the cell around each point, one vector for each coordinate of the rule, 1/Å.
    edges: Float[Array, "c d *K"]


class Coordinates(eqx.Module):
    """A map from the unit cube to k."""

    #: Whether k = Σ_i u_i b_i, with the reciprocal vectors b_i of the model.
    periodic: ClassVar[bool] = False
    #: Which orthogonal maps of k act on each coordinate alone, in words.
    foldable: ClassVar[str]

    @abstractmethod
    def reflections(
        self, rotation: Float[np.ndarray, "d d"], lattice: Float[Array, "d d"] | None
    ) -> tuple[Reflection, ...] | None:
        """How the map of k by an orthogonal matrix acts on each coordinate, modulo 1.

        None where it mixes the coordinates, or where whether it does is being traced.
        """

    @abstractmethod
    def __call__(
        self,
        u: Sequence[Float[Array, "*K"]],
        widths: Sequence[Float[Array, "*K"]],
        lattice: Float[Array, "d d"] | None,
    ) -> Nodes:
        """The k-points at `u`.

        Args:
            u: one array in [0, 1] for each coordinate. The shapes need only broadcast together:
                on a box of a product rule, what depends on one coordinate is computed once for
                each of its values.
            widths: of the cell around each point, of the same shapes.
            lattice: direct lattice vectors of the model (reciprocal coordinates).
        """

    @abstractmethod
    def inverse(
        self, k: Float[np.ndarray, "*K d"], lattice: Float[Array, "d d"] | None
    ) -> Float[np.ndarray, "*K d"]:
        """The point of the unit cube that belongs to k; outside of it where k is outside."""


class Reciprocal(Coordinates):
    """The Brillouin zone: k = Σ_i u_i b_i."""

    periodic = True
    foldable = (
        "On a Grid with shifts that are multiples of 1/2, those do that take every reciprocal "
        "vector to itself or to its negative, such as time reversal and inversion."
    )

    def reflections(self, rotation, lattice):
        matrix = rotation
        if not _is_diagonal(rotation) or np.ptp(np.diag(rotation)) > 0:
            if is_traced(lattice):
                return None
            direct = np.asarray(lattice, dtype=float)  # u = a k/2π
            matrix = direct @ rotation @ np.linalg.inv(direct)
        if not _is_diagonal(matrix):
            return None
        return tuple((round(float(sign)), 0.0) for sign in np.diag(matrix))

    def __call__(self, u, widths, lattice):
        reciprocal = reciprocal_vectors(lattice)
        k = [sum(u_i * b for u_i, b in zip(u, column, strict=True)) for column in reciprocal.T]
        edges = [[w * b for b in row] for w, row in zip(widths, reciprocal, strict=True)]
        return Nodes(_stack(k), math.prod(widths) / cell_volume(lattice), _stack(edges))

    def inverse(self, k, lattice):
        return _fraction(k @ np.asarray(lattice).T / (2 * np.pi))


class Polar(Coordinates):
    """Radius r(u_0) and angle 2π u_1 in the plane, k_i = scale_i r n_i."""

    scale: Float[Array, " 2"]
    radius: Callable = eqx.field(static=True)
    foldable = (
        "On a Disk or a Plane, those do that take its angles 2π(j + ½)/N to each other and "
        "its two scales too, such as rotations about z of an order that divides N."
    )

    def reflections(self, rotation, lattice):
        if not _keeps(self.scale, rotation):
            return None
        return (1, 0.0), _turn(rotation)

    def __call__(self, u, widths, lattice):
        (radius, width), (a, b) = self.radius(u[0], widths[0]), self.scale
        angle, step = 2 * jnp.pi * u[1], 2 * jnp.pi * widths[1]
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        across, around = _across(radius, width), radius * step
        return Nodes(
            k=_stack([radius * (a * cosine), radius * (b * sine)]),
            weight=radius * width * step * (a * b / (2 * jnp.pi) ** 2),
            edges=_stack(
                [
                    [across * (a * cosine), across * (b * sine)],
                    [-around * (a * sine), around * (b * cosine)],
                ]
            ),
        )

    def inverse(self, k, lattice):
        x, y = np.moveaxis(k / np.asarray(self.scale), -1, 0)
        radial = _RADIAL_COORDINATE[self.radius](np.hypot(x, y))
        return np.stack([radial, _fraction(np.arctan2(y, x) / (2 * np.pi))], axis=-1)


class Spherical(Coordinates):
    """Radius r(u_0), cos θ = 2 u_1 - 1 and azimuth 2π u_2 in space, k_i = scale_i r n_i."""

    scale: Float[Array, " 3"]
    radius: Callable = eqx.field(static=True)
    foldable = (
        "On a Ball or a Space, those do that take the z axis to itself, its azimuths "
        "2π(j + ½)/N to each other and its scales too, such as rotations about z of an order "
        "that divides N."
    )

    def reflections(self, rotation, lattice):
        up = round(float(rotation[2, 2]))
        if abs(abs(rotation[2, 2]) - 1) > ALIKE.of() or not _keeps(self.scale, rotation):
            return None
        return (1, 0.0), ((1, 0.0) if up == 1 else (-1, 1.0)), _turn(rotation)

    def __call__(self, u, widths, lattice):
        (radius, width), (a, b, c) = self.radius(u[0], widths[0]), self.scale
        z, ring = 2 * u[1] - 1, 2 * widths[1]
        angle, step = 2 * jnp.pi * u[2], 2 * jnp.pi * widths[2]
        rho, cosine, sine = jnp.sqrt(1 - z**2), jnp.cos(angle), jnp.sin(angle)
        across, down, around = _across(radius, width), radius * ring / rho, radius * rho * step
        return Nodes(
            k=_stack([radius * rho * (a * cosine), radius * rho * (b * sine), c * radius * z]),
            weight=radius**2 * width * ring * step * (a * b * c / (2 * jnp.pi) ** 3),
            edges=_stack(
                [
                    [across * rho * (a * cosine), across * rho * (b * sine), c * across * z],
                    [down * z * (a * cosine), down * z * (b * sine), -c * down * rho],
                    [-around * (a * sine), around * (b * cosine), jnp.zeros(())],
                ]
            ),
        )

    def inverse(self, k, lattice):
        x, y, z = np.moveaxis(k / np.asarray(self.scale), -1, 0)
        radius = np.sqrt(x**2 + y**2 + z**2)
        polar = (1 + z / np.maximum(radius, np.finfo(float).tiny)) / 2
        radial = _RADIAL_COORDINATE[self.radius](radius)
        return np.stack([radial, polar, _fraction(np.arctan2(y, x) / (2 * np.pi))], axis=-1)


def linear(u: Array, width: Array) -> tuple[Array, Array]:
    """Radius of a bounded domain, in units of the cutoff, and the width of its cell."""
    return u, width


def algebraic(u: Array, width: Array) -> tuple[Array, Array]:
    """Radius u/(1-u) of an infinite domain and its width du/(1-u)²."""
    return u / (1 - u), width / (1 - u) ** 2


#: The coordinate that belongs to a radius.
_RADIAL_COORDINATE = {linear: lambda r: r, algebraic: lambda r: r / (1 + r)}


def _fraction(u: np.ndarray) -> np.ndarray:
    """u modulo 1, in [0, 1)."""
    return np.where(u % 1 < 1, u % 1, 0.0)


def _across(radius, width):
    """Radial edge of a cell. The outermost cells of an algebraic map are as wide as they are far,
    too wide for energies linear in k; none of them may seem to reach the Fermi surface."""
    return jnp.minimum(width, radius / 2)


def _is_diagonal(matrix: np.ndarray) -> bool:
    signs = np.diag(np.sign(np.diag(matrix)))
    return bool(np.all(np.abs(matrix - signs) < ALIKE.of()))


def _keeps(scale: Array, rotation: np.ndarray) -> bool:
    """Whether a rotation of k is the same rotation of k_i/scale_i. Not known of traced scales."""
    if _is_diagonal(rotation):
        return True
    if is_traced(scale):
        return False
    lengths = np.asarray(scale, dtype=float)
    scaled = rotation * lengths / lengths[:, None]
    return bool(np.all(np.abs(scaled - rotation) < ALIKE.of()))


def _turn(rotation: np.ndarray) -> Reflection:
    """How a matrix acts on the azimuth over 2π: its image of the x axis, and its handedness."""
    (a, b), (c, d) = rotation[:2, :2]
    return (1 if a * d - b * c > 0 else -1), float(np.arctan2(c, a) / (2 * np.pi))


class Mesh(eqx.Module):
    """A domain of k and a product quadrature rule on it."""

    #: Number of nodes along each coordinate of the rule.
    shape: eqx.AbstractVar[tuple[int, ...]]

    def __repr__(self) -> str:
        return describe_fields(self)

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Dimension of k."""

    @property
    @abstractmethod
    def domain(self) -> str:
        """ "periodic" (a Brillouin zone), "bounded" or "infinite" (continuum models)."""

    @property
    @abstractmethod
    def rules(self) -> tuple[Rule, ...]:
        """The rule along each coordinate."""

    @property
    @abstractmethod
    def coordinates(self) -> Coordinates:
        """The map from the unit cube to k."""

    @abstractmethod
    def coarser(self) -> "Mesh":
        """A rule of about half the nodes along each coordinate, to estimate the error with.

        An angle keeps at least 5 nodes: an integrand of few harmonics is exact there, and one of
        more is seen, because the number differs from that of the mesh itself.
        """

    def much_coarser(self) -> tuple["Mesh", ...]:
        """Rules of fewer nodes still, with other shifts, to tell an error from its chance.

        A mesh without them has its error estimated from one coarser mesh.
        """
        return ()

    @property
    def size(self) -> int:
        """Number of k-points."""
        return math.prod(self.shape)

    def points(self, index: Int[Array, " K"], lattice: Float[Array, "d d"] | None) -> Nodes:
        """The points of the given flat indices."""
        parts = jnp.unravel_index(index, self.shape)
        pairs = list(zip(self.rules, parts, strict=True))
        u, widths, times = (
            [jnp.asarray(getattr(rule, name))[i] for rule, i in pairs]
            for name in ("nodes", "widths", "times")
        )
        nodes = self.coordinates(u, widths, lattice)
        return Nodes(nodes.k, nodes.weight * math.prod(times), nodes.edges)


class Grid(Mesh):
    """A uniform grid over the Brillouin zone of a lattice model: k = Σ_i (n_i + shift_i)/N_i b_i.

    Spectrally accurate for smooth periodic integrands. `shift` in units of the spacing moves the
    grid off the zone centre.
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    shift: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, shape: int | Sequence[int], shift: ArrayLike = 0.0):
        self.shape = _counts("shape", shape)
        d = len(self.shape)
        if np.shape(shift) not in ((), (d,)) or not finite_reals(shift):
            raise ValueError(
                f"Argument `shift` must be a number or {d} numbers, but is {shortened(shift)}."
            )
        if np.any(np.abs(shift) > 1):
            raise ValueError(
                "Argument `shift` must be from -1 to 1, in units of the spacing, but is "
                f"{shortened(shift)}. A grid of more dimensions is Grid((8, 8)), not Grid(8, 8)."
            )
        self.shift = tuple(float(s) for s in np.broadcast_to(shift, d))

    @property
    def dimension(self) -> int:
        return len(self.shape)

    @property
    def domain(self) -> str:
        return "periodic"

    @property
    def rules(self):
        return tuple(_uniform(n, s) for n, s in zip(self.shape, self.shift, strict=True))

    @property
    def coordinates(self):
        return Reciprocal()

    def coarser(self) -> "Grid":
        return Grid([max(1, n // 2) for n in self.shape], self.shift)

    def much_coarser(self) -> tuple["Grid", ...]:
        # A shift by half a spacing keeps the symmetries that a grid has, and with them the size of
        # its stars of equivalent nodes, by which the noise grows.
        return tuple(
            Grid(
                [_part(n, x) for n in self.shape],
                [s if n == 1 else s + more for n, s in zip(self.shape, self.shift, strict=True)],
            )
            for x, more in zip(_MUCH_COARSER, (0.5, 0.0, 0.5), strict=True)
        )


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

    @property
    def rules(self):
        return _gauss_legendre(self.radial), _uniform(self.angular, 0.5)

    @property
    def coordinates(self):
        return Polar(jnp.broadcast_to(self.cutoff, (2,)), linear)

    def coarser(self) -> "Disk":
        return Disk(self.cutoff, _half(self.radial), _half_turn(self.angular))

    def much_coarser(self) -> tuple["Disk", ...]:
        return tuple(
            Disk(self.cutoff, _part(self.radial, x), _part_of_turn(self.angular, x))
            for x in _MUCH_COARSER
        )


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

    @property
    def rules(self):
        return _gauss_legendre(self.radial), _uniform(self.angular, 0.5)

    @property
    def coordinates(self):
        return Polar(self.scale, algebraic)

    def coarser(self) -> "Plane":
        return Plane(self.scale, _half(self.radial), _half_turn(self.angular))

    def much_coarser(self) -> tuple["Plane", ...]:
        return tuple(
            Plane(self.scale, _part(self.radial, x), _part_of_turn(self.angular, x))
            for x in _MUCH_COARSER
        )


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

    @property
    def rules(self):
        return _spherical_rules(self.shape)

    @property
    def coordinates(self):
        return Spherical(jnp.broadcast_to(self.cutoff, (3,)), linear)

    def coarser(self) -> "Ball":
        counts = _half(self.radial), _half(self.polar), _half_turn(self.azimuthal)
        return Ball(self.cutoff, *counts)

    def much_coarser(self) -> tuple["Ball", ...]:
        return tuple(Ball(self.cutoff, *_parts(self.shape, x)) for x in _MUCH_COARSER)


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

    @property
    def rules(self):
        return _spherical_rules(self.shape)

    @property
    def coordinates(self):
        return Spherical(self.scale, algebraic)

    def coarser(self) -> "Space":
        counts = _half(self.radial), _half(self.polar), _half_turn(self.azimuthal)
        return Space(self.scale, *counts)

    def much_coarser(self) -> tuple["Space", ...]:
        return tuple(Space(self.scale, *_parts(self.shape, x)) for x in _MUCH_COARSER)


class Adaptive(eqx.Module):
    """A mesh that is refined where the error is, until a tolerance is met.

    The cells of the domain of `mesh` are halved until, at every level and for every component, the
    estimated error is at most `atol` or `rtol` times the largest component of that level, or until
    `max_points` k-points have been evaluated, which gives a warning. Where the largest component
    is less than 10⁻³ of what its cells add up to in magnitude (a zero by cancellation), `rtol` is
    relative to that part.

    Args:
        mesh: the domain and, by its number of nodes, the first cells (of 5 nodes an axis).
        rtol: tolerance relative to the largest component.
        atol: tolerance in natural units (ħ = e = 1, eV, Å).
        max_points: largest number of k-points to evaluate.
    """

    mesh: Mesh
    rtol: float = eqx.field(static=True)
    atol: float = eqx.field(static=True)
    max_points: int = eqx.field(static=True)

    def __init__(self, mesh: Mesh, rtol: float, atol: float = 0.0, max_points: int = 2_000_000):
        self.mesh = plain(mesh)
        self.rtol, self.atol = _tolerance("rtol", rtol), _tolerance("atol", atol)
        if self.rtol == 0 and self.atol == 0:
            raise ValueError("Argument `rtol` must be positive where `atol` is 0, but is 0.")
        self.max_points = _count("max_points", max_points)

    def __repr__(self) -> str:
        return describe_fields(self)

    @property
    def dimension(self) -> int:
        """Dimension of k."""
        return self.mesh.dimension

    @property
    def domain(self) -> str:
        """That of the mesh."""
        return self.mesh.domain


def plain(mesh: Mesh) -> Mesh:
    """`mesh`, a fixed one, for what is built on it.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(mesh, Mesh):
        raise ValueError(
            "Argument `mesh` must be a mesh (Grid, Disk, Ball, Plane or Space), "
            f"but is of type {type(mesh).__name__}."
        )
    return mesh


#: What the lattice of a path is where it is not given.
UNSAID: Any = "not given"


class Path(eqx.Module):
    """A path of straight lines through named points, for band structures.

    `points` are in units of the reciprocal vectors for a lattice model and in 1/Å for a continuum
    model. The path never enters an integral.
    """

    points: np.ndarray
    labels: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, points: Sequence[Sequence[float]] | np.ndarray, labels: Sequence[str]):
        if not finite_reals(points) or np.ndim(points) != 2 or len(points) < 2:
            raise ValueError(
                "Argument `points` must be at least two finite k-points of equal dimension, "
                f"but is {shortened(points)}."
            )
        array = np.array(points, dtype=float)
        if not np.iterable(labels) or not all(isinstance(label, str) for label in labels):
            raise ValueError(
                f"Argument `labels` must be names of the points, but is {shortened(labels)}."
            )
        if len(labels) != len(array):
            raise ValueError(
                f"Argument `labels` must have {len(array)} names, one for each point, "
                f"but has {len(labels)}."
            )
        self.points = array
        self.labels = tuple(labels)

    def sample(
        self, number: int, lattice: Float[Array, "d d"] | None = UNSAID
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """About `number` k-points spread evenly by length.

        Args:
            lattice: `model.lattice`, whose reciprocal vectors are the units of `points`; None for
                points in 1/Å. To be given, for without it fractions would be taken as 1/Å.
        Returns:
            k (K, d) in 1/Å; distance along the path (K,); distance of each named point.
        Raises:
            ValueError: no lattice is given, or one of another dimension.
        """
        number, d = _count("number", number), self.points.shape[1]
        if isinstance(lattice, str):
            raise ValueError(
                "Argument `lattice` must be model.lattice, or None for points in 1/Å, but is not "
                "given."
            )
        if lattice is not None and (np.shape(lattice) != (d, d) or not finite_reals(lattice)):
            raise ValueError(
                f"Argument `lattice` must have shape {(d, d)}, as the points of the path have "
                f"{d} coordinates, but is {shortened(lattice)}."
            )
        corners = self.points
        if lattice is not None:
            corners = corners @ np.asarray(reciprocal_vectors(lattice))
        lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
        ticks = np.concatenate([[0.0], np.cumsum(lengths)])
        distance = np.unique(np.concatenate([np.linspace(0, ticks[-1], number), ticks]))
        k = np.stack([np.interp(distance, ticks, column) for column in corners.T], axis=-1)
        return k, distance, ticks


@functools.lru_cache(maxsize=64)
def _gauss_legendre(number: int) -> Rule:
    """The Gauss-Legendre rule.

    Newton's iteration from the asymptotic nodes, in O(N²) operations; NumPy's own takes O(N³).
    """
    x = np.cos(np.pi * (np.arange(1, number + 1) - 0.25) / (number + 0.5))
    for _ in range(10):
        before, here = np.ones(number), x.copy()
        for degree in range(2, number + 1):
            before, here = here, ((2 * degree - 1) * x * here - (degree - 1) * before) / degree
        slope = number * (before - x * here) / (1 - x**2)
        step = here / slope
        x = x - step
        if np.max(np.abs(step)) < 1e-15:
            break
    weights = 2 / ((1 - x**2) * slope**2)
    return Rule((1 - x) / 2, weights / np.sum(weights))


def _uniform(number: int, shift: float) -> Rule:
    return Rule((np.arange(number) + shift) / number, np.full(number, 1 / number))


def _spherical_rules(counts: tuple[int, int, int]) -> tuple[Rule, ...]:
    """Rules in the radius, in (1 + cos θ)/2 and in the azimuth over 2π."""
    return _gauss_legendre(counts[0]), _gauss_legendre(counts[1]), _uniform(counts[2], 0.5)


def _stack(rows: Sequence) -> Array:
    """Nested lists of arrays that broadcast together, as one array."""
    shape = jnp.broadcast_shapes(*(jnp.shape(x) for x in _leaves(rows)))
    return _stacked(rows, shape)


def _leaves(rows):
    return [x for row in rows for x in _leaves(row)] if isinstance(rows, list) else [rows]


def _stacked(rows, shape):
    if isinstance(rows, list):
        return jnp.stack([_stacked(row, shape) for row in rows])
    return jnp.broadcast_to(rows, shape)


# Nodes along each coordinate of the much coarser meshes, as parts of those of the mesh. On 40
# random two-band models (32², 6 levels) such meshes told the error as well as three of half the
# nodes, for half of their points.
_MUCH_COARSER = (0.42, 0.36, 0.3)


def _part(number: int, part: float) -> int:
    return max(1, round(part * number))


def _part_of_turn(number: int, part: float) -> int:
    return max(_part(number, part), 5 if number != 5 else 6)


def _parts(counts: tuple[int, int, int], part: float) -> tuple[int, int, int]:
    return _part(counts[0], part), _part(counts[1], part), _part_of_turn(counts[2], part)


def _half(number: int) -> int:
    return max(1, number // 2)


def _half_turn(number: int) -> int:
    return max(number // 2, 5 if number != 5 else 6)


def _count(name: str, value: int) -> int:
    if np.ndim(value):
        raise ValueError(
            f"Argument `{name}` must be one positive integer, but is {shortened(value)}."
        )
    return _counts(name, value)[0]


def _counts(name: str, value: int | Sequence[int]) -> tuple[int, ...]:
    counts = tuple(value) if np.ndim(value) else (value,)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in counts)
    if not counts or not whole or min(counts) < 1:
        raise ValueError(f"Argument `{name}` must be positive integers, but is {shortened(value)}.")
    return tuple(int(n) for n in counts)


def _tolerance(name: str, value: float) -> float:
    if np.shape(value) != () or not finite_reals(value) or value < 0:
        raise ValueError(
            f"Argument `{name}` must be a number, at least 0, but is {shortened(value)}."
        )
    return float(value)


@jax.ensure_compile_time_eval()
def _lengths(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Lengths with known values inside the user's jit too."""
    if np.shape(value) not in ((), shape):
        several = "".join(f" or {length}" for length in shape)
        raise ValueError(
            f"Argument `{name}` must be one number{several}, but is {shortened(value)}."
        )
    if not is_traced(value) and not (finite_reals(value) and np.all(np.asarray(value) > 0)):
        raise ValueError(f"Argument `{name}` must be positive (1/Å), but is {shortened(value)}.")
    return jnp.broadcast_to(jnp.array(value, dtype=jnp.result_type(float)), shape)
