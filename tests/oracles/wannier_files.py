"""Wannier90 files of crystals that are known exactly, made as Wannier90 makes them.

A crystal has short-ranged operators. They are sampled on the ab initio mesh, and from there go
into `.chk`, `.spn` and `.eig` as bands, and into `_hr`, `_r`, `_tb` and `_wsvec` as Fourier sums
over the Wigner-Seitz cells of the supercell.
"""

import itertools
import struct
from typing import NamedTuple

import numpy as np

from jaxspin.engine.small_matrices import PAULI

BOHR = 0.529177210903


class Crystal(NamedTuple):
    """Operators X(R) by cell, on an ab initio mesh."""

    lattice: np.ndarray
    mesh: tuple[int, int, int]
    centres: np.ndarray  # Cartesian
    hamiltonian: dict[tuple[int, int, int], np.ndarray]  # (1, n, n)
    position: dict[tuple[int, int, int], np.ndarray]  # (3, n, n)
    spin: dict[tuple[int, int, int], np.ndarray]  # (3, n, n)
    extra: bool  # a band below the window, and one inside it that is no Wannier function's


def random_crystal(
    mesh=(4, 3, 3), orbitals=2, order="interlaced", extra=False, seed=1, coupling=0.05, spread=0.45
) -> Crystal:
    """Hops between nearest neighbours, weak spin-orbit coupling, time reversal, both spins of an
    orbital at one place."""
    rng = np.random.default_rng(seed)
    lattice = np.diag([2.0, 2.3, 2.7]) + 0.2 * rng.random((3, 3))
    sites = spread * rng.random((orbitals, 3))
    cells = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    hamiltonian, position = {}, {}
    for cell in cells:
        h = np.kron(rng.normal(size=(orbitals, orbitals)), np.eye(2)).astype(complex)
        for sigma in PAULI[1:]:
            h += 1j * coupling * np.kron(rng.normal(size=(orbitals, orbitals)), sigma)
        r = 0.1 * rng.normal(size=(3, 2 * orbitals, 2 * orbitals)) + 0j
        if cell == (0, 0, 0):
            r = r + r.conj().swapaxes(1, 2)
            for axis in range(3):
                np.fill_diagonal(r[axis], np.repeat(sites, 2, axis=0) @ lattice[:, axis])
            hamiltonian[cell], position[cell] = (h + h.conj().T)[None], r
        else:
            back = tuple(-c for c in cell)
            hamiltonian[cell], position[cell] = h[None], r
            hamiltonian[back] = h.conj().T[None]
            position[back] = r.conj().swapaxes(1, 2)
    centres = np.repeat(sites, 2, axis=0) @ lattice
    sigma = np.array([np.kron(np.eye(orbitals), s) for s in PAULI[1:]])
    crystal = Crystal(lattice, mesh, centres, hamiltonian, position, {(0, 0, 0): sigma}, extra)
    return crystal if order == "interlaced" else in_block_order(crystal)


def in_block_order(crystal: Crystal) -> Crystal:
    """The same crystal, all up orbitals first."""
    n = len(crystal.centres)
    order = [*range(0, n, 2), *range(1, n, 2)]
    turned = {
        name: {cell: x[:, order][:, :, order] for cell, x in getattr(crystal, name).items()}
        for name in ("hamiltonian", "position", "spin")
    }
    return crystal._replace(centres=crystal.centres[order], **turned)


def moved(crystal: Crystal, cell=(0, 0, 1), orbitals=(2, 3)) -> Crystal:
    """The same crystal with some Wannier functions taken from another cell.

    Its hops reach farther in R, and the closest images of R are no longer those of R + τ_n − τ_m.
    """
    steps = np.zeros((len(crystal.centres), 3), int)
    steps[list(orbitals)] = cell
    changed = {}
    for name in ("hamiltonian", "position", "spin"):
        blocks: dict[tuple[int, ...], np.ndarray] = {}
        for start, block in getattr(crystal, name).items():
            for m, n in np.ndindex(block.shape[1:]):
                target = tuple((np.array(start) - steps[n] + steps[m]).tolist())
                blocks.setdefault(target, np.zeros(block.shape, complex))
                blocks[target][:, m, n] += block[:, m, n]
        changed[name] = blocks
    for axis, shift in enumerate((steps @ crystal.lattice).T):
        changed["position"][0, 0, 0][axis] += np.diag(shift)
    return crystal._replace(centres=crystal.centres + steps @ crystal.lattice, **changed)


def at(operator, k) -> np.ndarray:
    """Σ_R e^{ik·R} X(R) at reduced k."""
    return sum(np.exp(2j * np.pi * np.dot(k, cell)) * x for cell, x in operator.items())


def mesh_points(crystal: Crystal) -> np.ndarray:
    return np.array([np.divide(i, crystal.mesh) for i in np.ndindex(*crystal.mesh)])


def wigner_seitz(crystal: Crystal) -> dict[tuple[int, int, int], int]:
    """The cells nearest to the origin modulo the supercell, with how many are as near."""
    found = {}
    for cell in itertools.product(*(range(-n, n + 1) for n in crystal.mesh)):
        images = np.array(cell) + np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3))) * (
            crystal.mesh
        )
        lengths = np.linalg.norm(images @ crystal.lattice, axis=1)
        own = np.linalg.norm(np.array(cell) @ crystal.lattice)
        if own < lengths.min() + 1e-6:
            found[cell] = int(np.sum(lengths < own + 1e-6))
    return found


def closest_shifts(crystal: Crystal, cell, m: int, n: int) -> np.ndarray:
    """The supercell vectors T with the smallest |R + T + τ_n − τ_m|."""
    steps = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3))) * crystal.mesh
    vectors = (np.array(cell) + steps) @ crystal.lattice + crystal.centres[n] - crystal.centres[m]
    lengths = np.linalg.norm(vectors, axis=1)
    return steps[lengths < lengths.min() + 1e-5]


def sampled(operator, crystal: Crystal) -> dict:
    """X(R) on the Wigner-Seitz cells from X(k) on the mesh."""
    k = mesh_points(crystal)
    values = np.array([at(operator, point) for point in k])
    return {
        cell: np.tensordot(np.exp(-2j * np.pi * (k @ np.array(cell))) / len(k), values, axes=1)
        for cell in wigner_seitz(crystal)
    }


def files(crystal: Crystal, digits: int = 15) -> dict[str, bytes]:
    """Every file, by the ending of its name."""
    text = {
        "_tb.dat": tb(crystal, digits),
        "_hr.dat": by_line(sampled(crystal.hamiltonian, crystal), crystal, digits, True),
        "_r.dat": by_line(sampled(crystal.position, crystal), crystal, digits, False),
        "_wsvec.dat": wsvec(crystal),
        ".win": win(crystal),
        ".wout": wout(crystal),
        "_centres.xyz": centres(crystal),
        "_band.dat": band_dat(crystal),
        "_band.kpt": band_kpt(),
    }
    text |= bands(crystal)
    return {name: x.encode() if isinstance(x, str) else x for name, x in text.items()}


def _counts(crystal: Crystal) -> str:
    weights = [*wigner_seitz(crystal).values()]
    lines = [f"{len(crystal.centres):12d}", f"{len(weights):12d}"]
    lines += ["".join(f"{w:5d}" for w in weights[i : i + 15]) for i in range(0, len(weights), 15)]
    return "\n".join(lines) + "\n"


def _elements(block: np.ndarray):
    """n, m, [Re, Im, ...], m fastest."""
    for n in range(block.shape[2]):
        for m in range(block.shape[1]):
            yield m + 1, n + 1, np.ascontiguousarray(block[:, m, n]).view(float)


def tb(crystal: Crystal, digits: int) -> str:
    out = " written by a test\n"
    out += "".join(" ".join(f"{x:24.16f}" for x in a) + "\n" for a in crystal.lattice)
    out += _counts(crystal)
    for operator in (crystal.hamiltonian, crystal.position):
        for cell, block in sampled(operator, crystal).items():
            out += "\n" + "".join(f"{c:5d}" for c in cell) + "\n"
            for m, n, numbers in _elements(block):
                out += f"{m:5d}{n:5d}   " + " ".join(f"{x:{digits + 7}.{digits}E}" for x in numbers)
                out += "\n"
    return out


def by_line(blocks, crystal: Crystal, digits: int, weights: bool) -> str:
    n = len(crystal.centres)
    out = " written by a test\n"
    out += _counts(crystal) if weights else f"{n:12d}\n{len(blocks):12d}\n"
    for cell, block in blocks.items():
        for m, n, numbers in _elements(block):
            out += "".join(f"{i:5d}" for i in (*cell, m, n))
            out += "".join(f" {x:{digits + 6}.{digits}f}" for x in numbers) + "\n"
    return out


def wsvec(crystal: Crystal) -> str:
    out = "## written by a test with use_ws_distance=.true.\n"
    for cell in wigner_seitz(crystal):
        for m, n in np.ndindex(2 * (len(crystal.centres),)):
            shifts = closest_shifts(crystal, cell, m, n)
            out += "".join(f"{i:5d}" for i in (*cell, m + 1, n + 1)) + f"\n{len(shifts):5d}\n"
            out += "".join("".join(f"{t:5d}" for t in shift) + "\n" for shift in shifts)
    return out


def win(crystal: Crystal) -> str:
    vectors = "\n".join(" ".join(f"{x:.12f}" for x in a) for a in crystal.lattice / BOHR)
    mesh = " ".join(map(str, crystal.mesh))
    return (
        f"num_wann = {len(crystal.centres)}\nNum_Bands : {_band_count(crystal)}  ! a comment\n"
        f"mp_grid {mesh}\nSPINORS = .TRUE. # another\n"
        "begin projections\nrandom\nend projections\n"
        f"Begin Unit_Cell_Cart\nbohr\n{vectors}\nEnd Unit_Cell_Cart\n\n"
        "begin kpoint_path\nG 0.0 0.0 0.0  X 5.0d-1 0 0\nX 0.5 0. 0.  M .5 0.5 0\nend kpoint_path\n"
    )


def wout(crystal: Crystal) -> str:
    out = " Lattice Vectors (Ang)\n"
    for i, a in enumerate(crystal.lattice, start=1):
        out += f"                    a_{i}  " + "".join(f"{x:11.6f}" for x in a) + "\n"
    out += " |  Length Unit                               :               Ang             |\n"
    for shift in (0.3, 0.0):  # of several final states the last counts
        out += " Final State\n"
        for i, c in enumerate(crystal.centres + shift, start=1):
            numbers = ",".join(f"{x:11.6f}" for x in c)
            out += f"  WF centre and spread {i:4d}  ({numbers} )     1.50000000\n"
        out += "  Sum of centres and spreads (  0.0,  0.0,  0.0 )  3.0\n"
    return out


def centres(crystal: Crystal) -> str:
    lines = ["X  " + " ".join(f"{x:14.8f}" for x in c) for c in crystal.centres]
    return f"{len(lines) + 1}\n centres\n" + "\n".join(lines) + "\nPt 0.0 0.0 0.0\n"


PATH = np.array([[0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [0.5, 0.25, 0], [0.5, 0.5, 0]])


def band_dat(crystal: Crystal) -> str:
    energies = [np.linalg.eigvalsh(at(crystal.hamiltonian, k)[0]) for k in PATH]
    out = ""
    for band in np.array(energies).T:
        out += "".join(f"  {0.1 * i:.8E}  {e:.8E}\n" for i, e in enumerate(band)) + "\n"
    return out


def band_kpt() -> str:
    lines = "".join("".join(f"{x:12.6f}" for x in k) + "   1.0\n" for k in PATH)
    return f"{len(PATH):12d}\n{lines}"


def _band_count(crystal: Crystal) -> int:
    return len(crystal.centres) + 2 * crystal.extra


class _Bands(NamedTuple):
    energies: np.ndarray  # (K, b)
    optimal: np.ndarray  # (K, b, n), the bands inside the window first
    unitary: np.ndarray  # (K, n, n)
    spin: np.ndarray  # (K, 3, b, b)


def _in_bands(crystal: Crystal) -> _Bands:
    """The Wannier functions in the bands; with `extra` one band below them and one above."""
    rng = np.random.default_rng(5)
    n, below = len(crystal.centres), int(crystal.extra)
    found = []
    for k in mesh_points(crystal):
        energies, vectors = np.linalg.eigh(at(crystal.hamiltonian, k)[0])
        states = np.zeros((_band_count(crystal), n), complex)
        states[below : below + n] = vectors.conj().T
        spin = states @ at(crystal.spin, k) @ states.conj().T
        if below:
            energies = np.concatenate([[-50.0], energies, [50.0]])
            spin[:, [[0], [-1]], [0, -1]] = PAULI[1:]  # the two others are a doublet
        w = np.linalg.qr(rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)))[0]
        inside = np.roll(states, -below, axis=0) if below else states
        found.append((energies, inside @ w.conj().T, w, spin))
    return _Bands(*(np.array(x) for x in zip(*found, strict=True)))


def bands(crystal: Crystal) -> dict[str, bytes | str]:
    values = _in_bands(crystal)
    points, count = values.energies.shape
    eig = "".join(
        f"{b + 1:5d}{k + 1:5d}{values.energies[k, b]:24.15f}\n"
        for k in range(points)
        for b in range(count)
    )
    return {
        ".eig": eig,
        ".chk": chk(crystal, values, _record),
        ".chk.fmt": chk(crystal, values, _lines),
        ".spn": spn(values, _record),
        ".spn.fmt": spn(values, _lines),
    }


def chk(crystal: Crystal, values: _Bands, form) -> bytes:
    """The checkpoint; `form` turns one item into bytes."""
    k, (points, count) = mesh_points(crystal), values.energies.shape
    n, neighbours = len(crystal.centres), 2
    inverse = 2 * np.pi * np.linalg.inv(crystal.lattice)
    items = [
        ("written by a test".ljust(33), 0),
        (np.array([count], "<i4"), 1),
        (np.array([1], "<i4"), 1),  # one excluded band
        (np.array([7], "<i4"), 1),
        (crystal.lattice.T.ravel(), 9),
        (inverse.ravel(), 9),
        (np.array([points], "<i4"), 1),
        (np.array(crystal.mesh, "<i4"), 3),
        (k.ravel(), 3),
        (np.array([neighbours], "<i4"), 1),
        (np.array([n], "<i4"), 1),
        ("postwann".ljust(20), 0),
        (np.array([int(crystal.extra)], "<i4"), 1),
    ]
    if crystal.extra:
        window = np.ones((points, count), "<i4")
        window[:, 0] = 0
        items += [
            (np.array([1.5]), 1),
            (window.ravel(), 1),
            (np.full(points, count - 1, "<i4"), 1),
            (_flat(values.optimal), 2),
            (_flat(values.unitary), 2),
        ]
    else:
        items.append((_flat(values.optimal @ values.unitary), 2))
    items += [
        (np.zeros(2 * points * neighbours * n * n), 2),
        (crystal.centres.ravel(), 3),
        (np.ones(n), 1),
    ]
    return b"".join(form(*item) for item in items)


def _flat(matrices: np.ndarray) -> np.ndarray:
    """First index fastest, k slowest."""
    return np.ascontiguousarray(matrices.swapaxes(1, 2)).ravel().view(float)


def spn(values: _Bands, form) -> bytes:
    points, count = values.energies.shape
    counts = np.array([count, points], "<i4")
    out = [form("written by a test".ljust(60), 0), form(counts, 2)]
    for sigma in values.spin:
        pairs = [sigma[:, n, m] for m in range(count) for n in range(m + 1)]
        out.append(form(np.array(pairs).ravel().view(float), 2))
    return b"".join(out)


def _record(item, width: int) -> bytes:
    data = item.encode() if isinstance(item, str) else item.tobytes()
    return struct.pack("<i", len(data)) + data + struct.pack("<i", len(data))


def _lines(item, width: int) -> bytes:
    if isinstance(item, str):
        return item.encode() + b"\n"
    form = "{:d}" if item.dtype.kind == "i" else "{:25.17g}"
    rows = item.reshape(-1, width)
    return "".join(" ".join(form.format(x) for x in row) + "\n" for row in rows).encode()
