"""What the bands at the points of a tile add to the sums: levels, weights, spreads."""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxspin.band_structure.bands import Bands, solve_lifted
from jaxspin.band_structure.degeneracy import Degeneracy, group_mean
from jaxspin.band_structure.driven_states import field_states, model_matrices
from jaxspin.engine.fused import reduce_in_kernel
from jaxspin.engine.lanes import NotInLanes, count_scalars, in_lanes
from jaxspin.engine.xla import separate_kernel, stored_kernel
from jaxspin.integration.levels import fermi_difference
from jaxspin.integration.occupation_sums import FermiSum
from jaxspin.models.base import Model
from jaxspin.models.lifted import Lifted, Needs, Points
from jaxspin.quantities.observable import Observable


class Observed(eqx.Module):
    """What the weights of a k-point depend on, beside the k-point."""

    observable: Observable
    model: Model
    degeneracy: Degeneracy
    window: tuple[Float[Array, ""], Float[Array, ""]]
    #: The only occupations of the sum, if there are so few that its means are computed at each.
    few: FermiSum | None = None

    @property
    def needs(self) -> Needs:
        """What of the model is lifted."""
        wanted = self.observable
        return Needs(tuple(wanted.operators), curl=wanted.external_curvature, remote=wanted.remote)


class Weighed(NamedTuple):
    """What a tile adds to the sums."""

    levels: Float[Array, "n K"]
    #: By how much each energy varies over the cell of its point, eV.
    spread: Float[Array, "n K"]
    #: (components, n, K) for the Fermi sea and the Fermi surface; or (levels, components, K), what
    #: the k-points add to the sums at few levels.
    weights: dict[str, Array]
    splitting: Float[Array, " K"]


def weigh_points(observed: Observed, points: Points, nodes, check) -> Weighed:
    """Levels and weights of the bands at the nodes (their weights, and edges of their cells)."""
    lifted = observed.model.lift(points, observed.needs)
    return _weigh_lifted(observed, lifted, nodes, check)


# Scalars that the lift of a model computes at one k, at most, to be rewritten in lanes: Bi2Se3 has
# 2,500, a hopping model of four bands to 81 cells 7,000.
_SHORT = 4000
# And those of the whole. Compiled for an H200 the corrected spin Hall conductivity of Bi2Se3 has
# 13,700, the published one 14,600, and they are predicted to be 1.5 times as fast as in arrays; the
# conventional one has 14,800, is no faster, and takes four times as long to compile.
_FEW = 14_700
# The same of means at few levels, of Bi2Se3 9,000 for one: predicted to be 5.8 times as fast.
_MANY = 40_000


def weigh_in_lanes(observed: Observed, points: Points, nodes, check) -> Weighed:
    """The same with a lane for each element of a matrix (see `lanes`)."""
    function, tile = _choose_lift(observed, points, nodes, check)
    if _is_mean(function, observed, tile):
        return in_lanes(function, _MANY)(observed, tile)
    return in_lanes(function, _FEW)(dataclasses.replace(observed, few=None), tile)


class Reduced(NamedTuple):
    """What a tile adds to the sums at few levels, and extremes on its nodes inside the mesh."""

    means: Float[Array, "l c"]
    splitting: Float[Array, ""]
    lowest: Float[Array, " n"]
    highest: Float[Array, " n"]


_KINDS = Reduced("sum", "min", "min", "max")  # type: ignore[arg-type]  (of each field)


def reduce_in_one_kernel(observed: Observed, points: Points, nodes, check) -> Reduced | None:
    """The same in one kernel (see `fused`); None where it is no mean, or cannot be one kernel."""
    function, tile = _choose_lift(observed, points, nodes, check)
    if not _is_mean(function, observed, tile):
        return None

    def weigh_inside(observed, tile):
        found, inside = function(observed, tile), tile[1][0] != 0
        return Reduced(
            found.weights["levels"],
            jnp.where(inside, found.splitting, jnp.inf),
            jnp.where(inside, found.levels, jnp.inf),
            jnp.where(inside, found.levels, -jnp.inf),
        )

    try:
        return reduce_in_kernel(weigh_inside, _KINDS)(observed, tile)
    except NotInLanes:
        return None


def _choose_lift(observed: Observed, points: Points, nodes, check):
    """The function of (observed, tile), and its tile.

    A model that is a long sum of large products is lifted in arrays before.
    """

    def lift(observed, k):
        return observed.model.lift(Points(k), observed.needs)

    def weigh(observed, tile):
        k, nodes = tile
        return weigh_points(observed, Points(k), nodes, check)

    def weigh_lifted(observed, tile):
        lifted, nodes = tile
        return _weigh_lifted(observed, lifted, nodes, check)

    if count_scalars(lift, observed, points.k) <= _SHORT:
        return weigh, (points.k, nodes)
    return weigh_lifted, (observed.model.lift(points, observed.needs), nodes)


def _is_mean(function, observed: Observed, tile) -> bool:
    return "levels" in eqx.filter_eval_shape(function, observed, tile).weights


def _weigh_lifted(observed: Observed, lifted: Lifted, nodes, check) -> Weighed:
    few = observed.few
    means = None if few is None else _mean_lifted(observed, few, lifted, nodes[0], check)
    return _weigh_bands(observed, lifted, nodes, check) if means is None else means


def _mean_lifted(
    observed: Observed, few: FermiSum, lifted: Lifted, weight: Float[Array, " K"], check
) -> Weighed | None:
    """Means at few levels, where the observable has them (`Observable.driven_mean`)."""
    matrices = model_matrices(lifted)
    if matrices is None:
        return None
    bands = solve_lifted(lifted._replace(operators={}), observed.degeneracy, check=check)
    means = []
    for mu, thermal in few.each:
        states = field_states(bands, fermi_difference(bands.levels, mu, thermal))
        mean = observed.observable.driven_mean(matrices, states)
        if mean is None:
            return None
        means.append(_flatten_means(mean, weight))
    spread = jnp.zeros_like(bands.levels)
    return Weighed(bands.levels, spread, {"levels": jnp.stack(means)}, bands.splitting)


def _weigh_bands(observed: Observed, lifted: Lifted, nodes, check) -> Weighed:
    weight, edges = nodes
    bands = solve_lifted(
        lifted,
        observed.degeneracy,
        external_curvature=observed.needs.curl,
        group_splitting=observed.observable.group_splitting,
        check=check,
    )
    spread = jnp.zeros_like(bands.levels) if edges is None else _spread_energies(bands, edges)
    low, high = observed.window
    bands = bands.restrict_to_window(low - spread / 2, high + spread / 2)
    weights = observed.observable(bands)
    found = {"sea": weights.sea, "surface": weights.surface}
    found = {kind: _flatten_weights(w, weight) for kind, w in found.items() if w is not None}
    return Weighed(bands.levels, spread, found, bands.splitting)


@separate_kernel
def _spread_energies(bands: Bands, edges: Float[Array, "c d K"]) -> Float[Array, "n K"]:
    """Variation of each energy over the cell of its point: root sum of squares over edges."""
    velocity = jnp.einsum("immK->imK", bands.velocity).real
    velocity = jax.vmap(group_mean, in_axes=(0, None))(velocity, bands.degenerate)
    return jnp.sqrt(jnp.sum(jnp.einsum("ciK,imK->cmK", edges, velocity) ** 2, axis=0))


@stored_kernel
def _flatten_weights(
    weights: Float[Array, "*c n K"], weight: Float[Array, " K"]
) -> Float[Array, "c n K"]:
    return (weights * weight).reshape(-1, *weights.shape[-2:])


@stored_kernel
def _flatten_means(means: Float[Array, "*c K"], weight: Float[Array, " K"]) -> Float[Array, "c K"]:
    return (means * weight).reshape(-1, means.shape[-1])
