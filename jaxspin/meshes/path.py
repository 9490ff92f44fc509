"""Paths of straight lines through named points, for band structures."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.validate import (
    NOT_GIVEN,
    check_finite,
    check_integer,
    check_shape,
    finite_reals,
    shortened,
)
from jaxspin.meshes.lattice import reciprocal_vectors


class Path(eqx.Module):
    """A path of straight lines through named points, for band structures.

    `points` are in units of the reciprocal vectors for a lattice model and in 1/Å for a continuum
    model. The path never enters an integral.
    """

    points: np.ndarray
    labels: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, points: Sequence[Sequence[float]] | np.ndarray, labels: Sequence[str]):
        if not finite_reals(points) or np.ndim(points) != 2 or len(points) < 2:
            raise ValueError(
                "Argument `points` must be at least two finite k-points of equal dimension, "
                f"but is {shortened(points)}."
            )
        array = np.array(points, dtype=float)
        if not np.iterable(labels) or not all(isinstance(label, str) for label in labels):
            raise ValueError(
                f"Argument `labels` must be names of the points, but is {shortened(labels)}."
            )
        if len(labels) != len(array):
            raise ValueError(
                f"Argument `labels` must have {len(array)} names, one for each point, "
                f"but has {len(labels)}."
            )
        self.points = array
        self.labels = tuple(labels)

    def sample(
        self, number: int, lattice: Float[Array, "d d"] | None = NOT_GIVEN
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """About `number` k-points spread evenly by length.

        Args:
            lattice: `model.lattice`, whose reciprocal vectors are the units of `points`; None for
                points in 1/Å. To be given, for without it fractions would be taken as 1/Å.
        Returns:
            k (K, d) in 1/Å; distance along the path (K,); distance of each named point.
        Raises:
            ValueError: no lattice is given, or one of another dimension.
        """
        number, d = check_integer("number", number, 1), self.points.shape[1]
        if lattice is NOT_GIVEN:
            raise ValueError(
                "Argument `lattice` must be model.lattice, or None for points in 1/Angstrom, but "
                "is not given."
            )
        corners = self.points
        if lattice is not None:
            check_shape("lattice", lattice, (d, d), of=f"points of {d} coordinates")
            check_finite("lattice", lattice)
            corners = corners @ np.asarray(reciprocal_vectors(lattice))
        lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
        ticks = np.concatenate([[0.0], np.cumsum(lengths)])
        distance = np.unique(np.concatenate([np.linspace(0, ticks[-1], number), ticks]))
        k = np.stack([np.interp(distance, ticks, column) for column in corners.T], axis=-1)
        return k, distance, ticks
