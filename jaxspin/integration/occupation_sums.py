"""Sums over occupied bands, for all Fermi energies and temperatures of a scan at once.

A scan is a property of the reduction. What is summed over the mesh is Σ_m f(ε_m) W_m for every
(mu, T) at once, W being a tensor for each band; a thousand levels cost about what one costs.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.programs import program
from jaxspin.engine.small_matrices import as_arrays, is_traced, matmul, on_device
from jaxspin.engine.tile_sizes import round_up
from jaxspin.engine.xla import add_rows
from jaxspin.integration.levels import REACH_IN_KT, Levels, fermi
from jaxspin.units import BOLTZMANN


class OccupationSum(eqx.Module):
    """Accumulation of Σ_m f(ε_m) W_m over the mesh for a set of levels."""

    #: Whether a point stands for the energies in its cell, or for its own alone.
    fills_cells: ClassVar[bool] = False
    #: Whether tiles are added one by one (n, K), or many at a time, (t, n, K).
    one_by_one: ClassVar[bool] = False

    @abstractmethod
    def shape(self, size: int, lanes: int) -> tuple[int, ...]:
        """Shape of the sums for tensors of `size` components and tiles of `lanes` k-points."""

    def start(self, size: int, lanes: int) -> Array:
        """Empty sums."""
        return jnp.zeros(self.shape(size, lanes))

    def start_known(self, size: int, lanes: int) -> np.ndarray:
        """The same where nothing is traced."""
        return np.zeros(self.shape(size, lanes), jnp.result_type(float))

    @abstractmethod
    def add(
        self,
        sums: Array,
        energies: Float[Array, "*t n K"],
        spread: Float[Array, "*t n K"],
        values: Float[Array, "*t c n K"],
    ) -> Array:
        """The sums with the bands of some tiles added.

        Args:
            spread: by how much each energy varies over the cell of its mesh point, eV.
        """

    @abstractmethod
    def finish(self, sums: Any) -> Float[Any, "t e c"]:
        """The sums for each temperature and Fermi energy; in NumPy where they are not traced."""


def scans(
    levels: Levels, cells: bool, derivative: bool = False
) -> tuple[tuple[tuple[int, ...], OccupationSum], ...]:
    """The scans that together serve all temperatures: ((indices of temperatures, scan), ...).

    Args:
        cells: at T = 0, let the energy vary over the cell of each point instead of being that of
            the point (see `LinearCellSum`).
        derivative: sum f'(ε) = ∂f/∂ε instead of f: a Fermi-surface term, 1/eV. At T = 0 that
            exists for cells only.
    """
    temperatures = levels.temperatures
    if is_traced(temperatures):  # differentiated or mapped over: taken to be positive
        return (
            (tuple(range(len(temperatures))), _choose_thermal(levels.mu, temperatures, derivative)),
        )
    cold = tuple(int(i) for i in np.flatnonzero(temperatures == 0))
    warm = tuple(int(i) for i in np.flatnonzero(temperatures > 0))
    plan = []
    if cold:
        mu = levels.mu
        use_cells = cells or derivative
        fixed = mu, _rank_levels(levels.mu), len(cold)
        plan.append((cold, LinearCellSum(*fixed, derivative) if use_cells else StepSum(*fixed)))
    if warm:
        plan.append(
            (warm, _choose_thermal(levels.mu, np.asarray(temperatures)[list(warm)], derivative))
        )
    return tuple(plan)


# Beyond this many levels a histogram is cheaper than one Fermi function for each level (measured
# on 2 cores with 27 components); beyond this many nodes its memory would be noticed.
_FEW_LEVELS = 12

_MANY_NODES = 400_000


def _choose_thermal(mu, temperatures, derivative: bool) -> OccupationSum:
    thermal = BOLTZMANN * temperatures
    if is_traced(mu, temperatures) or mu.size * temperatures.size <= _FEW_LEVELS:
        return FermiSum(mu, thermal, derivative)
    start, step, number = _find_nodes(mu, temperatures)
    if number > _MANY_NODES:
        return FermiSum(mu, thermal, derivative)
    return EnergyHistogram(mu, thermal, start, step, round_up(number, _NODES), derivative)


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


# Most bands of most points lie far from every level. Were they all added to the same two bins, each
# addition would wait for the one before; so those that are filled at every level go to these many
# bins in turn, and those that are empty at every level to as many others.
_ASIDE = 64


def _in_turn(energies: Float[Array, "*t n K"]) -> Int[Array, "n K"]:
    n, lanes = energies.shape[-2:]
    return jnp.arange(n * lanes).reshape(n, lanes) % _ASIDE


def _rank_levels(mu: Float[Array, " e"]) -> Int[Array, " e"]:
    """The place of each Fermi energy among all in ascending order."""
    xp, (mu,) = as_arrays(mu)
    return xp.argsort(xp.argsort(mu, stable=True), stable=True)


class StepSum(OccupationSum):
    """T = 0, points: a histogram over the requested Fermi energies themselves, hence exact."""

    mu: Float[Array, " e"]
    order: Int[Array, " e"]
    copies: int = eqx.field(static=True)

    def shape(self, size, lanes):
        return (size, self.mu.size + 1 + 2 * _ASIDE)

    def add(self, sums, energies, spread, values):
        mu = jnp.sort(_no_derivative(self.mu))
        bins = jnp.searchsorted(mu, _no_derivative(energies))
        aside = mu.size + 1 + _in_turn(energies)
        bins = jnp.where(bins == 0, aside, jnp.where(bins == mu.size, aside + _ASIDE, bins))
        return _scatter_shares(sums, bins[..., None], values, lambda values: values[..., None])

    def finish(self, sums):
        xp, (sums, order) = as_arrays(sums, self.order)
        size = self.mu.size + 1
        filled = xp.sum(sums[:, size : size + _ASIDE], axis=1, keepdims=True)
        occupied = filled + xp.cumsum(sums[:, :size], axis=1)
        return xp.repeat(occupied.T[order][None], self.copies, axis=0)


class LinearCellSum(OccupationSum):
    """T = 0, cells: each point fills gradually while mu passes the energies in its cell.

    Over its cell an energy varies by `spread` (to first order, from the velocity), so that a point
    at ε is filled to clip(1/2 + (mu - ε)/spread, 0, 1). A Fermi surface then converges with the
    square of the mesh spacing, where counting points leaves the noise of those near it. With the
    edges a = ε ± spread/2 the filling is a difference of ramps, (mu - a) for mu > a; two
    histograms over the requested Fermi energies sum them exactly, for any number of levels.
    """

    mu: Float[Array, " e"]
    order: Int[Array, " e"]
    copies: int = eqx.field(static=True)
    derivative: bool = eqx.field(static=True)
    fills_cells = True

    def shape(self, size, lanes):
        return (size, 2 * (self.mu.size + 1) + 4 * _ASIDE)

    def add(self, sums, energies, spread, values):
        energies, spread = _no_derivative(energies), _no_derivative(spread)
        mu = jnp.sort(self.mu)
        middle = jnp.mean(mu)
        low, high = energies - spread / 2, energies + spread / 2
        first, last = jnp.searchsorted(mu, low), jnp.searchsorted(mu, high)
        partly = first < last  # a requested level lies inside the cell
        inverse = jnp.where(partly, 1 / jnp.where(partly, spread, 1), 0)
        second = mu.size + 1  # the histogram of offsets follows that of slopes
        bins = jnp.stack([first, last, second + first, second + last], axis=-1)
        filled, empty = last == 0, first == mu.size
        aside = 2 * second + jnp.where(filled, 0, 2 * _ASIDE) + _in_turn(energies)
        aside = aside[..., None] + jnp.array([_ASIDE, _ASIDE, 0, _ASIDE])
        bins = jnp.where((filled | empty)[..., None], aside, bins)

        def split_ramps(values):
            slope = values * inverse
            offset = jnp.where(partly, slope * (low - middle), -values)
            return jnp.stack([slope, -slope, offset, -slope * (high - middle)], axis=-1)

        return _scatter_shares(sums, bins, values, split_ramps)

    def finish(self, sums):
        xp, (sums, mu, order) = as_arrays(sums, self.mu, self.order)
        size = 2 * (mu.size + 1)
        filled = -xp.sum(sums[:, size : size + _ASIDE], axis=1)
        histograms = sums[:, :size].reshape(sums.shape[0], 2, -1)
        slopes, offsets = xp.moveaxis(xp.cumsum(histograms, axis=-1), 1, 0)[..., order]
        level = mu - xp.mean(mu)
        occupied = filled[:, None] + level * slopes - offsets
        total = -slopes if self.derivative else occupied
        return xp.repeat(total.T[None], self.copies, axis=0)


# Numbers in memory at a time, 64 MB: beyond, the k-points of a tile are not kept apart, and Fermi
# functions are computed for a part of the levels after the other.
_NUMBERS = 2**23


class FermiSum(OccupationSum):
    """T > 0, few levels: the Fermi function itself for each level."""

    mu: Float[Array, " e"]
    thermal: Float[Array, " t"]
    derivative: bool = eqx.field(static=True)

    one_by_one = True

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
            weights = fermi(energies, mu[i], thermal[i], self.derivative)
            return matmul(weights[None], values)[0]

        return add_rows(sums, of_level)

    def _sum_over_tile(self, energies, values, mu, thermal) -> Float[Array, "l c"]:
        """The sums of a tile over its k-points, a few levels at a time."""

        def sum_level(level):
            mu, thermal = level
            return jnp.einsum("nK,cnK->c", fermi(energies, mu, thermal, self.derivative), values)

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


class EnergyHistogram(OccupationSum):
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

    def shape(self, size, lanes):
        return (size, self.number + 8 * _ASIDE)

    def add(self, sums, energies, spread, values):
        x = (energies - self.first) / self.step
        filled, empty = x < 1, x > self.number - 3
        x = jnp.clip(x, 1.0, self.number - 3.0)
        left = jax.lax.stop_gradient(jnp.floor(x))
        aside = self.number + 4 * (_in_turn(energies) + jnp.where(filled, 0, _ASIDE))
        start = jnp.where(filled | empty, aside, left.astype(int) - 1)
        whole = jnp.where(filled[..., None], jnp.array([1.0, 0.0, 0.0, 0.0]), 0.0)
        shares = jnp.where((filled | empty)[..., None], whole, _cubic_coefficients(x - left))
        return _scatter_shares(
            sums, start[..., None], values, lambda values: shares * values[..., None]
        )

    def finish(self, sums):
        if not is_traced(self, sums):
            return self._finish_known(sums)
        nodes = self.first + self.step * jnp.arange(self.number)
        filled = jnp.sum(sums[:, self.number : self.number + 4 * _ASIDE], axis=1, keepdims=True)
        filled = 0 if self.derivative else filled
        near = sums[:, : self.number]
        parts = self._split_temperatures(self.thermal)
        levels = [(x, self.mu) for x in parts]
        occupied = [_fill_nodes(near, nodes, filled, x, self.derivative) for x in levels]
        return jnp.transpose(jnp.concatenate(occupied, axis=-1), (2, 0, 1))

    def _finish_known(self, sums):
        first, step = np.asarray(self.first), np.asarray(self.step)
        nodes = first + step * np.arange(self.number, dtype=sums.dtype)
        near, low = np.split(np.asarray(sums)[:, : self.number + 4 * _ASIDE], [self.number], 1)
        near, filled = on_device(near), jnp.sum(on_device(low), axis=1, keepdims=True)
        filled = 0 if self.derivative else filled
        parts = map(on_device, self._split_temperatures(np.asarray(self.thermal)))
        fixed, levels = (near, on_device(nodes), filled), [(x, self.mu) for x in parts]
        occupied = [_fill_nodes_known(*fixed, x, self.derivative) for x in levels]
        return np.transpose(np.concatenate(occupied, axis=-1), (2, 0, 1))

    def _split_temperatures(self, thermal) -> list:
        """Temperatures in parts whose Fermi functions are in memory together."""
        number = max(1, _NUMBERS // self.number)
        parts = np.split(np.arange(thermal.size), range(number, thermal.size, number))
        return [thermal[part] for part in parts]


def _fill_nodes(near, nodes, filled, levels, derivative: bool) -> Float[Array, "e c t"]:
    """Σ_j f(E_j) H_j at each level (kT, mu); on the left the sums, because tangents are more rows
    of them."""
    thermal, mu = levels

    def fill_level(mu):
        return near @ fermi(nodes, mu, thermal[:, None], derivative).T + filled

    return jax.lax.map(fill_level, mu)


_fill_nodes_known = program(_fill_nodes)


def _cubic_coefficients(x: Float[Array, "*n"]) -> Float[Array, "*n 4"]:
    """Lagrange coefficients at the nodes -1, 0, 1, 2 for 0 <= x < 1."""
    return jnp.stack(
        [
            -x * (x - 1) * (x - 2) / 6,
            (x + 1) * (x - 1) * (x - 2) / 2,
            -(x + 1) * x * (x - 2) / 2,
            (x + 1) * x * (x - 1) / 6,
        ],
        axis=-1,
    )


def _scatter_shares(
    sums: Float[Array, "c b"],
    bins: Int[Array, "t n K p"],
    values: Float[Array, "t c n K"],
    shares: Callable[[Array], Float[Array, "t n K q"]],
) -> Array:
    """Add the q shares of each value to their bins, one component after the other.

    With p = q each share has its bin; with p = 1 the shares of a value lie side by side from its
    bin on, and are added at once. Not one scatter for all components, which is slower, nor one
    written out for each, which takes seconds to compile. The components lie end to end, so that
    the sums are added to where they stand.
    """
    components, size = sums.shape
    bins = bins.reshape(-1, 1)
    numbers = jax.lax.ScatterDimensionNumbers(
        update_window_dims=(1,),
        inserted_window_dims=(),
        scatter_dims_to_operand_dims=(0,),
    )

    def add_component(component, total):
        chosen = jax.lax.dynamic_index_in_dim(values, component, axis=1, keepdims=False)
        return jax.lax.scatter_add(
            total,
            bins + component * size,
            shares(chosen).reshape(len(bins), -1),
            numbers,
            mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS,
        )

    return jax.lax.fori_loop(0, components, add_component, sums.reshape(-1)).reshape(sums.shape)


def _no_derivative_jvp(primals, tangents):
    raise ValueError(
        "At temperature 0 the occupation is a step and the response has no derivative that a mesh "
        "can compute. Argument `temperature` of `Levels` must be positive to differentiate."
    )


@with_derivative(_no_derivative_jvp)
def _no_derivative(energies):
    return energies
