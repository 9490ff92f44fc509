"""Point groups of lattices and crystals."""

import itertools

import numpy as np
from jaxtyping import ArrayLike, Float

from jaxspin.engine.tolerances import LATTICE
from jaxspin.engine.validate import check_finite, check_shape, spans_volume
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
    rows = np.asarray(lattice, dtype=float)
    check_shape("lattice", rows, (1, 1), (2, 2), (3, 3))
    check_finite("lattice", rows)
    if not spans_volume(rows):
        raise ValueError(f"Argument `lattice` must span a volume, but is {rows.tolist()}.")
    turns = [as_rotation(one, rows) for one in _automorphisms(rows)]
    return PointGroup(one for turn in turns for one in extend_to_space(turn))


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
