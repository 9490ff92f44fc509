"""What must not change, must change sign, or must add up to zero."""

from functools import lru_cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gauge import over_groups, random_gauge, rotated
from systems import (
    CONVENTIONAL,
    QUANTITIES,
    SEA,
    SPIN_HALL,
    SYSTEMS,
    A,
    B,
    OneRule,
    measure,
    random_hopping,
    random_unitary,
)

import jaxspin as js
from jaxspin import models
from jaxspin.band_structure import geometry
from jaxspin.band_structure.bands import Bands, solve_bands
from jaxspin.engine.tile_sizes import Sizes
from jaxspin.integration import tiles
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.quantities.spin_hall import PIECES

# --- A random crystal -----------------------------------------------------------------------------

MU = np.array([-0.5, 0.4, 1.1, 1e3])  # the last is above all bands
MESH = js.Grid((9, 10), 0.3)
CRYSTAL = random_hopping(3, 2, seed=5)


@lru_cache
def original() -> dict[str, np.ndarray]:
    return responses(CRYSTAL)


def responses(model, mu=MU) -> dict[str, np.ndarray]:
    values = measure(model, MESH, js.Levels(mu), SEA)
    return {name: np.asarray(value) for name, value in values.items()}


def changed(**fields) -> js.HoppingModel:
    """The crystal with other arrays in some of its fields."""
    new = [jnp.asarray(value) for value in fields.values()]
    return eqx.tree_at(lambda m: [getattr(m, name) for name in fields], CRYSTAL, new)


def assert_equal(values, expected, tolerance=1e-12):
    for name in expected:
        scale = np.max(np.abs(expected[name]))
        np.testing.assert_allclose(
            values[name], expected[name], atol=tolerance * scale, err_msg=name
        )


def test_origin():
    """Moving every orbital by the same vector changes nothing."""
    moved = CRYSTAL.centres + jnp.array([0.37, -1.21])
    assert_equal(responses(changed(centres=moved)), original())


def test_moving_one_orbital_is_noticed():
    """Negative control: the position operator has changed."""
    moved = CRYSTAL.centres.at[0].add(0.2)
    values = responses(changed(centres=moved))
    assert np.max(np.abs(values["anomalous_hall"] - original()["anomalous_hall"])) > 1e-3


def test_basis_of_orbitals_at_one_place(rng):
    """H → WHW†, S → WSW† changes nothing."""
    w = random_unitary(rng, 3)
    here = {"centres": jnp.zeros((3, 2))}
    turned = {
        "blocks": w @ CRYSTAL.blocks @ w.conj().T,
        "spin_operator": w @ CRYSTAL.spin_operator @ w.conj().T,
    }
    assert_equal(responses(changed(**here, **turned)), responses(changed(**here)))


def test_time_reversal():
    """H → H(-k)*, S → -S*: the charge Hall effect changes sign, all that has a spin does not."""
    blocks, spin = jnp.conj(CRYSTAL.blocks), -jnp.conj(CRYSTAL.spin_operator)
    values = responses(changed(blocks=blocks, spin_operator=spin))
    values["anomalous_hall"] = -values["anomalous_hall"]
    backward = js.Grid(MESH.shape, tuple(-s for s in MESH.shift))
    expected = measure(CRYSTAL, backward, js.Levels(MU), SEA)
    assert_equal(values, {name: np.asarray(v) for name, v in expected.items()})


@pytest.mark.parametrize("name", ["anomalous_hall", A, B])
def test_antisymmetric_in_flow_and_field(name):
    value = original()[name]
    assert np.max(np.abs(value)) > 1e-3
    np.testing.assert_allclose(value, -np.swapaxes(value, 1, 2), atol=1e-14)


def test_conventional_spin_hall_effect_is_not_antisymmetric():
    value = original()[CONVENTIONAL]
    assert np.max(np.abs(value + np.swapaxes(value, 1, 2))) > 1e-3


@pytest.mark.parametrize("name", ["anomalous_hall", CONVENTIONAL, "torque"])
def test_all_bands_together_give_nothing(name):
    assert np.max(np.abs(original()[name][-2])) > 1e-3
    np.testing.assert_allclose(original()[name][-1], 0, atol=1e-13)


def test_all_bands_together_give_opposite_proper_currents():
    """J1 = (A + B)/2 vanishes where all bands are filled; A and B need not."""
    np.testing.assert_allclose(original()[A][-1], -original()[B][-1], atol=1e-13)
    assert np.max(np.abs(original()[A][-1])) > 1e-3


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2)])
def test_order_of_the_fermi_energies(order):
    """Neither an ascending order nor an even spacing is assumed."""
    order = list(order)
    expected = {name: value[order] for name, value in original().items()}
    assert_equal(responses(CRYSTAL, MU[order]), expected)


def test_tiles_and_segments(monkeypatch):
    """How a mesh is cut does not matter: 90 points in tiles of at most 16, four at a time."""
    monkeypatch.setattr(tiles, "sizes_for", lambda *model: Sizes(16, 64, False, True, 64, False, 0))
    assert_equal(responses(CRYSTAL), original())


# --- Levels and meshes ----------------------------------------------------------------------------

HALDANE = models.Haldane(onsite=-0.2, hopping=-1.0, next_hopping=0.15, phase=np.pi / 2)
ZONE = js.Grid((60, 60))


def hall(levels, mesh=ZONE, model=HALDANE) -> np.ndarray:
    """σ_xy, e²/h."""
    value = measure(model, mesh, levels, ("anomalous_hall",))["anomalous_hall"]
    return 2 * np.pi * np.asarray(value)[..., 0, 1]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0)])
def test_uneven_and_descending_fermi_energies(order):
    """Codes that take the first spacing for all get the last three wrong, and descending all."""
    exact = SYSTEMS["Haldane, scan"].exact[0].values
    mu = np.array(SYSTEMS["Haldane, scan"].mu)[list(order)]
    np.testing.assert_allclose(hall(js.Levels(mu)), np.array(exact)[list(order)], atol=5.1e-7)


MANY = np.linspace(-3.3, 3.3, 67)
FEW = slice(5, 60, 11)


def test_many_fermi_energies_are_few_at_zero_temperature():
    """Both count the same points; only the order of the sums differs."""
    np.testing.assert_allclose(
        hall(js.Levels(MANY))[FEW], hall(js.Levels(MANY[FEW])), atol=1e-15, rtol=1e-13
    )


def test_many_fermi_energies_are_few_at_finite_temperature():
    """The histogram of a long scan against the Fermi function of a short one."""
    many, few = hall(js.Levels(MANY, 300.0)), hall(js.Levels(MANY[FEW], 300.0))
    np.testing.assert_allclose(many[FEW], few, atol=1e-7 * np.max(np.abs(few)), rtol=0)


def test_temperature_axis():
    """A scan over temperatures, zero among them, is the runs at each of them."""
    mu, temperatures = [-1.0, 0.5], np.array([300.0, 0.0, 50.0])
    scan = hall(js.Levels(mu, temperatures))
    assert scan.shape == (3, 2)
    for value, temperature in zip(scan, temperatures, strict=True):
        np.testing.assert_allclose(value, hall(js.Levels(mu, temperature)), atol=1e-14)


def test_shift_of_the_mesh():
    """A filled band does not depend on it."""
    shifted = hall(js.Levels(0.0), js.Grid((60, 60), (0.37, 0.81)))
    np.testing.assert_allclose(shifted, hall(js.Levels(0.0)), atol=1e-8)


def test_time_reversed_haldane():
    """The opposite flux has the opposite Hall effect, and none has none."""
    fluxes = [
        models.Haldane(onsite=-0.2, hopping=-1.0, next_hopping=0.15, phase=s * 0.7)
        for s in (1, -1, 0)
    ]
    plus, minus, none = (hall(js.Levels([-1.0, 0.5]), model=model) for model in fluxes)
    assert np.max(np.abs(plus)) > 0.1
    np.testing.assert_allclose(minus, -plus, atol=1e-13)
    np.testing.assert_allclose(none, 0, atol=1e-13)


# --- One k ----------------------------------------------------------------------------------------

KANE_MELE = models.KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25)
K = np.array([0.37, -1.21])


@pytest.mark.parametrize("definition", [CONVENTIONAL, A, B])
def test_reciprocal_lattice_vector(definition):
    step = np.array([2, -1]) @ np.asarray(reciprocal_vectors(KANE_MELE.lattice))
    values = js.spin_berry_curvature(KANE_MELE, np.array([K, K + step]), definition=definition)
    np.testing.assert_allclose(values[0], values[1], atol=1e-12)


# --- Gauge ----------------------------------------------------------------------------------------

OBSERVABLES = {
    **{name: QUANTITIES[name][0] for name in (*SEA, *SPIN_HALL)},
    **{name: piece.observable for name, piece in PIECES.items()},
}


@eqx.filter_jit
def weights(bands: Bands) -> dict[str, jax.Array]:
    """The weights of each band, the observables one after the other."""
    found = {}
    for name, observable in OBSERVABLES.items():
        result = observable(bands)
        found[name] = result.full
        if result.surface is not None:
            found[f"{name}, surface"] = result.surface
    found["pieces"] = jnp.stack([found.pop(name) for name in PIECES])
    found["quantum_metric"] = geometry.quantum_metric(bands)
    found["orbital_moment"] = geometry.orbital_moment(bands)
    return found


@eqx.filter_jit
def solved(model, k, degeneracy=js.Covariant()) -> Bands:  # noqa: B008
    return solve_bands(model, k, degeneracy)


GAUGE = {
    "bands apart": (KANE_MELE, 1),
    "pairs": (models.BernevigHughesZhang(u=-1.0, A=1.0, C=0.3), 2),
    "Bi2Se3 without exchange": (models.TopologicalInsulator.bi2se3(), 2),
}


@pytest.fixture(params=GAUGE)
def gauge(request, rng):
    """Group sums of the weights at random k, and of those in another gauge, and both weights."""
    model, size = GAUGE[request.param]
    bands = solved(model, jnp.asarray(rng.uniform(-0.3, 0.3, size=(model.dimension, 5))))
    same = np.asarray(bands.degenerate)
    assert np.all(same.sum(axis=1) == size)
    return bands, rotated(bands, random_gauge(rng, same))


def test_gauge(gauge):
    """Phases of the bands, and unitaries inside degenerate groups, change no group's weight."""
    here, there = map(weights, gauge)
    same = np.asarray(gauge[0].degenerate)
    for name, weight in here.items():
        expected = over_groups(same, weight)
        scale = max(np.max(np.abs(weight)), 1e-3)
        np.testing.assert_allclose(
            over_groups(same, there[name]), expected, atol=1e-12 * scale, err_msg=name
        )


def test_weight_of_one_band_of_a_pair_does_change(rng):
    """Negative control."""
    model = GAUGE["Bi2Se3 without exchange"][0]
    bands = solved(model, jnp.asarray(rng.uniform(-0.3, 0.3, size=(3, 5))))
    other = rotated(bands, random_gauge(rng, np.asarray(bands.degenerate)))
    here, there = (weights(b)["anomalous_hall"] for b in (bands, other))
    assert np.max(np.abs(here - there)) > 1e-2 * np.max(np.abs(here))


def test_group_values_of_berry_curvature_are_what_users_see(rng):
    """Each member of a pair gets the mean."""
    model, k = GAUGE["pairs"][0], rng.uniform(-0.3, 0.3, size=2)
    curvature = js.berry_curvature(model, k)
    np.testing.assert_allclose(curvature[0], curvature[1], atol=1e-13)
    np.testing.assert_allclose(curvature[0], 0, atol=1e-13)


# --- Identities between the parts of the proper current -------------------------------------------

IDENTITY_MODELS = {
    "3 bands, 2D": random_hopping(3, 2, seed=1),
    "4 bands, 2D": random_hopping(4, 2, seed=2),
    "4 bands, 3D": random_hopping(4, 3, seed=3),
    "6 bands, 2D": random_hopping(6, 2, seed=4),
    **{name: model for name, (model, size) in GAUGE.items() if size == 2},
}


@pytest.mark.parametrize("name", IDENTITY_MODELS)
def test_identities_of_the_parts(name, rng):
    """At every k and for every occupation, hence for the weights of each group of bands."""
    model = IDENTITY_MODELS[name]
    bands = solved(model, jnp.asarray(rng.uniform(-1, 1, size=(model.dimension, 5))))
    same, weight = np.asarray(bands.degenerate), weights(bands)
    j1, j2, i1, i2 = (over_groups(same, piece) for piece in weight["pieces"])
    a, b, conventional = (over_groups(same, weight[name]) for name in (A, B, CONVENTIONAL))
    scale = max(np.max(np.abs(piece)) for piece in (j1, j2, i2))
    for violation in (j2 + i1, j1 - (a + b) / 2, i2 - (b - a) / 2, j1 + j2 - conventional):
        assert np.max(np.abs(violation)) < 1e-12 * scale


def test_residuals_that_users_see():
    mesh, levels = OneRule(js.Grid((6, 7))), js.Levels([0.2, 1.2], 1000.0)
    pieces = js.spin_hall_pieces(CRYSTAL, mesh, levels)
    scale = float(jnp.max(jnp.abs(pieces.J1.value)))
    assert set(pieces.residuals) == {
        "J2 + I1",
        "J1 - (A+B)/2",
        "I2 - (B-A)/2",
        "J1 + J2 - conventional",
    }
    assert all(float(residual) < 1e-12 * scale for residual in pieces.residuals.values())
