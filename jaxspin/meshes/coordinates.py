"""Maps from the unit cube to k, with weights that include the (2π)^-d of Σ_k = ∫d^dk/(2π)^d."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.descriptions import describe_fields
from jaxspin.engine.record import Record
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.tolerances import ALIKE
from jaxspin.meshes.lattice import cell_volume, reciprocal_vectors

#: How an orthogonal map of k acts on one coordinate of the unit cube: u -> sign u + offset.
Reflection = tuple[int, float]


class Nodes(Record):
    """k-points of a mesh."""

    #: Wave vectors, 1/Å, Cartesian.
    k: Float[Array, "d *K"]
    #: Weights, including (2π)^-d.
    weight: Float[Array, "*K"]
    #: Edges of the cell around each point, one vector for each coordinate of the rule, 1/Å.
    edges: Float[Array, "c d *K"]


class Coordinates(Record):
    """A map from the unit cube to k."""

    #: Whether k = Σ_i u_i b_i, with the reciprocal vectors b_i of the model.
    periodic: ClassVar[bool] = False
    #: Whether the last coordinate is an angle over 2π.
    angular: ClassVar[bool] = False
    #: Which orthogonal maps of k act on each coordinate alone, in words.
    foldable: ClassVar[str]

    @abstractmethod
    def reflections(
        self, rotation: Float[np.ndarray, "d d"], lattice: Float[Array, "d d"] | None
    ) -> tuple[Reflection, ...] | None:
        """Action of an orthogonal matrix on each coordinate, modulo 1.

        None if it mixes the coordinates, or if that depends on numbers that are being traced.
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

    def __call__(self, u, widths, lattice: Any):
        reciprocal = reciprocal_vectors(lattice)
        k = [sum(u_i * b for u_i, b in zip(u, column, strict=True)) for column in reciprocal.T]
        edges = [[w * b for b in row] for w, row in zip(widths, reciprocal, strict=True)]
        return Nodes(_stack_rows(k), math.prod(widths) / cell_volume(lattice), _stack_rows(edges))

    def inverse(self, k, lattice):
        return _wrap_fraction(k @ np.asarray(lattice).T / (2 * np.pi))


class Cartesian(Coordinates):
    """A box of wave vectors, k = corner + sides u (1/Å), for points of a given k-space volume.

    Every point has the weight volume/(2π)^d times that of its rule.
    """

    corner: Float[Array, " d"]
    sides: Float[Array, " d"]
    volume: Float[Array, ""]
    foldable = "Points in 1/Å cannot be folded."

    def __repr__(self) -> str:
        return describe_fields(self)

    def reflections(self, rotation, lattice):
        return None

    def __call__(self, u, widths, lattice):
        d = len(self.sides)
        k = [self.corner[i] + self.sides[i] * u[i] for i in range(d)]
        edges = [[widths[i] * self.sides[i] * (i == j) for j in range(d)] for i in range(d)]
        weight = math.prod(widths) * self.volume / (2 * jnp.pi) ** d
        return Nodes(_stack_rows(k), weight, _stack_rows(edges))

    def inverse(self, k, lattice):
        return (k - np.asarray(self.corner)) / np.asarray(self.sides)


class Polar(Coordinates):
    """Radius r(u_0) and angle 2π u_1 in the plane, k_i = scale_i r n_i."""

    scale: Float[Array, " 2"]
    radius: Callable = eqx.field(static=True)
    angular: ClassVar[bool] = True
    foldable = (
        "On a Disk or a Plane, those do that take its angles 2 pi (j + 1/2)/N to each other and "
        "its two scales too, such as rotations about z of an order that divides N."
    )

    def reflections(self, rotation, lattice):
        if not _keeps_scale(self.scale, rotation):
            return None
        return (1, 0.0), _turn_azimuth(rotation)

    def __call__(self, u, widths, lattice):
        (radius, width), (a, b) = self.radius(u[0], widths[0]), self.scale
        angle, step = 2 * jnp.pi * u[1], 2 * jnp.pi * widths[1]
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        across, around = _radial_edge(radius, width), radius * step
        return Nodes(
            k=_stack_rows([radius * (a * cosine), radius * (b * sine)]),
            weight=radius * width * step * (a * b / (2 * jnp.pi) ** 2),
            edges=_stack_rows(
                [
                    [across * (a * cosine), across * (b * sine)],
                    [-around * (a * sine), around * (b * cosine)],
                ]
            ),
        )

    def inverse(self, k, lattice):
        x, y = np.moveaxis(k / np.asarray(self.scale), -1, 0)
        radial = _RADIAL_COORDINATE[self.radius](np.hypot(x, y))
        return np.stack([radial, _wrap_fraction(np.arctan2(y, x) / (2 * np.pi))], axis=-1)


class Spherical(Coordinates):
    """Radius r(u_0), cos θ = 2 u_1 - 1 and azimuth 2π u_2 in space, k_i = scale_i r n_i."""

    scale: Float[Array, " 3"]
    radius: Callable = eqx.field(static=True)
    angular: ClassVar[bool] = True
    foldable = (
        "On a Ball or a Space, those do that take the z axis to itself, its azimuths "
        "2 pi (j + 1/2)/N to each other and its scales too, such as rotations about z of an order "
        "that divides N."
    )

    def reflections(self, rotation, lattice):
        up = round(float(rotation[2, 2]))
        if abs(abs(rotation[2, 2]) - 1) > ALIKE.of() or not _keeps_scale(self.scale, rotation):
            return None
        return (1, 0.0), ((1, 0.0) if up == 1 else (-1, 1.0)), _turn_azimuth(rotation)

    def __call__(self, u, widths, lattice):
        (radius, width), (a, b, c) = self.radius(u[0], widths[0]), self.scale
        z, ring = 2 * u[1] - 1, 2 * widths[1]
        angle, step = 2 * jnp.pi * u[2], 2 * jnp.pi * widths[2]
        rho, cosine, sine = jnp.sqrt(1 - z**2), jnp.cos(angle), jnp.sin(angle)
        across, down, around = _radial_edge(radius, width), radius * ring / rho, radius * rho * step
        return Nodes(
            k=_stack_rows([radius * rho * (a * cosine), radius * rho * (b * sine), c * radius * z]),
            weight=radius**2 * width * ring * step * (a * b * c / (2 * jnp.pi) ** 3),
            edges=_stack_rows(
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
        return np.stack([radial, polar, _wrap_fraction(np.arctan2(y, x) / (2 * np.pi))], axis=-1)


def linear(u: Array, width: Array) -> tuple[Array, Array]:
    """Radius of a bounded domain, in units of the cutoff, and the width of its cell."""
    return u, width


def algebraic(u: Array, width: Array) -> tuple[Array, Array]:
    """Radius u/(1-u) of an infinite domain and its width du/(1-u)²."""
    return u / (1 - u), width / (1 - u) ** 2


#: The coordinate that belongs to a radius.
_RADIAL_COORDINATE = {linear: lambda r: r, algebraic: lambda r: r / (1 + r)}


def _wrap_fraction(u: np.ndarray) -> np.ndarray:
    """u modulo 1, in [0, 1)."""
    return np.where(u % 1 < 1, u % 1, 0.0)


def _radial_edge(radius, width):
    """Radial edge of a cell. The outermost cells of an algebraic map are as wide as they are far,
    too wide for energies linear in k; none of them may seem to reach the Fermi surface."""
    return jnp.minimum(width, radius / 2)


def _is_diagonal(matrix: np.ndarray) -> bool:
    signs = np.diag(np.sign(np.diag(matrix)))
    return bool(np.all(np.abs(matrix - signs) < ALIKE.of()))


def _keeps_scale(scale: Array, rotation: np.ndarray) -> bool:
    """True if a rotation of k is the same rotation of k_i/scale_i; not known of traced scales."""
    if _is_diagonal(rotation):
        return True
    if is_traced(scale):
        return False
    lengths = np.asarray(scale, dtype=float)
    scaled = rotation * lengths / lengths[:, None]
    return bool(np.all(np.abs(scaled - rotation) < ALIKE.of()))


def _turn_azimuth(rotation: np.ndarray) -> Reflection:
    """Action of a matrix on the azimuth over 2π: its image of the x axis, and its handedness."""
    (a, b), (c, d) = rotation[:2, :2]
    return (1 if a * d - b * c > 0 else -1), float(np.arctan2(c, a) / (2 * np.pi))


def _stack_rows(rows: Sequence) -> Array:
    """Nested lists of arrays that broadcast together, as one array."""
    shape = jnp.broadcast_shapes(*(jnp.shape(x) for x in _flatten_rows(rows)))
    return _stack_nested(rows, shape)


def _flatten_rows(rows) -> list[Any]:
    return [x for row in rows for x in _flatten_rows(row)] if isinstance(rows, list) else [rows]


def _stack_nested(rows, shape):
    if isinstance(rows, list):
        return jnp.stack([_stack_nested(row, shape) for row in rows])
    return jnp.broadcast_to(rows, shape)
