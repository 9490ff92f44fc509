"""Weights added to the bins of a histogram, against a loop in Python."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxspin.engine import histograms
from jaxspin.engine.histograms import add_to_bins, add_to_own_bins, find_bins

BINS, COMPONENTS, VALUES, PARTS, WIDTH = 11, 5, 40, 3, 2
RNG = np.random.default_rng(7)


def draw_arguments() -> tuple[np.ndarray, ...]:
    return (
        RNG.normal(size=(BINS, COMPONENTS)),
        RNG.normal(size=(COMPONENTS, VALUES)),
        RNG.integers(0, BINS - WIDTH + 1, (PARTS, VALUES)),
        RNG.normal(size=(PARTS, WIDTH, VALUES)),
        RNG.integers(0, PARTS + 1, VALUES),
    )


def add_plainly(sums, values, bins, shares, parts) -> np.ndarray:
    total = sums.copy()
    for s in range(values.shape[1]):
        for p, q in itertools.product(range(parts[s]), range(WIDTH)):
            total[bins[p, s] + q] += values[:, s] * shares[p, q, s]
    return total


ONE, OTHERS = draw_arguments(), [draw_arguments() for _ in range(3)]
SEVERAL = [np.stack(arrays) for arrays in zip(*OTHERS, strict=True)]
near = partial(np.testing.assert_allclose, rtol=1e-13, atol=1e-13)


def add_on_gpu(*arguments):
    """The operations of a GPU, on the processor."""
    return histograms._add_at_once(*(jnp.asarray(x)[None] for x in arguments))[0]


def add_on_lanes(lanes):
    """Bins that each lane owns, in the end added to the sums."""

    def add(sums, *arguments):
        own = jnp.zeros((lanes, *sums.shape))
        return sums + np.sum(add_to_own_bins(own, *map(jnp.asarray, arguments)), axis=0)

    return add


EIGHT, FOUR = add_on_lanes(8), add_on_lanes(4)  # five additions of all lanes; ten, in a loop


@pytest.mark.parametrize("add", [add_to_bins, jax.jit(add_to_bins), add_on_gpu, EIGHT, FOUR])
def test_against_a_loop_in_python(add):
    near(add(*ONE), add_plainly(*ONE))


def test_bins_are_found_as_numpy_does(monkeypatch):
    edges = np.array([-1.0, 0.0, 0.0, 2.0])
    values = np.array([-3.0, -1.0, -0.5, 0.0, 1.0, 2.0, 5.0, np.inf])
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    np.testing.assert_array_equal(find_bins(edges, values), np.searchsorted(edges, values))


@pytest.mark.parametrize("add", [add_to_bins, add_on_gpu, EIGHT])
def test_parts_that_are_left_out_add_nothing(add):
    """Whatever their shares, NaN included."""
    *arguments, parts = ONE
    np.testing.assert_array_equal(add(*arguments, 0 * parts), ONE[0])
    sums, values, bins, shares, _ = ONE
    unused = np.where(np.arange(PARTS)[:, None, None] < parts, shares, np.nan)
    near(add(sums, values, bins, unused, parts), add_plainly(*ONE))


# Each argument alone, all of them, and all but the sums.
AXES = [tuple(0 if i == j else None for i in range(5)) for j in range(5)]
AXES += [(0,) * 5, (None, *(0,) * 4)]


@jax.jit
def map_all(one, several):
    chosen = [[s if a == 0 else o for a, s, o in zip(axes, several, one)] for axes in AXES]  # noqa: B905
    return [jax.vmap(add_to_bins, axes)(*x) for axes, x in zip(AXES, chosen, strict=True)]


def test_mapped_over_any_of_its_arguments():
    for axes, found in zip(AXES, map_all(ONE, SEVERAL), strict=True):
        for i, other in enumerate(OTHERS):
            arguments = [o if a == 0 else x for a, o, x in zip(axes, other, ONE, strict=True)]
            near(found[i], add_plainly(*arguments))


def test_mapped_twice():
    """The values along one axis, the sums and bins along another."""
    inner = jax.vmap(add_to_bins, in_axes=(None, 0, None, None, None))
    sums, values, bins, *_ = SEVERAL
    found = jax.vmap(inner, in_axes=(0, None, 0, None, None))(sums, values, bins, *ONE[3:])
    for i, j in itertools.product(range(3), repeat=2):
        near(found[i, j], add_plainly(sums[i], values[j], bins[i], *ONE[3:]))


@pytest.mark.parametrize("mapped", ["nothing", "values", "bins", "shares"])
def test_derivatives(mapped):
    """Forwards and backwards; linear in the sums, the values and the shares."""
    axes = [0 if name == mapped else None for name in ("sums", "values", "bins", "shares", "parts")]
    sums, values, bins, shares, parts = (
        x if a is None else s[:2] for a, x, s in zip(axes, ONE, SEVERAL, strict=True)
    )
    add = add_to_bins if mapped == "nothing" else jax.vmap(add_to_bins, axes)
    function = jax.jit(lambda sums, values, shares: add(sums, values, bins, shares, parts))
    check_grads(function, (sums, values, shares), order=1, modes=("fwd", "rev"))


def test_one_kernel_on_a_cpu():
    """No scatter, of which XLA makes no one kernel, also where it is mapped and differentiated."""

    def change(values):
        add = lambda values: add_to_bins(ONE[0], values, *ONE[2:])  # noqa: E731
        return jax.vmap(lambda tangent: jax.jvp(add, (values,), (tangent,))[1])(SEVERAL[1])

    assert "scatter" not in jax.jit(change).lower(ONE[1]).as_text()
    assert "scatter" in jax.jit(add_on_gpu).lower(*ONE).as_text()
