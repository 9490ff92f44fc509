"""Spin Hall conductivity of a symmetric model by WannierBerri, for `symmetric_platinum.py`.

    python wannierberri_symmetric.py MODEL_tb.dat SPIN.npz RESULT.npy LEVEL ...

A line on standard input, "N NKFFT", starts a run on the irreducible part of N³; the answer is its
processor seconds. The first line of the answers names the version. The model has the group by
itself, so that WannierBerri does not symmetrise it: it reduces the mesh, and averages the result.
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

GENERATORS = ["C4z", "C4x", "Inversion", "TimeReversal"]  # of m-3m1'

file, spin, result, *levels = sys.argv[1:]
file, spin, result = map(os.path.abspath, (file, spin, result))
os.chdir(tempfile.mkdtemp())  # it writes files
system = wb.system.System_R.from_tb_file(file, berry=True)
given = np.load(spin)
index = {tuple(cell): i for i, cell in enumerate(given["cells"].tolist())}
order = [index[tuple(cell)] for cell in system.rvec.iRvec.tolist()]
system.set_R_mat("SS", np.moveaxis(given["spin"][order], 1, -1))
system.set_pointgroup(GENERATORS)
kind = {"external_terms": True, "spin_current_type": "simple"}
hall = calculators.static.SHC(Efermi=np.array(levels, float), kwargs_formula=kind)
print(wb.__version__, file=answers)
for line in sys.stdin:
    number, transform = map(int, line.split())
    grid = wb.grid.Grid(system, NKdiv=[number // transform] * 3, NKFFT=[transform] * 3)
    start = time.process_time()
    run = wb.run(
        system,
        grid=grid,
        calculators={"hall": hall},
        parallel=False,
        print_progress_step_time=1000,
    )
    seconds = time.process_time() - start
    np.save(result, run.results["hall"].data)
    print(seconds, file=answers)
