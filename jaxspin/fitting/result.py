"""Result of a fit: the best parameters, their uncertainties, and the steps to them."""

from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float

from jaxspin.engine.terminal import printable, warn_user
from jaxspin.engine.tolerances import UNDETERMINED
from jaxspin.fitting.minimise import Outcome
from jaxspin.fitting.problem import LeastSquaresProblem


class History(NamedTuple):
    """The steps of a fit."""

    #: χ² after each step.
    misfit: Float[np.ndarray, " s"]
    #: Standard errors to the optimum (Levenberg-Marquardt), or the largest slope of the loss.
    distance: Float[np.ndarray, " s"]
    #: The parameters after each step, columns as in `Fit.names`.
    parameters: Float[np.ndarray, "s n"]


class Fit(eqx.Module):
    """Fitted parameters with their uncertainties. It prints as a table.

    The covariance is that of a linear problem, (Jᵀ J)⁻¹ with J = ∂r/∂p at the optimum, for
    residuals in units of the errors of the data: these errors are taken as they are, and not scaled
    with χ². What the data do not determine has infinite errors, and what ended at a bound none
    (NaN); the errors of the others are then those at fixed bounds.
    """

    #: The best parameters, as `start` was given.
    parameters: Any
    #: The name of each number.
    names: tuple[str, ...]
    #: The best parameters, in the order of `names`.
    values: Float[np.ndarray, " n"]
    #: Covariance of the parameters, in the order of `names`.
    covariance: Float[np.ndarray, "n n"]
    #: Σ r², with the priors.
    chi2: float
    #: The residuals of the data, in the order of a flattened pytree.
    residuals: Float[np.ndarray, " m"]
    #: Data and priors less the parameters, or combinations of them, that the data determine.
    degrees_of_freedom: int
    #: The largest |∂(½χ²)/∂p| in units of the sizes of the parameters; those at a bound left out.
    gradient_norm: float
    #: Whether the optimum was reached, and how one knows.
    converged: bool
    reason: str
    #: Parameters that ended at a bound.
    at_bound: tuple[str, ...]
    #: Directions (of relative changes, unit length) that the data do not determine.
    undetermined: tuple[dict[str, float], ...]
    #: χ² reached from each start.
    minima: tuple[float, ...]
    history: History

    @property
    def standard_errors(self) -> Float[np.ndarray, " n"]:
        """The standard error of each parameter."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> Float[np.ndarray, "n n"]:
        """Correlation matrix of the parameters, from −1 to 1."""
        errors = self.standard_errors
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.covariance / np.outer(errors, errors)

    @property
    def reduced_chi2(self) -> float:
        """χ² per degree of freedom: about 1 ± √(2/degrees) where model and errors are right."""
        return self.chi2 / self.degrees_of_freedom if self.degrees_of_freedom else float("nan")

    def __repr__(self) -> str:
        width = max(map(len, self.names))
        rows = zip(self.names, self.values, self.standard_errors, strict=True)
        state = "converged" if self.converged else "NOT CONVERGED"
        return printable(
            "\n".join(
                [
                    f"fit of {len(self.names)} parameters to {len(self.residuals)} data",
                    f"  {state}: {self.reason}",
                    f"  χ² {self.chi2:.5g} of {self.degrees_of_freedom} degrees of freedom, "
                    f"reduced {self.reduced_chi2:.3g}; gradient {self.gradient_norm:.1g}",
                    *(
                        f"  {name:{width}s}  {self._format_line(name, *numbers)}"
                        for name, *numbers in rows
                    ),
                    *self._strongest_correlation(),
                ]
            )
        )

    __str__ = __repr__

    def _format_line(self, name: str, value: float, error: float) -> str:
        if name in self.at_bound:
            return f"{value:.6g} at a bound"
        if not 0 < error < np.inf:
            return f"{value:.6g} ± {error:.2g}"
        return f"{_round_to_error(value, error)} ± {error:#.2g}"

    def _strongest_correlation(self) -> list[str]:
        """Name the pair of parameters with the strongest correlation."""
        pairs = np.abs(np.triu(np.nan_to_num(self.correlation), 1))
        if not np.any(pairs):
            return []
        i, j = np.unravel_index(np.argmax(pairs), pairs.shape)
        found = self.correlation[i, j]
        return [f"  strongest correlation: {self.names[i]} and {self.names[j]}, {found:.3f}"]


def make_fit(problem: LeastSquaresProblem, outcome: Outcome) -> Fit:
    """Make the `Fit` of an outcome; warn of parameters that are not determined."""
    best, c = outcome.best, problem.coordinates
    values, residuals, jacobian = map(np.asarray, (best.parameters, best.residuals, best.jacobian))
    size = _parameter_sizes(values, jacobian, np.asarray(c.size))
    gradient = size * (residuals @ jacobian)
    bound = np.asarray(problem.at_bound(best))
    covariance, undetermined = _covariance_matrix(jacobian, size, bound)
    fit = Fit(
        parameters=c.to_tree(best.parameters),
        names=c.names,
        values=values,
        covariance=covariance,
        chi2=float(np.sum(residuals**2)),
        residuals=residuals[: len(residuals) - problem.priors.where.size],
        degrees_of_freedom=len(residuals) - int(np.sum(~bound)) + len(undetermined),
        gradient_norm=float(np.max(np.abs(gradient), initial=0.0, where=~bound)),
        converged=outcome.converged,
        reason=outcome.reason,
        at_bound=tuple(name for name, there in zip(c.names, bound, strict=True) if there),
        undetermined=tuple(
            dict(zip(c.names, direction.tolist(), strict=True)) for direction in undetermined
        ),
        minima=outcome.minima,
        history=History(outcome.history[:, 0], outcome.history[:, 1], outcome.history[:, 3:]),
    )
    for direction in fit.undetermined:
        warn_user(_not_determined(direction))
    return fit


def _parameter_sizes(values, jacobian, start) -> Float[np.ndarray, " n"]:
    """The size of each parameter: of its value, where that is above its error.

    A fitted value of 1e-15 ± 0.1 does not have the size 1e-15. The error is that with all others
    fixed; a parameter that the data do not know has the size of its start value.
    """
    with np.errstate(divide="ignore"):
        errors = 1 / np.linalg.norm(jacobian, axis=0)
    return np.maximum(np.abs(values), np.minimum(errors, start))


def _covariance_matrix(
    jacobian: Float[np.ndarray, "m n"], size: Float[np.ndarray, " n"], bound: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "u n"]]:
    """(Jᵀ J)⁻¹ of the free parameters, and the directions that are not determined.

    By singular values, because the square of J would lose half of the digits.
    """
    scaled = (jacobian * size)[:, ~bound]
    _, values, directions = np.linalg.svd(scaled, full_matrices=True)
    values = np.pad(values, (0, len(directions) - len(values)))
    nothing = UNDETERMINED.of(jacobian)
    known = values > nothing * np.max(values, initial=0.0)
    over = directions[known] / values[known, None]
    among = over.T @ over
    lost = np.sum(directions[~known] ** 2, axis=0) > nothing
    among[lost] = among[:, lost] = np.nan
    among[lost, lost] = np.inf
    covariance = np.full((len(size), len(size)), np.nan)
    covariance[np.ix_(~bound, ~bound)] = among
    every = np.zeros((int(np.sum(~known)), len(size)))
    every[:, ~bound] = directions[~known]
    return covariance * np.outer(size, size), every


def _not_determined(direction: dict[str, float]) -> str:
    parts = [f"{part:+.2f} {name}" for name, part in direction.items() if abs(part) > 0.05]
    return (
        "The data do not determine all parameters: the residuals do not change along "
        f"{' '.join(parts)} (relative changes). Fix one of these parameters, add a prior, or add "
        "data that depend on them differently."
    )


def _round_to_error(value: float, error: float) -> str:
    """Format a value down to the second digit of its error."""
    last = int(np.floor(np.log10(error))) - 1
    value = round(value, -last)
    digits = np.floor(np.log10(abs(value))) - last + 1 if value else 2
    return f"{value:#.{int(np.clip(digits, 2, 15))}g}"
