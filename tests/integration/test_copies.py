"""Arrays of a user are copied at the door: changing them afterwards changes nothing."""

import jax
import numpy as np
import pytest

import jaxspin as js


def aligned(values) -> np.ndarray:
    """An array at an address whose memory JAX shares rather than copies."""
    values = np.asarray(values)
    raw = np.empty(values.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array = raw[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    array[...] = values
    return array


CASES = {
    "mu": (js.Levels, [0.1, 0.2]),
    "temperature": (lambda x: js.Levels(0.0, x), [100.0, 200.0]),
    "parameter": (lambda x: js.models.QiWuZhang(A=1.0, m=x), -1.0),
    "scale of a mesh": (lambda x: js.Plane(x, 8, 8), [0.1, 0.2]),
    "cutoff of a mesh": (lambda x: js.Disk(x, 8, 8), 0.1),
    "shift of a mesh": (lambda x: js.Grid((8, 8), shift=x), [0.1, 0.2]),
    "path": (lambda x: js.Path(x, ("a", "b")), [[0.0, 0.0], [1.0, 1.0]]),
    "data": (lambda x: js.fitting.Data(x, 0.1, "yx", mu=0.1, units="e^2/h"), [0.5]),
    "disorder": (js.ScalarDisorder, 0.1),
    "matrices of disorder": (js.MatrixDisorder, np.eye(2, dtype=complex)[None]),
    "spin": (
        lambda x: js.models.WithSpin(js.models.QiWuZhang(A=1.0, m=-1.0), x),
        np.array(js.PAULI[1:]),
    ),
    "kept at": (lambda x: js.LowestBands(1, at=x), [0.1, 0.2]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_user_changes_afterwards_changes_nothing(case):
    make, values = CASES[case]
    array = aligned(values)
    made, expected = make(array), make(np.array(values))
    array += 1
    for left, right in zip(jax.tree.leaves(made), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(left, right)


def test_levels_of_a_result_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        js.Levels([0.1, 0.2]).mu[0] = 1.0
