"""Scattering rates, transport times and relaxation rates of the states at the Fermi energy."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jaxspin.disorder.fermi_states import check_groups, find_states
from jaxspin.disorder.groups import check_covariance, has_groups
from jaxspin.disorder.scatterers import Disorder, check_disorder
from jaxspin.engine.programs import program
from jaxspin.engine.small_matrices import is_traced
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model
from jaxspin.surfaces import FermiSurfaceRule
from jaxspin.surfaces.base import check_surface


class Relaxation(eqx.Module):
    """Scattering and relaxation of the states of a Fermi surface; the axis of states a is last."""

    #: Wave vectors, 1/Å, and bands.
    k: Float[Array, "d a"]
    band: Int[Array, " a"]
    #: Σ_k δ(mu − ε_k) g = Σ_a weight_a g_a, 1/(eV Å^d); 0 in empty slots.
    weight: Float[Array, " a"]
    #: Group velocity ∂ε/∂k, eV Å.
    velocity: Float[Array, "d a"]
    #: ħ/τ = 2Γ of each state (Born approximation), eV.
    scattering_rate: Float[Array, " a"]
    #: Vector mean free path Λ, J0 Λ = v, Å: the Drude distribution is −eE·Λ.
    mean_free_path: Float[Array, "d a"]
    #: Λ·v/v², the transport time over ħ, 1/eV.
    transport_time: Float[Array, " a"]
    #: Eigenvalues of the collision operator over ħ/τ, ascending: 0 for the charge, and for disorder
    #: without range only the n² that are not 1. NaN above 4096 states of finite range.
    spectrum: Float[Array, " r"]


@program
def _find_relaxation(model, nodes, disorder, has_groups) -> tuple[Relaxation, Bool[Array, ""]]:
    """And whether bands touch at the Fermi energy."""
    on_shell = find_states(model, nodes, has_groups=has_groups)
    scattering = disorder.scattering(on_shell)
    velocity = on_shell.velocity
    source = velocity[:, None] * scattering.vectors
    path = scattering.mean_of_bands(scattering.solve_collisions(source))
    square = jnp.sum(velocity**2, axis=0)
    result = Relaxation(
        k=nodes.k,
        band=nodes.band,
        weight=nodes.weight,
        velocity=velocity,
        scattering_rate=jnp.where(on_shell.is_occupied, scattering.rate, 0),
        mean_free_path=path,
        transport_time=jnp.sum(path * velocity, axis=0) / jnp.where(square == 0, 1, square),
        spectrum=scattering.relaxation_rates(),
    )
    return result, jnp.any(on_shell.is_split)


def relaxation(
    model: Model, surface: FermiSurfaceRule, mu: Float[ArrayLike, ""], disorder: Disorder
) -> Relaxation:
    """Scattering rates, transport times and relaxation rates of the states at `mu` (eV).

    Raises:
        ValueError: the surface or the disorder does not fit the model; no Fermi surface; bands
            that touch on it.
    """
    model_checks.check_model(model)
    model_checks.check_complete(model, "scattering rates")
    return solve_on_surface(_find_relaxation, model, surface, mu, disorder=disorder)


def solve_on_surface(
    solve: Callable, model: Model, surface: FermiSurfaceRule, mu: ArrayLike, *, disorder: Disorder
) -> Any:
    """The solution of `solve(model, nodes, disorder, has_groups)` at the nodes of a surface.

    Args:
        solve: gives the solution, with the weights of the states, and whether bands touch there.
    Raises:
        ValueError: the surface or the disorder does not fit the model; no Fermi surface; bands
            that touch on it.
    """
    check_surface(surface)
    check_disorder(disorder, model)
    check_covariance(disorder, model)
    result, is_split = solve(model, surface.nodes(model, mu), disorder, has_groups(model))
    if not is_traced(result):
        if not np.any(result.weight):
            raise ValueError(
                f"Argument `mu` must be in a band, but there is no Fermi surface at {mu} eV."
            )
        check_groups(np.atleast_1d(is_split), np.atleast_1d(mu))
    return result
