"""Seconds and points to 1e-2, 1e-3 and 1e-4 of a response, by four ways of integration.

Full meshes, meshes reduced by the group, `Adaptive` on the part that the group leaves, and
WannierBerri with the same group, on uniform meshes and with its refinement. T = 0, one level, whole
calls on one core, each way in turn; the time is that of the second of two calls.

A mesh counts if it and every finer one of its series is right to the tolerance; `Adaptive` is asked
for the tolerance; of WannierBerri's refinement the fewest of 1, 4, 8, 16, ... iterations that are
right, from the first mesh of the series. Full meshes give the numbers of reduced ones, and are
timed at the mesh that those need. Errors are those of the largest component, against `Adaptive`
from other first cells; a tolerance below three times the claimed error of that is not judged.

    JAXSPIN_TEST_DATA=/path/to/data WANNIERBERRI_PYTHON=/path/to/python \
        python benchmarks/time_to_accuracy.py [--kept metals_kept]

With `--kept` the truth of platinum is taken from the folder of `metals_tolerance.py --kept`.
Without WANNIERBERRI_PYTHON its rows are left out, without JAXSPIN_TEST_DATA platinum is.
"""

import argparse
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from metals_tolerance import read_platinum
from record import cpu_time, on_one_core, read, three, write

import jaxspin as js
from jaxspin.engine.small_matrices import PAULI

TOLERANCES = (1e-2, 1e-3, 1e-4)
LONGEST = 30.0  # a call that would take more seconds is not made
ITERATIONS = (1, 4, 8, 16, 32, 64, 128)
#: The most points of WannierBerri's Fourier transform along an axis: its fastest.
TRANSFORMS = {"Haldane": 96, "Weyl": 24, "d metal": 12, "platinum": 6}


class Case(NamedTuple):
    """A model, its group, and the meshes of the series."""

    name: str
    model: Any
    mu: float
    #: Response of a mesh.
    respond: Callable
    #: Operations for `Symmetric`, and WannierBerri's names of generators; none if it has no model.
    group: Any
    generators: tuple[str, ...]
    #: Numbers of nodes along an axis, and the mesh of such a number.
    series: tuple[int, ...]
    mesh: Callable
    #: Nodes of the first cells of `Adaptive`, and of those of the truth.
    first: tuple[int, int]
    #: What is asked for the truth.
    finest: float = 3e-5


def build_hopping(lattice, terms, centres, spin=None) -> js.HoppingModel:
    """A model from H(R) of some cells, and their Hermitian conjugates."""
    home = tuple(0 for _ in lattice)
    blocks: dict[tuple, np.ndarray] = {}
    for cell, block in terms:
        for where, part in ((cell, block), (tuple(-x for x in cell), np.conj(block).T)):
            part = part / 2 if cell == home else part
            blocks[where] = blocks.get(where, 0) + np.asarray(part, complex)
    return js.HoppingModel(
        lattice=lattice,
        cells=list(blocks),
        blocks=np.stack(list(blocks.values())),
        centres=centres,
        spin=spin,
    )


def haldane() -> js.HoppingModel:
    """Haldane's model with the level in a band."""
    onsite, hopping, following = np.diag([-0.2, 0.2]), -1.0, 0.15j
    upward = np.array([[0, hopping], [0, 0]])
    turn = following * np.diag([1, -1])
    cells = [((0, 0), onsite), *((one, upward) for one in ((0, 0), (-1, 0), (0, -1)))]
    cells[1] = ((0, 0), upward + upward.T)
    terms = [*cells, *((one, turn) for one in ((1, 0), (-1, 1), (0, -1)))]
    lattice = np.array([[1, 0], [0.5, np.sqrt(3) / 2]])
    return build_hopping(lattice, terms, np.array([[0, 0], lattice.sum(axis=0) / 3]))


def weyl() -> js.HoppingModel:
    """A pair of Weyl nodes on the axis kz, tilted, with a fourfold axis."""
    one, x, y, z = map(np.asarray, PAULI)
    ways = [(x / 2j - z / 2), (y / 2j - z / 2), (0.3 * one / 2j - z / 2)]
    axes = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    terms = [((0, 0, 0), (2 + np.cos(1.1)) * z), *zip(axes, ways, strict=True)]
    return build_hopping(np.eye(3), terms, np.zeros((2, 3)))


def d_metal() -> js.HoppingModel:
    """Ten d functions on a simple cubic lattice: hopping to first and second neighbours (Slater and
    Koster's σ, π, δ), and spin-orbit coupling."""
    m = np.arange(-2, 3)
    raising = np.diag(np.sqrt(6.0 - m[:-1] * (m[:-1] + 1)), -1)  # <m+1|L+|m>
    orbital = np.stack([(raising + raising.T) / 2, (raising - raising.T) / 2j, np.diag(m)])
    along_z = np.diag([0.1, 0.4, -0.7, 0.4, 0.1])  # δ π σ π δ, eV
    pauli = np.asarray(PAULI[1:])
    coupling = sum(np.kron(a, b) for a, b in zip(orbital, pauli, strict=True))
    terms = [((0, 0, 0), 0.2 * coupling)]
    axes = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    diagonals = [(1, 1, 0), (1, -1, 0), (0, 1, 1), (0, 1, -1), (1, 0, 1), (-1, 0, 1)]
    for size, cells in ((1.0, axes), (0.3, diagonals)):
        for cell in cells:
            x, y, z = cell / np.linalg.norm(cell)
            turn = _exponential(orbital[2], np.arctan2(y, x)) @ _exponential(
                orbital[1], np.arccos(z)
            )
            terms.append((cell, size * np.kron(turn @ along_z @ turn.conj().T, np.eye(2))))
    spin = np.stack([np.kron(np.eye(5), one) for one in pauli])
    return build_hopping(3.0 * np.eye(3), terms, np.zeros((10, 3)), spin)


def _exponential(generator, angle: float):
    """exp(−i angle L)."""
    values, states = np.linalg.eigh(generator)
    return states * np.exp(-1j * angle * values) @ states.conj().T


def hall(model, mesh, mu):
    return js.anomalous_hall(model, mesh, js.Levels(mu), progress=False)


def spin_hall(model, mesh, mu):
    levels = js.Levels(mu)
    return js.spin_hall(model, mesh, levels, definition="conventional", progress=False)


def cases() -> list[Case]:
    """All models."""
    rotation, cubic = js.symmetry.rotation, js.symmetry.point_group("m-3m1'")
    insulator = js.models.TopologicalInsulator.bi2se3()
    ball = lambda n: js.Ball(0.25, n, n, 3 * n)  # noqa: E731
    axial = [rotation(3), js.symmetry.INVERSION, js.symmetry.TIME_REVERSAL]
    names = ("C4z", "C4x", "Inversion", "TimeReversal")
    squares = (24, 48, 96, 144, 192, 288, 432, 672, 960), _square, (20, 35)
    balls = (6, 8, 12, 16, 24, 32), ball, (8, 12), 3e-4
    cubes, few = (_CUBES, _cube, (10, 15)), (_CUBES[1:8], _cube, (10, 15), 3e-4)
    found = [
        Case("Haldane", haldane(), -1.2, hall, [rotation(3)], ("C3z",), *squares),
        Case("Weyl", weyl(), 0.15, hall, [rotation(4)], ("C4z",), *cubes),
        Case("d metal", d_metal(), 0.3, spin_hall, cubic, names, *few),
        Case("Bi2Se3", insulator, 0.35, spin_hall, axial, (), *balls),
    ]
    series = (24, 36, 48, 60, 80, 100)
    for one in read_platinum():
        meshes = series, _cube, (10, 15), 2e-4
        found.append(Case(one.name, one.model, one.mu, spin_hall, one.group, names, *meshes))
    return found


_CUBES = (12, 24, 36, 48, 60, 80, 100, 120, 160, 200, 240)


def _square(n: int) -> js.Grid:
    return js.Grid((n, n))


def _cube(n: int) -> js.Grid:
    return js.Grid((n, n, n))


def seconds(call: Callable) -> tuple[float, Any]:
    """Processor seconds of the second of two calls, or of the first if that is long."""
    for _ in range(2):
        start = cpu_time()
        found = call()
        jax.block_until_ready(found.value)
        spent = cpu_time() - start
        if spent > LONGEST / 2:
            break
    return spent, found


class Truth(NamedTuple):
    """A response that is known better than the tolerances that are judged."""

    value: np.ndarray
    #: Its claimed error, relative to the largest component.
    error: float


def find_truth(case: Case, kept: Path | None) -> Truth:
    """The response by `Adaptive` from other first cells."""
    if case.name == "platinum" and kept is not None:
        reference = case.respond(case.model, js.Symmetric(case.mesh(12), case.group), case.mu)
        factor = js.units.per_natural(reference.units)
        value = np.load(kept / "platinum.npz")["truth"].reshape(reference.value.shape)
        return Truth(value * factor, 2e-4)
    mesh = js.Adaptive(case.mesh(case.first[1]), case.finest, max_points=3_000_000)
    found = case.respond(case.model, js.Symmetric(mesh, case.group), case.mu)
    value = np.asarray(found.value)
    return Truth(value, float(np.max(np.asarray(found.error)) / np.max(np.abs(value))))


class Run(NamedTuple):
    """One call of one way: its mesh, points, seconds and true error."""

    mesh: str
    points: int
    seconds: float
    error: float


def first_right(runs: list[Run], tolerance: float) -> Run | None:
    """The first run from which on all are right."""
    wrong = [i for i, run in enumerate(runs) if run.error > tolerance]
    start = wrong[-1] + 1 if wrong else 0
    return runs[start] if start < len(runs) else None


def differ(value, truth) -> float:
    return float(np.max(np.abs(np.asarray(value) - truth)) / np.max(np.abs(truth)))


def sum_reduced(case: Case, truth) -> list[Run]:
    runs: list[Run] = []
    for n in case.series:
        mesh = js.Symmetric(case.mesh(n), case.group)
        spent, found = seconds(lambda: case.respond(case.model, mesh, case.mu))  # noqa: B023
        size = mesh.folded(case.model.lattice).size
        runs.append(Run(str(n), size, spent, differ(found.value, truth)))
        if spent > LONGEST / 2:
            break
    return runs


def sum_full(case: Case, reduced: Run | None) -> Run | None:
    """The full mesh of a reduced one, if it does not take too long."""
    if reduced is None:
        return None
    mesh = case.mesh(int(reduced.mesh))
    if reduced.seconds * mesh.size / reduced.points > 2 * LONGEST:
        return Run(reduced.mesh, mesh.size, np.nan, reduced.error)
    spent, _ = seconds(lambda: case.respond(case.model, mesh, case.mu))
    return Run(reduced.mesh, mesh.size, spent, reduced.error)


def refine(case: Case, truth, tolerance: float) -> Run | None:
    mesh = js.Adaptive(case.mesh(case.first[0]), tolerance, max_points=3_000_000)
    reduced = js.Symmetric(mesh, case.group)
    spent, found = seconds(lambda: case.respond(case.model, reduced, case.mu))
    refinement = found.refinement
    run = Run(f"from {case.first[0]}", refinement.points, spent, differ(found.value, truth))
    return run if refinement.converged else None


class WannierBerri:
    """A process that computes when it is asked to."""

    def __init__(self, python: str, case: Case, folder: Path):
        self.case, self.folder = case, folder
        if case.respond is spin_hall:
            coarse = case.respond(case.model, js.Symmetric(case.mesh(12), case.group), case.mu)
            largest = lambda x: float(np.max(np.abs(np.asarray(x.value))))  # noqa: E731
            self._factor = largest(coarse) / largest(coarse.to("(hbar/e) S/cm"))
        vacuum = None if case.model.dimension == 3 else 1.0
        js.interop.wannier90.write(case.model, folder / "model", vacuum=vacuum)
        cells, spin = np.array(case.model.cells), case.model.spin_operator
        spins = np.zeros((0, 0)) if spin is None else np.asarray(spin)
        if spins.ndim == 3:
            home = np.all(cells == 0, axis=1)[:, None, None, None]
            spins = np.where(home, spins, 0)
        np.savez(folder / "spin.npz", cells=cells, spin=spins)
        worker = Path(__file__).with_name("wannierberri_refinement.py")
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
        order = [python, worker, folder, case.mu, case.model.dimension, *case.generators]
        self.process = subprocess.Popen(
            list(map(str, order)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=clean,
        )

    def run(self, n: int, iterations: int, truth) -> Run:
        """One run, refined so many times."""
        most = 4 if iterations else TRANSFORMS[self.case.name]
        transform = max(t for t in range(1, most + 1) if n % t == 0)
        self.process.stdin.write(f"{n} {transform} {iterations}\n")
        spent, points = self.process.stdout.readline().split()
        value = np.load(self.folder / "result.npy")
        mesh = f"{n}, {iterations} times" if iterations else str(n)
        return Run(mesh, int(points), float(spent), self._compare(value, truth))

    def _compare(self, value, truth) -> float:
        """The error of a spin Hall conductivity in 100 (ħ/e) S/cm, or of a Hall vector in S/m."""
        if self.case.respond is spin_hall:
            return differ(value / 100 * self._factor, truth)
        plane = 1e-10 if self.case.model.dimension == 2 else 1.0  # a vacuum of 1 Å
        return differ(np.max(np.abs(value)) * plane, np.max(np.abs(truth)))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


def sum_by_wannierberri(python: str, case: Case, truth) -> dict[str, list[Run]]:
    """Its runs on uniform meshes, and refined."""
    with tempfile.TemporaryDirectory() as folder:
        peer = WannierBerri(python, case, Path(folder))
        found: dict[str, list[Run]] = {"WannierBerri": [], "WannierBerri, refined": []}
        for way, tasks in (
            ("WannierBerri", [(n, 0) for n in case.series]),
            ("WannierBerri, refined", [(case.series[0], i) for i in ITERATIONS]),
        ):
            for task in tasks:
                found[way].append(peer.run(*task, truth))
                if found[way][-1].seconds > LONGEST / 2:
                    break
        peer.close()
    return found


def judge(case: Case, kept: Path | None) -> list[dict]:
    """Rows of a model."""
    (truth, unsure), python = find_truth(case, kept), os.environ.get("WANNIERBERRI_PYTHON")
    reduced = sum_reduced(case, truth)
    theirs = sum_by_wannierberri(python, case, truth) if python and case.generators else {}
    rows = []
    for tolerance in TOLERANCES:
        if tolerance < 3 * unsure:
            continue
        right = first_right(reduced, tolerance)
        ways = {
            "full mesh": sum_full(case, right),
            "reduced mesh": right,
            "Adaptive, reduced": refine(case, truth, tolerance),
            **{way: first_right(runs, tolerance) for way, runs in theirs.items()},
        }
        rows += [_describe(case, tolerance, way, run) for way, run in ways.items()]
        print(*rows[-len(ways) :], sep="\n", flush=True)
    return rows


def _describe(case: Case, tolerance: float, way: str, run: Run | None) -> dict:
    known = {"model": case.name, "tolerance": tolerance, "way": way}
    if run is None:
        return {**known, "mesh": "not reached", "points": "", "s": "", "true error": ""}
    spent = "" if np.isnan(run.seconds) else three(run.seconds)
    return {
        **known,
        "mesh": run.mesh,
        "points": run.points,
        "s": spent,
        "true error": three(run.error),
    }


def main(kept: Path | None, names: list[str] | None) -> None:
    warnings.simplefilter("ignore")  # coarse meshes say that they do not resolve narrow gaps
    chosen = [case for case in cases() if names is None or case.name in names]
    others = {case.name for case in chosen}
    rows: list[dict] = [row for row in read("time_to_accuracy") if row["model"] not in others]
    for case in chosen:
        rows += judge(case, kept)
    write("time_to_accuracy", rows)


if __name__ == "__main__":
    on_one_core()
    options = argparse.ArgumentParser(description="Seconds and points to a tolerance.")
    options.add_argument("--kept", type=Path, help="folder of metals_tolerance.py --kept")
    options.add_argument("--models", nargs="+", help="all by default; the rest of the table stays")
    chosen = options.parse_args()
    main(chosen.kept, chosen.models)
