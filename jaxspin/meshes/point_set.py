"""Point sets: a list of k-points with weights, such as the irreducible points of a grid."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxspin.engine.annotations import Numbers
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import as_arrays, is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.validate import (
    as_numbers,
    check_finite,
    check_number,
    check_type,
    has_shape,
    is_not_negative,
    is_zero,
    shortened,
)
from jaxspin.meshes.coordinates import Cartesian, Reciprocal
from jaxspin.meshes.mesh import Grid, Mesh
from jaxspin.meshes.quadrature import Rule


class PointSet(Mesh):
    """k-points with weights, such as the irreducible points of a grid with their multiplicities.

    For a lattice model the points are in units of the reciprocal vectors, k = Σ_i u_i b_i, and the
    weights say which part of the Brillouin zone each point stands for, Σ_k = Σ_i w_i / (V Σ_j w_j)
    with the volume V of the unit cell. With `volume` the points are in 1/Å, for continuum models,
    and the weights are parts of that volume of k-space. Weights that are whole numbers, or whole
    multiples of the smallest, are taken for multiplicities: how many points each one stands for.

    A sum over irreducible points is what the weights say: right for a density, not for a tensor,
    which changes from a point to its images. `Symmetric(point_set, operations)` averages it.

    Args:
        k_points: (number, dimension): fractions of the reciprocal vectors, which have no unit, or
            with `volume` Cartesian components in 1/Å. Fractions above 1 give a warning, because
            they may be meant in 1/Å; smaller ones cannot be told apart.
        weights: not negative, in any units.
        grid: the whole `Grid`, or its counts, whose irreducible points these are. It gives each
            point a cell, on which Fermi-surface terms at T = 0 rest, and is checked.
        volume: volume of k-space of the points of a continuum model, 1/Å^d.
        comparison: another set, usually with fewer points, to estimate the error with. Without it,
            those of a lattice model are compared with grids over the whole zone.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, negative weights or none,
            points or multiplicities that are not those of `grid`.

    >>> import jaxspin as js
    >>> star = js.PointSet([[0.25, 0.25]], [4], grid=js.Grid((2, 2), 0.5))
    >>> model = js.models.QiWuZhang(A=1.0, m=-1.0)
    >>> density = js.carrier_density(model, star, js.Levels(0.0))
    >>> print(density.value, star.size, star.number)
    [1.] 1 4.0
    """

    is_product: ClassVar[bool] = False
    is_rule: ClassVar[bool] = False

    k_points: Float[np.ndarray, "K d"]
    weights: Float[np.ndarray, " K"]
    grid: Grid | None
    #: The box of k-space in which points in 1/Å lie, with their volume.
    box: Cartesian | None
    comparison: "PointSet | None"
    #: Number of points of the whole domain, as far as the weights say it.
    number: float = eqx.field(static=True)

    def __init__(
        self,
        k_points: Numbers,
        weights: Numbers,
        *,
        grid: Grid | int | Sequence[int] | None = None,
        volume: Numbers | None = None,
        comparison: "PointSet | None" = None,
    ):
        self.k_points = _as_points(k_points)
        self.weights = _as_weights(weights, len(self.k_points))
        self.grid = grid if grid is None or isinstance(grid, Grid) else _as_grid(grid)
        self.box = None if volume is None else _bounding_box(self.k_points, volume)
        self.comparison = comparison
        if self.grid is not None and self.box is not None:
            raise ValueError(
                "Argument `volume` must be None for points of a grid, but is "
                f"{shortened(volume)}. Points in 1/Angstrom have no grid."
            )
        self.number = _count_points(self.weights)
        if self.grid is not None:
            self.number = float(self.grid.size)
            _check_on_grid(self.k_points, self.weights, self.grid)
        elif self.box is None:
            _warn_of_large_fractions(self.k_points)
        if comparison is not None:
            _check_comparison(comparison, self)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.k_points),)

    @property
    def dimension(self) -> int:
        return self.k_points.shape[1]

    @property
    def domain(self) -> str:
        return "periodic" if self.box is None else "bounded"

    @property
    def counts(self) -> tuple[float, ...]:
        """Number of points of the whole domain along each axis."""
        if self.grid is not None:
            return self.grid.counts
        return (self.number ** (1 / self.dimension),) * self.dimension

    @property
    def fills_cells(self) -> bool:
        """False: points count as points at T = 0, as on a `Grid`."""
        return False

    @property
    def has_cells(self) -> bool:
        """True for points of a grid, which have its cells."""
        return self.grid is not None

    @property
    def rules(self) -> tuple[Rule, ...]:
        corner, sides = (0.0, 1.0) if self.box is None else (self.box.corner, self.box.sides)
        xp, (k, weights, *box) = as_arrays(self.k_points, self.weights, corner, sides)
        k = (k - box[0]) / box[1]
        cells = (1,) * self.dimension if self.grid is None else self.grid.shape
        times = weights * (math.prod(cells) / xp.sum(weights)), np.asarray(1.0)
        return tuple(
            Rule(k[:, i], np.asarray(1 / n), times[min(i, 1)]) for i, n in enumerate(cells)
        )

    @property
    def multiplicities(self) -> Int[np.ndarray, " K"]:
        """Number of nodes of `grid` for which each point stands."""
        return np.round(self.weights * (self.number / np.sum(self.weights))).astype(int)

    @property
    def coordinates(self) -> Cartesian | Reciprocal:
        return Reciprocal() if self.box is None else self.box

    def coarser(self) -> "PointSet":
        """The set to compare with, or all points of a coarser grid over the whole zone.

        Raises:
            ValueError: there is neither, for points in 1/Å.
        """
        if self.comparison is not None:
            return _with_box(self.comparison, self.box)
        self.check_comparable()
        return _all_points(self._grid_to_halve().coarser(), self.has_cells)

    def much_coarser(self) -> "tuple[PointSet, ...]":
        """More grids over the whole zone; of points in 1/Å the comparison of the comparison."""
        if self.box is None:
            grids = self._grid_to_halve().much_coarser()
            return tuple(_all_points(grid, self.has_cells) for grid in grids)
        found, last = [], self.comparison
        while last is not None and last.comparison is not None:
            last = last.comparison
            found.append(_with_box(last, self.box))
        return tuple(found)

    def check_comparable(self) -> None:
        """There is something to estimate the error with.

        Raises:
            ValueError: there is not.
        """
        if self.box is not None and self.comparison is None:
            raise ValueError(
                "Argument `mesh` must have another set to estimate the error with where its points "
                "are in 1/Angstrom, but has none. Give PointSet(..., comparison=PointSet(...)), "
                "with fewer points of the same volume."
            )

    def _grid_to_halve(self) -> Grid:
        """The grid whose coarser ones are compared, so small that they cost no more than the set.

        Of a set of irreducible points, half the nodes along each axis of the whole grid may be
        more points than the set has.
        """
        shift = 0.0 if self.grid is None else self.grid.shift
        if self.size == 1:
            return Grid([2 * _OF_ONE_POINT] * self.dimension, shift)
        halves = np.maximum(np.array(self.counts) / 2, 0.5)
        excess = np.prod(np.maximum(halves, 1)) / self.size
        halves = halves / max(1.0, excess) ** (1 / self.dimension)
        return Grid([max(1, 2 * int(n + 1e-9)) for n in halves], shift)


# Nodes along each axis of the grid that a single point is compared with: neither 1 nor 2, for these
# may hold that point and its images.
_OF_ONE_POINT = 3


def _with_box(points: PointSet, box: Cartesian | None) -> PointSet:
    """Points in 1/Å by coordinates in another box, so that sets share one compiled sum."""
    return points if box is None else eqx.tree_at(lambda points: points.box, points, box)


def _all_points(grid: Grid, has_cells: bool) -> PointSet:
    """The points of a grid as a list."""
    nodes = np.meshgrid(*(rule.nodes for rule in grid.rules), indexing="ij")
    k = np.stack([x.ravel() for x in nodes], axis=-1)
    return PointSet(k, np.ones(len(k)), grid=grid if has_cells else None)


def _as_points(value: Any) -> Float[np.ndarray, "K d"]:
    _refuse_traced("k_points", value)
    array = as_numbers("k_points", value, "of shape (number, dimension)")
    if not has_shape(array, *(("number", d) for d in (1, 2, 3))):
        raise ValueError(
            "Argument `k_points` must be k-points of 1, 2 or 3 coordinates, of shape (number, "
            f"dimension), at least one, but has shape {array.shape}."
        )
    return _read_only("k_points", array)


def _warn_of_large_fractions(k: Float[np.ndarray, "K d"]) -> None:
    largest = np.max(np.abs(k))
    if largest > 1 + _ON_GRID:
        warn_user(
            "The points of a PointSet without `volume` are in units of the reciprocal vectors, but "
            f"one has the component {largest:.4g}, outside of a cell. Wave vectors in 1/Angstrom "
            "are k @ lattice.T / (2 pi) in these units."
        )


def _as_grid(value: Any) -> Grid:
    try:
        return Grid(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Argument `grid` must be a Grid, or the numbers of its points along each axis, but is "
            f"{shortened(value)}."
        ) from error


def _as_weights(value: Any, number: int) -> Float[np.ndarray, " K"]:
    _refuse_traced("weights", value)
    array = as_numbers("weights", value, "one for each point")
    if array.shape != (number,):
        raise ValueError(
            f"Argument `weights` must be {number} numbers, one for each point, "
            f"but has shape {array.shape}."
        )
    array = _read_only("weights", array)
    if not is_not_negative(array) or is_zero(array):
        raise ValueError(
            "Argument `weights` must not be negative, and some must be positive, but is "
            f"from {np.min(array):g} to {np.max(array):g}."
        )
    return array


def _count_points(weights: Float[np.ndarray, " K"]) -> float:
    """Number of points for which all stand, as far as their weights say it."""
    least = np.min(weights[weights > 0])
    for unit in (1.0, least):
        multiples = weights / unit
        if least > unit / 2 and np.all(np.abs(multiples - np.round(multiples)) < _ON_GRID):
            return float(np.round(np.sum(multiples)))
    return float(len(weights))


def _refuse_traced(name: str, value: Any) -> None:
    if is_traced(value):
        raise ValueError(
            f"Argument `{name}` must be known numbers, but is being traced by jit, grad or vmap. "
            "Make the PointSet outside."
        )


def _read_only(name: str, array: np.ndarray) -> np.ndarray:
    check_finite(name, array)
    array.setflags(write=False)
    return array


@evaluate_eagerly()
def _bounding_box(k: Float[np.ndarray, "K d"], volume: Any) -> Cartesian:
    check_number("volume", volume, "one positive number (1/Angstrom^d)", above=0)
    low, high = np.min(k, axis=0), np.max(k, axis=0)
    sides = np.where(high > low, high - low, 1.0)
    return Cartesian(*(jnp.array(x, dtype=jnp.result_type(float)) for x in (low, sides, volume)))


# A point this far from a node, in units of the spacing, is not on the grid: coordinates in files
# have 8 digits at least.
_ON_GRID = 1e-4


def find_on_grid(k: Float[np.ndarray, "d *K"], grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The flat index of the node next to each k (in reciprocal vectors), and whether it is one."""
    shape = np.array(grid.shape)
    column = (-1, *[1] * (k.ndim - 1))
    place = k * shape.reshape(column) - np.array(grid.shift).reshape(column)
    nearest = np.round(place)
    on_node = np.all(np.abs(place - nearest) < _ON_GRID, axis=0)
    wrapped = nearest.astype(int) % shape.reshape(column)
    return np.asarray(np.ravel_multi_index(tuple(wrapped), grid.shape)), on_node


def _check_on_grid(k: np.ndarray, weights: np.ndarray, grid: Grid) -> None:
    if grid.dimension != k.shape[1]:
        raise ValueError(
            f"Argument `grid` must have dimension {k.shape[1]}, as the points have, "
            f"but is {grid!r}."
        )
    index, on_node = find_on_grid(k.T, grid)
    if not np.all(on_node):
        raise ValueError(
            f"Argument `k_points` must be points of {grid!r}, in units of the reciprocal vectors, "
            f"but {k[np.argmin(on_node)].tolist()} is none."
        )
    if len(np.unique(index)) < len(index):
        raise ValueError(
            f"Argument `k_points` must have each point of {grid!r} once, but has "
            f"{len(index) - len(np.unique(index))} twice, up to reciprocal vectors."
        )
    multiplicity = weights * (grid.size / np.sum(weights))
    if np.any(np.abs(multiplicity - np.round(multiplicity)) > _ON_GRID):
        raise ValueError(
            "Argument `weights` must be numbers of points, up to a common factor, whose sum is "
            f"that of {grid!r}, {grid.size}, but are not: one is "
            f"{multiplicity[np.argmax(np.abs(multiplicity - np.round(multiplicity)))]:.6g}."
        )


def _check_comparison(comparison: Any, mesh: PointSet) -> None:
    check_type("comparison", comparison, PointSet, "another PointSet")
    same = comparison.dimension == mesh.dimension, comparison.domain == mesh.domain
    if not all(same) or comparison.has_cells < mesh.has_cells:
        raise ValueError(
            "Argument `comparison` must be of the same dimension as the set itself, with `volume` "
            f"or with `grid` if that has them, but is {shortened(comparison)}."
        )
    if mesh.box is None or comparison.box is None:
        return
    volumes = mesh.box.volume, comparison.box.volume
    if not is_traced(volumes) and not np.isclose(*map(float, volumes), rtol=1e-6, atol=0):
        raise ValueError(
            f"Argument `comparison` must be of the same volume, {float(volumes[0]):g}, but is of "
            f"{float(volumes[1]):g}."
        )
