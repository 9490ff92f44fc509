"""Cost against the number of levels. Claim: 1,000 Fermi energies cost at most 1.5 times one.

Bi2Se3, conventional spin Hall conductivity, all 27 components, at T = 0 and at 300 K. One core.

    python benchmarks/levels.py
"""

import numpy as np
from record import alternated, on_one_core, same, three, write

import jaxspin as js

MODEL = js.models.TopologicalInsulator.bi2se3()
MESH = js.Space((0.0793, 0.0793, 0.2020), 256, 192, 8)
NUMBERS = (1, 10, 100, 1000)
TEMPERATURES = (0.0, 300.0)


def levels(number: int) -> np.ndarray:
    """0.1 eV, in the gap, and others around it."""
    return np.append(0.1, np.linspace(-0.4, 0.6, number - 1))


def run(number: int, kelvin):
    scan = js.Levels(levels(number), kelvin)
    return js.spin_hall(MODEL, MESH, scan, definition="conventional", progress=False).value


def main() -> None:
    jobs = {(n, t): lambda n=n, t=t: run(n, t) for t in TEMPERATURES for n in NUMBERS}
    jobs[1000, (50.0, 150.0, 300.0)] = lambda: run(1000, (50.0, 150.0, 300.0))
    times = alternated(jobs)
    same(times[1, 300.0].value[0, 2, 0, 1], -8259.0671, 1e-6)  # another quadrature's
    rows = []
    for (number, kelvin), time in times.items():
        several = isinstance(kelvin, tuple)
        one = times[1, kelvin[-1] if several else kelvin]
        value = time.value[-1] if several else time.value
        same(value[0], one.value[0], 1e-6)
        rows.append(
            {
                "levels": number,
                "temperature K": "50, 150, 300" if several else kelvin,
                "k-points": MESH.size,
                "first call s": three(time.first_wall),
                "cpu s": three(time.cpu),
                "cost of one level": three(time.cpu / one.cpu),
            }
        )
    write("levels", rows)


if __name__ == "__main__":
    on_one_core()
    main()
