"""Hamiltonians as functions of NumPy arrays, and the checks of what the solvers are given."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

#: Largest |A − A†| of a matrix that counts as Hermitian, relative to its largest element.
_HERMITIAN = 1e-10


def batch_hamiltonian(model: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """H of a model that takes one k (d,), as a function of k (..., d) with values (..., n, n).

    Args:
        model: a `jaxspin.Model`, or any function of one k in jax.numpy.
    Raises:
        ValueError: `model` cannot be called.

    >>> import jaxspin as js, numpy as np
    >>> hamiltonian = js.reference.batch_hamiltonian(js.models.QiWuZhang(A=1.0, m=-1.0))
    >>> hamiltonian(np.zeros((5, 4, 2))).shape
    (5, 4, 2, 2)
    """
    if not callable(model):
        raise ValueError(
            "Argument `model` must be a model or a function of one k, "
            f"but is of type {type(model).__name__}."
        )
    hamiltonian = jax.jit(jnp.vectorize(model, signature="(d)->(n,n)"))
    return lambda k: np.asarray(hamiltonian(np.asarray(k)))


def check_wave_vectors(k: np.ndarray) -> np.ndarray:
    """Return `k` as an array (..., d) of finite real numbers.

    Raises:
        ValueError: it is none.
    """
    array = np.asarray(k)
    if array.ndim == 0 or array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
        raise ValueError(
            "Argument `k` must be an array (..., d) of finite real numbers (1/Angstrom), "
            f"but has shape {array.shape} and type {array.dtype}."
        )
    return array.astype(float)


def check_hermitian(name: str, matrices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return `matrices` as an array of this shape of finite Hermitian matrices.

    Raises:
        ValueError: they are none, with the `name` of the argument.
    """
    array = np.asarray(matrices)
    if array.shape != shape:
        raise ValueError(
            f"Argument `{name}` must give matrices of shape {shape}, but has shape {array.shape}."
        )
    size = np.max(np.abs(array), initial=0.0)
    if not np.isfinite(size):
        raise ValueError(f"Argument `{name}` must be finite, but is not.")
    asymmetry = np.max(np.abs(array - array.conj().swapaxes(-1, -2)), initial=0.0)
    if asymmetry > _HERMITIAN * size:
        raise ValueError(
            f"Argument `{name}` must be Hermitian, but differs from its Hermitian conjugate by "
            f"{asymmetry:.1e}."
        )
    return array


def check_hamiltonian(hamiltonian: Callable, k: np.ndarray) -> np.ndarray:
    """Return H at `k` (..., d), Hermitian matrices (..., n, n).

    Raises:
        ValueError: it is no function, or its values are no such matrices.
    """
    if not callable(hamiltonian):
        raise ValueError(
            "Argument `hamiltonian` must be a function that takes k (..., d) to matrices "
            f"(..., n, n), but is of type {type(hamiltonian).__name__}. `batch_hamiltonian(model)` "
            "makes one of a model."
        )
    try:
        value = np.asarray(hamiltonian(k))
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"Argument `hamiltonian` must take k of shape {k.shape}, but fails there ({error}). "
            "`batch_hamiltonian(model)` makes such a function of a model that takes one k."
        ) from error
    n = value.shape[-1] if value.ndim else 0
    return check_hermitian("hamiltonian", value, (*k.shape[:-1], n, n))
