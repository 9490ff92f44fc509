"""Groups of degenerate bands: what the basis inside them does not change, and what adds to 0."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from disorder_table import SYSTEMS
from gauge import random_gauge
from surface_parts import couple, parts_of, states_of
from systems import random_unitary

from jaxspin.disorder import fermi_states
from jaxspin.engine.eigensolvers import eigh

PARTS = ("drude", "extrinsic", "side_jump", "skew")


def solve_in_basis(system, turn, monkeypatch):
    """Every mechanism, and the surface part of the sea, with U turn for the eigenvectors U of each
    node."""

    def turned_eigh(hamiltonian):
        energies, basis = eigh(hamiltonian)
        return energies, jnp.einsum("ija,jla->ila", basis, turn)

    with monkeypatch.context() as patched:
        patched.setattr(fermi_states, "eigh", turned_eigh)
        resolve = eqx.filter_jit(lambda *state: fermi_states.resolve_state(*state))
        patched.setattr("surface_parts._resolve", resolve)
        states = states_of(system)
    mechanisms, surface = parts_of(states, *couple(system, states))
    return np.array([*(getattr(mechanisms, name) for name in PARTS), surface])


def degenerate_bands(system):
    """Mask of the pairs of bands that are degenerate at each node, (n, n, a)."""
    k, _, _ = system.surface()
    energies = np.linalg.eigvalsh(system.hamiltonian(k)).T
    return np.abs(energies[:, None] - energies[None, :]) < 1e-9


@pytest.mark.parametrize("name", ["gamma4_aniso", "gamma4_range", "accidental3_U3"])
def test_unitary_inside_each_group_does_not_matter(name, rng, monkeypatch):
    """Another one at every node and in every group, of empty and filled bands too."""
    system = SYSTEMS[name]
    same = degenerate_bands(system)
    turn = random_gauge(rng, same)
    assert np.max(np.abs(turn[..., 0] - turn[..., 1])) > 0.1
    found = solve_in_basis(system, jnp.asarray(turn), monkeypatch)
    one = jnp.broadcast_to(jnp.eye(len(turn))[..., None], turn.shape)
    expected = solve_in_basis(system, one, monkeypatch)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert np.max(np.abs(expected)) > 0.05


def test_unitary_across_groups_matters(rng, monkeypatch):
    """Negative control: a unitary that mixes bands of other energies is seen."""
    system = SYSTEMS["gamma4_spinflip"]
    count = degenerate_bands(system).shape[-1]
    across = np.stack([random_unitary(rng, 4) for _ in range(count)], axis=-1)
    one = jnp.broadcast_to(jnp.eye(4)[..., None], across.shape)
    there, here = (solve_in_basis(system, u, monkeypatch) for u in (jnp.asarray(across), one))
    assert np.max(np.abs(there - here)) > 0.01


def test_lost_states_are_noticed_by_the_charge():
    """Negative control: a quarter of the nodes is counted with half its weight."""
    system = SYSTEMS["gamma4_spinflip"]
    states = states_of(system)
    weight = states.weight.at[: states.weight.size // 4].multiply(0.5)
    states = dataclasses.replace(states, weight=weight)
    mechanisms, _ = parts_of(states, *couple(system, states))
    assert float(mechanisms.charge) > 1e-3
