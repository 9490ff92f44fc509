"""Downfolding: rotations, dressed operators, derivatives, responses, what is refused."""

import itertools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_sylvester, sqrtm, subspace_angles
from systems import random_hermitian, random_hopping, total

import jaxspin as js
from jaxspin.band_structure.bands import solve_bands
from jaxspin.band_structure.degeneracy import Covariant
from jaxspin.downfold import block_diagonalization
from jaxspin.engine.small_matrices import PAULI
from jaxspin.integration import tiles
from jaxspin.integration.problem import Problem
from jaxspin.models.lifted import Needs, Points
from jaxspin.quantities import charge, combine, spin, spin_hall
from jaxspin.quantities.charge import CARRIER_DENSITY

D = js.models.CrystalFieldC4v(gap=1.0, a=0.05, b=0.2, b_inter=0.03, kinetic=0.5)
FULL = js.models.CrystalFieldC4v(1.0, 0.3, 0.2, 0.1, 0.5, 0.07, -0.05, 0.04)
K = jnp.array([0.31, -0.52])
ONE, X, Y, Z = PAULI
SIZES = [(2, 4), (2, 2, 2)]


EXACT, SECOND = js.downfold(D, (0, 1)), js.downfold(D, (0, 1), order=2)


@eqx.filter_jit
def at(model, k):
    """H_eff, spin, spin current and ∂H_eff at one k."""
    lifted = model.lift(Points(k[:, None]), Needs(("spin",), curl=True))
    spin, beyond, _ = lifted.operators["spin"]
    v = lifted.slopes - 1j * commute(lifted.connection.connection, lifted.hamiltonian)
    current = beyond + 0.5 * (times(spin, v[:, None]) + times(v[:, None], spin))
    return tuple(x[..., 0] for x in (lifted.hamiltonian, spin, current, lifted.slopes))


@eqx.filter_jit
def matrix(model, k):
    return model(k)


@eqx.filter_jit
def series(h, sizes):
    """U_0, ..., U_4 of a matrix."""
    return block_diagonalization.rotation_series(h[..., None], sizes, 4)[..., 0]


def times(a, b):
    return jnp.einsum("...abk,...bck->...ack", a, b)


def commute(a, b):
    return times(a, b) - times(b, a)


def numpy_rotation(h, groups):
    """The rotation of least action by its definition, for blocks in their order of energy."""
    _energies, v = np.linalg.eigh(np.asarray(h))
    x, start = np.zeros_like(v), 0
    for group in groups:
        columns = v[:, start : start + len(group)]
        x[:, group] = columns @ columns[group].conj().T
        start += len(group)
    return x @ np.linalg.inv(sqrtm(x.conj().T @ x))


# --- reference numbers ----------------------------------------------------------------------------

POINTWISE = {
    None: (
        [0.18006409856403371, -0.0019348951958707936, -0.0011534952129229601],
        [0.004113447202860674, -0.5158489697602374, 0.00031084807087366784],
    ),
    2: (
        [0.1800455729166667, -0.00195, -0.0011625],
        [0.0041725, -0.5157878081597222, 0.00032291666666666645],
    ),
}


@pytest.mark.parametrize("order", POINTWISE)
def test_reference_numbers(order):
    h, _, current, _ = at(EXACT if order is None else SECOND, K)
    for found, expected in zip((h, current[1, 0]), POINTWISE[order], strict=True):
        parts = [np.trace(found @ pauli).real / 2 for pauli in (ONE, X, Y)]
        np.testing.assert_allclose(parts, expected, atol=5e-16)


def printed(model, k):
    """(F6) to (F11), the spin and the torque of appendix F: H, J[i, mu], S[mu], T[mu]; ħ = 1.

    The first term of (F10) is printed with σ_x for σ_mu.
    """
    gap, a, b, bt = (float(x) for x in (model.gap, model.a, model.b, model.b_inter))
    kx, ky = k
    inverse_mass = 2 * float(model.kinetic)
    square, k2 = gap**2 - b**2, kx**2 + ky**2
    alpha = 2 * a * bt / (gap - b)
    h = (-2 * bt**2 / (gap - b) + k2 / 2 * (inverse_mass - 2 * gap * a**2 / square)) * ONE
    h = h + alpha * (ky * X - kx * Y)
    sigma, delta = (X, Y, Z), np.eye(2)
    loss = 2 * bt**2 / (gap - b) ** 2
    bend = 2 * b**2 * a**2 * k2 / square**2
    spins, torques, currents = [], [], np.zeros((2, 3, 2, 2), complex)
    for mu in (0, 1):
        leaning = (ky, -kx)[mu]
        spins.append((1 - loss - bend) * sigma[mu] + 2 * alpha * b / square * leaning * ONE)
        torques.append(-2 * alpha * k[mu] * Z)
        for i in (0, 1):
            mass = inverse_mass * (1 - loss - bend) - 2 * gap * a**2 / square
            turn = delta[i, 0] * ky - delta[i, 1] * kx
            other = (mu == 0) * Y - (mu == 1) * X
            scalar = delta[mu, 0] * delta[i, 1] - delta[mu, 1] * delta[i, 0]
            scalar += 2 * b / square * inverse_mass * k[i] * leaning
            currents[i, mu] = (
                mass * k[i] * sigma[mu]
                - 2 * b * a**2 / square * turn * other
                + alpha * scalar * ONE
            )
    spins.append((1 - 2 * loss) * Z)
    torques.append(2 * alpha * (kx * X + ky * Y))
    for i in (0, 1):
        currents[i, 2] = (inverse_mass * (1 - 2 * loss) - 2 * gap * a**2 / square) * k[i] * Z
    return h, currents, np.array(spins), np.array(torques)


def test_printed_operators_of_second_order():
    """(F6) to (F11) against the general code, with b far from small."""
    model = js.models.CrystalFieldC4v(gap=1.0, a=0.3, b=0.4, b_inter=0.15, kinetic=0.5)
    two = js.downfold(model, (0, 1), order=2)
    h, currents, spins, torques = printed(model, np.asarray(K))
    found = at(two, K)
    np.testing.assert_allclose(found[0], h, atol=1e-13)
    np.testing.assert_allclose(found[1], spins, atol=1e-13)
    np.testing.assert_allclose(found[2], currents, atol=1e-13)
    np.testing.assert_allclose(jax.jit(two.dress(torque(model)))(K), torques, atol=1e-13)


def test_printed_generator():
    """(F4): the first order of the rotation is iQ."""
    h = np.asarray(D(K))
    gap, b = 1.0, 0.2
    mixing = np.kron(np.eye(2), gap * ONE) + np.kron(np.array([[0, 1], [-1, 0]]), 1j * b * Z)
    q = -1j / (gap**2 - b**2) * h[:2, 2:] @ mixing
    np.testing.assert_allclose(series(jnp.asarray(h), (2, 4))[1][:2, 2:], 1j * q, atol=1e-13)


# --- the rotation ---------------------------------------------------------------------------------


def coupled(seed, strength=0.2):
    """Three pairs of levels, with random couplings."""
    levels = np.diag([0, 0.1, 1, 1.1, 2.5, 2.6])
    return jnp.asarray(levels + strength * random_hermitian(np.random.default_rng(seed), 6, 6))


def groups_of(sizes):
    edges = np.cumsum([0, *sizes])
    return [list(range(a, b)) for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("sizes", SIZES)
def test_is_least_action(sizes):
    h = coupled(3)
    expected = numpy_rotation(h, groups_of(sizes))
    for group in groups_of(sizes):
        order = group + [i for i in range(6) if i not in group]
        frame = jnp.eye(6, dtype=complex)[:, np.array(order)]
        blocks = block_diagonalization.Blocks(frame, np.array(order), (len(group), 6 - len(group)))
        columns = block_diagonalization.LeastAction().kept_columns(h[..., None], blocks)
        np.testing.assert_allclose(columns[..., 0], expected[:, group], atol=1e-13)


def test_two_blocks_are_the_exponential():
    """U = exp(iQ) with Q between the blocks only, (16), (17)."""
    u = numpy_rotation(FULL(K), [[0, 1], [2, 3, 4, 5]])
    values, vectors = np.linalg.eig(u)
    q = vectors @ np.diag(np.angle(values)) @ np.linalg.inv(vectors)
    np.testing.assert_allclose(q[:2, :2], 0, atol=1e-12)
    np.testing.assert_allclose(q[2:, 2:], 0, atol=1e-12)


def exponential_series(h, sizes, order):
    """U_p of exp(iQ) with Q between the blocks only: the paper's iteration, by NumPy."""
    inside, between = (
        np.asarray(x)[..., 0]
        for x in block_diagonalization.split_blocks(jnp.asarray(h)[..., None], sizes)
    )
    edges = np.cumsum([0, *sizes])
    generators = []
    zero = np.zeros_like(h)

    def powers(generators, p):
        """Coefficients of exp(iQ), with Q of the orders 1, ..., p."""
        series = [np.eye(len(h), dtype=complex)] + [zero] * p
        term = list(series)
        for n in range(1, p + 1):
            term = [
                sum((1j * generators[q - 1] @ term[r - q] for q in range(1, r + 1)), zero) / n
                for r in range(p + 1)
            ]
            series = [a + b for a, b in zip(series, term, strict=True)]
        return series

    for p in range(1, order + 1):
        u = powers([*generators, zero], p)
        rest = sum(u[q].conj().T @ inside @ u[p - q] for q in range(p + 1))
        rest = rest + sum(u[q].conj().T @ between @ u[p - 1 - q] for q in range(p))
        q = np.zeros_like(h)
        for i, (a, b) in enumerate(itertools.pairwise(edges)):
            for c, d in list(itertools.pairwise(edges))[i + 1 :]:
                block = solve_sylvester(inside[a:b, a:b], -inside[c:d, c:d], 1j * rest[a:b, c:d])
                q[a:b, c:d], q[c:d, a:b] = block, block.conj().T
        generators.append(q)
    return powers(generators, order)


@pytest.mark.parametrize(("sizes", "same"), [((2, 4), 4), ((2, 2, 2), 2)])
def test_against_the_exponential_order_by_order(sizes, same):
    """Two blocks: the same at every order. Three: another rotation from the third order on."""
    h = coupled(4)
    ours = np.asarray(series(h, sizes))
    theirs = exponential_series(np.asarray(h), sizes, 4)
    difference = [np.max(np.abs(a - b)) for a, b in zip(ours, theirs, strict=True)]
    assert max(difference[: same + 1]) < 1e-13
    assert all(d > 1e-4 for d in difference[same + 1 :])
    for group in groups_of(sizes):  # its blocks are Hermitian: least action
        block = sum(ours)[np.ix_(group, group)]
        np.testing.assert_allclose(block, block.conj().T, atol=1e-13)


@pytest.mark.parametrize("sizes", SIZES)
def test_series_sums_to_the_exact_rotation(sizes):
    h = coupled(5, 0.02)
    exact, orders = numpy_rotation(h, groups_of(sizes)), np.asarray(series(h, sizes))
    errors = np.max(np.abs(np.cumsum(orders, axis=0) - exact), axis=(1, 2))
    assert errors[4] < 1e-5
    assert all(b < 0.3 * a for a, b in itertools.pairwise(errors))


@pytest.mark.parametrize(("sizes", "nothing"), [((2, 4), True), ((2, 2, 2), False)])
def test_odd_orders_of_two_blocks(sizes, nothing):
    h, u = coupled(5)[..., None], series(coupled(5), sizes)[..., None]
    blocks = block_diagonalization.Blocks(jnp.eye(6, dtype=complex), jnp.arange(6), sizes)
    second, third = (
        block_diagonalization.Perturbation(order).dress_operator(u[: order + 1, :, :2], h, blocks)
        for order in (2, 3)
    )
    assert (np.max(np.abs(second - third)) < 1e-14) == nothing


# --- dressed operators ----------------------------------------------------------------------------


def whole(model, k):
    """U, H and slopes of a two-block model, by NumPy."""
    u = numpy_rotation(model(k), [[0, 1], [2, 3, 4, 5]])
    return u, np.asarray(model(k)), np.moveaxis(np.asarray(jax.jacfwd(model)(k)), -1, 0)


def anti(a, b):
    return a @ b + b @ a


def test_dressed_current_is_the_second_form_of_20():
    """½{∂H_eff + i[Ω, H_eff], S}, whole matrices, Ω = −iU†∂U from the derivative rule."""
    u, h, slopes = whole(FULL, K)

    @jax.jit
    def turn(hamiltonian, slope):
        return jax.jvp(rotation, (hamiltonian,), (slope,))

    def rotation(hamiltonian):
        h = hamiltonian[..., None]
        parts = [
            block_diagonalization.kept_isometry(
                h,
                jnp.eye(6, dtype=complex)[:, group],
                block_diagonalization.fixed_spectrum(h, order),
            )
            for group, order in (
                (slice(0, 2), jnp.arange(6)),
                (slice(2, 6), jnp.array([2, 3, 4, 5, 0, 1])),
            )
        ]
        return jnp.concatenate(parts, axis=1)[..., 0]

    spin = np.asarray(FULL.spin())
    _, _, current, _ = at(js.downfold(FULL, (0, 1)), K)
    for i in (0, 1):
        turned, change = turn(jnp.asarray(h), jnp.asarray(slopes[i]))
        np.testing.assert_allclose(turned, u, atol=1e-13)
        omega = -1j * u.conj().T @ change
        heff = u.conj().T @ h @ u
        dheff = change.conj().T @ h @ u + u.conj().T @ slopes[i] @ u + u.conj().T @ h @ change
        velocity = dheff + 1j * (omega @ heff - heff @ omega)
        for mu in range(3):
            second = 0.5 * anti(velocity, u.conj().T @ spin[mu] @ u)
            direct = u.conj().T @ (0.5 * anti(slopes[i], spin[mu])) @ u
            np.testing.assert_allclose(second, direct, atol=1e-13)
            np.testing.assert_allclose(current[i, mu], direct[:2, :2], atol=1e-13)


def test_dressed_current_is_26_at_second_order():
    """(26) with Q and ∂Q from linear equations, intrinsic terms included."""
    h, c = (
        np.asarray(x)[..., 0]
        for x in block_diagonalization.split_blocks(FULL(K)[..., None], (2, 4))
    )
    _, _, slopes = whole(FULL, K)
    comm = lambda a, b: a @ b - b @ a  # noqa: E731

    def generator(coupling, inside=h):
        q = np.zeros((6, 6), complex)
        q[:2, 2:] = solve_sylvester(inside[:2, :2], -inside[2:, 2:], 1j * coupling[:2, 2:])
        return q + q.conj().T

    _, _, current, effective_slopes = at(js.downfold(FULL, (0, 1), order=2), K)
    q, spin = generator(c), np.asarray(FULL.spin())
    for i in (0, 1):
        dh, dc = (
            np.asarray(x)[..., 0]
            for x in block_diagonalization.split_blocks(slopes[i][..., None], (2, 4))
        )
        # ∂ of [H', Q] = iH'': [H', ∂Q] = i∂H'' − [∂H', Q]
        dq = generator(dc + 1j * comm(dh, q))
        for mu in range(3):
            s = spin[mu]
            qs = comm(q, s)
            j = -0.25 * anti(dh, comm(q, qs)) + 0.5 * anti(comm(dq, h), qs)
            j = j + 0.25 * anti(comm(comm(q, dq), h), s)
            standard = 0.5 * anti(effective_slopes[i], PAULI[1 + mu])
            np.testing.assert_allclose(current[i, mu], standard + j[:2, :2], atol=1e-13)


def test_split_of_the_spin_current():
    split = eqx.filter_jit(lambda model, k: model.spin_current(k))(EXACT, K)
    _, spin, current, slopes = at(EXACT, K)
    np.testing.assert_allclose(split.standard + split.correction, current, atol=1e-15)
    np.testing.assert_allclose(split.standard[1, 0], 0.5 * anti(slopes[1], X), atol=1e-15)
    np.testing.assert_allclose(split.renormalised[1, 0], 0.5 * anti(slopes[1], spin[0]), atol=1e-15)
    assert np.max(np.abs(split.total - split.renormalised)) > 1e-4  # no renormalised spin does it


@pytest.mark.parametrize("order", [None, 2])
def test_time_reversal(order):
    """(30), (31): H and J are even, S and ∂H are odd."""
    model = js.downfold(FULL, (0, 1), order=order)
    for here, there, sign in zip(at(model, K), at(model, -K), (1, -1, 1, -1), strict=True):
        np.testing.assert_allclose(Y @ here @ Y, sign * np.conj(there), atol=1e-13)


def torque(model):
    return lambda k: 1j * (model(k) @ model.spin() - model.spin() @ model(k))


def test_no_torque_in_a_band():
    """(21), (28): T = i[H_eff, S_eff], and none in a band at equilibrium."""
    model = js.downfold(FULL, (0, 1))
    h, spin, _, _ = at(model, K)
    dressed = jax.jit(model.dress(torque(FULL)))(K)
    np.testing.assert_allclose(dressed, 1j * (h @ spin - spin @ h), atol=1e-13)
    basis = np.linalg.eigh(h)[1]
    diagonal = np.einsum("am,sab,bm->sm", basis.conj(), dressed, basis)
    np.testing.assert_allclose(diagonal, 0, atol=1e-13)


# --- derivatives ----------------------------------------------------------------------------------

PUBLISHED = "proper_published"
GAMMA = jnp.zeros(2)  # Kramers pairs, and with b = 0 the whole doublet, are degenerate here


@pytest.mark.parametrize("order", [None, 2])
def test_derivatives_at_degenerate_points(order):
    """By a, b, b_inter and k, at k = 0 and b = 0, against differences: all that responses use."""

    def quantities(x):
        a, b, bt, kx, ky = x
        model = js.models.CrystalFieldC4v(1.0, a, b, bt, 0.5, 0.07, -0.05, 0.04)
        two = js.downfold(model, (0, 1), order=order)
        k = jnp.stack([kx, ky])[:, None]
        lifted = two.lift(Points(k), Needs(("spin",), curl=True, remote=True))
        spin, current, remote = lifted.operators["spin"]
        parts = (lifted.hamiltonian, lifted.slopes, spin, current)
        parts += (*lifted.connection, *remote)
        return jnp.concatenate([part.ravel() for part in parts])

    x = jnp.array([0.3, 0.0, 0.1, 0.0, 0.0])
    both = jax.jit(lambda x, dx: jax.jvp(quantities, (x,), (dx,)))
    zero = jnp.zeros(5)
    for i in range(5):
        step = jnp.zeros(5).at[i].set(1e-3)
        slope = both(x, step / 1e-3)[1]
        near, far = (
            (both(x + s * step, zero)[0] - both(x - s * step, zero)[0]) / (2e-3 * s) for s in (1, 2)
        )
        np.testing.assert_allclose(slope, (4 * near - far) / 3, atol=1e-7)


def test_derivatives_of_orders_with_degenerate_blocks():
    """U_0, ..., U_4 where the levels of each block are one, by a change that splits them."""
    rng = np.random.default_rng(6)
    coupling, change = (jnp.asarray(random_hermitian(rng, 4, 4)) for _ in range(2))
    between = np.arange(4)[:, None] // 2 != np.arange(4) // 2
    h = jnp.diag(jnp.array([0, 0, 1.0, 1.0])) + 0.2 * jnp.where(between, coupling, 0)

    @jax.jit
    def both(x, dx):
        def along(x):
            return block_diagonalization.rotation_series((h + x * change)[..., None], (2, 2), 4)

        return jax.jvp(along, (x,), (dx,))

    slope = both(0.0, 1.0)[1]
    near, far = ((both(s, 0.0)[0] - both(-s, 0.0)[0]) / (2 * s) for s in (1e-3, 2e-3))
    np.testing.assert_allclose(slope, (4 * near - far) / 3, atol=1e-8)
    assert np.all(np.max(np.abs(slope[1:]), axis=(1, 2, 3)) > 1e-3)


def test_reverse_mode_at_a_degenerate_point():
    def size(b):
        model = eqx.tree_at(lambda m: m.b, FULL, b)
        return jnp.sum(jnp.abs(js.downfold(model, (0, 1))(GAMMA)) ** 2)

    slope = jax.jit(jax.grad(size))(0.2)
    value = jax.jit(size)
    difference = (value(0.2 + 1e-4) - value(0.2 - 1e-4)) / 2e-4
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize("order", [None, pytest.param(2, marks=pytest.mark.study)])
def test_second_derivatives_in_both_modes(order):
    """Forward over reverse differentiates the transposed linear equations too."""
    model = js.downfold(
        eqx.tree_at(lambda m: (m.a, m.b_inter), FULL, (0.3, 0.1)), (0, 1), order=order
    )
    energy = lambda k: jnp.trace(model(k)).real / 2  # noqa: E731
    slope = jax.jit(jax.grad(energy))
    mixed = jax.jit(jax.jacfwd(jax.grad(energy)))(K)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(jax.jacfwd(energy)))(K), mixed, atol=1e-13)
    step = 1e-4
    for i, axis in enumerate(np.eye(2)):
        difference = (slope(K + step * axis) - slope(K - step * axis)) / (2 * step)
        np.testing.assert_allclose(mixed[:, i], difference, atol=1e-7)


@pytest.mark.study
def test_reverse_mode_of_a_response():
    """What the lower two bands give to the spin Hall effect, by b, at a k without degeneracy."""

    def filled(b):
        model = js.downfold(eqx.tree_at(lambda m: m.b, FULL, b), (0, 1))
        observable = spin_hall.ConventionalSpinHall()
        bands = solve_bands(model, K[:, None], Covariant(), **observable.needs)
        return jnp.sum(observable(bands).full[..., 0] * jnp.array([1.0, 0.3]))

    value, slope = jax.jit(jax.value_and_grad(filled))(0.2)
    only = jax.jit(filled)
    near, far = ((only(0.2 + s) - only(0.2 - s)) / (2 * s) for s in (1e-3, 2e-3))
    assert abs(float(value)) > 1e-3
    assert float(slope) == pytest.approx(float(4 * near - far) / 3, rel=1e-7)


# --- other choices of what is kept ----------------------------------------------------------------


def test_lowest_and_window_have_the_same_bands():
    expected = np.linalg.eigvalsh(FULL(K))
    for keep in ((0, 1), js.LowestBands(2), js.EnergyWindow(-1.0, 0.5)):
        found = matrix(js.downfold(FULL, keep), K)
        np.testing.assert_allclose(np.linalg.eigvalsh(found), expected[:2], atol=1e-13)
    upper = matrix(js.downfold(FULL, js.EnergyWindow(0.5, 2.0)), K)
    np.testing.assert_allclose(np.linalg.eigvalsh(upper), expected[2:], atol=1e-13)


def test_reference_functions_follow_the_model():
    """Lowest(2) by a parameter: the bands change as those of the full model, at k = 0 too."""

    def energies(model, k):
        return jnp.linalg.eigvalsh(model(k))

    def both(b):
        model = eqx.tree_at(lambda m: m.b, FULL, b)
        return jnp.trace(js.downfold(model, js.LowestBands(2))(K)), jnp.sum(energies(model, K)[:2])

    (two, full), slopes = jax.jit(lambda b: jax.jvp(both, (b,), (1.0,)))(0.2)
    np.testing.assert_allclose(two, full, atol=1e-13)
    np.testing.assert_allclose(*slopes, atol=1e-12)


def test_three_blocks_and_two_are_two_expansions():
    """The exact model of the kept block does not depend on how the rest is cut; orders do."""
    cut = js.BasisFunctions((0, 1), others=((2, 3),))
    split = FULL + Shift()
    exact, other = (matrix(js.downfold(split, keep), K) for keep in ((0, 1), cut))
    np.testing.assert_allclose(exact, other, atol=1e-13)
    second, other = (matrix(js.downfold(split, keep, order=2), K) for keep in (cut, (0, 1)))
    np.testing.assert_allclose(second, exact, atol=0.05)
    assert np.max(np.abs(second - other)) > 1e-5


class Shift(js.Model):
    """The second function of the doublet raised by 1 eV."""

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        return jnp.diag(jnp.array([0, 0, 0, 0, 1.0, 1.0])).astype(complex)

    def spin(self):
        raise ValueError("none")


# --- effective models as arguments ----------------------------------------------------------------


def test_is_argument_and_result_of_jit():
    back, found = jax.jit(lambda model, k: (model, model(k)))(EXACT, K)
    assert back.blocks.sizes == (2, 4)
    assert jax.tree.structure(back) == jax.tree.structure(EXACT)
    np.testing.assert_allclose(found, at(EXACT, K)[0], atol=1e-15)


def test_stacked_effective_models():
    """Made by vmap over a parameter, used by vmap over the model."""
    made = jax.vmap(lambda b: js.downfold(eqx.tree_at(lambda m: m.b, FULL, b), (0, 1)))
    b = jnp.array([0.0, 0.2])
    found = jax.jit(jax.vmap(lambda model: model(K)))(made(b))
    for i in range(2):
        one = js.downfold(eqx.tree_at(lambda m: m.b, FULL, b[i]), (0, 1))
        np.testing.assert_allclose(found[i], matrix(one, K), atol=1e-14)


def test_spin_of_the_undressed_model():
    """That of the kept functions, where the full model has one for all k."""
    np.testing.assert_allclose(EXACT.undressed().spin(), PAULI[1:], atol=1e-15)
    with pytest.raises(ValueError, match="none"):
        js.downfold(Shift(), (0, 1, 2, 3)).undressed().spin()


# --- responses ------------------------------------------------------------------------------------


#: What a downfolded model gives; number and density of states need no more than the energies.
KNOWN = combine.Stacked(
    (
        charge.AnomalousHall(),
        spin_hall.ConventionalSpinHall(),
        spin_hall.ProperSpinHallCorrected(),
        spin.Torque(),
        spin.TrivialSpinCurrent(),
        spin.TopologicalSpinCurrent(),
    )
)


@eqx.filter_jit
def weights(model, points):
    """Energies and the weights of each band, at one k after the other, (K, ...)."""

    def at_one(k):
        bands = solve_bands(model, k[:, None], Covariant(), **KNOWN.needs)
        return bands.energies[..., 0], KNOWN(bands).full[..., 0]

    return jax.lax.map(at_one, points)


def with_position(model):
    """The hopping model with elements of the position operator."""
    rng = np.random.default_rng(2)
    n, d = len(model.centres), model.dimension
    position = 0.05 * random_hermitian(rng, len(model.cells), d, n, n)
    pairs = [model.cells.index(tuple(-c for c in cell)) for cell in model.cells]
    position = position + position[pairs].conj().swapaxes(-1, -2)
    home = model.cells.index((0,) * d)
    for a in range(d):
        np.fill_diagonal(position[home, a], np.asarray(model.centres)[:, a])
    arrays = (model.vectors, model.cells, model.blocks, model.centres, model.spin_operator)
    return js.HoppingModel(*arrays, position=position)


def test_every_band_gives_what_it_gives_in_the_full_model():
    """Pairs with removed bands included, with elements of the position operator."""
    model = with_position(random_hopping(4, 2, seed=1, spread=3.0))
    kept = js.downfold(model, js.LowestBands(2, at=jnp.array([0.1, 0.2])))
    points = jnp.asarray(np.random.default_rng(3).normal(size=(4, 2)))
    (energies, full), (kept_energies, two) = (weights(m, points) for m in (model, kept))
    np.testing.assert_allclose(kept_energies, energies[:, :2], atol=1e-13)
    np.testing.assert_allclose(two, full[..., :2], atol=1e-13)
    # All but the diagonal of the two antisymmetric ones are there: 2 + 12 + 6 + 6 + 12.
    assert np.sum(np.abs(two).max(axis=(0, 2)) > 0) == 38


def test_responses_converge_with_the_coupling():
    """Order 2: what each band gives is wrong at fourth order of the coupling."""
    model = random_hopping(3, 2, seed=1, spread=3.0)
    points = jnp.asarray(np.random.default_rng(3).normal(size=(4, 2)))
    between = np.arange(3)[:, None] // 2 != np.arange(3) // 2
    errors = []
    for zeta in (0.2, 0.1):
        weak = eqx.tree_at(lambda m: m.blocks, model, model.blocks * np.where(between, zeta, 1))
        full = weights(weak, points)[1][..., :2]
        errors.append(np.abs(weights(js.downfold(weak, (0, 1), order=2), points)[1] - full))
    coarse, fine = (np.max(error, axis=(0, 2)) for error in errors)
    there = fine > 0
    np.testing.assert_allclose(np.log2(coarse[there] / fine[there]), 4, atol=0.1)


def test_sums_over_a_mesh():
    """Also the sums, with numbers and densities of states, where the removed band is empty."""
    model = random_hopping(3, 2, seed=1, spread=3.0)
    every = combine.Stacked((KNOWN, charge.CarrierNumber(), charge.DensityOfStates()))
    mesh, levels = js.Grid((8, 8)), js.Levels([0.0, 0.5], 300.0)
    full, two = (
        total(every, m, mesh, levels).value for m in (model, js.downfold(model, js.LowestBands(2)))
    )
    np.testing.assert_allclose(two, full, atol=1e-12)
    assert np.all(full[:, -2:] > 0)


def test_tiles_are_those_of_the_full_model():
    """Arrays of the full model are inside, and of longer ones XLA makes no single kernel."""
    mesh = js.Disk(0.5, 40, 40)

    def box(model):
        problem = Problem(CARRIER_DENSITY, model, mesh, js.Levels(0.0))
        return tiles.lay_out(problem, (mesh, mesh)).box

    for model in (EXACT, EXACT.undressed(), 2.0 * EXACT):
        assert box(model) == (64,)
    assert box(js.models.Rashba(kinetic=0.5, velocity=0.3)) == (256,)


MESH, LEVELS = js.Disk(0.8, 4, 4), js.Levels(0.1, 300.0)


@pytest.mark.parametrize(
    ("quantity", "function"),
    [
        ("(kubo)", lambda m: js.spin_hall(m, MESH, LEVELS, definition="kubo")),
        ("(proper_published)", lambda m: js.spin_hall(m, MESH, LEVELS, definition=PUBLISHED)),
        ("(proper_published)", lambda m: js.spin_berry_curvature(m, K, definition=PUBLISHED)),
        ("parts of the proper", lambda m: js.spin_hall_pieces(m, MESH, LEVELS)),
        ("effective model of fewer", lambda m: js.downfold(m, (0,))),
        ("orbital moment", lambda m: js.orbital_moment(m, K)),
        ("quantum metric", lambda m: js.quantum_metric(m, K)),
        (
            "disordered conductor",
            lambda m: js.disordered_response(m, js.FermiContour(8), LEVELS, js.ScalarDisorder(1.0)),
        ),
    ],
)
def test_what_needs_the_removed_bands_is_refused(quantity, function):
    with pytest.raises(ValueError, match=rf"all its bands for the .*{re.escape(quantity)}"):
        function(EXACT)


def test_models_change_before_downfolding():
    with pytest.raises(ValueError, match="`other` must be added before downfolding"):
        EXACT + EXACT
    with pytest.raises(ValueError, match="`model` must get its spin operator before downfolding"):
        js.models.WithSpin(EXACT, jnp.zeros((3, 2, 2)))


# --- validity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 2])
def test_validity_says_how_good_it_is(order):
    mesh = js.Disk(0.8, 6, 4)
    two = js.downfold(FULL, (0, 1), order=order)
    report = two.validity(mesh)
    k = np.asarray(mesh.points(jnp.arange(mesh.size), None).k).T
    full, effective = (
        np.linalg.eigvalsh(eqx.filter_jit(lambda m, k: jax.lax.map(m, k))(model, k))
        for model in (FULL, two)
    )
    gaps = full[:, 2] - full[:, 1]
    assert float(report.gap) == pytest.approx(np.min(gaps), abs=1e-12)
    where = np.flatnonzero(np.all(np.isclose(k, report.gap_at, rtol=0, atol=1e-12), axis=1))
    assert gaps[where] == pytest.approx([np.min(gaps)], abs=1e-12)  # one of four alike, by C4
    true = np.max(np.abs(effective - full[:, :2]))
    assert float(report.error) == pytest.approx(true, abs=1e-13)
    assert true > 1e-4
    angles = [subspace_angles(np.linalg.eigh(FULL(x))[1][:, :2], np.eye(6)[:, :2]) for x in k]
    assert float(report.angle) == pytest.approx(np.max(angles), abs=1e-12)
    assert f"error of the bands at most {true:.2g} eV" in repr(report)


def test_validity_of_the_exact_model():
    assert float(EXACT.validity(K).error) < 1e-14


# --- what is refused ------------------------------------------------------------------------------


class Crossing(js.Model):
    """Two bands that cross at k = 0.5."""

    @property
    def dimension(self):
        return 1

    def __call__(self, k):
        return jnp.diag(jnp.array([k[0] - 0.5, 0.5 - k[0], 7.0])).astype(complex)

    def spin(self):
        return jnp.zeros((3, 3, 3))


@pytest.mark.parametrize(
    ("keep", "order", "text"),
    [
        ((), None, "different indices|at least one"),
        (range(6), None, "remove at least one of 6, but keeps 6"),
        ((0, 6), None, "from 0 to 5"),
        ((0, 0), None, "different indices"),
        (0, None, "but is 0"),
        (js.LowestBands(0), None, "keeps 0"),
        (js.LowestBands(6), None, "keeps 6"),
        (js.EnergyWindow(5.0, 6.0), None, "keeps 0"),
        (js.EnergyWindow(-5.0, 6.0), None, "keeps 6"),
        (js.LowestBands(1), None, r"touch: the gap is .* eV at k = \[0. 0.\]"),
        ((0, 1), -1, "`order` must be None or an integer"),
        ((0, 1), 2.0, "`order` must be None or an integer"),
    ],
)
def test_bad_choice(keep, order, text, unchecked_annotations):
    with pytest.raises(ValueError, match=text):
        js.downfold(D, keep, order=order)


@pytest.mark.parametrize(
    ("keep", "text"),
    [
        (lambda: (True, False), "`keep` must be of integers, but has True"),
        (lambda: np.array([True, False]), "`keep` must be of integers"),
        (lambda: (0, 1.0), "`keep` must be of integers, but has 1.0"),
        (lambda: js.LowestBands(True), "`number` must be of integers, but has True"),
        (lambda: js.BasisFunctions((0, 1), others=(2, 3)), "`others` must be indices .* but has 2"),
        (lambda: js.BasisFunctions((0, 1), others=2), "`others` must be tuples of indices"),
        (
            lambda: js.LowestBands(2, at=jnp.zeros(3)),
            r"`at` must have shape \(2,\), but has shape \(3,",
        ),
        (lambda: js.BasisFunctions((0, 1), at=jnp.zeros(())), r"`at` must have shape \(2,\)"),
    ],
)
def test_bad_keep(keep, text, unchecked_annotations):
    with pytest.raises(ValueError, match=text):
        js.downfold(D, keep())


def test_integers_of_numpy():
    two = js.downfold(D, js.LowestBands(np.int64(2)), order=np.int64(2))
    assert two.blocks.sizes == (2, 4)
    assert two.rotation.order == 2
    assert js.BasisFunctions(np.array([0, 1])).kept == (0, 1)


@pytest.mark.parametrize("use", ["columns", "spin_current", "dressed"])
def test_k_of_the_wrong_shape(use, unchecked_annotations):
    function = EXACT.dress(D.spin()) if use == "dressed" else getattr(EXACT, use)
    with pytest.raises(ValueError, match=r"`k` must have shape \(2,\), but has shape \(3,\)"):
        function(jnp.zeros(3))


def test_bands_that_touch_on_a_mesh():
    """Touching points that `downfold` did not meet: no NaN, and near ones are in `info`."""
    touching = js.models.QiWuZhang(A=1.0, m=-2.0)
    one, levels = js.downfold(touching, js.LowestBands(1, at=jnp.array([3.0, 1.0]))), js.Levels(0.0)
    for model in (one, one.undressed()):
        with pytest.raises(ValueError, match=r"kept and removed bands apart .* gap is 0.0e\+00 eV"):
            js.carrier_density(model, js.Grid((4, 4)), levels)
    grid = js.Grid((4, 4), shift=0.3)
    k = np.asarray(grid.points(jnp.arange(grid.size), touching.lattice).k).T
    gap = min(np.ptp(np.linalg.eigvalsh(touching(x))) for x in k)
    found = js.carrier_density(one, grid, levels).info["smallest_splitting"]
    assert float(found) == pytest.approx(gap, rel=1e-12)


def test_smallest_denominators():
    """Of the exact rotation kept from removed bands; with an order also levels of all blocks."""
    h = jnp.asarray(np.diag([0.0, 1.0, 3.0]) + 0j).at[0, 1].set(1e-3).at[1, 0].set(1e-3)[..., None]
    blocks = block_diagonalization.Blocks(jnp.eye(3, dtype=complex), jnp.arange(3), (1, 1, 1))
    assert float(block_diagonalization.Perturbation(2).smallest_denominator(h, blocks)[0]) == 1
    energies = np.linalg.eigvalsh(h[..., 0])
    exact = float(block_diagonalization.LeastAction().smallest_denominator(h, blocks)[0])
    assert exact == pytest.approx(energies[1] - energies[0], rel=1e-14)
    levels = jnp.array([[0.0], [3.0], [3.0 + 1e-15]])
    assert float(block_diagonalization.smallest_gap(levels, (1, 1, 1))[0]) == 0  # within rounding


def test_functions_orthogonal_to_the_bands():
    """Beyond the crossing the kept band is the other function; orders would not know."""
    with pytest.raises(ValueError, match=r"the angle between functions and bands is 1.570796 at k"):
        js.downfold(Crossing(), (0,))


def test_bands_that_touch():
    at_crossing = js.LowestBands(1, at=jnp.array([0.5]))
    with pytest.raises(
        ValueError, match=r"removed bands touch: the gap is 0.0e\+00 eV at k = \[0.5\]"
    ):
        js.downfold(Crossing(), at_crossing)


def test_levels_that_touch():
    """Exact rotations need no gap between unperturbed levels; orders do."""
    js.downfold(Coupled(), (0,))
    with pytest.raises(ValueError, match="unperturbed levels of two blocks touch"):
        js.downfold(Coupled(), (0,), order=2)


class Coupled(Crossing):
    """Two functions of the same energy that a coupling splits."""

    def __call__(self, k):
        return jnp.array([[0.1, 1.0, 0], [1.0, 0.1, 0], [0, 0, 7.0]], dtype=complex)


def test_operator_of_the_wrong_shape():
    with pytest.raises(
        ValueError, match=r"`operator` must have shape \(..., 6, 6\), but has shape \(3, 4\)"
    ):
        EXACT.dress(np.zeros((3, 4)))


def test_no_constant_spin():
    with pytest.raises(ValueError, match="`spin_at"):
        EXACT.spin()


def test_validity_at_k_of_another_dimension():
    for k in (jnp.zeros(3), jnp.zeros((0, 2))):
        with pytest.raises(ValueError, match="last axis of length 2"):
            EXACT.validity(k)


# --- peers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [(), ((2, 3),)], ids=["two blocks", "three blocks"])
def test_against_pymablock(others):
    """Order by order, from what `to_pymablock` hands over."""
    pymablock = pytest.importorskip("pymablock")
    split = FULL + Shift()
    two = js.downfold(split, js.BasisFunctions((0, 1), others=others), order=4)
    problem = js.interop.pymablock.to_pymablock(two, K)
    theirs, *_ = pymablock.block_diagonalize(**problem)
    low = np.asarray(two.blocks.frame).conj().T[:2] @ problem["subspace_eigenvectors"][0]
    u = series(jnp.asarray(split(K)), two.blocks.sizes)[..., None]
    previous = 0
    for order in range(5):
        dressed = block_diagonalization.Perturbation(order).dress_operator(
            u[: order + 1, :, :2], split(K)[..., None], two.blocks
        )[..., 0]
        term = theirs[0, 0, order]
        term = low @ term @ low.conj().T if isinstance(term, np.ndarray) else np.zeros((2, 2))
        np.testing.assert_allclose(dressed - previous, term, atol=1e-12)
        previous = dressed


def test_what_pymablock_gets():
    """H' and H'' in their parts, and the eigenvectors of H' of each block."""
    problem = js.interop.pymablock.to_pymablock(EXACT, K)
    inside, between = problem["hamiltonian"]
    np.testing.assert_allclose(inside + between, D(K), atol=1e-15)
    assert not np.any(between[:2, :2])
    for vectors in problem["subspace_eigenvectors"]:
        level = vectors.conj().T @ inside @ vectors
        np.testing.assert_allclose(level, np.diag(np.diag(level)), atol=1e-14)


def test_pymablock_gets_effective_models_only():
    with pytest.raises(ValueError, match="`model` must be an EffectiveModel"):
        js.interop.pymablock.to_pymablock(D, K)


def test_what_needs_every_band_is_refused_at_the_door():
    """Of a quantity of one's own too, and of observables made of it."""
    proper = spin_hall.DEFINITIONS["proper_published"]
    for observable in (proper.observable, combine.OfBands(proper.observable)):
        quantity = proper.replace(observable=observable)
        problem = Problem(quantity, EXACT, js.Disk(0.1, 4, 5), js.Levels(0.0))
        with pytest.raises(ValueError, match="Argument `model` must have all its bands"):
            problem.check()
