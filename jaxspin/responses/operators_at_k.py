"""Operators and density matrices at wave vectors of a user: the public functions."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxspin.band_structure.degeneracy import Covariant, Degeneracy
from jaxspin.band_structure.density_matrix import DensityMatrix, solve_density_matrix
from jaxspin.band_structure.operators import Operators, collect_operators
from jaxspin.engine.annotations import Numbers
from jaxspin.engine.programs import program
from jaxspin.integration import checks
from jaxspin.integration.levels import Levels, fermi
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model, check_is_model
from jaxspin.responses.at_k import bands
from jaxspin.units import BOLTZMANN


def operators(
    model: Model,
    k: Numbers,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> Operators:
    """Matrix elements of velocity, spin, spin current and torque in the band basis.

    ħv_a = ∂_aH, s, j^s_a = ½{s, v_a} and t = (i/ħ)[H, s], between the bands at each k.

    Args:
        k: wave vectors in 1/Å, shape (..., d).
    Returns:
        `Operators`, with the k axes first: velocity (..., d, n, n) in eV Å, spin (..., 3, n, n) in
        units of ħ/2, spin_current (..., d, 3, n, n) in eV Å, torque (..., 3, n, n) in eV; the last
        three None if the model has no spin operator; `named`, all operators of the model by name;
        and `bands`, whose basis it is.
    Raises:
        ValueError: `k` has another dimension than the model or is not finite.

    >>> import jax.numpy as jnp
    >>> import jaxspin as js
    >>> found = js.operators(js.models.Rashba(kinetic=0.5, velocity=0.3), [0.2, 0.0])
    >>> jnp.round(found.spin[1], 6).real.diagonal()  # along ±y at k along x
    Array([-1.,  1.], dtype=float64)
    """
    return collect_operators(bands(model, k, degeneracy=degeneracy))


def density_matrix(
    model: Model,
    k: Numbers,
    levels: Levels,
    *,
    degeneracy: Degeneracy = Covariant(),  # noqa: B008  (immutable)
) -> DensityMatrix:
    """Density matrix at each k, to first order in a field and in the wave vector Q.

    ρ = ρ_0 + eE_b ρ_E,b + Q_a ρ_Q,a + eE_b Q_a ρ_EQ,ab, solution of the quantum Liouville equation
    between degenerate groups (docs/definitions.md). With operators of `.bands`, Σ_k Tr(j ρ_E) is
    the conventional spin Hall conductivity, and Σ_k Tr(j ρ_E) + i Σ_k Tr(t ∂ρ_EQ/∂Q) the proper one
    ("proper_corrected"), the latter where the members of each group have equal energies.

    Args:
        k: wave vectors in 1/Å, shape (..., d).
        levels: Fermi energies and temperatures.
    Returns:
        `DensityMatrix` in the band basis, with the axes of k first, then (temperature?, mu):
        equilibrium (..., n, n), field (..., d, n, n), motion (..., d, n, n), both
        (..., d, d, n, n) with the axis of Q before that of the field.
    Raises:
        ValueError: bad `k`, `levels` or `degeneracy`; a downfolded model, which lacks bands that
            a field mixes in.

    >>> import jaxspin as js
    >>> model = js.models.Rashba(kinetic=0.5, velocity=0.3)
    >>> js.density_matrix(model, [[0.1, 0.2], [0.3, 0.0]], js.Levels([0.0, 0.1], temperature=300))
    density matrix of 2 bands at 2 k, levels (2,)
    """
    check_is_model(model)
    model_checks.check_every_band(model, "density matrix")
    checks.check_levels(levels)
    found = bands(model, k, degeneracy=degeneracy)
    return _solve_at_each_k(model, model_checks.as_wave_vectors(model, k), levels, found)


@program
def _solve_at_each_k(model, k, levels, found):
    solve = partial(solve_density_matrix, model, partial(_occupy_levels, levels))
    for _ in k.shape[:-1]:
        solve = jax.vmap(solve)
    return solve(k, found)


def _occupy_levels(levels: Levels, energies: Float[Array, " n"]) -> tuple[Array, Array]:
    """f and ∂f/∂ε of the bands at each level, (temperature?, mu, n); at T = 0 θ(mu − ε) and 0."""
    mu = jnp.asarray(levels.mu)[:, None]
    thermal = BOLTZMANN * jnp.asarray(levels.temperature)[..., None, None]
    cold = thermal == 0
    width = jnp.where(cold, 1, thermal)
    f = jnp.where(cold, energies <= mu, fermi(energies, mu, width))
    return f, jnp.where(cold, 0, fermi(energies, mu, width, derivative=True))
