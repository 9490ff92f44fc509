"""Response of a disordered conductor to an electric field, by mechanism."""

from collections.abc import Mapping
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin.disorder.fermi_states import check_groups
from jaxspin.disorder.groups import check_covariance, has_groups
from jaxspin.disorder.operators import MeasuredOperator, as_operators
from jaxspin.disorder.results import (
    ALWAYS_MEASURED,
    DisorderedResponse,
    Place,
    assemble_result,
    check_conserved,
    is_conserved,
    is_not_solved,
    place_operators,
    splits_groups,
)
from jaxspin.disorder.scatterers import Disorder, check_disorder
from jaxspin.disorder.solution import Conductor, LevelResponse, solve_levels
from jaxspin.engine.checkpoint import CheckpointLike
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.tolerances import ZERO_BY_SYMMETRY
from jaxspin.engine.validate import is_finite
from jaxspin.integration import checks
from jaxspin.integration.levels import Levels
from jaxspin.integration.problem import Run
from jaxspin.meshes.mesh import Mesh, check_product
from jaxspin.meshes.point_set import PointSet
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model
from jaxspin.responses.origin import Origin, record_origin
from jaxspin.surfaces import FermiSurfaceRule
from jaxspin.surfaces.base import check_surface
from jaxspin.surfaces.thermal import Findings, refuse_findings
from jaxspin.symmetry.symmetric import Symmetric


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

    f is a matrix in groups of degenerate bands. Burgos Atencia, Niu and Culcer, Phys. Rev. Research
    4, 013001 (2022), corrected and extended; symbols, limits and `info` in docs/disorder.md.

    Args:
        surface: puts nodes on the Fermi surface: `FermiContour`, `FlowContour`, ...
        levels: Fermi energies and temperatures; σ(T) = ∫(−f')σ(ε) dε for elastic scattering.
        disorder: `ScalarDisorder`, `MatrixDisorder` or `FiniteRangeDisorder`.
        measure: other operators by name: "spin_current", "torque", an operator of the model, a
            function of k that gives a Hermitian matrix or three of them, a `MeasuredOperator`.
        sea: the mesh on which *filled* bands are integrated, whose radial nodes also serve on the
            rays to the Fermi surface; None takes a `Grid` of 64² or 24³, or a `Plane` or `Space`.
        progress, checkpoint: as in `anomalous_hall`.
    Returns:
        `DisorderedResponse`: for each mechanism a conductivity (temperature?, mu, flow, field) in
        e²/ħ Å^(2−d), and a spin density (temperature?, mu, spin, field) in ħ/2 Å^(1−d)/V; in
        `measured` an `OperatorResponse` for each operator of `measure`.
    Raises:
        ValueError: bad input; bands that touch on the Fermi surface; disorder that splits or does
            not scatter states; a conserved `measure`; an unfit `sea`. NaN inside jit and vmap.

    >>> import jaxspin as js
    >>> model, surface = js.models.MassiveDirac(velocity=1.0, mass=0.3), js.FermiContour(16)
    >>> found = js.disordered_response(model, surface, js.Levels(1.0), js.ScalarDisorder(0.01))
    >>> round(float(found.skew.conductivity.component(flow="y", field="x").value[0]), 11)
    0.03677121568
    """
    measured = _check_input(model, surface, levels, disorder, measure=measure)
    operators, mesh = (*ALWAYS_MEASURED, *measured.values()), _find_whole_mesh(model, sea)
    conductor = Conductor(model, surface, disorder, mesh, operators, has_groups(model))
    response, findings = solve_levels(conductor, levels, Run.of(progress, checkpoint))
    places = place_operators(measured, model)
    _check_result(response, findings, levels, conductor, places)
    about = _record_input(conductor, levels, sea, measured)
    return assemble_result(response, conductor, levels, places, about)


def _record_input(conductor: Conductor, levels: Levels, sea, measured: dict) -> Origin:
    given = {name: getattr(conductor, name) for name in ("model", "surface", "disorder")}
    operators = {"measure": measured} if measured else {}
    return record_origin(**given, levels=levels, sea=sea, **operators)


# --- checks ---------------------------------------------------------------------------------------


def _find_whole_mesh(model: Model, sea: Mesh | Symmetric | None) -> Mesh | None:
    """The mesh that the points of a sea are the irreducible ones of, checked.

    Which plane of a lattice the Fermi surface does not cross is seen on all points of the plane.
    """
    whole = sea.mesh if isinstance(sea, Symmetric) else sea
    if isinstance(whole, PointSet):
        if whole.grid is None:
            raise ValueError(
                "Argument `sea` must say of which grid its points are, but is a PointSet without: "
                "give PointSet(..., grid=Grid(...)), or a Grid."
            )
        whole = whole.grid
    if whole is not None:
        _check_sea_mesh(model, cast(Mesh, whole))
    return cast(Mesh | None, whole)


@evaluate_eagerly()
def _check_sea_mesh(model: Model, sea: Mesh) -> None:
    check_product("sea", sea)
    checks.check_mesh(model, sea)
    if min(sea.shape) < 2:
        raise ValueError(
            "Argument `sea` must have at least two nodes along each axis, for an estimate of "
            f"its error, but has shape {sea.shape}."
        )


@evaluate_eagerly()
def _check_input(
    model: Model, surface: FermiSurfaceRule, levels: Levels, disorder: Disorder, *, measure: Any
) -> dict[str, MeasuredOperator]:
    """The operators to measure, where all fits together."""
    check_conductor(model, surface, levels, disorder)
    check_covariance(disorder, model)
    return as_operators(measure, model)


def check_conductor(
    model: Model, surface: FermiSurfaceRule, levels: Levels, disorder: Disorder
) -> None:
    """A model, a surface, levels and disorder fit together.

    Raises:
        ValueError: naming what does not.
    """
    model_checks.check_model(model)
    model_checks.check_dimension(model, (2, 3))
    model_checks.check_spin(model)
    model_checks.check_complete(model, "response of a disordered conductor")
    check_surface(surface)
    surface.check(model)
    checks.check_levels(levels)
    check_disorder(disorder, model)


@evaluate_eagerly()  # known inside the user's jit of other things
def _check_result(
    response: LevelResponse,
    findings: Findings,
    levels: Levels,
    conductor: Conductor,
    places: dict[str, Place],
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
    if np.any(splits_groups(worst.unequal_rates)):
        raise ValueError(
            "Argument `disorder` must scatter degenerate bands alike, but the rates of a group at "
            f"the Fermi energy differ by {np.max(worst.unequal_rates):.2g} of themselves."
        )
    if np.any(is_not_solved(worst, conductor)):
        raise ValueError(
            "Argument `disorder` must relax everything but the charge if it has a finite range, "
            "but something else is conserved, such as the spin or the number of electrons of one "
            "band. Disorder without range may conserve it."
        )
    conserved = is_conserved(worst.conserved_part, worst.conserved)
    check_conserved(conserved, places, conductor.model)
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
            f"{np.min(response.worst.gap_over_width):.2g}: the theory does not hold there. Where "
            "these are neighbours apart from all others, `disorder.quasi_degenerate_response` does"
        )


_UNCERTAIN = 0.01  # of what is found; the estimate is some 10 to 1000 times the true error
_COARSE = 0.1  # of what is found; the estimate is some 2 times the true error
_FAINT = 1e-4  # of what cancels in the sea


def _find_doubt(response: LevelResponse, error: Float[Array, "e o d"], mu, allowed: float) -> str:
    """The worst error of currents or of spins, if it is too large a part of the response.

    A part of the largest component of any mechanism of order u0⁰: their sum may vanish.
    """
    values = np.abs(response.mechanisms)
    d = response.mechanisms.shape[-1]
    for name, part in (("conductivity", slice(d)), ("spin density", slice(d, d + 3))):
        largest, worst = (np.max(x[..., part, :], axis=(-2, -1)) for x in (values, error))
        size = np.asarray(response.worst.sea_size)
        filled = np.max(size[:, part], axis=(-2, -1))
        zero = ZERO_BY_SYMMETRY.of(error) * (largest[:, 0] + np.max(size, axis=(-2, -1)))
        limit = allowed * np.max(largest[:, 1:], axis=1) + _FAINT * filled + zero
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
