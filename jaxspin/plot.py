"""Figures of responses, bands and Berry curvature.

Axes in, axes out: each function draws on the `axes` it is given, or makes a figure that fits one
column of a journal, and returns the axes. Nothing is shown or saved, no global setting is touched.
"""

import itertools
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import AsinhNorm, Normalize, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from jaxspin import checks, response as responses
from jaxspin.adaptive import Refinement
from jaxspin.algebra import is_traced
from jaxspin.disorder import Contribution, Disorder, DisorderedResponse
from jaxspin.disorder.contributions import extrinsic
from jaxspin.disorder.shell import shell
from jaxspin.fitting import Data, Fit, Gate
from jaxspin.fitting.data import Curve
from jaxspin.lattice import reciprocal_vectors
from jaxspin.meshes import Path
from jaxspin.models.base import Model
from jaxspin.results import Response
from jaxspin.spin_transfer import TextureTorque
from jaxspin.surfaces import Surface

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
_CARTESIAN = ("x", "y", "z")
_LINE_STYLES = ("-", "--", "-.", ":")
# Components below this part of the largest one are zero by symmetry, and two that agree to it are
# equal by symmetry: far above rounding, far below what one can see.
_SAME = 1e-6


def scan(
    response: Response, *, components: Sequence[str] | None = None, axes: Axes | None = None
) -> Axes:
    """Draw a response against the Fermi energy, or against temperature where there is only one mu.

    A temperature axis gives one line style (up to four) or shade for each temperature. The
    estimated error is drawn as a band where it is wider than the line.

    Args:
        components: labels "flow field ^ spin", such as ["zx^y", "xy^z"] for a spin Hall
            conductivity, ["yx"] for an anomalous Hall conductivity. None draws those that do not
            vanish, at most seven, one of each set that is equal up to the sign; the legend names
            the others of the set.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes.
    Raises:
        ValueError: an unknown component, several responses at once (from vmap), no response.
    """
    _check_response(response)
    curves = _all_curves(response)
    chosen = _independent(curves) if components is None else _named(curves, components)
    with _style(axes):
        axes = _axes_or_new(axes)
        _draw_curves(axes, response, chosen)
        _label_scan(axes, response)
        _legend(axes, response, chosen)
    return axes


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
    checks.check_model(model)
    _check_path(model, path)
    _check_number(number)
    k, distance, ticks = path.sample(number, model.lattice)
    energies = np.asarray(responses.bands(model, jnp.asarray(k)).energies)
    with _style(axes):
        axes = _axes_or_new(axes)
        axes.axhline(0, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
        for tick in ticks[1:-1]:
            axes.axvline(tick, color="0.6", linewidth=0.8, zorder=0)
        axes.plot(distance, energies, color=PALETTE[0])
        axes.set_xticks(ticks, [_GREEK.get(label, label) for label in path.labels])
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(ticks[0], ticks[-1])
        axes.set_ylabel("Energy (eV)")
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
    checks.check_model(model)
    k, energies = np.asarray(k, float), np.asarray(energies, float)
    _check_points(model, k, energies)
    cartesian = k @ np.asarray(reciprocal_vectors(model.lattice))
    own = np.asarray(responses.bands(model, jnp.asarray(cartesian)).energies)
    steps = np.linalg.norm(np.diff(cartesian, axis=0), axis=1)
    jumps = steps > 5 * np.median(steps)
    distance = np.concatenate([[0], np.cumsum(np.where(jumps, 0, steps))])
    pieces = np.split(np.arange(len(k)), np.flatnonzero(jumps) + 1)
    with _style(axes):
        axes = _axes_or_new(axes)
        for piece in pieces:
            axes.plot(distance[piece], own[piece], color=PALETTE[0], linewidth=1)
        axes.plot(distance, energies, ".", color=PALETTE[1], markersize=2.5)
        dots = Line2D([], [], color=PALETTE[1], marker=".", linestyle="none", label="file")
        axes.legend(handles=[Line2D([], [], color=PALETTE[0], label="jaxspin"), dots])
        _mark_corners(axes, k, distance, corners or {})
        axes.set_xlim(distance[0], distance[-1])
        axes.set_ylabel("Energy (eV)")
    return axes


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
    checks.check_model(model)
    _check_curvature_arguments(model, extent)
    _check_number(number)
    zone = _brillouin_zone(model)
    half = np.max(np.abs(zone), axis=0) * 1.04 if extent is None else np.full(2, float(extent))
    k = np.stack(np.meshgrid(*(_centres(side, number) for side in half)), axis=-1)
    curvature = np.asarray(responses.berry_curvature(model, jnp.asarray(k)))
    _check_band(band, curvature.shape[2])
    with _style(axes):
        axes = _axes_or_new(axes)
        _draw_map(axes, curvature[:, :, band, 0, 1], half)
        if len(zone):
            axes.plot(*np.concatenate([zone, zone[:1]]).T, color="black", linewidth=1.0)
            axes.set(xlim=(-half[0], half[0]), ylim=(-half[1], half[1]))
        axes.set_xlabel(r"$k_x$ (1/Å)")
        axes.set_ylabel(r"$k_y$ (1/Å)")
        axes.set_title(f"band {band}")
    return axes


def refinement(response: Response, *, axes: Axes | None = None) -> Axes:
    """Draw where the points of an adaptive mesh went: its cells in k, coloured by their density.

    Of a three-dimensional domain the cells are drawn that meet the plane (a half-plane at one
    azimuth, in a continuum) through the smallest of them. To look closer, set the limits of the
    axes that come back.

    Args:
        response: a response computed with `Adaptive`.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes, with a colour bar next to them.
    Raises:
        ValueError: the response was not computed with `Adaptive`, or is one-dimensional.
    """
    _check_response(response)
    cells = response.refinement
    if cells is None or cells.lower.shape[1] == 1:
        raise ValueError(
            "Argument `response` must come from an Adaptive mesh of two or three dimensions, "
            "but does not (a file does not keep the cells)."
        )
    shown, labels = _cells_in_plane(cells)
    outlines = _outlines(cells, shown)
    area = np.maximum(_area(outlines), 1e-300)
    density = -np.log10(area)
    with _style(axes):
        axes = _axes_or_new(axes)
        drawn = PolyCollection(list(outlines), array=density, cmap="cividis", edgecolors="white")
        axes.add_collection(drawn)
        axes.set_aspect("equal")
        _frame_cells(axes, cells, outlines)
        across = np.sqrt(area) / (axes.get_xlim()[1] - axes.get_xlim()[0])
        drawn.set_linewidths(np.clip(10 * across, 0, 0.3))  # the lines must not hide small cells
        drawn.set_clim(np.quantile(density, 0.05), density.max())  # the last cells are endless
        beside = axes.inset_axes((1.04, 0, 0.05, 1))
        axes.figure.colorbar(drawn, cax=beside, label=r"$\log_{10}$ of cells per Å$^{-2}$")
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.set_title(f"{len(shown)} cells, {cells.points} $k$-points in all")
    return axes


def contributions(
    response: DisorderedResponse,
    *,
    component: str = "yx",
    against: tuple[str, Float[np.ndarray, " x"]] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw every mechanism of a disordered conductor, one component, and their sum.

    Mechanisms that vanish by symmetry are left out. Conductivities are in e²/h, or S/cm in three
    dimensions.

    Args:
        response: from `disordered_response` with an array of mu, or mapped over a parameter.
        component: "yx" for a conductivity (flow, field), "x^x" for a spin density (field ^ spin).
        against: label and values of the parameter that was mapped over (`jax.vmap`) at one mu;
            None draws against the Fermi energy.
        axes: matplotlib axes to draw on; None makes a figure.
    Returns:
        The axes.
    Raises:
        ValueError: no response of that kind, an unknown component, values that do not fit.
    """
    _check_disordered(response)
    part = "spin_density" if "^" in component else "conductivity"
    shown = {
        name: _mechanism(_drawn(getattr(response, name), part), component)
        for name in (*response.MECHANISMS, "total")
    }
    label, x = _abscissa(response.total.conductivity.levels, against)
    _check_lengths(x, shown["total"])
    largest = max(_size(y) for y in shown.values())
    with _style(axes):
        axes = _axes_or_new(axes)
        axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        order = np.argsort(x)
        for (name, y), color in zip(shown.items(), PALETTE, strict=True):
            if name == "total" or _size(y) > _SAME * largest:
                # The side jump lies on the extrinsic part where the bands are isotropic.
                look = {"total": {"linewidth": 2.2}, "side_jump": {"linestyle": "--"}}
                look = {"color": color, "label": name.replace("_", " "), **look.get(name, {})}
                axes.plot(x[order], y[order], **look)
        axes.legend()
        axes.set_xlabel(label)
        named = _drawn(response.total, part)
        letters = component_labels(named.axes, named.value.shape[-1])[component]
        axes.set_ylabel(f"${_linear(letters)}$ [{_unit(named.units)}]")
        axes.margins(x=0)
    return axes


def fermi_surface(
    model: Model,
    surface: Surface,
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
    _check_fermi_surface(model, show, disorder)
    nodes = surface.nodes(model, mu)
    there = np.asarray(nodes.weight) != 0
    if not np.any(there):
        raise ValueError(f"Argument `mu` must be in a band, but is {mu!r}.")
    k = np.asarray(nodes.k)[:, there]
    on_shell = shell(model, nodes)
    arrows = np.asarray(_ARROWS[show](on_shell, disorder))[:, there]
    largest = max(float(np.max(np.linalg.norm(arrows[:2], axis=0))), 1e-300)
    with _style(axes):
        axes = _axes_or_new(axes)
        look = {"color": PALETTE[0]}
        if show == "spin":
            look = {"c": arrows[2], "cmap": "coolwarm", "norm": _symmetric(arrows[2])}
        drawn = axes.scatter(*k, s=8, zorder=3, **look)
        length = 0.27 * np.max(np.linalg.norm(k - k.mean(axis=1, keepdims=True), axis=0))
        of_a_band = np.max(np.bincount(np.asarray(nodes.band)[there]))
        few = slice(None, None, -(-of_a_band // _ARROWS_OF_A_BAND))
        shown = arrows[:2, few] / largest * length
        axes.quiver(*k[:, few], *shown, color=PALETTE[1], **_QUIVER)
        axes.set_aspect("equal")
        axes.margins(0.25)
        if show == "spin":
            beside = axes.inset_axes((1.04, 0, 0.05, 1))
            axes.figure.colorbar(drawn, cax=beside, label=r"$\langle\sigma_z\rangle$")
        axes.set(xlabel=r"$k_x$ (1/Å)", ylabel=r"$k_y$ (1/Å)")
        axes.set_title(f"{show}, longest arrow {largest:.3g}{_ARROW_UNITS[show]}")
    return axes


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
        ValueError: levels, components or units of the response that are not those of the data.
    """
    curves = data.curves(response, density=density, gate=gate)
    left = np.asarray(data.residuals(response, density=density, gate=gate))
    with _style(None) if figure is None else nullcontext():
        figure = figure or pyplot.figure(figsize=(8.5, 4), layout="constrained")
        curves_part, corner_part = figure.subfigures(1, 2, width_ratios=(1.1, 1))
        upper, lower = curves_part.subplots(2, 1, sharex=True, height_ratios=(2.5, 1))
        for curve, color in zip(curves, itertools.cycle(PALETTE)):
            symbol = _tex(r"\sigma", _letters(curve.component))
            _draw_fitted(upper, data, curve, color, f"${symbol}$, {curve.temperature:g} K")
            lower.plot(data.x[curve.rows], left[curve.rows], ".", color=color)
        _frame_fitted(upper, lower, data)
        return {"data": upper, "residuals": lower, **_draw_corner(corner_part, result)}


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
    if not isinstance(found, TextureTorque) or len(found.spacing) > 2:
        raise ValueError(
            "Argument `found` must be a TextureTorque on a grid along x or along x and y, "
            f"but is of type {type(found).__name__}."
        )
    positions = [
        step * (np.arange(n) - (n - 1) / 2)
        for step, n in zip(found.spacing, found.torque.shape[1:], strict=True)
    ]
    draw = _draw_wall if len(positions) == 1 else _draw_torque_map
    with _style(axes):
        axes = _axes_or_new(axes)
        draw(axes, found, *positions)
        axes.set_xlabel(r"$x$ (Å)")
    return axes


def component_labels(axes: Sequence[str], dimension: int) -> dict[str, dict[str, str]]:
    """Labels of all components, "zx^y", with what each says: {"flow": "z", "field": "x", ...}.

    Args:
        axes: names of the axes of a response; those that are not components are passed over.
        dimension: dimension of space, which flow and field have.

    >>> list(component_labels(("mu", "flow", "field"), 2))
    ['xx', 'xy', 'yx', 'yy']
    """
    sizes = {"flow": dimension, "field": dimension, "spin": 3}
    present = [axis for axis in axes if axis in sizes]
    choices = itertools.product(*(_CARTESIAN[: sizes[axis]] for axis in present))
    every: list[dict[str, str]] = [dict(zip(present, one, strict=True)) for one in choices]
    return {_plain(letters): letters for letters in every}


# --- disordered conductors ------------------------------------------------------------------------

_QUIVER: dict[str, Any] = {
    "angles": "xy",
    "scale_units": "xy",
    "scale": 1,
    "width": 0.008,
    "zorder": 4,  # above the nodes, which would hide arrows along the contour
}
_ARROWS_OF_A_BAND = 20  # so that arrows along a contour do not cover each other
_ARROW_UNITS = {"velocity": " eV Å", "spin": "", "extrinsic velocity": " eV Å"}


def _symmetric(values) -> Normalize:
    size = max(_size(values), 1e-12)
    return Normalize(-size, size)


def _velocity(on_shell, disorder):
    return on_shell.expectation(on_shell.slopes)


def _spin(on_shell, disorder):
    return on_shell.expectation(on_shell.spin)


def _extrinsic_velocity(on_shell, disorder):
    return extrinsic(on_shell, disorder.scattering(on_shell), on_shell.slopes)


_ARROWS = {"velocity": _velocity, "spin": _spin, "extrinsic velocity": _extrinsic_velocity}


def _check_fermi_surface(model, show, disorder) -> None:
    checks.check_model(model)
    if model.dimension != 2:
        raise ValueError(f"Argument `model` must have dimension 2, but has {model.dimension}.")
    if show not in _ARROWS:
        raise ValueError(
            f"Argument `show` must be one of {', '.join(map(repr, _ARROWS))}, but is {show!r}."
        )
    if show == "extrinsic velocity" and not isinstance(disorder, Disorder):
        raise ValueError(
            "Argument `disorder` must be given for the extrinsic velocity, for example "
            f"ScalarDisorder(...), but is {disorder!r}."
        )
    if disorder is not None:
        disorder.check(model)


def _check_disordered(response) -> None:
    if not isinstance(response, DisorderedResponse) or is_traced(response):
        raise ValueError(
            "Argument `response` must be what disordered_response returns, outside of jit, "
            f"but is of type {type(response).__name__}."
        )


def _linear(letters: dict[str, str]) -> str:
    """Mathtext of a conductivity or of a spin density by the field, without dollars."""
    if "flow" in letters:
        return _tex(r"\sigma", letters)
    return rf"\langle\sigma_{letters['spin']}\rangle/E_{letters['field']}"


def _drawn(contribution: Contribution, part: str) -> Response:
    """A conductivity in the units in which it is measured, or a spin density."""
    response = getattr(contribution, part)
    measured_in = {2: "e^2/h", 3: "S/cm"}[response.value.shape[-1]]
    return response.to(measured_in) if part == "conductivity" else response


def _mechanism(part: Response, component: str) -> np.ndarray:
    """One component of one mechanism at each level, or at each value of a parameter."""
    labels = list(component_labels(part.axes, part.value.shape[-1]))
    if component not in labels:
        raise ValueError(
            f"Argument `component` must be one of {', '.join(map(repr, labels))}, "
            f"but is {component!r}."
        )
    return np.asarray(part.value).reshape(-1, len(labels))[:, labels.index(component)]


def _abscissa(levels, against) -> tuple[str, np.ndarray]:
    if against is None:
        return r"Fermi energy $\mu$ (eV)", np.asarray(levels.mu).ravel()
    label, values = against
    return label, np.asarray(values, dtype=float).ravel()


def _check_lengths(x, y) -> None:
    if x.shape != y.shape:
        raise ValueError(
            f"Argument `against` must have {y.size} values, one for each response, "
            f"but has {x.size}."
        )


def _plain(letters: dict[str, str]) -> str:
    spin = f"^{letters['spin']}" if "spin" in letters else ""
    return letters.get("flow", "") + letters.get("field", "") + spin


# --- curves of a scan -----------------------------------------------------------------------------


class _Curve(NamedTuple):
    """One component: value and error of shape (temperature, mu), and the name in the legend."""

    name: str
    value: np.ndarray
    error: np.ndarray


def _all_curves(response: Response) -> dict[str, _Curve]:
    """Every component by its plain label."""
    shape = (response.levels.temperatures.size, response.levels.mu.size, -1)
    value, error = (np.asarray(a).reshape(shape) for a in (response.value, response.error))
    fixed = dict(part.split() for part in response.selected.split(", ") if part)
    symbol = _symbol(response.name)
    return {
        plain: _Curve(_tex(symbol, fixed | letters), value[..., i], error[..., i])
        for i, (plain, letters) in enumerate(component_labels(*_component_axes(response)).items())
    }


def _component_axes(response: Response) -> tuple[tuple[str, ...], int]:
    sizes = dict(zip(response.axes, response.value.shape, strict=True))
    return response.axes, sizes.get("flow", sizes.get("field", 3))


def _named(curves: dict[str, _Curve], components: Sequence[str]) -> list[_Curve]:
    if isinstance(components, str) or not components:
        raise ValueError(
            f"Argument `components` must be a list of labels such as {_some(curves)}, "
            f"but is {components!r}."
        )
    for label in components:
        if label not in curves:
            raise ValueError(
                f"Argument `components` must hold labels such as {_some(curves)}, "
                f"but holds {label!r}."
            )
    return [_dollars(curves[label]) for label in components]


def _some(curves: dict[str, _Curve]) -> str:
    labels = list(curves)
    if labels == [""]:
        return "none at all (this response has no components: leave the argument out)"
    return ", ".join(map(repr, labels[:9])) + (", ..." if len(labels) > 9 else "")


def _independent(curves: dict[str, _Curve]) -> list[_Curve]:
    """One curve of each set that is equal up to the sign, largest sets' names joined."""
    largest = max(_size(curve.value) for curve in curves.values())
    families: list[tuple[np.ndarray, list[str]]] = []
    kept: list[_Curve] = []
    for curve in curves.values():
        if _size(curve.value) <= _SAME * largest:
            continue
        sign, names = _family(curve, families, _SAME * largest)
        if names is None:
            families.append((curve.value, [curve.name]))
            kept.append(curve)
        else:
            names.append(("=" if sign > 0 else "=-") + curve.name)
    if not kept:
        some = next(iter(curves.values()))
        return [some._replace(name="all components")]
    joined = [
        _dollars(curve._replace(name=_joined(names)))
        for curve, (_, names) in zip(kept, families, strict=True)
    ]
    order = np.argsort([-_size(curve.value) for curve in joined], kind="stable")
    return [joined[i] for i in sorted(order[: len(PALETTE)])]


def _family(curve, families, tolerance) -> tuple[int, list[str] | None]:
    for value, names in families:
        for sign in (1, -1):
            if _size(curve.value - sign * value) <= tolerance:
                return sign, names
    return 1, None


def _joined(names: list[str]) -> str:
    return "".join(names[:4]) + (r"=\ldots" if len(names) > 4 else "")


def _size(array: np.ndarray) -> float:
    """The largest finite magnitude."""
    return float(np.max(np.abs(np.nan_to_num(array))))


def _dollars(curve: _Curve) -> _Curve:
    return curve._replace(name=f"${curve.name}$")


def _draw_curves(axes: Axes, response: Response, curves: list[_Curve]) -> None:
    mu, temperatures = response.levels.mu, response.levels.temperatures
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    if _along_temperature(response):
        for curve, color in zip(curves, itertools.cycle(PALETTE)):
            _draw_line(axes, temperatures, curve.value[:, 0], curve.error[:, 0], color, "-")
        return
    for curve, color in zip(curves, itertools.cycle(PALETTE)):
        for i in range(temperatures.size):
            look = _shade(color, i, temperatures.size), _line_style(i, temperatures.size)
            _draw_line(axes, mu, curve.value[i], curve.error[i], *look)


def _draw_line(axes, x, y, error, color, style) -> None:
    order = np.argsort(x)
    x, y, error = np.asarray(x)[order], y[order], error[order]
    marker = "o" if x.size == 1 else None
    axes.plot(x, y, color=color, linestyle=style, marker=marker)
    # A line is about half a per cent of the height of the axes.
    if _size(error) > 0.005 * np.ptp(np.nan_to_num(y)):
        axes.fill_between(x, y - error, y + error, color=color, alpha=0.2, linewidth=0)


def _along_temperature(response: Response) -> bool:
    return response.levels.mu.size == 1 and response.levels.temperatures.size > 1


def _line_style(i: int, number: int) -> str:
    return _LINE_STYLES[i] if number <= len(_LINE_STYLES) else "-"


def _shade(color: str, i: int, number: int) -> tuple[float, ...]:
    """The colour mixed with white, more for each temperature after the first."""
    white = 0.0 if number == 1 else 0.6 * i / (number - 1)
    return tuple(c + (1 - c) * white for c in to_rgb(color))


# --- texts of a scan ------------------------------------------------------------------------------

_SYMBOLS = {
    "spin Hall conductivity": r"\sigma",
    "anomalous Hall conductivity": r"\sigma",
    "torque density": r"\tau",
    "equilibrium spin current": r"\hbar J",
    "carrier density": "n",
    "density of states": r"\partial n/\partial\mu",
}
_GREEK = {"G": "Γ", "Gamma": "Γ", "GAMMA": "Γ", r"\Gamma": "Γ"}


def _symbol(name: str) -> str:
    return next((s for start, s in _SYMBOLS.items() if name.startswith(start)), "R")


def _tex(symbol: str, letters: dict[str, str]) -> str:
    """Mathtext of one component, without dollars."""
    below = letters.get("flow", "") + letters.get("field", "")
    above = letters.get("spin", "")
    return symbol + (f"^{{{above}}}" if above else "") + (f"_{{{below}}}" if below else "")


def _unit(units: str) -> str:
    """A unit with mathtext: "hbar/2e S/m" becomes "$(\\hbar/2e)$ S/m"."""
    text = re.sub(r"e\^2/hbar", r"$e^2/\\hbar$", units)
    text = re.sub(r"\bhbar/(2?e|2)\b", r"$(\\hbar/\1)$", text)
    text = re.sub(r"(?<!\\)\bhbar\b", r"$\\hbar$", text)
    text = re.sub(r"e\^2/h\b", r"$e^2/h$", text)
    text = re.sub(r"\be/(\d)pi", r"$e/\1\\pi$", text)
    text = re.sub(r"\be/2 ", "$e/2$ ", text)
    text = text.replace("Angstrom", "Å")
    return re.sub(r"(?<=[ÅVm])\^(-?\d+)", r"$^{\1}$", text)


def _label_scan(axes: Axes, response: Response) -> None:
    mu, temperatures = response.levels.mu, response.levels.temperatures
    quantity, _, detail = response.name.partition(" (")
    given = [detail.rstrip(")")] if detail else []
    if _along_temperature(response):
        axes.set_xlabel("Temperature (K)")
        given.append(rf"$\mu$ = {float(mu[0]):g} eV")
    else:
        axes.set_xlabel(r"Fermi energy $\mu$ (eV)")
        if temperatures.size == 1:
            given.append(f"$T$ = {float(temperatures[0]):g} K")
    axes.set_ylabel(f"{quantity[:1].upper()}{quantity[1:]} [{_unit(response.units)}]")
    axes.set_title(", ".join(given))
    axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
    axes.margins(x=0.0 if mu.size > 1 or _along_temperature(response) else 0.05)


def _legend(axes: Axes, response: Response, curves: list[_Curve]) -> None:
    handles = [
        Line2D([], [], color=color, label=curve.name)
        for curve, color in zip(curves, itertools.cycle(PALETTE))
    ]
    temperatures = response.levels.temperatures
    number = temperatures.size
    if number > 1 and not _along_temperature(response):
        for i in np.unique(np.linspace(0, number - 1, min(number, 6)).astype(int)).tolist():
            look = {"color": _shade("0.2", i, number), "linestyle": _line_style(i, number)}
            handles.append(Line2D([], [], label=f"{float(temperatures[i]):g} K", **look))
    if len(handles) > 1 or "_" in curves[0].name:  # a quantity without components needs none
        axes.legend(handles=handles, loc="best")


# --- maps over k ----------------------------------------------------------------------------------


def _centres(half: float, number: int) -> np.ndarray:
    """Centres of `number` pixels from -half to half."""
    return half * (2 * np.arange(number) + 1 - number) / number


def _draw_map(axes: Axes, values: np.ndarray, half: np.ndarray) -> None:
    box = (-half[0], half[0], -half[1], half[1])
    norm = _centred_norm(values)
    image = axes.imshow(values, origin="lower", extent=box, cmap="RdBu_r", norm=norm)
    beside = axes.inset_axes((1.04, 0, 0.05, 1))  # of the height of the map
    bar = axes.figure.colorbar(image, cax=beside, label=r"Berry curvature $\Omega_{xy}$ (Å$^2$)")
    if isinstance(norm, AsinhNorm):  # its own ticks overlap around zero
        top = int(np.floor(np.log10(_size(values))))
        decades = [n for n in range(top - 2, top + 1) if 10.0**n > 5 * norm.linear_width]
        signed = [("-", n) for n in decades[::-1]] + [("", n) for n in decades]
        bar.set_ticks(
            [0.0, *(float(f"{sign}1e{n}") for sign, n in signed)],
            labels=["0", *(f"${sign}10^{{{n}}}$" for sign, n in signed)],
        )
        bar.minorticks_off()


def _draw_wall(axes: Axes, found: TextureTorque, x: np.ndarray) -> None:
    for letter, torque, color in zip(_CARTESIAN, np.asarray(found.torque), PALETTE, strict=False):
        axes.plot(x, torque, color=color, label=rf"$\tau_{letter}$")
    axes.set_ylabel(r"torque on $\mathbf{m}$ (eV Å$^{-3}$)")
    axes.margins(x=0)
    axes.legend()


_ARROWS_OF_A_SIDE = 21  # along a side: more of them hide each other in one column


def _draw_torque_map(axes: Axes, found: TextureTorque, x: np.ndarray, y: np.ndarray) -> None:
    """Arrows of the torque in the plane over m_z."""
    edges = (x[0], x[-1], y[0], y[-1])
    size = np.max(np.linalg.norm(found.magnetization, axis=0))
    along = np.asarray(found.magnetization[2]).T / size
    norm = Normalize(-1, 1)
    image = axes.imshow(along, origin="lower", extent=edges, cmap="RdBu_r", norm=norm, alpha=0.6)
    beside = axes.inset_axes((1.04, 0, 0.05, 1))
    axes.figure.colorbar(image, cax=beside, label=r"$m_z/|m|$")
    a, b = (slice(None, None, -(-len(side) // _ARROWS_OF_A_SIDE)) for side in (x, y))
    torque = np.asarray(found.torque)[:2, a, b]
    axes.quiver(x[a], y[b], *torque.swapaxes(1, 2), pivot="mid")
    axes.set_ylabel(r"$y$ (Å)")
    largest = np.max(np.linalg.norm(torque, axis=0))
    axes.set_title(rf"torque in the plane, at most {_power(largest)} eV Å$^{{-3}}$")


def _power(number: float) -> str:
    digits, exponent = f"{number:.2e}".split("e")
    return rf"${digits}\cdot 10^{{{int(exponent)}}}$"


def _centred_norm(values: np.ndarray) -> Normalize:
    """Colours symmetric about zero; logarithmic where a linear scale would show only the peaks."""
    largest = _size(values) or 1.0
    if np.median(np.abs(values)) > largest / 100:
        return Normalize(-largest, largest)
    return AsinhNorm(largest / 1000, vmin=-largest, vmax=largest)  # smooth where SymLogNorm kinks


def _brillouin_zone(model: Model) -> Float[np.ndarray, "n 2"]:
    """Corners of the first Brillouin zone in order, 1/Å; none for a continuum model."""
    if model.lattice is None:
        return np.zeros((0, 2))
    return _nearest_to_origin(np.asarray(reciprocal_vectors(model.lattice)))


def _nearest_to_origin(vectors: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "n 2"]:
    """Corners of the cell of the lattice (vectors as rows) that is nearest to the origin, in order.

    They are the points where two planes k·G = G²/2 meet that no third plane cuts off.
    """
    first, second = _reduced(*vectors)
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    planes = [i * first + j * second for i, j in steps]
    corners = []
    for g, h in itertools.combinations(planes, 2):
        if abs(np.linalg.det([g, h])) > 1e-9 * (g @ g):
            k = np.linalg.solve([g, h], [g @ g / 2, h @ h / 2])
            if all(k @ p <= p @ p / 2 * (1 + 1e-9) for p in planes):
                corners.append(k)
    return np.array(sorted(corners, key=lambda k: np.arctan2(k[1], k[0])))


def _reduced(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shortest basis of the lattice of `a` and `b` (Lagrange and Gauss)."""
    if a @ a > b @ b:
        a, b = b, a
    multiple = np.rint(a @ b / (a @ a))
    return (a, b) if multiple == 0 else _reduced(b - multiple * a, a)


# --- cells of an adaptive mesh --------------------------------------------------------------------

_SIDE = 48  # points along each side of a cell, which is curved in polar coordinates


def _cells_in_plane(cells: Refinement) -> tuple[np.ndarray, tuple[str, str]]:
    """The cells that meet the plane which is drawn, and the names of its axes."""
    number, dimension = cells.lower.shape
    names = (r"$k_x$ (1/Å)", r"$k_y$ (1/Å)")
    if dimension == 2:
        return np.arange(number), names
    last = cells.lower[:, 2], cells.width[:, 2]
    smallest = np.argmin(np.prod(cells.width, axis=1))
    at = last[0][smallest] + last[1][smallest] / 2
    shown = np.flatnonzero((last[0] <= at) & (at < last[0] + last[1]))
    if cells.domain == "periodic":
        return shown, names
    return shown, (r"$(k_x^2+k_y^2)^{1/2}$ (1/Å)", r"$k_z$ (1/Å)")


def _outlines(cells: Refinement, shown: np.ndarray) -> Float[np.ndarray, "L p 2"]:
    """The boundary of each cell in the plane which is drawn, 1/Å."""
    t = np.linspace(0, 1, _SIDE, endpoint=False)
    x = np.concatenate([t, np.ones(_SIDE), 1 - t, np.zeros(_SIDE)])
    y = np.concatenate([np.zeros(_SIDE), t, np.ones(_SIDE), 1 - t])
    lower, width = cells.lower[shown], cells.width[shown]
    u = [lower[:, i, None] + width[:, i, None] * side for i, side in enumerate((x, y))]
    u[0] = np.minimum(u[0], _INFINITY) if cells.domain == "infinite" else u[0]
    if lower.shape[1] == 3:
        smallest = np.argmin(np.prod(cells.width, axis=1))
        at = cells.lower[smallest, 2] + cells.width[smallest, 2] / 2
        u.append(np.full_like(u[0], at))
    u = [jnp.asarray(x) for x in u]
    k = np.asarray(cells.coordinates(u, [jnp.ones_like(x) for x in u], cells.lattice).k)
    if len(u) == 3 and cells.domain != "periodic":
        return np.stack([np.hypot(k[0], k[1]), k[2]], axis=-1)
    return np.stack([k[0], k[1]], axis=-1)


_INFINITY = 0.999


def _area(outlines: Float[np.ndarray, "L p 2"]) -> Float[np.ndarray, " L"]:
    x, y = outlines[..., 0], outlines[..., 1]
    return np.abs(np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1)) / 2


def _frame_cells(axes: Axes, cells: Refinement, outlines: np.ndarray) -> None:
    """All of a bounded domain; of an infinite one the part that holds nine cells of ten."""
    points = outlines.reshape(-1, 2)
    if cells.domain == "infinite":
        reach = 1.2 * np.quantile(np.max(np.abs(outlines), axis=(1, 2)), 0.9)
        points = np.clip(points, -reach, reach)
    axes.set_xlim(points[:, 0].min(), points[:, 0].max())
    axes.set_ylim(points[:, 1].min(), points[:, 1].max())


# --- fits -----------------------------------------------------------------------------------------

_ABSCISSA = {"mu": "Fermi energy (eV)", "gate": "Gate voltage (V)"}


def _letters(component: str) -> dict[str, str]:
    """The axes of a label, "zx^y"."""
    return dict(zip(("flow", "field", "spin"), component.replace("^", ""), strict=False))


def _draw_fitted(axes: Axes, data: Data, curve: Curve, color: str, label: str) -> None:
    rows, order = curve.rows, np.argsort(curve.x)
    low, high = _reach(data)
    order = order[(curve.x[order] >= low) & (curve.x[order] <= high)]
    look: dict[str, Any] = {"color": color, "markersize": 4, "linewidth": 1}
    axes.errorbar(data.x[rows], data.value[rows], data.error[rows], fmt=".", label=label, **look)
    axes.plot(curve.x[order], curve.y[order], color=color, linewidth=1)


def _reach(data: Data) -> tuple[float, float]:
    """Where the data are, and a little more."""
    beside = 0.03 * (np.ptp(data.x) or 1.0)
    return np.min(data.x) - beside, np.max(data.x) + beside


def _frame_fitted(upper: Axes, lower: Axes, data: Data) -> None:
    upper.set_xlim(*_reach(data))
    upper.set_ylabel(f"Conductivity [{_unit(data.units)}]")
    upper.legend()
    for height in (-1, 0, 1):
        lower.axhline(height, color="0.6", linewidth=0.8, linestyle="-" if height == 0 else ":")
    lower.margins(y=0.15)
    lower.set_ylabel("Residual / error")
    lower.set_xlabel(_ABSCISSA.get(data.against, f"Density [{_unit(data.kind)}]"))


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
        axes.set_xlim(*_within(result, j))
        axes.tick_params(labelsize=6, labelbottom=below, labelleft=column == 0)
        axes.tick_params(axis="x", labelrotation=45)
        axes.set_xlabel(result.names[j] if below else "")
        axes.set_ylabel(result.names[i] if column == 0 < row else "")
    figure.align_labels()
    return drawn


def _within(result: Fit, i: int) -> tuple[float, float]:
    """Three standard errors to both sides."""
    reach = 3 * result.standard_errors[i]
    return result.values[i] - reach, result.values[i] + reach


def _draw_normal(axes: Axes, result: Fit, i: int) -> None:
    x = np.linspace(*_within(result, i), 100)
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
    axes.set_ylim(*_within(result, i))
    axes.locator_params(nbins=2)


# --- checks ---------------------------------------------------------------------------------------


def _style(axes: Axes | None) -> AbstractContextManager:
    """Our style for our own figure; the user's for the user's."""
    return matplotlib.rc_context(STYLE) if axes is None else nullcontext()


def _axes_or_new(axes: Axes | None) -> Axes:
    if axes is None:
        return pyplot.subplots(layout="constrained")[1]
    if not isinstance(axes, Axes):
        raise ValueError(
            f"Argument `axes` must be one matplotlib Axes, but is of type {type(axes).__name__}."
        )
    return axes


def _check_response(response) -> None:
    if not isinstance(response, Response):
        raise ValueError(
            "Argument `response` must be a jaxspin.Response, "
            f"but is of type {type(response).__name__}."
        )
    if is_traced(response):
        raise ValueError("Argument `response` must be numbers, but is traced: draw outside jit.")
    if response.value.ndim != len(response.axes):
        raise ValueError(
            f"Argument `response` must be one response with the axes {response.axes}, "
            f"but holds values of shape {response.value.shape}: select one of them first."
        )


def _mark_corners(axes: Axes, k, distance, corners: dict[str, tuple[float, ...]]) -> None:
    """A tick and a line at each named point of a path; two names at one place are joined."""
    ticks: dict[float, str] = {}
    for point, place in zip(k, distance.tolist(), strict=True):
        for label, corner in corners.items():
            if np.allclose(point, corner, atol=1e-5):
                name = _GREEK.get(label, label)
                before = ticks.get(place, name)
                ticks[place] = name if before == name else f"{before}|{name}"
    for place in ticks:
        axes.axvline(place, color="0.6", linewidth=0.8, zorder=0)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.tick_params(axis="x", length=0)


def _check_points(model: Model, k: np.ndarray, energies: np.ndarray) -> None:
    if model.lattice is None:
        raise ValueError("Argument `model` must have a lattice, but is a continuum model.")
    if k.ndim != 2 or k.shape[1] != model.dimension or len(k) < 2:
        raise ValueError(
            f"Argument `k` must be at least two points of dimension {model.dimension}, "
            f"but has shape {k.shape}."
        )
    if energies.ndim != 2 or len(energies) != len(k):
        raise ValueError(
            f"Argument `energies` must have shape ({len(k)}, bands), but has {energies.shape}."
        )


def _check_path(model: Model, path) -> None:
    if not isinstance(path, Path):
        raise ValueError(
            f"Argument `path` must be a jaxspin.Path, but is of type {type(path).__name__}."
        )
    if path.points.shape[1] != model.dimension:
        raise ValueError(
            f"Argument `path` must have points of dimension {model.dimension}, as the model has, "
            f"but has points of dimension {path.points.shape[1]}."
        )


def _check_number(number) -> None:
    if not isinstance(number, int | np.integer) or number < 2:
        raise ValueError(f"Argument `number` must be an integer above 1, but is {number!r}.")


def _check_curvature_arguments(model: Model, extent) -> None:
    if model.dimension != 2:
        raise ValueError(
            f"Argument `model` must have dimension 2 for a map, but has {model.dimension}."
        )
    if extent is None and model.lattice is None:
        raise ValueError(
            "Argument `extent` must be a number (1/Å) for a continuum model, but is None."
        )
    if extent is not None and not (np.ndim(extent) == 0 and 0 < extent < np.inf):
        raise ValueError(f"Argument `extent` must be positive (1/Å), but is {extent!r}.")


def _check_band(band, number: int) -> None:
    if not isinstance(band, int | np.integer) or not 0 <= band < number:
        raise ValueError(
            f"Argument `band` must be a band index from 0 to {number - 1}, but is {band!r}."
        )
