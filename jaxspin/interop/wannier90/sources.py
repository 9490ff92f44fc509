"""The files beside each other: which is read, with its counts, weights and shifts."""

from contextlib import ExitStack
from pathlib import Path

from jaxspin.interop.wannier90 import assembly, geometry, hamiltonian as layout, wsvec
from jaxspin.interop.wannier90.assembly import Mesh
from jaxspin.interop.wannier90.chk import Chk, read_chk
from jaxspin.interop.wannier90.findings import (
    Companions,
    FileOperators,
    Findings,
    Shifting,
    disagreement_error,
)
from jaxspin.interop.wannier90.geometry import Win
from jaxspin.interop.wannier90.hamiltonian import Header
from jaxspin.interop.wannier90.text import Advance, Cell, Lines, file_error, text_size


def main_file(found: Findings) -> str:
    """The file that has H(R).

    Raises:
        FileNotFoundError: there is none.
    """
    for name in ("_tb.dat", "_hr.dat"):
        if found.has_files(name):
            return name
    raise FileNotFoundError(
        f"No {found.path_of('_tb.dat')} and no {found.path_of('_hr.dat')}: run Wannier90 with "
        "`write_tb = true` or `write_hr = true`, and give the seedname without an ending."
    )


def read_win_file(found: Findings, main: str) -> Win:
    """What `.win` says; nothing, with a warning, if it cannot be read and `_tb.dat` is there."""
    if not found.has_files(".win"):
        return Win()
    try:
        return geometry.read_win(found.use_file(".win", "input"))
    except ValueError as reason:
        if main != "_tb.dat":
            raise
        del found.used[".win"]
        found.warnings.append(f"{reason} The file is not used; the lattice is that of _tb.dat")
        return Win()


def read_checkpoint(found: Findings) -> Chk | None:
    """What `.chk` or `.chk.fmt` says; None where there is none."""
    name = next((name for name in (".chk", ".chk.fmt") if found.has_files(name)), None)
    if name is None:
        return None
    chk = read_chk(found.use_file(name, "checkpoint"))
    if chk.surplus:
        found.warnings.append(f"{chk.path.name} has one record more than a checkpoint, not used")
    return chk


def total_bytes(found: Findings, main: str) -> int:
    """Number of bytes to be read: the shifts once for each operator."""
    names = [main, "_r.dat"] if main == "_hr.dat" else [main]
    names += ["_wsvec.dat", "_wsvec.dat"]
    return sum(text_size(found.path_of(name)) for name in names if found.has_files(name))


def read_operators(
    found: Findings, main: str, companions: Companions, stack: ExitStack, advance: Advance
) -> FileOperators:
    """Read H and r of the main files, with their weights and shifts."""
    tb = main == "_tb.dat"
    path = found.use_file(main, "lattice, H and r" if tb else "H")
    lines = stack.enter_context(Lines(path, advance))
    header = layout.tb_header(lines) if tb else layout.hr_header(lines)
    _check_size(path, header.size, companions)
    shifting = _find_shifting(found, header, advance)
    raw: list[Cell] = []
    source = layout.tb_hamiltonian if tb else layout.hr_hamiltonian
    hamiltonian = shifting.assemble_operator(_note_cells(source(lines, header), raw))
    assembly.check_cells(path, raw)
    stated = _find_mesh(found, companions)
    mesh = assembly.check_weights(path, raw, header.degeneracies, stated)
    assembly.check_shifts(found.path_of("_wsvec.dat"), hamiltonian, mesh)
    position = None
    if tb:
        position = shifting.assemble_operator(layout.tb_position(lines, header, raw))
    elif found.has_files("_r.dat"):
        own = stack.enter_context(Lines(found.use_file("_r.dat", "r"), advance))
        layout.r_header(own, header)
        position = shifting.assemble_operator(layout.r_position(own, header, raw))
        own.must_be_whole()
    lines.must_be_whole()
    found.warnings += lines.doubts
    return FileOperators(path, header, raw, mesh, hamiltonian, position, shifting)


def _check_size(path: Path, size: int, companions: Companions) -> None:
    """Check that the number of Wannier functions is that of other files."""
    win, chk = companions
    stated = {".win": win.size}
    if chk is not None:
        stated[chk.path.name] = chk.states.shape[2]
    for name, other in stated.items():
        if other not in (None, size):
            raise file_error(path, None, f"for {other} Wannier functions, as {name}", size)


def _find_mesh(found: Findings, companions: Companions) -> Mesh | None:
    stated = {}
    if companions.win.mesh is not None:
        stated[found.path_of(".win")] = companions.win.mesh
    if companions.chk is not None:
        stated[companions.chk.path] = companions.chk.mesh
    if len(set(stated.values())) > 1:
        raise disagreement_error("mesh", stated)
    return next(iter(stated.values()), None)


def _note_cells(source: layout.Blocks, cells: list[Cell]) -> layout.Blocks:
    """Yield the same blocks, and append their cells to a list."""
    for cell, block in source:
        cells.append(cell)
        yield cell, block


def _find_shifting(found: Findings, header: Header, advance: Advance) -> Shifting:
    path = found.path_of("_wsvec.dat")
    if not found.has_files("_wsvec.dat"):
        return Shifting(header.degeneracies, lambda: None, path)
    found.use_file("_wsvec.dat", "shifts to the closest images")

    def read_shifts():
        with Lines(path, advance) as lines:
            yield from wsvec.read_shifts(lines, header.size)

    return Shifting(header.degeneracies, read_shifts, path)
