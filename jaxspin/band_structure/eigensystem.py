"""Eigensystem of H, with a derivative that is exact at degenerate bands."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Inexact, PyTree

from jaxspin.band_structure.degeneracy import Degeneracy, find_groups, inverse_gap
from jaxspin.band_structure.degeneracy_lifting import nan_if_lifted_twice, require_unlifted
from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.eigensolvers import eigh
from jaxspin.engine.small_matrices import dagger, matmul, sandwich
from jaxspin.engine.xla import separate_kernel


def eigensystem(
    hamiltonian: Complex[Array, "n n K"], degeneracy: Degeneracy
) -> tuple[Float[Array, "n K"], Complex[Array, "n n K"]]:
    """Energies (ascending) and eigenvectors (columns), with the derivative of `band_basis`."""
    return band_basis(hamiltonian, None, degeneracy, require_unlifted)[:2]


def _band_basis_jvp(primals, tangents):
    *_, degeneracy, check = primals
    change, changes, *_ = tangents
    energies, basis, found = band_basis(*primals)
    turned = jax.tree.map(partial(sandwich, basis), changes)
    if change is None:
        return (energies, basis, found), (None, None, turned)
    same = find_groups(energies, degeneracy)
    gaps = inverse_gap(energies, same)
    change = nan_if_lifted_twice(check(sandwich(basis, change), same), same, energies)
    mixing = _mixing_matrix(change, gaps)
    slopes = jnp.einsum("mmK->mK", change).real
    turned = jax.tree.map(
        partial(_rotate_optional, mixing), found, turned, is_leaf=lambda x: x is None
    )
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
    as dH does not split a group; with `require_unlifted` as the check, a dH that does is an error,
    and with `nan_if_lifted` NaN. Inside a group U†HU changes by M, whatever it is.
    """
    energies, basis = eigh(hamiltonian)
    return energies, basis, jax.tree.map(partial(sandwich, basis), operators)


def allow_any(change: Array, same: Array) -> Array:
    """No check: any perturbation of H is allowed."""
    return change


@separate_kernel
def _mixing_matrix(change, gaps):
    """X of `band_basis`."""
    return -change * gaps


def _rotate_optional(mixing, operator, change):
    return None if operator is None else _rotate_operator(mixing, operator, change)


@separate_kernel
def _rotate_operator(mixing, operator, change):
    """U†(dO)U + [O, X]; with O Hermitian and X anti-Hermitian, [O, X] = OX + (OX)†."""
    half = matmul(operator, mixing)
    rotation = half + dagger(half)
    return rotation if change is None else rotation + change
