"""Irreducible Brillouin zone of any point group: a polytope whose images fill the zone once.

The operations of a group and the translations by reciprocal vectors take a point p in general
position to a set of points. The wave vectors that are nearer to p than to any other point of the
set are a convex polytope, the Dirichlet domain of p, and its images fill space, each part once,
whatever the group and the lattice. It is cut into simplices, and each simplex into d + 1 pieces:
that of a corner is where its barycentric coordinate is the largest. A piece is the image of the
unit cube under a map that is linear in each coordinate.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxspin.engine.deferred import defer_import
from jaxspin.engine.record import Record
from jaxspin.meshes.coordinates import Nodes
from jaxspin.meshes.lattice import cell_volume, reciprocal_vectors
from jaxspin.symmetry.orbits import Matrix
from jaxspin.symmetry.wedge import BoxArrays, CloseBoxes

if TYPE_CHECKING:
    from scipy import spatial
else:
    spatial = defer_import("scipy.spatial")


class ZonePieces(Record):
    """The map from the unit cube to k, as `meshes.coordinates.Coordinates` are: the cube is cut
    into equal slabs along its first axis, and each slab is mapped to one piece."""

    #: Corners of each piece in reduced coordinates of k: (piece, 0 or 1 along each axis, d).
    corners: Float[np.ndarray, "R *corner d"]
    periodic = False
    angular = False

    def __call__(self, u: Sequence[Array], widths: Sequence[Array], lattice) -> Nodes:
        """The k-points at `u`, one array for each coordinate."""
        number, d = len(self.corners), len(u)
        piece, x = _find_piece(u, number, jnp)
        corners = jnp.moveaxis(jnp.asarray(self.corners)[piece], range(-1 - d, 0), range(1 + d))
        place, *slopes = (_interpolate(corners, x, axis) for axis in (None, *range(d)))
        scaled = [widths[0] * number, *widths[1:]]
        turn = lambda rows: jnp.einsum("a...,ab->b...", rows, reciprocal_vectors(lattice))  # noqa: E731
        full = jnp.broadcast_shapes(*map(jnp.shape, (*u, *widths)))
        spread = lambda rows: jnp.broadcast_to(rows, (d, *full))  # noqa: E731
        edges = jnp.stack([spread(w * s) for w, s in zip(scaled, slopes, strict=True)])
        volume = jnp.abs(jnp.linalg.det(jnp.moveaxis(edges, (0, 1), (-2, -1))))
        return Nodes(
            k=turn(spread(place)),
            weight=volume / cell_volume(lattice),
            edges=jnp.stack([turn(edge) for edge in edges]),
        )


def _find_piece(u: Sequence[Any], number: int, xp: Any):
    """The piece of each point, and its place in the unit cube of that piece."""
    piece = xp.clip(xp.floor(u[0] * number).astype(int), 0, number - 1)
    return piece, [u[0] * number - piece, *u[1:]]


def _interpolate(corners: Any, x: Sequence[Any], slope: int | None = None) -> Any:
    """The function of x, linear in each coordinate, of given values at the corners of the unit
    cube, (0 or 1 along each axis, d, *K); its slope along one axis."""
    for axis, y in enumerate(x):
        low, high = corners
        corners = high - low if axis == slope else low + y * (high - low)
    return corners


class IrreducibleZone(NamedTuple):
    """Polytope whose images under a group fill the Brillouin zone; reduced coordinates of k."""

    #: The group, (g, d, d).
    maps: Int[np.ndarray, "g d d"]
    pieces: ZonePieces

    @property
    def images(self) -> int:
        """The number of images that fill the zone."""
        return len(self.maps)

    @property
    def elements(self) -> tuple[Matrix, ...]:
        """The group, as matrices that are told apart by value."""
        return tuple(tuple(map(tuple, one)) for one in self.maps.tolist())

    def describe(self) -> str:
        """What tells it from other parts, for a checkpoint."""
        return f"a part of {self.images} of the zone: {self.maps.tolist()}"

    def choose_coordinates(self, coordinates: Any) -> ZonePieces:
        """The map from the unit cube of the cells to k."""
        del coordinates
        return self.pieces

    def first_cells(self, counts: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Corners and widths of cells, about as many in the zone as the product of the counts.

        Each piece is cut evenly along each axis, into parts that are about as long as those of the
        zone are.
        """
        corners, d = self.pieces.corners, len(counts)
        middle = [np.full(len(corners), 0.5)] * d
        box = np.moveaxis(corners, 0, -1)
        edges = np.stack([_interpolate(box, middle, axis) for axis in range(d)])
        parts = np.moveaxis(np.abs(edges), -1, 0)  # (piece, axis, d)
        lower, width = [], []
        for piece, numbers in enumerate(_count_cells(parts, np.array(counts), self.images)):
            corner = np.meshgrid(*(np.arange(n) / n for n in numbers), indexing="ij")
            corner = np.stack([x.ravel() for x in corner], axis=1)
            each = np.broadcast_to(1 / numbers, corner.shape).copy()
            corner[:, 0] = (corner[:, 0] + piece) / len(corners)
            each[:, 0] /= len(corners)
            lower.append(corner)
            width.append(each)
        return np.concatenate(lower), np.concatenate(width)

    def find_close(
        self,
        u: Float[np.ndarray, "L d"],
        boxes: BoxArrays,
        margin: float,
        wraps: Bool[np.ndarray, " d"],
    ) -> CloseBoxes:
        """Boxes that have an image of a point inside or at most `margin` of a width away."""
        del wraps  # a zone is periodic
        which, image = _distinct_images(u, self.maps)
        points = np.einsum("Pij,Pj->Pi", self.maps[image], u[which])
        found: list[tuple] = []
        for first in range(0, len(boxes.lower), _PORTION):
            part = slice(first, first + _PORTION)
            centre, edges, reach = self._place_boxes(boxes.lower[part], boxes.width[part])
            away = points[:, None] - centre
            away = np.einsum("PLd,Ldi->PLi", away - np.rint(away), np.linalg.inv(edges))
            point, box = np.nonzero(np.all(np.abs(away) <= reach + margin, axis=2))
            back = np.linalg.inv(self.maps[image[point]])
            found.append((which[point], first + box, edges[box] @ back.swapaxes(1, 2)))
        return CloseBoxes(*map(np.concatenate, zip(*found, strict=True)))

    def _place_boxes(self, lower, width):
        """Center and edges of each box in reduced coordinates, and how far its corners are from
        the center in units of the edges, along each."""
        number, d = len(self.pieces.corners), lower.shape[1]
        piece, x = _find_piece(list((lower + width / 2).T), number, np)
        corners = np.moveaxis(self.pieces.corners[piece], 0, -1)
        scaled = width.T * np.array([number, *[1] * (d - 1)])[:, None]
        centre = _interpolate(corners, x).T
        edges = np.stack([w * _interpolate(corners, x, i) for i, w in enumerate(scaled)])
        edges = np.moveaxis(edges, -1, 0)  # (box, axis, d)
        inverse = np.linalg.inv(edges)
        reach = np.zeros_like(centre)
        for signs in itertools.product((-0.5, 0.5), repeat=d):
            ends = [x[i] + s * scaled[i] for i, s in enumerate(signs)]
            away = _interpolate(corners, ends).T - centre
            reach = np.maximum(reach, np.abs(np.einsum("Ld,Ldi->Li", away, inverse)))
        return centre, edges, reach


def _count_cells(edges: Float[np.ndarray, "R a d"], counts, images: int):
    """Numbers of cells along each axis of each piece, whose edges are given, (piece, axis).

    Args:
        counts: numbers of cells along the axes of the whole zone.
    """
    parts = np.max(edges * counts, axis=2)
    total = np.sum(np.prod(np.maximum(parts, 1), axis=1))
    scale = min(1.0, (np.prod(counts) / images / total) ** (1 / len(counts)))
    numbers = np.maximum(1, np.rint(parts * scale)).astype(int)
    while np.any(wide := np.max(np.sum(edges / numbers[..., None], axis=1), axis=1) > _WIDEST):
        longest = np.argmax(np.max(edges, axis=2) / numbers, axis=1)
        numbers[wide, longest[wide]] += 1
    return numbers


# Cells extend over less than this part of each reciprocal vector: of the images of a point by
# translations only the nearest can be in one.
_WIDEST = 0.5


def _distinct_images(u: Float[np.ndarray, "L d"], maps):
    """Index of the point and of the map of each image; of those at one place the first."""
    images = np.einsum("gij,Lj->Lgi", maps, u)
    which, image = [], []
    for i, places in enumerate(np.round(images % 1, 9) % 1):
        first = np.unique(places, axis=0, return_index=True)[1]
        which += [i] * len(first)
        image += sorted(first.tolist())
    return np.array(which, int), np.array(image, int)


_PORTION = 256  # boxes that are compared with points at once
_ROUNDING = 1e-10  # in reduced coordinates
# Points p that are tried, of which the one whose domain has the fewest simplices is taken; images
# of each that are nearest to it, up to so many reciprocal vectors away, then up to more.
_TRIALS, _NEAREST, _NEAR, _FAR = 20, 150, 2, 6


def find_irreducible_zone(
    matrices: Sequence[Matrix], lattice: Float[np.ndarray, "d d"]
) -> IrreducibleZone:
    """The irreducible zone of a group of matrices on the reduced coordinates of k.

    Args:
        matrices: all elements of the group, the identity first.
        lattice: direct vectors, rows, of two or three dimensions.
    Raises:
        ValueError: no polytope fills the zone, because the lattice vectors are too long.
    """
    rows = np.asarray(lattice, dtype=float)
    return _find_zone(tuple(dict.fromkeys(matrices)), rows.tobytes(), len(rows))


@functools.lru_cache(maxsize=16)
def _find_zone(matrices: tuple[Matrix, ...], lattice: bytes, dimension: int) -> IrreducibleZone:
    maps = np.array(matrices)
    rows = np.frombuffer(lattice).reshape(dimension, dimension)
    metric = np.linalg.inv(rows @ rows.T)
    metric = np.mean(maps.swapaxes(1, 2) @ metric @ maps, axis=0)  # kept to the last digit
    found = _find_polytopes(maps, metric, _NEAR) or _find_polytopes(maps, metric, _FAR)
    if not found:
        raise ValueError(
            "Argument `lattice` must have vectors that are not many times longer than the shortest "
            f"ones of the same lattice, but is {rows.tolist()}."
        )
    simplices = min(found, key=lambda one: (len(one), -np.min(_find_volumes(one))))
    return IrreducibleZone(maps, ZonePieces(np.concatenate(list(map(_cut_simplex, simplices)))))


def _find_polytopes(maps, metric, farthest: int) -> list[Float[np.ndarray, "S d+1 d"]]:
    """Irreducible zones around several points, as simplices.

    Args:
        farthest: how many reciprocal vectors away from the zone images are looked for.
    """
    found = []
    for p in _choose_points(maps.shape[1]):
        away = maps[1:] @ p - p
        if np.any(np.max(np.abs(away - np.rint(away)), axis=1) < _APART):
            continue  # an element leaves it in place
        simplices = _cut_polytope(_find_faces(p, maps, metric, farthest), p)
        if abs(np.sum(_find_volumes(simplices)) * len(maps) - 1) < _FILLED:
            found.append(simplices)
    return found


def _find_volumes(simplices: Float[np.ndarray, "S d+1 d"]) -> Float[np.ndarray, " S"]:
    edges = simplices[:, 1:] - simplices[:, :1]
    return np.abs(np.linalg.det(edges)) / math.factorial(simplices.shape[2])


_APART = 1e-3  # of a point and its images, in reduced coordinates
_FILLED = 1e-9  # part of the volume of the zone


def _choose_points(dimension: int) -> Float[np.ndarray, "P d"]:
    """Points p to try, at simple fractions, where domains have few faces, and at random."""
    random = np.random.default_rng(20231119)
    fractions = random.integers(-3, 4, size=(3 * _TRIALS, dimension)) / 8
    anywhere = random.uniform(-0.5, 0.5, size=(_TRIALS, dimension))
    return np.concatenate([np.unique(fractions, axis=0), anywhere])


def _find_faces(p: Float[np.ndarray, " d"], maps, metric, farthest: int):
    """Planes halfway between p and its nearest images, normal · u + offset <= 0 on the side of p,
    (plane, d + 1)."""
    spans = [np.arange(-farthest, farthest + 1)] * len(p)
    shifts = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, len(p))
    away = ((maps @ p)[:, None] + shifts).reshape(-1, len(p)) - p
    squares = np.einsum("Pi,ij,Pj->P", away, metric, away)
    nearest = np.argsort(squares)[1 : 1 + _NEAREST]  # the first is p itself
    normals = away[nearest] @ metric
    offsets = -normals @ p - squares[nearest] / 2
    return np.column_stack([normals, offsets]) / np.linalg.norm(normals, axis=1)[:, None]


def _cut_polytope(faces, inside) -> Float[np.ndarray, "S d+1 d"]:
    """Simplices that fill a polytope, all with the corner on which the most faces meet."""
    corners = spatial.HalfspaceIntersection(faces, inside).intersections
    corners = corners[np.unique(corners.round(9), axis=0, return_index=True)[1]]
    hull = spatial.ConvexHull(corners)
    depth = corners @ hull.equations[:, :-1].T + hull.equations[:, -1]  # (corner, face)
    away = depth < -_ROUNDING
    apex = int(np.argmin(np.sum(away, axis=1)))
    bases = corners[hull.simplices[away[apex]]]
    return np.concatenate([np.broadcast_to(corners[apex], bases[:, :1].shape), bases], axis=1)


def _cut_simplex(simplex: Float[np.ndarray, "d+1 d"]) -> Float[np.ndarray, "d+1 *corner d"]:
    """The pieces of a simplex: that of a corner has, as corners of its own, the centers of the
    corner with each set of the others."""
    d = simplex.shape[1]
    pieces = np.zeros((d + 1, *[2] * d, d))
    for first in range(d + 1):
        others = np.delete(np.arange(d + 1), first)
        for chosen in itertools.product((0, 1), repeat=d):
            members = [first, *others[np.array(chosen, bool)]]
            pieces[(first, *chosen)] = simplex[members].mean(axis=0)
    return pieces
