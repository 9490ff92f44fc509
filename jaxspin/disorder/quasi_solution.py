"""Both orders of the response of a group of quasi-degenerate bands at every level."""

from functools import partial
from typing import NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxspin.band_structure.bands import DEGENERATE_TO_ROUNDING
from jaxspin.band_structure.eigensystem import eigensystem
from jaxspin.disorder.band_groups import BandMean, MergedBands, PairTable
from jaxspin.disorder.collision import LocalScattering
from jaxspin.disorder.fermi_sea import FermiSea, default_mesh, fermi_sea
from jaxspin.disorder.fermi_states import FermiStates, find_states
from jaxspin.disorder.leading_orders import (
    FirstOrder,
    neutral_vectors,
    sum_first_order,
    sum_leading,
)
from jaxspin.disorder.operators import MeasuredOperator, measure_operators
from jaxspin.disorder.precession import GroupNodes, PrecessingScattering
from jaxspin.disorder.scatterers import Disorder
from jaxspin.disorder.solution import join_nodes
from jaxspin.engine.programs import program
from jaxspin.engine.tolerances import CONSERVED
from jaxspin.engine.xla import map_in_batches
from jaxspin.integration.levels import Levels
from jaxspin.meshes.mesh import Mesh
from jaxspin.models.base import Model
from jaxspin.models.lifted import Needs, Points
from jaxspin.surfaces import FermiSurface, FermiSurfaceRule
from jaxspin.surfaces.averages import Energies, energies_of_level
from jaxspin.surfaces.base import Diagnostic
from jaxspin.surfaces.thermal import (
    Findings,
    find_nodes,
    is_refused,
    judge_nodes,
    leave_out,
    move_axes_last,
    thermal_energies,
)


class GroupConductor(eqx.Module):
    """A model with a group of bands, a rule for its Fermi surfaces, disorder, what is measured."""

    model: Model
    surface: FermiSurfaceRule
    disorder: Disorder
    operators: tuple[MeasuredOperator, ...]
    #: The lowest band of the group, and their number.
    first: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    @property
    def merged(self) -> MergedBands:
        """The model with the mean energy of the group for its bands."""
        return MergedBands(self.model, self.first, self.size)


class GroupEnergy(eqx.Module):
    """Both orders at one energy, and the numbers by which they are judged."""

    #: Leading order and order u0⁰, operators, fields.
    orders: Float[Array, "2 o d"]
    sea_error: Float[Array, "o d"]
    rounding: Float[Array, ""]
    sea_fits: Array
    states: Array
    #: All bands of the group have a Fermi surface, or none has.
    is_complete: Array
    is_scattered: Array
    #: Bands beside the group touch or are degenerate.
    is_split: Array
    #: Largest part of P 𝒲[X] P that is no multiple of P, in units of its mean.
    unequal_rates: Float[Array, ""]
    conserved: Array
    conserved_part: Float[Array, " o"]
    gap: Float[Array, ""]
    level_width: Float[Array, ""]
    gap_over_width: Float[Array, ""]
    smallest_splitting: Float[Array, ""]
    largest_splitting: Float[Array, ""]


class GroupLevel(eqx.Module):
    """The average of one level, and the extremes at the energies it is made of."""

    worst: GroupEnergy
    orders: Float[Array, "2 o d"]
    second_rule: Float[Array, "2 o d"]
    sea_error: Float[Array, "o d"]
    rounding: Float[Array, ""]


class _PairSurfaces(eqx.Module):
    """Fermi surfaces at the energies of some levels, axes (level, energy, ...)."""

    energies: Energies
    #: Those of the pairs, whose axis comes after these two, and that of the mean energy.
    pairs: FermiSurface
    mean: FermiSurface
    findings: tuple[Diagnostic, ...]


def solve_group_levels(conductor: GroupConductor, levels: Levels) -> tuple[GroupLevel, Findings]:
    """Both orders at every level, temperatures outermost."""
    mu = jnp.asarray(levels.mu, dtype=jnp.result_type(float))
    every = [_solve_temperature(conductor, mu, thermal) for thermal in thermal_energies(levels)]
    results, findings = zip(*every, strict=True)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *results), findings


def _solve_temperature(conductor: GroupConductor, mu, thermal):
    surfaces = _find_surfaces(conductor, mu, thermal)
    sea = _integrate_sea(conductor, _choose_mesh(conductor, surfaces))
    return _respond_at_levels(conductor, sea, surfaces), surfaces.findings


@program
def _find_surfaces(conductor: GroupConductor, mu, thermal) -> _PairSurfaces:
    conductor = _prepare(conductor)
    model, surface = conductor.model, conductor.surface
    energies = jax.vmap(partial(energies_of_level, surface, model, thermal=thermal))(mu)
    table = PairTable(model, conductor.first, conductor.size)

    def find_surface(shares):
        return find_nodes(surface, BandMean(model, shares), energies)

    found = jax.vmap(find_surface)(jnp.asarray(table.shares))
    refused = jax.vmap(lambda each: is_refused(each, energies))(found[1])
    energies = leave_out(energies, jnp.any(refused, axis=0))
    every, findings = jax.vmap(partial(judge_nodes, energies))(*found)
    every = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2), every)
    lowest = jnp.append(jnp.asarray(table.lower), conductor.first)
    return _PairSurfaces(
        energies,
        jax.tree.map(lambda x: x[:, :, : table.pairs], every),
        _join_bands(jax.tree.map(lambda x: x[:, :, table.mean_of_band], every)),
        tuple(_name_bands(one, lowest) for one in move_axes_last(findings, 3)),
    )


def _join_bands(surfaces: FermiSurface) -> FermiSurface:
    """The surfaces (level, energy, band) of all bands as one."""
    k, weight = surfaces.k, surfaces.weight
    levels, energies, n, slots = weight.shape
    band = jnp.broadcast_to(jnp.arange(n)[:, None], weight.shape)
    joined = (levels, energies, n * slots)
    k = jnp.moveaxis(k, 2, 3).reshape(levels, energies, k.shape[3], n * slots)
    return FermiSurface(k, band.reshape(joined), weight.reshape(joined))


def _prepare(conductor: GroupConductor) -> GroupConductor:
    return eqx.tree_at(lambda c: c.model, conductor, conductor.model.prepared())


def _name_bands(finding: Diagnostic, lower: Int[Array, " q"]) -> Diagnostic:
    """A finding with the bands of the model, the axis of pairs third from last."""
    return eqx.tree_at(lambda f: f.band, finding, finding.band + lower[:, None, None])


@program
def _choose_mesh(conductor: GroupConductor, surfaces: _PairSurfaces) -> Mesh:
    number = surfaces.energies.first
    first = jax.tree.map(join_nodes, jax.tree.map(lambda x: x[:, :number], surfaces.mean))
    energies = surfaces.energies.energies[:, :number]
    return default_mesh(_prepare(conductor).merged, first, energies)


@program
def _integrate_sea(conductor: GroupConductor, mesh: Mesh) -> FermiSea:
    return fermi_sea(_prepare(conductor).merged, mesh, conductor.operators)


_NODES = 2**13  # of all energies that are in memory at a time


@program
def _respond_at_levels(
    conductor: GroupConductor, sea: FermiSea, surfaces: _PairSurfaces
) -> GroupLevel:
    conductor = _prepare(conductor)
    energies = surfaces.energies
    every = (energies.energies, surfaces.pairs, surfaces.mean)
    shape = energies.energies.shape
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), every)
    respond = lambda each: _respond_at_energy(conductor, sea, *each)  # noqa: E731
    at_once = max(1, _NODES // surfaces.pairs.weight[0, 0].size)
    responses = map_in_batches(respond, flat, at_once)
    responses = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), responses)
    return jax.vmap(_average_energies)(energies, responses)


class _GroupCollisions(NamedTuple):
    """Collisions on the surfaces of pairs and of the mean energy, and the states of the latter."""

    shell: FermiStates
    pairs: PrecessingScattering
    mean: PrecessingScattering
    #: On the pairs, without their means, as vectors.
    operators: Float[Array, "o m a"]

    @property
    def is_in_group(self) -> Bool[Array, " a"]:
        """Mask of the states of the group."""
        return self.shell.is_occupied & (_count_bands(self.mean.nodes) > 1)

    @property
    def splitting(self) -> Float[Array, " a"]:
        """Distance of the outermost bands of the group, eV."""
        return self.mean.nodes.energies[-1] - self.mean.nodes.energies[0]

    @property
    def relative_splitting(self) -> Float[Array, ""]:
        """The largest splitting, of the energies."""
        scale = jnp.max(jnp.abs(self.pairs.nodes.energies)) + jnp.max(self.pairs.rate)
        return jnp.max(jnp.where(self.is_in_group, self.splitting, 0)) / scale


def _respond_at_energy(
    conductor: GroupConductor, sea: FermiSea, energy, pairs: FermiSurface, mean: FermiSurface
) -> GroupEnergy:
    """Both orders at one energy."""
    table = PairTable(conductor.model, conductor.first, conductor.size)
    collisions = _find_collisions(conductor, table, pairs, mean)
    shell, on_pairs, on_mean, operators = collisions
    unsplit = collisions.relative_splitting <= _UNSPLIT
    of_mean = sum_leading(on_mean, neutral_vectors(on_mean, shell.operators))
    leading = jnp.where(unsplit, of_mean, sum_leading(on_pairs, operators))
    intrinsic, error, _, fits = sea(conductor.merged, shell, mean.band, energy)
    orders = _join_orders(leading, sum_first_order(shell, on_mean), intrinsic)
    width = jnp.where(shell.is_occupied, on_mean.rate, 0)
    rates = on_pairs.relaxation_rates()
    occupied = jnp.any(pairs.weight != 0, axis=1)[: table.pairs_of_group]
    inside, splitting = collisions.is_in_group, collisions.splitting
    turned = jnp.where(unsplit, 0, 1 / jnp.where(unsplit, 1, collisions.relative_splitting))
    return GroupEnergy(
        orders=orders,
        sea_error=error,
        rounding=jnp.finfo(float).eps * (_ROUNDED + turned) * jnp.max(jnp.abs(orders[0])),
        sea_fits=fits,
        states=jnp.sum(pairs.weight != 0),
        is_complete=jnp.all(occupied) | ~jnp.any(occupied),
        is_scattered=jnp.all((on_pairs.smallest_rate > 0) | (on_pairs.weight == 0)),
        is_split=jnp.any(shell.is_split) | _is_degenerate(shell, on_mean.nodes),
        unequal_rates=_compare_rates(shell, on_mean),
        conserved=jnp.sum(rates < CONSERVED.of(rates)),
        conserved_part=on_pairs.conserved_part(operators),
        gap=jnp.min(shell.gap),
        level_width=jnp.max(width),
        gap_over_width=jnp.min(shell.gap / jnp.where(width > 0, width, 1)),
        smallest_splitting=jnp.min(jnp.where(inside, splitting, jnp.inf)),
        largest_splitting=jnp.max(jnp.where(inside, splitting, 0)),
    )


def _find_collisions(
    conductor: GroupConductor, table: PairTable, pairs: FermiSurface, mean: FermiSurface
) -> _GroupCollisions:
    shell = find_states(conductor.merged, mean, conductor.operators)
    local = cast(LocalScattering, conductor.disorder.scattering(shell))
    number, slots = pairs.weight.shape
    k = jnp.moveaxis(pairs.k, 0, 1).reshape(len(shell.k), -1)
    pair = jnp.repeat(jnp.arange(number), slots)
    on_pairs, operators = _resolve_nodes(
        conductor, table, FermiSurface(k, pair, pairs.weight.ravel())
    )
    pair = jnp.asarray(table.pair_of_band)[mean.band]
    on_mean, _ = _resolve_nodes(conductor, table, FermiSurface(shell.k, pair, shell.weight))
    on_mean = on_mean._replace(kept=on_mean.holds[:, None] & on_mean.holds[None, :])
    collide = lambda nodes: PrecessingScattering(nodes, local.coupling, local.third_cumulant)  # noqa: E731
    leading = collide(on_pairs)
    return _GroupCollisions(shell, leading, collide(on_mean), neutral_vectors(leading, operators))


# Of the energies: below it rounding turns eigenvectors of the group from node to node, and the
# group counts as degenerate. The splitting then changes the response by (splitting)/(level width).
_UNSPLIT = 1e-9
_ROUNDED = 64


def _count_bands(nodes: GroupNodes) -> Int[Array, " a"]:
    """Number of bands at each node."""
    return jnp.sum(nodes.holds, axis=0)


def _is_degenerate(shell: FermiStates, nodes: GroupNodes) -> Array:
    """Whether bands beside the group are degenerate."""
    more = jnp.round(shell.group_size) != _count_bands(nodes)
    return jnp.any(more & shell.is_occupied)


def _join_orders(
    leading: Float[Array, "o o"], first: FirstOrder, intrinsic: Float[Array, "o d"]
) -> Float[Array, "2 o d"]:
    """Leading order, even in the exchange of operators, and order u0⁰, odd.

    The first operators are −∂H, so that a field drives minus what drives them. Of the sea only what
    is not on the surface is added, for that part is among the odd sums.
    """
    d = intrinsic.shape[1]
    even = -(leading + leading.T)[:, :d] / 2
    total = leading + first.total
    odd = -(total - total.T)[:, :d] / 2
    return jnp.stack([even, odd + intrinsic + first.intrinsic[:, :d]])


def _resolve_nodes(conductor: GroupConductor, table: PairTable, nodes: FermiSurface):
    """Nodes of pairs, whose number stands for the band, and all operators there."""
    names = tuple(name for operator in conductor.operators for name in operator.needs)
    lifted = conductor.model.lift(Points(nodes.k), Needs(names))
    energies, basis = eigensystem(lifted.hamiltonian.astype(complex), DEGENERATE_TO_ROUNDING)
    bands, holds = (jnp.asarray(x)[nodes.band].T for x in (table.bands, table.holds))
    a = jnp.arange(nodes.weight.size)
    resolved = GroupNodes(
        basis=jnp.where(holds, basis[:, bands, a], 0),
        energies=energies[bands, a],
        weight=nodes.weight,
        holds=holds,
        kept=jnp.moveaxis(jnp.asarray(table.kept)[nodes.band], 0, -1),
    )
    return resolved, measure_operators(conductor.operators, lifted, nodes.k)


_WEIGHTINGS = 3  # of the projectors, beside that of the self-energy


def _compare_rates(shell: FermiStates, scattering: PrecessingScattering) -> Float[Array, ""]:
    """Largest element of P 𝒲[X] P less its mean over P, of that mean for X = ρ̂, where X is ρ̂ or
    a sum of the projectors with other weights."""
    random = np.random.default_rng(20261130).uniform(size=(_WEIGHTINGS, shell.weight.size))
    p = scattering.vectors
    sums = jnp.concatenate([p[None], p * random[:, None]])
    inside = scattering.inside(scattering.average_disorder(sums))
    apart = inside - scattering.mean_of_bands(inside)[:, None] * p
    rate = scattering.mean_of_bands(inside[0])
    relative = jnp.max(jnp.abs(apart), axis=(0, 1)) / jnp.where(rate == 0, 1, rate)
    return jnp.max(jnp.where(shell.is_occupied, relative, 0))


def _average_energies(energies: Energies, responses: GroupEnergy) -> GroupLevel:
    """The average over the energies of one level."""
    first, second = energies.average(responses.orders)
    sea_error, _ = energies.average(responses.sea_error)
    rounding, _ = energies.average(responses.rounding)
    extreme = energies.find_extreme
    r, most, least = responses, partial(extreme, jnp.max), partial(extreme, jnp.min)
    worst = GroupEnergy(
        orders=most(jnp.abs(r.orders), 0),
        sea_error=most(r.sea_error, 0),
        rounding=most(r.rounding, 0),
        sea_fits=extreme(jnp.all, r.sea_fits, True),
        states=most(r.states, 0),
        is_complete=extreme(jnp.all, r.is_complete, True),
        is_scattered=extreme(jnp.all, r.is_scattered, True),
        is_split=extreme(jnp.any, r.is_split, False),
        unequal_rates=most(r.unequal_rates, 0),
        conserved=most(r.conserved, 1),
        conserved_part=most(r.conserved_part, 0),
        gap=least(r.gap, jnp.inf),
        level_width=most(r.level_width, 0),
        gap_over_width=least(r.gap_over_width, jnp.inf),
        smallest_splitting=least(r.smallest_splitting, jnp.inf),
        largest_splitting=most(r.largest_splitting, 0),
    )
    return GroupLevel(worst, first, second, sea_error, rounding)
