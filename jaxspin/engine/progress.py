"""Progress of long sums, fits and large files, shown where somebody looks."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from jaxspin.engine.deferred import defer_import

if TYPE_CHECKING:
    from jaxspin.engine import bars
else:
    bars = defer_import("jaxspin.engine.bars")

T = TypeVar("T")


class Bar(NamedTuple):
    """A progress bar over the points of a computation."""

    #: True, False, or None for "only where standard error is a terminal".
    show: bool | None
    total: int
    #: Number of points that are done already.
    completed: int = 0
    #: Name of a point, for its rate.
    unit: str = "k"


def track(segments: Iterable[T], size: int, bar: Bar) -> Iterator[T]:
    """Yield the segments of a computation, `size` points each, showing progress."""
    if not _is_shown(bar.show):
        yield from segments
        return
    with bars.show_points(bar.total, bar.completed, bar.unit) as advance:
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


@contextmanager
def count_rounds(show: bool | None) -> Iterator[Callable[[int, float], None]]:
    """Yield a function to call after each round of a refinement: its k-points, and its error in
    units of the tolerance.

    Args:
        show: True, False, or None for "only where standard error is a terminal".
    """
    if not _is_shown(show):
        yield lambda points, error: None
        return
    with bars.show_rounds() as report_round:
        yield report_round


def _is_shown(show: bool | None) -> bool:
    return sys.stderr.isatty() if show is None else show
