"""Disorder theory as sums over pairs of states, in NumPy: the formulas without the low rank."""

import numpy as np


class Dense:
    """States of given H, ∂H and weights, and their response; k and state axes first.

    `averaged(X)` is 𝒲_a[Σ_b w_b X_b] of matrices X_b on the states, as (a, n, n).
    """

    def __init__(self, hamiltonians, slopes, spin, band, weight, averaged):
        self.weight, self.averaged = weight, averaged
        energies, basis = np.linalg.eigh(hamiltonians)
        a = np.arange(len(band))
        u = basis[a, :, band]
        gap = energies[a, band][:, None] - energies
        gap[a, band] = np.inf
        self.p = np.einsum("ai,aj->aij", u, u.conj())
        self.r = np.einsum("ain,an,ajn->aij", basis, 1 / gap, basis.conj())
        self.slopes = slopes  # (a, d, n, n)
        self.operators = np.concatenate(
            [-slopes, np.broadcast_to(spin, (len(band), *spin.shape))], 1
        )
        self.density = averaged(self.p)
        self.gamma = np.pi * self.pair(self.p, self.density)
        self.velocity = self.expect(slopes).T

    @staticmethod
    def pair(x, y):
        """Tr X_a Y_a."""
        return np.einsum("aij,aji->a", x, y).real

    def expect(self, operators):
        return np.einsum("aij,aoji->ao", self.p, operators).real

    def solve(self, source):
        """J0 n = source with Σ w n = 0, by least squares on the full matrix."""
        states = len(self.weight)
        columns = []
        for b in range(states):
            n = np.zeros(states)
            n[b] = 1
            columns.append(-2 * np.pi * self.pair(self.p, self.averaged(n[:, None, None] * self.p)))
        matrix = np.array(columns).T + np.diag(2 * self.gamma)
        bordered = np.vstack([matrix, self.weight])
        return np.linalg.lstsq(bordered, np.append(source, 0), rcond=None)[0]

    def mixing(self, operator):
        x = self.r @ operator @ self.p
        return (x - x.conj().swapaxes(1, 2)) / 2j

    def gamma_of(self, operator):
        """γ_a[O]."""
        b = self.mixing(operator)
        back = self.pair(self.p, self.averaged(b))
        return 2 * np.pi * (back - self.pair(b, self.density))

    def skew_source(self, n):
        y = n[:, None, None] * self.density - self.averaged(n[:, None, None] * self.p)
        x = self.r @ y @ self.p
        s = -1j * np.pi * (x - x.conj().swapaxes(1, 2))
        out = 2 * self.pair(self.p @ self.density, s)
        return 2 * np.pi * (out - self.pair(self.p, self.averaged(s)))

    def parts(self):
        """(o, field) of each mechanism."""
        values = self.expect(self.operators).T
        dressed = np.array(
            [self.gamma_of(self.operators[:, o]) for o in range(self.operators.shape[1])]
        )
        d = self.slopes.shape[1]
        drude = [self.solve(-v) for v in self.velocity]
        jump = [self.solve(-dressed[i]) for i in range(d)]
        skew = [self.solve(-self.skew_source(n)) for n in drude]
        measure = lambda weights, n: (weights * self.weight) @ np.array(n).T  # noqa: E731
        return {
            "drude": measure(values, drude),
            "extrinsic": measure(dressed, drude),
            "side_jump": measure(values, jump),
            "skew": measure(values, skew),
        }


def local(matrices, weight):
    """𝒲[X] = Σ_c A_c X A_c."""

    def averaged(x):
        total = np.einsum("a,aij->ij", weight, x)
        same = sum(a @ total @ a for a in matrices)
        return np.broadcast_to(same, x.shape)

    return averaged


def ranged(correlation, weight):
    """W_ab."""
    return lambda x: np.einsum("ab,b,bij->aij", correlation, weight, x)
