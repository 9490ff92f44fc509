"""Wannier90: real materials as `HoppingModel`, and models as Wannier90 files.

`read(seedname)` gives the model, `examine(seedname)` also the report on the files it is from, and
`write(model, seedname)` the `_tb.dat` file of a model.
"""

from os import PathLike
from typing import NamedTuple

from jaxspin.engine.terminal import warn_user
from jaxspin.interop.wannier90.geometry import PathBands as PathBands, PathPoint as PathPoint
from jaxspin.interop.wannier90.report import Report as Report
from jaxspin.interop.wannier90.seed import (
    ModelArrays as _ModelArrays,
    SpinOrder as SpinOrder,
    read_tables,
)
from jaxspin.interop.wannier90.write import write as write
from jaxspin.models.tight_binding import HoppingModel


class Examined(NamedTuple):
    """A model and the report on the files it is from."""

    model: HoppingModel
    report: Report


def read(
    seedname: str | PathLike[str],
    *,
    spin_order: SpinOrder | None = None,
    progress: bool | None = None,
) -> HoppingModel:
    """The model of the Wannier90 files of a seedname; `examine` without its report."""
    return _examine_with_warnings(seedname, spin_order, progress).model


def examine(
    seedname: str | PathLike[str],
    *,
    spin_order: SpinOrder | None = None,
    progress: bool | None = None,
) -> Examined:
    """The model of the Wannier90 files of a seedname, and what was found in them.

    H(R) and r(R) are from `_tb.dat`, else H(R) from `_hr.dat` and r(R) from `_r.dat`; divided by
    ndegen, and shifted to their closest images by `_wsvec.dat`. The lattice and the centres are
    from `_tb.dat`, else from `.win`, `.chk`, `.wout`, `_centres.xyz`. The spin operator is from
    `.chk` and `.spn` (formatted or not); without `.spn` it is σ on each orbital where `.win` says
    `spinors = true`, in the order that fits H(R).

    Files are read once, block by block; beside the model itself a few blocks are in memory, and
    with `.spn` the spin operator on the ab initio mesh.

    Parameters:
        seedname: path and name of the files without their endings, "folder/Pt".
        spin_order: "interlaced" (up, down, up, down, ...) or "block" (up, up, ..., down, down,
            ...) for pure-spin Wannier functions, even where there is a `.spn` file; "unknown" for
            a model without spin operator; None for what the files say.
        progress: whether to show a progress bar; None for "only where standard error is a
            terminal".
    Raises:
        FileNotFoundError: there is neither `_tb.dat` nor `_hr.dat`.
        ValueError: a file is damaged, or files contradict each other; the message names them. Or
            the order of the spins is not clear.
    """
    return _examine_with_warnings(seedname, spin_order, progress)


def _examine_with_warnings(
    seedname: str | PathLike[str], spin_order: SpinOrder | None, progress: bool | None
) -> Examined:
    """Run `examine` with warnings at the line of the user's code."""
    arrays, report = read_tables(seedname, spin_order, progress)
    for text in report.warnings:
        warn_user(text)
    return Examined(_make_model(arrays), report)


def _make_model(arrays: _ModelArrays) -> HoppingModel:
    return HoppingModel(
        lattice=arrays.lattice,
        cells=arrays.cells,
        blocks=arrays.blocks,
        centres=arrays.centres,
        spin=arrays.spin,
        position=arrays.position,
    )
