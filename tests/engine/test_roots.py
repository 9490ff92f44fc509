"""Roots in brackets, and cubic interpolation: polynomials and functions with known answers."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxspin.engine.interpolation import hermite
from jaxspin.engine.roots import newton_or_bisect

STEPS = 60
EDGES = jnp.array([0.3, 0.7])


def step_like(x):
    """arctan of a large number times x − 0.3, and of the opposite times x − 0.7, with slopes."""
    sign = jnp.array([1.0, -1.0])
    y = 50 * (x - EDGES)
    return sign * jnp.arctan(y), sign * 50 / (1 + y**2)


def test_a_root_is_found_in_its_bracket():
    """From where Newton's iteration alone diverges; one function rises, the other falls."""
    start, rising = jnp.array([0.95, 0.05]), jnp.array([True, False])
    bracket = (start, jnp.zeros(2), jnp.ones(2))
    alone = start
    for _ in range(STEPS):
        bracket = newton_or_bisect(step_like, rising, bracket)
    for _ in range(4):
        value, slope = step_like(alone)
        alone = alone - value / slope
    np.testing.assert_allclose(bracket[0], EDGES, rtol=1e-14)
    assert not np.any(np.abs(alone) < 10)  # negative control


def test_the_wrong_sign_leads_to_an_end():
    """Negative control: a function that falls where it is said to rise."""
    bracket = (jnp.full(2, 0.5), jnp.zeros(2), jnp.ones(2))
    for _ in range(STEPS):
        bracket = newton_or_bisect(step_like, jnp.array([False, True]), bracket)
    assert np.all(np.abs(bracket[0] - EDGES) > 0.1)


def test_hermite_is_exact_up_to_degree_three():
    t, places = jnp.linspace(0, 1, 7), jnp.array([0.0, 1.0])
    for degree, exact in ((3, True), (4, False)):
        p = np.polynomial.Polynomial(np.arange(1.0, degree + 2))
        value, slope = hermite(t, tuple(p(places)), tuple(p.deriv()(places)))
        assert np.allclose(value, p(np.asarray(t)), rtol=0, atol=1e-13) == exact
        assert np.allclose(slope, p.deriv()(np.asarray(t)), rtol=0, atol=1e-13) == exact


def test_slope_of_hermite_is_its_derivative():
    value = lambda t: hermite(t, (0.3, -1.2), (2.0, 0.7))[0]  # noqa: E731
    slope = jax.grad(value)(0.4)
    np.testing.assert_allclose(slope, hermite(0.4, (0.3, -1.2), (2.0, 0.7))[1], rtol=1e-14)
