"""Convergence of responses with their meshes: tolerances, orders, limits, refusals."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot

import jaxspin as js
from jaxspin import models
from jaxspin.responses.converge import _find_order, _multiply_mesh

INSULATOR = models.QiWuZhang(A=1.0, m=-1.0)
GRID, LEVELS = js.Grid((6, 6)), js.Levels(0.0)


def hall(mesh=GRID, levels=LEVELS, tolerance=1e-4, **keywords) -> js.Convergence:
    return js.converge(
        js.anomalous_hall, INSULATOR, mesh, levels, tolerance=tolerance, progress=False, **keywords
    )


def test_an_insulator():
    """C = +1: exponential, so that no order is claimed; the error is honest."""
    found = hall()
    value = float(found.response.to("e^2/h").component(flow="y", field="x").value[0])
    assert found.converged
    assert found.order is None
    assert abs(value - 1) <= found.relative_error <= 1e-4
    assert found.points == tuple(sorted(found.points))
    assert "converged to 0.0001" in repr(found)
    axes = js.plot.convergence(found)
    assert len(axes.lines) >= 3
    pyplot.close(axes.figure)


def test_too_few_points_are_said():
    with pytest.warns(UserWarning, match="not met with 144 points, of at most 200"):
        found = hall(tolerance=1e-9, max_points=200)
    assert not found.converged
    assert found.points == (36, 144)
    assert found.relative_error > 1e-9


TIMES = (1, 2, 3, 4, 6)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.5])
def test_an_order_is_found(order):
    values = [np.array([1 + 0.3 * n**-order, 2.0]) for n in TIMES]
    assert abs(_find_order(values, TIMES) - order) < 1e-6


@pytest.mark.parametrize(
    "values",
    [
        [np.array([np.exp(-2.0 * n)]) for n in TIMES],  # faster than any power
        [np.array([(-1.0) ** n / n]) for n in range(1, 6)],  # of both signs
        [np.array([1.0])] * 5,
        [np.array([n**-2.0]) for n in TIMES[:4]],  # too few
        [np.array([x]) for x in np.random.default_rng(0).normal(size=5)],
    ],
)
def test_no_order_where_there_is_none(values):
    assert _find_order([np.asarray(x, float) for x in values], TIMES[: len(values)]) is None


def test_meshes_grow_along_all_axes():
    ball = _multiply_mesh(js.Ball(1.0, 4, 3, 5), 3)
    assert ball.shape == (12, 9, 15)
    operation = js.symmetry.rotation(3)
    reduced = _multiply_mesh(js.Symmetric(js.Plane(0.3, 8, 6), operation), 2)
    assert reduced.mesh.shape == (16, 12)
    assert reduced.operations == (operation,)
    assert _multiply_mesh(js.Grid((4, 6), (0.5, 0)), 2) == js.Grid((8, 12), (0.5, 0))


def test_a_reduced_mesh_agrees():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = hall(js.Symmetric(GRID, js.symmetry.INVERSION))
    np.testing.assert_allclose(found.response.value, hall().response.value, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mesh": js.Adaptive(GRID, 1e-3)}, r"`mesh` must be a mesh .* tolerance of its own"),
        ({"mesh": 8}, "`mesh` must be a mesh"),
        ({"tolerance": 0.0}, "`tolerance` must be a positive number, but is 0.0"),
        ({"tolerance": float("nan")}, "`tolerance` must be a positive number"),
        ({"max_points": 20}, "`max_points` must be at least the 36 points"),
        ({"max_points": 0}, "`max_points` must be a positive integer"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        hall(**arguments)


def test_functions_that_give_no_single_response():
    with pytest.raises(ValueError, match="`function` must be a response"):
        js.converge("anomalous_hall", INSULATOR, GRID, LEVELS, tolerance=1e-2)
    with pytest.raises(ValueError, match="`function` must be one that returns a single Response"):
        js.converge(js.equilibrium_spin_current, INSULATOR, GRID, LEVELS, tolerance=1e-2)


def test_numbers_must_be_known():
    def of_mass(mass):
        model = models.QiWuZhang(A=1.0, m=mass)
        return js.converge(js.anomalous_hall, model, GRID, LEVELS, tolerance=1e-2).response.value[0]

    with pytest.raises(ValueError, match="must be a fixed mesh inside jit"):
        jax.jit(of_mass)(jnp.asarray(-1.0))


def test_no_picture_of_something_else():
    with pytest.raises(ValueError, match=r"`found` must be a result of js\.converge"):
        js.plot.convergence(js.anomalous_hall(INSULATOR, GRID, LEVELS, progress=False))
