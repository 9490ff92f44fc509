"""Checks of numbers that many functions take, and values in the words of an error."""

import numpy as np
from jaxtyping import Float, Inexact

from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.tolerances import HERMITIAN


def check_energy(mu) -> None:
    """Check that `mu` is one finite energy.

    Raises:
        ValueError: it is not.
    """
    if np.ndim(mu) or not (is_traced(mu) or finite_reals(mu)):
        raise ValueError(
            "Argument `mu` must be one finite energy (eV; jax.vmap takes several), "
            f"but is {shortened(mu)}."
        )


def check_temperature(temperature) -> None:
    """Check that `temperature` is one number, not negative.

    Raises:
        ValueError: it is not.
    """
    known = not is_traced(temperature)
    if np.ndim(temperature) or (known and not (finite_reals(temperature) and temperature >= 0)):
        raise ValueError(
            "Argument `temperature` must be one number, at least 0 (K), "
            f"but is {shortened(temperature)}."
        )


def finite_reals(value: object) -> bool:
    """Tell if `value` is a real number or an array of them, all finite; no text, no None."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return False
    return array.dtype.kind in "iuf" and bool(np.all(np.isfinite(array)))


def as_numbers(name: str, value: object, wanted: str = "") -> Float[np.ndarray, "..."]:
    """Convert `value` to an array of real numbers.

    Args:
        name, wanted: how errors call it, and what else it must be.
    Raises:
        ValueError: text, None, complex numbers, rows of different lengths.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"Argument `{name}` must be real numbers{' ' * bool(wanted)}{wanted}, "
            f"but is {shortened(value)}."
        )
    return array.astype(float)


def shortened(value: object) -> str:
    """Write `value` in a few words, for an error in one line."""
    text = " ".join(repr(value).split())
    return text if len(text) < 80 else f"of type {type(value).__name__}"


def asymmetry(matrices: Inexact[np.ndarray, "*c n n"]) -> float:
    """The largest element of A - A^dagger, of any of the matrices."""
    return float(np.max(np.abs(matrices - np.conj(matrices).swapaxes(-1, -2)), initial=0.0))


def is_hermitian(matrices: object) -> bool:
    """True for finite matrices A (..., n, n) with A = A^dagger to rounding, of the largest element.

    True also where the values are traced, and not known.
    """
    if is_traced(matrices):
        return True
    known = np.asarray(matrices)
    size = np.max(np.abs(known), initial=0.0)
    return bool(np.isfinite(size) and asymmetry(known) <= HERMITIAN.of(known) * size)
