"""Responses by WannierBerri on reduced and refined meshes, for `time_to_accuracy.py`.

    python wannierberri_refinement.py FOLDER LEVEL DIMENSION GENERATOR ...

FOLDER has `model_tb.dat` and `spin.npz`, and gets `result.npy`: the conventional spin Hall
conductivity of a model with spin, the anomalous Hall conductivity of one without. A line on
standard input, "N NKFFT ITERATIONS", starts a run; the answer is its processor seconds and the
number of points.
"""

import os
import sys
import tempfile
import time

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # WannierBerri reports its progress there

import numpy as np  # noqa: E402
import wannierberri as wb  # noqa: E402
from wannierberri import calculators  # noqa: E402

folder, level, dimension, *generators = sys.argv[1:]
folder, dimension = os.path.abspath(folder), int(dimension)
os.chdir(tempfile.mkdtemp())  # it writes files
system = wb.system.System_R.from_tb_file(os.path.join(folder, "model_tb.dat"), berry=True)
given = np.load(os.path.join(folder, "spin.npz"))
levels, kind = np.array([float(level)]), {"external_terms": True}
if given["spin"].size:
    index = {tuple(cell): i for i, cell in enumerate(given["cells"].tolist())}
    order = [index[tuple(cell)] for cell in system.rvec.iRvec.tolist()]
    system.set_R_mat("SS", np.moveaxis(given["spin"][order], 1, -1))
    kind["spin_current_type"] = "simple"
    response = calculators.static.SHC(Efermi=levels, kwargs_formula=kind)
else:
    response = calculators.static.AHC(Efermi=levels, kwargs_formula=kind)
system.set_pointgroup(generators)


class Counted:
    """Number of k-points that were evaluated: those of each K-point, of its Fourier transform."""

    number = 0


_evaluate = type(response).__call__


def count(self, data):
    Counted.number += data.nk
    return _evaluate(self, data)


type(response).__call__ = count
for line in sys.stdin:
    number, transform, iterations = map(int, line.split())
    third = 1 if dimension == 2 else number
    divisions = [number // transform] * 2 + [third // (1 if dimension == 2 else transform)]
    transforms = [transform] * 2 + [1 if dimension == 2 else transform]
    grid = wb.grid.Grid(system, NKdiv=divisions, NKFFT=transforms)
    Counted.number, start = 0, time.process_time()
    run = wb.run(
        system,
        grid=grid,
        calculators={"response": response},
        adpt_num_iter=iterations,
        parallel=False,
        print_progress_step_time=1000,
    )
    seconds = time.process_time() - start
    np.save(os.path.join(folder, "result.npy"), run.results["response"].data)
    print(seconds, Counted.number, file=answers)
