"""Flows along a gradient of temperature: independent sums, quadrature, limits, groups, refusals."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from response_table import RESPONSES, TABLE, tabled
from symmetric_models import symmetric_model

import jaxspin as js
from jaxspin import models, units
from jaxspin.integration.levels import entropy, fermi, fill, heat
from jaxspin.integration.problem import Problem
from jaxspin.quantities import thermal as quantities
from jaxspin.quantities.charge import ANOMALOUS_HALL
from jaxspin.responses.compute import compute
from jaxspin.symmetry.groups import point_groups

RECORDS = {
    "anomalous_nernst": quantities.ANOMALOUS_NERNST,
    "thermal_hall": quantities.THERMAL_HALL,
    "spin_nernst": quantities.SPIN_NERNST,
}
SUMS = json.loads((RESPONSES / "thermal.json").read_text(encoding="utf-8"))["models"]
CHERN = models.QiWuZhang(A=1.0, m=-1.0, t0=0.4)

# --- the moments ----------------------------------------------------------------------------------

X = np.array([-60.0, -31.0, -4.2, -1.0, -1e-9, 0.0, 1e-9, 0.3, 2.0, 17.0, 45.0])


@pytest.mark.parametrize(("function", "power"), [(entropy, 1), (heat, 2)])
def test_moments_against_quadrature(function, power):
    """∫_x^∞ yⁿ (−df/dy) dy by Gauss and Legendre's rule on short pieces."""
    nodes, weights = np.polynomial.legendre.leggauss(20)

    def integral(x):
        edges = np.arange(x, 80.0, 0.5)
        y = edges[:, None] + 0.25 * (1 + nodes)
        return np.sum(0.25 * weights * y**power / (4 * np.cosh(y / 2) ** 2))

    exact = np.array([integral(x) for x in X])
    np.testing.assert_allclose(function(jnp.asarray(X)), exact, rtol=1e-13, atol=2e-15)
    slope = -(X**power) / (4 * np.cosh(X / 2) ** 2)
    np.testing.assert_allclose(jax.vmap(jax.grad(function))(jnp.asarray(X)), slope, rtol=1e-12)


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_slopes_of_the_moments(moment):
    """∂/∂ε, as it stands for sums over a Fermi surface and as it is differentiated."""
    energies, mu, thermal = jnp.linspace(-0.4, 0.7, 9), 0.1, 0.06
    slope = fermi(energies, mu, thermal, derivative=True, moment=moment)
    found = jax.vmap(jax.grad(lambda e: fermi(e, mu, thermal, moment=moment)))(energies)
    np.testing.assert_allclose(found, slope, rtol=1e-12)
    deep = fermi(jnp.asarray(-10.0), mu, thermal, moment=moment)
    np.testing.assert_allclose(deep, fill(thermal, moment), rtol=1e-14, atol=1e-60)


# --- independent sums -----------------------------------------------------------------------------


def expected_values(row: dict, thermal: float) -> dict[str, np.ndarray]:
    found = {
        "anomalous_nernst": np.array(row["anomalous_nernst_ab"]),
        "thermal_hall": thermal * np.array(row["thermal_hall_ab"]),
    }
    if "spin_nernst_asb" in row:
        found["spin_nernst"] = np.swapaxes(row["spin_nernst_asb"], -1, -2)
    return found


LONG = ("weyl", "kramers3d", "nosoc3d", "rand3d")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.study) if n in LONG else n for n in SUMS]
)
@pytest.mark.filterwarnings("ignore:The mesh")
def test_independent_sums(name):
    """The table's own constant for k."""
    rows, model = SUMS[name], tabled(name)
    thermal = rows[0]["T"] * 8.617333262e-5
    levels = js.Levels([row["mu"] for row in rows], thermal / units.BOLTZMANN)
    grid = js.Grid((TABLE["models"][name]["mesh_shape"],) * model.dimension)
    for i, row in enumerate(rows):
        for quantity, expected in expected_values(row, thermal).items():
            measured = getattr(js, quantity)(model, grid, levels).natural[i]
            scale = np.max(np.abs(expected))
            np.testing.assert_allclose(
                measured, expected, rtol=0, atol=1e-10 * scale + 1e-15, err_msg=quantity
            )


# --- integrals over the energy, and limits --------------------------------------------------------


@pytest.mark.parametrize(("name", "power"), [("anomalous_nernst", 1), ("thermal_hall", 2)])
def test_energy_integral_of_the_conductivity(name, power):
    """Along a cone, whose σ(ε) is known; the plane is whole."""
    kelvin, thermal = 900.0, 900.0 * units.BOLTZMANN
    cone, mesh = models.MassiveDirac(velocity=1.0, mass=0.1), js.Plane(0.3, 400, 4)
    found = getattr(js, name)(cone, mesh, js.Levels(0.17, kelvin)).natural[0, 0, 1]
    exact = exact_cone(0.1, 0.17, thermal, power) * (1 if power == 1 else thermal)
    np.testing.assert_allclose(found, exact, rtol=1e-9)


def exact_cone(mass: float, mu: float, thermal: float, power: int) -> float:
    """(−1)ⁿ ∫ dx xⁿ (−df/dx) σ_xy, σ_xy = −1/4π in the gap, −mass/(4π|ε|) outside."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    total = 0.0
    edges = sorted({*np.linspace(-60, 60, 241), *((e - mu) / thermal for e in (-mass, mass))})
    for low, high in itertools.pairwise(edges):
        x = (low + high) / 2 + (high - low) / 2 * nodes
        sigma = -mass / (4 * np.pi * np.maximum(np.abs(mu + thermal * x), mass))
        total += (high - low) / 2 * np.sum(weights * x**power / (4 * np.cosh(x / 2) ** 2) * sigma)
    return (-1) ** power * total


def test_mott_and_wiedemann_franz():
    """Low T on the slope σ ~ 1/ε of a cone: −(π²k²T/3e) ∂σ/∂μ and (π²/3)(k/e)² T σ. Both have
    1 + (7π²/5)(kT/μ)² beside them."""
    cone, mesh, levels = models.MassiveDirac(1.0, 0.1), js.Plane(0.3, 1500, 4), js.Levels(0.3, 60.0)
    thermal, sigma = 60.0 * units.BOLTZMANN, -0.1 / (4 * np.pi * 0.3)
    beside = 1 + 7 * np.pi**2 / 5 * (thermal / 0.3) ** 2
    nernst = js.anomalous_nernst(cone, mesh, levels).natural[0, 0, 1]
    np.testing.assert_allclose(nernst, np.pi**2 / 3 * thermal * sigma / 0.3 * beside, rtol=1e-4)
    carried = js.thermal_hall(cone, mesh, levels)
    heat_flow = np.pi**2 / 3 * thermal * sigma * beside
    np.testing.assert_allclose(carried.natural[0, 0, 1], heat_flow, rtol=1e-4)
    lorenz = carried.value[0, 0, 1] / (60.0 * units.CONDUCTANCE * sigma)
    np.testing.assert_allclose(lorenz, 2.443004509e-8 * beside, rtol=1e-4)


def test_derivative_of_the_magnetization():
    """α = ∂/∂T of Σ g Ω (the Berry part of M), and Maxwell: ∂α/∂mu = −∂σ/∂T; e = 1."""
    mesh, kelvin, mu = js.Grid((24, 24)), 1500.0, 0.7

    def nernst(mu):
        return js.anomalous_nernst(CHERN, mesh, js.Levels(mu, kelvin)).natural[0, 0, 1]

    def hall(kelvin):
        return js.anomalous_hall(CHERN, mesh, js.Levels(mu, kelvin)).natural[0, 0, 1]

    by_mu, by_temperature = jax.grad(nernst)(mu), jax.grad(hall)(kelvin) / units.BOLTZMANN
    assert abs(by_mu) > 1e-2
    np.testing.assert_allclose(by_mu, -by_temperature, rtol=1e-10)


def test_a_wrong_power_is_noticed():
    """Negative control of the two: the moments of another power give another number and sign."""
    mesh, levels = js.Grid((24, 24)), js.Levels(0.7, 1500.0)
    wrong = quantities.ANOMALOUS_NERNST.replace(observable=quantities.THERMAL_HALL.observable)
    (found,) = compute(Problem(wrong, CHERN, mesh, levels))
    right = js.anomalous_nernst(CHERN, mesh, levels)
    assert abs(found.natural[0, 0, 1] / right.natural[0, 0, 1] - 1) > 0.1


# --- levels, meshes, derivatives, groups ----------------------------------------------------------


@pytest.mark.parametrize("name", ["anomalous_nernst", "thermal_hall"])
def test_many_levels_and_adaptive_meshes(name):
    """One histogram of many levels, few levels one by one, and cells that follow the energies."""
    mesh, function = js.Grid((32, 32)), getattr(js, name)
    mu = np.linspace(-1.5, 1.5, 21)
    several = function(CHERN, mesh, js.Levels(mu, [900.0, 2000.0])).natural
    alone = function(CHERN, mesh, js.Levels(mu[[3, 14]], [900.0, 2000.0])).natural
    scale = np.max(np.abs(several))
    np.testing.assert_allclose(several[:, [3, 14]], alone, rtol=0, atol=1e-6 * scale)
    levels = js.Levels(mu[[3, 14]], 2000.0)
    refined = function(CHERN, js.Adaptive(js.Grid((8, 8)), rtol=1e-5), levels)
    difference = np.abs(refined.natural - function(CHERN, js.Grid((200, 200)), levels).natural)
    assert np.max(difference) <= 1e-4 * np.max(np.abs(refined.natural))


def test_error_is_honest():
    """Of 18² and 24² points against 240², in bands and in the gap."""
    for name in ("anomalous_nernst", "thermal_hall"):
        function, levels = getattr(js, name), js.Levels([-1.1, 0.1, 0.6, 1.4], [300.0, 1200.0])
        true = function(CHERN, js.Grid((240, 240)), levels).value
        for n in (18, 24):
            found = function(CHERN, js.Grid((n, n)), levels)
            assert np.all(np.abs(found.value - true) <= 3 * found.error)


@pytest.mark.parametrize(
    "name", ["spin_nernst", *(pytest.param(n, marks=pytest.mark.study) for n in list(RECORDS)[:2])]
)
def test_derivatives(name):
    """By the exchange field of a Rashba gas, mu and the temperature."""
    mesh = js.Disk(1.6, 8, 8)

    def response(x):
        model = models.Rashba(2.0, 1.0, x[0])
        return getattr(js, name)(model, mesh, js.Levels(x[1], x[2])).natural.ravel()

    at, steps = np.array([0.15, 0.4, 2500.0]), np.array([1e-4, 1e-4, 0.5])
    slopes = jax.jacfwd(response)(at)
    for i, step in enumerate(steps):
        change = np.eye(3)[i] * step
        difference = (response(at + change) - response(at - change)) / (2 * step)
        scale = np.max(np.abs(difference))
        assert scale > 1e-8
        np.testing.assert_allclose(slopes[:, i], difference, rtol=0, atol=1e-6 * scale)


GROUPS = ("m(1)", "3", "mm21'", "4(2)")


@pytest.mark.parametrize(
    "name",
    [pytest.param(g, marks=pytest.mark.study) for g in GROUPS],
)
def test_on_a_reduced_mesh(name):
    operations = point_groups()[name]
    model = symmetric_model(operations, orbitals=1).without_external_terms()
    mesh, levels = js.Grid((6, 6, 6)), js.Levels([0.0, 0.5], 900.0)
    for response in RECORDS:
        whole = getattr(js, response)(model, mesh, levels).natural
        reduced = getattr(js, response)(model, js.Symmetric(mesh, operations), levels).natural
        np.testing.assert_allclose(reduced, whole, rtol=0, atol=1e-11 * np.max(np.abs(whole) + 0.1))


def test_a_wrong_parity_is_refused():
    wrong = quantities.ANOMALOUS_NERNST.replace(time_reversal=1)
    graphene = models.KaneMele(1.0, 0.06, 0.05, 0.1)
    mesh = js.Symmetric(js.Grid((8, 8)), [js.symmetry.TIME_REVERSAL])
    with pytest.raises(ValueError, match="anomalous Nernst"):
        compute(Problem(wrong, graphene, mesh, js.Levels(1.5, 600.0)))


# --- units, and what is refused -------------------------------------------------------------------


def test_prefactors():
    """CODATA's e k/ħ and k²/ħ, of sums in Å and eV."""
    per_kelvin = {"A/(m K)": 209.7575083, "A/K": 2.097575083e-8, "hbar/2e A/(m K)": 209.7575083}
    for unit, factor in per_kelvin.items():
        np.testing.assert_allclose(units.per_natural(unit), factor, rtol=1e-9)
    np.testing.assert_allclose(
        units.per_natural("W/(m K)") * units.BOLTZMANN, 0.01807550353, rtol=1e-9
    )
    assert units.conversion("hbar/2e A/K", "hbar/e A/K") == 0.5


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("kelvin", [0.0, [0.0, 300.0]])
def test_zero_temperature_is_refused(name, kelvin):
    model = models.KaneMele(1.0, 0.06, 0.05, 0.1)
    with pytest.raises(ValueError, match=r"must be positive for the .* which is zero at T = 0"):
        getattr(js, name)(model, js.Grid((6, 6)), js.Levels(0.3, kelvin))


def test_powers_are_not_mixed():
    several = (ANOMALOUS_HALL, quantities.ANOMALOUS_NERNST)
    with pytest.raises(ValueError, match="same power of the energy, but are"):
        compute(Problem(several, CHERN, js.Grid((6, 6)), js.Levels(0.3, 300.0)))


def test_a_file_and_a_component(tmp_path):
    found = js.anomalous_nernst(CHERN, js.Grid((8, 8)), js.Levels(0.3, 3000.0))
    assert (found.units, found.axes) == ("A/K", ("mu", "flow", "gradient"))
    found.save(tmp_path / "nernst.nc")
    again = js.load(tmp_path / "nernst.nc")
    np.testing.assert_array_equal(again.natural, found.natural)
    component = again.component(flow="x", gradient="y")
    np.testing.assert_array_equal(component.value, found.value[:, 0, 1])
