"""Householder tridiagonalisation and implicit QL for tiles of some ten to thirty bands, in loops.

The algorithm of `unrolled_ql`, whose program grows as the square of the number of bands. Here rows
of an array stand where arrays stand there, and loops over rows where operations follow each other.
Loops must not hold what XLA cannot put into a single kernel: reductions other than to a scalar. A
sum over rows is written out, or a loop.

What costs time are passes over rows in the second cache, not arithmetic. A row is therefore written
in place by the kernel that computes it, which XLA grants where that reads the same row, or none, of
the same array. This is why Z, the eigenvectors of the tridiagonal matrix, stands in two arrays: a
rotation mixes an even row with an odd one. (One array: 1.2 times as slow at n = 18.)
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxspin.engine.unrolled_ql import (
    final_block,
    negligible_square,
    power_of_two_scale,
    ql_rotation,
    scaled_hermitian_part,
    sum_terms,
    wilkinson_shift,
)
from jaxspin.engine.xla import compute_once, separate_kernel


def solve_looped(hamiltonian):
    """Energies and U = (reflections)(phases) Z, Z the real eigenvectors of the tridiagonal matrix.

    For at least 3 bands.
    """
    scale = power_of_two_scale(hamiltonian)
    d, e, phases, reflectors = _reduce_to_tridiagonal(*scaled_hermitian_part(hamiltonian, scale))
    d, e, z = _sweep_until_diagonal(d, e)
    scale = jnp.where(sum_terms(abs(e)) == 0, scale, jnp.nan)
    ranks = _rank_ascending(d)
    columns = jnp.swapaxes(_sort_rows(z, ranks), 0, 1)
    basis = _apply_phases(columns, _accumulate_phases(phases, scale))
    basis = _apply_reflectors(basis, reflectors)
    return _sort_rows(d, ranks) * scale, jax.lax.complex(*basis)


def _row(array, i):
    return jax.lax.dynamic_index_in_dim(array, i, keepdims=False)


def _put(array, i, row):
    return jax.lax.dynamic_update_index_in_dim(array, row, i, 0)


# --------------------------------------------------------------------------- Householder


def _reduce_to_tridiagonal(ar, ai):
    """Householder reduction of A.

    Returns:
        diagonal; moduli of the off-diagonal, the last 0; its phases; vectors and τ of the
        reflectors, in the rows of A.
    """
    n, empty = len(ar), jnp.zeros_like(ar[0])

    def reduce_row(i, state):
        a, *results = state
        v, tau, *found = _householder_reflector(a, i)
        over_rows = partial(jax.lax.fori_loop, i + 1, n)
        image = over_rows(lambda j, sums: _add_column(sums, a, v, j), (empty, empty))
        w = _update_direction(image, v, tau, i)
        ar, ai = over_rows(lambda j, a: _update_row(a, v, w, j), a)
        results = [_put(x, i, new) for x, new in zip(results, (*found, tau), strict=True)]
        return (_put(ar, i, v[0]), _put(ai, i, v[1])), *results

    state = jax.lax.fori_loop(0, n - 2, reduce_row, ((ar, ai), *[empty] * 5))
    (ar, ai), d, e, cosines, sines, taus = state
    corners, *last = final_block(ar[n - 2 :, n - 2 :], ai[n - 2 :, n - 2 :])
    d = d.at[n - 2].set(corners[0]).at[n - 1].set(corners[1])
    e, *phases = (x.at[n - 2].set(y) for x, y in zip((e, cosines, sines), last, strict=True))
    return d, e, phases, (ar, ai, taus)


@separate_kernel
def _householder_reflector(a, i):
    """Householder reflection 1 - τ v v† of column i of A below the diagonal, as `unrolled_ql` has.

    Returns:
        v, τ, A_ii, and modulus and phase of the reflected column.
    """
    ar, ai = a
    place, tiny = jnp.arange(len(ar))[:, None], negligible_square(ar.dtype)
    across, below = _row(ar, i), place > i
    xr, xi = jnp.where(below, across, 0), jnp.where(below, -_row(ai, i), 0)
    square = compute_once(sum_terms(xr**2 + xi**2))
    significant = square > tiny
    norm = jnp.sqrt(jnp.where(significant, square, 0))
    first_r, first_i = _row(xr, i + 1), _row(xi, i + 1)
    size = first_r**2 + first_i**2
    pointed = significant & (size > tiny)
    head = jnp.sqrt(jnp.where(pointed, size, 1))
    cosine, sine = jnp.where(pointed, first_r / head, 1), jnp.where(pointed, first_i / head, 0)
    is_first = place == i + 1
    vr, vi = (x + jnp.where(is_first, c * norm, 0) for x, c in ((xr, cosine), (xi, sine)))
    weight = norm * (norm + jnp.where(pointed, head, 0))
    tau = jnp.where(significant, 1 / jnp.where(significant, weight, 1), 0)
    return (vr, vi), tau, _row(across, i), norm, -cosine, -sine


@separate_kernel
def _add_column(sums, a, v, j):
    """Add A_ij v_j for all i, column j of A from its row, which is contiguous."""
    (pr, pi), (ar, ai, vr, vi) = sums, (_row(x, j) for x in (*a, *v))
    return pr + ar * vr + ai * vi, pi + ar * vi - ai * vr


@separate_kernel
def _update_direction(image, v, tau, i):
    """w = τAv - (τ/2)(v†τAv) v, such that the reflected A is A - v w† - w v†."""
    vr, vi = v
    below = jnp.arange(len(vr))[:, None] > i
    pr, pi = (jnp.where(below, tau * x, 0) for x in image)
    overlap = compute_once(tau / 2 * sum_terms(vr * pr + vi * pi))
    return pr - overlap * vr, pi - overlap * vi


@separate_kernel
def _update_row(a, v, w, j):
    """A with row j of A - v w† - w v†."""
    (ar, ai), (vr, vi), (wr, wi) = a, v, w
    x, y, p, q = (_row(part, j) for part in (*v, *w))
    real, imaginary = x * wr + y * wi + (p * vr + q * vi), y * wr - x * wi + (q * vr - p * vi)
    return _put(ar, j, _row(ar, j) - real), _put(ai, j, _row(ai, j) - imaginary)


# --------------------------------------------------------------------------- implicit QL


def _sweep_until_diagonal(d, e):
    """Sweep until every off-diagonal element of every lane is zero, without the rows that are done
    in all lanes. Each lane works on its own first block, so that none waits for another.

    Returns:
        eigenvalues, what is left of the off-diagonal, eigenvectors as rows.
    """
    n, extra = len(d), 1 - len(d) % 2  # a row before the first makes the number of rows odd
    identity = jnp.eye(n, dtype=d.dtype)[..., None]
    z = jnp.broadcast_to(identity, (n, n, d.shape[-1]))
    d, e, z = (jnp.concatenate([jnp.zeros_like(x[:extra]), x]) for x in (d, e, z))
    last = len(d) - 1

    def skip_done(top, e):
        done = lambda top: (top < last) & jnp.all(_row(e, top) == 0)  # noqa: E731
        return jax.lax.while_loop(done, lambda top: top + 1, top)

    def is_unfinished(state):
        top, sweeps, *_ = state
        return (top < last) & (sweeps < 30 * n)

    def sweep(state):
        top, sweeps, d, e, even, odd = state
        d, e, even, odd = _ql_sweep(d, e, even, odd, top // 2)
        return skip_done(top, e), sweeps + 1, d, e, even, odd

    e = _deflate_off_diagonal(d, e)
    state = skip_done(0, e), 0, d, e, z[0::2], z[1::2]
    *_, d, e, even, odd = jax.lax.while_loop(is_unfinished, sweep, state)
    rows = [(even, odd)[i % 2][i // 2] for i in range(extra, last + 1)]
    return d[extra:], e[extra:], jnp.stack(rows)


def _ql_sweep(d, e, even, odd, first):
    """One QL sweep over every block, with the shift of the first one that is not diagonal.

    Args:
        even, odd: the rows of Z, of which there is an odd number: the last is even.
        first: the even row at which the sweep ends, as a number among the even ones; above it the
            matrix is diagonal.
    """
    last, shift = len(d) - 1, wilkinson_shift(d, e[:-1])
    zero = jnp.zeros_like(shift)

    def rotate(step, d, e, i):
        pairs = (_row(d, i), _row(d, i + 1)), (_row(e, i), _row(e, i + 1))
        step, d_next, e_next = ql_rotation(step, shift, *pairs)
        return step, _put(d, i + 1, d_next), _put(e, i + 1, e_next)

    def rotate_twice(j, state):
        step, d, e, even, odd, below = state
        m = last // 2 - 1 - j
        step, d, e = rotate(step, d, e, 2 * m + 1)
        above = _rotate_above((odd, m), below, step)
        even = _put_rotated(even, m + 1, (odd, m), below, step)
        step, d, e = rotate(step, d, e, 2 * m)
        below = _rotate_above((even, m), above, step)
        odd = _put_rotated(odd, m, (even, m), above, step)
        return step, d, e, even, odd, below

    state = (zero,) * 4, d, e, even, odd, even[-1]
    state = jax.lax.fori_loop(0, last // 2 - first, rotate_twice, state)
    step, d, e, even, odd, below = state
    top = 2 * first
    d = _put(d, top, _row(d, top) - step[3])
    e = _put(e, top, jnp.where(_row(e, top) != 0, step[0], 0))
    return d, _deflate_off_diagonal(d, e), _put(even, first, below), odd


@separate_kernel
def _rotate_above(above, below, step):
    """The upper of two rows of Z after a rotation, c Z_i - s Z_{i+1}.

    Args:
        above: an array of rows, and which of them it was.
    """
    return step[2] * _row(*above) - step[1] * below


@separate_kernel
def _put_rotated(rows, place, above, below, step):
    """Rows of Z with the lower row after a rotation, s Z_i + c Z_{i+1}."""
    return _put(rows, place, step[1] * _row(*above) + step[2] * below)


@separate_kernel
def _deflate_off_diagonal(d, e):
    """Set off-diagonal elements within the rounding errors of H (1 ≤ max|H| < 2) to zero."""
    after = jnp.concatenate([d[1:], jnp.zeros_like(d[:1])])
    return jnp.where(abs(e) <= jnp.finfo(d.dtype).eps * (1 + abs(d) + abs(after)), 0, e)


# --------------------------------------------------------------------------- back to the basis


def _rank_ascending(d):
    """Position of each eigenvalue in ascending order."""
    rank = lambda i, ranks: _put(ranks, i, _find_rank(d, i))  # noqa: E731
    return jax.lax.fori_loop(0, len(d), rank, jnp.zeros_like(d))


@separate_kernel
def _find_rank(d, i):
    place, x = jnp.arange(len(d))[:, None], _row(d, i)
    before = jnp.where(place > i, d < x, (d <= x) & (place != i))
    return sum_terms(before.astype(d.dtype))


def _sort_rows(rows, ranks):
    """Rows of an array in ascending order of the eigenvalues, lane by lane."""
    sort = lambda i, done: _put(done, i, _select_row(rows, ranks, i))  # noqa: E731
    return jax.lax.fori_loop(0, len(rows), sort, jnp.zeros_like(rows))


@separate_kernel
def _select_row(rows, ranks, i):
    chosen = i.astype(ranks.dtype)
    return sum_terms(jnp.where(ranks[j] == chosen, rows[j], 0) for j in range(len(rows)))


def _accumulate_phases(phases, scale):
    """Phase of each basis state in which the off-diagonal is real and positive; NaN without H."""
    cosines, sines = phases
    one = jnp.where(scale == scale, 1, jnp.nan).astype(scale.dtype)
    zeros = jnp.zeros_like(cosines)

    def multiply(i, state):
        a, b, real, imaginary = state
        c, s = _row(cosines, i), _row(sines, i)
        a, b = a * c - b * s, a * s + b * c
        return a, b, _put(real, i + 1, a), _put(imaginary, i + 1, b)

    start = one, one * 0, zeros.at[0].set(one), zeros.at[0].set(one * 0)
    return jax.lax.fori_loop(0, len(cosines) - 1, multiply, start)[2:]


@separate_kernel
def _apply_phases(columns, phases):
    real, imaginary = phases
    return columns * real[:, None], columns * imaginary[:, None]


def _apply_reflectors(basis, reflectors):
    """U - v (τ v†U) of each reflector, the last one first."""
    n, empty, (*vectors, taus) = len(basis[0]), jnp.zeros_like(basis[0][0]), reflectors

    def reflect(j, basis):
        i = n - 3 - j
        v = [_row(part, i) for part in vectors]
        over_rows = partial(jax.lax.fori_loop, i + 1, n)
        overlap = over_rows(lambda j, sums: _add_overlap(sums, basis, v, j), (empty, empty))
        overlap = _scale_overlap(*overlap, _row(taus, i))
        return over_rows(lambda j, basis: _reflect_row(basis, v, overlap, j), basis)

    return jax.lax.fori_loop(0, n - 2, reflect, basis)


@separate_kernel
def _add_overlap(sums, basis, v, j):
    """Add (v_j)* U_ji for all i."""
    (pr, pi), (ur, ui, vr, vi) = sums, (_row(x, j) for x in (*basis, *v))
    return pr + vr * ur + vi * ui, pi + vr * ui - vi * ur


@separate_kernel
def _scale_overlap(pr, pi, tau):
    return tau * pr, tau * pi


@separate_kernel
def _reflect_row(basis, v, overlap, j):
    (ur, ui), (pr, pi), (x, y) = basis, overlap, (_row(part, j) for part in v)
    real, imaginary = _row(ur, j) - x * pr + y * pi, _row(ui, j) - x * pi - y * pr
    return _put(ur, j, real), _put(ui, j, imaginary)
