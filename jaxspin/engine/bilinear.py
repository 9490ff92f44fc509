"""Functions linear in each of two arrays, whose transposes are such functions again.

JAX differentiates a sum over slices backwards into many paddings, which XLA on CPU turns into
loops much slower than the products that they stand for (a gradient of the spin Hall conductivity of
Bi2Se3 cost 6.2 sums, and costs 3). Only what is differentiated backwards is made of them: in
forward mode, and where nothing is differentiated, XLA fuses the sums themselves.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

_backwards = ContextVar("backwards", default=False)


@contextmanager
def differentiating_backwards() -> Iterator[None]:
    """Have products traced inside of this made for reverse mode."""
    token = _backwards.set(True)
    try:
        yield
    finally:
        _backwards.reset(token)


def is_for_reverse_mode() -> bool:
    """Tell if what is traced now is to be differentiated backwards."""
    return _backwards.get()


def bilinear(of_first: Callable, of_second: Callable) -> Callable[[Callable], Callable]:
    """Decorate a function of two arrays, linear in each, whose leading axes broadcast.

    Args:
        of_first: (cotangent, first, second, **options) -> cotangent of the first array, before it
            is summed over the axes along which that was broadcast.
        of_second: the same of the second array.
    """

    def decorate(function: Callable) -> Callable:
        primitive = Primitive(function.__name__)

        @wraps(function)
        def call(first, second, **options):
            return primitive.bind(first, second, **options)

        _define_evaluation(primitive, function)
        _define_derivatives(primitive, of_first, of_second)
        batching.primitive_batchers[primitive] = partial(_batching_rule, primitive)
        return call

    return decorate


def _define_evaluation(primitive: Primitive, function: Callable) -> None:
    def output_type(first, second, **options):
        return jax.make_jaxpr(partial(function, **options))(first, second).out_avals[0]

    primitive.def_impl(function)
    primitive.def_abstract_eval(output_type)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))


def _define_derivatives(primitive: Primitive, of_first: Callable, of_second: Callable) -> None:
    def jvp_rule(primals, tangents, **options):
        (first, second), (moved_first, moved_second) = primals, tangents
        found = primitive.bind(first, second, **options)
        terms = []
        if not isinstance(moved_first, ad.Zero):
            terms.append(primitive.bind(moved_first, second, **options))
        if not isinstance(moved_second, ad.Zero):
            terms.append(primitive.bind(first, moved_second, **options))
        return found, sum(terms[1:], start=terms[0])

    def transpose_rule(cotangent, first, second, **options):
        if isinstance(cotangent, ad.Zero):
            return None, None
        if ad.is_undefined_primal(first):
            given = of_first(cotangent, second, **options)
            return _sum_broadcast(given, first.aval), None
        return None, _sum_broadcast(of_second(cotangent, first, **options), second.aval)

    ad.primitive_jvps[primitive] = jvp_rule
    ad.primitive_transposes[primitive] = transpose_rule


def _sum_broadcast(cotangent: Array, like) -> Array:
    """The cotangent of an array of the type of `like` that was broadcast, and made complex."""
    if not jnp.issubdtype(like.dtype, jnp.complexfloating):
        cotangent = cotangent.real
    cotangent = jnp.sum(cotangent, axis=tuple(range(cotangent.ndim - len(like.shape))))
    pairs = enumerate(zip(cotangent.shape, like.shape, strict=True))
    wide = tuple(i for i, (size, own) in pairs if size > own)
    return jnp.sum(cotangent, axis=wide, keepdims=True) if wide else cotangent


def _batching_rule(primitive: Primitive, arrays, axes, **options):
    most = max(x.ndim - (a is not None) for x, a in zip(arrays, axes, strict=True))

    def move_axis_first(x, a):
        if a is None:
            return x
        x = jnp.moveaxis(x, a, 0)
        return x.reshape(x.shape[0], *(1,) * (most + 1 - x.ndim), *x.shape[1:])

    return primitive.bind(*map(move_axis_first, arrays, axes), **options), 0
