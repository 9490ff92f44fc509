"""Models made of another one for a group of quasi-degenerate bands, neighbours whose splittings are
comparable with the level width.

The leading order of the theory takes each pair of bands i ≤ j of the group at the Fermi energy of
its own, (ε_i + ε_j)/2 = mu. All that follows from it takes the group as degenerate.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.eigensolvers import eigh
from jaxspin.engine.small_matrices import dagger, product, sandwich
from jaxspin.models.base import Model, number_of_bands
from jaxspin.models.lifted import NOTHING_ELSE, Lifted, Points
from jaxspin.surfaces.base import all_bands


class BandPair(Model):
    """The mean energy (ε_i + ε_j)/2 of two bands of a model, as a model of one band."""

    model: Model
    lower: Int[Array, ""]
    upper: Int[Array, ""]

    @property
    def dimension(self):
        return self.model.dimension

    @property
    def lattice(self):
        return self.model.lattice

    def __call__(self, k):
        return self.lift(Points(k[:, None])).hamiltonian[..., 0]

    def lift(self, points, needs=NOTHING_ELSE):
        energies, velocity = all_bands(self.model, points.k)
        both = jnp.stack([self.lower, self.upper])
        energy, slope = jnp.mean(energies[both], axis=0), jnp.mean(velocity[:, both], axis=1)
        return Lifted(energy[None, None], slope[:, None, None], {})


class MergedBands(Model):
    """A model whose bands of one group all have the mean energy ε̄ of the group.

    H − P (H − ε̄) P with P the projector on the group; ∂H − P (∂H − ∂ε̄) P are its slopes but for
    terms of first order in the splittings, which change the virtual transitions to other bands.
    """

    model: Model
    first: int
    size: int

    @property
    def dimension(self):
        return self.model.dimension

    @property
    def lattice(self):
        return self.model.lattice

    def operators(self):
        return self.model.operators()

    def prepared(self):
        return MergedBands(self.model.prepared(), self.first, self.size)

    def __call__(self, k):
        return self.lift(Points(k[:, None])).hamiltonian[..., 0]

    def lift(self, points, needs=NOTHING_ELSE):
        lifted = self.model.lift(Points(points.k), needs)
        hamiltonian = lifted.hamiltonian.astype(complex)
        p = project_bands(hamiltonian, self.first, self.size)
        return lifted._replace(
            hamiltonian=hamiltonian - _split_part(p, hamiltonian, self.size),
            slopes=lifted.slopes - _split_part(p, lifted.slopes.astype(complex), self.size),
        )


def _split_part(p, matrices: Complex[Array, "*c n n K"], size: int) -> Complex[Array, "*c n n K"]:
    """P (X − Tr(P X)/g) P."""
    inside = product(product(p, matrices), p)
    mean = jnp.einsum("...iiK->...K", inside).real / size
    return inside - mean[..., None, None, :] * p


def _project_jvp(primals, tangents):
    hamiltonian, first, size = primals
    energies, basis = eigh(hamiltonian)
    inside = _is_inside(len(energies), first, size)
    across = (inside[:, None] != inside)[..., None]
    sign = jnp.where(inside, 1, -1)[:, None, None]
    gap = jnp.where(across, sign * (energies[:, None] - energies[None, :]), jnp.inf)
    change = sandwich(basis, tangents[0]) / gap
    return project_bands(*primals), sandwich(dagger(basis), change)


@with_derivative(_project_jvp)
def project_bands(
    hamiltonian: Complex[Array, "n n K"], first: int, size: int
) -> Complex[Array, "n n K"]:
    """Projector P on a group of neighbouring bands.

    The derivative is smooth where bands of the group meet each other, n ∉ group, i ∈ group:
        dP = Σ |n⟩⟨n|dH|i⟩⟨i|/(ε_i − ε_n) + h.c.
    """
    energies, basis = eigh(hamiltonian)
    states = jnp.where(_is_inside(len(energies), first, size)[:, None], basis, 0)
    return product(states, dagger(states))


def _is_inside(n: int, first: int, size: int) -> np.ndarray:
    return (np.arange(n) >= first) & (np.arange(n) < first + size)


class PairTable:
    """Pairs of bands with a Fermi surface of their own: those of a group, and all other bands.

    Each node of the surface of a pair has a basis of `size` slots: the bands of the group, or the
    band itself and empty slots.
    """

    def __init__(self, model: Model, first: int, size: int):
        n = number_of_bands(model)
        group = [(first + i, first + j) for i in range(size) for j in range(i, size)]
        others = [(b, b) for b in range(n) if not first <= b < first + size]
        self.lower, self.upper = np.array(group + others).T
        in_group = np.arange(len(self.lower)) < len(group)
        slots = np.arange(size)
        #: Band of each slot, and whether it holds one, (pairs, size).
        self.bands = np.where(in_group[:, None], first + slots, self.lower[:, None])
        self.holds = in_group[:, None] | (slots == 0)
        #: Mask of the elements of f that belong to the pair, (pairs, size, size).
        offset = np.where(in_group, first, self.lower)
        i, j = (self.lower - offset)[:, None, None], (self.upper - offset)[:, None, None]
        row, column = slots[:, None], slots[None, :]
        self.kept = ((row == i) & (column == j)) | ((row == j) & (column == i))


def mean_energy(model: Model, first: int, size: int, k: Float[Array, "d a"]) -> Float[Array, " a"]:
    """ε̄ of the group."""
    return jnp.mean(all_bands(model, k)[0][first : first + size], axis=0)
