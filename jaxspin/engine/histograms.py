"""Addition of many weights to the bins of a histogram, each to a few neighbouring ones.

XLA on CPU adds each number of a scatter by itself, and makes no one kernel of a loop that holds
one. Here all components of a weight, which lie side by side in a bin, are added at once where they
stand; the loop over the weights is one kernel, and adds only what there is to add. It stays so
under `vmap` and for derivatives, because the primitive takes a batch of histograms as it is. On a
GPU the first bin, which most weights share, is a plain sum, and the others take atomic additions,
whose order and last bits are not fixed. `add_to_own_bins` has neither atomic additions nor sums:
each lane has bins of its own, which are summed over lanes in the end.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Float, Int


def add_to_bins(
    sums: Float[Array, "b c"],
    values: Float[Array, "c s"],
    bins: Int[Array, "p s"],
    shares: Float[Array, "p q s"],
    parts: Int[Array, " s"],
) -> Float[Array, "b c"]:
    """`sums` with values[:, s] * shares[p, q, s] added to bin bins[p, s] + q, for p < parts[s].

    Args:
        bins: the first of the q neighbouring bins of each part. They must all be there, also those
            of parts that are left out.
    """
    bins, parts = (jnp.asarray(x, int) for x in (bins, parts))
    return _add.bind(*(x[None] for x in (sums, values, bins, shares, parts)))[0]


def find_bins(edges: Float[Array, " e"], values: Float[Array, "*s"]) -> Int[Array, "*s"]:
    """Number of edges below each value; they are in ascending order."""
    on_cpu = jax.default_backend() == "cpu"
    how = "scan" if on_cpu else "scan_unrolled"  # a GPU launches each turn of a loop
    return jnp.searchsorted(edges, values, method=how)


# Parts of a tile that are written one after the other in a program; more are a loop.
_FEW_PARTS = 8


def add_to_own_bins(
    sums: Float[Array, "l b c"],
    values: Float[Array, "c s"],
    bins: Int[Array, "p s"],
    shares: Float[Array, "p q s"],
    parts: Int[Array, " s"],
) -> Float[Array, "l b c"]:
    """The same, where value s belongs to lane s % l, which alone adds to the bins sums[l]."""
    lanes, values = len(sums), jnp.swapaxes(values, 0, 1)

    def add_row(i, sums):
        def cut(x, axis=-1):
            return jax.lax.dynamic_slice_in_dim(x, i * lanes, lanes, axis)

        own = cut(values, 0), *map(cut, (bins, shares, parts))
        for p in range(len(bins)):
            sums = _add_windows(sums, own[0], own[1][p], own[2][p], p < own[3])
        return sums

    rows = len(values) // lanes
    if rows > _FEW_PARTS:
        return jax.lax.fori_loop(0, rows, add_row, sums)
    for i in range(rows):
        sums = add_row(i, sums)
    return sums


def _add_windows(sums, values, bins, shares, wanted):
    """One addition of each lane, to neighbouring bins."""
    windows = jnp.swapaxes(shares, 0, 1)[:, :, None] * values[:, None]
    at = jnp.where(wanted, bins, sums.shape[1])  # beyond: dropped
    return jax.lax.scatter_add(
        sums,
        jnp.stack([jnp.arange(len(sums)), at], axis=-1),
        windows,
        jax.lax.ScatterDimensionNumbers(
            update_window_dims=(1, 2),
            inserted_window_dims=(0,),
            scatter_dims_to_operand_dims=(0, 1),
        ),
        indices_are_sorted=True,
        unique_indices=True,
        mode=jax.lax.GatherScatterMode.FILL_OR_DROP,
    )


def _add_one_by_one(sums, values, bins, shares, parts):
    """The loops for a CPU. Each step reads and writes one place of the sums, so that they are not
    copied."""

    def add_histogram(h, sums):
        own = [x[jnp.minimum(h, len(x) - 1)] for x in (values, bins, shares, parts)]
        return jax.lax.fori_loop(0, len(own[1]), partial(_add_part, h, own), sums)

    return jax.lax.fori_loop(0, len(sums), add_histogram, sums)


def _add_part(h, own, p, sums):
    """Histogram h of the sums with part p of its own values added."""
    values, bins, shares, parts = own
    zero, components, width = jnp.zeros_like(p), len(values), shares.shape[1]

    def add_value(s, sums):
        value = jax.lax.dynamic_slice(values, (zero, s), (components, 1))[:, 0]
        share = jax.lax.dynamic_slice(shares, (p, zero, s), (1, width, 1))
        at = h, bins[p, s], zero
        old = jax.lax.dynamic_slice(sums, at, (1, width, components))
        return jax.lax.dynamic_update_slice(sums, old + share * value, at)

    def add_wanted(s, sums):
        # A loop of one step, or of none: what is left out is not even read.
        step = lambda i, sums: add_value(s + i, sums)  # noqa: E731
        return jax.lax.fori_loop(zero, jnp.where(p < parts[s], 1, zero), step, sums)

    return jax.lax.fori_loop(zero, len(parts), add_wanted, sums)


def _add_at_once(sums, values, bins, shares, parts):
    """The same in few operations, for a GPU."""
    width = shares.shape[-2]
    for p in range(shares.shape[-3]):
        wanted = p < parts
        first = wanted & (bins[:, p] == 0)
        plain = jnp.where(first[:, None], shares[:, p], 0)
        sums = sums.at[:, :width].add(jnp.einsum("hqs,hcs->hqc", plain, values))
        at = jnp.where(wanted & ~first, bins[:, p], sums.shape[1])  # beyond: dropped
        for q in range(width):
            rows = jnp.swapaxes(values * shares[:, p, q, None], -1, -2)
            sums = jax.vmap(_scatter_rows)(*_spread(len(sums), (sums, at + q, rows)))
    return sums


def _spread(number: int, arrays):
    """Arrays repeated for each histogram, where they are the same for all."""
    return [jnp.broadcast_to(x, (number, *x.shape[1:])) for x in arrays]


def _scatter_rows(sums, at, rows):
    return sums.at[at].add(rows, mode="drop")


def _wanted_shares(shares, parts):
    """Shares without those that are left out."""
    wanted: Bool[Array, "h p s"] = jnp.arange(shares.shape[1])[:, None] < parts[:, None]
    return jnp.where(wanted[:, :, None], shares, 0)


def _jvp_rule(primals, tangents):
    """Linear in the sums, the values and the shares."""
    _, values, bins, shares, parts = primals
    moved_sums, moved_values, _, moved_shares, _ = tangents
    total = ad.instantiate_zeros(moved_sums)
    if not isinstance(moved_values, ad.Zero):
        total = _add.bind(total, moved_values, bins, shares, parts)
    if not isinstance(moved_shares, ad.Zero):
        total = _add.bind(total, values, bins, moved_shares, parts)
    return _add.bind(*primals), total


def _transpose_rule(cotangent, *arrays):
    _, values, bins, shares, parts = arrays
    wanted_values, wanted_shares = map(ad.is_undefined_primal, (values, shares))
    cotangent = ad.instantiate_zeros(cotangent)
    width = (shares.aval if wanted_shares else shares).shape[-2]
    taken = jnp.stack([_take_bins(cotangent, bins + q) for q in range(width)], axis=2)
    given = None
    if wanted_values:
        given = jnp.einsum("hpqsc,hpqs->hcs", taken, _wanted_shares(shares, parts))
        given = _as_shared(given, values.aval)
    elif wanted_shares:
        found = jnp.einsum("hpqsc,hcs->hpqs", taken, values)
        given = _as_shared(_wanted_shares(found, parts), shares.aval)
    of_values, of_shares = (given, None) if wanted_values else (None, given)
    return cotangent, of_values, None, of_shares, None


def _take_bins(sums, bins):
    """The bins of each histogram, (h, p, s, c)."""
    return jax.vmap(lambda sums, at: sums[at])(*_spread(len(sums), (sums, bins)))


def _as_shared(cotangent, like):
    """The sum over histograms of the cotangent of what they share."""
    return jnp.sum(cotangent, 0, keepdims=True) if like.shape[0] == 1 else cotangent


def _batching_rule(arrays, axes):
    size = next(x.shape[a] for x, a in zip(arrays, axes, strict=True) if a is not None)
    sums, *others = (
        x[None] if a is None else jnp.moveaxis(x, a, 0) for x, a in zip(arrays, axes, strict=True)
    )
    number = sums.shape[1]

    def join_axes(x, whole: bool = False):  # one histogram for each of the batch and of its own
        if x.shape[:2] != (1, 1) or whole:
            x = jnp.broadcast_to(x, (size, number, *x.shape[2:]))
        return x.reshape(-1, *x.shape[2:])

    found = _add.bind(join_axes(sums, True), *map(join_axes, others))
    return found.reshape(size, number, *found.shape[1:]), 0


# The arrays of the primitive have a first axis, of one histogram after the other for `vmap`, of
# length 1 where all share an array; that of the sums is always whole.
_add = Primitive("add_to_bins")
_add.def_impl(jax.jit(_add.bind))
_add.def_abstract_eval(lambda sums, *_: sums)
mlir.register_lowering(_add, mlir.lower_fun(_add_at_once, multiple_results=False))
_on_cpu = mlir.lower_fun(_add_one_by_one, multiple_results=False)
mlir.register_lowering(_add, _on_cpu, platform="cpu")
ad.primitive_jvps[_add] = _jvp_rule
ad.primitive_transposes[_add] = _transpose_rule
batching.primitive_batchers[_add] = _batching_rule
