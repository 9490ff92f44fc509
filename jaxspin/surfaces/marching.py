"""Any Fermi surface on a periodic mesh of the plane: chords of its cells, projected onto it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxspin.engine.validate import check_integer, finite_reals, shortened
from jaxspin.engine.xla import repeat
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.base import number_of_bands
from jaxspin.models.checks import check_dimension
from jaxspin.surfaces.base import (
    VAN_HOVE,
    Diagnostic,
    FermiSurface,
    FermiSurfaceRule,
    all_bands,
    bracketed_roots,
    extrema_below,
    first_used,
    is_near_van_hove,
    is_unconverged,
    newton_step,
    one_band,
    safe_divisor,
    stop_gradients,
)


class MarchingSquares(FermiSurfaceRule):
    """Any Fermi surface of a two-dimensional lattice model: open or closed, in any number of parts.

    The corners of the cells of a periodic mesh are below or above mu; the surface in a cell is
    replaced by a chord between its crossings with the edges, which lie on the surface. Each chord
    has Gauss-Legendre points, projected along its normal n onto the surface:
    w = w_chord/(|n·∂ε| (2π)²). With p points the error falls with the cell size to the power 2p.

    Args:
        shape: of the mesh along the two reciprocal vectors; parts of the surface smaller than a
            cell are missed.
        points: Gauss-Legendre points on each chord.
        chords: largest number of chords of all bands together (None: 4 times the sum of `shape`).
        shift: of the mesh, in units of its spacing. By default off every symmetric point, for a
            surface through a corner of a cell has chords of no length.
    """

    shape: tuple[int, int] = eqx.field(static=True)
    points: int = eqx.field(static=True)
    chords: int = eqx.field(static=True)
    shift: Float[Array, " 2"]

    def __init__(
        self,
        shape: Sequence[int],
        points: int = 4,
        *,
        chords: int | None = None,
        shift: Sequence[float] = (0.382, 0.236),
    ):
        if np.shape(shape) != (2,):
            raise ValueError(f"Argument `shape` must be two integers, but is {shortened(shape)}.")
        self.shape = check_integer("shape", shape[0], 3), check_integer("shape", shape[1], 3)
        self.points = check_integer("points", points, 1)
        room = 4 * sum(self.shape) if chords is None else chords
        self.chords = check_integer("chords", room, 3)
        if np.shape(shift) != (2,) or not finite_reals(shift):
            raise ValueError(f"Argument `shift` must be two numbers, but is {shortened(shift)}.")
        self.shift = jnp.array(shift, dtype=jnp.result_type(float))

    def check(self, model):
        check_dimension(model, (2,), type(self).__name__, "BroadenedSurface")
        if model.lattice is None:
            raise ValueError(
                "Argument `model` must be a lattice model for MarchingSquares, but has no lattice. "
                "Use FermiContour, FlowContour or BroadenedSurface."
            )

    def find(self, model, mu):
        fixed, level = stop_gradients((model, mu))
        chords = _find_chords(fixed, level, self)
        ends = [_chord_end(model, mu, chords, side) for side in (0, 1)]
        return _project_nodes(model, mu, chords, ends, self.points)

    def companion(self):
        """The mesh shifted by half a cell along both axes."""
        return eqx.tree_at(lambda rule: rule.shift, self, self.shift + 0.5)

    def outline(self, model):
        u = _mesh_corners(self)
        energies, _ = all_bands(model, _to_cartesian(model, u))
        return extrema_below(_to_cartesian(model, u), energies)


class _Edges(NamedTuple):
    """Edges of the mesh that a band crosses: corners they run from and to, in units of the
    reciprocal vectors."""

    start: Float[Array, "2 *a"]
    stop: Float[Array, "2 *a"]
    band: Int[Array, "*a"]


class _Chords(eqx.Module):
    """Chords, each with its two ends at fractions x (2, S) of edges of the mesh."""

    #: (2 ends, S) of them.
    edges: _Edges
    x: Float[Array, "2 S"]
    used: Bool[Array, " S"]
    too_many: Bool[Array, ""]


class _Normals(NamedTuple):
    """Normals of the chords through the points of their rules: k = foot + height · direction."""

    foot: Float[Array, "2 p S"]
    direction: Float[Array, "2 S"]
    #: Of the chord.
    length: Float[Array, " S"]
    band: Int[Array, "p S"]
    used: Bool[Array, "p S"]

    def at(self, height: Float[Array, "p S"]) -> Float[Array, "2 p S"]:
        return self.foot + height * self.direction[:, None]


# Corners of a cell, and its edges from corner to corner: the same way round from both sides.
_CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
_EDGES = np.array([(0, 1), (1, 2), (3, 2), (0, 3)])


def _chord_table() -> np.ndarray:
    """Edges (-1: none) of the two chords of a cell, by which corners and center are above mu.

    Index Σ_c 2^c above_c + 16 above_center. Of four crossed edges, those are joined that cut off
    the two corners on the other side of mu than the center.
    """
    table = np.full((32, 2, 2), -1)
    for index in range(32):
        above = [(index >> c) & 1 for c in range(5)]
        crossed = [e for e, (a, b) in enumerate(_EDGES) if above[a] != above[b]]
        if len(crossed) == 2:
            table[index, 0] = crossed
        elif len(crossed) == 4:
            cut_1_and_3 = above[0] == above[4]
            table[index] = [(0, 1), (2, 3)] if cut_1_and_3 else [(0, 3), (1, 2)]
    return table


_TABLE = _chord_table()


def _find_chords(model, mu, rule: MarchingSquares) -> _Chords:
    """The chords of all cells that the surface crosses, in the first slots."""
    shape, room = np.array(rule.shape), rule.chords
    u = _mesh_corners(rule)
    energies, _ = all_bands(model, _to_cartesian(model, u))
    above = energies > mu
    corners = jnp.stack([jnp.roll(above, (-a, -b), (1, 2)) for a, b in _CORNERS])
    mixed = jnp.any(corners != corners[0], axis=0)
    band, *cell = jnp.nonzero(mixed, size=room, fill_value=0)
    in_use = jnp.arange(room) < jnp.sum(mixed)

    low = u[:, cell[0], cell[1]]
    middle = low + 0.5 / shape[:, None]
    center = one_band(model, _to_cartesian(model, middle), band)[0] > mu
    flags = jnp.concatenate([corners[:, band, cell[0], cell[1]], center[None]])
    crossed = jnp.asarray(_TABLE)[(2 ** jnp.arange(5)) @ flags]  # (S, chord, end)
    exists = (crossed[..., 0] >= 0) & in_use[:, None]
    owner, which = jnp.nonzero(exists, size=room, fill_value=0)
    number = jnp.sum(exists)
    used = jnp.arange(room) < number

    ends = jnp.asarray(_EDGES)[crossed[owner, which].T]  # (2 ends, S, from and to)
    start, stop = (
        low[:, None, owner]
        + jnp.moveaxis(jnp.asarray(_CORNERS)[ends[..., side]], -1, 0) / shape[:, None, None]
        for side in (0, 1)
    )
    edges = _Edges(start, stop, jnp.stack([band[owner]] * 2))
    x = _edge_crossings(model, mu, edges, flags[ends[..., 1], owner])
    too_many = (jnp.sum(mixed) > room) | (number > room)
    return _Chords(edges, x, used, too_many)


def _mesh_corners(rule: MarchingSquares) -> Any:
    """Corners of the cells, in units of the reciprocal vectors."""
    index = np.stack(np.meshgrid(*map(np.arange, rule.shape), indexing="ij"))
    return (index + rule.shift[:, None, None]) / np.array(rule.shape)[:, None, None]


def _to_cartesian(model, u):
    """k = Σ_i u_i b_i."""
    return jnp.einsum("i...,ij->j...", u, reciprocal_vectors(model.lattice))


def _edge_crossings(model, mu, edges: _Edges, rising) -> Float[Array, "2 S"]:
    """Fractions of the edges at which they cross the surface."""
    half = jnp.full(edges.band.shape, 0.5)
    lines = _edge_lines(model, mu, edges)
    return bracketed_roots(lines, half, jnp.zeros_like(half), jnp.ones_like(half), rising)


def _edge_lines(model, mu, edges: _Edges):
    """ε − mu along edges of the mesh, and its derivative with respect to the fraction."""
    first, last = _to_cartesian(model, edges.start), _to_cartesian(model, edges.stop)

    def evaluate_lines(x):
        energy, velocity = one_band(model, first + x * (last - first), edges.band)
        return energy - mu, jnp.sum(velocity * (last - first), axis=0)

    return evaluate_lines


def _chord_end(model, mu, chords: _Chords, side: int) -> Float[Array, "2 S"]:
    """k of one end of each chord, differentiable."""
    slot = first_used(chords.used)
    edges = _Edges(*(x[..., side, slot] for x in chords.edges))
    x = newton_step(_edge_lines(model, mu, edges), chords.x[side][slot])
    return _to_cartesian(model, edges.start + x * (edges.stop - edges.start))


_PROJECTIONS = 10  # Newton steps from a chord, which is nearer to the surface than a cell's size


def _project_nodes(model, mu, chords: _Chords, ends, points: int):
    """Nodes (2, p, S) along the chords between `ends`, on the surface, and the findings."""
    node, share = np.polynomial.legendre.leggauss(points)
    normals = _chord_normals(chords, ends, jnp.asarray((1 + node) / 2))
    fixed, level, still = stop_gradients((model, mu, normals))
    lines, bound = _normal_lines(fixed, level, still), still.length

    def newton_update(height):
        value, slope = lines(height)
        return jnp.clip(height - value / safe_divisor(slope), -bound, bound)

    height = repeat(_PROJECTIONS, newton_update, jnp.zeros(normals.band.shape))
    findings = _diagnose_nodes(fixed, level, still, height, chords)

    live_lines = _normal_lines(model, mu, normals)
    live = newton_step(live_lines, height)
    density = normals.length / jnp.abs(safe_divisor(live_lines(live)[1])) / (2 * jnp.pi) ** 2
    weight = jnp.where(normals.used, jnp.asarray(share / 2)[:, None] * density, 0)
    k, band = normals.at(live).reshape(2, -1), normals.band.ravel()
    return FermiSurface(k, band, weight.ravel()), findings


def _chord_normals(chords: _Chords, ends, fraction: Float[Array, " p"]) -> _Normals:
    """Normals at fractions of each chord between its two ends (2, S)."""
    first, second = ends
    along = second - first
    square = jnp.sum(along**2, axis=0)
    length = jnp.sqrt(jnp.where(square > 0, square, 1))
    foot = first[:, None] + fraction[:, None] * along[:, None]
    band, used = chords.edges.band[0][first_used(chords.used)], chords.used & (square > 0)
    band, used = (jnp.broadcast_to(x, foot.shape[1:]) for x in (band, used))
    return _Normals(foot, jnp.stack([-along[1], along[0]]) / length, length, band, used)


def _normal_lines(model, mu, normals: _Normals):
    """ε − mu along the normals of the chords, and its derivative with respect to the height."""

    def evaluate_lines(height):
        energy, velocity = one_band(model, normals.at(height), normals.band)
        return energy - mu, jnp.sum(velocity * normals.direction[:, None], axis=0)

    return evaluate_lines


# A chord whose surface is turned by more than acos(0.3) = 73° does not follow it.
_TURNED = 0.3


def _diagnose_nodes(
    model, mu, normals: _Normals, height, chords: _Chords
) -> tuple[Diagnostic, ...]:
    """Return the cases that the rule refuses: too many chords, slow nodes, unresolved bends."""
    k, band, used = normals.at(height), normals.band, normals.used
    energy, velocity = one_band(model, k, band)
    slope = jnp.sum(velocity * normals.direction[:, None], axis=0)
    speed = jnp.linalg.norm(velocity, axis=0)
    turned = jnp.abs(slope) < _TURNED * speed
    lost = is_unconverged(energy - mu, slope, normals.length, mu)
    by_band = band == jnp.arange(number_of_bands(model))[:, None, None]
    slow = is_near_van_hove(speed, by_band & used, axis=(1, 2)).any(axis=0)
    room = jnp.broadcast_to(chords.too_many, band.shape)
    return (
        Diagnostic(
            room, k, band, f"has more than the {len(chords.used)} chords that `chords` says."
        ),
        Diagnostic(slow, k, band, VAN_HOVE),
        Diagnostic(
            used & (lost | turned),
            k,
            band,
            "is not resolved by the mesh: it bends too much within a cell, as it does near a van "
            "Hove point. Use a finer `shape`, or another `mu`.",
        ),
    )
