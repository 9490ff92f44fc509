"""Fermi-surface theory against the brute-force Kubo-Streda formula, and controls that must fail.

The RA part of Kubo-Streda is ext + sj + sk and the Fermi-surface part of the intrinsic response,
−Σ_a w_a Im Tr(P_a ∂_yH R_a ∂_xH).
"""

import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin.disorder import GaussianCorrelator
from jaxspin.disorder.contributions import (
    interband_coherence,
    mix_interband,
    skew_source,
    sum_mechanisms,
)
from jaxspin.disorder.fermi_states import find_states
from jaxspin.disorder.results import ALWAYS_MEASURED
from jaxspin.engine.small_matrices import PAULI
from jaxspin.models import MassiveDirac, QiWuZhang
from jaxspin.models.lifted import Points
from jaxspin.reference import (
    correlations,
    dirac_cone_with_range,
    disk_nodes,
    extrapolate_to_no_disorder,
    find_crossing,
    pauli_hamiltonian,
    refine_rays,
    square_zone_nodes,
)

MASS = 0.3
STRENGTHS = (8e-4, 4e-4, 2e-4, 1e-4)
SCALAR = js.ScalarDisorder(1.0)
#: kinetic (0 is the Dirac cone), mu, and σ_yx.
CASES = {
    "dirac": (0.0, 1.0, 0.1290685508),
    "rashba, both bands": (0.3, 1.0, 0.0),
    "rashba, one band": (0.3, 0.1, 0.0005725054),
    "rashba, one heavier band": (0.5, 0.1, 0.0010841298),
    "rashba, annulus": (0.5, -0.35, 0.0315320471),
}


def radii(kinetic, mu):
    """Fermi wave numbers."""
    if kinetic == 0:
        return [np.sqrt(mu**2 - MASS**2)]
    middle = 1 + 2 * kinetic * mu
    root = np.sqrt(middle**2 - 4 * kinetic**2 * (mu**2 - MASS**2))
    squares = np.array([middle + root, middle - root]) / (2 * kinetic**2)
    return list(np.sqrt(squares[squares > 0]))


def on_shell(kinetic, mu):
    """The states of the Fermi surface, exact circles."""
    model = js.models.Rashba(kinetic=kinetic, velocity=1.0, exchange=MASS)
    theta = 2 * np.pi * np.arange(8) / 8
    k, band, weight = [], [], []
    for radius in radii(kinetic, mu):
        upper = mu > kinetic * radius**2
        split = np.sqrt(radius**2 + MASS**2)
        speed = 2 * kinetic * radius + (1 if upper else -1) * radius / split
        k.append(radius * np.array([np.cos(theta), np.sin(theta)]))
        band += [int(upper)] * 8
        weight += [radius / abs(speed) / (2 * np.pi) / 8] * 8
    surface = js.FermiSurface(
        jnp.asarray(np.concatenate(k, axis=1)), jnp.asarray(band), jnp.asarray(weight)
    )
    return states_of(model, surface)


states_of = eqx.filter_jit(
    lambda model, nodes: find_states(model, nodes, ALWAYS_MEASURED, has_groups=False)
)
parts_of = eqx.filter_jit(
    lambda states, disorder: sum_mechanisms(states, disorder.scattering(states))
)


def of_the_surface(states, disorder=SCALAR):
    """ext + sj + sk and the Fermi-surface part of int, of the current −v and the spin: (o, d)."""
    found = parts_of(states, disorder)
    p, r = (np.moveaxis(np.asarray(a), -1, 0) for a in (states.projector, states.resolvent))
    operators, slopes = np.asarray(states.operators), np.asarray(states.slopes)
    intrinsic = np.einsum("a,aij,ojka,akl,xlia->ox", states.weight, p, operators, r, slopes).imag
    return intrinsic + np.asarray(found.extrinsic + found.side_jump + found.skew)


def by_brute_force(coefficients, grid, mu):
    """The same, (K_AB − K_BA)/2 of −v and σ without disorder."""
    k, weight = grid
    hamiltonian, velocity = pauli_hamiltonian(coefficients, k)
    spin = np.broadcast_to(PAULI[1:, None], (3, *hamiltonian.shape))
    operators = np.concatenate([-velocity, spin])
    of_strength = lambda u: correlations(hamiltonian, operators, weight, mu, u)  # noqa: E731
    found = extrapolate_to_no_disorder(of_strength, STRENGTHS)
    return ((found - found.T) / 2)[:, :2]


def cone(kinetic=0.0, tilt=(0.0, 0.0), warping=0.0):
    """The d_μ(k) of H = Σ_μ d_μ σ_μ."""

    def coefficients(x, y):
        rest = kinetic * (x**2 + y**2) + tilt[0] * x + tilt[1] * y
        return rest, -y, x, MASS + warping * (x**3 - 3 * x * y**2)

    return coefficients


def lattice(t0):
    """The d_μ(k) of the Qi-Wu-Zhang model with A = 1, m = −1.2."""

    def coefficients(x, y):
        even = np.cos(x) + np.cos(y)
        return t0 * even, np.sin(x), np.sin(y), even - 1.2

    return coefficients


@pytest.mark.parametrize("name", CASES)
def test_fermi_surface_part(name):
    kinetic, mu, expected = CASES[name]
    assert of_the_surface(on_shell(kinetic, mu))[1, 0] == pytest.approx(expected, abs=6e-11)


@pytest.mark.parametrize("name", CASES)
def test_kubo_streda(name):
    kinetic, mu, _ = CASES[name]
    circles = lambda theta: np.tile(radii(kinetic, mu), (theta.size, 1)).T  # noqa: E731
    found = by_brute_force(cone(kinetic), disk_nodes(circles, 200.0, 8), mu)
    np.testing.assert_allclose(found, of_the_surface(on_shell(kinetic, mu)), rtol=0, atol=1e-10)


# --- without rotational symmetry ------------------------------------------------------------------

#: model, its d_μ, surface, mu, and σ_yx.
ANISOTROPIC = {
    "tilted": (
        MassiveDirac(velocity=1.0, mass=MASS, tilt=(0.3, 0.2)),
        cone(tilt=(0.3, 0.2)),
        js.FermiContour(64),
        1.0,
        0.1174842956,
    ),
    "warped": (
        MassiveDirac(velocity=1.0, mass=MASS, warping=0.2),
        cone(warping=0.2),
        js.FermiContour(64),
        1.0,
        0.1313533981,
    ),
    "qwz": (QiWuZhang(A=1.0, m=-1.2), lattice(0.0), js.FlowContour(64), 1.0, 0.4005760883),
    "qwz, t0": (
        QiWuZhang(A=1.0, m=-1.2, t0=-0.2),
        lattice(-0.2),
        js.FlowContour(64),
        0.8,
        0.2569430550,
    ),
}


@functools.cache
def anisotropic_states(name):
    model, _, surface, mu, _ = ANISOTROPIC[name]
    return states_of(model, surface.nodes(model, jnp.asarray(mu)))


@pytest.mark.parametrize("name", ANISOTROPIC)
def test_fermi_surface_part_of_anisotropic_bands(name):
    expected = ANISOTROPIC[name][-1]
    found = of_the_surface(anisotropic_states(name))[1, 0]
    assert found == pytest.approx(expected, abs=6e-11)


@pytest.mark.parametrize("name", ANISOTROPIC)
def test_kubo_streda_of_anisotropic_bands(name):
    """Conductivity and spin density. A cutoff is of order u0² here: what is far shifts H."""
    model, coefficients, _, mu, _ = ANISOTROPIC[name]
    crossings = find_crossing(coefficients, 1, mu, outermost=2.5)
    grid = (
        square_zone_nodes(crossings, 16)
        if model.lattice is not None
        else disk_nodes(crossings, 5.0, 48)
    )
    found = by_brute_force(coefficients, grid, mu)
    expected = of_the_surface(anisotropic_states(name))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-10)
    assert np.max(np.abs(expected[2:])) > 0.1
    if name == "tilted":  # the others have no ⟨σ_z⟩ by symmetry
        assert np.all(np.abs(expected[4]) > 0.02)


def test_kubo_streda_of_finite_range():
    """W(q) = u0² exp(−q² length²/2), against the sheet's .057139718 too."""
    length, mu = 2.0, 1.0
    model, radius = MassiveDirac(velocity=1.0, mass=MASS), np.sqrt(mu**2 - MASS**2)
    states = states_of(model, js.FermiContour(64).nodes(model, jnp.asarray(mu)))
    disorder = js.FiniteRangeDisorder(GaussianCorrelator(1.0, length))
    on_surface = of_the_surface(states, disorder)[1, 0]
    assert on_surface == pytest.approx(0.057139718, abs=6e-10)
    k, width = (x[:, 0] for x in refine_rays(np.full((1, 1), radius), np.full(1, 5.0)))
    options = {"mass": MASS, "energy": mu, "length": length}
    of_strength = lambda u: dirac_cone_with_range(k, width, strength=u, **options)  # noqa: E731
    found = extrapolate_to_no_disorder(of_strength, 5 * np.array(STRENGTHS))
    assert found == pytest.approx(on_surface, abs=1e-10)


# --- four bands, matrix disorder ------------------------------------------------------------------


class Film(js.Model):
    """Both surfaces of a magnetic film, coupled, with a step between them: four bands.

    0.1 k² + (k_x σ_y − k_y σ_x) τ_z + 0.25 τ_x + 0.3 σ_z + 0.15 τ_z + 0.07 τ_z σ_z.
    """

    dimension = 2

    def __call__(self, k):
        one, x, y, z = PAULI
        rest = 0.25 * np.kron(x, one) + 0.15 * np.kron(z, one) + 0.07 * np.kron(z, z)
        rest = rest + 0.3 * np.kron(one, z) + 0.1 * (k @ k) * np.eye(4)
        return rest + k[0] * np.kron(z, y) - k[1] * np.kron(z, x)

    def spin(self):
        return jnp.asarray([np.kron(PAULI[0], s) for s in PAULI[1:]])


#: Scalar; magnetic along z and scalar; one potential for each surface.
IMPURITIES = {
    "scalar": np.eye(4)[None],
    "magnetic": np.array([0.8 * np.eye(4), 0.5 * np.kron(PAULI[0], PAULI[3])]),
    "by surface": np.array([np.diag([1, 1, 0, 0]), np.diag([0, 0, 0.7, 0.7])]),
}


@pytest.fixture(scope="module")
def film():
    """The states of the film at 0.9 eV, four circles, and H, −v, σ and weights on the grid."""
    model, mu = Film(), 0.9
    surface = js.FermiContour(8).nodes(model, mu)
    states = states_of(model, surface)
    there = np.asarray(surface.weight) != 0
    circles = np.unique(np.linalg.norm(np.asarray(surface.k), axis=0)[there].round(10))
    assert len(circles) == 4
    k, weight = disk_nodes(lambda theta: np.tile(circles, (theta.size, 1)).T, 200.0, 8)
    bands = [
        np.moveaxis(np.asarray(x), -1, 0)
        for x in eqx.filter_jit(model.lift)(Points(jnp.asarray(k)))[:2]
    ]
    velocity, spin = np.moveaxis(bands[1], 0, 1), np.asarray(model.spin())[:, None]
    operators = np.concatenate([-velocity, np.broadcast_to(spin, (3, *bands[0].shape))])
    return states, bands[0], operators, weight, mu


@pytest.mark.parametrize("name", IMPURITIES)
def test_kubo_streda_of_four_bands(film, name):
    """Disorder by matrices: the conductivity and the spin density."""
    states, hamiltonian, operators, weight, mu = film
    matrices = IMPURITIES[name].astype(complex)
    expected = of_the_surface(states, js.MatrixDisorder(matrices))

    def of_strength(u):
        return correlations(hamiltonian, operators, weight, mu, u, matrices=matrices)

    found = extrapolate_to_no_disorder(of_strength, STRENGTHS)
    np.testing.assert_allclose(((found - found.T) / 2)[:, :2], expected, rtol=0, atol=5e-10)
    if name == "magnetic":
        assert abs(expected[1, 0]) > 0.02


# --- controls -------------------------------------------------------------------------------------


def test_skew_scattering_of_36_as_printed_is_wrong():
    """Half of the rule on shell, and populations off shell: .01162 + .00382 = .01545, not .02325.

    With .02325 the total of both Rashba bands vanishes, as it does by brute force; with (36) not.
    """
    kinetic, mu = 0.3, 1.0
    states = on_shell(kinetic, mu)
    scattering = SCALAR.scattering(states)
    found = parts_of(states, SCALAR)
    rule = float(found.skew[1, 0])
    off_shell = _off_shell_skew(states, scattering)
    assert rule == pytest.approx(0.0232456099, abs=1e-9)
    assert rule / 2 + off_shell == pytest.approx(0.01545, abs=6e-6)
    total = of_the_surface(states)[1, 0]
    assert abs(total) < 1e-13
    assert abs(total - rule / 2 + off_shell) > 1e-3


def _off_shell_skew(states, scattering) -> float:
    """σ_yx of what (36) puts on the other band m at the k of the Fermi surface, energy E' = ε_m(k).

    For isotropic contours E' is one energy for each contour, at which J0 n = −J_sk is solved anew.
    """
    n = np.asarray(_drude(states, scattering))[0]
    p, r = (np.moveaxis(np.asarray(a), -1, 0) for a in (states.projector, states.resolvent))
    w = np.asarray(states.weight)
    density, pushed = np.einsum("a,aij->ij", w, p), np.einsum("a,aij->ij", w * n, p)
    y = n[:, None, None] * density - pushed
    mixed = r @ y @ p
    coherence = -1j * np.pi * (mixed - mixed.conj().swapaxes(1, 2))
    return sum(_of_contour(states, contour, w, coherence) for contour in range(len(w) // 8))


def _of_contour(states, contour, w, coherence) -> float:
    here = slice(8 * contour, 8 * contour + 8)
    k = np.asarray(states.k)[:, here]
    radius = np.linalg.norm(k[:, 0])
    upper = contour == 1  # the smaller contour is that of the upper band
    split = np.sqrt(radius**2 + MASS**2)
    energy = 0.3 * radius**2 + (-split if upper else split)
    other = on_shell(0.3, energy)
    p, w_other = np.moveaxis(np.asarray(other.projector), -1, 0), np.asarray(other.weight)
    density = np.einsum("a,aij->ij", w_other, p)
    summed = np.einsum("a,aij->ij", w[here], coherence[here])
    source = -np.einsum("aij,ji->a", p, summed).real
    mine = np.isclose(np.linalg.norm(np.asarray(other.k), axis=0), radius)
    out = np.einsum("aij,jk,aki->a", p[mine], density, coherence[here]).real
    source[mine] += 2 * out * w[here] / w_other[mine]
    scattering = SCALAR.scattering(other)
    f = scattering.solve_collisions((-np.pi * source * scattering.vectors)[None])
    return -float(np.sum(w_other * other.velocity[1] * scattering.mean_of_bands(f)[0]))


def _drude(states, scattering):
    """n_D."""
    f = scattering.solve_collisions(-states.velocity[:, None] * scattering.vectors)
    return scattering.mean_of_bands(f)


def spinors(k, band, chi):
    """Rashba states with phases exp(i χ_band·k)."""
    kx, ky = k
    off = -ky - 1j * kx  # ⟨up|kx σy − ky σx|down⟩
    lam = np.sqrt(kx**2 + ky**2 + MASS**2)
    sign = np.where(band == 1, 1, -1)
    u = np.array([off, sign * lam - MASS]) / np.sqrt(2 * lam * (lam - sign * MASS))
    return u * np.exp(1j * (chi[band, 0] * kx + chi[band, 1] * ky))


def anomalous_driving(states, band, chi, printed: bool):
    """(38) over eE ∂f/∂ε, as printed or with its first sum over all m'; (2, a)."""
    k, w, step = np.asarray(states.k), np.asarray(states.weight), 1e-5

    def slope(function):
        moves = [np.array([[step], [0]]), np.array([[0], [step]])]
        return np.array([(function(k + m) - function(k - m)) / (2 * step) for m in moves])

    u = spinors(k, band, chi)
    change = slope(lambda k: spinors(k, band, chi))  # (2, s, a)
    connection = 1j * np.einsum("sa,xsa->xa", u.conj(), change)
    overlap = np.einsum("sa,sb->ab", u.conj(), u)
    moved = np.einsum("xsa,sb->xab", change.conj(), u) + np.einsum("sa,xsb->xab", u.conj(), change)
    square = np.abs(overlap) ** 2
    pairs = square * (band[:, None] == band) if printed else square
    first = np.einsum("b,ab,xab->xa", w, pairs, connection[:, None, :] - connection[:, :, None])
    second = np.einsum("b,xab,ab->xa", w, moved, overlap.conj()).imag
    return 2 * np.pi * (first.real + second)


def test_anomalous_driving_of_38_as_printed_depends_on_the_gauge(rng):
    """With all m' in the first sum it does not, and is the extrinsic velocity β."""
    states = on_shell(0.3, 1.0)
    band = np.repeat([0, 1], 8)
    none, some = np.zeros((2, 2)), rng.normal(size=(2, 2))
    scattering = SCALAR.scattering(states)
    beta = scattering.mean_of_bands(mix_interband(states, scattering, states.slopes))
    for chi in (none, some):
        np.testing.assert_allclose(anomalous_driving(states, band, chi, False), beta, atol=1e-8)
    printed = [anomalous_driving(states, band, chi, True) for chi in (none, some)]
    assert np.max(np.abs(printed[0] - printed[1])) > 0.01


def test_skew_source_holds_no_charge():
    states = on_shell(0.5, -0.35)
    scattering = SCALAR.scattering(states)
    f = scattering.solve_collisions(-states.velocity[:, None] * scattering.vectors)
    source = skew_source(scattering, interband_coherence(states, scattering, f))
    assert np.max(np.abs(scattering.mean_of_bands(source) @ states.weight)) < 1e-14
