"""Grids reduced by any magnetic point group: orbits, the grids that are kept, and the sums."""

import itertools
import tracemalloc

import jax
import numpy as np
import pytest
from symmetric_models import CUBIC, symmetric_model
from test_groups import LATTICES

import jaxspin as js
from jaxspin.integration.integrate import integrate
from jaxspin.integration.problem import Problem, Run
from jaxspin.quantities.charge import ANOMALOUS_HALL, CARRIER_DENSITY
from jaxspin.quantities.spin_hall import DEFINITIONS
from jaxspin.symmetry.folded import Folded
from jaxspin.symmetry.groups import point_groups
from jaxspin.symmetry.irreducible import Irreducible
from jaxspin.symmetry.orbits import (
    GridImages,
    find_map,
    find_matrix,
    find_orbits,
    nearest_grid,
)

#: Irreducible points of N = 6, 12, 24 under the point group of the lattice and time reversal, the
#: shifts that all elements keep (of 0 and 1/2), shapes of 4 and 6 that are kept, and the grid next
#: to (4, 6, 5) with the shift 1/2. From explicit orbits (symmetry.json of the design sheet).
GRIDS = {
    "sc": ((20, 84, 455), "000 111", "444 666", ((6, 6, 6), 0.5)),
    "fcc": ((16, 72, 413), "000", "444 666", ((6, 6, 6), 0.0)),
    "bcc": ((16, 72, 413), "000 111", "444 666", ((6, 6, 6), 0.5)),
    "hexagonal": ((28, 133, 793), "000 001", "444 446 664 666", ((6, 6, 5), (0, 0, 0.5))),
    "tetragonal": ((40, 196, 1183), "000 001 110 111", "444 446 664 666", ((6, 6, 5), 0.5)),
    "bct": ((30, 163, 1063), "000 111", "444 666", ((6, 6, 6), 0.5)),
    "rhombohedral": ((32, 189, 1313), "000 111", "444 666", ((6, 6, 6), 0.5)),
    "orthorhombic C": ((52, 301, 2041), "000 001 110 111", "444 446 664 666", ((6, 6, 5), 0.5)),
    "monoclinic": (
        (80, 518, 3770),
        "000 001 010 011 100 101 110 111",
        "444 446 464 466 644 646 664 666",
        ((4, 6, 5), 0.5),
    ),
}
#: fcc with all 96 elements, by N.
OF_FCC = {8: 29, 20: 256, 36: 1240, 60: 5216, 100: 22776}
QUANTITIES = (ANOMALOUS_HALL, DEFINITIONS["conventional"], CARRIER_DENSITY)
LEVELS = js.Levels([0.0, 0.5], [0.0, 300.0])
SEED = 9  # for all 122 groups no two bands that a level may part are closer than 1 meV


def grey(name):
    """The group of a lattice with time reversal, and its matrices on reduced k."""
    whole = js.symmetry.group([*js.symmetry.of_lattice(LATTICES[name]), js.symmetry.TIME_REVERSAL])
    return whole, matrices_of(whole, LATTICES[name])


def matrices_of(group, lattice):
    return [find_matrix(one, len(lattice), lattice) for one in group]


def is_kept(matrices, grid):
    return all(find_map(one, grid) for one in matrices)


def orbits(matrices, grid, portion=1 << 18):
    return find_orbits(grid.shape, [find_map(one, grid) for one in matrices], portion)


# --- orbits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
def test_counts_and_grids_that_are_kept(name):
    counts, shifts, shapes, nearest = GRIDS[name]
    matrices = grey(name)[1]
    for number, points in zip((6, 12, 24), counts, strict=True):
        index, times = orbits(matrices, js.Grid((number,) * 3))
        assert len(index) == points
        assert np.sum(times) == number**3
    halves = itertools.product((0, 1), repeat=3)
    kept = [s for s in halves if is_kept(matrices, js.Grid((6, 6, 6), np.array(s) / 2))]
    assert kept == [tuple(map(int, s)) for s in shifts.split()]
    pairs = itertools.product((4, 6), repeat=3)
    kept = [n for n in pairs if is_kept(matrices, js.Grid(n))]
    assert kept == [tuple(map(int, n)) for n in shapes.split()]
    found = nearest_grid(js.Grid((4, 6, 5), 0.5), matrices)
    assert found == js.Grid(*nearest)
    assert is_kept(matrices, found)


def test_counts_of_platinum():
    matrices = grey("fcc")[1]
    found = {n: len(orbits(matrices, js.Grid((n,) * 3))[0]) for n in OF_FCC}
    assert found == OF_FCC


@pytest.mark.parametrize("name", GRIDS)
def test_orbits_one_by_one(name):
    """Portions of 7 points, an odd shape, against the least image of every point."""
    matrices = grey(name)[1]
    grid = nearest_grid(js.Grid((4, 5, 3), (0, 0, 0.5)), matrices)
    n = np.array(list(np.ndindex(*grid.shape))).T
    images = [
        np.ravel_multi_index(tuple(one.matrix @ n + one.offset[:, None]), grid.shape, mode="wrap")
        for one in (find_map(matrix, grid) for matrix in matrices)
    ]
    least, numbers = np.unique(np.min(images, axis=0), return_counts=True)
    index, times = orbits(matrices, grid, portion=7)
    np.testing.assert_array_equal(index, least)
    np.testing.assert_array_equal(times, numbers)


def test_shapes_of_unequal_counts():
    """A shear of the reciprocal vectors keeps counts of a whole ratio: one test says which."""
    shear = ((1, 1), (0, -1))
    assert is_kept([shear], js.Grid((6, 3)))
    assert not is_kept([shear], js.Grid((3, 6)))
    assert is_kept([shear], js.Grid((4, 4), (0.25, 0.0)))
    assert not is_kept([shear], js.Grid((4, 4), (0.0, 0.25)))
    assert nearest_grid(js.Grid((6, 3)), [shear]) == js.Grid((6, 3))


def test_nearest_grid_of_generators():
    """Few operations, most without the identity, any shape and shift: what is found is kept."""
    rng = np.random.default_rng(2)
    for lattice in (CUBIC, LATTICES["fcc"], LATTICES["hexagonal"], LATTICES["hexagonal"][:2, :2]):
        d, whole = len(lattice), js.symmetry.of_lattice(lattice)
        known = [find_matrix(one, d, lattice) for one in whole]
        for _ in range(40):
            matrices = [known[i] for i in rng.integers(len(known), size=rng.integers(1, 3))]
            shift = rng.choice([0, 0.5, 0.25, 1 / 3, -0.5, 1], size=d)
            grid = js.Grid([int(n) for n in rng.integers(1, 9, size=d)], shift)
            assert is_kept(matrices, nearest_grid(grid, matrices))
    quarter = find_matrix(js.symmetry.rotation(4), 2, np.eye(2))
    assert nearest_grid(js.Grid((4, 6)), [quarter]) == js.Grid((6, 6))


@pytest.mark.study
def test_a_hundred_million_points():
    """464³ of fcc: 2121873 points in less than 400 MB (100 MB)."""
    matrices = grey("fcc")[1]
    tracemalloc.start()
    index, _ = orbits(matrices, js.Grid((464,) * 3))
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(index) == 2121873
    assert memory < 400e6


@pytest.mark.parametrize(
    ("matrix", "shape", "shift"),
    [
        ([[-1]], (3_000_000,), (0.0,)),  # sums too many for a table of remainders
        ([[0, 1], [1, 0]], (1500, 1500), (0.0, 0.0)),
        ([[1, -1], [1, 0]], (7, 7), (0.0, 0.0)),
        ([[-1, 0], [0, 1]], (6, 1), (0.5, 0.25)),
    ],
)
def test_images_of_points(matrix, shape, shift):
    """Flat indices against the matrix product at some thousand points, and at the last one."""
    one = find_map(tuple(map(tuple, matrix)), js.Grid(shape, shift))
    number = int(np.prod(shape))
    flat = np.append(np.random.default_rng(1).integers(number, size=5000), number - 1)
    points = np.stack(np.unravel_index(flat, shape))
    image = np.array(matrix) * np.array(shape)[:, None] / np.array(shape) @ points
    image = np.rint(image + one.offset[:, None]).astype(int) % np.array(shape)[:, None]
    found = GridImages(one, shape).index(points)
    np.testing.assert_array_equal(found, np.ravel_multi_index(image, shape))


# --- sums -----------------------------------------------------------------------------------------


def summed(model, mesh, levels):
    return integrate(Problem(QUANTITIES, model, mesh, levels).check(), Run(progress=False))


def all_points(grid):
    """The points of a grid as a list, which is summed by the program of irreducible points."""
    nodes = [(np.arange(n) + s) / n for n, s in zip(grid.shape, grid.shift, strict=True)]
    k = np.array(list(itertools.product(*nodes)))
    return js.PointSet(k, np.ones(len(k)), grid=grid)


def check_group(label, full, levels, orbitals):
    """A random model of the group: its sums over `full` and over the irreducible points."""
    group = point_groups()[label]
    model, grid = symmetric_model(group, SEED, orbitals), js.Grid((4, 4, 4))
    mesh = js.Symmetric(grid, group)
    expected, found = (summed(model, one, levels) for one in (full(grid), mesh))
    size = np.max(np.abs(expected.value))
    assert np.max(np.abs(found.value - expected.value)) < 1e-11 * size
    return mesh.folded(model.lattice), found


@pytest.mark.parametrize("label", ["432(23)", "m-3m(m-3)", "4221'"])
def test_equals_the_full_grid(label):
    reduced, sums = check_group(label, all_points, js.Levels(0.1, 300.0), 1)
    assert isinstance(reduced, Irreducible)
    assert reduced.size <= 20
    assert np.sum(np.all(sums.value == 0, axis=0)) >= 24  # forbidden: exactly zero


@pytest.mark.study
def test_equals_the_full_grid_under_each_of_the_122_groups():
    for label in point_groups():
        reduced, sums = check_group(label, lambda grid: grid, LEVELS, 4)
        times = [np.sum(rule.times * np.ones(len(rule.nodes))) for rule in reduced.rules]
        assert np.prod(times if reduced.is_product else times[:1]) == 64
        assert np.all(np.isfinite(sums.error))


def test_diagonal_operations_leave_a_product():
    """A box is summed faster than scattered points."""
    mesh = js.Symmetric(js.Grid((6, 6, 6)), js.symmetry.point_group("mmm1'"))
    assert isinstance(mesh.folded(CUBIC), Folded)
    assert mesh.folded(CUBIC).shape == (4, 4, 4)


def test_coarser_meshes_are_reduced_as_well():
    """Of fcc with all 96 elements: every comparison is of a grid that the group keeps."""
    group, matrices = grey("fcc")
    mesh = js.Symmetric(js.Grid((24, 24, 24)), group).folded(LATTICES["fcc"])
    others = mesh.coarser(), *mesh.much_coarser()
    assert [one.grid.shape[0] for one in others] == [12, 10, 9, 7]
    for one in others:
        assert is_kept(matrices, one.grid)
        assert one.size < one.grid.size / 15
    wide = js.Symmetric(js.Grid((5, 10)), js.symmetry.mirror("x")).folded([[1.0, 0], [0.5, 0.8]])
    assert wide.coarser().grid == js.Grid((5, 5))  # 2 x 5 is not kept


def test_a_model_of_the_user_in_two_dimensions(tmp_path):
    """C6 of graphene with its mirrors, at T = 0 and T > 0, several levels, with a checkpoint."""
    model = js.models.Haldane(onsite=0.0, hopping=-1.0, next_hopping=0.15, phase=1.2)
    group = js.symmetry.group(
        [js.symmetry.rotation(6), js.symmetry.mirror("y", time_reversal=True)]
    )
    grid, levels = js.Grid((12, 12)), js.Levels([-0.5, 0.0, 0.4], [0.0, 100.0])
    full = js.anomalous_hall(model, grid, levels)
    mesh, file = js.Symmetric(grid, group), tmp_path / "sums.npz"
    part = js.anomalous_hall(model, mesh, levels, checkpoint=file)
    assert mesh.folded(model.lattice).size == 19
    np.testing.assert_allclose(part.value, full.value, atol=1e-12 * np.max(np.abs(full.value)))
    assert np.all(np.abs(part.error - full.error) <= 0.5 * np.max(full.error))


@pytest.mark.study
def test_derivatives_that_keep_the_symmetry():
    def hall(mesh, m):
        model = js.models.QiWuZhang(A=1.0, m=m)
        return js.anomalous_hall(model, mesh, js.Levels(0.1, 900.0)).value[0, 1, 0]

    whole, part = (
        jax.jvp(lambda m, mesh=mesh: hall(mesh, m), (-1.0,), (1.0,))
        for mesh in (js.Grid((6, 6)), js.Symmetric(js.Grid((6, 6)), js.symmetry.rotation(4)))
    )
    np.testing.assert_allclose(part, whole, rtol=1e-11)


# --- what is refused ------------------------------------------------------------------------------


def refuse(mesh, lattice, match):
    with pytest.raises(ValueError, match=match):
        mesh.folded(lattice)


def test_a_refusal_says_what_would_do():
    """The element, the nearest grid that is kept, and the subgroup that keeps this one."""
    mesh = js.Symmetric(js.Grid((4, 6, 5), 0.5), js.symmetry.point_group("m-3m"))
    refuse(
        mesh,
        CUBIC,
        r"nodes of Grid\(shape=\(4, 6, 5\).* but rotation of order 4 about z does not.*"
        r"Grid\(shape=\(6, 6, 6\), shift=\(0.5, 0.5, 0.5\)\).* 8 of 48 elements",
    )
    part = js.symmetry.point_group("m-3m").subgroup_of(mesh.mesh, CUBIC)
    assert part.label == "mmm"
    js.Symmetric(mesh.mesh, part).folded(CUBIC)


def test_no_shift_of_fcc():
    group, fcc = grey("fcc")[0], LATTICES["fcc"]
    refuse(js.Symmetric(js.Grid((4, 4, 4), 0.5), group), fcc, r"shift=\(0.0, 0.0, 0.0\)")
    kept = group.subgroup_of(js.Grid((4, 4, 4), 0.5), fcc)
    assert kept.label == "-3m1'"


def test_an_element_that_is_none_of_the_lattice():
    mesh = js.Symmetric(js.Grid((4, 4, 4)), js.symmetry.rotation(6))
    refuse(mesh, CUBIC, "must take the lattice of the model to itself, but rotation of order 6")


def test_lattice_vectors_of_few_digits():
    """As files have them: the group is that of the lattice they stand for."""
    rows = LATTICES["hexagonal"].round(6)
    mesh = js.Symmetric(js.Grid((6, 6, 4)), js.symmetry.point_group("6/mmm"))
    exact = mesh.folded(LATTICES["hexagonal"])
    np.testing.assert_array_equal(mesh.folded(rows).rules[0].nodes, exact.rules[0].nodes)


def test_what_the_model_breaks_is_refused():
    """Time reversal of a magnet, and a wrong parity of the response."""
    group = js.symmetry.point_group("m-3m(m-3)")
    model, grid = symmetric_model(group, SEED, 1), js.Grid((4, 4, 4))
    more = js.Symmetric(grid, [*group.generators, js.symmetry.TIME_REVERSAL])
    with pytest.raises(ValueError, match=r"time reversal"):
        Problem(QUANTITIES, model, more, LEVELS).check()
    mesh, hall = js.Symmetric(grid, group), DEFINITIONS["conventional"]
    wrong = ANOMALOUS_HALL, hall.replace(time_reversal=-1), CARRIER_DENSITY
    with pytest.raises(ValueError, match="does not carry the spin Hall conductivity"):
        Problem(wrong, model, mesh, LEVELS).check()


def test_a_response_that_does_not_say_its_parity():
    """Operations without time reversal will do; with it, it must be declared."""
    model, grid = js.models.QiWuZhang(A=1.0, m=-1.0), js.Grid((4, 4))
    unknown = ANOMALOUS_HALL.replace(time_reversal=None)
    quarter, antiunitary = js.symmetry.rotation(4), js.symmetry.rotation(2, "x", time_reversal=True)
    Problem(unknown, model, js.Symmetric(grid, quarter), LEVELS).check()
    with pytest.raises(ValueError, match=r"without time reversal .* `time_reversal`, 1 or -1"):
        Problem(unknown, model, js.Symmetric(grid, antiunitary), LEVELS).check()
