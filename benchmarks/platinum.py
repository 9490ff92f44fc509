"""Spin Hall conductivity of platinum by all definitions, against the density of the mesh.

Claim: the proper (conserved) spin Hall conductivity of a real material, with its convergence. Fcc
platinum, 18 Wannier functions, with external terms; σ^z_xy at the Fermi energy of the calculation,
17.8823 eV, and 0.5 eV above and below, at 0 K and 300 K.

These Wannier functions do not keep inversion and time reversal: their interpolation splits Kramers
partners by 0.03 eV in the median, and by 0.2 eV at most. The proper definitions count what each
band does by itself, and partners that are split by so little and for no physical reason must be one
group: `Covariant(0.1)`. The second table has other tolerances.

    JAXSPIN_TEST_DATA=/path/to/data python benchmarks/platinum.py

The files are the public test case `testpostw90_pt_shc_ryoo` of Wannier90, run through
Wannier90 3.1, in the folder pt_wannier90 of the data; they are not part of this project.
"""

import os
import time
import warnings
from pathlib import Path

import numpy as np
from record import on_one_core, same, write

import jaxspin as js

MESHES = (10, 20, 30, 40)
TOLERANCE = 0.1  # eV
TOLERANCES = (1e-4, 1e-2, 0.05, 0.2)
DEFINITIONS = ("conventional", "proper_published", "proper_corrected", "kubo")
LEVELS = js.Levels([17.3823, 17.8823, 18.3823], temperature=[0.0, 300.0])
UNITS = "hbar/e S/cm"
#: Conventional, 0 K, 10 x 10 x 10, by NumPy from the same files.
REFERENCE = [1981.19416407, 2934.83526020, 2608.37592403]


def rows(model, mesh: int, tolerance: float = TOLERANCE) -> list[dict]:
    found = []
    for definition in DEFINITIONS:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The torque density")
            response = js.spin_hall(
                model,
                js.Grid((mesh,) * 3),
                LEVELS,
                definition=definition,
                degeneracy=js.Covariant(tolerance),
                progress=False,
            ).to(UNITS)
        sigma = response.component(flow="x", field="y", spin="z")
        value, error = np.asarray(sigma.value), np.asarray(sigma.error)
        seconds = time.perf_counter() - start
        has_torque = "torque_density" in response.info
        torque = f"{float(response.info['torque_density']):.1e}" if has_torque else ""
        if (mesh, tolerance, definition) == (10, 1e-4, "conventional"):
            same(value[0], REFERENCE, 1e-8)
        for i, kelvin in enumerate((0, 300)):
            numbers = {
                f"{mu:.4f} eV": f"{v:.2f}" for mu, v in zip(LEVELS.mu, value[i], strict=True)
            }
            found.append(
                {
                    "mesh": f"{mesh}³",
                    "tolerance, eV": tolerance,
                    "definition": definition,
                    "T, K": kelvin,
                    **numbers,
                    "estimated error": f"{np.max(error[i]):.2g}",
                    "torque density": torque,
                    "s": f"{seconds:.1f}",
                }
            )
    return found


def main() -> None:
    data = os.environ.get("JAXSPIN_TEST_DATA")
    if not data:
        raise SystemExit("JAXSPIN_TEST_DATA must name the folder of the data, but is not set.")
    model = js.interop.wannier90.read(Path(data) / "pt_wannier90" / "Pt")
    rows(model, 10, 1e-4)  # against the reference
    write("platinum", [r for mesh in MESHES for r in rows(model, mesh)])
    write("platinum_tolerance", [r for tolerance in TOLERANCES for r in rows(model, 30, tolerance)])


if __name__ == "__main__":
    on_one_core()
    main()
