"""Convergence of a response with its mesh."""

import numpy as np
from matplotlib.axes import Axes

from jaxspin.engine.validate import check_type
from jaxspin.plot.style import PALETTE, axes_or_new, figure_style
from jaxspin.responses.converge import Convergence, relative_to_largest


def convergence(found: Convergence, *, axes: Axes | None = None) -> Axes:
    """Draw the distance of a response on each mesh from the value that `js.converge` gives.

    The worst level and component at each number of points, relative to the largest component of its
    level, with the estimated errors of the meshes, the tolerance, and the order if there is one.

    Returns:
        The axes.
    Raises:
        ValueError: `found` is not of `js.converge`.
    """
    check_type("found", found, Convergence, "a result of js.converge")
    worst = lambda x: float(np.max(np.abs(relative_to_largest(x, found.response))))  # noqa: E731
    away = [worst(step.value - found.response.value) for step in found.steps]
    claimed = [worst(step.error) for step in found.steps]
    points = np.array(found.points)
    shown = np.array(away) > 0
    with figure_style(axes):
        axes = axes_or_new(axes)
        axes.loglog(points, claimed, "s--", color=PALETTE[1], label="estimated error of the mesh")
        axes.loglog(
            points[shown],
            np.array(away)[shown],
            "o-",
            color=PALETTE[0],
            label="distance from the result",
        )
        axes.axhline(found.tolerance, color="0.5", linewidth=0.8, label="tolerance")
        last = points[-1:], [found.relative_error]
        axes.loglog(*last, "D", color=PALETTE[2], label="error of the result")
        title = "no order" if found.order is None else f"order {found.order:.2f}, extrapolated"
        axes.set(xlabel="$k$-points", ylabel="relative to the largest component", title=title)
        axes.legend()
    return axes
