"""Which components of a response a group allows, for the 122 magnetic point groups."""

import json
from pathlib import Path

import numpy as np
import pytest
import spglib

import jaxspin as js
from jaxspin.quantities.charge import ANOMALOUS_HALL
from jaxspin.quantities.spin_hall import DEFINITIONS
from jaxspin.symmetry.forms import KINDS, find_form
from jaxspin.symmetry.groups import point_groups
from jaxspin.symmetry.operations import name_operation

#: For each group: a magnetic space group of it (number `uni`), the numbers of components of the
#: anomalous Hall and of the even and odd spin Hall conductivity, and two forms, made by a prototype
#: of its own from the operations of spglib. The spin Hall counts of the 11 proper classes are those
#: of the general second-order susceptibility in textbooks of nonlinear optics.
FORMS = json.loads(Path(__file__).with_name("symmetry_forms.json").read_text(encoding="utf-8"))
HEXAGONAL = np.array([[1, 0, 0], [-0.5, np.sqrt(3) / 2, 0], [0, 0, 1.0]])


def from_database(uni):
    """The point group of a magnetic space group, in the setting of spglib."""
    found = spglib.get_magnetic_symmetry_from_database(uni)
    number = spglib.get_magnetic_spacegroup_type(uni).number
    a = HEXAGONAL if 143 <= number <= 194 else np.eye(3)
    pairs = zip(found["rotations"], found["time_reversals"], strict=True)
    return js.symmetry.PointGroup(
        name_operation(a.T @ w @ np.linalg.inv(a.T), bool(reversal)) for w, reversal in pairs
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of spglib, in its own calls
def test_forms_of_the_122_groups():
    assert len(FORMS) == 122
    for label, expected in FORMS.items():
        group = from_database(expected["uni"])
        assert group.label == label
        assert len(group) == expected["order"]
        assert str(group.allowed("anomalous hall")) == expected["ahc_form"], label
        assert str(group.allowed("spin hall")) == expected["shc_form"], label
        assert len(group.allowed("magnetic spin hall")) == expected["shc_odd"], label


def test_counts_of_the_groups_by_name():
    """In the settings of the package, some of which are others: counts are the same."""
    names = {"anomalous hall": "ahc", "spin hall": "shc_even", "magnetic spin hall": "shc_odd"}
    for label, group in point_groups().items():
        counts = {key: len(group.allowed(name)) for name, key in names.items()}
        assert counts == {key: FORMS[label][key] for key in names.values()}, label
    assert sum(one["ahc"] > 0 for one in FORMS.values()) == 31  # the ferromagnetic point groups


@pytest.mark.parametrize(
    ("label", "quantity", "form"),
    [
        ("6mm1'", "edelstein", "y^x = -x^y"),  # Rashba
        ("-42m1'", "edelstein", "x^x = -y^y"),  # Dresselhaus
        ("3m", "second-order conductivity", None),
        ("m-3m", "conductivity", "xx = yy = zz"),
        ("4", "spin density", "z"),
        ("41'", "spin density", "0"),
        ("m-3m1'", "carrier density", "carrier density"),
    ],
)
def test_other_responses(label, quantity, form):
    found = js.symmetry.point_group(label).allowed(quantity)
    assert form is None or str(found) == form
    for name, factors in found.multiples.items():
        assert name in factors or set(factors) <= set(found.independent)


def test_a_quantity_and_other_dimensions():
    """A record of a response, and a plane."""
    group = js.symmetry.point_group("4/mmm(4/m)")
    assert repr(group.allowed(ANOMALOUS_HALL)) == "<anomalous Hall conductivity: xy = -yx>"
    assert str(group.allowed(DEFINITIONS["kubo"], dimension=2)) == "xy^z = -yx^z"
    assert len(js.symmetry.point_group("1").allowed("spin hall", dimension=2)) == 12


def test_multiples_and_sums():
    """Against random tensors of the group: each component is what the form says."""
    axes = KINDS["second-order conductivity"]
    for label in ("3", "32", "6", "-43m"):
        group = js.symmetry.point_group(label)
        form = find_form(group, axes, 3)
        draw = np.random.default_rng(0).normal(size=(3, 3, 3))
        tensor = sum(np.einsum("ai,bj,ck,ijk", o, o, o, draw) for o in map(_matrix, group))
        value = {"".join("xyz"[i] for i in index): x for index, x in np.ndenumerate(tensor)}
        for name, x in value.items():
            factors = form.multiples.get(name, {})
            assert x == pytest.approx(sum(f * value[n] for n, f in factors.items()), abs=1e-9)


def _matrix(one):
    return np.array(one.matrix)


def test_what_has_no_form():
    """A name or record that is none, a dimension, and a group that turns a plane out of itself."""
    cubic = js.symmetry.point_group("m-3m")
    with pytest.raises(ValueError, match="`quantity` must be one of 'carrier density'"):
        cubic.allowed("hall")
    with pytest.raises(ValueError, match="`quantity` must be the name of a response"):
        cubic.allowed(None)
    with pytest.raises(ValueError, match="`dimension` must be an integer from 1 to 3"):
        cubic.allowed("spin hall", 0)
    with pytest.raises(ValueError, match=r"`dimension` .* order 3 about \[1 1 1\] takes"):
        cubic.allowed("spin hall", 2)


def test_results_on_reduced_meshes_carry_their_form(tmp_path):
    """Printed, saved and read again; none on a full mesh."""
    model = js.models.QiWuZhang(A=1.0, m=-1.0)
    mesh, levels = js.Grid((4, 4)), js.Levels(0.0)
    turned = js.Symmetric(mesh, js.symmetry.INVERSION)
    hall = js.anomalous_hall(model, turned, levels)
    assert hall.allowed == "xy = -yx"
    assert str(js.symmetry.group(turned.operations).allowed(ANOMALOUS_HALL, 2)) == hall.allowed
    assert js.anomalous_hall(model, mesh, levels).allowed == ""
    hall.save(tmp_path / "hall.nc")
    again = js.load(tmp_path / "hall.nc")
    assert again.allowed == hall.allowed
    assert "  allowed  xy = -yx\n" in repr(again)
    many = "; ".join(f"{a}{b}^{c}" for a in "xyz" for b in "xyz" for c in "xyz")
    assert "27 relations among components, in `allowed`" in repr(hall.replace(allowed=many))


def test_what_time_reversal_forbids():
    """An anomalous Hall conductivity, of which nothing is left."""
    model = js.models.KaneMele(onsite=0.0, hopping=1.0, spin_orbit=0.1)
    mesh = js.Symmetric(js.Grid((4, 4)), js.symmetry.TIME_REVERSAL)
    hall = js.anomalous_hall(model, mesh, js.Levels(0.0))
    assert hall.allowed == "0"
    assert not np.any(hall.value)
