"""Metals at T = 0 to a tolerance: true errors and points of `Adaptive`, and of uniform grids.

Goal: of 100 random lattice metals of two and three dimensions, a Weyl metal and platinum, requested
relative errors of 1e-2 and 1e-3 are met by the true error in 99 %, and 1e-3 takes at most a tenth
of the points of a uniform grid (medians).

Models: random hopping of 2 and 4 bands (`honesty.random_lattice`), with the level at the energy of
a band at a random k; a quarter of those of two dimensions are Haldane models with a gap of 1e-1 to
1e-3 of the bandwidth and the level at the edge of the gap. Responses: anomalous Hall and, without
spin degeneracy, conventional spin Hall conductivity. The seeds here begin at 5000; the constants of
the error estimate were chosen on seeds below 12.

Truth: `Adaptive` to 1e-4 of its own claim, from other cells. The table has its largest difference
from cells that are filled gradually (`honesty.Filled`) on two fine uniform grids, extrapolated,
which includes the error of that extrapolation.

A uniform grid needs the fewest points from which on every larger grid of the series is right to the
tolerance; the largest of the series where none is, which then is too few.

Platinum is that of `symmetric_platinum.py`, at one level, both on irreducible zones: its uniform
grids are reduced by the group, and their points are the irreducible ones. Its truth is to 2e-4,
and is checked by the finest of these grids (60³ to 200³ points).

    JAXSPIN_TEST_DATA=/path/to/data \
        python benchmarks/metals_tolerance.py [--number 75 25] [--kept FOLDER]

With `--kept` truths and uniform grids are written to a folder and taken from there the next time.
Without JAXSPIN_TEST_DATA there is no platinum. An hour on one core, two thirds of it compilation.
"""

import argparse
import os
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from honesty import Filled, pose, random_lattice
from record import on_one_core, three, write

import jaxspin as js
from jaxspin import models
from jaxspin.engine.small_matrices import PAULI
from jaxspin.integration.integrate import (
    Sums,
    average_over_group,
    integrate,
    sum_over_meshes,
)
from jaxspin.integration.problem import Problem, Run
from jaxspin.quantities.charge import ANOMALOUS_HALL
from jaxspin.quantities.spin_hall import DEFINITIONS

TOLERANCES = (1e-2, 1e-3)
FIRST_SEED = 5000
#: First cells, series of uniform grids, cells of the truth, and grids that check it, by dimension.
FIRST = {2: 20, 3: 10}
UNIFORM = {
    2: (20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 896, 1280),
    3: (10, 14, 20, 28, 40, 56, 80, 112, 160),
}
UNIFORM_PLATINUM = (24, 36, 48, 60, 80, 100, 128, 160, 200)
OTHERS = {2: 35, 3: 15}
FINE = {2: (600, 1200), 3: (64, 96)}


class Case(NamedTuple):
    """A metal: model, level, and the quantity that is asked for."""

    name: str
    model: js.Model
    mu: float
    spins: bool
    group: js.symmetry.PointGroup | None = None

    @property
    def problem(self) -> Problem:
        quantity = DEFINITIONS["conventional"] if self.spins else ANOMALOUS_HALL
        mesh = js.Grid((8,) * self.model.dimension)
        return Problem(quantity, self.model, mesh, js.Levels(self.mu)).check()

    def reduce(self, mesh):
        """The mesh, reduced by the group."""
        return mesh if self.group is None else js.symmetry.Symmetric(mesh, self.group)


def draw_metal(dimension: int, seed: int) -> Case:
    """A random metal."""
    random = np.random.default_rng([5, dimension, seed])
    if dimension == 2 and seed % 4 == 3:
        return draw_narrow_gap(random)
    bands = (2, 4)[seed % 2]
    model = random_lattice(dimension, bands, seed)
    k = random.uniform(-4, 4, (200, dimension))
    energies = np.sort(np.linalg.eigvalsh(np.stack([np.asarray(model(x)) for x in k])).ravel())
    mu = float(random.choice(energies[energies.size // 10 : -energies.size // 10]))
    degenerate = bands == 4 and seed % 3 == 0
    return Case("random", model, mu, spins=seed // 2 % 2 == 1 and not degenerate)


def draw_narrow_gap(random: np.random.Generator) -> Case:
    """A Haldane model whose level lies at the edge of a narrow gap, or up to three gaps beyond."""
    gap = 10 ** random.uniform(-2.2, -0.2)
    onsite = 3 * np.sqrt(3) * 0.1 - gap / 2
    model = models.Haldane(onsite=onsite, hopping=1.0, next_hopping=0.1, phase=np.pi / 2)
    return Case("narrow gap", model, gap * random.uniform(0.5, 3), spins=False)


def read_platinum() -> list[Case]:
    """Symmetrised platinum, where its files are there."""
    data = os.environ.get("JAXSPIN_TEST_DATA")
    if not data:
        return []
    raw = js.interop.wannier90.read(Path(data) / "pt_wannier90" / "Pt")
    group = js.symmetry.of_crystal(np.asarray(raw.vectors), [[0, 0, 0]], ["Pt"])
    model, _ = js.symmetrised(raw, group, [[0, 0, 0]])
    return [Case("platinum", model, 17.8823, spins=True, group=group)]


class WeylMetal(js.Model):
    """A pair of Weyl nodes, tilted so that each has an electron pocket."""

    dimension = property(lambda self: 3)
    lattice = property(lambda self: jnp.eye(3))

    def __call__(self, k):
        one, x, y, z = PAULI
        mass = 2 + jnp.cos(1.1) - jnp.sum(jnp.cos(k))
        tilt = 0.3 * jnp.sin(k[2]) + 0.1 * jnp.cos(k[0] + k[1])
        return tilt * one + jnp.sin(k[0]) * x + jnp.sin(k[1]) * y + mass * z


def refine(case: Case, first: int, rtol: float, most: int = 3_000_000) -> tuple[Sums, float]:
    """The sums by `Adaptive`, and the processor seconds."""
    mesh = case.reduce(js.Adaptive(js.Grid((first,) * case.model.dimension), rtol, max_points=most))
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sums = integrate(case.problem.replace(mesh=mesh), Run(progress=False))
    return sums, time.process_time() - start


class Known(NamedTuple):
    """What is known of a case, whatever the error estimate: kept in a file."""

    truth: np.ndarray
    #: The truth by gradually filled cells, extrapolated.
    check: np.ndarray
    #: The sums over the series of uniform grids.
    uniform: np.ndarray


def sum_grids(case: Case, meshes: list) -> list[np.ndarray]:
    problem = pose(case.problem.observable, case.model, meshes[0], js.Levels(case.mu))
    problem = problem.replace(degeneracy=case.problem.degeneracy)
    average = average_over_group(case.problem.replace(mesh=case.reduce(meshes[0])))
    if case.group is not None:
        meshes = [case.reduce(mesh).folded(case.model.lattice) for mesh in meshes]
    return [np.asarray(average(value))[0] for value, _ in sum_over_meshes(problem, meshes)]


def find_known(case: Case, path: Path | None) -> Known:
    """Truth, check and uniform grids of a case."""
    if path is not None and path.exists():
        return Known(**np.load(path))
    d = case.model.dimension
    truth, _ = refine(case, OTHERS[d], 1e-4 if case.group is None else 2e-4, 4_000_000)
    uniform = np.stack(sum_grids(case, [js.Grid((n,) * d) for n in uniform_counts(case)]))
    check = check_by_filling(case) if case.group is None else uniform[-1]
    known = Known(np.asarray(truth.value)[0], check, uniform)
    if path is not None:
        np.savez(path, **known._asdict())
    return known


def check_by_filling(case: Case) -> np.ndarray:
    """The sum by gradually filled cells of two grids, extrapolated."""
    d = case.model.dimension
    coarse, fine = sum_grids(case, [Filled(js.Grid((n,) * d, 0.37)) for n in FINE[d]])
    return fine + (fine - coarse) / ((FINE[d][1] / FINE[d][0]) ** 2 - 1)


def uniform_counts(case: Case) -> tuple[int, ...]:
    return UNIFORM[case.model.dimension] if case.group is None else UNIFORM_PLATINUM


def points_of_uniform(case: Case, known: Known, tolerance: float) -> int:
    d = case.model.dimension
    size = np.max(np.abs(known.truth))
    wrong = np.max(np.abs(known.uniform - known.truth), axis=1) > tolerance * size
    first = np.flatnonzero(wrong)[-1] + 1 if np.any(wrong) else 0
    grid = js.Grid((uniform_counts(case)[min(first, len(wrong) - 1)],) * d)
    return (grid if case.group is None else case.reduce(grid).folded(case.model.lattice)).size


def judge(case: Case, path: Path | None, seed: int) -> list[dict]:
    """One row for each tolerance."""
    known, rows = find_known(case, path), []
    size = np.max(np.abs(known.truth))
    for tolerance in TOLERANCES:
        sums, seconds = refine(case, FIRST[case.model.dimension], tolerance)
        rows.append(
            {
                "metal": f"{case.name} {case.model.dimension}D",
                "seed": seed,
                "tolerance": tolerance,
                "converged": sums.refinement.converged,
                "claimed": three(np.max(np.asarray(sums.error)) / size),
                "true": three(np.max(np.abs(np.asarray(sums.value)[0] - known.truth)) / size),
                "truth, check": three(np.max(np.abs(known.check - known.truth)) / size),
                "points": sums.refinement.points,
                "uniform": points_of_uniform(case, known, tolerance),
                "s": round(seconds, 2),
            }
        )
    return rows


def summarise(rows: list[dict]) -> list[dict]:
    """Rows of the table: by metal and tolerance."""
    table = []
    for key in sorted({(row["metal"], row["tolerance"]) for row in rows}):
        some = [row for row in rows if (row["metal"], row["tolerance"]) == key]
        column = lambda name: np.array([row[name] for row in some])  # noqa: B023, E731
        true, claimed = column("true"), column("claimed")
        table.append(
            {
                "metal": key[0],
                "tolerance": key[1],
                "cases": len(some),
                "converged": int(np.sum(column("converged"))),
                "true error within the tolerance": int(np.sum(true <= key[1])),
                "... within the claimed error": int(np.sum(true <= claimed)),
                "largest true/claimed": three(np.max(true / claimed)),
                "median claimed/true": three(np.median(claimed / np.maximum(true, 1e-15))),
                "points": int(np.median(column("points"))),
                "points of a uniform grid": int(np.median(column("uniform"))),
                "median ratio": three(np.median(column("points") / column("uniform"))),
                "s": three(np.median(column("s"))),
            }
        )
    return table


def main(numbers: list[int], first: int, folder: Path | None) -> None:
    rows = []
    for dimension, number in zip((2, 3), numbers, strict=True):
        for seed in range(first, first + number):
            case = draw_metal(dimension, seed)
            path = None if folder is None else folder / f"{dimension} {seed}.npz"
            rows += judge(case, path, seed)
            print(*(tuple(row.values()) for row in rows[-2:]), flush=True)
    for case in (Case("Weyl", WeylMetal(), 0.15, spins=False), *read_platinum()):
        rows += judge(case, None if folder is None else folder / f"{case.name}.npz", 0)
        print(*(tuple(row.values()) for row in rows[-2:]), flush=True)
    write("metals_tolerance", summarise(rows))


if __name__ == "__main__":
    on_one_core()
    options = argparse.ArgumentParser(description="T = 0 metals to a tolerance.")
    options.add_argument(
        "--number", type=int, nargs=2, default=[75, 25], help="metals of 2 and 3 dimensions"
    )
    options.add_argument("--first", type=int, default=FIRST_SEED, help="seed of the first")
    options.add_argument("--kept", type=Path, help="folder in which truths are kept and found")
    chosen = options.parse_args()
    main(chosen.number, chosen.first, chosen.kept)
