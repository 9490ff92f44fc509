"""Point sets: irreducible points with multiplicities give what their grid gives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

import jaxspin as js
from jaxspin.engine import segments as engine_segments
from jaxspin.engine.checkpoint import describe
from jaxspin.engine.small_matrices import PAULI
from jaxspin.engine.tile_sizes import Sizes
from jaxspin.integration import tiles
from jaxspin.integration.problem import Problem
from jaxspin.models.base import Model, parameter
from jaxspin.quantities.charge import ANOMALOUS_HALL, CARRIER_DENSITY, DENSITY_OF_STATES
from jaxspin.quantities.combine import OfBands
from jaxspin.quantities.spin import EQUILIBRIUM_SPIN_CURRENT, TORQUE_DENSITY
from jaxspin.quantities.spin_hall import DEFINITIONS, PIECES
from jaxspin.responses.compute import compute
from jaxspin.symmetry.groups import group
from jaxspin.symmetry.operations import rotation

#: Every response in one pass.
ALL = (
    ANOMALOUS_HALL,
    *DEFINITIONS.values(),
    *(quantity.replace(observable=OfBands(quantity.observable)) for quantity in PIECES.values()),
    TORQUE_DENSITY,
    *EQUILIBRIUM_SPIN_CURRENT.values(),
    CARRIER_DENSITY,
    DENSITY_OF_STATES,
)
QWZ = js.models.QiWuZhang(A=1.0, m=-1.0, t0=0.3)
HALDANE = js.models.Haldane(onsite=0.2, hopping=-1.0, next_hopping=0.15, phase=1.2)
#: Levels inside bands, hit by no energy of a node; T = 0 and T > 0.
LEVELS = js.Levels([-0.731, 0.0, 0.657], [0.0, 900.0])


class ChiralCubic(Model):
    """H = Σ_i sin k_i σ_i + t Σ_i cos k_i, a Weyl semimetal of the rotations of the cube.

    Basis (up, down), lattice constant 1 Å.
    """

    t: Float[Array, ""] = parameter(0.4)  # eV

    @property
    def dimension(self) -> int:
        return 3

    @property
    def lattice(self):
        return jnp.eye(3)

    def __call__(self, k):
        return jnp.einsum("i,iab->ab", jnp.sin(k), jnp.asarray(PAULI[1:])) + self.t * jnp.sum(
            jnp.cos(k)
        ) * jnp.eye(2)

    def spin(self):
        return jnp.asarray(PAULI[1:])


def all_points(grid: js.Grid) -> np.ndarray:
    """k of every node of a grid, in reciprocal vectors."""
    axes = [(np.arange(n) + s) / n for n, s in zip(grid.shape, grid.shift, strict=True)]
    return np.array(list(itertools.product(*axes)))


def irreducible(grid: js.Grid, operations, lattice) -> tuple[np.ndarray, np.ndarray]:
    """One node of each set of equivalent ones, and how many there are in it, one by one."""
    rows = np.asarray(lattice)
    reciprocal = np.linalg.inv(rows).T  # without 2π
    maps = [operation.on_k(grid.dimension) for operation in group(operations)]
    left = {tuple(np.round(u % 1, 6) % 1): u for u in all_points(grid)}
    points, numbers = [], []
    while left:
        u = next(iter(left.values()))
        images = [rows @ (matrix @ (u @ reciprocal)) for matrix in maps]
        star = {tuple(np.round(image % 1, 6) % 1) for image in images}
        for image in star:
            del left[image]
        points.append(u)
        numbers.append(len(star))
    return np.array(points), np.array(numbers)


def representatives(grid, operations, lattice) -> js.Symmetric:
    points = js.PointSet(*irreducible(grid, operations, lattice), grid=grid)
    return js.Symmetric(points, operations)


def agree(found, expected, rtol=1e-12) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        scale = np.max(np.abs(other.value))
        np.testing.assert_allclose(one.value, other.value, rtol=0, atol=rtol * scale + 1e-14)


def every(model, mesh, levels=LEVELS, quantities=ALL):
    return compute(Problem(quantities, model, mesh, levels))


# --- the numbers of the grid ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_grid():
    return every(QWZ, js.Grid((12, 12), 0.5))


def test_every_response_of_irreducible_points_of_a_square(of_grid):
    """C4 about z, T = 0 and T > 0, Fermi-surface terms too."""
    grid, operations = js.Grid((12, 12), 0.5), [rotation(4)]
    mesh = representatives(grid, operations, QWZ.lattice)
    assert mesh.mesh.size == 36
    agree(every(QWZ, mesh), of_grid)


def test_every_response_of_all_points(of_grid):
    grid = js.Grid((12, 12), 0.5)
    k = all_points(grid)
    agree(every(QWZ, js.PointSet(k, np.ones(len(k)), grid=grid)), of_grid)


def test_three_equivalent_corners_of_the_honeycomb():
    """C3, which no product of rules can use: the nodes of a 9 x 9 grid around Γ and its images."""
    grid, operations = js.Grid((9, 9)), [rotation(3)]
    mesh = representatives(grid, operations, HALDANE.lattice)
    assert mesh.mesh.size == 29  # Γ, K and K' alone; 78 others by three
    quantities = (ANOMALOUS_HALL, CARRIER_DENSITY)
    agree(
        every(HALDANE, mesh, quantities=quantities),
        every(HALDANE, grid, quantities=quantities),
    )


def test_the_rotations_of_a_cube():
    """24 rotations and time reversal, which takes Γ to itself."""
    grid = js.Grid((8, 8, 8))
    operations = [rotation(4, "z"), rotation(4, "x"), js.symmetry.TIME_REVERSAL]
    mesh = representatives(grid, operations, jnp.eye(3))
    assert mesh.mesh.size == 35
    quantities = (DEFINITIONS["kubo"], EQUILIBRIUM_SPIN_CURRENT["total"], DENSITY_OF_STATES)
    model, levels = ChiralCubic(), js.Levels([0.31], [0.0, 900.0])
    agree(every(model, mesh, levels, quantities), every(model, grid, levels, quantities))


def test_negative_control_the_average_is_needed():
    grid, operations = js.Grid((12, 12), 0.5), [rotation(4)]
    mesh = representatives(grid, operations, QWZ.lattice)
    levels = js.Levels([-0.731], 900.0)
    (bare,), (full,) = (every(QWZ, x, levels, TORQUE_DENSITY) for x in (mesh.mesh, grid))
    wrong = np.abs(bare.value - full.value)
    assert np.max(wrong) > 1e-2 * np.max(np.abs(full.value))
    # ... and the comparison with a grid over the whole zone says so.
    assert np.max(wrong) < np.max(bare.error)


def test_the_public_functions(of_grid):
    grid, operations = js.Grid((12, 12), 0.5), [rotation(4)]
    mesh = representatives(grid, operations, QWZ.lattice)
    found = js.spin_hall(QWZ, mesh, LEVELS, definition="kubo")
    expected = of_grid[ALL.index(DEFINITIONS["kubo"])]
    np.testing.assert_allclose(found.value, expected.to(found.units).value, atol=1e-12)
    assert found.error_rule == "4 coarser meshes, for a Fermi surface"
    assert found.origin.texts["mesh.mesh.number"] == "144.0"
    density = js.carrier_density(QWZ, mesh, js.Levels(0.4, 900.0)).value[0]
    mu = js.fermi_energy(QWZ, mesh, float(density), temperature=900.0)
    assert float(mu) == pytest.approx(0.4, abs=1e-8)


# --- jit, derivatives, interruption, memory -------------------------------------------------------


def hall(model, mesh, mu=0.657):
    return js.anomalous_hall(model, mesh, js.Levels(mu, 900.0)).value[0, 1, 0]


def square(number: int = 12, **keywords) -> js.PointSet:
    grid = js.Grid((number, number), 0.5)
    k, times = irreducible(grid, [rotation(4)], jnp.eye(2))
    return js.PointSet(k, times, **({"grid": grid} | keywords))


def test_jit_and_derivatives():
    """σ_xy is the same at equivalent k: no average is needed."""
    mesh, grid, step = square(), js.Grid((12, 12), 0.5), 1e-4
    inside = jax.jit(hall)(QWZ, mesh, 0.657)  # model, points and level are traced
    assert float(inside) == pytest.approx(float(hall(QWZ, grid)), rel=1e-12)
    along = jnp.asarray(-1.0), jnp.asarray(1.0)
    of_m = lambda m: hall(js.models.QiWuZhang(1.0, m, 0.3), mesh)  # noqa: E731
    slope = jax.jvp(of_m, along[:1], along[1:])[1]
    ends = [hall(js.models.QiWuZhang(1.0, -1.0 + s, 0.3), grid) for s in (-step, step)]
    assert float(slope) == pytest.approx(float(ends[1] - ends[0]) / (2 * step), rel=1e-6)


def test_goes_on_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(tiles, "sizes_for", lambda *model: Sizes(8, 16, False, True, 64, False, 0))
    mesh, levels, path = square(16), js.Levels([0.0, 0.657], 900.0), tmp_path / "sums.npz"
    expected = js.anomalous_hall(QWZ, mesh, levels)
    track, count = engine_segments.track, itertools.count()

    def short(segments, *arguments):
        for part in track(segments, *arguments):
            if next(count) == 5:
                raise KeyboardInterrupt
            yield part

    with monkeypatch.context() as patch:
        patch.setattr(engine_segments, "track", short)
        with pytest.raises(KeyboardInterrupt):
            js.anomalous_hall(QWZ, mesh, levels, checkpoint=path)
    other = js.PointSet(mesh.k_points, mesh.weights + (np.arange(mesh.size) == 3))
    with pytest.raises(ValueError, match=r"`checkpoint` must be of this very run, but .* `mesh"):
        js.anomalous_hall(QWZ, other, levels, checkpoint=path)
    found = js.anomalous_hall(QWZ, mesh, levels, checkpoint=path)
    np.testing.assert_array_equal(found.value, expected.value)
    np.testing.assert_array_equal(found.error, expected.error)


def test_many_points_take_little_room():
    """Tables hold coordinates and one weight for each point: nothing for each level or band."""
    grid = js.Grid((400, 400), 0.5)
    k = (np.stack(np.meshgrid(*[np.arange(400)] * 2), axis=-1).reshape(-1, 2) + 0.5) / 400
    mesh = js.PointSet(k, np.ones(len(k)), grid=grid)
    problem = Problem(CARRIER_DENSITY, QWZ, mesh, js.Levels(np.linspace(-1, 1, 200)))
    layout = tiles.lay_out(problem, (mesh,))
    placed = tiles.place_nodes(mesh, layout)
    tables = [placed[name] for name in ("nodes", "widths", "times")]
    assert sum(x.nbytes for x in jax.tree.leaves(tables)) < 3 * 8 * 2 * max(layout.room)
    (found,), (expected,) = (compute(problem.replace(mesh=x)) for x in (mesh, grid))
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-12)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["grid", "multiplicities", "shares", "comparison"])
@pytest.mark.parametrize("temperature", [0.0, 900.0])
def test_the_error_is_at_least_the_true_one(given, temperature):
    """Whatever is known of the points, in a metal and in an insulator."""
    levels = js.Levels([0.0, 0.657], temperature)
    exact = js.anomalous_hall(QWZ, js.Grid((240, 240), 0.5), levels).value
    keywords = {"comparison": square(8)} if given == "comparison" else {}
    mesh = square(16, **keywords) if given in ("grid", "comparison") else square(16, grid=None)
    if given == "shares":
        mesh = js.PointSet(mesh.k_points, mesh.weights / np.sum(mesh.weights))
    found = js.anomalous_hall(QWZ, mesh, levels)
    true = np.max(np.abs(found.value - exact), axis=(1, 2))
    claimed = np.max(found.error, axis=(1, 2))
    assert np.all(true < claimed)
    if given != "shares":  # where a quarter of the nodes is all that is known of the whole
        assert claimed[0] < 0.05 * np.max(np.abs(exact[0]))


@pytest.mark.parametrize(("k", "shift"), [([0.0, 0.0], 0.0), ([0.25, 0.25], 0.5)])
def test_one_point_has_an_honest_error(k, shift):
    """The point that stands for a grid of one node, or for four of them."""
    levels = js.Levels(0.0)
    found = js.anomalous_hall(QWZ, js.PointSet([k], [4.0]), levels)
    exact = js.anomalous_hall(QWZ, js.Grid((64, 64)), levels)
    assert np.max(np.abs(found.value - exact.value)) < np.max(found.error)


def test_sets_that_are_compared_are_no_larger():
    mesh = representatives(js.Grid((8, 8, 8)), [rotation(4, "z"), rotation(4, "x")], jnp.eye(3))
    compared = (mesh.mesh.coarser(), *mesh.mesh.much_coarser())
    assert [one.size for one in compared] == [27, 27, 8, 8]
    assert mesh.mesh.size == 36


# --- points of a continuum model ------------------------------------------------------------------

DIRAC = js.models.MassiveDirac(velocity=3.0, mass=0.1)


def disk_points(disk: js.Disk, **keywords) -> js.PointSet:
    """Points of a disk in a quarter of it, four for each."""
    nodes = disk.points(jnp.arange(disk.size), None)
    k, weight = np.asarray(nodes.k).T, np.asarray(nodes.weight)
    quarter = (k[:, 0] > 0) & (k[:, 1] > 0)
    return js.PointSet(k[quarter], weight[quarter], volume=np.pi * disk.cutoff**2, **keywords)


def test_a_quarter_of_a_disk():
    disk, levels = js.Disk(0.3, 12, 24), js.Levels([0.05, 0.35], 900.0)
    quarter = disk_points(disk, comparison=disk_points(js.Disk(0.3, 6, 12)))
    mesh = js.Symmetric(quarter, rotation(4))
    found = js.anomalous_hall(DIRAC, mesh, levels)
    expected = js.anomalous_hall(DIRAC, disk, levels)
    scale = np.max(np.abs(expected.value))
    np.testing.assert_allclose(found.value, expected.value, rtol=0, atol=1e-12 * scale)
    assert found.error_rule == "one coarser mesh"
    exact = js.anomalous_hall(DIRAC, js.Disk(0.3, 60, 24), levels).value
    assert np.all(np.abs(found.value - exact) <= found.error)


# --- the door -------------------------------------------------------------------------------------

K, W = [[0.1, 0.2], [0.3, 0.4]], [1, 3]
QUARTER = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: js.PointSet(K, [1.0]), r"`weights` must be 2 numbers.* has shape \(1,\)"),
        (lambda: js.PointSet(K, [[1.0, 1.0]]), r"`weights` must be 2 numbers"),
        (lambda: js.PointSet(K, [1.0, -1.0]), "`weights` must not be negative"),
        (lambda: js.PointSet(K, [0.0, 0.0]), "`weights` must not be negative, and some"),
        (lambda: js.PointSet(K, [1.0, np.nan]), "`weights` must be finite"),
        (lambda: js.PointSet(K, "ab"), "`weights` must be real numbers"),
        (lambda: js.PointSet([[0.1, np.inf]], [1]), "`k_points` must be finite"),
        (lambda: js.PointSet([0.1, 0.2], W), r"`k_points` must be k-points .* shape \(2,\)"),
        (lambda: js.PointSet([[0.1] * 4], [1]), "`k_points` must be k-points of 1, 2 or 3"),
        (lambda: js.PointSet(np.zeros((0, 2)), []), "`k_points` must be .* at least one"),
        (lambda: js.PointSet([[1], [1, 2]], W), "`k_points` must be real numbers"),
        (lambda: js.PointSet(K, W, volume=-1.0), "`volume` must be one positive number"),
        (lambda: js.PointSet(K, W, volume=1.0, grid=(2, 2)), "`volume` must be None for points"),
        (lambda: js.PointSet(K, W, grid=(2, 2)), r"`k_points` must be points of Grid.* \[0.1, 0.2"),
        (lambda: js.PointSet(K, W, grid=(2, 2, 2)), "`grid` must have dimension 2"),
        (lambda: js.PointSet(QUARTER, [1, 1, 1, 2], grid=js.Grid((2, 2), 0.5)), "`weights` must"),
        (
            lambda: js.PointSet([QUARTER[0], [1.25, 0.25]], W, grid=js.Grid((2, 2), 0.5)),
            "`k_points` must have each point .* 1 twice",
        ),
        (lambda: js.PointSet(K, W, comparison=js.Grid((2, 2))), "`comparison` must be another"),
        (
            lambda: js.PointSet(K, W, comparison=js.PointSet([[0.1]], [1])),
            "`comparison` must be of the same dimension",
        ),
        (
            lambda: js.PointSet(K, W, volume=1.0, comparison=js.PointSet(K, W, volume=2.0)),
            "`comparison` must be of the same volume, 1, but is of 2",
        ),
        (lambda: jax.jit(lambda k: js.PointSet(k, W))(np.array(K)), "`k_points` must be known"),
        (lambda: js.Adaptive(js.PointSet(K, W), 1e-3), "`mesh` must be a mesh .* type PointSet"),
        (lambda: js.BroadenedSurface(js.PointSet(K, W), 0.1), "`mesh` must be a mesh"),
    ],
)
def test_a_wrong_set_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    ("model", "mesh", "match"),
    [
        (QWZ, js.PointSet([[0.1]], [1]), "`mesh` must have dimension 2.* PointSet of dimension 1"),
        (QWZ, js.PointSet(K, W, volume=1.0), "must be a PointSet without `volume` for a lattice"),
        (DIRAC, js.PointSet(K, W), "must be a PointSet with `volume` for a continuum model"),
        (DIRAC, js.PointSet(K, W, volume=1.0), r"Give PointSet\(..., comparison"),
        (QWZ, js.PointSet(K, W), r"`temperature` must be positive for a Fermi-surface term"),
        (
            QWZ,
            js.Symmetric(js.PointSet([QUARTER[0]], [4], grid=js.Grid((2, 2), 0.5)), rotation(2)),
            "`weights` must be the numbers of images .* is 4, and it has 2 images",
        ),
        (
            QWZ,
            js.Symmetric(
                js.PointSet(QUARTER[:2], [2, 2], grid=js.Grid((2, 2), 0.5)),
                rotation(2, "x", time_reversal=True),
            ),
            "`k_points` must be representatives .* 2 nodes are the image of none, and 2 of several",
        ),
    ],
)
def test_a_set_that_does_not_fit_is_refused(model, mesh, match):
    with pytest.raises(ValueError, match=match):
        js.density_of_states(model, mesh, js.Levels(0.3))


def test_says_what_it_is():
    mesh = js.PointSet(K, W)
    assert repr(mesh) == (
        "PointSet(k_points=[[0.1, 0.2], [0.3, 0.4]], weights=[1, 3], grid=None, box=None, "
        "comparison=None, number=4.0)"
    )
    texts = describe(mesh=mesh)
    assert texts["mesh.k_points"] == "[[0.1, 0.2], [0.3, 0.4]]"
    assert describe(mesh=js.PointSet(K, [1, 2])) != texts
    with pytest.raises(ValueError, match="read-only"):
        mesh.weights[0] = 2


def test_fractions_outside_of_a_cell_give_a_warning():
    """Such as the corner K of graphene in 1/Å, in place of (2/3, 1/3)."""
    with pytest.warns(UserWarning, match=r"component 1\.703, outside of a cell"):
        js.PointSet([[1.703, 0.0]], [1.0])
    js.PointSet([[1.0, -1.0]], [1.0])
    js.PointSet([[1.703, 0.0]], [1.0], volume=2.0)  # continuum, in 1/Å
