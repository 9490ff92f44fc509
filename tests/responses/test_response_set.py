"""Sets of responses: names, units, components, files, labelled arrays, printing, pytrees."""

import json

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from example_response import MU, assert_same, response

import jaxspin as js
from jaxspin.engine import files
from jaxspin.quantities.axes import AXES
from jaxspin.responses.fermi_sea import EquilibriumSpinCurrent, SpinHallPieces
from jaxspin.responses.response_set import Components, NamedResponses, ResponseSet
from jaxspin.spin_transfer import Projection, SpinTransferTorque, Transfer

LEVELS = ("temperature", "mu")


def skew() -> NamedResponses:
    """A conductivity and a spin density, as each mechanism of a disordered conductor has them."""
    conductivity = response((*LEVELS, "flow", "field"), "S/m")
    spins = response((*LEVELS, "spin", "field"), "hbar/2 V^-1 Angstrom^-2")
    return NamedResponses({"conductivity": conductivity, "spin_density": spins})


def found() -> NamedResponses:
    """A set with a set inside, numbers and a note."""
    info = {"gap": jnp.asarray(0.25), "rates": jnp.array([1.0, jnp.nan])}
    members = {"skew": skew(), "hall": response()}
    return NamedResponses(members, info, "what was found", ("without crossed diagrams",))


def test_names():
    """As attributes, as items, and in order."""
    whole = found()
    assert list(whole) == ["skew", "hall"] == [name for name, _ in whole.items()]
    assert whole.hall is whole["hall"] is whole.values()[1]
    assert "skew" in whole
    assert "drude" not in whole
    assert len(whole) == 2
    assert dict(whole).keys() == {"skew", "hall"}
    paths = ["skew.conductivity", "skew.spin_density", "hall"]
    assert list(whole.flatten()) == paths
    with pytest.raises(KeyError, match="'drude' is none of 'skew', 'hall'"):
        whole["drude"]
    with pytest.raises(AttributeError, match="no 'drude', but skew, hall"):
        whole.drude  # noqa: B018


@pytest.mark.parametrize("name", ["a.b", "_a", "", "a b", 3])
def test_names_that_a_file_cannot_have_are_refused(name):
    with pytest.raises(ValueError, match="`responses` must have at least one response"):
        NamedResponses({name: response()})
    with pytest.raises(ValueError, match="but has none"):
        NamedResponses({})


def test_units_are_of_those_that_they_measure():
    before = found()
    after = before.to("S/cm")
    np.testing.assert_allclose(
        after.skew.conductivity.value, before.skew.conductivity.value / 100, rtol=1e-14
    )
    assert after.skew.conductivity.units == "S/cm"
    assert_same(after.skew.spin_density, before.skew.spin_density)
    assert_same(after.hall, before.hall)
    assert (after.title, after.notes) == (before.title, before.notes)
    assert after.numbers.keys() == {"gap", "rates"}
    for wrong in ("eV Angstrom^-2", "nonsense", 3):
        with pytest.raises(ValueError, match="Argument `units` must be one of 'S/m'"):
            before.to(wrong)


def test_components_are_of_those_that_have_the_axes():
    before = found()
    after = before.component(flow="y", field="x")
    assert after.skew.conductivity.axes == LEVELS
    assert after.hall.axes == (*LEVELS, "spin")
    np.testing.assert_array_equal(after.hall.value, before.hall.value[:, :, 1, 0])
    assert_same(after.skew.spin_density, before.skew.spin_density)
    with pytest.raises(ValueError, match="`gradient` must name axes of one of the responses"):
        before.component(gradient="x")
    with pytest.raises(ValueError, match="`flow` must be one of 'x', 'y', 'z', but is 'w'"):
        before.component(flow="w")


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "found.nc"
    found().save(path)
    return path


def test_a_file_keeps_all(saved):
    again, before = js.load(saved), found()
    assert isinstance(again, ResponseSet)
    assert again.flatten().keys() == before.flatten().keys()
    for path, one in again.flatten().items():
        assert_same(one, before.flatten()[path])
    assert (again.title, again.notes) == (before.title, before.notes)
    assert again.skew.title == before.skew.title
    np.testing.assert_array_equal(again.info["rates"], before.info["rates"])
    assert again.origin.texts == before.origin.texts
    again.save(saved, overwrite=True)
    assert_same(js.load(saved).skew.conductivity, before.skew.conductivity)
    with pytest.raises(ValueError, match="must be a new file"):
        again.save(saved)


def test_a_file_is_labelled_for_xarray(saved):
    with xarray.open_dataset(saved, engine="h5netcdf") as dataset:
        hall = dataset["skew.conductivity"].sel(flow="y", field="x")
        np.testing.assert_array_equal(hall, found().skew.conductivity.value[:, :, 1, 0])
        assert hall.attrs["units"] == "S/m"
    arrays = found().to_xarray()
    np.testing.assert_array_equal(arrays["hall.error"], found().hall.error)
    np.testing.assert_array_equal(arrays.mu, MU)


def rewrite(path, name, change):
    """Change a table of a file, and sign it with the hash of what is then in it."""
    texts = ("responses", "sets", "created_by", files.HASH)
    with h5py.File(path, "a") as file:
        table = json.loads(file.attrs[name])
        change(table)
        file.attrs[name] = json.dumps(table)
        entries = [key for key in file if isinstance(file[key], h5py.Dataset)]
        numbers = [key for key in entries if "." in key or key.endswith("_all") or key == "hall"]
    contents = files.read_netcdf(path, numbers, texts)
    del contents.texts[files.HASH], contents.texts["created_by"]
    with h5py.File(path, "a") as file:
        file.attrs[files.HASH] = files.content_hash(contents)


FORGED = {
    "a path": ("responses", lambda t: t.update({"../etc": t.pop("hall")}), "has a response with"),
    "a missing response": ("responses", lambda t: t.update(more=t["hall"]), "variable `more`"),
    "no texts": ("responses", lambda t: t.update(hall={}), "a response without its texts"),
    "other units": ("responses", lambda t: t["hall"].update(units="furlong"), "unknown units"),
    "other axes": ("responses", lambda t: t["hall"].update(axes='["mu"]'), "has no axis for its"),
    "no response": ("responses", lambda t: t.clear(), "has no response"),
    "no numbers": ("sets", lambda t: t["skew"].pop("numbers"), "no table of numbers"),
    "no set": ("sets", lambda t: t.pop("skew"), "a set without title"),
    "notes of numbers": ("sets", lambda t: t[""].update(notes=[1]), "notes that are no texts"),
    "numbers of texts": ("sets", lambda t: t[""]["numbers"].update(gap="x"), "no number in"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused(saved, name):
    rewrite(saved, *FORGED[name][:2])
    with pytest.raises(ValueError, match=FORGED[name][2]) as caught:
        js.load(saved)
    assert str(caught.value).startswith("Argument `path` must be a file saved by jaxspin")


def test_a_changed_file_is_refused(saved):
    with h5py.File(saved, "a") as file:
        file["hall"][0, 0, 0, 0, 0] = 1.0
    with pytest.raises(ValueError, match="the hash of its contents differs"):
        js.load(saved)


def test_what_is_not_one_set_is_not_saved(tmp_path):
    other = response(levels=js.Levels(MU + 1, [10.0, 300.0]))
    with pytest.raises(ValueError, match="must have responses at the same levels"):
        NamedResponses({"one": response(), "other": other}).save(tmp_path / "two.nc")
    many = jax.vmap(lambda x: jax.tree.map(lambda leaf: x * leaf, found()))(jnp.ones(2))
    with pytest.raises(ValueError, match="must have the axes"):
        many.save(tmp_path / "many.nc")
    with pytest.raises(ValueError, match="must have the axes"):
        many.to_xarray()
    negative = response().replace(error=-response().error)
    with pytest.raises(ValueError, match="cannot be saved, because it has negative errors"):
        NamedResponses({"one": negative}).save(tmp_path / "negative.nc")
    assert list(tmp_path.iterdir()) == []


# --- printing, pytrees, results -------------------------------------------------------------------


def test_printing():
    lines = str(found()).splitlines()
    assert lines[0] == "what was found"
    largest = "S/m at T 300 K, mu 0 eV, flow z, field z"
    assert lines[1] == f"  skew.conductivity  53 {largest}"
    assert lines[-2:] == ["  rates  nan", "  without crossed diagrams"]
    seen = []
    jax.jit(lambda s: seen.append(repr(s)) or s)(found())
    assert seen == ["NamedResponses(traced)"]


def test_a_set_is_a_pytree():
    double = jax.jit(lambda s: jax.tree.map(lambda x: 2 * x, s))(found())
    np.testing.assert_array_equal(double.hall.value, 2 * found().hall.value)
    inside = jax.jit(lambda s: s.to("S/cm").component(flow="x"))(found())
    assert inside.skew.conductivity.axes == (*LEVELS, "field")


def test_results_of_the_fermi_sea_are_sets():
    model, mesh = js.models.KaneMele(1.0, 1.0, 0.3, 0.25), js.Grid((4, 4), 0.1)
    levels = js.Levels(0.3, 900.0)
    pieces = js.spin_hall_pieces(model, mesh, levels)
    assert list(pieces) == ["J1", "J2", "I1", "I2"]
    assert pieces.numbers.keys() == pieces.residuals.keys()
    converted = pieces.to("hbar/e S").component(flow="x", field="y", spin="z")
    np.testing.assert_allclose(converted.J1.value, pieces.J1.value[..., 0, 1, 2] / 2)
    assert converted.origin.texts == pieces.J1.origin.texts != {}
    assert "J2 + I1" in str(pieces)


@pytest.mark.parametrize(
    "kind",
    [
        SpinHallPieces,
        EquilibriumSpinCurrent,
        js.disorder.Contribution,
        js.disorder.DisorderedResponse,
        js.disorder.SpinOrbitTorque,
        Projection,
        SpinTransferTorque,
        Transfer,
    ],
)
def test_every_container_of_responses_is_a_set(kind):
    assert issubclass(kind, js.ResponseSet)


def test_components_have_a_keyword_for_each_axis():
    assert Components.__annotations__.keys() == AXES.keys()
