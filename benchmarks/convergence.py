"""Error against the number of k-points, for gaps that get small.

Claim: Haldane's model with a gap of 0.001 t takes at most 30,000 evaluations to 1e-6, with
`Adaptive`. The exact answer is 1 e²/h. A uniform grid needs about 1/gap points along each axis.
The error estimate of `Adaptive` must cover its true error for tolerances of 1e-4 and less; with a
looser one it stops before it has seen a gap of 0.001 t.

    python benchmarks/convergence.py
"""

import math

from record import timed, write

import jaxspin as js

GAPS = (0.1, 0.01, 0.001)
SHAPES = (32, 64, 128, 256, 512, 1024, 2048)
TOLERANCES = (1e-1, 1e-2, 1e-4, 1e-6, 1e-8)


def haldane(gap: float):
    """Hopping t = 1 eV; the gap at K is `gap` eV."""
    critical = 3 * math.sqrt(3) * 0.1
    return js.models.Haldane(critical - gap / 2, hopping=1.0, next_hopping=0.1, phase=math.pi / 2)


def row(gap: float, mesh, name: str, points: int = 0) -> dict:
    model, levels = haldane(gap), js.Levels(0.0)
    _, cpu, response = timed(lambda: js.anomalous_hall(model, mesh, levels, progress=False))
    hall = response.to("e^2/h").component(flow="x", field="y")
    points = response.info.get("points", points)
    error, estimate = abs(float(hall.value[0]) - 1), float(hall.error[0])
    return {
        "mesh": name,
        "gap": gap,
        "evaluations": int(points),
        "error": f"{error:.1e}",
        "estimated": f"{estimate:.1e}",
        # 1e-12: what rounding leaves of a number that is met exactly.
        "covered": "yes" if error <= estimate + 1e-12 else "no",
        "cpu s": round(cpu, 3),
    }


def main() -> None:
    rows = [row(gap, js.Grid((n, n)), "Grid", n * n) for gap in GAPS for n in SHAPES]
    if hasattr(js, "Adaptive"):
        start = js.Grid((20, 20))
        refined = [
            row(gap, js.Adaptive(start, rtol=rtol), "Adaptive")
            for gap in GAPS
            for rtol in TOLERANCES
        ]
        for tolerance, r in zip(TOLERANCES * len(GAPS), refined, strict=True):
            if r["covered"] == "no" and tolerance <= 1e-4:
                raise SystemExit(f"wrong error estimate: {r}")
        rows += refined
    else:
        print("Adaptive meshes are left out: this version has none.")
    write("convergence", rows)


if __name__ == "__main__":
    main()
