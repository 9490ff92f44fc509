"""The lattice and the Wannier centres, in the files that have them, and the images of elements."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxspin.engine.validate import check_shape, spans_volume
from jaxspin.interop.wannier90 import assembly, geometry
from jaxspin.interop.wannier90.findings import (
    Companions,
    FileOperators,
    Findings,
    disagreement_error,
)
from jaxspin.interop.wannier90.text import file_error

_SAME_LATTICE = 1e-4  # Å; .wout has six decimals, constants for the bohr differ by 1e-7
# Å, as between r and the centres of models; different formulas for a centre differ by 1e-4, those
# of other runs by tenths
_SAME_CENTRE = 1e-2


class _Stated(NamedTuple):
    """Wannier centres and the file that states them."""

    path: Path
    centres: Float[np.ndarray, "n 3"]


def find_lattice(
    found: Findings, operators: FileOperators, companions: Companions
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
            raise disagreement_error("lattice", {first: lattice.tolist(), path: other.tolist()})
    if not spans_volume(lattice):
        raise file_error(first, None, "a lattice that spans a volume", lattice.tolist())
    return lattice


def find_centres(
    found: Findings,
    operators: FileOperators,
    companions: Companions,
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


def _diagonal_of_r(found: Findings, operators: FileOperators) -> _Stated | None:
    if operators.position is None:
        return None
    home = operators.position.cells.index((0, 0, 0))
    centres = np.real(np.einsum("cnn->nc", operators.position.blocks[home]))
    tb = operators.path == found.path_of("_tb.dat")
    return _Stated(operators.path if tb else found.path_of("_r.dat"), centres)


def _printed_centres(found: Findings, companions: Companions, size: int) -> _Stated | None:
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
        raise disagreement_error(what, values)


def check_images(
    found: Findings,
    operators: FileOperators,
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
