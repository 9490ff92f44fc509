"""Torques of a magnetic topological insulator: bulk spin Hall effect, surface Edelstein effect.

Per area and field on a magnet, M along z. In the gap of the surface states only a damping-like
torque is left, the topological Edelstein effect; above 0.28 eV the bulk of Bi2Se3 has a spin Hall
effect, by mechanism of disorder, with Kramers pairs of bands.
"""

import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np

import jaxspin as js

# In the gap the sea is what counts, and the spin density of the bulk is zero by symmetry.
warnings.filterwarnings("ignore", message="no Fermi surface|.*in the spin density")
quick = "--quick" in sys.argv
M, mu = 0.05, np.linspace(-0.2, 0.25, 10 if quick else 46)  # eV
cone, impurities = js.models.MassiveDirac(velocity=3.3, mass=M), js.ScalarDisorder(0.5)
surface = js.disordered_response(cone, js.FermiContour(16), js.Levels(mu), impurities)
torque = surface.spin_orbit_torque([0, 0, M]).component(field="x").to("e Angstrom^-1")
field_like, damping_like = torque.field_like.value[:, 0], torque.damping_like.value[:, 1]
print(f"in the gap: damping-like {damping_like[np.abs(mu) < M][0]:.5f} e/Å")

above = js.Levels(np.linspace(0.28, 0.6, 3 if quick else 17))
shell, disorder = js.FermiShell(*((6, 6) if quick else (10, 8))), js.ScalarDisorder(30.0)  # 11 meV
bi2se3 = js.models.TopologicalInsulator.bi2se3()
bulk = js.disordered_response(bi2se3, shell, above, disorder, measure={"flow": "spin_current"})
angle = js.disorder.spin_hall_angle(bulk, "flow").component(flow="z", field="x", spin="y")
print(bulk.measured.flow, f"\nspin Hall angle at 0.28 eV: {angle.order_zero.value[0]:.2f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
left.plot(mu, 1e3 * field_like, label="field-like (Drude)")
left.plot(mu, 1e3 * damping_like, label="damping-like")
left.set(xlabel="Fermi energy (eV)", ylabel="surface: torque per field ($10^{-3}$ e/Å)")
left.legend(loc="upper center")
js.plot.contributions(bulk.measured.flow, component="zx^y", axes=right).set_title("bulk")
right.legend(loc="upper left", ncols=2)
figure.savefig("spin_hall_torque.png", dpi=200)
