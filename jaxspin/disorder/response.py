"""Response of a disordered conductor to an electric field, by mechanism."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin import units
from jaxspin.disorder.fermi_states import check_groups
from jaxspin.disorder.groups import check_covariance, has_groups
from jaxspin.disorder.operators import (
    Current,
    Density,
    MeasuredOperator,
    TorqueOn,
    as_operators,
    component_shape,
    evaluate,
)
from jaxspin.disorder.scatterers import (
    Disorder,
    FiniteRangeDisorder,
    check_disorder,
    commutes_with,
)
from jaxspin.disorder.solution import (
    MECHANISMS,
    Conductor,
    EnergyResponse,
    LevelResponse,
    solve_levels,
)
from jaxspin.disorder.torque import SpinOrbitTorque, spin_orbit_torque
from jaxspin.engine.annotations import Numbers
from jaxspin.engine.checkpoint import CheckpointLike
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.tolerances import CONSERVED, UNSPLIT, ZERO_BY_SYMMETRY
from jaxspin.engine.validate import is_finite
from jaxspin.integration import checks
from jaxspin.integration.levels import Levels
from jaxspin.integration.problem import Run
from jaxspin.meshes.mesh import Mesh, check_product
from jaxspin.meshes.point_set import PointSet
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model
from jaxspin.responses.origin import Origin, record_origin
from jaxspin.responses.response import Response
from jaxspin.responses.response_set import NamedResponses, ResponseSet
from jaxspin.surfaces import FermiSurfaceRule
from jaxspin.surfaces.base import check_surface
from jaxspin.surfaces.thermal import (
    Findings,
    refuse_findings,
)
from jaxspin.symmetry.symmetric import Symmetric

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
    def notes(self) -> tuple[str, ...]:
        return tuple(f"without {text}" for text in self.not_included)


def disordered_response(
    model: Model,
    surface: FermiSurfaceRule,
    levels: Levels,
    disorder: Disorder,
    *,
    measure: Mapping[str, Any] | None = None,
    sea: Mesh | Symmetric | None = None,
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> DisorderedResponse:
    """Conductivity and spin density of a disordered conductor, with every mechanism by itself.

        ⟨O⟩ = Σ_a w_a Tr O (f_D + f_sj + f_sk + f_3 + S)_a + Σ_k Σ_m f_m W_m,  O = −v, σ, ...
        J0 f_D = −eE·v P,  J0 f_sj = eE·β,  J0 f_sk = −J_sk,  J0 f_3 = −2π²i κ₃ P[ρ̂, N̂]P

    Drude, side jump, non-crossing skew scattering, third cumulant; extrinsic velocity; intrinsic,
    to the leading orders in the disorder. f is a number n_a for each state, and a matrix in a group
    of degenerate bands such as a Kramers pair. Without a Fermi surface the response is that of the
    sea. Burgos Atencia, Niu and Culcer, Phys. Rev. Research 4, 013001 (2022), corrected, and for
    groups and any O by docs/disorder.md, with symbols, limits and `info`.

    Args:
        surface: puts nodes on the Fermi surface: `FermiContour`, `FlowContour`, ...
        levels: Fermi energies and temperatures; σ(T) = ∫(−f')σ(ε) dε for elastic scattering.
        disorder: `ScalarDisorder`, `MatrixDisorder` or `FiniteRangeDisorder`.
        measure: other operators by name: "spin_current", "torque", "current", the name of an
            operator of the model, one of `disorder.CurrentOf`, `TorqueOn`, `Density`, or a
            function of k that gives a Hermitian matrix (n, n), or three of them.
        sea: the mesh on which *filled* bands are integrated, whose radial nodes also serve on the
            rays to the Fermi surface; the whole one of a `Symmetric` mesh and of a `PointSet`. None
            takes a `Grid` of 64² or 24³, or a `Plane` or `Space` that is scaled by the model.
        progress, checkpoint: as in `anomalous_hall`.
    Returns:
        `DisorderedResponse`: for each mechanism a conductivity (temperature?, mu, flow, field) in
        e²/ħ Å^(2−d), and a spin density (temperature?, mu, spin, field) in ħ/2 Å^(1−d)/V. In
        `measured` an `OperatorResponse` for each operator of `measure`. NaN is the density of a
        spin that nothing relaxes.
    Raises:
        ValueError: bad input; bands that touch on the Fermi surface; disorder that splits
            degenerate bands; a state that is not scattered; an operator of `measure` with a part
            that is conserved; anything conserved but the charge with disorder of finite range; a
            lattice without any plane that the Fermi surface does not cross, or a `sea` that ends
            inside of it. NaN inside jit, grad and vmap.

    >>> import jaxspin as js
    >>> model = js.models.MassiveDirac(velocity=1.0, mass=0.3)
    >>> disorder = js.ScalarDisorder(0.01)
    >>> response = js.disordered_response(model, js.FermiContour(16), js.Levels(1.0), disorder)
    >>> hall = response.skew.conductivity.component(flow="y", field="x")
    >>> round(float(hall.value[0]), 11)
    0.03677121568
    """
    conductor = Conductor(model, surface, disorder, _find_whole_mesh(sea), ALWAYS_MEASURED, False)
    _check_input(conductor, levels)
    measured = as_operators(measure, model)
    operators = (*ALWAYS_MEASURED, *measured.values())
    conductor = replace(conductor, operators=operators, has_groups=has_groups(model))
    response, findings = solve_levels(conductor, levels, Run.of(progress, checkpoint))
    places = _place_operators(measured, model)
    _check_result(response, findings, levels, conductor, places)
    about = {"model": model, "surface": surface, "levels": levels, "disorder": disorder}
    origin = record_origin(**about, sea=sea, **({"measure": measured} if measured else {}))
    return _assemble_result(response, conductor, levels, places, origin)


#: What every response has: conductivity and spin density.
ALWAYS_MEASURED = (Current(), Density())


class _Place(NamedTuple):
    """An operator that a user measures, and where its components are among all."""

    operator: MeasuredOperator
    shape: tuple[int, ...]
    rows: slice


def _place_operators(measured: dict[str, MeasuredOperator], model: Model) -> dict[str, _Place]:
    places, first = {}, model.dimension + 3
    for name, operator in measured.items():
        shape = component_shape(operator, model)
        places[name] = _Place(operator, shape, slice(first, first + math.prod(shape)))
        first += math.prod(shape)
    return places


# --- results --------------------------------------------------------------------------------------

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


@evaluate_eagerly()
def _assemble_result(
    response: LevelResponse,
    conductor: Conductor,
    levels: Levels,
    places: dict[str, _Place],
    origin: Origin,
) -> DisorderedResponse:
    known = conductor.surface.companion() is not None
    response = _nan_if_refused(response, conductor)
    build = partial(_build_response, response, _estimate_errors(response, known), levels, origin)
    d = conductor.model.dimension
    always = {
        "conductivity": _Place(ALWAYS_MEASURED[0], (d,), slice(d)),
        "spin_density": _Place(ALWAYS_MEASURED[1], (3,), slice(d, d + 3)),
    }
    contributions: dict[str, Any] = {
        name: Contribution(**{part: build(name, part, place) for part, place in always.items()})
        for name in (*MECHANISMS, "total")
    }
    measured: dict[str, Response | ResponseSet] = {
        name: OperatorResponse(
            **{part: build(part, name, place) for part in (*MECHANISMS, "order_zero")},
            not_included=_describe_missing(place.operator, conductor),
        )
        for name, place in places.items()
    }
    named = NamedResponses(measured, heading="measured operators") if measured else None
    return DisorderedResponse(**contributions, measured=named, info=_collect_info(response))


def _describe_missing(operator: MeasuredOperator, conductor: Conductor) -> tuple[str, ...]:
    """What the response of one operator does not contain."""
    symmetric = "corrections of order u0^0 in the sector of `drude`"
    missing = ("crossed diagrams (X and Ψ)", "weak localisation", symmetric)
    if isinstance(operator, TorqueOn):
        of = evaluate(
            Density(operator.of), conductor.model, jnp.zeros((conductor.model.dimension, 1))
        )
        if not commutes_with(conductor.disorder, of[..., 0]):
            return (*missing, "the torque on the impurities, <i[U, s]>")
    return missing


def _nan_if_refused(response: LevelResponse, conductor: Conductor) -> LevelResponse:
    """The same levels, NaN where `_check_result` raises: inside jit it cannot."""
    worst = response.worst
    refused = ~worst.sea_fits | worst.is_split | ~worst.is_scattered
    refused = refused | _splits_groups(worst.unequal_rates) | _is_not_solved(worst, conductor)
    not_defined = refused[:, None] | _is_conserved(worst)
    values = jnp.where(not_defined[:, None, :, None], jnp.nan, response.mechanisms)
    return eqx.tree_at(lambda a: a.mechanisms, response, values)


def _is_conserved(worst: EnergyResponse) -> Bool[Array, "e o"]:
    """Mask of the operators with a part that nothing relaxes, beside the charge."""
    conserved = worst.conserved_part > np.sqrt(CONSERVED.of(worst.conserved_part))
    return conserved & (worst.conserved > 1)[:, None]


def _is_not_solved(worst: EnergyResponse, conductor: Conductor) -> Bool[Array, " e"]:
    """Mask of the levels where disorder of finite range conserves more than the charge, or meets
    groups of bands that were not expected, in a model that is not known."""
    if not isinstance(conductor.disorder, FiniteRangeDisorder):
        return jnp.zeros(worst.conserved.shape, bool)
    unexpected = (worst.group_size > 1) & (not conductor.has_groups)
    return (worst.conserved > 1) | unexpected


def _splits_groups(unequal_rates: Float[Array, " e"]) -> Bool[Array, " e"]:
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


def _build_response(
    response: LevelResponse,
    errors: dict[str, Float[Array, "e o d"]],
    levels: Levels,
    origin: Origin,
    mechanism: str,
    name: str,
    place: _Place,
) -> Response:
    """One operator by one mechanism, with its axes, unit and texts."""
    operator = place.operator
    axes = [axis.name for axis in operator.axes(place.shape)]
    value, error = _select_mechanism(response.mechanisms, mechanism), errors[mechanism]
    dimension = value.shape[-1]
    value, error = value[:, place.rows], _worst_component(error[:, place.rows])
    shape = (*levels.shape, *place.shape, dimension)
    at = len(levels.shape) + (1 if axes[:1] == ["flow"] else len(axes))
    value, error = (jnp.moveaxis(x.reshape(shape), -1, at) for x in (value, error))
    axes.insert(at - len(levels.shape), "field")
    return Response(
        value=value,
        error=error,
        levels=levels,
        info={},
        axes=(*levels.axes, *axes),
        units=cast(units.Unit, operator.unit(dimension)),
        name=f"{name.replace('_', ' ')} ({mechanism.replace('_', ' ')})",
        symbol=operator.symbol,
        formula=f"{_FORMULAS[mechanism]}, O = {operator.formula}",
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
        "levels_without_surface": jnp.sum(worst.states == 0),
    }


# --- checks ---------------------------------------------------------------------------------------


def _find_whole_mesh(sea: Mesh | Symmetric | None) -> Mesh | None:
    """The mesh that the points of a sea are the irreducible ones of.

    Which plane of a lattice the Fermi surface does not cross is seen on all points of the plane.
    """
    whole = sea.mesh if isinstance(sea, Symmetric) else sea
    if isinstance(whole, PointSet):
        if whole.grid is None:
            raise ValueError(
                "Argument `sea` must say of which grid its points are, but is a PointSet without: "
                "give PointSet(..., grid=Grid(...)), or a Grid."
            )
        return whole.grid
    return cast(Mesh | None, whole)


@evaluate_eagerly()
def _check_input(conductor: Conductor, levels: Levels) -> None:
    model, sea = conductor.model, conductor.sea
    model_checks.check_model(model)
    model_checks.check_dimension(model, (2, 3))
    model_checks.check_spin(model)
    model_checks.check_complete(model, "response of a disordered conductor")
    check_surface(conductor.surface)
    conductor.surface.check(model)
    checks.check_levels(levels)
    check_disorder(conductor.disorder, model)
    check_covariance(conductor.disorder, model)
    if sea is not None:
        check_product("sea", sea)
        checks.check_mesh(model, sea)
        if min(sea.shape) < 2:
            raise ValueError(
                "Argument `sea` must have at least two nodes along each axis, for an estimate of "
                f"its error, but has shape {sea.shape}."
            )


@evaluate_eagerly()  # known inside the user's jit of other things
def _check_result(
    response: LevelResponse,
    findings: Findings,
    levels: Levels,
    conductor: Conductor,
    places: dict[str, _Place],
) -> None:
    """Refuse, and warn of, what only the calculation can know."""
    if is_traced(response, findings):
        return
    refuse_findings(findings, levels)
    worst, mu = response.worst, np.tile(levels.mu, levels.temperatures.size)
    check_groups(np.asarray(worst.is_split), mu)
    _check_sea(np.asarray(worst.sea_fits), mu, conductor)
    if not (is_finite(response.mechanisms[:, 0]) and np.all(worst.is_scattered)):
        raise ValueError(
            "Argument `disorder` must scatter every state at the Fermi energy, but leaves some "
            "without any rate, and the conductivity is infinite."
        )
    if np.any(_splits_groups(worst.unequal_rates)):
        raise ValueError(
            "Argument `disorder` must scatter degenerate bands alike, but the rates of a group at "
            f"the Fermi energy differ by {np.max(worst.unequal_rates):.2g} of themselves."
        )
    if np.any(_is_not_solved(worst, conductor)):
        raise ValueError(
            "Argument `disorder` must relax everything but the charge if it has a finite range, "
            "but something else is conserved, such as the spin or the number of electrons of one "
            "band. Disorder without range may conserve it."
        )
    _check_conserved(np.any(np.asarray(_is_conserved(worst)), axis=0), conductor, places)
    _warn_of_doubts(response, mu)


def _check_conserved(conserved: Any, conductor: Conductor, places: dict[str, _Place]):
    """No operator of the user's has a part that is conserved; warn of spins that are."""
    for name, place in places.items():
        if np.any(conserved[place.rows]):
            raise ValueError(
                f"Argument `measure` must have operators that the disorder relaxes, but {name!r} "
                "has a part that model and disorder conserve, whose density in a field depends on "
                "a relaxation that the model does not have."
            )
    d = conductor.model.dimension
    spins = [axis for axis, is_so in zip("xyz", conserved[d : d + 3], strict=True) if is_so]
    if spins:
        warn_user(
            f"the spin density along {' and '.join(spins)} is NaN, for model and disorder conserve "
            "a part of it and nothing relaxes it"
        )


def _check_sea(fits: Bool[np.ndarray, " e"], mu, conductor: Conductor) -> None:
    """The mesh of the sea has room for the Fermi surface at each mu."""
    if np.all(fits):
        return
    worst = mu[np.argmin(fits)]
    if conductor.model.lattice is None:
        raise ValueError(
            "Argument `sea` must reach beyond the Fermi surface, but at mu = "
            f"{worst:.6g} eV does not. Use a larger `scale` or `cutoff`, or more radii."
        )
    raise ValueError(
        "Argument `levels` must have every mu where a plane u_i = constant of the Brillouin "
        "zone is not crossed by the Fermi surface of a band, but at "
        f"{worst:.6g} eV it crosses all of the mesh."
    )


def _warn_of_doubts(response: LevelResponse, mu) -> None:
    """Warn once of each thing that makes the numbers doubtful."""
    states = np.asarray(response.worst.states)
    if not np.all(states):
        warn_user(
            f"no Fermi surface at {np.sum(states == 0)} of {states.size} levels: "
            "there the response is that of the Fermi sea alone"
        )
    sea = _find_doubt(response, response.sea_error, mu, _UNCERTAIN)
    change = jnp.max(jnp.abs(response.mechanisms - response.second_rule)[:, 1:], axis=1)
    nodes = _find_doubt(response, change, mu, _COARSE)
    if sea:
        warn_user(
            f"the sum over the Fermi sea has an estimated error {sea}: use a `sea` with more "
            "points, or a `scale` nearer to that of the bands"
        )
    elif nodes:
        warn_user(
            f"the nodes on the Fermi surface leave an estimated error {nodes}: use more of them"
        )
    if np.min(response.worst.gap_over_width) < 1:
        warn_user(
            "bands at the Fermi energy are closer than their width hbar/tau, by a factor of "
            f"{np.min(response.worst.gap_over_width):.2g}: the theory does not hold there"
        )


_UNCERTAIN = 0.01  # of what is found; the estimate is some 10 to 1000 times the true error
_COARSE = 0.1  # of what is found; the estimate is some 2 times the true error


def _find_doubt(response: LevelResponse, error: Float[Array, "e o d"], mu, allowed: float) -> str:
    """The worst error of currents or of spins, if it is too large a part of the response.

    A part of the largest component of any mechanism of order u0⁰: their sum may vanish.
    """
    values = np.abs(response.mechanisms)
    d = response.mechanisms.shape[-1]
    for name, part in (("conductivity", slice(d)), ("spin density", slice(d, d + 3))):
        largest, worst = (np.max(x[..., part, :], axis=(-2, -1)) for x in (values, error))
        limit = (
            allowed * np.max(largest[:, 1:], axis=1) + ZERO_BY_SYMMETRY.of(error) * largest[:, 0]
        )
        if np.any(worst > limit):
            level = int(np.argmax(worst / np.where(limit > 0, limit, 1)))
            return f"of {worst[level]:.2g} in the {name} (default units) at mu = {mu[level]:.6g} eV"
    return ""


def _describe_range(mu) -> str:
    return (
        f"{mu[0]:.6g}"
        if mu.size == 1
        else f"any of {mu.size} levels from {mu.min():.6g} to {mu.max():.6g}"
    )
