"""Response of a disordered conductor to an electric field, by mechanism."""

from typing import Any, ClassVar, cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin import units
from jaxspin.disorder.fermi_states import check_gap
from jaxspin.disorder.scatterers import Disorder, check_disorder
from jaxspin.disorder.solution import MECHANISMS, Conductor, LevelResponse, solve_levels
from jaxspin.disorder.torque import SpinOrbitTorque, spin_orbit_torque
from jaxspin.engine.annotations import Numbers
from jaxspin.engine.checkpoint import CheckpointLike
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.tolerances import CONSERVED, DEGENERATE_ON_SHELL, ZERO_BY_SYMMETRY
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
from jaxspin.responses.response_set import ResponseSet
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
    sea: Mesh | Symmetric | None = None,
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> DisorderedResponse:
    """Conductivity and spin density of a disordered conductor, with every mechanism by itself.

        ⟨O⟩ = Σ_a w_a {O_a (n_D + n_sj + n_sk + n_3)_a + γ_a[O] n_D,a} + Σ_k Σ_m f_m W_m,  O = −v, σ
        J0 n_D = −eE·v,  J0 n_sj = eE·β,  J0 n_sk = −J_sk,  J0 n_3 = 4π²κ₃ Im Tr(P ρ̂ N̂)

    Drude, side jump, non-crossing skew scattering, third cumulant; extrinsic velocity; intrinsic,
    to the leading orders in the disorder. Burgos Atencia, Niu and Culcer, Phys. Rev. Research 4,
    013001 (2022), corrected; symbols, limits and `info` in docs/disorder.md.

    Args:
        surface: puts nodes on the Fermi surface: `FermiContour`, `FlowContour`, ...
        levels: Fermi energies and temperatures; σ(T) = ∫(−f')σ(ε) dε for elastic scattering.
        disorder: `ScalarDisorder`, `MatrixDisorder` or `FiniteRangeDisorder`.
        sea: the mesh on which *filled* bands are integrated, whose radial nodes also serve on the
            rays to the Fermi surface; the whole one of a `Symmetric` mesh and of a `PointSet`. None
            takes a `Grid` of 64² or 24³, or a `Plane` or `Space` that is scaled by the model.
        progress, checkpoint: as in `anomalous_hall`.
    Returns:
        `DisorderedResponse`: for each mechanism a conductivity (temperature?, mu, flow, field) in
        e²/ħ Å^(2−d), and a spin density (temperature?, mu, spin, field) in ħ/2 Å^(1−d)/V.
    Raises:
        ValueError: bad input; no Fermi surface at any mu; exactly degenerate bands on the Fermi
            surface; a state that is not scattered; a second conserved quantity, such as the spin in
            a model that conserves it; a lattice without any plane that the Fermi surface does not
            cross, or a `sea` that ends inside of it. NaN inside jit, grad and vmap.

    >>> import jaxspin as js
    >>> model = js.models.MassiveDirac(velocity=1.0, mass=0.3)
    >>> disorder = js.ScalarDisorder(0.01)
    >>> response = js.disordered_response(model, js.FermiContour(16), js.Levels(1.0), disorder)
    >>> hall = response.skew.conductivity.component(flow="y", field="x")
    >>> round(float(hall.value[0]), 11)
    0.03677121568
    """
    conductor = Conductor(model, surface, disorder, _find_whole_mesh(sea))
    _check_input(conductor, levels)
    response, findings = solve_levels(conductor, levels, Run.of(progress, checkpoint))
    _check_result(response, findings, levels, conductor)
    origin = record_origin(model=model, surface=surface, levels=levels, disorder=disorder, sea=sea)
    return _assemble_result(response, conductor, levels, origin)


# --- results --------------------------------------------------------------------------------------

_FORMULAS = {
    "drude": "Σ w O n_D, J0 n_D = −eE·v",
    "intrinsic": "Σ_k f_m W_m, W_m = −2 Im Σ_n ⟨m|O|n⟩⟨n|∂H|m⟩/(ε_m − ε_n)²",
    "extrinsic": "Σ w γ[O] n_D",
    "side_jump": "Σ w O n_sj, J0 n_sj = eE·β",
    "skew": "Σ w O n_sk, J0 n_sk = −J_sk (non-crossing)",
    "third_cumulant": "Σ w O n_3, J0 n_3 = 4π²κ₃ Im Tr(P ρ N_D)",
    "total": "the sum of all mechanisms",
}


@evaluate_eagerly()
def _assemble_result(
    response: LevelResponse, conductor: Conductor, levels: Levels, origin: Origin
) -> DisorderedResponse:
    known = conductor.surface.companion() is not None
    response = _nan_if_refused(response)
    errors = _estimate_errors(response, known)
    contributions: dict[str, Any] = {
        name: _build_contribution(name, response, error, levels, origin)
        for name, error in errors.items()
    }
    return DisorderedResponse(**contributions, info=_collect_info(response))


def _nan_if_refused(response: LevelResponse) -> LevelResponse:
    """The same levels, NaN where `_check_result` raises: inside jit it cannot."""
    worst = response.worst
    refused = ~worst.sea_fits | (worst.gap <= DEGENERATE_ON_SHELL.of(worst.gap))
    refused = refused | ~worst.is_scattered | _is_conserved(worst.slowest_relaxation)
    values = jnp.where(refused, jnp.nan, response.mechanisms.T).T
    return eqx.tree_at(lambda a: a.mechanisms, response, values)


def _is_conserved(slowest: Float[Array, " e"]) -> Bool[Array, " e"]:
    """Mask of the levels where more than the charge does not relax."""
    return slowest < CONSERVED.of(slowest)


def _select_mechanism(mechanisms: Float[Array, "e m o d"], name: str) -> Float[Array, "e o d"]:
    if name == "total":
        return jnp.sum(mechanisms, axis=1)
    return mechanisms[:, DisorderedResponse.MECHANISMS.index(name)]


def _estimate_errors(response: LevelResponse, known: bool) -> dict[str, Float[Array, "e o d"]]:
    """Twice the difference of two rules, the sea's error, rounding; NaN without a second rule."""
    rounding = 64 * jnp.finfo(response.mechanisms.dtype).eps
    sizes = jnp.sum(jnp.abs(response.mechanisms), axis=1)
    errors = {}
    for name in (*DisorderedResponse.MECHANISMS, "total"):
        both = (response.mechanisms, response.second_rule)
        values, others = (_select_mechanism(rule, name) for rule in both)
        error = 2 * jnp.abs(values - others) if known else jnp.full_like(values, jnp.nan)
        if name in ("intrinsic", "total"):
            error = error + response.sea_error
        size = sizes if name == "total" else jnp.abs(values)
        errors[name] = error + rounding * size
    return errors


def _build_contribution(
    name: str,
    response: LevelResponse,
    error: Float[Array, "e o d"],
    levels: Levels,
    origin: Origin,
) -> Contribution:
    """The responses of one mechanism, with their axes, units and texts."""
    value = _select_mechanism(response.mechanisms, name)
    dimension = value.shape[-1]
    value, error = (x.reshape(*levels.shape, *x.shape[1:]) for x in (value, error))
    shared = {
        "levels": levels,
        "info": {},
        "formula": _FORMULAS[name],
        "source": f"{_SOURCE}, corrected (docs/disorder.md)",
        "origin": origin,
    }
    current, spin = slice(dimension), slice(dimension, None)
    return Contribution(
        conductivity=Response(
            value=value[..., current, :],
            error=_worst_component(error[..., current, :]),
            axes=(*levels.axes, "flow", "field"),
            units=units.natural_conductivity(dimension),
            name=f"conductivity ({name.replace('_', ' ')})",
            symbol=r"\sigma",
            **shared,
        ),
        spin_density=Response(
            value=value[..., spin, :],
            error=_worst_component(error[..., spin, :]),
            axes=(*levels.axes, "spin", "field"),
            units=units.spin_polarization(dimension),
            name=f"spin density ({name.replace('_', ' ')})",
            symbol="s",
            **shared,
        ),
    )


def _worst_component(error: Float[Array, "*e o d"]) -> Float[Array, "*e o d"]:
    """The largest error of a level for all its components: one may agree by chance."""
    return jnp.broadcast_to(jnp.max(error, axis=(-2, -1), keepdims=True), error.shape)


def _collect_info(response: LevelResponse) -> dict[str, Array]:
    worst = response.worst
    return {
        "gap": jnp.min(worst.gap),
        "level_width": jnp.max(worst.level_width),
        "gap_over_width": jnp.min(worst.gap_over_width),
        "slowest_relaxation": jnp.min(worst.slowest_relaxation),
        "charge_residual": jnp.max(worst.charge),
        "sea_error": jnp.max(response.sea_error[:, :-3]),
        "sea_error_spin": jnp.max(response.sea_error[:, -3:]),
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
    response: LevelResponse, findings: Findings, levels: Levels, conductor: Conductor
) -> None:
    """Refuse, and warn of, what only the calculation can know."""
    if is_traced(response, findings):
        return
    refuse_findings(findings, levels)
    worst, mu = response.worst, np.tile(levels.mu, levels.temperatures.size)
    states = np.asarray(worst.states)
    if not np.any(states):
        raise ValueError(
            "Argument `levels` must have a mu in a band, but there is no Fermi surface at "
            f"{_describe_range(mu)} eV. "
            "`anomalous_hall` gives the response of an insulator."
        )
    check_gap(np.asarray(worst.gap), mu)
    _check_sea(np.asarray(worst.sea_fits), mu, conductor)
    if not (is_finite(response.mechanisms[:, 0]) and np.all(worst.is_scattered)):
        raise ValueError(
            "Argument `disorder` must scatter every state at the Fermi energy, but leaves some "
            "without any rate, and the conductivity is infinite."
        )
    if np.any(_is_conserved(worst.slowest_relaxation)):
        raise ValueError(
            "Argument `disorder` must relax everything but the charge, but something else is "
            "conserved, such as the spin or the number of electrons of one band."
        )
    _warn_of_doubts(response, mu)


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
    for name, part in (("conductivity", slice(None, -3)), ("spin density", slice(-3, None))):
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
