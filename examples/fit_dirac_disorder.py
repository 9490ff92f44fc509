"""Fit the gap M and the disorder u0² of a magnetic surface to its Hall effect against E_F.

The data are synthetic: the closed forms of the disordered Dirac cone at M = 50 meV and u0² = 0.5
eV² Å², with noise of 2 %, always the same. σ_yx alone does not depend on u0² (Gaussian disorder,
leading order); σ_xx, which is measured with it, does.
"""

import sys

import numpy as np

import jaxspin as js

VELOCITY, M, STRENGTH = 3.3, 0.05, 0.5
mu = np.linspace(0.07, 0.25, 5 if "--quick" in sys.argv else 20)

x = (M / mu) ** 2
along = 2 * VELOCITY**2 / STRENGTH * (1 - x) / (1 + 3 * x)
across = 4 * M / mu * (1 + x) / (1 + 3 * x) ** 2
noise = 0.02 * np.random.default_rng(1).normal(size=(2, len(mu)))
places = {"mu": mu, "units": "e^2/h"}
data_xx = js.fitting.Data(along * (1 + noise[0]), 0.02 * along, "xx", **places)
data_yx = js.fitting.Data(across * (1 + noise[1]), 0.02 * across, "yx", **places)


def residuals(p):
    model = js.models.MassiveDirac(velocity=VELOCITY, mass=p["M"])
    disorder = js.ScalarDisorder(p["u0²"])
    response = js.disordered_response(model, js.FermiContour(16), js.Levels(mu), disorder)
    sigma = response.total.conductivity
    return data_xx.residuals(sigma), data_yx.residuals(sigma)


start = {"M": 0.03, "u0²": 1.0}
fit = js.fit(residuals, start, bounds={"M": (0.0, 0.069), "u0²": (0.0, None)})
print(fit)
print(f"true values: M {M}, u0² {STRENGTH}")
