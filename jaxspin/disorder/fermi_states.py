"""The states at the Fermi energy, and what disorder theory needs of each.

Everything is made of the projector P_a of a group of degenerate bands, its reduced resolvent R_a
and the slopes ∂H, so that nothing depends on the phases of eigenvectors, on the basis inside a
group or on the basis in k-space. A group of g bands, such as a Kramers pair, is one node for each
of them, with a g-th of the weight; most groups have one band.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from jaxspin.band_structure.degeneracy_lifting import require_unlifted
from jaxspin.disorder.operators import MeasuredOperator, measure_operators
from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.eigensolvers import eigh
from jaxspin.engine.small_matrices import dagger, diagonal_of_product, matmul, product, sandwich
from jaxspin.engine.tolerances import DEGENERATE_ON_SHELL, UNSPLIT
from jaxspin.models.base import Model
from jaxspin.models.lifted import Needs, Points
from jaxspin.surfaces import FermiSurface


class FermiStates(eqx.Module):
    """The states a = (k, band) of a Fermi surface, the axis a last."""

    k: Float[Array, "d a"]
    #: Σ_k δ(mu − ε_k) g = Σ_a weight_a Tr(P_a g), 1/(eV Å^d); 0 in empty slots.
    weight: Float[Array, " a"]
    #: Distance in energy to the next group of bands at the same k, eV; infinite in empty slots.
    gap: Float[Array, " a"]
    #: P = Σ |u⟩⟨u| over the group.
    projector: Complex[Array, "n n a"]
    #: R = Σ |n⟩⟨n|/(ε − ε_n) over the bands outside of the group, 1/eV.
    resolvent: Complex[Array, "n n a"]
    #: ∂H/∂k_i, eV Å.
    slopes: Complex[Array, "d n n a"]
    #: The operators that are measured, the current −∂H first.
    operators: Complex[Array, "o n n a"]
    #: Whether a slope splits the group there: bands that touch.
    is_split: Bool[Array, " a"]
    #: Whether some group may have several bands.
    has_groups: bool = eqx.field(static=True)

    @property
    def is_occupied(self) -> Array:
        """Which slots hold a state."""
        return self.weight != 0

    @property
    def group_size(self) -> Float[Array, " a"]:
        """Number of bands in each group, Tr P."""
        return jnp.einsum("iia->a", self.projector).real

    @property
    def velocity(self) -> Float[Array, "d a"]:
        """∂ε/∂k of each group, eV Å."""
        return self.mean_values(self.slopes)

    def mean_values(self, operator: Complex[Array, "*c n n a"]) -> Float[Array, "*c a"]:
        """Tr(P O)/g: ⟨u|O|u⟩ where the group has one band."""
        return jnp.sum(diagonal_of_product(self.projector, operator), axis=-2).real / (
            self.group_size
        )

    def inside(self, operator: Complex[Array, "*c n n a"]) -> Complex[Array, "*c n n a"]:
        """P O P."""
        return matmul(matmul(self.projector, operator), self.projector)

    def interband_mixing(self, operator: Complex[Array, "*c n n a"]) -> Complex[Array, "*c n n a"]:
        """B[O] = (R O P − P O R)/2i, Hermitian; for O = ∂_jH it is [∂_jP, P]/2i."""
        transition = matmul(matmul(self.resolvent, operator), self.projector)
        return (transition - dagger(transition)) / 2j


def find_states(
    model: Model,
    surface: FermiSurface,
    operators: tuple[MeasuredOperator, ...] = (),
    *,
    has_groups: bool = True,
) -> FermiStates:
    """The states of a model on the nodes of its Fermi surface, and what is measured of them."""
    names = tuple(name for operator in operators for name in operator.needs)
    lifted = model.lift(Points(surface.k), Needs(names))
    slopes = lifted.slopes.astype(complex)
    _, projector, resolvent, gap = resolve_state(lifted.hamiltonian.astype(complex), surface.band)
    empty = surface.weight == 0
    size = jnp.einsum("iia->a", projector).real
    return FermiStates(
        k=surface.k,
        weight=surface.weight / jnp.round(jax.lax.stop_gradient(size)),
        gap=jnp.where(empty, jnp.inf, gap),
        projector=projector,
        resolvent=jnp.where(empty, 0, resolvent),
        slopes=slopes,
        operators=measure_operators(operators, lifted, surface.k),
        is_split=~empty & _splits_group(projector, slopes),
        has_groups=has_groups,
    )


def check_groups(is_split: Bool[np.ndarray, " e"], mu: Float[np.ndarray, " e"]) -> None:
    """Bands that are degenerate at the Fermi energy are so at all k, at each mu.

    Raises:
        ValueError: naming the mu.
    """
    if np.any(is_split):
        raise ValueError(
            "Argument `model` must not have bands that touch at the Fermi energy, for there a "
            "field mixes them without limit, but two do at "
            f"mu = {mu[np.argmax(is_split)]:.6g} eV. Use another mu."
        )


def _splits_group(projector, slopes) -> Bool[Array, " a"]:
    """Mask of the states where P ∂H P is no multiple of P."""
    inside = product(product(projector, slopes), projector)
    size = jnp.einsum("iia->a", projector).real
    mean = jnp.einsum("diia->da", inside).real / size
    apart = jnp.sum(jnp.abs(inside - mean[:, None, None] * projector) ** 2, axis=(1, 2))
    squares = jnp.sum(jnp.abs(slopes) ** 2, axis=(1, 2))
    return jnp.any(apart > UNSPLIT.of(squares) * jnp.max(squares, axis=0), axis=0)


def _level_jvp(primals, tangents):
    result = resolve_state(*primals)
    _, projector, resolvent, gap = result
    change = _require_group(tangents[0], *primals)
    transition = product(resolvent, product(change, projector))  # R dH P
    size = jnp.einsum("iia->a", projector).real
    slope = jnp.sum(diagonal_of_product(projector, change), axis=0).real / size
    second_order = product(resolvent, transition)
    virtual = product(product(resolvent, change), resolvent)
    resolvent_change = (
        virtual - slope * product(resolvent, resolvent) - second_order - dagger(second_order)
    )
    return result, (slope, transition + dagger(transition), resolvent_change, jnp.zeros_like(gap))


def _require_group(change, hamiltonian, band):
    """`change` of H, with an error where it splits a group of bands at the Fermi energy.

    In the basis of the states and back it is unaltered, so that the basis counts as constant.
    """
    energies, basis = eigh(jax.lax.stop_gradient(hamiltonian))
    in_group, _, _ = _find_group(energies, band)
    same = in_group[:, None] & in_group[None, :]
    checked = require_unlifted(sandwich(basis, change), same)
    return sandwich(dagger(basis), checked)


def _find_group(energies: Float[Array, "n a"], band: Int[Array, " a"]):
    """Mask of the bands that are degenerate with one, and its energy."""
    chosen = jnp.arange(len(energies))[:, None] == band
    energy = jnp.sum(jnp.where(chosen, energies, 0), axis=0)
    return jnp.abs(energies - energy) <= DEGENERATE_ON_SHELL.of(energies), energy, chosen


@with_derivative(_level_jvp)
def resolve_state(
    hamiltonian: Complex[Array, "n n a"], band: Int[Array, " a"]
) -> tuple[
    Float[Array, " a"], Complex[Array, "n n a"], Complex[Array, "n n a"], Float[Array, " a"]
]:
    """Energy, projector P, reduced resolvent R and distance to the next bands, of one group each.

    The derivative needs no other state, so that degeneracies among the others do not matter:
        dε = Tr P dH/g,  dP = R dH P + P dH R,  dR = R (dH − dε) R − R² dH P − P dH R².
    A dH that splits a group of g > 1 bands is an error. The distance is a diagnostic and counts as
    constant.
    """
    energies, basis = eigh(hamiltonian)
    in_group, energy, _ = _find_group(energies, band)
    states = jnp.where(in_group, basis, 0)
    energy = jnp.sum(jnp.where(in_group, energies, 0), axis=0) / jnp.sum(in_group, axis=0)
    difference = jnp.where(in_group, jnp.inf, energy - energies)
    projector = product(states, dagger(states))
    resolvent = product(basis / difference, dagger(basis))
    return energy, projector, resolvent, jnp.min(jnp.abs(difference), axis=0)


def as_vector(matrix: Complex[Array, "*c n n a"]) -> Float[Array, "*c m a"]:
    """Components of a Hermitian matrix in an orthonormal basis: Tr XY = x·y; m = n²."""
    n = matrix.shape[-2]
    i, j = np.triu_indices(n, 1)
    diagonal, above = jnp.einsum("...iia->...ia", matrix).real, matrix[..., i, j, :]
    root = np.sqrt(2)
    return jnp.concatenate([diagonal, root * above.real, root * above.imag], axis=-2)


def as_matrix(vector: Float[Array, "*c m a"], n: int) -> Complex[Array, "*c n n a"]:
    """The Hermitian matrix of these components."""
    real, imag, sign = _locate_components(n)
    over = np.where(np.eye(n), 1, np.sqrt(2))[..., None]
    parts = vector[..., real, :] / over, sign[..., None] * vector[..., imag, :] / over
    return jax.lax.complex(*parts)


def _locate_components(n: int) -> tuple[Int[np.ndarray, "n n"], ...]:
    """Where a vector has real and imaginary part of each element, and the sign of the latter."""
    i, j = np.triu_indices(n, 1)
    real, imag, sign = np.diag(np.arange(n)), np.zeros((n, n), int), np.zeros((n, n), int)
    real[i, j] = real[j, i] = n + np.arange(len(i))
    imag[i, j] = imag[j, i] = n + len(i) + np.arange(len(i))
    sign[i, j], sign[j, i] = 1, -1
    return real, imag, sign
