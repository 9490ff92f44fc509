"""Spin-transfer torque of an exchange-split band: the public function, its checks and result."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Bool, Complex, Float, Int

from jaxspin.engine.annotations import Numbers
from jaxspin.engine.checkpoint import CheckpointLike
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import program
from jaxspin.engine.progress import Bar
from jaxspin.engine.segments import ItemMap
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.validate import check_vector
from jaxspin.engine.xla import map_in_pieces
from jaxspin.integration.levels import Levels
from jaxspin.integration.problem import Run
from jaxspin.responses.origin import record_origin
from jaxspin.responses.response_set import ResponseSet
from jaxspin.spin_transfer.checks import check_collisions, check_input
from jaxspin.spin_transfer.exchange_models import ExchangeModel, ScalarBand
from jaxspin.spin_transfer.kinetics import (
    Shell,
    ShellSolution,
    Tensors,
    Transport,
    build_shell,
    solve_on_shell,
)
from jaxspin.spin_transfer.slow_modes import (
    DropSlowModes,
    KeepSlowModes,
    SlowModes,
    are_conserved,
    are_slow,
)
from jaxspin.spin_transfer.transfer import Circumstances, Transfer, build_transfer, project_along
from jaxspin.surfaces import FermiSurface, FermiSurfaceRule
from jaxspin.surfaces.averages import Energies, energies_of_level
from jaxspin.surfaces.base import Diagnostic
from jaxspin.surfaces.scan import scan_levels
from jaxspin.surfaces.thermal import (
    Findings,
    ThermalLevels,
    move_axes_last,
    nodes_at,
    portion_of_levels,
    refuse_findings,
)
from jaxspin.units import HBAR_EV_PS

KEEP = KeepSlowModes()


class SpinTransferTorque(ResponseSet):
    """The response of the spin to a field and a gradient of the magnetisation, and its torque.

    The component of the spin along m makes no torque. It accumulates for as long as T1, and where
    that is long it is larger by far than what is across m, which is what is printed.

    >>> import jaxspin as js
    >>> band, levels = js.spin_transfer.Ferromagnet(kinetic=5.7), js.Levels(0.05)
    >>> drop = js.spin_transfer.DropSlowModes()
    >>> stt = js.spin_transfer_torque(
    ...     band, js.FermiShell(6, 8), levels, [0, 0, 0.004], 0.1, slow_modes=drop
    ... )
    >>> chi = stt.bare.gradient.component(field="x", gradient="x", magnetization="x")
    >>> round(float(chi.component(spin="y").value[0]), 6)
    -60.071824
    """

    #: The spin of the basis functions, as in the paper.
    bare: Transfer
    #: The spin of the crystal's states, which the exchange energy and hence the torque are made of.
    dressed: Transfer
    #: 1 − ⟨K⟩ at each level, (temperature?, mu, c, c): what relaxes spin, in units of 1/τ.
    kernel: Float[Array, "*levels c c"]
    #: Numbers met on the way, see docs/spin-transfer-torque.md.
    info: dict[str, Array]

    def eigenvalues(self) -> Complex[np.ndarray, "*levels c"]:
        """Eigenvalues of 1 − ⟨K⟩, the slowest mode first; not inside jit."""
        values = np.linalg.eigvals(np.asarray(self.kernel)).astype(complex)
        return np.take_along_axis(values, np.argsort(np.abs(values), axis=-1), axis=-1)

    @property
    def title(self) -> str:
        return "spin-transfer torque"

    def summary(self):
        return [f"  {name:8s}  {_describe_across(part)}" for name, part in self.items()]


def _describe_across(part: Transfer) -> str:
    value = np.asarray(part.gradient.value)
    across = value - np.asarray(project_along(part.magnetization, jnp.asarray(value)))
    return f"largest across m {np.max(np.abs(across)):.8g} {part.gradient.units}"


def spin_transfer_torque(
    model: ExchangeModel,
    surface: FermiSurfaceRule,
    levels: Levels,
    magnetization: Numbers,
    scattering_time: Float[ArrayLike, ""],
    *,
    spin_relaxation_time: Float[ArrayLike, ""] | None = None,
    slow_modes: SlowModes = KEEP,
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> SpinTransferTorque:
    """Spin density and torque in a field eE_j and a gradient ∂_i m_b of the magnetisation.

    ⟨s_a⟩ = χ_ajib eE_j ∂_i m_b from the spin kinetic equation of short-range scatterers, for any
    ratio of precession to scattering (docs/spin-transfer-torque.md). eE is e > 0 times the electric
    field; the force on an electron is −eE.

    Args:
        model: `ConductionBand`, `ParabolicBand`, `Ferromagnet`, or `SplitBands` of any model.
        surface: puts nodes on the surface ε0 = mu: `FermiShell`, `FermiContour`, ...
        levels: χ(T) = ∫(−f')χ(ε) dε, for kT far below mu over the band edge.
        magnetization: m of H = ... + m·σ, eV.
        scattering_time: τ at mu, ps; at other energies τ is ∝ 1/N.
        spin_relaxation_time: τ_s of a further relaxation of all spins, ps; None has none.
        slow_modes: `KeepSlowModes()` or `DropSlowModes()`.
        progress, checkpoint: as in `anomalous_hall`.
    Returns:
        `SpinTransferTorque`, with χ in ħ Å^(2−d)/eV².
    Raises:
        ValueError: bad input; mu outside of the band; m comparable with the gap; a splitting as
            large as the height of mu over the band edge; a spin that is conserved where slow modes
            are kept. Inside jit, grad or vmap the responses are NaN there.
    """
    check_input(model, surface, levels)
    check_vector("magnetization", magnetization, 3, "3 finite numbers (eV)")
    model.check(magnetization)
    collisions = build_collisions(scattering_time, spin_relaxation_time, slow_modes)
    m = jnp.array(magnetization, dtype=jnp.result_type(float))
    magnet = Magnet(model, surface, collisions)
    response, findings = _solve_levels(magnet, m, levels, Run.of(progress, checkpoint))
    check_result(response, findings, levels, slow_modes)
    times = {"scattering_time": scattering_time, "spin_relaxation_time": spin_relaxation_time}
    origin = record_origin(
        model=model, surface=surface, levels=levels, magnetization=m, slow_modes=slow_modes, **times
    )
    info = collect_info(response, scattering_time)
    known = _SAFETY if surface.companion() is not None else jnp.nan
    return _assemble_result(response, known, Circumstances(levels, m, info, origin))


@evaluate_eagerly()
def _assemble_result(
    response: "SpinResponse", known: float, circumstances: Circumstances
) -> SpinTransferTorque:
    """The responses of bare and dressed spin; errors are `known` times the difference of rules."""
    parts = (response.solution.bare, response.solution.dressed)
    differences = jax.tree.map(lambda x, y: known * (x - y), parts, response.second_rule)
    triples = zip(parts, differences, ("bare", "dressed"), strict=True)
    bare, dressed = (build_transfer(*triple, circumstances) for triple in triples)
    kernel = response.solution.kernel
    shape = (*circumstances.levels.shape, *kernel.shape[1:])
    return SpinTransferTorque(bare, dressed, kernel.reshape(shape), circumstances.info)


class Collisions(eqx.Module):
    """Rates of scattering and spin relaxation, and the slow modes that are dropped."""

    #: τ/ħ at mu, 1/eV.
    time: Float[Array, ""]
    #: ħ/τ_s, eV.
    relaxation: Float[Array, ""]
    #: Modes with a rate below this fraction of the fastest are dropped.
    threshold: Float[Array, ""]


def build_collisions(scattering_time, spin_relaxation_time, slow_modes) -> Collisions:
    """The collisions for times in ps.

    Raises:
        ValueError: a time that is not positive, no choice for the slow modes.
    """
    check_collisions(scattering_time, spin_relaxation_time, slow_modes)
    number = lambda x: jnp.asarray(x, dtype=jnp.result_type(float))  # noqa: E731
    never = spin_relaxation_time is None
    return Collisions(
        time=number(scattering_time) / HBAR_EV_PS,
        relaxation=number(0) if never else HBAR_EV_PS / number(spin_relaxation_time),
        threshold=number(slow_modes.threshold()),
    )


class Magnet(eqx.Module):
    """An exchange model, a rule for its Fermi surface, and its collisions."""

    model: ExchangeModel
    surface: FermiSurfaceRule
    collisions: Collisions


class Shells(eqx.Module):
    """The shells of one level: at mu, and around it at a temperature."""

    shells: Shell
    #: The energies, those of the second rule for the error last; the first is mu.
    energies: Energies
    #: N over its value at mu, (e,).
    densities: Float[Array, " e"]
    #: Whether there is a shell at these energies.
    present: Bool[Array, " e"]
    #: Whether the rule found something that makes it wrong there.
    refused: Bool[Array, ""]
    misfit: Float[Array, ""]


class SpinResponse(eqx.Module):
    """The response at one level, and the numbers by which it is judged."""

    solution: ShellSolution
    #: Bare and dressed tensors by a second rule for surface and energies.
    second_rule: tuple[Tensors, Tensors]
    #: Estimated error of the bare χ across m, over χ across m.
    relative_error: Float[Array, ""]
    #: How much of the response across m, and of that along m, the slow modes make.
    slow_share: Float[Array, ""]
    slow_share_along: Float[Array, ""]
    #: Number of modes that were dropped.
    dropped_modes: Int[Array, ""]
    #: Largest |h| on the shell over the height above the band edge.
    splitting_share: Float[Array, ""]
    #: Share −f' of energies below the band.
    below_band: Float[Array, ""]
    misfit: Float[Array, ""]
    present: Bool[Array, ""]


def _solve_levels(
    magnet: Magnet, m: Float[Array, " 3"], levels: Levels, run: Run
) -> tuple[SpinResponse, Findings]:
    """χ at every level, temperatures outermost."""
    bar = Bar(run.progress, levels.temperatures.size * levels.mu.size, unit=" levels")
    respond = Partial(_solve_temperature, magnet, m)
    return scan_levels(respond, levels, run, bar, **vars(magnet), magnetization=m)


def _solve_temperature(
    magnet: Magnet, m, items: ItemMap, levels: ThermalLevels
) -> tuple[SpinResponse, tuple[Diagnostic, ...]]:
    """Every Fermi energy, their axis first, and what to look at on the Fermi surfaces."""
    respond = partial(_respond_at_levels, magnet, m, levels.thermal)
    band = ScalarBand(magnet.model)
    portion = portion_of_levels(magnet.surface, band, levels.thermal, _NODES)
    responses, findings = items.map_items("levels", respond, levels.mu, portion)
    return responses, move_axes_last(findings, 2)


_NODES = 2**12  # in a segment


@program
def _respond_at_levels(
    magnet: Magnet, m, thermal: Float[Array, ""] | None, mu: Float[Array, " e"]
) -> tuple[SpinResponse, tuple[Diagnostic, ...]]:
    model = magnet.model.prepared()

    def respond_at(energy):
        shells, findings = find_shells(model, magnet.surface, energy, thermal)
        return average_shells(model, shells, m, magnet.collisions), findings

    return map_in_pieces(respond_at, mu)


def find_shells(
    model, surface, mu, thermal: Float[Array, ""] | None
) -> tuple[Shells, tuple[Diagnostic, ...]]:
    """The shells of one level, and findings at each of its energies; kT in eV, None at T = 0."""
    scalar = ScalarBand(model)
    energies = energies_of_level(surface, scalar, mu, thermal)
    found = nodes_at(surface, scalar, jax.tree.map(lambda x: x[None], energies))
    energies, every, findings = jax.tree.map(lambda x: x[0], found)
    present = jnp.any(every.weight > 0, axis=1)
    shells = map_in_pieces(lambda nodes: build_shell(model, _fill_empty(nodes)), every)
    density = jax.vmap(lambda s: s.density)(shells)
    misfit = jnp.max(jnp.abs(jax.vmap(model.misfit, in_axes=-1)(shells.k[0])))
    refused = jnp.array([jnp.any(finding.found) for finding in findings]).any()
    middle = jnp.where(energies.rule_index == 0, density[0], density[energies.first])
    return Shells(shells, energies, density / middle, present, refused, misfit), findings


def _fill_empty(nodes: FermiSurface) -> FermiSurface:
    """Nodes with one at k = 1 in place of a shell that is not there, so that no number is NaN."""
    empty = ~jnp.any(nodes.weight > 0)
    k = jnp.where(empty, 1.0, nodes.k)
    return FermiSurface(k, nodes.band, jnp.where(empty, 1.0, nodes.weight))


def average_shells(model, shells: Shells, m, collisions: Collisions) -> SpinResponse:
    """The average over the energies of one level."""
    fine = DropSlowModes().threshold()

    def build_transport(each) -> Transport:
        one, density = each
        time = collisions.time / density
        return Transport(model, one, time, collisions.relaxation, collisions.threshold)

    every = (shells.shells, shells.densities)
    solutions = map_in_pieces(lambda each: solve_on_shell(build_transport(each), m, fine), every)
    at_mu, rates = jax.tree.map(lambda x: x[0], every), solutions.rates[0]
    share = build_transport(at_mu).splitting_share(m)
    unbounded = (collisions.threshold == 0) & jnp.any(are_conserved(rates))
    usable = shells.present[0] & ~shells.refused & (share <= 1) & ~unbounded
    valid = jnp.where(usable, 1.0, jnp.nan)  # in jit nothing can be refused

    def average_both(x):
        present = shells.present.reshape(-1, *(1,) * (x.ndim - 1))
        return [valid * y for y in shells.energies.average(jnp.where(present, x, 0))]

    leaves, tree = jax.tree.flatten((solutions.bare, solutions.dressed, solutions.without_slow))
    both = zip(*(average_both(x) for x in leaves), strict=True)
    (bare, dressed, without_slow), second_rule = (jax.tree.unflatten(tree, list(x)) for x in both)
    averaged = ShellSolution(bare, dressed, solutions.kernel[0], rates, without_slow)
    slow_share, slow_share_along = _slow_shares(averaged, m)
    change = _SAFETY * (bare.gradient - second_rule[0].gradient)
    return SpinResponse(
        solution=averaged,
        second_rule=second_rule[:2],
        relative_error=_norm_ratio(_spin_across(m, change), _spin_across(m, bare.gradient)),
        slow_share=slow_share,
        slow_share_along=slow_share_along,
        dropped_modes=jnp.sum(are_slow(rates, collisions.threshold)),
        splitting_share=share,
        below_band=jnp.maximum(1 - shells.energies.average(1.0 * shells.present)[0], 0),
        misfit=shells.misfit,
        present=shells.present[0],
    )


# An error is this times the difference from the second rule. Measured on 600 torques of Bi2Se3: the
# difference was below a half of the true error in up to 4.3 % of them, and below a quarter in at
# most 0.3 %.
_SAFETY = 4.0


def _slow_shares(solution: ShellSolution, m) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The change of χ without the slow modes over χ, for spin across m and along m."""
    chi, change = solution.bare.gradient, solution.bare.gradient - solution.without_slow
    whole, parallel = project_along(m, chi), project_along(m, change)
    return _norm_ratio(change - parallel, chi - whole), _norm_ratio(parallel, whole)


def _spin_across(m, chi):
    return chi - project_along(m, chi)


def _norm_ratio(part, whole) -> Float[Array, ""]:
    size = jnp.linalg.norm(whole.ravel())
    return jnp.linalg.norm(part.ravel()) / jnp.where(size == 0, 1, size)


@evaluate_eagerly()
def collect_info(response: SpinResponse, scattering_time) -> dict[str, Array]:
    """The worst of all levels."""
    slowest = jnp.min(response.solution.rates[:, 0])
    return {
        "slowest_relaxation": slowest,
        "longest_spin_lifetime": jnp.asarray(scattering_time) / slowest,
        "dropped_modes": jnp.max(response.dropped_modes),
        "slow_mode_share": jnp.max(response.slow_share),
        "slow_mode_share_along": jnp.max(response.slow_share_along),
        "splitting_share": jnp.max(response.splitting_share),
        "band_misfit": jnp.max(response.misfit),
        "share_below_band": jnp.max(response.below_band),
    }


# --- what only the calculation can know -----------------------------------------------------------


@evaluate_eagerly()  # known inside the user's jit of other things
def check_result(response: SpinResponse, findings: Findings, levels: Levels, slow_modes) -> None:
    """The calculation holds; warnings where it hardly does.

    Raises:
        ValueError: no band at mu, a surface that the rule cannot do, a splitting that is not small,
            a conserved spin.
    """
    if is_traced(response, findings):
        return
    refuse_findings(findings, levels)
    if not np.all(response.present):
        mu = np.tile(levels.mu, levels.temperatures.size)
        below = np.broadcast_to(mu, response.present.shape)[~np.asarray(response.present)]
        raise ValueError(
            "Argument `levels` must have every mu in the band, but there is no Fermi surface at "
            f"{below[0]:.6g} eV."
        )
    if not np.all(response.splitting_share <= 1):
        raise ValueError(
            "Argument `levels` must have every mu higher above the band edge than the splitting of "
            "the bands, but that is up to "
            f"{float(np.max(response.splitting_share)):.3g} of the height."
        )
    if isinstance(slow_modes, KeepSlowModes) and np.any(are_conserved(response.solution.rates)):
        raise ValueError(
            "Argument `slow_modes` must be DropSlowModes() here, or `spin_relaxation_time` given: "
            "a component of the spin is conserved, and what drives it accumulates without bound."
        )
    _warn_of_doubts(response)


_COARSE = 0.2  # of the response across m; the estimate is some 5 times the true error
_DOMINATED = 0.1  # of the response across m
_SPLIT = 1 / 3  # of the height of mu: what is left out is of this order
_FAR = 0.3  # of the energy above the band edge: 4 meV for Bi2Se3
_COLD = 1e-3  # share of −f' below the band edge


def _warn_of_doubts(response: SpinResponse) -> None:
    share, split, misfit, below = (
        float(np.max(x))
        for x in (
            response.slow_share,
            response.splitting_share,
            response.misfit,
            response.below_band,
        )
    )
    uncertain = float(np.max(response.relative_error))
    if uncertain > _COARSE:
        warn_user(
            f"the nodes on the shell leave an estimated error of {uncertain:.2g} of the response "
            "across m: use more of them"
        )
    if share > _DOMINATED:
        warn_user(
            "slow modes of the spin, with rates down to "
            f"{float(np.min(response.solution.rates)):.1e}/tau, make {share:.2g} of the response "
            "across m: it holds only where the magnetisation varies over more than their "
            "diffusion length; see spin_relaxation_time and DropSlowModes"
        )
    if split > _SPLIT:
        warn_user(
            f"the splitting is up to {split:.2g} of the height of mu above the band edge, and the "
            "theory is of first order in it"
        )
    if misfit > _FAR:
        warn_user(
            f"epsilon0 is off by up to {misfit:.2g} of its height above the band edge: mu is "
            "beyond the window of this model; ConductionBand holds there"
        )
    if below > _COLD:
        warn_user(
            f"a share {below:.2g} of the thermal window lies below the band edge, where the "
            "theory does not hold: the temperature is too high for this mu"
        )
