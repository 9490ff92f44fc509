"""H(k) and its slopes on tiles and boxes: fast forms against the derivative of H at one k."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gauge import traces
from systems import random_hermitian

import jaxspin as js
from jaxspin.band_structure.bands import solve_bands
from jaxspin.band_structure.degeneracy import Covariant
from jaxspin.engine.small_matrices import PAULI
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models import bloch_sums
from jaxspin.models.base import lift_hamiltonian
from jaxspin.models.lifted import Points

SIDES = (2, 3, 5)
FORMS = ["by axes", "by cells"]


def random_model(n, d, reach, seed=0):
    """All cells of coordinates up to `reach`; for reach 0 only ±(2, -1, 1), without the home cell.

    Two orbitals a site, a cell that is not orthogonal.
    """
    rng = np.random.default_rng(seed)
    far = np.array([2, -1, 1])[:d]
    cells = np.array(list(np.ndindex(*d * (2 * reach + 1,)))) - reach if reach else [far, -far]
    blocks = rng.normal(size=(len(cells), n, n)) + 1j * rng.normal(size=(len(cells), n, n))
    site = np.arange(n) // 2
    return js.HoppingModel(
        lattice=np.eye(d) + 0.2 * rng.normal(size=(d, d)),
        cells=cells,
        blocks=blocks + blocks[::-1].conj().swapaxes(1, 2),
        centres=rng.uniform(size=(n, d))[site],
        spin=random_hermitian(rng, 3, n, n) * (site[:, None] == site),
    )


def box_and_points(model, seed=1):
    rng = np.random.default_rng(seed)
    u = [jnp.asarray(rng.uniform(size=size)) for size in SIDES[: model.dimension]]
    points = jnp.stack([x.ravel() for x in jnp.meshgrid(*u, indexing="ij")])
    return u, reciprocal_vectors(model.lattice).T @ points


def assert_same(got, expected, tolerance=1e-11):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * max(1, np.max(np.abs(b))))


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    monkeypatch.setattr(bloch_sums, "separable", lambda *_: request.param == "by axes")
    return request.param


CASES = [(n, d, reach) for d in (1, 2, 3) for n, reach in ((4, 0), (2, 1))]


@pytest.mark.parametrize(("n", "d", "reach"), CASES)
def test_tile_is_the_derivative(n, d, reach):
    model = random_model(n, d, reach)
    _, k = box_and_points(model)
    assert_same(model.lift(Points(k))[:2], lift_hamiltonian(model, k))


@pytest.mark.parametrize(("n", "d", "reach"), CASES)
def test_box_is_the_derivative_in_another_basis(form, n, d, reach):
    model = random_model(n, d, reach)
    u, k = box_and_points(model)
    phase = jnp.exp(1j * model.centres @ k)
    turned = [phase.conj()[:, None] * part * phase for part in model.lift(Points(k, u))[:2]]
    assert_same(turned, lift_hamiltonian(model, k))


@pytest.mark.parametrize("d", [2, 3])
def test_box_gives_the_same_bands(form, d):
    model = random_model(4, d, 1)
    u, k = box_and_points(model)
    got = solve_bands(model, k, Covariant(), box=u)
    assert_same(traces(got), traces(solve_bands(model, k, Covariant())))


def test_without_the_site_terms_the_velocity_is_another(form):
    """Negative control: with the centres at the origin their commutator with H is lost."""
    model = random_model(4, 2, 1)
    u, k = box_and_points(model)
    lost = eqx.tree_at(lambda m: m.centres, model, jnp.zeros_like(model.centres))
    got = traces(solve_bands(lost, k, Covariant(), box=u))
    expected = traces(solve_bands(model, k, Covariant()))
    assert_same(got[2:], expected[2:])
    assert np.max(np.abs(got[0] - expected[0])) > 0.1


@pytest.mark.parametrize("field", ["blocks", "centres", "vectors"])
def test_derivatives_by_parameters(form, field):
    """Reverse and forward mode through the box, against the plain form."""
    model = random_model(2, 2, 1)
    u, _ = box_and_points(model)
    reduced = jnp.stack([x.ravel() for x in jnp.meshgrid(*u, indexing="ij")])

    def points(changed):
        return reciprocal_vectors(changed.lattice).T @ reduced

    def size(lift, x):
        changed = eqx.tree_at(lambda m: getattr(m, field), model, x)
        h, slopes = lift(changed)
        return jnp.sum(jnp.abs(h) ** 2) + jnp.sum(jnp.abs(slopes) ** 2)

    x = getattr(model, field)
    plain = jax.grad(lambda x: size(lambda m: lift_hamiltonian(m, points(m)), x))(x)
    box = lambda x: size(lambda m: m.lift(Points(points(m), u))[:2], x)  # noqa: E731
    tile = lambda x: size(lambda m: m.lift(Points(points(m)))[:2], x)  # noqa: E731
    assert_same([jax.grad(box)(x), jax.grad(tile)(x)], [plain, plain])
    step = jnp.sin(jnp.arange(x.size)).reshape(x.shape).astype(x.dtype)
    slope = jnp.sum(plain * step).real
    np.testing.assert_allclose(jax.jvp(box, (x,), (step,))[1], slope, rtol=1e-10)


def test_vectorises_over_models(form):
    model = random_model(2, 2, 1)
    points = Points(*reversed(box_and_points(model)))
    changed = lambda s: eqx.tree_at(lambda m: m.blocks, model, s * model.blocks)  # noqa: E731
    scaled = jax.vmap(lambda s: changed(s).lift(points).hamiltonian)(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(scaled[1], 2 * model.lift(points).hamiltonian, atol=1e-12)


def test_made_of_others():
    """A sum of models that leave out different site phases, a multiple, another spin operator."""
    first, second = random_model(4, 2, 1), random_model(4, 2, 0)
    second = eqx.tree_at(lambda m: m.vectors, second, first.vectors)
    second = eqx.tree_at(lambda m: m.centres, second, 2 * second.centres)
    operator = random_hermitian(np.random.default_rng(5), 3, 4, 4)
    u, k = box_and_points(first)
    for model in (0.7 * first, first + second, js.models.WithSpin(first, operator)):
        assert_same(model.lift(Points(k))[:2], lift_hamiltonian(model, k))
        assert_same(
            traces(solve_bands(model, k, Covariant(), box=u)),
            traces(solve_bands(model, k, Covariant())),
        )


def test_default_box():
    model = js.models.KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25)
    u, k = box_and_points(model)
    assert_same(model.lift(Points(k, u))[:2], model.lift(Points(k))[:2])


def test_the_shorter_sum_is_taken():
    dense, sparse = random_model(2, 3, 2), random_model(2, 3, 0)
    assert bloch_sums.separable(dense.cells, [1, 8, 32])
    assert not bloch_sums.separable(sparse.cells, [1, 1, 4])


MATRIX_SUMS = {
    "topological insulator": js.models.TopologicalInsulator.bi2se3((0.1, 0.2, 0.3), warping=True),
    "Dirac": js.models.MassiveDirac(2.0, 0.1, warping=0.3, tilt=(0.1, -0.2)),
    "Rashba": js.models.Rashba(1.0, 0.5, 0.2),
}


@pytest.mark.parametrize("model", MATRIX_SUMS.values(), ids=MATRIX_SUMS.keys())
def test_matrix_sum_is_the_derivative(model):
    k = jnp.asarray(np.random.default_rng(0).normal(size=(model.dimension, 7)))
    assert_same(model.lift(Points(k))[:2], lift_hamiltonian(model, k), 1e-14)


def test_matrix_sum_is_the_formula():
    k = jnp.array([0.3, -0.7])
    one, x, y, z = PAULI
    expected = (k @ k) * one + 0.5 * (k[0] * y - k[1] * x) + 0.2 * z
    np.testing.assert_allclose(MATRIX_SUMS["Rashba"](k), expected, atol=1e-15)
    np.testing.assert_allclose(
        MATRIX_SUMS["Rashba"].lift(Points(k[:, None])).hamiltonian[..., 0], expected, atol=1e-15
    )


def test_matrix_sum_is_differentiable():
    k = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7)))
    size = lambda lift: jax.grad(lambda m: sum(jnp.sum(jnp.abs(x) ** 2) for x in lift(m, k)))  # noqa: E731
    model = MATRIX_SUMS["Dirac"]
    got, expected = size(lambda m, k: m.lift(Points(k))[:2])(model), size(lift_hamiltonian)(model)
    assert_same(jax.tree.leaves(got), jax.tree.leaves(expected))
