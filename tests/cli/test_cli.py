"""The command line: what it writes, and what it says where the input is wrong."""

import itertools
import re
import shutil
import tomllib
from pathlib import Path

import jax
import matplotlib.image
import numpy as np
import pytest
import xarray
from typer.testing import CliRunner

import jaxspin as js
from jaxspin.cli import input_files
from jaxspin.cli.commands import app
from jaxspin.engine import segments as engine_segments

EXAMPLES = Path(__file__).parents[2] / "examples"

TINY = """
[model]
name = "TopologicalInsulator.bi2se3"

[mesh]
type = "Space"
scale = [0.0793, 0.0793, 0.2020]
radial = 8
polar = 6
azimuthal = 4

[levels]
mu = { start = 0.2, stop = 0.4, number = 5 }
temperature = [300]

[quantity]
name = "spin_hall"
definition = "conventional"

[output]
components = ["zx^y"]

[path]
points = [[0.1, 0.0, 0.0], [0.0, 0.0, 0.0]]
labels = ["X", "G"]
number = 20
"""


def run(*arguments: str | Path):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)


def tiny(*changes: tuple[str, str], name: str = "tiny.toml") -> Path:
    """The tiny input with pieces of text replaced."""
    text = TINY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def refused(result, *parts: str) -> str:
    """The run ended in one line of advice, with exit code 2 and no traceback."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert "error: " in result.output
    for part in parts:
        assert part in result.output
    return result.output


# --- what it writes -------------------------------------------------------------------------------


def test_info():
    result = run("info")
    assert result.exit_code == 0
    for name in ("jaxspin", "python", "jax ", "jaxlib", "numpy", "equinox", "device", "precision"):
        assert name in result.output
    assert re.search(r"precision +double", result.output)


def test_scan():
    result = run("scan", tiny())
    assert result.exit_code == 0, result.output
    response = js.load("tiny.nc")
    assert response.axes == ("temperature", "mu", "flow", "field", "spin")
    assert response.units == "hbar/2e S/m"
    assert matplotlib.image.imread("tiny.png").ndim == 3
    for part in ("spin Hall conductivity (conventional)", "192 k-points", "tiny.nc and tiny.png"):
        assert part in result.output

    model = js.models.TopologicalInsulator.bi2se3()
    mesh = js.Space([0.0793, 0.0793, 0.2020], 8, 6, 4)
    levels = js.Levels(np.linspace(0.2, 0.4, 5), [300.0])
    expected = js.spin_hall(model, mesh, levels, definition="conventional")
    np.testing.assert_allclose(response.value, expected.value, rtol=1e-12)


def test_results_carry_their_input():
    run("scan", tiny())
    with xarray.open_dataset("tiny.nc", engine="h5netcdf") as dataset:
        assert tomllib.loads(dataset.attrs["input"]) == tomllib.loads(TINY)


def test_example_gives_the_reference_values():
    """The built-in example, with both definitions and only the levels that are known.

    Reference: two quadratures of the same integrals that are independent of this code.
    """
    text = input_files.EXAMPLES["bi2se3"]
    text = text.replace('"proper_corrected"\nunits', '["proper_corrected", "conventional"]\nunits')
    text = text.replace("{ start = -0.3, stop = 0.6, number = 181 }", "[0.10, 0.35]")
    text = text.replace("[0, 300]", "300").replace("= 192", "= 96")
    Path("reference.toml").write_text(text, encoding="utf-8")
    assert run("scan", "reference.toml").exit_code == 0
    values = {  # at 0.10 and 0.35 eV; the proper current with the sign of its definition
        ("proper_corrected", "zxy"): (-0.16402882, -1756.0213),
        ("proper_corrected", "xyz"): (-2.210906, -2858.9617),
        ("conventional", "zxy"): (-8259.0671, -8095.4532),
        ("conventional", "xzy"): (9363.3798, 8912.1425),
        ("conventional", "xyz"): (-13796.484, -13131.608),
    }
    for (definition, (flow, field, spin)), expected in values.items():
        response = js.load(f"bi2se3_{definition}.nc").component(flow=flow, field=field, spin=spin)
        np.testing.assert_allclose(response.value, expected, rtol=1e-6, atol=1e-4)


def test_example_can_be_shown_and_is_valid():
    result = run("scan", "--example", "bi2se3", "--show")
    assert result.exit_code == 0
    assert result.output == input_files.EXAMPLES["bi2se3"]
    job = input_files.prepare_scan(input_files.load_example("bi2se3"))
    assert job.stem == "bi2se3"
    assert job.mesh.size == 192 * 96 * 8
    assert not list(Path().iterdir())


def test_several_definitions():
    several = tiny(('"conventional"', '["conventional", "proper_corrected"]'))
    assert run("scan", several).exit_code == 0
    assert "proper_corrected" in js.load("tiny_proper_corrected.nc").name
    assert {path.name for path in Path().iterdir()} == {
        "tiny.toml",
        "tiny_conventional.nc",
        "tiny_conventional.png",
        "tiny_proper_corrected.nc",
        "tiny_proper_corrected.png",
    }


def test_output_goes_where_it_should():
    Path("folder").mkdir()
    assert run("scan", tiny(), "--output", "folder").exit_code == 0
    assert run("scan", tiny(), "--output", "folder/other.nc").exit_code == 0
    expected = {"tiny.nc", "tiny.png", "other.nc", "other.png"}
    assert {path.name for path in Path("folder").iterdir()} == expected
    refused(run("scan", tiny(), "--output", "nowhere/x"), "nowhere", "not there")


def test_units():
    run("scan", tiny(('definition = "conv', 'units = "hbar/e S/cm"\ndefinition = "conv')))
    assert js.load("tiny.nc").units == "hbar/e S/cm"


@pytest.mark.parametrize(
    ("quantity", "components"),
    [
        ('name = "anomalous_hall"', '["yx"]'),
        ('name = "torque_density"', '["x^y"]'),
        ('name = "equilibrium_spin_current"\nbands = [0, 1]', '["x^y"]'),
        (
            'name = "spin_hall"\ndefinition = "kubo"\ndegeneracy = { type = "Covariant" }',
            '["zx^y"]',
        ),
    ],
)
def test_quantities(quantity, components):
    changed = tiny(
        ('name = "spin_hall"\ndefinition = "conventional"', quantity),
        ('["zx^y"]', components),
        ('type = "Space"\nscale = [0.0793, 0.0793, 0.2020]', 'type = "Ball"\ncutoff = 0.3'),
    )
    result = run("scan", changed)
    assert result.exit_code == 0, result.output
    assert js.load("tiny.nc").value.shape[:2] == (1, 5)


@pytest.mark.parametrize("quantity", ["carrier_density", "density_of_states"])
def test_quantities_without_components(quantity):
    text = f"""
    [model]
    name = "KaneMele"
    onsite = 0.5
    hopping = 1
    spin_orbit = 0.3
    [mesh]
    type = "Grid"
    shape = [6, 6]
    [levels]
    mu = [0.0, 1.0]
    temperature = 300
    [quantity]
    name = "{quantity}"
    """
    Path("km.toml").write_text(text, encoding="utf-8")
    result = run("scan", "km.toml")
    assert result.exit_code == 0, result.output
    assert js.load("km.nc").axes == ("mu",)


POINTS = """
[model]
name = "QiWuZhang"
A = 1
m = -1
[mesh]
type = "PointSet"
file = "wedge.txt"
grid = [2, 2]
comparison = { k_points = [[0.0, 0.0]], weights = [1], grid = [1, 1] }
[levels]
mu = 0.0
temperature = 300
[quantity]
name = "carrier_density"
"""


def test_points_of_a_file():
    Path("wedge.txt").write_text("# u v weight\n0 0 1\n0.5 0 2\n0.5 0.5 1\n", encoding="utf-8")
    Path("points.toml").write_text(POINTS, encoding="utf-8")
    result = run("scan", "points.toml")
    assert result.exit_code == 0, result.output
    saved = js.load("points.nc")
    np.testing.assert_allclose(saved.value, [1.0], rtol=1e-9)
    assert saved.origin.texts["mesh.weights"] == "[1.0, 2.0, 1.0]"
    assert saved.origin.texts["mesh.comparison.number"] == "1.0"


@pytest.mark.parametrize(
    ("points", "parts"),
    [
        (None, ("`file`", "[mesh]", "wedge.txt")),
        ("0 0 1\n0.5 0", ("`file`", "[mesh]", "coordinates and weight")),
        ("0.1 0 1", ("`k_points`", "[mesh]", "points of Grid")),
        ("0 0 0 1", ("`grid`", "[mesh]", "dimension 3")),
    ],
)
def test_a_file_of_points_that_does_not_fit(points, parts):
    if points is not None:
        Path("wedge.txt").write_text(points, encoding="utf-8")
    Path("points.toml").write_text(POINTS, encoding="utf-8")
    refused(run("scan", "points.toml"), *parts)


def test_a_mesh_reduced_by_symmetries():
    text = POINTS.replace("grid = [2, 2]", 'grid = [2, 2]\noperations = ["rotation 4 z"]')
    Path("wedge.txt").write_text("0 0 1\n0.5 0 2\n0.5 0.5 1\n", encoding="utf-8")
    Path("points.toml").write_text(text, encoding="utf-8")
    job = input_files.prepare_scan(input_files.read_input(Path("points.toml")))
    assert (job.points, job.mesh.operations[0].name) == (3, "rotation of order 4 about z")
    for operations, parts in (
        ('"rotation 3"', ("`operations`", "[mesh]", "rotation 3 z", "'rotation 3'")),
        ('["rotation 3 z"]', ("`operations`", "[mesh]", "to where there is none")),
        ('["inversion", 1]', ("`operations`", "[mesh]", "is 1")),
        ("[]", ("`operations`", "[mesh]", "at least one")),
        ('"group 4mmm"', ("`operations`", "[mesh]", "122 magnetic point groups", "'group 4mmm'")),
    ):
        changed = text.replace('["rotation 4 z"]', operations)
        Path("points.toml").write_text(changed, encoding="utf-8")
        refused(run("scan", "points.toml"), *parts)


def test_a_grid_reduced_by_a_point_group():
    lines = POINTS.splitlines()
    first, last = lines.index("[mesh]"), lines.index("[levels]")
    mesh = ["[mesh]", 'type = "Grid"', "shape = [8, 8]", 'operations = "group 422(4)"']
    Path("grid.toml").write_text("\n".join([*lines[:first], *mesh, *lines[last:]]), "utf-8")
    job = input_files.prepare_scan(input_files.read_input(Path("grid.toml")))
    assert job.points == 15


def test_a_mesh_refined_to_a_tolerance():
    lines = POINTS.replace("temperature = 300", "temperature = 0").splitlines()
    first, last = lines.index("[mesh]"), lines.index("[levels]")
    mesh = ["[mesh]", 'type = "Grid"', "shape = [8, 8]", "rtol = 1e-2", "max_points = 50000"]

    def write(more):
        text = "\n".join([*lines[:first], *mesh, *more, *lines[last:]])
        Path("refined.toml").write_text(text, encoding="utf-8")

    write(['operations = ["inversion"]'])
    result = run("scan", "refined.toml")
    assert result.exit_code == 0, result.output
    points = int(js.load("refined.nc").info["points"])
    assert points < 50000
    assert f"{points:,} k-points" in result.output
    for more, parts in (
        (["atol = -1.0"], ("`atol`", "[mesh]", "-1.0")),
        (['operations = ["rotation 3 z"]'], ("`operations`", "[mesh]", "lattice")),
    ):
        write(more)
        refused(run("scan", "refined.toml"), *parts)


def test_bands():
    result = run("bands", tiny())
    assert result.exit_code == 0, result.output
    assert matplotlib.image.imread("tiny_bands.png").ndim == 3
    assert "tiny_bands.png" in result.output


def test_own_model():
    shutil.copy(EXAMPLES / "own_model.py", "my_model.py")
    text = """
    [model]
    file = "my_model.py"
    class = "MagneticFilm"
    velocity = 3.0
    mass = 0.1
    curvature = 20.0
    [mesh]
    type = "Plane"
    scale = 0.05
    radial = 60
    angular = 8
    [levels]
    mu = 0.0
    [quantity]
    name = "anomalous_hall"
    units = "e^2/h"
    [output]
    path = "film"
    components = ["yx"]
    """
    Path("own.toml").write_text(text, encoding="utf-8")
    result = run("scan", "own.toml")
    assert result.exit_code == 0, result.output
    hall = js.load("film.nc").component(flow="y", field="x")
    np.testing.assert_allclose(hall.value, 1.0, atol=1e-6)

    # The results carry the code of the model too: another model is another input.
    code = Path("my_model.py").read_text(encoding="utf-8")
    Path("my_model.py").write_text(code + "\n# changed\n", encoding="utf-8")
    refused(run("scan", "own.toml"), "film.nc exists")

    Path("wrong.toml").write_text(text.replace("MagneticFilm", "MagneticFlim"), encoding="utf-8")
    refused(run("scan", "wrong.toml"), "`class`", "Did you mean `MagneticFilm`?")
    Path("wrong.toml").write_text(text.replace("mass =", "mas ="), encoding="utf-8")
    refused(run("scan", "wrong.toml"), "`mas`", "Did you mean `mass`?", "velocity")
    Path("wrong.toml").write_text(text.replace("my_model", "no_model"), encoding="utf-8")
    refused(run("scan", "wrong.toml"), "`file`", "no_model.py is not there")
    Path("my_model.py").write_text("nonsense", encoding="utf-8")
    refused(run("scan", "own.toml"), "`file`", "NameError")
    Path("my_model.py").write_text("import jaxspin", encoding="utf-8")
    refused(run("scan", "own.toml"), "subclass of jaxspin.Model")


# --- results are not lost -------------------------------------------------------------------------


def test_the_same_input_may_run_again():
    assert run("scan", tiny()).exit_code == 0
    assert run("scan", tiny()).exit_code == 0
    assert run("bands", tiny()).exit_code == 0
    assert run("bands", tiny()).exit_code == 0


def test_another_input_overwrites_only_by_force():
    run("scan", tiny())
    before = Path("tiny.nc").read_bytes()
    other = tiny(("radial = 8", "radial = 10"))
    refused(run("scan", other), "tiny.nc exists", "--force", "--output")
    assert Path("tiny.nc").read_bytes() == before
    assert run("scan", other, "--force").exit_code == 0
    assert Path("tiny.nc").read_bytes() != before


@pytest.mark.parametrize("name", ["tiny.nc", "tiny.png"])
def test_foreign_files_are_not_overwritten(name):
    Path(name).write_text("a user's own", encoding="utf-8")
    refused(run("scan", tiny()), f"{name} exists")
    assert Path(name).read_text(encoding="utf-8") == "a user's own"


# --- what is compiled is kept ---------------------------------------------------------------------


def test_compiled_programs_are_kept(cache):
    assert not cache.exists()
    assert run("info").exit_code == 0
    assert jax.config.jax_compilation_cache_dir == str(cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.jit(lambda x: x + 20231119)(1.0)
    assert any(cache.iterdir())


def test_the_users_own_cache_is_respected(cache, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    assert run("info").exit_code == 0
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    assert not cache.exists()


def test_a_cache_folder_that_cannot_be_made_is_no_error(cache):
    cache.write_text("a file in its place", encoding="utf-8")
    assert run("info").exit_code == 0
    assert jax.config.jax_compilation_cache_dir is None


# --- what it says where the input is wrong --------------------------------------------------------


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("radial", "radail"), ("`radail`", "[mesh]", "Did you mean `radial`?", "polar")),
        (("[mesh]", "[mehs]"), ("[mehs]", "Did you mean `mesh`?", "[levels]")),
        (('"Space"', '"Spcae"'), ("`type`", "[mesh]", "Did you mean `Space`?", "'Grid'")),
        (("radial = 8\n", ""), ("[mesh]", "`radial`", "polar", "azimuthal")),
        (("radial = 8", "radial = 8.5"), ("`radial`", "[mesh]", "positive integer", "8.5")),
        (("radial = 8", 'radial = "8"'), ("`radial`", "[mesh]", "number", "'8'")),
        (("radial = 8", "radial = true"), ("`radial`", "[mesh]", "number", "True")),
        (("0.0793, 0.0793", "-0.0793, 0.0793"), ("`scale`", "[mesh]", "positive")),
        (("bi2se3", "bi2se"), ("`name`", "[model]", "Did you mean `TopologicalInsulator.bi2se3`?")),
        (('bi2se3"', 'bi2se3"\nexchang = 1'), ("`exchang`", "[model]", "`exchange`", "M0")),
        (('bi2se3"', 'bi2se3"\nwarping = 1'), ("`warping`", "[model]", "true or false")),
        (('bi2se3"', 'bi2se3"\nM0 = "x"'), ("`M0`", "[model]", "number")),
        (('bi2se3"', 'bi2se3"\nspin_basis = "x"'), ("`spin_basis`", "[model]", "'liu2010'")),
        (('bi2se3"', 'bi2se3"\nexchange = [1]'), ("`exchange`", "[model]", "three energies")),
        (("start", "begin"), ("`begin`", "[levels.mu]", "start, stop, number")),
        (("number = 5", "number = 0"), ("`number`", "[levels.mu]", "positive integer")),
        (("[300]", "[-1]"), ("`temperature`", "[levels]", "negative")),
        (('"spin_hall"', '"spin_hal"'), ("`name`", "[quantity]", "Did you mean `spin_hall`?")),
        (('"conventional"', '"proper"'), ("`definition`", "[quantity]", "'kubo'", "'proper'")),
        (('definition = "conventional"', ""), ("`definition`", "[quantity]")),
        (('"conventional"', "[]"), ("`definition`", "[quantity]", "once")),
        (("definition", 'units = "S/m"\ndefinition'), ("`units`", "[quantity]", "hbar/e S/cm")),
        (("definition", "degeneracy = 1\ndefinition"), ("[quantity.degeneracy]", "`type`")),
        (
            ("definition", 'degeneracy = { type = "Covariant", tol = 1 }\ndefinition'),
            ("`tol`", "[quantity.degeneracy]", "tolerance"),
        ),
        (('"zx^y"', '"zx^w"'), ("`components`", "[output]", "'zx^y'", "'zx^w'")),
        (("components", "component"), ("`component`", "[output]", "Did you mean `components`?")),
        (("[mesh]", "[mesh"), ("must be TOML", "tiny.toml")),
    ],
)
def test_wrong_input(change, parts):
    refused(run("scan", tiny(change)), *parts)
    assert [path.name for path in Path().iterdir()] == ["tiny.toml"]


@pytest.mark.parametrize("table", ["model", "mesh", "levels", "quantity"])
def test_missing_table(table):
    start = TINY.index(f"[{table}]")
    end = TINY.index("\n[", start)
    Path("cut.toml").write_text(TINY[:start] + TINY[end:], encoding="utf-8")
    refused(run("scan", "cut.toml"), f"[{table}]")


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (('["X", "G"]', '["X"]'), ("`labels`", "[path]", "2 names")),
        (('["X", "G"]', "[1, 2]"), ("`labels`", "[path]", "text")),
        (("number = 20", "number = 1"), ("`number`", "[path]", "above 1")),
        (("points", "point"), ("`point`", "[path]", "Did you mean `points`?")),
        (("[path]", "[paht]"), ("[paht]", "Did you mean `path`?")),
        (("[0.1, 0.0, 0.0], [0.0, 0.0, 0.0]", "[0, 1], [0, 0]"), ("dimension 3",)),
    ],
)
def test_wrong_path(change, parts):
    refused(run("bands", tiny(change)), *parts)


def test_mesh_that_does_not_fit_the_model():
    grid = tiny(
        ("Space", "Grid"),
        ("scale = [0.0793, 0.0793, 0.2020]\nradial = 8\npolar = 6\nazimuthal = 4", "shape = 4"),
    )
    refused(run("scan", grid), "Argument `mesh` must")


def test_missing_file():
    refused(run("scan", "nowhere.toml"), "nowhere.toml is not there")


def test_neither_or_both():
    refused(run("scan"), "--example")
    refused(run("scan", tiny(), "--example", "bi2se3"), "--example")


def test_unknown_example():
    refused(run("scan", "--example", "bi2se4"), "Did you mean `bi2se3`?")


def test_warnings_of_the_calculation_are_printed():
    """Exchange along k breaks inversion together with time reversal: the field generates spin."""
    text = """
    [model]
    name = "Rashba"
    kinetic = 5.0
    velocity = 1.0
    [mesh]
    type = "Disk"
    cutoff = 1.0
    radial = 40
    angular = 8
    [levels]
    mu = 0.3
    temperature = 100
    [quantity]
    name = "spin_hall"
    definition = "proper_corrected"
    """
    Path("rashba.toml").write_text(text, encoding="utf-8")
    result = run("scan", "rashba.toml")
    assert result.exit_code == 0, result.output
    assert "warning: The torque density" in result.output


# --- checkpoints ----------------------------------------------------------------------------------


def test_scan_with_a_checkpoint_goes_on_after_an_interruption(monkeypatch):
    """Each definition has its own file."""
    file = tiny(('"conventional"', '["conventional", "proper_corrected"]'))
    track, sums = engine_segments.track, []

    def counted(segments, *arguments):
        sums.append(segments)
        yield from track(segments, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(engine_segments, "track", counted)
        assert run("scan", file, "-o", "plain").exit_code == 0
    number, count = len(sums), itertools.count(1)

    def stopped_in_the_last(segments, *arguments):
        last = next(count) == number
        for part in track(segments, *arguments):
            if last:
                raise KeyboardInterrupt
            yield part

    with monkeypatch.context() as patch:
        patch.setattr(engine_segments, "track", stopped_in_the_last)
        result = run("scan", file, "-o", "kept", "--checkpoint", "sums.npz")
    assert result.exit_code != 0
    assert "The sums so far are in sums_proper_corrected.npz" in result.output
    assert sorted(p.name for p in Path().glob("sums*")) == ["sums_proper_corrected.npz"]
    result = run("scan", file, "-o", "kept", "--checkpoint", "sums.npz")
    assert result.exit_code == 0, result.output
    for ending in ("conventional", "proper_corrected"):
        plain, kept = (js.load(f"{stem}_{ending}.nc") for stem in ("plain", "kept"))
        np.testing.assert_array_equal(plain.value, kept.value)
    assert not list(Path().glob("sums*"))


def test_scan_refuses_a_bad_checkpoint():
    refused(
        run("scan", tiny(), "--checkpoint", "missing/sums.npz"), "must be in an existing folder"
    )
