"""Progress bars for long sums and large files, with the speed and the time left."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from jaxspin.engine.terminal import printable

T = TypeVar("T")


class _Rate(ProgressColumn):
    """k-points per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{_abbreviate_number(speed)} k/s")


def track(
    segments: Iterable[T], size: int, total: int, done: int, show: bool | None
) -> Iterator[T]:
    """Yield the segments of a sum over `total` k-points, `size` k-points each, showing progress.

    Args:
        done: number of segments that were done before.
        show: True, False, or None for "only where standard error is a terminal".
    """
    visible = sys.stderr.isatty() if show is None else show
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not visible) as bar:
        task = bar.add_task("integrating", total=total, completed=done * size)
        for segment in segments:
            bar.advance(task, size)
            yield segment


@contextmanager
def count_bytes(total: int, label: str, show: bool | None) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of bytes of each piece that was read of `total`.

    Args:
        show: True, False, or None for "only where standard error is a terminal".
    """
    visible = sys.stderr.isatty() if show is None else show
    if not visible:
        yield lambda size: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda size: bar.advance(task, size)


@contextmanager
def count_steps(label: str, show: bool | None) -> Iterator[Callable[[int, float, float], None]]:
    """Yield a function to call after each step of a fit: its number, misfit and distance.

    Args:
        show: True, False, or None for "only where standard error is a terminal".
    """
    visible = sys.stderr.isatty() if show is None else show
    if not visible:
        yield lambda step, misfit, distance: None
        return
    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}"), console=console, transient=True) as line:
        task = line.add_task(f"{label}: compiling", total=None)

        def report_step(step: int, misfit: float, distance: float) -> None:
            text = f"{label}: step {step}, χ² {misfit:.6g}, distance {distance:.1g}"
            line.update(task, description=printable(text, sys.stderr))

        yield report_step


def _abbreviate_number(number: float) -> str:
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.1f} {suffix}"
    return f"{number:.0f} "
