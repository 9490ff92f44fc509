"""The compiled programs: how many are kept, and that nothing else compiles anew at each call."""

import jax
import numpy as np
import pytest

import jaxspin as js
from jaxspin.engine import programs

#: One for each number of levels and class of model: the sum, the addition of its segments, what
#: the levels make of it; at T > 0 the last one once for the Fermi sea and once for the surface.
WANTED = 4


@pytest.fixture
def compiled():
    """Compilations since a call of `clear`."""
    events = []

    def note(event, _seconds, **_details):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield events
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize("temperature", [0.0, 300.0])
def test_another_number_of_levels_compiles_a_few_programs(temperature, compiled):
    """JAX keeps what it compiles for an operation outside of a program for ever, 1.4 MB each.

    Once there were 33 of them at each call (T = 0).
    """
    model, mesh = js.models.QiWuZhang(A=1.0, m=-1.0), js.Grid((6, 6))

    def call(number):
        js.density_of_states(model, mesh, js.Levels(np.linspace(-1, 1, number), temperature))

    call(19)
    compiled.clear()
    call(23)
    assert 0 < len(compiled) <= WANTED


def kept(monkeypatch, number, mappings, **limits) -> int:
    """How many of some programs are kept, in a process of so many mappings."""
    for name, value in limits.items():
        monkeypatch.setattr(programs, name, value)
    monkeypatch.setattr(programs, "count_mappings", lambda: mappings)
    store = programs._Programs()
    for key in range(number):
        store.keep(key, programs._Compiled(lambda x: x, None, [], {}))
    assert list(store._kept) == list(range(number))[-len(store._kept) :]  # those used last
    return len(store._kept)


@pytest.mark.parametrize(
    ("mappings", "expected"), [(1000, 8), (4000, 8), (4001, 3)], ids=["few", "limit", "many"]
)
def test_programs_are_dropped_where_the_process_has_many_mappings(monkeypatch, mappings, expected):
    """Negative control: with few mappings as many are kept as the capacity says."""
    assert kept(monkeypatch, 20, mappings, CAPACITY=8, LEAST=3, MAPPINGS=4000) == expected


@programs.program
def wave(x, number):
    return jax.numpy.sin(number * x) @ x


@pytest.mark.skipif(programs.count_mappings() == 0, reason="the system does not tell mappings")
@pytest.mark.parametrize(("capacity", "fewest", "most"), [(2, 0, 30), (128, 60, 1000)])
def test_a_dropped_program_gives_its_mappings_back(monkeypatch, capacity, fewest, most):
    """Negative control: 30 programs that are kept have two mappings each, or more."""
    monkeypatch.setattr(programs, "_programs", programs._Programs())
    monkeypatch.setattr(programs, "CAPACITY", capacity)
    x = jax.numpy.ones((3, 3))
    wave(x, -1.0)
    before = programs.count_mappings()
    for number in range(30):
        wave(x, float(number))
    assert fewest <= programs.count_mappings() - before < most
