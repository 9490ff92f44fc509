"""Sizes of the parts of a sum: one table for each kind of device.

A mesh is cut into tiles, whose k-points are computed side by side; some tiles make a segment, which
one device does without a word to the host. All depend on numbers of bands and components alone,
never on the device or on its speed: that fixes the order of additions.

A core keeps a tile in its fastest cache. A GPU has a thread for each k-point, 132 x 2048 at once on
an H200: from 2^20 k-points on XLA gives several to one thread, whose registers do not hold them
(spills of 0.5 to 9 kB a thread, compiled for an H200).
"""

from typing import NamedTuple

import jax
import numpy as np


class Sizes(NamedTuple):
    """Sizes in k-points."""

    tile: int
    #: What a device does between two words to the host.
    segment: int
    #: Whether the program of a segment has a fixed number of tiles, those beyond the mesh with
    #: weight zero. Of a number that is a variable a GPU asks the host after each tile.
    fixed: bool
    #: Whether sums over few levels are kept apart for each k-point of a tile until the end.
    apart: bool
    #: Points of all models of a batch that are computed side by side.
    batch: int
    #: Whether each element of a small matrix has a lane of its own (see `lanes`).
    scalars: bool
    #: Numbers in the bins of a scan, of all lanes of a tile that have their own; 0 where the lanes
    #: share theirs.
    owned: int


_SMALL = 8  # bands; above it tiles of 64 are faster than those of 128 on a CPU (measured at 18)
_CPU_ELEMENTS = 2**17  # numbers in one matrix of a tile, 2 MB
_CPU_BATCH = 2**14  # numbers in one matrix of all points of a batch (measured at n = 2 and 4)
_GPU_ELEMENTS = 2**23  # the same on a GPU, 128 MB
_OWNED = 2**29  # 4 GB; with 2^27 a tile has 16 additions one after the other, at 1,800 a lane
_LEAST_LANES = 2**10  # that fill a GPU at all
_FEW_BANDS = 4  # a matrix of a thread fits into its registers


def sizes_for(bands: int, periodic: bool) -> Sizes:
    """Sizes for models of so many bands on the default backend.

    Args:
        periodic: a mesh of which hopping models share work between the points of a box.
    """
    return _on_cpu(bands, periodic) if jax.default_backend() == "cpu" else _on_gpu(bands)


def _on_cpu(bands: int, periodic: bool) -> Sizes:
    """The products of small matrices like their operands in the fastest cache. For hundreds of
    bands, a few dozen matrices of the tile must fit into memory."""
    if bands > _SMALL:
        tile = np.clip(_CPU_ELEMENTS // bands**2, 1, 64)
    elif periodic:
        tile = np.clip(8192 // bands**2, 128, 512)
    else:
        tile = np.clip(1024 // bands**2, 64, 256)
    return Sizes(
        int(tile),
        segment=2**16,
        fixed=False,
        apart=True,
        batch=_CPU_BATCH // bands**2,
        scalars=False,
        owned=0,
    )


def _on_gpu(bands: int) -> Sizes:
    """Segments of some 10 to 100 ms, predicted, whose arithmetic grows as n^4 at most."""
    tile = 2**18 if bands <= _FEW_BANDS else _power_of_two_below(_GPU_ELEMENTS / bands**2)
    segment = _power_of_two_below(2**26 / max(1, bands / _FEW_BANDS) ** 4)
    few = bands <= _FEW_BANDS
    return Sizes(
        tile,
        max(tile, segment),
        fixed=True,
        apart=False,
        batch=tile,
        scalars=few,
        owned=_OWNED,
    )


def lanes_with_bins(owned: int, bins: int, tile: int) -> int:
    """How many lanes have bins of their own, so many numbers each; 0 where too few could."""
    if owned < bins * min(_LEAST_LANES, tile):
        return 0
    lanes = _power_of_two_below(min(owned / bins, tile))
    return lanes if tile % lanes == 0 else 0


def _power_of_two_below(number: float) -> int:
    return max(1, 2 ** int(np.floor(np.log2(number))))


def round_up(number: int, sizes: tuple[int, ...]) -> int:
    """The smallest of some sizes that is no smaller than a number; itself beyond all of them.

    Programs are compiled for these sizes, so that another number of about the same size compiles
    nothing.
    """
    return next((size for size in sizes if size >= number), number)
