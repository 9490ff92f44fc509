"""Bands, geometry and moments at any k, without a sum."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from jaxspin.band_structure import geometry
from jaxspin.band_structure.band_structure import BandStructure, from_bands, move_k_first
from jaxspin.band_structure.bands import Bands, solve_bands
from jaxspin.band_structure.degeneracy import Covariant, Degeneracy
from jaxspin.engine.annotations import Numbers
from jaxspin.engine.programs import program
from jaxspin.engine.validate import NOT_GIVEN, check_choice, check_is_method
from jaxspin.integration import checks
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model, check_is_model
from jaxspin.models.operators import named_operators
from jaxspin.quantities.observable import Observable
from jaxspin.quantities.spin_hall import DEFINITIONS, Definition


def bands(
    model: Model,
    k: Numbers,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> BandStructure:
    """Energies, velocities, spin and geometry of the bands at any k.

    Args:
        k: wave vectors in 1/Å, shape (..., d).
    Returns:
        `BandStructure`, with the k axes first: energies (..., n) in eV; velocity (..., d, n, n),
        ∂H/∂k in the band basis in eV Å; spin (..., 3, n, n) in units of ħ/2 (None if the model has
        no spin operator), and other operators of the model by `operator(name)`; basis (..., n, n),
        its columns the eigenvectors; berry_connection (..., d, n, n) in Å; berry_curvature
        (..., n, d, d) in Å²; groups (..., n); gaps.
    Raises:
        ValueError: `k` has another dimension than the model or is not finite; an operator of the
            model is not Hermitian, not finite or of another size.
    """
    check_is_model(model)
    check_is_method("model", model, "spin")
    return from_bands(
        *_apply_at(
            _return_bands,
            model,
            k,
            degeneracy=degeneracy,
            operators=tuple(named_operators(model)),
            external_curvature=True,
        )
    )


def berry_curvature(
    model: Model,
    k: Numbers,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> Float[Array, "*batch n d d"]:
    """Berry curvature of each band, Ω_ab = -2 Im Σ_n v^a_mn v^b_nm ħ²/(ε_m-ε_n)², in Å².

    Antisymmetric in the last two axes; Ω^z = [..., 0, 1]. Members of a degenerate group get the
    mean over the group. With elements of the position operator the curvature is that of the
    crystal, with what comes from states beyond the bands of the model.
    """
    return _per_band(geometry.berry_curvature, model, k, degeneracy, external_curvature=True)


def quantum_metric(
    model: Model,
    k: Numbers,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> Float[Array, "*batch n d d"]:
    """Quantum metric of each band, g_ab = Re Σ_n R^a_mn R^b_nm, in Å².

    Members of a degenerate group (see `degeneracy`) get the mean over the group.

    Raises:
        ValueError: the model has elements of the position operator, which do not tell what states
            beyond its bands contribute.
    """
    model_checks.check_model(model)
    model_checks.check_complete(model, "quantum metric")
    return _per_band(geometry.quantum_metric, model, k, degeneracy)


def orbital_moment(
    model: Model,
    k: Numbers,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> Float[Array, "*batch n d d"]:
    """Orbital magnetic moment of each band, m_ab = ½ Σ_n (ε_m-ε_n) Ω_ab,mn, in (e/ħ) eV Å².

    m_z = [..., 0, 1] = -(e/2)⟨x v_y - y v_x⟩; divide by `jaxspin.units.BOHR_MAGNETON` for Bohr
    magnetons. Members of a degenerate group (see `degeneracy`) get the mean over the group.

    Raises:
        ValueError: the model has elements of the position operator, which do not tell what states
            beyond its bands contribute.
    """
    model_checks.check_model(model)
    model_checks.check_complete(model, "orbital moment")
    return _per_band(geometry.orbital_moment, model, k, degeneracy)


def spin_berry_curvature(
    model: Model,
    k: Numbers,
    *,
    definition: Definition = NOT_GIVEN,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> Float[Array, "*batch n d d 3"]:
    """Contribution of each band to `spin_hall`, in Å²: axes (..., band, flow, field, spin).

    σ^s_ab = (e²/ħ) Σ_k Σ_m f(ε_m) [this]. Members of a degenerate group (see `degeneracy`) get the
    mean over the group.

    Raises:
        ValueError: unknown definition, or "kubo", which is not a sum over the Fermi sea alone; a
            downfolded model with "proper_published".
    """
    check_choice("definition", definition, [name for name in DEFINITIONS if name != "kubo"])
    model_checks.check_model(model)
    quantity = DEFINITIONS[definition]
    observable = quantity.observable
    if observable.every_band:
        model_checks.check_every_band(model, quantity.name)
    return _per_band(_Sea(observable), model, k, degeneracy, **observable.needs)


# What is compiled is a named function or a module, never a fresh lambda: jit would not know it
# again at the next call.


def _return_bands(bands: Bands) -> Bands:
    return bands


class _Sea(eqx.Module):
    """The Fermi-sea weights of a spin Hall observable, (flow, field, spin, band, K)."""

    observable: Observable

    def __call__(self, bands: Bands) -> Array:
        d = bands.velocity.shape[0]
        return self.observable(bands).full.reshape(d, d, 3, *bands.energies.shape)


def _per_band(tensor, model, k, degeneracy, **needs):
    mean = geometry.GroupMean(tensor)
    return move_k_first(*_apply_at(mean, model, k, degeneracy=degeneracy, **needs))


def _apply_at(
    function, model, k, *, degeneracy, operators: tuple[str, ...] = (), **needs: bool
) -> tuple[Any, tuple[int, ...]]:
    """function(bands) at k of shape (*batch, d) with one k axis, the last; and batch.

    Args:
        operators, needs: which fields of the bands are wanted, as `solve_bands` takes it.
    """
    model_checks.check_model(model)
    k = model_checks.as_wave_vectors(model, k)
    model_checks.check_operators(model, operators)
    batch = k.shape[:-1]
    wanted = {"operators": operators, **needs}
    flat = k.reshape(-1, k.shape[-1]).T
    degeneracy = checks.choose_degeneracy(model, degeneracy)
    checks.check_degeneracy(model, degeneracy)
    result = _solve_and_apply(function, model, flat, degeneracy, wanted)
    checks.check_finite_bands(result, model, flat)
    return result, batch


@program
def _solve_and_apply(function, model, k, degeneracy, needs):
    return function(solve_bands(model, k, degeneracy, **needs))
