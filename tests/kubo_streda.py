"""The Kubo-Streda formula by brute force, in NumPy: no Fermi surface, no expansion in the disorder.

Self-consistent Born approximation for the self-energy, ladder of impurity lines for the vertex,
both as sums over the whole plane of k. Only the anti-Hermitian part of the self-energy is kept; the
other one shifts H.

    Γ = −u0² Im Σ_k G^R,  G^R = (ε − H + iΓ)^(-1)
    Ṽ_j = v_j + u0² Σ_k G^R Ṽ_j G^A,  σ_ij = (1/2π) Σ_k Tr v_i G^R Ṽ_j G^A
"""

import numpy as np


def plane(radii, reach=2000.0, angles=8):
    """k (2, K) and weights d²k/(2π)², for isotropic H of two bands and radii near the surface.

    Panels shrink geometrically towards the radii, where G^R G^A has a width of Γ/v.
    """
    steps = np.concatenate([[0], np.geomspace(1e-6, 0.3, 40)])
    edges = [0.0, *np.geomspace(1e-3, reach, 60)]
    for radius in radii:
        edges += [*(radius + steps), *(radius - steps)]
    edges = np.unique([edge for edge in edges if edge >= 0])
    x, w = np.polynomial.legendre.leggauss(12)
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    k, dk = (middle[:, None] + half[:, None] * x).ravel(), (half[:, None] * w).ravel()
    theta = 2 * np.pi * np.arange(angles) / angles
    points = k[:, None] * np.array([np.cos(theta), np.sin(theta)])[:, None, :]
    weight = np.repeat((k * dk)[:, None], angles, axis=1) / (2 * np.pi * angles)
    return points.reshape(2, -1), weight.ravel()


def conductivity(hamiltonian, velocity, weight, energy, strength):
    """σ_ij of the RA part, (2, 2), for H (K, n, n), v (2, K, n, n) at k of these weights."""
    n = hamiltonian.shape[-1]
    width = strength * np.eye(n)
    for _ in range(400):
        green = np.linalg.inv(energy * np.eye(n) - hamiltonian + 1j * width)
        total = np.einsum("k,kij->ij", weight, green)
        new = -strength * (total - total.conj().T) / 2j
        done = np.max(np.abs(new - width)) < 1e-15 * np.max(np.abs(new))
        width = new
        if done:
            break
    advanced = green.conj().swapaxes(1, 2)
    ladder = strength * np.einsum("k,kij,klm->imjl", weight, green, advanced).reshape(n * n, -1)
    bare = np.einsum("k,kij,xkjl,klm->xim", weight, green, velocity, advanced)
    summed = np.linalg.solve(np.eye(n * n) - ladder, strength * bare.reshape(2, -1).T)
    vertex = velocity + summed.T.reshape(2, 1, n, n)
    left = np.einsum("xkij,kjl->xkil", velocity, green)
    right = np.einsum("xkij,kjl->xkil", vertex, advanced)
    return np.einsum("k,xkij,ykji->xy", weight, left, right).real / (2 * np.pi)


def hall_at_no_disorder(hamiltonian, velocity, weight, energy, strengths):
    """(σ_yx − σ_xy)/2, extrapolated to u0² = 0 by a polynomial through all strengths."""
    values = []
    for strength in strengths:
        sigma = conductivity(hamiltonian, velocity, weight, energy, strength)
        values.append((sigma[1, 0] - sigma[0, 1]) / 2)
    return np.polyfit(strengths, values, len(strengths) - 1)[-1]
