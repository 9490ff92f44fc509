"""A quantity whose axes do not fit its observable is refused before the sum."""

import pytest

import jaxspin as js
from jaxspin.integration.problem import Problem
from jaxspin.quantities.axes import FIELD, FLOW
from jaxspin.quantities.charge import ANOMALOUS_HALL, CARRIER_DENSITY
from jaxspin.responses import compute as room

CHERN, GRID, LEVELS = js.models.QiWuZhang(A=1.0, m=-1.0), js.Grid((6, 6)), js.Levels(0.0)


@pytest.mark.parametrize(
    ("quantities", "found", "wanted"),
    [
        (ANOMALOUS_HALL.replace(axes=(FLOW,)), 4, 2),
        (CARRIER_DENSITY.replace(axes=(FLOW, FIELD)), 1, 4),
        ((ANOMALOUS_HALL, CARRIER_DENSITY.replace(axes=(FLOW,))), 5, 6),
    ],
    ids=["too few", "too many", "second"],
)
def test_axes_that_do_not_fit_are_refused_before_the_sum(quantities, found, wanted, monkeypatch):
    """Negative control: the right axes reach the sum."""

    def sum_up(*_):
        raise RuntimeError("summed")

    monkeypatch.setattr(room, "integrate", sum_up)
    with pytest.raises(ValueError, match=f"{found} in 2 dimensions, but .* have {wanted}"):
        room.compute(Problem(quantities, CHERN, GRID, LEVELS))
    with pytest.raises(RuntimeError, match="summed"):
        room.compute(Problem((ANOMALOUS_HALL, CARRIER_DENSITY), CHERN, GRID, LEVELS))
