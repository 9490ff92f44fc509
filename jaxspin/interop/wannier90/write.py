"""Models as Wannier90's `_tb.dat` file."""

import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Complex, Float

from jaxspin.engine.validate import is_positive
from jaxspin.interop.orbitals import check_hopping
from jaxspin.models.tight_binding import HoppingModel


def write(
    model: HoppingModel, seedname: str | PathLike[str], *, vacuum: float | None = None
) -> Path:
    """Write `seedname_tb.dat` with H(R) and r(R) of a model, every digit, every ndegen 1.

    r is the model's position operator, or diagonal with the centres of the orbitals, which is read
    back as no position operator. The spin operator has no place in this file.

    Parameters:
        vacuum: length of the lattice vectors that a model of one or two dimensions lacks, Å; they
            are perpendicular to the others.
    Returns:
        The path of the file.
    Raises:
        ValueError: the model is no HoppingModel; `vacuum` is missing where it is needed, or given
            where it is not.
    """
    check_hopping(model)
    _check_vacuum(model, vacuum)
    path = Path(f"{seedname}_tb.dat")
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(_file_lines(model, vacuum))
    os.replace(part, path)
    return path


def _check_vacuum(model: HoppingModel, vacuum: float | None) -> None:
    needed = model.dimension < 3
    if needed and (vacuum is None or not is_positive(vacuum)):
        raise ValueError(
            "Argument `vacuum` must be a positive length in Angstrom for a model of dimension "
            f"{model.dimension}, since Wannier90's cells have three, but is {vacuum}."
        )
    if not needed and vacuum is not None:
        raise ValueError(f"Argument `vacuum` must be None in three dimensions, but is {vacuum}.")


def _file_lines(model: HoppingModel, vacuum: float | None) -> Iterator[str]:
    n, cells = len(model.centres), _cells_with_home(model)
    yield " written by jaxspin\n"
    for vector in _embed_lattice(np.asarray(model.vectors), vacuum):
        yield " ".join(f"{x:25.17E}" for x in vector) + "\n"
    yield f"{n:12d}\n{len(cells):12d}\n"
    for start in range(0, len(cells), 15):
        yield "    1" * len(cells[start : start + 15]) + "\n"
    index = {cell: i for i, cell in enumerate(model.cells)}
    for blocks in (np.asarray(model.blocks)[:, None], _position_blocks(model)):
        for cell in cells:
            block = blocks[index[cell]] if cell in index else _absent_block(blocks, model)
            yield from _block_text(cell, block)


def _cells_with_home(model: HoppingModel) -> list[tuple[int, ...]]:
    """Cells of the model and the home cell, which holds the centres."""
    home = (0,) * model.dimension
    return [*model.cells, *([] if home in model.cells else [home])]


def _embed_lattice(
    vectors: Float[np.ndarray, "d d"], vacuum: float | None
) -> Float[np.ndarray, "3 3"]:
    d = len(vectors)
    lattice = np.diag([vacuum or 0.0] * 3)
    lattice[:d, :d] = vectors
    return lattice


def _position_blocks(model: HoppingModel) -> Complex[np.ndarray, "r 3 n n"]:
    """r(R) in three dimensions, of the cells of the model."""
    n, d = model.centres.shape
    blocks = np.zeros((len(model.cells), 3, n, n), complex)
    home = (0,) * d
    if model.position is not None:
        blocks[:, :d] = np.asarray(model.position)
    elif home in model.cells:
        blocks[model.cells.index(home)] = _centre_block(model)
    return blocks


def _absent_block(blocks: Complex[np.ndarray, "r c n n"], model: HoppingModel) -> np.ndarray:
    """The block of the home cell where the model has none."""
    return np.zeros(blocks.shape[1:], complex) if blocks.shape[1] == 1 else _centre_block(model)


def _centre_block(model: HoppingModel) -> Complex[np.ndarray, "3 n n"]:
    n, d = model.centres.shape
    blocks = np.zeros((3, n, n), complex)
    blocks[:d] = [np.diag(x) for x in np.asarray(model.centres).T]
    return blocks


def _block_text(cell: tuple[int, ...], parts: Complex[np.ndarray, "c n n"]) -> Iterator[str]:
    """Yield a blank line, R, and a line for each element, m fastest."""
    yield "\n" + " ".join(f"{c:4d}" for c in (*cell, 0, 0)[:3]) + "\n"
    size = parts.shape[1]
    form = "%5d %5d  " + " ".join(["%24.17E %24.17E"] * len(parts)) + "\n"
    numbers = np.ascontiguousarray(parts.transpose(2, 1, 0)).view(float).tolist()
    for n in range(size):
        for m in range(size):
            yield form % (m + 1, n + 1, *numbers[n][m])
