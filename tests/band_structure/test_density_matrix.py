"""Operators and density matrices at given k, against three things that do not know of them.

The finite-Q solution of the Liouville equation (`jaxspin.reference`), the summed responses of the
package, and the definitions of the operators. What is compared is in the basis of H(k), or a trace.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_lattices import Fermi, doubled, hopping_model, random_lattice, with_crossing
from systems import CONVENTIONAL, B, measure

import jaxspin as js
from jaxspin import models, reference
from jaxspin.band_structure.density_matrix import solve_density_matrix
from jaxspin.engine.small_matrices import PAULI
from jaxspin.models.lifted import NOTHING_ELSE, BasisConnection, LiftedOperator

K = np.array([0.31, -0.47])  # in no symmetry plane
PAIRS = models.BernevigHughesZhang(u=-1.0, A=1.0, C=0.3)  # every band twice
KANE_MELE = models.KaneMele(1.0, 1.0, 0.3, 0.25)
MATRICES = ("equilibrium", "field", "motion", "both_from_field", "both_from_motion")


def wave_vectors(*batch, d=2):
    return np.random.default_rng(3).uniform(-2, 2, size=(*batch, d))


def in_orbitals(density) -> dict[str, np.ndarray]:
    """The matrices in the basis of H(k), which no choice of eigenvectors changes."""
    return {name: density.bands.to_orbitals(getattr(density, name)) for name in MATRICES}


def assert_same(found, expected, atol=1e-12):
    for name in MATRICES:
        np.testing.assert_allclose(found[name], expected[name], atol=atol, err_msg=name)


# --- Operators ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "batch"), [(PAIRS, ()), (KANE_MELE, (2, 3))], ids=str)
def test_operators_are_their_definitions(model, batch):
    """∂H, s, ½{s, ∂H} and i[H, s] by loops over single k, in the basis of H(k)."""
    k, s = wave_vectors(*batch), np.asarray(model.spin())
    found = js.operators(model, k)
    for name, shape in (("velocity", (2,)), ("spin_current", (2, 3)), ("torque", (3,))):
        matrices = getattr(found, name)
        assert matrices.shape == (*batch, *shape, 4, 4)
        np.testing.assert_array_equal(matrices, found.bands.operator(name))
        orbital = np.asarray(found.bands.to_orbitals(matrices))
        for place in np.ndindex(batch):
            h, v = model(k[place]), np.moveaxis(jax.jacfwd(model)(jnp.asarray(k[place])), -1, 0)
            expected = {
                "velocity": v,
                "spin_current": (s[None] @ v[:, None] + v[:, None] @ s[None]) / 2,
                "torque": 1j * (h @ s - s @ h),
            }
            np.testing.assert_allclose(orbital[place], expected[name], atol=1e-13)


def test_torque_is_zero_where_spin_is_conserved():
    """BHZ without spin-flip terms conserves s_z."""
    torque = js.operators(models.BernevigHughesZhang(u=-1.0, A=1.0), wave_vectors(4)).torque
    np.testing.assert_allclose(torque[:, 2], 0, atol=1e-14)
    assert float(jnp.max(jnp.abs(torque[:, 0]))) > 0.1


def test_operators_by_names_that_are_none():
    bands = js.bands(PAIRS, K)
    with pytest.raises(ValueError, match=r"\('velocity', 'spin_current', 'torque', 'spin'\)"):
        bands.operator("current")
    spinless = hopping_model(random_lattice(3, 2, 8))
    spinless = models.HoppingModel(
        np.eye(2), [[0, 0]], spinless.blocks[:1], np.zeros((3, 2)), spin=None
    )
    found = js.operators(spinless, K)
    assert all(matrices is None for matrices in (found.spin, found.spin_current, found.torque))
    assert found.velocity.shape == (2, 3, 3)
    with pytest.raises(ValueError, match=r"operators of the model \('velocity'\), but is 'torque'"):
        found.bands.operator("torque")


# --- The finite-Q solution of the Liouville equation ----------------------------------------------

NARROW = random_lattice(3, 2, seed=8, hopping=0.1)  # bands [-0.9, 0.8], [1.4, 4.1], [3.9, 5.6]
TWICE = doubled(random_lattice(2, 2, seed=2, hopping=0.08), seed=5)  # [.., 0.99], [1.61, ..]
POINTS = {2: wave_vectors(2), 3: wave_vectors(2, d=3)}
LIOUVILLE = {
    "insulator": (NARROW, Fermi(1.1, 0.0), (0, 1, 2), POINTS[2]),
    "metal": (NARROW, Fermi(1.6, 0.6), (0, 1, 2), POINTS[2]),
    "pairs": (TWICE, Fermi(1.6, 0.6), (0, 0, 1, 1), POINTS[2]),
    "3D": (random_lattice(4, 3, seed=3), Fermi(2.2, 0.5), (0, 1, 2, 3), POINTS[3]),
    "at a crossing": (
        with_crossing(random_lattice(4, 2, seed=6), POINTS[2][0]),
        Fermi(1.1, 0.5),
        (0, 0, 1, 2),
        POINTS[2][[0, 0]],  # twice the same
    ),
}


def by_finite_q(lattice, fermi, groups, k) -> dict[str, np.ndarray]:
    """The same matrices by finite differences in k and Q, elements between groups."""
    liouville = reference.LiouvilleEquation(lattice, fermi, groups)
    axes = np.eye(k.shape[-1])

    def slope(solution, a, *b):
        step = reference.differentiate(lambda q: solution(k, q * a, *b))
        return liouville.interband(k, step)

    field = [liouville.driven_equilibrium(k, 0 * b, b) for b in axes]
    motion = [slope(liouville.motion, a) for a in axes]
    both = {
        name: [[slope(solution, a, b) for b in axes] for a in axes]
        for name, solution in (
            ("both_from_field", liouville.driven_equilibrium),
            ("both_from_motion", liouville.driven_motion),
        )
    }
    first = {"field": np.moveaxis(field, 0, 1), "motion": np.moveaxis(motion, 0, 1)}
    second = {name: np.moveaxis(matrices, 2, 0) for name, matrices in both.items()}
    return {"equilibrium": liouville.equilibrium(k), **first, **second}


@pytest.mark.parametrize("name", LIOUVILLE)
def test_is_the_solution_of_the_liouville_equation(name):
    lattice, fermi, groups, k = LIOUVILLE[name]
    levels = js.Levels(fermi.mu, fermi.temperature / js.units.BOLTZMANN)
    found = in_orbitals(js.density_matrix(hopping_model(lattice), k, levels))
    expected = by_finite_q(lattice, fermi, groups, k)
    assert_same({n: m[:, 0] for n, m in found.items()}, expected, atol=2e-9)
    size = np.max(np.abs(expected["both_from_motion"]))
    assert size > 1e-3
    if name != "insulator":  # negative control: (C19) interchanges field and flow
        printed = np.asarray(found["both_from_motion"])[:, 0].swapaxes(1, 2)
        assert np.max(np.abs(printed - expected["both_from_motion"])) > 1e-2 * size


# --- Sums over a mesh -----------------------------------------------------------------------------


NUMBER = 28  # of nodes an axis: total derivatives in k sum to zero within 1e-6
WARM = 0.6 / js.units.BOLTZMANN
LEVELS = js.Levels([1.1, 1.6], temperature=[0.0, WARM])  # the first in the gap of both models
MEASURED = ("anomalous_hall", CONVENTIONAL, B, "torque", "equilibrium", "number")
SUMMED = {"pairs": hopping_model(TWICE), "random": hopping_model(NARROW)}


@pytest.fixture(scope="module", params=SUMMED)
def summed(request):
    """The density matrices on a mesh, and the responses of the package by name."""
    model = SUMMED[request.param]
    nodes = 2 * np.pi * np.arange(NUMBER) / NUMBER  # the cell is 1 Å x 1 Å
    k = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    measured = measure(model, js.Grid((NUMBER, NUMBER)), LEVELS, MEASURED)
    return request.param, js.density_matrix(model, k, LEVELS), measured


def mean_trace(operator, density):
    """Σ_k Tr(Oρ): (temperature, mu, components of O, components of ρ)."""
    o = operator.reshape(len(operator), -1, *operator.shape[-2:])
    rho = density.reshape(*density.shape[:3], -1, *density.shape[-2:])
    total = jnp.einsum("kcmn,ktexnm->tecx", o, rho) / len(o)
    return np.asarray(total).reshape(*LEVELS.shape, *operator.shape[1:-2], *density.shape[3:-2])


def spin_current(density, spin=None):
    """Σ Tr(½{s, v} ρ_E), (temperature, mu, flow, field, spin)."""
    bands = density.bands
    v, s = bands.velocity[..., :, None, :, :], (bands.spin if spin is None else spin)
    s = s[..., None, :, :, :]
    return mean_trace((s @ v + v @ s) / 2, density.field).real.swapaxes(3, 4)


def torque_dipole(density, name):
    """i Σ Tr(t ∂ρ_EQ/∂Q), (temperature, mu, flow, field, spin)."""
    traced = mean_trace(density.bands.torque, getattr(density, name))
    return np.moveaxis((1j * traced).real, 2, -1)


def close(found, expected, rtol=1e-12):
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.max(np.abs(expected)))


#: Levels at which total derivatives sum to zero: gaps, and smooth occupations.
SMOOTH = ([0, 1, 1], [0, 0, 1])


def test_traces_of_the_field_response_are_the_conductivities(summed):
    """Σ Tr(j ρ_E) is the conventional spin Hall response, −Σ Tr(v ρ_E) the anomalous Hall one."""
    _, density, measured = summed
    bands, field = density.bands, density.field
    close(-mean_trace(bands.velocity, field).real, measured["anomalous_hall"])
    close(spin_current(density), measured[CONVENTIONAL])
    current = mean_trace(bands.spin_current, field).real  # (flow, spin, field)
    close(current.swapaxes(3, 4), measured[CONVENTIONAL])
    torque = measured["torque"][1]  # zero in the gap
    close(mean_trace(bands.torque, field).real[1], torque)


def test_traces_of_the_equilibrium_are_density_and_spin_current(summed):
    _, density, measured = summed
    close(jnp.einsum("ktenn->te", density.equilibrium) / NUMBER**2, measured["number"])
    current = mean_trace(density.bands.spin_current, density.equilibrium).real
    close(current, measured["equilibrium"].sum(axis=2))
    dipole = 1j * mean_trace(density.bands.torque, density.motion)  # (spin, flow)
    topological = measured["equilibrium"][:, :, 1]
    close(-dipole.real.swapaxes(2, 3), topological)  # it cancels the interband current


def test_torque_dipole_completes_the_proper_current(summed):
    _, density, measured = summed
    current = spin_current(density)
    i1, i2 = (torque_dipole(density, name) for name in MATRICES[3:])
    close(torque_dipole(density, "both"), i1 + i2)
    close((current + i1 + i2)[SMOOTH], measured[B][SMOOTH], rtol=2e-6)
    with pytest.raises(AssertionError):  # negative control: the sign of (C24) as printed
        close((current + i1 - i2)[SMOOTH], measured[B][SMOOTH], rtol=0.05)


@pytest.mark.filterwarnings("ignore:The torque density")
@pytest.mark.parametrize("summed", ["random"], indirect=True)
def test_pieces_of_the_proper_current(summed):
    """J1, J2 and I1 hold at every k; I2 up to a total derivative."""
    name, density, _ = summed
    bands = density.bands
    pieces = js.spin_hall_pieces(SUMMED[name], js.Grid((NUMBER, NUMBER)), LEVELS)
    j1, j2, i1, i2 = (
        np.asarray(piece.value) / js.units.per_natural(piece.units)
        for piece in (pieces.J1, pieces.J2, pieces.I1, pieces.I2)
    )
    close(spin_current(density, bands.intraband(bands.spin)), j1)
    close(spin_current(density, bands.interband(bands.spin)), j2)
    close(torque_dipole(density, "both_from_field"), i1)
    close(torque_dipole(density, "both_from_motion")[SMOOTH], i2[SMOOTH], rtol=5e-6)


def test_dipole_of_the_velocity_is_the_orbital_moment():
    """−½ i Tr(v_y ρ_Q,x − v_x ρ_Q,y) is −½ v²Δ/ε² of a filled Dirac band (Sundaram and Niu)."""
    v, mass, k = 1.3, 0.4, np.array([[0.0, 0.0], [0.3, -0.2], [1.0, 0.7]])
    model = models.MassiveDirac(velocity=v, mass=mass)
    density = js.density_matrix(model, k, js.Levels(0.0))
    products = jnp.einsum("kamn,kbnm->kab", density.bands.velocity, density.motion[:, 0])
    found = (-0.5j * (products[:, 1, 0] - products[:, 0, 1])).real
    exact = -(v**2) * mass / 2 / (v**2 * np.sum(k**2, axis=1) + mass**2)
    np.testing.assert_allclose(found, exact, rtol=1e-13)


# --- Invariance -----------------------------------------------------------------------------------


def test_gauge(rng):
    """A random unitary inside each group turns every matrix with the operators."""
    k, levels = jnp.asarray(K), js.Levels(0.3, temperature=1000.0)
    density = js.density_matrix(PAIRS, k, levels)
    bands = density.bands
    turn = np.zeros((4, 4), complex)
    for pair in (slice(0, 2), slice(2, 4)):
        random = rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2))
        turn[pair, pair] = np.linalg.qr(random)[0]
    rotate = lambda x: turn.conj().T @ x @ turn  # noqa: E731
    turned = {"basis": bands.basis @ turn, "velocity": rotate(bands.velocity)}
    turned |= {"operators": {"spin": LiftedOperator(rotate(bands.spin))}}
    other = js.BandStructure(**(vars(bands) | turned))
    f = jnp.diagonal(density.equilibrium[0])
    slope = -f * (1 - f) / (js.units.BOLTZMANN * 1000.0)
    found = solve_density_matrix(PAIRS, lambda energies: (f[None], slope[None]), k, other)
    for name in MATRICES:
        np.testing.assert_allclose(
            getattr(found, name), rotate(getattr(density, name)), atol=1e-13, err_msg=name
        )
    assert_same(in_orbitals(found), in_orbitals(density))


def test_reciprocal_lattice_vector():
    """Traces repeat with the reciprocal lattice."""
    k, levels = wave_vectors(3), js.Levels(0.3, temperature=500.0)
    shift = np.array([1, -2]) @ (2 * np.pi * np.linalg.inv(np.asarray(KANE_MELE.lattice)).T)
    here, there = (js.density_matrix(KANE_MELE, k + g, levels) for g in (0, shift))
    for name, operator in (("field", "spin_current"), ("both", "torque"), ("motion", "velocity")):
        found = [
            jnp.einsum("k...mn,kexnm->k...ex", d.bands.operator(operator), _flat(getattr(d, name)))
            for d in (here, there)
        ]
        np.testing.assert_allclose(*found, atol=1e-11, err_msg=name)
        assert np.max(np.abs(found[0])) > 0.01


def _flat(density):
    return density.reshape(*density.shape[:2], -1, *density.shape[-2:])


def test_time_reversal():
    """Θ ρ(k) Θ⁻¹ = ρ(−k) for ρ_0 and ρ_E, and −ρ(−k) for what has one power of Q."""
    k, levels = wave_vectors(3), js.Levels(0.3, temperature=500.0)
    theta = np.kron(np.eye(2), PAULI[2])  # i σ_y times complex conjugation, up to a phase
    model = KANE_MELE
    at = np.asarray(model(K))
    reverse = theta @ at.conj() @ theta.conj().T
    if not np.allclose(reverse, model(-K)):  # spin is the first factor of the basis
        theta = np.kron(PAULI[2], np.eye(2))
        reverse = theta @ at.conj() @ theta.conj().T
    np.testing.assert_allclose(reverse, model(-K), atol=1e-13)
    here, there = (in_orbitals(js.density_matrix(model, q, levels)) for q in (k, -k))
    signs = dict(zip(MATRICES, (1, 1, -1, -1, -1), strict=True))
    turned = {n: signs[n] * (theta @ np.conj(here[n]) @ theta.conj().T) for n in MATRICES}
    assert_same(turned, there)


class Turned(js.Model):
    """A model in the basis exp(−i k_x G), which has the connection A_x = G: the same physics."""

    model: js.Model
    energies: jax.Array  # and eigenvectors of G
    states: jax.Array

    @property
    def generator(self):
        return (self.states * self.energies) @ self.states.conj().T

    @property
    def dimension(self):
        return 2

    @property
    def external_terms(self):
        return True

    def __call__(self, k):
        w = self.turn(k)
        return w.conj().T @ self.model(k) @ w

    def turn(self, k):
        return (self.states * jnp.exp(-1j * k[0] * self.energies)) @ self.states.conj().T

    def spin(self):
        return self.model.spin()

    def lift(self, points, needs=NOTHING_ELSE):
        a = jnp.stack([self.generator, 0 * self.generator])[..., None]
        shape = (*a.shape[:-1], points.k.shape[-1])
        curl = jnp.zeros((1, *shape[1:]), complex)
        connection = BasisConnection(jnp.broadcast_to(a, shape), curl)
        return super().lift(points, needs)._replace(connection=connection)


def test_basis_that_moves_with_k(rng):
    """With the connection of its basis functions a model has the same density matrices."""
    generator = rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))
    lattice, levels = hopping_model(NARROW), js.Levels(1.6, 0.6 / js.units.BOLTZMANN)
    generator = np.linalg.eigh((generator + generator.conj().T) / 4)
    turned = Turned(lattice, *map(jnp.asarray, generator))
    here, there = (in_orbitals(js.density_matrix(m, POINTS[2], levels)) for m in (lattice, turned))
    for i, k in enumerate(POINTS[2]):
        w = np.asarray(turned.turn(jnp.asarray(k)))
        back = {n: w @ m[i] @ w.conj().T for n, m in there.items()}
        assert_same(back, {n: m[i] for n, m in here.items()})


# --- Transformations and the door -----------------------------------------------------------------


def test_each_k_and_level_alone_and_under_jit_and_vmap():
    k, levels = wave_vectors(2, 3), js.Levels([-0.2, 0.5], temperature=[0.0, 300.0, 900.0])
    whole = js.density_matrix(PAIRS, k, levels)
    assert whole.both.shape == (2, 3, 3, 2, 2, 2, 4, 4)
    expected = in_orbitals(whole)
    mapped = jax.jit(jax.vmap(js.density_matrix, in_axes=(None, 0, None)))(PAIRS, k, levels)
    assert_same(in_orbitals(mapped), expected)
    one = in_orbitals(js.density_matrix(PAIRS, k[1, 2], js.Levels(0.5, temperature=300.0)))
    assert_same({n: m[0] for n, m in one.items()}, {n: m[1, 2, 1, 1] for n, m in expected.items()})


def value(x):
    """A smooth number of torque dipole and spin current; x is a parameter, mu, T and k."""
    model = x[0] * SUMMED["pairs"]
    density = js.density_matrix(model, x[3:], js.Levels(x[1], temperature=1000 * x[2]))
    torque, current = density.bands.torque, density.bands.spin_current
    dipole = jnp.einsum("smn,eabnm->abs", torque, density.both).imag
    driven = jnp.einsum("asmn,ebnm->abs", current, density.field).real
    weight = jnp.arange(12.0).reshape(2, 2, 3)
    return jnp.sum(weight * dipole) + jnp.sum(jnp.sin(weight * driven))


def test_derivatives():
    """Of pairs that stay pairs, against central differences of fourth order."""
    x = jnp.array([1.1, 1.4, 5.0, *K])
    slopes, at = jax.jit(jax.jacfwd(value))(x), jax.jit(value)
    for i, slope in enumerate(slopes):
        step = 1e-3 * jnp.eye(5)[i]
        difference = 8 * (at(x + step) - at(x - step)) - at(x + 2 * step) + at(x - 2 * step)
        assert float(slope) == pytest.approx(float(difference) / 12e-3, rel=1e-6, abs=1e-8), i
    assert np.min(np.abs(slopes)) > 1e-4


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`levels` must be a jaxspin\.Levels"):
        js.density_matrix(PAIRS, K, 0.3)
    with pytest.raises(ValueError, match="`k` must have a last axis of length 2"):
        js.density_matrix(PAIRS, [0.1, 0.2, 0.3], js.Levels(0.0))
    with pytest.raises(ValueError, match=r"`model` must be a jaxspin\.Model"):
        js.operators(np.eye(2), K)
    with pytest.raises(ValueError, match="`degeneracy` must be Covariant"):
        js.density_matrix(PAIRS, K, js.Levels(0.0), degeneracy=js.Strict())
    few = js.downfold(KANE_MELE, [0, 1])
    with pytest.raises(ValueError, match="`model` must have all its bands for the density matrix"):
        js.density_matrix(few, K, js.Levels(0.0))


def test_prints_itself():
    density = js.density_matrix(PAIRS, K, js.Levels(0.1, temperature=300.0))
    assert repr(density) == "density matrix of 4 bands at one k, levels (1,)"
