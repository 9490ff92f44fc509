"""A model of your own: write H(k) at one k, and everything in jaxspin works on it.

A magnetic film, v (k_x σ_y - k_y σ_x) + (m - b k²) σ_z: in the gap σ_yx = ½ (sgn m + sgn b) e²/h.
"""

import jax
import jax.numpy as jnp
import numpy as np

import jaxspin as js
from jaxspin import plot
from jaxspin.engine.small_matrices import PAULI


class MagneticFilm(js.Model):
    velocity: jax.Array | float  # eV Å
    mass: jax.Array | float  # eV
    curvature: jax.Array | float  # eV Å²

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        x, y, z = PAULI[1:]
        gap = self.mass - self.curvature * (k @ k)
        return self.velocity * (k[0] * y - k[1] * x) + gap * z

    def spin(self):
        return jnp.asarray(PAULI[1:])


if __name__ == "__main__":
    mesh = js.Plane(scale=0.05, radial=160, angular=16)
    levels = js.Levels(np.linspace(-0.3, 0.3, 121), temperature=20.0)
    for mass in (-0.1, 0.1):
        hall = js.anomalous_hall(MagneticFilm(3.0, mass, 20.0), mesh, levels).to("e^2/h")
        in_gap = hall.component(flow="y", field="x").value[60]
        print(f"m = {mass:4.1f} eV: σ_yx in the gap is {in_gap:.4f} e²/h")
    plot.scan(hall, components=["yx"]).figure.savefig("own_model.png", dpi=200)
