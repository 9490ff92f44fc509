"""Irreducible part of the unit cube under maps that act on each coordinate alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxspin.meshes.coordinates import Reflection
from jaxspin.symmetry.operations import generate_group

#: How a map acts on each coordinate.
Action = tuple[Reflection, ...]


class Wedge(NamedTuple):
    """A box of the unit cube whose images under a group of maps fill it, each part once."""

    lower: tuple[float, ...]
    width: tuple[float, ...]
    #: The volume of the cube in that of the box.
    images: int
    #: The group: sign and offset of u -> sign u + offset (modulo 1), (map, axis, 2).
    maps: Float[np.ndarray, "g d 2"]

    def all_images(self, u: Float[np.ndarray, "L d"]) -> Float[np.ndarray, "g L d"]:
        """Points of the unit cube under each map."""
        sign, offset = self.maps[:, None, :, 0], self.maps[:, None, :, 1]
        return (sign * u + offset) % 1


def whole_cube(dimension: int) -> Wedge:
    """The unit cube itself."""
    return find_wedge([], dimension)


def find_wedge(actions: Sequence[Action], dimension: int, angular: bool = False) -> Wedge:
    """The irreducible part under the group that some maps generate.

    The first coordinate is cut by all maps, the next by those that leave the first in place, and so
    on. A last coordinate that is an angle is cut by its rotations alone, so that an integrand is
    periodic on what is left of it.
    """
    maps = group = _generate_maps(actions, dimension)
    lower, width, images = [], [], 1
    for axis in range(dimension):
        turns = {offset for sign, offset in (one[axis] for one in maps) if sign == 1}
        mirrors = sorted(offset for sign, offset in (one[axis] for one in maps) if sign == -1)
        mirrored = bool(mirrors) and not (angular and axis == dimension - 1)
        parts = len(turns) * (2 if mirrored else 1)
        lower.append(mirrors[0] / 2 if mirrored else 0.0)
        width.append(1 / parts)
        images *= parts
        maps = [one for one in maps if one[axis] == (1, 0.0)]
    return Wedge(tuple(lower), tuple(width), images, np.array(group, dtype=float))


def _generate_maps(actions: Sequence[Action], dimension: int) -> list[Action]:
    """All products of some maps. Offsets are rounded to tell maps apart, not while they add."""
    compose = lambda a, b: tuple(  # noqa: E731
        (s * t, (s * p + o) % 1) for (s, o), (t, p) in zip(a, b, strict=True)
    )
    identity = ((1, 0.0),) * dimension
    return [
        _round_offsets(one) for one in generate_group(identity, actions, compose, _round_offsets)
    ]


def _round_offsets(action: Action) -> Action:
    return tuple((sign, round(offset % 1, 9) % 1) for sign, offset in action)
