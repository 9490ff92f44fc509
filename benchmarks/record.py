"""How a benchmark measures, and what it measured: a table, and a CSV file with the machine."""

import csv
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxspin as js

RESULTS = Path(__file__).parent / "results"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass
class Timing:
    """What a job took: medians over the rounds, and its first call, which compiles."""

    wall: float
    cpu: float
    #: The fastest round on the clock: what it takes where nobody else uses the machine.
    best_wall: float
    first_wall: float
    first_cpu: float
    value: Any


def on_one_core() -> None:
    """Start this script again on one core, with libraries of one thread, unless it is so."""
    if os.environ.get("JAXSPIN_ON_ONE_CORE") == "1" or not hasattr(os, "sched_setaffinity"):
        return
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    environment = {**os.environ, **_ONE_THREAD, "JAXSPIN_ON_ONE_CORE": "1"}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def cpu_time() -> float:
    """Processor seconds this process has used, all threads together."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_memory() -> float:
    """Peak resident memory of this process, MiB.

    Not `ru_maxrss` where there is a choice: a process inherits that of the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(job: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, processor seconds and the result of one call."""
    wall, cpu = time.perf_counter(), cpu_time()
    value = jax.block_until_ready(job())
    return time.perf_counter() - wall, cpu_time() - cpu, value


def alternated(jobs: dict[str, Callable[[], Any]], rounds: int = 3) -> dict[str, Timing]:
    """All jobs in turn, round after round, so that a drift of the machine falls on all of them."""
    first = {name: timed(job) for name, job in jobs.items()}
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            samples[name].append(timed(job)[:2])
    result = {}
    for name, times in samples.items():
        wall, cpu = np.median(times, axis=0)
        first_wall, first_cpu, value = first[name]
        best = min(wall for wall, _ in times)
        result[name] = Timing(wall, cpu, best, first_wall, first_cpu, value)
    return result


def same(value, reference, tolerance: float) -> float:
    """The largest difference, relative to the largest number; ends the run where it is too large.

    NaN is too large.
    """
    value, reference = np.asarray(value), np.asarray(reference)
    difference = float(np.max(np.abs(value - reference)) / np.max(np.abs(reference)))
    if not difference <= tolerance:
        raise SystemExit(f"wrong numbers: they differ by {difference:.1e}, above {tolerance:.0e}")
    return difference


def write(name: str, rows: list[dict]) -> None:
    """Print the rows as a table and write them to results/NAME.csv."""
    table = Table(title=name)
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", newline="") as file:
        file.write(f"# {_machine()}\n")
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(name: str) -> list[dict[str, str]]:
    """The rows of results/NAME.csv; none if it is not there."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return []
    return list(csv.DictReader(path.read_text().splitlines()[1:]))


def three(number: float) -> float | int:
    """A number with three digits."""
    rounded = float(f"{number:.3g}")
    return int(rounded) if abs(rounded) >= 100 else rounded


def _machine() -> str:
    device = jax.devices()[0]
    return (
        f"{_processor()}, {os.cpu_count()} cores, {device.platform} {device.device_kind}; "
        f"jaxspin {js.__version__}, jax {jax.__version__}, numpy {np.__version__}, "
        f"equinox {equinox.__version__}, python {platform.python_version()}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
