"""Error estimates on fixed meshes: by which rule, at what cost, and how often they hold."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from systems import OneRule, random_hopping

import jaxspin as js
from jaxspin.integration import error_estimates
from jaxspin.integration.error_estimates import coarser_meshes, estimate_error
from jaxspin.meshes.mesh import Grid

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

CHERN = js.models.QiWuZhang(A=1.0, m=-1.0)  # bands from -3 to -1 and from 1 to 3
GRID = js.Grid((24, 24))


def square() -> js.HoppingModel:
    """ε = -2 (cos k_x + cos k_y), one orbital."""
    cells = np.concatenate([np.zeros((1, 2), int), np.eye(2, dtype=int), -np.eye(2, dtype=int)])
    blocks = np.where(np.any(cells, axis=1), -1.0 + 0j, 0)[:, None, None]
    return js.HoppingModel(np.eye(2), cells, blocks, np.zeros((1, 2)), spin=None)


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

    def error_at(mu, kelvin):
        return js.carrier_density(CHERN, GRID, js.Levels(mu, kelvin)).error[0]

    for function, at in ((error, (-1.0,)), (error_at, (1.5, 300.0))):
        value, slope = jax.jvp(function, at, tuple(1.0 for _ in at))
        assert value > 0
        assert slope == 0


def test_a_narrow_gap_on_a_node_of_a_coarser_mesh():
    """Two of the coarser meshes of 64² have a node at the gap of 0.04 eV, where the curvature is
    10⁴ times its mean: the error was 16 e²/h."""
    model, mesh = js.models.QiWuZhang(A=1.0, m=-1.98), js.Grid((64, 64), 0.5)
    hall = js.anomalous_hall(model, mesh, js.Levels(0.0)).to("e^2/h")
    true = abs(abs(hall.value[0, 1, 0]) - 1)
    assert 0.2 < true < hall.error[0, 1, 0] < 1.0


def test_errors_on_a_folded_grid_are_those_of_the_grid():
    grid, levels = js.Grid((24, 20), 0.5), js.Levels([1.1, 1.5, 2.2], [0.0, 300.0])
    folded = js.Symmetric(grid, [js.symmetry.INVERSION])
    whole, half = (js.anomalous_hall(CHERN, mesh, levels) for mesh in (grid, folded))
    np.testing.assert_allclose(half.error, whole.error, rtol=1e-6, atol=1e-12)
    assert np.min(whole.error[..., 0, 1]) > 0


def claim_of_noise(mesh, law: str, power: float, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Claimed and true errors of sums that are Gaussian noise, N^-power on N nodes an axis."""
    random, levels = np.random.default_rng(5), js.Levels(np.zeros(3000))
    meshes = coarser_meshes(mesh)
    sizes = [mesh.size ** (1 / mesh.dimension)] + [m.size ** (1 / m.dimension) for m in meshes]
    noise = random.normal(size=(5, 3000, components)) / np.array(sizes)[:, None, None] ** power
    fine, *coarse = 1e-3 + noise
    extremes = error_estimates.Extremes(np.asarray(1.0), -np.ones(1), np.ones(1))
    noisy = np.ones(3000, bool)
    sums = error_estimates.MeshSums(fine, coarse, noisy, len(coarse), extremes, extremes)
    claimed = estimate_error(mesh, sums, levels, law)
    return np.max(claimed, axis=-1), np.max(np.abs(noise[0]), axis=-1)


@pytest.mark.parametrize(
    ("mesh", "law", "power"),
    [
        (js.Grid((64, 64)), "smooth", 1.5),
        (js.Grid((24, 24, 24)), "smooth", 2.0),
        (js.Grid((64, 64)), "surface", 0.5),
        (js.Grid((24, 24, 24)), "curvature", 1.25),
    ],
)
@pytest.mark.parametrize("components", [1, 27])
def test_coverage_of_gaussian_noise(mesh, law, power, components):
    claimed, true = claim_of_noise(mesh, law, power, components)
    assert np.mean(true > claimed) < 0.01
    assert np.mean(true > 3 * claimed) < 0.001
    assert np.median(claimed / true) < 10


def test_noise_that_falls_more_slowly_than_its_law_is_not_covered():
    """Negative control, and what the differences themselves say of it: much, of 27 components."""
    claimed, true = claim_of_noise(js.Grid((64, 64)), "smooth", 0.3, 1)
    assert np.mean(true > claimed) > 0.02
    claimed, true = claim_of_noise(js.Grid((64, 64)), "smooth", 0.3, 27)
    assert np.mean(true > claimed) < 0.02


def test_errors_at_temperatures_that_smear_the_fermi_surface():
    """kT = 0.22 of the mean step between nodes: the error was 17 times the true one."""
    model, mesh = 0.35 * square(), js.Grid((24, 24), 0.3)
    levels = js.Levels(np.linspace(-1.26, 1.26, 40) + 0.013, 300.0)
    density = js.carrier_density(model, mesh, levels)
    truth = js.carrier_density(model, js.Grid((150, 150), 0.3), levels)
    ratio = np.asarray(density.error) / np.abs(np.asarray(density.value - truth.value))
    assert np.all(density.info["coarser_meshes"] == 4)
    assert np.min(ratio) > 1
    assert np.median(ratio) < 10


def claim_alone(law: str, fine: float, coarse: list[float], kelvin: float, splitting: float):
    """Claimed error of one sum over 24² nodes, whose band from -1 to 1 eV crosses mu = 0."""
    extremes = error_estimates.Extremes(np.asarray(splitting), -np.ones(1), np.ones(1))
    sums, noisy = np.reshape([fine, *coarse], (5, 1, 1, 1)), np.ones((1, 1), bool)
    mesh_sums = error_estimates.MeshSums(sums[0], sums[1:], noisy, 4, extremes, extremes)
    return estimate_error(GRID, mesh_sums, js.Levels([0.0], [kelvin]), law).item()


def test_a_node_on_a_peak_of_the_curvature():
    """All coarser meshes agree, and not with the mesh: the error is no noise that falls."""
    shared, noise = [1.0, 1.01, 0.99, 1.0], [1.0, 2.0, 0.5, 1.8]
    assert claim_alone("curvature", 1.5, shared, 300.0, 2.0) > 0.9
    assert claim_alone("smooth", 1.5, shared, 300.0, 2.0) < 0.7  # counted points alone
    assert claim_alone("curvature", 1.5, noise, 300.0, 2.0) < 0.9  # negative control


def test_a_peak_of_the_curvature_is_not_smeared():
    """The smaller the smallest gap on the nodes, the less kT makes the error of curvatures fall."""
    sums = 1.5, [1.0, 2.0, 0.5, 1.8]
    narrow, wide = (claim_alone("curvature", *sums, 300.0, gap) for gap in (1e-6, 2.0))
    cold = claim_alone("curvature", *sums, 0.0, 1e-6)
    np.testing.assert_allclose(narrow, cold, rtol=1e-4)
    assert wide < 0.6 * narrow
    values = [claim_alone("surface", *sums, 300.0, gap) for gap in (1e-6, 2.0)]
    assert values[0] == values[1] < claim_alone("surface", *sums, 0.0, 2.0)


def test_carriers_excited_across_a_gap():
    """They are 10⁻⁶ of the electrons, on the few nodes next to the edges of the bands. All meshes
    agree to a part of that, and the error was 7 times too small."""
    import honesty

    model, mesh = honesty.random_lattice(2, 2, 1054), js.Grid((32, 32), 0.5)
    levels = js.Levels(honesty.levels_of(model, 1054).mu[5], 100.0)
    density, truth = (
        js.carrier_density(model, x, levels) for x in (mesh, js.Grid((150, 150), 0.37))
    )
    true = abs((density.value - truth.value).item())
    assert 3e-6 < true < density.error.item() < 100 * true


@pytest.mark.parametrize("kelvin", [30.0, 100.0, 300.0])
@pytest.mark.parametrize("below", [-0.1, 0.02, 0.1])
def test_density_of_states_below_a_band_whose_edge_lies_between_the_nodes(below, kelvin):
    """The edge is 0.2 eV below the nearest node, which is all that the mesh sees: the error was
    smaller by exp(0.2 eV/kT)."""
    levels = js.Levels(-6.0 - below, kelvin)
    density = js.density_of_states(cubic(), js.Grid((12, 12, 12), 0.5), levels)
    k = 2 * np.pi * (np.arange(240) + 0.5) / 240  # ε = -6 + k² at the edge, and its next terms
    one = 4 * np.sin(k[:60] / 2) ** 2
    energies = (one[:, None, None] + one[:, None] + one).ravel() + below
    thermal = js.units.BOLTZMANN * kelvin
    true = 8 * np.sum(1 / (4 * thermal * np.cosh(np.minimum(energies / thermal, 500) / 2) ** 2))
    wrong = abs(density.value.item() - true / 240**3)
    assert wrong < density.error.item()
    assert np.isfinite(density.error.item())


@pytest.mark.parametrize("kelvin", [0.0, 1.0])
@pytest.mark.parametrize("response", [js.carrier_density, js.density_of_states, js.anomalous_hall])
def test_a_pocket_between_all_nodes(response, kelvin):
    """The levels lie in a band, within 0.01 eV of its edges, and no node of any mesh does: all sums
    agreed, and the error was zero."""
    levels = js.Levels([-2.99, 2.99, -3.5], kelvin)
    few, many = (response(CHERN, js.Grid((n, n), 0.5), levels) for n in (12, 300))
    true = np.max(np.abs(many.value - few.value), axis=tuple(range(1, many.value.ndim)))
    error = np.max(few.error, axis=tuple(range(1, many.value.ndim)))
    largest = 3000 if kelvin and response is js.density_of_states else 300
    assert np.all(true[:2] > 1e-9)
    assert np.all(error[:2] > true[:2])
    assert np.all(error[:2] < largest * true[:2])
    assert error[2] < 1e-12  # negative control: no band reaches this level


def test_a_component_that_is_written_twice_counts_once():
    """An antisymmetric tensor has xy and yx; of random ones as many count as there are."""
    random = np.random.default_rng(3)
    one = random.normal(size=(4, 1000, 1))
    hall = np.concatenate([0 * one, one, -one, 0 * one], axis=-1)
    np.testing.assert_allclose(error_estimates._count_independent(hall), 1)
    np.testing.assert_allclose(error_estimates._count_independent(0 * hall), 1)
    for number in (3, 12):
        found = error_estimates._count_independent(random.normal(size=(4, 1000, number)))
        assert 0.8 * number < 1 / np.mean(1 / found) < 1.2 * number
    extremes = error_estimates.Extremes(np.asarray(1.0), -np.ones(1), np.ones(1))
    claims = []
    for sums in (one, hall):
        few = error_estimates.MeshSums(
            np.zeros_like(sums[0]), sums, np.ones(1000, bool), 4, extremes, extremes
        )
        claims.append(estimate_error(GRID, few, js.Levels(np.zeros(1000)), "curvature"))
    np.testing.assert_allclose(np.max(claims[1], axis=-1), claims[0][:, 0], rtol=1e-9)


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
    seed = honesty.FIRST_SEED
    model = honesty.random_lattice(1, 2, seed)
    levels = honesty.levels_of(model, seed)
    mesh = js.Grid((64,), (0.0, 0.5, 0.23)[seed % 3])  # as the study has it
    density = js.carrier_density(model, mesh, levels)
    claimed = [x.claimed for x in samples if x.response == "carrier_density"]
    np.testing.assert_allclose(claimed, np.asarray(density.error).ravel(), rtol=1e-6, atol=1e-10)
    assert np.mean([x.true > x.claimed for x in samples]) <= 0.05
    assert honesty.row(samples, study="Grid 1D")["values"] == len(samples)
