"""Cells that a Fermi surface of T = 0 cuts: what each node stands for in the integral over them.

Energies and weights are polynomials through the nodes of a cell, and the filled part of the cell
is integrated as these have it, on many more lines than there are lines of nodes: what is left is
the error of the polynomials, which falls with the fifth power of the width whatever the shape of
the surface. Lines run along the axis on which the energy is steepest, so that few of them touch
the surface, and each is cut exactly where the energy passes mu.
"""

import itertools
from collections.abc import Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.polynomial import legendre, polynomial

from jaxspin.engine.roots import newton_or_bisect

#: Nodes of a cell along each axis. Odd, so that the null rule is even and sees the part of an
#: integrand that the integral over the cell sees.
ORDER = 5

_X, _W = legendre.leggauss(ORDER)  # on [-1, 1]; the weights add to 2
#: The Gauss rule on the unit interval.
UNIT_NODES, UNIT_WIDTHS = (_X + 1) / 2, _W / 2
#: The null rule: zero for polynomials below degree ORDER - 1, and of the same 2-norm as the rule.
NULL = UNIT_WIDTHS * legendre.legval(_X, np.eye(ORDER)[-1])
NULL *= np.linalg.norm(UNIT_WIDTHS) / np.linalg.norm(NULL)


class CutCells(eqx.Module):
    """What is fixed while the bands and levels of some cells are filled."""

    axes: int = eqx.field(static=True)
    #: Sum -δ(energy - mu) instead of the filled part.
    derivative: bool = eqx.field(static=True)
    #: Whether the last axis spans a full turn, on which the nodes are uniform.
    turned: Bool[Array, " B"]
    #: In a domain that goes to infinity along the first axis: a + b y = 1 - u at y in [-1, 1].
    towards: tuple[Float[Array, " B"], Float[Array, " B"]] | None

    def fill(self, g: Float[Array, "B node"]) -> Float[Array, "rule B node"]:
        """What each node stands for, relative to its weight, where g < 0; first in the integral,
        then in how much it changes if the highest coefficient along each axis is dropped."""
        box = g.reshape(len(g), *[ORDER] * self.axes)
        steepest = self._steepest_axis(box)
        box = _select_axis(steepest, [box.swapaxes(1, 1 + i) for i in range(self.axes)])
        filled, changes = self._fill_along_first(box)
        filled = _select_axis(steepest, [filled.swapaxes(1, 1 + i) for i in range(self.axes)])
        found = []
        for axis in range(self.axes):
            # Of the exchanged axes each has what the other one found.
            of = [_exchanged(axis, i) for i in range(self.axes)]
            found.append(
                _select_axis(steepest, [changes[j].swapaxes(1, 1 + i) for i, j in enumerate(of)])
            )
        return jnp.stack([filled, *found]).reshape(1 + self.axes, *g.shape)

    def _steepest_axis(self, box):
        """The axis along which g changes most, of those on which it is a polynomial, (B,)."""
        if self.towards is not None:
            return jnp.zeros(len(box), int)
        change = [
            jnp.mean(jnp.abs(jnp.tensordot(box, _LINEAR, (1 + i, 0))).reshape(len(box), -1), axis=1)
            for i in range(self.axes)
        ]
        change[-1] = jnp.where(self.turned & (self.axes > 1), -1.0, change[-1])
        return jnp.argmax(jnp.stack(change), axis=0)

    def _fill_along_first(self, box):
        """As `fill`, on lines along the first axis of the box."""
        filled, coarse = self._fill_lines(box)
        changes = []
        for axis in range(self.axes):
            lowered, _ = self._fill_lines(_apply(_LOWERED, box, axis))
            change = filled - _apply(_LOWERED_T.T, lowered, axis) + coarse[axis]
            if axis == self.axes - 1 and axis > 0:
                change = jnp.where(_along(self.turned, box), 0, change)
            changes.append(change)
        return filled, changes

    def _fill_lines(self, box):
        """The filled part, and the null rule of the lines along each axis."""
        lines = jnp.moveaxis(box, 1, 0)
        for axis in range(1, self.axes):
            lines = self._contract(lines, self._sampling(axis), axis)
        shape = lines.shape
        flat = lines.reshape(*shape[:2], -1)
        filled = _fill_line(flat, self.derivative, self.towards).reshape(shape)
        sums = [jnp.moveaxis(self._collect(filled, null), 0, 1) for null in range(self.axes)]
        return sums[0], [jnp.zeros_like(sums[0]), *sums[1:]]

    def _collect(self, filled, null: int):
        for axis in range(1, self.axes):
            weights = _NULLS if axis == null else _SUMS
            matrix = jnp.broadcast_to(weights, (len(self.turned), *weights.shape))
            if axis == self.axes - 1:
                turned = np.zeros_like(_NULLS) if axis == null else _SHARED
                matrix = jnp.where(self.turned[:, None, None], turned, matrix)
            filled = self._contract(filled, matrix, axis)
        return filled

    def _sampling(self, axis: int):
        matrix = jnp.broadcast_to(_SAMPLES, (len(self.turned), *_SAMPLES.shape))
        if axis == self.axes - 1:
            matrix = jnp.where(self.turned[:, None, None], _REPEATED, matrix)
        return matrix

    @staticmethod
    def _contract(lines, matrix, axis: int):
        """Act with a matrix (B, p, q) on an axis of lines (node, B, ...)."""
        moved = jnp.moveaxis(lines, 1 + axis, -1)
        moved = jnp.einsum("bpq,ib...q->ib...p", matrix, moved)
        return jnp.moveaxis(moved, -1, 1 + axis)


def _exchanged(axis: int, first: int) -> int:
    """Place of an axis after the axis `first` and the first one were exchanged."""
    return {first: 0, 0: first}.get(axis, axis)


def _select_axis(axis, choices):
    """The choice of each cell."""
    found = choices[0]
    for i, choice in enumerate(choices[1:], 1):
        found = jnp.where(_along(axis == i, choice), choice, found)
    return found


def _along(cells, like):
    return cells.reshape(-1, *[1] * (like.ndim - 1))


def _apply(matrix, box, axis: int):
    """Act with a matrix on an axis of a box (B, ...)."""
    moved = jnp.moveaxis(box, 1 + axis, -1)
    return jnp.moveaxis(moved @ matrix.T, -1, 1 + axis)


# --- polynomials through the nodes of a line, y in [-1, 1] ----------------------------------------

_VANDERMONDE = polynomial.polyvander(_X, ORDER - 1)
_COEFFICIENTS = np.linalg.inv(_VANDERMONDE)  # values at the nodes -> coefficients of powers
# Values at the nodes with the highest Legendre coefficient dropped, and what that does to the
# weights of the nodes: a rule exact for the lowered polynomials.
_TOP = legendre.legval(_X, np.eye(ORDER)[-1])
_LOWERED = np.eye(ORDER) - np.outer(_TOP, _TOP * _W) / np.sum(_W * _TOP**2)
_LOWERED_T = _W[:, None] * _LOWERED / _W[None, :]  # acts on weights relative to those of Gauss
_LINEAR = _W * _X
_PIECES = ORDER
_EDGES = np.linspace(-1, 1, _PIECES + 1)
_POWERS = ORDER + 1
# Coefficients of powers of the antiderivatives of the Lagrange polynomials, (q, power).
_PRIMITIVES = np.array([polynomial.polyint(c) for c in _COEFFICIENTS.T])
_NEWTON = 6
_SLACK = 1e-9  # a converged step may leave its bracket by a rounding error

# Lines across an axis: the nodes of Gauss rules on equal panels of it.
_PANELS = 3
_PANEL = (np.arange(_PANELS)[:, None] + UNIT_NODES).ravel() / _PANELS
# Values at the nodes -> at the lines, and lines -> what each node stands for, relative to its
# weight, by the Gauss rules and by their null rules.
_SAMPLES = polynomial.polyvander(2 * _PANEL - 1, ORDER - 1) @ _COEFFICIENTS
_SUMS = (_SAMPLES * np.tile(UNIT_WIDTHS, _PANELS)[:, None] / _PANELS / UNIT_WIDTHS).T
_NULLS = (_SAMPLES * np.tile(NULL, _PANELS)[:, None] / _PANELS / UNIT_WIDTHS).T
# On a full turn, the nodes themselves.
_REPEATED = np.repeat(np.eye(ORDER), _PANELS, axis=0)
_SHARED = _REPEATED.T / _PANELS


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
