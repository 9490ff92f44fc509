"""Checkpoints: the partial sums of a long run, in a file from which the run can go on.

The file is a NumPy archive (`files`); docs/running.md lists what is in it. It is removed at the end
of the run.
"""

import dataclasses
import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxspin.engine import distributed, files
from jaxspin.engine.identity import without_addresses
from jaxspin.engine.validate import as_path, check_place, is_not_negative


class Checkpoint:
    """File of the partial sums of a long run, and the time between two writings.

    Args:
        path: the file, for one response alone. Several processes add their number to its name.
        seconds: time between two writings.

    Raises:
        ValueError: `seconds` is negative, `path` is a folder, or its folder is not there or cannot
            be written in.
    """

    def __init__(self, path: str | os.PathLike, seconds: float | int = 30.0):
        self.path = as_path("checkpoint", path, "a path or a Checkpoint")
        self.seconds = seconds
        if not (is_not_negative(seconds) or seconds == np.inf):
            raise ValueError(f"Argument `seconds` must be at least 0, but is {seconds!r}.")
        check_place("checkpoint", self.path)
        if not os.access(self.path.parent, os.W_OK):
            raise ValueError(
                "Argument `checkpoint` must be in a folder that can be written in, "
                f"but is {self.path}."
            )


#: A checkpoint, the path of one, or None.
CheckpointLike = Checkpoint | str | os.PathLike | None


def as_checkpoint(checkpoint: CheckpointLike) -> Checkpoint | None:
    """Convert the path of a checkpoint; None stands for no checkpoint.

    Raises:
        ValueError: as `Checkpoint`.
    """
    if checkpoint is None or isinstance(checkpoint, Checkpoint):
        return checkpoint
    return Checkpoint(checkpoint)


class PartialSums:
    """Partial sums of one run, kept in its checkpoint; not kept if that is None.

    Args:
        about: makes what the file must agree in, by the names a user knows.
    """

    def __init__(self, checkpoint: Checkpoint | None, about: Callable[[], dict[str, str]]):
        self._path, self._about, self._seconds = None, {}, np.inf
        if checkpoint is not None:
            self._path, self._seconds = _own_file(checkpoint.path), checkpoint.seconds
            self._about = {**_describe_environment(), **about()}
        self._written = time.monotonic()
        self._content = self._read_file()

    def has_begun(self, stage: str) -> bool:
        """Tell if there are sums of a stage to go on with."""
        return f"{stage}.done" in self._content

    def resume(self, stage: str, start) -> tuple[int, object]:
        """Return the number of segments that are done, and their sums, to go on with."""
        if not self.has_begun(stage):
            return 0, start
        leaves, structure = jax.tree.flatten(start)
        saved = [self._read_entry(f"{stage}.{i}", leaf) for i, leaf in enumerate(leaves)]
        done = self._content[f"{stage}.done"]
        if done.ndim != 0 or done.dtype.kind != "i" or done < 0:
            raise _checkpoint_error(self._path, f"has no number of parts done in `{stage}.done`")
        return int(done), jax.tree.unflatten(structure, saved)

    def _read_entry(self, name: str, like) -> np.ndarray | jax.Array:
        """Read an entry of the type and shape of `like`; its first axis may grow if it is empty."""
        if name not in self._content:
            raise _checkpoint_error(self._path, f"has no entry `{name}`")
        array, shape = self._content[name], np.shape(like)
        grows = len(shape) > 0 and shape[0] == 0
        same = array.shape[1:] == shape[1:] if grows and array.ndim else array.shape == shape
        if not same or array.dtype != jnp.result_type(like):
            found = f"{array.dtype} of shape {array.shape}"
            expected = f"{jnp.result_type(like)} of shape {shape}"
            raise _checkpoint_error(self._path, f"has {found} in `{name}`, not {expected}")
        return jnp.asarray(array)

    def keep(self, stage: str, done: int, totals, *, now: bool) -> None:
        """Keep the sums, and write them if the time has come, or `now`."""
        if self._path is None or not (now or self._is_due()):
            return
        self._content[f"{stage}.done"] = np.asarray(done)
        for i, leaf in enumerate(jax.tree.leaves(totals)):
            self._content[f"{stage}.{i}"] = np.asarray(leaf)
        try:
            self._write_file()
        except OSError as error:  # a full disk must not end a run of hours
            warnings.warn(f"The checkpoint {self._path} cannot be written: {error}.", stacklevel=2)
        self._written = time.monotonic()

    def finish(self) -> None:
        """Remove the file at the end of the run."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            files.partial_file(self._path).unlink(missing_ok=True)

    def _is_due(self) -> bool:
        return time.monotonic() - self._written >= self._seconds

    def _write_file(self) -> None:
        path = cast(Path, self._path)  # `keep` has looked
        texts = {"about": json.dumps(self._about)}
        files.write_archive(path, files.Contents(self._content, texts))

    def _read_file(self) -> dict[str, np.ndarray]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            contents = files.read_archive(self._path)
            self._check_about(_parse_description(contents.texts))
            files.verify_hash(contents)
        except files.UnusableFile as error:
            raise _checkpoint_error(self._path, str(error)) from error
        return contents.arrays

    def _check_about(self, saved: dict[str, str]) -> None:
        field = distributed.first_difference(saved, self._about)
        if field is not None:
            raise ValueError(
                f"Argument `checkpoint` must be of this very run, but in {self._path} `{field}` "
                f"is {saved.get(field)}, and here it is {self._about.get(field)}. Use another "
                "file, or remove this one."
            )


def _parse_description(texts: dict[str, str]) -> dict[str, str]:
    about = files.parse_json(texts.get("about", ""), "about")
    if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
        raise files.UnusableFile("does not say of which run it is")
    return about


def _own_file(path: Path) -> Path:
    """Return the file of this process.

    Raises:
        ValueError: there are files of another number of processes; they would be forgotten.
    """
    rank, size = distributed.rank(), distributed.size()
    name = f"{path.name}.{rank}-of-{size}" if size > 1 else path.name
    pattern = re.compile(re.escape(path.name) + r"(\.\d+-of-(\d+))?")
    for other in sorted(path.parent.iterdir()):
        match = pattern.fullmatch(other.name)
        if match and int(match[2] or 1) != size:
            raise ValueError(
                f"Argument `checkpoint` must be of this very run, but {other} is of a run of "
                f"{match[2] or 1} processes, and here there are {size}. Start as many, use "
                "another file, or remove this one."
            )
    return path.with_name(name)


def _checkpoint_error(path: Path | None, problem: str) -> ValueError:
    return ValueError(
        f"Argument `checkpoint` must be a checkpoint of jaxspin or a new file, but {path} "
        f"{problem}. Use another file, or remove this one."
    )


# --- what a checkpoint must agree in --------------------------------------------------------------


def _describe_environment() -> dict[str, str]:
    return {
        "format": "2",
        "jax": jax.__version__,
        "precision": str(jnp.result_type(float)),
        "backend": jax.default_backend(),
        "process": f"{distributed.rank()} of {distributed.size()}",
    }


def describe(**parts: object) -> dict[str, str]:
    """Description of a run that tells it from others: every number and choice, by name.

    The same in every process: no addresses, no order of a set.
    """
    return {name: text for part in parts for name, text in _describe_value(part, parts[part])}


def round_to_scale(values, scale: float) -> np.ndarray:
    """Round numbers to 10⁻⁸ of a scale, the digits in which another processor agrees."""
    step = 1e-8 * scale if scale > 0 and np.isfinite(scale) else 1.0
    return np.round(np.asarray(values) / step) + 0.0  # -0 is 0


def _describe_value(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield name, f"{type(value).__module__}.{type(value).__qualname__}"
        for field in dataclasses.fields(value):
            yield from _describe_value(f"{name}.{field.name}", getattr(value, field.name))
    elif isinstance(value, str) or value is None:
        yield name, repr(value)
    elif eqx.is_array_like(value):
        yield name, _describe_array(value)
    elif isinstance(value, tuple | list):
        yield from _describe_sequence(name, value)
    elif isinstance(value, Mapping):
        yield f"{name}", f"{len(value)} entries"
        for key, item in value.items():
            yield from _describe_value(f"{name}[{key!r}]", item)
    elif hasattr(value, "__qualname__"):  # a function or a class
        yield name, f"{value.__module__}.{value.__qualname__}"
    else:
        text = without_addresses(repr(value))
        yield name, f"{type(value).__module__}.{type(value).__qualname__} {_short_digest(text)}"


def _describe_sequence(name: str, value: tuple | list) -> Iterator[tuple[str, str]]:
    """Describe a sequence: one of numbers is one field, any other one field for each item."""
    try:
        array = np.asarray(value)
    except ValueError:  # of different lengths
        array = np.asarray(None)
    if array.dtype.kind in "biufc" and not any(map(dataclasses.is_dataclass, value)):
        yield name, _describe_array(array)
        return
    yield name, f"{len(value)} items"
    for i, item in enumerate(value):
        yield from _describe_value(f"{name}[{i}]", item)


def _describe_array(leaf) -> str:
    array = np.asarray(leaf)
    if array.size <= 4:
        return repr(array.tolist())
    shape = " x ".join(map(str, array.shape))
    real = array.dtype.kind in "iuf"
    reach = f"from {array.min():.6g} to {array.max():.6g}, " if real else ""
    digest = _short_digest(np.ascontiguousarray(array).tobytes())
    return f"{shape} numbers ({reach}{array.dtype}, digest {digest})"


def _short_digest(data: str | bytes) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return hashlib.sha256(raw).hexdigest()[:12]
