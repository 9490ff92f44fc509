"""How a conductivity changes with the parameters of the model, exactly, by differentiation.

A derivative costs about as much as a conductivity; a finite difference must agree with it.
Temperature must be positive: at T = 0 the occupation is a step.
"""

import jax
import jax.numpy as jnp

import jaxspin as js

mesh = js.Space([0.0793, 0.0793, 0.2020], radial=32, polar=24, azimuthal=8)
levels = js.Levels(0.35, temperature=300.0)
NAMES = ("M0", "A0", "B0")
START = jnp.array([-0.28, 3.33, 2.26])


def conductivity(parameters):
    """σ^y_zx of Bi2Se3 in (ħ/2e) S/m."""
    model = js.models.TopologicalInsulator.bi2se3(**dict(zip(NAMES, parameters, strict=True)))
    sigma = js.spin_hall(model, mesh, levels, definition="proper_corrected")
    return sigma.component(flow="z", field="x", spin="y").value[0]


print(f"σ^y_zx = {conductivity(START):.4f} (ħ/2e) S/m at mu = 0.35 eV, 300 K")
for name, along in zip(NAMES, jnp.eye(3), strict=True):
    slope = jax.jvp(conductivity, (START,), (along,))[1]
    step = 1e-4 * along
    difference = (conductivity(START + step) - conductivity(START - step)) / 2e-4
    print(f"dσ/d{name}: {slope:12.4f} by jax.jvp, {difference:12.4f} by a finite difference")
    assert abs(slope - difference) < 1e-4 * abs(slope)
