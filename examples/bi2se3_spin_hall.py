"""The spin Hall conductivity of Bi2Se3 against the Fermi energy, by two definitions.

Shows a scan, its printed result, a figure with two panels, and a netCDF file that loads again.
`--quick` takes a coarse mesh. The same without Python: `jaxspin scan --example bi2se3`.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import jaxspin as js
from jaxspin import plot

nodes = (32, 16, 8) if "--quick" in sys.argv else (192, 96, 8)

model = js.models.TopologicalInsulator.bi2se3()
mesh = js.Space([0.0793, 0.0793, 0.2020], *nodes)  # 1/Å: where the bands have their structure
levels = js.Levels(np.linspace(-0.3, 0.6, 181), temperature=[0, 300])

plt.rcParams.update(plot.STYLE)
figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for definition, axes in zip(("proper_corrected", "conventional"), panels, strict=True):
    sigma = js.spin_hall(model, mesh, levels, definition=definition)
    print(sigma, end="\n\n")
    plot.scan(sigma, components=["zx^y", "xy^z"], axes=axes)
    sigma.save(f"bi2se3_{definition}.nc", overwrite=True)
figure.savefig("bi2se3_spin_hall.png", dpi=200)

loaded = js.load("bi2se3_proper_corrected.nc").component(flow="z", field="x", spin="y")
at = np.argmin(abs(levels.mu - 0.35))
print(f"σ^y_zx at {levels.mu[at]:.2f} eV, 300 K: {loaded.value[1, at]:.2f} {loaded.units}")
