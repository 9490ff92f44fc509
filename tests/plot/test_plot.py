"""Figures: what is on the axes, and what is refused."""

import re

import matplotlib

matplotlib.use("agg")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import AsinhNorm

import jaxspin as js
from jaxspin import plot, units
from jaxspin.models import Haldane, KaneMele, MassiveDirac

MU = np.linspace(-0.3, 0.3, 7)
NAMES = {
    "spin Hall conductivity (conventional)": (("flow", "field", "spin"), "hbar/2e S/m"),
    "anomalous Hall conductivity": (("flow", "field"), "e^2/h"),
    "torque density": (("spin", "field"), "e/2 Angstrom^-2"),
    "equilibrium spin current (total)": (("flow", "spin"), "eV Angstrom^-2"),
    "carrier density": ((), "1/Angstrom^3"),
    "density of states": ((), "1/(eV Angstrom^3)"),
}


def response(name="spin Hall conductivity (conventional)", temperature=10.0, mu=MU, **changes):
    components, unit = NAMES[name]
    levels = js.Levels(mu, temperature)
    shape = (*levels.shape, *(3 for _ in components))
    value = jnp.asarray(np.random.default_rng(1).normal(size=shape))
    fields = {
        "value": value,
        "error": 0 * value,
        "levels": levels,
        "info": {},
        "axes": (*(("temperature",) if np.ndim(temperature) else ()), "mu", *components),
        "units": unit,
        "name": name,
        "symbol": r"\sigma" if components else "n",
        "formula": "",
        "source": "",
    }
    return js.Response(**{**fields, **changes})


def curves(axes):
    """The lines that are data: not the zero line."""
    return [line for line in axes.get_lines() if len(line.get_xdata()) > 2]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def haldane():
    return Haldane(onsite=0.2, hopping=-1.0, next_hopping=0.15, phase=np.pi / 2)


# --- scan -----------------------------------------------------------------------------------------


def test_scan_draws_the_numbers():
    shown = response()
    axes = plot.scan(shown, components=["zx^y", "xy^z"])
    lines = curves(axes)
    assert len(lines) == 2
    np.testing.assert_array_equal(lines[0].get_xdata(), MU)
    np.testing.assert_array_equal(lines[0].get_ydata(), shown.value[:, 2, 0, 1])
    np.testing.assert_array_equal(lines[1].get_ydata(), shown.value[:, 0, 1, 2])
    assert legend(axes) == [r"$\sigma^{y}_{zx}$", r"$\sigma^{z}_{xy}$"]


def test_scan_says_quantity_units_definition_and_temperature():
    axes = plot.scan(response())
    assert axes.get_xlabel() == r"Fermi energy $\mu$ (eV)"
    assert axes.get_ylabel() == r"Spin Hall conductivity [$(\hbar/2e)$ S/m]"
    assert axes.get_title() == "conventional, $T$ = 10 K"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [0.0, [0.0, 300.0]])
def test_scan_draws_every_quantity(name, temperature):
    axes = plot.scan(response(name, temperature))
    axes.figure.canvas.draw()
    assert len(curves(axes)) == min(7, 3 ** len(NAMES[name][0])) * np.size(temperature)
    assert axes.get_ylabel().startswith(name[:1].upper())
    assert "Angstrom" not in axes.get_ylabel()


@pytest.mark.parametrize("unit", [unit for family in units._FAMILIES.values() for unit in family])
def test_every_unit_is_typeset(unit):
    text = plot.texts.typeset_unit(unit)
    assert "Angstrom" not in text
    assert "hbar" not in text.replace(r"\hbar", "")
    assert "^" not in text or "$" in text
    figure = pyplot.figure()
    figure.text(0, 0, text)
    figure.canvas.draw()


def test_scan_sorts_mu():
    order = np.array([3, 0, 6, 2, 5, 1, 4])
    line = curves(plot.scan(response(mu=MU[order]), components=["xy^z"]))[0]
    np.testing.assert_array_equal(line.get_xdata(), MU)
    np.testing.assert_array_equal(line.get_ydata()[order], response().value[:, 0, 1, 2])


def test_temperatures_have_styles_of_their_own():
    axes = plot.scan(response(temperature=[10.0, 100.0, 300.0]), components=["zx^y"])
    lines = curves(axes)
    assert len({line.get_linestyle() for line in lines}) == 3
    assert len({line.get_color() for line in lines}) == 3
    assert legend(axes)[1:] == ["10 K", "100 K", "300 K"]


def test_many_temperatures_have_shades():
    axes = plot.scan(response(temperature=np.linspace(10, 300, 12)), components=["zx^y"])
    assert len({line.get_color() for line in curves(axes)}) == 12
    assert len(legend(axes)) == 1 + 6


def test_one_mu_is_drawn_against_temperature():
    axes = plot.scan(response(temperature=[10.0, 100.0, 300.0], mu=0.1), components=["zx^y"])
    assert axes.get_xlabel() == "Temperature (K)"
    assert "0.1 eV" in axes.get_title()
    np.testing.assert_array_equal(curves(axes)[0].get_xdata(), [10.0, 100.0, 300.0])


def test_one_level_is_a_point():
    axes = plot.scan(response(mu=0.1), components=["zx^y"])
    assert any(line.get_marker() == "o" for line in axes.get_lines())


def test_error_band_appears_where_it_is_wider_than_the_line():
    shown = response()
    assert not plot.scan(shown, components=["zx^y"]).collections
    wide = response(error=jnp.abs(shown.value))
    assert len(plot.scan(wide, components=["zx^y"]).collections) == 1


def test_equal_and_opposite_components_are_drawn_once():
    value = np.zeros((7, 3, 3, 3))
    value[:, 2, 0, 1] = np.arange(7)
    value[:, 0, 2, 1] = -np.arange(7)
    value[:, 0, 1, 2] = np.arange(7) ** 2
    shown = response(value=jnp.asarray(value), error=jnp.zeros(value.shape))
    axes = plot.scan(shown)
    assert legend(axes) == [r"$\sigma^{z}_{xy}$", r"$\sigma^{y}_{xz}=-\sigma^{y}_{zx}$"]


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ("zx^y = -xz^y; xy^z", [r"$\sigma^{y}_{xz}$", r"$\sigma^{z}_{xy}$"]),
        ("0.5 zx^y; xy^z = zx^y + xx^x", [r"$\sigma^{x}_{xx}$", r"$\sigma^{z}_{xy}$"]),
        ("xy^z", [r"$\sigma^{z}_{xy}$"]),
    ],
)
def test_components_that_a_group_forbids_are_left_out(allowed, expected):
    """Noise in all components; negative control: without a group seven of them are drawn."""
    value = np.random.default_rng(0).normal(size=(7, 3, 3, 3))
    noisy = response(value=jnp.asarray(value), error=jnp.zeros(value.shape))
    found = legend(plot.scan(noisy.replace(allowed=allowed)))
    assert set(expected) <= set(found)
    assert len(found) == len(set(re.findall(r"\w\w\^\w", allowed)))
    assert len(legend(plot.scan(noisy))) == 7
    one = noisy.replace(allowed=allowed).component(spin="z", field="y")
    assert legend(plot.scan(one)) == [r"$\sigma^{z}_{xy}$"]
    assert legend(plot.scan(noisy.replace(allowed=allowed), components=["yy^y"]))


def test_nothing_but_zero():
    zero = jnp.zeros((7, 3, 3, 3))
    axes = plot.scan(response(value=zero, error=zero))
    assert len(curves(axes)) == 1
    axes.figure.canvas.draw()


def test_missing_values_are_gaps():
    value = response().value.at[2].set(jnp.nan)
    axes = plot.scan(response(value=value), components=["zx^y"])
    assert np.isnan(curves(axes)[0].get_ydata()).sum() == 1
    axes.figure.canvas.draw()


def test_selected_component_keeps_its_name():
    one = response().component(flow="z", field="x", spin="y")
    axes = plot.scan(one)
    assert legend(axes) == [r"$\sigma^{y}_{zx}$"]
    assert legend(plot.scan(response().component(spin="y"), components=["zx"])) == legend(axes)


def test_axes_in_axes_out():
    _, (left, right) = pyplot.subplots(1, 2)
    assert plot.scan(response(), axes=right) is right
    assert not left.get_lines()


def test_nothing_global_changes():
    before = dict(matplotlib.rcParams)
    plot.scan(response())
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("components", "message"),
    [
        (["zxy"], "holds 'zxy'"),
        (["zx^w"], r"such as 'xx\^x', 'xx\^y'"),
        ("zx^y", "must be a list of labels"),
        ([], "must be a list of labels"),
    ],
)
def test_unknown_components(components, message):
    with pytest.raises(ValueError, match=message):
        plot.scan(response(), components=components)


def test_components_of_a_quantity_without():
    with pytest.raises(ValueError, match="leave the argument out"):
        plot.scan(response("carrier density"), components=["xy"])


@pytest.mark.usefixtures("unchecked_annotations")
def test_scan_refuses():
    with pytest.raises(ValueError, match=r"`response` must be a jaxspin\.Response"):
        plot.scan(np.zeros(3))
    with pytest.raises(ValueError, match="`axes` must be one matplotlib Axes"):
        plot.scan(response(), axes=pyplot.subplots(1, 2)[1])
    many = jax.tree.map(lambda x: jnp.stack([x, x]), response())
    with pytest.raises(ValueError, match="must be one response with the axes"):
        plot.scan(many)
    with pytest.raises(ValueError, match="is traced"):
        jax.jit(plot.scan)(response())


# --- bands ----------------------------------------------------------------------------------------


def test_bands():
    model = KaneMele(onsite=0.5, hopping=1.0, spin_orbit=0.3, rashba=0.1)
    path = js.Path([[0, 0], [2 / 3, 1 / 3], [0.5, 0], [0, 0]], ["Gamma", "K", "$M$", "G"])
    axes = plot.bands(model, path, number=50)
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 2]
    assert len(lines) == 4
    assert len(lines[0].get_xdata()) >= 50
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["Γ", "K", "$M$", "Γ"]
    assert axes.get_ylabel() == "Energy (eV)"
    corner = js.bands(model, np.zeros(2)).energies
    np.testing.assert_allclose([line.get_ydata()[0] for line in lines], corner)
    np.testing.assert_allclose([line.get_ydata()[-1] for line in lines], corner)


def test_bands_of_a_continuum_model():
    path = js.Path([[-0.1, 0], [0.1, 0]], ["A", "B"])
    axes = plot.bands(MassiveDirac(velocity=3.0, mass=0.1), path)
    assert axes.get_xlim() == pytest.approx((0, 0.2))


@pytest.mark.usefixtures("unchecked_annotations")
def test_bands_refuses(haldane):
    with pytest.raises(ValueError, match="points of dimension 2"):
        plot.bands(haldane, js.Path([[0, 0, 0], [1, 0, 0]], ["A", "B"]))
    with pytest.raises(ValueError, match=r"`path` must be a jaxspin\.Path"):
        plot.bands(haldane, [[0, 0], [1, 0]])
    with pytest.raises(ValueError, match="`number` must be an integer of at least 2"):
        plot.bands(haldane, js.Path([[0, 0], [1, 0]], ["A", "B"]), number=1)
    with pytest.raises(ValueError, match=r"`model` must be a jaxspin\.Model"):
        plot.bands("haldane", js.Path([[0, 0], [1, 0]], ["A", "B"]))


# --- curvature ------------------------------------------------------------------------------------


def test_curvature_map(haldane):
    axes = plot.curvature_map(haldane, band=0, number=41)
    image = axes.get_images()[0]
    assert image.norm.vmin == -image.norm.vmax
    centre = js.berry_curvature(haldane, np.zeros(2))[0, 0, 1]
    np.testing.assert_allclose(image.get_array()[20, 20], centre, rtol=1e-10)
    labels = [child.get_ylabel() for child in axes.child_axes]
    assert any("Omega_{xy}" in label and "Å" in label for label in labels)
    assert "1/Å" in axes.get_xlabel()
    axes.figure.canvas.draw()


def test_curvature_is_where_the_axes_say():
    """A cone off the origin would show an exchange of k_x and k_y, or a mirror."""
    model = _Shifted()
    axes = plot.curvature_map(model, band=1, extent=0.5, number=51)
    image = axes.get_images()[0]
    row, column = np.unravel_index(np.argmax(np.abs(image.get_array())), (51, 51))
    pixel = np.linspace(-0.5, 0.5, 51)  # within a pixel of the centres
    assert (pixel[column], pixel[row]) == pytest.approx((0.3, -0.1), abs=0.02)


class _Shifted(js.Model):
    dimension = 2

    def __call__(self, k):
        return MassiveDirac(velocity=3.0, mass=0.1)(k - jnp.array([0.3, -0.1]))

    def spin(self):
        return MassiveDirac(velocity=3.0, mass=0.1).spin()


def test_sharp_curvature_gets_a_logarithmic_scale():
    axes = plot.curvature_map(MassiveDirac(velocity=3.0, mass=0.01), band=0, extent=0.2, number=40)
    assert isinstance(axes.get_images()[0].norm, AsinhNorm)
    axes.figure.canvas.draw()


@pytest.mark.parametrize(
    ("vectors", "corners"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], 4),
        ([[1.0, 0.0], [5.0, 1.0]], 4),  # the same square lattice, written obliquely
        ([[1.0, 0.0], [0.5, np.sqrt(3) / 2]], 6),
        ([[1.0, 0.0], [0.3, 1.7]], 6),
    ],
)
def test_brillouin_zone(vectors, corners):
    """It has the area of the cell, is convex, and nearest to its own centre."""
    zone = plot.maps._nearest_to_origin(np.array(vectors))
    assert len(np.unique(zone.round(9), axis=0)) == corners
    x, y = zone.T
    area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert area == pytest.approx(abs(np.linalg.det(vectors)))


def test_curvature_map_of_nothing():
    """Without spin-orbit coupling the curvature is zero, and the colours have no decades."""
    axes = plot.curvature_map(js.models.Rashba(4.0, 0.0, 0.1), band=0, extent=0.2, number=11)
    assert not np.any(axes.images[0].get_array())


def test_curvature_map_refuses(haldane):
    dirac = MassiveDirac(velocity=3.0, mass=0.1)
    with pytest.raises(ValueError, match="`extent` must be a number"):
        plot.curvature_map(dirac, band=0)
    with pytest.raises(ValueError, match="`extent` must be positive"):
        plot.curvature_map(dirac, band=0, extent=-1.0)
    with pytest.raises(ValueError, match="`band` must be a band index from 0 to 1, but is 2"):
        plot.curvature_map(haldane, band=2)
    with pytest.raises(ValueError, match="`model` must have dimension 2"):
        plot.curvature_map(js.models.TopologicalInsulator.bi2se3(), band=0)


# --- disordered conductors ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def disordered():
    model, mu = MassiveDirac(velocity=3.0, mass=0.05), np.array([0.2, 0.1, 0.15])
    return js.disordered_response(model, js.FermiContour(12), js.Levels(mu), js.ScalarDisorder(0.1))


def test_contributions(disordered):
    axes = plot.contributions(disordered, component="yx")
    lines = {line.get_label(): line for line in curves(axes)}
    assert lines.keys() == {"intrinsic", "extrinsic", "side jump", "skew", "total"}
    np.testing.assert_allclose(lines["total"].get_xdata(), [0.1, 0.15, 0.2])
    expected = 2 * np.pi * disordered.skew.conductivity.value[:, 1, 0]
    np.testing.assert_allclose(lines["skew"].get_ydata(), expected[np.array([1, 2, 0])])
    assert axes.get_ylabel() == r"$\sigma_{yx}$ [$e^2/h$]"
    axes.figure.canvas.draw()
    spins = plot.contributions(disordered, component="y^x", against=("$x$", [1, 2, 3]))
    assert spins.get_xlabel() == "$x$"
    assert spins.get_ylabel().startswith(r"$\langle\sigma_x\rangle/E_y$ [$(\hbar/2)$")
    spins.figure.canvas.draw()


def test_contributions_refuses(disordered):
    with pytest.raises(ValueError, match="`component` must be one of 'xx', 'xy', 'yx', 'yy'"):
        plot.contributions(disordered, component="zx")
    with pytest.raises(ValueError, match="`against` must have 3 values"):
        plot.contributions(disordered, against=("$M$", [1.0]))
    with pytest.raises(ValueError, match="`response` must be a set of responses"):
        plot.contributions(response())


@pytest.mark.parametrize("show", ["velocity", "spin", "extrinsic velocity"])
def test_fermi_surface(show):
    model, disorder = MassiveDirac(velocity=3.0, mass=0.05), js.ScalarDisorder(0.1)
    rule = js.FermiContour(12)
    axes = plot.fermi_surface(model, rule, 0.2, show=show, disorder=disorder)
    dots, arrows = axes.collections
    assert len(dots.get_offsets()) == len(arrows.U) == 12
    across = arrows.U * arrows.X - 0 + arrows.V * arrows.Y
    along = np.abs(across) > 1e-9
    assert np.all(along) if show == "velocity" else not np.any(along)
    axes.figure.canvas.draw()
    with pytest.raises(ValueError, match="`show` must be one of 'velocity'"):
        plot.fermi_surface(model, rule, 0.2, show="charge")
    with pytest.raises(ValueError, match="`disorder` must be given"):
        plot.fermi_surface(model, rule, 0.2, show="extrinsic velocity")
    with pytest.raises(ValueError, match="`mu` must be in a band"):
        plot.fermi_surface(model, rule, 0.0)


def test_distribution():
    """Skew scattering of a Dirac cone is odd in k_y for a field along x."""
    call = (MassiveDirac(velocity=1.0, mass=0.3), js.FermiContour(12), 1.0, js.ScalarDisorder(0.01))
    found = js.disorder.on_surface(*call)
    axes = plot.distribution(found, show="skew", field="x")
    (dots,) = axes.collections
    values, k = np.asarray(dots.get_array()), dots.get_offsets()
    assert len(k) == 12
    there = np.asarray(found.weight) != 0
    np.testing.assert_allclose(values, found.occupations("skew")[0][there], atol=1e-14)
    assert np.all(values * k[:, 1] < 1e-9)
    axes.figure.canvas.draw()
    spins = plot.distribution(found, show="drude", operator=np.diag([1, -1]))
    velocity = np.asarray(spins.collections[0].get_array())
    np.testing.assert_allclose(velocity, 0.3 * found.occupations("drude")[0][there], atol=1e-10)
    with pytest.raises(ValueError, match="`show` must be one of 'drude'"):
        plot.distribution(found, show="charge")
    with pytest.raises(ValueError, match="`field` must be one of 'x', 'y'"):
        plot.distribution(found, field="z")
    with pytest.raises(ValueError, match=r"`operator` must be a Hermitian matrix \(2, 2\)"):
        plot.distribution(found, operator=np.eye(3))
    with pytest.raises(ValueError, match="`operator` must be Hermitian and finite"):
        plot.distribution(found, operator=np.array([[0, 1], [0, 0]]))
    with pytest.raises(ValueError, match="`axes` must have the projection 'rectilinear'"):
        plot.distribution(found, axes=pyplot.figure().add_subplot(projection="3d"))
    with pytest.raises(ValueError, match=r"`found` must be what disorder\.on_surface gives"):
        plot.distribution(response())
