"""Files: whatever stands in one, it is read as it was written, or one error names it."""

import io
import json
import os
import pickle
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from example_response import assert_same, response

import jaxspin as js
from jaxspin.engine import checkpoint as checkpoints, files
from jaxspin.responses import schema

NAMES = schema.ARRAYS, (*schema.TEXTS, files.HASH)


@pytest.fixture
def saved(tmp_path):
    """A result in a file."""
    path = tmp_path / "sigma.nc"
    response().save(path)
    return path


def edit(path: Path, change, *, sign: bool = True) -> Path:
    """Change a file as another program would; `sign` it with the hash of what is then in it."""
    with h5py.File(path, "a") as file:
        change(file)
    if sign:
        try:
            contents = files.read_netcdf(path, *NAMES)
        except files.UnusableFile:
            return path  # refused whatever the hash
        del contents.texts[files.HASH]
        with h5py.File(path, "a") as file:
            file.attrs[files.HASH] = files.content_hash(contents)
    return path


def put(name: str, data, dims=None, **options):
    """A change: another variable in the place of one."""

    def change(file):
        dims_of = dims or [d[0].name if len(d) else None for d in file[name].dims]
        del file[name]
        variable = file.create_dataset(name, data=data, **options)
        for i, scale in enumerate(dims_of[: variable.ndim]):
            if scale is not None:
                variable.dims[i].attach_scale(file[scale])

    return change


def text(name: str, value):
    return lambda file: file.attrs.__setitem__(name, value)


def external(file):
    """The bytes of another file as numbers: a conductance, once."""
    other = Path(file.filename).with_name("secret.bin")
    other.write_bytes(np.arange(162.0).tobytes())
    put("value", None, shape=(2, 3, 3, 3, 3), dtype="f8", external=str(other))(file)


def external_link(file):
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as target:
        target["value"] = np.ones((2, 3, 3, 3, 3))
    del file["value"]
    file["value"] = h5py.ExternalLink(other.name, "/value")


def virtual(file):
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as target:
        target["value"] = np.ones((2, 3, 3, 3, 3))
    layout = h5py.VirtualLayout((2, 3, 3, 3, 3), "f8")
    layout[:] = h5py.VirtualSource(str(other), "value", (2, 3, 3, 3, 3))
    del file["value"]
    file.create_virtual_dataset("value", layout)


def soft_link(file):
    file.move("value", "elsewhere")
    file["value"] = h5py.SoftLink("/elsewhere")


def group(file):
    del file["value"]
    file.create_group("value")


def remove(*names):
    def change(file):
        for name in names:
            del (file if name in file else file.attrs)[name]

    return change


VALUE = np.arange(162.0).reshape(2, 3, 3, 3, 3)
SCALES = ("temperature", "mu", "flow", "field", "spin")
FORGED = {
    "axes that do not fit": (text("axes", '["temperature", "mu", "flow"]'), "has the axes"),
    "swapped components": (
        text("axes", '["temperature", "mu", "field", "flow", "spin"]'),
        r"has the axes .* of `value` where \('temperature', 'mu', 'field', 'flow'",
    ),
    "swapped levels": (
        text("axes", '["mu", "temperature", "flow", "field", "spin"]'),
        "in another order",
    ),
    "an axis twice": (text("axes", '["mu", "mu"]'), "twice the same"),
    "an unknown axis": (text("axes", '["mu", "colour"]'), "where known ones are temperature, mu"),
    "axes of numbers": (text("axes", "[1, 2]"), "where known ones are"),
    "axes of lists": (text("axes", '[["mu"]]'), "where known ones are"),
    "no axes": (text("axes", "null"), "where known ones are"),
    "no JSON": (text("axes", "mu, flow"), "no JSON in `axes`"),
    "JSON without end": (text("info", "[" * 100_000), "no JSON in `info`"),
    "units 5": (text("units", 5), "no text in `units`, but"),
    "unknown units": (text("units", "furlong"), "unknown units 'furlong'"),
    "units as the figures have them": (text("units", "(ħ/e) S/cm"), "unknown units"),
    "units of bytes": (text("units", np.bytes_(b"S/m")), "no text in `units`"),
    "no units": (remove("units"), "has no text `units`"),
    "no value": (remove("value"), "has no variable `value`"),
    "no hash": (remove(files.HASH), "has no text `sha256`"),
    "of another program": (text("created_by", "somebody"), "was created by 'somebody'"),
    "value of another shape": (put("value", VALUE[:, :2], SCALES), "has 2 elements .* along mu"),
    "value of fewer axes": (put("value", VALUE[0], SCALES[1:]), "has the axes"),
    "error of another shape": (put("error", VALUE[:, :, :2], SCALES), "error of another shape"),
    "error of another type": (put("error", VALUE.astype(complex), SCALES), "real numbers"),
    "complex value": (put("value", VALUE.astype(complex), SCALES), "real numbers in `value`"),
    "value of whole numbers": (put("value", VALUE.astype(int), SCALES), "must have real numbers"),
    "value of texts": (put("value", np.full((2, 3, 3, 3, 3), b"x"), SCALES), "real numbers"),
    "no numbers": (put("value", h5py.Empty("f8"), [None]), "no netCDF|in chunks"),
    "compressed": (put("value", VALUE, SCALES, compression="gzip"), "chunks or compressed"),
    "enormous": (
        put("value", None, SCALES, shape=(2, 3, 3, 3, 3 * 10**9), dtype="f8"),
        "too short",
    ),
    "no dimensions": (put("value", VALUE, [None] * 5), "has the axes"),
    "negative error": (put("error", -VALUE, SCALES), "negative errors"),
    "mu not finite": (put("mu_all", np.array([0, np.nan, 1])), "has no levels: .*`mu`"),
    "too many mu": (put("mu_all", np.zeros(4), [None]), "3 elements of `value` along mu"),
    "mu of two axes": (put("mu_all", np.zeros((3, 1)), ["any_mu", None]), "no levels: .*`mu`"),
    "negative temperature": (put("temperature_all", np.array([-1.0, 1])), "`temperature`"),
    "one temperature": (text("temperature_is_scalar", "true"), "one for a single number"),
    "what of temperatures": (text("temperature_is_scalar", "3"), "one for a single number"),
    "other mu for xarray": (put("mu", np.array([0.0, 1, 2]), []), "other numbers in .* mu than"),
    "info of texts": (text("info", '{"a": "x"}'), "no number in `info` for 'a'"),
    "info of ragged lists": (text("info", '{"a": [[1], [1, 2]]}'), "no number in `info`"),
    "info a list": (text("info", "[1]"), "no table of numbers in `info`"),
    "external storage": (external, "numbers of `value` in another file"),
    "external link": (external_link, "link to another place in `value`"),
    "virtual": (virtual, "numbers of `value` in another file"),
    "soft link": (soft_link, "link to another place in `value`"),
    "group": (group, "a group `value`"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_result_is_refused(saved, name):
    """Also with the right hash: the parts must make a response."""
    change, problem = FORGED[name]
    edit(saved, change, sign=name != "no hash")
    with pytest.raises(ValueError, match=problem) as caught:
        js.load(saved)
    assert str(caught.value).startswith("Argument `path` must be a file saved by jaxspin")
    assert str(saved) in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file["value"].__setitem__((0, 0, 0, 0, 0), 1.0),
        lambda file: file["error"].__setitem__(..., 0.0),
        lambda file: file["mu_all"].__setitem__(..., file["mu"].__setitem__(..., 1.0) or 1.0),
        text("units", "hbar/e S/cm"),
        text("formula", "σ = 0"),
        text("info", "{}"),
        put("value", np.swapaxes(VALUE, 2, 3), SCALES),
    ],
)
def test_a_changed_result_is_refused(saved, change):
    edit(saved, change, sign=False)
    with pytest.raises(ValueError, match="the hash of its contents differs"):
        js.load(saved)


def test_texts_of_others_beside_ours_do_not_matter(saved):
    """A history, as tools for netCDF write one; and a copy by xarray is the same result."""
    edit(saved, text("history", "seen " * 1000), sign=False)
    assert_same(js.load(saved), response())
    with xarray.open_dataset(saved, engine="h5netcdf") as dataset:
        dataset.to_netcdf(saved.with_name("copy.nc"), engine="h5netcdf")
    assert_same(js.load(saved.with_name("copy.nc")), response())


def archive_bytes(**entries) -> bytes:
    file = io.BytesIO()
    np.savez(file, **entries)
    return file.getvalue()


def hdf5_bytes() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as target:
        target["value"] = np.ones(3)
    return file.getvalue()


FOREIGN = {
    "empty": b"",
    "text": b"mu [eV],value\n0,1\n",
    "noise": np.random.default_rng(0).bytes(5000),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "pickle": pickle.dumps({"value": 1.0}),
    "archive": archive_bytes(value=np.ones(3)),
    "array": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }",
    "HDF5": hdf5_bytes(),
    "magic alone": b"\x89HDF\r\n\x1a\n",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("read", ["load", "checkpoint"])
def test_a_foreign_file_is_refused(tmp_path, name, read):
    path = tmp_path / "other.nc"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(ValueError, match=r"^Argument `(path|checkpoint)` must be") as caught:
        js.load(path) if read == "load" else run(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("missing.nc", "missing.nc does not exist"),
        ("missing/sigma.nc", "missing/sigma.nc does not exist"),
        (".", "is a folder"),
        (os.devnull, "is no regular file"),
        ("", "must be the path of a file, but is ''"),
        (None, "must be the path of a file, but is None"),
        (3, "must be the path of a file, but is 3"),
    ],
)
def test_no_file(tmp_path, monkeypatch, unchecked_annotations, path, problem):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=problem):
        js.load(path)


# --- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.csv", "out", "out.npz", "out.txt", "out.nc.gz"])
def test_save_refuses_another_ending(tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in .nc, .* but is .*to_dataframe\('value'\)"):
        response().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.nc", "out.NC", "out.nc4", "out.h5", "out.hdf5"])
def test_save_takes_endings_of_netcdf(tmp_path, name):
    response().save(tmp_path / name)
    assert_same(js.load(tmp_path / name), response())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_advice_for_csv_holds(tmp_path):
    one = response(("temperature", "mu"))
    one.to_xarray().to_dataframe("value").to_csv(tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "temperature,mu,error,value"
    assert lines[1] == "10.0,-0.1,0.0,0.0"
    assert len(lines) == 7


def test_save_does_not_overwrite(saved):
    before = saved.read_bytes()
    with pytest.raises(ValueError, match=r"must be a new file, but .* exists.*overwrite=True"):
        response(value=2 * response().value).save(saved)
    assert saved.read_bytes() == before
    response(value=2 * response().value).save(saved, overwrite=True)
    np.testing.assert_array_equal(js.load(saved).value, 2 * response().value)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("missing/out.nc", "must be in an existing folder, but is 'missing/out.nc'"),
        ("folder.nc", "must be a file, but 'folder.nc' is a folder"),
        ("", "must be the path of a file"),
        (None, "must be the path of a file"),
    ],
)
def test_save_refuses_a_bad_path(tmp_path, monkeypatch, unchecked_annotations, path, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.nc").mkdir()
    with pytest.raises(ValueError, match=problem):
        response().save(path, overwrite=True)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"units": "furlong"}, "unknown units 'furlong'"),
        ({"error": jnp.zeros(3)}, "has the axes"),
        ({"axes": ("mu", "temperature", "flow", "field", "spin")}, "in another order"),
        ({"info": {"note": "text"}}, "no number in `info`"),
        ({"value": jnp.zeros((2, 3, 3))}, "must have the axes .* but this one has shape"),
    ],
)
def test_an_inconsistent_response_is_not_saved(tmp_path, unchecked_annotations, changes, problem):
    with pytest.raises(ValueError, match=problem):
        response().replace(**changes).save(tmp_path / "out.nc")
    assert not list(tmp_path.iterdir())


def test_many_responses_are_not_saved_as_one(tmp_path):
    many = jax.vmap(lambda factor: response(value=factor * response().value))(jnp.ones(2))
    with pytest.raises(ValueError, match=r"jax.tree.map\(lambda leaf: leaf\[0\], many\)"):
        many.save(tmp_path / "out.nc")
    one = jax.tree.map(lambda leaf: leaf[0], many)
    one.save(tmp_path / "out.nc")
    assert_same(js.load(tmp_path / "out.nc"), one)


def test_nothing_is_saved_inside_jit(tmp_path):
    def save(r):
        r.save(tmp_path / "out.nc")
        return r.value

    with pytest.raises(ValueError, match="inside jit"):
        jax.jit(save)(response())


# --- damage ---------------------------------------------------------------------------------------


def mutants(data: bytes, number: int, seed: int):
    """Files with a part cut off, changed, moved or replaced by noise."""
    random = np.random.default_rng(seed)
    for _ in range(number):
        mutant, place = bytearray(data), random.integers(len(data))
        size = random.integers(1, 64)
        match random.integers(5):
            case 0:
                del mutant[place:]
            case 1:
                mutant[place] ^= 1 << random.integers(8)
            case 2:
                mutant[place : place + size] = random.bytes(random.integers(1, 64))
            case 3:
                start = random.integers(len(data))
                mutant[place : place + size] = data[start : start + size]
            case 4:
                mutant[place] = random.choice([0, 255])
        yield bytes(mutant)


def test_damaged_results(saved):
    """One that is read holds what was written."""
    whole = saved.read_bytes()
    refused = whole_ones = 0
    for mutant in mutants(whole, 300, seed=1):
        saved.write_bytes(mutant)
        try:
            assert_same(js.load(saved), response())
        except ValueError as error:
            refused += str(saved) in str(error)
        else:
            whole_ones += 1
    assert refused + whole_ones == 300
    assert refused > 200


# --- checkpoints ----------------------------------------------------------------------------------

START = (np.zeros(()), np.zeros((3, 2)), np.zeros((0, 4)))
SUMS = (np.asarray(1.5), np.arange(6.0).reshape(3, 2), np.ones((7, 4)))
ABOUT = {"quantity": "an integral", "levels.mu": "0.1"}


def run(path: Path):
    """The run that a checkpoint is of, with what it resumes from."""
    return checkpoints.PartialSums(js.Checkpoint(path, seconds=0), lambda: dict(ABOUT))


@pytest.fixture
def kept(tmp_path):
    """A checkpoint after three segments."""
    path = tmp_path / "sums.npz"
    run(path).keep("mesh", 3, SUMS, now=True)
    return path


def forge(path: Path, sign=True, **changes) -> None:
    """Another entry, or none, with the hash of what is then there."""
    contents = files.read_archive(path)
    arrays, texts = dict(contents.arrays), dict(contents.texts)
    for name, value in changes.items():
        place = texts if isinstance(value, str) or name in texts else arrays
        place.pop(name, None)
        if value is not None:
            place[name] = value
    if sign:
        texts.pop(files.HASH, None)
        files.write_archive(path, files.Contents(arrays, texts))
    else:
        np.savez(path, **{name: np.asarray(text) for name, text in texts.items()}, **arrays)


def test_a_checkpoint_is_read(kept):
    done, sums = run(kept).resume("mesh", START)
    assert done == 3
    for a, b in zip(sums, SUMS, strict=True):
        np.testing.assert_array_equal(a, b)
    assert run(kept).resume("coarser", START) == (0, START)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mesh.0": np.zeros(2)}, r"float64 of shape \(2,\) in `mesh.0`, not .* of shape \(\)"),
        ({"mesh.1": np.zeros((2, 3))}, "in `mesh.1`"),
        ({"mesh.1": np.zeros((3, 2), complex)}, "complex128 of shape"),
        ({"mesh.1": np.zeros((3, 2), "f4")}, "float32 of shape"),
        ({"mesh.2": np.zeros((7, 5))}, "in `mesh.2`"),
        ({"mesh.2": np.asarray(1.0)}, "in `mesh.2`"),
        ({"mesh.1": None}, "has no entry `mesh.1`"),
        ({"mesh.done": np.asarray(-1)}, "no number of parts done"),
        ({"mesh.done": np.asarray(1.5)}, "no number of parts done"),
        ({"mesh.done": np.ones(3, int)}, "no number of parts done"),
        ({"mesh.0": np.asarray(b"x")}, "must have numbers in `mesh.0`"),
        ({"mesh.0": np.zeros(2, "f8,f8")}, "must have numbers in `mesh.0`"),
        ({"about": "3"}, "does not say of which run"),
        ({"about": '{"quantity": 3}'}, "does not say of which run"),
        ({"about": "[" * 100_000}, "no JSON in `about`"),
        ({"about": None}, "no JSON in `about`"),
    ],
)
def test_a_forged_checkpoint_is_refused(kept, changes, problem):
    forge(kept, **changes)
    with pytest.raises(ValueError, match=problem) as caught:
        run(kept).resume("mesh", START)
    assert str(caught.value).startswith("Argument `checkpoint` must be a checkpoint of jaxspin")
    assert str(kept) in str(caught.value)


def test_a_changed_checkpoint_is_refused(kept):
    forge(kept, sign=False, **{"mesh.0": np.asarray(2.5)})
    with pytest.raises(ValueError, match="the hash of its contents differs"):
        run(kept)


def test_a_checkpoint_without_hash_is_refused(kept):
    """As the format 1 had none."""
    forge(kept, sign=False, **{files.HASH: None})
    with pytest.raises(ValueError, match="has no hash of its contents"):
        run(kept)


def test_no_objects_and_no_compression(kept):
    np.savez(kept, about=json.dumps(ABOUT), **{"mesh.0": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="numbers and texts"):
        run(kept)
    np.savez_compressed(kept, about=json.dumps(ABOUT), zeros=np.zeros(10**6))
    with pytest.raises(ValueError, match="is compressed"):
        run(kept)


def test_damaged_checkpoints(kept):
    whole = kept.read_bytes()
    refused = whole_ones = 0
    for mutant in mutants(whole, 300, seed=2):
        kept.write_bytes(mutant)
        try:
            done, sums = run(kept).resume("mesh", START)
        except ValueError as error:
            refused += str(kept) in str(error)
        else:
            whole_ones += 1
            assert done in (0, 3)
            assert not done or all(map(np.array_equal, sums, SUMS))
    assert refused + whole_ones == 300
    assert refused > 200


def test_the_hash_is_of_all_that_counts():
    """And of nothing else: neither the order of entries nor that of bytes."""
    contents = files.Contents({"a": np.arange(3.0), "b": np.ones(2)}, {"t": "x"}, {"a": ("mu",)})
    same = files.Contents(
        {"b": np.ones(2), "a": np.arange(3.0).astype(">f8")}, {"t": "x"}, contents.axes
    )
    assert files.content_hash(contents) == files.content_hash(same)
    others = [
        contents._replace(texts={"t": "y"}),
        contents._replace(texts={"tx": ""}),
        contents._replace(axes={"a": ("flow",)}),
        contents._replace(arrays={"a": np.arange(3.0).reshape(3, 1), "b": np.ones(2)}),
        contents._replace(arrays={"a": np.arange(3.0, dtype="f4"), "b": np.ones(2)}),
        contents._replace(arrays={"a": np.arange(3.0), "c": np.ones(2)}),
        contents._replace(arrays={"a": np.arange(3.0)}),
    ]
    hashes = {files.content_hash(other) for other in [contents, *others]}
    assert len(hashes) == 1 + len(others)
