"""Progress of long sums, fits and large files, shown where somebody looks."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from jaxspin.engine.deferred import defer_import

if TYPE_CHECKING:
    from jaxspin.engine import bars
else:
    bars = defer_import("jaxspin.engine.bars")

T = TypeVar("T")


def track(
    segments: Iterable[T], size: int, total: int, done: int, show: bool | None
) -> Iterator[T]:
    """Yield the segments of a sum over `total` k-points, `size` k-points each, showing progress.

    Args:
        done: number of segments that were done before.
        show: True, False, or None for "only where standard error is a terminal".
    """
    if not _is_shown(show):
        yield from segments
        return
    with bars.show_points(total, done * size) as advance:
        for segment in segments:
            advance(size)
            yield segment


@contextmanager
def count_bytes(total: int, label: str, show: bool | None) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of bytes of each piece that was read of `total`.

    Args:
        show: True, False, or None for "only where standard error is a terminal".
    """
    if not _is_shown(show):
        yield lambda size: None
        return
    with bars.show_bytes(total, label) as advance:
        yield advance


@contextmanager
def count_steps(label: str, show: bool | None) -> Iterator[Callable[[int, float, float], None]]:
    """Yield a function to call after each step of a fit: its number, misfit and distance.

    Args:
        show: True, False, or None for "only where standard error is a terminal".
    """
    if not _is_shown(show):
        yield lambda step, misfit, distance: None
        return
    with bars.show_steps(label) as report_step:
        yield report_step


def _is_shown(show: bool | None) -> bool:
    return sys.stderr.isatty() if show is None else show
