"""A response whose elements are all different, and equality in every field."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxspin as js

MU = np.array([-0.1, 0.3, 0.0])  # in no order


TEMPERATURES = np.array([10.0, 300.0])


INFO = {"smallest_splitting": jnp.asarray(0.25), "degeneracy_tolerance": jnp.asarray(1e-6)}


def response(axes=("temperature", "mu", "flow", "field", "spin"), unit="hbar/2e S/m", **changes):
    """A response whose elements are all different: 0, 1, 2, ..."""
    sizes = {"temperature": 2, "mu": 3, "flow": 3, "field": 3, "spin": 3}
    shape = tuple(sizes[axis] for axis in axes)
    value = jnp.arange(float(np.prod(shape))).reshape(shape)
    temperature = TEMPERATURES if "temperature" in axes else 10.0
    fields = {
        "value": value,
        "error": value / 100,
        "levels": js.Levels(MU, temperature),
        "info": INFO,
        "axes": axes,
        "units": unit,
        "name": "spin Hall conductivity (conventional)",
        "formula": "σ = Σ f Ω",
        "source": "nobody, 2000",
    }
    return js.Response(**{**fields, **changes})


def assert_same(a: js.Response, b: js.Response):
    """Equal in every field, static and dynamic, bit by bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(left, right)
