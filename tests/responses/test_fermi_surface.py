"""Constant relaxation time: independent sums, closed forms, groups, parities, what is refused."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gauge import over_groups, random_gauge, rotated
from response_table import TABLE, tabled
from symmetric_models import symmetric_model

import jaxspin as js
from jaxspin import models, units
from jaxspin.band_structure.bands import solve_bands
from jaxspin.engine.small_matrices import PAULI
from jaxspin.integration.problem import Problem
from jaxspin.quantities import fermi_surface as quantities
from jaxspin.responses.compute import compute
from jaxspin.symmetry.groups import point_groups

RECORDS = {
    "drude": quantities.DRUDE,
    "edelstein": quantities.EDELSTEIN,
    "spin_drude": quantities.SPIN_DRUDE,
    "berry_dipole": quantities.BERRY_DIPOLE,
    "nonlinear_hall": quantities.NONLINEAR_HALL,
    "spin_berry_dipole": quantities.SPIN_BERRY_DIPOLE,
    "intrinsic_nonlinear_hall": quantities.INTRINSIC_NONLINEAR_HALL,
}
OF_SPIN = ("edelstein", "spin_drude", "spin_berry_dipole")
TIMES_TAU = ("drude", "edelstein", "spin_drude", "nonlinear_hall")

# --- independent sums -----------------------------------------------------------------------------


@lru_cache
def natural_values(name: str) -> dict[str, np.ndarray]:
    """All responses of a model of the table in one sum, at its Fermi energies."""
    model, entry = tabled(name), TABLE["models"][name]
    kelvin = entry["mesh"][0]["T"] * 8.617333262e-5 / units.BOLTZMANN
    levels = js.Levels([row["mu"] for row in entry["mesh"]], kelvin)
    grid = js.Grid((entry["mesh_shape"],) * model.dimension)
    names = [n for n in RECORDS if entry["model"]["spin"] is not None or n not in OF_SPIN]
    several = compute(Problem(tuple(RECORDS[n] for n in names), model, grid, levels))
    return {n: np.asarray(one.natural) for n, one in zip(names, several, strict=True)}


def expected_values(row: dict) -> dict[str, np.ndarray]:
    dipole, moved = (np.array(row[k]) for k in ("berry_dipole_surf_abc", "bpc_surf_abc_v_a_G_bc"))
    across = np.swapaxes(moved, 0, 1)
    found = {
        "drude": np.array(row["drude_surf_ab"]),
        "berry_dipole": dipole,
        "nonlinear_hall": (dipole + np.swapaxes(dipole, 1, 2)) / 2,
        "intrinsic_nonlinear_hall": (across + np.swapaxes(across, 1, 2)) / 2 - moved,
    }
    if "edelstein_surf_sc" in row:
        found["edelstein"] = np.array(row["edelstein_surf_sc"])
        found["spin_drude"] = np.swapaxes(row["spin_drude_surf_asb"], -1, -2)
    return found


LONG = ("weyl", "kramers3d", "nosoc3d")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.study) if n in LONG else n for n in TABLE["models"]],
)
@pytest.mark.filterwarnings("ignore:The mesh")
def test_independent_sums(name):
    """Models without symmetry, with spin, with double bands; kT of the table's own constant."""
    measured = natural_values(name)
    for i, row in enumerate(TABLE["models"][name]["mesh"]):
        for quantity, expected in expected_values(row).items():
            scale = np.max(np.abs(expected))
            np.testing.assert_allclose(
                measured[quantity][i],
                expected,
                rtol=0,
                atol=1e-10 * scale + 1e-15,
                err_msg=quantity,
            )


def test_spin_berry_dipole_is_made_of_the_spin_curvature():
    """Of bands without degeneracy: the product of its values and velocities, by NumPy at one k."""
    entry, model = TABLE["models"]["rand3d"], tabled("rand3d")
    k = np.linalg.solve(np.asarray(model.lattice), 2 * np.pi * np.array(entry["k_reduced"]))
    bands = solve_bands(model, k[:, None], js.Covariant())
    weights = quantities.SpinBerryDipole()(bands).surface[..., 0]  # flow, field, second, spin, m
    curvature, velocity = (np.array(entry["per_k"][n]) for n in ("spin_curv_asb", "velocity_a"))
    expected = -np.einsum("masb,mc->abcsm", curvature, velocity)
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-11 * np.max(np.abs(expected)))


# --- closed forms ---------------------------------------------------------------------------------


class TiltedCone(js.Model):
    """v (k_x σ_x + k_y σ_y) + M σ_z + w k_x."""

    velocity: jax.Array
    mass: jax.Array
    tilt: jax.Array

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        plane = self.velocity * (k[0] * PAULI[1] + k[1] * PAULI[2])
        return plane + self.mass * PAULI[3] + self.tilt * k[0] * PAULI[0]

    def spin(self):
        return jnp.asarray(PAULI[1:])


def cone(tilt=0.05):
    return TiltedCone(*map(jnp.asarray, (2.0, 0.3, tilt)))


@pytest.mark.parametrize(
    ("tilt", "exact"),
    [
        pytest.param(0.05, -0.004582695603554025, marks=pytest.mark.study),
        (0.2, -0.01827288161544874),
    ],
)
def test_berry_dipole_of_a_tilted_cone(tilt, exact):
    """The integral along the contour, v = 2, M = 0.3, mu = 0.5; first order −3wM(μ²−M²)/8πμ⁴."""
    mesh, levels = js.Adaptive(js.Disk(0.5, 12, 12), rtol=1e-3), js.Levels(0.5)
    found = js.berry_dipole(cone(tilt), mesh, levels)
    assert found.units == "Angstrom"
    value = found.component(flow="x", field="y", second_field="x")
    assert abs(value.value[0] - exact) <= value.error[0] <= 1e-3 * abs(exact)
    np.testing.assert_allclose(found.value[0, 1, 0, 0], -value.value[0], rtol=1e-12)


def test_nonlinear_hall_is_symmetric_in_the_fields():
    mesh, levels = js.Disk(0.5, 12, 12), js.Levels(0.5, 900.0)
    dipole = js.berry_dipole(cone(0.2), mesh, levels).natural
    hall = js.nonlinear_hall(cone(0.2), mesh, levels).natural
    np.testing.assert_allclose(hall, (dipole + np.swapaxes(dipole, -1, -2)) / 2, atol=1e-16)
    assert abs(hall[0, 1, 0, 0]) > 1e-3


def test_nothing_in_the_gap():
    for name in RECORDS:
        found = getattr(js, name)(cone(), js.Disk(0.5, 20, 8), js.Levels(0.1))
        np.testing.assert_array_equal(found.value, 0.0, err_msg=name)


def test_drude_conductivity_of_a_dirac_cone():
    """(μ² − M²)/4πμ at T = 0, in eV and in units of S/fs."""
    mass, mu = 0.3, np.array([0.4, 0.7, -0.6])
    model = models.MassiveDirac(velocity=2.0, mass=mass)
    found = js.drude(model, js.Adaptive(js.Disk(0.6, 12, 8), rtol=1e-4), js.Levels(mu))
    exact = (mu**2 - mass**2) / (4 * np.pi * np.abs(mu))
    np.testing.assert_allclose(found.natural[:, 0, 0], exact, rtol=1e-4)
    np.testing.assert_allclose(found.value[:, 1, 1], exact * 3.698101774e-4, rtol=1e-4)
    assert found.units == "S fs^-1"
    np.testing.assert_allclose(found.value[:, 0, 1], 0, atol=1e-15)


class Weyl(js.Model):
    """v k·σ, a node of chirality sign(v)."""

    velocity: jax.Array

    @property
    def dimension(self):
        return 3

    def __call__(self, k):
        return self.velocity * jnp.einsum("i,ijk->jk", k, PAULI[1:])


@pytest.mark.parametrize("mu", [0.4, -0.4])
def test_berry_dipole_of_a_weyl_node(mu):
    """−δ_ab/12π² with the axial index of the curvature, for either sign of mu."""
    found = js.berry_dipole(Weyl(jnp.asarray(1.0)), js.Ball(0.9, 40, 6, 6), js.Levels(mu))
    axial = np.stack([found.value[0, a, b] for a, b in ((1, 2), (2, 0), (0, 1))])
    np.testing.assert_allclose(axial, -np.eye(3) / (12 * np.pi**2), atol=2e-5)
    assert found.units == "1"


@pytest.mark.study
def test_sign_of_the_edelstein_effect_is_that_with_disorder():
    """The spin that a current carries, by the mechanism `drude` of short scatterers."""
    model, levels = models.Rashba(kinetic=2.0, velocity=0.5, exchange=0.05), js.Levels(0.6)
    disorder = js.ScalarDisorder(0.1)
    found = js.disordered_response(model, js.FermiContour(32), levels, disorder)
    constant = js.edelstein(model, js.Disk(0.9, 80, 8), levels).value[0]
    spin = found.drude.spin_density.value[0]
    assert constant[1, 0] > 0 > constant[0, 1]
    assert spin[1, 0] > 0 > spin[0, 1]


# --- groups, symmetry, derivatives ----------------------------------------------------------------


GRAPHENE = models.KaneMele(1.0, 0.06, 0.05, 0.1)


def bands_with_pairs(rng):
    """Kramers pairs of Bi2Se3, with inversion, and of graphene with Rashba coupling at an M point,
    without: there the velocity is no number in each pair."""
    bi2se3, k = models.TopologicalInsulator.bi2se3(), rng.uniform(-0.1, 0.1, size=(3, 4))
    yield solve_bands(bi2se3, jnp.asarray(k), js.Covariant())
    m_point = np.linalg.solve(np.asarray(GRAPHENE.lattice), [np.pi, 0])
    yield solve_bands(GRAPHENE, jnp.asarray(m_point[:, None]), js.Covariant())


@pytest.mark.parametrize("name", RECORDS)
def test_gauge(name, rng):
    """Random unitaries inside Kramers pairs do not change what the pairs add."""
    observable = RECORDS[name].observable
    for bands in bands_with_pairs(rng):
        same = np.asarray(bands.degenerate)
        assert np.any(np.sum(same, axis=1) == 2)
        here, there = (
            over_groups(same, np.asarray(observable(b).surface))
            for b in (bands, rotated(bands, random_gauge(rng, same)))
        )
        bare = np.max(np.abs(observable(bands).surface))
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-12 * max(bare, 1.0))


def test_products_of_single_bands_depend_on_the_basis(rng):
    """Negative control of the traces: Σ v_mm s_mm of a pair."""
    *_, bands = bands_with_pairs(rng)
    turned = rotated(bands, random_gauge(rng, np.asarray(bands.degenerate)))
    products = [np.einsum("cmmk,smmk->cs", b.velocity, b.spin).real for b in (bands, turned)]
    assert np.max(np.abs(products[0] - products[1])) > 1e-3


# Of the parities of axes and time reversal each has a part that is allowed, and one that is not.
GROUPS = ("m(1)", "3", "mm21'", "4(2)")


@pytest.mark.parametrize(
    "name",
    [pytest.param(g, marks=pytest.mark.study) if g != "m(1)" else g for g in GROUPS],
)
def test_on_a_reduced_mesh(name):
    """At each k the door compares the images under the group, by the parities of the records."""
    operations = point_groups()[name]
    model = symmetric_model(operations, orbitals=1).without_external_terms()
    mesh, levels = js.Grid((6, 6, 6)), js.Levels([0.0, 0.5], 900.0)
    several = tuple(RECORDS.values())
    wholes = compute(Problem(several, model, mesh, levels))
    reduced = compute(Problem(several, model, js.Symmetric(mesh, operations), levels))
    for whole, one in zip(wholes, reduced, strict=True):
        # What the group forbids is a sum of terms of order 0.1 to 1 that cancel.
        scale = max(np.max(np.abs(whole.natural)), 0.1)
        np.testing.assert_allclose(one.natural, whole.natural, rtol=0, atol=1e-11 * scale)
    assert any(np.max(np.abs(whole.natural)) > 1e-2 for whole in wholes[3:])


def test_a_wrong_parity_is_refused():
    wrong = quantities.SPIN_DRUDE.replace(time_reversal=1)
    mesh = js.Symmetric(js.Grid((8, 8)), [js.symmetry.TIME_REVERSAL])
    with pytest.raises(ValueError, match="magnetic spin Hall"):
        compute(Problem(wrong, GRAPHENE, mesh, js.Levels(1.5, 600.0)))


def test_derivatives():
    """By the mass of a cone, against central differences, at T > 0."""
    levels, mesh = js.Levels(0.5, 600.0), js.Disk(0.6, 12, 8)

    def responses(mass):
        model = TiltedCone(jnp.asarray(2.0), mass, jnp.asarray(0.2))
        several = compute(Problem(tuple(RECORDS.values()), model, mesh, levels))
        return [one.natural for one in several]

    slopes, step = jax.jacfwd(responses)(0.3), 1e-4
    for slope, above, below in zip(slopes, *map(responses, (0.3 + step, 0.3 - step)), strict=True):
        difference = (above - below) / (2 * step)
        scale = np.max(np.abs(difference))
        assert scale > 1e-4
        np.testing.assert_allclose(slope, difference, rtol=0, atol=1e-6 * scale)


def test_derivative_where_bands_are_degenerate():
    """Two spins: twice the derivative of one; what splits them is an error."""

    def two(x, splitting=0.0):
        model = models.Rashba(kinetic=x, velocity=0.0, exchange=splitting)
        return js.drude(model, js.Disk(0.9, 12, 8), js.Levels(0.5, 900.0)).natural[0, 0, 0]

    step = 1e-4
    difference = (two(1.2 + step) - two(1.2 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(two)(1.2), difference, rtol=1e-6)
    with pytest.raises(RuntimeError, match="degenerate"):
        jax.block_until_ready(jax.grad(lambda x: two(1.2, x))(0.0))


def test_error_is_honest():
    """Of 18² and 24² points against 240², at T > 0 and at T = 0."""
    for kelvin in (0.0, 1200.0):
        levels = js.Levels([-1.1, 0.6, 1.4], kelvin)
        true = js.drude(cone_on_a_lattice(), js.Grid((240, 240)), levels).natural
        for n in (18, 24):
            found = js.drude(cone_on_a_lattice(), js.Grid((n, n)), levels)
            error = found.error / units.per_natural(found.units)
            assert np.all(np.abs(found.natural - true) <= 3 * error + 1e-12)


def cone_on_a_lattice():
    return models.QiWuZhang(A=1.0, m=-1.0, t0=0.4)


# --- relaxation time, units, files ----------------------------------------------------------------


@pytest.mark.parametrize("name", TIMES_TAU)
def test_relaxation_time(name):
    model, mesh, levels = cone(0.2), js.Disk(0.6, 10, 8), js.Levels(0.5, 600.0)
    function = getattr(js, name)
    per_time, given = (
        function(model, mesh, levels),
        function(model, mesh, levels, relaxation_time=8),
    )
    assert per_time.units == f"{given.units} fs^-1"
    np.testing.assert_allclose(given.value, 8 * per_time.value, rtol=1e-14)
    np.testing.assert_allclose(given.error, 8 * per_time.error, rtol=1e-14)
    assert given.info["relaxation_time"] == 8.0
    assert "relaxation_time" not in per_time.info
    # 1 fs is 1.519267448 ħ/eV
    np.testing.assert_allclose(given.natural, 8 * 1.519267448 * per_time.natural, rtol=1e-9)
    of_time = lambda t: jnp.sum(function(model, mesh, levels, relaxation_time=t).value ** 2)  # noqa: E731
    np.testing.assert_allclose(jax.grad(of_time)(8.0), of_time(8.0) / 4, rtol=1e-12)


@pytest.mark.parametrize("wrong", [0, -1.0, np.inf, np.nan, "8 fs", [1.0, 2.0], True])
def test_relaxation_time_is_positive(wrong):
    with pytest.raises(ValueError, match="`relaxation_time` must be a positive time in fs, but is"):
        js.drude(cone(), js.Disk(0.5, 8, 8), js.Levels(0.5), relaxation_time=wrong)


def test_prefactors():
    """Of the sums in eV and Å, with CODATA's constants."""
    expected = {
        "S/m fs^-1": 3698101.77418199,
        "S fs^-1": 3.69810177418199e-4,
        "A/V^2 fs^-1": 3.69810177418199e-4,
        "A m/V^2 fs^-1": 3.69810177418199e-14,
        "A/V^2": 2.434134805787947e-4,
        "A m/V^2": 2.434134805787947e-14,
    }
    for unit, factor in expected.items():
        np.testing.assert_allclose(units.per_natural(unit), factor, rtol=1e-10)


def test_a_file_keeps_the_sign(tmp_path):
    found = js.edelstein(cone(), js.Disk(0.5, 10, 8), js.Levels(0.5, 300.0))
    found.save(tmp_path / "spin.nc")
    again = js.load(tmp_path / "spin.nc")
    np.testing.assert_array_equal(again.natural, found.natural)
    np.testing.assert_allclose(found.to("hbar V^-1 m^-1 fs^-1").natural, found.natural, rtol=1e-14)
    assert np.all(np.sign(found.natural[0, 1, 0]) == -np.sign(found.value[0, 1, 0]))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in RECORDS if "dipole" in n or "hall" in n])
def test_states_beyond_the_bands_are_refused(name):
    function, levels = getattr(js, name), js.Levels(0.3)
    effective = js.downfold(models.TopologicalInsulator.bi2se3(), (0, 1))
    with pytest.raises(ValueError, match="must have all its bands for the"):
        function(effective, js.Ball(0.1, 4, 4, 4), levels)
    terms = symmetric_model(point_groups()["3"])
    with pytest.raises(ValueError, match="no elements of the position operator for the"):
        function(terms, js.Grid((4, 4, 4)), levels)


@pytest.mark.parametrize("name", OF_SPIN)
def test_a_model_without_spin_is_refused(name):
    haldane = models.Haldane(onsite=0.2, hopping=-1.0, next_hopping=0.15, phase=1.2)
    with pytest.raises(ValueError, match="spin"):
        getattr(js, name)(haldane, js.Grid((6, 6)), js.Levels(0.3))


class Chain(js.Model):
    """cos k of two spins with Rashba coupling and a field."""

    @property
    def dimension(self):
        return 1

    @property
    def lattice(self):
        return jnp.eye(1)

    def __call__(self, k):
        return -jnp.cos(k[0]) * PAULI[0] + 0.3 * jnp.sin(k[0]) * PAULI[2] + 0.1 * PAULI[1]

    def spin(self):
        return jnp.asarray(PAULI[1:])


def test_one_dimension():
    """Σ f ∂²ε = Σ (−∂f/∂ε) (∂ε)² in each band; dipoles need two dimensions."""
    levels, mesh = js.Levels(0.2, 900.0), js.Grid((64,))
    k = 2 * np.pi * np.arange(64) / 64
    root = np.sqrt(0.09 * np.sin(k) ** 2 + 0.01)
    energy = [-np.cos(k) + sign * root for sign in (1, -1)]
    velocity = [np.sin(k) + sign * 0.09 * np.sin(k) * np.cos(k) / root for sign in (1, -1)]
    thermal = 900.0 * units.BOLTZMANN
    weight = [0.25 / thermal / np.cosh((e - 0.2) / (2 * thermal)) ** 2 for e in energy]
    exact = sum(np.mean(w * v**2) for w, v in zip(weight, velocity, strict=True))
    found = js.drude(Chain(), mesh, levels)
    assert found.units == "S m fs^-1"
    np.testing.assert_allclose(found.natural[0, 0, 0], exact, rtol=1e-9)
    assert js.edelstein(Chain(), mesh, levels).value.shape == (1, 3, 1)
    assert js.spin_drude(Chain(), mesh, levels).units == "hbar/2e S m fs^-1"
    with pytest.raises(ValueError, match="must have dimension 2 or 3 for the Berry curvature"):
        js.berry_dipole(Chain(), mesh, levels)
