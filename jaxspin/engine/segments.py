"""Long computations in segments, on all devices and processes, with a bar and a checkpoint.

A segment is a computation of a fraction of a second that needs no other. Its result depends
neither on the device that computes it nor on whether the run was interrupted in between.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxspin.engine import distributed
from jaxspin.engine.checkpoint import Checkpoint, PartialSums
from jaxspin.engine.devices import Device, in_order, library_workers
from jaxspin.engine.progress import Bar, track


class Segments(NamedTuple):
    """The segments of one stage of a computation."""

    #: First item of each segment.
    firsts: range
    #: Number of points of the bar that the stage stands for.
    points: int
    lanes: list[Device]
    #: Makes the function (first item, device) -> result for the devices that are used.
    prepare: Callable[[list[Device]], Callable[[int, Device], Any]]
    #: Adds the result of a segment to a total.
    add: Callable[[Any, Any], Any]
    #: Adds the totals of two processes.
    merge: Callable[[Any, Any], Any]


class Portion(NamedTuple):
    """Number of items in a segment, and what each counts on the bar."""

    size: int
    points: int = 1


class SegmentedRun:
    """The stages of one computation, with one bar and one checkpoint for all of them.

    Args:
        bar: not shown for a stage without points.
        about: makes what a checkpoint and other processes must agree in.
    """

    def __init__(
        self, bar: Bar, checkpoint: Checkpoint | None, about: Callable[[], dict[str, str]]
    ):
        self._bar, self._about = bar, about
        if distributed.size() > 1:  # what cannot be compared is refused before the computation
            about()
        self._partial_sums = PartialSums(checkpoint, about)
        self._maps: Counter[str] = Counter()

    def add_segments(self, stage: str, segments: Segments, start: Any) -> Any:
        """The total of all segments, added to `start` in their order; the same in every process."""
        done, totals = self._partial_sums.resume(stage, start)
        mine = segments.firsts[distributed.rank() :: distributed.size()]
        lanes = segments.lanes[: max(1, len(mine) - done)]
        parts = in_order(segments.prepare(lanes), mine[done:], lanes)
        size = -(-segments.points // max(1, len(mine)))
        try:
            for part in track(parts, size, self._bar_of_stage(segments, done * size)):
                done, totals = done + 1, segments.add(totals, jax.tree.map(np.asarray, part))
                self._partial_sums.keep(stage, done, totals, now=done == len(mine))
                distributed.check()
        except BaseException:  # Ctrl-C too
            if totals is not None:
                self._partial_sums.keep(stage, done, totals, now=True)
            raise
        self._bar = self._bar._replace(completed=self._bar.completed + segments.points)
        return distributed.total(totals, segments.merge, self._about)

    def _bar_of_stage(self, segments: Segments, done: int) -> Bar:
        shown = segments.points > 0 and distributed.rank() == 0
        completed = self._bar.completed + done
        return self._bar._replace(show=self._bar.show if shown else False, completed=completed)

    def map_items(self, stage: str, function: Callable, items: Any, portion: Portion) -> Any:
        """The results of a function for all items, a portion at a time, their axis first.

        Args:
            stage: its name; with a number if there were such items before.
            function: a compiled one of several items, which may call LAPACK.
        """
        times, self._maps[stage] = self._maps[stage], self._maps[stage] + 1
        stage = f"{stage} {times}" if times else stage
        number, items = len(jax.tree.leaves(items)[0]), jax.tree.map(np.asarray, items)
        size = -(-number // -(-number // portion.size))  # about the same in each

        def take_segment(first):  # the last one filled up with its last item, for one program
            index = np.minimum(np.arange(first, first + size), number - 1)
            return jax.tree.map(lambda x: jnp.asarray(x[index]), items)

        def compute_segment(first, device):
            with jax.default_device(device):
                return first, jax.block_until_ready(function(take_segment(first)))

        firsts, start = range(0, number, size), None
        if self._partial_sums.has_begun(stage) or len(firsts) <= distributed.rank():
            like = eqx.filter_eval_shape(function, take_segment(0))
            start = _empty_rows(like, number)
        segments = Segments(
            firsts,
            points=number * portion.points,
            lanes=library_workers(),
            prepare=lambda lanes: compute_segment,
            add=lambda totals, part: _write_rows(totals, part, number),
            merge=lambda a, b: jax.tree.map(np.add, a, b),  # zeros where the other has rows
        )
        return jax.tree.map(jnp.asarray, self.add_segments(stage, segments, start))

    def finish(self) -> None:
        """Remove the checkpoint."""
        self._partial_sums.finish()


class OneProgram:
    """All items in one computation, as a derivative needs it."""

    def map_items(self, stage: str, function: Callable, items: Any, portion: Portion) -> Any:
        """The results of a function for all items, their axis first."""
        return function(items)


class ItemMap(Protocol):
    """A way to evaluate functions of many items: in segments, or in one program."""

    def map_items(self, stage: str, function: Callable, items: Any, portion: Portion) -> Any:
        """The results of a function for all items, their axis first."""
        ...


def _empty_rows(like: Any, number: int) -> Any:
    """Arrays of zeros, with so many rows of the shape of these."""
    return jax.tree.map(lambda x: np.zeros((number, *x.shape[1:]), x.dtype), like)


def _write_rows(totals: Any, part: tuple[Any, Any], number: int) -> Any:
    """`totals` with the rows of a segment; None stands for no rows so far."""
    first, rows = int(part[0]), part[1]
    if totals is None:
        totals = _empty_rows(rows, number)
    # Those from a checkpoint are arrays of JAX, which cannot be written to.
    totals = jax.tree.map(lambda x: x if isinstance(x, np.ndarray) else np.array(x), totals)
    for total, x in zip(jax.tree.leaves(totals), jax.tree.leaves(rows), strict=True):
        total[first : first + len(x)] = x[: number - first]
    return totals
