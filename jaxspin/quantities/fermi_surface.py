"""Fermi-surface responses of constant relaxation time: what each band carries, times its velocity.

With an occupation that relaxes as −(f − f₀)/τ the field E moves it by (eτ/ħ) E·∂f₀, so that
each is Σ_k Σ_m (−∂f/∂ε) tr(O V_b), the trace over the degenerate group of band m: O and V are
matrices there, and a product of their diagonals would depend on the basis of the group. Natural
units, ħ = e = 1; sums are per τ. Integrated by parts they are sums over the Fermi sea of
covariant derivatives, Σ f tr D_b O.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxspin import units
from jaxspin.band_structure.bands import Bands
from jaxspin.engine.small_matrices import dagger, diagonal_of_product, matmul
from jaxspin.quantities.axes import FIELD, FLOW, SECOND_FIELD, SPIN
from jaxspin.quantities.observable import (
    Observable,
    OfOperator,
    Weights,
    spin_current,
    traces_with_curvature,
)
from jaxspin.quantities.quantity import Quantity


class Drude(Observable):
    """tr(V_a V_b), symmetric in (flow a, field b)."""

    def __call__(self, bands):
        velocity = bands.intraband(bands.velocity)
        return _symmetric(len(velocity), lambda a, b: _trace(velocity[a], velocity[b]))


class DrivenSpin(OfOperator):
    """tr(s V_b), components (spin, field)."""

    def __call__(self, bands):
        velocity = bands.intraband(bands.velocity)
        return _at_surface(_trace(self.matrices(bands)[:, None], velocity))


class SpinDrude(OfOperator):
    """tr(J_a V_b) of the spin current J = ½{s, V}, components (flow, field, spin)."""

    def __call__(self, bands):
        current, velocity = self.whole_current(bands), bands.intraband(bands.velocity)
        return _at_surface(_trace(current[:, None], velocity[None, :, None]))


class BerryDipole(Observable):
    """tr(Ω_ab V_c), antisymmetric in (flow a, field b); second field c."""

    complete = True

    def __call__(self, bands):
        found = _weigh_dipole(bands)
        return _at_surface(found.sea, found.expansion)


class NonlinearHall(Observable):
    """½ [tr(Ω_ab V_c) + tr(Ω_ac V_b)], components (flow, field, second field)."""

    complete = True

    def __call__(self, bands):
        full, d = _weigh_dipole(bands).full, len(bands.velocity)
        dipole = full.reshape(d, d, d, *full.shape[1:])
        return _at_surface(0.5 * (dipole + jnp.swapaxes(dipole, 1, 2)))


class SpinBerryDipole(OfOperator):
    """tr(Ω^s_ab V_c) of the spin Berry curvature, components (flow, field, second field, spin).

    Ω^s_ab = −2 Im Σ_n J^a_mn V^b_nm/(ε_m − ε_n)² over the other groups, J = ½{s, V}.
    """

    complete = True

    def __call__(self, bands):
        velocity = bands.intraband(bands.velocity)
        current = spin_current(bands, bands.operator(self.of).components)
        mixed = bands.active_connection * bands.inverse_gap
        product = matmul(current[:, None], mixed[None, :, None])  # J^a R^b/(ε_n − ε_m)
        curvature = -(product + dagger(product))
        return _at_surface(_trace(curvature[:, :, None], velocity[:, None]))


class IntrinsicNonlinearHall(Observable):
    """½ tr(V_b G_ac) + ½ tr(V_c G_ab) − tr(V_a G_bc), G the Berry connection polarizability.

    G_ab = 2 Re Σ_n R^a_mn R^b_nm/(ε_m − ε_n) over the other groups. Components (flow a, field b,
    second field c).
    """

    complete = True

    def __call__(self, bands):
        r, velocity = bands.active_connection, bands.intraband(bands.velocity)
        product = matmul((r * bands.inverse_gap)[:, None], r[None])
        polarizability = product + dagger(product)
        moved = _trace(velocity[:, None, None], polarizability)  # V_a G_bc
        across = jnp.swapaxes(moved, 0, 1)  # V_b G_ac
        return _at_surface(0.5 * (across + jnp.swapaxes(across, 1, 2)) - moved)


def _at_surface(
    weights: Float[Array, "*c n K"], expansion: tuple[tuple[int, int], ...] | None = None
) -> Weights:
    """Weights that go with −∂f/∂ε alone."""
    return Weights(jnp.zeros_like(weights), -weights, expansion)


def _trace(a: Complex[Array, "*c n n K"], b: Complex[Array, "*e n n K"]) -> Float[Array, "*f n K"]:
    """tr(A B) over each group, of two Hermitian matrices of which one is zero between groups,
    as what each band of the group adds."""
    return diagonal_of_product(a, b).real


def _weigh_dipole(bands: Bands) -> Weights:
    """tr(Ω_ab V_c), as weights of the sea."""
    velocity = bands.intraband(bands.velocity)
    return traces_with_curvature(bands, bands.active_connection, velocity)


def _symmetric(d: int, weight: Callable[[int, int], Array]) -> Weights:
    """Weights at the Fermi surface symmetric in two directions, from those of the pairs a ≤ b."""
    pairs = [(a, b) for a in range(d) for b in range(a, d)]
    place = {pair: i for i, pair in enumerate(pairs)}
    expansion = tuple((place[min(a, b), max(a, b)], 1) for a in range(d) for b in range(d))
    return _at_surface(jnp.stack([weight(a, b) for a, b in pairs]), expansion)


DRUDE = Quantity(
    observable=Drude(),
    name="Drude conductivity",
    axes=(FLOW, FIELD),
    unit=units.charge_conductivity_per_time,
    symbol=r"\sigma",
    formula="σ_ab = (e²τ/ħ²) Σ (-∂f/∂ε) tr V_a V_b",
    source="Ashcroft and Mermin, Solid State Physics (1976), ch. 13",
    time_reversal=1,
    exchange=1,
)

EDELSTEIN = Quantity(
    observable=DrivenSpin(),
    name="spin density of the Edelstein effect",
    axes=(SPIN, FIELD),
    unit=units.spin_polarization_per_time,
    symbol="S",
    formula="S_sb = -(eτ/ħ) Σ (-∂f/∂ε) tr s V_b",
    source="Edelstein, Solid State Commun. 73, 233 (1990)",
    time_reversal=1,
    sign=-1,
)

SPIN_DRUDE = Quantity(
    observable=SpinDrude(),
    name="magnetic spin Hall conductivity",
    axes=(FLOW, FIELD, SPIN),
    unit=units.spin_conductivity_per_time,
    symbol=r"\sigma",
    formula="σ^s_ab = -(e²τ/ħ²) Σ (-∂f/∂ε) tr ½{s,V_a} V_b",
    source="Zelezny, Zhang, Felser and Yan, Phys. Rev. Lett. 119, 187204 (2017)",
    time_reversal=-1,
    sign=-1,
)

BERRY_DIPOLE = Quantity(
    observable=BerryDipole(),
    name="Berry curvature dipole",
    axes=(FLOW, FIELD, SECOND_FIELD),
    unit=units.curvature_dipole,
    symbol="D",
    formula="D_abc = Σ (-∂f/∂ε) tr Ω_ab V_c",
    source="Sodemann and Fu, Phys. Rev. Lett. 115, 216806 (2015)",
    time_reversal=1,
    exchange=-1,
    least_dimension=2,
)

NONLINEAR_HALL = Quantity(
    observable=NonlinearHall(),
    name="nonlinear Hall conductivity",
    axes=(FLOW, FIELD, SECOND_FIELD),
    unit=units.second_order_conductivity_per_time,
    symbol=r"\sigma",
    formula="σ_abc = (e³τ/ħ²) ½ Σ (-∂f/∂ε) tr (Ω_ab V_c + Ω_ac V_b)",
    source="Sodemann and Fu, Phys. Rev. Lett. 115, 216806 (2015)",
    time_reversal=1,
    least_dimension=2,
)

SPIN_BERRY_DIPOLE = Quantity(
    observable=SpinBerryDipole(),
    name="spin Berry curvature dipole",
    axes=(FLOW, FIELD, SECOND_FIELD, SPIN),
    unit=units.spin_curvature_dipole,
    symbol="D",
    formula="D^s_abc = Σ (-∂f/∂ε) tr Ω^s_ab V_c",
    source="Hayami, Yatsushiro and Kusunose, Phys. Rev. B 106, 024405 (2022)",
    time_reversal=-1,
    least_dimension=2,
)

INTRINSIC_NONLINEAR_HALL = Quantity(
    observable=IntrinsicNonlinearHall(),
    name="intrinsic nonlinear Hall conductivity (wave packets)",
    axes=(FLOW, FIELD, SECOND_FIELD),
    unit=units.second_order_conductivity,
    symbol=r"\sigma",
    formula="σ_abc = (e³/ħ) Σ (-∂f/∂ε) tr [½ (V_b G_ac + V_c G_ab) - V_a G_bc]",
    source="Gao, Yang and Niu, Phys. Rev. Lett. 112, 166601 (2014)",
    time_reversal=-1,
    least_dimension=2,
)
