"""Kept subspace of an effective model: its reference functions and its bands."""

import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.downfold.block_diagonalization import Blocks, fixed_spectrum, kept_isometry
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.validate import check_shape, shortened
from jaxspin.models.base import Model, hamiltonian_at, number_of_bands

if TYPE_CHECKING:  # else a checker takes an abstract attribute for an argument of the constructor
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


def _copy_wave_vector(at):
    """A wave vector of the user's, copied, or None."""
    return None if at is None else jnp.array(at, dtype=jnp.result_type(float))


class Keep(eqx.Module):
    """Kept subspace of an effective model: functions of the basis, or bands."""

    #: The wave vector at which functions and bands are assigned to each other, 1/Å; k = 0 if None.
    at: AbstractVar[Float[Array, " d"] | None]

    @abstractmethod
    def assign_blocks(self, model: Model) -> Blocks:
        """The reference functions of the kept and the other blocks, and their bands."""


class BasisFunctions(Keep):
    """Functions of the basis of the model, by index. At `at` they are what the bands consist of.

    The kept bands are those with most weight on the kept functions at the wave vector `at` (1/Å;
    k = 0 where it is not given), and the same ones, counted from the lowest, at every k.

    `others` are further blocks, which perturbation theory treats apart from each other: what
    couples any two blocks is the perturbation. Functions that are not named are one more block.
    """

    kept: tuple[int, ...] = eqx.field(
        static=True, converter=lambda kept: _check_indices(kept, "kept")
    )
    others: tuple[tuple[int, ...], ...] = eqx.field(
        static=True, default=(), converter=lambda others: _check_groups(others)
    )
    at: Float[Array, " d"] | None = eqx.field(default=None, converter=_copy_wave_vector)

    def assign_blocks(self, model):
        n = number_of_bands(model)
        groups = _complete_partition([self.kept, *self.others], n)
        weights = jnp.abs(_bands_at(model, self.at)[1]) ** 2
        free, bands = jnp.ones(n, bool), []
        for group in groups:
            weight = jnp.where(free, jnp.sum(weights[np.array(group)], axis=0), -1.0)
            chosen = jnp.sort(jnp.argsort(-weight)[: len(group)])
            free = free.at[chosen].set(False)
            bands.append(chosen)
        frame = jnp.eye(n, dtype=complex)[:, np.concatenate(groups)]
        return Blocks(frame, jnp.concatenate(bands), tuple(map(len, groups)))


class LowestBands(Keep):
    """The lowest bands. Their eigenvectors at `at` (1/Å; k = 0) are the reference functions."""

    number: int = eqx.field(static=True, converter=lambda number: _check_index(number, "number"))
    at: Float[Array, " d"] | None = eqx.field(default=None, converter=_copy_wave_vector)

    def assign_blocks(self, model):
        n = number_of_bands(model)
        _check_number(self.number, n)
        return _blocks_of_bands(model, np.arange(n), self.number, self.at)


class EnergyWindow(Keep):
    """The bands with energies from `low` to `high` (eV) at `at` (1/Å; k = 0), at every k.

    Their eigenvectors there are the reference functions.
    """

    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    at: Float[Array, " d"] | None = eqx.field(default=None, converter=_copy_wave_vector)

    def assign_blocks(self, model):
        if is_traced(model):
            raise ValueError(
                "Argument `keep` must be LowestBands(m) or indices inside jit, grad and vmap, "
                "where the number of bands in an EnergyWindow is not known, but is an EnergyWindow."
            )
        energies = np.asarray(_bands_at(model, self.at)[0])
        inside = (energies >= self.low) & (energies <= self.high)
        _check_number(int(inside.sum()), len(energies))
        order = np.concatenate([np.flatnonzero(inside), np.flatnonzero(~inside)])
        return _blocks_of_bands(model, order, int(inside.sum()), self.at)


def as_keep(keep: Keep | Sequence[int]) -> Keep:
    """Indices are functions of the basis.

    Raises:
        ValueError: `keep` is neither.
    """
    if isinstance(keep, Keep):
        return keep
    if np.iterable(keep):
        return BasisFunctions(_check_indices(keep, "keep"))
    raise ValueError(
        "Argument `keep` must be indices of basis functions, or BasisFunctions, LowestBands or "
        f"EnergyWindow, but is {keep!r}."
    )


def _check_groups(others) -> tuple[tuple[int, ...], ...]:
    if not np.iterable(others):
        raise ValueError(
            f"Argument `others` must be tuples of indices of basis functions, but is {others!r}."
        )
    return tuple(_check_indices(group, "others") for group in others)


def _check_indices(values, argument: str) -> tuple[int, ...]:
    if not np.iterable(values):
        raise ValueError(
            f"Argument `{argument}` must be indices of basis functions, one tuple for each block, "
            f"but has {values!r}."
        )
    return tuple(_check_index(value, argument) for value in values)


def _check_index(value, argument: str) -> int:
    """Return an index as an int; NumPy's integers are taken too, a mask of booleans is not."""
    try:
        if not isinstance(value, bool | np.bool_):
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(f"Argument `{argument}` must be of integers, but has {shortened(value)}.")


def _bands_at(model, at):
    """Energies and eigenvectors at one k, as constants."""
    return tuple(x[..., 0] for x in fixed_spectrum(_hamiltonian_at(model, at)))


def _hamiltonian_at(model, at):
    k = jnp.zeros(model.dimension) if at is None else jnp.asarray(at, float)
    check_shape("at", k, (model.dimension,))
    return hamiltonian_at(model, k).astype(complex)[..., None]


def _blocks_of_bands(model, order, number, at) -> Blocks:
    """Eigenvectors at one k as reference functions, in this order of the bands.

    They follow a change of the model by the rotation of least action.
    """
    frame = _bands_at(model, at)[1][:, order]
    if is_traced(model):
        hamiltonian = _hamiltonian_at(model, at)
        turned = np.roll(order, -number)
        parts = [
            kept_isometry(hamiltonian, part, fixed_spectrum(hamiltonian, jnp.asarray(bands)))[
                ..., 0
            ]
            for part, bands in ((frame[:, :number], order), (frame[:, number:], turned))
        ]
        frame = jnp.concatenate(parts, axis=1)
    return Blocks(frame, jnp.asarray(order), (number, len(order) - number))


def _complete_partition(groups: Sequence[Sequence[int]], n: int) -> list[list[int]]:
    """The groups, and one more of all functions that are in none of them."""
    named = [i for group in groups for i in group]
    if not all(0 <= i < n for i in named) or len(set(named)) < len(named) or not all(groups):
        raise ValueError(
            f"Argument `keep` must be different indices of basis functions from 0 to {n - 1}, "
            f"but is {groups[0]!r}" + (f" with others {groups[1:]!r}." if groups[1:] else ".")
        )
    _check_number(len(groups[0]), n)
    rest = [i for i in range(n) if i not in named]
    return [list(group) for group in (*groups, rest) if group]


def _check_number(number, n) -> None:
    if not 0 < number < n:
        raise ValueError(
            f"Argument `keep` must leave at least one band and remove at least one of {n}, "
            f"but keeps {number}."
        )
