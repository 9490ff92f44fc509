"""Meshes: a domain and a rule, and the coarser meshes of the error estimate.

A mesh is a product of one-dimensional rules on the unit cube (`rules`), and `coordinates` maps the
cube to the domain. The points themselves are never stored, so that an integral over 10⁸ points
needs no more memory than one over 10⁴. A `PointSet` is a list of points in place of a product.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxspin.engine.annotations import Numbers
from jaxspin.engine.descriptions import describe_fields
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.record import Record
from jaxspin.engine.small_matrices import as_arrays, is_traced, on_device
from jaxspin.engine.validate import (
    check_integer,
    check_number,
    check_type,
    finite_reals,
    is_integer,
    is_positive,
    shortened,
)
from jaxspin.meshes.coordinates import (
    Coordinates,
    Nodes,
    Polar,
    Reciprocal,
    Spherical,
    algebraic,
    linear,
)
from jaxspin.meshes.quadrature import Rule, gauss_legendre, spherical_rules, uniform

if TYPE_CHECKING:  # else a checker takes an abstract attribute for an argument of the constructor
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class Mesh(Record):
    """A domain of k and a quadrature rule on it: points and weights."""

    #: Whether the points are all combinations of the nodes along each coordinate, or a list.
    is_product: ClassVar[bool] = True
    #: Whether the weights are those of a rule for the domain; those of a user's list need not be.
    is_rule: ClassVar[bool] = True
    #: Number of nodes along each coordinate of the rule.
    shape: AbstractVar[tuple[int, ...]]

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

    @property
    def axes(self) -> tuple[int, ...]:
        """Axis of `shape` along which each coordinate runs: that of the list for all of a list."""
        return tuple(range(len(self.shape))) if self.is_product else (0,) * self.dimension

    @property
    def counts(self) -> tuple[float, ...]:
        """Number of nodes along each coordinate, of a reduced mesh those that they stand for."""
        return tuple(float(np.sum(rule.times)) for rule in self.rules)

    @property
    def fills_cells(self) -> bool:
        """True if at T = 0 a point fills gradually, over the energies in its cell."""
        return self.domain != "periodic"

    @property
    def has_cells(self) -> bool:
        """True if the points have cells, on which Fermi-surface terms at T = 0 rest."""
        return True

    def points(self, index: Int[Array, " K"], lattice: Float[Array, "d d"] | None) -> Nodes:
        """The points of the given flat indices."""
        parts = jnp.unravel_index(index, self.shape)
        pairs = [(rule, parts[axis]) for rule, axis in zip(self.rules, self.axes, strict=True)]
        take = lambda x, i: jnp.asarray(x)[i] if np.ndim(x) else jnp.full(i.shape, x)  # noqa: E731
        u, widths, times = (
            [take(getattr(rule, name), i) for rule, i in pairs]
            for name in ("nodes", "widths", "times")
        )
        nodes = self.coordinates(u, widths, lattice)
        return Nodes(nodes.k, nodes.weight * math.prod(times), nodes.edges)


_RECIPROCAL = Reciprocal()


class Grid(Mesh):
    """A uniform grid over the Brillouin zone of a lattice model: k = Σ_i (n_i + shift_i)/N_i b_i.

    Spectrally accurate for smooth periodic integrands. `shift` in units of the spacing moves the
    grid off the zone centre.
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    shift: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, shape: int | Sequence[int], shift: Numbers = 0.0):
        self.shape = _check_counts("shape", shape)
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
        return tuple(uniform(n, s) for n, s in zip(self.shape, self.shift, strict=True))

    @property
    def coordinates(self):
        return _RECIPROCAL

    def coarser(self) -> "Grid":
        return Grid([max(1, n // 2) for n in self.shape], self.shift)

    def much_coarser(self) -> tuple["Grid", ...]:
        # A shift by half a spacing keeps the symmetries that a grid has, and with them the size of
        # its stars of equivalent nodes, by which the noise grows.
        return tuple(
            Grid(
                [_part_of_count(n, x) for n in self.shape],
                [
                    s if n == 1 else _add_shift(s, more)
                    for n, s in zip(self.shape, self.shift, strict=True)
                ],
            )
            for x, more in zip(_MUCH_COARSER, (0.5, 0.0, 0.5), strict=True)
        )


def _add_shift(shift: float, more: float) -> float:
    """The sum of two shifts, less a spacing where it is more than one."""
    return shift + more - (shift + more > 1)


class Disk(Mesh):
    """The disk |k| < cutoff: Gauss-Legendre in the radius, uniform in the angle. 1/Å."""

    cutoff: Float[Array, ""]
    radial: int = eqx.field(static=True)
    angular: int = eqx.field(static=True)

    def __init__(self, cutoff: Numbers, radial: int, angular: int):
        self.cutoff = _check_lengths("cutoff", cutoff, ())
        self.radial, self.angular = (
            check_integer("radial", radial, 1),
            check_integer("angular", angular, 1),
        )

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
        return gauss_legendre(self.radial), uniform(self.angular, 0.5)

    @property
    def coordinates(self):
        return Polar(_repeat_number(self.cutoff, 2), linear)

    def coarser(self) -> "Disk":
        return Disk(self.cutoff, _half_count(self.radial), _half_turn(self.angular))

    def much_coarser(self) -> tuple["Disk", ...]:
        return tuple(
            Disk(self.cutoff, _part_of_count(self.radial, x), _part_of_turn(self.angular, x))
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

    def __init__(self, scale: Numbers, radial: int, angular: int):
        self.scale = _check_lengths("scale", scale, (2,))
        self.radial, self.angular = (
            check_integer("radial", radial, 1),
            check_integer("angular", angular, 1),
        )

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
        return gauss_legendre(self.radial), uniform(self.angular, 0.5)

    @property
    def coordinates(self):
        return Polar(self.scale, algebraic)

    def coarser(self) -> "Plane":
        return Plane(self.scale, _half_count(self.radial), _half_turn(self.angular))

    def much_coarser(self) -> tuple["Plane", ...]:
        return tuple(
            Plane(self.scale, _part_of_count(self.radial, x), _part_of_turn(self.angular, x))
            for x in _MUCH_COARSER
        )


class Ball(Mesh):
    """The ball |k| < cutoff: Gauss-Legendre in radius and cos θ, uniform in the azimuth. 1/Å."""

    cutoff: Float[Array, ""]
    radial: int = eqx.field(static=True)
    polar: int = eqx.field(static=True)
    azimuthal: int = eqx.field(static=True)

    def __init__(self, cutoff: Numbers, radial: int, polar: int, azimuthal: int):
        self.cutoff = _check_lengths("cutoff", cutoff, ())
        self.radial, self.polar = (
            check_integer("radial", radial, 1),
            check_integer("polar", polar, 1),
        )
        self.azimuthal = check_integer("azimuthal", azimuthal, 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.radial, self.polar, self.azimuthal

    @property
    def dimension(self) -> int:
        return 3

    @property
    def domain(self) -> str:
        return "bounded"

    @property
    def rules(self):
        return spherical_rules(self.shape)

    @property
    def coordinates(self):
        return Spherical(_repeat_number(self.cutoff, 3), linear)

    def coarser(self) -> "Ball":
        counts = _half_count(self.radial), _half_count(self.polar), _half_turn(self.azimuthal)
        return Ball(self.cutoff, *counts)

    def much_coarser(self) -> tuple["Ball", ...]:
        return tuple(Ball(self.cutoff, *_parts_of_counts(self.shape, x)) for x in _MUCH_COARSER)


class Space(Mesh):
    """The whole of space, for continuum models: k_i = scale_i · t/(1-t) · n_i, 0 < t < 1.

    Gauss-Legendre in t and cos θ, uniform in the azimuth; the polar axis is z. `scale` as for
    `Plane`: one number, or one for each axis (1/Å).
    """

    scale: Float[Array, " 3"]
    radial: int = eqx.field(static=True)
    polar: int = eqx.field(static=True)
    azimuthal: int = eqx.field(static=True)

    def __init__(self, scale: Numbers, radial: int, polar: int, azimuthal: int):
        self.scale = _check_lengths("scale", scale, (3,))
        self.radial, self.polar = (
            check_integer("radial", radial, 1),
            check_integer("polar", polar, 1),
        )
        self.azimuthal = check_integer("azimuthal", azimuthal, 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.radial, self.polar, self.azimuthal

    @property
    def dimension(self) -> int:
        return 3

    @property
    def domain(self) -> str:
        return "infinite"

    @property
    def rules(self):
        return spherical_rules(self.shape)

    @property
    def coordinates(self):
        return Spherical(self.scale, algebraic)

    def coarser(self) -> "Space":
        counts = _half_count(self.radial), _half_count(self.polar), _half_turn(self.azimuthal)
        return Space(self.scale, *counts)

    def much_coarser(self) -> tuple["Space", ...]:
        return tuple(Space(self.scale, *_parts_of_counts(self.shape, x)) for x in _MUCH_COARSER)


class Adaptive(Record):
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
        advice = "With symmetries it is Symmetric(Adaptive(mesh, rtol), operations)."
        self.mesh = check_product("mesh", mesh, advice)
        self.rtol, self.atol = _check_tolerance("rtol", rtol), _check_tolerance("atol", atol)
        if self.rtol == 0 and self.atol == 0:
            raise ValueError("Argument `rtol` must be positive where `atol` is 0, but is 0.")
        self.max_points = check_integer("max_points", max_points, 1)

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


def check_product(name: str, mesh: Mesh, advice: str = "") -> Mesh:
    """Return `mesh`, a fixed product of rules, for what is built on it.

    Raises:
        ValueError: it is none.
    """
    wanted = "a mesh (Grid, Disk, Ball, Plane or Space)"
    check_type(name, mesh, Mesh, wanted, advice)
    if not mesh.is_product:
        raise ValueError(
            f"Argument `{name}` must be {wanted}, but is of type {type(mesh).__name__}."
        )
    return mesh


# Nodes along each coordinate of the much coarser meshes, as parts of those of the mesh. On 40
# random two-band models (32², 6 levels) such meshes told the error as well as three of half the
# nodes, for half of their points.
_MUCH_COARSER = (0.42, 0.36, 0.3)


def _part_of_count(number: int, part: float) -> int:
    return max(1, round(part * number))


def _part_of_turn(number: int, part: float) -> int:
    return max(_part_of_count(number, part), 5 if number != 5 else 6)


def _parts_of_counts(counts: tuple[int, int, int], part: float) -> tuple[int, int, int]:
    return (
        _part_of_count(counts[0], part),
        _part_of_count(counts[1], part),
        _part_of_turn(counts[2], part),
    )


def _half_count(number: int) -> int:
    return max(1, number // 2)


def _half_turn(number: int) -> int:
    return max(number // 2, 5 if number != 5 else 6)


def _check_counts(name: str, value: Any) -> tuple[int, ...]:
    counts = tuple(value) if np.ndim(value) else (value,)
    if not counts or not all(is_integer(n, 1) for n in counts):
        raise ValueError(f"Argument `{name}` must be positive integers, but is {shortened(value)}.")
    return tuple(int(n) for n in counts)


def _check_tolerance(name: str, value: float) -> float:
    check_number(name, value, "a number, at least 0", at_least=0)
    return float(value)


def _repeat_number(number: Float[Array, ""], times: int) -> Float[Array, " n"]:
    xp, (number,) = as_arrays(number)
    return xp.full(times, number)


@evaluate_eagerly()
def _check_lengths(name: str, value: Numbers, shape: tuple[int, ...]) -> Array:
    """Lengths with known values inside the user's jit too."""
    if np.shape(value) not in ((), shape):
        several = "".join(f" or {length}" for length in shape)
        raise ValueError(
            f"Argument `{name}` must be one number{several}, but is {shortened(value)}."
        )
    if not is_positive(value):
        raise ValueError(
            f"Argument `{name}` must be positive (1/Angstrom), but is {shortened(value)}."
        )
    if is_traced(value):
        return jnp.broadcast_to(jnp.asarray(value, dtype=jnp.result_type(float)), shape)
    return on_device(np.array(np.broadcast_to(value, shape), dtype=jnp.result_type(float)))
