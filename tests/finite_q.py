"""The torque dipole from the quantum Liouville equation at finite Q, without any band formula.

An independent route to the torque-dipole part of the spin current, I = i tr t ∂ρ_EQ/∂Q: the
density matrix ρ(k+Q/2, k−Q/2) is solved for, in the orbital ("Pauli") basis in which H(k) is
given, and differentiated numerically. Only H(k), its eigenvectors and finite differences are
used, so nothing here can share an error with the closed formulas it is compared with.

The equations are (A8)-(A12) and (C13)-(C15) of Phys. Rev. B 108, 195434, with Q along the flow
and the k derivative of the driving term along the field, as (C15) has it. Their printed
evaluation (C19) interchanges the two directions.

Units: e = ħ = 1, spin operators in units of ħ/2. The sum over k of what comes out, times e²/ħ, is
a conductivity in units of ħ/2e.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: Sixth-order central difference: weights of f(+j h) − f(−j h), j = 1, 2, 3, to be divided by h.
STENCIL = (45 / 60, -9 / 60, 1 / 60)

#: Step in k and in Q. For gaps above 0.2 (energies and wave vectors of order one) the truncation
#: error (step/gap)⁶ and the rounding error 1e-16/step² are both below 1e-7.
STEP = 0.01


class TorqueDipole(NamedTuple):
    """I[..., flow, field, spin] at each k: the field acting on ρ₀, and on ρ_Q."""

    driven: np.ndarray
    equilibrium: np.ndarray

    @property
    def total(self) -> np.ndarray:
        return self.driven + self.equilibrium


@dataclass(frozen=True)
class Liouville:
    """The kinetic equation of a crystal, clean, to first order in the field.

        ∂ρ/∂t + i [H(k₊) ρ − ρ H(k₋)] = d,    k± = k ± Q/2        (A10), (A11)

    As in the paper, only the interband part of its steady state is kept: elements between a band
    at k₊ and another band at k₋. `hamiltonian` takes k (..., d) to (..., n, n); `occupation` is
    f(ε). Bands (in order of energy) that share a label in `groups` count as one.
    """

    hamiltonian: Callable[[np.ndarray], np.ndarray]
    occupation: Callable[[np.ndarray], np.ndarray]
    groups: tuple[int, ...]

    @property
    def same(self) -> np.ndarray:
        """(n, n) mask of the pairs of bands that lie in one group."""
        groups = np.asarray(self.groups)
        return groups[:, None] == groups[None, :]

    def density(self, k: np.ndarray) -> np.ndarray:
        """Equilibrium ρ₀ = f(H(k)), orbital basis."""
        energies, states = np.linalg.eigh(self.hamiltonian(k))
        return (states * self.occupation(energies)[..., None, :]) @ dagger(states)

    def interband(self, k: np.ndarray, operator: np.ndarray) -> np.ndarray:
        """The part of an operator, orbital basis, that connects different groups at k."""
        _, states = np.linalg.eigh(self.hamiltonian(k))
        elements = dagger(states) @ operator @ states
        return states @ np.where(self.same, 0, elements) @ dagger(states)

    def steady_state(self, k: np.ndarray, q: np.ndarray, drive: np.ndarray) -> np.ndarray:
        """ρ with i [H(k₊) ρ − ρ H(k₋)] = drive on the elements between different groups."""
        plus, left = np.linalg.eigh(self.hamiltonian(k + q / 2))
        minus, right = np.linalg.eigh(self.hamiltonian(k - q / 2))
        frequency = np.where(self.same, 1, plus[..., :, None] - minus[..., None, :])
        elements = np.where(self.same, 0, -1j * (dagger(left) @ drive @ right) / frequency)
        return left @ elements @ dagger(right)

    def density_q(self, k: np.ndarray, q: np.ndarray) -> np.ndarray:
        """ρ_Q: what the motion between k₊ and k₋ adds to ρ₀ in the interband elements.

        Steady state for the drive −i [H(k₊) ρ₀ − ρ₀ H(k₋)], which to first order in Q is the
        −(i/2) Q·{∂H/∂k, ρ₀} of (A12).
        """
        density = self.density(k)
        plus, minus = self.hamiltonian(k + q / 2), self.hamiltonian(k - q / 2)
        return self.steady_state(k, q, -1j * (plus @ density - density @ minus))

    def driven(self, k: np.ndarray, q: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Response to E·∂ρ₀/∂k: the interband drive only, the rest is the Drude current."""
        drive = derivative(lambda h: self.density(k + h * field))
        return self.steady_state(k, q, self.interband(k, drive))

    def driven_q(self, k: np.ndarray, q: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Response to E·∂ρ_Q/∂k (C15)."""
        return self.steady_state(k, q, derivative(lambda h: self.density_q(k + h * field, q)))


def torque_dipole(
    hamiltonian: Callable[[np.ndarray], np.ndarray],
    spin: np.ndarray,
    occupation: Callable[[np.ndarray], np.ndarray],
    k: np.ndarray,
    groups: tuple[int, ...] | None = None,
) -> TorqueDipole:
    """I = i tr t ∂ρ_EQ/∂Q at Q = 0 (A8), with the torque t = i [H, S], at each k.

    Arguments: `hamiltonian` takes (..., d) to (..., n, n); `spin` is (3, n, n) in units of ħ/2;
    `occupation` is f(ε); `k` is (..., d); `groups` labels the bands, in order of energy, where
    some are degenerate: (0, 0, 1, 1) for two pairs. Default: every band on its own.

    Returns: two arrays (..., flow, field, spin), whose sum is the torque dipole.
    """
    energy = hamiltonian(k)
    liouville = Liouville(hamiltonian, occupation, groups or tuple(range(energy.shape[-1])))
    torque = 1j * (energy[..., None, :, :] @ spin - spin @ energy[..., None, :, :])
    return TorqueDipole(
        _dipoles(liouville.driven, torque, k), _dipoles(liouville.driven_q, torque, k)
    )


def numpy_hamiltonian(model: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """H of a model that takes one k at a time, for k of shape (..., d), as NumPy arrays."""
    return np.vectorize(lambda k: np.asarray(model(k)), signature="(d)->(n,n)")


def derivative(function: Callable[[float], np.ndarray], step: float = STEP) -> np.ndarray:
    """Sixth-order central difference of a function of one number, at zero."""
    pairs = enumerate(STENCIL, start=1)
    return sum(c * (function(j * step) - function(-j * step)) for j, c in pairs) / step


def dagger(matrix: np.ndarray) -> np.ndarray:
    """Hermitian conjugate of the last two axes."""
    return matrix.conj().swapaxes(-1, -2)


def _dipoles(response: Callable, torque: np.ndarray, k: np.ndarray) -> np.ndarray:
    """i tr t ∂ρ/∂Q for every direction of Q (flow) and of E (field)."""
    axes = np.eye(k.shape[-1])

    def slope(flow: np.ndarray, field: np.ndarray) -> np.ndarray:
        return derivative(lambda q: response(k, q * flow, field))

    slopes = np.array([[slope(flow, field) for field in axes] for flow in axes])
    return (1j * np.einsum("...sab,ij...ba->...ijs", torque, slopes)).real
