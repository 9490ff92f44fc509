"""Responses to a gradient of temperature: anomalous Nernst, thermal Hall and spin Nernst effects.

Each is one sum over k at the temperature asked for, with a moment of −∂f/∂ε in place of f
(docs/thermal.md); no scan of a conductivity is differentiated or integrated. Conventions
(docs/conventions.md): first index flow, then the gradient, spin last. The driving force is −∇T.
"""

from jaxspin.band_structure.degeneracy import Covariant, Degeneracy
from jaxspin.engine.checkpoint import CheckpointLike
from jaxspin.integration.levels import Levels
from jaxspin.integration.problem import Problem, Run
from jaxspin.models.base import Model
from jaxspin.quantities.thermal import ANOMALOUS_NERNST, SPIN_NERNST, THERMAL_HALL
from jaxspin.responses.compute import compute
from jaxspin.responses.response import Response
from jaxspin.symmetry.symmetric import AnyMesh


def anomalous_nernst(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Intrinsic anomalous Nernst conductivity: the charge current α_ab (−∂_b T).

    α_ab = −(1/eT) ∫ dε (−∂f/∂ε)(ε − μ) σ_ab(ε) = (e k/ħ) Σ_k Σ_m S(x_m) Ω_ab,m, σ the anomalous
    Hall conductivity at T = 0, S(x) = −f ln f − (1 − f) ln(1 − f) the entropy of a state,
    x = (ε − μ)/kT. At low temperature −(π² k² T/3e) ∂σ_ab/∂μ (Mott). It is ∂M_ab/∂T of the Berry
    curvature's part of the magnetization. The measured Nernst signal is (σ⁻¹ α)_xy, with Drude
    parts in both.

    Args:
        degeneracy, progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, flow, gradient), in A/(m K) (3D) or A/K (2D);
        `natural` is Σ S Ω, Å^(2−d).
    Raises:
        ValueError: a temperature that is not positive; other bad input, named before the sum.

    >>> import jaxspin as js, numpy as np
    >>> cone, levels = js.models.MassiveDirac(velocity=1.0, mass=0.3), js.Levels(0.3, 300.0)
    >>> found = js.anomalous_nernst(cone, js.Disk(1.2, 400, 4), levels)
    >>> found.units, found.axes
    ('A/K', ('mu', 'flow', 'gradient'))
    """
    problem = Problem(ANOMALOUS_NERNST, model, mesh, levels, degeneracy)
    (response,) = compute(problem, Run.of(progress, checkpoint))
    return response


def thermal_hall(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Intrinsic thermal Hall conductivity of electrons: the heat current κ_ab (−∂_b T).

    κ_ab = (1/e²T) ∫ dε (−∂f/∂ε)(ε − μ)² σ_ab(ε) = −(k² T/ħ) Σ_k Σ_m C₂(x_m) Ω_ab,m, σ the anomalous
    Hall conductivity at T = 0, C₂(x) = ∫_x^∞ y² (−df/dy) dy, x = (ε − μ)/kT. At low temperature
    (π²/3)(k/e)² T σ_ab (Wiedemann and Franz). What flows at zero field; at zero current there is
    T α σ⁻¹ α less.

    Args:
        degeneracy, progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, flow, gradient), in W/(m K) (3D) or W/K (2D);
        `natural` is −kT Σ C₂ Ω, eV Å^(2−d).
    Raises:
        ValueError: a temperature that is not positive; other bad input, named before the sum.

    >>> import jaxspin as js, numpy as np
    >>> chern, levels = js.models.QiWuZhang(A=1.0, m=-1.0), js.Levels(0.0, 100.0)
    >>> found = js.thermal_hall(chern, js.Grid((32, 32)), levels)
    >>> quantum = np.pi**2 * 1.380649e-23**2 / (3 * 6.62607015e-34) * 100.0  # π²k²T/3h
    >>> round(float(found.component(flow="y", gradient="x").value[0] / quantum), 6)
    1.0
    """
    problem = Problem(THERMAL_HALL, model, mesh, levels, degeneracy)
    (response,) = compute(problem, Run.of(progress, checkpoint))
    return response


def spin_nernst(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Spin Nernst conductivity by Mott's relation: the spin current α^s_ab (−∂_b T).

    α^s_ab = −(1/eT) ∫ dε (−∂f/∂ε)(ε − μ) σ^s_ab(ε), σ^s the conventional spin Hall conductivity at
    T = 0. For a spin that is not conserved this is a definition: torques and the spin
    magnetization in a gradient are not in it.

    Args:
        degeneracy, progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, flow, gradient, spin), in (ħ/2e) A/(m K) (3D) or
        (ħ/2e) A/K (2D); `natural` is −Σ S Ω^s, Å^(2−d).
    Raises:
        ValueError: a model without spin; a temperature that is not positive; other bad input.
    """
    problem = Problem(SPIN_NERNST, model, mesh, levels, degeneracy)
    (response,) = compute(problem, Run.of(progress, checkpoint))
    return response
