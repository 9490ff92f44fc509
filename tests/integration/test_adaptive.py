"""Adaptive meshes: the tolerance is met, with few points, and the reported error is honest."""

import math
import warnings

import jax
import numpy as np
import pytest
from bi2se3 import COLUMNS, WIDTH, ZERO_TEMPERATURE, bi2se3
from matplotlib import pyplot
from systems import CONVENTIONAL, QUANTITIES, A, B, total

import jaxspin as js
from jaxspin import models

HALL = {"flow": "y", "field": "x"}


def haldane(gap: float) -> models.Haldane:
    """C = -1, with a gap far below the hopping at one of the two valleys."""
    onsite = 3 * math.sqrt(3) * 0.1 - gap / 2
    return models.Haldane(onsite=onsite, hopping=1.0, next_hopping=0.1, phase=math.pi / 2)


@pytest.mark.parametrize("gap", [0.1, 1e-2, 1e-3])
def test_chern_number_at_a_small_gap(gap):
    """To 1e-6 in at most 30,000 points, where a uniform grid would take 10⁸ for the last."""
    mesh = js.Adaptive(js.Grid((20, 20)), rtol=1e-6)
    response = js.anomalous_hall(haldane(gap), mesh, js.Levels(0.0)).to("e^2/h").component(**HALL)
    assert response.info["converged"]
    assert response.info["points"] <= 30_000
    assert abs(float(response.value[0]) + 1) < 1e-6
    assert abs(float(response.value[0]) + 1) <= float(response.error[0]) <= 1e-6


@pytest.mark.parametrize("mesh", [js.Plane(0.1, 20, 5), js.Plane(0.02, 30, 8)])
def test_dirac_cone_of_a_millielectronvolt(mesh):
    """M/2μ, from inside the gap to a hundred times the gap, on a plane whose scale is not tuned."""
    mass, mu = 1e-3, np.array([0.0, 5e-4, 2e-3, 0.1, -0.05])
    model = models.MassiveDirac(velocity=3.0, mass=mass)
    response = js.anomalous_hall(model, js.Adaptive(mesh, rtol=1e-7), js.Levels(mu))
    value = np.asarray(response.to("e^2/h").component(**HALL).value)
    expected = 0.5 * mass / np.maximum(mass, np.abs(mu))
    assert np.all(np.abs(value - expected) < 1e-7 * expected)
    assert response.info["points"] < 30_000


def test_temperatures_in_one_scan():
    """A whole scan agrees with the plain mesh within both errors, temperatures in any order."""
    model = models.Haldane(onsite=-0.2, hopping=-1.0, next_hopping=0.15, phase=np.pi / 2)
    levels = js.Levels([1.0, -1.5, 0.0], [1500.0, 0.0, 4000.0])
    plain = js.anomalous_hall(model, js.Grid((240, 240)), levels)
    refined = js.anomalous_hall(model, js.Adaptive(js.Grid((20, 20)), rtol=1e-4), levels)
    assert refined.axes == plain.axes
    assert np.all(np.abs(refined.value - plain.value) <= refined.error + plain.error + 1e-12)
    scale = np.max(np.abs(np.asarray(refined.value)), axis=(2, 3), keepdims=True)
    assert np.all(refined.error <= 1e-4 * scale)


def test_density_of_states_at_zero_temperature():
    """m/π with both bands of the Rashba gas filled, from the delta function itself."""
    model = models.Rashba(kinetic=0.5, velocity=0.3)
    mesh = js.Adaptive(js.Plane(0.5, 20, 5), rtol=1e-6)
    response = js.density_of_states(model, mesh, js.Levels([0.2, 0.5]))
    np.testing.assert_allclose(response.value * np.pi, 1.0, rtol=1e-6)


# --- Bi2Se3 ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("definition", [A, CONVENTIONAL])
@pytest.mark.study
def test_fermi_surfaces_of_bi2se3(definition):
    """T = 0 with mu in the bands to five digits, eight Fermi energies at once."""
    mesh = js.Adaptive(js.Space(WIDTH, 20, 20, 5), rtol=1e-5)
    response = js.spin_hall(
        bi2se3(), mesh, js.Levels(list(ZERO_TEMPERATURE)), definition=definition
    )
    assert response.info["converged"]
    for i, column in enumerate(COLUMNS):
        if column[0] == definition:
            value = np.asarray(response.value)[:, *column[1:]]
            expected = np.array([float(row[i]) for row in ZERO_TEMPERATURE.values()])
            assert np.all(np.abs(value - expected) < 1e-5 * np.abs(expected))


def test_strict_in_the_gap():
    """Bands split by 1 meV, spin along the field: six digits."""
    mesh = js.Adaptive(js.Space(WIDTH, 20, 10, 5), rtol=3e-7)
    options = {"definition": A, "degeneracy": js.Strict()}
    response = js.spin_hall(bi2se3("z"), mesh, js.Levels(0.1), **options)
    value = response.component(flow="z", field="x", spin="y").value
    assert abs(float(value[0]) - 1578.03444) < 5e-7 * 1578


# --- limits ---------------------------------------------------------------------------------------


def test_too_few_points_warn():
    mesh = js.Adaptive(js.Grid((20, 20)), rtol=1e-8, max_points=3000)
    with pytest.warns(UserWarning, match=r"at most 3000 k-points"):
        response = js.anomalous_hall(haldane(1e-3), mesh, js.Levels(0.0))
    assert not response.info["converged"]
    assert response.info["points"] <= 3000
    value, error = (float(x[0, 1, 0]) for x in (response.to("e^2/h").value, response.error))
    assert abs(value + 1) <= error / js.units.CONDUCTANCE * 2 * np.pi


def test_derivatives_want_a_fixed_mesh():
    def hall(mass):
        model = models.MassiveDirac(velocity=1.0, mass=mass)
        mesh = js.Adaptive(js.Plane(0.1, 20, 5), rtol=1e-3)
        return js.anomalous_hall(model, mesh, js.Levels(0.0)).value[0, 1, 0]

    for transform in (jax.grad, jax.jit):
        with pytest.raises(ValueError, match="must be a fixed mesh"):
            transform(hall)(0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mesh": 3, "rtol": 1e-3}, "`mesh` must be a mesh"),
        ({"rtol": -1e-3}, "`rtol` must be a number, at least 0"),
        ({"rtol": 0.0}, "`rtol` must be positive where `atol` is 0"),
        ({"rtol": 1e-3, "atol": np.nan}, "`atol` must be a number"),
        ({"rtol": 1e-3, "max_points": 0}, "`max_points` must be a positive integer"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        js.Adaptive(**{"mesh": js.Grid((10, 10)), **arguments})


def test_the_mesh_inside_is_checked():
    mesh = js.Adaptive(js.Disk(1.0, 10, 5), rtol=1e-3)
    with pytest.raises(ValueError, match="must be a Grid for a lattice model"):
        js.anomalous_hall(haldane(0.1), mesh, js.Levels(0.0))


# --- honesty --------------------------------------------------------------------------------------


def draw(name: str, rng: np.random.Generator):
    """A model whose gap is between 1 and 1e-3 of the bandwidth, its gap and its bandwidth."""
    log = lambda low, high: 10 ** rng.uniform(low, high)  # noqa: E731
    if name == "Haldane":
        gap, hopping, phase = log(-2.2, 0.3), rng.uniform(0.05, 0.2), rng.uniform(0.3, np.pi / 2)
        onsite = 3 * np.sqrt(3) * hopping * np.sin(phase) - gap / 2
        return models.Haldane(onsite=onsite, hopping=1.0, next_hopping=hopping, phase=phase), gap, 6
    if name == "Qi-Wu-Zhang":
        gap = log(-2.4, 0)
        return models.QiWuZhang(A=1.0, m=-2 + gap / 2, t0=rng.uniform(-0.3, 0.3)), gap, 4
    if name == "BHZ":
        gap, C, rashba = log(-2.4, 0), rng.uniform(0, 0.3), rng.uniform(0, 0.1)
        return models.BernevigHughesZhang(u=-2 + gap / 2, A=1.0, C=C, rashba=rashba), gap, 4
    gap = log(-3, 0)
    if name == "Rashba":
        kinetic, velocity = rng.uniform(0.3, 1), rng.uniform(0.1, 0.5)
        return models.Rashba(kinetic=kinetic, velocity=velocity, exchange=gap / 2), gap, 1
    cone = {"velocity": rng.uniform(0.5, 2), "mass": gap / 2}
    if name == "tilted Dirac":
        cone |= {"tilt": rng.uniform(0, 0.3, 2), "warping": rng.uniform(0, 0.3)}
    return models.MassiveDirac(**cone), gap, 1


#: Quantity, mesh, mesh of the truth (whose cells are not those of the first halved), draws.
DRAWN = {
    "Haldane": ("anomalous_hall", js.Grid((20, 20)), js.Grid((35, 35)), 9),
    "Qi-Wu-Zhang": ("anomalous_hall", js.Grid((20, 20)), js.Grid((35, 35)), 9),
    "BHZ": (CONVENTIONAL, js.Grid((20, 20)), js.Grid((35, 35)), 5),
    "Dirac": ("anomalous_hall", js.Plane(0.3, 20, 5), js.Plane(0.21, 35, 5), 9),
    "tilted Dirac": ("anomalous_hall", js.Disk(1.0, 20, 5), js.Disk(1.0, 35, 5), 9),
    "Rashba": (B, js.Plane(0.3, 20, 5), js.Plane(0.21, 35, 5), 9),
}


def drawn_errors(name: str, seed: int) -> list[tuple[float, float]]:
    """(reported, true) for mu in the gap and in a band, T = 0 and T > 0, for each model drawn."""
    quantity, mesh, fine, draws = DRAWN[name]
    rng, result = np.random.default_rng(seed), []
    for _ in range(draws):
        model, gap, width = draw(name, rng)
        sign = 1 if name == "Rashba" else rng.choice([-1, 1])
        mu = [0.3 * gap * rng.uniform(-1, 1), sign * (gap / 2 + rng.uniform(0.01, 0.25) * width)]
        levels = js.Levels(mu, [0.0, 10 ** rng.uniform(1, 3)])
        rtol = 10 ** rng.uniform(-4, -2)
        meshes = (js.Adaptive(mesh, rtol), js.Adaptive(fine, rtol / 50))
        reached, truth = (total(QUANTITIES[quantity][0], model, m, levels) for m in meshes)
        reported = np.max(np.asarray(reached.error), axis=-1)
        true = np.max(np.abs(np.asarray(reached.value - truth.value)), axis=-1)
        floor = 1e-12 * np.max(np.abs(np.asarray(truth.value)))
        result += list(zip((reported + floor).ravel(), true.ravel(), strict=True))
    return result


@pytest.mark.study
@pytest.mark.usefixtures("optimised")
def test_reported_error_is_at_least_the_true_one():
    """In 99 % of 200 cases, and not by an absurd factor."""
    cases = [case for i, name in enumerate(DRAWN) for case in drawn_errors(name, i)]
    reported, true = np.array(cases).T
    assert len(cases) == 200
    assert np.mean(reported >= true) >= 0.99
    assert np.median(reported / np.maximum(true, 1e-6 * reported)) < 1e4


def test_a_gap_that_the_points_do_not_reach_is_not_converged():
    """Negative control: a tolerance that the first cells meet, and no points to resolve the narrow
    gap with, is not called converged, and the error says why."""
    mesh = js.Adaptive(js.Grid((20, 20)), rtol=10.0, max_points=400)
    with pytest.warns(UserWarning, match="not resolved; a larger `max_points` helps"):
        response = js.anomalous_hall(haldane(1e-3), mesh, js.Levels(0.0)).to("e^2/h")
    assert not response.info["converged"]
    assert response.info["points"] == 400
    true = abs(float(response.value[0, 1, 0]) + 1)
    assert true > 0.05
    assert float(response.error[0, 1, 0]) >= true


# --- the picture ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "mesh"),
    [
        (haldane(0.01), js.Grid((20, 20))),
        (models.MassiveDirac(velocity=1.0, mass=0.02, tilt=(0.2, 0.0)), js.Disk(0.5, 20, 5)),
        (bi2se3(), js.Space(WIDTH, 10, 10, 5)),
    ],
    ids=["Grid", "Disk", "Space"],
)
def test_picture(model, mesh):
    """The cells drawn cover the domain, small where the curvature is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        response = js.anomalous_hall(
            model, js.Adaptive(mesh, rtol=1e-3, max_points=20_000), js.Levels(0.0)
        )
    axes = js.plot.refinement(response)
    (cells,) = axes.collections
    assert len(cells.get_paths()) >= 4
    assert np.isclose(np.prod(response.refinement.width, axis=1).sum(), 1)
    pyplot.close(axes.figure)


def test_no_picture_of_a_plain_mesh():
    response = js.anomalous_hall(haldane(1.0), js.Grid((20, 20)), js.Levels(0.0))
    with pytest.raises(ValueError, match="must come from an Adaptive mesh"):
        js.plot.refinement(response)


def test_warning_names_the_line_of_the_user():
    """Through checks, sums over adaptive cells and whatever is between them and the call."""
    model = js.models.QiWuZhang(A=1.0, m=-1.9)
    mesh = js.Adaptive(js.Grid((6, 6)), rtol=1e-9, max_points=2_000)
    with pytest.warns(UserWarning, match="Adaptive stopped") as caught:
        js.anomalous_hall(model, mesh, js.Levels(0.0))
    assert [warning.filename for warning in caught] == [__file__]


def test_a_smooth_response_that_does_not_converge():
    """No gap is searched for: the warning of what is missing has its numbers all the same."""
    model = models.QiWuZhang(A=1.0, m=-1.0)
    mesh = js.Adaptive(js.Grid((8, 8)), rtol=1e-9, max_points=2_000)
    with pytest.warns(UserWarning, match="max_points"):
        density = js.carrier_density(model, mesh, js.Levels(-1.5), progress=False)
    assert not density.refinement.converged
    finer = js.carrier_density(model, js.Grid((512, 512)), js.Levels(-1.5), progress=False)
    assert np.abs(density.value - finer.value).max() <= density.error.max() + finer.error.max()
