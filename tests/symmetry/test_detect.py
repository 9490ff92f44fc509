"""Where groups come from: a crystal by spglib, a model by what no basis changes."""

import jax.numpy as jnp
import numpy as np
import pytest
from symmetric_models import symmetric_model
from test_groups import LATTICES

import jaxspin as js
from jaxspin.engine.small_matrices import PAULI
from jaxspin.models.base import Model, parameter
from jaxspin.symmetry.groups import point_groups

HALF = np.arange(1.5, -2, -1)
RAISE = np.diag(np.sqrt(3.75 - HALF[1:] * (HALF[1:] + 1)), 1)
J = np.array([(RAISE + RAISE.T) / 2, (RAISE - RAISE.T) / 2j, np.diag(HALF)])


class Holes(Model):
    """Luttinger's Hamiltonian with strain, inversion asymmetry, and a magnetic field."""

    g3: float = parameter(0.3)
    strain: float = parameter(0.0)
    asymmetry: float = parameter(0.0)
    field: tuple = parameter((0.0, 0.0, 0.0))

    @property
    def dimension(self):
        return 3

    def __call__(self, k):
        squares = sum(k[i] ** 2 * (J[i] @ J[i] - 1.25 * np.eye(4)) for i in range(3))
        h = (k @ k) * jnp.eye(4) - 0.4 * squares
        for i, j in ((0, 1), (1, 2), (2, 0)):
            h = h - 2 * self.g3 * k[i] * k[j] * (J[i] @ J[j] + J[j] @ J[i])
        for i in range(3):
            a, b = J[(i + 1) % 3], J[(i + 2) % 3]
            odd = J[i] @ (a @ a - b @ b)
            h = h + self.asymmetry * k[i] * (odd + odd.conj().T)
        field = jnp.asarray(self.field)
        return h + self.strain * J[2] @ J[2] + sum(field[i] * J[i] for i in range(3))

    def spin(self):
        return 2 / 3 * J


class Electrons(Model):
    """A plane with Rashba and Dresselhaus coupling, warping, and a magnetic field."""

    dresselhaus: float = parameter(0.0)
    warping: float = parameter(0.0)
    field: tuple = parameter((0.0, 0.0, 0.0))

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        one, x, y, z = PAULI
        h = (k @ k) * one + 0.5 * (k[1] * x - k[0] * y)
        h = h + self.dresselhaus * (k[0] * x - k[1] * y)
        h = h + self.warping * (k[0] ** 3 - 3 * k[0] * k[1] ** 2) * z
        field = jnp.asarray(self.field)
        return h + field[0] * x + field[1] * y + field[2] * z

    def spin(self):
        return jnp.asarray(PAULI[1:])


#: Orders of the groups from a prototype of its own (symmetry.json of the design sheet, kp_groups),
#: which are what these perturbations leave of m-3m1' and of C_∞v.
CASES = {
    "Luttinger": (Holes(), 96, "m-3m1'"),
    "strain along z": (Holes(strain=0.2), 32, "4/mmm1'"),
    "inversion asymmetry": (Holes(asymmetry=0.1), 48, "-43m1'"),
    "field along z": (Holes(field=(0.0, 0.0, 0.2)), 16, "4/mmm(4/m)"),
    "field along 111": (Holes(field=(0.2, 0.2, 0.2)), 12, "-3m(-3)"),
    "Rashba and Dresselhaus": (Electrons(dresselhaus=0.2), 8, "mm21'"),
    "hexagonal warping": (Electrons(warping=0.3), 12, "3m1'"),
    "Rashba in a field along x": (Electrons(field=(0.1, 0.0, 0.0)), 4, "mm2(m)"),
}


@pytest.mark.parametrize("name", CASES)
def test_continuum_models(name):
    model, order, label = CASES[name]
    found = js.symmetry.find(model)
    assert (len(found.group), found.group.label) == (order, label)
    kept = [one.relative for one in found.tried if one.relative <= 1e-6]
    assert max(kept) < 2e-8
    assert min(one.relative for one in found.tried if one.relative > 1e-6) > 1e-3


def test_a_continuous_symmetry():
    """Rashba's plane has rotations of order 4 and 6, which close no group together: the larger
    family is taken, or the one that is asked for."""
    found = js.symmetry.find(Electrons())
    assert sum(one.relative < 1e-6 for one in found.tried) == 32
    assert found.group.label == "6mm1'"
    square = js.symmetry.find(Electrons(), candidates=js.symmetry.point_group("4/mmm"))
    assert square.group.label == "4mm1'"
    sphere = js.symmetry.find(Holes(g3=0.2))
    assert sum(one.relative < 1e-6 for one in sphere.tried) == 128


@pytest.mark.parametrize("label", ["m-3m(m-3)", "4221'", "-43m(23)"])
def test_lattice_models(label):
    found = js.symmetry.find(symmetric_model(point_groups()[label], 9, 1))
    assert found.group.label == label


@pytest.mark.study
def test_models_of_all_groups():
    for label, group in point_groups().items():
        found = js.symmetry.find(symmetric_model(group, 9, 4))
        assert found.group.label == label
        assert max(one.relative for one in found.tried if one.relative <= 1e-6) < 1e-10
        broken = [one.relative for one in found.tried if one.relative > 1e-6]
        assert not broken or min(broken) > 1e-3


def test_the_table_says_what_is_broken():
    found = js.symmetry.find(js.models.QiWuZhang(A=1.0, m=-1.0), mesh=js.Grid((4, 4)))
    text = str(found).splitlines()
    assert text[0] == "<422(4), 8 elements> of 32 operations that were tried"
    assert text[1] == "broken | energies, meV: largest | rms | on the mesh | all, relative"
    assert text[-1] == "and 12 more in `tried`"
    assert found.tried[0].on_mesh < 1e-12 < found.tried[0].relative


def test_no_element_is_beyond_the_tolerance():
    """Mirrors x and [1 1 0] are broken, and their product, a quarter turn, by more than each."""
    cells = [[1, 0], [0, 1], [1, 1]]
    hops = np.array([-1.0, -1.001, 1e-3])
    model = js.models.HoppingModel(
        np.eye(2),
        [*cells, *(-np.array(cells)).tolist()],
        np.tile(hops, 2)[:, None, None],
        [[0.0, 0.0]],
        spin=None,
    )
    find = js.symmetry.find
    labels = [find(model, x).group.label for x in (1e-6, 2.5e-3, 3.3e-3, 4e-3)]
    assert labels == ["2/m1'", "mmm1'", "mmm1'", "4/mmm1'"]
    found = find(model, 3.3e-3)
    assert js.symmetry.mirror("x") not in found.group  # 2.9·10⁻³; mirror [1 1 0] 1.9·10⁻³
    assert max(x.relative for x in found.tried if x.operation in found.group) < 2e-3
    assert "\nmirror x | " in str(found)


def test_a_group_that_was_found_reduces_a_mesh():
    model = js.models.QiWuZhang(A=1.0, m=-1.0)
    mesh = js.Symmetric(js.Grid((8, 8)), js.symmetry.find(model).group)
    assert mesh.folded(model.lattice).size == 15


# --- crystals -------------------------------------------------------------------------------------

FCC, BCC = LATTICES["fcc"], LATTICES["bcc"]
HCP = np.array([[2.5, 0, 0], [-1.25, 2.5 * np.sqrt(3) / 2, 0], [0, 0, 4.07]])
RUTILE = [
    [0, 0, 0],
    [0.5, 0.5, 0.5],
    [0.305, 0.305, 0],
    [0.695, 0.695, 0],
    [0.195, 0.805, 0.5],
    [0.805, 0.195, 0.5],
]

#: Lattice, positions, species, moments, label: the groups of the structures in textbooks.
CRYSTALS = {
    "Pt": (3.92 * FCC, [[0, 0, 0]], ["Pt"], None, "m-3m1'"),
    "diamond": (3.57 * FCC, [[0, 0, 0], [0.25] * 3], ["C", "C"], None, "m-3m1'"),
    "GaAs": (5.65 * FCC, [[0, 0, 0], [0.25] * 3], ["Ga", "As"], None, "-43m1'"),
    "Fe along z": (2.87 * BCC, [[0, 0, 0]], ["Fe"], [2.2], "4/mmm(4/m)"),
    "Fe along 111": (2.87 * BCC, [[0, 0, 0]], [26], [[1.3] * 3], "-3m(-3)"),
    "Co along c": (
        HCP,
        [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
        ["Co", "Co"],
        [1.6, 1.6],
        "6/mmm(6/m)",
    ),
    "antiferromagnet with T and a translation (type IV)": (
        3 * np.eye(3),
        [[0, 0, 0], [0.5] * 3],
        ["Cr", "Cr"],
        [[0, 0, 1], [0, 0, -1]],
        "4/mmm1'",
    ),
    "MnF2": (
        np.diag([4.87, 4.87, 3.3]),
        RUTILE,
        ["Mn"] * 2 + ["F"] * 4,
        [4.6, -4.6, 0, 0, 0, 0],
        "4/mmm(mmm)",
    ),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals(name):
    *crystal, label = CRYSTALS[name]
    assert js.symmetry.of_crystal(*crystal).label == label


@pytest.mark.parametrize("unit", [1e-23, 1.0, 1e4])
def test_moments_in_any_unit(unit):
    """And equal to a digit less than 1/1000."""
    lattice, places, species, _, label = CRYSTALS["MnF2"]
    moments = unit * np.array([4.6, -4.5996, 0, 0, 0, 1e-3])
    assert js.symmetry.of_crystal(lattice, places, species, moments).label == label
    moments[1] *= 0.99
    ferrimagnet = js.symmetry.of_crystal(lattice, places, species, moments)
    assert ferrimagnet.label == "mmm(2/m)"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((FCC, [[0, 0]], ["Pt"]), "`positions` must have shape"),
        ((FCC, [[0, 0, 0]], ["Pt", "Pt"]), "`species` must name each of the 1 atoms"),
        ((FCC, [[0, 0, 0]], "Pt"), None),
        ((FCC, [[0, 0, 0], [0.5] * 3], "Pt"), "`species` must name each of the 2 atoms"),
        ((FCC, [[0, 0, 0]], ["Pt"], [[0, 0]]), "`moments` must have shape"),
        ((FCC, [[0, 0, 0]], ["Pt"], [1.0, 2.0]), "`moments` must have shape"),
        ((FCC, [[0, 0, 0]], ["Pt"], [[0, 0, np.inf]]), "`moments`"),
        ((FCC, [[0, 0, 0], [0, 0, 1]], ["Pt", "Pt"]), "each atom a place of its own"),
        ((FCC, [[0, 0, 0], [0, 1e-5, 1]], ["Pt", "Fe"]), "atoms 0 and 1 are .* Angstrom apart"),
        ((np.eye(2), [[0, 0, 0]], ["Pt"]), "`lattice` must have shape"),
        ((FCC, "Pt", ["Pt"]), "`positions` must be real numbers"),
    ],
)
def test_bad_crystals(arguments, match):
    if match is None:
        assert js.symmetry.of_crystal(*arguments).label == "m-3m1'"
        return
    with pytest.raises(ValueError, match=match):
        js.symmetry.of_crystal(*arguments)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: js.symmetry.find("model"), "`model`"),
        (lambda: js.symmetry.find(Electrons(), 0.0), "`tolerance` must be a positive number"),
        (lambda: js.symmetry.find(Electrons(), points=0), "`points`"),
        (lambda: js.symmetry.find(Electrons(), candidates="m-3m"), "`candidates` must be a group"),
        (lambda: js.symmetry.find(Electrons(), mesh=js.Grid((4, 4))), "`mesh` must be None"),
        (
            lambda: js.symmetry.find(js.models.QiWuZhang(A=1.0, m=1.0), mesh=js.Grid((4, 6))),
            "`mesh` must be kept by all operations",
        ),
        (
            lambda: js.symmetry.find(js.models.QiWuZhang(A=1.0, m=1.0), mesh=js.Grid((4,))),
            "`mesh` must have the dimension of the model, 2",
        ),
        (
            lambda: js.symmetry.find(
                js.models.QiWuZhang(A=1.0, m=1.0), candidates=js.symmetry.point_group("3")
            ),
            "`candidates` must take the lattice",
        ),
    ],
)
def test_bad_calls_of_find(call, match):
    with pytest.raises(ValueError, match=match):
        call()
