"""Eigensolvers: every algorithm, on a battery of matrices that break careless ones."""

import contextlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxspin.engine import eigensolvers, xla
from jaxspin.engine.eigensolvers import eigh

#: Compiling is most of the time: not every size in both precisions.
SIZES = {np.complex128: (1, 2, 3, 4, 6, 9, 14), np.complex64: (1, 2, 3, 4, 8, 14)}
#: Largest error in units of |H|: of H U - U E, of U†U - 1 and of the energies.
TOLERANCE = {np.dtype(np.complex128): 1e-14, np.dtype(np.complex64): 5e-6}
SPLITTINGS = (1e-3, 1e-6, 1e-9, 1e-12)


def with_spectrum(energies, rng):
    """A matrix with these eigenvalues and random eigenvectors."""
    n = len(energies)
    basis = np.linalg.qr(rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)))[0]
    return (basis * energies) @ basis.conj().T


def kramers(n, splitting, rng):
    """Pairs of levels, degenerate or split by this; a level alone if n is odd."""
    energies = np.repeat(rng.normal(size=(n + 1) // 2), 2)
    energies[1::2] += splitting
    return with_spectrum(energies[:n], rng)


def block_diagonal(n, rng):
    matrix = with_spectrum(rng.normal(size=n), rng)
    side = np.arange(n) < n // 2
    return np.where(side[:, None] == side, matrix, 0)


def chain(n, rng):
    """Tridiagonal already, in places split."""
    hopping = rng.integers(0, 2, n - 1) * np.exp(1j * rng.normal(size=n - 1))
    return np.diag(rng.integers(-1, 2, n)) + np.diag(hopping, 1) + np.diag(hopping.conj(), -1)


def scales(dtype):
    exponents = (-150, -100, -30, 0, 30, 100, 150) if dtype == np.complex128 else (-30, -9, 9, 30)
    return [10.0**x for x in exponents]


def topological_insulator(rng):
    """Bi2Se3, 4 x 4, on and around the centre of the zone, with and without a mass."""
    x, y, z = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    one = np.eye(2)
    for k in (0 * rng.normal(size=3), *(s * rng.normal(size=3) for s in (1e-12, 1e-6, 1e-2, 1))):
        for zeeman in (0, 1e-9, 1e-3):
            square = k @ k
            spin = sum(a * np.kron(x, b) for a, b in zip(k, (x, y, z), strict=True))
            terms = (-0.28 + 6.86 * square) * np.kron(z, one) + 3.33 * spin
            yield terms + (0.0083 + 5.74 * square) * np.eye(4) + zeeman * np.kron(one, z)


def battery(n, dtype):
    """Names and matrices, (M, n, n)."""
    rng = np.random.default_rng(n)
    named = [("random", with_spectrum(rng.normal(size=n), rng)) for _ in range(60)]
    named += [(f"pairs {s}", kramers(n, s, rng)) for s in (0, *SPLITTINGS) for _ in range(8)]
    named += [("identity", np.eye(n)), ("zero", np.zeros((n, n))), ("minus", -3.7 * np.eye(n))]
    noise = with_spectrum(rng.normal(size=n), rng)
    named += [(f"identity and {s}", np.eye(n) + s * noise) for s in (1e-16, 1e-14, *SPLITTINGS)]
    named += [("signs", with_spectrum(np.sign(rng.normal(size=n)), rng)) for _ in range(8)]
    named += [("projector", with_spectrum(np.arange(n) == 0, rng))]
    named += [("blocks", block_diagonal(n, rng)) for _ in range(4)]
    named += [("integers", np.diag(rng.integers(-2, 3, n))) for _ in range(8)]
    named += [("graded", with_spectrum(np.logspace(0, -12, n), rng)) for _ in range(4)]
    down = np.sqrt(np.logspace(0, -12, n))
    named += [("graded rows", down[:, None] * noise * down), ("up", (down[:, None] * noise * down))]
    named += [("chain", chain(n, rng)) for _ in range(8)]
    named += [("ones", np.ones((n, n)))]
    named += [(f"{s:g}", s * kramers(n, t, rng)) for s in scales(dtype) for t in (0, 1e-3)]
    named += [("real", with_spectrum(rng.normal(size=n), rng).real)]
    if n == 4:
        named += [("insulator", matrix) for matrix in topological_insulator(rng)]
    names, matrices = zip(*named, strict=True)
    matrices = np.array(matrices, dtype)
    return names, (matrices + matrices.conj().swapaxes(1, 2)) / 2


def solve(function, matrices):
    energies, basis = jax.jit(function)(jnp.moveaxis(matrices, 0, -1))
    return np.moveaxis(energies, -1, 0), np.moveaxis(basis, -1, 0)


def errors(matrices, energies, basis):
    """Largest errors of each matrix, in units of |H|: eigenvectors, orthogonality, energies."""
    matrices, basis = matrices.astype(np.complex128), basis.astype(np.complex128)
    size = np.max(abs(matrices), axis=(1, 2))
    size = np.where(size == 0, 1, size)[:, None, None]
    residual = (matrices / size) @ basis - basis * (energies[:, None] / size)
    overlap = basis.conj().swapaxes(1, 2) @ basis - np.eye(basis.shape[1])
    exact = np.linalg.eigvalsh(matrices / size)
    shift = energies / size[:, 0] - exact
    return np.array(
        [np.max(abs(x.reshape(len(x), -1)), axis=1) for x in (residual, overlap, shift)]
    )


def check(names, matrices, energies, basis):
    assert energies.dtype == matrices.real.dtype
    assert basis.dtype == matrices.dtype
    wrong = errors(matrices, energies, basis)
    bad = [
        (name, error)
        for name, error in zip(names, wrong.T.tolist(), strict=True)
        if not max(error) <= TOLERANCE[matrices.dtype]
    ]
    assert not bad
    assert np.all(np.diff(energies, axis=1) >= 0)


@pytest.mark.parametrize(
    ("dtype", "n"),
    [
        pytest.param(dtype, n, marks=[pytest.mark.study] * (n in (8, 12)))  # long to compile
        for dtype, sizes in SIZES.items()
        for n in sizes
    ],
)
def test_battery(dtype, n):
    """All in one tile, so that no matrix disturbs another."""
    names, matrices = battery(n, dtype)
    check(names, matrices, *solve(eigh, matrices))


def test_a_wrong_basis_is_found():
    names, matrices = battery(4, np.complex128)
    energies, basis = np.linalg.eigh(matrices)
    turned = basis + 1e-12 * np.roll(basis, 1, axis=2)
    with pytest.raises(AssertionError):
        check(names, matrices, energies, turned)
    with pytest.raises(AssertionError):
        check(names, matrices, energies + 1e-12 * abs(energies).max(axis=1, keepdims=True), basis)


def test_without_hints_to_the_compiler(monkeypatch):
    """The hints make it fast; what makes it right is not a hint."""
    monkeypatch.setattr(xla, "set_xla_metadata", lambda **_: contextlib.nullcontext())
    names, matrices = battery(4, np.complex128)
    check(names, matrices, *solve(partial(eigensolvers.householder_ql), matrices))
    check(names, matrices, *solve(partial(eigensolvers.looped_ql), matrices))


def test_library():
    """For more bands than there is an algorithm of our own for."""
    names, matrices = battery(14, np.complex128)
    check(names, matrices, *solve(eigensolvers.library, matrices))
    assert eigensolvers.is_library(25)


def test_fixed_number_of_sweeps():
    """The path for accelerators."""
    names, matrices = battery(4, np.complex128)
    fixed = partial(eigensolvers.solve_unrolled, iterate=eigensolvers.sweep_fixed_times)
    check(names, matrices, *solve(fixed, matrices))


@pytest.mark.parametrize("n", [1, 2, 3, 14])
def test_not_finite(n):
    """NaN in, NaN out, and the neighbours in the tile do not notice."""
    names, matrices = battery(n, np.complex128)
    matrices[1, n - 1, 0], matrices[1, 0, n - 1] = np.nan, np.nan
    energies, basis = solve(eigh, matrices)
    assert np.all(np.isnan(energies[1]))
    assert np.all(np.isnan(basis[1]))
    others = np.arange(len(names)) != 1
    names = [name for name, other in zip(names, others, strict=True) if other]
    check(names, matrices[others], energies[others], basis[others])


@pytest.mark.parametrize("n", [2, 3])
def test_in_vmap_and_scan(n):
    _, matrices = battery(n, np.complex128)
    tile = jnp.moveaxis(matrices[:60], 0, -1)
    energies, basis = eigh(tile)
    both = jnp.stack([tile, 2 * tile], axis=1)
    for batched in (
        jax.jit(jax.vmap(eigh, in_axes=1))(both),
        jax.lax.scan(lambda _, h: (None, eigh(h)), None, jnp.moveaxis(both, 1, 0))[1],
    ):
        np.testing.assert_allclose(batched[0], [energies, 2 * energies], atol=1e-14, rtol=0)
        np.testing.assert_allclose(abs(batched[1]), [abs(basis)] * 2, atol=1e-7)


@pytest.mark.parametrize("tile", [1, 7, 65])
def test_tiles_of_any_size(tile):
    names, matrices = battery(3, np.complex128)
    check(names[:tile], matrices[:tile], *solve(eigh, matrices[:tile]))
