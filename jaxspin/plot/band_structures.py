"""Energies of bands along paths in k."""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from jaxspin.engine.validate import check_integer, check_shape, check_type
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.meshes.path import Path
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model
from jaxspin.plot.style import GUIDE, PALETTE, axes_or_new, figure_style
from jaxspin.responses import at_k


def bands(model: Model, path: Path, *, number: int = 300, axes: Axes | None = None) -> Axes:
    """Draw the energies of all bands along a path.

    Args:
        path: `Path(points, labels)`; a label "G" or "Gamma" is shown as Γ, and labels may hold
            mathtext.
        number: number of k-points on the whole path, spread evenly by length.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes.
    Raises:
        ValueError: the path has another dimension than the model; other bad input.
    """
    model_checks.check_model(model)
    _check_path(model, path)
    check_integer("number", number, 2)
    k, distance, ticks = path.sample(number, model.lattice)
    energies = np.asarray(at_k.bands(model, jnp.asarray(k)).energies)
    with figure_style(axes):
        axes = axes_or_new(axes)
        axes.axhline(0, linestyle=":", **GUIDE)
        axes.plot(distance, energies, color=PALETTE[0])
        names = [_GREEK.get(label, label) for label in path.labels]
        _mark_points(axes, ticks, names, lines=ticks[1:-1])
        _label_axes(axes, ticks)
    return axes


def bands_against(
    model: Model,
    k: Float[np.ndarray, "K d"],
    energies: Float[np.ndarray, "K n"],
    *,
    corners: dict[str, tuple[float, ...]] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw the bands of a model as lines, and energies from elsewhere at the same k as dots.

    Args:
        k: points along a path, in units of the reciprocal vectors. Steps more than five times as
            long as the usual ones are jumps of the path, and not drawn.
        energies: eV, any number of bands.
        corners: names of points, and their k; those that are met become ticks.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes.
    Raises:
        ValueError: the model has no lattice, or `k` and `energies` do not fit.
    """
    model_checks.check_model(model)
    k, energies = np.asarray(k, float), np.asarray(energies, float)
    _check_points(model, k, energies)
    cartesian = k @ np.asarray(reciprocal_vectors(model.lattice))
    own = np.asarray(at_k.bands(model, jnp.asarray(cartesian)).energies)
    distance, pieces = _path_distances(cartesian)
    with figure_style(axes):
        axes = axes_or_new(axes)
        for piece in pieces:
            axes.plot(distance[piece], own[piece], color=PALETTE[0], linewidth=1)
        axes.plot(distance, energies, ".", color=PALETTE[1], markersize=2.5)
        dots = Line2D([], [], color=PALETTE[1], marker=".", linestyle="none", label="file")
        axes.legend(handles=[Line2D([], [], color=PALETTE[0], label="jaxspin"), dots])
        met = _corners_met(k, distance, corners or {})
        _mark_points(axes, list(met), list(met.values()), lines=met)
        _label_axes(axes, distance)
    return axes


_GREEK = {"G": "Γ", "Gamma": "Γ", "GAMMA": "Γ", r"\Gamma": "Γ"}


def _path_distances(
    k: Float[np.ndarray, "K d"],
) -> tuple[Float[np.ndarray, " K"], list[np.ndarray]]:
    """Return the distance along a path at each of its points, and the points between its jumps."""
    steps = np.linalg.norm(np.diff(k, axis=0), axis=1)
    jumps = steps > 5 * np.median(steps)
    distance = np.concatenate([[0], np.cumsum(np.where(jumps, 0, steps))])
    return distance, np.split(np.arange(len(k)), np.flatnonzero(jumps) + 1)


def _corners_met(k, distance, corners: dict[str, tuple[float, ...]]) -> dict[float, str]:
    """Return the name at each labelled place of a path; two names at one place are joined."""
    ticks: dict[float, str] = {}
    for point, place in zip(k, distance.tolist(), strict=True):
        for label, corner in corners.items():
            if np.allclose(point, corner, atol=1e-5):
                name = _GREEK.get(label, label)
                before = ticks.get(place, name)
                ticks[place] = name if before == name else f"{before}|{name}"
    return ticks


def _mark_points(
    axes: Axes, places: ArrayLike, names: list[str], *, lines: Iterable[float]
) -> None:
    """Write names below the axes, and draw lines through some of them."""
    for place in lines:
        axes.axvline(place, **GUIDE)
    axes.set_xticks(places, names)
    axes.tick_params(axis="x", length=0)


def _label_axes(axes: Axes, distance) -> None:
    axes.set_xlim(distance[0], distance[-1])
    axes.set_ylabel("Energy (eV)")


def _check_path(model: Model, path) -> None:
    check_type("path", path, Path, "a jaxspin.Path")
    if path.points.shape[1] != model.dimension:
        raise ValueError(
            f"Argument `path` must have points of dimension {model.dimension}, as the model has, "
            f"but has points of dimension {path.points.shape[1]}."
        )


def _check_points(model: Model, k: np.ndarray, energies: np.ndarray) -> None:
    if model.lattice is None:
        raise ValueError("Argument `model` must have a lattice, but is a continuum model.")
    if k.ndim != 2 or k.shape[1] != model.dimension or len(k) < 2:
        raise ValueError(
            f"Argument `k` must be at least two points of dimension {model.dimension}, "
            f"but has shape {k.shape}."
        )
    check_shape("energies", energies, (len(k), "bands"))
