"""Spin Hall conductivity of symmetrised platinum on irreducible meshes, against WannierBerri.

Claim: at most a quarter of WannierBerri's processor time, whole calls, one core. Conventional
definition with external terms, T = 0, three levels, N³ points of fcc platinum in 18 Wannier
functions. Both codes have the same symmetric model (`js.symmetrised`) and its group m-3m1', so that
WannierBerri need not symmetrise it, which takes projections that the files do not hold; it reduces
the mesh of its coarse grid and averages the result. The time is that of `js.spin_hall`, checks,
error estimate and search for narrow gaps included, and of `wannierberri.run`, with the number of
points in its Fourier transform that was fastest. "new model" is the time of a call on a model that
no call has seen: later calls on other meshes know its narrow gaps and that it has the group.

    JAXSPIN_TEST_DATA=/path/to/data WANNIERBERRI_PYTHON=/path/to/python \
        python benchmarks/symmetric_platinum.py

WannierBerri runs in an interpreter of its own. The numbers of both codes agree to 1e-8.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from record import cpu_time, on_one_core, same, three, write

import jaxspin as js

LEVELS = (17.3823, 17.8823, 18.3823)
TRANSFORMS = {24: 4, 36: 4, 48: 6, 60: 5}  # the fastest of 3 to 12
ROUNDS = 5
UNITS = "(hbar/e) S/cm"


class WannierBerri:
    """A process that computes when it is asked to, so that runs can alternate."""

    def __init__(self, python: str, model, folder: Path):
        self.result = folder / "hall.npy"
        js.interop.wannier90.write(model, folder / "model")
        cells, spin = np.array(model.cells), np.asarray(model.spin_operator)
        np.savez(folder / "spin.npz", cells=cells, spin=spin)
        worker = Path(__file__).with_name("wannierberri_symmetric.py")
        files = folder / "model_tb.dat", folder / "spin.npz", self.result
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            list(map(str, (python, worker, *files, *LEVELS))),
            stdin=pipe,
            stdout=pipe,
            text=True,
            bufsize=1,
            env=clean,
        )
        self.version = self.process.stdout.readline().strip()

    def seconds(self, mesh: int) -> float:
        """Processor seconds of one run."""
        self.process.stdin.write(f"{mesh} {TRANSFORMS[mesh]}\n")
        return float(self.process.stdout.readline())

    def value(self) -> np.ndarray:
        return np.load(self.result) / 100  # S/m

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


def seconds(model, group, mesh: int) -> tuple[float, js.Response]:
    start = cpu_time()
    reduced = js.Symmetric(js.Grid((mesh,) * 3), group)
    levels = js.Levels(LEVELS)
    response = js.spin_hall(model, reduced, levels, definition="conventional", progress=False)
    jax.block_until_ready(response.value)
    return cpu_time() - start, response


def renewed(model):
    """The same numbers in arrays of their own."""
    return jax.tree.map(lambda x: jnp.array(x, copy=True) if eqx.is_array(x) else x, model)


def row(model, group, peer: WannierBerri, mesh: int) -> dict:
    seconds(model, group, mesh)
    times = []
    for _ in range(ROUNDS):
        own, response = seconds(model, group, mesh)
        fresh, _ = seconds(renewed(model), group, mesh)
        times.append((own, fresh, peer.seconds(mesh)))
    own, fresh, theirs = np.median(times, axis=0)
    value = np.asarray(response.to(UNITS).value)
    points = js.Symmetric(js.Grid((mesh,) * 3), group).folded(model.lattice).size
    return {
        "mesh": f"{mesh}³",
        "points": points,
        "jaxspin, s": three(own),
        "new model, s": three(fresh),
        f"WannierBerri {peer.version}, s": three(theirs),
        "ratio": three(own / theirs),
        "ratio, new model": three(fresh / theirs),
        "σ^z_xy at 17.8823 eV": f"{value[1, 0, 1, 2]:.3f}",
        "difference": f"{same(value, peer.value(), 1e-8):.0e}",
    }


def main() -> None:
    data, python = os.environ.get("JAXSPIN_TEST_DATA"), os.environ.get("WANNIERBERRI_PYTHON")
    if not data or not python:
        raise SystemExit("JAXSPIN_TEST_DATA and WANNIERBERRI_PYTHON must be set, but are not.")
    platinum = js.interop.wannier90.read(Path(data) / "pt_wannier90" / "Pt")
    group = js.symmetry.of_crystal(np.asarray(platinum.vectors), [[0, 0, 0]], ["Pt"])
    model, report = js.symmetrised(platinum, group, [[0, 0, 0]])
    print(report)
    with tempfile.TemporaryDirectory() as folder:
        peer = WannierBerri(python, model, Path(folder))
        write("symmetric_platinum", [row(model, group, peer, mesh) for mesh in TRANSFORMS])
        peer.close()


if __name__ == "__main__":
    on_one_core()
    main()
