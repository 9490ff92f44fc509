"""Small matrices: Pauli and spin-j matrices, products that carry a trailing k axis.

Throughout the package, matrices on a tile of K k-points have shape (n, n, K), and a vector of
them (3, n, n, K): components lead, the k axis is last. Code reads as if for one k.
"""

from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

from jaxspin.engine.bilinear import bilinear, is_for_reverse_mode
from jaxspin.engine.xla import separate_kernel

_UNROLL = 24  # largest sum that is written out term by term; above it a library product is faster

#: The Pauli matrices (identity, x, y, z), shape (4, 2, 2).
PAULI: Complex[np.ndarray, "4 2 2"] = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]
)


def spin_matrices(twice_spin: int) -> Complex[np.ndarray, "3 n n"]:
    """Spin operators of spin J = `twice_spin`/2 in units of ħ/2, basis m = J, J-1, ..., -J.

    For J = 1/2 these are the Pauli matrices; in general they are 2J_x, 2J_y, 2J_z, with
    [S_x, S_y] = 2i S_z and S·S = 4J(J+1).

    Returns:
        Array (3, 2J+1, 2J+1).
    Raises:
        ValueError: `twice_spin` is not a positive integer.

    >>> import numpy as np
    >>> bool(np.allclose(spin_matrices(1), PAULI[1:]))
    True
    """
    if not isinstance(twice_spin, int) or twice_spin < 1:
        raise ValueError(
            f"Argument `twice_spin` must be a positive integer (2J), but is {twice_spin!r}."
        )
    j = twice_spin / 2
    m = j - np.arange(twice_spin + 1)
    raising = np.diag(np.sqrt(j * (j + 1) - m[1:] * (m[1:] + 1)), 1).astype(complex)
    lowering = raising.conj().T
    return np.array([raising + lowering, -1j * (raising - lowering), 2 * np.diag(m)])


def dagger(a: Inexact[Array, "*c n m K"]) -> Inexact[Array, "*c m n K"]:
    """Hermitian conjugate of each matrix."""
    return jnp.conj(transpose(a))


def transpose(a: Inexact[Array, "*c n m K"]) -> Inexact[Array, "*c m n K"]:
    """Transpose of each matrix."""
    return jnp.swapaxes(a, -3, -2)


def matmul(a: Inexact[Array, "*c n l #K"], b: Inexact[Array, "*e l m #K"]) -> Inexact[Array, "..."]:
    """Matrix products for each k; leading component axes broadcast.

    Written as a sum over the middle index, so that a tile is one vectorised loop over k instead
    of many tiny products, and kept in memory for whatever uses it.
    """
    return _multiply(a, b, turns=(_AS_IT_IS, _AS_IT_IS)) if is_for_reverse_mode() else _matmul(a, b)


def product(
    a: Inexact[Array, "*c n l #K"], b: Inexact[Array, "*e l m #K"]
) -> Inexact[Array, "..."]:
    """Matrix product for each k, fused into the kernel that uses it."""
    size = a.shape[-2]
    if size > _UNROLL:
        return jnp.einsum("...nlk,...lmk->...nmk", a, b)
    terms = (a[..., :, l, None, :] * b[..., None, l, :, :] for l in range(1, size))
    return sum(terms, start=a[..., :, 0, None, :] * b[..., None, 0, :, :])


_matmul = separate_kernel(product)


class _Turn(NamedTuple):
    """Matrix operations applied to a factor, without writing the result down."""

    transposed: bool = False
    conjugated: bool = False

    def conjugate_if(self, condition: bool) -> "_Turn":
        """This turn, followed by a complex conjugation or not."""
        return _Turn(self.transposed, self.conjugated != condition)

    def transpose(self) -> "_Turn":
        """This turn, followed by a transposition."""
        return _Turn(not self.transposed, self.conjugated)

    def __call__(self, a: Inexact[Array, "*c n m K"]) -> Inexact[Array, "..."]:
        a = transpose(a) if self.transposed else a
        return jnp.conj(a) if self.conjugated else a


_AS_IT_IS = _Turn()


def _cotangent_of_first(cotangent, b, *, turns: tuple[_Turn, _Turn]):
    """Of C = AB the cotangent of A is that of C times B^T, turned back."""
    of_a, of_b = turns
    of_b, of_c = (turn.conjugate_if(of_a.conjugated) for turn in (of_b, _AS_IT_IS))
    if of_a.transposed:
        return _multiply(b, cotangent, turns=(of_b, of_c.transpose()))
    return _multiply(cotangent, b, turns=(of_c, of_b.transpose()))


def _cotangent_of_second(cotangent, a, *, turns: tuple[_Turn, _Turn]):
    """Of C = AB the cotangent of B is A^T times that of C, turned back."""
    of_a, of_b = turns
    of_a, of_c = (turn.conjugate_if(of_b.conjugated) for turn in (of_a, _AS_IT_IS))
    if of_b.transposed:
        return _multiply(cotangent, a, turns=(of_c.transpose(), of_a))
    return _multiply(a, cotangent, turns=(of_a.transpose(), of_c))


@bilinear(_cotangent_of_first, _cotangent_of_second)
def _multiply(a, b, *, turns: tuple[_Turn, _Turn]):
    """Product of the turned factors for each k, kept in memory."""

    @separate_kernel
    def turned_product(a, b):
        return product(turns[0](a), turns[1](b))

    return turned_product(a, b)


def sandwich(
    basis: Inexact[Array, "n m #K"], a: Inexact[Array, "*c n n #K"]
) -> Inexact[Array, "*c m m K"]:
    """U†aU for each k: an operator in the basis of the columns of U."""
    product = matmul(a, basis)
    if is_for_reverse_mode():
        return _multiply(basis, product, turns=(_Turn(transposed=True, conjugated=True), _AS_IT_IS))
    return _apply_dagger(basis, product)


@separate_kernel
def _apply_dagger(basis, a):
    """U†a, without writing U† down."""
    return product(dagger(basis), a)


def commutator(
    a: Inexact[Array, "*c n n #K"], b: Inexact[Array, "*e n n #K"]
) -> Inexact[Array, "..."]:
    """[a, b] = ab - ba for each k."""
    return matmul(a, b) - matmul(b, a)


def anticommutator(
    a: Inexact[Array, "*c n n #K"], b: Inexact[Array, "*e n n #K"]
) -> Inexact[Array, "..."]:
    """{a, b} = ab + ba for each k."""
    return matmul(a, b) + matmul(b, a)


def diagonal_of_product(
    a: Inexact[Array, "*c n l #K"], b: Inexact[Array, "*e l n #K"]
) -> Inexact[Array, "..."]:
    """Diagonal of the product ab for each k, without the rest of it: (..., n, K)."""
    return _bilinear_diagonal(a, b) if is_for_reverse_mode() else _diagonal_of_product(a, b)


def _diagonal_of_product(a, b) -> Any:
    size = a.shape[-2]
    if size > _UNROLL:
        return jnp.sum(a * transpose(b), axis=-2)
    terms = (a[..., :, l, :] * b[..., l, :, :] for l in range(1, size))
    return sum(terms, start=a[..., :, 0, :] * b[..., 0, :, :])


def _cotangent_of_rows(cotangent, b):
    return cotangent[..., :, None, :] * transpose(b)


def _cotangent_of_columns(cotangent, a):
    return transpose(a) * cotangent[..., None, :, :]


_bilinear_diagonal = bilinear(_cotangent_of_rows, _cotangent_of_columns)(_diagonal_of_product)


def invert_in_loop(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Inverse of a matrix up to 3 by 3; on a GPU by cofactors, without four calls of libraries.

    >>> invert_in_loop(jnp.array([[2.0, 0.0], [1.0, 4.0]])).tolist()
    [[0.5, 0.0], [-0.125, 0.25]]
    """
    if jax.default_backend() == "cpu":
        return jnp.linalg.inv(matrix)
    size = len(matrix)
    whole = jnp.eye(3, dtype=matrix.dtype).at[:size, :size].set(matrix)
    cofactors = jnp.stack([jnp.cross(whole[i - 2], whole[i - 1]) for i in range(3)])
    return (cofactors.T / (whole[0] @ cofactors[0]))[:size, :size]


def is_traced(*trees: object) -> bool:
    """Tell if any leaf is being traced by jit, grad or vmap, so that its value is not known."""
    return any(isinstance(leaf, _TRACER) for leaf in jax.tree_util.tree_leaves(trees))


_TRACER = jax.core.Tracer  # a module of JAX looks this name up by a function


def as_arrays(*arrays: object) -> tuple[ModuleType, tuple]:
    """Return JAX and its arrays if one is traced, else NumPy, which compiles nothing."""
    xp = jnp if is_traced(arrays) else np
    return xp, tuple([xp.stack(x) if isinstance(x, list) else xp.asarray(x) for x in arrays])


def on_device(tree: Any) -> Any:
    """Convert arrays to those of JAX, all in one call; copies, for `device_put` shares the memory
    of an array of NumPy that happens to be aligned.

    `jnp.asarray` compiles a program of 1.4 MB for each shape, which JAX keeps for ever. Numbers are
    of one shape, and their program costs a sixth of `device_put`.
    """
    leaves, structure = jax.tree.flatten(tree)
    found = [_put_number(x) if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in leaves]
    rest = [i for i, x in enumerate(found) if not isinstance(x, jax.Array)]
    if rest:
        copies = [np.array(x) if isinstance(x := found[i], np.ndarray) else x for i in rest]
        for i, x in zip(rest, jax.device_put(copies), strict=True):
            found[i] = x
    return jax.tree.unflatten(structure, found)


@jax.jit
def _put_number(x):
    return x


class Constant:
    """An array of a module, of which JAX has one copy for each precision."""

    def __init__(self, array: np.ndarray):
        self._array = array
        self._copies: dict[Any, Array] = {}

    @property
    def array(self) -> Array:
        """The array of JAX, with known numbers inside the user's jit too."""
        dtype = jnp.result_type(self._array)
        if dtype not in self._copies:
            with jax.ensure_compile_time_eval():
                self._copies[dtype] = on_device(self._array.astype(dtype))
        return self._copies[dtype]


@cache
def traceless_matrices(n: int) -> Complex[np.ndarray, "c n n"]:
    """Hermitian matrices λ without trace, Tr λ_a λ_b = 2 δ_ab; for n = 2 the Pauli matrices.

    >>> traceless_matrices(3).shape
    (8, 3, 3)
    """
    pairs = [(i, j) for j in range(n) for i in range(j)]
    matrices = np.zeros((n * n - 1, n, n), dtype=complex)
    for at, (i, j) in enumerate(pairs):
        matrices[2 * at, i, j] = matrices[2 * at, j, i] = 1
        matrices[2 * at + 1, i, j], matrices[2 * at + 1, j, i] = -1j, 1j
    for level in range(1, n):
        diagonal = np.r_[np.ones(level), -level, np.zeros(n - level - 1)]
        matrices[2 * len(pairs) + level - 1] = np.diag(diagonal) * np.sqrt(2 / level / (level + 1))
    return matrices


@cache
def structure_constants(n: int) -> Float[np.ndarray, "c c c"]:
    """f_abc of [λ_a, λ_b] = 2i Σ_c f_abc λ_c; for n = 2 the antisymmetric ε_abc."""
    basis = traceless_matrices(n)
    products = np.einsum("aij,bjk->abik", basis, basis)
    commutators = products - products.swapaxes(0, 1)
    return np.einsum("abij,cji->abc", commutators, basis).imag / 4


def join_tiles(x: Float[Array, "t *n K"]) -> Float[Array, "*n _"]:
    """Tiles one after the other on the k axis."""
    return jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], x.shape[0] * x.shape[-1])
