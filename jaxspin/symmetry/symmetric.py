"""Symmetries of a crystal, and meshes reduced by them.

Nothing is reduced unless it is asked for: `Symmetric(mesh, operations)` sums one node of each set
of nodes that the operations take into each other, as often as the set has members, and averages
the result over the group. Every operation is first compared with the model at random k
(`symmetry_checks.check_symmetry`).
"""

from collections.abc import Iterable, Sequence
from typing import NoReturn

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.descriptions import describe_fields
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.validate import check_type
from jaxspin.meshes.coordinates import Reflection
from jaxspin.meshes.mesh import Adaptive, Grid, Mesh
from jaxspin.meshes.point_set import PointSet, find_on_grid
from jaxspin.symmetry.closure import as_operations, close_group
from jaxspin.symmetry.folded import Folded, can_fold
from jaxspin.symmetry.groups import PointGroup, group
from jaxspin.symmetry.irreducible import Irreducible, generate_matrices
from jaxspin.symmetry.irreducible_zone import IrreducibleZone, find_irreducible_zone
from jaxspin.symmetry.operations import Operation
from jaxspin.symmetry.orbits import (
    Matrix,
    find_map,
    leaves_plane,
    map_of_k,
    nearest_grid,
    reduced_matrix,
)
from jaxspin.symmetry.wedge import Action, Wedge, find_wedge


class Symmetric(eqx.Module):
    """A mesh reduced by symmetries of the model, which are checked against it at random k.

    The result is that of `mesh` to rounding, at every temperature, from fewer points: each
    operation that is independent of the others halves their number (a rotation of order n divides
    it by n). A model without one of the symmetries is refused; where it is traced (jit, grad,
    vmap) the result is NaN. On a `Grid` any operation will do that takes its nodes to each other
    (see `orbits`); on other meshes each must take every coordinate to itself; docs/conventions.md
    says which do.

    An `Adaptive` mesh refines the irreducible part of its domain, on which it integrates the
    average over the group: its tolerance and its error are those of the averaged response. On a
    `Grid` it takes any operation of the lattice (see `irreducible_zone`).

    The points of a `PointSet` are taken for representatives already: none is left out, and the
    result is averaged over the group. Any operation of the lattice will do; where the set has a
    `grid`, each node of it must be the image of one point, as often as its weight says.

    Args:
        mesh: a Grid, Disk, Ball, Plane or Space, an Adaptive of one, or a PointSet.
        operations: what `jaxspin.symmetry` has, such as `TIME_REVERSAL` or `rotation(3)`, or a
            group of them, `point_group("m-3m1'")`, of which a few generators are kept.

    >>> import jaxspin as js
    >>> mesh = js.Symmetric(js.Grid((64, 64)), [js.symmetry.INVERSION])
    >>> model = js.models.QiWuZhang(A=1.0, m=-1.0)
    >>> mesh.folded(model.lattice).shape
    (33, 64)
    >>> hall = js.anomalous_hall(model, mesh, js.Levels(0.0))
    >>> round(float(hall.to("e^2/h").component(flow="y", field="x").value[0]), 6)
    1.0
    """

    mesh: Mesh | Adaptive
    operations: tuple[Operation, ...]

    def __init__(self, mesh: Mesh | Adaptive, operations: Operation | Iterable[Operation]):
        wanted = "a mesh (Grid, Disk, Ball, Plane, Space, PointSet or Adaptive)"
        check_type("mesh", mesh, Mesh | Adaptive, wanted)
        self.mesh = mesh
        whole = isinstance(operations, PointGroup)
        self.operations = operations.generators if whole else as_operations(operations)

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

    def wedge(self, lattice: Float[Array, "d d"] | None = None) -> Wedge | IrreducibleZone:
        """The part of the domain that an `Adaptive` mesh refines, for a model of this lattice: a
        box of the coordinates, or a polytope where a `Grid` has operations that mix them.

        Raises:
            ValueError: naming the operation that the lattice does not have, or that mixes
                coordinates of another mesh.
        """
        mesh = fixed_mesh(self.mesh)
        elements = self.elements_on_k(lattice)
        if elements is not None and not all(map(_is_diagonal, elements)):
            return find_irreducible_zone(elements, np.asarray(lattice))
        actions = self._find_actions(mesh, lattice)
        return find_wedge(actions, mesh.dimension, mesh.coordinates.angular)

    def folded(self, lattice: Float[Array, "d d"] | None = None) -> Mesh:
        """The reduced mesh, for a model of this lattice; a `PointSet` is one as it is.

        Raises:
            ValueError: naming the operation that mixes coordinates, or that takes a node to where
                there is none; a `PointSet` that is not made of representatives; an `Adaptive`.
        """
        if isinstance(self.mesh, Adaptive):
            raise ValueError(
                "Argument `mesh` must have fixed points to be folded, but is an Adaptive."
            )
        if isinstance(self.mesh, PointSet):
            _check_plane(self.operations, self.dimension)
            _check_representatives(self.mesh, self.operations, lattice)
            return self.mesh
        if isinstance(self.mesh, Grid):
            return self._reduce_grid(self.mesh, lattice)
        return self._fold_product(self.mesh, lattice)

    def maps_of_k(self, lattice: Float[Array, "d d"] | None) -> list[Float[np.ndarray, "d d"]]:
        """The matrix of each operation on wave vectors, on a `Grid` one that keeps the lattice."""
        kept = lattice if isinstance(fixed_mesh(self.mesh), Grid) else None
        return [map_of_k(one, self.dimension, kept) for one in self.operations]

    def elements_on_k(self, lattice: Float[Array, "d d"] | None) -> tuple[Matrix, ...] | None:
        """All elements of the group as matrices on the reduced coordinates of k; None where the
        mesh is no `Grid`.

        Raises:
            ValueError: naming the operation that the lattice does not have.
        """
        if not isinstance(fixed_mesh(self.mesh), Grid):
            return None
        return generate_matrices(self._find_matrices(lattice))

    def _find_actions(self, mesh: Mesh, lattice) -> list[Action]:
        """Action of each operation on the coordinates of a mesh."""
        actions = []
        for operation in self.operations:
            action = _reflect_coordinates(operation, mesh, lattice)
            if action is None and is_traced(mesh, lattice):
                raise ValueError(
                    "Argument `operations` must be of a mesh and lattice that are known, but "
                    f"here they are being traced, and {operation.name} depends on them."
                )
            if action is None:
                raise ValueError(
                    f"Argument `operations` must act on each coordinate of the "
                    f"{type(mesh).__name__} alone, but {operation.name} does not. "
                    f"{mesh.coordinates.foldable}"
                )
            actions.append(action)
        return actions

    def _fold_product(self, mesh: Mesh, lattice) -> Folded:
        actions = self._find_actions(mesh, lattice)
        for operation, action in zip(self.operations, actions, strict=True):
            if not can_fold(mesh, action):
                raise ValueError(
                    f"Argument `operations` must take the nodes of the {type(mesh).__name__} "
                    f"to each other, but {operation.name} does not, because its counts are "
                    f"{mesh.shape}. {mesh.coordinates.foldable}"
                )
        return Folded(mesh, tuple(actions))

    def _find_matrices(self, lattice) -> tuple[Matrix, ...]:
        """The matrix of each operation on the reduced coordinates of k."""
        return tuple(reduced_matrix(one, self.dimension, lattice) for one in self.operations)

    def _reduce_grid(self, grid: Grid, lattice) -> Folded | Irreducible:
        """A product of rules where each coordinate is reflected alone, which is faster to sum."""
        matrices = self._find_matrices(lattice)
        for operation, matrix in zip(self.operations, matrices, strict=True):
            if find_map(matrix, grid) is None:
                _refuse_grid(operation, grid, matrices, group(self.operations), lattice)
        if all(map(_is_diagonal, matrices)):
            actions = (tuple((sign, 0.0) for sign in np.diag(one).tolist()) for one in matrices)
            return Folded(grid, tuple(actions))
        return Irreducible(grid, generate_matrices(matrices))


def _is_diagonal(matrix: Matrix) -> bool:
    return np.array_equal(matrix, np.diag(np.diag(matrix)))


def _refuse_grid(
    operation: Operation, grid: Grid, matrices: Sequence[Matrix], whole: PointGroup, lattice
) -> NoReturn:
    part = whole.subgroup_of(grid, lattice)
    raise ValueError(
        f"Argument `operations` must take the nodes of {grid!r} to each other, but "
        f"{operation.name} does not. All keep {nearest_grid(grid, matrices)!r}; of their group, "
        f"{whole.label}, {len(part)} of {len(whole)} elements keep {grid!r}, and "
        "`symmetry.group(operations).subgroup_of(grid, lattice)` gives them."
    )


def _reflect_coordinates(
    operation: Operation, mesh: Mesh, lattice
) -> tuple[Reflection, ...] | None:
    if leaves_plane(operation, mesh.dimension):
        return None
    return mesh.coordinates.reflections(operation.on_k(mesh.dimension), lattice)


def _check_plane(operations: Sequence[Operation], dimension: int) -> None:
    for operation in operations:
        if leaves_plane(operation, dimension):
            raise ValueError(
                f"Argument `operations` must keep k in its {dimension} dimensions, "
                f"but {operation.name} does not."
            )


def _check_representatives(points: PointSet, operations: Sequence[Operation], lattice) -> None:
    """Each node of the grid is the image of one point, and a point has as many as it weighs."""
    grid = points.grid
    if grid is None or is_traced(points, lattice):
        return
    direct = np.asarray(lattice, dtype=float)
    turn = lambda one: direct @ one.on_k(grid.dimension) @ np.linalg.inv(direct)  # noqa: E731
    maps = np.stack([turn(one) for one in close_group(operations)])
    met = np.zeros(grid.size, int)
    for first in range(0, points.size, _PORTION):
        part = slice(first, first + _PORTION)
        number, images = _find_images(points.k_points[part], maps, grid)
        np.add.at(met, images, 1)
        wrong = number != points.multiplicities[part]
        if np.any(wrong):
            which = first + int(np.argmax(wrong))
            raise ValueError(
                "Argument `weights` must be the numbers of images of each point under the group "
                f"of `operations`, but that of {points.k_points[which].tolist()} is "
                f"{points.multiplicities[which]}, and it has {number[which - first]} images."
            )
    if np.any(met != 1):
        raise ValueError(
            f"Argument `k_points` must be representatives of {grid!r}, one for each set of "
            f"equivalent nodes, but {np.sum(met == 0)} nodes are the image of none, and "
            f"{np.sum(met > 1)} of several."
        )


def _find_images(k: Float[np.ndarray, "K d"], maps: Float[np.ndarray, "g d d"], grid: Grid):
    """The number of different images of each point, and the flat indices of all of them."""
    index, on_node = find_on_grid(np.einsum("gij,Kj->igK", maps, k), grid)
    if not np.all(on_node):
        raise ValueError(
            f"Argument `operations` must take the nodes of {grid!r} to each other, but take "
            f"{k[np.argmin(on_node.all(axis=0))].tolist()} to where there is none."
        )
    index = np.sort(index, axis=0)
    fresh = np.diff(index, axis=0, prepend=-1) > 0
    return fresh.sum(axis=0), index[fresh]


_PORTION = 4096  # points whose images are in memory at once


#: What the responses sum over.
AnyMesh = Mesh | Adaptive | Symmetric


def fixed_mesh(mesh: AnyMesh) -> Mesh:
    """The mesh that an `Adaptive` refines and a `Symmetric` reduces."""
    while isinstance(mesh, Adaptive | Symmetric):
        mesh = mesh.mesh
    return mesh
