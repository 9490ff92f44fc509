"""The spin current of a Chern insulator, term by term, from the density matrix.

In a field the conventional current is Tr(j ρ_E), and i Tr(t ∂ρ_EQ/∂Q) the torque dipole. In the gap
of two bands their sum, the proper spin current, vanishes; the figure shows where in k they are.
"""

import argparse

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import CenteredNorm

import jaxspin as js

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a coarse mesh")
    n = 32 if parser.parse_args().quick else 96
    model = js.models.QiWuZhang(A=1.0, m=-1.0, t0=0.3)  # square lattice, side 1 Å
    axis = 2 * np.pi * np.arange(n) / n
    k = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)  # (n, n, 2)

    density = js.density_matrix(model, k, js.Levels(0.0))
    current, torque = (density.bands.operator(name) for name in ("spin_current", "torque"))
    field, both = density.field[:, :, 0], density.both[:, :, 0]  # at the only level
    conventional = jnp.einsum("xyasmn,xybnm->xyabs", current, field).real
    dipole = -jnp.einsum("xysmn,xyabnm->xyabs", torque, both).imag

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    parts = {"conventional": conventional, "torque dipole": dipole}
    for panel, (name, part) in zip(axes, parts.items(), strict=True):
        z_xy = part[..., 0, 1, 2]  # flow x, field y, spin z
        print(f"{name:14} σ^z_xy in the gap {4 * np.pi * z_xy.mean():9.6f} e/8π")
        panel.set(title=name, xlabel="$k_x$ (1/Å)", ylabel="$k_y$ (1/Å)", aspect="equal")
        drawn = panel.pcolormesh(axis, axis, z_xy.T, cmap="RdBu_r", norm=CenteredNorm())
        figure.colorbar(drawn, ax=panel, shrink=0.8, label=r"$\sigma^z_{xy}$ of each $k$ (Å²)")
    figure.savefig("density_matrix.png", dpi=200)
