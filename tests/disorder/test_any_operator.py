"""Any operator, and groups of degenerate bands: tables, invariances, conserved quantities."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from disorder_table import PAULI, SYSTEMS, TABLE, TAU_SPIN, System
from surface_parts import couple, scattering_of, solve, states_of
from systems import random_unitary

import jaxspin as js
from jaxspin.disorder.collision import LocalScattering
from jaxspin.disorder.contributions import (
    interband_coherence,
    mix_interband,
    skew_source,
    sum_mechanisms,
)
from jaxspin.disorder.fermi_states import (
    as_matrix,
    as_vector,
    check_groups,
    find_states,
)
from jaxspin.disorder.groups import check_covariance
from jaxspin.disorder.solution import _compare_rates
from jaxspin.surfaces import FermiSurface

NAMES = {"drude": "drude", "extrinsic": "ext", "side_jump": "sj", "skew": "sk"}
#: Of the digits of the table.
DIGITS = 1e-12
#: 1e-11 off in its last digits: 320, 384 and 512 nodes agree to 1e-14 here.
ROUNDED = {"gamma4_exchange_x": 2e-11}


@pytest.fixture(scope="module")
def solved():
    """The parts of every system, each computed once."""
    known = {}

    def of(name):
        if name not in known:
            known[name] = solve(SYSTEMS[name])
        return known[name]

    return of


def assert_table(parts, row, tolerance=DIGITS):
    mechanisms, surface = parts
    for name, written in NAMES.items():
        np.testing.assert_allclose(getattr(mechanisms, name), row[written], rtol=0, atol=tolerance)
    np.testing.assert_allclose(surface, row["fsint"], rtol=0, atol=tolerance)
    total = surface + mechanisms.extrinsic + mechanisms.side_jump + mechanisms.skew
    np.testing.assert_allclose(total, row["antisym"], rtol=0, atol=4 * tolerance)


@pytest.mark.parametrize("name", SYSTEMS)
def test_table(solved, name):
    assert_table(solved(name), TABLE[name], ROUNDED.get(name, DIGITS))


WITHOUT_RANGE = [name for name, system in SYSTEMS.items() if system.correlator is None]


@pytest.mark.parametrize("name", WITHOUT_RANGE)
def test_slowest_modes_and_what_is_conserved(name):
    """The smallest singular values of 1 − K𝒲; 0 for the charge and for what else is conserved."""
    states = states_of(SYSTEMS[name])
    scattering = scattering_of(states, *couple(SYSTEMS[name], states))
    coupling = np.asarray(scattering.coupling)
    matrix = np.eye(len(coupling)) - np.asarray(scattering.collision_kernel) @ coupling
    slowest = np.linalg.svd(matrix, compute_uv=False)[::-1][:4]
    np.testing.assert_allclose(slowest, TABLE[name]["relaxation"], rtol=0, atol=1e-11)
    rates = np.asarray(scattering.relaxation_rates())
    assert np.sum(rates < 1e-10) == np.sum(slowest < 1e-10) == TABLE[name]["null_vectors"]


def test_third_cumulant_of_groups(solved):
    """Computed with the third order of the impurity potential in the Kubo-Streda formula too."""
    for name in ("gamma4_spinflip", "bhz_magnetic"):
        states = states_of(SYSTEMS[name])
        coupling, _ = couple(SYSTEMS[name], states)
        with_third = eqx.filter_jit(
            lambda states, coupling: sum_mechanisms(
                states, LocalScattering(states, coupling, jnp.ones(()))
            )
        )
        key = f"third_{name.removesuffix('_scalar')}"
        expected = TABLE[key]["third_over_k3_times_u0_4"]
        found = with_third(states, coupling).third_cumulant[: len(expected)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


# --- invariance and sum rules ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gamma4_aniso", "rashba_tilt_magnetic"])
def test_basis_at_each_k_and_in_each_group_does_not_matter(rng, solved, name):
    """Eigenvectors inside a group are as LAPACK finds them after a random rotation of all bands,
    the same at every k as the disorder is."""
    system = SYSTEMS[name]
    turn = random_unitary(rng, len(system.matrices[0]))
    turned = System(**{
        **vars(system),
        "matrices": [turn @ m @ turn.conj().T for m in system.matrices],
        "spin": [turn @ m @ turn.conj().T for m in system.spin],
        "disorder": [turn @ m @ turn.conj().T for m in system.disorder],
    })  # fmt: skip
    (found, surface), (expected, known) = solve(turned), solved(name)
    rows = slice(0, -1)  # L is given in the basis before
    for part in NAMES:
        x, y = getattr(found, part)[rows], getattr(expected, part)[rows]
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(surface[rows], known[rows], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["gamma4_spinflip", "spin1_magnetic"])
def test_strength_of_disorder_does_not_matter_to_order_zero(solved, name):
    (weak, _), (one, _) = solve(SYSTEMS[name], strength=1e-6), solved(name)
    for part in ("extrinsic", "side_jump", "skew"):
        np.testing.assert_allclose(getattr(weak, part), getattr(one, part), rtol=0, atol=1e-12)
    np.testing.assert_allclose(1e-6 * weak.drude, one.drude, rtol=0, atol=1e-12)


def test_reversal_of_the_magnetization(solved):
    """Drude is the part symmetric in the two operators, the rest the antisymmetric one.

    With M reversed the one is odd and the other even for operators even under time reversal (spin
    current, torque), and the other way round for odd ones (current, spin).
    """
    system = SYSTEMS["rashba_tilt_magnetic"]
    reversed_m = System(**{
        **vars(system),
        "coefficients": lambda x, y: [
            (x**2 + y**2) / 2, -0.06 - 0.3 * y, -0.03 + 0.3 * x, -0.12
        ],
    })  # fmt: skip
    (there, sea_there), (here, sea_here) = solve(reversed_m), solved("rashba_tilt_magnetic")
    parity = np.array([-1, -1, *6 * [1], *3 * [-1], *3 * [1]])[:, None]
    rows = slice(0, -1)  # L has no parity
    total = lambda parts, sea: sea + parts.extrinsic + parts.side_jump + parts.skew  # noqa: E731
    here_a, there_a = total(here, sea_here)[rows], total(there, sea_there)[rows]
    np.testing.assert_allclose(there_a, parity * here_a, rtol=0, atol=1e-13)
    np.testing.assert_allclose(there.drude[rows], -parity * here.drude[rows], rtol=0, atol=1e-13)
    assert np.max(np.abs(here_a)) > 0.01
    assert np.max(np.abs(here.drude[2:8])) > 0.01


@pytest.mark.parametrize("name", SYSTEMS)
def test_hall_conductivity_is_antisymmetric(name, solved):
    parts, surface = solved(name)
    total = (surface + parts.extrinsic + parts.side_jump + parts.skew)[:2]
    np.testing.assert_allclose(total, -total.T, rtol=0, atol=1e-13)
    np.testing.assert_allclose(parts.drude[:2], parts.drude[:2].T, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_mechanism_makes_charge(name, solved):
    """Σ w Tr x = 0 of every source x of the collisions; also where all that is left of one is
    rounding, as of skew scattering of the cubic Rashba gas."""
    assert float(solved(name)[0].charge) < 1e-14


def test_kramers_pairs_keep_charge_and_spin_apart(solved):
    """Θ = inversion x time reversal: Drude of the current alone, and nothing else of it; the spin
    density is 0 where the disorder has inversion symmetry by itself."""
    for name in ("gamma4_spinflip", "gamma4_aniso", "gamma4_range"):
        parts, surface = solved(name)
        order_zero = surface + parts.extrinsic + parts.side_jump + parts.skew
        np.testing.assert_allclose(order_zero[:2], 0, atol=1e-13)
        np.testing.assert_allclose(parts.drude[2:11], 0, atol=1e-13)
        has_inversion = name != "gamma4_aniso"
        assert (np.max(np.abs(order_zero[8:11])) < 1e-13) == has_inversion


def test_two_copies_of_a_hall_conductor(solved):
    """BHZ with scalar disorder is two Qi-Wu-Zhang models with opposite Hall effects: spin along z
    flows as twice the charge current, with the sign of −v."""
    pairs, single = solved("bhz_scalar"), solved("qwz_scalar")
    for part in ("extrinsic", "side_jump", "skew"):
        spin, charge = getattr(pairs[0], part)[[4, 7]], getattr(single[0], part)[:2]
        np.testing.assert_allclose(spin, -2 * charge, rtol=0, atol=1e-12)
    np.testing.assert_allclose(pairs[0].drude[:2], 2 * single[0].drude[:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mass", [0.05, 0.12, 0.2])
def test_both_rashba_bands_give_nothing_with_scalar_disorder(mass):
    """ρ̂ ∝ 1, and the Fermi surface cancels for every operator."""
    system = System(**{**vars(SYSTEMS["rashba_scalar"]), "coefficients": _tilted(mass)})
    parts, surface = solve(system)
    total = surface + parts.extrinsic + parts.side_jump + parts.skew
    np.testing.assert_allclose(total, 0, atol=1e-12)
    assert np.max(np.abs(surface)) > 0.005


def _tilted(mass):
    return lambda x, y: [(x**2 + y**2) / 2, -0.3 * y, 0.3 * x, mass]


def test_cubic_rashba_has_no_vertex_correction_of_its_spin_hall_effect(solved):
    parts, surface = solved("cubic_rashba")
    np.testing.assert_allclose(parts.extrinsic[[4, 7]], 0, atol=1e-14)
    assert abs(float(surface[7, 0])) > 0.05


@pytest.mark.parametrize("name", ["rashba_scalar", "gamma4_scalar", "qwz_scalar"])
def test_no_net_torque_in_a_steady_state(name, solved):
    """Disorder commutes with the spin: Drude, side jump and skew scattering have no torque, and
    that of the interband mixing cancels the intrinsic one."""
    parts, _ = solved(name)
    rows = slice(11, 14)
    for part in ("drude", "side_jump", "skew"):
        np.testing.assert_allclose(getattr(parts, part)[rows], 0, atol=1e-12)
    total = parts.extrinsic[rows] + np.array(TABLE[name]["intrinsic"])[rows]
    np.testing.assert_allclose(total, 0, atol=1e-11)


@pytest.mark.parametrize("name", SYSTEMS)
def test_sum_is_the_compact_antisymmetric_form(name, solved):
    """Term by term antisymmetric, with Ô = O + 𝒲[Σ w X^O], X^O = (π/γ) P Ô P, v for O = ∂H:

    (i/2π) Σ w Tr{X^v(ÔRΓ̂ − Γ̂RÔ) − X^O(v̂RΓ̂ − Γ̂Rv̂) + πP(v̂RÔ − ÔRv̂) − PΓ̂RΓ̂P[X^v, X^O]/2π}.
    """
    system = SYSTEMS[name]
    states = states_of(system)
    parts, surface = solved(name)
    expected = surface + parts.extrinsic + parts.side_jump + parts.skew
    found = _compact_form(states, *couple(system, states))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("part", ["extrinsic", "side_jump", "skew"])
def test_compact_form_sees_each_mechanism(part, solved):
    """Negative control: no mechanism may be missing."""
    system = SYSTEMS["gamma4_aniso"]
    states = states_of(system)
    parts, surface = solved("gamma4_aniso")
    present = {"extrinsic", "side_jump", "skew"} - {part}
    without = surface + sum(getattr(parts, other) for other in present)
    assert np.max(np.abs(_compact_form(states, *couple(system, states)) - without)) > 0.01


@eqx.filter_jit
def _compact_form(states, coupling, correlation):
    scattering = scattering_of(states, coupling, correlation)
    n, w = states.projector.shape[0], states.weight
    every = as_vector(jnp.concatenate([states.slopes, states.operators]))
    total = jnp.sum(w * states.group_size)
    mean = (scattering.mean_of_bands(every) @ (w * states.group_size)) / total
    every = every - mean[:, None, None] * as_vector(jnp.eye(n)[..., None])
    solution = -2 * jnp.pi * scattering.solve_collisions(-scattering.inside(every))  # X
    dressed = as_matrix(every + scattering.average_disorder(solution), n)
    x, p, r = (jnp.moveaxis(m, -1, 0) for m in (as_matrix(solution, n), states.projector,
                                                states.resolvent))  # fmt: skip
    o = jnp.moveaxis(dressed, -1, 0)
    g = jnp.pi * jnp.moveaxis(as_matrix(scattering.average_disorder(scattering.vectors), n), -1, 0)
    d = len(states.slopes)
    v, xv, o, xo = o[:, :d], x[:, :d], o[:, d:], x[:, d:]
    r, g, p = r[:, None], g[:, None], p[:, None]
    trace = lambda a, b: jnp.einsum("a,aoij,adji->od", w, a, b)  # noqa: E731
    inner = p @ g @ r @ g @ p
    sandwiched = lambda m: m @ r @ g - g @ r @ m  # noqa: E731
    terms = trace(sandwiched(o), xv) - trace(xo, sandwiched(v))
    terms += jnp.pi * (trace(o @ p, v @ r) - trace(p @ o, r @ v))
    terms -= (trace(xo @ inner, xv) - trace(inner @ xo, xv)) / (2 * jnp.pi)
    return (1j / (2 * jnp.pi) * terms).real


# --- other routes ---------------------------------------------------------------------------------


@pytest.mark.study
@pytest.mark.parametrize("name", ["gamma4_spinflip", "bhz_magnetic"])
def test_kubo_streda_of_kramers_pairs(name, solved):
    """No Fermi surface and no groups: Green's functions at all k, extrapolated to weak disorder."""
    system = SYSTEMS[name]
    k, weight = js.reference.square_zone_nodes(system.radii, 16)
    operators = system.operators(k)
    operators = np.concatenate([-operators[:2], operators[:8]])  # v, and −v and the spin currents
    h = system.hamiltonian(k)

    def response(strength):
        found = js.reference.correlations(
            h, operators, weight, system.mu, strength, matrices=np.asarray(system.disorder)
        )
        symmetric, antisymmetric = (found + found.T) / 2, (found - found.T) / 2
        return -np.stack([strength * symmetric[2:, :2], antisymmetric[2:, :2]])

    gamma = np.max(np.asarray(LocalScattering(
        states_of(system), couple(system, states_of(system))[0], jnp.zeros(())
    ).rate)) / 2  # fmt: skip
    strengths = np.array([1.0, 0.6, 0.3]) * 2e-4 / gamma
    drude, odd = js.reference.extrapolate_to_no_disorder(response, strengths)
    parts, surface = solved(name)
    total = surface + parts.extrinsic + parts.side_jump + parts.skew
    np.testing.assert_allclose(drude, parts.drude[:8], rtol=0, atol=1e-9)
    np.testing.assert_allclose(odd, total[:8], rtol=0, atol=2e-7)  # 1e-8 with a third as much


def test_pairs_with_range_are_pairs_without(solved):
    """A constant W by iteration, against the low rank; the distributions are matrices."""
    system = SYSTEMS["gamma4_spinflip"]
    constant = System(**{**vars(system), "correlator": lambda q: np.ones(q.shape[1:])})
    (found, _), (expected, _) = solve(constant), solved("gamma4_spinflip")
    for part in NAMES:
        np.testing.assert_allclose(
            getattr(found, part), getattr(expected, part), rtol=0, atol=1e-10
        )


def test_one_number_for_a_pair_is_wrong(solved):
    """Negative control: the same nodes with a number n_a in place of a matrix would have
    no side jump and skew scattering, which are polarised in a pair."""
    system = SYSTEMS["gamma4_spinflip"]
    states = states_of(system)
    coupling, _ = couple(system, states)
    scattering = LocalScattering(states, coupling, jnp.zeros(()))
    drude = scattering.solve_collisions(-states.velocity[:, None] * scattering.vectors)
    skew = skew_source(scattering, interband_coherence(states, scattering, drude))
    jump = mix_interband(states, scattering, states.slopes)
    for source in (skew, jump):
        assert np.max(np.abs(source)) > 0.01
        np.testing.assert_allclose(scattering.mean_of_bands(source), 0, atol=1e-14)


@pytest.mark.study
@pytest.mark.filterwarnings("ignore:the sum over the Fermi sea")
def test_distributions_on_the_surface_are_the_response():
    """Σ w Tr(O f) of each mechanism, with operators of the test, and the invariants of f."""
    model, disorder = Pairs(mixing=0.4), FLIPS
    found = js.disorder.on_surface(model, RAYS, 1.0, disorder)
    measure = {"spin_current": "spin_current"}
    response = js.disordered_response(model, RAYS, js.Levels(1.0), disorder, measure=measure)
    slopes = jax.vmap(jax.jacfwd(model), in_axes=-1, out_axes=-1)(found.k)  # (n, n, d, a)
    currents = jnp.einsum("cij,jlda->dcila", TAU_SPIN, slopes)
    currents = (currents + jnp.conj(jnp.swapaxes(currents, 2, 3))) / 2
    parts = {"drude": "drude", "side_jump": "side_jump", "skew": "skew", "extrinsic": "coherence"}
    for name, written in parts.items():
        f = getattr(found, written)
        terms = jnp.einsum("a,dcija,ejia->decija", found.weight, currents, f).real
        spin_hall = jnp.sum(terms, axis=(3, 4, 5))
        expected = response.measured.spin_current[name].to("hbar/2e e^2/h").value[0] / (2 * np.pi)
        # Drude terms of the two spins, several hundred in size, cancel.
        rounding = 1e-13 + 5e-15 * np.max(np.sum(np.abs(terms), axis=(3, 4, 5)))
        np.testing.assert_allclose(spin_hall, expected, rtol=0, atol=rounding)
        current = -jnp.einsum("a,ijda,ejia->de", found.weight, slopes, f).real
        expected = response[name].conductivity.value[0]
        np.testing.assert_allclose(current, expected, rtol=0, atol=1e-12 * np.max(expected) + 1e-13)
    np.testing.assert_allclose(found.occupations("skew"), 0, atol=1e-12)  # of a Kramers pair
    assert np.max(np.abs(found.skew)) > 0.01
    lengths = js.disorder.relaxation(model, RAYS, 1.0, disorder).mean_free_path
    np.testing.assert_allclose(found.occupations("drude"), -lengths, rtol=0, atol=1e-9)


# --- what is refused, and what is conserved -------------------------------------------------------


def test_rates_that_differ_in_a_group_are_seen():
    """A mixture 1 + 0.3 s_z has other rates for spins up and down."""
    for matrices, differ in (([np.eye(4) + 0.3 * TAU_SPIN[2]], True), (FLIPS.matrices, False)):
        system = System(**{**vars(SYSTEMS["bhz_scalar"]), "disorder": matrices})
        states = states_of(system)
        scattering = LocalScattering(states, couple(system, states)[0], jnp.zeros(()))
        assert (float(_compare_rates(states, scattering)) > 0.1) == differ


class Pairs(js.Model):
    """Two Dirac cones of opposite mass, a Kramers pair of bands above and below the gap.

    With s_z conserved, and not with `mixing`.
    """

    mass: jax.Array = 0.3
    mixing: jax.Array = 0.0
    exchange: jax.Array = 0.0
    dimension = 2

    def __call__(self, k):
        h = k[0] * np.kron(PAULI[1], PAULI[3]) + k[1] * np.kron(PAULI[2], PAULI[0])
        mixed = (k[0] ** 2 - k[1] ** 2) * np.kron(PAULI[1], PAULI[1])
        mass = self.mass * np.kron(PAULI[3], PAULI[0])
        return h + mass + self.mixing * mixed + self.exchange * TAU_SPIN[2]

    def spin(self):
        return TAU_SPIN

    def operators(self):
        return {"valley": np.kron(PAULI[3], PAULI[3])}


FLIPS = js.MatrixDisorder(0.03 * np.array([np.eye(4), *(0.4 * TAU_SPIN)]))
RAYS = js.FermiContour(16)


@pytest.fixture(scope="module")
def conserving():
    with pytest.warns(UserWarning, match="the spin density along z is NaN"):
        return js.disordered_response(
            Pairs(), RAYS, js.Levels(1.0), js.ScalarDisorder(1e-3),
            measure={
                "spin_current": "spin_current",
                "torque": js.disorder.TorqueOn(),
                "current": "current",
                "constant": lambda k: np.eye(4),
                "along_k": lambda k: k[0] * jnp.eye(4),
            },
        )  # fmt: skip


def test_spin_hall_effect_of_two_dirac_cones(conserving):
    """Each mechanism is that of one cone, (e²/2π) of docs/disorder.md, twice, as spin along z."""
    x, xi = 0.09, 0.3
    cone = {
        "intrinsic": xi / (4 * np.pi),
        "extrinsic": xi * (1 - x) / (1 + 3 * x) / (2 * np.pi),
        "side_jump": xi * (1 - x) / (1 + 3 * x) / (2 * np.pi),
        "skew": 1.5 * xi * (1 - x) ** 2 / (1 + 3 * x) ** 2 / (2 * np.pi),
    }
    measured = conserving.measured.spin_current
    for part, one in cone.items():
        spin_hall = measured[part].component(flow="y", field="x", spin="z").to("hbar/2e e^2/h")
        assert abs(float(spin_hall.value[0])) == pytest.approx(4 * np.pi * one, abs=1e-11), part
    signs = {part: float(measured[part].component(flow="y", field="x", spin="z").value[0]) > 0
             for part in cone}  # fmt: skip
    assert len(set(signs.values())) == 1
    assert conserving.info["conserved"] == 2


def test_measured_operators(conserving):
    measured = conserving.measured
    for part in js.disorder.DisorderedResponse.MECHANISMS:
        current = measured.current[part]
        np.testing.assert_array_equal(current.value, conserving[part].conductivity.value)
        assert current.units == conserving[part].conductivity.units
        np.testing.assert_allclose(measured.constant[part].value, 0, atol=1e-11)  # no charge
    total = sum(np.asarray(measured.current[part].value) for part in NAMES if part != "drude")
    total = total + measured.current.intrinsic.value
    np.testing.assert_allclose(measured.current.order_zero.value, total, atol=1e-13)
    assert measured.spin_current.drude.axes == ("mu", "flow", "field", "spin")
    assert measured.torque.drude.axes == ("mu", "spin", "field")
    assert measured.along_k.drude.axes == ("mu", "field")
    assert measured.along_k.drude.units == "V^-1 Angstrom^-1"
    assert "complete at u0^0" in str(measured.current)
    assert not hasattr(measured.current, "total")


def test_spin_hall_angle(conserving):
    """(2e/ħ) σ_s/σ_xx, with σ_xx = (1/2π) (1 − x)/(1 + 3x)/(2 u0²) 4 of two cones."""
    x, u0 = 0.09, 1e-3
    along = 2 * (1 - x) / (1 + 3 * x) / (np.pi * u0)
    assert float(conserving.drude.conductivity.value[0, 0, 0]) == pytest.approx(along / 1, rel=1e-9)
    angle = js.disorder.spin_hall_angle(conserving)
    skew = 1.5 * 0.3 * (1 - x) ** 2 / (1 + 3 * x) ** 2 / np.pi / along
    found = angle.skew.component(flow="y", field="x", spin="z")
    assert abs(float(found.value[0])) == pytest.approx(skew, rel=1e-9)
    assert float(found.to("%").value[0]) == pytest.approx(100 * float(found.value[0]))
    assert found.error[0] < 1e-9
    with pytest.raises(ValueError, match="`of` must be a spin current among `measure`"):
        js.disorder.spin_hall_angle(conserving, "torque")


def test_results_are_saved_with_what_is_measured(conserving, tmp_path):
    conserving.save(tmp_path / "pairs.nc")
    found = js.load(tmp_path / "pairs.nc")
    for path, response in conserving.flatten().items():
        np.testing.assert_array_equal(found.flatten()[path].value, response.value)
    assert "spin_current" in str(conserving.origin)


@pytest.mark.study
def test_operator_with_a_conserved_part_is_refused():
    with pytest.raises(ValueError, match="'spin' has a part that model and disorder conserve"):
        js.disordered_response(
            Pairs(), RAYS, js.Levels(1.0), js.ScalarDisorder(1e-3), measure={"spin": "spin"}
        )


@pytest.mark.study
def test_magnetic_disorder_relaxes_the_spin():
    r = js.disordered_response(
        Pairs(), RAYS, js.Levels(1.0), FLIPS, measure={"torque": "torque", "valley": "valley"}
    )
    assert r.info["conserved"] == 1
    np.testing.assert_allclose(r.total.spin_density.value, 0, atol=1e-12)
    assert "the torque on the impurities" in str(r.measured.torque)
    assert "the torque on the impurities" not in str(r.measured.valley)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (["spin"], "`measure` must be a mapping from names to operators"),
        ({"a b": "spin"}, "must name each operator by letters, digits and underscores"),
        ({"x": "sublattice"}, "needs 'sublattice', and those of Pairs are 'spin', 'valley'"),
        ({"x": 1.0}, "must give each operator as 'current'"),
        ({"x": lambda k: np.eye(2)}, r"one matrix \(4, 4\) as H\(k\)"),
        ({"x": lambda k: jnp.eye(4) * k[7, 0]}, "'x' fails there"),
        ({"x": lambda k: np.triu(np.ones((4, 4)))}, "must be Hermitian, but 'x' is not"),
        ({"x": lambda k: np.full((4, 4), np.nan)}, "must be finite, but 'x' is not"),
        ({"x": lambda k: np.ones((5, 4, 4))}, "or of three, but 'x' has shape"),
    ],
)
@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_operators(measure, message):
    with pytest.raises(ValueError, match=message):
        js.disordered_response(
            Pairs(), RAYS, js.Levels(1.0), js.ScalarDisorder(1e-3), measure=measure
        )


@pytest.mark.parametrize(
    ("matrices", "refused"),
    [
        ([np.eye(4) + 0.3 * TAU_SPIN[2]], True),
        ([np.eye(4), 0.3 * TAU_SPIN[2]], False),
        ([np.eye(4) + 0.3 * TAU_SPIN[2], np.eye(4) - 0.3 * TAU_SPIN[2]], False),
        ([np.eye(4), 0.3 * np.kron(PAULI[3], PAULI[0]) + 0.2 * TAU_SPIN[0]], True),
    ],
)
def test_disorder_that_splits_pairs_is_refused(matrices, refused):
    """Each matrix must go over into itself or its negative with inversion x time reversal, or the
    set into itself."""
    if not refused:
        return check_covariance(js.MatrixDisorder(matrices), Pairs(mixing=0.4))
    with pytest.raises(ValueError, match="`disorder` must keep the degeneracy of the bands"):
        check_covariance(js.MatrixDisorder(matrices), Pairs(mixing=0.4))
    return None


def test_bands_that_touch_are_refused():
    model = js.models.Rashba(kinetic=0.5, velocity=0.3)
    states = find_states(model, FermiSurface(jnp.zeros((2, 1)), jnp.zeros(1, int), jnp.ones(1)))
    assert bool(states.is_split[0])
    with pytest.raises(ValueError, match="bands that touch at the Fermi energy"):
        check_groups(np.asarray(states.is_split), np.array([0.2]))


# --- derivatives ----------------------------------------------------------------------------------


def test_derivatives_in_groups(rng):
    """By the mass and the strength of magnetic disorder, at fixed nodes, against differences."""
    k = rng.normal(size=(2, 24))
    nodes = FermiSurface(jnp.asarray(k), jnp.full(24, 2), jnp.asarray(rng.uniform(1, 2, 24)))

    def of(mass, flips):
        states = find_states(Pairs(mass, 0.4), nodes, (js.disorder.CurrentOf(),))
        matrices = jnp.array([np.eye(4), *(flips * TAU_SPIN)])
        parts = sum_mechanisms(states, js.MatrixDisorder(matrices).scattering(states))
        return jnp.stack([getattr(parts, name) for name in NAMES])

    of = jax.jit(of)
    step = 1e-4
    for direction in ((1.0, 0.0), (0.0, 1.0)):
        at = np.array([0.3, 0.4])
        _, found = jax.jvp(of, tuple(at), direction)
        stencil = [(1, -2), (-8, -1), (8, 1), (-1, 2)]
        expected = sum(c * of(*(at + j * step * np.array(direction))) for c, j in stencil)
        expected = expected / (12 * step)
        assert np.max(np.abs(expected)) > 0.01
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.max(np.abs(expected)))


def test_derivative_by_what_splits_a_group_is_refused(rng):
    nodes = FermiSurface(jnp.asarray(rng.normal(size=(2, 3))), jnp.full(3, 2), jnp.ones(3))

    def velocity(exchange):
        return find_states(Pairs(0.3, 0.4, exchange), nodes).projector

    with pytest.raises(Exception, match="splits bands which are degenerate"):
        jax.block_until_ready(jax.jvp(velocity, (0.0,), (1.0,)))
