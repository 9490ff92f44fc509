"""Style of all figures: colours, new axes, guide lines, colour bars, the smallest visible size.

A drawing function opens `figure_style(axes)`, then takes `axes_or_new(axes)`.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from jaxspin.engine.validate import check_type

#: Okabe and Ito's palette, which colour-blind readers can tell apart (yellow left out: too pale).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

#: The look of figures made here. Axes you pass keep the style they were made with; to make them in
#: this one: `with matplotlib.rc_context(plot.STYLE): figure, axes = pyplot.subplots()`.
STYLE: dict[Any, Any] = {
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.titlesize": 9,
    "figure.figsize": (4.5, 3.2),
    "figure.titlesize": 9,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "lines.linewidth": 1.5,
    "mathtext.fontset": "dejavusans",
    "xtick.direction": "in",
    "xtick.labelsize": 8,
    "xtick.top": True,
    "ytick.direction": "in",
    "ytick.labelsize": 8,
    "ytick.right": True,
}
#: Lines that are no data: zero, the corners of a path.
GUIDE: dict[str, Any] = {"color": "0.6", "linewidth": 0.8, "zorder": 0}

#: Components below this part of the largest one are zero by symmetry, and two that agree to it are
#: equal by symmetry: far above rounding, far below what one can see.
SAME = 1e-6


def figure_style(given: Axes | Figure | SubFigure | None) -> AbstractContextManager:
    """Apply our style to a figure of our own; leave the user's style to the user's figure."""
    return matplotlib.rc_context(STYLE) if given is None else nullcontext()


def axes_or_new(axes: Axes | None) -> Axes:
    """The axes that were given, or those of a new figure.

    Raises:
        ValueError: something else was given, such as an array of axes.
    """
    if axes is None:
        return pyplot.subplots(layout="constrained")[1]
    check_type("axes", axes, Axes, "one matplotlib Axes")
    return axes


def colour_bar(axes: Axes, drawn: ScalarMappable, label: str) -> Colorbar:
    """A colour bar to the right of the axes, and of their height."""
    beside = axes.inset_axes((1.04, 0, 0.05, 1))
    return axes.figure.colorbar(drawn, cax=beside, label=label)


def symmetric_norm(largest: float) -> Normalize:
    """Colours symmetric about zero."""
    return Normalize(-largest, largest)


def largest_magnitude(array: np.ndarray) -> float:
    """The largest finite magnitude."""
    return float(np.max(np.abs(np.nan_to_num(array))))
