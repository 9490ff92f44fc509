"""Symmetries of a crystal, and meshes reduced by them.

Nothing is reduced unless it is asked for: `Symmetric(mesh, operations)` sums one node of each set
of nodes that the operations take into each other, as often as the set has members, and averages
the result over the group. Every operation is first compared with the model at random k
(`checks.check_symmetry`).
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.descriptions import describe_fields
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.tolerances import ROTATION
from jaxspin.engine.validate import check_type, shortened
from jaxspin.meshes.coordinates import Reflection
from jaxspin.meshes.mesh import Adaptive, Grid, Mesh
from jaxspin.meshes.point_set import PointSet, find_on_grid
from jaxspin.meshes.quadrature import Rule
from jaxspin.symmetry.operations import Operation, generate_group, group
from jaxspin.symmetry.wedge import Action, Wedge, find_wedge


class Symmetric(eqx.Module):
    """A mesh reduced by symmetries of the model, which are checked against it at random k.

    The result is that of `mesh` to rounding, at every temperature, from fewer points: each
    operation that is independent of the others halves their number (a rotation of order n divides
    it by n). A model without one of the symmetries is refused. Each operation must take every
    coordinate of the mesh to itself; see docs/conventions.md for which do.

    An `Adaptive` mesh refines the irreducible part of its domain, on which it integrates the
    average over the group: its tolerance and its error are those of the averaged response.

    The points of a `PointSet` are taken for representatives already: none is left out, and the
    result is averaged over the group. Any operation of the lattice will do; where the set has a
    `grid`, each node of it must be the image of one point, as often as its weight says.

    Args:
        mesh: a Grid, Disk, Ball, Plane or Space, an Adaptive of one, or a PointSet.
        operations: what `jaxspin.symmetry` has, such as `TIME_REVERSAL` or `rotation(3)`.

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
        several = (operations,) if isinstance(operations, Operation) else operations
        several = tuple(several) if np.iterable(several) else ()
        if not several or not all(isinstance(one, Operation) for one in several):
            raise ValueError(
                "Argument `operations` must be operations of jaxspin.symmetry, at least one, "
                f"but is {shortened(operations)}."
            )
        self.operations = several

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

    def wedge(self, lattice: Float[Array, "d d"] | None = None) -> Wedge:
        """The part of the domain that an `Adaptive` mesh refines, for a model of this lattice.

        Raises:
            ValueError: naming the operation that mixes coordinates.
        """
        mesh = fixed_mesh(self.mesh)
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
        return self._fold_product(self.mesh, lattice)

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

    def _fold_product(self, mesh: Mesh, lattice) -> "Folded":
        actions = self._find_actions(mesh, lattice)
        for operation, action in zip(self.operations, actions, strict=True):
            if _permute_axes(mesh, action) is None:
                raise ValueError(
                    f"Argument `operations` must take the nodes of the {type(mesh).__name__} "
                    f"to each other, but {operation.name} does not, for its counts are "
                    f"{mesh.shape}. {mesh.coordinates.foldable}"
                )
        return Folded(mesh, tuple(actions))


def _reflect_coordinates(
    operation: Operation, mesh: Mesh, lattice
) -> tuple[Reflection, ...] | None:
    if _leaves_plane(operation, mesh.dimension):
        return None
    return mesh.coordinates.reflections(operation.on_k(mesh.dimension), lattice)


def _leaves_plane(operation: Operation, dimension: int) -> bool:
    """True if an operation takes wave vectors of a chain or a plane out of it."""
    return bool(np.any(np.abs(np.array(operation.matrix)[:dimension, dimension:]) > ROTATION.of()))


def _check_plane(operations: Sequence[Operation], dimension: int) -> None:
    for operation in operations:
        if _leaves_plane(operation, dimension):
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
    maps = np.stack([turn(one) for one in group(operations)])
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


class Folded(Mesh):
    """One node of each set that some maps of the unit cube take into each other.

    The first coordinate is folded by all maps, the next by those that leave every node of the
    first in place, and so on: what is left is a product of rules again. That is exact for an
    integrand that goes over into its image under each map.
    """

    mesh: Mesh
    #: How each map acts on each coordinate.
    actions: tuple[tuple[Reflection, ...], ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(kept) for kept, _ in self._kept_nodes)

    @property
    def dimension(self):
        return self.mesh.dimension

    @property
    def domain(self):
        return self.mesh.domain

    @property
    def coordinates(self):
        return self.mesh.coordinates

    @property
    def rules(self):
        return tuple(
            Rule(rule.nodes[kept], rule.widths[kept], times)
            for rule, (kept, times) in zip(self.mesh.rules, self._kept_nodes, strict=True)
        )

    def coarser(self):
        """The coarser rule of the full mesh, with the nearest number of angles that folds."""
        return self._fold_coarser(self.mesh.coarser())

    def much_coarser(self):
        """The much coarser rules of the full mesh, each with a number of angles that folds."""
        return tuple(self._fold_coarser(mesh) for mesh in self.mesh.much_coarser())

    def _fold_coarser(self, coarser: Mesh) -> "Folded":
        # Twice the number of angles always folds, so there is one.
        nearest = min(
            (mesh for mesh in _nearby_meshes(coarser, self.mesh) if self._can_fold(mesh)),
            key=lambda mesh: abs(mesh.shape[-1] - coarser.shape[-1]),
        )
        return Folded(nearest, self.actions)

    def _can_fold(self, mesh: Mesh) -> bool:
        return all(_permute_axes(mesh, action) is not None for action in self.actions)

    @property
    def _kept_nodes(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return _find_orbits(_shape_and_nodes(self.mesh), self.actions)


def _nearby_meshes(coarser: Mesh, mesh: Mesh) -> Iterable[Mesh]:
    """`coarser`, and the same with other numbers of angles, but not with that of `mesh`."""
    yield coarser
    names = {field.name for field in dataclasses.fields(coarser)}
    for name in names & {"angular", "azimuthal"}:
        number = getattr(mesh, name)
        for count in range(5, 2 * max(number, 5) + 1):
            if count != number:
                yield dataclasses.replace(coarser, **{name: count})


def _shape_and_nodes(mesh: Mesh):
    return tuple(tuple(rule.nodes.tolist()) for rule in mesh.rules)


def _permute_axes(mesh: Mesh, action: tuple[Reflection, ...]):
    found = [
        _permute_nodes(rule.nodes, reflection)
        for rule, reflection in zip(mesh.rules, action, strict=True)
    ]
    return None if any(one is None for one in found) else tuple(found)


def _permute_nodes(nodes: np.ndarray, reflection: Reflection) -> np.ndarray | None:
    """Index of the image of each node under u -> sign u + offset (modulo 1), if there is one."""
    sign, offset = reflection
    nodes = np.asarray(nodes)
    if (sign, offset) == (1, 0.0):
        return np.arange(len(nodes))
    order = np.argsort(nodes % 1)
    images, places = (sign * nodes + offset) % 1, (nodes % 1)[order]
    around = np.concatenate([places[-1:] - 1, places, places[:1] + 1])
    after = np.clip(np.searchsorted(around, images), 1, len(around) - 1)
    nearer = after - (images - around[after - 1] < around[after] - images)
    if np.max(np.abs(around[nearer] - images)) > 1e-4 / len(nodes) ** 2:
        return None
    return order[(nearer - 1) % len(nodes)]


@functools.lru_cache(maxsize=16)
def _find_orbits(nodes, actions) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each coordinate, the nodes that are kept and how many each of them stands for."""
    maps = [
        tuple(_permute_nodes(x, one) for x, one in zip(nodes, action, strict=True))
        for action in actions
    ]
    group = generate_group(
        tuple(np.arange(len(x)) for x in nodes),
        maps,
        lambda a, b: tuple(x[y] for x, y in zip(a, b, strict=True)),
        lambda a: b"|".join(x.tobytes() for x in a),
    )
    found = []
    for axis, x in enumerate(nodes):
        first = np.min([element[axis] for element in group], axis=0)
        kept, times = np.unique(first, return_counts=True)
        found.append((kept, times.astype(float)))
        group = [g for g in group if np.array_equal(g[axis], np.arange(len(x)))]
    return found
