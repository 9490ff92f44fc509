"""Contours in the plane with nodes at equal times of the cyclotron motion."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin.engine.annotations import Numbers
from jaxspin.engine.tolerances import SERIES
from jaxspin.engine.validate import check_integer
from jaxspin.engine.xla import repeat
from jaxspin.models.checks import check_dimension
from jaxspin.surfaces.base import (
    Diagnostic,
    FermiSurface,
    FermiSurfaceRule,
    one_band,
    stop_gradients,
)
from jaxspin.surfaces.rays import (
    Crossings,
    RayPoints,
    Search,
    frozen_crossings,
    make_search,
    outline_of_rays,
    ray_positions,
    surface_of_rays,
)
from jaxspin.surfaces.star_shaped import check_center, unit_vectors

_INVERSIONS = 12  # Newton steps for the angles of equal times; 5 reach rounding


class FlowContour(FermiSurfaceRule):
    """Contours in the plane that are star-shaped from `center`: nodes at equal times of the flow.

    An electron in a magnetic field runs along the contour by dk/dt = ẑ × ∂ε/∂k. In its time every
    smooth quantity is periodic, and the weights are uniform, w = T/(N (2π)²), with T the period:
    the trapezoidal rule converges faster than in the angle, because the flow is slow where 1/|∂ε|
    is large. Each root of a ray in each band is a contour of its own. Times are integrals of the
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
        self.count, self.rays = check_integer("nodes", nodes, 3), check_integer("rays", rays, 3)
        self.first = self.start = jnp.zeros(())
        check_center(center, 2)
        self.search = make_search(center, reach, samples, roots)

    def check(self, model):
        check_dimension(model, (2,), type(self).__name__, "FermiShell or BroadenedSurface")

    def find(self, model, mu):
        directions = unit_vectors(self.first + 2 * np.pi * np.arange(self.rays) / self.rays)
        found, findings = frozen_crossings(model, mu, directions, self.search)
        rate, unresolved = _time_rates(found)
        n, roots, _ = rate.shape
        times = (self.start + jnp.arange(self.count)) / self.count
        of_contour = jax.vmap(jax.vmap(lambda rate, r: _equal_times(rate, r, times)))
        angle, radius, period = of_contour(rate, found.radius)
        band = jnp.repeat(jnp.arange(n), roots * self.count)
        used = jnp.repeat(found.used.all(axis=-1).ravel(), self.count)
        angle = angle + self.first
        points = RayPoints(
            unit_vectors(angle.ravel()), self.search.center, radius.ravel(), band, used
        )
        surface = surface_of_rays(model, mu, _polish_radii(model, mu, points))
        share = jnp.repeat(period.ravel(), self.count) / (self.count * (2 * jnp.pi) ** 2)
        # One at the node; its derivative is that of the nodes of fixed angles, as it has to be.
        change = surface.weight / jnp.where(used, stop_gradients(surface.weight), 1)
        weight = jnp.where(used, share * change, 0)
        k = ray_positions(directions, stop_gradients(self.search.center), found.radius)
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
        directions = unit_vectors(2 * np.pi * (np.arange(_SCOUTS) + 0.3) / _SCOUTS)
        return lambda mu: outline_of_rays(model, mu, directions, self.search)


_SCOUTS = 8  # rays for the outline: sheets that some rays do not cross are refused anyway


def _time_rates(found: Crossings) -> tuple[Float[Array, "n r N"], Bool[Array, "n r 1"]]:
    """dt/dθ = k/|∂_k ε| of each contour, 1 where there is none, and whether N rays are too few."""
    whole = found.used.all(axis=-1, keepdims=True)
    rate = jnp.where(whole, found.radius / jnp.where(whole, jnp.abs(found.slope), 1), 1)
    series = jnp.abs(jnp.fft.rfft(rate, axis=-1))
    tail = jnp.max(series[..., 2 * series.shape[-1] // 3 :], axis=-1)
    return rate, (tail > SERIES.of(rate) * series[..., 0])[..., None]


def _equal_times(rate: Float[Array, " N"], radius: Float[Array, " N"], times: Float[Array, " a"]):
    """Angles and radii at times along one contour, in units of its period, and the period."""
    series, mean = _fourier_coefficients(rate), jnp.mean(rate)
    angles = 2 * jnp.pi * jnp.arange(len(rate)) / len(rate)
    order = _harmonic_orders(len(rate))
    primitive = series / jnp.where(order == 0, 1, 1j * order) * (order != 0)
    offset = jnp.sum(primitive).real

    def elapsed_time(angle):
        """Time from the first ray, and its derivative."""
        phases = jnp.exp(1j * order * angle[:, None])
        return mean * angle + (phases @ primitive).real - offset, (phases @ series).real

    wanted = 2 * jnp.pi * mean * times
    sampled = jnp.append(elapsed_time(angles)[0], 2 * jnp.pi * mean)
    start = jnp.interp(wanted, sampled, jnp.append(angles, 2 * jnp.pi))

    def newton_update(angle):
        value, slope = elapsed_time(angle)
        return angle - (value - wanted) / slope

    angle = repeat(_INVERSIONS, newton_update, start)
    radii = (jnp.exp(1j * order * angle[:, None]) @ _fourier_coefficients(radius)).real
    return angle, radii, 2 * jnp.pi * mean


def _harmonic_orders(number: int) -> np.ndarray:
    return np.fft.fftfreq(number, 1 / number)


def _fourier_coefficients(values: Float[Array, " N"]):
    """Coefficients c_m of Σ_m c_m e^{imθ}, without the last one of an even number of values."""
    series = jnp.fft.fft(values) / len(values)
    return jnp.where(2 * np.abs(_harmonic_orders(len(values))) == len(values), 0, series)


_POLISH = 4  # Newton steps from the interpolated radius, right to the resolution of the rays


def _polish_radii(model, mu, points: RayPoints) -> RayPoints:
    """Return the points with radii on the surface, by Newton's iteration."""
    directions, band, used = points.directions, points.band, points.used
    fixed, level, center = stop_gradients((model, mu, points.center))

    def newton_update(radius):
        k = ray_positions(directions, center, radius)
        energy, velocity = one_band(fixed, k, band)
        slope = jnp.sum(velocity * directions, axis=0)
        return radius - jnp.where(used, (energy - level) / jnp.where(used, slope, 1), 0)

    return points._replace(radius=repeat(_POLISH, newton_update, points.radius))
