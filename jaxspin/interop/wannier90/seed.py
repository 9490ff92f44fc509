"""Contents of the files of a seedname, as arrays that have been checked.

`read_tables` is all of the reading; `read` and `examine` only make a model of what it returns.
"""

from contextlib import ExitStack
from os import PathLike
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from jaxspin.engine.progress import count_bytes
from jaxspin.interop.wannier90 import assembly, geometry, spin
from jaxspin.interop.wannier90.assembly import RealSpaceOperator
from jaxspin.interop.wannier90.chk import Chk
from jaxspin.interop.wannier90.findings import ROUNDED, Companions, FileOperators, Findings, Given
from jaxspin.interop.wannier90.geometry import Win
from jaxspin.interop.wannier90.places import check_images, find_centres, find_lattice
from jaxspin.interop.wannier90.report import Report
from jaxspin.interop.wannier90.sources import (
    main_file,
    read_checkpoint,
    read_operators,
    read_win_file,
    total_bytes,
)
from jaxspin.interop.wannier90.spin_sources import check_order, check_state, find_spin
from jaxspin.interop.wannier90.text import Cell, file_error

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
_BROKEN = 1e-3  # eV; |H(R) − H(−R)†| that is an error
_ASYMMETRIC = 0.5  # Å; of r(R) on honest meshes it is some hundredths
_MISMATCH = 1e-3  # eV; between H(k) of .eig and of H(R)
_SILENT = Given()


class ModelArrays(NamedTuple):
    """Arrays of which a `HoppingModel` is made."""

    lattice: Float[np.ndarray, "3 3"]
    cells: list[Cell]
    blocks: Complex[np.ndarray, "r n n"]
    centres: Float[np.ndarray, "n 3"]
    spin: Complex[np.ndarray, "r 3 n n"] | Complex[np.ndarray, "3 n n"] | None
    position: Complex[np.ndarray, "r 3 n n"] | None


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
    check_order(given.spin_order)
    found = Findings(str(seedname), given)
    main = main_file(found)
    companions = Companions(read_win_file(found, main), read_checkpoint(found))
    with ExitStack() as stack:
        advance = stack.enter_context(count_bytes(total_bytes(found, main), "reading", progress))
        operators = read_operators(found, main, companions, stack, advance)
        violation, asymmetry = _make_hermitian(found, operators)
        lattice = find_lattice(found, operators, companions)
        centres = find_centres(found, operators, companions, lattice)
        check_images(found, operators, lattice, centres)
        mismatch = _mesh_mismatch(found, companions.chk, operators)
        _doubt_weights(found, operators, mismatch)
        sigma = find_spin(found, companions, operators, centres)
    check_state(found, companions.chk, sigma)
    position = _position_blocks(found, operators.position)
    cells, blocks = operators.hamiltonian.cells, operators.hamiltonian.blocks[:, 0]
    arrays = ModelArrays(lattice, cells, blocks, centres, sigma.operator, position)
    quality = _Quality(violation, asymmetry, mismatch, sigma.square_deviation, sigma.origin)
    return arrays, _make_report(found, companions.win, operators, arrays, quality)


def _make_report(
    found: Findings,
    win: Win,
    operators: FileOperators,
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


def _make_hermitian(found: Findings, operators: FileOperators) -> tuple[float, float | None]:
    """Make H and r Hermitian; return the deviations from X(−R) = X(R)†, of H in eV, of r in Å."""
    violation, cell = assembly.make_hermitian(operators.hamiltonian)
    if violation > _BROKEN:
        expected = f"a Hamiltonian with H(-R) = H(R)^dagger within {_BROKEN} eV"
        raise file_error(operators.path, None, expected, f"off by {violation:.3g} eV at R = {cell}")
    if violation > ROUNDED:
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


def _position_blocks(
    found: Findings, position: RealSpaceOperator | None
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


def _mesh_mismatch(found: Findings, chk: Chk | None, operators: FileOperators) -> float | None:
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


def _doubt_weights(found: Findings, operators: FileOperators, mismatch: float | None) -> None:
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


def _read_bands(found: Findings, size: int) -> geometry.PathBands | None:
    if not found.has_files("_band.dat", "_band.kpt"):
        return None
    points = found.use_file("_band.kpt", "path of the bands")
    return geometry.read_bands(found.use_file("_band.dat", "bands to compare"), points, size)
