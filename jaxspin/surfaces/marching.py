"""Any Fermi surface on a periodic mesh of the plane: chords of its cells, projected onto it."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxspin.engine.validate import shortened
from jaxspin.engine.xla import repeat
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.base import number_of_bands
from jaxspin.surfaces.base import (
    VAN_HOVE,
    Diagnostic,
    FermiSurface,
    FermiSurfaceRule,
    all_bands,
    bracketed_roots,
    check_dimension,
    count,
    extrema_below,
    first_used,
    frozen,
    newton_step,
    nonzero,
    one_band,
    standing,
    unconverged,
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
        self.shape = count("shape", shape[0]), count("shape", shape[1])
        self.points = count("points", points, least=1)
        self.chords = count("chords", 4 * sum(self.shape) if chords is None else chords)
        if np.shape(shift) != (2,) or not np.all(np.isfinite(shift)):
            raise ValueError(f"Argument `shift` must be two numbers, but is {shortened(shift)}.")
        self.shift = jnp.array(shift, dtype=jnp.result_type(float))

    def check(self, model):
        check_dimension(self, model, 2, "BroadenedSurface")
        if model.lattice is None:
            raise ValueError(
                "Argument `model` must be a lattice model for MarchingSquares, but has no lattice. "
                "Use FermiContour, FlowContour or BroadenedSurface."
            )

    def find(self, model, mu):
        fixed, level = frozen((model, mu))
        ends = _chords(fixed, level, self)
        first, second = (_end(model, mu, ends, side) for side in (0, 1))
        return _projected(model, mu, ends, first, second, self.points)

    def companion(self):
        """The mesh shifted by half a cell along both axes."""
        return eqx.tree_at(lambda rule: rule.shift, self, self.shift + 0.5)

    def outline(self, model):
        u = _mesh(self)
        energies, _ = all_bands(model, _cartesian(model, u))
        return extrema_below(_cartesian(model, u), energies)


class _Chords(eqx.Module):
    """Chords, each with its two ends at fractions x (2, S) of edges of the mesh."""

    #: Corners the edges run from and to, in units of the reciprocal vectors, (2 ends, 2, S).
    start: Float[Array, "2 2 S"]
    stop: Float[Array, "2 2 S"]
    x: Float[Array, "2 S"]
    band: Int[Array, " S"]
    used: Bool[Array, " S"]
    too_many: Bool[Array, ""]


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


def _chords(model, mu, rule: MarchingSquares) -> _Chords:
    """The chords of all cells that the surface crosses, in the first slots."""
    shape, room = np.array(rule.shape), rule.chords
    u = _mesh(rule)
    energies, _ = all_bands(model, _cartesian(model, u))
    above = energies > mu
    corners = jnp.stack([jnp.roll(above, (-a, -b), (1, 2)) for a, b in _CORNERS])
    mixed = jnp.any(corners != corners[0], axis=0)
    band, *cell = jnp.nonzero(mixed, size=room, fill_value=0)
    in_use = jnp.arange(room) < jnp.sum(mixed)

    low = u[:, cell[0], cell[1]]
    middle = low + 0.5 / shape[:, None]
    center = one_band(model, _cartesian(model, middle), band)[0] > mu
    flags = jnp.concatenate([corners[:, band, cell[0], cell[1]], center[None]])
    edges = jnp.asarray(_TABLE)[(2 ** jnp.arange(5)) @ flags]  # (S, chord, end)
    exists = (edges[..., 0] >= 0) & in_use[:, None]
    owner, which = jnp.nonzero(exists, size=room, fill_value=0)
    number = jnp.sum(exists)
    used = jnp.arange(room) < number

    ends = jnp.asarray(_EDGES)[edges[owner, which].T]  # (2 ends, S, from and to)
    start, stop = (
        low[:, owner] + jnp.moveaxis(jnp.asarray(_CORNERS)[ends[..., side]], -1, 1) / shape[:, None]
        for side in (0, 1)
    )
    rising = flags[ends[..., 1], owner]
    x = _edge_crossings(model, mu, start, stop, band[owner], rising)
    too_many = (jnp.sum(mixed) > room) | (number > room)
    return _Chords(start, stop, x, band[owner], used, too_many)


def _mesh(rule: MarchingSquares) -> Any:
    """Corners of the cells, in units of the reciprocal vectors."""
    index = np.stack(np.meshgrid(*map(np.arange, rule.shape), indexing="ij"))
    return (index + rule.shift[:, None, None]) / np.array(rule.shape)[:, None, None]


def _cartesian(model, u):
    """k = Σ_i u_i b_i."""
    return jnp.einsum("i...,ij->j...", u, reciprocal_vectors(model.lattice))


def _edge_crossings(model, mu, start, stop, band, rising) -> Float[Array, "2 S"]:
    both = jnp.stack([band, band])
    lines = _edge_lines(model, mu, jnp.moveaxis(start, 1, 0), jnp.moveaxis(stop, 1, 0), both)
    half = jnp.full(both.shape, 0.5)
    return bracketed_roots(lines, half, jnp.zeros_like(half), jnp.ones_like(half), rising)


def _edge_lines(model, mu, start, stop, band):
    """ε − mu along edges of the mesh, and its derivative by the fraction of the edge."""
    first, last = _cartesian(model, start), _cartesian(model, stop)

    def lines(x):
        energy, velocity = one_band(model, first + x * (last - first), band)
        return energy - mu, jnp.sum(velocity * (last - first), axis=0)

    return lines


def _end(model, mu, chords: _Chords, side: int) -> Float[Array, "2 S"]:
    """k of one end of each chord, differentiable."""
    slot = first_used(chords.used)
    start, stop = chords.start[side][:, slot], chords.stop[side][:, slot]
    lines = _edge_lines(model, mu, start, stop, chords.band[slot])
    x = newton_step(lines, chords.x[side][slot])
    return _cartesian(model, start + x * (stop - start))


_PROJECTIONS = 10  # Newton steps from a chord, which is nearer to the surface than a cell's size


def _projected(model, mu, chords, first, second, points: int):
    """Nodes (2, p, S) along the chords, on the surface, and the findings."""
    node, share = np.polynomial.legendre.leggauss(points)
    along = second - first
    square = jnp.sum(along**2, axis=0)
    used = chords.used & (square > 0)
    length = jnp.sqrt(jnp.where(square > 0, square, 1))
    normal = jnp.stack([-along[1], along[0]]) / length
    fraction = jnp.asarray((1 + node) / 2)[:, None]
    foot = first[:, None] + fraction * along[:, None]
    band = jnp.broadcast_to(chords.band[first_used(chords.used)], foot.shape[1:])
    used = jnp.broadcast_to(used, band.shape)

    still = frozen((model, mu, foot, normal))
    fixed, bound = _normal_lines(*still, band=band), frozen(length)

    def step(height):
        value, slope = fixed(height)
        return jnp.clip(height - value / nonzero(slope), -bound, bound)

    height = repeat(_PROJECTIONS, step, jnp.zeros(band.shape))
    where = still[2] + height * still[3][:, None]
    findings = _findings(still[0], still[1], where, still[3], band, used, bound, chords)

    lines = _normal_lines(model, mu, foot, normal, band)
    live = newton_step(lines, height)
    _, slope = lines(live)
    weight = jnp.asarray(share / 2)[:, None] * length / jnp.abs(nonzero(slope)) / (2 * jnp.pi) ** 2
    k = foot + live * normal[:, None]
    surface = FermiSurface(k.reshape(2, -1), band.ravel(), jnp.where(used, weight, 0).ravel())
    return surface, findings


def _normal_lines(model, mu, foot, normal, band):
    """ε − mu along the normals of the chords, and its derivative by the height."""

    def lines(height):
        energy, velocity = one_band(model, foot + height * normal[:, None], band)
        return energy - mu, jnp.sum(velocity * normal[:, None], axis=0)

    return lines


# A chord whose surface is turned by more than acos(0.3) = 73° does not follow it.
_TURNED = 0.3


def _findings(model, mu, k, normal, band, used, length, chords) -> tuple[Diagnostic, ...]:
    energy, velocity = one_band(model, k, band)
    slope, speed = jnp.sum(velocity * normal[:, None], axis=0), jnp.linalg.norm(velocity, axis=0)
    turned = jnp.abs(slope) < _TURNED * speed
    lost = unconverged(energy - mu, slope, length, mu)
    by_band = band == jnp.arange(number_of_bands(model))[:, None, None]
    slow = standing(speed, by_band & used, axis=(1, 2)).any(axis=0)
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
