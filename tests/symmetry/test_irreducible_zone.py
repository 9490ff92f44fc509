"""The irreducible zone of any point group, and `Adaptive` on it."""

import itertools
import math
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from interruption import Interrupted
from symmetric_models import symmetric_model
from test_groups import LATTICES

import jaxspin as js
from jaxspin.integration.cut_cells import UNIT_NODES, UNIT_WIDTHS
from jaxspin.integration.grading import BoxSet
from jaxspin.integration.integrate import integrate
from jaxspin.integration.problem import Problem, Run
from jaxspin.integration.rounds import Rounds
from jaxspin.quantities.charge import ANOMALOUS_HALL, CARRIER_DENSITY
from jaxspin.quantities.spin_hall import DEFINITIONS
from jaxspin.symmetry.groups import point_group, point_groups
from jaxspin.symmetry.irreducible import generate_matrices
from jaxspin.symmetry.irreducible_zone import find_irreducible_zone
from jaxspin.symmetry.orbits import reduced_matrix

HONEYCOMB = np.array([[1.0, 0.0], [0.5, math.sqrt(3) / 2]])
SKEW = np.array([[1, 0, 0], [2, 1, 0], [0, 1, 1]]) @ LATTICES["fcc"]  # of the same lattice


def zone_of(operations, lattice):
    matrices = tuple(reduced_matrix(one, len(lattice), lattice) for one in operations)
    return find_irreducible_zone(generate_matrices(matrices), lattice)


def lattice_group(lattice):
    return [*js.symmetry.of_lattice(lattice), js.symmetry.TIME_REVERSAL]


ZONES = {
    **{name: (partial(lattice_group, LATTICES[name]), LATTICES[name]) for name in LATTICES},
    "skew fcc": (partial(lattice_group, SKEW), SKEW),
    "4": (lambda: point_group("4").generators, np.eye(3)),
    "23 of fcc": (lambda: point_group("23").generators, LATTICES["fcc"]),
    "mirror of two axes": (
        lambda: [js.symmetry.Operation("mirror [1 -1 0]", np.eye(3)[[1, 0, 2]])],
        np.eye(3),
    ),
    "square": (lambda: [js.symmetry.rotation(4)], np.eye(2)),
    "skew square": (lambda: [js.symmetry.rotation(4)], np.array([[1.0, 0], [7.0, 1.0]])),
    "honeycomb 3": (lambda: [js.symmetry.rotation(3)], HONEYCOMB),
    "honeycomb 6mm": (lambda: point_group("6mm").generators, HONEYCOMB),
}


def nodes_of(zone, lattice, cells: int):
    """Gauss nodes of the first cells in reduced coordinates, and their part of the zone."""
    d = len(lattice)
    lower, width = zone.first_cells([cells] * d)

    def place(values, axis):
        return jnp.asarray(values.reshape(len(lower), *np.where(np.arange(d) == axis, 5, 1)))

    u = [place(lower[:, i, None] + width[:, i, None] * UNIT_NODES, i) for i in range(d)]
    steps = [place(width[:, i, None] * UNIT_WIDTHS, i) for i in range(d)]
    nodes = zone.pieces(u, steps, jnp.asarray(lattice))
    reduced = np.asarray(nodes.k).reshape(d, -1).T @ lattice.T / (2 * np.pi)
    return reduced, np.asarray(nodes.weight).ravel() * abs(np.linalg.det(lattice))


@pytest.mark.parametrize("name", ZONES)
def test_images_fill_the_zone_once(name):
    """∫ exp(2πi R·u) over all images is 1 for R = 0, and 0 for every other cell R."""
    operations, lattice = ZONES[name]
    zone = zone_of(operations(), lattice)
    u, weights = nodes_of(zone, lattice, 6)
    cells = np.array(list(itertools.product((-1, 0, 1), repeat=len(lattice))))
    images = np.einsum("gij,Kj->gKi", zone.maps, u)
    waves = np.exp(2j * np.pi * np.einsum("gKi,Ri->gKR", images, cells))
    integrals = np.einsum("gKR,K->gR", waves, weights)
    expected = np.all(cells == 0, axis=1)
    assert abs(np.sum(weights) * zone.images - 1) < 1e-12
    np.testing.assert_allclose(np.sum(integrals, axis=0), expected, atol=1e-5)
    # Negative control: without one of the images the zone is not full.
    assert np.max(np.abs(np.sum(integrals[1:], axis=0) - expected)) > 1e-3


@pytest.mark.parametrize("name", ["fcc", "23 of fcc", "mirror of two axes", "honeycomb 3"])
def test_an_image_of_every_point_is_in_a_box(name):
    """At least one box; its own edges are those at the point, under some element."""
    operations, lattice = ZONES[name]
    zone, d = zone_of(operations(), lattice), len(lattice)
    u = np.random.default_rng(3).uniform(size=(200, d))
    lower, width = zone.first_cells([4] * d)
    still = np.zeros(len(lower), bool)
    close = zone.find_close(u, BoxSet(lower, width, still, still), 0.0, still)
    assert np.all(np.bincount(close.point, minlength=len(u)) > 0)
    assert len(close.point) < 5 * len(u)
    centre = [jnp.asarray(x) for x in (lower + width / 2).T]
    nodes = zone.pieces(centre, [jnp.asarray(x) for x in width.T], jnp.asarray(lattice))
    to_reduced = lattice.T / (2 * np.pi)
    edges = np.moveaxis(np.asarray(nodes.edges), -1, 0)[close.box] @ to_reduced
    away = np.einsum("gij,Pj->gPi", zone.maps, u[close.point])
    away = away - (np.asarray(nodes.k).T @ to_reduced)[close.box]
    away = np.einsum("gPi,Pia->gPa", away - np.rint(away), np.linalg.inv(edges))
    turned = np.einsum("gij,Paj->gPai", zone.maps, close.edges)
    alike = np.max(np.abs(turned - edges), axis=(2, 3)) < 1e-12
    inside = np.max(np.abs(away), axis=2) < 1.0  # cells are no parallelepipeds
    assert np.all(np.any(alike & inside, axis=0))


def test_vectors_that_are_too_long_are_refused():
    rows = np.array([[1, 0, 0], [40, 1, 0], [0, 40, 1]]) @ LATTICES["fcc"]
    with pytest.raises(ValueError, match=r"`lattice` must have vectors that are not many times"):
        zone_of(lattice_group(rows), rows)


# --- adaptive meshes ------------------------------------------------------------------------------

HALDANE = js.models.Haldane(onsite=0.4, hopping=1.0, next_hopping=0.1, phase=math.pi / 2)
#: σ_yx of it, e²/h, as in test_metals.
HALL = {0.25: -0.721631, 0.6: -0.543222}
THREEFOLD = [js.symmetry.rotation(3)]
ALL = [*THREEFOLD, js.symmetry.mirror("x", time_reversal=True)]


def hall(model, mesh, levels, **keywords):
    found = js.anomalous_hall(model, mesh, levels, progress=False, **keywords)
    return found.to("e^2/h").component(flow="y", field="x")


@pytest.mark.parametrize("operations", [THREEFOLD, ALL])
def test_a_metal_on_a_part_of_its_zone(operations):
    mesh, levels = js.Adaptive(js.Grid((10, 10)), 1e-4), js.Levels(list(HALL))
    part = hall(HALDANE, js.Symmetric(mesh, operations), levels)
    assert part.info["converged"]
    assert part.info["points"] < {2: 1_500, 1: 4_000}[len(operations)]  # 4,200 of the whole zone
    away = np.abs(np.asarray(part.value) - list(HALL.values()))
    assert np.all(away <= np.asarray(part.error) + 1e-6)
    assert np.all(part.error <= 1e-4 * np.abs(np.asarray(part.value)))


@pytest.mark.parametrize("gap", [1e-2, 1e-4])
def test_a_narrow_gap_at_a_corner_of_the_zone(gap):
    """C = -1 from a gap at one valley, which the threefold axis leaves in place."""
    onsite = 3 * math.sqrt(3) * 0.1 - gap / 2
    model = js.models.Haldane(onsite=onsite, hopping=1.0, next_hopping=0.1, phase=math.pi / 2)
    mesh = js.Symmetric(js.Adaptive(js.Grid((10, 10)), 1e-5), THREEFOLD)
    chern = hall(model, mesh, js.Levels(0.0))
    assert chern.info["converged"]
    assert abs(abs(chern.value[0]) - 1) <= chern.error[0] <= 1e-5


@pytest.mark.study
def test_warm_levels_and_spin():
    """Of Kane and Mele's model, at T > 0, as on the whole zone."""
    model = js.models.KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25)
    mesh, levels = js.Adaptive(js.Grid((10, 10)), 1e-4), js.Levels([0.1, 1.5], 900.0)
    whole, part = (
        js.spin_hall(model, one, levels, definition="conventional", progress=False)
        for one in (mesh, js.Symmetric(mesh, THREEFOLD))
    )
    assert whole.info["converged"]
    assert part.info["converged"]
    assert np.all(np.abs(part.value - whole.value) <= part.error + whole.error)
    assert part.info["points"] < 0.6 * whole.info["points"]


def test_it_goes_on_from_a_checkpoint_to_the_same_bits(tmp_path, monkeypatch):
    mesh = js.Symmetric(js.Adaptive(js.Grid((10, 10)), 1e-4), THREEFOLD)
    path, add = tmp_path / "cells.npz", Rounds.add
    compute = partial(hall, HALDANE, mesh, js.Levels(list(HALL)))
    expected = compute()

    def stop(self, *arguments):
        add(self, *arguments)
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "add", stop)
        with pytest.raises(Interrupted):
            compute(checkpoint=path)
    other = js.Symmetric(mesh.mesh, ALL)
    with pytest.raises(ValueError, match="checkpoint"):
        hall(HALDANE, other, js.Levels(list(HALL)), checkpoint=path)
    found = compute(checkpoint=path)
    np.testing.assert_array_equal(found.value, expected.value)
    np.testing.assert_array_equal(found.error, expected.error)


def one_band(lattice) -> js.HoppingModel:
    """ε = -Σ cos k·R over the nearest neighbours."""
    cells = np.array([c for c in itertools.product((-1, 0, 1), repeat=len(lattice)) if any(c)])
    lengths = np.linalg.norm(cells @ lattice, axis=1)
    cells = cells[lengths < lengths.min() + 1e-9]
    return js.HoppingModel(
        lattice=lattice,
        cells=cells,
        blocks=-np.ones((len(cells), 1, 1)) / 2,
        centres=np.zeros((1, len(lattice))),
        spin=np.zeros((3, 1, 1)),
    )


def test_a_half_filled_cubic_band():
    """Half an electron exactly, from a 48th of the zone."""
    mesh = js.Symmetric(js.Adaptive(js.Grid((10, 10, 10)), 1e-3), point_group("m-3m1'"))
    density = js.carrier_density(one_band(np.eye(3)), mesh, js.Levels(0.0), progress=False)
    assert density.info["converged"]
    assert abs(float(density.value[0]) - 0.5) <= float(density.error[0]) <= 5e-4
    assert density.info["points"] < 6_000  # at most 60,000 of the whole zone


@pytest.mark.study
@pytest.mark.parametrize("name", ["fcc", "bcc", "hexagonal"])
def test_other_lattices(name):
    lattice = LATTICES[name]
    model, mesh = one_band(lattice), js.Adaptive(js.Grid((10, 10, 10)), 1e-3)
    compute = lambda mesh: js.carrier_density(  # noqa: E731
        model, mesh, js.Levels([-0.7, 0.4]), progress=False
    )
    whole, part = compute(mesh), compute(js.Symmetric(mesh, lattice_group(lattice)))
    assert part.info["converged"]
    assert np.all(np.abs(part.value - whole.value) <= part.error + whole.error)
    assert part.info["points"] < whole.info["points"]


@pytest.mark.study
@pytest.mark.parametrize("label", ["432(23)", "6/mmm(6mm)", "4221'", "-3m(-3)"])
def test_random_models_of_magnetic_groups(label):
    """Anomalous and spin Hall conductivity and density, with what the group forbids exactly 0."""
    group = point_groups()[label]
    model = symmetric_model(group, 9, 1)
    quantities = ANOMALOUS_HALL, DEFINITIONS["conventional"], CARRIER_DENSITY
    mesh = js.Adaptive(js.Grid((10, 10, 10)), 1e-2, max_points=300_000)
    problem = Problem(quantities, model, mesh, js.Levels(0.1))
    whole, part = (
        integrate(problem.replace(mesh=one).check(), Run(progress=False))
        for one in (mesh, js.Symmetric(mesh, group))
    )
    assert part.refinement.converged
    assert np.all(np.abs(part.value - whole.value) <= part.error + whole.error)
    mean = np.asarray(part.value)[0]
    assert np.sum(mean == 0) >= 20
