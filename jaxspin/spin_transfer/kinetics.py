"""The spin kinetic equation on one energy shell, for a field and a gradient of the magnetisation.

ħ = e = 1, and E is the electric field: the force on an electron is −E. The density matrix is
n + ½ Σ_c s_c λ_c with traceless matrices λ (the Pauli matrices for spin 1/2), h = ½ Σ_c h_c λ_c,
and L is the precession, (L s)λ/2 = −i[h, sλ/2]: for spin 1/2 L s = h × s = ħΩ × s. With the
scattering time t and relaxation 1/t_s of the spin, everywhere

    (1/t + 1/t_s − L) s − s̄/t = d,   s = K (s̄ + t d),   K = (1 + t/t_s − t L)⁻¹,
    (1 − ⟨K⟩) s̄ = t ⟨K d⟩

(supplement of paper 000, Eqs. (21) and (24)). Where slow modes are dropped, with their projector P,
s̄ has none of them, nor has the average of s = K (s̄ + t d) − P (⟨K⟩ s̄ + t ⟨K d⟩). ⟨ ⟩ averages over
the shell, ' is d/dε. Components lead, the axis of nodes `a` is last; `j` is the field, `i` the
gradient, `b` the magnetisation.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxspin.engine.small_matrices import structure_constants, traceless_matrices
from jaxspin.spin_transfer.exchange_models import ExchangeModel
from jaxspin.spin_transfer.slow_modes import (
    project_dropped,
    relaxation_rates,
    slow_projector,
    solve_kept_modes,
)
from jaxspin.surfaces import FermiSurface


class Shell(eqx.Module):
    """The surface ε0 = ε: nodes with the derivatives of ε0 there."""

    k: Float[Array, "d a"]
    weight: Float[Array, " a"]
    velocity: Float[Array, "d a"]
    curvature: Float[Array, "d d a"]

    @property
    def density(self) -> Float[Array, ""]:
        """N: the density of states for one spin, 1/(eV Å^d)."""
        return jnp.sum(self.weight)

    def average(self, x: Float[Array, "*x a"]) -> Float[Array, "*x"]:
        """⟨x⟩."""
        return x @ self.weight / self.density

    def average_slope(
        self, x: Float[Array, "*x a"], gradient: Float[Array, "*x d a"]
    ) -> Float[Array, "*x"]:
        """⟨x⟩', from x and ∂x/∂k.

        d/dε Σ_k δ(ε − ε0) x = Σ_k δ(ε − ε0) div(x v/v²), by the divergence theorem: exact, and
        from the nodes of this energy alone, so that it can be differentiated once more.
        """
        squared = jnp.sum(self.velocity**2, axis=0)
        along = jnp.sum(gradient * self.velocity, axis=-2) / squared
        return (
            self.average(along + x * self._velocity_divergence)
            - self.average(x) * self.density_slope
        )

    @property
    def density_slope(self) -> Float[Array, ""]:
        """N'/N, 1/eV."""
        return self.average(self._velocity_divergence)

    @property
    def height(self) -> Float[Array, ""]:
        """(d/2) N⟨v²⟩/|(N⟨v²⟩)'|, eV: of an ellipsoid the energy above the band edge.

        Infinite where the conductivity has its maximum, as in the middle of a band.
        """
        squared = self.average(jnp.sum(self.velocity**2, axis=0))
        slope = jnp.abs(self.average(jnp.trace(self.curvature)))  # (N⟨v²⟩)'/N
        return len(self.velocity) / 2 * squared / slope

    @property
    def _velocity_divergence(self) -> Float[Array, " a"]:
        """div(v/v²)."""
        v = self.velocity
        squared = jnp.sum(v**2, axis=0)
        bending = jnp.einsum("ia,ija,ja->a", v, self.curvature, v)
        return (jnp.trace(self.curvature) - 2 * bending / squared) / squared


def build_shell(band: ExchangeModel, nodes: FermiSurface) -> Shell:
    """The shell of a Fermi surface of ε0, by forward derivatives: those of degenerate bands."""
    slope = jax.jacfwd(band.energy)
    return Shell(
        k=nodes.k,
        weight=nodes.weight,
        velocity=_evaluate_nodes(slope, nodes.k),
        curvature=_evaluate_nodes(jax.jacfwd(slope), nodes.k),
    )


def _evaluate_nodes(function, k):
    """A function of one k at all nodes, their axis last."""
    return jax.vmap(function, in_axes=-1, out_axes=-1)(k)


class OperatorComponents(NamedTuple):
    """Components of h or of a spin operator, and their derivatives by k."""

    value: Float[Array, "*x a"]
    gradient: Float[Array, "*x d a"]


class Transport(eqx.Module):
    """The kinetic equation of a band on one shell."""

    band: ExchangeModel
    shell: Shell
    #: t = τ/ħ, 1/eV, on this shell; t ∝ 1/N.
    time: Float[Array, ""]
    #: ħ/τ_s, eV.
    relaxation: Float[Array, ""]
    #: Modes with a rate below this fraction of the fastest are dropped.
    threshold: Float[Array, ""]

    def splitting_components(self, m: Float[Array, " 3"]) -> OperatorComponents:
        """h_c = Tr λ_c h(k, m) and its slopes."""
        at = lambda k: _find_components(self.band.splitting(k, m))  # noqa: E731
        return OperatorComponents(
            _evaluate_nodes(at, self.shell.k), _evaluate_nodes(jax.jacfwd(at), self.shell.k)
        )

    def spin_components(self) -> OperatorComponents:
        """The spin operator σ_o = Σ_c S_oc λ_c, (3, c, a), and its slopes."""
        at = lambda k: jax.vmap(_find_components)(self.band.spin(k)) / 2  # noqa: E731
        return OperatorComponents(
            _evaluate_nodes(at, self.shell.k), _evaluate_nodes(jax.jacfwd(at), self.shell.k)
        )

    def bare_components(self) -> Float[Array, "3 c"]:
        """The same of the basis functions."""
        return jax.vmap(_find_components)(self.band.bare_spin()) / 2

    def propagator(self, h: Float[Array, "c a"]) -> Float[Array, "c c a"]:
        """K."""
        constants = structure_constants(self.band.bare_spin().shape[-1])
        precession = jnp.einsum("xbc,xa->acb", constants, h)
        one = jnp.eye(len(constants)) * (1 + self.time * self.relaxation)
        return jnp.moveaxis(jnp.linalg.inv(one - self.time * precession), 0, -1)

    def respond_to_field(self, m: Float[Array, " 3"]) -> "FieldResponse":
        """The response a to the field, s_E = a f' + t v_j h f'' for eE = 1 along j.

        a = K (ā + t b), b_j = ∂_j h − t v_j [h (1/t)' − (h̄/t)'] − ⟨h v_j⟩': the acceleration, and
        what collisions of the shifted distribution n = t v_j f' do to the spin, J_Ω(n).
        """
        h, shell = self.splitting_components(m), self.shell
        propagator = self.propagator(h.value)
        kernel = jnp.eye(len(propagator)) - shell.average(propagator)
        rate = shell.density_slope  # t (1/t)', for 1/t ∝ N
        mean_slope = shell.average_slope(*h) + rate * shell.average(h.value)  # t (h̄/t)'
        collisions = (h.value * rate - mean_slope[:, None])[:, None] * shell.velocity
        flow_slope = shell.average_slope(*_times_velocity(h, shell))
        b = h.gradient - collisions - flow_slope[..., None]
        drive = self.time * _apply_matrix(propagator, b)
        own, dropped = shell.average(drive), slow_projector(kernel, self.threshold)
        mean = solve_kept_modes(kernel, dropped, own)
        dropped_part = project_dropped(kernel, dropped, mean, own)
        spin = drive + _apply_matrix(propagator, mean[..., None]) - dropped_part[..., None]
        return FieldResponse(h, propagator, kernel, dropped, spin)

    def splitting_share(self, m: Float[Array, " 3"]) -> Float[Array, ""]:
        """The largest |eigenvalue| of h on the shell over the height above the band edge."""
        at = lambda k: jax.lax.stop_gradient(self.band.splitting(k, m))  # noqa: E731
        largest = jnp.max(jnp.abs(jnp.linalg.eigvalsh(jax.vmap(at, in_axes=-1)(self.shell.k))))
        return largest / self.shell.height


class FieldResponse(NamedTuple):
    """The shell in a field."""

    h: OperatorComponents
    #: K, (c, c, a), 1 − ⟨K⟩, (c, c), and the projector on the modes that are dropped.
    propagator: Float[Array, "c c a"]
    kernel: Float[Array, "c c"]
    dropped: Float[Array, "c c"]
    #: a, (c, j, a).
    spin: Float[Array, "c j a"]


def _find_components(matrix) -> Float[Array, " c"]:
    """x_c = Tr λ_c X of X = ½ Σ_c x_c λ_c + ..."""
    basis = jnp.asarray(traceless_matrices(matrix.shape[-1]))
    return jnp.einsum("cij,ji->c", basis, matrix).real


def _apply_matrix(matrix, vectors):
    """A matrix (c, d, a) on vectors (d, j, a) at each node."""
    return jnp.einsum("cda,dja->cja", matrix, vectors)


def _times_velocity(field: OperatorComponents, shell: Shell) -> OperatorComponents:
    """x v_j and its slopes, (..., j, a) and (..., j, i, a)."""
    x, gradient, v = field.value[..., None, :], field.gradient, shell.velocity
    return OperatorComponents(
        x * v, gradient[..., None, :, :] * v[:, None] + x[..., None, :] * shell.curvature
    )


# --- what is measured -----------------------------------------------------------------------------


class Tensors(eqx.Module):
    """Spin densities in units of ħ and ħ = e = 1, for bare and dressed spin."""

    #: For eE_j = 1 and ∂_i m_b = 1: Å^(2−d)/eV², (3, j, i, b).
    gradient: Float[Array, "3 d d 3"]
    #: For eE_j = 1 in a homogeneous magnetisation, (3, j).
    homogeneous: Float[Array, "3 d"]


class ShellSolution(eqx.Module):
    """Solution of the kinetic equation on one shell."""

    bare: Tensors
    dressed: Tensors
    #: 1 − ⟨K⟩, and its rates in units of 1/τ.
    kernel: Float[Array, "c c"]
    rates: Float[Array, " c"]
    #: The bare gradient tensor with the slow modes dropped.
    without_slow: Float[Array, "3 d d 3"]


def solve_on_shell(
    transport: Transport, m: Float[Array, " 3"], fine: Float[Array, ""]
) -> ShellSolution:
    """All spin densities, `without_slow` without the modes below the threshold `fine`."""
    response, slopes = _evaluate_with_slopes(transport.respond_to_field, m)
    shell, kernel = transport.shell, response.kernel
    bare, spin = transport.bare_components(), transport.spin_components()
    spin_rows = jnp.einsum("oca,cda->oda", spin.value, response.propagator)
    rows = jnp.concatenate([response.propagator, spin_rows])
    source = _stream_gradient(transport, slopes.h.value, slopes.spin, rows)
    own, local = source[: len(kernel)], source[len(kernel) :]
    mean = solve_kept_modes(kernel, response.dropped, own)
    dropped_part = project_dropped(kernel, response.dropped, mean, own)
    fast = solve_kept_modes(kernel, slow_projector(kernel, fine), own)
    dressed = jnp.tensordot(shell.average(spin_rows), mean, axes=1) + local
    dressed = dressed - jnp.tensordot(shell.average(spin.value), dropped_part, axes=1)
    half = shell.density / 2
    return ShellSolution(
        bare=Tensors(
            -half * jnp.tensordot(bare, mean, axes=1),
            _sum_homogeneous(transport, response, _repeat_spin(bare, spin)),
        ),
        dressed=Tensors(-half * dressed, _sum_homogeneous(transport, response, spin)),
        kernel=kernel,
        rates=relaxation_rates(kernel),
        without_slow=-half * jnp.tensordot(bare, fast, axes=1),
    )


def _evaluate_with_slopes(function, m):
    """A function of m, and its derivatives by the components of m, their axis last."""
    along = lambda e: jax.jvp(function, (m,), (e,))  # noqa: E731
    return jax.vmap(along, out_axes=(None, -1))(jnp.eye(3))


def _stream_gradient(
    transport, split, induced, rows: Float[Array, "o c a"]
) -> Float[Array, "o j i b"]:
    """t⟨X d⟩ for the matrices X in `rows`, from the slopes by m of h and of a.

    The gradient drives d = ∂_i h ∂_{k_i}(t v_j) − v_i ∂_i a, times f' (what goes with f'' cancels):
    the force on the shifted distribution, and the streaming of the spin that the field induces.
    """
    shell, t = transport.shell, transport.time
    v, slope = shell.velocity, -t * shell.density_slope  # t'
    force = slope * v[:, None] * v + t * shell.curvature  # ∂_{k_i}(t v_j), (i, j, a)
    force_term = jnp.einsum("oab,ija->ojiba", jnp.einsum("oca,cab->oab", rows, split), force)
    streaming_term = jnp.einsum("ojab,ia->ojiba", jnp.einsum("oca,cjab->ojab", rows, induced), v)
    return t * shell.average(force_term - streaming_term)


def _repeat_spin(bare, spin: OperatorComponents) -> OperatorComponents:
    """The bare spin at every node."""
    value = jnp.broadcast_to(bare[..., None], spin.value.shape)
    return OperatorComponents(value, jnp.zeros_like(spin.gradient))


def _sum_homogeneous(
    transport, response: FieldResponse, spin: OperatorComponents
) -> Float[Array, "3 d"]:
    """½ [−N ⟨S a⟩ + (N t ⟨S h v_j⟩)'], where N t does not depend on the energy."""
    shell, h = transport.shell, response.h
    first = shell.average(jnp.einsum("oca,cja->oja", spin.value, response.spin))
    projection = OperatorComponents(
        jnp.einsum("oca,ca->oa", spin.value, h.value),
        jnp.einsum("ocia,ca->oia", spin.gradient, h.value)
        + jnp.einsum("oca,cia->oia", spin.value, h.gradient),
    )
    second = transport.time * shell.average_slope(*_times_velocity(projection, shell))
    return shell.density / 2 * (second - first)
