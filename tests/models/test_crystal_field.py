"""The crystal-field model of C4v and its equilibrium spin current, against exact numbers."""

import itertools
import math
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import block_diag, null_space
from scipy.optimize import brentq

import jaxspin as js
from jaxspin.band_structure.bands import solve_bands
from jaxspin.band_structure.degeneracy import Covariant
from jaxspin.downfold import block_diagonalization
from jaxspin.engine.small_matrices import PAULI, anticommutator
from jaxspin.models import crystal_field_currents as currents
from jaxspin.models.crystal_field import INVARIANTS
from jaxspin.models.lifted import Points
from jaxspin.quantities.spin import TopologicalSpinCurrent, TrivialSpinCurrent
from jaxspin.units import BOLTZMANN

#: Set D: ħ = m = E_g = 1, T = 0. Set E1: eV and Å, ħ²/2m = 3.80998211.
D = js.models.CrystalFieldC4v(gap=1.0, a=0.05, b=0.2, b_inter=0.03, kinetic=0.5)
E1 = js.models.CrystalFieldC4v(gap=2.0, a=1.0, b=0.3, b_inter=0.1, kinetic=3.80998211)
MU, KT = 0.3, 0.02
NODES = 40
ORDERS = (2, 4, 6)
#: What rounding leaves: each of the two bands has 1e-2, and they cancel.
EPSILON = 3e-17
STRONG = js.models.CrystalFieldC4v(gap=1.0, a=0.1, b=0.2, b_inter=0.06, kinetic=0.5)


def scaled(model, zeta):
    """The coupling between the blocks times zeta."""
    return eqx.tree_at(lambda m: (m.a, m.b_inter), model, (zeta * model.a, zeta * model.b_inter))


@eqx.filter_jit
def along_x(model, k):
    """Energies and (J_xy − J_yx)/2, trivial and topological, of the bands at (k, 0)."""
    return jax.lax.map(lambda k: _observed(model, k), k)


def _observed(model, k):
    bands = solve_bands(model, jnp.stack([k, jnp.zeros_like(k)])[:, None], Covariant(1e-12))
    both = TrivialSpinCurrent()(bands).sea, TopologicalSpinCurrent()(bands).sea
    parts = jnp.stack(both)[..., 0]  # (part, flow, spin, band)
    return bands.energies[..., 0], (parts[:, 1, 0] - parts[:, 0, 1]) / 2


@eqx.filter_jit
def orders_along_x(model, k):
    """H_eff and (J_xy − J_yx)/2 of `ORDERS` at (k, 0), from one series; ∂Q/∂k is not needed."""
    return jax.lax.map(lambda k: _of_orders(model, k), k)


def _of_orders(model, k):
    blocks = block_diagonalization.Blocks(jnp.eye(6, dtype=complex), jnp.arange(6), (2, 4))
    hamiltonian, slopes = model.lift(Points(jnp.stack([k, jnp.zeros_like(k)])[:, None]))[:2]
    spin = model.spin()[..., None]
    current = (anticommutator(spin[0], slopes[1]) - anticommutator(spin[1], slopes[0])) / 4
    operators = jnp.stack([hamiltonian, current])
    u = block_diagonalization.rotation_series(hamiltonian, blocks.sizes, max(ORDERS))[:, :, :2]
    return [
        block_diagonalization.Perturbation(order).dress_operator(u[: order + 1], operators, blocks)[
            ..., 0
        ]
        for order in ORDERS
    ]


def of_order(order):
    """The function of a model and k that gives energies and currents as `along_x` does."""

    def found(model, k):
        h, current = np.moveaxis(orders_along_x(model, k)[ORDERS.index(order)], 1, 0)
        energies, basis = np.linalg.eigh(h)
        return energies, np.einsum("kam,kab,kbm->km", basis.conj(), current, basis).real[:, None]

    return found


def gauss(a, b):
    x, w = np.polynomial.legendre.leggauss(NODES)
    return (a + b) / 2 + (b - a) / 2 * x, (b - a) / 2 * w


def parts(model, mu=MU, observed=along_x):
    """Trivial and topological part of J_s at T = 0 of the lower two bands; of an order, the sum.

    The models have rotation symmetry, so J_s = ∫ k dk/2π Σ_occ ⟨(J_xy − J_yx)/2⟩ along k_x.
    """
    total = 0.0
    for band in (0, 1):
        k, w = gauss(0, fermi_wave_vector(model, band, mu, observed))
        current = np.asarray(observed(model, jnp.asarray(k))[1])[..., band]
        total = total + current.T @ (w * k) / (2 * math.pi)
    return total


def fermi_wave_vector(model, band, mu, observed=along_x):
    """By polynomials through the energies on two grids, the second one around the root."""
    low, high, degree = 1e-3, 1.5 * math.sqrt(mu / kinetic_of(model)), 24
    for _ in range(2):
        k = np.linspace(low, high, NODES)
        energies = np.asarray(observed(model, jnp.asarray(k))[0])[:, band]
        fit = np.polynomial.Chebyshev.fit(k, energies, degree)
        root = brentq(lambda k, fit=fit: fit(k) - mu, low, high, xtol=1e-15)
        low, high, degree = root - 1e-4, root + 1e-4, 3
    return root


def kinetic_of(model):
    return float((model.model if isinstance(model, js.EffectiveModel) else model).kinetic)


def thermal(model, kt, observed=along_x):
    """J_s at a finite temperature (energy), lower two bands."""
    end = math.sqrt(MU / kinetic_of(model))
    cuts = np.linspace(0, end * math.sqrt(1 + 45 * kt / MU), 9)
    total = 0.0
    for a, b in itertools.pairwise(cuts):
        k, w = gauss(a, b)
        energies, current = map(np.asarray, observed(model, jnp.asarray(k)))
        filling = 1 / (1 + np.exp(np.minimum((energies[:, :2] - MU) / kt, 600)))
        total += np.sum(filling.T * current.sum(axis=1).T[:2] * w * k) / (2 * math.pi)
    return total


EXACT = js.downfold(D, (0, 1))


# --- the model ------------------------------------------------------------------------------------

K = np.array([[0.31, -0.52], [-0.2, 0.7], [0.0, 0.0]])
FULL = js.models.CrystalFieldC4v(1.0, 0.3, 0.2, 0.1, 0.5, 0.07, -0.05, 0.04)


def numpy_a19(k, m):
    """(A19) as printed, ε₁ = 0."""
    one, x, y, z = PAULI
    kx, ky = k
    r = ky * x - kx * y
    first = -1j * m.a * kx * one - 1j * m.b_inter * y + m.gamma_inter * ky * z
    second = -1j * m.a * ky * one + 1j * m.b_inter * x - m.gamma_inter * kx * z
    upper = m.gap * one + m.gamma2 * r
    h = np.block(
        [
            [m.gamma1 * r, first, second],
            [first.conj().T, upper, -1j * m.b * z],
            [second.conj().T, 1j * m.b * z, upper],
        ]
    )
    return h + m.kinetic * (k @ k) * np.eye(6)


def numpy_a20(k, m):
    """(A20) as printed, ε₁ = 0."""
    one, x, y, z = PAULI
    kx, ky = k
    h = np.array(numpy_a19(k, m))
    first = -1j * m.a * ky * one - 1j * m.b_inter * x + m.gamma_inter * kx * z
    second = -1j * m.a * kx * one + 1j * m.b_inter * y - m.gamma_inter * ky * z
    h[:2, 2:] = np.hstack([first, second])
    h[2:, :2] = h[:2, 2:].conj().T
    return h


@pytest.mark.parametrize("k", K)
def test_is_the_printed_hamiltonian(k):
    values = [getattr(FULL, f) for f in ("gap", "a", "b", "b_inter", "kinetic")]
    gammas = {name: getattr(FULL, name) for name in ("gamma1", "gamma2", "gamma_inter")}
    b2 = js.models.CrystalFieldC4v.with_b2(*values, **gammas)
    np.testing.assert_allclose(FULL(jnp.asarray(k)), numpy_a19(k, FULL), atol=1e-15)
    np.testing.assert_allclose(b2(jnp.asarray(k)), numpy_a20(k, FULL), atol=1e-15)


def irrep_model(irrep):
    return js.models.CrystalFieldC4v(1.0, 0.3, 0.2, 0.1, 0.5, 0.07, -0.05, 0.04, irrep)


#: The generators of C4v on vectors: a quarter turn, and the mirror y → −y; characters of the
#: one-dimensional representations for them, and the matrices of the doublet.
TURN, MIRROR = np.array([[0, -1], [1, 0]]), np.diag([1, -1])
CHARACTERS = {"A1": (1, 1), "A2": (1, -1), "B1": (-1, 1), "B2": (-1, -1)}


@pytest.mark.parametrize("irrep", INVARIANTS)
@pytest.mark.parametrize("which", [0, 1])
def test_is_invariant_under_the_point_group(irrep, which):
    model = irrep_model(irrep)
    matrix = (TURN, MIRROR)[which]
    half_turn = np.diag(np.exp([-0.25j * np.pi, 0.25j * np.pi]))
    spin = (half_turn, -1j * PAULI[2])[which]
    u = np.zeros((6, 6), complex)
    u[:2, :2] = CHARACTERS[irrep][which] * spin
    u[2:, 2:] = np.kron(matrix, spin)
    for k in K:
        there = model(jnp.asarray(matrix @ k))
        np.testing.assert_allclose(u @ model(jnp.asarray(k)) @ u.conj().T, there, atol=1e-14)


@pytest.mark.parametrize("irrep", INVARIANTS)
@pytest.mark.parametrize(("which", "axial"), [(0, False), (1, True), (2, False)])
def test_no_other_terms_are_allowed(irrep, which, axial):
    """(A13) to (A15): the vectors A, B (axial), C between orbital and doublet, up to a factor."""
    conditions = []
    for matrix, character in zip((TURN, MIRROR), CHARACTERS[irrep], strict=True):
        on_vectors = block_diag(matrix, 1) * (np.linalg.det(matrix) if axial else 1)
        conditions.append(character * np.kron(matrix, on_vectors) - np.eye(6))
    allowed = null_space(np.concatenate(conditions))
    assert allowed.shape == (6, 1)
    vectors = np.pad(INVARIANTS[irrep][which], [(0, 0), (0, 1)]).ravel()
    assert abs(vectors @ allowed[:, 0]) == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("irrep", INVARIANTS)
def test_time_reversal(irrep):
    model = irrep_model(irrep)
    reversal = np.kron(np.eye(3), -1j * PAULI[2])
    for k in K:
        here, there = (np.asarray(model(jnp.asarray(q))) for q in (k, -k))
        np.testing.assert_allclose(reversal.conj().T @ here @ reversal, there.conj(), atol=1e-15)


@pytest.mark.parametrize("irrep", INVARIANTS)
def test_all_combinations_are_the_first_in_another_basis(irrep):
    model = irrep_model(irrep)
    plain = model.as_a1()
    a = np.array(INVARIANTS[irrep][0])
    u = np.kron(np.block([[np.eye(1), np.zeros((1, 2))], [np.zeros((2, 1)), a]]), np.eye(2))
    for k in K:
        np.testing.assert_allclose(
            u.T @ np.asarray(model(jnp.asarray(k))) @ u, plain(jnp.asarray(k)), atol=1e-15
        )


def test_unknown_representation():
    with pytest.raises(ValueError, match=r"`irrep` must be one of 'A1', 'A2', .* but is 'E'"):
        js.models.CrystalFieldC4v(1.0, 0.3, 0.2, 0.1, 0.5, irrep="E")


# --- equilibrium spin current ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "expected"),
    [(2, 2.441984481571e-05), (4, 2.322052211967e-05), (6, 2.325584144447e-05)],
)
def test_effective_models_of_set_d(order, expected):
    found = parts(D, observed=of_order(order)).sum()
    assert found == pytest.approx(expected, abs=EPSILON)


@pytest.mark.parametrize("model", [D, EXACT], ids=["six bands", "exact effective model"])
def test_exact_current_of_set_d(model):
    """Both parts and their sum, by all six bands and by the two."""
    trivial, topological = parts(model)
    assert trivial == pytest.approx(-1.5754306814533e-04, abs=EPSILON)
    assert topological == pytest.approx(1.8079796794178e-04, abs=EPSILON)
    # By arithmetic of 30 digits. What the sheet prints is 5e-17 above it, and no sum of its parts.
    assert trivial + topological == pytest.approx(2.3254899796460612e-05, abs=2 * EPSILON)


def test_without_coupling_in_the_doublet():
    """b = 0: fourth order of the couplings, and far above (4)."""
    b0 = eqx.tree_at(lambda m: m.b, D, jnp.zeros(()))
    assert parts(b0).sum() == pytest.approx(2.8181439238e-07, abs=EPSILON)


@pytest.mark.parametrize(
    ("zeta", "expected"),
    [
        (0.5, 2.260144495046e-05),
        (0.25, 2.243634969976e-05),
        (0.125, 2.239496755363e-05),
        (0.0625, 2.238461524628e-05),
    ],
)
def test_weaker_coupling(zeta, expected):
    assert parts(scaled(D, zeta)).sum() == pytest.approx(zeta**2 * expected, abs=EPSILON)


def test_tends_to_all_orders_in_b():
    """J/ζ² = J_all-b + O(ζ²): two steps of Richardson leave O(ζ⁶)."""
    j = [parts(scaled(D, z)).sum() / z**2 for z in (0.25, 0.125, 0.0625)]
    once = [(4 * b - a) / 3 for a, b in itertools.pairwise(j)]
    limit = (16 * once[1] - once[0]) / 15
    assert limit == pytest.approx(2.238116387230e-05, rel=1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_error_of_an_order(order):
    """Energies and J_s of order n are wrong at order n + 2 of the coupling, for n = 2, 4, 6."""
    k, observed = jnp.full(NODES, 0.6), of_order(order)
    errors = []
    for zeta in (1.0, 0.5):
        strong, weak = scaled(STRONG, zeta), scaled(D, zeta)
        energies = along_x(strong, k)[0][0, :2] - observed(strong, k)[0][0]
        current = parts(weak).sum() - parts(weak, observed=observed).sum()
        errors.append([np.max(np.abs(energies)), abs(current)])
    rates = np.log2(np.divide(*errors))
    np.testing.assert_allclose(rates, order + 2, atol=0.1)


def test_finite_temperature():
    assert thermal(D, KT) == pytest.approx(2.356649186585e-05, abs=EPSILON)
    assert thermal(D, KT, of_order(2)) == pytest.approx(2.475122221711e-05, abs=EPSILON)


@pytest.mark.study
def test_response_of_the_effective_model():
    """The sum over a disk, with its parts: those of the lower two of six bands."""
    mesh, levels = js.Disk(1.4, 128, 4), js.Levels(MU, KT / BOLTZMANN)
    two = js.equilibrium_spin_current(EXACT, mesh, levels)
    full = js.equilibrium_spin_current(D, mesh, levels, bands=(0, 1))
    for part in ("total", "trivial", "topological"):
        found, expected = (getattr(response, part).value for response in (two, full))
        np.testing.assert_allclose(found, expected, atol=10 * EPSILON)
    xy, yx = (two.total.component(flow=a, spin=b).value.item() for a, b in (("y", "x"), ("x", "y")))
    assert xy == pytest.approx(2.356649186585e-05, rel=1e-9)
    assert yx == pytest.approx(-xy, rel=1e-9)


def test_set_e1():
    assert parts(E1).sum() == pytest.approx(8.029386714e-05, abs=5e-15)
    assert thermal(E1, 0.025852) == pytest.approx(8.084860566e-05, abs=5e-15)
    second = parts(E1, observed=of_order(2)).sum()
    assert second == pytest.approx(1.120565701310e-04, abs=10 * EPSILON)


def quietly(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*arguments).value)


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (currents.standard, (D, MU), 2.893653165985e-09),
        (currents.leading, (D, MU), 1.718873385392e-05),
        (currents.all_orders_in_b, (D, MU), 2.238116387230e-05),
        (currents.second_order, (D, MU), 1.817309455692e-05),
        (currents.leading, (D, MU, KT / BOLTZMANN), 1.744006121947e-05),
        (currents.all_orders_in_b, (D, MU, KT / BOLTZMANN), 2.270841304619e-05),
        (currents.leading, (E1, MU), 2.819687428586e-05),
        (currents.all_orders_in_b, (E1, MU), 3.393636140918e-05),
        (currents.second_order, (E1, MU), 7.626232705878e-05),
    ],
)
def test_closed_forms(function, arguments, expected):
    assert quietly(function, *arguments) == pytest.approx(expected, rel=3e-13)


def test_printed_operators_in_the_average():
    """(48) with (49): not (51), which replaces m/m* by 1 in the small terms."""
    gap, a, b, bt = 1.0, 0.05, 0.2, 0.03
    kinetic, alpha = 0.5 - a**2 / gap, 2 * a * bt / gap
    total = 0.0
    for sign in (1, -1):
        q = alpha / (2 * kinetic)
        end = math.sqrt(MU / kinetic + q**2) - sign * q
        k, w = gauss(0, end)
        scalar = alpha * (1 + b * k**2 / gap**2)
        vector = k * (2 * kinetic - 2 * bt**2 / gap**2) / 2 - 2 * b * a**2 / gap**2 * k / 2
        total += np.sum((scalar + sign * vector) * w * k) / (2 * math.pi)
    assert total == pytest.approx(1.817714575279e-05, rel=1e-11)


def test_the_regime_is_checked():
    """E1 is far out of the regime of (52), which is wrong by a factor of 2.85 there."""
    with pytest.warns(UserWarning, match=r"out of its regime: a\^2 gap\^2 / \(kinetic mu"):
        assert not currents.leading(E1, MU).holds
    weak = scaled(eqx.tree_at(lambda m: m.b, D, jnp.asarray(0.02)), 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimate = currents.leading(weak, MU)
    assert estimate.holds
    assert float(estimate.value) == pytest.approx(parts(weak).sum(), rel=0.05)


def test_the_regime_ends_where_the_upper_bands_fill():
    with pytest.warns(UserWarning, match="upper bands filled is inf"):
        currents.all_orders_in_b(D, MU, 0.06 / BOLTZMANN)


@pytest.mark.parametrize("mu", [0.0, -0.1])
def test_closed_forms_refuse_empty_bands(mu):
    with pytest.raises(ValueError, match="`mu` must be a number above 0 eV"):
        currents.leading(D, mu)


@pytest.mark.parametrize("mu", [math.nan, math.inf, np.array([0.1, 0.3])])
@pytest.mark.parametrize("function", [currents.standard, currents.leading])
def test_closed_forms_refuse_other_levels(function, mu):
    with pytest.raises(ValueError, match="`mu` must be a number above"):
        function(D, mu)


@pytest.mark.parametrize("temperature", [-5.0, math.nan, np.array([1.0])])
def test_closed_forms_refuse_other_temperatures(temperature):
    with pytest.raises(ValueError, match="`temperature` must be one number, at least 0"):
        currents.leading(D, MU, temperature)


@pytest.mark.parametrize(("gap", "b"), [(1.0, 1.0), (1.0, -1.2), (-1.0, 0.1)])
def test_closed_forms_refuse_a_doublet_below(gap, b):
    model = js.models.CrystalFieldC4v(gap, 0.05, b, 0.03, 0.5)
    with pytest.raises(ValueError, match=r"`model` must have a gap above \|b\|"):
        currents.all_orders_in_b(model, MU)


def test_closed_forms_refuse_negative_masses():
    heavy = js.models.CrystalFieldC4v(1.0, 0.8, 0.0, 0.03, 0.5)
    with pytest.raises(ValueError, match=r"`kinetic` must be positive.* but is -0\.14"):
        currents.standard(heavy, MU)


def random_model(rng):
    """Of any b, with couplings and mu of any size."""
    a, b_inter, mu = np.exp(rng.uniform(np.log([0.003, 0.001, 0.01]), np.log([0.2, 0.1, 0.9])))
    b = rng.uniform(0.02, 0.97) * rng.choice([-1, 1])
    return js.models.CrystalFieldC4v(1.0, a, b, b_inter, 0.5), float(mu)


@pytest.mark.parametrize(
    "function", [currents.leading, currents.all_orders_in_b, currents.second_order]
)
@pytest.mark.filterwarnings("ignore:This closed form")
def test_closed_forms_hold_where_they_say_so(function):
    """The error is at most twice the sum of the ratios, for random models."""
    rng, holding = np.random.default_rng(0), []
    while len(holding) < 10:
        model, mu = random_model(rng)
        estimate = function(model, mu)
        if estimate.holds:
            holding.append((model, mu, estimate))
    for model, mu, estimate in holding:
        bound = 2 * float(sum(estimate.small.values()))
        assert float(estimate.value) == pytest.approx(parts(model, mu).sum(), rel=bound)


def test_near_the_doublet_the_closed_form_does_not_hold():
    """mu far below the doublet, and yet its coupling to the orbital is too large: 22 % off."""
    model = js.models.CrystalFieldC4v(1.0, 0.04, 0.95, 0.04, 0.5)
    with pytest.warns(UserWarning, match="out of its regime"):
        estimate = currents.all_orders_in_b(model, 0.04)
    assert abs(float(estimate.value) / parts(model, 0.04).sum() - 1) > 0.2


def test_where_the_standard_definition_is_right():
    """μ far below ma²/ħ² and no coupling in the doublet: there, and not in set D even at b = 0."""
    light = js.models.CrystalFieldC4v(1.0, 0.2, 0.0, 0.02, 0.5)
    estimate = currents.standard(light, 0.002)
    assert estimate.holds
    bound = float(sum(estimate.small.values()))
    assert float(estimate.value) == pytest.approx(parts(light, 0.002).sum(), rel=bound)
    b0 = eqx.tree_at(lambda m: m.b, D, jnp.zeros(()))
    with pytest.warns(UserWarning, match=r"out of its regime: 3 kinetic \|mu\| / a\^2"):
        estimate = currents.standard(b0, MU)
    assert float(estimate.value) == pytest.approx(2.893653165985e-09, rel=3e-13)
    assert parts(b0).sum() > 90 * float(estimate.value)  # 2.818e-07


def test_the_standard_definition_with_filled_upper_bands():
    with pytest.warns(UserWarning, match="upper bands filled is inf"):
        currents.standard(D, 5.0)


def test_closed_forms_refuse_intrinsic_terms():
    with pytest.raises(ValueError, match="gamma1, gamma2 and gamma_inter zero"):
        currents.leading(FULL, MU)


@pytest.mark.parametrize(
    ("mu", "trivial", "topological"),
    [
        (0.5, -2.530563595161e-02, 2.817042492727e-02),
        (-0.02, -5.931354528477e-04, 3.202931445377e-03),
    ],
)
def test_rashba_gas(mu, trivial, topological):
    """(C9), (C10), and their form below the crossing; odd in the velocity."""
    found = currents.rashba(0.5, 0.3, mu)
    np.testing.assert_allclose(found, (trivial, topological), rtol=3e-13)
    turned = currents.rashba(0.5, -0.3, mu)
    np.testing.assert_allclose(turned, (-trivial, -topological), rtol=3e-13)


def test_rashba_gas_by_the_general_code():
    found = parts(js.models.Rashba(kinetic=0.5, velocity=-0.3), 0.5)
    np.testing.assert_allclose(found, currents.rashba(0.5, 0.3, 0.5), rtol=1e-10)
    assert found.sum() == pytest.approx(0.3**3 / (3 * math.pi), rel=1e-10)


@pytest.mark.parametrize("sign", [1, -1])
def test_rashba_ring_by_the_general_code(sign):
    """Below the crossing: the lower band between two Fermi wave vectors."""
    q, kappa = 0.3, math.sqrt(0.3**2 - 0.04)
    k, w = gauss(q - kappa, q + kappa)
    model = js.models.Rashba(kinetic=0.5, velocity=-0.3 * sign)
    lower = np.asarray(along_x(model, jnp.asarray(k))[1])[..., 0]
    found = lower.T @ (w * k) / (2 * math.pi)
    np.testing.assert_allclose(found, currents.rashba(0.5, sign * 0.3, -0.02), rtol=1e-10)


@pytest.mark.parametrize(("kinetic", "mu"), [(0.5, -0.05), (0.5, math.nan), (-0.5, 0.1)])
def test_rashba_gas_exists(kinetic, mu):
    """mu above the bottom at -0.045 eV, and a positive mass."""
    with pytest.raises(ValueError, match=r"`mu` must be a number above -0\.045|`kinetic` must"):
        currents.rashba(kinetic, 0.3, mu)


@pytest.mark.parametrize("b", [0.0, 0.1, 0.3])
def test_isolated_doublet(b):
    """(G6): 2m²α³/3πħ⁵, whatever b."""
    model = js.models.CrystalFieldC4v(1e3, 0.0, b, 0.0, 0.5, gamma2=0.3)
    doublet = js.downfold(model, (2, 3, 4, 5))
    total = 0.0
    for lower, sign in ((0, -1), (2, 1)):
        xi = lambda k, sign=sign: k**2 / 2 + sign * math.hypot(0.3 * k, b) - 0.5  # noqa: E731
        k, w = gauss(0, brentq(xi, 1e-6, 3.0, xtol=1e-15))
        current = np.asarray(along_x(doublet, jnp.asarray(k))[1])[..., lower : lower + 2]
        total += np.sum(current.sum(axis=(1, 2)) * w * k) / (2 * math.pi)
    assert total == pytest.approx(5.729577951309e-03, rel=1e-10)
