"""Degenerate groups of bands."""

from abc import abstractmethod

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from jaxspin.engine.record import Record
from jaxspin.engine.small_matrices import as_arrays, is_traced, on_device
from jaxspin.engine.validate import check_number


class Degeneracy(Record):
    """Rule that makes groups of degenerate bands."""

    @abstractmethod
    def threshold(self, energies: Float[Array | np.ndarray, "n K"]) -> Float[Array, "..."]:
        """Largest splitting (eV) of neighbouring bands that belong to one group."""


class Covariant(Degeneracy):
    """Bands closer than `tolerance` (eV) form a group, and the group transforms as a whole.

    Berry connections run between groups only, operators keep their blocks inside a group, and
    the members share the mean energy of the group for their occupation. Where the members are
    degenerate every result is invariant under a random unitary inside each group. Groups chain:
    neighbours closer than the tolerance belong together. Physically the tolerance stands for ħ/τ;
    splittings below it are not resolved. In arithmetic of finite precision it is at least 64
    rounding errors of the largest energy at that k.

    Without a tolerance it is 1e-6 eV; the public functions take 1e-5 of the size of the bands where
    that is below 0.1 eV (`for_bands`).
    """

    tolerance: float | Float[Array, ""] | None = None

    def __check_init__(self):
        if self.tolerance is None or is_traced(self.tolerance):
            return
        check_number("tolerance", self.tolerance, "an energy in eV, at least 0", at_least=0)

    def threshold(self, energies):
        tolerance = _TOLERANCE if self.tolerance is None else self.tolerance
        xp, (energies, tolerance) = as_arrays(energies, tolerance)
        scale = xp.max(xp.abs(energies), axis=0)
        scale = jax.lax.stop_gradient(scale) if is_traced(scale) else scale
        return xp.maximum(tolerance, 64 * jnp.finfo(scale.dtype).eps * scale)

    def for_bands(self, hamiltonians: Complex[Array, "K n n"]) -> "Covariant":
        """The same with the tolerance for a model of such H(k) where none was given.

        The size of the bands is √2 times the norm of H less the mean energy of all k, where it is
        largest: of two bands their splitting, or twice how far they move together with k.
        """
        if self.tolerance is not None:
            return self
        traced = is_traced(hamiltonians)
        xp, (h,) = as_arrays(jax.lax.stop_gradient(hamiltonians) if traced else hamiltonians)
        n = h.shape[-1]
        mean = xp.mean(xp.trace(h, axis1=1, axis2=2)) / n
        size = xp.sqrt(2 * xp.max(xp.sum(xp.abs(h - mean * xp.eye(n)) ** 2, (1, 2))))
        if not traced and not 0 < size < _TOLERANCE / _OF_THE_SIZE:
            return Covariant(on_device(np.asarray(_TOLERANCE)))
        narrow = xp.minimum(_TOLERANCE, _OF_THE_SIZE * size)
        return Covariant(on_device(xp.where(size > 0, narrow, _TOLERANCE)))


_TOLERANCE = 1e-6  # eV

_OF_THE_SIZE = 1e-5  # of the bands: models of more than 0.1 eV have the same tolerance


class Strict(Degeneracy):
    """Every band stands for itself, however close its neighbour.

    This is the band-diagonal formula as printed by Liu, Cullen and Culcer (2023). It is
    discontinuous where bands become degenerate, and does not exist where they are: an exact
    degeneracy is an error.
    """

    def threshold(self, energies):
        return -jnp.ones(energies.shape[1:], energies.dtype)


def find_groups(energies: Float[Array, "n K"], degeneracy: Degeneracy) -> Bool[Array, "n n K"]:
    """Mask of the pairs of bands in one group: chains of neighbours within the threshold."""
    split = jnp.diff(energies, axis=0) > degeneracy.threshold(energies)
    first = jnp.zeros((1, *split.shape[1:]), int)
    label = jnp.concatenate([first, jnp.cumsum(split, axis=0)])
    return label[:, None] == label[None, :]


def group_mean(energies: Float[Array, "n K"], same: Bool[Array, "n n K"]) -> Float[Array, "n K"]:
    """Mean energy of the group of each band. Written out: see degeneracy_lifting.py."""
    terms = (jnp.where(inside, e, 0) for e, inside in zip(energies, same, strict=True))
    return sum(terms) / jnp.sum(same, axis=0)


def inverse_gap(energies: Float[Array, "n K"], same: Bool[Array, "n n K"]) -> Float[Array, "n n K"]:
    """1/(ε_m - ε_n) between groups, and 0 inside them; no infinity, so derivatives are finite."""
    difference = energies[:, None] - energies[None, :]
    return jnp.where(same, 0, 1 / jnp.where(same, 1, difference))
