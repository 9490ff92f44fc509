"""The least-squares problem of a fit: residuals, priors, and their derivatives."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from jaxspin.engine.forward_mode import along_all, with_slopes
from jaxspin.engine.identity import digest, trace
from jaxspin.engine.programs import program
from jaxspin.engine.tolerances import AT_BOUND, AT_BOUND_IN_ERRORS
from jaxspin.engine.tracing import refusal
from jaxspin.engine.validate import are_numbers, check_function, is_finite, is_positive
from jaxspin.fitting.parameters import ParameterCoordinates, pairs_of

#: (calculated − measured) / error for the parameters, an array or a pytree of arrays.
Residuals = Callable[[Any], Any]


class Priors(eqx.Module):
    """Gaussian priors of some parameters: each adds the residual (p − mean) / sigma."""

    where: Int[Array, " r"]
    mean: Float[Array, " r"]
    sigma: Float[Array, " r"]

    def __call__(self, parameters: Float[Array, " n"]) -> Float[Array, " r"]:
        return (parameters[self.where] - self.mean) / self.sigma


def make_priors(names: tuple[str, ...], priors: Mapping[str, tuple[Any, Any]] | None) -> Priors:
    """Priors given by name.

    Raises:
        ValueError: an unknown name, a mean that is not finite, a sigma that is not positive.
    """
    rows: list[tuple[int, float, float]] = []
    nothing = (np.nan, np.nan)
    for name, where, (means, sigmas) in pairs_of("priors", "(mean, sigma)", names, priors, nothing):
        if not (is_finite(means) and is_positive(sigmas)):
            raise ValueError(
                "Argument `priors` must be (mean, sigma), finite and sigma positive, "
                f"but is {(priors or {})[name]!r} for {name}."
            )
        rows += zip(where, means, sigmas, strict=True)
    table = np.array(rows, float).reshape(-1, 3)
    return Priors(jnp.asarray(table[:, 0].astype(int)), *map(jnp.asarray, table[:, 1:].T))


class Evaluation(eqx.Module):
    """Residuals and their derivatives at some parameters; those of the priors come last."""

    parameters: Float[Array, " n"]
    residuals: Float[Array, " m"]
    #: ∂residuals/∂parameters.
    jacobian: Float[Array, "m n"]


class LeastSquaresProblem(eqx.Module):
    """A least-squares problem: minimise ½ Σ r(p)²."""

    residuals: Residuals
    coordinates: ParameterCoordinates
    priors: Priors
    #: Digest of the operations of `residuals`, by which compiled steps are known again.
    code: str = eqx.field(static=True)

    def evaluate_at(self, parameters: Float[Array, " n"]) -> Evaluation:
        """Residuals with their derivatives in forward mode.

        Forward mode, because then the memory does not grow with the mesh of a response.
        """
        return _evaluate_problem(self, parameters, code=self.code)

    def linearise_at(self, u: Float[Array, " n"]) -> tuple[Float[Array, " m"], Evaluation]:
        """The residuals at unbounded coordinates, such that any derivative costs nothing more.

        r(p₀) + J (p − p₀) at p = p₀ has the value of r and its first derivatives, and whoever
        differentiates it meets two matrices instead of the sum over a mesh.

        A parameter that is held at a bound has no derivative: the curvature of its coordinate,
        which a linear problem does not know, would keep the steps of all others short. Straight
        lines with the optimum beyond a bound took 18 to 32 steps with this, and 26 to 46 without,
        where only sizes said how close is close; with `AT_BOUND_IN_ERRORS` they take 16 to 55.
        """
        parameters = self.coordinates.to_parameters(u)
        at = jax.lax.stop_gradient(self.evaluate_at(jax.lax.stop_gradient(parameters)))
        change = jnp.where(self.free_parameters(at), parameters - at.parameters, 0.0)
        return at.residuals + at.jacobian @ change, at

    def free_parameters(self, at: Evaluation) -> Bool[Array, " n"]:
        """The parameters that are not held at a bound, which the misfit pushes them across."""
        c, gradient = self.coordinates, at.residuals @ at.jacobian
        below = at.parameters - c.low < c.high - at.parameters
        return ~(self.at_bound(at) & (jnp.where(below, gradient, -gradient) > 0))

    def at_bound(self, at: Evaluation) -> Bool[Array, " n"]:
        """The parameters that are as good as at a bound, in units of their size and of their
        standard error with all others fixed.

        An optimum beyond the bound is approached step by step. Sizes alone do not do: an interval
        may be 10⁶ times wider than the error of what is in it.
        """
        c = self.coordinates
        distance = jnp.minimum(at.parameters - c.low, c.high - at.parameters)
        in_errors = distance * jnp.linalg.norm(at.jacobian, axis=0)
        close = distance < AT_BOUND.of(distance) * c.size
        return close & (in_errors < AT_BOUND_IN_ERRORS.of(distance))


@program  # so that the many who look at it trace it once
def _evaluate_problem(problem: LeastSquaresProblem, parameters: Float[Array, " n"]) -> Evaluation:
    def all_residuals(parameters):
        data = flatten_residuals(problem.residuals(problem.coordinates.to_tree(parameters)))
        return jnp.concatenate([data, problem.priors(parameters)])

    return Evaluation(parameters, *with_slopes(all_residuals, parameters))


@program
def residuals_at(
    problem: LeastSquaresProblem, parameters: Float[Array, " n"]
) -> Float[Array, " m"]:
    """The residuals of the data at some parameters."""
    return flatten_residuals(problem.residuals(problem.coordinates.to_tree(parameters)))


def flatten_residuals(residuals) -> Float[Array, " m"]:
    """Return the residuals in one array."""
    return ravel_pytree(residuals)[0]


def make_problem(
    residuals: Residuals, coordinates: ParameterCoordinates, priors: Priors
) -> tuple[LeastSquaresProblem, int]:
    """The problem, and the number of data, without those of priors.

    Raises:
        ValueError: the residuals are no function, not real numbers, or fewer than there are
            parameters.
    """
    check_function("residuals", residuals, "a function of the parameters")
    try:
        found, code = _trace_residuals(residuals, coordinates.to_tree(coordinates.start))
    except jax.errors.JAXTypeError as error:
        texts = {"what": "residuals", "where": "the function", "wanted": "must take `start`"}
        raise refusal(error, "residuals", **texts) from error
    if not found or not all(hasattr(x, "dtype") for x in found):
        raise ValueError(
            "Argument `residuals` must return an array or a pytree of arrays, "
            f"but returns {found!r}."
        )
    if not all(are_numbers(x, "f") for x in found):
        kinds = ", ".join(str(x.dtype) for x in found)
        raise ValueError(f"Argument `residuals` must return real numbers, but returns {kinds}.")
    data, parameters = sum(x.size for x in found), coordinates.start.size
    known = priors.where.size
    if data + known < parameters:
        raise ValueError(
            f"Argument `residuals` must be at least as many as the {parameters} parameters, "
            f"but there are {data} data and {known} priors."
        )
    return LeastSquaresProblem(residuals, coordinates, priors, code), data


def _trace_residuals(residuals: Residuals, start) -> tuple[list, str]:
    """Return the shapes of the residuals, and the digest of their operations.

    Their own arrays are variables of it, so that other data are the same code.
    """
    arrays, rest = eqx.partition(residuals, eqx.is_array)
    found: list = []

    def evaluate_leaves(arrays, start):
        results = jax.tree.leaves(eqx.combine(arrays, rest)(start))
        found.extend(jax.typeof(x) if eqx.is_array(x) else x for x in results)
        return [x for x in results if eqx.is_array(x)]

    code = digest(trace(evaluate_leaves, arrays, start))
    return found, code


def log_likelihood(residuals: Residuals) -> Callable[[Any], Float[Array, ""]]:
    """The logarithm of a Gaussian likelihood, −½ Σ r², up to a constant.

    What it returns takes the parameters of `residuals` and goes into any sampler, with or without
    gradients: `numpyro.factor("data", log_likelihood(residuals)(parameters))`, or as the log
    density of blackjax together with that of the priors. Its gradient, in any mode of JAX, is made
    from derivatives in forward mode, so that its memory does not grow with the mesh.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> import jaxspin as js
    >>> line = js.fitting.log_likelihood(lambda p: p["slope"] * jnp.arange(3.0) - 1.0)
    >>> float(line({"slope": 1.0})), float(jax.grad(line)({"slope": 1.0})["slope"])
    (-1.0, -2.0)
    """
    return lambda parameters: _log_likelihood(residuals, parameters)


@eqx.filter_custom_jvp
def _log_likelihood(residuals: Residuals, parameters) -> Float[Array, ""]:
    return -0.5 * jnp.sum(flatten_residuals(residuals(parameters)) ** 2)


@_log_likelihood.def_jvp
def _log_likelihood_jvp(primals, tangents):
    """Derivative with respect to the parameters, and to the numbers that `residuals` holds."""
    calculated = lambda residuals, parameters: flatten_residuals(residuals(parameters))  # noqa: E731
    value, change = along_all(calculated, primals, tangents)
    return -0.5 * jnp.sum(value**2), -(value @ change)
