"""Recover five parameters of Bi2Se3 from spin Hall curves.

The data are synthetic: curves of the known parameters at 150 and 300 K, with noise of 1 % of the
largest value, always the same.
"""

import sys

import numpy as np

import jaxspin as js
from jaxspin import plot

quick = "--quick" in sys.argv
mesh = js.Space([0.0793, 0.0793, 0.2020], *((10, 8, 5) if quick else (40, 24, 5)))
true = js.models.TopologicalInsulator.bi2se3()
parameters = js.fitting.Parameters(true, ["A0", "B0", "M0", "M1", "M2"])
mu = np.linspace(-0.4, 0.6, 6 if quick else 25)
levels = js.Levels(mu, temperature=[150.0, 300.0])


def spin_hall(model):
    return js.spin_hall(model, mesh, levels, definition="proper_corrected", progress=False)


rows = [(T, E, label) for label in ("xy^z", "yz^x") for T in levels.temperatures for E in mu]
kelvin, energies, labels = zip(*rows, strict=True)
places = {"mu": energies, "temperature": kelvin, "units": "hbar/e S/cm"}
exact = js.fitting.Data(np.zeros(len(rows)), 1.0, labels, **places).calculated(spin_hall(true))
error = 0.01 * np.max(np.abs(exact))
noisy = exact + error * np.random.default_rng(1).normal(size=len(rows))
data = js.fitting.Data(noisy, error, labels, **places)

start = {name: 1.15 * value for name, value in parameters.start.items()}
fit = js.fit(lambda p: data.residuals(spin_hall(parameters.model(p))), start)
print(fit, "\ntrue values:", parameters.start)
axes = plot.fit(fit, data, spin_hall(parameters.model(fit.parameters)))
axes["data"].figure.figure.savefig("fit_bi2se3.png", dpi=200)
