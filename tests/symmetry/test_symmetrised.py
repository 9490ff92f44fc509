"""Lattice models made symmetric, with representations that are found from their blocks."""

import functools
import itertools

import jax
import numpy as np
import platinum_by_hand as platinum
import pytest
from symmetric_models import PAULI, lattice_of, spin_half, symmetric_model
from test_detect import CRYSTALS

import jaxspin as js
from jaxspin.interop import wannier90
from jaxspin.symmetry.groups import point_groups
from jaxspin.symmetry.projections import _read_projection, rotate_harmonics, rotate_spin
from jaxspin.symmetry.sites import find_sites, map_sites
from jaxspin.symmetry.symmetrised import _average_blocks, _measure_from_sites, symmetrised

STUDY = functools.partial(pytest.param, marks=pytest.mark.study)
RNG = np.random.default_rng(3)


def unitary(size):
    return np.linalg.qr(RNG.normal(size=(size, size)) + 1j * RNG.normal(size=(size, size)))[0]


def changed(model, gauge, noise):
    """The model in another basis of each site, with random blocks added to H."""
    turn = lambda x: gauge @ np.asarray(x) @ gauge.conj().T  # noqa: E731
    blocks = turn(model.blocks)
    size = noise * np.linalg.norm(blocks) / np.sqrt(2 * blocks.size)
    draw = size * (RNG.normal(size=blocks.shape) + 1j * RNG.normal(size=blocks.shape))
    index = {cell: i for i, cell in enumerate(model.cells)}
    opposite = [index[tuple(-x for x in cell)] for cell in model.cells]
    draw = (draw + draw[opposite].conj().swapaxes(1, 2)) / np.sqrt(2)
    position = None if model.position is None else turn(model.position)
    return js.models.HoppingModel(
        model.vectors,
        model.cells,
        blocks + draw,
        model.centres,
        turn(model.spin_operator),
        position=position,
    )


def bands(model, k):
    """By the sum over cells in NumPy; phases of the centres do not change energies."""
    angles = k @ (np.array(model.cells) @ np.asarray(model.vectors)).T
    return np.linalg.eigvalsh(np.tensordot(np.exp(1j * angles), np.asarray(model.blocks), axes=1))


def check_stars(model, group):
    """Bands agree at all images of random k."""
    k = np.random.default_rng(0).uniform(-2, 2, size=(4, model.dimension))
    here = bands(model, k)
    images = np.concatenate([k @ one.on_k(model.dimension).T for one in group])
    there = bands(model, images).reshape(len(group), *here.shape)
    assert np.max(np.abs(there - here)) < 1e-12 * max(1.0, np.max(np.abs(here)))


@pytest.mark.parametrize("label", ["4221'", "-3m(-3)", *map(STUDY, ("m-3m(m-3)", "-6m2"))])
def test_a_noisy_model_in_any_basis(label):
    """s and p orbitals with external terms: 0.3 % of noise is taken out, to the part of it that
    has the symmetry."""
    group = point_groups()[label]
    exact = symmetric_model(group, 9)
    gauge = unitary(8)
    model, report = symmetrised(changed(exact, gauge, 3e-3), group)
    check_stars(model, group)
    assert report.uniqueness > 1000
    assert 1e-3 < report.hamiltonian < 4e-3
    left = np.linalg.norm(model.blocks - np.asarray(changed(exact, gauge, 0.0).blocks))
    assert left < 1.5e-3 * np.linalg.norm(exact.blocks)


def test_one_level():
    """Nothing says how its orbital transforms, and nothing needs to."""
    atom = js.models.HoppingModel([[1.0]], [[0]], [[[0.5]]], [[0.0]], spin=None)
    found = symmetrised(atom, js.symmetry.group([js.symmetry.INVERSION]))
    assert found.report.largest == 0
    assert found.model.blocks == 0.5


def test_a_symmetric_model_stays_as_it_is():
    group = point_groups()["4221'"]
    exact = symmetric_model(group, 9)
    model, report = symmetrised(exact, group)
    assert max(report.hamiltonian, report.spin, report.position) < 1e-13
    again = symmetrised(model, group).report
    assert max(again.hamiltonian, again.spin, again.position) < 1e-13
    assert "16 elements>: H(R) changed by 0.00%" in str(report)


def crystal_model(lattice, positions, group):
    """A random model of one s orbital with spin on each atom, averaged with the D that it has."""
    n, d = 2 * len(positions), 3
    cells = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    decay = np.exp(-np.linalg.norm(cells @ lattice, axis=1) / 3)[:, None, None]
    blocks = decay * (RNG.normal(size=(27, n, n)) + 1j * RNG.normal(size=(27, n, n)))
    blocks = blocks + blocks[::-1].conj().swapaxes(1, 2)
    centres = np.repeat(positions, 2, axis=0) @ lattice
    spin = np.array([np.kron(np.eye(len(positions)), s) for s in PAULI])
    model = js.models.HoppingModel(lattice, cells, blocks, centres, spin)
    sites = find_sites(model, positions)
    matrices = []
    for one in group:
        matrix = np.zeros((n, n), complex)
        for a, b in enumerate(map_sites(one, sites).images):
            matrix[2 * b : 2 * b + 2, 2 * a : 2 * a + 2] = spin_half(one)
        matrices.append(matrix)
    mean = _average_blocks(_measure_from_sites(model, sites), sites, list(group), matrices)
    found = js.models.HoppingModel(lattice, mean.cells, mean.hamiltonian[:, 0], centres, spin)
    assert found.dimension == d
    return found


@pytest.mark.parametrize(
    "name", ["diamond", *map(STUDY, ("GaAs", "Co along c", "MnF2", "Fe along 111"))]
)
def test_crystals_of_several_atoms(name):
    """Glides, screws, antiferromagnets: each site in a basis of its own, with noise."""
    lattice, positions, species, moments, _ = CRYSTALS[name]
    group = js.symmetry.of_crystal(lattice, positions, species, moments)
    exact = crystal_model(lattice, np.array(positions, float), group)
    check_stars(exact, group)
    gauge = np.zeros((len(exact.centres),) * 2, complex)
    for i in range(len(positions)):
        gauge[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = unitary(2)
    model, report = symmetrised(changed(exact, gauge, 3e-3), group, positions)
    check_stars(model, group)
    assert report.hamiltonian < 4e-3
    assert np.max(np.abs(bands(model, np.zeros((1, 3))) - bands(exact, np.zeros((1, 3))))) < 0.1


def test_atoms_of_other_cells():
    """An atom that is written in another cell, and centres off their atoms."""
    lattice, positions, species, *_ = CRYSTALS["diamond"]
    group = js.symmetry.of_crystal(lattice, positions, species)
    exact = crystal_model(lattice, np.array(positions, float), group)
    shifted = [[1, 0, -1], [0.25, 1.25, -0.75]]
    assert symmetrised(exact, group, shifted).report.hamiltonian < 1e-13


# --- what is refused ------------------------------------------------------------------------------


def refuse(match, *arguments, **options):
    with pytest.raises(ValueError, match=match):
        symmetrised(*arguments, **options)


def test_what_is_refused():
    cubic, magnet = point_groups()["m-3m1'"], point_groups()["m-3m(m-3)"]
    model = symmetric_model(magnet, 9)
    refuse("must say how its orbitals transform with the rotation of order 4", model, cubic)
    refuse("must take the lattice of the model to itself", model, point_groups()["6/mmm"])
    refuse("`positions` must be those of the sites", model, magnet, [[0, 0, 0], [0.5, 0, 0]])
    refuse(r"`group` must take the sites .* with site 1", *_off_centre())
    refuse("`model` must be a HoppingModel", js.models.QiWuZhang(A=1.0, m=1.0), cubic)
    refuse("`group` must be a group", model, [js.symmetry.INVERSION])
    refuse("`positions` must have shape", model, magnet, [0, 0, 0])
    with pytest.raises(ValueError, match="is being traced"):
        jax.jit(lambda model: symmetrised(model, magnet).model.blocks)(model)


def _off_centre():
    """Diamond with the operations of its point group alone, without their translations."""
    lattice, positions, species, *_ = CRYSTALS["diamond"]
    group = js.symmetry.of_crystal(lattice, positions, species)
    plain = js.symmetry.of_lattice(lattice)
    return crystal_model(lattice, np.array(positions, float), group), plain, positions


def test_a_large_change_is_warned_of_and_a_larger_one_refused():
    group = point_groups()["4221'"]
    exact = symmetric_model(group, 9)
    with pytest.warns(UserWarning, match=r"Symmetrising the model changes 3\.\d% of H"):
        symmetrised(changed(exact, np.eye(8), 0.04), group)
    refuse(
        "must be that of the model, nearly, but its average changes",
        changed(exact, np.eye(8), 0.12),
        group,
    )


# --- platinum -------------------------------------------------------------------------------------

#: σ^z_xy in (ħ/e) S/cm at E_F = 17.3823, 17.8823, 18.3823 eV, T = 0, of the symmetrised model:
#: NumPy and WannierBerri 26.10 on full and irreducible meshes (symmetry.json of the design sheet).
PLATINUM = {12: [670.642, 1611.796, 2834.808], 24: [548.566, 1427.541, 1975.393]}
POINTS = {12: 72, 24: 413}


@pytest.mark.study
@pytest.mark.skipif(not platinum.SEED.parent.is_dir(), reason="JAXSPIN_TEST_DATA is not there")
def test_platinum():
    raw = wannier90.read(platinum.SEED)
    group = js.symmetry.of_crystal(np.asarray(raw.vectors), [[0, 0, 0]], ["Pt"])
    model, report = symmetrised(raw, group, [[0, 0, 0]])
    assert report.uniqueness > 10
    assert (report.cells, round(100 * report.hamiltonian, 2)) == ((93, 93), 0.64)
    check_stars(model, group)
    energies = bands(model, np.random.default_rng(1).uniform(-2, 2, size=(50, 3)))
    assert np.max(np.abs(energies[:, ::2] - energies[:, 1::2])) < 1e-12  # Kramers pairs
    levels = js.Levels([17.3823, 17.8823, 18.3823])
    for number, expected in PLATINUM.items():
        grid = js.Grid((number,) * 3)
        mesh = js.Symmetric(grid, group)
        assert mesh.folded(model.lattice).size == POINTS[number]
        full, part = (
            js.spin_hall(model, one, levels, definition="conventional").to("hbar/e S/cm")
            for one in (grid, mesh)
        )
        found = part.component(flow="x", field="y", spin="z").value
        np.testing.assert_allclose(found, expected, rtol=1e-3)
        np.testing.assert_allclose(part.value, full.value, rtol=0, atol=1e-10)
        assert np.count_nonzero(part.value[0]) == 6  # xy^z and its images, the others exactly zero
    with pytest.raises(ValueError, match=r"changes its bands .* `symmetrised\(model, group\)`"):
        js.spin_hall(
            raw, js.Symmetric(js.Grid((4, 4, 4)), group), levels, definition="conventional"
        )


@pytest.mark.study
@pytest.mark.skipif(not platinum.SEED.parent.is_dir(), reason="JAXSPIN_TEST_DATA is not there")
def test_platinum_without_external_terms():
    """Every centre at the atom (symmetry.json: NumPy in an atomic gauge, and WannierBerri); with
    those of the Wannier functions the operations are refused."""
    raw = wannier90.read(platinum.SEED)
    group = js.symmetry.of_crystal(np.asarray(raw.vectors), [[0, 0, 0]], ["Pt"])
    whole = symmetrised(raw, group, [[0, 0, 0]]).model
    internal = js.symmetry.move_centres(whole, [[0, 0, 0]])
    assert not internal.external_terms
    levels, rows = js.Levels([17.3823, 17.8823, 18.3823]), {}
    for number in (12, 24):
        mesh = js.Symmetric(js.Grid((number,) * 3), group)
        response = js.spin_hall(internal, mesh, levels, definition="conventional")
        rows[number] = response.to("hbar/e S/cm").component(flow="x", field="y", spin="z").value
    np.testing.assert_allclose(rows[12], [658.625, 1614.461, 2858.372], rtol=1e-3)
    np.testing.assert_allclose(rows[24], [524.805, 1399.480, 1974.276], rtol=1e-3)
    mesh, model = js.Symmetric(js.Grid((4, 4, 4)), group), whole.without_external_terms()
    with pytest.raises(ValueError, match="reduced by symmetries of the model only"):
        js.spin_hall(model, mesh, levels, definition="conventional")


@pytest.mark.study
@pytest.mark.skipif(not platinum.SEED.parent.is_dir(), reason="JAXSPIN_TEST_DATA is not there")
@pytest.mark.parametrize("names", ["s;p;d", "sp3d2;dxy,dxz,dyz"])
def test_projections_of_platinum_are_wrong(names):
    """Maximally localised hybrids, whatever the .win says; trusted, they move bands by 14 eV."""
    raw = wannier90.read(platinum.SEED)
    group = js.symmetry.of_crystal(np.asarray(raw.vectors), [[0, 0, 0]], ["Pt"])
    with pytest.raises(ValueError, match=r"its average changes 3[5-9]\.\d% of H"):
        symmetrised(raw, group, projections=[([0, 0, 0], names)])


# --- gallium arsenide, on the torus ---------------------------------------------------------------

GAAS = platinum.SEED.parents[1] / "gaas_wannier90" / "GaAs"
ATOMS = [[0, 0, 0], [0.25, 0.25, 0.25]]


@pytest.mark.study
@pytest.mark.skipif(not GAAS.parent.is_dir(), reason="JAXSPIN_TEST_DATA is not there")
def test_gaas_on_the_torus():
    """Of 2³ points, without `_wsvec.dat`: the images of the files break T_d by 2.6 eV, those by
    centres by 9 meV; bands on the mesh stay (sheet: moved 7 meV, 0.01 meV on the mesh)."""
    with pytest.warns(UserWarning, match=r"no .*_wsvec\.dat, which this mesh needs"):
        raw = wannier90.read(GAAS)
    group = js.symmetry.of_crystal(np.asarray(raw.vectors), ATOMS, ["Ga", "As"])
    with pytest.raises(ValueError, match="must say how its orbitals transform"):
        symmetrised(raw, group, ATOMS)
    model, report = symmetrised(raw, group, ATOMS, mesh=[2, 2, 2])
    check_stars(model, group)
    assert report.uniqueness > 100
    assert (report.cells[1], report.bands < 0.01, report.hamiltonian < 1e-3) == (79, True, True)
    with pytest.warns(UserWarning, match="which this mesh needs"):
        found = wannier90.examine(GAAS, symmetrise="auto")
    np.testing.assert_array_equal(found.model.blocks, model.blocks)
    assert found.report.notes[-3].startswith("<-43m1', 48 elements>: H(R) changed by 0.0")
    nodes = np.array(list(np.ndindex(2, 2, 2))) / 2
    k = nodes @ (2 * np.pi * np.linalg.inv(np.asarray(raw.vectors)).T)
    assert np.max(np.abs(bands(model, k) - bands(raw, k))) < 2e-5
    wrong = [([0.25, 0.25, 0.25], "sp3"), ([0, 0, 0], "sp3")]
    refuse("must be that of the model, nearly", raw, group, projections=wrong)
    for mesh, text in {
        (1, 1, 1): "has 1 points, and the 19 cells",
        (3, 3, 3): "has 27 points",
        (2, 2): "must have shape",
        (2, 2, 2.5): "must be a positive integer, but is 2.5",
        (2, 2, 0): "must be a positive integer, but is 0",
    }.items():
        refuse(text, raw, group, ATOMS, mesh=mesh)


# --- projections ----------------------------------------------------------------------------------

HOME = [0.0, 0.0, 0.0]


@pytest.mark.parametrize("label", ["4221'", "-3m(-3)"])
def test_projections_that_are_true(label):
    """As found from the model; in another order of the orbitals they are refused."""
    group = point_groups()[label]
    noisy = changed(symmetric_model(group, 9), np.eye(8), 3e-3)
    found = symmetrised(noisy, group)
    model, report = symmetrised(noisy, group, projections=[(HOME, "s; px, py, pz")])
    check_stars(model, group)
    assert report.uniqueness is None
    assert str(report).endswith("representation of the projections")
    np.testing.assert_allclose(model.blocks, found.model.blocks, atol=1e-3)  # a part of the noise
    split = symmetrised(noisy, group, projections=[(HOME, "s"), (HOME, "px;py;pz")])
    np.testing.assert_array_equal(model.blocks, split.model.blocks)
    refuse("must be that of the model, nearly", noisy, group, projections=[(HOME, "s;p")])


def test_spins_one_after_the_other():
    """All up, then all down."""
    group = point_groups()["4221'"]
    model = symmetric_model(group, 9)
    order = np.concatenate([np.arange(0, 8, 2), np.arange(1, 8, 2)])
    gauge = np.eye(8)[order]
    found = symmetrised(changed(model, gauge, 0.0), group, projections=[(HOME, "s;px;py;pz")])
    assert max(found.report.hamiltonian, found.report.spin, found.report.position) < 1e-13


def test_atoms_without_spin():
    """Graphene-like honeycomb of s and p_z orbitals on two atoms."""
    lattice, third = np.array([[1, 0], [-0.5, np.sqrt(3) / 2]]), 1 / 3
    places = np.array([[third, 2 * third], [2 * third, third]])
    cells = [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]
    blocks = np.zeros((5, 2, 2))
    blocks[0] = [[0, 1], [1, 0]]
    for i, cell in enumerate(cells[1:], 1):
        blocks[i][0, 1] = cell in ([-1, 0], [0, 1])
        blocks[i][1, 0] = cell in ([1, 0], [0, -1])
    model = js.models.HoppingModel(lattice, cells, blocks, places @ lattice, spin=None)
    group = js.symmetry.of_lattice(lattice)
    for name in ("s", "pz"):
        orbitals = [(place.tolist(), name) for place in places]
        assert symmetrised(model, group, projections=orbitals).report.largest < 1e-14
    mixed = [(places[0].tolist(), "s"), (places[1].tolist(), "pz")]
    refuse("not closed under the", model, group, projections=mixed)


@pytest.mark.parametrize(
    ("names", "label", "lost"),
    [
        ("pz", "m-3m", "1"),
        ("sp3d2;dxy", "m-3m", "1"),
        ("sp", "6/mmm", r"0\.\d+"),
        ("f", "m-3m", None),
        ("sp3d2", "m-3m", None),
        ("sp3", "-43m", None),
        ("sp2", "-6m2", None),
        ("sp3d", "-6m2", None),
    ],
)
def test_orbitals_that_a_group_takes_into_each_other(names, label, lost):
    group = point_groups()[label]
    size = len(_read_projection((HOME, names), 3)[1])
    blocks = np.eye(size)[None]
    lattice = lattice_of(group)
    model = js.models.HoppingModel(lattice, [[0, 0, 0]], blocks, np.zeros((size, 3)), spin=None)
    if lost is None:
        assert symmetrised(model, group, projections=[(HOME, names)]).report.largest < 1e-14
    else:
        text = rf"not closed under the .*: \|D'D - 1\| = {lost}"
        refuse(text, model, group, projections=[(HOME, names)])


def test_harmonics_and_spins_are_representations():
    """Exact products; half a turn about every axis too, where a formula with arccos fails."""
    group = list(point_groups()["m-3m1'"])
    for one, other in itertools.product(group[::7], group[::5]):
        product = js.symmetry.Operation(
            "product",
            np.array(one.matrix) @ np.array(other.matrix),
            one.time_reversal != other.time_reversal,
        )
        harmonics = [rotate_harmonics(x) for x in (one, other, product)]
        np.testing.assert_allclose(harmonics[0] @ harmonics[1], harmonics[2], atol=1e-13)
        u, v, w = (rotate_spin(x) for x in (one, other, product))
        found = u @ (v.conj() if one.time_reversal else v)
        assert abs(abs(np.trace(found @ w.conj().T)) - 2) < 1e-13


def test_projections_that_are_none():
    group = point_groups()["4221'"]
    model = symmetric_model(group, 9)
    for projections, text in [
        ([(HOME, "s;q")], "names 'q'"),
        ([(HOME, "s;p;d")], "must name 4 orbitals, each with two spins, but names 9"),
        ([], "but names 0"),
        (["s;p"], "must hold pairs of a position and names"),
        (5, "must hold pairs"),
        ([(HOME, " ; ")], "must hold pairs"),
        ([([0, 0], "s;p")], "must have shape"),
        ([([0, 0, np.nan], "s;p")], "must be finite"),
    ]:
        refuse(text, model, group, projections=projections)
    refuse("must be None where", model, group, [HOME], projections=[(HOME, "s;p")])


def test_centres_at_the_atoms_keep_the_symmetry():
    """Without external terms; negative control: with centres off their atom the velocities break
    it."""
    group = point_groups()["4221'"]
    exact = symmetric_model(group, 9, orbitals=1)
    centres = [[0.1, 0.0, 0.05], [0.0, -0.1, 0.0]]
    parts = exact.vectors, exact.cells, exact.blocks, centres, exact.spin_operator
    off = js.models.HoppingModel(*parts)
    moved = js.symmetry.move_centres(off, [HOME])
    assert len(js.symmetry.find(moved, candidates=group).group) == len(group)
    assert len(js.symmetry.find(off, candidates=group).group) < len(group)
    mesh = js.Symmetric(js.Grid((4, 4, 4)), group)
    with pytest.raises(ValueError, match="must be reduced by symmetries of the model only"):
        js.anomalous_hall(off, mesh, js.Levels(0.0))
    for text, positions in {"has none": [HOME, [0.5, 0, 0]], "must have shape": HOME}.items():
        with pytest.raises(ValueError, match=text):
            js.symmetry.move_centres(off, positions)
