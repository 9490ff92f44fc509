"""Magnetic point groups: closure, generators, labels, and the 122 by their names."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

import numpy as np
from jaxtyping import ArrayLike

from jaxspin.engine.validate import as_numbers, check_integer, check_type
from jaxspin.meshes.mesh import Grid
from jaxspin.symmetry.closure import UNIT, as_operations, close_group, find_generators
from jaxspin.symmetry.forms import TensorForm, find_form, find_kind
from jaxspin.symmetry.operations import (
    INVERSION,
    TIME_REVERSAL,
    Operation,
    identify,
    mirror,
    name_operation,
    rotation,
)
from jaxspin.symmetry.orbits import find_map, find_matrix, leaves_plane
from jaxspin.symmetry.tensors import Tensor


class PointGroup(Sequence[Operation]):
    """A magnetic point group: all of its elements, the identity first.

    `group(operations)` makes one of generators, `point_group(label)` one of the 122 by its name.
    `Symmetric(mesh, group)` reduces a mesh by it.

    Args:
        operations: all elements, each once or more.

    Raises:
        ValueError: they are no group; the text names a product that is missing.

    >>> point_group("4/mmm(4/m)")
    <4/mmm(4/m), 16 elements>
    """

    def __init__(self, operations: Iterable[Operation]):
        given: dict[tuple, Operation] = {}
        for one in as_operations(operations):  # of those with several translations the first
            given.setdefault(identify(one), one)
        closed = close_group(find_generators(given.values()))
        missing = [one for one in closed if identify(one) not in given]
        if missing:
            raise ValueError(
                "Argument `operations` must be all elements of a group, but their products have "
                f"{len(missing)} more, such as the {missing[0].name}. "
                "`symmetry.group(operations)` adds them."
            )
        self._elements = tuple(sorted(given.values(), key=lambda one: identify(one) != UNIT))

    def __getitem__(self, index):
        return self._elements[index]

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._elements)

    def __contains__(self, operation: object) -> bool:
        """True if an operation is an element, whatever its name and translation."""
        return isinstance(operation, Operation) and identify(operation) in self._keys

    def __eq__(self, other: object) -> bool:
        """True if two groups have the same elements, whatever their translations."""
        return isinstance(other, PointGroup) and self._keys == other._keys

    def __hash__(self) -> int:
        return hash(self._keys)

    @property
    def _keys(self) -> frozenset:
        return frozenset(map(identify, self._elements))

    def __repr__(self) -> str:
        return f"<{self.label}, {len(self)} element{'s' if len(self) > 1 else ''}>"

    @property
    def generators(self) -> tuple[Operation, ...]:
        """A few elements whose products are all the others; the identity where it is alone."""
        return find_generators(self._elements)

    @property
    def label(self) -> str:
        """Hermann-Mauguin symbol: G, with time reversal G1', black-white G(H), H the unitary half.

        4/mmm(4/m) is 4/mm'm' in primes. A group that no crystal has goes by its number of elements.
        """
        whole = _name_point_group([one.matrix for one in self])
        unitary = [one.matrix for one in self if not one.time_reversal]
        if len(unitary) == len(self):
            return whole
        grey = any(identify(one) == identify(TIME_REVERSAL) for one in self)
        return f"{whole}1'" if grey else f"{whole}({_name_point_group(unitary)})"

    def allowed(self, quantity: str | Tensor, dimension: int = 3) -> TensorForm:
        """The components of a response that the group allows, and which are multiples of which.

        Args:
            quantity: one of `forms.KINDS`, such as "spin hall", "magnetic spin hall" (its part
                that is odd under time reversal), "anomalous hall", "edelstein"; or a `Quantity`.
            dimension: of space, 1 to 3.

        Raises:
            ValueError: there is no such name; an element leaves the line or the plane.

        >>> print(point_group("m-3m1'").allowed("spin hall"))
        xy^z = -xz^y = -yx^z = yz^x = zx^y = -zy^x
        """
        check_integer("dimension", dimension, 1, 3)
        for one in self:
            if leaves_plane(one, dimension):
                raise ValueError(
                    "Argument `dimension` must be that of a space which the group keeps, but is "
                    f"{dimension}, and the {one.name} takes the coordinates to others."
                )
        return find_form(self._elements, find_kind(quantity), dimension)

    def subgroup_of(self, grid: Grid, lattice: ArrayLike) -> "PointGroup":
        """The elements that take a lattice (rows, Å), and a grid over its zone, to itself.

        >>> point_group("m-3m").subgroup_of(Grid((4, 4, 6)), np.eye(3))
        <4/mmm, 16 elements>
        """
        check_type("grid", grid, Grid, "a Grid")
        rows = as_numbers("lattice", lattice, "of one row for each direction")
        matrices = [find_matrix(one, grid.dimension, rows) for one in self]
        kept = [one and find_map(one, grid) for one in matrices]
        return PointGroup(one for one, has_map in zip(self, kept, strict=True) if has_map)


def group(operations: Iterable[Operation]) -> PointGroup:
    """The group of all products of some operations; of none, the identity alone.

    Raises:
        ValueError: one is no operation; there are more than 4096 products.

    >>> len(group([rotation(3), INVERSION, TIME_REVERSAL]))
    12
    """
    if not isinstance(operations, str | Operation) and np.iterable(operations):
        operations = tuple(operations) or (name_operation(np.eye(3)),)
    return PointGroup(close_group(as_operations(operations)))


# --- names ----------------------------------------------------------------------------------------

_ELEMENTS = {
    "-1": INVERSION,
    **{f"{n}{axis}": rotation(n, axis) for n, axis in ((2, "x"), (2, "y"), (2, "z"))},
    **{f"{n}z": rotation(n) for n in (3, 4, 6)},
    "mx": mirror("x"),
    "my": mirror("y"),
    "3d": name_operation(np.eye(3)[[2, 0, 1]]),  # about [1 1 1]
    "-4z": name_operation(-np.array(rotation(4).matrix)),
    "-6z": name_operation(-np.array(rotation(6).matrix)),
}

#: Generators of the 32 point groups, the axis of highest order along z, that of 2, m and 2/m along
#: y, a second one along x (32, 3m, -3m as in P321, P3m1, P-3m1). International Tables A, 10.1.
_GENERATORS = {
    "1": "",
    "-1": "-1",
    "2": "2y",
    "m": "my",
    "2/m": "2y -1",
    "222": "2z 2x",
    "mm2": "2z mx",
    "mmm": "2z 2x -1",
    "4": "4z",
    "-4": "-4z",
    "4/m": "4z -1",
    "422": "4z 2x",
    "4mm": "4z mx",
    "-42m": "-4z 2x",
    "4/mmm": "4z 2x -1",
    "3": "3z",
    "-3": "3z -1",
    "32": "3z 2x",
    "3m": "3z mx",
    "-3m": "3z 2x -1",
    "6": "6z",
    "-6": "-6z",
    "6/m": "6z -1",
    "622": "6z 2x",
    "6mm": "6z mx",
    "-6m2": "-6z mx",
    "6/mmm": "6z 2x -1",
    "23": "2z 3d",
    "m-3": "2z 3d -1",
    "432": "4z 3d",
    "-43m": "-4z 3d",
    "m-3m": "4z 3d -1",
}


def point_group(label: str) -> PointGroup:
    """One of the 122 magnetic point groups, in its standard setting.

    "m-3m" has no time reversal, "m-3m1'" has, and "4/mmm(4/m)" is black-white: its elements that
    are not in 4/m come with time reversal (4/mm'm').

    Raises:
        ValueError: there is no such group.

    >>> point_group("m-3m1'")
    <m-3m1', 96 elements>
    """
    known = point_groups()
    if not isinstance(label, str) or label not in known:
        raise ValueError(
            "Argument `label` must be one of the 122 magnetic point groups, such as 'm-3m', "
            f"\"m-3m1'\" or '4/mmm(4/m)', but is {label!r}."
        )
    return known[label]


@functools.cache
def point_groups() -> dict[str, PointGroup]:
    """The 122 magnetic point groups by label: 32, 32 with time reversal, 58 black-white.

    The unitary half of a black-white group is the kernel of a map of the group to {1, −1}: a sign
    for each generator, −1 with time reversal, unless time reversal itself is among the products.
    """
    found: dict[str, PointGroup] = {}
    for names in _GENERATORS.values():
        plain = [_ELEMENTS[name] for name in names.split()]
        candidates = [
            group(
                [
                    name_operation(np.array(one.matrix), sign)
                    for one, sign in zip(plain, signs, strict=True)
                ]
            )
            for signs in product((False, True), repeat=len(plain))
        ]
        for one in (candidates[0], group([*plain, TIME_REVERSAL]), *candidates[1:]):
            found.setdefault(one.label, one)
    return found


def _name_point_group(matrices) -> str:
    """The symbol of a point group, by how many elements of each kind it has."""
    distinct = {identify(Operation("", matrix)): matrix for matrix in matrices}
    kinds = _count_kinds(distinct.values())
    return _symbols_of_kinds().get(kinds, f"order {len(distinct)}")


@functools.cache
def _symbols_of_kinds() -> dict[frozenset, str]:
    return {
        _count_kinds(x.matrix for x in group([_ELEMENTS[name] for name in names.split()])): symbol
        for symbol, names in _GENERATORS.items()
    }


def _count_kinds(matrices) -> frozenset:
    """Number of elements of each determinant and trace, which fix the order of an element."""
    arrays = [np.array(matrix) for matrix in matrices]
    kinds = ((round(float(np.linalg.det(m))), round(float(np.trace(m)), 5)) for m in arrays)
    return frozenset(Counter(kinds).items())
