"""Levels: the Fermi energies and temperatures of a scan."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import spence
from jaxtyping import Array, Float

from jaxspin.engine.annotations import Numbers
from jaxspin.engine.descriptions import describe_fields
from jaxspin.engine.record import Record
from jaxspin.engine.small_matrices import as_arrays, is_traced
from jaxspin.engine.validate import as_numbers, check_finite, is_not_negative, shortened
from jaxspin.units import BOLTZMANN


class Levels(Record):
    """Fermi energies `mu` (eV; any number, order and spacing) and temperatures (K).

    `temperature` is a number, or an array for a scan over temperatures too, which adds a leading
    axis to every result. At T = 0 the occupation is a step, θ(mu - ε).

    Raises:
        ValueError: no mu, mu or temperature not finite, a negative temperature.
    """

    mu: Float[Array, " e"]
    temperature: Float[Array, "*t"]

    def __init__(self, mu: Numbers, temperature: Numbers = 0.0):
        self.mu = _as_levels("mu", mu)
        if self.mu.ndim == 0:
            self.mu = self.mu.reshape(1)
        self.temperature = _as_levels("temperature", temperature)
        if not is_not_negative(self.temperature):
            raise ValueError(
                f"Argument `temperature` must not be negative (K), but is {shortened(temperature)}."
            )

    def __repr__(self) -> str:
        return describe_fields(self)

    @property
    def temperatures(self) -> Float[Array, " t"]:
        """The temperatures as an array of one axis, K."""
        return self.temperature.reshape(-1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the leading axes of a result: (temperature?, mu)."""
        return (*self.temperature.shape, *self.mu.shape)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of these axes."""
        return ("temperature", "mu") if self.temperature.ndim else ("mu",)

    @property
    def warm(self) -> bool:
        """True if all temperatures are positive, as they are taken to be while differentiated."""
        return is_traced(self.temperature) or bool(np.all(self.temperature > 0))

    @property
    def window(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Energies below which a state is filled, and above which it is empty, at every level."""
        xp, (mu, temperature) = as_arrays(self.mu, self.temperature)
        reach = REACH_IN_KT * BOLTZMANN * xp.max(temperature)
        return xp.min(mu) - reach, xp.max(mu) + reach


def _as_levels(name: str, value) -> Any:
    """Concrete numbers stay NumPy, so that their values can choose shapes under jit."""
    if is_traced(value):
        return jnp.asarray(value)
    array = as_numbers(name, value, "in one array or alone")  # a copy
    array.setflags(write=False)
    if array.ndim > 1 or array.size == 0:
        raise ValueError(
            f"Argument `{name}` must be a number or a non-empty one-dimensional array, "
            f"but has shape {array.shape}."
        )
    check_finite(name, array)
    return array


REACH_IN_KT = 40


def fermi_difference(energies: Float[Array, "n K"], mu, thermal) -> Float[Array, "n n K"]:
    """f_m - f_n of ascending energies for m >= n, and 0 above the diagonal.

    (1 - f_m) f_n (exp((ε_n - ε_m)/kT) - 1): to the last digits also where the energies are close.
    """
    filled, empty = fermi(energies, mu, thermal), fermi(-energies, -mu, thermal)
    gaps = jnp.minimum(energies[None, :] - energies[:, None], 0)
    return empty[:, None] * filled[None, :] * jnp.expm1(gaps / thermal)


def fermi(energy, mu, thermal, derivative: bool = False, *, moment: int = 0):
    """The Fermi function f = 1/(exp((ε-mu)/kT)+1), or ∂f/∂ε (1/eV); all energies in eV.

    Args:
        moment: n, for ∫_ε^∞ (ε'-mu)ⁿ (-∂f/∂ε') dε'/kT in place of f: the occupation itself
            (n = 0, without the 1/kT), the entropy of a state in units of k (n = 1), and the heat
            per kT that states above ε carry, eV (n = 2).
    """
    x = (energy - mu) / thermal
    if moment and not derivative:
        return entropy(x) if moment == 1 else thermal * heat(x)
    occupation = jax.nn.sigmoid(-x)
    if not derivative:
        return occupation
    slope = -occupation * jax.nn.sigmoid(x) / thermal
    return slope if moment == 0 else slope * x if moment == 1 else slope * x**2 * thermal


def fill(thermal, moment: int = 0):
    """`fermi` of a state that lies far below mu."""
    return (1.0, 0.0, np.pi**2 / 3 * thermal)[moment]


@jax.custom_jvp
def entropy(x):
    """∫_x^∞ y (-df/dy) dy = -f ln f - (1-f) ln(1-f), even in x, with f = 1/(exp(x)+1)."""
    x = jnp.abs(x)
    return x * jax.nn.sigmoid(-x) + jnp.log1p(jnp.exp(-x))


@jax.custom_jvp
def heat(x):
    """∫_x^∞ y² (-df/dy) dy, from π²/3 at x = -∞ to 0.

    For x > 0 it is x²f + 2x ln(1+exp(-x)) - 2 Li₂(-exp(-x)); that of -x is π²/3 less it.
    """
    away = jnp.abs(x)
    small = jnp.exp(-away)
    tail = away * (away * jax.nn.sigmoid(-away) + 2 * jnp.log1p(small)) - 2 * spence(1 + small)
    return jnp.where(x > 0, tail, np.pi**2 / 3 - tail)


@entropy.defjvp
def _entropy_jvp(primals, tangents):
    (x,), (change,) = primals, tangents
    return entropy(x), -x * jax.nn.sigmoid(x) * jax.nn.sigmoid(-x) * change


@heat.defjvp
def _heat_jvp(primals, tangents):
    (x,), (change,) = primals, tangents
    return heat(x), -(x**2) * jax.nn.sigmoid(x) * jax.nn.sigmoid(-x) * change
