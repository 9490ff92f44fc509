"""Fit the gap M and the disorder u0² of a magnetic surface to its Hall effect against E_F.

The data are synthetic: the disordered Dirac cone with M = 50 meV and u0² = 0.5 eV² Å², with noise
of 2 %, always the same. σ_yx alone does not depend on u0² (Gaussian disorder, leading order);
σ_xx, which one measures with it, does.
"""

import sys

import numpy as np

import jaxspin as js
from jaxspin import plot

mu = np.linspace(0.07, 0.25, 5 if "--quick" in sys.argv else 20)
surface = js.FermiContour(16)


def conductivity(p):
    model = js.models.MassiveDirac(velocity=3.3, mass=p["M"])
    response = js.disordered_response(model, surface, mu, js.ScalarDisorder(p["u0²"]))
    return response.total.conductivity


places = {"mu": np.tile(mu, 2), "units": "e^2/h"}
labels = ["xx"] * len(mu) + ["yx"] * len(mu)
true = {"M": 0.05, "u0²": 0.5}
exact = js.fitting.Data(0 * places["mu"], 1.0, labels, **places).calculated(conductivity(true))
error = 0.02 * np.abs(exact)
noisy = exact + error * np.random.default_rng(1).normal(size=len(labels))
data = js.fitting.Data(noisy, error, labels, **places)

start, bounds = {"M": 0.03, "u0²": 1.0}, {"M": (0.0, 0.069), "u0²": (0.0, None)}
fit = js.fit(lambda p: data.residuals(conductivity(p)), start, bounds=bounds)
print(fit, "\ntrue values:", true)
axes = plot.fit(fit, data, conductivity(fit.parameters))
axes["data"].set_yscale("log")
axes["data"].figure.figure.savefig("fit_dirac_disorder.png", dpi=200)
