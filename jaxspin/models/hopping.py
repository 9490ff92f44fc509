"""Tight binding from real-space blocks: what Wannier90 and PythTB files become."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float
from numpy.typing import ArrayLike

from jaxspin.algebra import is_traced
from jaxspin.compiled import keep
from jaxspin.models.base import Model

# A sum over one index. `highest`, because in single precision a GPU would by default round the
# factors to the ten bits of TF32, and leave three digits of a phase or an energy.
_dot = partial(jnp.tensordot, axes=1, precision="highest")
# Largest allowed |H(R) - H(-R)†|, eV: Wannier90's `_hr.dat` prints six decimals.
_HERMITICITY = 1e-5
# Smallest allowed volume of a cell relative to the box of its edge lengths: far below any crystal
# (a sheared cell of angle 0.1° has 2e-3), far above rounding in single precision.
_FLATNESS = 1e-5
# Two orbitals farther apart than this, Å, are at different places, and an element of the spin
# operator larger than this, ħ/2, couples them: the first above the digits of files, the second
# above rounding.
_APART, _COUPLED = 1e-6, 1e-10


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
            local: the same at every k, and without elements between orbitals at different places
            (they would depend on the choice of the Brillouin zone).
        position: must be None; elements of the position operator between orbitals are not
            supported yet.

    `vectors`, `blocks`, `centres` and `spin_operator` are arrays that can be scanned and
    differentiated; `cells` is static. H(k) is the Hermitian part of the sum, so that it stays
    Hermitian through the rounding of a file and the steps of a fit.

    Raises:
        ValueError: an argument has the wrong shape, is not finite, repeats a cell, lacks the
            partner of a cell, or breaks hermiticity by more than 1e-5 eV; the spin operator
            couples orbitals at different places.
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

    def tile(
        self, k: Float[Array, "d K"]
    ) -> tuple[Complex[Array, "n n K"], Complex[Array, "d n n K"]]:
        """H(k) and its slopes at scattered k, in the basis of `__call__`.

        One real matrix product over half of the cells: with R comes -R, and a Hermitian matrix is
        n² real numbers.
        """
        waves = _waves(_half(self.cells), list(_dot(self.vectors, k) / (2 * jnp.pi)))
        site_phase = keep(jnp.exp(1j * _dot(self.centres, k)))
        bloch = _unpacked(_summed(_paired_blocks(self), waves))
        matrices = site_phase.conj()[:, None] * bloch * site_phase[None, :]
        return matrices[0], matrices[1:]

    def box(
        self, u: Sequence[Float[Array, " _"]]
    ) -> tuple[Complex[Array, "n n K"], Complex[Array, "d n n K"]]:
        """H(k) and its slopes on a box of k, in the basis without the site phases e^{ik·τ}.

        In that basis H'_mn(k) = Σ_R e^{ik·R} H_mn(R), the velocity is the covariant derivative
        ∂H'_mn + i H'_mn (τ_n − τ_m), and the spin operator is the same. Sums run over one
        coordinate of R after the other, unless so few cells are filled that a sum over cells is
        shorter. Cosines are taken on the sides of the box only.
        """
        if _separable(self.cells, [x.size for x in u]):
            packed = _summed_by_axes(self, u)
        else:
            waves = _waves(_half(self.cells), jnp.meshgrid(*u, indexing="ij", sparse=True))
            packed = _summed(_paired_blocks(self), waves)
        matrices = _unpacked(packed)
        return matrices[0], matrices[1:]

    def spin(self) -> Complex[Array, "3 n n"]:
        if self.spin_operator is None:
            raise ValueError(
                "This HoppingModel has no spin operator; give it one by the argument `spin`, "
                "shape (3, n, n), in units of ħ/2."
            )
        return self.spin_operator


# A tile of H(k): sums over cells in real numbers.
#
# With a Hermitian matrix for each wave, H = Σ_j w_j(k) M_j, where the w_j are 1, cosines and sines.
# M is packed into one real matrix, Re M on and above the diagonal and Im M (of the transposed
# element) below. The first of 1 + d such sums is H, the others are its slopes.


def _packed(m: Complex[Array, "*c n n"]) -> Float[Array, "*c n n"]:
    upper = np.triu(np.ones(m.shape[-2:], bool))
    return jnp.where(upper, m.real, m.imag.swapaxes(-1, -2))


def _unpacked(p: Float[Array, "c n n K"]) -> Complex[Array, "c n n K"]:
    transposed = p.swapaxes(1, 2)
    row, column = np.indices((*p.shape[1:3], 1))[:2]
    real = jnp.where(row <= column, p, transposed)
    imaginary = jnp.sign(column - row) * jnp.where(row <= column, transposed, p)
    return jax.lax.complex(real, imaginary)


def _half(cells: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
    """One of R and −R; the home cell first."""
    home = tuple(0 for _ in cells[0])
    return [home, *(cell for cell in cells if cell > home)]


def _waves(half: list[tuple[int, ...]], u: Sequence[Float[Array, "..."]]) -> Float[Array, "j K"]:
    """1, then cos k·R and sin k·R of the cells of `half` but the home cell, k = Σ_i u_i b_i.

    They are products of powers of e^{2πi u_i}; the u_i need only broadcast together. Kept, for the
    library product that uses them would compute them again for each row.
    """
    sides = (_powers_at(x, r) for x, r in zip(u, np.array(half).T, strict=True))
    waves = math.prod(sides).reshape(len(half), -1)
    return keep(jnp.concatenate([waves.real, waves[1:].imag]))


def _powers_at(u: Float[Array, "..."], r: np.ndarray) -> Complex[Array, "h ..."]:
    """e^{2πi r u} for each integer r, of either sign."""
    largest = np.max(np.abs(r))
    powers = keep(jnp.stack(_powers(u, largest)))
    return jnp.concatenate([powers, powers[1:].conj()])[np.where(r >= 0, r, largest - r)]


def _powers(u: Float[Array, "..."], largest: int) -> list[Complex[Array, "..."]]:
    """e^{2πi r u} for r = 0, ..., largest: one cosine and one sine for each u."""
    wave = jax.lax.complex(jnp.cos(2 * jnp.pi * u), jnp.sin(2 * jnp.pi * u))
    table = [jnp.ones_like(wave)]
    for _ in range(largest):
        table.append(table[-1] * wave)
    return table


def _paired_blocks(model: HoppingModel) -> Float[Array, "j c n n"]:
    """The matrices of `_waves`: e^{iθ} B + h.c. = cos θ (B + B†) + sin θ i (B − B†).

    B is the block of H, then those of the slopes, i (R + τ_n − τ_m) H_mn(R).
    """
    index = {cell: i for i, cell in enumerate(model.cells)}
    half = [cell for cell in _half(model.cells) if cell in index]
    blocks = model.blocks[np.array([index[cell] for cell in half])]
    partners = model.blocks[np.array([index[_opposite(cell)] for cell in half])]
    blocks = (blocks + partners.conj().swapaxes(1, 2)) / 2
    if len(half) < len(_half(model.cells)):  # no home cell
        half, blocks = _half(model.cells), jnp.concatenate([jnp.zeros_like(blocks[:1]), blocks])
    sites = model.centres[None, :] - model.centres[:, None]
    steps = _dot(jnp.array(half, float), model.vectors)[:, None, None] + sites
    slopes = 1j * jnp.moveaxis(steps, -1, 1) * blocks[:, None]
    b = jnp.concatenate([blocks[:, None], slopes], axis=1)
    b_dagger = b.conj().swapaxes(-1, -2)
    return _packed(jnp.concatenate([b[:1], (b + b_dagger)[1:], 1j * (b - b_dagger)[1:]]))


def _summed(matrices: Float[Array, "j c n n"], waves: Float[Array, "j K"]):
    return jnp.tensordot(matrices, waves, axes=(0, 0), precision="highest")


# The same sums, one axis after the other: with 1, cos θ_i, ..., sin θ_i, ... for each angle
# θ_i = k·a_i, the cells of a dense model fill a box of products of such waves.


def _reach(cells: tuple[tuple[int, ...], ...]) -> list[int]:
    """The largest coordinate of a cell along each axis."""
    return np.max(np.abs(cells), axis=0).tolist()


def _separable(cells: tuple[tuple[int, ...], ...], sides: list[int]) -> bool:
    """Whether sums along one axis after the other are shorter, per k-point."""
    widths = [2 * reach + 1 for reach in _reach(cells)]
    d = len(sides)
    # Channels times waves: 2 in the first sum, ..., 1 + d in the last; each sum is over the waves
    # of its own and all later axes, and serves the points of the later sides.
    terms = (
        (min(i + 2, d + 1)) * math.prod(widths[i:]) / math.prod(sides[i + 1 :]) for i in range(d)
    )
    return sum(terms) < (1 + d) * len(cells)


def _summed_by_axes(model: HoppingModel, u: Sequence[Float[Array, " _"]]) -> Array:
    """Packed H and slopes on a box, (1 + d, n, n, K).

    Between the sums everything is kept in memory, the derivatives by the angles so far included.
    """
    n, d, reach = len(model.centres), model.dimension, _reach(model.cells)
    sides = [keep(_side_waves(x, r)) for x, r in zip(u, reach, strict=True)]
    fields = [_product_matrices(model).reshape(1, 2 * reach[0] + 1, -1)]
    for i in range(d - 1):
        fields = [*fields, _slope_along(fields[0], reach[i])]
        fields = [_sum_along(field, sides[i]) for field in fields]
        fields = [f.reshape(f.shape[0], 2 * reach[i + 1] + 1, -1) for f in fields]
    by_angle = jnp.stack([*fields[1:], _slope_along(fields[0], reach[-1])], axis=-1)
    h = fields[0].reshape(*fields[0].shape[:2], n, n)
    # i H_mn (τ_n − τ_m), packed
    sites = model.centres[:, None] - model.centres[None, :]
    site_terms = (h.swapaxes(-1, -2)[..., None] * sites).reshape(by_angle.shape)
    slopes = _dot(by_angle, model.vectors) + site_terms
    matrices = jnp.concatenate([fields[0][None], jnp.moveaxis(slopes, -1, 0)])
    return _last_sum(keep(matrices), sides[-1]).reshape(1 + d, n, n, -1)


def _side_waves(u: Float[Array, " N"], reach: int) -> Float[Array, "j N"]:
    """1, cos θ, ..., cos(reach θ), sin θ, ..., sin(reach θ) at θ = 2π u."""
    table = jnp.stack(_powers(u, reach))
    return jnp.concatenate([table.real, table[1:].imag])


def _product_matrices(model: HoppingModel) -> Float[Array, "*j n n"]:
    """The packed matrix of each product of waves, e^{irθ} = cos(|r| θ) + i sign(r) sin(|r| θ)."""
    reach = _reach(model.cells)
    shape = [2 * r + 1 for r in reach]
    box = jnp.zeros((*shape, *model.blocks.shape[1:]), model.blocks.dtype)
    box = box.at[tuple((np.array(model.cells) + reach).T)].set(model.blocks)
    for axis, largest in enumerate(reach):
        r = np.arange(-largest, largest + 1)
        waves = np.zeros((len(r), len(r)), complex)
        waves[np.abs(r), r + largest] = 1
        waves[np.where(r, largest + np.abs(r), 0), r + largest] += 1j * np.sign(r)
        box = jnp.tensordot(jnp.asarray(waves), box, axes=(1, axis), precision="highest")
        box = jnp.moveaxis(box, 0, axis)
    return _packed((box + box.conj().swapaxes(-1, -2)) / 2)


def _slope_along(field: Float[Array, "P j M"], reach: int) -> Float[Array, "P j M"]:
    """The coefficients of the derivative by θ of Σ_j w_j(θ) field_j."""
    r = np.arange(1, reach + 1)[:, None]
    cosines, sines = field[:, 1 : reach + 1], field[:, reach + 1 :]
    return jnp.concatenate([jnp.zeros_like(field[:, :1]), r * sines, -r * cosines], axis=1)


def _sum_along(field: Float[Array, "P j M"], waves: Float[Array, "j N"]) -> Float[Array, "Q M"]:
    """Σ_j field_j w_j at each point of one side, (P N, M); written out, which is fastest."""
    terms = (field[:, j, None, :] * waves[j][:, None] for j in range(1, len(waves)))
    return keep(sum(terms, start=field[:, 0, None, :] * waves[0][:, None])).reshape(
        -1, field.shape[-1]
    )


def _last_sum(field: Float[Array, "c P j M"], waves: Float[Array, "j N"]) -> Array:
    """The same along the last side, points last: (c, M, P, N)."""
    field = jnp.moveaxis(field, -1, 1)[..., None]
    terms = (field[..., j, :] * waves[j] for j in range(1, len(waves)))
    return keep(sum(terms, start=field[..., 0, :] * waves[0]))


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
        if not is_traced(model.centres):
            _check_local_spin(np.asarray(model.spin_operator), np.asarray(model.centres))


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


def _check_local_spin(
    spin: Complex[np.ndarray, "3 n n"], centres: Float[np.ndarray, "n d"]
) -> None:
    apart = np.linalg.norm(centres[:, None] - centres[None, :], axis=-1) > _APART
    coupled = np.argwhere(apart & (np.max(np.abs(spin), axis=0) > _COUPLED))
    if len(coupled):
        m, n = coupled[0].tolist()
        raise ValueError(
            "Argument `spin` must not couple orbitals at different places, but couples the "
            f"orbitals {m} and {n}."
        )
