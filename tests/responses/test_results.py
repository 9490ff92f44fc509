"""Response: units, components, files, labelled arrays, printing, and its life as a pytree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from example_response import MU, TEMPERATURES, assert_same, response

import jaxspin as js
from jaxspin import units

# --- units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "factor"),
    [
        ("S/m", "S/cm", 0.01),
        ("S", "e^2/h", 2 * np.pi / 2.434134807e-4),
        ("hbar/2e S/m", "hbar/2e S/cm", 0.01),
        ("hbar/2e S/m", "hbar/e S/m", 0.5),  # J in units twice as large
        ("hbar/2e S/m", "hbar/e S/cm", 0.005),
        ("hbar/2e S", "hbar/e S", 0.5),
        ("hbar/2e S", "hbar/2e e^2/h", 2 * np.pi / 2.434134807e-4),
        ("hbar/2e S", "hbar/e e^2/h", np.pi / 2.434134807e-4),
        # (ħ/2e)(e²/h) is e/4π
        ("hbar/2e e^2/h", "e/4pi", 1.0),
        ("hbar/2e e^2/h", "e/8pi", 2.0),
        ("hbar/2e e^2/h", "e/2pi", 0.5),
        ("1/Angstrom^3", "1/cm^3", 1e24),
        ("1/Angstrom^2", "1/cm^2", 1e16),
    ],
)
def test_units(start, end, factor):
    before = response(unit=start)
    after = before.to(end)
    assert after.units == end
    np.testing.assert_allclose(after.value, factor * before.value, rtol=1e-9)
    np.testing.assert_allclose(after.error, factor * before.error, rtol=1e-9)
    np.testing.assert_allclose(after.to(start).value, before.value, rtol=1e-15)


def test_conductance_quantum():
    """e²/h = 1/25812.807... Ω."""
    one = response(unit="S", value=jnp.ones((2, 3, 3, 3, 3)) / 25812.80745)
    np.testing.assert_allclose(one.to("e^2/h").value, 1.0, rtol=1e-9)


@pytest.mark.parametrize("unit", ["e^2/h", "hbar/e S", "S/m", "nonsense"])
def test_units_of_another_quantity_are_refused(unit):
    with pytest.raises(ValueError, match="Argument `units` must be one of") as caught:
        response().to(unit)
    for valid in ("hbar/2e S/m", "hbar/2e S/cm", "hbar/e S/m", "hbar/e S/cm", repr(unit)):
        assert valid in str(caught.value)


def test_no_thickness_is_invented():
    three = {"S/m", "S/cm", "hbar/2e S/m", "hbar/2e S/cm", "hbar/e S/m", "hbar/e S/cm"}
    for start in ("S", "hbar/2e S"):
        for end in three:
            with pytest.raises(ValueError, match="units"):
                units.conversion(start, end)


# --- components -----------------------------------------------------------------------------------


def test_component():
    whole = response()
    one = whole.component(flow="z", field="x", spin="y")
    assert one.axes == ("temperature", "mu")
    np.testing.assert_array_equal(one.value, whole.value[:, :, 2, 0, 1])
    np.testing.assert_array_equal(one.error, whole.error[:, :, 2, 0, 1])
    assert one.selected == "flow z, field x, spin y"


def test_component_in_steps():
    step = response().component(spin="y").component(flow="z").component(field="x")
    np.testing.assert_array_equal(step.value, response().value[:, :, 2, 0, 1])
    assert step.selected == "spin y, flow z, field x"


def test_component_refuses():
    with pytest.raises(ValueError, match="`flow` must be one of 'x', 'y', 'z', but is 'w'"):
        response().component(flow="w")
    with pytest.raises(ValueError, match="Argument `spin` must be left out"):
        response(("mu", "flow", "field")).component(spin="z")
    flat = response(("mu",)).component()
    assert flat.axes == ("mu",)
    two = response(("mu", "flow"), value=jnp.zeros((3, 2)), error=jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match="one of 'x', 'y', but is 'z'"):
        two.component(flow="z")


# --- files and arrays -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "saved",
    [
        response(),
        response(("mu", "flow", "field", "spin")),
        response(("mu",), unit="1/Angstrom^3"),
        response().component(flow="z", spin="x"),
        response(value=jnp.full((2, 3, 3, 3, 3), jnp.nan)),
        response(info={}),
        response(("temperature", "mu")).to("hbar/e S/cm"),
    ],
    ids=["all", "one temperature", "no components", "selected", "nan", "no info", "converted"],
)
def test_save_and_load(saved, tmp_path):
    saved.save(tmp_path / "response.nc")
    assert_same(js.load(tmp_path / "response.nc"), saved)


def test_save_keeps_a_temperature_that_is_a_number(tmp_path):
    for temperature, shape in ((10.0, ()), ([10.0], (1,))):
        axes = ("mu",) if shape == () else ("temperature", "mu")
        value = jnp.zeros((*shape, 3))
        one = response(axes, value=value, error=value, levels=js.Levels(MU, temperature))
        one.save(tmp_path / "response.nc", overwrite=True)
        assert js.load(tmp_path / "response.nc").levels.temperature.shape == shape


def test_a_calculated_response_survives_a_file(tmp_path):
    chern = js.models.MassiveDirac(velocity=1.0, mass=0.1)
    hall = js.anomalous_hall(chern, js.Plane(0.1, 8, 4), js.Levels([0.0, 0.2], [0.0, 300.0]))
    hall.save(tmp_path / "hall.nc")
    assert_same(js.load(tmp_path / "hall.nc"), hall)


def test_load_refuses_other_files(tmp_path):
    response().to_xarray().drop_vars("error").to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="must be a file saved by jaxspin"):
        js.load(tmp_path / "other.nc")


def test_xarray():
    array = response().to_xarray()
    assert array.dims == ("temperature", "mu", "flow", "field", "spin")
    assert list(array.flow.values) == ["x", "y", "z"]
    np.testing.assert_array_equal(array.mu, MU)
    np.testing.assert_array_equal(array.temperature, TEMPERATURES)
    assert array.mu.attrs["units"] == "eV"
    assert array.temperature.attrs["units"] == "K"
    assert array.attrs["units"] == "hbar/2e S/m"
    assert array.attrs["formula"] == "σ = Σ f Ω"
    assert array.attrs["source"] == "nobody, 2000"
    one = array.sel(temperature=300.0, mu=0.3, flow="z", field="x", spin="y")
    assert float(one) == float(response().value[1, 1, 2, 0, 1])
    assert float(one.error) == float(response().error[1, 1, 2, 0, 1])


# --- printing -------------------------------------------------------------------------------------


def test_printing():
    text = str(response())
    for part in (
        "spin Hall conductivity (conventional)  [hbar/2e S/m]",
        "σ = Σ f Ω",
        "nobody, 2000",
        "temperature 2, mu 3, flow 3, field 3, spin 3",
        "3 from -0.1 to 0.3 eV",
        "2 from 10 to 300 K",
        "161 at T 300 K, mu 0 eV, flow z, field z, spin z",
        "error    at most 1.61 hbar/2e S/m (estimated)",
        "smallest_splitting  0.25",
    ):
        assert part in text
    assert "flow z" in str(response().component(flow="z")).splitlines()[0]


def test_printing_of_a_level_that_has_no_value():
    assert "no finite value" in str(
        response(value=jnp.full((2, 3, 3, 3, 3), jnp.nan), error=jnp.zeros((2, 3, 3, 3, 3)))
    )


def test_printing_inside_jit():
    seen = []

    @jax.jit
    def look(r):
        seen.append(repr(r))
        return r.value

    look(response())
    assert "traced" in seen[0]


# --- pytree ---------------------------------------------------------------------------------------


def test_jit_round_trip():
    assert_same(jax.jit(lambda r: r)(response()), response())


def test_flatten_round_trip():
    leaves, structure = jax.tree.flatten(response())
    assert_same(jax.tree.unflatten(structure, leaves), response())


def test_vmap_and_tree_map():
    def scaled(factor):
        r = response(("mu", "flow"))
        return jax.tree.map(lambda x: factor * x, r)

    many = jax.vmap(scaled)(jnp.array([1.0, 2.0]))
    assert many.axes == ("mu", "flow")
    assert many.value.shape == (2, 3, 3)
    one = jax.tree.map(lambda x: x[1], many)
    np.testing.assert_array_equal(one.value, 2 * response(("mu", "flow")).value)
    # Three of three: a component counted from the front would be one of the mapped axis.
    three = jax.vmap(scaled)(jnp.array([1.0, 2.0, 3.0])).component(flow="y")
    np.testing.assert_array_equal(three.value[2], 3 * response(("mu", "flow")).value[:, 1])
    assert "(mapped 2, mu 3, flow 3)" in str(many)
    assert "largest  16 at mapped 1, mu" in str(many)
    assert "smallest_splitting  from 0.25 to 0.5" in str(many)


def test_units_and_components_inside_jit():
    inside = jax.jit(lambda r: r.to("hbar/e S/m").component(flow="x"))(response())
    np.testing.assert_allclose(inside.value, response().value[:, :, 0] / 2)
    assert inside.units == "hbar/e S/m"


def test_derivative_passes_through():
    def value(x):
        return response(("mu",), value=x * jnp.ones(3)).to("hbar/e S/m").value

    np.testing.assert_allclose(jax.jacfwd(value)(2.0), 0.5 * np.ones(3))
