"""Spin-transfer torque of an exchange-split band: the public function, its checks and result."""

import warnings
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Complex, Float

from jaxspin.algebra import is_traced
from jaxspin.compiled import mapped
from jaxspin.spin_transfer.exchange import ExchangeModel, ScalarBand
from jaxspin.spin_transfer.kinetics import OnShell, Shell, Transport, on_shell, shell
from jaxspin.spin_transfer.slow import DropSlowModes, KeepSlowModes, SlowModes
from jaxspin.spin_transfer.transfer import Transfer, across, transfer
from jaxspin.surfaces import FermiSurface, Surface
from jaxspin.surfaces.base import Finding
from jaxspin.units import BOLTZMANN, HBAR_EV_PS

KEEP = KeepSlowModes()


class SpinTransferTorque(eqx.Module):
    """The response of the spin to a field and a gradient of the magnetisation, and its torque."""

    #: The spin of the basis functions, as in the paper.
    bare: Transfer
    #: The spin of the crystal's states, which the exchange energy and hence the torque are made of.
    dressed: Transfer
    #: 1 − ⟨K⟩ at mu, (mu?, c, c): what relaxes spin, in units of 1/τ.
    kernel: Float[Array, "*mu c c"]
    #: Numbers met on the way, see docs/spin-transfer-torque.md.
    info: dict[str, Array]

    def eigenvalues(self) -> Complex[np.ndarray, "*mu c"]:
        """Eigenvalues of 1 − ⟨K⟩, the slowest mode first; not inside jit."""
        values = np.linalg.eigvals(np.asarray(self.kernel)).astype(complex)
        return np.take_along_axis(values, np.argsort(np.abs(values), axis=-1), axis=-1)

    def __repr__(self) -> str:
        if is_traced(self):
            return "SpinTransferTorque(traced)"
        lines = ["spin-transfer torque", *(_summary(self, name) for name in ("bare", "dressed"))]
        lines += [f"  {key}  {float(np.asarray(value)):.4g}" for key, value in self.info.items()]
        return "\n".join(lines)

    __str__ = __repr__


def _summary(result: SpinTransferTorque, name: str) -> str:
    part = getattr(result, name)
    largest = np.max(np.abs(np.asarray(part.gradient.value)))
    return f"  {name:8s}  largest {largest:.8g} {part.gradient.units}"


def spin_transfer_torque(
    model: ExchangeModel,
    surface: Surface,
    mu: ArrayLike | Sequence,
    magnetization: ArrayLike | Sequence,
    scattering_time: Float[ArrayLike, ""],
    *,
    spin_relaxation_time: Float[ArrayLike, ""] | None = None,
    slow_modes: SlowModes = KEEP,
    temperature: Float[ArrayLike, ""] = 0.0,
) -> SpinTransferTorque:
    """Spin density and torque in a field eE_j and a gradient ∂_i m_b of the magnetisation.

    ⟨s_a⟩ = χ_ajib eE_j ∂_i m_b from the spin kinetic equation of short-range scatterers, for any
    ratio of precession to scattering, and the spin density of the homogeneous magnetisation. The
    theory and what it leaves out: docs/spin-transfer-torque.md.

    Args:
        model: `ConductionBand`, `ParabolicBand`, `Ferromagnet`, or `SplitBands` of any model.
        surface: puts nodes on the surface ε0 = mu: `FermiShell`, `FermiContour`, ...
        mu: Fermi energy, eV; an array gives a leading axis.
        magnetization: m of H = ... + m·σ, eV.
        scattering_time: τ at mu, ps; at other energies τ is ∝ 1/N.
        spin_relaxation_time: τ_s of a further relaxation of all spins, ps; None has none.
        slow_modes: `KeepSlowModes()` or `DropSlowModes()`.
        temperature: K; χ(T) = ∫(−f')χ(ε) dε, for kT far below mu over the band edge.
    Returns:
        `SpinTransferTorque`, with χ in ħ Å^(2−d)/eV².
    Raises:
        ValueError: bad input; mu outside of the band; m comparable with the gap; a spin that is
            conserved, where it is driven and nothing relaxes it.

    >>> import jaxspin as js
    >>> band = js.spin_transfer.Ferromagnet(kinetic=5.7)
    >>> drop = js.spin_transfer.DropSlowModes()
    >>> stt = js.spin_transfer_torque(
    ...     band, js.FermiShell(6, 8), 0.05, [0, 0, 0.004], 0.1, slow_modes=drop
    ... )
    >>> chi = stt.bare.gradient.component(field="x", gradient="x", magnetization="x")
    >>> round(float(chi.component(spin="y").value), 6)
    -60.071824
    """
    _check(model, surface, mu, magnetization, scattering_time, spin_relaxation_time, slow_modes)
    _check_temperature(temperature)
    setting = setting_of(scattering_time, spin_relaxation_time, slow_modes, temperature)
    mu = jnp.asarray(mu, dtype=jnp.result_type(float))
    m = jnp.asarray(magnetization, dtype=jnp.result_type(float))
    level, findings = _respond(model, surface, jnp.atleast_1d(mu), m, setting)
    check_result(level, findings, mu, slow_modes)
    info = _info(level, scattering_time)
    parts = (level.found.bare, level.found.dressed)
    return SpinTransferTorque(
        *(
            transfer(part, name, m, mu, temperature, info)
            for part, name in zip(parts, ("bare", "dressed"), strict=True)
        ),
        kernel=level.found.kernel.reshape(*mu.shape, *level.found.kernel.shape[1:]),
        info=info,
    )


class Setting(eqx.Module):
    """Scattering and temperature, in eV."""

    #: τ/ħ at mu, 1/eV.
    time: Float[Array, ""]
    #: ħ/τ_s, eV.
    relaxation: Float[Array, ""]
    #: Modes with a rate below this fraction of the fastest are dropped.
    threshold: Float[Array, ""]
    #: kT, eV; None at T = 0.
    thermal: Float[Array, ""] | None


def setting_of(scattering_time, spin_relaxation_time, slow_modes, temperature) -> Setting:
    """The setting of times in ps and a temperature in K."""
    cold = not is_traced(temperature) and float(temperature) == 0
    number = lambda x: jnp.asarray(x, dtype=jnp.result_type(float))  # noqa: E731
    never = spin_relaxation_time is None
    return Setting(
        time=number(scattering_time) / HBAR_EV_PS,
        relaxation=number(0) if never else HBAR_EV_PS / number(spin_relaxation_time),
        threshold=number(slow_modes.threshold()),
        thermal=None if cold else BOLTZMANN * number(temperature),
    )


class Shells(eqx.Module):
    """The shells of one level: at mu, and around it at a temperature."""

    shells: Shell
    #: Shares −f' dε of the energies.
    shares: Float[Array, " e"]
    #: N over its value at mu, (e,).
    densities: Float[Array, " e"]
    #: Whether there is a shell at these energies.
    present: Bool[Array, " e"]
    misfit: Float[Array, ""]


class Level(eqx.Module):
    """What is found at one level."""

    found: OnShell
    #: How much of the response across m the slow modes make.
    slow_share: Float[Array, ""]
    #: Share −f' of energies below the band.
    below_band: Float[Array, ""]
    misfit: Float[Array, ""]
    present: Bool[Array, ""]


@eqx.filter_jit
def _respond(model, surface, mu, m, setting) -> tuple[Level, tuple[Finding, ...]]:
    """Every level, the axis of levels first, and what to look at on the Fermi surfaces."""

    def at(energy):
        shells, findings = shells_at(model, surface, energy, setting)
        return level_at(model, shells, m, setting), findings

    levels, findings = mapped(at, mu)
    return levels, _last(findings)


def shells_at(model, surface, mu, setting) -> tuple[Shells, tuple[Finding, ...]]:
    """The shells of one level."""
    offsets, shares = window(setting.thermal)
    scalar = ScalarBand(model)

    def at(energy):
        nodes, findings = surface.find(scalar, energy)
        return shell(model, _placeholder(nodes)), jnp.any(nodes.weight > 0), findings

    shells, present, findings = mapped(at, mu + offsets)
    density = jax.vmap(lambda s: s.density)(shells)
    middle = len(offsets) // 2
    there = jax.tree.map(lambda x: x[middle], shells)
    misfit = jnp.max(jnp.abs(jax.vmap(model.misfit, in_axes=-1)(there.k)))
    level = Shells(shells, shares, density / density[middle], present, misfit)
    return level, _seen(_last(findings), shares)


def _last(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Findings of a map over levels or energies, their axis last."""
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), findings)


def _seen(findings: tuple[Finding, ...], shares) -> tuple[Finding, ...]:
    """Findings at energies that matter."""
    return tuple(
        eqx.tree_at(lambda f: f.found, finding, finding.found & (shares > _MATTERS))
        for finding in findings
    )


_MATTERS = 1e-6  # share of −f' below which a surface that the rule cannot do is not an error


def _placeholder(nodes: FermiSurface) -> FermiSurface:
    """Where no node has a weight, one at k = 1 stands for the shell, so that no number is NaN."""
    empty = ~jnp.any(nodes.weight > 0)
    k = jnp.where(empty, 1.0, nodes.k)
    return FermiSurface(k, nodes.band, jnp.where(empty, 1.0, nodes.weight))


def level_at(model, shells: Shells, m, setting: Setting) -> Level:
    """The average over the energies of one level."""
    fine = DropSlowModes().threshold()

    def at(each):
        one, density = each
        time = setting.time / density
        transport = Transport(model, one, time, setting.relaxation, setting.threshold)
        return on_shell(transport, m, fine)

    found = mapped(at, (shells.shells, shells.densities))
    shares = jnp.where(shells.present, shells.shares, 0)
    average = lambda x: jnp.tensordot(shares, x, axes=1)  # noqa: E731
    middle = len(shares) // 2
    averaged = OnShell(
        bare=jax.tree.map(average, found.bare),
        dressed=jax.tree.map(average, found.dressed),
        kernel=found.kernel[middle],
        rates=found.rates[middle],
        without_slow=average(found.without_slow),
    )
    return Level(
        found=averaged,
        slow_share=_slow_share(averaged, m),
        below_band=1 - jnp.sum(shares),
        misfit=shells.misfit,
        present=shells.present[middle],
    )


def _slow_share(found: OnShell, m) -> Float[Array, ""]:
    """The change of χ across m without the slow modes, against χ across m."""
    directions = across(jnp.where(jnp.any(m != 0), m, jnp.array([0.0, 0.0, 1.0])))
    part = lambda chi: jnp.einsum("pa,ajib,qb->pjiq", directions, chi, directions)  # noqa: E731
    with_all, without = part(found.bare.gradient), part(found.without_slow)
    size = jnp.linalg.norm(with_all.ravel())
    return jnp.linalg.norm((with_all - without).ravel()) / jnp.where(size > 0, size, 1)


def window(thermal) -> tuple[Array, Array]:
    """Energies relative to mu, and their shares −f' dε."""
    if thermal is None:
        return jnp.zeros(1), jnp.ones(1)
    x = jnp.arange(-_REACH, _REACH + 1.0)
    slope = 1 / (4 * jnp.cosh(x / 2) ** 2)
    return thermal * x, slope / jnp.sum(slope)


# Equal steps of kT, as for disordered conductors: e^(−2π²) = 3e-9 where χ(ε) is smooth.
_REACH = 20


def _info(level: Level, scattering_time) -> dict[str, Array]:
    slowest = jnp.min(level.found.rates[:, 0])
    return {
        "slowest_relaxation": slowest,
        "longest_spin_lifetime": jnp.asarray(scattering_time) / slowest,
        "slow_mode_share": jnp.max(level.slow_share),
        "band_misfit": jnp.max(level.misfit),
        "share_below_band": jnp.max(level.below_band),
    }


# --- checks ---------------------------------------------------------------------------------------


def _check(model, surface, mu, magnetization, time, relaxation_time, slow_modes) -> None:
    check_model(model, surface)
    if not is_traced(mu):
        array = np.asarray(mu, dtype=float)
        if array.ndim > 1 or array.size == 0 or not np.all(np.isfinite(array)):
            raise ValueError(
                "Argument `mu` must be one finite energy or a non-empty array of them (eV), "
                f"but is {mu!r}."
            )
    if np.shape(magnetization) != (3,):
        raise ValueError(
            "Argument `magnetization` must be three energies (eV), "
            f"but has shape {np.shape(magnetization)}."
        )
    if not is_traced(magnetization) and not np.all(np.isfinite(np.asarray(magnetization))):
        raise ValueError(f"Argument `magnetization` must be finite, but is {magnetization!r}.")
    model.check(magnetization)
    check_times(time, relaxation_time, slow_modes)


def check_model(model, surface) -> None:
    """An exchange model and a rule for its surface.

    Raises:
        ValueError: naming what is not.
    """
    if not isinstance(model, ExchangeModel):
        raise ValueError(
            "Argument `model` must be an exchange-split band (ConductionBand, ParabolicBand, "
            f"Ferromagnet or SplitBands), but is of type {type(model).__name__}."
        )
    if not isinstance(surface, Surface):
        raise ValueError(
            "Argument `surface` must be a Fermi-surface rule (FermiContour, FlowContour, "
            "MarchingSquares, FermiShell or BroadenedSurface), "
            f"but is of type {type(surface).__name__}."
        )
    surface.check(ScalarBand(model))


def check_times(time, relaxation_time, slow_modes) -> None:
    """Positive times, and a choice for the slow modes.

    Raises:
        ValueError: naming what is not.
    """
    given = {"scattering_time": time, "spin_relaxation_time": relaxation_time}
    for name, value in given.items():
        if (value is None and name == "spin_relaxation_time") or is_traced(value):
            continue
        if np.ndim(value) or not 0 < float(value) < np.inf:
            raise ValueError(f"Argument `{name}` must be a positive time (ps), but is {value!r}.")
    if not isinstance(slow_modes, SlowModes):
        raise ValueError(
            "Argument `slow_modes` must be KeepSlowModes() or DropSlowModes(), "
            f"but is of type {type(slow_modes).__name__}."
        )


def _check_temperature(temperature) -> None:
    if is_traced(temperature):
        return
    if np.ndim(temperature) or not 0 <= float(temperature) < np.inf:
        raise ValueError(
            f"Argument `temperature` must be one number, at least 0 (K), but is {temperature!r}."
        )


def check_result(level: Level, findings: tuple[Finding, ...], mu, slow_modes) -> None:
    """What only the calculation can know.

    Raises:
        ValueError: no band at mu, a surface that the rule cannot do, a conserved spin.
    """
    if is_traced(level, findings):
        return
    for finding in findings:
        finding.refuse()
    if not np.all(level.present):
        below = np.atleast_1d(mu)[~np.asarray(level.present)]
        raise ValueError(
            f"Argument `mu` must be in the band, but there is no Fermi surface at {below[0]:.6g} "
            "eV."
        )
    conserved = float(np.min(level.found.rates)) < _CONSERVED
    if conserved and isinstance(slow_modes, KeepSlowModes):
        raise ValueError(
            "Argument `slow_modes` must be DropSlowModes() here, or `spin_relaxation_time` given: "
            "a component of the spin is conserved, and what drives it accumulates without bound."
        )
    _warn(level)


_CONSERVED = 1e-13  # of 1/τ; rounding leaves 10⁻¹⁵
_DOMINATED = 0.1  # of the response across m
_FAR = 0.5  # of the energy above the band edge: 6 meV for Bi2Se3
_COLD = 1e-3  # share of −f' below the band edge


def _warn(level: Level) -> None:
    share, misfit, below = (
        float(np.max(x)) for x in (level.slow_share, level.misfit, level.below_band)
    )
    if share > _DOMINATED:
        _say(
            f"slow modes of the spin, with rates down to {float(np.min(level.found.rates)):.1e}/τ, "
            f"make {share:.2g} of the response across m: it holds only where the magnetisation "
            "varies over more than their diffusion length; see spin_relaxation_time and "
            "DropSlowModes"
        )
    if misfit > _FAR:
        _say(
            f"ε0 is off by up to {misfit:.2g} of its height above the band edge: mu is beyond the "
            "window of this model; ConductionBand holds there"
        )
    if below > _COLD:
        _say(
            f"a share {below:.2g} of the thermal window lies below the band edge, where the "
            "theory does not hold: the temperature is too high for this mu"
        )


def _say(text: str) -> None:
    warnings.warn(text, stacklevel=5)
