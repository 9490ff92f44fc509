"""The checks at the door, under the user's own jit: they pass what is right, refuse what is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin import models
from jaxspin.engine.small_matrices import PAULI

CHERN = models.QiWuZhang(A=1.0, m=-1.0)
RASHBA = models.Rashba(kinetic=4.0, velocity=1.0, exchange=0.3)
DEGENERATE = models.BernevigHughesZhang(u=-1.0, A=1.0)
CHAIN = js.HoppingModel([[1.0]], [[1], [-1]], -np.ones((2, 1, 1)), [[0.0]], spin=np.ones((3, 1, 1)))
GRID, PLANE, WARM = js.Grid((6, 6)), js.Plane(0.3, 8, 6), 300.0


class Broken(js.Model):
    """A model of fields that are not traced, whose H(k) is not Hermitian."""

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        return k @ k * PAULI[0] + 0.1j * PAULI[3]

    def spin(self):
        return jnp.asarray(PAULI[1:])


def hall(model=CHERN, mesh=GRID, mu=0.1, temperature=WARM):
    return js.anomalous_hall(model, mesh, js.Levels(mu, temperature)).value


def symmetric(mu):
    return hall(mesh=js.Symmetric(GRID, js.symmetry.INVERSION), mu=mu)


#: What is traced is the argument; what is not traced is checked. All values are finite numbers.
CALLS = {
    "mu": (lambda mu: hall(mu=mu), 0.1),
    "temperature": (lambda t: hall(temperature=t), 200.0),
    "mu at T = 0": (lambda mu: hall(mu=mu, temperature=0.0), 0.1),
    "a model made inside": (lambda m: hall(models.QiWuZhang(A=1.0, m=m)), -1.0),
    "nothing of the call": (lambda x: x * hall(), 1.0),
    "nothing of the call, adaptive": (lambda x: x * hall(mesh=js.Adaptive(GRID, rtol=0.1)), 1.0),
    "an infinite mesh": (lambda mu: hall(RASHBA, PLANE, mu), 0.1),
    "a mesh made inside": (lambda mu: hall(RASHBA, js.Disk(0.3, 8, 6), mu), 0.1),
    "a folded mesh": (symmetric, 0.1),
    "fermi_energy of numbers": (
        lambda x: x * js.fermi_energy(CHERN, GRID, 0.9, temperature=WARM),
        1.0,
    ),
    "bands": (lambda k: js.bands(CHERN, k).energies, np.array([0.1, 0.2])),
    "bands of a chain": (lambda k: js.bands(CHAIN, k).energies, np.array([[0.1], [0.2]])),
    "curvature": (lambda k: js.berry_curvature(CHERN, k), np.array([0.1, 0.2])),
    "a downfolded model": (
        lambda k: js.bands(js.downfold(DEGENERATE, js.EnergyWindow(-3.0, 0.0)), k).energies,
        np.array([0.1, 0.2]),
    ),
    "disorder made inside": (lambda x: x * js.ScalarDisorder(0.1).strength, 1.0),
    "nodes": (lambda mu: js.FermiContour(8).nodes(RASHBA, mu).k, 1.0),
}


@pytest.mark.parametrize(("call", "x"), CALLS.values(), ids=CALLS.keys())
def test_jit_gives_what_a_plain_call_gives(call, x):
    np.testing.assert_allclose(jax.jit(call)(x), call(x), rtol=1e-12, atol=1e-14)


def test_spin_checks_and_bands_under_jit():
    def current(mu):
        levels = js.Levels(mu, WARM)
        return js.equilibrium_spin_current(CHERN, GRID, levels, bands=(0,)).total.value

    np.testing.assert_allclose(jax.jit(current)(0.1), current(0.1), atol=1e-14)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.jacfwd, jax.jacrev])
def test_a_wrong_model_is_refused_under_every_transformation(transform):
    """Negative control: the checks do not step aside where something else is traced."""
    with pytest.raises(ValueError, match=r"must return a Hermitian H\(k\), but .* 2.0e-01 eV"):
        transform(lambda mu: hall(Broken(), PLANE, mu))(jnp.array([0.1]))


def test_a_mesh_made_under_jit_is_checked():
    def density(x):
        model, mesh = models.MassiveDirac(1.0, 0.1), js.Plane(0.3, 8, 6)
        return x * js.carrier_density(model, mesh, js.Levels(0.3)).value

    with pytest.raises(ValueError, match=r"`mesh` must not be a Plane .* does not converge"):
        jax.jit(density)(1.0)
