"""Symmetries of a crystal, and meshes reduced by them.

Nothing is reduced unless it is asked for: `Symmetric(mesh, operations)` sums one node of each set
of nodes that the operations take into each other, as often as the set has members, and averages
the result over the group. Every operation is first compared with the model at random k
(`checks.check_symmetry`).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.algebra import is_traced, shortened
from jaxspin.descriptions import describe_fields
from jaxspin.meshes import Mesh, Reflection, Rule, plain
from jaxspin.tolerances import ROTATION


class Operation(eqx.Module):
    """A rotation, reflection or inversion of the crystal, with or without time reversal.

    `matrix` is orthogonal, 3 by 3, and acts on positions, flows and fields; in one and two
    dimensions its first rows act on k, and all of it on spin. The wave vector goes to `matrix` k,
    with time reversal to −`matrix` k. Spin goes to det(`matrix`) `matrix` s, for it is axial.

    >>> import numpy as np
    >>> print(Operation("mirror z", np.diag([1.0, 1.0, -1.0])).on_spin.diagonal())
    [-1. -1.  1.]
    """

    #: How errors call it.
    name: str = eqx.field(static=True)
    matrix: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    time_reversal: bool = eqx.field(static=True)

    def __init__(
        self, name: str, matrix: Sequence[Sequence[float]] | np.ndarray, time_reversal: bool = False
    ):
        array, rounding = np.array(matrix, dtype=float), ROTATION.of(np.asarray(matrix))
        if array.shape != (3, 3) or not np.allclose(array @ array.T, np.eye(3), atol=rounding):
            raise ValueError(
                f"Argument `matrix` must be an orthogonal matrix of shape (3, 3), but is {matrix}."
            )
        self.name, self.time_reversal = name, bool(time_reversal)
        self.matrix = tuple(tuple(float(x) for x in row) for row in array)

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def on_space(self, dimension: int) -> Float[np.ndarray, "d d"]:
        """The matrix that acts on flows and fields."""
        return np.array(self.matrix)[:dimension, :dimension]

    def on_k(self, dimension: int) -> Float[np.ndarray, "d d"]:
        """The matrix that acts on wave vectors."""
        return self.on_space(dimension) * (-1 if self.time_reversal else 1)

    @property
    def on_spin(self) -> Float[np.ndarray, "3 3"]:
        """The matrix that acts on spin, without the sign of time reversal."""
        matrix = np.array(self.matrix)
        return np.linalg.det(matrix).round() * matrix


#: k -> -k and s -> -s.
TIME_REVERSAL = Operation("time reversal", np.eye(3), time_reversal=True)
#: k -> -k, spin as it is.
INVERSION = Operation("inversion", -np.eye(3))


def mirror(axis: str, *, time_reversal: bool = False) -> Operation:
    """The reflection of one axis, "x", "y" or "z".

    >>> print(mirror("x", time_reversal=True).name)
    mirror x with time reversal
    """
    signs = np.where(np.arange(3) == _axis(axis), -1.0, 1.0)
    return Operation(_named(f"mirror {axis}", time_reversal), np.diag(signs), time_reversal)


def rotation(order: int, axis: str = "z", *, time_reversal: bool = False) -> Operation:
    """The rotation by 2π/order about "x", "y" or "z".

    >>> print(rotation(3).name)
    rotation of order 3 about z
    """
    if not isinstance(order, int | np.integer) or order < 1:
        raise ValueError(f"Argument `order` must be a positive integer, but is {order!r}.")
    number, angle = _axis(axis), 2 * np.pi / order
    first, second = (number + 1) % 3, (number + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    # Rounding aside, the entries of the rotations of a lattice are halves, or √3/2.
    halves = np.round(2 * matrix) / 2
    matrix = np.where(np.abs(matrix - halves) < 1e-15, halves, matrix)
    name = f"rotation of order {order} about {axis}"
    return Operation(_named(name, time_reversal), matrix, time_reversal)


def _axis(axis: str) -> int:
    if axis not in ("x", "y", "z"):
        raise ValueError(f"Argument `axis` must be one of 'x', 'y', 'z', but is {axis!r}.")
    return "xyz".index(axis)


def _named(name: str, time_reversal: bool) -> str:
    return f"{name} with time reversal" if time_reversal else name


class Symmetric(eqx.Module):
    """A mesh reduced by symmetries of the model, which are checked against it at random k.

    The result is that of `mesh` to rounding, at every temperature, from fewer points: each
    operation that is independent of the others halves their number (a rotation of order n divides
    it by n). A model without one of the symmetries is refused. Each operation must take every
    coordinate of the mesh to itself; see docs/conventions.md for which do.

    Args:
        mesh: a Grid, Disk, Ball, Plane or Space.
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

    mesh: Mesh
    operations: tuple[Operation, ...]

    def __init__(self, mesh: Mesh, operations: Operation | Iterable[Operation]):
        self.mesh = plain(mesh)
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

    def folded(self, lattice: Float[Array, "d d"] | None = None) -> "Folded":
        """The reduced mesh, for a model of this lattice.

        Raises:
            ValueError: naming the operation that mixes coordinates, or that takes a node to where
                there is none.
        """
        coordinates, actions = self.mesh.coordinates, []
        for operation in self.operations:
            action = _reflections(operation, self.mesh, lattice)
            if action is None and is_traced(self.mesh, lattice):
                raise ValueError(
                    "Argument `operations` must be of a mesh and lattice that are known, but "
                    f"here they are being traced, and {operation.name} depends on them."
                )
            if action is None:
                raise ValueError(
                    f"Argument `operations` must act on each coordinate of the "
                    f"{type(self.mesh).__name__} alone, but {operation.name} does not. "
                    f"{coordinates.foldable}"
                )
            if _permutations(self.mesh, action) is None:
                raise ValueError(
                    f"Argument `operations` must take the nodes of the {type(self.mesh).__name__} "
                    f"to each other, but {operation.name} does not, for its counts are "
                    f"{self.mesh.shape}. {coordinates.foldable}"
                )
            actions.append(action)
        return Folded(self.mesh, tuple(actions))


def _reflections(operation: Operation, mesh: Mesh, lattice) -> tuple[Reflection, ...] | None:
    d = mesh.dimension
    matrix = np.array(operation.matrix)
    if np.any(np.abs(matrix[:d, d:]) > ROTATION.of()):  # out of the plane
        return None
    return mesh.coordinates.reflections(operation.on_k(d), lattice)


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
    def shape(self):
        return tuple(len(kept) for kept, _ in self._kept)

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
            for rule, (kept, times) in zip(self.mesh.rules, self._kept, strict=True)
        )

    def coarser(self):
        """The coarser rule of the full mesh, with the nearest number of angles that folds."""
        return self._fold(self.mesh.coarser())

    def much_coarser(self):
        """The much coarser rules of the full mesh, each with a number of angles that folds."""
        return tuple(self._fold(mesh) for mesh in self.mesh.much_coarser())

    def _fold(self, coarser: Mesh) -> "Folded":
        # Twice the number of angles always folds, so there is one.
        nearest = min(
            (mesh for mesh in _near(coarser, self.mesh) if self._folds(mesh)),
            key=lambda mesh: abs(mesh.shape[-1] - coarser.shape[-1]),
        )
        return Folded(nearest, self.actions)

    def _folds(self, mesh: Mesh) -> bool:
        return all(_permutations(mesh, action) is not None for action in self.actions)

    @property
    def _kept(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return _orbits(_shape_and_nodes(self.mesh), self.actions)


def _near(coarser: Mesh, mesh: Mesh) -> Iterable[Mesh]:
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


def _permutations(mesh: Mesh, action: tuple[Reflection, ...]):
    found = [
        _permutation(rule.nodes, reflection)
        for rule, reflection in zip(mesh.rules, action, strict=True)
    ]
    return None if any(one is None for one in found) else tuple(found)


def _permutation(nodes: np.ndarray, reflection: Reflection) -> np.ndarray | None:
    """Where u -> sign u + offset (modulo 1) takes each node; None where to none."""
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
def _orbits(nodes, actions) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each coordinate, the nodes that are kept and how many each of them stands for."""
    maps = [
        tuple(_permutation(x, one) for x, one in zip(nodes, action, strict=True))
        for action in actions
    ]
    group = _generated(
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


def _generated(identity, generators, product: Callable, key: Callable) -> list:
    """The group generated by some elements."""
    group, fresh = {key(identity): identity}, [identity]
    while fresh:
        products = [product(g, element) for g in generators for element in fresh]
        fresh = list({key(p): p for p in products if key(p) not in group}.values())
        group |= {key(p): p for p in fresh}
    return list(group.values())


class _Axis(Protocol):
    """An index of a tensor: a polar vector of the dimension of space, or an axial one of three."""

    @property
    def axial(self) -> bool: ...


class Tensor(Protocol):
    """A response as a symmetry sees it."""

    @property
    def name(self) -> str: ...

    @property
    def axes(self) -> tuple[_Axis, ...]: ...

    @property
    def time_reversal(self) -> int:
        """The sign it takes with time reversal, that of a spin included."""

    def size(self, dimension: int) -> int:
        """Number of components."""


def on_components(
    operation: Operation, tensors: Sequence[Tensor], dimension: int
) -> Float[np.ndarray, "c c"]:
    """The matrix that acts on the components of some tensors, laid end to end."""
    whole = np.zeros((sum(t.size(dimension) for t in tensors),) * 2)
    start = 0
    for tensor in tensors:
        sign = tensor.time_reversal if operation.time_reversal else 1
        factors = [
            operation.on_spin if axis.axial else operation.on_space(dimension)
            for axis in tensor.axes
        ]
        inside = slice(start, start + tensor.size(dimension))
        whole[inside, inside] = sign * functools.reduce(np.kron, factors, np.ones((1, 1)))
        start = inside.stop
    return whole


def averaged(
    operations: Sequence[Operation], tensors: Sequence[Tensor], dimension: int
) -> Callable[[Array], Array]:
    """The average over the group generated by some operations, of components on the last axis."""
    members = group(operations)
    mean = sum(on_components(one, tensors, dimension) for one in members) / len(members)
    mean = np.where(np.abs(mean) < 1e-13, 0, mean)  # a zero by symmetry is zero
    return lambda sums: jnp.einsum("dc,...c->...d", mean, sums, precision="highest")


def group(operations: Sequence[Operation]) -> list[Operation]:
    """All products of some operations.

    >>> len(group([rotation(3), INVERSION, TIME_REVERSAL]))
    12
    """
    return _generated(
        Operation("identity", np.eye(3)),
        list(operations),
        lambda a, b: Operation(
            f"{a.name} after {b.name}",
            np.array(a.matrix) @ np.array(b.matrix),
            a.time_reversal != b.time_reversal,
        ),
        lambda a: (tuple((np.array(a.matrix).round(6) + 0.0).ravel()), a.time_reversal),
    )
