"""A real material: fcc platinum, 18 Wannier functions.

The data are the public test case of Wannier90 and are not part of this project; without them
(JAXSPIN_TEST_DATA) these tests are skipped.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import platinum_by_hand as platinum
import pytest
from gauge import over_groups, random_gauge, rotated

import jaxspin as js
from jaxspin.band_structure.bands import solve_bands
from jaxspin.interop import wannier90
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.quantities import spin_hall

pytestmark = pytest.mark.skipif(
    not platinum.SEED.parent.is_dir(), reason="JAXSPIN_TEST_DATA is not there"
)

LEVELS = js.Levels([17.3823, 17.8823, 18.3823, 18.8823, 19.3823])
GRID = js.Grid((10, 10, 10))
# On the ab initio mesh Kramers partners are split by up to 1e-5 eV.
PAIRS = js.Covariant(1e-4)
#: σ^z_xy in (ħ/e) S/cm at LEVELS, by WannierBerri 26.10 and by NumPy, from .eig and the overlaps.
PUBLISHED = [1984.45291, 2933.12757, 2606.09374, 796.92917, 337.35835]
PUBLISHED_INTERNAL = [1964.33811, 2941.93195, 2624.51880, 794.00533, 335.53140]


@pytest.fixture(scope="module")
def model():
    return wannier90.read(platinum.SEED)


@pytest.fixture(scope="module")
def matrices():
    return platinum.from_files()


@pytest.fixture(scope="module")
def overlaps():
    return as_model(platinum.from_overlaps())


def as_model(m: platinum.Matrices) -> js.HoppingModel:
    return js.HoppingModel(
        m.lattice, m.cells, m.hamiltonian, m.centres, m.spin, position=m.position
    )


def conventional(model):
    return js.spin_hall(model, GRID, LEVELS, definition="conventional", degeneracy=PAIRS)


def hall_of_z(response):
    return response.to("hbar/e S/cm").component(flow="x", field="y", spin="z").value


def at(m: platinum.Matrices, u, external=True):
    """Energies, velocity and spin in the band basis at reduced u, (k, ...), term by term."""
    phase = np.exp(2j * np.pi * u @ np.array(m.cells).T)
    r = np.array(m.cells) @ m.lattice
    h = np.einsum("kr,rmn->kmn", phase, m.hamiltonian)
    s = np.einsum("kr,rsmn->ksmn", phase, m.spin)
    a = np.einsum("kr,rimn->kimn", phase, m.position)
    if not external:
        a = np.stack([np.diag(x) for x in m.centres.T])[None]
    slopes = np.einsum("kr,ri,rmn->kimn", 1j * phase, r, m.hamiltonian)
    energies, basis = np.linalg.eigh(h)
    dagger = basis.conj().swapaxes(1, 2)[:, None]
    turned = lambda x: dagger @ x @ basis[:, None]  # noqa: E731
    gap = energies[:, :, None] - energies[:, None, :]
    return energies, turned(slopes) + 1j * gap[:, None] * turned(a), turned(s)


def weights(energies, v, s):
    """-2 Im Σ_n ½{s, v_a}_mn v_b,nm/(ε_m - ε_n)² of each band, (k, m, flow, field, spin)."""
    current = 0.5 * (s[:, None] @ v[:, :, None] + v[:, :, None] @ s[:, None])
    gap = energies[:, :, None] - energies[:, None, :]
    apart = np.abs(gap) > 1e-4
    inverse = np.where(apart, 1 / np.where(apart, gap, 1) ** 2, 0)
    return -2 * np.einsum("kasmn,kbnm,kmn->kmabs", current, v, inverse).imag


@pytest.mark.parametrize("external", [True, pytest.param(False, marks=pytest.mark.study)])
def test_conventional_spin_hall_is_that_of_a_numpy_sum(model, matrices, external):
    ours = hall_of_z(conventional(model if external else model.without_external_terms()))
    u = np.stack(np.meshgrid(*[np.arange(10) / 10] * 3, indexing="ij"), -1).reshape(-1, 3)
    total = 0
    for part in np.array_split(u, 20):
        energies, v, s = at(matrices, part, external)
        filled = energies[None] < np.asarray(LEVELS.mu)[:, None, None]
        total += np.einsum("ekm,km->e", filled, weights(energies, v, s)[:, :, 0, 1, 2])
    volume = abs(np.linalg.det(matrices.lattice))
    expected = total / len(u) / volume * js.units.per_natural("hbar/e S/cm")
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.parametrize("external", [True, False])
@pytest.mark.study
def test_published_digits(overlaps, external):
    """All digits of the table, from the matrix elements it was computed with."""
    chosen = overlaps if external else overlaps.without_external_terms()
    expected = PUBLISHED if external else PUBLISHED_INTERNAL
    np.testing.assert_allclose(hall_of_z(conventional(chosen)), expected, atol=5.1e-6)


def test_all_components_are_those_of_a_numpy_loop(model, matrices):
    u = np.random.default_rng(3).uniform(size=(4, 3))
    k = u @ np.asarray(reciprocal_vectors(model.lattice))
    bands = solve_bands(model, jnp.asarray(k.T), PAIRS)
    ours = np.asarray(spin_hall.ConventionalSpinHall()(bands).full)
    ours = over_groups(np.asarray(bands.degenerate), ours.reshape(3, 3, 3, *bands.energies.shape))
    expected = np.moveaxis(weights(*at(matrices, u)), (0, 1), (-1, -2))
    expected = over_groups(np.asarray(bands.degenerate), expected)
    np.testing.assert_allclose(ours, expected, atol=1e-10 * np.max(np.abs(expected)))


def test_pairs_are_degenerate_on_the_ab_initio_mesh_only(model):
    """These Wannier functions do not keep inversion and time reversal: between the points of the
    4 x 4 x 4 mesh their interpolation splits the pairs."""
    reciprocal = np.asarray(reciprocal_vectors(model.lattice))
    mesh = np.stack(np.meshgrid(*[np.arange(4) / 4] * 3, indexing="ij"), -1).reshape(-1, 3)
    elsewhere = np.random.default_rng(2).uniform(size=(64, 3))
    on, off = (np.asarray(js.bands(model, u @ reciprocal).energies) for u in (mesh, elsewhere))
    assert np.max(on[:, 1::2] - on[:, ::2]) < 1e-5
    assert 0.01 < np.median(off[:, 1::2] - off[:, ::2]) < 0.05


def test_pairs_in_another_gauge(model):
    """Kramers partners mixed at random: no definition notices, and single bands do."""
    u = np.array([[0.25, 0.5, 0.75], [0.25, 0.25, 0.5], [0.0, 0.0, 0.25]])
    k = jnp.asarray((u @ np.asarray(reciprocal_vectors(model.lattice))).T)
    bands = solve_bands(model, k, PAIRS, external_curvature=True)
    # Partners at one energy: the 10⁻⁵ eV between them are the digits of the files.
    bands = eqx.tree_at(lambda b: b.energies, bands, bands.levels)
    same = np.asarray(bands.degenerate)
    assert np.all(same.sum(axis=1) % 2 == 0)
    turned = rotated(bands, random_gauge(np.random.default_rng(6), same))
    for observable in (
        spin_hall.ConventionalSpinHall(),
        spin_hall.ProperSpinHallPublished(),
        spin_hall.ProperSpinHallCorrected(),
        spin_hall.KuboSpinHall(),
    ):
        here, there = (np.asarray(observable(b).full) for b in (bands, turned))
        scale = np.max(np.abs(here))
        grouped = over_groups(same, here)
        np.testing.assert_allclose(over_groups(same, there), grouped, atol=1e-9 * scale)
        assert np.max(np.abs(there - here)) > 1e-3 * scale  # negative control
