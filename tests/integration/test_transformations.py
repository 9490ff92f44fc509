"""Compositions of jvp, grad, jacfwd, jacrev, hessian, vmap and jit: right numbers or named errors.

The right numbers are those of the two-band formula written down here, which JAX differentiates as
any other function.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin.units import BOLTZMANN

MESH = js.Grid((3, 4), 0.2)
NODES = 2 * np.pi * (np.stack(np.meshgrid(*map(np.arange, MESH.shape), indexing="ij"), -1) + 0.2)
NODES = NODES / np.array(MESH.shape)
#: m of the Qi-Wu-Zhang model, mu (eV) and temperature (1000 K).
AT = jnp.array([-1.1, 0.4, 2.5])


def hall(x):
    """σ_yx, e²/h."""
    model = js.models.QiWuZhang(A=1.0, m=x[0])
    response = js.anomalous_hall(model, MESH, js.Levels(x[1], 1000 * x[2]))
    return response.to("e^2/h").value[0, 1, 0]


def hall_by_hand(x):
    """2π Σ_k (f₋ − f₊) d·(∂_x d × ∂_y d)/2d³ / N, for H = d·σ with |d| in the denominators."""
    kx, ky = NODES[..., 0], NODES[..., 1]
    zero = jnp.zeros_like(kx)
    d = jnp.stack([jnp.sin(kx), jnp.sin(ky), x[0] + jnp.cos(kx) + jnp.cos(ky)], -1)
    dx = jnp.stack([jnp.cos(kx), zero, -jnp.sin(kx)], -1)
    dy = jnp.stack([zero, jnp.cos(ky), -jnp.sin(ky)], -1)
    size = jnp.linalg.norm(d, axis=-1)
    curvature = jnp.sum(d * jnp.cross(dx, dy), axis=-1) / (2 * size**3)
    kT = 1000 * BOLTZMANN * x[2]
    filled = jax.nn.sigmoid((x[1] + size) / kT) - jax.nn.sigmoid((x[1] - size) / kT)
    return 2 * jnp.pi * jnp.mean(filled * curvature)


MANY = jnp.stack([AT, AT + jnp.array([0.03, -0.05, 0.08])])
COMPOSITIONS = {
    "grad": lambda f: jax.grad(f)(AT),
    "hessian": lambda f: jax.hessian(f)(AT),
    "jacrev of jacrev": lambda f: jax.jacrev(jax.jacrev(f))(AT),
    "jit of vmap of hessian": lambda f: jax.jit(jax.vmap(jax.hessian(f)))(MANY),
    "jit of vmap of grad": lambda f: jax.jit(jax.vmap(jax.grad(f)))(MANY),
    "jit of vmap of grad by two numbers": lambda f: jax.jit(
        jax.vmap(jax.grad(lambda x, y: f(jnp.append(x, y))), (0, None))
    )(MANY[:, :2], AT[2]),
    "jit of jacfwd of vmap of vmap": lambda f: jax.jit(
        jax.jacfwd(jax.vmap(jax.vmap(lambda x, y: f(jnp.append(x, y)), (0, None)), (None, 0)))
    )(MANY[:, :2], MANY[:, 2]),
    "jit of grad of vmap": lambda f: jax.jit(jax.grad(lambda x: jnp.sum(jax.vmap(f)(x))))(MANY),
    "hessian of lax.map": lambda f: jax.hessian(lambda x: jnp.sum(jax.lax.map(f, x)))(MANY),
}


LONG = (
    "jit of vmap of grad by two numbers",
    "jit of jacfwd of vmap of vmap",
    "jit of grad of vmap",
    "jacrev of jacrev",
)


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=pytest.mark.study) if x in LONG else x for x in COMPOSITIONS]
)
def test_of_model_mu_and_temperature(name):
    composed = COMPOSITIONS[name]
    pairs = zip(*map(jax.tree.leaves, (composed(hall), composed(hall_by_hand))), strict=True)
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-10)


def test_by_hand_is_the_same_number():
    np.testing.assert_allclose(hall(AT), hall_by_hand(AT), rtol=1e-12)


K = jnp.array([0.7, -0.4])
CHERN = js.models.QiWuZhang(A=1.0, m=-1.1)


def lower_energy(k):
    return js.bands(CHERN, k).energies[0]


def lower_energy_by_hand(k):
    return -jnp.sqrt(jnp.sum(jnp.sin(k) ** 2) + (-1.1 + jnp.sum(jnp.cos(k))) ** 2)


@pytest.mark.parametrize("composed", [jax.grad, jax.hessian])
def test_of_k(composed):
    np.testing.assert_allclose(
        composed(lower_energy)(K), composed(lower_energy_by_hand)(K), rtol=1e-12
    )


def cold(x):
    model = js.models.QiWuZhang(A=1.0, m=x)
    return js.anomalous_hall(model, MESH, js.Levels(0.4)).value[0, 1, 0]


def disordered(x):
    model = js.models.Rashba(kinetic=4.0, velocity=x, exchange=0.05)
    levels, disorder = js.Levels(0.4), js.ScalarDisorder(0.5)
    response = js.disordered_response(model, js.FermiContour(8), levels, disorder)
    return response.drude.conductivity.value[0, 0, 0]


def energy_of_a_pair(x):
    """Both bands are degenerate at x = 0, and x splits them."""
    model = js.models.Rashba(kinetic=1.0, velocity=0.0, exchange=x)
    return js.bands(model, jnp.array([0.1, 0.0])).energies[0]


FEW = js.Disk(0.9, 2, 3)
WARM = js.Levels(0.3, 1000.0)


def number_of_pairs(x):
    """As above. The second derivative of Tr f(H) has f'' Σ |dH|² inside each pair."""
    model = js.models.Rashba(kinetic=1.0, velocity=0.0, exchange=x)
    return js.carrier_density(model, FEW, WARM).value[0]


def states_of_pairs(x):
    model = js.models.Rashba(kinetic=x, velocity=0.0, exchange=0.0)
    return js.density_of_states(model, FEW, WARM).value[0]


def states_of_pairs_by_hand(x):
    """-2 Σ w f'(x k²)."""
    nodes = FEW.points(jnp.arange(FEW.size), None)
    slope = jax.vmap(jax.grad(lambda e: jax.nn.sigmoid((0.3 - e) / (1000 * BOLTZMANN))))
    return -2 * jnp.sum(nodes.weight * slope(x * jnp.sum(nodes.k**2, axis=0)))


def test_of_pairs_that_stay_degenerate():
    for derivative in (lambda f: f, jax.hessian):
        expected = derivative(states_of_pairs_by_hand)(1.2)
        np.testing.assert_allclose(derivative(states_of_pairs)(1.2), expected, rtol=1e-10)


NOT_THERE = {
    "T = 0": (cold, -1.1, ValueError, "temperature 0 the occupation is a step"),
    "nodes of a Fermi surface": (disordered, 0.3, ValueError, "follow the surface to first order"),
    "splitting bands": (energy_of_a_pair, 0.0, RuntimeError, "degenerate"),
    "splitting bands in a sum": (number_of_pairs, 0.0, RuntimeError, "derivative is not a number"),
}
SECOND = {
    "hessian": jax.hessian,
    "reverse": lambda f: jax.grad(jax.grad(f)),
}


LONG = "nodes of a Fermi surface"


@pytest.mark.parametrize("second", ["reverse", pytest.param("hessian", marks=pytest.mark.study)])
@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=pytest.mark.study) if x == LONG else x for x in NOT_THERE],
)
def test_what_has_no_second_derivative(name, second):
    function, at, error, text = NOT_THERE[name]
    with pytest.raises(error, match=text):
        jax.block_until_ready(SECOND[second](function)(at))
