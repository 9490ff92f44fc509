"""Eigensystems of H(k) on a tile of k-points, and everything else in the band basis.

The k axis is last (see `algebra`): energies are (n, K), matrices (n, n, K), the velocity
(d, n, n, K).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from jaxspin.algebra import dagger, matmul, product, sandwich
from jaxspin.compiled import staged
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
    """

    tolerance: float = 1e-6

    def __check_init__(self):
        if not self.tolerance >= 0:
            raise ValueError(
                f"Argument `tolerance` must be an energy in eV, at least 0, "
                f"but is {self.tolerance!r}."
            )

    def threshold(self, energies):
        scale = jax.lax.stop_gradient(jnp.max(jnp.abs(energies), axis=0))
        return jnp.maximum(self.tolerance, 64 * jnp.finfo(scale.dtype).eps * scale)


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

    Operators whose diagonal in the band basis adds to the sums over pairs of bands (`observables`).
    """

    #: Spin generated, Å: what pairs with removed bands are in `Torque`.
    torque: Complex[Array, "d 3 n n K"]
    #: Spin current, Å², (flow, field, spin, n, n, K): the same in `ConventionalSpinHall`.
    current: Complex[Array, "d d 3 n n K"]


class Bands(eqx.Module):
    """The bands on a tile of K k-points.

    `jaxspin.bands` returns the same class with the k axes leading instead.
    """

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

    @property
    def gap(self) -> Float[Array, "n n K"]:
        """ε_m - ε_n between groups, and 0 inside a group."""
        return jnp.where(self.same, 0, self.energies[:, None] - self.energies[None, :])

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

    def inside(self, operator: Complex[Array, "n n K"]) -> Complex[Array, "n n K"]:
        """The part of an operator inside the degenerate groups (the band-diagonal part)."""
        return jnp.where(self.same, operator, 0)

    def between(self, operator: Complex[Array, "n n K"]) -> Complex[Array, "n n K"]:
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
) -> Bands:
    """The bands of a model on a tile of k-points.

    Args:
        spin, beyond, removed: whether these fields of `Bands` are wanted.
        box: the values of each u_i, where the tile is the box of k = Σ_i u_i b_i (`Model.box`).
    """
    lifted = model.lift(k, box, spin=spin, curl=beyond, removed=removed)
    hamiltonian, slopes = lifted.hamiltonian.astype(complex), lifted.slopes
    energies, basis = eigensystem(hamiltonian, degeneracy)
    levels, same = staged(lambda energies: _levels(energies, degeneracy))(energies)
    connection, current = lifted.connection, lifted.current
    if connection is not None:
        slopes = slopes + _external(connection.connection, hamiltonian)

    def in_bands(operator):
        return sandwich(basis, operator)

    return Bands(
        energies=energies,
        levels=levels,
        basis=basis,
        same=same,
        open=~same,
        velocity=in_bands(slopes),
        spin=in_bands(lifted.spin) if spin else None,
        beyond=_beyond(basis, connection) if connection is not None and beyond else None,
        current_beyond=None if current is None else in_bands(current),
        removed=jax.tree.map(in_bands, lifted.removed),
    )


def _external(connection, hamiltonian):
    """-i[A, H] = -i (AH - (AH)†)."""
    product = matmul(connection, hamiltonian)
    return -1j * (product - dagger(product))


def _beyond(basis, connection) -> Complex[Array, "p n n K"]:
    """The curvature of the space of the basis functions, ∂_a A_b - ∂_b A_a - i[A_a, A_b].

    It is what a sum over all states has beyond the sum over the bands of the model: the terms
    Ω̄ and, with the others, A x A of Wang et al., PRB 74, 195118 (2006), Eq. (27).
    """
    d = len(connection.connection)
    a, b = np.triu_indices(d, 1)
    product = matmul(connection.connection[a], connection.connection[b])
    curvature = connection.curl - 1j * (product - dagger(product))
    return sandwich(basis, curvature)


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
    """Mean energy of the group of each band."""
    return jnp.sum(jnp.where(same, energies[None, :], 0), axis=1) / jnp.sum(same, axis=1)


def inverse_gap(energies: Float[Array, "n K"], same: Bool[Array, "n n K"]) -> Float[Array, "n n K"]:
    """1/(ε_m - ε_n) between groups, and 0 inside them; no infinity, so derivatives are finite."""
    difference = energies[:, None] - energies[None, :]
    return jnp.where(same, 0, 1 / jnp.where(same, 1, difference))


@jax.custom_jvp
def eigensystem(
    hamiltonian: Complex[Array, "n n K"], degeneracy: Degeneracy
) -> tuple[Float[Array, "n K"], Complex[Array, "n n K"]]:
    """Energies (ascending) and eigenvectors (columns) of a tile of Hermitian matrices.

    The derivative, with M = U†(dH)U:  dε_m = M_mm,  dU = U X,  X_mn = M_mn/(ε_n - ε_m) between
    degenerate groups and 0 inside them. That is exact for whatever depends on the groups only
    (projectors, traces over a group, group energies) as long as dH does not split a group; a dH
    that does is an error, not a number.
    """
    return eigh(hamiltonian)


@eigensystem.defjvp
def _eigensystem_jvp(primals, tangents):
    hamiltonian, degeneracy = primals
    energies, basis = eigensystem(hamiltonian, degeneracy)
    same = groups(energies, degeneracy)
    change = product(dagger(basis), product(tangents[0], basis))
    change = unsplit(change, same)
    mixing = -change * inverse_gap(energies, same)
    slopes = jnp.einsum("mmK->mK", change).real
    return (energies, basis), (slopes, product(basis, mixing))
