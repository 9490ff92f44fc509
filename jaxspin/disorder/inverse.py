"""Inverse effects: the charge current that is driven by what a measured operator couples to."""

import dataclasses
from typing import TypeVar

import jax.numpy as jnp

from jaxspin.disorder.quasi_degenerate import TwoOrders
from jaxspin.disorder.results import OperatorResponse
from jaxspin.responses.response import Response

_Measured = TypeVar("_Measured", OperatorResponse, TwoOrders)


def inverse_response(response: _Measured) -> _Measured:
    """The inverse of a measured response, by mechanism: inverse spin Hall and Edelstein effects.

        ⟨O⟩ = χ_Oj E_j = −K_Ov E,   ⟨j_i⟩ = χ⁻_iO E_O = K_vO E_O
        χ⁻_iO = −χ_Oi(drude) + χ_Oi(order_zero) = ε_O χ_Oi of the model with time reversed

    with E_O the field whose work on the electrons is −O E_O per time, as −v·E is that of an
    electric field: for the spin current a gradient of the spin potential (inverse spin Hall
    effect), for the torque a rotation of the magnetisation. K_AB is the correlation function of
    docs/disorder.md. Its part even in the exchange of A and B is `drude`, and the rest is odd, so
    that only the sign of `drude` changes, at the same magnetisation. The second form is Onsager's
    reciprocity (Phys. Rev. 38, 2265 (1931)), with the parity ε_O = 1 of spin current and torque and
    −1 of spin and current. The power of either effect is ∝ E E_O, and the units are the same.

    Args:
        response: a member of `measured` of `disordered_response` or of
            `disorder.quasi_degenerate_response`, or its conductivity or spin density.
    Returns:
        The same kind of set, whose axis "flow" is now that of the charge current. What was the flow
        of the operator is its "field": axes (temperature?, mu, flow, field?, spin?).
    Raises:
        ValueError: no such set.

    >>> import jaxspin as js
    >>> model, surface = js.models.Rashba(kinetic=3.8, velocity=0.5), js.FermiContour(12)
    >>> call = (model, surface, js.Levels(0.3), js.ScalarDisorder(0.1))
    >>> spin = js.disordered_response(*call, measure={"spin": "spin"}).measured.spin
    >>> inverse = js.disorder.inverse_response(spin)
    >>> inverse.drude.axes, spin.drude.axes
    (('mu', 'flow', 'spin'), ('mu', 'spin', 'field'))
    """
    if not isinstance(response, OperatorResponse | TwoOrders) or "field" not in response.drude.axes:
        raise ValueError(
            "Argument `response` must be the response of one operator, such as "
            "`disordered_response(..., measure={'flow': 'spin_current'}).measured.flow`, but is "
            f"{_describe(response)}."
        )
    turned = {name: _invert(part, -1 if name == "drude" else 1) for name, part in response.items()}
    return dataclasses.replace(response, **turned)


def _describe(response) -> str:
    if isinstance(response, OperatorResponse | TwoOrders):
        return f"an inverse response, of the axes {response.drude.axes}"
    return f"a {type(response).__name__}"


def _invert(part: Response, sign: int) -> Response:
    """χ⁻ of one mechanism, the axis of the field first and named as a flow."""
    exchanged = {"field": "flow", "flow": "field"}
    axes = [exchanged.get(axis, axis) for axis in part.axes]
    before, first = axes.index("flow") - len(axes), len(part.levels.axes) - len(axes)
    axes.insert(len(part.levels.axes), axes.pop(before))
    return part.replace(
        value=sign * jnp.moveaxis(part.value, before, first),
        error=jnp.moveaxis(part.error, before, first),
        axes=tuple(axes),
        name=f"inverse of {part.name}",
        formula=f"{'−' if sign < 0 else ''}χ_Oi with χ: {part.formula}",
    )
