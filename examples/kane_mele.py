"""The quantum spin Hall effect: the Kane-Mele model, and what Rashba coupling does to it.

Without Rashba coupling the spin is conserved, and in the gap σ^z_xy is exactly -1 (ħ/e)(e²/h).
"""

import numpy as np

import jaxspin as js
from jaxspin import plot

mesh = js.Grid((96, 96))
levels = js.Levels(np.linspace(-3.0, 3.0, 121), temperature=50.0)

for rashba in (0.0, 0.2):
    model = js.models.KaneMele(onsite=0.5, hopping=1.0, spin_orbit=0.3, rashba=rashba)
    sigma = js.spin_hall(model, mesh, levels, definition="conventional").to("hbar/e e^2/h")
    in_gap = sigma.component(flow="x", field="y", spin="z").value[60]
    print(f"Rashba coupling {rashba} eV: σ^z_xy in the gap is {in_gap:.6f} (ħ/e)(e²/h)")
    if rashba == 0.0:
        plot.scan(sigma, components=["xy^z"]).figure.savefig("kane_mele_spin_hall.png", dpi=200)

corners = js.Path([[0, 0], [2 / 3, 1 / 3], [0.5, 0], [0, 0]], ["G", "K", "M", "G"])
plot.bands(model, corners).figure.savefig("kane_mele_bands.png", dpi=200)
