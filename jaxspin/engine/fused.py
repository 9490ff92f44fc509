"""Functions in lanes as one kernel of a GPU, of which only reductions over k leave the registers.

`reduce_in_kernel` traces a function at one k, as `lanes.in_lanes` does, and carries out the trace
for a block of k-points, one for each thread. Pallas writes it in Triton, which JAX will drop, and
which is spoken here alone. Compiled for an H200 without one; no GPU has run it, and it is used
where `JAXSPIN_FUSED_KERNEL=1` was in the environment when jaxspin was imported, and not else.
"""

import functools
import math
import operator
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jaxtyping import Array, Float

from jaxspin.engine.deferred import defer_import
from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.forward_mode import push_forward
from jaxspin.engine.lanes import Lane, NotInLanes, Objects, evaluate_in_kernel

if TYPE_CHECKING:
    from jax.experimental import pallas
    from jax.experimental.pallas import triton
else:
    pallas = defer_import("jax.experimental.pallas")
    triton = defer_import("jax.experimental.pallas.triton")

ENABLED = os.environ.get("JAXSPIN_FUSED_KERNEL") == "1"

_INTERPRETED = False  # by Pallas on a CPU, for tests
_BLOCK, _WARPS = 128, 4
_LEAST = 32  # k-points of a block: a warp

_REDUCTIONS: dict[str, Callable] = {"sum": jnp.sum, "min": jnp.min, "max": jnp.max}


def reduce_in_kernel(function: Callable, kinds: Any) -> Callable:
    """A function (fixed, tile) -> results of `function`, each reduced over k, its last axis.

    Its derivative is that of `function`.

    Args:
        kinds: "sum", "min" or "max" for each result, in a tree of the same structure.
    Raises:
        NotInLanes: an operation has no rule in lanes, or the tile is not cut into blocks.
    """

    def reduce_in_arrays(fixed, tile):
        results = function(fixed, tile)
        return jax.tree.map(lambda kind, x: _REDUCTIONS[kind](x, axis=-1), kinds, results)

    def differentiate(primals, tangents):
        return push_forward(reduce_in_arrays, primals, tangents)

    @with_derivative(differentiate)
    def compute(fixed, tile):
        return _run_kernel(function, kinds, fixed, tile)

    return compute


def _run_kernel(function: Callable, kinds: Any, fixed, tile):
    evaluate, arrays, shapes = evaluate_in_kernel(function, fixed, tile)
    leaves = jax.tree.leaves(tile)
    points = max(x.shape[-1] for x in leaves)
    whole = [jnp.broadcast_to(x, (*x.shape[:-1], points)) for x in leaves]
    rows = [row for x in whole for row in _real_rows(x)]
    numbers = [row[0] for x in arrays for row in _real_rows(x[..., None])]
    results, structure = jax.tree.flatten(shapes)
    sizes = [math.prod(x.shape[:-1]) for x in results]
    wanted = [x for x, n in zip(jax.tree.leaves(kinds), sizes, strict=True) for _ in range(n)]
    of_fixed = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]
    of_tile = [jax.ShapeDtypeStruct(x.shape[:-1], x.dtype) for x in leaves]

    def evaluate_block(row: Callable, number: Callable) -> list[Any]:
        found = evaluate(_restore(of_fixed, number), _restore(of_tile, row))
        return [lane.real for objects in found for lane in objects.ravel()]

    sums = _reduce_blocks(evaluate_block, rows, numbers, wanted)
    parts = jnp.split(sums, np.cumsum(sizes)[:-1])
    shaped = [part.reshape(x.shape[:-1]) for part, x in zip(parts, results, strict=True)]
    return jax.tree.unflatten(structure, shaped)


def _real_rows(x: Array) -> list[Float[Array, " K"]]:
    """The elements of an array whose last axis is k; of complex ones real and imaginary parts."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise NotInLanes(f"{x.dtype} in a kernel")
    flat = x.reshape(-1, x.shape[-1])
    parts = (jnp.real, jnp.imag) if jnp.iscomplexobj(x) else (jnp.real,)
    return [part(flat[i]) for i in range(len(flat)) for part in parts]


def _restore(types: list[jax.ShapeDtypeStruct], read: Callable[[int], Array]) -> list[Objects]:
    """Arrays of lanes from their real rows, read by number."""
    found, first = [], 0
    for x in types:
        width = 2 if jnp.issubdtype(x.dtype, jnp.complexfloating) else 1
        lanes = np.empty(x.size, dtype=object)
        for i in range(x.size):
            lanes[i] = Lane(*(read(first + width * i + j) for j in range(width)))
        found.append(lanes.reshape(x.shape))
        first += width * x.size
    return found


def _reduce_blocks(evaluate: Callable, rows, numbers, kinds: list[str]) -> Float[Array, " r"]:
    """Reductions over k of the results of a function of blocks of rows, and of numbers."""
    points = rows[0].size
    block = math.gcd(points, _BLOCK)
    if block < _LEAST:
        raise NotInLanes(f"{points} points")
    kind, width = rows[0].dtype, _power_of_two(len(kinds))
    fill = [jnp.zeros((), kind)] * (_power_of_two(len(numbers)) - len(numbers))
    table = jnp.stack([*numbers, *fill])

    def results_of_block(blocks, numbers):
        results = evaluate(blocks.__getitem__, numbers.__getitem__)
        return [jnp.broadcast_to(jnp.asarray(x, kind), (block,)) for x in results]

    row, number = (jax.ShapeDtypeStruct(shape, kind) for shape in ((block,), ()))
    shapes = [row] * len(rows), [number] * len(numbers)
    program = jax.make_jaxpr(results_of_block)(*shapes).jaxpr

    def kernel(*references):
        *inputs, table, out = references
        arguments = [*(x[...] for x in inputs), *(table[i] for i in range(len(numbers)))]
        for i, result in _evaluate_in_turn(program, arguments):
            out[0, i] = _REDUCTIONS[kinds[i]](result)

    parts = pallas.pallas_call(
        kernel,
        grid=(points // block,),
        in_specs=[
            *[pallas.BlockSpec((block,), lambda i: (i,)) for _ in rows],
            pallas.BlockSpec(table.shape, lambda i: (0,)),
        ],
        out_specs=pallas.BlockSpec((1, width), lambda i: (i, 0)),
        out_shape=jax.ShapeDtypeStruct((points // block, width), kind),
        compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=1),
        interpret=_INTERPRETED,
    )
    return _join_blocks(parts(*rows, table)[:, : len(kinds)], np.array(kinds))


def _join_blocks(parts: Float[Array, "b r"], kinds: np.ndarray) -> Float[Array, " r"]:
    """The reductions over blocks, in an order that does not change."""
    total = jnp.zeros(parts.shape[-1], parts.dtype)
    for kind, reduce in _REDUCTIONS.items():
        total = jnp.where(kinds == kind, reduce(parts, axis=0), total)
    return total


def _evaluate_in_turn(program, arguments: list[Array]) -> Iterator[tuple[int, Array]]:
    """The results of a program with their numbers, one after the other.

    Next is always the one that takes the fewest further operations: what it shares with those
    before is still in registers, and nothing else is there yet.
    """
    made_by = {x: i for i, equation in enumerate(program.eqns) for x in equation.outvars}
    needed: list[int] = []  # the equations that each one needs, itself included, as bits

    def bits_of(variables) -> int:
        known = (made_by[x] for x in variables if not isinstance(x, Literal) and x in made_by)
        return functools.reduce(operator.or_, (needed[i] for i in known), 0)

    for i, equation in enumerate(program.eqns):
        needed.append(bits_of(equation.invars) | 1 << i)
    values = dict(zip(program.invars, arguments, strict=True))
    read = lambda x: x.val if isinstance(x, Literal) else values[x]  # noqa: E731
    left, done = {i: bits_of([x]) for i, x in enumerate(program.outvars)}, 0
    while left:
        number = min(left, key=lambda i: (left[i] & ~done).bit_count())
        wanted = left.pop(number) & ~done
        for i, equation in enumerate(program.eqns):
            if wanted >> i & 1:
                found = equation.primitive.bind(*map(read, equation.invars), **equation.params)
                several = equation.primitive.multiple_results
                values.update(zip(equation.outvars, found if several else [found], strict=True))
        done |= wanted
        yield number, read(program.outvars[number])


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
