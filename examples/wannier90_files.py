"""Wannier90 files: written, read again with a report, and summed.

Stands for your own files: the Fu-Kane-Mele model (Phys. Rev. Lett. 98, 106803, 2007), s orbitals on
the diamond lattice with spin-orbit coupling, in a field along z.
"""

import sys

import numpy as np

import jaxspin as js
from jaxspin import plot
from jaxspin.engine.small_matrices import PAULI
from jaxspin.interop import wannier90

lattice = 2.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
bonds = 1.25 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
blocks = {(0, 0, 0): np.kron(np.eye(2), 0.1 * PAULI[3])}  # the field
for p, d in enumerate(bonds):
    hop = np.kron([[0, 1], [0, 0]], (1.4 if p == 0 else 1.0) * PAULI[0])  # from B to A
    cell = tuple(np.rint((d - bonds[0]) @ np.linalg.inv(lattice)).astype(int).tolist())
    for c, h in ((cell, hop), (tuple(-x for x in cell), hop.T)):
        blocks[c] = blocks.get(c, 0) + h
    for e in bonds[np.arange(4) != p]:
        cell = tuple(np.rint((d - e) @ np.linalg.inv(lattice)).astype(int).tolist())
        coupling = 0.125j * np.einsum("s,sab->ab", np.cross(d, e) / 1.25**2 / 2, PAULI[1:])
        blocks[cell] = blocks.get(cell, 0) + np.kron(PAULI[3], coupling)
centres = np.repeat([np.zeros(3), bonds[0]], 2, axis=0)
made = js.HoppingModel(lattice, list(blocks), list(blocks.values()), centres, spin=None)
wannier90.write(made, "diamond")

model, report = wannier90.examine("diamond", spin_order="interlaced")
print(report)
mesh, levels = js.Grid((8 if "--quick" in sys.argv else 48,) * 3), js.Levels(np.linspace(-4, 4))
hall = js.anomalous_hall(model, mesh, levels).to("S/cm")
spin_hall = js.spin_hall(model, mesh, levels, definition="conventional").to("hbar/e S/cm")
print(f"largest σ_xy: {np.max(np.abs(hall.component(flow='x', field='y').value)):.4g} S/cm")
plot.scan(spin_hall, components=["xy^z"]).figure.savefig("diamond_spin_hall.png", dpi=200)
path = js.Path([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0.5]], ["L", "G", "X"])
plot.bands(model, path).figure.savefig("diamond_bands.png", dpi=200)
