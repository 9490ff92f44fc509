"""Cutting a mesh into boxes, tiles and segments."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array

from jaxspin.band_structure.degeneracy_lifting import require_unlifted
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import known_by_object
from jaxspin.engine.small_matrices import as_arrays, is_traced, on_device
from jaxspin.engine.tile_sizes import Sizes, round_up, sizes_for
from jaxspin.integration.problem import Problem
from jaxspin.meshes.mesh import Mesh
from jaxspin.quantities.observable import Weights

# Lengths of the tables of nodes: meshes of about the same size take the same compiled sum.
_LENGTHS = tuple(40 * 4**i for i in range(12))
_COUNTS = tuple(math.ceil(1.25**i) for i in range(100))  # tiles in a segment of fixed length


class Layout(NamedTuple):
    """Tiles of a mesh and of the coarser ones: alike, so that they run the same compiled code."""

    #: The sides of a box, which is a tile; one side where a tile is a row of points.
    box: tuple[int, ...]
    #: Whether a tile is a row of points of the mesh in their order, over the ends of its lines.
    rows: bool
    #: Number of tiles in a segment.
    segment: int
    #: Sizes that this layout was made for.
    sizes: Sizes
    #: Length of the tables of nodes along each axis of the mesh.
    room: tuple[int, ...]
    #: Applied to a change of H that splits degenerate bands: `require_unlifted` or `nan_if_lifted`.
    check: Callable[[Array, Array], Array]
    #: Size of the largest matrices of the model; not asked again, because it takes a trace of H.
    matrix_size: int
    #: Shapes of the weights; not asked again for the same reason.
    weights: Weights

    @property
    def members(self) -> int:
        """How many models of a batch are computed at once."""
        return max(1, self.sizes.batch // math.prod(self.box))


def lay_out(
    problem: Problem, meshes: tuple[Mesh, ...], parts: int = 1, check=require_unlifted
) -> Layout:
    """Tiles are one of so many parts of the usual size.

    Rows of points have no waste, and one compiled sum for meshes of any shape; boxes are for models
    that share work between the points of one, and for derivatives and a user's jit.
    """
    mesh, weights, matrix_size = meshes[0], problem.weights, problem.model.matrix_size
    shared = mesh.domain == "periodic" and mesh.is_product and problem.model.lifts_boxes
    boxes = shared or is_traced(problem)
    sizes = sizes_for(matrix_size, mesh.domain == "periodic" and mesh.is_product)
    tile = max(1, sizes.tile // parts)
    box = sides(mesh.shape, tile) if boxes else (tile,)
    points = math.prod(box)
    longest = tuple(map(max, zip(*(mesh.shape for mesh in meshes), strict=True)))
    if boxes:
        counts = (-(-n // side) for n, side in zip(longest, box, strict=True))
        room = tuple(
            2 ** math.ceil(math.log2(n)) * side for n, side in zip(counts, box, strict=True)
        )
    else:
        room = tuple(round_up(n, _LENGTHS) for n in longest)
    segment = max(1, sizes.segment // points)
    if sizes.fixed:  # no longer than the mesh
        segment = min(segment, round_up(-(-mesh.size // points), _COUNTS))
    return Layout(box, not boxes, segment, sizes, room, check, matrix_size, weights)


@lru_cache(maxsize=256)
def sides(shape: tuple[int, ...], tile: int) -> tuple[int, ...]:
    """Sides of the boxes, of at most `tile` points, that cover a mesh with the least waste.

    A box of a multiple of 8 points fills the lanes of the processor; each box costs about as much
    as 8 more points. Hopping models like the last side best at 16 to 32.
    """

    def count_cost(box):
        lanes = -(-math.prod(box) // 8) * 8
        boxes = math.prod(-(-n // side) for n, side in zip(shape, box, strict=True))
        return boxes * (lanes + 8), abs(box[-1] - 32)

    return min(_iterate_boxes(shape, tile), key=count_cost)


def _iterate_boxes(shape: tuple[int, ...], tile: int) -> Iterator[tuple[int, ...]]:
    """Boxes of the smallest sides that cut each axis into some number of parts."""
    if not shape:
        yield ()
        return
    for side in sorted({-(-shape[0] // parts) for parts in range(1, shape[0] + 1)}):
        if side <= tile:
            for rest in _iterate_boxes(shape[1:], tile // side):
                yield (side, *rest)


def place_nodes(mesh: Mesh, layout: Layout) -> Mapping[str, Any]:
    """The fields of a `TileSum` that say where the nodes of a mesh are.

    The tiles are numbered by boxes along each axis, or by points where they are rows of them.
    """
    sides = (1,) * len(mesh.shape) if layout.rows else layout.box
    place = _known_tables if mesh.is_product else _fill_tables  # a list may be long
    return place(mesh, layout.room, sides)


def _fill_tables(mesh: Mesh, room: tuple[int, ...], sides: tuple[int, ...]) -> Mapping[str, Any]:
    rows = []
    for rule, axis in zip(mesh.rules, mesh.axes, strict=True):
        beyond = 0.5 if mesh.is_product else rule.nodes[0]
        pairs = (rule.nodes, beyond), (rule.widths, 0.0), (rule.times, 0.0)
        rows.append([_fill_up(x, room[axis], value) for x, value in pairs])
    with evaluate_eagerly():
        nodes, widths, times = map(tuple, zip(*on_device(rows), strict=True))
    counts = np.array([-(-n // side) for n, side in zip(mesh.shape, sides, strict=True)])
    return {
        "coordinates": mesh.coordinates,
        "nodes": nodes,
        "widths": widths,
        "times": times,
        "counts": counts,
        "axes": mesh.axes,
    }


_known_tables = known_by_object(_fill_tables)


def _fill_up(table, length: int, value) -> Array:
    """A table of a given length; a number that all nodes share stays one."""
    xp, (table,) = as_arrays(table)
    if table.ndim == 0:
        return table.reshape(1)
    return xp.append(table, xp.full(length - len(table), value))
