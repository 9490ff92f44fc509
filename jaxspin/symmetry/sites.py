"""Action of the operations of a crystal on the sites of a lattice model, and on its blocks.

An operation g moves the orbitals of site b in cell R, |R, b n⟩, to site gb in the cell WR + L_b,

    g|R, b n⟩ = Σ_m |WR + L_b, gb m⟩ D^b_mn,    L_b = W τ_b + w − τ_gb,

with τ the positions of sites and w the translation, in units of the lattice vectors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from jaxspin.engine.validate import as_numbers, check_finite, check_shape, check_type
from jaxspin.models.tight_binding import HoppingModel
from jaxspin.symmetry.operations import Operation
from jaxspin.symmetry.orbits import reduced_matrix


class Sites(NamedTuple):
    """The sites of a model, and the orbitals of each."""

    #: In units of the lattice vectors.
    positions: Float[np.ndarray, "s d"]
    members: tuple[Int[np.ndarray, " _"], ...]
    lattice: Float[np.ndarray, "d d"]

    @property
    def of_orbitals(self) -> Float[np.ndarray, "n d"]:
        """The position of the site of each orbital, Cartesian, Å."""
        places = np.zeros((sum(map(len, self.members)), len(self.lattice)))
        for position, orbitals in zip(self.positions, self.members, strict=True):
            places[orbitals] = position @ self.lattice
        return places


def find_sites(model: HoppingModel, positions) -> Sites:
    """The sites with the orbitals whose centres are next to them; the centres where None.

    Raises:
        ValueError: a site has no orbital, or some in several cells.
    """
    lattice, centres = np.asarray(model.vectors), np.asarray(model.centres)
    reduced = centres @ np.linalg.inv(lattice)
    if positions is None:
        own = [np.max(np.abs((reduced - x) @ lattice), axis=1) < _APART for x in reduced]
        first = np.unique([int(np.argmax(row)) for row in own])
        return Sites(reduced[first], tuple(np.flatnonzero(own[i]) for i in first), lattice)
    given = as_numbers("positions", positions, "of sites, in units of the lattice vectors")
    check_shape("positions", given, ("s", len(lattice)))
    check_finite("positions", given)
    cells = np.stack(np.meshgrid(*[[-1, 0, 1]] * len(lattice), indexing="ij"), -1)
    places = (
        (given % 1)[:, None] + cells.reshape(-1, len(lattice)) + np.floor(reduced)[:, None, None]
    )
    distances = np.linalg.norm((places - reduced[:, None, None]) @ lattice, axis=-1)
    nearest = np.argmin(distances.reshape(len(reduced), -1), axis=1)
    atom = nearest // distances.shape[2]
    chosen = places.reshape(len(reduced), -1, len(lattice))[np.arange(len(reduced)), nearest]
    members = tuple(np.flatnonzero(atom == i) for i in range(len(given)))
    for i, orbitals in enumerate(members):
        if len(orbitals) == 0 or np.ptp(chosen[orbitals], axis=0).max() > 1e-6:
            raise ValueError(
                "Argument `positions` must be those of the sites on which the orbitals are, but "
                f"site {i} has {'none' if len(orbitals) == 0 else 'orbitals in several cells'}."
            )
    return Sites(np.array([chosen[orbitals[0]] for orbitals in members]), members, lattice)


def move_centres(model: HoppingModel, positions: ArrayLike) -> HoppingModel:
    """A symmetric model without external terms that keeps its symmetry: each centre at its atom.

    The slopes of H(k) alone, without r(R), depend on the centres of the orbitals. Those of Wannier
    functions lie between the atoms, and `model.without_external_terms()` keeps them, so that it
    does not have the group of the crystal.

    Args:
        positions: of the atoms, in units of the lattice vectors, (n, d); each orbital belongs to
            the one next to its centre.

    Raises:
        ValueError: an atom has no orbital, or some in several cells.

    >>> model = HoppingModel([[1.0]], [[0]], [[[0.5]]], [[0.1]], spin=None)
    >>> move_centres(model, [[0.0]]).centres
    Array([[0.]], dtype=float64)
    """
    check_type("model", model, HoppingModel, "a HoppingModel")
    places = find_sites(model, positions).of_orbitals
    return HoppingModel(model.vectors, model.cells, model.blocks, places, model.spin_operator)


_APART = 1e-3  # Å: two centres farther apart are two sites


class SiteMap(NamedTuple):
    """Action of an operation on cells and sites."""

    operation: Operation
    #: W on reduced positions.
    matrix: Int[np.ndarray, "d d"]
    #: The site to which each goes, and the cell L of its image.
    images: Int[np.ndarray, " s"]
    cells: Int[np.ndarray, "s d"]

    def move_cells(self, cells: Int[np.ndarray, "r d"], a: int, b: int) -> Int[np.ndarray, "r d"]:
        """The cells WR + L_b − L_a to which a block between sites a and b goes."""
        return cells @ self.matrix.T + self.cells[b] - self.cells[a]


def map_sites(operation: Operation, sites: Sites) -> SiteMap:
    """Action of an operation on the sites.

    Raises:
        ValueError: it takes one to where there is none, or where there are other orbitals.
    """
    d = len(sites.lattice)
    k_map = np.array(reduced_matrix(operation, d, sites.lattice))  # pyright: ignore[reportArgumentType]
    sign = -1 if operation.time_reversal else 1
    matrix = np.rint(np.linalg.inv(sign * k_map).T).astype(int)
    shift = np.array(operation.translation)[:d] @ np.linalg.inv(sites.lattice)
    moved = sites.positions @ matrix.T + shift
    steps = moved[:, None] - sites.positions[None]
    away = np.max(np.abs((steps - np.rint(steps)) @ sites.lattice), axis=-1)
    images = np.argmin(away, axis=1)
    for site, image in enumerate(images):
        if away[site, image] > _OFF_SITE or len(sites.members[site]) != len(sites.members[image]):
            raise ValueError(
                "Argument `group` must take the sites of the model to each other, with as many "
                f"orbitals, but the {operation.name} does not do so with site {site}. Give the "
                "atoms as `positions`, and the group of the crystal with its translations, as "
                "`symmetry.of_crystal` finds it."
            )
    cells = np.rint(steps[np.arange(len(images)), images]).astype(int)
    return SiteMap(operation, matrix, images, cells)


_OFF_SITE = 1e-2  # Å


def index_cells(cells: Int[np.ndarray, "r d"], among: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The index of each cell in a list; −1 where it is not in it."""
    index = {tuple(cell): i for i, cell in enumerate(among)}
    return np.array([index.get(tuple(cell), -1) for cell in cells.tolist()])
