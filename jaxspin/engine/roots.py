"""Roots of functions of one variable, many at a time."""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

#: x and the bracket [low, high] of a root.
Bracket: TypeAlias = tuple[Float[Array, "*a"], Float[Array, "*a"], Float[Array, "*a"]]


def newton_or_bisect(
    function: Callable[[Array], tuple[Array, Array]],
    rising: Bool[Array, "*a"],
    bracket: Bracket,
    *,
    slack: float = 0.0,
) -> Bracket:
    """One Newton step to the root in a bracket; bisection where the step leaves the bracket.

    Args:
        function: x -> (f(x), f'(x)).
        rising: true where f goes from negative to positive at the root.
        slack: distance by which a step may leave the bracket, for rounding.
    """
    x, low, high = bracket
    value, slope = function(x)
    before = (value < 0) == rising  # the root is at a larger x
    low, high = jnp.where(before, x, low), jnp.where(before, high, x)
    trial = x - value / jnp.where(slope == 0, 1, slope)
    inside = (trial >= low - slack) & (trial <= high + slack) & (slope != 0)
    return jnp.where(inside, trial, (low + high) / 2), low, high
