"""Fermi surfaces at the energies of thermal averages (`surfaces.averages`), and their findings."""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxspin.engine.programs import known_by_shape
from jaxspin.engine.segments import Portion
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.xla import map_in_batches
from jaxspin.integration.levels import Levels
from jaxspin.models.base import Model
from jaxspin.surfaces.averages import WINDOW, Energies, number_of_energies
from jaxspin.surfaces.base import Diagnostic, FermiSurface, FermiSurfaceRule, stop_gradients
from jaxspin.units import BOLTZMANN

# Share of −f' at energies that a rule cannot do: above it the level is refused, below it they are
# left out, with an error. For a band edge it is at 11.5 kT: 0.30 eV at 300 K.
_LEFT_OUT = 1e-5


def nodes_at(
    surface: FermiSurfaceRule, model: Model, energies: Energies
) -> tuple[Energies, FermiSurface, tuple[Diagnostic, ...]]:
    """The nodes at energies of shape (levels, e), and the findings that matter; these axes first.

    The energies come back without those that are left out.
    """
    nodes, findings = find_nodes(surface, model, energies)
    energies = leave_out(energies, is_refused(findings, energies))
    return energies, *judge_nodes(energies, nodes, findings)


def find_nodes(
    surface: FermiSurfaceRule, model: Model, energies: Energies
) -> tuple[FermiSurface, tuple[Diagnostic, ...]]:
    """The nodes at energies of shape (levels, e), and all findings; these axes first."""
    shape = energies.energies.shape
    found = find_at_points(surface, model, points_of_rules(energies))
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), found)


def points_of_rules(energies: Energies) -> tuple[Float[Array, " p"], Int[Array, " p"]]:
    """All energies of shape (levels, e), and the rule that each belongs to."""
    rules = jnp.tile(jnp.asarray(energies.rule_index), len(energies.energies))
    return energies.energies.ravel(), rules


def find_at_points(
    surface: FermiSurfaceRule, model: Model, points: tuple[Float[Array, " p"], Int[Array, " p"]]
) -> tuple[FermiSurface, tuple[Diagnostic, ...]]:
    """The nodes at energies, each by the rule or by its companion, and all findings."""
    find = lambda point: _select_rule(surface, point[1]).find(model, point[0])  # noqa: E731
    slots = jax.eval_shape(find, jax.tree.map(lambda x: x[0], points))[0].weight.size
    return map_in_batches(find, points, max(1, _NODES_IN_MEMORY // slots))


def is_refused(findings: tuple[Diagnostic, ...], energies: Energies) -> Bool[Array, "l e"]:
    """Mask of the energies at which anything was found."""
    shape = energies.energies.shape
    wrong = [jnp.any(finding.found.reshape(*shape, -1), axis=-1) for finding in findings]
    return jnp.any(jnp.stack(wrong), axis=0) if wrong else jnp.zeros(shape, bool)


def leave_out(energies: Energies, refused: Bool[Array, "l e"]) -> Energies:
    """The same energies without those that are refused, where the share of these is negligible."""
    rule = energies.rule_index
    of_rule = np.stack([rule == 0, rule == 1], axis=1).astype(float)
    refused = jnp.broadcast_to(_insert_axes(refused, energies), energies.shares.shape)
    share = stop_gradients(jnp.where(refused, energies.shares, 0)) @ of_rule
    left_out = jnp.where(share <= _LEFT_OUT, share, 0)
    shares = jnp.where(refused & (left_out > 0)[..., rule], 0, energies.shares)
    kept = (shares @ of_rule) / (energies.shares @ of_rule)
    return eqx.tree_at(
        lambda e: (e.shares, e.left_out), energies, (shares / kept[..., rule], left_out)
    )


def _insert_axes(refused: Bool[Array, "g e"], energies: Energies) -> Bool[Array, "g ... e"]:
    """The same mask, with an axis for the levels where they share energies."""
    more = energies.shares.ndim - refused.ndim
    return refused.reshape(len(refused), *(1,) * more, -1)


def _of_any_level(matters: Bool[Array, "g ... e"]) -> Bool[Array, "g e"]:
    """Mask of what matters to one level at least."""
    return jnp.any(matters.reshape(len(matters), -1, matters.shape[-1]), axis=1)


def judge_nodes(
    energies: Energies, nodes: FermiSurface, findings: tuple[Diagnostic, ...]
) -> tuple[FermiSurface, tuple[Diagnostic, ...]]:
    """Nodes with weights NaN where something was found that matters, and 0 where it does not, and
    the findings that matter: inside jit that is all one can do."""
    wrong = is_refused(findings, energies)
    spoilt = jnp.where(_of_any_level(energies.has_share), jnp.nan, 0)
    weight = jnp.where(wrong[..., None], spoilt[..., None], nodes.weight)
    matters = _of_any_level(energies.counts_in_first)
    relevant = tuple(_restrict_finding(finding, matters) for finding in findings)
    return FermiSurface(nodes.k, nodes.band, weight), relevant


_NODES_IN_MEMORY = 4000  # each with some hundred matrices, of its ray and of its root


def _restrict_finding(finding: Diagnostic, matters: Bool[Array, "l e"]) -> Diagnostic:
    """Return a finding at all energies where it matters."""
    matters = matters.reshape(*matters.shape, *(1,) * (finding.found.ndim - matters.ndim))
    return eqx.tree_at(lambda f: f.found, finding, finding.found & matters)


def move_axes_last(findings: tuple[Diagnostic, ...], axes: int) -> tuple[Diagnostic, ...]:
    """Findings with their first axes, those of levels and energies, last."""
    first = range(axes)
    return jax.tree.map(lambda x: jnp.moveaxis(x, first, [i - axes for i in first]), findings)


@known_by_shape
def count_slots(surface: FermiSurfaceRule, model: Model) -> int:
    """Number of nodes that a rule has room for on each surface of a model."""
    mu = jax.ShapeDtypeStruct((), jnp.result_type(float))
    find = lambda mu: surface.find(model.prepared(), mu)[0].weight  # noqa: E731
    return jax.eval_shape(find, mu).size


def drop_empty_slots(surfaces: FermiSurface) -> FermiSurface:
    """The same surfaces, their axis first, without slots that no surface needs.

    The nodes of each come first, in their order. Where weights are traced it is not known how many
    there are, and all slots stay. One in `_SIZES` of the slots is the unit, so that there are no
    more compiled programs than that.
    """
    if is_traced(surfaces):
        return surfaces
    used = np.asarray(surfaces.weight) != 0
    room = used.shape[-1]
    unit = -(-room // _SIZES)
    number = min(room, unit * max(1, -(-int(used.sum(axis=-1).max()) // unit)))
    chosen = np.argsort(~used, axis=-1, kind="stable")[:, :number]
    slots = jnp.asarray(chosen)
    take = partial(jnp.take_along_axis, axis=-1)
    return FermiSurface(
        take(surfaces.k, slots[:, None]), take(surfaces.band, slots), take(surfaces.weight, slots)
    )


_SIZES = 16


def portion_of_levels(
    surface: FermiSurfaceRule, model: Model, thermal: Float[Array, ""] | None, nodes: int
) -> Portion:
    """As many levels as have so many nodes at all of their energies."""
    return Portion(max(1, nodes // (number_of_energies(thermal) * count_slots(surface, model))))


def _select_rule(surface: FermiSurfaceRule, number) -> FermiSurfaceRule:
    """The rule, or with the number 1 its companion, which has the same shapes: one program."""
    arrays, rest = eqx.partition(surface, eqx.is_array)
    other = eqx.filter(surface.companion() or surface, eqx.is_array)
    return eqx.combine(jax.tree.map(lambda a, b: jnp.where(number == 0, a, b), arrays, other), rest)


class ThermalLevels(NamedTuple):
    """Fermi energies at one temperature."""

    #: eV.
    mu: Float[Array, " e"]
    #: kT, eV; None at T = 0, where no average is taken.
    thermal: Float[Array, ""] | None


#: Diagnostics of the surfaces of each temperature.
Findings = tuple[tuple[Diagnostic, ...], ...]


def thermal_energies(levels: Levels) -> list[Array | None]:
    """kT of each temperature; one that is being traced is positive."""
    known = not is_traced(levels.temperature)
    return [
        None if known and temperature == 0 else BOLTZMANN * jnp.asarray(temperature)
        for temperature in levels.temperatures
    ]


def refuse_findings(findings: Findings, levels: Levels) -> None:
    """Raise where a surface is one that the rule cannot do, with the temperature that needs it.

    Raises:
        ValueError: naming the band and the k.
    """
    for temperature, every in zip(levels.temperatures, findings, strict=True):
        for finding in every:
            finding.refuse_if_found(window_of(temperature))


def window_of(temperature) -> str:
    """Return a sentence on why Fermi surfaces away from mu were looked at."""
    if not np.any(np.asarray(temperature) > 0):
        return ""
    reach = WINDOW * BOLTZMANN * float(temperature)
    return (
        f" The average over energies at {float(temperature):.4g} K reaches {reach:.3g} eV to "
        "either side of mu, or of the next band, and more than "
        f"{_LEFT_OUT:g} of it is where the rule cannot do the surface."
    )
