"""Derivatives at bands that are degenerate, nearly degenerate or apart, and by what splits them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import central_difference
from systems import CONVENTIONAL, KUBO, A, B, SquareLattice, measure

import jaxspin as js
from jaxspin.band_structure.degeneracy_lifting import nan_if_lifted, require_unlifted
from jaxspin.engine.small_matrices import PAULI

EVERY = ("anomalous_hall", CONVENTIONAL, A, B, KUBO, "torque", "equilibrium", "number", "states")
GRID = js.Grid((5, 4), 0.2)
LEVELS = js.Levels([0.9, 1.4], 900.0)


class Exchange(SquareLattice):
    """(1 + 0.3 cos k_x) m·σ, more of it in one orbital than in the other."""

    m: jax.Array

    def __call__(self, k):
        pauli = jnp.tensordot(self.m, PAULI[1:], axes=1)
        return (1 + 0.3 * jnp.cos(k[0])) * jnp.kron(jnp.diag(jnp.array([1.2, 0.8])), pauli)

    def spin(self):
        return jnp.stack([jnp.kron(jnp.eye(2), s) for s in PAULI[1:]])


def model(u, m):
    """Pairs of bands, degenerate at every k, that the exchange field splits."""
    return js.models.BernevigHughesZhang(u=u, A=1.0, C=0.3, mixing=0.2) + Exchange(m)


# --- a parameter that keeps the degeneracy, whatever the splitting is ---------------------------


def every(u, splitting):
    found = measure(model(u, splitting * jnp.array([0.3, 0.1, 0.5])), GRID, LEVELS, EVERY)
    return jnp.concatenate([value.reshape(-1) for value in found.values()])


def scale_of_each(slopes):
    """The largest derivative of each response, and at least 0.01: smaller ones are rounding."""
    found = jax.eval_shape(lambda: measure(model(-1.0, jnp.zeros(3)), GRID, LEVELS, EVERY))
    sizes = [x.size for x in found.values()]
    parts = np.split(np.abs(slopes), np.cumsum(sizes)[:-1])
    return np.repeat([max(0.01, np.max(part)) for part in parts], sizes)


@pytest.fixture(scope="module")
def compiled():
    """Values, their derivative by u forward, and that of a combination of them in reverse."""
    mixture = jnp.asarray(np.random.default_rng(5).normal(size=every(-1.0, 0.5).size))
    total = lambda u, splitting: mixture @ every(u, splitting)  # noqa: E731
    forward, reverse = jax.jit(jax.jacfwd(every)), jax.jit(jax.grad(total))
    return jax.jit(every), forward, reverse, mixture


@pytest.mark.parametrize("splitting", [0.0, 1e-9, 3e-7, 1e-4, 1e-3, 0.1])
def test_every_response(compiled, splitting):
    value, forward, reverse, mixture = compiled
    slope = forward(-1.0, splitting)
    difference = central_difference(lambda u: value(u, splitting), -1.0, 1e-2)
    np.testing.assert_array_less(jnp.abs(slope - difference), 1e-6 * scale_of_each(difference))
    assert float(reverse(-1.0, splitting)) == pytest.approx(float(mixture @ slope), rel=1e-11)


# --- parameters that split the bands ------------------------------------------------------------

SMOOTH = {
    "number": lambda *arguments: js.carrier_density(*arguments).value,
    "states": lambda *arguments: js.density_of_states(*arguments).value,
    "current": lambda *arguments: js.equilibrium_spin_current(*arguments).total.value,
}


@pytest.mark.parametrize("name", SMOOTH)
def test_splitting_where_the_sum_is_smooth(name):
    """By the exchange field at and near zero, where pairs are degenerate at every k."""

    @jax.jit
    def value(m):
        return SMOOTH[name](model(-1.0, m), GRID, LEVELS).reshape(-1)

    forward = jax.jit(jax.jacfwd(value))
    for start in (jnp.zeros(3), 1e-9 * jnp.array([0.3, 0.1, 0.5])):
        slopes = forward(start)
        for i, axis in enumerate(jnp.eye(3)):
            difference = central_difference(
                lambda x, a=axis, at=start: value(at + x * a), 0.0, 1e-2
            )
            np.testing.assert_allclose(slopes[:, i], difference, atol=3e-8)
    if name == "current":
        assert jnp.max(jnp.abs(slopes)) > 0.1
        reverse = jax.jit(jax.grad(lambda m: value(m)[-1]))(jnp.zeros(3))
        np.testing.assert_allclose(reverse, forward(jnp.zeros(3))[-1], atol=1e-13)


def naive_current(m):
    """Tr f(H) ½{s, ∂H} by differentiable eigenvectors."""

    def at(k):
        energies, basis = jnp.linalg.eigh(model(-1.0, m)(k))
        slopes = jnp.moveaxis(jax.jacfwd(model(-1.0, m))(k), -1, 0)
        spin = model(-1.0, m).second.spin()
        current = jnp.einsum("sab,ibc->isac", spin, slopes)
        filled = jax.nn.sigmoid((1.4 - energies) / (900.0 * js.units.BOLTZMANN))
        return jnp.einsum("am,isab,bm,m->is", basis.conj(), current, basis, filled).real

    return jnp.sum(jax.vmap(at)(jnp.array([[0.3, 0.4], [-1.0, 0.2]])), axis=0)


def test_derivatives_of_eigenvectors_fail():
    """Negative control: the same quantity through eigh of JAX."""
    slope = jax.jit(jax.jacfwd(naive_current))(jnp.zeros(3))
    difference = central_difference(lambda x: naive_current(jnp.array([0.0, 0.0, x])), 0.0, 1e-2)
    assert not np.allclose(slope[..., 2], difference, atol=1e-3)


def test_splitting_is_refused_in_any_units():
    """Also beside a parameter with which H changes 10⁷ times faster, but keeps the pair."""
    same = jnp.ones((2, 2, 1), bool)
    keeps, splits = 1e7 * PAULI[0][..., None], PAULI[3][..., None]
    np.testing.assert_array_equal(require_unlifted(keeps, same), keeps)
    np.testing.assert_array_equal(nan_if_lifted(keeps, same), keeps)
    assert jnp.all(jnp.isnan(nan_if_lifted(splits, same)))
    np.testing.assert_array_equal(
        nan_if_lifted(splits, same & jnp.eye(2, dtype=bool)[..., None]), splits
    )
    with pytest.raises(RuntimeError, match="splits bands which are degenerate"):
        jax.block_until_ready(
            jax.vmap(require_unlifted, in_axes=(0, None))(jnp.stack([keeps, splits]), same)
        )


@pytest.mark.parametrize("block", [PAULI[1], PAULI[2], PAULI[3], PAULI[3] + 1e-5 * PAULI[1]])
def test_splitting_of_some_bands_at_one_k_is_refused(block):
    """To 1e-6 of the largest change on the tile, which is elsewhere."""
    same = jnp.zeros((4, 4, 3), bool).at[1:3, 1:3, 1].set(True) | jnp.eye(4, dtype=bool)[..., None]
    outside = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4, 3)) + 0j)
    outside = jnp.where(same, 0, outside)
    norm = jnp.sqrt(jnp.max(jnp.sum(jnp.abs(outside) ** 2, axis=(0, 1))))
    for size, refused in ((1.1e-6, True), (4e-7, False)):
        change = outside.at[1:3, 1:3, 1].set(size * norm * block)
        assert bool(jnp.any(jnp.isnan(nan_if_lifted(change, same)))) is refused


class Rooted(Exchange):
    """Grows with the square root of m, and has no derivative where that is zero."""

    def __call__(self, k):
        return Exchange(jnp.sqrt(self.m))(k)


def test_derivative_of_h_that_is_not_a_number_is_refused():
    def hall(m):
        split = model(-1.0, jnp.array([0.4, 0.1, 0.2]))
        return js.anomalous_hall(split + Rooted(m), GRID, LEVELS).value

    assert np.all(np.isfinite(jax.jit(jax.jacfwd(hall))(jnp.ones(3))))
    with pytest.raises(RuntimeError, match=r"the derivative of H\(k\) itself is not a number"):
        jax.block_until_ready(jax.jit(jax.jacfwd(hall))(jnp.array([1.0, 1.0, 0.0])))


class Squared(Exchange):
    """Keeps the pairs at m = 0 to first order, and splits them to second."""

    def __call__(self, k):
        return Exchange(self.m**2)(k)


def squared(x):
    split = model(-1.0, jnp.zeros(3)) + Squared(x * jnp.array([0.3, 0.1, 0.7]))
    return js.anomalous_hall(split, GRID, LEVELS).value


@pytest.mark.parametrize(
    "hall", [squared, lambda x: js.anomalous_hall(model(-1.0, x * jnp.ones(3)), GRID, LEVELS).value]
)
def test_splitting_to_second_order_is_refused(hall):
    with pytest.raises(RuntimeError, match="splits bands which are degenerate"):
        jax.block_until_ready(jax.jit(jax.jacfwd(jax.jacfwd(hall)))(0.0))
    with pytest.raises(RuntimeError, match="Reverse-mode differentiation was asked at degenerate"):
        jax.block_until_ready(jax.jit(jax.jacrev(jax.jacfwd(hall)))(0.0))


@pytest.mark.study
def test_second_derivatives():
    """Also by what would split pairs, where they are split already."""

    def hall(x):
        return js.anomalous_hall(model(-1.0, x * jnp.array([0.3, 0.1, 0.5])), GRID, LEVELS).value

    second = jax.jit(jax.jacfwd(jax.jacfwd(hall)))(0.5)
    difference = central_difference(jax.jit(jax.jacfwd(hall)), 0.5, 1e-2)
    scale = jnp.max(jnp.abs(difference))
    assert scale > 1e-6
    np.testing.assert_allclose(second, difference, atol=1e-6 * scale)
    np.testing.assert_allclose(jax.jit(jax.jacrev(jax.jacfwd(hall)))(0.5), second, rtol=1e-9)


def test_splitting_where_the_sum_is_not_smooth_is_refused():
    hall = lambda x: js.anomalous_hall(model(-1.0, x * jnp.ones(3)), GRID, LEVELS).value  # noqa: E731
    with pytest.raises(RuntimeError, match="splits bands which are degenerate"):
        jax.block_until_ready(jax.jvp(hall, (0.0,), (1.0,)))
