"""Units: constants and conversions, against numbers from elsewhere."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.constants as si

import jaxspin as js
from jaxspin import units
from jaxspin.plot.texts import typeset_unit

DOCS = Path(__file__).parent.parent / "docs"
ALL = [unit for family in units._FAMILIES.values() for unit in family]


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


# --- other quantities and dimensions --------------------------------------------------------------

ELEMENTARY, JOULE = si.e, si.e  # C, and J in one eV


@pytest.mark.parametrize(
    ("start", "end", "factor"),
    [
        # Spin generated per field: (e/2) Å^(1-d) is half of e Å^(1-d), and e Å⁻² is 16.02 C/m².
        ("e/2 Angstrom^-2", "e Angstrom^-2", 0.5),
        ("e/2 Angstrom^-2", "C/m^2", 0.5 * ELEMENTARY * 1e20),
        ("e Angstrom^-1", "C/m", ELEMENTARY * 1e10),
        ("e/2", "C", 0.5 * ELEMENTARY),
        ("eV Angstrom^-2", "J m^-2", JOULE * 1e20),
        ("eV Angstrom^-1", "eV m^-1", 1e10),
        ("eV", "J", JOULE),
        ("1/(eV Angstrom^3)", "1/(eV cm^3)", 1e24),
        ("1/(eV Angstrom^2)", "1/(J m^2)", 1e20 / JOULE),
        ("1/Angstrom", "1/cm", 1e8),
        ("1/Angstrom^3", "1/m^3", 1e30),
        ("hbar eV^-2 Angstrom", "hbar/2 eV^-2 m", 2e-10),
        ("hbar/2 V^-1", "hbar V^-1", 0.5),
    ],
)
def test_units_of_densities_and_torques(start, end, factor):
    assert units.conversion(start, end) == pytest.approx(factor, rel=1e-14)


def test_each_unit_is_in_one_family():
    """Otherwise a conversion would depend on the order of the families."""
    assert len(ALL) == len(set(ALL)) == len(units._NAMES)


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize(
    "name",
    [
        "spin_polarization",
        "torque",
        "spin_generation",
        "spin_current",
        "spin_transfer",
        "spin_transfer_torque",
        "density",
        "density_of_states",
    ],
)
def test_every_default_unit_is_known(name, dimension):
    unit = getattr(units, name)(dimension)
    assert units.is_known(unit)
    assert "^0" not in unit


# --- spellings ------------------------------------------------------------------------------------


def test_units_as_they_are_printed():
    """Figures, tables in docs/conventions.md, the docs, and what the field writes."""
    for unit in ALL:
        assert units.canonical(unit) == units.canonical(typeset_unit(unit)) == unit
        assert units.is_known(unit)
    assert not units.is_known(typeset_unit("hbar/e S/m"))
    page = (DOCS / "conventions.md").read_text(encoding="utf-8")
    table = page[page.index("| quantity |") : page.index("What the unit strings")]
    named = set(re.findall(r'`"(.*?)"`', table))
    assert len(named) > 30
    for text in named:
        for d in (1, 2, 3):
            put = text.replace("^(1-d)", f"^{1 - d}").replace("^(d-1)", f"^{d - 1}")
            put = re.sub(r" ?\w+\^0$|\^1$", "", put.replace("^d", f"^{d}").replace("^1)", ")"))
            assert units.is_known(put.replace("C/m^0", "C").removesuffix("/")), (text, put)
    for text in re.findall(r'\.to\("(.*?)"\)', page):
        assert units.is_known(units.canonical(text)), text


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("(hbar/e) S/cm", "hbar/e S/cm"),
        ("(ħ/e) S/cm", "hbar/e S/cm"),
        ("(ħ/2e) S/m", "hbar/2e S/m"),
        ("ħ/(2e) S/m", "hbar/2e S/m"),
        (r"$(\hbar/e)$ S/cm", "hbar/e S/cm"),
        (r"$\frac$ S/cm", r"$\frac$ S/cm"),  # not one of ours: as it is
        ("(hbar/e) (Ohm cm)^-1", "hbar/e S/cm"),
        ("(ħ/e) Ω⁻¹ cm⁻¹", "hbar/e S/cm"),
        ("ħ/e S cm⁻¹", "hbar/e S/cm"),
        ("1/(Ω m)", "S/m"),
        ("(ħ/e)(e²/h)", "hbar/e e^2/h"),
        ("e²/h", "e^2/h"),
        ("e^2/h ", "e^2/h"),
        ("e/8π", "e/8pi"),
        ("e Å⁻²", "e Angstrom^-2"),
        ("cm⁻³", "1/cm^3"),
        ("Å^-2", "1/Angstrom^2"),
        ("Ω cm", "Ω cm"),  # a resistivity is none
        ("Ω/cm", "Ω/cm"),
        ("s/cm", "s/cm"),
    ],
)
def test_spellings(written, name):
    assert units.canonical(written) == name


def test_a_response_takes_other_spellings():
    model, mesh = js.models.QiWuZhang(A=1.0, m=-1.0), js.Grid((8, 8))
    hall = js.anomalous_hall(model, mesh, js.Levels(0.0)).to("e²/h")
    assert hall.units == "e^2/h"
    assert hall.value[0, 1, 0] == pytest.approx(1.0, abs=0.1)
    torque = js.torque_density(model, mesh, js.Levels(0.0))
    assert torque.to("C/m").units == "C/m"
    assert torque.to("e Å^-1").to(torque.units).units == torque.units


@pytest.mark.parametrize("wrong", [5, None, ["S/cm"], b"S/cm", ""])
def test_a_unit_is_a_text(wrong):
    with pytest.raises(ValueError, match=r"Argument `units` must be one of 'S/m', .*but is"):
        units.conversion("S/m", wrong)


@pytest.mark.parametrize(
    ("family", "match"),
    [
        ({"S/cm": 2.0}, "new units, but 'S/cm' is known"),
        ({"e^3 per furlong": 0.0}, "positive numbers, but 'e\\^3 per furlong' does not"),
    ],
)
def test_a_family_of_units_is_new_and_positive(family, match):
    with pytest.raises(ValueError, match=match):
        units.add_family(family)
    assert not units.is_known("e^3 per furlong")
