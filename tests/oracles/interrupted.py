"""A sum that is killed at random moments and started again, until it is done.

`python tests/oracles/interrupted.py 50` kills 50 times and compares; the tests do it a few times.
The other commands are what runs in the process that is killed.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxspin.engine.checkpoint import PartialSums
from jaxspin.engine.tile_sizes import sizes_for
from jaxspin.integration import tiles

LIMIT = 120  # seconds for any process


def command(folder: Path, *arguments: object, **environment: object) -> dict:
    """Keyword arguments of a process that runs this file."""
    return {
        "args": [sys.executable, __file__, str(folder), *map(str, arguments)],
        "env": {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **{name: str(value) for name, value in environment.items()},
        },
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }


def finished(folder: Path, *arguments: object, **environment: object) -> str:
    """The standard output of a process that must succeed."""
    result = subprocess.run(timeout=LIMIT, **command(folder, *arguments, **environment))
    assert result.returncode == 0, result.stderr
    return result.stdout


def kill_and_resume(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kill `kills` times, and until a run began from a checkpoint; all that end must agree.

    Returns:
        How many runs were done to the end, and how many began from a checkpoint.
    """
    finished(folder, "expected")
    start = time.monotonic()
    assert _run(folder, LIMIT)
    whole = time.monotonic() - start  # with the start of Python, hence longer than the sum
    _compare(folder)
    random = np.random.default_rng(seed)
    done, resumed = 1, 0
    while kills > 0 or not resumed:
        resumed += (folder / "sums.npz").exists()
        survived = _run(folder, random.uniform(0, whole))
        kills -= not survived
        if survived:
            done += 1
            _compare(folder)
    resumed += (folder / "sums.npz").exists()
    assert _run(folder, LIMIT)
    _compare(folder)
    return done + 1, resumed


def _run(folder: Path, seconds: float) -> bool:
    """Run, and kill `seconds` after the start of the sum; whether it was done before."""
    with subprocess.Popen(**command(folder, "sums")) as process:
        assert process.stdout.readline() == "begin\n", process.stderr.read()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(LIMIT)
        if process.returncode == -signal.SIGKILL:
            return False
        assert process.returncode == 0, process.stderr.read()
        return True


def _compare(folder: Path) -> None:
    assert np.array_equal(np.load(folder / "sums.npy"), np.load(folder / "expected.npy"))
    left = sorted(path.name for path in folder.iterdir() if "npz" in path.name)
    assert left == []


# --- in the process that is killed ----------------------------------------------------------------


def small_segments(pause: float = 0.0) -> None:
    """Segments of a thousand k-points, with a pause after each."""

    tiles.sizes_for = lambda *model: sizes_for(*model)._replace(segment=1024)
    keep = PartialSums.keep

    def slowly(self, *arguments, **keywords):
        keep(self, *arguments, **keywords)
        time.sleep(pause)

    PartialSums.keep = slowly


def compute(**keywords) -> np.ndarray:
    """Value and error of a response of 24 segments, of which 8 are the coarser mesh's."""
    import jaxspin as js

    model = js.models.QiWuZhang(A=1.0, m=-1.0)
    levels = js.Levels(np.linspace(-1, 1, 11), 100.0)
    hall = js.anomalous_hall(model, js.Grid((128, 128)), levels, **keywords)
    return np.stack([hall.value, hall.error])


def main(folder: str, name: str) -> None:
    """One run: `expected` at once, anything else slowly and with a checkpoint."""
    import jaxspin as js

    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
    small_segments(0.0 if name == "expected" else 0.08)
    path = Path(folder, f"{name}.npz")
    checkpoint = None if name == "expected" else js.Checkpoint(path, seconds=0)
    sys.stdout.write("begin\n")
    sys.stdout.flush()
    np.save(Path(folder, f"{name}.npy"), compute(checkpoint=checkpoint))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(*sys.argv[1:])
    else:
        with tempfile.TemporaryDirectory() as name:
            number, from_checkpoints = kill_and_resume(Path(name), int(sys.argv[1]), seed=0)
        sys.stdout.write(
            f"killed {sys.argv[1]} times; {number} runs done, all bit-identical; "
            f"{from_checkpoints} runs began from a checkpoint\n"
        )
