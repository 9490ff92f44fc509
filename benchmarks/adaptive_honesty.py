"""How honest "converged" is on `Adaptive`: 200 cases with gaps that no first mesh shows.

    python benchmarks/adaptive_honesty.py

Chern and spin Chern numbers of the Qi-Wu-Zhang, Haldane and Kane-Mele models with gaps of 1e-2 to
1e-7 of the bandwidth, and the Hall conductivity of a pair of Weyl nodes at distances of 1e-2 to
1e-7 of the zone, on first meshes of 6² to 16² (8³) and tolerances of 1e-1 to 1e-6.

Of Weyl nodes this close the conductivity is a remainder: the cells cancel to 1e-2 to 1e-7 of their
magnitudes. A tolerance relative to it is not met within the points, and the answer is "not
converged". Half of these cases therefore have a tolerance relative to e²/(h a), the conductivity of
nodes a whole zone apart.

It fails if a case is called converged with a true error beyond three times the claimed one.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from record import write

import jaxspin as js
from jaxspin import models
from jaxspin.engine.small_matrices import PAULI

LEVELS = js.Levels(0.0)


class WeylPair(js.Model):
    """Weyl nodes at k = (0, 0, ±half): the planes between them have C = -1."""

    half: float
    dimension = property(lambda self: 3)
    lattice = property(lambda self: jnp.eye(3))

    def __call__(self, k):
        _, x, y, z = PAULI
        mass = 2 + jnp.cos(self.half) - jnp.sum(jnp.cos(k))
        return jnp.sin(k[0]) * x + jnp.sin(k[1]) * y + mass * z

    def spin(self):
        return jnp.asarray(PAULI[1:])


class Case(NamedTuple):
    """One call: the response of a model whose exact value is known."""

    response: js.Response
    exact: float


def draw_qi_wu_zhang(part: float, mesh: js.Adaptive) -> Case:
    """C = +1, bandwidth 8."""
    model = models.QiWuZhang(A=1.0, m=-2 + 4 * part)
    return Case(_hall(model, mesh).to("e^2/h"), 1.0)


def draw_haldane(part: float, mesh: js.Adaptive) -> Case:
    """C = -1, bandwidth 6."""
    onsite = 3 * math.sqrt(3) * 0.1 - 3 * part
    model = models.Haldane(onsite=onsite, hopping=1.0, next_hopping=0.1, phase=math.pi / 2)
    return Case(_hall(model, mesh).to("e^2/h"), -1.0)


def draw_kane_mele(part: float, mesh: js.Adaptive) -> Case:
    """Spin Hall conductivity -2 (ħ/2e) e²/h where the spin is conserved, bandwidth 6."""
    onsite = 3 * math.sqrt(3) * 0.1 - 3 * part
    model = models.KaneMele(onsite=onsite, hopping=1.0, spin_orbit=0.1)
    response = js.spin_hall(model, mesh, LEVELS, definition="conventional")
    response = response.to("hbar/2e e^2/h")
    return Case(response.component(flow="x", field="y", spin="z"), -2.0)


def draw_weyl(part: float, mesh: js.Adaptive) -> Case:
    """-2 half/(2π)² e²/ħ."""
    half = math.pi * part
    exact = -half / (2 * math.pi**2) * js.units.per_natural("S/m")
    return Case(_hall(WeylPair(half), mesh), exact)


def _hall(model, mesh) -> js.Response:
    return js.anomalous_hall(model, mesh, LEVELS).component(flow="y", field="x")


class Kind(NamedTuple):
    """Cases of one model: how one is drawn, how many, and what the tolerance refers to."""

    draw: Callable[[float, js.Adaptive], Case]
    number: int
    dimension: int = 2
    points: int = 300_000
    unit: float | None = None  # natural units; None: relative to the value


WEYL = {"draw": draw_weyl, "number": 15, "dimension": 3, "points": 1_000_000}
KINDS = {
    "Qi-Wu-Zhang": Kind(draw_qi_wu_zhang, 60),
    "Haldane": Kind(draw_haldane, 60),
    "Kane-Mele": Kind(draw_kane_mele, 50),
    "Weyl nodes": Kind(**WEYL),
    "Weyl nodes, of e²/(h a)": Kind(**WEYL, unit=1 / (2 * math.pi)),
}


def run(kind: Kind, rng: np.random.Generator) -> list[dict]:
    """One row for each case of a model."""
    rows = []
    for _ in range(kind.number):
        part, tolerance = 10 ** rng.uniform(-7, -2), 10 ** rng.uniform(-6, -1)
        count = 8 if kind.dimension == 3 else int(rng.choice([6, 8, 10, 12, 16]))
        first = js.Grid((count,) * kind.dimension)
        rtol, atol = (tolerance, 0.0) if kind.unit is None else (0.0, tolerance * kind.unit)
        mesh = js.Adaptive(first, rtol=rtol, atol=atol, max_points=kind.points)
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case = kind.draw(part, mesh)
        value, error = float(case.response.value[0]), float(case.response.error[0])
        rows.append(
            {
                "converged": bool(case.response.info["converged"]),
                "ratio": abs(value - case.exact) / error,
                "points": int(case.response.info["points"]),
                "seconds": time.perf_counter() - start,
            }
        )
    return rows


def summarise(name: str, rows: list[dict]) -> dict:
    """The row of the table: how often the true error is beyond the claimed one."""
    converged = [row for row in rows if row["converged"]]
    ratio = np.array([row["ratio"] for row in converged])
    others = np.array([row["ratio"] for row in rows if not row["converged"]])
    return {
        "model": name,
        "cases": len(rows),
        "converged": len(converged),
        "beyond 1x": int(np.sum(ratio > 1)),
        "beyond 3x": int(np.sum(ratio > 3)),
        "largest ratio": f"{ratio.max(initial=0.0):.2g}",
        "not converged, beyond 3x": int(np.sum(others > 3)),
        "median points": int(np.median([row["points"] for row in rows])),
        "median s": f"{np.median([row['seconds'] for row in rows]):.2f}",
    }


def main() -> None:
    rng = np.random.default_rng(20231119)
    table, dishonest = [], 0
    for name, kind in KINDS.items():
        row = summarise(name, run(kind, rng))
        table.append(row)
        dishonest += row["beyond 3x"]
        print(row, flush=True)
    write("adaptive_honesty", table)
    if dishonest:
        sys.exit(f"{dishonest} cases are called converged and are not")


if __name__ == "__main__":
    main()
