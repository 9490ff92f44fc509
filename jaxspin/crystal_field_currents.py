"""Closed forms of the equilibrium spin current of `models.CrystalFieldC4v`, and where they hold.

⟨j_xy⟩ = −⟨j_yx⟩ = J_s, with the first index the spin, as in Samokhin, Sigrist and Fischer (2025),
whose equations the numbers in brackets are; in a Response it is the component flow "y", spin "x".
Values are ħJ_s in eV/Å for a spin in units of ħ/2 and the lower two bands.

These are estimates to compare with. The number itself comes from `equilibrium_spin_current` of the
model, restricted to `bands=(0, 1)`, or of its `downfold`: J_s is a small remainder of parts that
cancel, the regimes are narrow, and each result says how far it is from its own.
"""

import warnings

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import spence
from jaxtyping import Array, Float

from jaxspin.algebra import is_traced
from jaxspin.models.crystal_field import CrystalFieldC4v
from jaxspin.units import BOLTZMANN

_SMALL = 0.1  # what counts as small; the terms that are left out are then about as large relatively
_TAIL = 10.0  # in units of kT: so far above mu bands count as empty, filled to e^(−10)


class Estimate(eqx.Module):
    """A closed form and what must be small for it to hold."""

    #: ħJ_s, eV/Å.
    value: Float[Array, ""]
    #: Ratios that must be well below 1, by name.
    small: dict[str, Array]

    @property
    def holds(self) -> bool:
        """Whether every ratio is at most 0.1."""
        return all(bool(ratio <= _SMALL) for ratio in self.small.values())


def rashba(kinetic: float, velocity: float, mu: float) -> tuple[Array, Array]:
    """Trivial and topological part of ħJ_s of kinetic k² + velocity (k_yσ_x − k_xσ_y) at T = 0.

    (C9), (C10) for mu ≥ 0; their sum is m²α³/3πħ⁵ (4), whatever mu. Below, where only a ring of the
    lower band is filled, J_s = (α/4πq)(2q²κ − 2κ³/3), q = mα/ħ², κ² = q² + 2mμ/ħ².

    Args:
        kinetic: ħ²/2m, eV Å².
        velocity: α, eV Å, positive.
        mu: from the bottom of the band at k = 0, eV, above −mα²/2ħ².
    """
    q = velocity / (2 * kinetic)
    square = jnp.maximum(jnp.asarray(mu) / kinetic, -(q**2))
    above = (
        -velocity / (4 * jnp.pi) * (square + 2 * q**2 / 3),
        velocity / (4 * jnp.pi) * (square + 2 * q**2),
    )
    kappa = jnp.sqrt(q**2 + square)
    below = (
        velocity / (4 * jnp.pi * q) * (-2 / 3 * kappa**3),
        velocity / (4 * jnp.pi * q) * 2 * q**2 * kappa,
    )
    # The topological part is α/2 per state; the trivial one is what is left of (4) and its ring.
    below = (below[0] + below[1] - _ring(velocity, q, kappa), _ring(velocity, q, kappa))
    return tuple(jnp.where(square >= 0, a, b) for a, b in zip(above, below, strict=True))


def _ring(velocity, q, kappa):
    """α/2 for each state of the ring between q − κ and q + κ, ∫k dk/2π = qκ/π."""
    return velocity / 2 * q * kappa / jnp.pi


def standard(model: CrystalFieldC4v, mu: float) -> Estimate:
    """What the standard definition makes of the effective Hamiltonian: (4) with (39), (41)."""
    model = _plain(model)
    kinetic, alpha = _effective(model)
    trivial, topological = rashba(kinetic, alpha, mu)
    return _checked(trivial + topological, {"b / gap": jnp.abs(model.b) / model.gap})


def leading(model: CrystalFieldC4v, mu: float, temperature: float = 0.0) -> Estimate:
    """J_s = (μ/E_g)² m b α_R/πħ³ (52), lowest order in b and second in a, b_inter.

    At a finite temperature (K), times 2(kT/μ)² [−Li₂(−e^(μ/kT))].
    """
    model = _plain(model)
    alpha = 2 * model.a * model.b_inter / model.gap
    value = (mu / model.gap) ** 2 * model.b * alpha / (2 * jnp.pi * model.kinetic)
    small = {"b / gap": jnp.abs(model.b) / model.gap, **_remainder(model, mu, temperature)}
    return _checked(value * _thermal(mu, temperature), small)


def all_orders_in_b(model: CrystalFieldC4v, mu: float, temperature: float = 0.0) -> Estimate:
    """J_s = 2mμ² b a b_inter/[πħ³ (E_g − b)² (E_g + b)], second order in a, b_inter."""
    model = _plain(model)
    gaps = (model.gap - model.b) ** 2 * (model.gap + model.b)
    value = mu**2 * model.b * model.a * model.b_inter / (jnp.pi * model.kinetic * gaps)
    return _checked(value * _thermal(mu, temperature), _remainder(model, mu, temperature))


def second_order(model: CrystalFieldC4v, mu: float) -> Estimate:
    """(51) at T = 0 in closed form: Hamiltonian and current of second order, averaged exactly.

    With q = m*α/ħ² and K² = 2m*μ/ħ² + q², m* and α of (39), (41).
    """
    model = _plain(model)
    kinetic, alpha = _effective(model)
    gap = model.gap
    q = alpha / (2 * kinetic)
    k2 = mu / kinetic + q**2
    enhancement = 2 * model.kinetic * model.b / gap**2
    first = k2 + q**2 + enhancement * (k2**2 + 6 * k2 * q**2 + q**4) / 2
    reduction = 1 - 2 * model.b_inter**2 / gap**2 - model.b * model.a**2 / (model.kinetic * gap**2)
    second = 2 * kinetic / (4 * jnp.pi) * reduction * (2 * k2 * q + 2 * q**3 / 3)
    value = alpha / (2 * jnp.pi) * first - second
    return _checked(value, {"b / gap": jnp.abs(model.b) / gap, **_remainder(model, mu)})


def _effective(model) -> tuple[Array, Array]:
    """ħ²/2m* and α_R, (39), (41)."""
    return (
        model.kinetic - model.a**2 / model.gap,
        2 * model.a * model.b_inter / model.gap,
    )


def _remainder(model, mu, temperature=0.0) -> dict[str, Array]:
    """What fourth order adds relatively, and where the upper bands begin to fill.

    Raises:
        ValueError: `mu` is not above 0, where the lower bands begin.
    """
    if not is_traced(mu) and not mu > 0:
        raise ValueError(
            f"Argument `mu` must be above 0 eV, where the lower bands begin, but is {mu!r}."
        )
    top = mu + _TAIL * BOLTZMANN * temperature
    return {
        "2 b_inter² / (mu |b|)": 2 * model.b_inter**2 / (mu * jnp.abs(model.b)),
        "a² / (kinetic mu)": model.a**2 / (model.kinetic * mu),
        "upper bands filled": jnp.where(top < model.gap - jnp.abs(model.b), 0.0, jnp.inf),
    }


def _thermal(mu, temperature) -> Array:
    """2 (kT/μ)² [−Li₂(−e^(μ/kT))], by the inversion of Li₂ for μ > 0; 1 at T = 0."""
    x = mu / (BOLTZMANN * jnp.maximum(temperature, 1e-12))
    return jnp.where(temperature > 0, 1 + (jnp.pi**2 / 3 + 2 * spence(1 + jnp.exp(-x))) / x**2, 1)


def _plain(model) -> CrystalFieldC4v:
    """The same currents with an orbital A1, and no intrinsic Rashba terms.

    Raises:
        ValueError: it has such terms, which the closed forms do not have.
    """
    gammas = (model.gamma1, model.gamma2, model.gamma_inter)
    if not is_traced(gammas) and any(float(g) != 0 for g in gammas):
        raise ValueError(
            "Argument `model` must have gamma1, gamma2 and gamma_inter zero for a closed form, "
            f"but has {', '.join(f'{float(g):g}' for g in gammas)}."
        )
    return model.as_a1()


def _checked(value, small) -> Estimate:
    estimate = Estimate(value, small)
    if not is_traced(estimate) and not estimate.holds:
        worst = max(small, key=lambda name: float(small[name]))
        warnings.warn(
            f"This closed form is out of its regime: {worst} is {float(small[worst]):.2g} and must "
            "be well below 1. `equilibrium_spin_current` gives the exact value.",
            stacklevel=3,
        )
    return estimate
