"""Checkpoints: the partial sums of a long run, in a file from which the run can go on.

The file is a NumPy archive (.npz, no pickle): `about`, a JSON text that says what is being summed,
and for every sum of the run (its mesh, and the coarser one) the number of segments done and the
partial sums, `STAGE.done` and `STAGE.0`, `STAGE.1`, ... It is written beside its place and then
renamed, so that at any moment there is a whole one. It is removed at the end of the run.
"""

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

from jaxspin import distributed


class Checkpoint:
    """Where a long run keeps its partial sums, and how often it writes them.

    Args:
        path: the file. Several processes add their number to its name.
        seconds: time between two writings.

    Raises:
        ValueError: `seconds` is negative, or the folder of `path` does not exist.
    """

    def __init__(self, path: str | os.PathLike, seconds: float = 30.0):
        self.path = Path(path)
        self.seconds = seconds
        if not seconds >= 0:
            raise ValueError(f"Argument `seconds` must be at least 0, but is {seconds!r}.")
        if not self.path.parent.is_dir():
            raise ValueError(
                f"Argument `checkpoint` must be in an existing folder, but is {self.path}."
            )


class Run:
    """One run with its checkpoint, or, for None, without."""

    def __init__(
        self, checkpoint: Checkpoint | str | os.PathLike | None, about: Callable[[], dict[str, str]]
    ):
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        self._path, self._about, self._seconds = None, {}, np.inf
        if checkpoint is not None:
            suffix = f".{distributed.rank()}" if distributed.size() > 1 else ""
            self._path = checkpoint.path.with_name(checkpoint.path.name + suffix)
            self._about, self._seconds = about(), checkpoint.seconds
        self._written = time.monotonic()
        self._content = self._read()

    def resume(self, stage: str, start) -> tuple[int, object]:
        """The number of segments done and their sums, with which to go on."""
        if f"{stage}.done" not in self._content:
            return 0, start
        leaves, structure = jax.tree.flatten(start)
        saved = [jax.numpy.asarray(self._content[f"{stage}.{i}"]) for i in range(len(leaves))]
        return int(self._content[f"{stage}.done"]), jax.tree.unflatten(structure, saved)

    def keep(self, stage: str, done: int, totals, final: bool) -> None:
        """Write the sums if it is time to, or if the stage is at its end."""
        if self._path is None or not (final or self._is_due()):
            return
        self._content[f"{stage}.done"] = np.asarray(done)
        for i, leaf in enumerate(jax.tree.leaves(totals)):
            self._content[f"{stage}.{i}"] = np.asarray(leaf)
        self._write()

    def finish(self) -> None:
        """The run is complete: the file is of no more use."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _is_due(self) -> bool:
        return time.monotonic() - self._written >= self._seconds

    def _write(self) -> None:
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}.new")
        with new.open("wb") as file:
            np.savez(file, about=np.asarray(json.dumps(self._about)), **self._content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._path)
        self._written = time.monotonic()

    def _read(self) -> dict[str, np.ndarray]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            with np.load(self._path, allow_pickle=False) as archive:
                content = dict(archive)
            saved = json.loads(str(content.pop("about")))
        except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
            raise ValueError(
                f"Argument `checkpoint` must be a checkpoint of jaxspin or a new file, "
                f"but {self._path} is neither."
            ) from error
        for field in sorted(saved.keys() | self._about.keys()):
            before, now = saved.get(field), self._about.get(field)
            if before != now:
                raise ValueError(
                    f"Argument `checkpoint` must be of this very run, but in {self._path} "
                    f"`{field}` is {before}, and here it is {now}. Use another file, or remove "
                    "this one."
                )
        return content


def describe(**parts) -> dict[str, str]:
    """What distinguishes one run from another, by name: every number of every part."""
    about = {}
    for name, part in parts.items():
        arrays, structure = eqx.partition(part, eqx.is_array_like)
        about[name] = f"{type(part).__name__} {_digest(repr(structure))}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
            about[name + jax.tree_util.keystr(path)] = _number(leaf)
    return about


def _number(leaf) -> str:
    array = np.asarray(leaf)
    if array.size <= 4:
        return repr(array.tolist())
    return f"{array.dtype}{list(array.shape)} {_digest(np.ascontiguousarray(array).tobytes())}"


def _digest(data: str | bytes) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return hashlib.sha256(raw).hexdigest()[:12]
