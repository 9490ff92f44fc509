"""Torques on magnetic textures."""

import numpy as np
from matplotlib.axes import Axes

from jaxspin.engine.validate import check_type
from jaxspin.plot.style import PALETTE, axes_or_new, colour_bar, figure_style, symmetric_norm
from jaxspin.spin_transfer import TextureTorque


def texture_torque(found: TextureTorque, *, axes: Axes | None = None) -> Axes:
    """Draw the torque on a texture: its components along a line, or arrows over m_z in the plane.

    Args:
        found: what `spin_transfer.texture_torque` gave, on a grid along x or along x and y.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes; of a map, with a colour bar next to them.
    Raises:
        ValueError: something else, or a grid in space.
    """
    wanted = "a TextureTorque on a grid along x or along x and y"
    check_type("found", found, TextureTorque, wanted)
    if len(found.spacing) > 2:
        raise ValueError(f"Argument `found` must be {wanted}, but is on one in space.")
    positions = [
        step * (np.arange(n) - (n - 1) / 2)
        for step, n in zip(found.spacing, found.torque.shape[1:], strict=True)
    ]
    draw = _draw_wall if len(positions) == 1 else _draw_torque_map
    with figure_style(axes):
        axes = axes_or_new(axes)
        draw(axes, found, *positions)
        axes.set_xlabel(r"$x$ (Å)")
    return axes


def _draw_wall(axes: Axes, found: TextureTorque, x: np.ndarray) -> None:
    for letter, torque, color in zip("xyz", np.asarray(found.torque), PALETTE, strict=False):
        axes.plot(x, torque, color=color, label=rf"$\tau_{letter}$")
    axes.set_ylabel(r"torque on $\mathbf{m}$ (eV Å$^{-3}$)")
    axes.margins(x=0)
    axes.legend()


_ARROWS_OF_A_SIDE = 21  # along a side: more of them hide each other in one column


def _draw_torque_map(axes: Axes, found: TextureTorque, x: np.ndarray, y: np.ndarray) -> None:
    """Draw arrows of the torque in the plane over m_z."""
    edges = (x[0], x[-1], y[0], y[-1])
    size = np.max(np.linalg.norm(found.magnetization, axis=0))
    along = np.asarray(found.magnetization[2]).T / size
    look = {"cmap": "RdBu_r", "norm": symmetric_norm(1.0), "alpha": 0.6}
    image = axes.imshow(along, origin="lower", extent=edges, **look)
    colour_bar(axes, image, r"$m_z/|m|$")
    a, b = (slice(None, None, -(-len(side) // _ARROWS_OF_A_SIDE)) for side in (x, y))
    torque = np.asarray(found.torque)[:2, a, b]
    axes.quiver(x[a], y[b], *torque.swapaxes(1, 2), pivot="mid")
    axes.set_ylabel(r"$y$ (Å)")
    largest = np.max(np.linalg.norm(torque, axis=0))
    axes.set_title(rf"torque in the plane, at most {_power_of_ten(largest)} eV Å$^{{-3}}$")


def _power_of_ten(number: float) -> str:
    """Mathtext of a number, "$1.23\\cdot 10^{-4}$"."""
    digits, exponent = f"{number:.2e}".split("e")
    return rf"${digits}\cdot 10^{{{int(exponent)}}}$"
