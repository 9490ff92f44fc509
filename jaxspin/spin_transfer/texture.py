"""The torque on a magnetisation that varies in space: domain walls, skyrmions, any grid of m."""

from collections.abc import Sequence
from functools import partial

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float

from jaxspin.engine.checkpoint import CheckpointLike
from jaxspin.engine.programs import program
from jaxspin.engine.progress import Bar
from jaxspin.engine.segments import ItemMap, Portion
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.validate import check_finite, check_vector, is_positive, shortened
from jaxspin.engine.xla import map_in_batches
from jaxspin.integration.levels import Levels
from jaxspin.integration.problem import Run
from jaxspin.spin_transfer.checks import check_input, check_one_level
from jaxspin.spin_transfer.exchange_models import ExchangeModel
from jaxspin.spin_transfer.response import (
    KEEP,
    Magnet,
    Shells,
    SpinResponse,
    average_shells,
    build_collisions,
    check_result,
    collect_info,
    find_shells,
)
from jaxspin.spin_transfer.slow_modes import SlowModes
from jaxspin.surfaces import FermiSurfaceRule
from jaxspin.surfaces.base import Diagnostic
from jaxspin.surfaces.scan import scan_levels
from jaxspin.surfaces.thermal import Findings, ThermalLevels, move_axes_last


class TextureTorque(eqx.Module):
    """The spin density and the torque at each point of a grid, components first."""

    #: m, eV, (3, *grid).
    magnetization: Float[Array, "3 *grid"]
    #: Dressed spin density of field and gradient, ħ Å^(−d).
    spin_density: Float[Array, "3 *grid"]
    #: Torque on the magnetisation, −2 m × ⟨s⟩/ħ, eV Å^(−d).
    torque: Float[Array, "3 *grid"]
    #: The part that a homogeneous magnetisation has too; 0 for an inversion-symmetric band.
    spin_orbit_torque: Float[Array, "3 *grid"]
    #: Distances of the points along x, y, ..., Å.
    spacing: tuple[float, ...] = eqx.field(static=True)
    #: Of the electrons.
    dimension: int = eqx.field(static=True)
    #: As of `spin_transfer_torque`, the worst of all points.
    info: dict[str, Array]

    @property
    def units(self) -> dict[str, str]:
        """The unit of each field that is an array."""
        return {
            "magnetization": "eV",
            "spin_density": f"hbar Angstrom^{-self.dimension}",
            "torque": f"eV Angstrom^{-self.dimension}",
            "spin_orbit_torque": f"eV Angstrom^{-self.dimension}",
        }


def texture_torque(
    model: ExchangeModel,
    surface: FermiSurfaceRule,
    levels: Levels,
    texture: Float[ArrayLike, "3 *grid"],
    scattering_time: Float[ArrayLike, ""],
    *,
    spacing: Sequence[float],
    field: ArrayLike | Sequence,
    spin_relaxation_time: Float[ArrayLike, ""] | None = None,
    slow_modes: SlowModes = KEEP,
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> TextureTorque:
    """Spin density and torque of an electric field in a magnetisation m(r), point by point.

    χ(m(r)) of `spin_transfer_torque` with the gradient of m by central differences (of three points
    on one side at the edges), both of second order in the spacing: for textures wider than the mean
    free path, and, where slow modes are kept, than their diffusion length.

    Args:
        levels: one mu and one temperature.
        texture: m of H = ... + m·σ, eV, on a grid along x, along x and y, or in space; axes
            (3, x, ...).
        spacing: distance of the points along each axis of the grid, Å.
        field: eE, with E the electric field and e > 0, eV/Å; 1e-10 of E in V/m.
        scattering_time, ...: as of `spin_transfer_torque`.
        progress, checkpoint: as in `anomalous_hall`.
    Raises:
        ValueError: as `spin_transfer_torque`; several levels; a grid with fewer than three points
            along an axis.
    """
    check_input(model, surface, levels)
    check_one_level(levels)
    check_vector("field", field, d := model.dimension, f"{d} finite numbers (eV/Angstrom)")
    collisions = build_collisions(scattering_time, spin_relaxation_time, slow_modes)
    m = _check_texture(model, texture, spacing)
    magnet = Magnet(model, surface, collisions)
    response, findings = _solve_texture(magnet, m, levels, Run.of(progress, checkpoint))
    check_result(response, findings, levels, slow_modes)
    drive = jnp.asarray(field, dtype=jnp.result_type(float))
    dressed, slopes = response.solution.dressed, find_gradient(m, spacing, model.dimension)
    spin = jnp.einsum("rajib,j,ibr->ar", dressed.gradient, drive, slopes)
    homogeneous = jnp.einsum("raj,j->ar", dressed.homogeneous, drive).reshape(m.shape)
    spin = spin.reshape(m.shape) + homogeneous
    torque = lambda s: -2 * jnp.cross(m, s, axisa=0, axisb=0, axisc=0)  # noqa: E731
    distances, info = tuple(float(x) for x in spacing), collect_info(response, scattering_time)
    fields = (m, spin, torque(spin), torque(homogeneous))
    return TextureTorque(*fields, distances, model.dimension, info)


def _solve_texture(
    magnet: Magnet, m: Float[Array, "3 *grid"], levels: Levels, run: Run
) -> tuple[SpinResponse, Findings]:
    """χ at each point of the grid, on one leading axis."""
    points = m.reshape(3, -1).T
    bar = Bar(run.progress, len(points), unit=" points")
    respond = Partial(_solve_points, magnet, points)
    return scan_levels(respond, levels, run, bar, **vars(magnet), texture=m)


def _solve_points(
    magnet: Magnet, points: Float[Array, "r 3"], items: ItemMap, level: ThermalLevels
) -> tuple[SpinResponse, tuple[Diagnostic, ...]]:
    """χ at each point, the axis of points first, and what to look at on the Fermi surfaces."""
    shells, findings = _find_level_shells(magnet, level)
    respond = partial(_respond_at_points, magnet, shells)
    responses = items.map_items("points", respond, points, Portion(_SEGMENT))
    return responses, move_axes_last(findings, 1)


@program
def _find_level_shells(magnet: Magnet, level: ThermalLevels):
    return find_shells(magnet.model.prepared(), magnet.surface, level.mu[0], level.thermal)


@program
def _respond_at_points(magnet: Magnet, shells: Shells, points: Float[Array, "r 3"]) -> SpinResponse:
    model = magnet.model.prepared()
    respond = lambda point: average_shells(model, shells, point, magnet.collisions)  # noqa: E731
    return map_in_batches(respond, points, _BATCH)


_BATCH = 32  # points at a time: some 10 MB for 500 nodes
_SEGMENT = 256  # points


def find_gradient(
    m: Float[Array, "3 *grid"], spacing: Sequence[float], dimension: int
) -> Float[Array, "d 3 r"]:
    """∂_i m_b at each point, zero along directions that the grid does not have."""
    along = [_slope_along(m, axis + 1) / step for axis, step in enumerate(spacing)]
    across = [jnp.zeros_like(m)] * (dimension - len(along))
    return jnp.stack(along + across).reshape(dimension, 3, -1)


def _slope_along(m: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Slope per point along an axis, exact for parabolas: central, and one-sided at the ends.

    `jnp.gradient` takes the difference of the two last points there, which is of first order.
    """
    f = jnp.moveaxis(m, axis, 0)
    inside = (f[2:] - f[:-2]) / 2
    first = (4 * f[1] - 3 * f[0] - f[2]) / 2
    last = (3 * f[-1] - 4 * f[-2] + f[-3]) / 2
    return jnp.moveaxis(jnp.concatenate([first[None], inside, last[None]]), 0, axis)


def domain_wall(
    points: int, spacing: float, width: float, exchange: float, *, angle: float = 0.0
) -> Float[Array, "3 x"]:
    """A wall between m = +z and −z along x: m̂ = (sech cos φ, sech sin φ, −tanh)(x/width).

    Args:
        points, spacing: of the grid, which has the wall in its middle; Å.
        width: Δ, Å.
        exchange: |m|, eV.
        angle: φ: 0 a Néel wall, π/2 a Bloch wall.

    >>> domain_wall(5, 10.0, 20.0, 0.001).shape
    (3, 5)
    """
    x = (jnp.arange(points) - (points - 1) / 2) * spacing / width
    across = 1 / jnp.cosh(x)
    return exchange * jnp.stack([across * jnp.cos(angle), across * jnp.sin(angle), -jnp.tanh(x)])


def skyrmion(
    points: int, spacing: float, radius: float, width: float, exchange: float, *, angle: float = 0.0
) -> Float[Array, "3 x y"]:
    """A skyrmion, m = −z at its centre and +z outside, with a wall of this width at the radius.

    Its polar angle is θ = 2 arctan(sinh(radius/width)/sinh(r/width)), a wall of 360 degrees seen
    along a diameter (Braun, Phys. Rev. B 50, 16485 (1994)).

    Args:
        points, spacing: of a square grid around the centre; Å.
        radius, width: Å.
        exchange: |m|, eV.
        angle: of m̂ against the radius: 0 Néel, π/2 Bloch.

    >>> skyrmion(4, 10.0, 10.0, 5.0, 0.001).shape
    (3, 4, 4)
    """
    x = (jnp.arange(points) - (points - 1) / 2) * spacing
    x, y = jnp.meshgrid(x, x, indexing="ij")
    theta = 2 * jnp.arctan2(jnp.sinh(radius / width), jnp.sinh(jnp.hypot(x, y) / width))
    phi = jnp.arctan2(y, x) + angle
    across = jnp.sin(theta)
    return exchange * jnp.stack([across * jnp.cos(phi), across * jnp.sin(phi), jnp.cos(theta)])


def _check_texture(model, texture, spacing) -> Float[Array, "3 *grid"]:
    shape, d = np.shape(texture), model.dimension
    if len(shape) < 2 or shape[0] != 3 or len(shape) > d + 1 or min(shape[1:]) < 3:
        raise ValueError(
            f"Argument `texture` must have the shape (3, x, ...) with one to {d} axes of at least "
            f"three points, but has {shape}."
        )
    if np.shape(spacing) != (len(shape) - 1,) or not is_positive(spacing):
        raise ValueError(
            f"Argument `spacing` must be {len(shape) - 1} positive distances (Angstrom), "
            f"but is {shortened(spacing)}."
        )
    if not is_traced(texture):
        check_finite("texture", texture)
        largest = np.asarray(texture).reshape(3, -1)
        model.check(largest[:, np.argmax(np.linalg.norm(largest, axis=0))])
    return jnp.array(texture, dtype=jnp.result_type(float))
