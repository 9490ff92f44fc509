"""The collision operator J0 on a Fermi surface, its inverse, and averages over the disorder.

J0 n = 2Γ_a n_a − 2π Σ_b w_b Tr(P_a 𝒲_ab[P_b]) n_b,  Γ_a = π Σ_b w_b Tr(P_a 𝒲_ab[P_b]),

ħ = 1, P_a the projectors of the states, w_a their weights, 𝒲 the correlation of the disorder. J0
conserves the number of electrons: a constant n is its right null vector and w its left one. Both
are taken out of the inverse, and the solution holds no electrons, Σ w n = 0.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxspin.disorder.fermi_states import FermiStates, as_vector
from jaxspin.engine.deferred import defer_import
from jaxspin.engine.tolerances import COLLISION

if TYPE_CHECKING:
    import lineax
else:
    lineax = defer_import("lineax")


if TYPE_CHECKING:  # else a checker takes an abstract attribute for an argument of the constructor
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class Scattering(eqx.Module):
    """Coupling of the states of one Fermi surface by the disorder."""

    #: Third cumulant of the disorder, ⟨U³⟩, eV³ Å^(2d).
    third_cumulant: AbstractVar[Float[Array, ""]]

    @property
    @abstractmethod
    def number_of_unknowns(self) -> int:
        """Size of the matrix that is solved with."""

    @abstractmethod
    def average_disorder(self, vectors: Float[Array, "*c m a"]) -> Float[Array, "*c m b"]:
        """𝒲_a[Σ_b w_b X_b] for a matrix X on each state; b is 1 where all a have the same."""

    @abstractmethod
    def solve_collisions(self, source: Float[Array, "j a"]) -> Float[Array, "j a"]:
        """n with J0 n = source and Σ w n = 0."""

    @abstractmethod
    def relaxation_rates(self) -> Float[Array, " r"]:
        """Eigenvalues of J0/2Γ, ascending: 0 for the charge; for local disorder only those that
        are not 1, at most n² of them."""


class LocalScattering(Scattering):
    """Disorder without range: 𝒲 is one n² x n² matrix for all pairs of states, and J0 is 2Γ minus
    a matrix of that rank. Exact in O(a n⁴ + n⁶) operations and O(a n²) memory.

    With N̂ = Σ_a w_a n_a P_a and K = Σ_a (π w_a/Γ_a) |P_a)(P_a| the equation J0 n = s reads
    (1 − K𝒲) N̂ = N̂_0, N̂_0 = Σ_a w_a s_a P_a/2Γ_a. The charge is ρ̂ to the right of 1 − K𝒲 and 𝒲ρ̂ to
    the left of it.
    """

    weight: Float[Array, " a"]
    vectors: Float[Array, "m a"]
    coupling: Float[Array, "m m"]
    third_cumulant: Float[Array, ""]

    @property
    def number_of_unknowns(self):
        return len(self.vectors)

    def average_disorder(self, vectors):
        return self.coupling @ (vectors @ self.weight)[..., None]

    def solve_collisions(self, source):
        p, rate, share = self.vectors, self.state_rates, self.weight_over_rate
        density = p @ self.weight
        dual = self.coupling @ density
        overlap = density @ dual
        charge = jnp.outer(density, dual) / jnp.where(overlap == 0, 1, overlap)
        matrix = jnp.eye(len(p)) - self.collision_kernel @ self.coupling + charge
        scattered = jnp.linalg.solve(matrix, p @ (source * share).T)
        n = (source + 2 * jnp.pi * (self.coupling @ scattered).T @ p) / rate
        return jnp.where(self.weight != 0, remove_charge(n, self.weight), 0)

    def relaxation_rates(self):
        squares, axes = jnp.linalg.eigh(self.collision_kernel)
        root = axes * jnp.sqrt(jnp.maximum(squares, 0))
        return 1 - jnp.linalg.eigvalsh(root.T @ self.coupling @ root)[::-1]

    @property
    def state_rates(self) -> Float[Array, " a"]:
        """2Γ of each state, eV; 1 in empty slots."""
        return _born_rate(self.vectors, self.average_disorder(self.vectors), self.weight)

    @property
    def weight_over_rate(self) -> Float[Array, " a"]:
        """w/2Γ."""
        return self.weight / self.state_rates

    @property
    def collision_kernel(self) -> Float[Array, "m m"]:
        """K."""
        return 2 * jnp.pi * (self.vectors * self.weight_over_rate) @ self.vectors.T


class RangedScattering(Scattering):
    """Gaussian disorder of finite range: the population of each state is an unknown."""

    weight: AbstractVar[Float[Array, " a"]]

    @property
    def third_cumulant(self):
        return jnp.zeros(())

    @property
    def number_of_unknowns(self):
        return len(self.weight)


class DenseScattering(RangedScattering):
    """All pairs of states in memory."""

    weight: Float[Array, " a"]
    vectors: Float[Array, "m a"]
    #: W(k_a − k_b).
    correlation: Float[Array, "a a"]

    def average_disorder(self, vectors):
        return (vectors * self.weight) @ self.correlation.T

    def solve_collisions(self, source):
        rate = _born_rate(self.vectors, self.average_disorder(self.vectors), self.weight)
        scattered_in = 2 * jnp.pi * self.correlation * (self.vectors.T @ self.vectors) * self.weight
        total = jnp.sum(self.weight)
        charge = jnp.mean(rate) / jnp.where(total == 0, 1, total) * self.weight
        matrix = jnp.diag(rate) - scattered_in + charge
        n = jnp.linalg.solve(matrix, source.T).T
        return jnp.where(self.weight != 0, remove_charge(n, self.weight), 0)

    def relaxation_rates(self):
        rate = _born_rate(self.vectors, self.average_disorder(self.vectors), self.weight)
        root = jnp.sqrt(jnp.abs(self.weight) / rate)
        scattered_in = 2 * jnp.pi * self.correlation * (self.vectors.T @ self.vectors)
        return 1 - jnp.linalg.eigvalsh(root[:, None] * scattered_in * root)[::-1]


#: States whose correlations with all others are in memory at a time.
BLOCK = 256


class IterativeScattering(RangedScattering):
    """The correlations computed when they are needed: GMRES."""

    k: Float[Array, "d a"]
    weight: Float[Array, " a"]
    vectors: Float[Array, "m a"]
    correlator: Callable[[Float[Array, " d"]], Float[Array, ""]]

    def average_disorder(self, vectors):
        flat = (vectors * self.weight).reshape(-1, len(self.weight))

        def scatter_into(k):
            return _correlate_states(self.correlator, k[:, None], self.k)[0] @ flat.T

        result = jax.lax.map(scatter_into, self.k.T, batch_size=BLOCK)
        return result.T.reshape(vectors.shape)

    def solve_collisions(self, source):
        p, w = self.vectors, self.weight
        rate = _born_rate(p, self.average_disorder(p), w)
        total = jnp.sum(w)
        total = jnp.where(total == 0, 1, total)

        def apply_collisions(n):  # J0/2Γ, with the charge relaxing at the rate 1
            scattered_in = 2 * jnp.pi * jnp.sum(p * self.average_disorder(n * p), axis=0) / rate
            return n - scattered_in + (n @ w) / total

        states = jax.ShapeDtypeStruct(w.shape, w.dtype)
        operator = lineax.FunctionLinearOperator(apply_collisions, states)
        # Each unknown is compared with the largest, for many are zero by symmetry.
        solver = lineax.GMRES(rtol=0.0, atol=COLLISION.of(source), restart=50, stagnation_iters=100)

        def solve_scaled(s):
            size = jax.lax.stop_gradient(jnp.max(jnp.abs(s)))
            size = jnp.where(size == 0, 1, size)
            return size * lineax.linear_solve(operator, s / size, solver).value

        n = jax.lax.map(solve_scaled, source / rate)
        return jnp.where(w != 0, remove_charge(n, w), 0)

    def relaxation_rates(self):
        return jnp.full(1, jnp.nan)  # would need all pairs in memory


def scattering_rate(shell: FermiStates, scattering: Scattering) -> Float[Array, " a"]:
    """2Γ = ħ/τ of each state in the Born approximation, eV; 1 in empty slots."""
    vectors = as_vector(shell.projector)
    return _born_rate(vectors, scattering.average_disorder(vectors), shell.weight)


def remove_charge(n: Float[Array, "j a"], weight: Float[Array, " a"]) -> Float[Array, "j a"]:
    """n with the constant taken off that makes Σ w n = 0."""
    total = jnp.sum(weight)
    return n - (n @ weight)[:, None] / jnp.where(total == 0, 1, total)


def correlation_matrix(correlator, k: Float[Array, "d a"]) -> Float[Array, "a a"]:
    """W(k_a − k_b)."""
    return _correlate_states(correlator, k, k)


def _correlate_states(correlator, k, other):
    def correlate_pair(here, there):
        q = here - there
        # If W did not depend on q it would be a constant of the program, and XLA (jaxlib 0.10.2,
        # CPU) makes NaN or 10²⁷⁰ of some sums over states with such a matrix. 0 * q stays.
        return correlator(q) + 0 * q[0]

    row = jax.vmap(correlate_pair, in_axes=(None, -1))
    return jax.vmap(row, in_axes=(-1, None))(k, other)


def _born_rate(vectors, averaged, weight):
    return jnp.where(weight != 0, 2 * jnp.pi * jnp.sum(vectors * averaged, axis=0), 1)
