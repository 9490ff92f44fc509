"""Fermi-surface quadratures: closed forms, convergence, derivatives, and what they refuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js
from jaxspin.models import MassiveDirac, QiWuZhang, Rashba, TopologicalInsulator
from jaxspin.models.base import parameter
from jaxspin.surfaces.base import one_band

QWZ = QiWuZhang(1.0, -1.2, -0.2)  # one contour around Γ at 0.8 eV
WARPED = MassiveDirac(1.0, 0.3, 0.2)


class Ellipsoid(js.Model):
    """One band, k²/2m + warp k_x⁴, in three dimensions."""

    mass: jax.Array = parameter()
    warp: jax.Array = parameter(0.0)

    @property
    def dimension(self):
        return 3

    def __call__(self, k):
        return (k @ k / (2 * self.mass) + self.warp * k[0] ** 4).reshape(1, 1).astype(complex)

    def spin(self):
        return jnp.zeros((3, 1, 1))


class Parabola(js.Model):
    """One band, Σ D_i k_i²."""

    stiffness: jax.Array

    @property
    def dimension(self):
        return len(self.stiffness)

    def __call__(self, k):
        return (self.stiffness @ k**2).reshape(1, 1).astype(complex)

    def spin(self):
        return jnp.zeros((3, 1, 1))


# Compiled, for its operations one by one take longer.
band_at = eqx.filter_jit(one_band)


def velocities(model, surface):
    return np.asarray(band_at(model, surface.k, surface.band)[1])


def sums(model, surface):
    """Density of states, Σ w v_i, Σ w v_i v_j."""
    w, v = np.asarray(surface.weight), velocities(model, surface)
    return w.sum(), v @ w, np.einsum("a,ia,ja->ij", w, v, v)


def smooth(surface):
    """Σ_a w_a g(k_a) of a smooth function without any symmetry."""
    x, y = surface.k[:2]
    return jnp.sum(surface.weight * jnp.exp(0.5 * jnp.sin(x + 0.3) + 0.4 * jnp.cos(y - 0.2)))


# --------------------------------------------------------------------------- values


@pytest.mark.parametrize("rule", [js.FermiContour(8), js.FlowContour(8, rays=32)])
@pytest.mark.parametrize("mu", [1.0, -0.7])
def test_massive_dirac(rule, mu):
    """ρ = |mu|/2πv², and the Drude weight Σ w v² δ_ij/2 with v = v²k/|mu|."""
    model = MassiveDirac(1.7, 0.3)
    density, current, drude = sums(model, rule.nodes(model, mu))
    assert density == pytest.approx(abs(mu) / (2 * np.pi * 1.7**2), rel=1e-13)
    np.testing.assert_allclose(current, 0, atol=1e-14)
    expected = (mu**2 - 0.3**2) / (4 * np.pi * abs(mu))
    np.testing.assert_allclose(drude, expected * np.eye(2), atol=1e-14)


def rashba_density(kinetic, exchange, mu):
    """Σ over the roots k² of kinetic k² ± √(k² + M²) = mu of 1/(4π |∂ε/∂k²|)."""
    roots = np.roots([kinetic**2, -(2 * kinetic * mu + 1), mu**2 - exchange**2])
    total, number = 0.0, 0
    for square in roots[np.isreal(roots) & (roots.real > 0)].real:
        split = np.sqrt(square + exchange**2)
        for sign in (1, -1):
            if abs(kinetic * square + sign * split - mu) < 1e-9:
                total += 1 / (4 * np.pi * abs(kinetic + sign / (2 * split)))
                number += 1
    return total, number


@pytest.mark.parametrize(
    ("mu", "contours"),
    [(1.0, 2), (0.5, 2), (0.1, 1), (-0.35, 2), (-0.5449, 2), (-0.6, 0)],
    ids=["two bands", "two bands, lower", "one band", "annulus", "thin annulus", "none"],
)
def test_rashba(mu, contours):
    model = Rashba(0.5, 1.0, 0.3)
    expected, number = rashba_density(0.5, 0.3, mu)
    surface = js.FermiContour(8).nodes(model, mu)
    assert number == contours
    assert np.count_nonzero(surface.weight) == 8 * contours
    assert float(jnp.sum(surface.weight)) == pytest.approx(expected, rel=1e-11, abs=1e-15)
    energies = band_at(model, surface.k, surface.band)[0][np.asarray(surface.weight) > 0]
    np.testing.assert_allclose(energies, mu, atol=1e-13)


def test_annulus_carries_no_current_by_flow():
    model = Rashba(0.5, 1.0, 0.3)
    density, current, _ = sums(model, js.FlowContour(8, rays=32).nodes(model, -0.35))
    assert density == pytest.approx(rashba_density(0.5, 0.3, -0.35)[0], rel=1e-13)
    np.testing.assert_allclose(current, 0, atol=1e-14)


def test_parabolic_shell():
    """ρ = m k/2π² and Σ w v_i v_j = (k²/m²) ρ/3 δ_ij: a shell of few rays is exact."""
    model, mass, mu = Ellipsoid(1.3), 1.3, 0.7
    radius = np.sqrt(2 * mass * mu)
    density, current, drude = sums(model, js.FermiShell(3, 4).nodes(model, mu))
    assert density == pytest.approx(mass * radius / (2 * np.pi**2), rel=1e-13)
    np.testing.assert_allclose(current, 0, atol=1e-14)
    np.testing.assert_allclose(drude, (radius / mass) ** 2 * density / 3 * np.eye(3), atol=1e-14)


@pytest.mark.parametrize("stiffness", [(0.4, 9.0), (2.0, 9.0, 0.3)])
def test_scaled_rays(stiffness):
    """Few rays are exact on an ellipsoid that they are scaled to, and are not without."""
    model, stiffness, mu = Parabola(jnp.array(stiffness)), np.array(stiffness), 0.7
    d = len(stiffness)
    sphere = 1 / (4 * np.pi) if d == 2 else np.sqrt(mu) / (4 * np.pi**2)
    expected = sphere / np.sqrt(np.prod(stiffness))
    rule = js.FermiContour if d == 2 else js.FermiShell
    number = (8, 8)[: d - 1]
    density, current, drude = sums(model, rule(*number, scale=stiffness**-0.5).nodes(model, mu))
    assert density == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(current, 0, atol=1e-14)
    np.testing.assert_allclose(drude, np.diag(4 * stiffness * mu / d * density), atol=1e-13)
    assert abs(sums(model, rule(*number).nodes(model, mu))[0] / expected - 1) > 1e-4


def test_shell_of_degenerate_bands():
    """Bulk Bi2Se3: two Kramers partners, each with its node on each ray."""
    model, mu = TopologicalInsulator.bi2se3(), 0.5
    surface = js.FermiShell(4, 4).nodes(model, mu)
    used = np.asarray(surface.weight) > 0
    assert list(np.bincount(np.asarray(surface.band)[used])) == [0, 0, 16, 16]
    energies = band_at(model, surface.k, surface.band)[0]
    np.testing.assert_allclose(np.asarray(energies)[used], mu, atol=1e-12)


def test_broadened_shell():
    """Methfessel-Paxton in three dimensions, on a ball, against ρ = m k/2π²."""
    rule = js.BroadenedSurface(js.Ball(2.5, 60, 3, 3), 0.15, 2)
    density = float(jnp.sum(rule.nodes(Ellipsoid(1.3), 0.7).weight))
    assert density == pytest.approx(1.3 * np.sqrt(2 * 1.3 * 0.7) / (2 * np.pi**2), rel=1e-4)


def test_flow_has_equal_weights():
    surface = js.FlowContour(24).nodes(QWZ, 0.8)
    used = surface.weight[surface.weight > 0]
    assert len(used) == 24
    np.testing.assert_allclose(used, used[0], rtol=1e-13)


# --------------------------------------------------------------------------- convergence


@pytest.fixture(scope="module")
def warped_exact():
    return float(smooth(js.FermiContour(64).nodes(WARPED, 1.0)))


@pytest.mark.parametrize(("angles", "error"), [(16, 1e-3), (32, 1e-6)])
def test_rays_converge_spectrally(angles, error, warped_exact):
    found = abs(float(smooth(js.FermiContour(angles).nodes(WARPED, 1.0))) - warped_exact)
    assert 1e-4 * error < found < error


LATTICE_RULES = {
    "flow 24": (js.FlowContour(24), 1e-7),
    "rays 64": (js.FermiContour(64), 2e-6),
    "squares 24": (js.MarchingSquares((24, 24)), 1e-7),
    "squares 40": (js.MarchingSquares((40, 40)), 1e-9),
    "Methfessel-Paxton 2": (js.BroadenedSurface(js.Grid((160, 160)), 0.08, 2), 1e-3),
}


@pytest.fixture(scope="module")
def lattice_exact():
    return float(smooth(js.FlowContour(64).nodes(QWZ, 0.8)))


@pytest.mark.parametrize(("rule", "error"), LATTICE_RULES.values(), ids=LATTICE_RULES.keys())
def test_rules_agree_on_a_lattice(rule, error, lattice_exact):
    found = abs(float(smooth(rule.nodes(QWZ, 0.8))) - lattice_exact)
    assert found < error


@pytest.mark.parametrize(("order", "power"), [(0, 2), (1, 4), (2, 6)])
def test_broadening_error_falls_with_its_order(order, power):
    """Twice the width, 2^(2 order + 2) times the error, for a band structure that is smooth."""

    @eqx.filter_jit
    def error(width):
        rule = js.BroadenedSurface(js.Disk(4.0, 160, 3), width, order)
        surface = rule.find(WARPLESS, 1.0)[0]
        exact = jnp.exp(-0.91) / (2 * jnp.pi)
        return jnp.sum(surface.weight * jnp.exp(-jnp.sum(surface.k**2, axis=0))) - exact

    ratio = abs(float(error(jnp.array(0.16)) / error(jnp.array(0.08))))
    assert np.log2(ratio) == pytest.approx(power, abs=0.7)


WARPLESS = MassiveDirac(1.0, 0.3)


# --------------------------------------------------------------------------- derivatives, vmap

DIFFERENTIABLE = {
    "rays": (js.FermiContour(48), lambda m: MassiveDirac(1.0, m, 0.2 + 0.1 * m), 0.3, 1.0),
    "flow": (js.FlowContour(48, rays=128), lambda m: MassiveDirac(1.0, m, 0.2), 0.3, 1.0),
    "squares": (js.MarchingSquares((24, 24), 8), lambda m: QiWuZhang(1.0, m, -0.2), -1.2, 0.8),
    "shell": (
        js.FermiShell(12, 12, scale=(0.9, 1.0, 1.1), samples=16),
        lambda m: Ellipsoid(m, 0.1),
        1.3,
        1.0,
    ),
    "broadened": (
        js.BroadenedSurface(js.Grid((40, 40)), 0.2, 1),
        lambda m: QiWuZhang(1.0, m, -0.2),
        -1.2,
        0.8,
    ),
}


@pytest.mark.parametrize(
    ("rule", "model", "mass", "mu"), DIFFERENTIABLE.values(), ids=DIFFERENTIABLE.keys()
)
def test_derivative_and_vmap(rule, model, mass, mu):
    """jvp by a parameter and mu together against a difference of four values; vmap, a loop."""

    def value(t):
        return smooth(rule.nodes(model(mass + 0.4 * t), mu + t))

    several = 2e-3 * jnp.array([0.0, 1.0, -1.0, 2.0, -2.0])
    with_tangent = jax.vmap(lambda t: jax.jvp(value, (t,), (1.0,)))
    values, tangents = jax.jit(with_tangent)(several)
    near, far = (values[1] - values[2]) / 4e-3, (values[3] - values[4]) / 8e-3
    assert float(tangents[0]) == pytest.approx(float((4 * near - far) / 3), abs=1e-8)
    one_by_one = [float(smooth(rule.nodes(model(mass + 0.4 * t), mu + t))) for t in several[:2]]
    np.testing.assert_allclose(values[:2], one_by_one, rtol=1e-12)


def test_vmap_over_many_levels_and_masses():
    """Arrays so long that XLA shares them among threads."""

    def density(mass, mu):
        return jnp.sum(js.FermiContour(16).nodes(MassiveDirac(1.0, mass, 0.0), mu).weight)

    masses, levels = jnp.linspace(0.1, 0.6, 10), jnp.linspace(0.3, 1.5, 20)
    of_levels = jax.vmap(density, (None, 0))
    found = jax.jit(jax.vmap(of_levels, (0, None)))(masses, levels)
    expected = jnp.where(levels > masses[:, None], levels / (2 * jnp.pi), 0)
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_reverse_mode():
    def value(model):
        return smooth(js.FermiContour(48).nodes(model, 1.0))

    gradient = jax.jit(jax.grad(value))(WARPED)
    ones = jax.tree.map(jnp.ones_like, WARPED)
    tangent = jax.jit(lambda m: jax.jvp(value, (m,), (ones,))[1])(WARPED)
    total = sum(float(jnp.sum(leaf)) for leaf in jax.tree.leaves(gradient))
    assert total == pytest.approx(float(tangent), rel=1e-12)


# --------------------------------------------------------------------------- invariance


@pytest.mark.parametrize("shift", [(0.1, 0.7), (1.382, -3.764)], ids=["other", "by G/40"])
def test_shift_of_the_mesh(shift, lattice_exact):
    """Any shift is a rule of its own; one by whole spacings is the same one, modulo G."""
    surface = js.MarchingSquares((40, 40), 4, shift=shift).nodes(QWZ, 0.8)
    assert float(smooth(surface)) == pytest.approx(lattice_exact, abs=2e-9)


def test_center_of_the_rays(warped_exact):
    """Rays from another point inside the contour see the same surface."""
    moved = js.FermiContour(64, center=(0.1, -0.15)).nodes(WARPED, 1.0)
    assert float(smooth(moved)) == pytest.approx(warped_exact, rel=1e-10)


def test_rotated_model():
    """The warping turned by 180° is the negative warping: k -> -k on the surface."""
    one = js.FermiContour(32).nodes(MassiveDirac(1.0, 0.3, 0.2), 1.0)
    other = js.FermiContour(32).nodes(MassiveDirac(1.0, 0.3, -0.2), 1.0)
    back = js.FermiSurface(-other.k, other.band, other.weight)
    assert float(smooth(one)) == pytest.approx(float(smooth(back)), rel=1e-12)


# --------------------------------------------------------------------------- negative controls


def test_too_few_nodes_are_off(warped_exact, lattice_exact):
    coarse = smooth(js.FermiContour(8).nodes(WARPED, 1.0))
    assert abs(float(coarse) - warped_exact) > 1e-5
    coarse = smooth(js.MarchingSquares((12, 12), 1).nodes(QWZ, 0.8))
    assert abs(float(coarse) - lattice_exact) > 1e-4


def test_weights_without_the_velocity_are_wrong():
    """Arc length in place of arc length over |∂ε|: the current no longer vanishes by symmetry
    alone, and the density of states is that of no model."""
    model = MassiveDirac(1.0, 0.3, 0.1, (0.2, 0.1))
    surface = js.FermiContour(64).nodes(model, 1.0)
    v = velocities(model, surface)
    right, wrong = surface.weight, surface.weight * np.linalg.norm(v, axis=0)
    np.testing.assert_allclose(v @ right, 0, atol=1e-12)
    assert np.max(np.abs(v @ wrong)) > 1e-3


# --------------------------------------------------------------------------- what is refused


def test_open_surface_is_refused_by_rays_and_done_by_squares():
    """At 0.7 eV the contours of this QWZ do not enclose Γ; marching squares has them."""
    model = QiWuZhang(1.0, -0.5, 0.3)
    with pytest.raises(ValueError, match=r"is open, or does not enclose `center`"):
        js.FermiContour(24).nodes(model, 0.7)
    density = [
        float(jnp.sum(js.MarchingSquares((n, n)).nodes(model, 0.7).weight)) for n in (24, 40)
    ]
    assert density[0] == pytest.approx(density[1], rel=1e-5)


def refusals():
    shifted = js.FermiContour(16, center=(1.3, 0.0))
    yield "roots", js.FermiContour(8, roots=1), Rashba(0.5, 1.0, 0.3), -0.35, "`roots`"
    yield "center outside", shifted, MassiveDirac(1.0, 0.3), 1.0, "does not enclose `center`"
    yield (
        "flow, outside",
        js.FlowContour(8, rays=32, center=(1.3, 0.0)),
        MassiveDirac(1.0, 0.3),
        1.0,
        "does not enclose `center`",
    )
    yield "van Hove", js.FermiContour(16), QiWuZhang(1.0, -1.2), 1.1999999, "van Hove"
    yield "few rays", js.FlowContour(8, rays=16), WARPED, 1.0, "Use more `rays`"
    yield "chords", js.MarchingSquares((16, 16), 2, chords=8), QWZ, 0.8, "`chords`"
    yield "saddle", js.MarchingSquares((40, 40)), QiWuZhang(1.0, -1.2), 1.2, "finer `shape`"
    yield "narrow", js.BroadenedSurface(js.Grid((16, 16)), 0.01), QWZ, 0.8, "larger `width`"


REFUSALS = {name: case for name, *case in refusals()}


@pytest.mark.parametrize(("rule", "model", "mu", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_surface_that_the_rule_cannot_do(rule, model, mu, message):
    with pytest.raises(ValueError, match=message):
        rule.nodes(model, mu)


def test_weights_are_nan_where_the_refusal_cannot_be_said():
    """In one vmap: a surface that encloses the center, one that does not, and none."""
    model = QiWuZhang(1.0, -1.2)
    density = jax.jit(jax.vmap(lambda mu: jnp.sum(js.FermiContour(16).nodes(model, mu).weight)))(
        jnp.array([0.9, 2.0, 0.1])
    )
    assert np.isfinite(density[0])
    assert np.isnan(density[1])
    assert density[2] == 0


def test_no_surface_has_no_weight():
    """Every slot is there, finite, with weight 0."""
    gap = MassiveDirac(1.0, 0.3)
    rules = (js.FermiContour(8), gap), (js.FlowContour(8, rays=32), gap)
    for rule, model in (*rules, (js.MarchingSquares((24, 24)), QWZ)):
        surface = rule.nodes(model, 0.05)
        assert np.all(np.asarray(surface.weight) == 0)
        assert np.all(np.isfinite(np.asarray(surface.k)))


ARGUMENTS = {
    "angles": (lambda: js.FermiContour(2), "Argument `angles` must be an integer of at least 3"),
    "nodes": (lambda: js.FlowContour(2.5), "Argument `nodes` must be an integer of at least 3"),
    "rays": (lambda: js.FlowContour(8, rays=1), "Argument `rays`"),
    "polar": (lambda: js.FermiShell(1, 8), "Argument `polar`"),
    "azimuthal": (lambda: js.FermiShell(8, 0), "Argument `azimuthal`"),
    "samples": (lambda: js.FermiContour(8, samples=2), "Argument `samples`"),
    "root": (lambda: js.FermiContour(8, roots=0), "Argument `roots`"),
    "center": (lambda: js.FermiContour(8, center=(0, 0, 0)), "Argument `center` must be 2"),
    "center, finite": (lambda: js.FermiShell(8, 8, center=(0, 0, np.nan)), "`center` must be fin"),
    "scale": (lambda: js.FermiContour(8, scale=(1, 0)), "Argument `scale` must be 2 positive"),
    "scale, shape": (lambda: js.FermiShell(8, 8, scale=2.0), "Argument `scale` must be 3 positive"),
    "reach": (lambda: js.FermiContour(8, reach=-1.0), "Argument `reach` must be a positive"),
    "reach, text": (lambda: js.FermiContour(8, reach="1"), "Argument `reach` must be a positive"),
    "shape": (lambda: js.MarchingSquares(8), "Argument `shape` must be two"),
    "side": (lambda: js.MarchingSquares((8, 2)), "Argument `shape` must be an integer"),
    "points": (lambda: js.MarchingSquares((8, 8), 0), "Argument `points`"),
    "shift": (lambda: js.MarchingSquares((8, 8), shift=(0.1, np.inf)), "Argument `shift`"),
    "width": (lambda: js.BroadenedSurface(js.Grid((8, 8)), 0.0), "Argument `width`"),
    "width, none": (lambda: js.BroadenedSurface(js.Grid((8, 8)), None), "Argument `width`"),
    "orders": (lambda: js.BroadenedSurface(js.Grid((8, 8)), 0.1, [1, 2]), "Argument `order`"),
    "order": (lambda: js.BroadenedSurface(js.Grid((8, 8)), 0.1, 3), "Argument `order`"),
    "mesh": (lambda: js.BroadenedSurface(8, 0.1), "Argument `mesh` must be a mesh"),
    "mu": (lambda: js.FermiContour(8).nodes(WARPED, [0.1, 0.2]), "Argument `mu` must be one"),
    "mu, none": (lambda: js.FermiContour(8).nodes(WARPED, None), "Argument `mu` must be one"),
    "mu, finite": (lambda: js.FermiContour(8).nodes(WARPED, np.nan), "Argument `mu` must be one"),
    "model": (lambda: js.FermiContour(8).nodes(1, 0.5), "Argument `model` must be a jaxspin.Model"),
    "2D": (lambda: js.FermiContour(8).nodes(Ellipsoid(1.0), 0.5), "dimension 2 for FermiContour"),
    "2D flow": (lambda: js.FlowContour(8).nodes(Ellipsoid(1.0), 0.5), "dimension 2 for Flow"),
    "3D": (lambda: js.FermiShell(8, 8).nodes(WARPED, 0.5), "dimension 3 for FermiShell"),
    "2D squares": (
        lambda: js.MarchingSquares((8, 8)).nodes(Ellipsoid(1.0), 0.5),
        "dimension 2 for MarchingSquares",
    ),
    "lattice": (
        lambda: js.MarchingSquares((8, 8)).nodes(WARPED, 0.5),
        "must be a lattice model for MarchingSquares",
    ),
    "kind of mesh": (
        lambda: js.BroadenedSurface(js.Grid((8, 8)), 0.1).nodes(WARPED, 0.5),
        "must be a mesh for continuum models",
    ),
}


@pytest.mark.parametrize(("call", "message"), ARGUMENTS.values(), ids=ARGUMENTS.keys())
@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
