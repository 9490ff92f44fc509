"""Computations in segments that are interrupted."""

import itertools

import pytest

import jaxspin as js
from jaxspin.engine import segments as engine_segments


class Interrupted(Exception):
    """What a computation is interrupted by, unless it is something else."""


def interrupt(monkeypatch, compute, path, after: int, exception=Interrupted):
    """Leave the checkpoint of a computation that ended after some segments."""
    track, count = engine_segments.track, itertools.count()

    def short(parts, *arguments):
        for part in track(parts, *arguments):
            if next(count) == after:
                raise exception
            yield part

    with monkeypatch.context() as patch:
        patch.setattr(engine_segments, "track", short)
        with pytest.raises(exception):
            compute(checkpoint=js.Checkpoint(path, seconds=0))
