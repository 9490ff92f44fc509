"""Eigensystems of H(k) on a tile of k-points, and everything else in the band basis.

The k axis is last (see `small_matrices`): energies are (n, K), matrices (n, n, K), the velocity
(d, n, n, K).
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float

from jaxspin.band_structure.degeneracy import (
    Covariant,
    Degeneracy,
    find_groups,
    group_mean,
    inverse_gap,
)
from jaxspin.band_structure.degeneracy_lifting import require_unlifted
from jaxspin.band_structure.eigensystem import allow_any, band_basis
from jaxspin.engine.xla import separate_kernel
from jaxspin.models.lifted import Lifted, LiftedOperator, Needs, Points

#: Groups of bands that are degenerate to rounding, in any unit of energy. For what does not depend
#: on groups itself, but its derivative on the gaps between them.
DEGENERATE_TO_ROUNDING = Covariant(0.0)


class Bands(eqx.Module):
    """The bands on a tile of K k-points; a user gets a `BandStructure`, with the k axes first."""

    #: Energies in ascending order, eV, (n, K).
    energies: Float[Array, "n K"]
    #: Energies at which the bands are occupied: the mean over each degenerate group, eV, (n, K).
    levels: Float[Array, "n K"]
    #: Column m is the eigenvector of band m, (n, n, K).
    basis: Complex[Array, "n n K"]
    #: Whether two bands belong to one degenerate group, (n, n, K).
    degenerate: Bool[Array, "n n K"]
    #: Whether the occupations of two bands can differ: not in one group, and not both filled or
    #: both empty at every level of the scan, (n, n, K). Sums over (f_m - f_n) take these pairs.
    active: Bool[Array, "n n K"]
    #: ∂H/∂k − i[A, H] in the band basis (ħ times the velocity), eV Å, (d, n, n, K).
    velocity: Complex[Array, "d n n K"]
    #: Operators of the model in the band basis by name, those that were asked for.
    operators: dict[str, LiftedOperator]
    #: Berry curvature that comes from states beyond the basis functions of the model, for the
    #: pairs a < b of directions, Å², (p, n, n, K); absent where the model has no external terms,
    #: or where it was not asked for.
    external_curvature: Complex[Array, "p n n K"] | None = None
    #: H less the level of each group, inside the groups, eV, (n, n, K): zero, but its derivative is
    #: how a change of H splits the groups. Absent where it was not asked for.
    group_splitting: Complex[Array, "n n K"] | None = None
    #: Smallest gap between these bands and the removed ones of a downfolded model, eV, (K,);
    #: absent elsewhere.
    remote_gap: Float[Array, " K"] | None = None

    def operator(self, name: str) -> LiftedOperator:
        """An operator of the model in the band basis.

        Raises:
            ValueError: it was not asked for (`Observable.operators`).
        """
        if name not in self.operators:
            raise ValueError(
                "Argument `name` must be an operator that was asked for, one of "
                f"{list(self.operators)}, but is {name!r}. An observable asks for operators by "
                "its attribute `operators`."
            )
        return self.operators[name]

    @property
    def spin(self) -> Complex[Array, "3 n n K"]:
        """The spin operator in the band basis, units of ħ/2, where it was asked for."""
        return self.operator("spin").matrices

    @property
    def gap(self) -> Float[Array, "n n K"]:
        """ε_m - ε_n between groups, and 0 inside a group."""
        return jnp.where(self.degenerate, 0, self.energies[:, None] - self.energies[None, :])

    @property
    def splitting(self) -> Float[Array, " K"]:
        """Smallest gap between two groups, or from a group to a removed band, eV."""
        splitting = jnp.min(jnp.where(self.degenerate, jnp.inf, jnp.abs(self.gap)), axis=(0, 1))
        return splitting if self.remote_gap is None else jnp.minimum(splitting, self.remote_gap)

    @property
    def inverse_gap(self) -> Float[Array, "n n K"]:
        """1/(ε_m - ε_n) between groups, and 0 inside a group."""
        return inverse_gap(self.energies, self.degenerate)

    @property
    def connection(self) -> Complex[Array, "d n n K"]:
        """Berry connection between groups, R_mn = -i ħv_mn / (ε_m - ε_n), Å, (d, n, n, K)."""
        return -1j * self.velocity * self.inverse_gap

    @property
    def active_connection(self) -> Complex[Array, "d n n K"]:
        """Berry connection of the active pairs, which a field mixes with weight f_m - f_n."""
        return jnp.where(self.active, self.connection, 0)

    def restrict_to_window(self, low: Float[Array, "..."], high: Float[Array, "..."]) -> "Bands":
        """Deactivate pairs of bands that lie both below `low` or both above `high` (eV).

        The large terms of nearly degenerate partners, which cancel exactly in f_m - f_n = 0, then
        leave no rounding errors.
        """
        side = jnp.where(self.levels < low, -1, 0) + jnp.where(self.levels > high, 1, 0)
        equal = side[:, None] * side[None, :] == 1
        return eqx.tree_at(lambda bands: bands.active, self, self.active & ~equal)

    def intraband(self, operator: Complex[Array, "*c n n K"]) -> Complex[Array, "*c n n K"]:
        """The part of an operator inside the degenerate groups (the band-diagonal part)."""
        return jnp.where(self.degenerate, operator, 0)

    def interband(self, operator: Complex[Array, "*c n n K"]) -> Complex[Array, "*c n n K"]:
        """The part of an operator between degenerate groups (the band-off-diagonal part)."""
        return jnp.where(self.degenerate, 0, operator)


def solve_bands(
    model,
    k: Float[Array, "d K"],
    degeneracy: Degeneracy,
    *,
    operators: Sequence[str] = ("spin",),
    box: Sequence[Float[Array, " _"]] | None = None,
    external_curvature: bool = False,
    remote: bool = False,
    group_splitting: bool = False,
    check: Callable[[Array, Array], Array] = require_unlifted,
) -> Bands:
    """The bands of a model on a tile of k-points.

    Args:
        operators: names of the operators of the model that are wanted.
        external_curvature, group_splitting: whether these fields of `Bands` are wanted. With
            `group_splitting` a derivative may be along a dH that splits a group, which is an error
            without.
        remote: whether what goes through the remote bands is wanted with the operators.
        box: the values of each u_i, where the tile is the box of k = Σ_i u_i b_i (`Points`).
        check: of a dH that splits a group: `require_unlifted` or `nan_if_lifted`.
    """
    needs = Needs(tuple(operators), curl=external_curvature, remote=remote)
    lifted = model.lift(Points(k, box), needs)
    return solve_lifted(
        lifted,
        degeneracy,
        external_curvature=external_curvature,
        group_splitting=group_splitting,
        check=check,
    )


def solve_lifted(
    lifted: Lifted,
    degeneracy: Degeneracy,
    *,
    external_curvature: bool = False,
    group_splitting: bool = False,
    check: Callable[[Array, Array], Array] = require_unlifted,
) -> Bands:
    """The bands of a model that is lifted to a tile already, as `solve_bands` finds them."""
    hamiltonian = lifted.hamiltonian.astype(complex)
    matrices = _collect_matrices(lifted, external_curvature)
    if group_splitting:
        matrices["group_splitting"], check = hamiltonian, allow_any
    energies, basis, matrices = band_basis(hamiltonian, matrices, degeneracy, check)

    @separate_kernel
    def group_levels(energies):
        return _group_levels(energies, degeneracy=degeneracy)

    levels, degenerate = group_levels(energies)
    if group_splitting:
        lifting = matrices["group_splitting"]
        matrices["group_splitting"] = _group_splitting(lifting, levels, degenerate)
    return Bands(
        energies=energies,
        levels=levels,
        basis=basis,
        degenerate=degenerate,
        active=~degenerate,
        remote_gap=lifted.remote_gap,
        **matrices,
    )


def _collect_matrices(lifted: Lifted, external_curvature: bool) -> dict[str, Any]:
    """The matrices of a lifted tile, by the names of the fields of `Bands`."""
    velocity, curvature, connection = lifted.slopes, None, lifted.connection
    if connection is not None:
        velocity = connection.velocity(lifted.hamiltonian.astype(complex), velocity)
        curvature = connection.curvature() if external_curvature else None
    return {
        "velocity": velocity,
        "operators": lifted.operators,
        "external_curvature": curvature,
    }


def _group_splitting(hamiltonian, levels, degenerate):
    """H - level inside the groups, less its own value."""
    identity = jnp.eye(len(levels))[..., None]
    blocks = jnp.where(degenerate, hamiltonian - identity * levels, 0)
    return blocks - jax.lax.stop_gradient(blocks)


def _group_levels(energies, degeneracy):
    degenerate = find_groups(energies, degeneracy)
    return group_mean(energies, degenerate), degenerate
