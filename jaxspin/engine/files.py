"""Files of named arrays and texts with a hash of their contents: netCDF for results, NumPy
archives for checkpoints.

Whatever a file holds, reading it ends in its contents or in `UnusableFile`, which says what is
wrong; a caller adds the argument and the path. Nothing is unpickled, and nothing is read from
another file than the one that was named.
"""

import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxspin.engine.deferred import defer_import

if TYPE_CHECKING:
    import h5py
    import xarray
else:
    xarray = defer_import("xarray")
    h5py = defer_import("h5py")


#: The entry that holds the hash, in every file.
HASH = "sha256"


class UnusableFile(ValueError):
    """Error of a file that cannot be read; the text continues its name: "is empty"."""


class Contents(NamedTuple):
    """Arrays by name, the names of their axes (none in a NumPy archive), and texts by name."""

    arrays: dict[str, np.ndarray]
    texts: dict[str, str]
    axes: Mapping[str, tuple[str, ...]] = {}


def content_hash(contents: Contents) -> str:
    """Return the SHA-256 of names, types, shapes, axes, numbers and texts.

    The order of entries and of bytes does not matter.
    """
    digest = hashlib.sha256()
    for name, array in sorted(contents.arrays.items()):
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        axes = list(contents.axes.get(name, ()))
        about = json.dumps([name, little.dtype.str, list(little.shape), axes])
        _add_parts(digest, about.encode(), little.tobytes())
    for name, text in sorted(contents.texts.items()):
        _add_parts(digest, name.encode(), text.encode())
    return digest.hexdigest()


def _add_parts(digest, *parts: bytes) -> None:
    """Add parts with their lengths, so that no two lists of parts run together to the same."""
    for part in parts:
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)


def verify_hash(contents: Contents) -> None:
    """Compare contents with the hash among their texts.

    Raises:
        UnusableFile: they differ.
    """
    texts = {name: text for name, text in contents.texts.items() if name != HASH}
    if content_hash(contents._replace(texts=texts)) != contents.texts[HASH]:
        raise UnusableFile("does not hold what was written: the hash of its contents differs")


def check_regular(path: Path) -> None:
    """Raise `UnusableFile` where the path is not that of a file with something in it."""
    if path.is_dir():
        raise UnusableFile("is a folder")
    if not path.exists():
        raise UnusableFile("does not exist")
    if not path.is_file():
        raise UnusableFile("is no regular file")
    if path.stat().st_size == 0:
        raise UnusableFile("is empty")


def parse_json(text: str, name: str) -> object:
    """Parse one of the texts of a file."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableFile(f"holds no JSON in `{name}`") from error


def partial_file(path: Path) -> Path:
    """Name of a file while it is written; always the same, so that killed runs leave one."""
    return path.with_name(f".{path.name}.new")


# --- NumPy archives -------------------------------------------------------------------------------

# What the readers raise for damaged or malicious files: NumPy's header is parsed as Python, zip
# has methods that Python lacks, and sizes may be any.
_ARCHIVE_ERRORS = (
    OSError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    AttributeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def write_archive(path: Path, contents: Contents) -> None:
    """Write a NumPy archive (.npz) with the hash of its contents: beside its place, then renamed.

    At any moment there is a whole one.
    """
    texts = {**contents.texts, HASH: content_hash(contents)}
    new = partial_file(path)
    with new.open("wb") as file:
        arrays: dict[str, Any] = {n: np.asarray(text) for n, text in texts.items()}
        arrays |= contents.arrays
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def read_archive(path: Path) -> Contents:
    """Read a file that `write_archive` wrote; the caller verifies the hash among the texts.

    Raises:
        UnusableFile: no such file, no NumPy archive, something else than numbers and texts in it.
    """
    check_regular(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entries:
            _check_stored(entries.zip)
            everything = {name: np.asarray(entries[name]) for name in entries.files}
    except UnusableFile:
        raise
    except _ARCHIVE_ERRORS as error:
        raise UnusableFile("is damaged, or no NumPy archive of numbers and texts") from error
    texts = {n: str(a) for n, a in everything.items() if a.dtype.kind == "U" and a.ndim == 0}
    if HASH not in texts:
        raise UnusableFile("has no hash of its contents")
    arrays = {name: array for name, array in everything.items() if name not in texts}
    for name, array in arrays.items():
        if array.dtype.kind not in "biufc":
            raise UnusableFile(f"must have numbers in `{name}`, but has {array.dtype}")
    return Contents(arrays, texts)


def _check_stored(archive: zipfile.ZipFile) -> None:
    """Refuse compressed entries: ours are not, and a few bytes may stand for terabytes."""
    if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
        raise UnusableFile("is compressed, as no file of jaxspin is")


# --- netCDF ---------------------------------------------------------------------------------------

_HDF5_ERRORS = (
    OSError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RuntimeError,
    AttributeError,
)


def write_netcdf(path: Path, dataset: "xarray.Dataset") -> None:
    """Write a netCDF file beside its place, then rename it."""
    new = partial_file(path)
    try:
        dataset.to_netcdf(new, engine="h5netcdf")
        with new.open("r+b") as file:
            data = file.read()
            file.write(_make_seal(data))
            os.fsync(file.fileno())
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


_SEAL_START, _SEAL_END = b"\njaxspin sha256 ", b" jaxspin\n"


# HDF5 has check sums for few of its structures, and damaged ones can send it round in circles: one
# of 300 files with random bytes changed did. It does not mind bytes after its end: there stands a
# hash of the bytes before. Another program that changes the file cuts it off; then the hash of the
# contents is what remains.
def _make_seal(data: bytes) -> bytes:
    return _SEAL_START + hashlib.sha256(data).hexdigest().encode() + _SEAL_END


_SEAL_LENGTH = len(_make_seal(b""))


def _check_seal(path: Path) -> None:
    data = path.read_bytes()
    found = data[-_SEAL_LENGTH:]
    sealed = _SEAL_START in found or found.endswith(_SEAL_END)
    if sealed and found != _make_seal(data[:-_SEAL_LENGTH]):
        raise UnusableFile("is damaged: the hash of its bytes differs")


def read_netcdf(path: Path, arrays: Iterable[str], texts: Iterable[str]) -> Contents:
    """Read the named variables and global texts of a netCDF file.

    Raises:
        UnusableFile: no such file, no HDF5, entries that are missing, of another kind, or that
            refer to another file.
    """
    check_regular(path)
    try:
        _check_seal(path)
        with h5py.File(path, "r") as file:
            found = {name: _read_attribute(file, name) for name in texts}
            variables = {name: _open_variable(file, name) for name in arrays}
            axes = {name: _axis_names(variable) for name, variable in variables.items()}
            values = {name: variable[()] for name, variable in variables.items()}
    except UnusableFile:
        raise
    except _HDF5_ERRORS as error:
        raise UnusableFile("is damaged, or no netCDF file (HDF5)") from error
    return Contents({name: np.asarray(value) for name, value in values.items()}, found, axes)


def read_text(path: Path, name: str) -> str | None:
    """Return one global text of a netCDF file; None where there is none, or no such file."""
    try:
        return read_netcdf(path, (), (name,)).texts[name]
    except UnusableFile:
        return None


def _read_attribute(file: "h5py.File", name: str) -> str:
    if name not in file.attrs:
        raise UnusableFile(f"has no text `{name}`")
    text = file.attrs[name]
    if not isinstance(text, str):
        raise UnusableFile(f"has no text in `{name}`, but {text!r:.60}")
    return text


def _open_variable(file: "h5py.File", name: str) -> "h5py.Dataset":
    """Open a variable whose numbers are real and stored in this file, without filters.

    Links and storage outside of it would turn the bytes of any file into numbers; filters load
    code, and let a few bytes stand for terabytes.
    """
    link = file.get(name, getlink=True)
    if link is None:
        raise UnusableFile(f"has no variable `{name}`")
    if not isinstance(link, h5py.HardLink):
        raise UnusableFile(f"has a link to another place in `{name}`, no numbers")
    variable = file[name]
    if not isinstance(variable, h5py.Dataset):
        raise UnusableFile(f"has a group `{name}`, no variable")
    if variable.is_virtual or variable.external:
        raise UnusableFile(f"has the numbers of `{name}` in another file")
    if variable.chunks is not None or variable.shape is None:
        raise UnusableFile(f"has `{name}` in chunks or compressed, not as jaxspin writes it")
    if variable.dtype.kind != "f":
        raise UnusableFile(f"must have real numbers in `{name}`, but has {variable.dtype}")
    if variable.nbytes > os.path.getsize(file.filename):
        raise UnusableFile(f"is too short for the shape {variable.shape} of `{name}`")
    return variable


def _axis_names(variable: "h5py.Dataset") -> tuple[str, ...]:
    """Names of the axes; the dimensions of netCDF are datasets of that name."""
    scales = (dimension[0].name if len(dimension) else "/?" for dimension in variable.dims)
    return tuple(str(name).removeprefix("/") for name in scales)
