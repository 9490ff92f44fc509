"""Contours in the plane with nodes at equal times of the cyclotron motion."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin.engine.annotations import Numbers
from jaxspin.engine.tolerances import SERIES
from jaxspin.engine.xla import repeat
from jaxspin.surfaces.base import (
    Diagnostic,
    FermiSurface,
    FermiSurfaceRule,
    check_dimension,
    count,
    frozen,
    one_band,
)
from jaxspin.surfaces.rays import (
    Crossings,
    Search,
    frozen_crossings,
    outline_of_rays,
    positions,
    search,
    surface_of_rays,
)
from jaxspin.surfaces.star_shaped import check_center, circle

_INVERSIONS = 12  # Newton steps for the angles of equal times; 5 reach rounding


class FlowContour(FermiSurfaceRule):
    """Contours in the plane that are star-shaped from `center`: nodes at equal times of the flow.

    An electron in a magnetic field runs along the contour by dk/dt = ẑ × ∂ε/∂k. In its time every
    smooth quantity is periodic, and the weights are uniform, w = T/(N (2π)²), with T the period:
    the trapezoidal rule converges faster than in the angle, for the flow is slow where 1/|∂ε| is
    large. Each root of a ray in each band is a contour of its own. Times are integrals of the
    Fourier series of dt/dθ = k/|∂_k ε| on many rays.

    Args:
        nodes: number of nodes on each contour.
        rays: number of rays for the times; more for contours far from a circle.
        center, reach, samples, roots: as of `FermiContour`.
    """

    search: Search
    #: Angle of the first ray, and time of the first node in units of the period.
    first: Float[Array, ""]
    start: Float[Array, ""]
    count: int = eqx.field(static=True)
    rays: int = eqx.field(static=True)

    def __init__(
        self,
        nodes: int,
        *,
        rays: int = 256,
        center: Numbers = (0.0, 0.0),
        reach: Numbers | None = None,
        samples: int = 64,
        roots: int = 2,
    ):
        self.count, self.rays = count("nodes", nodes), count("rays", rays)
        self.first = self.start = jnp.zeros(())
        check_center(center, 2)
        self.search = search(center, reach, samples, roots)

    def check(self, model):
        check_dimension(self, model, 2, "FermiShell or BroadenedSurface")

    def find(self, model, mu):
        directions = circle(self.first + 2 * np.pi * np.arange(self.rays) / self.rays)
        found, findings = frozen_crossings(model, mu, directions, self.search)
        rate, unresolved = _rates(found)
        n, roots, _ = rate.shape
        times = (self.start + jnp.arange(self.count)) / self.count
        of_contour = jax.vmap(jax.vmap(lambda rate, r: _equal_times(rate, r, times)))
        angle, radius, period = of_contour(rate, found.radius)
        band = jnp.repeat(jnp.arange(n), roots * self.count)
        used = jnp.repeat(found.used.all(axis=-1).ravel(), self.count)
        angle = angle + self.first
        surface = _nodes(model, mu, angle.ravel(), radius.ravel(), band, used, self.search)
        share = jnp.repeat(period.ravel(), self.count) / (self.count * (2 * jnp.pi) ** 2)
        # One at the node; its derivative is that of the nodes of fixed angles, as it has to be.
        change = surface.weight / jnp.where(used, frozen(surface.weight), 1)
        weight = jnp.where(used, share * change, 0)
        k = positions(directions, frozen(self.search.center), found.radius)
        band = jnp.broadcast_to(jnp.arange(n)[:, None, None], found.radius.shape)
        slow = Diagnostic(
            jnp.broadcast_to(unresolved & found.used, band.shape),
            k,
            band,
            "has a time along it that the rays do not resolve. Use more `rays`, or "
            "MarchingSquares (lattice).",
        )
        return FermiSurface(surface.k, surface.band, weight), (*findings, slow)

    def companion(self):
        """Nodes half way between, from rays half way between."""
        moved = (self.first + np.pi / self.rays, self.start + 0.5)
        return eqx.tree_at(lambda rule: (rule.first, rule.start), self, moved)

    def outline(self, model):
        directions = circle(2 * np.pi * (np.arange(_SCOUTS) + 0.3) / _SCOUTS)
        return lambda mu: outline_of_rays(model, mu, directions, self.search)


_SCOUTS = 8  # rays for the outline: sheets that some rays do not cross are refused anyway


def _rates(found: Crossings) -> tuple[Float[Array, "n r N"], Bool[Array, "n r 1"]]:
    """dt/dθ = k/|∂_k ε| of each contour, 1 where there is none, and whether N rays are too few."""
    whole = found.used.all(axis=-1, keepdims=True)
    rate = jnp.where(whole, found.radius / jnp.where(whole, jnp.abs(found.slope), 1), 1)
    series = jnp.abs(jnp.fft.rfft(rate, axis=-1))
    tail = jnp.max(series[..., 2 * series.shape[-1] // 3 :], axis=-1)
    return rate, (tail > SERIES.of(rate) * series[..., 0])[..., None]


def _equal_times(rate: Float[Array, " N"], radius: Float[Array, " N"], times: Float[Array, " a"]):
    """Angles and radii at times along one contour, in units of its period, and the period."""
    series, mean = _series(rate), jnp.mean(rate)
    angles = 2 * jnp.pi * jnp.arange(len(rate)) / len(rate)
    order = _orders(len(rate))
    primitive = series / jnp.where(order == 0, 1, 1j * order) * (order != 0)
    offset = jnp.sum(primitive).real

    def time(angle):
        """Time from the first ray, and its derivative."""
        phases = jnp.exp(1j * order * angle[:, None])
        return mean * angle + (phases @ primitive).real - offset, (phases @ series).real

    wanted = 2 * jnp.pi * mean * times
    sampled = jnp.append(time(angles)[0], 2 * jnp.pi * mean)
    start = jnp.interp(wanted, sampled, jnp.append(angles, 2 * jnp.pi))

    def step(angle):
        value, slope = time(angle)
        return angle - (value - wanted) / slope

    angle = repeat(_INVERSIONS, step, start)
    radii = (jnp.exp(1j * order * angle[:, None]) @ _series(radius)).real
    return angle, radii, 2 * jnp.pi * mean


def _orders(number: int) -> np.ndarray:
    return np.fft.fftfreq(number, 1 / number)


def _series(values: Float[Array, " N"]):
    """Coefficients c_m of Σ_m c_m e^{imθ}, without the last one of an even number of values."""
    series = jnp.fft.fft(values) / len(values)
    return jnp.where(2 * np.abs(_orders(len(values))) == len(values), 0, series)


_POLISH = 4  # Newton steps from the interpolated radius, right to the resolution of the rays


def _nodes(model, mu, angle, radius, band, used, search) -> FermiSurface:
    """The nodes on rays at the given angles."""
    directions = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    fixed, level, center = frozen((model, mu, search.center))

    def step(radius):
        k = positions(directions, center, radius)
        energy, velocity = one_band(fixed, k, band)
        slope = jnp.sum(velocity * directions, axis=0)
        return radius - jnp.where(used, (energy - level) / jnp.where(used, slope, 1), 0)

    radius = repeat(_POLISH, step, radius)
    return surface_of_rays(model, mu, directions, search.center, radius, band, used)
