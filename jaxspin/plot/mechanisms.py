"""The responses of a set, such as the mechanisms of a disordered conductor, and their sum."""

import itertools
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from jaxspin import units
from jaxspin.engine.validate import check_type
from jaxspin.plot.checks import check_known
from jaxspin.plot.style import GUIDE, PALETTE, SAME, axes_or_new, figure_style, largest_magnitude
from jaxspin.plot.texts import ENERGY, component_labels, component_tex, typeset_unit
from jaxspin.responses.response import Response
from jaxspin.responses.response_set import ResponseSet


def contributions(
    response: ResponseSet,
    *,
    component: str = "yx",
    against: tuple[str, Float[np.ndarray, " x"]] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw one component of every response of a set, such as every mechanism and their sum.

    Responses that vanish by symmetry are left out. Charge conductivities are in e²/h, or S/cm in
    three dimensions. In a set of sets the response that has the component is taken from each.

    Args:
        response: from `disordered_response`, `spin_hall_pieces`, ... with an array of mu, or mapped
            over a parameter.
        component: "yx" for a conductivity (flow, field), "x^x" for a spin density (field ^ spin).
        against: label and values of the parameter that was mapped over (`jax.vmap`) at one mu;
            None draws against the Fermi energy.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes.
    Raises:
        ValueError: no set of responses, an unknown component, values that do not fit.
    """
    _check_set(response)
    parts = {name: _find_part(member, component) for name, member in response.items()}
    shown = {name: _take_component(part, component) for name, part in parts.items()}
    *_, last = parts.values()
    label, x = _select_abscissa(last.levels, against)
    _check_lengths(x, next(iter(shown.values())))
    with figure_style(axes):
        axes = axes_or_new(axes)
        axes.axhline(0, **GUIDE)
        _draw_lines(axes, x, shown)
        axes.set_xlabel(label)
        axes.set_ylabel(_ordinate_label(last, component))
        axes.margins(x=0)
    return axes


# The side jump lies on the extrinsic part where the bands are isotropic.
_LOOKS: dict[str, dict[str, Any]] = {
    "side_jump": {"linestyle": "--"},
    "total": {"linewidth": 2.2},
}


def _draw_lines(axes: Axes, x: np.ndarray, shown: dict[str, np.ndarray]) -> None:
    order = np.argsort(x)
    largest = max(largest_magnitude(y) for y in shown.values())
    for (name, y), color in zip(shown.items(), itertools.cycle(PALETTE)):
        if name == "total" or largest_magnitude(y) > SAME * largest:
            look = {"label": name.replace("_", " "), **_LOOKS.get(name, {})}
            axes.plot(x[order], y[order], color=color, **look)
    axes.legend()


def _find_part(member: Response | ResponseSet, component: str) -> Response:
    """The response that has the component, a charge conductivity in the unit it is measured in."""
    parts = list(member.flatten().values()) if isinstance(member, ResponseSet) else [member]
    for part in parts:
        if component in _component_letters(part):
            return _in_usual_unit(part)
    allowed = ", ".join(repr(label) for part in parts for label in _component_letters(part))
    raise ValueError(f"Argument `component` must be one of {allowed}, but is {component!r}.")


def _component_letters(part: Response) -> dict[str, dict[str, str]]:
    """Letters of each component by its label."""
    sizes = dict(zip(part.axes, part.value.shape[-len(part.axes) :], strict=True))
    return component_labels(part.axes, sizes.get("field", sizes.get("flow", 3)))


def _in_usual_unit(part: Response) -> Response:
    """A charge conductivity in the unit in which it is measured."""
    usual: dict[int, units.Unit] = {2: "e^2/h", 3: "S/cm"}
    measured_in = usual.get(part.value.shape[-1])
    if measured_in is None or not units.is_convertible(part.units, measured_in):
        return part
    return part.to(measured_in)


def _take_component(part: Response, component: str) -> np.ndarray:
    """One component of a response at each level, or at each value of a parameter."""
    labels = list(_component_letters(part))
    return np.asarray(part.value).reshape(-1, len(labels))[:, labels.index(component)]


def _select_abscissa(levels, against) -> tuple[str, np.ndarray]:
    if against is None:
        return ENERGY, np.asarray(levels.mu).ravel()
    label, values = against
    return label, np.asarray(values, dtype=float).ravel()


def _ordinate_label(part: Response, component: str) -> str:
    """A response with its unit; a spin density by the field."""
    letters = _component_letters(part)[component]
    symbol = component_tex(part.symbol, letters)
    if units.is_convertible(part.units, units.spin_polarization(part.value.shape[-1])):
        symbol = rf"\langle\sigma_{letters['spin']}\rangle/E_{letters['field']}"
    return f"${symbol}$ [{typeset_unit(part.units)}]"


def _check_set(response) -> None:
    wanted = "a set of responses, as disordered_response returns"
    check_type("response", response, ResponseSet, wanted)
    check_known("response", response)


def _check_lengths(x, y) -> None:
    if x.shape != y.shape:
        raise ValueError(
            f"Argument `against` must have {y.size} values, one for each response, "
            f"but has {x.size}."
        )
