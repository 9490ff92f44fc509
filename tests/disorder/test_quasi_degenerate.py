"""Groups of bands with any splitting: tables, both limits, invariances, refusals.

quasi_degenerate.json holds 9 decimals of Γ → 0 at a fixed ratio of splitting to level width, found
by an independent code of the same theory, and the Kubo-Streda formula summed over all k (`kubo`).
They agree to 1e-8 to 7e-7, what the extrapolation of the latter leaves.
"""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import random_unitary

import jaxspin as js
from jaxspin import units
from jaxspin.disorder.fermi_states import find_states
from jaxspin.engine.small_matrices import PAULI
from jaxspin.models.base import parameter

TABLE = json.loads((Path(__file__).parent / "quasi_degenerate.json").read_text())
ONE, X, Y, Z = PAULI
SPIN = np.array([np.kron(ONE, s) for s in PAULI[1:]])
ALONG = np.array((0.3, 0.5, 0.8)) / np.sqrt(0.98)
FLIPS = np.array([np.eye(4), *(0.4 * SPIN)])
STRENGTHS = (2e-4, 1e-4, 5e-5)
SURFACE = js.FermiContour(128, reach=2.6)


class Kramers(js.Model):
    """Kramers pairs on a square lattice with an exchange field ½ splitting n·σ."""

    splitting: jax.Array = parameter()
    hopping: jax.Array = parameter(-0.2)

    @property
    def dimension(self):
        return 2

    @property
    def lattice(self):
        return np.eye(2)

    def __call__(self, k):
        x, y = k
        even = jnp.cos(x) + jnp.cos(y)
        terms = [
            (self.hopping * even, np.eye(4)),
            (even - 1.2, np.kron(Z, ONE)),
            (jnp.sin(x), np.kron(X, X)),
            (0.8 * jnp.sin(y), np.kron(X, Y)),
            (0.3 * jnp.sin(x + y), np.kron(X, Z)),
            (0.15 * jnp.sin(y - 2 * x), np.kron(Y, ONE)),
            (self.splitting / 2, np.einsum("s,sij->ij", ALONG, SPIN)),
        ]
        return sum(f * matrix for f, matrix in terms)

    def spin(self):
        return SPIN


class CubicRashba(js.Model):
    """A gas of holes with weak k³ coupling and exchange, both ∝ splitting."""

    splitting: jax.Array = parameter()
    mass: jax.Array = parameter(1.0)

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        (x, y), d = k, self.splitting
        coupling = (3 * x * x * y - y**3) * X - (x**3 - 3 * x * y * y) * Y
        return (x * x + y * y) / (2 * self.mass) * ONE + d / 2 * coupling + d * (0.2 * X + 0.3 * Z)

    def spin(self):
        return PAULI[1:]


def natural(response):
    """The numbers of the first level in units of ħ = e = 1."""
    return np.asarray(response.value)[0] / units.per_natural(response.units)


def spin_currents(response):
    """Order u0⁰ of J_ac as rows (flow, spin), columns the field."""
    return np.moveaxis(natural(response.measured.flow.order_zero), 1, 2).reshape(6, 2)


def respond(model, strength, matrices, mu, bands, surface=SURFACE, **more):
    disorder = js.MatrixDisorder(np.sqrt(strength) * matrices)
    measure = {"flow": "spin_current"}
    return js.disorder.quasi_degenerate_response(
        model, surface, js.Levels(mu), disorder, bands=bands, measure=measure, **more
    )


def kramers(splitting, strength, **more):
    return respond(Kramers(splitting=splitting), strength, FLIPS, 0.8, (2, 3), **more)


def cubic(splitting, strength, surface=None, **more):
    surface = js.FermiContour(64, reach=2.6) if surface is None else surface
    matrices = np.array([ONE, 0.5 * Z])
    return respond(CubicRashba(splitting), strength, matrices, 0.5, (0, 1), surface, **more)


@pytest.fixture(scope="module")
def width():
    """The largest element of π P 𝒲[ρ̂] P for u0² = 1 without exchange, the Γ of the table."""

    @eqx.filter_jit
    def largest(model):
        states = find_states(model, SURFACE.find(model, 0.8)[0])
        scattering = js.MatrixDisorder(FLIPS).scattering(states)
        return jnp.max(jnp.abs(scattering.rate * states.projector)) / 2

    return float(largest(Kramers(splitting=0.0)))


def extrapolate(values):
    """The limit of zero strength from three that are halved."""
    return (8 * values[2] - 6 * values[1] + values[0]) / 3


@pytest.mark.study
@pytest.mark.parametrize(("ratio", "digits"), [(0.3, 1e-8), (1.0, 5e-8), (3.0, 1e-6)])
def test_table_of_kramers_pairs(ratio, digits, width):
    """The table holds what is on the surface; its two codes differ by 1.4e-8, 5e-8 and 6.5e-7."""
    values = [spin_currents(kramers(2 * ratio * g, g / width)) for g in STRENGTHS]
    pair = json.loads((Path(__file__).parent / "disorder_operators.json").read_text())
    pair = pair["gamma4_spinflip"]
    beyond = (np.array(pair["intrinsic"]) - np.array(pair["fsint"]))[2:8]
    row = TABLE[f"gamma4_spinflip_exchange_ratio{ratio:g}"]
    found = extrapolate(values) - beyond
    np.testing.assert_allclose(found, row["antisym"], rtol=0, atol=digits)
    np.testing.assert_allclose(found, row["kubo_antisym"], rtol=0, atol=1e-7)


@pytest.mark.parametrize(("ratio", "digits"), [(0.1, 1e-9), (1.0, 5e-9), (5.0, 2e-8)])
def test_table_of_cubic_rashba(ratio, digits):
    """Of components equal by symmetry the table has some that differ by 1.3e-8, at the ratio 5."""
    values = [spin_currents(cubic(2 * ratio * g, g / 0.625)) for g in STRENGTHS]
    row = TABLE[f"cubic_weak_ratio{ratio:g}"]
    np.testing.assert_allclose(extrapolate(values), row["antisym"], rtol=0, atol=digits)
    np.testing.assert_allclose(extrapolate(values), row["kubo_antisym"], rtol=0, atol=5e-7)


@pytest.mark.study
def test_degenerate_limit_is_the_response_of_the_pair():
    found = kramers(0.0, 1e-4)
    expected = js.disordered_response(
        Kramers(splitting=0.0),
        SURFACE,
        js.Levels(0.8),
        js.MatrixDisorder(1e-2 * FLIPS),
        measure={"flow": "spin_current"},
    )
    for order in ("drude", "order_zero"):  # rounding of the conductivity, 10³, in what vanishes
        both = (getattr(x.measured.flow, order) for x in (found, expected))
        rounding = 1e-14 * np.max(natural(expected.drude.conductivity))
        np.testing.assert_allclose(*map(natural, both), rtol=0, atol=rounding)
    both = (found.conductivity.drude, expected.drude.conductivity)
    np.testing.assert_allclose(*map(natural, both), rtol=1e-12)


def hall(response):
    return natural(response.conductivity.order_zero)[1, 0]


@pytest.mark.parametrize(("splitting", "digits"), [(0.04, 1e-8), (0.02, 2e-8)])
def test_far_above_the_width_it_is_the_response_of_single_bands(splitting, digits):
    """At splittings of 600 level widths, magnetic disorder, with sea."""
    matrices, strength = np.array([ONE, 0.5 * Z]), 1e-3 * splitting
    model = js.models.Rashba(kinetic=0.5, velocity=splitting, exchange=0.6 * splitting)
    surface = js.FermiContour(32)
    found = respond(model, strength, matrices, 0.5, (0, 1), surface)
    single = js.disordered_response(
        model,
        surface,
        js.Levels(0.5),
        js.MatrixDisorder(np.sqrt(strength) * matrices),
        measure={"flow": "spin_current"},
    )
    both = (natural(x.measured.flow.order_zero) for x in (found, single))
    np.testing.assert_allclose(*both, rtol=0, atol=digits)
    charge = natural(single.total.conductivity) - natural(single.drude.conductivity)
    np.testing.assert_allclose(hall(found), charge[1, 0], rtol=0, atol=digits)


def test_conductivity_is_symmetric_to_leading_order_and_odd_at_order_zero():
    found = cubic(4e-4, 3e-4)
    drude, zero = natural(found.conductivity.drude), natural(found.conductivity.order_zero)
    np.testing.assert_allclose(drude, drude.T, rtol=1e-12)
    np.testing.assert_allclose(zero, -zero.T, rtol=0, atol=1e-9 * np.abs(zero).max())


class Turned(js.Model):
    """A model in another basis."""

    model: js.Model
    unitary: np.ndarray = eqx.field(static=False)

    @property
    def dimension(self):
        return self.model.dimension

    def __call__(self, k):
        return self.unitary @ self.model(k) @ self.unitary.conj().T

    def spin(self):
        return self.unitary @ self.model.spin() @ self.unitary.conj().T


@pytest.mark.study
def test_basis_does_not_matter(rng):
    model, u = CubicRashba(4e-4), random_unitary(rng, 2)
    matrices, surface = np.array([ONE, 0.5 * Z]), js.FermiContour(64, reach=2.6)
    here = respond(model, 3e-4, matrices, 0.5, (0, 1), surface)
    there = respond(Turned(model, u), 3e-4, u @ matrices @ u.conj().T, 0.5, (0, 1), surface)
    np.testing.assert_allclose(spin_currents(here), spin_currents(there), rtol=0, atol=1e-9)


@pytest.mark.study
def test_error_is_at_least_the_true_one():
    truth = spin_currents(cubic(4e-4, 3e-4))
    found = cubic(4e-4, 3e-4, js.FermiContour(6, reach=2.6))
    error = np.max(found.measured.flow.order_zero.error) / units.per_natural(
        found.measured.flow.order_zero.units
    )
    true = np.max(np.abs(spin_currents(found) - truth))
    assert true <= error


@pytest.mark.study
def test_vmap_and_derivative():
    """Over the splitting, which splits no degenerate bands here."""

    def flow(splitting):
        disorder = js.MatrixDisorder(np.sqrt(3e-4) * np.array([ONE, 0.5 * Z]))
        found = js.disorder.quasi_degenerate_response(
            CubicRashba(splitting),
            js.FermiContour(16, reach=2.6),
            js.Levels(0.5),
            disorder,
            bands=(0, 1),
            measure={"flow": "spin_current"},
        )
        return found.measured.flow.order_zero.value[0, 1, 0, 2]

    at, step = 4e-4, 1e-7
    ends = jax.jit(jax.vmap(flow))(jnp.array([at - step, at + step]))
    _, slope = jax.jit(lambda x: jax.jvp(flow, (x,), (1.0,)))(at)
    assert slope == pytest.approx(float(ends[1] - ends[0]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("bands", [(0,), (1, 0), (0, 2), (0, 1.0), 0, "01"])
def test_bad_bands(bands):
    with pytest.raises(ValueError, match="Argument `bands` must be"):
        respond(CubicRashba(1e-3), 1e-4, np.array([ONE]), 0.5, bands)


def test_disorder_that_splits_the_group_is_refused():
    surface = js.FermiContour(64, reach=2.6)
    mixed = np.array([ONE + 0.3 * Z, 0 * ONE])
    with pytest.raises(ValueError, match="Argument `disorder` must have the symmetry"):
        respond(CubicRashba(1e-3), 1e-4, mixed, 0.5, (0, 1), surface)


def test_disorder_of_finite_range_is_refused():
    disorder = js.FiniteRangeDisorder(js.disorder.GaussianCorrelator(1e-4, 1.0))
    with pytest.raises(ValueError, match="Argument `disorder` must be ScalarDisorder or Matrix"):
        js.disorder.quasi_degenerate_response(
            CubicRashba(1e-3), SURFACE, js.Levels(0.5), disorder, bands=(0, 1)
        )
