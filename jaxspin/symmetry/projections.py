"""Corepresentation matrices of atomic orbitals with the names of Wannier90's projections.

Real harmonics transform as Y_i(O⁻¹r) = Σ_j Y_j(r) D_ji, hybrids by their coefficients, and spin by
the SU(2) matrix of det(O) O, with time reversal times iσ_y and followed by complex conjugation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from jaxspin.engine.small_matrices import PAULI
from jaxspin.engine.validate import as_numbers, check_finite, check_shape
from jaxspin.models.tight_binding import HoppingModel
from jaxspin.symmetry.operations import Operation
from jaxspin.symmetry.sites import SiteMap, Sites

#: Site of some orbitals in units of the lattice vectors, and their names: ([0, 0, 0], "s;p;d").
Projection = tuple[Sequence[float], str]


class AtomicOrbitals(NamedTuple):
    """The orbitals of a model as atomic functions on sites."""

    sites: Sites
    #: Coefficients of the functions of each site in real harmonics up to f.
    coefficients: tuple[Float[np.ndarray, "_ 16"], ...]
    #: Whether each function comes with spin up and down.
    has_spin: bool

    def represent(self, one: SiteMap) -> Complex[np.ndarray, "n n"]:
        """The matrix D of an operation.

        Raises:
            ValueError: the operation takes an orbital to what the orbitals of its site do not span.
        """
        turn = rotate_harmonics(one.operation)
        spin = rotate_spin(one.operation) if self.has_spin else np.eye(1)
        members = self.sites.members
        whole = np.zeros((sum(map(len, members)),) * 2, complex)
        for site, image in enumerate(one.images):
            block = self.coefficients[image] @ turn @ self.coefficients[site].T
            lost = float(np.max(np.abs(block.T @ block - np.eye(len(block)))))
            if lost > _CLOSED:
                raise ValueError(
                    "Argument `projections` must name orbitals that the group takes into each "
                    f"other, but those of {self.sites.positions[site].round(4).tolist()} are not "
                    f"closed under the {one.operation.name}: |D'D - 1| = {lost:.2g}."
                )
            whole[members[image][:, None], members[site]] = np.kron(block, spin)
        return whole


_CLOSED = 1e-8


def read_projections(model: HoppingModel, projections: Sequence[Projection]) -> AtomicOrbitals:
    """The orbitals of a model, in the order of its projections.

    With spin each function comes twice: up and down, or up in the first half of all orbitals and
    down in the second, whichever the spin operator is nearer to.

    Raises:
        ValueError: a name or a position is none, or the number of orbitals is another.
    """
    listed = projections if np.iterable(projections) else [projections]
    parts = [_read_projection(one, model.dimension) for one in listed]
    has_spin = model.spin_operator is not None
    number, size = sum(len(part) for _, part in parts), len(model.centres)
    if number * (2 if has_spin else 1) != size:
        raise ValueError(
            f"Argument `projections` must name {size // 2 if has_spin else size} orbitals"
            f"{', each with two spins' if has_spin else ''}, but names {number}."
        )
    index = np.arange(size).reshape((number, -1))
    if has_spin and _is_block_order(model):
        index = np.arange(size).reshape(2, number).T
    places = np.repeat([place for place, _ in parts], [len(part) for _, part in parts], axis=0)
    rows = np.concatenate([part for _, part in parts])
    positions = np.unique(places.round(6), axis=0)
    chosen = [np.flatnonzero(np.all(places.round(6) == place, axis=1)) for place in positions]
    members = tuple(index[one].ravel() for one in chosen)
    sites = Sites(positions, members, np.asarray(model.vectors))
    return AtomicOrbitals(sites, tuple(rows[one] for one in chosen), has_spin)


def _read_projection(one: Projection, dimension: int):
    try:
        place, names = one
    except (TypeError, ValueError):
        place, names = None, None
    if not isinstance(names, str) or not names.strip(" ;,"):
        raise ValueError(
            "Argument `projections` must hold pairs of a position and names, such as "
            f"([0, 0, 0], 's;p;d'), but holds {one!r}."
        )
    position = as_numbers("projections", place, "in units of the lattice vectors")
    check_shape("projections", position, (dimension,), of="its positions")
    check_finite("projections", position)
    words = names.replace(";", " ").replace(",", " ").split()
    return np.asarray(position, float), np.concatenate([_find_coefficients(x) for x in words])


def _find_coefficients(name: str) -> Float[np.ndarray, "_ 16"]:
    if name in _HYBRIDS:
        return _HYBRIDS[name]
    names = _SHELLS.get(name, (name,))
    if not set(names) <= set(_HARMONICS):
        raise ValueError(
            "Argument `projections` must name orbitals of Wannier90 (s, p, d, f, sp3, sp3d2, pz, "
            f"dx2-y2, ...), but names {name!r}."
        )
    return np.eye(16)[[_HARMONICS.index(x) for x in names]]


def _is_block_order(model: HoppingModel) -> bool:
    spin = np.asarray(model.spin_operator)
    home = spin if spin.ndim == 3 else spin[model.cells.index((0,) * model.dimension)]
    z = np.real(np.diagonal(home[2]))
    half = len(z) // 2
    return float(np.sum(z[:half]) - np.sum(z[half:])) > float(np.sum(z[::2]) - np.sum(z[1::2]))


def rotate_harmonics(operation: Operation) -> Float[np.ndarray, "16 16"]:
    """D of the real harmonics up to f, each l a block, by a fit at some directions."""
    turned = _evaluate_harmonics(_DIRECTIONS @ np.array(operation.matrix))
    return _FIT @ turned


def rotate_spin(operation: Operation) -> Complex[np.ndarray, "2 2"]:
    """SU(2) of the proper rotation det(O) O, times iσ_y with time reversal.

    From the unit quaternion, the eigenvector of a matrix: arccos loses half of the digits at π.
    """
    o = operation.on_spin
    axial = np.array([o[2, 1] - o[1, 2], o[0, 2] - o[2, 0], o[1, 0] - o[0, 1]])
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[0, 1:], matrix[1:, 0] = np.trace(o), axial, axial
    matrix[1:, 1:] = o + o.T - np.trace(o) * np.eye(3)
    q = np.linalg.eigh(matrix)[1][:, -1]
    unitary = q[0] * np.eye(2) - 1j * np.einsum("a,aij->ij", q[1:], np.asarray(PAULI[1:]))
    return unitary @ (1j * np.asarray(PAULI[2])) if operation.time_reversal else unitary


_SHELLS = {
    "p": ("pz", "px", "py"),
    "d": ("dz2", "dxz", "dyz", "dx2-y2", "dxy"),
    "f": ("fz3", "fxz2", "fyz2", "fz(x2-y2)", "fxyz", "fx(x2-3y2)", "fy(3x2-y2)"),
}
_HARMONICS = ("s", *_SHELLS["p"], *_SHELLS["d"], *_SHELLS["f"])


def _evaluate_harmonics(directions: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K 16"]:
    """Real harmonics in the order of Wannier90, normalised to a mean square of 1."""
    x, y, z = directions.T
    root = np.sqrt
    shells = [
        [np.ones_like(x)],
        [root(3) * z, root(3) * x, root(3) * y],
        [
            root(5) / 2 * (3 * z**2 - 1),
            root(15) * x * z,
            root(15) * y * z,
            root(15) / 2 * (x**2 - y**2),
            root(15) * x * y,
        ],
        [
            root(7) / 2 * (5 * z**3 - 3 * z),
            root(42) / 4 * x * (5 * z**2 - 1),
            root(42) / 4 * y * (5 * z**2 - 1),
            root(105) / 2 * z * (x**2 - y**2),
            root(105) * x * y * z,
            root(70) / 4 * x * (x**2 - 3 * y**2),
            root(70) / 4 * y * (3 * x**2 - y**2),
        ],
    ]
    return np.stack([harmonic for shell in shells for harmonic in shell], axis=1)


_DIRECTIONS = np.random.default_rng(20231119).normal(size=(64, 3))
_DIRECTIONS /= np.linalg.norm(_DIRECTIONS, axis=1)[:, None]
_FIT = np.linalg.pinv(_evaluate_harmonics(_DIRECTIONS))


def _combine(*rows: dict[str, float]) -> Float[np.ndarray, "_ 16"]:
    """Hybrids as combinations of harmonics, normalised: the squares of the numbers are given."""
    whole = np.zeros((len(rows), 16))
    for i, row in enumerate(rows):
        for name, square in row.items():
            whole[i, _HARMONICS.index(name)] = np.sign(square) * np.sqrt(abs(square))
    return whole


_PLANE = (
    {"s": 1 / 3, "px": -1 / 6, "py": 1 / 2},
    {"s": 1 / 3, "px": -1 / 6, "py": -1 / 2},
    {"s": 1 / 3, "px": 2 / 3},
)
_CORNERS = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
#: Chapter "Projections" of the user guide of Wannier90, table of hybrids.
_HYBRIDS = {
    "sp": _combine({"s": 1 / 2, "px": 1 / 2}, {"s": 1 / 2, "px": -1 / 2}),
    "sp2": _combine(*_PLANE),
    "sp3": _combine(*({"s": 1 / 4, "px": x / 4, "py": y / 4, "pz": z / 4} for x, y, z in _CORNERS)),
    "sp3d": _combine(*_PLANE, {"pz": 1 / 2, "dz2": 1 / 2}, {"pz": -1 / 2, "dz2": 1 / 2}),
    "sp3d2": _combine(
        *({"s": 1 / 6, "px": x / 2, "dz2": -1 / 12, "dx2-y2": 1 / 4} for x in (-1, 1)),
        *({"s": 1 / 6, "py": y / 2, "dz2": -1 / 12, "dx2-y2": -1 / 4} for y in (-1, 1)),
        *({"s": 1 / 6, "pz": z / 2, "dz2": 1 / 3} for z in (-1, 1)),
    ),
}
