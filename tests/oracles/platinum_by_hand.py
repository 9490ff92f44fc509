"""Platinum from the public Wannier90 test case, read by loops of NumPy alone.

`from_files` makes the matrices of `_tb.dat`, `_wsvec.dat`, `.chk` and `.spn`. `from_overlaps` makes
H(R) from `.eig` and r(R) from the overlaps in `.chk`, with all digits of double precision and the
phases e^{ib·τ} taken out of the overlaps before the finite difference: what WannierBerri does.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

SEED = Path(os.environ.get("JAXSPIN_TEST_DATA", "absent")) / "pt_wannier90" / "Pt"
SIZE, MESH = 18, 64


class Matrices(NamedTuple):
    """Blocks by cell, shifted to their closest images; positions include the centres."""

    lattice: np.ndarray
    cells: list[tuple[int, int, int]]
    hamiltonian: np.ndarray  # (r, n, n)
    position: np.ndarray  # (r, 3, n, n)
    spin: np.ndarray  # (r, 3, n, n)
    centres: np.ndarray  # (n, 3)


class _Tb(NamedTuple):
    lattice: np.ndarray
    cells: np.ndarray
    degeneracy: np.ndarray
    hamiltonian: np.ndarray
    position: np.ndarray


def from_files() -> Matrices:
    tb, chk = _tb(), _chk()
    spin = _to_cells(chk, tb.cells, _in_wannier_functions(chk, _spn(chk)))
    home = tb.position[tb.cells.tolist().index([0, 0, 0])]
    return _placed(tb, tb.hamiltonian, tb.position, spin, np.einsum("inn->ni", home).real)


def from_overlaps() -> Matrices:
    tb, chk = _tb(), _chk()
    energies = np.loadtxt(f"{SEED}.eig")[:, 2].reshape(MESH, -1)
    v = chk["basis"]
    h = _to_cells(chk, tb.cells, v.conj().swapaxes(1, 2) @ (energies[:, :, None] * v))
    position = _to_cells(chk, tb.cells, _connection(chk))
    position[tb.cells.tolist().index([0, 0, 0])] += np.stack([np.diag(x) for x in chk["centres"].T])
    spin = _to_cells(chk, tb.cells, _in_wannier_functions(chk, _spn(chk)))
    return _placed(tb, h, position, spin, chk["centres"])


def _connection(chk) -> np.ndarray:
    """i Σ_b w_b b M_mn(k, b) e^{ib·τ_n}, (k, 3, n, n)."""
    reciprocal = 2 * np.pi * np.linalg.inv(chk["lattice"]).T
    steps = np.array([s for s in np.ndindex(3, 3, 3) if s != (1, 1, 1)]) - 1
    lengths = np.linalg.norm(steps @ reciprocal, axis=1)
    b = (steps[lengths < lengths.min() * 1.001] / 4) @ reciprocal
    weight = 3 / np.sum(b**2)
    phases = np.exp(1j * b @ chk["centres"].T)
    a = np.zeros((MESH, 3, SIZE, SIZE), complex)
    for k, overlaps in enumerate(chk["overlaps"]):
        # The order of the neighbours is not in the file: M_nn is nearly e^{-ib·τ_n}.
        order = np.einsum("bn,jnn->jb", phases, overlaps).real.argmax(axis=1)
        assert sorted(order) == list(range(len(b)))
        for i, overlap in zip(order, overlaps, strict=True):
            a[k] += 1j * weight * b[i][:, None, None] * overlap * phases[i]
    return a


def _placed(tb: _Tb, hamiltonian, position, spin, centres) -> Matrices:
    """Each element at its closest images, and the Hermitian part of it all."""
    shifts = _wsvec()
    blocks = np.concatenate([hamiltonian[:, None], position, spin], axis=1)
    found: dict[tuple[int, int, int], np.ndarray] = {}
    for cell, degeneracy, block in zip(tb.cells.tolist(), tb.degeneracy, blocks, strict=True):
        for m, n in np.ndindex(SIZE, SIZE):
            images = shifts[(*cell, m, n)]
            for shift in images:
                target = tuple(a + b for a, b in zip(cell, shift, strict=True))
                there = found.setdefault(target, np.zeros(blocks.shape[1:], complex))
                there[:, m, n] += block[:, m, n] / (degeneracy * len(images))
    cells = sorted(found)
    x = np.array([found[cell] for cell in cells])
    x = (x + x[::-1].conj().swapaxes(-1, -2)) / 2  # sorted cells end with -R of the first
    return Matrices(tb.lattice, cells, x[:, 0], x[:, 1:4], x[:, 4:7], centres)


def _to_cells(chk, cells, matrices) -> np.ndarray:
    phase = np.exp(-2j * np.pi * cells @ chk["k"].T) / MESH
    return np.einsum("rk,k...->r...", phase, matrices)


def _in_wannier_functions(chk, operator) -> np.ndarray:
    v = chk["basis"][:, None]
    return v.conj().swapaxes(-1, -2) @ operator @ v


def _tb() -> _Tb:
    lines = Path(f"{SEED}_tb.dat").read_text().split("\n")
    lattice = np.array([line.split() for line in lines[1:4]], float)
    number = int(lines[5])
    rows = -(-number // 15)
    degeneracy = np.array(" ".join(lines[6 : 6 + rows]).split(), int)
    words = np.array(" ".join(lines[6 + rows :]).split(), float)
    h, r = np.split(words, [number * (3 + 4 * SIZE**2)])
    h, r = h.reshape(number, -1), r.reshape(number, -1)
    cells = h[:, :3].astype(int)
    h = h[:, 3:].reshape(number, SIZE, SIZE, 4)
    r = r[:, 3:].reshape(number, SIZE, SIZE, 8)
    h = (h[..., 2] + 1j * h[..., 3]).swapaxes(1, 2)  # the first index runs fastest
    r = (r[..., 2::2] + 1j * r[..., 3::2]).transpose(0, 3, 2, 1)
    return _Tb(lattice, cells, degeneracy, h, r)


def _wsvec() -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    lines = iter(Path(f"{SEED}_wsvec.dat").read_text().split("\n")[1:])
    found = {}
    for line in lines:
        if line.split():
            *cell, m, n = map(int, line.split())
            count = int(next(lines))
            images = [tuple(map(int, next(lines).split())) for _ in range(count)]
            found[(*cell, m - 1, n - 1)] = images
    return found


def _records(path: str) -> list[bytes]:
    data, found, at = Path(path).read_bytes(), [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : at + 4 + length])
        at += length + 8
    return found


def _chk() -> dict[str, np.ndarray]:
    records = _records(f"{SEED}.chk")
    numbers = lambda i, kind: np.frombuffer(records[i], kind)  # noqa: E731
    bands, neighbours = int(numbers(1, "<i4")[0]), int(numbers(9, "<i4")[0])
    inside = numbers(14, "<i4").reshape(MESH, bands) != 0
    window = numbers(15, "<i4")
    disentangled = numbers(16, "<c16").reshape(MESH, SIZE, bands).swapaxes(1, 2)
    rotation = numbers(17, "<c16").reshape(MESH, SIZE, SIZE).swapaxes(1, 2)
    basis = np.zeros((MESH, bands, SIZE), complex)
    for k in range(MESH):
        basis[k][inside[k]] = disentangled[k][: window[k]] @ rotation[k]
    overlaps = numbers(18, "<c16").reshape(MESH, neighbours, SIZE, SIZE).swapaxes(2, 3)
    return {
        "lattice": numbers(4, "<f8").reshape(3, 3).T,
        "k": numbers(8, "<f8").reshape(MESH, 3),
        "basis": basis,
        "overlaps": overlaps,
        "centres": numbers(19, "<f8").reshape(SIZE, 3),
    }


def _spn(chk) -> np.ndarray:
    """⟨m|σ|n⟩ of all bands, (k, 3, bands, bands)."""
    bands = chk["basis"].shape[1]
    records = _records(f"{SEED}.spn")[2:]
    spin = np.zeros((MESH, 3, bands, bands), complex)
    pairs = [(n, m) for m in range(bands) for n in range(m + 1)]
    for k, record in enumerate(records):
        values = np.frombuffer(record, "<c16").reshape(-1, 3)
        for (n, m), value in zip(pairs, values, strict=True):
            spin[k, :, n, m], spin[k, :, m, n] = value, value.conj()
    return spin
