"""The tolerance for degenerate bands: relative for narrow bands, a keyword everywhere, and said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bi2se3 import WIDTH, bi2se3

import jaxspin as js
from jaxspin import models
from jaxspin.integration.near_degeneracies import GapSearch
from jaxspin.quantities.charge import ANOMALOUS_HALL

CHERN = models.QiWuZhang(A=1.0, m=-1.0)  # C = +1
GRID = js.Grid((24, 24))
K = np.array([0.1, 0.2])


def chern_number(model, temperature=0.0, **options):
    response = js.anomalous_hall(model, GRID, js.Levels(0.0, temperature), **options)
    return response.to("e^2/h").component(flow="y", field="x").value[0]


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-7, 1e-12])
def test_chern_number_in_any_unit_of_energy(scale):
    """Was 0 ± 0 below 1e-6."""
    assert float(chern_number(scale * CHERN)) == pytest.approx(1, abs=1e-6)


@pytest.mark.study
def test_inside_transformations():
    hall = lambda scale: chern_number(scale * CHERN)  # noqa: E731
    scales = jnp.array([1e-7, 1.0])
    assert float(jax.jit(hall)(1e-7)) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(jax.vmap(hall)(scales), 1, atol=1e-6)
    slope = jax.grad(lambda s, t: chern_number(s * CHERN, t))
    assert float(1e-7 * slope(1e-7, 1e-3)) == pytest.approx(float(slope(1.0, 1e4)), rel=1e-9)


@pytest.mark.parametrize(
    "function",
    [
        js.berry_curvature,
        js.quantum_metric,
        lambda m, k, **o: js.spin_berry_curvature(m, k, definition="proper_corrected", **o),
        lambda m, k, **o: js.bands(m, k, **o).connection,
    ],
    ids=["curvature", "metric", "spin curvature", "connection"],
)
def test_at_given_k(function):
    """Lengths and angles of the states do not depend on the unit of energy; groups have none."""
    value = np.asarray(function(CHERN, K))
    assert np.max(np.abs(value)) > 0.1
    np.testing.assert_allclose(np.abs(function(1e-7 * CHERN, K)), np.abs(value), atol=1e-9)
    np.testing.assert_allclose(function(CHERN, K, degeneracy=js.Covariant(10.0)), 0, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_strict_is_refused_at_given_k_where_bands_are_degenerate(scale):
    model = scale * js.models.KaneMele(onsite=0.0, hopping=1.0, spin_orbit=0.3)
    with pytest.raises(ValueError, match=r"`degeneracy` must be Covariant\(...\) where bands are"):
        js.berry_curvature(model, K, degeneracy=js.Strict())
    narrow = js.berry_curvature(scale * CHERN, K, degeneracy=js.Strict())
    np.testing.assert_allclose(narrow, js.berry_curvature(CHERN, K), atol=1e-9)


@pytest.mark.filterwarnings("ignore:The torque density")
@pytest.mark.parametrize(
    "response",
    [
        js.anomalous_hall,
        js.carrier_density,
        js.density_of_states,
        js.torque_density,
        lambda *a, **o: js.equilibrium_spin_current(*a, **o).topological,
        lambda *a, **o: js.spin_hall_pieces(*a, **o).J1,
        lambda *a, **o: js.spin_hall(*a, definition="conventional", **o),
    ],
    ids=["hall", "density", "states", "torque", "current", "pieces", "spin hall"],
)
def test_every_response_takes_it(response):
    levels = js.Levels(-0.5, 3000.0)
    value = response(CHERN, GRID, levels, degeneracy=js.Covariant(1e-3))
    assert float(value.info["degeneracy_tolerance"]) == 1e-3
    default = response(CHERN, GRID, levels)
    np.testing.assert_array_equal(value.value, default.value)
    assert float(default.info["degeneracy_tolerance"]) == 1e-6


def test_refused():
    with pytest.raises(ValueError, match=r"`degeneracy` must be Covariant\(tolerance\) or Strict"):
        js.anomalous_hall(CHERN, GRID, js.Levels(0.0), degeneracy=1e-3)


@pytest.mark.parametrize(
    ("tolerance", "message"), [(30.0, "all bands for one group"), (0.8, "of their whole width")]
)
def test_tolerance_that_swallows_the_bands_is_warned_of(tolerance, message):
    with pytest.warns(UserWarning, match=message):
        js.anomalous_hall(CHERN, GRID, js.Levels(0.0), degeneracy=js.Covariant(tolerance))


def test_one_band_degenerate_by_spin_is_no_tolerance_too_large():
    """2 electrons per cell and spin pair: nothing is there that a smaller tolerance would split."""
    cosine = js.HoppingModel(
        lattice=np.eye(1),
        cells=[[0], [1], [-1]],
        blocks=np.stack([0 * np.eye(2), -np.eye(2), -np.eye(2)]),
        centres=np.zeros((2, 1)),
        spin=None,
    )
    density = js.carrier_density(cosine, js.Grid((8,)), js.Levels(10.0))
    assert density.value[0] == pytest.approx(2.0, abs=1e-12)


# --- splittings at which the choice matters -------------------------------------------------------


@pytest.mark.parametrize(
    ("tolerance", "line"), [(1e-6, "change_if_grouped"), (0.01, "change_if_separate")]
)
def test_result_says_where_the_choice_of_groups_matters(tolerance, line):
    """Bi2Se3 at 1 meV exchange: 1578 with the split pairs separate, and 0 with each one group."""
    response = js.spin_hall(
        bi2se3("z"),
        js.Space(WIDTH, 48, 32, 5),
        js.Levels(0.1),
        definition="proper_published",
        degeneracy=js.Covariant(tolerance),
    )
    assert response.info[line] > 0.9
    assert line in repr(response)


def test_nothing_is_said_where_it_does_not_matter():
    """Kramers pairs are exact without exchange, and the gap is half an electronvolt."""
    response = js.spin_hall(
        bi2se3(), js.Space(WIDTH, 24, 12, 5), js.Levels(0.1), definition="proper_published"
    )
    assert not [line for line in response.info if line.startswith("change_if")]


def test_change_comes_from_the_nodes_with_other_groups():
    """Graphene with narrow gaps: two tolerances differ at some of 576 nodes, and the sum over those
    has the whole difference; a third splits no pair of the second."""
    model = models.Haldane(onsite=0.02, hopping=1.0, next_hopping=0.0, phase=0.0)
    observable, fine = ANOMALOUS_HALL.observable, js.Covariant(1e-6)
    search = GapSearch(observable, model, GRID, js.Levels(0.0), fine)
    wide = js.Covariant(0.6)
    nodes = search.find_regrouped(fine, wide)
    assert 0 < len(nodes) < 100
    assert nodes == search.find_regrouped(wide, fine)
    whole = search.sample(fine) - search.sample(wide)
    part = search.sample(fine, nodes) - search.sample(wide, nodes)
    assert np.max(np.abs(whole)) > 1e-4
    np.testing.assert_allclose(part, whole, rtol=1e-12, atol=1e-14)
    assert search.find_regrouped(fine, js.Covariant(2e-6)) == ()
