"""The spin operator: from `.chk` and `.spn`, or σ on each orbital in an order to be found.

`.spn`, formatted: a comment; num_bands, num_kpts; for each k, m = 1..num_bands and n = 1..m three
lines "Re Im" of ⟨n|σ_x|m⟩, ⟨n|σ_y|m⟩, ⟨n|σ_z|m⟩. Unformatted: a record of 60 characters; one of the
two counts; for each k one of these numbers.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from jaxspin.engine.small_matrices import PAULI
from jaxspin.interop.wannier90.assembly import RealSpaceOperator
from jaxspin.interop.wannier90.chk import Chk
from jaxspin.interop.wannier90.records import open_records
from jaxspin.interop.wannier90.text import Cell, Lines, file_error

_EIGENVALUE = 1e-3  # ħ/2 by which an eigenvalue of a projected σ may exceed one
_REAL = 1e-6  # allowed imaginary part of a diagonal element; files have 1e-10
_CLEAR = 2.0  # ratio of two measures above which one order is taken for the other
_PLACE = 0.1  # Å; partners are farther apart than this only in the wrong order, or in no order
# |[H, σ]| relative to |H| is λ/bandwidth in the right order, up to about one in strong magnets, and
# about two where the partners are unlike orbitals.
_UNLIKE = 1.0
_NOISE = 1e-6  # relative; measures below it are those of a Hamiltonian without spin-orbit coupling


class OrderMeasures(NamedTuple):
    """Misfit of one order of pure-spin Wannier functions."""

    commutator: float  # |[H, σ]| relative to |H|
    reversal: float  # |H − σ_y H* σ_y| relative to |H|
    distance: float  # largest between the centres of partners, Å


def projected_spin(chk: Chk, path: Path) -> Complex[np.ndarray, "K 3 n n"]:
    """S(k) = V†σV on the ab initio mesh, ħ/2."""
    points, _, size = chk.states.shape
    spin = np.empty((points, 3, size, size), complex)
    for k, (states, sigma) in enumerate(zip(chk.states, _read_overlaps(chk, path), strict=True)):
        spin[k] = states.conj().T @ sigma @ states
        _check_spin(path, k, spin[k])
    return spin


def square_deviation(spin: Complex[np.ndarray, "K 3 n n"]) -> float:
    """The largest |S_i² − 1|: zero where the Wannier functions hold both spins of every state."""
    identity = np.eye(spin.shape[-1])
    return max(float(np.max(np.linalg.norm(s @ s - identity, 2, axis=(1, 2)))) for s in spin)


def spin_blocks(
    chk: Chk, spin: Complex[np.ndarray, "K 3 n n"], cells: Sequence[Cell]
) -> Iterator[tuple[Cell, Complex[np.ndarray, "3 n n"]]]:
    """S(R) = (1/N) Σ_k e^{−ik·R} S(k) of each cell."""
    for cell in cells:
        phase = np.exp(-2j * np.pi * (chk.k @ np.asarray(cell))) / len(chk.k)
        yield cell, np.tensordot(phase, spin, axes=1)


def pure_spin(order: str, size: int) -> Complex[np.ndarray, "3 n n"]:
    """σ on each orbital: up, down, up, down, ... (interlaced) or up, up, ..., down, ... (block)."""
    one = np.eye(size // 2)
    pairs = [(one, s) if order == "interlaced" else (s, one) for s in PAULI[1:]]
    return np.array([np.kron(a, b) for a, b in pairs])


def home_only(
    local: Complex[np.ndarray, "3 n n"], cells: Sequence[Cell]
) -> Complex[np.ndarray, "r 3 n n"]:
    """Write a local operator as the blocks of the home cell."""
    blocks = np.zeros((len(cells), *local.shape), complex)
    blocks[list(cells).index((0, 0, 0))] = local
    return blocks


def partner_distance(order: str, centres: Float[np.ndarray, "n 3"]) -> float:
    """The largest distance between the two spins of an orbital, Å."""
    half = len(centres) // 2
    up, down = (
        (centres[::2], centres[1::2]) if order == "interlaced" else (centres[:half], centres[half:])
    )
    return float(np.max(np.linalg.norm(up - down, axis=1)))


def order_measures(
    order: str, hamiltonian: RealSpaceOperator, centres: Float[np.ndarray, "n 3"]
) -> OrderMeasures:
    """Misfit of an order of pure-spin Wannier functions: small numbers for the right one.

    The commutator is small because spin-orbit coupling is small against hopping, time reversal
    holds in crystals without magnetic order, and the two spins of an orbital sit at one place.
    """
    size = len(centres)
    sigma = pure_spin(order, size)
    commuted = reversed_ = whole = 0.0
    for cell, (block,) in zip(hamiltonian.cells, hamiltonian.blocks, strict=True):
        if not any(cell):  # the zero of energy is arbitrary
            block = block - np.trace(block) / size * np.eye(size)
        whole += np.sum(np.abs(block) ** 2)
        commuted += sum(np.sum(np.abs(block @ s - s @ block) ** 2) for s in sigma)
        reversed_ += np.sum(np.abs(block - sigma[1] @ block.conj() @ sigma[1]) ** 2)
    scale = np.sqrt(whole) or 1.0
    distance = partner_distance(order, centres)
    return OrderMeasures(
        float(np.sqrt(commuted) / scale), float(np.sqrt(reversed_) / scale), distance
    )


def detect_order(hamiltonian: RealSpaceOperator, centres: Float[np.ndarray, "n 3"]) -> str:
    """Detect the order of pure-spin Wannier functions that fits the Hamiltonian.

    Raises:
        ValueError: neither order fits clearly better, or the measures contradict each other.
    """
    size = len(centres)
    if size % 2:
        raise ValueError(
            f"Argument `spin_order` must be 'unknown' for {size} Wannier functions, an odd number, "
            "but is None where the .win file says `spinors`."
        )
    measures = {o: order_measures(o, hamiltonian, centres) for o in ("interlaced", "block")}
    if size == 2:  # both orders are the same
        return "interlaced"
    right, wrong_ = sorted(measures, key=lambda order: measures[order].commutator)
    a, b = measures[right], measures[wrong_]
    clear = b.commutator > _CLEAR * a.commutator + _NOISE
    against = a.reversal > _CLEAR * b.reversal + _NOISE or a.distance > b.distance + _PLACE
    if unlike_partners(a) or not clear or against:
        reason = (
            "in which the two spins of each orbital are not found (it takes a .spn file)"
            if unlike_partners(a)
            else f"whose order is {'contradictory' if clear else 'not clear'}"
        )
        found = "; ".join(f"{order}: {describe_measures(m)}" for order, m in measures.items())
        raise ValueError(
            "Argument `spin_order` must be 'interlaced' (up, down, up, down, ...), 'block' (up, "
            "up, ..., down, down, ...) or 'unknown' (no spin operator) for these files, "
            f"{reason}, but is None. {found}."
        )
    return right


def unlike_partners(measures: OrderMeasures) -> bool:
    """Tell if the partners are visibly not one orbital with two spins."""
    return measures.commutator > _UNLIKE or measures.distance > _PLACE


def describe_measures(measures: OrderMeasures) -> str:
    """Describe the measures in words."""
    return (
        f"|[H, sigma]| {measures.commutator:.2g}, |H - sigma_y H* sigma_y| {measures.reversal:.2g} "
        f"(relative to |H|), partners up to {measures.distance:.2g} Angstrom apart"
    )


def _read_overlaps(chk: Chk, path: Path) -> Iterator[Complex[np.ndarray, "3 b b"]]:
    """Yield ⟨n|σ|m⟩ between the bands at each k."""
    points, bands, _ = chk.states.shape
    with open_records(path) as file:
        file.read_text("a comment")
        found = tuple(file.read_integers(1, 2, "num_bands and num_kpts")[0].tolist())
        if found != (bands, points):
            expected = f"num_bands, num_kpts = {(bands, points)}, as in {chk.path.name}"
            raise file.read_error(expected, found)
        pairs = bands * (bands + 1) // 2
        file.must_hold(3 * pairs * points)
        m, n = np.tril_indices(bands)
        for _ in range(points):
            elements = (
                file.read_complexes(3 * pairs, "matrix elements of sigma").reshape(pairs, 3).T
            )
            sigma = np.empty((3, bands, bands), complex)
            sigma[:, n, m] = elements
            sigma[:, m, n] = elements.conj()
            diagonal = elements[:, m == n]
            if np.max(np.abs(np.imag(diagonal))) > _REAL:
                found = f"one with imaginary part {np.max(np.abs(np.imag(diagonal))):.3g}"
                raise file.read_error("real diagonal elements of sigma", found)
            largest = np.max(np.abs(elements))
            if largest > 1 + _EIGENVALUE:
                raise file.read_error("elements of sigma of at most 1", f"{largest:.6g}")
            yield sigma
        file.must_end()


def _check_spin(path: Path, k: int, spin: Complex[np.ndarray, "3 n n"]) -> None:
    values = np.linalg.eigvalsh(spin)
    if np.max(np.abs(values)) > 1 + _EIGENVALUE:
        raise file_error(
            path,
            None,
            f"a spin operator with eigenvalues between -1 and 1 at k-point {k + 1}",
            f"one with {values.flat[np.argmax(np.abs(values))]:.6g}; are .chk and .spn of one run",
        )


def read_eig(path: Path, chk: Chk) -> Float[np.ndarray, "K b"]:
    """Read energies of the bands, eV, from `.eig`: lines "band k energy", bands fastest."""
    points, bands, _ = chk.states.shape
    with Lines(path) as lines:
        lines.must_hold(points * bands, 3, f"{bands} bands at {points} k-points")
        table = lines.read_table(points * bands, 3, "band, k-point, energy")
        k, band = np.divmod(np.arange(points * bands), bands)
        off = (table[:, 0] != band + 1) | (table[:, 1] != k + 1)
        if np.any(off):
            row = int(np.argmax(off))
            expected = f"band {band[row] + 1} at k-point {k[row] + 1}, as in {chk.path.name}"
            raise file_error(path, row + 1, expected, table[row, :2].tolist())
        lines.must_end()
    return table[:, 2].reshape(points, bands)


def mesh_mismatch(
    chk: Chk, energies: Float[np.ndarray, "K b"], hamiltonian: RealSpaceOperator
) -> tuple[float, int]:
    """The largest |V†εV − Σ_R e^{ik·R} H(R)| on the ab initio mesh, eV, and its k-point."""
    worst, where = 0.0, 0
    for i, (k, states, energy) in enumerate(zip(chk.k, chk.states, energies, strict=True)):
        exact = (states.conj().T * energy) @ states
        phase = np.exp(2j * np.pi * (np.asarray(hamiltonian.cells) @ k))
        error = np.max(np.abs(exact - np.tensordot(phase, hamiltonian.blocks[:, 0], axes=1)))
        if error > worst:
            worst, where = float(error), i
    return worst, where
