"""The responses that an input file may ask for, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxspin.quantities import fermi_surface as surface_quantities
from jaxspin.quantities.charge import ANOMALOUS_HALL, CARRIER_DENSITY, DENSITY_OF_STATES
from jaxspin.quantities.quantity import Quantity
from jaxspin.quantities.spin import EQUILIBRIUM_SPIN_CURRENT, TORQUE_DENSITY
from jaxspin.quantities.spin_hall import DEFINITIONS
from jaxspin.quantities.thermal import ANOMALOUS_NERNST, SPIN_NERNST, THERMAL_HALL
from jaxspin.responses import fermi_sea, fermi_surface, thermal
from jaxspin.responses.response import Response


@dataclass(frozen=True)
class Listed:
    """A response as an input file asks for it by name."""

    #: The public function: (model, mesh, levels, *, choices).
    function: Callable[..., Any]
    #: The record that has its axes and unit.
    quantity: Quantity
    #: Takes the response out of the result of the function.
    part: Callable[[Any], Response] = lambda result: result


#: A new response is entered here by one line.
RESPONSES: dict[str, Listed] = {
    "anomalous_hall": Listed(fermi_sea.anomalous_hall, ANOMALOUS_HALL),
    "spin_hall": Listed(fermi_sea.spin_hall, DEFINITIONS["conventional"]),
    "torque_density": Listed(fermi_sea.torque_density, TORQUE_DENSITY),
    "equilibrium_spin_current": Listed(
        fermi_sea.equilibrium_spin_current,
        EQUILIBRIUM_SPIN_CURRENT["total"],
        lambda result: result.total,
    ),
    "carrier_density": Listed(fermi_sea.carrier_density, CARRIER_DENSITY),
    "density_of_states": Listed(fermi_sea.density_of_states, DENSITY_OF_STATES),
    "drude": Listed(fermi_surface.drude, surface_quantities.DRUDE),
    "edelstein": Listed(fermi_surface.edelstein, surface_quantities.EDELSTEIN),
    "spin_drude": Listed(fermi_surface.spin_drude, surface_quantities.SPIN_DRUDE),
    "berry_dipole": Listed(fermi_surface.berry_dipole, surface_quantities.BERRY_DIPOLE),
    "nonlinear_hall": Listed(fermi_surface.nonlinear_hall, surface_quantities.NONLINEAR_HALL),
    "spin_berry_dipole": Listed(
        fermi_surface.spin_berry_dipole, surface_quantities.SPIN_BERRY_DIPOLE
    ),
    "intrinsic_nonlinear_hall": Listed(
        fermi_surface.intrinsic_nonlinear_hall, surface_quantities.INTRINSIC_NONLINEAR_HALL
    ),
    "anomalous_nernst": Listed(thermal.anomalous_nernst, ANOMALOUS_NERNST),
    "thermal_hall": Listed(thermal.thermal_hall, THERMAL_HALL),
    "spin_nernst": Listed(thermal.spin_nernst, SPIN_NERNST),
}
