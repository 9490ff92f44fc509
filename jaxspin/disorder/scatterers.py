"""Models of disorder: correlations of the random potential.

⟨U_kk' X U_k'k⟩ = 𝒲_(k−k')[X], Gaussian, energies in eV and lengths in Å.
"""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxspin.disorder.collision import (
    BLOCK,
    DenseScattering,
    IterativeScattering,
    LocalScattering,
    Scattering,
    correlation_matrix,
)
from jaxspin.disorder.fermi_states import FermiStates, as_matrix, as_vector
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.identity import run_operations
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.tolerances import ALIKE, EVEN, PERIODIC_DISORDER
from jaxspin.engine.tracing import look_at
from jaxspin.engine.validate import (
    are_numbers,
    check_function,
    check_number,
    check_type,
    finite_reals,
    is_finite,
    is_hermitian,
    is_not_negative,
    is_square,
    is_zero,
)
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.base import Model, hamiltonian_at, number_of_bands

_STRENGTH = "positive (u0^2, eV^2 Angstrom^d)"  # in messages


class Disorder(eqx.Module):
    """Random impurities, the same on average everywhere."""

    @abstractmethod
    def scattering(self, shell: FermiStates) -> Scattering:
        """The coupling of the states of a Fermi surface by these impurities."""

    @abstractmethod
    def check(self, model: Model) -> None:
        """That they fit a model.

        Raises:
            ValueError: naming what does not.
        """

    @abstractmethod
    def memory(self, states: int, bands: int) -> int:
        """About how many numbers are in memory for one Fermi energy."""


def commutes_with(disorder: Disorder, operators: Complex[Array, "*c n n"]) -> bool:
    """Whether the random potential commutes with some matrices; True where these are traced."""
    given = getattr(disorder, "matrices", None)
    if given is None or is_traced(given, operators):
        return True
    a, o = np.asarray(given), np.asarray(operators).reshape(-1, *np.shape(operators)[-2:])[:, None]
    return bool(np.max(np.abs(a @ o - o @ a)) <= ALIKE.of(a) * np.max(np.abs(a)) * np.max(abs(o)))


@evaluate_eagerly()
def check_disorder(disorder, model: Model) -> None:
    """`disorder` is a model of disorder that fits `model`.

    Raises:
        ValueError: it is not.
    """
    check_type(
        "disorder", disorder, Disorder, "ScalarDisorder, MatrixDisorder or FiniteRangeDisorder"
    )
    disorder.check(model)


@evaluate_eagerly()  # known inside the user's jit too
def _as_number(value):
    """A real number as an array; what is none stays as it is, for the check that names it."""
    real = are_numbers(value, "iuf")
    return jnp.array(value, dtype=jnp.result_type(float)) if real else value


@evaluate_eagerly()
def _as_matrices(value):
    """The same for complex numbers."""
    return jnp.array(value) if are_numbers(value) else value


class ScalarDisorder(Disorder):
    """A random potential without range, the same for all orbitals: ⟨U U⟩ = u0² δ(r − r').

    `strength` is u0², eV² Å^d: for n_i impurities per volume of potential V0 δ(r) it is n_i V0².
    ħ/τ = 2πu0² Tr(P_a ρ̂) in the Born approximation, where ρ̂ = Σ_k δ(mu − ε_k) P_k.

    `third_cumulant` is ⟨U³⟩ = n_i V0³, eV³ Å^(2d), which adds the conventional skew scattering. Its
    collision term J0 n = 4π²κ₃ Im Tr(P_a ρ̂ N̂) is that of the golden rule to the next order; unlike
    everything else here it has not been compared with a brute-force solution.
    """

    strength: Float[Array, ""] = eqx.field(converter=_as_number)
    third_cumulant: Float[Array, ""] = eqx.field(converter=_as_number, default=0.0)

    def __check_init__(self):
        check_number("strength", self.strength, _STRENGTH, above=0)
        check_number("third_cumulant", self.third_cumulant, "finite (eV^3 Angstrom^2d)")

    def scattering(self, shell):
        coupling = self.strength * jnp.eye(shell.projector.shape[0] ** 2)
        return LocalScattering(shell, coupling, self.third_cumulant)

    def check(self, model):
        _check_zones(model, lambda x: x)

    def memory(self, states, bands):
        return states * bands**2


class MatrixDisorder(Disorder):
    """Random impurities without range that act on the orbitals by matrices A_c, independent of each
    other: 𝒲[X] = Σ_c A_c X A_c. Magnetic impurities: A_c = u_c σ_c.

    `matrices` has the shape (c, n, n), Hermitian, eV Å^(d/2). With the identity among them times u0
    the potential is scalar of strength u0².
    """

    matrices: Complex[Array, "c n n"] = eqx.field(converter=_as_matrices)

    def __check_init__(self):
        _check_hermitian(self.matrices)

    def scattering(self, shell):
        coupling = _couple_vectors(self.matrices)
        return LocalScattering(shell, coupling, jnp.zeros(()))

    def check(self, model):
        _check_matrices(self.matrices, model)

    def memory(self, states, bands):
        return states * bands**2


#: Fermi-surface states up to which all pairs are kept: two matrices of 128 MB.
DENSE_STATES = 4096


class FiniteRangeDisorder(Disorder):
    """A random potential of finite range, ⟨U(q) U(−q)⟩ = W(q), the same for all orbitals.

    With `matrices` A_c (c, n, n), Hermitian and without unit, it acts on the orbitals by these,
    independent of each other: 𝒲[X] = W(q) Σ_c A_c X A_c.

    `correlator` gives W, real, even and not negative, eV² Å^d, at one q (d,) in 1/Å; W = u0² is
    `ScalarDisorder(u0²)`. `GaussianCorrelator` is one. A module with arrays as fields can be
    scanned and differentiated; a plain function cannot. For a lattice model W repeats with the
    reciprocal lattice. Up to 4096 states J0 is one matrix; above, GMRES computes W on the fly.
    """

    correlator: Callable[[Float[Array, " d"]], Float[Array, ""]]
    matrices: Complex[Array, "c n n"] | None = eqx.field(converter=_as_matrices, default=None)

    def __check_init__(self):
        check_function("correlator", self.correlator, "a function W(q)")
        if self.matrices is not None:
            _check_hermitian(self.matrices)

    def scattering(self, shell):
        coupling = jnp.eye(shell.projector.shape[0] ** 2)
        if self.matrices is not None:
            coupling = _couple_vectors(self.matrices)
        if len(shell.weight) > DENSE_STATES:
            return IterativeScattering(shell, coupling, self.correlator)
        return DenseScattering(shell, coupling, correlation_matrix(self.correlator, shell.k))

    def check(self, model):
        if self.matrices is None:
            _check_zones(model, lambda x: x)
        else:
            _check_matrices(self.matrices, model)
        look_at(
            lambda correlator, q: correlator(q),
            self.correlator,
            jax.ShapeDtypeStruct((model.dimension,), float),
            argument="correlator",
            what="W(q)",
            where="it",
            wanted=f"must take q of shape ({model.dimension},)",
        )
        if is_traced(self.correlator):
            return
        random = _random_wave_vectors(8, model)
        steps = () if model.lattice is None else np.asarray(reciprocal_vectors(model.lattice))
        for q in np.concatenate([np.zeros_like(random[:1]), random, 1e-2 * random]):
            _check_correlation(self.correlator, q, steps)

    def memory(self, states, bands):
        pairs = states if states <= DENSE_STATES else BLOCK
        return states * (pairs + bands**2)


@run_operations.register
def _run_correlator(disorder: FiniteRangeDisorder, unit):
    """W(q) in each dimension in which it can be asked for."""
    values = []
    for dimension in (1, 2, 3):
        with suppress(Exception):
            values.append(disorder.correlator(unit * jnp.ones(dimension)))
    return values


class GaussianCorrelator(eqx.Module):
    """W(q) = strength · exp(−q² length²/2): impurities ∝ exp(−r²/length²); length in Å."""

    strength: Float[Array, ""] = eqx.field(converter=_as_number)
    length: Float[Array, ""] = eqx.field(converter=_as_number)

    def __check_init__(self):
        check_number("strength", self.strength, _STRENGTH, above=0)
        check_number("length", self.length, "at least 0 (Angstrom)", at_least=0)

    def __call__(self, q: Float[Array, " d"]) -> Float[Array, ""]:
        return self.strength * jnp.exp(-(q @ q) * self.length**2 / 2)


def _check_hermitian(a: Any) -> None:
    """Raise ValueError where these are no Hermitian matrices."""
    if not are_numbers(a) or np.ndim(a) != 3 or not is_square(a):
        raise ValueError(
            "Argument `matrices` must be Hermitian matrices of shape (c, n, n), but "
            + (f"has shape {a.shape}." if isinstance(a, jax.Array) else f"is {a!r}.")
        )
    if not is_finite(a) or is_zero(a):
        raise ValueError("Argument `matrices` must be finite and not all zero, but is not.")
    if not is_hermitian(a):
        raise ValueError("Argument `matrices` must be Hermitian, but is not.")


def _check_matrices(matrices: Complex[Array, "c n n"], model: Model) -> None:
    """Raise ValueError where the matrices A_c do not fit a model."""
    n = number_of_bands(model)
    if matrices.shape[1] != n:
        raise ValueError(
            f"Argument `disorder` must have matrices of shape {(n, n)}, as H(k) has, "
            f"but they have shape {matrices.shape[1:]}."
        )
    if not is_traced(matrices):
        _check_zones(model, partial(_average_matrix, matrices))


def _average_matrix(
    matrices: Complex[Array, "c n n"], x: Complex[Array, "n n *a"]
) -> Complex[Array, "n n *a"]:
    """Σ_c A_c X A_c."""
    return jnp.einsum("cij,jl...,clo->io...", matrices, x, matrices)


def _couple_vectors(matrices: Complex[Array, "c n n"]) -> Float[Array, "m m"]:
    """X -> Σ_c A_c X A_c in the basis of `as_vector`."""
    n = matrices.shape[1]
    return as_vector(_average_matrix(matrices, as_matrix(jnp.eye(n * n), n)))


def _random_wave_vectors(number: int, model: Model) -> np.ndarray:
    """A few k of the size of a Brillouin zone, the same at every call."""
    return np.random.default_rng(20231119).normal(size=(number, model.dimension))


def _check_zones(model: Model, averaged: Callable) -> None:
    """𝒲 is the same to k + G as to k.

    H(k + G) = D H(k) D† with the phases D of orbitals at different places in the unit cell. If 𝒲
    sees them, scattering depends on the zone from which each k of the Fermi surface was taken.
    """
    if model.lattice is None or is_traced(model):
        return
    for k in _random_wave_vectors(3, model):
        here = averaged(hamiltonian_at(model, jnp.asarray(k)))
        for step in np.asarray(reciprocal_vectors(model.lattice)):
            change = averaged(hamiltonian_at(model, jnp.asarray(k + step))) - here
            if np.max(np.abs(change)) > PERIODIC_DISORDER.of(here) * np.max(np.abs(here)):
                raise ValueError(
                    "Argument `disorder` must scatter to k + G as to k, but does not, for the "
                    "orbitals of this model are at different places and have other phases there. "
                    "Use MatrixDisorder with one matrix for each place: u0 times the projector on "
                    "its orbitals."
                )


def _check_correlation(correlator, q, steps) -> None:
    try:
        here, there = np.asarray(correlator(jnp.asarray(q))), correlator(jnp.asarray(-q))
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"Argument `correlator` must take q of shape {q.shape}, but fails there: {error}"
        ) from error
    if np.shape(here) != () or not finite_reals(here):
        raise ValueError(
            f"Argument `correlator` must give one finite real number, but gives {here} at q = {q}."
        )
    if not is_not_negative(here) or (is_zero(here) and is_zero(q)):
        raise ValueError(
            "Argument `correlator` must not be negative, and positive at q = 0, "
            f"but is {float(here):.3g} at q = {q}."
        )
    if not np.isclose(here, there, rtol=EVEN.of(here)):
        raise ValueError(f"Argument `correlator` must be even, but is not at q = {q}.")
    for step in steps:
        if not np.isclose(correlator(jnp.asarray(q + step)), here, rtol=PERIODIC_DISORDER.of(here)):
            raise ValueError(
                "Argument `correlator` must repeat with the reciprocal lattice of the model, "
                f"but does not at q = {q}."
            )
