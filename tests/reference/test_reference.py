"""The slow independent solvers: what they refuse, and the pieces that have an exact answer."""

import numpy as np
import pytest
from scipy.special import ive

import jaxspin as js
from jaxspin import reference
from jaxspin.engine.small_matrices import PAULI
from jaxspin.reference.kubo_streda import scaled_bessel

MODEL = js.models.QiWuZhang(A=1.0, m=-1.0)
HAMILTONIAN = reference.batch_hamiltonian(MODEL)
K = np.array([[0.3, -0.4], [1.0, 0.2]])


def occupation(energy):
    return np.where(energy < 0, 1.0, 0.0)


def test_hamiltonian_of_a_model_at_many_k():
    for h, k in zip(HAMILTONIAN(K), K, strict=True):
        np.testing.assert_allclose(h, MODEL(k), atol=1e-15)


def test_steady_state_solves_the_liouville_equation():
    """i [H(k₊) ρ − ρ H(k₋)] is the drive where bands differ, in the bases at k₊ and k₋."""
    liouville = reference.LiouvilleEquation(HAMILTONIAN, occupation, (0, 1))
    q, drive = np.array([0.2, 0.1]), np.array([[0.3, 1.0 - 2j], [0.5 + 1j, -0.7]])
    density = liouville.steady_state(K, q, drive)
    plus, minus = HAMILTONIAN(K + q / 2), HAMILTONIAN(K - q / 2)
    left, right = np.linalg.eigh(plus)[1], np.linalg.eigh(minus)[1]
    rest = 1j * (plus @ density - density @ minus) - drive
    rest = left.conj().swapaxes(-1, -2) @ rest @ right
    np.testing.assert_allclose(rest[:, [0, 1], [1, 0]], 0, atol=1e-14)


def test_scaled_bessel_functions():
    x = np.concatenate([[0.0], np.geomspace(1e-6, 300, 40)])
    expected = [ive(m, x) for m in range(3)]
    np.testing.assert_allclose(scaled_bessel(2, x), expected, rtol=0, atol=1e-14)


def test_extrapolation_is_exact_for_a_polynomial():
    cubic = lambda u: np.array([3.0, -1.0]) + u * np.array([2.0, 5.0]) + 7 * u**3  # noqa: E731
    found = reference.extrapolate_to_no_disorder(cubic, (0.1, 0.2, 0.3, 0.4))
    np.testing.assert_allclose(found, [3.0, -1.0], atol=1e-13)


def dipole(**changes):
    arguments = {
        "hamiltonian": HAMILTONIAN,
        "spin": PAULI[1:],
        "occupation": occupation,
        "k": K,
        "groups": None,
    }
    return reference.torque_dipole(**(arguments | changes))


def correlate(**changes):
    arguments = {
        "hamiltonian": HAMILTONIAN(K),
        "operators": np.broadcast_to(PAULI[1:, None], (3, 2, 2, 2)),
        "weight": np.ones(2),
        "energy": 0.5,
        "strength": 0.1,
    }
    return reference.correlations(**(arguments | changes))


WRONG = {
    "a model in the place of a function of arrays": (dipole, {"hamiltonian": MODEL}, "hamiltonian"),
    "no function": (dipole, {"hamiltonian": np.eye(2)}, "hamiltonian"),
    "H not Hermitian": (dipole, {"hamiltonian": lambda k: 1j * HAMILTONIAN(k)}, "hamiltonian"),
    "H not finite": (dipole, {"hamiltonian": lambda k: np.nan * HAMILTONIAN(k)}, "hamiltonian"),
    "a spin of another size": (dipole, {"spin": np.zeros((3, 4, 4))}, "spin"),
    "two components of the spin": (dipole, {"spin": PAULI[1:3]}, "spin"),
    "spin not Hermitian": (dipole, {"spin": 1j * PAULI[1:]}, "spin"),
    "no occupation": (dipole, {"occupation": 0.5}, "occupation"),
    "k not finite": (dipole, {"k": [np.inf, 0.0]}, "k"),
    "no k": (dipole, {"k": 0.3}, "k"),
    "labels of other bands": (dipole, {"groups": (0, 0, 1)}, "groups"),
    "labels in a table": (dipole, {"groups": ((0, 1),)}, "groups"),
    "weights of other nodes": (correlate, {"weight": np.ones(3)}, "weight"),
    "no disorder": (correlate, {"strength": 0.0}, "strength"),
    "operators of other nodes": (correlate, {"operators": PAULI[1:]}, "operators"),
    "matrices not Hermitian": (correlate, {"matrices": 1j * np.eye(2)[None]}, "matrices"),
    "no model": (reference.batch_hamiltonian, {"model": 3}, "model"),
    "one strength": (
        reference.extrapolate_to_no_disorder,
        {"of_strength": abs, "strengths": (0.1,)},
        "strengths",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_is_refused(name):
    function, arguments, named = WRONG[name]
    with pytest.raises(ValueError, match=f"Argument `{named}` must"):
        function(**arguments)
