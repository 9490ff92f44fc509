"""The compiled programs: how many are kept, and that nothing else compiles anew at each call."""

import jax
import numpy as np
import pytest

import jaxspin as js
from jaxspin.engine import programs

#: One for each size of the levels and class of model: the sum, and at T > 0 what the levels make
#: of it, once for the Fermi sea and once for the surface.
WANTED = 3


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
def test_many_more_levels_compile_a_few_programs(temperature, compiled):
    """JAX keeps what it compiles for an operation outside of a program for ever, 1.4 MB each.

    Once there were 33 of them at each call (T = 0).
    """
    model, mesh = js.models.QiWuZhang(A=1.0, m=-1.0), js.Grid((6, 6))

    def call(number):
        js.density_of_states(model, mesh, js.Levels(np.linspace(-1, 1, number), temperature))

    call(19)
    compiled.clear()
    call(51)
    assert 0 < len(compiled) <= WANTED


CHERN, CONE = js.models.QiWuZhang(A=1.0, m=-1.0), js.models.MassiveDirac(velocity=3.0, mass=0.1)
BLOCH = js.models.Rashba(kinetic=4.0, velocity=0.5, exchange=0.1)

#: Calls of a number of nodes along each axis, and levels.
CALLS = {
    "Hall, grid": lambda n, levels: js.anomalous_hall(CHERN, js.Grid((n, n + 1)), levels),
    "Hall, disk": lambda n, levels: js.anomalous_hall(CONE, js.Disk(0.3, n, n), levels),
    "spin Hall, grid": lambda n, levels: js.spin_hall(
        js.models.KaneMele(1.0, 0.1, 0.05), js.Grid((n, n)), levels, definition="kubo"
    ),
    "spin Hall, plane": lambda n, levels: js.spin_hall(
        CONE, js.Plane(0.1, n, n), levels, definition="conventional"
    ),
}
SCAN = np.linspace(-0.5, 0.5, 101)
#: Levels that follow each other: other mu, numbers, ranges and temperatures.
FOLLOWING = {
    "cold": [js.Levels(0.3), js.Levels(0.31)],
    "warm": [js.Levels(0.3, 300.0), js.Levels(0.2, 340.0)],
    "cold scan": [
        js.Levels(SCAN),
        js.Levels(0.9 * SCAN[:102]),
        js.Levels(np.append(SCAN, SCAN[:25])),
    ],
    "warm scan": [
        js.Levels(SCAN, 300.0),
        js.Levels(SCAN, 330.0),
        js.Levels(1.1 * SCAN, 300.0),
        js.Levels(np.append(SCAN, SCAN[:25]), 300.0),
    ],
}


@pytest.mark.parametrize("levels", FOLLOWING)
@pytest.mark.parametrize("call", CALLS)
def test_what_is_about_the_same_compiles_nothing(call, levels, compiled):
    """Negative control: the first call compiles, or has done so in another test."""
    first, *others = FOLLOWING[levels]
    CALLS[call](8, first)
    CALLS[call](9, first)  # what a Fermi surface asks for besides
    compiled.clear()
    for other in others:
        CALLS[call](8, other)
    for number in (9, 10):
        CALLS[call](number, first)
    assert not compiled


def test_the_first_call_compiles_a_few_programs(compiled):
    """The checks of the model, the sum, and the search for narrow gaps. Once there were 54."""

    class Fresh(js.Model):
        @property
        def dimension(self):
            return 2

        def __call__(self, k):
            return 3.0 * (k[0] * js.PAULI[1] + k[1] * js.PAULI[2]) + 0.1 * js.PAULI[3]

    js.anomalous_hall(CONE, js.Disk(0.3, 8, 8), js.Levels(0.0))
    compiled.clear()
    js.anomalous_hall(Fresh(), js.Disk(0.3, 8, 8), js.Levels(0.0))
    assert len(compiled) <= 3


def test_disorder_compiles_nothing_for_another_level(compiled):
    call = lambda mu, strength: js.disordered_response(  # noqa: E731
        BLOCH, js.FermiContour(16), js.Levels(mu), js.ScalarDisorder(strength)
    )
    call(0.3, 0.2)
    compiled.clear()
    call(0.31, 0.21)
    assert not compiled


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


def test_a_long_array_is_known_again_by_itself():
    """Short ones are known by their numbers; negative control: as many numbers in another array."""
    calls = []
    size = programs.partial(programs.known_by_identity, capacity=2)(
        lambda array, power: calls.append(power) or float(jax.numpy.sum(array**power))
    )
    long, short = jax.numpy.ones(1000), jax.numpy.ones(3)
    for array in (long, long, jax.numpy.ones(3), short):
        assert size(array, 2) == array.size
    assert len(calls) == 2
    assert size(2 * long, 2) == 4000
    assert size(jax.numpy.ones(1000), 2) == 1000
    assert len(calls) == 4
    assert size(long, 2) == 1000  # no longer kept
    assert jax.jit(lambda array: programs.known_by_identity(jax.numpy.sum, 2)(array))(long) == 1000
    assert len(calls) == 5


def test_a_long_array_of_numpy_is_not_known_again():
    """Its numbers may change: a result that was kept would be that of others, without a word."""
    total = programs.known_by_identity(lambda array: float(array.sum()), 2)
    array = np.ones(1000)
    assert total(array) == 1000
    array *= 2
    assert total(array) == 2000


def test_what_depends_on_a_mesh_is_found_once_for_the_same_object():
    """Negative controls: another object, another argument, and a class outside of the package."""
    calls = []

    def count(mesh, times):
        calls.append(mesh)
        return times * mesh.size

    known = programs.known_by_object(count, capacity=4)
    mesh = js.Grid((3, 4))
    assert [known(mesh, 1), known(mesh, 1), known(mesh, 2)] == [12, 12, 24]
    assert known(js.Grid((3, 4)), 1) == 12
    assert len(calls) == 3

    class Own(js.Grid):
        pass

    own = Own((2, 2))
    assert [known(own, 1), known(own, 1)] == [4, 4]
    assert len(calls) == 5
    disk = jax.jit(lambda cutoff: known(js.Disk(cutoff, 2, 5), 1) * cutoff)
    assert disk(1.0) == 10  # a mesh of traced numbers is kept by nobody
    assert len(calls) == 6
