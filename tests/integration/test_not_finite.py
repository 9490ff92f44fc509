"""A model that is not finite somewhere is named with its k, outside of transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin.engine.small_matrices import PAULI

_, X, Y, Z = PAULI


class Kinked(js.Model):
    """A mass with |sin k|, which has no slope at k = 0, and a third band apart from it."""

    dimension = property(lambda self: 2)
    lattice = property(lambda self: jnp.eye(2))

    def __call__(self, k):
        sines = jnp.sin(k)
        pair = sines[0] * X + sines[1] * Y + (1 + jnp.sqrt(sines @ sines)) * Z
        return jnp.zeros((3, 3), complex).at[:2, :2].set(pair).at[2, 2].set(5.0)

    def spin(self):
        return jnp.zeros((3, 3, 3))


GRID, LEVELS, ORIGIN = js.Grid((6, 6)), js.Levels(0.0), np.zeros(2)
MESSAGE = r"dH/dk_x is not at k = \[0. 0.\], in bands 0, 1\. "


@pytest.mark.parametrize(
    "call",
    [
        lambda: js.anomalous_hall(Kinked(), GRID, LEVELS),
        lambda: js.spin_hall(Kinked(), GRID, LEVELS, definition="conventional"),
        lambda: js.bands(Kinked(), ORIGIN),
        lambda: js.berry_curvature(Kinked(), np.array([[[0.1, 0.2]], [[0.0, 0.0]]])),
        lambda: js.quantum_metric(Kinked(), ORIGIN),
        lambda: js.orbital_moment(Kinked(), ORIGIN),
    ],
    ids=["hall", "spin hall", "bands", "curvature", "metric", "moment"],
)
def test_k_and_bands_are_named(call):
    with pytest.raises(ValueError, match=MESSAGE):
        call()


def test_other_k_are_as_they_were():
    """Negative control: without the point there is nothing to refuse."""
    shifted = js.anomalous_hall(Kinked(), js.Grid((6, 6), shift=0.3), LEVELS)
    assert np.all(np.isfinite(shifted.value))
    assert np.all(np.isfinite(js.bands(Kinked(), np.array([0.1, 0.2])).velocity))


def test_cells_of_an_adaptive_mesh():
    """Five nodes along a cell from -1/2 to 1/2 have one in the middle, where k = (π, π)."""

    class Elsewhere(Kinked):
        def __call__(self, k):
            return super().__call__(k - jnp.pi)

    with pytest.raises(ValueError, match=r"is not at k = \[3.14159265 3.14159265\], in bands 0, 1"):
        js.anomalous_hall(Elsewhere(), js.Adaptive(js.Grid((5, 5)), rtol=1e-2), LEVELS)


def test_inside_jit_the_value_is_no_number():
    hall = jax.jit(lambda mu: js.anomalous_hall(Kinked() * mu, GRID, LEVELS).value)
    assert np.any(np.isnan(hall(1.0)))


class Cusp(js.Model):
    """A real H whose bands meet at k = 0, where it has no slope."""

    dimension = property(lambda self: 2)
    lattice = property(lambda self: jnp.eye(2))

    def __call__(self, k):
        return jnp.sqrt(2 - jnp.cos(k[0]) - jnp.cos(k[1])) * Z + jnp.sin(k[0]) * X


def test_a_slope_without_a_value_where_bands_meet():
    """No pair of bands has a curvature there. NumPy warned of NaN in the search for small gaps."""
    hall = js.anomalous_hall(Cusp(), GRID, LEVELS)
    np.testing.assert_array_equal(hall.value, 0)
