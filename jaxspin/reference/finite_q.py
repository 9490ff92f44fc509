"""The torque dipole from the quantum Liouville equation at finite Q, without any band formula.

An independent route to the torque-dipole part of the spin current, I = i tr t ∂ρ_EQ/∂Q: the
density matrix ρ(k+Q/2, k−Q/2) is solved for, in the orbital ("Pauli") basis in which H(k) is
given, and differentiated numerically. Only H(k), its eigenvectors and finite differences are
used, so nothing here can share an error with the closed formulas it is compared with.

The equations are (A8)-(A12) and (C13)-(C15) of Phys. Rev. B 108, 195434, with Q along the flow
and the k derivative of the driving term along the field, as (C15) has it. Their printed
evaluation (C19) interchanges the two directions.

Units: e = ħ = 1, energies in eV, lengths in Å, spin operators in units of ħ/2. The sum over k of
what comes out, times e²/ħ, is a conductivity in units of ħ/2e. Pure NumPy, and slow: some hundred
diagonalisations for each k.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxspin.reference.hamiltonians import (
    check_hamiltonian,
    check_hermitian,
    check_wave_vectors,
)

#: Sixth-order central difference: weights of f(+j h) − f(−j h), j = 1, 2, 3, to be divided by h.
STENCIL = (45 / 60, -9 / 60, 1 / 60)

#: Step in k and in Q. For gaps above 0.2 (energies and wave vectors of order one) the truncation
#: error (step/gap)⁶ and the rounding error 1e-16/step² are both below 1e-7.
STEP = 0.01


class TorqueDipole(NamedTuple):
    """Torque dipole I[..., flow, field, spin] at each k, Å²: the field acting on ρ₀, and on ρ_Q."""

    driven: np.ndarray
    equilibrium: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """The sum of both parts."""
        return self.driven + self.equilibrium


@dataclass(frozen=True)
class LiouvilleEquation:
    """Quantum Liouville equation of a clean crystal, to first order in the field.

        ∂ρ/∂t + i [H(k₊) ρ − ρ H(k₋)] = d,    k± = k ± Q/2        (A10), (A11)

    As in the paper, only the interband part of its steady state is kept: elements between a band
    at k₊ and another band at k₋. Density matrices are in the orbital basis, and the field is eE = 1
    along a vector. Source: Phys. Rev. B 108, 195434 (2023), appendices A and C.

    Args:
        hamiltonian: takes k (..., d) to H (..., n, n), eV (`batch_hamiltonian` makes one of a
            model).
        occupation: f(ε), of an array of energies.
        groups: a label for each band, in order of energy; bands that share one count as one.
    Raises:
        ValueError: `hamiltonian` or `occupation` is no function, or `groups` is no list of labels.
    """

    hamiltonian: Callable[[np.ndarray], np.ndarray]
    occupation: Callable[[np.ndarray], np.ndarray]
    groups: tuple[int, ...]

    def __post_init__(self):
        for name in ("hamiltonian", "occupation"):
            if not callable(getattr(self, name)):
                raise ValueError(
                    f"Argument `{name}` must be a function, "
                    f"but is of type {type(getattr(self, name)).__name__}."
                )
        if np.ndim(self.groups) != 1 or len(self.groups) == 0:
            raise ValueError(
                "Argument `groups` must be a label for each band, (0, 0, 1, 1) for two pairs, "
                f"but is {self.groups!r}."
            )

    @property
    def degenerate(self) -> np.ndarray:
        """(n, n) mask of the pairs of bands that lie in one group."""
        groups = np.asarray(self.groups)
        return groups[:, None] == groups[None, :]

    def equilibrium(self, k: np.ndarray) -> np.ndarray:
        """Equilibrium ρ₀ = f(H(k)), orbital basis."""
        energies, states = np.linalg.eigh(self.hamiltonian(k))
        return (states * self.occupation(energies)[..., None, :]) @ dagger(states)

    def interband(self, k: np.ndarray, operator: np.ndarray) -> np.ndarray:
        """Part of an operator, orbital basis, that connects different groups at k."""
        _, states = np.linalg.eigh(self.hamiltonian(k))
        elements = dagger(states) @ operator @ states
        return states @ np.where(self.degenerate, 0, elements) @ dagger(states)

    def steady_state(self, k: np.ndarray, q: np.ndarray, drive: np.ndarray) -> np.ndarray:
        """Steady state: i [H(k₊) ρ − ρ H(k₋)] = drive between groups, ρ = 0 inside them."""
        plus, left = np.linalg.eigh(self.hamiltonian(k + q / 2))
        minus, right = np.linalg.eigh(self.hamiltonian(k - q / 2))
        frequency = np.where(self.degenerate, 1, plus[..., :, None] - minus[..., None, :])
        elements = np.where(self.degenerate, 0, -1j * (dagger(left) @ drive @ right) / frequency)
        return left @ elements @ dagger(right)

    def motion(self, k: np.ndarray, q: np.ndarray) -> np.ndarray:
        """ρ_Q, the interband elements that the motion between k₊ and k₋ adds to ρ₀.

        Steady state for the drive −i [H(k₊) ρ₀ − ρ₀ H(k₋)], which to first order in Q is the
        −(i/2) Q·{∂H/∂k, ρ₀} of (A12).
        """
        density = self.equilibrium(k)
        plus, minus = self.hamiltonian(k + q / 2), self.hamiltonian(k - q / 2)
        return self.steady_state(k, q, -1j * (plus @ density - density @ minus))

    def driven_equilibrium(self, k: np.ndarray, q: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Response to E·∂ρ₀/∂k: the interband drive only, the rest is the Drude current."""
        drive = differentiate(lambda h: self.equilibrium(k + h * field))
        return self.steady_state(k, q, self.interband(k, drive))

    def driven_motion(self, k: np.ndarray, q: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Response to E·∂ρ_Q/∂k (C15)."""
        return self.steady_state(k, q, differentiate(lambda h: self.motion(k + h * field, q)))


def torque_dipole(
    hamiltonian: Callable[[np.ndarray], np.ndarray],
    spin: np.ndarray,
    occupation: Callable[[np.ndarray], np.ndarray],
    k: np.ndarray,
    *,
    groups: tuple[int, ...] | None = None,
) -> TorqueDipole:
    """Torque-dipole part of the proper spin current, I = i tr t ∂ρ_EQ/∂Q at Q = 0, at each k (A8).

    t = i [H, S] is the torque, and ρ_EQ the solution of `LiouvilleEquation` by finite differences
    in k and Q. Its sum over k is I1 + I2 of `jaxspin.spin_hall_pieces`. Good to about 10⁻⁷ for gaps
    above 0.2 eV, wave vectors of order 1/Å.

    Args:
        hamiltonian: takes k (..., d), 1/Å, to H (..., n, n), eV.
        spin: (3, n, n), units of ħ/2.
        occupation: f(ε), of an array of energies.
        k: (..., d).
        groups: a label for each band, in order of energy, where some are degenerate: (0, 0, 1, 1)
            for two pairs. Default: every band on its own.
    Returns:
        `TorqueDipole`: two arrays (..., flow, field, spin), Å², whose sum is the torque dipole.
    Raises:
        ValueError: an argument of another shape; H or spin not Hermitian.
    """
    k = check_wave_vectors(k)
    energy = check_hamiltonian(hamiltonian, k)
    n = energy.shape[-1]
    spin = check_hermitian("spin", spin, (3, n, n))
    groups = tuple(range(n)) if groups is None else groups
    liouville = LiouvilleEquation(hamiltonian, occupation, groups)
    if len(groups) != n:
        raise ValueError(
            f"Argument `groups` must have a label for each of the {n} bands, but is {groups!r}."
        )
    torque = 1j * (energy[..., None, :, :] @ spin - spin @ energy[..., None, :, :])
    solutions = liouville.driven_equilibrium, liouville.driven_motion
    return TorqueDipole(*(_torque_dipoles(solution, torque, k) for solution in solutions))


def differentiate(function: Callable[[float], np.ndarray], step: float = STEP) -> np.ndarray:
    """Slope of a function of one number at zero, by a sixth-order central difference."""
    pairs = enumerate(STENCIL, start=1)
    terms = [c * (function(j * step) - function(-j * step)) for j, c in pairs]
    return np.sum(terms, axis=0) / step


def dagger(matrix: np.ndarray) -> np.ndarray:
    """Hermitian conjugate of the last two axes."""
    return matrix.conj().swapaxes(-1, -2)


def _torque_dipoles(response: Callable, torque: np.ndarray, k: np.ndarray) -> np.ndarray:
    """i tr t ∂ρ/∂Q for every direction of Q (flow) and of E (field)."""
    axes = np.eye(k.shape[-1])

    def slope_along(flow: np.ndarray, field: np.ndarray) -> np.ndarray:
        return differentiate(lambda q: response(k, q * flow, field))

    slopes = np.array([[slope_along(flow, field) for field in axes] for flow in axes])
    return (1j * np.einsum("...sab,ij...ba->...ijs", torque, slopes)).real
