"""The mechanisms of a disordered conductor at every level: its Fermi surfaces, the sea, the
collisions at each energy, and averages over energies.

Outside of jit the surfaces and the energies are done in segments (`engine.segments`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxspin.disorder.collision import RangedScattering, Scattering
from jaxspin.disorder.contributions import sum_mechanisms
from jaxspin.disorder.fermi_sea import FermiSea, default_mesh, fermi_sea
from jaxspin.disorder.fermi_states import FermiStates, as_vector, find_states
from jaxspin.disorder.operators import MeasuredOperator
from jaxspin.disorder.scatterers import DENSE_STATES, Disorder
from jaxspin.engine.programs import program
from jaxspin.engine.progress import Bar
from jaxspin.engine.segments import ItemMap, Portion
from jaxspin.engine.tolerances import CONSERVED
from jaxspin.engine.xla import map_in_batches, map_in_pieces
from jaxspin.integration.levels import Levels
from jaxspin.integration.problem import Run
from jaxspin.meshes.mesh import Mesh
from jaxspin.models.base import Model, number_of_bands
from jaxspin.surfaces import FermiSurface, FermiSurfaceRule
from jaxspin.surfaces.averages import (
    Energies,
    SharedLevels,
    count_energies,
    drop_without_share,
    energies_of_levels,
    group_levels,
)
from jaxspin.surfaces.base import Diagnostic
from jaxspin.surfaces.scan import scan_levels
from jaxspin.surfaces.thermal import (
    Findings,
    ThermalLevels,
    count_slots,
    drop_empty_slots,
    find_at_points,
    is_refused,
    judge_nodes,
    leave_out,
    move_axes_last,
    points_of_rules,
    portion_of_levels,
    thermal_energies,
)

#: The mechanisms, in the order in which they are added.
MECHANISMS = ("drude", "intrinsic", "extrinsic", "side_jump", "skew", "third_cumulant")


class Conductor(eqx.Module):
    """A model, a rule for its Fermi surface, its disorder, the mesh of its filled bands, and what
    is measured."""

    model: Model
    surface: FermiSurfaceRule
    disorder: Disorder
    sea: Mesh | None
    operators: tuple[MeasuredOperator, ...]
    #: Whether the model may have groups of degenerate bands.
    has_groups: bool = eqx.field(static=True)


class EnergyResponse(eqx.Module):
    """The mechanisms at one energy, and the numbers by which they are judged."""

    #: Each of `MECHANISMS`, operators, fields.
    mechanisms: Float[Array, "m o d"]
    charge: Float[Array, ""]
    sea_error: Float[Array, "o d"]
    #: Of the filled bands, without what cancels.
    sea_size: Float[Array, "o d"]
    #: The mesh of the sea has room for this surface.
    sea_fits: Array
    states: Array
    #: Largest number of bands in a group.
    group_size: Float[Array, ""]
    #: The rates of all states are positive.
    is_scattered: Array
    #: Bands touch at a state.
    is_split: Array
    #: Largest part of P 𝒲[ρ̂] P that is no multiple of P, of its trace.
    unequal_rates: Float[Array, ""]
    #: Number of conserved quantities, the charge among them, and the overlap of each operator with
    #: those beside it.
    conserved: Array
    conserved_part: Float[Array, " o"]
    gap: Float[Array, ""]
    level_width: Float[Array, ""]
    gap_over_width: Float[Array, ""]
    slowest_relaxation: Float[Array, ""]


class LevelResponse(eqx.Module):
    """The average of one level, and the extremes at the energies it is made of."""

    worst: EnergyResponse
    mechanisms: Float[Array, "m o d"]
    #: The same by a second rule for the surface and for the energies.
    second_rule: Float[Array, "m o d"]
    sea_error: Float[Array, "o d"]
    #: Share of the thermal average at energies whose surface the rule cannot do.
    left_out: Float[Array, ""]


def solve_levels(conductor: Conductor, levels: Levels, run: Run) -> tuple[LevelResponse, Findings]:
    """The mechanisms at every level, temperatures outermost.

    Raises:
        ValueError, RuntimeError: as `scan_levels`.
    """
    energies = sum(count_energies(levels.mu, thermal) for thermal in thermal_energies(levels))
    bar = Bar(run.progress, 2 * energies, unit=" energies")  # once found, once solved
    respond = Partial(_solve_temperature, conductor)
    return scan_levels(respond, levels, run, bar, **vars(conductor))


def _solve_temperature(
    conductor: Conductor, items: ItemMap, levels: ThermalLevels
) -> tuple[LevelResponse, tuple[Diagnostic, ...]]:
    """Every Fermi energy, their axis first, and what to look at on the Fermi surfaces."""
    groups, numbers = zip(*group_levels(levels.mu, levels.thermal), strict=True)
    averages = [_place_energies(conductor, items, group, levels.thermal) for group in groups]
    surfaces = _find_all_surfaces(conductor, items, averages)
    mesh = conductor.sea
    if mesh is None:
        mesh = _choose_mesh(conductor.model, surfaces)
    filled = _integrate_sea(conductor.model, mesh, conductor.operators)
    solve = partial(_respond_at_energies, conductor, filled)
    nodes = drop_empty_slots(surfaces.nodes)
    portion = _portion_of_energies(conductor, nodes)
    responses = items.map_items("energies", solve, (surfaces.energies, nodes), portion)
    order = np.argsort(np.concatenate([number.ravel() for number in numbers]))
    averaged = _average_levels(surfaces.averages, responses)
    return jax.tree.map(lambda x: x[order], averaged), move_axes_last(surfaces.findings, 1)


def _place_energies(
    conductor: Conductor, items: ItemMap, groups: SharedLevels, thermal: Float[Array, ""] | None
) -> Energies:
    """The energies of groups of levels, the axis of groups first."""
    place = partial(_find_energies, conductor.surface, conductor.model, thermal)
    portion = portion_of_levels(conductor.surface, conductor.model, thermal, _NODES)
    placed = items.map_items("averages", place, groups, portion._replace(points=0))
    return drop_without_share(placed)


def _find_all_surfaces(
    conductor: Conductor, items: ItemMap, averages: list[Energies]
) -> "_Surfaces":
    """The Fermi surfaces at the energies of all groups of levels."""
    find = partial(_find_surfaces, conductor.surface, conductor.model)
    points = [points_of_rules(each) for each in averages]
    energies, rules = (jnp.concatenate(x) for x in zip(*points, strict=True))
    portion = Portion(max(1, _NODES // count_slots(conductor.surface, conductor.model)))
    found = items.map_items("surfaces", find, (energies, rules), portion)
    return _judge_surfaces(tuple(averages), energies, *found)


def join_nodes(x: Float[Array, "m e *d a"]) -> Float[Array, "*d _"]:
    """The nodes of all energies on one axis, the last."""
    every = jnp.moveaxis(x.reshape(-1, *x.shape[2:]), 0, -2)
    return every.reshape(*every.shape[:-2], -1)


# Of the states of all energies in a segment; a tenth of a second for two bands on a slow core.
_NUMBERS = 2**16
_MOST = 256


_NODES = 2**15  # a tenth of a second for two bands and a contour on a slow core


def _portion_of_energies(conductor: Conductor, nodes: FermiSurface) -> Portion:
    """The energies of a segment, from the memory that one takes."""
    states = nodes.weight.shape[-1]
    size = conductor.disorder.memory(states, number_of_bands(conductor.model))
    return Portion(max(1, min(_MOST, _NUMBERS // size)))


@program
def _find_energies(
    surface: FermiSurfaceRule, model: Model, thermal: Float[Array, ""] | None, groups: SharedLevels
) -> Energies:
    model = model.prepared()
    return map_in_pieces(lambda group: energies_of_levels(surface, model, group, thermal), groups)


@program
def _find_surfaces(surface: FermiSurfaceRule, model: Model, points):
    return find_at_points(surface, model.prepared(), points)


class _Surfaces(eqx.Module):
    """The Fermi surfaces at the energies of all groups of levels, one after the other."""

    #: Of groups of as many levels each, axes (group, level, energy).
    averages: tuple[Energies, ...]
    energies: Float[Array, " p"]
    nodes: FermiSurface
    findings: tuple[Diagnostic, ...]


@program
def _judge_surfaces(
    averages: tuple[Energies, ...],
    energies: Float[Array, " p"],
    nodes: FermiSurface,
    findings: tuple[Diagnostic, ...],
) -> _Surfaces:
    """The surfaces, with energies left out and nodes spoilt where something was found."""
    judged = []
    for each, found in _split_groups(averages, (nodes, findings)):
        kept = leave_out(each, is_refused(found[1], each))
        judged.append((kept, *judge_nodes(kept, *found)))
    kept, *every = zip(*judged, strict=True)
    return _Surfaces(kept, energies, *map(_join_groups, every))


def _split_groups(averages: tuple[Energies, ...], every: Any) -> list[tuple[Energies, Any]]:
    """Each average with what belongs to its energies, of axes (group, energy, ...)."""
    shapes = [each.energies.shape for each in averages]
    ends = np.cumsum([0] + [groups * number for groups, number in shapes])
    return [
        (each, jax.tree.map(lambda x: x[start:end].reshape(*shape, *x.shape[1:]), every))  # noqa: B023
        for each, shape, start, end in zip(averages, shapes, ends[:-1], ends[1:], strict=True)
    ]


def _join_groups(parts: Sequence[Any]) -> Any:
    """What belongs to groups, of axes (group, level or energy, ...), one after the other."""
    join = lambda *x: jnp.concatenate([y.reshape(-1, *y.shape[2:]) for y in x])  # noqa: E731
    return jax.tree.map(join, *parts)


@program
def _choose_mesh(model: Model, surfaces: _Surfaces) -> Mesh:
    """The mesh of the sea for all levels."""
    rules = [np.tile(each.rule_index, len(each.energies)) for each in surfaces.averages]
    first = np.flatnonzero(np.concatenate(rules) == 0)
    nodes = jax.tree.map(lambda x: join_nodes(x[first][None]), surfaces.nodes)
    return default_mesh(model.prepared(), nodes, surfaces.energies[first])


@program
def _integrate_sea(model: Model, mesh: Mesh, operators: tuple[MeasuredOperator, ...]) -> FermiSea:
    return fermi_sea(model.prepared(), mesh, operators)


@program
def _respond_at_energies(conductor: Conductor, sea: FermiSea, every) -> EnergyResponse:
    """All mechanisms at energies, their axis first, with their nodes."""
    conductor = eqx.tree_at(lambda c: c.model, conductor, conductor.model.prepared())
    respond = lambda each: _respond_at_energy(conductor, sea, each[1], each[0])  # noqa: E731
    return map_in_batches(respond, every, _portion_of_energies(conductor, every[1]).size)


def _respond_at_energy(conductor: Conductor, sea: FermiSea, nodes: FermiSurface, energy):
    """All mechanisms at one energy."""
    on_shell = find_states(
        conductor.model, nodes, conductor.operators, has_groups=conductor.has_groups
    )
    scattering = conductor.disorder.scattering(on_shell)
    width = jnp.where(on_shell.is_occupied, scattering.rate, 0)
    conserved, slowest = _find_slowest_rate(scattering, width)
    intrinsic, error, size, fits = sea(conductor.model, on_shell, nodes.band, energy)
    parts = sum_mechanisms(on_shell, scattering)
    by_name = {"intrinsic": intrinsic, **vars(parts)}
    return EnergyResponse(
        mechanisms=jnp.stack([by_name[name] for name in MECHANISMS]),
        charge=parts.charge,
        sea_error=error,
        sea_size=size,
        sea_fits=fits,
        states=jnp.sum(on_shell.is_occupied),
        group_size=jnp.max(jnp.where(on_shell.is_occupied, jnp.round(on_shell.group_size), 1)),
        is_scattered=jnp.all((width > 0) | ~on_shell.is_occupied),
        gap=jnp.min(on_shell.gap),
        level_width=jnp.max(width),
        gap_over_width=jnp.min(on_shell.gap / jnp.where(width > 0, width, 1)),
        is_split=jnp.any(on_shell.is_split),
        unequal_rates=_compare_rates(on_shell, scattering),
        conserved=conserved,
        conserved_part=scattering.conserved_part(as_vector(on_shell.operators)),
        slowest_relaxation=slowest,
    )


_EIGENVALUES = 512  # unknowns up to which the relaxation rates cost little


def _find_slowest_rate(
    scattering: Scattering, width: Float[Array, " a"]
) -> tuple[Array, Float[Array, ""]]:
    """Number of the eigenvalues of J0/2γ that are 0, and the smallest other one, NaN if it is not
    computed."""
    scattering, width = jax.lax.stop_gradient((scattering, width))
    if isinstance(scattering, RangedScattering):
        slowest = _find_slowest_of_range(scattering, width)
        return 1 + (slowest < CONSERVED.of(slowest)), slowest
    rates = scattering.relaxation_rates()
    conserved = rates < CONSERVED.of(rates)
    return jnp.sum(conserved), jnp.min(jnp.where(conserved, 1.0, rates))


def _find_slowest_of_range(
    scattering: RangedScattering, width: Float[Array, " a"]
) -> Float[Array, ""]:
    """The second eigenvalue of J0/2γ; the first is the charge."""
    if scattering.number_of_unknowns > DENSE_STATES:
        return jnp.asarray(jnp.nan)
    if scattering.has_groups or scattering.number_of_unknowns > _EIGENVALUES:
        return _detect_conserved(scattering, width)
    rates = scattering.relaxation_rates()
    return rates[1] if len(rates) > 1 else jnp.asarray(1.0)


def _detect_conserved(scattering: RangedScattering, width: Float[Array, " a"]) -> Float[Array, ""]:
    """0 but for rounding if a random source meets something conserved, else NaN."""
    number = scattering.vectors.shape
    random = jnp.asarray(np.random.default_rng(20231119).normal(size=(1, *number)))
    source = scattering.remove_charge(scattering.inside(random) * width)
    f = scattering.solve_collisions(source)
    longest = jnp.max(jnp.abs(f))  # of the order of 1/(relaxation rate)
    return jnp.where(longest * CONSERVED.of(longest) > 1, 1 / longest, jnp.nan)


def _compare_rates(on_shell: FermiStates, scattering: Scattering) -> Float[Array, ""]:
    """Largest element of P 𝒲[ρ̂] P − (γ/π) P, of γ/π."""
    p = scattering.vectors
    rates = 2 * jnp.pi * scattering.inside(scattering.average_disorder(p))
    apart = jnp.max(jnp.abs(rates - scattering.rate * p), axis=0)
    return jnp.max(jnp.where(on_shell.is_occupied, apart / scattering.rate, 0))


@program
def _average_levels(averages: tuple[Energies, ...], responses: EnergyResponse) -> LevelResponse:
    """All levels in the order of their groups."""
    of_groups = [
        jax.vmap(_average_group)(each, found) for each, found in _split_groups(averages, responses)
    ]
    return _join_groups(of_groups)


def _average_group(energies: Energies, responses: EnergyResponse) -> LevelResponse:
    """The levels of one group, one at a time, for each takes as much memory as all energies."""
    of_levels = (energies.shares, energies.tails, energies.left_out)

    def average_level(one):
        level = eqx.tree_at(lambda e: (e.shares, e.tails, e.left_out), energies, one)
        return _average_energies(level, responses)

    return map_in_pieces(average_level, of_levels)


def _average_energies(energies: Energies, responses: EnergyResponse) -> LevelResponse:
    """The average over the energies of one level."""
    first, second = energies.average(responses.mechanisms)
    sea_error, _ = energies.average(responses.sea_error)

    extreme = energies.find_extreme
    least, most = partial(extreme, jnp.min), partial(extreme, jnp.max)
    worst = EnergyResponse(
        mechanisms=most(jnp.abs(responses.mechanisms), 0),
        charge=most(responses.charge, 0),
        sea_error=most(responses.sea_error, 0),
        sea_size=most(responses.sea_size, 0),
        sea_fits=extreme(jnp.all, responses.sea_fits, True),
        states=most(responses.states, 0),
        group_size=most(responses.group_size, 1),
        is_scattered=extreme(jnp.all, responses.is_scattered, True),
        is_split=extreme(jnp.any, responses.is_split, False),
        unequal_rates=most(responses.unequal_rates, 0),
        conserved=most(responses.conserved, 1),
        conserved_part=most(responses.conserved_part, 0),
        gap=least(responses.gap, jnp.inf),
        level_width=most(responses.level_width, 0),
        gap_over_width=least(responses.gap_over_width, jnp.inf),
        slowest_relaxation=least(responses.slowest_relaxation, jnp.inf),
    )
    return LevelResponse(worst, first, second, sea_error, energies.left_out[0])
