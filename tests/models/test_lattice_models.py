"""Lattice models and lattices: symmetries, and numbers that other codes agree on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_oracle import CONDUCTANCE_QUANTUM, kubo_oracle

from jaxspin.engine.small_matrices import PAULI
from jaxspin.meshes.lattice import NAMED_POINTS, cell_volume, reciprocal_vectors
from jaxspin.models.lattice import BernevigHughesZhang, Haldane, KaneMele, QiWuZhang

HALDANE = Haldane(onsite=-0.2, hopping=-1.0, next_hopping=0.15, phase=np.pi / 2)
KANE_MELE = {
    "odd": KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25),
    "even": KaneMele(onsite=2.5, hopping=1.0, spin_orbit=0.3, rashba=0.25),
}
BHZ = BernevigHughesZhang(u=-1.0, A=1.0, C=0.3, rashba=0.5, mixing=0.2)
MODELS = {
    "Qi-Wu-Zhang": QiWuZhang(A=0.8, m=-0.7, t0=0.2),
    "Haldane": HALDANE,
    "Kane-Mele": KANE_MELE["odd"],
    "Bernevig-Hughes-Zhang": BHZ,
}
LATTICES = {
    "square": np.eye(2),
    "hexagonal": np.asarray(HALDANE.lattice),
    "cubic": np.eye(3),
    "fcc": (np.ones((3, 3)) - np.eye(3)) / 2,
}
K = jnp.array([0.37, -1.21])


def reduced(model, *u):
    return jnp.array(u) @ reciprocal_vectors(model.lattice)


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def model(request):
    return request.param


def test_is_hermitian(model):
    h = np.asarray(model(K))
    np.testing.assert_array_equal(h, h.conj().T)


def test_spectrum_is_periodic(model):
    spectra = [jnp.linalg.eigvalsh(model(k)) for k in (K, K + reduced(model, 2, -1))]
    np.testing.assert_allclose(spectra[0], spectra[1], atol=1e-12)


def test_derivative_by_every_parameter(model):
    """Forward derivative of H against a difference, parameter by parameter."""
    leaves, tree = jax.tree.flatten(model)

    def hamiltonian(*leaves):
        return jax.tree.unflatten(tree, leaves)(K)

    for i in range(len(leaves)):
        gradient = jax.jacfwd(hamiltonian, argnums=i)(*leaves)
        up, down = ([*leaves[:i], leaves[i] + h, *leaves[i + 1 :]] for h in (1e-5, -1e-5))
        difference = (hamiltonian(*up) - hamiltonian(*down)) / 2e-5
        np.testing.assert_allclose(gradient, difference, atol=1e-9)
        assert np.max(np.abs(gradient)) > 0.01


@pytest.mark.parametrize(
    ("model", "name"), [(m, f) for m in MODELS.values() for f in m.__dataclass_fields__]
)
def test_bad_parameters(model, name):
    values = {f: getattr(model, f) for f in model.__dataclass_fields__}
    for bad in (np.nan, [1.0, 2.0]):
        with pytest.raises(ValueError, match=f"Argument `{name}` must be one finite number"):
            type(model)(**values | {name: bad})


def reversed_in_time(model, k):
    """T H(−k) T⁻¹ with T = 1 ⊗ iσ_y K."""
    turn = np.kron(np.eye(2), 1j * PAULI[2])
    return turn @ np.conj(model(-k)) @ turn.T


@pytest.mark.parametrize(
    "model", [*KANE_MELE.values(), BernevigHughesZhang(u=-1.0, A=1.0, C=0.3, rashba=0.5)]
)
def test_time_reversal(model):
    np.testing.assert_allclose(reversed_in_time(model, K), model(K), atol=1e-13)


def test_mixing_breaks_time_reversal():
    assert np.max(np.abs(reversed_in_time(BHZ, K) - BHZ(K))) > 0.1


@pytest.mark.parametrize(
    ("model", "conserved"),
    [
        (KaneMele(onsite=0.3, hopping=1.0, spin_orbit=0.3), True),
        (KANE_MELE["odd"], False),
        (BernevigHughesZhang(u=-1.0, A=1.0, C=0.3), True),
        (BHZ, False),
        (BernevigHughesZhang(u=-1.0, A=1.0, mixing=0.2), False),
    ],
)
def test_spin_conservation(model, conserved):
    spin_z, h = model.spin()[2], model(K)
    assert bool(np.allclose(spin_z @ h, h @ spin_z, atol=1e-13)) == conserved


def test_quantum_spin_hall_insulator_is_two_chern_insulators():
    whole = BernevigHughesZhang(u=-0.6, A=0.8, C=0.3)(K)
    half = QiWuZhang(A=0.8, m=-0.6, t0=0.3)
    np.testing.assert_allclose(whole[::2, ::2], half(K), atol=1e-14)
    np.testing.assert_allclose(whole[1::2, 1::2], half(-K).conj(), atol=1e-14)


def test_haldane_with_kane_mele():
    """One spin of Kane-Mele is Haldane at phase ±π/2."""
    whole = KaneMele(onsite=0.4, hopping=-1.0, spin_orbit=0.15)(K)
    for spin, phase in enumerate((np.pi / 2, -np.pi / 2)):
        half = Haldane(onsite=0.4, hopping=-1.0, next_hopping=0.15, phase=phase)
        np.testing.assert_allclose(whole[spin::2, spin::2], half(K), atol=1e-13)


@pytest.mark.parametrize(("point", "phase"), [("K", -np.pi / 2), ("K'", np.pi / 2)])
def test_haldane_gap_closes(point, phase):
    """At the transition onsite = 3√3 next_hopping the gap closes, in one valley only."""
    model = Haldane(onsite=3 * np.sqrt(3) * 0.1, hopping=1.0, next_hopping=0.1, phase=phase)
    gaps = {}
    for name in ("K", "K'"):
        gaps[name] = np.ptp(
            jnp.linalg.eigvalsh(model(reduced(model, *NAMED_POINTS["hexagonal"][name])))
        )
    assert gaps.pop(point) < 1e-7
    assert gaps.popitem()[1] > 1.0


def test_haldane_has_no_spin():
    with pytest.raises(ValueError, match="spinless"):
        HALDANE.spin()


# Reference: WannierBerri 26.10 and an independent NumPy sum on the same k, which agree to 1e-12.
@pytest.mark.parametrize(
    ("model", "energies"),
    [
        (HALDANE, [-2.63164972, 2.63164972]),
        (KANE_MELE["odd"], [-3.04732927, -2.56711258, 2.56230345, 3.05213841]),
    ],
)
def test_energies_of_wannierberri(model, energies):
    h = model(reduced(model, 0.1, 0.2))
    np.testing.assert_allclose(jnp.linalg.eigvalsh(h), energies, atol=6e-9)


def test_oracle_anomalous_hall_of_haldane():
    hall = kubo_oracle(HALDANE, 60, [-2, -1.5, -1, 0, 1]).ahc / CONDUCTANCE_QUANTUM
    np.testing.assert_allclose(hall, [0.010416, 0.064881, 0.58922335, 1, 0.58922335], atol=5e-7)


def test_oracle_sign_follows_the_phase():
    opposite = Haldane(onsite=-0.2, hopping=-1.0, next_hopping=0.15, phase=-np.pi / 2)
    hall = kubo_oracle(opposite, 60, [0.0]).ahc / CONDUCTANCE_QUANTUM
    np.testing.assert_allclose(hall, -1, atol=1e-7)


@pytest.mark.parametrize(("m", "chern"), [(-1.0, 1), (1.0, -1), (3.0, 0)])
def test_oracle_chern_number_of_qi_wu_zhang(m, chern):
    hall = kubo_oracle(QiWuZhang(A=1.0, m=m), 40, [0.0]).ahc / CONDUCTANCE_QUANTUM
    np.testing.assert_allclose(hall, -chern, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "zxy", "xxx"),
    [
        (KANE_MELE["odd"], -1.02715808, -0.09107067),
        (KANE_MELE["even"], -0.00053222, 0.0050025),
        (KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3), -1, 0),
        (KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.1), -1.004413, None),
        (KaneMele(onsite=2.5, hopping=1.0, spin_orbit=0.3), 0, 0),
    ],
)
def test_oracle_spin_hall_of_kane_mele(model, zxy, xxx):
    hall = kubo_oracle(model, 60, [0.0])
    spin_hall = hall.shc[0] / CONDUCTANCE_QUANTUM
    np.testing.assert_allclose(spin_hall[0, 1, 2], zxy, atol=5e-7)
    np.testing.assert_allclose(spin_hall[1, 0, 2], -zxy, atol=5e-7)
    if xxx is not None:
        pattern = [
            spin_hall[0, 0, 0],
            -spin_hall[1, 1, 0],
            -spin_hall[0, 1, 1],
            -spin_hall[1, 0, 1],
        ]
        np.testing.assert_allclose(pattern, xxx, atol=5e-8)
    np.testing.assert_allclose(hall.ahc, 0, atol=1e-12 * CONDUCTANCE_QUANTUM)


@pytest.mark.parametrize(
    ("model", "value"), [(BernevigHughesZhang(u=-1.0, A=1.0, C=0.3), -1), (BHZ, -0.95480263)]
)
def test_oracle_spin_hall_of_bernevig_hughes_zhang(model, value):
    """Conventional σ^z_yx with two bands filled, in e/2π = (ħ/e)(e²/h)."""
    spin_hall = kubo_oracle(model, 64, [-0.3]).shc[0] / CONDUCTANCE_QUANTUM
    np.testing.assert_allclose(spin_hall[1, 0, 2], value, atol=5e-9)


@pytest.mark.parametrize("lattice", LATTICES.values(), ids=LATTICES.keys())
def test_reciprocal_vectors(lattice):
    b = reciprocal_vectors(jnp.asarray(lattice))
    np.testing.assert_allclose(lattice @ b.T, 2 * np.pi * np.eye(len(lattice)), atol=1e-14)
    volumes = cell_volume(jnp.asarray(lattice)) * cell_volume(b)
    np.testing.assert_allclose(volumes, (2 * np.pi) ** len(lattice), rtol=1e-14)


# A point of the zone boundary is as far from k = 0 as from this many reciprocal lattice points.
NEAREST = {
    "square": {"Γ": 1, "X": 2, "M": 4},
    "hexagonal": {"Γ": 1, "M": 2, "K": 3, "K'": 3},
    "cubic": {"Γ": 1, "X": 2, "M": 4, "R": 8},
    "fcc": {"Γ": 1, "X": 2, "L": 2, "W": 4, "K": 3, "U": 3},
}


@pytest.mark.parametrize("name", NAMED_POINTS)
def test_named_points_are_on_the_zone_boundary(name):
    b = np.asarray(reciprocal_vectors(jnp.asarray(LATTICES[name])))
    d = len(b)
    lattice_points = np.array(list(np.ndindex(*d * (7,)))) @ b - 3 * b.sum(axis=0)
    found = {}
    for label, point in NAMED_POINTS[name].items():
        distances = np.linalg.norm(np.array(point) @ b - lattice_points, axis=1)
        np.testing.assert_allclose(distances.min(), np.linalg.norm(np.array(point) @ b), atol=1e-12)
        found[label] = int(np.sum(distances < distances.min() + 1e-9))
    assert found == NEAREST[name]
