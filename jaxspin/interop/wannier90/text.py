"""Text files of numbers, read line by line: every error names the file and the line."""

import gzip
import re
import warnings
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from jaxtyping import Float, Int

Advance = Callable[[int], None]  # takes the number of bytes that were read
Cell = tuple[int, ...]  # the coordinates of R

_PIECE = 1 << 15  # lines converted at once: about 2 MB, far below any array that is filled
_MOST_PACKED = 1032  # bytes that gzip makes one of
_LONGEST = 100_000  # bytes of a line; a file without line ends is not one of ours
_CHARACTERS = b"0123456789+-.eEdD \t\r\n"  # of numbers in the files
# Energies in eV and lengths in Å beyond this are mistakes; their sums and products stay finite.
_LARGEST = 1e6
# Fortran writes three digits of an exponent without its letter, 0.12345678-101.
_NUMBER = re.compile(rb"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eEdD]([+-]?\d{1,3}))?")
_LETTERLESS = re.compile(rb"([+-]?\d*\.\d{6,})([+-]\d{3})")
_INTEGER = re.compile(rb"[+-]?\d{1,9}")


def file_error(path: Path, line: int | None, expected: str, found: object) -> ValueError:
    """Return the error about a file: FILE, line N: must be `expected`, but is `found`."""
    where = f"{path}, line {line}" if line else str(path)
    return ValueError(f"{where}: must be {expected}, but is {found}.")


def is_binary(path: Path) -> bool:
    """Tell if a file is unformatted: Fortran's begin with a record marker."""
    with open_text(path) as file:
        return b"\0" in file.read(100)


class _Unpacked(gzip.GzipFile):
    """A gzipped file whose damage is an error that names it."""

    def readline(self, size: int | None = -1) -> bytes:
        """Read a line, as any file does."""
        return self._name_damage(lambda: gzip.GzipFile.readline(self, size))

    def read(self, size: int | None = -1) -> bytes:
        """Read so many bytes, as any file does."""
        return self._name_damage(lambda: gzip.GzipFile.read(self, size))

    def _name_damage(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (EOFError, OSError, zlib.error) as reason:
            raise file_error(Path(self.name), None, "a whole gzipped file", str(reason)) from None


def is_gzipped(path: Path) -> bool:
    """Tell if a file is gzipped, by its first bytes."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_text(path: Path) -> BinaryIO:
    """Open a text file, gzipped or not."""
    return cast(BinaryIO, _Unpacked(path)) if is_gzipped(path) else path.open("rb")


def text_size(path: Path) -> int:
    """Number of bytes of a text; of a gzipped one modulo 2^32, as it says itself."""
    if not is_gzipped(path):
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(), "little")


def read_text(path: Path) -> str:
    """Read a small file, whatever its encoding."""
    with open_text(path) as file:
        return file.read().decode("utf-8", errors="replace")


def split_lines(path: Path) -> list[list[str]]:
    """Split each line of a small file into words."""
    return [line.split() for line in read_text(path).split("\n")]


def parse_real(word: str | bytes) -> float | None:
    """Parse a number that Fortran wrote; None where the word is not a number."""
    word = word.encode("ascii", errors="replace") if isinstance(word, str) else word
    match = _NUMBER.fullmatch(word) or _LETTERLESS.fullmatch(word)
    if match is None:
        return None
    value = float(match[1] + b"e" + (match[2] or b"0"))
    return value if abs(value) < np.inf else None


def parse_integer(word: str | bytes) -> int | None:
    """Parse an integer; None where the word is not one of at most nine digits."""
    word = word.encode("ascii", errors="replace") if isinstance(word, str) else word
    return int(word) if _INTEGER.fullmatch(word) else None


class Lines:
    """An open text file that counts its lines.

    Parameters:
        path: the file.
        advance: told the number of bytes of each piece that was read.
    """

    path: Path
    number: int  # of the line read last, from 1
    doubts: list[str]  # of what was read all the same

    def __init__(self, path: Path, advance: Advance = lambda size: None):
        self.path = path
        self.number = 0
        self.doubts = []
        # Bytes that there are at most.
        self.size = path.stat().st_size * (_MOST_PACKED if is_gzipped(path) else 1)
        self._advance = advance
        self._file: BinaryIO = open_text(path)

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read_error(self, expected: str, found: object) -> ValueError:
        """Return the error about the line read last."""
        return file_error(self.path, self.number, expected, found)

    def read_line(self, expected: str) -> bytes:
        """Read the next line; an error if the file ends before it."""
        self.number += 1
        line = self._file.readline(_LONGEST)
        if not line:
            raise self.read_error(expected, "the end of the file")
        if len(line) == _LONGEST:
            raise self.read_error(expected, f"a line of more than {_LONGEST} characters")
        self._advance(len(line))
        return line

    def line_or_end(self) -> bytes:
        """Read the next line, empty at the end of the file."""
        self.number += 1
        return self._file.readline(_LONGEST)

    def read_filled_line(self, expected: str) -> bytes:
        """Read the next line that is not blank."""
        while not (line := self.read_line(expected)).strip():
            pass
        return line

    def read_integers(self, count: int, expected: str) -> list[int]:
        """Read `count` integers, all that the next line holds before a comment."""
        tokens = _drop_comment(self.read_filled_line(expected)).split()
        values = [value for token in tokens if (value := parse_integer(token)) is not None]
        if len(values) != count or len(tokens) != count:
            raise self.read_error(expected, _show_tokens(tokens))
        return values

    def read_integer_list(self, count: int, expected: str) -> Int[np.ndarray, " count"]:
        """Read `count` integers on as many lines as they take.

        More of them on the last line are left, as Fortran leaves them, which is a doubt.
        """
        values: list[int] = []
        while len(values) < count:
            wanted = f"{expected}, of which {len(values)} were read"
            tokens = _drop_comment(self.read_filled_line(wanted)).split()
            numbers = [value for token in tokens if (value := parse_integer(token)) is not None]
            if len(numbers) < len(tokens):
                raise self.read_error(wanted, _show_tokens(tokens))
            values += numbers
        if len(values) > count:
            self.doubts.append(
                f"{self.path}, line {self.number}: {len(values) - count} numbers more than the "
                f"{expected} are not used"
            )
        return np.array(values[:count], int)

    def read_table(self, rows: int, width: int, expected: str) -> Float[np.ndarray, "rows width"]:
        """Read the next `rows` lines, each of `width` finite numbers."""
        table = np.empty((rows, width))
        for start in range(0, rows, _PIECE):
            part = table[start : start + _PIECE]
            part[:] = self._read_rows(len(part), width, expected)
        return table

    def read_piece(self) -> bytes:
        """Read the next lines, about 2 MB of them; empty at the end."""
        lines = list(islice(self._file, _PIECE))
        self.number += len(lines)
        text = b"".join(lines)
        self._advance(len(text))
        return text

    def skip_lines(self, count: int, expected: str) -> None:
        """Pass over lines that must be there."""
        passed = sum(1 for _ in islice(self._file, count))
        self.number += passed
        if passed < count:
            self.read_line(expected)

    def must_hold(self, rows: int, width: int, counts: str) -> None:
        """Refuse counts of numbers that the file is too short for, before room is made for them."""
        if 2 * rows * width - 1 > self.size:
            raise ValueError(
                f"{self.path}: must hold {rows} lines of {width} numbers for {counts}, but has "
                f"{self.size} bytes."
            )

    def must_end(self) -> None:
        """Refuse anything but blanks behind the last line."""
        while line := self._file.readline(_LONGEST):
            self.number += 1
            if line.strip():
                raise self.read_error("the end of the file", _show_tokens(line.split()))

    def must_be_whole(self) -> None:
        """Refuse anything behind the last line, and a last line whose number may lack digits."""
        self.must_end()
        self._file.seek(self._file.tell() - 1)
        if self._file.read(1) != b"\n":
            raise file_error(self.path, None, "a file that ends with a line end", "cut in a line")

    def _read_rows(self, rows: int, width: int, expected: str) -> Float[np.ndarray, "rows width"]:
        lines = list(islice(self._file, rows))
        text = b"".join(lines)
        values = _convert_fast(text)
        if len(lines) < rows or values is None or values.size != rows * width:
            values = self._convert_slowly(lines, rows, width, expected)
        self.number += rows
        self._advance(len(text))
        values = values.reshape(rows, width)
        if not np.max(np.abs(values), initial=0) <= _LARGEST:
            row, column = np.argwhere(~(np.abs(values) <= _LARGEST))[0].tolist()
            line = self.number - rows + row + 1
            raise file_error(self.path, line, f"numbers below {_LARGEST:.0e}", values[row, column])
        return values

    def _convert_slowly(
        self, lines: list[bytes], rows: int, width: int, expected: str
    ) -> np.ndarray:
        """Convert number by number, to read rare forms or to find the line that is wrong."""
        values = []
        for i, line in enumerate(lines):
            tokens = line.split()
            numbers = [parse_real(token) for token in tokens]
            if len(numbers) != width or None in numbers:
                raise file_error(self.path, self.number + i + 1, expected, _show_tokens(tokens))
            values += numbers
        if len(lines) < rows:
            raise file_error(
                self.path, self.number + len(lines) + 1, expected, "the end of the file"
            )
        return np.array(values)


def _convert_fast(text: bytes) -> Float[np.ndarray, " _"] | None:
    """Convert a text of numbers; None where it holds anything else."""
    return None if text.translate(None, _CHARACTERS) else convert_text(text, float)


def convert_text(text: bytes, kind: type) -> np.ndarray | None:
    """Convert a text of digits and signs; None where the numbers are not written well.

    NumPy lets two numbers touch ("1.0-2.0"), and until version 2.4 only warns of what it cannot
    read; so the words are counted as well.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            values = np.fromstring(text, dtype=kind, sep=" ")
        except (ValueError, DeprecationWarning):
            return None
    return values if values.size == len(text.split()) else None


def _drop_comment(line: bytes) -> bytes:
    """The line before "!" or "#"."""
    return re.split(rb"[!#]", line, maxsplit=1)[0]


def _show_tokens(tokens: list[bytes]) -> str:
    """Show the beginning of a line, printable."""
    text = b" ".join(tokens[:12])[:80].decode("ascii", errors="replace")
    return repr(text) if text else "a blank line"


def as_integers(lines: Lines, values: Float[np.ndarray, "rows c"], what: str) -> np.ndarray:
    """Convert columns of the table read last to integers, which they must be."""
    integers = values.astype(int)
    if np.any(integers != values):
        row = int(np.argwhere(integers != values)[0][0])
        raise file_error(
            lines.path, lines.number - len(values) + row + 1, what, values[row].tolist()
        )
    return integers
