"""The Fermi energy that holds a given number of carriers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.algebra import is_traced
from jaxspin.checks import check_mesh
from jaxspin.levels import Levels
from jaxspin.meshes import Adaptive, Mesh
from jaxspin.models.base import Model
from jaxspin.response import carrier_density
from jaxspin.symmetry import Symmetric
from jaxspin.units import BOLTZMANN


def fermi_energy(
    model: Model, mesh: Mesh, density: float, *, temperature: float = 0.0
) -> Float[Array, ""]:
    """The Fermi energy, eV, at which `carrier_density` on the same mesh is `density`.

    For a model of holes, whose energies rise with k, that is the density of holes.

    Args:
        density: Å^-d; 10¹¹ cm⁻² are 10⁻⁵ Å⁻².
        temperature: K.
    Raises:
        ValueError: the bands hold no such density on this mesh, or the arguments are being traced.

    >>> import jaxspin as js
    >>> gas, mesh = js.models.Rashba(kinetic=4.0, velocity=0.0), js.Disk(0.05, 200, 5)
    >>> print(f"{fermi_energy(gas, mesh, 1e-4):.6f}")  # 2π kinetic density
    0.002513
    """
    if is_traced(model, mesh, density, temperature):
        raise ValueError(
            "Argument `density` must be a known number, but is being traced by jit, grad or vmap."
        )

    def count(mu):
        return np.asarray(carrier_density(model, mesh, Levels(mu, temperature)).value)

    mu = np.linspace(*_range(model, mesh, temperature), _LEVELS)
    held = count(mu)
    if not held[0] < density < held[-1]:
        raise ValueError(
            f"Argument `density` must be between {held[0]:.6g} and {held[-1]:.6g} per "
            f"Å^{model.dimension}, what the bands can hold on this mesh, but is {density!r}."
        )
    while mu[-1] - mu[0] > _RESOLUTION * max(1.0, np.max(np.abs(mu))):
        right = np.clip(np.searchsorted(held, density), 1, _LEVELS - 1)
        mu = np.linspace(mu[right - 1], mu[right], _LEVELS)
        held = count(mu)
    return jnp.interp(density, held, mu)


_LEVELS = 12  # the most that `Levels` sums with the Fermi function itself, whatever their spacing
_RESOLUTION = 1e-9  # eV; within it the density is as good as linear, and interpolated
_SAMPLES = 1000


def _range(model, mesh, temperature) -> tuple[float, float]:
    """Energies between which the bands on the mesh fill."""
    fixed = mesh.mesh if isinstance(mesh, Adaptive | Symmetric) else mesh
    check_mesh(model, fixed)
    index = jnp.arange(0, fixed.size, max(1, fixed.size // _SAMPLES))
    energies = _energies(model, fixed.points(index, model.lattice).k)
    low, high = float(energies.min()), float(energies.max())
    margin = (high - low) + 40 * BOLTZMANN * temperature
    return low - margin, high + margin


@eqx.filter_jit
def _energies(model, k):
    at_one = lambda k: jnp.linalg.eigvalsh(model(k))  # noqa: E731
    return jax.vmap(at_one, in_axes=-1)(k)
