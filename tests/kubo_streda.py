"""The Kubo-Streda formula by brute force, in NumPy: no Fermi surface, no expansion in the disorder.

Self-consistent Born approximation for the self-energy, ladder of impurity lines for the vertex,
both as sums over all k. Only the anti-Hermitian part of the self-energy is kept; the other one
shifts H.

    Γ = −u0² Im Σ_k G^R,  G^R = (ε − H + iΓ)^(-1)
    B̃ = B + u0² Σ_k G^R B̃ G^A,  K_AB = (1/2π) Σ_k Tr A G^R B̃ G^A

σ_ij is K of the velocities v_i, v_j. (K_AB − K_BA)/2 is what has the time-reversal signature
opposite to that of the Drude term, and stays finite without disorder.
"""

import numpy as np
from scipy.special import ive

PAULI = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])

#: Distance to the Fermi surface, relative to its radius, below which the nodes are equidistant.
CORE = 5e-6
PANEL = 1.6  # in units of the logarithm of the distance


def radial(roots, reach):
    """Radii and widths dk (n, A) between 0 and reach (A,), on rays that cross ε = mu at (c, A).

    r = root (1 + CORE sinh s), Gauss-Legendre on panels in s: equal numbers of nodes in each decade
    of the distance, for G^R G^A is as narrow as Γ/v. Between two roots the halves of the interval.
    """
    roots = np.sort(roots, axis=0)
    between = (roots[1:] + roots[:-1]) / 2
    low = np.concatenate([np.zeros_like(roots[:1]), between])
    high = np.concatenate([between, np.broadcast_to(reach, roots[:1].shape)])
    rules = [_around(*interval) for interval in zip(roots, low, high, strict=True)]
    return tuple(np.concatenate(x) for x in zip(*rules, strict=True))


def _around(root, low, high):
    start, stop = (np.arcsinh((end / root - 1) / CORE) for end in (low, high))
    panels = int(np.ceil(np.max(stop - start) / PANEL))
    x, w = np.polynomial.legendre.leggauss(12)
    fraction = ((np.arange(panels)[:, None] + (1 + x) / 2) / panels).reshape(-1, 1)
    share = np.tile(w / 2 / panels, panels)[:, None]
    s = start + (stop - start) * fraction
    scale = CORE * root
    return root + scale * np.sinh(s), scale * np.cosh(s) * (stop - start) * share


def plane(crossings, reach, angles):
    """k (2, K) and weights d²k/(2π)² in a disk, from the roots (c, A) at angles (A,)."""
    theta = 2 * np.pi * np.arange(angles) / angles
    return _polar(theta, np.full(angles, 2 * np.pi / angles), crossings(theta), np.full(1, reach))


def square_zone(crossings, angles):
    """k (2, K) and weights d²k/(2π)² in |k_x|, |k_y| < π, with this many angles in each octant."""
    x, w = np.polynomial.legendre.leggauss(angles)
    theta = (np.pi / 4 * (np.arange(8)[:, None] + (1 + x) / 2)).ravel()
    reach = np.pi / np.maximum(abs(np.cos(theta)), abs(np.sin(theta)))
    return _polar(theta, np.tile(np.pi / 8 * w, 8), crossings(theta), reach)


def _polar(theta, share, roots, reach):
    k, dk = radial(roots, reach)
    points = k * np.array([np.cos(theta), np.sin(theta)])[:, None]
    return points.reshape(2, -1), (k * dk * share / (2 * np.pi) ** 2).ravel()


def pauli_model(coefficients, k):
    """H (K, 2, 2) and its slopes (2, K, 2, 2) of H = Σ_μ d_μ(k_x, k_y) σ_μ, d real and analytic."""
    step = 1e-30  # d(k + i step) = d + i step ∂d, to rounding
    d = coefficients(*k)
    slopes = [coefficients(k[0] + 1j * step, k[1]), coefficients(k[0], k[1] + 1j * step)]
    slopes = np.array([[np.broadcast_to(np.imag(c), k[0].shape) for c in s] for s in slopes]) / step
    d = np.array([np.broadcast_to(c, k[0].shape) for c in d])
    return np.einsum("mk,mij->kij", d, PAULI), np.einsum("xmk,mij->xkij", slopes, PAULI)


def crossing(coefficients, band, energy, outermost):
    """The root of ε_band = energy at k between 0 and `outermost` as a function of the angle."""

    def roots(theta):
        low, high = np.zeros_like(theta), np.full_like(theta, outermost)
        for _ in range(60):
            k = (low + high) / 2
            d = coefficients(k * np.cos(theta), k * np.sin(theta))
            inside = d[0] + (2 * band - 1) * np.sqrt(d[1] ** 2 + d[2] ** 2 + d[3] ** 2) < energy
            low, high = np.where(inside, k, low), np.where(inside, high, k)
        return low[None]

    return roots


def correlations(hamiltonian, operators, weight, energy, strength):
    """K_AB (o, o), for H (K, n, n) and operators (o, K, n, n) at k of these weights.

    At fixed density: without the mean of an operator over the states at the Fermi energy.
    """
    n = hamiltonian.shape[-1]
    green, width = _self_consistent(hamiltonian, weight, energy, strength)
    weighted = weight[:, None, None] * green
    advanced = green.conj().swapaxes(1, 2)
    spectral = weighted - weight[:, None, None] * advanced
    mean = np.einsum("okij,kji->o", operators, spectral) / np.einsum("kii->", spectral)
    operators = operators - mean[:, None, None, None] * np.eye(n)

    ladder = weighted.reshape(-1, n * n).T @ advanced.reshape(-1, n * n)  # (ij, lm)
    ladder = ladder.reshape(n, n, n, n).transpose(0, 3, 1, 2).reshape(n * n, n * n)
    into = weighted @ operators @ advanced  # w G^R B G^A
    out = np.sum(weight[:, None, None] * (advanced @ operators @ green), axis=1)
    bare = np.sum(into, axis=1).reshape(-1, n * n).T
    # The charge, Γ = u0² Σ_k G^R Γ G^A, which no operator here excites.
    charge = np.outer(width.ravel(), width.ravel().conj()) / np.sum(np.abs(width) ** 2)
    summed = np.linalg.solve(np.eye(n * n) - strength * ladder + charge, strength * bare)
    direct = operators.reshape(len(operators), -1) @ into.swapaxes(2, 3).reshape(len(into), -1).T
    return (direct + out.swapaxes(1, 2).reshape(-1, n * n) @ summed).real / (2 * np.pi)


_STEPS = 10  # of the self-energy; each is nearer by a factor of about Γ/ε


def _self_consistent(hamiltonian, weight, energy, strength):
    """G^R (K, n, n) and Γ."""
    one = np.eye(hamiltonian.shape[-1])
    width = strength * one
    for _ in range(_STEPS):
        green = np.linalg.inv(energy * one - hamiltonian + 1j * width)
        total = np.tensordot(weight, green, axes=1)
        width = -strength * (total - total.conj().T) / 2j
    return green, width


def without_disorder(of_strength, strengths):
    """An array that depends on u0² at u0² = 0, by a polynomial through all strengths."""
    values = np.array([of_strength(strength) for strength in strengths])
    flat = values.reshape(len(values), -1)
    return np.polyfit(strengths, flat, len(flat) - 1)[-1].reshape(values.shape[1:])


def ranged_cone(radius, width, mass, energy, strength, length):
    """(σ_yx − σ_xy)/2 of H = k_x σ_y − k_y σ_x + M σ_z for W(q) = u0² exp(−q² length²/2).

    H(k, θ) = U H(k, 0) U†, U = exp(−iθσ_z/2). A matrix of angular momentum j is e^(ijθ) U X(k) U†,
    with elements that go as e^(imθ), m = [[j, j − 1], [j + 1, j]], and W couples each by itself:
    W_m(k, k') = u0² exp(−(k² + k'²) length²/2) I_m(k k' length²). The self-energy has j = 0, the
    velocity v_x + i v_y has j = 1, and Tr (v_x − i v_y) G (v_x + i v_y) G gives both components.

    Args:
        radius, width: k and dk of the nodes, (K,).
    """
    one, x, y, z = PAULI
    share = radius * width / (2 * np.pi)
    decay = strength * np.exp(-((radius[:, None] - radius) ** 2) * length**2 / 2) * share
    order = np.array([[0, -1], [1, 0]])
    couple = np.array([decay * ive(m, np.outer(radius, radius) * length**2) for m in range(3)])
    hamiltonian = radius[:, None, None] * y + mass * z

    damping = strength * np.broadcast_to(one, hamiltonian.shape)
    for _ in range(_STEPS):
        green = np.linalg.inv(energy * one - hamiltonian + 1j * damping)
        advanced = green.conj().swapaxes(1, 2)
        damping = np.einsum("ijkq,qij->kij", couple[abs(order)], (advanced - green) / 2j)

    bare = np.broadcast_to(y - 1j * x, hamiltonian.shape)
    ladder = np.einsum("ijkq,qil,qmj->kijqlm", couple[order + 1], green, advanced)
    ladder = ladder.reshape(bare.size, bare.size)
    vertex = np.linalg.solve(np.eye(bare.size) - ladder, bare.ravel()).reshape(bare.shape)
    traced = np.einsum("kij,kji->k", (y + 1j * x) @ green, vertex @ advanced) @ share
    return -traced.imag / 2 / (2 * np.pi)
