"""Collisions and precession in groups of quasi-degenerate bands, for disorder without range.

    J0 f = {γ_a, f_a} + i[h_a, f_a] − 2π P_a 𝒲[Σ_b w_b κ_b(f_b)] P_a,  γ_a = π P_a 𝒲[ρ̂] P_a,

with h = P (H − ε̄) P the splittings, and κ the part of f that counts at a node: on the surface of a
pair of bands i, j it is p_i f p_j + p_j f p_i, p_i f p_i for i = j, with their projectors p; on the
surface of the mean energy of a group it is all of f. ρ̂ = Σ_b w_b κ_b(P_b).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float

from jaxspin.disorder.collision import Scattering
from jaxspin.disorder.fermi_states import as_matrix, as_vector
from jaxspin.engine.tolerances import CONSERVED


class GroupNodes(NamedTuple):
    """Nodes of Fermi surfaces with the bands of a group at each, axes last: slots g, nodes a."""

    #: The states of the group, 0 in an empty slot.
    basis: Complex[Array, "n g a"]
    #: Their energies, eV.
    energies: Float[Array, "g a"]
    weight: Float[Array, " a"]
    #: Whether a slot holds a state.
    holds: Bool[Array, "g a"]
    #: Mask of the elements of f that count.
    kept: Bool[Array, "g g a"]


class PrecessingScattering(Scattering):
    """The collision operator with precession, solved with one n² x n² matrix.

    With z = Σ_a w_a κ_a(f_a) and the inverse 𝓛_a of {γ_a, ·} + i[h_a, ·] the equation J0 f = s
    reads z = z_0 + K𝒲 z, K[Y] = 2π Σ_a w_a κ_a(𝓛_a[P_a Y P_a]), z_0 = Σ_a w_a κ_a(𝓛_a[s_a]). What
    is conserved is a null vector of 1 − K𝒲.
    """

    projector: Complex[Array, "n n a"]
    weight: Float[Array, " a"]
    rate: Float[Array, " a"]
    coupling: Float[Array, "m m"]
    third_cumulant: Float[Array, ""]
    nodes: GroupNodes
    #: κ 𝓛, first two axes the elements of f, the next two those of the source.
    propagator: Complex[Array, "g g g g a"]
    #: K, and the inverse of 1 − K𝒲 without what is conserved.
    kernel: Float[Array, "m m"]
    inverse: Float[Array, "m m"]
    #: The smallest eigenvalue of 2γ at each node.
    smallest_rate: Float[Array, " a"]

    def __init__(self, nodes: GroupNodes, coupling: Float[Array, "m m"], third_cumulant):
        self.nodes, self.weight = nodes, nodes.weight
        self.coupling, self.third_cumulant = coupling, third_cumulant
        v = nodes.basis
        self.projector = jnp.einsum("xia,yia->xya", v, v.conj())
        present = jnp.einsum("iia->ia", nodes.kept)
        density = jnp.einsum("a,ia,xia,yia->xy", nodes.weight, present, v, v.conj())
        self_energy = as_matrix(coupling @ as_vector(density[..., None]), len(v))[..., 0]
        gamma = jnp.pi * jnp.einsum("xia,xy,yja->ija", v.conj(), self_energy, v)
        scale = jnp.max(jnp.abs(gamma))
        empty = jnp.where(nodes.holds, 0, jnp.where(scale == 0, 1, scale))
        rates = jnp.linalg.eigvalsh(jnp.moveaxis(_add_diagonal(gamma, empty), -1, 0))
        self.smallest_rate = 2 * rates[:, 0]
        number = jnp.sum(nodes.holds, axis=0)
        self.rate = 2 * jnp.einsum("iia->a", gamma).real / number
        is_scattered = self.smallest_rate > 0
        safe = _add_diagonal(gamma, jnp.where(is_scattered, empty, 1))
        inverse = _invert_lyapunov(safe, nodes.energies)
        self.propagator = jnp.where(nodes.kept[:, :, None, None], inverse, 0)
        self.kernel = self._sum_kernel()
        matrix = self.balance
        self.inverse = jnp.linalg.pinv(matrix, rtol=CONSERVED.of(matrix))

    @property
    def balance(self) -> Float[Array, "m m"]:
        """1 − K𝒲."""
        return jnp.eye(len(self.coupling)) - self.kernel @ self.coupling

    @property
    def number_of_unknowns(self):
        return len(self.coupling)

    def average_disorder(self, vectors):
        return self.coupling @ (vectors @ self.weight)[..., None]

    def solve_collisions(self, source):
        """f with J0 f = source, up to what is conserved."""
        scattered = self.inverse @ (self.propagate(source) @ self.weight).T
        f = self.propagate(source + 2 * jnp.pi * (self.coupling @ scattered).T[..., None])
        return jnp.where(self.weight != 0, f, 0)

    def propagate(self, source: Float[Array, "j m #a"]) -> Float[Array, "j m a"]:
        """κ 𝓛[P Y P]."""
        v = self.nodes.basis
        matrices = as_matrix(source, len(v))
        matrices = jnp.broadcast_to(matrices, (*matrices.shape[:-1], v.shape[-1]))
        inside = jnp.einsum("uka,juva,vla->jkla", v.conj(), matrices, v)
        f = jnp.einsum("ijkla,mkla->mija", self.propagator, inside)
        return as_vector(jnp.einsum("xia,mija,yja->mxya", v, f, v.conj()))

    def relaxation_rates(self):
        """Singular values of 1 − K𝒲, ascending, 0 for what is conserved."""
        return jnp.linalg.svd(self.balance, compute_uv=False)[::-1]

    def conserved_part(self, vectors):
        null_space = jnp.eye(len(self.coupling)) - self.inverse @ self.balance
        modes = self.propagate(2 * jnp.pi * (self.coupling @ null_space).T[..., None])
        overlap = jnp.einsum("oma,jma,a->oj", vectors, modes, self.weight)
        size = jnp.einsum("oma,a->o", jnp.abs(vectors), self.weight) / len(vectors[0])
        return jnp.linalg.norm(overlap, axis=1) / jnp.where(size == 0, 1, size)

    def _sum_kernel(self) -> Float[Array, "m m"]:
        """K in the basis of vectors."""
        v, n = self.nodes.basis, len(self.nodes.basis)
        right = jnp.einsum("ijkla,uka,vla->uvija", self.propagator, v.conj(), v)
        left = jnp.einsum("a,xia,yja->xyija", 2 * jnp.pi * self.weight, v, v.conj())
        both = left.reshape(n * n, -1) @ right.reshape(n * n, -1).T
        basis = as_matrix(jnp.eye(n * n), n).reshape(n * n, n * n)
        return as_vector((both @ basis).reshape(n, n, n * n))


def _add_diagonal(matrix: Array, diagonal: Float[Array, "g a"]) -> Array:
    return matrix + jnp.eye(len(matrix))[..., None] * diagonal


def _invert_lyapunov(
    gamma: Complex[Array, "g g a"], energies: Float[Array, "g a"]
) -> Complex[Array, "g g g g a"]:
    """The inverse of f -> {γ, f} + i(ε_i − ε_j) f_ij at each node, by its g² x g² matrix."""
    g, one = len(gamma), jnp.eye(len(gamma))
    out = jnp.einsum("ika,jl->ijkla", gamma, one) + jnp.einsum("lja,ik->ijkla", gamma, one)
    turn = 1j * (energies[:, None] - energies[None, :])
    matrix = out + jnp.einsum("ija,ik,jl->ijkla", turn, one, one)
    inverse = jnp.linalg.inv(jnp.moveaxis(matrix.reshape(g * g, g * g, -1), -1, 0))
    return jnp.moveaxis(inverse, 0, -1).reshape(matrix.shape)
