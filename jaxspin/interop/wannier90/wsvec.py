"""The shifts of `_wsvec.dat` that bring every pair of Wannier functions as close as it can be.

A comment; then for each R, m and n (n fastest) a line "R m n", a line N, and N lines T: the element
⟨0m|…|Rn⟩ belongs, divided by N, to each of the cells R + T.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxspin.interop.wannier90.text import Cell, Lines, convert_text, parse_integer

_FARTHEST = 9999  # largest coordinate of a cell; Wannier90 writes five columns


class Shifts(NamedTuple):
    """The shifts of one R: element i = m n_max + n has the `counts[i]` next ones."""

    counts: Int[np.ndarray, " nn"]
    vectors: Int[np.ndarray, "t 3"]


class _ShiftRecords(NamedTuple):
    """Whole records, in the order of the file, with the numbers of their first lines."""

    heads: Int[np.ndarray, "e 5"]
    counts: Int[np.ndarray, " e"]
    vectors: Int[np.ndarray, "t 3"]
    lines: Int[np.ndarray, " e"]


def read_shifts(lines: Lines, size: int) -> Iterator[tuple[Cell, Shifts]]:
    """Yield the shifts of each R, read in pieces."""
    lines.read_line("a comment")
    order = np.stack(np.divmod(np.arange(size**2), size), axis=1) + 1
    held = _empty_records()
    for records in _read_pieces(lines):
        held = _ShiftRecords(*map(np.concatenate, zip(held, records, strict=True)))
        while len(held.heads) >= size**2:
            taken, held = _split_records(held, size**2)
            yield _shifts_of_cell(lines, taken, order)
    if len(held.heads):
        lines.number = int(held.lines[-1])
        raise lines.read_error(f"one of {size**2} records of R", f"the last, of {len(held.heads)}")
    lines.must_be_whole()


def _empty_records() -> _ShiftRecords:
    none = np.zeros(0, int)
    return _ShiftRecords(np.zeros((0, 5), int), none, np.zeros((0, 3), int), none)


def _split_records(records: _ShiftRecords, number: int) -> tuple[_ShiftRecords, _ShiftRecords]:
    cut = int(np.sum(records.counts[:number]))
    ends = (number, number, cut, number)
    pairs = list(zip(records, ends, strict=True))
    return _ShiftRecords(*(x[:end] for x, end in pairs)), _ShiftRecords(
        *(x[end:] for x, end in pairs)
    )


def _shifts_of_cell(lines: Lines, records: _ShiftRecords, order: np.ndarray) -> tuple[Cell, Shifts]:
    cell = records.heads[0, :3]
    expected = np.concatenate([np.broadcast_to(cell, (len(order), 3)), order], axis=1)
    off = np.any(records.heads != expected, axis=1)
    if np.any(off):
        row = int(np.argmax(off))
        lines.number = int(records.lines[row])
        found = records.heads[row].tolist()
        raise lines.read_error(f"R, m, n = {expected[row].tolist()} (n fastest)", found)
    return tuple(cell.tolist()), Shifts(records.counts, records.vectors)


def _read_pieces(lines: Lines) -> Iterator[_ShiftRecords]:
    """Yield all records, some thousands at a time; one cut by a piece goes to the next piece."""
    first, rest = lines.number + 1, b""
    while piece := lines.read_piece():
        text = rest + piece
        values, widths = _parse_numbers(lines, text, first)
        heads = np.flatnonzero(widths == 5)
        cut = int(heads[-1]) if len(heads) else 0
        if rest and not cut:
            lines.number = first
            raise lines.read_error(
                "a line of five integers for each record", "no such line for long"
            )
        if cut:
            yield _parse_records(lines, values[: np.sum(widths[:cut])], widths[:cut], first)
        rest = b"\n".join(text.split(b"\n")[cut:])
        first += cut
    if rest.strip():
        yield _parse_records(lines, *_parse_numbers(lines, rest, first), first)


def _parse_numbers(lines: Lines, text: bytes, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Parse the integers of a text, and count those of each line."""
    characters = np.frombuffer(text, np.uint8)
    space = characters <= 32
    starts = ~space & np.concatenate([[True], space[:-1]])
    ends = np.flatnonzero(characters == 10)
    if not len(ends) or ends[-1] != len(text) - 1:
        ends = np.append(ends, len(text) - 1)
    widths = np.diff(np.cumsum(starts)[ends], prepend=0)
    values = _parse_fast(text)
    if values is None or len(values) != np.sum(widths):
        values = _parse_slowly(lines, text, first)
    return values, widths


def _parse_fast(text: bytes) -> Int[np.ndarray, " _"] | None:
    """Parse the integers of a text; None where it holds anything else."""
    if text.translate(None, b"0123456789+- \t\r\n"):
        return None
    values = convert_text(text, np.int64)
    if values is None or np.max(np.abs(values), initial=0) > _FARTHEST:
        return None
    return values


def _parse_slowly(lines: Lines, text: bytes, first: int) -> np.ndarray:
    """Parse number by number, to find the line that is wrong."""
    values = []
    for i, line in enumerate(text.split(b"\n")):
        numbers = [parse_integer(token) for token in line.split()]
        if any(number is None or abs(number) > _FARTHEST for number in numbers):
            lines.number = first + i
            found = line[:80].decode("ascii", errors="replace")
            raise lines.read_error(f"integers of at most {_FARTHEST}", repr(found))
        values += numbers
    return np.array(values, int)


def _parse_records(
    lines: Lines, values: np.ndarray, widths: np.ndarray, first: int
) -> _ShiftRecords:
    """Parse a text that begins and ends with whole records; blank lines may follow."""
    while len(widths) and widths[-1] == 0:
        widths = widths[:-1]
    heads = np.flatnonzero(widths == 5)
    starts = np.concatenate([[0], np.cumsum(widths)])
    expected = np.full(len(widths), 3)
    expected[heads] = 5
    expected[heads[heads + 1 < len(widths)] + 1] = 1
    if len(widths) and widths[0] != 5:
        expected[0] = 5
    if np.any(widths != expected):
        row = int(np.argmax(widths != expected))
        lines.number = first + row
        raise lines.read_error(f"{expected[row]} integers", f"{widths[row]}")
    if len(heads) and heads[-1] + 1 == len(widths):
        lines.number = first + len(widths)
        raise lines.read_error("the number of shifts", "the end of the file")
    counts = values[starts[heads + 1]]
    following = np.diff(np.append(heads, len(widths))) - 2
    if np.any((counts != following) | (counts < 1)):
        row = int(np.argmax((counts != following) | (counts < 1)))
        lines.number = first + int(heads[row]) + 1
        raise lines.read_error(
            f"the number of the shifts that follow, {following[row]}", counts[row]
        )
    columns = starts[heads][:, None] + np.arange(5)
    taken = np.ones(len(values), bool)
    taken[columns] = False
    taken[starts[heads + 1]] = False
    return _ShiftRecords(values[columns], counts, values[taken].reshape(-1, 3), first + heads)
