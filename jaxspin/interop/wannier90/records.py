"""Fortran's unformatted records, and the same numbers as text, read by the same calls.

An unformatted record is its length in bytes (4-byte integer), the data, the length again. A record
beyond 2 GB comes in parts, all but the last with a negative length in front, all but the first with
a negative one behind.
"""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Bool, Complex, Float, Int

from jaxspin.interop.wannier90.text import Lines, as_integers, file_error, is_binary, is_gzipped

_LARGEST = 1e6  # as for text


class Records:
    """An unformatted file; each call reads one record."""

    path: Path

    def __init__(self, path: Path):
        self.path = path
        self.record = 0
        self._left = path.stat().st_size
        self._file: BinaryIO = path.open("rb")

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read_error(self, expected: str, found: object) -> ValueError:
        """Return the error about the record read last."""
        return ValueError(f"{self.path}, record {self.record}: must be {expected}, but is {found}.")

    def must_hold(self, complexes: int) -> None:
        """Refuse counts that the rest of the file is too short for."""
        if 16 * complexes > self._left:
            raise self.read_error(
                f"counts of at most {self._left} bytes", f"{16 * complexes} bytes"
            )

    def read_text(self, what: str) -> str:
        """Read a record of at most 1000 characters."""
        return self._read_record(None, what).decode("ascii", errors="replace")

    def read_integers(self, rows: int, width: int, what: str) -> Int[np.ndarray, "rows width"]:
        """Read a record of 4-byte integers."""
        values = np.frombuffer(self._read_record(4 * rows * width, what), "<i4")
        return values.reshape(rows, width).astype(int)

    def read_logicals(self, count: int, what: str) -> Bool[np.ndarray, " count"]:
        """Read a record of 4-byte logicals."""
        return np.frombuffer(self._read_record(4 * count, what), "<i4") != 0

    def read_reals(self, rows: int, width: int, what: str) -> Float[np.ndarray, "rows width"]:
        """Read a record of 8-byte reals."""
        values = np.frombuffer(self._read_record(8 * rows * width, what), "<f8")
        return self._check_finite(values, what).reshape(rows, width)

    def read_complexes(self, count: int, what: str) -> Complex[np.ndarray, " count"]:
        """Read a record of pairs of 8-byte reals."""
        values = np.frombuffer(self._read_record(16 * count, what), "<f8")
        return self._check_finite(values, what).view("<c16")

    def skip_complexes(self, count: int, what: str) -> None:
        """Pass over a record of complex numbers."""
        self._read_record(16 * count, what, keep=False)

    def skip_surplus(self) -> bool:
        """Pass over one record behind those that there should be; False if there is none."""
        if not self._left:
            return False
        size = abs(self._read_marker("a record"))
        self._read_bytes(size, "a record", keep=False)
        if abs(self._read_marker("a record")) != size:
            raise self.read_error("the last record", f"followed by {self._left} bytes")
        return True

    def must_end(self) -> None:
        """Refuse anything behind the last record."""
        if self._left:
            raise self.read_error("the last record", f"followed by {self._left} bytes")

    def _check_finite(self, values: np.ndarray, what: str) -> np.ndarray:
        if not np.max(np.abs(values), initial=0) <= _LARGEST:
            found = values[~(np.abs(values) <= _LARGEST)][0]
            raise self.read_error(f"{what}, numbers below {_LARGEST:.0e}", found)
        return values

    def _read_record(self, size: int | None, what: str, keep: bool = True) -> bytes:
        """Read the next record, which must have `size` bytes; None for a short text."""
        self.record += 1
        parts, total, more = [], 0, True
        while more:
            length = self._read_marker(what)
            more, length = length < 0, abs(length)
            total += length
            if total > (1000 if size is None else size) or (not more and size not in (None, total)):
                expected = "at most 1000" if size is None else f"{size}"
                raise self.read_error(f"{what}, a record of {expected} bytes", f"one of {total}")
            parts.append(self._read_bytes(length, what, keep))
            if abs(self._read_marker(what)) != length:
                raise self.read_error(f"{what}, with the same length in front and behind", "not")
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def _read_marker(self, what: str) -> int:
        return struct.unpack("<i", self._read_bytes(4, what, True))[0]

    def _read_bytes(self, size: int, what: str, keep: bool) -> bytes:
        if size > self._left:
            raise self.read_error(what, "the end of the file")
        self._left -= size
        if keep:
            return self._file.read(size)
        self._file.seek(size, 1)
        return b""


class TextRecords:
    """A formatted file; each call reads the lines that its values take."""

    path: Path

    def __init__(self, path: Path):
        self.path = path
        self._lines = Lines(path)

    def __enter__(self) -> "TextRecords":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.__exit__()

    def read_error(self, expected: str, found: object) -> ValueError:
        """Return the error about the line read last."""
        return self._lines.read_error(expected, found)

    def must_hold(self, complexes: int) -> None:
        """Refuse counts that the file is too short for."""
        if 4 * complexes > self._lines.size:
            found = f"{self._lines.size} bytes"
            raise self.read_error(f"counts for a file of at least {4 * complexes} bytes", found)

    def read_text(self, what: str) -> str:
        """Read a line."""
        return self._lines.read_line(what).decode("ascii", errors="replace")

    def read_integers(self, rows: int, width: int, what: str) -> Int[np.ndarray, "rows width"]:
        """Read lines of `width` integers."""
        self.must_hold(rows * width // 4)
        expected = f"{what}, {width} integers"
        return as_integers(self._lines, self._lines.read_table(rows, width, expected), expected)

    def read_logicals(self, count: int, what: str) -> Bool[np.ndarray, " count"]:
        """Read lines of 0 or 1."""
        values = self.read_integers(count, 1, what)[:, 0]
        if np.any((values != 0) & (values != 1)):
            raise self.read_error(f"{what}, 0 or 1", "other integers")
        return values == 1

    def read_reals(self, rows: int, width: int, what: str) -> Float[np.ndarray, "rows width"]:
        """Read lines of `width` numbers."""
        self.must_hold(rows * width // 4)
        return self._lines.read_table(rows, width, f"{what}, {width} numbers")

    def read_complexes(self, count: int, what: str) -> Complex[np.ndarray, " count"]:
        """Read lines of two numbers."""
        return self.read_reals(count, 2, what).view(complex)[:, 0]

    def skip_complexes(self, count: int, what: str) -> None:
        """Pass over lines of two numbers, which must be there."""
        self._lines.skip_lines(count, what)

    def skip_surplus(self) -> bool:
        """No text is known with more than there should be."""
        return False

    def must_end(self) -> None:
        """Refuse anything behind the last line."""
        self._lines.must_be_whole()


def open_records(path: Path) -> Records | TextRecords:
    """Open a file in the form that it has."""
    if path.stat().st_size == 0:
        raise file_error(path, None, "a file with contents", "empty")
    if not is_binary(path):
        return TextRecords(path)
    if is_gzipped(path):
        raise file_error(path, None, "unpacked, for only texts are read gzipped", "not")
    return Records(path)
