"""Claim: ten times the k-points need less than 20 % more memory.

Peak resident memory of whole processes. Run: python benchmarks/memory.py
"""

import resource
import subprocess
import sys

from record import write

COUNTS = ((40, 32, 8), (100, 64, 16), (240, 133, 32))  # 1.0e4, 1.0e5, 1.0e6 points


def one(counts: tuple[int, int, int]) -> None:
    import jaxspin as js

    js.spin_hall(
        js.models.TopologicalInsulator.bi2se3(),
        js.Space((0.0793, 0.0793, 0.2020), *counts),
        js.Levels([0.1, 0.35], [0.0, 300.0]),
        definition="proper_corrected",
        progress=False,
    )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    rows = []
    for counts in COUNTS:
        command = [sys.executable, __file__, *map(str, counts)]
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1200)
        points = counts[0] * counts[1] * counts[2]
        rows.append({"k-points": points, "peak memory MiB": round(float(output.stdout), 1)})
    for row in rows:
        growth = row["peak memory MiB"] / rows[0]["peak memory MiB"]
        row["ratio to the first"] = round(growth, 3)
    write("memory", rows)
    assert rows[-1]["ratio to the first"] < 1.2, "memory grows with the mesh"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one(tuple(int(x) for x in sys.argv[1:]))
    else:
        main()
