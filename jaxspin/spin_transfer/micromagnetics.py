"""Input of micromagnetic codes: the velocity u and the non-adiabaticity β of Zhang and Li."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxspin import units
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.validate import (
    check_number,
    check_type,
    check_vector,
    is_finite,
    is_zero,
    shortened,
)
from jaxspin.spin_transfer.transfer import Projection, Transfer

#: Bohr magneton, J/T.
_BOHR_MAGNETON = units.BOHR_MAGNETON * units.ELEMENTARY_CHARGE**2 / units.HBAR / 1e20


class Micromagnetics(eqx.Module):
    """∂m̂/∂t = ... − (u·∇)m̂ + β m̂ × (u·∇)m̂, in the form of Thiaville et al. (2005).

    >>> import jaxspin as js
    >>> band, relax = js.spin_transfer.Ferromagnet(kinetic=5.7), 6.582119569
    >>> stt = js.spin_transfer_torque(
    ...     band,
    ...     js.FermiShell(6, 8),
    ...     js.Levels(0.05),
    ...     [0, 0, 0.004],
    ...     0.1,
    ...     spin_relaxation_time=relax,
    ... )
    >>> found = js.spin_transfer.micromagnetics(stt.dressed, [1e-5, 0, 0], 8e5)
    >>> round(float(found.u[0]), 6), round(float(found.beta), 6)
    (-0.067701, 0.0125)
    """

    #: m/s, (3,); along the motion of the electrons.
    u: Float[Array, " 3"]
    beta: Float[Array, ""]
    #: Ms, A/m.
    saturation: Float[Array, ""]
    #: Norm of the response across m that u and β do not describe, over its whole norm.
    left_out: Float[Array, ""]

    def mumax3(self) -> str:
        """Lines for a mumax3 script: the current density, at Pol = 1, that gives this u.

        mumax3 has u = −μ_B Pol J/(e Ms (1 + ξ²)).
        """
        per_velocity = units.ELEMENTARY_CHARGE * self.saturation / _BOHR_MAGNETON
        current = ", ".join(f"{-float(x):.9g}" for x in self.u * per_velocity * (1 + self.beta**2))
        return (
            f"Msat = {float(self.saturation):.9g}\nPol = 1\nxi = {float(self.beta):.9g}\n"
            f"J = vector({current})\n"
        )

    def oommf(self) -> str:
        """The block of an OOMMF MIF file for the evolver Anv_SpinTEvolve, whose u is along x.

        Raises:
            ValueError: u is not along x.
        """
        u = np.asarray(self.u)
        if np.linalg.norm(u[1:]) > _ALONG * np.linalg.norm(u):
            raise ValueError(
                f"Argument `field` must be such that u is along x for OOMMF, but u is {u} m/s."
            )
        return (
            "Specify Anv_SpinTEvolve {\n  do_precess 1\n  u {\n    Oxs_UniformScalarField {\n"
            f"      value {float(u[0]):.9g}\n    }}\n  }}\n  beta {float(self.beta):.9g}\n}}\n"
        )


_ALONG = 1e-2  # of |u|: the part across the field is of order 10⁻⁴ for Bi2Se3, and negligible


def micromagnetics(
    transfer: Transfer, field: ArrayLike | Sequence, saturation: Float[ArrayLike, ""]
) -> Micromagnetics:
    """u and β of a three-dimensional ferromagnet whose moments M are along m.

    The local moments have the angular momentum L = −M/γ, and dL/dt = −(2/ħ) m × ⟨s⟩, hence with
    the coefficients a and b of `Projection`, per direction i of the gradient,

        u_i = 2 |m|² a_ji eE_j/(ħ Ms/2μ_B),  β = b/a  (g = 2; where u_i differ in it, their mean
        with weights u_i²).

    Carriers that are coupled ferromagnetically, and see more energy with their spin along m, have
    M along m.

    Args:
        transfer: at one level, usually `dressed`; the rest it has is in `left_out`, and warned
            about above a tenth.
        field: eE, with E the electric field and e > 0, eV/Å; 1e-10 of E in V/m.
        saturation: Ms, A/m.
    Raises:
        ValueError: several levels, another dimension than three, no magnetisation, numbers that
            are not finite, Ms that is not positive, a field that makes no u.
    """
    _check_input(transfer, field, saturation)
    projection = transfer.projection()
    drive = jnp.asarray(field, dtype=float)
    adiabatic, nonadiabatic = (
        drive @ part.value.reshape(3, 3) for part in (projection.adiabatic, projection.nonadiabatic)
    )
    if is_zero(adiabatic):
        raise ValueError(
            f"Argument `field` must make an adiabatic torque, but {shortened(field)} does not."
        )
    beta = jnp.sum(nonadiabatic * adiabatic) / jnp.sum(adiabatic**2)
    rest = _find_rest(projection, drive, adiabatic, beta)
    _warn_of_rest(rest)
    momentum = saturation / (2 * _BOHR_MAGNETON)  # of the moments, ħ/m³
    rate = units.ELEMENTARY_CHARGE / units.HBAR * 1e20  # eV/Å over ħ, and 1/Å², in 1/s and 1/m
    u = 2 * jnp.sum(transfer.magnetization**2) * adiabatic * rate / momentum
    return Micromagnetics(u, beta, jnp.asarray(saturation, dtype=float), rest)


def _warn_of_rest(rest) -> None:
    if not is_traced(rest) and rest > _NEGLIGIBLE:
        warn_user(
            f"u and beta leave out {float(rest):.2g} of the response across m, which depends on "
            "the directions of gradient and magnetisation: see `transverse` of Projection"
        )


_NEGLIGIBLE = 0.1  # of the response across m


def _find_rest(projection: Projection, drive, adiabatic, beta) -> Float[Array, ""]:
    """Share of the response to gradients across m that is not a_i (m̂ × ∂_i m + β ∂_i m)."""
    whole = jnp.einsum("pjiq,j->piq", projection.transverse.reshape(2, 3, 3, 2), drive)
    turn = jnp.array([[0.0, -1.0], [1.0, 0.0]])  # m̂ × on (n1, n2)
    described = jnp.einsum("i,pq->piq", adiabatic, turn + beta * jnp.eye(2))
    return jnp.linalg.norm((whole - described).ravel()) / jnp.linalg.norm(whole.ravel())


def _check_input(transfer: Transfer, field, saturation) -> None:
    check_type("transfer", transfer, Transfer, "`bare` or `dressed` of a SpinTransferTorque")
    value = transfer.gradient.value
    if value.size != 3**4 or value.shape[-4:] != (3, 3, 3, 3):
        raise ValueError(
            "Argument `transfer` must be that of one level in three dimensions, but has the axes "
            f"{transfer.gradient.axes} of shape {value.shape}."
        )
    if not is_finite(value):
        raise ValueError("Argument `transfer` must have a finite response, but does not.")
    check_vector("field", field, 3, "3 finite numbers (eV/Angstrom)")
    check_number("saturation", saturation, "a positive magnetisation (A/m)", above=0)
