"""Functions that `vmap` evaluates for some members at a time: the same numbers, for any axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxspin.engine.batches import in_batches, replace_where


def scale_and_add(tree, scale):
    return {"sum": jnp.sum(tree["x"]) * scale, "x": tree["x"] + tree.get("y", 0.0)}


MEMBERS = {"x": jnp.arange(14.0).reshape(7, 2)}
SCALES = jnp.linspace(1.0, 2.0, 7)


@pytest.mark.parametrize("most", [1, 3, 7, 100])
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), ({"x": 1}, 0)])
def test_batch_of_any_axes(most, axes):
    tree = MEMBERS if axes[0] == 0 else {"x": jnp.ones((2, 7))} if axes[0] else {"x": jnp.ones(2)}
    scales = SCALES if axes[1] == 0 else 1.5
    found = jax.vmap(in_batches(scale_and_add, most), axes)(tree, jnp.asarray(scales))
    expected = jax.vmap(scale_and_add, axes)(tree, jnp.asarray(scales))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_empty_batch():
    """As JAX has it: no members, and the shapes of theirs."""
    assert jax.vmap(in_batches(jnp.sinh, 3))(jnp.ones((0, 2))).shape == (0, 2)
    assert jax.vmap(jax.vmap(in_batches(jnp.sinh, 3)))(jnp.ones((4, 0, 2))).shape == (4, 0, 2)


@pytest.mark.parametrize("outer", [(0, None), (None, 0), (0, 0)])
def test_batch_of_batches(outer):
    """Whose members are counted together: at most 4 of 21 at once."""
    tree = {"x": jnp.arange(42.0).reshape(3, 7, 2)} if outer[0] == 0 else MEMBERS
    scales = jnp.linspace(1, 2, 21).reshape(3, 7) if outer[1] == 0 else SCALES
    batched = lambda f: jax.vmap(jax.vmap(f), outer)  # noqa: E731
    found = batched(in_batches(scale_and_add, 4))(tree, scales)
    jax.tree.map(np.testing.assert_array_equal, found, batched(scale_and_add)(tree, scales))
    inside = jax.vmap(jax.vmap(in_batches(scale_and_add, 4), (0, None)), (None, 0))
    expected = jax.vmap(jax.vmap(scale_and_add, (0, None)), (None, 0))
    arguments = MEMBERS, jnp.arange(3.0)
    jax.tree.map(np.testing.assert_array_equal, inside(*arguments), expected(*arguments))


def test_no_more_members_at_once():
    """Seen by the shapes in the compiled program."""
    squares = jax.vmap(in_batches(jnp.sinh, 5))
    program = str(jax.make_jaxpr(squares)(jnp.ones((17, 3))))
    assert "f64[5,3] = sinh" in program
    assert "f64[17,3] = sinh" not in program
    nested = str(jax.make_jaxpr(jax.vmap(squares))(jnp.ones((2, 17, 3))))
    assert "f64[5,3] = sinh" in nested
    assert nested.count("sinh") == 1


def test_derivative_forwards():
    function = in_batches(lambda x: jnp.sin(x) * x, 2)
    along = jax.vmap(lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1])
    np.testing.assert_allclose(along(SCALES), jnp.cos(SCALES) * SCALES + jnp.sin(SCALES))
    batch = lambda x: jax.vmap(function)(x)  # noqa: E731
    found = jax.jacfwd(batch)(SCALES)
    np.testing.assert_allclose(found, jnp.diag(jnp.cos(SCALES) * SCALES + jnp.sin(SCALES)))


@pytest.mark.parametrize("wanted", [[False] * 3, [True] * 3, [False, True, False]])
def test_what_is_replaced(wanted):
    """In a batch, in a batch of batches, alone; the function is not run where nobody wants it."""
    runs = []

    def count(x):
        jax.debug.callback(lambda: runs.append(1))
        return 10 * x

    replace = lambda wanted, x: replace_where(wanted, count, (x,), -x)  # noqa: E731
    x, wanted = jnp.arange(1.0, 4.0), jnp.asarray(wanted)
    expected = np.where(wanted, 10 * x, -x)
    np.testing.assert_array_equal([replace(w, y) for w, y in zip(wanted, x, strict=True)], expected)
    runs.clear()
    np.testing.assert_array_equal(jax.jit(jax.vmap(replace))(wanted, x), expected)
    jax.effects_barrier()
    assert bool(runs) == bool(jnp.any(wanted))
    nested = jax.vmap(jax.vmap(replace), (0, None))(jnp.stack([wanted, ~wanted]), x)
    np.testing.assert_array_equal(nested, [expected, np.where(wanted, -x, 10 * x)])
