"""The responses of the states at the Fermi energy to a field, to leading orders in the disorder.

Burgos Atencia, Niu and Culcer (2022), in the form of docs/disorder.md: ħ = e = 1, force −eE, and
f_a the matrix amplitudes of a distribution f_a δ(mu − ε) in a group of degenerate bands, n_a P_a
where the group has one. An operator O is measured as

    Σ_a w_a Tr O (f_D + f_sj + f_sk + f_3 + S)_a  and a sum over the Fermi sea (`sea`),

S being what the collisions with f_D mix into the other bands: Σ w Tr(O S) = Σ w Tr(γ[O] f_D).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxspin.disorder.collision import Scattering
from jaxspin.disorder.fermi_states import FermiStates, as_matrix, as_vector
from jaxspin.engine.small_matrices import dagger, matmul


class Parts(eqx.Module):
    """Response by each mechanism: axes (o, field), o being the operators of the states."""

    drude: Float[Array, "o d"]
    extrinsic: Float[Array, "o d"]
    side_jump: Float[Array, "o d"]
    skew: Float[Array, "o d"]
    third_cumulant: Float[Array, "o d"]
    #: Largest Σ w Tr x of the sources x of J0, over the largest Σ w |x| of its mechanism or of the
    #: terms that cancel in it: zero by conservation of charge.
    charge: Float[Array, ""]


class Distributions(eqx.Module):
    """The distributions in a field, as vectors of their components, and what drives them."""

    drude: Float[Array, "d m a"]
    side_jump: Float[Array, "d m a"]
    skew: Float[Array, "d m a"]
    third_cumulant: Float[Array, "d m a"]
    #: S, between the bands of a state and the others.
    coherence: Float[Array, "d m a"]
    #: β.
    extrinsic_velocity: Float[Array, "d m a"]
    #: Largest Σ w Tr x of the sources, see `Parts.charge`.
    charge: Float[Array, ""]


def solve_distributions(shell: FermiStates, scattering: Scattering) -> Distributions:
    """What a field drives at the states of a Fermi surface."""
    velocity = shell.velocity[:, None] * scattering.vectors
    drude = scattering.solve_collisions(-velocity)
    coherence = interband_coherence(shell, scattering, drude)
    extrinsic_velocity = mix_interband(shell, scattering, shell.slopes)
    skew = skew_source(scattering, coherence)
    third_order = third_cumulant_source(shell, scattering, drude)
    driven = scattering.solve_collisions(jnp.concatenate([extrinsic_velocity, -skew, third_order]))
    side_jump, skewed, third = jnp.split(driven, 3)
    sources = jnp.stack([velocity, extrinsic_velocity, skew, third_order])
    return Distributions(
        drude=drude,
        side_jump=side_jump,
        skew=skewed,
        third_cumulant=third,
        coherence=as_vector(coherence),
        extrinsic_velocity=extrinsic_velocity,
        charge=_find_imbalance(scattering, sources, _measure_terms(shell, scattering, drude)),
    )


def sum_mechanisms(shell: FermiStates, scattering: Scattering) -> Parts:
    """The contributions of the Fermi surface."""
    found = solve_distributions(shell, scattering)
    measured = as_vector(shell.operators) * shell.weight

    def measure(f: Float[Array, "j m a"]) -> Float[Array, "o j"]:
        return jnp.tensordot(measured, f, axes=((-2, -1), (-2, -1)))

    return Parts(
        drude=measure(found.drude),
        extrinsic=measure(found.coherence),
        side_jump=measure(found.side_jump),
        skew=measure(found.skew),
        third_cumulant=measure(found.third_cumulant),
        charge=found.charge,
    )


def mix_interband(
    shell: FermiStates, scattering: Scattering, operators: Complex[Array, "o n n a"]
) -> Float[Array, "o m a"]:
    """γ_a[O] = 2π P {𝒲[Ξ] − {𝒲[ρ̂], B_a[O]}} P, Ξ = Σ_a w_a B_a[O].

    The interband mixing by the disorder of what a state shows of O; for O = ∂H it is the extrinsic
    velocity β of the paper, Eqs. (47) and (61) with the indices put right, and J_E = E·β ∂f/∂ε: the
    collision term of the field, (38), with its first sum over all bands m'. As printed (m' = m) it
    depends on the gauge where several bands are at the Fermi energy.
    """
    return _scatter_coherence(scattering, shell.interband_mixing(operators))


def interband_coherence(
    shell: FermiStates, scattering: Scattering, f: Float[Array, "j m a"]
) -> Complex[Array, "j n n a"]:
    """S = −iπ (R Y P − P Y† R), Y_a = 𝒲[ρ̂] f_a − 𝒲[N̂], N̂ = Σ_a w_a f_a.

    What the collisions with f mix into the other bands, the D' of (31), (33).
    """
    n = shell.projector.shape[0]
    self_energy = as_matrix(scattering.average_disorder(scattering.vectors), n)
    scattered_in = as_matrix(scattering.average_disorder(f), n)
    mixed = matmul(self_energy, as_matrix(f, n)) - matmul(scattered_in, shell.projector)
    transition = matmul(shell.resolvent, mixed)
    return -1j * jnp.pi * (transition - dagger(transition))


def skew_source(
    scattering: Scattering, coherence: Complex[Array, "j n n a"]
) -> Float[Array, "j m a"]:
    """J_sk,a = 2π P {{𝒲[ρ̂], S_a} − 𝒲[Σ_a w_a S_a]} P, the skew collision term.

    This is *twice the on-shell part* of the paper's (36): its terms that fill states away from the
    Fermi energy are absent from the non-crossing Kubo-Streda result. (36) as printed holds only
    with particle-hole symmetric pairs of bands, such as the Dirac cone.
    """
    return -_scatter_coherence(scattering, coherence)


def _scatter_coherence(
    scattering: Scattering, matrices: Complex[Array, "j n n a"]
) -> Float[Array, "j m a"]:
    """2π P {𝒲[Σ_a w_a X_a] − {𝒲[ρ̂], X_a}} P of Hermitian matrices X."""
    self_energy = as_matrix(scattering.average_disorder(scattering.vectors), matrices.shape[-2])
    scattered_out = matmul(self_energy, matrices)
    scattered_out = as_vector(scattered_out + dagger(scattered_out))
    scattered_in = scattering.average_disorder(as_vector(matrices))
    return 2 * jnp.pi * scattering.inside(scattered_in - scattered_out)


def third_cumulant_source(
    shell: FermiStates, scattering: Scattering, f: Float[Array, "j m a"]
) -> Float[Array, "j m a"]:
    """−2π²i κ₃ P [ρ̂, N̂] P, the golden rule to third order in a potential without range."""
    n = shell.projector.shape[0]
    density = as_matrix((scattering.vectors @ shell.weight)[:, None], n)
    distribution = as_matrix((f @ shell.weight)[..., None], n)
    commuted = matmul(density, distribution)
    commuted = -1j * (commuted - dagger(commuted))
    return 2 * jnp.pi**2 * scattering.third_cumulant * scattering.inside(as_vector(commuted))


def _find_imbalance(
    scattering: Scattering, sources: Float[Array, "s d m a"], terms: Float[Array, " s"]
) -> Float[Array, ""]:
    """Largest Σ w Tr x of the sources, over their size or that of the terms that they consist of.

    One direction of the field may give nothing by symmetry, or all of a mechanism, so that only
    rounding is left of it.
    """
    size = jnp.linalg.norm(sources, axis=-2) @ jnp.abs(scattering.weight)
    size = jnp.maximum(jnp.max(size, axis=1), terms)[:, None]
    held = scattering.mean_of_bands(sources) @ (scattering.weight * scattering.group_size)
    return jnp.max(jnp.abs(held) / jnp.where(size == 0, 1, size))


def _measure_terms(
    shell: FermiStates, scattering: Scattering, f: Float[Array, "j m a"]
) -> Float[Array, "4"]:
    """Size of the terms that velocity, β, J_sk and the source of f_3 are made of: 0, that of
    2γ B[∂H] twice, since both have the order of the rates, and 4π²κ₃ |ρ̂| |N̂|."""
    weight = jnp.abs(shell.weight)
    mixing = jnp.linalg.norm(as_vector(shell.interband_mixing(shell.slopes)), axis=-2)
    rates = jnp.max(mixing @ (weight * scattering.rate))
    density, distribution = (jnp.linalg.norm(x, axis=-2) @ weight for x in (scattering.vectors, f))
    third = 4 * jnp.pi**2 * scattering.third_cumulant * density * jnp.max(distribution)
    return jnp.stack([jnp.zeros(()), rates, rates, jnp.abs(third) * jnp.sum(weight)])
