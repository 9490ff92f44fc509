"""Groups of operations: names of their elements, labels, closure, and what is refused."""

import numpy as np
import pytest

import jaxspin as js
from jaxspin.symmetry.groups import point_groups
from jaxspin.symmetry.operations import name_operation

#: Rows a_i; the lattices of `symmetry.json` of the design sheet.
LATTICES = {
    "sc": np.eye(3),
    "fcc": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "bcc": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "hexagonal": np.array([[1, 0, 0], [-0.5, np.sqrt(3) / 2, 0], [0, 0, 1.6]]),
    "tetragonal": np.diag([1, 1, 1.3]),
    "bct": np.array([[-0.5, 0.5, 0.65], [0.5, -0.5, 0.65], [0.5, 0.5, -0.65]]),
    "rhombohedral": np.array([[1, 0.2, 0.2], [0.2, 1, 0.2], [0.2, 0.2, 1]]),
    "orthorhombic C": np.array([[0.5, 0.4, 0], [-0.5, 0.4, 0], [0, 0, 1.3]]),
    "monoclinic": np.array([[1, 0, 0.2], [0, 1.2, 0], [0, 0, 1.5]]),
}
HOLOHEDRIES = ["m-3m", "m-3m", "m-3m", "6/mmm", "4/mmm", "4/mmm", "-3m", "mmm", "2/m"]


def test_there_are_122_groups():
    """32 without time reversal, 32 with it, 58 black-white, each closed."""
    found = point_groups()
    assert len(found) == 122
    assert sum(label.endswith("1'") for label in found) == 32
    assert sum("(" in label for label in found) == 58
    for label, group in found.items():
        assert group.label == label
        assert len(js.symmetry.group(group.generators)) == len(group)


@pytest.mark.parametrize(
    ("matrix", "name"),
    [
        (np.eye(3), "identity"),
        (-np.eye(3), "inversion"),
        (np.eye(3)[[2, 0, 1]], "rotation of order 3 about [1 1 1]"),
        (np.eye(3)[[1, 2, 0]], "rotation of order 3 about [-1 -1 -1]"),
        (np.eye(3)[[1, 0, 2]], "mirror [1 -1 0]"),
        (-np.array(js.symmetry.rotation(4).matrix), "rotoinversion of order 4 about z"),
        (np.linalg.matrix_power(js.symmetry.rotation(8).matrix, 3), "rotation by 135 degrees ab"),
        (np.diag([-1, 1, -1]), "rotation of order 2 about y"),
    ],
)
def test_names(matrix, name):
    assert name_operation(np.array(matrix)).name.startswith(name)
    assert name_operation(np.array(matrix), True).name.endswith("time reversal")


def test_a_name_that_was_given_is_kept():
    mine = js.symmetry.Operation("my own", np.diag([1.0, -1, 1]))
    assert "my own" in [one.name for one in js.symmetry.group([mine, js.symmetry.INVERSION])]


def test_labels_do_not_depend_on_the_setting():
    turn = np.array(js.symmetry.rotation(7, "x").matrix) @ js.symmetry.rotation(5, "y").matrix
    for label in ("m-3m1'", "4/mmm(4/m)", "-6m2", "mm2(m)"):
        turned = [
            name_operation(turn @ np.array(one.matrix) @ turn.T, one.time_reversal)
            for one in js.symmetry.point_group(label)
        ]
        assert js.symmetry.PointGroup(turned).label == label
    assert js.symmetry.group([js.symmetry.rotation(8)]).label == "order 8"


@pytest.mark.parametrize(("name", "label"), list(zip(LATTICES, HOLOHEDRIES, strict=True)))
def test_point_groups_of_lattices(name, label):
    rows = LATTICES[name]
    assert js.symmetry.of_lattice(rows).label == label
    skewed = np.array([[1, 0, 0], [3, 1, 0], [-2, 5, 1]]) @ rows  # the same lattice
    assert js.symmetry.of_lattice(skewed.round(6)).label == label
    long = np.array([[1, 0, 0], [40, 1, 0], [30, 70, 1]]) @ rows  # 10⁸ vectors are not longer
    assert js.symmetry.of_lattice(long).label == label


def test_point_groups_of_planes_and_chains():
    """With z -> −z, which acts on the spin."""
    hexagonal = np.array(LATTICES["hexagonal"])[:2, :2]
    assert js.symmetry.of_lattice(hexagonal).label == "6/mmm"
    assert js.symmetry.of_lattice([[1.0, 0], [0.2, 1.3]]).label == "2/m"
    assert js.symmetry.of_lattice([[2.0]]).label == "4/mmm"


def test_a_set_that_is_no_group():
    quarter = js.symmetry.rotation(4)
    with pytest.raises(ValueError, match=r"must be all elements of a group, but .* 3 more"):
        js.symmetry.PointGroup([quarter])
    assert len(js.symmetry.group([quarter])) == 4
    assert len(js.symmetry.group([])) == 1


def test_groups_are_their_elements():
    """Names and translations do not matter."""
    quarter, named = js.symmetry.rotation(4), js.symmetry.point_group("4")
    assert js.symmetry.group([quarter]) == named != js.symmetry.point_group("-4")
    assert len({js.symmetry.group([quarter]), named}) == 1
    glide = js.symmetry.Operation("glide", quarter.matrix, translation=[0, 0, 0.5])
    assert glide in named
    assert js.symmetry.TIME_REVERSAL not in named
    assert named != "4"


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: js.symmetry.PointGroup(["inversion"]), "`operations` must be operations"),
        (lambda: js.symmetry.group([name_operation(_turn(1.0))]), "generate a finite group"),
        (lambda: js.symmetry.group("4mm"), r"`operations` must be .*point_group\(label\)"),
        (lambda: js.symmetry.group(None), "`operations` must be operations"),
        (lambda: js.symmetry.point_group("m3m"), "`label` must be one of the 122"),
        (lambda: js.symmetry.point_group(["m"]), "`label` must be one of the 122"),
        (lambda: js.symmetry.Operation("o", [[1], [1, 2]]), "`matrix` must be real numbers"),
        (
            lambda: js.symmetry.Operation("o", np.eye(3), translation=[0, 1]),
            r"`translation` must have shape \(3,\)",
        ),
        (
            lambda: js.symmetry.point_group("m-3m").subgroup_of((4, 4), np.eye(2)),
            "`grid` must be a Grid",
        ),
        (
            lambda: js.symmetry.point_group("m-3m").subgroup_of(js.Grid((4, 4)), np.eye(3)),
            r"`lattice` must have shape \(2, 2\)",
        ),
        (lambda: js.Symmetric(js.Grid((4, 4)), js.symmetry.rotation(4)).folded(), "`lattice` must"),
        (lambda: js.symmetry.of_lattice([[1.0, 0, 0]]), "`lattice` must"),
        (lambda: js.symmetry.of_lattice(np.zeros((2, 2))), "`lattice` must span a volume"),
        (lambda: js.symmetry.of_lattice([[np.nan]]), "`lattice` must"),
    ],
)
def test_bad_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def _turn(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
