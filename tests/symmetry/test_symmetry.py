"""Meshes reduced by symmetries: the same numbers from fewer points, and no false symmetry."""

import jax
import numpy as np
import pytest
from systems import B

import jaxspin as js
from jaxspin.integration import checks
from jaxspin.integration.integrate import integrate
from jaxspin.integration.problem import Problem, Run
from jaxspin.quantities.charge import ANOMALOUS_HALL, DENSITY_OF_STATES
from jaxspin.quantities.spin import TORQUE_DENSITY
from jaxspin.quantities.spin_hall import DEFINITIONS
from jaxspin.symmetry.operations import (
    INVERSION,
    TIME_REVERSAL,
    Operation,
    group,
    mirror,
    rotation,
)
from jaxspin.symmetry.symmetric import Symmetric
from jaxspin.symmetry.tensors import averaged

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
        checks.check_symmetry(*parts)


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
    mended = averaged(operations, (TORQUE_DENSITY,), 2)(bare)
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
        (js.Grid((6, 6)), HALDANE.lattice, mirror("x"), "alone, but mirror x does not"),
        (js.Grid((6, 6)), QWZ.lattice, rotation(4), "rotation of order 4 about z does not"),
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


def test_bad_arguments():
    with pytest.raises(ValueError, match="`operations` must be operations"):
        Symmetric(SQUARE, [])
    with pytest.raises(ValueError, match="`operations` must be operations"):
        Symmetric(SQUARE, ["inversion"])
    with pytest.raises(ValueError, match="`mesh` must be a mesh"):
        Symmetric(js.Adaptive(SQUARE, 1e-3), INVERSION)
    with pytest.raises(ValueError, match=r"`mesh` must be a mesh .* of type Symmetric"):
        js.Adaptive(Symmetric(SQUARE, INVERSION), 1e-3)
    with pytest.raises(ValueError, match="`axis` must be one of"):
        mirror("w")
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
    """Inside a derivative the checks at the door are left out, and the numbers are the same."""

    def hall(mesh, m):
        model = js.models.QiWuZhang(A=1.0, m=m, t0=0.3)
        return js.anomalous_hall(model, mesh, js.Levels(0.1, 900.0)).value[0, 1, 0]

    whole, part = (
        jax.jvp(lambda m, mesh=mesh: hall(mesh, m), (-1.0,), (1.0,))
        for mesh in (SQUARE, Symmetric(SQUARE, rotation(2)))
    )
    np.testing.assert_allclose(part, whole, rtol=1e-11)
