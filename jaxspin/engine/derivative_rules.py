"""Functions with a derivative rule of their own, which no transformation of JAX loses.

JAX drops the rule of a `jax.custom_jvp` where it linearises the body of a loop, for it takes the
derivatives to be complete by then. Reverse mode of a derivative, as in `jax.hessian`, then
differentiates what the rule was to replace: eigenvectors, or the search for a root. The rule of a
primitive stays with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from jaxspin.engine.batches import in_batches


def with_derivative(
    rule: Callable, members: Callable[..., int] | None = None
) -> Callable[[Callable], Callable]:
    """Decorate a function whose derivative is given by `rule`.

    Args:
        rule: (primals, tangents) -> (outputs, changes), both of the structure of the outputs. The
            tangent of what does not change is None, and so may be a change. It calls the function
            for the outputs. A rule must be linear in the tangents.
        members: arguments to how many members of a batch are computed at once; all by default.
    Returns:
        The function, of arrays in any containers. What is no JAX array is a constant.
    """

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def call(*arguments):
            arrays, constants = eqx.partition(arguments, eqx.is_array)
            leaves, structure = jax.tree.flatten(arrays)
            fill = lambda x: eqx.combine(jax.tree.unflatten(structure, x), constants)  # noqa: E731
            trace = jax.make_jaxpr(lambda *x: function(*fill(x)), return_shape=True)
            program, shapes = trace(*leaves)
            most = members(*arguments) if members else None
            derivative = _Derivative(function.__name__, rule, fill, structure, most)
            found = _evaluate.bind(*leaves, program=program, derivative=derivative, batches=())
            return jax.tree.unflatten(jax.tree.structure(shapes), found)

        return call

    return decorate


def tangent_or_zero(primal: Array, tangent: Array | None) -> Array:
    """The tangent, or zeros in place of None."""
    return jnp.zeros_like(primal) if tangent is None else tangent


@dataclass(frozen=True, eq=False)
class _Derivative:
    """A rule, and the way from the arrays of one call to the arguments of the function."""

    name: str
    rule: Callable[[Any, Any], tuple[Any, Any]]
    fill: Callable[[list], Any]
    structure: Any
    #: How many members of a batch are computed at once, or None.
    members: int | None

    def __call__(self, primals: list, tangents: list) -> tuple[list, list]:
        """Return the outputs and their tangents; None stands for a zero tangent."""
        moved = jax.tree.unflatten(self.structure, tangents)
        pairs = zip(*map(_leaves_and_nones, self.rule(self.fill(primals), moved)), strict=True)
        outputs, changes = zip(*((x, dx) for x, dx in pairs if x is not None), strict=True)
        return list(outputs), list(changes)

    def __repr__(self) -> str:
        return self.name


def _leaves_and_nones(tree) -> list:
    return jax.tree.leaves(tree, is_leaf=lambda x: x is None)


def _evaluate_program(*arrays, program, derivative, batches):
    """Evaluate the function, mapped over axes of the arrays; the first batch is the innermost."""
    function = jaxpr_as_fun(program)
    if derivative.members:
        function = in_batches(function, derivative.members)
    for axes in batches:
        function = jax.vmap(function, in_axes=axes)
    return function(*arrays)


def _output_types(*arrays, **parameters):
    return jax.make_jaxpr(partial(_evaluate_program, **parameters))(*arrays).out_avals


def _jvp_rule(primals, tangents, *, program, derivative, batches):
    moved = [None if isinstance(t, ad.Zero) else t for t in tangents]
    function = derivative
    for axes in batches:
        of_moved = [None if t is None else axis for t, axis in zip(moved, axes, strict=True)]
        function = jax.vmap(function, in_axes=(list(axes), of_moved))
    outputs, changes = function(list(primals), moved)
    zero = lambda x: ad.Zero(jax.typeof(x).to_tangent_aval())  # noqa: E731
    return outputs, [zero(x) if dx is None else dx for x, dx in zip(outputs, changes, strict=True)]


def _batching_rule(arrays, axes, *, batches, **parameters):
    found = _evaluate.bind(*arrays, batches=(*batches, tuple(axes)), **parameters)
    return found, [0] * len(found)


_evaluate = Primitive("with_derivative")
_evaluate.multiple_results = True
_evaluate.def_impl(_evaluate_program)
_evaluate.def_abstract_eval(_output_types)
mlir.register_lowering(_evaluate, mlir.lower_fun(_evaluate_program, multiple_results=True))
ad.primitive_jvps[_evaluate] = _jvp_rule
batching.primitive_batchers[_evaluate] = _batching_rule


def _first_derivative(primals, tangents):
    (x,), (change,) = primals, tangents
    known = differentiate_once(x)
    return known, _once.bind(change, known)


@with_derivative(_first_derivative)
def differentiate_once(x: Array) -> Array:
    """`x` unaltered, an array whose first derivative alone is right: the second is an error.

    Its derivative depends on `x`, in forward and in reverse mode, through a primitive that cannot
    be differentiated with respect to it.
    """
    return x


def _once_jvp(primals, tangents):
    (change, known), (moved, known_moved) = primals, tangents
    if not isinstance(known_moved, ad.Zero):
        raise ValueError(
            "A second derivative was asked of a sum over a Fermi surface, whose nodes follow the "
            "surface to first order. Use a finite difference of first derivatives."
        )
    return _once.bind(change, known), _once.bind(ad.instantiate_zeros(moved), known)


def _once_transposed(cotangent, change, known):
    return _once.bind(ad.instantiate_zeros(cotangent), known), None


def _once_batched(arrays, axes):
    size = next(x.shape[a] for x, a in zip(arrays, axes, strict=True) if a is not None)
    front = (batching.bdim_at_front(x, a, size) for x, a in zip(arrays, axes, strict=True))
    return _once.bind(*front), 0


_once = Primitive("differentiate_once")
_once.def_impl(lambda change, known: change)
_once.def_abstract_eval(lambda change, known: change)
mlir.register_lowering(_once, lambda context, change, known: [change])
ad.primitive_jvps[_once] = _once_jvp
ad.primitive_transposes[_once] = _once_transposed
batching.primitive_batchers[_once] = _once_batched
