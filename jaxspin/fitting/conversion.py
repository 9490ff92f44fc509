"""From a gate voltage to a carrier density to a Fermi energy, differentiable all the way.

A measurement at fixed density has a Fermi energy that moves with the parameters of the model. The
responses are computed at a table of Fermi energies that does not move, which is cheap, and
interpolated: by cubic polynomials whose slopes are those of five neighbours, so that values and
slopes are continuous and the error falls as the fourth power of the spacing.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.interpolation import hermite
from jaxspin.engine.validate import is_positive, shortened
from jaxspin.units import ELEMENTARY_CHARGE

_NEIGHBOURS = 5
_HALVINGS = 52  # of a cell of the table: to the last digit of a double


class Gate(eqx.Module):
    """A gate as a plate capacitor: n = C (V − V₀) / e, electrons for V above V₀.

    Both numbers can be fitted: make the Gate inside `residuals`.

    Raises:
        ValueError: a capacitance that is not positive.

    >>> import jaxspin as js
    >>> gate = js.fitting.Gate(capacitance=1.2e-4, neutral=5.0)
    >>> f"{float(gate.density(15.0)) * 1e16:.4g} per cm²"
    '7.49e+11 per cm²'
    """

    #: C, F/m²: ε ε₀ / thickness; 1.15e-4 for 300 nm of SiO2.
    capacitance: Float[Array, ""] | float
    #: V₀, the voltage of neutrality, V.
    neutral: Float[Array, ""] | float = 0.0

    @evaluate_eagerly()
    def __check_init__(self):
        if not is_positive(self.capacitance):
            raise ValueError(
                "Argument `capacitance` must be positive (F/m^2), "
                f"but is {shortened(self.capacitance)}."
            )

    def density(self, voltage):
        """Electrons per Å² at a gate voltage (V), negative for holes."""
        return self.capacitance * (voltage - self.neutral) / ELEMENTARY_CHARGE * 1e-20

    def voltage(self, density):
        """The gate voltage (V) for a density of electrons per Å²."""
        return density * 1e20 * ELEMENTARY_CHARGE / self.capacitance + self.neutral


def interpolate(
    at: Float[Array, " r"], table: Float[np.ndarray, " n"], values: Float[Array, "r n"]
) -> Float[Array, " r"]:
    """Interpolate the values of each row at one place, by cubic Hermite polynomials.

    Args:
        table: where `values` are, ascending; a constant, NumPy.
    """
    cell = jnp.clip(jnp.searchsorted(jnp.asarray(table), at, side="right") - 1, 0, len(table) - 2)
    corners = _cell_corners(cell, table, values)
    low, width = jnp.asarray(table)[cell], jnp.asarray(np.diff(table))[cell]
    return _interpolate_hermite((at - low) / width, width, corners)[0]


def fermi_energies(
    density: Float[Array, " r"], table: Float[np.ndarray, " n"], values: Float[Array, "r n"]
) -> Float[Array, " r"]:
    """mu with N(mu) = n for each row: the inverse of `interpolate`. eV.

    NaN where the density is not reached in the table, or does not change with mu (a gap at T = 0).

    Args:
        density: n of each row, in the units of `values`.
        table: Fermi energies, ascending; a constant, NumPy.
        values: N at the Fermi energies of the table, growing.
    """
    fixed = jax.lax.stop_gradient(values)
    cell = jnp.sum(fixed[:, 1:-1] <= density[:, None], axis=1)
    low, width = jnp.asarray(table)[cell], jnp.asarray(np.diff(table))[cell]
    place = jax.lax.stop_gradient(
        _bisect_densities(density, width, _cell_corners(cell, table, fixed))
    )
    # Newton's last step has the derivatives of mu by n and by the parameters behind N.
    value, slope = _interpolate_hermite(place, width, _cell_corners(cell, table, values))
    slope = jax.lax.stop_gradient(slope)
    energy = low + place * width - (value - density) / jnp.where(slope > 0, slope, 1.0)
    reached = (density >= fixed[:, 0]) & (density <= fixed[:, -1]) & (slope > 0)
    return jnp.where(reached, energy, jnp.nan)


def _bisect_densities(density, width, corners) -> Float[Array, " r"]:
    """Position in its cell, from 0 to 1, at which each density is reached, by bisection."""

    def halve_cells(_, ends):
        low, high = ends
        middle = (low + high) / 2
        below = _interpolate_hermite(middle, width, corners)[0] < density
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    ends = jnp.zeros_like(density), jnp.ones_like(density)
    return jax.lax.fori_loop(0, _HALVINGS, halve_cells, ends)[0]


def _cell_corners(cell, table, values) -> tuple[Array, ...]:
    """Values and slopes at both ends of a cell of each row."""
    slopes = values @ jnp.asarray(_slope_matrix(np.asarray(table)).T)
    take = lambda rows, i: jnp.take_along_axis(rows, i[:, None], axis=1)[:, 0]  # noqa: E731
    return tuple(take(rows, cell + end) for rows in (values, slopes) for end in (0, 1))


def _interpolate_hermite(t, width, corners: tuple[Array, ...]) -> tuple[Array, Array]:
    """The cubic polynomial with the values and slopes of `_cell_corners`, and its slope."""
    start, end, slope_start, slope_end = corners
    value, slope = hermite(t, (start, end), (slope_start * width, slope_end * width))
    return value, slope / width


def _slope_matrix(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
    """D with f'(x_i) = Σ_j D_ij f(x_j), exact for polynomials of degree four."""
    matrix, size = np.zeros((len(x), len(x))), min(_NEIGHBOURS, len(x))
    for i, place in enumerate(x):
        first = min(max(i - size // 2, 0), len(x) - size)
        near = x[first : first + size] - place
        scale = np.max(np.abs(near))
        powers = np.vander(near / scale, increasing=True).T
        matrix[i, first : first + size] = np.linalg.solve(powers, np.eye(size)[1]) / scale
    return matrix
