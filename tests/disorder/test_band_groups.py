"""Groups of degenerate bands: what the basis inside them does not change, and what adds to 0."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from disorder_table import PAULI, SYSTEMS, TAU_SPIN
from gauge import random_gauge
from surface_parts import couple, parts_of, states_of
from systems import random_unitary

import jaxspin as js
from jaxspin import units
from jaxspin.disorder import fermi_states
from jaxspin.engine.eigensolvers import eigh
from jaxspin.models.base import parameter

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


# --- models ---------------------------------------------------------------------------------------


class Gamma4(js.Model):
    """The system "gamma4_spinflip" of the table as a model in JAX, with an exchange field."""

    exchange: jax.Array = parameter(0.0)  # eV, along x
    dimension = 2
    lattice = np.eye(2)

    def __call__(self, k):
        x, y = k
        even = jnp.cos(x) + jnp.cos(y)
        terms = [-0.2 * even, even - 1.2, jnp.sin(x), 0.8 * jnp.sin(y), 0.3 * jnp.sin(x + y)]
        terms = [*terms, 0.15 * jnp.sin(y - 2 * x)]
        h = sum(f * m for f, m in zip(terms, SYSTEMS["gamma4_spinflip"].matrices, strict=True))
        return h + self.exchange * TAU_SPIN[0]

    def spin(self):
        return TAU_SPIN


def natural(response):
    """The numbers of the only level in units of ħ = e = 1."""
    return np.asarray(response.value)[0] / units.per_natural(response.units)


# --- reciprocity ----------------------------------------------------------------------------------

EVEN = {"flow": "spin_current", "torque": "torque"}
ODD = {"spins": "spin", "current": "current"}


@pytest.fixture(scope="module")
def both_magnetizations():
    """A Rashba gas with magnetic disorder and an exchange field, and with the opposite one."""
    disorder = js.MatrixDisorder(0.1 * np.array([PAULI[0], 0.5 * PAULI[1], 0.7 * PAULI[3]]))
    return [
        js.disordered_response(
            TiltedRashba(sign), js.FermiContour(96), js.Levels(0.5), disorder, measure=EVEN | ODD
        ).measured
        for sign in (1.0, -1.0)
    ]


class TiltedRashba(js.Model):
    """H = k²/2 + 0.3 (k_x σ_y − k_y σ_x) + M·σ."""

    sign: jax.Array = parameter()
    dimension = 2

    def __call__(self, k):
        field = jnp.stack([-0.3 * k[1], 0.3 * k[0], 0.0])
        field = field + self.sign * jnp.array([0.06, 0.03, 0.12])
        return k @ k / 2 * PAULI[0] + jnp.einsum("s,sij->ij", field, PAULI[1:])

    def spin(self):
        return PAULI[1:]


@pytest.mark.parametrize("name", EVEN | ODD)
def test_onsager(name, both_magnetizations):
    """χ⁻_iO(M) = ε_O χ_Oi(−M), for each mechanism; the two sides are separate calculations."""
    here, there = (measured[name] for measured in both_magnetizations)
    parity = 1 if name in EVEN else -1
    inverse = js.disorder.inverse_response(here)
    for part, expected in there.items():
        value = np.asarray(expected.value)[0]
        turned = np.moveaxis(value, 1, 0) if value.ndim > 1 else value
        found = np.asarray(inverse[part].value)[0]
        np.testing.assert_allclose(found, parity * turned, rtol=0, atol=1e-11, err_msg=part)
        assert inverse[part].axes[1] == "flow"
        assert inverse[part].units == expected.units
    # Negative control: without the sign of Drude, or with it everywhere, it would not hold.
    sizes = {part: np.max(np.abs(natural(here[part]))) for part in ("drude", "order_zero")}
    assert sizes["order_zero"] > 1e-3
    assert (sizes["drude"] > 1e-3) == (name != "torque")  # which is zero, by the sum rule


def test_twice_inverted_is_the_response(both_magnetizations):
    flow = both_magnetizations[0].flow
    twice = js.disorder.inverse_response(js.disorder.inverse_response(flow))
    for part, response in flow.items():
        np.testing.assert_array_equal(twice[part].value, response.value)
        assert twice[part].axes == response.axes
    with pytest.raises(ValueError, match="`response` must be the response of one operator"):
        js.disorder.inverse_response(flow.drude)
    spins = js.disorder.inverse_response(both_magnetizations[0].spins)
    with pytest.raises(ValueError, match="is an inverse response, of the axes"):
        js.disorder.inverse_response(spins)


# --- limits ---------------------------------------------------------------------------------------


def respond_in_exchange(exchange, flips, temperature):
    """Every response of pairs in an exchange field, with the limit that was taken."""
    matrices = 0.03 * jnp.array([np.eye(4), *(flips * TAU_SPIN)])
    levels = js.Levels(0.8, temperature=temperature)
    return js.disordered_response(
        Gamma4(exchange=exchange), js.FermiContour(48, reach=2.6), levels,
        js.MatrixDisorder(matrices), measure={"flow": "spin_current"}, sea=js.Grid((32, 32)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def both_limits():
    with pytest.warns(UserWarning, match="Fermi sea|nodes on the Fermi surface|closer than"):
        return [respond_in_exchange(x, 0.4, 0.0) for x in (0.0, 0.1)]


@pytest.mark.study
def test_result_says_which_limit_was_taken(both_limits):
    group, separate = both_limits
    assert (group.limit, separate.limit) == ("group", "separate")
    assert group.info["group_size"] == 2
    assert "limit: group, up to 2 bands as degenerate" in str(group)
    assert "limit: separate, every band by itself" in str(separate)
    assert np.max(np.abs(group.side_jump.conductivity.value)) < 1e-9  # of a Kramers pair
    assert np.max(np.abs(separate.side_jump.conductivity.value)) > 1e-3
