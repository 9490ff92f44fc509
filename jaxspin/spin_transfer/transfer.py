"""The spin density that a field and a gradient of the magnetisation make, and its torque."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin import units
from jaxspin.algebra import is_traced
from jaxspin.levels import Levels
from jaxspin.results import Response
from jaxspin.spin_transfer.kinetics import Tensors

_SOURCE = (
    "Cullen, Burgos Atencia and Culcer, Nanoscale 15, 8437 (2023), supplement, corrected "
    "(docs/spin-transfer-torque.md)"
)


class Projection(eqx.Module):
    """The part of χ between directions across m, ⟨s⟩ = a m̂ × ∂m + b ∂m.

    Axes (mu?, field, gradient). What it leaves out, and what anisotropic bands have, is in
    `transverse`.
    """

    #: a, in phase with the torque of spins that follow the texture.
    adiabatic: Response
    #: b.
    nonadiabatic: Response
    #: β = b/a of Zhang and Li, and of micromagnetic codes.
    beta: Response
    #: χ on the directions n1, n2 across m, n1 x n2 = m̂, axes (mu?, spin 2, field, gradient,
    #: magnetization 2).
    transverse: Float[Array, "*mu 2 d d 2"]
    #: n1 and n2, (2, 3).
    directions: Float[Array, "2 3"]


class Transfer(eqx.Module):
    """The response of one spin operator to a field, and to a field and a gradient of m.

    eE (eV/Å) is e > 0 times the electric field; the force on an electron is −eE.
    """

    #: χ: spin density ⟨s_a⟩ = χ_ajib eE_j ∂_i m_b, axes (mu?, spin, field, gradient,
    #: magnetization), ħ Å^(2−d)/eV².
    gradient: Response
    #: Spin density of a homogeneous magnetisation, axes (mu?, spin, field), Pauli-normalised.
    homogeneous: Response
    #: m, eV, (3,).
    magnetization: Float[Array, " 3"]

    def torque(self) -> Response:
        """Torque on the magnetisation, −2 m × ⟨s⟩/ħ, axes as `gradient`: eV Å^(−d) for eE of
        1 eV/Å and a gradient of 1 eV/Å.

        The exchange energy is +m·σ, as everywhere here; for −m·σ the sign is the opposite.
        """
        d = self.homogeneous.value.shape[-1]
        return _like(
            self.gradient,
            value=_torque(self.magnetization, self.gradient.value, axis=-4),
            error=_torque_error(self.magnetization, self.gradient.error, axis=-4),
            name="spin-transfer torque",
            formula="τ_M = −(2/ħ) m × ⟨s⟩",
            units=units.spin_transfer_torque(d),
        )

    def spin_orbit_torque(self) -> Response:
        """Torque on a homogeneous magnetisation, −2 m × ⟨s⟩/ħ, axes (mu?, spin, field)."""
        d = self.homogeneous.value.shape[-1]
        spin = self.homogeneous.to(units.spin_polarization(d))
        return _like(
            self.homogeneous,
            value=_torque(self.magnetization, spin.value / 2, axis=-2),
            error=_torque_error(self.magnetization, spin.error / 2, axis=-2),
            name="spin-orbit torque on the magnetisation",
            formula="τ_M = −(2/ħ) m × ⟨s⟩",
            units=units.torque(d),
        )

    def projection(self) -> Projection:
        """Adiabatic and non-adiabatic coefficient and β, with the 2 x 2 tensor they come from.

        Raises:
            ValueError: there is no magnetisation.
        """
        if not is_traced(self.magnetization) and not np.any(self.magnetization):
            raise ValueError("Argument `magnetization` must not vanish here, but is zero.")
        directions = across(self.magnetization)
        chi = jnp.einsum("pa,...ajib,qb->...pjiq", directions, self.gradient.value, directions)
        adiabatic = (chi[..., 1, :, :, 0] - chi[..., 0, :, :, 1]) / 2
        nonadiabatic = (chi[..., 0, :, :, 0] + chi[..., 1, :, :, 1]) / 2
        axes = tuple(a for a in self.gradient.axes if a not in ("spin", "magnetization"))
        part = lambda value, error, name, formula, unit: _like(  # noqa: E731
            self.gradient, value, error, axes=axes, name=name, formula=formula, units=unit
        )
        unit, error = self.gradient.units, _error_across(self.magnetization, self.gradient.error)
        of_ratio = error * (1 + jnp.abs(nonadiabatic / adiabatic)) / jnp.abs(adiabatic)
        return Projection(
            part(adiabatic, error, "adiabatic coefficient", "½ m̂·Σ_b e_b × χ_b", unit),
            part(nonadiabatic, error, "non-adiabatic coefficient", "½ Σ_b χ_bb across m", unit),
            part(nonadiabatic / adiabatic, of_ratio, "non-adiabaticity β", "β = b/a", "1"),
            chi,
            directions,
        )


def transfer(
    tensors: Tensors,
    differences: Tensors,
    name: str,
    magnetization,
    mu,
    temperature,
    info: dict[str, Array],
) -> Transfer:
    """The tensors and their differences to a second rule, the axis of mu first, as responses."""
    d = tensors.homogeneous.shape[-1]
    several = ("mu",) * mu.ndim
    of_mu = lambda x: x.reshape(*mu.shape, *x.shape[1:])  # noqa: E731
    shared = {"levels": Levels(mu, temperature), "source": _SOURCE, "info": info}
    gradient = of_mu(tensors.gradient)
    homogeneous = of_mu(2 * tensors.homogeneous)
    error = lambda x: of_mu(_worst_component(jnp.asarray(magnetization), x))  # noqa: E731
    return Transfer(
        Response(
            value=gradient,
            error=error(differences.gradient),
            axes=(*several, "spin", "field", "gradient", "magnetization"),
            units=units.spin_transfer(d),
            name=f"spin density of a gradient ({name})",
            formula="⟨s_a⟩ = χ_ajib eE_j ∂_i m_b, (1 − ⟨K⟩) s̄ = τ⟨K d⟩",
            **shared,
        ),
        Response(
            value=homogeneous,
            error=error(2 * differences.homogeneous),
            axes=(*several, "spin", "field"),
            units=units.spin_polarization(d),
            name=f"spin density of a field ({name})",
            formula="⟨s⟩ = ½ [−N ā + (N τ ⟨h v⟩)']",
            **shared,
        ),
        jnp.array(magnetization),
    )


def _worst_component(
    m: Float[Array, " 3"], difference: Float[Array, "e 3 *x"]
) -> Float[Array, "e 3 *x"]:
    """The largest error of a level for all components: one may agree by chance.

    The spin along m, which accumulates, and that across m each have their own.
    """
    m = _unit_vector(m)
    flat = jnp.moveaxis(difference, 1, -1).reshape(len(difference), -1, 3)
    along = (flat @ m)[..., None] * m
    largest = [jnp.max(jnp.linalg.norm(x, axis=2), axis=1) for x in (along, flat - along)]
    worst = largest[0][:, None] * jnp.abs(m) + largest[1][:, None] * jnp.sqrt(1 - m**2)
    return jnp.broadcast_to(worst.reshape(-1, 3, *[1] * (difference.ndim - 2)), difference.shape)


def _unit_vector(m: Float[Array, " 3"]) -> Float[Array, " 3"]:
    """The direction of m, and z without m."""
    m = jnp.where(jnp.any(m != 0), m, jnp.array([0.0, 0.0, 1.0]))
    return m / jnp.linalg.norm(m)


def _error_across(m: Float[Array, " 3"], error: Float[Array, "*mu 3 d d 3"]):
    """A bound of the error of the coefficients, means of two elements of χ across m."""
    directions = jnp.abs(across(m))
    return jnp.max(
        jnp.einsum("pa,...ajib,qb->...pjiq", directions, error, directions), axis=(-4, -1)
    )


def across(m: Float[Array, " 3"]) -> Float[Array, "2 3"]:
    """Unit vectors n1 and n2 across m with n1 x n2 = m̂, smooth but for one direction of m.

    Those of Duff et al., J. Comput. Graph. Tech. 6, 1 (2017): no branch near the poles.
    """
    x, y, z = m / jnp.linalg.norm(m)
    sign = jnp.where(z < 0, -1.0, 1.0)
    a = -1 / (sign + z)
    b = x * y * a
    first = jnp.stack([1 + sign * x**2 * a, sign * b, -sign * x])
    return jnp.stack([first, jnp.stack([b, sign + y**2 * a, -y])])


def along(m: Float[Array, " 3"], chi: Float[Array, "*mu 3 d d 3"]):
    """The part of χ whose spin is along m, or along z without m."""
    unit = _unit_vector(m)
    return jnp.einsum("a,c,...cjib->...ajib", unit, unit, chi)


def _torque(m, spin, axis: int):
    """−2 m × s along an axis."""
    return -2 * jnp.cross(m, spin, axisb=axis, axisc=axis)


def _torque_error(m, error, axis: int):
    """A bound of the error of −2 m × s."""
    size = jnp.abs(m)
    cross = jnp.array([[0, size[2], size[1]], [size[2], 0, size[0]], [size[1], size[0], 0]])
    return 2 * jnp.moveaxis(jnp.moveaxis(error, axis, -1) @ cross, -1, axis)


def _like(response: Response, value, error, **changes) -> Response:
    """A response at the same levels with another value."""
    given = {"axes": response.axes, **changes}
    return Response(
        value=value,
        error=error,
        levels=response.levels,
        info=response.info,
        source=response.source,
        **given,
    )
