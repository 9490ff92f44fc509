"""Linear maps of tangents whose transpose is a function of its own.

JAX transposes a loop by keeping what every step has computed. Where the map is a sum, its transpose
is the sum of the transposes of the terms: one more loop, which keeps nothing.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxspin.engine.batches import in_batches
from jaxspin.engine.forward_mode import as_cotangent, map_units

# Above this many numbers a derivative of the transpose is that of its own operations. Below, it is
# that of the map along each of them, which meets whatever the map checks.
MOST_COLUMNS = 32


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A linear map, which depends on known arrays; all arguments are lists of arrays."""

    #: (known, tangents) -> tangents of the results, real.
    forward: Callable[[list, list], list]
    #: (known, cotangents of the results) -> cotangents, as JAX transposes `forward`.
    backward: Callable[[list, list], list]
    #: Types of the tangents, and of those of the results.
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    #: How many members of a batch of known arrays are computed at once.
    members: int

    def __call__(self, known: list, tangents: list) -> list:
        """Return the tangents of the results, as operations that JAX transforms."""
        return _bind(tangents, known, self, False, ())

    def columns(self, known: list, cotangents: list) -> list:
        """Return the same as `backward`, from the map along each number."""
        zeros = [jnp.zeros(x.shape, x.dtype) for x in self.inputs]

        def contract(moved):
            changes = self.forward(known, moved)
            pairs = zip(cotangents, changes, strict=True)
            return sum((jnp.sum(ct * x) for ct, x in pairs), start=jnp.zeros(()))

        return as_cotangent(zeros, map_units(contract, zeros))

    @property
    def number(self) -> int:
        """Number of real numbers that move."""
        return sum((1 + jnp.issubdtype(x.dtype, jnp.complexfloating)) * x.size for x in self.inputs)

    def __repr__(self) -> str:
        return "linear map"


def _bind(moved, known, linear_map: LinearMap, reverse: bool, batches) -> list:
    options = {"linear_map": linear_map, "reverse": reverse, "batches": batches}
    return _apply.bind(*moved, *known, moving=len(moved), **options)


def _evaluate(*arrays, moving, linear_map, reverse, batches, differentiable=False):
    """Evaluate the map or its transpose; the first batch is the innermost."""
    chosen = linear_map.backward if reverse else linear_map.forward
    if differentiable and reverse and linear_map.number <= MOST_COLUMNS:
        chosen = linear_map.columns
    function = lambda *arrays: chosen(list(arrays[moving:]), list(arrays[:moving]))  # noqa: E731
    is_shared = lambda batch: all(axis is None for axis in batch[0])  # noqa: E731
    order = sorted(range(len(batches)), key=lambda i: not is_shared(batches[i]))
    ordered = [batches[i] for i in order]
    places = [len(batches) - 1 - i for i in reversed(order)]
    moved = [_move_axes(x, places, range(len(places))) for x in arrays[:moving]]
    for axes, _ in filter(is_shared, ordered):  # with the same known arrays, so at once
        function = jax.vmap(function, in_axes=(0,) * moving + axes)
    if not differentiable:
        function = in_batches(function, linear_map.members)
    for axes, _ in itertools.filterfalse(is_shared, ordered):
        function = jax.vmap(function, in_axes=(0,) * moving + axes)
    found = function(*moved, *arrays[moving:])
    return [_move_axes(x, range(len(places)), places) for x in found]


def _move_axes(x, old, new):
    return jnp.moveaxis(x, tuple(old), tuple(new))


def _output_types(*arrays, moving, linear_map, reverse, batches):
    types = linear_map.inputs if reverse else linear_map.outputs
    sizes = tuple(size for _, size in reversed(batches))
    return [jax.core.ShapedArray((*sizes, *x.shape), x.dtype) for x in types]


def _jvp_rule(primals, tangents, *, moving, linear_map, reverse, batches):
    moved, known = primals[:moving], primals[moving:]
    options = {"linear_map": linear_map, "reverse": reverse, "batches": batches}
    bind = partial(_bind, known=known, **options)
    found, changes = bind(moved), []
    if any(not isinstance(t, ad.Zero) for t in tangents[:moving]):
        changes.append(bind(list(map(ad.instantiate_zeros, tangents[:moving]))))
    places = [i for i, t in enumerate(tangents) if i >= moving and not isinstance(t, ad.Zero)]
    if places:

        def evaluate_at(*numbers):
            arrays = list(primals)
            for i, x in zip(places, numbers, strict=True):
                arrays[i] = x
            return _evaluate(*arrays, moving=moving, differentiable=True, **options)

        here, along = ([x[i] for i in places] for x in (primals, tangents))
        changes.append(jax.jvp(evaluate_at, here, along)[1])
    return found, [sum(x[1:], start=x[0]) for x in zip(*changes, strict=True)]


def _transpose_rule(cotangents, *arrays, moving, linear_map, reverse, batches):
    given = list(map(ad.instantiate_zeros, cotangents))
    found = _bind(given, arrays[moving:], linear_map, not reverse, batches)
    wanted = map(ad.is_undefined_primal, arrays[:moving])
    return [x if is_wanted else None for x, is_wanted in zip(found, wanted, strict=True)] + [
        None for _ in arrays[moving:]
    ]


def _batching_rule(arrays, axes, *, moving, batches, linear_map, reverse):
    size = next(x.shape[a] for x, a in zip(arrays, axes, strict=True) if a is not None)
    pairs = zip(arrays[:moving], axes[:moving], strict=True)
    moved = [batching.bdim_at_front(x, a, size) for x, a in pairs]
    batch = tuple(axes[moving:]), size
    found = _bind(moved, arrays[moving:], linear_map, reverse, (*batches, batch))
    return found, [0] * len(found)


# The arrays that move come first, then those that are known. In a batch, (axes of those known, its
# size), all that move have the axis of the batch first, as their transposes have then.
_apply = Primitive("linear_map")
_apply.multiple_results = True
_apply.def_impl(_evaluate)
_apply.def_abstract_eval(_output_types)
mlir.register_lowering(_apply, mlir.lower_fun(_evaluate, multiple_results=True))
ad.primitive_jvps[_apply] = _jvp_rule
ad.primitive_transposes[_apply] = _transpose_rule
batching.primitive_batchers[_apply] = _batching_rule
