"""The group that some operations generate, and a few operations that generate a group."""

import functools
from collections.abc import Iterable

import numpy as np

from jaxspin.engine.validate import shortened
from jaxspin.symmetry.operations import Operation, generate_group, identify, key_of, name_operation

#: What tells the identity from other operations.
UNIT = identify(Operation("identity", np.eye(3)))


def as_operations(operations: Operation | Iterable[Operation]) -> tuple[Operation, ...]:
    """One operation or several as a tuple.

    Raises:
        ValueError: there is none, or one is something else.
    """
    several = (operations,) if isinstance(operations, Operation) else operations
    several = tuple(several) if np.iterable(several) else ()
    if not several or not all(isinstance(one, Operation) for one in several):
        raise ValueError(
            "Argument `operations` must be operations of jaxspin.symmetry, at least one, "
            f"but is {shortened(operations)}. "
            "`symmetry.point_group(label)` has a group by its name."
        )
    return several


def find_generators(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """The first of some operations that generate all of them."""
    kept: list[Operation] = []
    met = {UNIT}
    first = None
    for one in operations:
        first = first or one
        if identify(one) not in met:
            kept.append(one)
            met = {identify(x) for x in close_group(kept)}
    return tuple(kept) or (first or Operation("identity", np.eye(3)),)


def close_group(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """All products of some operations, which keep their own names."""
    named = {identify(one): one for one in operations}
    found = _close_group(tuple((one.matrix, one.time_reversal) for one in named.values()))
    return tuple(named.get(identify(one), one) for one in found)


@functools.lru_cache(maxsize=128)
def _close_group(generators) -> tuple[Operation, ...]:
    found = generate_group(
        (np.eye(3), False),
        [(np.array(matrix), reversal) for matrix, reversal in generators],
        lambda a, b: (a[0] @ b[0], a[1] != b[1]),
        lambda a: key_of(*a),
    )
    return tuple(name_operation(matrix, reversal) for matrix, reversal in found)
