"""Integrals over cells of a mesh, each with a product Gauss rule, and how well each is resolved.

At T > 0 the occupation of a node is the Fermi function. At T = 0 the integrand jumps at the Fermi
surface: along each line of nodes in the first coordinate, energies and weights are taken as
polynomials through the nodes, and the weights are integrated exactly between the points where the
energy passes mu. What is left to the other coordinates is continuous.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxspin.band_structure.bands import Bands, solve_bands
from jaxspin.band_structure.degeneracy import Degeneracy
from jaxspin.engine.programs import program
from jaxspin.engine.xla import materialize
from jaxspin.integration.cut_cells import NULL, ORDER, UNIT_NODES, UNIT_WIDTHS, CutCells
from jaxspin.integration.levels import fermi, fill
from jaxspin.meshes.coordinates import Coordinates
from jaxspin.models.base import Model
from jaxspin.quantities.observable import Observable
from jaxspin.symmetry.irreducible_zone import ZonePieces


class Boxes(eqx.Module):
    """Cells: boxes in the unit cube of the coordinates."""

    lower: Float[Array, "B d"]
    width: Float[Array, "B d"]
    #: Offset of the nodes of a last axis that spans a full turn, where a uniform rule is used, in
    #: units of their spacing; negative for the Gauss rule.
    turn: Float[Array, " B"]


class Occupations(eqx.Module):
    """The levels as they are summed: those of T = 0, once, then those of each positive T."""

    mu: Float[Array, " e"]
    thermal: Float[Array, " t"]
    #: Energies below which a state is filled, and above which it is empty, at every level.
    window: tuple[Float[Array, ""], Float[Array, ""]]
    cold: bool = eqx.field(static=True)
    #: The moment of -∂f/∂ε that stands for f (see `fermi`).
    moment: int = eqx.field(static=True, default=0)

    @property
    def number(self) -> int:
        return self.mu.size * (self.thermal.size + self.cold)


class CellSum(eqx.Module):
    """Everything that is fixed while cells are integrated."""

    observable: Observable
    model: Model
    coordinates: Coordinates | ZonePieces
    #: Whether the first coordinate is the radius u/(1-u), in which energies have a pole at 1.
    infinite: bool = eqx.field(static=True)
    occupations: Occupations
    degeneracy: Degeneracy


class Integrals(eqx.Module):
    """Contribution of each cell to every level and component."""

    value: Float[Array, "B e c"]
    #: The null rule of each axis applied to the integrand.
    null: Float[Array, "B d e c"]
    #: Whether a Fermi surface passes through the cell, of T = 0 or too sharp for its nodes.
    cut: Bool[Array, "B e"]
    #: Smallest splitting between two degenerate groups met, eV.
    splitting: Float[Array, ""]


@program
def integrals(job: CellSum, boxes: Boxes) -> Integrals:
    """The integrals of all bands over each cell."""
    cells, axes = boxes.lower.shape
    nodes, widths, null = _choose_rules(boxes)
    points = job.coordinates(
        [
            _place_along(i, axes, boxes.lower[:, i, None] + boxes.width[:, i, None] * nodes[i])
            for i in range(axes)
        ],
        [_place_along(i, axes, boxes.width[:, i, None] * widths[i]) for i in range(axes)],
        job.model.lattice,
    )
    full = (cells, *[ORDER] * axes)
    weight = jnp.broadcast_to(points.weight, full)
    # The rule itself, and the null rule along each axis, (rule, B, node).
    ratios = [jnp.ones(full)] + [
        jnp.broadcast_to(_place_along(i, axes, null[i] / widths[i]), full) for i in range(axes)
    ]
    ratios = jnp.stack(ratios).reshape(axes + 1, cells, -1)
    weight = weight.reshape(cells, -1)

    k = points.k.reshape(axes, -1)
    bands = solve_bands(job.model, k, job.degeneracy, **job.observable.needs)
    split = lambda x: x.reshape(*x.shape[:-1], cells, -1)  # noqa: E731
    energies = split(bands.levels)
    stretch, towards = _stretch_energies(boxes, nodes, axes, job.infinite)
    bands = _deactivate_settled(bands, energies, job.occupations, stretch)
    weights = job.observable(bands)
    turned = boxes.turn >= 0
    filling = _Filling(energies, bands.degenerate, weight, ratios, stretch, turned, towards)
    value, cut = _sum_levels(weights.sea, filling, job.occupations, derivative=False)
    if weights.surface is not None:
        more, cut = _sum_levels(weights.surface, filling, job.occupations, derivative=True)
        value += more
    return Integrals(value[:, 0], jnp.abs(value[:, 1:]), cut, jnp.min(bands.splitting))


def _choose_rules(boxes: Boxes):
    """Nodes, widths and null rule on the unit interval for each axis and cell, (B or 1, q)."""
    axes = boxes.lower.shape[1]
    nodes, widths, null = ([jnp.asarray(x)[None]] * axes for x in (UNIT_NODES, UNIT_WIDTHS, NULL))
    nodes, widths, null = list(nodes), list(widths), list(null)
    turned = boxes.turn[:, None] >= 0
    uniform = (jnp.arange(ORDER) + boxes.turn[:, None]) / ORDER
    nodes[-1] = jnp.where(turned, uniform, nodes[-1])
    widths[-1] = jnp.where(turned, 1 / ORDER, widths[-1])
    null[-1] = jnp.where(turned, 0, null[-1])
    return nodes, widths, null


def _place_along(axis: int, axes: int, values: Float[Array, "B q"]) -> Array:
    shape = [1] * axes
    shape[axis] = values.shape[1]
    return values.reshape(values.shape[0], *shape)


def _stretch_energies(boxes, nodes, axes, infinite):
    """Factor that makes energies polynomials in the first coordinate.

    Returns:
        (1-u)² at the nodes (B, node) and, at y in [-1, 1] of a cell, a + b y = 1-u, (B,) each; ones
        and None on a bounded domain.
    """
    cells = boxes.lower.shape[0]
    full = (cells, *[ORDER] * axes)
    if not infinite:
        return jnp.ones((cells, ORDER**axes)), None
    u = boxes.lower[:, 0, None] + boxes.width[:, 0, None] * nodes[0]
    stretch = jnp.broadcast_to(_place_along(0, axes, (1 - u) ** 2), full).reshape(cells, -1)
    half = boxes.width[:, 0] / 2
    return stretch, (1 - boxes.lower[:, 0] - half, -half)


def _bound_values(g: Float[Array, "*s B q"]) -> tuple[Array, Array]:
    """Generous bounds for a function in each cell, from its nodes: it goes on past them."""
    low, high = jnp.min(g, axis=-1), jnp.max(g, axis=-1)
    margin = 0.5 * (high - low)
    return low - margin, high + margin


def _deactivate_settled(bands: Bands, energies, occupations: Occupations, stretch) -> Bands:
    """Deactivate pairs of bands with equal occupations, at every level, throughout the cell."""
    low, high = occupations.window
    filled = _bound_values((energies - low) * stretch)[1] < 0
    empty = _bound_values((energies - high) * stretch)[0] > 0
    spread = lambda x: jnp.repeat(x, stretch.shape[1], axis=-1)  # noqa: E731
    closed = (filled[:, None] & filled[None, :]) | (empty[:, None] & empty[None, :])
    return eqx.tree_at(lambda b: b.active, bands, bands.active & ~spread(closed))


class _Filling(NamedTuple):
    """Bands, weights and rules at the nodes of all cells."""

    energies: Float[Array, "n B node"]
    degenerate: Bool[Array, "n n K"]
    weight: Float[Array, "B node"]
    #: The rule itself, and the null rule along each axis, relative to the rule.
    ratios: Float[Array, "rule B node"]
    #: As `_stretch_energies` gives them.
    stretch: Float[Array, "B node"]
    #: Whether the last axis of a cell spans the full turn.
    turned: Bool[Array, " B"]
    towards: tuple[Float[Array, " B"], Float[Array, " B"]] | None


def _sum_levels(tensor, filling: _Filling, occupations: Occupations, *, derivative: bool):
    """Each rule applied to Σ_m f(ε_m) W_m, or f', (B, rule, e, c), and which cells are cut."""
    energies, ratios = filling.energies, filling.ratios
    n, cells, number = energies.shape
    tensor = tensor.reshape(-1, n, cells * number)
    parts = []
    if occupations.cold:
        cuts = CutCells(len(ratios) - 1, derivative, filling.turned, filling.towards)
        parts.append(_fill_cold(filling, cuts, occupations.mu))
        # Members of a degenerate group share their occupation, and only their sum is the same in
        # every basis: a polynomial goes through the mean.
        mean = filling.degenerate / jnp.sum(filling.degenerate, axis=0)
        tensor = jnp.sum(mean * tensor[:, None], axis=2)
    for i in range(occupations.thermal.size):
        mu = occupations.mu[:, None, None, None]
        thermal, moment = occupations.thermal[i], occupations.moment
        f = fermi(energies, mu, thermal, derivative, moment=moment)
        parts.append(ratios[:, None, None] * f)
    occupied = jnp.concatenate(parts, axis=1)
    cut = _find_cut_cells(occupied[0], energies, occupations)
    occupied = _weigh_occupations(occupied, filling.weight)  # (rule, e, n, B, q)
    rules, levels = occupied.shape[:2]
    left = jnp.moveaxis(occupied, 3, 0).reshape(cells, rules * levels, n * number)
    right = jnp.moveaxis(tensor.reshape(-1, n, cells, number), (2, 0), (0, 3))
    value = left @ right.reshape(cells, n * number, -1)
    return value.reshape(cells, rules, levels, -1), cut


# A thermal step across a cell whose energies span more kT than this is no polynomial: five nodes
# of a cell of 20 kT are 4 kT apart.
_STEEP = 20.0


def _find_cut_cells(occupied, energies, occupations: Occupations) -> Bool[Array, "B e"]:
    """Cells through which a Fermi surface passes: of T = 0, or too sharp for the nodes."""
    whole = jnp.all(occupied == occupied[..., :1], axis=-1)
    full = [jnp.ones(())] * occupations.cold
    full += [fill(thermal, occupations.moment) for thermal in occupations.thermal]
    full = jnp.repeat(jnp.stack(list(map(jnp.asarray, full))), occupations.mu.size)[:, None, None]
    first = occupied[..., 0]
    cut = ~jnp.all(whole & ((first == 0) | (first == full)), axis=1)  # (e, B)
    low, high = _bound_values(energies)
    mu = occupations.mu[:, None, None]
    passed = (low < mu) & (mu < high)  # (e, n, B)
    parts = [cut[: occupations.mu.size]] if occupations.cold else []
    for i in range(occupations.thermal.size):
        steep = high - low > _STEEP * occupations.thermal[i]
        parts.append(jnp.any(passed & steep, axis=1))
    return jnp.concatenate(parts).T


@materialize
def _weigh_occupations(occupied, weight):
    return occupied * weight


def _fill_cold(filling: _Filling, cuts: CutCells, mu):
    """T = 0: what each node stands for in every rule, relative to its weight, (rule, e, n, B, q).

    A null rule sees the weights of the filled part alone: the step itself is integrated where the
    energies, as polynomials, have it. What it has to fear is that energies are none: the step moves
    when their highest coefficient is dropped.
    """
    g = (filling.energies - mu[:, None, None, None]) * filling.stretch  # (e, n, B, node)
    bands = g.reshape(-1, *g.shape[2:])

    def fill_whole(g):
        filled = jnp.where(cuts.derivative, 0.0, jnp.where(g < 0, 1.0, 0.0))
        return jnp.stack([filled, *[jnp.zeros_like(g)] * cuts.axes])

    def fill_band(g):
        low, high = _bound_values(g)
        return jax.lax.cond(jnp.any((low < 0) & (high > 0)), lambda g: cuts.fill(g), fill_whole, g)

    filled = jax.lax.map(fill_band, bands)
    filled = jnp.moveaxis(filled, 1, 0).reshape(-1, *g.shape)
    means = jnp.stack([_mean_along(filled[0], i, cuts.axes) for i in range(cuts.axes)])
    changes = filled[1:] + filling.ratios[1:, None, None] * means
    return jnp.concatenate([filled[:1], changes])


def _mean_along(filled: Float[Array, "e n B node"], axis: int, axes: int):
    """The mean of each line of nodes along an axis, at its nodes."""
    box = filled.reshape(*filled.shape[:3], *[ORDER] * axes)
    mean = jnp.tensordot(box, UNIT_WIDTHS, (3 + axis, 0))
    return jnp.broadcast_to(jnp.expand_dims(mean, 3 + axis), box.shape).reshape(filled.shape)
