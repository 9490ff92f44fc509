"""Berry curvature of the Haldane model over its Brillouin zone, and the Chern number it sums to."""

import matplotlib.pyplot as plt
import numpy as np

import jaxspin as js
from jaxspin import plot

plt.rcParams.update(plot.STYLE)
figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for onsite, axes in zip((0.2, 1.2), panels, strict=True):
    model = js.models.Haldane(onsite=onsite, hopping=-1.0, next_hopping=0.15, phase=np.pi / 2)
    hall = js.anomalous_hall(model, js.Grid((60, 60)), js.Levels(0.0)).to("e^2/h")
    chern = hall.component(flow="y", field="x").value[0]
    print(f"onsite {onsite} eV: Chern number of the lower band {chern:.4f}")
    plot.curvature_map(model, band=0, axes=axes)
    axes.set_title(f"onsite {onsite} eV, Chern number {round(float(chern)):d}")
figure.savefig("curvature_map.png", dpi=200)
