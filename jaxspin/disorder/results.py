"""Results of a disordered conductor: responses by mechanism, with axes, units and errors."""

import math
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxspin import units
from jaxspin.disorder.limits import Limit, describe_limit, find_limit
from jaxspin.disorder.operators import (
    Current,
    Density,
    MeasuredOperator,
    TorqueOn,
    component_shape,
    evaluate,
)
from jaxspin.disorder.scatterers import Disorder, FiniteRangeDisorder, commutes_with
from jaxspin.disorder.solution import MECHANISMS, Conductor, EnergyResponse, LevelResponse
from jaxspin.disorder.torque import SpinOrbitTorque, spin_orbit_torque
from jaxspin.engine.annotations import Numbers
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.tolerances import CONSERVED, UNSPLIT
from jaxspin.integration.levels import Levels
from jaxspin.models.base import Model
from jaxspin.responses.origin import Origin
from jaxspin.responses.response import Response
from jaxspin.responses.response_set import NamedResponses, ResponseSet

_SOURCE = "Burgos Atencia, Niu and Culcer, Phys. Rev. Research 4, 013001 (2022)"

#: Not included in any of these numbers.
NOT_INCLUDED = (
    "crossed diagrams (X and Ψ), of the same order as skew scattering for Gaussian disorder",
    "weak localisation",
    "corrections of order u0⁰ with the time-reversal signature of the Drude term",
)


class Contribution(ResponseSet):
    """Conductivity and spin density of one mechanism, or of their sum."""

    #: j_i = σ_ij E_j, axes (temperature?, mu, flow, field), e²/ħ Å^(2−d).
    conductivity: Response
    #: Pauli-normalised spin per volume, for eE = 1 eV/Å (force −eE), axes (temperature?, mu, spin,
    #: field).
    spin_density: Response

    @property
    def title(self) -> str:
        return "one mechanism of a disordered conductor"


class OperatorResponse(ResponseSet):
    """The response of one operator by mechanism, axes (temperature?, mu, flow?, field, label?).

    χ_Oj of ⟨O⟩ = χ_Oj E_j is of two parts. `drude`, even in the exchange of the two operators of
    the correlation function, is of leading order, 1/u0²; what the same sector has at order u0⁰
    depends on a cutoff and is not given. All others are odd and add up to `order_zero`, which is
    complete at order u0⁰ but for crossed diagrams. In a field M that breaks time reversal the odd
    part is ½[χ(M) + χ(−M)] for operators even under time reversal, such as the spin current, and
    ½[χ(M) − χ(−M)] for odd ones, such as current and spin.
    """

    #: Leading order, 1/u0².
    drude: Response
    intrinsic: Response
    extrinsic: Response
    side_jump: Response
    skew: Response
    third_cumulant: Response
    #: The sum of all but `drude`.
    order_zero: Response
    #: What the numbers do not contain.
    not_included: tuple[str, ...] = eqx.field(static=True, default=())

    @property
    def title(self) -> str:
        return "response of an operator in a disordered conductor, largest elements"

    @property
    def notes(self) -> tuple[str, ...]:
        return (
            "drude: leading order, 1/u0^2; order_zero: the sum of the others, complete at u0^0",
            *(f"without {text}" for text in self.not_included),
        )


class DisorderedResponse(ResponseSet):
    """The conductivity and the spin density of a disordered conductor, by mechanism."""

    #: Acceleration against scattering, ∝ 1/u0².
    drude: Contribution
    #: The Berry curvature of the Fermi sea.
    intrinsic: Contribution
    #: What the disorder mixes into the states that carry the Drude distribution (extrinsic
    #: velocity; for spins the same mixing of the spin).
    extrinsic: Contribution
    #: The distribution due to the work of the field during a collision.
    side_jump: Contribution
    #: Skew scattering of Gaussian disorder, non-crossing.
    skew: Contribution
    #: Skew scattering by the third cumulant of the disorder; 0 where that is 0.
    third_cumulant: Contribution
    #: The sum of all.
    total: Contribution
    #: The response of each operator of `measure=` by its name; None without.
    measured: NamedResponses | None
    #: Numbers met on the way, see docs/disorder.md.
    info: dict[str, Array]
    #: What the numbers do not contain.
    not_included: tuple[str, ...] = eqx.field(static=True, default=NOT_INCLUDED)

    #: The mechanisms, in the order in which they are added.
    MECHANISMS: ClassVar[tuple[str, ...]] = MECHANISMS

    def spin_orbit_torque(
        self, magnetization: Numbers, *, normal: Numbers = (0, 0, 1)
    ) -> SpinOrbitTorque:
        """The torque M x ⟨σ⟩ on the spins of the carriers, H = ... + M·σ; on M it is the opposite.

        Args:
            magnetization: the vector M of the model, an exchange energy, eV.
            normal: the direction ẑ of field-like torque m x (ẑ x E).
        Returns:
            `SpinOrbitTorque`: total, field-like and damping-like part.
        """
        return spin_orbit_torque(self.total.spin_density, magnetization, normal)

    @property
    def title(self) -> str:
        return "response of a disordered conductor, largest elements"

    @property
    def limit(self) -> Limit:
        """The limit in which bands that are close together were taken: "group", far below ħ/τ, or
        "separate", far above."""
        return find_limit(self.info)

    @property
    def notes(self) -> tuple[str, ...]:
        return (*describe_limit(self.info), *(f"without {text}" for text in self.not_included))


#: What every response has: conductivity and spin density.
ALWAYS_MEASURED = (Current(), Density())


class Place(NamedTuple):
    """An operator that a user measures, and where its components are among all."""

    operator: MeasuredOperator
    shape: tuple[int, ...]
    rows: slice


def place_always(model: Model) -> dict[str, Place]:
    """Where current and spin are among all operators."""
    d = model.dimension
    return {
        "conductivity": Place(ALWAYS_MEASURED[0], (d,), slice(d)),
        "spin_density": Place(ALWAYS_MEASURED[1], (3,), slice(d, d + 3)),
    }


def place_operators(measured: dict[str, MeasuredOperator], model: Model) -> dict[str, Place]:
    """Where each operator of a user is among all, behind current and spin."""
    places, first = {}, model.dimension + 3
    for name, operator in measured.items():
        shape = component_shape(operator, model)
        places[name] = Place(operator, shape, slice(first, first + math.prod(shape)))
        first += math.prod(shape)
    return places


_FORMULAS = {
    "drude": "Σ w Tr O f_D, J0 f_D = −eE·v P",
    "intrinsic": "Σ_k f_m W_m, W_m = −2 Im Σ_n ⟨m|O|n⟩⟨n|∂H|m⟩/(ε_m − ε_n)²",
    "extrinsic": "Σ w Tr O S = Σ w Tr γ[O] f_D",
    "side_jump": "Σ w Tr O f_sj, J0 f_sj = eE·β",
    "skew": "Σ w Tr O f_sk, J0 f_sk = −J_sk (non-crossing)",
    "third_cumulant": "Σ w Tr O f_3, J0 f_3 = −2π²i κ₃ P[ρ, N_D]P",
    "total": "the sum of all mechanisms",
    "order_zero": "the sum of all mechanisms but Drude",
}


class _Averages(NamedTuple):
    """The mechanisms of all operators at all levels, with their errors."""

    response: LevelResponse
    errors: dict[str, Float[Array, "e o d"]]
    levels: Levels
    origin: Origin


@evaluate_eagerly()
def assemble_result(
    response: LevelResponse,
    conductor: Conductor,
    levels: Levels,
    places: dict[str, Place],
    origin: Origin,
) -> DisorderedResponse:
    """The responses of every mechanism, from the numbers at the levels."""
    known = conductor.surface.companion() is not None
    response = _nan_if_refused(response, conductor)
    averages = _Averages(response, _estimate_errors(response, known), levels, origin)
    build = partial(_build_response, averages)
    always = place_always(conductor.model)
    contributions: dict[str, Any] = {
        name: Contribution(**{part: build(name, part, place) for part, place in always.items()})
        for name in (*MECHANISMS, "total")
    }
    measured: dict[str, Response | ResponseSet] = {
        name: OperatorResponse(
            **{part: build(part, name, place) for part in (*MECHANISMS, "order_zero")},
            not_included=describe_missing(place.operator, conductor.model, conductor.disorder),
        )
        for name, place in places.items()
    }
    named = NamedResponses(measured, heading="measured operators") if measured else None
    return DisorderedResponse(**contributions, measured=named, info=_collect_info(response))


def describe_missing(
    operator: MeasuredOperator, model: Model, disorder: Disorder
) -> tuple[str, ...]:
    """What the response of one operator does not contain."""
    symmetric = "corrections of order u0^0 in the sector of `drude`"
    missing = ("crossed diagrams (X and Ψ)", "weak localisation", symmetric)
    if isinstance(operator, TorqueOn):
        of = evaluate(Density(operator.of), model, jnp.zeros((model.dimension, 1)))
        if not commutes_with(disorder, of[..., 0]):
            return (*missing, "the torque on the impurities, <i[U, s]>")
    return missing


def _nan_if_refused(response: LevelResponse, conductor: Conductor) -> LevelResponse:
    """The same levels, NaN where `_check_result` raises: inside jit it cannot."""
    worst = response.worst
    refused = ~worst.sea_fits | worst.is_split | ~worst.is_scattered
    refused = refused | splits_groups(worst.unequal_rates) | is_not_solved(worst, conductor)
    not_defined = refused[:, None] | is_conserved(worst.conserved_part, worst.conserved)
    values = jnp.where(not_defined[:, None, :, None], jnp.nan, response.mechanisms)
    return eqx.tree_at(lambda a: a.mechanisms, response, values)


def is_conserved(part: Float[Array, "e o"], number: Int[Array, " e"]) -> Bool[Array, "e o"]:
    """Mask of the operators with a part that nothing relaxes, beside the charge.

    Args:
        part: overlap of each operator with what is conserved.
        number: how much is conserved, the charge included.
    """
    return (part > np.sqrt(CONSERVED.of(part))) & (number > 1)[:, None]


def check_conserved(conserved: Bool[Array, "e o"], places: dict[str, Place], model: Model) -> None:
    """No operator of the user's has a part that is conserved; warn of spins that have.

    Raises:
        ValueError: one has, naming it.
    """
    anywhere = np.any(np.asarray(conserved), axis=0)
    for name, place in places.items():
        if np.any(anywhere[place.rows]):
            raise ValueError(
                f"Argument `measure` must have operators that the disorder relaxes, but {name!r} "
                "has a part that model and disorder conserve, whose density in a field depends on "
                "a relaxation that the model does not have."
            )
    spins = anywhere[place_always(model)["spin_density"].rows]
    if np.any(spins):
        axes = " and ".join(axis for axis, is_so in zip("xyz", spins, strict=True) if is_so)
        warn_user(
            f"the spin density along {axes} is NaN, for model and disorder conserve a part of it "
            "and nothing relaxes it"
        )


def is_not_solved(worst: EnergyResponse, conductor: Conductor) -> Bool[Array, " e"]:
    """Mask of the levels where disorder of finite range conserves more than the charge, or meets
    groups of bands that were not expected, in a model that is not known."""
    if not isinstance(conductor.disorder, FiniteRangeDisorder):
        return jnp.zeros(worst.conserved.shape, bool)
    unexpected = (worst.group_size > 1) & (not conductor.has_groups)
    return (worst.conserved > 1) | unexpected


def splits_groups(unequal_rates: Float[Array, " e"]) -> Bool[Array, " e"]:
    """Mask of the levels where the disorder splits degenerate bands."""
    return unequal_rates > np.sqrt(UNSPLIT.of(unequal_rates))


def _select_mechanism(mechanisms: Float[Array, "e m o d"], name: str) -> Float[Array, "e o d"]:
    if name == "total":
        return jnp.sum(mechanisms, axis=1)
    if name == "order_zero":
        return jnp.sum(mechanisms[:, 1:], axis=1)
    return mechanisms[:, MECHANISMS.index(name)]


def _estimate_errors(response: LevelResponse, known: bool) -> dict[str, Float[Array, "e o d"]]:
    """Twice the difference of two rules, the sea's error, rounding; NaN without a second rule."""
    rounding = 64 * jnp.finfo(response.mechanisms.dtype).eps
    sizes = jnp.abs(response.mechanisms)
    summed = {"total": sizes.sum(axis=1), "order_zero": sizes[:, 1:].sum(axis=1)}
    errors = {}
    for name in (*MECHANISMS, *summed):
        both = (response.mechanisms, response.second_rule)
        values, others = (_select_mechanism(rule, name) for rule in both)
        error = 2 * jnp.abs(values - others) if known else jnp.full_like(values, jnp.nan)
        if name in ("intrinsic", *summed):
            error = error + response.sea_error
        errors[name] = error + rounding * summed.get(name, jnp.abs(values))
    return errors


def _build_response(averages: _Averages, mechanism: str, name: str, place: Place) -> Response:
    """One operator by one mechanism, with its axes, unit and texts."""
    value = _select_mechanism(averages.response.mechanisms, mechanism)
    return label_response(
        (value, averages.errors[mechanism]),
        place,
        levels=averages.levels,
        name=f"{name.replace('_', ' ')} ({mechanism.replace('_', ' ')})",
        formula=_FORMULAS[mechanism],
        origin=averages.origin,
    )


def label_response(
    numbers: tuple[Float[Array, "e o d"], Float[Array, "e o d"]],
    place: Place,
    *,
    levels: Levels,
    name: str,
    formula: str,
    origin: Origin,
) -> Response:
    """Values and errors of one operator among all, with its axes, unit and texts."""
    operator = place.operator
    axes = [axis.name for axis in operator.axes(place.shape)]
    value, error = (x[:, place.rows] for x in numbers)
    dimension = value.shape[-1]
    shape = (*levels.shape, *place.shape, dimension)
    at = len(levels.shape) + (1 if axes[:1] == ["flow"] else len(axes))
    unit = operator.unit(dimension)
    both = (value, _worst_component(error))
    scaled = (x.reshape(shape) * units.per_natural(unit) for x in both)
    value, error = (jnp.moveaxis(x, -1, at) for x in scaled)
    axes.insert(at - len(levels.shape), "field")
    return Response(
        value=value,
        error=error,
        levels=levels,
        info={},
        axes=(*levels.axes, *axes),
        units=cast(units.Unit, unit),
        name=name,
        symbol=operator.symbol,
        formula=f"{formula}, O = {operator.formula}",
        source=f"{_SOURCE}, corrected (docs/disorder.md)",
        origin=origin,
    )


def _worst_component(error: Float[Array, "*e o d"]) -> Float[Array, "*e o d"]:
    """The largest error of a level for all its components: one may agree by chance."""
    return jnp.broadcast_to(jnp.max(error, axis=(-2, -1), keepdims=True), error.shape)


def _collect_info(response: LevelResponse) -> dict[str, Array]:
    worst, d = response.worst, response.mechanisms.shape[-1]
    return {
        "gap": jnp.min(worst.gap),
        "level_width": jnp.max(worst.level_width),
        "gap_over_width": jnp.min(worst.gap_over_width),
        "slowest_relaxation": jnp.min(worst.slowest_relaxation),
        "charge_residual": jnp.max(worst.charge),
        "conserved": jnp.max(worst.conserved),
        "sea_error": jnp.max(response.sea_error[:, :d]),
        "sea_error_spin": jnp.max(response.sea_error[:, d : d + 3]),
        "states": jnp.max(worst.states),
        "group_size": jnp.max(worst.group_size),
        "levels_without_surface": jnp.sum(worst.states == 0),
        "left_out": jnp.max(response.left_out),
    }
