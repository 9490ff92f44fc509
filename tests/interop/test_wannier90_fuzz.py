"""Damaged Wannier90 files: each is refused with a message, or read as what it literally says.

Ten thousand mutations of tiny files, one file at a time. What is read is compared with a second
reader that checks nothing; what is refused must name a file.
"""

import signal
import struct

import numpy as np
import pytest
from naive_wannier import naive
from wannier_files import files, random_crystal

from jaxspin.interop.wannier90.seed import read_tables

CASES = 1000  # of each kind of file

#: The file that is damaged, and what lies beside it.
SETS = {
    "_tb.dat": ("_wsvec.dat",),
    "_hr.dat": ("_wsvec.dat", ".win", "_centres.xyz"),
    "_r.dat": ("_hr.dat", ".win"),
    "_wsvec.dat": ("_tb.dat",),
    ".win": ("_hr.dat", "_centres.xyz"),
    ".wout": ("_hr.dat",),
    ".chk": ("_hr.dat", ".spn"),
    ".chk.fmt": ("_hr.dat", ".spn.fmt", ".eig"),
    ".spn": ("_hr.dat", "_wsvec.dat", ".chk"),
    ".spn.fmt": ("_hr.dat", ".chk.fmt"),
}
JUNK = [b"****", b"NaN", b"inf", b"-Infinity", b"1e999", b"-", b"1.0D0", b"1.0-2.0", b"0x1", b"1_0"]
JUNK += [b"0", b"-1", b"3", b"2147483647", b"-2147483648", b"99999999999999999999", b"\xff\xfe"]
JUNK += [b"1.5", b"", b"\0", b"1e5", b"0.12345678-101", b"\n", b"1e300", b"T"]


def original(name: str) -> dict[str, bytes]:
    """Small files: two Wannier functions, a mesh of two points."""
    made = files(random_crystal(mesh=(2, 1, 1), orbitals=1, extra="chk" in name or "spn" in name))
    return {ending: made[ending] for ending in (name, *SETS[name])}


def mutated(data: bytes, binary: bool, rng: np.random.Generator) -> bytes:
    """One mutation, or now and then several."""
    for _ in range(1 if rng.random() < 0.8 else rng.integers(2, 5)):
        choices = BINARY if binary else BINARY + TEXT + TEXT
        data = choices[rng.integers(len(choices))](data, rng)
    return data


def truncated(data, rng):
    return data[: rng.integers(len(data) + 1)]


def noise(data, rng):
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        if data:
            data[rng.integers(len(data))] = rng.integers(256)
    return bytes(data)


def inserted(data, rng):
    at = rng.integers(len(data) + 1)
    return data[:at] + rng.bytes(rng.integers(1, 20)) + data[at:]


def cut_out(data, rng):
    at = rng.integers(len(data) + 1)
    return data[:at] + data[at + rng.integers(1, 20) :]


def number_in_place(data, rng):
    """A 4-byte integer, as in counts and record markers."""
    at = rng.integers(max(len(data) // 4, 1)) * 4
    value = [0, 1, -1, 2, 3, 2**31 - 1, -(2**31), 1000][rng.integers(8)]
    return data[:at] + struct.pack("<i", value) + data[at + 4 :]


def double_in_place(data, rng):
    at = rng.integers(max(len(data) // 4, 1)) * 4
    value = [np.nan, np.inf, 1e300, -1e-300, 0.5, 3.0][rng.integers(6)]
    return data[:at] + struct.pack("<d", value) + data[at + 8 :]


def digit(data, rng):
    places = [i for i, c in enumerate(data) if 48 <= c < 58]
    if not places:
        return data
    at = places[rng.integers(len(places))]
    return data[:at] + b"%d" % rng.integers(10) + data[at + 1 :]


def on_lines(change):
    def apply(data, rng):
        lines = data.split(b"\n")
        i, j = rng.integers(len(lines), size=2)
        change(lines, int(i), int(j))
        return b"\n".join(lines)

    return apply


def swap(lines, i, j):
    lines[i], lines[j] = lines[j], lines[i]


def on_words(change, first: int | None = None):
    def apply(data, rng):
        lines = data.split(b"\n")
        rows = [i for i, line in enumerate(lines[:first]) if line.split()]
        if not rows:
            return data
        i, j = rng.choice(rows, size=2)
        a, b = lines[i].split(), lines[j].split() if i != j else None
        p, q = int(rng.integers(len(a))), int(rng.integers(len(b))) if b else 0
        change(a, p, b or a, q, JUNK[rng.integers(len(JUNK))])
        lines[i] = b"   ".join(a)
        lines[j] = b"   ".join(b) if b else lines[j]
        return b"\n".join(lines)

    return apply


def swapped_words(a, p, b, q, junk):
    a[p], b[q] = b[q], a[p]


def junk_word(a, p, b, q, junk):
    a[p] = junk


BINARY = [truncated, noise, inserted, cut_out, number_in_place, double_in_place]
TEXT = [
    digit,
    digit,
    on_lines(lambda lines, i, j: lines.pop(i)),
    on_lines(lambda lines, i, j: lines.insert(j, lines[i])),
    on_lines(swap),
    on_words(swapped_words),
    on_words(junk_word),
    on_words(junk_word, first=12),
    on_words(lambda a, p, b, q, junk: a.pop(p)),
]


@pytest.fixture
def no_hang():
    """Every case of a kind together must end in time."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", SETS)
def test_damaged_file_is_refused_or_read_as_it_says(name, tmp_path, no_hang):
    rng, whole = np.random.default_rng(sum(name.encode())), original(name)
    for ending, data in whole.items():
        (tmp_path / f"s{ending}").write_bytes(data)
    outcomes = {"refused": 0, "read": 0}
    for _ in range(CASES):
        data = mutated(whole[name], name in (".chk", ".spn"), rng)
        (tmp_path / f"s{name}").write_bytes(data)
        outcomes[outcome(tmp_path / "s", whole | {name: data})] += 1
    assert min(outcomes.values()) > CASES / 50, outcomes


def outcome(seed, contents) -> str:
    error = None
    try:
        arrays, _ = read_tables(seed)
    except ValueError as refusal:
        error = refusal
    if error is not None:  # NumPy's own errors would be of this type too, but name no file
        assert type(error) is ValueError
        assert str(seed) in str(error) or "`spin_order`" in str(error)
        return "refused"
    expected = naive(contents)
    np.testing.assert_allclose(arrays.lattice, expected["lattice"], atol=1e-9)
    np.testing.assert_allclose(arrays.centres, expected["centres"], atol=1e-9)
    for field in ("blocks", "position", "spin"):
        values = getattr(arrays, field)
        if values is not None and field in expected:
            values = dict(zip(arrays.cells, values, strict=True))
            compare(values, expected[field])
        else:
            assert values is None or values.ndim == 3 or ".spn" not in contents
            assert field not in expected or field == "spin"
    return "read"


def compare(values, expected):
    for cell in {*values, *expected}:
        one = values.get(cell, 0)
        other = expected.get(cell, np.zeros((1, 1, 1)))
        np.testing.assert_allclose(one, other[0] if np.ndim(one) == 2 else other, atol=1e-9)


def test_whole_files_are_read(tmp_path):
    for name in SETS:
        contents = original(name)
        for ending, data in contents.items():
            (tmp_path / f"{name}{ending}").write_bytes(data)
        assert outcome(tmp_path / name, contents) == "read"


def test_a_different_model_is_noticed(tmp_path):
    contents = original("_tb.dat")
    for ending, data in contents.items():
        (tmp_path / f"s{ending}").write_bytes(data)
    other = files(random_crystal(mesh=(2, 1, 1), orbitals=1, seed=2))
    with pytest.raises(AssertionError):
        outcome(tmp_path / "s", contents | {"_tb.dat": other["_tb.dat"]})
