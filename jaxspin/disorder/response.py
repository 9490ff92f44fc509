"""The response of a disordered conductor to an electric field, by mechanism."""

import warnings
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxspin import checks, units
from jaxspin.algebra import is_traced
from jaxspin.disorder.collision import Scattering, scattering_rate, without_charge
from jaxspin.disorder.contributions import Parts, parts
from jaxspin.disorder.fermi_sea import FermiSea, default_mesh, fermi_sea
from jaxspin.disorder.scatterers import DENSE_STATES, Disorder, check_disorder
from jaxspin.disorder.shell import Shell, check_gap, shell
from jaxspin.disorder.torque import SpinOrbitTorque, spin_orbit_torque
from jaxspin.levels import Levels, thermal_window
from jaxspin.meshes import Mesh
from jaxspin.models.base import Model, number_of_bands
from jaxspin.programs import program
from jaxspin.results import Response, shown
from jaxspin.surfaces import FermiSurface, Surface
from jaxspin.surfaces.base import Finding, check_surface, nan_if_found
from jaxspin.terminal import printable
from jaxspin.units import BOLTZMANN

_SOURCE = "Burgos Atencia, Niu and Culcer, Phys. Rev. Research 4, 013001 (2022)"

#: What no number here contains.
NOT_INCLUDED = (
    "crossed diagrams (X and Ψ), of the same order as skew scattering for Gaussian disorder",
    "weak localisation",
    "corrections of order u0⁰ with the time-reversal signature of the Drude term",
)


class Contribution(eqx.Module):
    """What one mechanism gives."""

    #: j_i = σ_ij E_j, axes (mu?, flow, field), default units e²/ħ Å^(2−d).
    conductivity: Response
    #: Pauli-normalised spin per volume, for eE = 1 eV/Å (force −eE), axes (mu?, spin, field).
    spin_density: Response


class DisorderedResponse(eqx.Module):
    """The conductivity and the spin density of a disordered conductor, by mechanism."""

    #: Acceleration against scattering, ∝ 1/u0².
    drude: Contribution
    #: The Berry curvature of the Fermi sea.
    intrinsic: Contribution
    #: What the disorder mixes into the states that carry the Drude distribution (extrinsic
    #: velocity; for spins the same mixing of the spin).
    extrinsic: Contribution
    #: The distribution due to the work of the field during a collision.
    side_jump: Contribution
    #: Skew scattering of Gaussian disorder, non-crossing.
    skew: Contribution
    #: Skew scattering by the third cumulant of the disorder; 0 where that is 0.
    third_cumulant: Contribution
    #: The sum of all.
    total: Contribution
    #: Numbers met on the way, see docs/disorder.md.
    info: dict[str, Array]
    #: What the numbers do not contain.
    not_included: tuple[str, ...] = eqx.field(static=True, default=NOT_INCLUDED)

    #: The mechanisms, in the order in which they are added.
    MECHANISMS: ClassVar[tuple[str, ...]] = (
        "drude",
        "intrinsic",
        "extrinsic",
        "side_jump",
        "skew",
        "third_cumulant",
    )

    def spin_orbit_torque(
        self, magnetization: Float[ArrayLike, " 3"], *, normal: Float[ArrayLike, " 3"] = (0, 0, 1)
    ) -> SpinOrbitTorque:
        """The torque M x ⟨σ⟩ on the spins of the carriers, H = ... + M·σ; on M it is the opposite.

        Args:
            magnetization: the vector M of the model, an exchange energy, eV.
            normal: the direction ẑ of field-like torque m x (ẑ x E).
        Returns:
            `SpinOrbitTorque`: total, field-like and damping-like part.
        """
        return spin_orbit_torque(self.total.spin_density, magnetization, normal)

    def __repr__(self) -> str:
        if is_traced(self):
            return "DisorderedResponse(traced)"
        largest = {
            name: np.max(np.abs(np.asarray(getattr(self, name).conductivity.value)))
            for name in (*self.MECHANISMS, "total")
        }
        unit = self.total.conductivity.units
        lines = [f"response of a disordered conductor, largest conductivities  [{unit}]"]
        lines += [f"  {name:15s}  {value:.8g}" for name, value in largest.items()]
        lines += [f"  {key}  {shown(value)}" for key, value in self.info.items()]
        return printable("\n".join([*lines, *(f"  without {text}" for text in self.not_included)]))

    __str__ = __repr__


def disordered_response(
    model: Model,
    surface: Surface,
    mu: Float[ArrayLike, "*e"],
    disorder: Disorder,
    *,
    temperature: Float[ArrayLike, ""] = 0.0,
    sea: Mesh | None = None,
) -> DisorderedResponse:
    """Conductivity and spin density of a disordered conductor, with every mechanism by itself.

    Drude, intrinsic, extrinsic velocity, side jump and non-crossing skew scattering, to the leading
    orders in the disorder, for all components at once. What is in and what is not, the formulas and
    the meaning of `info`: docs/disorder.md.

    Args:
        surface: puts nodes on the Fermi surface: `FermiContour`, `FlowContour`, ...
        mu: Fermi energy, eV; an array gives a leading axis.
        disorder: `ScalarDisorder`, `MatrixDisorder` or `FiniteRangeDisorder`.
        temperature: K; σ(T) = ∫(−f')σ(ε) dε for elastic scattering.
        sea: the mesh on which *filled* bands are integrated (`Grid`; `Plane`, `Disk`, `Space`,
            `Ball`), whose radial nodes also serve on the rays to the Fermi surface. None takes a
            `Grid` of 64² or 24³, or a `Plane` or `Space` that is scaled by the model.
    Returns:
        `DisorderedResponse`.
    Raises:
        ValueError: bad input; no Fermi surface at any mu; exactly degenerate bands on the Fermi
            surface; a second conserved quantity, such as the spin in a model that conserves it; a
            lattice without any plane that the Fermi surface does not cross.

    >>> import jaxspin as js
    >>> model = js.models.MassiveDirac(velocity=1.0, mass=0.3)
    >>> disorder = js.ScalarDisorder(0.01)
    >>> response = js.disordered_response(model, js.FermiContour(16), 1.0, disorder)
    >>> hall = response.skew.conductivity.component(flow="y", field="x")
    >>> round(float(hall.value), 11)
    0.03677121568
    """
    _check(model, surface, mu, disorder, temperature, sea)
    if not is_traced(mu):  # in NumPy, so that the levels of the result are known under jit too
        mu = np.asarray(mu, dtype=jnp.result_type(float))
    cold = not is_traced(temperature) and float(temperature) == 0
    thermal = None if cold else BOLTZMANN * jnp.asarray(temperature)
    levels, findings = _respond(model, surface, jnp.atleast_1d(mu), disorder, thermal, sea)
    _check_result(levels, findings, mu)
    return _assembled(levels, model, mu, temperature, disorder)


class _Level(eqx.Module):
    """What is found at one energy, or averaged over the energies of one level."""

    parts: Parts
    intrinsic: Float[Array, "o d"]
    sea_error: Float[Array, " o"]
    sea_starts: Array
    states: Array
    gap: Float[Array, ""]
    level_width: Float[Array, ""]
    gap_over_width: Float[Array, ""]
    slowest_relaxation: Float[Array, ""]


@program
def _respond(model, surface, mu, disorder, thermal, mesh) -> tuple[_Level, tuple[Finding, ...]]:
    """Every level, the axis of levels first, and what to look at on the Fermi surfaces."""
    model = model.prepared()
    offsets, shares = thermal_window(thermal)
    energies = mu[:, None] + offsets
    nodes, findings = jax.vmap(lambda energy: _nodes(surface, model, energy), out_axes=(0, -1))(
        energies.ravel()
    )
    if mesh is None:
        every = jax.tree.map(lambda x: jnp.moveaxis(x, 0, -2), nodes)
        flat = jax.tree.map(lambda x: x.reshape(*x.shape[:-2], -1), every)
        mesh = default_mesh(model, flat)
    whole = fermi_sea(model, mesh)

    def at(level):
        energy, nodes = level
        on_shell = shell(model, nodes)
        return _at_energy(model, on_shell, nodes.band, disorder, whole, energy)

    size = disorder.memory(nodes.weight.shape[-1], number_of_bands(model))
    batch = max(1, min(energies.size, _NUMBERS // size))
    found = jax.lax.map(at, (energies.ravel(), nodes), batch_size=batch)
    found = jax.tree.map(lambda x: x.reshape(*energies.shape, *x.shape[1:]), found)
    return _thermal_average(found, shares), findings


def _nodes(surface, model, energy) -> tuple[FermiSurface, tuple[Finding, ...]]:
    """The nodes, their weights NaN where the rule is wrong: inside jit that is all one can do."""
    nodes, findings = surface.find(model, energy)
    return nan_if_found(nodes, findings), findings


_NUMBERS = 2_000_000  # of states x pairs in memory at a time: some 100 MB


def _at_energy(model, on_shell: Shell, band, disorder, whole: FermiSea, energy) -> _Level:
    scattering = disorder.scattering(on_shell)
    width = jnp.where(on_shell.occupied, scattering_rate(on_shell, scattering), 0)
    intrinsic, error, starts = whole(model, on_shell, band, energy)
    return _Level(
        parts=parts(on_shell, scattering),
        intrinsic=intrinsic,
        sea_error=error,
        sea_starts=starts,
        states=jnp.sum(on_shell.occupied),
        gap=jnp.min(on_shell.gap),
        level_width=jnp.max(width),
        gap_over_width=jnp.min(on_shell.gap / jnp.where(width > 0, width, 1)),
        slowest_relaxation=_slowest(scattering, width),
    )


_EIGENVALUES = 512  # unknowns up to which the relaxation rates cost little


def _slowest(scattering: Scattering, width: Float[Array, " a"]) -> Float[Array, ""]:
    """The second eigenvalue of J0/2Γ; the first is the charge. NaN if it is not computed."""
    scattering, width = jax.lax.stop_gradient((scattering, width))
    if scattering.unknowns > DENSE_STATES:
        return jnp.asarray(jnp.nan)
    if scattering.unknowns > _EIGENVALUES:
        return _slowest_of_any(scattering, width)
    rates = scattering.relaxation()
    return rates[1] if len(rates) > 1 else jnp.asarray(1.0)


def _slowest_of_any(scattering: Scattering, width: Float[Array, " a"]) -> Float[Array, ""]:
    """0 but for rounding if a random source meets something conserved, else NaN."""
    random = jnp.asarray(np.random.default_rng(20231119).normal(size=(1, width.size)))
    source = without_charge(random * width, scattering.weight)
    longest = jnp.max(jnp.abs(scattering.solve(source)))  # of the order of 1/(relaxation rate)
    return jnp.where(longest * _CONSERVED > 1, 1 / longest, jnp.nan)


def _thermal_average(found: _Level, shares) -> _Level:
    average = lambda x: jnp.tensordot(shares, x, axes=(0, 1))  # noqa: E731
    least, most = (lambda x: jnp.min(x, axis=1)), (lambda x: jnp.max(x, axis=1))
    return _Level(
        parts=jax.tree.map(average, found.parts),
        intrinsic=average(found.intrinsic),
        sea_error=average(found.sea_error),
        sea_starts=jnp.all(found.sea_starts, axis=1),
        states=most(found.states),
        gap=least(found.gap),
        level_width=most(found.level_width),
        gap_over_width=least(found.gap_over_width),
        slowest_relaxation=least(found.slowest_relaxation),
    )


# --- results --------------------------------------------------------------------------------------

_FORMULAS = {
    "drude": "Σ w O n_D, J0 n_D = −eE·v",
    "intrinsic": "Σ_k f_m W_m, W_m = −2 Im Σ_n ⟨m|O|n⟩⟨n|∂H|m⟩/(ε_m − ε_n)²",
    "extrinsic": "Σ w γ[O] n_D",
    "side_jump": "Σ w O n_sj, J0 n_sj = eE·β",
    "skew": "Σ w O n_sk, J0 n_sk = −J_sk (non-crossing)",
    "third_cumulant": "Σ w O n_3, J0 n_3 = 4π²κ₃ Im Tr(P ρ N_D)",
    "total": "the sum of all mechanisms",
}


def _assembled(found: _Level, model, mu, temperature, disorder) -> DisorderedResponse:
    values = {
        name: found.intrinsic if name == "intrinsic" else getattr(found.parts, name)
        for name in DisorderedResponse.MECHANISMS
    }
    values["total"] = sum(values.values())
    contributions = {
        name: _contribution(name, value, model.dimension, mu, temperature)
        for name, value in values.items()
    }
    return DisorderedResponse(**contributions, info=_info(found))


def _contribution(name, value, dimension, mu, temperature) -> Contribution:
    value = value.reshape(*mu.shape, *value.shape[1:])
    several = ("mu",) * mu.ndim
    shared = {
        "levels": Levels(mu, temperature),
        "info": {},
        "formula": _FORMULAS[name],
        "source": f"{_SOURCE}, corrected (docs/disorder.md)",
    }
    current, spin = value[..., :dimension, :], value[..., dimension:, :]
    return Contribution(
        conductivity=Response(
            value=current,
            error=jnp.full_like(current, jnp.nan),
            axes=(*several, "flow", "field"),
            units=units.natural_conductivity(dimension),
            name=f"conductivity ({name.replace('_', ' ')})",
            **shared,
        ),
        spin_density=Response(
            value=spin,
            error=jnp.full_like(spin, jnp.nan),
            axes=(*several, "spin", "field"),
            units=units.spin_polarization(dimension),
            name=f"spin density ({name.replace('_', ' ')})",
            **shared,
        ),
    )


def _info(found: _Level) -> dict[str, Array]:
    return {
        "gap": jnp.min(found.gap),
        "level_width": jnp.max(found.level_width),
        "gap_over_width": jnp.min(found.gap_over_width),
        "slowest_relaxation": jnp.min(found.slowest_relaxation),
        "charge_residual": jnp.max(found.parts.charge),
        "sea_error": jnp.max(found.sea_error[:, :-3]),
        "sea_error_spin": jnp.max(found.sea_error[:, -3:]),
        "states": jnp.max(found.states),
        "levels_without_surface": jnp.sum(found.states == 0),
    }


# --- checks ---------------------------------------------------------------------------------------


@jax.ensure_compile_time_eval()
def _check(model, surface, mu, disorder, temperature, sea) -> None:
    checks.check_model(model)
    if model.dimension < 2:
        raise ValueError(
            f"Argument `model` must have dimension 2 or 3, but has dimension {model.dimension}."
        )
    checks.check_spin(model)
    checks.check_complete(model, "response of a disordered conductor")
    check_surface(surface)
    surface.check(model)
    check_disorder(disorder, model)
    checks.check_energies(mu)
    checks.check_temperature(temperature)
    if sea is not None:
        if not isinstance(sea, Mesh):
            raise ValueError(
                "Argument `sea` must be a fixed mesh (Grid, Plane, Disk, Space or Ball), "
                f"but is of type {type(sea).__name__}."
            )
        checks.check_mesh(model, sea)


def _check_result(found: _Level, findings: tuple[Finding, ...], mu) -> None:
    """What only the calculation can know."""
    if is_traced(found, findings):
        return
    for finding in findings:
        finding.refuse()
    states, mu = np.asarray(found.states), np.atleast_1d(mu)
    if not np.any(states):
        raise ValueError(
            f"Argument `mu` must be in a band, but there is no Fermi surface at {_some(mu)} eV. "
            "`anomalous_hall` gives the response of an insulator."
        )
    check_gap(np.asarray(found.gap), mu)
    if not np.all(found.sea_starts):
        worst = mu[np.argmin(found.sea_starts)]
        raise ValueError(
            "Argument `mu` must leave a plane u_i = constant of the Brillouin zone that the Fermi "
            f"surface of a band does not cross, but at {worst:.6g} eV it crosses all of the mesh."
        )
    if not np.all(np.isfinite(found.parts.drude)):
        raise ValueError(
            "Argument `disorder` must scatter every state at the Fermi energy, but leaves some "
            "without any rate, and the conductivity is infinite."
        )
    if np.nanmin(np.append(found.slowest_relaxation, 1)) < _CONSERVED:
        raise ValueError(
            "Argument `disorder` must relax everything but the charge, but something else is "
            "conserved, such as the spin or the number of electrons of one band."
        )
    if not np.all(states):
        warnings.warn(
            f"no Fermi surface at {np.sum(states == 0)} of {states.size} levels of `mu`: "
            "there the response is that of the Fermi sea alone",
            stacklevel=3,
        )
    error = np.asarray(jnp.max(found.sea_error[:, :-3], axis=1))
    if np.any(error > _UNCERTAIN * _largest_of_order_one(found) + _ROUNDING):
        warnings.warn(
            f"the sum over the Fermi sea has an estimated error of {np.max(error):.2g} "
            f"(e²/ħ Å^(2−d)) at mu = {mu[np.argmax(error)]:.6g} eV: "
            "use a `sea` with more points, or a `scale` nearer to that of the bands",
            stacklevel=3,
        )
    if np.min(found.gap_over_width) < 1:
        warnings.warn(
            f"bands at the Fermi energy are closer than their width ħ/τ, "
            f"by a factor of {np.min(found.gap_over_width):.2g}: the theory does not hold there",
            stacklevel=3,
        )


_CONSERVED = 1e-10  # of 2Γ; rounding leaves 10⁻¹⁵
_UNCERTAIN = 0.01  # of what is found; the estimate is some 10 to 1000 times the true error
_ROUNDING = 1e-8  # e²/ħ Å^(2−d), for responses that vanish by symmetry


def _largest_of_order_one(found: _Level) -> np.ndarray:
    """The largest conductivity of order u0⁰ of any mechanism at each level: the sum may vanish."""
    parts = found.parts
    each = np.stack([found.intrinsic, parts.extrinsic, parts.side_jump, parts.skew])
    return np.max(np.abs(each[:, :, :-3]), axis=(0, 2, 3))


def _some(mu) -> str:
    return (
        f"{mu[0]:.6g}"
        if mu.size == 1
        else f"any of {mu.size} levels from {mu.min():.6g} to {mu.max():.6g}"
    )
