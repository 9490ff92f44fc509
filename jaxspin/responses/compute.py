"""From a problem to its responses: the checks, the sum, and the record of each quantity."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Array

from jaxspin import units
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.identity import code_is_fixed
from jaxspin.engine.programs import known_by_value
from jaxspin.engine.small_matrices import as_arrays, on_device
from jaxspin.integration.checks import check_splitting
from jaxspin.integration.error_estimates import COARSER_MESHES
from jaxspin.integration.integrate import Sums, integrate
from jaxspin.integration.problem import Problem, Run
from jaxspin.integration.resolution import compare_groups, include_unresolved
from jaxspin.quantities.quantity import Quantity
from jaxspin.responses.origin import Origin, record_origin
from jaxspin.responses.response import Response
from jaxspin.symmetry.groups import group
from jaxspin.symmetry.operations import Operation
from jaxspin.symmetry.symmetric import Symmetric


def compute(problem: Problem, run: Run = Run()) -> tuple[Response, ...]:  # noqa: B008  (immutable)
    """The responses of a problem, one for each of its quantities, then those beside.

    Returns:
        Responses with axes (temperature?, mu, *axes of the quantity), in the unit of the quantity.
    Raises:
        ValueError: for bad input, named before the sum starts; for a checkpoint of another sum,
            with the parameter that differs; where the sum is not finite, with the k.
        RuntimeError: of several processes one has died (docs/running.md).

    >>> import jaxspin as js
    >>> from jaxspin.quantities.charge import CARRIER_DENSITY
    >>> model, mesh = js.models.QiWuZhang(A=1.0, m=-1.0), js.Grid((8, 8))
    >>> (density,) = compute(Problem(CARRIER_DENSITY, model, mesh, js.Levels(0.0)))
    >>> print(density.value, density.units)
    [1.] 1/Angstrom^2
    """
    with code_is_fixed():
        return _compute_responses(problem.check(), run)


def _compute_responses(problem: Problem, run: Run) -> tuple[Response, ...]:
    _check_components(problem)
    sums = include_unresolved(integrate(problem, run), problem)
    check_splitting(sums.smallest_splitting, problem.degeneracy)
    info = {
        "smallest_splitting": sums.smallest_splitting,
        "degeneracy_tolerance": getattr(problem.degeneracy, "tolerance", 0.0),
        **compare_groups(sums, problem),
        "precision": 8 * sums.value.dtype.itemsize,
        **_origin_of_error(sums),
    }
    if problem.model.lattice is not None:
        info["external_terms"] = problem.model.external_terms
    origin = record_origin(
        model=problem.model,
        mesh=problem.mesh,
        levels=problem.levels,
        degeneracy=problem.degeneracy,
    )
    pairs = zip(problem.all_quantities, _split_sums(sums, problem), strict=True)
    numbers = [_in_unit(quantity, part, problem) for quantity, part in pairs]
    known = {name: as_arrays(value)[1][0] for name, value in info.items()}
    numbers, known = on_device((numbers, known))
    info = {name: known[name] for name in info}  # JAX sorts the keys
    build = partial(_build_response, problem, info=info, origin=origin, sums=sums)
    return tuple(map(build, problem.all_quantities, numbers))


def _in_unit(quantity: Quantity, sums: Sums, problem: Problem) -> tuple[Array, Array]:
    """Value and error of one quantity, of its shape and in its unit."""
    dimension = problem.model.dimension
    shape = (*problem.levels.shape, *quantity.shape(dimension))
    factor = units.per_natural(quantity.unit(dimension))
    signed = quantity.sign * factor
    xp, (value, error) = as_arrays(sums.value, sums.error)
    # The error of the worst component stands for all: that of one alone can be small by chance.
    error = xp.broadcast_to(xp.max(error, axis=-1, keepdims=True), error.shape)
    return value.reshape(shape) * signed, error.reshape(shape) * factor


def _build_response(
    problem: Problem,
    quantity: Quantity,
    numbers: tuple[Array, Array],
    *,
    info: Mapping,
    origin: Origin,
    sums: Sums,
) -> Response:
    """Value and error of one quantity with its axes, unit and texts."""
    dimension, levels = problem.model.dimension, problem.levels
    unit: Any = quantity.unit(dimension)  # a user's quantity may have its own
    value, error = numbers
    return Response(
        value=value,
        error=error,
        levels=levels,
        info=dict(info),
        axes=(*levels.axes, *(axis.name for axis in quantity.axes)),
        units=unit,
        refinement=sums.refinement,
        name=quantity.name,
        symbol=quantity.symbol,
        formula=quantity.formula,
        source=quantity.source,
        sign=quantity.sign,
        allowed=_describe_form(quantity, problem.mesh, dimension),
        origin=origin,
    )


def _describe_form(quantity: Quantity, mesh, dimension: int) -> str:
    """The components that the group of a reduced mesh allows; empty for any other mesh."""
    if not isinstance(mesh, Symmetric) or not quantity.axes:
        return ""
    return _find_form(quantity, mesh.operations, dimension)


@partial(known_by_value, capacity=32)
def _find_form(quantity: Quantity, operations: tuple[Operation, ...], dimension: int) -> str:
    return str(group(operations).allowed(quantity, dimension))


def _origin_of_error(sums: Sums) -> dict[str, Any]:
    """Number of coarser meshes that were compared, or how far an adaptive mesh went."""
    if sums.refinement is None:
        return {COARSER_MESHES: sums.compared}
    return {"points": sums.refinement.points, "converged": sums.refinement.converged}


def _check_components(problem: Problem) -> None:
    """Check before the sum that the quantities have axes for the components of their observables.

    Raises:
        ValueError: they have axes for another number of components.
    """
    dimension, several, weights = problem.model.dimension, problem.all_quantities, problem.weights
    wanted = sum(quantity.size(dimension) for quantity in several)
    independent = math.prod(weights.sea.shape[:-2])
    found = independent if weights.expansion is None else len(weights.expansion)
    if wanted != found:
        axes = " and ".join(str([axis.name for axis in quantity.axes]) for quantity in several)
        raise ValueError(
            "Argument `quantities` must have axes for the components of their observables, "
            f"{found} in {dimension} dimensions, but {axes} have {wanted}."
        )


@evaluate_eagerly()
def _split_sums(sums: Sums, problem: Problem) -> list[Sums]:
    """The components of each quantity, which the sums have end to end."""
    sizes = [quantity.size(problem.model.dimension) for quantity in problem.all_quantities]
    edges = np.cumsum(sizes)[:-1]
    xp, arrays = as_arrays(sums.value, sums.error)
    values, errors = (xp.split(array, edges, axis=-1) for array in arrays)
    rest = (sums.smallest_splitting, sums.compared, sums.refinement)
    return [Sums(v, e, *rest) for v, e in zip(values, errors, strict=True)]
