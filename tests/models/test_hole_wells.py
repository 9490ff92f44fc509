"""Hole wells: envelopes, bands, spin Hall conductivities, limits, symmetries, derivatives.

The numbers are those of the sheet of formulas, which re-derives Liu, Cullen and Culcer (2023),
section IV: meV, nm and e/8π where it has them. T = 0 is integrated up to the Fermi contours by
`polar_sea`, which knows nothing of jaxspin but the matrices of a model.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polar_sea
import pytest
from polar_sea import MESHES, sigma_yx
from scipy.optimize import brentq
from scipy.special import airy
from systems import CONVENTIONAL, E_8PI, KUBO, SPIN_HALL, A, B, OneRule, measure

import jaxspin as js
from jaxspin import models, units
from jaxspin.engine.small_matrices import PAULI
from jaxspin.models import envelopes, hole_well
from jaxspin.models.matrix_sum import MatrixSum

WIDTH = 250.0
MEV, KELVIN = 1e-3, units.BOLTZMANN
HALF_MEV = 0.5 * MEV / KELVIN  # kT = 0.5 meV
# Fields along x and y that generate spin in the plane are no defect of these wells.
pytestmark = pytest.mark.filterwarnings("ignore:The torque density")


def well(material="GaAs", field=1e6, zeeman=MEV, **more) -> models.HoleWell:
    return models.HoleWell(material, WIDTH, field, zeeman, **more)


def sigma(model, fermi_energy, mesh=MESHES[0], **options) -> float:
    """σ^z_yx with the Fermi energy in meV from the HH1 edge of the model."""
    mu = float(model.heavy_hole_edge) + fermi_energy * MEV
    return sigma_yx(model.prepared(), mu, *mesh, reach=float(model.cutoff(mu)), **options)


# --- Envelopes ------------------------------------------------------------------------------------

SUBBANDS = """
GaAs 0e+00 0.00000 0.00000 1.59437 6.64821 1.000000 0.000000
GaAs 1e+05 -0.50076 -0.12119 1.55333 6.63831 0.997658 -0.007574
GaAs 5e+05 -2.14182 -0.59800 0.68058 6.40288 0.964466 -0.029779
GaAs 1e+06 -3.43556 -1.15290 -1.42346 5.69162 0.932094 -0.042553
GaAs 2e+06 -5.00337 -2.07445 -7.19976 3.11496 0.910652 -0.053345
GaAs 5e+06 -7.51771 -3.82125 -29.30680 -10.20108 0.907171 -0.067067
GaAs 1e+07 -9.86504 -5.45805 -72.00480 -40.98215 0.910707 -0.080270
InAs 0e+00 0.00000 0.00000 2.28626 22.26099 1.000000 0.000000
InAs 1e+05 -0.35094 -0.03621 2.25755 22.25803 0.998386 -0.006284
InAs 5e+05 -1.60223 -0.18084 1.61341 22.18710 0.968579 -0.027534
InAs 1e+06 -2.72493 -0.36033 -0.07538 21.96617 0.920265 -0.043521
InAs 2e+06 -4.15579 -0.71036 -5.05349 21.09319 0.855177 -0.058929
InAs 5e+06 -6.45994 -1.63861 -25.22326 15.37241 0.793463 -0.076511
InAs 1e+07 -8.58796 -2.77485 -65.39908 -1.81639 0.782913 -0.091023
InSb 0e+00 0.00000 0.00000 2.46676 42.17554 1.000000 0.000000
InSb 1e+05 -0.32547 -0.01911 2.44014 42.17398 0.998470 -0.006118
InSb 5e+05 -1.50175 -0.09554 1.83791 42.13652 0.969056 -0.027254
InSb 1e+06 -2.58518 -0.19088 0.23394 42.01956 0.917096 -0.043916
InSb 2e+06 -3.98607 -0.38016 -4.57007 41.55335 0.837347 -0.060388
InSb 5e+06 -6.24906 -0.92494 -24.30463 38.35841 0.734990 -0.078263
InSb 1e+07 -8.33488 -1.71426 -63.90978 27.73054 0.694252 -0.091928
Ge 0e+00 0.00000 0.00000 1.74478 14.35533 1.000000 0.000000
Ge 1e+05 -0.45831 -0.05615 1.70724 14.35074 0.997369 -0.008022
Ge 5e+05 -1.99738 -0.27994 0.89620 14.24088 0.955331 -0.032815
Ge 1e+06 -3.25077 -0.55494 -1.10285 13.90027 0.901789 -0.048621
Ge 2e+06 -4.78467 -1.07481 -6.68457 12.57510 0.845765 -0.062753
Ge 5e+06 -7.24381 -2.31749 -28.32668 4.41857 0.811172 -0.079922
Ge 1e+07 -9.53320 -3.65630 -70.42153 -17.84435 0.812071 -0.095449
"""
ROWS = [line.split() for line in SUBBANDS.split("\n")[1:-1]]


@jax.jit
def exponents(gammas, field):
    """β of heavy and light holes."""
    slopes = field * 1e-10 * WIDTH**3 / 2 / jnp.stack(hole_well._along_z(gammas))
    return jax.vmap(envelopes.exponent)(slopes)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[:2]))
def test_table_of_subbands(row):
    """To the last digit printed."""
    material, field, *printed = row
    material = material.replace("Ge", "Ge (Liu 2023)")
    model = well(material, float(field))
    bands = model.subbands
    values = [
        *exponents(model.gammas, model.field),
        bands.heavy[0] / MEV,
        bands.light[0] / MEV,
        bands.overlap[0, 0],
        bands.derivative[0, 0] * 10,
    ]
    for value, digits in zip(values, printed, strict=True):
        last = 10.0 ** -len(digits.split(".")[1])
        assert abs(value - float(digits)) < 0.51 * last


@pytest.mark.parametrize("beta", [(-3.4, -1.2), (2.0, 1e-3), (0.06, -0.09), (0.0, 12.0)])
def test_matrix_elements_by_quadrature(beta):
    """Every closed form against Gauss-Legendre in z."""
    x, w = np.polynomial.legendre.leggauss(80)
    x, w = (x + 1) / 2, w / 2
    states, slopes = [], []
    for b in beta:
        state = np.sin(np.pi * x) * np.exp(-b * x)
        norm = np.sqrt(np.sum(w * state**2))
        states.append(state / norm)
        slopes.append((np.pi * np.cos(np.pi * x) * np.exp(-b * x) - b * state) / norm)
    norms = envelopes._log_norm(jnp.array([*beta, np.mean(beta)]))
    overlap = jnp.exp(norms[2] - (norms[0] + norms[1]) / 2)
    np.testing.assert_allclose(overlap, np.sum(w * states[0] * states[1]), atol=1e-14)
    derivative = (beta[0] - beta[1]) / 2 * overlap
    np.testing.assert_allclose(derivative, np.sum(w * states[0] * slopes[1]), atol=1e-13)
    for b, state, slope in zip(beta, states, slopes, strict=True):
        np.testing.assert_allclose(np.sum(w * slope**2), np.pi**2 + b**2, rtol=1e-13)
        position = np.sum(w * (x - 0.5) * state**2)
        np.testing.assert_allclose(envelopes.mean_position(jnp.array(b)), position, atol=1e-13)


def test_exponent_minimises_for_any_slope():
    """β = slope g'(β) for slopes of 1e-8 to 1e10, and the start is above the root.

    g' is known to the rounding of 1, and is 1/2β² or more.
    """
    slope = jnp.concatenate([-jnp.logspace(-8, 10, 49), jnp.logspace(-8, 10, 49)])
    beta, first = jax.jit(jax.vmap(lambda s: _with_slope(envelopes.exponent(s))))(slope)
    assert np.all(np.abs(beta / (slope * first) - 1) < 3e-12 + 1e-15 * beta**2)
    assert np.all(np.abs(beta) <= np.cbrt(1.5 * np.abs(slope)) * (1 + 1e-12))


@pytest.mark.parametrize(("width", "field"), [(1e4, 2e7), (5e3, 2e8), (1e4, 1e9), (1e4, -1e9)])
def test_overlap_of_wide_wells_in_strong_fields(width, field):
    """T(β) -> exp(|β|)/[2|β|(β² + π²)], of which the exponentials cancel; β is 500 to 2000."""
    bands = models.HoleWell("GaAs", width, field).subbands
    slopes = field * 1e-10 * width**3 / 2 / jnp.stack(hole_well._along_z(GAAS_GAMMAS))
    beta = np.abs(jax.vmap(envelopes.exponent)(slopes))
    heavy, light, mean = (b * (b**2 + np.pi**2) for b in (*beta, np.mean(beta)))
    np.testing.assert_allclose(bands.overlap, np.sqrt(heavy * light) / mean, rtol=1e-10)
    assert np.all(np.isfinite(bands.derivative))


GAAS_GAMMAS = jnp.array(models.materials["GaAs"])


def _with_slope(beta):
    return beta, envelopes._position_slopes(beta)[0]


def energies(field, width=WIDTH):
    bands = models.HoleWell("GaAs", width, field).subbands
    return jnp.stack([bands.heavy[0], bands.overlap[0, 0], 1e3 * bands.derivative[0, 0]])


@pytest.mark.parametrize("field", [0.0, 1e6])
def test_derivatives_of_the_closed_forms(field):
    """By the implicit function theorem, exact at F = 0 too."""
    h = 2e3
    near = ENERGIES(field + h * jnp.arange(-2.0, 3.0))
    expected = jnp.array([1, -8, 0, 8, -1]) @ near / 12
    np.testing.assert_allclose(SLOPES(field) * h, expected, rtol=1e-8, atol=1e-14)


ENERGIES, SLOPES = jax.jit(jax.vmap(energies)), jax.jit(jax.jacfwd(energies))


def test_second_derivative_of_the_exponent():
    """The rule of the implicit function holds for its own derivative."""
    h, slope = 1e-2, 7.0
    first = jax.grad(envelopes.exponent)
    value, second = jax.jit(jax.vmap(first)), jax.jit(jax.grad(first))
    near = value(slope + h * jnp.arange(-2.0, 3.0))
    expected = jnp.array([1, -8, 0, 8, -1]) @ near / (12 * h)
    np.testing.assert_allclose(second(slope), expected, rtol=1e-8)


# --- Exact subbands -------------------------------------------------------------------------------

#: HH1, HH2, HH3 and LH1 in meV.
EXACT = {
    ("GaAs", 1e6): (-1.611412, 6.689855, 15.020482, 5.656742),
    ("GaAs", 2e6): (-7.717458, 5.221859, 16.033817, 2.938002),
    ("InAs", 1e6): (-0.212250, 9.592331, 21.076577, 21.957687),
    ("InSb", 1e6): (0.107685, 10.321115, 22.668149, 42.015171),
    ("Ge (Liu 2023)", 1e6): (-1.278294, 7.343693, 16.330223, 13.886612),
}


def full(material="GaAs", field=1e6, zeeman=MEV, number=16, **more) -> models.HoleWellKP:
    more = {"basis": models.Legendre(number), **more}
    return models.HoleWellKP(material, WIDTH, field, zeeman, **more)


def airy_levels(kinetic, force, number) -> np.ndarray:
    """Levels of a tilted well from the Airy functions that vanish at both walls, eV."""
    length = (kinetic / force) ** (1 / 3)

    def determinant(energy):
        left, right = ((-z - energy / force) / length for z in (-WIDTH / 2, WIDTH / 2))
        (a, _, b, _), (c, _, d, _) = airy(right), airy(left)
        return a * d - b * c

    start = -force * WIDTH / 2
    grid = start + np.linspace(1e-6, 0.06, 1200)
    values = [determinant(energy) for energy in grid]
    changes = [i for i in range(len(grid) - 1) if values[i] * values[i + 1] < 0][:number]
    return np.array([brentq(determinant, grid[i], grid[i + 1], xtol=1e-15) for i in changes])


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_levels_of_airy_functions(case):
    material, field = case
    bands = full(material, field, number=20).subbands
    kinetic = [float(k) for k in hole_well._along_z(jnp.array(models.materials[material]))]
    heavy = airy_levels(kinetic[0], field * 1e-10, 3)
    light = airy_levels(kinetic[1], field * 1e-10, 1)
    values = np.concatenate([bands.heavy[:3], bands.light[:1]])
    np.testing.assert_allclose(values, np.concatenate([heavy, light]), atol=1e-11)
    np.testing.assert_allclose(values / MEV, EXACT[case], atol=5.1e-7)
    error = float(well(material, field).heavy_hole_edge - heavy[0])
    assert 0.1 * MEV < error < 0.6 * MEV  # the variational energy is above


def test_energies_of_the_full_well():
    k = jnp.array([0.01, 0.005])
    expected = "-0.99229724 1.95200853 3.06228675 5.98345751 11.177084 12.84223844 13.86308366"
    expected = np.array([*expected.split(), "16.20607229"], dtype=float)
    energies = np.linalg.eigvalsh(full()(k))[:8] / MEV
    np.testing.assert_allclose(energies, expected, atol=1.01e-8)


def test_convergence_with_the_basis():
    """Exponential: each two polynomials gain more than a digit. Sines gain only N^-3."""
    k = jnp.array([0.01, 0.005])
    lowest = {n: np.linalg.eigvalsh(full(number=n)(k))[:4] / MEV for n in (8, 10, 12, 24)}
    errors = [np.max(np.abs(lowest[n] - lowest[24])) for n in (8, 10, 12)]
    assert errors[0] > 20 * errors[1] > 400 * errors[2]
    assert errors[2] < 1e-7
    sines = [np.max(np.abs(_in_sines(n, k)[:4] / MEV - lowest[24])) for n in (30, 60)]
    assert 6 < sines[0] / sines[1] < 10
    assert 1e-6 < sines[1] < 1e-4


def _in_sines(number, k):
    """Energies of GaAs at 10⁶ V/m, m = 1 meV, in the basis sin(n π (z/d + 1/2))."""
    n = np.arange(1, number + 1)[:, None]
    difference = (n**2 - n.T**2).astype(float)
    odd = (n + n.T) % 2 == 1
    safe = np.where(odd, difference, 1)
    derivative = np.where(odd, 4 * n * n.T / safe, 0) / WIDTH
    position = np.where(odd, -8 * WIDTH * n * n.T / (np.pi * safe) ** 2, 0)
    kinetic = np.diag((n[:, 0] * np.pi / WIDTH) ** 2)
    return np.linalg.eigvalsh(_luttinger(k, kinetic, derivative, -1e-4 * position))


J = np.asarray(hole_well.SPIN) / 2


def _luttinger(k, kinetic, derivative, potential, zeeman=MEV * J[2], material="GaAs"):
    """The bulk Hamiltonian in J-operators with k_z = -i d/dz between functions of z.

    A[(γ1 + 5γ2/2)k² - 2γ2 Σ k_i²J_i² - 4γ3 Σ_(i<j) k_i k_j {J_i, J_j}], {a, b} = (ab + ba)/2.
    """
    (gamma1, gamma2, gamma3), one = models.materials[material], np.eye(len(kinetic))
    kz, (kx, ky) = -1j * derivative, k
    squares = [kx**2 * one, ky**2 * one, kinetic]
    h = sum((gamma1 + 2.5 * gamma2) * np.kron(np.eye(4), s) for s in squares)
    h = h - 2 * gamma2 * sum(np.kron(j @ j, s) for j, s in zip(J, squares, strict=True))
    products = {(0, 1): kx * ky * one, (0, 2): kx * kz, (1, 2): ky * kz}
    for (i, j), product in products.items():
        h = h - 4 * gamma3 * np.kron((J[i] @ J[j] + J[j] @ J[i]) / 2, product)
    return units.FREE_ELECTRON * h + np.kron(np.eye(4), potential) + np.kron(zeeman, one)


@pytest.mark.parametrize("direction", [0, 1, 2])
def test_is_the_luttinger_hamiltonian_in_any_functions(direction):
    """With a Zeeman energy along each axis, whose elements between the kinds have overlaps."""
    number, k = 6, jnp.array([0.013, -0.021])
    tables = envelopes._tabulate_functions(number)
    potential = tables.values.T @ (-1e-4 * tables.nodes[:, None] * WIDTH / 2 * tables.values)
    scale = 2 / WIDTH
    zeeman = 2 * MEV * J[direction]
    parts = (tables.kinetic * scale**2, tables.derivative * scale, potential)
    expected = np.linalg.eigvalsh(_luttinger(k, *parts, zeeman))
    model = full(number=number, zeeman=zeeman)
    np.testing.assert_allclose(np.linalg.eigvalsh(model(k)), expected, atol=1e-13)


def test_spin_operator_has_the_elements_of_the_zeeman_energy():
    """∂H/∂m of m·J is half the spin operator."""
    with_m, without = (full(zeeman=m * J[0], number=4) for m in (1.0, 0.0))
    change = with_m.matrices[0] - without.matrices[0]
    np.testing.assert_allclose(change, with_m.spin()[0] / 2, atol=1e-13)


def test_harmonic_potential():
    """ħω(n + 1/2) with ħω = 2 sqrt(K C) in V = C z², for a width that the walls do not touch."""
    stiffness = 4e-5  # eV/Å²
    model = models.HoleWellKP(
        "GaAs", 300.0, basis=models.Legendre(40), subbands=(3, 1), potential=_Bowl(stiffness)
    )
    heavy, light = hole_well._along_z(model.gammas)
    for energies, kinetic in ((model.subbands.heavy, heavy), (model.subbands.light, light)):
        expected = 2 * np.sqrt(kinetic * stiffness) * (np.arange(len(energies)) + 0.5)
        np.testing.assert_allclose(energies, expected, rtol=1e-8)


@pytest.mark.parametrize("field", [0.0, 1e6, -1e6, 1e7, -1e7])
def test_signs_of_envelopes(field):
    """The lobe of each state next to z = -d/2 is positive, wherever a field pushes it."""
    model = full(field=field, number=20)
    _, states = model.basis.states(
        hole_well._along_z(model.gammas)[0], model.width, model._potential_at_nodes(model.basis)
    )
    for envelope in np.asarray(states)[:, :6].T @ envelopes._tabulate_functions(20).values.T:
        assert envelope[np.argmax(np.abs(envelope) > 0.1 * np.max(np.abs(envelope)))] > 0


def test_too_small_a_basis_is_noticed():
    """HH1 of a wide well in a strong field is off by 14 meV in 16 polynomials, not in 40."""
    with pytest.warns(UserWarning, match=r"off by 1\d\.?\d* meV .* Legendre\(number=32\)"):
        models.HoleWellKP("GaAs", 3000.0, 1e7)
    with pytest.warns(UserWarning, match="off by"):
        models.HoleWellKP("GaAs", 300.0, 1e7, subbands=(8, 8))
    models.HoleWellKP("GaAs", 300.0, 1e7, subbands=(4, 4))  # no warning


class _Bowl(eqx.Module):
    stiffness: float

    def __call__(self, z):
        return self.stiffness * z**2


def test_field_is_a_potential():
    tilted = full(field=0.0, number=8, potential=lambda z: -1e-4 * z)
    np.testing.assert_allclose(tilted.matrices, full(number=8).matrices, atol=1e-15)
    np.testing.assert_allclose(tilted.bottom, full(number=8).bottom, atol=1e-15)


#: α3 in eV Å³ = meV nm³: variational, exact.
CUBIC = {
    ("GaAs", 5e5): ("633.86", "536.0"),
    ("GaAs", 1e6): ("704.00", "604.2"),
    ("GaAs", 2e6): ("594.77", "522.6"),
    ("GaAs", 5e6): ("402.16", "387.9"),
    ("InAs", 1e6): ("2505.9", "2082.6"),
    ("InAs", 2e6): ("2658.0", "2232.6"),
    ("InSb", 1e6): ("5081.7", "4190.2"),
    ("InSb", 2e6): ("5780.1", "4857.9"),
    ("Ge (Liu 2023)", 1e6): ("1185.4", "992.8"),
    ("Ge (Liu 2023)", 2e6): ("1117.8", "945.1"),
}


@pytest.mark.parametrize("case", CUBIC, ids=str)
def test_cubic_rashba_coefficient(case):
    for model, printed in zip((well(*case), full(*case)), CUBIC[case], strict=True):
        last = 10.0 ** -len(printed.split(".")[1])
        assert abs(float(model.cubic_rashba) - float(printed)) < 0.51 * last


def test_cubic_rashba_coefficient_is_that_of_the_splitting():
    """(E_+ - E_-)/2k³ at small k without Zeeman energy, axial; corrections are of order k²."""
    for model in (well(zeeman=0.0, axial=True), full(zeeman=0.0, axial=True)):
        k = np.array([4e-4, 8e-4])
        energies = [np.linalg.eigvalsh(model(jnp.array([q, 0.0])))[:2] for q in k]
        slope = np.diff(energies, axis=1)[:, 0] / (2 * k**3)
        extrapolated = (4 * slope[0] - slope[1]) / 3
        np.testing.assert_allclose(model.cubic_rashba, extrapolated, rtol=2e-4)


def test_germanium():
    """m0/(γ1 − 2γ2) is 0.204 in Ge along [001] (Winkler 2003), and 0.345 of the row as printed."""
    masses = {name: 1 / (g[0] - 2 * g[1]) for name, g in models.materials.items()}
    assert models.materials["Ge"] == (13.38, 4.24, 5.69)
    assert round(masses["Ge"], 3) == 0.204
    assert round(masses["Ge (Liu 2023)"], 3) == 0.345


#: Largest α3 lies near these fields, V/m.
@pytest.mark.parametrize(
    ("material", "peak"), [("GaAs", 1e6), ("Ge (Liu 2023)", 1.2e6), ("InAs", 1.7e6), ("InSb", 2e6)]
)
def test_cubic_rashba_rises_then_falls(material, peak):
    fields = jnp.array([0.4, 0.8, 1.0, 1.2, 2.5]) * peak
    values = jax.jit(jax.vmap(lambda f: models.HoleWell(material, WIDTH, f).cubic_rashba))(fields)
    assert values[0] < values[2] > values[4]
    assert max(values[1], values[3]) < 1.01 * values[2]


@pytest.mark.parametrize(
    ("material", "variational", "exact"),
    [
        ("GaAs", 0.1259, 0.1665),
        ("InAs", 0.0395, 0.0499),
        ("InSb", 0.0214, 0.0276),
        ("Ge (Liu 2023)", 0.0590, 0.0677),
    ],
)
def test_masses(material, variational, exact):
    """The printed ones are from k = 0.02/nm; `masses` is the limit k -> 0 of the same quotient."""
    for model, printed in (
        (well(material, zeeman=0.0), variational),
        (full(material, zeeman=0.0), exact),
    ):
        mass = {k: _quotient(model, k) for k in (2e-3, 2e-4)}
        assert abs(mass[2e-3] - printed) < 0.51e-4
        np.testing.assert_allclose(model.masses.heavy[0], mass[2e-4], rtol=5e-4)
    light = np.mean(np.linalg.eigvalsh(well(zeeman=0.0)(jnp.array([2e-4, 0.0])))[2:])
    slope = (light - well().subbands.light[0]) / (2e-4) ** 2
    np.testing.assert_allclose(units.FREE_ELECTRON / slope, well().masses.light[0], rtol=1e-3)


def _quotient(model, k):
    """ħ²k²/2m₀ over the mean energy of the two HH1 bands."""
    energies = np.linalg.eigvalsh(model(jnp.array([k, 0.0])))[:2]
    return units.FREE_ELECTRON * k**2 / (np.mean(energies) - model.heavy_hole_edge)


# --- Symmetries -----------------------------------------------------------------------------------

POINTS = [np.array([0.03, 0.011]), np.array([-0.007, 0.05])]
ROTATION_Y = np.fliplr(np.diag([1.0, -1, 1, -1]))  # exp(-iπJ_y) in the order m = 3/2, ..., -3/2
ORDER = [0, 3, 1, 2]
TIME_REVERSAL = ROTATION_Y[np.ix_(ORDER, ORDER)]


@pytest.mark.parametrize("k", POINTS, ids=str)
def test_symmetries(k):
    def turned(angle):
        return np.exp(-1j * angle * np.diag(J[2]))

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)

    h = np.asarray(well()(k))
    close(h, h.conj().T)
    free = well(zeeman=0.0)
    close(TIME_REVERSAL @ np.asarray(free(k)).conj() @ TIME_REVERSAL.T, free(-k))
    u = turned(np.pi)
    close(u[:, None] * np.asarray(well(field=-1e6)(k)) * u.conj(), h)
    u = turned(np.pi / 2)
    close(u[:, None] * h * u.conj(), well()(np.array([-k[1], k[0]])))
    even = np.linalg.eigvalsh(well(field=0.0, zeeman=0.0)(k))
    close(even[::2], even[1::2])
    odd = np.linalg.eigvalsh(free(k))
    assert np.min(odd[1::2] - odd[::2]) > 1e-5  # negative control: the field splits them


def test_time_reversal_of_the_full_well():
    model, k = full(number=6, zeeman=0.0), jnp.array(POINTS[0])
    u = np.kron(TIME_REVERSAL, np.eye(6))
    expected = u @ np.asarray(model(k)).conj() @ u.T
    np.testing.assert_allclose(model(-k), expected, rtol=0, atol=1e-13)


def test_sigma_is_even():
    reference = sigma(well(), 5, tolerance=1e-12)
    for other in (well(zeeman=-MEV), well(field=-1e6)):
        np.testing.assert_allclose(sigma(other, 5, tolerance=1e-12), reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["variational", "4 + 4 subbands"])
def test_an_eighth_of_the_plane_is_enough(name):
    """Energies and Σ_m are those of the mirrored and of the turned k: `polar_sea` relies on it."""
    model = (well() if name == "variational" else BANDS_16).prepared()
    for kx, ky in POINTS:
        images = np.array([[kx, ky], [kx, -ky], [-ky, kx], [ky, kx], [-kx, -ky]])
        for values in polar_sea.per_band(model, images):
            np.testing.assert_allclose(values[1:], values[[0] * 4], rtol=1e-8, atol=1e-9)
    off = np.array([[0.03, 0.011], [np.hypot(0.03, 0.011), 0]])
    energies = polar_sea.per_band(model, off)[0]
    assert np.max(np.abs(np.diff(energies, axis=0))) > 0.1 * MEV  # negative control: other angles


# --- Spin Hall conductivity -----------------------------------------------------------------------

#: σ^z_yx in e/8π at T = 0, for material, field (V/m) and Fermi energy (meV from the HH1 edge).
COLD = {
    ("GaAs", 1e6, 5): -4.255755779,
    ("GaAs", 1e6, 10): -8.227941974,
    ("GaAs", 1e6, 15): -9.677682566,
    ("GaAs", 2e6, 5): -4.229489155,
    ("GaAs", 2e6, 15): -9.072298977,
    ("InAs", 1e6, 40): -9.952436230,
    ("Ge (Liu 2023)", 1e6, 20): -9.159238486,
}
#: The same with kT = 0.5 meV.
WARM = {
    ("GaAs", 1e6): {5: -4.208403136, 10: -8.125404606, 15: -9.664952024},
    ("GaAs", 2e6): {5: -4.181369120, 15: -9.024341322},
    ("InAs", 1e6): {40: -9.951955646},
    ("Ge (Liu 2023)", 1e6): {20: -9.124444631},
}


@pytest.mark.parametrize("case", COLD, ids=str)
def test_sigma_at_zero_temperature(case):
    """To 9 digits on two sets of nodes. (The last of InAs differs between the sheet's own two.)"""
    material, field, energy = case
    for mesh in MESHES:
        assert (
            abs(sigma(well(material, field), energy, mesh, tolerance=1e-12) - COLD[case]) < 1.1e-9
        )


def in_sheet_units(response) -> np.ndarray:
    return np.asarray(response.to("e/8pi").component(flow="y", field="x", spin="z").value)


@pytest.mark.parametrize("case", WARM, ids=str)
def test_sigma_at_half_a_millielectronvolt(case):
    """To 9 digits on two meshes of jaxspin, with different radii."""
    expected = WARM[case]
    energies = np.array([*expected] * 3)[:3] * MEV  # as many for all, to compile once
    model = well(*case)
    levels = js.Levels(model.heavy_hole_edge + energies, HALF_MEV)
    cutoff = model.cutoff(levels.mu + 25 * KELVIN * HALF_MEV)
    for mesh in (js.Disk(cutoff, 700, 64), js.Disk(1.1 * cutoff, 700, 64)):
        values = measure(model, mesh, levels, (A,))[A][:, 1, 0, 2] / E_8PI
        for value, energy in zip(values, energies, strict=True):
            assert abs(value - expected[round(energy / MEV)]) < 1e-9


def adaptive(model, energies, definition=A, rtol=1e-6) -> np.ndarray:
    """T = 0 by `spin_hall`, for Fermi energies in meV from the HH1 edge."""
    levels = js.Levels(model.heavy_hole_edge + np.array(energies) * MEV)
    mesh = js.Adaptive(js.Disk(model.cutoff(levels.mu), 40, 5), rtol)
    return in_sheet_units(js.spin_hall(model, mesh, levels, definition=definition))


@pytest.mark.study
def test_sigma_of_an_adaptive_mesh():
    for field, energies in ((1e6, (5, 10, 15)), (2e6, (5, 5, 15))):  # as many, to compile once
        values = adaptive(well(field=field), energies)
        expected = [COLD["GaAs", field, energy] for energy in energies]
        np.testing.assert_allclose(values, expected, rtol=0, atol=2e-7)


@pytest.mark.study
def test_blocks_of_degenerate_bands():
    """F = 0 and m = 0: every band is twice degenerate, and groups give the limit m -> 0."""
    value = adaptive(well(field=0.0, zeeman=0.0), [5, 10, 15], rtol=5e-8)[2]
    assert abs(value + 5.89741183) < 2e-7
    assert abs(sigma(well(field=0.0), 15) + 5.772500) < 5.1e-7  # with m = 1 meV


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (("GaAs", 1e6, 5), 9.4802),
        (("GaAs", 1e6, 15), 12.3872),
        (("GaAs", 2e6, 15), 12.5333),
        (("InAs", 1e6, 40), 13.6047),
        (("InSb", 1e6, 60), 15.0244),
        (("Ge (Liu 2023)", 1e6, 20), 13.0664),
    ],
    ids=str,
)
def test_conventional(case, expected):
    value = sigma(well(*case[:2]), case[2], (4, 10), tolerance=1e-7, conventional=True)
    assert abs(value - expected) < 5.1e-5


@pytest.mark.parametrize("definition", [A, CONVENTIONAL])
def test_each_band_of_the_polar_sum(definition):
    """-2Σ_m, in jaxspin's unit ħ/2 of spin, at a few k of the full well."""
    k = np.array([*POINTS, [0.0, 0.02]]) / 3
    ours = polar_sea.per_band(BANDS_16, k, definition == CONVENTIONAL)[1]
    density = js.spin_berry_curvature(BANDS_16, k, definition=definition)[..., 1, 0, 2]
    scale = np.max(np.abs(ours))
    np.testing.assert_allclose(density, -2 * ours, rtol=0, atol=1e-9 * scale)


BANDS_16 = models.HoleWellKP("GaAs", WIDTH, 1e6, MEV, basis=models.Legendre(4))


SIGNS = np.diag([1.0, -1, 1, -1])


@pytest.mark.parametrize(
    ("zeeman", "expected"),
    [
        (J[2], (-9.677683, -9.072299, -9.952436, -9.159238)),
        (J[2] * 2 / 3, (-9.848067, -9.502576, -9.978604, -9.556557)),
        (SIGNS, (-9.788569, -9.373665, -9.973313, -9.441390)),
        (J[2] / 3, (-9.958382, -9.853115, -9.994550, -9.872101)),
    ],
    ids=["m J_z", "2m/3 J_z", "m diag(1, -1, 1, -1)", "m/3 J_z"],
)
def test_zeeman_matrices(zeeman, expected):
    cases = (("GaAs", 1e6, 15), ("GaAs", 2e6, 15), ("InAs", 1e6, 40), ("Ge (Liu 2023)", 1e6, 20))
    values = [sigma(well(*case[:2], zeeman=MEV * zeeman), case[2]) for case in cases]
    np.testing.assert_allclose(values, expected, rtol=0, atol=5.1e-7)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (("GaAs", 1e6, 15), -9.697903),
        (("GaAs", 2e6, 15), -9.105459),
        (("InAs", 1e6, 40), -9.952985),
        (("Ge (Liu 2023)", 1e6, 20), -9.162301),
    ],
    ids=str,
)
def test_axial(case, expected):
    """One ray is enough, for the bands are circles."""
    model = well(*case[:2], axial=True)
    values = [sigma(model, case[2], (rays, 10)) for rays in (1, 3)]
    np.testing.assert_allclose(values, expected, rtol=0, atol=5.1e-7)


def test_number_in_place_of_the_adjoint():
    """Negative control: with +ic k_+ for -L†, still Hermitian, there is no Rashba splitting."""
    right = well().prepared()
    sign = np.ones((4, 4))
    sign[1, 3] = sign[3, 1] = -1
    terms = jnp.concatenate([right.terms[:2], sign * right.terms[2:4], right.terms[4:]])
    wrong = eqx.tree_at(lambda model: model.terms, right, terms)
    mu, reach = float(well().heavy_hole_edge) + 15 * MEV, float(well().cutoff(0.02))
    assert abs(sigma_yx(wrong, mu, reach=reach) + 3.664) < 5.1e-4
    assert abs(sigma_yx(right, mu, reach=reach) + 9.678) < 5.1e-4
    free = wrong.terms[0] - well().zeeman
    free = eqx.tree_at(lambda model: model.terms, wrong, wrong.terms.at[0].set(free))
    energies = np.linalg.eigvalsh(free(jnp.array(POINTS[0])))
    np.testing.assert_allclose(energies[::2], energies[1::2], atol=1e-15)
    reversed_in_time = TIME_REVERSAL @ np.asarray(free(-POINTS[0])).conj() @ TIME_REVERSAL.T
    assert np.max(np.abs(reversed_in_time - free(POINTS[0]))) > 0.1 * MEV


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (("GaAs", 1e6, 15), -9.321827),
        (("GaAs", 2e6, 15), -8.244840),
        (("InAs", 1e6, 40), -9.885171),
        (("Ge (Liu 2023)", 1e6, 20), -8.297084),
    ],
    ids=str,
)
def test_half_of_the_linear_element(case, expected):
    """Negative control: with L as in the first version of the paper σ is another number."""
    model = well(*case[:2])
    right, mu = model.prepared(), float(model.heavy_hole_edge) + case[2] * MEV
    half = eqx.tree_at(lambda m: m.terms, right, right.terms.at[2:4].multiply(0.5))
    assert abs(sigma_yx(half, mu, reach=float(model.cutoff(mu))) - expected) < 5.1e-7
    assert abs(expected - COLD[case]) > 0.05


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (1e5, -1.6527),
        (3e5, -3.1702),
        (5e5, -3.8085),
        (1e6, -4.2558),
        (2e6, -4.2295),
        (3e6, -3.9096),
        (5e6, -3.0895),
        (1e7, -1.8712),
    ],
)
def test_sigma_of_heavy_holes_alone_against_the_field(field, expected):
    """5 meV in GaAs: up, then slowly down, like α3."""
    assert abs(sigma(well(field=field), 5) - expected) < 5.1e-5


# --- Limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("energy", "zeeman", "expected"),
    [
        (15, 2, -8.90102),
        (15, 0.5, -9.91135),
        (15, 0.1, -9.99503),
        (15, 0.01, -9.99974),
        (5, 2, -1.8961),
        (5, 0.5, -6.5059),
        (5, 0.2, -7.9746),
        (5, 0.05, -8.6984),
        (5, 0.01, -8.9175),
    ],
)
def test_small_zeeman_energy(energy, zeeman, expected):
    """m -> 0: all goes into a peak at k = 0 of weight -9 for a filled HH and -1 for a filled LH."""
    last = 10.0 ** -len(str(expected).split(".")[1])
    assert abs(sigma(well(zeeman=zeeman * MEV), energy) - expected) < 1.01 * last


def test_no_zeeman_energy():
    """With the field but m = 0, s_nn = 0 at every k ≠ 0, by twofold rotation and time reversal."""
    free, split = (
        polar_sea.per_band(well(zeeman=m).prepared(), np.array(POINTS))[1] for m in (0.0, MEV)
    )
    np.testing.assert_allclose(free, 0, atol=1e-8)
    assert np.min(np.max(np.abs(split), axis=1)) > 5  # Å²; negative control


@pytest.mark.parametrize(
    ("field", "expected"), [(0, -5.8974), (1e3, -8.2504), (1e4, -9.9645), (1e5, -9.9993)]
)
def test_limits_do_not_commute(field, expected):
    assert abs(sigma(well(field=field, zeeman=0.01 * MEV), 15) - expected) < 1.01e-4


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (("GaAs", 15), -5.897412),
        (("InAs", 40), -4.424887),
        (("InSb", 60), -2.093862),
        (("Ge (Liu 2023)", 20), -2.629170),
    ],
    ids=str,
)
def test_no_field(case, expected):
    """F = 0, then m -> 0: 0.1 µeV here."""
    assert abs(sigma(well(case[0], 0.0, 1e-4 * MEV), case[1]) - expected) < 5.1e-7


#: σ at 15 meV and at 4 meV from HH1, and 8 meV above LH1: the down-turn of the first is the
#: depopulation of LH1, for it is gone where LH1 stays filled.
AGAINST_FIELD = {
    5e5: (-9.610, -2.989, -9.554),
    1e6: (-9.678, -3.433, -9.684),
    2e6: (-9.072, -3.397, -9.685),
    3.5e6: (-7.124, -2.713, -9.607),
    5e6: (-7.223, -2.107, -9.562),
    1e7: (-7.241, -1.159, -9.530),
}


@pytest.mark.parametrize("field", AGAINST_FIELD)
def test_sigma_against_the_field(field):
    model = well(field=field)
    light = float(model.subbands.light[0] - model.heavy_hole_edge) / MEV
    values = [sigma(model, energy) for energy in (15, 4, light + 8)]
    np.testing.assert_allclose(values, AGAINST_FIELD[field], rtol=0, atol=5.1e-4)


def test_fermi_energy_from_the_middle_of_the_well():
    """Counted from there, σ of GaAs at 15 meV only rises with the field, towards 10."""
    wells = [well(field=field) for field in (1e5, 1e6, 3e6, 1e7)]
    values = [sigma(w, 15 - float(w.heavy_hole_edge) / MEV) for w in wells]
    assert np.all(np.diff(values) < 0)
    assert -10 < values[-1] < -9.98


def test_light_holes_empty_where_the_down_turn_ends():
    """E_LH1 - E_HH1 passes 15 meV at 3.53·10⁶ V/m in GaAs."""
    gaps = [well(field=f).subbands for f in (3.525e6, 3.535e6)]
    below, above = (float(b.light[0] - b.heavy[0]) / MEV for b in gaps)
    assert below < 15 < above


@pytest.mark.parametrize(
    ("material", "expected"),
    [("GaAs", -9.99143), ("InAs", -9.99961), ("InSb", -9.99987), ("Ge (Liu 2023)", -9.99921)],
)
def test_filled_sea(material, expected):
    """All four bands up to k = 16/nm: what counting electrons would add."""
    edges, (x, w) = np.r_[0, np.geomspace(1e-5, 1.6, 40)], np.polynomial.legendre.leggauss(8)
    radii = (edges[:-1, None] + np.diff(edges)[:, None] * (x + 1) / 2).ravel()
    weights = (np.diff(edges)[:, None] * w / 2).ravel() * radii
    model, rays = well(material).prepared(), (np.arange(8) + 0.5) * np.pi / 32
    on_rays = [
        polar_sea.per_band(model, np.outer(radii, [np.cos(angle), np.sin(angle)]))[1]
        for angle in rays
    ]
    total = -4 * np.mean([weights @ density.sum(1) for density in on_rays])
    assert abs(total - expected) < 5.1e-6


def test_electrons_in_place_of_holes():
    """σ[-H] = const - σ[H] on one mesh, const the filled sea: zero for the charge alone."""
    mesh, names = js.Disk(0.06, 30, 8), (A, "anomalous_hall")
    mu = jnp.array([float(well().heavy_hole_edge) + 8 * MEV, 1e3])
    holes = measure(well(), mesh, js.Levels(mu, HALF_MEV), names)
    electrons = measure(-1.0 * well(), mesh, js.Levels(-mu, HALF_MEV), names)
    for name in names:
        part, sea = (holes[name][n, 1, 0, ...] for n in (0, 1))
        scale = np.max(np.abs(part))
        np.testing.assert_allclose(
            electrons[name][0, 1, 0, ...], sea - part, rtol=0, atol=1e-9 * scale
        )
    assert abs(holes["anomalous_hall"][1, 1, 0]) < 1e-9 * abs(holes["anomalous_hall"][0, 1, 0])
    assert abs(holes[A][1, 1, 0, 2]) > 0.1 * abs(holes[A][0, 1, 0, 2])


# --- Two bands ------------------------------------------------------------------------------------


class Winding(MatrixSum):
    """k²/2m + α (k_y + i k_x)^p σ_+ + h.c. + M σ_z of p = 1 and p = 3, and any size of the spin."""

    kinetic: jax.Array
    linear: jax.Array
    cubic: jax.Array
    exchange: jax.Array
    size: jax.Array

    @property
    def dimension(self):
        return 2

    @property
    def matrices(self):
        return PAULI

    def coefficients(self, k):
        kx, ky = k
        once = -self.linear * ky, self.linear * kx
        thrice = self.cubic * (ky**3 - 3 * kx**2 * ky), self.cubic * (kx**3 - 3 * kx * ky**2)
        return self.kinetic * (k @ k), once[0] + thrice[0], once[1] + thrice[1], self.exchange

    def spin(self):
        return self.size * jnp.asarray(PAULI[1:])


@pytest.mark.parametrize(
    ("linear", "cubic", "size", "limits"), [(0.3, 0.0, 1.0, (-1, 1)), (0.0, 0.1, 3.0, (-9, None))]
)
def test_closed_forms_of_two_bands(linear, cubic, size, limits):
    """-p s (2 - Σ M²/λ²)/2 in e/8π, λ² = α²k^2p + M² at the two Fermi radii, J_z = ±s/2.

    Per band k Σ_m = -(p s/8) d(M²/λ²)/dk is an exact derivative, so that M -> 0 gives -p s: -1 for
    linear Rashba coupling with J_z = ±1/2, -9 for cubic with ±3/2. This pins the sheet's unit:
    σ^z_yx of `spin_hall`, in "e/8pi", is -(2/π) ∫ d²k Σ_m with J_z.
    """
    numbers = [jnp.array(x) for x in (0.5, linear, cubic, 1e-4, size)]
    model, mu, p = Winding(*numbers), 0.2, 1 if linear else 3
    values = measure(model, js.Disk(1.5, 2000, 8), js.Levels(mu), (A, CONVENTIONAL))
    proper, conventional = (values[name][0, 1, 0, 2] / E_8PI for name in (A, CONVENTIONAL))
    splitting = linear + cubic
    root = [
        brentq(lambda k, s=s: k**2 / 2 + s * np.hypot(splitting * k**p, 1e-4) - mu, 0.01, 2)
        for s in (-1, 1)
    ]
    mixing = [1e-8 / (splitting**2 * k ** (2 * p) + 1e-8) for k in root]
    expected = -p * size * (2 - sum(mixing)) / 2
    assert abs(proper - expected) < 1e-3
    assert abs(proper - limits[0]) < 2e-3
    if limits[1] is not None:
        assert abs(conventional - limits[1]) < 2e-3


# --- The full well --------------------------------------------------------------------------------

#: Material, field (V/m), Fermi energy (meV from the HH1 edge of the model), rays: variational
#: value, that of 12 + 12 subbands, and how far the two last digits are known.
FULL = {
    ("Ge (Liu 2023)", 1e6, 5, 4): (-3.303, -3.332, 1e-3),
    ("GaAs", 2e6, 5, 8): (-4.229, -4.226, 1e-3),
    ("GaAs", 1e6, 5, 4): (-4.256, -6.186, 2e-3),
    ("Ge (Liu 2023)", 1e6, 20, 4): (-9.159, -22.719, 2e-3),
    ("GaAs", 1e6, 15, 4): (-9.678, -19.210, 2e-3),
}


@pytest.mark.study
@pytest.mark.parametrize("case", FULL, ids=str)
def test_sigma_of_the_full_well(case):
    material, field, energy, rays = case
    variational, expected, tolerance = FULL[case]
    assert abs(sigma(well(material, field), energy) - variational) < 5.1e-4
    model = full(material, field, number=24, subbands=(12, 12))
    assert abs(sigma(model, energy, (rays, 10), tolerance=1e-5) - expected) < tolerance


@pytest.mark.study
def test_sigma_of_the_full_well_with_a_small_zeeman_energy():
    """Axial, 6 + 6 subbands, m = 2 µeV: towards -9 for HH1 alone, -19 for HH1, HH2 and LH1."""
    model = full(zeeman=2e-3 * MEV, axial=True, subbands=(6, 6))
    values = [sigma(model, energy, (1, 10), tolerance=1e-6) for energy in (5, 15)]
    np.testing.assert_allclose(values, [-8.948, -18.978], rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["variational", "3 + 2 subbands"])
def test_all_definitions_against_plain_sums(name):
    """kT = 0.5 meV, on the same nodes."""
    model = well() if name == "variational" else full(number=8, subbands=(3, 2))
    mesh, levels = js.Disk(0.05, 30, 8), js.Levels(model.heavy_hole_edge + 8 * MEV, HALF_MEV)
    values = measure(model, mesh, levels, SPIN_HALL)
    nodes = mesh.points(jnp.arange(mesh.size), None)
    expected = _plain_sums(model.prepared(), nodes, levels.mu, KELVIN * HALF_MEV)
    for definition in SPIN_HALL:
        value = values[definition][0, 1, 0, 2]
        np.testing.assert_allclose(value, expected[definition], rtol=1e-9)


def _plain_sums(model, nodes, mu, thermal) -> dict[str, float]:
    """σ^z_yx of the four definitions as in docs/definitions.md, with s = 2J_z.

    "kubo" is the formula of Shi et al. with (f_n - f_m)/(ε_n - ε_m) in place of a derivative.
    """
    matrices, k = np.asarray(model.matrices), np.asarray(nodes.k).T
    e, u = np.linalg.eigh(polar_sea._sum(polar_sea._functions(k), matrices))
    slopes = polar_sea._sum(polar_sea._slopes(k), matrices)
    vx, vy, s = (u.conj().swapaxes(1, 2) @ o @ u for o in (*slopes, np.asarray(model.spin()[2])))
    f = 1 / (1 + np.exp((e - mu) / thermal))
    gap = e[:, None, :] - e[:, :, None] + np.diag([np.inf] * e.shape[1])  # ε_l - ε_m
    transposed = lambda o: o.swapaxes(1, 2)  # noqa: E731
    diagonal = lambda o: np.einsum("kmm->km", o).real  # noqa: E731
    rx, ry = 1j * vx / gap, 1j * vy / gap
    omega = -2 * np.imag(ry * transposed(rx))
    current = (s @ vy + vy @ s) / 2
    ratio = (f[:, None, :] - f[:, :, None]) / gap
    speed, drift = diagonal(vy), -f * (1 - f) / thermal * diagonal(vy)
    both = lambda o: o[:, :, None] + o[:, None, :]  # noqa: E731
    dipole = transposed(s @ ry + ry @ s)
    kubo = 0.5j * ratio * (transposed(s) * (vx @ ry + ry @ vx) - dipole * vx)
    kubo = kubo + transposed(s) * vx * (both(speed) * ratio - both(drift)) / (2 * gap)
    per_pair = {
        CONVENTIONAL: -2 * f[:, :, None] * np.imag(current * transposed(vx)) / gap**2,
        A: f[:, :, None] * diagonal(s)[:, None, :] * omega,
        B: f[:, :, None] * diagonal(s)[:, :, None] * omega,
        KUBO: np.imag(kubo),
    }
    weight = np.asarray(nodes.weight)[:, None, None]
    return {name: np.sum(weight * pairs) for name, pairs in per_pair.items()}


def test_variational_well_is_one_subband_of_each_kind():
    """Without field the sine is exact: the two models are then one."""
    one, other = full(field=0.0, subbands=(1, 1), number=24), well(field=0.0)
    np.testing.assert_allclose(one.matrices, other.matrices, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one.spin(), other.spin(), rtol=0, atol=1e-12)
    field_on = full(subbands=(1, 1)).matrices - well().matrices
    assert np.max(np.abs(field_on)) > 0.1 * MEV  # negative control


def test_sums_and_multiples_solve_the_well_once():
    """What is prepared has no subbands to solve, and is the same model."""
    model, k = full(number=6), jnp.array(POINTS[0])
    other = js.models.WithSpin(2.0 * model + model, model.spin())
    prepared = other.prepared()
    assert isinstance(prepared.model.first.model, hole_well.PreparedWell)
    assert isinstance(prepared.model.second, hole_well.PreparedWell)
    np.testing.assert_allclose(prepared(k), 3 * model(k), rtol=0, atol=1e-15)


# --- Derivatives of responses ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [models.HoleWell, models.HoleWellKP])
def test_gradient_of_sigma(kind):
    """By field, width and Zeeman energy, with mu counted from HH1, against differences."""
    mesh = OneRule(js.Disk(0.08, 40, 8))
    more = {} if kind is models.HoleWell else {"basis": models.Legendre(8), "subbands": (2, 1)}

    def value(parameters):
        field, width, zeeman = parameters
        model = kind("GaAs", width, field, zeeman, **more)
        levels = js.Levels(model.heavy_hole_edge + jnp.array([0.005, 0.013]), 4 * HALF_MEV)
        return measure(model, mesh, levels, (A,))[A][:, 1, 0, 2] / E_8PI

    along = jax.jit(lambda start, step: jax.jvp(value, (start,), (step,)))
    start = jnp.array([1e6, WIDTH, MEV])
    for step in jnp.diag(jnp.array([5e2, 0.025, 3e-7])):
        near = [along(start + j * step, step)[0] for j in (-2, -1, 1, 2)]
        expected = (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / 12
        np.testing.assert_allclose(along(start, step)[1], expected, rtol=1e-6)
        assert np.all(np.abs(expected) > 1e-5)  # not a comparison of zeros


def test_gradient_by_a_parameter_of_the_potential():
    def edge(stiffness):
        model = models.HoleWellKP("GaAs", 400.0, 1e6, potential=_Bowl(stiffness))
        return model.heavy_hole_edge

    slope = jax.jit(jax.grad(edge))(1e-6)
    difference = (edge(1.001e-6) - edge(0.999e-6)) / 2e-9
    np.testing.assert_allclose(slope, difference, rtol=1e-6)


# --- Holes in the bands ---------------------------------------------------------------------------


def test_cutoff_is_outside_of_every_contour():
    """No band is below the level outside; negative control: some are well inside."""
    angle = np.linspace(0, np.pi / 2, 9)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for material in models.materials:
        for model in (well(material), full(material, number=8)):
            mu = float(model.heavy_hole_edge) + 15 * MEV
            radius = float(model.cutoff([mu, mu - 0.01]))
            for part, empty in ((1.0, True), (1.7, True), (0.2, False)):
                bands = polar_sea.per_band(model.prepared(), part * radius * circle)[0]
                assert np.all(bands[:, 0] > mu) == empty


def test_density_of_holes_and_back():
    """The printed densities, 10¹² cm⁻², and the Fermi energies that they belong to."""
    model = well()
    edge = float(model.heavy_hole_edge)
    mesh = OneRule(js.Disk(model.cutoff(edge + 15 * MEV), 100, 48))
    levels = js.Levels(edge + np.array([5] + [15] * 11) * MEV)  # as many as `fermi_energy` takes
    density = js.carrier_density(model, mesh, levels)
    within = [_area(model, mu) / (4 * np.pi**2) for mu in levels.mu[:2]]
    np.testing.assert_allclose(np.array(within) * 1e4, [0.515, 2.62], rtol=2e-3)
    np.testing.assert_allclose(density.value[:2], within, rtol=2e-3)
    back = js.fermi_energy(model, mesh, float(density.value[0]))
    assert abs(back - levels.mu[0]) < 1e-12
    narrow = eqx.tree_at(lambda m: m.mesh.cutoff, mesh, jnp.array(0.03))  # inside of that of 15 meV
    with pytest.warns(UserWarning, match="not below all bands on the rim"):
        beyond = js.fermi_energy(model, narrow, float(density.value[1]))
    assert beyond > levels.mu[1] + 10 * MEV


def _area(model, mu):
    """The area inside of all contours, Å⁻²."""
    angles = 2 * np.pi * (np.arange(8) + 0.5) / 64
    reach, matrices = float(model.cutoff(mu)), np.asarray(model.matrices)
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    radii = [polar_sea.crossings(matrices, ray, mu, reach) for ray in rays]
    return np.pi * np.mean([np.sum(r**2) for r in radii])


def test_fermi_energy_of_warm_carriers():
    """n = (m/π) kT ln(1 + exp(mu/kT)) of the parabolic gas, m = 1/8."""
    gas, temperature, mu = models.Rashba(kinetic=4.0, velocity=0.0), 50.0, 0.004
    thermal = KELVIN * temperature
    density = thermal * np.log1p(np.exp(mu / thermal)) / (8 * np.pi)
    found = js.fermi_energy(gas, js.Disk(0.2, 60, 5), density, temperature=temperature)
    assert abs(found - mu) < 1e-9
    with pytest.raises(ValueError, match=r"Argument `density` must be between .* and 0.0063"):
        js.fermi_energy(gas, js.Disk(0.2, 60, 5), 0.01)
    with pytest.raises(ValueError, match="is being traced"):
        jax.jit(lambda n: js.fermi_energy(gas, js.Disk(0.2, 60, 5), n))(density)


def test_fermi_energy_on_a_staircase():
    model, mesh = models.QiWuZhang(A=1.0, m=1.0), OneRule(js.Grid((10, 10)))
    with pytest.warns(
        UserWarning, match=r"at the Fermi energy found it is 0\.5.* in place of 0\.5"
    ):
        js.fermi_energy(model, mesh, 0.5)


# --- Bad input ------------------------------------------------------------------------------------

KP = models.HoleWellKP
BAD = {
    "unknown material": (
        lambda: models.HoleWell("Si", 250.0, 1e6),
        r"`material` must be one of 'GaAs', 'InAs', 'InSb', 'Ge', .* but is 'Si'",
    ),
    "two parameters": (lambda: models.HoleWell((6.85, 2.1), 250.0, 1e6), r"`material`.* \(2,\)"),
    "negative mass along z": (
        lambda: models.HoleWell((4.0, 2.1, 1.9), 250.0, 1e6),
        r"`material` must have gamma1 > 2\|gamma2\| .* mass",
    ),
    "negative mass along a diagonal": (
        lambda: models.HoleWell((6.85, 2.1, 3.5), 250.0, 1e6),
        r"`material` must have .* gamma1 > 2\|gamma3\|",
    ),
    "width in nm": (
        lambda: models.HoleWell("GaAs", 25.0, 1e6),
        r"`width` must be from 40 to 10000 Angstrom, but is 25.0. .* 25.0 nm are 250 Angstrom",
    ),
    "width in metres": (
        lambda: models.HoleWell("GaAs", 25e-9, 1e6),
        r"`width` must be from 40 .* but is 2.5e-08. .* metres: 2.5e-08 m are 250 Angstrom",
    ),
    "width in no unit": (lambda: models.HoleWell("GaAs", 0.5, 1e6), r"`width` .* but is 0.5.$"),
    "parameters not finite": (
        lambda: models.HoleWell((np.inf, 2.0, 2.0), 250.0, 1e6),
        r"`material` must be finite",
    ),
    "holes alike": (
        lambda: models.HoleWell((6.85, 0, 0), 250.0, 1e6),
        r"`material` .* gamma2 != 0",
    ),
    "negative width": (lambda: models.HoleWell("GaAs", -250.0, 1e6), r"`width` .* -250.0.$"),
    "several widths": (lambda: models.HoleWell("GaAs", [200.0, 250.0], 1e6), r"`width` .* one"),
    "width not finite": (lambda: models.HoleWell("GaAs", np.nan, 1e6), r"`width` .* nan"),
    "field in MV/m": (
        lambda: models.HoleWell("GaAs", 250.0, 1.0),
        r"`field` must be 0 or from 1000 to 1e\+09 V/m in magnitude, but is 1.0. .* 1 MV/m is 1e6",
    ),
    "field in kV/cm": (lambda: models.HoleWell("GaAs", 250.0, 100.0), r"`field` .* kV/cm"),
    "field in no unit": (lambda: models.HoleWell("GaAs", 250.0, 1e-9), r"`field` .* 1e-09.$"),
    "field too strong": (lambda: models.HoleWell("GaAs", 250.0, 1e12), r"`field` .* V/m .*0.0.$"),
    "field not finite": (lambda: models.HoleWell("GaAs", 250.0, np.nan), r"`field` .* nan"),
    "zeeman of three numbers": (lambda: well(zeeman=[0, 0, 1.0]), r"`zeeman` .* \(3,\)"),
    "zeeman not Hermitian": (lambda: well(zeeman=np.eye(4) * 1j), r"`zeeman` .* Hermitian"),
    "zeeman imaginary": (lambda: well(zeeman=1e-3j), r"`zeeman` must be real or Hermitian"),
    "zeeman not finite": (lambda: well(zeeman=np.nan), r"`zeeman` must be real .* nan"),
    "more subbands than resolved": (
        lambda: full(subbands=(12, 12)),
        r"`subbands` must be at most 8 of each kind, .* Legendre\(number=16\) resolves, .* 12",
    ),
    "no subbands": (lambda: full(subbands=(0, 2)), r"`subbands` must be two positive integers"),
    "one number of subbands": (lambda: full(subbands=(2,)), r"`subbands` must be two"),
    "basis a number": (lambda: KP("GaAs", 250.0, basis=16), r"`basis` must be a Legendre"),
    "basis of one": (lambda: models.Legendre(1), r"`number` must be an integer from 2 to 60"),
    "potential not finite": (
        lambda: full(potential=lambda z: 1 / (z - z)),
        r"`potential` must be finite",
    ),
    "potential a vector": (
        lambda: full(potential=lambda z: jnp.array([z, z])),
        r"`potential` must give one real number .* \(2,\)",
    ),
    "potential complex": (
        lambda: full(potential=lambda z: 1j * z),
        r"`potential` must give one real number .* complex128",
    ),
    "densities": (
        lambda: js.fermi_energy(well(), js.Disk(0.05, 20, 5), np.array([1e-5, 2e-5])),
        r"`density` must be one finite number",
    ),
    "no holes": (lambda: well().cutoff(-0.02), r"`mu` must be above the bottom of the well"),
}


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=f"Argument {message}"):
        call()


def test_rows_of_the_table():
    """Numbers in place of a name, and the row of Ge that is not the printed one."""
    by_name, by_number = well("InAs"), well((20.40, 8.30, 9.10))
    np.testing.assert_array_equal(by_name.matrices, by_number.matrices)
    other = well((13.38, 4.24, 5.69))
    assert abs(float(other.heavy_hole_edge - well("Ge (Liu 2023)").heavy_hole_edge)) > 0.1 * MEV
