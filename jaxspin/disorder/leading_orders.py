"""Response of groups of quasi-degenerate bands, in the two orders of the disorder that are known.

X_AB = Σ w Tr A f[B], the response of A to a field on an electron of which B is the velocity. To
leading order, on the surface of each pair of bands, J0 f[B] = −B. To first order the group counts
as degenerate, on the surface of its mean energy: J0 f_0 = γ[B] − J_sk, f_0 + S + B[B]. The part of
the sum that is odd in the exchange of A and B is complete at order u0⁰, the even part at 1/u0².
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxspin.disorder.contributions import (
    interband_coherence,
    mix_interband,
    skew_source,
    third_cumulant_source,
)
from jaxspin.disorder.fermi_states import FermiStates, as_vector
from jaxspin.disorder.precession import PrecessingScattering


class FirstOrder(NamedTuple):
    """Responses of operators o to fields on operators p, of order u0⁰ in their odd part."""

    #: Σ w Tr A (f_0[B] + S[B] + B[B]).
    total: Float[Array, "o p"]
    #: Its part Σ w Tr A B[B], the response of the surface without disorder.
    intrinsic: Float[Array, "o p"]


def sum_leading(
    scattering: PrecessingScattering, operators: Float[Array, "o m a"]
) -> Float[Array, "o o"]:
    """Σ w Tr A f[B], J0 f[B] = −B, for operators that average to zero, as vectors."""
    return _measure(scattering, operators, scattering.solve_collisions(-operators))


def sum_first_order(shell: FermiStates, scattering: PrecessingScattering) -> FirstOrder:
    """Σ w Tr A (f_0[B] + S[B] + B[B]) on the surface of the mean energy."""
    vectors = as_vector(shell.operators)
    field = scattering.remove_charge(scattering.inside(vectors))
    f = scattering.solve_collisions(-field)
    coherence = interband_coherence(shell, scattering, f)
    source = mix_interband(shell, scattering, shell.operators) - skew_source(scattering, coherence)
    source = source + third_cumulant_source(shell, scattering, f)
    mixing = as_vector(shell.interband_mixing(shell.operators))
    intrinsic = _measure(scattering, vectors, mixing)
    scattered = scattering.solve_collisions(source) + as_vector(coherence)
    return FirstOrder(_measure(scattering, vectors, scattered) + intrinsic, intrinsic)


def neutral_vectors(
    scattering: PrecessingScattering, operators: Complex[Array, "o n n a"]
) -> Float[Array, "o m a"]:
    """Operators less their mean over the states at the Fermi energy, as vectors."""
    v, weight = scattering.nodes.basis, scattering.weight
    present = jnp.einsum("iia->ia", scattering.nodes.kept) * weight
    total = jnp.sum(present)
    mean = jnp.einsum("ia,xia,oxya,yia->o", present, v.conj(), operators, v).real
    mean = mean / jnp.where(total == 0, 1, total)
    one = as_vector(jnp.eye(len(v))[..., None])
    return as_vector(operators) - mean[:, None, None] * one


def _measure(scattering, vectors: Float[Array, "o m a"], f: Float[Array, "p m a"]):
    return jnp.tensordot(vectors * scattering.weight, f, axes=((-2, -1), (-2, -1)))
