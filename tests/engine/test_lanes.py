"""Functions rewritten with a lane for each element of their matrices, against the arrays."""

from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin import models
from jaxspin.band_structure.degeneracy_lifting import require_unlifted
from jaxspin.engine import fused, lanes, programs, tile_sizes
from jaxspin.engine.lanes import count_scalars, in_lanes
from jaxspin.engine.small_matrices import dagger, matmul, spin_matrices
from jaxspin.integration import tile_weights
from jaxspin.integration.levels import fermi
from jaxspin.integration.occupation_sums import FermiSum
from jaxspin.integration.problem import Problem
from jaxspin.models.lifted import Points
from jaxspin.quantities.charge import ANOMALOUS_HALL, DENSITY_OF_STATES
from jaxspin.quantities.spin import TORQUE_DENSITY
from jaxspin.quantities.spin_hall import DEFINITIONS
from jaxspin.units import BOLTZMANN

BI2SE3 = models.TopologicalInsulator.bi2se3(exchange=(0.0, 0.0, 0.05))
RASHBA = models.Rashba(4.0, 1.0, 0.1)
MASSLESS = models.Rashba(4.0, 1.0)
QWZ = models.QiWuZhang(1.0, -1.0)
RANDOM = np.random.default_rng(3)


@pytest.fixture
def on_gpu():
    """What the package chooses on a GPU, run here."""
    with mock.patch.object(jax, "default_backend", return_value="gpu"):
        yield


def weigh(model, quantity, mesh, k, how, few=None, temperature=0.0, nodes=None):
    """Levels, weights and splittings at k (d, K)."""
    problem = Problem(quantity, model, mesh, js.Levels([-0.1, 0.2], temperature)).check()
    observed = tile_weights.Observed(
        problem.observable, model, problem.degeneracy, problem.levels.window, few
    )
    nodes = nodes or (jnp.linspace(0.5, 1.5, k.shape[-1]), None)
    return how(observed, Points(k), nodes, require_unlifted)


LEVEL = js.Levels(0.1, 300.0)
SPACE, DISK = js.Space((0.1, 0.1, 0.1), 4, 4, 4), js.Disk(0.9, 4, 4)
CASES = [
    (BI2SE3, DEFINITIONS["proper_corrected"], SPACE),
    (RASHBA, DEFINITIONS["conventional"], DISK),
    (RASHBA, DEFINITIONS["proper_published"], DISK),
    (RASHBA, DEFINITIONS["kubo"], DISK),
    (RASHBA, DENSITY_OF_STATES, DISK),
    (QWZ, ANOMALOUS_HALL, js.Grid((4, 4))),
    (BI2SE3, DEFINITIONS["conventional"], SPACE),  # too many scalars: in arrays
]


@pytest.mark.parametrize(("model", "quantity", "mesh"), CASES)
def test_weights_are_those_of_the_arrays(on_gpu, model, quantity, mesh):
    k = jnp.asarray(RANDOM.normal(size=(model.dimension, 24)) * 0.3)
    found = weigh(model, quantity, mesh, k, tile_weights.weigh_in_lanes)
    with mock.patch.object(jax, "default_backend", return_value="cpu"):
        expected = weigh(model, quantity, mesh, k, tile_weights.weigh_points)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-12 * float(np.max(np.abs(y))), rtol=0)


class ThreeBands(models.MatrixSum):
    """Spin 1 with Rashba coupling, a crystal field and an exchange field."""

    exchange: float = 0.3

    dimension = 2

    @property
    def matrices(self):
        x, y, z = spin_matrices(2)
        return np.array([np.eye(3), x, y, z @ z, z])

    def coefficients(self, k):
        return k @ k, -k[1], k[0] + 0.1 * k[1], 0.2, self.exchange

    def spin(self):
        return spin_matrices(2)


MEANS = [
    (RASHBA, DEFINITIONS["conventional"], DISK, 0.3),
    (MASSLESS, DEFINITIONS["conventional"], DISK, 3e-4),
    (RASHBA, TORQUE_DENSITY, DISK, 0.3),
    (QWZ, ANOMALOUS_HALL, js.Grid((4, 4)), 0.3),
    (ThreeBands(), DEFINITIONS["conventional"], DISK, 0.3),
    *(
        pytest.param(BI2SE3, quantity, mesh, scale, marks=pytest.mark.study)
        for quantity, mesh in (
            (DEFINITIONS["conventional"], SPACE),
            (ANOMALOUS_HALL, js.Ball(0.3, 4, 4, 4)),
        )
        for scale in (0.3, 3e-3)
    ),
]
TWO_LEVELS = FermiSum(np.array([-0.1, 0.2]), np.array([BOLTZMANN * 300.0]), False)


def largest_terms(weights, levels, few):
    """Σ_m f_m W_m at each level, and the sum of the moduli of its terms, which rounding is of."""
    filled = jnp.stack([fermi(levels, mu, thermal) for mu, thermal in few.each])
    terms = filled[:, None] * weights
    return jnp.sum(terms, axis=2), jnp.max(jnp.sum(jnp.abs(terms), axis=2))


@pytest.mark.parametrize(("model", "quantity", "mesh", "scale"), MEANS)
def test_means_at_few_levels_are_sums_over_bands(on_gpu, model, quantity, mesh, scale):
    """Tr(O ρ_E) in lanes, against the weights of the bands in arrays; also where bands are 6e-4
    eV apart or less, and the two terms of a pair cancel."""
    k = jnp.asarray(RANDOM.normal(size=(model.dimension, 24)) * scale)
    found = weigh(model, quantity, mesh, k, tile_weights.weigh_in_lanes, TWO_LEVELS, 300.0)
    with mock.patch.object(jax, "default_backend", return_value="cpu"):
        expected = weigh(model, quantity, mesh, k, tile_weights.weigh_points, None, 300.0)
    assert list(found.weights) == ["levels"]
    sums, size = largest_terms(expected.weights["sea"], expected.levels, TWO_LEVELS)
    np.testing.assert_allclose(found.weights["levels"], sums, atol=1e-12 * float(size), rtol=0)
    np.testing.assert_allclose(found.splitting, expected.splitting, atol=1e-12)


BLOCKS = np.array(
    [
        [[0.5, 0.1j, 0.2], [-0.1j, 0.0, 0.3], [0.2, 0.3, -0.4]],
        *2 * [[[0.3, 0.2, 0.0], [0.2, -0.3, 0.1], [0.0, 0.1, 0.2]]],
        *2 * [[[0.2, 0.0, 0.1j], [0.0, 0.1, 0.3], [-0.1j, 0.3, -0.2]]],
    ]
)
CELLS = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
HOPPING = js.HoppingModel(np.eye(2), CELLS, BLOCKS, np.zeros((3, 2)), spin_matrices(2))
KERNELS = [
    (RASHBA, DEFINITIONS["conventional"], DISK),
    *(
        pytest.param(*case, marks=pytest.mark.study)
        for case in (
            (ThreeBands(), DEFINITIONS["conventional"], DISK),
            (HOPPING, DEFINITIONS["conventional"], js.Grid((4, 4))),
            (BI2SE3, DEFINITIONS["conventional"], SPACE),
            (BI2SE3, ANOMALOUS_HALL, js.Ball(0.3, 4, 4, 4)),
        )
    ),
]


@pytest.mark.parametrize(("model", "quantity", "mesh"), KERNELS)
def test_the_kernel_sums_the_means(on_gpu, monkeypatch, model, quantity, mesh):
    """Interpreted on a processor; two blocks of k-points, and some beyond the mesh."""
    monkeypatch.setattr(fused, "_INTERPRETED", True)
    monkeypatch.setattr(fused, "_BLOCK", 32)
    k = jnp.asarray(RANDOM.normal(size=(model.dimension, 64)) * 0.3)
    nodes = jnp.linspace(0.5, 1.5, 64).at[50:].set(0.0), None
    kernel = partial(weigh, model, quantity, mesh, k, temperature=300.0, nodes=nodes)
    found = kernel(tile_weights.reduce_in_one_kernel, TWO_LEVELS)
    with mock.patch.object(jax, "default_backend", return_value="cpu"):
        expected = kernel(tile_weights.weigh_points)
    sums, size = largest_terms(expected.weights["sea"], expected.levels, TWO_LEVELS)
    tolerance = 1e-12 * float(size)
    np.testing.assert_allclose(found.means, jnp.sum(sums, axis=-1), atol=tolerance, rtol=0)
    levels = expected.levels[:, :50]
    np.testing.assert_allclose(found.lowest, jnp.min(levels, axis=-1), atol=1e-13)
    np.testing.assert_allclose(found.highest, jnp.max(levels, axis=-1), atol=1e-13)
    np.testing.assert_allclose(found.splitting, jnp.min(expected.splitting[:50]), rtol=1e-12)


@pytest.mark.study
def test_a_sum_in_kernels(on_gpu, monkeypatch):
    """Of a mesh, with the setting, and with what the segments do around it."""
    for name, value in (("ENABLED", True), ("_INTERPRETED", True), ("_BLOCK", 2**15)):
        monkeypatch.setattr(fused, name, value)
    monkeypatch.setattr(programs, "_programs", programs._Programs())
    kernels = mock.Mock(side_effect=fused._run_kernel)
    monkeypatch.setattr(fused, "_run_kernel", kernels)
    found = js.anomalous_hall(QWZ, js.Grid((24, 24)), LEVEL)
    assert kernels.called
    with mock.patch.object(jax, "default_backend", return_value="cpu"):
        monkeypatch.setattr(programs, "_programs", programs._Programs())
        expected = js.anomalous_hall(QWZ, js.Grid((24, 24)), LEVEL)
    np.testing.assert_allclose(found.value, expected.value, atol=1e-12)
    np.testing.assert_allclose(found.error, expected.error, atol=1e-12)


def test_what_is_no_kernel_is_none(on_gpu):
    """Not a mean, or points that are no blocks."""
    k = jnp.asarray(RANDOM.normal(size=(2, 64)))
    for name, points in (("proper_corrected", 64), ("conventional", 50)):
        how = k[:, :points], tile_weights.reduce_in_one_kernel, TWO_LEVELS
        assert weigh(RASHBA, DEFINITIONS[name], DISK, *how) is None


def test_what_is_no_mean_keeps_its_weights(on_gpu):
    """The corrected spin Hall response, alone and beside one that is a mean."""
    k = jnp.asarray(RANDOM.normal(size=(2, 8)))
    both = DEFINITIONS["proper_corrected"], TORQUE_DENSITY
    for quantities in (both[:1], both):
        how = RASHBA, quantities, DISK, k, tile_weights.weigh_in_lanes, TWO_LEVELS
        found = jax.eval_shape(lambda how=how: weigh(*how))
        assert list(found.weights) == ["sea"]


def test_nothing_is_computed_in_arrays(on_gpu, monkeypatch):
    """No operation of an integrand lacks its rule."""

    def fail(name):
        raise AssertionError(name)

    monkeypatch.setattr(lanes, "NotInLanes", fail)
    weigh(*CASES[2], jnp.ones((2, 8)), tile_weights.weigh_in_lanes)
    weigh(*MEANS[2][:3], jnp.ones((2, 8)), tile_weights.weigh_in_lanes, TWO_LEVELS)


@pytest.mark.parametrize(("number", "temperature"), [(5, 0.0), (5, 300.0), (1, 300.0), (20, 300.0)])
def test_a_sum_as_a_gpu_does_it(on_gpu, monkeypatch, number, temperature):
    """Tiles larger than the mesh, segments of fixed length, lanes: other roundings alone."""
    levels = js.Levels(np.linspace(-0.5, 1.5, number), temperature)
    monkeypatch.setattr(tile_sizes, "_OWNED", 2**16)
    monkeypatch.setattr(tile_sizes, "_LEAST_LANES", 1)
    monkeypatch.setattr(programs, "_programs", programs._Programs())
    found = js.anomalous_hall(QWZ, js.Grid((24, 24)), levels)
    with mock.patch.object(jax, "default_backend", return_value="cpu"):
        monkeypatch.setattr(programs, "_programs", programs._Programs())
        expected = js.anomalous_hall(QWZ, js.Grid((24, 24)), levels)
    np.testing.assert_allclose(found.value, expected.value, atol=1e-12)
    np.testing.assert_allclose(found.error, expected.error, atol=1e-12)


def product(fixed, tile):
    """Tr(A x x†) for a matrix A and a matrix x of each k, and the phase of its determinant."""
    matrix, (x, weight) = fixed, tile
    square = matmul(matmul(matrix[..., None], x), dagger(x))
    return jnp.einsum("iiK->K", square) * weight, jnp.where(weight > 0, x[0, 1], 0)


def test_a_function_of_matrices():
    """Complex matrices, and one that is the same at all k."""
    matrix = jnp.asarray(RANDOM.normal(size=(3, 3)) + 1j * RANDOM.normal(size=(3, 3)))
    x = jnp.asarray(RANDOM.normal(size=(3, 3, 7)) + 1j * RANDOM.normal(size=(3, 3, 7)))
    tile = x, jnp.asarray(RANDOM.normal(size=7))
    for found, expected in zip(
        in_lanes(product, 10_000)(matrix, tile), product(matrix, tile), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivatives_are_those_of_the_arrays(mode):
    matrix = jnp.asarray(RANDOM.normal(size=(3, 3)))
    tile = jnp.asarray(RANDOM.normal(size=(3, 3, 5)) + 0j), jnp.ones(5)
    found, expected = (
        mode(lambda a, compute=compute: compute(a, tile)[0].real)(matrix)
        for compute in (in_lanes(product, 10_000), product)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_a_batch_of_models():
    matrices = jnp.asarray(RANDOM.normal(size=(4, 3, 3)) + 0j)
    tile = jnp.asarray(RANDOM.normal(size=(3, 3, 5)) + 0j), jnp.ones(5)
    found = jax.vmap(lambda a: in_lanes(product, 10_000)(a, tile)[0])(matrices)
    expected = jnp.stack([product(a, tile)[0] for a in matrices])
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_one_point():
    tile = jnp.asarray(RANDOM.normal(size=(3, 3, 1)) + 0j), jnp.ones(1)
    found, expected = in_lanes(product, 10_000)(jnp.eye(3), tile), product(jnp.eye(3), tile)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-13)


def test_an_operation_without_a_rule_is_computed_in_arrays():
    """A sort has none."""

    def middle(fixed, tile):
        return jnp.sort(tile, axis=0)[1] + fixed

    tile = jnp.asarray(RANDOM.normal(size=(3, 6)))
    np.testing.assert_array_equal(
        in_lanes(middle, 10_000)(jnp.asarray(2.0), tile), middle(2.0, tile)
    )


def test_known_zeros_cost_nothing():
    """A diagonal matrix that is known leaves one product of each element."""
    diagonal = np.diag([1.0, 2.0, 3.0])[..., None]
    tile = jnp.ones((3, 3, 4))
    program = jax.make_jaxpr(
        lambda tile: in_lanes(lambda _, x: matmul(diagonal, x), 10_000)(jnp.zeros(()), tile)
    )(tile)
    products = str(program).count(" mul ")
    assert products == 6  # the first row is multiplied by one


def test_scalars_are_counted():
    def of(model):
        lift = lambda _, k: model.lift(Points(k), tile_weights.Needs())  # noqa: E731
        return count_scalars(lift, jnp.zeros(()), jnp.zeros((model.dimension, 1)))

    assert of(QWZ) < of(BI2SE3) < tile_weights._SHORT
    cells = [(i, j, k) for i in range(-2, 3) for j in range(-2, 3) for k in range(-2, 3)]
    blocks = np.zeros((125, 4, 4), complex)
    blocks[62] = np.diag([1.0, 2.0, 3.0, 4.0])
    long = js.HoppingModel(np.eye(3), cells, blocks, np.zeros((4, 3)), None)
    assert of(long) > tile_weights._SHORT
