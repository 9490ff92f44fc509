"""Computations in segments: they go on from a checkpoint to the same bits, one bar shows all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interruption import interrupt

import jaxspin as js
from jaxspin import spin_transfer as stt
from jaxspin.disorder import GaussianCorrelator, solution
from jaxspin.engine import distributed, segments as engine_segments
from jaxspin.engine.checkpoint import Checkpoint
from jaxspin.engine.programs import program
from jaxspin.engine.progress import Bar
from jaxspin.engine.segments import Portion, SegmentedRun
from jaxspin.models import MassiveDirac
from jaxspin.spin_transfer import response as torque_response, texture
from jaxspin.surfaces import scan

DIRAC = MassiveDirac(velocity=1.0, mass=0.3)
CONTOUR, SEA = js.FermiContour(8), js.Plane(0.5, 24, 8)
IRON, SHELL = stt.Ferromagnet(kinetic=5.7), js.FermiShell(6, 8)
SCAN = js.Levels([0.8, 0.9, 1.0])
WALL = stt.domain_wall(5, 10.0, 60.0, 0.004, angle=0.3)


def use_small_segments(monkeypatch):
    """Two levels at T = 0, one at T > 0; four energies; two points of a texture."""
    monkeypatch.setattr(solution, "_NODES", 4 * 32)
    monkeypatch.setattr(solution, "_MOST", 4)
    monkeypatch.setattr(torque_response, "_NODES", 4 * 48)
    monkeypatch.setattr(texture, "_SEGMENT", 2)


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch):
    use_small_segments(monkeypatch)


def correlate(width: float):
    """W(q) of a plain function, which has no fields: its operations tell it from others."""
    return js.FiniteRangeDisorder(lambda q: 1e-3 * jnp.exp(-(q @ q) * width))


RANGED = correlate(1.0)


def disordered(levels=SCAN, disorder=RANGED, model=DIRAC, **keywords):
    return js.disordered_response(model, CONTOUR, levels, disorder, **{"sea": SEA, **keywords})


def magnetic(levels=js.Levels([0.05, 0.06, 0.07]), m=(0, 0, 0.004), **keywords):  # noqa: B008
    modes = stt.DropSlowModes()
    return js.spin_transfer_torque(IRON, SHELL, levels, m, 0.1, slow_modes=modes, **keywords)


def textured(m=WALL, **keywords):
    more = {"spacing": [10.0], "field": [2e-6, 0, 0], "slow_modes": stt.DropSlowModes()}
    return stt.texture_torque(IRON, SHELL, js.Levels(0.05), m, 0.1, **more, **keywords)


CASES = {"disorder": disordered, "spin transfer": magnetic, "texture": textured}


def count_segments(monkeypatch) -> list[tuple[int, Bar]]:
    """A list to which the size of every segment from now on is added, with its bar."""
    track, seen = engine_segments.track, []

    def counted(parts, size, bar):
        for part in track(parts, size, bar):
            seen.append((size, bar))
            yield part

    monkeypatch.setattr(engine_segments, "track", counted)
    return seen


# --- responses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_goes_on_to_the_same_bits_wherever_it_was_stopped(tmp_path, monkeypatch, name):
    compute, path = CASES[name], tmp_path / "sums.npz"
    # The identity takes most of the time, and test_an_interrupted_scan_goes_on has it.
    monkeypatch.setattr(scan, "_describe_scan", lambda *inputs: {})
    with monkeypatch.context() as patch:
        segments = count_segments(patch)
        expected = compute()
    assert len(segments) > 1
    for after in range(len(segments)):
        interrupt(monkeypatch, compute, path, after)
        assert path.exists() == (after > 0)
        with monkeypatch.context() as patch:
            later = count_segments(patch)
            result = compute(checkpoint=path)
        assert len(later) == len(segments) - after  # nothing twice
        assert not path.exists()
        for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)


def test_one_bar_grows_over_all_temperatures(monkeypatch):
    """Each energy counts twice: its surface is found, and its response is solved. That it is chosen
    does not count."""
    segments = count_segments(monkeypatch)
    disordered(js.Levels(SCAN.mu, [0.0, 0.0]))
    total = 2 * 2 * 3 * 2
    assert {(bar.total, bar.unit) for _, bar in segments} == {(total, " energies")}
    completed, last = [], None
    for size, bar in segments:
        if size:
            completed.append((bar.completed if bar is not last else completed[-1]) + size)
            last = bar
    assert np.all(np.diff(completed) > 0)
    assert completed[-1] >= total  # the size of the last segment may be rounded up


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The checkpoint of a scan that was stopped after two segments."""
    path = tmp_path_factory.mktemp("stopped") / "sums.npz"
    with pytest.MonkeyPatch.context() as patch:
        use_small_segments(patch)
        interrupt(patch, disordered, path, 2)
    return path.read_bytes()


@pytest.fixture
def kept(tmp_path, stopped):
    """The same in a file of the test."""
    path = tmp_path / "sums.npz"
    path.write_bytes(stopped)
    return path


GAUSSIAN = GaussianCorrelator(1e-3, 1.0)
OTHERS = {
    "disorder": (
        "disorder.correlator",
        {"disorder": js.FiniteRangeDisorder(GaussianCorrelator(1e-3, 1.0))},
    ),
    "code of a correlator": ("response at T = 0", {"disorder": correlate(2.0)}),
    "levels": ("levels.mu", {"levels": js.Levels([0.8, 1.0])}),
    "model": ("model.mass", {"model": MassiveDirac(1.0, 0.2)}),
    "sea": ("sea", {"sea": js.Plane(0.5, 24, 10)}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_another_computation_is_refused(kept, stopped, name):
    field, changes = OTHERS[name]
    with pytest.raises(ValueError, match=rf"`checkpoint` must be of this very run, but .*`{field}"):
        disordered(checkpoint=kept, **changes)
    assert kept.read_bytes() == stopped


@pytest.mark.parametrize("compute", [magnetic, textured])
def test_a_checkpoint_of_another_response_is_refused(kept, compute):
    with pytest.raises(ValueError, match=r"`checkpoint` must be of this very run, but .*`model"):
        compute(checkpoint=kept)


def test_an_interrupted_scan_goes_on(kept, monkeypatch):
    with monkeypatch.context() as patch:
        whole = count_segments(patch)
        disordered()
    segments = count_segments(monkeypatch)
    disordered(checkpoint=kept)
    assert 2 <= len(segments) == len(whole) - 2  # after which it was stopped
    assert not kept.exists()


def test_traced_numbers_take_one_program(tmp_path, monkeypatch):
    segments = count_segments(monkeypatch)

    def skew(mass, checkpoint=None):
        model = MassiveDirac(1.0, mass)
        return disordered(model=model, checkpoint=checkpoint).skew.conductivity.value

    with pytest.raises(ValueError, match="`checkpoint` must be None inside jit"):
        jax.jit(lambda m: skew(m, tmp_path / "sums.npz"))(0.3)
    traced = jax.jit(skew)(0.3)
    assert not segments
    known = skew(0.3)
    assert segments
    np.testing.assert_allclose(traced, known, atol=1e-12 * np.max(np.abs(known)))


@pytest.mark.study
def test_known_numbers_are_known_inside_jit(monkeypatch):
    """Of another traced number: the response is computed once, in segments, with its warnings."""
    segments = count_segments(monkeypatch)
    scaled = jax.jit(lambda x: x * disordered().drude.conductivity.value)
    np.testing.assert_array_equal(scaled(1.0), disordered().drude.conductivity.value)
    assert segments
    gap = js.Levels([0.0, 0.1, 0.2])
    with pytest.warns(UserWarning, match="no Fermi surface at 3 of 3 levels"):
        found = jax.jit(lambda x: x * disordered(gap).drude.conductivity.value)(1.0)
    np.testing.assert_array_equal(found, np.zeros_like(found))


# --- items ----------------------------------------------------------------------------------------


@program
def _squares(factor, x):
    return {"square": factor * x**2, "even": x % 2 == 0}


def map_squares(number: int, size: int, checkpoint=None):
    run = SegmentedRun(Bar(False, number), checkpoint, lambda: {"what": "squares"})
    compute = lambda x: _squares(jnp.asarray(3), x)  # noqa: E731
    return run.map_items("squares", compute, jnp.arange(number), Portion(size))


@pytest.mark.parametrize(("number", "size"), [(1, 1), (1, 9), (7, 3), (6, 3), (7, 1), (7, 7)])
def test_portions_cover_every_item_once(number, size):
    found = map_squares(number, size)
    np.testing.assert_array_equal(found["square"], 3 * np.arange(number) ** 2)
    np.testing.assert_array_equal(found["even"], np.arange(number) % 2 == 0)


@pytest.mark.parametrize("processes", [2, 3, 9])
def test_processes_share_the_items(monkeypatch, processes):
    """The last of nine have nothing to do."""
    totals = []
    monkeypatch.setattr(distributed, "size", lambda: processes)

    def collect(sums, add, about):
        totals.append(sums)
        return sums if len(totals) == 1 else add(totals[0], sums)

    monkeypatch.setattr(distributed, "total", collect)
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        found = map_squares(7, 2)
        totals[0] = jax.tree.map(np.asarray, found)
    np.testing.assert_array_equal(found["square"], 3 * np.arange(7) ** 2)
    np.testing.assert_array_equal(found["even"], np.arange(7) % 2 == 0)


def test_a_stage_that_is_done_is_read(tmp_path, monkeypatch):
    """Its checkpoint is written at its end; a run that has not begun leaves none."""
    checkpoint = Checkpoint(tmp_path / "sums.npz", seconds=1e6)
    expected = map_squares(7, 3, checkpoint)
    monkeypatch.setattr(engine_segments, "in_order", lambda *arguments: iter(()))
    np.testing.assert_array_equal(map_squares(7, 3, checkpoint)["square"], expected["square"])
