"""Irreducible part of the unit cube under maps that act on each coordinate alone."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxspin.meshes.coordinates import Coordinates, Reflection
from jaxspin.symmetry.operations import generate_group


class BoxArrays(Protocol):
    """Boxes in the unit cube of the coordinates of some cells."""

    @property
    def lower(self) -> Float[np.ndarray, "L d"]: ...

    @property
    def width(self) -> Float[np.ndarray, "L d"]: ...


#: How a map acts on each coordinate.
Action = tuple[Reflection, ...]


class CloseBoxes(NamedTuple):
    """Pairs of a point and a box that holds an image of it, or nearly so."""

    point: Int[np.ndarray, " P"]
    box: Int[np.ndarray, " P"]
    #: Edges of the box, carried back to the point: steps in the unit cube, (pair, axis, d).
    edges: Float[np.ndarray, "P a d"]


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

    def describe(self) -> str:
        """What tells it from other parts, for a checkpoint."""
        return f"{self.lower}, {self.width}"

    def choose_coordinates(self, coordinates: Coordinates) -> Coordinates:
        """The map from the unit cube of the cells to k: that of the mesh."""
        return coordinates

    def first_cells(self, counts: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Corners and widths of cells, about as many along each axis of the whole cube as given."""
        part = np.array(self.width)
        numbers = [max(1, round(n * x)) for n, x in zip(counts, part, strict=True)]
        corners = np.meshgrid(*(np.arange(n) / n for n in numbers), indexing="ij")
        lower = self.lower + part * np.stack([x.ravel() for x in corners], axis=1)
        return lower, np.broadcast_to(part / np.array(numbers), lower.shape).copy()

    def find_close(
        self,
        u: Float[np.ndarray, "L d"],
        boxes: BoxArrays,
        margin: float,
        wraps: Bool[np.ndarray, " d"],
    ) -> CloseBoxes:
        """Boxes that have an image of a point inside or at most `margin` of a width away.

        Args:
            wraps: axes along which the unit cube is periodic.
        """
        d = u.shape[1]
        images = self.all_images(u).reshape(-1, 1, d)
        away = np.abs(images - boxes.lower - boxes.width / 2)
        away = np.where(wraps, np.minimum(away, 1 - away), away)
        which, box = np.nonzero(np.all(away <= (0.5 + margin) * boxes.width, axis=2))
        return CloseBoxes(which % len(u), box, boxes.width[box, :, None] * np.eye(d))


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
