"""Random smooth lattice Hamiltonians of any number of bands, in NumPy, and as models of jaxspin."""

from dataclasses import dataclass

import numpy as np

import jaxspin as js
from jaxspin.reference.finite_q import dagger

CELLS = {2: [(1, 0), (0, 1), (1, 1), (1, -1)], 3: [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, -1, 1)]}


@dataclass(frozen=True)
class Lattice:
    """H(k) = onsite + Σ_R (h_R e^{ik·R} + h.c.), cubic lattice constant 1, analytic derivatives."""

    onsite: np.ndarray
    cells: np.ndarray
    blocks: np.ndarray
    spin: np.ndarray

    def __call__(self, k: np.ndarray) -> np.ndarray:
        return self.onsite + self._sum(np.ones(len(self.cells)), k)

    def gradient(self, k: np.ndarray) -> np.ndarray:
        """∂_i H, shape (d, ..., n, n)."""
        return np.array([self._sum(1j * r, k) for r in self.cells.T])

    def hessian(self, k: np.ndarray) -> np.ndarray:
        """∂_i ∂_j H, shape (d, d, ..., n, n)."""
        return np.array([[self._sum(-a * b, k) for a in self.cells.T] for b in self.cells.T])

    def _sum(self, factors: np.ndarray, k: np.ndarray) -> np.ndarray:
        half = np.einsum("...r,rab->...ab", factors * np.exp(1j * k @ self.cells.T), self.blocks)
        return half + dagger(half)


def random_matrices(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def random_hermitian(rng: np.random.Generator, *shape: int) -> np.ndarray:
    matrix = random_matrices(rng, *shape)
    return (matrix + dagger(matrix)) / 2


def random_lattice(bands: int, dimension: int, seed: int, hopping: float = 0.25) -> Lattice:
    """Random hoppings between levels a distance 2 apart, random spin operators."""
    rng = np.random.default_rng(seed)
    cells = np.array(CELLS[dimension])
    blocks = hopping * random_matrices(rng, len(cells), bands, bands)
    onsite = np.diag(2.0 * np.arange(bands)) + 0.3 * random_hermitian(rng, bands, bands)
    return Lattice(onsite, cells, blocks, random_hermitian(rng, 3, bands, bands))


def doubled(lattice: Lattice, seed: int) -> Lattice:
    """Every band twice, H ⊗ 1, with a random spin operator that mixes the copies."""
    onsite, blocks = np.kron(lattice.onsite, np.eye(2)), np.kron(lattice.blocks, np.eye(2))
    spin = random_hermitian(np.random.default_rng(seed), 3, len(onsite), len(onsite))
    return Lattice(onsite, lattice.cells, blocks, spin)


@dataclass(frozen=True)
class Fermi:
    """f(ε), and its derivative; temperature in units of energy, 0 for a step."""

    mu: float
    temperature: float

    def __call__(self, energy: np.ndarray) -> np.ndarray:
        if self.temperature == 0:
            return np.where(energy < self.mu, 1.0, 0.0)
        return 0.5 * (1 - np.tanh((energy - self.mu) / (2 * self.temperature)))

    def slope(self, energy: np.ndarray) -> np.ndarray:
        if self.temperature == 0:
            return np.zeros_like(energy)
        return -self(energy) * (1 - self(energy)) / self.temperature


def with_crossing(lattice: Lattice, k: np.ndarray) -> Lattice:
    """The same lattice with the two lowest bands equal at one k, where they cross."""
    energies, states = np.linalg.eigh(lattice(k))
    half = (energies[1] - energies[0]) / 2
    shift = np.zeros_like(energies)
    shift[:2] = half, -half
    onsite = lattice.onsite + (states * shift) @ dagger(states)
    return Lattice(onsite, lattice.cells, lattice.blocks, lattice.spin)


def hopping_model(lattice: Lattice) -> js.HoppingModel:
    """The lattice as a model of jaxspin."""
    d, n = lattice.cells.shape[1], len(lattice.onsite)
    return js.HoppingModel(
        np.eye(d),
        np.concatenate([np.zeros((1, d), int), lattice.cells, -lattice.cells]),
        np.concatenate([lattice.onsite[None], lattice.blocks, dagger(lattice.blocks)]),
        np.zeros((n, d)),
        lattice.spin,
    )
