"""Sensitivity: the derivatives of a response with respect to parameters of a model."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxspin.engine.deferred import defer_import
from jaxspin.engine.programs import program
from jaxspin.engine.validate import check_function, check_type
from jaxspin.fitting.parameters import (
    ParameterCoordinates,
    Parameters,
    make_coordinates,
    numbers_of,
)
from jaxspin.models.base import Model
from jaxspin.responses.response import Response

if TYPE_CHECKING:
    import xarray
else:
    xarray = defer_import("xarray")


def sensitivity(
    quantity: Callable[[Model], Response], model: Model, names: Sequence[str] | None = None
) -> "xarray.DataArray":
    """∂σ/∂p of a response with respect to parameters of a model, labelled.

    `table * table.value` are derivatives with respect to relative changes, to be compared.

    Args:
        quantity: a response of a model, `lambda model: js.anomalous_hall(model, mesh, levels)`.
        model: where to differentiate.
        names: of parameters, as in `Parameters`; None takes all real numbers of the model.
    Returns:
        Axes ("parameter", *axes of the response), in units of the response per eV Å^n of the
        parameter. The coordinate "value" holds the parameters.
    Raises:
        ValueError: an unknown name; no model; a quantity that is no function or no Response.

    >>> import jaxspin as js
    >>> model = js.models.QiWuZhang(A=1.0, m=-1.0)
    >>> levels = js.Levels(0.0, 300.0)
    >>> table = js.sensitivity(
    ...     lambda model: js.anomalous_hall(model, js.Grid((16, 16)), levels), model, ["A", "m"]
    ... )
    >>> table.dims, table.parameter.values.tolist()
    (('parameter', 'mu', 'flow', 'field'), ['A', 'm'])
    """
    check_type("model", model, Model, "a Model")
    check_function("quantity", quantity, "a function of a model")
    chosen = Parameters(model, tuple(numbers_of(model)) if names is None else names)
    place = make_coordinates(chosen.start, None)
    response, slopes = _differentiate_response(quantity, chosen, place)
    labels = response.to_xarray().coords
    return xarray.DataArray(
        np.asarray(slopes),
        dims=("parameter", *response.axes),
        coords={
            "parameter": list(place.names),
            "value": ("parameter", np.asarray(place.start)),
            **{axis: labels[axis] for axis in response.axes},
        },
        name=f"sensitivity of the {response.name}",
        attrs={"units": f"{response.units} per unit of the parameter"},
    )


@program
def _differentiate_response(
    quantity, chosen: Parameters, place: ParameterCoordinates
) -> tuple[Response, jax.Array]:
    def response_at(flat):
        response = quantity(chosen.model(place.to_tree(flat)))
        if not isinstance(response, Response):
            raise ValueError(
                "Argument `quantity` must return a Response, "
                f"but returns {type(response).__name__}."
            )
        return response.value, response

    along = lambda unit: jax.jvp(response_at, (place.start,), (unit,), has_aux=True)[1:]  # noqa: E731
    slopes, response = jax.vmap(along, out_axes=(0, None))(jnp.eye(place.start.size))
    return response, slopes
