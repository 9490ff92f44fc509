"""Observables: what each band contributes to a response at one k (or on a tile).

An observable takes `Bands` and returns `Weights`: a real tensor W_m for every band, so that the
response is Σ_k Σ_m f(ε_m) W_m, plus, where the theory has one, a Fermi-surface tensor that goes
with ∂f/∂ε. A sum over pairs with (f_m - f_n) is the same thing, W_m collecting the pairs of band
m; pairs that are equally occupied at every level never enter (`Bands.active`).

Component axes lead: (flow a, field b, spin s, band m, k). Formulas are those of the theory of the
proper spin current (docs/definitions.md) in units where ħ = e = 1 and the spin operator is in
units of ħ/2. Numbers in brackets are equations of Liu, Cullen and Culcer, PRB 108, 195434 (2023).
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxspin.band_structure.bands import Bands
from jaxspin.band_structure.driven_states import ModelMatrices
from jaxspin.engine.hermitian import hermitian, trace_of_product
from jaxspin.engine.record import Record
from jaxspin.engine.small_matrices import dagger, diagonal_of_product, matmul
from jaxspin.engine.xla import materialize, separate_kernel


class Weights(Record):
    """Contributions of each band: `sea` goes with f(ε_m), `surface` with ∂f/∂ε at ε_m."""

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
        """Contributions of each band to all components, laid end to end."""
        independent = self.sea.reshape(-1, *self.sea.shape[-2:])
        return jnp.moveaxis(self.complete(jnp.moveaxis(independent, 0, -1)), -1, 0)


class Observable(Record):
    """A function from the bands at k to `Weights`."""

    #: Names of the operators of the model that the observable needs, such as "spin".
    operators: ClassVar[tuple[str, ...]] = ()
    #: Whether it needs the curvature from beyond the basis functions (`Bands.external_curvature`).
    external_curvature: ClassVar[bool] = False
    #: Whether it needs what a field drives through removed bands (`LiftedOperator.remote`).
    remote: ClassVar[bool] = False
    #: Whether it needs removed bands themselves, so that a downfolded model cannot give it.
    every_band: ClassVar[bool] = False
    #: Whether it needs every state of the crystal: models that are downfolded, or have external
    #: terms, cannot give it.
    complete: ClassVar[bool] = False

    #: Power of (ε - mu) in the moment of -∂f/∂ε that its sums have in place of f: 0 for f itself, 1
    #: for the entropy of a state, 2 for the heat (see `jaxspin.integration.levels.fermi`).
    moment: ClassVar[int] = 0

    #: Whether pairs of two filled bands contribute, which cancel in sums over f_m - f_n.
    filled_pairs: ClassVar[bool] = False

    #: Whether the sum is Tr f(H)O, O made of H, its slopes and the spin. It is then a smooth
    #: function of H where bands meet, and has derivatives by parameters that split them.
    smooth: ClassVar[bool] = False
    #: Whether it needs how a change of H splits degenerate groups (`Bands.group_splitting`).
    group_splitting: ClassVar[bool] = False

    @property
    def needs(self) -> dict[str, Any]:
        """Which fields of `Bands` it needs, as `solve_bands` takes it."""
        fields = ("operators", "external_curvature", "remote", "group_splitting")
        return {name: getattr(self, name) for name in fields}

    @abstractmethod
    def __call__(self, bands: Bands) -> Weights:
        """The weights of each band."""

    def driven_mean(
        self, matrices: ModelMatrices, states: Complex[Array, "d n n K"]
    ) -> Float[Array, "*c K"] | None:
        """Σ_m f_m W_m at one level as a mean Tr(O ρ_E), in the basis of the model.

        Components are those of `Weights.sea`. None where it is no such mean.

        Args:
            states: ρ_E of each direction of the field (`field_states`).
        """
        return None


class OfOperator(Observable):
    """An observable of one operator of the model: the spin, if no other is named by `of`.

    The components of the operator are the last ones of the weights: spin in the formulas is any
    Hermitian operator, of c components, or of one where it is a single matrix.
    """

    #: Name of the operator (`Model.operators`).
    of: str = eqx.field(static=True, default="spin", kw_only=True)

    @property
    def operators(self) -> tuple[str, ...]:
        return (self.of,)

    def matrices(self, bands: Bands) -> Complex[Array, "c n n _"]:
        """The operator in the band basis."""
        return bands.operator(self.of).components

    def whole_current(self, bands: Bands) -> Complex[Array, "d c n n _"]:
        """½{O, ∂H} in the band basis, with what removed bands add."""
        operator = bands.operator(self.of)
        current = spin_current(bands, operator.components)
        return current if operator.current is None else current + operator.current


def diagonal(operator: Complex[Array, "*c n n K"]) -> Float[Array, "*c n K"]:
    """Real part of the diagonal of operators, one number for each band."""
    return jnp.einsum("...mmk->...mk", operator).real


def means_of_fields(
    operator: Complex[Array, "c *s n n K"], states: Complex[Array, "d n n K"]
) -> Float[Array, "c d *s K"]:
    """Tr(O ρ_E) of a Hermitian operator, the field being the second axis of the components."""
    operator = hermitian(operator)
    return jnp.stack([trace_of_product(operator, state) for state in states], axis=1)


@materialize
def spin_current(
    bands: Bands | ModelMatrices, spin: Complex[Array, "c n n K"]
) -> Complex[Array, "d c n n K"]:
    """½{s, ∂H} for each flow and component of s, eV Å."""
    product = 0.5 * matmul(spin, bands.velocity[:, None])
    return product + dagger(product)  # {s, v} = sv + (sv)†, both being Hermitian


def linear_response(
    bands: Bands, current: Complex[Array, "d c n n K"]
) -> Float[Array, "d d c n K"]:
    """Tr(current ρ_E), with ρ_E,mn = R^b_mn (f_m - f_n)/(ε_m - ε_n), collected on bands (6)."""
    mixing = bands.active_connection * bands.inverse_gap
    return -2 * diagonal_of_product(current[:, None], mixing[None, :, None]).real


def traces_with_curvature(
    bands: Bands, connection: Complex[Array, "d n n K"], inside: Complex[Array, "c n n K"]
) -> Weights:
    """tr(O Ω_ab) over each group, O without elements between groups: components (flow, field, c).

    Ω_ab = i [R^a, R^b] as a matrix in each group.
    """

    def weight(a, b):  # R^b R^a = (R^a R^b)†
        product = matmul(connection[a], connection[b])
        return diagonal_of_product(inside, dagger(product) - product).imag

    return antisymmetric(bands, weight)


def antisymmetric(bands: Bands, weight: Callable[[int, int], Array]) -> Weights:
    """Weights antisymmetric in (flow a, field b), from those of the pairs a < b: (*c, n, K)."""
    d = bands.velocity.shape[0]
    pairs = [(a, b) for a in range(d) for b in range(a + 1, d)]

    def weigh_pair(a: int, b: int) -> Array:
        @separate_kernel
        def weights():
            return weight(a, b)

        return weights()

    sea = jnp.stack([weigh_pair(a, b) for a, b in pairs])
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
