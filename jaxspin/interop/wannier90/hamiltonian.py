"""H(R) and r(R) as Wannier90 writes them: `_tb.dat`, `_hr.dat`, `_r.dat`.

`_tb.dat`: a comment; three lattice vectors, Å; num_wann; nrpts; ndegen, 15 to a line; for each R
    a blank line, R, and num_wann² lines "m n Re Im" of ⟨0m|H|Rn⟩, eV; then for each R a blank line,
    R, and num_wann² lines "m n Re Im Re Im Re Im" of ⟨0m|x, y, z|Rn⟩, Å.
`_hr.dat`: a comment; num_wann; nrpts; ndegen; for each R num_wann² lines "R m n Re Im".
`_r.dat`: a comment; num_wann; nrpts; for each R num_wann² lines "R m n Re Im Re Im Re Im".

Wannier90 has m fastest, then n, then R, other programs n before m, or R fastest; an element belongs
where its line says. The files are read block by block, in the order in which R first appear, which
is that of ndegen; the division by ndegen is left to `assembly`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float, Int

from jaxspin.interop.wannier90.text import Cell, Lines, as_integers

Blocks = Iterator[tuple[Cell, Complex[np.ndarray, "c n n"]]]


class Header(NamedTuple):
    """Lattice and counts, which precede the blocks."""

    lattice: Float[np.ndarray, "3 3"] | None
    size: int  # number of Wannier functions
    degeneracies: Int[np.ndarray, " r"]


def tb_header(lines: Lines) -> Header:
    """Read the lattice and the counts of `_tb.dat`."""
    lines.read_line("a comment")
    lattice = lines.read_table(3, 3, "a lattice vector, three numbers in Angstrom")
    return Header(lattice, *_read_counts(lines, 4 + 8))


def hr_header(lines: Lines) -> Header:
    """Read the counts of `_hr.dat`."""
    lines.read_line("a comment")
    return Header(None, *_read_counts(lines, 7))


def r_header(lines: Lines, header: Header) -> None:
    """Read the counts of `_r.dat`, which must be those of `_hr.dat`."""
    lines.read_line("a comment")
    expected = {"num_wann": header.size, "nrpts": len(header.degeneracies)}
    for name, value in expected.items():
        (found,) = lines.read_integers(1, f"{name}, one integer")
        if found != value:
            raise lines.read_error(f"{name} = {value} as in the _hr.dat file", found)


def tb_hamiltonian(lines: Lines, header: Header) -> Blocks:
    """Yield H(R) of each R of `_tb.dat`, (1, n, n)."""
    for _ in header.degeneracies:
        cell = _read_cell(lines)
        yield cell, _read_block(lines, header.size, 0, 1)


def tb_position(lines: Lines, header: Header, cells: Sequence[Cell]) -> Blocks:
    """Yield r(R) of each R of `_tb.dat`, (3, n, n); behind H(R)."""
    for expected in cells:
        cell = _read_cell(lines)
        if cell != expected:
            raise lines.read_error(f"the cell {expected}, as in the list of H(R)", cell)
        yield cell, _read_block(lines, header.size, 0, 3)


def hr_hamiltonian(lines: Lines, header: Header) -> Blocks:
    """Yield H(R) of each R of `_hr.dat`, (1, n, n)."""
    yield from _read_blocks_with_cells(lines, header, 1)


def r_position(lines: Lines, header: Header, cells: Sequence[Cell]) -> Blocks:
    """Yield r(R) of each R of `_r.dat`, (3, n, n)."""
    blocks = _read_blocks_with_cells(lines, header, 3)
    for expected, (cell, block) in zip(cells, blocks, strict=True):
        if cell != expected:
            raise lines.read_error(f"the cell {expected}, as in the _hr.dat file", cell)
        yield cell, block


def _read_counts(lines: Lines, width: int) -> tuple[int, Int[np.ndarray, " r"]]:
    """Read num_wann and ndegen; refuse a file too short for `width` numbers an element."""
    (size,) = lines.read_integers(1, "num_wann, one integer")
    if size < 1:
        raise lines.read_error("num_wann, at least 1", size)
    (count,) = lines.read_integers(1, "nrpts, one integer")
    if count < 1:
        raise lines.read_error("nrpts, at least 1", count)
    lines.must_hold(count * size**2, width, f"num_wann = {size} and nrpts = {count}")
    degeneracies = lines.read_integer_list(count, f"ndegen, {count} integers")
    if np.min(degeneracies) < 1:
        raise lines.read_error("ndegen, integers of at least 1", np.min(degeneracies))
    return size, degeneracies


def _read_cell(lines: Lines) -> Cell:
    return tuple(lines.read_integers(3, "a cell R, three integers"))


def _read_block(lines: Lines, size: int, before: int, parts: int) -> Complex[np.ndarray, "c n n"]:
    """Read a block whose lines hold `before` integers, m, n and `parts` complex numbers."""
    width = before + 2 + 2 * parts
    table = lines.read_table(size**2, width, f"{before + 2} integers and {2 * parts} numbers")
    block = _Block(size, parts, lines.number + 1 - len(table))
    block.fill(lines, table[:, before:], np.arange(len(table)))
    return block.elements


def _read_blocks_with_cells(lines: Lines, header: Header, parts: int) -> Blocks:
    """Yield blocks whose every line begins with R, as soon as they and those before are whole."""
    size, number = header.size, len(header.degeneracies)
    expected = f"R, m, n and {2 * parts} numbers"
    waiting: dict[Cell, _Block] = {}
    yielded = 0
    for _ in range(number):
        start = lines.number + 1
        table = lines.read_table(size**2, 5 + 2 * parts, expected)
        cells = as_integers(lines, table[:, :3], "R, three integers")
        for cell, rows in _sort_by_cell(cells):
            if cell not in waiting:
                waiting[cell] = _Block(size, parts, start + int(rows[0]))
            waiting[cell].fill(lines, table[:, 3:], rows)
        if yielded + len(waiting) > number:
            raise _stray_error(lines, waiting, number)
        while waiting and (first := next(iter(waiting.items())))[1].is_whole:
            del waiting[first[0]]
            yielded += 1
            yield first[0], first[1].elements


def _stray_error(lines: Lines, waiting: dict[Cell, "_Block"], number: int) -> ValueError:
    """Return the error about the R with the fewest elements, where there are too many R."""
    cell, block = min(waiting.items(), key=lambda item: item[1].count)
    lines.number = block.line
    return lines.read_error(f"an element of one of {number} cells R", f"R = {cell}, one more")


def _sort_by_cell(cells: Int[np.ndarray, "e 3"]) -> Iterator[tuple[Cell, Int[np.ndarray, " _"]]]:
    """Yield each cell with its rows, in the order of its first row."""
    if np.all(cells == cells[0]):
        yield tuple(cells[0].tolist()), np.arange(len(cells))
        return
    present, first, owner = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    for which in np.argsort(first):
        yield tuple(present[which].tolist()), np.flatnonzero(owner.ravel() == which)


class _Block:
    """The matrices of one R, each element at its m and n.

    Parameters:
        line: that of its first element.
    """

    def __init__(self, size: int, parts: int, line: int):
        self.elements = np.zeros((parts, size, size), complex)
        self.line, self.count = line, 0
        self._missing = np.ones((size, size), bool)

    @property
    def is_whole(self) -> bool:
        """True if every element was read."""
        return self.count == self._missing.size

    def fill(self, lines: Lines, table: np.ndarray, rows: Int[np.ndarray, " _"]) -> None:
        """Put the rows "m n Re Im ..." of the table read last in their places."""
        size = len(self._missing)
        m, n = table[rows, :2].T
        inside = (m >= 1) & (m <= size) & (n >= 1) & (n <= size) & (m % 1 == 0) & (n % 1 == 0)
        place = np.where(inside, (m - 1) * size + n - 1, 0).astype(int)
        first = np.zeros(len(rows), bool)
        first[np.unique(place, return_index=True)[1]] = True
        wrong = ~inside | ~first | ~self._missing.ravel()[place]
        if np.any(wrong):
            row = rows[int(np.argmax(wrong))]
            wanted = f"each m and n from 1 to {size} once for each R"
            found = f"m, n = {table[row, 0]:g}, {table[row, 1]:g}"
            raise _row_error(lines, table, row, wanted, found)
        self._missing.ravel()[place] = False
        self.count += len(rows)
        numbers = np.ascontiguousarray(table[rows, 2:]).view(complex)
        self.elements.reshape(len(self.elements), -1)[:, place] = numbers.T


def _row_error(
    lines: Lines, table: np.ndarray, row: int, expected: str, found: object
) -> ValueError:
    """Return the error about one row of the table read last."""
    lines.number += int(row) + 1 - len(table)
    return lines.read_error(expected, found)
