"""Loops that XLA compiles as one piece, with the settings that users have."""

import os
import subprocess
import sys

import pytest

PIECES = """
import numpy as np
import jaxspin as js
mesh, levels = js.Disk(0.9, 16, 16), js.Levels({mu}, 600.0)
pieces = js.spin_hall_pieces(js.models.Rashba(4.0, 1.0, 0.1), mesh, levels, progress=False)
assert np.all(np.isfinite(pieces.J2.value))
"""


@pytest.mark.parametrize("mu", ["0.1", "[-0.2, 0.3]"])
def test_a_long_result_inside_a_loop_is_linked(mu):
    """66 components of two bands on 256 points are 270 kB, which XLA shares among threads."""
    quick = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_COMPILATION_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in quick}
    command = [sys.executable, "-c", PIECES.format(mu=mu)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
