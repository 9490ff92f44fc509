"""H(R) and r(R) as Wannier90 writes them: `_tb.dat`, `_hr.dat`, `_r.dat`.

`_tb.dat`: a comment; three lattice vectors, Å; num_wann; nrpts; ndegen, 15 to a line; for each R
    a blank line, R, and num_wann² lines "m n Re Im" of ⟨0m|H|Rn⟩, eV; then for each R a blank line,
    R, and num_wann² lines "m n Re Im Re Im Re Im" of ⟨0m|x, y, z|Rn⟩, Å.
`_hr.dat`: a comment; num_wann; nrpts; ndegen; for each R num_wann² lines "R m n Re Im".
`_r.dat`: a comment; num_wann; nrpts; for each R num_wann² lines "R m n Re Im Re Im Re Im".

m runs fastest, then n, then R. The files are read block by block, each block in the order of its
lines; the division by ndegen is left to `assembly`.
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
    for _ in header.degeneracies:
        yield _read_block_with_cell(lines, header.size, 1)


def r_position(lines: Lines, header: Header, cells: Sequence[Cell]) -> Blocks:
    """Yield r(R) of each R of `_r.dat`, (3, n, n)."""
    for expected in cells:
        cell, block = _read_block_with_cell(lines, header.size, 3)
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
    return _order_elements(lines, table, size, before)


def _read_block_with_cell(lines: Lines, size: int, parts: int) -> tuple[Cell, np.ndarray]:
    """Read a block whose every line begins with R."""
    expected = f"R, m, n and {2 * parts} numbers"
    table = lines.read_table(size**2, 5 + 2 * parts, expected)
    cells = as_integers(lines, table[:, :3], "R, three integers")
    other = np.any(cells != cells[0], axis=1)
    if np.any(other):
        row = int(np.argmax(other))
        raise _wrong_row(lines, size, row, f"R = {cells[0].tolist()}", cells[row].tolist())
    return tuple(cells[0].tolist()), _order_elements(lines, table, size, 3)


def _order_elements(lines: Lines, table: np.ndarray, size: int, before: int) -> np.ndarray:
    """Order the complex numbers of a table by part, row m and column n; check m and n."""
    n, m = np.divmod(np.arange(size**2), size) + np.array([[1], [1]])
    off = (table[:, before] != m) | (table[:, before + 1] != n)
    if np.any(off):
        row = int(np.argmax(off))
        found = table[row, before : before + 2].tolist()
        raise _wrong_row(lines, size, row, f"m = {m[row]}, n = {n[row]}", found)
    numbers = np.ascontiguousarray(table[:, before + 2 :]).view(complex)
    return numbers.reshape(size, size, -1).transpose(2, 1, 0)


def _wrong_row(lines: Lines, size: int, row: int, expected: str, found: object) -> ValueError:
    lines.number += row + 1 - size**2
    return lines.read_error(expected, found)
