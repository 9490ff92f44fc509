"""Functions that `jax.vmap` evaluates for some members of a batch at a time.

A tile of k-points fits into a processor's cache, and a thousand of them, one for each model of a
batch, do not: by JAX's own rule a sum over 16 x 16 points of two bands costs 4 times as much in a
batch as alone in a loop. Memory too stays that of some members, however many there are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool

from jaxspin.engine.xla import map_in_batches


def in_batches(function: Callable, most: int) -> Callable:
    """Wrap a function, of which `jax.vmap` then computes at most so many members at once.

    Arguments are arrays in any containers, and what is no array of JAX is a constant. JAX
    differentiates it forwards, not backwards.
    """

    def call(*arguments):
        arrays, constants = eqx.partition(arguments, eqx.is_array)
        leaves, structure = jax.tree.flatten(arrays)

        @custom_vmap
        def evaluate(*leaves):
            return function(*eqx.combine(jax.tree.unflatten(structure, leaves), constants))

        @evaluate.def_vmap
        def map_members(_size, in_batch, *leaves):
            if not any(in_batch):
                return _as_one(evaluate.fun(*leaves))
            results = _map_members(evaluate.fun, in_batch, most)(*leaves)
            return results, jax.tree.map(lambda _: True, results)

        return evaluate(*leaves)

    return call


def replace_where(
    wanted: Bool[Array, ""], function: Callable[..., Any], arguments: tuple, value: Any
) -> Any:
    """`function(*arguments)` where wanted, else `value`, which costs nothing more.

    As `jax.lax.cond`, of which a batch computes both; here it does where one member wants it.
    The function must depend on its arguments alone.
    """

    @custom_vmap
    def choose(wanted, arguments, value):
        return jax.lax.cond(wanted, lambda: function(*arguments), lambda: value)

    @choose.def_vmap
    def choose_for_batch(size, in_batch, wanted, arguments, value):
        # JAX hands over plain numbers too, which have no shape of their own.
        fill = lambda x, b: x if b else jnp.broadcast_to(x, (size, *jnp.shape(x)))  # noqa: E731
        whole = jax.tree.map(fill, (wanted, arguments, value), tuple(in_batch))
        return _replace_some(function, *whole), jax.tree.map(lambda _: True, value)

    return choose(wanted, arguments, value)


def _replace_some(function: Callable, wanted: Bool[Array, " b"], arguments: tuple, value: Any):
    """The members of a batch that want it replaced by the function of their arguments."""

    def replace(wanted, arguments, value):  # of its arguments alone, which may be a batch again
        found = jax.vmap(function)(*arguments)
        where = lambda x, y: jnp.where(wanted.reshape(-1, *(1,) * (x.ndim - 1)), x, y)  # noqa: E731
        return jax.tree.map(where, found, value)

    return replace_where(jnp.any(wanted), replace, (wanted, arguments, value), value)


def _map_members(function: Callable, in_batch: Sequence[bool], most: int) -> Callable:
    """The function of a batch, whose own batch is one of more members."""

    def take_member(leaves, member):
        members = iter(member)
        return function(*(next(members) if b else x for b, x in zip(in_batch, leaves, strict=True)))

    @custom_vmap
    def evaluate_all(*leaves):
        members = [x for b, x in zip(in_batch, leaves, strict=True) if b]
        return map_in_batches(
            lambda member: take_member(leaves, member), members, most, jax.lax.map
        )

    @evaluate_all.def_vmap
    def join_batches(size, in_outer, *leaves):
        if not any(in_outer):
            return _as_one(evaluate_all.fun(*leaves))
        inner = next(x.shape[o] for x, o, b in zip(leaves, in_outer, in_batch, strict=True) if b)
        triples = zip(leaves, in_outer, in_batch, strict=True)
        joined = [_join_axes(x, (size, inner), (o, b)) for x, o, b in triples]
        either = [o or b for o, b in zip(in_outer, in_batch, strict=True)]
        results = _map_members(function, either, most)(*joined)
        split = jax.tree.map(lambda x: x.reshape(size, inner, *x.shape[1:]), results)
        return split, jax.tree.map(lambda _: True, split)

    return evaluate_all


def _as_one(results: Any) -> tuple[Any, Any]:
    """Results that are the same for all members: of a derivative, whose tangents alone differ."""
    return results, jax.tree.map(lambda _: False, results)


def _join_axes(x: Array, sizes: tuple[int, int], has: tuple[bool, bool]) -> Array:
    """`x` with one axis for two batches, of which it has some; none if it has neither."""
    if not any(has):
        return x
    for axis in range(2):
        if not has[axis]:
            x = jnp.expand_dims(x, axis)
    own = x.shape[2:]
    return jnp.broadcast_to(x, (*sizes, *own)).reshape(sizes[0] * sizes[1], *own)
