"""Constants (CODATA 2018, exact by definition of the SI) and the units of every result.

Inside the package ħ = e = 1, energies are eV and lengths Å. A conductivity is (e²/ħ) times a
k-integral in Å^(2-d); with e²/ħ = 2.434134806e-4 S that is 2434134.806 S/m per Å⁻¹ in three
dimensions and 2.434134806e-4 S in two.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

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
_FEMTOSECOND = 1e-3 / HBAR_EV_PS  # 1 fs/ħ, 1/eV
_PER_FEMTOSECOND = " fs^-1"
_CHARGE: dict[int, Any] = {1: "S m", 2: "S", 3: "S/m"}
_NATURAL: dict[int, Any] = {1: "e^2/hbar Angstrom", 2: "e^2/hbar", 3: "e^2/hbar Angstrom^-1"}
_SPIN: dict[int, Any] = {1: "hbar/2e S m", 2: "hbar/2e S", 3: "hbar/2e S/m"}
_PER_KELVIN: dict[int, Any] = {1: "{} m/K", 2: "{}/K", 3: "{}/(m K)"}
_PER_ANGSTROM = {"Angstrom": 1.0, "cm": 1e8, "m": 1e10}  # 1/Å in the inverse of each length

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
    "S m": {
        "S m": CONDUCTANCE / _METRES,
        "e^2/hbar Angstrom": 1.0,
    },
    "hbar/2e S m": {
        "hbar/2e S m": CONDUCTANCE / _METRES,
        "hbar/e S m": CONDUCTANCE / _METRES / 2,
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
}


def _product_unit(unit: str, length: str, power: int) -> Any:
    """The unit "unit length^power" as it is written."""
    return {0: unit, 1: f"{unit} {length}"}.get(power, f"{unit} {length}^{power}")


def _quotient_unit(unit: str, length: str, dimension: int) -> Any:
    """The unit "unit/length^dimension" as it is written; `unit` is 1 or 1/energy."""
    per = length if dimension == 1 else f"{length}^{dimension}"
    return f"1/{per}" if unit == "1" else f"1/({unit.removeprefix('1/')} {per})"


def _product_family(
    power: int, factors: dict[str, float], *, joule: bool = False
) -> dict[str, float]:
    """A family of units "unit Å^power", the natural one first, and the same with metres."""
    metres = _METRES ** (-power)
    family = {_product_unit(unit, "Angstrom", power): factor for unit, factor in factors.items()}
    family |= {_product_unit(unit, "m", power): metres * factor for unit, factor in factors.items()}
    return family | ({_product_unit("J", "m", power): metres * ELEMENTARY_CHARGE} if joule else {})


def _per_time(family: dict[str, float]) -> dict[str, float]:
    """The family of what is that of another times a relaxation time, per time: natural per ħ/eV."""
    return {unit + _PER_FEMTOSECOND: factor * _FEMTOSECOND for unit, factor in family.items()}


def _thermal_families(dimension: int) -> list[dict[str, float]]:
    """Units of flows of charge, spin and heat that a gradient of temperature drives: e k/ħ, k/2
    and k eV/ħ are the natural ones, times Å^(2−d)."""
    d = dimension
    factor = CONDUCTANCE * BOLTZMANN * _METRES ** (d - 2)
    charge, spin, whole_spin, heat = (
        _PER_KELVIN[d].format(unit) for unit in ("A", "hbar/2e A", "hbar/e A", "W")
    )
    return [{charge: factor}, {spin: factor, whole_spin: factor / 2}, {heat: factor}]


def _surface_families(dimension: int) -> list[dict[str, float]]:
    """Units of what a constant relaxation time gives, and of the second order in the field."""
    d = dimension
    charge, spin = _FAMILIES[_CHARGE[d]], _FAMILIES[_SPIN[d]]
    second = {"A/V^2": CONDUCTANCE} if d == 3 else {"A m/V^2": CONDUCTANCE * _METRES ** (d - 3)}
    density = _FAMILIES[_product_unit("hbar/2 V^-1", "Angstrom", 1 - d)]
    per_time = [_per_time(family) for family in (charge, spin, density)]
    if d == 1:  # no curvature
        return per_time
    dipoles = [_product_family(3 - d, {"hbar/2": 1.0, "hbar": 0.5})]
    dipoles += [{"Angstrom": 1.0, "nm": 0.1, "m": 1 / _METRES}] if d == 2 else []
    return [*per_time, second, _per_time(second), *dipoles]


def _unit_families(dimension: int) -> list[dict[str, float]]:
    """Units of quantities other than conductivities in 1, 2 or 3 dimensions."""
    d = dimension
    coulomb = {1: "C", 2: "C/m", 3: "C/m^2"}[d]
    torque = {
        _product_unit("e/2", "Angstrom", 1 - d): 1.0,
        _product_unit("e", "Angstrom", 1 - d): 0.5,
    }
    return [
        _product_family(1 - d, {"hbar/2 V^-1": 1.0, "hbar V^-1": 0.5}),  # spin density per field
        torque | {coulomb: 0.5 * ELEMENTARY_CHARGE * _METRES ** (d - 1)},
        _product_family(
            2 - d, {"hbar eV^-2": 1.0, "hbar/2 eV^-2": 2.0}
        ),  # spin per eE and gradient
        _product_family(2 - d, {"eV^-1": 1.0}),  # torque per eE and gradient
        _product_family(1 - d, {"eV": 1.0}, joule=True),  # spin current
        _product_family(1 - d, {"V^-1": 1.0}),  # density of any operator per field
        {_quotient_unit("1", length, d): per**d for length, per in _PER_ANGSTROM.items()},
        {
            _quotient_unit("1/eV", "Angstrom", d): 1.0,
            _quotient_unit("1/eV", "cm", d): 1e8**d,
            _quotient_unit("1/J", "m", d): _METRES**d / ELEMENTARY_CHARGE,
        },
    ]


_FAMILIES["1"] = {"1": 1.0, "%": 100.0}
for _families in (_unit_families, _surface_families, _thermal_families):  # in this order
    _FAMILIES |= {next(iter(family)): family for d in (1, 2, 3) for family in _families(d)}

#: Every unit as it is written here, for type checkers; at run time `canonical` knows others.
Unit = Literal[
    "S/m",
    "S/cm",
    "e^2/hbar Angstrom^-1",
    "S",
    "e^2/hbar",
    "e^2/h",
    "S m",
    "e^2/hbar Angstrom",
    "hbar/2e S m",
    "hbar/e S m",
    "hbar/2e S/m",
    "hbar/2e S/cm",
    "hbar/e S/m",
    "hbar/e S/cm",
    "hbar/2e S",
    "hbar/e S",
    "hbar/2e e^2/h",
    "hbar/e e^2/h",
    "e/8pi",
    "e/4pi",
    "e/2pi",
    "1",
    "%",
    "hbar/2 V^-1",
    "hbar V^-1",
    "e/2",
    "e",
    "C",
    "hbar eV^-2 Angstrom",
    "hbar/2 eV^-2 Angstrom",
    "hbar eV^-2 m",
    "hbar/2 eV^-2 m",
    "eV^-1 Angstrom",
    "eV^-1 m",
    "eV",
    "J",
    "V^-1",
    "1/Angstrom",
    "1/cm",
    "1/m",
    "1/(eV Angstrom)",
    "1/(eV cm)",
    "1/(J m)",
    "hbar/2 V^-1 Angstrom^-1",
    "hbar V^-1 Angstrom^-1",
    "hbar/2 V^-1 m^-1",
    "hbar V^-1 m^-1",
    "e/2 Angstrom^-1",
    "e Angstrom^-1",
    "C/m",
    "hbar eV^-2",
    "hbar/2 eV^-2",
    "eV^-1",
    "eV Angstrom^-1",
    "eV m^-1",
    "J m^-1",
    "V^-1 Angstrom^-1",
    "V^-1 m^-1",
    "1/Angstrom^2",
    "1/cm^2",
    "1/m^2",
    "1/(eV Angstrom^2)",
    "1/(eV cm^2)",
    "1/(J m^2)",
    "hbar/2 V^-1 Angstrom^-2",
    "hbar V^-1 Angstrom^-2",
    "hbar/2 V^-1 m^-2",
    "hbar V^-1 m^-2",
    "e/2 Angstrom^-2",
    "e Angstrom^-2",
    "C/m^2",
    "hbar eV^-2 Angstrom^-1",
    "hbar/2 eV^-2 Angstrom^-1",
    "hbar eV^-2 m^-1",
    "hbar/2 eV^-2 m^-1",
    "eV^-1 Angstrom^-1",
    "eV^-1 m^-1",
    "eV Angstrom^-2",
    "eV m^-2",
    "J m^-2",
    "V^-1 Angstrom^-2",
    "V^-1 m^-2",
    "1/Angstrom^3",
    "1/cm^3",
    "1/m^3",
    "1/(eV Angstrom^3)",
    "1/(eV cm^3)",
    "1/(J m^3)",
    "S m fs^-1",
    "e^2/hbar Angstrom fs^-1",
    "hbar/2e S m fs^-1",
    "hbar/e S m fs^-1",
    "hbar/2 V^-1 fs^-1",
    "hbar V^-1 fs^-1",
    "S fs^-1",
    "e^2/hbar fs^-1",
    "e^2/h fs^-1",
    "hbar/2e S fs^-1",
    "hbar/e S fs^-1",
    "hbar/2e e^2/h fs^-1",
    "hbar/e e^2/h fs^-1",
    "e/8pi fs^-1",
    "e/4pi fs^-1",
    "e/2pi fs^-1",
    "hbar/2 V^-1 Angstrom^-1 fs^-1",
    "hbar V^-1 Angstrom^-1 fs^-1",
    "hbar/2 V^-1 m^-1 fs^-1",
    "hbar V^-1 m^-1 fs^-1",
    "A m/V^2",
    "A m/V^2 fs^-1",
    "hbar/2 Angstrom",
    "hbar Angstrom",
    "hbar/2 m",
    "hbar m",
    "Angstrom",
    "nm",
    "m",
    "S/m fs^-1",
    "S/cm fs^-1",
    "e^2/hbar Angstrom^-1 fs^-1",
    "hbar/2e S/m fs^-1",
    "hbar/2e S/cm fs^-1",
    "hbar/e S/m fs^-1",
    "hbar/e S/cm fs^-1",
    "hbar/2 V^-1 Angstrom^-2 fs^-1",
    "hbar V^-1 Angstrom^-2 fs^-1",
    "hbar/2 V^-1 m^-2 fs^-1",
    "hbar V^-1 m^-2 fs^-1",
    "A/V^2",
    "A/V^2 fs^-1",
    "hbar/2",
    "hbar",
    "A m/K",
    "hbar/2e A m/K",
    "hbar/e A m/K",
    "W m/K",
    "A/K",
    "hbar/2e A/K",
    "hbar/e A/K",
    "W/K",
    "A/(m K)",
    "hbar/2e A/(m K)",
    "hbar/e A/(m K)",
    "W/(m K)",
]


def charge_conductivity(dimension: int) -> Unit:
    """Default unit of a charge conductivity: S/m in 3D, S in 2D, S m in 1D (no thickness is
    invented)."""
    return _CHARGE[dimension]


def spin_conductivity(dimension: int) -> Unit:
    """Default unit of a spin conductivity: (ħ/2e) S/m in 3D, (ħ/2e) S in 2D, (ħ/2e) S m in 1D."""
    return _SPIN[dimension]


def charge_conductivity_per_time(dimension: int) -> Unit:
    """Unit of a charge conductivity per relaxation time, of 1 fs."""
    return _per_femtosecond(charge_conductivity(dimension))


def spin_conductivity_per_time(dimension: int) -> Unit:
    """Unit of a spin conductivity per relaxation time, of 1 fs."""
    return _per_femtosecond(spin_conductivity(dimension))


def spin_polarization_per_time(dimension: int) -> Unit:
    """Unit of a spin density per field and relaxation time, of 1 fs."""
    return _per_femtosecond(spin_polarization(dimension))


def thermoelectric_conductivity(dimension: int) -> Unit:
    """Unit of a charge current per gradient of temperature: A/(m K) in 3D, A/K in 2D."""
    return _PER_KELVIN[dimension].format("A")  # type: ignore[return-value]


def spin_thermoelectric_conductivity(dimension: int) -> Unit:
    """Unit of a spin current per gradient of temperature, (ħ/2e) A/(m K) in 3D."""
    return _PER_KELVIN[dimension].format("hbar/2e A")  # type: ignore[return-value]


def thermal_conductivity(dimension: int) -> Unit:
    """Unit of a heat current per gradient of temperature: W/(m K) in 3D, W/K in 2D."""
    return _PER_KELVIN[dimension].format("W")  # type: ignore[return-value]


def second_order_conductivity(dimension: int) -> Unit:
    """Unit of a current of second order in the field: A/V² in 3D, A m/V² in 2D."""
    return "A/V^2" if dimension == 3 else "A m/V^2"


def second_order_conductivity_per_time(dimension: int) -> Unit:
    """Unit of a current of second order in the field per relaxation time, of 1 fs."""
    return _per_femtosecond(second_order_conductivity(dimension))


def curvature_dipole(dimension: int) -> Unit:
    """Unit of a dipole of the Berry curvature: Å^(3−d)."""
    return "1" if dimension == 3 else "Angstrom"


def spin_curvature_dipole(dimension: int) -> Unit:
    """Unit of a dipole of the spin Berry curvature: ħ/2 Å^(3−d)."""
    return _product_unit("hbar/2", "Angstrom", 3 - dimension)


def times_femtoseconds(unit: str) -> Unit:
    """Unit of what is given per relaxation time, times that time in fs."""
    return unit.removesuffix(_PER_FEMTOSECOND)  # type: ignore[return-value]


def _per_femtosecond(unit: str) -> Unit:
    return unit + _PER_FEMTOSECOND  # type: ignore[return-value]


def natural_conductivity(dimension: int) -> Unit:
    """Natural unit of a charge conductivity: e²/ħ Å^(2−d)."""
    return _NATURAL[dimension]


def spin_polarization(dimension: int) -> Unit:
    """Unit of a spin density per field: Pauli-normalised spins per volume and 1 eV/Å."""
    return _product_unit("hbar/2 V^-1", "Angstrom", 1 - dimension)


def operator_density(dimension: int) -> Unit:
    """Unit of the density of an operator per field, in units of the operator itself."""
    return _product_unit("V^-1", "Angstrom", 1 - dimension)


def torque(dimension: int) -> Unit:
    """Unit of a torque per volume and field: eV Å^(−d) for eE of 1 eV/Å."""
    return _product_unit("e", "Angstrom", 1 - dimension)


def spin_generation(dimension: int) -> Unit:
    """Unit of the torque density Tr t ρ_E per field: half of that of `torque`, as s is σ."""
    return _product_unit("e/2", "Angstrom", 1 - dimension)


def spin_current(dimension: int) -> Unit:
    """Unit of the equilibrium spin current ħJ: eV Å^(1−d)."""
    return _product_unit("eV", "Angstrom", 1 - dimension)


def spin_transfer(dimension: int) -> Unit:
    """Unit of a spin density, ħ Å^(−d), per eE (eV/Å) and gradient of the exchange energy."""
    return _product_unit("hbar eV^-2", "Angstrom", 2 - dimension)


def spin_transfer_torque(dimension: int) -> Unit:
    """Unit of a torque density, eV Å^(−d), per eE and gradient of the exchange energy."""
    return _product_unit("eV^-1", "Angstrom", 2 - dimension)


def density(dimension: int) -> Unit:
    """Unit of a number density."""
    return _quotient_unit("1", "Angstrom", dimension)


def density_of_states(dimension: int) -> Unit:
    """Unit of a density of states."""
    return _quotient_unit("1/eV", "Angstrom", dimension)


def ratio() -> Unit:
    """Unit of a ratio of two responses of the same kind."""
    return "1"


def add_family(family: Mapping[str, float]) -> None:
    """Make the units of a new kind of quantity known.

    Args:
        family: how many of each unit one natural unit (ħ = e = 1, Å, eV) is, the unit of results
            first: {"e^3/hbar^2 Angstrom": 1.0, "e^3/hbar^2 nm": 0.1}.
    Raises:
        ValueError: a unit is known already, with another value, or its value is not positive.
    """
    for unit, factor in family.items():
        if not factor > 0:
            raise ValueError(
                f"Argument `family` must hold positive numbers, but {unit!r} does not."
            )
        if _plain_letters(unit) in _NAMES and _find_family(unit) != dict(family):
            raise ValueError(f"Argument `family` must hold new units, but {unit!r} is known.")
    _FAMILIES[next(iter(family))] = dict(family)
    _NAMES.update({_plain_letters(unit): unit for unit in family})


def per_natural(unit: str) -> float:
    """Number of `unit` in one natural unit (ħ = e = 1, Å, eV); 1 for units without family."""
    return _find_family(unit).get(unit, 1.0)


def conversion(start: str, end: str) -> float:
    """Factor that converts a value in `start` to a value in `end`.

    Raises:
        ValueError: `end` does not measure the same thing as `start`; the message lists what does.

    >>> round(conversion("hbar/2e S", "hbar/e e^2/h") * CONDUCTANCE, 6)
    3.141593
    """
    start, wanted = canonical(start), canonical(end)
    family = _find_family(start)
    if not isinstance(end, str) or wanted not in family:
        raise ValueError(
            f"Argument `units` must be one of {', '.join(map(repr, family))} "
            f"for a quantity in {start!r}, but is {end!r}."
        )
    return family[wanted] / family[start]


def is_convertible(start: str, end: str) -> bool:
    """Tell whether a value in `start` may be given in `end`."""
    return isinstance(end, str) and canonical(end) in _find_family(canonical(start))


def _find_family(unit: str) -> dict[str, float]:
    return next((family for family in _FAMILIES.values() if unit in family), {unit: 1.0})


# --- spellings ------------------------------------------------------------------------------------

_LETTERS = str.maketrans(
    {
        "ħ": "hbar",
        "ℏ": "hbar",
        "Å": "Angstrom",
        "\u212b": "Angstrom",  # the ångström sign
        "π": "pi",
        "Ω": "Ohm",
        "\u2126": "Ohm",  # the ohm sign
        "−": "-",
        "⁻": "^-",
        "¹": "1",
        "²": "^2",
        "³": "^3",
        **dict.fromkeys("$\\{}*·⋅× \t\xa0\u202f"),
    }
)

# Without spaces. The brackets tell (Ω cm)⁻¹ from Ω/cm.
_SIEMENS = {
    written.format(length): f"S/{length}"
    for length in ("cm", "m")
    for written in ("(Ohm{})^-1", "Ohm^-1{}^-1", "1/(Ohm{})", "S{}^-1")
}
_INVERSE = {"cm^-1": "1/cm", "m^-1": "1/m", "Angstrom^-1": "1/Angstrom"} | {
    f"{length}^-{d}": f"1/{length}^{d}" for length in ("cm", "m", "Angstrom") for d in (2, 3)
}


def canonical(unit: str) -> Any:
    """Return the package's name of a unit, from the ways in which it is written and typeset.

    A unit that is not known is returned as it is.

    >>> canonical("(hbar/2e) S/m"), canonical("(ħ/e) (Ω cm)⁻¹"), canonical("cm^-3")
    ('hbar/2e S/m', 'hbar/e S/cm', '1/cm^3')
    """
    return _NAMES.get(_plain_letters(unit), unit) if isinstance(unit, str) else unit


def is_known(unit: object) -> bool:
    """Tell if a text is a unit of this package in its own spelling."""
    return isinstance(unit, str) and canonical(unit) == unit and _plain_letters(unit) in _NAMES


def _plain_letters(unit: str) -> str:
    """A unit in ASCII, without spaces, brackets and mathtext."""
    text = unit.translate(_LETTERS).replace("^-^", "^-")
    for written, name in _SIEMENS.items():
        text = text.replace(written, name)
    return _INVERSE.get(text, text).replace("(", "").replace(")", "")


_NAMES = {_plain_letters(unit): unit for family in _FAMILIES.values() for unit in family}
