"""Resolution of fixed meshes: near degeneracies that are narrower than the spacing of the nodes."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxspin.levels import Levels
from jaxspin.meshes import Mesh
from jaxspin.near_degeneracies import GapSearch, NearDegeneracies


class Unresolved(NamedTuple):
    """Near degeneracies between the nodes of a mesh, and the error that each may be."""

    near: NearDegeneracies
    #: Of each independent component at each level, (near degeneracy, level, component).
    error: Float[np.ndarray, "L e c"]


# A peak of width w between nodes a distance h apart is summed with an error of exp(-2π w/h) of it,
# which the comparison with a coarser mesh sees while that is small. Peaks of w < h/4 are looked at.
_WIDE = 4.0


def find_unresolved(observable, model, mesh: Mesh, levels: Levels, degeneracy) -> Unresolved | None:
    """What lies between the nodes of a mesh of fixed nodes; None where nothing does.

    A near degeneracy contributes at most what the integrand is worth over its width, less what the
    nodes see of it.
    """
    if observable.smooth:
        return None
    search = GapSearch(observable, model, mesh, levels, degeneracy)
    near = search.find()
    if not len(near.gap):
        return None
    found = search.neighbours(near, _widths(mesh, near.u), search.zero)
    ratio = np.max(np.sqrt(np.maximum(found.growth**2 - 1, 0)), axis=1)
    narrow = found.matters & (ratio > _WIDE)
    if not np.any(narrow):
        return None
    near = near.select(narrow)
    content = search.content(near, found.distance[narrow], 0.0)
    return Unresolved(near, content * np.exp(-2 * np.pi / ratio[narrow])[:, None, None])


def _widths(mesh: Mesh, u: Float[np.ndarray, "L d"]) -> Float[np.ndarray, "L d"]:
    """Widths of the cells of a mesh that hold these points of the unit cube."""
    columns = []
    for rule, x in zip(mesh.rules, u.T, strict=True):
        away = np.abs(rule.nodes - x[:, None])
        columns.append(rule.widths[np.argmin(np.minimum(away, 1 - away), axis=1)])
    return np.stack(columns, axis=1)


def warn_unresolved(near: NearDegeneracies, worst: int) -> None:
    """Warn of the near degeneracy that a result suffers from most."""
    k = ", ".join(f"{x:.4g}" for x in near.k[worst])
    warnings.warn(
        f"The mesh does not resolve the gap of {near.gap[worst]:.2g} eV between bands "
        f"{near.band[worst]} and {near.band[worst] + 1} at k = ({k}) 1/Å: the spacing of its nodes "
        "there is wider than the gap is narrow. The error in the result allows for what may be "
        "missing. Use Adaptive(mesh, rtol), a finer mesh or a higher temperature.",
        stacklevel=6,
    )
