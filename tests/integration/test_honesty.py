"""Honesty: the error that a response reports is at least the true one."""

from functools import lru_cache

import numpy as np
import pytest
from systems import B, OneRule

import jaxspin as js
from jaxspin import models

#: Reported errors that are smaller than the true ones: (case, temperature, mu).
KNOWN_DISHONEST: set[tuple[str, float, float]] = set()
ROUNDING = 1e-12  # of the largest element: what no mesh can resolve

HALDANE = models.Haldane(onsite=-0.2, hopping=-1.0, next_hopping=0.15, phase=np.pi / 2)
DIRAC = models.MassiveDirac(velocity=1.0, mass=0.1, warping=0.5, tilt=(0.1, 0.0))
BI2SE3 = models.TopologicalInsulator.bi2se3()
SCALES = (0.0793, 0.0793, 0.2020)
TEMPERATURES = (0.0, 300.0)


def hall(model, mesh, mu):
    return js.anomalous_hall(model, mesh, js.Levels(mu, TEMPERATURES))


def proper(mu):
    """Proper spin Hall conductivity of Bi2Se3, flow z, field x, spin y, (ħ/2e) S/m: (T, mu)."""
    mesh, levels = js.Space(SCALES, 24, 12, 6), js.Levels(mu, TEMPERATURES)
    return js.spin_hall(BI2SE3, mesh, levels, definition=B).component(flow="z", field="x", spin="y")


def against(function, model, mesh, fine, mu):
    """A response and the same on a mesh that is good enough to be the truth."""
    return function(model, mesh, mu), np.asarray(function(model, OneRule(fine), mu).value)


#: Fermi energies, and what gives a response and the true values, by case.
CASES = {
    "Haldane": (
        (-1.0, 0.0, 0.8),
        lambda mu: against(hall, HALDANE, js.Grid((24, 24)), js.Grid((360, 360)), mu),
    ),
    "Dirac": (
        (0.0, 0.2, 0.5),
        lambda mu: against(hall, DIRAC, js.Disk(1.5, 24, 16), js.Disk(1.5, 300, 96), mu),
    ),
    # By a closed form of the Fermi surface and a finer rule, good to 1e-4 and 3e-2.
    "Bi2Se3": (
        (0.1, 0.35),
        lambda mu: (proper(mu), np.array([[0.0, -1852.897], [-0.16402882, -1756.0213]])),
    ),
}


@lru_cache
def errors(name) -> tuple[np.ndarray, np.ndarray]:
    """Reported and true error, the largest over components (temperature, mu)."""
    mu, run = CASES[name]
    response, truth = run(mu)
    components = tuple(range(2, truth.ndim))
    true = np.max(np.abs(np.asarray(response.value) - truth), axis=components)
    floor = ROUNDING * np.max(np.abs(truth))
    return np.max(np.asarray(response.error), axis=components) + floor, true


TABLE = [
    (name, i, j)
    for name, (mu, _) in CASES.items()
    for i in range(len(TEMPERATURES))
    for j in range(len(mu))
]


@pytest.mark.parametrize(("name", "i", "j"), TABLE)
def test_reported_error_is_at_least_the_true_one(name, i, j):
    reported, true = errors(name)
    honest = reported[i, j] >= true[i, j]
    assert honest != ((name, TEMPERATURES[i], CASES[name][0][j]) in KNOWN_DISHONEST)


@pytest.mark.parametrize("name", CASES)
def test_reported_error_is_not_absurd(name):
    """A bound that is always far too large would be honest and useless."""
    reported, true = errors(name)
    assert np.median(reported / np.maximum(true, reported / 1e6)) < 1e5


def test_coarse_mesh_reports_a_large_error():
    """Negative control: a mesh that cannot resolve the gap says so."""
    narrow = models.MassiveDirac(velocity=1.0, mass=1e-3)
    response = js.anomalous_hall(narrow, js.Disk(1.5, 24, 16), js.Levels(0.0)).to("e^2/h")
    true = abs(abs(float(response.value[0, 1, 0])) - 0.5)
    assert true > 1e-2
    assert float(response.error[0, 1, 0]) > 0.5 * true
