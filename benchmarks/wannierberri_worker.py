"""The anomalous Hall conductivity by WannierBerri, for `anomalous_hall.py`, in its own interpreter.

    python wannierberri_worker.py MODEL_tb.dat MESH FIRST_LEVEL LAST_LEVEL LEVELS RESULT.npy

A line on standard input starts a run; the answer is its processor seconds. A first line names the
version.
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

file, mesh, first, last, number, result = sys.argv[1:]
file, result = os.path.abspath(file), os.path.abspath(result)
os.chdir(tempfile.mkdtemp())  # it writes files
system = wb.system.System_R.from_tb_file(file)
# Mixed transform: FFT of 8^3 points each, which was the fastest for these models.
grid = wb.grid.Grid(system, NKdiv=[int(mesh) // 8] * 3, NKFFT=[8] * 3)
levels = np.linspace(float(first), float(last), int(number))
hall = calculators.static.AHC(Efermi=levels, kwargs_formula={"external_terms": False})
print(wb.__version__, file=answers)
for _ in sys.stdin:
    start = time.process_time()
    run = wb.run(
        system,
        grid=grid,
        calculators={"hall": hall},
        parallel=False,
        use_irred_kpt=False,
        symmetrize=False,
        print_progress_step_time=1000,
    )
    seconds = time.process_time() - start
    np.save(result, run.results["hall"].data)
    print(seconds, file=answers)
