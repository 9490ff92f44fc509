"""Meshes reduced by symmetries: the same numbers from fewer points, and no false symmetry."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import B

import jaxspin as js
from jaxspin.integration import symmetry_checks
from jaxspin.integration.integrate import integrate
from jaxspin.integration.problem import Problem, Run
from jaxspin.integration.symmetry_checks import refuse_broken_derivative
from jaxspin.models.base import parameter
from jaxspin.quantities.charge import ANOMALOUS_HALL, DENSITY_OF_STATES
from jaxspin.quantities.spin import TORQUE_DENSITY
from jaxspin.quantities.spin_hall import DEFINITIONS
from jaxspin.symmetry.groups import group
from jaxspin.symmetry.operations import (
    INVERSION,
    TIME_REVERSAL,
    Operation,
    mirror,
    rotation,
)
from jaxspin.symmetry.symmetric import Symmetric
from jaxspin.symmetry.tensors import average_components
from jaxspin.symmetry.wedge import find_wedge

#: The records say how each quantity transforms.
RECORDS = {
    "anomalous_hall": ANOMALOUS_HALL,
    B: DEFINITIONS[B],
    "kubo": DEFINITIONS["kubo"],
    "torque": TORQUE_DENSITY,
    "states": DENSITY_OF_STATES,
}
LEVELS = js.Levels([0.15, 0.5], [0.0, 300.0])
HALDANE = js.models.Haldane(onsite=0.0, hopping=-1.0, next_hopping=0.15, phase=1.2)
QWZ = js.models.QiWuZhang(A=1.0, m=-1.0, t0=0.3)
KANE_MELE = js.models.KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25)
BHZ = js.models.BernevigHughesZhang(u=-1.0, A=1.0, C=0.25)
BI2SE3 = js.models.TopologicalInsulator.bi2se3()
DIRAC = js.models.MassiveDirac(velocity=3.0, mass=0.1)
SQUARE, HONEYCOMB = js.Grid((8, 6)), js.Grid((7, 8), (0.5, 0.0))
SPACE, DISK = js.Space([0.08, 0.08, 0.2], 4, 5, 12), js.Disk(0.3, 6, 24)


def asked(model, mesh, quantities):
    """The problem of several quantities in one pass."""
    return Problem(tuple(RECORDS[name] for name in quantities), model, mesh, LEVELS)


def summed(model, mesh, quantities):
    """The sums as the responses make them."""
    return integrate(asked(model, mesh, quantities).check(), Run(progress=False))


def refuse(model, mesh, quantities, operation, match):
    """The check at the door alone."""
    problem = asked(model, Symmetric(mesh, operation), quantities)
    parts = problem.observable, problem.quantities, model, problem.mesh, js.Covariant()
    with pytest.raises(ValueError, match=match):
        symmetry_checks.check_symmetry(*parts)


#: Model, mesh, quantities, and lists of operations with the factor they reduce the points by.
CASES = {
    "Haldane": (HALDANE, HONEYCOMB, ["anomalous_hall"], {2: [INVERSION]}),
    "QiWuZhang": (
        QWZ,
        SQUARE,
        ["anomalous_hall", B, "torque"],
        {2: [rotation(2)], 4: [rotation(2), rotation(2, "x", time_reversal=True)]},
    ),
    "KaneMele": (
        KANE_MELE,
        HONEYCOMB,
        ["anomalous_hall", "kubo", "torque", "states"],
        {2: [TIME_REVERSAL]},
    ),
    "BernevigHughesZhang": (
        BHZ,
        SQUARE,
        ["anomalous_hall", B],
        {1: [mirror("z")], 4: [INVERSION, TIME_REVERSAL, mirror("x")]},
    ),
    "Bi2Se3": (
        BI2SE3,
        SPACE,
        [B],
        {24: [rotation(3), INVERSION, mirror("x"), TIME_REVERSAL, rotation(4)]},
    ),
    "MassiveDirac": (
        DIRAC,
        DISK,
        ["anomalous_hall", B, "torque"],
        {8: [rotation(8)], 16: [rotation(8), mirror("x", time_reversal=True)]},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_full_mesh(name):
    model, mesh, quantities, lists = CASES[name]
    full = summed(model, mesh, quantities)
    scale = np.max(np.abs(full.value))
    for operations in lists.values():
        reduced = summed(model, Symmetric(mesh, operations), quantities)
        np.testing.assert_allclose(reduced.value, full.value, rtol=0, atol=1e-12 * scale)
        if mesh.domain == "periodic":  # elsewhere the coarser mesh may need other angles to fold
            worst = np.max(full.error)
            np.testing.assert_allclose(reduced.error, full.error, rtol=0, atol=1e-10 * worst)


@pytest.mark.parametrize("name", CASES)
def test_number_of_points(name):
    """Nodes that an operation leaves in place are kept: the rest is divided by the group."""
    model, mesh, _, lists = CASES[name]
    for factor, operations in lists.items():
        folded = Symmetric(mesh, operations).folded(model.lattice)
        assert mesh.size / factor <= folded.size <= mesh.size / factor * 1.8
        times = [np.sum(rule.times) for rule in folded.rules]
        assert times == list(mesh.shape)


def test_coarser_mesh_has_a_number_of_angles_that_folds():
    for angles, order in ((9, 3), (6, 3), (8, 8), (20, 4), (5, 5)):
        folded = Symmetric(js.Disk(0.3, 8, angles), rotation(order)).folded()
        coarser = folded.coarser()
        assert coarser.mesh.angular % order == 0
        assert coarser.mesh.angular != angles
        assert coarser.mesh.radial == 4


def test_without_the_average_the_tensor_is_wrong():
    """Negative control: the sum over the folded mesh alone is not the response."""
    operations = [rotation(8)]
    full, bare = (
        integrate(asked(DIRAC, mesh, ["torque"]), Run(progress=False)).value
        for mesh in (DISK, Symmetric(DISK, operations).folded())
    )
    scale = np.max(np.abs(full))
    assert np.max(np.abs(bare - full)) > 1e-2 * scale
    mended = average_components(operations, (TORQUE_DENSITY,), 2)(bare)
    np.testing.assert_allclose(mended, full, rtol=0, atol=1e-12 * scale)


def test_exchange_breaks_time_reversal():
    """The bands do not show it, for the model keeps its inversion; the response does."""
    magnet = js.models.TopologicalInsulator.bi2se3(exchange=(0.0, 0.02, 0.1))
    with pytest.raises(ValueError, match="time reversal does not carry the anomalous Hall"):
        js.anomalous_hall(magnet, Symmetric(SPACE, TIME_REVERSAL), LEVELS)


@pytest.mark.parametrize(
    ("model", "mesh", "quantity", "operation", "match"),
    [
        pytest.param(
            js.models.Haldane(onsite=0.2, hopping=-1.0, next_hopping=0.15, phase=1.2),
            HONEYCOMB,
            "anomalous_hall",
            INVERSION,
            "inversion changes its bands",
            id="onsite breaks inversion",
        ),
        pytest.param(
            DIRAC,
            DISK,
            "anomalous_hall",
            TIME_REVERSAL,
            "time reversal does not carry the anomalous Hall conductivity at k =",
            id="a mass breaks time reversal, which the bands do not show",
        ),
        pytest.param(
            js.models.MassiveDirac(velocity=3.0, mass=0.1, tilt=(0.5, 0.0)),
            DISK,
            "states",
            TIME_REVERSAL,
            "time reversal changes its bands by .* eV at k =",
            id="a tilt breaks time reversal",
        ),
        pytest.param(
            QWZ,
            SQUARE,
            B,
            INVERSION,
            "inversion does not carry the spin Hall conductivity \\(proper_corrected\\) at k =",
            id="an inversion that turns the spin is a rotation",
        ),
        pytest.param(
            js.models.MassiveDirac(velocity=3.0, mass=0.1, warping=100.0),
            DISK,
            "states",
            rotation(4),
            "rotation of order 4 about z changes its bands",
            id="warping leaves a rotation of order 3",
        ),
        pytest.param(
            DIRAC,
            DISK,
            "torque",
            mirror("x"),
            "mirror x does not carry the torque density at k =",
            id="a mass along z breaks the mirror of x",
        ),
    ],
)
def test_what_is_no_symmetry_is_refused(model, mesh, quantity, operation, match):
    refuse(model, mesh, [quantity], operation, match)


def test_a_rotation_that_warping_keeps():
    warped = js.models.MassiveDirac(velocity=3.0, mass=0.1, warping=100.0)
    asked(warped, Symmetric(DISK, rotation(3)), ["states"]).check()


@pytest.mark.parametrize(
    ("mesh", "lattice", "operation", "match"),
    [
        (js.Grid((6, 8)), HALDANE.lattice, mirror("x"), "nodes .* but mirror x does not"),
        (js.Grid((6, 8)), QWZ.lattice, rotation(4), "rotation of order 4 about z does not"),
        (js.Grid((6, 6)), HALDANE.lattice, rotation(4), "lattice .* but rotation of order 4"),
        (js.Grid((6, 6)), QWZ.lattice, rotation(4, "x"), "lattice .* but rotation of order 4"),
        (js.Grid((6, 6), 0.3), QWZ.lattice, INVERSION, "nodes .* but inversion does not"),
        (js.Disk(1.0, 4, 10), None, rotation(3), "counts are .4, 10."),
        (js.Plane([1.0, 2.0], 4, 12), None, rotation(4), "rotation of order 4 about z does not"),
        (js.Space(1.0, 4, 4, 9), None, INVERSION, "nodes .* but inversion does not"),
        (js.Space(1.0, 4, 4, 12), None, rotation(4, "x"), "rotation of order 4 about x does not"),
        (js.Disk(1.0, 4, 12), None, rotation(4, "x"), "rotation of order 4 about x does not"),
    ],
)
def test_what_the_mesh_cannot_use_is_refused(mesh, lattice, operation, match):
    with pytest.raises(ValueError, match=match):
        Symmetric(mesh, operation).folded(lattice)


def test_a_traced_lattice_folds_only_what_needs_no_lattice():
    def size(operation):
        return lambda lattice: Symmetric(SQUARE, operation).folded(lattice).size + 0 * lattice[0, 0]

    assert jax.jit(size(INVERSION))(QWZ.lattice) == 5 * 6
    with pytest.raises(ValueError, match="here they are being traced, and mirror x"):
        jax.jit(size(mirror("x")))(QWZ.lattice)


def test_operations_about_any_axis():
    """The cubic group from its generators, conjugation, and names that read the matrix back."""
    cubic = js.symmetry.group([rotation(4), rotation(3, [1, 1, 1]), INVERSION])
    assert cubic.label == "m-3m"
    for number, axis in enumerate("xyz"):
        unit = np.eye(3)[number]
        assert rotation(4, unit) == rotation(4, axis)
        assert mirror(unit, time_reversal=True) == mirror(axis, time_reversal=True)
    tilted = np.array([0.3, -0.4, 1.2])
    for order in (1, 2, 3, 5, 6):
        matrix = np.array(rotation(order, tilted).matrix)
        np.testing.assert_allclose(np.linalg.matrix_power(matrix, order), np.eye(3), atol=1e-15)
        np.testing.assert_allclose(matrix @ tilted, tilted, atol=1e-15)
        opposite = rotation(order, -2 * tilted)
        np.testing.assert_allclose(np.array(opposite.matrix), matrix.T, atol=1e-15)
        if order > 1:
            # Right-handed: n · (v × R v) = sin φ for v normal to n.
            v = np.array([4.0, 3.0, 0.0]) / 5
            turned = np.dot(tilted / 1.3, np.cross(v, matrix @ v))
            np.testing.assert_allclose(turned, np.sin(2 * np.pi / order), atol=1e-15)
            named = js.symmetry.operations.name_operation(matrix).name
            # Half a turn has no sense; else the name has the sense too.
            assert named == rotation(order, tilted).name
    reflection = np.array(mirror(tilted).matrix)
    np.testing.assert_allclose(reflection @ tilted, -tilted, atol=1e-15)
    np.testing.assert_allclose(-np.array(rotation(2, tilted).matrix), reflection, atol=1e-15)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`operations` must be operations"):
        Symmetric(SQUARE, [])
    with pytest.raises(ValueError, match="`operations` must be operations"):
        Symmetric(SQUARE, ["inversion"])
    with pytest.raises(ValueError, match="`mesh` must be a mesh"):
        Symmetric("Grid", INVERSION)
    with pytest.raises(ValueError, match=r"type Symmetric.* Symmetric\(Adaptive"):
        js.Adaptive(Symmetric(SQUARE, INVERSION), 1e-3)
    with pytest.raises(ValueError, match="`axis` must be one of"):
        mirror("w")
    for axis in ([1, 1], "[1 1 1]", [0, 0, 0], [1, np.nan, 0], ["x"]):
        for make in (mirror, partial(rotation, 3)):
            with pytest.raises(ValueError, match=r"`axis` must (be|have)"):
                make(axis)
    with pytest.raises(ValueError, match="`order` must be a positive integer"):
        rotation(0)
    with pytest.raises(ValueError, match="`matrix` must be an orthogonal matrix"):
        Operation("stretch", np.diag([2.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="must be a Grid for a lattice model"):
        js.anomalous_hall(QWZ, Symmetric(DISK, INVERSION), LEVELS)


def test_groups():
    assert len(group([rotation(6)])) == 6
    assert len(group([rotation(4), rotation(4, "x")])) == 24
    assert len(group([rotation(2), mirror("x"), TIME_REVERSAL])) == 8
    np.testing.assert_allclose(mirror("x").on_spin, np.diag([1, -1, -1]))
    np.testing.assert_allclose(INVERSION.on_spin, np.eye(3))


def test_derivative_on_a_reduced_mesh():
    """The numbers are those of the whole mesh."""

    def hall(mesh, m):
        model = js.models.QiWuZhang(A=1.0, m=m, t0=0.3)
        return js.anomalous_hall(model, mesh, js.Levels(0.1, 900.0)).value[0, 1, 0]

    whole, part = (
        jax.jvp(lambda m, mesh=mesh: hall(mesh, m), (-1.0,), (1.0,))
        for mesh in (SQUARE, Symmetric(SQUARE, rotation(2)))
    )
    np.testing.assert_allclose(part, whole, rtol=1e-11)


class Tilted(js.Model):
    """A Chern insulator with tilt sin(k_x) beside it, which breaks inversion."""

    tilt: jax.Array
    dimension = property(lambda self: 2)
    lattice = property(lambda self: jnp.eye(2))

    def __call__(self, k):
        return js.models.QiWuZhang(A=1.0, m=-1.0)(k) + self.tilt * jnp.sin(k[0]) * np.eye(2)


def test_traced_model_without_the_operation_is_nan():
    """Value, error and derivative; of a batch only for the models that do not have it."""
    levels = js.Levels(0.1, 900.0)

    def hall(tilt, mesh=Symmetric(js.Grid((6, 6)), INVERSION)):  # noqa: B008  (immutable)
        return js.anomalous_hall(Tilted(tilt), mesh, levels)

    value = lambda tilt: hall(tilt).value[0, 1, 0]  # noqa: E731
    known = js.anomalous_hall(Tilted(0.0), js.Grid((6, 6)), levels).value[0, 1, 0]
    found = jax.vmap(lambda tilt: (hall(tilt).value[0, 1, 0], hall(tilt).error[0, 1, 0]))(
        jnp.array([0.0, 0.1])
    )
    np.testing.assert_allclose(found[0][0], known, rtol=1e-11)
    assert np.all(np.isnan([x[1] for x in found]))
    assert np.isnan(jax.grad(value)(0.1))
    with pytest.raises(ValueError, match="inversion changes its bands"):
        value(0.1)


def test_traced_model_whose_lattice_is_known():
    """All operations of the group: the lattice is known though the parameters are not."""
    group = js.symmetry.find(QWZ).group
    mesh = Symmetric(js.Grid((8, 8)), group)

    def hall(mass, mesh):
        model = js.models.QiWuZhang(A=1.0, m=mass)
        response = js.anomalous_hall(model, mesh, js.Levels(0.5, 300.0), progress=False)
        return response.component(flow="y", field="x").value[0]

    masses = jnp.array([-1.0, -0.8])
    reduced, whole = (jax.jit(jax.vmap(lambda m, mesh=x: hall(m, mesh))) for x in (mesh, mesh.mesh))
    np.testing.assert_allclose(reduced(masses), whole(masses), rtol=1e-10)
    slopes = [jax.grad(hall)(masses[0], x) for x in (mesh, mesh.mesh)]
    np.testing.assert_allclose(*slopes, rtol=1e-8)


class Stretched(js.Model):
    """A Chern insulator whose mass grows along x and y, alike with fourfold symmetry."""

    mass: jax.Array = parameter()
    x: jax.Array = parameter()
    y: jax.Array = parameter()
    dimension = property(lambda self: 2)
    lattice = property(lambda self: np.eye(2))

    def __call__(self, k):
        mass = self.mass + self.x * jnp.cos(k[0]) + self.y * jnp.cos(k[1])
        return jnp.sin(k[0]) * js.PAULI[1] + jnp.sin(k[1]) * js.PAULI[2] + mass * js.PAULI[3]


def check_broken_derivatives(function):
    """Of (mass, x, y), forwards and backwards: what keeps the symmetry is right, and two numbers
    that keep it together are; returns the derivatives on both ways."""
    both = lambda mass, x: function(mass, x, x)  # noqa: E731
    found = [way(both, (0, 1))(-1.0, 1.0) for way in (jax.jacfwd, jax.grad)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10)
    for way in (jax.jacfwd, jax.grad):
        mass, x = way(lambda mass, x: function(mass, x, 1.0), (0, 1))(-1.0, 1.0)
        np.testing.assert_allclose(mass, found[0][0], rtol=1e-10)
        assert np.isnan(x)
    assert np.isfinite(jax.jit(function)(-1.0, 1.0, 1.0))
    return found[0]


FOURFOLD = Symmetric(js.Grid((6, 6)), rotation(4))


def test_derivatives_by_what_breaks_an_operation_are_nan():
    """Of any value that stands for a sum on the mesh, at a point where the model has the group."""

    def value(mass, x, y):
        model = Stretched(mass, x, y)
        return refuse_broken_derivative(model.mass * model.x**2 * model.y**3, model, FOURFOLD)

    np.testing.assert_allclose(check_broken_derivatives(value), [1, -5], rtol=1e-12)


@pytest.mark.study
def test_derivatives_of_a_sum_by_what_breaks_an_operation_are_nan():
    levels = js.Levels(-0.6, 900.0)

    def hall(mass, x, y, mesh=FOURFOLD):
        return js.anomalous_hall(Stretched(mass, x, y), mesh, levels).value[0, 0, 1]

    found = check_broken_derivatives(hall)
    whole = lambda mass, x: hall(mass, x, x, FOURFOLD.mesh)  # noqa: E731
    np.testing.assert_allclose(found, jax.jacfwd(whole, (0, 1))(-1.0, 1.0), rtol=1e-10)


def test_traced_mesh_with_a_false_operation_is_nan():
    def hall(cutoff, operation):
        mesh = Symmetric(js.Disk(cutoff, 4, 8), operation)
        return js.anomalous_hall(DIRAC, mesh, js.Levels(0.3, 300.0)).value[0, 1, 0]

    known = hall(0.3, rotation(2))
    np.testing.assert_allclose(jax.jit(lambda c: hall(c, rotation(2)))(0.3), known, rtol=1e-11)
    assert np.isnan(jax.jit(lambda c: hall(c, mirror("x")))(0.3))


# --- adaptive meshes ------------------------------------------------------------------------------

ANTIUNITARY = mirror("x", time_reversal=True)


@pytest.mark.parametrize(
    ("actions", "angular", "images"),
    [
        ([], False, 1),
        ([((-1, 0.0), (-1, 0.0))], False, 2),  # inversion of a grid
        ([((-1, 0.0), (1, 0.0)), ((1, 0.0), (-1, 0.0))], False, 4),
        ([((-1, 0.3), (1, 0.0))], False, 2),
        ([((1, 0.0), (1, 0.25))], True, 4),  # rotation by a quarter of a turn
        ([((1, 0.0), (1, 1 / 3)), ((1, 0.0), (-1, 0.5))], True, 3),  # a mirror cuts no angle
        ([((-1, 1.0), (1, 1 / 2)), ((1, 0.0), (1, 1 / 3))], True, 6),
    ],
)
def test_images_of_a_wedge_fill_the_cube_once(actions, angular, images):
    wedge = find_wedge(actions, 2, angular)
    assert wedge.images == images
    assert 1 / np.prod(wedge.width) == pytest.approx(images)
    u = np.random.default_rng(0).uniform(size=(50, 2))
    found = wedge.all_images(u)
    inside = np.all((found >= wedge.lower) & (found < np.add(wedge.lower, wedge.width)), axis=-1)
    copies = np.sum(inside, axis=0) * images  # maps that act alike on the wedge count once
    assert np.all(copies == len(wedge.maps))


def adaptive_pair(compute, mesh, operations, rtol):
    """The adaptive result of a mesh, and that of its irreducible part."""
    refined = js.Adaptive(mesh, rtol)
    return compute(refined), compute(Symmetric(refined, operations))


@pytest.mark.parametrize("mass", [-1.0, -1.999])  # a gap of 2 meV in the corner of the wedge
def test_adaptive_by_symmetry_is_within_its_error(mass):
    model = js.models.QiWuZhang(A=1.0, m=mass)
    hall = lambda mesh: js.anomalous_hall(model, mesh, js.Levels(0.0), progress=False)  # noqa: E731
    whole, part = adaptive_pair(hall, SQUARE, [INVERSION, ANTIUNITARY], 1e-6)
    assert part.info["points"] < 0.6 * whole.info["points"]
    chern = part.to("e^2/h")
    assert abs(abs(chern.value[0, 1, 0]) - 1) <= chern.error[0, 1, 0] < 1e-5
    assert np.all(part.value[0].diagonal() == 0)  # forbidden


@pytest.mark.parametrize("kelvin", [0.0, 300.0])
def test_adaptive_spin_hall_by_symmetry_is_that_of_the_whole(kelvin):
    model, levels = js.models.Rashba(4.0, 1.0, 0.1), js.Levels([0.1, 0.3], kelvin)
    compute = lambda mesh: js.spin_hall(  # noqa: E731
        model, mesh, levels, definition="conventional", progress=False
    )
    whole, part = adaptive_pair(compute, js.Disk(0.9, 10, 10), [rotation(4)], 1e-4)
    assert np.all(np.abs(part.value - whole.value) <= part.error + whole.error)
    assert np.max(part.error) <= 2e-4 * np.max(np.abs(part.value))
    assert part.value[0, 0, 0, 0] == 0  # forbidden by the group


def test_adaptive_refuses_what_it_cannot_use():
    refined = js.Adaptive(SQUARE, 1e-3)
    with pytest.raises(ValueError, match="must take the lattice of the model to itself, but rot"):
        js.anomalous_hall(QWZ, Symmetric(refined, rotation(3)), LEVELS)
    tilted = Symmetric(js.Adaptive(js.Ball(0.1, 5, 5, 5), 1e-3), rotation(4, "x"))
    with pytest.raises(ValueError, match="must act on each coordinate of the Ball alone, but rot"):
        tilted.wedge()
    with pytest.raises(ValueError, match=r"time reversal does not carry|time reversal changes"):
        js.anomalous_hall(QWZ, Symmetric(refined, TIME_REVERSAL), LEVELS)
    with pytest.raises(ValueError, match="must have fixed points to be folded, but is an Adaptive"):
        Symmetric(refined, INVERSION).folded(QWZ.lattice)
    with pytest.raises(ValueError, match=r"must be a fixed mesh .* inside jit"):
        jax.jit(lambda model: js.anomalous_hall(model, Symmetric(refined, INVERSION), LEVELS))(QWZ)
    point_set = js.PointSet([[0.0, 0.0]], [1.0])
    with pytest.raises(ValueError, match=r"`mesh` must be a mesh .* type PointSet"):
        Symmetric(js.Adaptive(point_set, 1e-3), INVERSION)
