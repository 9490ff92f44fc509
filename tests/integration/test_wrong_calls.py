"""Wrong calls of every public function: one line that names the argument, before any sum.

Each entry is a call and words of its message. What is raised is a ValueError of the package itself,
of the form "Argument `x` must ..., but ...", in one paragraph.
"""

import math
import traceback
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin import models
from jaxspin.engine.small_matrices import PAULI, spin_matrices
from jaxspin.integration import checks, integrate
from jaxspin.models import checks as model_checks
from jaxspin.quantities.charge import AnomalousHall

pytestmark = pytest.mark.usefixtures("unchecked_annotations", "no_sum")
_, X, Y, Z = PAULI


@pytest.fixture
def no_sum(monkeypatch):
    """Whatever reaches the sum was not refused in time."""
    monkeypatch.setattr(integrate, "_sum", lambda *_, **__: pytest.fail("the sum was started"))


class Gas(js.Model):
    """A Rashba gas, as users write models; what is wrong comes from `hamiltonian` and fields."""

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        return k @ k * PAULI[0] + k[0] * Y - k[1] * X

    def spin(self):
        return jnp.asarray(PAULI[1:])


def gas(**methods):
    """A model that differs from `Gas` in some methods and properties."""
    body = {name: vars(Gas)[name] for name in ("__call__", "spin", "dimension")}
    return type(js.Model)("Wrong", (js.Model,), {"__module__": __name__, **body, **methods})()


def hamiltonian(function):
    return gas(__call__=lambda self, k: function(k))


def lattice(value):
    return gas(lattice=property(lambda self: value), __call__=lambda self, k: jnp.cos(k[0]) * Z)


def zeroed(k):
    h = np.zeros((2, 2))
    h[0, 0] = k[0]
    return h


PLANE, SPACE, GRID = js.Plane(1.0, 8, 6), js.Space(0.1, 8, 4, 6), js.Grid((4, 4))
RASHBA = models.Rashba(kinetic=1.0, velocity=0.5)
LATTICE = models.QiWuZhang(A=1.0, m=-1.0)
KANE_MELE = models.KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25)
BI2SE3 = models.TopologicalInsulator.bi2se3()
LEVELS, CONTOUR = js.Levels(0.1), js.FermiContour(8)
SCALAR, PATH = js.ScalarDisorder(0.1), js.Path([[0, 0], [0.5, 0]], ("Γ", "X"))
BAND, SHELL = js.spin_transfer.Ferromagnet(5.7), js.FermiShell(4, 6)
SPLIT = js.Levels(0.05)  # a level of it that holds for an exchange of 4 meV
CELLS, BLOCKS = [[1], [-1]], -np.ones((2, 1, 1))
RESPONSE = js.Response(
    value=jnp.zeros((1, 2, 2)),
    error=jnp.zeros((1, 2, 2)),
    levels=LEVELS,
    info={},
    axes=("mu", "flow", "field"),
    units="S",
    name="test",
    formula="",
    source="",
)


def hall(model=RASHBA, mesh=PLANE, levels=LEVELS, **more):
    return js.anomalous_hall(model, mesh, levels, **more)


def spin_hall(model=RASHBA, mesh=PLANE, levels=LEVELS, **more):
    return js.spin_hall(model, mesh, levels, **{"definition": "proper_corrected", **more})


def disordered(model=RASHBA, surface=CONTOUR, levels=LEVELS, disorder=SCALAR, **more):
    return js.disordered_response(model, surface, levels, disorder, **more)


def torque(model=BAND, surface=SHELL, levels=SPLIT, m=(0, 0, 0.004), time=0.1, **more):
    return js.spin_transfer_torque(model, surface, levels, m, time, **more)


def texture(m, levels=SPLIT):
    choices = {"spacing": (1.0,), "field": [1, 0, 0]}
    return js.spin_transfer.texture_torque(BAND, SHELL, levels, m, 0.1, **choices)


def hopping(vectors=((1.0,),), cells=CELLS, blocks=BLOCKS, centres=((0.0,),), spin=None):
    return js.HoppingModel(vectors, cells, blocks, centres, spin)


def data(value=1.0, error=0.1, component="xy", mu=0.1, units="S/m", **more):
    return js.fitting.Data(value, error, component, mu=mu, units=units, **more)


H = {
    "np.cos": (lambda k: np.cos(k[0]) * Z, "jax.numpy", "jnp.cos for np.cos", "np.cos(k[0])"),
    "np.array": (lambda k: np.array([[k[0], 0], [0, -k[0]]]), "jax.numpy", "jnp.array"),
    "np.dot": (lambda k: np.dot(k, k) * Z, "jax.numpy"),
    "np.zeros, filled": (zeroed, "jax.numpy", "h[0, 0] = k[0]"),
    "math.cos": (lambda k: math.cos(k[0]) * Z, "jax.numpy", "math.cos"),
    "float": (lambda k: float(k[0]) * Z, "jax.numpy", "x for float(x)"),
    "item": (lambda k: k[0].item() * Z, "jax.numpy"),
    "if": (lambda k: X if k[0] > 0 else Z, "branches", "jnp.where", "Wrong.__call__"),
    "and": (lambda k: (k[0] > 0 and k[1] > 0) * Z, "branches", "jnp.where"),
    "k[2]": (lambda k: k[2] * Z, "index 2", "length 2"),
    "k[-3]": (lambda k: k[-3] * Z, "index -3", "length 2"),
    "k[2] inside jit": (lambda k: jax.jit(lambda k: k[2] * Z)(k), "index 2", "length 2"),
    "k[[0, 2]]": (lambda k: jnp.sum(k[jnp.array([0, 2])]) * Z, "index 2", "length 2"),
    "a row beyond H": (lambda k: jnp.zeros((2, 2)).at[2, 2].set(k[0]), "index 2", "length 2"),
    "three of two": (lambda k: (lambda x, y, z: z)(*k) * Z, "must take k of shape (2,)"),
    "None": (lambda k: None, "must take k of shape (2,)", "None"),
    "text": (lambda k: "H", "must take k of shape (2,)"),
    "a name that is not": (lambda k: undefined_name * Z, "NameError", "undefined_name"),
    "ragged": (lambda k: [[k[0], 0], [0]], "must take k of shape (2,)"),
    "a number": (lambda k: k[0], "square matrix", "shape ()"),
    "a vector": (lambda k: k, "square matrix", "shape (2,)"),
    "no rows": (lambda k: jnp.zeros((0, 0)), "square matrix", "(0, 0)"),
    "k as a matrix": (lambda k: jnp.outer(k, jnp.ones(3)), "square matrix", "(2, 3)"),
    "not Hermitian": (lambda k: k[0] * Z + 1j * X, "Hermitian", "2.0e+00 eV"),
    "NaN": (lambda k: jnp.nan * Z, "finite", "at k = "),
    "1/|k|": (lambda k: Z / jnp.sqrt(k @ k), "finite", "at k = [0. 0.]"),
}
MODELS = {
    "a number": (3, "jaxspin.Model", "int"),
    "None": (None, "jaxspin.Model", "NoneType"),
    "text": ("Rashba", "jaxspin.Model", "str"),
    "a function": (lambda k: k[0] * Z, "jaxspin.Model", "function"),
    "a matrix": (Z, "jaxspin.Model", "ndarray"),
    "a class": (models.Rashba, "class Rashba", "make one"),
    "dimension 4": (gas(dimension=property(lambda self: 4)), "dimension 1, 2 or 3", "4"),
    "dimension 2.0": (gas(dimension=property(lambda self: 2.0)), "dimension 1, 2 or 3", "2.0"),
    "dimension, a method": (gas(dimension=lambda self: 2), "`dimension`", "@property"),
    "lattice, a method": (gas(lattice=lambda self: jnp.eye(2)), "`lattice`", "@property"),
    "lattice 3 x 3": (lattice(jnp.eye(3)), "shape (2, 2)", "(3, 3)"),
    "lattice of numbers": (lattice(jnp.ones(2)), "shape (2, 2)", "(2,)"),
    "lattice, flat": (lattice(jnp.ones((2, 2))), "span a cell", "determinant"),
    "lattice NaN": (lattice(jnp.eye(2) * jnp.nan), "lattice of finite numbers"),
    "lattice in metres": (lattice(3e-10 * jnp.eye(2)), "Angstrom", "looks like metres"),
    "lattice of text": (lattice("square"), "shape (2, 2)", "()"),
}
SPINS = {
    "None": (gas(spin=lambda self: None), "spin operator", "returns None"),
    "a property": (gas(spin=property(lambda self: PAULI[1:])), "`spin`", "without @property"),
    "one matrix": (gas(spin=lambda self: Z), "shape (3, 2, 2)", "(2, 2)"),
    "four matrices": (gas(spin=lambda self: PAULI), "shape (3, 2, 2)", "(4, 2, 2)"),
    "another size": (gas(spin=lambda self: jnp.zeros((3, 4, 4))), "shape (3, 2, 2)", "(3, 4, 4)"),
    "not Hermitian": (gas(spin=lambda self: 1j * PAULI[1:]), "Hermitian spin"),
    "an error": (gas(spin=lambda self: 1 / 0), "spin operator", "ZeroDivisionError"),
    "spinless": (models.Haldane(0.2, -1.0, 0.15, 1.0), "no spin operator", "KaneMele"),
}
K = {
    "a Path": (PATH, "Path", "path.sample"),
    "a mesh": (GRID, "real numbers"),
    "text": ("Γ", "real numbers", "'Γ'"),
    "None": (None, "real numbers", "None"),
    "complex": (1j * np.ones(2), "real numbers"),
    "a number": (0.1, "last axis of length 2", "shape ()"),
    "three components": (np.zeros((4, 3)), "last axis of length 2", "(4, 3)"),
    "NaN": ([0.1, np.nan], "finite"),
    "ragged": ([[0.1, 0.2], [0.3]], "real numbers"),
}
MESHES = {
    "None": (RASHBA, None, "NoneType"),
    "a number": (RASHBA, 20, "int"),
    "a tuple": (LATTICE, (8, 8), "tuple"),
    "a class": (LATTICE, js.Grid, "class Grid"),
    "a Path": (LATTICE, PATH, "Path"),
    "levels": (RASHBA, LEVELS, "Levels"),
    "Grid of a gas": (RASHBA, GRID, "Disk or Plane"),
    "Plane of a lattice": (LATTICE, PLANE, "Grid"),
    "Space in two dimensions": (RASHBA, SPACE, "dimension 2"),
    "Grid(8)": (LATTICE, js.Grid(8), "dimension 2"),
    "Disk in three dimensions": (BI2SE3, js.Disk(1.0, 4, 6), "dimension 3"),
}
CALLS = {
    **{
        f"H: {name}": (lambda h=h: hall(hamiltonian(h)), "model", *words)
        for name, (h, *words) in H.items()
    },
    **{
        f"model: {name}": (lambda m=m: js.bands(m, np.zeros(2)), "model", *words)
        for name, (m, *words) in MODELS.items()
    },
    **{
        f"spin: {name}": (
            lambda m=m: js.spin_berry_curvature(m, np.ones(2), definition="conventional"),
            "model",
            *words,
        )
        for name, (m, *words) in SPINS.items()
    },
    **{
        f"k: {name}": (lambda k=k: js.berry_curvature(RASHBA, k), "k", *words)
        for name, (k, *words) in K.items()
    },
    **{
        f"mesh: {name}": (lambda m=model, mesh=mesh: hall(m, mesh), "mesh", *words)
        for name, (model, mesh, *words) in MESHES.items()
    },
    "bands of a model with spin as a property": (
        lambda: js.bands(gas(spin=property(lambda self: PAULI[1:])), np.ones(2)),
        "spin",
        "without @property",
    ),
    # --- responses
    "levels: a number": (lambda: hall(levels=0.1), "levels", "float"),
    "levels: None": (lambda: hall(levels=None), "levels", "NoneType"),
    "levels in the place of the mesh": (lambda: hall(mesh=LEVELS, levels=PLANE), "mesh", "Levels"),
    "no definition": (
        lambda: js.spin_hall(RASHBA, PLANE, LEVELS),
        "definition",
        "'conventional', 'proper_published', 'proper_corrected', 'kubo'",
    ),
    "definition: a list": (lambda: spin_hall(definition=["kubo"]), "definition", "['kubo']"),
    "definition: None": (lambda: spin_hall(definition=None), "definition", "None"),
    "definition: capitals": (lambda: spin_hall(definition="Kubo"), "definition", "'kubo'"),
    "definition of a curvature": (
        lambda: js.spin_berry_curvature(RASHBA, np.zeros(2)),
        "definition",
        "'conventional'",
    ),
    "degeneracy: a number": (
        lambda: spin_hall(degeneracy=1e-6),
        "degeneracy",
        "Covariant",
        "1e-06",
    ),
    "degeneracy: a class": (lambda: spin_hall(degeneracy=js.Strict), "degeneracy", "Covariant"),
    "degeneracy: text": (
        lambda: js.torque_density(RASHBA, PLANE, LEVELS, degeneracy="strict"),
        "degeneracy",
    ),
    "tolerance: text": (lambda: js.Covariant("small"), "tolerance", "'small'"),
    "tolerance: negative": (lambda: js.Covariant(-1.0), "tolerance", "-1.0"),
    "checkpoint: a number": (lambda: hall(checkpoint=3), "checkpoint"),
    "bands: text": (
        lambda: js.equilibrium_spin_current(KANE_MELE, GRID, LEVELS, bands="all"),
        "bands",
        "0 to 3",
    ),
    "bands: a number": (
        lambda: js.equilibrium_spin_current(KANE_MELE, GRID, LEVELS, bands=0),
        "bands",
        "0 to 3",
    ),
    "bands: floats": (
        lambda: js.equilibrium_spin_current(KANE_MELE, GRID, LEVELS, bands=(0.0,)),
        "bands",
        "0 to 3",
    ),
    "bands: beyond": (
        lambda: js.equilibrium_spin_current(KANE_MELE, GRID, LEVELS, bands=(4,)),
        "bands",
        "0 to 3",
    ),
    "pieces of no model": (lambda: js.spin_hall_pieces(3, PLANE, LEVELS), "model", "int"),
    "carriers without a mesh": (lambda: js.carrier_density(RASHBA, None, LEVELS), "mesh"),
    "states at a number": (lambda: js.density_of_states(RASHBA, PLANE, 0.1), "levels", "float"),
    "no time": (
        lambda: js.drude(RASHBA, PLANE, LEVELS, relaxation_time=0.0),
        "relaxation_time",
        "positive time in fs",
    ),
    "times": (
        lambda: js.edelstein(RASHBA, PLANE, LEVELS, relaxation_time=[1.0, 2.0]),
        "relaxation_time",
        "positive time in fs",
    ),
    "a time as levels": (lambda: js.nonlinear_hall(RASHBA, PLANE, 10.0), "levels", "float"),
    "dipole of a wave vector": (lambda: js.berry_dipole(RASHBA, [0.1, 0.0], LEVELS), "mesh"),
    "metric at a Path": (lambda: js.quantum_metric(RASHBA, PATH), "k", "Path"),
    "moment at NaN": (lambda: js.orbital_moment(RASHBA, [np.nan, 0]), "k", "finite"),
    "derivative of no function": (lambda: js.covariant_derivative(3, RASHBA), "operator", "int"),
    "derivative without a model": (lambda: js.covariant_derivative(RASHBA, 3), "model", "int"),
    # --- levels
    "mu: text": (lambda: js.Levels("0.1"), "mu", "real numbers", "'0.1'"),
    "mu: None": (lambda: js.Levels(None), "mu", "real numbers", "None"),
    "mu: complex": (lambda: js.Levels(0.1j), "mu", "real numbers"),
    "mu: a model": (lambda: js.Levels(RASHBA), "mu", "real numbers"),
    "mu: ragged": (lambda: js.Levels([[0.1], [0.1, 0.2]]), "mu", "real numbers"),
    "mu: two axes": (lambda: js.Levels([[0.1]]), "mu", "(1, 1)"),
    "mu: empty": (lambda: js.Levels([]), "mu", "non-empty"),
    "mu: NaN": (lambda: js.Levels(np.nan), "mu", "finite"),
    "temperature: text": (lambda: js.Levels(0.1, "300 K"), "temperature", "real numbers"),
    "temperature: None": (lambda: js.Levels(0.1, None), "temperature", "real numbers"),
    "temperature: negative": (lambda: js.Levels(0.1, -3), "temperature", "negative"),
    # --- meshes
    "Grid(8, 8)": (lambda: js.Grid(8, 8), "shift", "Grid((8, 8))"),
    "Grid: text": (lambda: js.Grid("8x8"), "shape", "positive integers"),
    "Grid: None": (lambda: js.Grid(None), "shape", "positive integers"),
    "Grid: True": (lambda: js.Grid((True, 8)), "shape", "positive integers"),
    "Grid: floats": (lambda: js.Grid((8.0, 8.0)), "shape", "positive integers"),
    "Grid: shift of text": (lambda: js.Grid((8, 8), "half"), "shift", "number"),
    "Grid: three shifts": (lambda: js.Grid((8, 8), (0.1, 0.1, 0.1)), "shift", "2 numbers"),
    "Disk: a model": (lambda: js.Disk(RASHBA, 4, 4), "cutoff"),
    "Disk: text": (lambda: js.Disk("1", 4, 4), "cutoff", "positive"),
    "Disk: None": (lambda: js.Disk(None, 4, 4), "cutoff", "positive"),
    "Disk: negative": (lambda: js.Disk(-1.0, 4, 4), "cutoff", "positive"),
    "Ball: counts of text": (lambda: js.Ball(1.0, "4", 4, 4), "radial", "positive integer"),
    "Plane: scale of three": (lambda: js.Plane((1, 1, 1), 4, 4), "scale", "2"),
    "Plane: complex": (lambda: js.Plane(1j, 4, 4), "scale", "positive"),
    "Space: no angle": (lambda: js.Space(1.0, 4, 0, 4), "polar", "positive integer"),
    "Adaptive: no mesh": (lambda: js.Adaptive(20, rtol=1e-3), "mesh", "int"),
    "Adaptive: text": (lambda: js.Adaptive(GRID, rtol="small"), "rtol", "'small'"),
    "Adaptive: zero": (lambda: js.Adaptive(GRID, rtol=0), "rtol", "positive"),
    "Adaptive: no points": (lambda: js.Adaptive(GRID, rtol=1e-2, max_points=0), "max_points"),
    "Symmetric: no mesh": (lambda: js.Symmetric(8, js.symmetry.INVERSION), "mesh", "int"),
    "Symmetric: text": (lambda: js.Symmetric(GRID, "inversion"), "operations"),
    "Symmetric: None": (lambda: js.Symmetric(GRID, None), "operations", "None"),
    "mirror of w": (lambda: js.symmetry.mirror("w"), "axis", "'x', 'y', 'z'"),
    "rotation of order 0": (lambda: js.symmetry.rotation(0), "order", "positive integer"),
    "operation that is none": (lambda: js.symmetry.Operation("a", [[1, 2]]), "matrix", "(3, 3)"),
    "Path: one point": (lambda: js.Path([[0, 0]], ("Γ",)), "points", "two"),
    "Path: names": (lambda: js.Path("ΓX", ("Γ", "X")), "points", "two"),
    "Path: ragged": (lambda: js.Path([[0, 0], [1]], ("Γ", "X")), "points", "two"),
    "Path: numbers as labels": (lambda: js.Path([[0, 0], [1, 0]], (0, 1)), "labels", "names"),
    "Path: one label": (lambda: js.Path([[0, 0], [1, 0]], None), "labels", "names"),
    "path without its lattice": (lambda: PATH.sample(9), "lattice", "model.lattice", "None"),
    "path of another lattice": (lambda: PATH.sample(9, jnp.eye(3)), "lattice", "(2, 2)"),
    "path of no points": (lambda: PATH.sample(0, None), "number", "positive"),
    # --- models
    "model + 1.0": (lambda: RASHBA + 1.0, "other", "float", "`mu`"),
    "1.0 + model": (lambda: 1.0 + RASHBA, "other", "float", "`mu`"),
    "model + matrix": (lambda: RASHBA + list(Z), "other", "list"),
    "2D + 3D": (lambda: RASHBA + BI2SE3, "other", "dimension 2"),
    "model * text": (lambda: RASHBA * "2", "scale", "'2'"),
    "model * model": (lambda: RASHBA * RASHBA, "scale", "Rashba"),
    "model * list": (lambda: RASHBA * [1.0, 2.0], "scale", "one finite"),
    "model * i": (lambda: RASHBA * 1j, "scale", "one finite real"),
    "model * NaN": (lambda: RASHBA * np.nan, "scale", "one finite"),
    "QiWuZhang: two masses": (lambda: models.QiWuZhang(A=1.0, m=[1.0, 2.0]), "m", "one finite"),
    "QiWuZhang: NaN": (lambda: models.QiWuZhang(A=np.nan, m=1.0), "A", "one finite"),
    "WithSpin: another size": (lambda: models.WithSpin(RASHBA, PAULI), "operator", "(3, 2, 2)"),
    "WithSpin: a word": (lambda: models.WithSpin(RASHBA, "x"), "operator", "str"),
    "WithSpin: no model": (lambda: models.WithSpin(3, PAULI[1:]), "model", "int"),
    "WithSpin: infinite": (
        lambda: models.WithSpin(RASHBA, np.inf * np.ones((3, 2, 2))),
        "operator",
        "Hermitian",
    ),
    "WithOperators: no model": (lambda: models.WithOperators(3, {}), "model", "int"),
    "PointSet: grid": (lambda: js.PointSet([[0.0, 0.0]], [1.0], grid="abc"), "grid", "abc"),
    "Bi2Se3: exchange": (lambda: models.TopologicalInsulator.bi2se3(0.1), "exchange", "three"),
    "Bi2Se3: unknown": (lambda: models.TopologicalInsulator.bi2se3(D=1.0), "D", "A0"),
    "well of unobtainium": (lambda: models.HoleWell("Un", 250.0, 1e6), "material", "GaAs"),
    "well in nanometres": (lambda: models.HoleWell("GaAs", 25.0, 1e6), "width", "nanometres"),
    "well in MV/m": (lambda: models.HoleWell("GaAs", 250.0, 1.0), "field", "MV/m"),
    "crystal field of E": (
        lambda: models.CrystalFieldC4v(1.0, 0.1, 0.1, 0.1, 0.5, irrep="E"),
        "irrep",
        "A1",
    ),
    "hopping: lattice": (lambda: hopping(vectors=[1.0]), "lattice", "(1, 1)"),
    "hopping: flat lattice": (lambda: hopping(vectors=[[0.0]]), "lattice", "volume"),
    "hopping: no opposite": (lambda: hopping(cells=[[1], [2]]), "cells", "-R"),
    "hopping: half a cell": (lambda: hopping(cells=[[0.5], [-0.5]]), "cells", "integers"),
    "hopping: cells of a plane": (lambda: hopping(cells=[[1, 0], [-1, 0]]), "cells", "(r, 1)"),
    "hopping: blocks": (lambda: hopping(blocks=np.ones((3, 1, 1))), "blocks", "(2, 1, 1)"),
    "hopping: not Hermitian": (
        lambda: hopping(blocks=1j * BLOCKS),
        "blocks",
        "H(-R) = H(R)^dagger",
    ),
    "hopping: NaN": (lambda: hopping(blocks=np.nan * BLOCKS), "blocks", "finite"),
    "hopping: spin": (lambda: hopping(spin=np.ones((2, 1, 1))), "spin", "(3, 1, 1)"),
    "hopping: text": (lambda: hopping(blocks="t"), "blocks", "numbers"),
    "hopping: lattice of text": (lambda: hopping(vectors="chain"), "lattice", "numbers"),
    "hopping: no centres": (lambda: hopping(centres=None), "centres", "numbers"),
    # --- effective models
    "downfold: no model": (lambda: js.downfold(3, (0,)), "model", "int"),
    "downfold: all": (lambda: js.downfold(KANE_MELE, js.LowestBands(4)), "keep"),
    "downfold: text": (lambda: js.downfold(KANE_MELE, "lowest"), "keep", "integers"),
    "downfold: None": (lambda: js.downfold(KANE_MELE, None), "keep", "None"),
    "downfold: beyond": (lambda: js.downfold(KANE_MELE, (0, 7)), "keep"),
    "downfold: order": (lambda: js.downfold(KANE_MELE, (0, 1), order=1.5), "order", "integer"),
    "Lowest: floats": (lambda: js.LowestBands(2.0), "number", "integers"),
    "validity at a number": (
        lambda: js.downfold(KANE_MELE, js.LowestBands(2)).validity(3),
        "k",
        "length 2",
    ),
    # --- Fermi energy
    "fermi_energy: text": (lambda: js.fermi_energy(LATTICE, GRID, "half"), "density", "'half'"),
    "fermi_energy: None": (lambda: js.fermi_energy(LATTICE, GRID, None), "density", "None"),
    "fermi_energy: two": (lambda: js.fermi_energy(LATTICE, GRID, [1, 1]), "density", "one"),
    "fermi_energy: no model": (lambda: js.fermi_energy(3, GRID, 1.0), "model", "int"),
    "fermi_energy: no mesh": (lambda: js.fermi_energy(LATTICE, 8, 1.0), "mesh", "int"),
    "fermi_energy: temperature": (
        lambda: js.fermi_energy(LATTICE, GRID, 1.0, temperature=-1),
        "temperature",
        "at least 0 (K)",
    ),
    # --- disorder
    "disorder: no surface": (lambda: disordered(surface=GRID), "surface", "FermiContour"),
    "disorder: no disorder": (lambda: disordered(disorder=0.1), "disorder", "ScalarDisorder"),
    "disorder: levels of text": (lambda: disordered(levels="1 eV"), "levels", "str"),
    "disorder: no levels": (lambda: disordered(levels=None), "levels", "NoneType"),
    "disorder: a number": (lambda: disordered(levels=1.0), "levels", "float"),
    "disorder: two numbers": (lambda: disordered(levels=(0.1, 300.0)), "levels", "tuple"),
    "disorder: sea": (lambda: disordered(sea=8), "sea", "int"),
    "disorder: 3D": (lambda: disordered(BI2SE3), "model", "dimension 2"),
    "strength: zero": (lambda: js.ScalarDisorder(0.0), "strength", "positive"),
    "strength: text": (lambda: js.ScalarDisorder("weak"), "strength", "'weak'"),
    "strength: None": (lambda: js.ScalarDisorder(None), "strength", "None"),
    "matrices: one": (lambda: js.MatrixDisorder(Z), "matrices", "(2, 2)"),
    "matrices: text": (lambda: js.MatrixDisorder("magnetic"), "matrices"),
    "correlator: a number": (lambda: js.FiniteRangeDisorder(0.1), "correlator", "float"),
    "correlator: NumPy": (
        lambda: disordered(disorder=js.FiniteRangeDisorder(lambda q: np.exp(-(q[0] ** 2)))),
        "correlator",
        "jax.numpy",
    ),
    "correlator: odd": (
        lambda: disordered(disorder=js.FiniteRangeDisorder(lambda q: jnp.exp(q[0]))),
        "correlator",
        "even",
    ),
    "relaxation: mu": (
        lambda: js.disorder.relaxation(RASHBA, CONTOUR, [1.0, 2.0], SCALAR),
        "mu",
        "one finite energy",
    ),
    "contour: few": (lambda: js.FermiContour(2), "angles", "at least 3"),
    "contour: center": (lambda: js.FermiContour(8, center=(0, 0, 0)), "center"),
    "contour: center of text": (lambda: js.FermiContour(8, center="ab"), "center"),
    "contour: reach": (lambda: js.FermiContour(8, reach=-1.0), "reach", "positive"),
    "nodes of a number": (lambda: CONTOUR.nodes(3, 1.0), "model", "int"),
    "broadened: no mesh": (lambda: js.BroadenedSurface(8, 0.1), "mesh", "int"),
    "broadened: width": (lambda: js.BroadenedSurface(GRID, 0.0), "width", "positive"),
    "broadened: order": (lambda: js.BroadenedSurface(GRID, 0.1, 3), "order", "0, 1 or 2"),
    "squares of a gas": (
        lambda: js.MarchingSquares((8, 8)).nodes(RASHBA, 1.0),
        "model",
        "lattice model",
    ),
    # --- spin-transfer torque
    "torque: model": (lambda: torque(model=BI2SE3), "model", "ConductionBand"),
    "torque: surface": (lambda: torque(surface=8), "surface", "FermiShell"),
    "torque: m of two": (lambda: torque(m=(0, 1)), "magnetization", "3 finite numbers"),
    "torque: m of text": (lambda: torque(m="z"), "magnetization", "3 finite numbers"),
    "torque: text in m": (lambda: torque(m=("0", "0", "z")), "magnetization", "3 finite"),
    "torque: time": (lambda: torque(time=0.0), "scattering_time", "positive"),
    "torque: time of text": (lambda: torque(time="1 ps"), "scattering_time", "positive"),
    "torque: no time": (lambda: torque(time=None), "scattering_time", "positive"),
    "torque: slow modes": (lambda: torque(slow_modes="drop"), "slow_modes", "KeepSlowModes"),
    "torque: no levels": (lambda: torque(levels=0.05), "levels", "float"),
    "below: 2": (lambda: js.spin_transfer.DropSlowModes(2.0), "below", "between 0 and 1"),
    # --- fits
    "fit: no function": (lambda: js.fit(3, {"a": 1.0}), "residuals", "int"),
    "fit: method": (lambda: js.fit(lambda p: p["a"], {"a": 1.0}, method="lm"), "method"),
    "fit: bounds": (
        lambda: js.fit(lambda p: p["a"] * jnp.ones(2), {"a": 1.0}, bounds={"b": (0, 1)}),
        "bounds",
    ),
    "fit: NumPy": (
        lambda: js.fit(lambda p: np.ones(3) * np.exp(p["a"]), {"a": 1.0}),
        "residuals",
        "jax.numpy",
    ),
    "parameters: unknown": (
        lambda: js.fitting.Parameters(LATTICE, ["mass"]),
        "names",
        "'mass'",
    ),
    "parameters: text": (lambda: js.fitting.Parameters(LATTICE, "m"), "names", "list"),
    "data: error": (lambda: data(error=0.0), "error", "positive"),
    "data: text": (lambda: data(value="1"), "value"),
    "data: no place": (lambda: data(mu=None), "mu"),
    "data: units": (lambda: data(density=1.0, mu=None, density_units="mm"), "density_units"),
    "sensitivity: no function": (lambda: js.sensitivity(3, LATTICE), "quantity", "int"),
    "sensitivity: no model": (lambda: js.sensitivity(hall, 3), "model", "int"),
    # --- pictures and files
    "plot: scan of a number": (lambda: js.plot.scan(3), "response", "int"),
    "plot: bands without a path": (lambda: js.plot.bands(LATTICE, [[0, 0]]), "path", "list"),
    "plot: bands of no model": (lambda: js.plot.bands(3, PATH), "model", "int"),
    "plot: map of no model": (lambda: js.plot.curvature_map(3, band=0), "model", "int"),
    "to: unknown units": (lambda: RESPONSE.to("S/m"), "units", "'S'"),
    "to: None": (lambda: RESPONSE.to(None), "units", "None"),
    "component: of spin": (lambda: RESPONSE.component(spin="z"), "spin"),
    "component: w": (lambda: RESPONSE.component(flow="w"), "flow", "'x', 'y'"),
    "save: nowhere": (lambda: RESPONSE.save(None), "path"),
    "load: None": (lambda: js.load(None), "path"),
    "load: no file": (lambda: js.load("no such file.nc"), "path", "no such file.nc"),
    "plot: contributions": (lambda: js.plot.contributions(3), "response", "int"),
    "plot: refinement": (lambda: js.plot.refinement(RESPONSE), "response", "Adaptive"),
    "plot: surface of no model": (lambda: js.plot.fermi_surface(3, CONTOUR, 1.0), "model", "int"),
    "plot: surface of no rule": (lambda: js.plot.fermi_surface(RASHBA, 3, 1.0), "surface", "int"),
    "plot: fit of a number": (lambda: js.plot.fit(3, data(), RESPONSE), "result", "int"),
    "plot: texture of a number": (lambda: js.plot.texture_torque(3), "found", "int"),
    "plot: bands, number": (lambda: js.plot.bands(LATTICE, PATH, number=0), "number", "0"),
    "plot: bands against": (
        lambda: js.plot.bands_against(LATTICE, np.zeros((3, 2)), np.zeros(2)),
        "energies",
        "(3, bands)",
    ),
    "texture: shape": (
        lambda: texture(np.ones((2, 3))),
        "texture",
        "(3, x, ...)",
    ),
    "texture: text": (
        lambda: texture("wall"),
        "texture",
    ),
    "texture: several levels": (
        lambda: texture(np.ones((3, 3)), js.Levels([0.05, 0.06])),
        "levels",
        "one mu",
    ),
    "micromagnetics of a number": (
        lambda: js.spin_transfer.micromagnetics(3, [1, 0, 0], 1e5),
        "transfer",
        "int",
    ),
    "checkpoint file: a number": (lambda: js.Checkpoint(3), "checkpoint", "3"),
    "gate: text": (lambda: js.fitting.Gate("oxide"), "capacitance", "'oxide'"),
    "gate: zero": (lambda: js.fitting.Gate(0.0), "capacitance", "positive"),
    "pythtb: a number": (lambda: js.interop.pythtb.from_pythtb(3), "tb", "int"),
    "to pythtb: no hopping model": (
        lambda: js.interop.pythtb.to_pythtb(RASHBA),
        "model",
        "HoppingModel",
    ),
    "to pymablock: no effective model": (
        lambda: js.interop.pymablock.to_pymablock(RASHBA, np.zeros(2)),
        "model",
        "EffectiveModel",
    ),
    "wannier90: a number": (lambda: js.interop.wannier90.read(3), ""),
    "wannier90: no files": (lambda: js.interop.wannier90.read("no_such_seed"), "", "no_such_seed"),
}


def message_of(call) -> tuple[Exception, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            call()
        except Exception as error:
            return error, str(error)
    pytest.fail("nothing was refused")


@pytest.mark.parametrize(
    ("call", "argument", "words"),
    [
        pytest.param(call, argument, words, id=name)
        for name, (call, argument, *words) in CALLS.items()
    ],
)
def test_is_refused_in_one_line(call, argument, words):
    error, text = message_of(call)
    assert isinstance(error, ValueError | FileNotFoundError), traceback.format_exception(error)
    assert text.startswith(("Argument `", "Exactly one of the arguments `")) or not argument
    assert "\n" not in text
    assert len(text) < 500
    assert f"`{argument}`" in text or not argument
    for word in words:
        assert word in text
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    assert raised_in.is_relative_to(Path(js.__file__).parent)


def test_there_are_at_least_160():
    assert len(CALLS) >= 160


class Shorthand(js.Model):
    """The Qi-Wu-Zhang model as a user may write it: nested lists, and integers where they fit."""

    @property
    def dimension(self):
        return 2

    @property
    def lattice(self):
        return [[1, 0], [0, 1]]

    def __call__(self, k):
        off = jnp.sin(k[0]) - 1j * jnp.sin(k[1])
        z = jnp.cos(k[0]) + jnp.cos(k[1]) - 1
        return [[z, off], [jnp.conj(off), -z]]

    def spin(self):
        return [[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]


def test_nested_lists_are_matrices():
    k = np.array([0.3, -0.2])
    own, exact = (js.bands(model, k) for model in (2 * Shorthand() + LATTICE, 3 * LATTICE))
    np.testing.assert_allclose(own.energies, exact.energies, atol=1e-14)
    np.testing.assert_allclose(own.velocity[..., 0, 0], exact.velocity[..., 0, 0], atol=1e-14)
    assert own.spin.shape == (3, 2, 2)


def test_bands_without_a_spin_operator():
    """A model that returns None has none, and needs none for its bands."""
    assert js.bands(gas(spin=lambda self: None), np.ones(2)).spin is None


@pytest.mark.parametrize("factor", [0.5, 2.0, 0.1])
@pytest.mark.parametrize("spins", [3, 1])
def test_a_spin_in_another_unit_is_warned_of(factor, spins):
    """σ/2 has the square 1/4; so has a spin of which only z is given."""
    operator = factor * PAULI[1:] * (np.arange(3) >= 3 - spins)[:, None, None]
    model = gas(spin=lambda self: jnp.asarray(operator))
    with pytest.warns(UserWarning, match=rf"Wrong is {factor:.3g} times one .* {factor**2:.3g}\."):
        js.spin_berry_curvature(model, np.ones(2), definition="conventional")


@pytest.mark.parametrize("twice_spin", [1, 2, 3])
def test_spins_of_any_size_in_the_right_unit_are_not(twice_spin):
    """Negative control: 2J of J = 1/2, 1, 3/2 obeys [s_x, s_y] = 2i s_z; a charge has no unit."""
    spin = spin_matrices(twice_spin)
    for operator in (spin, np.broadcast_to(np.eye(len(spin[0])), spin.shape)):
        model = gas(
            __call__=lambda self, k: k[0] * jnp.asarray(spin[0]) + k[1] * jnp.asarray(spin[1]),
            spin=lambda self, s=operator: jnp.asarray(s),
        )
        model_checks.check_spin(model)


def test_traced_models_have_shapes_and_indices():
    """Inside jit of a parameter the numbers are not known, but the program is."""

    class Beyond(js.Model):
        mass: jax.Array
        dimension = property(lambda self: 2)
        spin = Gas.spin

        def __call__(self, k):
            return (self.mass + k[2]) * Z

    with pytest.raises(ValueError, match="index 2 of an axis of length 2"):
        jax.jit(lambda mass: hall(Beyond(mass)).value)(1.0)


def test_a_small_scale_is_no_reason_to_refuse():
    """A massive Dirac cone has σ_yx = e²/2h in the gap; its structure is at |k| = 0.1."""
    cone = models.MassiveDirac(velocity=1.0, mass=0.1)
    observable, levels, strict = AnomalousHall(), js.Levels(0.0), js.Covariant()
    for scale in (0.1, 1e-3):
        checks.check_tail(observable, cone, js.Plane(scale, 40, 8), levels, strict)
    with pytest.warns(UserWarning, match="far outside of the `scale` of the Plane"):
        checks.check_tail(observable, cone, js.Plane(1e-4, 40, 8), levels, strict)
