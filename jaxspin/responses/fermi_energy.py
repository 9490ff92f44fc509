"""The Fermi energy that holds a given number of carriers."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import program
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.tolerances import PROBE, SAME_DENSITY
from jaxspin.engine.validate import check_number, check_temperature, shortened
from jaxspin.integration.checks import check_mesh
from jaxspin.integration.levels import Levels
from jaxspin.meshes.mesh import Mesh
from jaxspin.models.base import Model, hamiltonian_at
from jaxspin.models.checks import check_model
from jaxspin.responses.fermi_sea import carrier_density
from jaxspin.symmetry.symmetric import fixed_mesh
from jaxspin.units import BOLTZMANN


@evaluate_eagerly()  # inside the user's jit the search is done before
def fermi_energy(
    model: Model, mesh: Mesh, density: float, *, temperature: float = 0.0
) -> Float[Array, ""]:
    """The Fermi energy, eV, at which `carrier_density` on the same mesh is `density`.

    Where the density is the same at a range of energies (filled bands below a gap at T = 0) it is
    the middle of the range: mid-gap. For a model of holes, whose energies rise with k, `density` is
    that of holes. It warns where the mesh is too small or too coarse for the density. No derivative
    is taken through the search: that of mu by a parameter p is -(∂n/∂p)/(∂n/∂mu), of
    `carrier_density` at the result.

    Args:
        density: Å^-d; 10¹¹ cm⁻² are 10⁻⁵ Å⁻². More than none, and less than the bands can hold,
            for at these two the Fermi energy is not determined.
        temperature: K.
    Raises:
        ValueError: the bands hold no such density on this mesh, `density` is not one number, or the
            arguments are being traced by jit, grad or vmap.

    >>> import jaxspin as js
    >>> gas, mesh = js.models.Rashba(kinetic=4.0, velocity=0.0), js.Disk(0.05, 200, 5)
    >>> print(f"{fermi_energy(gas, mesh, 1e-4):.6f}")  # 2π kinetic density
    0.002513
    >>> insulator = js.models.QiWuZhang(A=1.0, m=-1.0)
    >>> print(f"{fermi_energy(insulator, js.Grid((8, 8)), 1.0):.6f}")  # one electron a cell
    0.000000
    """
    _check_known(model, mesh, density, temperature)

    def count_carriers(mu):
        return np.asarray(carrier_density(model, mesh, Levels(mu, temperature)).value)

    low, high, width = _sample_energies(model, mesh, temperature)
    bracket = _find_bracket(count_carriers, density, low, high, model)
    found = _bisect_density(count_carriers, density, *bracket, width)
    # A level that is met counts as filled, rounded or not.
    above = 2 * _find_resolution(found, width)
    probe = PROBE.of() * width
    held = count_carriers(found + np.array([-probe, above, probe]))
    if np.any(np.abs(held[[0, 2]] - density) <= SAME_DENSITY.of(held) * density):
        found = _find_middle(count_carriers, density, bracket, found, width)
        held = count_carriers(np.array([found] * 3))
    _warn_of_a_small_mesh(found, _lowest_on_rim(model, mesh), temperature)
    _warn_of_a_coarse_mesh(density, held[1])
    return jnp.asarray(found)


_LEVELS = 12  # the most that `Levels` sums with the Fermi function itself, whatever their spacing
_RESOLUTION = 1e-12  # of the width of the bands; within it the density is interpolated
_SAMPLES = 1000
_STEP = 1e-4  # of the density; what is held is off by 10⁻⁶ at most where it is continuous in mu


def _find_bracket(count_carriers, density, low: float, high: float, model) -> tuple[float, float]:
    """Energies at which there are fewer and more carriers, [low, high] widened until there are.

    Raises:
        ValueError: there is no such range, however wide.
    """
    same, held = SAME_DENSITY.of(), np.zeros(2)
    for _ in range(_WIDENINGS):
        held = count_carriers(np.array([low, high]))
        if held[0] < density * (1 - same) and density * (1 + same) < held[1]:
            return low, high
        low, high = low - 2 * (high - low), high + 2 * (high - low)
    raise ValueError(
        f"Argument `density` must be between {held[0]:.6g} and {held[-1]:.6g} per "
        f"Angstrom^{model.dimension}, what the bands can hold on this mesh, "
        f"but is {shortened(density)}."
    )


_WIDENINGS = 12  # fivefold: to 5·10⁷ widths of the sampled bands


def _bisect_density(count_carriers, density, low: float, high: float, width: float) -> float:
    """The energy between two at which the density passes `density`, in parts of 11."""
    mu = np.linspace(low, high, _LEVELS)
    held = count_carriers(mu)
    while mu[-1] - mu[0] > _find_resolution(mu, width):
        right = np.clip(np.searchsorted(held, density), 1, _LEVELS - 1)
        mu = np.linspace(mu[right - 1], mu[right], _LEVELS)
        held = count_carriers(mu)
    return float(np.interp(density, held, mu))


def _find_resolution(mu, width: float) -> float:
    """The width of a bracket that is not halved any more, eV: that of rounding, at the least."""
    rounding = 4 * _LEVELS * np.finfo(jnp.result_type(float)).eps
    return max(_RESOLUTION * width, rounding * np.max(np.abs(mu)))


def _find_middle(
    count_carriers, density, bracket: tuple[float, float], inside: float, width: float
) -> float:
    """The middle of the range of energies that all hold the same density."""
    probe, same = PROBE.of() * width, SAME_DENSITY.of()
    low = _bisect_density(count_carriers, density * (1 - same), bracket[0], inside + probe, width)
    high = _bisect_density(count_carriers, density * (1 + same), inside - probe, bracket[1], width)
    return (low + high) / 2


def _check_known(model, mesh, density, temperature):
    check_model(model)
    check_mesh(model, mesh)
    check_temperature(temperature)
    if is_traced(model, mesh, density, temperature):
        raise ValueError(
            "Argument `density` must be a known number, but is being traced by jit, grad or vmap."
        )
    check_number("density", density, "one finite number")


def _warn_of_a_small_mesh(mu, rim, temperature):
    if mu + 10 * BOLTZMANN * temperature > rim:
        warn_user(
            f"The Fermi energy, {mu:.6g} eV, is not below all bands on the rim of the mesh, the "
            f"lowest of which is at {rim:.6g} eV: the density outside is missing, and the result "
            "depends on the cutoff. Use a larger one."
        )


def _warn_of_a_coarse_mesh(density, held):
    if abs(held - density) > _STEP * density:
        warn_user(
            f"The density on this mesh is a staircase, and at the Fermi energy found it is "
            f"{held:.6g} in place of {density:.6g}. Refine the mesh or give a temperature."
        )


def _sample_energies(model, mesh, temperature) -> tuple[float, float, float]:
    """Energies below and above the bands at random nodes, and the scale of the bands, eV."""
    fixed = fixed_mesh(mesh)
    check_mesh(model, fixed)
    index = np.arange(fixed.size)
    if fixed.size > _SAMPLES:
        index = np.random.default_rng(0).integers(fixed.size, size=_SAMPLES)
    energies = _band_energies(model, fixed.points(jnp.asarray(index), model.lattice).k)
    low, high = float(energies.min()), float(energies.max())
    width = (high - low) or max(abs(low), BOLTZMANN * temperature) or 1.0
    margin = width + 40 * BOLTZMANN * temperature
    return low - margin, high + margin, width


def _lowest_on_rim(model, mesh) -> float:
    """The lowest band energy on the outermost nodes of a bounded mesh."""
    fixed = fixed_mesh(mesh)
    if fixed.domain != "bounded" or not fixed.is_product:
        return np.inf
    index = jnp.arange(fixed.size - fixed.size // fixed.shape[0], fixed.size)
    return float(_band_energies(model, fixed.points(index, None).k).min())


@program
def _band_energies(model, k):
    at_one = lambda k: jnp.linalg.eigvalsh(hamiltonian_at(model, k))  # noqa: E731
    return jax.vmap(at_one, in_axes=-1)(k)
