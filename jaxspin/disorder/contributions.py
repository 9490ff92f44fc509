"""The responses of the states at the Fermi energy to a field, to leading orders in the disorder.

Burgos Atencia, Niu and Culcer (2022), in the form of docs/disorder.md: ħ = e = 1, force −eE, and
`n` the amplitudes of a distribution n_a δ(mu − ε). An operator O is measured as

    Σ_a w_a {O_a (n_D + n_sj + n_sk + n_3)_a + γ_a[O] n_D,a}  and a sum over the Fermi sea (`sea`).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxspin.disorder.collision import Scattering
from jaxspin.disorder.fermi_states import FermiStates, as_matrix, as_vector
from jaxspin.engine.small_matrices import dagger, diagonal_of_product, product


class Parts(eqx.Module):
    """Response by each mechanism: axes (o, field), o being the current −v and then the spin."""

    drude: Float[Array, "o d"]
    extrinsic: Float[Array, "o d"]
    side_jump: Float[Array, "o d"]
    skew: Float[Array, "o d"]
    third_cumulant: Float[Array, "o d"]
    #: Largest Σ w x of the sources x of J0, over the largest Σ w |x| of its mechanism: zero by
    #: conservation of charge.
    charge: Float[Array, ""]


def sum_mechanisms(shell: FermiStates, scattering: Scattering) -> Parts:
    """The contributions of the Fermi surface."""
    operators = measured_operators(shell)
    values = shell.expectation_values(operators)
    mixed_in = mix_interband(shell, scattering, operators)
    d = len(shell.slopes)
    velocity, extrinsic_velocity = -values[:d], -mixed_in[:d]  # of v rather than of the current −v
    n = scattering.solve_collisions(-velocity)
    skew = skew_source(shell, scattering, n)
    third_order = third_cumulant_source(shell, scattering, n)
    sources = jnp.concatenate([extrinsic_velocity, -skew, third_order])
    n_side_jump, n_skew, n_third = jnp.split(scattering.solve_collisions(sources), 3)

    def sum_states(weights: Float[Array, "o a"], n: Float[Array, "j a"]) -> Float[Array, "o j"]:
        return (weights * shell.weight) @ n.T

    return Parts(
        drude=sum_states(values, n),
        extrinsic=sum_states(mixed_in, n),
        side_jump=sum_states(values, n_side_jump),
        skew=sum_states(values, n_skew),
        third_cumulant=sum_states(values, n_third),
        charge=_find_imbalance(
            shell.weight, jnp.stack([velocity, extrinsic_velocity, skew, third_order])
        ),
    )


def measured_operators(shell: FermiStates) -> Complex[Array, "o n n a"]:
    """The operators that are measured: the current −∂H and the spin."""
    spin = jnp.broadcast_to(shell.spin, (3, *shell.slopes.shape[1:]))
    return jnp.concatenate([-shell.slopes, spin])


def mix_interband(
    shell: FermiStates, scattering: Scattering, operators: Complex[Array, "o n n a"]
) -> Float[Array, "o a"]:
    """γ_a[O] = 2π {Tr(P_a 𝒲[Ξ]) − Tr(B_a[O] 𝒲[ρ̂])}, Ξ = Σ_a w_a B_a[O].

    The interband mixing by the disorder of what a state shows of O; for O = ∂H it is the extrinsic
    velocity β of the paper, Eqs. (47) and (61) with the indices put right, and J_E = E·β ∂f/∂ε: the
    collision term of the field, (38), with its first sum over all bands m'. As printed (m' = m) it
    depends on the gauge where several bands are at the Fermi energy.
    """
    p, mixing = as_vector(shell.projector), as_vector(shell.interband_mixing(operators))
    scattering_out = jnp.sum(mixing * scattering.average_disorder(p), axis=-2)
    scattering_in = jnp.sum(p * scattering.average_disorder(mixing), axis=-2)
    return 2 * jnp.pi * (scattering_in - scattering_out)


def skew_source(
    shell: FermiStates, scattering: Scattering, n: Float[Array, "j a"]
) -> Float[Array, "j a"]:
    """J_sk,a = 2π {2 Re Tr(P_a 𝒲[ρ̂] S_a) − Tr(P_a 𝒲[Σ_a w_a S_a])}, the skew collision term.

    S = −iπ (R Y P − P Y R), Y_a = n_a 𝒲[ρ̂] − 𝒲[N̂], is what the collisions with n mix into the other
    bands, the D' of (31), (33). This is *twice the on-shell part* of the paper's (36): its terms
    that fill states away from the Fermi energy are absent from the non-crossing Kubo-Streda result.
    (36) as printed holds only with particle-hole symmetric pairs of bands, such as the Dirac cone.
    """
    p = as_vector(shell.projector)
    bands = shell.projector.shape[0]
    self_energy = as_matrix(scattering.average_disorder(p), bands)
    scattered_in = as_matrix(scattering.average_disorder(n[:, None] * p), bands)
    difference = n[:, None, None] * self_energy - scattered_in
    transition = product(product(shell.resolvent, difference), shell.projector)
    coherence = -1j * jnp.pi * (transition - dagger(transition))
    on_shell = product(shell.projector, self_energy)
    scattering_out = 2 * jnp.sum(diagonal_of_product(on_shell, coherence), axis=-2).real
    scattering_in = jnp.sum(p * scattering.average_disorder(as_vector(coherence)), axis=-2)
    return 2 * jnp.pi * (scattering_out - scattering_in)


def third_cumulant_source(
    shell: FermiStates, scattering: Scattering, n: Float[Array, "j a"]
) -> Float[Array, "j a"]:
    """4π²κ₃ Im Tr(P_a ρ̂ N̂), the golden rule to third order in a potential without range."""
    weighted_projectors = shell.projector * shell.weight
    density = jnp.sum(weighted_projectors, axis=-1)[..., None]
    distribution = jnp.sum(weighted_projectors * n[:, None, None], axis=-1)[..., None]
    triple_product = diagonal_of_product(shell.projector, product(density, distribution))
    return 4 * jnp.pi**2 * scattering.third_cumulant * jnp.sum(triple_product, axis=-2).imag


def _find_imbalance(weight, sources: Float[Array, "s d a"]) -> Float[Array, ""]:
    # One direction of the field may give nothing by symmetry, so that only rounding is left of it.
    size = jnp.max(jnp.abs(sources) @ jnp.abs(weight), axis=1, keepdims=True)
    return jnp.max(jnp.abs(sources @ weight) / jnp.where(size == 0, 1, size))
