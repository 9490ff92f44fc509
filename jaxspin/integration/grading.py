"""Boxes of the unit cube that are halved until they resolve the near degeneracies inside.

A box resolves one where the gap, half a width of the box away along each of its axes, is at most a
few times the smallest gap. Only bands are computed, at a few k for each box.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxspin.integration.near_degeneracies import GapSearch, NearDegeneracies


class BoxSet(NamedTuple):
    """Boxes in the unit cube of the coordinates of a mesh."""

    lower: Float[np.ndarray, "L d"]
    width: Float[np.ndarray, "L d"]
    #: Whether the last axis spans the full turn, and was found to need no more nodes.
    turn: Bool[np.ndarray, " L"]
    exact: Bool[np.ndarray, " L"]

    def select(self, index) -> "BoxSet":
        """Those of the given indices."""
        return BoxSet(*(x[index] for x in self))

    def halve(self, axes: Bool[np.ndarray, "L d"]) -> "BoxSet":
        """The halves of all boxes along the given axes, those of one box in a row."""
        lower, width, turn, exact = (x.copy() for x in self)
        family = np.arange(len(lower))
        for i in range(lower.shape[1]):
            cut = axes[family, i]
            width[cut, i] /= 2
            upper = lower[cut].copy()
            upper[:, i] += width[cut, i]
            lower, width = np.concatenate([lower, upper]), np.concatenate([width, width[cut]])
            turn, exact = np.concatenate([turn, turn[cut]]), np.concatenate([exact, exact[cut]])
            family = np.concatenate([family, family[cut]])
        turn = turn & ~axes[family, -1]
        order = np.argsort(family, kind="stable")
        return BoxSet(lower[order], width[order], turn[order], exact[order])


# Narrower boxes stay as they are: what a singularity on a line still holds in them is below 1e-8.
NARROWEST = 2.0**-30
# A box in which the gap grows by no more than this factor from its center resolves it: its null
# rules see what they have to.
_RESOLVED = 3.0
# A near degeneracy this part of the width of a box away belongs to it too.
_MARGIN = 0.25


def grade(
    search: GapSearch, near: NearDegeneracies, boxes: BoxSet, limit: int
) -> tuple[Int[np.ndarray, " c"], BoxSet]:
    """Indices of the boxes that do not resolve a near degeneracy, and what to replace them with.

    Args:
        limit: no more than so many boxes are made.
    """
    origin, done = np.arange(len(boxes.lower)), []
    current = boxes
    while len(origin):
        axes = _unresolved_axes(search, near, current)
        split = np.any(axes, axis=1)
        done.append((origin[~split], current.select(~split)))
        number = 2 ** np.sum(axes[split], axis=1)
        origin = np.repeat(origin[split], number)
        current = current.select(split).halve(axes[split])
        if len(origin) + sum(len(o) for o, _ in done[1:]) > limit:
            done.append((origin, current))
            break
    untouched = done[0][0]
    origins = np.concatenate([o for o, _ in done[1:]] or [origin])
    parts = [part for _, part in done[1:]] or [current]
    chosen = np.setdiff1d(np.unique(origins), untouched)
    return chosen, BoxSet(*map(np.concatenate, zip(*parts, strict=True)))


def _unresolved_axes(search: GapSearch, near, boxes: BoxSet) -> Bool[np.ndarray, "L d"]:
    """Axes along which each box is too wide for a near degeneracy that lies in it."""
    axes = np.zeros(boxes.lower.shape, bool)
    close = search.wedge.find_close(near.u, boxes, _MARGIN, search.wraps)
    if not len(close.point):
        return axes
    pairs = np.column_stack([close.point, close.edges.reshape(len(close.point), -1)])
    _, first, back = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    steps = close.edges[first] / 2
    found = search.neighbours(near.select(close.point[first]), steps, search.floor)
    narrow = (found.growth > _RESOLVED) & found.matters[:, None]
    np.logical_or.at(axes, close.box, narrow[back.ravel()])
    return axes & (boxes.width > NARROWEST)
