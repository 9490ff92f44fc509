"""Product meshes reduced by maps that act on each coordinate alone: products again."""

import dataclasses
import functools
from collections.abc import Iterable

import equinox as eqx
import numpy as np

from jaxspin.meshes.coordinates import Reflection
from jaxspin.meshes.mesh import Mesh
from jaxspin.meshes.quadrature import Rule
from jaxspin.symmetry.operations import generate_group


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
        return all(can_fold(mesh, action) for action in self.actions)

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


def can_fold(mesh: Mesh, action: tuple[Reflection, ...]) -> bool:
    """True if a map takes the nodes along each coordinate to each other."""
    pairs = zip(mesh.rules, action, strict=True)
    return all(_permute_nodes(rule.nodes, one) is not None for rule, one in pairs)


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
