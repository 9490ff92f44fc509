"""Quadrature rules on the unit interval."""

import functools

import numpy as np
from jaxtyping import Float

from jaxspin.engine.record import Record


class Rule(Record):
    """A quadrature rule on the unit interval: nodes, and the width of the cell of each.

    Widths and times that all nodes share may be one number.
    """

    nodes: Float[np.ndarray, " N"]
    widths: Float[np.ndarray, " #N"]
    #: How many nodes of the full rule each node stands for: more than 1 on a folded mesh.
    times: Float[np.ndarray, " #N"]

    def __init__(self, nodes: np.ndarray, widths: np.ndarray, times: np.ndarray | None = None):
        self.nodes, self.widths = nodes, widths
        self.times = np.ones(len(nodes)) if times is None else times


@functools.lru_cache(maxsize=64)
def gauss_legendre(number: int) -> Rule:
    """The Gauss-Legendre rule.

    Newton's iteration from the asymptotic nodes, in O(N²) operations; NumPy's own takes O(N³).
    """
    x = np.cos(np.pi * (np.arange(1, number + 1) - 0.25) / (number + 0.5))
    slope = np.ones(number)
    for _ in range(10):
        before, here = np.ones(number), x.copy()
        for degree in range(2, number + 1):
            before, here = here, ((2 * degree - 1) * x * here - (degree - 1) * before) / degree
        slope = number * (before - x * here) / (1 - x**2)
        step = here / slope
        x = x - step
        if np.max(np.abs(step)) < 1e-15:
            break
    weights = 2 / ((1 - x**2) * slope**2)
    return Rule((1 - x) / 2, weights / np.sum(weights))


@functools.lru_cache(maxsize=64)
def uniform(number: int, shift: float) -> Rule:
    """The rule of equidistant nodes, the first at `shift` of their distance."""
    return Rule((np.arange(number) + shift) / number, np.full(number, 1 / number))


def spherical_rules(counts: tuple[int, int, int]) -> tuple[Rule, ...]:
    """Rules in the radius, in (1 + cos θ)/2 and in the azimuth over 2π."""
    return gauss_legendre(counts[0]), gauss_legendre(counts[1]), uniform(counts[2], 0.5)
