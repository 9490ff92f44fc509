"""Hints to XLA on the partition of a program into kernels, which set its speed on a CPU.

XLA on CPU computes a cheap value again in each loop, and each element of a loop, that uses it, and
rounds it differently there when it contracts a*b + c. A product of matrices that 27 components
share would be computed hundreds of times.

* `materialize` has the arrays of a function computed once.
* `separate_kernel` has a function compiled apart, with its results in memory.
* `stored_kernel` has it compiled apart on a GPU too.
* `single_kernel` has a function with all its stages and loops compiled into a single kernel, where
  each line of it would otherwise be a kernel of its own, with its launch.
* `repeat`, `map_in_pieces` and `map_in_batches` are loops that are not made one kernel, for long
  arrays.
* `add_rows` adds to a long array inside a loop that is one kernel.

The attributes that all but `materialize` set are hints: a version of XLA that does not know them
gives the same numbers, slower.
"""

from collections.abc import Callable
from functools import partial, wraps

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Inexact

from jaxspin.engine.bilinear import is_for_reverse_mode


def materialize(function: Callable) -> Callable:
    """Wrap a function such that its arrays are computed once (`compute_once`)."""

    @wraps(function)
    def call(*args):
        return jax.tree.map(compute_once, function(*args))

    return call


def compute_once(x: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """Have `x` computed once.

    XLA on CPU computes a cheap value again in every loop that uses it; a product of matrices that
    27 components share would be computed 27 times (measured: 4 times the cost of the whole
    conventional spin Hall integrand). It never repeats a division, so this divides by one, written
    such that the compiler cannot know. Exact, NaN included. On a GPU every copy has the same bits,
    for XLA contracts no a*b + c there, and a copy costs less than a division.
    """
    if jax.default_backend() != "cpu":
        return x
    if jnp.iscomplexobj(x):
        return jax.lax.complex(compute_once(x.real), compute_once(x.imag))
    return x / jnp.where(x == x, 1.0, 2.0).astype(x.dtype)


def _with_hints(function: Callable, **hints: str) -> Callable:
    """Wrap a function such that its call in a compiled program carries these attributes."""

    @wraps(function)
    def call_unhinted(*args):
        with set_xla_metadata(inlineable="true", xla_cpu_small_call="false"):
            return function(*args)

    # JAX keeps what it has traced, of each apart.
    compiled, compiled_backwards = jax.jit(call_unhinted), jax.jit(lambda *x: call_unhinted(*x))

    @wraps(function)
    def call_hinted(*args):
        if jax.default_backend() != "cpu":
            return function(*args)
        with set_xla_metadata(**hints):
            return (compiled_backwards if is_for_reverse_mode() else compiled)(*args)

    return call_hinted


#: A function whose results are computed once and stand in memory.
separate_kernel = partial(_with_hints, inlineable="false", xla_cpu_small_call="false")


def stored_kernel(function: Callable) -> Callable:
    """Wrap a function as `separate_kernel`, such that its results stand in memory on a GPU too.

    For what is summed over k-points: a reduction has 64 registers a thread, and would spill what
    it computes itself (720 bytes a thread of the spin Hall integrand, compiled for an H200).
    """
    apart = separate_kernel(function)

    @wraps(function)
    def call(*args):
        results = apart(*args)
        return results if jax.default_backend() == "cpu" else jax.lax.optimization_barrier(results)

    return call


#: A function that becomes one kernel, loops and stages included. XLA's threshold for doing this by
#: itself is a kilobyte; with a kernel launch for every few lines of a stage it is 2 times slower.
#: It must not hold scatters, custom calls or reductions other than to a scalar (XLA ends the
#: process: "fusion kind not implemented").
single_kernel = partial(_with_hints, inlineable="false", xla_cpu_small_call="true")


def repeat(times: int, step: Callable, state):
    """Apply `state = step(state)` that many times, on arrays of any length.

    The package asks XLA to make each loop one kernel (see `jaxspin/__init__.py`). It cannot where
    an operation inside is so long, half a megabyte, that it is shared among threads: compilation
    ends with "Symbols not found: __xla_cpu_runtime_ParallelForkJoin".
    """
    return _in_pieces(lambda: jax.lax.fori_loop(0, times, lambda _, state: step(state), state))


def map_in_pieces(function: Callable, xs):
    """`jax.lax.map`, for functions that are too large for one kernel, as `repeat` is."""
    return _in_pieces(lambda: jax.lax.map(function, xs))


def map_in_batches(function: Callable, xs, most: int, loop: Callable = map_in_pieces):
    """Map at most so many items at once, in batches of about the same size, by a loop over them.

    The last one is filled up with its last item: `jax.lax.map` would compile the function again for
    a smaller one, and round differently there.
    """
    number = len(jax.tree.leaves(xs)[0])
    batches = max(1, -(-number // most))
    size = -(-number // batches)

    def cut_batches(x):
        rest = jnp.broadcast_to(x[-1:], (batches * size - number, *x.shape[1:]))
        return jnp.concatenate([x, rest]).reshape(batches, size, *x.shape[1:])

    results = loop(jax.vmap(function), jax.tree.map(cut_batches, xs))
    return jax.tree.map(lambda x: x.reshape(batches * size, *x.shape[2:])[:number], results)


# XLA shares long results (found from 390 KB on), and where there is more than one operation a byte
# shorter ones. Up to 4 rows of a product of n by n matrices that is not so: 2n - 1 operations an
# element, against 8 bytes of it and 8n/rows of the matrices.
_FEW_ROWS, _LONG = 4, 2**17


def add_rows(totals: Inexact[Array, "r *s"], row: Callable[[Array], Array]) -> Array:
    """`totals` with row(i) added to each row i; long ones on CPU row by row where they stand.

    A row too may be so long that XLA shares it among threads (see `repeat`).
    """
    short = len(totals) <= _FEW_ROWS and totals.nbytes < _LONG
    if jax.default_backend() != "cpu" or short:
        return totals + jax.vmap(row)(jnp.arange(len(totals)))

    def add(i, totals):
        changed = jax.lax.dynamic_index_in_dim(totals, i, keepdims=False) + row(i)
        return jax.lax.dynamic_update_index_in_dim(totals, changed, i, 0)

    return _in_pieces(lambda: jax.lax.fori_loop(0, len(totals), add, totals))


def _in_pieces(loop: Callable):
    """Build a loop whose body is not made one kernel."""
    if jax.default_backend() != "cpu":
        return loop()
    with set_xla_metadata(xla_cpu_small_call="false"):
        return loop()
