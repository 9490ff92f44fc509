"""Anomalous Hall conductivity at 101 levels, against WannierBerri, NumPy and PythTB.

Claim: 500, 200, 60 and 10 times the k-points per second of WannierBerri for 2, 4, 8 and 18 bands,
and 20, 8 and 4 times those of vectorised NumPy for 2, 4 and 8. One core, double precision.

Random tight binding on a cubic lattice, all 81 cells with |R|² <= 6, all three components. Every
code computes the same mesh, with numbers that agree to 1e-10; throughputs are those of whole calls,
checks of the input and error estimate included, jaxspin's and NumPy's on a mesh large enough to
forget the start. PythTB has no such conductivity: what is timed is its eigensystems alone.

    python benchmarks/anomalous_hall.py [BANDS ...]

WannierBerri runs in the interpreter that the environment variable WANNIERBERRI_PYTHON names, and
is left out without it.
"""

import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from record import alternated, cpu_time, on_one_core, same, three, write

import jaxspin as js

LEVELS = np.linspace(-3.0, 3.0, 101)
SAME = 16  # points along each axis of the mesh that all codes compute
LARGE = {2: 192, 4: 128, 8: 64, 18: 32}
CHUNK = {2: 4096, 4: 2048, 8: 1024, 18: 256}  # the fastest for NumPy
E2_HBAR = js.units.per_natural("S/m")


def random_model(n: int) -> js.HoppingModel:
    """n orbitals at random places, hopping to 81 cells."""
    rng = np.random.default_rng(n)
    cells = [c for c in itertools.product(range(-2, 3), repeat=3) if np.dot(c, c) <= 6]
    parts = rng.normal(size=(2, len(cells), n, n))
    blocks = parts[0] + 1j * parts[1]
    blocks *= np.exp(-np.linalg.norm(cells, axis=1))[:, None, None]
    blocks = (blocks + blocks[::-1].conj().swapaxes(1, 2)) / 2  # the cells end with -R of the first
    centres = rng.uniform(0, 3.0, size=(n, 3))
    return js.HoppingModel(3.0 * np.eye(3), cells, blocks, centres, spin=None)


def jaxspin(model, mesh: int):
    response = js.anomalous_hall(model, js.Grid((mesh,) * 3), js.Levels(LEVELS), progress=False)
    value = response.value
    return value[:, [1, 2, 0], [2, 0, 1]]  # the vector of the antisymmetric tensor


class NumPy:
    """What a good user writes: vectorised over chunks of k-points, and over the levels."""

    def __init__(self, model):
        self.n = model.blocks.shape[1]
        cells = np.array(model.cells, float)
        centres, vectors = np.asarray(model.centres), np.asarray(model.lattice)
        steps = (cells @ vectors)[:, None, None] + centres[None, None] - centres[None, :, None]
        blocks = np.asarray(model.blocks)
        slopes = 1j * np.moveaxis(steps, -1, 1) * blocks[:, None]
        together = np.concatenate([blocks[:, None], slopes], axis=1)
        self.cells, self.blocks = cells, together.reshape(len(cells), -1)
        self.centres = centres @ np.linalg.inv(vectors)
        self.volume = np.linalg.det(vectors)

    def __call__(self, mesh: int) -> np.ndarray:
        u = np.stack(np.meshgrid(*[np.arange(mesh) / mesh] * 3, indexing="ij"), -1).reshape(-1, 3)
        total = np.zeros((len(LEVELS) + 1, 3))
        for first in range(0, len(u), CHUNK[self.n]):
            energies, curvature = self.curvature(u[first : first + CHUNK[self.n]])
            bins = np.searchsorted(LEVELS, energies).ravel()
            for i in range(3):
                total[:, i] += np.bincount(bins, curvature[i].ravel(), len(total))
        return -np.cumsum(total, axis=0)[:-1] / len(u) / self.volume * E2_HBAR

    def curvature(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = self.n
        phases = np.exp(2j * np.pi * u @ self.cells.T)
        matrices = (phases @ self.blocks).reshape(len(u), 4, n, n)
        site = np.exp(2j * np.pi * u @ self.centres.T)
        matrices *= (site[:, :, None].conj() * site[:, None, :])[:, None]
        energies, basis = np.linalg.eigh(matrices[:, 0])
        velocity = basis.conj().swapaxes(1, 2)[:, None] @ matrices[:, 1:] @ basis[:, None]
        gap = energies[:, :, None] - energies[:, None, :]
        np.einsum("kmm->km", gap)[:] = np.inf
        r = np.moveaxis(velocity / gap[:, None], 1, 0)
        omega = [-2 * np.sum(r[a] * r[b].conj(), axis=2).imag for a, b in ((1, 2), (2, 0), (0, 1))]
        return energies, np.array(omega)


class WannierBerri:
    """A process that computes when it is asked to, so that runs can alternate."""

    def __init__(self, python: str, model, folder: Path):
        self.result = folder / "hall.npy"
        js.interop.wannier90.write(model, folder / "model")
        worker = Path(__file__).with_name("wannierberri_worker.py")
        levels = (str(LEVELS[0]), str(LEVELS[-1]), str(len(LEVELS)))
        command = [python, worker, folder / "model_tb.dat", str(SAME), *levels, self.result]
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=pipe, stdout=pipe, text=True, bufsize=1, env=clean
        )
        self.version = self.process.stdout.readline().strip()

    def __call__(self) -> float:
        """Processor seconds of one run."""
        self.process.stdin.write("run\n")
        return float(self.process.stdout.readline())

    def value(self) -> np.ndarray:
        return np.load(self.result)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


def pythtb_throughput(model, mesh: int = 6) -> float:
    """k-points per processor second of PythTB's eigensystems."""
    tb = js.interop.pythtb.to_pythtb(model)
    u = np.stack(np.meshgrid(*[np.arange(mesh) / mesh] * 3, indexing="ij"), -1).reshape(-1, 3)
    start = cpu_time()
    tb.solve_all(u, eig_vectors=True)
    return len(u) / (cpu_time() - start)


def measure(n: int, python: str | None, folder: Path) -> list[dict]:
    model, large = random_model(n), LARGE[n]
    numpy = NumPy(model)
    numpy_mesh = min(large, 48)
    jobs = {
        "jaxspin": lambda: jaxspin(model, large),
        "jaxspin, 16³": lambda: jaxspin(model, SAME),
        "NumPy": lambda: numpy(numpy_mesh),
        "NumPy, 16³": lambda: numpy(SAME),
    }
    points = {"jaxspin": large**3, "NumPy": numpy_mesh**3}
    seconds, difference, version = [], {}, ""
    if python:
        peer = WannierBerri(python, model, folder)
        version = f" {peer.version}"
        jobs["WannierBerri"] = lambda: seconds.append(peer())
    times = alternated(jobs)
    reference = times["jaxspin, 16³"].value
    difference["NumPy, 16³"] = same(times["NumPy, 16³"].value, reference, 1e-10)
    cpu = {name: time.cpu for name, time in times.items()}
    if python:
        cpu["WannierBerri"] = float(np.median(seconds[1:]))
        difference["WannierBerri"] = same(peer.value(), reference, 1e-9)
        peer.close()
    rates = {name: points.get(name, SAME**3) / cpu[name] for name in cpu}
    if n <= 8:
        rates["PythTB, eigensystems"] = pythtb_throughput(model)
    return [
        {
            "bands": n,
            "code": name + version * (name == "WannierBerri"),
            "k-points": points.get(name, 6**3 if "PythTB" in name else SAME**3),
            "cpu s": three(points.get(name, SAME**3) / rate) if name in cpu else "",
            "thousand k per cpu second": three(rate / 1e3),
            "jaxspin is faster by": three(rates["jaxspin"] / rate),
            "difference": f"{difference[name]:.0e}" if name in difference else "",
        }
        for name, rate in rates.items()
    ]


def main() -> None:
    python = os.environ.get("WANNIERBERRI_PYTHON")
    if not python:
        print("WannierBerri is left out: WANNIERBERRI_PYTHON does not name its interpreter.")
    rows = []
    for n in [int(x) for x in sys.argv[1:]] or LARGE:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(n, python, Path(folder))
    write("anomalous_hall", rows)


if __name__ == "__main__":
    on_one_core()
    main()
