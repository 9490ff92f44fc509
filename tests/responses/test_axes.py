"""One order of axes: flow, fields, label of the flow; or what is generated, then the fields."""

import pytest

from jaxspin.quantities.charge import ANOMALOUS_HALL
from jaxspin.quantities.spin import EQUILIBRIUM_SPIN_CURRENT, TORQUE_DENSITY
from jaxspin.quantities.spin_hall import DEFINITIONS, PIECES
from jaxspin.responses.listed import RESPONSES

FLOWS = ("flow", "field", "second_field", "gradient", "spin", "orbital")
GENERATED = ("spin", "orbital", "field", "second_field", "gradient", "magnetization")


def are_in_order(*axes: str) -> bool:
    order = FLOWS if "flow" in axes else GENERATED
    return list(axes) == sorted(axes, key=order.index)


RECORDS = [
    ANOMALOUS_HALL,
    TORQUE_DENSITY,
    *EQUILIBRIUM_SPIN_CURRENT.values(),
    *DEFINITIONS.values(),
    *PIECES.values(),
    *(listed.quantity for listed in RESPONSES.values()),
]


@pytest.mark.parametrize("quantity", RECORDS, ids=lambda quantity: quantity.name)
def test_axes_come_in_one_order(quantity):
    """Those of disorder and spin transfer: test_temperatures_are_an_axis."""
    assert are_in_order(*(axis.name for axis in quantity.axes))


def test_another_order_is_noticed():
    assert not are_in_order("field", "spin")
    assert not are_in_order("flow", "spin", "field")
    assert are_in_order("spin", "field", "gradient", "magnetization")
