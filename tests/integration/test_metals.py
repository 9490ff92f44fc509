"""Metals at T = 0 on `Adaptive`: cells that a Fermi surface cuts, tolerances, rounds that go on."""

import itertools
import math
import time

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from interruption import Interrupted

import jaxspin as js
from jaxspin import models
from jaxspin.engine.progress import count_rounds
from jaxspin.integration.cut_cells import ORDER, UNIT_NODES, UNIT_WIDTHS, CutCells
from jaxspin.integration.rounds import Rounds

Y = 2 * UNIT_NODES - 1  # nodes on [-1, 1]


def filled(energies, axes: int, *, turned: bool = False, derivative: bool = False) -> np.ndarray:
    """What the nodes of one cell stand for, in the integral and its changes, over [0, 1]^axes."""
    cells = CutCells(axes, derivative, jnp.array([turned]), None)
    fill = eqx.filter_jit(lambda cells, g: cells.fill(g))
    weights = [UNIT_WIDTHS] * axes
    if turned:
        weights[-1] = np.full(ORDER, 1 / ORDER)
    product = np.stack(np.meshgrid(*weights, indexing="ij")).prod(axis=0).ravel()
    return np.asarray(fill(cells, jnp.asarray(energies).reshape(1, -1)))[:, 0] * product


def axes_of(dimension: int) -> list[np.ndarray]:
    return list(np.meshgrid(*[Y] * dimension, indexing="ij"))


# --- one cell -------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flat_surface_is_cut_to_rounding(axis):
    """θ(0.3 - y) over [-1, 1]³: 0.65 of the volume, and its moments, along any axis."""
    y = axes_of(3)
    values, *changes = filled(y[axis] - 0.3, 3)
    assert abs(values.sum() - 0.65) < 1e-13
    first = np.sum(values * y[axis].ravel())  # ∫ y dy/2 from -1 to 0.3
    assert abs(first - (0.3**2 - 1) / 4) < 1e-13
    for weight in (1.0, y[axis].ravel()):  # of the first degree, so that nothing is dropped
        assert np.max(np.abs(np.sum(np.array(changes) * weight, axis=1))) < 1e-12


def test_a_tilted_surface_is_cut_by_the_lines():
    """θ(-g) for g = y₁ + 0.7 y₂ - 0.2: lines along y₁ see the kinks where the surface leaves."""
    first, second = axes_of(2)
    values, *_ = filled(first + 0.7 * second - 0.2, 2)
    exact = (1 + 0.2) / 2  # y₁ < 0.2 - 0.7 y₂ lies inside for all y₂
    assert abs(values.sum() - exact) < 1e-13


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_closed_surface_inside_a_cell(dimension):
    """A disk or ball of radius 0.8 in one cell: to 3 %, and no worse than claimed."""
    g = sum(y**2 for y in axes_of(dimension)) - 0.8**2
    values, *changes = filled(g, dimension)
    exact = {2: math.pi * 0.8**2 / 4, 3: 4 / 3 * math.pi * 0.8**3 / 8}[dimension]
    error = abs(values.sum() - exact)
    assert error < 0.03 * exact
    assert error < sum(abs(change.sum()) for change in changes)
    # Negative control: the rule of the nodes alone counts whole nodes.
    product = np.stack(np.meshgrid(*[UNIT_WIDTHS] * dimension, indexing="ij")).prod(axis=0)
    assert abs(np.sum(product * (g < 0)) / exact - 1) > 0.05


def test_energies_that_are_no_polynomials_are_seen():
    """The changes are of the size of the error where the energy has a higher degree."""
    first, second = axes_of(2)
    values, *changes = filled(np.sin(2 * first + second) + 0.4 * np.cos(3 * second) - 0.1, 2)
    y = (np.arange(4000) + 0.5) / 2000 - 1
    exact = np.mean(np.sin(2 * y[:, None] + y) + 0.4 * np.cos(3 * y) < 0.1)
    error = abs(values.sum() - exact)
    assert 1e-4 < error < sum(abs(change.sum()) for change in changes)


def test_states_at_a_flat_surface():
    """∫ δ(y₁ + 0.7 y₂ - 0.2) over the square: one for each y₂, half a side of it."""
    first, second = axes_of(2)
    values, *_ = filled(first + 0.7 * second - 0.2, 2, derivative=True)
    assert abs(-values.sum() - 0.5) < 1e-12


def test_an_angle_is_not_cut():
    """On a full turn of the last axis the nodes stand for themselves."""
    radius, angle = np.meshgrid(Y, np.arange(ORDER), indexing="ij")
    level = 0.3 + 0.1 * np.cos(2 * np.pi * angle / ORDER)
    values, *changes = filled(radius - level, 2, turned=True)
    assert abs(values.sum() - 0.65) < 1e-13
    assert np.max(np.abs(changes[1])) == 0


# --- metals ---------------------------------------------------------------------------------------


def one_band(dimension: int) -> js.HoppingModel:
    """ε = -2 Σ cos k_i: half filled at 0, where planes meet in saddle points."""
    cells = np.concatenate([np.eye(dimension, dtype=int), -np.eye(dimension, dtype=int)])
    return js.HoppingModel(
        lattice=np.eye(dimension),
        cells=cells,
        blocks=-np.ones((2 * dimension, 1, 1)),
        centres=np.zeros((1, dimension)),
        spin=np.zeros((3, 1, 1)),
    )


@pytest.mark.parametrize(
    ("dimension", "rtol"),
    [
        (2, 1e-3),
        *(pytest.param(d, rtol, marks=pytest.mark.study) for d, rtol in ((2, 1e-2), (3, 1e-3))),
    ],
)
def test_half_filled_bands(dimension, rtol):
    """Half an electron exactly, from a surface with corners in two dimensions."""
    mesh = js.Adaptive(js.Grid((7,) * dimension), rtol)
    response = js.carrier_density(one_band(dimension), mesh, js.Levels(0.0))
    assert response.info["converged"]
    true = abs(float(response.value[0]) - 0.5)
    assert true <= float(response.error[0]) <= rtol * 0.5
    assert response.info["points"] < {2: 4_000, 3: 60_000}[dimension]


HALDANE = models.Haldane(onsite=0.4, hopping=1.0, next_hopping=0.1, phase=math.pi / 2)
#: σ_yx of it, e²/h: cells that are filled gradually (`benchmarks/honesty.py`, `Filled`) on 2000²
#: and 3000² points, extrapolated; these differ by 2e-6.
HALL = {0.25: -0.721631, 0.6: -0.543222}


def test_a_metal_near_its_gap():
    """mu in the upper band, above a gap of 0.24 eV."""
    levels = js.Levels(list(HALL))
    response = js.anomalous_hall(HALDANE, js.Adaptive(js.Grid((10, 10)), 1e-3), levels)
    response = response.to("e^2/h").component(flow="y", field="x")
    assert response.info["converged"]
    assert response.info["points"] <= 6_000
    away = np.abs(np.asarray(response.value) - list(HALL.values()))
    assert np.all(away <= np.asarray(response.error))
    assert np.all(response.error <= 1e-3 * np.abs(np.asarray(response.value)))


@pytest.mark.study
def test_symmetries_of_a_metal():
    """A quarter of the zone, the same density."""
    symmetric = js.Symmetric(
        js.Adaptive(js.Grid((10, 10, 10)), 1e-3), [js.symmetry.mirror(x) for x in "xyz"]
    )
    response = js.carrier_density(one_band(3), symmetric, js.Levels(-1.0))
    whole = js.carrier_density(one_band(3), js.Adaptive(js.Grid((10, 10, 10)), 1e-3), js.Levels(-1))
    assert response.info["points"] < whole.info["points"] / 4
    assert abs(float((response.value - whole.value)[0])) <= float(
        response.error[0] + whole.error[0]
    )


# --- rounds ---------------------------------------------------------------------------------------


def metal(**keywords) -> js.Response:
    mesh = js.Adaptive(js.Grid((10, 10)), 1e-4)
    return js.anomalous_hall(HALDANE, mesh, js.Levels([0.25, 0.6]), **keywords)


@pytest.mark.parametrize(("after", "seconds"), [(1, 1e6), (4, 0)])
def test_a_refinement_goes_on_to_the_same_bits(tmp_path, monkeypatch, after, seconds):
    path, expected = tmp_path / "cells.npz", metal()
    add, count = Rounds.add, itertools.count()

    def short(self, *arguments):
        add(self, *arguments)
        if next(count) == after:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "add", short)
        with pytest.raises(Interrupted):
            metal(checkpoint=js.Checkpoint(path, seconds=seconds))
    assert path.exists()
    rounds = []
    monkeypatch.setattr(Rounds, "add", lambda self, *arguments: rounds.append(arguments))
    response = metal(checkpoint=path)
    assert not path.exists()
    assert len(rounds) > 0
    np.testing.assert_array_equal(response.value, expected.value)
    np.testing.assert_array_equal(response.error, expected.error)
    assert response.info["points"] == expected.info["points"]


def test_a_checkpoint_of_another_tolerance_is_refused(tmp_path, monkeypatch):
    path, add = tmp_path / "cells.npz", Rounds.add

    def stop():
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "add", lambda self, *arguments: (add(self, *arguments), stop()))
        with pytest.raises(Interrupted):
            metal(checkpoint=path)
    mesh = js.Adaptive(js.Grid((10, 10)), 1e-3)
    with pytest.raises(ValueError, match=r"rtol"):
        js.anomalous_hall(HALDANE, mesh, js.Levels([0.25, 0.6]), checkpoint=path)


def test_progress_says_how_far_the_tolerance_is(capfd):
    with count_rounds(True) as report:
        report(12_000, 3.21)
        time.sleep(0.2)
    metal(progress=True)
    assert capfd.readouterr().err
