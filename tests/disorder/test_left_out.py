"""Thermal averages whose window reaches bands that the rule for the surface cannot do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin.disorder.results import MECHANISMS
from jaxspin.engine.small_matrices import PAULI
from jaxspin.surfaces.averages import energies_of_level
from jaxspin.surfaces.thermal import leave_out

THERMAL, MU = 0.02, 0.3


class Hat(js.Model):
    """H = 20 k² + v (k_x σ_y − k_y σ_x) + (m − 30 k²) σ_z: a conduction band with one surface from
    0.15 eV, and a valence band with two, a ring, up to −0.076 eV."""

    velocity: jax.Array
    mass: jax.Array

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        k2 = k @ k
        rashba = self.velocity * (k[0] * PAULI[2] - k[1] * PAULI[1])
        return 20 * k2 * PAULI[0] + rashba + (self.mass - 30 * k2) * PAULI[3]

    def spin(self):
        return jnp.asarray(PAULI[1:])


HAT = Hat(jnp.asarray(2.5), jnp.asarray(0.15))


def respond(roots, temperature, mu=0.2):
    levels = js.Levels(mu, temperature)
    return js.disordered_response(
        HAT, js.FermiContour(24, roots=roots), levels, js.ScalarDisorder(0.05)
    )


def average_above(edge):
    """Energies of a level, the same without those below an edge, and which these are."""
    everywhere = js.models.MassiveDirac(velocity=1.0, mass=1e-9)
    rule = js.FermiContour(4)
    energies = energies_of_level(rule, everywhere, jnp.asarray(MU), jnp.asarray(THERMAL))
    batch = jax.tree.map(lambda x: x[None], energies)
    refused = batch.energies < edge
    kept = jax.tree.map(lambda x: x[0], leave_out(batch, refused))
    return energies, kept, np.asarray(refused[0])


def test_energies_of_no_weight_are_left_out_and_enter_the_error():
    energies, kept, refused = average_above(MU - 14 * THERMAL)
    first, second = kept.average(jnp.where(refused, jnp.nan, kept.energies))
    exact, _ = energies.average(energies.energies)
    share = float(kept.left_out[0])
    assert 5e-7 < share < 2e-6  # 1/(1 + e^14) = 8e-7, cut between two nodes
    np.testing.assert_allclose(np.sum(kept.shares[: kept.first]), 1, rtol=1e-12)
    assert 1e-9 < abs(first - exact) < 2 * abs(second - first)
    assert not np.any(np.asarray(kept.has_share)[refused])


def test_energies_of_some_weight_are_kept():
    energies, kept, refused = average_above(MU - 9 * THERMAL)  # a share of 1e-4
    np.testing.assert_array_equal(kept.shares, energies.shares)
    np.testing.assert_array_equal(kept.left_out, 0)
    assert np.any(np.asarray(kept.counts_in_first)[refused])


def test_nothing_is_left_out_where_nothing_is_refused():
    energies, kept, _ = average_above(-10.0)
    np.testing.assert_array_equal(kept.shares, energies.shares)
    np.testing.assert_array_equal(kept.left_out, 0)


def test_a_level_at_zero_temperature_is_never_left_out():
    rule, model = js.FermiContour(4), js.models.MassiveDirac(velocity=1.0, mass=0.1)
    cold = energies_of_level(rule, model, jnp.asarray(MU), None)
    batch = jax.tree.map(lambda x: x[None], cold)
    kept = leave_out(batch, jnp.ones((1, 2), bool))
    np.testing.assert_array_equal(kept.shares, batch.shares)


@pytest.mark.study
@pytest.mark.parametrize("temperature", [210.0, 265.0])
def test_error_covers_a_valence_band_that_is_left_out(temperature):
    """By a rule with room for one root, and by one with room for the ring of the valence band."""
    whole, part = respond(2, temperature), respond(1, temperature)
    assert float(whole.info["left_out"]) == 0
    assert 1e-7 < float(part.info["left_out"]) < 1e-5
    for name in (*MECHANISMS[:-1], "total"):
        for kind in ("conductivity", "spin_density"):
            exact, found = (getattr(getattr(r, name), kind) for r in (whole, part))
            size = np.abs(np.asarray(exact.value)).max()
            difference = np.abs(np.asarray(found.value - exact.value)).max()
            assert difference > 1e-9 * size  # the valence band is not in it
            assert difference < np.max(found.error) < 2e-2 * size


@pytest.mark.study
def test_a_valence_band_of_some_weight_is_refused():
    """10.7 kT below mu: 2.4e-5 of −f'."""
    with pytest.raises(ValueError, match=r"at 300 K reaches 0\.517 eV .* more than 1e-05 of it"):
        respond(1, 300.0)
