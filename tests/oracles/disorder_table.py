"""The systems of disorder_operators.json: H(k), operators, Fermi surfaces and disorder, in NumPy.

The numbers were computed for this package by two independent routes: the formulas of
docs/disorder.md for matrix distributions, and the Kubo-Streda formula in the self-consistent Born
approximation with the ladder of impurity lines, summed over all k without any Fermi surface and
extrapolated to weak disorder. They agree to the digits kept, 12, in all rows but those of
`gamma4_scalar` and `gamma4_spinflip`, where the second route leaves 10⁻⁸.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

TABLE = json.loads(
    (Path(__file__).parent.parent / "disorder" / "disorder_operators.json").read_text()
)
ONE, X, Y, Z = PAULI = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]
)
KRON = np.kron
_ROOT = np.sqrt(0.5)
SPIN_ONE = np.array(
    [
        _ROOT * np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]),
        _ROOT * np.array([[0, -1j, 0], [1j, 0, -1j], [0, 1j, 0]]),
        np.diag([1, 0, -1]),
    ]
)
TAU_SPIN = np.array([KRON(ONE, s) for s in PAULI[1:]])


@dataclass
class System:
    """H = Σ f_i(k_x, k_y) M_i, f real and analytic; disorder 𝒲[X] = W(q) Σ_c A_c X A_c."""

    matrices: Any
    coefficients: Any
    mu: float
    disorder: Any
    spin: Any
    #: Lowest band of each group at the Fermi energy, and the size of the groups.
    bands: tuple[int, ...]
    group: int = 1
    nodes: int = 160
    #: |k| beyond all contours.
    reach: float = 2.6
    correlator: Any = None
    more: dict = field(default_factory=dict)

    def hamiltonian(self, k):
        """H, (a, n, n), at k (2, a)."""
        return np.einsum("ma,mij->aij", self._evaluate(*k).real, np.asarray(self.matrices))

    def slopes(self, k):
        """∂H, (2, a, n, n)."""
        step = 1e-30  # f(k + i step) = f + i step f', to rounding
        moved = [self._evaluate(k[0] + 1j * step, k[1]), self._evaluate(k[0], k[1] + 1j * step)]
        slopes = np.array([f.imag / step for f in moved])
        return np.einsum("dma,mij->daij", slopes, np.asarray(self.matrices))

    def operators(self, k):
        """Those of the labels: −v, ½{s_c, v_a}, s, i[H, s], L; (o, a, n, n)."""
        h, v, s = self.hamiltonian(k), self.slopes(k), np.asarray(self.spin)
        currents = [(c @ x + x @ c) / 2 for x in v for c in s]
        spins = [np.broadcast_to(c, h.shape) for c in s]
        torques = [1j * (h @ c - c @ h) for c in s]
        given = TABLE["_L_matrices"][str(h.shape[-1])]
        terms = np.array(given["re"]) + 1j * np.array(given["im"])
        other = terms[0] + np.einsum("fa,fij->aij", [np.sin(k[0]), np.cos(k[1])], terms[1:])
        return np.array([*-v, *currents, *spins, *torques, other])

    def surface(self):
        """k (2, a), the lowest band of the group and the weight of the group at each node."""
        theta = 2 * np.pi * np.arange(self.nodes) / self.nodes
        along = np.array([np.cos(theta), np.sin(theta)])
        every = [self._contour(band, along) for band in self.bands]
        k = np.concatenate([k for k, _ in every], axis=1)
        return k, np.repeat(self.bands, self.nodes), np.concatenate([w for _, w in every])

    def radii(self, theta):
        """|k| of the contour of each group, (groups, angles)."""
        sized = replace(self, nodes=len(theta))
        along = np.array([np.cos(theta), np.sin(theta)])
        return np.array([np.linalg.norm(sized._contour(b, along)[0], axis=0) for b in self.bands])

    def _contour(self, band, along):
        low, high = np.full(self.nodes, 1e-6), np.full(self.nodes, self.reach)
        energy = lambda r: np.linalg.eigvalsh(self.hamiltonian(r * along))[:, band] - self.mu  # noqa: E731
        rising = energy(high) > 0
        assert np.all(rising != (energy(low) > 0)), "no single crossing on some ray"
        for _ in range(60):
            middle = (low + high) / 2
            outside = (energy(middle) > 0) == rising
            low, high = np.where(outside, low, middle), np.where(outside, middle, high)
        k = (low + high) / 2 * along
        _, basis = np.linalg.eigh(self.hamiltonian(k))
        states = basis[:, :, band : band + self.group]
        slope = (
            np.einsum("aim,daij,ajm,da->a", states.conj(), self.slopes(k), states, along).real
            / self.group
        )
        return k, 2 * np.pi / self.nodes * (low + high) / 2 / np.abs(slope) / (2 * np.pi) ** 2

    def _evaluate(self, x, y):
        zero = 0 * x * y
        return np.array([f + zero for f in self.coefficients(x, y)], dtype=complex)


def _gamma4(x, y, m=-1.2, t0=-0.2, a=1.0, b=0.8, d=0.3, f=0.15):
    c = np.cos(x) + np.cos(y)
    sines = [a * np.sin(x), b * np.sin(y), d * np.sin(x + y)]
    return [t0 * c, m + c, *sines, f * np.sin(y - 2 * x)]


_GAMMA4 = [KRON(a, b) for a, b in ((ONE, ONE), (Z, ONE), (X, X), (X, Y), (X, Z), (Y, ONE))]
_FOUR = np.eye(4)
_FLIPS = [_FOUR, *(0.4 * TAU_SPIN)]
_ANISOTROPIC = [
    _FOUR + 0.3 * KRON(Z, ONE),
    0.5 * KRON(ONE, X),
    0.3 * KRON(Z, Z) + 0.2 * KRON(Y, X),
    0.3 * KRON(X, Y),
]


def _bonds(q):
    """W(q) of impurities with weaker ones on the bonds."""
    return 1 + 0.4 * np.cos(q[0]) + 0.3 * np.cos(q[1])


def _kramers(disorder, **more):
    return System(_GAMMA4, _gamma4, 0.8, disorder, TAU_SPIN, (2,), 2, **more)


def _bhz(disorder):
    def coefficients(x, y, t0=-0.2, m=-1.2):
        c = np.cos(x) + np.cos(y)
        return [t0 * c, m + c, np.sin(x), np.sin(y)]

    matrices = [KRON(a, b) for a, b in ((ONE, ONE), (Z, ONE), (X, Z), (Y, ONE))]
    return System(matrices, coefficients, 0.8, disorder, TAU_SPIN, (2,), 2)


def _qwz(x, y, t0=-0.2, m=-1.2):
    c = np.cos(x) + np.cos(y)
    return [t0 * c, np.sin(x), np.sin(y), m + c]


def _threefold(disorder):
    spin = [KRON(s, np.diag([1, 0.5, -0.7])) for s in PAULI[1:]]
    matrices = [KRON(s, np.eye(3)) for s in PAULI]
    return System(matrices, _qwz, 0.8, disorder, spin, (3,), 3, nodes=128)


def _unitary_disorder():
    """A set of matrices that any U(3) turns into itself."""
    basis = [np.diag(row) for row in np.eye(3)]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        one = np.zeros((3, 3), complex)
        one[i, j] = 1
        basis += [(one + one.T) * _ROOT, 1j * (one.T - one) * _ROOT]
    return [KRON(factor, x) for factor in (ONE, 0.5 * X) for x in basis]


def _rashba(m):
    return lambda x, y: [(x**2 + y**2) / 2, m[0] - 0.3 * y, m[1] + 0.3 * x, m[2]]


SYSTEMS = {
    "rashba_scalar": System(
        PAULI, _rashba((0, 0, 0.12)), 0.5, [ONE], PAULI[1:], (0, 1), nodes=128
    ),
    "rashba_tilt_magnetic": System(
        PAULI, _rashba((0.06, 0.03, 0.12)), 0.5, [ONE, 0.5 * X, 0.7 * Z], PAULI[1:], (0, 1),
        nodes=192,
    ),
    "cubic_rashba": System(
        PAULI,
        lambda x, y: [
            (x**2 + y**2) / 2,
            0.05 * (3 * x**2 * y - y**3),
            -0.05 * (x**3 - 3 * x * y**2),
            0.1,
        ],
        0.5, [ONE, 0.3 * X], PAULI[1:], (0, 1), nodes=128,
    ),
    "warp_dirac_magnetic": System(
        PAULI,
        lambda x, y: [0, -y, x, 0.3 + 0.2 * (x**3 - 3 * x * y**2)],
        1.0, [ONE, 0.4 * X, 0.3 * Y + 0.2 * Z], PAULI[1:], (1,), nodes=96,
    ),
    "qwz_scalar": System(PAULI, _qwz, 0.8, [ONE], PAULI[1:], (1,)),
    "qwz_range": System(
        PAULI, _qwz, 0.8, [ONE, 0.3 * Z], PAULI[1:], (1,), correlator=_bonds
    ),
    "spin1_magnetic": System(
        [np.eye(3), *SPIN_ONE, SPIN_ONE[2] @ SPIN_ONE[2]],
        lambda x, y: [(x**2 + y**2) / 2, -0.4 * y, 0.4 * x, 0.15 + 0.05 * x, 0.2],
        0.6, [np.eye(3), 0.5 * SPIN_ONE[0], 0.3 * SPIN_ONE[2]], SPIN_ONE, (0, 1, 2), nodes=96,
    ),
    "gamma4_scalar": _kramers([_FOUR]),
    "gamma4_spinflip": _kramers(_FLIPS),
    "gamma4_aniso": _kramers(_ANISOTROPIC),
    "gamma4_range": _kramers([_FOUR, 0.4 * TAU_SPIN[2]], correlator=_bonds),
    # Two single bands: the pair is split by 0.4 eV along x.
    "gamma4_exchange_x": System(
        [*_GAMMA4, TAU_SPIN[0]], lambda x, y: [*_gamma4(x, y), 0.2], 0.8, _FLIPS, TAU_SPIN, (2, 3),
        nodes=320,
    ),
    "bhz_scalar": _bhz([_FOUR]),
    "bhz_magnetic": _bhz(_FLIPS),
    "accidental3_U3": _threefold(_unitary_disorder()),
    "accidental3_matrixgamma": _threefold(
        [np.eye(6), *(0.4 * KRON(Z, np.diag(row)) for row in np.eye(3))]
    ),
}  # fmt: skip
