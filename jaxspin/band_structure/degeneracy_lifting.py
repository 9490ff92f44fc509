"""A check in the derivative rule of eigensystems: a change of H must not split a group of bands.

The rule is exact only then. `require_unlifted` says so at once. A long sum says so at its end:
`nan_if_lifted` makes the change NaN where it splits a group, and `require_finite_derivative` is an
error where a derivative is NaN. Smooth sums such as Tr f(H) are right to first order in what splits
a group; `nan_if_lifted_twice` makes a second derivative NaN.
XLA on CPU makes a loop one kernel only where nothing inside calls back, and without reductions of
many numbers, which it hands to a library.

A derivative rule must be linear, and a check is not. So these are primitives of their own that JAX
is told to be linear: forward mode runs them on the change itself, second derivatives on the change
of the change, and their transposes, in reverse mode, on what can be known there.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Complex, Float, Inexact

from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.refusals import refuse_if
from jaxspin.engine.small_matrices import dagger, diagonal_of_product
from jaxspin.engine.tolerances import UNSPLIT

_SPLITS = (
    "The derivative was asked with respect to a parameter that splits bands which are degenerate "
    "(within the tolerance of `Covariant`). The rule for derivatives covers parameters that keep "
    "the degeneracy. Differentiate at a point where the bands are split by more than the "
    "tolerance, or use a finite difference."
)
_SPOILT = (
    "The derivative is not a number, though the value is one. Where bands are degenerate on the "
    f"mesh: {_SPLITS} Where none are: the derivative of H(k) itself is not a number at some k."
)
_REVERSE = (
    "Reverse-mode differentiation was asked at degenerate bands, where it cannot be checked that "
    "the parameters keep the degeneracy. Use forward mode (jax.jvp, jax.jacfwd)."
)


def require_unlifted(
    change: Complex[Array, "*b n n K"], same: Bool[Array, "*b n n K"]
) -> Complex[Array, "*b n n K"]:
    """`change` (dH in the band basis) unaltered, with a run-time error if it splits a group.

    Inside each group of degenerate bands (`same`) dH must be a multiple of the identity, to 1e-6
    of the largest Frobenius norm of dH on the tile. Each dH of a batch is measured by itself,
    because parameters have units of their own. In reverse mode dH is not known, and any degenerate
    group is an error.
    """
    return _unsplit.bind(change, same)


def nan_if_lifted(
    change: Complex[Array, "*b n n K"], same: Bool[Array, "*b n n K"]
) -> Complex[Array, "*b n n K"]:
    """`change`, NaN on the whole tile if it splits a group there (see `require_unlifted`)."""
    return _spoilt.bind(change, same)


def nan_if_lifted_twice(
    change: Complex[Array, "*b n n K"],
    same: Bool[Array, "*b n n K"],
    energies: Float[Array, "*b n K"],
) -> Complex[Array, "*b n n K"]:
    """`change` unaltered, whose own change with H is NaN on the tile if `change` splits a group.

    The energies say that H changes once more. To second order Tr f(H) has f''(ε̄) Σ |dH_mn|² inside
    each group, which mean energies do not know.
    """
    return _lifted_once.bind(change, same, energies)


def _unspoilt_jvp(primals, tangents):
    (sums,), (change,) = primals, tangents
    return sums, _number.bind(change, sums)


@with_derivative(_unspoilt_jvp)
def require_finite_derivative(sums: Float[Array, "..."]) -> Float[Array, "..."]:
    """`sums` unaltered, whose derivative is a run-time error where `nan_if_lifted` made it NaN."""
    return sums


def refuse_gradient(
    gradient: Inexact[Array, "..."], unchecked: Bool[Array, ""], spoilt: Bool[Array, ""]
) -> Inexact[Array, "..."]:
    """`gradient` unaltered; a run-time error if a change of H that splits a group could not be
    looked for at degenerate bands, or if one was found or a number is NaN."""
    return refuse_if(unchecked, refuse_if(spoilt, gradient, _SPOILT), _REVERSE)


def _lifts_degeneracy(change, same) -> Bool[Array, "*b"]:
    """True where dH inside a group is no multiple of the identity."""
    diagonal = jnp.einsum("...mmk->...mk", change).real
    apart = diagonal[..., :, None, :] - diagonal[..., None, :, :]
    beside = jnp.where(jnp.eye(same.shape[-2], dtype=bool)[..., None], 0, change)
    squares = jnp.sum(diagonal_of_product(change, dagger(change)).real, axis=-2)
    small = UNSPLIT.of(squares) * jnp.max(squares, axis=-1)[..., None, None, None]
    split = (apart**2 > small) | (beside.real**2 + beside.imag**2 > small)
    return jnp.any(same & split, axis=(-3, -2, -1))


def _refuse_if_split(change, same):
    return refuse_if(_lifts_degeneracy(change, same), change, _SPLITS)


def _nan_if_split(change, same):
    return jnp.where(_lifts_degeneracy(change, same)[..., None, None, None], jnp.nan, change)


def _refuse_if_degenerate(cotangent, same):
    return refuse_if(jnp.sum(same, axis=-2) > 1, cotangent, _REVERSE)


def _refuse_if_nan(change, sums):
    return refuse_if(jnp.isnan(change) & ~jnp.isnan(sums), change, _SPOILT)


def _lifted_once_jvp(primals, tangents):
    change, same, energies = primals
    moved = ad.instantiate_zeros(tangents[0])
    if isinstance(tangents[2], ad.Zero):
        return _lifted_once.bind(*primals), _lifted_once.bind(moved, same, energies)
    return _lifted_once.bind(*primals), _lifted_twice.bind(moved, change, same)


def _nan_if_split_before(moved, change, same):
    return jnp.where(_lifts_degeneracy(change, same)[..., None, None, None], jnp.nan, moved)


def _refuse_if_split_before(cotangent, change, same):
    return refuse_if(_lifts_degeneracy(change, same), cotangent, _SPOILT)


def _linear_primitive(name: str, function: Callable, transposed: Callable) -> Primitive:
    """Make a primitive of `function(change, *known)` that JAX takes to be linear in `change`."""
    primitive = Primitive(name)

    def jvp_rule(primals, tangents):
        change, *known = primals
        moved = ad.instantiate_zeros(tangents[0])
        return primitive.bind(change, *known), primitive.bind(moved, *known)

    def transpose_rule(cotangent, change, *known):
        found = transposed(ad.instantiate_zeros(cotangent), *known)
        return found, *(None for _ in known)

    def batch_rule(arguments, axes):
        size = next(x.shape[a] for x, a in zip(arguments, axes, strict=True) if a is not None)
        front = (
            jnp.broadcast_to(x, (size, *x.shape)) if a is None else jnp.moveaxis(x, a, 0)
            for x, a in zip(arguments, axes, strict=True)
        )
        return primitive.bind(*front), 0

    primitive.def_impl(function)
    primitive.def_abstract_eval(lambda change, *known: change)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    ad.primitive_jvps[primitive] = jvp_rule
    ad.primitive_transposes[primitive] = transpose_rule
    batching.primitive_batchers[primitive] = batch_rule
    return primitive


_unsplit = _linear_primitive("unsplit", _refuse_if_split, _refuse_if_degenerate)
_spoilt = _linear_primitive("spoilt", _nan_if_split, _refuse_if_degenerate)
_number = _linear_primitive("number", _refuse_if_nan, lambda cotangent, sums: cotangent)
_lifted_twice = _linear_primitive("lifted_twice", _nan_if_split_before, _refuse_if_split_before)
_lifted_once = _linear_primitive("lifted_once", lambda x, *known: x, lambda x, *known: x)
ad.primitive_jvps[_lifted_once] = _lifted_once_jvp
