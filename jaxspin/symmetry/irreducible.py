"""Irreducible points of a grid under any group that keeps it, as a mesh."""

import functools
from typing import ClassVar

import equinox as eqx
import numpy as np

from jaxspin.meshes.coordinates import Reciprocal
from jaxspin.meshes.mesh import Grid, Mesh
from jaxspin.meshes.quadrature import Rule
from jaxspin.symmetry.operations import generate_group
from jaxspin.symmetry.orbits import Matrix, find_map, find_orbits, nearest_grid


class Irreducible(Mesh):
    """One point of each orbit of a grid under a group, which counts as often as the orbit has
    points: the point of least index, in the order of the grid.

    Exact for what is the same at all points of an orbit; of a tensor the average over the group is.
    """

    is_product: ClassVar[bool] = False

    grid: Grid
    #: The group, as matrices on the reduced coordinates of k.
    matrices: tuple[Matrix, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._orbits[0]),)

    @property
    def dimension(self):
        return self.grid.dimension

    @property
    def domain(self):
        return self.grid.domain

    @property
    def counts(self):
        return self.grid.counts

    @property
    def coordinates(self):
        return Reciprocal()

    @property
    def rules(self):
        index, times = self._orbits
        ones = np.asarray(1.0)
        nodes = np.unravel_index(index, self.grid.shape)
        return tuple(
            Rule((n + s) / count, np.asarray(1 / count), ones if axis else times.astype(float))
            for axis, (n, s, count) in enumerate(
                zip(nodes, self.grid.shift, self.grid.shape, strict=True)
            )
        )

    def coarser(self) -> "Irreducible":
        """The coarser grid, or the nearest that the group keeps, reduced as well."""
        return self._reduce(self.grid.coarser())

    def much_coarser(self) -> tuple["Irreducible", ...]:
        """The much coarser grids, or the nearest that the group keeps, reduced as well."""
        return tuple(self._reduce(grid) for grid in self.grid.much_coarser())

    def _reduce(self, grid: Grid) -> "Irreducible":
        return Irreducible(nearest_grid(grid, self.matrices), self.matrices)

    @property
    def _orbits(self) -> tuple[np.ndarray, np.ndarray]:
        return _find_orbits(self.grid.shape, self.grid.shift, self.matrices)


@functools.lru_cache(maxsize=32)
def _find_orbits(shape, shift, matrices) -> tuple[np.ndarray, np.ndarray]:
    maps = [find_map(matrix, Grid(shape, shift)) for matrix in matrices]
    return find_orbits(shape, [one for one in maps if one is not None])


def identity_matrix(dimension: int) -> Matrix:
    """The matrix that leaves k in place."""
    return tuple(tuple(int(i == j) for j in range(dimension)) for i in range(dimension))


@functools.lru_cache(maxsize=32)
def generate_matrices(matrices: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
    """All products of some integer matrices."""
    identity = identity_matrix(len(matrices[0]))
    multiply = lambda a, b: tuple(map(tuple, (np.array(a) @ np.array(b)).tolist()))  # noqa: E731
    return tuple(generate_group(identity, list(matrices), multiply, lambda matrix: matrix))
