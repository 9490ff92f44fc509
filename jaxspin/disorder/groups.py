"""Groups of degenerate bands, such as Kramers pairs, and the disorder that keeps them.

Inside a group the self-energy must be a multiple of the projector, P 𝒲[P'] P ∝ P for all groups P'
at any other k: so it is where inversion times time reversal, or what else makes bands degenerate,
is a symmetry of the disorder too. The collisions of a group are then those of docs/disorder.md. A
self-energy that splits the group makes its spins precess, which is of leading order in the disorder
and depends on states far from the Fermi energy.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin.disorder.fermi_states import FermiStates, find_states
from jaxspin.disorder.scatterers import Disorder
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import known_by_identity, program
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.tolerances import UNSPLIT
from jaxspin.models.base import Model, number_of_bands
from jaxspin.surfaces import FermiSurface

_POINTS = 4


@evaluate_eagerly()
def has_groups(model: Model) -> bool:
    """Whether bands of a model are degenerate at random k; False where it is traced."""
    return not is_traced(model) and _has_groups(model)


@partial(known_by_identity, capacity=64)
def _has_groups(model: Model) -> bool:
    return bool(_largest_group(model) > 1.5)


def check_covariance(disorder: Disorder, model: Model) -> None:
    """The disorder keeps the degeneracy of the bands of a model.

    Raises:
        ValueError: it does not.
    """
    if is_traced(model, disorder) or not has_groups(model):
        return
    if _splits_some_group(disorder, model):
        raise ValueError(
            "Argument `disorder` must keep the degeneracy of the bands, as disorder does that "
            "has the symmetry which makes them degenerate (inversion times time reversal for "
            "Kramers pairs: each matrix goes over into itself or its negative), but its "
            "self-energy splits them. A mixture such as 1 + 0.3 sigma_z in one matrix does "
            "so; two matrices, 1 and 0.3 sigma_z, do not."
        )


@program
def _largest_group(model: Model) -> Float[Array, ""]:
    return jnp.max(_states_at_random_k(model).group_size)


@program
def _splits_some_group(disorder: Disorder, model: Model) -> Bool[Array, ""]:
    """Whether P 𝒲[P'] P is no multiple of P for some two groups."""
    states = _states_at_random_k(model)
    scattering = disorder.scattering(states)

    def scatter_from(other):
        alone = jnp.zeros_like(states.weight).at[other].set(1.0) / states.weight
        averaged = scattering.average_disorder(scattering.vectors * alone)
        inside = scattering.inside(averaged)
        rate = jnp.sum(scattering.vectors * inside, axis=0) / states.group_size
        apart = jnp.sum((inside - rate * scattering.vectors) ** 2, axis=0)
        size = jnp.sum(jnp.broadcast_to(averaged, inside.shape) ** 2, axis=0)
        return jnp.any(apart > UNSPLIT.of(apart) * size)

    return jnp.any(jax.lax.map(scatter_from, jnp.arange(states.weight.size)))


def _states_at_random_k(model: Model) -> FermiStates:
    """All bands at a few k, with weights 1/g."""
    n = number_of_bands(model)
    random = np.random.default_rng(20261130).normal(size=(model.dimension, _POINTS))
    k = jnp.repeat(jnp.asarray(random), n, axis=1)
    band = jnp.tile(jnp.arange(n), _POINTS)
    return find_states(model.prepared(), FermiSurface(k, band, jnp.ones(band.size)))
