"""Bad input: a ValueError before any sum, that names the argument and says what would be right."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin import models
from jaxspin.engine.small_matrices import PAULI
from jaxspin.integration import integrate

pytestmark = pytest.mark.usefixtures("unchecked_annotations", "no_sum")


@pytest.fixture
def no_sum(monkeypatch):
    """Whatever reaches the sum was not refused in time."""

    def reached(*_, **__):
        pytest.fail("the sum was started")

    monkeypatch.setattr(integrate, "_sum", reached)


class Broken(js.Model):
    """The Rashba gas with something wrong."""

    wrong: str

    @property
    def dimension(self):
        return 2.5 if self.wrong == "dimension" else 2

    @property
    def lattice(self):
        return jnp.eye(2) if self.wrong == "lattice" else None

    def __call__(self, k):
        if self.wrong == "three dimensions":
            k = k @ jnp.ones((3, 2))
        h = k @ k * PAULI[0] + k[0] * PAULI[2] - k[1] * PAULI[1]
        return {
            "not Hermitian": h + np.array([[0, 0.1], [0, 0]]),
            "NaN": h * jnp.nan,
            "inf": h + jnp.full((2, 2), jnp.inf),
            "vector": h[0],
            "not square": h[:1],
        }.get(self.wrong, h)

    def spin(self):
        return {
            "spin shape": PAULI,
            "spin not Hermitian": 1j * PAULI[1:],
            "spin NaN": np.nan * PAULI[1:],
        }.get(self.wrong, PAULI[1:])


PLANE, SPACE, GRID = js.Plane(1.0, 8, 6), js.Space(0.1, 8, 4, 6), js.Grid((4, 4))
RASHBA = models.Rashba(kinetic=1.0, velocity=0.5)
LATTICE = models.QiWuZhang(A=1.0, m=-1.0)
KANE_MELE = models.KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25)
BHZ = models.BernevigHughesZhang(u=-1.0, A=1.0)
BI2SE3 = models.TopologicalInsulator.bi2se3()
CHAIN = js.HoppingModel([[1.0]], [[1], [-1]], -np.ones((2, 1, 1)), [[0.0]], spin=np.ones((3, 1, 1)))
LEVELS = js.Levels(0.1)


def spin_hall(model=RASHBA, mesh=PLANE, levels=LEVELS, definition="proper_corrected", **more):
    return js.spin_hall(model, mesh, levels, definition=definition, **more)


def wrong(what):
    return lambda: spin_hall(Broken(what))


CALLS = {
    "no model": (lambda: spin_hall(3), r"`model` must be a jaxspin.Model, but is of type int"),
    "function as model": (
        lambda: spin_hall(lambda k: k),
        r"`model` must be a jaxspin.Model, but is of type function",
    ),
    "H not Hermitian": (
        wrong("not Hermitian"),
        r"`model` must return a Hermitian H\(k\), but .* 1.0e-01 eV at k = ",
    ),
    "H NaN": (wrong("NaN"), r"`model` must return finite numbers, .* at k = "),
    "H infinite": (wrong("inf"), r"`model` must return finite numbers, .* at k = "),
    "H a vector": (wrong("vector"), r"`model` must return a square matrix .* \(2,\)"),
    "H not square": (wrong("not square"), r"`model` must return a square matrix .* \(1, 2\)"),
    "k of another dimension": (
        wrong("three dimensions"),
        r"`model` must take k of shape \(2,\), as its dimension says",
    ),
    "dimension": (wrong("dimension"), r"`model` must have dimension 1, 2 or 3, but has 2.5"),
    "lattice of a k.p model": (
        lambda: spin_hall(Broken("lattice"), GRID),
        r"`model` must be periodic, .* reciprocal vector 0",
    ),
    "spin of wrong shape": (
        wrong("spin shape"),
        r"`model` must have a spin operator of shape \(3, 2, 2\), .* shape \(4, 2, 2\)",
    ),
    "spin not Hermitian": (wrong("spin not Hermitian"), r"`model` must have a Hermitian spin"),
    "spin NaN": (wrong("spin NaN"), r"`model` must have a finite spin"),
    "no spin": (
        lambda: spin_hall(models.Haldane(0.2, -1.0, 0.15, 1.0), GRID),
        r"Haldane model has no spin operator.* such as KaneMele",
    ),
    "one-dimensional model": (
        lambda: js.anomalous_hall(CHAIN, js.Grid(4), LEVELS),
        r"`model` must have dimension 2 or 3 for the [a-zA-Z ()_]*, but has dimension 1",
    ),
    "one-dimensional model, spin": (
        lambda: spin_hall(CHAIN, js.Grid(4)),
        r"`model` must have dimension 2 or 3 for the [a-zA-Z ()_]*, but has dimension 1",
    ),
    "no mesh": (lambda: spin_hall(mesh=20), r"`mesh` must be a mesh .* but is of type int"),
    "path as mesh": (
        lambda: spin_hall(mesh=js.Path([[0, 0], [1, 0]], ("a", "b"))),
        r"`mesh` must be a mesh .* but is of type Path",
    ),
    "2D mesh for a 3D model": (
        lambda: spin_hall(BI2SE3, PLANE),
        r"`mesh` must have dimension 3, as the model has, but is a Plane of dimension 2",
    ),
    "3D mesh for a 2D model": (
        lambda: spin_hall(RASHBA, SPACE),
        r"`mesh` must have dimension 2, as the model has, but is a Space of dimension 3",
    ),
    "Grid for a continuum model": (
        lambda: spin_hall(RASHBA, GRID),
        r"`mesh` must be a mesh for continuum models \(Disk or Plane\), but is a Grid",
    ),
    "Plane for a lattice model": (
        lambda: spin_hall(LATTICE, PLANE),
        r"`mesh` must be a Grid for a lattice model, but is a Plane",
    ),
    "no levels": (
        lambda: spin_hall(levels=0.1),
        r"`levels` must be a jaxspin.Levels\(mu, temperature\), but is of type float",
    ),
    "definition": (
        lambda: spin_hall(definition="proper"),
        r"`definition` must be one of 'conventional', 'proper_published', .* but is 'proper'",
    ),
    "definition of a curvature": (
        lambda: js.spin_berry_curvature(RASHBA, np.zeros(2), definition="kubo"),
        r"`definition` must be one of 'conventional', .* but is 'kubo'",
    ),
    "strict, degenerate bands": (
        lambda: spin_hall(BHZ, GRID, degeneracy=js.Strict()),
        r"`degeneracy` must be Covariant\(...\) .* Strict\(\), .* split by .* eV at k = ",
    ),
    "strict, degenerate bands in 3D": (
        lambda: spin_hall(BI2SE3, SPACE, degeneracy=js.Strict()),
        r"`degeneracy` must be Covariant\(...\) .* Strict\(\), .* split by .* eV at k = ",
    ),
    "negative tolerance": (
        lambda: js.Covariant(-1e-6),
        r"`tolerance` must be an energy in eV, at least 0, but is -1e-06",
    ),
    "tolerance NaN": (lambda: js.Covariant(float("nan")), r"`tolerance` must be .* but is nan"),
    "Bi2Te3 has no gap in all of space": (
        lambda: spin_hall(models.TopologicalInsulator.bi2te3(), SPACE),
        r"`mesh` must not be a Space .* Fermi sea has no end.*Use a cutoff, Ball\(cutoff, ...\)",
    ),
    "Bi2Se3 with warping needs a cutoff": (
        lambda: spin_hall(models.TopologicalInsulator.bi2se3(warping=True), SPACE),
        r"`mesh` must not be a Space .* does not converge. Use a cutoff, Ball\(cutoff, ...\)",
    ),
    "carriers of a filled continuum band": (
        lambda: js.carrier_density(models.MassiveDirac(1.0, 0.1), PLANE, LEVELS),
        r"`mesh` must not be a Plane .* does not converge. Use a cutoff, Disk\(cutoff, ...\)",
    ),
    "bands out of range": (
        lambda: js.equilibrium_spin_current(KANE_MELE, GRID, LEVELS, bands=(0, 4)),
        r"`bands` must be band indices from 0 to 3, but is \(0, 4\)",
    ),
    "no bands": (
        lambda: js.equilibrium_spin_current(KANE_MELE, GRID, LEVELS, bands=()),
        r"`bands` must be band indices from 0 to 3, but is \(\)",
    ),
    "bands cut a Kramers pair": (
        lambda: js.equilibrium_spin_current(BI2SE3, SPACE, LEVELS, bands=(0,)),
        r"`bands` must keep degenerate bands together, .* bands 0 and 1 are degenerate",
    ),
    "k of another length": (
        lambda: js.bands(RASHBA, np.zeros((4, 3))),
        r"`k` must have a last axis of length 2, .* but has shape \(4, 3\)",
    ),
    "k a number": (lambda: js.bands(RASHBA, 0.1), r"`k` must have a last axis of length 2"),
    "k NaN": (
        lambda: js.berry_curvature(RASHBA, np.array([0.1, np.nan])),
        r"`k` must be finite, but is nan at index 1",
    ),
    "models of other dimension": (lambda: RASHBA + BI2SE3, r"`other` .* same dimension 2"),
    "models of other size": (lambda: LATTICE + KANE_MELE, r"`other` must have 2 bands"),
    "models of other lattice": (
        lambda: models.Haldane(0.2, 1.0, 0.1, 1.0) + LATTICE,
        r"`other` must have the same lattice",
    ),
    "spin operator of other size": (
        lambda: models.WithSpin(RASHBA, np.zeros((3, 4, 4))),
        r"`operator` must have shape \(3, 2, 2\), but has shape \(3, 4, 4\)",
    ),
    "spin operator not Hermitian": (
        lambda: models.WithSpin(RASHBA, 1j * PAULI[1:]),
        r"`operator` must be three Hermitian matrices",
    ),
    "exchange": (
        lambda: models.TopologicalInsulator.bi2se3(exchange=0.1),
        r"`exchange` must be three energies",
    ),
    "unknown parameter": (
        lambda: models.TopologicalInsulator.bi2se3(D0=0.1),
        r"`D0` must be one of the fields, A0, .* but is none of them",
    ),
    "spin basis": (
        lambda: models.TopologicalInsulator.bi2se3(spin_basis="liu"),
        r"`spin_basis` must be one of 'pauli', 'liu2010', but is 'liu'",
    ),
}


@pytest.mark.parametrize(("call", "message"), CALLS.values(), ids=CALLS.keys())
def test_bad_call(call, message):
    with pytest.raises(ValueError, match=message):
        call()


LEVELS_ARGUMENTS = {
    "no mu": (([],), r"`mu` must be a number or a non-empty one-dimensional array"),
    "mu of two axes": (([[0.1]],), r"`mu` must be a number or .* \(1, 1\)"),
    "mu NaN": (([0.1, np.nan],), r"`mu` must be finite"),
    "mu infinite": ((np.inf,), r"`mu` must be finite, but is inf"),
    "temperature NaN": ((0.1, np.nan), r"`temperature` must be finite"),
    "temperature negative": ((0.1, -1.0), r"`temperature` must not be negative \(K\), but is -1.0"),
    "one temperature negative": ((0.1, [300.0, -1.0]), r"`temperature` must not be negative"),
    "no temperature": ((0.1, []), r"`temperature` must be a number or a non-empty"),
}


@pytest.mark.parametrize(
    ("arguments", "message"), LEVELS_ARGUMENTS.values(), ids=LEVELS_ARGUMENTS.keys()
)
def test_bad_levels(arguments, message):
    with pytest.raises(ValueError, match=f"Argument {message}"):
        js.Levels(*arguments)


MESH_ARGUMENTS = {
    "shape zero": (js.Grid, ((4, 0),), r"`shape` must be positive integers"),
    "shape fractional": (js.Grid, ((4, 2.5),), r"`shape` must be positive integers"),
    "shape empty": (js.Grid, ((),), r"`shape` must be positive integers"),
    "shift of another length": (js.Grid, ((4, 4), (0.5,)), r"`shift` must be a number or 2"),
    "shift NaN": (js.Grid, ((4, 4), np.nan), r"`shift` must be a number or 2"),
    "cutoff zero": (js.Disk, (0.0, 4, 4), r"`cutoff` must be positive \(1/Angstrom\), but is .*0"),
    "cutoff two numbers": (js.Ball, ((1.0, 1.0), 4, 4, 4), r"`cutoff` must be one number"),
    "scale negative": (js.Plane, ((0.1, -0.1), 4, 4), r"`scale` must be positive"),
    "scale of another length": (js.Space, ((0.1, 0.1), 4, 4, 4), r"`scale` must be .* or 3"),
    "scale infinite": (js.Space, (np.inf, 4, 4, 4), r"`scale` must be positive"),
    "radial": (js.Plane, (1.0, 0, 4), r"`radial` must be a positive integer, but is 0"),
    "angular": (js.Disk, (1.0, 4, 2.5), r"`angular` must be a positive integer, but is 2.5"),
    "polar": (js.Ball, (1.0, 4, -1, 4), r"`polar` must be a positive integer, but is -1"),
    "azimuthal": (js.Space, (1.0, 4, 4, "4"), r"`azimuthal` must be a positive integer"),
    "path of one point": (js.Path, ([[0, 0]], ("G",)), r"`points` must be at least two"),
    "path NaN": (js.Path, ([[0, 0], [np.nan, 0]], "ab"), r"`points` must be .* finite"),
    "labels": (js.Path, ([[0, 0], [1, 0]], ("G",)), r"`labels` must have 2 names.* has 1"),
}


@pytest.mark.parametrize(
    ("mesh", "arguments", "message"), MESH_ARGUMENTS.values(), ids=MESH_ARGUMENTS.keys()
)
def test_bad_mesh(mesh, arguments, message):
    with pytest.raises(ValueError, match=f"Argument {message}"):
        mesh(*arguments)


def test_several_counts_for_one_coordinate():
    with pytest.raises(ValueError, match="Argument `radial` must be"):
        js.Disk(1.0, (4, 5), 4)


def test_unknown_units():
    response = js.Response(
        value=jnp.zeros(1),
        error=jnp.zeros(1),
        levels=LEVELS,
        info={},
        axes=("mu",),
        units="hbar/2e S",
        name="",
        formula="",
        source="",
    )
    with pytest.raises(ValueError, match=r"`units` must be one of .*'e/8pi'.* but is 'S/m'"):
        response.to("S/m")


def test_good_input_reaches_the_sum():
    """Negative control: the guard of these tests works."""
    with pytest.raises(pytest.fail.Exception, match="the sum was started"):
        spin_hall(LATTICE, GRID)
