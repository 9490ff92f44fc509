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


def spin_hall(model, mesh, mu):
    return js.spin_hall(model, mesh, js.Levels(mu, TEMPERATURES), definition=B)


#: Function, model, mesh, finer mesh that is good enough to be the truth, Fermi energies.
CASES = {
    "Haldane": (hall, HALDANE, js.Grid((24, 24)), js.Grid((480, 480)), (-1.0, 0.0, 0.8)),
    "Dirac": (hall, DIRAC, js.Disk(1.5, 24, 16), js.Disk(1.5, 400, 120), (0.0, 0.2, 0.5)),
    "Bi2Se3": (
        spin_hall,
        BI2SE3,
        js.Space(SCALES, 24, 12, 6),
        js.Space(SCALES, 240, 96, 8),
        (0.1, 0.35, 0.5),
    ),
}


@lru_cache
def errors(name) -> tuple[np.ndarray, np.ndarray]:
    """Reported and true error, the largest over components (temperature, mu)."""
    function, model, mesh, fine, mu = CASES[name]
    response, truth = function(model, mesh, mu), function(model, OneRule(fine), mu).value
    components = tuple(range(2, truth.ndim))
    true = np.max(np.abs(response.value - truth), axis=components)
    floor = ROUNDING * np.max(np.abs(truth))
    return np.max(np.asarray(response.error), axis=components) + floor, true


TABLE = [
    (name, i, j)
    for name, case in CASES.items()
    for i in range(len(TEMPERATURES))
    for j in range(len(case[-1]))
]


@pytest.mark.parametrize(("name", "i", "j"), TABLE)
def test_reported_error_is_at_least_the_true_one(name, i, j):
    reported, true = errors(name)
    honest = reported[i, j] >= true[i, j]
    assert honest != ((name, TEMPERATURES[i], CASES[name][-1][j]) in KNOWN_DISHONEST)


@pytest.mark.parametrize("name", CASES)
def test_reported_error_is_not_absurd(name):
    """A bound that is always far too large would be honest and useless."""
    reported, true = errors(name)
    assert np.median(reported / np.maximum(true, reported / 1e6)) < 1e5


def test_coarse_mesh_reports_a_large_error():
    """Negative control: a mesh that cannot resolve the gap says so."""
    narrow = models.MassiveDirac(velocity=1.0, mass=1e-3)
    response = js.anomalous_hall(narrow, js.Disk(1.5, 24, 16), js.Levels(0.0))
    true = abs(abs(float(response.to("e^2/h").value[0, 1, 0])) - 0.5)
    assert float(response.to("e^2/h").error[0, 1, 0]) > 0.5 * true > 1e-3
