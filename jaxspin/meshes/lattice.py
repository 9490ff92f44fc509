"""Direct and reciprocal lattice vectors, and the named points of common Brillouin zones."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.small_matrices import as_arrays, invert_in_loop, is_traced, on_device

#: High-symmetry points in reduced coordinates, k = u b_1 + v b_2 (+ w b_3), by lattice.
#: `hexagonal` (triangular, honeycomb) is for direct vectors 60° apart, as in `models.Haldane`;
#: `fcc` is for a/2 (0, 1, 1), a/2 (1, 0, 1), a/2 (1, 1, 0).
#: Source: Setyawan and Curtarolo, Comput. Mater. Sci. 49, 299 (2010), for the cubic lattices.
NAMED_POINTS: dict[str, dict[str, tuple[float, ...]]] = {
    "square": {"Γ": (0, 0), "X": (1 / 2, 0), "M": (1 / 2, 1 / 2)},
    "hexagonal": {"Γ": (0, 0), "M": (1 / 2, 0), "K": (2 / 3, 1 / 3), "K'": (1 / 3, 2 / 3)},
    "cubic": {
        "Γ": (0, 0, 0),
        "X": (0, 1 / 2, 0),
        "M": (1 / 2, 1 / 2, 0),
        "R": (1 / 2, 1 / 2, 1 / 2),
    },
    "fcc": {
        "Γ": (0, 0, 0),
        "X": (1 / 2, 0, 1 / 2),
        "L": (1 / 2, 1 / 2, 1 / 2),
        "W": (1 / 2, 1 / 4, 3 / 4),
        "K": (3 / 8, 3 / 8, 3 / 4),
        "U": (5 / 8, 1 / 4, 5 / 8),
    },
}


def reciprocal_vectors(lattice: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Reciprocal lattice vectors: a_i · b_j = 2π δ_ij.

    A wave vector with reduced coordinates u is k = u @ reciprocal_vectors(lattice).

    Returns:
        The b_i as rows (d, d), in 1/Å for direct vectors (rows) in Å.

    >>> import jax.numpy as jnp
    >>> b = reciprocal_vectors(jnp.array([[2.0, 0.0], [0.0, 1.0]]))
    >>> [round(float(x) / jnp.pi, 6) for x in jnp.diag(b)]
    [1.0, 2.0]
    """
    xp, (rows,) = as_arrays(lattice)
    rows = rows.astype(jnp.result_type(float))
    invert = invert_in_loop if is_traced(rows) else xp.linalg.inv
    return on_device(2 * np.pi * invert(rows).T)


def cell_volume(lattice: Float[Array, "d d"]) -> Float[Array, ""]:
    """Volume of the unit cell, |det a|: Å, Å² or Å³ in one, two or three dimensions.

    >>> import jax.numpy as jnp
    >>> float(cell_volume(jnp.array([[2.0, 0.0], [1.0, 1.5]])))
    3.0
    """
    return jnp.abs(jnp.linalg.det(jnp.asarray(lattice, float)))
