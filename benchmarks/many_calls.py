"""Claim: one process may call as often as it likes: memory and memory mappings stay bounded.

Each call has a class of model of its own, and another number of levels and mesh than the call
before, so that each compiles anew. Resident memory stays below 1500 MB, mappings below 5000.

    python benchmarks/many_calls.py [CALLS]

CALLS is 250 by default, which takes eight minutes of processor time. The committed table has 2,000,
in 25 minutes, of programs that are compiled with little optimisation, as the tests have them
(JAX_DISABLE_MOST_OPTIMIZATIONS=1, XLA_FLAGS=--xla_cpu_use_fusion_emitters=false).
"""

import sys
import time

import numpy as np
from record import three, write

import jaxspin as js
from jaxspin.engine.programs import count_mappings

MEMORY, MAPPINGS = 1500, 5000
RESPONSES = (js.carrier_density, js.density_of_states, js.anomalous_hall)


def call(number: int) -> None:
    """One call of a response of a new class of model."""
    kind = type(f"Chern{number}", (js.models.QiWuZhang,), {})
    mu = np.linspace(-1.5, 1.5, 1 + number % 60)
    mesh = js.Grid((6 + number % 7, 6 + number % 11))
    temperature = (0.0, 300.0)[number % 2]
    response = RESPONSES[number % len(RESPONSES)]
    response(kind(A=1.0, m=-1.0), mesh, js.Levels(mu, temperature), progress=False)


def memory() -> float:
    """Resident memory of this process, MB."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1e3


def main(calls: int) -> None:
    start, rows = time.process_time(), []
    for number in range(calls + 1):
        if number in (0, 10) or number % 50 == 0:
            row = {"calls": number, "memory MB": round(memory()), "mappings": count_mappings()}
            rows.append(row | {"CPU seconds": three(time.process_time() - start)})
            print(rows[-1], flush=True)
        if number < calls:
            call(number)
    write("many_calls", rows)
    if not all(row["memory MB"] < MEMORY and row["mappings"] < MAPPINGS for row in rows):
        raise SystemExit("memory or its mappings grow with the number of calls")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ["250"]))
