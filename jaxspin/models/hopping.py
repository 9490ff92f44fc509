"""Tight binding from real-space blocks: what Wannier90 and PythTB files become."""

from collections import Counter
from functools import partial

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float
from numpy.typing import ArrayLike

from jaxspin.algebra import is_traced
from jaxspin.models.base import Model

# A sum over one index. `highest`, because in single precision a GPU would by default round the
# factors to the ten bits of TF32, and leave three digits of a phase or an energy.
_dot = partial(jnp.tensordot, axes=1, precision="highest")
# Largest allowed |H(R) - H(-R)†|, eV: Wannier90's `_hr.dat` prints six decimals.
_HERMITICITY = 1e-5
# Smallest allowed volume of a cell relative to the box of its edge lengths: far below any crystal
# (a sheared cell of angle 0.1° has 2e-3), far above rounding in single precision.
_FLATNESS = 1e-5


class HoppingModel(Model):
    """Tight binding from the blocks H_mn(R) = ⟨0, m|H|R, n⟩ between the cells 0 and R.

    H_mn(k) = Σ_R e^{ik·(R + τ_n − τ_m)} H_mn(R)

    The positions τ of the orbitals stand in the phase, so that ∂H/∂k is the velocity of a model
    whose position operator is diagonal in the orbitals.

    Parameters:
        lattice: direct lattice vectors a_i as rows (d, d), Å.
        cells: integer coordinates of the cells (r, d), R = cells @ lattice. With every R comes −R.
        blocks: H(R) in eV, (r, n, n), with H(−R) = H(R)†.
        centres: positions τ of the orbitals, Cartesian, (n, d), Å. They stay where they are when
            `vectors` is varied; `reduced @ lattice` turns reduced coordinates into these.
        spin: spin operator (3, n, n) in units of ħ/2, or None for orbitals without spin. It is
            local: the same at every k.
        position: must be None; elements of the position operator between orbitals are not
            supported yet.

    `vectors`, `blocks`, `centres` and `spin_operator` are arrays that can be scanned and
    differentiated; `cells` is static. H(k) is the Hermitian part of the sum, so that it stays
    Hermitian through the rounding of a file and the steps of a fit.

    Raises:
        ValueError: an argument has the wrong shape, is not finite, repeats a cell, lacks the
            partner of a cell, or breaks hermiticity by more than 1e-5 eV.
        NotImplementedError: `position` is given.

    A chain with one orbital and hopping −1 eV, H(k) = −2 cos k:

    >>> chain = HoppingModel([[1.0]], [[1], [-1]], [[[-1.0]], [[-1.0]]], [[0.0]], spin=None)
    >>> print(chain(jnp.zeros(1)).real)
    [[-2.]]
    """

    vectors: Float[Array, "d d"]
    cells: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    blocks: Complex[Array, "r n n"]
    centres: Float[Array, "n d"]
    spin_operator: Complex[Array, "3 n n"] | None

    def __init__(
        self,
        lattice: ArrayLike,
        cells: ArrayLike,
        blocks: ArrayLike,
        centres: ArrayLike,
        spin: ArrayLike | None,
        position: object = None,
    ):
        if position is not None:
            raise NotImplementedError(
                "Argument `position` must be None: the terms of H(k) and of the velocity that "
                "come from elements of the position operator between orbitals are missing."
            )
        self.vectors = jnp.asarray(lattice, float)
        self.blocks = jnp.asarray(blocks, complex)
        self.centres = jnp.asarray(centres, float)
        self.spin_operator = None if spin is None else jnp.asarray(spin, complex)
        _check_lattice(self.vectors)
        self.cells = _as_cells(cells, self.dimension)
        _check_shapes(self)
        _check_values(self)

    @property
    def dimension(self) -> int:
        return self.vectors.shape[0]

    @property
    def lattice(self) -> Float[Array, "d d"]:
        return self.vectors

    def __call__(self, k: Float[Array, " d"]) -> Complex[Array, "n n"]:
        cell_phase = jnp.exp(1j * _dot(jnp.array(self.cells, float), _dot(self.vectors, k)))
        site_phase = jnp.exp(1j * _dot(self.centres, k))
        bloch = _dot(cell_phase, self.blocks)
        bloch = (bloch + bloch.conj().T) / 2
        return site_phase.conj()[:, None] * bloch * site_phase[None, :]

    def spin(self) -> Complex[Array, "3 n n"]:
        if self.spin_operator is None:
            raise ValueError(
                "This HoppingModel has no spin operator; give it one by the argument `spin`, "
                "shape (3, n, n), in units of ħ/2."
            )
        return self.spin_operator


def _as_cells(cells: ArrayLike, dimension: int) -> tuple[tuple[int, ...], ...]:
    """The cells as a hashable value, so that jit compiles once for equal cells."""
    values = np.asarray(cells)
    if values.ndim != 2 or values.shape[1] != dimension or not len(values):
        raise ValueError(
            f"Argument `cells` must have shape (r, {dimension}), but has {values.shape}."
        )
    integers = np.rint(values).astype(int)
    if not np.array_equal(integers, values):
        raise ValueError(f"Argument `cells` must be integers, but holds {_first_odd(values)}.")
    return tuple(map(tuple, integers.tolist()))


def _first_odd(values: np.ndarray) -> tuple[float, ...]:
    """The first row that is not made of integers."""
    return tuple(values[np.any(values != np.rint(values), axis=1)][0].tolist())


def _check_lattice(vectors: Float[Array, "..."]) -> None:
    if vectors.shape not in ((1, 1), (2, 2), (3, 3)):
        raise ValueError(
            f"Argument `lattice` must have shape (1, 1), (2, 2) or (3, 3), but has {vectors.shape}."
        )
    if is_traced(vectors):
        return
    rows = np.asarray(vectors)
    _check_finite("lattice", rows)
    volume, box = abs(np.linalg.det(rows)), np.prod(np.linalg.norm(rows, axis=1))
    if volume <= _FLATNESS * box:
        raise ValueError(
            f"Argument `lattice` must span a volume, but has a cell of volume {volume:.3g} "
            f"with edges of product {box:.3g}."
        )


def _check_shapes(model: HoppingModel) -> None:
    n = model.centres.shape[0] if model.centres.ndim else 0
    shapes = {
        "centres": (model.centres, (n, model.dimension)),
        "blocks": (model.blocks, (len(model.cells), n, n)),
        "spin": (model.spin_operator, (3, n, n)),
    }
    for name, (array, expected) in shapes.items():
        if array is not None and (array.shape != expected or n == 0):
            raise ValueError(
                f"Argument `{name}` must have shape {expected} for {len(model.cells)} cells and "
                f"{n} orbitals, but has {array.shape}."
            )


def _check_values(model: HoppingModel) -> None:
    _check_pairs(model.cells)
    arrays = {"blocks": model.blocks, "centres": model.centres, "spin": model.spin_operator}
    for name, array in arrays.items():
        if array is not None and not is_traced(array):
            _check_finite(name, np.asarray(array))
    if not is_traced(model.blocks):
        _check_hermitian_blocks(model.cells, np.asarray(model.blocks))
    if model.spin_operator is not None and not is_traced(model.spin_operator):
        _check_hermitian_spin(np.asarray(model.spin_operator))


def _check_finite(name: str, values: np.ndarray) -> None:
    if not np.all(np.isfinite(values)):
        where = tuple(np.argwhere(~np.isfinite(values))[0].tolist())
        raise ValueError(
            f"Argument `{name}` must be finite numbers, but is {values[where]} at index {where}."
        )


def _check_pairs(cells: tuple[tuple[int, ...], ...]) -> None:
    cell, count = Counter(cells).most_common(1)[0]
    if count > 1:
        raise ValueError(
            f"Argument `cells` must not repeat a cell, but holds {cell} {count} times."
        )
    present = set(cells)
    for cell in cells:
        if _opposite(cell) not in present:
            raise ValueError(
                f"Argument `cells` must hold -R with every R, but has {cell} without "
                f"{_opposite(cell)}."
            )


def _opposite(cell: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-c for c in cell)


def _check_hermitian_blocks(
    cells: tuple[tuple[int, ...], ...], blocks: Complex[np.ndarray, "r n n"]
) -> None:
    index = {cell: i for i, cell in enumerate(cells)}
    partner = blocks[[index[_opposite(cell)] for cell in cells]]
    violation = np.max(np.abs(blocks - partner.conj().swapaxes(1, 2)), axis=(1, 2))
    worst = int(np.argmax(violation))
    if violation[worst] > _HERMITICITY:
        raise ValueError(
            "Argument `blocks` must obey H(-R) = H(R)†, but is off by "
            f"{violation[worst]:.3g} eV at R = {cells[worst]}."
        )


def _check_hermitian_spin(spin: Complex[np.ndarray, "3 n n"]) -> None:
    violation = np.max(np.abs(spin - spin.conj().swapaxes(1, 2)))
    if violation > _HERMITICITY:
        raise ValueError(
            f"Argument `spin` must be three Hermitian matrices, but is off by {violation:.3g}."
        )
