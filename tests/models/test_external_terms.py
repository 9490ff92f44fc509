"""Elements of the position operator, and a spin operator that depends on k.

The exact references are changes of basis. A model with a diagonal position operator is turned by a
unitary W(k) with finitely many harmonics: everything observable must stay, with the position and
spin operators turned too. And half of the turned basis alone must give the anomalous Hall effect of
the bands it holds, with the curvature from the other half.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gauge import traces as gauge_invariant
from systems import random_hermitian

import jaxspin as js
from jaxspin.band_structure.bands import solve_bands
from jaxspin.band_structure.degeneracy import Covariant
from jaxspin.engine.small_matrices import PAULI
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.bloch_sums import opposite

SAMPLES = 12  # k-points a direction: more than twice the largest harmonic, so sums are exact
GRID = js.Grid((6, 5))
LOW = js.Levels([-1.0, 0.2, 1.5], temperature=100.0)  # nothing of the half far above is filled
LEVELS = js.Levels([-1.0, 0.2, 1.5], temperature=800.0)


def plain_model(n=4, seed=3):
    """Nearest neighbours on an oblique lattice, two orbitals a site, a spin operator on sites."""
    rng = np.random.default_rng(seed)
    half = [(0, 0), (1, 0), (0, 1), (1, -1)]
    cells = half + [opposite(cell) for cell in half[1:]]
    upper = 0.4 * (rng.normal(size=(4, n, n)) + 1j * rng.normal(size=(4, n, n)))
    upper[0] = random_hermitian(rng, n, n)
    blocks = np.concatenate([upper, upper[1:].conj().swapaxes(1, 2)])
    site = np.arange(n) // 2
    return js.HoppingModel(
        lattice=[[2.0, 0.3], [-0.5, 1.7]],
        cells=cells,
        blocks=blocks,
        centres=rng.uniform(size=(n // 2, 2))[site],
        spin=random_hermitian(rng, 3, n, n) * (site[:, None] == site),
    )


def sampled(model):
    """Reduced coordinates, H, r and S in the basis without site phases, at SAMPLES² k."""
    u = np.stack(np.meshgrid(*[np.arange(SAMPLES) / SAMPLES] * 2, indexing="ij"), -1)
    phase = np.exp(2j * np.pi * u @ np.array(model.cells).T)
    h = np.einsum("xyr,rmn->xymn", phase, model.blocks)
    position = np.stack([np.diag(tau) for tau in np.asarray(model.centres).T])
    return u, h, np.asarray(position, complex), np.asarray(model.spin_operator)


def turn(u, seed=5, n=4):
    """A unitary W(k) with one harmonic of each coordinate, and ∂W/∂u_i."""
    rng = np.random.default_rng(seed)
    w, slopes = np.eye(n), np.zeros((2, *u.shape[:2], n, n))
    for i, rank in ((0, 1), (1, 2)):
        columns = np.linalg.qr(rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)))[0]
        projector = columns[:, :rank] @ columns[:, :rank].conj().T
        wave = np.exp(2j * np.pi * u[..., i])[..., None, None]
        factor, slope = np.eye(n) + (wave - 1) * projector, 2j * np.pi * wave * projector
        slopes = slopes @ factor
        slopes[i] += w @ slope
        w = w @ factor
    return w, slopes


def blocks_of(cells, u, matrices):
    """X(R) of matrices X(k) on the samples, cells first."""
    phase = np.exp(-2j * np.pi * u @ np.array(cells).T) / SAMPLES**2
    return np.einsum("xyr,xy...->r...", phase, matrices)


def turned_model(model, kept=slice(None), lift=None):
    """The same physics in the basis W(k), or a part of that basis.

    H is first made block-diagonal in W by adding `lift` to it, where that is given.
    """
    u, h, position, spin = sampled(model)
    w, slopes = turn(u)
    dagger = lambda x: x.conj().swapaxes(-1, -2)  # noqa: E731
    h = dagger(w) @ h @ w if lift is None else lift(h, w)
    vectors = np.asarray(model.vectors)
    slopes = np.einsum("ixymn,id->dxymn", slopes, vectors) / (2 * np.pi)  # by Cartesian k
    connection = dagger(w) @ position[:, None, None] @ w + 1j * dagger(w) @ slopes
    spins = dagger(w) @ spin[:, None, None] @ w
    cells = [(int(x) - 3, int(y) - 3) for x, y in np.ndindex(7, 7)]
    cut = lambda x: np.moveaxis(x[..., kept, kept], (-4, -3), (0, 1))  # noqa: E731
    r = blocks_of(cells, u, cut(connection))
    home = cells.index((0, 0))
    return js.HoppingModel(
        lattice=vectors,
        cells=cells,
        blocks=blocks_of(cells, u, cut(h)),
        centres=np.einsum("dnn->nd", r[home]).real,
        spin=blocks_of(cells, u, cut(spins)),
        position=r,
    )


PLAIN = plain_model()
TURNED = turned_model(PLAIN)


def largest(response):
    return np.max(np.abs(response.value))


def assert_same(got, expected, tolerance=1e-10):
    scale = max(1e-3, np.max(np.abs(expected)))
    np.testing.assert_allclose(got, expected, atol=tolerance * scale)


@pytest.fixture(params=["by axes", "by cells"])
def form(request, monkeypatch):
    from jaxspin.models import bloch_sums

    monkeypatch.setattr(bloch_sums, "separable", lambda *_: request.param == "by axes")


def test_the_turned_basis_has_external_terms():
    assert TURNED.external_terms
    assert not PLAIN.external_terms
    assert np.max(np.abs(TURNED.position)) > 0.1
    off = np.array([c != (0, 0) for c in TURNED.cells])
    assert np.max(np.abs(TURNED.spin_operator[off])) > 0.1


def test_anomalous_hall_does_not_depend_on_the_basis(form):
    got, expected = (js.anomalous_hall(m, GRID, LEVELS) for m in (TURNED, PLAIN))
    assert_same(got.value, expected.value)
    assert bool(got.info["external_terms"])
    assert not bool(expected.info["external_terms"])


@pytest.mark.filterwarnings("ignore:The torque density")
@pytest.mark.parametrize(
    "definition",
    [
        pytest.param("conventional", marks=pytest.mark.study),
        pytest.param("proper_published", marks=pytest.mark.study),
        "proper_corrected",
        pytest.param("kubo", marks=pytest.mark.study),
    ],
)
def test_spin_hall_does_not_depend_on_the_basis(definition):
    got, expected = (js.spin_hall(m, GRID, LEVELS, definition=definition) for m in (TURNED, PLAIN))
    assert_same(got.value, expected.value)
    without = js.spin_hall(TURNED.without_external_terms(), GRID, LEVELS, definition=definition)
    assert np.max(np.abs(without.value - expected.value)) > 0.01 * largest(expected)


@pytest.mark.filterwarnings("ignore:The torque density")
@pytest.mark.parametrize("quantity", [js.torque_density, js.equilibrium_spin_current])
def test_other_spin_quantities_do_not_depend_on_the_basis(quantity):
    got, expected = (quantity(m, GRID, LEVELS) for m in (TURNED, PLAIN))
    assert_same(getattr(got, "total", got).value, getattr(expected, "total", expected).value)


@pytest.mark.study
def test_curvature_of_bands_does_not_depend_on_the_basis():
    k = np.random.default_rng(0).normal(size=(7, 2))
    curvature = lambda m, k: js.bands(m, k).berry_curvature  # noqa: E731
    for quantity in (js.berry_curvature, curvature, lambda m, k: js.bands(m, k).energies):
        assert_same(quantity(TURNED, k), quantity(PLAIN, k))
    spin_curvature = lambda m: js.spin_berry_curvature(m, k, definition="conventional")  # noqa: E731
    assert_same(spin_curvature(TURNED), spin_curvature(PLAIN))


def lifted(h, w):
    """H without elements between the halves of the basis W, the second half far above."""
    inner = w.conj().swapaxes(-1, -2) @ h @ w
    inner[..., :2, 2:] = inner[..., 2:, :2] = 0
    return inner + np.diag([0, 0, 40, 40])


WHOLE, PART = turned_model(PLAIN, lift=lifted), turned_model(PLAIN, slice(0, 2), lifted)


def test_half_of_the_basis_knows_the_curvature_of_the_other_half(form):
    """The Hall effect of a part of the basis is that of its bands in the whole, by `beyond`."""
    got, expected = (js.anomalous_hall(m, GRID, LEVELS) for m in (PART, WHOLE))
    assert_same(got.value, expected.value)
    k = np.random.default_rng(1).normal(size=(5, 2))
    assert_same(js.berry_curvature(PART, k), js.berry_curvature(WHOLE, k)[:, :2])
    # Negative control: the sum over the bands of the part alone is another.
    bands = solve_bands(PART, jnp.asarray(k.T), Covariant())
    inner = -2 * np.imag(np.einsum("mnk,nmk->mk", bands.connection[0], bands.connection[1]))
    outer = np.asarray(js.berry_curvature(WHOLE, k))[:, :2, 0, 1].T
    assert np.max(np.abs(inner - outer)) > 0.1 * np.max(np.abs(outer))


@pytest.mark.study
def test_corrected_spin_hall_knows_the_curvature_of_the_other_half():
    """s_mm Ω_m: spin of the band and curvature of the crystal are both known in a part."""
    keywords = {"definition": "proper_corrected"}
    got, expected = (js.spin_hall(m, GRID, LOW, **keywords) for m in (PART, WHOLE))
    assert_same(got.value, expected.value)
    k = np.random.default_rng(1).normal(size=(5, 2))
    got, expected = (js.spin_berry_curvature(m, k, **keywords) for m in (PART, WHOLE))
    assert_same(got, expected[:, :2])
    # Negative control: the published form has the spin of partner bands, which the part has not.
    other = {"definition": "proper_published"}
    got, expected = (js.spin_berry_curvature(m, k, **other) for m in (PART, WHOLE))
    assert np.max(np.abs(got - expected[:, :2])) > 0.01 * np.max(np.abs(expected))


def test_identities_of_the_pieces_hold_in_the_space_of_the_bands():
    pieces = js.spin_hall_pieces(PART, GRID, LEVELS)
    assert all(value < 1e-10 * largest(pieces.J1) for value in pieces.residuals.values())


@pytest.mark.study
def test_covariant_derivative_has_the_external_terms():
    k = jnp.array([0.3, -0.7])
    velocity = js.covariant_derivative(TURNED, TURNED)(k)
    assert_same(np.abs(velocity), np.abs(js.bands(TURNED, k).velocity))
    spin = lambda s: lambda k: TURNED.spin_at(k[:, None])[s, :, :, 0]  # noqa: E731
    for s in range(3):  # an operator that is the same everywhere, in a complete basis
        np.testing.assert_allclose(js.covariant_derivative(spin(s), TURNED)(k), 0, atol=1e-12)


@pytest.mark.study
def test_every_way_of_summing_has_them(tmp_path):
    mesh, levels = js.Grid((6, 6)), js.Levels([0.2], temperature=800.0)
    expected = js.anomalous_hall(WHOLE, mesh, levels).value
    kept = js.anomalous_hall(PART, mesh, levels, checkpoint=tmp_path / "hall.npz").value
    assert_same(kept, expected)
    models = jax.tree.map(lambda x: jnp.stack([x, x]), eqx.filter(PART, eqx.is_array))
    static = eqx.filter(PART, eqx.is_array, inverse=True)
    hall = lambda m: js.anomalous_hall(eqx.combine(m, static), mesh, levels).value  # noqa: E731
    assert_same(jax.vmap(hall)(models)[1], expected)
    refined = js.Adaptive(mesh, rtol=1e-4)
    got, fine = (js.anomalous_hall(m, refined, levels).value for m in (PART, WHOLE))
    assert_same(got, fine, 1e-3)


def traces(bands):
    """What is the same in every gauge, with the curvature from beyond the basis."""
    return (*gauge_invariant(bands), jnp.einsum("pmmk->pmk", bands.external_curvature))


def test_box_and_scattered_points_agree(form):
    u = [jnp.linspace(0.1, 0.5, 3), jnp.linspace(-0.3, 0.3, 4)]
    points = jnp.stack([x.ravel() for x in jnp.meshgrid(*u, indexing="ij")])
    k = reciprocal_vectors(PART.lattice).T @ points
    got = traces(solve_bands(PART, k, Covariant(), box=u, external_curvature=True))
    for a, b in zip(
        got, traces(solve_bands(PART, k, Covariant(), external_curvature=True)), strict=True
    ):
        assert_same(a, b)


def test_site_phases_are_a_choice_of_basis():
    """With the whole position operator given, centres only name the phases of the basis."""
    k = jnp.asarray(np.random.default_rng(2).normal(size=(2, 6)))
    moved = eqx.tree_at(lambda m: m.centres, PART, jnp.zeros_like(PART.centres))
    here, there = (
        traces(solve_bands(m, k, Covariant(), external_curvature=True)) for m in (PART, moved)
    )
    for a, b in zip(here, there, strict=True):
        assert_same(a, b)


def test_origin_is_free():
    home, shift = PART.cells.index((0, 0)), np.array([0.3, -1.1])
    moved = eqx.tree_at(
        lambda m: (m.centres, m.position),
        PART,
        (
            PART.centres + shift,
            PART.position.at[home].add(shift[:, None, None] * np.eye(2)),
        ),
    )
    k = jnp.asarray(np.random.default_rng(2).normal(size=(2, 6)))
    here, there = (
        traces(solve_bands(m, k, Covariant(), external_curvature=True)) for m in (PART, moved)
    )
    for a, b in zip(here, there, strict=True):
        assert_same(a, b)


def test_periodic_in_the_reciprocal_lattice():
    k = jnp.asarray(np.random.default_rng(2).normal(size=(2, 6)))
    step = reciprocal_vectors(PART.lattice)[0][:, None]
    here, there = (
        traces(solve_bands(PART, q, Covariant(), external_curvature=True)) for q in (k, k + step)
    )
    for a, b in zip(here, there, strict=True):
        assert_same(a, b)


def test_velocity_is_that_of_a_numpy_loop():
    """v = U†∂HU + i(ε_m − ε_n) A and the spin, with site phases written out term by term."""
    k = np.random.default_rng(4).normal(size=2)
    n, cells = 4, np.array(TURNED.cells) @ np.asarray(TURNED.vectors)
    h, a, s = np.zeros((n, n), complex), np.zeros((2, n, n), complex), np.zeros((3, n, n), complex)
    slopes = np.zeros((2, n, n), complex)
    tau = np.asarray(TURNED.centres)
    for i, r in enumerate(cells):
        for m in range(n):
            for l in range(n):
                step = r + tau[l] - tau[m]
                wave = np.exp(1j * k @ step)
                h[m, l] += wave * TURNED.blocks[i, m, l]
                slopes[:, m, l] += 1j * step * wave * TURNED.blocks[i, m, l]
                a[:, m, l] += wave * TURNED.position[i, :, m, l]
                s[:, m, l] += wave * TURNED.spin_operator[i, :, m, l]
    a -= np.stack([np.diag(t) for t in tau.T])
    energies, u = np.linalg.eigh(h)
    turned = lambda x: u.conj().T @ x @ u  # noqa: E731
    v = turned(slopes) + 1j * (energies[:, None] - energies[None, :]) * turned(a)
    got = solve_bands(TURNED, jnp.asarray(k)[:, None], Covariant())
    phase = np.exp(1j * np.angle(np.diag(u.conj().T @ got.basis[..., 0])))
    np.testing.assert_allclose(got.energies[:, 0], energies, atol=1e-12)
    for mine, theirs in ((got.velocity, v), (got.spin, turned(s))):
        np.testing.assert_allclose(mine[..., 0], phase.conj()[:, None] * theirs * phase, atol=1e-11)


def test_derivatives_by_the_position_elements():
    def hall(scale):
        model = eqx.tree_at(lambda m: m.position, TURNED, scale * TURNED.position)
        return js.anomalous_hall(model, GRID, LEVELS).value[1, 0, 1]

    value, slope = jax.jvp(hall, (1.0,), (1.0,))
    difference = (hall(1.0 + 1e-5) - hall(1.0 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, difference, rtol=1e-7, atol=1e-7 * abs(float(value)))


def zeeman(strength):
    """A term on every orbital, in the basis of TURNED."""
    matrix = strength * np.kron(PAULI[3], np.eye(2))
    return js.HoppingModel(TURNED.vectors, [(0, 0)], [matrix], TURNED.centres, spin=None)


@pytest.mark.study
def test_sum_keeps_the_operators_of_the_first():
    home = TURNED.cells.index((0, 0))
    added = np.asarray(zeeman(0.3).blocks[0])
    merged = eqx.tree_at(lambda m: m.blocks, TURNED, TURNED.blocks.at[home].add(added))
    for model in (TURNED + zeeman(0.3), 2.0 * (0.5 * TURNED + 0.5 * zeeman(0.3))):
        got, expected = (js.anomalous_hall(m, GRID, LEVELS) for m in (model, merged))
        assert_same(got.value, expected.value)
    with pytest.raises(ValueError, match="must not have elements of the position operator"):
        zeeman(0.3) + TURNED


def test_another_spin_operator():
    operator = random_hermitian(np.random.default_rng(0), 3, 4, 4)
    home = TURNED.cells.index((0, 0))
    blocks = jnp.zeros_like(TURNED.spin_operator).at[home].set(operator)
    # The operator of WithSpin is the same in the basis with site phases, at centres all alike.
    same_place = eqx.tree_at(lambda m: m.centres, TURNED, jnp.zeros_like(TURNED.centres))
    model = js.models.WithSpin(same_place, operator)
    merged = eqx.tree_at(lambda m: m.spin_operator, same_place, blocks)
    got, expected = (js.equilibrium_spin_current(m, GRID, LEVELS).total for m in (model, merged))
    assert_same(got.value, expected.value)


def test_what_states_beyond_contribute_is_not_guessed():
    for quantity in (js.orbital_moment, js.quantum_metric):
        with pytest.raises(ValueError, match="must have no elements of the position operator"):
            quantity(TURNED, np.zeros(2))
        quantity(TURNED.without_external_terms(), np.zeros(2))


def arguments(**change):
    cells = [(0, 0), (1, 0), (-1, 0)]
    hop = np.array([[0.1, 0.2], [0.3j, 0.4]])
    blocks = np.array([np.diag([1.0, -1.0]), hop, hop.conj().T])
    centres = np.array([[0.0, 0.0], [0.5, 0.25]])
    position = np.zeros((3, 2, 2, 2), complex)
    position[0, 0] = np.diag(centres[:, 0])
    position[0, 1] = np.diag(centres[:, 1])
    spin = np.zeros((3, 3, 2, 2), complex)
    spin[0] = PAULI[1:]
    given = {
        "lattice": np.eye(2),
        "cells": cells,
        "blocks": blocks,
        "centres": centres,
        "spin": spin,
        "position": position,
    }
    return given | change


def changed(name, index, value):
    array = np.array(arguments()[name])
    array[index] = value
    return {name: array}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {
                "cells": [(2, 0), (1, 0), (-1, 0), (-2, 0)],
                "blocks": np.zeros((4, 2, 2)),
                "spin": None,
                "position": np.zeros((4, 2, 2, 2)),
            },
            r"`cells` must hold the home cell \(0, 0\)",
        ),
        ({"position": np.zeros((3, 2, 2, 3))}, r"`position` must have shape \(3, 2, 2, 2\)"),
        ({"spin": np.zeros((2, 3, 2, 2))}, r"`spin` must have shape \(3, 2, 2\) or \(3, 3, 2, 2\)"),
        (
            changed("position", (1, 0, 0, 1), 0.2),
            r"`position` must obey r\(-R\) = r\(R\)\^dagger.*0.2 Angstrom",
        ),
        (
            changed("spin", (1, 0, 0, 1), 0.2),
            r"`spin` must obey S\(-R\) = S\(R\)\^dagger.*0.2 hbar/2",
        ),
        (
            changed("position", (0, 0, 1, 1), 0.9),
            "must have the centres on the diagonal.*0.4 Angstrom",
        ),
        (changed("position", (0, 0, 1, 1), np.nan), "`position` must be finite"),
    ],
)
def test_bad_input(change, message):
    js.HoppingModel(**arguments())
    with pytest.raises(ValueError, match=message):
        js.HoppingModel(**arguments(**change))


def test_spin_that_depends_on_k_has_no_constant_matrix():
    with pytest.raises(ValueError, match="depends on k"):
        TURNED.spin()
    home_only = js.HoppingModel(**arguments())
    np.testing.assert_allclose(home_only.spin_at(jnp.zeros((2, 1)))[..., 0], PAULI[1:], atol=1e-15)
