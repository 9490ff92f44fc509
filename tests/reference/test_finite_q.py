"""The torque dipole: the finite-Q solution of the Liouville equation against the closed formulas.

Three statements, for random smooth lattice Hamiltonians and any occupation:
1. at every k the torque dipole is I1 + I2(raw), I2(raw) = −½ tr S_od D_i{R^j, f}, field i, flow j;
2. summed over k, where a total derivative drops, it is I1 + (B − A)/2;
3. with the two directions interchanged on D and R, as (C19) of Phys. Rev. B 108, 195434 prints
   them, neither holds.

`formulas` evaluates the right-hand sides from analytic derivatives of H, without finite
differences; `reference` the left-hand sides without formulas. Other evaluations of the summed I1
and I2 are added to `ROUTES`.
"""

from functools import lru_cache

import numpy as np
import pytest
from random_lattices import Fermi, Lattice, doubled, hopping_model, random_lattice

import jaxspin as js
from jaxspin import reference
from jaxspin.reference.finite_q import dagger

PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


# --- Closed formulas (NumPy, band basis) ---------------------------------------------------------


class Formulas:
    """Band-basis expressions at the given k (K, d); energies e, ħ = e = 1, S in units of ħ/2.

    Cartesian axes lead, then k, then bands. R^a_mn = −i V^a_mn/(ε_m − ε_n) between groups.
    """

    def __init__(self, lattice: Lattice, fermi: Fermi, k: np.ndarray, groups=None):
        self.energy, states = np.linalg.eigh(lattice(k))
        groups = np.arange(self.energy.shape[-1]) if groups is None else np.asarray(groups)
        self.within = groups[:, None] == groups[None, :]
        gap = self.energy[..., :, None] - self.energy[..., None, :]
        self.inverse_gap = np.where(self.within, 0, 1 / np.where(self.within, 1, gap))
        self.f, self.slope = fermi(self.energy), fermi.slope(self.energy)
        self.velocity = dagger(states) @ lattice.gradient(k) @ states
        self.mass = dagger(states) @ lattice.hessian(k) @ states
        self.spin = dagger(states) @ lattice.spin[:, None] @ states
        self.connection = -1j * self.velocity * self.inverse_gap
        self.spin_within = np.where(self.within, self.spin, 0)
        self.spin_between = np.where(self.within, 0, self.spin)

    def conventional(self, spin: np.ndarray) -> np.ndarray:
        """½ tr S {V^j, ρ_E}, ρ_E,mn = R^i_mn (f_m − f_n)/(ε_m − ε_n), [k, flow, field, spin].

        J1 with the part of S within the groups, J2 with the part between them.
        """
        difference = self.f[..., :, None] - self.f[..., None, :]
        density = self.connection * difference * self.inverse_gap
        current = spin[:, None] @ self.velocity + self.velocity @ spin[:, None]
        return np.einsum("sjkmn,iknm->kjis", current, density).real / 2

    def i1(self) -> np.ndarray:
        """I1 = −J2."""
        return -self.conventional(self.spin_between)

    def published(self) -> np.ndarray:
        """A: Σ f_m W_m, W_m = −2 Im (R^flow S_d R^field)_mm, [k, flow, field, spin]."""
        r, s, f = self.connection, self.spin_within, self.f
        return -2 * np.einsum("km,akmn,sknl,bklm->kabs", f, r, s, r, optimize=True).imag

    def corrected(self) -> np.ndarray:
        """B: Σ f_m W_m, W_m = (S_d F_ab)_mm, F_ab = i (R^a R^b − R^b R^a), a flow, b field."""
        r, s, f = self.connection, self.spin_within, self.f
        product = 1j * r[:, None] @ r
        curvature = product - product.swapaxes(0, 1)
        return np.einsum("km,skmn,abknm->kabs", f, s, curvature, optimize=True).real

    def i2(self) -> np.ndarray:
        """(B − A)/2, which is I2(raw) up to a total derivative."""
        return (self.corrected() - self.published()) / 2

    def i2_raw(self) -> np.ndarray:
        """−½ tr S_od D_i{R^j, f}, field i, flow j (non-degenerate bands), [k, flow, field, spin].

        M = {R^j, f} has the elements −i V^j_mn g_mn, g_mn = (f_m + f_n)/(ε_m − ε_n), and
        D_i M = M_;i − i [R^i, M] with V^j_;i = ∂_i∂_jH + i [R^i, V^j].
        """
        r, v, h = self.connection[:, None], self.velocity, self.inverse_gap
        f, speed = self.f, np.einsum("ikmm->ikm", self.velocity).real
        total = f[..., :, None] + f[..., None, :]
        slope = self.slope * speed
        total_slope = slope[..., :, None] + slope[..., None, :]
        gap_slope = speed[..., :, None] - speed[..., None, :]
        g, g_slope = total * h, total_slope * h - total * gap_slope * h**2

        matrix = -1j * v * g
        matrix_slope = -1j * (self.mass + 1j * (r @ v - v @ r)) * g - 1j * v * g_slope[:, None]
        derivative = matrix_slope - 1j * (r @ matrix - matrix @ r)
        return -np.einsum("skmn,ijknm->kjis", self.spin_between, derivative).real / 2


def formulas(lattice: Lattice, mesh: int, fermi: Fermi, groups=None) -> tuple:
    """I1 and I2 = (B − A)/2 summed over k, ∫d^dk/(2π)^d, [flow, field, spin]."""
    pieces = Formulas(lattice, fermi, grid(lattice, mesh), groups)
    return pieces.i1().mean(0), pieces.i2().mean(0)


def package(lattice: Lattice, mesh: int, fermi: Fermi, groups=None) -> tuple:
    """The same I1 and I2 by `jaxspin.spin_hall_pieces`, in natural units."""
    dimension = lattice.cells.shape[1]
    model = hopping_model(lattice)
    levels = js.Levels(fermi.mu, fermi.temperature / js.units.BOLTZMANN)
    pieces = js.spin_hall_pieces(model, js.Grid((mesh,) * dimension, 0.5), levels)
    natural = js.units.per_natural(pieces.I1.units)
    return np.asarray(pieces.I1.value[0]) / natural, np.asarray(pieces.I2.value[0]) / natural


#: Evaluations of the summed I1 and I2: (lattice, points an axis, Fermi, groups) -> (I1, I2).
ROUTES = {"numpy": formulas, "jaxspin": package}


def grid(lattice: Lattice, points: int) -> np.ndarray:
    """Uniform mesh of the cubic Brillouin zone, shape (points^d, d)."""
    axis = 2 * np.pi * (np.arange(points) + 0.5) / points
    return np.stack(np.meshgrid(*[axis] * lattice.cells.shape[1], indexing="ij"), -1).reshape(
        -1, lattice.cells.shape[1]
    )


def relative(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.max(np.abs(value - reference)) / np.max(np.abs(reference)))


# --- 1. Pointwise --------------------------------------------------------------------------------

CASES = [(n, d, t) for n in (2, 3, 4) for d in (2, 3) for t in (0.0, 0.4)]


def pointwise_case(bands: int, dimension: int, temperature: float):
    lattice = random_lattice(bands, dimension, seed=10 * bands + dimension)
    fermi = Fermi(mu=1.1, temperature=temperature)
    k = np.random.default_rng(1).uniform(-np.pi, np.pi, (3, dimension))
    dipole = reference.torque_dipole(lattice, lattice.spin, fermi, k)
    return dipole, Formulas(lattice, fermi, k)


@pytest.mark.parametrize(("bands", "dimension", "temperature"), CASES)
def test_torque_dipole_at_every_k(bands, dimension, temperature):
    dipole, formula = pointwise_case(bands, dimension, temperature)
    assert relative(dipole.driven, formula.i1()) < 1e-6
    assert relative(dipole.equilibrium, formula.i2_raw()) < 1e-6
    assert relative(dipole.total, formula.i1() + formula.i2_raw()) < 1e-6


@pytest.mark.parametrize(("bands", "dimension", "temperature"), [c for c in CASES if c[0] > 2])
def test_printed_index_of_c19_fails(bands, dimension, temperature):
    """Negative control: derivative along the flow, connection along the field.

    With two bands the interchange changes nothing where f_1 + f_2 does not depend on k.
    """
    dipole, formula = pointwise_case(bands, dimension, temperature)
    printed = formula.i2_raw().swapaxes(1, 2)
    assert relative(dipole.equilibrium, printed) > 0.1


def test_density_q_is_c13():
    """∂ρ_Q/∂Q_j at Q = 0 has the elements −(i/2) R^j_mn (f_m + f_n)."""
    lattice, fermi = random_lattice(4, 3, seed=2), Fermi(2.2, 0.5)
    k = np.array([[0.3, -0.8, 1.9]])
    liouville = reference.LiouvilleEquation(lattice, fermi, (0, 1, 2, 3))
    slopes = [reference.differentiate(lambda q, a=a: liouville.motion(k, q * a)) for a in np.eye(3)]
    _, states = np.linalg.eigh(lattice(k))
    pieces = Formulas(lattice, fermi, k)
    expected = -0.5j * pieces.connection * (pieces.f[..., :, None] + pieces.f[..., None, :])
    np.testing.assert_allclose(np.array(slopes), states @ expected @ dagger(states), atol=1e-8)


@pytest.mark.parametrize(
    ("k", "moment"),
    [((0.0, 0.0), -2.1125), ((0.3, -0.2), -0.8901764551), ((1.0, 0.7), -0.1262088794)],
)
@pytest.mark.parametrize("mu", [0.0, 1e3])
def test_orbital_moment_of_a_massive_dirac_cone(k, moment, mu):
    """−½⟨x v_y − y v_x⟩ from ρ_Q: −½ v²Δ/ε² per band (Sundaram-Niu), v = 1.3, Δ = 0.4.

    The two bands have equal moments.
    """
    velocity = 1.3 * PAULI[:2]

    def hamiltonian(k):
        return np.einsum("...i,iab->...ab", k, velocity) + 0.4 * PAULI[2]

    liouville = reference.LiouvilleEquation(hamiltonian, Fermi(mu, 0.0), (0, 1))
    point = np.asarray(k)
    x, y = (
        reference.differentiate(lambda q, a=a: 1j * liouville.motion(point, q * a))
        for a in np.eye(2)
    )
    value = -0.5 * np.trace(x @ velocity[1] - y @ velocity[0]).real
    assert value == pytest.approx(moment * (1 if mu == 0 else 2), abs=2e-8)


# --- 2. Summed over k ----------------------------------------------------------------------------

NARROW = random_lattice(3, 2, seed=8, hopping=0.1)  # bands [-0.9, 0.8], [1.4, 4.1], [3.9, 5.6]
SUMMED = {
    "insulator": (NARROW, Fermi(1.1, 0.0), (0, 1, 2)),
    "metal": (NARROW, Fermi(1.6, 0.6), (0, 1, 2)),
    "degenerate insulator": (doubled(NARROW, seed=5), Fermi(1.1, 0.0), (0, 0, 1, 1, 2, 2)),
    "degenerate metal": (doubled(NARROW, seed=5), Fermi(1.6, 0.6), (0, 0, 1, 1, 2, 2)),
}
MESH = 28  # the total derivative sums to zero within 1e-7 of the result


@lru_cache
def summed_dipole(name: str) -> np.ndarray:
    lattice, fermi, groups = SUMMED[name]
    k = grid(lattice, MESH)
    return reference.torque_dipole(lattice, lattice.spin, fermi, k, groups=groups).total.mean(0)


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES.keys())
@pytest.mark.parametrize("name", SUMMED)
def test_torque_dipole_summed_over_k(name, route):
    lattice, fermi, groups = SUMMED[name]
    i1, i2 = route(lattice, MESH, fermi, groups)
    assert relative(summed_dipole(name), i1 + i2) < 1e-6


@pytest.mark.parametrize("name", SUMMED)
def test_published_sign_fails_when_summed_over_k(name):
    """Negative control: (C24) as printed is (A − B)/2."""
    lattice, fermi, groups = SUMMED[name]
    i1, i2 = formulas(lattice, MESH, fermi, groups)
    assert relative(summed_dipole(name), i1 - i2) > 0.05


# --- Signs of A and B ----------------------------------------------------------------------------


def test_conventional_and_torque_dipole_add_up_to_b():
    """J1 + J2 + I1 + I2 = B, and J1 = (A + B)/2 at every k."""
    lattice, fermi, groups = SUMMED["metal"]
    pieces = Formulas(lattice, fermi, grid(lattice, 8), groups)
    a, b = pieces.published(), pieces.corrected()
    j1 = pieces.conventional(pieces.spin_within)
    j2 = pieces.conventional(pieces.spin_between)
    np.testing.assert_allclose(j1, (a + b) / 2, atol=1e-13)
    np.testing.assert_allclose(j1 + j2 + pieces.i1() + pieces.i2(), b, atol=1e-13)
