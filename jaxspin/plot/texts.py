"""Components, units and axes as text."""

import itertools
import re
from collections.abc import Sequence

from jaxspin.quantities.axes import AXES

#: What stands along the axes of several figures.
ENERGY = r"Fermi energy $\mu$ (eV)"
K_X = r"$k_x$ (1/Å)"
K_Y = r"$k_y$ (1/Å)"


def component_labels(axes: Sequence[str], dimension: int) -> dict[str, dict[str, str]]:
    """Labels of all components, "zx^y", with what each says: {"flow": "z", "field": "x", ...}.

    Args:
        axes: names of the axes of a response; those that are not components are passed over.
        dimension: dimension of space.

    >>> list(component_labels(("mu", "flow", "field"), 2))
    ['xx', 'xy', 'yx', 'yy']
    """
    present = [axis for axis in axes if axis in AXES]
    choices = itertools.product(*("xyz"[: AXES[axis].size(dimension)] for axis in present))
    every: list[dict[str, str]] = [dict(zip(present, one, strict=True)) for one in choices]
    return {component_label(letters): letters for letters in every}


def component_label(letters: dict[str, str]) -> str:
    """Label of one component, "zx^y" of {"flow": "z", "field": "x", "spin": "y"}."""
    below, above = _component_indices(letters)
    return below + (f"^{above}" if above else "")


def _component_indices(letters: dict[str, str]) -> tuple[str, str]:
    """Indices below the symbol, those of polar axes, and above it, those of axial ones."""
    ordered = [(AXES[axis], letters[axis]) for axis in AXES if axis in letters]
    below = "".join(letter for axis, letter in ordered if not axis.axial)
    return below, "".join(letter for axis, letter in ordered if axis.axial)


def component_tex(symbol: str, letters: dict[str, str]) -> str:
    """Mathtext of one component, without dollars.

    >>> print(component_tex("R", {"flow": "z", "field": "x", "spin": "y"}))
    R^{y}_{zx}
    """
    below, above = _component_indices(letters)
    return symbol + (f"^{{{above}}}" if above else "") + (f"_{{{below}}}" if below else "")


def typeset_unit(units: str) -> str:
    """A unit with mathtext: "hbar/2e S/m" becomes "$(\\hbar/2e)$ S/m"."""
    text = re.sub(r"e\^2/hbar", r"$e^2/\\hbar$", units)
    text = re.sub(r"\bhbar/(2?e|2)\b", r"$(\\hbar/\1)$", text)
    text = re.sub(r"(?<!\\)\bhbar\b", r"$\\hbar$", text)
    text = re.sub(r"e\^2/h\b", r"$e^2/h$", text)
    text = re.sub(r"\be/(\d)pi", r"$e/\1\\pi$", text)
    text = re.sub(r"\be/2(?= |$)", "$e/2$", text)
    text = text.replace("Angstrom", "Å")
    return re.sub(r"(?<=[ÅVms])\^(-?\d+)", r"$^{\1}$", text)
