"""Responses against the Fermi energy or the temperature."""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from jaxspin.plot.checks import check_response
from jaxspin.plot.style import GUIDE, PALETTE, SAME, axes_or_new, figure_style, largest_magnitude
from jaxspin.plot.texts import (
    ENERGY,
    component_label,
    component_labels,
    component_tex,
    typeset_unit,
)
from jaxspin.responses.response import Response


def scan(
    response: Response, *, components: Sequence[str] | None = None, axes: Axes | None = None
) -> Axes:
    """Draw a response against the Fermi energy, or against temperature where there is only one mu.

    A temperature axis gives one line style (up to four) or shade for each temperature. The
    estimated error is drawn as a band where it is wider than the line.

    Args:
        components: labels "flow field ^ spin", such as ["zx^y", "xy^z"] for a spin Hall
            conductivity, ["yx"] for an anomalous Hall conductivity. None draws those that neither
            vanish nor are forbidden by the group of a reduced mesh, at most seven, one of each set
            that is equal up to the sign; the legend names the others of the set.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes.
    Raises:
        ValueError: an unknown component, several responses at once (from vmap), no response.
    """
    check_response(response)
    curves = _all_curves(response)
    if components is None:
        chosen = _select_independent(_leave_out_forbidden(response, curves))
    else:
        chosen = _select_named(curves, components)
    with figure_style(axes):
        axes = axes_or_new(axes)
        _draw_curves(axes, response, chosen)
        _label_scan(axes, response)
        _draw_legend(axes, response, chosen)
    return axes


# --- components -----------------------------------------------------------------------------------


class _ComponentCurve(NamedTuple):
    """One component: value and error of shape (temperature, mu), and the name in the legend."""

    name: str
    value: np.ndarray
    error: np.ndarray


def _all_curves(response: Response) -> dict[str, _ComponentCurve]:
    """Every component by its plain label."""
    shape = (response.levels.temperatures.size, response.levels.mu.size, -1)
    value, error = (np.asarray(a).reshape(shape) for a in (response.value, response.error))
    fixed = _selected_letters(response)
    return {
        plain: _ComponentCurve(
            component_tex(response.symbol, fixed | letters), value[..., i], error[..., i]
        )
        for i, (plain, letters) in enumerate(component_labels(*_component_axes(response)).items())
    }


def _selected_letters(response: Response) -> dict[str, str]:
    return dict(part.split() for part in response.selected.split(", ") if part)


def _leave_out_forbidden(
    response: Response, curves: dict[str, _ComponentCurve]
) -> dict[str, _ComponentCurve]:
    """The components that the group of a reduced mesh allows; all where it allows none."""
    if not response.allowed:
        return curves
    allowed = set(re.findall(r"[xyz]+(?:\^[xyz]+)?", response.allowed))
    letters = component_labels(*_component_axes(response))
    whole = {name: component_label(_selected_letters(response) | letters[name]) for name in curves}
    return {name: curve for name, curve in curves.items() if whole[name] in allowed} or curves


def _component_axes(response: Response) -> tuple[tuple[str, ...], int]:
    sizes = dict(zip(response.axes, response.value.shape, strict=True))
    return response.axes, sizes.get("flow", sizes.get("field", 3))


def _select_named(
    curves: dict[str, _ComponentCurve], components: Sequence[str]
) -> list[_ComponentCurve]:
    if isinstance(components, str) or not components:
        raise ValueError(
            f"Argument `components` must be a list of labels such as {_list_labels(curves)}, "
            f"but is {components!r}."
        )
    for label in components:
        if label not in curves:
            raise ValueError(
                f"Argument `components` must hold labels such as {_list_labels(curves)}, "
                f"but holds {label!r}."
            )
    return [_add_dollars(curves[label]) for label in components]


def _list_labels(curves: dict[str, _ComponentCurve]) -> str:
    labels = list(curves)
    if labels == [""]:
        return "none at all (this response has no components: leave the argument out)"
    return ", ".join(map(repr, labels[:9])) + (", ..." if len(labels) > 9 else "")


def _select_independent(curves: dict[str, _ComponentCurve]) -> list[_ComponentCurve]:
    """Select one curve of each set that is equal up to the sign; join the names of the set."""
    largest = max(largest_magnitude(curve.value) for curve in curves.values())
    families: list[tuple[np.ndarray, list[str]]] = []
    kept: list[_ComponentCurve] = []
    for curve in curves.values():
        if largest_magnitude(curve.value) <= SAME * largest:
            continue
        sign, names = _find_family(curve, families, SAME * largest)
        if names is None:
            families.append((curve.value, [curve.name]))
            kept.append(curve)
        else:
            names.append(("=" if sign > 0 else "=-") + curve.name)
    if not kept:
        some = next(iter(curves.values()))
        return [some._replace(name="all components")]
    joined = [
        _add_dollars(curve._replace(name=_join_names(names)))
        for curve, (_, names) in zip(kept, families, strict=True)
    ]
    order = np.argsort([-largest_magnitude(curve.value) for curve in joined], kind="stable")
    return [joined[i] for i in sorted(order[: len(PALETTE)])]


def _find_family(curve, families, tolerance) -> tuple[int, list[str] | None]:
    for value, names in families:
        for sign in (1, -1):
            if largest_magnitude(curve.value - sign * value) <= tolerance:
                return sign, names
    return 1, None


def _join_names(names: list[str]) -> str:
    return "".join(names[:4]) + (r"=\ldots" if len(names) > 4 else "")


def _add_dollars(curve: _ComponentCurve) -> _ComponentCurve:
    return curve._replace(name=f"${curve.name}$")


# --- lines ----------------------------------------------------------------------------------------

_LINE_STYLES = ("-", "--", "-.", ":")


def _draw_curves(axes: Axes, response: Response, curves: list[_ComponentCurve]) -> None:
    mu, temperatures = response.levels.mu, response.levels.temperatures
    axes.axhline(0, **GUIDE)
    if _along_temperature(response):
        for curve, color in zip(curves, itertools.cycle(PALETTE)):
            line = curve.value[:, 0], curve.error[:, 0]
            _draw_line(axes, temperatures, *line, color=color, style="-")
        return
    for curve, color in zip(curves, itertools.cycle(PALETTE)):
        for i in range(temperatures.size):
            shade, style = (
                _shade_colour(color, i, temperatures.size),
                _line_style(i, temperatures.size),
            )
            _draw_line(axes, mu, curve.value[i], curve.error[i], color=shade, style=style)


def _draw_line(axes: Axes, x, y, error, *, color, style: str) -> None:
    """Draw one curve with its error band, in the order of x."""
    order = np.argsort(x)
    x, y, error = np.asarray(x)[order], y[order], error[order]
    marker = "o" if x.size == 1 else None
    axes.plot(x, y, color=color, linestyle=style, marker=marker)
    # A line is about half a per cent of the height of the axes.
    if largest_magnitude(error) > 0.005 * np.ptp(np.nan_to_num(y)):
        axes.fill_between(x, y - error, y + error, color=color, alpha=0.2, linewidth=0)


def _along_temperature(response: Response) -> bool:
    return response.levels.mu.size == 1 and response.levels.temperatures.size > 1


def _line_style(i: int, number: int) -> str:
    return _LINE_STYLES[i] if number <= len(_LINE_STYLES) else "-"


def _shade_colour(color: str, i: int, number: int) -> tuple[float, ...]:
    """The colour mixed with white, more for each temperature after the first."""
    white = 0.0 if number == 1 else 0.6 * i / (number - 1)
    return tuple(c + (1 - c) * white for c in to_rgb(color))


# --- texts ----------------------------------------------------------------------------------------


def _label_scan(axes: Axes, response: Response) -> None:
    mu, temperatures = response.levels.mu, response.levels.temperatures
    quantity, _, detail = response.name.partition(" (")
    given = [detail.rstrip(")")] if detail else []
    if _along_temperature(response):
        axes.set_xlabel("Temperature (K)")
        given.append(rf"$\mu$ = {float(mu[0]):g} eV")
    else:
        axes.set_xlabel(ENERGY)
        if temperatures.size == 1:
            given.append(f"$T$ = {float(temperatures[0]):g} K")
    axes.set_ylabel(f"{quantity[:1].upper()}{quantity[1:]} [{typeset_unit(response.units)}]")
    axes.set_title(", ".join(given))
    axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
    axes.margins(x=0.0 if mu.size > 1 or _along_temperature(response) else 0.05)


def _draw_legend(axes: Axes, response: Response, curves: list[_ComponentCurve]) -> None:
    handles = [
        Line2D([], [], color=color, label=curve.name)
        for curve, color in zip(curves, itertools.cycle(PALETTE))
    ]
    temperatures = response.levels.temperatures
    number = temperatures.size
    if number > 1 and not _along_temperature(response):
        for i in np.unique(np.linspace(0, number - 1, min(number, 6)).astype(int)).tolist():
            look = {"color": _shade_colour("0.2", i, number), "linestyle": _line_style(i, number)}
            handles.append(Line2D([], [], label=f"{float(temperatures[i]):g} K", **look))
    if len(handles) > 1 or "_" in curves[0].name:  # a quantity without components needs none
        axes.legend(handles=handles, loc="best")
