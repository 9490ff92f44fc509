"""Constants (CODATA 2018, exact by definition of the SI) and the units of every result.

Inside the package ħ = e = 1, energies are eV and lengths Å. A conductivity is (e²/ħ) times a
k-integral in Å^(2-d); with e²/ħ = 2.434134806e-4 S that is 2434134.806 S/m per Å⁻¹ in three
dimensions and 2.434134806e-4 S in two.
"""

import math

#: Elementary charge, C.
ELEMENTARY_CHARGE = 1.602176634e-19
#: Planck constant, J s.
PLANCK = 6.62607015e-34
#: Reduced Planck constant, J s.
HBAR = PLANCK / (2 * math.pi)
#: Reduced Planck constant, eV ps.
HBAR_EV_PS = HBAR / ELEMENTARY_CHARGE * 1e12
#: Boltzmann constant, eV/K.
BOLTZMANN = 1.380649e-23 / ELEMENTARY_CHARGE
#: e²/ħ in siemens.
CONDUCTANCE = ELEMENTARY_CHARGE**2 / HBAR
#: ħ²/2m_e of a free electron, 3.8099821 eV Å².
FREE_ELECTRON = HBAR**2 / (2 * 9.1093837015e-31) / ELEMENTARY_CHARGE * 1e20
#: Bohr magneton in units of (e/ħ) eV Å²: μ_B = (e/ħ) · ħ²/2m_e.
BOHR_MAGNETON = FREE_ELECTRON

_METRES = 1e10  # Å in a metre

# What one natural unit of a family, named by its default unit, is in each unit it converts to.
# A spin conductivity in ħ/2e is twice the number it is in ħ/e. The unit "e/8pi" means the
# physical conductivity J/E = (ħ/2e)(e²/ħ) x integral = (e/2) x integral, hence 4π x integral.
_FAMILIES: dict[str, dict[str, float]] = {
    "S/m": {
        "S/m": CONDUCTANCE * _METRES,
        "S/cm": CONDUCTANCE * _METRES / 100,
        "e^2/hbar Angstrom^-1": 1.0,
    },
    "S": {
        "S": CONDUCTANCE,
        "e^2/hbar": 1.0,
        "e^2/h": 2 * math.pi,
    },
    "hbar/2e S/m": {
        "hbar/2e S/m": CONDUCTANCE * _METRES,
        "hbar/2e S/cm": CONDUCTANCE * _METRES / 100,
        "hbar/e S/m": CONDUCTANCE * _METRES / 2,
        "hbar/e S/cm": CONDUCTANCE * _METRES / 200,
    },
    "hbar/2e S": {
        "hbar/2e S": CONDUCTANCE,
        "hbar/e S": CONDUCTANCE / 2,
        "hbar/2e e^2/h": 2 * math.pi,
        "hbar/e e^2/h": math.pi,
        "e/8pi": 4 * math.pi,
        "e/4pi": 2 * math.pi,
        "e/2pi": math.pi,
    },
    "hbar/2 V^-1 Angstrom^-1": {
        "hbar/2 V^-1 Angstrom^-1": 1.0,
        "hbar/2 V^-1 m^-1": _METRES,
        "hbar V^-1 Angstrom^-1": 0.5,
        "hbar V^-1 m^-1": _METRES / 2,
    },
    "hbar/2 V^-1 Angstrom^-2": {
        "hbar/2 V^-1 Angstrom^-2": 1.0,
        "hbar/2 V^-1 m^-2": _METRES**2,
        "hbar V^-1 Angstrom^-2": 0.5,
        "hbar V^-1 m^-2": _METRES**2 / 2,
    },
    "e Angstrom^-1": {"e Angstrom^-1": 1.0, "C/m": ELEMENTARY_CHARGE * _METRES},
    "e Angstrom^-2": {"e Angstrom^-2": 1.0, "C/m^2": ELEMENTARY_CHARGE * _METRES**2},
    "hbar eV^-2 Angstrom^-1": {
        "hbar eV^-2 Angstrom^-1": 1.0,
        "hbar/2 eV^-2 Angstrom^-1": 2.0,
        "hbar eV^-2 m^-1": _METRES,
    },
    "hbar eV^-2": {"hbar eV^-2": 1.0, "hbar/2 eV^-2": 2.0},
    "eV^-1 Angstrom^-1": {"eV^-1 Angstrom^-1": 1.0, "eV^-1 m^-1": _METRES},
    "1/Angstrom^3": {"1/Angstrom^3": 1.0, "1/cm^3": 1e24},
    "1/Angstrom^2": {"1/Angstrom^2": 1.0, "1/cm^2": 1e16},
}


def charge_conductivity(dimension: int) -> str:
    """Default unit of a charge conductivity: S/m in 3D, S in 2D (no thickness is invented)."""
    return "S/m" if dimension == 3 else "S"


def spin_conductivity(dimension: int) -> str:
    """Default unit of a spin conductivity: (ħ/2e) S/m in 3D, (ħ/2e) S in 2D."""
    return "hbar/2e S/m" if dimension == 3 else "hbar/2e S"


def natural_conductivity(dimension: int) -> str:
    """Unit of a charge conductivity as the integral has it: e²/ħ Å^(2−d)."""
    return "e^2/hbar Angstrom^-1" if dimension == 3 else "e^2/hbar"


def spin_polarization(dimension: int) -> str:
    """Unit of a spin density per field: Pauli-normalised spins per volume and 1 eV/Å."""
    return f"hbar/2 V^-1 Angstrom^{1 - dimension}"


def torque(dimension: int) -> str:
    """Unit of a torque per volume and field: eV Å^(−d) for eE of 1 eV/Å."""
    return f"e Angstrom^{1 - dimension}"


def spin_transfer(dimension: int) -> str:
    """Unit of a spin density, ħ Å^(−d), per eE (eV/Å) and gradient of the exchange energy."""
    return _in_angstrom("hbar eV^-2", 2 - dimension)


def spin_transfer_torque(dimension: int) -> str:
    """Unit of a torque density, eV Å^(−d), per eE and gradient of the exchange energy."""
    return _in_angstrom("eV^-1", 2 - dimension)


def _in_angstrom(unit: str, power: int) -> str:
    return {0: unit, 1: f"{unit} Angstrom"}.get(power, f"{unit} Angstrom^{power}")


def density(dimension: int) -> str:
    """Unit of a number density."""
    return "1/Angstrom" if dimension == 1 else f"1/Angstrom^{dimension}"


def per_natural(unit: str) -> float:
    """How many of `unit` one natural unit (ħ = e = 1, Å, eV) is; 1 for units without family."""
    return next((family[unit] for family in _FAMILIES.values() if unit in family), 1.0)


def conversion(start: str, end: str) -> float:
    """The number that turns a value in `start` into a value in `end`.

    Raises:
        ValueError: `end` does not measure the same thing as `start`; the message lists what does.

    >>> round(conversion("hbar/2e S", "hbar/e e^2/h") * CONDUCTANCE, 6)
    3.141593
    """
    if start == end:
        return 1.0
    family = next((f for f in _FAMILIES.values() if start in f), {start: 1.0})
    if end not in family:
        raise ValueError(
            f"Argument `units` must be one of {', '.join(map(repr, family))} "
            f"for a quantity in {start!r}, but is {end!r}."
        )
    return family[end] / family[start]
