"""Scaling with cores and with devices. Claim: two cores are 1.8 times as fast as one.

Wall time, the fastest of some rounds. It means little while others use the machine: the processor
time of a run over its wall time says how many cores it got. The corrected proper spin Hall
conductivity of Bi2Se3; the numbers must agree to every digit.

    python benchmarks/cores.py
"""

import os
import subprocess
import sys

import numpy as np
from record import alternated, three, write

ROUNDS = 5


def one(threads: list[int]) -> None:
    """Wall seconds, processor seconds and a number, for each number of threads."""
    import jaxspin as js

    model = js.models.TopologicalInsulator.bi2se3()
    mesh = js.Space((0.0793, 0.0793, 0.2020), 512, 256, 32)

    def run(threads: int):
        os.environ["JAXSPIN_THREADS"] = str(threads)
        levels = js.Levels(0.35, 300.0)
        job = js.spin_hall(model, mesh, levels, definition="proper_corrected", progress=False)
        return job.value

    times = alternated({n: lambda n=n: run(n) for n in threads}, ROUNDS)
    for n, time in times.items():
        digest = float(np.sum(time.value)).hex()
        print("row", n, mesh.size, time.best_wall, time.cpu, digest)  # the fastest, the median


def children(threads: list[int], devices: int) -> list[list[str]]:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, __file__, *map(str, threads)]
    environment = {**os.environ, "XLA_FLAGS": flags.strip()}
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=3600, env=environment
    )
    return [line.split()[1:] for line in output.stdout.splitlines() if line.startswith("row")]


def main() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= cores]
    measured = [("threads", *row) for row in children(counts, 1)]
    for devices in counts[1:]:
        _, *row = children([1], devices)[0]
        measured.append(("devices", devices, *row))
    if len({digest for *_, digest in measured}) != 1:
        raise SystemExit("wrong numbers: they depend on the number of cores")
    reference = float(measured[0][3])
    rows = [
        {
            "lanes": kind,
            "number": number,
            "k-points": points,
            "best wall s": three(float(wall)),
            "cpu s": three(float(cpu)),
            "cores it got": three(float(cpu) / float(wall)),
            "faster than one": three(reference / float(wall)),
        }
        for kind, number, points, wall, cpu, _ in measured
    ]
    write("cores", rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one([int(x) for x in sys.argv[1:]])
    else:
        main()
