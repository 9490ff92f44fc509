"""Meshes: what their rules integrate exactly, and what they do not."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxspin as js

LATTICE = np.array([[1.2, 0.1], [0.4, 0.9]])


@eqx.filter_jit
def points(mesh, index, lattice):
    return mesh.points(index, lattice)


def nodes(mesh, lattice=None, index=None):
    """All points of a mesh, or those of some indices, as NumPy arrays."""
    index = np.arange(mesh.size) if index is None else np.array(index)
    lattice = None if lattice is None else jnp.asarray(lattice)
    return jax.tree.map(np.asarray, points(mesh, jnp.asarray(index), lattice))


def total(mesh, function, lattice=None) -> float:
    """∫ d^dk function(k)."""
    found = nodes(mesh, lattice)
    return float(np.sum(found.weight * function(found.k))) * (2 * np.pi) ** mesh.dimension


RADIAL = {
    "Disk": lambda n: (js.Disk(1.3, n, 6), 2 * math.pi, 1),
    "Ball": lambda n: (js.Ball(1.3, n, 4, 6), 4 * math.pi, 2),
}


@pytest.mark.parametrize("name", RADIAL)
@pytest.mark.parametrize("n", [2, 3, 5])
def test_radial_rule_has_its_degree_and_no_more(name, n):
    """n nodes integrate r^(2n-1), the volume element included, and not r^(2n)."""
    mesh, angle, power = RADIAL[name](n)

    def error(degree):
        exact = angle * 1.3 ** (degree + 1) / (degree + 1)
        return abs(total(mesh, lambda k: np.linalg.norm(k, axis=0) ** (degree - power)) / exact - 1)

    assert error(2 * n - 1) < 1e-13
    assert error(2 * n) > 1e-6


@pytest.mark.parametrize("mesh", [js.Disk(1.0, 3, 7), js.Ball(1.0, 3, 4, 7)])
def test_angular_rule_has_its_degree_and_no_more(mesh):
    """7 angles integrate cos(6φ) to zero, and take cos(7φ) for a constant."""

    def harmonic(m):
        return lambda k: np.cos(m * (np.arctan2(k[1], k[0])))

    for m in range(1, 7):
        assert abs(total(mesh, harmonic(m))) < 1e-13
    assert abs(total(mesh, harmonic(7))) > 1


@pytest.mark.parametrize("n", [2, 3])
def test_polar_rule_has_its_degree_and_no_more(n):
    mesh = js.Ball(1.0, 2, n, 6)

    def error(degree):
        value = total(mesh, lambda k: (k[2] / np.linalg.norm(k, axis=0)) ** degree)
        return abs(value - 4 * math.pi / 3 / (degree + 1))

    assert error(2 * n - 2) < 1e-13
    assert error(2 * n) > 1e-3


def test_grid_is_exact_for_as_many_harmonics_as_it_has_points():
    mesh, zone = js.Grid((4, 6), 0.3), (2 * np.pi) ** 2 / float(np.linalg.det(LATTICE))

    def harmonic(*cell):
        return lambda k: np.cos(np.array(cell) @ LATTICE @ k)

    assert total(mesh, harmonic(0, 0), LATTICE) == pytest.approx(zone)
    for cell in [(3, 0), (0, 5), (2, -3)]:
        assert abs(total(mesh, harmonic(*cell), LATTICE)) < 1e-13 * zone
    assert abs(total(mesh, harmonic(4, 0), LATTICE)) > 0.1 * zone


def test_shift_of_one_spacing_is_the_same_grid():
    k = [nodes(js.Grid((3, 4), shift), LATTICE).k for shift in (0.0, 1.0)]
    phases = [np.sort_complex(np.exp(1j * LATTICE[0] @ found)) for found in k]
    np.testing.assert_allclose(phases[0], phases[1], atol=1e-13)


@pytest.mark.parametrize("shift", [-1.0, 0.5, 2 / 3, 1.0])
def test_much_coarser_grids_of_any_shift(shift):
    """A shift of half a spacing more is one of a spacing less."""
    for mesh, more in zip(js.Grid((9,), shift).much_coarser(), (0.5, 0.0, 0.5), strict=True):
        assert (mesh.shift[0] - shift - more) % 1 == pytest.approx(0)


def test_shift_of_each_axis():
    grid = js.Grid((2, 2), (0.5, 0.0))
    reduced = nodes(grid, np.eye(2)).k / (2 * np.pi)
    np.testing.assert_allclose(reduced.T, [[0.25, 0], [0.25, 0.5], [0.75, 0], [0.75, 0.5]])


VOLUMES = {
    "Disk": (js.Disk(1.7, 4, 6), math.pi * 1.7**2),
    "Ball": (js.Ball(1.7, 4, 3, 6), 4 / 3 * math.pi * 1.7**3),
}


@pytest.mark.parametrize(("mesh", "volume"), VOLUMES.values(), ids=VOLUMES.keys())
def test_volume(mesh, volume):
    assert total(mesh, lambda k: np.ones(k.shape[1])) == pytest.approx(volume, rel=1e-13)


GAUSSIANS = {
    "Plane": js.Plane((0.8, 1.3), 48, 24),
    "Space": js.Space((0.8, 1.3, 1.0), 48, 12, 24),
    "Disk": js.Disk(9.0, 48, 8),
    "Ball": js.Ball(9.0, 48, 8, 8),
}


@pytest.mark.parametrize("mesh", GAUSSIANS.values(), ids=GAUSSIANS.keys())
def test_gaussian(mesh):
    value = total(mesh, lambda k: np.exp(-np.sum(k**2, axis=0) / 2))
    assert value == pytest.approx((2 * math.pi) ** (mesh.dimension / 2), rel=1e-6)


@pytest.mark.parametrize("mesh", [js.Plane(2.0, 4, 5), js.Space(2.0, 4, 3, 5)])
def test_algebraic_tail_reaches_infinity(mesh):
    """(1 + k/a)^-(d+2) is a polynomial of the mapped radius: 4 nodes are exact."""
    d = mesh.dimension
    value = total(mesh, lambda k: (1 + np.linalg.norm(k, axis=0) / 2.0) ** -(d + 2.0))
    exact = {2: 2 * math.pi * 2.0**2 / 6, 3: 4 * math.pi * 2.0**3 * 2 / 24}[d]
    assert value == pytest.approx(exact, rel=1e-13)


MESHES = {
    "Grid": (js.Grid((5, 4), 0.2), LATTICE),
    "Disk": (js.Disk(1.0, 5, 8), None),
    "Plane": (js.Plane(1.0, 5, 8), None),
    "Ball": (js.Ball(1.0, 5, 6, 8), None),
    "Space": (js.Space(1.0, 5, 6, 8), None),
}


@pytest.mark.parametrize(("mesh", "lattice"), MESHES.values(), ids=MESHES.keys())
def test_any_indices_give_their_points(mesh, lattice):
    """A mesh stores nothing: points 3, 0, 3 are points 3, 0, 3 of all of them."""
    every, some = nodes(mesh, lattice), nodes(mesh, lattice, [3, 0, 3])
    np.testing.assert_allclose(some.k, every.k[:, [3, 0, 3]], atol=1e-14)
    np.testing.assert_allclose(some.weight, every.weight[[3, 0, 3]], rtol=1e-14)


FINE = {
    "Grid": (js.Grid((5, 4), 0.2), LATTICE),
    "Disk": (js.Disk(2.0, 30, 8), None),
    "Plane": (js.Plane(1.0, 30, 8), None),
    "Ball": (js.Ball(2.0, 30, 4, 6), None),
    "Space": (js.Space(1.0, 30, 4, 6), None),
}


@pytest.mark.parametrize(("mesh", "lattice"), FINE.values(), ids=FINE.keys())
def test_edges_span_the_weights(mesh, lattice):
    """The box of the edges has the volume of the cell; near 0 and far out the radius is capped."""
    cells = nodes(mesh, lattice)
    boxes = np.abs(np.linalg.det(np.moveaxis(cells.edges, -1, 0)))
    weights = cells.weight * (2 * np.pi) ** mesh.dimension
    radius = np.linalg.norm(cells.k, axis=0)
    middle = (lattice is not None) | ((radius > 0.5) & (radius < 1.5))
    np.testing.assert_allclose(boxes[middle], weights[middle], rtol=1e-12)


@pytest.mark.parametrize(("mesh", "lattice"), MESHES.values(), ids=MESHES.keys())
def test_coarser_mesh_is_another_rule_on_the_same_domain(mesh, lattice):
    coarse = mesh.coarser()
    assert type(coarse) is type(mesh)
    assert coarse.domain == mesh.domain
    assert coarse.size < mesh.size
    assert all(a != b for a, b in zip(coarse.shape, mesh.shape, strict=True))


@pytest.mark.parametrize("angular", range(4, 12))
def test_coarser_angle_is_never_the_same_rule(angular):
    assert js.Disk(1.0, 8, angular).coarser().angular != angular


def test_path_goes_through_its_points_evenly():
    path = js.Path([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]], ("A", "B", "C"))
    k, distance, ticks = path.sample(8, None)
    np.testing.assert_allclose(ticks, [0, 3, 7])
    np.testing.assert_allclose(distance, np.arange(8.0))
    np.testing.assert_allclose(k[3], [3, 0])
    np.testing.assert_allclose(k[5], [3, 2])
    np.testing.assert_allclose(np.linalg.norm(np.diff(k, axis=0), axis=1), 1)


def test_path_of_a_lattice_is_in_units_of_its_reciprocal_vectors():
    path = js.Path([[0.0, 0.0], [0.5, 0.0]], ("G", "X"))
    k, distance, _ = path.sample(3, jnp.eye(2) * 2.0)
    np.testing.assert_allclose(k[-1], [np.pi / 2, 0])
    assert distance[-1] == pytest.approx(np.pi / 2)
