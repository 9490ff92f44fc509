"""Operators from the blocks of the files: weights, shifts, Hermitian pairs, the ab initio mesh.

An element X_mn(R) of the file is X_mn(R) / (ndegen(R) N) in each of the N cells R + T of
`_wsvec.dat`, or X_mn(R) / ndegen(R) in the cell R where there are no shifts.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float, Int

from jaxspin.interop.wannier90.text import Cell, file_error
from jaxspin.interop.wannier90.wsvec import Shifts
from jaxspin.models.bloch_sums import opposite

Block = Complex[np.ndarray, "c n n"]
Mesh = tuple[int, int, int]

_BASE = 1 << 15  # a shift is one number t_1 B² + t_2 B + t_3; coordinates have four digits
_TINY = 1e-3  # eV; a smaller element in the wrong image moves no band visibly
_SAME_LENGTH = 1e-5  # Å, Wannier90's own tolerance for equally short images
_IMAGES = 2  # supercells in each direction among which the shortest image is looked for


class RealSpaceOperator(NamedTuple):
    """An operator in real space."""

    cells: list[Cell]
    blocks: Complex[np.ndarray, "r c n n"]
    shifts: frozenset[Cell] = frozenset()  # T of `_wsvec.dat`, all that occur


class _BlockAccumulator:
    """The blocks of an operator, each with a place as soon as its cell appears.

    Room is made for `expected` cells. It is zeros, which take no memory before they are written,
    so that too much of it costs nothing; too little is doubled.
    """

    def __init__(self, expected: int):
        self._slots: dict[Cell, int] = {}
        self._expected = expected
        self._blocks = np.zeros((0, 0, 0, 0), complex)
        self.shifts: set[Cell] = set()

    def find_block(self, cell: Cell, shape: tuple[int, ...]) -> Block:
        """Return the block of a cell, to add to."""
        if not self._slots:
            self._blocks = np.zeros((self._expected, *shape), complex)
        slot = self._slots.setdefault(cell, len(self._slots))
        if slot == len(self._blocks):
            self._blocks = np.concatenate([self._blocks, np.zeros_like(self._blocks)])
        return self._blocks[slot]

    def to_operator(self) -> RealSpaceOperator:
        """The operator, without a copy of its blocks."""
        return RealSpaceOperator(
            [*self._slots], self._blocks[: len(self._slots)], frozenset(self.shifts)
        )


class Misplaced(NamedTuple):
    """Largest matrix element that belongs to a closer supercell image."""

    size: float  # |H|, eV
    cell: Cell
    orbitals: tuple[int, int]  # from 1
    distance: float  # Å
    shortest: float  # Å


def assemble_operator(
    source: Iterable[tuple[Cell, Block]],
    degeneracies: Int[np.ndarray, " r"],
    shifts: Iterator[tuple[Cell, Shifts]] | None,
    wsvec: Path,
) -> RealSpaceOperator:
    """Assemble the operator whose blocks `source` yields, read once and held once."""
    target = _BlockAccumulator(len(degeneracies) if shifts is None else 2 * len(degeneracies))
    for (cell, block), degeneracy in zip(source, degeneracies, strict=True):
        if shifts is None:
            target.find_block(cell, block.shape)[:] += block / degeneracy
            continue
        following = next(shifts, None)
        if following is None or following[0] != cell:
            found = "the end of the file" if following is None else following[0]
            raise file_error(wsvec, None, f"shifts of the cell {cell}, in the order of H(R)", found)
        if not _spread_block(target, cell, block / degeneracy, following[1]):
            raise file_error(
                wsvec, None, "different shifts of an element", f"twice one at R = {cell}"
            )
    if shifts is not None and (extra := next(shifts, None)) is not None:
        raise file_error(wsvec, None, "the end of the file after the last cell of H(R)", extra[0])
    return target.to_operator()


def check_cells(path: Path, cells: Sequence[Cell]) -> None:
    """Check that each cell occurs once, the home cell does, and with R also −R."""
    present = set(cells)
    if len(present) < len(cells):
        double = next(cell for i, cell in enumerate(cells) if cell in cells[:i])
        raise file_error(
            path, None, "a list of cells without repetition", f"one with {double} twice"
        )
    for cell in [(0, 0, 0), *cells]:
        if opposite(cell) not in present:
            raise file_error(
                path, None, f"a list of cells with {opposite(cell)}", f"one with {cell} alone"
            )


def make_hermitian(operator: RealSpaceOperator) -> tuple[float, Cell]:
    """Set X(R) ← ½ [X(R) + X(−R)†] in place; return the largest |X(R) − X(−R)†| and its cell."""
    index = {cell: i for i, cell in enumerate(operator.cells)}
    worst, where = 0.0, operator.cells[0]
    for i, cell in enumerate(operator.cells):
        j = index[opposite(cell)]
        if j < i:
            continue
        partner = operator.blocks[j].conj().swapaxes(1, 2)
        violation = float(np.max(np.abs(operator.blocks[i] - partner)))
        if violation > worst:
            worst, where = violation, cell
        mean = (operator.blocks[i] + partner) / 2
        operator.blocks[i] = mean
        operator.blocks[j] = mean.conj().swapaxes(1, 2)
    return worst, where


def check_weights(
    path: Path, cells: Sequence[Cell], degeneracies: Int[np.ndarray, " r"], mesh: Mesh | None
) -> Mesh | None:
    """Return the ab initio mesh, and check that Σ 1/ndegen is the number of its points.

    Parameters:
        mesh: what another file says, or None. Where no file says it, it is the mesh for which all
            cells that differ by its supercell have weights that add up to one; it stays unknown
            where every ndegen is 1, as in a model that is not from an ab initio mesh. With a mesh
            that another file says and every ndegen 1, images share their elements already, as
            other programs write them: each class of cells must have one.
    """
    total = float(np.sum(1 / degeneracies))
    if mesh is not None and is_folded(cells, degeneracies, mesh):
        return mesh
    if mesh is not None:
        if abs(total - math.prod(mesh)) > 1e-6:
            points = math.prod(mesh)
            expected = f"ndegen with Sum 1/ndegen = {points}, the points of the mesh {mesh}"
            raise file_error(path, None, expected, f"one with Sum 1/ndegen = {total:.6g}")
        if not _fits_mesh(cells, degeneracies, mesh):
            raise file_error(
                path, None, f"a list of cells that represent the mesh {mesh} evenly", "another"
            )
        return mesh
    if np.all(degeneracies == 1):
        return None
    if abs(total - round(total)) > 1e-6:
        raise file_error(
            path, None, "ndegen with a whole number Sum 1/ndegen of mesh points", f"{total:.6g}"
        )
    found = next(
        (m for m in _possible_meshes(round(total)) if _fits_mesh(cells, degeneracies, m)), None
    )
    if found is None:
        expected = f"cells and ndegen of a mesh of {round(total)} points"
        raise file_error(path, None, expected, "a list that fits none")
    return found


def is_folded(cells: Sequence[Cell], degeneracies: Int[np.ndarray, " r"], mesh: Mesh) -> bool:
    """Tell if every ndegen is 1 though the mesh has images, each of its classes at least one."""
    whole = len(np.unique(_classes(cells, mesh))) == math.prod(mesh) < len(cells)
    return bool(np.all(degeneracies == 1)) and whole


def count_images(cells: Sequence[Cell], mesh: Mesh) -> Int[np.ndarray, " r"]:
    """The number of cells that differ from each by vectors of the supercell, itself included."""
    classes = _classes(cells, mesh)
    return np.bincount(classes)[classes]


def find_misplaced(
    operator: RealSpaceOperator,
    lattice: Float[np.ndarray, "3 3"],
    centres: Float[np.ndarray, "n 3"],
    mesh: Mesh,
) -> Misplaced | None:
    """Find the largest element of H above 1 meV whose closest supercell image is missing.

    The images of ⟨0m|H|Rn⟩ are at the distances |R + T + τ_n − τ_m|, T a vector of the supercell.
    """
    present, worst = set(operator.cells), None
    steps = range(-_IMAGES, _IMAGES + 1)
    images = [t for t in itertools.product(steps, repeat=3) if any(t)]
    for cell, block in zip(operator.cells, operator.blocks[:, 0], strict=True):
        size = np.abs(block)
        m, n = np.nonzero(size > (_TINY if worst is None else worst.size))
        if not len(m):
            continue
        straight = np.asarray(cell) @ lattice + centres[n] - centres[m]
        distance = np.linalg.norm(straight, axis=1)
        shortest = distance.copy()
        for image in images:
            shift = tuple(t * points for t, points in zip(image, mesh, strict=True))
            other = tuple(c + s for c, s in zip(cell, shift, strict=True))
            length = np.linalg.norm(straight + np.asarray(shift) @ lattice, axis=1)
            length += _SAME_LENGTH * (1 if other in present else -1)
            shortest = np.minimum(shortest, length)
        far = np.flatnonzero(shortest < distance)
        if len(far):
            i = far[np.argmax(size[m[far], n[far]])]
            pair = (int(m[i]) + 1, int(n[i]) + 1)
            largest = float(size[m[i], n[i]])
            worst = Misplaced(largest, cell, pair, float(distance[i]), float(shortest[i]))
    return worst


def check_shifts(path: Path, operator: RealSpaceOperator, mesh: Mesh | None) -> None:
    """Check that shifts are vectors of the supercell of the mesh, in opposite pairs."""
    present = set(operator.cells)
    alone = next((cell for cell in operator.cells if opposite(cell) not in present), None)
    if alone is not None:
        raise file_error(path, None, "shifts with T for R and -T for -R", f"one to {alone} alone")
    if mesh is not None:
        stray = next((t for t in operator.shifts if np.any(np.mod(t, mesh))), None)
        if stray is not None:
            raise file_error(path, None, f"shifts by multiples of the mesh {mesh}", stray)


def _spread_block(target: _BlockAccumulator, cell: Cell, block: Block, shifts: Shifts) -> bool:
    """Give each element in equal parts to its cells; False if one of them comes twice."""
    owner = np.repeat(np.arange(len(shifts.counts)), shifts.counts)
    codes = (shifts.vectors * [_BASE**2, _BASE, 1]).sum(axis=1)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order]) != 0) + 1
    parts = block.reshape(len(block), -1) / shifts.counts
    for which in np.split(order, starts):
        elements, shift = owner[which], shifts.vectors[which[0]]
        if np.any(elements[1:] == elements[:-1]):
            return False
        target.shifts.add(tuple(shift.tolist()))
        part = target.find_block(tuple((shift + cell).tolist()), block.shape)
        part.reshape(len(block), -1)[:, elements] += parts[:, elements]
    return True


def _fits_mesh(cells: Sequence[Cell], degeneracies: np.ndarray, mesh: Mesh) -> bool:
    """Tell if each class of cells modulo the mesh has total weight one."""
    weights = np.bincount(_classes(cells, mesh), 1 / degeneracies, minlength=math.prod(mesh))
    return bool(np.all(np.abs(weights - 1) < 1e-6))


def _classes(cells: Sequence[Cell], mesh: Mesh) -> Int[np.ndarray, " r"]:
    """The number of the class of each cell modulo the mesh."""
    return np.asarray(np.ravel_multi_index(np.mod(cells, mesh).T, mesh))


def _possible_meshes(points: int) -> Iterator[Mesh]:
    """Yield all (N1, N2, N3) with this product."""
    divisors = [i for i in range(1, points + 1) if points % i == 0]
    for first, second in itertools.product(divisors, divisors):
        if points // first % second == 0:
            yield (first, second, points // first // second)
