"""Agreement with sisl, and models there and back."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from systems import random_hopping

import jaxspin as js
from jaxspin.engine.small_matrices import PAULI
from jaxspin.interop.sisl import from_sisl, to_sisl
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.tight_binding import HoppingModel

sisl = pytest.importorskip("sisl")

HEXAGONAL = np.array([[1, 0], [1 / 2, np.sqrt(3) / 2]])
BONDS = {(0, 0): np.pi / 6, (0, -1): -np.pi / 2, (-1, 0): 5 * np.pi / 6}  # cell of B: angle
SECOND = [(1, 0), (-1, 1), (0, -1)]
#: Lattice vectors along which random Hamiltonians are periodic.
PERIODIC = {"1D": [2], "sheet": [0, 1], "sheet xz": [0, 2], "crystal": [0, 1, 2]}
SPINS = ("unpolarized", "polarized", "non-colinear", "spin-orbit")


def geometry(periodic, cells=None):
    """Two orbitals on one atom and one on another, periodic in some directions."""
    rng = np.random.default_rng(len(periodic))
    vectors = 10 * np.eye(3)
    vectors[np.ix_(periodic, periodic)] = np.eye(len(periodic)) + 0.2 * rng.random(
        (len(periodic), len(periodic))
    )
    cells = cells or [5 if i in periodic else 1 for i in range(3)]
    lattice = sisl.Lattice(vectors, nsc=cells)
    lattice.pbc = [i in periodic for i in range(3)]
    atoms = [sisl.Atom(6, R=[1.0, 1.0]), sisl.Atom(1, R=1.0)]
    return sisl.Geometry(rng.uniform(-1, 2, size=(2, 3)), atoms, lattice=lattice)


def random_hamiltonian(periodic, spin, dtype=complex):
    """Ten hops anywhere, and their Hermitian conjugates, in the storage order of sisl."""
    rng = np.random.default_rng(3)
    hamiltonian = sisl.Hamiltonian(geometry(periodic), spin=spin, dtype=dtype)
    for number in range(10):
        i, j = rng.integers(3, size=2).tolist()
        cell = np.zeros(3, int)
        if number:
            cell[periodic] = rng.integers(-2, 3, size=len(periodic))
        add(hamiltonian, i, j, cell, random_elements(rng, spin, dtype))
    return hamiltonian


def random_elements(rng, spin, dtype):
    """A (2, 2) matrix of the kind that sisl holds for a spin configuration."""
    matrix = rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2))
    if spin == "non-colinear":
        return (matrix + matrix.conj().T) / 2
    return matrix if spin == "spin-orbit" or dtype is complex else matrix.real


def add(hamiltonian, i, j, cell, amplitude):
    """A hop and its Hermitian conjugate."""
    cell = np.array([*cell, 0])[:3]
    for m, n, R, matrix in ((i, j, cell, amplitude), (j, i, -cell, amplitude.conj().T)):
        for component, value in enumerate(stored(hamiltonian, matrix)):
            index = (m, n, component, tuple(R.tolist()))
            hamiltonian[index] = hamiltonian[index] + value


def stored(hamiltonian, matrix):
    """A (2, 2) matrix in the storage order of sisl."""
    (a, c), (d, b) = matrix
    components = hamiltonian.spin.size(hamiltonian.dtype)
    if hamiltonian.dkind == "c":
        return np.array([a, b, c, d])[:components]
    parts = [a.real, b.real, c.real, c.imag, a.imag, b.imag, d.real, d.imag]
    return np.array(parts)[:components]


CHOICES = {
    **{f"{name} {spin}": (p, spin, complex) for name, p in PERIODIC.items() for spin in SPINS},
    **{f"sheet {spin} of real numbers": ([0, 1], spin, float) for spin in SPINS},
}
HAMILTONIANS = {name: random_hamiltonian(*choice) for name, choice in CHOICES.items()}


@pytest.fixture(params=HAMILTONIANS.values(), ids=HAMILTONIANS.keys())
def hamiltonian(request):
    return request.param


def random_k(hamiltonian):
    """In reduced coordinates, zero along directions that are not periodic."""
    k = np.random.default_rng(7).uniform(-2, 2, size=(4, 3))
    return k * hamiltonian.geometry.lattice.pbc


def at(hamiltonian, k):
    """sisl's own H(k) in the basis (orbital, spin)."""
    if not hamiltonian.spin.is_polarized:
        return hamiltonian.Hk(k, gauge="orbital", format="array")
    up, down = (hamiltonian.Hk(k, gauge="orbital", format="array", spin=s) for s in (0, 1))
    return np.kron(up, np.diag([1, 0])) + np.kron(down, np.diag([0, 1]))


def mine(model, hamiltonian, k):
    """Our H(k), k in reduced coordinates of sisl's three directions."""
    reduced = np.asarray(k)[hamiltonian.geometry.lattice.pbc]
    return model(jnp.asarray(reduced) @ reciprocal_vectors(model.lattice))


def test_same_matrix(hamiltonian):
    model = from_sisl(hamiltonian)
    for k in random_k(hamiltonian):
        np.testing.assert_allclose(mine(model, hamiltonian, k), at(hamiltonian, k), atol=1e-12)


def test_same_energies(hamiltonian):
    model = from_sisl(hamiltonian)
    for k in random_k(hamiltonian):
        spins = [{"spin": 0}, {"spin": 1}] if hamiltonian.spin.is_polarized else [{}]
        expected = np.sort(np.concatenate([hamiltonian.eigh(k, **spin) for spin in spins]))
        energies = jnp.linalg.eigvalsh(mine(model, hamiltonian, k))
        np.testing.assert_allclose(energies, expected, atol=1e-12)


def test_dimension_is_that_of_the_crystal(hamiltonian):
    model = from_sisl(hamiltonian)
    assert model.dimension == hamiltonian.geometry.lattice.pbc.sum()
    assert (model.spin_operator is None) == hamiltonian.spin.is_unpolarized


def test_spin_is_that_of_sisl():
    """⟨σ⟩ of each state, and not by another order of the states."""
    hamiltonian = HAMILTONIANS["sheet spin-orbit"]
    model, k = from_sisl(hamiltonian), random_k(hamiltonian)[0]
    states = np.linalg.eigh(mine(model, hamiltonian, k))[1]
    expected = hamiltonian.eigenstate(k, gauge="orbital").spin_moment()
    spin = np.einsum("an,iab,bn->in", states.conj(), model.spin(), states).real
    np.testing.assert_allclose(spin, expected, atol=1e-12)
    other = np.array([np.kron(sigma, np.eye(3)) for sigma in PAULI[1:]])
    wrong = np.einsum("an,iab,bn->in", states.conj(), other, states).real
    assert np.max(np.abs(wrong - expected)) > 0.1


def test_wrong_spin_order_is_noticed():
    """Up down and down up exchanged."""
    hamiltonian = HAMILTONIANS["sheet spin-orbit"]
    k = random_k(hamiltonian)[0]
    h = mine(from_sisl(hamiltonian), hamiltonian, k).reshape(3, 2, 3, 2)
    exchanged = h.transpose(0, 3, 2, 1).reshape(6, 6)
    assert np.max(np.abs(exchanged - at(hamiltonian, k))) > 0.1


def test_other_phases_are_noticed():
    hamiltonian = HAMILTONIANS["sheet spin-orbit"]
    k = random_k(hamiltonian)[0]
    h = mine(from_sisl(hamiltonian), hamiltonian, k)
    assert np.max(np.abs(h - at(hamiltonian, -k))) > 0.1
    assert np.max(np.abs(h - hamiltonian.Hk(k, gauge="lattice", format="array"))) > 0.1


def test_there_and_back(hamiltonian):
    """Polarized and non-collinear ones come back as spin-orbit ones."""
    model = from_sisl(hamiltonian)
    back = to_sisl(model)
    assert back.spin.is_unpolarized == hamiltonian.spin.is_unpolarized
    d = model.dimension
    assert back.geometry.lattice.pbc.tolist() == [i < d for i in range(3)]
    for k in random_k(hamiltonian):
        moved = np.pad(k[hamiltonian.geometry.lattice.pbc], (0, 3 - d))
        np.testing.assert_allclose(at(back, moved), at(hamiltonian, k), atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("spinful", [False, True])
def test_back_and_there(d, spinful):
    random = random_hopping(4, d, seed=1)
    model = HoppingModel(
        random.vectors,
        random.cells,
        random.blocks,
        random.centres,
        spin=[np.kron(np.eye(2), sigma) for sigma in PAULI[1:]] if spinful else None,
    )
    again = from_sisl(to_sisl(model))
    for k in np.random.default_rng(7).normal(size=(4, d)):
        np.testing.assert_allclose(again(k), model(k), atol=1e-12)
    np.testing.assert_array_equal(again.lattice, model.lattice)
    assert (again.spin_operator is None) == (not spinful)


def test_orbitals_without_hops():
    model = HoppingModel([[2.0]], [[0]], [[[1.5]]], [[0.3]], spin=None)
    again = from_sisl(to_sisl(model))
    assert again.dimension == 1
    np.testing.assert_allclose(again(jnp.array([0.4])), [[1.5]])


# Two codes' formulas for the same response, on the same points.

N = 12
G0 = 3.8740458649318e-05  # e²/h, S


def sheet(spin):
    """A honeycomb of two atoms, without terms."""
    vectors = 20 * np.eye(3)
    vectors[:2, :2] = HEXAGONAL
    lattice = sisl.Lattice(vectors, nsc=[3, 3, 1])
    lattice.pbc = [True, True, False]
    places = np.zeros((2, 3))
    places[:, :2] = np.array([[1 / 3, 1 / 3], [2 / 3, 2 / 3]]) @ HEXAGONAL
    geometry = sisl.Geometry(places, sisl.Atom(6, R=1.0), lattice=lattice)
    return sisl.Hamiltonian(geometry, spin=spin, dtype=complex)


def haldane():
    """M = 0.2, t = -1, t' = 0.15, φ = π/2."""
    hamiltonian, one = sheet("unpolarized"), np.eye(2)
    for i, sign in enumerate((1, -1)):
        add(hamiltonian, i, i, (0, 0), sign * 0.1 * one)
        for cell in SECOND:
            add(hamiltonian, i, i, cell, sign * 0.15j * one)
    for cell in BONDS:
        add(hamiltonian, 0, 1, cell, -1 * one)
    return hamiltonian


def kane_mele():
    """WannierBerri's model `KaneMele_ptb("odd")`."""
    hamiltonian = sheet("spin-orbit")
    for i, sign in enumerate((1, -1)):
        add(hamiltonian, i, i, (0, 0), sign * 0.5 * np.eye(2))
        for cell in SECOND:
            add(hamiltonian, i, i, cell, sign * 0.3j * PAULI[3])
    for cell, angle in BONDS.items():
        rashba = 0.25j * (np.sin(angle) * PAULI[1] - np.cos(angle) * PAULI[2])
        add(hamiltonian, 0, 1, cell, np.eye(2) + rashba)
    return hamiltonian


def hall(response, hamiltonian, energy, **choice):
    """sisl's conductivity of the filled bands, on a grid with k = 0, (2, 2)."""
    points = sisl.MonkhorstPack(hamiltonian, [N, N, 1], trs=False)
    filled = sisl.get_distribution("step_function", x0=energy)
    choice["eigenstate_kwargs"] = {"gauge": "orbital"}
    return response(points, distribution=filled, **choice)[:2, :2]


@pytest.mark.parametrize("energy", [-1.13, 0.0])
def test_anomalous_hall(energy):
    hamiltonian = haldane()
    expected = hall(sisl.physics.electron.ahc, hamiltonian, energy)
    mine = js.anomalous_hall(from_sisl(hamiltonian), js.Grid((N, N)), js.Levels(energy))
    np.testing.assert_allclose(mine.value[0], expected, atol=1e-9 * G0)
    assert np.max(np.abs(expected)) > 0.1 * G0


@pytest.mark.parametrize("energy", [-1.13, 0.0])
def test_spin_hall(energy):
    """In units of ħ/2e, twice the number in sisl's ħ/e."""
    hamiltonian, shc = kane_mele(), sisl.physics.electron.shc
    expected = [2 * hall(shc, hamiltonian, energy, sigma=s) for s in "xyz"]
    mine = js.spin_hall(
        from_sisl(hamiltonian), js.Grid((N, N)), js.Levels(energy), definition="conventional"
    )
    np.testing.assert_allclose(mine.value[0], np.moveaxis(expected, 0, -1), atol=1e-9 * G0)
    assert all(np.max(np.abs(component)) > 0.01 * G0 for component in expected)


def test_spin_hall_in_the_other_gauge_differs():
    """So that the agreement above is one of the positions too."""
    points = sisl.MonkhorstPack(kane_mele(), [N, N, 1], trs=False)
    filled = sisl.get_distribution("step_function", x0=0.0)
    lattice, orbital = (
        sisl.physics.electron.shc(
            points, sigma="x", distribution=filled, eigenstate_kwargs={"gauge": gauge}
        )
        for gauge in ("lattice", "orbital")
    )
    assert np.max(np.abs(lattice - orbital)) > 0.01 * G0


@pytest.mark.parametrize("build", [haldane, kane_mele])
def test_formula_is_the_same_matrix(build):
    """sisl's honeycomb models and ours, in the same gauge."""
    formula = {
        haldane: js.models.Haldane(onsite=0.2, hopping=-1.0, next_hopping=0.15, phase=np.pi / 2),
        kane_mele: js.models.KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25),
    }[build]
    model = from_sisl(build())
    for k in np.random.default_rng(7).normal(size=(4, 2)):
        np.testing.assert_allclose(model(k), formula(k), atol=1e-12)


def changed(pbc):
    """A sheet that is said to be periodic elsewhere."""
    hamiltonian = sheet("unpolarized")
    hamiltonian[0, 1, (0, 1)] = hamiltonian[1, 0, (0, -1)] = 1.0
    hamiltonian.geometry.lattice.pbc = pbc
    return hamiltonian


def test_no_thickness_is_invented():
    """Vacuum without a word on it would be a crystal of stacked sheets."""
    with pytest.raises(ValueError, match=r"none along lattice vector 2; set.*pbc` to False"):
        from_sisl(changed(pbc=[True, True, True]))


def test_hops_along_open_directions_are_refused():
    with pytest.raises(ValueError, match=r"no hops along .* not periodic.* cell \(0, -1, 0\)"):
        from_sisl(changed(pbc=[True, False, False]))


def test_molecules_are_refused():
    with pytest.raises(ValueError, match="must be periodic"):
        from_sisl(changed(pbc=[False, False, False]))


def test_tilted_sheets_are_refused():
    lattice = sisl.Lattice([[1, 0, 0], [0, 1, 0.1], [0, 0, 20]], nsc=[3, 3, 1])
    lattice.pbc = [True, True, False]
    tilted = sisl.Hamiltonian(sisl.Geometry([0, 0, 0], lattice=lattice))
    with pytest.raises(ValueError, match=r"along a Cartesian axis or in a plane of two.*rotate it"):
        from_sisl(tilted)


def test_overlaps_are_refused():
    with pytest.raises(ValueError, match="orthogonal basis, but is non-orthogonal"):
        from_sisl(sisl.Hamiltonian(geometry([0, 1]), orthogonal=False))


def test_superconductors_are_refused():
    with pytest.raises(ValueError, match=r"must be one of electrons, but is .*nambu"):
        from_sisl(sisl.Hamiltonian(geometry([0, 1]), spin="nambu", dtype=complex))


def test_hamiltonians_that_are_not_hermitian_are_refused():
    hamiltonian = sheet("unpolarized")
    hamiltonian[0, 1, (1, 0)] = 1.0
    with pytest.raises(ValueError, match=r"H\(-R\) = H\(R\)\^dagger"):
        from_sisl(hamiltonian)


@pytest.mark.parametrize("other", [{}, sheet("unpolarized").geometry], ids=["dict", "Geometry"])
def test_other_objects_are_refused(other):
    name = type(other).__name__
    with pytest.raises(ValueError, match=rf"must be a `sisl.Hamiltonian`, but is a {name}"):
        from_sisl(other)


def test_missing_package(monkeypatch):
    hamiltonian = sheet("unpolarized")
    monkeypatch.setitem(sys.modules, "sisl", None)
    with pytest.raises(ImportError, match="`from_sisl` needs sisl: pip install sisl"):
        from_sisl(hamiltonian)
    with pytest.raises(ImportError, match="`to_sisl` needs sisl: pip install sisl"):
        to_sisl(random_hopping(4, 2, seed=1))
