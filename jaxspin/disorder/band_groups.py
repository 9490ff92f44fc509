"""Models made of another one for a group of quasi-degenerate bands, neighbours whose splittings are
comparable with the level width.

The leading order of the theory takes each pair of bands i ≤ j of the group at the Fermi energy of
its own, (ε_i + ε_j)/2 = mu. All that follows from it takes the group as degenerate.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.eigensolvers import eigh
from jaxspin.engine.small_matrices import dagger, product, sandwich
from jaxspin.models.base import Derived, Model, number_of_bands
from jaxspin.models.lifted import NOTHING_ELSE, Lifted, Points
from jaxspin.surfaces.base import all_bands


class BandMean(Derived):
    """The mean energy of some bands of a model, as a model of one band."""

    model: Model
    #: Share of each band.
    shares: Float[Array, " n"]

    @property
    def matrix_size(self):
        return 1

    def __call__(self, k):
        return self.lift(Points(k[:, None])).hamiltonian[..., 0]

    def lift(self, points, needs=NOTHING_ELSE):
        energies, velocity = all_bands(self.model, points.k)
        energy, slope = self.shares @ energies, jnp.einsum("n,dnK->dK", self.shares, velocity)
        return Lifted(energy[None, None], slope[:, None, None], {})


class MergedBands(Derived):
    """A model whose bands of one group all have the mean energy ε̄ of the group.

    H − P (H − ε̄) P with P the projector on the group; ∂H − P (∂H − ∂ε̄) P are its slopes but for
    terms of first order in the splittings, which change the virtual transitions to other bands.
    """

    model: Model
    first: int
    size: int

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
            hamiltonian=_merge_bands(p, hamiltonian, self.size),
            slopes=_merge_bands(p, lifted.slopes.astype(complex), self.size),
        )


def _merge_bands(p, matrices: Complex[Array, "*c n n K"], size: int) -> Complex[Array, "*c n n K"]:
    """X − P X P + Tr(P X)/g P; without rounding where the group is all bands, P = 1."""
    inside = product(product(p, matrices), p)
    mean = jnp.einsum("...iiK->...K", inside).real / size
    return matrices - inside + mean[..., None, None, :] * p


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
    if size == len(hamiltonian):
        return jnp.broadcast_to(jnp.eye(size, dtype=complex)[..., None], hamiltonian.shape)
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
        #: The first pairs are those of the group.
        self.pairs_of_group, self.pairs = len(group), len(group + others)
        self.lower, upper = np.array(group + others).T
        in_group = np.arange(self.pairs) < len(group)
        slots = np.arange(size)
        #: Band of each slot, and whether it holds one, (pairs, size).
        self.bands = np.where(in_group[:, None], first + slots, self.lower[:, None])
        self.holds = in_group[:, None] | (slots == 0)
        #: Mask of the elements of f that belong to the pair, (pairs, size, size).
        offset = np.where(in_group, first, self.lower)
        i, j = (self.lower - offset)[:, None, None], (upper - offset)[:, None, None]
        row, column = slots[:, None], slots[None, :]
        self.kept = ((row == i) & (column == j)) | ((row == j) & (column == i))
        #: For each band a pair at whose nodes it has a slot.
        pairs = {int(b): q for q in range(self.pairs) for b in self.bands[q]}
        self.pair_of_band = np.array([pairs[b] for b in range(n)])
        #: Shares of the bands in the mean energy of each pair, and of the group at the end.
        one = np.eye(n)
        mean = one[first : first + size].mean(axis=0)
        self.shares = np.stack([*(one[self.lower] + one[upper]) / 2, mean])
        #: For each band the surface of its mean energy among these.
        self.mean_of_band = np.where(mean > 0, self.pairs, self.pair_of_band)
