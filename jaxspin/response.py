"""Responses of the Fermi sea: Hall and spin Hall conductivities and their relatives.

Each function takes a model, a mesh and levels, sums an observable over the mesh, and returns a
`Response` for every level and component at once. Conventions (docs/conventions.md): first index
flow, second field, spin last; energies eV, lengths Å, temperatures K.
"""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin import checks, geometry, observables, units
from jaxspin.algebra import as_arrays, is_traced, on_device
from jaxspin.band_structure import BandStructure, from_bands, move_k_first
from jaxspin.checkpoint import CheckpointLike, as_checkpoint
from jaxspin.error_estimates import COARSER_MESHES
from jaxspin.integrate import Sums, integrate
from jaxspin.levels import Levels
from jaxspin.meshes import Mesh
from jaxspin.models.base import Model
from jaxspin.observables import Observable
from jaxspin.programs import program
from jaxspin.resolution import compare_groups, include_unresolved
from jaxspin.results import Response
from jaxspin.spectrum import Bands, Covariant, Degeneracy, solve
from jaxspin.symmetry import Symmetric, Tensor, averaged
from jaxspin.tolerances import TORQUE

_PAPER = "Liu, Cullen and Culcer, Phys. Rev. B 108, 195434 (2023)"


# How what is summed transforms. With time reversal the anomalous Hall conductivity changes sign;
# the intrinsic spin responses, where the sign of the spin makes up for it, do not.
_HALL = Tensor("anomalous Hall response", ("flow", "field"), time_reversal=-1)
_SPIN_HALL = Tensor("spin Hall response", ("flow", "field", "spin"))
_TORQUE_DENSITY = Tensor("torque density", ("field", "spin"))
_SPIN_CURRENT = Tensor("equilibrium spin current", ("flow", "spin"))
_NUMBER = Tensor("number of electrons", ())


class Definition(eqx.Module):
    """One definition of the spin Hall conductivity: what is summed, and where it comes from."""

    observable: Observable
    formula: str = eqx.field(static=True)
    source: str = eqx.field(static=True)


#: The definitions that `spin_hall` knows.
DEFINITIONS: dict[str, Definition] = {
    "conventional": Definition(
        observables.ConventionalSpinHall(),
        "σ^s_ab = -2 (e²/ħ) Σ f_m Im Σ_n <m|½{s,v_a}|n><n|v_b|m> ħ²/(ε_m-ε_n)²",
        "Sinova et al., Phys. Rev. Lett. 92, 126603 (2004)",
    ),
    "proper_published": Definition(
        observables.ProperSpinHallPublished(),
        "σ^s_ab = (e²/ħ) Σ f_m Σ_n s_nn Ω_ab,mn",
        f"{_PAPER}, Eqs. (1), (2) as printed",
    ),
    "proper_corrected": Definition(
        observables.ProperSpinHallCorrected(),
        "σ^s_ab = (e²/ħ) Σ f_m s_mm Ω_ab,m",
        f"{_PAPER}, Eqs. (C15)-(C22) with the index of (C19) corrected",
    ),
    "kubo": Definition(
        observables.KuboSpinHall(),
        "σ^s_ab = -i ∂_q χ(s, E_b)|_(q along a), q -> 0 before ω -> 0",
        "Shi, Zhang, Xiao and Niu, Phys. Rev. Lett. 96, 076604 (2006)",
    ),
}

#: What a choice is that the caller has to make, so that an error can say which there are.
NOT_GIVEN = "not given"


class SpinHallPieces(eqx.Module):
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

    def __repr__(self) -> str:
        rows = [f"  {name}: {float(value):.2e}" for name, value in self.residuals.items()]
        parts = [repr(part) for part in (self.J1, self.J2, self.I1, self.I2)]
        return "\n".join([*parts, f"residuals of the identities [{self.J1.units}]", *rows])

    __str__ = __repr__


def anomalous_hall(
    model: Model,
    mesh: Mesh,
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
            group; `Strict()` takes every band for itself.
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
    sums, groups = _checked_sum(
        observables.AnomalousHall(),
        (_HALL,),
        model,
        mesh,
        levels,
        degeneracy,
        progress,
        checkpoint,
        2,
    )
    return _response(
        sums,
        model,
        levels,
        ("flow", "field"),
        units.charge_conductivity(model.dimension),
        name="anomalous Hall conductivity",
        formula="σ_ab = -(e²/ħ) Σ f_m Ω_ab,m",
        source="Nagaosa et al., Rev. Mod. Phys. 82, 1539 (2010)",
        groups=groups,
    )


def spin_hall(
    model: Model,
    mesh: Mesh,
    levels: Levels,
    *,
    definition: str = NOT_GIVEN,
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
            group; `Strict()` takes every band for itself.
        progress: show a progress bar; None shows it where standard error is a terminal.
        checkpoint: a file, or `Checkpoint(path, seconds)`, in which the sums so far are kept. The
            same call goes on from it after an interruption, to the same result bit by bit, and
            removes it at the end (docs/running.md).
    Returns:
        Response with axes (temperature?, mu, flow, field, spin), in (ħ/2e) S/m (3D) or (ħ/2e) S
        (2D). `info["torque_density"]` is the largest spin generation rate |Tr t ρ_E| (units
        e/2 Å^(1-d)); where it is not zero the torque dipole depends on the origin, and a
        warning says so.
    Raises:
        ValueError: unknown definition, exactly degenerate bands with `Strict()`, a downfolded model
            with "proper_published" or "kubo", and other bad input, named before the sum starts.
    """
    _check_definition(definition, list(DEFINITIONS))
    chosen = DEFINITIONS[definition]
    _check_bands_of(model, definition)
    both = observables.Together((chosen.observable, observables.Torque()))
    sums, groups = _checked_sum(
        both,
        (_SPIN_HALL, _TORQUE_DENSITY),
        model,
        mesh,
        levels,
        degeneracy,
        progress,
        checkpoint,
        2,
        converging=chosen.observable,
    )
    d = model.dimension
    main, torque = _split(sums, [(d, d, 3), (d, 3)])
    response = _response(
        main,
        model,
        levels,
        ("flow", "field", "spin"),
        units.spin_conductivity(d),
        name=f"spin Hall conductivity ({definition})",
        formula=chosen.formula,
        source=chosen.source,
        groups=groups,
        extra={"torque_density": _largest(torque.value)},
    )
    _warn_of_torque(main, torque, definition)
    return response


def spin_hall_pieces(
    model: Model,
    mesh: Mesh,
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
    others = [DEFINITIONS[n] for n in ("proper_published", "proper_corrected", "conventional")]
    checks.check_model(model)
    checks.check_every_band(model, "parts of the proper spin Hall conductivity")
    together = observables.Together(
        (observables.SpinHallPieces(), *(other.observable for other in others))
    )
    together = observables.OfBands(together)
    sums, groups = _checked_sum(
        together, (_SPIN_HALL,) * 7, model, mesh, levels, degeneracy, progress, checkpoint, 2
    )
    d = model.dimension
    unit = units.spin_conductivity(d)
    *pieces, published, corrected, conventional = _split(sums, [(d, d, 3)] * 7)
    j1, j2, i1, i2 = (piece.value for piece in pieces)
    a, b = published.value, corrected.value
    violations = {
        "J2 + I1": j2 + i1,
        "J1 - (A+B)/2": j1 - (a + b) / 2,
        "I2 - (B-A)/2": i2 - (b - a) / 2,
        "J1 + J2 - conventional": j1 + j2 - conventional.value,
    }
    factor = units.per_natural(unit)
    formulas = {
        "J1": "½ tr s_d {v_a, ρ_E}",
        "J2": "½ tr s_od {v_a, ρ_E}",
        "I1": "i tr t ∂ρ_EQ/∂Q_a",
        "I2": "½ (e/ħ) Σ f_m {D_b s_od, R^a}_mm",
    }
    responses = {
        name: _response(
            piece,
            model,
            levels,
            ("flow", "field", "spin"),
            unit,
            name=f"spin Hall conductivity, part {name}",
            formula=formula,
            source=f"{_PAPER}, appendix C (index of C19 corrected)",
            groups=groups,
        )
        for piece, (name, formula) in zip(pieces, formulas.items(), strict=True)
    }
    residuals = {name: jnp.max(jnp.abs(v)) * factor for name, v in violations.items()}
    return SpinHallPieces(**responses, residuals=residuals)


def torque_density(
    model: Model,
    mesh: Mesh,
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
        Response with axes (temperature?, mu, field, spin), units "e/2 Angstrom^(1-d)" per field.
    """
    sums, groups = _checked_sum(
        observables.Torque(),
        (_TORQUE_DENSITY,),
        model,
        mesh,
        levels,
        degeneracy,
        progress,
        checkpoint,
        1,
    )
    d = model.dimension
    response = _response(
        sums,
        model,
        levels,
        ("field", "spin"),
        units.spin_generation(d),
        name="torque density",
        formula="Tr t ρ_E = (e/2) Σ f_m 2 Im Σ_n s_nm R^b_mn",
        source=f"{_PAPER}, discussion of Eq. (1)",
        groups=groups,
    )
    if not is_traced(sums) and _is_nonzero(sums, _largest(sums.value) * 0 + 1e-3):
        warnings.warn(_TORQUE, stacklevel=2)
    return response


class EquilibriumSpinCurrent(eqx.Module):
    """The equilibrium spin current and the two parts it consists of."""

    #: The sum of both parts.
    total: Response
    #: v_m s_mm: the spin carried with the group velocity, the first term of Eq. (14).
    trivial: Response
    #: The part of the interband Berry connection, the second term of Eq. (14).
    topological: Response

    def __repr__(self) -> str:
        return "\n".join(map(repr, (self.total, self.trivial, self.topological)))

    __str__ = __repr__


def equilibrium_spin_current(
    model: Model,
    mesh: Mesh,
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
    checks.check_model(model)
    degeneracy = checks.choose_degeneracy(checks.sample_hamiltonians(model), degeneracy)
    indices = checks.check_bands(model, bands, degeneracy)
    observable: Observable = observables.EquilibriumSpinCurrent()
    if indices is not None:
        observable = observables.Restricted(observable, indices)
    tensors = (_SPIN_CURRENT, _SPIN_CURRENT)
    sums, groups = _checked_sum(
        observable,
        tensors,
        model,
        mesh,
        levels,
        degeneracy,
        progress,
        checkpoint,
        1,
        complete=_with_total,
    )
    d = model.dimension
    total, *parts = _split(sums, [(d, 3)] * 3)
    formulas = {
        "total": "ħJ^s_a = Σ f_m <m|½{s, ∂_a H}|m>",
        "trivial": "Σ f_m ∂_a ε_m s_mm",
        "topological": "Σ f_m Re Σ_n≠m s_mn (∂_a H)_nm",
    }
    return EquilibriumSpinCurrent(
        **{
            name: _response(
                part,
                model,
                levels,
                ("flow", "spin"),
                units.spin_current(d),
                name=f"equilibrium spin current ({name})",
                formula=formula,
                source="Samokhin, Sigrist and Fischer (2025), Eqs. (14), (15)",
                groups=groups,
            )
            for part, (name, formula) in zip((total, *parts), formulas.items(), strict=True)
        }
    )


def _with_total(parts: Float[Array, "*levels c"]) -> Float[Array, "*levels 3c/2"]:
    """The sum of both parts and the parts, so that the total has an error of its own."""
    trivial, topological = jnp.split(parts, 2, axis=-1)
    return jnp.concatenate([trivial + topological, parts], axis=-1)


def carrier_density(
    model: Model,
    mesh: Mesh,
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
    sums, groups = _checked_sum(
        observables.Number(), (_NUMBER,), model, mesh, levels, degeneracy, progress, checkpoint, 1
    )
    return _response(
        sums,
        model,
        levels,
        (),
        units.density(model.dimension),
        name="carrier density",
        formula="n = Σ f_m",
        source="definition",
        groups=groups,
    )


def density_of_states(
    model: Model,
    mesh: Mesh,
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
    sums, groups = _checked_sum(
        observables.States(), (_NUMBER,), model, mesh, levels, degeneracy, progress, checkpoint, 1
    )
    return _response(
        sums,
        model,
        levels,
        (),
        units.density_of_states(model.dimension),
        name="density of states",
        formula="∂n/∂mu = Σ (-∂f/∂ε)(ε_m)",
        source="definition",
        groups=groups,
    )


def bands(
    model: Model,
    k: Float[Array, "*batch d"],
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> BandStructure:
    """Energies, velocities, spin and geometry of the bands at any k.

    Args:
        k: wave vectors in 1/Å, shape (..., d).
    Returns:
        `BandStructure`, with the k axes first: energies (..., n) in eV; velocity (..., d, n, n),
        ∂H/∂k in the band basis in eV Å; spin (..., 3, n, n) in units of ħ/2 (None if the model has
        no spin operator); basis (..., n, n), its columns the eigenvectors; berry_connection
        (..., d, n, n) in Å; berry_curvature (..., n, d, d) in Å²; groups (..., n); gaps.
    Raises:
        ValueError: `k` has another dimension than the model or is not finite.
    """
    checks.check_is_model(model)
    return from_bands(
        *_at(_unchanged, model, k, degeneracy=degeneracy, spin=_has_spin(model), beyond=True)
    )


def berry_curvature(
    model: Model,
    k: Float[Array, "*batch d"],
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> Float[Array, "*batch n d d"]:
    """Berry curvature of each band, Ω_ab = -2 Im Σ_n v^a_mn v^b_nm ħ²/(ε_m-ε_n)², in Å².

    Antisymmetric in the last two axes; Ω^z = [..., 0, 1]. Members of a degenerate group get the
    mean over the group. With elements of the position operator the curvature is that of the
    crystal, with what comes from states beyond the bands of the model.
    """
    return _per_band(geometry.berry_curvature, model, k, degeneracy, beyond=True)


def quantum_metric(
    model: Model,
    k: Float[Array, "*batch d"],
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> Float[Array, "*batch n d d"]:
    """Quantum metric of each band, g_ab = Re Σ_n R^a_mn R^b_nm, in Å².

    Members of a degenerate group (within 1e-6 eV) get the mean over the group.

    Raises:
        ValueError: the model has elements of the position operator, which do not tell what states
            beyond its bands contribute.
    """
    checks.check_model(model)
    checks.check_complete(model, "quantum metric")
    return _per_band(geometry.quantum_metric, model, k, degeneracy)


def orbital_moment(
    model: Model,
    k: Float[Array, "*batch d"],
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> Float[Array, "*batch n d d"]:
    """Orbital magnetic moment of each band, m_ab = ½ Σ_n (ε_m-ε_n) Ω_ab,mn, in (e/ħ) eV Å².

    m_z = [..., 0, 1] = -(e/2)⟨x v_y - y v_x⟩; divide by `jaxspin.units.BOHR_MAGNETON` for Bohr
    magnetons. Members of a degenerate group (within 1e-6 eV) get the mean over the group.

    Raises:
        ValueError: the model has elements of the position operator, which do not tell what states
            beyond its bands contribute.
    """
    checks.check_model(model)
    checks.check_complete(model, "orbital moment")
    return _per_band(geometry.orbital_moment, model, k, degeneracy)


def spin_berry_curvature(
    model: Model,
    k: Float[Array, "*batch d"],
    *,
    definition: str = NOT_GIVEN,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> Float[Array, "*batch n d d 3"]:
    """What each band contributes to `spin_hall`, in Å²: axes (..., band, flow, field, spin).

    σ^s_ab = (e²/ħ) Σ_k Σ_m f(ε_m) [this]. Members of a degenerate group (within 1e-6 eV) get the
    mean over the group.

    Raises:
        ValueError: unknown definition, or "kubo", which is not a sum over the Fermi sea alone; a
            downfolded model with "proper_published".
    """
    _check_definition(definition, [name for name in DEFINITIONS if name != "kubo"])
    _check_bands_of(model, definition)
    observable = DEFINITIONS[definition].observable
    return _per_band(_Sea(observable), model, k, degeneracy, **observable.needs)


# What is compiled is a named function or a module, never a fresh lambda: jit would not know it
# again at the next call.


def _unchanged(bands: Bands) -> Bands:
    return bands


class _Sea(eqx.Module):
    """The Fermi-sea weights of a spin Hall observable, (flow, field, spin, band, K)."""

    observable: Observable

    def __call__(self, bands: Bands) -> Array:
        d = bands.velocity.shape[0]
        return self.observable(bands).full.reshape(d, d, 3, *bands.energies.shape)


def _check_definition(definition, allowed: list[str]) -> None:
    if not isinstance(definition, str) or definition not in allowed:
        what = definition if definition == NOT_GIVEN else repr(definition)
        raise ValueError(
            f"Argument `definition` must be one of {', '.join(map(repr, allowed))}, but is {what}."
        )


def _check_bands_of(model, definition: str) -> None:
    checks.check_model(model)
    if DEFINITIONS[definition].observable.every_band:
        checks.check_every_band(model, f"spin Hall conductivity ({definition})")


def _per_band(tensor, model, k, degeneracy, *, spin: bool = False, **needs: bool):
    mean = geometry.GroupMean(tensor)
    return move_k_first(*_at(mean, model, k, degeneracy=degeneracy, spin=spin, **needs))


def _at(
    function, model, k, *, degeneracy, spin: bool, **needs: bool
) -> tuple[Any, tuple[int, ...]]:
    """function(bands) at k of shape (*batch, d) with one k axis, the last; and batch.

    Args:
        spin, needs: which fields of the bands are wanted, as `solve` takes it.
    """
    checks.check_model(model)
    k = checks.as_wave_vectors(model, k)
    if spin:
        checks.check_spin(model)
    batch = k.shape[:-1]
    needs = {"spin": spin, **needs}
    flat = k.reshape(-1, k.shape[-1]).T
    degeneracy = checks.choose_degeneracy(checks.sample_hamiltonians(model), degeneracy)
    checks.check_degeneracy(model, degeneracy)
    result = _solve_and_apply(function, model, flat, degeneracy, needs)
    checks.check_finite_bands(result, model, flat)
    return result, batch


@program
def _solve_and_apply(function, model, k, degeneracy, needs):
    return function(solve(model, k, degeneracy, **needs))


def _has_spin(model) -> bool:
    checks.check_spin_is_a_method(model)
    try:
        eqx.filter_eval_shape(lambda k: model.spin_at(k), jnp.zeros((model.dimension, 1)))
    except ValueError:
        return False
    return True


def _checked_sum(
    observable,
    tensors: tuple[Tensor, ...],
    model,
    mesh,
    levels,
    degeneracy,
    progress,
    checkpoint,
    least_dimension,
    *,
    converging: Observable | None = None,
    complete: Callable[[Array], Array] = lambda sums: sums,
) -> tuple[Sums, dict[str, Array]]:
    """Every check at the door, then the sum, and what degenerate bands are to it, for `info`.

    Args:
        tensors: what the components of `observable` are, in their order.
        converging: what must converge on an infinite mesh, where that is not all of `observable`.
        complete: what is linear and left to do with the sums, after the average over symmetries.
    """
    checkpoint = as_checkpoint(checkpoint)
    checks.check_model(model)
    checks.check_mesh(model, mesh)
    checks.check_levels(levels)
    if model.dimension < least_dimension:
        raise ValueError(
            f"Argument `model` must have dimension 2 or 3 for a Hall response, "
            f"but has dimension {model.dimension}."
        )
    if observable.spin:
        checks.check_spin(model)
    hamiltonians = checks.sample_hamiltonians(model)
    default = checks.choose_degeneracy(hamiltonians, Covariant())
    degeneracy = checks.choose_degeneracy(hamiltonians, degeneracy)
    checks.check_degeneracy(model, degeneracy)
    checks.check_tolerance(hamiltonians, degeneracy)
    checks.check_tail(converging or observable, model, mesh, levels, degeneracy)
    arguments = (levels, degeneracy)
    options = {"progress": progress, "checkpoint": checkpoint}
    if isinstance(mesh, Symmetric):
        with jax.ensure_compile_time_eval():  # which nodes are kept is structure
            folded = mesh.folded(model.lattice)
        checks.check_symmetry(observable, tensors, model, mesh, degeneracy)
        average = averaged(mesh.operations, tensors, model.dimension)
        whole = lambda sums: complete(average(sums))  # noqa: E731
        sums = integrate(observable, model, folded, *arguments, **options, complete=whole)
        checks.check_finite_sums(sums, model, folded)
        sums = include_unresolved(sums, observable, model, mesh.mesh, *arguments, whole)
    else:
        sums = integrate(observable, model, mesh, *arguments, **options, complete=complete)
        checks.check_finite_sums(sums, model, mesh)
        sums = include_unresolved(sums, observable, model, mesh, *arguments, complete)
    checks.check_splitting(sums.smallest_splitting, degeneracy)
    smallest, chosen = sums.smallest_splitting, converging or observable
    whole = mesh.mesh if isinstance(mesh, Symmetric) else mesh
    tolerance = jnp.asarray(getattr(degeneracy, "tolerance", 0.0))
    other = compare_groups(smallest, chosen, model, whole, levels, degeneracy, default)
    return sums, {"degeneracy_tolerance": tolerance, **other}


def _response(
    sums: Sums, model, levels: Levels, components, unit, *, groups, extra=None, **texts
) -> Response:
    """Sums with their component axes, units and texts."""
    length = {"flow": model.dimension, "field": model.dimension, "spin": 3}
    shape = (*levels.shape, *(length[axis] for axis in components))
    factor = units.per_natural(unit)
    temperature = ("temperature",) if levels.temperature.ndim else ()
    info = {
        "smallest_splitting": sums.smallest_splitting,
        **groups,
        "precision": jnp.asarray(8 * sums.value.dtype.itemsize),
        **_origin_of_error(sums),
        **(extra or {}),
    }
    if model.lattice is not None:
        info["external_terms"] = jnp.asarray(model.external_terms)
    xp, (value, error) = as_arrays(sums.value, sums.error)
    # The error of the worst component stands for all: that of one alone can be small by chance.
    error = xp.broadcast_to(xp.max(error, axis=-1, keepdims=True), error.shape)
    return Response(
        value=on_device(value.reshape(shape) * factor),
        error=on_device(error.reshape(shape) * factor),
        levels=levels,
        info=info,
        axes=(*temperature, "mu", *components),
        units=unit,
        refinement=sums.refinement,
        **texts,
    )


def _origin_of_error(sums: Sums) -> dict[str, Array]:
    """Number of coarser meshes that were compared, or how far an adaptive mesh went."""
    if sums.refinement is None:
        return {COARSER_MESHES: sums.compared}
    points, converged = sums.refinement.points, sums.refinement.converged
    return {"points": jnp.asarray(points), "converged": jnp.asarray(converged)}


@jax.ensure_compile_time_eval()
def _split(sums: Sums, shapes) -> list[Sums]:
    """Cut components that were laid end to end."""
    edges = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    xp, arrays = as_arrays(sums.value, sums.error)
    values, errors = (xp.split(array, edges, axis=-1) for array in arrays)
    return [
        Sums(*map(on_device, (v, e)), sums.smallest_splitting, sums.compared, sums.refinement)
        for v, e in zip(values, errors, strict=True)
    ]


_TORQUE = (
    "The torque density is not zero for this model: the field generates spin, and the "
    "torque dipole, hence the proper spin current, depends on the choice of origin. The largest "
    "value is in `info`; `torque_density` gives it for every level."
)


@jax.ensure_compile_time_eval()
def _is_nonzero(torque: Sums, scale) -> bool:
    largest = _largest(torque.value)
    return bool((largest > TORQUE.of(torque.value) * scale) & (largest > 3 * np.max(torque.error)))


def _largest(value: Float[Array, "*n"]) -> Float[Array, ""]:
    """Largest absolute value."""
    xp, (value,) = as_arrays(value)
    return on_device(xp.max(xp.abs(value)))


def _warn_of_torque(main: Sums, torque: Sums, definition: str) -> None:
    if definition == "conventional" or is_traced(main, torque):
        return
    if _is_nonzero(torque, _largest(main.value)):
        warnings.warn(_TORQUE, stacklevel=3)
