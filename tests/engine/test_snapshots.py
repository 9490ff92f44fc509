"""Snapshots: code is traced again where anything that it reads has changed, and only there.

That the usual sources of a number are seen is tested for every compiled entry in
test_identity.py; here are the unusual ones, and that a trace is not repeated.
"""

import os
import random
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin.engine import identity
from jaxspin.engine.identity import code_of
from jaxspin.engine.small_matrices import PAULI
from jaxspin.engine.snapshots import take_snapshot
from jaxspin.engine.trusted import Unidentified

parameters = types.ModuleType("parameters")
generator = np.random.default_rng(20231119)
options = {"mass": 1.0}
look_up = options.get
numbers = iter(range(100))


class Sourced(js.Model):
    """H = mass σ_z, with the mass from elsewhere."""

    @property
    def dimension(self):
        return 2

    def mass(self):
        return 1.0

    def __call__(self, k):
        return self.mass() * jnp.asarray(PAULI[3]) + 0 * k[0]


def of_environment(self):
    return float(os.environ.get("JAXSPIN_TEST_MASS", "1.0"))


def of_clock(self):
    return time.perf_counter()


def of_random_numbers(self):
    return random.random()


def of_generator(self):
    return generator.normal()


def of_name_made_at_run_time(self):
    return getattr(parameters, "ma" + "ss")


def of_bound_method(self):
    return look_up("mass")


def of_iterator(self):
    return float(next(numbers))


def of_import(self):
    import sys as found

    return found.modules["parameters"].mass


def of_module_attribute(self):
    return parameters.mass


UNSEEN = [
    *(of_environment, of_clock, of_random_numbers, of_generator, of_name_made_at_run_time),
    *(of_bound_method, of_iterator, of_import),
]


@pytest.mark.parametrize("source", [*UNSEEN, of_module_attribute], ids=lambda f: f.__name__)
def test_every_change_is_seen(source, monkeypatch):
    """Either a snapshot holds the source, or there is none and the code is traced each time."""
    monkeypatch.setattr(Sourced, "mass", source)
    monkeypatch.setitem(sys.modules, "parameters", parameters)
    found = []
    for mass in (1.0, 2.0):
        monkeypatch.setenv("JAXSPIN_TEST_MASS", str(mass))
        parameters.mass = options["mass"] = mass
        found.append(code_of((Sourced(),)))
    assert found[0] != found[1]


@pytest.mark.parametrize("source", UNSEEN, ids=lambda f: f.__name__)
def test_code_that_may_read_anything_has_no_snapshot(source, monkeypatch):
    monkeypatch.setattr(Sourced, "mass", source)
    with pytest.raises(Unidentified):
        take_snapshot(Sourced())


class WithTable(Sourced):
    """With an array and a class of its own inside."""

    scale: jax.Array
    inner: Sourced

    def __call__(self, k):
        return self.scale * self.inner(k) + np.float64(0.1) * jnp.eye(2)


def test_the_same_code_with_other_numbers_is_traced_once(monkeypatch):
    """Negative control: another type of the array is traced again."""
    traces = []
    plain = identity.trace
    monkeypatch.setattr(identity, "trace", lambda *a: traces.append(a) or plain(*a))
    first = code_of((WithTable(jnp.asarray(1.25), Sourced()),))
    assert traces
    traces.clear()
    assert code_of((WithTable(jnp.asarray(2.5), Sourced()),)) == first
    assert not traces
    code_of((WithTable(jnp.asarray(2), Sourced()),))
    assert traces


CALLS = {
    "Hall": lambda model, mu: js.anomalous_hall(model, js.Disk(0.2, 6, 6), js.Levels(mu, 300.0)),
    "spin Hall": lambda model, mu: js.spin_hall(
        model, js.Plane(0.2, 6, 6), js.Levels(mu), definition="conventional"
    ),
}


class Cone(js.Model):
    """A massive Dirac cone of a user's."""

    mass: jax.Array = js.models.base.parameter()

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        return 3.0 * (k[0] * PAULI[1] + k[1] * PAULI[2]) + self.mass * PAULI[3]

    def spin(self):
        return jnp.asarray(PAULI[1:])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [Cone, lambda m: js.models.MassiveDirac(velocity=3.0, mass=m)])
def test_a_warm_call_traces_nothing(call, kind, monkeypatch):
    """With other numbers of the model and the levels. Negative control: a first call does."""
    traces = []

    def note(name):
        plain = getattr(jax, name)

        def noted(*arguments, **options):
            traces.append(name)
            return plain(*arguments, **options)

        return noted

    for name in ("eval_shape", "make_jaxpr", "vmap", "jacfwd"):
        monkeypatch.setattr(jax, name, note(name))
    CALLS[call](kind(0.5), [0.55, 0.6])
    assert traces or kind is not Cone  # another test may have called it with a package's model
    traces.clear()
    CALLS[call](kind(0.51), [0.57, 0.63])
    assert not traces
