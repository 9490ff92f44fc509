"""Tight-binding models to and from TBmodels.

H(k) is the matrix of `model.hamilton(k, convention=1)`, with the positions of the orbitals in the
Bloch phase. Lengths and energies keep their numbers: give TBmodels' unit cell in Å and its
energies in eV.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Complex
from numpy.typing import ArrayLike

from jaxspin.engine.packages import require_package
from jaxspin.engine.validate import check_type
from jaxspin.interop.orbitals import Cell, hermitian_blocks, with_conjugates
from jaxspin.models.tight_binding import HoppingModel


def from_tbmodels(model: Any, *, spin: ArrayLike | None = None) -> HoppingModel:
    """The model H(k) of a TBmodels model in 1, 2 or 3 dimensions.

    Parameters:
        model: `tbmodels.Model` with a unit cell, or the path of the HDF5 file of one.
        spin: spin operator (3, n, n) in units of ħ/2, in the order of the model's orbitals:
            TBmodels has none. None for orbitals without spin.
    Raises:
        ImportError: TBmodels is not installed.
        ValueError: `model` is something else or has no unit cell; `spin` has another shape or
            couples orbitals at different places.
    """
    tbmodels = require_package("tbmodels", "from_tbmodels")
    if isinstance(model, str | Path):
        model = tbmodels.io.load(str(model))
    check_type("model", model, tbmodels.Model, "a `tbmodels.Model` or the path of its HDF5 file")
    if model.uc is None:
        raise ValueError(
            "Argument `model` must have a unit cell, but has none; set its `uc` to the lattice "
            "vectors, as rows in Angstrom."
        )
    blocks = _complete_blocks(model)
    return HoppingModel(
        lattice=model.uc,
        cells=list(blocks),
        blocks=np.array(list(blocks.values())),
        centres=model.pos @ model.uc,
        spin=spin,
    )


def to_tbmodels(model: HoppingModel) -> Any:
    """The TBmodels model with the same H(k).

    TBmodels moves the orbitals into the home cell, and the hops with them, which leaves H(k) as it
    is. A spin operator stays behind: give `model.spin()` to `from_tbmodels` on the way back.

    Returns:
        `tbmodels.Model`, which `tbmodels.io.save` writes to an HDF5 file. Its number of occupied
        states is not set.
    Raises:
        ImportError: TBmodels is not installed.
        ValueError: the model is no HoppingModel, or has matrix elements of the position or a spin
            operator that is not local.
    """
    tbmodels = require_package("tbmodels", "to_tbmodels")
    blocks, lattice = hermitian_blocks(model), np.asarray(model.vectors)
    return tbmodels.Model(
        hop=blocks, pos=np.asarray(model.centres) @ np.linalg.inv(lattice), uc=lattice
    )


def _complete_blocks(model: Any) -> dict[Cell, Complex[np.ndarray, "n n"]]:
    """H(R) of each cell R, from the half that TBmodels keeps."""
    one = np.eye(model.size)  # times this, a sparse matrix is a dense one
    home = {(0,) * model.dim: np.zeros((model.size, model.size), complex)}
    half = {tuple(int(c) for c in R): matrix @ one for R, matrix in model.hop.items()}
    return with_conjugates(home | half)
