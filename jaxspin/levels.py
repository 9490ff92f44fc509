"""Levels: the Fermi energies and temperatures of a scan, and the sums over occupied bands.

A scan is a property of the reduction. What is summed over the mesh is Σ_m f(ε_m) W_m for every
(mu, T) at once, W being a tensor for each band; a thousand levels cost about what one costs.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxspin.algebra import is_traced
from jaxspin.units import BOLTZMANN


class Levels(eqx.Module):
    """Fermi energies `mu` (eV; any number, order and spacing) and temperatures (K).

    `temperature` is a number, or an array for a scan over temperatures too, which adds a leading
    axis to every result. At T = 0 the occupation is a step, θ(mu - ε).

    Raises:
        ValueError: no mu, mu or temperature not finite, a negative temperature.
    """

    mu: Float[Array, " e"]
    temperature: Float[Array, "*t"]

    def __init__(self, mu, temperature=0.0):
        self.mu = _numbers("mu", mu)
        if self.mu.ndim == 0:
            self.mu = self.mu.reshape(1)
        self.temperature = _numbers("temperature", temperature)
        if not is_traced(temperature) and np.any(self.temperature < 0):
            raise ValueError(
                f"Argument `temperature` must not be negative (K), but is {temperature!r}."
            )

    @property
    def temperatures(self) -> Float[Array, " t"]:
        """The temperatures as an array of one axis, K."""
        return self.temperature.reshape(-1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the leading axes of a result: (temperature?, mu)."""
        return (*self.temperature.shape, *self.mu.shape)

    @property
    def window(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Energies below which a state is filled, and above which it is empty, at every level."""
        reach = _REACH * BOLTZMANN * jnp.max(self.temperature)
        return jnp.min(self.mu) - reach, jnp.max(self.mu) + reach


def _numbers(name: str, value):
    """Concrete numbers stay NumPy, so that their values can choose shapes under jit."""
    if is_traced(value):
        return jnp.asarray(value)
    array = np.asarray(value, dtype=float)
    if array.ndim > 1 or array.size == 0:
        raise ValueError(
            f"Argument `{name}` must be a number or a non-empty one-dimensional array, "
            f"but has shape {array.shape}."
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"Argument `{name}` must be finite, but is {value!r}.")
    return array


class Scan(eqx.Module):
    """How Σ_m f(ε_m) W_m is accumulated over the mesh for a set of levels."""

    #: Whether a point stands for the energies in its cell, or for its own alone.
    fills_cells: ClassVar[bool] = False

    @abstractmethod
    def start(self, size: int) -> Array:
        """Empty sums for tensors of `size` components."""

    @abstractmethod
    def add(
        self,
        sums: Array,
        energies: Float[Array, "t n K"],
        spread: Float[Array, "t n K"],
        values: Float[Array, "t c n K"],
    ) -> Array:
        """The sums with the bands of some tiles added.

        Args:
            spread: by how much each energy varies over the cell of its mesh point, eV.
        """

    @abstractmethod
    def finish(self, sums: Array) -> Float[Array, "t e c"]:
        """The sums for each temperature and Fermi energy."""


def scans(
    levels: Levels, cells: bool, derivative: bool = False
) -> tuple[tuple[tuple[int, ...], Scan], ...]:
    """The scans that together serve all temperatures: ((indices of temperatures, scan), ...).

    Args:
        cells: at T = 0, let the energy vary over the cell of each point instead of being that of
            the point (see `Cells`).
        derivative: sum f'(ε) = ∂f/∂ε instead of f: a Fermi-surface term, 1/eV. At T = 0 that
            exists for cells only.
    """
    temperatures = levels.temperatures
    if is_traced(temperatures):  # differentiated or mapped over: taken to be positive
        return ((tuple(range(len(temperatures))), _warm(levels.mu, temperatures, derivative)),)
    cold = tuple(int(i) for i in np.flatnonzero(temperatures == 0))
    warm = tuple(int(i) for i in np.flatnonzero(temperatures > 0))
    plan = []
    if cold:
        mu = jnp.asarray(levels.mu)
        use_cells = cells or derivative
        plan.append((cold, Cells(mu, len(cold), derivative) if use_cells else Step(mu, len(cold))))
    if warm:
        plan.append((warm, _warm(levels.mu, temperatures[list(warm)], derivative)))
    return tuple(plan)


# Beyond this many levels a histogram is cheaper than one Fermi function for each level (measured
# on 2 cores with 27 components); beyond this many nodes its memory would be noticed.
_FEW_LEVELS = 12
_MANY_NODES = 400_000


def _warm(mu, temperatures, derivative: bool) -> Scan:
    thermal = jnp.asarray(BOLTZMANN * temperatures)
    if is_traced(mu, temperatures) or mu.size * temperatures.size <= _FEW_LEVELS:
        return Fermi(jnp.asarray(mu), thermal, derivative)
    step = BOLTZMANN * temperatures.min() / _NODES_PER_KT
    reach = _REACH * BOLTZMANN * temperatures.max()
    start, stop = mu.min() - reach, mu.max() + reach
    number = int(np.ceil((stop - start) / step)) + 4
    if number > _MANY_NODES:
        return Fermi(jnp.asarray(mu), thermal, derivative)
    return Histogram(
        jnp.asarray(mu), thermal, jnp.asarray(start), jnp.asarray(step), number, derivative
    )


class Step(Scan):
    """T = 0, points: a histogram over the requested Fermi energies themselves, hence exact."""

    mu: Float[Array, " e"]
    copies: int = eqx.field(static=True)

    def start(self, size):
        return jnp.zeros((size, self.mu.size + 1))

    def add(self, sums, energies, spread, values):
        bins = jnp.searchsorted(jnp.sort(_no_derivative(self.mu)), _no_derivative(energies))
        return _scatter(sums, bins, values, lambda values: values)

    def finish(self, sums):
        occupied = jnp.cumsum(sums, axis=1).T[jnp.argsort(jnp.argsort(self.mu))]
        return jnp.repeat(occupied[None], self.copies, axis=0)


class Cells(Scan):
    """T = 0, cells: each point fills gradually while mu passes the energies in its cell.

    Over its cell an energy varies by `spread` (to first order, from the velocity), so that a point
    at ε is filled to clip(1/2 + (mu - ε)/spread, 0, 1). A Fermi surface then converges with the
    square of the mesh spacing, where counting points leaves the noise of those near it. With the
    edges a = ε ± spread/2 the filling is a difference of ramps, (mu - a) for mu > a; two
    histograms over the requested Fermi energies sum them exactly, for any number of levels.
    """

    mu: Float[Array, " e"]
    copies: int = eqx.field(static=True)
    derivative: bool = eqx.field(static=True)
    fills_cells = True

    def start(self, size):
        return jnp.zeros((size, 2 * (self.mu.size + 1)))

    def add(self, sums, energies, spread, values):
        energies, spread = _no_derivative(energies), _no_derivative(spread)
        mu = jnp.sort(self.mu)
        middle = jnp.mean(mu)
        low, high = energies - spread / 2, energies + spread / 2
        first, last = jnp.searchsorted(mu, low), jnp.searchsorted(mu, high)
        partly = first < last  # a requested level lies inside the cell
        inverse = jnp.where(partly, 1 / jnp.where(partly, spread, 1), 0)
        second = mu.size + 1  # the histogram of offsets follows that of slopes
        bins = jnp.stack([first, last, second + first, second + last])

        def four(values):
            slope = values * inverse
            offset = jnp.where(partly, slope * (low - middle), -values)
            return jnp.stack([slope, -slope, offset, -slope * (high - middle)])

        return _scatter(sums, bins, values, four)

    def finish(self, sums):
        order = jnp.argsort(jnp.argsort(self.mu))
        histograms = sums.reshape(sums.shape[0], 2, -1)
        slopes, offsets = jnp.moveaxis(jnp.cumsum(histograms, axis=-1), 1, 0)[..., order]
        level = self.mu - jnp.mean(self.mu)
        total = -slopes if self.derivative else level * slopes - offsets
        return jnp.repeat(total.T[None], self.copies, axis=0)


class Fermi(Scan):
    """T > 0, few levels: the Fermi function itself for each level."""

    mu: Float[Array, " e"]
    thermal: Float[Array, " t"]
    derivative: bool = eqx.field(static=True)

    def start(self, size):
        return jnp.zeros((self.thermal.size, self.mu.size, size))

    def add(self, sums, energies, spread, values):
        mu, thermal = (x[:, None, None, None] for x in (self.mu, self.thermal))
        weights = fermi(energies, mu, thermal[:, None], self.derivative)
        return sums + jnp.einsum("teimK,icmK->tec", weights, values)

    def finish(self, sums):
        return sums


# Cubic interpolation of f on nodes kT/16 apart is exact to 6e-8 of f at the worst energy, with an
# error that changes sign from node to node (the fourth derivative of the Fermi function is at
# most 0.13/kT⁴, and cubic Lagrange interpolation leaves 9/384 h⁴ of it). 40 kT from mu, f is a
# step to double precision.
_NODES_PER_KT = 16
_REACH = 40


class Histogram(Scan):
    """T > 0, many levels: weights are laid on the nodes of a fine energy mesh, and f acts there.

    A weight at ε goes to the four nodes around it with the coefficients of cubic interpolation,
    so that Σ_j f(E_j) H_j interpolates f at ε.
    """

    mu: Float[Array, " e"]
    thermal: Float[Array, " t"]
    first: Float[Array, ""]
    step: Float[Array, ""]
    number: int = eqx.field(static=True)
    derivative: bool = eqx.field(static=True)

    def start(self, size):
        return jnp.zeros((size, self.number))

    def add(self, sums, energies, spread, values):
        x = jnp.clip((energies - self.first) / self.step, 1.0, self.number - 3.0)
        left = jax.lax.stop_gradient(jnp.floor(x))
        nodes = left.astype(int) + jnp.arange(-1, 3)[:, None, None, None]
        share = _cubic(x - left)
        return _scatter(sums, nodes, values, lambda values: share * values)

    def finish(self, sums):
        nodes = self.first + self.step * jnp.arange(self.number)
        one = lambda mu: fermi(nodes, mu, self.thermal[:, None], self.derivative) @ sums.T  # noqa: E731
        return jnp.swapaxes(jax.lax.map(one, self.mu), 0, 1)


def fermi(energy, mu, thermal, derivative: bool = False):
    """The Fermi function f = 1/(exp((ε-mu)/kT)+1), or ∂f/∂ε (1/eV); all energies in eV."""
    occupation = jax.nn.sigmoid((mu - energy) / thermal)
    if not derivative:
        return occupation
    return -occupation * jax.nn.sigmoid((energy - mu) / thermal) / thermal


def _cubic(x: Float[Array, "*n"]) -> Float[Array, "4 *n"]:
    """Lagrange coefficients at the nodes -1, 0, 1, 2 for 0 <= x < 1."""
    return jnp.stack(
        [
            -x * (x - 1) * (x - 2) / 6,
            (x + 1) * (x - 1) * (x - 2) / 2,
            -(x + 1) * x * (x - 2) / 2,
            (x + 1) * x * (x - 1) / 6,
        ]
    )


def _scatter(
    sums: Float[Array, "c b"],
    bins: Int[Array, "*p t n K"],
    values: Float[Array, "t c n K"],
    shares: Callable[[Array], Array],
) -> Array:
    """Add the shares of each value (*p, t, n, K) to their bins, one component after the other.

    Not one scatter for all components, which is slower, nor one written out for each, which takes
    seconds to compile.
    """
    bins = bins.reshape(-1)

    def add(pair):
        total, component = pair
        chosen = jax.lax.dynamic_index_in_dim(values, component, axis=1, keepdims=False)
        return total.at[bins].add(shares(chosen).reshape(-1))

    return jax.lax.map(add, (sums, jnp.arange(sums.shape[0])))


@jax.custom_jvp
def _no_derivative(energies):
    return energies


@_no_derivative.defjvp
def _no_derivative_jvp(primals, tangents):
    raise ValueError(
        "At temperature 0 the occupation is a step and the response has no derivative that a mesh "
        "can compute. Argument `temperature` of `Levels` must be positive to differentiate."
    )
