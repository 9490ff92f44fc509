"""Disordered conductors: tables, closed forms, invariances, other routes, negative controls."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_disorder import Dense, local, ranged
from one_level import at_first_level
from systems import SquareLattice, random_unitary

import jaxspin as js
from jaxspin.disorder import GaussianCorrelator, fermi_states as shells, relaxation
from jaxspin.disorder.collision import DenseScattering, IterativeScattering, correlation_matrix
from jaxspin.disorder.contributions import (
    interband_coherence,
    mix_interband,
    skew_source,
    sum_mechanisms,
)
from jaxspin.disorder.results import ALWAYS_MEASURED
from jaxspin.engine.small_matrices import PAULI
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models import MassiveDirac, QiWuZhang, Rashba
from jaxspin.models.base import parameter
from jaxspin.models.lifted import Points
from jaxspin.surfaces import FermiSurface, FermiSurfaceRule
from jaxspin.surfaces.base import Diagnostic
from jaxspin.surfaces.thermal import window_of

# Of a warped cone, whose table has no spins: test_sea_of_a_warped_cone_is_warned_of.
pytestmark = pytest.mark.filterwarnings("ignore:the sum over the Fermi sea .* in the spin density")

YX, XX = (1, 0), (0, 0)
WEAK = js.ScalarDisorder(1e-3)
MECHANISMS = ("intrinsic", "extrinsic", "side_jump", "skew")
ANGLES = js.FermiContour(64)  # the same rules throughout, for each is compiled anew
WIDE = js.FermiContour(24)
ZONE = js.FlowContour(64)
SEA = js.Plane(0.5, 96, 24)


def dirac(mass=0.3, **more):
    return MassiveDirac(velocity=1.0, mass=mass, **more)


def rashba(kinetic, exchange=0.3):
    return Rashba(kinetic=kinetic, velocity=1.0, exchange=exchange)


def sigma(response, name, component=YX):
    return float(getattr(response, name).conductivity.value[component])


def respond(model, surface, mu, disorder=WEAK, *, temperature=0.0, **more):
    """A response; at a single mu without its axis."""
    levels = js.Levels(mu, temperature)
    found = js.disordered_response(model, surface, levels, disorder, **more)
    return found if np.ndim(mu) else at_first_level(found)


# Compiled, for their operations one by one take longer.
states_of = eqx.filter_jit(
    lambda model, nodes: shells.find_states(model, nodes, ALWAYS_MEASURED, has_groups=False)
)
parts_of = eqx.filter_jit(
    lambda states, disorder: sum_mechanisms(states, disorder.scattering(states))
)
matrices_of = eqx.filter_jit(lambda model, k: model.lift(Points(k))[:2])


#: model, surface, mu: intrinsic, extrinsic, side jump, skew, their sum, u0² drude_xx.
TABLE = {
    "dirac, M = 0.1": (
        dirac(0.1),
        ANGLES,
        1.0,
        "0.007957747155 0.015297416860 0.015297416860 0.022055013629 0.060607594504 0.305948337206",
    ),
    "dirac, M = 0.3": (
        dirac(0.3),
        ANGLES,
        1.0,
        "0.023873241464 0.034212046822 0.034212046822 0.036771215679 0.129068550787 0.228080312147",
    ),
    "dirac, M = 0.9": (
        dirac(0.9),
        ANGLES,
        1.0,
        "0.071619724391 0.007934546726 0.007934546726 0.000659284495 0.088148102337 0.017632326057",
    ),
    "warped": (
        dirac(warping=0.2),
        ANGLES,
        1.0,
        "0.022788617640 0.034113885863 0.034113885863 0.036044026149 0.127060415514 0.248566675719",
    ),
    "rashba, both bands": (
        rashba(0.3),
        WIDE,
        1.0,
        "0.023245609994 -0.023245609994 -0.023245609994 "
        "0.023245609994 0.000000000000 0.509295817894",
    ),
    "rashba, both bands, heavier": (
        rashba(0.5),
        WIDE,
        0.5,
        "0.043804112778 -0.043804112778 -0.043804112778 "
        "0.043804112778 0.000000000000 0.477464829276",
    ),
    "rashba, one band": (
        rashba(0.5),
        WIDE,
        0.1,
        "0.068399717842 -0.020689797554 -0.020689797554 "
        "0.032622261520 0.059642384254 0.380024457039",
    ),
    "rashba, annulus": (
        rashba(0.5),
        WIDE,
        -0.35,
        "0.048881424642 -0.060541214006 -0.060541214006 "
        "0.027277488879 -0.044923514490 0.074028950594",
    ),
    "tilted along x": (
        dirac(tilt=(0.3, 0.0)),
        ANGLES,
        1.0,
        "0.023777138270 0.034828797577 0.029875115930 0.032387953446 0.120869005223 0.205694066342",
    ),
    "tilted": (
        dirac(tilt=(0.3, 0.2)),
        ANGLES,
        1.0,
        "0.023734796677 0.032957917767 0.030241111409 0.030550469726 0.117484295580 0.192670592980",
    ),
    "qwz": (
        QiWuZhang(A=1.0, m=-1.2),
        ZONE,
        1.0,
        "0.087754928741 0.057551469910 0.057551469910 0.006692215296 0.209550083856 0.035312873975",
    ),
    "qwz, t0": (
        QiWuZhang(A=1.0, m=-1.2, t0=-0.2),
        ZONE,
        0.8,
        "0.078863588387 0.050898470085 0.050898470085 "
        "-0.002593915858 0.178066612698 0.109023238984",
    ),
}


@pytest.fixture(scope="module")
def table():
    """The response of every row, each computed once."""
    known = {}

    def row(name):
        if name not in known:
            model, surface, mu, _ = TABLE[name]
            known[name] = respond(model, surface, mu)
        return known[name]

    return row


# --- tables and closed forms ----------------------------------------------------------------------


def assert_row(response, name, tolerance):
    parts = [sigma(response, part) for part in MECHANISMS]
    found = [*parts, sum(parts), 1e-3 * sigma(response, "drude", XX)]
    expected = np.array(TABLE[name][3].split(), float)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", TABLE)
def test_table(table, name):
    assert_row(table(name), name, 1.01e-12)


def test_table_by_marching_squares():
    model, _, mu, _ = TABLE["qwz"]
    assert_row(respond(model, js.MarchingSquares((40, 40)), mu), "qwz", 1e-8)


@pytest.mark.study
def test_table_by_a_broadened_surface():
    """Every point of a mesh is a state, and no charge is lost on it."""
    model, _, mu, _ = TABLE["qwz"]
    r = respond(model, js.BroadenedSurface(js.Grid((160, 160), 0.5), 0.05, 2), mu)
    assert_row(r, "qwz", 1e-4)
    assert r.info["charge_residual"] < 1e-14


@pytest.mark.parametrize("name", TABLE)
def test_total_and_symmetries(table, name):
    """ext_ij = −sj_ji, skew antisymmetric, Drude symmetric, everything adds up."""
    r = table(name)
    value = {part: getattr(r, part).conductivity.value for part in (*MECHANISMS, "drude", "total")}
    np.testing.assert_allclose(value["side_jump"], -value["extrinsic"].T, atol=1e-14)
    np.testing.assert_allclose(value["skew"], -value["skew"].T, atol=1e-14)
    np.testing.assert_allclose(value["intrinsic"], -value["intrinsic"].T, atol=1e-12)
    np.testing.assert_allclose(value["drude"], value["drude"].T, rtol=1e-13, atol=1e-11)
    total = sum(getattr(r, part).conductivity.value for part in r.MECHANISMS)
    np.testing.assert_allclose(value["total"], total, rtol=1e-14)
    assert r.info["charge_residual"] < 1e-13
    assert r.info["states"] > 0


def test_tilted_parts_differ_but_not_their_antisymmetric_part(table):
    r = table("tilted")
    ext, jump = r.extrinsic.conductivity.value, r.side_jump.conductivity.value
    assert abs(ext[1, 0] - jump[1, 0]) > 1e-3
    np.testing.assert_allclose(ext - ext.T, jump - jump.T, atol=1e-14)


@pytest.mark.parametrize("mass", [0.1, 0.3, 0.9])
def test_dirac_closed_forms(table, mass):
    """The paper's section VI, for M > 0 and mu = 1."""
    r, x = table(f"dirac, M = {mass}"), mass**2
    exact = {
        "intrinsic": mass / 2,
        "extrinsic": mass * (1 - x) / (1 + 3 * x),
        "side_jump": mass * (1 - x) / (1 + 3 * x),
        "skew": 1.5 * mass * (1 - x) ** 2 / (1 + 3 * x) ** 2,
    }
    for part, value in exact.items():
        assert sigma(r, part) == pytest.approx(value / (2 * np.pi), abs=1e-14)
    total = sum(sigma(r, part) for part in MECHANISMS)
    assert total == pytest.approx(4 * mass * (1 + x) / (1 + 3 * x) ** 2 / (2 * np.pi), abs=3e-14)


@pytest.mark.parametrize("mu", [-1.0, 1.0])
@pytest.mark.parametrize("mass", [-0.4, 0.3])
def test_dirac_is_even_in_mu_and_odd_in_the_mass(mass, mu):
    r = respond(dirac(mass), ANGLES, mu)
    x = mass**2
    hall = 4 * mass * (1 + x) / (1 + 3 * x) ** 2 / (2 * np.pi)
    assert sum(sigma(r, part) for part in MECHANISMS) == pytest.approx(hall, abs=1e-13)


def test_isotropic_contour_closed_form():
    """ext = sj = (1/2π) b sgn(v_r) ξ(1−x)/(1+3x) and the skew part, for one Rashba contour."""
    alpha, mass, mu = 0.5, 0.3, 0.1
    r = respond(rashba(alpha, mass), WIDE, mu)
    middle, product = 1 + 2 * alpha * mu, 4 * alpha**2 * (mu**2 - mass**2)
    k = np.sqrt((middle + np.sqrt(middle**2 - product)) / (2 * alpha**2))
    lam = np.sqrt(k**2 + mass**2)
    xi, x, speed = mass / lam, (mass / lam) ** 2, 2 * alpha * k - k / lam
    jump = -np.sign(speed) * xi * (1 - x) / (1 + 3 * x) / (2 * np.pi)
    skew = 1.5 * xi * (1 - x) ** 2 / (1 + 3 * x) ** 2 * abs(speed) * lam / k / (2 * np.pi)
    assert sigma(r, "side_jump") == pytest.approx(jump, abs=1e-13)
    assert sigma(r, "skew") == pytest.approx(skew, abs=1e-13)


def test_third_cumulant():
    """σ_yx = κ₃ M (1−x)²/(2πu0⁴(1+3x)²)."""
    strength, kappa, mass = 1e-3, 2e-6, 0.3
    r = respond(dirac(mass), ANGLES, 1.0, js.ScalarDisorder(strength, kappa))
    x = mass**2
    exact = kappa * mass * (1 - x) ** 2 / (2 * np.pi * strength**2 * (1 + 3 * x) ** 2)
    assert sigma(r, "third_cumulant") == pytest.approx(exact, rel=1e-13)
    none = respond(dirac(mass), ANGLES, 1.0, js.ScalarDisorder(strength))
    assert sigma(none, "third_cumulant") == 0


def test_third_cumulant_vanishes_for_both_rashba_bands():
    r = respond(rashba(0.3), WIDE, 1.0, js.ScalarDisorder(1e-3, 1e-6))
    assert abs(sigma(r, "third_cumulant")) < 1e-13


class Bulk(js.Model):
    """A magnetic conductor with Rashba coupling in three dimensions."""

    exchange: jax.Array = parameter(0.5)
    dimension = 3

    def __call__(self, k):
        one, x, y, z = PAULI
        rashba = k[0] * y - k[1] * x + 0.3 * k[2] * k[0] * x
        return 0.5 * (k @ k) * one + rashba + (self.exchange + 0.2 * k[2] ** 2) * z

    def spin(self):
        return jnp.asarray(PAULI[1:])


@pytest.mark.study
def test_shell_and_broadened_surface_agree_in_three_dimensions():
    shell = respond(Bulk(), js.FermiShell(12, 12), 1.0, js.ScalarDisorder(1.0))
    ball = js.BroadenedSurface(js.Ball(5.0, 100, 24, 24), 0.2, 2)
    broadened = respond(Bulk(), ball, 1.0, js.ScalarDisorder(1.0))
    one, other = everything(shell), everything(broadened)
    for name in (*MECHANISMS, "drude"):
        assert np.max(np.abs(one[name])) > 0.02
        np.testing.assert_allclose(other[name], one[name], rtol=0, atol=3e-4)
    assert shell.info["charge_residual"] < 1e-13


# --- finite range ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finite_range():
    return respond(dirac(), ANGLES, 1.0, js.FiniteRangeDisorder(GaussianCorrelator(1e-3, 2.0)))


def test_finite_range_table(finite_range):
    assert sigma(finite_range, "extrinsic") == pytest.approx(0.01378671463880, abs=1e-14)
    assert sigma(finite_range, "side_jump") == pytest.approx(0.01378671463880, abs=1e-14)
    assert sigma(finite_range, "skew") == pytest.approx(0.00569304719517, abs=1e-14)


def test_finite_range_closed_form(finite_range):
    """With W_l = ⟨W(θ) cos lθ⟩ on the circle."""
    mass, length, x = 0.3, 2.0, 0.09
    theta = 2 * np.pi * np.arange(256) / 256
    w = np.exp(-2 * (1 - x) * (1 - np.cos(theta)) * length**2 / 2)
    w0, w1, w2 = (np.mean(w * np.cos(l * theta)) for l in range(3))
    d = w0 * (1 + 3 * x) - 4 * x * w1 - (1 - x) * w2
    ext = mass * (1 - x) * (w0 - w1) / d / (2 * np.pi)
    skew = mass * (1 - x) ** 2 * (w0 - w2) * (3 * w0 - 4 * w1 + w2) / (2 * d**2) / (2 * np.pi)
    assert sigma(finite_range, "extrinsic") == pytest.approx(ext, abs=1e-14)
    assert sigma(finite_range, "skew") == pytest.approx(skew, abs=1e-14)
    rate = np.pi / (2 * np.pi) * d / 2  # 1/τ_tr over u0²; σ_xx = (v²ρ/2) τ_tr
    drude = (1 - x) / (2 * np.pi) / 2 / rate
    assert 1e-3 * sigma(finite_range, "drude", XX) == pytest.approx(drude, rel=1e-11)


def test_a_constant_correlator_is_scalar_disorder():
    """Many states with one W for all pairs, a constant for which XLA gives NaN."""
    states = random_states(dirac(), 1600)
    on_shell = states_of(dirac(), states)

    @eqx.filter_jit
    def sources(on_shell, disorder):
        scattering = disorder.scattering(on_shell)
        return mix_interband(on_shell, scattering, on_shell.operators)

    @eqx.filter_jit
    def solution(on_shell, disorder):
        scattering = disorder.scattering(on_shell)
        return scattering.solve_collisions(-on_shell.velocity[:, None] * scattering.vectors)

    constant = js.FiniteRangeDisorder(lambda q: jnp.asarray(1e-3))
    for of in (sources, solution):
        expected = of(on_shell, WEAK)
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(of(on_shell, constant), expected, rtol=0, atol=1e-11 * scale)


def test_no_range_is_scalar_disorder(table):
    flat = respond(dirac(), ANGLES, 1.0, js.FiniteRangeDisorder(GaussianCorrelator(1e-3, 0.0)))
    found, expected = everything(flat), everything(table("dirac, M = 0.3"))
    for part in found:
        size = np.max(np.abs(expected[part]))
        np.testing.assert_allclose(found[part], expected[part], atol=1e-13 * max(size, 1))


# --- other routes ---------------------------------------------------------------------------------


class Fixed(FermiSurfaceRule):
    """Given nodes."""

    surface: FermiSurface

    def check(self, model):
        pass

    def find(self, model, mu):
        return self.surface, ()


def random_states(model, number, seed=1, size=0.1):
    """Any states and weights without current, Σ w v = 0; what follows does not need a surface."""
    rng = np.random.default_rng(seed)
    n = model(jnp.zeros(model.dimension)).shape[0]
    k = jnp.asarray(rng.normal(size=(model.dimension, number)) * size)
    band = jnp.asarray(rng.integers(0, n, number))
    weight = rng.uniform(0.5, 1.5, number)
    states = states_of(model, FermiSurface(k, band, jnp.asarray(weight)))
    v = np.asarray(states.velocity)
    weight = weight - v.T @ np.linalg.solve(v @ v.T, v @ weight)
    assert np.all(weight > 0)
    return FermiSurface(k, band, jnp.asarray(weight))


def dense(model, surface, averaged):
    hamiltonian, slopes = matrices_of(model, surface.k)
    return Dense(
        np.moveaxis(np.asarray(hamiltonian), -1, 0),
        np.moveaxis(np.asarray(slopes), -1, 0),
        np.asarray(model.spin()),
        np.asarray(surface.band),
        np.asarray(surface.weight),
        averaged,
    ).parts()


def both(model, disorder, averaged, number=60):
    states = random_states(model, number)
    found = parts_of(states_of(model, states), disorder)
    assert found.charge < 1e-13
    for name, expected in dense(model, states, averaged(states)).items():
        size = np.max(np.abs(expected))
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-11 * size)


THREE_DIMENSIONS = js.models.TopologicalInsulator.bi2se3(exchange=(0.05, 0.02, 0.1), M0=-0.2)


def test_scalar_disorder_in_three_dimensions_is_the_dense_sum():
    u = np.eye(4) * np.sqrt(0.7)
    both(THREE_DIMENSIONS, js.ScalarDisorder(0.7), lambda s: local([u], np.asarray(s.weight)))


def test_matrix_disorder_is_the_dense_sum(rng):
    """Magnetic impurities, anisotropic, with a scalar part."""
    a = np.array([0.3, 0.5, 0.4, 0.2])[:, None, None] * PAULI
    both(dirac(), js.MatrixDisorder(a), lambda s: local(a, np.asarray(s.weight)))


def test_finite_range_is_the_dense_sum():
    correlator = GaussianCorrelator(0.6, 3.0)
    both(
        THREE_DIMENSIONS,
        js.FiniteRangeDisorder(correlator),
        lambda s: ranged(np.asarray(correlation_matrix(correlator, s.k)), np.asarray(s.weight)),
    )


def test_iteration_is_the_dense_solution():
    model, correlator = dirac(), GaussianCorrelator(1e-3, 2.0)
    states = ANGLES.nodes(model, jnp.array(1.0))
    on_shell = states_of(model, states)
    pairs = DenseScattering(on_shell, np.eye(4), correlation_matrix(correlator, states.k))
    iterated = IterativeScattering(on_shell, np.eye(4), correlator)
    one, other = (
        eqx.filter_jit(sum_mechanisms)(on_shell, scattering) for scattering in (pairs, iterated)
    )
    for name in ("drude", "extrinsic", "side_jump", "skew"):
        expected = getattr(one, name)
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(getattr(other, name), expected, atol=1e-10 * scale)


# --- invariance -----------------------------------------------------------------------------------


class Turned(js.Model):
    """The same crystal in another basis, U H U† and U s U†."""

    model: js.Model
    unitary: jax.Array

    @property
    def dimension(self):
        return self.model.dimension

    @property
    def lattice(self):
        return self.model.lattice

    def __call__(self, k):
        return self.unitary @ self.model(k) @ self.unitary.conj().T

    def spin(self):
        return self.unitary @ self.model.spin() @ self.unitary.conj().T


def everything(response):
    """Conductivity and spin density of each mechanism, laid end to end."""
    parts = {name: getattr(response, name) for name in (*MECHANISMS, "drude")}
    return {
        name: np.append(np.ravel(part.conductivity.value), np.ravel(part.spin_density.value))
        for name, part in parts.items()
    }


def test_basis_does_not_matter(rng, table):
    model = dirac(tilt=(0.3, 0.2))
    turned = Turned(model, jnp.asarray(random_unitary(rng, 2)))
    surface = Fixed(ANGLES.nodes(model, jnp.array(1.0)))
    expected, found = everything(table("tilted")), everything(respond(turned, surface, 1.0))
    for name in MECHANISMS:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-13)


def test_phases_of_eigenvectors_do_not_matter(rng, monkeypatch):
    states = random_states(THREE_DIMENSIONS, 60)

    def with_phases(hamiltonian):
        energies, basis = jnp.linalg.eigh(jnp.moveaxis(hamiltonian, -1, 0))
        phases = np.exp(2j * np.pi * rng.uniform(size=energies.shape))
        return energies.T, jnp.moveaxis(basis * phases[:, None], 0, -1)

    before = states_of(THREE_DIMENSIONS, states)
    monkeypatch.setattr(shells, "eigh", with_phases)
    after = shells.find_states(THREE_DIMENSIONS, states, ALWAYS_MEASURED, has_groups=False)
    for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(
            x, y, rtol=0, atol=1e-13 * max(1, np.max(np.abs(np.asarray(x)[np.isfinite(x)])))
        )


#: Two orbitals at different places, whose phases at k + G are not those at k; spinless.
HONEYCOMB = js.models.WithSpin(
    js.models.Haldane(onsite=0.3, hopping=1.0, next_hopping=0.1, phase=1.0), np.zeros((3, 2, 2))
)
BY_PLACE = js.MatrixDisorder(0.03 * np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]]]))


def extrinsic_with_and_without_reciprocal_vectors(rng, disorder):
    """The extrinsic part of some states, and of the same with each k in any zone."""
    states = random_states(HONEYCOMB, 60, size=2.0)
    zones = reciprocal_vectors(HONEYCOMB.lattice).T @ rng.integers(-2, 3, (2, 60))
    moved = FermiSurface(states.k + zones, states.band, states.weight)
    return [parts_of(states_of(HONEYCOMB, s), disorder).extrinsic[:2] for s in (states, moved)]


def test_zone_of_each_k_does_not_matter(rng):
    here, there = extrinsic_with_and_without_reciprocal_vectors(rng, BY_PLACE)
    BY_PLACE.check(HONEYCOMB)
    assert np.max(np.abs(here)) > 1e-3
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-12)


def test_disorder_for_which_the_zone_matters_is_refused(rng):
    """The same potential on orbitals at different places: a sum that depends on the zones."""
    here, there = extrinsic_with_and_without_reciprocal_vectors(rng, WEAK)
    assert np.max(np.abs(there - here)) > 0.1 * np.max(np.abs(here))
    for disorder in (WEAK, js.FiniteRangeDisorder(lambda q: 1.0), js.MatrixDisorder([np.eye(2)])):
        with pytest.raises(ValueError, match=r"`disorder` must scatter to k \+ G as to k"):
            disorder.check(HONEYCOMB)


@pytest.mark.parametrize("name", ["warped", "rashba, both bands"])
def test_strength_does_not_matter_to_order_one(table, name):
    model, surface, mu, _ = TABLE[name]
    weak = everything(respond(model, surface, mu, js.ScalarDisorder(1e-10)))
    expected = everything(table(name))
    for part in MECHANISMS:
        np.testing.assert_allclose(weak[part], expected[part], atol=1e-12)
    np.testing.assert_allclose(weak["drude"][0], 1e7 * expected["drude"][0], rtol=1e-12)


class Sheared(js.Model):
    """The Rashba gas with its spin operator replaced by the torque i[H, σ_c] without exchange."""

    model: Rashba

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        return self.model(k)

    def operators(self):
        s = jnp.asarray(PAULI[1:])
        return {"spin": lambda k: 1j * (self.model(k) @ s - s @ self.model(k))}


def test_no_net_torque_in_a_steady_state():
    """O = i[H, σ_c]: drude = sj = skew = 0 and int + ext = 0, for scalar disorder."""
    circle = Fixed(js.FermiContour(24).nodes(rashba(0.5), 0.1))
    r = respond(Sheared(rashba(0.5)), circle, 0.1, js.ScalarDisorder(1.0))
    for part in ("drude", "side_jump", "skew"):
        assert np.max(np.abs(getattr(r, part).spin_density.value)) < 1e-14
    rest = r.intrinsic.spin_density.value + r.extrinsic.spin_density.value
    assert np.max(np.abs(r.intrinsic.spin_density.value)) > 1e-2
    assert np.max(np.abs(rest)) < 1e-13


# --- spin density and torque ----------------------------------------------------------------------


def test_current_is_spin_in_a_dirac_cone(table):
    """v_x = σ_y, so that σ_yx = −⟨v_y⟩ = ⟨σ_x⟩ term by term."""
    r = table("dirac, M = 0.3")
    for part in (*MECHANISMS, "drude"):
        contribution = getattr(r, part)
        np.testing.assert_allclose(
            contribution.conductivity.value[1],
            contribution.spin_density.value[0],
            rtol=1e-12,
            atol=1e-12,
        )


def test_torque_of_a_dirac_cone(table):
    """Eq. (105) without the factor ρ(ε_F) in its first line."""
    mass, mu, strength, x = 0.3, 1.0, 1e-3, 0.09
    torque = table("dirac, M = 0.3").spin_orbit_torque([0, 0, mass])
    tau = 1 / (np.pi * strength * mu / (2 * np.pi))
    m, z, field = np.array([0, 0, 1.0]), np.array([0, 0, 1.0]), np.array([1.0, 0, 0])
    along = (
        -(tau * mu * mass / (2 * np.pi)) * (1 - x) / (1 + 3 * x) * np.cross(m, np.cross(z, field))
    )
    across = 2 / np.pi * mass**2 / mu * (1 + x) / (1 + 3 * x) ** 2 * np.cross(m, field)
    np.testing.assert_allclose(torque.field_like.value[:, 0], along, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(torque.damping_like.value[:, 0], across, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(torque.total.value[:, 0], along + across, rtol=1e-12, atol=1e-11)


def test_torque_is_perpendicular_to_the_magnetization(table):
    m = np.array([0.1, -0.2, 0.3])
    torque = table("dirac, M = 0.3").spin_orbit_torque(m)
    for part in (torque.total, torque.field_like, torque.damping_like):
        np.testing.assert_allclose(m @ part.value, 0, atol=1e-13)
    with pytest.raises(ValueError, match="`magnetization` must be three numbers"):
        table("dirac, M = 0.3").spin_orbit_torque([0.1, 0.2])
    with pytest.raises(ValueError, match="`magnetization` must be three numbers, finite and real"):
        table("dirac, M = 0.3").spin_orbit_torque([0.1, 0.2, 1j])


def test_units(table):
    r = table("dirac, M = 0.3")
    assert r.skew.conductivity.units == "e^2/hbar"
    hall = r.skew.conductivity.to("e^2/h").component(flow="y", field="x")
    assert float(hall.value) == pytest.approx(2 * np.pi * sigma(r, "skew"))
    spin = r.skew.spin_density.to("hbar V^-1 m^-1").component(spin="x", field="x")
    assert float(spin.value) == pytest.approx(5e9 * float(r.skew.spin_density.value[0, 0]))
    torque = r.spin_orbit_torque([0, 0, 0.3]).total.to("C/m")
    assert torque.units == "C/m"
    with pytest.raises(ValueError, match="`units` must be one of"):
        r.skew.conductivity.to("S/m")
    assert "(estimated)" in repr(r.skew.conductivity)
    assert "weak localisation" in repr(r)


# --- scans and derivatives ------------------------------------------------------------------------


@pytest.mark.study
def test_array_of_mu_and_vmap_are_loops():
    masses, mu = jnp.array([0.2, 0.3]), np.array([0.7, 1.0, 1.3])
    scan = jax.vmap(lambda m: respond(dirac(m, warping=0.1), ANGLES, mu))
    many = jax.jit(scan)(masses)
    assert many.total.conductivity.value.shape == (2, 3, 2, 2)
    assert many.total.conductivity.axes == ("mu", "flow", "field")
    hall = many.total.conductivity.component(flow="y", field="x").value
    np.testing.assert_array_equal(hall, many.total.conductivity.value[..., 1, 0])
    assert "level_width  from" in repr(many)
    for i, mass in enumerate(masses):
        for j, level in enumerate(mu):
            one = respond(dirac(mass, warping=0.1), ANGLES, level)
            for part in (*MECHANISMS, "drude"):
                found = getattr(many, part).spin_density.value[i, j]
                expected = getattr(one, part).spin_density.value
                np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("unit", [pytest.param(1.0, marks=pytest.mark.study), 1e-7])
def test_derivative_in_any_unit_of_energy(unit):
    """Bands 1e-7 eV apart are no degenerate group: derivatives mix them, as those of 1 eV."""

    def response(velocity):
        model = unit * Rashba(kinetic=2.0, velocity=velocity, exchange=0.2)
        disorder = js.ScalarDisorder(0.3 * unit**2)
        found = js.disordered_response(model, WIDE, js.Levels(0.1 * unit), disorder)
        return found.intrinsic.conductivity.value[0][YX]

    numeric = (response(1.0 + 1e-4) - response(1.0 - 1e-4)) / 2e-4
    assert jax.jacfwd(response)(1.0) == pytest.approx(float(numeric), rel=1e-5)


def test_derivatives_are_those_of_finite_differences():
    """By (M, v, λ, mu), of every contribution."""

    def values(p):
        model = MassiveDirac(velocity=p[1], mass=p[0], warping=p[2], tilt=(0.1, 0.05))
        r = respond(model, ANGLES, p[3], js.ScalarDisorder(1.0))
        names = (*MECHANISMS, "drude", "total")
        each = [(getattr(r, n).conductivity.value, getattr(r, n).spin_density.value) for n in names]
        return jnp.concatenate([x.ravel() for pair in each for x in pair])

    start = jnp.array([0.3, 1.1, 0.1, 1.0])
    both = jax.jit(lambda p, t: jax.jvp(values, (p,), (t,)))
    for step in jnp.eye(4):
        at = lambda h, step=step: both(start + h * step, step)[0]  # noqa: E731
        h = 2e-3  # Richardson: three central differences
        d = [(at(h * 2**-n) - at(-h * 2**-n)) / (2 * h * 2**-n) for n in range(3)]
        first = [(4 * d[n + 1] - d[n]) / 3 for n in range(2)]
        expected = (16 * first[1] - first[0]) / 15
        np.testing.assert_allclose(both(start, step)[1], expected, atol=1e-8)


@pytest.mark.study
def test_temperature_averages_over_energies():
    """σ(T) = ∫(−f')σ(ε)dε against a finer rule over the closed form of the skew part."""
    kelvin, mu, mass = 300.0, 1.0, 0.3
    r = respond(dirac(mass), ANGLES, mu, temperature=kelvin)
    thermal = js.units.BOLTZMANN * kelvin
    x = np.linspace(-22, 22, 4001)
    xi = (mass / (mu + thermal * x)) ** 2
    skew = 1.5 * mass / (mu + thermal * x) * (1 - xi) ** 2 / (1 + 3 * xi) ** 2 / (2 * np.pi)
    slope = 1 / (4 * np.cosh(x / 2) ** 2)
    assert sigma(r, "skew") == pytest.approx(np.trapezoid(slope * skew, x), abs=1e-9)
    sea = mass / (mu + thermal * x) / (4 * np.pi)
    assert sigma(r, "intrinsic") == pytest.approx(np.trapezoid(slope * sea, x), abs=1e-9)


EIGHT = js.FermiContour(8)  # exact for isotropic bands


@pytest.mark.study
def test_temperatures_are_an_axis():
    """T = 0 and 300 K in one call are the two calls, bit by bit."""
    both = respond(dirac(), EIGHT, [0.8, 1.0], temperature=[0.0, 300.0])
    skew = both.skew.spin_density
    assert skew.axes == ("temperature", "mu", "spin", "field")
    assert both.total.conductivity.axes == ("temperature", "mu", "flow", "field")
    for i, kelvin in enumerate((0.0, 300.0)):
        alone = respond(dirac(), EIGHT, [0.8, 1.0], temperature=kelvin)
        np.testing.assert_array_equal(skew.value[i], alone.skew.spin_density.value)
        np.testing.assert_array_equal(skew.error[i], alone.skew.spin_density.error)
    other = respond(dirac(), EIGHT, [1, 1], temperature=[300, 0]).skew.spin_density
    expected = skew.replace(value=skew.value[::-1, [1, 1]], error=skew.error[::-1, [1, 1]])
    np.testing.assert_array_equal(other.value[1], expected.value[1])  # any order, equal, int
    # At 300 K a level shares its energies with its neighbours, with 0.8 eV here and there not.
    assert np.all(np.abs(other.value - expected.value)[0] <= (other.error + expected.error)[0])
    np.testing.assert_allclose(other.value[0], expected.value[0], rtol=0, atol=1e-9)
    torque = both.spin_orbit_torque([0, 0, 0.3]).total
    assert torque.component(spin="x", field="y").axes == ("temperature", "mu")


def test_result_says_what_went_in(tmp_path):
    """In print and in files, of the torque too."""
    found = respond(dirac(), EIGHT, [1.0], sea=SEA)
    texts = found.origin.texts
    assert texts["model.mass"] == "0.3"
    assert texts["disorder.strength"] == "0.001"
    assert texts["surface"].endswith("FermiContour")
    assert (texts["levels.mu"], texts["sea.radial"]) == ("[1.0]", "96")
    torque = found.spin_orbit_torque([0, 0, 0.3])
    assert torque.damping_like.origin.texts == texts
    found.save(tmp_path / "found.nc")
    again = js.load(tmp_path / "found.nc")
    assert again.skew.conductivity.origin.texts == texts
    assert "model.mass" in repr(again.origin)
    np.testing.assert_array_equal(again.total.spin_density.value, found.total.spin_density.value)
    assert again.info["gap"] == pytest.approx(float(found.info["gap"]))


@pytest.mark.study
def test_thermal_average_at_a_band_edge():
    """One parabola below 1 eV, σ ∝ ε − E0: σ(T) ∝ kT ln(1 + eˣ), also with mu in the gap.

    Steps of kT across the kink are off by 8 % to 0.4 %.
    """
    model, disorder = Rashba(kinetic=4.0, velocity=1e-3, exchange=1.0), js.ScalarDisorder(0.5)
    x, thermal = np.array([-10, -5, -4.5, -2.5, 0, 1, 2]), js.units.BOLTZMANN * 300.0
    cold = js.disordered_response(model, EIGHT, js.Levels(np.full(7, -0.9)), disorder)
    slope = cold.drude.conductivity.value[0, 0, 0] / 0.1
    levels = js.Levels(-1 + thermal * x, 300.0)
    warm = js.disordered_response(model, EIGHT, levels, disorder)
    drude = warm.drude.conductivity
    expected = slope * thermal * np.log1p(np.exp(x))
    np.testing.assert_allclose(drude.value[:, 0, 0], expected, rtol=1e-6)
    assert np.max(drude.error[:, 0, 0] / expected) < 1e-6


@pytest.mark.study
def test_thermal_average_at_the_onset_of_a_band():
    """The upper band begins at 0.3 eV, where every mechanism jumps. Right: between the kinks by a
    rule of many nodes on responses at T = 0."""
    thermal, model, disorder = js.units.BOLTZMANN * 100, rashba(0.5), js.ScalarDisorder(1e-3)
    mu = 0.3 + thermal * np.array([-6.0, -3.0, -1.0, 0.0, 0.6, 2.0, 7.0])
    warm = js.disordered_response(model, EIGHT, js.Levels(mu, 100.0), disorder)
    node, weight = np.polynomial.legendre.leggauss(21)
    edges = 0.3 + thermal * np.array([-29, -6, 0, 6, 29])
    panels = list(itertools.pairwise(edges))
    energies = np.concatenate([(a + b + (b - a) * node) / 2 for a, b in panels])
    widths = np.concatenate([(b - a) / 2 * weight for a, b in panels])
    shares = widths / (4 * thermal * np.cosh((energies - mu[:, None]) / thermal / 2) ** 2)
    parts = [js.Levels(part) for part in np.split(energies, 12)]
    cold = [js.disordered_response(model, EIGHT, part, disorder) for part in parts]
    for name in (*MECHANISMS, "drude"):
        for kind in ("conductivity", "spin_density"):
            each = np.concatenate([getattr(getattr(r, name), kind).value for r in cold])
            expected = np.tensordot(shares, each, axes=1)
            found = getattr(getattr(warm, name), kind)
            allowed = 1e-6 * np.abs(expected).max() + 1e-12
            np.testing.assert_allclose(found.value, expected, atol=allowed)
            assert np.all(np.isfinite(found.error))


def test_what_a_thermal_window_reaches_is_refused_with_the_temperature():
    text = "comes close to a van Hove point."
    finding = Diagnostic(jnp.array([True]), jnp.zeros((2, 1)), jnp.zeros(1, int), text)
    with pytest.raises(ValueError, match=r"van Hove point\. .* at 900 K reaches 1\.55 eV"):
        finding.refuse_if_found(window_of(900.0))
    with pytest.raises(ValueError, match=r"van Hove point\.$"):
        finding.refuse_if_found(window_of(0.0))


@pytest.mark.study
def test_error_is_at_least_the_true_one():
    """Few nodes against many, by every mechanism; benchmarks/honesty_surfaces.py has more."""
    model = dirac(warping=0.3, tilt=(0.2, 0.1))
    few, many = (respond(model, surface, 1.0) for surface in (js.FermiContour(16), ANGLES))
    for name in (*MECHANISMS, "drude", "total"):
        found, exact = (getattr(r, name).conductivity for r in (few, many))
        true = np.max(np.abs(found.value - exact.value))
        assert true <= np.min(found.error) < 10 * true + 1e-12


class OneOfTwo(FermiSurfaceRule):
    """Rays of which those of the second rule are refused."""

    contour: FermiSurfaceRule
    second: jax.Array

    def check(self, model):
        self.contour.check(model)

    def find(self, model, mu):
        nodes, findings = self.contour.find(model, mu)
        refused = jnp.broadcast_to(self.second > 0, nodes.band.shape)
        return nodes, (*findings, Diagnostic(refused, nodes.k, nodes.band, "is refused."))

    def companion(self):
        return OneOfTwo(self.contour, self.second + 1)


@pytest.mark.study
def test_error_where_the_second_rule_alone_is_refused():
    """The error is the response itself, and warned of: it is not NaN."""
    surface = OneOfTwo(js.FermiContour(8), jnp.zeros(()))
    with pytest.warns(UserWarning, match="the nodes on the Fermi surface leave"):
        found = respond(dirac(), surface, 1.0)
    expected = respond(dirac(), js.FermiContour(8), 1.0)
    for name in (*MECHANISMS, "total"):
        mine, right = (getattr(r, name).conductivity for r in (found, expected))
        np.testing.assert_allclose(mine.value, right.value, rtol=1e-12, atol=1e-12)
        assert np.all(mine.error >= np.max(np.abs(right.value)))
        assert np.all(right.error < np.max(np.abs(right.value)))  # negative control
    with pytest.raises(ValueError, match="is refused"):
        respond(dirac(), surface.companion(), 1.0)


@pytest.mark.parametrize("scale", [0.1, pytest.param(0.5, marks=pytest.mark.study)])
def test_mesh_of_the_sea(scale):
    r = respond(dirac(), ANGLES, [0.8, 1.0], sea=js.Plane(scale, *SEA.shape))
    for level, mu in enumerate([0.8, 1.0]):
        found = sigma(r, "intrinsic", (level, *YX))
        assert found == pytest.approx(0.3 / (4 * np.pi * mu), abs=1e-13)


@pytest.mark.parametrize(("mass", "error"), [(0.3, 1e-14), (1e-3, 1e-14), (1e-4, 1e-8)])
@pytest.mark.filterwarnings("ignore:the sum over the Fermi sea")
def test_sea_of_a_small_gap(mass, error):
    """Its structure is at k of the order of the mass; the estimated error is at least the true."""
    r = respond(dirac(mass), ANGLES, 1.0)
    found = abs(sigma(r, "intrinsic") - mass / (4 * np.pi))
    assert found < error
    assert found < float(r.info["sea_error"])


class MagneticRashba(js.Model):
    """kinetic k² + velocity (k_x σ_y − k_y σ_x) + M·σ: its bands cross at k ⟂ M in the plane."""

    kinetic: float
    velocity: float
    magnetization: jax.Array

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        _, x, y, _ = PAULI
        rashba = self.velocity * (k[0] * y - k[1] * x)
        field = jnp.tensordot(self.magnetization, jnp.asarray(PAULI[1:]), axes=1)
        return self.kinetic * (k @ k) * PAULI[0] + rashba + field

    def spin(self):
        return jnp.asarray(PAULI[1:])


def magnetic_rashba(angle, out=0.0, size=0.05):
    direction = [np.cos(angle) * np.cos(out), np.sin(angle) * np.cos(out), np.sin(out)]
    return MagneticRashba(7.6, 0.3, size * jnp.asarray(direction))


def sum_over_open_pairs(model, mu, number=1200, cutoff=0.5):
    """Spin of the sea (3, field): a NumPy sum of (o × v)·d/2|d|³ where one band is filled."""
    k = (np.arange(number) + 0.5) / number * 2 * cutoff - cutoff
    kx, ky = np.meshgrid(k, k, indexing="ij")
    m, v = np.asarray(model.magnetization), model.velocity
    d = np.stack([m[0] - v * ky, m[1] + v * kx, m[2] + 0 * kx])
    length, middle = np.linalg.norm(d, axis=0), model.kinetic * (kx**2 + ky**2)
    inside = (np.abs(middle - mu) < length) / length**3 / 2
    slopes = np.array([[0, v, 0], [-v, 0, 0]])
    axial = np.cross(np.eye(3)[:, None], slopes[None])
    total = np.einsum("ojc,cxy,xy->oj", axial, d, inside)
    return total * (2 * cutoff / number) ** 2 / (2 * np.pi) ** 2


FEW = js.FermiContour(48)
SIZEABLE = js.ScalarDisorder(0.2)


@pytest.mark.parametrize(
    ("angle", "sea"),
    [
        (0.0, None),
        (0.35, None),
        pytest.param(0.35, js.Plane(0.05, 128, 72), marks=pytest.mark.study),
    ],
)
def test_sea_with_a_crossing_away_from_the_center(angle, sea):
    """Magnetisation in the plane, the crossing below mu: s_z vanishes, as all other spins do.

    Without the smooth weight of closed pairs it is −4.9 or −2.7, by the mesh of the sea.
    """
    spin = respond(magnetic_rashba(angle), FEW, 0.3, SIZEABLE, sea=sea).intrinsic.spin_density
    assert np.max(np.abs(spin.value)) < 2e-5
    assert np.max(np.abs(spin.value)) <= np.min(spin.error)


def test_sea_with_the_magnetisation_at_45_degrees():
    """Right: a sum by NumPy over the k with one filled band, which has these decimals too."""
    model = magnetic_rashba(0.0, out=np.pi / 4)
    r = respond(model, FEW, 0.3, SIZEABLE)
    found = np.asarray(r.intrinsic.spin_density.value)
    np.testing.assert_allclose(found[:, 0], [0.02557, 0, -0.00809], atol=5e-6)
    np.testing.assert_allclose(found, sum_over_open_pairs(model, 0.3), atol=1e-5)


def test_crossing_above_the_fermi_energy():
    """Only the lower band is filled; the sum by NumPy is good to some 1e-5."""
    model = magnetic_rashba(0.35)
    r = respond(model, FEW, 0.1, SIZEABLE)
    expected = sum_over_open_pairs(model, 0.1)
    np.testing.assert_allclose(r.intrinsic.spin_density.value, expected, atol=1e-4)
    assert np.abs(expected).max() > 0.05


@pytest.mark.study
@pytest.mark.filterwarnings("ignore:bands at the Fermi energy are closer")
def test_crossing_near_the_fermi_energy_is_warned_of():
    """At 0.211 eV, 9 meV below mu: the spin is off by more than a hundredth, and says so.

    Under vmap, where nothing can be said, the error of the result does.
    """
    model = magnetic_rashba(0.0)
    with pytest.warns(UserWarning, match=r"estimated error .* in the spin density"):
        r = respond(model, FEW, 0.22, SIZEABLE)
    spin = r.intrinsic.spin_density
    off = np.abs(spin.value - sum_over_open_pairs(model, 0.22))
    assert 1e-2 < off.max() < np.min(spin.error)

    def error(model):
        return jnp.max(respond(model, FEW, 0.22, SIZEABLE).intrinsic.spin_density.error)

    several = jax.tree.map(lambda x: jnp.asarray(x)[None], model)
    assert jax.vmap(error)(several)[0] == pytest.approx(float(np.max(spin.error)), rel=1e-6)


def test_sea_of_a_warped_cone_is_warned_of():
    """Its spin does not converge with the directions of the mesh: warping grows as k³."""
    with pytest.warns(UserWarning, match="the sum over the Fermi sea .* in the spin density"):
        respond(dirac(warping=0.2), ANGLES, 1.0)


def test_pocket_that_crosses_the_zone_boundary():
    """A hole pocket around M: rays of a surface there, sea from the other corner."""
    model = QiWuZhang(A=1.0, m=-1.2)
    pocket = js.FlowContour(64, center=(np.pi, np.pi))
    mu = 2.6
    here = respond(model, pocket, mu)
    sea = js.anomalous_hall(model, js.Grid((1536, 1536), 0.5), js.Levels(mu))
    expected = sea.to("e^2/hbar").component(flow="y", field="x").value[0]
    assert sigma(here, "intrinsic") == pytest.approx(float(expected), abs=3e-6)


@pytest.mark.filterwarnings("ignore:the sum over the Fermi sea")
def test_each_axis_of_the_sea_has_a_share_in_its_error():
    """Against the row of TABLE. Every second of 8 points has the error of the 8: the Berry
    curvature has a mirror half a step from them, and the estimate was 1e-13."""
    r = respond(*TABLE["qwz"][0:3], sea=js.Grid((8, 64), 0.5))
    off = abs(sigma(r, "intrinsic") - 0.087754928741)
    assert 5e-4 < off < float(r.info["sea_error"])


@pytest.mark.filterwarnings("ignore:the sum over the Fermi sea")
def test_sea_of_irreducible_points():
    """They stand for the whole grid, on which alone one sees where the Fermi surface is not."""
    model, rule, mu, _ = TABLE["qwz"]
    grid = js.Grid((16, 16), 0.5)
    u = (np.indices((8, 16)).reshape(2, -1).T + 0.5) / 16
    half = js.PointSet(u, np.full(len(u), 2.0), grid=grid)
    whole = respond(model, rule, mu, sea=grid)
    for sea in (half, js.Symmetric(half, js.symmetry.INVERSION)):
        found = respond(model, rule, mu, sea=sea)
        assert sigma(found, "intrinsic") == sigma(whole, "intrinsic")
        assert found.info["sea_error"] == whole.info["sea_error"] > 0
    with pytest.raises(ValueError, match="`sea` must say of which grid its points are"):
        respond(model, rule, mu, sea=js.PointSet(u, np.ones(len(u))))
    with pytest.raises(ValueError, match=r"`sea` must be a mesh .* Adaptive"):
        respond(model, rule, mu, sea=js.Symmetric(js.Adaptive(grid, 1e-3), js.symmetry.INVERSION))


def test_sea_inside_the_fermi_surface_is_refused():
    """The filled band beyond it was left out: at 1 eV 0.0548 with an error of 5e-8, not -0.0239."""
    with pytest.raises(ValueError, match=r"`sea` must reach beyond .* at mu = 0.8 eV does"):
        respond(dirac(), ANGLES, [0.8, 1.0], sea=js.Plane(1e-5, *SEA.shape))
    with pytest.raises(ValueError, match=r"`sea` must have at least two .* has shape \(1, 36\)"):
        respond(dirac(), EIGHT, 1.0, sea=js.Plane(0.1, 1, 36))


class Interlaced(SquareLattice):
    """Cosine bands of five pockets, whose contours cross every plane of the zone at 0.8 eV."""

    mass: jax.Array

    def __call__(self, k):
        x, y = k[0] + 2 * k[1], 2 * k[0] - k[1]
        band = 2 - jnp.cos(x) - jnp.cos(y)
        coupling = 0.02 * (jnp.sin(x) * PAULI[1] + jnp.sin(y) * PAULI[2])
        return band * PAULI[0] + coupling + self.mass * PAULI[3]

    def spin(self):
        return jnp.asarray(PAULI[1:])


@pytest.mark.study
def test_surface_without_a_plane_for_the_sea_is_nan_inside_jit():
    """It was a number, with an error of its size; outside of jit it is refused."""
    pockets = js.MarchingSquares((40, 40))

    def hall(mu):
        r = respond(Interlaced(jnp.asarray(0.1)), pockets, mu)
        return r.total.conductivity.value[:, 1, 0], r.total.conductivity.error[:, 1, 0]

    value, error = jax.jit(hall)(np.array([0.3, 0.8]))
    np.testing.assert_array_equal(np.isfinite(value), [True, False])
    np.testing.assert_array_equal(np.isfinite(error), [True, False])


# --- relaxation -----------------------------------------------------------------------------------


def test_relaxation_of_a_dirac_cone():
    strength, x = 1e-3, 0.09
    r = relaxation(dirac(), ANGLES, 1.0, js.ScalarDisorder(strength))
    rate = np.pi * strength / (2 * np.pi)  # 1/τ = πu0²ρ
    there = np.asarray(r.weight) != 0
    np.testing.assert_allclose(r.scattering_rate[there], rate * (1 + x), rtol=1e-12)
    np.testing.assert_allclose(r.transport_time[there], 2 / (rate * (1 + 3 * x)), rtol=1e-12)
    ratio = 1 - (1 - x) / (2 * (1 + x))
    np.testing.assert_allclose(r.spectrum, [0, ratio, ratio, 1], atol=1e-13)


def test_conservation():
    """Σwβ = Σwγ = ΣwJ_sk = 0 for u0² = 1."""
    model = dirac(tilt=(0.3, 0.2))
    on_shell = states_of(model, ANGLES.nodes(model, jnp.array(1.0)))

    @eqx.filter_jit
    def conserved(on_shell):
        scattering = js.ScalarDisorder(1.0).scattering(on_shell)
        velocity = on_shell.velocity[:, None] * scattering.vectors
        f = scattering.solve_collisions(-velocity)
        dressed = mix_interband(on_shell, scattering, on_shell.operators)
        skew = skew_source(scattering, interband_coherence(on_shell, scattering, f))
        return tuple(map(scattering.mean_of_bands, (f, velocity, dressed, skew)))

    for values in conserved(on_shell):
        assert np.max(np.abs(values)) > 1e-3
        assert np.max(np.abs(values @ on_shell.weight)) < 1e-14


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: js.ScalarDisorder(-1.0), r"`strength` must be positive .* but is -1\.0"),
        (lambda: js.ScalarDisorder(0.0), "`strength` must be positive"),
        (lambda: js.ScalarDisorder("0.1"), "`strength` must be positive .* but is '0.1'"),
        (lambda: js.ScalarDisorder(1 + 1j), "`strength` must be positive"),
        (lambda: js.ScalarDisorder(1.0, None), "`third_cumulant` must be finite .* is None"),
        (lambda: js.MatrixDisorder(None), r"`matrices` must be .* shape \(c, n, n\)"),
        (lambda: js.ScalarDisorder([1.0, 2.0]), r"`strength` must be .* is \[1\.0, 2\.0\]"),
        (lambda: js.ScalarDisorder(1.0, np.nan), "`third_cumulant` must be finite"),
        (lambda: js.MatrixDisorder(np.eye(2)), r"`matrices` must be .* shape \(c, n, n\)"),
        (lambda: js.MatrixDisorder([[[0, 1], [0, 0]]]), "`matrices` must be Hermitian"),
        (
            lambda: js.MatrixDisorder(np.zeros((1, 2, 2))),
            "`matrices` must be finite and not all zero",
        ),
        (lambda: js.FiniteRangeDisorder(1.0), "`correlator` must be a function"),
        (lambda: GaussianCorrelator(1.0, -1.0), "`length` must be at least 0"),
    ],
)
def test_bad_disorder(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class BadCorrelator(eqx.Module):
    """cos(q_x), which is negative somewhere."""

    def __call__(self, q):
        return jnp.cos(3 * q[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "dirac"}, r"`model` must be a jaxspin\.Model"),
        ({"surface": js.Grid((4, 4))}, "`surface` must be a Fermi-surface rule"),
        ({"disorder": 1.0}, "`disorder` must be ScalarDisorder"),
        ({"disorder": js.MatrixDisorder(np.eye(4)[None])}, r"matrices of shape \(2, 2\)"),
        (
            {"disorder": js.FiniteRangeDisorder(BadCorrelator())},
            "`correlator` must not be negative",
        ),
        ({"disorder": js.FiniteRangeDisorder(lambda q: 1 + q[0])}, "`correlator` must"),
        ({"disorder": js.FiniteRangeDisorder(lambda q: q)}, "`correlator` must give one finite"),
        ({"disorder": js.FiniteRangeDisorder(lambda q: None)}, "one finite real number"),
        ({"mu": np.nan}, "`mu` must be finite"),
        ({"mu": "1.0"}, "`mu` must be real numbers"),
        ({"mu": 1j}, "`mu` must be real numbers"),
        ({"temperature": "300"}, "`temperature` must be real numbers"),
        ({"temperature": None}, "`temperature` must be real numbers"),
        ({"levels": 1.0}, r"`levels` must be a jaxspin\.Levels\(mu, temperature\)"),
        ({"sea": "Plane"}, "`sea` must be a mesh"),
        ({"temperature": -1.0}, "`temperature` must not be negative"),
        ({"sea": js.Grid((4, 4))}, "`mesh` must be a mesh for continuum models"),
    ],
)
@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_call(change, message):
    call = {"model": dirac(), "surface": ANGLES, "disorder": WEAK} | change
    mu, temperature = call.pop("mu", 1.0), call.pop("temperature", 0.0)
    with pytest.raises(ValueError, match=message):
        js.disordered_response(**{"levels": js.Levels(mu, temperature), **call})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surface": js.Grid((4, 4))}, "`surface` must be a Fermi-surface rule"),
        ({"disorder": 1.0}, "`disorder` must be ScalarDisorder"),
        ({"mu": 0.0}, "`mu` must be in a band"),
    ],
)
@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_call_of_relaxation(change, message):
    call = {"model": dirac(), "surface": WIDE, "mu": 1.0, "disorder": WEAK} | change
    with pytest.raises(ValueError, match=message):
        relaxation(**call)


class Separate(js.Model):
    """Two bands that do not mix, one far above."""

    dimension = 2

    def __call__(self, k):
        return (k @ k) * PAULI[0] + 2.5 * (PAULI[0] - PAULI[3])

    def spin(self):
        return jnp.asarray(PAULI[1:])


def test_state_that_is_not_scattered_is_refused():
    upper = js.MatrixDisorder(np.diag([0.0, 1.0])[None])
    with pytest.raises(ValueError, match="`disorder` must scatter every state"):
        respond(Separate(), WIDE, 1.0, upper)


def test_degenerate_bands_far_from_mu_do_not_matter():
    """The cone at Γ is a point of the mesh, 7 widths below mu."""
    surface = js.BroadenedSurface(js.Grid((48, 48)), 0.14, 0)
    r = respond(QiWuZhang(A=1.0, m=-2.0), surface, 1.0, js.ScalarDisorder(1e-3))
    assert np.all(np.isfinite(r.total.conductivity.value))
    assert r.info["gap"] > 0.1


def test_levels_in_a_gap_have_the_sea_alone():
    with pytest.warns(UserWarning, match="no Fermi surface at 1 of 2 levels"):
        r = respond(dirac(), ANGLES, [0.1, 1.0], sea=SEA)
    assert r.info["levels_without_surface"] == 1
    assert float(r.total.conductivity.value[0, 1, 0]) == pytest.approx(1 / (4 * np.pi), abs=1e-12)
    assert np.all(r.drude.conductivity.value[0] == 0)


def test_gap_has_the_sea_alone():
    """The topological Edelstein effect ⟨σ_x⟩/E_x = sgn(M)/4πv, σ_yx = sgn(M)/4π."""
    for mass in (0.3, -0.3):
        model = MassiveDirac(velocity=2.0, mass=mass)
        with pytest.warns(UserWarning, match="no Fermi surface at 2 of 2 levels"):
            r = respond(model, ANGLES, [0.0, 0.1], sea=SEA)
        for x in (r.total.conductivity.value[:, 1, 0], 2.0 * r.total.spin_density.value[:, 0, 0]):
            np.testing.assert_allclose(x, np.sign(mass) / (4 * np.pi), atol=1e-12)
        np.testing.assert_array_equal(r.drude.conductivity.value, 0)


def test_conserved_spin_is_taken_out():
    """Two bands that do not mix: each has σ = n τ e²/m, 1/τ = 2πu0²/4πD, D mu_b/πu0² (OneBand)."""
    with pytest.warns(UserWarning, match="the spin density along z is NaN"):
        r = respond(Rashba(kinetic=0.5, velocity=0.0, exchange=0.3), WIDE, 0.5)
    assert r.info["conserved"] == 2
    expected = ((0.5 - 0.3) + (0.5 + 0.3)) / (2 * np.pi * 1e-3)
    np.testing.assert_allclose(r.total.conductivity.value, expected * np.eye(2), atol=1e-9)
    is_z = np.array([[False, False], [False, False], [True, True]])
    np.testing.assert_array_equal(np.isnan(r.total.spin_density.value), is_z)


def test_conserved_spin_of_many_states_is_refused():
    """More unknowns than relaxation rates are computed for."""
    conserved = Rashba(kinetic=0.5, velocity=0.0, exchange=0.3)
    ranged = js.FiniteRangeDisorder(GaussianCorrelator(1e-3, 1.0))
    with pytest.raises(ValueError, match="something else is conserved"):
        respond(conserved, js.FermiContour(130), 0.5, ranged)


@pytest.mark.study
def test_what_is_refused_is_nan_inside_vmap():
    """Strengths that are negative, 0 or NaN, a NaN model; not degenerate bands, nor a conserved
    spin."""
    cases = [(1, 0.3, 1e-3), (0, 0, 1e-3), (0, 0.3, 1e-3), (1, 0.3, -1), (1, 0.3, 0)]
    cases += [(1, 0.3, np.nan), (1, np.nan, 1e-3)]
    velocity, exchange, strength = np.array(cases, float).T

    def conductivity(velocity, exchange, strength):
        model = Rashba(kinetic=0.5, velocity=velocity, exchange=exchange)
        return respond(model, EIGHT, 0.5, js.ScalarDisorder(strength)).total.conductivity

    found = jax.vmap(conductivity)(velocity, exchange, strength)
    for x in (found.value, found.error):
        np.testing.assert_array_equal(np.isnan(x[:, 0, 0]), 3 * [False] + 4 * [True])
    drude = 1e-3 * float(found.value[0, 0, 0])
    assert drude == pytest.approx(0.477464829276, abs=1e-4)  # TABLE, u0² drude_xx


class OneBand(js.Model):
    """A parabola without spin."""

    kinetic: float
    dimension = 2

    def __call__(self, k):
        return self.kinetic * (k @ k) * jnp.eye(1)

    def spin(self):
        return jnp.zeros((3, 1, 1))


def test_one_band():
    """σ = n τ e²/m with n = mu/4πD, m = 1/2D, 1/τ = 2πu0²/4πD: D mu/πu0², and nothing else."""
    r = respond(OneBand(3.0), EIGHT, 0.5)
    np.testing.assert_allclose(r.total.conductivity.value, 1.5e3 / np.pi * np.eye(2), atol=1e-10)
    np.testing.assert_array_equal(r.intrinsic.conductivity.value, 0)
    np.testing.assert_array_equal(r.total.spin_density.value, 0)


def test_strong_disorder_is_warned_of():
    with pytest.warns(UserWarning, match="closer than their width"):
        respond(dirac(), ANGLES, 1.0, js.ScalarDisorder(30.0))
