"""Geometry of bands at one k or on a tile: curvature, metric, orbital moment, covariant derivative.

Everything here is a tensor for each band, made of the Berry connection between degenerate groups,
R_mn = ⟨u_m|i∂u_n⟩ = -i (∂H)_mn/(ε_m - ε_n). Inside a degenerate group single-band values depend
on the choice of basis; only sums over the group do not.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxspin.band_structure.bands import DEGENERATE_TO_ROUNDING, Bands
from jaxspin.band_structure.eigensystem import eigensystem
from jaxspin.engine.small_matrices import diagonal_of_product
from jaxspin.engine.validate import check_function
from jaxspin.models.base import check_is_model
from jaxspin.models.lifted import Points


def berry_curvature(bands: Bands) -> Float[Array, "d d n K"]:
    """Ω_ab of each band, -2 Im Σ_n R^a_mn R^b_nm over the other groups, Å².

    Where the bands have it, with the part that comes from states beyond the basis functions.
    """
    r = bands.connection
    curvature = -2 * diagonal_of_product(r[:, None], r[None, :]).imag
    if bands.external_curvature is None:
        return curvature
    a, b = np.triu_indices(len(r), 1)
    beyond = jnp.einsum("pmmk->pmk", bands.external_curvature).real
    return curvature.at[a, b].add(beyond).at[b, a].add(-beyond)


def quantum_metric(bands: Bands) -> Float[Array, "d d n K"]:
    """g_ab of each band, Re Σ_n R^a_mn R^b_nm over the other groups, Å²."""
    r = bands.connection
    return diagonal_of_product(r[:, None], r[None, :]).real


def orbital_moment(bands: Bands) -> Float[Array, "d d n K"]:
    """m_ab of each band, ½ Σ_n (ε_m - ε_n) Ω_ab,mn, in units of e/ħ: eV Å².

    The component m_xy is m_z = -(e/2)⟨x v_y - y v_x⟩ (Sundaram and Niu, PRB 59, 14915, 1999).
    """
    r = bands.connection
    return -diagonal_of_product(bands.gap * r[:, None], r[None, :]).imag


class GroupMean(eqx.Module):
    """A tensor of each band, averaged over its degenerate group, the band axis first."""

    tensor: Callable[[Bands], Array]

    def __call__(self, bands: Bands) -> Float[Array, "n ... K"]:
        mean = bands.degenerate / jnp.sum(bands.degenerate, axis=1, keepdims=True)
        averaged = jnp.sum(mean * self.tensor(bands)[..., None, :, :], axis=-2)
        return jnp.moveaxis(averaged, -2, 0)


def covariant_derivative(
    operator: Callable[[Float[Array, " d"]], Complex[Array, "n n"]], model
) -> Callable[[Float[Array, " d"]], Complex[Array, "d n n"]]:
    """The covariant derivative of an operator, as a function of k.

    DX/Dk = ∂X/∂k - i[R, X], with X in the band basis and R_mn = ⟨u_m|i∂u_n⟩. Because
    ∂X/∂k = U†(∂X_orbital)U + i[R - A, X], the combination equals U†(∂X_orbital/∂k - i[A, X])U
    whatever the phases of the bands, and that is what is computed; A is the connection of the
    model's basis functions, zero except for models with external terms. For X = H it is ħ times the
    velocity; for an operator that does not depend on k, without A, it vanishes.

    Args:
        operator: k (d,) -> (n, n) in the model's own basis.
        model: the model whose bands are the basis.
    Returns:
        k (d,) -> (d, n, n), in the units of the operator times Å.
    Raises:
        ValueError: `operator` is no function, or `model` no Model.

    >>> import jaxspin as js, jax.numpy as jnp
    >>> model = js.models.MassiveDirac(velocity=1.0, mass=0.1)
    >>> k = jnp.array([0.2, 0.1])
    >>> velocity = js.bands(model, k).velocity
    >>> bool(jnp.allclose(js.covariant_derivative(model, model)(k), velocity))
    True
    """
    check_function("operator", operator, "a function of k, as `lambda k: matrix` is")
    check_is_model(model)

    def derivative_at(k):
        hamiltonian = jnp.asarray(model(k), dtype=complex)[..., None]
        basis = eigensystem(hamiltonian, DEGENERATE_TO_ROUNDING)[1][..., 0]
        slopes = jnp.moveaxis(jax.jacfwd(operator)(jnp.asarray(k)), -1, 0)
        if model.external_terms:
            lifted = model.lift(Points(jnp.asarray(k)[:, None]))
            a, x = lifted.connection.connection[..., 0], operator(k)
            slopes = slopes - 1j * (a @ x - x @ a)
        return basis.conj().T @ slopes @ basis

    return derivative_at
