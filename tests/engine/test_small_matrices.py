"""Spin matrices and small-matrix products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import random_hermitian

from jaxspin.engine.small_matrices import (
    PAULI,
    Constant,
    anticommutator,
    commutator,
    dagger,
    diagonal_of_product,
    invert_in_loop,
    is_traced,
    matmul,
    on_device,
    spin_matrices,
    transpose,
)


@pytest.mark.parametrize("twice_spin", range(1, 8))
def test_spin_algebra(twice_spin):
    """[S_a, S_b] = 2i ε_abc S_c, S·S = 4J(J+1), S_z = 2J, 2J - 2, ..., in units of ħ/2."""
    s = spin_matrices(twice_spin)
    for a, b, c in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]:
        np.testing.assert_allclose(s[a] @ s[b] - s[b] @ s[a], 2j * s[c], atol=1e-13)
    casimir = twice_spin * (twice_spin + 2) * np.eye(twice_spin + 1)
    np.testing.assert_allclose(sum(m @ m for m in s), casimir, atol=1e-12)
    np.testing.assert_array_equal(s[2].diagonal(), np.arange(twice_spin, -twice_spin - 1, -2))
    np.testing.assert_array_equal(s, s.conj().swapaxes(1, 2))


def test_spin_one_half_is_pauli():
    np.testing.assert_array_equal(spin_matrices(1), PAULI[1:])


@pytest.mark.parametrize("bad", [0, -1, 1.0, 0.5, "1"])
def test_bad_spin(bad, unchecked_annotations):
    with pytest.raises(ValueError, match=r"Argument `twice_spin` must be a positive integer"):
        spin_matrices(bad)


@pytest.mark.parametrize("n", [2, 4, 12])
def test_products_carry_the_k_axis(n, rng):
    """12 is beyond the size up to which the sum is written out."""
    a = random_hermitian(rng, 3, 5, n, n)
    b = random_hermitian(rng, 5, n, n)
    tile = [jnp.moveaxis(jnp.asarray(x), -3, -1) for x in (a, b)]
    for function, expected in [
        (matmul, a @ b),
        (commutator, a @ b - b @ a),
        (anticommutator, a @ b + b @ a),
    ]:
        np.testing.assert_allclose(np.moveaxis(function(*tile), -1, -3), expected, atol=1e-12)
    diagonal = np.einsum("ckmn,knm->cmk", a, b)
    np.testing.assert_allclose(diagonal_of_product(*tile), diagonal, atol=1e-12)


def test_dagger_and_transpose(rng):
    a = jnp.asarray(rng.normal(size=(2, 3, 4)) + 1j * rng.normal(size=(2, 3, 4)))
    np.testing.assert_array_equal(transpose(a)[..., 1], a[..., 1].T)
    np.testing.assert_array_equal(dagger(a)[..., 1], a[..., 1].conj().T)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_inverse_on_a_gpu_is_that_of_numpy(size, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    matrix = np.random.default_rng(size).normal(size=(size, size))
    np.testing.assert_allclose(
        invert_in_loop(jnp.asarray(matrix)), np.linalg.inv(matrix), rtol=1e-12
    )


def test_numbers_on_the_device_are_copies():
    """One number takes another way than arrays; neither shares the memory of the user's."""
    room = np.zeros(64 + 24, np.uint8)
    number, array = np.array(1.5), room[-room.ctypes.data % 64 :][:24].view(float)  # aligned
    array[...] = 1.0
    placed = on_device({"number": number, "array": array})
    number[...], array[...] = 7.0, 7.0
    assert placed["number"] == 1.5
    assert placed["number"].shape == ()
    assert not placed["number"].weak_type
    assert placed["array"].tolist() == [1.0, 1.0, 1.0]


def test_constant_is_known_inside_a_users_jit():
    constant = Constant(np.eye(2))

    def trace_of(x):
        assert not is_traced(constant.array)
        return x * np.trace(np.asarray(constant.array))

    assert jax.jit(trace_of)(3.0) == 6.0
    assert constant.array is constant.array
