"""Slow modes: spin that precession and scattering together hardly relax.

⟨K⟩ takes the spin of a shell to what is left of it one scattering later, so that the eigenvalues
of 1 − ⟨K⟩ are relaxation rates in units of 1/τ. For an inversion-symmetric band spin along the
mean field is nearly conserved, with a rate (d²/2M²)²: the response contains spin that accumulates
over T1 = τ/rate and diffuses over √(D T1), and it means something only where the magnetisation
varies over more than that.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxspin.engine.tolerances import CONSERVED_SPIN
from jaxspin.engine.validate import check_number
from jaxspin.models.base import copy_as_float


class SlowModes(eqx.Module):
    """Treatment of the slow modes of a shell."""

    @abstractmethod
    def threshold(self) -> Float[Array, ""]:
        """Modes with a rate below this fraction of the fastest are dropped."""


class KeepSlowModes(SlowModes):
    """The response with all modes: that of a homogeneous gradient after a time longer than T1."""

    def threshold(self):
        return jnp.zeros(())


class DropSlowModes(SlowModes):
    """The response without the slow modes: that of a texture finer than √(D T1).

    Args:
        below: drop modes with a rate below this fraction of the fastest.
    Raises:
        ValueError: a fraction that is not between 0 and 1.
    """

    below: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.01)

    def __check_init__(self):
        check_number("below", self.below, "between 0 and 1", above=0, below=1)

    def threshold(self):
        return self.below


def relaxation_rates(kernel: Float[Array, "c c"]) -> Float[Array, " c"]:
    """Rates of 1 − ⟨K⟩ in units of 1/τ, the slowest first: eigenvalues of its symmetric part.

    A mode of rate zero is conserved by every K, hence a null vector of 1 − ⟨K⟩ itself.
    """
    return jnp.linalg.eigvalsh(jax.lax.stop_gradient(_symmetric_part(kernel)))


def are_slow(rates: Float[Array, " c"], threshold: Float[ArrayLike, ""]) -> Bool[Array, " c"]:
    """Which modes are dropped: below `threshold` times the fastest, and all that are conserved.

    The second has a say where no mode relaxes, as without magnetisation.
    """
    return (jnp.asarray(threshold) > 0) & ((rates < threshold * rates[-1]) | are_conserved(rates))


def are_conserved(rates: Float[Array, "*c"]) -> Bool[Array, "*c"]:
    """Which modes have the rate zero up to rounding."""
    return rates < CONSERVED_SPIN.of(rates)


def slow_projector(
    kernel: Float[Array, "c c"], threshold: Float[ArrayLike, ""]
) -> Float[Array, "c c"]:
    """Projector onto the modes of 1 − ⟨K⟩ that `are_slow`.

    The span Y of the modes is found for constants, then followed to second order in what is
    differentiated: in the basis of the modes the symmetric part is [[ss, sf], [fs, ff]] and the
    span (1, X) obeys X ss + X sf X = fs + ff X.
    """
    symmetric = _symmetric_part(kernel)
    rates, modes = jnp.linalg.eigh(jax.lax.stop_gradient(symmetric))
    slow = are_slow(rates, threshold)
    mixed = ~slow[:, None] & slow[None, :]
    distance = jnp.where(mixed, rates[:, None] - rates[None, :], 1)
    matrix = modes.T @ symmetric @ modes
    fast_slow = jnp.zeros_like(matrix)
    for _ in range(2):
        span = jnp.diag(1.0 * slow) + fast_slow
        residual = matrix @ span - span @ jnp.diag(1.0 * slow) @ matrix @ span
        fast_slow = fast_slow - jnp.where(mixed, residual / distance, 0)
    span = jnp.diag(1.0 * slow) + fast_slow
    columns = modes @ span
    return columns @ jnp.linalg.solve(span.T @ span + jnp.diag(1.0 * ~slow), columns.T)


def solve_kept_modes(
    kernel: Float[Array, "c c"], dropped: Float[Array, "c c"], source: Float[Array, "c *x"]
) -> Float[Array, "c *x"]:
    """(1 − ⟨K⟩) x = source among the modes that are not dropped; x has none of the others."""
    kept = jnp.eye(len(kernel)) - dropped
    right = jnp.tensordot(kept, source, axes=1)
    solution = jnp.linalg.solve(kept @ kernel @ kept + dropped, right.reshape(len(kernel), -1))
    return solution.reshape(source.shape)


def project_dropped(
    kernel: Float[Array, "c c"],
    dropped: Float[Array, "c c"],
    mean: Float[Array, "c *x"],
    source: Float[Array, "c *x"],
) -> Float[Array, "c *x"]:
    """P (⟨K⟩ x + source): what x and its source put into the modes that are dropped."""
    return jnp.tensordot(dropped, source - jnp.tensordot(kernel, mean, axes=1), axes=1)


def _symmetric_part(kernel):
    return (kernel + kernel.T) / 2
