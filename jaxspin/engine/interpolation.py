"""Interpolation by cubic polynomials."""

from jaxtyping import Array, Float

Pair = tuple[Float[Array, "..."], Float[Array, "..."]]


def hermite(t: Float[Array, "..."], values: Pair, slopes: Pair) -> Pair:
    """Cubic Hermite polynomial on 0 ≤ t ≤ 1, and its slope.

    p = s f₀ + t f₁ + t s (a s + b t), s = 1 − t, a = f₀' − (f₁ − f₀), b = (f₁ − f₀) − f₁'.

    Args:
        values, slopes: f and df/dt at t = 0 and 1.
    """
    (start, end), (slope_start, slope_end) = values, slopes
    a, b = slope_start - (end - start), (end - start) - slope_end
    s = 1 - t
    value = s * start + t * end + t * s * (a * s + b * t)
    slope = end - start + (s - t) * (a * s + b * t) + t * s * (b - a)
    return value, slope
