"""Integrals over cells of a mesh, each with a product Gauss rule, and how well each is resolved.

At T > 0 the occupation of a node is the Fermi function. At T = 0 the integrand jumps at the Fermi
surface: along each line of nodes in the first coordinate, energies and weights are taken as
polynomials through the nodes, and the weights are integrated exactly between the points where the
energy passes mu. What is left to the other coordinates is continuous.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.polynomial import legendre, polynomial

from jaxspin.band_structure.bands import Bands, solve_bands
from jaxspin.band_structure.degeneracy import Degeneracy
from jaxspin.engine.programs import program
from jaxspin.engine.roots import newton_or_bisect
from jaxspin.engine.xla import materialize
from jaxspin.integration.levels import fermi
from jaxspin.meshes.coordinates import Coordinates
from jaxspin.models.base import Model
from jaxspin.quantities.observable import Observable

#: Nodes of a cell along each axis. Odd, so that the null rule below is even and sees the part of
#: an integrand that the integral over the cell sees.
ORDER = 5

_X, _W = legendre.leggauss(ORDER)  # on [-1, 1]; the weights add to 2
_NODES, _WIDTHS = (_X + 1) / 2, _W / 2
#: Nodes of a cell along each axis, in units of its width.
UNIT_NODES = _NODES
# The null rule: zero for polynomials below degree ORDER - 1, and of the same 2-norm as the rule.
_NULL = _WIDTHS * legendre.legval(_X, np.eye(ORDER)[-1])
_NULL *= np.linalg.norm(_WIDTHS) / np.linalg.norm(_NULL)


class Boxes(eqx.Module):
    """Cells: boxes in the unit cube of the coordinates."""

    lower: Float[Array, "B d"]
    width: Float[Array, "B d"]
    #: Offset of the nodes of a last axis that spans a full turn, where a uniform rule is used, in
    #: units of their spacing; negative for the Gauss rule.
    turn: Float[Array, " B"]


class Occupations(eqx.Module):
    """The levels as they are summed: those of T = 0, once, then those of each positive T."""

    mu: Float[Array, " e"]
    thermal: Float[Array, " t"]
    #: Energies below which a state is filled, and above which it is empty, at every level.
    window: tuple[Float[Array, ""], Float[Array, ""]]
    cold: bool = eqx.field(static=True)

    @property
    def number(self) -> int:
        return self.mu.size * (self.thermal.size + self.cold)


class CellSum(eqx.Module):
    """Everything that is fixed while cells are integrated."""

    observable: Observable
    model: Model
    coordinates: Coordinates
    #: Whether the first coordinate is the radius u/(1-u), in which energies have a pole at 1.
    infinite: bool = eqx.field(static=True)
    occupations: Occupations
    degeneracy: Degeneracy


class Integrals(eqx.Module):
    """Contribution of each cell to every level and component."""

    value: Float[Array, "B e c"]
    #: The null rule of each axis applied to the integrand.
    null: Float[Array, "B d e c"]
    #: Whether a Fermi surface of T = 0 passes through the cell.
    cut: Bool[Array, "B e"]
    #: Smallest splitting between two degenerate groups met, eV.
    splitting: Float[Array, ""]


@program
def integrals(job: CellSum, boxes: Boxes) -> Integrals:
    """The integrals of all bands over each cell."""
    cells, axes = boxes.lower.shape
    nodes, widths, null = _choose_rules(boxes)
    points = job.coordinates(
        [
            _place_along(i, axes, boxes.lower[:, i, None] + boxes.width[:, i, None] * nodes[i])
            for i in range(axes)
        ],
        [_place_along(i, axes, boxes.width[:, i, None] * widths[i]) for i in range(axes)],
        job.model.lattice,
    )
    full = (cells, *[ORDER] * axes)
    weight = jnp.broadcast_to(points.weight, full)
    # The rule itself, and the null rule along each axis, (rule, B, node).
    ratios = [jnp.ones(full)] + [
        jnp.broadcast_to(_place_along(i, axes, null[i] / widths[i]), full) for i in range(axes)
    ]
    ratios = jnp.stack(ratios).reshape(axes + 1, cells, -1)
    weight = weight.reshape(cells, -1)

    k = points.k.reshape(axes, -1)
    bands = solve_bands(job.model, k, job.degeneracy, **job.observable.needs)
    split = lambda x: x.reshape(*x.shape[:-1], cells, -1)  # noqa: E731
    energies = split(bands.levels)
    stretch, towards = _stretch_energies(boxes, nodes, axes, job.infinite)
    bands = _deactivate_settled(bands, energies, job.occupations, stretch)
    weights = job.observable(bands)
    filling = _Filling(energies, bands.degenerate, weight, ratios, stretch, towards)
    value, cut = _sum_levels(weights.sea, filling, job.occupations, derivative=False)
    if weights.surface is not None:
        more, cut = _sum_levels(weights.surface, filling, job.occupations, derivative=True)
        value += more
    return Integrals(value[:, 0], jnp.abs(value[:, 1:]), cut, jnp.min(bands.splitting))


def _choose_rules(boxes: Boxes):
    """Nodes, widths and null rule on the unit interval for each axis and cell, (B or 1, q)."""
    axes = boxes.lower.shape[1]
    nodes, widths, null = ([jnp.asarray(x)[None]] * axes for x in (_NODES, _WIDTHS, _NULL))
    nodes, widths, null = list(nodes), list(widths), list(null)
    turned = boxes.turn[:, None] >= 0
    uniform = (jnp.arange(ORDER) + boxes.turn[:, None]) / ORDER
    nodes[-1] = jnp.where(turned, uniform, nodes[-1])
    widths[-1] = jnp.where(turned, 1 / ORDER, widths[-1])
    null[-1] = jnp.where(turned, 0, null[-1])
    return nodes, widths, null


def _place_along(axis: int, axes: int, values: Float[Array, "B q"]) -> Array:
    shape = [1] * axes
    shape[axis] = values.shape[1]
    return values.reshape(values.shape[0], *shape)


def _stretch_energies(boxes, nodes, axes, infinite):
    """Factor that makes energies polynomials in the first coordinate.

    Returns:
        (1-u)² at the nodes (B, node) and, at y in [-1, 1] of a cell, a + b y = 1-u, (B,) each; ones
        and None on a bounded domain.
    """
    cells = boxes.lower.shape[0]
    full = (cells, *[ORDER] * axes)
    if not infinite:
        return jnp.ones((cells, ORDER**axes)), None
    u = boxes.lower[:, 0, None] + boxes.width[:, 0, None] * nodes[0]
    stretch = jnp.broadcast_to(_place_along(0, axes, (1 - u) ** 2), full).reshape(cells, -1)
    half = boxes.width[:, 0] / 2
    return stretch, (1 - boxes.lower[:, 0] - half, -half)


def _bound_values(g: Float[Array, "*s B q"]) -> tuple[Array, Array]:
    """Generous bounds for a function in each cell, from its nodes: it goes on past them."""
    low, high = jnp.min(g, axis=-1), jnp.max(g, axis=-1)
    margin = 0.5 * (high - low)
    return low - margin, high + margin


def _deactivate_settled(bands: Bands, energies, occupations: Occupations, stretch) -> Bands:
    """Deactivate pairs of bands with equal occupations, at every level, throughout the cell."""
    low, high = occupations.window
    filled = _bound_values((energies - low) * stretch)[1] < 0
    empty = _bound_values((energies - high) * stretch)[0] > 0
    spread = lambda x: jnp.repeat(x, stretch.shape[1], axis=-1)  # noqa: E731
    closed = (filled[:, None] & filled[None, :]) | (empty[:, None] & empty[None, :])
    return eqx.tree_at(lambda b: b.active, bands, bands.active & ~spread(closed))


class _Filling(NamedTuple):
    """Bands, weights and rules at the nodes of all cells."""

    energies: Float[Array, "n B node"]
    degenerate: Bool[Array, "n n K"]
    weight: Float[Array, "B node"]
    #: The rule itself, and the null rule along each axis, relative to the rule.
    ratios: Float[Array, "rule B node"]
    #: As `_stretch_energies` gives them.
    stretch: Float[Array, "B node"]
    towards: tuple[Float[Array, " B"], Float[Array, " B"]] | None


def _sum_levels(tensor, filling: _Filling, occupations: Occupations, *, derivative: bool):
    """Each rule applied to Σ_m f(ε_m) W_m, or f', (B, rule, e, c), and which cells are cut."""
    energies, ratios = filling.energies, filling.ratios
    n, cells, number = energies.shape
    tensor = tensor.reshape(-1, n, cells * number)
    parts = []
    if occupations.cold:
        parts.append(_fill_cold(filling, occupations.mu, derivative))
        # Members of a degenerate group share their occupation, and only their sum is the same in
        # every basis: a polynomial goes through the mean.
        mean = filling.degenerate / jnp.sum(filling.degenerate, axis=0)
        tensor = jnp.sum(mean * tensor[:, None], axis=2)
    for i in range(occupations.thermal.size):
        mu = occupations.mu[:, None, None, None]
        f = fermi(energies, mu, occupations.thermal[i], derivative)
        parts.append(ratios[:, None, None] * f)
    occupied = jnp.concatenate(parts, axis=1)
    whole = jnp.all(occupied[0] == occupied[0, ..., :1], axis=-1)
    cut = ~jnp.all(whole & (occupied[0, ..., 0] % 1 == 0), axis=1).T
    cut = cut & (jnp.arange(cut.shape[1]) < occupations.mu.size * occupations.cold)
    occupied = _weigh_occupations(occupied, filling.weight)  # (rule, e, n, B, q)
    rules, levels = occupied.shape[:2]
    left = jnp.moveaxis(occupied, 3, 0).reshape(cells, rules * levels, n * number)
    right = jnp.moveaxis(tensor.reshape(-1, n, cells, number), (2, 0), (0, 3))
    value = left @ right.reshape(cells, n * number, -1)
    return value.reshape(cells, rules, levels, -1), cut


@materialize
def _weigh_occupations(occupied, weight):
    return occupied * weight


def _fill_cold(filling: _Filling, mu, derivative: bool):
    """T = 0: what each node stands for in every rule, relative to its weight, (rule, e, n, B, q).

    A null rule sees the weights alone: the step itself is integrated exactly. What the first axis
    has to fear besides is that energies are not polynomials: the step moves when their highest
    coefficient is dropped. What the others have to fear is a Fermi surface that enters a cell by
    less than its outermost line of nodes.
    """
    ratios, towards = filling.ratios, filling.towards
    g = (filling.energies - mu[:, None, None, None]) * filling.stretch  # (e, n, B, node)
    low, high = _bound_values(g)
    crossed = (low < 0) & (high > 0)

    def fill_whole(g):
        filled = jnp.where(derivative, 0.0, jnp.where(g < 0, 1.0, 0.0))
        return filled, jnp.zeros_like(g), jnp.zeros((axes - 1, *g.shape))

    def by_line(g):
        lines = jnp.moveaxis(g.reshape(*g.shape[:-1], ORDER, -1), -2, 0)  # (q, e, n, B, line)
        exact = _fill_line(lines, derivative, towards)
        lowered = _fill_line(jnp.einsum("ij,j...->i...", _LOWERED, lines), derivative, towards)
        back = lambda x: jnp.moveaxis(x, 0, -2).reshape(g.shape)  # noqa: E731
        moved = back(exact - jnp.einsum("ij,i...->j...", _LOWERED_T, lowered))
        missed = [_estimate_missed(g, i, axes) for i in range(1, axes)]
        return back(exact), moved, jnp.stack(missed) if missed else jnp.zeros((0, *g.shape))

    axes = ratios.shape[0] - 1
    filled, moved, missed = jax.lax.cond(jnp.any(crossed), by_line, fill_whole, g)
    if derivative:
        first = moved
    else:
        lines = filled.reshape(*filled.shape[:-1], ORDER, -1)
        mean = jnp.einsum("i,...ij->...j", _WIDTHS, lines)
        mean = jnp.broadcast_to(mean[..., None, :], lines.shape).reshape(filled.shape)
        first = moved + ratios[1] * mean
    # (The null rule of a full turn is zero, and it has no sides.)
    others = [
        ratios[i] * filled + jnp.where(ratios[i] == 0, 0, missed[i - 2])
        for i in range(2, ratios.shape[0])
    ]
    return jnp.stack([filled, first, *others])


def _estimate_missed(g, axis, axes):
    """Estimate of the occupied area between a cell face and its nearest line of nodes.

    Where a line of nodes along the first axis has no level in it but the line in the side has, the
    area between the level and the side, the level taken to be straight between the two lines; for
    the nodes of the outermost lines, relative to their weight.
    """
    shape = g.shape[:3]
    box = jnp.moveaxis(g.reshape(*shape, *[ORDER] * axes), 3 + axis, 3)
    extend = lambda x: jnp.einsum("ij,enbj...->ienb...", _WITH_ENDS, x)  # noqa: E731
    result = jnp.zeros_like(box)
    for end, extrapolated in ((0, _SIDES[0]), (-1, _SIDES[1])):
        side = extend(jnp.einsum("j,enbj...->enb...", extrapolated, box))
        line = extend(box[:, :, :, end])
        uniform = jnp.all(line < 0, axis=0) | jnp.all(line >= 0, axis=0)
        other = (side < 0) != (line < 0)
        depth = jnp.where(other, jnp.abs(side) / (jnp.abs(side) + jnp.abs(line) + _TINY), 0)
        part = jnp.where(uniform, jnp.einsum("i,i...->...", _AREA, depth), 0)
        result = result.at[:, :, :, end].set(part[:, :, :, None] * (_NODES[0] / _WIDTHS[0]))
    return jnp.moveaxis(result, 3, 3 + axis).reshape(g.shape)


# --- polynomials through the nodes of a line, y in [-1, 1] ----------------------------------------

_VANDERMONDE = polynomial.polyvander(_X, ORDER - 1)
_COEFFICIENTS = np.linalg.inv(_VANDERMONDE)  # values at the nodes -> coefficients of powers
# Values at the nodes with the highest Legendre coefficient dropped, and what that does to the
# weights of the nodes: a rule exact for the lowered polynomials.
_TOP = legendre.legval(_X, np.eye(ORDER)[-1])
_LOWERED = np.eye(ORDER) - np.outer(_TOP, _TOP * _W) / np.sum(_W * _TOP**2)
_LOWERED_T = _W[:, None] * _LOWERED / _W[None, :]  # acts on weights relative to those of Gauss
# Values at the nodes -> at the two ends, and at nodes and ends.
_SIDES = polynomial.polyvander([-1.0, 1.0], ORDER - 1) @ _COEFFICIENTS
_WITH_ENDS = np.concatenate([np.eye(ORDER), _SIDES])
_AREA = np.concatenate([_WIDTHS, [_NODES[0] / 2] * 2])
_TINY = 1e-30
_PIECES = ORDER
_EDGES = np.linspace(-1, 1, _PIECES + 1)
_POWERS = ORDER + 1
# Coefficients of powers of the antiderivatives of the Lagrange polynomials, (q, power).
_PRIMITIVES = np.array([polynomial.polyint(c) for c in _COEFFICIENTS.T])
_NEWTON = 6
_SLACK = 1e-9  # a converged step may leave its bracket by a rounding error


def _fill_line(g: Float[Array, "q *s"], derivative: bool, towards) -> Float[Array, "q *s"]:
    """∫ θ(-g) ℓ_j dy over [-1, 1] for the polynomial g through the values, divided by the weight
    of node j; or the integral of -δ(energy - mu) ℓ_j."""
    c = list(jnp.einsum("pj,j...->p...", _COEFFICIENTS, g))
    edges = [jnp.full_like(c[0], y) for y in _EDGES]
    turns = [_find_turn(c, a, b) for a, b in itertools.pairwise(edges)]
    points = [edges[0]]
    for turn, edge in zip(turns, edges[1:], strict=True):
        points += [turn, edge]
    inside = [_evaluate_polynomial(c, y)[0] < 0 for y in points]
    if towards is not None:  # beyond the last node before infinity no energy passes a level
        last = g[-1] < 0
        outer = (towards[0] + towards[1] < 1e-12)[:, None]
        pairs = zip(points, inside, strict=True)
        inside = [jnp.where(outer & (y > _X[-1]), last, below) for y, below in pairs]
    moments = [jnp.zeros_like(c[0]) for _ in range(_POWERS)]

    # Between two points the polynomial is monotonic.
    def add_powers(moments, y, factor):
        power, result = factor, []
        for moment in moments:
            result.append(moment + power)
            power = power * y
        return result

    def add_piece(moments, ends):
        left, right, first, last = ends
        root = _find_root(c, left, right, first)
        crossing = first != last
        if derivative:
            slope = jnp.abs(_evaluate_polynomial(c, root)[1])
            factor = jnp.where(
                crossing, -_stretch_at(towards, root) / jnp.where(crossing, slope, 1), 0
            )
        else:
            factor = jnp.where(crossing, jnp.where(first, 1.0, -1.0), 0.0)
        return add_powers(moments, root, factor), None

    ends = [jnp.stack(x) for x in (points[:-1], points[1:], inside[:-1], inside[1:])]
    moments, _ = jax.lax.scan(add_piece, moments, tuple(ends))
    if derivative:
        coefficients = jnp.asarray(_COEFFICIENTS.T)
    else:
        moments = add_powers(moments, 1.0, jnp.where(inside[-1], 1.0, 0.0))
        moments = add_powers(moments, -1.0, jnp.where(inside[0], -1.0, 0.0))
        coefficients = jnp.asarray(_PRIMITIVES)
    used = jnp.stack(moments[: coefficients.shape[1]])
    return jnp.einsum("jp,p...->j...", coefficients / _W[:, None], used)


def _stretch_at(towards, y):
    """Factor of `_stretch_energies` at y of each cell; y is (*s, B, line)."""
    return 1.0 if towards is None else (towards[0][:, None] + towards[1][:, None] * y) ** 2


def _evaluate_polynomial(c: Sequence[Array], y: Array) -> tuple[Array, Array]:
    """Value and slope."""
    value, slope = c[-1], jnp.zeros_like(c[-1])
    for coefficient in c[-2::-1]:
        slope = slope * y + value
        value = value * y + coefficient
    return value, slope


def _find_turn(c, a, b):
    """Extremum of the polynomial in [a, b]; the middle where there is none."""
    slopes = [p * c[p] for p in range(1, len(c))]
    rising, falling = _evaluate_polynomial(slopes, a)[0] > 0, _evaluate_polynomial(slopes, b)[0] > 0
    return jnp.where(rising != falling, _find_root(slopes, a, b, ~rising), (a + b) / 2)


def _find_root(c, left, right, rising: Bool[Array, "..."]):
    """Zero of the polynomial in [left, right]; `rising` where it is negative at the left."""
    refine = partial(newton_or_bisect, partial(_evaluate_polynomial, c), rising, slack=_SLACK)
    start = (left + right) / 2, left, right
    return jax.lax.scan(lambda x, _: (refine(x), None), start, None, length=_NEWTON)[0][0]
