"""How many k-points responses need: meshes grown to a tolerance, by `js.converge`.

In the gap of a Chern insulator the error falls faster than any power of the spacing; a Fermi
surface at 300 K takes a fine mesh first; on a continuum the radial rule decides.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import jaxspin as js

tolerance = 1e-2 if "--quick" in sys.argv else 1e-5
chern = js.models.Haldane(onsite=0.2, hopping=-1.0, next_hopping=0.15, phase=np.pi / 2)
plane = js.models.Rashba(kinetic=4.0, velocity=0.5, exchange=0.05)
threefold = js.Symmetric(js.Grid((9, 9)), js.symmetry.rotation(3))
warm = js.Levels(0.3, 300.0)
cases = {
    "in a gap": (js.anomalous_hall, chern, threefold, js.Levels(0.0)),
    "Fermi surface at 300 K": (js.density_of_states, chern, threefold, js.Levels(-1.2, 300.0)),
    "k < 1/Å, 300 K": (js.anomalous_hall, plane, js.Disk(1.0, 8, 6), warm),
}
figure, panels = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
for axes, (title, asked) in zip(panels, cases.items(), strict=True):
    found = js.converge(*asked, tolerance=tolerance)
    print(f"{title}: {found}")
    js.plot.convergence(found, axes=axes).set_title(title)
    axes.get_legend().remove()
figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
figure.savefig("convergence.png", dpi=200)
