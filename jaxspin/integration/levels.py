"""Levels: the Fermi energies and temperatures of a scan."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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


def fermi(energy, mu, thermal, derivative: bool = False):
    """The Fermi function f = 1/(exp((ε-mu)/kT)+1), or ∂f/∂ε (1/eV); all energies in eV."""
    occupation = jax.nn.sigmoid((mu - energy) / thermal)
    if not derivative:
        return occupation
    return -occupation * jax.nn.sigmoid((energy - mu) / thermal) / thermal
