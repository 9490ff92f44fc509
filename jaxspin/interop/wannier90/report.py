"""Report on the files of a seedname: their contents and their quality."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxspin.engine.terminal import printable
from jaxspin.interop.wannier90.geometry import Atoms, PathBands, PathPoint


@dataclass(frozen=True)
class Report:
    """Report of `examine`; prints itself.

    Parameters:
        used: the files that were read and what for.
        absent: the names that were looked for and not found.
        size: number of Wannier functions.
        lattice: lattice vectors as rows, Å.
        volume: of the cell, Å³, positive; `right_handed` is its orientation.
        cells_in_file, cells: number of cells R before and after the shifts of `_wsvec.dat`.
        mesh: the ab initio mesh, None where nothing says it.
        points: Σ 1/ndegen, the number of its points.
        hermiticity: largest |H(R) − H(−R)†| before it was removed, eV.
        asymmetry: largest |r(R) − r(−R)†| before it was removed, Å; None without r.
        spin: where the spin operator is from.
        square_deviation: largest |S_i² − 1| on the mesh, None where S is not from `.spn`.
        mesh_mismatch: largest difference of H(k) on the mesh from `.eig` and `.chk`, eV, or None.
        path: pieces of the k-path of `.win`, two labelled points each, or None.
        bands: the band structure that Wannier90 wrote along it, or None.
        atoms: those of `.win`, or None.
        notes, warnings: what else is worth knowing; `examine` also warns of the latter.
    """

    used: tuple[tuple[str, str], ...]
    absent: tuple[str, ...]
    size: int
    lattice: Float[np.ndarray, "3 3"]
    volume: float
    right_handed: bool
    cells_in_file: int
    cells: int
    mesh: tuple[int, int, int] | None
    points: float
    hermiticity: float
    asymmetry: float | None
    spin: str
    square_deviation: float | None
    mesh_mismatch: float | None
    path: tuple[tuple[PathPoint, PathPoint], ...] | None
    bands: PathBands | None
    atoms: Atoms | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        width = max(len(label) for label, _ in self._report_rows())
        rows = [f"{label:<{width}}  {text}".rstrip() for label, text in self._report_rows()]
        return printable("\n".join(rows))

    def _report_rows(self) -> list[tuple[str, str]]:
        rows = _label_rows("files", [f"{name}: {use}" for name, use in self.used])
        rows += [("not found", ", ".join(self.absent))] if self.absent else []
        rows += [("Wannier functions", str(self.size))]
        rows += _label_rows("lattice, Å", [" ".join(f"{x:12.7f}" for x in a) for a in self.lattice])
        hand = "right-handed" if self.right_handed else "left-handed"
        rows += [("cell volume", f"{self.volume:.6g} Å³, {hand}")]
        rows += [("cells", f"{self.cells_in_file} in the file, {self.cells} with their shifts")]
        mesh = "unknown" if self.mesh is None else " × ".join(map(str, self.mesh))
        rows += [("ab initio mesh", f"{mesh}; Σ 1/ndegen = {self.points:.6g}")]
        rows += [("|H(R) − H(−R)†|", f"up to {self.hermiticity:.2g} eV, removed")]
        if self.asymmetry is not None:
            rows += [("|r(R) − r(−R)†|", f"up to {self.asymmetry:.2g} Å, removed")]
        if self.mesh_mismatch is not None:
            rows += [("H(k) from .eig", f"differs by up to {self.mesh_mismatch:.2g} eV")]
        rows += [("spin operator", self.spin)]
        if self.square_deviation is not None:
            rows += [("|S² − 1|", f"up to {self.square_deviation:.2g}")]
        if self.path is not None:
            rows += [("path", ", ".join(f"{a.label}–{b.label}" for a, b in self.path))]
        if self.bands is not None:
            rows += [("bands to compare", f"{len(self.bands.k)} k-points")]
        return rows + _label_rows("note", self.notes) + _label_rows("warning", self.warnings)


def _label_rows(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(label if i == 0 else "", text) for i, text in enumerate(texts)]
