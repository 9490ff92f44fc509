"""Eigensystems of tiles of small Hermitian matrices: the algorithms and their choice.

A tile is (n, n, K), the k axis last (see `small_matrices`). LAPACK solves one small matrix at a
time and reaches a few per cent of what a core can do; the solvers here treat the K matrices as
lanes of one vector. None is ever differentiated: the derivative rule stands in `eigensystem`.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Complex, Float

from jaxspin.engine.lanes import is_for_kernel
from jaxspin.engine.looped_ql import solve_looped
from jaxspin.engine.unrolled_ql import (
    negligible_square,
    power_of_two_scale,
    scaled_hermitian_part,
    solve_unrolled,
    sweep_fixed_times,
    sweep_together,
    sweep_until_diagonal,
)
from jaxspin.engine.xla import separate_kernel, single_kernel, stored_kernel

_LANES = (
    64  # matrices in one kernel; measured at n = 3, 4, 8: 32 is 0.6 to 0.7, 256 0.7 to 1 as fast
)
_VENDOR_BATCH = 16384  # GPU libraries reject larger batches (reports from 32768 to 65535)

Eigensystem = tuple[Float[Array, "n K"], Complex[Array, "n n K"]]


@custom_vmap
def eigh(hamiltonian: Complex[Array, "n n K"]) -> Eigensystem:
    """Energies, ascending, and eigenvectors, as columns, of each Hermitian matrix.

    The matrix is (H + H†)/2. One with a NaN or an infinity has NaN energies and eigenvectors,
    as has one for which the iteration did not converge (none is known).
    """
    backend = jax.default_backend()
    if backend == "cpu" and hamiltonian.shape[-1] == 1:
        return library(hamiltonian)  # no lanes to fill, and nothing to compile
    return solver(len(hamiltonian), backend)(hamiltonian)


def eigh_of_few(hamiltonian: Complex[Array, "n n K"]) -> Eigensystem:
    """Energies and eigenvectors of some hundred matrices, by what compiles at once."""
    return closed_form(hamiltonian) if len(hamiltonian) <= 2 else library(hamiltonian)


@eigh.def_vmap
def _eigh_of_batch(size, in_batched, hamiltonian):
    """Eigensystems of a batch, which joins the k axis: more matrices are more lanes."""
    if not in_batched[0]:
        return eigh(hamiltonian), (False, False)
    n, tile = hamiltonian.shape[1], hamiltonian.shape[-1]
    energies, basis = eigh(jnp.moveaxis(hamiltonian, 0, -2).reshape(n, n, size * tile))
    apart = (
        jnp.moveaxis(energies.reshape(n, size, tile), -2, 0),
        jnp.moveaxis(basis.reshape(n, n, size, tile), -2, 0),
    )
    return apart, (True, True)


def solver(n: int, backend: str) -> Callable[[Complex[Array, "n n K"]], Eigensystem]:
    """Return the algorithm for n bands on a backend."""
    largest = SOLVERS.get(backend, SOLVERS["gpu"])
    return next(algorithm for size, algorithm in largest if n <= size)


def is_library(n: int) -> bool:
    """Tell if n bands are solved by a library, which the compiled code calls."""
    return solver(n, jax.default_backend()) is library


# --------------------------------------------------------------------------- the solvers


def closed_form(hamiltonian: Complex[Array, "n n K"]) -> Eigensystem:
    """Closed form for n = 1 and 2."""
    if len(hamiltonian) > 1:
        scale = power_of_two_scale(hamiltonian)
        energies, real, imaginary = _two_levels(*scaled_hermitian_part(hamiltonian, scale), scale)
        real, imaginary = jnp.stack(real), jnp.stack(imaginary)
        basis = jax.lax.complex(real, imaginary).reshape(hamiltonian.shape)
        return jnp.stack(energies), basis
    energies = hamiltonian[0].real
    exists = jnp.where(jnp.isfinite(energies), 1, jnp.nan).astype(energies.dtype)
    return energies * exists, exists[None].astype(hamiltonian.dtype)


@separate_kernel
def _two_levels(hr, hi, scale):
    """Closed form for ((m + h, x*), (x, m - h)): energies m -+ r, r² = h² + |x|².

    With (c, s) ~ (|h| + r, x), sums without cancellation, the columns are (-s*, c), (c, s), or
    (c, -s), (s*, c) if h < 0.
    """
    mean, half = (hr[0, 0] + hr[1, 1]) / 2, (hr[0, 0] - hr[1, 1]) / 2
    xr, xi = hr[1, 0], hi[1, 0]
    radius = jnp.sqrt(half**2 + xr**2 + xi**2)
    square = (abs(half) + radius) ** 2 + xr**2 + xi**2
    mixed = square > negligible_square(hr.dtype)
    inverse = 1 / jnp.sqrt(jnp.where(mixed, square, 1))
    exists = jnp.where(scale == scale, 1, jnp.nan).astype(scale.dtype)
    cosine = jnp.where(mixed, (abs(half) + radius) * inverse, exists)
    up, zero = half >= 0, 0 * exists
    sr, si = jnp.where(mixed, xr * inverse, zero), jnp.where(mixed, xi * inverse, zero)
    real = (
        *(jnp.where(up, -sr, cosine), jnp.where(up, cosine, sr)),
        *(jnp.where(up, cosine, -sr), jnp.where(up, sr, cosine)),
    )
    imaginary = (
        *(jnp.where(up, si, zero), jnp.where(up, zero, -si)),
        *(jnp.where(up, zero, -si), jnp.where(up, si, zero)),
    )
    return ((mean - radius) * scale, (mean + radius) * scale), real, imaginary


def householder_ql(hamiltonian: Complex[Array, "n n K"]) -> Eigensystem:
    """Householder tridiagonalisation and implicit QL, all matrices of a tile at once."""
    if jax.default_backend() != "cpu":
        sweep = sweep_together if is_for_kernel() else sweep_fixed_times
        return stored_kernel(solve_unrolled)(hamiltonian, sweep)
    return _in_parts(_UNROLLED, hamiltonian, _LANES)


def looped_ql(hamiltonian: Complex[Array, "n n K"]) -> Eigensystem:
    """The same in loops, for a CPU: slower up to a dozen bands, and compiled in a few seconds."""
    return _in_parts(_LOOPED, hamiltonian, _LANES)


_UNROLLED = single_kernel(partial(solve_unrolled, iterate=sweep_until_diagonal))
_LOOPED = single_kernel(solve_looped)


def library(hamiltonian: Complex[Array, "n n K"]) -> Eigensystem:
    """LAPACK on a CPU, the vendor's batched solver elsewhere."""

    def solve(part):
        energies, basis = jnp.linalg.eigh(jnp.moveaxis(part, -1, 0))
        return jnp.moveaxis(energies, 0, -1), jnp.moveaxis(basis, 0, -1)

    if jax.default_backend() == "cpu":
        return solve(hamiltonian)
    return _in_parts(solve, hamiltonian, _VENDOR_BATCH)


def _in_parts(solve, hamiltonian: Complex[Array, "n n K"], most: int) -> Eigensystem:
    """Apply `solve` to at most `most` matrices at a time; zero matrices fill the last part."""
    n, tile = hamiltonian.shape[1:]
    if tile <= most:
        return solve(hamiltonian)
    parts = -(-tile // most)
    size = -(-tile // (8 * parts)) * 8  # whole vectors
    filled = jnp.pad(hamiltonian, ((0, 0), (0, 0), (0, parts * size - tile)))
    split = jnp.moveaxis(filled.reshape(n, n, parts, size), -2, 0)
    energies, basis = jax.lax.map(solve, split)
    energies, basis = jnp.moveaxis(energies, 0, -2), jnp.moveaxis(basis, 0, -2)
    return energies.reshape(n, -1)[:, :tile], basis.reshape(n, n, -1)[..., :tile]


#: The largest n that each algorithm is used for.
SOLVERS = {
    "cpu": ((2, closed_form), (8, householder_ql), (24, looped_ql), (float("inf"), library)),
    "gpu": ((2, closed_form), (12, householder_ql), (float("inf"), library)),
}
