"""Wannier90's checkpoint: `.chk` (Fortran records) and `.chk.fmt` (the same as text).

In order: a comment; num_bands; the number of excluded bands and their list; the lattice, Å, and the
reciprocal one, each first index fastest; num_kpts; mp_grid; the k-points; nntot; num_wann; a word;
whether bands were disentangled, and if so Ω_I, `lwindow` (band, k), `ndimwin` (k) and
`u_matrix_opt` (band, Wannier function, k); `u_matrix` (n, n, k); `m_matrix` (n, n, nntot, k); the
centres, Å; the spreads. First indices run fastest.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Complex, Float, Int

from jaxspin.interop.wannier90.records import Records, TextRecords, open_records
from jaxspin.interop.wannier90.text import file_error

_UNITARY = 1e-3  # allowed |V†V − 1|; an honest file has 1e-10
_ON_MESH = 1e-4  # allowed distance of k N from an integer: files have six decimals or more


class Chk(NamedTuple):
    """A checkpoint."""

    path: Path
    lattice: Float[np.ndarray, "3 3"]
    mesh: tuple[int, int, int]
    k: Float[np.ndarray, "K 3"]  # reduced
    states: Complex[np.ndarray, "K b n"]  # V: Wannier functions in the bands of the calculation
    centres: Float[np.ndarray, "n 3"]
    state: str  # "postwann" when the run has ended
    surplus: bool  # a record too many at its end


class _Counts(NamedTuple):
    bands: int
    k: int
    neighbours: int
    size: int


def read_chk(path: Path) -> Chk:
    """Read a checkpoint, of either form."""
    with open_records(path) as file:
        file.read_text("a comment")
        bands = _read_count(file, "num_bands")
        excluded = _read_count(file, "the number of excluded bands", least=0)
        file.read_integers(excluded, 1, "the excluded bands")
        lattice = file.read_reals(1, 9, "the lattice").reshape(3, 3).T
        file.read_reals(1, 9, "the reciprocal lattice")
        points = _read_count(file, "num_kpts")
        mesh = file.read_integers(1, 3, "mp_grid")[0]
        _check_points(file, points, mesh)
        k = file.read_reals(points, 3, "the k-points")
        neighbours = _read_count(file, "nntot")
        size = _read_count(file, "num_wann")
        counts = _Counts(bands, points, neighbours, size)
        _check_counts(file, counts)
        word = file.read_text("the state of the calculation").strip()
        states = _read_states(file, counts)
        file.skip_complexes(points * neighbours * size**2, "m_matrix")
        centres = file.read_reals(size, 3, "the centres")
        file.read_reals(size, 1, "the spreads")
        surplus = file.skip_surplus()
        file.must_end()
    _check_mesh(path, k, mesh)
    _check_unitary(path, states)
    return Chk(path, lattice, tuple(mesh.tolist()), k, states, centres, word, surplus)


def _read_count(file: Records | TextRecords, what: str, least: int = 1) -> int:
    value = int(file.read_integers(1, 1, what)[0, 0])
    if value < least:
        raise file.read_error(f"{what}, at least {least}", value)
    return value


def _check_points(file: Records | TextRecords, points: int, mesh: Int[np.ndarray, "3"]) -> None:
    if np.min(mesh) < 1 or math.prod(mesh.tolist()) != points:
        raise file.read_error(f"mp_grid of num_kpts = {points} points", mesh.tolist())


def _check_counts(file: Records | TextRecords, counts: _Counts) -> None:
    """Check the counts before memory is allocated for the matrices."""
    if counts.size > counts.bands:
        raise file.read_error(f"num_wann, at most num_bands = {counts.bands}", counts.size)
    file.must_hold(counts.k * counts.size**2 * (1 + counts.neighbours))


def _read_states(file: Records | TextRecords, counts: _Counts) -> Complex[np.ndarray, "K b n"]:
    """Read V = U_opt U, with zeros for the bands outside the window."""
    disentangled = file.read_logicals(1, "whether bands were disentangled")[0]
    if not disentangled:
        if counts.bands != counts.size:
            raise file.read_error(f"num_wann = num_bands = {counts.bands}", counts.size)
        return _read_matrices(file, counts.k, counts.size, counts.size, "u_matrix")
    file.read_reals(1, 1, "Omega_I")
    file.must_hold(counts.k * counts.size * counts.bands)
    window = file.read_logicals(counts.k * counts.bands, "lwindow").reshape(counts.k, counts.bands)
    inside = file.read_integers(counts.k, 1, "ndimwin")[:, 0]
    if np.any(inside != np.sum(window, axis=1)) or np.min(inside) < counts.size:
        k = int(np.argmax((inside != np.sum(window, axis=1)) | (inside < counts.size)))
        found = f"{inside[k]} at k-point {k + 1}, where lwindow has {np.sum(window[k])}"
        raise file.read_error(f"ndimwin, the bands in lwindow and at least {counts.size}", found)
    optimal = _read_matrices(file, counts.k, counts.bands, counts.size, "u_matrix_opt")
    unitary = _read_matrices(file, counts.k, counts.size, counts.size, "u_matrix")
    return _at_bands(optimal, window) @ unitary


def _read_matrices(file: Records | TextRecords, k: int, rows: int, columns: int, what: str):
    """Read one matrix for each k; rows run fastest, then columns."""
    values = file.read_complexes(k * columns * rows, what).reshape(k, columns, rows)
    if not np.max(np.abs(values)) <= 1 + _UNITARY:
        raise file.read_error(f"{what}, elements of unitary matrices", "one with larger elements")
    return values.swapaxes(1, 2)


def _at_bands(
    optimal: Complex[np.ndarray, "K b n"], window: Bool[np.ndarray, "K b"]
) -> Complex[np.ndarray, "K b n"]:
    """Move the first rows to the bands inside the window, to which they belong."""
    placed = np.zeros(optimal.shape, complex)
    for one, rows, inside in zip(placed, optimal, window, strict=True):
        one[inside] = rows[: np.sum(inside)]
    return placed


def _check_mesh(path: Path, k: Float[np.ndarray, "K 3"], mesh: Int[np.ndarray, "3"]) -> None:
    steps = k * mesh
    near = np.max(np.abs(steps - np.rint(steps))) < _ON_MESH
    if not near or len(np.unique(np.mod(np.rint(steps), mesh), axis=0)) != len(k):
        expected = f"a checkpoint with the k-points of the mesh {mesh.tolist()} around Gamma"
        raise file_error(path, None, expected, "one with others")


def _check_unitary(path: Path, states: Complex[np.ndarray, "K b n"]) -> None:
    overlap = states.conj().swapaxes(1, 2) @ states - np.eye(states.shape[2])
    violation = np.max(np.abs(overlap), axis=(1, 2))
    if np.max(violation) > _UNITARY:
        raise file_error(
            path,
            None,
            f"a checkpoint with V^dagger V = 1 within {_UNITARY}",
            f"one off by {np.max(violation):.3g} at k-point {np.argmax(violation) + 1}",
        )
