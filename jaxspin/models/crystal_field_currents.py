"""Closed forms of the equilibrium spin current of `models.CrystalFieldC4v`, and where they hold.

⟨j_xy⟩ = −⟨j_yx⟩ = J_s, with the first index the spin, as in Samokhin, Sigrist and Fischer (2025),
whose equations the numbers in brackets are; in a Response it is the component flow "y", spin "x".
Values are ħJ_s in eV/Å for a spin in units of ħ/2 and the lower two bands.

These are estimates to compare with. The number itself comes from `equilibrium_spin_current` of the
model, restricted to `bands=(0, 1)`, or of its `downfold`: J_s is a small remainder of parts that
cancel, the regimes are narrow, and each result says how far it is from its own.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import spence
from jaxtyping import Array, Float

from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.validate import check_temperature, is_positive, shortened
from jaxspin.models.crystal_field import CrystalFieldC4v
from jaxspin.units import BOLTZMANN

# What counts as small. The relative error is at most twice the sum of the ratios: 1.5 times in 250
# random models where all hold, with |b| up to 0.95 gap.
_SMALL = 0.1
_TAIL = 10.0  # in units of kT: so far above mu bands count as empty, filled to e^(−10)


class Estimate(eqx.Module):
    """A closed form and what must be small for it to hold."""

    #: ħJ_s, eV/Å.
    value: Float[Array, ""]
    #: Ratios that must be well below 1, by name.
    small: dict[str, Array]

    @property
    def holds(self) -> bool:
        """True if every ratio is at most 0.1."""
        return all(bool(ratio <= _SMALL) for ratio in self.small.values())


def rashba(
    kinetic: float | Array, velocity: float | Array, mu: float | Array
) -> tuple[Array, Array]:
    """Trivial and topological part of ħJ_s of kinetic k² + velocity (k_yσ_x − k_xσ_y) at T = 0.

    (C9), (C10) for mu ≥ 0; their sum is m²α³/3πħ⁵ (4), whatever mu. Below, where only a ring of the
    lower band is filled, J_s = (α/4π|q|)(2q²κ − 2κ³/3), q = mα/ħ², κ² = q² + 2mμ/ħ². Both parts
    are odd in α.

    Args:
        kinetic: ħ²/2m, eV Å².
        velocity: α, eV Å.
        mu: from the crossing of the bands at k = 0, eV.
    Raises:
        ValueError: `kinetic` is not positive; `mu` is not a finite number above −mα²/2ħ², the
            bottom of the band.
    """
    _check_kinetic(kinetic)
    q = velocity / (2 * kinetic)
    _check_above(mu, -kinetic * q**2)
    square = mu / kinetic
    above = (
        -velocity / (4 * jnp.pi) * (square + 2 * q**2 / 3),
        velocity / (4 * jnp.pi) * (square + 2 * q**2),
    )
    # The topological part is α/2 for each state of the ring from |q| − κ to |q| + κ.
    kappa = jnp.sqrt(q**2 + square)
    one = jnp.sign(q) * kinetic / jnp.pi
    below = (-one * kappa**3 / 3, one * q**2 * kappa)
    trivial, topological = (jnp.where(square >= 0, a, b) for a, b in zip(above, below, strict=True))
    return trivial, topological


def standard(model: CrystalFieldC4v, mu: float) -> Estimate:
    """(4) with (39), (41): the current of H_eff by the standard definition, not of the crystal.

    The crystal has it only where (52) and, with b = 0, what the bands gain at fourth order,
    a b_inter³ 4μ/π in units ħ = m = E_g = 1, are far below it: three ħ²μ/2ma² relatively.
    """
    model = _reduce_to_a1(model)
    kinetic, alpha = _effective_parameters(model)
    trivial, topological = rashba(kinetic, alpha, mu)
    value = trivial + topological
    small = {
        "3 kinetic |mu| / a^2": 3 * model.kinetic * jnp.abs(mu) / model.a**2,
        "a^2 / (kinetic gap)": model.a**2 / (model.kinetic * model.gap),
        "(52) / (4)": jnp.abs(_lowest_order(model, mu) / value),
        "b / gap": jnp.abs(model.b) / model.gap,
        "upper bands filled": _infinite_if_filled(model, mu),
    }
    return _warn_out_of_regime(value, small)


def leading(model: CrystalFieldC4v, mu: float, temperature: float = 0.0) -> Estimate:
    """J_s = (μ/E_g)² m b α_R/πħ³ (52), lowest order in b and second in a, b_inter.

    At a finite temperature (K), times 2(kT/μ)² [−Li₂(−e^(μ/kT))].
    """
    model = _reduce_to_a1(model)
    small = {"b / gap": jnp.abs(model.b) / model.gap, **_relative_remainder(model, mu, temperature)}
    return _warn_out_of_regime(_lowest_order(model, mu) * _thermal_factor(mu, temperature), small)


def all_orders_in_b(model: CrystalFieldC4v, mu: float, temperature: float = 0.0) -> Estimate:
    """J_s = 2mμ² b a b_inter/[πħ³ (E_g − b)² (E_g + b)], second order in a, b_inter."""
    model = _reduce_to_a1(model)
    gaps = (model.gap - model.b) ** 2 * (model.gap + model.b)
    value = mu**2 * model.b * model.a * model.b_inter / (jnp.pi * model.kinetic * gaps)
    small = _relative_remainder(model, mu, temperature)
    return _warn_out_of_regime(value * _thermal_factor(mu, temperature), small)


def second_order(model: CrystalFieldC4v, mu: float) -> Estimate:
    """(51) at T = 0 in closed form: Hamiltonian and current of second order, averaged exactly.

    With q = m*α/ħ² and K² = 2m*μ/ħ² + q², m* and α of (39), (41).
    """
    model = _reduce_to_a1(model)
    kinetic, alpha = _effective_parameters(model)
    gap = model.gap
    q = alpha / (2 * kinetic)
    k2 = mu / kinetic + q**2
    enhancement = 2 * model.kinetic * model.b / gap**2
    first = k2 + q**2 + enhancement * (k2**2 + 6 * k2 * q**2 + q**4) / 2
    reduction = 1 - 2 * model.b_inter**2 / gap**2 - model.b * model.a**2 / (model.kinetic * gap**2)
    second = 2 * kinetic / (4 * jnp.pi) * reduction * (2 * k2 * q + 2 * q**3 / 3)
    value = alpha / (2 * jnp.pi) * first - second
    return _warn_out_of_regime(
        value, {"b / gap": jnp.abs(model.b) / gap, **_relative_remainder(model, mu)}
    )


def _effective_parameters(model) -> tuple[Array, Array]:
    """ħ²/2m* and α_R, (39), (41)."""
    return (
        model.kinetic - model.a**2 / model.gap,
        2 * model.a * model.b_inter / model.gap,
    )


def _lowest_order(model, mu) -> Array:
    """(52) at T = 0."""
    alpha = 2 * model.a * model.b_inter / model.gap
    return (mu / model.gap) ** 2 * model.b * alpha / (2 * jnp.pi * model.kinetic)


def _relative_remainder(model, mu, temperature=0.0) -> dict[str, Array]:
    """Relative size of the fourth order, also near the doublet, and where the latter is filled.

    For small b the first two are those of (51). Their factors at any b are those of the weight
    b_inter²/(gap − b)² lost, and of the mass: terms as large as trivial and topological part times
    that weight, which do not cancel, and what (F6) has in the place of (39).

    Raises:
        ValueError: `mu` is not a finite number above 0, where the lower bands begin, or
            `temperature` not one of at least 0.
    """
    _check_above(mu, 0.0)
    check_temperature(temperature)
    gap, b = model.gap, model.b
    near, loss = gap - jnp.abs(b), 2 * model.b_inter**2 / (mu * jnp.abs(b))
    mass = model.a**2 / (model.kinetic * mu)
    return {
        "2 b_inter^2 (gap + b) / (mu |b| (gap - b))": loss * (gap + b) / (gap - b),
        "a^2 gap^2 / (kinetic mu (gap^2 - b^2))": mass * gap**2 / (gap**2 - b**2),
        "2 b_inter^2 / (gap - |b|)^2": 2 * model.b_inter**2 / near**2,
        "a^2 mu / (kinetic (gap - |b|)^2)": model.a**2 * mu / (model.kinetic * near**2),
        "upper bands filled": _infinite_if_filled(model, mu, temperature),
    }


def _infinite_if_filled(model, mu, temperature=0.0) -> Array:
    """Infinite where the upper bands are filled too, else 0."""
    top = mu + _TAIL * BOLTZMANN * temperature
    return jnp.where(top < model.gap - jnp.abs(model.b), 0.0, jnp.inf)


def _check_above(mu, bottom) -> None:
    if is_traced(mu, bottom):
        return
    if np.ndim(mu) or not float(bottom) < float(mu) < np.inf:
        raise ValueError(
            f"Argument `mu` must be a number above {float(bottom):g} eV, where the lower bands "
            f"begin, but is {shortened(mu)}."
        )


def _check_kinetic(kinetic) -> None:
    if not is_positive(kinetic):
        raise ValueError(
            "Argument `kinetic` must be positive, that of an effective model "
            f"kinetic - a^2 / gap too, but is {float(kinetic):g} eV Angstrom^2."
        )


def _thermal_factor(mu, temperature) -> Array:
    """2 (kT/μ)² [−Li₂(−e^(μ/kT))], by the inversion of Li₂ for μ > 0; 1 at T = 0."""
    x = mu / (BOLTZMANN * jnp.maximum(temperature, 1e-12))
    return jnp.where(temperature > 0, 1 + (jnp.pi**2 / 3 + 2 * spence(1 + jnp.exp(-x))) / x**2, 1)


@evaluate_eagerly()
def _reduce_to_a1(model) -> CrystalFieldC4v:
    """The same currents with an orbital A1, and no intrinsic Rashba terms.

    Raises:
        ValueError: it has such terms, which the closed forms do not have; the doublet, at gap ± b,
            is not above the orbital.
    """
    gammas = (model.gamma1, model.gamma2, model.gamma_inter)
    if not is_traced(gammas) and any(float(g) != 0 for g in gammas):
        raise ValueError(
            "Argument `model` must have gamma1, gamma2 and gamma_inter zero for a closed form, "
            f"but has {', '.join(f'{float(g):g}' for g in gammas)}."
        )
    if not is_traced(model) and not model.gap > jnp.abs(model.b):
        raise ValueError(
            "Argument `model` must have a gap above |b|, so that the orbital is lowest, but has "
            f"gap {float(model.gap):g} and b {float(model.b):g} eV."
        )
    return model.as_a1()


def _warn_out_of_regime(value, small) -> Estimate:
    estimate = Estimate(value, small)
    if not is_traced(estimate) and not estimate.holds:
        worst = max(small, key=lambda name: float(small[name]))
        warn_user(
            f"This closed form is out of its regime: {worst} is {float(small[worst]):.2g} and must "
            "be well below 1. `equilibrium_spin_current` gives the exact value."
        )
    return estimate
