"""Several processes on one host: the same result, and a clear end when one of them dies."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from interrupted import LIMIT

from jaxspin.engine import distributed

RUN = """
import os, sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, os.environ["TESTS"])
import jaxspin as js
from interrupted import compute, small_segments

folder, pause = Path(sys.argv[1]), float(sys.argv[2])
small_segments(pause)
js.distributed.start(*eval(sys.argv[3]), timeout=6)
rank = js.distributed.rank()
(folder / f"pid.{rank}").write_text(str(os.getpid()))
SCRIPT
np.save(folder / f"result.{rank}.npy", result)
"""
PLAIN = "result = compute()"
KEPT = "result = compute(checkpoint=js.Checkpoint(folder / 'sums.npz', seconds=0))"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def begin(folder: Path, number: int, script: str, pause: float = 0.0, environment=None):
    """The processes, their standard errors in files."""
    address = f"127.0.0.1:{free_port()}"
    processes = []
    for rank in range(number):
        where = (address, number, rank) if environment is None else ()
        text = RUN.replace("SCRIPT", script)
        if number == 1:
            text = re.sub(r"js.distributed.start\(.*\)", "", text)
        extra = {} if environment is None else environment(rank, address)
        with (folder / f"error.{rank}").open("w") as error:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", text, str(folder), str(pause), repr(where)],
                    env={
                        **os.environ,
                        "TESTS": str(Path(__file__).parents[1] / "oracles"),
                        "JAXSPIN_THREADS": "1",
                        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
                        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                        **extra,
                    },
                    stdout=subprocess.DEVNULL,
                    stderr=error,
                )
            )
    return processes


def end(processes) -> list[int]:
    try:
        return [process.wait(LIMIT) for process in processes]
    finally:
        for process in processes:
            process.kill()


def errors(folder: Path) -> dict[int, str]:
    return {int(path.suffix[1:]): path.read_text() for path in folder.glob("error.*")}


def results(folder: Path) -> list[np.ndarray]:
    return [np.load(path) for path in sorted(folder.glob("result.*.npy"))]


def run(folder: Path, number: int, script: str = PLAIN, environment=None) -> list[np.ndarray]:
    """What each process gets."""
    codes = end(begin(folder, number, script, environment=environment))
    assert codes == [0] * number, errors(folder)
    return results(folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    (result,) = run(tmp_path_factory.mktemp("alone"), 1)
    return result


def agree(result, alone):
    np.testing.assert_allclose(result, alone, rtol=0, atol=1e-13 * np.max(np.abs(alone[0])))


@pytest.mark.timeout(3 * LIMIT)
@pytest.mark.parametrize("number", [2, pytest.param(3, marks=pytest.mark.study)])
def test_several_processes_agree_with_one(tmp_path, alone, number):
    found = run(tmp_path, number)
    assert len(found) == number
    for result in found:
        agree(result, alone)
        np.testing.assert_array_equal(result, found[0])


def slurm(rank: int, address: str) -> dict[str, str]:
    return {
        "SLURM_JOB_ID": "1234",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "JAX_COORDINATOR_PORT": address.rpartition(":")[2],
    }


def open_mpi_4(rank: int, address: str) -> dict[str, str]:
    return {
        "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
        "JAX_COORDINATOR_PORT": address.rpartition(":")[2],
    }


@pytest.mark.study
@pytest.mark.timeout(3 * LIMIT)
@pytest.mark.parametrize("launcher", [slurm, open_mpi_4])
def test_launchers(tmp_path, alone, launcher):
    """With the variables that they set."""
    for result in run(tmp_path, 2, environment=launcher):
        agree(result, alone)


@pytest.mark.study
@pytest.mark.timeout(4 * LIMIT)
@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_process_ends_the_run_and_it_goes_on(tmp_path, alone, victim):
    processes = begin(tmp_path, 2, KEPT, pause=0.5)
    files = [tmp_path / f"sums.npz.{rank}-of-2" for rank in range(2)]
    limit = time.monotonic() + LIMIT
    while not all(map(Path.exists, files)) and time.monotonic() < limit:
        time.sleep(0.02)
    processes[victim].kill()
    start = time.monotonic()
    codes = end(processes)
    assert time.monotonic() - start < 30
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] != 0
    message = errors(tmp_path)[1 - victim]
    if victim == 1:
        assert "process 1 of 2 has given no sign of life for 6 s" in message
        assert "the run goes on from there" in message
    else:  # with the process that holds the store JAX itself ends the others
        assert "another task died" in message
    assert all(map(Path.exists, files))
    assert results(tmp_path) == []
    for result in run(tmp_path, 2, KEPT):
        agree(result, alone)
    assert not any(map(Path.exists, files))


@pytest.mark.study
@pytest.mark.timeout(3 * LIMIT)
def test_a_process_that_ends_early_ends_the_run(tmp_path):
    script = "if rank == 1: raise SystemExit(3)\nresult = compute()"
    codes = end(begin(tmp_path, 2, script))
    assert codes == [1, 3]
    assert "process 1 of 2 has ended" in errors(tmp_path)[0]


@pytest.mark.study
@pytest.mark.timeout(3 * LIMIT)
def test_a_slow_process_is_waited_for(tmp_path, alone):
    """However long it takes: 9 s here, with a limit of 6 s for signs of life."""
    script = "if rank == 1: time.sleep(9)\nresult = compute()\nif rank == 1: time.sleep(9)"
    for result in run(tmp_path, 2, script):
        agree(result, alone)


@pytest.mark.study
@pytest.mark.timeout(3 * LIMIT)
def test_processes_with_different_models_are_refused(tmp_path):
    script = (
        "model = js.models.QiWuZhang(A=1.0, m=-1.0 - 0.1 * rank)\n"
        "result = js.anomalous_hall(model, js.Grid((64, 64)), js.Levels(0.0)).value"
    )
    codes = end(begin(tmp_path, 2, script))
    assert all(codes)
    told = " ".join(errors(tmp_path).values())
    assert re.search(r"`model\.m` is -1\.[01] in process [01] and -1\.[01] in process [01]", told)


@pytest.mark.study
@pytest.mark.timeout(3 * LIMIT)
def test_large_sums_pass(tmp_path):
    """Some tens of megabytes, more than one message of the store may hold."""
    script = (
        "sums = (np.full((27, 100_000), 1.0 + rank), np.asarray(2.0))\n"
        "add = lambda a, b: (a[0] + b[0], a[1])\n"
        "result = js.distributed.total(sums, add, lambda: {'model.m': '1'})[0]"
    )
    for result in run(tmp_path, 2, script):
        assert np.all(result == 3.0)


# --- bad input ------------------------------------------------------------------------------------


@pytest.fixture
def no_launcher(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "PMI_")):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_launcher")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:1234",), "must be given together or not at all"),
        ((None, 2, 0), "must be given together or not at all"),
        (("localhost:1234", 2, 2), "`rank` must be from 0 to 1, but is 2"),
        (("localhost", 2, 1), '`coordinator` must be "host:port", but is'),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        distributed.start(*arguments)


@pytest.mark.parametrize("timeout", [0, 1, float("nan")])
def test_a_bad_timeout_is_refused(timeout):
    with pytest.raises(ValueError, match="Argument `timeout` must be at least 5"):
        distributed.start("localhost:1234", 2, 0, timeout=timeout)


def test_a_launcher_completes_the_address(no_launcher, monkeypatch):
    """What Open MPI 5 and MPICH say: how many and which, but not where."""
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setenv("PMI_RANK", "3")
    assert distributed._complete_arguments("node1:1234", None, None) == ("node1:1234", 4, 3)


def test_one_process_is_alone():
    assert (distributed.rank(), distributed.size()) == (0, 1)
    assert distributed.total(3, max, dict) == 3


def test_a_port_in_use_is_refused():
    """In two of three tries JAX ended the process with a segmentation fault."""
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        with pytest.raises(ValueError, match=f"`coordinator` must have a free port, but {port}"):
            distributed.start(f"127.0.0.1:{port}", 2, 0)
