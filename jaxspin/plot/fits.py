"""Fits: data with the fitted curves, and the covariance of the parameters."""

import itertools
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from jaxspin.engine.validate import check_type
from jaxspin.fitting import Data, Fit, Gate
from jaxspin.fitting.data import Curve
from jaxspin.plot.style import PALETTE, figure_style
from jaxspin.plot.texts import component_tex, typeset_unit
from jaxspin.responses.response import Response


def fit(
    result: Fit,
    data: Data,
    response: Response,
    *,
    density: Any = None,
    gate: Gate | None = None,
    figure: Figure | SubFigure | None = None,
) -> dict[str, Axes]:
    """Draw a fit: data with their errors, the fitted curves, residuals, and the covariance.

    Each two parameters have the ellipses whose projections are one and two standard errors, each
    parameter its normal distribution. Parameters without a finite error are left out.

    Args:
        data: one set of those that were fitted.
        response: of the fitted model, at `data.levels` or, for smooth curves,
            `data.levels_on(mu)`.
        density, gate: as in `Data.calculated`.
        figure: matplotlib figure to draw in; None makes one.
    Returns:
        The axes: "data", "residuals", and the corner by its parameters, "A0" and "B0, A0".
    Raises:
        ValueError: levels, components or units of the response that are not those of the data;
            `result` is no Fit.
    """
    check_type("result", result, Fit, "a Fit, as `fit` gives it")
    curves = data.curves(response, density=density, gate=gate)
    left = np.asarray(data.residuals(response, density=density, gate=gate))
    with figure_style(figure):
        figure = figure or pyplot.figure(figsize=(8.5, 4), layout="constrained")
        halves: Any = figure.subfigures(1, 2, width_ratios=(1.1, 1))
        curves_part, corner_part = halves
        upper, lower = curves_part.subplots(2, 1, sharex=True, height_ratios=(2.5, 1))
        for curve, color in zip(curves, itertools.cycle(PALETTE)):
            symbol = component_tex(r"\sigma", _component_letters(curve.component))
            _draw_fitted(upper, data, curve, color, f"${symbol}$, {curve.temperature:g} K")
            lower.plot(data.x[curve.rows], left[curve.rows], ".", color=color)
        _frame_fitted(upper, lower, data)
        return {"data": upper, "residuals": lower, **_draw_corner(corner_part, result)}


_ABSCISSA = {"mu": "Fermi energy (eV)", "gate": "Gate voltage (V)"}


def _component_letters(component: str) -> dict[str, str]:
    """Split a label, "zx^y", into the letters of its axes."""
    return dict(zip(("flow", "field", "spin"), component.replace("^", ""), strict=False))


def _draw_fitted(axes: Axes, data: Data, curve: Curve, color: str, label: str) -> None:
    rows, order = curve.rows, np.argsort(curve.x)
    low, high = _data_range(data)
    order = order[(curve.x[order] >= low) & (curve.x[order] <= high)]
    look: dict[str, Any] = {"color": color, "markersize": 4, "linewidth": 1}
    axes.errorbar(data.x[rows], data.value[rows], data.error[rows], fmt=".", label=label, **look)
    axes.plot(curve.x[order], curve.y[order], color=color, linewidth=1)


def _data_range(data: Data) -> tuple[float, float]:
    """Range of the data along the abscissa, with a margin of 3 %."""
    beside = 0.03 * (np.ptp(data.x) or 1.0)
    return np.min(data.x) - beside, np.max(data.x) + beside


def _frame_fitted(upper: Axes, lower: Axes, data: Data) -> None:
    upper.set_xlim(*_data_range(data))
    upper.set_ylabel(f"Conductivity [{typeset_unit(data.units)}]")
    upper.legend()
    for height in (-1, 0, 1):
        lower.axhline(height, color="0.6", linewidth=0.8, linestyle="-" if height == 0 else ":")
    lower.margins(y=0.15)
    lower.set_ylabel("Residual / error")
    lower.set_xlabel(_ABSCISSA.get(data.against, f"Density [{typeset_unit(data.kind)}]"))


def _draw_corner(figure, result: Fit) -> dict[str, Axes]:
    errors = result.standard_errors
    shown = np.flatnonzero(np.isfinite(errors) & (errors > 0)).tolist()
    if not shown:
        return {}
    grid = figure.subplots(len(shown), len(shown), squeeze=False)
    drawn = {}
    for (row, i), (column, j) in itertools.product(enumerate(shown), enumerate(shown)):
        axes, below = grid[row, column], row == len(shown) - 1
        if column > row:
            axes.remove()
            continue
        drawn[", ".join(result.names[k] for k in dict.fromkeys((i, j)))] = axes
        _draw_normal(axes, result, i) if i == j else _draw_ellipses(axes, result, i, j)
        axes.set_xlim(*_parameter_range(result, j))
        axes.tick_params(labelsize=6, labelbottom=below, labelleft=column == 0)
        axes.tick_params(axis="x", labelrotation=45)
        axes.set_xlabel(result.names[j] if below else "")
        axes.set_ylabel(result.names[i] if column == 0 < row else "")
    figure.align_labels()
    return drawn


def _parameter_range(result: Fit, i: int) -> tuple[float, float]:
    """Range of a parameter in the corner plot: three standard errors to either side."""
    reach = 3 * result.standard_errors[i]
    return result.values[i] - reach, result.values[i] + reach


def _draw_normal(axes: Axes, result: Fit, i: int) -> None:
    x = np.linspace(*_parameter_range(result, i), 100)
    axes.plot(x, np.exp(-0.5 * ((x - result.values[i]) / result.standard_errors[i]) ** 2))
    axes.locator_params(axis="x", nbins=2)
    axes.set_yticks([])


def _draw_ellipses(axes: Axes, result: Fit, i: int, j: int) -> None:
    pair = [j, i]
    widths, directions = np.linalg.eigh(result.correlation[np.ix_(pair, pair)])
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = directions @ (np.sqrt(np.maximum(widths, 0))[:, None] * [np.cos(angle), np.sin(angle)])
    for size, style in ((1, "-"), (2, "--")):
        around = result.values[pair, None] + size * result.standard_errors[pair, None] * circle
        axes.plot(*around, style, color=PALETTE[0], linewidth=1)
    axes.plot(*result.values[pair], ".", color=PALETTE[1], markersize=4)
    axes.set_ylim(*_parameter_range(result, i))
    axes.locator_params(nbins=2)
