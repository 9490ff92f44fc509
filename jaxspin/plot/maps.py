"""Berry curvature over k."""

import itertools
from typing import cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import AsinhNorm, Normalize

from jaxspin.engine.validate import check_integer, check_number
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model
from jaxspin.plot.style import (
    axes_or_new,
    colour_bar,
    figure_style,
    largest_magnitude,
    symmetric_norm,
)
from jaxspin.plot.texts import K_X, K_Y
from jaxspin.responses import at_k


def curvature_map(
    model: Model,
    *,
    band: int,
    extent: float | None = None,
    number: int = 200,
    axes: Axes | None = None,
) -> Axes:
    """Draw the Berry curvature Ω_xy of one band of a two-dimensional model over k.

    The colours are symmetric about zero, and logarithmic away from it where the curvature spans
    many orders of magnitude. The first Brillouin zone of a lattice model is outlined. A band of a
    degenerate group shows the mean over the group.

    Args:
        band: index of the band; 0 is the lowest.
        extent: half the side of the square of k that is drawn, 1/Å. None draws the Brillouin zone
            of a lattice model; a continuum model needs a number.
        number: number of k-points along each side.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes, with a colour bar next to them.
    Raises:
        ValueError: a model that is not two-dimensional, a band that is not there, no `extent`
            for a continuum model; other bad input.
    """
    model_checks.check_model(model)
    _check_curvature_arguments(model, extent)
    check_integer("number", number, 2)
    zone = _brillouin_zone(model)
    half = np.max(np.abs(zone), axis=0) * 1.04 if extent is None else np.full(2, float(extent))
    k = np.stack(np.meshgrid(*(_pixel_centres(side, number) for side in half)), axis=-1)
    curvature = np.asarray(at_k.berry_curvature(model, jnp.asarray(k)))
    _check_band(band, curvature.shape[2])
    with figure_style(axes):
        axes = axes_or_new(axes)
        _draw_map(axes, curvature[:, :, band, 0, 1], half)
        if len(zone):
            axes.plot(*np.concatenate([zone, zone[:1]]).T, color="black", linewidth=1.0)
            axes.set(xlim=(-half[0], half[0]), ylim=(-half[1], half[1]))
        axes.set(xlabel=K_X, ylabel=K_Y)
        axes.set_title(f"band {band}")
    return axes


def _pixel_centres(half: float, number: int) -> np.ndarray:
    """Centres of `number` pixels from -half to half."""
    return half * (2 * np.arange(number) + 1 - number) / number


def _draw_map(axes: Axes, values: np.ndarray, half: np.ndarray) -> None:
    box = (-half[0], half[0], -half[1], half[1])
    norm = _centred_norm(values)
    image = axes.imshow(values, origin="lower", extent=box, cmap="RdBu_r", norm=norm)
    bar = colour_bar(axes, image, r"Berry curvature $\Omega_{xy}$ (Å$^2$)")
    if isinstance(norm, AsinhNorm):
        _set_decades(bar, norm, cast(float, norm.vmax))


def _centred_norm(values: np.ndarray) -> Normalize:
    """Colours symmetric about zero; logarithmic where a linear scale would show only the peaks."""
    largest = largest_magnitude(values) or 1.0
    if np.median(np.abs(values)) > largest / 100:
        return symmetric_norm(largest)
    return AsinhNorm(largest / 1000, vmin=-largest, vmax=largest)  # smooth where SymLogNorm kinks


def _set_decades(bar: Colorbar, norm: AsinhNorm, largest: float) -> None:
    """Set ticks at zero and powers of ten: those of the scale itself overlap around zero."""
    top = int(np.floor(np.log10(largest)))
    decades = [n for n in range(top - 2, top + 1) if 10.0**n > 5 * norm.linear_width]
    signed = [("-", n) for n in decades[::-1]] + [("", n) for n in decades]
    bar.set_ticks(
        [0.0, *(float(f"{sign}1e{n}") for sign, n in signed)],
        labels=["0", *(f"${sign}10^{{{n}}}$" for sign, n in signed)],
    )
    bar.minorticks_off()


def _brillouin_zone(model: Model) -> Float[np.ndarray, "n 2"]:
    """Corners of the first Brillouin zone in order, 1/Å; none for a continuum model."""
    if model.lattice is None:
        return np.zeros((0, 2))
    return _nearest_to_origin(np.asarray(reciprocal_vectors(model.lattice)))


def _nearest_to_origin(vectors: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "n 2"]:
    """Corners of the cell of the lattice (vectors as rows) that is nearest to the origin, in order.

    They are the points where two planes k·G = G²/2 meet that no third plane cuts off.
    """
    first, second = _reduce_basis(*vectors)
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    planes = [i * first + j * second for i, j in steps]
    corners = []
    for g, h in itertools.combinations(planes, 2):
        if abs(np.linalg.det([g, h])) > 1e-9 * (g @ g):
            k = np.linalg.solve([g, h], [g @ g / 2, h @ h / 2])
            if all(k @ p <= p @ p / 2 * (1 + 1e-9) for p in planes):
                corners.append(k)
    return np.array(sorted(corners, key=lambda k: np.arctan2(k[1], k[0])))


def _reduce_basis(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shortest basis of the lattice of `a` and `b` (Lagrange and Gauss)."""
    if a @ a > b @ b:
        a, b = b, a
    multiple = np.rint(a @ b / (a @ a))
    return (a, b) if multiple == 0 else _reduce_basis(b - multiple * a, a)


def _check_curvature_arguments(model: Model, extent) -> None:
    model_checks.check_dimension(model, (2,), "a map")
    if extent is None and model.lattice is None:
        raise ValueError(
            "Argument `extent` must be a number (1/Angstrom) for a continuum model, but is None."
        )
    if extent is not None:
        check_number("extent", extent, "positive (1/Angstrom)", above=0)


def _check_band(band, number: int) -> None:
    check_integer("band", band, 0, number - 1, f"a band index from 0 to {number - 1}")
