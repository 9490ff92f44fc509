"""The spin Hall conductivity by four definitions, and the parts of the proper one."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Complex

from jaxspin import units
from jaxspin.band_structure.bands import Bands
from jaxspin.engine.small_matrices import (
    anticommutator,
    commutator,
    diagonal_of_product,
    matmul,
)
from jaxspin.engine.xla import materialize
from jaxspin.quantities.axes import FIELD, FLOW, SPIN
from jaxspin.quantities.observable import (
    Observable,
    OfOperator,
    Weights,
    antisymmetric,
    diagonal,
    linear_response,
    means_of_fields,
    spin_current,
    traces_with_curvature,
)
from jaxspin.quantities.quantity import Quantity

_PAPER = "Liu, Cullen and Culcer, Phys. Rev. B 108, 195434 (2023)"


class ConventionalSpinHall(OfOperator):
    """The response of j = ½{s, v}: -2 Im Σ_n j^a_mn v^b_nm/(ε_m - ε_n)²."""

    remote = True

    def __call__(self, bands):
        operator = bands.operator(self.of)
        weights = linear_response(bands, self.whole_current(bands))
        if operator.remote is not None:
            weights = weights + diagonal(operator.remote.current)
        return Weights(weights)

    def driven_mean(self, matrices, states):
        spin = matrices.operator(self.of).components
        return means_of_fields(spin_current(matrices, spin), states)


class ProperSpinHallCorrected(OfOperator):
    """s_mm Ω_ab,m, for groups tr[s_G F_ab,G] over the group.

    J^s = (e/ħ) E x Σ f s_mm Ω_m. This is the derivation of the paper carried through with
    the index of its (C15)-(C17); its (C19) interchanges field and flow. The curvature is that of
    the crystal, with what comes from states beyond the basis functions where that is known.
    """

    filled_pairs = True
    external_curvature = True

    def __call__(self, bands):
        inside = bands.intraband(self.matrices(bands))
        weights = traces_with_curvature(bands, bands.connection, inside)
        if bands.external_curvature is None:
            return weights
        beyond = diagonal_of_product(inside, bands.external_curvature[:, None]).real
        return Weights(weights.sea + beyond, expansion=weights.expansion)


class ProperSpinHallPublished(OfOperator):
    """Σ_n s_nn Ω_ab,mn, for groups the diagonal of i(R^a s_d R^b - R^b s_d R^a).

    Eqs. (1), (2), (C25) as printed: the spin of the partner band n instead of m.
    """

    filled_pairs = True
    every_band = True

    def __call__(self, bands):
        r, inside = bands.connection, bands.intraband(self.matrices(bands))

        def weight(a, b):
            return -2 * diagonal_of_product(matmul(r[a], inside), r[b]).imag

        return antisymmetric(bands, weight)


class KuboSpinHall(OfOperator):
    """The response of Shi, Zhang, Xiao and Niu, PRL 96, 076604 (2006).

    With G the part of V = ∂H inside groups and B = s/(ε_n - ε_m) between them, a flow, b field:
        K_ab = -i Σ_{n≠m} X_nm (f_n - f_m) + Σ_m f'_m Re(G^a s R^b)_mm
        X_nm = -½{s, R^a}_nm R^b_mn + ½i B_nm {V^b, R^a}_mn - ½i {B, G^a}_nm R^b_mn
    The last term of K lives on the Fermi surface. Where no bands are degenerate, G is the group
    velocity, and this is the formula of Shi et al. band by band; terms that diverge inside a
    degenerate group cancel in their sum and have been left out. Because s, R, V are Hermitian and
    B is anti-Hermitian, the terms of each band are the real or imaginary part of a diagonal.
    """

    every_band = True

    def __call__(self, bands):
        flow, field = bands.connection[:, None, None], bands.active_connection[None, :, None]
        operator = self.matrices(bands)
        spin = bands.interband(operator)
        scaled = _divide_by_gaps(bands, spin)
        group_velocity = bands.intraband(bands.velocity)[:, None, None]
        driven = anticommutator(bands.velocity[None, :], bands.connection[:, None])[:, :, None]
        sea = (
            -diagonal_of_product(bands.interband(anticommutator(operator, flow)), field).imag
            + diagonal_of_product(scaled, driven).real
            - diagonal_of_product(anticommutator(scaled, group_velocity), field).real
        )
        surface = diagonal_of_product(matmul(group_velocity, spin), field).real
        return Weights(sea, surface)


@materialize
def _divide_by_gaps(bands: Bands, spin: Complex[Array, "c n n K"]) -> Complex[Array, "c n n K"]:
    """s_mn/(ε_m - ε_n) of active pairs."""
    return jnp.where(bands.active, spin * bands.inverse_gap, 0)


class DiagonalSpinCurrent(OfOperator):
    """J1 = ½ tr s_d {v_a, ρ_E}: the current of the spin inside degenerate groups, s_d."""

    every_band = True

    def __call__(self, bands):
        return Weights(
            linear_response(bands, spin_current(bands, bands.intraband(self.matrices(bands))))
        )


class OffDiagonalSpinCurrent(OfOperator):
    """J2 = ½ tr s_od {v_a, ρ_E}: the current of the spin between groups, s_od."""

    every_band = True

    def __call__(self, bands):
        return Weights(
            linear_response(bands, spin_current(bands, bands.interband(self.matrices(bands))))
        )


class DrivenTorqueDipole(OfOperator):
    """I1 = i tr t ∂ρ_EQ/∂Q_a: the dipole of the torque t = i[H, s] on the driven electrons.

    ρ_EQ = -½{v_a, ρ_E}/(ε_m - ε_n), so that I1 is the current with ρ_E of i t_nm/(ε_n - ε_m).
    """

    every_band = True

    def __call__(self, bands):
        torque = 1j * bands.gap * self.matrices(bands)
        dipole = 1j * torque * bands.inverse_gap
        return Weights(linear_response(bands, spin_current(bands, dipole)))


class EquilibriumTorqueDipole(OfOperator):
    """I2 = ½ Σ f_m {D_b s_od, R^a}_mm, with D_b s_od = i[R^b, s_d] between groups.

    (C22) with the index of (C15); the total derivative that integrates to zero is left out.
    """

    filled_pairs = True
    every_band = True

    def __call__(self, bands):
        flow, field = bands.connection[:, None, None], bands.connection[None, :, None]
        derivative = bands.interband(1j * commutator(field, bands.intraband(self.matrices(bands))))
        return Weights(diagonal_of_product(derivative, flow).real)


def _spin_hall(observable: Observable, name: str, formula: str, source: str) -> Quantity:
    return Quantity(
        observable=observable,
        name=f"spin Hall conductivity{name}",
        axes=(FLOW, FIELD, SPIN),
        unit=units.spin_conductivity,
        symbol=r"\sigma",
        formula=formula,
        source=source,
        time_reversal=1,
        least_dimension=2,
    )


#: The names of `DEFINITIONS`, for type checkers.
Definition = Literal["conventional", "proper_published", "proper_corrected", "kubo"]

#: The definitions of the spin Hall conductivity that `spin_hall` knows.
DEFINITIONS: dict[str, Quantity] = {
    "conventional": _spin_hall(
        ConventionalSpinHall(),
        " (conventional)",
        "σ^s_ab = -2 (e²/ħ) Σ f_m Im Σ_n <m|½{s,v_a}|n><n|v_b|m> ħ²/(ε_m-ε_n)²",
        "Sinova et al., Phys. Rev. Lett. 92, 126603 (2004)",
    ),
    "proper_published": _spin_hall(
        ProperSpinHallPublished(),
        " (proper_published)",
        "σ^s_ab = (e²/ħ) Σ f_m Σ_n s_nn Ω_ab,mn",
        f"{_PAPER}, Eqs. (1), (2) as printed",
    ),
    "proper_corrected": _spin_hall(
        ProperSpinHallCorrected(),
        " (proper_corrected)",
        "σ^s_ab = (e²/ħ) Σ f_m s_mm Ω_ab,m",
        f"{_PAPER}, Eqs. (C15)-(C22) with the index of (C19) corrected",
    ),
    "kubo": _spin_hall(
        KuboSpinHall(),
        " (kubo)",
        "σ^s_ab = -i ∂_q χ(s, E_b)|_(q along a), q -> 0 before ω -> 0",
        "Shi, Zhang, Xiao and Niu, Phys. Rev. Lett. 96, 076604 (2006)",
    ),
}

_APPENDIX = f"{_PAPER}, appendix C (index of C19 corrected)"

#: The parts of the proper spin Hall conductivity, by their names.
PIECES: dict[str, Quantity] = {
    "J1": _spin_hall(DiagonalSpinCurrent(), ", part J1", "½ tr s_d {v_a, ρ_E}", _APPENDIX),
    "J2": _spin_hall(OffDiagonalSpinCurrent(), ", part J2", "½ tr s_od {v_a, ρ_E}", _APPENDIX),
    "I1": _spin_hall(DrivenTorqueDipole(), ", part I1", "i tr t ∂ρ_EQ/∂Q_a", _APPENDIX),
    "I2": _spin_hall(
        EquilibriumTorqueDipole(), ", part I2", "½ (e/ħ) Σ f_m {D_b s_od, R^a}_mm", _APPENDIX
    ),
}
