"""The distributions that a field drives on a Fermi surface, by mechanism."""

from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Complex, Float
from matplotlib import pyplot
from matplotlib.axes import Axes

from jaxspin.disorder import SurfaceDistributions
from jaxspin.engine.validate import check_choice, check_type, is_finite, is_hermitian
from jaxspin.plot.style import axes_or_new, figure_style, largest_magnitude, symmetric_norm
from jaxspin.plot.texts import K_X, K_Y

_SYMBOLS = {
    "drude": "f_D",
    "side_jump": r"f_{\mathrm{sj}}",
    "skew": r"f_{\mathrm{sk}}",
    "third_cumulant": "f_3",
    "coherence": "S",
    "extrinsic_velocity": r"\beta",
}


def distribution(
    found: SurfaceDistributions,
    *,
    show: str = "skew",
    field: str = "x",
    operator: Complex[ArrayLike, "n n"] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw Tr(O f)/g of one mechanism at the nodes of a contour or a shell, as their colour.

    A Kramers pair has no mean Tr f of side jump and skew scattering; give the spin as `operator`.

    Args:
        found: from `disorder.on_surface`.
        show: "drude", "side_jump", "skew", "third_cumulant", "coherence" (S) or
            "extrinsic_velocity" (β).
        field: direction of the electric field, "x", "y", "z"; of β its component.
        operator: O, Hermitian, in the basis of H(k); None is 1.
        axes: matplotlib axes to draw on, with projection="3d" in three dimensions; None makes a
            figure.
    Returns:
        The axes, with a colour bar next to them.
    Raises:
        ValueError: bad input; axes of another dimension than the surface.
    """
    values = _select_values(found, show, field, operator)
    there = np.asarray(found.weight) != 0
    k, values = np.asarray(found.k)[:, there], values[there]
    with figure_style(axes):
        axes = _axes_of_dimension(axes, len(k))
        norm = symmetric_norm(max(largest_magnitude(values), 1e-12))
        drawn: Any = axes.scatter(*k, c=values, cmap="coolwarm", norm=norm, s=14)
        unit = "eV Å" if show == "extrinsic_velocity" else r"Å per eV/Å"
        symbol = _SYMBOLS[show]
        label = rf"$\mathrm{{Tr}}\,{'' if operator is None else 'O'}{symbol}/g$ ({unit})"
        pad = 0.1 if len(k) == 3 else 0.02
        axes.figure.colorbar(drawn, ax=axes, label=label, shrink=0.8, pad=pad)
        axes.set_aspect("equal")
        axes.set(xlabel=K_X, ylabel=K_Y)
        if len(k) == 3:
            _label_shell(axes)
        name = show.replace("drude", "Drude").replace("_", " ")
        axes.set_title(f"{name}, field along {field}")
    return axes


def _label_shell(axes: Any) -> None:
    """Leave room for three axes and their few ticks."""
    axes.set(zlabel=r"$k_z$ (1/Å)")
    axes.set_box_aspect(None, zoom=0.75)
    axes.locator_params(nbins=3)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.labelpad = 6


def _select_values(found, show: str, field: str, operator) -> Float[np.ndarray, " a"]:
    """Tr(O f)/g at every node."""
    check_type("found", found, SurfaceDistributions, "what disorder.on_surface gives")
    check_choice("show", show, tuple(_SYMBOLS))
    check_choice("field", field, tuple("xyz"[: len(found.k)]))
    f = np.asarray(getattr(found, show))["xyz".index(field)]
    n = f.shape[0]
    o = np.eye(n) if operator is None else np.asarray(operator)
    if o.shape != (n, n) or not (is_finite(o) and is_hermitian(o)):
        raise ValueError(
            f"Argument `operator` must be a Hermitian matrix ({n}, {n}) as H(k), finite, but has "
            f"the shape {o.shape}."
            if o.shape != (n, n)
            else "Argument `operator` must be Hermitian and finite, but is not."
        )
    size = np.einsum("iia->a", np.asarray(found.projector)).real
    return np.einsum("ij,jia->a", o, f).real / np.maximum(size, 1)


def _axes_of_dimension(axes: Axes | None, dimension: int) -> Axes:
    projection = "3d" if dimension == 3 else "rectilinear"
    if axes is None and dimension == 3:
        figure = pyplot.figure(layout="constrained")
        return figure.add_subplot(projection=projection)
    axes = axes_or_new(axes)
    if axes.name != projection:
        raise ValueError(
            f"Argument `axes` must have the projection {projection!r} for a surface in {dimension} "
            f"dimensions, but has {axes.name!r}. Use pyplot.figure().add_subplot(projection=...)."
        )
    return axes
