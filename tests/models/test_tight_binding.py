"""HoppingModel: H(k) from blocks, its gauge, its derivatives, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxspin.engine.small_matrices import PAULI
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.tight_binding import HoppingModel

LATTICE = np.array([[1.3, 0.1, 0.0], [0.4, 1.1, -0.2], [0.1, 0.3, 2.0]])
CELLS = [(0, 0, 0), (1, 0, 0), (-1, 0, 0), (1, -2, 1), (-1, 2, -1)]
K = jnp.array([0.3, -1.1, 0.7])


def arguments(seed=0, n=4):
    """Blocks of random numbers, three-dimensional, with spin."""
    rng = np.random.default_rng(seed)
    draw = rng.normal(size=(3, n, n)) + 1j * rng.normal(size=(3, n, n))
    home, first, second = draw
    return {
        "lattice": LATTICE,
        "cells": CELLS,
        "blocks": np.array([home + home.conj().T, first, first.conj().T, second, second.conj().T]),
        "centres": np.repeat(rng.normal(size=(n // 2, 3)), 2, axis=0),
        "spin": [np.kron(np.eye(n // 2), sigma) for sigma in PAULI[1:]],
    }


@pytest.fixture
def model():
    return HoppingModel(**arguments())


def double_loop(model, k):
    """The definition, term by term."""
    h = np.zeros(model.blocks.shape[1:], complex)
    for cell, block in zip(model.cells, np.asarray(model.blocks), strict=True):
        for m, n in np.ndindex(h.shape):
            step = cell @ LATTICE + np.asarray(model.centres[n] - model.centres[m])
            h[m, n] += np.exp(1j * (step @ k)) * block[m, n]
    return h


def test_is_the_definition(model):
    np.testing.assert_allclose(model(K), double_loop(model, np.asarray(K)), atol=1e-13)


def test_is_hermitian(model):
    h = np.asarray(model(K))
    np.testing.assert_allclose(h, h.conj().T, atol=1e-13)


def test_wrong_phase_sign_is_noticed(model):
    assert np.max(np.abs(model(K) - double_loop(model, -np.asarray(K)))) > 0.1


def test_reciprocal_vector_is_a_change_of_gauge(model):
    shift = jnp.array([1, -2, 1]) @ reciprocal_vectors(model.lattice)
    gauge = jnp.diag(jnp.exp(-1j * (model.centres @ shift)))
    np.testing.assert_allclose(model(K + shift), gauge @ model(K) @ gauge.conj(), atol=1e-12)


def test_half_a_reciprocal_vector_is_not(model):
    shift = jnp.array([0.5, 0, 0]) @ reciprocal_vectors(model.lattice)
    spectra = [jnp.linalg.eigvalsh(model(k)) for k in (K, K + shift)]
    assert np.max(np.abs(spectra[0] - spectra[1])) > 0.1


def test_origin_shift_leaves_the_matrix(model):
    inputs = arguments() | {"centres": arguments()["centres"] + [0.3, -0.4, 0.2]}
    np.testing.assert_allclose(HoppingModel(**inputs)(K), model(K), atol=1e-13)


def test_moving_an_orbital_to_another_cell_is_a_change_of_labels(model):
    """Orbital 0 named by its image in the cell (1, 0, 0): H_0n(R) moves to R + that cell."""
    step = np.array([1, 0, 0])
    blocks = {}
    for cell, block in zip(model.cells, np.asarray(model.blocks), strict=True):
        for m, n in np.ndindex(block.shape):
            moved = tuple(np.array(cell) + step * ((m == 0) - (n == 0)))
            blocks.setdefault(moved, np.zeros_like(block))[m, n] += block[m, n]
    centres = np.array(model.centres)
    centres[0] += step @ LATTICE
    other = HoppingModel(LATTICE, list(blocks), list(blocks.values()), centres, spin=None)
    np.testing.assert_allclose(other(K), model(K), atol=1e-13)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_every_dimension(d):
    cells = [[1] + [0] * (d - 1), [-1] + [0] * (d - 1)]
    model = HoppingModel(np.eye(d), cells, -np.ones((2, 1, 1)), np.zeros((1, d)), spin=None)
    k = jnp.linspace(0.3, 1.0, d)
    assert model.dimension == d
    np.testing.assert_allclose(model(k), [[-2 * np.cos(0.3)]], atol=1e-14)


def test_derivative_by_k(model):
    gradient, step = jax.jacfwd(model)(K), 1e-5 * jnp.eye(3)
    for i in range(3):
        difference = (model(K + step[i]) - model(K - step[i])) / 2e-5
        np.testing.assert_allclose(gradient[..., i], difference, atol=1e-8)


def test_derivative_by_a_parameter(model):
    """dE/ds of the model with all blocks scaled by s is E, at s = 1."""

    def energies(scale):
        scaled = HoppingModel(**arguments() | {"blocks": scale * model.blocks})
        return jnp.linalg.eigvalsh(scaled(K))

    np.testing.assert_allclose(jax.jacfwd(energies)(1.0), energies(1.0), atol=1e-12)


def test_derivative_by_a_centre_is_a_phase(model):
    """Moving all of orbital 0 by δ turns the gauge: dH = iδ·k [H, P_0]."""
    projector = jnp.diag(jnp.array([1.0, 0, 0, 0]))

    def moved(x):
        centres = model.centres.at[0].add(x * jnp.array([1.0, 0, 0]))
        return HoppingModel(**arguments() | {"centres": centres})(K)

    h = model(K)
    np.testing.assert_allclose(
        jax.jacfwd(moved)(0.0), 1j * K[0] * (h @ projector - projector @ h), atol=1e-12
    )


def test_equal_models_compile_once(model):
    traces = []

    @jax.jit
    def hamiltonian(model, k):
        traces.append(None)
        return model(k)

    hamiltonian(model, K)
    hamiltonian(HoppingModel(**arguments(seed=1)), K)
    assert len(traces) == 1


def test_batch_of_k(model):
    k = jnp.array(np.random.default_rng(2).normal(size=(5, 3)))
    batch = jax.vmap(model)(k)
    np.testing.assert_allclose(batch[3], model(k[3]), atol=1e-13)


def test_model_without_spin_has_charge_only():
    model = HoppingModel(**arguments() | {"spin": None})
    assert model(K).shape == (4, 4)
    with pytest.raises(ValueError, match="no spin operator"):
        model.spin()


def changed(name, index, value):
    array = np.array(arguments()[name])
    array[index] = value
    return {name: array}


BAD = {
    "flat cell": ({"lattice": np.ones((3, 3))}, "`lattice` must span a volume"),
    "not square": ({"lattice": np.ones((2, 3))}, "`lattice` must have shape"),
    "lattice nan": (changed("lattice", (1, 1), np.nan), r"`lattice` must be finite.*\(1, 1\)"),
    "cells of 2D": ({"cells": np.array(CELLS)[:, :2]}, r"`cells` must have shape \(r, 3\)"),
    "no cells": ({"cells": np.zeros((0, 3))}, r"`cells` must have shape \(r, 3\)"),
    "half a cell": ({"cells": np.array(CELLS) / 2}, r"`cells` must be integers.*\(0.5, 0.0, 0.0\)"),
    "repeated": (changed("cells", 3, CELLS[1]), r"not repeat a cell, but holds \(1, 0, 0\) 2"),
    "no partner": (changed("cells", 4, (5, 2, 1)), r"has \(1, -2, 1\) without \(-1, 2, -1\)"),
    "too few blocks": ({"blocks": arguments()["blocks"][1:]}, "`blocks` must have shape"),
    "blocks inf": (changed("blocks", (2, 0, 1), np.inf), r"`blocks` must be finite.*\(2, 0, 1\)"),
    "not Hermitian": (
        changed("blocks", (3, 1, 2), 7.0),
        r"`blocks` must obey H\(-R\) = H\(R\)\^dagger.* eV at R = \(1, -2, 1\)",
    ),
    "centres of 2D": ({"centres": np.zeros((4, 2))}, r"`centres` must have shape \(n, 3\)"),
    "centres flat": ({"centres": np.zeros(3)}, "`centres` must have shape"),
    "centres nan": (changed("centres", (2, 0), np.nan), "`centres` must be finite"),
    "one spin": ({"spin": arguments()["spin"][0]}, r"`spin` must have shape \(3, 4, 4\)"),
    "spin not Hermitian": (changed("spin", (0, 0, 1), 2.0), "`spin` must be three Hermitian"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        HoppingModel(**arguments() | change)


def test_spin_between_places_is_refused():
    spin = np.array(arguments()["spin"])
    spin[0, 1, 2] = spin[0, 2, 1] = 1e-3
    with pytest.raises(ValueError, match=r"`spin` must not couple .* the orbitals 1 and 2"):
        HoppingModel(**arguments() | {"spin": spin})
    HoppingModel(**arguments() | {"spin": spin, "centres": np.zeros((4, 3))})


def test_rounding_of_a_file_is_accepted(model):
    """Rounded to six decimals, with errors that are not Hermitian, H(k) is Hermitian and close."""
    noise = 1e-6 * np.random.default_rng(3).uniform(-1, 1, size=(5, 4, 4))
    h = np.asarray(HoppingModel(**arguments() | {"blocks": model.blocks + noise})(K))
    np.testing.assert_allclose(h, h.conj().T, atol=1e-15)
    np.testing.assert_allclose(h, model(K), atol=5e-6)


def test_traced_values_are_not_checked():
    jax.jit(lambda blocks: HoppingModel(**arguments() | {"blocks": blocks})(K))(
        jnp.full((5, 4, 4), jnp.nan)
    )
