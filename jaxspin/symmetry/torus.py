"""Blocks of a lattice model on the torus of the ab initio mesh, and their images by centres.

On the N points of a mesh H(k) sees R modulo N alone. Between its points each element depends on
the image of R that it was given: those of files without shifts lie around the home cell, whatever
the places of the two orbitals, and break symmetries of the crystal there. The images at the least
distance |R + τ_n − τ_m| of the two centres, as in `_wsvec.dat`, nearly keep them.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from jaxspin.engine.validate import as_numbers, check_integer, check_shape
from jaxspin.symmetry.corepresentations import SiteBlocks


def check_mesh(mesh: Sequence[int], cells: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The numbers of points of an ab initio mesh, of which the blocks of some cells may be.

    Raises:
        ValueError: the mesh has another dimension, or cells of the torus are missing or too many.
    """
    given = as_numbers("mesh", mesh, "of points along each axis")
    check_shape("mesh", given, (len(cells[0]),))
    counts = tuple(check_integer("mesh", count, 1) for count in mesh)
    number = int(np.prod(counts))
    met = len(np.unique(np.array(cells) % counts, axis=0))
    if met != number or len(cells) > number * 2 ** len(counts):
        raise ValueError(
            f"Argument `mesh` must be the ab initio mesh of the model, but {list(counts)} has "
            f"{number} points, and the {len(cells)} cells of the model are {met} on its torus."
        )
    return counts


def fold_blocks(blocks: SiteBlocks, mesh: tuple[int, ...]) -> SiteBlocks:
    """The sums over the images of each cell, exact on the mesh."""
    cells, inverse = np.unique(np.array(blocks.cells) % mesh, axis=0, return_inverse=True)
    parts = blocks.hamiltonian, blocks.spin, blocks.position
    h, spin, position = (_add_blocks(inverse, part) for part in parts)
    return SiteBlocks(tuple(map(tuple, cells.tolist())), h, spin, position, mesh)


def _add_blocks(index: np.ndarray, part: np.ndarray) -> np.ndarray:
    whole = np.zeros((np.max(index) + 1, *part.shape[1:]), complex)
    np.add.at(whole, index.ravel(), part)
    return whole


def unfold_blocks(
    blocks: SiteBlocks, centres: Float[np.ndarray, "n d"], lattice: Float[np.ndarray, "d d"]
) -> SiteBlocks:
    """Each element of the torus at the images of its cell with the least distance of its centres,
    in equal parts."""
    mesh = np.array(blocks.mesh)
    steps = np.array(list(itertools.product(range(-2, 3), repeat=len(mesh)))) * mesh
    cells, sources, chosen = [], [], []
    for i, cell in enumerate(np.array(blocks.cells)):
        nearest = _find_nearest(cell + steps, centres, lattice)
        used = np.any(nearest, axis=(1, 2))
        cells.append((cell + steps)[used])
        sources += [i] * int(np.sum(used))
        chosen.append((nearest / np.sum(nearest, axis=0))[used])
    reached, inverse = np.unique(np.concatenate(cells), axis=0, return_inverse=True)
    weights = np.concatenate(chosen)[:, None]
    parts = blocks.hamiltonian, blocks.spin, blocks.position
    h, spin, position = (_add_blocks(inverse, part[sources] * weights) for part in parts)
    return SiteBlocks(tuple(map(tuple, reached.tolist())), h, spin, position)


def _find_nearest(images, centres, lattice) -> Bool[np.ndarray, "j n n"]:
    """True at the images R with the least |R + τ_n − τ_m|, by m and n."""
    away = (images @ lattice)[:, None, None] + centres[None, None] - centres[None, :, None]
    distance = np.linalg.norm(away, axis=-1)
    return distance < np.min(distance, axis=0) + _EQUAL


# Å. Distances that symmetry makes equal differ by 1e-4 in files. With the 1e-5 of Wannier90 one of
# some such images alone is taken, which breaks T_d of GaAs on 2³ by 1 eV; with this, by 9 meV.
_EQUAL = 1e-2
