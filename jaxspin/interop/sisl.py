"""Tight-binding models to and from sisl.

H(k) is the matrix of `Hk(gauge="orbital")`, with the positions of the orbitals in the Bloch phase.
The orbitals of an atom sit at the atom. With spin the basis is (orbital 1 up, orbital 1 down,
orbital 2 up, ...). Both codes have Å and eV.

A sisl lattice has three vectors always. Those along which it is not periodic are no part of the
model: a sheet with vacuum around it is a model in two dimensions.
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from jaxspin.engine.packages import require_package
from jaxspin.engine.validate import check_type
from jaxspin.interop.orbitals import Cell, Orbitals, to_model, to_orbitals
from jaxspin.models.bloch_sums import opposite
from jaxspin.models.tight_binding import HoppingModel

# Å: a component of a lattice vector below this is zero. The digits of files of lattice vectors.
_FLAT = 1e-6
# Å: the vector that sisl gets for a direction which the model does not have. It enters no result.
_VACUUM = 20.0
# The order of sisl's complex spin-orbit matrices: up up, down down, up down, down up.
_SPIN_ORDER = ((0, 0), (1, 1), (0, 1), (1, 0))


class _Frame(NamedTuple):
    """Directions of a periodic crystal in sisl's three dimensions."""

    directions: list[int]  # the lattice vectors along which it is periodic
    axes: list[int]  # the Cartesian axes that these span


def from_sisl(hamiltonian: Any) -> HoppingModel:
    """The model H(k) of a sisl Hamiltonian, in as many dimensions as it has periodic directions.

    Without spin polarization the model is one without spin: each of its states stands for two. The
    spin operator of all others is σ on each orbital. Its components, unlike those of k, are along
    sisl's x, y, z always.

    Parameters:
        hamiltonian: `sisl.Hamiltonian` in an orthogonal basis, unpolarized, polarized,
            non-collinear or with spin-orbit coupling. `lattice.pbc` says where it is periodic;
            these lattice vectors must lie along a Cartesian axis or in a plane of two, for the
            coordinates along the others are dropped.
    Raises:
        ImportError: sisl is not installed.
        ValueError: `hamiltonian` is something else, has overlaps, is a Nambu Hamiltonian, is not
            Hermitian, is periodic nowhere, or along a direction without neighbouring cells, or in
            a tilted plane, or has hops along a direction that is not periodic.
    """
    sisl = require_package("sisl", "from_sisl")
    _check_kind(sisl, hamiltonian)
    geometry = hamiltonian.geometry
    frame = _find_frame(geometry.lattice)
    atoms = geometry.o2a(np.arange(geometry.no))
    return to_model(
        Orbitals(
            lattice=geometry.cell[np.ix_(frame.directions, frame.axes)],
            centres=geometry.xyz[np.ix_(atoms, frame.axes)],
            blocks=_nonzero_blocks(hamiltonian, frame.directions),
        )
    )


def to_sisl(model: HoppingModel) -> Any:
    """The sisl Hamiltonian with the same H(k): unpolarized, or spin-orbit for a model with spin.

    Each orbital is an atom of unknown species. To a model in one or two dimensions come vectors of
    20 Å along the missing axes, along which the lattice is not periodic.

    Returns:
        `sisl.Hamiltonian`, complex.
    Raises:
        ImportError: sisl is not installed.
        ValueError: the model is no HoppingModel, or has matrix elements of the position or a spin
            operator other than σ on each orbital in the basis (orbital, spin), or the two spins of
            an orbital sit at different places.
    """
    sisl, sparse = require_package("sisl", "to_sisl"), require_package("scipy.sparse", "to_sisl")
    orbitals = to_orbitals(model)
    geometry = _make_geometry(sisl, orbitals)
    o, s, _, _ = next(iter(orbitals.blocks.values())).shape
    supercell = np.zeros((s, s, o, geometry.n_s, o), complex)
    for cell, block in orbitals.blocks.items():
        place = geometry.lattice.sc_index(_pad_directions(cell))
        supercell[:, :, :, place] = block.transpose(1, 3, 0, 2)
    matrices = supercell.reshape(s, s, o, -1)
    return sisl.Hamiltonian.fromsp(
        geometry,
        [sparse.csr_array(matrices[pair]) for pair in _SPIN_ORDER[: s * s]],
        spin="spin-orbit" if s == 2 else "unpolarized",
    )


def _check_kind(sisl: ModuleType, hamiltonian: Any) -> None:
    check_type("hamiltonian", hamiltonian, sisl.Hamiltonian, "a `sisl.Hamiltonian`")
    if not hamiltonian.orthogonal:
        raise ValueError(
            "Argument `hamiltonian` must be in an orthogonal basis, but is non-orthogonal: it has "
            "an overlap matrix."
        )
    spin = hamiltonian.spin
    if not (spin.is_unpolarized or spin.is_polarized or spin.is_noncolinear or spin.is_spinorbit):
        raise ValueError(f"Argument `hamiltonian` must be that of electrons, but is one of {spin}.")


def _find_frame(lattice: Any) -> _Frame:
    directions = np.flatnonzero(lattice.pbc).tolist()
    if not directions:
        raise ValueError(
            "Argument `hamiltonian` must be periodic, but is so along none of its lattice vectors; "
            "see its `geometry.lattice.pbc`."
        )
    for i in directions:
        if lattice.nsc[i] == 1:
            raise ValueError(
                "Argument `hamiltonian` must have neighbouring cells where it is periodic, but "
                f"has none along lattice vector {i}; set `geometry.lattice.pbc` to False there if "
                "that is vacuum."
            )
    axes = np.flatnonzero(np.any(np.abs(lattice.cell[directions]) > _FLAT, axis=0)).tolist()
    if len(axes) != len(directions):
        raise ValueError(
            "Argument `hamiltonian` must have its periodic lattice vectors along a Cartesian axis "
            f"or in a plane of two, but has {lattice.cell[directions].tolist()}; rotate it."
        )
    return _Frame(directions, axes)


def _nonzero_blocks(
    hamiltonian: Any, directions: list[int]
) -> dict[Cell, Complex[np.ndarray, "o s o s"]]:
    """H(R) of each cell R that is not zero, and of the home cell."""
    cells = [tuple(map(int, R)) for R in hamiltonian.geometry.lattice.sc_off]
    blocks = dict(zip(cells, _spinful_blocks(hamiltonian), strict=True))
    filled = {R for R, block in blocks.items() if block.any()}
    for cell in sorted(filled):
        if any(c for i, c in enumerate(cell) if i not in directions):
            raise ValueError(
                "Argument `hamiltonian` must have no hops along a lattice vector where it is not "
                f"periodic, but has some to the cell {cell}."
            )
    kept = filled | {opposite(R) for R in filled} | {(0, 0, 0)}
    return {tuple(R[i] for i in directions): blocks[R] for R in cells if R in kept}


def _spinful_blocks(hamiltonian: Any) -> Complex[np.ndarray, "r o s o s"]:
    """H(R) of each cell of sisl's supercell, its spin components in the order of sisl."""
    if not hamiltonian.spin.is_polarized:
        return _supercell_blocks(hamiltonian)
    up, down = (_supercell_blocks(hamiltonian, spin=spin) for spin in (0, 1))
    blocks = np.zeros((*up.shape[:2], 2, up.shape[3], 2), complex)
    blocks[:, :, :1, :, :1], blocks[:, :, 1:, :, 1:] = up, down
    return blocks


def _supercell_blocks(hamiltonian: Any, **spin: int) -> Complex[np.ndarray, "r o s o s"]:
    """sisl's matrix between the home cell and all others, at k = 0, where no phase is in it."""
    matrix = hamiltonian.Hk(format="sc:array", dtype=np.complex128, **spin)
    o, cells = hamiltonian.geometry.no, hamiltonian.geometry.n_s
    s = len(matrix) // o
    return matrix.reshape(o, s, cells, o, s).transpose(2, 0, 1, 3, 4)


def _make_geometry(sisl: ModuleType, orbitals: Orbitals) -> Any:
    """sisl's geometry with an atom for each orbital."""
    d = len(orbitals.lattice)
    vectors = _VACUUM * np.eye(3)
    vectors[:d, :d] = orbitals.lattice
    reach = np.max(np.abs(list(orbitals.blocks)), axis=0)
    # Three cells at least, which say that it is periodic even if nothing hops there.
    lattice = sisl.Lattice(vectors, nsc=_pad_directions(2 * np.maximum(reach, 1) + 1, 1))
    lattice.pbc = [i < d for i in range(3)]
    places: Float[np.ndarray, "o 3"] = np.pad(orbitals.centres, ((0, 0), (0, 3 - d)))
    return sisl.Geometry(places, sisl.Atom(0), lattice=lattice)


def _pad_directions(values: Any, fill: int = 0) -> list[int]:
    """Pad the integers of the model's directions to three with `fill`."""
    return [*map(int, values), *[fill] * (3 - len(values))]
