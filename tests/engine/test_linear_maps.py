"""Linear maps with a transpose of their own, and products that are differentiated backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxspin.engine.bilinear import differentiating_backwards
from jaxspin.engine.linear_maps import LinearMap
from jaxspin.engine.small_matrices import _multiply, _Turn, diagonal_of_product, sandwich

SQUARED = 2.0 + np.arange(3)


def squares(x):
    """x² by a map of tangents; the transpose says that it was called by a factor 1 + 1e-9."""
    forward = lambda known, moved: [2 * known[0] * moved[0]]  # noqa: E731
    backward = lambda known, ct: [2 * (1 + 1e-9) * known[0] * ct[0]]  # noqa: E731

    @jax.custom_jvp
    def square(x):
        return x**2

    @square.defjvp
    def rule(primals, tangents):
        kind = (jax.typeof(primals[0]),)
        return square(*primals), LinearMap(forward, backward, kind, kind, 2)(
            list(primals), list(tangents)
        )[0]

    return square(x)


def test_transformations_of_a_linear_map():
    total = lambda x: jnp.sum(squares(x))  # noqa: E731
    np.testing.assert_array_equal(jax.jacfwd(total)(SQUARED), 2 * SQUARED)
    np.testing.assert_array_equal(jax.grad(total)(SQUARED), 2 * (1 + 1e-9) * SQUARED)
    many = jnp.stack([SQUARED, 3 * SQUARED])
    np.testing.assert_array_equal(jax.vmap(jax.grad(total))(many), 2 * (1 + 1e-9) * many)
    np.testing.assert_allclose(jax.jacrev(squares)(SQUARED), np.diag(2 * SQUARED), rtol=1e-8)
    for hessian in (jax.hessian(total), jax.jacfwd(jax.jacfwd(total)), jax.jacrev(jax.grad(total))):
        np.testing.assert_allclose(hessian(SQUARED), 2 * np.eye(3), rtol=1e-8)
    by_complex = jax.grad(lambda z: jnp.sum(squares(z.real * z.imag)))(jnp.array([1.0 + 2.0j]))
    np.testing.assert_allclose(by_complex, [8.0 - 4.0j], rtol=1e-8)


def random_complex(rng, *shape):
    return jnp.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))


TURNS = [_Turn(t, c) for t in (False, True) for c in (False, True)]


@pytest.mark.parametrize("first", TURNS)
@pytest.mark.parametrize("second", TURNS)
def test_transposes_of_products(first, second, rng):
    """As JAX differentiates a plain product, with real factors and broadcast axes too."""
    plain = lambda a, b: jnp.einsum("...nlk,...lmk->...nmk", first(a), second(b))  # noqa: E731
    ours = lambda a, b: _multiply(a, b, turns=(first, second))  # noqa: E731
    for a in (random_complex(rng, 2, 3, 3, 5), random_complex(rng, 3, 3, 5).real):
        b = random_complex(rng, 2, 3, 3, 5)
        (value, pull), (expected, expected_pull) = (jax.vjp(f, a, b) for f in (ours, plain))
        np.testing.assert_allclose(value, expected, atol=1e-13)
        ct = random_complex(rng, *value.shape)
        for x, y in zip(pull(ct), expected_pull(ct), strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_allclose(x, y, atol=1e-12)


def test_functions_made_for_reverse_mode_are_the_same(rng):
    u, a = random_complex(rng, 3, 3, 5), random_complex(rng, 2, 3, 3, 5)

    def value(u, a):
        turned = sandwich(u, a)
        return jnp.sum(jnp.abs(diagonal_of_product(turned, u)) ** 2)

    expected = jax.grad(value, argnums=(0, 1))(u, a)
    with differentiating_backwards():
        found = jax.grad(value, argnums=(0, 1))(u, a)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11)
