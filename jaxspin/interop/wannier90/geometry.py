"""Lattice, centres, k-path and bands: `.win`, `.wout`, `_centres.xyz`, `_band.dat`, `_band.kpt`.

`.win`: keywords "name = value" (or ":", or a blank) and blocks "begin name ... end name", also
    "beginname", "end_name" and "begin : name", as Wannier90 takes them; comments from "!" or "#";
    upper and lower case are the same.
`.wout`: the lattice with six decimals under "Lattice Vectors", the centres under "Final State".
`_centres.xyz`: a count, a comment, a line "X x y z" for each Wannier function, then the atoms; Å.
`_band.dat`: for each band lines "x energy", then a blank line. `_band.kpt`: a count, then lines
    "k1 k2 k3 weight", reduced coordinates.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxspin.engine.validate import is_finite
from jaxspin.interop.wannier90.text import (
    Lines,
    file_error,
    parse_integer,
    parse_real,
    read_text,
    split_lines,
)

#: Å in a bohr, CODATA 2018.
BOHR = 0.529177210903
_LARGEST = 1e6  # Å, as for the large files


class PathPoint(NamedTuple):
    """A labelled k-point of a path, reduced coordinates."""

    label: str
    k: tuple[float, float, float]


class PathBands(NamedTuple):
    """Energies along a path as Wannier90 computed them."""

    k: Float[np.ndarray, "K 3"]  # reduced
    energies: Float[np.ndarray, "K n"]  # eV, ascending


class Win(NamedTuple):
    """Contents of `.win`; None for keywords that it lacks."""

    lattice: Float[np.ndarray, "3 3"] | None = None
    size: int | None = None
    mesh: tuple[int, int, int] | None = None
    spinors: bool | None = None
    home_cell: bool | None = None  # whether `_centres.xyz` has the centres moved into it
    path: tuple[tuple[PathPoint, PathPoint], ...] | None = None
    atoms: "Atoms | None" = None


class Atoms(NamedTuple):
    """The atoms of a crystal."""

    #: In units of the lattice vectors.
    positions: Float[np.ndarray, "a 3"]
    species: tuple[str, ...]


class _Line(NamedTuple):
    number: int
    words: list[str]


def read_win(path: Path) -> Win:
    """Read the input of the Wannier90 run."""
    keywords, blocks = _sort_win_lines(path)
    size = _find_integers(path, keywords, "num_wann", 1)
    mesh = _find_integers(path, keywords, "mp_grid", 3)
    lattice = _unit_cell(path, blocks.get("unit_cell_cart"))
    return Win(
        lattice,
        None if size is None else size[0],
        None if mesh is None else (mesh[0], mesh[1], mesh[2]),
        _find_logical(path, keywords, "spinors"),
        _find_logical(path, keywords, "translate_home_cell"),
        _parse_path(path, blocks.get("kpoint_path")),
        _find_atoms(blocks, lattice),
    )


def _find_atoms(blocks: dict[str, list[_Line]], lattice) -> Atoms | None:
    """The atoms of the block atoms_frac or atoms_cart; None where it is not as it should be, for
    no more than the search for symmetries needs them."""
    lines = [line.words for line in blocks.get("atoms_frac", [])]
    to_reduced: Any = np.eye(3)
    if not lines and lattice is not None:
        lines, unit = [line.words for line in blocks.get("atoms_cart", [])], "ang"
        if lines and len(lines[0]) == 1:
            unit = lines.pop(0)[0].lower().strip("()")
        to_reduced = _LENGTHS.get(unit, np.nan) * np.linalg.inv(lattice)
    numbers = [[parse_real(word) for word in words[1:]] for words in lines]
    if not lines or any(len(row) != 3 or None in row for row in numbers):
        return None
    positions = np.array(numbers, float) @ to_reduced
    return Atoms(positions, tuple(words[0] for words in lines)) if is_finite(positions) else None


def wout_lattice(path: Path) -> Float[np.ndarray, "3 3"] | None:
    """Read the lattice vectors of `.wout`, Å; None where it has none."""
    lines = split_lines(path)
    for i, line in enumerate(lines):
        if line[:2] == ["Lattice", "Vectors"]:
            unit = _length_unit(path, i + 1, line[2:3])
            return unit * _wout_vectors(path, lines, i + 1)
    return None


def wout_centres(path: Path, size: int) -> Float[np.ndarray, "n 3"] | None:
    """Read the Wannier centres of the last final state in `.wout`, Å; None where it has none."""
    lines = split_lines(path)
    states = [i for i, line in enumerate(lines) if line[:2] == ["Final", "State"]]
    if not states:
        return None
    bohr = any(line[1:4] == ["Length", "Unit", ":"] and "Bohr" in line for line in lines)
    return (BOHR if bohr else 1.0) * _final_state(path, lines, states[-1] + 1, size)


def read_centres(path: Path, size: int) -> Float[np.ndarray, "n 3"]:
    """Read the Wannier centres of `_centres.xyz`, Å."""
    with Lines(path) as lines:
        (count,) = lines.read_integers(1, "the number of lines that follow")
        if count < size:
            raise lines.read_error(f"at least num_wann = {size}", count)
        lines.read_line("a comment")
        centres = []
        for _ in range(size):
            tokens = lines.read_line("a Wannier centre, X and three numbers").split()
            values = [parse_real(token) for token in tokens[1:]]
            if tokens[:1] != [b"X"] or len(values) != 3 or None in values:
                found = b" ".join(tokens)[:80].decode("ascii", errors="replace")
                raise lines.read_error("a Wannier centre, X and three numbers", repr(found))
            centres.append(values)
    return _check_bounded(path, np.array(centres))


def read_bands(data: Path, points: Path, size: int) -> PathBands:
    """Read the band structure along the path of `.win`."""
    with Lines(points) as lines:
        (count,) = lines.read_integers(1, "the number of k-points")
        if count < 1:
            raise lines.read_error("the number of k-points, at least 1", count)
        lines.must_hold(count, 4, f"{count} k-points")
        k = lines.read_table(count, 4, "a k-point and its weight, four numbers")[:, :3]
        lines.must_end()
    with Lines(data) as lines:
        lines.must_hold(count * size, 2, f"{size} bands at {count} k-points")
        energies = [_read_band(lines, count) for _ in range(size)]
        lines.must_end()
    return PathBands(k, np.sort(np.stack(energies, axis=1), axis=1))


def _read_band(lines: Lines, count: int) -> Float[np.ndarray, " K"]:
    energies = lines.read_table(count, 2, "a length and an energy, two numbers")[:, 1]
    if (rest := lines.line_or_end()).strip():
        raise lines.read_error(
            "a blank line after a band", repr(rest[:80].decode("ascii", "replace"))
        )
    return energies


def _sort_win_lines(path: Path) -> tuple[dict[str, _Line], dict[str, list[_Line]]]:
    """Sort the lines into keywords and blocks, with their line numbers."""
    keywords: dict[str, _Line] = {}
    blocks: dict[str, list[_Line]] = {}
    open_block: str | None = None
    for line in _win_lines(path):
        first = line.words[0].lower()
        bound = _parse_bound(line)
        if bound is not None and bound.begins:
            _check_new(path, line, bound.name, [*blocks], open_block)
            open_block = bound.name
            # What follows the name on its line belongs to the block.
            blocks[open_block] = [_Line(line.number, bound.rest)] if bound.rest else []
        elif bound is not None:
            if bound.name != open_block:
                inside = f"end {open_block}" if open_block else "a line outside of blocks"
                raise file_error(path, line.number, inside, f"end {bound.name}")
            open_block = None
        elif open_block is not None:
            blocks[open_block].append(line)
        else:
            _check_new(path, line, first, [*keywords], None)
            keywords[first] = _Line(line.number, line.words[1:])
    if open_block is not None:
        raise file_error(path, None, f"a file with 'end {open_block}'", "one that ends before it")
    return keywords, blocks


class _Bound(NamedTuple):
    """The first or the last line of a block."""

    begins: bool
    name: str
    rest: list[str]


# Blocks whose name may be written to its "begin" or "end" without a blank.
_BLOCKS = (
    "atoms_cart|atoms_frac|dis_spheres|explicit_kpoints|kpoint_path|kpoints|nnkpts|projections|"
    "shell_list|slwf_centres|unit_cell_cart"
)
_BOUND = re.compile(rf"(begin|end)(?:[\s:=]+(\w+)|_?({_BLOCKS})\b)(.*)", re.IGNORECASE)


def _parse_bound(line: _Line) -> _Bound | None:
    match = _BOUND.fullmatch(" ".join(line.words))
    if match is None:
        return None
    kind, apart, glued, rest = match.groups()
    return _Bound(kind.lower() == "begin", (apart or glued).lower(), rest.split())


def _check_new(
    path: Path, line: _Line, name: str, known: list[str], open_block: str | None
) -> None:
    if open_block is not None:
        raise file_error(path, line.number, f"end {open_block}", f"begin {name}")
    if name in known:
        raise file_error(path, line.number, f"the only line with {name!r}", "the second")


def _win_lines(path: Path) -> Iterator[_Line]:
    """Yield the lines that are not blank, without comments and separators."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        parts = re.split(r"[!#]", line, maxsplit=1)[0].replace(",", " ")
        found = re.sub(r"^(\s*\w+\s*)[=:]", r"\1 ", parts).split()
        if found:
            yield _Line(number, found)


def _find_integers(
    path: Path, keywords: dict[str, _Line], name: str, count: int
) -> list[int] | None:
    if name not in keywords:
        return None
    line = keywords[name]
    values = [value for word in line.words if (value := parse_integer(word)) is not None]
    if len(values) != count or len(line.words) != count or min(values) < 1:
        expected = f"{name} = {count} positive integer{'s' * (count > 1)}"
        raise file_error(path, line.number, expected, repr(" ".join(line.words)))
    return values


def _find_logical(path: Path, keywords: dict[str, _Line], name: str) -> bool | None:
    if name not in keywords:
        return None
    line = keywords[name]
    word = " ".join(line.words).lower()
    if word not in ("t", "f", "true", "false", ".true.", ".false."):
        raise file_error(path, line.number, f"{name} = true or false", repr(word))
    return "t" in word


def _unit_cell(path: Path, lines: list[_Line] | None) -> Float[np.ndarray, "3 3"] | None:
    if lines is None:
        return None
    unit = 1.0
    if lines and len(lines[0].words) == 1:
        unit = _length_unit(path, lines[0].number, lines[0].words)
        lines = lines[1:]
    if len(lines) != 3:
        raise file_error(path, None, "three lines in the block unit_cell_cart", f"{len(lines)}")
    return _check_bounded(
        path, unit * np.array([_parse_reals(path, line, line.words) for line in lines])
    )


_LENGTHS = {"ang": 1.0, "angstrom": 1.0, "bohr": BOHR}


def _length_unit(path: Path, number: int, name: list[str]) -> float:
    unit = _LENGTHS.get("".join(name).lower().strip("()"))
    if unit is None:
        raise file_error(path, number, "the unit ang or bohr", repr("".join(name)))
    return unit


def _parse_path(
    path: Path, lines: list[_Line] | None
) -> tuple[tuple[PathPoint, PathPoint], ...] | None:
    """Parse lines of pairs of labelled points, a piece of the path each."""
    if lines is None:
        return None
    pieces = []
    for line in lines:
        if len(line.words) % 8:
            found = repr(" ".join(line.words))
            raise file_error(path, line.number, "two labels with three numbers each", found)
        parts = [line.words[i : i + 4] for i in range(0, len(line.words), 4)]
        points = [_parse_point(path, line, part) for part in parts]
        pieces += zip(points[::2], points[1::2], strict=True)
    return tuple(pieces) or None


def _parse_point(path: Path, line: _Line, parts: list[str]) -> PathPoint:
    x, y, z = _parse_reals(path, line, parts[1:]).tolist()
    return PathPoint(parts[0], (x, y, z))


def _parse_reals(path: Path, line: _Line, parts: list[str]) -> Float[np.ndarray, "3"]:
    values = [parse_real(word) for word in parts]
    if len(values) != 3 or None in values:
        raise file_error(path, line.number, "three numbers", repr(" ".join(line.words)))
    return np.array(values)


def _wout_vectors(path: Path, lines: list[list[str]], start: int) -> Float[np.ndarray, "3 3"]:
    rows = []
    for axis, line in enumerate(lines[start : start + 3], start=1):
        if line[:1] != [f"a_{axis}"]:
            break
        rows.append(_parse_reals(path, _Line(start + axis, line), line[1:]))
    if len(rows) < 3:
        raise file_error(
            path, start + len(rows) + 1, f"the lattice vector a_{len(rows) + 1}", "another"
        )
    return _check_bounded(path, np.array(rows))


def _final_state(path: Path, lines: list[list[str]], start: int, size: int) -> np.ndarray:
    """Parse lines "WF centre and spread  i  ( x, y, z )  spread"."""
    centres = []
    for number, line in enumerate(lines[start : start + size], start=start + 1):
        text = " ".join(line)
        match = re.fullmatch(r"WF centre and spread (\d+) \((.*),(.*),(.*)\) *\S+", text)
        values = [parse_real(word.strip()) for word in match.groups()[1:]] if match else [None]
        if match is None or None in values or int(match[1]) != len(centres) + 1:
            expected = f"centre and spread of Wannier function {len(centres) + 1}"
            raise file_error(path, number, expected, repr(text[:80]))
        centres.append(values)
    if len(centres) < size:
        raise file_error(path, None, f"{size} centres in the final state", f"{len(centres)}")
    return _check_bounded(path, np.array(centres))


def _check_bounded(path: Path, values: np.ndarray) -> np.ndarray:
    if np.max(np.abs(values)) > _LARGEST:
        raise file_error(
            path, None, f"lengths below {_LARGEST:.0e} Angstrom", np.max(np.abs(values))
        )
    return values
