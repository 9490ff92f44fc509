"""The states at the Fermi energy, and what disorder theory needs of each.

Everything is made of the projector P_a of a state, its reduced resolvent R_a and the slopes ∂H, so
that nothing depends on the phases of eigenvectors or on the basis in k-space.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.eigensolvers import eigh
from jaxspin.engine.small_matrices import dagger, diagonal_of_product, product
from jaxspin.engine.tolerances import DEGENERATE_ON_SHELL
from jaxspin.models.base import Model
from jaxspin.models.lifted import Needs, Points
from jaxspin.surfaces import FermiSurface


class FermiStates(eqx.Module):
    """The states a = (k, band) of a Fermi surface, the axis a last."""

    k: Float[Array, "d a"]
    #: Σ_k δ(mu − ε_k) g = Σ_a weight_a g_a, 1/(eV Å^d); 0 in empty slots.
    weight: Float[Array, " a"]
    #: Distance in energy to the next band at the same k, eV; infinite in empty slots.
    gap: Float[Array, " a"]
    #: P = |u⟩⟨u|.
    projector: Complex[Array, "n n a"]
    #: R = Σ_(n≠m) |n⟩⟨n|/(ε_m − ε_n), 1/eV.
    resolvent: Complex[Array, "n n a"]
    #: ∂H/∂k_i, eV Å.
    slopes: Complex[Array, "d n n a"]
    #: The spin operator, units of ħ/2.
    spin: Complex[Array, "3 n n #a"]

    @property
    def is_occupied(self) -> Array:
        """Which slots hold a state."""
        return self.weight != 0

    def expectation_values(self, operator: Complex[Array, "*c n n a"]) -> Float[Array, "*c a"]:
        """⟨u|O|u⟩ of each state."""
        return jnp.sum(diagonal_of_product(self.projector, operator), axis=-2).real

    def interband_mixing(self, operator: Complex[Array, "*c n n a"]) -> Complex[Array, "*c n n a"]:
        """B[O] = (R O P − P O R)/2i, Hermitian; for O = ∂_jH it is [∂_jP, P]/2i."""
        transition = product(product(self.resolvent, operator), self.projector)
        return (transition - dagger(transition)) / 2j


def find_states(model: Model, surface: FermiSurface) -> FermiStates:
    """The states of a model on the nodes of its Fermi surface."""
    lifted = model.lift(Points(surface.k), Needs(("spin",)))
    _, projector, resolvent, gap = resolve_state(lifted.hamiltonian.astype(complex), surface.band)
    empty = surface.weight == 0
    return FermiStates(
        k=surface.k,
        weight=surface.weight,
        gap=jnp.where(empty, jnp.inf, gap),
        projector=projector,
        resolvent=jnp.where(empty, 0, resolvent),
        slopes=lifted.slopes.astype(complex),
        spin=lifted.operators["spin"].matrices.astype(complex),
    )


def check_gap(gap: Float[Array | np.ndarray, " e"], mu: Float[np.ndarray, " e"]) -> None:
    """No state has another at the same k and energy, given the smallest gap (eV) at each mu.

    Raises:
        ValueError: naming the splitting and the mu.
    """
    if np.min(gap) <= DEGENERATE_ON_SHELL.of(gap):
        raise ValueError(
            "Argument `model` must not have degenerate bands at the Fermi energy, but two are "
            f"split by {np.min(gap):.1e} eV at mu = {mu[np.argmin(gap)]:.6g} eV. A small exchange "
            "field splits them; the splitting must exceed hbar/tau."
        )


def _level_jvp(primals, tangents):
    result = resolve_state(*primals)
    _, projector, resolvent, gap = result
    change = tangents[0]
    transition = product(resolvent, product(change, projector))  # R dH P
    slope = jnp.sum(diagonal_of_product(projector, change), axis=0).real
    second_order = product(resolvent, transition)
    virtual = product(product(resolvent, change), resolvent)
    resolvent_change = (
        virtual - slope * product(resolvent, resolvent) - second_order - dagger(second_order)
    )
    return result, (slope, transition + dagger(transition), resolvent_change, jnp.zeros_like(gap))


@with_derivative(_level_jvp)
def resolve_state(
    hamiltonian: Complex[Array, "n n a"], band: Int[Array, " a"]
) -> tuple[
    Float[Array, " a"], Complex[Array, "n n a"], Complex[Array, "n n a"], Float[Array, " a"]
]:
    """Energy, projector P, reduced resolvent R and distance to the next band, of one band each.

    The derivative needs no other state, so that degeneracies among the others do not matter:
        dε = Tr P dH,  dP = R dH P + P dH R,  dR = R (dH − dε) R − R² dH P − P dH R².
    The distance is a diagnostic and counts as constant.
    """
    energies, basis = eigh(hamiltonian)
    chosen = jnp.arange(len(energies))[:, None] == band
    energy = jnp.sum(jnp.where(chosen, energies, 0), axis=0)
    state = jnp.sum(jnp.where(chosen, basis, 0), axis=1)
    difference = jnp.where(chosen, jnp.inf, energy - energies)
    projector = state[:, None] * jnp.conj(state)[None]
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
    i, j = np.triu_indices(n, 1)
    diagonal, real, imag = jnp.split(vector, [n, n + len(i)], axis=-2)
    shape = (*vector.shape[:-2], n, n, vector.shape[-1])
    above = jnp.zeros(shape, complex).at[..., i, j, :].set((real + 1j * imag) / np.sqrt(2))
    here = jnp.zeros(shape, complex).at[..., np.arange(n), np.arange(n), :].set(diagonal)
    return here + above + dagger(above)
