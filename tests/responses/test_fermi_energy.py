"""`fermi_energy` against closed forms and ordered band energies, in any unit of energy."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin import models
from jaxspin.units import BOLTZMANN

CHERN, GRID = models.QiWuZhang(A=1.0, m=-1.0), js.Grid((6, 6), 0.3)


class Cubic(js.Model):
    """-2 Σ t_i cos k_i: nearly a plane for hoppings that differ much."""

    t: jnp.ndarray

    dimension = property(lambda self: 3)
    lattice = property(lambda self: jnp.eye(3))

    def __call__(self, k):
        return -2 * jnp.sum(self.t * jnp.cos(k))[None, None].astype(complex)

    def spin(self):
        raise ValueError("none")


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1e6])
def test_any_unit_of_energy(scale):
    """At T = 0 between two of the ordered energies; at T > 0 the density comes back."""
    energies = np.sort(np.asarray(js.bands(CHERN, nodes(GRID)).energies)[:, 0])
    filled = 1 + int(np.argmax(np.diff(energies)))
    found = js.fermi_energy(scale * CHERN, GRID, filled / 36)
    expected = scale * (energies[filled - 1] + energies[filled]) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    warm = scale * 3000.0
    found = js.fermi_energy(scale * CHERN, GRID, 0.4, temperature=warm)
    held = js.carrier_density(scale * CHERN, GRID, js.Levels(found, warm)).value[0]
    np.testing.assert_allclose(held, 0.4, rtol=1e-9)


def nodes(mesh):
    return mesh.points(jnp.arange(mesh.size), jnp.eye(mesh.dimension)).k.T


def test_sample_of_the_mesh_is_no_plane():
    """n = 1/4 of a band that is a cosine along z, but for 1 %: E = -2 t cos(π/4) to 1e-2.

    Every 32nd node of this mesh has one k_z.
    """
    model = Cubic(jnp.array([0.01, 0.01, 1.0]))
    found = js.fermi_energy(model, js.Grid((32, 32, 32)), 0.25, temperature=100.0)
    assert abs(float(found) + 2 * np.cos(np.pi / 4)) < 1e-2


@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_filled_band_gives_the_middle_of_the_gap(scale):
    middle = (edges := gap(scale * CHERN, GRID)).mean()
    assert abs(float(js.fermi_energy(scale * CHERN, GRID, 1.0)) - middle) < 1e-6 * np.ptp(edges)


def gap(model, mesh):
    """The edges of the gap in the middle of the bands, on the nodes of a mesh."""
    k = mesh.points(jnp.arange(mesh.size), model.lattice).k.T
    energies = np.asarray(js.bands(model, k).energies)
    half = energies.shape[1] // 2
    return np.array([energies[:, half - 1].max(), energies[:, half].min()])


def test_small_temperature_tends_to_the_middle():
    """kT = gap/2000: the density is that of the filled band to rounding across most of the gap."""
    edges = gap(CHERN, GRID)
    temperature = np.ptp(edges) / 2000 / BOLTZMANN
    found = float(js.fermi_energy(CHERN, GRID, 1.0, temperature=temperature))
    assert abs(found - edges.mean()) < 1e-2 * np.ptp(edges)


@pytest.mark.parametrize("density", [0.0, -0.1, 2.0, 2.5])
def test_density_that_determines_no_energy(density):
    with pytest.raises(ValueError, match=r"`density` must be between 0 and 2 per Angstrom\^2"):
        js.fermi_energy(CHERN, GRID, density)
