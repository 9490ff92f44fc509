"""Hermitian matrices known to be so: a mark for `lanes`, and the trace of a product of two."""

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Inexact

_hermitian = Primitive("hermitian")


def hermitian(matrix: Inexact[Array, "*c n n K"]) -> Inexact[Array, "*c n n K"]:
    """The matrices unaltered, which are Hermitian up to rounding.

    Of a function in lanes (`lanes.in_lanes`) only the triangle below the diagonal is then computed.
    """
    return _hermitian.bind(matrix)


def trace_of_product(
    a: Inexact[Array, "*c n n K"], b: Inexact[Array, "*c n n K"]
) -> Float[Array, "*c K"]:
    """Tr(ab) of Hermitian matrices from the triangles below their diagonals."""
    n = a.shape[-2]
    times = (2 * np.tril(np.ones((n, n)), -1) + np.eye(n))[..., None]
    products = (a.real * b.real + a.imag * b.imag) * jnp.asarray(times, a.real.dtype)
    terms = [products[..., i, j, :] for i in range(n) for j in range(i + 1)]
    return sum(terms[1:], start=terms[0])


_hermitian.def_impl(lambda matrix: matrix)
_hermitian.def_abstract_eval(lambda matrix: matrix)
mlir.register_lowering(_hermitian, lambda _, matrix: [matrix])
batching.defvectorized(_hermitian)
ad.deflinear2(_hermitian, lambda cotangent, _: [cotangent])
