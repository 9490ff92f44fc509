"""The spin density that a field and a gradient of the magnetisation make, and its torque."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxspin import units
from jaxspin.engine.validate import is_zero
from jaxspin.integration.levels import Levels
from jaxspin.responses.origin import Origin
from jaxspin.responses.response import Response
from jaxspin.responses.response_set import ResponseSet
from jaxspin.spin_transfer.kinetics import Tensors

_SOURCE = (
    "Cullen, Burgos Atencia and Culcer, Nanoscale 15, 8437 (2023), supplement, corrected "
    "(docs/spin-transfer-torque.md)"
)


class Projection(ResponseSet):
    """The part of χ between directions across m, ⟨s⟩ = a m̂ × ∂m + b ∂m.

    Axes (temperature?, mu, field, gradient). What it leaves out, and what anisotropic bands have,
    is in `transverse`.
    """

    #: a, in phase with the torque of spins that follow the texture.
    adiabatic: Response
    #: b.
    nonadiabatic: Response
    #: β = b/a of Zhang and Li, and of micromagnetic codes. NaN where a is zero but for rounding, as
    #: where a symmetry makes both vanish: there is no ratio.
    beta: Response
    #: χ on the directions n1, n2 across m, n1 x n2 = m̂, axes (temperature?, mu, spin 2, field,
    #: gradient, magnetization 2).
    transverse: Float[Array, "*levels 2 d d 2"]
    #: n1 and n2, (2, 3).
    directions: Float[Array, "2 3"]

    @property
    def title(self) -> str:
        return "spin density of a gradient across the magnetisation"


class Transfer(ResponseSet):
    """The response of one spin operator to a field, and to a field and a gradient of m.

    eE (eV/Å) is e > 0 times the electric field; the force on an electron is −eE.
    """

    #: χ: spin density ⟨s_a⟩ = χ_ajib eE_j ∂_i m_b, axes (temperature?, mu, spin, field, gradient,
    #: magnetization), ħ Å^(2−d)/eV².
    gradient: Response
    #: Spin density of a homogeneous magnetisation, axes (temperature?, mu, spin, field),
    #: Pauli-normalised.
    homogeneous: Response
    #: m, eV, (3,).
    magnetization: Float[Array, " 3"]
    #: Estimated errors of the parts across m, which make torques: of |⟨s⟩| for any field (and
    #: gradient). Those of the parts along m can be larger by orders of magnitude.
    gradient_error_across: Float[Array, "*levels"]
    homogeneous_error_across: Float[Array, "*levels"]

    @property
    def title(self) -> str:
        return "spin density of a field, with a gradient of the magnetisation and without"

    def torque(self) -> Response:
        """Torque on the magnetisation, −2 m × ⟨s⟩/ħ, axes as `gradient`: eV Å^(−d) for eE of
        1 eV/Å and a gradient of 1 eV/Å.

        The exchange energy is +m·σ, as everywhere here; for −m·σ the sign is the opposite.
        """
        d = self.homogeneous.value.shape[-1]
        torque = _cross_with(self.magnetization, self.gradient.value, axis=-4)
        return _replace_value(
            self.gradient,
            value=torque,
            error=_torque_error(self.magnetization, self.gradient_error_across, torque),
            name="spin-transfer torque",
            formula="τ_M = −(2/ħ) m × ⟨s⟩",
            units=units.spin_transfer_torque(d),
            symbol=r"\tau",
        )

    def spin_orbit_torque(self) -> Response:
        """Torque on a homogeneous magnetisation, −2 m × ⟨s⟩/ħ, axes as `homogeneous`."""
        d = self.homogeneous.value.shape[-1]
        spin = self.homogeneous.to(units.spin_polarization(d))
        torque = _cross_with(self.magnetization, spin.value / 2, axis=-2)
        return _replace_value(
            self.homogeneous,
            value=torque,
            error=_torque_error(self.magnetization, self.homogeneous_error_across / 2, torque),
            name="spin-orbit torque on the magnetisation",
            formula="τ_M = −(2/ħ) m × ⟨s⟩",
            units=units.torque(d),
            symbol=r"\tau",
        )

    def projection(self) -> Projection:
        """Adiabatic and non-adiabatic coefficient and β, with the 2 x 2 tensor they come from.

        Raises:
            ValueError: there is no magnetisation.
        """
        if is_zero(self.magnetization):
            raise ValueError("Argument `magnetization` must not vanish here, but is zero.")
        directions = directions_across(self.magnetization)
        chi = jnp.einsum("pa,...ajib,qb->...pjiq", directions, self.gradient.value, directions)
        adiabatic = (chi[..., 1, :, :, 0] - chi[..., 0, :, :, 1]) / 2
        nonadiabatic = (chi[..., 0, :, :, 0] + chi[..., 1, :, :, 1]) / 2
        axes = tuple(a for a in self.gradient.axes if a not in ("spin", "magnetization"))
        part = lambda value, error, name, formula, unit: _replace_value(  # noqa: E731
            self.gradient, value, error, axes=axes, name=name, formula=formula, units=unit
        )
        unit, across_m = self.gradient.units, self.gradient_error_across
        largest = jnp.max(jnp.sum(jnp.abs(directions), axis=1))
        error = _fill_components(largest * across_m, adiabatic)
        beta = _find_ratio(nonadiabatic, adiabatic, chi)
        of_beta = error * (1 + jnp.abs(beta)) / jnp.abs(adiabatic)
        return Projection(
            part(adiabatic, error, "adiabatic coefficient", "½ m̂·Σ_b e_b × χ_b", unit),
            part(nonadiabatic, error, "non-adiabatic coefficient", "½ Σ_b χ_bb across m", unit),
            part(beta, of_beta, "non-adiabaticity β", "β = b/a", "1"),
            chi,
            directions,
        )


class Circumstances(NamedTuple):
    """Levels, magnetisation and texts that responses of bare and dressed spin share."""

    levels: Levels
    #: m, eV.
    magnetization: Float[Array, " 3"]
    info: dict[str, Array]
    origin: Origin


def build_transfer(
    tensors: Tensors, differences: Tensors, name: str, circumstances: Circumstances
) -> Transfer:
    """The tensors and their differences to a second rule, levels first, as responses."""
    d, (levels, m, info, origin) = tensors.homogeneous.shape[-1], circumstances
    at_levels = lambda x: x.reshape(*levels.shape, *x.shape[1:])  # noqa: E731
    shared = {"levels": levels, "source": _SOURCE, "info": info, "origin": origin}
    gradient = at_levels(tensors.gradient)
    homogeneous = at_levels(2 * tensors.homogeneous)
    along, across = map(at_levels, _largest_difference(m, differences.gradient))
    bounds = _largest_difference(m, 2 * differences.homogeneous)
    plain_along, plain_across = map(at_levels, bounds)
    return Transfer(
        Response(
            value=gradient,
            error=_component_errors(m, along, across, gradient),
            axes=(*levels.axes, "spin", "field", "gradient", "magnetization"),
            units=units.spin_transfer(d),
            name=f"spin density of a gradient ({name})",
            formula="⟨s_a⟩ = χ_ajib eE_j ∂_i m_b, (1 − ⟨K⟩) s̄ = τ⟨K d⟩",
            symbol=r"\chi",
            **shared,
        ),
        Response(
            value=homogeneous,
            error=_component_errors(m, plain_along, plain_across, homogeneous),
            axes=(*levels.axes, "spin", "field"),
            units=units.spin_polarization(d),
            name=f"spin density of a field ({name})",
            formula="⟨s⟩ = ½ [−N ā + (N τ ⟨h v⟩)']",
            symbol="s",
            **shared,
        ),
        m,
        gradient_error_across=across,
        homogeneous_error_across=plain_across,
    )


def _largest_difference(m: Float[Array, " 3"], difference: Float[Array, "e 3 *x"]):
    """The largest difference of a level in the spin along m, and across it: one component may agree
    by chance. The spin along m accumulates, and its errors are the larger ones."""
    m = _unit_vector(m)
    flat = jnp.moveaxis(difference, 1, -1).reshape(len(difference), -1, 3)
    along = (flat @ m)[..., None] * m
    return [jnp.max(jnp.linalg.norm(x, axis=2), axis=1) for x in (along, flat - along)]


def _component_errors(m, along, across, spin: Float[Array, "..."]):
    """A bound of the errors of the components of a spin, from those along and across m."""
    m = _unit_vector(m)
    size = along[..., None] * jnp.abs(m) + across[..., None] * jnp.sqrt(1 - m**2)
    return _fill_components(size, spin)


def _fill_components(error: Float[Array, "*a"], value: Float[Array, "..."]):
    """The error of all elements along the last axes of a value."""
    error = error.reshape(*error.shape, *(1,) * (value.ndim - error.ndim))
    return jnp.broadcast_to(error, value.shape)


def _unit_vector(m: Float[Array, " 3"]) -> Float[Array, " 3"]:
    """The direction of m, and z without m."""
    m = jnp.where(jnp.any(m != 0), m, jnp.array([0.0, 0.0, 1.0]))
    return m / jnp.linalg.norm(m)


def _find_ratio(part, whole, of: Float[Array, "*levels 2 d d 2"]):
    """part/whole, NaN where the whole is zero to the rounding errors of χ across m."""
    size = jnp.max(jnp.abs(of), axis=(-4, -3, -2, -1))[..., None, None]
    zero = jnp.abs(whole) <= _ROUNDING * jnp.finfo(of.dtype).eps * size
    return jnp.where(zero, jnp.nan, part / jnp.where(zero, 1, whole))


_ROUNDING = 64  # rounding errors; what a symmetry makes zero was up to 2 of them


def directions_across(m: Float[Array, " 3"]) -> Float[Array, "2 3"]:
    """Unit vectors n1 and n2 across m with n1 x n2 = m̂, smooth but for one direction of m.

    Those of Duff et al., J. Comput. Graph. Tech. 6, 1 (2017): no branch near the poles.
    """
    x, y, z = m / jnp.linalg.norm(m)
    sign = jnp.where(z < 0, -1.0, 1.0)
    a = -1 / (sign + z)
    b = x * y * a
    first = jnp.stack([1 + sign * x**2 * a, sign * b, -sign * x])
    return jnp.stack([first, jnp.stack([b, sign + y**2 * a, -y])])


def project_along(m: Float[Array, " 3"], chi: Float[Array, "*levels 3 d d 3"]):
    """The part of χ whose spin is along m, or along z without m."""
    unit = _unit_vector(m)
    return jnp.einsum("a,c,...cjib->...ajib", unit, unit, chi)


def _cross_with(m, spin, axis: int):
    """−2 m × s along an axis."""
    return -2 * jnp.cross(m, spin, axisb=axis, axisc=axis)


def _torque_error(m, across: Float[Array, "*levels"], torque: Float[Array, "..."]):
    """A bound of the error of −2 m × s, from that of s across m."""
    size = 2 * jnp.linalg.norm(m) * jnp.sqrt(1 - _unit_vector(m) ** 2)
    return _fill_components(across[..., None] * size, torque)


def _replace_value(response: Response, value, error, **changes) -> Response:
    """A response at the same levels with another value."""
    given = {"axes": response.axes, **changes}
    return Response(
        value=value,
        error=error,
        levels=response.levels,
        info=response.info,
        source=response.source,
        origin=response.origin,
        **given,
    )
