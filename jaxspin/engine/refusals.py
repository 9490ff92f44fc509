"""Refusal of a result inside a compiled program.

On a CPU a call to the host raises the error. A program for a GPU calls back to nobody, for it could
not be exported, nor run without a word to the host: what is refused is NaN there, as other numbers
are that are refused inside a user's jit. Outside of jit the error is raised in any case.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Inexact


def refuse_if(refused: Bool[Array, "..."], x: Inexact[Array, "..."], message: str) -> Array:
    """`x` unaltered; a run-time error, or NaN inside a program for a GPU, if any is refused."""
    return _refuse.bind(x, jnp.any(refused), message=message)


def _raise_error(x, refused, *, message):
    return eqx.error_if(x, refused, message)


def _make_nan(x, refused, *, message):
    return jnp.where(refused, jnp.nan, x)


def _jvp_rule(primals, tangents, *, message):
    (x, refused), moved = primals, ad.instantiate_zeros(tangents[0])
    found = _refuse.bind(x, refused, message=message)
    return found, _refuse.bind(moved, refused, message=message)


def _transpose_rule(cotangent, x, refused, *, message):
    return _refuse.bind(ad.instantiate_zeros(cotangent), refused, message=message), None


def _batching_rule(arrays, axes, *, message):
    (x, refused), (axis, _) = arrays, axes
    size = next(x.shape[a] for x, a in zip(arrays, axes, strict=True) if a is not None)
    x = batching.bdim_at_front(x, axis, size)
    return _refuse.bind(x, jnp.any(refused), message=message), 0


_refuse = Primitive("refuse_if")
_refuse.def_impl(_raise_error)
_refuse.def_abstract_eval(lambda x, refused, *, message: x)
mlir.register_lowering(_refuse, mlir.lower_fun(_make_nan, multiple_results=False))
_on_cpu = mlir.lower_fun(_raise_error, multiple_results=False)
mlir.register_lowering(_refuse, _on_cpu, platform="cpu")
ad.primitive_jvps[_refuse] = _jvp_rule
ad.primitive_transposes[_refuse] = _transpose_rule
batching.primitive_batchers[_refuse] = _batching_rule


def refuse_tangent(
    moved: Array, watched: Array, scale: Array, numbers: Array, kept: Array
) -> Array:
    """The tangent `moved` unaltered, linear in all tangents; NaN where it must not be asked for.

    Forwards that is where `watched`, a tangent that must vanish, is more than 10⁻⁷ of `scale`.
    Backwards the cotangent of each of the tangents `numbers` is NaN that is not `kept`, because
    the direction is not known there.
    """
    return _refuse_tangent.bind(moved, watched, scale, numbers, kept)


def _forward(moved, watched, scale, numbers, kept):
    del numbers, kept
    largest = [jnp.max(jnp.abs(one), axis=-1) for one in (watched, scale)]
    refused = largest[0] > _ROUNDING * largest[1]
    whole = refused.reshape(refused.shape + (1,) * (moved.ndim - refused.ndim))
    return jnp.where(whole, jnp.nan, moved)


_ROUNDING = 1e-7


def _jvp_of_tangent(primals, tangents):
    changes = [*map(ad.instantiate_zeros, tangents[:4]), primals[4]]
    return _refuse_tangent.bind(*primals), _refuse_tangent.bind(*changes)


def _transpose_tangent(cotangent, *arguments):
    _, watched, scale, numbers, kept = arguments
    none = [ad.Zero(one.aval) if ad.is_undefined_primal(one) else None for one in (watched, scale)]
    found = None
    if ad.is_undefined_primal(numbers):
        found = jnp.where(kept, 0.0, jnp.nan).astype(numbers.aval.dtype)
    return cotangent, *none, found, None


def _batch_tangent(arrays, axes):
    size = next(x.shape[a] for x, a in zip(arrays, axes, strict=True) if a is not None)
    fronted = (batching.bdim_at_front(x, a, size) for x, a in zip(arrays, axes, strict=True))
    return _refuse_tangent.bind(*fronted), 0


#: The axes of a batch come first in all arguments, which have one axis more, but for `moved`.
_refuse_tangent = Primitive("refuse_tangent")
_refuse_tangent.def_impl(jax.jit(_forward))
_refuse_tangent.def_abstract_eval(lambda moved, *_: moved)
mlir.register_lowering(_refuse_tangent, mlir.lower_fun(_forward, multiple_results=False))
ad.primitive_jvps[_refuse_tangent] = _jvp_of_tangent
ad.primitive_transposes[_refuse_tangent] = _transpose_tangent
batching.primitive_batchers[_refuse_tangent] = _batch_tangent
