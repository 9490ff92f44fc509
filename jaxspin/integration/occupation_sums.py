"""Sums over occupied bands, for all Fermi energies and temperatures of a scan at once.

A scan is a property of the reduction. What is summed over the mesh is Σ_m f(ε_m) W_m for every
(mu, T) at once, W being a tensor for each band; a thousand levels cost about what one costs.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.histograms import add_to_bins, add_to_own_bins, find_bins
from jaxspin.engine.programs import program
from jaxspin.engine.record import Record
from jaxspin.engine.small_matrices import as_arrays, is_traced, matmul, on_device
from jaxspin.engine.tile_sizes import lanes_with_bins, round_up
from jaxspin.engine.xla import add_rows
from jaxspin.integration.levels import REACH_IN_KT, Levels, fermi, fill
from jaxspin.units import BOLTZMANN


class OccupationSum(Record):
    """Accumulation of Σ_m f(ε_m) W_m over the mesh for a set of levels."""

    #: Whether a point stands for the energies in its cell, or for its own alone.
    fills_cells: ClassVar[bool] = False

    @abstractmethod
    def shape(self, size: int, lanes: int) -> tuple[int, ...]:
        """Shape of the sums for tensors of `size` components and tiles of `lanes` k-points."""

    def start(self, size: int, lanes: int) -> Array:
        """Empty sums."""
        return jnp.zeros(self.shape(size, lanes))

    def start_known(self, size: int, lanes: int) -> np.ndarray:
        """The same where nothing is traced."""
        return np.zeros(self.shape(size, lanes), jnp.result_type(float))

    def open(self, sums: Array, tile: int, owned: int) -> Array:
        """Sums to which the tiles of a segment, of so many k-points, add."""
        return sums

    def close(self, sums: Array, opened: Array) -> Array:
        """The sums with those of a segment."""
        return opened

    @abstractmethod
    def add(
        self,
        sums: Array,
        energies: Float[Array, "n K"],
        spread: Float[Array, "n K"],
        values: Float[Array, "c n K"],
    ) -> Array:
        """The sums with the bands of a tile added.

        Args:
            spread: by how much each energy varies over the cell of its mesh point, eV.
        """

    @abstractmethod
    def finish(self, sums: Any) -> Float[Any, "t e c"]:
        """The sums for each temperature and Fermi energy; in NumPy where they are not traced."""


def scans(
    levels: Levels, cells: bool, derivative: bool = False, *, moment: int = 0
) -> tuple[tuple[tuple[int, ...], OccupationSum], ...]:
    """The scans that together serve all temperatures: ((indices of temperatures, scan), ...).

    Args:
        cells: at T = 0, let the energy vary over the cell of each point instead of being that of
            the point (see `LinearCellSum`).
        derivative: sum f'(ε) = ∂f/∂ε instead of f: a Fermi-surface term, 1/eV. At T = 0 that
            exists for cells only.
        moment: sum this moment of -∂f/∂ε above each state instead of f (see `fermi`); T > 0.
    """
    temperatures, kind = levels.temperatures, (derivative, moment)
    if is_traced(temperatures):  # differentiated or mapped over: taken to be positive
        return ((tuple(range(len(temperatures))), _choose_thermal(levels.mu, temperatures, *kind)),)
    cold = tuple(int(i) for i in np.flatnonzero(temperatures == 0))
    warm = tuple(int(i) for i in np.flatnonzero(temperatures > 0))
    plan = []
    if cold:
        use_cells = cells or derivative
        fixed = *_sort_levels(levels.mu), len(cold)
        plan.append((cold, LinearCellSum(*fixed, derivative) if use_cells else StepSum(*fixed)))
    if warm:
        plan.append((warm, _choose_thermal(levels.mu, np.asarray(temperatures)[list(warm)], *kind)))
    return tuple(plan)


# Beyond this many levels a histogram is cheaper than one Fermi function for each level (measured
# on 2 cores with 27 components); beyond this many nodes its memory would be noticed.
_FEW_LEVELS = 12

_MANY_NODES = 400_000


def _choose_thermal(mu, temperatures, *kind) -> OccupationSum:
    thermal = BOLTZMANN * temperatures
    if is_traced(mu, temperatures) or mu.size * temperatures.size <= _FEW_LEVELS:
        return FermiSum(mu, thermal, *kind)
    start, step, number = _find_nodes(mu, temperatures)
    if number > _MANY_NODES:
        return FermiSum(mu, thermal, *kind)
    return EnergyHistogram(mu, thermal, start, step, round_up(number, _NODES), *kind)


def _find_nodes(mu, temperatures) -> tuple[Any, Any, int]:
    """The first node of the energy mesh of a histogram, their distance, and their number."""
    step = BOLTZMANN * temperatures.min() / _NODES_PER_KT
    reach = REACH_IN_KT * BOLTZMANN * temperatures.max()
    start, stop = mu.min() - reach, mu.max() + reach
    return start, step, int(np.ceil((stop - start) / step)) + 4


# Sizes for which sums are compiled: other numbers of levels, temperatures and ranges of mu of about
# the same size then take the same program. Levels of one Fermi function each cost in proportion
# to their number, those of a histogram next to nothing.
_COUNTS = (1, 2, 3, 6, 12, *(40 * 4**i for i in range(10)))
_NODES = tuple(2**i for i in range(11, 20))


def pad_levels(levels: Levels) -> Levels:
    """Levels with the last mu repeated, up to a number for which sums are compiled."""
    if is_traced(levels):
        return levels
    number, temperatures = levels.mu.size, levels.temperatures
    padded, warm = round_up(number, _COUNTS), temperatures[temperatures > 0]
    if len(warm) and number * len(warm) <= _FEW_LEVELS:
        padded = min(padded, _FEW_LEVELS // len(warm))
    elif len(warm) and _find_nodes(levels.mu, warm)[2] > _MANY_NODES:
        return levels
    last = np.full(padded - number, levels.mu[-1])
    return Levels(np.append(levels.mu, last), levels.temperature) if len(last) else levels


def _sort_levels(mu: Float[Array, " e"]) -> tuple[Float[Array, " e"], Int[Array, " e"]]:
    """Fermi energies in ascending order, and the place of each of them there."""
    xp, (mu,) = as_arrays(mu)
    order = xp.argsort(mu, stable=True)
    return mu[order], xp.argsort(order, stable=True)


class Histogram(OccupationSum):
    """Accumulation in bins: (bins, components), of a segment (lanes, bins, components) where lanes
    have bins of their own (`add_to_own_bins`)."""

    def open(self, sums, tile, owned):
        lanes = lanes_with_bins(owned, sums.size, tile)
        return jnp.zeros((lanes, *sums.shape), sums.dtype) if lanes else sums

    def close(self, sums, opened):
        return sums + jnp.sum(opened, axis=0) if opened.ndim > sums.ndim else opened


class StepSum(Histogram):
    """T = 0, points: a histogram over the requested Fermi energies themselves, hence exact."""

    #: Fermi energies in ascending order, and the place of each requested one there.
    mu: Float[Array, " e"]
    order: Int[Array, " e"]
    copies: int = eqx.field(static=True)

    def shape(self, size, lanes):
        return (self.mu.size + 1, size)

    def add(self, sums, energies, spread, values):
        bins = find_bins(_no_derivative(self.mu), _no_derivative(energies)).reshape(1, -1)
        shares = jnp.ones((1, *bins.shape), values.dtype)
        return _add_bands(sums, values, bins, shares, bins[0] < self.mu.size)

    def finish(self, sums):
        xp, (sums, order) = as_arrays(sums, self.order)
        return xp.repeat(xp.cumsum(sums, axis=0)[order][None], self.copies, axis=0)


class LinearCellSum(Histogram):
    """T = 0, cells: each point fills gradually while mu passes the energies in its cell.

    Over its cell an energy varies by `spread` (to first order, from the velocity), so that a point
    at ε is filled to clip(1/2 + (mu - ε)/spread, 0, 1). A Fermi surface then converges with the
    square of the mesh spacing, where counting points leaves the noise of those near it. With the
    edges a = ε ± spread/2 the filling is a difference of ramps, (mu - a) for mu > a; two
    histograms over the requested Fermi energies, of their slopes and their offsets, sum them
    exactly, for any number of levels.
    """

    #: Fermi energies in ascending order, and the place of each requested one there.
    mu: Float[Array, " e"]
    order: Int[Array, " e"]
    copies: int = eqx.field(static=True)
    derivative: bool = eqx.field(static=True)
    fills_cells = True

    def shape(self, size, lanes):
        return (2 * (self.mu.size + 1), size)

    def add(self, sums, energies, spread, values):
        energies, spread = _no_derivative(energies), _no_derivative(spread)
        middle = jnp.mean(self.mu)
        low, high = energies - spread / 2, energies + spread / 2
        first, last = find_bins(self.mu, low), find_bins(self.mu, high)
        partly = first < last  # a requested level lies inside the cell
        slope = jnp.where(partly, 1 / jnp.where(partly, spread, 1), 0)
        starts = slope, jnp.where(partly, slope * (low - middle), -1)  # of the whole band if not
        ends = -slope, -slope * (high - middle)
        shares = jnp.stack([jnp.stack(starts), jnp.stack(ends)]).reshape(2, 2, -1)
        bins = 2 * jnp.stack([first, jnp.minimum(last, self.mu.size)]).reshape(2, -1)
        parts = jnp.where(first == self.mu.size, 0, jnp.where(partly, 2, 1))
        return _add_bands(sums, values, bins, shares, parts)

    def finish(self, sums):
        xp, (sums, mu, order) = as_arrays(sums, self.mu, self.order)
        histograms = sums.reshape(-1, 2, sums.shape[1])
        slopes, offsets = xp.moveaxis(xp.cumsum(histograms, axis=0), 1, 0)
        level = (mu - xp.mean(mu))[:, None]
        total = -slopes[:-1] if self.derivative else level * slopes[:-1] - offsets[:-1]
        return xp.repeat(total[order][None], self.copies, axis=0)


# Numbers in memory at a time, 64 MB: beyond, the k-points of a tile are not kept apart, and Fermi
# functions are computed for a part of the levels after the other.
_NUMBERS = 2**23


class FermiSum(OccupationSum):
    """T > 0, few levels: the Fermi function itself for each level."""

    mu: Float[Array, " e"]
    thermal: Float[Array, " t"]
    derivative: bool = eqx.field(static=True)
    moment: int = eqx.field(static=True, default=0)

    def shape(self, size, lanes):
        levels = self.thermal.size * self.mu.size
        lanes = lanes if levels * size * lanes <= _NUMBERS else 1
        return (levels, size, lanes)

    def add(self, sums, energies, spread, values):
        thermal, mu = (x.ravel() for x in jnp.meshgrid(self.thermal, self.mu, indexing="ij"))
        if sums.shape[-1] != energies.shape[-1]:
            return sums + self._sum_over_tile(energies, values, mu, thermal)[..., None]
        values = jnp.swapaxes(values, 0, 1)

        def of_level(i):
            weights = fermi(energies, mu[i], thermal[i], self.derivative, moment=self.moment)
            return matmul(weights[None], values)[0]

        return add_rows(sums, of_level)

    @property
    def each(self) -> list[tuple[Any, Any]]:
        """(mu, kT) of each level."""
        return [(mu, thermal) for thermal in self.thermal for mu in self.mu]

    def add_means(self, sums, means: Float[Array, "l c K"]) -> Array:
        """The sums with what the k-points of a tile add at each level."""
        apart = sums.shape[-1] == means.shape[-1]
        return sums + (means if apart else jnp.sum(means, axis=-1, keepdims=True))

    def _sum_over_tile(self, energies, values, mu, thermal) -> Float[Array, "l c"]:
        """The sums of a tile over its k-points, a few levels at a time."""

        def sum_level(level):
            mu, thermal = level
            weights = fermi(energies, mu, thermal, self.derivative, moment=self.moment)
            return jnp.einsum("nK,cnK->c", weights, values)

        batch = max(1, _NUMBERS // (8 * energies.size))
        return jax.lax.map(sum_level, (mu, thermal), batch_size=min(batch, mu.size))

    def finish(self, sums):
        xp, (sums,) = as_arrays(sums)
        return xp.sum(sums, axis=-1).reshape(self.thermal.size, self.mu.size, -1)


# Cubic interpolation of f on nodes kT/16 apart is exact to 6e-8 of f at the worst energy, with an
# error that changes sign from node to node (the fourth derivative of the Fermi function is at
# most 0.13/kT⁴, and cubic Lagrange interpolation leaves 9/384 h⁴ of it). 40 kT from mu, f is a
# step to double precision.
_NODES_PER_KT = 16

# Bins before those of the nodes, as many as a weight goes to, for bands that are filled at every
# level; they use the first alone.
_FILLED = 4


class EnergyHistogram(Histogram):
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
    moment: int = eqx.field(static=True, default=0)

    def shape(self, size, lanes):
        return (_FILLED + self.number, size)

    def add(self, sums, energies, spread, values):
        x = (energies - self.first) / self.step
        filled, empty = x < 1, x > self.number - 3
        x = jnp.clip(x, 1.0, self.number - 3.0)
        left = jax.lax.stop_gradient(jnp.floor(x))
        start = jnp.where(filled, 0, _FILLED + left.astype(int) - 1).reshape(1, -1)
        whole = jnp.array([1.0, 0.0, 0.0, 0.0])[:, None, None]
        shares = jnp.where(filled, whole, _cubic_coefficients(x - left)).reshape(1, 4, -1)
        return _add_bands(sums, values, start, shares, ~empty)

    def finish(self, sums):
        if not is_traced(self, sums):
            return self._finish_known(sums)
        nodes = self.first + self.step * jnp.arange(self.number)
        filled = 0 if self.derivative else sums[0][:, None]
        near = sums[_FILLED:].T
        parts, kind = self._split_temperatures(self.thermal), (self.derivative, self.moment)
        levels = [(x, self.mu) for x in parts]
        occupied = [_fill_nodes(near, nodes, filled, x, kind) for x in levels]
        return jnp.transpose(jnp.concatenate(occupied, axis=-1), (2, 0, 1))

    def _finish_known(self, sums):
        first, step = np.asarray(self.first), np.asarray(self.step)
        nodes = first + step * np.arange(self.number, dtype=sums.dtype)
        low, near = np.split(np.asarray(sums), [_FILLED])
        near, filled = on_device(near.T), 0 if self.derivative else on_device(low[0][:, None])
        parts = map(on_device, self._split_temperatures(np.asarray(self.thermal)))
        fixed, levels = (near, on_device(nodes), filled), [(x, self.mu) for x in parts]
        kind = self.derivative, self.moment
        occupied = [_fill_nodes_known(*fixed, x, kind) for x in levels]
        return np.transpose(np.concatenate(occupied, axis=-1), (2, 0, 1))

    def _split_temperatures(self, thermal) -> list:
        """Temperatures in parts whose Fermi functions are in memory together."""
        number = max(1, _NUMBERS // self.number)
        parts = np.split(np.arange(thermal.size), range(number, thermal.size, number))
        return [thermal[part] for part in parts]


def _fill_nodes(near, nodes, filled, levels, kind: tuple[bool, int]) -> Float[Array, "e c t"]:
    """Σ_j f(E_j) H_j at each level (kT, mu); on the left the sums, because tangents are more rows
    of them."""
    (thermal, mu), (derivative, moment) = levels, kind

    def fill_level(mu):
        occupied = fermi(nodes, mu, thermal[:, None], derivative, moment=moment)
        return near @ occupied.T + filled * fill(thermal, moment)

    return jax.lax.map(fill_level, mu)


_fill_nodes_known = program(_fill_nodes)


def _cubic_coefficients(x: Float[Array, "*n"]) -> Float[Array, "4 *n"]:
    """Lagrange coefficients at the nodes -1, 0, 1, 2 for 0 <= x < 1."""
    return jnp.stack(
        [
            -x * (x - 1) * (x - 2) / 6,
            (x + 1) * (x - 1) * (x - 2) / 2,
            -(x + 1) * x * (x - 2) / 2,
            (x + 1) * x * (x - 1) / 6,
        ]
    )


def _add_bands(sums, values: Float[Array, "c n K"], bins, shares, parts) -> Array:
    """The sums with the weights of the bands of a tile added to bins (see `add_to_bins`)."""
    flat = values.reshape(len(values), -1)
    add = add_to_own_bins if sums.ndim == 3 else add_to_bins
    return add(sums, flat, bins, shares, parts.reshape(-1))


def _no_derivative_jvp(primals, tangents):
    raise ValueError(
        "At temperature 0 the occupation is a step and the response has no derivative that a mesh "
        "can compute. Argument `temperature` of `Levels` must be positive to differentiate."
    )


@with_derivative(_no_derivative_jvp)
def _no_derivative(energies):
    return energies
