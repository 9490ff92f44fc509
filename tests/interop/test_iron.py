"""Spin-polarised iron without spinors: two runs, up and down, and a model of each."""

import os
from pathlib import Path

import numpy as np
import pytest

import jaxspin as js
from jaxspin.interop import wannier90

FOLDER = Path(os.environ.get("JAXSPIN_TEST_DATA", "absent")) / "fe_collinear"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="JAXSPIN_TEST_DATA is not there")


def test_channels_of_iron_add_up_to_its_electrons():
    """Twice one channel is neither: 5.6 or 10.0 for the 8 electrons. Numbers of data/README.md."""
    levels, grid, electrons = js.Levels(17.1114, 300.0), js.Grid((8, 8, 8)), {}
    for channel in ("up", "dn"):
        model = wannier90.read(FOLDER / f"Fe_{channel}")
        density = js.carrier_density(model, grid, levels).value.item()
        electrons[channel] = density * abs(np.linalg.det(model.lattice))
    assert electrons == pytest.approx({"up": 2.824, "dn": 4.977}, abs=5e-4)
    assert sum(electrons.values()) == pytest.approx(7.8, abs=0.05)
