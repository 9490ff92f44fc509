"""Spin-transfer torque of Bi2Se3 electrons on a skyrmion, and what a micromagnetic code needs.

Five meV above the band edge, exchange 1.25 meV, τ = 0.1 ps, eE = 1 µeV/Å along x.
"""

import sys

import numpy as np

import jaxspin as js
from jaxspin import plot, spin_transfer as stt

points = 9 if "--quick" in sys.argv else 42
band = stt.ConductionBand(js.models.TopologicalInsulator.bi2se3())
levels, exchange, tau = js.Levels(0.2767), 0.00125, 0.1  # eV, eV, ps
surface, fine = js.FermiShell(10, 12), stt.DropSlowModes()

uniform = js.spin_transfer_torque(band, surface, levels, [0, 0, exchange], tau)
projection = uniform.dressed.projection()
print(f"adiabatic coefficient {projection.adiabatic.value[0, 0, 0]:.2f} ħ/(eV² Å)")
print(f"beta                  {projection.beta.value[0, 0, 0]:.4f}")
print(f"lifetime of m-parallel spin {uniform.info['longest_spin_lifetime']:.0f} ps")
print(stt.micromagnetics(uniform.dressed, field=[1e-6, 0, 0], saturation=3e4).mumax3())  # eE

spacing = 4000 / points  # Å
skyrmion = stt.skyrmion(points, spacing, radius=1000, width=400, exchange=exchange)
found = stt.texture_torque(
    band,
    surface,
    levels,
    skyrmion,
    tau,
    spacing=[spacing, spacing],
    field=[1e-6, 0, 0],
    slow_modes=fine,
)
print(f"largest torque {np.abs(found.torque).max():.3g} eV/Å³")
axes = plot.texture_torque(found)
axes.figure.savefig("spin_transfer_torque.png", dpi=200, bbox_inches="tight")
