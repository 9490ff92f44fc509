"""Observables: what each band contributes to a response at one k (or on a tile).

An observable takes `Bands` and returns `Weights`: a real tensor W_m for every band, so that the
response is Σ_k Σ_m f(ε_m) W_m, plus, where the theory has one, a Fermi-surface tensor that goes
with ∂f/∂ε. A sum over pairs with (f_m - f_n) is the same thing, W_m collecting the pairs of band
m; pairs that are equally occupied at every level never enter (`Bands.open`).

Component axes lead: (flow a, field b, spin s, band m, k). Formulas are those of the theory of the
proper spin current (docs/definitions.md) in units where ħ = e = 1 and the spin operator is in
units of ħ/2. Numbers in brackets are equations of Liu, Cullen and Culcer, PRB 108, 195434 (2023).
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxspin.algebra import (
    anticommutator,
    commutator,
    dagger,
    diagonal_of_product,
    matmul,
)
from jaxspin.compiled import keep, staged
from jaxspin.spectrum import Bands


class Weights(eqx.Module):
    """What each band contributes: `sea` goes with f(ε_m), `surface` with ∂f/∂ε at ε_m."""

    sea: Float[Array, "*c n K"]
    surface: Float[Array, "*c n K"] | None = None
    #: Where not all components are independent: for each component of the full tensor, laid end
    #: to end, the independent component it is a multiple of, and the factor (1, -1 or 0).
    expansion: tuple[tuple[int, int], ...] | None = eqx.field(static=True, default=None)

    def complete(self, sums: Float[Array, "*levels c"]) -> Float[Array, "*levels full"]:
        """All components of sums over the independent ones, components last."""
        if self.expansion is None:
            return sums
        index, sign = np.array(self.expansion).T
        return sums[..., index] * sign

    @property
    def full(self) -> Float[Array, "full n K"]:
        """What each band contributes to all components, laid end to end."""
        independent = self.sea.reshape(-1, *self.sea.shape[-2:])
        return jnp.moveaxis(self.complete(jnp.moveaxis(independent, 0, -1)), -1, 0)


class Observable(eqx.Module):
    """A function from the bands at k to `Weights`."""

    #: Whether the observable needs the spin operator of the model.
    spin: ClassVar[bool]
    #: Whether it needs the curvature from beyond the basis functions (`Bands.beyond`).
    beyond: ClassVar[bool] = False
    #: Whether it needs what a field drives through removed bands (`Bands.removed`).
    removed: ClassVar[bool] = False
    #: Whether it needs removed bands themselves, so that a downfolded model cannot give it.
    every_band: ClassVar[bool] = False

    #: Whether pairs of two filled bands contribute, which cancel in sums over f_m - f_n.
    filled_pairs: ClassVar[bool] = False

    #: Whether the sum is Tr f(H)O, O made of H, its slopes and the spin. It is then a smooth
    #: function of H where bands meet, and has derivatives by parameters that split them.
    smooth: ClassVar[bool] = False
    #: Whether it needs how a change of H splits degenerate groups (`Bands.offset`).
    offset: ClassVar[bool] = False

    @property
    def needs(self) -> dict[str, bool]:
        """Which fields of `Bands` it needs, as `solve` takes it."""
        fields = ("spin", "beyond", "removed", "offset")
        return {name: getattr(self, name) for name in fields}

    @abstractmethod
    def __call__(self, bands: Bands) -> Weights:
        """The weights of each band."""


class Number(Observable):
    """One for each band: the sum is a number of electrons."""

    spin = False
    smooth = True

    def __call__(self, bands):
        return Weights(jnp.ones_like(bands.energies))


class States(Observable):
    """One for each band, at the Fermi surface: the sum of -∂f/∂ε is a density of states."""

    spin = False
    smooth = True

    def __call__(self, bands):
        return Weights(jnp.zeros_like(bands.energies), -jnp.ones_like(bands.energies))


class AnomalousHall(Observable):
    """-Ω_ab,m: σ_ab = -(e²/ħ) Σ f Ω_ab."""

    spin = False
    beyond = True

    def __call__(self, bands):
        r = bands.drive
        weights = _antisymmetric(bands, lambda a, b: 2 * diagonal_of_product(r[a], r[b]).imag)
        if bands.beyond is None:
            return weights
        beyond = _diagonal(bands.beyond)
        return Weights(weights.sea - beyond, expansion=weights.expansion)


class ConventionalSpinHall(Observable):
    """The response of j = ½{s, v}: -2 Im Σ_n j^a_mn v^b_nm/(ε_m - ε_n)²."""

    spin = True
    removed = True

    def __call__(self, bands):
        current = spin_current(bands, bands.spin)
        if bands.current_beyond is not None:
            current = current + bands.current_beyond
        weights = _driven(bands, current)
        if bands.removed is not None:
            weights = weights + _diagonal(bands.removed.current)
        return Weights(weights)


class ProperSpinHallCorrected(Observable):
    """s_mm Ω_ab,m, for groups tr[s_G F_ab,G] over the group.

    J^s = (e/ħ) E x Σ f s_mm Ω_m. This is the derivation of the paper carried through with
    the index of its (C15)-(C17); its (C19) interchanges field and flow. The curvature is that of
    the crystal, with what comes from states beyond the basis functions where that is known.
    """

    spin = True
    filled_pairs = True
    beyond = True

    def __call__(self, bands):
        r, inside = bands.connection, bands.inside(bands.spin)

        def weight(a, b):  # i F_ab = R^b R^a - R^a R^b, and R^b R^a = (R^a R^b)†
            product = matmul(r[a], r[b])
            return diagonal_of_product(inside, dagger(product) - product).imag

        weights = _antisymmetric(bands, weight)
        if bands.beyond is None:
            return weights
        beyond = diagonal_of_product(inside, bands.beyond[:, None]).real
        return Weights(weights.sea + beyond, expansion=weights.expansion)


class ProperSpinHallPublished(Observable):
    """Σ_n s_nn Ω_ab,mn, for groups the diagonal of i(R^a s_d R^b - R^b s_d R^a).

    Eqs. (1), (2), (C25) as printed: the spin of the partner band n instead of m.
    """

    spin = True
    filled_pairs = True
    every_band = True

    def __call__(self, bands):
        r, inside = bands.connection, bands.inside(bands.spin)

        def weight(a, b):
            return -2 * diagonal_of_product(matmul(r[a], inside), r[b]).imag

        return _antisymmetric(bands, weight)


class KuboSpinHall(Observable):
    """The response of Shi, Zhang, Xiao and Niu, PRL 96, 076604 (2006).

    With G the part of V = ∂H inside groups and B = s/(ε_n - ε_m) between them, a flow, b field:
        K_ab = -i Σ_{n≠m} X_nm (f_n - f_m) + Σ_m f'_m Re(G^a s R^b)_mm
        X_nm = -½{s, R^a}_nm R^b_mn + ½i B_nm {V^b, R^a}_mn - ½i {B, G^a}_nm R^b_mn
    The last term of K lives on the Fermi surface. Where no bands are degenerate, G is the group
    velocity, and this is the formula of Shi et al. band by band; terms that diverge inside a
    degenerate group cancel in their sum and have been left out. Because s, R, V are Hermitian and
    B is anti-Hermitian, the terms of each band are the real or imaginary part of a diagonal.
    """

    spin = True
    every_band = True

    def __call__(self, bands):
        flow, field = bands.connection[:, None, None], bands.drive[None, :, None]
        spin = bands.between(bands.spin)
        scaled = keep(jnp.where(bands.open, spin * bands.inverse_gap, 0))
        group_velocity = bands.inside(bands.velocity)[:, None, None]
        driven = anticommutator(bands.velocity[None, :], bands.connection[:, None])[:, :, None]
        sea = (
            -diagonal_of_product(bands.between(anticommutator(bands.spin, flow)), field).imag
            + diagonal_of_product(scaled, driven).real
            - diagonal_of_product(anticommutator(scaled, group_velocity), field).real
        )
        surface = diagonal_of_product(matmul(group_velocity, spin), field).real
        return Weights(sea, surface)


class SpinHallPieces(Observable):
    """The parts J1, J2, I1, I2 of the proper spin current, along a first axis.

    With s_d and s_od the parts of the spin inside and between groups:
        J1 = ½ tr s_d {v_a, ρ_E},    J2 = ½ tr s_od {v_a, ρ_E},
        I1 = i tr t ∂ρ_EQ/∂Q_a   from the torque t = i[H, s] and ρ_EQ = -½{v_a, ρ_E}/(ε_m - ε_n),
        I2 = ½ Σ f_m {D_b s_od, R^a}_mm, with D_b s_od = i[R^b, s_d] between groups: (C22) with
        the index of (C15); the total derivative that integrates to zero is left out.
    """

    spin = True
    filled_pairs = True
    every_band = True

    def __call__(self, bands):
        inside, between = bands.inside(bands.spin), bands.between(bands.spin)
        torque = 1j * bands.gap * bands.spin
        dipole = 1j * torque * bands.inverse_gap  # i t_nm/(ε_n - ε_m): its current with ρ_E is I1
        flow, field = bands.connection[:, None, None], bands.connection[None, :, None]
        derivative = bands.between(1j * commutator(field, inside))
        pieces = [
            _driven(bands, spin_current(bands, inside)),
            _driven(bands, spin_current(bands, between)),
            _driven(bands, spin_current(bands, dipole)),
            diagonal_of_product(derivative, flow).real,
        ]
        return Weights(jnp.stack(pieces))


class Torque(Observable):
    """2 Im Σ_n s_nm R^b_mn: Tr t ρ_E, the spin generated by the field. Components (field, spin).

    Equal to -(e/ħ) Σ f ∂_b s_mm up to what integrates to zero.
    """

    spin = True
    removed = True

    def __call__(self, bands):
        weights = 2 * diagonal_of_product(bands.drive[:, None], bands.spin).imag
        if bands.removed is not None:
            weights = weights + _diagonal(bands.removed.torque)
        return Weights(weights)


class EquilibriumSpinCurrent(Observable):
    """The two parts of ⟨m|½{s, ∂H}|m⟩: components (part, flow, spin).

    Samokhin, Sigrist and Fischer (2025), Eqs. (14), (15). Part 0, trivial: v_m s_mm (the blocks
    inside a group). Part 1, topological: the other groups, Re Σ_n s_mn (∂H)_nm, those beyond the
    bands of a downfolded model included.
    A group whose levels are ε̄ + h is occupied with f(ε̄) + f'(ε̄) h. The surface term is the second
    part, which is zero and has a derivative where a parameter splits the group.
    """

    spin = True
    smooth = True

    def __call__(self, bands):
        velocity = bands.velocity[:, None]
        parts = (bands.inside(bands.spin), bands.between(bands.spin))
        sea = [diagonal_of_product(s, velocity).real for s in parts]
        if bands.current_beyond is not None:
            sea[1] += _diagonal(bands.current_beyond)
        if bands.offset is None:
            return Weights(jnp.stack(sea))
        currents = [0.5 * anticommutator(s, velocity) for s in parts]
        if bands.current_beyond is not None:
            currents[1] += bands.current_beyond
        split = [diagonal_of_product(bands.offset, current).real for current in currents]
        return Weights(jnp.stack(sea), jnp.stack(split))


class Restricted(Observable):
    """An observable summed over the bands of the given indices only."""

    observable: Observable
    bands: tuple[int, ...] = eqx.field(static=True)
    spin = True

    @property
    def smooth(self) -> bool:
        return self.observable.smooth

    @property
    def filled_pairs(self) -> bool:
        return self.observable.filled_pairs

    def __call__(self, bands):
        chosen = jnp.zeros(bands.energies.shape[0]).at[jnp.array(self.bands)].set(1.0)[:, None]
        weights = self.observable(bands)
        surface = None if weights.surface is None else weights.surface * chosen
        return Weights(weights.sea * chosen, surface, weights.expansion)


class OfBands(Observable):
    """An observable as the sum over the bands of the model alone, without what lies beyond."""

    observable: Observable

    @property
    def spin(self) -> bool:
        return self.observable.spin

    @property
    def filled_pairs(self) -> bool:
        return self.observable.filled_pairs

    def __call__(self, bands):
        return self.observable(bands)


class Differentiated(Observable):
    """A smooth observable in a sum that may be differentiated by what splits degenerate bands."""

    observable: Observable
    offset = True

    @property
    def spin(self) -> bool:
        return self.observable.spin

    @property
    def beyond(self) -> bool:
        return self.observable.beyond

    def __call__(self, bands):
        return self.observable(bands)


class Together(Observable):
    """Several observables in one pass; their components are laid end to end."""

    observables: tuple[Observable, ...]

    @property
    def spin(self) -> bool:
        return any(observable.spin for observable in self.observables)

    @property
    def beyond(self) -> bool:
        return any(observable.beyond for observable in self.observables)

    @property
    def removed(self) -> bool:
        return any(observable.removed for observable in self.observables)

    @property
    def filled_pairs(self) -> bool:
        return any(observable.filled_pairs for observable in self.observables)

    def __call__(self, bands):
        weights = [observable(bands) for observable in self.observables]
        sea = [w.sea.reshape(-1, *bands.energies.shape) for w in weights]
        expansion, offset = [], 0
        for w, s in zip(weights, sea, strict=True):
            own = w.expansion or [(i, 1) for i in range(len(s))]
            expansion += [(offset + i, sign) for i, sign in own]
            offset += len(s)
        surface = None
        if any(w.surface is not None for w in weights):
            surface = jnp.concatenate(
                [
                    jnp.zeros_like(s) if w.surface is None else w.surface.reshape(s.shape)
                    for w, s in zip(weights, sea, strict=True)
                ]
            )
        return Weights(jnp.concatenate(sea), surface, tuple(expansion))


def _diagonal(operator: Complex[Array, "*c n n K"]) -> Float[Array, "*c n K"]:
    return jnp.einsum("...mmk->...mk", operator).real


def spin_current(bands: Bands, spin: Complex[Array, "3 n n K"]) -> Complex[Array, "d 3 n n K"]:
    """½{s, ∂H} for each flow and spin component, eV Å."""
    product = 0.5 * matmul(spin, bands.velocity[:, None])
    return keep(product + dagger(product))  # {s, v} = sv + (sv)†, both being Hermitian


def _driven(bands: Bands, current: Complex[Array, "d 3 n n K"]) -> Float[Array, "d d 3 n K"]:
    """Tr(current ρ_E), with ρ_E,mn = R^b_mn (f_m - f_n)/(ε_m - ε_n), collected on bands (6)."""
    drive = bands.drive * bands.inverse_gap
    return -2 * diagonal_of_product(current[:, None], drive[None, :, None]).real


def _antisymmetric(bands: Bands, weight: Callable[[int, int], Array]) -> Weights:
    """Weights antisymmetric in (flow a, field b), from those of the pairs a < b: (*c, n, K)."""
    d = bands.velocity.shape[0]
    pairs = [(a, b) for a in range(d) for b in range(a + 1, d)]
    sea = jnp.stack([staged(partial(weight, a, b))() for a, b in pairs])
    others = math.prod(sea.shape[1:-2])
    sign = dict.fromkeys(pairs, 1) | {(b, a): -1 for a, b in pairs}
    place = {pair: i for i, pair in enumerate(pairs)}
    expansion = [
        (place.get((min(a, b), max(a, b)), 0) * others + c, sign.get((a, b), 0))
        for a in range(d)
        for b in range(d)
        for c in range(others)
    ]
    return Weights(sea, expansion=tuple(expansion))
