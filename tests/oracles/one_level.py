"""Results at one level, without the axis that it has in every result."""

import equinox as eqx
import jax

import jaxspin as js
from jaxspin import spin_transfer


def at_first_level(found):
    """A set of responses with the first Fermi energy alone, its axis taken off."""
    is_response = lambda x: isinstance(x, js.Response)  # noqa: E731
    take = lambda x: _take_first(x) if is_response(x) else x  # noqa: E731
    found = jax.tree.map(take, found, is_leaf=is_response)
    if isinstance(found, spin_transfer.SpinTransferTorque):
        found = eqx.tree_at(_arrays_of_levels, found, replace_fn=lambda x: x[0])
    return found


def _take_first(response: js.Response) -> js.Response:
    assert response.axes[0] == "mu"
    value, error, axes = response.value[0], response.error[0], response.axes[1:]
    return response.replace(value=value, error=error, axes=axes)


def _arrays_of_levels(found: spin_transfer.SpinTransferTorque) -> list:
    parts = (found.bare, found.dressed)
    across = [(part.gradient_error_across, part.homogeneous_error_across) for part in parts]
    return [found.kernel, *(x for pair in across for x in pair)]
