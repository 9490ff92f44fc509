"""Anomalous Nernst effect of a Weyl semimetal, at each temperature by one sum, beside Mott's law
(dotted), −(π²k²T/3e) ∂σ_xy/∂μ from the slope of the Hall conductivity at that temperature."""

import sys

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxspin as js


class WeylMagnet(js.Model):
    """A cubic crystal, 4 Å, with nodes at k_x = k_y = 0, cos k_z = 1/2, and unequal bands."""

    @property
    def dimension(self):
        return 3

    @property
    def lattice(self):
        return 4.0 * jnp.eye(3)

    def __call__(self, k):
        parts = jnp.stack([jnp.sin(4.0 * k[0]), jnp.sin(4.0 * k[1]), 2.5 - jnp.cos(4.0 * k).sum()])
        tilt = 0.3 * (jnp.cos(4.0 * k[2]) - 0.5)
        return 0.5 * (jnp.einsum("i,inm->nm", parts, js.PAULI[1:]) + tilt * js.PAULI[0])  # eV


quick = "--quick" in sys.argv
mu, mesh = np.linspace(-0.3, 0.3, 13 if quick else 61), js.Grid((24 if quick else 80,) * 3, 0.5)
levels = js.Levels(mu, [300.0, 600.0])
nernst = js.anomalous_nernst(WeylMagnet(), mesh, levels)
hall = js.anomalous_hall(WeylMagnet(), mesh, levels).component(flow="x", field="y").natural
axes = plt.figure(figsize=(6, 3.8), layout="constrained").subplots()
js.plot.scan(nernst, components=["xy"], axes=axes).set_title("Weyl semimetal")
thermal = levels.temperatures[:, None] * js.units.BOLTZMANN * js.units.per_natural(nernst.units)
axes.plot(mu, (-(np.pi**2) / 3 * thermal * np.gradient(hall, mu, axis=1)).T, "k:", linewidth=1)
print(nernst.component(flow="x", gradient="y"))
axes.figure.savefig("nernst.png", dpi=200)
