"""Point groups of lattices and crystals."""

import itertools
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike, Float

from jaxspin.engine.packages import require_package
from jaxspin.engine.tolerances import LATTICE
from jaxspin.engine.validate import (
    as_numbers,
    check_finite,
    check_number,
    check_shape,
    shortened,
    spans_volume,
)
from jaxspin.symmetry.groups import PointGroup
from jaxspin.symmetry.operations import Operation, name_operation


def of_lattice(lattice: ArrayLike) -> PointGroup:
    """The point group of a lattice, without time reversal.

    Its elements take the lattice vectors to lattice vectors of the same lengths and angles: integer
    matrices W with Wᵀ G W = G, G the metric a_i·a_j, to 10⁻⁵. In a plane each comes with and
    without the reflection z -> −z, which acts on the spin; on a line with all of 4/mmm that keep x.

    Args:
        lattice: direct lattice vectors a_i as rows (d, d), Å.

    Raises:
        ValueError: the vectors are no lattice.

    >>> of_lattice([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    <m-3m, 48 elements>
    """
    rows = _shorten_vectors(_as_lattice(lattice, (1, 1), (2, 2), (3, 3)))
    turns = [as_rotation(one, rows) for one in _automorphisms(rows)]
    return PointGroup(one for turn in turns for one in extend_to_space(turn))


def of_crystal(
    lattice: ArrayLike,
    positions: ArrayLike,
    species: Sequence[str] | Sequence[int],
    moments: ArrayLike | None = None,
    *,
    tolerance: float = 1e-4,
) -> PointGroup:
    """The magnetic point group of a crystal, found by spglib.

    Without moments every element comes with and without time reversal. With them the group is that
    of the magnetic crystal, all four types: moments are axial vectors that turn with the lattice,
    as spin-orbit coupling has it.

    Args:
        lattice: direct lattice vectors a_i as rows (3, 3), Å.
        positions: of the atoms, in units of the lattice vectors, (n, 3).
        species: names or numbers of the atoms, n.
        moments: magnetic moments of the atoms in any unit, Cartesian, (n, 3), or along z, (n,).
            Differences below 1/1000 of the largest component do not count. No file of Wannier90
            holds them.
        tolerance: largest distance from a symmetric place, Å.

    Raises:
        ImportError: spglib is not installed.
        ValueError: lattice, positions, species and moments do not fit together, or spglib finds
            no symmetry, because atoms lie on top of each other.

    Iron with its moments along z:

    >>> bcc = [[-1.43, 1.43, 1.43], [1.43, -1.43, 1.43], [1.43, 1.43, -1.43]]
    >>> of_crystal(bcc, [[0, 0, 0]], ["Fe"], [[0, 0, 2.2]])
    <4/mmm(4/m), 16 elements>
    """
    rows = _as_lattice(lattice, (3, 3))
    check_number("tolerance", tolerance, "a positive distance (Angstrom)", above=0)
    places = _as_positions(positions, rows, float(tolerance))
    numbers, vectors = _as_species(species, len(places)), _as_moments(moments, len(places))
    found = _find_operations((rows, places, numbers), vectors, float(tolerance))
    elements = []
    for w, shift, reversals in zip(*found, strict=True):
        for reversal in reversals:
            point = name_operation(as_rotation(w, rows), bool(reversal))
            whole = Operation(
                point.name, point.matrix, point.time_reversal, translation=shift @ rows
            )
            elements.append(whole)
    return PointGroup(elements)


def _as_positions(positions: ArrayLike, rows: np.ndarray, tolerance: float) -> np.ndarray:
    """Atoms, of whatever species, are further apart than the tolerance, up to lattice vectors."""
    places = as_numbers("positions", positions, "of shape (n, 3)")
    check_shape("positions", places, ("n", 3))
    check_finite("positions", places)
    between = places[:, None] - places
    distances = np.linalg.norm((between - np.round(between)) @ rows, axis=-1)
    first, second = np.nonzero(np.triu(distances < tolerance, 1))
    if len(first):
        raise ValueError(
            "Argument `positions` must give each atom a place of its own, but atoms "
            f"{first[0]} and {second[0]} are {distances[first[0], second[0]]:.2g} Angstrom apart "
            "up to a lattice vector."
        )
    return places


def _find_operations(cell, moments, tolerance: float):
    """Matrices W and translations w on reduced positions, and the time reversals of each."""
    spglib = require_package("spglib", "symmetry.of_crystal")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of spglib, about its own errors
        if moments is None:
            found = spglib.get_symmetry(cell, symprec=tolerance)
        else:
            scaled = moments / (np.max(np.abs(moments)) or 1.0)
            found = spglib.get_magnetic_symmetry(
                (*cell, scaled), symprec=tolerance, mag_symprec=_SAME, with_time_reversal=True
            )
    if found is None:
        raise ValueError(
            "Argument `positions` must be those of a crystal, each atom at a place of its own, "
            "but spglib finds no symmetry of it."
        )
    w, shifts = found["rotations"], found["translations"]
    if moments is None:
        return w, shifts, np.tile([False, True], (len(w), 1))
    return w, shifts, np.asarray(found["time_reversals"])[:, None]


# Of the largest component of all moments: those of equivalent atoms from ab initio calculations
# agree to three or four digits. spglib would compare moments in any unit with a distance in Å.
_SAME = 1e-3


def _as_lattice(lattice: ArrayLike, *shapes: tuple[int, int]) -> Float[np.ndarray, "d d"]:
    rows = as_numbers("lattice", lattice, "of one row for each direction")
    check_shape("lattice", rows, *shapes)
    check_finite("lattice", rows)
    if not spans_volume(rows):
        raise ValueError(f"Argument `lattice` must span a volume, but is {rows.tolist()}.")
    return rows.astype(float)


def _as_species(species: Sequence, number: int) -> list[int]:
    names = list(species) if np.iterable(species) and not isinstance(species, str) else [species]
    if len(names) != number:
        raise ValueError(
            f"Argument `species` must name each of the {number} atoms, but is {shortened(species)}."
        )
    return [names.index(name) for name in names]


def _as_moments(moments: ArrayLike | None, number: int) -> Float[np.ndarray, "n 3"] | None:
    if moments is None:
        return None
    vectors = as_numbers("moments", moments, "one or three for each atom")
    check_shape("moments", vectors, (number,), (number, 3), of=f"{number} atoms")
    check_finite("moments", vectors)
    if vectors.ndim == 1:
        vectors = np.stack([np.zeros(number), np.zeros(number), vectors], axis=1)
    return vectors


def _shorten_vectors(rows: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """Vectors of the same lattice, none of which another one shortens (Lagrange's reduction): those
    that are compared in `_automorphisms` are few, however skew the cell."""
    rows, pairs = rows.copy(), list(itertools.permutations(range(len(rows)), 2))
    changed = True
    while changed:
        changed = False
        for i, j in pairs:
            number = np.rint(rows[i] @ rows[j] / (rows[j] @ rows[j]))
            shorter = rows[i] - number * rows[j]
            if shorter @ shorter < (1 - LATTICE.double) * (rows[i] @ rows[i]):
                rows[i], changed = shorter, True
    return rows


def _automorphisms(rows: Float[np.ndarray, "d d"]) -> list[np.ndarray]:
    """All W with Wᵀ G W = G: a_i goes to Σ_j a_j W_ji."""
    metric = rows @ rows.T
    longest = np.sqrt(np.max(np.diag(metric)))
    # |n_i| = |b_i·R|/2π for R = Σ_i n_i a_i
    reach = np.floor(np.linalg.norm(np.linalg.inv(rows), axis=0) * longest * (1 + LATTICE.double))
    box = np.array(list(itertools.product(*(np.arange(-n, n + 1) for n in reach.astype(int)))))
    squares = np.einsum("ni,ij,nj->n", box, metric, box)
    slack = LATTICE.double * np.max(np.diag(metric))
    images = [box[np.abs(squares - square) < slack] for square in np.diag(metric)]
    found = (np.array(columns).T for columns in itertools.product(*images))
    return [w for w in found if np.max(np.abs(w.T @ metric @ w - metric)) < slack]


def as_rotation(w: np.ndarray, rows: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The orthogonal matrix next to aᵀ W a⁻ᵀ, of a lattice whose vectors have few digits."""
    left, _, right = np.linalg.svd(rows.T @ w @ np.linalg.inv(rows.T))
    return left @ right


def extend_to_space(turn: Float[np.ndarray, "d d"]) -> list[Operation]:
    """The operations of space that act so on the first d coordinates."""
    beyond = _BEYOND[3 - len(turn)]
    return [name_operation(_stack_diagonal(turn, one)) for one in beyond]


def _stack_diagonal(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, "3 3"]:
    whole = np.zeros((3, 3))
    whole[: len(first), : len(first)] = first
    whole[len(first) :, len(first) :] = second
    return whole


_SQUARE = [
    np.diag(signs)[list(order)]
    for signs in itertools.product((1, -1), repeat=2)
    for order in ((0, 1), (1, 0))
]
#: How operations act beyond a space, a plane and a line.
_BEYOND = [[np.zeros((0, 0))], [np.eye(1), -np.eye(1)], _SQUARE]
