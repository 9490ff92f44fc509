"""Levels: the Fermi function, and the sums over it that the scans make."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin.integration import occupation_sums
from jaxspin.integration.levels import fermi
from jaxspin.integration.occupation_sums import (
    EnergyHistogram,
    FermiSum,
    LinearCellSum,
    StepSum,
    scans,
)
from jaxspin.units import BOLTZMANN

RNG = np.random.default_rng(4)
ENERGIES = RNG.uniform(-1, 1, size=(3, 50))
VALUES = RNG.normal(size=(2, 3, 50))
MU = np.array([0.3, -0.7, 0.31, 0.9, -0.2])  # in no order
SPREAD = RNG.uniform(0.0, 0.2, size=(3, 50))


def scanned(scan, energies=ENERGIES, spread=SPREAD, values=VALUES):
    """What a scan makes of one tile, (t, e, c)."""
    return np.asarray(_scanned(scan, *map(jnp.asarray, (energies, spread, values))))


def step(mu) -> StepSum:
    return StepSum(jnp.sort(jnp.asarray(mu)), jnp.argsort(np.argsort(mu)), 1)


def cells(mu, derivative=False) -> LinearCellSum:
    return LinearCellSum(jnp.sort(jnp.asarray(mu)), jnp.argsort(np.argsort(mu)), 1, derivative)


@eqx.filter_jit
def _scanned(scan, energies, spread, values):
    start = scan.start(len(values), energies.shape[-1])
    return scan.finish(scan.add(start, energies, spread, values))


def test_fermi_function():
    """1/2 at mu, the Boltzmann tail above, 1 below, no overflow anywhere."""
    assert float(fermi(0.3, 0.3, 0.025)) == 0.5
    assert float(fermi(1.3, 0.3, 0.025)) == pytest.approx(np.exp(-40), rel=1e-12)
    assert 1 - float(fermi(-0.2, 0.3, 0.025)) == pytest.approx(np.exp(-20), rel=1e-6)
    assert float(fermi(1e3, 0.0, 1e-4)) == 0
    assert float(fermi(-1e3, 0.0, 1e-4)) == 1


@pytest.mark.parametrize("energy", [-0.05, 0.0, 0.02, 0.3])
def test_derivative_of_the_fermi_function(energy):
    slope = (fermi(energy + 1e-5, 0.0, 0.025) - fermi(energy - 1e-5, 0.0, 0.025)) / 2e-5
    np.testing.assert_allclose(fermi(energy, 0.0, 0.025, True), slope, rtol=1e-5, atol=1e-12)


def test_fermi_function_has_finite_derivatives_far_away():
    """Where the exponential overflows the derivative is zero, not NaN."""
    gradient = jax.grad(lambda e, mu, t: fermi(e, mu, t), argnums=(0, 1, 2))(1e3, 0.0, 1e-4)
    assert np.all(np.asarray(gradient) == 0)


def test_step_counts_bands_below():
    expected = np.einsum("emk,cmk->ec", MU[:, None, None] > ENERGIES, VALUES)
    np.testing.assert_allclose(scanned(step(MU))[0], expected, atol=1e-12)


def test_an_energy_at_the_level_is_below_it():
    """θ(0) = 1."""
    scan = step(np.array([0.5]))
    value = scanned(scan, np.array([[0.5]]), np.zeros((1, 1)), np.ones((1, 1, 1)))
    assert float(value[0, 0, 0]) == 1


def test_cells_fill_gradually():
    """clip(1/2 + (mu - ε)/spread, 0, 1)."""
    filling = np.clip(0.5 + (MU[:, None, None] - ENERGIES) / SPREAD, 0, 1)
    expected = np.einsum("emk,cmk->ec", filling, VALUES)
    value = scanned(cells(MU))[0]
    np.testing.assert_allclose(value, expected, atol=1e-11)


def test_cells_of_no_width_are_steps():
    value = scanned(cells(MU), spread=0 * SPREAD)
    np.testing.assert_allclose(value, scanned(step(MU)), atol=1e-12)


def test_derivative_of_cells_is_minus_their_slope():
    inside = np.abs(MU[:, None, None] - ENERGIES) < SPREAD / 2
    expected = -np.einsum("emk,cmk->ec", inside / SPREAD, VALUES)
    value = scanned(cells(MU, True))[0]
    np.testing.assert_allclose(value, expected, atol=1e-10)


def cell_error(number: int, scan) -> float:
    """Of the filling of a band ε = k² by cells in 0 < k < 1, at mu = 0.3."""
    k = (np.arange(number) + 0.5) / number
    values = np.full((1, 1, number), 1 / number)
    value = scanned(scan, k[None] ** 2, 2 * k[None] / number, values)
    return abs(float(value[0, 0, 0]) - np.sqrt(0.3))


def test_cells_converge_with_the_square_of_the_spacing():
    """Negative control: counting points does not."""
    mu = np.array([0.3])
    assert cell_error(100, cells(mu)) < 1e-5
    assert cell_error(100, step(mu)) > 1e-3


TEMPERATURES = np.array([50.0, 300.0])


def exact_fermi(derivative):
    thermal = BOLTZMANN * TEMPERATURES[:, None, None, None]
    weight = np.asarray(fermi(ENERGIES, MU[:, None, None], thermal, derivative))
    return np.einsum("temk,cmk->tec", weight, VALUES)


@pytest.mark.parametrize("derivative", [False, True])
def test_fermi_scan(derivative):
    scan = FermiSum(jnp.asarray(MU), jnp.asarray(BOLTZMANN * TEMPERATURES), derivative)
    np.testing.assert_allclose(scanned(scan), exact_fermi(derivative), atol=1e-11)


@pytest.mark.parametrize("derivative", [False, True])
def test_histogram_interpolates_the_fermi_function(derivative):
    """Each weight f is right to 6e-8; f' = ∂f/∂ε to as much of 1/kT."""
    levels = js.Levels(np.concatenate([MU, np.linspace(-0.5, 0.5, 20)]), TEMPERATURES)
    ((_, scan),) = scans(levels, cells=False, derivative=derivative)
    assert isinstance(scan, EnergyHistogram)
    error = np.abs(np.asarray(scanned(scan))[:, : len(MU)] - exact_fermi(derivative))
    scale = 1 / (BOLTZMANN * TEMPERATURES[0]) if derivative else 1.0
    assert np.max(error) < 1e-6 * scale
    assert np.max(error) < 1e-7 * scale * np.sum(np.abs(VALUES), axis=(1, 2)).max()


def kinds(levels, **keywords):
    keywords = {"cells": False} | keywords
    return [(indices, type(scan)) for indices, scan in scans(levels, **keywords)]


def test_each_temperature_gets_its_scan():
    mixed = js.Levels([0.1], [300.0, 0.0, 50.0])
    assert kinds(mixed) == [((1,), StepSum), ((0, 2), FermiSum)]
    assert kinds(mixed, cells=True) == [((1,), LinearCellSum), ((0, 2), FermiSum)]
    assert kinds(mixed, derivative=True) == [((1,), LinearCellSum), ((0, 2), FermiSum)]
    assert kinds(js.Levels(np.linspace(0, 1, 50), 300.0)) == [((0,), EnergyHistogram)]


def test_histogram_gives_way_to_the_fermi_function_where_it_would_be_large():
    assert kinds(js.Levels(np.linspace(-50, 50, 50), 1e-2)) == [((0,), FermiSum)]


@pytest.mark.parametrize(
    ("mu", "temperature", "shape"),
    [(0.1, 0.0, (1,)), ([0.1, 0.2], 300.0, (2,)), ([0.1, 0.2], [0.0, 50.0, 300.0], (3, 2))],
)
def test_shape(mu, temperature, shape):
    assert js.Levels(mu, temperature).shape == shape


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("coldest", [1.0, 10.0])
@pytest.mark.parametrize("derivative", [False, True])
def test_many_levels_and_temperatures_need_little_memory(coldest, derivative):
    """10⁴ levels x 100 temperatures, of which the result is 32 MB: 150 MB, that included."""
    levels = js.Levels(np.linspace(-1, 1, 10_000), np.linspace(coldest, 300, 100))
    ((_, scan),) = scans(levels, False, derivative)
    energies, values = (jax.ShapeDtypeStruct(shape, float) for shape in ((2, 256), (4, 2, 256)))

    def one_tile(energies, values):
        return scan.finish(scan.add(scan.start(4, 256), energies, energies, values))

    memory = jax.jit(one_tile).lower(energies, values).compile().memory_analysis()
    assert memory.output_size_in_bytes == 32e6
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < 150e6


@pytest.mark.parametrize(("components", "levels"), [(48, 6), (48, 60)])
def test_sums_of_any_length_inside_a_loop(components, levels, rng):
    """Half a megabyte and more, where XLA on CPU shares an addition among threads: the loop over
    tiles, one kernel, did not compile (`__xla_cpu_runtime_ParallelForkJoin`)."""
    mu, thermal = np.linspace(-0.1, 0.1, levels // 2), BOLTZMANN * TEMPERATURES
    scan = FermiSum(jnp.asarray(mu), jnp.asarray(thermal), False)
    energies, values = rng.uniform(-0.2, 0.2, (2, 256)), rng.normal(size=(components, 2, 256))
    start = scan.start(components, 256)
    assert start.nbytes > 2**19

    @jax.jit
    def sums_of_tiles(sums, tiles):
        def add(tile, sums):
            return scan.add(sums, energies + 0.01 * tile, energies, values)

        return scan.finish(jax.lax.fori_loop(0, tiles, add, sums))

    moved = (energies + 0.01 * np.arange(3)[:, None, None])[:, None, None]
    weights = np.sum(fermi(moved, mu[:, None, None], thermal[:, None, None, None]), axis=0)
    exact = np.einsum("temk,cmk->tec", weights, values)
    np.testing.assert_allclose(sums_of_tiles(start, 3), exact, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("kind", [FermiSum, EnergyHistogram])
@pytest.mark.parametrize("derivative", [False, True])
def test_sums_in_parts_are_the_same(monkeypatch, kind, derivative, rng):
    """A few levels at a time, against all at once."""
    temperatures = np.array([200.0, 300.0, 500.0])
    number = 5 if kind is EnergyHistogram else 4
    levels = js.Levels(np.linspace(-0.1, 0.1, number), temperatures)
    ((_, scan),) = scans(levels, False, derivative)
    assert type(scan) is kind
    energies, values = rng.uniform(-0.2, 0.2, (3, 7)), rng.normal(size=(2, 3, 7))

    def total():
        return scan.finish(scan.add(scan.start(2, 7), energies, energies, values))

    whole = total()
    monkeypatch.setattr(
        occupation_sums, "_NUMBERS", 2 * scan.number if kind is EnergyHistogram else 100
    )
    np.testing.assert_allclose(total(), whole, rtol=1e-12, atol=1e-13)
