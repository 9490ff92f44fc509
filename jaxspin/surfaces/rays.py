"""Crossings of rays from one point with the Fermi surface."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxspin.engine.annotations import Numbers
from jaxspin.engine.interpolation import hermite
from jaxspin.engine.validate import check_finite, check_integer, check_number
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.models.base import Model
from jaxspin.surfaces.base import (
    VAN_HOVE,
    Diagnostic,
    FermiSurface,
    Outline,
    all_bands,
    bracketed_roots,
    first_used,
    is_near_van_hove,
    is_unconverged,
    newton_step,
    one_band,
    safe_divisor,
    stop_gradients,
)


class Search(eqx.Module):
    """Range and resolution of the search for crossings along a ray.

    Energies and slopes are sampled at `samples` equidistant radii up to `reach`, and a crossing is
    where their cubic interpolation changes sign; so two crossings as close as a tenth of a sample
    are found. Beyond `reach` nothing is looked for. Where it is None, it is the boundary of the
    Wigner-Seitz cell around `center` for a lattice model, so that each crossing counts once, and
    for a continuum model a little more than the outermost crossing, looked for at radii of all
    powers of two from 10⁻⁶ to 10⁵ /Å.
    """

    center: Float[Array, " d"]
    reach: Float[Array, ""] | None
    samples: int = eqx.field(static=True)
    roots: int = eqx.field(static=True)


def make_search(center: Numbers, reach: Numbers | None, samples: int, roots: int) -> Search:
    """Return a search, with its arguments checked.

    Raises:
        ValueError: a center that is not finite, a reach that is not positive, too few samples.
    """
    check_finite("center", center, "1/Angstrom")
    if reach is not None:
        check_number("reach", reach, "a positive radius (1/Angstrom)", above=0)
    as_float = lambda x: jnp.array(x, dtype=jnp.result_type(float))  # noqa: E731
    return Search(
        as_float(center),
        None if reach is None else as_float(reach),
        check_integer("samples", samples, 3),
        check_integer("roots", roots, 1),
    )


class Crossings(NamedTuple):
    """Crossings of rays with the surface: axes band, root in order of radius, ray."""

    radius: Float[Array, "n r N"]
    used: Bool[Array, "n r N"]
    #: ε − mu (eV), its radial derivative and |∂ε| (eV Å) there, (n, r, N).
    value: Float[Array, "n r N"]
    slope: Float[Array, "n r N"]
    speed: Float[Array, "n r N"]
    #: How many there are, in slots or not, (n, N).
    number: Int[Array, "n N"]
    #: Radius up to which was searched, (N,).
    reach: Float[Array, " N"]


def find_crossings(
    model: Model, mu: Float[Array, ""], directions: Float[Array, "d N"], search: Search
) -> Crossings:
    """All radial roots of ε = mu, for arguments that are constant to derivatives."""
    reach, bracket, used = _find_brackets(model, mu, directions, search)
    start, low, high = (x * reach for x in (bracket.start, bracket.low, bracket.high))
    band = _bands_of_slots(start)

    def evaluate_at(radius):
        energy, velocity = one_band(model, ray_positions(directions, search.center, radius), band)
        return (
            energy - mu,
            radial_component(velocity, directions),
            jnp.linalg.norm(velocity, axis=0),
        )

    radius = bracketed_roots(lambda r: evaluate_at(r)[:2], start, low, high, bracket.rising)
    return Crossings(radius, used, *evaluate_at(radius), bracket.number, reach)


def outline_of_rays(
    model: Model, mu: Float[Array, ""], directions: Float[Array, "d N"], search: Search
) -> Outline:
    """Outline from the brackets alone: slots that hold a crossing on any ray."""
    reach, bracket, used = _find_brackets(model, mu, directions, search)
    k = ray_positions(directions, search.center, bracket.start * reach)
    ray = jnp.argmax(used, axis=-1)[None, ..., None]
    return Outline(
        number=used.any(axis=-1).ravel().astype(int),
        k=jnp.take_along_axis(k, ray, axis=-1).reshape(len(k), -1),
        band=_bands_of_slots(bracket.start)[..., 0].ravel(),
        crossed=used.any(),
    )


def _find_brackets(model, mu, directions, search: Search):
    """The reach of each ray, the brackets of its crossings in parts of that, and slots in use."""
    reach = _find_reach(model, mu, directions, search)
    fractions = jnp.linspace(_INNERMOST, 1, search.samples + 1)
    energies, slopes = _bands_on_rays(model, directions, search, fractions[:, None] * reach)
    bracket = _bracket_sign_changes(energies - mu, slopes * reach, fractions, search.roots)
    return reach, bracket, bracket.number[:, None] > jnp.arange(search.roots)[:, None]


def _bands_of_slots(radius) -> Int[Array, "n r N"]:
    return jnp.broadcast_to(jnp.arange(len(radius))[:, None, None], radius.shape)


def ray_positions(directions, center, radius: Float[Array, "*b N"]) -> Float[Array, "d *b N"]:
    """k = center + radius n, for each ray; n need not be of length 1."""
    shape = (len(directions), *(1,) * (radius.ndim - 1), -1)
    return jnp.reshape(center, (-1, *(1,) * radius.ndim)) + radius * directions.reshape(shape)


def radial_component(velocity, directions):
    """The product of a vector (d, ..., N) with the direction of each ray."""
    return jnp.einsum("i...N,iN->...N", velocity, directions)


def _bands_on_rays(model, directions, search, radius: Float[Array, "j N"]):
    """Energies and radial slopes of all bands, (n, j, N)."""
    energies, velocity = all_bands(model, ray_positions(directions, search.center, radius))
    return energies, radial_component(velocity, directions)


# --------------------------------------------------------------------------- brackets

_INNERMOST = 1e-6  # the first sample: at the center itself bands may touch and have no slope
_WITHIN = 8  # points of the cubic between two samples; its error there is of fourth order


class _Bracket(NamedTuple):
    """Fractions of the reach, (n, r, N), and the number of sign changes, (n, N)."""

    start: Array
    low: Array
    high: Array
    rising: Array
    number: Array


def _bracket_sign_changes(values, slopes, fractions, roots: int) -> _Bracket:
    """Brackets of the sign changes of the cubic through samples (n, j, N), in order of radius."""
    step = fractions[1] - fractions[0]
    fine = _interpolate_cubic(values, slopes * step)
    above = fine > 0
    change = above[:, 1:] != above[:, :-1]
    order = jnp.cumsum(change, axis=1)
    index = jnp.stack([jnp.argmax(change & (order == r + 1), axis=1) for r in range(roots)], axis=1)
    left, right = (jnp.take_along_axis(fine, index + side, axis=1) for side in (0, 1))
    width = step / _WITHIN
    start = fractions[0] + width * (index + left / safe_divisor(left - right))
    number = order[:, -1]
    edge, last = jnp.zeros_like(start[:, :1]), number[:, None] > jnp.arange(1, roots + 1)[:, None]
    between = (start[:, 1:] + start[:, :-1]) / 2
    low = jnp.concatenate([edge, between], axis=1)
    high = jnp.where(last, jnp.concatenate([between, edge + 1], axis=1), 1)
    low, high = jnp.maximum(low, start - step), jnp.minimum(high, start + step)
    return _Bracket(start, low, high, right > left, number)


def _interpolate_cubic(values, slopes):
    """The cubic Hermite interpolation of samples (n, j, N), `_WITHIN` points for each."""
    x = jnp.arange(_WITHIN)[:, None] / _WITHIN
    ends = ((y[:, :-1, None], y[:, 1:, None]) for y in (values, slopes))
    fine = hermite(x, *ends)[0].reshape(len(values), -1, values.shape[-1])
    return jnp.concatenate([fine, values[:, -1:]], axis=1)


# --------------------------------------------------------------------------- how far to look

_LADDER = 1e-6 * 2.0 ** np.arange(38)  # up to 10⁵ /Å, a hundred thousand Brillouin zones
_SCOUTS = 32  # rays that climb it
_MARGIN = 1.5  # other rays may cross farther out than they


def _find_reach(model, mu, directions, search) -> Float[Array, " N"]:
    if search.reach is not None:
        return jnp.broadcast_to(search.reach, directions.shape[1:])
    if model.lattice is not None:
        return _cell_boundary(reciprocal_vectors(model.lattice), directions)
    scouts = directions[:, :: max(1, directions.shape[1] // _SCOUTS)]
    radius = jnp.asarray(_LADDER)[:, None] * jnp.ones(scouts.shape[1])
    energies, slopes = _bands_on_rays(model, scouts, search, radius)
    crossed = _may_cross(energies - mu, slopes, radius).any(axis=(0, 2))
    outermost = jnp.max(jnp.where(crossed, jnp.asarray(_LADDER[1:]), 0))
    reach = jnp.where(outermost > 0, _MARGIN * outermost, 1.0)
    return jnp.broadcast_to(reach, directions.shape[1:])


def _may_cross(values, slopes, radius) -> Bool[Array, "n j N"]:
    """Between which radii a band crosses, or turns round where its tangents meet beyond."""
    step = jnp.diff(radius, axis=0)
    (f0, f1), (d0, d1) = ((x[:, :-1], x[:, 1:]) for x in (values, slopes))
    meet = (f1 - f0 - d1 * step) / safe_divisor(d0 - d1)  # distance from the left end
    tangent = f0 + d0 * meet
    turns = (d0 * d1 < 0) & (meet > 0) & (meet < step) & (f0 * tangent < 0)
    return (f0 * f1 <= 0) | turns


def _cell_boundary(reciprocal, directions) -> Float[Array, " N"]:
    """Distance to the boundary of the Wigner-Seitz cell: half of |G|²/(n·G), the smallest."""
    d = len(reciprocal)
    cells = np.stack(np.meshgrid(*[np.arange(-3, 4)] * d), axis=-1).reshape(-1, d)
    cells = cells[np.any(cells != 0, axis=1)]
    vectors = jnp.asarray(cells, dtype=reciprocal.dtype) @ reciprocal
    along = vectors @ directions
    distance = jnp.sum(vectors**2, axis=1)[:, None] / 2 / jnp.where(along > 0, along, 1)
    return jnp.min(jnp.where(along > 0, distance, jnp.inf), axis=0)


# --------------------------------------------------------------------------- nodes and findings


class RayPoints(NamedTuple):
    """Crossings as a list: one ray, radius and band each, k = center + r n; n of any length."""

    directions: Float[Array, "d a"]
    center: Float[Array, " d"]
    radius: Float[Array, " a"]
    band: Int[Array, " a"]
    used: Bool[Array, " a"]


def surface_of_rays(model: Model, mu: Float[Array, ""], points: RayPoints) -> FermiSurface:
    """The nodes at the radii, differentiable, with weight r^(d-1)/|∂_r ε|/(2π)^d, for a solid
    angle of 1 of each ray."""
    slot, center = first_used(points.used), points.center
    directions, radius = points.directions[:, slot], points.radius[slot]
    band = points.band[slot]

    def evaluate_lines(radius):
        energy, velocity = one_band(model, ray_positions(directions, center, radius), band)
        return energy - mu, radial_component(velocity, directions)

    radius = newton_step(evaluate_lines, radius)
    _, slope = evaluate_lines(radius)
    d = len(directions)
    density = jnp.abs(radius ** (d - 1) / safe_divisor(slope)) / (2 * jnp.pi) ** d
    weight = jnp.where(points.used, density, 0)
    return FermiSurface(ray_positions(directions, center, radius), band, weight)


# A ray at less than 1/50 rad to the surface: the integrand varies as fast as one over this angle.
_GRAZING = 0.02


def findings_on_rays(directions, center, found: Crossings, mu) -> tuple[Diagnostic, ...]:
    """Return the cases that rules on rays refuse: many crossings, open surfaces, grazing rays."""
    n, roots, rays = found.radius.shape
    k, band = ray_positions(directions, center, found.radius), _bands_of_slots(found.radius)
    end = ray_positions(directions, center, jnp.broadcast_to(found.reach, (n, rays)))
    fewer = found.number < jnp.max(found.number, axis=1, keepdims=True)
    grazing = jnp.abs(found.slope) < _GRAZING * found.speed * jnp.linalg.norm(directions, axis=0)
    lost = is_unconverged(found.value, found.slope, found.radius, mu)
    return (
        Diagnostic(
            found.number > roots,
            end,
            band[:, 0],
            f"crosses a ray more often than the {roots} times that `roots` has room for.",
        ),
        Diagnostic(
            fewer,
            end,
            band[:, 0],
            "is open, or does not enclose `center`, or is not star-shaped from there: this "
            "direction crosses it less often than others do. Use MarchingSquares (2D, lattice) or "
            "BroadenedSurface, or another `center` or `reach`.",
        ),
        Diagnostic(
            found.used & lost,
            k,
            band,
            "was not found by Newton's iteration: two crossings of a ray are too close, or bands "
            "cross there. Use more `samples`.",
        ),
        Diagnostic(is_near_van_hove(found.speed, found.used, axis=2), k, band, VAN_HOVE),
        Diagnostic(
            found.used & grazing,
            k,
            band,
            "is not star-shaped from `center`: a ray runs along it, at an angle of less than "
            f"{_GRAZING}. Use MarchingSquares (2D, lattice) or BroadenedSurface, or another "
            "`center`.",
        ),
    )


def frozen_crossings(model, mu, directions, search):
    """Crossings and findings, constant to derivatives."""
    model, mu, search = stop_gradients((model, mu, search))
    found = find_crossings(model, mu, directions, search)
    return found, findings_on_rays(directions, search.center, found, mu)
