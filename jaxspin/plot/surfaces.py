"""Fermi surfaces, with velocities or spins on them."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxspin.disorder import Disorder
from jaxspin.disorder.contributions import mix_interband
from jaxspin.disorder.fermi_states import find_states
from jaxspin.disorder.operators import Density
from jaxspin.engine.validate import check_choice
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model
from jaxspin.plot.style import (
    PALETTE,
    axes_or_new,
    colour_bar,
    figure_style,
    largest_magnitude,
    symmetric_norm,
)
from jaxspin.plot.texts import K_X, K_Y
from jaxspin.surfaces import FermiSurfaceRule
from jaxspin.surfaces.base import check_surface


def fermi_surface(
    model: Model,
    surface: FermiSurfaceRule,
    mu: float,
    *,
    show: str = "velocity",
    disorder: Disorder | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw the Fermi surface of a two-dimensional model, with arrows on it.

    Args:
        surface: a rule such as `FermiContour(48)`; up to 20 of its nodes in each band get arrows.
        mu: Fermi energy, eV.
        show: "velocity"; "spin", whose z component colours the nodes and whose components in the
            plane are the arrows; or "extrinsic velocity", what the disorder adds to the velocity
            by interband mixing.
        disorder: needed for the extrinsic velocity.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes, with a colour bar next to them for spins.
    Raises:
        ValueError: a model that is not two-dimensional, no Fermi surface, bad input.
    """
    _check_fermi_surface(model, surface, show, disorder)
    nodes = surface.nodes(model, mu)
    there = np.asarray(nodes.weight) != 0
    if not np.any(there):
        raise ValueError(f"Argument `mu` must be in a band, but is {mu!r}.")
    k, band = np.asarray(nodes.k)[:, there], np.asarray(nodes.band)[there]
    measured = (Density(),) if show == "spin" else ()
    arrows = np.asarray(_ARROWS[show](find_states(model, nodes, measured), disorder))[:, there]
    longest = max(float(np.max(np.linalg.norm(arrows[:2], axis=0))), 1e-300)
    with figure_style(axes):
        axes = axes_or_new(axes)
        if show == "spin":
            _draw_coloured_nodes(axes, k, arrows[2])
        else:
            axes.scatter(*k, color=PALETTE[0], **_NODES)
        _draw_arrows(axes, k, arrows[:2] / longest, band)
        axes.set_aspect("equal")
        axes.margins(0.25)
        axes.set(xlabel=K_X, ylabel=K_Y)
        axes.set_title(f"{show}, longest arrow {longest:.3g}{_ARROW_UNITS[show]}")
    return axes


_NODES: dict[str, Any] = {"s": 8, "zorder": 3}
_QUIVER: dict[str, Any] = {
    "angles": "xy",
    "scale_units": "xy",
    "scale": 1,
    "width": 0.008,
    "zorder": 4,  # above the nodes, which would hide arrows along the contour
}
_ARROWS_OF_A_BAND = 20  # so that arrows along a contour do not cover each other
_ARROW_UNITS = {"velocity": " eV Å", "spin": "", "extrinsic velocity": " eV Å"}


def _draw_coloured_nodes(axes: Axes, k: np.ndarray, spin: np.ndarray) -> None:
    norm = symmetric_norm(
        max(largest_magnitude(spin), 1e-12)
    )  # spins in the plane are zero but for rounding
    drawn = axes.scatter(*k, c=spin, cmap="coolwarm", norm=norm, **_NODES)
    colour_bar(axes, drawn, r"$\langle\sigma_z\rangle$")


def _draw_arrows(axes: Axes, k: np.ndarray, arrows: np.ndarray, band: np.ndarray) -> None:
    """Draw arrows at some nodes of each band, the longest a quarter of the size of the surface."""
    length = 0.27 * np.max(np.linalg.norm(k - k.mean(axis=1, keepdims=True), axis=0))
    few = slice(None, None, -(-np.max(np.bincount(band)) // _ARROWS_OF_A_BAND))
    axes.quiver(*k[:, few], *arrows[:, few] * length, color=PALETTE[1], **_QUIVER)


def _node_velocity(on_shell, disorder):
    return on_shell.velocity


def _node_spin(on_shell, disorder):
    return on_shell.mean_values(on_shell.operators)


def _extrinsic_velocity(on_shell, disorder):
    scattering = disorder.scattering(on_shell)
    return scattering.mean_of_bands(mix_interband(on_shell, scattering, on_shell.slopes))


_ARROWS = {
    "velocity": _node_velocity,
    "spin": _node_spin,
    "extrinsic velocity": _extrinsic_velocity,
}


def _check_fermi_surface(model, surface, show, disorder) -> None:
    model_checks.check_model(model)
    check_surface(surface)
    model_checks.check_dimension(model, (2,), "a figure of its Fermi surface")
    check_choice("show", show, _ARROWS)
    if show == "extrinsic velocity" and not isinstance(disorder, Disorder):
        raise ValueError(
            "Argument `disorder` must be given for the extrinsic velocity, for example "
            f"ScalarDisorder(...), but is {disorder!r}."
        )
    if disorder is not None:
        disorder.check(model)
