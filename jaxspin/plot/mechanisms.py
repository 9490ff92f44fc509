"""The mechanisms of disordered conductors, and their sum."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from jaxspin.disorder import Contribution, DisorderedResponse
from jaxspin.engine.small_matrices import is_traced
from jaxspin.plot.style import GUIDE, PALETTE, SAME, axes_or_new, figure_style, largest_magnitude
from jaxspin.plot.texts import ENERGY, component_labels, component_tex, typeset_unit
from jaxspin.responses.response import Response


def contributions(
    response: DisorderedResponse,
    *,
    component: str = "yx",
    against: tuple[str, Float[np.ndarray, " x"]] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw every mechanism of a disordered conductor, one component, and their sum.

    Mechanisms that vanish by symmetry are left out. Conductivities are in e²/h, or S/cm in three
    dimensions.

    Args:
        response: from `disordered_response` with an array of mu, or mapped over a parameter.
        component: "yx" for a conductivity (flow, field), "x^x" for a spin density (field ^ spin).
        against: label and values of the parameter that was mapped over (`jax.vmap`) at one mu;
            None draws against the Fermi energy.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes.
    Raises:
        ValueError: no response of that kind, an unknown component, values that do not fit.
    """
    _check_disordered(response)
    part = "spin_density" if "^" in component else "conductivity"
    shown = {
        name: _select_component(_select_part(getattr(response, name), part), component)
        for name in (*response.MECHANISMS, "total")
    }
    label, x = _select_abscissa(response.total.conductivity.levels, against)
    _check_lengths(x, shown["total"])
    with figure_style(axes):
        axes = axes_or_new(axes)
        axes.axhline(0, **GUIDE)
        _draw_mechanisms(axes, x, shown)
        axes.set_xlabel(label)
        axes.set_ylabel(_ordinate_label(_select_part(response.total, part), component))
        axes.margins(x=0)
    return axes


# The side jump lies on the extrinsic part where the bands are isotropic.
_LOOKS: dict[str, dict[str, Any]] = {
    "side_jump": {"linestyle": "--"},
    "total": {"linewidth": 2.2},
}


def _draw_mechanisms(axes: Axes, x: np.ndarray, shown: dict[str, np.ndarray]) -> None:
    order = np.argsort(x)
    largest = max(largest_magnitude(y) for y in shown.values())
    for (name, y), color in zip(shown.items(), PALETTE, strict=True):
        if name == "total" or largest_magnitude(y) > SAME * largest:
            look = {"label": name.replace("_", " "), **_LOOKS.get(name, {})}
            axes.plot(x[order], y[order], color=color, **look)
    axes.legend()


def _select_part(contribution: Contribution, part: str) -> Response:
    """Return a conductivity in the units in which it is measured, or a spin density."""
    response = getattr(contribution, part)
    measured_in = {2: "e^2/h", 3: "S/cm"}[response.value.shape[-1]]
    return response.to(measured_in) if part == "conductivity" else response


def _select_component(part: Response, component: str) -> np.ndarray:
    """Return one component of one mechanism at each level, or at each value of a parameter."""
    labels = list(component_labels(part.axes, part.value.shape[-1]))
    if component not in labels:
        raise ValueError(
            f"Argument `component` must be one of {', '.join(map(repr, labels))}, "
            f"but is {component!r}."
        )
    return np.asarray(part.value).reshape(-1, len(labels))[:, labels.index(component)]


def _select_abscissa(levels, against) -> tuple[str, np.ndarray]:
    if against is None:
        return ENERGY, np.asarray(levels.mu).ravel()
    label, values = against
    return label, np.asarray(values, dtype=float).ravel()


def _ordinate_label(part: Response, component: str) -> str:
    """Symbol and unit of a conductivity, or of a spin density per field."""
    letters = component_labels(part.axes, part.value.shape[-1])[component]
    if "flow" in letters:
        symbol = component_tex(r"\sigma", letters)
    else:
        symbol = rf"\langle\sigma_{letters['spin']}\rangle/E_{letters['field']}"
    return f"${symbol}$ [{typeset_unit(part.units)}]"


def _check_disordered(response) -> None:
    if not isinstance(response, DisorderedResponse) or is_traced(response):
        raise ValueError(
            "Argument `response` must be what disordered_response returns, outside of jit, "
            f"but is of type {type(response).__name__}."
        )


def _check_lengths(x, y) -> None:
    if x.shape != y.shape:
        raise ValueError(
            f"Argument `against` must have {y.size} values, one for each response, "
            f"but has {x.size}."
        )
