"""Spin-orbit torques from the spin density that a field induces."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxspin import units
from jaxspin.engine.annotations import Numbers
from jaxspin.engine.validate import check_vector, is_zero
from jaxspin.responses.response import Response
from jaxspin.responses.response_set import ResponseSet


class SpinOrbitTorque(ResponseSet):
    """The torque on the spins of the carriers per volume and field, axes (temperature?, mu, spin,
    field).

    The torque on the magnetization is the opposite. `field_like` comes from the spin along ẑ x E
    and is ∝ m x (ẑ x E); `damping_like` is the rest, ∝ m x [m x (ẑ x E)] for spin along
    m x (ẑ x E).
    """

    total: Response
    field_like: Response
    damping_like: Response

    @property
    def title(self) -> str:
        return "spin-orbit torque on the spins of the carriers"


def spin_orbit_torque(
    spin_density: Response, magnetization: Numbers, normal: Numbers
) -> SpinOrbitTorque:
    """M x ⟨σ⟩, from (2/ħ) M x s with the true spin s = ħ⟨σ⟩/2: H = ... + M·σ.

    For the massive Dirac cone this is Eq. (105) of Burgos Atencia et al. without the factor
    ρ(ε_F) that its first line has too much:
        τ/e = −(τ_0 ε_F M/2πv)(1−x)/(1+3x) m x (ẑ x E) + (2/πv)(M²/ε_F)(1+x)/(1+3x)² m x E,
    x = (M/ε_F)², ħ = 1, 1/τ_0 = πu0²ρ; the second term is damping-like, since m x E =
    −m x [m x (ẑ x E)] for m along ẑ.

    Raises:
        ValueError: a vector that is not three finite numbers; no direction `normal`.
    """
    magnetization = _as_vector("magnetization", magnetization)
    normal = _as_vector("normal", normal)
    if is_zero(normal):
        raise ValueError("Argument `normal` must be a direction, but is zero.")
    dimension = spin_density.value.shape[-1]
    spin = spin_density.to(units.spin_polarization(dimension)).value
    along = jnp.cross(normal, jnp.eye(3)[:dimension])  # ẑ x E of each field, (field, 3)
    length = jnp.linalg.norm(along, axis=1, keepdims=True)
    along = (along / jnp.where(length == 0, 1, length)).T  # (3, field)
    edelstein = jnp.sum(spin * along, axis=-2, keepdims=True) * along
    torques = {"total": spin, "field_like": edelstein, "damping_like": spin - edelstein}
    return SpinOrbitTorque(
        **{
            name: _build_torque(spin_density, magnetization, name, value)
            for name, value in torques.items()
        }
    )


def _build_torque(spin_density: Response, magnetization, name: str, spin) -> Response:
    dimension = spin.shape[-1]
    value = jnp.cross(magnetization, spin, axisb=-2, axisc=-2)
    # The same bound for all components: that of the spin density is the same for all too.
    error = (
        jnp.linalg.norm(magnetization)
        * np.sqrt(3)
        * jnp.max(
            spin_density.to(units.spin_polarization(dimension)).error, axis=(-2, -1), keepdims=True
        )
    )
    return Response(
        value=value,
        error=jnp.broadcast_to(error, value.shape),
        levels=spin_density.levels,
        info={},
        axes=spin_density.axes,
        origin=spin_density.origin,
        symbol=r"\tau",
        units=units.torque(dimension),
        name=f"spin-orbit torque ({name.replace('_', '-')})",
        formula="τ = M x ⟨σ⟩",
        source=spin_density.source,
    )


def _as_vector(name: str, value) -> Array:
    check_vector(name, value, 3, "three numbers, finite and real")
    return jnp.asarray(value, dtype=jnp.result_type(float))
