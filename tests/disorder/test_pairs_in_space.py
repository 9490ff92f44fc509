"""Kramers pairs in three dimensions: the rows of Bi2Se3, with and without warping.

The numbers of disorder_operators.json come from another code and from the Kubo-Streda formula
summed over all k, which agree to 3e-10 (6e-8 for Drude) and are written with 12 decimals.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from disorder_table import TABLE, TAU_SPIN

import jaxspin as js
from jaxspin import units
from jaxspin.disorder.contributions import sum_mechanisms
from jaxspin.disorder.fermi_states import as_vector, find_states
from jaxspin.disorder.operators import as_operators
from jaxspin.disorder.results import ALWAYS_MEASURED

MU = 0.35  # eV
NAMES = {"drude": "drude", "extrinsic": "ext", "side_jump": "sj", "skew": "sk"}


def bi2se3(name):
    model = js.models.TopologicalInsulator.bi2se3(warping="warped" in name)
    flips = 0.5 if "magnetic" in name else 0.0
    return model, js.MatrixDisorder(np.array([np.eye(4), *(flips * TAU_SPIN)]))


@eqx.filter_jit
def parts_of(model, shell, disorder):
    """The mechanisms, and the Fermi-surface part of the sea, of current and spin currents."""
    measured = as_operators({"flow": "spin_current"}, model)
    operators = (ALWAYS_MEASURED[0], *measured.values())
    states = find_states(model, shell.find(model, MU)[0], operators)
    mixing = as_vector(states.interband_mixing(states.slopes)) * states.weight
    surface = jnp.tensordot(as_vector(states.operators), mixing, axes=((1, 2), (1, 2)))
    return sum_mechanisms(states, disorder.scattering(states)), surface


def largest_deviations(name, polar, azimuthal):
    """Of Drude, and of all that has order u0⁰, from the table."""
    model, disorder = bi2se3(name)
    parts, surface = parts_of(model, js.FermiShell(polar, azimuthal, reach=0.3), disorder)
    row = TABLE[name]
    off = {part: np.max(np.abs(getattr(parts, part) - np.array(row[key])))
           for part, key in NAMES.items()}  # fmt: skip
    drude = off.pop("drude")
    return drude, max(*off.values(), np.max(np.abs(surface - np.array(row["fsint"]))))


@pytest.mark.parametrize("name", ["ti_scalar", "ti_magnetic"])
def test_table(name):
    """160 rays: 1e-10 of the largest element, the conductivity; the rest to the digits kept."""
    drude, zero = largest_deviations(name, 20, 8)
    assert drude < 1e-10 * np.max(TABLE[name]["drude"])
    assert zero < 1e-12


@pytest.mark.study
@pytest.mark.parametrize(
    ("name", "azimuthal"),
    [("ti_scalar", 8), ("ti_magnetic", 8), ("ti_warped_scalar", 24), ("ti_warped_magnetic", 24)],
)
def test_table_with_many_rays(name, azimuthal):
    drude, zero = largest_deviations(name, 28, azimuthal)
    assert drude < 3e-12
    assert zero < 1e-12


@pytest.mark.study
@pytest.mark.filterwarnings("ignore:the sum over the Fermi sea")
def test_error_of_few_rays_is_at_least_the_true_one():
    """The public call; 12 x 8 rays leave 4e-6 in the conductivity."""
    model, disorder = bi2se3("ti_magnetic")
    shell = js.FermiShell(12, 8, reach=0.3)
    measure = {"flow": "spin_current"}
    found = js.disordered_response(model, shell, js.Levels(MU), disorder, measure=measure)
    row = TABLE["ti_magnetic"]
    for part, key in NAMES.items():
        flow, current = found.measured.flow[part], found[part].conductivity
        truth = np.array(row[key])
        of_spin = np.moveaxis(truth[3:].reshape(3, 3, 3), 1, 2)  # (flow, field, spin)
        for response, written in ((flow, of_spin), (current, truth[:3])):
            natural = response.value[0] / units.per_natural(response.units)
            error = response.error[0] / units.per_natural(response.units)
            assert np.all(np.abs(natural - written) <= error + 1e-12), part
    off = np.abs(found.drude.conductivity.value[0, 0, 0] - row["drude"][0][0])
    assert 1e-6 < off < 1e-5


@pytest.mark.study
def test_too_few_rays_are_noticed():
    """Negative control."""
    drude, _ = largest_deviations("ti_scalar", 6, 8)
    assert drude > 1e-4
