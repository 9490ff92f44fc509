"""Error estimates on fixed meshes: by which rule, at what cost, and how often they hold."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from systems import OneRule, random_hopping

import jaxspin as js
from jaxspin.error_estimates import coarser_meshes
from jaxspin.meshes import Grid

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

CHERN = js.models.QiWuZhang(A=1.0, m=-1.0)  # bands from -3 to -1 and from 1 to 3
GRID = js.Grid((24, 24))


def cubic() -> js.HoppingModel:
    """ε = -2 (cos k_x + cos k_y + cos k_z), one orbital."""
    cells = np.concatenate([np.zeros((1, 3), int), np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    blocks = np.where(np.any(cells, axis=1), -1.0 + 0j, 0)[:, None, None]
    return js.HoppingModel(np.eye(3), cells, blocks, np.zeros((1, 3)), spin=None)


def counted(number: int, mu: np.ndarray, shift: float) -> np.ndarray:
    """Electrons of `cubic` on a grid, by NumPy."""
    along = -2 * np.cos(2 * np.pi * (np.arange(number) + shift) / number)
    energies = along[:, None, None] + along[:, None] + along
    return np.array([np.mean(energies <= level) for level in mu])


def test_meshes_that_agree_are_no_evidence():
    """At these levels 12³ and 6³ nodes hold as many electrons, and both are wrong."""
    mu = np.array([-2.75, -2.65, 2.75])
    density = js.carrier_density(cubic(), js.Grid((12, 12, 12), 0.5), js.Levels(mu))
    np.testing.assert_allclose(density.value, counted(12, mu, 0.5), rtol=1e-12)
    np.testing.assert_allclose(density.value, counted(6, mu, 0.5), rtol=1e-12)
    true = np.abs(density.value - counted(150, mu, 0.37))
    assert np.all(true > 0.002)
    assert np.all(true <= density.error)
    assert np.all(density.error < 0.1)


@pytest.mark.parametrize(
    ("model", "mesh", "mu", "kelvin", "number"),
    [
        (CHERN, GRID, 0.0, 0.0, 1),  # an insulator
        (CHERN, GRID, 0.0, 300.0, 1),
        (CHERN, GRID, 1.5, 0.0, 4),  # a metal
        (CHERN, GRID, 1.5, 300.0, 4),  # kT = 0.026 eV, far below the steps between nodes
        (CHERN, js.Grid((64, 64)), 1.5, 20_000.0, 1),  # kT = 1.7 eV
        (CHERN, js.Grid((24, 24), 0.3), 0.999, 0.0, 4),  # the edge of a band between the nodes
        (js.models.MassiveDirac(velocity=1.0, mass=0.1), js.Disk(1.0, 40, 8), 0.0, 0.0, 1),
        (js.models.MassiveDirac(velocity=1.0, mass=0.1), js.Disk(1.0, 40, 8), 0.3, 0.0, 4),
    ],
)
def test_only_fermi_surfaces_are_compared_with_more_meshes(model, mesh, mu, kelvin, number):
    hall = js.anomalous_hall(model, mesh, js.Levels(mu, kelvin))
    assert hall.info["coarser_meshes"] == number
    assert hall.error_rule in str(hall)
    assert ("Fermi surface" in hall.error_rule) == (number == 4)


def test_errors_are_the_same_inside_jit_and_vmap():
    mu, kelvin = np.array([0.0, 1.5, 2.0]), [0.0, 200.0]
    found = js.carrier_density(CHERN, GRID, js.Levels(mu, kelvin))
    inside = jax.jit(lambda model: js.carrier_density(model, GRID, js.Levels(mu, kelvin)))(CHERN)
    np.testing.assert_allclose(inside.error, found.error, rtol=1e-9, atol=1e-14)
    assert inside.info["coarser_meshes"] == 4

    def at(mu):
        return js.carrier_density(CHERN, GRID, js.Levels(mu, 200.0))

    mapped = jax.vmap(at)(mu)
    np.testing.assert_allclose(mapped.error[:, 0], found.error[1], rtol=1e-9, atol=1e-14)
    np.testing.assert_array_equal(mapped.info["coarser_meshes"], [1, 4, 4])


def test_an_error_has_no_derivative():
    def error(m):
        model = js.models.QiWuZhang(A=1.0, m=m)
        return js.carrier_density(model, GRID, js.Levels(1.5, 300.0)).error[0]

    value, slope = jax.jvp(error, (-1.0,), (1.0,))
    assert value > 0
    assert slope == 0


def test_coarser_meshes_are_different_rules():
    """Of other sizes or shifts, and never the mesh itself; an axis of one node stays as it is."""
    for mesh in (
        js.Grid((6, 8)),
        js.Grid((5, 12, 1), 0.5),
        js.Disk(1.0, 20, 5),
        js.Ball(1, 16, 12, 8),
    ):
        several = (mesh, *coarser_meshes(mesh))
        rules = {tuple(tuple(rule.nodes) for rule in one.rules) for one in several}
        assert len(rules) == len(several) == 5
        if isinstance(mesh, Grid) and mesh.dimension == 3:
            assert all(one.rules[2].nodes == mesh.rules[2].nodes for one in several)


@pytest.mark.parametrize(("dimension", "number", "fine"), [(2, 24, 300), (3, 8, 48)])
def test_coverage_of_random_metals(dimension, number, fine):
    """Of 80 densities 19 (2D) and 7 (3D) lay beyond twice the difference from one mesh."""
    beyond, ratios = 0, []
    for seed in range(10):
        model = random_hopping(2, dimension, seed)
        levels = js.Levels(np.linspace(-0.6, 1.6, 8))
        density = js.carrier_density(model, js.Grid((number,) * dimension), levels)
        truth = js.carrier_density(model, OneRule(js.Grid((fine,) * dimension, 0.37)), levels)
        ratio = np.abs(density.value - truth.value) / density.error
        beyond += int(np.sum(ratio > 1))
        ratios.append(ratio)
    assert beyond <= 2
    assert np.max(ratios) < 3
    assert np.median(ratios) > 1 / 10  # not absurd


def test_benchmark_of_coverage():
    """One random chain; its claimed errors are those of the public functions."""
    import honesty

    samples = list(honesty.STUDIES[0](1))
    levels = honesty.levels_of(honesty.random_lattice(1, 2, 0), 0)
    density = js.carrier_density(honesty.random_lattice(1, 2, 0), js.Grid((64,)), levels)
    claimed = [x.claimed for x in samples if x.response == "carrier_density"]
    np.testing.assert_allclose(claimed, np.asarray(density.error).ravel(), rtol=1e-6, atol=1e-10)
    assert np.mean([x.true > x.claimed for x in samples]) <= 0.05
    assert honesty.row(samples, study="Grid 1D")["values"] == len(samples)
