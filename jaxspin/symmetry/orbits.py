"""Grids that a group takes to themselves, and one point of each orbit, without a table of the grid.

An operation takes k = Σ_i u_i b_i to K u with an integer matrix K. A point n of a grid,
u_i = (n_i + s_i)/N_i, goes to P n + t (modulo N) with P_ij = K_ij N_i/N_j and t = P s − s: the grid
is kept if and only if P and t are integers, whatever its shape, shift, lattice and dimension.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.tolerances import LATTICE, ROTATION
from jaxspin.engine.validate import as_numbers, check_shape
from jaxspin.meshes.mesh import Grid
from jaxspin.symmetry.operations import Operation

#: Integer matrix on the reduced coordinates of k; tuples, to be told apart by value.
Matrix = tuple[tuple[int, ...], ...]


class GridMap(NamedTuple):
    """n -> matrix n + offset (modulo the counts) of the points of a grid."""

    matrix: Int[np.ndarray, "d d"]
    offset: Int[np.ndarray, " d"]


def reduced_matrix(
    operation: Operation, dimension: int, lattice: Float[Array, "d d"] | None
) -> Matrix:
    """The matrix K of an operation of a lattice, whose rows are a_i: u = a k/2π goes to K u.

    Raises:
        ValueError: the lattice does not have the operation, or is being traced and matters.
    """
    if is_traced(lattice) and not _is_number(operation.on_k(dimension)):
        raise ValueError(
            "Argument `operations` must be of a mesh and lattice that are known, but "
            f"here they are being traced, and {operation.name} depends on them."
        )
    found = find_matrix(operation, dimension, lattice)
    if found is None:
        raise ValueError(
            "Argument `operations` must take the lattice of the model to itself, "
            f"but {operation.name} does not."
        )
    return found


def find_matrix(operation: Operation, dimension: int, lattice: ArrayLike | None) -> Matrix | None:
    """The matrix K of an operation; None if the lattice does not have it.

    Raises:
        ValueError: the lattice is not one of this dimension.
    """
    matrix = operation.on_k(dimension)
    if not _is_number(matrix):  # ±1 is ±1 in any lattice
        direct = as_numbers("lattice", lattice, "of one row for each direction")
        check_shape("lattice", direct, (dimension, dimension))
        matrix = direct @ matrix @ np.linalg.inv(direct)
    nearest = np.rint(matrix)
    if leaves_plane(operation, dimension) or np.max(np.abs(matrix - nearest)) > LATTICE.of():
        return None
    return tuple(map(tuple, nearest.astype(int).tolist()))


def map_of_k(
    operation: Operation, dimension: int, lattice: Float[Array, "d d"] | None
) -> Float[np.ndarray, "d d"]:
    """The matrix on wave vectors that keeps the lattice to the last digit, whatever the digits of
    its vectors; that of the operation itself without a lattice.

    Raises:
        ValueError: as `reduced_matrix`.
    """
    if lattice is None:
        return operation.on_k(dimension)
    matrix = np.array(reduced_matrix(operation, dimension, lattice))
    if is_traced(lattice):  # it has the operation, which therefore is 1 or -1
        return matrix
    direct = np.asarray(lattice, dtype=float)
    return np.linalg.inv(direct) @ matrix @ direct


def leaves_plane(operation: Operation, dimension: int) -> bool:
    """True if an operation takes wave vectors of a chain or a plane out of it."""
    return bool(np.any(np.abs(np.array(operation.matrix)[:dimension, dimension:]) > ROTATION.of()))


def _is_number(matrix: Float[np.ndarray, "d d"]) -> bool:
    return np.array_equal(matrix, matrix[0, 0] * np.eye(len(matrix)))


def find_map(matrix: Matrix, grid: Grid) -> GridMap | None:
    """Action of K on the points of a grid; None if K takes a point to where there is none."""
    counts, shift = np.array(grid.shape), np.array(grid.shift)
    exact = np.array(matrix) * counts[:, None] / counts
    offset = exact @ shift - shift
    if max(_distance_from_integers(exact), _distance_from_integers(offset)) > _WHOLE:
        return None
    return GridMap(np.rint(exact).astype(int), np.rint(offset).astype(int) % counts)


def _distance_from_integers(numbers: np.ndarray) -> float:
    return float(np.max(np.abs(numbers - np.rint(numbers))))


_WHOLE = 1e-9  # shifts are written with as many digits as the user likes


def nearest_grid(grid: Grid, matrices: Iterable[Matrix]) -> Grid:
    """The grid itself if it is kept, else one that is: axes that are mixed get the largest of their
    counts, and shifts that do not fit become 0."""
    actions = [np.array(matrix) for matrix in matrices]
    if all(find_map(matrix, grid) for matrix in matrices):
        return grid
    mixed = np.any([(one != 0) | (one.T != 0) for one in actions], axis=0)
    mixed |= np.eye(grid.dimension, dtype=bool)  # an exchange of axes leaves none in its place
    together = np.linalg.matrix_power(mixed.astype(int), grid.dimension) > 0
    counts = [max(np.array(grid.shape)[row]) for row in together]
    shift = np.array(grid.shift)
    for row in together:
        moved = [(one @ shift - shift)[row] for one in actions]
        if max(map(_distance_from_integers, moved)) > _WHOLE:
            shift[row] = 0
    return Grid([int(n) for n in counts], shift)


def find_orbits(
    shape: Sequence[int], maps: Sequence[GridMap], portion: int = 1 << 18
) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """The least flat index of each orbit, in order, and how many points the orbit has.

    `maps` are those of a whole group. The points come portion by portion: one is left out as soon
    as an image has a smaller index, which for most is seen from the first coordinate of one of the
    first images, and what is left is counted by the maps that leave it in place. No table of the
    grid is made, and portions are independent of each other.
    """
    distinct = {(one.matrix.tobytes(), one.offset.tobytes()): one for one in maps}
    images = [GridImages(one, shape) for one in distinct.values()]
    first = {(one.rows[0].factors, one.rows[0].start): one.rows[0] for one in images}
    parts = list(_iterate_orbits(tuple(shape), images, list(first.values()), portion))
    kept, times = (np.concatenate(x) for x in zip(*parts, strict=True))
    return kept, times


class _Row(NamedTuple):
    """One coordinate of the image of a point, (Σ_j P_j n_j + t) modulo N."""

    factors: tuple[int, ...]
    start: int
    modulus: int
    #: The least sum Σ_j P_j n_j.
    least: int
    #: The coordinates that belong to all sums, from the least on; None where they are too many.
    table: Int[np.ndarray, " S"] | None

    def __call__(self, points: Sequence[Int[np.ndarray, " K"]]) -> Int[np.ndarray, " K"]:
        """The coordinate. Terms with P_j = 0 are left out: most are."""
        shift = self.start if self.table is None else -self.least
        terms = (n if p == 1 else p * n for p, n in zip(self.factors, points, strict=True) if p)
        total = next(terms)
        for term in terms:
            total = total + term
        total = total + shift if shift else total
        return total % self.modulus if self.table is None else self.table[total]


_LONGEST = 1 << 20  # table of remainders: a look-up takes a fifth of the time of a division


class GridImages:
    """The images of points under one map of a grid. Divisions are done once for all sums."""

    def __init__(self, one: GridMap, shape: Sequence[int]):
        kind = index_type(shape)
        self.shape, self.rows = shape, []
        for row, start, count in zip(one.matrix.tolist(), one.offset.tolist(), shape, strict=True):
            ends = [p * (n - 1) for p, n in zip(row, shape, strict=True)]
            least, most = (sum(op(0, end) for end in ends) for op in (min, max))
            table = None
            if most - least < _LONGEST:
                table = ((np.arange(least, most + 1) + start) % count).astype(kind)
            self.rows.append(_Row(tuple(row), start, count, least, table))

    def index(self, points: Sequence[Int[np.ndarray, " K"]]) -> Int[np.ndarray, " K"]:
        """Flat index of the image."""
        index = self.rows[0](points)
        for row, count in zip(self.rows[1:], self.shape[1:], strict=True):
            index = index * count + row(points)
        return index


def index_type(shape: Sequence[int]) -> type[np.integer]:
    """The shortest integers that hold each flat index of a grid, and sums of a few of them."""
    return np.int32 if np.prod(shape, dtype=float) < 2**28 else np.int64


def _iterate_orbits(
    shape: tuple[int, ...], images: list[GridImages], first: list[_Row], portion: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    size, number, kind = math.prod(shape), len(images), index_type(shape)
    for start in range(0, size, portion):
        index = np.arange(start, min(start + portion, size), dtype=kind)
        points = [x.astype(kind) for x in np.unravel_index(index, shape)]
        for row in first:
            index, *points = _select(row(points) >= points[0], index, *points)
        fixed = np.zeros(len(index), kind)
        for one in images:
            image = one.index(points)
            fixed += image == index
            fixed, index, *points = _select(image >= index, fixed, index, *points)
        yield index.astype(np.int64), number // fixed.astype(np.int64)


def _select(kept: Bool[np.ndarray, " K"], *arrays: np.ndarray) -> list[np.ndarray]:
    return list(arrays) if np.all(kept) else [x[kept] for x in arrays]
