"""Response of a group of bands whose splittings are comparable with their level width."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin.disorder.limits import Limit, describe_pairs
from jaxspin.disorder.operators import as_operators
from jaxspin.disorder.quasi_solution import (
    GroupConductor,
    GroupEnergy,
    GroupLevel,
    solve_group_levels,
)
from jaxspin.disorder.response import check_conductor
from jaxspin.disorder.results import (
    ALWAYS_MEASURED,
    Place,
    check_conserved,
    describe_missing,
    is_conserved,
    label_response,
    place_always,
    place_operators,
)
from jaxspin.disorder.scatterers import (
    Disorder,
    MatrixDisorder,
    ScalarDisorder,
)
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.tolerances import UNSPLIT
from jaxspin.engine.validate import check_type, is_finite, is_integer
from jaxspin.integration.levels import Levels
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model, number_of_bands
from jaxspin.responses.origin import Origin, record_origin
from jaxspin.responses.response import Response
from jaxspin.responses.response_set import NamedResponses, ResponseSet
from jaxspin.surfaces import FermiSurfaceRule
from jaxspin.surfaces.thermal import Findings, refuse_findings


class TwoOrders(ResponseSet):
    """The response of one operator in the two orders that are known, axes as in its parts.

    As of an `OperatorResponse`, but the mechanisms of `order_zero` cannot be told apart.
    """

    #: Leading order, 1/u0².
    drude: Response
    #: Complete at order u0⁰ but for crossed diagrams, odd in the exchange of the operators.
    order_zero: Response
    #: What the numbers do not contain.
    not_included: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def title(self) -> str:
        return "response of an operator in a group of quasi-degenerate bands, largest elements"

    @property
    def notes(self) -> tuple[str, ...]:
        return (
            "drude: leading order, 1/u0^2; order_zero: complete at u0^0",
            *(f"without {text}" for text in self.not_included),
        )


class QuasiDegenerateResponse(ResponseSet):
    """Responses of a disordered conductor with a group of quasi-degenerate bands."""

    #: j_i = σ_ij E_j, axes (temperature?, mu, flow, field), e²/ħ Å^(2−d).
    conductivity: TwoOrders
    #: Pauli-normalised spin per volume, for eE = 1 eV/Å, axes (temperature?, mu, spin, field).
    spin_density: TwoOrders
    #: The response of each operator of `measure=` by its name; None without.
    measured: NamedResponses | None
    #: Numbers met on the way, see docs/disorder.md.
    info: dict[str, Array]

    #: The limit in which bands that are close together were taken.
    limit: ClassVar[Limit] = "pairwise"

    @property
    def title(self) -> str:
        return "response of a group of quasi-degenerate bands, largest elements"

    @property
    def notes(self) -> tuple[str, ...]:
        return describe_pairs(self.info)


def quasi_degenerate_response(
    model: Model,
    surface: FermiSurfaceRule,
    levels: Levels,
    disorder: Disorder,
    *,
    bands: Sequence[int],
    measure: Mapping[str, Any] | None = None,
) -> QuasiDegenerateResponse:
    """Conductivity, spin density and other operators where splittings are comparable with ħ/τ.

    `disordered_response` takes two bands as degenerate or as far apart, Δ ≪ ħ/τ or Δ ≫ ħ/τ. Here a
    group of neighbouring bands may have any splittings Δ, if these are small against the distance
    to other bands and against the Fermi energy; corrections are of that order. The spins of a group
    precess, {γ, f} + i[h, f] − 2π P 𝒲[N̂] P = −∂H with h = P (H − ε̄) P, solved for each pair of
    bands at (ε_i + ε_j)/2 = mu. That gives `drude` of order 1/u0² and, with the first order at the
    mean energy and the sea, `order_zero`, complete but for crossed diagrams, whose mechanisms are
    not separate (docs/disorder.md).

    Args:
        surface, levels, measure: as of `disordered_response`.
        disorder: `ScalarDisorder` or `MatrixDisorder`, with the symmetry that makes the bands
            degenerate where they are not split.
        bands: the indices of the group, neighbours, 0 the lowest: `bands=(2, 3)`.
    Raises:
        ValueError: bad input; bands beside the group that are degenerate; disorder that splits the
            group; a group of which only a part is at the Fermi energy; a state that is not
            scattered; an operator of `measure` with a part that is conserved; a lattice without any
            plane that the Fermi surface does not cross. NaN inside jit, grad and vmap.

    >>> import jaxspin as js
    >>> model = js.models.Rashba(kinetic=4.0, velocity=0.001, exchange=0.002)
    >>> disorder = js.ScalarDisorder(0.01)
    >>> found = js.disorder.quasi_degenerate_response(
    ...     model, js.FermiContour(16), js.Levels(0.2), disorder, bands=(0, 1)
    ... )
    >>> found.conductivity.order_zero.units
    'e^2/hbar'
    """
    group = _check_bands(bands, model)
    _check_input(GroupConductor(model, surface, disorder, ALWAYS_MEASURED, *group), levels)
    measured = as_operators(measure, model)
    operators = (*ALWAYS_MEASURED, *measured.values())
    conductor = GroupConductor(model, surface, disorder, operators, *group)
    response, findings = solve_group_levels(conductor, levels)
    places = place_operators(measured, model)
    _check_result(response, findings, levels, conductor, places)
    origin = _record_input(conductor, levels, measured)
    return _assemble_result(response, conductor, levels, places, origin)


def _record_input(conductor: GroupConductor, levels: Levels, measured: dict[str, Any]) -> Origin:
    about = {"model": conductor.model, "surface": conductor.surface, "levels": levels}
    bands = tuple(range(conductor.first, conductor.first + conductor.size))
    named = {"measure": measured} if measured else {}
    return record_origin(**about, disorder=conductor.disorder, bands=bands, **named)


# --- results --------------------------------------------------------------------------------------

_FORMULAS = {
    "drude": "Σ w Tr O f, {γ, f} + i[h, f] − 2π P𝒲[N]P = −eE·v",
    "order_zero": "the part of order u0⁰ that is odd in the exchange of O and v",
}


@evaluate_eagerly()
def _assemble_result(
    response: GroupLevel,
    conductor: GroupConductor,
    levels: Levels,
    places: dict[str, Place],
    origin: Origin,
) -> QuasiDegenerateResponse:
    values = _nan_if_refused(response)
    errors = _estimate_errors(response, values, conductor.surface.companion() is not None)

    def build(name: str, place: Place) -> TwoOrders:
        parts: dict[str, Any] = {
            order: label_response(
                (values[:, i], errors[:, i]),
                place,
                levels=levels,
                name=f"{name.replace('_', ' ')} ({order.replace('_', ' ')})",
                formula=formula,
                origin=origin,
            )
            for i, (order, formula) in enumerate(_FORMULAS.items())
        }
        missing = describe_missing(place.operator, conductor.model, conductor.disorder)
        return TwoOrders(**parts, not_included=missing)

    always: dict[str, Any] = {
        name: build(name, place) for name, place in place_always(conductor.model).items()
    }
    measured: dict[str, Response | ResponseSet] = {
        name: build(name, place) for name, place in places.items()
    }
    named = NamedResponses(measured, heading="measured operators") if measured else None
    return QuasiDegenerateResponse(**always, measured=named, info=_collect_info(response))


def _nan_if_refused(response: GroupLevel) -> Float[Array, "e 2 o d"]:
    """Both orders, NaN at the levels where `_check_result` raises: inside jit it cannot."""
    worst = response.worst
    refused = ~worst.sea_fits | worst.is_split | ~worst.is_scattered | ~worst.is_complete
    conserved = is_conserved(worst.conserved_part, worst.conserved)
    not_defined = (refused | _splits_group(worst))[:, None] | conserved
    return jnp.where(not_defined[:, None, :, None], jnp.nan, response.orders)


def _splits_group(worst: GroupEnergy) -> Bool[Array, " e"]:
    """Mask of the levels where the disorder splits the group more than H could make it.

    Splittings turn the states of the group by Δ/(distance to other bands), and the rates with them.
    """
    turned = worst.largest_splitting / jnp.where(worst.gap == 0, 1, worst.gap)
    return worst.unequal_rates > np.sqrt(UNSPLIT.of(turned)) + _TURNED * turned


# 0.2 was found with exchange fields in the four-band model of tests/disorder/disorder_table.py.
_TURNED = 5.0


def _estimate_errors(
    response: GroupLevel, values: Float[Array, "e 2 o d"], known: bool
) -> Float[Array, "e 2 o d"]:
    """Twice the difference of two rules, the sea's error, rounding; NaN without a second rule."""
    change = jnp.abs(values - response.second_rule)
    error = 2 * change if known else jnp.full_like(values, jnp.nan)
    error = error.at[:, 1].add(response.sea_error)
    return error + response.rounding[:, None, None, None]


def _collect_info(response: GroupLevel) -> dict[str, Array]:
    worst = response.worst
    width = jnp.where(worst.level_width == 0, 1, worst.level_width)
    return {
        "smallest_splitting_over_width": jnp.min(worst.smallest_splitting / width),
        "largest_splitting_over_width": jnp.max(worst.largest_splitting / width),
        "splitting_over_gap": jnp.max(worst.largest_splitting / worst.gap),
        "gap": jnp.min(worst.gap),
        "level_width": jnp.max(worst.level_width),
        "gap_over_width": jnp.min(worst.gap_over_width),
        "unequal_rates": jnp.max(worst.unequal_rates),
        "conserved": jnp.max(worst.conserved),
        "sea_error": jnp.max(response.sea_error),
        "states": jnp.max(worst.states),
        "levels_without_surface": jnp.sum(worst.states == 0),
    }


# --- checks ---------------------------------------------------------------------------------------


def _check_bands(bands: Any, model: Model) -> tuple[int, int]:
    """The lowest band of the group, and their number.

    Raises:
        ValueError: no two or more neighbouring bands of the model.
    """
    model_checks.check_model(model)
    n = number_of_bands(model)
    found = list(bands) if isinstance(bands, Sequence | np.ndarray) else [bands]
    if len(found) < 2 or not all(map(is_integer, found)):
        raise ValueError(
            "Argument `bands` must be the indices of two or more neighbouring bands, such as "
            f"(0, 1), but is {bands!r}."
        )
    first, last = int(found[0]), int(found[-1])
    if [int(b) for b in found] != list(range(first, last + 1)) or first < 0 or last >= n:
        raise ValueError(
            f"Argument `bands` must be neighbouring bands from 0 to {n - 1}, in ascending order, "
            f"but is {bands!r}."
        )
    return first, len(found)


@evaluate_eagerly()
def _check_input(conductor: GroupConductor, levels: Levels) -> None:
    kinds = (ScalarDisorder, MatrixDisorder)
    check_type("disorder", conductor.disorder, kinds, "ScalarDisorder or MatrixDisorder")
    check_conductor(conductor.model, conductor.surface, levels, conductor.disorder)


@evaluate_eagerly()
def _check_result(
    response: GroupLevel,
    findings: Findings,
    levels: Levels,
    conductor: GroupConductor,
    places: dict[str, Place],
) -> None:
    """Refuse, and warn of, what only the calculation can know."""
    if is_traced(response, findings):
        return
    refuse_findings(findings, levels)
    worst, mu = response.worst, np.tile(levels.mu, levels.temperatures.size)
    _refuse_where(
        ~np.asarray(worst.is_complete),
        mu,
        "Argument `bands` must be a group all of whose bands have a Fermi surface at each level, "
        "but some have none",
    )
    _refuse_where(
        np.asarray(worst.is_split),
        mu,
        "Argument `bands` must hold all bands that are degenerate at the Fermi energy, but others "
        "are",
    )
    _refuse_where(
        ~np.asarray(worst.sea_fits),
        mu,
        "Argument `levels` must have every mu where a plane u_i = constant of the Brillouin zone "
        "is not crossed by the Fermi surface of a band, but it crosses all of them",
    )
    _refuse_where(
        ~np.asarray(worst.is_scattered),
        mu,
        "Argument `disorder` must scatter every state at the Fermi energy, but leaves some without "
        "any rate",
    )
    _refuse_where(
        np.asarray(_splits_group(worst)),
        mu,
        "Argument `disorder` must have the symmetry that makes the bands of the group degenerate "
        "(inversion times time reversal for Kramers pairs, rotations of the spin without "
        "spin-orbit coupling), but its self-energy splits them, by "
        f"{np.max(worst.unequal_rates):.2g} of the level width",
    )
    if not is_finite(response.orders):
        raise ValueError("Argument `disorder` must give a finite response, but does not.")
    conserved = is_conserved(worst.conserved_part, worst.conserved)
    check_conserved(conserved, places, conductor.model)
    _warn_of_doubts(response)


def _refuse_where(wrong: Bool[np.ndarray, " e"], mu, text: str) -> None:
    """Raise ValueError if something is wrong at any mu, naming the first."""
    if np.any(wrong):
        raise ValueError(f"{text}, at mu = {mu[np.argmax(wrong)]:.6g} eV.")


def _warn_of_doubts(response: GroupLevel) -> None:
    worst = response.worst
    if np.any(np.asarray(worst.states) == 0):
        warn_user("no Fermi surface at some levels: there the response is that of the sea alone")
    share = np.max(np.asarray(worst.largest_splitting / worst.gap))
    if share > _LARGE:
        warn_user(
            f"the splittings of the group are up to {share:.2g} of the distance to other bands: "
            "the response is uncertain by about that part of itself"
        )
    if np.min(worst.gap_over_width) < 3:
        warn_user(
            "bands beside the group are as close as "
            f"{np.min(worst.gap_over_width):.2g} level widths: `bands` should hold them"
        )


_LARGE = 0.2
