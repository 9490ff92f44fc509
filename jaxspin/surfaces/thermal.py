"""Thermal averages of quantities on Fermi surfaces: σ(T) = ∫(−∂f/∂ε) σ(ε) dε.

σ(ε) has a kink, a step or a root where a Fermi surface appears, disappears or changes its number of
sheets: at band edges and onsets. These energies are searched for, and the integral is taken between
them, by Gauss-Legendre rules in variables in which it is smooth. A second rule of fewer nodes, with
other nodes on the Fermi surface (`FermiSurfaceRule.companion`), estimates the error.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin.engine.programs import known_by_shape
from jaxspin.engine.segments import Portion
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.xla import map_in_batches, repeat
from jaxspin.integration.levels import Levels
from jaxspin.models.base import Model
from jaxspin.surfaces.base import (
    Diagnostic,
    FermiSurface,
    FermiSurfaceRule,
    Outline,
    one_band,
    stop_gradients,
)
from jaxspin.units import BOLTZMANN

_WINDOW = 20.0  # kT from mu, or from the next band where mu is in a gap: 2e-9 of −f' is beyond
_FAR = 40.0  # kT up to which bands are looked for: f is a step to double precision there
# Share of −f' at energies that a rule cannot do: above it the level is refused, below it they are
# left out, with an error. For a band edge it is at 11.5 kT: 0.30 eV at 300 K.
_LEFT_OUT = 1e-5
# Distance from the average of the response there, in units of the farthest in the window. Measured
# on valence bands with a ring-shaped maximum, 20 responses by mechanism: at most 4.6.
_FARTHER = 10.0
_ONSETS = 2  # onsets that are boundaries of panels, those next to mu
_BISECTIONS = 40  # of one kT
# Nodes of the rule and of the one it is compared with, on each of 4 panels. Measured on averages of
# steps, roots, powers and Lorentzians with an onset from −30 to 20 kT, with and without a second
# one: relative errors up to 6e-8, in the median 1e-11, none above the difference of the two rules,
# which is 40 times the error in the median. With 13 nodes it is below the error in one case of 13.
_NODES = (14, 12)
_PANELS = 4


class Energies(eqx.Module):
    """Energies of two rules for a thermal average, those of the first rule first."""

    #: eV; the first of each rule is mu, which has no share in a thermal average.
    energies: Float[Array, " e"]
    #: −f' dε of each.
    shares: Float[Array, " e"]
    #: Shares of −f' below and above the window.
    tails: Float[Array, "2"]
    #: Share of the energies of each rule that are left out because the rule cannot do them.
    left_out: Float[Array, "2"]
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
        return np.arange(self.energies.shape[-1]) // self.first

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
        ends = jnp.nan_to_num(values[jnp.array([min(1, self.first - 1), self.first - 1])])
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
    if thermal is None:
        return Energies(jnp.stack([mu, mu]), jnp.ones(2), jnp.zeros(2), jnp.zeros(2), 1)
    low, high, onsets, found = _find_onsets(surface, model, mu, thermal)
    found = found.at[1].set(found[1] & (jnp.abs(jnp.diff(onsets)[0]) > _CLOSE))
    splits = jnp.asarray(_SPLITS)
    close = jnp.any(found & (jnp.abs(splits[:, None] - onsets) < _CLOSE), axis=1)
    splits = jnp.where(close, high, splits)  # without a share
    points = jnp.stack([low, high, splits[0], *jnp.where(found, onsets, splits[1:])])
    at_onset = jnp.concatenate([jnp.zeros(3, bool), found])
    order = jnp.argsort(stop_gradients(points))
    rules = [_panel_rule(points[order], at_onset[order], number) for number in _NODES]
    at_mu = jnp.zeros(1)
    energies = jnp.concatenate([x for x, _ in rules for x in (at_mu, x)])
    shares = jnp.concatenate([x for _, share in rules for x in (at_mu, share)])
    tails = jax.nn.sigmoid(jnp.stack([low, -high]))
    return Energies(mu + thermal * energies, shares, tails, jnp.zeros(2), 1 + len(rules[0][0]))


# kT: mu, and between panels where there is no onset. Panels are at least so wide that energies in
# them are not an onset but for rounding.
_SPLITS = np.array([0.0, -3.0, 3.0])
_CLOSE = 0.3


def _panel_rule(points: Float[Array, " p"], at_onset: Bool[Array, " p"], number: int):
    """Nodes x = (ε − mu)/kT and shares of Gauss-Legendre rules between neighbouring points.

    In y with x = π sinh y the poles of −f' at ±iπ do not come closer for large |x|; a square of the
    distance from an onset makes roots of it smooth.
    """
    node, weight = np.polynomial.legendre.leggauss(number)
    t, weight = (node + 1) / 2, weight / 2
    left, right = at_onset[:-1, None], at_onset[1:, None]
    both = left & right
    place = jnp.where(both, t**2 * (3 - 2 * t), jnp.where(left, t**2, t * (2 - t)))
    slope = jnp.where(both, 6 * t * (1 - t), jnp.where(left, 2 * t, 2 - 2 * t))
    smooth = left | right
    place, slope = jnp.where(smooth, place, t), jnp.where(smooth, slope, 1.0)
    y = jnp.arcsinh(points / np.pi)
    width = jnp.diff(y)[:, None]
    y = y[:-1, None] + width * place
    x = np.pi * jnp.sinh(y)
    shares = weight * slope * width * np.pi * jnp.cosh(y) / (4 * jnp.cosh(x / 2) ** 2)
    return x.ravel(), shares.ravel() / jnp.sum(shares)


class _Window(NamedTuple):
    low: Float[Array, ""]
    high: Float[Array, ""]
    onsets: Float[Array, " b"]
    found: Bool[Array, " b"]


def _find_onsets(surface, model, mu, thermal) -> _Window:
    """The window of energies, and the onsets next to mu inside it, in kT from mu."""
    fixed, level, unit, rule = stop_gradients((model, mu, thermal, surface))
    outline = rule.outline(fixed)
    x = jnp.arange(-_FAR, _FAR + 1)
    outlines = jax.vmap(outline)(level + unit * x)
    above = jnp.min(jnp.where(outlines.crossed & (x >= 0), x, jnp.inf))
    below = jnp.max(jnp.where(outlines.crossed & (x <= 0), x, -jnp.inf))
    high = jnp.minimum(jnp.where(jnp.isfinite(above), above, 0) + _WINDOW, _FAR)
    low = jnp.maximum(jnp.where(jnp.isfinite(below), below, 0) - _WINDOW, -_FAR)
    change = jnp.any(outlines.number[1:] != outlines.number[:-1], axis=1)
    middle = x[:-1] + 0.5
    change = change & (middle > low) & (middle < high)
    distance = jnp.where(change, jnp.abs(middle), jnp.inf)
    chosen = jnp.argsort(distance)[:_ONSETS]
    low_side = jax.tree.map(lambda y: y[chosen], outlines)
    high_side = jax.tree.map(lambda y: y[chosen + 1], outlines)
    intervals = _Interval(x[chosen], low_side, high_side)
    locate = partial(_locate_onset, outline, model, mu, thermal)
    onsets = jnp.clip(jax.vmap(locate)(intervals), low, high)
    return _Window(low, high, onsets, jnp.isfinite(distance[chosen]))


class _Interval(NamedTuple):
    """One kT of energy, from `start` (kT from mu), with the outlines at its two ends."""

    start: Float[Array, ""]
    low_side: Outline
    high_side: Outline


def _locate_onset(outline: Callable, model, mu, thermal, interval: _Interval) -> Float[Array, ""]:
    """Onset inside an interval, by bisection of the outline, in kT from mu.

    It is an extremum of a band: the derivative of its energy is that of the energy at its k.
    """
    level, unit = stop_gradients((mu, thermal))
    start = interval.start

    def bisect_interval(bounds):
        low, high, low_side, high_side = bounds
        middle = (low + high) / 2
        found = outline(level + unit * middle)
        same = jnp.all(found.number == low_side.number)
        choose = lambda yes, no: jax.tree.map(partial(jnp.where, same), yes, no)  # noqa: E731
        return choose((middle, high, found, high_side), (low, middle, low_side, found))

    _, x, *sides = repeat(_BISECTIONS, bisect_interval, (start, start + 1, *interval[1:]))
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


def nodes_at(
    surface: FermiSurfaceRule, model: Model, energies: Energies
) -> tuple[Energies, FermiSurface, tuple[Diagnostic, ...]]:
    """The nodes at energies of shape (levels, e), and the findings that matter; these axes first.

    The energies come back without those that are left out.
    """
    nodes, findings = find_nodes(surface, model, energies)
    energies = leave_out(energies, is_refused(findings, energies))
    return energies, *judge_nodes(energies, nodes, findings)


def find_nodes(
    surface: FermiSurfaceRule, model: Model, energies: Energies
) -> tuple[FermiSurface, tuple[Diagnostic, ...]]:
    """The nodes at energies of shape (levels, e), and all findings; these axes first."""
    shape = energies.energies.shape
    rules = jnp.tile(jnp.asarray(energies.rule_index), shape[0])
    find = lambda point: _select_rule(surface, point[1]).find(model, point[0])  # noqa: E731
    points = (energies.energies.ravel(), rules)
    slots = jax.eval_shape(find, jax.tree.map(lambda x: x[0], points))[0].weight.size
    found = map_in_batches(find, points, max(1, _NODES_IN_MEMORY // slots))
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), found)


def is_refused(findings: tuple[Diagnostic, ...], energies: Energies) -> Bool[Array, "l e"]:
    """Mask of the energies at which anything was found."""
    shape = energies.energies.shape
    wrong = [jnp.any(finding.found.reshape(*shape, -1), axis=-1) for finding in findings]
    return jnp.any(jnp.stack(wrong), axis=0) if wrong else jnp.zeros(shape, bool)


def leave_out(energies: Energies, refused: Bool[Array, "l e"]) -> Energies:
    """The same energies without those that are refused, where the share of these is negligible."""
    rule = energies.rule_index
    of_rule = np.stack([rule == 0, rule == 1], axis=1).astype(float)
    share = stop_gradients(jnp.where(refused, energies.shares, 0)) @ of_rule
    left_out = jnp.where(share <= _LEFT_OUT, share, 0)
    shares = jnp.where(refused & (left_out > 0)[:, rule], 0, energies.shares)
    kept = (shares @ of_rule) / (energies.shares @ of_rule)
    return eqx.tree_at(
        lambda e: (e.shares, e.left_out), energies, (shares / kept[:, rule], left_out)
    )


def judge_nodes(
    energies: Energies, nodes: FermiSurface, findings: tuple[Diagnostic, ...]
) -> tuple[FermiSurface, tuple[Diagnostic, ...]]:
    """Nodes with weights NaN where something was found that matters, and 0 where it does not, and
    the findings that matter: inside jit that is all one can do."""
    wrong = is_refused(findings, energies)
    spoilt = jnp.where(energies.has_share, jnp.nan, 0)
    weight = jnp.where(wrong[..., None], spoilt[..., None], nodes.weight)
    relevant = tuple(_restrict_finding(finding, energies.counts_in_first) for finding in findings)
    return FermiSurface(nodes.k, nodes.band, weight), relevant


_NODES_IN_MEMORY = 4000  # each with some hundred matrices, of its ray and of its root


def _restrict_finding(finding: Diagnostic, matters: Bool[Array, "l e"]) -> Diagnostic:
    """Return a finding at all energies where it matters."""
    matters = matters.reshape(*matters.shape, *(1,) * (finding.found.ndim - matters.ndim))
    return eqx.tree_at(lambda f: f.found, finding, finding.found & matters)


def move_axes_last(findings: tuple[Diagnostic, ...], axes: int) -> tuple[Diagnostic, ...]:
    """Findings with their first axes, those of levels and energies, last."""
    first = range(axes)
    return jax.tree.map(lambda x: jnp.moveaxis(x, first, [i - axes for i in first]), findings)


@known_by_shape
def count_slots(surface: FermiSurfaceRule, model: Model) -> int:
    """Number of nodes that a rule has room for on each surface of a model."""
    mu = jax.ShapeDtypeStruct((), jnp.result_type(float))
    find = lambda mu: surface.find(model.prepared(), mu)[0].weight  # noqa: E731
    return jax.eval_shape(find, mu).size


def number_of_energies(thermal: Float[Array, ""] | None) -> int:
    """Number of energies of one level, of both rules."""
    return 2 if thermal is None else sum(1 + _PANELS * number for number in _NODES)


def portion_of_levels(
    surface: FermiSurfaceRule, model: Model, thermal: Float[Array, ""] | None, nodes: int
) -> Portion:
    """As many levels as have so many nodes at all of their energies."""
    return Portion(max(1, nodes // (number_of_energies(thermal) * count_slots(surface, model))))


def _select_rule(surface: FermiSurfaceRule, number) -> FermiSurfaceRule:
    """The rule, or with the number 1 its companion, which has the same shapes: one program."""
    arrays, rest = eqx.partition(surface, eqx.is_array)
    other = eqx.filter(surface.companion() or surface, eqx.is_array)
    return eqx.combine(jax.tree.map(lambda a, b: jnp.where(number == 0, a, b), arrays, other), rest)


class ThermalLevels(NamedTuple):
    """Fermi energies at one temperature."""

    #: eV.
    mu: Float[Array, " e"]
    #: kT, eV; None at T = 0, where no average is taken.
    thermal: Float[Array, ""] | None


#: Diagnostics of the surfaces of each temperature.
Findings = tuple[tuple[Diagnostic, ...], ...]


def thermal_energies(levels: Levels) -> list[Array | None]:
    """kT of each temperature; one that is being traced is positive."""
    known = not is_traced(levels.temperature)
    return [
        None if known and temperature == 0 else BOLTZMANN * jnp.asarray(temperature)
        for temperature in levels.temperatures
    ]


def refuse_findings(findings: Findings, levels: Levels) -> None:
    """Raise where a surface is one that the rule cannot do, with the temperature that needs it.

    Raises:
        ValueError: naming the band and the k.
    """
    for temperature, every in zip(levels.temperatures, findings, strict=True):
        for finding in every:
            finding.refuse_if_found(window_of(temperature))


def window_of(temperature) -> str:
    """Return a sentence on why Fermi surfaces away from mu were looked at."""
    if not np.any(np.asarray(temperature) > 0):
        return ""
    reach = _WINDOW * BOLTZMANN * float(temperature)
    return (
        f" The average over energies at {float(temperature):.4g} K reaches {reach:.3g} eV to "
        "either side of mu, or of the next band, and more than "
        f"{_LEFT_OUT:g} of it is where the rule cannot do the surface."
    )
