"""The Fermi energy that holds a given number of carriers."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.algebra import finite_reals, is_traced, shortened
from jaxspin.checks import check_mesh, check_model, check_temperature
from jaxspin.levels import Levels
from jaxspin.meshes import Adaptive, Mesh
from jaxspin.models.base import Model, hamiltonian_at
from jaxspin.response import carrier_density
from jaxspin.symmetry import Symmetric
from jaxspin.units import BOLTZMANN


@jax.ensure_compile_time_eval()  # inside the user's jit the search is done before
def fermi_energy(
    model: Model, mesh: Mesh, density: float, *, temperature: float = 0.0
) -> Float[Array, ""]:
    """The Fermi energy, eV, at which `carrier_density` on the same mesh is `density`.

    For a model of holes, whose energies rise with k, that is the density of holes. It warns where
    the mesh is too small or too coarse for the density. No derivative is taken through the search:
    that of mu by a parameter p is -(∂n/∂p)/(∂n/∂mu), of `carrier_density` at the result.

    Args:
        density: Å^-d; 10¹¹ cm⁻² are 10⁻⁵ Å⁻².
        temperature: K.
    Raises:
        ValueError: the bands hold no such density on this mesh, `density` is not one number, or the
            arguments are being traced by jit, grad or vmap.

    >>> import jaxspin as js
    >>> gas, mesh = js.models.Rashba(kinetic=4.0, velocity=0.0), js.Disk(0.05, 200, 5)
    >>> print(f"{fermi_energy(gas, mesh, 1e-4):.6f}")  # 2π kinetic density
    0.002513
    """
    _check_known(model, mesh, density, temperature)

    def count(mu):
        return np.asarray(carrier_density(model, mesh, Levels(mu, temperature)).value)

    mu = np.linspace(*_range(model, mesh, temperature), _LEVELS)
    held = count(mu)
    if not held[0] < density < held[-1]:
        raise ValueError(
            f"Argument `density` must be between {held[0]:.6g} and {held[-1]:.6g} per "
            f"Å^{model.dimension}, what the bands can hold on this mesh, "
            f"but is {shortened(density)}."
        )
    while mu[-1] - mu[0] > _RESOLUTION * max(1.0, np.max(np.abs(mu))):
        right = np.clip(np.searchsorted(held, density), 1, _LEVELS - 1)
        mu = np.linspace(mu[right - 1], mu[right], _LEVELS)
        held = count(mu)
    found = np.interp(density, held, mu)
    _warn_of_a_small_mesh(found, _rim(model, mesh), temperature)
    _warn_of_a_coarse_mesh(density, count(np.full(_LEVELS, found))[0])
    return jnp.asarray(found)


_LEVELS = 12  # the most that `Levels` sums with the Fermi function itself, whatever their spacing
_RESOLUTION = 1e-9  # eV; within it the density is as good as linear, and interpolated
_SAMPLES = 1000
_STEP = 1e-4  # of the density; what is held is off by 10⁻⁶ at most where it is continuous in mu


def _check_known(model, mesh, density, temperature):
    check_model(model)
    check_mesh(model, mesh)
    check_temperature(temperature)
    if is_traced(model, mesh, density, temperature):
        raise ValueError(
            "Argument `density` must be a known number, but is being traced by jit, grad or vmap."
        )
    if np.shape(density) != () or not finite_reals(density):
        raise ValueError(
            f"Argument `density` must be one finite number, but is {shortened(density)}."
        )


def _warn_of_a_small_mesh(mu, rim, temperature):
    if mu + 10 * BOLTZMANN * temperature > rim:
        warnings.warn(
            f"The Fermi energy, {mu:.6g} eV, is not below all bands on the rim of the mesh, the "
            f"lowest of which is at {rim:.6g} eV: the density outside is missing, and the result "
            "depends on the cutoff. Use a larger one.",
            stacklevel=3,
        )


def _warn_of_a_coarse_mesh(density, held):
    if abs(held - density) > _STEP * density:
        warnings.warn(
            f"The density on this mesh is a staircase, and at the Fermi energy found it is "
            f"{held:.6g} in place of {density:.6g}. Refine the mesh or give a temperature.",
            stacklevel=3,
        )


def _range(model, mesh, temperature) -> tuple[float, float]:
    """Energies between which the bands on the mesh fill."""
    fixed = _fixed(mesh)
    check_mesh(model, fixed)
    index = jnp.arange(0, fixed.size, max(1, fixed.size // _SAMPLES))
    energies = _energies(model, fixed.points(index, model.lattice).k)
    low, high = float(energies.min()), float(energies.max())
    margin = (high - low) + 40 * BOLTZMANN * temperature
    return low - margin, high + margin


def _rim(model, mesh) -> float:
    """The lowest band energy on the outermost nodes of a bounded mesh."""
    fixed = _fixed(mesh)
    if fixed.domain != "bounded":
        return np.inf
    index = jnp.arange(fixed.size - fixed.size // fixed.shape[0], fixed.size)
    return float(_energies(model, fixed.points(index, None).k).min())


def _fixed(mesh) -> Mesh:
    return mesh.mesh if isinstance(mesh, Adaptive | Symmetric) else mesh


@eqx.filter_jit
def _energies(model, k):
    at_one = lambda k: jnp.linalg.eigvalsh(hamiltonian_at(model, k))  # noqa: E731
    return jax.vmap(at_one, in_axes=-1)(k)
