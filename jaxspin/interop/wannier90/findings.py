"""What the reading of a seedname finds: the files there are, and their contents so far."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxspin.interop.wannier90 import assembly, hamiltonian as layout, wsvec
from jaxspin.interop.wannier90.assembly import Mesh, RealSpaceOperator
from jaxspin.interop.wannier90.chk import Chk
from jaxspin.interop.wannier90.geometry import Win
from jaxspin.interop.wannier90.hamiltonian import Header
from jaxspin.interop.wannier90.text import Cell

#: What a user can say about the order of pure-spin Wannier functions.
SpinOrder = Literal["interlaced", "block", "unknown"]
#: |X(R) − X(−R)†| that is worth a note, in eV for H.
ROUNDED = 1e-5


class Given(NamedTuple):
    """What a user says beside the files; None for what they say themselves."""

    spin_order: SpinOrder | None = None
    lattice: Float[np.ndarray, "3 3"] | None = None
    centres: Float[np.ndarray, "n 3"] | None = None


@dataclass
class Findings:
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


class Companions(NamedTuple):
    """The small files beside H(R)."""

    win: Win  # says nothing where there is no file
    chk: Chk | None


class Shifting(NamedTuple):
    """Weights 1/ndegen and shifts, if there are any, by which blocks become operators."""

    degeneracies: Int[np.ndarray, " r"]
    open_shifts: Callable[[], Iterator[tuple[Cell, wsvec.Shifts]] | None]
    path: Path

    def assemble_operator(self, source: layout.Blocks) -> RealSpaceOperator:
        """Assemble one operator; read the shifts anew, so that nothing is held twice."""
        return assembly.assemble_operator(source, self.degeneracies, self.open_shifts(), self.path)


class FileOperators(NamedTuple):
    """The operators of the main files, assembled."""

    path: Path
    header: Header
    raw: list[Cell]  # as in the file
    mesh: Mesh | None
    hamiltonian: RealSpaceOperator
    position: RealSpaceOperator | None
    shifting: Shifting

    @property
    def is_folded(self) -> bool:
        """True if images hold their weights already."""
        mesh, weights = self.mesh, self.header.degeneracies
        return mesh is not None and assembly.is_folded(self.raw, weights, mesh)


def disagreement_error(what: str, values: dict[Path, object]) -> ValueError:
    """Return the error about files that contradict each other."""
    listed = " and ".join(f"{value} in {path}" for path, value in values.items())
    return ValueError(f"The {what} must be the same in all files, but is {listed}.")
