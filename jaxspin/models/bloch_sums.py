"""Bloch sums X(k) = Σ_R e^{ik·R} X(R) of blocks between cells, in real numbers.

With R comes −R, and X(−R) = X(R)†, so that X = Σ_j w_j(k) M_j: real waves w_j, which are 1, cosines
and sines, times Hermitian matrices. A Hermitian matrix is packed into one real matrix, Re M on and
above the diagonal and Im M (of the transposed element) below, and a Bloch sum is a product of real
matrices. Wave vectors are k = Σ_i u_i b_i, with b_i the reciprocal lattice vectors.

A sum over half of the cells serves any k. On a box of k, sums over one coordinate of R after the
other are shorter, unless few of the cells around the home cell are filled.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxspin.engine.xla import materialize

Cells = tuple[tuple[int, ...], ...]

# A sum over one index. `highest`, because in single precision a GPU would by default round the
# factors to the ten bits of TF32, and leave three digits of a phase or an energy.
dot = partial(jnp.tensordot, axes=1, precision="highest")


def opposite(cell: tuple[int, ...]) -> tuple[int, ...]:
    """The cell −R of R."""
    return tuple(-c for c in cell)


def half(cells: Cells) -> Cells:
    """One of R and −R; the home cell first, whether it is among `cells` or not."""
    home = tuple(0 for _ in cells[0])
    return (home, *(cell for cell in cells if cell > home))


def half_of_blocks(cells: Cells, blocks: Complex[Array, "r *c n n"]) -> Complex[Array, "h *c n n"]:
    """The Hermitian part of the blocks, (X(R) + X(−R)†)/2, for the cells of `half`."""
    index = {cell: i for i, cell in enumerate(cells)}
    present = [cell for cell in half(cells) if cell in index]
    chosen = blocks[np.array([index[cell] for cell in present])]
    partners = blocks[np.array([index[opposite(cell)] for cell in present])]
    chosen = (chosen + partners.conj().swapaxes(-1, -2)) / 2
    if len(present) < len(half(cells)):  # no home cell
        chosen = jnp.concatenate([jnp.zeros_like(chosen[:1]), chosen])
    return chosen


class BlochSum(eqx.Module):
    """Σ_R e^{ik·R} X(R) of c kinds of blocks: the matrices that the waves are multiplied by."""

    cells: Cells = eqx.field(static=True)
    #: For 1, cos k·R, ..., sin k·R, ... of half of the cells.
    by_cell: Float[Array, "j c n n"]
    #: For the products of such waves of each coordinate of R.
    by_axis: Float[Array, "*jc n n"]

    def __init__(self, cells: Cells, blocks: Complex[Array, "r c n n"]):
        self.cells = cells
        self.by_cell = matrices_of_waves(half_of_blocks(cells, blocks))
        self.by_axis = matrices_of_products(cells, blocks)

    def scattered(self, u: Sequence[Float[Array, "..."]]) -> Complex[Array, "c n n K"]:
        """The sums at any k, whose reduced coordinates need only broadcast together."""
        return scattered(self.cells, self.by_cell, u)

    def box(self, u: Sequence[Float[Array, " _"]]) -> Complex[Array, "c n n K"]:
        """The sums on the box of all combinations of the u_i, by the shorter of the two ways."""
        if not separable(self.cells, [x.size for x in u]):
            return self.scattered(grid(u))
        reach = _largest_coordinates(self.cells)
        sides = [_side_waves(x, r) for x, r in zip(u, reach, strict=True)]
        field = self.by_axis.reshape(1, 2 * reach[0] + 1, -1)
        for i in range(len(u) - 1):
            field = _sum_along(field, sides[i])
            field = field.reshape(field.shape[0], 2 * reach[i + 1] + 1, -1)
        return _unpack_hermitian(
            _last_sum(field[None], sides[-1]).reshape(*self.by_cell.shape[1:], -1)
        )


def grid(u: Sequence[Float[Array, " _"]]) -> list[Float[Array, "..."]]:
    """The coordinates of the points of a box, each along its own axis."""
    return jnp.meshgrid(*u, indexing="ij", sparse=True)


def scattered(
    cells: Cells, matrices: Float[Array, "j c n n"], u: Sequence[Float[Array, "..."]]
) -> Complex[Array, "c n n K"]:
    """Bloch sums at any k, as one real matrix product, from `matrices_of_waves`."""
    waves = _cosines_and_sines(half(cells), u)
    return _unpack_hermitian(jnp.tensordot(matrices, waves, axes=(0, 0), precision="highest"))


def box_with_slopes(
    cells: Cells,
    matrices: Float[Array, "*j n n"],
    vectors: Float[Array, "d d"],
    centres: Float[Array, "n d"],
    u: Sequence[Float[Array, " _"]],
) -> Complex[Array, "c n n K"]:
    """The Bloch sum X, and its slopes ∂_a X_mn + i X_mn (τ_n − τ_m)_a, on a box: c = 1 + d.

    Between the sums everything is kept in memory, the derivatives by the angles k·a_i so far
    included, which cost less than sums of their own.

    Args:
        matrices: those of `matrices_of_products`.
    """
    n, d, reach = len(centres), len(vectors), _largest_coordinates(cells)
    sides = [_side_waves(x, r) for x, r in zip(u, reach, strict=True)]
    fields = [matrices.reshape(1, 2 * reach[0] + 1, -1)]
    for i in range(d - 1):
        fields = [*fields, _slope_along(fields[0], reach[i])]
        fields = [_sum_along(field, sides[i]) for field in fields]
        fields = [f.reshape(f.shape[0], 2 * reach[i + 1] + 1, -1) for f in fields]
    by_angle = jnp.stack([*fields[1:], _slope_along(fields[0], reach[-1])], axis=-1)
    x = fields[0].reshape(*fields[0].shape[:2], n, n)
    # i X_mn (τ_n − τ_m), packed
    sites = centres[:, None] - centres[None, :]
    site_terms = (x.swapaxes(-1, -2)[..., None] * sites).reshape(by_angle.shape)
    slopes = dot(by_angle, vectors) + site_terms
    packed = _pack_slopes(fields[0], slopes)
    return _unpack_hermitian(_last_sum(packed, sides[-1]).reshape(1 + d, n, n, -1))


@materialize
def _pack_slopes(field: Float[Array, "P j M"], slopes: Float[Array, "P j M d"]) -> Array:
    return jnp.concatenate([field[None], jnp.moveaxis(slopes, -1, 0)])


def separable(cells: Cells, sides: Sequence[int]) -> bool:
    """True if sums along one axis after the other are shorter, per k-point."""
    widths = [2 * reach + 1 for reach in _largest_coordinates(cells)]
    d = len(sides)
    # Channels times waves: 2 in the first sum, ..., 1 + d in the last; each sum is over the waves
    # of its own and all later axes, and serves the points of the later sides.
    terms = (
        (min(i + 2, d + 1)) * math.prod(widths[i:]) / math.prod(sides[i + 1 :]) for i in range(d)
    )
    return sum(terms) < (1 + d) * len(cells)


def matrices_of_waves(blocks: Complex[Array, "h *c n n"]) -> Float[Array, "j *c n n"]:
    """The packed matrices of 1, cos k·R, ..., sin k·R, ..., from the blocks of half of the cells.

    e^{iθ} B + h.c. = cos θ (B + B†) + sin θ i (B − B†).
    """
    dagger = blocks.conj().swapaxes(-1, -2)
    cosines, sines = (blocks + dagger)[1:], 1j * (blocks - dagger)[1:]
    return _pack_hermitian(jnp.concatenate([blocks[:1], cosines, sines]))


def matrices_of_products(
    cells: Cells, blocks: Complex[Array, "r *c n n"]
) -> Float[Array, "*jc n n"]:
    """The packed matrices of the products of waves, e^{irθ} = cos(|r| θ) + i sign(r) sin(|r| θ)."""
    reach = _largest_coordinates(cells)
    shape = [2 * r + 1 for r in reach]
    box = jnp.zeros((*shape, *blocks.shape[1:]), blocks.dtype)
    box = box.at[tuple((np.array(cells) + reach).T)].set(blocks)
    for axis, largest in enumerate(reach):
        r = np.arange(-largest, largest + 1)
        waves = np.zeros((len(r), len(r)), complex)
        waves[np.abs(r), r + largest] = 1
        waves[np.where(r, largest + np.abs(r), 0), r + largest] += 1j * np.sign(r)
        box = jnp.tensordot(jnp.asarray(waves), box, axes=(1, axis), precision="highest")
        box = jnp.moveaxis(box, 0, axis)
    return _pack_hermitian((box + box.conj().swapaxes(-1, -2)) / 2)


def _pack_hermitian(m: Complex[Array, "*c n n"]) -> Float[Array, "*c n n"]:
    upper = np.triu(np.ones(m.shape[-2:], bool))
    return jnp.where(upper, m.real, m.imag.swapaxes(-1, -2))


def _unpack_hermitian(p: Float[Array, "c n n K"]) -> Complex[Array, "c n n K"]:
    transposed = p.swapaxes(1, 2)
    row, column = np.indices((*p.shape[1:3], 1))[:2]
    real = jnp.where(row <= column, p, transposed)
    imaginary = jnp.sign(column - row) * jnp.where(row <= column, transposed, p)
    return jax.lax.complex(real, imaginary)


@materialize
def _cosines_and_sines(half: Cells, u: Sequence[Float[Array, "..."]]) -> Float[Array, "j K"]:
    """1, then cos k·R and sin k·R of the cells of `half` but the home cell, k = Σ_i u_i b_i.

    They are products of powers of e^{2πi u_i}; the u_i need only broadcast together. Kept, for the
    library product that uses them would compute them again for each row.
    """
    sides = (_pick_powers(x, r) for x, r in zip(u, np.array(half).T, strict=True))
    products: Any = math.prod(sides)
    waves = products.reshape(len(half), -1)
    return jnp.concatenate([waves.real, waves[1:].imag])


def _pick_powers(u: Float[Array, "..."], r: np.ndarray) -> Complex[Array, "h ..."]:
    """e^{2πi r u} for each integer r, of either sign."""
    largest = np.max(np.abs(r))
    powers = _stack_powers(u, largest)
    return jnp.concatenate([powers, powers[1:].conj()])[np.where(r >= 0, r, largest - r)]


@materialize
def _stack_powers(u: Float[Array, "..."], largest: int) -> Complex[Array, "h ..."]:
    return jnp.stack(_list_powers(u, largest))


def _list_powers(u: Float[Array, "..."], largest: int) -> list[Complex[Array, "..."]]:
    """e^{2πi r u} for r = 0, ..., largest: one cosine and one sine for each u."""
    wave = jax.lax.complex(jnp.cos(2 * jnp.pi * u), jnp.sin(2 * jnp.pi * u))
    table = [jnp.ones_like(wave)]
    for _ in range(largest):
        table.append(table[-1] * wave)
    return table


def _largest_coordinates(cells: Cells) -> list[int]:
    """The largest coordinate of a cell along each axis."""
    return np.max(np.abs(cells), axis=0).tolist()


@materialize
def _side_waves(u: Float[Array, " N"], reach: int) -> Float[Array, "j N"]:
    """1, cos θ, ..., cos(reach θ), sin θ, ..., sin(reach θ) at θ = 2π u."""
    table = jnp.stack(_list_powers(u, reach))
    return jnp.concatenate([table.real, table[1:].imag])


def _slope_along(field: Float[Array, "P j M"], reach: int) -> Float[Array, "P j M"]:
    """The coefficients of the derivative by θ of Σ_j w_j(θ) field_j."""
    r = np.arange(1, reach + 1)[:, None]
    cosines, sines = field[:, 1 : reach + 1], field[:, reach + 1 :]
    return jnp.concatenate([jnp.zeros_like(field[:, :1]), r * sines, -r * cosines], axis=1)


@materialize
def _sum_along(field: Float[Array, "P j M"], waves: Float[Array, "j N"]) -> Float[Array, "Q M"]:
    """Σ_j field_j w_j at each point of one side, (P N, M); written out, which is fastest."""
    terms = (field[:, j, None, :] * waves[j][:, None] for j in range(1, len(waves)))
    total: Any = sum(terms, start=field[:, 0, None, :] * waves[0][:, None])
    return total.reshape(-1, field.shape[-1])


@materialize
def _last_sum(field: Float[Array, "c P j M"], waves: Float[Array, "j N"]) -> Array:
    """The same along the last side, points last: (c, M, P, N)."""
    field = jnp.moveaxis(field, -1, 1)[..., None]
    terms = (field[..., j, :] * waves[j] for j in range(1, len(waves)))
    total: Any = sum(terms, start=field[..., 0, :] * waves[0])
    return total
