"""Spin-transfer torque: reference numbers, closed forms, other routes, invariances, controls."""

import contextlib
import itertools
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_q_spin import LEVI_CIVITA, Ellipsoid
from matplotlib import pyplot
from matplotlib.quiver import Quiver
from one_level import at_first_level

import jaxspin as js
from jaxspin import plot, spin_transfer as stt
from jaxspin.engine.small_matrices import PAULI, structure_constants, traceless_matrices
from jaxspin.models import TopologicalInsulator
from jaxspin.spin_transfer.slow_modes import slow_projector
from jaxspin.spin_transfer.texture import find_gradient
from jaxspin.spin_transfer.transfer import directions_across
from jaxspin.units import BOLTZMANN, HBAR_EV_PS

# The paper and its reference numbers are at 5 meV, where the parabola is 40 % off.
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the window")

X, Y, Z = range(3)
BI2SE3 = TopologicalInsulator.bi2se3()
BAND = stt.ParabolicBand(BI2SE3)
EDGE = float(BAND.edge)
MU, TAU, SIZE = EDGE + 0.005, 0.1, 0.00125
FINE, SMALL = js.FermiShell(16, 32), js.FermiShell(6, 8)
IRON = stt.Ferromagnet(kinetic=5.7)
DROP = stt.DropSlowModes()


def torque(model=BAND, mu=MU, m=(0, 0, SIZE), tau=TAU, surface=FINE, temperature=0.0, **more):
    """A response; at a single mu without its axis."""
    levels = js.Levels(mu, temperature)
    found = js.spin_transfer_torque(model, surface, levels, m, tau, **more)
    return found if np.ndim(mu) else at_first_level(found)


def chi(transfer, field, gradient, magnetization):
    """⟨s⟩ for one component of the force, of the gradient and of the magnetisation."""
    return np.asarray(transfer.gradient.value)[:, field, gradient, magnetization]


def iron(m=(0, 0, 0.004), mu=0.05, tau=TAU, **more):
    return torque(IRON, mu, m, tau, SMALL, **{"slow_modes": DROP, **more})


def precession(m, tau):
    """x = Ωτ."""
    return 2 * np.linalg.norm(m) * tau / HBAR_EV_PS


# --- reference numbers ----------------------------------------------------------------------------

#: m along; field, gradient, magnetisation; ⟨s⟩ without the zeros that symmetry has, digits printed.
PARABOLIC = (
    (Z, (X, X, X), {X: -1.131443780, Y: -53.92714677}, "bare"),
    (Z, (X, X, X), {X: -1.024412675, Y: -52.48847172}, "dressed"),
    (Z, (X, Z, Z), {X: -0.4836297520, Y: 0.8041265132}, "bare"),
    (Z, (X, Z, Z), {X: -0.4074869, Y: 0.7836346}, "dressed"),
    (X, (X, X, Y), {Y: 0.7797517557, Z: -55.73504046}, "bare"),
    (X, (X, X, Z), {Y: 55.61701238, Z: 1.085541943}, "bare"),
    (X, (X, Z, X), {Y: -0.8103345125, Z: -0.4401677311}, "bare"),
    (Z, (Z, Z, X), {X: -0.1986461648, Y: -76.70656462}, "bare"),
)


@pytest.mark.parametrize(("along", "component", "expected", "part"), PARABOLIC)
def test_parabolic_band(along, component, expected, part):
    found = chi(getattr(torque(m=SIZE * np.eye(3)[along]), part), *component)
    digits = 3e-7 if component == (X, Z, Z) and part == "dressed" else 1e-9
    for spin in (X, Y, Z):
        assert found[spin] == pytest.approx(expected.get(spin, 0), rel=digits, abs=1e-9)


def test_all_orders_in_the_spin_orbit_coupling():
    band = stt.ConductionBand(BI2SE3)
    found = torque(band, EDGE + 0.05, (0, 0, 0.005), surface=js.FermiShell(32, 64))
    np.testing.assert_allclose(
        chi(found.bare, X, X, X)[:2], [-26.21906549, -153.2337851], rtol=1e-9
    )
    assert found.info["slow_mode_share"] < 1e-9


def density(kinetic, energy):
    """N of an isotropic parabola."""
    return np.sqrt(energy) / (4 * np.pi**2 * kinetic**1.5)


def test_ferromagnet_reference():
    found = chi(iron().bare, X, X, X)
    np.testing.assert_allclose(found, [0, -60.07182414, 0], rtol=1e-9, atol=1e-9)
    relaxed = iron(spin_relaxation_time=HBAR_EV_PS / 1e-4, slow_modes=stt.KeepSlowModes())
    np.testing.assert_allclose(
        chi(relaxed.bare, X, X, X), [-0.7507804923, -60.06243938, 0], rtol=1e-9, atol=1e-9
    )
    assert density(5.7, 0.05) == pytest.approx(4.162104518e-4, rel=1e-9)


@pytest.mark.parametrize("tau", [0.01, 0.1, 2.0])
def test_ferromagnet(tau, rng):
    """χ = −(N c/4m²) m × (E·∇)m, c = 2τ(2/3)2D, for any direction of m and any Ωτ."""
    m = rng.normal(size=3) * 0.002
    c = 2 * tau / HBAR_EV_PS * (2 / 3) * 2 * 5.7
    cross = np.cross(m, np.eye(3), axisb=0, axisc=0)
    expected = np.einsum("ab,ji->ajib", cross, np.eye(3))
    expected *= -density(5.7, 0.05) * c / (4 * m @ m)
    found = np.asarray(iron(m, tau=tau).bare.gradient.value)
    transverse = np.eye(3) - np.outer(m, m) / (m @ m)  # along m nothing relaxes the spin
    np.testing.assert_allclose(found @ transverse, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("relaxation", [1e-5, 1e-3])
def test_beta_of_zhang_and_li(relaxation):
    """β = 1/(Ωτ_s)."""
    found = iron(spin_relaxation_time=HBAR_EV_PS / relaxation).bare.projection()
    assert found.beta.value[X, X] == pytest.approx(relaxation / 0.008, rel=1e-10)


def insulator(scale):
    """Bi2Se3 with its spin-orbit coupling scaled, but the masses of the full one."""
    less = (scale**2 - 1) / (2 * BI2SE3.M0)
    return stt.ParabolicBand(
        TopologicalInsulator.bi2se3(
            A0=scale * BI2SE3.A0,
            B0=scale * BI2SE3.B0,
            C2=BI2SE3.C2 + less * BI2SE3.A0**2,
            C1=BI2SE3.C1 + less * BI2SE3.B0**2,
        )
    )


def leading(band, m, tau, energy):
    """p, and the factors of ⟨s_y⟩ and ⟨s_x⟩ in its units, to leading order in the coupling."""
    x = precession(m, tau)
    ti, t = band.model, tau / HBAR_EV_PS
    n = np.sqrt(energy / np.prod(np.asarray(band.kinetic))) / (4 * np.pi**2)
    p = n / (4 * np.linalg.norm(m)) * ti.A0 * ti.B0 * energy * t / ti.M0**2
    first = (2 / 15) * (1 + 4 * (1 - x**2) / (1 + x**2) ** 2)
    return p, first, (2 / 15) * x - (16 / 15) * x / (1 + x**2) ** 2


@pytest.mark.parametrize("x", [0.1, 1.2, 12.0])
def test_leading_order_in_the_spin_orbit_coupling(x):
    """The same size for m in the plane and along z, of opposite sign: the paper's claim."""
    tau, scales = x * HBAR_EV_PS / (2 * SIZE), (0.05, 0.025)
    errors = []
    for scale in scales:
        band = insulator(scale)
        p, first, second = (float(f) for f in leading(band, [SIZE], tau, 0.005))
        up, along = (torque(band, m=SIZE * np.eye(3)[i], tau=tau).bare for i in (Z, X))
        found = np.r_[chi(up, X, Z, Z)[[X, Y]], chi(along, X, Z, X)[[Z, Y]]] / p
        errors.append(np.abs(found / [second, first, second, -first] - 1))
    assert np.all(errors[1] < 1e-3)
    np.testing.assert_allclose(errors[0] / errors[1], 4, rtol=0.1)


def test_dressing_doubles_a_component():
    """At Ωτ ≫ 1 the dressed s_x of d_z m_z is (4/15) x p, twice the bare one."""
    tau = 40 * HBAR_EV_PS / (2 * SIZE)
    found = torque(insulator(0.05), tau=tau)
    ratio = chi(found.dressed, X, Z, Z)[X] / chi(found.bare, X, Z, Z)[X]
    assert ratio == pytest.approx(2, rel=1e-2)


# --- other routes ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:slow modes")
def test_finite_wave_vector():
    """Solved at a finite wave vector, without expanding in the gradient; slow mode included."""
    other = ellipsoid(BI2SE3)
    m = SIZE * np.array([0.48, 0.6, 0.64])
    found = np.asarray(torque(m=m).bare.gradient.value)
    error = np.abs(other.gradient_tensor(m, 1e-6) - found).max(axis=(1, 2, 3))
    assert np.all(error < 1e-7 * np.abs(found).max(axis=(1, 2, 3)))


class Helical(js.Model):
    """D k² + Σ_ij α_ij k_i σ_j."""

    alpha: jax.Array
    kinetic: float = 5.7

    @property
    def dimension(self):
        return 3

    def __call__(self, k):
        return self.kinetic * (k @ k) * PAULI[0] + jnp.tensordot(k @ self.alpha, PAULI[1:], 1)

    def spin(self):
        return jnp.asarray(PAULI[1:])


class Doubled(js.Model):
    """A model twice: 1 ⊗ H."""

    single: Helical

    @property
    def dimension(self):
        return 3

    def __call__(self, k):
        return jnp.kron(jnp.eye(2), self.single(k))

    def spin(self):
        return jnp.stack([jnp.kron(jnp.eye(2), s) for s in self.single.spin()])


ROUND = js.FermiShell(12, 12)


def helical(alpha, m, tau, model=Helical, **more):
    return torque(stt.SplitBands(model(jnp.asarray(alpha))), 0.05, m, tau, ROUND, **more)


@pytest.mark.parametrize("x", [0.24, 1.2, 12.0])
def test_spin_spiral(x):
    """A spiral is homogeneous in the frame that turns with it, H = D(k − qσ_z/2)² + m σ_x."""
    m, q = np.array([0.004, 0, 0]), 1e-6
    tau = x * HBAR_EV_PS / 0.008
    turned = np.zeros((3, 3))
    turned[X, Z] = -5.7 * q
    up, down = (
        helical(sign * turned, m, tau, slow_modes=DROP).bare.homogeneous.value for sign in (1, -1)
    )
    found = (up - down)[:, X] / (2 * q) / 2  # Pauli-normalised
    expected = 0.004 * chi(iron(m, tau=tau).bare, X, X, Y)
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("tau", [0.01, 10.0])
def test_edelstein_effect(tau):
    """⟨s⟩ = N α eE τ for α k·σ, at any Ωτ."""
    alpha = 1e-3
    found = helical(alpha * np.eye(3), np.zeros(3), tau).bare.homogeneous.value / 2
    expected = density(5.7, 0.05) * alpha * tau / HBAR_EV_PS * np.eye(3)
    np.testing.assert_allclose(found, expected, atol=1e-8 * expected.max())


def test_several_bands_through_the_same_equation(rng):
    """Two copies of a band, four bands: twice the spin, and the slow modes of the copies."""
    alpha, m = 1e-2 * rng.normal(size=(3, 3)), 0.003 * rng.normal(size=3)
    single = helical(alpha, m, TAU, spin_relaxation_time=5.0)
    bands = stt.SplitBands(Doubled(Helical(jnp.asarray(alpha))))
    double = torque(bands, 0.05, m, TAU, ROUND, spin_relaxation_time=5.0)
    for name in ("gradient", "homogeneous"):
        one, two = (np.asarray(getattr(r.bare, name).value) for r in (single, double))
        np.testing.assert_allclose(two, 2 * one, atol=1e-9 * np.abs(one).max())
    assert double.kernel.shape == (15, 15)
    with pytest.raises(ValueError, match="every mu higher above the band edge"):
        torque(bands, 0.05, 20 * m / np.linalg.norm(m), TAU, ROUND, spin_relaxation_time=5.0)


def test_traceless_matrices():
    np.testing.assert_array_equal(traceless_matrices(2), PAULI[1:])
    basis, constants = traceless_matrices(4), structure_constants(4)
    np.testing.assert_allclose(np.einsum("aij,bji->ab", basis, basis), 2 * np.eye(15), atol=1e-14)
    products = np.einsum("aij,bjk->abik", basis, basis)
    expected = 2j * np.einsum("abc,cij->abij", constants, basis)
    np.testing.assert_allclose(products - products.swapaxes(0, 1), expected, atol=1e-14)


@pytest.fixture(scope="module")
def warm():
    """Two levels at 2 K."""
    return torque(mu=[MU, MU - 0.001], temperature=2.0)


@pytest.mark.study
@pytest.mark.filterwarnings("ignore:the splitting is")
def test_temperature_averages_over_energies(warm):
    """χ(T) = ∫ −f' χ(ε) dε with τ ∝ 1/N, summed with another step."""
    found = np.asarray(warm.bare.gradient.value)[0]
    x = np.arange(-20, 22, 0.8) + 0.3
    share = 0.8 / (4 * np.cosh(x / 2) ** 2)
    energies = 0.005 + BOLTZMANN * 2.0 * x
    cold = [torque(mu=EDGE + e, tau=TAU * np.sqrt(0.005 / e)).bare.gradient.value for e in energies]
    expected = np.tensordot(share, np.asarray(cold), axes=1)
    change = np.abs(expected - torque().bare.gradient.value)[:2].max()
    assert np.abs(found - expected)[:2].max() < 1e-3 * change
    assert change > 1e-5 * np.abs(expected[:2]).max()


@pytest.mark.study
def test_error_is_at_least_the_true_one(warm):
    """Few nodes against many; the spin along m, 10⁵ times as large, has an error of its own."""
    few, many = (torque(surface=s) for s in (js.FermiShell(8, 12), FINE))
    for part in ("bare", "dressed"):
        found, exact = (getattr(r, part) for r in (few, many))
        difference = np.abs(found.gradient.value - exact.gradient.value)
        error = np.asarray(found.gradient.error)
        assert difference[Z].max() <= error[Z].max() < 10 * difference[Z].max()
        assert difference[:Z].max() <= error[X].max() < 0.01 * error[Z].max()
        turning = np.abs(found.torque().value - exact.torque().value)
        assert np.all(turning <= found.torque().error)
        assert np.isfinite(found.projection().beta.error[X, X])
    for response in (warm.bare.gradient, warm.dressed.torque(), warm.bare.spin_orbit_torque()):
        assert np.all(np.isfinite(response.error))


@pytest.mark.filterwarnings("ignore:slow modes")
def test_error_of_torque_does_not_depend_on_the_spin_along_m():
    """m in a general direction: no component of the spin is across m alone."""
    m = np.array([0.0006, 0.0003, 0.001])
    few, many = (torque(m=m, surface=s) for s in (js.FermiShell(8, 12), FINE))
    for which in ("torque", "spin_orbit_torque"):
        found, exact = (getattr(r.dressed, which)() for r in (few, many))
        true = np.abs(found.value - exact.value)
        assert np.all(true <= found.error)
        assert np.max(found.error) < 20 * np.max(true)


@pytest.mark.parametrize(
    ("m", "vanish"),
    [((0, 0, SIZE), [(X, Z), (Y, Z), (Z, X), (Z, Y)]), ((0, SIZE, 0), [(X, Y), (Z, Y)])],
    ids=["z", "y"],
)
def test_beta_is_nan_where_both_parts_vanish(m, vanish):
    """The mirror x -> −x, and that of warping y, forbid them; the others have a ratio."""
    part = torque(m=m, surface=js.FermiShell(6, 12)).dressed.projection()
    found = np.isnan(part.beta.value)
    for pair in vanish:
        assert found[pair]
        assert np.isnan(part.beta.error[pair])
        for x in (part.adiabatic, part.nonadiabatic):
            assert abs(x.value[pair]) < 1e-12 * np.max(np.abs(part.adiabatic.value))
    for i in range(3):
        assert part.beta.value[i, i] == part.nonadiabatic.value[i, i] / part.adiabatic.value[i, i]


def test_several_levels(warm):
    assert warm.bare.gradient.axes == ("mu", "spin", "field", "gradient", "magnetization")
    assert warm.eigenvalues().shape == (2, 3)
    single = torque().bare.gradient
    labels = {"spin": "y", "field": "x", "gradient": "x", "magnetization": "x"}
    converted = single.component(**labels).to("hbar/2 eV^-2 Angstrom^-1")
    assert converted.value == pytest.approx(2 * -53.92714677, rel=1e-9)
    np.testing.assert_allclose(warm.eigenvalues()[0], torque().eigenvalues(), rtol=1e-10)
    assert "slowest_relaxation" in repr(warm)


@pytest.mark.study
def test_temperatures_are_an_axis(warm):
    """T = 0 and 2 K in one call are the two calls, bit by bit."""
    mu = [MU, MU - 0.001]
    both, cold = torque(mu=mu, temperature=[0.0, 2.0]), torque(mu=mu)
    chi = both.dressed.gradient
    assert chi.axes == ("temperature", "mu", "spin", "field", "gradient", "magnetization")
    assert both.kernel.shape == (2, 2, 3, 3)
    assert both.dressed.projection().beta.axes == ("temperature", "mu", "field", "gradient")
    for i, alone in enumerate((cold.dressed, warm.dressed)):
        np.testing.assert_array_equal(chi.value[i], alone.gradient.value)
        np.testing.assert_array_equal(chi.error[i], alone.gradient.error)
        np.testing.assert_array_equal(both.dressed.torque().value[i], alone.torque().value)


def test_result_says_what_went_in(tmp_path):
    """In print and in files, of torques and coefficients too."""
    found = iron(mu=[0.05], spin_relaxation_time=5.0)
    texts = found.origin.texts
    assert texts["model.kinetic"] == "5.7"
    assert texts["magnetization"] == "[0.0, 0.0, 0.004]"
    assert (texts["scattering_time"], texts["spin_relaxation_time"]) == ("0.1", "5.0")
    assert (texts["levels.mu"], texts["slow_modes.below"]) == ("[0.05]", "0.01")
    for part in (found.bare.torque(), found.bare.projection().beta):
        assert part.origin.texts == texts
    found.save(tmp_path / "found.nc")
    again = js.load(tmp_path / "found.nc")
    assert again.bare.gradient.origin.texts == texts
    np.testing.assert_array_equal(again.dressed.gradient.value, found.dressed.gradient.value)
    np.testing.assert_array_equal(again.info["kernel"], found.kernel)
    np.testing.assert_array_equal(again.bare.info["magnetization"], found.bare.magnetization)


def test_too_hot():
    with pytest.warns(UserWarning, match="below the band edge"):
        torque(mu=[MU, MU - 0.001], temperature=20.0)


# --- the literal formulas of the paper ------------------------------------------------------------


def gradient_source(other, m):
    """d of E_x ∂_x m_x at each node: ∂_x h ∂_{k_x}(t v_x) − v_x ∂_x a, (a, 3)."""

    def induced(m):
        still = other.propagator(m)
        drive = other.time * np.einsum("acd,ad->ac", still, other.drive(m)[:, :, X])
        kernel = (np.eye(3) - other.mean(still)).real
        return (drive + still @ np.linalg.lstsq(kernel, other.mean(drive).real)[0]).real

    along = np.eye(3)[X]
    once, twice = (
        (induced(m + h * along) - induced(m - h * along)) / (2 * h) for h in (1e-6, 2e-6)
    )
    v, t = other.v[:, [X]], other.time
    force = t * 2 * other.kinetic[X] - t / (2 * other.energy) * v**2
    return force * other.field(along) - v * (4 * once - twice) / 3


def literal(other, m, equation):
    """⟨s⟩ from the paper's (24) or (26), term by term, with averages over the nodes."""
    d, omega, t = gradient_source(other, m), other.field(m), other.time
    squared = np.sum(omega**2, axis=1)[:, None, None]
    turn = np.einsum("cxb,ax->acb", LEVI_CIVITA, omega)  # Ω ×
    across = np.eye(3) - np.einsum("ac,ab->acb", omega, omega) / squared  # 𝒜
    damped = 1 / (1 + squared * t**2) if equation == "24" else 1 / (squared * t**2)
    kept = squared * t**2 * damped * across
    left = other.mean(kept) / t - other.mean(turn * damped)
    source = np.einsum("acb,ab->ac", np.eye(3) - kept, d)
    if equation != "26":
        source = source + t * np.einsum("acb,ab->ac", turn * damped, d)
    return -other.density / 2 * np.linalg.lstsq(left, other.mean(source))[0]


def test_equation_24_literally():
    """The equation of the paper on the shell gives the reference numbers, and a ferromagnet."""
    m = SIZE * np.eye(3)[Z]
    found = literal(ellipsoid(BI2SE3, polar=16, azimuthal=32), m, "24")
    np.testing.assert_allclose(found[:2], [-1.131443780, -53.92714677], rtol=1e-7)


@pytest.mark.parametrize("coupling", [0.0, 1.0])
def test_equation_26_as_printed_is_wrong(coupling):
    """Where it should hold, at Ωτ = 12, it has none of the torque; with the term that it drops, it
    has the torque but β is wrong by −1/Ωτ."""
    m, x = SIZE * np.eye(3)[Z], 12.0
    other = ellipsoid(BI2SE3, x * HBAR_EV_PS / (2 * SIZE))
    other.so = coupling * other.so
    right, printed, completed = (literal(other, m, e) for e in ("24", "26", "26 completed"))
    if coupling == 0:
        flow = 2 * other.time * (2 / 3) * 2 * other.kinetic[X]
        np.testing.assert_allclose(
            right, [0, -other.density * flow / (4 * SIZE), 0], rtol=1e-7, atol=1e-5 * abs(right[Y])
        )
    assert abs(printed[Y]) < 0.2 * abs(right[Y])
    assert completed[Y] == pytest.approx(right[Y], rel=0.05)
    beta = (completed[X] / completed[Y] - right[X] / right[Y]) * x
    assert beta == pytest.approx(-1, abs=0.1)


# --- 4 x 4 to 2 x 2 -------------------------------------------------------------------------------

_TAU, _ONE = PAULI[1:], np.eye(2)
SIGMA = np.array([np.kron(_ONE, s) for s in PAULI[1:]])


def block(mass, d, m):
    """The upper block of −Mτ_z + τ_x d·σ + m·σ by the rotation of least action, and its spin."""
    full = np.kron(-mass * _TAU[2], _ONE) + np.kron(_TAU[0], np.tensordot(d, PAULI[1:], 1))
    full = full + np.tensordot(m, SIGMA, 1)
    upper = np.linalg.eigh(full)[1][:, 2:]
    u, _, v = np.linalg.svd((upper @ upper.conj().T)[:, :2], full_matrices=False)
    columns = u @ v  # the polar factor of the projector on the basis functions
    return columns.conj().T @ full @ columns, columns.conj().T @ SIGMA @ columns


def parts(matrix):
    """Scalar and vector of a 2 x 2 matrix, (..., 2, 2)."""
    return tuple(
        np.einsum("...ij,cji->...c", matrix, PAULI[s]).real / 2
        for s in (slice(0, 1), slice(1, None))
    )


def test_closed_form_against_the_exact_block(rng):
    """To all orders in d; the error is of third order in m."""
    band, k = stt.ConductionBand(BI2SE3), np.array([0.03, -0.02, 0.05])
    p = BI2SE3
    mass = float(p.M0 + p.M1 * k[2] ** 2 + p.M2 * (k[0] ** 2 + k[1] ** 2))
    d = np.array([p.A0, p.A0, p.B0]) * k
    offset = float(p.C0 + p.C1 * k[2] ** 2 + p.C2 * (k[0] ** 2 + k[1] ** 2))
    direction = rng.normal(size=3)
    errors = []
    for size in (0.02, 0.01):
        m = size * direction / np.linalg.norm(direction)
        exact, spin = block(mass, d, m)
        vector = parts(np.asarray(band.splitting(jnp.asarray(k), jnp.asarray(m))))[1]
        errors.append(np.abs(parts(exact)[1] - vector).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(3, abs=0.1)
    exact, spin = block(mass, d, np.zeros(3))
    np.testing.assert_allclose(
        exact + offset * np.eye(2), float(band.energy(jnp.asarray(k))) * np.eye(2), atol=1e-14
    )
    np.testing.assert_allclose(band.spin(jnp.asarray(k)), spin, atol=1e-14)


def order(error):
    """By which power of the scale an error falls."""
    return np.log2(error(0.1) / error(0.05))


def test_error_rates_of_the_expansion():
    """4, 5 and 6: scalar of second order, vector of third, scalar of fourth; d and m scaled."""
    mass, d, m = -0.28, np.array([0.11, -0.07, 0.09]), np.array([0.05, 0.08, -0.04])

    def error(power):
        def at(scale):
            a, b = scale * d, scale * m
            scalar, vector = parts(block(mass, a, b)[0])
            second = -mass - a @ a / (2 * mass)
            third = b + (a * (a @ b) - a @ a * b) / (2 * mass**2)
            fourth = (a @ a) ** 2 / (8 * mass**3) - (a @ a * (b @ b) - (a @ b) ** 2) / (2 * mass**3)
            misses = {4: scalar - second, 5: vector - third, 6: scalar - second - fourth}
            return np.abs(misses[power]).max()

        return at

    for power in (4, 5, 6):
        assert order(error(power)) == pytest.approx(power, abs=0.1)


def test_dressed_spin_of_6_to_8_as_printed_is_wrong():
    """Vectors (d d_i − d² e_i)/2M² and scalars [d (d·m) − d² m]_i/M³; printed, −d² e_i/4M² and
    half the scalars."""
    mass, d, m = -0.28, np.array([0.11, -0.07, 0.09]), np.array([0.05, 0.08, -0.04])

    def error(printed, scalar):
        def at(scale):
            a, b = scale * d, scale * m
            exact = parts(block(mass, a, b)[1])
            if scalar:
                first = (a * (a @ b) - a @ a * b) / mass**3 / (2 if printed else 1)
                return np.abs(exact[0][:, 0] - first).max()
            first = np.outer(a, a) - a @ a * np.eye(3)
            if printed:  # the diagonal is −d²/4 there
                first = np.outer(a, a) - np.diag(a**2) - a @ a / 2 * np.eye(3)
            return np.abs(exact[1] - np.eye(3) - first / (2 * mass**2)).max()

        return at

    assert order(error(False, False)) == pytest.approx(4, abs=0.1)
    assert order(error(True, False)) == pytest.approx(2, abs=0.1)
    assert order(error(False, True)) == pytest.approx(5, abs=0.2)
    assert order(error(True, True)) == pytest.approx(3, abs=0.1)


WARPED = TopologicalInsulator.bi2se3(A2=20.0, B2=-30.0, R2=40.0)


@eqx.filter_jit
def reduced(band, k, m):
    """Energy, splitting and spin."""
    return band.energy(k), band.splitting(k, m), band.spin(k)


def test_downfolding_gives_the_closed_form():
    """With A2, B2 and R2, to all orders in d; and to first order in m: the rest is of third."""
    k, m, errors = jnp.array([0.03, -0.02, 0.05]), np.array([0.4, -0.5, 0.6]), []
    effective = js.downfold(WARPED, (0, 1))
    numeric = stt.SplitBands(effective, jnp.asarray(PAULI[1:]))
    magnetic = jax.jit(lambda m: eqx.tree_at(lambda e: e.model.exchange, effective, m)(k))
    for size in (0.02, 0.01):
        closed = reduced(stt.ConductionBand(WARPED), k, size * m)
        for one, other in zip(closed, reduced(numeric, k, size * m), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-13)
        vectors = [parts(np.asarray(x))[1] for x in (closed[1], magnetic(size * m))]
        errors.append(np.abs(vectors[0] - vectors[1]).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(3, abs=0.1)


class Dressed(js.Model):
    """What an effective model looks like: scalar H, and a spin operator that depends on k."""

    band: stt.ConductionBand

    @property
    def dimension(self):
        return 3

    def __call__(self, k):
        return self.band.energy(k) * PAULI[0]

    def spin(self):
        return jnp.asarray(PAULI[1:])

    def operators(self):
        return {"spin": self.band.spin}


def test_effective_model_plugs_in():
    closed = stt.ConductionBand(BI2SE3)
    band = stt.SplitBands(Dressed(closed))
    k, m = jnp.array([0.01, 0.02, -0.03]), jnp.array([0.001, 0.002, 0.003])
    np.testing.assert_allclose(band.energy(k), closed.energy(k), rtol=1e-14)
    np.testing.assert_allclose(band.splitting(k, m), closed.splitting(k, m), atol=1e-16)
    np.testing.assert_allclose(band.spin(k), closed.spin(k), atol=1e-15)
    np.testing.assert_allclose(band.bare_spin(), PAULI[1:])


# --- invariance -----------------------------------------------------------------------------------


def rotation(axis, angle):
    axis = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


ISOTROPIC = stt.ParabolicBand(TopologicalInsulator.bi2se3(B0=BI2SE3.A0, C1=BI2SE3.C2, M1=BI2SE3.M2))


@pytest.mark.parametrize(
    ("band", "axis", "covariant"),
    [(BAND, (0, 0, 1), True), (ISOTROPIC, (1, 2, -1), True), (BAND, (1, 2, -1), False)],
)
def test_rotation(band, axis, covariant):
    m, turn = SIZE * np.array([0.48, 0.6, 0.64]), rotation(axis, 0.7)
    before, after = (
        np.asarray(torque(band, m=v, spin_relaxation_time=5.0).bare.gradient.value)
        for v in (m, turn @ m)
    )
    turned = np.einsum("ax,jy,iz,bw,xyzw->ajib", turn, turn, turn, turn, before)
    error = np.abs(after - turned).max() / np.abs(after).max()
    assert (error < 1e-10) == covariant


def test_no_spin_orbit_torque_of_the_bulk():
    found = torque(m=SIZE * np.array([0.48, 0.6, 0.64]), spin_relaxation_time=5.0)
    for part in (found.bare, found.dressed):
        assert np.abs(part.homogeneous.value).max() < 1e-11
        assert np.abs(part.spin_orbit_torque().value).max() < 1e-11
    np.testing.assert_array_equal(found.bare.homogeneous.axes, ("spin", "field"))


def test_torque_and_projection():
    found = torque(m=SIZE * np.array([0.48, 0.6, 0.64]), spin_relaxation_time=5.0).dressed
    m, value = np.asarray(found.magnetization), np.asarray(found.gradient.value)
    turned = found.torque()
    assert turned.units == "eV^-1 Angstrom^-1"
    np.testing.assert_allclose(turned.value[:, 0, 1, 2], -2 * np.cross(m, value[:, 0, 1, 2]))
    projection = found.projection()
    first, second = np.asarray(projection.directions)
    np.testing.assert_allclose(np.cross(first, second), m / np.linalg.norm(m), atol=1e-15)
    chi = projection.transverse
    np.testing.assert_allclose(chi[1, 0, 0, 0], second @ value[:, 0, 0] @ first, rtol=1e-12)
    hat = np.cross(m / np.linalg.norm(m), np.eye(3), axisb=0, axisc=0)
    np.testing.assert_allclose(
        projection.adiabatic.value, np.einsum("ab,ajib->ji", hat, value) / 2, rtol=1e-11, atol=1e-9
    )


@pytest.mark.parametrize("m", [(0, 0, 1.0), (0, 0, -1.0), (1, 2, -2.0), (3.0, 0, 0)])
def test_directions_across(m):
    first, second = np.asarray(directions_across(jnp.asarray(m)))
    np.testing.assert_allclose(np.cross(first, second), m / np.linalg.norm(m), atol=1e-15)
    assert abs(first @ second) < 1e-15


def test_torque_vanishes_with_the_magnetisation():
    """Linearly in m, where the gradient is ∝ m."""
    sizes = (2e-5, 1e-5)
    torques = [
        size * np.abs(torque(m=(0, 0, size)).dressed.torque().value[:2, ..., :2]).max()
        for size in sizes
    ]
    assert torques[0] / torques[1] == pytest.approx(2, rel=1e-2)


def test_dropped_modes_are_dropped_everywhere():
    """Without spin-orbit coupling the dressed spin is the bare one, also with the slow mode left
    out; and m along an axis of the crystal has no part of the mode across m."""
    found = iron((0.001, 0.002, 0.004))
    bare, dressed = (np.asarray(part.gradient.value) for part in (found.bare, found.dressed))
    np.testing.assert_allclose(dressed, bare, atol=1e-12 * np.abs(bare).max())
    assert found.info["dropped_modes"] == 1


def test_no_magnetisation():
    """All modes are conserved and dropped: nothing is left."""
    found = iron((0, 0, 0))
    assert found.info["dropped_modes"] == 3
    assert np.abs(found.dressed.gradient.value).max() < 1e-9


def test_large_splitting_warns():
    with pytest.warns(UserWarning, match="the splitting is up to 0.4 of the height"):
        assert iron((0, 0, 0.02)).info["splitting_share"] == pytest.approx(0.4)


def test_what_would_be_refused_is_nan_in_jit():
    """Below the band; too large a splitting; a conserved spin; a surface off its centre."""

    def at(mu, size, below, shift):
        surface = js.FermiShell(6, 8, center=jnp.array([shift, 0.0, 0.0]))
        m, slow_modes = jnp.array([0, 0, size]), stt.DropSlowModes(below)
        found = torque(IRON, mu, m, TAU, surface, slow_modes=slow_modes)
        return jnp.max(jnp.abs(found.bare.gradient.value)), found.dressed.homogeneous.value[0, 0]

    cases = np.array(
        [
            [0.05, 0.004, 0.01, 0.0],
            [-0.05, 0.004, 0.01, 0.0],
            [0.05, 0.06, 0.01, 0.0],
            [0.05, 0.004, 0.0, 0.0],
            [0.05, 0.004, 0.01, 0.3],
        ]
    )
    found, homogeneous = jax.jit(jax.vmap(at))(*cases.T)
    assert found[0] == pytest.approx(60.07182414, rel=1e-9)
    assert np.all(np.isnan(found[1:]))
    assert np.all(np.isnan(homogeneous[1:]))


def test_spin_along_the_magnetisation_is_not_what_is_printed():
    """For m along z the slow mode is all of the spin along m, and nothing across."""
    found = torque()
    value = np.asarray(found.bare.gradient.value)
    assert np.abs(value[Z]).max() > 1e5
    assert found.info["slow_mode_share_along"] == pytest.approx(1, abs=1e-3)
    assert found.info["slow_mode_share"] < 1e-9
    assert f"largest across m {np.abs(value[:2]).max():.8g}" in repr(found)


@pytest.mark.study
def test_sign_against_disordered_conductors():
    """The Edelstein effect of a Rashba gas, from the theory of disorder: sign of the field."""
    model, strength = js.models.Rashba(kinetic=5.0, velocity=0.05, exchange=0.0), 0.02
    contour = js.FermiContour(16)
    disorder = js.ScalarDisorder(strength)
    other = js.disordered_response(model, contour, js.Levels(0.1), disorder)
    tau = HBAR_EV_PS / (2 * np.pi * strength / (4 * np.pi * 5.0))  # 1/τ = 2π N u0²
    own = torque(stt.SplitBands(model), 0.1, (0, 0, 0), tau, contour).bare.homogeneous.value
    expected = np.asarray(other.total.spin_density.value)[0, :2]
    np.testing.assert_allclose(own[:2], expected, atol=1e-8 * np.abs(expected).max())


# --- quadrature, derivatives, scans ---------------------------------------------------------------


def ellipsoid(model, tau=TAU, polar=12, azimuthal=24):
    """The other solver for the band of a topological insulator, at the same energy."""
    so = [model.A0, model.A0, model.B0]
    kinetic = stt.ParabolicBand(model).kinetic
    return Ellipsoid(kinetic, so, model.M0, 0.005, tau / HBAR_EV_PS, polar, azimuthal)


@pytest.mark.parametrize(("c1", "enough"), [(BI2SE3.C1, True), (300.0, False)])
def test_quadrature(c1, enough):
    """16 x 32 nodes give 10⁻⁹ at Ωτ = 15; not where the surface is seven times as wide as high, and
    then it is said."""
    model = TopologicalInsulator.bi2se3(C1=c1)
    m, tau = SIZE * np.eye(3)[Z], 15 * HBAR_EV_PS / (2 * SIZE)
    doubtful = pytest.warns(UserWarning, match="nodes on the shell leave an estimated error")
    with contextlib.nullcontext() if enough else doubtful:
        found = np.asarray(torque(stt.ParabolicBand(model), m=m, tau=tau).bare.gradient.value)[:2]
    exact = ellipsoid(model, tau, 16, 32).gradient_tensor(m, 1e-6)[:2]
    assert (np.abs(found - exact).max() < 1e-9 * np.abs(exact).max()) == enough


def test_quadrature_converges():
    """At Ωτ = 15, against 16 x 32 nodes that are scaled to the band (1e-15 off from 24 x 48)."""
    m, tau = SIZE * np.eye(3)[Z], 15 * HBAR_EV_PS / (2 * SIZE)
    scale = (BAND.kinetic[X] / BAND.kinetic) ** 0.5

    def found(*shell, **more):
        response = torque(m=m, tau=tau, surface=js.FermiShell(*shell, **more))
        return np.asarray(response.bare.gradient.value)[:2]

    exact = found(16, 32, scale=scale)
    error = lambda values: np.abs(values - exact).max() / np.abs(exact).max()  # noqa: E731
    assert 1e-9 < error(found(12, 24)) < 1e-8
    assert 1e-12 < error(found(16, 32)) < 1e-11
    assert error(found(12, 24, scale=scale)) < 1e-11


def test_derivative():
    """With the slow modes dropped and no inversion: surface, kernel and projector all change."""
    start = np.array([0.05, 0.1, 0.001, 0.003, 0.002, 0.004])
    change = np.array([1e-3, 0.02, 4e-4, 3e-4, -5e-4, 2e-4])

    def response(p):
        mu, tau, alpha, m = p[0], p[1], p[2], p[3:]
        model = stt.SplitBands(Helical(alpha * jnp.eye(3) + 0.3 * alpha * PATTERN))
        found = torque(model, mu, m, tau, SMALL, slow_modes=DROP)
        return jnp.r_[found.dressed.gradient.value.ravel(), found.bare.homogeneous.value.ravel()]

    both = jax.jit(lambda p: jax.jvp(response, (p,), (change,)))
    value, slope = both(start)
    differences = [
        (both(start + h * change)[0] - both(start - h * change)[0]) / (2 * h) for h in (2e-3, 4e-3)
    ]
    finite = (4 * differences[0] - differences[1]) / 3
    np.testing.assert_allclose(slope, finite, atol=1e-7 * np.abs(value).max())


PATTERN = np.array([[0, 1.0, 0], [0, 0, 2], [-1, 0, 0]])


def test_projector_of_slow_modes():
    """A projector on the invariant subspace, and its derivatives up to the second."""
    modes = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0]
    change = np.random.default_rng(4).normal(size=(4, 4))
    base = modes @ np.diag([0, 1e-5, 0.5, 1]) @ modes.T

    def at(x):
        symmetric = base + x * (change + change.T) / 100
        return slow_projector(symmetric, 0.01)

    slope = jax.jacfwd(at)
    p, slope, bend = jax.jit(lambda x: (at(x), slope(x), jax.jacfwd(slope)(x)))(0.0)
    np.testing.assert_allclose(p, modes[:, :2] @ modes[:, :2].T, atol=1e-14)
    step = 1e-3

    def exact(x):
        v = np.linalg.eigh(base + x * (change + change.T) / 100)[1][:, :2]
        return v @ v.T

    np.testing.assert_allclose(slope, (exact(step) - exact(-step)) / (2 * step), atol=1e-5)
    np.testing.assert_allclose(
        bend, (exact(step) + exact(-step) - 2 * exact(0)) / step**2, atol=1e-5
    )
    assert np.all(np.asarray(slow_projector(jnp.asarray(base), 0.0)) == 0)


def test_scan_is_one_call():
    mu, tau = jnp.array([0.03, 0.05, 0.06]), jnp.array([0.05, 0.1])

    def at(mu, tau):
        found = torque(IRON, mu, (0.001, 0, 0.004), tau, SMALL, slow_modes=DROP)
        return found.bare.gradient.value

    scan = jax.jit(jax.vmap(jax.vmap(at, (None, 0)), (0, None)))(mu, tau)
    for i, j in ((0, 1), (2, 0)):
        single = iron((0.001, 0, 0.004), float(mu[i]), float(tau[j])).bare.gradient.value
        np.testing.assert_allclose(scan[i, j], single, atol=1e-11 * np.abs(single).max())


# --- the slow mode --------------------------------------------------------------------------------


def test_slow_mode():
    """T1 = 2.7 ns of 5 meV, 0.1 ps and m at 45 degrees, and a warning."""
    m = SIZE * np.array([1, 0, 1]) / np.sqrt(2)
    with pytest.warns(UserWarning, match="slow modes of the spin"):
        found = torque(m=m)
    assert found.info["longest_spin_lifetime"] == pytest.approx(2682, rel=1e-3)
    assert found.eigenvalues()[0] == pytest.approx(3.728e-5, rel=1e-3)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="slow modes")
        assert torque(m=m, slow_modes=DROP).info["slow_mode_share"] < 1e-12
        assert torque(m=m, spin_relaxation_time=1.0).info["slow_mode_share"] < 0.1


@pytest.mark.filterwarnings("ignore:slow modes")
def test_slow_mode_makes_the_limit_of_no_coupling_discontinuous():
    """With a tenth of the spin-orbit coupling and the same masses; dropped, the limit is that of a
    ferromagnet with these masses."""
    m = SIZE * np.array([1, 0, 1]) / np.sqrt(2)
    n1, n2 = np.array([1, 0, -1]) / np.sqrt(2), np.array([0, 1, 0])
    component = lambda r, s, b: s @ np.asarray(r.bare.gradient.value)[:, X, X] @ b  # noqa: E731
    kept, dropped = (
        torque(insulator(0.1), m=m, slow_modes=modes) for modes in (stt.KeepSlowModes(), DROP)
    )
    assert component(kept, n1, n1) == pytest.approx(105.7, abs=0.05)
    assert component(dropped, n1, n2) == pytest.approx(51.3576, abs=1e-4)
    assert component(dropped, n2, n1) == pytest.approx(-51.3427, abs=1e-4)
    none = torque(insulator(1e-3), m=m, slow_modes=DROP)
    assert component(none, n1, n2) == pytest.approx(51.30903, rel=1e-6)
    assert component(none, n2, n1) == pytest.approx(-51.30903, rel=1e-6)


# --- textures and micromagnetics ------------------------------------------------------------------


def texture_of(m, spacing, field, mu=0.05, temperature=0.0, tau=TAU, **more):
    """The torque on a texture in a ferromagnet."""
    more = {"spacing": spacing, "field": field, "slow_modes": DROP, **more}
    return stt.texture_torque(IRON, SMALL, js.Levels(mu, temperature), m, tau, **more)


def test_texture_of_a_ferromagnet():
    """−2 m × ⟨s⟩ = −(N c/2)(eE·∇)m across m, at each point."""
    wall = stt.domain_wall(41, 10.0, 60.0, 0.004, angle=0.3)
    force = np.array([2e-6, 0, 0])
    found = texture_of(wall, [10.0], force)
    c = 2 * TAU / HBAR_EV_PS * (2 / 3) * 2 * 5.7
    m = np.asarray(wall)
    slope = np.gradient(m, 10.0, axis=1, edge_order=2)
    slope = slope - m * np.sum(m * slope, axis=0) / 0.004**2
    expected = -density(5.7, 0.05) * c / 2 * 2e-6 * slope
    np.testing.assert_allclose(found.torque, expected, atol=1e-9 * np.abs(expected).max())
    assert np.abs(found.spin_orbit_torque).max() < 1e-20
    assert found.units["torque"] == "eV Angstrom^-3"
    assert found.info["splitting_share"] == pytest.approx(0.08)
    assert found.info["dropped_modes"] == 1
    holed = wall.at[:, 20].set(0)
    without = texture_of(holed, [10.0], force)
    np.testing.assert_array_equal(without.torque[:, 20], 0)
    np.testing.assert_allclose(without.torque[:, 22:], found.torque[:, 22:], rtol=1e-12)


@pytest.mark.parametrize("first", [0.0, 100.0])
def test_gradient_is_of_second_order_at_the_edges(first):
    """θ = 0.3 + 0.002 x + 1e-4 x² turns at a rate that changes: a uniform one hides the edges."""
    errors = []
    for points in (21, 41, 81):
        x = np.linspace(first, first + 100, points)
        theta, rate = 0.3 + 0.002 * x + 1e-4 * x**2, 0.002 + 2e-4 * x
        m = np.stack([np.sin(theta), np.zeros(points), np.cos(theta)])
        exact = np.stack([np.cos(theta), np.zeros(points), -np.sin(theta)]) * rate
        found = find_gradient(jnp.asarray(m), [x[1] - x[0]], 3)
        np.testing.assert_array_equal(found[1:], 0)
        errors.append(np.linalg.norm(found[0] - exact, axis=0)[[0, points // 2, -1]])
    for coarse, fine in itertools.pairwise(errors):
        assert np.all(coarse / fine > 3.3)


@pytest.mark.parametrize("shape", [(3, 4), (5, 3, 3)])
def test_gradient_of_a_parabola_is_exact_up_to_the_corners(shape, rng):
    """Every polynomial of second order, on three points too; a cubic one is off (control)."""
    steps = np.array([2.0, 0.7, 1.3])[: len(shape)]
    r = np.indices(shape) * steps.reshape(-1, *[1] * len(shape))
    linear, square = rng.normal(size=(3, len(shape))), rng.normal(size=(3, *[len(shape)] * 2))
    m = np.einsum("bi,i...->b...", linear, r) + np.einsum("bij,i...,j...->b...", square, r, r)
    exact = np.einsum("bij,j...->ib...", square + square.swapaxes(1, 2), r)
    exact = exact + linear.T.reshape(len(shape), 3, *[1] * len(shape))
    found = np.asarray(find_gradient(jnp.asarray(m), list(steps), 3))
    np.testing.assert_allclose(
        found[: len(shape)], exact.reshape(len(shape), 3, -1), atol=1e-12 * np.abs(exact).max()
    )
    cubic = find_gradient(jnp.asarray(np.stack([r[0] ** 3] * 3)), list(steps), 3)[0, 0]
    assert np.abs(cubic - 3 * r[0].ravel() ** 2).max() > 0.1


@pytest.mark.parametrize("points", [1, 2])
def test_grid_of_too_few_points_is_refused(points):
    m = np.full((3, points), 1e-3)
    with pytest.raises(ValueError, match="at least three points"):
        texture_of(m, [1.0], [1e-6, 0, 0])


def test_textures():
    wall = np.asarray(stt.domain_wall(201, 1.0, 10.0, 0.002))
    np.testing.assert_allclose(np.linalg.norm(wall, axis=0), 0.002)
    assert wall[2, 0] > 0 > wall[2, -1]
    m = np.asarray(stt.skyrmion(101, 2.0, 40.0, 10.0, 1.0, angle=0.4))
    np.testing.assert_allclose(np.linalg.norm(m, axis=0), 1)
    along_x, along_y = np.gradient(m, 2.0, axis=1), np.gradient(m, 2.0, axis=2)
    charge = np.sum(m * np.cross(along_x, along_y, axisa=0, axisb=0, axisc=0)) * 4 / (4 * np.pi)
    assert charge == pytest.approx(-1, abs=0.02)
    assert m[2, 50, 50] == pytest.approx(-1)


@pytest.mark.parametrize("grid", [(9,), (9, 7)])
def test_figure_of_a_texture(grid, rng):
    m, spin, force, other = (jnp.asarray(x) for x in rng.normal(size=(4, 3, *grid)))
    found = stt.TextureTorque(m, spin, force, other, (2.0,) * len(grid), 3, {})
    axes = plot.texture_torque(found)
    if len(grid) == 1:
        np.testing.assert_allclose(axes.lines[1].get_ydata(), force[1])
        np.testing.assert_allclose(axes.lines[1].get_xdata(), np.arange(-8, 9, 2))
    else:
        (arrows,) = (c for c in axes.collections if isinstance(c, Quiver))
        np.testing.assert_allclose(arrows.U, force[0].T.ravel())
        np.testing.assert_allclose(arrows.X, np.tile(np.arange(-8, 9, 2), 7))
    pyplot.close(axes.figure)


def test_micromagnetics():
    """The torque that mumax3 computes of what it is told, on a wall, is that of the texture.

    Its published form for α = 0, ∂m̂/∂t = −m̂ × (m̂ × h) − ξ m̂ × h with
    h = μ_B Pol (J·∇)m̂/(e Ms (1 + ξ²)) (zhangli2.cu), against ∂m̂/∂t = −(γ/Ms) τ, γ = 2μ_B/ħ.
    """
    charge, magneton, hbar = 1.602176634e-19, 9.2740100657e-24, 1.054571817646e-34
    wall, force = stt.domain_wall(41, 10.0, 60.0, 0.004, angle=0.3), [2e-6, 0, 0]
    relaxed = iron(spin_relaxation_time=5.0)
    found = stt.micromagnetics(relaxed.dressed, force, 8e5)
    script = dict(line.split(" = ") for line in found.mumax3().splitlines())
    current = float(script["J"].removeprefix("vector(").split(",")[0])
    m, xi, size = np.asarray(wall) / 0.004, float(script["xi"]), float(script["Msat"])
    h = (
        magneton
        * current
        * np.gradient(m, 10e-10, axis=1, edge_order=2)
        / (charge * size * (1 + xi**2))
    )
    turned = np.cross(m, h, axis=0)
    mumax = -np.cross(m, turned, axis=0) - xi * turned
    texture = texture_of(wall, [10.0], force, spin_relaxation_time=5.0)
    own = -(2 * magneton / hbar) / size * np.asarray(texture.torque) * charge * 1e30
    np.testing.assert_allclose(mumax, own, atol=2e-8 * np.abs(own).max())
    assert found.beta == pytest.approx(HBAR_EV_PS / 5.0 / 0.008)
    assert found.left_out < 1e-9
    assert current > 0 > found.u[0]  # electrons go against the field
    assert f"value {float(found.u[0]):.9g}" in found.oommf()
    with pytest.raises(ValueError, match="along x"):
        stt.micromagnetics(relaxed.dressed, [0, 1e-5, 0], 8e5).oommf()


def test_micromagnetics_says_what_it_leaves_out():
    """Of a response in which the two directions across m differ by d, d/√(4 + d²)."""
    part = iron().dressed
    for difference, warns in ((0.02, False), (0.5, True)):
        scaled = part.gradient.value.at[..., X].multiply(1 + difference)
        changed = eqx.tree_at(lambda t: t.gradient.value, part, scaled)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = stt.micromagnetics(changed, [1e-5, 0, 0], 8e5)
        a = np.array([1 + difference, 1])
        expected = np.linalg.norm(a - a.mean()) / np.linalg.norm(a)
        assert found.left_out == pytest.approx(expected, rel=1e-9)
        assert [("leave out" in str(w.message)) for w in said] == [True] * warns


# --- bad input ------------------------------------------------------------------------------------

TEXTURE = np.ones((3, 4))


def on_wall(mu=0.05, **more):
    wall = stt.domain_wall(41, 10.0, 60.0, 0.004)
    return texture_of(wall, [10.0], [0, 0, 0], mu, **more)


class Own(stt.ExchangeModel):
    """A model of one's own, with a mistake."""

    trace: float = 0.0
    skew: float = 0.0

    @property
    def dimension(self):
        return 3

    def energy(self, k):
        return k @ k

    def splitting(self, k, m):
        return IRON.splitting(k, m) + self.trace * PAULI[0] + 1j * self.skew * PAULI[1]

    def spin(self, k):
        return self.bare_spin()

    def bare_spin(self):
        return jnp.asarray(PAULI[1:])


BAD = {
    "model": (lambda: torque(BI2SE3), "`model` must be an exchange-split band"),
    "surface": (lambda: torque(surface=3), "`surface` must be a Fermi-surface rule"),
    "contour": (lambda: torque(surface=js.FermiContour(8)), "`model` must have dimension 2"),
    "below the band": (lambda: torque(mu=EDGE - 0.01), "`levels` must have every mu in the band"),
    "not star-shaped": (
        lambda: torque(surface=js.FermiShell(16, 32, center=(0.1, 0, 0))),
        "The Fermi surface of band 0 near k = .* does not enclose `center`",
    ),
    "mu": (lambda: torque(mu=[[MU]]), "`mu` must be a number or a non-empty one-dim"),
    "levels": (
        lambda: js.spin_transfer_torque(IRON, SMALL, 0.05, (0, 0, 0.004), TAU),
        r"`levels` must be a jaxspin\.Levels",
    ),
    "not finite": (lambda: torque(mu=np.nan), "`mu` must be finite"),
    "magnetization": (lambda: torque(m=SIZE), "`magnetization` must be 3 finite numbers"),
    "infinite": (lambda: torque(m=(0, 0, np.inf)), "`magnetization` must be 3 finite"),
    "gap": (lambda: torque(m=(0, 0, 0.3)), "small against the gap of 0.56 eV"),
    "time": (lambda: torque(tau=0.0), "`scattering_time` must be a positive time"),
    "relaxation": (
        lambda: torque(spin_relaxation_time=-1.0),
        "`spin_relaxation_time` must be a positive",
    ),
    "slow modes": (lambda: torque(slow_modes=True), "`slow_modes` must be KeepSlowModes"),
    "fraction": (lambda: stt.DropSlowModes(2.0), "`below` must be between 0 and 1"),
    "temperature": (lambda: torque(temperature=-1), "`temperature` must not be negative"),
    "conserved": (lambda: iron(slow_modes=stt.KeepSlowModes()), "is conserved"),
    "insulator": (lambda: stt.ConductionBand(IRON), "must be a TopologicalInsulator"),
    "inverted": (
        lambda: stt.ConductionBand(TopologicalInsulator.bi2se3(M0=0.2)),
        "must be inverted",
    ),
    "warping": (
        lambda: stt.ParabolicBand(TopologicalInsulator.bi2se3(warping=True)),
        "no warping R1",
    ),
    "spin basis": (
        lambda: stt.ParabolicBand(TopologicalInsulator.bi2se3(spin_basis="liu2010")),
        "spin_basis 'pauli'",
    ),
    "reference": (
        lambda: stt.SplitBands(Helical(jnp.zeros((3, 3))), np.eye(2)),
        "`reference` must have shape",
    ),
    "figure": (lambda: plot.texture_torque(3), "`found` must be a TextureTorque"),
    "texture": (
        lambda: texture_of(TEXTURE[:2], [1.0], [0, 0, 0]),
        "`texture` must have the shape",
    ),
    "spacing": (
        lambda: texture_of(TEXTURE, [0.0], [0, 0, 0]),
        "`spacing` must be 1 positive",
    ),
    "force": (
        lambda: texture_of(TEXTURE, [1.0], [0, 0]),
        "`field` must be 3 finite",
    ),
    "saturation": (
        lambda: stt.micromagnetics(iron().bare, [1, 0, 0], -1.0),
        "`saturation` must be a positive",
    ),
    "no field": (
        lambda: stt.micromagnetics(iron().bare, [0, 0, 0], 8e5),
        "`field` must make an adiabatic",
    ),
    "split too far": (
        lambda: iron((0, 0, 0.06)),
        "every mu higher above the band edge",
    ),
    "nothing relaxes": (lambda: iron((0, 0, 0), slow_modes=stt.KeepSlowModes()), "is conserved"),
    "no direction": (
        lambda: iron((0, 0, 0)).bare.projection(),
        "`magnetization` must not vanish",
    ),
    "unmagnetised": (
        lambda: stt.micromagnetics(iron((0, 0, 0)).bare, [1, 0, 0], 8e5),
        "`magnetization` must not vanish",
    ),
    "response": (
        lambda: stt.micromagnetics(
            eqx.tree_at(lambda t: t.gradient.value, iron().bare, replace_fn=lambda x: np.nan * x),
            [1, 0, 0],
            8e5,
        ),
        "`transfer` must have a finite response",
    ),
    "texture below the band": (lambda: on_wall(mu=-0.05), "no Fermi surface at -0.05 eV"),
    "texture, mu": (lambda: on_wall(mu=[0.05, 0.06]), "one mu and one temperature for a texture"),
    "texture, temperature": (
        lambda: on_wall(temperature=[1.0, 2.0]),
        "one mu and one temperature for a texture",
    ),
    "trace": (lambda: torque(Own(trace=1e-3)), "a splitting without trace"),
    "not Hermitian": (lambda: torque(Own(skew=1e-3)), "a Hermitian splitting"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, unchecked_annotations):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_beyond_the_window_of_the_parabola():
    with pytest.warns(UserWarning, match="beyond the window of this model"):
        far = torque(mu=EDGE + 0.02)
    z = np.polynomial.legendre.leggauss(16)[0][8]  # the nodes next to the plane
    k = np.array([np.sqrt(1 - z**2), 0, z])
    k *= np.sqrt(0.02 / (BAND.kinetic @ k**2))
    exact = float(stt.ConductionBand(BI2SE3).energy(k)) - EDGE
    assert far.info["band_misfit"] == pytest.approx(exact / 0.02 - 1, rel=1e-2)
    assert torque().info["band_misfit"] < 0.5
