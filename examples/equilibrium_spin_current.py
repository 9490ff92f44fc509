"""Equilibrium spin current of a polar metal: what an effective Hamiltonian alone gets wrong.

Two bands of the crystal-field model of C4v. The standard definition ½{∂H_eff, σ} misses nearly all
of the current; with the operators that `downfold` dresses it is that of all six bands.
"""

import matplotlib.pyplot as plt
import numpy as np

import jaxspin as js
from jaxspin import plot
from jaxspin.units import BOLTZMANN

model = js.models.CrystalFieldC4v(gap=2.0, a=1.0, b=0.3, b_inter=0.1, kinetic=3.81)  # eV, Å
mesh = js.Disk(cutoff=0.75, radial=256, angular=5)
levels = js.Levels(np.linspace(0.1, 0.8, 36), temperature=0.02 / BOLTZMANN)
two = js.downfold(model, (0, 1))
print(two.validity(mesh))

full = js.equilibrium_spin_current(model, mesh, levels, bands=(0, 1)).total
dressed = js.equilibrium_spin_current(two, mesh, levels).total
standard = js.equilibrium_spin_current(two.undressed(), mesh, levels).total
curves = {"all six bands": full, "two bands, dressed": dressed, "two bands, standard": standard}

plt.rcParams.update(plot.STYLE)
figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
for (name, current), style in zip(curves.items(), ("-", "--", "-."), strict=True):
    xy = current.component(flow="y", spin="x").value
    print(f"{name:20} {xy[20] * 1e5:8.4f} 1e-5 eV/Å at 0.5 eV")
    axes.plot(levels.mu, xy * 1e5, style, label=name)
axes.set(xlabel="chemical potential (eV)", ylabel=r"$\hbar J_{xy}$ ($10^{-5}$ eV/Å)")
axes.legend(frameon=False)
figure.savefig("equilibrium_spin_current.png", dpi=200)
