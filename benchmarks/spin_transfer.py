"""Spin-transfer torque. Goal: 100 Fermi energies x 100 scattering times in one vmapped call.

The ferromagnet, against its closed form at each of the 10,000 points, and the conduction band of
Bi2Se3 to all orders in the spin-orbit coupling, against separate calls. Compiled, one core.

    python benchmarks/spin_transfer.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from record import alternated, on_one_core, same, three, write

import jaxspin as js
from jaxspin import spin_transfer as stt
from jaxspin.units import HBAR_EV_PS

TAU = jnp.linspace(0.01, 1.0, 100)  # ps
KINETIC = 5.7  # eV Å²
EXCHANGE = {"ferromagnet": 0.004, "Bi2Se3": 0.00125}  # eV
MU = {"ferromagnet": jnp.linspace(0.03, 0.1, 100), "Bi2Se3": jnp.linspace(0.275, 0.3, 100)}
BANDS = {
    "ferromagnet": stt.Ferromagnet(KINETIC),
    "Bi2Se3": stt.ConductionBand(js.models.TopologicalInsulator.bi2se3()),
}
SURFACES = {"ferromagnet": js.FermiShell(6, 8), "Bi2Se3": js.FermiShell(8, 16)}


def response(name: str):
    """⟨s⟩ of E_x ∂_x m_x for m along z, as a function of mu and τ."""

    def at(mu, tau):
        m = jnp.array([0, 0, EXCHANGE[name]])
        found = js.spin_transfer_torque(
            BANDS[name], SURFACES[name], js.Levels(mu), m, tau, slow_modes=stt.DropSlowModes()
        )
        return found.bare.gradient.value[0, :, 0, 0, 0]

    return at


def closed_form() -> np.ndarray:
    """⟨s_y⟩ = −(N c/4m), c = 2τ(2/3)2D."""
    density = np.sqrt(np.asarray(MU["ferromagnet"])) / (4 * np.pi**2 * KINETIC**1.5)
    c = 2 * np.asarray(TAU) / HBAR_EV_PS * (2 / 3) * 2 * KINETIC
    return -density[:, None] * c / (4 * EXCHANGE["ferromagnet"])


def scan(name: str) -> dict:
    at = response(name)
    whole = jax.jit(jax.vmap(jax.vmap(at, (None, 0)), (0, None)))
    time = alternated({"scan": lambda: whole(MU[name], TAU)}, rounds=1)["scan"]
    value = np.asarray(time.value)
    if name == "ferromagnet":
        difference = same(value[..., 1], closed_form(), 1e-9)
    else:
        some = [(0, 0), (50, 99), (99, 20)]
        single = jax.jit(at)
        alone = np.array([single(MU[name][i], TAU[j]) for i, j in some])
        difference = same(np.array([value[i, j] for i, j in some]), alone, 1e-9)
    return {
        "what": f"{name}, 100 mu x 100 τ, one vmapped call",
        "nodes": SURFACES[name].polar * SURFACES[name].azimuthal,
        "first call s": three(time.first_wall),
        "wall s": three(time.wall),
        "cpu s": three(time.cpu),
        "µs a point": three(time.cpu * 1e6 / value[..., 0].size),
        "difference": f"{difference:.0e}",
    }


if __name__ == "__main__":
    on_one_core()
    write("spin_transfer", [scan(name) for name in BANDS])
