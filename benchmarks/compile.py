"""Seconds to compile, by the number of bands and the response, with and without a cache on disk.

The first call of a fresh process on a small mesh, less the second: tracing, compilation, or its
reading from the cache. Processor time of one core.

    python benchmarks/compile.py
"""

import os
import subprocess
import sys
import tempfile

from anomalous_hall import random_model
from record import on_one_core, three, timed, write

import jaxspin as js

SPACE = js.Space((0.0793, 0.0793, 0.2020), 16, 12, 8)
MU = [0.0, 0.1]


def anomalous_hall(n: int):
    model = random_model(n)
    return lambda: js.anomalous_hall(model, js.Grid((8, 8, 8)), js.Levels(MU), progress=False)


def spin_hall(definition: str):
    model, levels = js.models.TopologicalInsulator.bi2se3(), js.Levels(MU, 300.0)
    return lambda: js.spin_hall(model, SPACE, levels, definition=definition, progress=False)


JOBS = {f"anomalous_hall, {n} bands": (anomalous_hall, n) for n in (2, 4, 8, 18)} | {
    f"spin_hall {name}, 4 bands": (spin_hall, name)
    for name in ("conventional", "proper_corrected", "kubo")
}


def one(name: str) -> None:
    build, argument = JOBS[name]
    job = build(argument)
    (_, first, _), (_, second, _) = timed(job), timed(job)
    print(first - second, second)


def child(name: str, cache: str) -> list[float]:
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    output = subprocess.run(
        [sys.executable, __file__, name],
        check=True,
        capture_output=True,
        text=True,
        timeout=1200,
        env=environment,
    )
    return [float(x) for x in output.stdout.split()[-2:]]


def main() -> None:
    rows = []
    for name in JOBS:
        with tempfile.TemporaryDirectory() as cache:
            without, with_cache = child(name, cache), child(name, cache)  # the first one fills it
        rows.append(
            {
                "response": name,
                "first call more than the second, cpu s": three(without[0]),
                "with the cache": three(with_cache[0]),
                "second call, cpu s": three(without[1]),
            }
        )
    write("compile", rows)


if __name__ == "__main__":
    on_one_core()
    if len(sys.argv) > 1:
        one(sys.argv[1])
    else:
        main()
