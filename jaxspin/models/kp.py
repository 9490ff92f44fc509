"""Continuum (k.p) models: a topological insulator, the massive Dirac cone, the Rashba gas."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.small_matrices import PAULI
from jaxspin.engine.validate import check_choice, check_vector
from jaxspin.models.base import copy_as_float
from jaxspin.models.matrix_sum import MatrixSum

_ONE, _X, _Y, _Z = range(4)
_PRODUCTS = np.array([[np.kron(orbital, spin) for spin in PAULI] for orbital in PAULI])


def _pauli_product(orbital: int, spin: int) -> np.ndarray:
    """Pauli matrices of orbital ⊗ spin."""
    return _PRODUCTS[orbital, spin]


class TopologicalInsulator(MatrixSum):
    """Bulk bands of the Bi2Se3 family, Liu et al. PRB 82, 045122 (2010).

    Written as in Liu, Cullen and Culcer, PRB 108, 195434 (2023), Eq. (10).

    Basis: orbital τ ⊗ spin σ, {1/2, -1/2, 1/2, -1/2}; k_p² = k_x² + k_y²:

        H = C - M τ_z + τ_x [A (k_x σ_x + k_y σ_y) + B k_z σ_z] + exchange·s
            + R1 (k_x³ - 3 k_x k_y²) τ_y + R2 (3 k_x² k_y - k_y³) τ_x σ_z
        C = C0 + C1 k_z² + C2 k_p²,  M = M0 + M1 k_z² + M2 k_p²,
        A = A0 + A2 k_p²,            B = B0 + B2 k_z²

    Energies in eV, lengths in Å (A0 in eV Å, C1 in eV Å², R1 in eV Å³, ...). The last line is the
    hexagonal warping, derived from Liu et al. through the unitary map between the two bases.

    `spin_basis` says what the spin operator s is: "pauli" is 1⊗σ in the basis above, as the
    paper of 2023 takes it; "liu2010" is (-τ_z σ_x, -τ_z σ_y, σ_z), which is 1⊗σ in the basis of
    Liu et al. The exchange field couples to it. Any other operator:
    `models.WithSpin(model, operator)`, which leaves H as it is.
    """

    A0: Float[Array, ""] = eqx.field(converter=copy_as_float)
    A2: Float[Array, ""] = eqx.field(converter=copy_as_float)
    B0: Float[Array, ""] = eqx.field(converter=copy_as_float)
    B2: Float[Array, ""] = eqx.field(converter=copy_as_float)
    C0: Float[Array, ""] = eqx.field(converter=copy_as_float)
    C1: Float[Array, ""] = eqx.field(converter=copy_as_float)
    C2: Float[Array, ""] = eqx.field(converter=copy_as_float)
    M0: Float[Array, ""] = eqx.field(converter=copy_as_float)
    M1: Float[Array, ""] = eqx.field(converter=copy_as_float)
    M2: Float[Array, ""] = eqx.field(converter=copy_as_float)
    R1: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)
    R2: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)
    exchange: Float[Array, " 3"] = eqx.field(converter=copy_as_float, default=(0.0, 0.0, 0.0))
    spin_basis: str = eqx.field(static=True, default="pauli")

    def __check_init__(self):
        check_choice("spin_basis", self.spin_basis, ("pauli", "liu2010"))
        check_vector("exchange", self.exchange, 3, "three energies (eV)")

    @classmethod
    def bi2se3(cls, exchange=(0.0, 0.0, 0.0), warping=False, **changes) -> "TopologicalInsulator":
        """Bi2Se3. All ten parameters and the warping R1, R2 are confirmed against a public code.

        Args:
            exchange: Zeeman energies along x, y, z (eV).
            warping: include R1 and R2. Their integrals need a cutoff: use `Ball`.
            changes: any field by name, e.g. `M0=-0.2` or `spin_basis="liu2010"`.
        """
        return cls._from_table(_BI2SE3, exchange, warping, changes)

    @classmethod
    def bi2te3(cls, exchange=(0.0, 0.0, 0.0), warping=False, **changes) -> "TopologicalInsulator":
        """Bi2Te3. The parameter row is **not confirmed** by a second source.

        Its valence band rises without bound along k_z (C1 > M1), so there is no gap in the
        infinite domain: a cutoff (`Ball`) is mandatory.
        """
        return cls._from_table(_BI2TE3, exchange, warping, changes)

    @classmethod
    def sb2te3(cls, exchange=(0.0, 0.0, 0.0), warping=False, **changes) -> "TopologicalInsulator":
        """Sb2Te3. The parameter row is **not confirmed** by a second source."""
        return cls._from_table(_SB2TE3, exchange, warping, changes)

    @classmethod
    def _from_table(cls, row, exchange, warping, changes):
        values = dict(zip(_COLUMNS, row, strict=True))
        if not warping:
            values |= {"R1": 0.0, "R2": 0.0}
        unknown = changes.keys() - cls.__dataclass_fields__.keys()
        if unknown:
            raise ValueError(
                f"Argument `{sorted(unknown)[0]}` must be one of the fields, "
                f"{', '.join(cls.__dataclass_fields__)}, but is none of them."
            )
        return cls(**{"A2": 0.0, "B2": 0.0, "exchange": exchange, **values, **changes})

    @property
    def dimension(self) -> int:
        return 3

    @property
    def matrices(self):
        return np.array([matrix for matrix, _ in self._list_terms(jnp.zeros(3))])

    def coefficients(self, k):
        return [coefficient for _, coefficient in self._list_terms(k)]

    def _list_terms(self, k):
        kx, ky, kz = k
        kp2, kz2 = kx**2 + ky**2, kz**2
        offset = self.C0 + self.C1 * kz2 + self.C2 * kp2
        mass = self.M0 + self.M1 * kz2 + self.M2 * kp2
        a, b = self.A0 + self.A2 * kp2, self.B0 + self.B2 * kz2
        cosine_3, sine_3 = kx**3 - 3 * kx * ky**2, 3 * kx**2 * ky - ky**3
        mx, my, mz = self.exchange
        return (
            (_pauli_product(_ONE, _ONE), offset),
            (_pauli_product(_Z, _ONE), -mass),
            (_pauli_product(_X, _X), a * kx),
            (_pauli_product(_X, _Y), a * ky),
            (_pauli_product(_X, _Z), b * kz + self.R2 * sine_3),
            (_pauli_product(_Y, _ONE), self.R1 * cosine_3),
            *zip(_SPINS[self.spin_basis], (mx, my, mz), strict=True),
        )

    def spin(self):
        return jnp.array(_SPINS[self.spin_basis])


#: The spin operators of `spin_basis`, to which the exchange field couples.
_SPINS = {
    "pauli": [_pauli_product(_ONE, s) for s in (_X, _Y, _Z)],
    "liu2010": [-_pauli_product(_Z, _X), -_pauli_product(_Z, _Y), _pauli_product(_ONE, _Z)],
}


_COLUMNS = ("A0", "B0", "C0", "C1", "C2", "M0", "M1", "M2", "R1", "R2")
_BI2SE3 = (3.33, 2.26, -0.0083, 5.74, 30.4, -0.28, 6.86, 44.5, 50.6, -113.3)
_BI2TE3 = (2.87, 0.30, -0.18, 6.55, 49.68, -0.30, 2.79, 57.38, 45.02, -89.37)
_SB2TE3 = (3.40, 0.84, 0.001, -12.39, -10.78, -0.22, 19.64, 48.51, 103.20, -244.67)


class MassiveDirac(MatrixSum):
    """A two-dimensional Dirac cone, for example the surface of a topological insulator.

    H = v (k_x σ_y - k_y σ_x) + [M + λ (k_x³ - 3 k_x k_y²)] σ_z + tilt·k, basis (up, down).
    """

    velocity: Float[Array, ""] = eqx.field(converter=copy_as_float)  # eV Å
    mass: Float[Array, ""] = eqx.field(converter=copy_as_float)  # eV
    warping: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)  # eV Å³
    tilt: Float[Array, " 2"] = eqx.field(converter=copy_as_float, default=(0.0, 0.0))  # eV Å

    @property
    def dimension(self) -> int:
        return 2

    @property
    def matrices(self):
        return PAULI

    def coefficients(self, k):
        kx, ky = k
        mass = self.mass + self.warping * (kx**3 - 3 * kx * ky**2)
        return self.tilt @ k, -self.velocity * ky, self.velocity * kx, mass

    def spin(self):
        return jnp.asarray(PAULI[1:])


class Rashba(MatrixSum):
    """The two-dimensional electron gas with Rashba coupling and an exchange field along z.

    H = kinetic k² + v (k_x σ_y - k_y σ_x) + M σ_z, basis (up, down); kinetic = ħ²/2m.
    """

    kinetic: Float[Array, ""] = eqx.field(converter=copy_as_float)  # eV Å²
    velocity: Float[Array, ""] = eqx.field(converter=copy_as_float)  # eV Å
    exchange: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)  # eV

    @property
    def dimension(self) -> int:
        return 2

    @property
    def matrices(self):
        return PAULI

    def coefficients(self, k):
        kx, ky = k
        return self.kinetic * (k @ k), -self.velocity * ky, self.velocity * kx, self.exchange

    def spin(self):
        return jnp.asarray(PAULI[1:])
