"""Wannier90: real materials as `HoppingModel`, and models as Wannier90 files.

`read(seedname)` gives the model, `examine(seedname)` also the report on the files it is from,
`write(model, seedname)` the `_tb.dat` file of a model, and `crystal_group(report)` the group of its
crystal.
"""

from dataclasses import replace
from os import PathLike
from typing import Literal, NamedTuple

from jaxtyping import ArrayLike

from jaxspin.engine.terminal import warn_user
from jaxspin.engine.validate import as_numbers, check_finite, check_shape, check_type
from jaxspin.interop.wannier90.findings import Given as _Given, SpinOrder as SpinOrder
from jaxspin.interop.wannier90.geometry import (
    Atoms as Atoms,
    PathBands as PathBands,
    PathPoint as PathPoint,
)
from jaxspin.interop.wannier90.report import Report as Report
from jaxspin.interop.wannier90.seed import (
    ModelArrays as _ModelArrays,
    read_tables,
)
from jaxspin.interop.wannier90.write import write as write
from jaxspin.models.tight_binding import HoppingModel
from jaxspin.symmetry.crystals import of_crystal
from jaxspin.symmetry.groups import PointGroup
from jaxspin.symmetry.symmetrised import symmetrised


class Examined(NamedTuple):
    """A model and the report on the files it is from."""

    model: HoppingModel
    report: Report


def read(
    seedname: str | PathLike[str],
    *,
    lattice: ArrayLike | None = None,
    centres: ArrayLike | None = None,
    spin_order: SpinOrder | None = None,
    symmetrise: PointGroup | Literal["auto"] | None = None,
    progress: bool | None = None,
) -> HoppingModel:
    """The model of the Wannier90 files of a seedname; `examine` without its report."""
    given = _as_given(spin_order, lattice, centres)
    return _examine_with_warnings(seedname, given, symmetrise, progress).model


def examine(
    seedname: str | PathLike[str],
    *,
    lattice: ArrayLike | None = None,
    centres: ArrayLike | None = None,
    spin_order: SpinOrder | None = None,
    symmetrise: PointGroup | Literal["auto"] | None = None,
    progress: bool | None = None,
) -> Examined:
    """The model of the Wannier90 files of a seedname, and what was found in them.

    H(R) and r(R) are from `_tb.dat`, else H(R) from `_hr.dat` and r(R) from `_r.dat`; divided by
    ndegen, and shifted to their closest images by `_wsvec.dat`. The lattice and the centres are
    from `_tb.dat`, else from `.win`, `.chk`, `.wout`, `_centres.xyz`. The spin operator is from
    `.chk` and `.spn` (formatted or not); without `.spn` it is σ on each orbital where `.win` says
    `spinors = true`, in the order that fits H(R).

    Elements belong where their lines say, in any order; texts may be gzipped (`_tb.dat.gz`). Where
    every ndegen is 1 on a mesh that has images, elements hold their weights already, as those that
    WannierBerri writes.

    Files are read once, block by block; beside the model itself a few blocks are in memory, and
    with `.spn` the spin operator on the ab initio mesh.

    Parameters:
        seedname: path and name of the files without their endings, "folder/Pt".
        lattice: lattice vectors as rows, Å, for an `_hr.dat` with no file that has them.
        centres: Wannier centres, Cartesian, Å, (n, 3), where no file has them.
        spin_order: "interlaced" (up, down, up, down, ...) or "block" (up, up, ..., down, down,
            ...) for pure-spin Wannier functions, even where there is a `.spn` file; "unknown" for
            a model without spin operator; None for what the files say.
        symmetrise: a group that the model is averaged over (`js.symmetrised`, with the atoms of
            `.win`), or "auto" for that of the crystal without magnetic moments, which no file
            holds; None for the model as it is.
        progress: whether to show a progress bar; None for "only where standard error is a
            terminal".
    Raises:
        FileNotFoundError: there is neither `_tb.dat` nor `_hr.dat`.
        ImportError: "auto" without spglib.
        ValueError: a file is damaged, or files contradict each other; the message names them. Or
            the order of the spins is not clear. Or the model cannot be symmetrised.
    """
    given = _as_given(spin_order, lattice, centres)
    return _examine_with_warnings(seedname, given, symmetrise, progress)


def crystal_group(report: Report) -> PointGroup | None:
    """The point group of the crystal without magnetic moments; None where `.win` has no atoms.

    Raises:
        ImportError: spglib is not installed.
    """
    if report.atoms is None:
        return None
    return of_crystal(report.lattice, report.atoms.positions, report.atoms.species)


def _as_given(
    spin_order: SpinOrder | None, lattice: ArrayLike | None, centres: ArrayLike | None
) -> _Given:
    rows = None if lattice is None else as_numbers("lattice", lattice, "of shape (3, 3)")
    places = None if centres is None else as_numbers("centres", centres, "of shape (n, 3)")
    for name, values in (("lattice", rows), ("centres", places)):
        if values is not None:
            check_shape(name, values, (3, 3) if name == "lattice" else ("n", 3))
            check_finite(name, values)
    return _Given(spin_order, rows, places)


def _examine_with_warnings(
    seedname: str | PathLike[str],
    given: _Given,
    symmetrise: PointGroup | Literal["auto"] | None,
    progress: bool | None,
) -> Examined:
    """Run `examine` with warnings at the line of the user's code."""
    if symmetrise is not None and symmetrise != "auto":
        check_type("symmetrise", symmetrise, PointGroup, "a group of jaxspin.symmetry or 'auto'")
    arrays, report = read_tables(seedname, given, progress)
    for text in report.warnings:
        warn_user(text)
    found = Examined(_make_model(arrays), report)
    return found if symmetrise is None else _symmetrise_model(found, symmetrise)


def _symmetrise_model(found: Examined, group: PointGroup | Literal["auto"]) -> Examined:
    """The model averaged over a group, where the files have no shifts with images by centres."""
    model, report = found
    chosen = crystal_group(report) if isinstance(group, str) else group
    if chosen is None:
        raise ValueError(
            "Argument `symmetrise` must be a group of jaxspin.symmetry where .win has no atoms, "
            "but is 'auto'."
        )
    shifted = any(name.endswith("_wsvec.dat") for name, _ in report.used)
    mesh = None if shifted else report.mesh
    positions = None if report.atoms is None else report.atoms.positions
    done = symmetrised(model, chosen, positions, mesh=mesh)
    notes = (*report.notes, *str(done.report).splitlines())
    return Examined(done.model, replace(report, notes=notes))


def _make_model(arrays: _ModelArrays) -> HoppingModel:
    return HoppingModel(
        lattice=arrays.lattice,
        cells=arrays.cells,
        blocks=arrays.blocks,
        centres=arrays.centres,
        spin=arrays.spin,
        position=arrays.position,
    )
