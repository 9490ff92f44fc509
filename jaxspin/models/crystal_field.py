"""Electrons in a crystal field: one orbital and a doublet in a square lattice without inversion."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.small_matrices import PAULI
from jaxspin.engine.validate import check_choice
from jaxspin.models.base import copy_as_float
from jaxspin.models.matrix_sum import MatrixSum

#: Directions of the invariant vectors A, B, C between the orbital and the two functions of the
#: doublet, (3, 2, 2): the solutions of Eqs. (A13) to (A15). The signs are those of (A19), (A20).
INVARIANTS = {
    "A1": (((1, 0), (0, 1)), ((0, 1), (-1, 0)), ((1, 0), (0, 1))),
    "A2": (((0, -1), (1, 0)), ((1, 0), (0, 1)), ((0, -1), (1, 0))),
    "B1": (((-1, 0), (0, 1)), ((0, 1), (1, 0)), ((-1, 0), (0, 1))),
    "B2": (((0, 1), (1, 0)), ((1, 0), (0, -1)), ((0, -1), (-1, 0))),
}


class CrystalFieldC4v(MatrixSum):
    """An orbital and a doublet of the point group C4v, coupled by k·p and spin-orbit terms.

    Basis: orbital ⊗ spin, the orbital (Γ1 to Γ4) first, then the two functions q = 1, 2 of the
    doublet (Γ5); R = k_y σ_x − k_x σ_y. Kinetic is ħ²/2m:

        H = kinetic k² + diag(γ₁ R, gap + γ₂ R, gap + γ₂ R) + b τ_y σ_z  (τ in the doublet)
            + coupling of the orbital to q:  −i A_q·k − i B_q·σ + (C_q × k)·σ

    with |A| = a, |B| = b_inter, |C| = gamma_inter. `irrep` is that of the orbital, "A1" (Γ1),
    "A2" (Γ2), "B1" (Γ3), "B2" (Γ4), and fixes the directions of A, B, C (`INVARIANTS`); for A1
    A = a(x̂, ŷ), B = b_inter(ŷ, −x̂), C = gamma_inter(x̂, ŷ). All four are A1 with the doublet
    rotated or reflected and some signs changed.

    Samokhin, Sigrist and Fischer (2025), Eqs. (33), (A19) for A1, (A20) for B2.
    """

    gap: Float[Array, ""] = eqx.field(converter=copy_as_float)  # eV
    a: Float[Array, ""] = eqx.field(converter=copy_as_float)  # eV Å
    b: Float[Array, ""] = eqx.field(converter=copy_as_float)  # eV
    b_inter: Float[Array, ""] = eqx.field(converter=copy_as_float)  # eV
    kinetic: Float[Array, ""] = eqx.field(converter=copy_as_float)  # eV Å²
    gamma1: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)  # eV Å
    gamma2: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)  # eV Å
    gamma_inter: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)  # eV Å
    irrep: str = eqx.field(static=True, default="A1")

    def __check_init__(self):
        check_choice("irrep", self.irrep, INVARIANTS)

    @classmethod
    def with_a2(cls, gap, a, b, b_inter, kinetic, *, gamma1=0.0, gamma2=0.0, gamma_inter=0.0):
        """A Γ2 orbital and the doublet."""
        return cls(gap, a, b, b_inter, kinetic, gamma1, gamma2, gamma_inter, "A2")

    @classmethod
    def with_b1(cls, gap, a, b, b_inter, kinetic, *, gamma1=0.0, gamma2=0.0, gamma_inter=0.0):
        """A Γ3 orbital (x² − y²) and the doublet."""
        return cls(gap, a, b, b_inter, kinetic, gamma1, gamma2, gamma_inter, "B1")

    @classmethod
    def with_b2(cls, gap, a, b, b_inter, kinetic, *, gamma1=0.0, gamma2=0.0, gamma_inter=0.0):
        """A Γ4 orbital (xy) and the doublet (xz, yz): Eq. (A20), for oxide interfaces."""
        return cls(gap, a, b, b_inter, kinetic, gamma1, gamma2, gamma_inter, "B2")

    def as_a1(self) -> "CrystalFieldC4v":
        """The model with an orbital A1 of the same bands, spins and currents.

        B1 and B2 turn into it by a reflection of the doublet, which changes the sign of b.
        """
        b, b_inter, gamma_inter = {"B1": (-1, -1, 1), "B2": (-1, -1, -1)}.get(self.irrep, (1, 1, 1))
        return CrystalFieldC4v(
            self.gap,
            self.a,
            b * self.b,
            b_inter * self.b_inter,
            self.kinetic,
            self.gamma1,
            self.gamma2,
            gamma_inter * self.gamma_inter,
        )

    @property
    def dimension(self) -> int:
        return 2

    @property
    def matrices(self):
        return np.array([matrix for matrix, _ in self._list_terms(jnp.zeros(2))])

    def coefficients(self, k):
        return [coefficient for _, coefficient in self._list_terms(k)]

    def _list_terms(self, k):
        one, x, y, z = PAULI
        first, doublet = np.diag([1, 0, 0]), np.diag([0, 1, 1])
        vectors_a, vectors_b, vectors_c = np.array(INVARIANTS[self.irrep])
        constant = -1j * np.tensordot(vectors_b, PAULI[1:3], axes=1)  # −iB·σ
        turn = np.array([[0, 1], [-1, 0]])  # (C × k)·σ = (C_x k_y − C_y k_x) σ_z
        return (
            (np.eye(6), self.kinetic * (k @ k)),
            (np.kron(doublet, one), self.gap),
            (np.kron(first, x), self.gamma1 * k[1]),
            (np.kron(first, y), -self.gamma1 * k[0]),
            (np.kron(doublet, x), self.gamma2 * k[1]),
            (np.kron(doublet, y), -self.gamma2 * k[0]),
            (_between_doublet(-1j * z), self.b),
            (_to_doublet(constant), self.b_inter),
            *(
                (_to_doublet(-1j * v[:, None, None] * one), self.a * q)
                for v, q in zip(vectors_a.T, k, strict=True)
            ),
            *(
                (_to_doublet(v[:, None, None] * z), self.gamma_inter * q)
                for v, q in zip((vectors_c @ turn).T, k, strict=True)
            ),
        )

    def spin(self):
        return jnp.array([np.kron(np.eye(3), sigma) for sigma in PAULI[1:]])


def _to_doublet(blocks: np.ndarray) -> np.ndarray:
    """The Hermitian matrix with these two blocks between the orbital and the doublet."""
    upper = np.zeros((6, 6), complex)
    upper[:2, 2:] = np.concatenate(list(blocks), axis=1)
    return upper + upper.conj().T


def _between_doublet(block: np.ndarray) -> np.ndarray:
    upper = np.zeros((6, 6), complex)
    upper[2:4, 4:] = block
    return upper + upper.conj().T
