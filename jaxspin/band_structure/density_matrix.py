"""Density matrix at one k: equilibrium, response to a field, to motion, and to both.

The quantum Liouville equation of the elements ρ(k₊, k₋), k± = k ± Q/2, of electrons of charge −e in
a field E (H_E = eE·r), with the position operator r = i∂/∂k + R:

    ∂ρ/∂t + (i/ħ) [H(k₊) ρ − ρ H(k₋)] = (eE/ħ)·Dρ/Dk,    DX/Dk = ∂X/∂k − i[R, X]

solved to first order in E and in Q between different degenerate groups: Liu, Cullen and Culcer,
Phys. Rev. B 108, 195434 (2023), Eqs. (6), (C8), (C13) and (C15), with the indices of (C15), which
(C19) interchanges. Here ħ = 1 and the field is eE.
"""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float

from jaxspin.band_structure.band_structure import BandStructure
from jaxspin.models.base import Model
from jaxspin.models.lifted import Points


class DensityMatrix(eqx.Module):
    """Density matrix ρ(k + Q/2, k − Q/2) to first order in the field eE and in Q, band basis.

        ρ = ρ_0 + eE_b ρ_E,b + Q_a ρ_Q,a + eE_b Q_a ρ_EQ,ab
        ρ_0,mn    = f_m δ_mn                                       `equilibrium`
        ρ_E,b,mn  = R^b_mn (f_m − f_n)/(ε_m − ε_n)                 `field`           (6)
        ρ_Q,a,mn  = −(i/2) R^a_mn (f_m + f_n)                      `motion`          (C13)
        ρ_EQ,ab   = −½ {ħv_a, ρ_E,b}_mn/(ε_m − ε_n)                `both_from_field`  (C8)
                    −i (Dρ_Q,a/Dk_b)_mn/(ε_m − ε_n)                `both_from_motion` (C15)

    All but ρ_0 have elements between degenerate groups only, and the members of a group share the
    occupation of their mean energy: nothing is singular at degenerate bands, and any unitary inside
    a group acts on these matrices as on every operator. What a field does inside a group, the Drude
    part, depends on scattering and is not here. At T = 0 the term of ∂ρ_0/∂k that goes with ∂f/∂ε
    sits on the Fermi surface, which no k meets; for sums over the k of a metal that contain
    `both_from_motion` take T > 0.

    The mean of an operator O is Σ_k Tr(Oρ), and its dipole ⟨½{O, r_a}⟩ is i Σ_k Tr(O ∂ρ/∂Q_a). The
    axes of the batch of k come first, then those of `Levels`, (temperature?, mu).
    """

    #: ρ_0, (*batch, *levels, n, n).
    equilibrium: Float[Array, "*batch_levels n n"]
    #: ρ_E per eE, Å/eV, (*batch, *levels, d, n, n).
    field: Complex[Array, "*batch_levels d n n"]
    #: ρ_Q per Q, Å, (*batch, *levels, d, n, n).
    motion: Complex[Array, "*batch_levels d n n"]
    #: Part of ρ_EQ by the motion of ρ_E, Å²/eV, (*batch, *levels, d, d, n, n): Q first, then E.
    both_from_field: Complex[Array, "*batch_levels d d n n"]
    #: Part of ρ_EQ by the field on ρ_Q, Å²/eV, (*batch, *levels, d, d, n, n): Q first, then E.
    both_from_motion: Complex[Array, "*batch_levels d d n n"]
    #: The bands that are the basis: operators of these, and no others, go with the matrices.
    bands: BandStructure

    @property
    def both(self) -> Complex[Array, "*batch_levels d d n n"]:
        """ρ_EQ per eE and Q, Å²/eV, (*batch, *levels, d, d, n, n): Q first, then E."""
        return self.both_from_field + self.both_from_motion

    def __repr__(self) -> str:
        n, batch = self.bands.energies.shape[-1], self.bands.energies.ndim - 1
        points, levels = self.equilibrium.shape[:batch], self.equilibrium.shape[batch:-2]
        size = " x ".join(map(str, points)) or "one"
        return f"density matrix of {n} bands at {size} k, levels {levels}"

    __str__ = __repr__


class _Elements(eqx.Module):
    """Matrix elements at one k from which the solution is made, in the band basis."""

    degenerate: Bool[Array, "n n"]
    inverse_gap: Float[Array, "n n"]
    velocity: Complex[Array, "d n n"]
    connection: Complex[Array, "d n n"]
    #: D(ħv_a)/Dk_b, (a, b, n, n).
    velocity_derivative: Complex[Array, "d d n n"]

    def intraband(self, operator: Complex[Array, "*c n n"]) -> Complex[Array, "*c n n"]:
        return jnp.where(self.degenerate, operator, 0)

    @property
    def connection_derivative(self) -> Complex[Array, "d d n n"]:
        """(R^a_mn);b, the derivative of R^a along k_b, (a, b, n, n), covariant inside groups.

        From (ε_m − ε_n) R^a_mn = −i v^a_mn between groups, whose energies move by v_b inside them:
        (R^a);b = [−i (v^a);b − v_b^in R^a + R^a v_b^in]/(ε_m − ε_n), and
        (v^a);b = Dv_a/Dk_b + i[R^b, v^a].
        """
        a, b = jnp.s_[:, None], jnp.s_[None]
        slope = self.velocity_derivative + 1j * _commutator(self.connection[b], self.velocity[a])
        shift = _commutator(self.intraband(self.velocity)[b], self.connection[a])
        return (-1j * slope - shift) * self.inverse_gap


def solve_density_matrix(
    model: Model,
    levels_occupation: Callable[[Float[Array, " n"]], tuple[Array, Array]],
    k: Float[Array, " d"],
    bands: BandStructure,
) -> DensityMatrix:
    """The density matrix at one k.

    Args:
        levels_occupation: energies (n,) to f and ∂f/∂ε, (*levels, n).
        bands: those of the model at this k.
    """
    basis, derivative = bands.basis, differentiate_velocity(model, k)
    elements = _Elements(
        degenerate=bands.degenerate,
        inverse_gap=bands.inverse_gap,
        velocity=bands.velocity,
        connection=bands.berry_connection,
        velocity_derivative=_multiply_matrices(
            _multiply_matrices(basis.conj().T, derivative), basis
        ),
    )
    f, slope = levels_occupation(bands.levels)
    solve = partial(_solve_at_level, elements)
    for _ in f.shape[:-1]:
        solve = jax.vmap(solve)
    return DensityMatrix(*solve(f, slope), bands=bands)


def _solve_at_level(elements: _Elements, f: Float[Array, " n"], slope: Float[Array, " n"]):
    """ρ_0, ρ_E, ρ_Q and both parts of ρ_EQ at one k and one level."""
    a, b = jnp.s_[:, None], jnp.s_[None]
    r, v, inverse_gap = elements.connection, elements.velocity, elements.inverse_gap
    total = f[:, None] + f[None, :]
    field = r * (f[:, None] - f[None, :]) * inverse_gap
    motion = -0.5j * r * total
    both_from_field = -_anticommutator(v[a], field[b]) / 2 * inverse_gap

    filling = slope[:, None] * elements.intraband(v)  # of ρ_0 along k_b, inside groups
    derivative = -0.5j * (
        elements.connection_derivative * total + _anticommutator(r[a], filling[b])
    )
    derivative = derivative - 1j * _commutator(r[b], motion[a])  # Dρ_Q,a/Dk_b
    both_from_motion = -1j * derivative * inverse_gap
    return jnp.diag(f), field, motion, both_from_field, both_from_motion


def differentiate_velocity(model: Model, k: Float[Array, " d"]) -> Complex[Array, "d d n n"]:
    """D(ħv_a)/Dk_b = ∂_b(ħv_a) − i[A_b, ħv_a] at one k, eV Å², (a, b, n, n), basis of H(k)."""
    velocity = jax.jacfwd(lambda k: _velocity_at(model, k)[0])(k)
    slopes = jnp.moveaxis(velocity, -1, 1)
    here, connection = _velocity_at(model, k)
    if connection is None:
        return slopes
    return slopes - 1j * _commutator(connection[None], here[:, None])


def _velocity_at(model: Model, k):
    """ħv (d, n, n) at one k in the basis of H(k), and the connection of the basis functions."""
    lifted = model.lift(Points(k[:, None]))
    if lifted.connection is None:
        return lifted.slopes[..., 0].astype(complex), None
    velocity = lifted.connection.velocity(lifted.hamiltonian.astype(complex), lifted.slopes)
    return velocity[..., 0], lifted.connection.connection[..., 0]


def _commutator(a: Array, b: Array) -> Array:
    return _multiply_matrices(a, b) - _multiply_matrices(b, a)


def _anticommutator(a: Array, b: Array) -> Array:
    return _multiply_matrices(a, b) + _multiply_matrices(b, a)


def _multiply_matrices(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
