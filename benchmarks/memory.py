"""Claim: memory does not grow with the mesh: ten times the k-points need less than 20 % more.

Peak resident memory of whole processes, Bi2Se3, corrected proper spin current.

    python benchmarks/memory.py [LARGEST]

LARGEST is 6, 7 or 8, for up to 10^6 (the default), 10^7 or 10^8 k-points; the last take minutes.
"""

import subprocess
import sys
import time

from record import peak_memory, three, write

COUNTS = {
    5: (100, 64, 16),
    6: (240, 133, 32),
    7: (512, 306, 64),
    8: (1024, 768, 128),
}


def one(counts: tuple[int, int, int]) -> None:
    import jaxspin as js

    start = time.perf_counter()
    js.spin_hall(
        js.models.TopologicalInsulator.bi2se3(),
        js.Space((0.0793, 0.0793, 0.2020), *counts),
        js.Levels([0.1, 0.35], [0.0, 300.0]),
        definition="proper_corrected",
        progress=False,
    )
    seconds = time.perf_counter() - start
    print(peak_memory(), seconds)


def main(largest: int) -> None:
    rows = []
    for exponent, counts in COUNTS.items():
        if exponent > largest:
            break
        command = [sys.executable, __file__, *map(str, counts)]
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3600)
        memory, seconds = map(float, output.stdout.split())
        rows.append(
            {
                "k-points": counts[0] * counts[1] * counts[2],
                "first call s": three(seconds),
                "peak memory MiB": round(memory, 1),
                "ratio to the smallest": 1.0,
            }
        )
        rows[-1]["ratio to the smallest"] = round(memory / rows[0]["peak memory MiB"], 3)
    write("memory", rows)
    if not all(row["ratio to the smallest"] < 1.2 for row in rows):
        raise SystemExit("memory grows with the mesh")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        one(tuple(int(x) for x in sys.argv[1:]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) == 2 else 6)
