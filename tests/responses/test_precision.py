"""Single precision: JAXSPIN_ENABLE_X64=0, read when jaxspin is imported, hence another process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxspin.engine import tolerances
from jaxspin.spin_transfer.slow_modes import are_conserved

PROGRAM = Path(__file__).parents[1] / "oracles" / "every_response.py"


def run(double: str) -> dict[str, list]:
    environment = {**os.environ, "JAXSPIN_ENABLE_X64": double}
    command = [sys.executable, str(PROGRAM)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.study
def test_every_response_agrees_and_warns_of_nothing_false():
    """Each number is off by less than 10⁻⁴ of the largest of its result.

    That is a thousand rounding errors; derivatives and responses that are differences lose most.
    """
    single, double = run("0"), run("1")
    assert single.pop("precision") == [32]
    assert double.pop("precision") == [64]
    assert single.keys() == double.keys()
    off = {}
    for name, expected in double.items():
        size = np.max(np.abs(expected), initial=0.0) or 1.0
        off[name] = np.max(np.abs(np.subtract(single[name], expected)) / size, initial=0.0)
    assert {name: x for name, x in off.items() if not x < 1e-4} == {}
    refused = {name: x for name, x in double.items() if name.startswith("refusals")}
    assert len(refused) == 6
    assert set(map(tuple, refused.values())) == {(1.0,)}


def test_tolerance_is_that_of_the_real_part():
    table = tolerances.Tolerance(1.0, 2.0)
    kinds = {np.float64: 1.0, np.complex128: 1.0, np.int64: 1.0, np.float32: 2.0, np.complex64: 2.0}
    for kind, expected in kinds.items():
        assert table.of(np.zeros(2, kind)) == table.of(jnp.zeros(2, kind)) == expected
    assert table.of() == 1.0


def test_single_precision_is_never_stricter():
    table = [x for x in vars(tolerances).values() if isinstance(x, tolerances.Tolerance)]
    assert len(table) > 20
    assert all(np.finfo(np.float32).eps < t.single for t in table if t.double > 1e-12)
    assert all(t.double < t.single for t in table)


def test_slow_spin_of_bi2se3_is_not_conserved():
    """2·10⁻⁵ is the rate at 5 meV (docs/spin-transfer-torque.md); rounding leaves 7·10⁻⁸."""
    for kind, rounding in ((jnp.float32, 1.5e-7), (jnp.float64, 1e-15)):
        found = are_conserved(jnp.array([-rounding, rounding, 2e-5], kind))
        assert found.tolist() == [True, True, False]
