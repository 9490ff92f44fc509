"""Agreement with PythTB, and models there and back. Runs with versions 1.8 and 2."""

import jax.numpy as jnp
import numpy as np
import pytest
from systems import CONVENTIONAL, SYSTEMS, measure

from jaxspin.engine.small_matrices import PAULI
from jaxspin.interop.pythtb import from_pythtb, to_pythtb
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.lattice import Haldane, KaneMele
from jaxspin.models.tight_binding import HoppingModel

pythtb = pytest.importorskip("pythtb")
SECOND_VERSION = hasattr(pythtb, "TBModel")

HEXAGONAL = [[1, 0], [1 / 2, np.sqrt(3) / 2]]
THIRDS = [[1 / 3, 1 / 3], [2 / 3, 2 / 3]]
BONDS = {(0, 0): np.pi / 6, (0, -1): -np.pi / 2, (-1, 0): 5 * np.pi / 6}  # cell of B: angle
SECOND = [(1, 0), (-1, 1), (0, -1)]


def empty(lattice, orbitals, periodic, spinful):
    """A PythTB model without terms, in the installed version."""
    if SECOND_VERSION:
        geometry = pythtb.Lattice(lat_vecs=lattice, orb_vecs=orbitals, periodic_dirs=periodic)
        return pythtb.TBModel(geometry, spinful=spinful)
    return pythtb.tb_model(
        len(periodic), len(lattice), lattice, orbitals, per=periodic, nspin=1 + spinful
    )


def hamiltonian(tb, k):
    """PythTB's own H(k), k in reduced coordinates."""
    h = tb.hamiltonian(k_pts=[k])[0] if SECOND_VERSION else tb._gen_ham(k)
    n = int(np.sqrt(h.size))
    return h.reshape(n, n)


def haldane():
    tb = empty(HEXAGONAL, THIRDS, [0, 1], spinful=False)
    tb.set_onsite([0.3, -0.3])
    for cell in BONDS:
        tb.set_hop(-1.1, 0, 1, list(cell))
    for cell in SECOND:
        tb.set_hop(0.15 * np.exp(0.7j), 0, 0, list(cell))
        tb.set_hop(0.15 * np.exp(-0.7j), 1, 1, list(cell))
    return tb, Haldane(onsite=0.3, hopping=-1.1, next_hopping=0.15, phase=0.7)


def kane_mele():
    tb = empty(HEXAGONAL, THIRDS, [0, 1], spinful=True)
    tb.set_onsite([1.0, -1.0])
    for cell, angle in BONDS.items():
        tb.set_hop([1, 0.25j * np.sin(angle), -0.25j * np.cos(angle), 0], 0, 1, list(cell))
    for cell in SECOND:
        tb.set_hop([0, 0, 0, 0.3j], 0, 0, list(cell))
        tb.set_hop([0, 0, 0, -0.3j], 1, 1, list(cell))
    return tb, KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25)


def random_model(d, spinful):
    """Three orbitals anywhere, ten hops anywhere, in d dimensions."""
    rng = np.random.default_rng(d)
    lattice = np.eye(d) + 0.2 * rng.random((d, d))
    tb = empty(lattice, rng.random((3, d)), list(range(d)), spinful)
    pauli = lambda: np.einsum("a,aij->ij", rng.normal(size=4), PAULI)  # noqa: E731
    tb.set_onsite([pauli() if spinful else rng.normal() for _ in range(3)])
    seen = set()
    for _ in range(10):
        i, j = rng.integers(3, size=2).tolist()
        cell = tuple(rng.integers(-2, 3, size=d).tolist())
        back = (j, i, tuple(-c for c in cell))
        if (i == j and not any(cell)) or (i, j, cell) in seen or back in seen:
            continue
        seen.add((i, j, cell))
        amplitude = pauli() + 1j * pauli() if spinful else complex(*rng.normal(size=2))
        tb.set_hop(amplitude, i, j, list(cell))
    return tb


MODELS = {
    "haldane": haldane()[0],
    "kane_mele": kane_mele()[0],
    **{
        f"{d}D {'with' if s else 'without'} spin": random_model(d, s)
        for d in (1, 2, 3)
        for s in (False, True)
    },
}


def random_k(model):
    return np.random.default_rng(7).uniform(-2, 2, size=(6, model.dimension))


def cartesian(model, k):
    return jnp.asarray(k) @ reciprocal_vectors(model.lattice)


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def tb(request):
    return request.param


def test_same_matrix(tb):
    model = from_pythtb(tb)
    for k in random_k(model):
        np.testing.assert_allclose(model(cartesian(model, k)), hamiltonian(tb, k), atol=1e-12)


def test_same_energies(tb):
    model = from_pythtb(tb)
    k = random_k(model)
    solved = tb.solve_ham(k) if SECOND_VERSION else tb.solve_all(k).T
    for point, energies in zip(k, solved, strict=True):
        h = model(cartesian(model, point))
        np.testing.assert_allclose(jnp.linalg.eigvalsh(h), energies, atol=1e-12)


def test_opposite_phase_is_noticed():
    tb = MODELS["2D with spin"]
    model = from_pythtb(tb)
    k = random_k(model)[0]
    assert np.max(np.abs(model(cartesian(model, k)) - hamiltonian(tb, -k))) > 0.1


def test_there_and_back(tb):
    back = to_pythtb(from_pythtb(tb))
    for k in random_k(from_pythtb(tb)):
        np.testing.assert_allclose(hamiltonian(back, k), hamiltonian(tb, k), atol=1e-12)


def test_back_and_there(tb):
    model = from_pythtb(tb)
    again = from_pythtb(to_pythtb(model))
    k = cartesian(model, random_k(model)[0])
    np.testing.assert_allclose(again(k), model(k), atol=1e-12)
    assert (again.spin_operator is None) == (model.spin_operator is None)
    np.testing.assert_allclose(again.centres, model.centres, atol=1e-14)


@pytest.mark.parametrize("build", [haldane, kane_mele])
def test_formula_is_the_same_matrix(build):
    """PythTB's honeycomb models and ours, in the same gauge."""
    tb, model = build()
    for k in random_k(model):
        np.testing.assert_allclose(model(cartesian(model, k)), hamiltonian(tb, k), atol=1e-12)


def test_spin_operator():
    model = from_pythtb(MODELS["kane_mele"])
    np.testing.assert_array_equal(model.spin(), kane_mele()[1].spin())
    with pytest.raises(ValueError, match="no spin operator"):
        from_pythtb(MODELS["haldane"]).spin()


def test_conjugate_pair_counts_twice():
    """PythTB adds both a hop and its conjugate where both are given."""
    tb = empty(HEXAGONAL, THIRDS, [0, 1], spinful=False)
    tb.set_hop(0.5 + 0.2j, 0, 1, [1, 0])
    tb.set_hop(0.1, 1, 0, [-1, 0], allow_conjugate_pair=True)
    model, k = from_pythtb(tb), [0.1, 0.2]
    np.testing.assert_allclose(model(cartesian(model, k)), hamiltonian(tb, k), atol=1e-13)


def test_open_directions_are_refused():
    with pytest.raises(
        ValueError, match="periodic in all of its 2 directions, but is periodic in 1"
    ):
        from_pythtb(empty(HEXAGONAL, THIRDS, [0], spinful=False))


def test_other_objects_are_refused():
    with pytest.raises(ValueError, match=r"must be a model of PythTB.*but is a dict"):
        from_pythtb({})


@pytest.mark.skipif(not SECOND_VERSION, reason="PythTB 1.8 has no symbolic parameters")
def test_symbolic_parameters_are_refused_until_they_have_numbers():
    tb = empty(HEXAGONAL, THIRDS, [0, 1], spinful=False)
    tb.set_hop("t", 0, 1, [0, 0])
    with pytest.raises(ValueError, match="has none for t"):
        from_pythtb(tb)
    tb.set_parameters(t=0.5)
    np.testing.assert_allclose(from_pythtb(tb)(jnp.zeros(2)), hamiltonian(tb, [0, 0]), atol=1e-14)


def spinful(**change):
    spin = [np.kron(np.eye(2), sigma) for sigma in PAULI[1:]]
    centres = [[0, 0], [0, 0], [0.5, 0], [0.5, 0]]
    blocks = np.eye(4)[None]
    inputs = {"cells": [(0, 0)], "blocks": blocks, "centres": centres, "spin": spin}
    return HoppingModel(lattice=np.eye(2), **inputs | change)


def test_only_local_spin_one_half_goes_to_pythtb():
    to_pythtb(spinful())
    block_order = [np.kron(sigma, np.eye(2)) for sigma in PAULI[1:]]
    with pytest.raises(ValueError, match="spin operator sigma on each orbital"):
        to_pythtb(spinful(spin=block_order, centres=np.zeros((4, 2))))
    with pytest.raises(ValueError, match=r"two spins of each orbital at one place.*1e-08 Angstrom"):
        to_pythtb(spinful(centres=[[0, 0], [1e-8, 0], [0.5, 0], [0.5, 0]]))


def test_hall_effects_of_a_model_built_in_pythtb():
    formula = SYSTEMS["Kane-Mele, scan"]
    names = ("anomalous_hall", CONVENTIONAL)
    imported, own = (
        measure(model, formula.mesh, formula.levels, names)
        for model in (from_pythtb(kane_mele()[0]), formula.model)
    )
    for name in names:
        np.testing.assert_allclose(imported[name], own[name], atol=1e-13)
