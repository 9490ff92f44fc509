"""A second opinion in plain NumPy: the Kubo formula as a double sum over bands on a grid.

Nothing here comes from jaxspin except the model: H(k) and its derivative. The sum is over single
bands, so it is meant for bands that are not degenerate, or filled together.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.constants import e, h, hbar

CONDUCTANCE_QUANTUM = e**2 / h  # S


class HallConductivities(NamedTuple):
    ahc: np.ndarray  # σ_xy, (level,), S
    shc: np.ndarray | None  # σ^s_ab, (level, flow, field, spin), (ħ/e) S; None without spin


def kubo_oracle(model, N, levels):
    """Anomalous and spin Hall conductivity of a 2D lattice model at zero temperature.

    σ_xy = −(e²/ħ) Σ_k f_n Ω_n,  σ^s_ab = (e²/2ħ) Σ_k f_n Ω^s_ab,n,
    Ω^s_ab,n = −2 Im Σ_m ½{σ_s, v_a}_nm (v_b)_mn / (E_n − E_m)²

    on the N × N grid that holds k = 0.
    """
    energies, vectors, gradient, area = _bands(model, N)
    velocity = [_in_bands(gradient[..., a], vectors) for a in range(2)]
    occupation = energies < np.atleast_1d(levels)[:, None, None]  # (level, k, n)
    weight = occupation / (len(energies) * area)
    ahc = -(e**2 / hbar) * np.einsum("lkn,kn->l", weight, _curvature(*velocity, energies))
    spins = _spin_operators(model)
    if spins is None:
        return HallConductivities(ahc, None)
    shc = np.zeros((len(weight), 2, 2, 3))
    for s, spin in enumerate(_in_bands(spins[s], vectors) for s in range(3)):
        for a in range(2):
            current = (spin @ velocity[a] + velocity[a] @ spin) / 2
            for b in range(2):
                omega = _curvature(current, velocity[b], energies)
                shc[:, a, b, s] = e**2 / (2 * hbar) * np.einsum("lkn,kn->l", weight, omega)
    return HallConductivities(ahc, shc)


def _bands(model, N):
    lattice = np.asarray(model.lattice)
    reduced = np.stack(np.meshgrid(*2 * [np.arange(N) / N], indexing="ij"), axis=-1)
    k = jnp.asarray(reduced.reshape(-1, 2) @ (2 * np.pi * np.linalg.inv(lattice).T))
    hamiltonian = np.asarray(jax.vmap(model)(k))
    gradient = np.asarray(jax.vmap(jax.jacfwd(model))(k))
    return *np.linalg.eigh(hamiltonian), gradient, abs(np.linalg.det(lattice))


def _in_bands(operator, vectors):
    return vectors.conj().swapaxes(-1, -2) @ operator @ vectors


def _curvature(left, right, energies):
    """−2 Im Σ_m left_nm right_mn / (E_n − E_m)², (k, n); degenerate partners are left out."""
    gap = energies[:, :, None] - energies[:, None, :]
    apart = np.abs(gap) > 1e-9
    inverse = np.where(apart, 1 / np.where(apart, gap, 1) ** 2, 0)
    return -2 * np.imag(left * right.swapaxes(1, 2) * inverse).sum(axis=2)


def _spin_operators(model):
    try:
        return np.asarray(model.spin())
    except ValueError:
        return None
