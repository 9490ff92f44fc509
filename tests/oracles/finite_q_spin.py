"""The spin kinetic equation at a finite wave vector of the magnetisation, in NumPy.

A second route to the response to a gradient: m(r) = m + δm e^{iq·r} to first order in δm and to all
orders in q, where jaxspin expands in the gradient. The parabolic band with ε0 = D_i k_i² and
G = 1 + (d dᵀ − d²)/2M², every derivative by hand, an own quadrature on the ellipsoid. ħ = e = 1.
"""

import numpy as np

LEVI_CIVITA = np.zeros((3, 3, 3))
for _a, _b, _c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    LEVI_CIVITA[_a, _b, _c], LEVI_CIVITA[_a, _c, _b] = 1, -1


class Ellipsoid:
    """The band, on the nodes of the surface at `energy` above its edge."""

    def __init__(self, kinetic, so, gap, energy, time, polar=16, azimuthal=32):
        z, weight = np.polynomial.legendre.leggauss(polar)
        phi = 2 * np.pi * np.arange(azimuthal) / azimuthal
        across = np.sqrt(1 - z**2)[:, None]
        n = [across * np.cos(phi), across * np.sin(phi), z[:, None] + 0 * phi]
        n = np.stack([x.ravel() for x in n], axis=1)
        self.average_weight = np.repeat(weight, azimuthal) / (2 * azimuthal)
        self.kinetic, self.so, self.gap = map(np.asarray, (kinetic, so, gap))
        self.energy, self.time = energy, time
        self.k = n * np.sqrt(energy / self.kinetic)
        self.v = 2 * self.kinetic * self.k
        self.density = np.sqrt(energy / np.prod(self.kinetic)) / (4 * np.pi**2)

    def mean(self, x):
        return np.tensordot(self.average_weight, x, axes=1)

    def field(self, m):
        """h = 2 G m at each node."""
        d = self.so * self.k
        along = np.einsum("ai,a->ai", d, d @ m) - np.sum(d**2, axis=1)[:, None] * m
        return 2 * m + along / self.gap**2

    def field_slope(self, m):
        """∂h_c/∂k_j, (a, c, j)."""
        d = self.so * self.k
        out = np.zeros((len(d), 3, 3))
        for j in range(3):
            e = np.zeros(3)
            e[j] = self.so[j]
            out[:, :, j] = e * (d @ m)[:, None] + d * (e @ m) - 2 * d[:, [j]] * self.so[j] * m
        return out / self.gap**2

    def propagator(self, m, q=(0, 0, 0)):
        """(1 + i t q·v − t h×)⁻¹."""
        cross = np.einsum("cxb,ax->acb", LEVI_CIVITA, self.field(m))
        moving = 1 + 1j * self.time * self.v @ np.asarray(q, float)
        return np.linalg.inv(moving[:, None, None] * np.eye(3) - self.time * cross)

    def drive(self, m):
        """b of the force along each axis, (a, c, j): acceleration and collisions.

        On the ellipsoid h − 2m ∝ ε and N ∝ √ε, so that ⟨h⟩' = (⟨h⟩ − 2m)/ε and N'/N = 1/2ε;
        ⟨h v⟩ vanishes, for h is even.
        """
        h = self.field(m)
        rate = 1 / (2 * self.energy)
        mean = self.mean(h)
        collisions = h * rate - (rate * mean + (mean - 2 * m) / self.energy)
        return self.field_slope(m) - np.einsum("ac,aj->acj", collisions, self.v)

    def response(self, m, change, q, axis):
        """⟨s⟩/δm for a force along an axis, (3,)."""
        m, change, q = (np.asarray(x, float) for x in (m, change, q))
        still = self.propagator(m)
        drive = self.time * np.einsum("acd,ad->ac", still, self.drive(m)[:, :, axis])
        mean = np.linalg.solve(np.eye(3) - self.mean(still), self.mean(drive))
        uniform = (drive + still @ mean).real
        dh = self.field(change)
        # ∂_{k_i}(t v_j) with t ∝ 1/N ∝ ε^(-1/2)
        slope = -self.time / (2 * self.energy)
        force = slope * self.v * self.v[:, [axis]]
        force[:, axis] += self.time * 2 * self.kinetic[axis]
        source = self.drive(change)[:, :, axis] + np.cross(dh, uniform)
        source = source + 1j * (force @ q)[:, None] * dh
        moving = self.propagator(m, q)
        pushed = self.time * np.einsum("acd,ad->ac", moving, source)
        mean = np.linalg.solve(np.eye(3) - self.mean(moving), self.mean(pushed))
        return -self.density / 2 * mean

    def odd_part(self, m, change, step, field, gradient):
        """(⟨s⟩(q) − ⟨s⟩(−q))/2iq along an axis."""
        q = step * np.eye(3)[gradient]
        both = [self.response(m, change, sign * q, field) for sign in (1, -1)]
        return (both[0] - both[1]) / (2j * step)

    def gradient_tensor(self, m, step):
        """χ[spin, field, gradient, magnetisation]: the slope in q at 0, to order step⁴."""
        chi = np.zeros((3, 3, 3, 3))
        for j, i, b in np.ndindex(3, 3, 3):
            once, twice = (self.odd_part(m, np.eye(3)[b], n * step, j, i) for n in (1, 2))
            chi[:, j, i, b] = ((4 * once - twice) / 3).real
        return chi
