"""Refusal of a result inside a compiled program.

On a CPU a call to the host raises the error. A program for a GPU calls back to nobody, for it could
not be exported, nor run without a word to the host: what is refused is NaN there, as other numbers
are that are refused inside a user's jit. Outside of jit the error is raised in any case.
"""

import equinox as eqx
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
