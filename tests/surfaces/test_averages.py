"""Energies that levels next to each other share in their thermal averages."""

import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin.surfaces import FermiSurface
from jaxspin.surfaces.averages import (
    SharedLevels,
    drop_without_share,
    energies_of_level,
    energies_of_levels,
    group_levels,
)
from jaxspin.surfaces.thermal import drop_empty_slots

THERMAL, EDGE = 0.02, 0.3
RULE = js.FermiContour(4)
MODEL = js.models.MassiveDirac(velocity=1.0, mass=EDGE)
LEVELS = np.linspace(0.26, 0.56, 31)  # 15 kT, from below the band edge
_RULE = functools.cache(np.polynomial.legendre.leggauss)
RESPONSES = {
    "root": lambda e: jnp.sqrt(jnp.maximum(e - EDGE, 0)),
    "step": lambda e: 1.0 * (e > EDGE),
    "smooth": lambda e: 1 / (1 + (e - 0.4) ** 2),
}


@functools.cache
def share(panels):
    group = SharedLevels(jnp.asarray(LEVELS), panels)
    return eqx.filter_jit(energies_of_levels)(RULE, MODEL, group, jnp.asarray(THERMAL))


def reference(response, mu, number=1500):
    """Midpoint rule in f, from 1 to f at the edge and from there to 0."""
    at_edge = 1 / (1 + np.exp((EDGE - mu) / THERMAL))
    node, weight = _RULE(number)
    total = 0.0
    for low, high in ((0.0, at_edge), (at_edge, 1.0)):
        f = low + (high - low) * (node + 1) / 2
        energy = mu + THERMAL * (np.log1p(-f) - np.log(f))
        total += (high - low) / 2 * weight @ np.asarray(response(energy))
    return total


@pytest.mark.parametrize("name", RESPONSES)
def test_shared_energies_have_the_averages_of_each_level(name):
    (group, _), *others = group_levels(LEVELS, jnp.asarray(THERMAL))
    assert not others
    assert group.panels == 4
    energies, response = share(group.panels), RESPONSES[name]
    values = response(energies.energies)
    for level in (0, 4, 10, 30):
        shares = energies.shares[level]
        found = float(jnp.sum((shares * values)[: energies.first]))
        second = float(jnp.sum((shares * values)[energies.first :]))
        exact = reference(response, LEVELS[level])
        assert abs(found - exact) < 1e-7 * abs(exact)
        assert abs(second - exact) < 1e-6 * abs(exact)


def test_one_panel_for_all_of_the_levels_is_not_enough():
    energies = share(1)
    values = RESPONSES["smooth"](energies.energies)
    sums = (energies.shares * values)[:, : energies.first].sum(axis=1)
    exact = np.array([reference(RESPONSES["smooth"], mu) for mu in LEVELS])
    assert np.max(np.abs(sums - exact)) > 1e-6


def test_a_group_of_one_has_the_energies_of_a_level():
    mu, thermal = jnp.asarray(0.37), jnp.asarray(THERMAL)
    one = eqx.filter_jit(energies_of_level)(RULE, MODEL, mu, thermal)
    group = eqx.filter_jit(energies_of_levels)(RULE, MODEL, SharedLevels(mu[None], 0), thermal)
    np.testing.assert_array_equal(one.energies, group.energies)
    np.testing.assert_array_equal(one.shares, group.shares[0])


def test_levels_share_where_they_are_near():
    mu = np.array([0.9, 0.0, 0.1, 0.05, 2.0])
    groups = group_levels(mu, jnp.asarray(THERMAL))
    assert [which.tolist() for _, which in groups] == [[[1, 3, 2]], [[0], [4]]]
    assert [group.panels for group, _ in groups] == [2, 0]
    (cold, which), *others = group_levels(jnp.asarray(mu), None)
    assert not others
    assert cold.mu.shape == (5, 1)
    np.testing.assert_array_equal(which[:, 0], np.arange(5))


def test_energies_without_a_share_are_dropped():
    grid = share(4)
    batch = type(grid)(
        *(x[None] for x in (grid.energies, grid.shares, grid.tails, grid.left_out)), grid.first
    )
    kept = drop_without_share(batch)
    assert 200 < kept.energies.size < grid.energies.size
    assert np.all(np.any(np.asarray(kept.shares) > 0, axis=(0, 1)))
    np.testing.assert_allclose(kept.shares[0, :, : kept.first].sum(axis=1), 1, rtol=1e-12)


def test_slots_that_no_surface_needs_are_dropped():
    weight = np.zeros((3, 64))
    weight[0, [3, 40]], weight[1, 63] = (1.0, 2.0), np.nan
    k = np.arange(3 * 2 * 64).reshape(3, 2, 64)
    band = np.arange(3 * 64).reshape(3, 64)
    kept = drop_empty_slots(FermiSurface(*map(jnp.asarray, (1.0 * k, band, weight))))
    assert kept.weight.shape == (3, 4)  # the unit is 64/16
    np.testing.assert_array_equal(kept.band[0, :2], [3, 40])
    np.testing.assert_array_equal(kept.k[0, :, :2], k[0][:, [3, 40]])
    np.testing.assert_array_equal(kept.weight[0], [1, 2, 0, 0])
    assert np.isnan(kept.weight[1, 0])
    assert kept.band[1, 0] == 64 + 63
    assert not np.any(kept.weight[2])
