"""The spin Hall conductivity of holes at T = 0 in plain NumPy, exact up to the Fermi contours.

On each ray the radii where a band passes the Fermi energy are found first; between them
Gauss-Legendre runs, in halves where halves change the result. H(k) is Σ_j c_j(k) M_j with the
functions c_j of a hole well.
"""

from itertools import pairwise

import numpy as np

#: Two ways to cut the plane into nodes: rays on an eighth of the circle, nodes of the radial rule.
MESHES = ((8, 10), (11, 14))


def sigma_yx(model, mu, rays=8, nodes=10, *, reach, tolerance=1e-9, conventional=False):
    """σ^z_yx in e/8π: -(2/π) ∫ d²k Σ_m f_m Σ_m, Σ_m = Σ_n s_nn B_mn, s = J_z.

    B_mn = -2 Im ⟨m|∂_x H|n⟩⟨n|∂_y H|m⟩/(E_m - E_n)². The eight sectors between the axes and the
    diagonals have the same Σ; the conventional current is summed over the whole circle instead.

    Args:
        model: of holes; anything with `matrices` and `spin()`.
        reach: a radius outside of which all bands are empty, 1/Å.
        tolerance: of the integral along a ray, times the angle.
    """
    matrices = np.asarray(model.matrices)
    angles = 2 * np.pi * (np.arange(rays * (8 if conventional else 1)) + 0.5) / (8 * rays)
    rule = np.polynomial.legendre.leggauss(nodes)
    total = 0.0
    for direction in np.stack([np.cos(angles), np.sin(angles)], axis=1):

        def integrand(radius, direction=direction):
            energies, density = per_band(model, radius[:, None] * direction, conventional)
            return radius * np.sum(np.where(energies < mu, density, 0), axis=1)

        for low, high in pairwise(crossings(matrices, direction, mu, reach)):
            whole = _gauss(integrand, low, high, rule)
            total += _halved(integrand, low, high, whole, tolerance, rule)
    return -4 * total / len(angles)


def crossings(matrices, direction, mu, reach, samples=120):
    """0 and the radii where a band is at mu, ascending."""

    def at(radius):
        k = np.outer(np.atleast_1d(radius), direction)
        return np.linalg.eigvalsh(_sum(_functions(k), matrices)) - mu

    radius = np.linspace(0, reach, samples)
    energy = at(radius)
    changes = np.argwhere((energy[:-1] < 0) != (energy[1:] < 0))
    bands = [_root(at, band, radius[i], radius[i + 1]) for i, band in changes]
    return np.sort([0.0, *bands])


def _root(at, band, low, high):
    """The regula falsi of Illinois."""
    below, above = at(low)[0, band], at(high)[0, band]
    for _ in range(60):
        middle = (low * above - high * below) / (above - below)
        value = at(middle)[0, band]
        if abs(value) < 1e-15 or high - low < 1e-15:
            break
        if (value < 0) == (above < 0):
            high, above, below = middle, value, below / 2
        else:
            low, below, above = middle, value, above / 2
    return middle


def _halved(integrand, low, high, whole, tolerance, rule):
    middle = (low + high) / 2
    parts = [(a, b, _gauss(integrand, a, b, rule)) for a, b in ((low, middle), (middle, high))]
    total = sum(part for _, _, part in parts)
    if abs(total - whole) < tolerance or high - low < 1e-9:
        return total
    return sum(_halved(integrand, *part, tolerance / 1.4, rule) for part in parts)


def _gauss(integrand, low, high, rule):
    x, w = rule
    half = (high - low) / 2
    return half * np.sum(w * integrand((low + high) / 2 + half * x))


def _functions(k):
    """1, k², k_x, k_y, k_x² - k_y², 2 k_x k_y, (K, 6)."""
    kx, ky = k.T
    return np.stack([0 * kx + 1, kx**2 + ky**2, kx, ky, kx**2 - ky**2, 2 * kx * ky], axis=1)


def _slopes(k):
    """Their derivatives by k_x and k_y, (2, K, 6)."""
    (kx, ky), zero, one = k.T, np.zeros(len(k)), np.ones(len(k))
    along_x = [zero, 2 * kx, one, zero, 2 * kx, 2 * ky]
    along_y = [zero, 2 * ky, zero, one, -2 * ky, 2 * kx]
    return np.moveaxis([along_x, along_y], 1, 2)


def _sum(functions, matrices):
    return np.tensordot(functions, matrices, axes=1)


def per_band(model, k, conventional=False):
    """Energies and Σ_m of all bands at many k, (K, n)."""
    matrices, spin = np.asarray(model.matrices), np.asarray(model.spin()[2]) / 2
    energies, basis = np.linalg.eigh(_sum(_functions(k), matrices))
    dagger = basis.conj().swapaxes(1, 2)
    vx, vy, s = (dagger @ o @ basis for o in (*_sum(_slopes(k), matrices), spin))
    gap = energies[:, :, None] - energies[:, None, :]
    inverse = np.divide(1, gap, out=np.zeros_like(gap), where=gap != 0)
    return energies, (_conventional if conventional else _proper)(vx, vy, s, inverse)


def _proper(vx, vy, s, inverse):
    curvature = -2 * np.imag(vx * vy.swapaxes(1, 2)) * inverse**2
    return np.einsum("kmn,knn->km", curvature, s).real


def _conventional(vx, vy, s, inverse):
    """-Σ_m of the current ½{s, v_y}, for flow and field are x and y in B."""
    current = (s @ vy + vy @ s) / 2
    return 2 * np.sum(np.imag(current * vx.swapaxes(1, 2)) * inverse**2, axis=2)
