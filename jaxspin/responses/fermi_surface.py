"""Responses of the Fermi surface with a constant relaxation time, of first and second order.

The occupation relaxes as −(f − f₀)/τ, with one τ for all states (docs/fermi-surface.md). What is
proportional to τ is given per τ, unless `relaxation_time` is given. For scattering by impurities,
with its mechanisms, see `disordered_response`. Conventions (docs/conventions.md): first index flow,
then the fields, spin last; energies eV, lengths Å, temperatures K, times fs.
"""

from jaxtyping import Array, Float

from jaxspin import units
from jaxspin.band_structure.degeneracy import Covariant, Degeneracy
from jaxspin.engine.checkpoint import CheckpointLike
from jaxspin.engine.validate import check_number
from jaxspin.integration.levels import Levels
from jaxspin.integration.problem import Problem, Run
from jaxspin.models.base import Model, as_float
from jaxspin.quantities.fermi_surface import (
    BERRY_DIPOLE,
    DRUDE,
    EDELSTEIN,
    INTRINSIC_NONLINEAR_HALL,
    NONLINEAR_HALL,
    SPIN_BERRY_DIPOLE,
    SPIN_DRUDE,
)
from jaxspin.responses.compute import compute
from jaxspin.responses.response import Response
from jaxspin.symmetry.symmetric import AnyMesh

RelaxationTime = float | int | Float[Array, ""] | None


def drude(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    relaxation_time: RelaxationTime = None,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Drude conductivity for a constant relaxation time.

    σ_ab = (e²τ/ħ²) Σ_k Σ_m (−∂f/∂ε) tr(V_a V_b), V = ∂H/∂k, the trace over degenerate groups.
    Free electrons: n e² τ/m. The square of the plasma frequency is σ/(ε₀τ).

    Args:
        relaxation_time: τ, fs; without it the response is per τ.
        degeneracy, progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, flow, field), in S/m fs^-1 (3D), S fs^-1 (2D) or
        S m fs^-1 (1D); with `relaxation_time` without fs^-1. `natural` is the sum, eV Å^(2−d).
    Raises:
        ValueError: `relaxation_time` not positive; other bad input, named before the sum starts.

    >>> import jaxspin as js, numpy as np
    >>> gas, mesh = js.models.Rashba(kinetic=2.0, velocity=0.0), js.Disk(0.8, 64, 8)
    >>> found = js.drude(gas, mesh, js.Levels(0.5, 300.0))
    >>> density = js.carrier_density(gas, mesh, js.Levels(0.5, 300.0)).value
    >>> bool(np.allclose(found.natural[0, 0, 0], 2 * 2.0 * density[0], rtol=1e-5))  # n ħ²/m
    True
    """
    problem = Problem(DRUDE, model, mesh, levels, degeneracy)
    return _respond(problem, Run.of(progress, checkpoint), relaxation_time)


def edelstein(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    relaxation_time: RelaxationTime = None,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Spin density that a current carries, for a constant relaxation time (Edelstein effect).

    S_sb = −(eτ/ħ) Σ_k Σ_m (−∂f/∂ε) tr(s V_b): the spin density is S_sb E_b. Zero in crystals with
    an inversion centre. Rashba gas with both bands filled, H = kinetic k² + velocity (k_x σ_y −
    k_y σ_x): S_yx = eτ velocity/(4π kinetic ħ).

    Args:
        relaxation_time: τ, fs; without it the response is per τ.
        degeneracy, progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, spin, field), in ħ/2 V^-1 Å^(1−d) fs^-1; with
        `relaxation_time` without fs^-1. `natural` is the sum Σ (−∂f/∂ε) tr(s V_b), Å^(1−d).
    Raises:
        ValueError: a model without spin; `relaxation_time` not positive; other bad input.

    >>> import jaxspin as js, numpy as np
    >>> gas, levels = js.models.Rashba(kinetic=2.0, velocity=0.5), js.Levels(0.5, 300.0)
    >>> found = js.edelstein(gas, js.Disk(0.8, 96, 8), levels)
    >>> bool(np.allclose(found.natural[0, 1, 0], -0.5 / (4 * np.pi * 2.0), rtol=1e-4))
    True
    """
    problem = Problem(EDELSTEIN, model, mesh, levels, degeneracy)
    return _respond(problem, Run.of(progress, checkpoint), relaxation_time)


def spin_drude(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    relaxation_time: RelaxationTime = None,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Spin conductivity of the displaced Fermi surface (magnetic spin Hall effect).

    σ^s_ab = −(e²τ/ħ²) Σ_k Σ_m (−∂f/∂ε) tr(J_a V_b), J_a = ½{s, V_a}: odd under time reversal, hence
    of magnets alone, where `spin_hall` is even.

    Args:
        relaxation_time: τ, fs; without it the response is per τ.
        degeneracy, progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, flow, field, spin), in (ħ/2e) S/m fs^-1 (3D), S fs^-1
        (2D) or S m fs^-1 (1D); with `relaxation_time` without fs^-1. `natural` is the sum
        Σ (−∂f/∂ε) tr(J_a V_b), eV Å^(2−d).
    Raises:
        ValueError: a model without spin; `relaxation_time` not positive; other bad input.
    """
    problem = Problem(SPIN_DRUDE, model, mesh, levels, degeneracy)
    return _respond(problem, Run.of(progress, checkpoint), relaxation_time)


def berry_dipole(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Dipole of the Berry curvature, at the Fermi surface.

    D_abc = Σ_k Σ_m (−∂f/∂ε) tr(Ω_ab V_c) = Σ f ∂_cΩ_ab. Sodemann and Fu's D_cz is D_xyc. Zero in
    crystals with an inversion centre. A Weyl node v k·σ, v > 0, has D_yzx = −1/12π².

    Args:
        degeneracy, progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, flow, field, second_field), without unit (3D) or in Å
        (2D).
    Raises:
        ValueError: a downfolded model or one with external terms; other bad input.
    """
    problem = Problem(BERRY_DIPOLE, model, mesh, levels, degeneracy)
    return _respond(problem, Run.of(progress, checkpoint))


def nonlinear_hall(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    relaxation_time: RelaxationTime = None,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Nonlinear Hall conductivity of the Berry curvature dipole, of order τ.

    j_a = σ_abc E_b E_c, σ_abc = (e³τ/ħ²) ½ (D_abc + D_acb) with the D of `berry_dipole`. For a
    static field. Even under time reversal; zero in crystals with an inversion centre.

    Args:
        relaxation_time: τ, fs; without it the response is per τ.
        degeneracy, progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, flow, field, second_field), in A/V² fs^-1 (3D) or
        A m/V² fs^-1 (2D); with `relaxation_time` without fs^-1.
    Raises:
        ValueError: a downfolded model or one with external terms; `relaxation_time` not positive;
            other bad input.
    """
    problem = Problem(NONLINEAR_HALL, model, mesh, levels, degeneracy)
    return _respond(problem, Run.of(progress, checkpoint), relaxation_time)


def spin_berry_dipole(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Dipole of the spin Berry curvature, at the Fermi surface.

    D^s_abc = Σ_k Σ_m (−∂f/∂ε) tr(Ω^s_ab V_c) = Σ f ∂_cΩ^s_ab, Ω^s_ab = −2 Im Σ_n J^a_mn V^b_nm/
    (ε_m − ε_n)² over the other groups, J = ½{s, V}. The spin current of second order in the field
    and first in τ is −(τ/ħ²) ½ (D^s_abc + D^s_acb) eE_b eE_c. Odd under time reversal and under
    inversion.

    Args:
        degeneracy, progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, flow, field, second_field, spin), in ħ/2 Å^(3−d).
    Raises:
        ValueError: a model without spin, downfolded or with external terms; other bad input.
    """
    problem = Problem(SPIN_BERRY_DIPOLE, model, mesh, levels, degeneracy)
    return _respond(problem, Run.of(progress, checkpoint))


def intrinsic_nonlinear_hall(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Intrinsic nonlinear Hall conductivity of wave packets, of order τ⁰.

    j_a = σ_abc E_b E_c, σ_abc = (e³/ħ) Σ_k Σ_m (−∂f/∂ε) tr[½(V_b G_ac + V_c G_ab) − V_a G_bc], with
    the Berry connection polarizability G_ab = 2 Re Σ_n R^a_mn R^b_nm/(ε_m − ε_n). The sum over
    cyclic permutations of abc is zero. Odd under time reversal and under inversion. What else there
    is of this order depends on how the steady state is reached, and is not computed
    (docs/fermi-surface.md).

    Args:
        degeneracy, progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, flow, field, second_field), in A/V² (3D) or A m/V²
        (2D).
    Raises:
        ValueError: a downfolded model or one with external terms; other bad input.
    """
    problem = Problem(INTRINSIC_NONLINEAR_HALL, model, mesh, levels, degeneracy)
    return _respond(problem, Run.of(progress, checkpoint))


def _respond(problem: Problem, run: Run, relaxation_time: RelaxationTime = None) -> Response:
    """The response per relaxation time, or times the time that is given."""
    if relaxation_time is not None:
        check_number("relaxation_time", relaxation_time, "a positive time in fs", above=0)
    (response,) = compute(problem, run)
    if relaxation_time is None:
        return response
    time = as_float(relaxation_time)
    return response.replace(
        value=response.value * time,
        error=response.error * time,
        units=units.times_femtoseconds(response.units),
        info={**response.info, "relaxation_time": time},
    )
