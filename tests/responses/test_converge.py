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


def test_a_response_that_vanishes():
    """Graphene without a magnetic field: no relative tolerance is met, and the warning says how."""
    model = models.Haldane(onsite=0.5, hopping=-1.0, next_hopping=0.0, phase=0.0)
    arguments = js.anomalous_hall, model, GRID, LEVELS
    with pytest.warns(UserWarning, match=r"zero by symmetry, `absolute=\d"):
        found = js.converge(*arguments, tolerance=1e-3, max_points=600)
    assert not found.converged
    found = js.converge(*arguments, tolerance=1e-3, absolute=1e-10, max_points=600)
    assert found.converged
    assert found.points == (36, 144)
    assert np.max(np.abs(found.response.value)) < 1e-12
    assert hall(absolute=1e-9).points == hall().points  # far below what the tolerance asks for


def test_one_of_several_responses():
    """The field that the error names."""
    gas = models.Rashba(kinetic=4.0, velocity=0.5)
    disk, warm = js.Disk(1.0, 8, 4), js.Levels(0.3, 300.0)
    take = lambda *a, **k: js.equilibrium_spin_current(*a, **k).total  # noqa: E731
    found = js.converge(take, gas, disk, warm, tolerance=1e-4)
    exact = js.equilibrium_spin_current(gas, js.Disk(1.0, 200, 16), warm).total
    assert found.converged
    away = np.max(np.abs(found.response.value - exact.value)) / np.max(np.abs(exact.value))
    assert away <= found.relative_error


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
        ({"absolute": -1.0}, "`absolute` must be a number, at least 0, .* but is -1.0"),
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
    with pytest.raises(ValueError, match=r"returns a single Response.*\.field"):
        js.converge(js.equilibrium_spin_current, INSULATOR, GRID, LEVELS, tolerance=1e-2)
    for function, keywords, match in (
        (js.bands, {}, "too many positional arguments of bands"),
        (js.disordered_response, {}, "missing a required argument: 'disorder' of disordered"),
        (js.anomalous_hall, {"spin": "z"}, r"levels, spin=\.\.\.\), but got an unexpected"),
    ):
        with pytest.raises(ValueError, match=match):
            js.converge(function, INSULATOR, GRID, LEVELS, tolerance=1e-2, **keywords)


def test_numbers_must_be_known():
    def of_mass(mass):
        model = models.QiWuZhang(A=1.0, m=mass)
        return js.converge(js.anomalous_hall, model, GRID, LEVELS, tolerance=1e-2).response.value[0]

    with pytest.raises(ValueError, match="must be a fixed mesh inside jit"):
        jax.jit(of_mass)(jnp.asarray(-1.0))


def test_no_picture_of_something_else():
    with pytest.raises(ValueError, match=r"`found` must be a result of js\.converge"):
        js.plot.convergence(js.anomalous_hall(INSULATOR, GRID, LEVELS, progress=False))
