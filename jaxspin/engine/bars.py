"""Progress bars as they look, on the terminal: speed and time left."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


class _Rate(ProgressColumn):
    """Points per second, such as k-points or energies."""

    def __init__(self, unit: str):
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{_abbreviate_number(speed)}{self._unit}/s")


@contextmanager
def show_points(total: int, done: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of points of each segment of a computation."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("integrating", total=total, completed=done)
        yield lambda points: bar.advance(task, points)


@contextmanager
def show_bytes(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of bytes of each piece."""
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
def show_steps(label: str) -> Iterator[Callable[[int, float, float], None]]:
    """Yield a function to call after each step of a fit."""
    with _show_line(label) as write:
        yield lambda step, misfit, distance: write(
            f"step {step}, χ² {misfit:.6g}, distance {distance:.1g}"
        )


@contextmanager
def show_rounds() -> Iterator[Callable[[int, float], None]]:
    """Yield a function to call after each round of a refinement."""
    with _show_line("refining") as write:
        yield lambda points, error: write(
            f"{points:,} k-points, error {error:.3g} times the tolerance"
        )


@contextmanager
def _show_line(label: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes a text behind the label, over the one before."""
    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}"), console=console, transient=True) as line:
        task = line.add_task(f"{label}: compiling", total=None)
        yield lambda text: line.update(task, description=printable(f"{label}: {text}", sys.stderr))


def _abbreviate_number(number: float) -> str:
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.1f} {suffix}"
    return f"{number:.0f} "
