"""The schema of a file that holds a response: its entries, and what must hold between them."""

from os import PathLike
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxspin import units
from jaxspin.engine import files
from jaxspin.engine.validate import as_path, check_place
from jaxspin.integration.levels import Levels
from jaxspin.quantities.axes import AXES
from jaxspin.responses.origin import Origin

_LEVEL_AXES = ("temperature", "mu")

#: The entries: arrays, texts, and texts that the hash leaves out.
LEVEL_ARRAYS = ("mu_all", "temperature_all")
ARRAYS = ("value", "error", *LEVEL_ARRAYS)
TEXTS = (
    "quantity",
    "units",
    "formula",
    "source",
    "symbol",
    "selected",
    "allowed",
    "axes",  # this and the next four in JSON
    "info",
    "origin",
    "temperature_is_scalar",
    "sign",
)
_PLAIN = ("units", "formula", "source", "symbol", "selected", "allowed")
STAMPS = ("created_by", files.HASH)

_ENDINGS = (".nc", ".nc4", ".h5", ".hdf5")


def check_new_file(path: str | PathLike, overwrite: bool) -> Path:
    """Check where a response is to be written.

    Raises:
        ValueError: another ending than those of netCDF, no folder, or a file that is there.
    """
    place = as_path("path", path)
    if place.suffix.lower() not in _ENDINGS:
        raise ValueError(
            f"Argument `path` must end in {', '.join(_ENDINGS)}, for `save` writes netCDF, but is "
            f"{str(path)!r}. For CSV: response.to_xarray().to_dataframe('value').to_csv(...)."
        )
    check_place("path", place)
    if place.exists() and not overwrite:
        raise ValueError(
            f"Argument `path` must be a new file, but {str(path)!r} exists. "
            "To replace it: save(path, overwrite=True)."
        )
    return place


def check_creator(name: str) -> None:
    """Raise `UnusableFile` where another program has written a file."""
    if name != "jaxspin":
        raise files.UnusableFile(f"was created by {name!r:.60}")


def response_fields(contents: files.Contents) -> dict[str, Any]:
    """Return the fields of the response that a file holds.

    Raises:
        UnusableFile: they do not make one.
    """
    texts, arrays = contents.texts, contents.arrays
    if not units.is_known(texts["units"]):
        raise files.UnusableFile(f"has unknown units {texts['units']!r:.60}")
    axes, info, origin, scalar, sign = (files.parse_json(texts[name], name) for name in TEXTS[-5:])
    if sign not in (1, -1):
        raise files.UnusableFile(f"has a sign {sign!r:.60}, neither 1 nor -1")
    axes = _checked_axes(axes)
    levels = _checked_levels(arrays["mu_all"], arrays["temperature_all"], scalar, axes)
    for name in ("value", "error"):
        _check_shape(name, arrays[name], contents.axes[name], axes, levels)
    if arrays["error"].shape != arrays["value"].shape:
        raise files.UnusableFile("has an error of another shape than the value")
    if np.any(arrays["error"] < 0):
        raise files.UnusableFile("has negative errors")
    return {
        "value": jnp.asarray(arrays["value"]),
        "error": jnp.asarray(arrays["error"]),
        "levels": levels,
        "info": check_info(info),
        "origin": _checked_origin(origin),
        "axes": axes,
        "name": texts["quantity"],
        "sign": sign,
        **{name: texts[name] for name in _PLAIN},
    }


def level_arrays(levels: Levels) -> tuple[dict[str, Any], dict[str, Any]]:
    """The levels as the arrays of a file, and the names of their axes."""
    numbers = (np.asarray(levels.mu), np.asarray(levels.temperatures))
    axes: dict[str, tuple[str, ...]] = {
        "mu_all": ("any_mu",),
        "temperature_all": ("any_temperature",),
    }
    return dict(zip(LEVEL_ARRAYS, numbers, strict=True)), axes


def parse_table(text: str) -> dict[str, Any]:
    """A table in JSON: of the responses, or of the sets, of a file.

    Raises:
        UnusableFile: it is none.
    """
    table = files.parse_json(text, "responses and sets")
    if not isinstance(table, dict):
        raise files.UnusableFile("has no table of its responses and sets")
    return table


def check_texts(texts: Any) -> dict[str, str]:
    """The texts of one response of a set.

    Raises:
        UnusableFile: one is missing, or no text.
    """
    if not isinstance(texts, dict) or not all(isinstance(texts.get(name), str) for name in TEXTS):
        raise files.UnusableFile("has a response without its texts")
    return texts


def check_beside(table: Any) -> tuple[str, tuple[str, ...], dict[str, Array]]:
    """Title, notes and numbers of one set.

    Raises:
        UnusableFile: they are missing, or something else.
    """
    keys = ("title", "notes", "numbers")
    title, notes, numbers = (table.get(key) if isinstance(table, dict) else None for key in keys)
    if not isinstance(title, str) or not isinstance(notes, list):
        raise files.UnusableFile("has a set without title or notes")
    if not all(isinstance(note, str) for note in notes):
        raise files.UnusableFile("has notes that are no texts")
    return title, tuple(notes), check_info(numbers)


def _checked_axes(axes: Any) -> tuple[str, ...]:
    known = (*_LEVEL_AXES, *AXES)
    if not isinstance(axes, list) or not all(axis in known for axis in axes):
        raise files.UnusableFile(f"has axes {axes!r:.80}, where known ones are {', '.join(known)}")
    leading = [axis for axis in _LEVEL_AXES if axis in axes]
    if len(set(axes)) != len(axes) or axes[: len(leading)] != leading:
        raise files.UnusableFile(
            f"has axes {axes}, twice the same or in another order than jaxspin"
        )
    return tuple(axes)


def _checked_levels(mu, temperature, scalar: Any, axes: tuple[str, ...]) -> Levels:
    if not isinstance(scalar, bool) or scalar != ("temperature" not in axes):
        raise files.UnusableFile("has no axis for its temperatures, or one for a single number")
    if (scalar and temperature.size != 1) or ("mu" not in axes and mu.size != 1):
        raise files.UnusableFile(f"has {mu.size} mu and {temperature.size} temperatures on {axes}")
    try:
        return Levels(mu, temperature[0] if scalar else temperature)
    except ValueError as error:
        raise files.UnusableFile(f"has no levels: {error}") from error


def _check_shape(name: str, array, stored, axes: tuple[str, ...], levels: Levels) -> None:
    """Compare an array with its axes: those of the file, and the numbers of levels."""
    if tuple(stored) != axes or array.ndim != len(axes):
        raise files.UnusableFile(f"has the axes {tuple(stored)} of `{name}` where {axes} are named")
    number = {"mu": levels.mu.size, "temperature": levels.temperatures.size}
    for axis, size in zip(axes, array.shape, strict=True):
        allowed = {AXES[axis].size(d) for d in (1, 2, 3)} if axis in AXES else {number[axis]}
        if size not in allowed:
            raise files.UnusableFile(f"has {size} elements of `{name}` along {axis}")


def check_coordinates(path: Path, axes: tuple[str, ...], levels: Levels) -> None:
    """Compare what xarray finds along an axis with the levels: somebody may have changed one.

    Raises:
        UnusableFile: they differ.
    """
    numbers = {"mu": levels.mu, "temperature": levels.temperatures}
    present = [axis for axis in _LEVEL_AXES if axis in axes]
    stored = files.read_netcdf(path, present, ()).arrays
    for axis in present:
        if not np.array_equal(stored[axis], numbers[axis]):
            raise files.UnusableFile(f"has other numbers in the coordinate {axis} than as levels")


def _checked_origin(origin: Any) -> Origin:
    if not isinstance(origin, dict) or not all(isinstance(x, str) for x in origin.values()):
        raise files.UnusableFile("has no table of texts in `origin`")
    return Origin(origin)


def check_info(info: Any) -> dict[str, Array]:
    """The numbers by name that a file holds.

    Raises:
        UnusableFile: no table of numbers.
    """
    if not isinstance(info, dict):
        raise files.UnusableFile("has no table of numbers in `info`")
    numbers = {}
    for key, value in info.items():
        try:
            array = np.asarray(value)
        except ValueError:  # of different lengths
            array = np.asarray(None)
        if array.dtype.kind not in "bif":
            raise files.UnusableFile(f"has no number in `info` for {key!r:.60}")
        numbers[key] = jnp.asarray(array)
    return numbers
