"""Torques of a magnetic topological insulator: bulk spin Hall effect, surface Edelstein effect.

Both are torques per area and field on a magnet, M along z. The surface states, a Dirac cone with an
exchange gap, have a spin density in a field: field-like, and in the gap damping-like alone, the
topological Edelstein effect. Above 0.28 eV the bulk of Bi2Se3 conducts, and its spin current
flows into the magnet: intrinsic, and by mechanism of disorder, with Kramers pairs of bands.
"""

import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np

import jaxspin as js

warnings.filterwarnings("ignore", message="no Fermi surface")  # in the gap the sea is what counts

quick = "--quick" in sys.argv
MASS = 0.05  # eV, exchange energy of the surface states

# --- surface --------------------------------------------------------------------------------------

cone = js.models.MassiveDirac(velocity=3.3, mass=MASS)
surface_mu = np.linspace(-0.2, 0.25, 10 if quick else 46)
surface = js.disordered_response(
    cone, js.FermiContour(16), js.Levels(surface_mu), js.ScalarDisorder(0.5)
)
torque = surface.spin_orbit_torque([0, 0, MASS])
along = {"field": "x"}
field_like = torque.field_like.component(spin="x", **along).to("e Angstrom^-1").value
damping_like = torque.damping_like.component(spin="y", **along).to("e Angstrom^-1").value
gap = np.abs(surface_mu) < MASS
print(
    f"in the gap: damping-like {damping_like[gap][0]:.5f} e/Å, field-like {field_like[gap][0]:.1g}"
)

# --- bulk -----------------------------------------------------------------------------------------

bulk_mu = np.linspace(0.28, 0.6, 3 if quick else 17)
bulk = js.disordered_response(
    js.models.TopologicalInsulator.bi2se3(),
    js.FermiShell(6, 6) if quick else js.FermiShell(10, 8),
    js.Levels(bulk_mu),
    js.ScalarDisorder(30.0),  # eV² Å³: ħ/τ = 11 meV at 0.35 eV
    measure={"spin_current": "spin_current"},
    progress=not quick,
)
spin_hall = bulk.measured.spin_current.component(flow="z", field="x", spin="y")
angle = js.disorder.spin_hall_angle(bulk).component(flow="z", field="x", spin="y")
drude = bulk.drude.conductivity.to("S/m").component(flow="x", field="x")
print(bulk.measured.spin_current)
print(f"at {bulk_mu[0]:.2f} eV: σ_xx {drude.value[0]:.3g} S/m,", end=" ")
print(f"σ^y_zx {spin_hall.order_zero.value[0]:.3g} ħ/2e S/m,", end=" ")
print(f"efficiency {angle.order_zero.value[0]:.2g}")

# --- figure ---------------------------------------------------------------------------------------

with js.plot.style.figure_style(None):
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    left.plot(surface_mu, 1e3 * field_like, label="field-like (Drude)")
    left.plot(surface_mu, 1e3 * damping_like, label="damping-like")
    left.axvspan(-MASS, MASS, color="0.92")
    left.set(xlabel="Fermi energy (eV)", ylabel="torque per field ($10^{-3}$ e/Å)")
    left.set_title("surface: Edelstein effect")
    left.legend(loc="upper center")
    for name in ("intrinsic", "extrinsic", "side_jump", "skew", "order_zero"):
        label = "total" if name == "order_zero" else name.replace("_", " ")
        width = 2.2 if label == "total" else 1.4
        right.plot(bulk_mu, spin_hall[name].value, lw=width, label=label)
    right.set(xlabel="Fermi energy (eV)", ylabel=r"$\sigma^y_{zx}$ ($\hbar/2e$ S/m)")
    right.set_title("bulk: spin Hall effect")
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig("spin_hall_torque.png", dpi=200, bbox_inches="tight")
