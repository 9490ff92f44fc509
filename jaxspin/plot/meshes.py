"""The cells of adaptive meshes in k."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from jaxspin.integration.adaptive import Refinement
from jaxspin.plot.checks import check_response
from jaxspin.plot.style import axes_or_new, colour_bar, figure_style
from jaxspin.plot.texts import K_X, K_Y
from jaxspin.responses.response import Response
from jaxspin.symmetry.irreducible_zone import ZonePieces


def refinement(response: Response, *, axes: Axes | None = None) -> Axes:
    """Draw the cells of an adaptive mesh in k, coloured by their density.

    Of a three-dimensional domain the cells are drawn that meet the plane (a half-plane at one
    azimuth, in a continuum) through the smallest of them. To look closer, set the limits of the
    axes that come back.

    Args:
        response: a response computed with `Adaptive`.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes, with a colour bar next to them.
    Raises:
        ValueError: the response was not computed with `Adaptive`, or is one-dimensional; or it is
            three-dimensional, on an irreducible zone.
    """
    check_response(response)
    cells = response.refinement
    if cells is None or cells.lower.shape[1] == 1:
        raise ValueError(
            "Argument `response` must come from an Adaptive mesh of two or three dimensions, "
            "but does not (a file does not keep the cells)."
        )
    if isinstance(cells.coordinates, ZonePieces) and cells.lower.shape[1] == 3:
        raise ValueError(
            "Argument `response` must have cells along the axes of its mesh, but has those of an "
            "irreducible zone of three dimensions, which no plane cuts in cells."
        )
    shown, labels = _cells_in_plane(cells)
    outlines = _cell_outlines(cells, shown)
    area = np.maximum(_enclosed_areas(outlines), 1e-300)
    density = -np.log10(area)
    with figure_style(axes):
        axes = axes_or_new(axes)
        drawn = PolyCollection(list(outlines), array=density, cmap="cividis", edgecolors="white")
        axes.add_collection(drawn)
        axes.set_aspect("equal")
        _frame_cells(axes, cells, outlines)
        across = np.sqrt(area) / (axes.get_xlim()[1] - axes.get_xlim()[0])
        drawn.set_linewidth(
            list(np.clip(10 * across, 0, 0.3))
        )  # the lines must not hide small cells
        drawn.set_clim(np.quantile(density, 0.05), density.max())  # the last cells are endless
        colour_bar(axes, drawn, r"$\log_{10}$ of cells per Å$^{-2}$")
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.set_title(f"{len(shown)} cells, {cells.points} $k$-points in all")
    return axes


def _cells_in_plane(cells: Refinement) -> tuple[np.ndarray, tuple[str, str]]:
    """Select the cells that meet the plane which is drawn, and name its axes."""
    number, dimension = cells.lower.shape
    if dimension == 2:
        return np.arange(number), (K_X, K_Y)
    lower, width, at = cells.lower[:, 2], cells.width[:, 2], _plane_height(cells)
    shown = np.flatnonzero((lower <= at) & (at < lower + width))
    if cells.domain == "periodic":
        return shown, (K_X, K_Y)
    return shown, (r"$(k_x^2+k_y^2)^{1/2}$ (1/Å)", r"$k_z$ (1/Å)")


def _plane_height(cells: Refinement) -> float:
    """The third coordinate of the plane which is drawn, through the smallest cell."""
    smallest = np.argmin(np.prod(cells.width, axis=1))
    return cells.lower[smallest, 2] + cells.width[smallest, 2] / 2


_SIDE = 48  # points along each side of a cell, which is curved in polar coordinates
_INSIDE = 1e-9  # beyond a side of a cell another piece of an irreducible zone begins
_INFINITY = 0.999  # where the coordinate 1 is at infinite k


def _cell_outlines(cells: Refinement, shown: np.ndarray) -> Float[np.ndarray, "L p 2"]:
    """The boundary of each cell in the plane which is drawn, 1/Å."""
    t = np.linspace(0, 1, _SIDE, endpoint=False)
    x = np.concatenate([t, np.ones(_SIDE), 1 - t, np.zeros(_SIDE)])
    y = np.concatenate([np.zeros(_SIDE), t, np.ones(_SIDE), 1 - t])
    x, y = (np.clip(side, _INSIDE, 1 - _INSIDE) for side in (x, y))
    lower, width = cells.lower[shown], cells.width[shown]
    u = [lower[:, i, None] + width[:, i, None] * side for i, side in enumerate((x, y))]
    u[0] = np.minimum(u[0], _INFINITY) if cells.domain == "infinite" else u[0]
    if lower.shape[1] == 3:
        u.append(np.full_like(u[0], _plane_height(cells)))
    u = [jnp.asarray(x) for x in u]
    k = np.asarray(cells.coordinates(u, [jnp.ones_like(x) for x in u], cells.lattice).k)
    if len(u) == 3 and cells.domain != "periodic":
        return np.stack([np.hypot(k[0], k[1]), k[2]], axis=-1)
    return np.stack([k[0], k[1]], axis=-1)


def _enclosed_areas(outlines: Float[np.ndarray, "L p 2"]) -> Float[np.ndarray, " L"]:
    x, y = outlines[..., 0], outlines[..., 1]
    return np.abs(np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1)) / 2


def _frame_cells(axes: Axes, cells: Refinement, outlines: np.ndarray) -> None:
    """Show all of a bounded domain; of an infinite one the part with nine cells of ten."""
    points = outlines.reshape(-1, 2)
    if cells.domain == "infinite":
        reach = 1.2 * np.quantile(np.max(np.abs(outlines), axis=(1, 2)), 0.9)
        points = np.clip(points, -reach, reach)
    axes.set_xlim(points[:, 0].min(), points[:, 0].max())
    axes.set_ylim(points[:, 1].min(), points[:, 1].max())
