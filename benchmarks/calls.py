"""Claim: a call costs little more than its k-points, and what is about the same compiles nothing.

Warm calls of the anomalous Hall conductivity of two bands on 256 k-points: with another mu, with
another parameter of the model, inside jit; compilations of the first call, and of later ones with
another temperature, range, number of levels and mesh; seconds of processor time of the import.
"""

import subprocess
import sys
import time
from collections.abc import Callable

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
from record import on_one_core, three, write

import jaxspin as js

ROUNDS = 30
GRID, DISK = js.Grid((16, 16)), js.Disk(0.1, 16, 16)
compiled: list[str] = []


def chern(mass=-1.0, mu=0.0, mesh=GRID, temperature=0.0):
    """The call on a lattice, an insulator."""
    model = js.models.QiWuZhang(A=1.0, m=mass)
    return js.anomalous_hall(model, mesh, js.Levels(mu, temperature), progress=False).value


def cone(mass=0.05, mu=0.1, mesh=DISK, temperature=300.0):
    """The call of a continuum model, a metal: five meshes for the error."""
    model = js.models.MassiveDirac(velocity=3.3, mass=mass)
    return js.anomalous_hall(model, mesh, js.Levels(mu, temperature), progress=False).value


def milliseconds(call: Callable[[float], object]) -> str:
    """Median of the processor time of a call, each with another number near 1."""
    times = []
    for number in np.linspace(0.95, 1.05, ROUNDS):
        start = time.process_time()
        jax.block_until_ready(call(number))
        times.append(1e3 * (time.process_time() - start))
    return three(np.median(times[2:]))


def count_compilations(*calls: Callable[[], object]) -> int:
    """Number of programs that some calls compile."""
    compiled.clear()
    for call in calls:
        call()
    return len(compiled)


def row(name: str, call: Callable, mass: float, mesh, larger) -> dict[str, object]:
    """The figures of one kind of call."""
    scan = np.linspace(-0.2, 0.2, 101)
    first = count_compilations(call)
    call(mu=scan, temperature=300.0)
    later = count_compilations(
        lambda: call(mu=scan, temperature=330.0),
        lambda: call(mu=1.1 * scan, temperature=300.0),
        lambda: call(mu=np.append(scan, scan[:25]), temperature=300.0),
        lambda: call(mu=scan, temperature=300.0, mesh=larger),
    )
    inside = jax.jit(lambda mass: call(mass=mass))
    return {
        "call": name,
        "other mu, ms": milliseconds(lambda x: call(mu=0.1 * x)),
        "other model, ms": milliseconds(lambda x: call(mass=mass * x)),
        "inside jit, ms": milliseconds(lambda x: inside(jnp.asarray(mass * x))),
        "first compiles": first,
        "later compile": later,
    }


def import_time() -> str:
    """Processor time of `import jaxspin` in a process of its own, s: the least of three."""
    command = "import time, jaxspin; print(time.process_time())"
    run = lambda: subprocess.run(  # noqa: E731
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    return three(min(float(run().stdout) for _ in range(3)))


def main() -> None:
    on_one_core()

    def note(event: str, _seconds: float, **_details: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    rows = [
        row("insulator, Grid 16 x 16", chern, -1.0, GRID, js.Grid((20, 17))),
        row("metal, Disk 16 x 16", cone, 0.05, DISK, js.Disk(0.1, 17, 20)),
    ]
    rows.append({"call": "import jaxspin, s", "other mu, ms": import_time()})
    write("calls", rows)
    if any(row.get("later compile") for row in rows):
        raise SystemExit("a change that should compile nothing compiles")


if __name__ == "__main__":
    main()
