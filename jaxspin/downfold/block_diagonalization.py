"""Unitary rotations that decouple blocks of a Hamiltonian, on tiles, the k axis last.

The rotation of least action is U = X (X†X)^(-1/2), X = Σ_b P_b R_b R_b†, with P_b the projector on
the bands of block b and R_b its reference functions: of all rotations that decouple the blocks it
is the nearest to 1 (Cederbaum, Schirmer and Meyer, J. Phys. A 22, 2427 (1989)), and its blocks
R_b†U R_b are Hermitian. For two blocks it is exp(iQ) with Q between the blocks only, Eq. (16) of
Samokhin, Sigrist and Fischer (2025); for three or more it differs from that at third order.

Derivatives are those of projectors, and energies inside a block never meet in a denominator: each
rule solves a linear equation, of Sylvester or Lyapunov, and its solution is differentiated as that
of the equation. So derivatives of every order exist wherever kept and removed bands are apart,
however degenerate they are among themselves. The equations are solved by the eigenvectors of their
blocks, a division by differences of energies of different blocks, where a Kronecker product would
need an LU decomposition of the size of the blocks' product at each k.
"""

import itertools
from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact, Int

from jaxspin.engine.derivative_rules import tangent_or_zero, with_derivative
from jaxspin.engine.eigensolvers import eigh
from jaxspin.engine.small_matrices import dagger, matmul, sandwich


class Blocks(eqx.Module):
    """Reference functions and bands of each block; the first block is the kept one."""

    #: Reference functions as columns, block after block, (n, n), unitary.
    frame: Complex[Array, "n n"]
    #: Indices of the bands, block after block (0 is the lowest).
    bands: Int[Array, " n"]
    #: Number of functions in each block.
    sizes: tuple[int, ...] = eqx.field(static=True)


class Rotation(eqx.Module):
    """A way to decouple the kept block."""

    @abstractmethod
    def kept_columns(
        self, hamiltonian: Complex[Array, "n n K"], blocks: Blocks
    ) -> Complex[Array, "*o n m K"]:
        """The first m columns of U, in the form that the other methods take."""

    @abstractmethod
    def dress_operator(
        self,
        columns: Complex[Array, "*o n m K"],
        operator: Inexact[Array, "*c n n K"],
        blocks: Blocks,
    ) -> Complex[Array, "*c m m K"]:
        """The kept block of U†OU."""

    @abstractmethod
    def derivative_overlap(self, columns, changes) -> Complex[Array, "*c m m K"]:
        """T†∂T, from the columns and their derivatives, whose directions lead."""

    @abstractmethod
    def sum_orders(self, columns, blocks: Blocks) -> Complex[Array, "*c n m K"]:
        """The columns of all orders together, in the basis of the Hamiltonian."""

    @abstractmethod
    def exact_columns(self, columns, hamiltonian, blocks: Blocks) -> Complex[Array, "n m K"]:
        """The columns of the exact rotation: a basis of the kept bands themselves."""

    @abstractmethod
    def smallest_denominator(
        self, hamiltonian: Complex[Array, "n n K"], blocks: Blocks
    ) -> Float[Array, " K"]:
        """Smallest energy denominator, eV; a constant, and 0 within rounding errors."""


class LeastAction(Rotation):
    """The exact rotation."""

    def kept_columns(self, hamiltonian, blocks):
        m = blocks.sizes[0]
        return kept_isometry(
            hamiltonian, blocks.frame[:, :m], fixed_spectrum(hamiltonian, blocks.bands)
        )

    def dress_operator(self, columns, operator, blocks):
        return sandwich(columns, operator)

    def derivative_overlap(self, columns, changes):
        return matmul(dagger(columns), changes)

    def sum_orders(self, columns, blocks):
        return columns

    def exact_columns(self, columns, hamiltonian, blocks):
        return columns

    def smallest_denominator(self, hamiltonian, blocks):
        m = blocks.sizes[0]
        return smallest_gap(
            fixed_spectrum(hamiltonian, blocks.bands).energies, (m, len(hamiltonian) - m)
        )


class Perturbation(Rotation):
    """The rotation to an order of the coupling between the blocks, as are dressed operators.

    H = H' + ζH'', H'' between the blocks; parts of an operator between the blocks count as of
    first order too, as they are for the velocity. Odd orders add nothing for two blocks. The
    orders of the columns are stacked, in the basis of the reference functions.
    """

    order: int = eqx.field(static=True)

    def kept_columns(self, hamiltonian, blocks):
        rotations = rotation_series(_rotate_to_frame(hamiltonian, blocks), blocks.sizes, self.order)
        return rotations[:, :, : blocks.sizes[0]]

    def dress_operator(self, columns, operator, blocks):
        inside, between = split_blocks(_rotate_to_frame(operator, blocks), blocks.sizes)
        columns = columns.reshape(-1, *[1] * (operator.ndim - 3), *columns.shape[1:])
        dressed = _sum_up_to_order(columns, matmul(inside, columns))
        if self.order == 0:
            return dressed
        return dressed + _sum_up_to_order(columns[:-1], matmul(between, columns[:-1]))

    def derivative_overlap(self, columns, changes):
        orders = columns.reshape(-1, *[1] * (changes.ndim - 4), *columns.shape[1:])
        return _sum_up_to_order(orders, jnp.moveaxis(changes, -4, 0))

    def sum_orders(self, columns, blocks):
        return matmul(blocks.frame[..., None], jnp.sum(columns, axis=-4))

    def exact_columns(self, columns, hamiltonian, blocks):
        return LeastAction().kept_columns(hamiltonian, blocks)

    def smallest_denominator(self, hamiltonian, blocks):
        parts = _diagonal_blocks(_rotate_to_frame(hamiltonian, blocks), blocks.sizes)
        levels = jnp.concatenate([fixed_spectrum(part).energies for part in parts])
        of_bands = LeastAction().smallest_denominator(hamiltonian, blocks)
        return jnp.minimum(smallest_gap(levels, blocks.sizes), of_bands)


def _sum_up_to_order(a, b):
    """Σ a_p†b_q over p + q up to the highest order there is; the orders lead."""
    return jnp.sum(matmul(dagger(a), jnp.cumsum(b, axis=0)[::-1]), axis=0)


# --- exact ----------------------------------------------------------------------------------------


class Spectrum(NamedTuple):
    """Bands by which linear equations are solved; never differentiated."""

    energies: Float[Array, "n K"]
    basis: Complex[Array, "n n K"]


def fixed_spectrum(hamiltonian: Complex[Array, "n n K"], bands: Int[Array, " n"] | None = None):
    """The bands in the order of the indices `bands`, as constants."""
    energies, basis = eigh(jax.lax.stop_gradient(hamiltonian))
    if bands is None:
        return Spectrum(energies, basis)
    return Spectrum(energies[bands], basis[:, bands])


def smallest_gap(energies: Float[Array, "n K"], sizes: tuple[int, ...]) -> Float[Array, " K"]:
    """Between energies of different blocks, which lie one after the other."""
    label = np.repeat(np.arange(len(sizes)), sizes)
    same = (label[:, None] == label)[..., None]
    gaps = jnp.where(same, jnp.inf, jnp.abs(energies[:, None] - energies[None, :]))
    gap = jnp.min(gaps, axis=(0, 1))
    rounding = 64 * jnp.finfo(gap.dtype).eps * jnp.max(jnp.abs(energies), axis=0)
    return jnp.where(gap > rounding, gap, 0)


def _kept_isometry_jvp(primals, tangents):
    """dT = X + T Z: X among the removed bands from [H, ·], Z from R†T remaining Hermitian."""
    hamiltonian, reference, bands = primals
    change, reference_change = map(tangent_or_zero, primals[:2], tangents[:2])
    columns = kept_isometry(*primals)
    moved = apply_resolvent(
        hamiltonian, columns, -project_out(columns, matmul(change, columns)), bands
    )
    r = reference[..., None]
    skew = matmul(dagger(r), moved) + matmul(dagger(reference_change[..., None]), columns)
    turned = solve_lyapunov(matmul(dagger(r), columns), dagger(skew) - skew)
    return columns, moved + matmul(columns, turned)


@with_derivative(_kept_isometry_jvp)
def kept_isometry(
    hamiltonian: Complex[Array, "n n K"], reference: Complex[Array, "n m"], bands: Spectrum
) -> Complex[Array, "n m K"]:
    """T = P R (R†P R)^(-1/2): the kept columns of the rotation of least action.

    P is the projector on the first m of `bands`, R the reference functions. R†T is Hermitian.
    """
    kept = bands.basis[:, : reference.shape[1]]
    overlap = matmul(dagger(kept), reference[..., None])
    return matmul(kept, _unitary_factor(overlap))


def apply_resolvent(
    hamiltonian: Complex[Array, "n n K"],
    columns: Complex[Array, "n m K"],
    source: Complex[Array, "n m K"],
    bands: Spectrum,
) -> Complex[Array, "n m K"]:
    """X with H X − X (T†HT) = C and T†X = 0, for T the kept columns and T†C = 0."""
    m = columns.shape[1]
    low, high = bands.energies[:m], bands.energies[m:]
    kept, removed = bands.basis[:, :m], bands.basis[:, m:]
    inner = matmul(dagger(jax.lax.stop_gradient(columns)), kept)

    def apply_equation(x):  # as it stands among the removed functions, 1 among the kept ones
        y = project_out(columns, x)
        within = sandwich(columns, hamiltonian)
        return project_out(columns, matmul(hamiltonian, y) - matmul(y, within)) + (x - y)

    def solve(source):
        element = matmul(dagger(removed), matmul(source, inner)) / (high[:, None] - low[None, :])
        return matmul(removed, matmul(element, dagger(inner))) + _project_on(kept, source)

    return _solve_linear(apply_equation, solve, source)


def solve_lyapunov(weight: Complex[Array, "m m K"], source: Complex[Array, "m m K"]):
    """Z with W Z + Z W = C, for W Hermitian and positive."""
    values, basis = eigh(jax.lax.stop_gradient(weight))

    def solve(source):
        return sandwich(dagger(basis), sandwich(basis, source) / (values[:, None] + values[None]))

    return _solve_linear(lambda z: matmul(weight, z) + matmul(z, weight), solve, source)


def _solve_linear(act: Callable, solve: Callable, source: Complex[Array, "n m K"]):
    """x with act(x) = source, for a Hermitian linear function `act` of matrices.

    `solve` finds it with constants alone. Derivatives, of any order and mode, are those of the
    equation: act(dx) = d source − (d act)(x).
    """
    transposed = lambda _, b: jnp.conj(solve(jnp.conj(b)))  # noqa: E731
    return jax.lax.custom_linear_solve(act, source, lambda _, b: solve(b), transposed)


def _unitary_factor(a: Complex[Array, "m m K"]) -> Complex[Array, "m m K"]:
    """The unitary factor a (a†a)^(-1/2)."""
    squares, basis = eigh(matmul(dagger(a), a))
    return matmul(a, matmul(basis / jnp.sqrt(squares), dagger(basis)))


def _project_on(columns, x):
    """TT†x."""
    return matmul(columns, matmul(dagger(columns), x))


def project_out(
    columns: Complex[Array, "n m K"], x: Inexact[Array, "*c n p K"]
) -> Complex[Array, "*c n p K"]:
    """(1 − TT†) x."""
    return x - _project_on(columns, x)


# --- order by order -------------------------------------------------------------------------------


def rotation_series(
    hamiltonian: Complex[Array, "n n K"], sizes: tuple[int, ...], order: int
) -> Complex[Array, "o n n K"]:
    """U_0, ..., U_order of the rotation of least action, in powers of the coupling of the blocks.

    At each order p the Hermitian part W of U_p makes U unitary, and the anti-Hermitian part V,
    which is between the blocks, decouples them: [H', V] + Y = 0 there, with Y = (U†HU)_p for V = 0.
    """
    parts = split_blocks(hamiltonian, sizes)
    spectra = [fixed_spectrum(block) for block in _diagonal_blocks(hamiltonian, sizes)]
    one = jnp.eye(len(hamiltonian), dtype=complex)[..., None]
    u = jnp.broadcast_to(one, (1, *hamiltonian.shape))
    inside, between = (part[None] for part in parts)  # H'U_q and H''U_q, orders stacked
    for p in range(1, order + 1):
        hermitian = -_cauchy_product(u[1:p], u[1:p]) / 2
        both = matmul(parts[0], hermitian)
        rest = (
            both + dagger(both) + _cauchy_product(u[1:p], inside[1:p]) + _cauchy_product(u, between)
        )
        new = hermitian + _solve_decoupling(parts[0], rest, sizes, spectra)
        u = jnp.concatenate([u, new[None]])
        if p < order:
            acted = matmul(jnp.stack(parts), new)
            inside, between = (
                jnp.concatenate([old, x[None]])
                for old, x in zip((inside, between), acted, strict=True)
            )
    return u


def _cauchy_product(a, b):
    """Σ_q a_q†b_{last−q}; the orders lead."""
    return jnp.sum(matmul(dagger(a), b[::-1]), axis=0)


def split_blocks(
    operator: Inexact[Array, "*c n n K"], sizes: tuple[int, ...]
) -> tuple[Inexact[Array, "*c n n K"], Inexact[Array, "*c n n K"]]:
    """The parts of an operator inside the blocks and between them."""
    label = np.repeat(np.arange(len(sizes)), sizes)
    same = (label[:, None] == label)[..., None]
    return jnp.where(same, operator, 0), jnp.where(same, 0, operator)


def _solve_decoupling(inside, rest, sizes, spectra):
    """V between the blocks with [H', V] = −rest."""
    edges = np.cumsum([0, *sizes])
    cut = [slice(a, b) for a, b in itertools.pairwise(edges)]
    result = jnp.zeros_like(rest)
    for i, a in enumerate(cut):
        for j, b in list(enumerate(cut))[i + 1 :]:
            x = solve_sylvester(inside[a, a], inside[b, b], -rest[a, b], spectra[i], spectra[j])
            result = result.at[a, b].set(x).at[b, a].set(-dagger(x))
    return result


def solve_sylvester(
    a: Complex[Array, "n n K"],
    b: Complex[Array, "m m K"],
    source: Complex[Array, "n m K"],
    bands_a: Spectrum,
    bands_b: Spectrum,
) -> Complex[Array, "n m K"]:
    """X with A X − X B = C, for Hermitian A and B with the given bands."""

    def solve(source):
        element = matmul(dagger(bands_a.basis), matmul(source, bands_b.basis))
        element = element / (bands_a.energies[:, None] - bands_b.energies[None, :])
        return matmul(bands_a.basis, matmul(element, dagger(bands_b.basis)))

    return _solve_linear(lambda x: matmul(a, x) - matmul(x, b), solve, source)


def _rotate_to_frame(operator, blocks: Blocks):
    return sandwich(blocks.frame[..., None], operator)


def _diagonal_blocks(matrix, sizes):
    edges = np.cumsum([0, *sizes])
    return [matrix[a:b, a:b] for a, b in itertools.pairwise(edges)]
