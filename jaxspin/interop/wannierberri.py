"""Hopping models in WannierBerri, and a comparison of both codes at a few k-points.

Both put the centres of the orbitals into the Bloch phase and have the same signs of the Berry
curvature and of the spin Berry curvature with the current ½{σ, v} (its "simple" spin current).
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from jaxspin.engine.packages import require_package
from jaxspin.interop import wannier90
from jaxspin.interop.orbitals import check_hopping
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.tight_binding import HoppingModel
from jaxspin.responses.at_k import bands, berry_curvature, spin_berry_curvature

# Bands closer than this, eV, count as one group in the comparison. Both codes have a threshold of
# their own, which decides in between.
_GROUP = 1e-3


class Difference(NamedTuple):
    """The largest difference of one quantity between the two codes, and its largest value."""

    quantity: str
    units: str
    difference: float
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.quantity}: largest difference {self.difference:.1e} {self.units}, "
            f"of values up to {self.largest:.3g} {self.units}"
        )


def to_wannierberri(model: HoppingModel) -> Any:
    """The `System_R` of WannierBerri with the same H(R), position elements and spin operator.

    Raises:
        ImportError: WannierBerri is not installed.
        ValueError: the model is no HoppingModel, or not three-dimensional.
    """
    check_hopping(model)
    system = _load_package("wannierberri.system", "to_wannierberri")
    with tempfile.TemporaryDirectory() as folder, _silence_output():
        seed = Path(folder) / "model"
        wannier90.write(model, seed)
        found = system.System_R.from_tb_file(f"{seed}_tb.dat", berry=model.external_terms)
    if model.spin_operator is not None:
        found.set_R_mat("SS", _spin_blocks(model, found.rvec.iRvec))
    return found


def compare(model: HoppingModel, k: ArrayLike) -> list[Difference]:
    """Compare energies, Berry curvature and spin Berry curvature by both codes.

    The curvatures are sums over groups of bands closer than 1 meV, at which neither code's own
    threshold for degenerate bands matters. The Berry curvature is without what comes from states
    beyond the bands where the model has no position elements; with them, in full.

    Args:
        k: reduced coordinates, (K, 3).
    Returns:
        One `Difference` for each quantity; the last only for a model with a spin operator.
    Raises:
        ImportError: WannierBerri is not installed.
        ValueError: the model is no HoppingModel, or not three-dimensional.
    """
    k = np.atleast_2d(np.asarray(k, float))
    system = to_wannierberri(model)
    theirs = [_evaluate_theirs(model, system, point) for point in k]
    cartesian = k @ np.asarray(reciprocal_vectors(model.lattice))
    energies = np.asarray(bands(model, cartesian).energies)
    groups = _group_bands(energies)
    pairs = [("energies", "eV", energies, np.array([t["energies"] for t in theirs]))]
    curvature = np.asarray(berry_curvature(model, cartesian))
    vector = curvature[..., [1, 2, 0], [2, 0, 1]]
    summed = lambda x: _sum_groups(groups, x)  # noqa: E731
    their_vector = np.array([t["curvature"] for t in theirs])
    pairs.append(("Berry curvature", "Å²", summed(vector), summed(their_vector)))
    if model.spin_operator is not None:
        spin = np.asarray(spin_berry_curvature(model, cartesian, definition="conventional"))
        their_spin = np.array([t["spin"] for t in theirs])
        pairs.append(("spin Berry curvature", "Å²", summed(spin), summed(their_spin)))
    return [
        Difference(name, unit, float(np.max(np.abs(a - b))), float(np.max(np.abs(b))))
        for name, unit, a, b in pairs
    ]


def _evaluate_theirs(
    model: HoppingModel, system: Any, k: Float[np.ndarray, " 3"]
) -> dict[str, np.ndarray]:
    """Evaluate energies and curvatures of each band by WannierBerri at one k."""
    wb = _load_package("wannierberri", "compare")
    tabulate = wb.calculators.tabulate
    terms = {"external_terms": model.external_terms}
    calculators = {"curvature": tabulate.BerryCurvature(kwargs_formula=terms)}
    if model.spin_operator is not None:
        kind = {"spin_current_type": "simple", **terms}
        calculators["spin"] = tabulate.SpinBerry(kwargs_formula=kind)
    with _silence_output():
        found = wb.evaluate_k(system, k=k, quantities=["energy"], calculators=calculators)
    values = {name: found[name].data[0] for name in calculators}
    return {"energies": found["energy"], **values}


def _spin_blocks(model: HoppingModel, cells: np.ndarray) -> np.ndarray:
    """S(R), (cell, n, n, 3)."""
    spin = np.asarray(model.spin_operator)
    index = {cell: i for i, cell in enumerate(model.cells)}
    blocks = np.zeros((len(cells), *spin.shape[-3:]), complex)
    for block, cell in zip(blocks, map(tuple, np.asarray(cells).tolist()), strict=True):
        if spin.ndim == 4:
            block[:] = spin[index[cell]]
        elif not any(cell):
            block[:] = spin
    return np.moveaxis(blocks, 1, -1)


def _group_bands(energies: Float[np.ndarray, "K n"]) -> Bool[np.ndarray, "K n n"]:
    """Pairs of bands in one group, a chain of neighbours."""
    label = np.concatenate(
        [np.zeros_like(energies[:, :1]), np.cumsum(np.diff(energies, axis=1) > _GROUP, axis=1)],
        axis=1,
    )
    return label[:, :, None] == label[:, None, :]


def _sum_groups(groups: Bool[np.ndarray, "K n n"], values: np.ndarray) -> np.ndarray:
    return np.einsum("kmn,kn...->km...", groups, values)


def _load_package(name: str, caller: str) -> ModuleType:
    with _silence_output():  # it says on import which optional packages it has not found
        return require_package(name, caller, "wannierberri[default]")


@contextlib.contextmanager
def _silence_output() -> Iterator[None]:
    """Suppress the output of WannierBerri."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
