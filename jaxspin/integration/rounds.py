"""Rounds of a refinement: what it shows and keeps after each of them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import UInt8

from jaxspin.engine.checkpoint import PartialSums
from jaxspin.engine.progress import count_rounds
from jaxspin.integration.problem import Run


class RoundState(NamedTuple):
    """A refinement after a round: its cells, one array each property, and what it took."""

    cells: Mapping[str, np.ndarray]
    #: Number of k-points, and the smallest splitting met on them, eV.
    points: int
    splitting: float


class Rounds:
    """Progress line and checkpoint of a refinement, which goes on from any round to the same bits:
    what is halved next depends on the cells alone."""

    def __init__(self, kept: PartialSums, report: Callable[[int, float], None]):
        self._kept, self._report = kept, report
        self._last: RoundState | None = None

    def resume(self, start: RoundState) -> RoundState:
        """The state in the checkpoint, or the one to start from."""
        if not self._kept.has_begun(_STAGE):
            return start
        empty = [x[:0] for x in _as_bytes(start)]
        points, arrays = self._kept.resume(_STAGE, empty)
        *cells, splitting = (np.asarray(x) for x in cast(list, arrays))
        names = zip(start.cells.items(), cells, strict=True)
        found = {name: _from_bytes(x, like) for (name, like), x in names}
        return RoundState(found, points, float(splitting.view(float)[0, 0]))

    def add(self, state: RoundState, error: float) -> None:
        """Show and keep the state after a round; `error` in units of the tolerance."""
        self._last = state
        self._report(state.points, error)
        self._kept.keep(_STAGE, state.points, _as_bytes(state), now=False)

    def write(self) -> None:
        """Write the last state at once."""
        if self._last is not None:
            self._kept.keep(_STAGE, self._last.points, _as_bytes(self._last), now=True)


_STAGE = "cells"


@contextmanager
def follow_rounds(run: Run, about: Callable[[], dict[str, str]]) -> Iterator[Rounds]:
    """The rounds of a refinement, whose checkpoint is removed at the end.

    Args:
        about: makes what a checkpoint must agree in.
    """
    kept = PartialSums(run.checkpoint, about)
    with count_rounds(run.progress) as report:
        rounds = Rounds(kept, report)
        try:
            yield rounds
        except BaseException:  # Ctrl-C too
            rounds.write()
            raise
    kept.finish()


def _as_bytes(state: RoundState) -> list[UInt8[np.ndarray, "L b"]]:
    """The arrays of a state, of any precision, in the one type that no setting of JAX rounds."""
    arrays = [*state.cells.values(), np.array([state.splitting])]
    return [np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8) for x in arrays]


def _from_bytes(array: UInt8[np.ndarray, "L b"], like: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(like.dtype).reshape(len(array), *like.shape[1:])
