"""Householder tridiagonalisation and implicit QL for tiles of small matrices, written out by row.

Golub and Van Loan, Matrix Computations, 8.3. Each row of a matrix is an array of its own in the
program, and each step of the algorithm an operation: fast up to a dozen bands, beyond which such a
program takes long to compile (`looped_ql` has loops in place of them).

`xla` says what `compute_once`, `separate_kernel` and `single_kernel` are for. Here `compute_once`
stands wherever a copy that differs in its last digits would do harm: where rounding noise is
normalised (a reflector from a cancelled column, a rotation from a cancelled bulge) the copies would
have nothing in common, and the basis would not be orthogonal.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxspin.engine.xla import compute_once, separate_kernel

_SWEEPS_IN_A_KERNEL = 4  # on a GPU; compiled for an H200 at n = 4, 1, 2 and 8 move more bytes


# --------------------------------------------------------------------------- scaling


@separate_kernel
def power_of_two_scale(h):
    """Power of two below max|H| of each lane, within the normal numbers; NaN if not finite."""
    hr, hi = h.real, h.imag
    largest = jnp.zeros_like(hr[0, 0])
    for i in range(len(hr)):
        for j in range(i + 1):
            largest = jnp.maximum(largest, jnp.maximum(abs(hr[i, j]), abs(hi[i, j])))
    limits = jnp.finfo(hr.dtype)
    bits = jnp.int64 if hr.dtype == jnp.float64 else jnp.int32
    exponent = ((1 << (limits.bits - 1)) - 1) - ((1 << limits.nmant) - 1)
    bounded = jnp.clip(largest, 4 * limits.tiny, limits.max / 4)
    masked = jax.lax.bitcast_convert_type(bounded, bits) & bits(exponent)
    scale = jax.lax.bitcast_convert_type(masked, hr.dtype)
    return jnp.where(jnp.isfinite(largest), scale, jnp.nan)


@separate_kernel
def scaled_hermitian_part(h, scale):
    """Real and imaginary part of (H + H†)/2 by its scale, 1 ≤ max|H| < 2; 0 if not finite."""
    half = jnp.where(scale == scale, 0.5 / scale, 0)

    def part(a, b):
        return jnp.where(scale == scale, a + b, 0) * half

    real, imaginary = h.real, h.imag
    return (
        part(real, jnp.swapaxes(real, 0, 1)),
        part(imaginary, -jnp.swapaxes(imaginary, 0, 1)),
    )


def negligible_square(dtype) -> float:
    """Square below which a modulus is zero: far below rounding of 1, far above underflow."""
    return 1e-290 if dtype == jnp.float64 else 1e-30


# --------------------------------------------------------------------------- Householder


def sum_terms(terms) -> Any:
    """Sum of a few terms, written out in the program."""
    terms = list(terms)
    return sum(terms[1:], start=terms[0])


@separate_kernel
def _householder_reflector(ar, ai):
    """Householder reflection 1 - τ v v† of the first column of A below the diagonal.

    It turns x = e^{iφ}(|x_0|, ...) into -e^{iφ} (|x|, 0, ..., 0).

    Returns:
        (v, τ), the corner of A, and modulus and phase of the reflected column.
    """
    xr, xi = ar[1:, 0], ai[1:, 0]
    squares = xr**2 + xi**2
    square = sum_terms(squares)
    significant = square > negligible_square(ar.dtype)
    norm = jnp.sqrt(jnp.where(significant, square, 0))
    pointed = significant & (squares[0] > negligible_square(ar.dtype))
    head = jnp.sqrt(jnp.where(pointed, squares[0], 1))
    cosine, sine = jnp.where(pointed, xr[0] / head, 1), jnp.where(pointed, xi[0] / head, 0)
    first = (jnp.arange(len(xr)) == 0)[:, None]
    vr, vi = xr + jnp.where(first, cosine * norm, 0), xi + jnp.where(first, sine * norm, 0)
    weight = norm * (norm + jnp.where(pointed, head, 0))
    tau = jnp.where(significant, 1 / jnp.where(significant, weight, 1), 0)
    return (vr, vi, tau), ar[0, 0], norm, -cosine, -sine


@separate_kernel
def _reflector_image(ar, ai, reflector):
    """τ A v, of the block below the first row."""
    vr, vi, tau = reflector
    columns = range(1, len(ar))
    real = sum_terms(ar[1:, j] * vr[j - 1] - ai[1:, j] * vi[j - 1] for j in columns)
    imaginary = sum_terms(ar[1:, j] * vi[j - 1] + ai[1:, j] * vr[j - 1] for j in columns)
    return tau * real, tau * imaginary


@separate_kernel
def _update_direction(image, reflector):
    """w = τAv - (τ/2)(v†τAv) v, such that the reflected A is A - v w† - w v†."""
    (pr, pi), (vr, vi, tau) = image, reflector
    overlap = tau / 2 * sum_terms(vr * pr + vi * pi)
    return pr - overlap * vr, pi - overlap * vi


@separate_kernel
def _rank_two_update(ar, ai, reflector, direction):
    """Rank-two update A - v w† - w v† of the block that remains."""
    (vr, vi, _), (wr, wi) = reflector, direction

    def outer_product(a, b):
        return a[:, None] * b[None]

    real = (outer_product(vr, wr) + outer_product(vi, wi)) + (
        outer_product(wr, vr) + outer_product(wi, vi)
    )
    imaginary = (outer_product(vi, wr) - outer_product(vr, wi)) + (
        outer_product(wi, vr) - outer_product(wr, vi)
    )
    return compute_once(ar[1:, 1:] - real), compute_once(ai[1:, 1:] - imaginary)


@separate_kernel
def final_block(ar, ai):
    """The final 2x2 block: diagonal, and modulus and phase of what stands below it."""
    square = ar[1, 0] ** 2 + ai[1, 0] ** 2
    significant = square > negligible_square(ar.dtype)
    norm = jnp.sqrt(jnp.where(significant, square, 1))
    cosine, sine = ar[1, 0] / norm, ai[1, 0] / norm
    return (
        (ar[0, 0], ar[1, 1]),
        jnp.where(significant, norm, 0),
        jnp.where(significant, cosine, 1),
        jnp.where(significant, sine, 0),
    )


def _reduce_to_tridiagonal(ar, ai):
    """Householder reduction: diagonal, moduli and phases of the off-diagonal, reflectors."""
    diagonal, moduli, phases, reflectors = [], [], [], []
    while len(ar) > 2:
        reflector, corner, modulus, *phase = _householder_reflector(ar, ai)
        direction = _update_direction(_reflector_image(ar, ai, reflector), reflector)
        ar, ai = _rank_two_update(ar, ai, reflector, direction)
        diagonal.append(corner)
        moduli.append(modulus)
        phases.append(phase)
        reflectors.append(reflector)
    corners, modulus, *phase = final_block(ar, ai)
    return [*diagonal, *corners], [*moduli, modulus], [*phases, phase], reflectors


# --------------------------------------------------------------------------- implicit QL


@separate_kernel
def wilkinson_shift(d, e):
    """Wilkinson's shift of the first block that is not diagonal.

    It is the eigenvalue of the first 2x2 matrix of the block nearer to its first diagonal element.
    """
    here, there, between = d[-2], d[-1], e[-1]
    for i in reversed(range(len(e) - 1)):
        first = e[i] != 0
        here, there = jnp.where(first, d[i], here), jnp.where(first, d[i + 1], there)
        between = jnp.where(first, e[i], between)
    delta = (there - here) / 2
    root = jnp.sqrt(delta**2 + between**2)
    denominator = delta + jnp.where(delta < 0, -root, root)
    return here - between**2 / jnp.where(denominator == 0, 1, denominator)


@separate_kernel
def ql_rotation(previous, shift, diagonal, off_diagonal):
    """One rotation of a QL sweep, from the bottom of T upwards.

    `diagonal` is (d, d_next) and `off_diagonal` is (e, e_next), of this row and the one below.

    `previous` is (bulge g, sine, cosine, correction p) of the rotation before; it is forgotten
    where e_next = 0, for there another block begins. Where e = 0 the rotation is the identity.
    """
    g, s, c, p = previous
    (d, d_next), (e, e_next) = diagonal, off_diagonal
    inside = e_next != 0
    s, c, g = jnp.where(inside, s, 1), jnp.where(inside, c, 1), jnp.where(inside, g, d_next - shift)
    f, b = s * e, c * e
    square = f**2 + g**2
    turns = (e != 0) & (square > negligible_square(g.dtype))
    inverse = 1 / jnp.sqrt(jnp.where(turns, square, 1))
    s, c = jnp.where(turns, f * inverse, 0), jnp.where(turns, g * inverse, 1)
    q = (d - (d_next - p)) * s + 2 * c * b
    modulus = jnp.where(turns, square * inverse, 0)
    e_next = jnp.where(inside, jnp.where(e == 0, g, modulus), 0)
    return (compute_once(c * q - b), s, c, s * q), d_next - p + s * q, e_next


@separate_kernel
def _rotate_columns(upper, lower, s, c):
    """Apply a rotation to the two columns of Z that it mixes."""
    return s * upper + c * lower, c * upper - s * lower


def _deflate_off_diagonal(d, e):
    """Set off-diagonal elements within the rounding errors of H (1 ≤ max|H| < 2) to zero."""
    eps = jnp.finfo(d[0].dtype).eps
    within = [abs(x) <= eps * (1 + abs(d[i]) + abs(d[i + 1])) for i, x in enumerate(e)]
    return [jnp.where(zero, 0, x) for zero, x in zip(within, e, strict=True)]


def _ql_sweep(d, e, z):
    """One QL sweep over every block, with the shift of the first one that is not diagonal."""
    shift = wilkinson_shift(d, e)
    zero, lower = jnp.zeros_like(shift), z[-1]
    step, e = (zero, zero, zero, zero), [*e, zero]
    new_d, new_e, new_z = list(d), list(e), list(z)
    for i in reversed(range(len(d) - 1)):
        step, new_d[i + 1], new_e[i + 1] = ql_rotation(step, shift, d[i : i + 2], e[i : i + 2])
        new_z[i + 1], lower = _rotate_columns(z[i], lower, *step[1:3])
    new_d[0], new_e[0], new_z[0] = d[0] - step[3], jnp.where(e[0] != 0, step[0], 0), lower
    return new_d, _deflate_off_diagonal(new_d, new_e[:-1]), new_z


def sweep_until_diagonal(d, e, z):
    """Sweep until every off-diagonal element of every lane is zero.

    Each lane works on its own first block, so that none waits for another. Of n rows the sweeps
    leave out the first n/4 when those are done in all lanes, and so on; leaving them out one by
    one is 1 % faster at n = 8 and 12, and takes 1.5 and 2.6 times as long to compile.
    """
    n, sweeps = len(d), 0
    rows = max(1, n // 4)

    def is_unfinished(state):
        sweeps, (_, e, _) = state
        return (sweeps < 30 * n) & jnp.any(sum_terms(abs(x) for x in e[:rows]) != 0)

    for top in range(0, n - 1, rows):
        part = (d[top:], e[top:], z[top:])
        sweeps, part = jax.lax.while_loop(
            is_unfinished, lambda state: (state[0] + 1, _ql_sweep(*state[1])), (sweeps, part)
        )
        d[top:], e[top:], z[top:] = part
    return d, e, z


def sweep_fixed_times(d, e, z):
    """Sweep 3n + 3 times and up to a whole number of kernels, with no question to the host.

    Measured on 10^6 random matrices of n = 4: one in 320 needs 10 sweeps, one in 15,000 needs 11,
    and none 12; as many degenerate, nearly degenerate, graded and sparse ones need no more. The
    most seen at n = 3, 8 and 12, of 10^6, 10^5 and 3 10^4 of each kind: 7, 23 and 33.
    """
    trips = -(-(3 * len(d) + 3) // _SWEEPS_IN_A_KERNEL)

    def sweep_several_times(_, state):
        for _ in range(_SWEEPS_IN_A_KERNEL):
            state = _ql_sweep(*state)
        return state

    start = sweep_several_times(0, (d, e, z))  # apart: of a Z that is known to be the identity
    return jax.lax.fori_loop(1, trips, sweep_several_times, start)


def sweep_together(d, e, z):
    """The same, until all lanes of a block are done: in a kernel, where nobody has to be asked."""
    most = 3 * len(d) + 4

    def is_unfinished(state):
        sweeps, _, e, _ = state
        return (sweeps < most) & jnp.any(sum_terms(abs(x) for x in e) != 0)

    def sweep(state):
        sweeps, *rest = state
        return sweeps + 1, *_ql_sweep(*rest)

    return jax.lax.while_loop(is_unfinished, sweep, (0, d, e, z))[1:]


# --------------------------------------------------------------------------- back to the basis


@separate_kernel
def _ascending_ranks(d):
    """Position of each eigenvalue in ascending order."""
    n = range(len(d))
    before = [[(d[j] < d[i]) if j > i else (d[j] <= d[i]) for j in n if j != i] for i in n]
    return [sum_terms(b.astype(d[0].dtype) for b in row) for row in before]


@separate_kernel
def _sort_eigenpairs(d, z, ranks, scale):
    """Energies and the columns of Z in ascending order, Z as (row, column, K)."""
    place = jnp.arange(len(d), dtype=scale.dtype)[:, None]
    energies = sum_terms(jnp.where(r == place, x, 0) for r, x in zip(ranks, d, strict=True))
    columns = sum_terms(jnp.where(r == place, x[:, None], 0) for r, x in zip(ranks, z, strict=True))
    return energies * scale, columns


@separate_kernel
def _basis_phases(phases, scale):
    """Phase of each basis state in which the off-diagonal is real and positive; NaN without H."""
    one = jnp.where(scale == scale, 1, jnp.nan).astype(scale.dtype)
    real, imaginary = [one], [one * 0]
    for c, s in phases:
        a, b = real[-1], imaginary[-1]
        real.append(a * c - b * s)
        imaginary.append(a * s + b * c)
    return real, imaginary


@separate_kernel
def _apply_phases(columns, phases):
    real, imaginary = jnp.stack(phases[0]), jnp.stack(phases[1])
    return columns * real[:, None], columns * imaginary[:, None]


@separate_kernel
def _reflector_overlap(ur, ui, reflector):
    """τ v†U, of the rows that v reaches."""
    vr, vi, tau = reflector
    rows = range(len(vr))
    first = len(ur) - len(vr)
    real = sum_terms(vr[i] * ur[first + i] + vi[i] * ui[first + i] for i in rows)
    imaginary = sum_terms(vr[i] * ui[first + i] - vi[i] * ur[first + i] for i in rows)
    return tau * real, tau * imaginary


@separate_kernel
def _apply_reflector(ur, ui, reflector, overlap):
    """U - v (τ v†U)."""
    (vr, vi, _), (wr, wi) = reflector, overlap
    rows = slice(len(ur) - len(vr), None)
    x, y = vr[:, None], vi[:, None]
    real, imaginary = ur[rows] - x * wr + y * wi, ui[rows] - x * wi - y * wr
    return ur.at[rows].set(real), ui.at[rows].set(imaginary)


def solve_unrolled(hamiltonian, iterate):
    """Energies and U = (reflections)(phases) Z, Z the real eigenvectors of the tridiagonal matrix.

    Args:
        iterate: `sweep_until_diagonal` or `sweep_fixed_times`.
    """
    n = len(hamiltonian)
    scale = power_of_two_scale(hamiltonian)
    hr, hi = scaled_hermitian_part(hamiltonian, scale)
    d, e, phases, reflectors = _reduce_to_tridiagonal(hr, hi)
    identity = jnp.eye(n, dtype=hr.dtype)[..., None]
    z = [jnp.broadcast_to(column, hr[0].shape) for column in identity]
    d, e, z = iterate(d, _deflate_off_diagonal(d, e), z)
    left = sum_terms(abs(x) for x in e)
    scale = jnp.where(left == 0, scale, jnp.nan)
    energies, columns = _sort_eigenpairs(d, z, _ascending_ranks(d), scale)
    ur, ui = _apply_phases(columns, _basis_phases(phases, scale))
    for reflector in reversed(reflectors):
        ur, ui = _apply_reflector(ur, ui, reflector, _reflector_overlap(ur, ui, reflector))
    return energies, jax.lax.complex(ur, ui)
