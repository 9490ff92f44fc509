"""The identity of a computation: a program or a file of another one never serves.

Right values are those of `QiWuZhang(A=1, m)`, whose Hamiltonian all models here compute, with m
from elsewhere than their fields.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin.engine.small_matrices import PAULI

_, X, Y, Z = PAULI
GRID, LEVELS = js.Grid((6, 6)), js.Levels([-0.3, 0.4], 2000.0)
K = np.array([[0.3, 0.7], [1.1, -0.4]])
MASS = -1.0
TABLE = np.array([0.0, -1.0])
OPTIONS = {"mass": -1.0}


def hamiltonian(k, mass):
    return jnp.sin(k[0]) * X + jnp.sin(k[1]) * Y + (mass + jnp.cos(k[0]) + jnp.cos(k[1])) * Z


class Chern(js.Model):
    """With m from the module."""

    @property
    def dimension(self):
        return 2

    @property
    def lattice(self):
        return jnp.eye(2)

    def mass(self):
        return MASS

    def __call__(self, k):
        return hamiltonian(k, self.mass())

    def spin(self):
        return jnp.asarray(PAULI[1:])


# --- where m may come from ------------------------------------------------------------------------


class Holder:
    def __init__(self, mass):
        self.mass = mass


def of_global():
    def change(mass):
        global MASS
        MASS = mass
        return Chern()

    return change


def of_array_changed_in_place():
    class Model(Chern):
        def mass(self):
            return jnp.asarray(TABLE)[1]

    def change(mass):
        TABLE[1] = mass
        return Model()

    return change


def of_dictionary():
    class Model(Chern):
        def mass(self):
            return OPTIONS["mass"]

    def change(mass):
        OPTIONS["mass"] = mass
        return Model()

    return change


def of_class_attribute():
    class Model(Chern):
        M = -1.0

        def mass(self):
            return self.M

    def change(mass):
        Model.M = mass
        return Model()

    return change


def of_closure():
    m = -1.0

    class Model(Chern):
        def mass(self):
            return m

    def change(mass):
        nonlocal m
        m = mass
        return Model()

    return change


def of_default():
    class Model(Chern):
        def mass(self, mass=-1.0):
            return mass

    def change(mass):
        Model.mass = lambda self, mass=mass: mass
        return Model()

    return change


def of_mutable_field():
    class Model(Chern):
        holder: Holder = eqx.field(static=True)

        def mass(self):
            return self.holder.mass

    model = Model(Holder(-1.0))

    def change(mass):
        model.holder.mass = mass
        return model

    return change


def of_array_field():
    class Model(Chern):
        table: np.ndarray

        def mass(self):
            return self.table[1]

    model = Model(np.array([0.0, -1.0]))

    def change(mass):
        model.table[1] = mass
        return model

    return change


def of_replaced_function():
    class Model(Chern):
        pass

    def change(mass):
        Model.__call__ = lambda self, k: hamiltonian(k, mass)
        return Model()

    return change


def of_replaced_function_of_the_package():
    def change(mass):
        js.models.QiWuZhang.__call__ = lambda self, k: hamiltonian(k, mass)
        return js.models.QiWuZhang(A=1.0, m=7.0)

    return change


def of_class_of_the_same_name():
    def change(mass):
        class Model(Chern):
            def mass(self):
                return mass

        return Model()

    return change


def of_inner_jit():
    """A table that an inner program holds; a new one for each table, as JAX asks for."""
    table, m = jnp.array([0.0, -1.0]), []

    class Model(Chern):
        def mass(self):
            return jax.jit(lambda: m[-1][1])()

    def change(mass):
        m.append(table.at[1].set(mass))
        return Model()

    return change


def of_field_of_a_part():
    """In a sum of models, of which the first has m from the module."""

    class Zero(Chern):
        def __call__(self, k):
            return 0.0 * Z

    change = of_global()
    return lambda mass: js.models.QiWuZhang(A=1.0, m=0.0) * 0.0 + Zero() + change(mass) * 1.0


SOURCES = [
    of_global,
    of_array_changed_in_place,
    of_dictionary,
    of_class_attribute,
    of_closure,
    of_default,
    of_mutable_field,
    of_array_field,
    of_replaced_function,
    of_replaced_function_of_the_package,
    of_class_of_the_same_name,
    of_inner_jit,
    of_field_of_a_part,
]


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """What the sources change."""
    plain = js.models.QiWuZhang.__call__
    yield
    js.models.QiWuZhang.__call__ = plain


@pytest.mark.parametrize("source", SOURCES)
def test_a_change_outside_of_fields_is_seen(source):
    change = source()
    for mass in (-1.0, -3.0, -1.0):
        energies = js.bands(change(mass), K).energies
        expected = np.linalg.eigvalsh([np.asarray(hamiltonian(k, mass)) for k in K])
        np.testing.assert_allclose(energies, expected, atol=1e-12)


@pytest.mark.parametrize("source", [of_global, of_mutable_field, of_field_of_a_part])
def test_a_change_outside_of_fields_is_seen_by_sums(source):
    """The sum over 6² points at T > 0 in NumPy, with f of the upper and lower band."""
    change = source()
    for mass in (-1.0, -3.0):
        found = js.carrier_density(change(mass), GRID, LEVELS)
        np.testing.assert_allclose(found.value, density(mass), rtol=1e-12)


def density(mass):
    k = 2 * np.pi * np.arange(6) / 6
    kx, ky = np.meshgrid(k, k)
    size = np.sqrt(np.sin(kx) ** 2 + np.sin(ky) ** 2 + (mass + np.cos(kx) + np.cos(ky)) ** 2)
    thermal = js.units.BOLTZMANN * LEVELS.temperature
    f = [1 / (1 + np.exp((np.stack([-size, size]) - mu) / thermal)) for mu in LEVELS.mu]
    return np.array([x.sum() for x in f]) / 36


def hall(model, mesh=GRID):
    return js.anomalous_hall(model, mesh, LEVELS).value


def fitted(model):
    """The shift of the energies of a model that its own energies at m = -2 have."""
    data = np.linalg.eigvalsh([np.asarray(hamiltonian(k, -2.0)) for k in K]).ravel()

    def residuals(p):
        energies = jax.vmap(lambda k: jnp.linalg.eigvalsh(model(k)))(jnp.asarray(K))
        return p["scale"] * energies.ravel() - data

    return js.fit(residuals, {"scale": 1.0}).values


class Residuals(eqx.Module):
    """Compiled once for all data."""

    model: js.Model

    def __call__(self, p):
        energies = jax.vmap(lambda k: jnp.linalg.eigvalsh(self.model(k)))(jnp.asarray(K))
        return p["scale"] * energies[:, 1] - 1.0


class Dirac(js.Model):
    """A continuum model with the mass of another one."""

    other: js.Model

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        return k[0] * X + k[1] * Y + self.other.mass() * Z

    def spin(self):
        return jnp.asarray(PAULI[1:])


ENTRIES = {
    "sum": hall,
    "adaptive": lambda model: hall(model, js.Adaptive(GRID, rtol=0.3)),
    "vmap": lambda model: jax.vmap(
        lambda mu: js.anomalous_hall(model, GRID, js.Levels(mu, 2000.0)).value
    )(jnp.array([0.1, 0.2])),
    "jvp": lambda model: jax.jvp(
        lambda mu: js.anomalous_hall(model, GRID, js.Levels(mu, 2000.0)).value, (0.1,), (1.0,)
    )[1],
    "geometry": lambda model: js.berry_curvature(model, K),
    "Fermi energy": lambda model: js.fermi_energy(model, GRID, 0.9, temperature=2000.0),
    "surface": lambda model: js.FermiContour(4).nodes(Dirac(model), 2.0).k,
    "disorder": lambda model: (
        js.disordered_response(
            Dirac(model),
            js.FermiContour(8),
            js.Levels(2.0),
            js.ScalarDisorder(0.01),
            sea=js.Disk(4.0, 16, 8),
        ).total.conductivity.value
    ),
    "downfolding": lambda model: js.downfold(model, (0,)).validity(K[:1]).gap,
    "fit": fitted,
    "fit of a module": lambda model: js.fit(Residuals(model), {"scale": 1.0}).values,
    "sensitivity": lambda model: (
        js.sensitivity(
            lambda scaled: js.carrier_density(scaled, GRID, js.Levels(0.1, 2000.0)),
            1.0 * model,
            ["scale"],
        ).values
    ),
}


LONG = ("sensitivity", "jvp", "disorder")


@pytest.mark.parametrize(
    "entry", [pytest.param(x, marks=pytest.mark.study) if x in LONG else x for x in ENTRIES]
)
def test_every_compiled_entry_sees_a_change(entry):
    """As with the mass as a field, which every entry has always seen."""

    class WithField(Chern):
        m: jax.Array = js.models.base.parameter()

        def mass(self):
            return self.m

    change, compute = of_global(), ENTRIES[entry]
    found = [compute(change(mass)) for mass in (-1.0, -1.5)]
    expected = [compute(WithField(mass)) for mass in (-1.0, -1.5)]
    size = np.max(np.abs(expected[0]))
    assert np.max(np.abs(np.asarray(expected[0]) - expected[1])) > 1e-2 * size
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-9 * size)
