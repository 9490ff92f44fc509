"""Resolution of fixed meshes: near degeneracies that are narrower than the spacing of the nodes."""

from functools import partial
from typing import Any, cast

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from jaxspin.band_structure.degeneracy import Covariant
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import known_by_object
from jaxspin.engine.small_matrices import is_traced, on_device
from jaxspin.engine.terminal import warn_user
from jaxspin.integration.gap_descents import start_nodes
from jaxspin.integration.integrate import Sums, average_at_each_k
from jaxspin.integration.near_degeneracies import WIDE, GapSearch, NearDegeneracies
from jaxspin.integration.problem import Problem
from jaxspin.meshes.mesh import Adaptive, Mesh
from jaxspin.models.base import as_float
from jaxspin.symmetry.symmetric import Symmetric, fixed_mesh

_NOTABLE = 0.01  # part of a response whose loss between the nodes is worth a warning
_GROSS = 0.5  # ... even if the error says so already


@evaluate_eagerly()
def include_unresolved(sums: Sums, problem: Problem) -> Sums:
    """The sums, their error with that of near degeneracies between the nodes of a fixed mesh.

    It warns of the worst, where that is a hundredth of the response and more than its error, or
    half of the response whatever the error. Where numbers are traced nothing is known, and nothing
    is done.
    """
    mesh = _whole_mesh(problem.mesh)
    if problem.observable.smooth or isinstance(mesh, Adaptive) or is_traced(sums, problem):
        return sums
    near, missing = _find_unresolved(problem, mesh)
    if not len(missing):
        return sums
    missing = np.abs(np.asarray(average_at_each_k(problem).weights.complete(missing)))
    missing = missing.reshape(-1, *sums.value.shape)
    claimed, size = np.max(np.asarray(sums.error)), np.max(np.abs(np.asarray(sums.value)))
    each = np.max(missing.reshape(len(missing), -1), axis=1)
    worst = int(np.argmax(each))
    if each[worst] > max(min(claimed, _GROSS * size), _NOTABLE * size):
        _warn_of_gap(near, worst)
    error = np.asarray(sums.error) + np.sum(missing, axis=0)
    return eqx.tree_at(lambda sums: sums.error, sums, on_device(error))


@evaluate_eagerly()
def compare_groups(sums: Sums, problem: Problem) -> dict[str, Array]:
    """Relative change of a sum if small splittings were treated in the other way, for `info`.

    Where pairs of bands that were met split by less than 5 meV (5000 times the default tolerance)
    counted as separate, "change_if_grouped" is the change with that tolerance; where a tolerance
    above the default was given, "change_if_separate" that with the default. It is that of a sum
    over a few hundred nodes, and left out below a hundredth of that sum or of the response.
    """
    observable = problem.observable_asked_for
    if observable.smooth or is_traced(sums, problem):
        return {}
    usual = float(cast(float, problem.usual.tolerance))
    tolerance = float(getattr(problem.degeneracy, "tolerance", 0.0))
    if tolerance > usual:
        name, other = "change_if_separate", usual
    elif float(sums.smallest_splitting) <= _MILLIVOLTS * usual:
        name, other = "change_if_grouped", _MILLIVOLTS * usual
    else:
        return {}
    fixed = fixed_mesh(problem.mesh)
    search = GapSearch(observable, problem.model, fixed, problem.levels, problem.degeneracy)
    ways = [Covariant(as_float(t)) for t in (tolerance, other)]
    nodes = search.find_regrouped(*ways)
    if not nodes:
        return {}
    change = np.subtract(*(search.sample(way, nodes) for way in ways))
    asked = sum(quantity.size(problem.model.dimension) for quantity in problem.quantities)
    if np.max(np.abs(change)) <= _NOTABLE * np.max(np.abs(np.asarray(sums.value)[..., :asked])):
        return {}
    here = search.sample(ways[0])
    relative = np.max(np.abs(change)) / max(np.max(np.abs(here)), np.max(np.abs(here - change)))
    return {name: as_float(relative)} if relative > _NOTABLE else {}


_MILLIVOLTS = 5e3  # 5 meV in units of the default tolerance


def _whole_mesh(mesh: Mesh | Adaptive | Symmetric) -> Mesh | Adaptive:
    """The mesh of the whole domain."""
    return mesh.mesh if isinstance(mesh, Symmetric) else mesh


def _find_unresolved(problem: Problem, mesh: Mesh) -> tuple[Any, Any]:
    """Near degeneracies between the nodes, and their content that the nodes miss, (L, level, c).

    By Poisson's formula a grid of spacing h misses exp(-2π w/h) of a peak of width w along each
    axis, which add up. Of equivalent ones on a `Symmetric` mesh one stands for all, with the
    average over the group.
    """
    symmetric = problem.mesh if isinstance(problem.mesh, Symmetric) else None
    maps = symmetric and symmetric.elements_on_k(problem.model.lattice)
    problem = average_at_each_k(problem)
    observable, degeneracy = problem.observable, problem.degeneracy
    search = GapSearch(observable, problem.model, mesh, problem.levels, degeneracy, maps=maps)
    near, nothing = search.find(partial(_widths_at_starts, mesh)), np.zeros((0, 1, 1))
    if not len(near.gap):
        return near, nothing
    steps = _cell_widths(mesh, near.u)[:, :, None] * np.eye(near.u.shape[1])
    found = search.neighbours(near, steps, search.zero)
    ratio = np.sqrt(np.maximum(found.growth**2 - 1, 0))  # h/w
    narrow = found.matters & np.any(ratio > WIDE, axis=1)
    if not np.any(narrow):
        return near, nothing
    near = near.select(narrow)
    content = search.content(near, found.distance[narrow], 0.0)
    with np.errstate(divide="ignore"):
        missed = np.sum(np.exp(-2 * np.pi / ratio[narrow]), axis=1)
    return near, content * (missed * near.images)[:, None, None]


@known_by_object
def _widths_at_starts(mesh: Mesh, bands: int) -> Float[np.ndarray, "L d"]:
    return _cell_widths(mesh, start_nodes(mesh.dimension, bands)[0])


def _cell_widths(mesh: Mesh, u: Float[np.ndarray, "L d"]) -> Float[np.ndarray, "L d"]:
    """Widths of the cells of a mesh that hold these points of the unit cube."""
    if not mesh.is_product:
        return np.broadcast_to(1 / np.array(mesh.counts), u.shape)
    columns = []
    for rule, x in zip(mesh.rules, u.T, strict=True):
        away = np.abs(rule.nodes - x[:, None])
        columns.append(rule.widths[np.argmin(np.minimum(away, 1 - away), axis=1)])
    return np.stack(columns, axis=1)


def _warn_of_gap(near: NearDegeneracies, worst: int) -> None:
    k = ", ".join(f"{x:.4g}" for x in near.k[worst])
    warn_user(
        f"The mesh does not resolve the gap of {near.gap[worst]:.2g} eV between bands "
        f"{near.band[worst]} and {near.band[worst] + 1} at k = ({k}) 1/Angstrom: between its nodes "
        "the gap widens and narrows again. The error in the result allows for what may be missing. "
        "Use Adaptive(mesh, rtol), a finer mesh or a higher temperature."
    )
