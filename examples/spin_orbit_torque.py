"""Spin-orbit torques of a magnetic topological-insulator surface, against the magnetization.

M·σ along the normal to the plane, E along x. One call, mapped over 30 magnetizations.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jaxspin as js
from jaxspin import plot

count = 5 if "--quick" in sys.argv else 30
mass = jnp.linspace(0.01, 0.12, count)  # eV, along z
disorder, surface = js.ScalarDisorder(0.5), js.FermiContour(16)


def torques(mass):
    model = js.models.MassiveDirac(velocity=3.3, mass=mass)
    response = js.disordered_response(model, surface, js.Levels(0.2), disorder)
    return response, response.spin_orbit_torque(jnp.array([0.0, 0.0, 1.0]) * mass)


response, torque = jax.jit(jax.vmap(torques))(mass)
field_like, damping_like = torque.field_like.value, torque.damping_like.value
print(f"M = {mass[-1]:.2f} eV, E along x, torque on the carriers in e/Å per field:")
print(f"field-like   {np.round(field_like[-1, 0, :, 0], 6)}")
print(f"damping-like {np.round(damping_like[-1, 0, :, 0], 6)}")

axes = plot.contributions(response, component="x^x", against=("exchange energy $M$ (eV)", mass))
axes.set_title("spin density behind the damping-like torque")
axes.figure.savefig("spin_orbit_torque.png", dpi=200, bbox_inches="tight")
