"""The collision operator J0 on a Fermi surface, its inverse, and averages over the disorder.

The distribution in a group a of degenerate bands is a Hermitian matrix f_a = P_a f_a P_a, n_a P_a
where the group has one band:

    J0 f = 2γ_a f_a − 2π P_a 𝒲_a[Σ_b w_b f_b] P_a,  γ_a = π Tr(P_a 𝒲_a[Σ_b w_b P_b])/g_a,

ħ = 1, P_a the projectors of the groups, w_a their weights, 𝒲 the correlation of the disorder, whose
average P_a 𝒲_a[ρ̂] P_a is a multiple of P_a (docs/disorder.md). J0 conserves the number of
electrons: f = P is its right null vector and Σ w Tr f its left one. Both are taken out of the
inverse, and the solution holds no electrons, Σ w Tr f = 0.

Matrices are vectors of their m = n² components in an orthonormal basis (`as_vector`).
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxspin.disorder.fermi_states import FermiStates, as_matrix, as_vector
from jaxspin.engine.deferred import defer_import
from jaxspin.engine.small_matrices import matmul
from jaxspin.engine.tolerances import COLLISION, CONSERVED

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

    projector: AbstractVar[Complex[Array, "n n a"]]
    weight: AbstractVar[Float[Array, " a"]]
    #: 2γ = ħ/τ of each state in the Born approximation, eV; 1 in empty slots.
    rate: AbstractVar[Float[Array, " a"]]
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
    def solve_collisions(self, source: Float[Array, "j m a"]) -> Float[Array, "j m a"]:
        """f with J0 f = source and Σ w Tr f = 0."""

    @abstractmethod
    def relaxation_rates(self) -> Float[Array, " r"]:
        """Eigenvalues of J0/2γ, ascending: 0 for what is conserved; for local disorder only those
        that are not 1, at most n² of them."""

    def conserved_part(self, vectors: Float[Array, "o m a"]) -> Float[Array, " o"]:
        """The overlap Σ w Tr(O C) of matrices with what is conserved beside the charge, relative
        to the matrices; 0 where nothing is."""
        return jnp.zeros(len(vectors))

    @property
    def vectors(self) -> Float[Array, "m a"]:
        """The projectors as vectors."""
        return as_vector(self.projector)

    @property
    def group_size(self) -> Float[Array, " a"]:
        """Tr P."""
        return jnp.einsum("iia->a", self.projector).real

    def mean_of_bands(self, f: Float[Array, "*j m a"]) -> Float[Array, "*j a"]:
        """Tr(P f)/g: n of f = nP."""
        return jnp.sum(self.vectors * f, axis=-2) / self.group_size

    def inside(self, vectors: Float[Array, "*c m #a"]) -> Float[Array, "*c m a"]:
        """P X P."""
        p = self.projector
        return as_vector(matmul(matmul(p, as_matrix(vectors, len(p))), p))

    def remove_charge(self, f: Float[Array, "j m a"]) -> Float[Array, "j m a"]:
        """f with the multiple of P taken off that makes Σ w Tr f = 0."""
        p = self.vectors
        states = self.weight * self.group_size
        total = jnp.sum(states)
        held = self.mean_of_bands(f) @ states
        return f - held[:, None, None] / jnp.where(total == 0, 1, total) * p


_ROUNDED = 1e-8  # of the largest operator, below which another is zero but for rounding


class LocalScattering(Scattering):
    """Disorder without range: 𝒲 is one n² x n² matrix for all pairs of states, and J0 is 2γ minus
    a matrix of that rank. Exact in O(a n⁴ + n⁶) operations and O(a n²) memory.

    With N̂ = Σ_a w_a f_a and K[Y] = Σ_a (π w_a/γ_a) P_a Y P_a the equation J0 f = s reads
    (1 − K𝒲) N̂ = N̂_0, N̂_0 = Σ_a w_a s_a/2γ_a. What is conserved, C = P C P with [C, H] = 0 and
    [C, A_c] = 0, is a right null vector z = Σ_a w_a P_a C of 1 − K𝒲; the charge is C = P. The
    solution is that without any of it, Σ w Tr(C f) = 0.
    """

    projector: Complex[Array, "n n a"]
    weight: Float[Array, " a"]
    rate: Float[Array, " a"]
    coupling: Float[Array, "m m"]
    third_cumulant: Float[Array, ""]
    #: The inverse of 1 − K𝒲 without what is conserved, and the projector on the vectors z of that.
    inverse: Float[Array, "m m"]
    null_space: Float[Array, "m m"]
    #: The inverse of Σ w Tr(C C') of all that is conserved.
    inverse_gram: Float[Array, "m m"]

    def __init__(self, shell: FermiStates, coupling: Float[Array, "m m"], third_cumulant):
        self.projector, self.weight = shell.projector, shell.weight
        self.coupling, self.third_cumulant = coupling, third_cumulant
        self.rate = _born_rates(shell.projector, shell.weight, self.average_disorder)
        matrix = jnp.eye(len(coupling)) - self.collision_kernel @ coupling
        self.inverse = jnp.linalg.pinv(matrix, rtol=CONSERVED.of(matrix))
        self.null_space = jnp.eye(len(coupling)) - self.inverse @ matrix
        pairs = self._sum_projections(self.weight * (2 * jnp.pi / self.rate) ** 2)
        null_vectors = coupling @ self.null_space
        gram = null_vectors.T @ pairs @ null_vectors
        self.inverse_gram = jnp.linalg.pinv(gram, rtol=CONSERVED.of(gram))

    @property
    def number_of_unknowns(self):
        return len(self.coupling)

    def average_disorder(self, vectors):
        return self.coupling @ (vectors @ self.weight)[..., None]

    def solve_collisions(self, source):
        share = self.weight / self.rate
        scattered = self.inverse @ (source @ share).T
        f = source / self.rate + self._evaluate_conserved(scattered)
        held = (self.coupling @ self.null_space).T @ (2 * jnp.pi * f @ share).T
        f = f - self._evaluate_conserved(self.null_space @ (self.inverse_gram @ held))
        return jnp.where(self.weight != 0, f, 0)

    def relaxation_rates(self):
        squares, axes = jnp.linalg.eigh(self.collision_kernel)
        root = axes * jnp.sqrt(jnp.maximum(squares, 0))
        return 1 - jnp.linalg.eigvalsh(root.T @ self.coupling @ root)[::-1]

    def conserved_part(self, vectors):
        neutral = self.remove_charge(self.inside(vectors))
        share = 2 * jnp.pi * self.weight / self.rate
        overlap = (self.coupling @ self.null_space).T @ (neutral @ share).T
        size = jnp.linalg.norm(self.coupling) * jnp.linalg.norm(neutral, axis=1) @ jnp.abs(share)
        size = jnp.maximum(size, _ROUNDED * jnp.max(size))  # of an operator that is zero
        return jnp.linalg.norm(overlap, axis=0) / jnp.where(size == 0, 1, size)

    @property
    def collision_kernel(self) -> Float[Array, "m m"]:
        """K."""
        return self._sum_projections(2 * jnp.pi * self.weight / self.rate)

    def _evaluate_conserved(self, z: Float[Array, "m j"]) -> Float[Array, "j m a"]:
        """(π/γ) P 𝒲[z] P, which is P C for z = Σ_a w_a P_a C."""
        return 2 * jnp.pi * self.inside((self.coupling @ z).T[..., None]) / self.rate

    def _sum_projections(self, share: Float[Array, " a"]) -> Float[Array, "m m"]:
        """Y -> Σ_a share_a P_a Y P_a in the basis of vectors."""
        n, p = len(self.projector), self.projector
        flat = p.reshape(n * n, -1)
        both = ((flat * share) @ flat.conj().T).reshape(n, n, n, n)  # Σ P_ij P_lk*, k and l swapped
        basis = as_matrix(jnp.eye(n * n), n)
        return as_vector(jnp.einsum("ijlk,jky->ily", both, basis))


class RangedScattering(Scattering):
    """Gaussian disorder of finite range: the distribution at each state is unknown.

    GMRES, for the amplitudes n of f = nP where every group has one band, else for f.
    """

    coupling: AbstractVar[Float[Array, "m m"]]
    #: Whether some group has several bands.
    has_groups: AbstractVar[bool]

    @property
    def third_cumulant(self):
        return jnp.zeros(())

    @property
    def number_of_unknowns(self):
        return self.weight.size * (len(self.coupling) if self.has_groups else 1)

    def solve_collisions(self, source):
        rate, p = self.rate, self.vectors
        total = jnp.sum(self.weight * self.group_size)
        total = jnp.where(total == 0, 1, total)

        def apply_collisions(unknown):  # J0/2γ, with the charge relaxing at the rate 1
            f = self._expand(unknown)
            scattered_in = 2 * jnp.pi * self._restrict(self.average_disorder(f)) / rate
            held = jnp.sum(jnp.sum(p * f, axis=0) * self.weight)
            return unknown - scattered_in + held / total * self._restrict(p)

        unknowns = self._restrict(source / rate)
        structure = jax.ShapeDtypeStruct(unknowns.shape[1:], unknowns.dtype)
        operator = lineax.FunctionLinearOperator(apply_collisions, structure)
        # Each unknown is compared with the largest, for many are zero by symmetry.
        solver = lineax.GMRES(rtol=0.0, atol=COLLISION.of(source), restart=50, stagnation_iters=100)

        def solve_scaled(s):
            size = jax.lax.stop_gradient(jnp.max(jnp.abs(s)))
            size = jnp.where(size == 0, 1, size)
            return size * lineax.linear_solve(operator, s / size, solver).value

        f = self._expand(jax.lax.map(solve_scaled, unknowns))
        return jnp.where(self.weight != 0, self.remove_charge(f), 0)

    def relaxation_rates(self):
        return jnp.full(1, jnp.nan)  # would need all pairs in memory

    def _expand(self, unknown: Float[Array, "*j r a"]) -> Float[Array, "*j m a"]:
        """f of the unknowns."""
        return unknown if self.has_groups else unknown * self.vectors

    def _restrict(self, f: Float[Array, "*j m a"]) -> Float[Array, "*j r a"]:
        """The unknowns of f, or of P X P for any X."""
        if self.has_groups:
            return self.inside(f)
        return jnp.sum(self.vectors * f, axis=-2, keepdims=True)


class DenseScattering(RangedScattering):
    """All pairs of states in memory; solved with one matrix where every group has one band."""

    projector: Complex[Array, "n n a"]
    weight: Float[Array, " a"]
    rate: Float[Array, " a"]
    coupling: Float[Array, "m m"]
    #: W(k_a − k_b).
    correlation: Float[Array, "a a"]
    has_groups: bool = eqx.field(static=True)

    def __init__(self, shell: FermiStates, coupling, correlation):
        self.projector, self.weight = shell.projector, shell.weight
        self.coupling, self.correlation = coupling, correlation
        self.has_groups = shell.has_groups
        self.rate = _born_rates(shell.projector, shell.weight, self.average_disorder)

    def average_disorder(self, vectors):
        return self.coupling @ ((vectors * self.weight) @ self.correlation.T)

    def solve_collisions(self, source):
        if self.has_groups:
            return super().solve_collisions(source)
        rate, total = self.rate, jnp.sum(self.weight)
        charge = jnp.mean(rate) / jnp.where(total == 0, 1, total) * self.weight
        matrix = jnp.diag(rate) - self._scattered_in * self.weight + charge
        n = jnp.linalg.solve(matrix, self._restrict(source)[:, 0].T).T
        f = self._expand(n[:, None])
        return jnp.where(self.weight != 0, self.remove_charge(f), 0)

    def relaxation_rates(self):
        if self.has_groups:
            return super().relaxation_rates()
        root = jnp.sqrt(jnp.abs(self.weight) / self.rate)
        return 1 - jnp.linalg.eigvalsh(root[:, None] * self._scattered_in * root)[::-1]

    @property
    def _scattered_in(self) -> Float[Array, "a a"]:
        """2π W(k_a − k_b) Σ_c Tr(P_a A_c P_b A_c)."""
        p = self.vectors
        return 2 * jnp.pi * self.correlation * (p.T @ self.coupling @ p)


#: States whose correlations with all others are in memory at a time.
BLOCK = 256


class IterativeScattering(RangedScattering):
    """The correlations computed when they are needed."""

    k: Float[Array, "d a"]
    projector: Complex[Array, "n n a"]
    weight: Float[Array, " a"]
    rate: Float[Array, " a"]
    coupling: Float[Array, "m m"]
    correlator: Callable[[Float[Array, " d"]], Float[Array, ""]]
    has_groups: bool = eqx.field(static=True)

    def __init__(self, shell: FermiStates, coupling, correlator):
        self.k, self.projector, self.weight = shell.k, shell.projector, shell.weight
        self.coupling, self.correlator = coupling, correlator
        self.has_groups = shell.has_groups
        self.rate = _born_rates(shell.projector, shell.weight, self.average_disorder)

    def average_disorder(self, vectors):
        flat = (vectors * self.weight).reshape(-1, len(self.weight))

        def scatter_into(k):
            return _correlate_states(self.correlator, k[:, None], self.k)[0] @ flat.T

        result = jax.lax.map(scatter_into, self.k.T, batch_size=BLOCK)
        return self.coupling @ result.T.reshape(vectors.shape)


def _born_rates(projector, weight, average_disorder) -> Float[Array, " a"]:
    """2γ_a = 2π Tr(P_a 𝒲_a[ρ̂])/g_a; 1 in empty slots."""
    p = as_vector(projector)
    size = jnp.einsum("iia->a", projector).real
    rate = 2 * jnp.pi * jnp.sum(p * average_disorder(p), axis=0) / size
    return jnp.where(weight != 0, rate, 1)


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
