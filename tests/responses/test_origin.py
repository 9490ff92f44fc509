"""Results say where they come from, and models, meshes and levels show their numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin.responses.origin import Origin

MODEL, MESH, LEVELS = js.models.QiWuZhang(A=1.0, m=-1.0), js.Grid((6, 6)), js.Levels([0.0, 0.1])


@pytest.fixture(scope="module")
def response():
    return js.anomalous_hall(MODEL, MESH, LEVELS)


def test_what_went_in(response):
    texts = response.origin.texts
    assert texts["model"].endswith("QiWuZhang")
    assert (texts["model.m"], texts["mesh.shape"]) == ("-1.0", "[6, 6]")
    assert (texts["levels.mu"], texts["degeneracy.tolerance"]) == ("[0.0, 0.1]", "1e-06")
    assert texts["jax"] == jax.__version__
    assert texts["date"].startswith("20")
    assert len(texts["date"]) == len("2026-01-01T00:00:00+00:00")
    assert "model.m" in repr(response.origin)


def test_digest_is_that_of_the_parameters(response):
    digest = response.origin.texts["model, digest"]
    again = js.carrier_density(MODEL, js.Grid((4, 4)), LEVELS).origin.texts
    other = js.anomalous_hall(js.models.QiWuZhang(A=1.0, m=-1.001), MESH, LEVELS).origin.texts
    assert again["model, digest"] == digest != other["model, digest"]


def test_every_part_of_a_result_has_it():
    pieces = js.spin_hall_pieces(MODEL, MESH, LEVELS)
    assert pieces.J1.origin.texts["model.m"] == pieces.I2.origin.texts["model.m"] == "-1.0"


def test_a_file_keeps_it(response, tmp_path):
    response.save(tmp_path / "hall.nc")
    assert js.load(tmp_path / "hall.nc").origin.texts == response.origin.texts


def test_changes_of_a_result_keep_it(response):
    changed = response.to("e^2/h").component(flow="x", field="y")
    assert changed.origin.texts == response.origin.texts


def test_inside_jit_the_numbers_are_not_known():
    inside = jax.jit(lambda m: js.anomalous_hall(js.models.QiWuZhang(1.0, m), MESH, LEVELS))(-1.0)
    assert inside.origin.texts == {}
    assert repr(inside.origin) == "Origin: not recorded"


def test_another_origin_compiles_nothing_again(response):
    """Two results differ in date and parameters, and pass through one compiled function."""
    other = js.anomalous_hall(js.models.QiWuZhang(A=1.0, m=-0.5), MESH, LEVELS)
    traces = []

    @jax.jit
    def doubled(result):
        traces.append(1)
        return 2 * result.value

    doubled(response), doubled(other)
    assert len(traces) == 1
    both = jax.tree.map(lambda a, b: a + b, response, other)
    np.testing.assert_allclose(both.value, response.value + other.value)
    assert Origin({"a": "b"}) == Origin()
    assert Origin() != "b"


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (MODEL, "QiWuZhang(A=1, m=-1, t0=0)"),
        (2.0 * MODEL, "Scaled(model=QiWuZhang(A=1, m=-1, t0=0), scale=2)"),
        (js.models.MassiveDirac(3.3, 0.05), "mass=0.05, warping=0, tilt=[0, 0])"),
        (js.Grid((8, 6), 0.5), "Grid(shape=(8, 6), shift=(0.5, 0.5))"),
        (js.Disk(0.3, 8, 6), "Disk(cutoff=0.3, radial=8, angular=6)"),
        (js.Adaptive(MESH, 1e-3), "Adaptive(mesh=Grid(shape=(6, 6), shift=(0.0, 0.0)), rtol=0.001"),
        (js.Symmetric(MESH, js.symmetry.INVERSION), "operations=(<inversion>))"),
        (js.Levels(0.1, [0, 300]), "Levels(mu=[0.1], temperature=[0, 300])"),
        (js.Levels(np.linspace(0, 1, 50)), "Levels(mu=float64[50], temperature=0)"),
    ],
)
def test_numbers_are_shown(thing, text):
    assert text in repr(thing)


def test_traced_numbers_are_named_so():
    seen = []
    jax.jit(lambda m: seen.append(repr(js.models.QiWuZhang(1.0, m))) or jnp.zeros(()))(0.5)
    assert "m=traced float64[]" in seen[0]
