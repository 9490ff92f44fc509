"""Lanes: the same bits on one and on several, clear errors, no deadlocks.

What concerns the devices of a process needs a process: they are fixed when JAX starts.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from interrupted import LIMIT, command, compute, finished

from jaxspin.engine import blas, devices

WIDE = """
import sys
import numpy as np
import jaxspin as js
from jaxspin.engine import blas, devices
from jaxspin.engine.tile_sizes import sizes_for
from jaxspin.integration import tiles
tiles.sizes_for = lambda *model: sizes_for(*model)._replace(segment=1024)
random = np.random.default_rng(0)
blocks = random.normal(size=(3, 26, 26)) + 0j
blocks[0] += blocks[0].T
blocks[2] = blocks[1].conj().T
model = js.HoppingModel(np.eye(2), [(0, 0), (1, 1), (-1, -1)], blocks, np.zeros((26, 2)), None)
density = js.carrier_density(model, js.Grid((64, 64)), js.Levels(np.linspace(-1, 1, 11)))
np.save(sys.argv[1], density.value)
sys.stdout.write(str(len(devices.workers(26))))
"""


def virtual(number: int) -> str:
    return f"--xla_force_host_platform_device_count={number}"


@pytest.mark.study
@pytest.mark.timeout(4 * LIMIT)
def test_any_number_of_lanes_gives_the_same_bits(tmp_path):
    """1, 2 and 3 lanes on one device; 2 and 4 virtual devices; of programs as users have them."""
    results, optimised = [], {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    for number, threads in [(1, 1), (1, 2), (1, 3), (2, 1), (4, 2)]:
        chosen = {"XLA_FLAGS": virtual(number), "JAXSPIN_THREADS": threads, **optimised}
        finished(tmp_path, "expected", **chosen)
        results.append(np.load(tmp_path / "expected.npy"))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    np.testing.assert_allclose(
        results[0][0], compute()[0], rtol=0, atol=1e-13 * results[0][0].max()
    )


@pytest.mark.study
@pytest.mark.timeout(3 * LIMIT)
def test_lapack_on_several_devices_does_not_deadlock(tmp_path):
    results = []
    for number in (1, 4):
        environment = {**os.environ, "XLA_FLAGS": virtual(number), "JAXSPIN_THREADS": "2"}
        path = tmp_path / f"{number}.npy"
        process = [sys.executable, "-X", "faulthandler", "-c", WIDE, str(path)]
        result = subprocess.run(
            process, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == "1"
        results.append(np.load(path))
    np.testing.assert_array_equal(*results)


@pytest.mark.study
@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
@pytest.mark.timeout(4 * LIMIT)
def test_ctrl_c_leaves_promptly_with_a_checkpoint(tmp_path):
    finished(tmp_path, "expected")
    with subprocess.Popen(**command(tmp_path, "sums", JAXSPIN_THREADS=2)) as process:
        end = time.monotonic() + LIMIT
        while not (tmp_path / "sums.npz").exists() and time.monotonic() < end:
            time.sleep(0.02)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert time.monotonic() - start < 10
        assert "KeyboardInterrupt" in process.stderr.read()
    with np.load(tmp_path / "sums.npz") as archive:
        assert archive["coarser.done"] >= 1
    finished(tmp_path, "sums")
    np.testing.assert_array_equal(
        np.load(tmp_path / "sums.npy"), np.load(tmp_path / "expected.npy")
    )


# --- lanes ----------------------------------------------------------------------------------------


def test_a_thread_for_each_core(monkeypatch):
    monkeypatch.delenv("JAXSPIN_THREADS", raising=False)
    assert 1 <= devices.threads() <= os.cpu_count()
    monkeypatch.setenv("JAXSPIN_THREADS", "5")
    assert devices.threads() == 5
    if jax.default_backend() == "cpu" and jax.local_device_count() == 1:
        assert len(devices.workers(4)) == 5
        assert len(devices.workers(100)) == 1  # LAPACK


@pytest.mark.parametrize("bad", ["0", "-1", "2.5", "all", " "])
def test_a_bad_number_of_threads_is_refused(monkeypatch, bad):
    monkeypatch.setenv("JAXSPIN_THREADS", bad)
    with pytest.raises(ValueError, match="JAXSPIN_THREADS must be a positive integer, but is"):
        devices.threads()


def test_the_default_device_is_the_only_one():
    device = jax.local_devices()[0]
    for chosen in (device, device.platform):
        with jax.default_device(chosen):
            assert set(devices.workers(4)) == {device}


# Numbers stand for devices from here on.


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order(workers):
    def slow(item, lane):
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item, lane

    results = list(devices.in_order(slow, range(20), list(range(workers))))
    assert [item for item, _ in results] == list(range(20))
    assert {lane for _, lane in results} <= set(range(workers))


@pytest.mark.usefixtures("unchecked_annotations")
def test_a_lane_has_one_item_at_a_time():
    busy, most, lock = [0, 0], [0, 0], threading.Lock()

    def work(item, lane):
        with lock:
            busy[lane] += 1
            most[lane] = max(most[lane], busy[lane])
        time.sleep(0.002)
        with lock:
            busy[lane] -= 1

    list(devices.in_order(work, range(40), [0, 1]))
    assert most == [1, 1]


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_a_lane_comes_out(workers):
    begun = []

    def failing(item, lane):
        begun.append(item)
        if item == 4:
            raise FloatingPointError("in segment 4")
        return item

    results = devices.in_order(failing, range(1000), list(range(workers)))
    with pytest.raises(FloatingPointError, match="in segment 4"):
        list(results)
    assert len(begun) < 20


@pytest.mark.usefixtures("unchecked_annotations")
def test_few_results_wait():
    """A reader that is slower than the lanes does not fill the memory."""
    begun = []
    results = devices.in_order(lambda item, lane: begun.append(item), range(1000), [0, 1])
    for _ in range(10):
        next(results)
    time.sleep(0.05)
    assert len(begun) <= 10 + 4
    results.close()


def test_lapack_has_one_thread_in_sums_that_call_it():
    """And as many as before afterwards, where sums overlap too. Negative control: few bands."""
    library = blas._find_library()
    if library is None:
        pytest.skip("LAPACK is not that of SciPy's own OpenBLAS")
    before = library.get()
    library.set(2)
    first, second = devices.limited_library(40), devices.limited_library(40)
    with devices.limited_library(4):
        assert library.get() == 2
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert library.get() == 1
    second.__exit__(None, None, None)
    assert library.get() == 2
    library.set(before)
