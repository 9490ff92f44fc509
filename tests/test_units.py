"""Units: constants and conversions, against numbers from elsewhere."""

import math

import numpy as np
import pytest
import scipy.constants as si

from jaxspin import units


def test_constants_are_those_of_codata():
    assert pytest.approx(si.physical_constants["Boltzmann constant in eV/K"][0]) == units.BOLTZMANN
    assert pytest.approx(si.e**2 / si.hbar, rel=1e-12) == units.CONDUCTANCE
    magneton = si.physical_constants["Bohr magneton"][0]
    natural = magneton * si.hbar / si.e / si.e * 1e20  # from J/T to (e/ħ) eV Å²
    assert pytest.approx(natural, rel=1e-6) == units.BOHR_MAGNETON


@pytest.mark.parametrize(
    ("unit", "natural"),
    [
        ("S/m", 2434134.805787947),
        ("S/cm", 24341.34805787947),
        ("hbar/2e S/m", 2434134.805787947),
        ("hbar/e S/m", 1217067.4028939735),
        ("hbar/e S/cm", 12170.674028939735),
        ("S", 2.434134805787947e-4),
        ("hbar/2e S", 2.434134805787947e-4),
        ("e^2/h", 2 * math.pi),
        ("hbar/2e e^2/h", 2 * math.pi),
        ("hbar/e e^2/h", math.pi),
        ("e/8pi", 4 * math.pi),
        ("e/4pi", 2 * math.pi),
        ("e/2pi", math.pi),
    ],
)
def test_natural_unit(unit, natural):
    """One per Å in three dimensions, a pure number in two."""
    assert units.per_natural(unit) == pytest.approx(natural, rel=1e-11)


def test_conductance_quantum():
    assert units.conversion("e^2/h", "S") == pytest.approx(3.874045865e-5, rel=1e-9)


def test_spin_conductances_of_one_pair_of_bands():
    """(ħ/e)(e²/h) = e/2π = 4 e/8π."""
    assert units.conversion("hbar/e e^2/h", "e/2pi") == pytest.approx(1.0)
    assert units.conversion("hbar/e e^2/h", "e/8pi") == pytest.approx(4.0)
    assert units.conversion("hbar/e S", "hbar/2e S") == pytest.approx(2.0)


@pytest.mark.parametrize("dimension", [2, 3])
def test_default_units_are_of_their_family(dimension):
    for unit in (units.charge_conductivity(dimension), units.spin_conductivity(dimension)):
        expected = units.CONDUCTANCE * (1e10 if dimension == 3 else 1.0)
        assert units.per_natural(unit) == pytest.approx(expected)
        assert units.conversion(unit, unit) == 1.0


@pytest.mark.parametrize("family", units._FAMILIES.values(), ids=units._FAMILIES.keys())
def test_conversions_go_there_and_back(family):
    for start in family:
        for end in family:
            there, back = units.conversion(start, end), units.conversion(end, start)
            np.testing.assert_allclose(there * back, 1, rtol=1e-14)


@pytest.mark.parametrize(
    ("start", "end"),
    [("S", "S/m"), ("S", "hbar/e S"), ("hbar/2e S", "hbar/e S/cm"), ("S", "furlong")],
)
def test_no_conversion_between_families(start, end):
    """Two dimensions never turn into three, charge never into spin."""
    with pytest.raises(ValueError, match=r"Argument `units` must be one of .*but is"):
        units.conversion(start, end)
