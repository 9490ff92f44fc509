"""Contents of the files of a seedname, as arrays that have been checked.

`read_tables` is all of the reading; `read` and `examine` only make a model of what it returns.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Complex, Float, Int

from jaxspin.engine.progress import count_bytes
from jaxspin.engine.validate import check_choice, check_shape, spans_volume
from jaxspin.interop.wannier90 import assembly, geometry, hamiltonian as layout, spin, wsvec
from jaxspin.interop.wannier90.assembly import Mesh, RealSpaceOperator
from jaxspin.interop.wannier90.chk import Chk, read_chk
from jaxspin.interop.wannier90.geometry import Win
from jaxspin.interop.wannier90.hamiltonian import Header
from jaxspin.interop.wannier90.report import Report
from jaxspin.interop.wannier90.text import Advance, Cell, Lines, file_error, text_size

#: What a user can say about the order of pure-spin Wannier functions.
SpinOrder = Literal["interlaced", "block", "unknown"]
_ORDERS = ("interlaced", "block", "unknown")

_NAMES = (
    "_tb.dat",
    "_hr.dat",
    "_r.dat",
    "_wsvec.dat",
    ".win",
    ".wout",
    ".chk",
    ".chk.fmt",
    ".spn",
    ".spn.fmt",
    ".eig",
    "_centres.xyz",
    "_band.dat",
    "_band.kpt",
)
_SAME_LATTICE = 1e-4  # Å; .wout has six decimals, constants for the bohr differ by 1e-7
_BROKEN, _ROUNDED = 1e-3, 1e-5  # eV; |H(R) − H(−R)†| that is an error, and that is worth a note
_ASYMMETRIC = 0.5  # Å; of r(R) on honest meshes it is some hundredths
_MISMATCH = 1e-3  # eV; between H(k) of .eig and of H(R)
# |S² − 1| worth a warning. Wannier functions of entangled bands reach some tenths (platinum: 0.58);
# an operator in units of ħ instead of ħ/2 has 0.75, and a state without spin has 1.
_INCOMPLETE = 0.7
_SAME_PLACE = 1e-6  # Å, as for models
# Å, as between r and the centres of models; different formulas for a centre differ by 1e-4, those
# of other runs by tenths
_SAME_CENTRE = 1e-2


class ModelArrays(NamedTuple):
    """Arrays of which a `HoppingModel` is made."""

    lattice: Float[np.ndarray, "3 3"]
    cells: list[Cell]
    blocks: Complex[np.ndarray, "r n n"]
    centres: Float[np.ndarray, "n 3"]
    spin: Complex[np.ndarray, "r 3 n n"] | Complex[np.ndarray, "3 n n"] | None
    position: Complex[np.ndarray, "r 3 n n"] | None


class Given(NamedTuple):
    """What a user says beside the files; None for what they say themselves."""

    spin_order: SpinOrder | None = None
    lattice: Float[np.ndarray, "3 3"] | None = None
    centres: Float[np.ndarray, "n 3"] | None = None


_SILENT = Given()


@dataclass
class _Findings:
    """Findings of the reading: files that were used, notes, warnings."""

    seed: str
    given: Given
    used: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def path_of(self, name: str) -> Path:
        """Path of the file with this ending, or of the gzipped one where there is only that."""
        path, packed = Path(self.seed + name), Path(f"{self.seed}{name}.gz")
        return packed if packed.is_file() and not path.is_file() else path

    def has_files(self, *names: str) -> bool:
        """Tell if all these files exist."""
        return all(self.path_of(name).is_file() for name in names)

    def use_file(self, name: str, purpose: str) -> Path:
        """Note the file as used, and return its path."""
        known = self.used.get(name)
        self.used[name] = purpose if known is None else f"{known}, {purpose}"
        return self.path_of(name)


class _Companions(NamedTuple):
    """The small files beside H(R)."""

    win: Win  # says nothing where there is no file
    chk: Chk | None


class _Shifting(NamedTuple):
    """Weights 1/ndegen and shifts, if there are any, by which blocks become operators."""

    degeneracies: Int[np.ndarray, " r"]
    open_shifts: Callable[[], Iterator[tuple[Cell, wsvec.Shifts]] | None]
    path: Path

    def assemble_operator(self, source: layout.Blocks) -> RealSpaceOperator:
        """Assemble one operator; read the shifts anew, so that nothing is held twice."""
        return assembly.assemble_operator(source, self.degeneracies, self.open_shifts(), self.path)


class _FileOperators(NamedTuple):
    """The operators of the main files, assembled."""

    path: Path
    header: Header
    raw: list[Cell]  # as in the file
    mesh: Mesh | None
    hamiltonian: RealSpaceOperator
    position: RealSpaceOperator | None
    shifting: _Shifting

    @property
    def is_folded(self) -> bool:
        """True if images hold their weights already."""
        mesh, weights = self.mesh, self.header.degeneracies
        return mesh is not None and assembly.is_folded(self.raw, weights, mesh)


class _Stated(NamedTuple):
    """Wannier centres and the file that states them."""

    path: Path
    centres: Float[np.ndarray, "n 3"]


class _Spin(NamedTuple):
    """The spin operator, where it is from, and |S² − 1| on the mesh."""

    operator: Complex[np.ndarray, "r 3 n n"] | Complex[np.ndarray, "3 n n"] | None
    origin: str
    square_deviation: float | None


class _Quality(NamedTuple):
    """Fields of the report about the operators: their deviations, and the origin of the spin."""

    hermiticity: float
    asymmetry: float | None
    mesh_mismatch: float | None
    square_deviation: float | None
    spin: str


def read_tables(
    seedname: str | PathLike[str], given: Given = _SILENT, progress: bool | None = None
) -> tuple[ModelArrays, Report]:
    """Read the arrays of a model, and report on them; see `examine`."""
    _check_order(given.spin_order)
    found = _Findings(str(seedname), given)
    main = _main_file(found)
    companions = _Companions(_read_win_file(found, main), _read_checkpoint(found))
    with ExitStack() as stack:
        advance = stack.enter_context(count_bytes(_total_bytes(found, main), "reading", progress))
        operators = _read_operators(found, main, companions, stack, advance)
        violation, asymmetry = _make_hermitian(found, operators)
        lattice = _find_lattice(found, operators, companions)
        centres = _find_centres(found, operators, companions, lattice)
        _check_images(found, operators, lattice, centres)
        mismatch = _mesh_mismatch(found, companions.chk, operators)
        _doubt_weights(found, operators, mismatch)
        sigma = _find_spin(found, companions, operators, centres)
    _check_state(found, companions.chk, sigma)
    position = _position_blocks(found, operators.position)
    cells, blocks = operators.hamiltonian.cells, operators.hamiltonian.blocks[:, 0]
    arrays = ModelArrays(lattice, cells, blocks, centres, sigma.operator, position)
    quality = _Quality(violation, asymmetry, mismatch, sigma.square_deviation, sigma.origin)
    return arrays, _make_report(found, companions.win, operators, arrays, quality)


def _check_order(order: SpinOrder | None) -> None:
    if order is not None:
        check_choice("spin_order", order, _ORDERS, "None")


def _make_report(
    found: _Findings,
    win: Win,
    operators: _FileOperators,
    arrays: ModelArrays,
    quality: _Quality,
) -> Report:
    volume = float(np.linalg.det(arrays.lattice))
    if volume < 0:
        found.notes.append("the cell is left-handed")
    bands = _read_bands(found, operators.header.size)
    return Report(
        used=tuple((found.path_of(name).name, use) for name, use in found.used.items()),
        absent=tuple(found.path_of(name).name for name in _NAMES if not found.has_files(name)),
        size=operators.header.size,
        lattice=arrays.lattice,
        volume=abs(volume),
        right_handed=volume > 0,
        cells_in_file=len(operators.raw),
        cells=len(arrays.cells),
        mesh=operators.mesh,
        points=float(np.sum(1 / operators.header.degeneracies)),
        path=win.path,
        bands=bands,
        atoms=win.atoms,
        notes=tuple(found.notes),
        warnings=tuple(found.warnings),
        **quality._asdict(),
    )


def _main_file(found: _Findings) -> str:
    for name in ("_tb.dat", "_hr.dat"):
        if found.has_files(name):
            return name
    raise FileNotFoundError(
        f"No {found.path_of('_tb.dat')} and no {found.path_of('_hr.dat')}: run Wannier90 with "
        "`write_tb = true` or `write_hr = true`, and give the seedname without an ending."
    )


def _read_win_file(found: _Findings, main: str) -> Win:
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


def _read_checkpoint(found: _Findings) -> Chk | None:
    name = next((name for name in (".chk", ".chk.fmt") if found.has_files(name)), None)
    if name is None:
        return None
    chk = read_chk(found.use_file(name, "checkpoint"))
    if chk.surplus:
        found.warnings.append(f"{chk.path.name} has one record more than a checkpoint, not used")
    return chk


def _find_mesh(found: _Findings, companions: _Companions) -> Mesh | None:
    stated = {}
    if companions.win.mesh is not None:
        stated[found.path_of(".win")] = companions.win.mesh
    if companions.chk is not None:
        stated[companions.chk.path] = companions.chk.mesh
    if len(set(stated.values())) > 1:
        raise _disagreement_error("mesh", stated)
    return next(iter(stated.values()), None)


def _disagreement_error(what: str, values: dict[Path, object]) -> ValueError:
    listed = " and ".join(f"{value} in {path}" for path, value in values.items())
    return ValueError(f"The {what} must be the same in all files, but is {listed}.")


def _total_bytes(found: _Findings, main: str) -> int:
    """Number of bytes to be read: the shifts once for each operator."""
    names = [main, "_r.dat"] if main == "_hr.dat" else [main]
    names += ["_wsvec.dat", "_wsvec.dat"]
    return sum(text_size(found.path_of(name)) for name in names if found.has_files(name))


def _check_size(path: Path, size: int, companions: _Companions) -> None:
    """Check that the number of Wannier functions is that of other files."""
    win, chk = companions
    stated = {".win": win.size}
    if chk is not None:
        stated[chk.path.name] = chk.states.shape[2]
    for name, other in stated.items():
        if other not in (None, size):
            raise file_error(path, None, f"for {other} Wannier functions, as {name}", size)


def _read_operators(
    found: _Findings, main: str, companions: _Companions, stack: ExitStack, advance: Advance
) -> _FileOperators:
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
    return _FileOperators(path, header, raw, mesh, hamiltonian, position, shifting)


def _note_cells(source: layout.Blocks, cells: list[Cell]) -> layout.Blocks:
    """Yield the same blocks, and append their cells to a list."""
    for cell, block in source:
        cells.append(cell)
        yield cell, block


def _find_shifting(found: _Findings, header: Header, advance: Advance) -> _Shifting:
    path = found.path_of("_wsvec.dat")
    if not found.has_files("_wsvec.dat"):
        return _Shifting(header.degeneracies, lambda: None, path)
    found.use_file("_wsvec.dat", "shifts to the closest images")

    def read_shifts():
        with Lines(path, advance) as lines:
            yield from wsvec.read_shifts(lines, header.size)

    return _Shifting(header.degeneracies, read_shifts, path)


def _make_hermitian(found: _Findings, operators: _FileOperators) -> tuple[float, float | None]:
    """Make H and r Hermitian; return the deviations from X(−R) = X(R)†, of H in eV, of r in Å."""
    violation, cell = assembly.make_hermitian(operators.hamiltonian)
    if violation > _BROKEN:
        expected = f"a Hamiltonian with H(-R) = H(R)^dagger within {_BROKEN} eV"
        raise file_error(operators.path, None, expected, f"off by {violation:.3g} eV at R = {cell}")
    if violation > _ROUNDED:
        found.notes.append(f"H(-R) = H(R)^dagger was off by {violation:.2g} eV at R = {cell}")
    if operators.position is None:
        return violation, None
    asymmetry, cell = assembly.make_hermitian(operators.position)
    if asymmetry > _ASYMMETRIC:
        found.warnings.append(
            f"r(-R) = r(R)^dagger was off by {asymmetry:.2g} Angstrom at R = {cell}: the ab initio "
            "mesh is too coarse for the position operator"
        )
    return violation, asymmetry


def _find_lattice(
    found: _Findings, operators: _FileOperators, companions: _Companions
) -> Float[np.ndarray, "3 3"]:
    """Find the lattice in the first file that has it; all that have it must agree."""
    stated: dict[Path, Any] = {operators.path: operators.header.lattice}
    stated[found.path_of(".win")] = companions.win.lattice
    if companions.chk is not None:
        stated[companions.chk.path] = companions.chk.lattice
    if found.has_files(".wout"):
        stated[found.use_file(".wout", "lattice")] = geometry.wout_lattice(found.path_of(".wout"))
    stated[Path("argument `lattice`")] = found.given.lattice
    stated = {path: value for path, value in stated.items() if value is not None}
    if not stated:
        raise ValueError(
            f"{operators.path}: must come with a file that has the lattice: "
            f"{found.path_of('.win')} (block unit_cell_cart), {found.path_of('.chk')}, "
            f"{found.path_of('.wout')}, or {found.path_of('_tb.dat')} instead; none has it. "
            "Or give `lattice`, three vectors as rows, Angstrom."
        )
    (first, lattice), *others = stated.items()
    for path, other in others:
        if np.max(np.abs(other - lattice)) > _SAME_LATTICE:
            raise _disagreement_error("lattice", {first: lattice.tolist(), path: other.tolist()})
    if not spans_volume(lattice):
        raise file_error(first, None, "a lattice that spans a volume", lattice.tolist())
    return lattice


def _find_centres(
    found: _Findings,
    operators: _FileOperators,
    companions: _Companions,
    lattice: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "n 3"]:
    """Find the Wannier centres: the diagonal of r, else those of `.chk` before others.

    The checkpoint must be of the same run, so that its centres must be those of the other files.
    """
    chk, size = companions.chk, operators.header.size
    stated = _diagonal_of_r(found, operators) or _printed_centres(found, companions, size)
    if chk is not None and stated is not None:
        _check_centres(stated, chk.path, chk.centres, lattice)
    if found.given.centres is not None:
        return _check_given_centres(found.given.centres, stated, size, lattice)
    if chk is not None and operators.position is None:
        found.use_file(chk.path.name.removeprefix(Path(found.seed).name), "centres")
        return chk.centres
    if stated is None:
        raise ValueError(
            f"{operators.path}: must come with a file that has the Wannier centres: "
            f"{found.path_of('_r.dat')}, {found.path_of('.chk')}, "
            f"{found.path_of('.wout')} (a final state), {found.path_of('_centres.xyz')}, "
            f"or {found.path_of('_tb.dat')} instead; none has them. Or give `centres`, one row for "
            "each Wannier function, Angstrom, Cartesian."
        )
    return stated.centres


def _check_given_centres(
    centres: Float[np.ndarray, "n 3"],
    stated: _Stated | None,
    size: int,
    lattice: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "n 3"]:
    """The centres of the argument, which must be as many, and those of the files."""
    check_shape("centres", centres, (size, 3))
    if stated is not None:
        _check_centres(stated, Path("argument `centres`"), centres, lattice)
    return centres if stated is None else stated.centres


def _diagonal_of_r(found: _Findings, operators: _FileOperators) -> _Stated | None:
    if operators.position is None:
        return None
    home = operators.position.cells.index((0, 0, 0))
    centres = np.real(np.einsum("cnn->nc", operators.position.blocks[home]))
    tb = operators.path == found.path_of("_tb.dat")
    return _Stated(operators.path if tb else found.path_of("_r.dat"), centres)


def _printed_centres(found: _Findings, companions: _Companions, size: int) -> _Stated | None:
    """The centres of `.wout`, else of `_centres.xyz`; with `.chk` they are only compared."""
    win, chk = companions
    purpose = "centres" if chk is None else "check of the centres"
    if found.has_files(".wout"):
        centres = geometry.wout_centres(found.path_of(".wout"), size)
        if centres is not None:
            return _Stated(found.use_file(".wout", purpose), centres)
    if not found.has_files("_centres.xyz"):
        return None
    path = found.use_file("_centres.xyz", purpose)
    if chk is None and win.home_cell:
        expected = (
            f"of a run without `translate_home_cell = true` in {found.path_of('.win')}, which "
            f"moves the centres in this file but not H(R) (keep {found.path_of('.wout').name} or "
            f"{found.path_of('.chk').name}, which have them where H(R) has them)"
        )
        raise file_error(path, None, expected, "of one with it")
    return _Stated(path, geometry.read_centres(path, size))


def _check_centres(
    stated: _Stated,
    path: Path,
    centres: Float[np.ndarray, "n 3"],
    lattice: Float[np.ndarray, "3 3"],
) -> None:
    """Check that the centres of another source are these, modulo lattice vectors."""
    steps = (centres - stated.centres) @ np.linalg.inv(lattice)
    distances = np.linalg.norm((steps - np.rint(steps)) @ lattice, axis=1)
    n = int(np.argmax(distances))
    if distances[n] > _SAME_CENTRE:
        values = {stated.path: stated.centres[n].tolist(), path: centres[n].tolist()}
        what = f"centre of Wannier function {n + 1} modulo lattice vectors, Angstrom,"
        raise _disagreement_error(what, values)


def _position_blocks(
    found: _Findings, position: RealSpaceOperator | None
) -> Complex[np.ndarray, "r 3 n n"] | None:
    """r(R), or None where it is diagonal: it then says no more than the centres do."""
    if position is None or not _is_diagonal(position):
        return None if position is None else position.blocks
    found.notes.append("r(R) holds the centres and zeros: it is taken as diagonal")
    return None


def _is_diagonal(position: RealSpaceOperator) -> bool:
    """Tell if all elements but the diagonal in the home cell are exactly zero."""
    identity = np.eye(position.blocks.shape[-1], dtype=bool)
    return not any(
        np.any(block[:, ~identity] if cell == (0, 0, 0) else block)
        for cell, block in zip(position.cells, position.blocks, strict=True)
    )


def _check_images(
    found: _Findings,
    operators: _FileOperators,
    lattice: Float[np.ndarray, "3 3"],
    centres: Float[np.ndarray, "n 3"],
) -> None:
    """Warn where the mesh needs shifts and there is no file of them, or one with zeros only."""
    if any(any(shift) for shift in operators.hamiltonian.shifts) or operators.mesh is None:
        return
    worst = assembly.find_misplaced(operators.hamiltonian, lattice, centres, operators.mesh)
    if worst is not None:
        m, n = worst.orbitals
        path = found.path_of("_wsvec.dat")
        lack = f"no shifts but zero in {path}" if found.has_files("_wsvec.dat") else f"no {path}"
        found.warnings.append(
            f"{lack}, which this mesh needs: <0 {m}|H|R {n}> with "
            f"|H| = {worst.size:.3g} eV at R = {worst.cell} spans {worst.distance:.4g} Angstrom, "
            f"but a supercell image of it {worst.shortest:.4g} Angstrom, so that interpolated "
            "bands can be off by some such elements. Run Wannier90 with `use_ws_distance = true` "
            "and `write_hr = true` or `write_tb = true`, and keep the _wsvec.dat file"
        )


def _mesh_mismatch(found: _Findings, chk: Chk | None, operators: _FileOperators) -> float | None:
    """Largest difference of H(k) on the ab initio mesh, `.eig` and `.chk` against H(R), eV."""
    if chk is None or not found.has_files(".eig"):
        return None
    path = found.use_file(".eig", "check of H on the ab initio mesh")
    mismatch, k = spin.mesh_mismatch(chk, spin.read_eig(path, chk), operators.hamiltonian)
    if mismatch > _MISMATCH:
        raise file_error(
            path,
            None,
            f"of the same run as {chk.path.name} and {operators.path.name}, with the same H(k) "
            f"within {_MISMATCH} eV",
            f"off by {mismatch:.3g} eV at k-point {k + 1}",
        )
    return mismatch


def _doubt_weights(found: _Findings, operators: _FileOperators, mismatch: float | None) -> None:
    """Say so where images share their elements already, which only H(k) can show."""
    if not operators.is_folded:
        return
    text = f"every ndegen of {operators.path.name} is 1: its elements hold their weights already"
    if mismatch is None:
        found.warnings.append(
            f"{text}, if it is right; without {found.path_of('.eig').name} and "
            f"{found.path_of('.chk').name} H(k) on the mesh {operators.mesh} is not checked"
        )
    else:
        found.notes.append(text)


def _find_spin(
    found: _Findings,
    companions: _Companions,
    operators: _FileOperators,
    centres: Float[np.ndarray, "n 3"],
) -> _Spin:
    """Find the spin operator: from `.spn` where it can be used, else σ on each orbital."""
    order = found.given.spin_order
    spn = next((name for name in (".spn", ".spn.fmt") if found.has_files(name)), None)
    if order is None and spn is not None and companions.chk is not None:
        return _spin_of_bands(found, spn, companions.chk, operators)
    operator = _spin_without_bands(found, order, companions.win, operators, centres)
    if spn is not None and order is not None:
        found.notes.append(f"{found.path_of(spn).name} is not used: `spin_order` is given")
    elif spn is not None:
        found.warnings.append(
            f"{found.path_of(spn).name} is not used, for there is no {found.path_of('.chk').name}; "
            f"the spin operator is {operator.origin}"
        )
    return operator


def _spin_without_bands(
    found: _Findings,
    order: SpinOrder | None,
    win: Win,
    operators: _FileOperators,
    centres: Float[np.ndarray, "n 3"],
) -> _Spin:
    if order is None and win.spinors:
        detected = spin.detect_order(operators.hamiltonian, centres)
        return _spin_of_order(found, detected, "detected", operators, centres)
    if order is None or order == "unknown":
        return _Spin(None, "none: charge quantities only", None)
    return _spin_of_order(found, order, "given", operators, centres)


def _spin_of_bands(found: _Findings, spn: str, chk: Chk, operators: _FileOperators) -> _Spin:
    """The spin operator of the bands, in the Wannier functions of the checkpoint."""
    path, shifting = found.use_file(spn, "spin operator"), operators.shifting
    if operators.mesh is not None and operators.is_folded:
        images = assembly.count_images(operators.raw, operators.mesh)
        shifting = shifting._replace(degeneracies=images)
    if not found.has_files(".eig"):
        found.notes.append(
            f"no {found.path_of('.eig').name}: that the Wannier functions of {chk.path.name} are "
            "those of H(R) is not checked, but by their centres where another file has them"
        )
    on_mesh = spin.projected_spin(chk, path)
    deviation = spin.square_deviation(on_mesh)
    if deviation > _INCOMPLETE:
        found.warnings.append(
            f"the spin operator from {path.name} has |S^2 - 1| up to {deviation:.2g}: the "
            "Wannier functions do not hold both spins of all their states, or it is not in hbar/2"
        )
    operator = shifting.assemble_operator(spin.spin_blocks(chk, on_mesh, operators.raw))
    violation, cell = assembly.make_hermitian(operator)
    if violation > _ROUNDED:  # S(k) is Hermitian, so it can only be the shifts
        expected = "shifts with T for R, m, n and -T for -R, n, m"
        raise file_error(shifting.path, None, expected, f"others at R = {cell}")
    return _Spin(operator.blocks, f"{path.name} and {chk.path.name}", deviation)


def _spin_of_order(
    found: _Findings,
    order: str,
    how: str,
    operators: _FileOperators,
    centres: Float[np.ndarray, "n 3"],
) -> _Spin:
    """σ on each orbital."""
    _check_even(order, len(centres))
    measures = spin.order_measures(order, operators.hamiltonian, centres)
    if spin.unlike_partners(measures):
        found.warnings.append(
            f"in the order {order} the two spins of an orbital are unlike: "
            f"{spin.describe_measures(measures)}; spin quantities need a .spn file"
        )
    operator = _pure_spin(order, operators.hamiltonian.cells, centres)
    return _Spin(operator, f"σ on each orbital, order {order} ({how})", None)


def _check_state(found: _Findings, chk: Chk | None, sigma: _Spin) -> None:
    """Note that the run of the checkpoint has not ended; warn where the spin is from it."""
    if chk is None or chk.state == "postwann":
        return
    text = f"{chk.path.name} is of the state {chk.state!r}, not postwann"
    if sigma.square_deviation is None:
        found.notes.append(text)
    else:
        found.warnings.append(
            f"{text}: its Wannier functions, and with them the spin operator, may not be those "
            "of H(R)"
        )


def _check_even(order: str, size: int) -> None:
    if size % 2:
        raise ValueError(
            f"Argument `spin_order` must be 'unknown' or None for {size} Wannier functions, an odd "
            f"number, but is {order!r}."
        )


def _pure_spin(order: str, cells: list[Cell], centres: Float[np.ndarray, "n 3"]) -> np.ndarray:
    """Spin operator: local if both spins of each orbital share a place, else in the home cell."""
    local = spin.pure_spin(order, len(centres))
    if spin.partner_distance(order, centres) < _SAME_PLACE:
        return local
    return spin.home_only(local, cells)


def _read_bands(found: _Findings, size: int) -> geometry.PathBands | None:
    if not found.has_files("_band.dat", "_band.kpt"):
        return None
    points = found.use_file("_band.kpt", "path of the bands")
    return geometry.read_bands(found.use_file("_band.dat", "bands to compare"), points, size)
