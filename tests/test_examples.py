"""Every example runs from an empty folder, and leaves the files it says it does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import jaxspin as js
from jaxspin.cli import input_files

EXAMPLES = Path(__file__).parent.parent / "examples"
#: Of a program that another test is about to keep (conftest.py).
KEEPING = "Error reading persistent compilation cache entry"
FILES = {
    "bi2se3_spin_hall.py": {
        "bi2se3_spin_hall.png",
        "bi2se3_proper_corrected.nc",
        "bi2se3_conventional.nc",
    },
    "own_model.py": {"own_model.png"},
    "kane_mele.py": {"kane_mele_spin_hall.png", "kane_mele_bands.png"},
    "gradient.py": set(),
    "equilibrium_spin_current.py": {"equilibrium_spin_current.png"},
    "curvature_map.py": {"curvature_map.png"},
    "convergence.py": {"convergence.png"},
    "density_matrix.py": {"density_matrix.png"},
    "disordered_hall.py": {"disordered_hall.png"},
    "nernst.py": {"nernst.png"},
    "nonlinear_hall.py": {"nonlinear_hall.png"},
    "spin_hall_torque.py": {"spin_hall_torque.png"},
    "spin_orbit_torque.py": {"spin_orbit_torque.png"},
    "fit_bi2se3.py": {"fit_bi2se3.png"},
    "fit_dirac_disorder.py": set(),
    "spin_transfer_torque.py": {"spin_transfer_torque.png"},
    "hole_wells.py": {"hole_wells.png"},
    "wannier90_files.py": {"diamond_tb.dat", "diamond_spin_hall.png", "diamond_bands.png"},
}
#: Run at every test, the others with the studies.
QUICK = {"bi2se3_spin_hall.py", "own_model.py"}
SAYS = {
    "bi2se3_spin_hall.py": "σ^y_zx at 0.35 eV, 300 K: -17",
    "own_model.py": "m =  0.1 eV: σ_yx in the gap is 1.0000 e²/h",
    "kane_mele.py": "σ^z_xy in the gap is -1.000000 (ħ/e)(e²/h)",
    "gradient.py": "by jax.jvp",
    "equilibrium_spin_current.py": "two bands, dressed    15.6013 1e-5 eV/Å",
    "curvature_map.py": "Chern number of the lower band -1.0000",
    "convergence.py": "in a gap: Convergence of the anomalous Hall conductivity: converged to 0.01",
    "density_matrix.py": "torque dipole  σ^z_xy in the gap -0.162312 e/8π",
    "disordered_hall.py": "intrinsic  σ_yx at mu = 0.06 eV: 0.4167 e²/h",
    "nernst.py": "at T 600 K, mu -0.25 eV",
    "nonlinear_hall.py": "mu 0.1 eV",
    "spin_hall_torque.py": "in the gap: damping-like 0.00121 e/Å",
    "spin_orbit_torque.py": "field-like   [0.07757 0.      0.     ]",
    "fit_bi2se3.py": "M0  -0.2803 ± 0.0013",
    "fit_dirac_disorder.py": "u0²  0.4986 ± 0.0062",
    "spin_transfer_torque.py": "lifetime of m-parallel spin",
    "hole_wells.py": "GaAs: HH1 -0.001423 eV, α3 704.0 eV Å³",
    "wannier90_files.py": "σ on each orbital, order interlaced",
}


def test_no_example_is_forgotten():
    assert {path.name for path in EXAMPLES.glob("*.py")} == FILES.keys()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.study] * (name not in QUICK)) for name in FILES]
)
def test_example(name, tmp_path):
    # The output has Greek letters, and no figure may need a window.
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", f"ignore:{KEEPING}", str(EXAMPLES / name), "--quick"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert SAYS[name] in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == FILES[name]
    for path in tmp_path.glob("*.nc"):
        assert js.load(path).units == "hbar/2e S/m"


@pytest.mark.parametrize("name", FILES)
def test_example_is_short_and_says_what_it_shows(name):
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) <= 40


@pytest.mark.parametrize("name", input_files.EXAMPLES)
def test_input_file_is_the_built_in_one(name):
    assert (EXAMPLES / f"{name}.toml").read_text(encoding="utf-8") == input_files.EXAMPLES[name]
