"""Convergence of a response with its mesh: finer meshes until a tolerance is met."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.validate import (
    check_function,
    check_integer,
    check_number,
    check_type,
    shortened,
)
from jaxspin.integration.levels import Levels
from jaxspin.meshes.mesh import Ball, Disk, Grid, Mesh, Plane, Space
from jaxspin.models.base import Model
from jaxspin.responses.response import Response
from jaxspin.symmetry.symmetric import Symmetric, fixed_mesh


class Convergence(eqx.Module):
    """A response on meshes that grow, and what they say of its limit."""

    #: The response on the finest mesh, or its limit where `order` is not None, with its error.
    response: Response
    #: The response on each mesh, in one unit.
    steps: tuple[Response, ...]
    #: Number of k-points of each mesh that the sum over all of the domain has.
    points: tuple[int, ...] = eqx.field(static=True)
    #: Power of the spacing by which the differences fall, where all meshes agree in it.
    order: float | None = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    converged: bool = eqx.field(static=True)

    def __repr__(self) -> str:
        met = "converged" if self.converged else "not converged"
        rate = (
            "no rate, the value is that of the finest mesh"
            if self.order is None
            else f"order {self.order:.2f} in the spacing, the value is extrapolated"
        )
        return (
            f"Convergence of the {self.response.name}: {met} to {self.tolerance:g} with "
            f"{len(self.steps)} meshes of {self.points[0]:,} to {self.points[-1]:,} points, "
            f"error {self.relative_error:.2g} of the largest component; {rate}"
        )

    @property
    def relative_error(self) -> float:
        """The error in units of the largest component of its level, that of the worst level."""
        return float(np.max(relative_to_largest(self.response.error, self.response)))


@evaluate_eagerly()
def converge(
    function: Callable[..., Any],
    model: Model,
    mesh: Mesh | Symmetric,
    levels: Levels,
    *,
    tolerance: float,
    absolute: float = 0.0,
    max_points: int = 2_000_000,
    **keywords: Any,
) -> Convergence:
    """Compute a response on finer and finer meshes, until its error is below a tolerance.

    The numbers of nodes along each axis are 1, 2, 3, 4, 6, 8, 12, ... times those of `mesh`, so
    that every symmetry of the mesh is kept. The error is the larger of the estimate of the finest
    mesh and its difference from the one before. Where five meshes or more show one order p, the
    same to a tenth for the last four differences, which have one sign, the value is the limit

        R = R_N + (R_N - R_M) / ((N/M)^p - 1),

    N, M being nodes along an axis, and its error its distance from R_N, or what the last mesh
    changed in it if that is more. A metal at T = 0 on a grid shows no order: its differences are
    noise. `Adaptive` is for it.

    Args:
        function: a response, such as `js.spin_hall`, which is given `keywords` too.
        mesh: the coarsest mesh: Grid, Disk, Ball, Plane, Space, or a Symmetric of one.
        tolerance: relative to the largest component of each level.
        absolute: an error that is small enough whatever the tolerance, in the unit of the response.
            What is zero by symmetry meets no relative tolerance.
        max_points: no mesh has more points (before a reduction by symmetry).
    Raises:
        ValueError: a mesh that cannot grow, a tolerance that is not positive, an `absolute` below
            0, traced numbers, a function that gives several responses or takes other arguments.

    >>> import jaxspin as js
    >>> model = js.models.QiWuZhang(A=1.0, m=-1.0)
    >>> found = js.converge(js.anomalous_hall, model, js.Grid((6, 6)), js.Levels(0.0),
    ...                     tolerance=0.1)
    >>> found.converged, found.points
    (True, (36, 144, 324))
    """
    wanted = _Wanted(tolerance, absolute)
    _check_arguments(function, model, mesh, levels, wanted)
    _check_call(function, model, mesh, levels, keywords)
    compute = partial(_compute, function, model, levels=levels, keywords=keywords)
    found = _refine_meshes(compute, _growing_meshes(mesh, max_points), wanted)
    if not found.converged:
        _warn_of_points(found, max_points)
    return found


class _Wanted(NamedTuple):
    """The error that is small enough."""

    tolerance: float
    absolute: float

    def is_met(self, response: Response) -> bool:
        """True if every error is below one of both limits."""
        error = np.asarray(response.error)
        small = relative_to_largest(error, response) <= self.tolerance
        return bool(np.all(small | (error <= self.absolute)))


def _refine_meshes(compute: Callable, meshes: Sequence[Any], wanted: _Wanted) -> Convergence:
    """The response on one mesh after the other, until the tolerance is met."""
    steps: list[Response] = []
    sizes: list[int] = []
    limit = _Limit(None, None, False)
    for one in meshes:
        steps.append(compute(one))
        sizes.append(fixed_mesh(one).size)
        limit = _find_limit(steps, _MULTIPLES[: len(steps)], wanted)
        if limit.met:
            break
    response, order, met = limit
    return Convergence(response, tuple(steps), tuple(sizes), order, wanted.tolerance, met)


class _Limit(NamedTuple):
    """The response that the meshes say, the order they show, and whether it meets the tolerance."""

    response: Any
    order: float | None
    met: bool


def _warn_of_points(found: Convergence, max_points: int) -> None:
    warn_user(
        f"The tolerance {found.tolerance:g} was not met with {found.points[-1]:,} points, of at "
        f"most {max_points:,}: the error is {found.relative_error:.2g}. A larger `max_points` or a "
        f"positive temperature helps, or Adaptive(mesh, rtol).{_describe_zero(found)}"
    )


def _describe_zero(found: Convergence) -> str:
    """What to do if a level has an error above all its components: it may vanish by symmetry."""
    if found.relative_error < 1:
        return ""
    worst = float(np.max(np.asarray(found.response.error)))
    return (
        " A level has no component above its error; if the response is zero by symmetry, "
        f"`absolute={worst:.0e}` ends it ({found.response.units})."
    )


def _growing_meshes(mesh: Any, max_points: int) -> list[Any]:
    check_integer("max_points", max_points, 1)
    meshes = [_multiply_mesh(mesh, times) for times in _MULTIPLES]
    allowed = [one for one in meshes if fixed_mesh(one).size <= max_points]
    if not allowed:
        raise ValueError(
            f"Argument `max_points` must be at least the {fixed_mesh(mesh).size:,} points of "
            f"`mesh`, but is {max_points}."
        )
    return allowed


_MULTIPLES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
# Orders of the last differences that agree to this part are one order.
_ALIKE = 0.1
_COUNTS = ("shape", "radial", "polar", "angular", "azimuthal")


def _check_arguments(function, model, mesh, levels, wanted) -> None:
    check_function("function", function, "a response such as js.spin_hall")
    check_number("tolerance", wanted.tolerance, "a positive number", above=0)
    unit = "a number, at least 0, in the unit of the response"
    check_number("absolute", wanted.absolute, unit, at_least=0)
    inside = mesh.mesh if isinstance(mesh, Symmetric) else mesh
    growing = Grid | Disk | Ball | Plane | Space
    kinds = "a mesh (Grid, Disk, Ball, Plane, Space or a Symmetric of one)"
    check_type("mesh", inside, growing, kinds, "Adaptive(mesh, rtol) has a tolerance of its own.")
    if is_traced(model, mesh, levels):
        raise ValueError(
            "Argument `mesh` must be a fixed mesh inside jit, grad and vmap, but grows here with "
            "numbers that are not known there. Call converge outside, and differentiate on the "
            "mesh that it finds."
        )


def _check_call(function, model, mesh, levels, keywords) -> None:
    """What the function is called with is what it takes."""
    try:
        inspect.signature(function).bind(model, mesh, levels, **keywords)
    except TypeError as reason:
        named = ", ".join(["model", "mesh", "levels", *(f"{key}=..." for key in keywords)])
        raise ValueError(
            f"Argument `function` must be a response that takes ({named}), but {reason} of "
            f"{getattr(function, '__name__', shortened(function))}. What else it takes is given to "
            "`converge` by name."
        ) from None


def _multiply_mesh(mesh: Any, times: int) -> Any:
    """The mesh with so many times as many nodes along each axis."""
    if isinstance(mesh, Symmetric):
        return Symmetric(_multiply_mesh(mesh.mesh, times), mesh.operations)
    if isinstance(mesh, Grid):
        return Grid([times * n for n in mesh.shape], mesh.shift)
    names = {field.name for field in dataclasses.fields(mesh)} & set(_COUNTS)
    return dataclasses.replace(mesh, **{name: times * getattr(mesh, name) for name in names})


def _compute(function, model, mesh, *, levels, keywords) -> Response:
    response = function(model, mesh, levels, **keywords)
    advice = "Write a function that returns one of its fields: lambda *a, **k: f(*a, **k).field."
    check_type("function", response, Response, "one that returns a single Response", advice)
    return response


def _find_limit(steps: Sequence[Response], times: Sequence[int], wanted: _Wanted) -> _Limit:
    """What the meshes say of the limit."""
    last = steps[-1]
    values = [np.asarray(step.value) for step in steps]
    if len(steps) == 1:
        return _Limit(last, None, False)
    change = np.abs(values[-1] - values[-2])
    error = np.maximum(np.asarray(last.error), np.max(change, axis=_of_level(last), keepdims=True))
    plain = last.replace(error=jnp.asarray(np.broadcast_to(error, values[-1].shape)))
    if wanted.is_met(plain):
        return _Limit(plain, None, True)
    order = _find_order(values, times)
    if order is None:
        return _Limit(plain, None, False)
    limits = [
        b + (b - a) / ((n / m) ** order - 1)
        for (a, b), (m, n) in zip(
            zip(values[-3:-1], values[-2:], strict=True),
            zip(times[-3:-1], times[-2:], strict=True),
            strict=True,
        )
    ]
    error = np.maximum(np.abs(limits[1] - values[-1]), np.abs(limits[1] - limits[0]))
    error = np.broadcast_to(np.max(error, axis=_of_level(last), keepdims=True), error.shape)
    found = last.replace(value=jnp.asarray(limits[1]), error=jnp.asarray(error))
    return _Limit(found, order, wanted.is_met(found))


def _find_order(values: Sequence[Float[np.ndarray, "..."]], times: Sequence[int]) -> float | None:
    """The power of the spacing by which the last four differences fall; None if not one."""
    if len(values) < 5:
        return None
    changes = [b - a for a, b in zip(values[-5:-1], values[-4:], strict=True)]
    worst = np.unravel_index(int(np.argmax(np.abs(changes[-1]))), changes[-1].shape)
    some = np.array([change[worst] for change in changes])
    if np.any(some == 0) or np.ptp(np.sign(some)) != 0:
        return None
    last = times[-5:]
    found = [_solve_order(some[i] / some[i + 1], last[i : i + 3]) for i in range(3)]
    orders = [order for order in found if order is not None]
    if len(orders) < 3 or np.ptp(orders) > _ALIKE * orders[-1]:
        return None
    return orders[-1]


def _solve_order(ratio: float, times: Sequence[int]) -> float | None:
    """p of (m^-p - n^-p)/(n^-p - o^-p) = ratio for three meshes m < n < o, by bisection."""
    m, n, o = times[:3]
    excess = lambda p: (m**-p - n**-p) / (n**-p - o**-p) - ratio  # noqa: E731
    low, high = 0.05, 40.0
    if excess(low) > 0 or excess(high) < 0:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return (low + high) / 2


def _of_level(response: Response) -> tuple[int, ...]:
    """The axes of the components, behind those of the levels."""
    return tuple(range(len(response.levels.shape), response.value.ndim))


def relative_to_largest(distance, response: Response) -> np.ndarray:
    """A distance, such as an error, in units of the largest component of its level."""
    axes = _of_level(response)
    size = np.max(np.abs(np.asarray(response.value)), axis=axes, keepdims=True)
    tiny = np.finfo(size.dtype).tiny
    return np.asarray(distance) / np.maximum(size, tiny)
