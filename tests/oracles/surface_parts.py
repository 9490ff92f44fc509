"""The response of the systems of disorder_table.py by the functions of jaxspin.disorder, on nodes
that NumPy found."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from disorder_table import System

from jaxspin.disorder.collision import DenseScattering, LocalScattering
from jaxspin.disorder.contributions import sum_mechanisms
from jaxspin.disorder.fermi_states import FermiStates, as_vector, resolve_state
from jaxspin.disorder.scatterers import _couple_vectors


def states_of(system: System) -> FermiStates:
    """The states on the Fermi surface."""
    k, band, weight = system.surface()
    h, slopes, operators = system.hamiltonian(k), system.slopes(k), system.operators(k)
    h, slopes, operators = (jnp.asarray(np.moveaxis(x, -3, -1)) for x in (h, slopes, operators))
    resolved = _resolve(h.astype(complex), jnp.asarray(band))
    _, projector, resolvent, gap = resolved
    split, ranged = jnp.zeros(band.shape, bool), system.correlator is not None
    several = system.group > 1 and ranged
    k, weight = jnp.asarray(k), jnp.asarray(weight)
    return FermiStates(k, weight, gap, projector, resolvent, slopes, operators, split, several)


_resolve = eqx.filter_jit(resolve_state)


def scattering_of(states: FermiStates, coupling, correlation):
    """𝒲 of `couple`."""
    if correlation is None:
        return LocalScattering(states, coupling, jnp.zeros(()))
    return DenseScattering(states, coupling, correlation)


def couple(system: System, states: FermiStates, strength=1.0):
    """Σ_c A_c X A_c in the basis of vectors, and W(k_a − k_b), None without range."""
    matrices = np.sqrt(strength) * np.asarray(system.disorder, complex)
    coupling = _couple_vectors(jnp.asarray(matrices))
    if system.correlator is None:
        return coupling, None
    return coupling, jnp.asarray(system.correlator(states.k[:, :, None] - states.k[:, None, :]))


@eqx.filter_jit
def parts_of(states: FermiStates, coupling, correlation):
    """The mechanisms, and the Fermi-surface part of the sea, Σ w Tr O B[∂H]."""
    scattering = scattering_of(states, coupling, correlation)
    mixing = as_vector(states.interband_mixing(states.slopes)) * states.weight
    surface = jnp.tensordot(as_vector(states.operators), mixing, axes=((1, 2), (1, 2)))
    return sum_mechanisms(states, scattering), surface


def solve(system: System, strength=1.0):
    """`parts_of` a system."""
    states = states_of(system)
    return jax.tree.map(np.asarray, parts_of(states, *couple(system, states, strength)))
