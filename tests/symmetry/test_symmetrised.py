"""Lattice models made symmetric, with representations that are found from their blocks."""

import functools
import itertools

import jax
import numpy as np
import platinum_by_hand as platinum
import pytest
from symmetric_models import PAULI, spin_half, symmetric_model
from test_detect import CRYSTALS

import jaxspin as js
from jaxspin.interop import wannier90
from jaxspin.symmetry.groups import point_groups
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


def refuse(match, *arguments):
    with pytest.raises(ValueError, match=match):
        symmetrised(*arguments)


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
