"""Responses of the Fermi sea: Hall and spin Hall conductivities and their relatives.

Each function takes a model, a mesh and levels, sums a quantity over the mesh, and returns a
`Response` for every level and component at once. Conventions (docs/conventions.md): first index
flow, second field, spin last; energies eV, lengths Å, temperatures K.
"""

import numpy as np
from jaxtyping import Array

from jaxspin import units
from jaxspin.band_structure.degeneracy import Covariant, Degeneracy
from jaxspin.engine.checkpoint import CheckpointLike
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import as_arrays, is_traced, on_device
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.tolerances import TORQUE
from jaxspin.engine.validate import NOT_GIVEN, check_choice
from jaxspin.integration import checks
from jaxspin.integration.levels import Levels
from jaxspin.integration.problem import Problem, Run
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model
from jaxspin.quantities.charge import ANOMALOUS_HALL, CARRIER_DENSITY, DENSITY_OF_STATES
from jaxspin.quantities.combine import OfBands, Restricted
from jaxspin.quantities.spin import EQUILIBRIUM_SPIN_CURRENT, TORQUE_DENSITY
from jaxspin.quantities.spin_hall import (
    DEFINITIONS,
    PIECES,
    Definition,
)
from jaxspin.responses.compute import compute
from jaxspin.responses.response import Response
from jaxspin.responses.response_set import ResponseSet
from jaxspin.symmetry.symmetric import AnyMesh


def anomalous_hall(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Intrinsic anomalous Hall conductivity.

    σ_ab = -(e²/ħ) Σ_k Σ_m f(ε_m) Ω_ab,m,  Ω_ab,m = -2 Im Σ_n v^a_mn v^b_nm ħ²/(ε_m-ε_n)².
    One filled band of Chern number C = (1/2π)∫Ω_xy gives σ_yx = +C e²/h.

    Args:
        mesh: `Grid` for a lattice model; `Disk`, `Ball`, `Plane`, `Space` for a continuum model.
        degeneracy: `Covariant(tolerance)` treats bands closer than the tolerance (eV) as one
            group; `Strict()` treats each band separately.
        progress: show a progress bar; None shows it where standard error is a terminal.
        checkpoint: a file, or `Checkpoint(path, seconds)`, in which the sums so far are kept. The
            same call goes on from it after an interruption, to the same result bit by bit, and
            removes it at the end (docs/running.md).
    Returns:
        Response with axes (temperature?, mu, flow, field), in S/m (3D) or S (2D).
    Raises:
        ValueError: for bad input (see docs/conventions.md), named before the sum starts; for a
            checkpoint of another sum, with the parameter that differs.
        RuntimeError: of several processes one has died (docs/running.md).

    >>> import jaxspin as js
    >>> chern = js.models.QiWuZhang(A=1.0, m=-1.0)
    >>> hall = js.anomalous_hall(chern, js.Grid((32, 32)), js.Levels(0.0))
    >>> round(float(hall.to("e^2/h").component(flow="y", field="x").value[0]), 6)
    1.0
    """
    problem = Problem(ANOMALOUS_HALL, model, mesh, levels, degeneracy)
    (response,) = compute(problem, Run.of(progress, checkpoint))
    return response


def spin_hall(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    definition: Definition = NOT_GIVEN,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Intrinsic spin Hall conductivity, all components, by one of four definitions.

    J^s_a = σ^s_ab E_b, with the spin operator in units of ħ/2 (docs/definitions.md):

    - "conventional": the current ½{s, v};
    - "proper_published": the conserved current, Eqs. (1), (2) of Liu et al. (2023) as printed;
    - "proper_corrected": the same derivation with its index error put right, s_mm Ω_m;
    - "kubo": the response of Shi, Zhang, Xiao and Niu, which has a Fermi-surface term.

    There is no default: the choice is physics and must be visible.

    Args:
        degeneracy: `Covariant(tolerance)` treats bands closer than the tolerance (eV) as one
            group; `Strict()` treats each band separately.
        progress: show a progress bar; None shows it where standard error is a terminal.
        checkpoint: a file, or `Checkpoint(path, seconds)`, in which the sums so far are kept. The
            same call goes on from it after an interruption, to the same result bit by bit, and
            removes it at the end (docs/running.md).
    Returns:
        Response with axes (temperature?, mu, flow, field, spin), in (ħ/2e) S/m (3D) or (ħ/2e) S
        (2D). But for "conventional" `info["torque_density"]` is the largest spin generation rate
        |Tr t ρ_E| (units e/2 Å^(1-d)); where it is not zero the torque dipole depends on the
        origin, and a warning says so. "conventional" has no such dipole (see `torque_density`).
    Raises:
        ValueError: unknown definition, exactly degenerate bands with `Strict()`, a downfolded model
            with "proper_published" or "kubo", and other bad input, named before the sum starts.
    """
    check_choice("definition", definition, DEFINITIONS)
    beside = () if definition == "conventional" else (TORQUE_DENSITY,)
    problem = Problem(DEFINITIONS[definition], model, mesh, levels, degeneracy, beside=beside)
    response, *torques = compute(problem, Run.of(progress, checkpoint))
    for torque in torques:
        _warn_of_torque(torque, response)
        largest = _find_largest(torque.value)
        response = response.replace(info={**response.info, "torque_density": largest})
    return response


class SpinHallPieces(ResponseSet):
    """The parts of the proper spin Hall conductivity and how well their identities hold."""

    #: ½ tr s_d {v, ρ_E}: the conventional current of the band-diagonal spin.
    J1: Response
    #: ½ tr s_od {v, ρ_E}: the conventional current of the band-off-diagonal spin.
    J2: Response
    #: Torque dipole of the field-driven density matrix; cancels J2.
    I1: Response
    #: Torque dipole of the equilibrium density matrix at finite Q.
    I2: Response
    #: Largest violation of each identity, over all levels and components, in the units of J1.
    residuals: dict[str, Array]

    @property
    def title(self) -> str:
        return "parts of the proper spin Hall conductivity, and residuals of their identities"


def spin_hall_pieces(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> SpinHallPieces:
    """The parts J1, J2, I1, I2 of the proper spin Hall conductivity, computed separately.

    J1 + J2 is the conventional current, I1 + I2 the torque dipole, and with A the published and
    B the corrected proper current: J2 + I1 = 0, J1 = (A+B)/2, I2 = (B-A)/2 (docs/definitions.md).
    These are identities of sums over the bands of the model. With external terms B is without the
    curvature of states beyond them, which `spin_hall` has, and D_b s = 0, on which I2 rests, holds
    only as far as the basis is complete.

    Args:
        progress, checkpoint: as in `anomalous_hall`.
    Returns:
        `SpinHallPieces`: four Responses like those of `spin_hall`, and `residuals`, the largest
        violations of "J2 + I1", "J1 - (A+B)/2", "I2 - (B-A)/2" and "J1 + J2 - conventional".
    Raises:
        ValueError: as `spin_hall`.
    """
    model_checks.check_model(model)
    model_checks.check_every_band(model, "parts of the proper spin Hall conductivity")
    others = [DEFINITIONS[n] for n in ("proper_published", "proper_corrected", "conventional")]
    quantities = tuple(
        quantity.replace(observable=OfBands(quantity.observable))
        for quantity in (*PIECES.values(), *others)
    )
    problem = Problem(quantities, model, mesh, levels, degeneracy)
    *pieces, published, corrected, conventional = compute(problem, Run.of(progress, checkpoint))
    j1, j2, i1, i2 = (piece.value for piece in pieces)
    a, b = published.value, corrected.value
    violations = {
        "J2 + I1": j2 + i1,
        "J1 - (A+B)/2": j1 - (a + b) / 2,
        "I2 - (B-A)/2": i2 - (b - a) / 2,
        "J1 + J2 - conventional": j1 + j2 - conventional.value,
    }
    residuals = {name: _find_largest(v) for name, v in violations.items()}
    return SpinHallPieces(*pieces, residuals=residuals)


def torque_density(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Spin generated per time and volume by the field, Tr t ρ_E with t = (i/ħ)[H, s].

    τ^s = (e/2) E_b Σ_k Σ_m f(ε_m) 2 Im Σ_n s_nm R^b_mn = -(e/2) E_b Σ f ∂_b s_mm.
    Zero with inversion symmetry and in insulators at T = 0. Where it is not zero, the proper spin
    current depends on the origin (docs/definitions.md), and a warning says so. For the Rashba
    model with both bands filled Tr t_y ρ_E/E_x = (e/8π)(k_- - k_+).

    Args:
        progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu, spin, field), units "e/2 Angstrom^(1-d)" per field.
    """
    problem = Problem(TORQUE_DENSITY, model, mesh, levels, degeneracy)
    (response,) = compute(problem, Run.of(progress, checkpoint))
    _warn_of_torque(response)
    return response


class EquilibriumSpinCurrent(ResponseSet):
    """The equilibrium spin current and the two parts it consists of."""

    #: The sum of both parts.
    total: Response
    #: v_m s_mm: the spin carried with the group velocity, the first term of Eq. (14).
    trivial: Response
    #: The part of the interband Berry connection, the second term of Eq. (14).
    topological: Response

    @property
    def title(self) -> str:
        return "equilibrium spin current and its parts"


def equilibrium_spin_current(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    bands: tuple[int, ...] | None = None,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> EquilibriumSpinCurrent:
    """Spin current of the undisturbed crystal, with its trivial and topological parts.

    ħJ^s_a = Σ_k Σ_m f(ε_m) ⟨m|½{s, ∂H/∂k_a}|m⟩, s Pauli-normalised;
    trivial: ∂_a ε_m s_mm; topological: Re Σ_n≠m s_mn (∂_a H)_nm.
    Samokhin, Sigrist and Fischer (2025), Eqs. (14), (15).

    Args:
        bands: restrict the sum to the bands of these indices (0 is the lowest).
        progress, checkpoint: as in `anomalous_hall`.
    Returns:
        `EquilibriumSpinCurrent`: three Responses with axes (temperature?, mu, flow, spin), in
        eV Å^(1-d).
    Raises:
        ValueError: `bands` out of range or cutting a degenerate group; other bad input.
    """
    model_checks.check_model(model)
    degeneracy = checks.choose_degeneracy(model, degeneracy)
    chosen = checks.check_bands(model, bands, degeneracy)
    quantities = tuple(EQUILIBRIUM_SPIN_CURRENT.values())
    if chosen is not None:
        quantities = tuple(
            quantity.replace(observable=Restricted(quantity.observable, chosen))
            for quantity in quantities
        )
    problem = Problem(quantities, model, mesh, levels, degeneracy)
    return EquilibriumSpinCurrent(*compute(problem, Run.of(progress, checkpoint)))


def carrier_density(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Number of electrons per volume of crystal, n = Σ_k Σ_m f(ε_m).

    Every occupied band of the model counts. A continuum model with a filled valence band has no
    finite density on an infinite mesh; that is an error.

    Args:
        progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu), in Å^-d.
    """
    problem = Problem(CARRIER_DENSITY, model, mesh, levels, degeneracy)
    (response,) = compute(problem, Run.of(progress, checkpoint))
    return response


def density_of_states(
    model: Model,
    mesh: AnyMesh,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Response:
    """Density of states, ∂n/∂mu = Σ_k Σ_m (-∂f/∂ε)(ε_m).

    At T = 0 each k-point counts with the energies its mesh cell spans to first order in k.

    Args:
        progress, checkpoint: as in `anomalous_hall`.
    Returns:
        Response with axes (temperature?, mu), in 1/(eV Å^d).
    """
    problem = Problem(DENSITY_OF_STATES, model, mesh, levels, degeneracy)
    (response,) = compute(problem, Run.of(progress, checkpoint))
    return response


_TORQUE = (
    "The torque density is not zero for this model: the field generates spin, and the "
    "torque dipole, hence the proper spin current, depends on the choice of origin. The largest "
    "value is in `info`; `torque_density` gives it for every level."
)


@evaluate_eagerly()
def _warn_of_torque(torque: Response, main: Response | None = None) -> None:
    """Warn of a torque density that is not zero, as measured by the response beside it."""
    if is_traced(torque, main):
        return
    scale = 1e-3
    if main is not None:
        scale = float(_find_largest(main.value)) / units.per_natural(main.units)
    largest, error = float(_find_largest(torque.value)), np.max(np.asarray(torque.error))
    if largest > TORQUE.of(torque.value) * scale and largest > 3 * error:
        warn_user(_TORQUE)


def _find_largest(values: Array) -> Array:
    xp, (values,) = as_arrays(values)
    return on_device(xp.max(xp.abs(values)))
