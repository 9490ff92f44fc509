"""Models of the spin kinetic equation: H(k, m) = ε0(k) + h(k, m), split by a magnetisation m.

The magnetisation enters as the exchange energy m (eV, three components) of H = ... + m·σ.
"""

from abc import abstractmethod
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Complex, Float

from jaxspin.engine.identity import is_overridden, run_operations
from jaxspin.engine.small_matrices import PAULI, is_traced
from jaxspin.engine.validate import check_shape, check_type
from jaxspin.models.base import Model, copy_as_float, hamiltonian_at, number_of_bands
from jaxspin.models.kp import TopologicalInsulator


class ExchangeModel(eqx.Module):
    """A band, n-fold with its spin, in a magnetisation: H(k, m) = ε0(k) + h(k, m).

    The theory is of first order in h against the kinetic energy, and of any order in hτ/ħ.
    """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of components of k."""

    @abstractmethod
    def energy(self, k: Float[Array, " d"]) -> Float[Array, ""]:
        """ε0(k), eV; k in 1/Å."""

    @abstractmethod
    def splitting(self, k: Float[Array, " d"], m: Float[Array, " 3"]) -> Complex[Array, "n n"]:
        """h(k, m), eV: Hermitian, without trace."""

    @abstractmethod
    def spin(self, k: Float[Array, " d"]) -> Complex[Array, "3 n n"]:
        """The spin of the crystal's states, in units of ħ/2 (dressed where bands are removed)."""

    @abstractmethod
    def bare_spin(self) -> Complex[Array, "3 n n"]:
        """The spin of the basis functions, in units of ħ/2."""

    @property
    def lattice(self) -> Float[Array, "d d"] | None:
        """Direct lattice vectors as rows, Å; None for a continuum model."""
        return None

    def prepared(self) -> "ExchangeModel":
        """The same, with what does not depend on k computed; called once before a loop."""
        return self

    def misfit(self, k: Float[Array, " d"]) -> Float[Array, ""]:
        """Error of ε0(k) over its height above the band edge, where the model knows it; else 0."""
        return jnp.zeros(())

    def check(self, magnetization: ArrayLike | Sequence) -> None:
        """The magnetisation is one for which the model holds.

        Raises:
            ValueError: naming the limit.
        """
        return None


@run_operations.register
def _run_exchange_model(model: ExchangeModel, unit):
    k, m = unit * jnp.linspace(0.1, 0.3, model.dimension), unit * jnp.linspace(0.1, 0.3, 3)
    if is_overridden(model, "prepared"):
        model = model.prepared()
    operators = model.energy(k), model.splitting(k, m), model.spin(k), model.bare_spin()
    return *operators, model.misfit(k), model.lattice, model.dimension


class ScalarBand(Model):
    """ε0(k) of an exchange model, as a model of one band: what Fermi surfaces are found for."""

    band: ExchangeModel

    @property
    def dimension(self) -> int:
        return self.band.dimension

    @property
    def lattice(self):
        return self.band.lattice

    def __call__(self, k):
        return self.band.energy(k)[None, None]

    def spin(self):
        return jnp.zeros((3, 1, 1))


class DressedBand(ExchangeModel):
    """A band of spin 1/2 with a dressed spin, σ_i → G_ij(k) σ_j, in the exchange energy as well."""

    @abstractmethod
    def dressing(self, k: Float[Array, " d"]) -> Float[Array, "3 3"]:
        """G(k)."""

    def splitting(self, k, m):
        return jnp.tensordot(self.dressing(k) @ m, self.bare_spin(), axes=1)

    def spin(self, k):
        return jnp.tensordot(self.dressing(k), self.bare_spin(), axes=1)

    def bare_spin(self):
        return jnp.asarray(PAULI[1:])


class Ferromagnet(DressedBand):
    """H = kinetic k² + m·σ in three dimensions: spin without any spin-orbit coupling."""

    kinetic: Float[Array, ""] = eqx.field(converter=copy_as_float)  # ħ²/2m, eV Å²

    @property
    def dimension(self) -> int:
        return 3

    def energy(self, k):
        return self.kinetic * (k @ k)

    def dressing(self, k):
        return jnp.eye(3)


class ConductionBand(DressedBand):
    """The conduction band of a topological insulator, H = ε0(k) + m·G(k)·σ.

    The rotation of least action takes H = ε − Mτ_z + τ_x d·σ + m·σ to its upper block, in closed
    form to all orders in d = (A k_x, A k_y, B k_z) and to first order in m, with R = √(M² + d²):

        ε0 = ε + R,  G = c + (1 − c) d dᵀ/d²,  c = −M/R,  (1 − c)/d² = 1/R(R − M).

    The spin of the crystal is G·σ too. Scalar for m = 0: inversion keeps the bands degenerate. To
    order d² this is the paper's Schrieffer-Wolff transformation, with the corrections of
    docs/spin-transfer-torque.md.

    Args:
        model: with M0 < 0 (inverted), without the warping R1 and with spin_basis "pauli"; its own
            `exchange` is not used, the magnetisation is given to the response.
    Raises:
        ValueError: another model, or one that this reduction does not hold for.

    >>> import jaxspin as js
    >>> band = js.spin_transfer.ConductionBand(js.models.TopologicalInsulator.bi2se3())
    >>> round(float(band.energy(jnp.zeros(3))), 6)
    0.2717
    """

    model: TopologicalInsulator

    def __check_init__(self):
        _check_insulator(self.model)

    @property
    def dimension(self) -> int:
        return 3

    def energy(self, k):
        offset, mass, d = _split_terms(self.model, k)
        return offset + jnp.sqrt(mass**2 + d @ d)

    def dressing(self, k):
        _, mass, d = _split_terms(self.model, k)
        length = jnp.sqrt(mass**2 + d @ d)
        return -mass / length * jnp.eye(3) + jnp.outer(d, d) / (length * (length - mass))

    def check(self, magnetization):
        _check_gap(self.model, magnetization)


class ParabolicBand(DressedBand):
    """`ConductionBand` to second order in k, the form of the paper (supplement, Eqs. (1)-(8)):

        ε0 = E_c + D_p (k_x² + k_y²) + D_z k_z²,  G = 1 + (d dᵀ − d²)/2M0²,
        E_c = C0 − M0,  D_p = C2 − M2 − A0²/2M0,  D_z = C1 − M1 − B0²/2M0.

    Good to some meV above E_c only: for Bi2Se3 the true band is up to 40 % higher than the parabola
    at 5 meV, where the paper and its reference numbers are, and three times as high at 20 meV. The
    response warns where it is off by more than 30 %.

    Args:
        model: as for `ConductionBand`.
    Raises:
        ValueError: as for `ConductionBand`.
    """

    model: TopologicalInsulator

    def __check_init__(self):
        _check_insulator(self.model)

    @property
    def dimension(self) -> int:
        return 3

    @property
    def edge(self) -> Float[Array, ""]:
        """E_c, eV."""
        return self.model.C0 - self.model.M0

    @property
    def kinetic(self) -> Float[Array, " 3"]:
        """D_p, D_p and D_z, eV Å²."""
        p = self.model
        across = p.C2 - p.M2 - p.A0**2 / (2 * p.M0)
        return jnp.stack([across, across, p.C1 - p.M1 - p.B0**2 / (2 * p.M0)])

    def energy(self, k):
        return self.edge + self.kinetic @ k**2

    def dressing(self, k):
        p = self.model
        d = jnp.stack([p.A0, p.A0, p.B0]) * k
        return jnp.eye(3) + (jnp.outer(d, d) - d @ d * jnp.eye(3)) / (2 * p.M0**2)

    def misfit(self, k):
        own = self.energy(k)
        return (ConductionBand(self.model).energy(k) - own) / (own - self.edge)

    def check(self, magnetization):
        _check_gap(self.model, magnetization)


class SplitBands(ExchangeModel):
    """All n bands of a model as one split band, H = H_model(k) + m·s(k).

    ε0 = Tr H_model/n, and h is the rest: spin-orbit coupling that the model has without
    magnetisation, and m times its spin operator. That is right as long as the bands of the model
    are close to each other against the kinetic energy. Of an effective model, whose spin operator
    is dressed and depends on k, the exchange energy is dressed likewise.

    Args:
        model: without exchange field of its own, unless that is meant in addition to m.
        reference: the spin of the basis functions (3, n, n), units of ħ/2; None takes
            `model.spin()`.
    Raises:
        ValueError: `reference` has another shape than a spin operator of the model.
    """

    model: Model
    reference: Complex[Array, "3 n n"] | None = None

    def __check_init__(self):
        expected = (3, *(number_of_bands(self.model),) * 2)
        if self.reference is not None:
            check_shape("reference", self.reference, expected)

    @property
    def dimension(self) -> int:
        return self.model.dimension

    @property
    def lattice(self):
        return self.model.lattice

    def prepared(self):
        return SplitBands(self.model.prepared(), self.reference)

    def energy(self, k):
        return jnp.trace(hamiltonian_at(self.model, k)).real / number_of_bands(self.model)

    def splitting(self, k, m):
        total = hamiltonian_at(self.model, k) + jnp.tensordot(m, self.spin(k), axes=1)
        return total - jnp.trace(total) / len(total) * jnp.eye(len(total))

    def spin(self, k):
        return self.model.spin_at(k[:, None])[..., 0]

    def bare_spin(self):
        return jnp.asarray(self.model.spin() if self.reference is None else self.reference)


def _split_terms(model: TopologicalInsulator, k):
    """ε, M and d of H = ε − Mτ_z + τ_x d·σ."""
    across, along = k[0] ** 2 + k[1] ** 2, k[2] ** 2
    offset = model.C0 + model.C1 * along + model.C2 * across
    mass = model.M0 + model.M1 * along + model.M2 * across
    a, b = model.A0 + model.A2 * across, model.B0 + model.B2 * along
    warping = model.R2 * (3 * k[0] ** 2 * k[1] - k[1] ** 3)
    return offset, mass, jnp.stack([a * k[0], a * k[1], b * k[2] + warping])


# --- checks ---------------------------------------------------------------------------------------

_CLOSE = 0.25  # |m| over the gap 2|M0|: corrections of order (m/2M0)² are then 6 %


def _check_insulator(model) -> None:
    advice = "SplitBands takes any model."
    check_type("model", model, TopologicalInsulator, "a TopologicalInsulator", advice)
    if model.spin_basis != "pauli":
        raise ValueError(
            f"Argument `model` must have spin_basis 'pauli', but has {model.spin_basis!r}."
        )
    if is_traced(model):
        return
    if not float(model.M0) < 0:
        raise ValueError(
            f"Argument `model` must be inverted, M0 < 0, but has M0 = {float(model.M0)!r} eV."
        )
    if float(model.R1) != 0:
        raise ValueError(
            "Argument `model` must have no warping R1, "
            f"but has R1 = {float(model.R1)!r} eV Angstrom^3."
        )


def _check_gap(model, magnetization) -> None:
    if is_traced(model, magnetization):
        return
    size, gap = np.linalg.norm(magnetization), 2 * abs(float(model.M0))
    if size > _CLOSE * gap:
        raise ValueError(
            f"Argument `magnetization` must be small against the gap of {gap:.4g} eV, at most "
            f"{_CLOSE * gap:.4g} eV, but has the length {size:.4g} eV."
        )
