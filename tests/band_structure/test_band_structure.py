"""`js.bands`: every property of a batch of k is that of each k alone, for any shape of batch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin import models

K = np.array([0.31, -0.47])  # in no symmetry plane
MODELS = {
    "two bands": models.QiWuZhang(A=1.0, m=-1.0),
    "pairs": models.BernevigHughesZhang(u=-1.0, A=1.0, C=0.3),
    "four bands": models.KaneMele(1.0, 1.0, 0.3, 0.25),
    "one band": models.HoppingModel(
        np.eye(2), [[1, 0], [-1, 0]], 0.5 * np.ones((2, 1, 1)), np.zeros((1, 2)), None
    ),
}
#: As many k as bands or directions, one, none, several axes.
BATCHES = ((), (1,), (2,), (4,), (2, 3), (0,))
GAUGE_INVARIANT = ("energies", "levels", "degenerate", "groups", "gap", "inverse_gap", "splitting")
GAUGE_INVARIANT += ("berry_curvature",)
MATRICES = ("velocity", "spin", "berry_connection", "connection", "active_connection")


def wave_vectors(batch):
    return K + 0.1 * np.random.default_rng(3).normal(size=(*batch, 2))


def in_orbitals(bands, matrix):
    """U M U†, which does not depend on the basis inside a degenerate group."""
    u = bands.basis.reshape(
        *bands.energies.shape[:-1],
        *(1,) * (matrix.ndim - bands.basis.ndim),
        *bands.basis.shape[-2:],
    )
    return u @ matrix @ jnp.conj(jnp.swapaxes(u, -1, -2))


@eqx.filter_jit
def properties(bands) -> dict[str, jax.Array]:
    """All that a `BandStructure` says which no choice of basis changes."""
    found = {name: getattr(bands, name) for name in GAUGE_INVARIANT}
    matrices = {name: getattr(bands, name) for name in MATRICES}
    matrices["inside"] = bands.intraband(bands.velocity)
    matrices["between"] = bands.interband(bands.velocity)
    present = {name: matrix for name, matrix in matrices.items() if matrix is not None}
    return found | {name: in_orbitals(bands, matrix) for name, matrix in present.items()}


def assert_each_alone(model, k, found):
    for place in np.ndindex(k.shape[:-1]):
        for name, value in properties(js.bands(model, k[place])).items():
            np.testing.assert_allclose(found[name][place], value, atol=1e-11, err_msg=name)


CASES = [("pairs", batch) for batch in BATCHES]
CASES += [("two bands", (2,)), ("four bands", (4,)), ("one band", (2, 3)), ("one band", ())]


@pytest.mark.parametrize(("name", "batch"), CASES, ids=str)
def test_batch_equals_each_k_alone(name, batch):
    model, k = MODELS[name], wave_vectors(batch)
    found = properties(js.bands(model, k))
    assert all(value.shape[: len(batch)] == batch for value in found.values())
    assert_each_alone(model, k, found)


@pytest.mark.parametrize("name", ["two bands", "pairs"])
def test_vmap_and_jit_add_axes_in_front(name):
    model, k = MODELS[name], wave_vectors((2, 2, 3))
    bands = jax.jit(jax.vmap(js.bands, in_axes=(None, 0)))(model, k)  # of shape (2, 3) inside
    assert bands.energies.shape[:-1] == (2, 2, 3)
    assert_each_alone(model, k, properties(bands))


def test_numbers_of_a_massive_dirac_cone():
    """Splitting 2ε and curvature ∓v²m/2ε³ with ε² = v²k² + m²; closed forms."""
    v, m, k = 3.3, 0.05, np.array([[0.01, 0.02], [0.03, -0.01]])
    bands = js.bands(models.MassiveDirac(velocity=v, mass=m), k)
    energy = np.sqrt(v**2 * np.sum(k**2, axis=1) + m**2)
    np.testing.assert_allclose(bands.splitting, 2 * energy, rtol=1e-13)
    upper = bands.berry_curvature[:, 1, 0, 1]
    np.testing.assert_allclose(np.abs(upper), v**2 * m / (2 * energy**3), rtol=1e-12)
    np.testing.assert_allclose(bands.berry_curvature[:, 0, 0, 1], -upper, rtol=1e-12)


def test_groups_at_degenerate_bands():
    bands = js.bands(MODELS["pairs"], wave_vectors((4,)))
    np.testing.assert_array_equal(bands.groups, [[0, 0, 1, 1]] * 4)
    assert float(jnp.max(jnp.abs(bands.intraband(bands.berry_connection)))) == 0


def test_operator_without_the_axes_of_the_batch():
    bands = js.bands(MODELS["two bands"], wave_vectors((2,)))
    for operator in (np.eye(2), np.ones((3, 2, 2)), np.ones((2, 3))):
        with pytest.raises(ValueError, match="`operator` must have the k axes"):
            bands.intraband(operator)


def test_prints_itself():
    bands = js.bands(MODELS["pairs"], wave_vectors((4,)))
    assert repr(bands).startswith("4 bands at 4 k\n  energies ")
    assert "smallest splitting" in repr(bands)
    one, none = (jax.tree.map(lambda x, part=part: x[part], bands) for part in (0, slice(0)))
    assert repr(one).startswith("4 bands at one k\n")
    assert repr(none) == "4 bands at 0 k"
    texts = []
    jax.jit(lambda bands: texts.append(repr(bands)))(bands)
    assert texts == ["4 bands at 4 k"]
