"""The spin Hall angle, and the efficiency of a spin-orbit torque, by mechanism."""

import jax.numpy as jnp

from jaxspin import units
from jaxspin.disorder.results import DisorderedResponse
from jaxspin.engine.validate import check_type
from jaxspin.responses.response import Response
from jaxspin.responses.response_set import NamedResponses, ResponseSet


def spin_hall_angle(response: DisorderedResponse, of: str = "spin_current") -> NamedResponses:
    """θ^c_ab = (2e/ħ) σ^c_ab/σ_bb, by mechanism: axes (temperature?, mu, flow, field, spin).

    With J^c_a = σ^c_ab E_b the spin current, in units of ħ/2e, and σ_bb the Drude conductivity
    along the field, which does not depend on the mechanism. It is the spin current that a charge
    current carries, and the efficiency of the torque, ξ = (2e/ħ) J^s/J, on a magnet that takes all
    of it up (Sinova et al., Rev. Mod. Phys. 87, 1213 (2015)). `drude` and `order_zero` are of
    different orders in the disorder: with σ_bb ∝ 1/u0² the angle of the one does not depend on its
    strength, and that of the other is proportional to u0².

    Args:
        response: of `disordered_response` with a spin current among `measure`.
        of: its name there.
    Raises:
        ValueError: no such response; no spin current of that name; no Fermi surface at any level.

    >>> import jaxspin as js
    >>> model, surface = js.models.Rashba(kinetic=3.8, velocity=0.5), js.FermiContour(12)
    >>> call = (model, surface, js.Levels(0.3), js.ScalarDisorder(0.1))
    >>> response = js.disordered_response(*call, measure={"spin_current": "spin_current"})
    >>> angle = js.disorder.spin_hall_angle(response).intrinsic
    >>> angle.axes, angle.units
    (('mu', 'flow', 'field', 'spin'), '1')
    """
    check_type("response", response, DisorderedResponse, "a response of disordered_response")
    current = _find_current(response, of)
    drude = response.drude.conductivity
    along, along_error = (jnp.einsum("...bb->...b", x) for x in (drude.value, drude.error))

    def divide(part: Response) -> Response:
        natural = units.per_natural(part.units)
        ratio = part.value / natural / along[..., None, :, None]
        relative = (along_error / jnp.abs(along))[..., None, :, None]
        error = part.error / natural / jnp.abs(along)[..., None, :, None]
        return part.replace(
            value=ratio,
            error=error + relative * jnp.abs(ratio),
            units=units.ratio(),
            symbol=r"\theta",
            name=f"spin Hall angle {part.name[part.name.rfind('(') :]}",
            formula="θ^c_ab = (2e/ħ) σ^c_ab/σ_bb",
        )

    found = {name: divide(part) for name, part in current.items()}
    return NamedResponses(dict(found), heading="spin Hall angle")


def _find_current(response: DisorderedResponse, of: str) -> ResponseSet:
    measured = response.measured or {}
    spin_axes = ("flow", "field", "spin")
    known = [name for name, part in measured.items() if part.drude.axes[-3:] == spin_axes]
    if of not in known:
        raise ValueError(
            f"Argument `of` must be a spin current among `measure`, one of "
            f"{', '.join(map(repr, known)) or 'none'}, but is {of!r}. Give "
            'disordered_response(..., measure={"spin_current": "spin_current"}).'
        )
    return measured[of]
