"""Eigensystems of H(k) on a tile of k-points, and everything else in the band basis.

The k axis is last (see `algebra`): energies are (n, K), matrices (n, n, K), the velocity
(d, n, n, K).
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Inexact, PyTree

from jaxspin.algebra import dagger, finite_reals, is_traced, matmul, sandwich
from jaxspin.compiled import staged
from jaxspin.derivative_rules import with_derivative
from jaxspin.eigensolvers import eigh
from jaxspin.unsplit import unsplit


class Degeneracy(eqx.Module):
    """How degenerate bands are treated: which pairs of bands count as one group."""

    @abstractmethod
    def threshold(self, energies: Float[Array, "n K"]) -> Float[Array, "..."]:
        """Neighbouring bands split by no more than this (eV) belong to one group."""


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
        if np.ndim(self.tolerance) or not finite_reals(self.tolerance) or self.tolerance < 0:
            raise ValueError(
                f"Argument `tolerance` must be an energy in eV, at least 0, "
                f"but is {self.tolerance!r}."
            )

    def threshold(self, energies):
        scale = jax.lax.stop_gradient(jnp.max(jnp.abs(energies), axis=0))
        tolerance = _TOLERANCE if self.tolerance is None else self.tolerance
        return jnp.maximum(tolerance, 64 * jnp.finfo(scale.dtype).eps * scale)

    def for_bands(self, hamiltonians: Complex[Array, "K n n"]) -> "Covariant":
        """The same with the tolerance for a model of such H(k) where none was given.

        The size of the bands is √2 times the norm of H less the mean energy of all k, where it is
        largest: of two bands their splitting, or twice how far they move together with k.
        """
        if self.tolerance is not None:
            return self
        h = jax.lax.stop_gradient(hamiltonians)
        n = h.shape[-1]
        mean = jnp.mean(jnp.trace(h, axis1=1, axis2=2)) / n
        size = jnp.sqrt(2 * jnp.max(jnp.sum(jnp.abs(h - mean * jnp.eye(n)) ** 2, (1, 2))))
        if not is_traced(size) and not 0 < size < _TOLERANCE / _OF_THE_SIZE:
            return Covariant(_TOLERANCE)
        narrow = jnp.minimum(_TOLERANCE, _OF_THE_SIZE * size)
        return Covariant(jnp.where(size > 0, narrow, _TOLERANCE))


_TOLERANCE = 1e-6  # eV
_OF_THE_SIZE = 1e-5  # of the bands: models of more than 0.1 eV have the same tolerance

#: Groups of bands that are degenerate to rounding, in any unit of energy. For what does not depend
#: on groups itself, but its derivative on the gaps between them.
DEGENERATE_TO_ROUNDING = Covariant(0.0)


class Strict(Degeneracy):
    """Every band stands for itself, however close its neighbour.

    This is the band-diagonal formula as printed by Liu, Cullen and Culcer (2023). It is
    discontinuous where bands become degenerate, and does not exist where they are: an exact
    degeneracy is an error.
    """

    def threshold(self, energies):
        return -jnp.ones(energies.shape[1:], energies.dtype)


class Removed(NamedTuple):
    """What a field drives through the bands that a downfolded model has not, on those it has.

    Operators whose diagonal in the band basis adds to the sums over pairs of bands (`quantities`).
    """

    #: Spin generated, Å: what pairs with removed bands are in `Torque`.
    torque: Complex[Array, "d 3 n n K"]
    #: Spin current, Å², (flow, field, spin, n, n, K): the same in `ConventionalSpinHall`.
    current: Complex[Array, "d d 3 n n K"]


class Bands(eqx.Module):
    """The bands on a tile of K k-points; a user gets a `BandStructure`, with the k axes first."""

    #: Energies in ascending order, eV, (n, K).
    energies: Float[Array, "n K"]
    #: Energies at which the bands are occupied: the mean over each degenerate group, eV, (n, K).
    levels: Float[Array, "n K"]
    #: Column m is the eigenvector of band m, (n, n, K).
    basis: Complex[Array, "n n K"]
    #: Whether two bands belong to one degenerate group, (n, n, K).
    same: Bool[Array, "n n K"]
    #: Whether the occupations of two bands can differ: not in one group, and not both filled or
    #: both empty at every level of the scan, (n, n, K). Sums over (f_m - f_n) take these pairs.
    open: Bool[Array, "n n K"]
    #: ∂H/∂k − i[A, H] in the band basis (ħ times the velocity), eV Å, (d, n, n, K).
    velocity: Complex[Array, "d n n K"]
    #: Spin in the band basis, units of ħ/2, (3, n, n, K); absent where it was not asked for.
    spin: Complex[Array, "3 n n K"] | None
    #: Berry curvature that comes from states beyond the basis functions of the model, for the
    #: pairs a < b of directions, Å², (p, n, n, K); absent where the model has no external terms,
    #: or where it was not asked for.
    beyond: Complex[Array, "p n n K"] | None = None
    #: Spin current less ½{s, v} in the band basis, eV Å, (d, 3, n, n, K): what ½{s, v} lacks in a
    #: downfolded model; absent elsewhere.
    current_beyond: Complex[Array, "d 3 n n K"] | None = None
    #: What a field drives through the removed bands of a downfolded model, in the band basis;
    #: absent elsewhere, or where it was not asked for.
    removed: Removed | None = None
    #: H less the level of each group, inside the groups, eV, (n, n, K): zero, but its derivative is
    #: how a change of H splits the groups. Absent where it was not asked for.
    offset: Complex[Array, "n n K"] | None = None
    #: Smallest gap between these bands and the removed ones of a downfolded model, eV, (K,);
    #: absent elsewhere.
    apart: Float[Array, " K"] | None = None

    @property
    def gap(self) -> Float[Array, "n n K"]:
        """ε_m - ε_n between groups, and 0 inside a group."""
        return jnp.where(self.same, 0, self.energies[:, None] - self.energies[None, :])

    @property
    def splitting(self) -> Float[Array, " K"]:
        """The smallest one between two groups, or from a group to a removed band, eV."""
        splitting = jnp.min(jnp.where(self.same, jnp.inf, jnp.abs(self.gap)), axis=(0, 1))
        return splitting if self.apart is None else jnp.minimum(splitting, self.apart)

    @property
    def inverse_gap(self) -> Float[Array, "n n K"]:
        """1/(ε_m - ε_n) between groups, and 0 inside a group."""
        return inverse_gap(self.energies, self.same)

    @property
    def connection(self) -> Complex[Array, "d n n K"]:
        """Berry connection between groups, R_mn = -i ħv_mn / (ε_m - ε_n), Å, (d, n, n, K)."""
        return -1j * self.velocity * self.inverse_gap

    @property
    def drive(self) -> Complex[Array, "d n n K"]:
        """The Berry connection of open pairs, which a field mixes with weight f_m - f_n."""
        return jnp.where(self.open, self.connection, 0)

    def settled(self, low: Float[Array, "..."], high: Float[Array, "..."]) -> "Bands":
        """The same bands, pairs closed that lie both below `low` or both above `high` (eV).

        Closing them keeps the large terms of nearly degenerate partners, which cancel exactly in
        f_m - f_n = 0, from leaving their rounding errors.
        """
        side = jnp.where(self.levels < low, -1, 0) + jnp.where(self.levels > high, 1, 0)
        closed = side[:, None] * side[None, :] == 1
        return eqx.tree_at(lambda bands: bands.open, self, self.open & ~closed)

    def inside(self, operator: Complex[Array, "*c n n K"]) -> Complex[Array, "*c n n K"]:
        """The part of an operator inside the degenerate groups (the band-diagonal part)."""
        return jnp.where(self.same, operator, 0)

    def between(self, operator: Complex[Array, "*c n n K"]) -> Complex[Array, "*c n n K"]:
        """The part of an operator between degenerate groups (the band-off-diagonal part)."""
        return jnp.where(self.same, 0, operator)


def solve(
    model,
    k: Float[Array, "d K"],
    degeneracy: Degeneracy,
    spin: bool = True,
    box: Sequence[Float[Array, " _"]] | None = None,
    beyond: bool = False,
    removed: bool = False,
    offset: bool = False,
    check: Callable[[Array, Array], Array] = unsplit,
) -> Bands:
    """The bands of a model on a tile of k-points.

    Args:
        spin, beyond, removed, offset: whether these fields of `Bands` are wanted. With `offset` a
            derivative may be along a dH that splits a group, which is an error without.
        box: the values of each u_i, where the tile is the box of k = Σ_i u_i b_i (`Model.box`).
        check: what meets a dH that splits a group: `unsplit` or `spoilt`.
    """
    lifted = model.lift(k, box, spin=spin, curl=beyond, removed=removed)
    hamiltonian, slopes = lifted.hamiltonian.astype(complex), lifted.slopes
    connection = lifted.connection
    if connection is not None:
        slopes = connection.velocity(hamiltonian, slopes)
    operators = {
        "velocity": slopes,
        "spin": lifted.spin,
        "beyond": connection.curvature() if connection is not None and beyond else None,
        "current_beyond": lifted.current,
        "removed": lifted.removed,
        "offset": hamiltonian if offset else None,
    }
    check = whatever if offset else check
    energies, basis, operators = band_basis(hamiltonian, operators, degeneracy, check)
    levels, same = staged(lambda energies: _levels(energies, degeneracy))(energies)
    if offset:
        operators["offset"] = _offset(operators["offset"], levels, same)
    return Bands(
        energies=energies,
        levels=levels,
        basis=basis,
        same=same,
        open=~same,
        apart=lifted.apart,
        **operators,
    )


def _offset(hamiltonian, levels, same):
    """H - level inside the groups, less its own value."""
    identity = jnp.eye(len(levels))[..., None]
    inside = jnp.where(same, hamiltonian - identity * levels, 0)
    return inside - jax.lax.stop_gradient(inside)


def _levels(energies, degeneracy):
    same = groups(energies, degeneracy)
    return group_mean(energies, same), same


def groups(energies: Float[Array, "n K"], degeneracy: Degeneracy) -> Bool[Array, "n n K"]:
    """Which bands belong to one degenerate group: chains of neighbours within the threshold."""
    split = jnp.diff(energies, axis=0) > degeneracy.threshold(energies)
    first = jnp.zeros((1, *split.shape[1:]), int)
    label = jnp.concatenate([first, jnp.cumsum(split, axis=0)])
    return label[:, None] == label[None, :]


def group_mean(energies: Float[Array, "n K"], same: Bool[Array, "n n K"]) -> Float[Array, "n K"]:
    """Mean energy of the group of each band. The sum is written out (see `unsplit`)."""
    terms = (jnp.where(inside, e, 0) for e, inside in zip(energies, same, strict=True))
    return sum(terms) / jnp.sum(same, axis=0)


def inverse_gap(energies: Float[Array, "n K"], same: Bool[Array, "n n K"]) -> Float[Array, "n n K"]:
    """1/(ε_m - ε_n) between groups, and 0 inside them; no infinity, so derivatives are finite."""
    difference = energies[:, None] - energies[None, :]
    return jnp.where(same, 0, 1 / jnp.where(same, 1, difference))


def eigensystem(
    hamiltonian: Complex[Array, "n n K"], degeneracy: Degeneracy
) -> tuple[Float[Array, "n K"], Complex[Array, "n n K"]]:
    """Energies (ascending) and eigenvectors (columns), with the derivative of `band_basis`."""
    return band_basis(hamiltonian, None, degeneracy, unsplit)[:2]


def _band_basis_jvp(primals, tangents):
    *_, degeneracy, check = primals
    change, changes, *_ = tangents
    energies, basis, found = band_basis(*primals)
    turned = jax.tree.map(partial(sandwich, basis), changes)
    if change is None:
        return (energies, basis, found), (None, None, turned)
    same = groups(energies, degeneracy)
    gaps = inverse_gap(energies, same)
    change = check(sandwich(basis, change), same)
    mixing = _mixing(change, gaps)
    slopes = jnp.einsum("mmK->mK", change).real
    turned = jax.tree.map(partial(_turned, mixing), found, turned, is_leaf=lambda x: x is None)
    return (energies, basis, found), (slopes, matmul(basis, mixing), turned)


@with_derivative(_band_basis_jvp)
def band_basis(
    hamiltonian: Complex[Array, "n n K"],
    operators: PyTree[Inexact[Array, "... n n _"] | None],
    degeneracy: Degeneracy,
    check: Callable[[Array, Array], Array],
) -> tuple[Float[Array, "n K"], Complex[Array, "n n K"], PyTree[Array]]:
    """Energies (ascending), eigenvectors (columns U), and Hermitian operators in their basis.

    The derivative, with M = U†(dH)U and X_mn = M_mn/(ε_n - ε_m) between degenerate groups, 0
    inside them:  dε_m = M_mm,  dU = U X,  d(U†OU) = U†(dO)U + [U†OU, X].  That is exact for
    whatever depends on the groups only (projectors, traces over a group, group energies) as long
    as dH does not split a group; with `unsplit` as the check, a dH that does is an error, and with
    `spoilt` NaN. Inside a group U†HU changes by M, whatever it is.
    """
    energies, basis = eigh(hamiltonian)
    return energies, basis, jax.tree.map(partial(sandwich, basis), operators)


def whatever(change: Array, same: Array) -> Array:
    """The check of a change of H that lets all pass."""
    return change


@staged
def _mixing(change, gaps):
    """X of `band_basis`."""
    return -change * gaps


def _turned(mixing, operator, change):
    return None if operator is None else _rotated(mixing, operator, change)


@staged
def _rotated(mixing, operator, change):
    """U†(dO)U + [O, X]; with O Hermitian and X anti-Hermitian, [O, X] = OX + (OX)†."""
    half = matmul(operator, mixing)
    rotation = half + dagger(half)
    return rotation if change is None else rotation + change
