"""The distributions of a disordered conductor at the nodes of its Fermi surface, by mechanism."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Complex, Float, Int

from jaxspin.disorder.contributions import solve_distributions
from jaxspin.disorder.fermi_states import as_matrix, find_states
from jaxspin.disorder.relaxation import solve_on_surface
from jaxspin.disorder.scatterers import Disorder
from jaxspin.engine.programs import program
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model
from jaxspin.surfaces import FermiSurfaceRule


class SurfaceDistributions(eqx.Module):
    """What a field does to the states of a Fermi surface; the axis of states a is last.

    Matrices are in the basis of H(k). A density matrix f_a δ(mu − ε) is f = P f P inside the group
    of degenerate bands of the state, nP where the group has one band; for eE along each field, with
    the force −eE. Σ_k Tr(O ρ) = Σ_a w_a Tr(O f_a).
    """

    #: Wave vectors, 1/Å, and bands.
    k: Float[Array, "d a"]
    band: Int[Array, " a"]
    #: Σ_k δ(mu − ε_k) g = Σ_a weight_a Tr(P_a g), 1/(eV Å^d); 0 in empty slots.
    weight: Float[Array, " a"]
    #: P, the projector on the group.
    projector: Complex[Array, "n n a"]
    #: Group velocity ∂ε/∂k, eV Å.
    velocity: Float[Array, "d a"]
    #: ħ/τ = 2γ of each state (Born approximation), eV.
    scattering_rate: Float[Array, " a"]
    #: β, what the disorder mixes into the velocity from other bands, eV Å.
    extrinsic_velocity: Complex[Array, "d n n a"]
    #: f_D, f_sj, f_sk and f_3, Å per unit of eE in eV/Å.
    drude: Complex[Array, "d n n a"]
    side_jump: Complex[Array, "d n n a"]
    skew: Complex[Array, "d n n a"]
    third_cumulant: Complex[Array, "d n n a"]
    #: S, what the collisions with f_D mix into other bands; it has no part inside the group.
    coherence: Complex[Array, "d n n a"]

    def occupations(self, mechanism: str) -> Float[Array, "d a"]:
        """Tr f/g of "drude", "side_jump", "skew" or "third_cumulant": n of each band.

        >>> import jaxspin as js
        >>> model, surface = js.models.MassiveDirac(velocity=1.0, mass=0.3), js.FermiContour(8)
        >>> found = js.disorder.on_surface(model, surface, 1.0, js.ScalarDisorder(0.01))
        >>> skew, drude = (found.occupations(name).max() for name in ("skew", "drude"))
        >>> print(jnp.round(skew / drude, 6))  # 3u0²ξ(1 − ξ²)/(4(1 + 3ξ²))
        0.001612
        """
        matrices = getattr(self, mechanism)
        size = jnp.einsum("iia->a", self.projector).real
        return jnp.einsum("diia->da", matrices).real / size


@program
def _solve_surface(model, nodes, disorder, groups) -> tuple[SurfaceDistributions, Bool[Array, ""]]:
    """And whether bands touch at the Fermi energy."""
    shell = find_states(model, nodes, has_groups=groups)
    scattering = disorder.scattering(shell)
    found = solve_distributions(shell, scattering)
    matrix = lambda f: as_matrix(f, shell.projector.shape[0])  # noqa: E731
    result = SurfaceDistributions(
        k=nodes.k,
        band=nodes.band,
        weight=shell.weight,
        projector=shell.projector,
        velocity=shell.velocity,
        scattering_rate=jnp.where(shell.is_occupied, scattering.rate, 0),
        extrinsic_velocity=matrix(found.extrinsic_velocity),
        drude=matrix(found.drude),
        side_jump=matrix(found.side_jump),
        skew=matrix(found.skew),
        third_cumulant=matrix(found.third_cumulant),
        coherence=matrix(found.coherence),
    )
    return result, jnp.any(shell.is_split)


def on_surface(
    model: Model, surface: FermiSurfaceRule, mu: Float[ArrayLike, ""], disorder: Disorder
) -> SurfaceDistributions:
    """The distributions that a field drives at the Fermi energy `mu` (eV), by mechanism.

    J0 f_D = −eE·v P, J0 f_sj = eE·β, J0 f_sk = −J_sk, S = −iπ (R Y P − P Y† R): the pieces of
    `disordered_response` at each node of the surface (docs/disorder.md).

    Raises:
        ValueError: the surface or the disorder does not fit the model; no Fermi surface; bands
            that touch on it.
    """
    model_checks.check_model(model)
    model_checks.check_complete(model, "distribution in a field")
    return solve_on_surface(_solve_surface, model, surface, mu, disorder=disorder)
