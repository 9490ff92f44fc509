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


class LeadingOrders(NamedTuple):
    """Responses of operators o to fields on operators p of the surface alone."""

    #: Σ w Tr A f[B] to leading order.
    leading: Float[Array, "o p"]
    #: The rest, of order u0⁰ in its odd part.
    first: Float[Array, "o p"]
    #: Its part Σ w Tr A B[B], the response of the surface without disorder.
    intrinsic: Float[Array, "o p"]


def sum_leading_orders(
    pairs: PrecessingScattering,
    operators: Float[Array, "o m a"],
    shell: FermiStates,
    mean: PrecessingScattering,
) -> LeadingOrders:
    """The sums over the surfaces of the pairs, with operators as vectors, and of the mean energy."""
    leading = _measure(pairs, operators, pairs.solve_collisions(-operators))
    vectors = as_vector(shell.operators)
    field = mean.remove_charge(mean.inside(vectors))
    f = mean.solve_collisions(-field)
    coherence = interband_coherence(shell, mean, f)
    source = mix_interband(shell, mean, shell.operators) - skew_source(mean, coherence)
    source = source + third_cumulant_source(shell, mean, f)
    intrinsic = _measure(mean, vectors, as_vector(shell.interband_mixing(shell.operators)))
    scattered = mean.solve_collisions(source) + as_vector(coherence)
    return LeadingOrders(leading, _measure(mean, vectors, scattered) + intrinsic, intrinsic)


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
