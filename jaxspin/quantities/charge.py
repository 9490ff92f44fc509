"""Charge: carrier density, density of states and the anomalous Hall conductivity."""

import jax.numpy as jnp
import numpy as np

from jaxspin import units
from jaxspin.engine.hermitian import hermitian, trace_of_product
from jaxspin.engine.small_matrices import diagonal_of_product
from jaxspin.quantities.axes import FIELD, FLOW
from jaxspin.quantities.observable import Observable, Weights, antisymmetric, diagonal
from jaxspin.quantities.quantity import Quantity


class CarrierNumber(Observable):
    """Carrier number: weight 1 for every band."""

    smooth = True

    def __call__(self, bands):
        return Weights(jnp.ones_like(bands.energies))


class DensityOfStates(Observable):
    """Density of states: weight 1 for every band, with -∂f/∂ε."""

    smooth = True

    def __call__(self, bands):
        return Weights(jnp.zeros_like(bands.energies), -jnp.ones_like(bands.energies))


class AnomalousHall(Observable):
    """-Ω_ab,m: σ_ab = -(e²/ħ) Σ f Ω_ab."""

    external_curvature = True

    def __call__(self, bands):
        r = bands.active_connection
        weights = antisymmetric(bands, lambda a, b: 2 * diagonal_of_product(r[a], r[b]).imag)
        if bands.external_curvature is None:
            return weights
        beyond = diagonal(bands.external_curvature)
        return Weights(weights.sea - beyond, expansion=weights.expansion)

    def driven_mean(self, matrices, states):
        flow, field = np.triu_indices(len(states), 1)
        return -trace_of_product(hermitian(matrices.velocity[flow]), states[field])  # charge -e


ANOMALOUS_HALL = Quantity(
    observable=AnomalousHall(),
    name="anomalous Hall conductivity",
    axes=(FLOW, FIELD),
    unit=units.charge_conductivity,
    symbol=r"\sigma",
    formula="σ_ab = -(e²/ħ) Σ f_m Ω_ab,m",
    source="Nagaosa et al., Rev. Mod. Phys. 82, 1539 (2010)",
    time_reversal=-1,
    exchange=-1,
    least_dimension=2,
)

CARRIER_DENSITY = Quantity(
    observable=CarrierNumber(),
    name="carrier density",
    axes=(),
    unit=units.density,
    symbol="n",
    formula="n = Σ f_m",
    source="definition",
    time_reversal=1,
)

DENSITY_OF_STATES = Quantity(
    observable=DensityOfStates(),
    name="density of states",
    axes=(),
    unit=units.density_of_states,
    symbol=r"\partial n/\partial\mu",
    formula="∂n/∂mu = Σ (-∂f/∂ε)(ε_m)",
    source="definition",
    time_reversal=1,
)
