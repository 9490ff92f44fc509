"""The anomalous Hall effect of a magnetic topological-insulator surface, by mechanism.

A Dirac cone with an exchange gap of 2M, hexagonal warping and scalar impurities: intrinsic part,
extrinsic velocity, side jump and skew scattering against the Fermi energy.
"""

import sys
import warnings

import numpy as np

import jaxspin as js
from jaxspin import plot

# Warping grows as k³, and the spin density of the filled band would need a cutoff. Not used here.
warnings.filterwarnings("ignore", message=".*in the spin density")

quick = "--quick" in sys.argv
M = 0.05  # eV
model = js.models.MassiveDirac(velocity=3.3, mass=M, warping=40.0)
disorder = js.ScalarDisorder(0.5)  # eV² Å²: 10¹² impurities per cm² of 0.5 eV on (12 Å)²
surface = js.FermiContour(48)
mu = np.linspace(0.06, 0.25, 5 if quick else 60)

response = js.disordered_response(model, surface, js.Levels(mu), disorder)
print(response)
for name in ("intrinsic", "extrinsic", "side_jump", "skew"):
    part = getattr(response, name).conductivity.to("e^2/h").component(flow="y", field="x")
    print(f"{name:10s} σ_yx at mu = {mu[0]:.2f} eV: {part.value[0]:.4f} e²/h")

figure = plot.contributions(response, component="yx").figure
figure.savefig("disordered_hall.png", dpi=200, bbox_inches="tight")
