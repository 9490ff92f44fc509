"""Energies of thermal averages σ(T) = ∫(−∂f/∂ε) σ(ε) dε of quantities on Fermi surfaces.

σ(ε) has a kink, a step or a root where a Fermi surface appears, disappears or changes its number of
sheets: at band edges and onsets. These energies are searched for, and the integral is taken between
them, by Gauss-Legendre rules in variables in which it is smooth. A second rule of fewer nodes, with
other nodes on the Fermi surface (`FermiSurfaceRule.companion`), estimates the error. Levels next to
each other share their energies: their averages are other sums over the same σ(ε).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.xla import repeat
from jaxspin.models.base import Model
from jaxspin.surfaces.base import FermiSurfaceRule, Outline, one_band, stop_gradients

WINDOW = 20.0  # kT from mu, or from the next band where mu is in a gap: 2e-9 of −f' is beyond
_FAR = 40.0  # kT up to which bands are looked for: f is a step to double precision there
# Distance from the average of the response there, in units of the farthest in the window. Measured
# on valence bands with a ring-shaped maximum, 20 responses by mechanism: at most 4.6.
_FARTHER = 10.0
_ONSETS = 2  # onsets that are boundaries of panels, those next to the levels
_BISECTIONS = 40  # of one kT
# Nodes of the rule and of the one it is compared with, on each of 4 panels. Measured on averages of
# steps, roots, powers and Lorentzians with an onset from −30 to 20 kT, with and without a second
# one: relative errors up to 6e-8, in the median 1e-11, none above the difference of the two rules,
# which is 40 times the error in the median. With 13 nodes it is below the error in one case of 13.
# With mu at the onset itself they are up to 6e-7, four times the difference.
_NODES = (14, 12)
_PANELS = 4
# Levels so near to each other share their energies, and kT of the panels between them, at most:
# −f' is then off by 10⁻¹⁵ of itself with 14 nodes, and by 10⁻¹² with 12.
_NEIGHBOURS = 8.0
_WIDEST = 4.0
_STEPS = 4  # of at most one kT, to look for onsets on each panel between levels


class Energies(eqx.Module):
    """Energies of two rules for the thermal average of one level, those of the first rule first.

    Of several levels that share them the shares, tails and what is left out have an axis for the
    level, before their own.
    """

    #: eV; the first of each rule is mu, which has no share in a thermal average.
    energies: Float[Array, " e"]
    #: −f' dε of each.
    shares: Float[Array, "*l e"]
    #: Shares of −f' below and above the window.
    tails: Float[Array, "*l 2"]
    #: Share of the energies of each rule that are left out because the rule cannot do them.
    left_out: Float[Array, "*l 2"]
    #: Number of energies of the first rule.
    first: int = eqx.field(static=True)

    @property
    def has_share(self) -> Bool[Array, " e"]:
        """Mask of the energies whose share changes the average."""
        return self.shares > _NEGLIGIBLE * jnp.max(self.shares, axis=-1, keepdims=True)

    @property
    def counts_in_first(self) -> Bool[Array, " e"]:
        """Mask of the energies of the first rule whose share changes the average."""
        return self.has_share & (self.rule_index == 0)

    @property
    def rule_index(self) -> np.ndarray:
        """0 where an energy belongs to the first rule, 1 where it belongs to the second."""
        return (np.arange(self.energies.shape[-1]) >= self.first).astype(int)

    def find_extreme(self, select: Callable, values: Array, otherwise: Any) -> Array:
        """The extreme over the energies of the first rule whose share changes the average.

        Args:
            select: `jnp.min`, `jnp.max`, `jnp.all` or `jnp.any`, over the first axis.
            otherwise: stands for the other energies.
        """
        where = self.counts_in_first.reshape(-1, *(1,) * (values.ndim - 1))
        return select(jnp.where(where, values, otherwise), axis=0)

    def average(self, values: Float[Array, "e *x"]) -> tuple[Array, Array]:
        """The averages of the first rule and of the second, without energies of no share.

        The second is farther from the first by what may lie beyond the window of both, and by what
        the energies that are left out may add. Where the second rule is refused and the first is
        not it is 0: the error is then as large as the average, which is warned of, and not unknown.
        """
        shares = self.shares.reshape(-1, *(1,) * (values.ndim - 1))
        terms = jnp.where(shares == 0, 0, shares * values)
        first, second = jnp.sum(terms[: self.first], axis=0), jnp.sum(terms[self.first :], axis=0)
        inside = stop_gradients(self.energies)[: self.first]
        ends = jnp.nan_to_num(values[jnp.stack([jnp.argmin(inside), jnp.argmax(inside)])])
        beyond = jnp.tensordot(self.tails, jnp.abs(ends - first), axes=1)
        farthest = self.find_extreme(jnp.max, jnp.abs(values - first), 0)
        missing = jnp.max(self.left_out)
        beyond = beyond + jnp.where(missing == 0, 0, _FARTHER * missing * farthest)
        second = jnp.where(jnp.isnan(second) & ~jnp.isnan(first), 0, second)
        return first, second - jnp.where(first < second, -1, 1) * beyond


_NEGLIGIBLE = 1e-9  # of the largest share; the rest is below the error of the rule


def energies_of_level(
    surface: FermiSurfaceRule, model: Model, mu: Float[Array, ""], thermal: Float[Array, ""] | None
) -> Energies:
    """The energies of one level for kT in eV; None is T = 0, with mu alone for either rule."""
    energies = energies_of_levels(surface, model, SharedLevels(mu[None], 0), thermal)
    one = (energies.shares[0], energies.tails[0], energies.left_out[0])
    return eqx.tree_at(lambda e: (e.shares, e.tails, e.left_out), energies, one)


class SharedLevels(eqx.Module):
    """Groups of as many levels each, which share their energies."""

    #: Ascending in each group, eV.
    mu: Float[Array, "*g l"]
    #: Number of panels between the lowest and the highest one.
    panels: int = eqx.field(static=True)


def group_levels(
    mu: Float[Array, " l"], thermal: Float[Array, ""] | None
) -> list[tuple[SharedLevels, np.ndarray]]:
    """The levels that share their energies, and which they are, for each shape of group.

    Each level has its own at T = 0 (kT is None), and where it is traced which ones are near.
    """
    if thermal is None or is_traced(mu, thermal):
        return [(SharedLevels(mu[:, None], 0), np.arange(len(mu))[:, None])]
    x = np.asarray(mu) / float(thermal)
    order = np.argsort(x, kind="stable")
    shapes: dict[tuple[int, int], list[np.ndarray]] = {}
    for group in np.split(order, np.flatnonzero(np.diff(x[order]) > _NEIGHBOURS) + 1):
        panels = int(np.ceil((x[group[-1]] - x[group[0]]) / _WIDEST))
        shapes.setdefault((len(group), panels), []).append(group)
    every = [(panels, np.stack(groups)) for (_, panels), groups in shapes.items()]
    return [(SharedLevels(mu[which], panels), which) for panels, which in every]


def energies_of_levels(
    surface: FermiSurfaceRule, model: Model, group: SharedLevels, thermal: Float[Array, ""] | None
) -> Energies:
    """The energies of one group of levels, for kT in eV; None is T = 0, for groups of one."""
    mu, panels, levels = group.mu, group.panels, len(group.mu)
    none = jnp.zeros((levels, 2))
    if thermal is None:
        return Energies(jnp.stack([mu[0], mu[0]]), jnp.ones((1, 2)), none, none, 1)
    x = (mu - mu[0]) / thermal
    low, high, onsets, found = _find_onsets(surface, model, mu, thermal, panels)
    found = found & ~_is_too_close(onsets, found)
    inner = x[-1] * np.arange(panels + 1) / max(1, panels)
    outer = x[np.array([0, -1])] + _BESIDE
    close = lambda splits: jnp.any(  # noqa: E731
        found & (jnp.abs(splits[:, None] - onsets) < _CLOSE), axis=1
    )
    inner = jnp.where(close(inner), high, inner)  # without a share
    outer = jnp.where(close(outer), high, outer)
    spare = jnp.concatenate([outer, jnp.broadcast_to(high, (len(onsets) - len(outer),))])
    points = jnp.concatenate([jnp.stack([low, high]), inner, jnp.where(found, onsets, spare)])
    at_onset = jnp.concatenate([jnp.zeros(2 + len(inner), bool), found])
    order = jnp.argsort(stop_gradients(points))
    rules = [_panel_rule(points[order], at_onset[order], x, number) for number in _NODES]
    at_mu, no_share = jnp.zeros(1), jnp.zeros((levels, 1))
    nodes = jnp.concatenate([node for rule in rules for node in (at_mu, rule[0])])
    shares = jnp.concatenate([y for rule in rules for y in (no_share, rule[1])], axis=1)
    tails = jax.nn.sigmoid(jnp.stack([low - x, x - high], axis=1))
    return Energies(mu[0] + thermal * nodes, shares, tails, none, 1 + len(rules[0][0]))


# kT from the levels: boundaries of panels where there is no onset. Panels are at least so wide that
# energies in them are not an onset but for rounding.
_BESIDE = np.array([-3.0, 3.0])
_CLOSE = 0.3


def _is_too_close(onsets: Float[Array, " b"], found: Bool[Array, " b"]) -> Bool[Array, " b"]:
    """Mask of the onsets that are next to an earlier one."""
    near = found[None, :] & (jnp.abs(onsets[:, None] - onsets[None, :]) <= _CLOSE)
    return jnp.any(jnp.tril(near, -1), axis=1)


def _panel_rule(
    points: Float[Array, " p"], at_onset: Bool[Array, " p"], levels: Float[Array, " l"], number: int
) -> tuple[Float[Array, " e"], Float[Array, "l e"]]:
    """Nodes x = (ε − mu)/kT from the lowest level, and shares for each level, of Gauss-Legendre
    rules between neighbouring points.

    In y with x = π sinh y the poles of −f' at ±iπ do not come closer for large |x|, which is the
    distance from the nearest of the levels at the ends, or from the middle of a panel between them;
    a square of the distance from an onset makes roots of it smooth.
    """
    node, weight = np.polynomial.legendre.leggauss(number)
    t, weight = (node + 1) / 2, weight / 2
    left, right = at_onset[:-1, None], at_onset[1:, None]
    both = left & right
    place = jnp.where(both, t**2 * (3 - 2 * t), jnp.where(left, t**2, t * (2 - t)))
    slope = jnp.where(both, 6 * t * (1 - t), jnp.where(left, 2 * t, 2 - 2 * t))
    smooth = left | right
    place, slope = jnp.where(smooth, place, t), jnp.where(smooth, slope, 1.0)
    origin = jnp.clip((points[1:] + points[:-1]) / 2, levels[0], levels[-1])[:, None]
    y, end = (jnp.arcsinh((x[:, None] - origin) / np.pi) for x in (points[:-1], points[1:]))
    width = end - y
    y = y + width * place
    x = origin + np.pi * jnp.sinh(y)
    steps = weight * slope * width * np.pi * jnp.cosh(y)
    shares = steps.ravel() / (4 * jnp.cosh((x.ravel() - levels[:, None]) / 2) ** 2)
    shares = shares / jnp.sum(shares, axis=1, keepdims=True)
    return x.ravel(), jnp.where(shares < _ROUNDING * jnp.max(shares, axis=1)[:, None], 0, shares)


_ROUNDING = 1e-17  # of the largest share


class _Window(NamedTuple):
    low: Float[Array, ""]
    high: Float[Array, ""]
    onsets: Float[Array, " b"]
    found: Bool[Array, " b"]


def _find_onsets(surface, model, mu: Float[Array, " l"], thermal, panels: int) -> _Window:
    """The window of energies, and the onsets next to the levels inside it, in kT from the lowest;
    one more for each panel between the levels."""
    fixed, levels, unit, rule = stop_gradients((model, mu, thermal, surface))
    outline = rule.outline(fixed)
    level, x_levels = levels[0], (levels - levels[0]) / unit
    top, far = x_levels[-1], jnp.arange(_FAR + 1)
    inner = top * np.arange(1, _STEPS * panels) / max(1, _STEPS * panels)
    x = jnp.concatenate([-far[::-1], inner, top + far[panels == 0 :]])
    outlines = jax.vmap(outline)(level + unit * x)
    above = jnp.min(jnp.where(outlines.crossed & (x >= top), x, jnp.inf))
    below = jnp.max(jnp.where(outlines.crossed & (x <= 0), x, -jnp.inf))
    high = jnp.minimum(jnp.where(jnp.isfinite(above), above, top) + WINDOW, top + _FAR)
    low = jnp.maximum(jnp.where(jnp.isfinite(below), below, 0) - WINDOW, -_FAR)
    change = jnp.any(outlines.number[1:] != outlines.number[:-1], axis=1)
    middle = (x[:-1] + x[1:]) / 2
    change = change & (middle > low) & (middle < high)
    from_levels = jnp.min(jnp.abs(middle[:, None] - x_levels), axis=1)
    distance = jnp.where(change, from_levels, jnp.inf)
    chosen = jnp.argsort(distance)[: _ONSETS + panels]
    low_side = jax.tree.map(lambda y: y[chosen], outlines)
    high_side = jax.tree.map(lambda y: y[chosen + 1], outlines)
    intervals = _Interval(x[chosen], x[chosen + 1], low_side, high_side)
    locate = partial(_locate_onset, outline, model, mu[0], thermal)
    onsets = jnp.clip(jax.vmap(locate)(intervals), low, high)
    return _Window(low, high, onsets, jnp.isfinite(distance[chosen]))


class _Interval(NamedTuple):
    """At most one kT of energy (in kT from the lowest level), with the outlines at its two ends."""

    start: Float[Array, ""]
    end: Float[Array, ""]
    low_side: Outline
    high_side: Outline


def _locate_onset(outline: Callable, model, mu, thermal, interval: _Interval) -> Float[Array, ""]:
    """Onset inside an interval, by bisection of the outline, in kT from mu.

    It is an extremum of a band: the derivative of its energy is that of the energy at its k.
    """
    level, unit = stop_gradients((mu, thermal))

    def bisect_interval(bounds):
        low, high, low_side, high_side = bounds
        middle = (low + high) / 2
        found = outline(level + unit * middle)
        same = jnp.all(found.number == low_side.number)
        choose = lambda yes, no: jax.tree.map(partial(jnp.where, same), yes, no)  # noqa: E731
        return choose((middle, high, found, high_side), (low, middle, low_side, found))

    _, x, *sides = repeat(_BISECTIONS, bisect_interval, tuple(interval))
    k, band = _find_extremum(stop_gradients(model), jax.tree.map(lambda *y: jnp.stack(y), *sides))
    energy = one_band(model, k[:, None], band[None])[0][0]
    moved = (energy - mu) / jnp.where(unit == 0, 1, thermal)
    return stop_gradients(x) + moved - stop_gradients(moved)


def _find_extremum(model, sides: Outline):
    """k and band of the slowest node of the bands whose outline differs between two energies."""
    slots = sides.number.shape[1]
    k, band = jnp.moveaxis(sides.k, 0, 1).reshape(len(sides.k[0]), -1), sides.band.ravel()
    differs = jnp.tile(sides.number[0] != sides.number[1], 2)
    concerned = jnp.any((band[:, None] == band) & differs, axis=1)
    speed = jnp.linalg.norm(one_band(model, k, band)[1], axis=0)
    there = concerned & (sides.number.reshape(2 * slots) > 0)
    best = jnp.argmin(jnp.where(there, speed, jnp.inf))
    return k[:, best], band[best]


def drop_without_share(energies: Energies) -> Energies:
    """The same energies of groups of levels without those that have a share in no average.

    Where they are traced it is not known which these are, and all stay.
    """
    if is_traced(energies):
        return energies
    kept = np.any(np.asarray(energies.shares) > 0, axis=(0, 1))
    first = int(kept[: energies.first].sum())
    return Energies(
        energies.energies[:, kept],
        energies.shares[..., kept],
        energies.tails,
        energies.left_out,
        first,
    )


def number_of_energies(thermal: Float[Array, ""] | None, panels: int = 0) -> int:
    """Number of energies of one level, or of a group with so many panels between its levels."""
    return 2 if thermal is None else sum(1 + (_PANELS + panels) * number for number in _NODES)


def count_energies(mu: Float[Array, " l"], thermal: Float[Array, ""] | None) -> int:
    """Number of energies of all groups of levels."""
    groups = [group for group, _ in group_levels(mu, thermal)]
    return sum(len(group.mu) * number_of_energies(thermal, group.panels) for group in groups)
