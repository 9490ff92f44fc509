"""Values: exact ones, those of other codes, and those of plain sums in NumPy."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_oracle import CONDUCTANCE_QUANTUM, kubo_oracle
from systems import (
    CHARGE_QUANTUM,
    CONVENTIONAL,
    KUBO,
    QUANTITIES,
    SEA,
    SPIN_HALL,
    SYSTEMS,
    A,
    B,
    Exact,
    OneRule,
    measure,
    random_hopping,
)

import jaxspin as js
from jaxspin import models, units
from jaxspin.meshes.lattice import reciprocal_vectors

# --- Exact values ---------------------------------------------------------------------------------

CASES = [
    pytest.param(name, exact, id=f"{name}-{exact.quantity}-{exact.component}")
    for name, system in SYSTEMS.items()
    for exact in system.exact
]


@lru_cache
def measured(name: str) -> dict[str, np.ndarray]:
    return SYSTEMS[name].measured()


@pytest.mark.parametrize(("name", "exact"), CASES)
def test_exact_value(name: str, exact: Exact):
    value = measured(name)[exact.quantity][(slice(None), *exact.component)] / exact.unit
    np.testing.assert_allclose(value, exact.values, atol=exact.tolerance, rtol=0)


def test_opposite_sign_is_noticed():
    """Negative control of the signs: A is not B where they are opposite."""
    values = measured("massive Dirac")
    assert np.max(np.abs(values[A] - values[B])) > 0.05


def test_charge_like_spin_has_one_hall_effect():
    """With s = 1 every definition is the anomalous Hall effect, at every Fermi energy.

    s → -e turns a spin current in ħ/2 into a charge current in -e, hence the sign.
    """
    haldane = models.Haldane(onsite=0.2, hopping=-1.0, next_hopping=0.15, phase=1.2)
    model = models.WithSpin(haldane, np.array([np.eye(2)] * 3))
    levels = js.Levels([-1.5, -0.8, 0.0, 1.0])
    values = measure(model, js.Grid((24, 24)), levels, ("anomalous_hall", *SPIN_HALL))
    for name in SPIN_HALL:
        for s in range(3):
            np.testing.assert_allclose(
                values[name][..., s], -values["anomalous_hall"], atol=1e-14, err_msg=name
            )


@pytest.mark.parametrize(
    ("k", "moment"),
    [((0.0, 0.0), -2.1125), ((0.3, -0.2), -0.8901764551), ((1.0, 0.7), -0.1262088794)],
)
def test_orbital_moment_of_a_massive_dirac_cone(k, moment):
    """-½ v²Δ/ε² for both bands (Sundaram and Niu); antisymmetric in its two axes."""
    values = js.orbital_moment(models.MassiveDirac(velocity=1.3, mass=0.4), np.array(k))
    np.testing.assert_allclose(values[:, 0, 1], moment, atol=1e-10)
    np.testing.assert_allclose(values[:, 1, 0], -moment, atol=1e-10)


def test_quantum_metric_of_a_massive_dirac_cone_at_its_centre():
    """v²/4Δ² along each axis; its trace is at least the curvature, here equal to it."""
    metric = js.quantum_metric(models.MassiveDirac(velocity=1.3, mass=0.4), np.zeros(2))
    np.testing.assert_allclose(metric, [1.3**2 / (4 * 0.4**2) * np.eye(2)] * 2, atol=1e-12)


# --- Functions of the package, one by one ---------------------------------------------------------

PUBLIC = {
    "anomalous_hall": (js.anomalous_hall, {}, units.CONDUCTANCE),
    **{name: (js.spin_hall, {"definition": name}, units.CONDUCTANCE) for name in (A, KUBO)},
    "torque": (js.torque_density, {}, 1.0),
    "number": (js.carrier_density, {}, 1.0),
    "states": (js.density_of_states, {}, 1.0),
}
METAL = models.QiWuZhang(A=1.0, m=-1.0, t0=0.4)
METAL_MESH, METAL_LEVELS = OneRule(js.Grid((12, 12), 0.25)), js.Levels([-1.1, 0.6])


@lru_cache
def metal() -> dict[str, np.ndarray]:
    return measure(METAL, METAL_MESH, METAL_LEVELS, tuple(QUANTITIES))


@pytest.mark.filterwarnings("ignore:The torque density")
@pytest.mark.parametrize("name", PUBLIC)
def test_public_function_is_the_sum_in_its_units(name):
    function, keywords, unit = PUBLIC[name]
    value = function(METAL, METAL_MESH, METAL_LEVELS, **keywords).value
    np.testing.assert_allclose(value, unit * metal()[name], rtol=1e-12, atol=1e-14 * unit)


def test_equilibrium_spin_current_and_its_parts():
    result = js.equilibrium_spin_current(METAL, METAL_MESH, METAL_LEVELS)
    trivial, topological = np.moveaxis(metal()["equilibrium"], 1, 0)
    np.testing.assert_allclose(result.trivial.value, trivial, atol=1e-14)
    np.testing.assert_allclose(result.topological.value, topological, atol=1e-14)
    np.testing.assert_allclose(result.total.value, trivial + topological, atol=1e-14)


def test_equilibrium_spin_current_of_some_bands():
    """The bands taken one by one add up to all of them."""
    arguments = METAL, METAL_MESH, METAL_LEVELS
    parts = [js.equilibrium_spin_current(*arguments, bands=(n,)).trivial.value for n in (0, 1)]
    np.testing.assert_allclose(sum(parts), metal()["equilibrium"][:, 0], atol=1e-14)


RASHBA = models.Rashba(kinetic=0.5, velocity=0.3)


RASHBA_MESH = OneRule(js.Disk(1.6, 400, 8))


def test_torque_of_the_rashba_gas_is_warned_of():
    """(e/8π)(k₋ - k₊) for the spin ħσ/2 is (1/4π)(k₋ - k₊) in the units e/2 of the package."""
    with pytest.warns(UserWarning, match="depends on the choice of origin"):
        torque = js.torque_density(RASHBA, RASHBA_MESH, js.Levels(0.5))
    assert torque.units == "e/2 Angstrom^-1"
    assert float(torque.value[0, 1, 0]) / 2 == pytest.approx(0.0238732415, abs=1e-5)


def test_proper_spin_hall_effect_warns_of_a_torque():
    with pytest.warns(UserWarning, match="depends on the choice of origin"):
        js.spin_hall(RASHBA, RASHBA_MESH, js.Levels(0.5), definition=B)


def test_conventional_spin_hall_effect_does_not():
    """Warnings are errors in these tests."""
    js.spin_hall(RASHBA, RASHBA_MESH, js.Levels(0.5), definition=CONVENTIONAL)


# --- Other codes ----------------------------------------------------------------------------------

PER_K = {
    "Haldane": (
        models.Haldane(onsite=-0.2, hopping=-1.0, next_hopping=0.15, phase=np.pi / 2),
        [-2.63164972, 2.63164972],
        [-0.00166328, 0.00166328],
    ),
    "Kane-Mele": (
        models.KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25),
        [-3.04732927, -2.56711258, 2.56230345, 3.05213841],
        [-0.13445624, 0.13794552, 0.12552492, -0.12901420],
    ),
}


def point(model) -> np.ndarray:
    return np.array([0.1, 0.2]) @ np.asarray(reciprocal_vectors(model.lattice))


@pytest.mark.parametrize("name", PER_K)
def test_energies_and_curvature_of_wannierberri(name):
    model, energies, curvature = PER_K[name]
    np.testing.assert_allclose(js.bands(model, point(model)).energies, energies, atol=6e-9)
    omega = js.berry_curvature(model, point(model))[:, 0, 1]
    np.testing.assert_allclose(omega, curvature, atol=6e-9)


def test_spin_curvature_and_spin_of_wannierberri():
    model = PER_K["Kane-Mele"][0]
    omega = js.spin_berry_curvature(model, point(model), definition="conventional")
    expected = [-0.21982857, 0.21550826, 0.20088020, -0.19655988]
    np.testing.assert_allclose(omega[:, 0, 1, 2], expected, atol=6e-9)
    spin = js.bands(model, point(model)).spin[:, 0, 0]
    np.testing.assert_allclose(spin, [-0.84909161, 0.49022327, -0.19394998], atol=6e-9)


# --- Plain sums -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_kubo_formula_of_random_models(seed):
    """All components of the charge and the conventional spin Hall effect, 3 bands, T = 0."""
    model, mu = random_hopping(3, 2, seed), np.array([-0.5, 0.4, 1.1, 2.0])
    values = measure(model, js.Grid((12, 12)), js.Levels(mu), ("anomalous_hall", CONVENTIONAL))
    oracle = kubo_oracle(model, 12, mu)
    charge = oracle.ahc / CONDUCTANCE_QUANTUM * CHARGE_QUANTUM
    spin = oracle.shc / CONDUCTANCE_QUANTUM / np.pi  # from (ħ/e)(e²/h)
    np.testing.assert_allclose(values["anomalous_hall"][:, 0, 1], charge, atol=1e-12)
    np.testing.assert_allclose(values[CONVENTIONAL], spin, atol=1e-12)


def plain_sums(model, counts, mu, thermal) -> dict[str, np.ndarray]:
    """Every sea and surface term as written on paper, one pair of bands at a time, T > 0.

    K is the formula of Shi et al. with F_mn = (f_n - f_m)/(ε_n - ε_m).
    """
    d = model.dimension
    reduced = np.stack(np.meshgrid(*[np.arange(n) / n for n in counts], indexing="ij"), -1)
    k = jnp.asarray(reduced.reshape(-1, d) @ np.asarray(reciprocal_vectors(model.lattice)))
    e, u = np.linalg.eigh(np.asarray(jax.vmap(model)(k)))
    slope = np.moveaxis(np.asarray(jax.vmap(jax.jacfwd(model))(k)), -1, 0)
    v = u.conj().swapaxes(1, 2) @ slope @ u
    s = u.conj().swapaxes(1, 2) @ np.asarray(model.spin())[:, None] @ u
    f = 1 / (np.exp((e - mu) / thermal) + 1)
    speed = np.einsum("akmm->akm", v).real
    df = -f * (1 - f) / thermal * speed
    n = e.shape[1]
    r = np.zeros_like(v)
    for m, l in np.ndindex(n, n):
        if m != l:
            r[:, :, m, l] = -1j * v[:, :, m, l] / (e[:, m] - e[:, l])
    sums = {name: np.zeros((d, d, 3)) for name in SPIN_HALL} | {"anomalous_hall": np.zeros((d, d))}
    for a, b in np.ndindex(d, d):
        both = v[b] @ r[a] + r[a] @ v[b]
        for m, l in [(m, l) for m, l in np.ndindex(n, n) if m != l]:
            gap = e[:, l] - e[:, m]
            omega = -2 * np.imag(r[a][:, m, l] * r[b][:, l, m])
            sums["anomalous_hall"][a, b] -= np.mean(f[:, m] * omega)
            for i in range(3):
                current = (s[i] @ v[a] + v[a] @ s[i])[:, m, l] / 2
                dipole = (s[i] @ r[a] + r[a] @ s[i])[:, l, m]
                ratio = (f[:, l] - f[:, m]) / gap
                kubo = (
                    -0.5j * dipole * v[b][:, m, l] * ratio
                    + 0.5j * s[i][:, l, m] * both[:, m, l] * ratio
                    + 0.5
                    * s[i][:, l, m]
                    * v[b][:, m, l]
                    * (
                        (speed[a][:, l] + speed[a][:, m]) * ratio / gap
                        - (df[a][:, l] + df[a][:, m]) / gap
                    )
                )
                sums[A][a, b, i] += np.mean(f[:, m] * s[i][:, l, l].real * omega)
                sums[B][a, b, i] += np.mean(f[:, m] * s[i][:, m, m].real * omega)
                sums[KUBO][a, b, i] += np.mean(-1j * kubo).real
                sums[CONVENTIONAL][a, b, i] += np.mean(
                    -2 * f[:, m] * np.imag(current * v[b][:, l, m]) / gap**2
                )
    cell = abs(np.linalg.det(np.asarray(model.lattice)))
    return {name: value / cell for name, value in sums.items()}


def test_plain_sums_at_finite_temperature():
    """A random lattice in three dimensions, 4 bands, all components."""
    model, mu, temperature = random_hopping(4, 3, seed=1), 0.8, 2000.0
    names = ("anomalous_hall", *SPIN_HALL)
    values = measure(model, js.Grid((3, 2, 3)), js.Levels(mu, temperature), names)
    expected = plain_sums(model, (3, 2, 3), mu, units.BOLTZMANN * temperature)
    for name in names:
        assert np.max(np.abs(expected[name])) > 1e-3
        np.testing.assert_allclose(
            values[name][0], expected[name], atol=1e-11, rtol=1e-11, err_msg=name
        )


# --- Counting -------------------------------------------------------------------------------------

KANE_MELE = PER_K["Kane-Mele"][0]
CELL = np.sqrt(3) / 2


def test_filled_bands_hold_one_electron_a_cell():
    levels = js.Levels([-10.0, 0.0, 10.0])
    number = measure(KANE_MELE, js.Grid((6, 6)), levels, ("number",))["number"]
    np.testing.assert_allclose(number, np.array([0, 2, 4]) / CELL, atol=1e-13)


def test_density_of_states_integrates_to_the_number_of_states():
    mu = np.linspace(-4.5, 4.5, 901)
    levels = js.Levels(mu, 600.0)
    states = measure(KANE_MELE, js.Grid((6, 6)), levels, ("states",))["states"]
    assert float(np.sum(states) * (mu[1] - mu[0])) == pytest.approx(4 / CELL, rel=1e-9)


def test_density_of_states_is_the_derivative_of_the_number():
    step = 1e-3
    levels = js.Levels(1.5 + step * np.array([-2, -1, 0, 1, 2]), 300.0)
    values = measure(KANE_MELE, js.Grid((6, 6)), levels, ("number", "states"))
    slope = values["number"] @ np.array([1, -8, 0, 8, -1]) / (12 * step)
    assert float(values["states"][2]) == pytest.approx(float(slope), rel=1e-5)


def test_table_of_systems_covers_what_it_should():
    """Every kind of system and every quantity has an exact value."""
    tags = set().union(*(system.tags for system in SYSTEMS.values()))
    assert {"lattice", "continuum", "degenerate", "gapless", "infinite sea", "peer"} <= tags
    asked = {exact.quantity for system in SYSTEMS.values() for exact in system.exact}
    assert {*SEA, KUBO, "states"} <= asked
