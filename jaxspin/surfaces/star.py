"""Surfaces that every ray from one point crosses: contours in the plane, shells in space."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from jaxspin.surfaces.base import FermiSurface, Surface, check_dimension, count
from jaxspin.surfaces.rays import Search, frozen_crossings, search, surface_of_rays


class FermiContour(Surface):
    """Contours in the plane that are star-shaped from `center`: rays at equidistant angles.

    w = (2π/N) k / (|∂_k ε| (2π)²), the trapezoidal rule in the angle, for all radial roots of every
    band: pockets one inside another and annular ones too. Spectrally accurate; `FlowContour` needs
    fewer nodes where the contour is far from a circle.

    Args:
        angles: number of rays; the first is along x.
        center: 1/Å.
        reach: largest radius, 1/Å (None: found from the model, see `Search`). Give it where a
            continuum model has crossings far outside of where it is meant.
        samples: of each ray, to find the crossings with.
        roots: largest number of crossings of one band with one ray.
    """

    search: Search
    angles: int = eqx.field(static=True)

    def __init__(
        self,
        angles: int,
        *,
        center: ArrayLike = (0.0, 0.0),
        reach: ArrayLike | None = None,
        samples: int = 64,
        roots: int = 2,
    ):
        self.angles = count("angles", angles)
        check_center(center, 2)
        self.search = search(center, reach, samples, roots)

    def check(self, model):
        check_dimension(self, model, 2, "FermiShell or BroadenedSurface")

    def find(self, model, mu):
        directions = circle(2 * np.pi * np.arange(self.angles) / self.angles)
        return _star(model, mu, directions, 2 * np.pi / self.angles, self.search)


class FermiShell(Surface):
    """Shells in space that are star-shaped from `center`.

    Rays at Gauss-Legendre nodes of cos θ and equidistant azimuths, with solid angles dΩ:
    w = dΩ k² / (|∂_k ε| (2π)³), for all radial roots of every band.

    Args:
        polar, azimuthal: numbers of rays; the polar axis is z.
        center, reach, samples, roots: as of `FermiContour`.
    """

    search: Search
    polar: int = eqx.field(static=True)
    azimuthal: int = eqx.field(static=True)

    def __init__(
        self,
        polar: int,
        azimuthal: int,
        *,
        center: ArrayLike = (0.0, 0.0, 0.0),
        reach: ArrayLike | None = None,
        samples: int = 64,
        roots: int = 2,
    ):
        self.polar, self.azimuthal = count("polar", polar), count("azimuthal", azimuthal)
        check_center(center, 3)
        self.search = search(center, reach, samples, roots)

    def check(self, model):
        check_dimension(self, model, 3, "FermiContour, MarchingSquares or BroadenedSurface")

    def find(self, model, mu):
        z, width = np.polynomial.legendre.leggauss(self.polar)
        ring = circle(2 * np.pi * (np.arange(self.azimuthal) + 0.5) / self.azimuthal)
        across = ring[:, None, :] * np.sqrt(1 - z**2)[:, None]
        up = np.broadcast_to(z[:, None], across.shape[1:])
        directions = np.concatenate([across, up[None]]).reshape(3, -1)
        measure = np.repeat(width * 2 * np.pi / self.azimuthal, self.azimuthal)
        return _star(model, mu, directions, measure, self.search)


def circle(angle: np.ndarray) -> np.ndarray:
    """Unit vectors (2, N) at the angles."""
    return np.stack([np.cos(angle), np.sin(angle)])


def _star(model, mu, directions, measure, search):
    """The surface of all crossings of rays with their solid angles."""
    directions = jnp.asarray(directions)
    found, findings = frozen_crossings(model, mu, directions, search)
    n, roots, rays = found.radius.shape
    surface = surface_of_rays(
        model,
        mu,
        jnp.tile(directions, n * roots),
        search.center,
        found.radius.ravel(),
        jnp.repeat(jnp.arange(n), roots * rays),
        found.used.ravel(),
    )
    weight = surface.weight * jnp.tile(jnp.broadcast_to(measure, rays), n * roots)
    return FermiSurface(surface.k, surface.band, weight), findings


def check_center(center, dimension: int) -> None:
    """`center` is a finite wave vector of this dimension; a ValueError if not."""
    if np.shape(center) != (dimension,):
        raise ValueError(
            f"Argument `center` must be {dimension} components of k (1/Å), "
            f"but has shape {np.shape(center)}."
        )
