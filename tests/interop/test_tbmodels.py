"""Agreement with TBmodels, and models there and back."""

import sys

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from systems import random_hermitian, random_hopping

from jaxspin.engine.small_matrices import PAULI
from jaxspin.interop.tbmodels import from_tbmodels, to_tbmodels
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.tight_binding import HoppingModel

tbmodels = pytest.importorskip("tbmodels")

SPIN = [np.kron(np.eye(2), sigma) for sigma in PAULI[1:]]


def random_model(d):
    """Four states anywhere, two a site and some outside of the home cell, in d dimensions."""
    rng = np.random.default_rng(d)
    hop = {(0,) * d: random_hermitian(rng, 4, 4) / 2}
    for _ in range(5):
        cell = tuple(rng.integers(-2, 3, size=d).tolist())
        if any(cell):
            hop[cell] = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    return tbmodels.Model(
        hop=hop,
        pos=np.repeat(rng.uniform(-1, 2, size=(2, d)), 2, axis=0),
        uc=np.eye(d) + 0.2 * rng.random((d, d)),
        contains_cc=False,
    )


MODELS = {
    **{f"{d}D": random_model(d) for d in (1, 2, 3)},
    "sites alone": tbmodels.Model(
        on_site=[1, -1], pos=[[0.1], [0.2]], uc=[[2.0]], hop={(1,): np.zeros((2, 2))}
    ),
}


def random_k(tb):
    return np.random.default_rng(7).uniform(-2, 2, size=(6, tb.dim))


def hamiltonian(model, k):
    """Our H(k), k in reduced coordinates."""
    return model(jnp.asarray(k) @ reciprocal_vectors(model.lattice))


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def tb(request):
    return request.param


def test_same_matrix(tb):
    model = from_tbmodels(tb)
    for k in random_k(tb):
        expected = tb.hamilton(k, convention=1)
        np.testing.assert_allclose(hamiltonian(model, k), expected, atol=1e-12)


def test_same_energies(tb):
    model = from_tbmodels(tb)
    k = random_k(tb)
    for point, energies in zip(k, tb.eigenval(k), strict=True):
        mine = jnp.linalg.eigvalsh(hamiltonian(model, point))
        np.testing.assert_allclose(mine, energies, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_other_phases_are_noticed(d):
    """The opposite sign of k, and the convention without the positions."""
    tb = MODELS[f"{d}D"]
    k = random_k(tb)[0]
    h = hamiltonian(from_tbmodels(tb), k)
    assert np.max(np.abs(h - tb.hamilton(-k, convention=1))) > 0.1
    assert np.max(np.abs(h - tb.hamilton(k, convention=2))) > 0.1


def test_there_and_back(tb):
    back = to_tbmodels(from_tbmodels(tb))
    for k in random_k(tb):
        for convention in (1, 2):
            np.testing.assert_allclose(
                back.hamilton(k, convention=convention),
                tb.hamilton(k, convention=convention),
                atol=1e-12,
            )


def moved(model):
    """The same H(k), with the first two orbitals listed in another cell, and rounded to 1e-7 eV."""
    off = np.zeros((len(model.centres), 2), int)
    off[:2] = (2, -1)
    blocks = {}
    for cell, block in zip(model.cells, np.round(model.blocks, 7), strict=True):
        for (m, n), amplitude in np.ndenumerate(block):
            key = tuple((np.array(cell) + off[m] - off[n]).tolist())
            blocks.setdefault(key, np.zeros_like(block))[m, n] += amplitude
    centres = model.centres + off @ model.vectors
    return HoppingModel(
        model.vectors, list(blocks), list(blocks.values()), centres, model.spin_operator
    )


@pytest.mark.parametrize("change", [lambda model: model, moved], ids=["as it is", "moved"])
def test_back_and_there(change):
    """The spin operator takes the way around TBmodels."""
    model = change(random_hopping(4, 2, seed=3))
    again = from_tbmodels(to_tbmodels(model), spin=model.spin())
    for k in random_k(MODELS["2D"]):
        np.testing.assert_allclose(hamiltonian(again, k), hamiltonian(model, k), atol=1e-12)
    np.testing.assert_array_equal(again.spin(), model.spin())


def test_blocks_off_hermiticity_by_the_rounding_of_a_file():
    model = random_hopping(4, 2, seed=3)
    noise = 1e-7 * np.random.default_rng(0).normal(size=model.blocks.shape)
    noisy = eqx.tree_at(lambda model: model.blocks, model, model.blocks + noise)
    tb, k = to_tbmodels(noisy), [0.3, 0.4]
    np.testing.assert_allclose(tb.hamilton(k, convention=1), hamiltonian(noisy, k), atol=1e-12)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_sparse_matrices():
    """With NumPy 2 TBmodels warns of its own sparse matrices; reading them does not."""
    tb = random_model(2)
    tb.set_sparse()
    k = random_k(tb)[0]
    expected = tb.hamilton(k, convention=1)
    np.testing.assert_allclose(hamiltonian(from_tbmodels(tb), k), expected, atol=1e-12)


def test_file(tmp_path):
    tb = MODELS["2D"]
    tbmodels.io.save(tb, str(tmp_path / "model.hdf5"))
    k = random_k(tb)[0]
    for path in (tmp_path / "model.hdf5", str(tmp_path / "model.hdf5")):
        expected = tb.hamilton(k, convention=1)
        np.testing.assert_allclose(hamiltonian(from_tbmodels(path), k), expected, atol=1e-12)


def test_spin_comes_from_the_user():
    tb = MODELS["2D"]
    np.testing.assert_array_equal(from_tbmodels(tb, spin=SPIN).spin(), SPIN)
    with pytest.raises(ValueError, match="no spin operator"):
        from_tbmodels(tb).spin()


def test_spin_in_another_order_is_refused():
    """The orbitals of a site are two and two, so that (spin, orbital) couples sites."""
    with pytest.raises(ValueError, match="must not couple orbitals at different places"):
        from_tbmodels(MODELS["2D"], spin=[np.kron(sigma, np.eye(2)) for sigma in PAULI[1:]])


def test_models_without_a_unit_cell_are_refused():
    with pytest.raises(ValueError, match=r"must have a unit cell.*set its `uc`"):
        from_tbmodels(tbmodels.Model(on_site=[1.0], dim=2))


def test_other_objects_are_refused():
    with pytest.raises(ValueError, match=r"must be a `tbmodels.Model`.*but is a dict"):
        from_tbmodels({})


@pytest.mark.parametrize("call", [from_tbmodels, to_tbmodels])
def test_missing_package(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "tbmodels", None)
    with pytest.raises(ImportError, match="pip install tbmodels"):
        call(random_hopping(4, 2, seed=3))
