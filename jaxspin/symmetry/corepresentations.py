"""Corepresentation matrices of the orbitals of a model, found from its H(R) and S(R) alone.

The blocks D^a of an operation, from site a to its image, are those of the least

    Σ_R,ab ‖D^a X_ab(R)^(*) − X_{ga,gb}(R') D^b‖²,    X = H, and the three components of S,

the lowest eigenvector of a matrix of Σ n_a² rows. Its eigenvalue λ₀ is the misfit, the next one λ₁
says how unique the answer is: H(R) of a crystal generates all matrices, and D is unique but for a
phase, which does not matter (Schur).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Int
from scipy.linalg import eigh

from jaxspin.models.bloch_sums import Cells
from jaxspin.symmetry.closure import UNIT
from jaxspin.symmetry.operations import Operation, identify, key_of
from jaxspin.symmetry.sites import SiteMap, Sites, index_cells


class SiteBlocks(NamedTuple):
    """The blocks of a model between cells, with r measured from the sites."""

    cells: Cells
    #: H (r, 1, n, n), eV.
    hamiltonian: Complex[np.ndarray, "r 1 n n"]
    #: S (r, 3 or 0, n, n), ħ/2.
    spin: Complex[np.ndarray, "r s n n"]
    #: r − τ δ_mn δ_R0 (r, d, n, n), Å.
    position: Complex[np.ndarray, "r d n n"]
    #: Numbers of cells of a torus, modulo which R is meant; None for the lattice.
    mesh: tuple[int, ...] | None = None

    def find_cells(self, cells: Int[np.ndarray, "r d"]) -> Int[np.ndarray, " r"]:
        """The index of each of some cells; −1 where there is none."""
        return index_cells(cells if self.mesh is None else cells % self.mesh, self.cells)


class Fitted(NamedTuple):
    """A unitary matrix D, and how well it is known."""

    matrix: Complex[np.ndarray, "n n"]
    #: λ₀ and λ₁, in units of the mean square of the blocks of an orbital.
    misfit: float
    next_misfit: float


def turn_vectors(
    blocks: Complex[np.ndarray, "r c n n"], operation: Operation, axial: bool
) -> Complex[np.ndarray, "r c n n"]:
    """Components of an axial vector that time reversal reverses, or of a polar one."""
    d = blocks.shape[1]
    if d == 0:
        return blocks
    sign = -1 if axial and operation.time_reversal else 1
    turn = operation.on_spin if axial else operation.on_space(d)
    return sign * np.einsum("ab,rbmn->ramn", turn, blocks)


def fit_representation(blocks: SiteBlocks, sites: Sites, one: SiteMap) -> Fitted:
    """The matrix D of one operation that fits the blocks of a model best."""
    sizes = [len(orbitals) ** 2 for orbitals in sites.members]
    start = np.cumsum([0, *sizes])
    normal = np.zeros((start[-1],) * 2, complex)
    originals, images = _pair_blocks(blocks, one)
    for a, b in np.ndindex(len(sizes), len(sizes)):
        to = blocks.find_cells(one.move_cells(np.array(blocks.cells), a, b))
        x = _select(originals, sites, a, b).swapaxes(0, 1)
        y = _select(images, sites, int(one.images[a]), int(one.images[b])).swapaxes(0, 1)
        y = np.where((to >= 0)[:, None, None], y[:, to], 0)
        x, y = (z.reshape(-1, *z.shape[2:]) for z in (x, y))
        rows, columns = slice(start[a], start[a + 1]), slice(start[b], start[b + 1])
        own = np.einsum("rij,rkj->ik", x, x.conj())
        normal[rows, rows] += np.kron(np.eye(x.shape[1]), own.T)
        normal[columns, columns] += np.kron(
            np.einsum("rji,rjk->ik", y.conj(), y), np.eye(y.shape[2])
        )
        cross = _sum_of_krons(y, x.conj())
        normal[rows, columns] -= cross
        normal[columns, rows] -= cross.conj().T
    values, vectors = eigh(normal, subset_by_index=[0, min(1, len(normal) - 1)])
    size = np.sum(np.abs(originals) ** 2) / originals.shape[-1] or 1.0  # 0 if H is a number
    return Fitted(
        _as_unitary(vectors[:, 0], sites, one), float(values[0] / size), float(values[-1] / size)
    )


def _pair_blocks(blocks: SiteBlocks, one: SiteMap) -> tuple[np.ndarray, np.ndarray]:
    """H and S as the operation turns them, and as they are at the image, with equal weights. The
    mean of the levels says nothing of D and is left out of H."""
    h, spin = blocks.hamiltonian.copy(), blocks.spin
    n, home = h.shape[-1], blocks.cells.index((0,) * len(blocks.cells[0]))
    h[home, 0] -= np.trace(h[home, 0]) / n * np.eye(n)
    if spin.shape[1]:
        spin = spin * np.linalg.norm(h) / (np.linalg.norm(spin) or 1.0)
    turned = turn_vectors(spin, one.operation, axial=True)
    original = np.concatenate([h, turned], axis=1)
    if one.operation.time_reversal:
        original = np.concatenate([h, turned], axis=1).conj()
    return original, np.concatenate([h, spin], axis=1)


def _select(blocks: np.ndarray, sites: Sites, a: int, b: int) -> np.ndarray:
    return blocks[..., sites.members[a][:, None], sites.members[b]]


def _sum_of_krons(
    first: Complex[np.ndarray, "r i k"], second: Complex[np.ndarray, "r j l"]
) -> Complex[np.ndarray, "ij kl"]:
    """Σ_r A_r ⊗ B_r."""
    (r, i, k), (_, j, m) = first.shape, second.shape
    products = first.reshape(r, -1).T @ second.reshape(r, -1)
    return products.reshape(i, k, j, m).transpose(0, 2, 1, 3).reshape(i * j, k * m)


def _as_unitary(vector: np.ndarray, sites: Sites, one: SiteMap) -> Complex[np.ndarray, "n n"]:
    """The blocks of a vector in their places, each the unitary matrix next to it."""
    n = sum(map(len, sites.members))
    whole, start = np.zeros((n, n), complex), 0
    for site, orbitals in enumerate(sites.members):
        size = len(orbitals)
        left, _, right = np.linalg.svd(vector[start : start + size**2].reshape(size, size))
        whole[sites.members[one.images[site]][:, None], orbitals] = left @ right
        start += size**2
    return whole


def complete_representation(
    generators: dict[tuple, np.ndarray], elements: list[Operation]
) -> Complex[np.ndarray, "g n n"]:
    """D of all elements of a group from those of its generators: D(gh) = D(g) D(h)^(*)."""
    size = next(iter(generators.values())).shape[0]
    found = {UNIT: (np.eye(3), False, np.eye(size, dtype=complex))}
    fresh = list(found.values())
    by_key = {identify(one): one for one in elements}
    while fresh:
        after = []
        for (o, reversal, d), (key, own) in ((x, y) for x in fresh for y in generators.items()):
            first = by_key[key]
            product = np.array(first.matrix) @ o
            reverses = first.time_reversal != reversal
            image = key_of(product, reverses)
            if image not in found:
                found[image] = (product, reverses, own @ (d.conj() if first.time_reversal else d))
                after.append(found[image])
        fresh = after
    return np.array([found[identify(one)][2] for one in elements])


def make_exact(
    matrices: Complex[np.ndarray, "g n n"], elements: list[Operation]
) -> Complex[np.ndarray, "g n n"]:
    """The exact (co)representation up to phases next to some matrices.

    D(g) <- the unitary matrix next to the mean over h of (D(h)† D(hg))^(*), complex conjugate for
    antiunitary h, each term in the phase of D(g). The error is squared in each step.
    """
    table = _multiply_elements(elements)
    reverses = np.array([one.time_reversal for one in elements])[:, None, None]
    for _ in range(_STEPS):
        fresh, worst = np.empty_like(matrices), 0.0
        for g, here in enumerate(matrices):
            terms = matrices.conj().swapaxes(1, 2) @ matrices[table[:, g]]
            terms = np.where(reverses, terms.conj(), terms)
            overlap = np.einsum("ij,hij->h", here.conj(), terms)
            terms = terms * (np.abs(overlap) / overlap)[:, None, None]
            worst = max(worst, float(np.max(np.abs(terms - here))))
            left, _, right = np.linalg.svd(np.sum(terms, axis=0))
            fresh[g] = left @ right
        matrices = fresh
        if worst < _EXACT:
            break
    return matrices


_STEPS, _EXACT = 12, 1e-13


def _multiply_elements(elements: list[Operation]) -> np.ndarray:
    """The index of the product hg of each pair."""
    index = {identify(one): i for i, one in enumerate(elements)}
    pairs = [(np.array(one.matrix), one.time_reversal) for one in elements]
    return np.array([[index[key_of(a @ b, s != t)] for b, t in pairs] for a, s in pairs])
