"""Measured data: tables of them, and what a response says at the place of each row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import jaxspin as js
from jaxspin.fitting import Data, Gate
from jaxspin.fitting.conversion import fermi_energies, interpolate
from jaxspin.responses.response import Response
from jaxspin.units import BOLTZMANN

MU, KELVIN = np.array([0.1, 0.0, 0.1, 0.2]), np.array([10.0, 20.0, 10.0, 20.0])
LABELS = ["xy^z", "yx^z", "yz^x", "zx^y"]
SPIN = Data(
    [1.0, 2.0, -3.0, 0.1 + 0.2], [0.1, 0.2, 0.3, 0.4], LABELS,
    mu=MU, temperature=KELVIN, units="hbar/e S/cm",
)  # fmt: skip


def response(mu=(0.0, 0.1, 0.2), kelvin=(10.0, 20.0), axes=("flow", "field", "spin"), **changes):
    """A response of numbers that are all different."""
    levels = js.Levels(np.asarray(mu), np.asarray(kelvin))
    shape = (*levels.shape, *(3 for _ in axes))
    leading = ("temperature", "mu") if levels.temperature.ndim else ("mu",)
    fields = {
        "value": jnp.arange(np.prod(shape), dtype=float).reshape(shape),
        "axes": (*leading, *axes),
        "units": "hbar/2e S/m",
        **changes,
    }
    return Response(
        error=fields["value"], levels=levels, info={}, name="n", formula="f", source="s", **fields
    )


# --- tables ---------------------------------------------------------------------------------------


def same(a: Data, b: Data) -> None:
    for name in ("value", "error", "place", "temperature"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert (a.component, a.against, a.units) == (b.component, b.against, b.units)


def test_csv_round_trip(tmp_path):
    """With all digits."""
    SPIN.write(tmp_path / "spin.csv")
    heading = (tmp_path / "spin.csv").read_text().splitlines()[0]
    assert heading == "mu [eV],temperature [K],component,value [hbar/e S/cm],error"
    same(Data.read(tmp_path / "spin.csv"), SPIN)


def test_xarray_round_trip():
    same(Data.from_xarray(SPIN.to_xarray()), SPIN)


def test_density_round_trip(tmp_path):
    data = Data([1.0, 2.0], 0.1, "yx", density=[1e12, -3e11], units="e^2/h")
    np.testing.assert_allclose(data.place, [1e-4, -3e-5])
    data.write(tmp_path / "hall.csv")
    assert "density [1/cm^2]" in (tmp_path / "hall.csv").read_text()
    np.testing.assert_allclose(Data.read(tmp_path / "hall.csv").place, data.place, rtol=1e-15)
    np.testing.assert_allclose(Data.from_xarray(data.to_xarray()).place, data.place, rtol=1e-15)


def test_csv_as_one_writes_it(tmp_path):
    path = tmp_path / "hall.csv"
    path.write_text(
        "# sample 3\nvalue, gate [V], error , component\n0.5, 10, 0.1, y x\n\n0.6,20,0.1,yx"
    )
    data = Data.read(path, units="e^2/h")
    assert (data.against, data.units, data.component) == ("gate", "e^2/h", ("yx", "yx"))
    np.testing.assert_array_equal(data.place, [10.0, 20.0])
    np.testing.assert_array_equal(data.temperature, 0.0)


def test_a_map_without_a_table():
    """Variables are broadcast; holes in the map are left out."""
    value = np.arange(6.0).reshape(2, 3)
    value[1, 1] = np.nan
    table = xarray.Dataset(
        {
            "value": (("temperature", "mu"), value, {"units": "e^2/h"}),
            "error": 0.1,
            "component": "yx",
        },
        coords={"temperature": [10.0, 20.0], "mu": [0.0, 0.1, 0.2]},
    )
    data = Data.from_xarray(table)
    np.testing.assert_array_equal(data.value, [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(data.place, [0, 0.1, 0.2, 0, 0.2])
    np.testing.assert_array_equal(data.temperature, [10, 10, 10, 20, 20])


BAD_FILES = {
    "unknown column": ("mu,sigma\n1,2", "columns of mu, density, gate, .*, but has 'sigma'"),
    "missing column": ("mu,component,value\n1,yx,2", "must have a column error, but has mu"),
    "no number": ("mu,component,value [S],error\n1,yx,2,1\n1,yx,two,3", "has 'two' in line 3"),
    "short row": ("mu,component,value [S],error\n1,yx,2", "4 columns, but has 3 in line 2"),
    "no units": ("mu,component,value,error\n1,yx,2,3", "`units` must be given"),
    "other units": ("mu [meV],component,value [S],error\n1,yx,2,3", "mu in eV, but has it in meV"),
    "other units of the error": (
        "mu,component,value [S],error [%]\n1,yx,2,3",
        "must have error in S, but has it in %",
    ),
    "density of no units": (
        "density,component,value [S],error\n1,yx,2,3",
        "must have density with its units",
    ),
    "twice": (
        "mu,value [S],component,value [S],error\n1,2,yx,2,1",
        "must name each column once, but has mu, value, component, value, error",
    ),
    "empty": ("# nothing\n", "must be a table of measurements"),
    "NaN": (
        "mu,component,value [S],error\n1,yx,nan,3",
        "`value` must be finite, but is nan in row 0",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file(tmp_path, case):
    text, message = BAD_FILES[case]
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        Data.read(tmp_path / "data.csv")


def test_units_of_the_file_count(tmp_path):
    (tmp_path / "data.csv").write_text("mu,component,value [S/cm],error\n1,yx,2,3")
    with pytest.raises(ValueError, match="must have value in S/m, but has it in S/cm"):
        Data.read(tmp_path / "data.csv", units="S/m")


def test_file_in_another_encoding(tmp_path):
    (tmp_path / "data.csv").write_bytes("# µ\nmu,component,value [S],error".encode("latin-1"))
    with pytest.raises(ValueError, match=r"`path` must be a text in UTF-8, but .* is none"):
        Data.read(tmp_path / "data.csv")


def test_gate_without_a_capacitance():
    with pytest.raises(ValueError, match=r"`capacitance` must be positive .* but is 0\.0"):
        Gate(0.0)


def test_bad_dataset(unchecked_annotations):
    table = SPIN.to_xarray()
    table["error"].attrs["units"] = "hbar/2e S/cm"
    with pytest.raises(ValueError, match="`table` must have error in hbar/e S/cm, but has it in"):
        Data.from_xarray(table)
    with pytest.raises(ValueError, match="`table` must have a column error, but has"):
        Data.from_xarray(table.drop_vars("error"))
    with pytest.raises(ValueError, match=r"must be an xarray\.Dataset, but is of type DataArray"):
        Data.from_xarray(table["value"])


BAD = {
    "nothing": ({"value": [], "mu": []}, "`value` must hold at least one measurement"),
    "complex": ({"value": np.array([1.0 + 1j, 2.0])}, "`value` must be real numbers, but is .*1j"),
    "text": ({"value": ["1.0", "two"]}, "`value` must be real numbers, but is .*'two'"),
    "number as a component": ({"component": 3}, "`component` must be of labels as 'yx'"),
    "zero error": ({"error": [0.1, 0.0]}, "`error` must be positive, but is 0 in row 1"),
    "negative error": ({"error": -0.1}, "`error` must be positive, but is -0.1 in row 0"),
    "infinite error": ({"error": np.inf}, "`error` must be finite"),
    "NaN": ({"value": [1.0, np.nan]}, "`value` must be finite, but is nan in row 1"),
    "lengths": ({"temperature": [1.0, 2.0, 3.0]}, "must be one number or 2, one a row, but has 3"),
    "cold": ({"temperature": -1.0}, "`temperature` must not be negative"),
    "component": ({"component": "ab"}, "`component` must be of labels as 'yx'"),
    "two kinds": ({"component": ["yx", "yx^z"]}, "`component` must be one label or 2"),
    "two abscissae": ({"gate": [1.0, 2.0]}, "Exactly one of the arguments .* but there are 2"),
    "no abscissa": ({"mu": None}, "Exactly one of the arguments .* but there are 0"),
    "density": ({"mu": None, "density": [1, 2], "density_units": "1/m"}, "`density_units` must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data(case, unchecked_annotations):
    changes, message = BAD[case]
    good = {"value": [1.0, 2.0], "error": 0.1, "component": "yx", "mu": [0.0, 0.1], "units": "S"}
    with pytest.raises(ValueError, match=message):
        Data(**{**good, **changes})


# --- against a response ---------------------------------------------------------------------------


def test_each_row_meets_its_level_and_component():
    levels = SPIN.levels
    np.testing.assert_array_equal(levels.mu, [0.0, 0.1, 0.2])
    np.testing.assert_array_equal(levels.temperature, [10.0, 20.0])
    table = response()
    picked = [
        table.value[i] for i in ((0, 1, 0, 1, 2), (1, 0, 1, 0, 2), (0, 1, 1, 2, 0), (1, 2, 2, 0, 1))
    ]
    np.testing.assert_allclose(SPIN.calculated(table), np.array(picked) / 200, rtol=1e-12)
    np.testing.assert_allclose(
        SPIN.residuals(table), (np.array(picked) / 200 - SPIN.value) / SPIN.error, rtol=1e-12
    )


def test_more_levels_than_the_data_have():
    dense = SPIN.levels_on(np.linspace(-0.1, 0.3, 7))
    table = response(dense.mu, (5.0, 10.0, 20.0))
    at = [np.searchsorted(dense.mu, mu) for mu in MU]
    picked = table.value[(KELVIN / 10).astype(int), at, [0, 1, 1, 2], [1, 0, 2, 0], [2, 2, 0, 1]]
    np.testing.assert_allclose(SPIN.calculated(table), picked / 200, rtol=1e-12)


def test_one_temperature_and_one_component():
    hall = Data([1.0, 2.0], 0.1, "yx", mu=[0.2, 0.0], temperature=10.0, units="S")
    table = response(kelvin=10.0, axes=("flow", "field"), units="S")
    np.testing.assert_array_equal(hall.calculated(table), table.value[jnp.array([2, 0]), 1, 0])
    chosen = table.component(flow="y", field="x")
    np.testing.assert_array_equal(hall.calculated(chosen), table.value[jnp.array([2, 0]), 1, 0])


def test_levels_of_a_disordered_response_are_known_inside_jit():
    """Rows find their Fermi energy by its value, in any order."""
    data = Data([1.0, 2.0, 3.0], 0.1, "yx", mu=[0.2, 0.1, 0.15], units="e^2/h")

    def residuals(mass):
        model = js.models.MassiveDirac(velocity=3.3, mass=mass)
        levels, disorder = js.Levels([0.1, 0.15, 0.2]), js.ScalarDisorder(0.5)
        found = js.disordered_response(model, js.FermiContour(8), levels, disorder)
        return data.residuals(found.total.conductivity)

    assert jax.eval_shape(residuals, 0.05).shape == (3,)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (lambda: response(mu=(0.0, 0.1)), r"must have the Fermi energies \(eV\) .* lacks 0.2"),
        (lambda: response(kelvin=(10.0, 30.0)), r"must have the temperatures \(K\) .* lacks 20"),
        (lambda: response(units="S/m"), "`units` must be one of 'S/m'"),
        (lambda: response(axes=("flow", "field")), "must have the components of the data, 'xy"),
        (
            lambda: response().component(flow="x", field="y", spin="z"),
            "components of the data, such as 'yx.z', but is that of flow x, field y, spin z",
        ),
        (lambda: jnp.zeros(4), "`response` must be a Response, but is of type ArrayImpl"),
        (
            lambda: response(value=jnp.zeros((2, 3, 2, 2, 3))),
            "all components of the data, but lacks 'zx",
        ),
    ],
)
def test_response_that_does_not_fit(table, message, unchecked_annotations):
    with pytest.raises(ValueError, match=message):
        SPIN.residuals(table())


def test_gate_data_have_no_levels_of_their_own():
    data = Data([1.0], 0.1, "yx", gate=[1.0], units="S")
    with pytest.raises(ValueError, match=r"`mu` must be given .* use `levels_on\(mu\)`"):
        _ = data.levels
    table = response(kelvin=(0.0,), axes=("flow", "field"), units="S")
    with pytest.raises(ValueError, match="`density` and, against gate voltage alone, `gate`"):
        data.residuals(table, density=np.zeros(3))
    for mu in ((0.2, 0.1), (0.1,)):
        wrong = response(mu=mu, kelvin=(0.0,), axes=("flow", "field"), units="S")
        with pytest.raises(ValueError, match=r"two or more ascending Fermi energies, but has \[0"):
            data.residuals(wrong, density=np.zeros(len(mu)), gate=Gate(1.0))


def test_other_component_of_one():
    """σ_xy is not σ_yx: what was chosen from a response must be what was measured."""
    hall = Data([1.0, 2.0], 0.1, "yx", mu=[0.2, 0.0], temperature=10.0, units="S")
    table = response(kelvin=10.0, axes=("flow", "field"), units="S")
    with pytest.raises(ValueError, match="such as 'yx', but is that of flow x, field y"):
        hall.calculated(table.component(flow="x", field="y"))
    with pytest.raises(ValueError, match="such as 'yx', but is that of flow y, field x, spin z"):
        hall.calculated(response(kelvin=10.0, units="S").component(flow="y", field="x", spin="z"))


def test_density_counts_in_its_units():
    """A density per cm² is the same one; that of a solid, or at other levels, is none."""
    data = Data([1.0], 0.1, "yx", density=[2e16], units="S")
    per_area = {"kelvin": (0.0,), "axes": (), "units": "1/Angstrom^2"}
    table = response(kelvin=(0.0,), axes=("flow", "field"), units="S")
    density = response(value=jnp.array([[1.0, 2.0, 3.0]]), **per_area)
    expected = data.calculated(table, density=density.value)
    assert np.isfinite(expected)
    for same in (density, density.to("1/cm^2")):
        np.testing.assert_allclose(data.calculated(table, density=same), expected, rtol=1e-12)
    solid = response(**{**per_area, "units": "1/Angstrom^3"})
    elsewhere = response(mu=(0.0, 0.1, 0.3), **per_area)
    for wrong, message in (
        (solid, "`units` must be one of .*1/Angstrom.3.* but is '1/Angstrom.2'"),
        (elsewhere, "`density` must be at the levels of the response, but is at others"),
        (np.ones(4), r"one number for each level of the response, \(1, 3\), but has .* \(4,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            data.calculated(table, density=wrong)


# --- gate voltage, density, Fermi energy ----------------------------------------------------------

KT, MASS = BOLTZMANN * 300, 0.01
DENSITIES = MASS * KT * np.logaddexp(0, np.array([-0.05, 0.0, 0.03, 0.1, 0.2]) / KT)


def number(mu):
    """Electrons of a parabolic band in two dimensions, (m/2πħ²) kT log(1 + e^(mu/kT))."""
    return MASS * KT * np.logaddexp(0, mu / KT)


def inverse(density):
    return KT * np.log(np.expm1(density / MASS / KT))


def table_of(step):
    return np.arange(-0.3, 0.5, step * KT)


def found(step, scale=1.0):
    table = table_of(step)
    values = scale * jnp.asarray(np.broadcast_to(number(table), (5, len(table))))
    return fermi_energies(jnp.asarray(DENSITIES), table, values)


@pytest.mark.parametrize(("step", "error"), [(1.0, 4e-3), (0.5, 8e-5), (0.25, 5e-6)])
def test_fermi_energy_of_a_parabolic_band(step, error):
    """Within `error` kT for tables with steps of `step` kT."""
    np.testing.assert_allclose(found(step), inverse(DENSITIES), atol=error * KT)


def test_fermi_energy_is_differentiable():
    """More states at each energy, and the Fermi energy falls."""
    _, slope = jax.jvp(lambda scale: found(0.5, scale), (1.0,), (1.0,))
    difference = (found(0.5, 1 + 1e-6) - found(0.5, 1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, difference, rtol=1e-7)
    assert np.all(slope < 0)


def test_densities_that_are_not_reached_are_not_invented():
    table, values = np.linspace(0, 1, 5), jnp.array([[1.0, 2.0, 2.0, 2.0, 3.0]])
    ends = [float(fermi_energies(jnp.array([n]), table, values)[0]) for n in (0.9, 3.1)]
    assert np.all(np.isnan(ends))


def test_interpolation_is_exact_up_to_cubic_polynomials():
    """And not for those of degree four."""
    table = np.array([0.0, 0.3, 0.5, 1.0, 1.2, 1.9])
    at = jnp.array([0.0, 0.1, 0.72, 1.85, 1.9])
    value = lambda degree: interpolate(at, table, jnp.tile(table**degree, (5, 1)))  # noqa: E731
    for degree in range(4):
        np.testing.assert_allclose(value(degree), at**degree, atol=1e-14)
    assert np.max(np.abs(value(4) - at**4)) > 1e-4


def test_interpolation_has_continuous_slopes():
    table = np.linspace(0, 3, 7)
    values = jnp.asarray(np.sin(3 * table))[None]
    slope = jax.grad(lambda x: interpolate(x[None], table, values)[0])
    np.testing.assert_allclose(slope(1.5 - 1e-9), slope(1.5 + 1e-9), rtol=1e-6)


def test_gate_voltage_to_response():
    """σ = mu at every level: what is calculated is the Fermi energy itself, in closed form."""
    gate = Gate(capacitance=1.2e-4, neutral=-3.0)
    volts = gate.voltage(DENSITIES)
    np.testing.assert_allclose(gate.density(volts), DENSITIES, rtol=1e-12)
    np.testing.assert_allclose(Gate(1.602176634e-19 * 1e16).density(1.0), 1e-4, rtol=1e-12)
    data = Data(
        np.zeros(5), 1.0, "yx", gate=volts, temperature=[300.0, 600.0] + 3 * [300.0], units="S"
    )
    levels = data.levels_on(table_of(0.25))
    sigma = jnp.broadcast_to(levels.mu[None, :, None, None], (2, levels.mu.size, 2, 2))
    table = response(levels.mu, (300.0, 600.0), ("flow", "field"), units="S", value=sigma)
    density = jnp.stack([number(levels.mu), 2 * number(levels.mu)])
    expected = np.where(
        [False, True, False, False, False], inverse(DENSITIES / 2), inverse(DENSITIES)
    )
    np.testing.assert_allclose(
        data.calculated(table, density=density, gate=gate), expected, atol=1e-5 * KT
    )
    curves = data.curves(table, density=density, gate=gate)
    assert [curve.temperature for curve in curves] == [300.0, 600.0]
    np.testing.assert_allclose(curves[1].x, gate.voltage(density[1]))
    np.testing.assert_array_equal(curves[0].y, levels.mu)
