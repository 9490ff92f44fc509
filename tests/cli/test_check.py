"""`jaxspin check`, Wannier90 files in input files, and the comparison with WannierBerri."""

import sys
from pathlib import Path

import numpy as np
import pytest
from test_cli import _here, refused, run, tiny  # noqa: F401  (fixtures)
from wannier_files import files, random_crystal

import jaxspin as js
from jaxspin import plot
from jaxspin.interop import wannier90, wannierberri


def written(*left_out: str, name: str = "made") -> Path:
    """The files of a small crystal in this folder, but for some."""
    for ending, content in files(random_crystal()).items():
        if ending not in left_out:
            Path(name + ending).write_bytes(content)
    return Path(name)


@pytest.fixture
def _without_wannierberri(monkeypatch):
    monkeypatch.setitem(sys.modules, "wannierberri", None)
    monkeypatch.setitem(sys.modules, "wannierberri.system", None)


@pytest.mark.usefixtures("_without_wannierberri")
def test_says_what_was_found_and_draws_the_bands():
    result = run("check", written())
    assert result.exit_code == 0, result.output
    for part in (
        "made_tb.dat",
        "Wannier functions  4",
        "ab initio mesh",
        "spin operator",
        "bands: largest difference from _band.dat",
        "wrote made_bands.png",
        "symmetries of the lattice that the model has: <1, 1 element> of 4 operations",
        "broken | energies, meV: largest",
        "WannierBerri: not compared, for it is not installed",
    ):
        assert part in result.output
    difference = float(result.output.split("_band.dat ")[-1].split(" eV")[0])
    assert difference < 1e-6
    assert Path("made_bands.png").stat().st_size > 10_000
    assert run("check", "made").exit_code == 0  # its own picture may be overwritten


ATOMS = {
    "frac": ("begin atoms_frac\nSi 0 0 0\nC 0.25, 0.25 0.5\nend atoms_frac\n", True),
    "cart": ("begin atoms_cart\nang\nSi 0 0 0\nC {} {} {}\nend atoms_cart\n", True),
    "bohr": ("begin atoms_cart\nbohr\nSi 0 0 0\nC {} {} {}\nend atoms_cart\n", True),
    "unit": ("begin atoms_cart\nmile\nSi 0 0 0\nend atoms_cart\n", False),
    "words": ("begin atoms_frac\nSi 0 zero 0\nend atoms_frac\n", False),
    "none": ("", False),
}


@pytest.mark.parametrize("form", ATOMS)
def test_atoms_of_the_input(form):
    """What is not understood is left out, and "auto" is refused without atoms."""
    text, known = ATOMS[form]
    content = files(random_crystal())
    lattice = wannier90.examine(written()).report.lattice
    unit = {"bohr": 0.529177210903}.get(form, 1.0)
    text = text.format(*(np.array([0.25, 0.25, 0.5]) @ lattice / unit))
    Path("made.win").write_bytes(content[".win"] + text.encode())
    report = wannier90.examine("made").report
    assert (report.atoms is not None) == known
    if report.atoms is not None:
        assert report.atoms.species == ("Si", "C")
        np.testing.assert_allclose(report.atoms.positions[1], [0.25, 0.25, 0.5], atol=1e-12)
        assert len(wannier90.crystal_group(report)) >= 2
    else:
        with pytest.raises(ValueError, match=r"where \.win has no atoms, but is 'auto'"):
            wannier90.read("made", symmetrise="auto")
    with pytest.raises(ValueError, match=r"`symmetrise` must be a group of jaxspin\.symmetry or"):
        wannier90.read("made", symmetrise="yes")


@pytest.mark.usefixtures("_without_wannierberri")
def test_bands_along_the_path_of_the_input():
    result = run("check", written("_band.dat", "_band.kpt"))
    assert "wrote made_bands.png" in result.output
    assert "_band.dat" not in result.output.split("not found")[-1].split("wrote")[0].split("\n")[-1]


@pytest.mark.usefixtures("_without_wannierberri")
def test_without_a_path_nothing_is_drawn():
    written("_band.dat", "_band.kpt", ".win", ".chk", ".chk.fmt", ".spn", ".spn.fmt", ".eig")
    result = run("check", "made", "--spin-order", "interlaced")
    assert result.exit_code == 0, result.output
    assert "bands: not drawn" in result.output
    assert not Path("made_bands.png").exists()


def test_another_picture_is_not_overwritten():
    Path("made_bands.png").write_bytes(b"mine")
    refused(run("check", written()), "made_bands.png exists and comes from another input")


def test_missing_and_damaged_files_are_one_line():
    refused(run("check", "absent"), "absent")
    written()
    text = Path("made_tb.dat").read_text()
    Path("made_tb.dat").write_text(text[: len(text) // 2])
    refused(run("check", "made"), "made_tb.dat")
    refused(run("check", "made", "--spin-order", "upside"), "spin_order")


GRID = ('name = "TopologicalInsulator.bi2se3"', 'wannier90 = "made"')
SPACE = 'type = "Space"\nscale = [0.0793, 0.0793, 0.2020]\nradial = 8\npolar = 6\nazimuthal = 4'


def test_scan_of_an_input_file():
    written()
    file = tiny(GRID, (SPACE, 'type = "Grid"\nshape = [3, 3, 3]'))
    assert run("scan", file).exit_code == 0
    first = Path("tiny.nc").stat().st_mtime_ns
    assert run("scan", file).exit_code == 0  # the same files are the same input
    assert Path("tiny.nc").stat().st_mtime_ns > first
    moved = files(random_crystal(seed=2))
    for ending, content in moved.items():
        Path("made" + ending).write_bytes(content)
    refused(run("scan", file), "tiny.nc exists and comes from another input")


def test_input_file_with_mistakes():
    grid = (SPACE, 'type = "Grid"\nshape = [3, 3, 3]')
    refused(run("scan", tiny(GRID, grid)), "`wannier90` in table [model]", "made_tb.dat")
    wrong = (GRID[0], 'wannier90 = "made"\nseed = 3')
    refused(run("scan", tiny(wrong, grid)), "Key `seed` in table [model] is unknown")
    written()
    order = (GRID[0], 'wannier90 = "made"\nspin_order = "sideways"')
    refused(run("scan", tiny(order, grid)), "Key `spin_order` in table [model]", "sideways")
    flat = (GRID[0], 'wannier90 = "made"\nlattice = [[3.0, 0.0], [0.0, 3.0]]')
    refused(run("scan", tiny(flat, grid)), "Key `lattice` in table [model] must have shape (3, 3)")
    other = (GRID[0], f'wannier90 = "made"\ncentres = {[[0.0] * 3] * 4}')
    refused(run("scan", tiny(other, grid)), "centre of Wannier function", "argument `centres`")


def test_dots_and_lines_of_bands():
    model = wannier90.read(written())
    k = np.linspace(0, 0.5, 11)[:, None] * np.array([1, 0, 1])
    k = np.concatenate([k, [[0.0, 0.5, 0.0], [0.05, 0.5, 0.0]]])  # a jump of the path
    energies = np.zeros((13, 4))
    axes = plot.bands_against(model, k, energies, corners={"G": (0, 0, 0), "X": (0.5, 0, 0.5)})
    lines = axes.get_lines()
    assert max(len(line.get_xdata()) for line in lines) == 13
    assert {11, 2} <= {len(line.get_xdata()) for line in lines}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["Γ", "X"]
    with pytest.raises(ValueError, match=r"`energies` must have shape \(13, bands\)"):
        plot.bands_against(model, k, energies[:5])
    with pytest.raises(ValueError, match="`k` must be at least two points of dimension 3"):
        plot.bands_against(model, k[:, :2], energies)
    with pytest.raises(ValueError, match="must have a lattice"):
        plot.bands_against(js.models.Rashba(1.0, 1.0, 0.1), k, energies)


def test_wannierberri_agrees():
    pytest.importorskip("wannierberri")
    model = wannier90.read(written())
    for m in (model, model.without_external_terms()):
        differences = wannierberri.compare(m, np.random.default_rng(0).uniform(size=(3, 3)))
        assert [d.quantity for d in differences] == [
            "energies",
            "Berry curvature",
            "spin Berry curvature",
        ]
        assert all(d.difference < 1e-9 * max(1, d.largest) for d in differences)
    # Negative control: without external terms the curvature is another.
    plain = wannierberri.compare(model.without_external_terms(), [[0.1, 0.2, 0.3]])
    full = wannierberri.compare(model, [[0.1, 0.2, 0.3]])
    assert abs(plain[1].largest - full[1].largest) > 1e-3 * full[1].largest


@pytest.mark.usefixtures("_without_wannierberri")
def test_wannierberri_is_asked_for():
    with pytest.raises(ImportError, match=r'pip install "?wannierberri\[default\]'):
        wannierberri.to_wannierberri(wannier90.read(written()))
