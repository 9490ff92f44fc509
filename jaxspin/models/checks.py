"""Checks of a model before anything is traced: H(k), its shape, lattice and operators."""

import functools
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxspin.engine import tolerances
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import known_by_identity, known_by_shape, plain_program
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.tracing import look_at
from jaxspin.engine.validate import (
    as_numbers,
    asymmetry,
    check_finite,
    check_is_method,
    check_is_property,
    finite_reals,
    is_finite,
    is_hermitian,
    is_square,
    spans_volume,
)
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.meshes.path import Path
from jaxspin.models.base import (
    check_is_model,
    hamiltonian_at,
    number_of_bands,
)
from jaxspin.models.operators import named_operators, operator_at

SAMPLES = 5


@evaluate_eagerly()
def check_model(model) -> None:
    """`model` is a Model whose H(k) is square, finite and Hermitian.

    Raises:
        ValueError: naming what is wrong and at which k.
    """
    check_is_model(model)
    if is_traced(model):
        _check_lattice(model)
        _trace_hamiltonian(model)
    else:
        _check_known_model(model)


@partial(known_by_identity, capacity=64)
def _check_known_model(model) -> None:
    """Check lattice and shape, and that H is finite and Hermitian at a few k."""
    _check_lattice(model)
    _trace_hamiltonian(model)
    k, hamiltonians = _evaluate_samples(model)
    for one, hamiltonian in zip(k, hamiltonians, strict=True):
        _check_hamiltonian(hamiltonian, one)


@known_by_shape
def _trace_hamiltonian(model) -> None:
    """Check that H(k) can be traced, and is a square matrix."""
    d, name = model.dimension, type(model).__name__
    program = look_at(
        hamiltonian_at,
        model,
        jax.ShapeDtypeStruct((d,), float),
        argument="model",
        what="H(k)",
        where=f"{name}.__call__",
        wanted=f"must take k of shape ({d},), as its dimension says",
    )
    shape = program.out_avals[0].shape
    if len(shape) != 2 or not is_square(program.out_avals[0]):
        raise ValueError(
            f"Argument `model` must return a square matrix H(k), but returns shape {shape}."
        )


def check_operators(model, names: Iterable[str]) -> None:
    """`model` has operators of these names, which are finite, Hermitian and of the size of H(k).

    Raises:
        ValueError: naming what is wrong, and the operators that the model has.
    """
    for name in names:
        if name == "spin":
            check_spin(model)
        else:
            _check_operator(model, name)


@evaluate_eagerly()
def _check_operator(model, name: str) -> None:
    named_operators(model)  # so that a mapping is refused in its own words
    _trace_operator(model, name)
    if is_traced(model):
        return
    matrices = _evaluate_operator(model, name)
    if not is_finite(matrices):
        raise ValueError(f"Argument `model` must have a finite operator {name!r}, but does not.")
    if not is_hermitian(np.moveaxis(matrices, -1, 0)):
        raise ValueError(f"Argument `model` must have a Hermitian operator {name!r}, but does not.")


@known_by_shape
def _trace_operator(model, name: str) -> None:
    """Check that an operator can be traced, and has the size of H(k)."""
    n, d = number_of_bands(model), model.dimension
    traced = look_at(
        lambda model, k: operator_at(model, name, k),
        model,
        jax.ShapeDtypeStruct((d, 1), float),
        argument="model",
        what=f"its operator {name!r}",
        where=f"{type(model).__name__}.operators",
        wanted=f"must give its operator {name!r} as matrices",
    )
    shape = traced.out_avals[0].shape[:-1]
    if len(shape) not in (2, 3) or shape[-2:] != (n, n) or 0 in shape:
        raise ValueError(
            f"Argument `model` must have an operator {name!r} of shape {(n, n)} or (c, {n}, {n}), "
            f"but it has shape {shape}."
        )


@partial(known_by_identity, capacity=64)
def _evaluate_operator(model, name: str) -> Complex[np.ndarray, "c n n K"]:
    """Matrices of an operator at the few k of the checks."""
    return np.asarray(_operator_at(model, name, np.transpose(sample_points(model))))


@plain_program
def _operator_at(model, name, k):
    return model.spin_at(k) if name == "spin" else operator_at(model, name, k)


@evaluate_eagerly()
def check_spin(model) -> None:
    """The spin operator of `model` is three finite Hermitian matrices of the size of H(k).

    Raises:
        ValueError: naming what is wrong.
    """
    check_is_method("model", model, "spin")
    _trace_spin(model)
    if is_traced(model):
        return
    spin = _evaluate_operator(model, "spin")
    if not is_finite(spin):
        raise ValueError("Argument `model` must have a finite spin operator, but does not.")
    if not is_hermitian(np.moveaxis(spin, -1, 0)):
        raise ValueError("Argument `model` must have a Hermitian spin operator, but does not.")
    if spin.shape[-1] == 1 and not model.downfolded:  # others are projected, and smaller
        _check_normalisation(type(model).__name__, spin[..., 0])


@known_by_shape
def _trace_spin(model) -> None:
    """Check that the spin operator can be traced, and has the size of H(k)."""
    n, d, name = number_of_bands(model), model.dimension, type(model).__name__
    program = look_at(
        lambda model, k: model.spin_at(k),
        model,
        jax.ShapeDtypeStruct((d, 1), float),
        argument="model",
        what="its spin operator",
        where=f"{name}.spin",
        wanted="must have a spin operator for this quantity",
    )
    shape = program.out_avals[0].shape
    if shape[:-1] != (3, n, n):
        raise ValueError(
            f"Argument `model` must have a spin operator of shape {(3, n, n)}, "
            f"but it has shape {shape[:-1]}."
        )


def _check_normalisation(name: str, spin: np.ndarray) -> None:
    """Warn of a spin that is a multiple of one in units of ħ/2, such as σ/2.

    Pauli matrices have the square 1, and spins of any size obey [s_x, s_y] = 2i s_z.
    """
    squares = np.einsum("snm,sml->snl", spin, spin)
    identity = np.eye(spin.shape[-1])
    norms = np.trace(squares, axis1=1, axis2=2).real / len(identity)
    rounding = tolerances.SPIN_ALGEBRA.of(spin)
    like_pauli = np.allclose(squares, norms[:, None, None] * identity, atol=rounding)
    x, y, z = spin
    commutator, size = x @ y - y @ x, np.sum(np.abs(z) ** 2)
    factor = np.sum(commutator * z.conj()).imag / (2 * size) if size else 0.0
    like_spin = factor and np.allclose(commutator, 2j * factor * z, atol=rounding * abs(factor))
    factor = factor if like_spin else np.sqrt(norms.max()) if like_pauli else 1.0
    if factor and abs(abs(factor) - 1) > _PROJECTED:
        warn_user(
            f"The spin operator of {name} is {abs(factor):.3g} times one in units of hbar/2, in "
            f"which [s_x, s_y] = 2i s_z and Pauli matrices have the square 1: its largest mean "
            f"square is {norms.max():.3g}. Every spin quantity is {abs(factor):.3g} times what its "
            "unit says."
        )


_PROJECTED = 0.05  # by which spins between Wannier functions may be smaller


def check_dimension(model, allowed: Collection[int], purpose: str = "", advice: str = "") -> None:
    """`model` has one of some dimensions.

    Args:
        purpose, advice: for what, and what else to use, for the error.
    Raises:
        ValueError: it has another.
    """
    if model.dimension not in allowed:
        wanted = " or ".join(map(str, allowed)) + (purpose and f" for {purpose}")
        raise ValueError(
            f"Argument `model` must have dimension {wanted}, but has dimension {model.dimension}."
            f"{advice and f' Use {advice}.'}"
        )


def check_complete(model, quantity: str) -> None:
    """A sum over the bands of `model` is the whole of a quantity.

    Raises:
        ValueError: the model has elements of the position operator, hence states beyond its bands,
            and what they contribute is not among its matrix elements; it is downfolded.
    """
    check_every_band(model, quantity)
    if model.external_terms:
        raise ValueError(
            f"Argument `model` must have no elements of the position operator for the {quantity}, "
            "for then states beyond its bands contribute what these elements do not tell. "
            "`without_external_terms()` of a HoppingModel gives the part of its own bands."
        )


def check_every_band(model, quantity: str) -> None:
    """`model` has all its bands, for a quantity that dressed operators of a few do not give.

    Raises:
        ValueError: it is downfolded.
    """
    if model.downfolded:
        raise ValueError(
            f"Argument `model` must have all its bands for the {quantity}, which needs those that "
            "downfolding removes, but is downfolded. Give the full model."
        )


@evaluate_eagerly()
def as_wave_vectors(model, k) -> Array:
    """`k` as an array (..., d) of real, finite numbers.

    Raises:
        ValueError: it is none, or has another dimension than the model.
    """
    if isinstance(k, Path):
        raise ValueError(
            "Argument `k` must be wave vectors in an array of shape (..., d), but is a Path. "
            "`path.sample(number, model.lattice)[0]` gives them."
        )
    d = model.dimension
    k = k if is_traced(k) else as_numbers("k", k, f"with a last axis of length {d}")
    if k.ndim == 0 or k.shape[-1] != d:
        raise ValueError(
            f"Argument `k` must have a last axis of length {d}, the dimension of the model, "
            f"but has shape {k.shape}."
        )
    check_finite("k", k)
    return jnp.asarray(k, dtype=jnp.result_type(float))


def sample_hamiltonians(model) -> Complex[Any, "K n n"]:
    """H at the few k of the checks, in one compiled program."""
    if is_traced(model):
        return jax.vmap(lambda k: hamiltonian_at(model, k))(jnp.stack(sample_points(model)))
    return _evaluate_samples(model)[1][1:]


@partial(known_by_identity, capacity=64)
def _evaluate_samples(model) -> tuple[Float[np.ndarray, "K d"], Complex[np.ndarray, "K n n"]]:
    """Return k = 0 and the few k of the checks, and H there."""
    k = np.stack([np.zeros(model.dimension), *sample_points(model)])
    with evaluate_eagerly():
        return k, np.asarray(_hamiltonians_at(model, k))


@plain_program
def _hamiltonians_at(model, k):
    return jax.vmap(lambda k: hamiltonian_at(model, k))(jnp.asarray(k))


def sample_points(model) -> list[Float[np.ndarray, " d"]]:
    """A few k of the size of a Brillouin zone, the same at every call."""
    return list(_random_points(model.dimension))


@functools.cache
def _random_points(dimension: int) -> Float[np.ndarray, "K d"]:
    points = np.random.default_rng(20231119).uniform(-1, 1, size=(SAMPLES, dimension))
    return points.astype(jnp.result_type(float))


_SHORTEST = 1e-3  # Å; shorter lattice vectors are in metres, or not lengths


def _check_lattice(model) -> None:
    """The lattice is one row for each direction, and spans a volume."""
    lattice, d = model.lattice, model.dimension
    if lattice is None:
        return
    check_is_property("model", model, "lattice")
    if np.shape(lattice) != (d, d):
        raise ValueError(
            f"Argument `model` must have a lattice of shape {(d, d)}, one row for each vector, "
            f"but it has shape {np.shape(lattice)}."
        )
    if is_traced(lattice):
        return
    if not finite_reals(lattice):
        raise ValueError("Argument `model` must have a lattice of finite numbers, but does not.")
    rows = np.asarray(lattice, dtype=float)
    lengths = np.linalg.norm(rows, axis=1)
    if not spans_volume(rows):
        raise ValueError(
            "Argument `model` must have lattice vectors that span a cell, but their determinant "
            f"is {np.linalg.det(rows):.3g}."
        )
    if lengths.min() < _SHORTEST:
        raise ValueError(
            "Argument `model` must have lattice vectors in Angstrom, but one has the length "
            f"{lengths.min():.3g}, which looks like metres: 1 m is 1e10 Angstrom."
        )


def _check_hamiltonian(h, k) -> None:
    if not is_finite(h):
        raise ValueError(
            f"Argument `model` must return finite numbers, but H(k) is not at k = {np.asarray(k)}."
        )
    if not is_hermitian(h):
        raise ValueError(
            "Argument `model` must return a Hermitian H(k), but |H - H^dagger| is "
            f"{asymmetry(h):.1e} eV at k = {np.asarray(k)}."
        )


@partial(known_by_identity, capacity=64)
def check_periodic(model) -> None:
    """Bands repeat with the reciprocal lattice."""
    k, vectors = sample_points(model)[0], np.asarray(reciprocal_vectors(model.lattice))
    images = np.zeros((1 + SAMPLES, model.dimension), k.dtype)  # as many as other checks take
    images[: 1 + len(vectors)] = np.stack([k, *(k + vectors)])
    here, *there = np.linalg.eigvalsh(_hamiltonians_at(model, images))[: 1 + len(vectors)]
    rounding = tolerances.PERIODIC.of(here) * max(1.0, np.max(np.abs(here)))
    for i, energies in enumerate(there):
        if not np.allclose(here, energies, atol=rounding):
            raise ValueError(
                "Argument `model` must be periodic, since it has a lattice, but its bands change "
                f"by {np.max(np.abs(here - energies)):.1e} eV along reciprocal vector {i}."
            )
