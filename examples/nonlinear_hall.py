"""Nonlinear Hall effect of a strained Dirac system: massive cones whose tilt is along x.

Both valleys have the same Berry curvature dipole, so that time reversal does not cancel the current
j_y = σ_yxx E_x². At T = 0 the mesh follows the Fermi surface (`Adaptive`)."""

import sys

import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxspin as js
from jaxspin import PAULI


class TiltedCone(js.Model):
    """velocity (k_x σ_x + k_y σ_y) + mass σ_z + tilt k_x, one spin and one valley."""

    velocity: jax.Array | float = 3.0  # eV Å
    mass: jax.Array | float = 0.05  # eV
    tilt: jax.Array | float = 0.6  # eV Å

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        plane = k[0] * PAULI[1] + k[1] * PAULI[2]
        return self.velocity * plane + self.mass * PAULI[3] + self.tilt * k[0] * PAULI[0]


mu, mesh = np.linspace(0.0, 0.2, 5 if "--quick" in sys.argv else 81), js.Disk(0.15, 120, 64)
levels = js.Levels(mu, [100.0, 300.0])
hall = js.nonlinear_hall(TiltedCone(), mesh, levels, relaxation_time=100.0)  # fs
axes = plt.figure(figsize=(6, 3.8), layout="constrained").subplots()
js.plot.scan(hall, components=["yxx"], axes=axes).set_title("Tilted massive Dirac cone, τ = 100 fs")
cold = js.berry_dipole(TiltedCone(), js.Adaptive(mesh, rtol=1e-3), js.Levels(0.1))
print(cold.component(flow="x", field="y", second_field="x"))
axes.figure.savefig("nonlinear_hall.png", dpi=200)
