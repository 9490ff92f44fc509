"""Single precision: JAXSPIN_ENABLE_X64=0, read when jaxspin is imported, hence another process."""

import os
import subprocess
import sys

PROGRAM = """
import numpy as np
import jaxspin as js

hall = js.anomalous_hall(js.models.QiWuZhang(1.0, -1.0), js.Grid((32, 32)), js.Levels(0.0))
print(hall.value.dtype, int(hall.info["precision"]))
print(float(hall.to("e^2/h").component(flow="y", field="x").value[0]))
model, mesh = js.models.TopologicalInsulator.bi2se3(), js.Ball(0.5, 32, 24, 6)
for levels in (js.Levels(0.1), js.Levels(0.35, 300.0)):
    sigma = js.spin_hall(model, mesh, levels, definition="conventional")
    print(float(sigma.component(flow="z", field="x", spin="y").value[0]))
random = np.random.default_rng(0)
home, x, y = (random.normal(size=(4, 4)) + 1j * random.normal(size=(4, 4)) for _ in range(3))
cells = [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]
blocks = [home + home.conj().T, x, x.conj().T, y, y.conj().T]
model = js.HoppingModel(np.eye(2), cells, blocks, random.uniform(size=(4, 2)), None)
print(float(js.carrier_density(model, js.Grid((8, 8)), js.Levels(0.0, 300.0)).value[0]))
"""


def run(double: str) -> list[str]:
    environment = {**os.environ, "JAXSPIN_ENABLE_X64": double}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout.split()


def test_single_precision_agrees_and_says_so():
    single, double = run("0"), run("1")
    assert single[:2] == ["float32", "32"]
    assert double[:2] == ["float64", "64"]
    for a, b in zip(single[2:], double[2:], strict=True):
        assert abs(float(a) - float(b)) < 1e-4 * abs(float(b))
