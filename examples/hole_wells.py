"""Holes in 25 nm wells: bands, proper spin Hall effect; dashed: E_F 8 meV above the light holes."""

import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np

import jaxspin as js

warnings.filterwarnings("ignore", "The torque density")  # of spins in the plane; here z is drawn
number, radial, angles = (2, 30, 5) if "--quick" in sys.argv else (24, 200, 24)
fermi = {"GaAs": 0.015, "InAs": 0.040, "InSb": 0.060, "Ge (Liu 2023)": 0.020}  # eV, Fig. 2(b)


def sigma(well, energies):
    levels = js.Levels(well.heavy_hole_edge + np.asarray(energies), temperature=5.8)  # 0.5 meV
    mesh = js.Disk(well.cutoff(levels.mu + 0.01), radial, angles)
    response = js.spin_hall(well, mesh, levels, definition="proper_published")
    return response.to("e/8pi").component(flow="y", field="x", spin="z").value


figure, (bands, scan, gate) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
k, part, fields = np.linspace(0, 0.05, 80), np.linspace(0.05, 1, 12), np.linspace(0.1, 5, number)
for material, energy in fermi.items():
    color = f"C{list(fermi).index(material)}"
    wells = [js.models.HoleWell(material, 250.0, 1e6 * field, zeeman=1e-3) for field in fields]
    well = js.models.HoleWell(material, 250.0, 1e6, zeeman=1e-3)
    print(f"{material}: HH1 {well.heavy_hole_edge:.6f} eV, α3 {well.cubic_rashba:.1f} eV Å³")
    bands.plot(k, 1e3 * js.bands(well, np.stack([k, 0 * k], 1)).energies, color)
    scan.plot(part * 1e3 * energy, sigma(well, part * energy), color, label=material)
    light = [w.subbands.light[0] - w.heavy_hole_edge + 0.008 for w in wells]
    paper, filled = np.transpose([sigma(w, [energy, e]) for w, e in zip(wells, light, strict=True)])
    gate.plot(fields, paper, color, fields, filled, color + "--")
bands.set(xlabel="$k_x$ (1/Å)", ylabel="Hole energy (meV)", ylim=(-5, 60), title="$F$ = 1 MV/m")
scan.set(xlabel="$E_F$ (meV)", ylabel=r"$\sigma^z_{yx}$ ($e/8\pi$)", title="$F$ = 1 MV/m")
gate.set(xlabel="$F$ (MV/m)", ylabel=r"$\sigma^z_{yx}$ ($e/8\pi$)")
gate.set_title("$E_F$ of the paper; dashed: 8 meV above LH1", fontsize="medium")
scan.legend(frameon=False)
figure.savefig("hole_wells.png", dpi=150)
