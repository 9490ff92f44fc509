"""Orbitals with or without spin, the form between our models and those of other codes.

Other codes number orbitals and give each one or two spin components; ours number states. With spin
the states are (orbital 1 up, orbital 1 down, orbital 2 up, ...). Many codes hold only one of each
pair of hops that are Hermitian conjugates; our models hold both.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from jaxspin.engine.small_matrices import PAULI
from jaxspin.engine.validate import check_type
from jaxspin.models.bloch_sums import opposite
from jaxspin.models.tight_binding import HoppingModel

_SAME = 1e-9  # Å and ħ/2: two numbers closer than this are the same, far above rounding

Cell = tuple[int, ...]


class Orbitals(NamedTuple):
    """A model by its orbitals; s = 1 without spin and 2 with."""

    lattice: Float[np.ndarray, "d d"]  # rows, Å
    centres: Float[np.ndarray, "o d"]  # Cartesian, Å
    blocks: dict[Cell, Complex[np.ndarray, "o s o s"]]  # H(R), eV


def check_hopping(model: HoppingModel) -> None:
    """Check that `model` is a HoppingModel itself: other models do not give their H(R).

    Raises:
        ValueError: it is something else, for instance a sum or a multiple of one.
    """
    check_type("model", model, HoppingModel, "a HoppingModel")


def to_model(orbitals: Orbitals) -> HoppingModel:
    """The model of these orbitals. Its spin operator is σ on each orbital, or absent if s = 1."""
    o, s, _, _ = next(iter(orbitals.blocks.values())).shape
    return HoppingModel(
        lattice=orbitals.lattice,
        cells=list(orbitals.blocks),
        blocks=np.array([block.reshape(o * s, o * s) for block in orbitals.blocks.values()]),
        centres=np.repeat(orbitals.centres, s, axis=0),
        spin=_local_spin(o) if s == 2 else None,
    )


def to_orbitals(model: HoppingModel) -> Orbitals:
    """The orbitals of a model, with the Hermitian part of its H(R).

    Raises:
        ValueError: the model is no HoppingModel, or has matrix elements of the position or a spin
            operator other than σ on each orbital in the basis (orbital, spin), or the two spins of
            an orbital sit at different places.
    """
    blocks = hermitian_blocks(model)
    s = 1 if model.spin_operator is None else 2
    if s == 2:
        _check_spin_basis(model)
    lattice, centres = np.asarray(model.vectors), np.asarray(model.centres)[::s]
    o = len(centres)
    return Orbitals(lattice, centres, {R: block.reshape(o, s, o, s) for R, block in blocks.items()})


def hermitian_blocks(model: HoppingModel) -> dict[Cell, Complex[np.ndarray, "n n"]]:
    """H(R) of each cell in eV with H(−R) = H(R)† to the last digit.

    Raises:
        ValueError: the model is no HoppingModel, or has more than H(R), positions of orbitals and a
            local spin operator, so that H(R) would be another model.
    """
    check_hopping(model)
    _check_complete(model)
    return with_conjugates(
        {R: np.asarray(block) / 2 for R, block in zip(model.cells, model.blocks, strict=True)}
    )


def with_conjugates(
    half: dict[Cell, Complex[np.ndarray, "n n"]],
) -> dict[Cell, Complex[np.ndarray, "n n"]]:
    """H(R) = h(R) + h(−R)† of each cell R, from h(R), where missing cells are zero.

    The cell R = 0 is its own partner: there h is half of a Hermitian H.
    """
    cells = dict.fromkeys(R for cell in half for R in (cell, opposite(cell)))
    zero = np.zeros_like(next(iter(half.values())))
    return {R: half.get(R, zero) + half.get(opposite(R), zero).conj().T for R in cells}


def _local_spin(n_orbitals: int) -> list[Complex[np.ndarray, "n n"]]:
    """σ on each orbital."""
    return [np.kron(np.eye(n_orbitals), sigma) for sigma in PAULI[1:]]


def _check_complete(model: HoppingModel) -> None:
    if model.position is not None:
        raise ValueError(
            "Argument `model` must have no elements of the position operator between orbitals, "
            "which the other code cannot hold, but has them."
        )
    spin = model.spin_operator
    if spin is not None and spin.ndim != 3:
        raise ValueError(
            "Argument `model` must have a local spin operator of shape (3, n, n), for the other "
            f"code cannot hold one of other cells, but has one of shape {spin.shape}."
        )


def _check_spin_basis(model: HoppingModel) -> None:
    spin, centres = np.asarray(model.spin_operator), np.asarray(model.centres)
    if len(centres) % 2 or not np.allclose(spin, _local_spin(len(centres) // 2), atol=_SAME):
        raise ValueError(
            "Argument `model` must have the spin operator sigma on each orbital, basis (orbital, "
            "spin), but has another."
        )
    distance = np.max(np.abs(centres[::2] - centres[1::2]))
    if distance > _SAME:
        raise ValueError(
            "Argument `model` must have the two spins of each orbital at one place, but has "
            f"them up to {distance:.3g} Angstrom apart."
        )
