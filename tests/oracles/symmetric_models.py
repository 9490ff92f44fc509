"""Random lattice models of an s orbital, or s and p, and spin 1/2 that have a given group.

D(g) = (1 ⊕ O) ⊗ SU(2) of det(O) O, with time reversal times iσ_y and complex conjugation;
H(O R) <- mean over the group of D(g) H(R)^(*) D(g)†, and so the spin (axial, odd) and the position
(polar, even), in plain NumPy.
"""

import itertools

import numpy as np

import jaxspin as js

PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
CUBIC = np.eye(3)
HEXAGONAL = np.array([[1, 0, 0], [-0.5, np.sqrt(3) / 2, 0], [0, 0, 1.3]])


def lattice_of(group) -> np.ndarray:
    """A lattice that has all elements: the cubic one, or the hexagonal one."""
    fits = all(np.allclose(x := np.array(one.matrix), np.rint(x)) for one in group)
    return CUBIC if fits else HEXAGONAL


def spin_half(operation) -> np.ndarray:
    """SU(2) of the proper part, from the unit quaternion: the eigenvector of a matrix, for arccos
    would lose half of the digits at half a turn."""
    rotation = operation.on_spin
    trace = np.trace(rotation)
    axial = [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0]]
    axial = np.array([*axial, rotation[1, 0] - rotation[0, 1]])
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[0, 1:], matrix[1:, 0] = trace, axial, axial
    matrix[1:, 1:] = rotation + rotation.T - trace * np.eye(3)
    q = np.linalg.eigh(matrix)[1][:, -1]
    unitary = q[0] * np.eye(2) - 1j * np.einsum("a,aij->ij", q[1:], PAULI)
    return unitary @ (1j * PAULI[1]) if operation.time_reversal else unitary


def representation(operation, orbitals) -> np.ndarray:
    """D(g) in the basis of the first so many of (s, x, y, z), times (up, down)."""
    whole = np.eye(4)
    whole[1:, 1:] = np.array(operation.matrix)
    return np.kron(whole[:orbitals, :orbitals], spin_half(operation))


def average(blocks, cells, lattice, group, axial=None):
    """The mean over a group of blocks (r, c, n, n), whose components are axial, polar or one."""
    index = {tuple(cell): i for i, cell in enumerate(cells)}
    mean = np.zeros_like(blocks)
    for one in group:
        d, reversal = representation(one, blocks.shape[-1] // 2), one.time_reversal
        turn = np.linalg.inv(lattice.T) @ np.array(one.matrix) @ lattice.T
        places = np.rint(cells @ turn.T).astype(int)
        vector = {None: np.eye(1), True: one.on_spin, False: np.array(one.matrix)}[axial]
        sign = -1 if axial and reversal else 1
        moved = d @ (blocks.conj() if reversal else blocks) @ d.conj().T
        moved = sign * np.einsum("ab,rbmn->ramn", vector, moved)
        for place, block in zip(places, moved, strict=True):
            mean[index[tuple(place)]] += block
    return mean / len(group)


def symmetric_model(group, seed=0, orbitals=4):
    """A random model of s (1) or s and p orbitals (4) with external terms, in eV and Å."""
    lattice, rng = lattice_of(group), np.random.default_rng(seed)
    cells = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))
    near = np.linalg.norm(cells @ lattice, axis=1) < 1.8
    cells = cells[near]
    decay = np.exp(-np.linalg.norm(cells @ lattice, axis=1))[:, None, None, None]

    def draw(components, size):
        shape = (len(cells), components, 2 * orbitals, 2 * orbitals)
        x = decay * size * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
        return x + x[::-1].conj().swapaxes(-1, -2)

    hamiltonian = average(draw(1, 0.5), cells, lattice, group)[:, 0]
    spin = draw(3, 0.05)
    home = len(cells) // 2
    spin[home] += np.array([np.kron(np.eye(orbitals), s) for s in PAULI])
    spin = average(spin, cells, lattice, group, axial=True)
    place = None
    if orbitals > 1:
        place = draw(3, 0.02)
        place[home] = 0  # the centres stay at the site
        place = average(place, cells, lattice, group, axial=False)
    return js.models.HoppingModel(
        lattice, cells, hamiltonian, np.zeros((2 * orbitals, 3)), spin, position=place
    )
