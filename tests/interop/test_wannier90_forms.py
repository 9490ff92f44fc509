"""Forms of the files that other programs write: order of the elements, comments, gzip, weights."""

import gzip
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from wannier_files import files, random_crystal

from jaxspin.interop.wannier90 import examine, read
from jaxspin.interop.wannier90.findings import Given
from jaxspin.interop.wannier90.geometry import read_win
from jaxspin.interop.wannier90.seed import read_tables

CRYSTAL = random_crystal()
MADE = files(CRYSTAL)
TB = ("_tb.dat", "_wsvec.dat")
HR = ("_hr.dat", "_r.dat", "_wsvec.dat", ".win")
#: Where the first block begins: line numbers from 0, and the number of lines of a block.
FIRST = {"_tb.dat": 11, "_hr.dat": 6, "_r.dat": 3}
SIZE = 4
FOLDER = os.environ.get("JAXSPIN_TEST_DATA")
needs_data = pytest.mark.skipif(FOLDER is None, reason="JAXSPIN_TEST_DATA is not set")


@pytest.fixture
def written(tmp_path):
    """Writes files of the crystal, some of them changed, and gives their seedname."""

    def write(names, **change):
        for name, data in ({name: MADE[name] for name in names} | change).items():
            (tmp_path / f"s{name}").write_bytes(data)
        return tmp_path / "s"

    return write


def same(found, expected):
    """Each array to the last bit, whatever the order of the cells."""
    for name in ("lattice", "centres"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ("blocks", "position"):
        one = dict(zip(found.cells, getattr(found, name), strict=True))
        other = dict(zip(expected.cells, getattr(expected, name), strict=True))
        assert set(one) == set(other)
        for cell, block in one.items():
            np.testing.assert_array_equal(block, other[cell])


def blocks_of(name: str, data: bytes) -> tuple[list[bytes], list[list[bytes]], list[bytes]]:
    """The lines before the blocks of H, the lines of each block without its R, and the rest."""
    lines = data.splitlines(keepends=True)
    head, number = lines[: FIRST[name] - 2 * (name == "_tb.dat")], len(CRYSTAL.hamiltonian)
    step = SIZE**2 + 2 * (name == "_tb.dat")
    number = (len(lines) - len(head)) // (step if name != "_tb.dat" else 2 * step)
    body = lines[len(head) :]
    return head, [body[i * step : (i + 1) * step] for i in range(number)], body[number * step :]


ORDERS = {
    "n before m": lambda block, rng: [block[i] for i in np.arange(16).reshape(4, 4).T.ravel()],
    "reversed": lambda block, rng: block[::-1],
    "shuffled": lambda block, rng: [block[i] for i in rng.permutation(len(block))],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("name", "names"), [("_tb.dat", TB), ("_hr.dat", HR), ("_r.dat", HR)])
def test_elements_are_where_their_lines_say(name, names, order, written, rng):
    expected, _ = read_tables(written(names), Given("unknown"))
    head, blocks, rest = blocks_of(name, MADE[name])
    before = 2 * (name == "_tb.dat")
    blocks = [block[:before] + ORDERS[order](block[before:], rng) for block in blocks]
    changed = b"".join([*head, *(line for block in blocks for line in block), *rest])
    assert changed != MADE[name]
    assert sorted(changed.splitlines()) == sorted(MADE[name].splitlines())
    found, _ = read_tables(written(names, **{name: changed}), Given("unknown"))
    same(found, expected)


@pytest.mark.parametrize("name", ["_hr.dat", "_r.dat"])
def test_cells_may_run_fastest(name, written, rng):
    """Elements of all R in any order: ndegen is in the order in which R first appear."""
    expected, _ = read_tables(written(HR), Given("unknown"))
    head, blocks, rest = blocks_of(name, MADE[name])
    fastest = [block[i] for i in range(SIZE**2) for block in blocks]
    rows = [line for block in blocks for line in block]
    firsts = [block[0] for block in blocks]
    others = [line for line in rows if line not in firsts]
    shuffled = firsts + [others[i] for i in rng.permutation(len(others))]
    for lines in (fastest, shuffled):
        assert len(lines) == len(rows)
        data = b"".join([*head, *lines, *rest])
        found, _ = read_tables(written(HR, **{name: data}), Given("unknown"))
        same(found, expected)
    # Negative control: another order of the first appearances gives ndegen to others.
    data = b"".join([*head, *rows[::-1], *rest])
    with pytest.raises(ValueError, match=r"mesh|cell"):
        read_tables(written(HR, **{name: data}), Given("unknown"))


def test_element_twice_is_refused(written):
    head, blocks, rest = blocks_of("_hr.dat", MADE["_hr.dat"])
    twice = [*blocks[0][:5], blocks[0][4], *blocks[0][6:]]
    lines = [line for block in [twice, *blocks[1:]] for line in block]
    seed = written(HR, **{"_hr.dat": b"".join([*head, *lines, *rest])})
    with pytest.raises(
        ValueError, match=r"line 12: must be each m and n from 1 to 4 once .* m, n ="
    ):
        read_tables(seed, Given("unknown"))


def test_comments_and_too_many_weights(written):
    expected, _ = read_tables(written(TB), Given("unknown"))
    lines = MADE["_tb.dat"].splitlines(keepends=True)
    lines[4] = b"4 ! num_wann\n"
    lines[5] = lines[5].rstrip() + b"  # nrpts\n"
    found, report = read_tables(written(TB, **{"_tb.dat": b"".join(lines)}), Given("unknown"))
    same(found, expected)
    assert report.warnings == ()
    lines[8] = lines[8].rstrip() + b" 1 1 1\n"
    seed = written(TB, **{"_tb.dat": b"".join(lines)})
    with pytest.warns(UserWarning, match="line 9: 3 numbers more than the ndegen, 37 .* not used"):
        again = read(seed, spin_order="unknown")
    np.testing.assert_array_equal(np.asarray(again.blocks), np.asarray(expected.blocks))
    lines[8] = lines[8].rstrip() + b" 1.5\n"
    with pytest.raises(ValueError, match="line 9: must be ndegen"):
        read_tables(written(TB, **{"_tb.dat": b"".join(lines)}))


TEXTS = {
    "tb": TB,
    "hr": HR,
    "wout": ("_hr.dat", "_wsvec.dat", ".wout"),
    "centres": ("_hr.dat", "_wsvec.dat", ".win", "_centres.xyz"),
    "fmt": ("_hr.dat", "_wsvec.dat", ".chk.fmt", ".eig", ".spn.fmt"),
}


@pytest.mark.parametrize("names", TEXTS.values(), ids=TEXTS)
def test_gzipped_texts(names, written, tmp_path):
    order = None if ".spn.fmt" in names else "unknown"
    expected, _ = read_tables(written(names), Given(order))
    for name in names:
        path = tmp_path / f"s{name}"
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    found, report = read_tables(tmp_path / "s", Given(order))
    for name in ("lattice", "centres", "blocks", "position", "spin"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
    assert {f"s{name}.gz" for name in names} == {name for name, _ in report.used}


def test_gzipped_records_are_refused(written):
    seed = written(("_tb.dat", "_wsvec.dat", ".chk"))
    path = Path(f"{seed}.chk")
    Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    with pytest.raises(ValueError, match=r"s\.chk\.gz: must be unpacked"):
        read_tables(seed)


def test_file_itself_comes_before_the_gzipped_one(written):
    seed = written(TB)
    expected, _ = read_tables(seed)
    Path(f"{seed}_tb.dat.gz").write_bytes(gzip.compress(b"another"))
    same(read_tables(seed)[0], expected)


@pytest.mark.parametrize("damage", ["cut", "noise", "tail", "empty"])
def test_damaged_gzip_is_named(damage, written):
    seed = written(TB)
    path = Path(f"{seed}_tb.dat")
    packed = bytearray(gzip.compress(path.read_bytes()))
    path.unlink()
    if damage == "noise":
        packed[len(packed) // 2] ^= 255
    data = {"cut": packed[:-100], "noise": packed, "tail": packed + b"\1" * 9, "empty": packed[:12]}
    Path(f"{path}.gz").write_bytes(bytes(data[damage]))
    with pytest.raises(ValueError, match=r"s_tb\.dat\.gz"):
        read_tables(seed)


def test_spellings_of_win(tmp_path):
    text = MADE[".win"].decode()
    expected = read_win_text(text, tmp_path)
    assert expected.path is not None
    assert expected.lattice is not None
    for begin, end in (
        (r"BEGIN\1", r"END_\1"),
        (r"begin : \1", r"end=\1"),
        (r"begin_\1", r"END\1"),
    ):
        other = re.sub(r"(?m)^begin (\w+)", begin, text)
        other = re.sub(r"(?m)^end (\w+)", end, other)
        assert begin[:5] in other
        found = read_win_text(other, tmp_path)
        np.testing.assert_array_equal(found.lattice, expected.lattice)
        assert found._replace(lattice=None) == expected._replace(lattice=None)


def test_path_on_the_line_of_its_begin(tmp_path):
    apart = "begin kpoint_path\nG 0 0 0 X .5 0 0\nX .5 0 0 M .5 .5 0\nend kpoint_path\n"
    one = "begin kpoint_path G 0 0 0 X .5 0 0 X .5 0 0 M .5 .5 0\nendkpoint_path\n"
    assert read_win_text(one, tmp_path) == read_win_text(apart, tmp_path)
    with pytest.raises(ValueError, match="line 1: must be two labels"):
        read_win_text(one.replace("X .5 0 0 X", "X .5 0 0"), tmp_path)


def read_win_text(text: str, folder: Path):
    path = folder / "t.win"
    path.write_text(text)
    return read_win(path)


def test_win_that_cannot_be_read(written):
    """Beside `_tb.dat`, which has the lattice, it is not needed."""
    broken = MADE[".win"].replace(b"mp_grid", b"num_wann 4\nmp_grid")
    with pytest.raises(ValueError, match="the only line with 'num_wann'"):
        read_tables(written(HR, **{".win": broken}))
    expected, _ = read_tables(written(TB, **{".win": MADE[".win"]}), Given("unknown"))
    with pytest.warns(UserWarning, match=r"s\.win, line \d+: must be the only line .* not used"):
        found, report = examine(written((*TB, ".win"), **{".win": broken}))
    np.testing.assert_array_equal(np.asarray(found.blocks), expected.blocks)
    assert "s.win" not in dict(report.used)


def test_one_record_too_many_in_a_checkpoint(written):
    names = ("_tb.dat", "_wsvec.dat", ".chk", ".spn")
    expected, _ = read_tables(written(names))
    record = np.array([8], "<i4").tobytes() + bytes(8) + np.array([8], "<i4").tobytes()
    seed = written(names, **{".chk": MADE[".chk"] + record})
    with pytest.warns(UserWarning, match=r"s\.chk has one record more than a checkpoint"):
        found = read(seed)
    np.testing.assert_array_equal(np.asarray(found.spin_operator), expected.spin)
    for more in (record[:-1], record + record, b"\1"):
        with pytest.raises(ValueError, match=r"s\.chk, record"):
            read_tables(written(names, **{".chk": MADE[".chk"] + more}))


# --- what the user says ---------------------------------------------------------------------------


def test_lattice_and_centres_are_arguments(written):
    expected, _ = read_tables(written(HR), Given("unknown"))
    Path(f"{written(())}.win").unlink()
    seed = written(("_hr.dat", "_wsvec.dat"))
    Path(f"{seed}_r.dat").unlink()
    given = {"lattice": CRYSTAL.lattice, "centres": CRYSTAL.centres}
    model = read(seed, **given, spin_order="unknown")
    np.testing.assert_array_equal(np.asarray(model.blocks), expected.blocks)
    np.testing.assert_array_equal(np.asarray(model.centres), CRYSTAL.centres)
    with pytest.raises(ValueError, match="Or give `lattice`, three vectors as rows"):
        read(seed, centres=CRYSTAL.centres)
    with pytest.raises(ValueError, match="Or give `centres`, one row for each"):
        read(seed, lattice=CRYSTAL.lattice)
    for change, match in (
        ({"lattice": np.eye(2)}, r"`lattice` must have shape \(3, 3\)"),
        ({"lattice": "fcc"}, "`lattice` must be real numbers"),
        ({"lattice": np.zeros((3, 3))}, "a lattice that spans a volume"),
        ({"centres": CRYSTAL.centres[1:]}, r"`centres` must have shape \(4, 3\)"),
        ({"centres": CRYSTAL.centres[0]}, r"`centres` must have shape \(n, 3\)"),
        ({"centres": np.full((4, 3), np.nan)}, "`centres` must be finite"),
    ):
        with pytest.raises(ValueError, match=match):
            read(seed, **(given | change))


def test_what_is_given_must_be_what_the_files_say(written):
    seed = written(TB)
    expected, _ = read_tables(seed)
    given = {"lattice": CRYSTAL.lattice, "centres": CRYSTAL.centres + CRYSTAL.lattice[0]}
    np.testing.assert_array_equal(np.asarray(read(seed, **given).centres), expected.centres)
    with pytest.raises(ValueError, match=r"lattice must be the same .* argument `lattice`"):
        read(seed, lattice=1.01 * CRYSTAL.lattice)
    with pytest.raises(ValueError, match=r"centre of Wannier function \d .* argument `centres`"):
        read(seed, centres=CRYSTAL.centres + 0.1)


# --- weights that the elements hold already -------------------------------------------------------


@needs_data
@pytest.mark.filterwarnings("ignore:no .*_wsvec.dat, which this mesh needs")
def test_folded_weights_are_seen_by_the_bands(tmp_path):
    """GaAs as WannierBerri writes it: every ndegen is 1, on 19 cells of a mesh of 8 points."""
    folder = Path(FOLDER) / "gaas_wannier90"
    expected, _ = read_tables(folder / "GaAs")
    for name in (".chk", ".eig", ".spn", ".win"):
        shutil.copy(folder / f"GaAs{name}", tmp_path)
    path = tmp_path / "GaAs_tb.dat"
    shutil.copy(folder / "folded" / "GaAs_tb.dat", path)
    path.chmod(0o644)
    found, report = read_tables(tmp_path / "GaAs")
    assert any("hold their weights already" in note for note in report.notes)
    for k in ([0, 0, 0], [0.5, 0, 0.5], [0.12, 0.31, -0.2]):
        phases = [np.exp(2j * np.pi * np.asarray(one.cells) @ k) for one in (found, expected)]
        sums = [
            [np.tensordot(phase, x, axes=1) for x in (one.blocks, one.spin)]
            for phase, one in zip(phases, (found, expected), strict=True)
        ]
        np.testing.assert_allclose(sums[0][0], sums[1][0], atol=1e-8)
        np.testing.assert_allclose(sums[0][1], sums[1][1], atol=1e-12)
    # Negative control: weights that are lost, and not folded in, are seen.
    lines = (folder / "GaAs_tb.dat").read_text().splitlines(keepends=True)
    lines[6:8] = [" 1" * 15 + "\n", " 1" * 4 + "\n"]
    path.write_text("".join(lines))
    with pytest.raises(ValueError, match=r"GaAs\.eig.* with the same H\(k\) .* off by"):
        read_tables(tmp_path / "GaAs")
    (tmp_path / "GaAs.eig").unlink()
    with pytest.warns(UserWarning, match=r"every ndegen .* H\(k\) on the mesh .* is not checked"):
        read(tmp_path / "GaAs")


# --- files of public repositories -----------------------------------------------------------------

PUBLIC = ["dcore_afm", "dcore_respack", "dcore_square_so", "scw_graphene"]
PUBLIC += ["wt_BHZ", "wt_Free", "wt_Graphene"]


@needs_data
@pytest.mark.filterwarnings("ignore:no .*_wsvec.dat, which this mesh needs")
@pytest.mark.filterwarnings("ignore:.*wt_BHZ_hr.dat, line 4. 2 numbers more than the ndegen")
@pytest.mark.parametrize("name", PUBLIC)
def test_public_files_are_read(name):
    """Against a sum over the lines of the file."""
    path = Path(FOLDER) / "public_files" / f"{name}_hr.dat"
    words = [line.split("!")[0].split() for line in path.read_text().splitlines()[1:]]
    size, number = int(words[0][0]), int(words[1][0])
    model = read(
        path.parent / name, lattice=3 * np.eye(3), centres=np.zeros((size, 3)), spin_order="unknown"
    )
    rows = [row for row in words[2:] if len(row) == 7 and "." in row[5]]
    assert len(rows) == number * size**2
    weights = [int(x) for row in words[2:] if row not in rows for x in row][:number]
    k, matrix = np.array([0.13, -0.21, 0.34]), np.zeros((size, size), complex)
    cells = list(dict.fromkeys(tuple(map(int, row[:3])) for row in rows))
    for row in rows:
        cell, m, n = tuple(map(int, row[:3])), int(row[3]) - 1, int(row[4]) - 1
        element = complex(float(row[5]), float(row[6])) / weights[cells.index(cell)]
        matrix[m, n] += element * np.exp(2j * np.pi * np.dot(k, cell))
    found = np.asarray(model(2 * np.pi * k / 3))
    np.testing.assert_allclose(found, matrix, atol=1e-12 * np.max(np.abs(matrix)))


@needs_data
def test_public_files_that_are_no_such_files():
    """Elements that are not zero alone, at half lattice vectors, and no ndegen."""
    with pytest.raises(ValueError, match=r"must hold 2592 lines .* nrpts = 72, but has 2428 bytes"):
        read(Path(FOLDER) / "public_files" / "lr_matlab_tb", lattice=np.eye(3))


@needs_data
def test_public_inputs():
    folder = Path(FOLDER) / "public_files"
    silicon = read_win(folder / "tbmodels_silicon.win")
    assert [piece[0].label + piece[1].label for piece in silicon.path] == ["LG", "GX", "XK", "KG"]
    assert (silicon.size, silicon.mesh, len(silicon.atoms.species)) == (8, (4, 4, 4), 2)
    benzene = read_win(folder / "w90_tutorial12_benzene.win")
    np.testing.assert_allclose(benzene.lattice, 15.8753163273 * np.eye(3), atol=1e-9)
    assert (benzene.size, benzene.home_cell, benzene.atoms.species[0]) == (15, True, "C")
