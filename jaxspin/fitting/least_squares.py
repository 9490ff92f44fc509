"""`fit`: the parameters at which calculated numbers agree best with measured ones."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from jaxspin.engine.checkpoint import (
    CheckpointLike,
    PartialSums,
    as_checkpoint,
    describe,
    round_to_scale,
)
from jaxspin.engine.identity import operations
from jaxspin.engine.progress import count_steps
from jaxspin.fitting.minimise import LevenbergMarquardt, Method, check_method
from jaxspin.fitting.parameters import Interval, make_coordinates
from jaxspin.fitting.problem import (
    LeastSquaresProblem,
    Residuals,
    make_priors,
    make_problem,
    residuals_at,
)
from jaxspin.fitting.result import Fit, make_fit


def fit(
    residuals: Residuals,
    start: Any,
    *,
    bounds: Mapping[str, Interval] | None = None,
    priors: Mapping[str, tuple[Any, Any]] | None = None,
    method: Method = LevenbergMarquardt(),  # noqa: B008  (immutable)
    progress: bool | None = None,
    checkpoint: CheckpointLike = None,
) -> Fit:
    """Fit parameters p: minimise χ² = Σ r(p)² with r = (calculated − measured) / error.

    One step is compiled, once for each function `residuals`; once for any data of that shape where
    it is an `equinox.Module` with the data in its fields.

    Args:
        residuals: takes parameters as `start` gives them, returns an array or a pytree of arrays.
            `Data.residuals` makes them from measurements.
        start: numbers or arrays by name, or any pytree; for a model `Parameters(...).start`.
        bounds: (low, high) by name, None for an open end; "exchange[2]" is one element.
        priors: (mean, sigma) by name; each counts as one datum.
        method: `LevenbergMarquardt()`, `Gradient(...)` or `MultiStart(...)`.
        progress: show steps and misfit; None shows them where standard error is a terminal.
        checkpoint: a file from which the same call goes on after an interruption, or with more
            steps; it is removed at the end. Ctrl-C ends a fit with what it has.
    Returns:
        `Fit`, with a warning for each combination of parameters that the data do not determine.
    Raises:
        ValueError: fewer data than parameters; residuals or derivatives at the start that are not
            finite; a start outside of the bounds; an unknown name in `bounds` or `priors`; a
            checkpoint of another fit.

    >>> import jaxspin as js
    >>> x, measured = np.array([0.0, 1.0, 2.0]), np.array([1.1, 2.9, 5.2])
    >>> line = lambda p: (p["offset"] + p["slope"] * x - measured) / 0.1
    >>> fit = js.fit(line, {"offset": 0.5, "slope": 1.0})
    >>> fit.names, fit.values.round(3).tolist(), fit.standard_errors.round(3).tolist()
    (('offset', 'slope'), [1.017, 2.05], [0.091, 0.071])
    """
    check_method(method)
    place = make_coordinates(start, bounds)
    known = make_priors(place.names, priors)
    problem, data = make_problem(residuals, place, known)
    run = PartialSums(as_checkpoint(checkpoint), lambda: _checkpoint_identity(problem, method))
    with count_steps(f"fitting {data} data", progress) as report:
        outcome = method(problem, place.from_parameters(place.start), run, "fit", report)
    if outcome.converged and not outcome.interrupted:
        run.finish()
    return make_fit(problem, outcome)


def _checkpoint_identity(problem: LeastSquaresProblem, method: Method) -> dict[str, str]:
    """Settings that a checkpoint must share; more steps or another tolerance may go on from it."""
    place = problem.coordinates
    priors = problem.priors
    at_start = np.asarray(residuals_at(problem, place.start, code=problem.code))
    scale = max(1.0, np.max(np.abs(at_start)))  # 1 is the error of a datum
    numbers = {"start": place.start, "low": place.low, "high": place.high}
    return {
        "jaxspin": version("jaxspin"),
        "parameters": ", ".join(place.names),
        "residuals": operations(problem.residuals, place.to_tree(place.start)),
        **describe(**{"residuals at the start": round_to_scale(at_start, scale)}),
        **method.describe_method(problem),
        **describe(**numbers, prior=priors.where, mean=priors.mean, sigma=priors.sigma),
    }
