"""Observables made of others: several in one pass, some of the bands, without remote states."""

from collections.abc import Iterable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxspin.quantities.observable import Observable, Weights


def stack(observables: Iterable[Observable]) -> Observable:
    """Several observables as one; a single one as it is."""
    several = tuple(observables)
    return several[0] if len(several) == 1 else Stacked(several)


class Wrapped(Observable):
    """An observable made of another, of which it needs what that needs."""

    observable: Observable

    @property
    def operators(self) -> tuple[str, ...]:
        return self.observable.operators

    @property
    def external_curvature(self) -> bool:
        return self.observable.external_curvature

    @property
    def remote(self) -> bool:
        return self.observable.remote

    @property
    def every_band(self) -> bool:
        return self.observable.every_band

    @property
    def complete(self) -> bool:
        return self.observable.complete

    @property
    def filled_pairs(self) -> bool:
        return self.observable.filled_pairs

    @property
    def moment(self) -> int:
        return self.observable.moment

    def __call__(self, bands):
        return self.observable(bands)


class Restricted(Wrapped):
    """An observable summed over the bands of the given indices only."""

    bands: tuple[int, ...] = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        return self.observable.smooth

    def __call__(self, bands):
        chosen = jnp.zeros(bands.energies.shape[0]).at[jnp.array(self.bands)].set(1.0)[:, None]
        weights = self.observable(bands)
        surface = None if weights.surface is None else weights.surface * chosen
        return Weights(weights.sea * chosen, surface, weights.expansion)


class OfBands(Wrapped):
    """An observable as the sum over the bands of the model alone, without what lies beyond."""

    @property
    def external_curvature(self) -> bool:
        return False

    @property
    def remote(self) -> bool:
        return False

    def driven_mean(self, matrices, states):
        return self.observable.driven_mean(matrices, states)


class Moment(Wrapped):
    """An observable whose sums have moments of -∂f/∂ε in place of f (see `Observable.moment`).

    Its weights, of a flow driven by the field on charges -e, become those of the flow driven by a
    gradient of temperature, or of the heat flow: times (-1)^moment.
    """

    power: int = eqx.field(static=True)

    @property
    def moment(self) -> int:
        return self.power

    def __call__(self, bands):
        weights = self.observable(bands)
        if self.power % 2 == 0:
            return weights
        surface = None if weights.surface is None else -weights.surface
        return Weights(-weights.sea, surface, weights.expansion)


class Averaged(Wrapped):
    """An observable whose components are averaged over a group of symmetries.

    Each independent component is there once: those that the group forbids are zero, and others are
    equal up to their sign.
    """

    #: The average as a matrix on the components.
    mean: tuple[tuple[float, ...], ...] = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        return self.observable.smooth

    def __call__(self, bands):
        weights = self.observable(bands)
        rows, expansion = _independent_rows(np.array(self.mean))

        def average(part):
            full = Weights(part, expansion=weights.expansion).full
            return jnp.einsum("rc,cnk->rnk", rows, full, precision="highest")

        surface = None if weights.surface is None else average(weights.surface)
        return Weights(average(weights.sea), surface, expansion)


def _independent_rows(matrix: Float[np.ndarray, "c c"]):
    """Rows that differ by more than a sign, and which of them each row is, with its sign."""
    rows, expansion = [], []
    for row in matrix:
        same = [
            (i, sign)
            for i, other in enumerate(rows)
            for sign in (1, -1)
            if np.allclose(row, sign * other, rtol=0, atol=1e-12)
        ]
        if not np.any(row):
            expansion.append((0, 0))
            continue
        if not same:
            same = [(len(rows), 1)]
            rows.append(row)
        expansion.append(same[0])
    return np.array(rows or [matrix[0]]), tuple(expansion)


class Differentiated(Wrapped):
    """A smooth observable in a sum that may be differentiated by what splits degenerate bands."""

    group_splitting = True


class Stacked(Observable):
    """Several observables in one pass; their components are laid end to end."""

    observables: tuple[Observable, ...]

    @property
    def operators(self) -> tuple[str, ...]:
        names = (name for observable in self.observables for name in observable.operators)
        return tuple(dict.fromkeys(names))

    @property
    def smooth(self) -> bool:
        return all(observable.smooth for observable in self.observables)

    @property
    def external_curvature(self) -> bool:
        return any(observable.external_curvature for observable in self.observables)

    @property
    def remote(self) -> bool:
        return any(observable.remote for observable in self.observables)

    @property
    def every_band(self) -> bool:
        return any(observable.every_band for observable in self.observables)

    @property
    def complete(self) -> bool:
        return any(observable.complete for observable in self.observables)

    @property
    def filled_pairs(self) -> bool:
        return any(observable.filled_pairs for observable in self.observables)

    @property
    def moment(self) -> int:  # of all of them (`Problem.check`)
        return max(observable.moment for observable in self.observables)

    def __call__(self, bands):
        weights = [observable(bands) for observable in self.observables]
        sea = [w.sea.reshape(-1, *bands.energies.shape) for w in weights]
        expansion, first = [], 0
        for w, s in zip(weights, sea, strict=True):
            own = w.expansion or [(i, 1) for i in range(len(s))]
            expansion += [(first + i, sign) for i, sign in own]
            first += len(s)
        surface = None
        if any(w.surface is not None for w in weights):
            surface = jnp.concatenate(
                [
                    jnp.zeros_like(s) if w.surface is None else w.surface.reshape(s.shape)
                    for w, s in zip(weights, sea, strict=True)
                ]
            )
        return Weights(jnp.concatenate(sea), surface, tuple(expansion))

    def driven_mean(self, matrices, states):
        means = []
        for observable in self.observables:
            mean = observable.driven_mean(matrices, states)
            if mean is None:
                return None
            means.append(mean.reshape(-1, mean.shape[-1]))
        return jnp.concatenate(means)
