"""Flows that a gradient of temperature drives, by their energies: Nernst and thermal Hall effects.

A gradient drives a state at ε as a field of (ε − μ)/T, so that of a conductivity σ(ε) at T = 0
there are α = −(1/eT) ∫ (−∂f/∂ε)(ε − μ) σ(ε) dε and κ = (1/e²T) ∫ (−∂f/∂ε)(ε − μ)² σ(ε) dε. Band by
band the occupation f of the conductivity becomes a moment of −∂f/∂ε above ε: with x = (ε − μ)/kT
the entropy S(x) = −f ln f − (1 − f) ln(1 − f), and C₂(x) = ∫_x^∞ y² (−df/dy) dy. These are
coefficients of transport: the magnetisation currents of a Kubo formula, which carry nothing through
a cross-section, are not in them. Natural units, ħ = e = k = 1.
"""

from jaxspin import units
from jaxspin.quantities.axes import FLOW, GRADIENT, SPIN
from jaxspin.quantities.charge import AnomalousHall
from jaxspin.quantities.combine import Moment
from jaxspin.quantities.quantity import Quantity
from jaxspin.quantities.spin_hall import ConventionalSpinHall

ANOMALOUS_NERNST = Quantity(
    observable=Moment(AnomalousHall(), power=1),
    name="anomalous Nernst conductivity",
    axes=(FLOW, GRADIENT),
    unit=units.thermoelectric_conductivity,
    symbol=r"\alpha",
    formula="α_ab = (e k/ħ) Σ S(x_m) Ω_ab,m",
    source="Xiao, Yao, Fang and Niu, Phys. Rev. Lett. 97, 026603 (2006)",
    time_reversal=-1,
    exchange=-1,
    least_dimension=2,
)

THERMAL_HALL = Quantity(
    observable=Moment(AnomalousHall(), power=2),
    name="thermal Hall conductivity",
    axes=(FLOW, GRADIENT),
    unit=units.thermal_conductivity,
    symbol=r"\kappa",
    formula="κ_ab = -(k² T/ħ) Σ C₂(x_m) Ω_ab,m",
    source="Qin, Niu and Shi, Phys. Rev. Lett. 107, 236601 (2011)",
    time_reversal=-1,
    exchange=-1,
    least_dimension=2,
)

SPIN_NERNST = Quantity(
    observable=Moment(ConventionalSpinHall(), power=1),
    name="spin Nernst conductivity (Mott, conventional)",
    axes=(FLOW, GRADIENT, SPIN),
    unit=units.spin_thermoelectric_conductivity,
    symbol=r"\alpha",
    formula="α^s_ab = -(e k/ħ) Σ S(x_m) Ω^s_ab,m",
    source="definition by Mott's relation",
    time_reversal=1,
    least_dimension=2,
)
