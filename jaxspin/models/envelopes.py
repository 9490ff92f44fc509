"""Envelope functions of a well with infinite walls, and what couples heavy and light holes.

The well is |z| < d/2. H_h and H_l are the heavy- and light-hole Hamiltonians at k = 0,
K k_z² + V(z) with K = ħ²/2m and k_z = -i d/dz; the energy of a hole is positive. A well model asks
for no more than the `Subbands` of one of the two ways here: `variational`, one envelope of each
kind in closed form, and `galerkin`, as many as a basis resolves.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import legendre

from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.validate import check_integer


class Subbands(eqx.Module):
    """Heavy- and light-hole subbands at k = 0, without a Zeeman energy."""

    #: Energies of the heavy holes h_a, eV, ascending.
    heavy: Float[Array, " a"]
    #: Energies of the light holes l_b, eV, ascending.
    light: Float[Array, " b"]
    #: ⟨h_a|l_b⟩.
    overlap: Float[Array, "a b"]
    #: ⟨h_a|d/dz|l_b⟩ = -⟨l_b|d/dz|h_a⟩, 1/Å.
    derivative: Float[Array, "a b"]


# --- one envelope of each kind --------------------------------------------------------------------


def variational(heavy: Array, light: Array, width: Array, force: Array) -> Subbands:
    """The subbands of lowest energy in V = -force z, with the envelopes of `exponent`.

    φ_v ∝ sin(π x) exp(-β_v x), x = z/d + 1/2; Liu, Cullen and Culcer, PRB 108, 195434 (2023),
    Eq. (12). All matrix elements are closed forms:

        E_v = K_v (π² + β_v²)/d² - force d g(β_v),   g of `mean_position`,
        ⟨h|l⟩ = T((β_h + β_l)/2) / sqrt(T(β_h) T(β_l)),   T(β) = sinh(β)/[β (β² + π²)],
        ⟨h|d/dz|l⟩ = (β_h - β_l)/(2d) ⟨h|l⟩.

    Args:
        masses: ħ²/2m along z of heavy and of light holes, eV Å².
        width: d, Å.
        force: -∂V/∂z, eV/Å.
    """
    kinetic = jnp.stack([heavy, light]) / width**2
    beta = jnp.stack([exponent(force * width / (2 * k)) for k in kinetic])
    energies = kinetic * (jnp.pi**2 + beta**2) - force * width * mean_position(beta)
    # In logarithms, for T itself overflows from β = 710 on.
    overlap = jnp.exp(_log_norm(jnp.mean(beta)) - jnp.mean(_log_norm(beta)))
    derivative = (beta[0] - beta[1]) / (2 * width) * overlap
    return Subbands(energies[:1], energies[1:], overlap[None, None], derivative[None, None])


def mean_position(beta: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """g(β) = ⟨z⟩/d = 1/2β - coth(β)/2 + β/(β² + π²) of the envelope sin(π x) exp(-β x).

    >>> round(float(mean_position(jnp.array(-3.0))), 6)
    0.176832
    """
    small = jnp.abs(beta) < _SMALL
    away = jnp.where(small, 1.0, beta)
    langevin = jnp.where(small, _langevin_series(beta), 1 / jnp.tanh(away) - 1 / away)
    return beta / (beta**2 + jnp.pi**2) - langevin / 2


# coth(β) - 1/β: below 0.1 the closed form has lost three digits, and the first term that the series
# leaves out is 10⁻¹⁷ of it.
_SMALL = 0.1
_LANGEVIN = (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555, -1382 / 638512875)


def _langevin_series(beta):
    return beta * jnp.polyval(jnp.array(_LANGEVIN[::-1]), jnp.minimum(beta**2, _SMALL**2))


def _log_norm(beta):
    """log T(β); T is up to exp(-β) and constants the norm of the envelope."""
    small = jnp.abs(beta) < _SMALL
    away = jnp.where(small, 1.0, jnp.abs(beta))
    log_sinh = away + jnp.log1p(-jnp.exp(-2 * away)) - jnp.log(2.0)
    ratio = jnp.where(small, _log_ratio(beta), log_sinh - jnp.log(away))
    return ratio - jnp.log(beta**2 + jnp.pi**2)


def _log_ratio(beta):
    """log(sinh(β)/β) for small β, the integral of `_langevin_series`."""
    square = jnp.minimum(beta**2, _SMALL**2)
    integrated = [c / (2 * n + 2) for n, c in enumerate(_LANGEVIN)]
    return square * jnp.polyval(jnp.array(integrated[::-1]), square)


def _exponent_jvp(primals, tangents):
    (slope,), (change,) = primals, tangents
    beta = exponent(slope)
    first, second = _position_slopes(beta)
    return beta, first / (1 - slope * second) * change


@with_derivative(_exponent_jvp)
def exponent(slope: Float[Array, ""]) -> Float[Array, ""]:
    """The β that minimises β² - 2 slope g(β), the energy of the envelope over K/d².

    β = slope g'(β), slope = force d³/2K: one root, of the opposite sign, for -g' is even, positive
    and falls with |β|. The derivative is that of the implicit function,
    dβ = g'/(1 - slope g'') d slope.

    >>> round(float(exponent(jnp.array(38.7))), 4)
    -2.1423
    """
    size = jnp.abs(slope)
    # -g' is at most 1/6 - 1/π² and at most 3/2β², so that both are above the root.
    start = jnp.minimum(size * (1 / 6 - 1 / jnp.pi**2), jnp.cbrt(1.5 * size))

    def step(_, beta):
        first, second = _position_slopes(beta)
        return beta - (beta + size * first) / (1 + size * second)

    root = jax.lax.fori_loop(0, _STEPS, step, start)
    return -jnp.sign(slope) * root


# From the start above 4 steps of Newton's iteration reach rounding, for slopes of 1e-8 to 1e10.
_STEPS = 6


def _position_slopes(beta):
    """g'(β) and g''(β)."""
    first = jax.grad(mean_position)
    return first(beta), jax.grad(first)(beta)


# --- as many as a basis resolves ------------------------------------------------------------------


class Legendre(eqx.Module):
    """The polynomials in z that vanish at the walls, up to degree `number` + 1.

    Combinations of P_{i+2} - P_i, P_i the Legendre polynomials of 2z/d. The lowest subbands
    converge exponentially with `number`: those of a 25 nm well in 10⁶ V/m to 10⁻⁸ meV at 14.
    """

    number: int = eqx.field(static=True)

    def __check_init__(self):
        check_integer("number", self.number, 2, _MOST)

    @property
    def resolved(self) -> int:
        """Number of the lowest states that are those of the well.

        In GaAs, 25 nm wide, at 10⁶ V/m these energies were right to 10⁻³ for `number` from 8 to 40.
        """
        return self.number // 2

    def positions(self, width: Float[Array, ""]) -> Float[Array, " q"]:
        """The z at which the potential is taken, Å."""
        return width / 2 * _tabulate_functions(self.number).nodes

    def states(
        self, kinetic: Float[Array, ""], width: Float[Array, ""], potential: Float[Array, " q"]
    ) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
        """Energies (eV) and states (columns) of kinetic k_z² + V, rising at z = -d/2.

        Args:
            potential: V at `positions`, eV.
        """
        energies, states = jnp.linalg.eigh(self.hamiltonian(kinetic, width, potential))
        return energies, states * _rising_signs(_tabulate_functions(self.number), states)

    def hamiltonian(self, kinetic, width, potential):
        """kinetic k_z² + V between the functions of the basis, eV, (n, n)."""
        tables = _tabulate_functions(self.number)
        confinement = tables.values.T @ (potential[:, None] * tables.values)
        return kinetic * (2 / width) ** 2 * tables.kinetic + confinement

    @property
    def finer(self) -> "Legendre":
        """Twice as many functions, to see what the basis resolves."""
        return Legendre(min(2 * self.number, _MOST))

    def derivative(self, width: Float[Array, ""]) -> Float[Array, "n n"]:
        """d/dz between the functions of the basis, 1/Å."""
        return 2 / width * _tabulate_functions(self.number).derivative


_MOST = 60  # above it the rounding errors of the orthonormal functions exceed 10⁻¹¹


class _FunctionTables(eqx.Module):
    """The orthonormal functions of 2z/d on [-1, 1]."""

    nodes: np.ndarray  # (q,)
    values: np.ndarray  # (q, n), times the roots of the weights of the nodes
    kinetic: np.ndarray  # (n, n)
    derivative: np.ndarray  # (n, n)
    walls: np.ndarray  # (2, n), slopes at -1 and at 1


def _rising_signs(tables: _FunctionTables, states: Float[Array, "n n"]) -> Float[Array, " n"]:
    """The signs with which all states rise at z = -d/2.

    State n = 1, 2, ... has n - 1 nodes, so that its slopes at the two walls are then of the signs
    1 and (-1)^n. Both count, for a field makes one of them too small to have a sign.
    """
    left, right = tables.walls @ states
    alternating = (-1.0) ** np.arange(1, len(left) + 1)
    return jnp.where(left + alternating * right < 0, -1.0, 1.0)


@functools.lru_cache(maxsize=32)
def _tabulate_functions(number: int) -> _FunctionTables:
    nodes, weights = legendre.leggauss(2 * number + 10)  # V like a polynomial of degree 2n + 14
    bubbles = np.eye(number, number + 2, 2) - np.eye(number, number + 2)  # P_{i+2} - P_i
    norms = bubbles @ np.diag(2 / (2 * np.arange(number + 2) + 1)) @ bubbles.T
    orthonormal = np.linalg.solve(np.linalg.cholesky(norms), bubbles)
    root = np.sqrt(weights)[:, None]
    values = root * legendre.legval(nodes, orthonormal.T).T
    slopes = root * legendre.legval(nodes, legendre.legder(orthonormal.T)).T
    walls = legendre.legval(np.array([-1.0, 1.0]), legendre.legder(orthonormal.T)).T
    return _FunctionTables(nodes, values, slopes.T @ slopes, values.T @ slopes, walls)


def galerkin(
    basis: Legendre,
    masses: tuple[Array, Array],
    width: Array,
    potential: Float[Array, " q"],
    subbands: tuple[int, int],
) -> Subbands:
    """The lowest heavy- and light-hole subbands in V(z).

    Args:
        masses: ħ²/2m along z of heavy and of light holes, eV Å².
        width: d, Å.
        potential: V at the positions of the basis, eV.
        subbands: how many heavy- and how many light-hole subbands.
    """
    (heavy_energies, h), (light_energies, l) = (
        basis.states(kinetic, width, potential) for kinetic in masses
    )
    h, l = h[:, : subbands[0]], l[:, : subbands[1]]
    return Subbands(
        heavy=heavy_energies[: subbands[0]],
        light=light_energies[: subbands[1]],
        overlap=h.T @ l,
        derivative=h.T @ basis.derivative(width) @ l,
    )
