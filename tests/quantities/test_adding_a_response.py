"""A response defined outside the package: its record is all that the rest of the house asks for."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from typer.testing import CliRunner

import jaxspin as js
from jaxspin import units
from jaxspin.band_structure import geometry
from jaxspin.cli import commands
from jaxspin.engine.small_matrices import PAULI
from jaxspin.integration.problem import Problem, Run
from jaxspin.quantities import Observable, Quantity, Weights
from jaxspin.quantities.axes import FIELD, FLOW, ORBITAL, SECOND_FIELD
from jaxspin.responses.compute import compute
from jaxspin.responses.listed import RESPONSES, Listed
from jaxspin.symmetry.operations import TIME_REVERSAL, mirror

NATURAL, METRIC = "test Angstrom^3", "test nm^3"


class OrbitalDipole(Observable):
    """∂_c ε_m Ω_ab,m m_m of each band, with ∂f/∂ε: a Berry curvature dipole that carries its
    orbital moment m = (0, 0, m_xy). Components (flow a, field b, second field c, orbital)."""

    def __call__(self, bands):
        velocity = jnp.einsum("cmmK->cmK", bands.velocity).real
        curvature = geometry.berry_curvature(bands)
        moment = geometry.orbital_moment(bands)[0, 1]
        dipole = jnp.einsum("abmK,cmK,mK->abcmK", curvature, velocity, moment)
        surface = jnp.stack([0 * dipole, 0 * dipole, dipole], axis=3)
        return Weights(jnp.zeros_like(surface), surface)


ORBITAL_DIPOLE = Quantity(
    observable=OrbitalDipole(),
    name="orbital dipole",
    axes=(FLOW, FIELD, SECOND_FIELD, ORBITAL),
    unit=lambda dimension: NATURAL,
    symbol=r"\chi",
    formula="χ^c_abd = Σ ∂f/∂ε_m ∂_d ε_m Ω_ab,m m^c_m",
    source="this test",
    time_reversal=-1,
    least_dimension=2,
)


COVARIANT = js.Covariant()


def orbital_dipole(model, mesh, levels, *, degeneracy=COVARIANT, progress=None, checkpoint=None):
    problem = Problem(ORBITAL_DIPOLE, model, mesh, levels, degeneracy)
    (response,) = compute(problem, Run.of(progress, checkpoint))
    return response


# Tilted along y, so that the mirror of x is broken and y -> -y with time reversal is not.
MODEL = js.models.MassiveDirac(velocity=3.0, mass=0.1, tilt=(0.0, 0.9))
DISK = js.Disk(0.4, 24, 16)
LEVELS = js.Levels([0.15, 0.2, 0.3], 600.0)


@pytest.fixture(scope="module", autouse=True)
def listed():
    """What a package of its own would do when it is imported."""
    tables = (RESPONSES, units._FAMILIES, units._NAMES)
    before = [dict(table) for table in tables]
    RESPONSES["orbital_dipole"] = Listed(orbital_dipole, ORBITAL_DIPOLE)
    units.add_family({NATURAL: 1.0, METRIC: 1e-3})
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.fixture(scope="module")
def response(listed):
    return orbital_dipole(MODEL, DISK, LEVELS)


def by_hand(mu: float, kelvin: float, points: int = 400) -> float:
    """χ^z_xyy of MODEL by a plain sum over a square of k, with the closed forms of a Dirac cone.

    ε_± = t k_y ± E, Ω_xy,± = ∓ v² m/2E³, m_xy,± = ½ (ε_m - ε_n) Ω_xy,m = -v² m/2E² for both bands;
    the sign of m σ_z follows from H = v (k_x σ_y - k_y σ_x) + m σ_z.
    """
    k = (np.arange(points) + 0.5) / points * 0.8 - 0.4
    x, y = np.meshgrid(k, k, indexing="ij")
    inside = x**2 + y**2 < 0.4**2
    v, m, t, kt = 3.0, 0.1, 0.9, js.units.BOLTZMANN * kelvin
    energy = np.sqrt(v**2 * (x**2 + y**2) + m**2)
    total = 0.0
    for sign in (1, -1):
        band = t * y + sign * energy
        slope = -1 / (4 * kt * np.cosh((band - mu) / (2 * kt)) ** 2)
        velocity = t + sign * v**2 * y / energy
        curvature = -sign * v**2 * m / (2 * energy**3)
        moment = sign * energy * curvature
        total += np.sum((slope * velocity * curvature * moment)[inside])
    return total * (k[1] - k[0]) ** 2 / (2 * np.pi) ** 2


def test_value_and_error(response):
    value = response.component(flow="x", field="y", second_field="y", orbital="z")
    expected = np.array([by_hand(float(mu), 600.0) for mu in LEVELS.mu])
    assert np.all(np.abs(expected) > 1.0)
    np.testing.assert_allclose(value.value, expected, rtol=2e-3)  # the sum by hand has an edge
    exact = orbital_dipole(MODEL, js.Disk(0.4, 96, 64), LEVELS)
    true = np.abs(np.asarray(response.value - exact.value))
    assert np.all(true <= np.asarray(response.error) + 1e-12 * np.max(np.abs(exact.value)))


def test_a_second_field_is_an_axis_of_its_own(response):
    """Ω_ab is antisymmetric in the first two axes, and the tilt is along y."""
    assert response.axes == ("mu", "flow", "field", "second_field", "orbital")
    rounding = 1e-12 * np.max(np.abs(response.value))
    flipped = np.swapaxes(response.value, 1, 2)
    np.testing.assert_allclose(response.value, -flipped, rtol=0, atol=rounding)
    assert np.max(np.abs(response.component(second_field="x").value)) < rounding


def test_units(response):
    np.testing.assert_allclose(response.to(METRIC).value, 1e-3 * response.value)
    with pytest.raises(ValueError, match=r"`units` must be one of 'test Angstrom\^3'"):
        response.to("S/m")


def test_print(response):
    text = repr(response)
    assert "orbital dipole  [test Angstrom^3]" in text
    assert "second_field y, orbital z" in text


def test_file(response, tmp_path):
    response.save(tmp_path / "dipole.nc")
    again = js.load(tmp_path / "dipole.nc")
    assert (again.axes, again.symbol, again.units) == (response.axes, r"\chi", NATURAL)
    np.testing.assert_array_equal(again.value, response.value)


def test_xarray(response):
    array = response.to_xarray()
    assert isinstance(array, xarray.DataArray)
    chosen = array.sel(flow="x", field="y", second_field="y", orbital="z")
    expected = response.component(flow="x", field="y", second_field="y", orbital="z")
    np.testing.assert_array_equal(chosen, expected.value)


def test_plot(response):
    axes = js.plot.scan(response, components=["xyy^z"])
    assert axes.get_ylabel().startswith("Orbital dipole")
    assert [line.get_text() for line in axes.get_legend().get_texts()] == [r"$\chi^{z}_{xyy}$"]
    with pytest.raises(ValueError, match="but holds 'zyy"):
        js.plot.scan(response, components=["zyy^z"])


def test_symmetry(response):
    """y -> -y with time reversal halves the mesh; time reversal alone is refused, for the tilt."""
    kept = mirror("y", time_reversal=True)
    reduced = orbital_dipole(MODEL, js.Symmetric(DISK, kept), LEVELS)
    scale = np.max(np.abs(response.value))
    np.testing.assert_allclose(reduced.value, response.value, rtol=0, atol=1e-12 * scale)
    with pytest.raises(ValueError, match="time reversal changes its bands"):
        orbital_dipole(MODEL, js.Symmetric(DISK, TIME_REVERSAL), LEVELS)
    even = ORBITAL_DIPOLE.replace(time_reversal=1)  # negative control: the wrong parity
    with pytest.raises(ValueError, match="with time reversal does not carry the orbital dipole"):
        Problem(even, MODEL, js.Symmetric(DISK, kept), LEVELS).check()


class Wire(js.Model):
    dimension = property(lambda self: 1)
    lattice = property(lambda self: jnp.eye(1))

    def __call__(self, k):
        return jnp.cos(k[0]) * jnp.eye(2)

    def spin(self):
        return jnp.asarray(PAULI[1:])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="dimension 2 or 3 for the orbital dipole"):
        orbital_dipole(Wire(), js.Grid((8,)), LEVELS)


INPUT = """
[model]
name = "MassiveDirac"
velocity = 3.0
mass = 0.1
tilt = [0.0, 0.9]

[mesh]
type = "Disk"
cutoff = 0.4
radial = 24
angular = 16

[levels]
mu = [0.15, 0.2, 0.3]
temperature = 600.0

[quantity]
name = "orbital_dipole"
units = "test nm^3"

[output]
components = ["xyy^z"]
"""


@pytest.mark.usefixtures("cache")
def test_input_file(response, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dipole.toml").write_text(INPUT, encoding="utf-8")
    result = CliRunner().invoke(commands.app, ["scan", "dipole.toml"])
    assert result.exit_code == 0, result.output
    saved = js.load("dipole.nc")
    assert saved.units == METRIC
    np.testing.assert_allclose(saved.value, 1e-3 * response.value, rtol=1e-12)
    assert Path("dipole.png").stat().st_size > 10_000
