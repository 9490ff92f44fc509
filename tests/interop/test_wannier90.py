"""Wannier90 files in and out: every way of reading on files made here, and platinum where it is."""

import os
import struct
import warnings
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from wannier_files import PATH, at, files, in_block_order, moved, random_crystal

from jaxspin.interop.wannier90 import examine, read, write
from jaxspin.interop.wannier90.assembly import RealSpaceOperator
from jaxspin.interop.wannier90.findings import Given
from jaxspin.interop.wannier90.seed import read_tables
from jaxspin.interop.wannier90.spin import order_measures, pure_spin
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.tight_binding import HoppingModel

K = np.array([0.13, 0.27, -0.41])  # reduced, on no mesh

CRYSTALS = {
    "plain": random_crystal(),
    "far": moved(random_crystal()),
    "disentangled": moved(random_crystal(extra=True)),
    "block": random_crystal(order="block"),
}
CRYSTALS["k-dependent spin"] = CRYSTALS["far"]._replace(
    spin={
        (0, 0, 0): 0.6 * pure_spin("interlaced", 4),
        (1, 0, 0): 0.2 * pure_spin("interlaced", 4),
        (-1, 0, 0): 0.2 * pure_spin("interlaced", 4),
    }
)
MADE = {name: files(crystal) for name, crystal in CRYSTALS.items()}
#: Ways to the same model: the files that are there.
WAYS = {
    "everything": (*MADE["plain"],),
    "_tb": ("_tb.dat", "_wsvec.dat"),
    "_hr and _r": ("_hr.dat", "_r.dat", "_wsvec.dat", ".win"),
    ".wout": ("_hr.dat", "_wsvec.dat", ".wout"),
    "_centres": ("_hr.dat", "_wsvec.dat", ".win", "_centres.xyz"),
    ".chk": ("_hr.dat", "_wsvec.dat", ".chk", ".eig", ".spn"),
    ".chk.fmt": ("_hr.dat", "_wsvec.dat", ".chk.fmt", ".eig", ".spn.fmt"),
    "mixed forms": ("_tb.dat", "_wsvec.dat", ".chk", ".spn.fmt"),
}


@pytest.fixture
def seed(tmp_path):
    """Writes some files, and gives their seedname."""

    def written(contents, *names, **change):
        contents = {name: contents[name] for name in names or contents} | change
        for name, data in contents.items():
            (tmp_path / f"s{name}").write_bytes(data)
        return tmp_path / "s"

    return written


def value(cells, blocks, k=K):
    return np.tensordot(np.exp(2j * np.pi * np.asarray(cells) @ k), blocks, axes=1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [name for name in CRYSTALS if name != "block"])
def test_operators_at_any_k_are_those_of_the_crystal(name, way, seed):
    """The mesh resolves the hops, so that weights and shifts give the crystal back exactly."""
    crystal = CRYSTALS[name]
    arrays, report = read_tables(
        seed(MADE[name], *WAYS[way]), Given("unknown" if way == "_hr and _r" else None)
    )
    np.testing.assert_allclose(value(arrays.cells, arrays.blocks), at(crystal.hamiltonian, K)[0])
    np.testing.assert_allclose(arrays.lattice, crystal.lattice, atol=1e-6)
    np.testing.assert_allclose(arrays.centres, crystal.centres, atol=1e-6)
    assert (arrays.position is None) == (not {"_tb.dat", "_r.dat"} & {*WAYS[way]})
    if arrays.position is not None:
        position = value(arrays.cells, arrays.position)
        np.testing.assert_allclose(position, at(crystal.position, K), atol=1e-12)
    if {".spn", ".spn.fmt"} & {*WAYS[way]}:
        np.testing.assert_allclose(
            value(arrays.cells, arrays.spin), at(crystal.spin, K), atol=1e-12
        )
    assert report.mesh == crystal.mesh
    assert report.points == pytest.approx(36)


def test_model_and_report(seed):
    name = seed(MADE["far"])
    model, report = examine(name)
    k = jnp.asarray(K) @ reciprocal_vectors(model.lattice)
    energies = np.linalg.eigvalsh(at(CRYSTALS["far"].hamiltonian, K)[0])
    np.testing.assert_allclose(np.linalg.eigvalsh(model(k)), energies, atol=1e-12)
    assert model.external_terms
    assert model.spin_operator.shape == (len(model.cells), 3, 4, 4)
    text = str(report)
    for part in (
        "s_wsvec.dat: shifts",
        "Wannier functions",
        "right-handed",
        "4 × 3 × 3; Σ 1/ndegen = 36",
        "s.spn and s.chk",
        "G–X, X–M",
        "5 k-points",
    ):
        assert part in text
    assert [point.label for piece in report.path for point in piece] == ["G", "X", "X", "M"]
    assert report.path[1][1].k == (0.5, 0.5, 0.0)
    assert report.mesh_mismatch < 1e-12
    assert report.square_deviation < 1e-12
    same = read(name)
    np.testing.assert_array_equal(same.blocks, model.blocks)


def test_bands_of_wannier90(seed):
    model, report = examine(seed(MADE["far"]))
    np.testing.assert_allclose(report.bands.k, PATH, atol=1e-6)
    for k, energies in zip(report.bands.k, report.bands.energies, strict=True):
        h = model(jnp.asarray(k) @ reciprocal_vectors(model.lattice))
        np.testing.assert_allclose(np.linalg.eigvalsh(h), energies, atol=1e-7)


@pytest.mark.parametrize("way", ["_tb", "_hr and _r", ".wout", "_centres"])
def test_checkpoint_of_another_run_is_refused(way, seed):
    """The same Wannier functions in another order."""
    other = {name: MADE["block"][name] for name in (".chk", ".spn")}
    name = seed(MADE["plain"], *WAYS[way], **other)
    message = r"centre of Wannier function \d modulo lattice vectors.* must be the same"
    with pytest.raises(ValueError, match=message) as raised:
        read_tables(name)
    stated = {"_tb": "_tb.dat", "_hr and _r": "_r.dat", "_centres": "_centres.xyz"}.get(way, way)
    assert str(raised.value).count(f" in {name}") == 2
    assert all(f"] in {name}{ending}" in str(raised.value) for ending in (stated, ".chk"))


def test_centres_of_the_checkpoint_in_other_cells_are_the_same(seed):
    crystal = CRYSTALS["plain"]
    for step, wrong in ((crystal.lattice[2], False), (np.array([0.02, 0, 0]), True)):
        chk = files(crystal._replace(centres=crystal.centres + step))[".chk"]
        name = seed(MADE["plain"], "_tb.dat", **{".chk": chk})
        if wrong:
            with pytest.raises(ValueError, match="centre of Wannier function"):
                read_tables(name)
        else:
            np.testing.assert_allclose(read_tables(name)[0].centres, crystal.centres, atol=1e-12)


@pytest.mark.parametrize("name", [".wout", ".chk"])
def test_moved_centres_are_refused_only_where_they_are_needed(name, seed):
    """In `.wout` and `.chk` they are where H(R) has them."""
    text = MADE["far"][".win"] + b"translate_home_cell = true\n"
    crystal = CRYSTALS["far"]
    moved_back = files(crystal._replace(centres=CRYSTALS["plain"].centres))["_centres.xyz"]
    contents = MADE["far"] | {".win": text, "_centres.xyz": moved_back}
    arrays, _ = read_tables(seed(contents, *HR, "_wsvec.dat", name), Given("unknown"))
    np.testing.assert_allclose(arrays.centres, crystal.centres, atol=1e-6)


def test_gauge_that_is_not_checked_is_noted(seed):
    _, report = read_tables(seed(MADE["plain"], "_tb.dat", ".chk", ".spn"))
    (note,) = report.notes
    assert "no s.eig: that the Wannier functions of s.chk are those of H(R) is not checked" in note
    _, report = read_tables(seed(MADE["plain"], "_tb.dat", ".chk", ".spn", ".eig"))
    assert report.notes == ()


def test_six_digits_are_enough_and_noted(seed):
    contents = files(CRYSTALS["far"], digits=6)
    arrays, report = read_tables(
        seed(contents, "_hr.dat", "_wsvec.dat", ".win", ".wout"), Given("unknown")
    )
    found = value(arrays.cells, arrays.blocks)
    np.testing.assert_allclose(found, at(CRYSTALS["far"].hamiltonian, K)[0], atol=1e-5)
    assert report.hermiticity < 1e-5


def test_missing_shifts_are_warned_of_where_they_matter(seed):
    with pytest.warns(UserWarning, match=r"no .*s_wsvec.dat, which this mesh needs.*use_ws_dist"):
        model = read(seed(MADE["far"], "_tb.dat"))
    k = jnp.asarray(K) @ reciprocal_vectors(model.lattice)
    energies = np.linalg.eigvalsh(at(CRYSTALS["far"].hamiltonian, K)[0])
    assert np.max(np.abs(np.linalg.eigvalsh(model(k)) - energies)) > 0.1


def zero_shifts(contents):
    """`_wsvec.dat` as Wannier90 writes it with `use_ws_distance = false`."""
    records = contents["_tb.dat"].split(b"\n\n")[1:38]
    text = b"## written by a test with use_ws_distance=.false.\n"
    for record in records:
        cell = record.split(b"\n")[0]
        for m in range(1, 5):
            for n in range(1, 5):
                text += cell + b"%5d%5d\n    1\n    0    0    0\n" % (m, n)
    return text


def test_shifts_by_zero_are_none(seed):
    plain, _ = read_tables(seed(MADE["far"], "_tb.dat"))
    name = seed(MADE["far"], "_tb.dat", **{"_wsvec.dat": zero_shifts(MADE["far"])})
    with pytest.warns(UserWarning, match=r"no shifts but zero in .*s_wsvec.dat, which this mesh n"):
        model = read(name)
    np.testing.assert_array_equal(model.blocks, plain.blocks)


def test_shifts_by_zero_are_not_warned_of_where_they_are_right(seed):
    name = seed(MADE["plain"], "_tb.dat", **{"_wsvec.dat": zero_shifts(MADE["plain"])})
    assert read_tables(name)[1].warnings == ()


@pytest.mark.parametrize("reader", [read, examine])
def test_warnings_point_at_the_caller(reader, seed, unchecked_annotations):
    with pytest.warns(UserWarning, match="which this mesh needs") as caught:
        reader(seed(MADE["far"], "_tb.dat"))
    assert [warning.filename for warning in caught] == [__file__]


def test_missing_shifts_are_not_warned_of_where_they_do_not_matter(seed):
    _, report = read_tables(seed(MADE["plain"], "_tb.dat"))
    assert report.warnings == ()
    assert report.mesh == (4, 3, 3)  # from the weights


def test_spaces_of_fortran_and_of_windows(seed):
    """CRLF line ends, D exponents, and exponents of three digits without their letter."""
    text = MADE["plain"]["_tb.dat"].replace(b"\n", b"\r\n").replace(b"E+00", b"D+00")
    text = text.replace(b"E-18", b"-180", 1)
    plain, _ = read_tables(seed(MADE["plain"], "_tb.dat"))
    other, _ = read_tables(seed(MADE["plain"], "_tb.dat", **{"_tb.dat": text}))
    np.testing.assert_allclose(other.blocks, plain.blocks, atol=1e-15)


def test_files_are_read_in_pieces(seed, monkeypatch):
    name = seed(MADE["far"], "_tb.dat", "_wsvec.dat")
    whole, _ = read_tables(name)
    monkeypatch.setattr("jaxspin.interop.wannier90.text._PIECE", 25)
    pieces, _ = read_tables(name)
    np.testing.assert_array_equal(pieces.blocks, whole.blocks)
    np.testing.assert_array_equal(pieces.position, whole.position)


def in_parts(data, size=64):
    """Fortran's form of records beyond 2 GB: parts, marked by negative lengths."""
    out, start = b"", 0
    while start < len(data):
        (length,) = struct.unpack("<i", data[start : start + 4])
        record, start = data[start + 4 : start + 4 + length], start + 8 + length
        parts = [record[i : i + size] for i in range(0, length, size)] or [b""]
        for i, part in enumerate(parts):
            front = -len(part) if i + 1 < len(parts) else len(part)
            behind = -len(part) if i else len(part)
            out += struct.pack("<i", front) + part + struct.pack("<i", behind)
    return out


def test_records_in_parts(seed):
    contents = MADE["disentangled"]
    whole, _ = read_tables(seed(contents))
    parts = {name: in_parts(contents[name]) for name in (".chk", ".spn")}
    again, _ = read_tables(seed(contents, **parts))
    np.testing.assert_array_equal(again.spin, whole.spin)


def test_progress_bar_only_when_asked(seed, capsys):
    name = seed(MADE["plain"], "_tb.dat")
    read(name)
    assert capsys.readouterr().err == ""
    read(name, progress=True)
    assert capsys.readouterr().err


# The spin operator without .spn.

NO_SPN = ("_hr.dat", "_wsvec.dat", ".win", ".wout")


@pytest.mark.parametrize(("name", "order"), [("plain", "interlaced"), ("block", "block")])
def test_order_of_spins_is_found(name, order, seed):
    model, report = examine(seed(MADE[name], *NO_SPN))
    np.testing.assert_array_equal(model.spin(), pure_spin(order, 4))
    assert report.spin == f"σ on each orbital, order {order} (detected)"


def test_order_is_found_in_a_magnet(seed):
    crystal = CRYSTALS["block"]
    h = dict(crystal.hamiltonian)
    h[0, 0, 0] = h[0, 0, 0] + 0.2 * pure_spin("block", 4)[2]
    crystal = crystal._replace(hamiltonian=h)
    _, report = read_tables(seed(files(crystal), *NO_SPN))
    assert "order block" in report.spin


def test_partners_at_slightly_different_places(seed):
    crystal = CRYSTALS["plain"]
    crystal = crystal._replace(centres=crystal.centres + np.diag([0.01, 0, 0, 0])[:, :3])
    model, _ = examine(seed(files(crystal), *NO_SPN))
    assert model.spin_operator.shape == (len(model.cells), 3, 4, 4)
    home = model.cells.index((0, 0, 0))
    np.testing.assert_array_equal(model.spin_operator[home], pure_spin("interlaced", 4))
    assert np.count_nonzero(model.spin_operator) == 12


def test_given_order_wins(seed):
    name = seed(MADE["plain"])
    _, report = read_tables(name, Given("interlaced"))
    assert "given" in report.spin
    assert any("s.spn is not used" in note for note in report.notes)
    with pytest.warns(UserWarning, match="two spins of an orbital are unlike"):
        examine(name, spin_order="block")


def test_unknown_order_is_a_model_without_spin(seed):
    model = read(seed(MADE["plain"]), spin_order="unknown")
    with pytest.raises(ValueError, match="no spin operator"):
        model.spin()


def test_spn_without_chk_is_warned_of(seed):
    message = (
        "s.spn is not used, for there is no s.chk; the spin operator is σ .*interlaced .detect"
    )
    with pytest.warns(UserWarning, match=message):
        model, report = examine(seed(MADE["plain"], *NO_SPN, ".spn"))
    np.testing.assert_array_equal(model.spin(), pure_spin("interlaced", 4))
    assert report.notes == ()


def test_spn_without_chk_and_spinors_is_warned_of(seed):
    with pytest.warns(UserWarning, match="s.spn is not used.*the spin operator is none: charge"):
        assert read(seed(MADE["plain"], "_tb.dat", ".spn")).spin_operator is None


def test_unclear_order_is_refused(seed):
    """Orbitals that are no pairs."""
    crystal = CRYSTALS["plain"]
    h = dict(crystal.hamiltonian)
    h[0, 0, 0] = h[0, 0, 0] + np.diag([3, -7, 20, -40])
    contents = files(crystal._replace(hamiltonian=h))
    with pytest.raises(ValueError, match=r"`spin_order` must be 'interlaced'.*\.spn file.*is None"):
        read_tables(seed(contents, *NO_SPN))


def test_order_against_the_places_is_refused(seed):
    """Four like orbitals: H fits both orders."""
    crystal = CRYSTALS["plain"]
    h = {cell: np.eye(4)[None] + 0j for cell in ((0, 0, 0), (1, 0, 0), (-1, 0, 0))}
    contents = files(crystal._replace(hamiltonian=h, centres=np.zeros((4, 3))))
    with pytest.raises(ValueError, match="whose order is not clear"):
        read_tables(seed(contents, *NO_SPN))


def test_odd_number_has_no_order(seed):
    contents = odd()
    for order in (None, "block"):
        with pytest.raises(ValueError, match=r"must be 'unknown'.*3 Wannier functions, an odd"):
            read_tables(seed(contents, "_hr.dat", ".win", ".wout"), Given(order))


def odd():
    crystal = CRYSTALS["plain"]
    cut = {
        name: {cell: x[:, :3, :3] for cell, x in getattr(crystal, name).items()}
        for name in ("hamiltonian", "position", "spin")
    }
    return files(crystal._replace(centres=crystal.centres[:3], **cut))


def test_incomplete_spin_is_warned_of(seed):
    with pytest.warns(UserWarning, match=r"\|S\^2 - 1\| up to 0.96"):
        read(seed(MADE["k-dependent spin"]))


def test_block_order_of_the_files_of_the_tests():
    np.testing.assert_array_equal(
        in_block_order(CRYSTALS["plain"]).spin[0, 0, 0], pure_spin("block", 4)
    )


# What is refused. A change of one file, and the message.


def replaced(old, new, count=1):
    old, new = (x if isinstance(x, bytes) else x.encode() for x in (old, new))

    def change(data):
        assert old in data
        return data.replace(old, new, count)

    return change


def line(number, new):
    """Another line, numbered from 1; None to leave it out."""

    def change(data):
        lines = data.split(b"\n")
        lines[number - 1 : number] = [] if new is None else [new.encode()]
        return b"\n".join(lines)

    return change


def word(number, position, new):
    """Another word on a line."""

    def change(data):
        lines = data.split(b"\n")
        words = lines[number - 1].split()
        words[position] = new.encode()
        lines[number - 1] = b"   ".join(words)
        return b"\n".join(lines)

    return change


def cut(size):
    return lambda data: data[:size]


HR = ("_hr.dat", ".win", "_centres.xyz")
TB = ("_tb.dat",)
R = ("_hr.dat", "_r.dat", ".win")
WS = ("_tb.dat", "_wsvec.dat")
WOUT = ("_hr.dat", ".wout")
KPT = ("_tb.dat", "_band.dat", "_band.kpt")
EIG = ("_tb.dat", ".chk", ".eig")
CHK = ("_tb.dat", ".chk")
FMT = ("_tb.dat", ".chk.fmt")
SPN = ("_tb.dat", ".chk", ".spn.fmt")
HEAD = 6  # last line before H in `_hr.dat`: a comment, two counts, three lines of 37 weights
#: By name: the files that are there, the one that is changed, the change, the message.
REFUSED = {
    "tb ends in the lattice": (TB, "_tb.dat", cut(40), "line 2: must be a lattice vector"),
    "tb ends in H": (
        TB,
        "_tb.dat",
        cut(3000),
        "must hold 592 lines of 12 numbers for num_wann = 4",
    ),
    "tb ends in r": (TB, "_tb.dat", cut(80000), "must be 2 integers and 6 numbers, but is"),
    "tb without the end": (TB, "_tb.dat", lambda x: x[:-2], "ends with a line end"),
    "tb empty": (TB, "_tb.dat", cut(0), "line 1: must be a comment, but is the end of the file"),
    "tb longer": (TB, "_tb.dat", lambda x: x + b"1 2\n", "must be the end of the file, but is '1"),
    "overflow": (TB, "_tb.dat", word(12, 2, "********"), r"line 12: must be 2 integers.*\*\*\*\*"),
    "merged": (TB, "_tb.dat", word(12, 2, "0.5-1.5"), "line 12: must be .* '1 1 0.5-1.5"),
    "not a number": (TB, "_tb.dat", word(13, 2, "NaN"), "line 13: .*NaN"),
    "infinite": (TB, "_tb.dat", word(13, 2, "1e300"), "line 13: must be numbers below 1e.06"),
    "wrong m": (TB, "_tb.dat", word(13, 0, "1"), "line 13: must be each m and n.* is m, n = 1, 1"),
    "swapped order": (
        TB,
        "_tb.dat",
        word(13, 1, "2"),
        "line 17: must be each m and n.* is m, n = 2, 2",
    ),
    "num_wann": (TB, "_tb.dat", line(5, "5"), "must be"),
    "num_wann 0": (TB, "_tb.dat", line(5, "0"), "line 5: must be num_wann, at least 1, but is 0"),
    "huge": (TB, "_tb.dat", line(5, "99999999"), "must hold .* lines of 12 numbers for num_wann"),
    "huge nrpts": (TB, "_tb.dat", line(6, "999999999"), "must hold .* nrpts = 999999999"),
    "nrpts": (TB, "_tb.dat", line(6, "36"), r"list of cells with \(2, 0, 0\), but is one with"),
    "nrpts and ndegen": (TB, "_tb.dat", line(6, "60"), "line 12: must be ndegen, 60 integers, of"),
    "nrpts 0": (TB, "_tb.dat", line(6, "0"), "line 6: must be nrpts, at least 1"),
    "ndegen 0": (TB, "_tb.dat", word(7, 0, "0"), "integers of at least 1, but is 0"),
    "ndegen": (TB, "_tb.dat", word(7, 0, "3"), "whole number Sum 1/ndegen of mesh points"),
    "no volume": (TB, "_tb.dat", line(3, "0 0 0"), "must be a lattice that spans a volume"),
    "cell with words": (TB, "_tb.dat", line(11, "1 0 x"), "line 11: must be a cell R, three int"),
    "hr pair": (HR, "_hr.dat", word(HEAD + 1, 5, "9.0"), r"within 0.001 eV, but is off by"),
    "hr cell": (
        HR,
        "_hr.dat",
        word(HEAD + 2, 0, "7"),
        f"line {HEAD + 2}: must be an element of one of 37 cells R, but is R = .7, ",
    ),
    "hr half integer": (HR, "_hr.dat", word(HEAD + 2, 0, "0.5"), f"line {HEAD + 2}: must be R,"),
    "hr mesh": (
        HR,
        ".win",
        replaced("mp_grid 4", "mp_grid 5"),
        "Sum 1/ndegen = 45.* is one with .*36",
    ),
    "hr other mesh": (HR, ".win", replaced("4 3 3", "3 4 3"), r"represent the mesh \(3, 4, 3\)"),
    "hr without lattice": (HR, ".win", lambda x: b"", "must come with a file that has the lattice"),
    "hr size": (
        HR,
        ".win",
        replaced("num_wann = 4", "num_wann = 6"),
        "6 Wannier functions, as .win",
    ),
    "r size": (R, "_r.dat", line(2, "5"), "num_wann = 4 as in the _hr"),
    "r cell": (
        R,
        "_r.dat",
        lambda x: b"\n".join([*x.split(b"\n")[:3], *x.split(b"\n")[19:]]),
        r"s_r.dat, line 19: must be the cell .* as in the _hr.dat file",
    ),
    "wsvec order": (
        WS,
        "_wsvec.dat",
        replaced("    1    1\n", "    1    2\n"),
        "s_wsvec.dat, line 2: must be R, m, n = .* but is",
    ),
    "wsvec number": (
        WS,
        "_wsvec.dat",
        line(3, "7"),
        "line 3: must be the nu",
    ),
    "wsvec short": (WS, "_wsvec.dat", cut(2000), "s_wsvec.dat"),
    "wsvec empty": (WS, "_wsvec.dat", cut(0), "line 1: must be a comment"),
    "wsvec long": (
        WS,
        "_wsvec.dat",
        lambda x: x + b"\n".join(x.split(b"\n")[1:]),
        "must be the end of the file after the last cell",
    ),
    "wsvec word": (
        WS,
        "_wsvec.dat",
        word(4, 0, "x"),
        "line 4: must be integ",
    ),
    "wsvec not a supercell": (
        WS,
        "_wsvec.dat",
        lambda x: x.replace(b"\n    1\n    0    0    0\n", b"\n    1\n    0    0    1\n", 1),
        r"s_wsvec.dat: must be shifts by multiples of the mesh \(4, 3, 3\), but is \(0, 0, 1\)",
    ),
    "win block": (
        HR,
        ".win",
        replaced("end projections", ""),
        "must be end projections, but is beg",
    ),
    "win end": (HR, ".win", replaced("end kpoint_path", ""), "a file with 'end kpoint_path'"),
    "win other end": (
        HR,
        ".win",
        replaced("end proj", "end pro_j"),
        "line 7: must be end projections",
    ),
    "win twice": (HR, ".win", lambda x: x + b"num_wann 4\n", "the only line with 'num_wann'"),
    "win block twice": (HR, ".win", lambda x: x + b"begin projections\n", "with 'projections'"),
    "win unit": (
        HR,
        ".win",
        replaced("bohr", "feet"),
        "must be the unit ang or bohr, but is 'feet'",
    ),
    "wsvec twice": (
        WS,
        "_wsvec.dat",
        lambda x: x.replace(b"    2\n    0    0    0\n", b"    2\n    4    0    0\n", 1),
        "different shifts of an element, but is twice one at|shifts",
    ),
    "win rows": (
        HR,
        ".win",
        replaced("bohr\n", "bohr\n1 2 3\n"),
        "three lines in the block unit_c",
    ),
    "win number": (HR, ".win", replaced("bohr\n", "bohr\nx "), "must be three numbers, but is"),
    "win path": (HR, ".win", replaced("X 5.0d-1 0 0", "X 0"), "two labels with three numbers each"),
    "win spinors": (
        HR,
        ".win",
        replaced(".TRUE.", "maybe"),
        "spinors = true or false, but is 'may",
    ),
    "win mesh": (
        HR,
        ".win",
        replaced("4 3 3", "4 3"),
        "mp_grid = 3 positive integers, but is '4 3'",
    ),
    "centres count": (HR, "_centres.xyz", line(1, "3"), "at least num_wann = 4, but is 3"),
    "centres moved": (
        HR,
        ".win",
        lambda x: x + b"translate_home_cell = .true.\n",
        r"xyz: must be of a run without `translate_home_cell = true` in .*keep s.wout or s.chk",
    ),
    "centres line": (HR, "_centres.xyz", line(4, "Pt 0 0 0"), "line 4: must be a Wannier centre"),
    "no centres": (("_hr.dat", ".win"), ".win", lambda x: x, "has the Wannier centres: .*_r.dat"),
    "wout vector": (
        WOUT,
        ".wout",
        line(3, ""),
        "line 3: must be the lattice vector a_2",
    ),
    "wout star": (
        WOUT,
        ".wout",
        lambda x: x[: x.rindex(b"WF")] + b"WF centre and spread 4 ( ****, 1.0, 1.0 ) 1.5\n",
        "must be centre and spread of Wannier function 4",
    ),
    "wout end": (
        WOUT,
        ".wout",
        lambda x: x[: x.rindex(b"  WF")],
        "Wannier function 4",
    ),
    "lattices": (
        ("_tb.dat", ".win"),
        ".win",
        replaced("bohr", "ang"),
        r"The lattice must be the same in all files, but is .* in .*s_tb.dat and .* in .*s.win",
    ),
    "meshes": (
        ("_tb.dat", ".win", ".chk"),
        ".win",
        replaced("4 3 3", "4 9 1"),
        r"The mesh must be the same in all files, but is \(4, 9, 1\) in",
    ),
    "bands": (
        KPT,
        "_band.dat",
        line(6, "0.1 2"),
        "a blank line aft",
    ),
    "bands count": (KPT, "_band.kpt", line(1, "0"), "at least 1"),
    "bands points": (
        KPT,
        "_band.kpt",
        line(1, "4"),
        "the end of the",
    ),
    "eig order": (
        EIG,
        ".eig",
        word(2, 0, "3"),
        "must be band 2 at k-point 1",
    ),
    "eig value": (
        EIG,
        ".eig",
        word(2, 2, "3.0"),
        "same H.k. within .* off by",
    ),
    "eig short": (EIG, ".eig", cut(100), "s.eig: must hold 144 lines"),
    "chk marker": (
        CHK,
        ".chk",
        lambda x: b"\0" * 4 + x[4:],
        "record 1: must be a com",
    ),
    "chk length": (
        CHK,
        ".chk",
        lambda x: x[:37] + b"\1" + x[38:],
        "same length in",
    ),
    "chk short": (CHK, ".chk", cut(1000), "s.chk, record .*: must be"),
    "chk empty": (CHK, ".chk", cut(0), "s.chk: must be a file with contents"),
    "chk bands": (
        FMT,
        ".chk.fmt",
        line(2, "3"),
        "num_wann, at most num_bands = 3",
    ),
    "chk points": (FMT, ".chk.fmt", line(7, "35"), "mp_grid of num_kpts = 35"),
    "chk huge": (
        FMT,
        ".chk.fmt",
        line(45, "99999999"),
        "must be numbers below",
    ),
    "chk shifted": (
        FMT,
        ".chk.fmt",
        line(9, "0.1 0 0"),
        r"mesh \[4, 3, 3\] around",
    ),
    "chk logical": (FMT, ".chk.fmt", line(48, "2"), "0 or 1, but is other"),
    "chk kind": (FMT, ".chk.fmt", line(48, "1"), "s.chk.fmt"),
    "chk unitary": (FMT, ".chk.fmt", line(49, "0.9 0.9"), r"V\^dagger V = 1|unitary"),
    "chk large": (
        FMT,
        ".chk.fmt",
        line(49, "7 0"),
        "elements of unitary matrices",
    ),
    "spn counts": (
        SPN,
        ".spn.fmt",
        line(2, "5 36"),
        "num_bands, num_kpts =",
    ),
    "spn diagonal": (
        SPN,
        ".spn.fmt",
        line(3, "0 0.3"),
        "real diagonal",
    ),
    "spn large": (
        SPN,
        ".spn.fmt",
        line(3, "1.3 0"),
        "of at most 1, but is",
    ),
    "spn eigenvalue": (
        SPN,
        ".spn.fmt",
        line(3, "0.99 0"),
        "eigenvalues between -1 and 1 at k-point 1",
    ),
    "spn short": (("_tb.dat", ".chk", ".spn"), ".spn", cut(500), "s.spn, record"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_damage_is_named(case, seed):
    names, changed, change, message = REFUSED[case]
    contents = MADE["plain"]
    name = seed(contents, *names, **{changed: change(contents[changed])})
    with pytest.raises(ValueError, match=message) as raised:
        read_tables(name, Given("unknown" if ".win" in names else None))
    assert type(raised.value) is ValueError


def test_window_must_fit(seed):
    contents = MADE["disentangled"]
    data = contents[".chk.fmt"].split(b"\n")
    data[49] = b"1"  # the first band of the first k-point: inside the window
    name = seed(contents, "_tb.dat", **{".chk.fmt": b"\n".join(data)})
    with pytest.raises(ValueError, match="ndimwin, the bands in lwindow and at least 4, but is 5"):
        read_tables(name)


def test_missing_cell_and_repeated_cell(seed):
    crystal = CRYSTALS["plain"]
    model = HoppingModel(crystal.lattice, [(0, 0, 0)], np.eye(2)[None], np.zeros((2, 3)), spin=None)
    name = seed({})
    write(model, name)
    text = Path(f"{name}_tb.dat").read_text()
    for cell, message in ((" 1 0 0", "with .1, 0, 0. alone"), (" 0 0 0", "with .0, 0, 0. twice")):
        parts = text.replace("           1\n    1\n", "           2\n 1 1\n").split("\n\n")
        head, h, r = parts
        double = [head, h, cell + h[h.index("\n") :], r.rstrip(), cell + r[r.index("\n") :]]
        Path(f"{name}_tb.dat").write_text("\n\n".join(double))
        with pytest.raises(ValueError, match=message):
            read_tables(name)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No .*nothing_tb.dat and no .*nothing_hr.dat"):
        read(tmp_path / "nothing")


def test_unknown_spin_order(tmp_path, unchecked_annotations):
    with pytest.raises(ValueError, match=r"`spin_order` must be one of 'interlaced'.*but is 'up'"):
        read_tables(tmp_path / "nothing", Given("up"))


def test_left_handed_cell_is_noted(seed):
    crystal = CRYSTALS["plain"]
    mirrored = crystal._replace(
        lattice=-crystal.lattice,
        centres=-crystal.centres,
        position={cell: -x for cell, x in crystal.position.items()},
    )
    _, report = read_tables(seed(files(mirrored), "_tb.dat"))
    assert not report.right_handed
    assert "the cell is left-handed" in report.notes


def test_small_breach_of_hermiticity_is_removed_and_noted(seed):
    contents = MADE["plain"]
    first = contents["_hr.dat"].split(b"\n")[HEAD].split()
    changed = word(HEAD + 1, 5, f"{float(first[5]) + 1e-4:.6f}")(contents["_hr.dat"])
    _, report = read_tables(seed(contents, *HR, **{"_hr.dat": changed}), Given("unknown"))
    assert report.hermiticity == pytest.approx(5e-5, rel=0.02)  # ndegen is 2
    assert "off by 5e-05 eV" in report.notes[0]


def test_large_asymmetry_of_r_is_warned_of(seed):
    contents = MADE["plain"]
    data = contents["_r.dat"].split(b"\n")
    data[3] = b" ".join([*data[3].split()[:5], b"9 0 0 0 0 0"])
    name = seed(contents, "_hr.dat", "_r.dat", **{".wout": contents[".wout"]})
    Path(f"{name}_r.dat").write_bytes(b"\n".join(data))
    with pytest.warns(UserWarning, match=r"r.-R. = r.R.\^dagger was off by .* Angstrom"):
        examine(name)


def test_state_of_the_checkpoint_is_noted(seed):
    data = replaced("postwann", "postdis ")(MADE["plain"][".chk"])
    _, report = read_tables(seed(MADE["plain"], "_tb.dat", **{".chk": data}))
    assert report.notes == ("s.chk is of the state 'postdis', not postwann",)


def test_state_of_the_checkpoint_is_warned_of_where_the_spin_is_in_it(seed):
    data = replaced("postwann", "postdis ")(MADE["plain"][".chk"])
    name = seed(MADE["plain"], "_tb.dat", ".eig", ".spn", **{".chk": data})
    with pytest.warns(UserWarning, match="s.chk is of the state 'postdis', not postwann: its Wann"):
        _, report = examine(name)
    assert report.notes == ()
    assert read_tables(name, Given("interlaced"))[1].warnings == ()


# Writing.


@pytest.mark.parametrize("name", ["plain", "far"])
def test_there_and_back(name, seed, tmp_path):
    model = read(seed(MADE[name], "_tb.dat", "_wsvec.dat"))
    path = write(model, tmp_path / "again")
    assert path == tmp_path / "again_tb.dat"
    assert {p.name for p in tmp_path.glob("again*")} == {"again_tb.dat"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = read(tmp_path / "again")
    assert again.cells == model.cells
    for field in ("vectors", "blocks", "centres", "position"):
        np.testing.assert_allclose(getattr(again, field), getattr(model, field), rtol=1e-15)


def test_diagonal_position_stays_diagonal(seed, tmp_path):
    model = read(seed(MADE["plain"], "_tb.dat")).without_external_terms()
    write(model, tmp_path / "again")
    again, report = examine(tmp_path / "again")
    assert not again.external_terms
    np.testing.assert_allclose(again.centres, model.centres, rtol=1e-15)
    assert report.notes == ("r(R) holds the centres and zeros: it is taken as diagonal",)


@pytest.mark.parametrize(("cell", "element"), [((0, 0, 0), (0, 1)), ((1, 0, 0), (2, 2))])
def test_smallest_element_of_r_is_kept(cell, element, seed, tmp_path):
    model = read(seed(MADE["plain"], "_tb.dat")).without_external_terms()
    position = np.zeros((len(model.cells), 3, 4, 4), complex)
    for axis in range(3):
        np.fill_diagonal(position[model.cells.index((0, 0, 0)), axis], model.centres[:, axis])
    for block, place in ((cell, element), (tuple(-c for c in cell), element[::-1])):
        position[model.cells.index(block), 1][place] = 1e-9
    model = eqx.tree_at(lambda m: m.position, model, position, is_leaf=lambda x: x is None)
    write(model, tmp_path / "again")
    assert read(tmp_path / "again").external_terms


def test_other_models_are_not_written(seed, tmp_path, unchecked_annotations):
    model = read(seed(MADE["plain"], "_tb.dat"))
    message = "Argument `model` must be a HoppingModel, but is of type Scaled."
    with pytest.raises(ValueError, match=message):
        write(2.0 * model, tmp_path / "again")
    assert not list(tmp_path.glob("again*"))


@pytest.mark.parametrize("d", [1, 2])
def test_fewer_dimensions_need_a_vacuum(d, tmp_path):
    cells = np.array([[1] + [0] * (d - 1), [-1] + [0] * (d - 1)])
    model = HoppingModel(np.eye(d), cells, np.full((2, 1, 1), -1.0), np.full((1, d), 0.25), None)
    with pytest.raises(ValueError, match="`vacuum` must be a positive length"):
        write(model, tmp_path / "s")
    write(model, tmp_path / "s", vacuum=10.0)
    again = read(tmp_path / "s")
    assert sorted(again.cells) == [(-1, 0, 0), (0, 0, 0), (1, 0, 0)]
    np.testing.assert_array_equal(again.vectors, np.diag([1.0] * d + [10.0] * (3 - d)))
    np.testing.assert_array_equal(again.centres, [[0.25] * d + [0.0] * (3 - d)])
    k = jnp.array([0.3, 0, 0])
    np.testing.assert_allclose(again(k), model(k[:d]), atol=1e-15)
    with pytest.raises(ValueError, match="`vacuum` must be None in three dimensions"):
        write(again, tmp_path / "s", vacuum=10.0)


# Platinum: files of Wannier90 itself.

FOLDER = os.environ.get("JAXSPIN_TEST_DATA")
needs_data = pytest.mark.skipif(FOLDER is None, reason="JAXSPIN_TEST_DATA is not set")


@pytest.fixture
def platinum(tmp_path):
    """The seedname of a folder with some of the files."""

    def linked(*names):
        for path in (Path(FOLDER) / "pt_wannier90").glob("Pt*"):
            if path.name.removeprefix("Pt") in names:
                (tmp_path / path.name).symlink_to(path)
        return tmp_path / "Pt"

    return linked


def band_error(arrays, bands):
    energies = [np.linalg.eigvalsh(value(arrays.cells, arrays.blocks, k)) for k in bands.k]
    return np.max(np.abs(np.array(energies) - bands.energies))


BANDS = ("_band.dat", "_band.kpt")


@needs_data
def test_platinum_bands(platinum):
    arrays, report = read_tables(platinum("_tb.dat", "_wsvec.dat", *BANDS))
    assert band_error(arrays, report.bands) < 1e-6
    assert report.points == pytest.approx(64)
    assert report.mesh == (4, 4, 4)
    assert report.asymmetry == pytest.approx(0.054, abs=1e-3)


@needs_data
def test_platinum_from_six_decimals(platinum):
    names = ("_hr.dat", "_r.dat", "_wsvec.dat", ".win", *BANDS)
    arrays, report = read_tables(platinum(*names), Given("unknown"))
    assert band_error(arrays, report.bands) < 2e-5


@needs_data
def test_platinum_without_shifts(platinum):
    arrays, report = read_tables(platinum("_tb.dat", *BANDS))
    assert band_error(arrays, report.bands) == pytest.approx(0.41, abs=0.01)
    assert "which this mesh needs" in report.warnings[0]


@needs_data
def test_platinum_spin():
    """The Wannier functions have spin up and down in turn, but no two are one orbital."""
    arrays, report = read_tables(Path(FOLDER) / "pt_wannier90" / "Pt")
    home = arrays.spin[arrays.cells.index((0, 0, 0))]
    np.testing.assert_allclose(np.diag(home[2]).real, 9 * [1, -1], atol=0.02)
    assert report.mesh_mismatch < 1e-6
    assert report.square_deviation == pytest.approx(0.58, abs=0.01)
    h = RealSpaceOperator(arrays.cells, arrays.blocks[:, None])
    assert order_measures("interlaced", h, arrays.centres).commutator > 1


@needs_data
def test_platinum_order_is_not_guessed(platinum):
    with pytest.raises(ValueError, match=r"two spins of each orbital are not found.*\.spn file"):
        read_tables(platinum("_tb.dat", "_wsvec.dat", ".win"))
