"""Claim: a scan of 501 Fermi energies and 3 temperatures costs less than 1.5 times one of each.

Bi2Se3, conventional spin Hall conductivity, all 27 components. Run: python benchmarks/levels.py
"""

import time

import numpy as np
from record import cpu_time, write

import jaxspin as js

MODEL = js.models.TopologicalInsulator.bi2se3()
MESH = js.Space((0.0793, 0.0793, 0.2020), 128, 96, 8)
SCANS = {
    "one level, 300 K": js.Levels(0.1, 300.0),
    "one level, 0 K": js.Levels(0.1),
    "501 levels x 3 temperatures": js.Levels(np.linspace(-0.4, 0.6, 501), [50.0, 150.0, 300.0]),
    "501 levels x (0, 50, 300 K)": js.Levels(np.linspace(-0.4, 0.6, 501), [0.0, 50.0, 300.0]),
}


def run(levels) -> tuple[float, float, np.ndarray]:
    wall, cpu = time.perf_counter(), cpu_time()
    response = js.spin_hall(MODEL, MESH, levels, definition="conventional", progress=False)
    return time.perf_counter() - wall, cpu_time() - cpu, np.asarray(response.value)


def main() -> None:
    for levels in SCANS.values():
        run(levels)  # compile
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in SCANS}
    for _ in range(5):  # alternating, so that a drift of the machine falls on all
        for name, levels in SCANS.items():
            wall, cpu, value = run(levels)
            times[name].append((wall, cpu))
            if name == "one level, 300 K":
                assert abs(value[0, 2, 0, 1] + 8259.0671) < 1e-3, "wrong value"
    reference = np.median([t[0] for t in times["one level, 300 K"]])
    reference_cpu = np.median([t[1] for t in times["one level, 300 K"]])
    rows = []
    for name, samples in times.items():
        wall, cpu = np.median(samples, axis=0)
        rows.append(
            {
                "scan": name,
                "k-points": MESH.size,
                "wall s": round(wall, 3),
                "cpu s": round(cpu, 3),
                "wall ratio": round(wall / reference, 2),
                "cpu ratio": round(cpu / reference_cpu, 2),
            }
        )
    write("levels", rows)


if __name__ == "__main__":
    main()
