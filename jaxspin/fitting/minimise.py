"""Methods that minimise the misfit: Levenberg-Marquardt, any optimiser of optax, many starts.

Each is a loop outside of jit around one compiled step, so that a fit shows how far it is, can be
stopped and goes on from a file.
"""

import functools
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.checkpoint import PartialSums
from jaxspin.engine.deferred import defer_import
from jaxspin.engine.identity import digest, operations, trace
from jaxspin.engine.programs import wide_program
from jaxspin.engine.tolerances import CONVERGED, NO_DIRECTION
from jaxspin.engine.validate import check_number, check_type, is_finite
from jaxspin.fitting.problem import Evaluation, LeastSquaresProblem

if TYPE_CHECKING:
    import optax
    import optimistix
else:
    optimistix = defer_import("optimistix")
    optax = defer_import("optax")


#: Told of each step: its number, the misfit, and what the method calls the distance.
Report = Callable[[int, float, float], None]

# A step that does not lower the misfit makes the next one four times shorter: after this many,
# 10⁹ times.
_STUCK = 15


class State(eqx.Module):
    """State of a method after some steps."""

    #: Coordinates without bounds.
    u: Float[Array, " n"]
    #: State of the optimiser.
    inner: Any
    #: The best parameters so far.
    best: Evaluation
    #: A row a step: misfit, distance, parameters.
    history: Float[np.ndarray, "steps columns"]


class Outcome(NamedTuple):
    """Outcome of a method: the best parameters, and why it stopped."""

    best: Evaluation
    history: np.ndarray
    converged: bool
    reason: str
    interrupted: bool
    #: The smallest value of the loss.
    lowest: float
    #: χ² of the best parameters from each start; infinite where it is not finite at a start.
    minima: tuple[float, ...]


class Method(eqx.Module):
    """A method that minimises the misfit."""

    @abstractmethod
    def __call__(
        self,
        problem: LeastSquaresProblem,
        u: Float[Array, " n"],
        run: PartialSums,
        stage: str,
        report: Report,
    ) -> Outcome:
        """Minimise from the coordinates `u`.

        Args:
            run: where to keep the steps, under the name `stage`.
        """

    @abstractmethod
    def describe_method(self, problem: LeastSquaresProblem) -> dict[str, str]:
        """Settings that a checkpoint must share: all but the number of steps and the tolerance."""


class LevenbergMarquardt(Method):
    """Least squares by steps between those of Newton and down the gradient (optimistix).

    It has converged where the misfit χ² could fall by less than tolerance² in a linear problem: the
    parameters are then within `tolerance` standard errors of the optimum, and `tolerance` of their
    size. It has too where no step lowers χ² and what it could fall by is less than its rounding, as
    in single precision of data that no parameters fit.

    Args:
        steps: the largest number of steps; each is one evaluation with all derivatives.
        tolerance: see above; 1e-4, and 1e-2 in single precision, which knows no more.
    """

    steps: int = 100
    tolerance: float | int = eqx.field(default_factory=CONVERGED.of)

    def __check_init__(self):
        _check_positive(steps=self.steps, tolerance=self.tolerance)

    def __call__(self, problem, u, run, stage, report):
        inner = eqx.filter(_solver_state(problem, u), eqx.is_array)
        state = State(u, inner, _infinite_evaluation(problem, u), np.zeros((0, 3 + u.size)))

        def take_step(state: State) -> State:
            u, inner, best, row = _damped_step(problem, state.u, state.inner, code=problem.code)
            return State(u, inner, best, _append_row(state.history, row))

        def stop_reason(state: State) -> tuple[bool, str] | None:
            misfit, distance, step = state.history[-1, :3]
            if distance < self.tolerance and step < self.tolerance:
                return True, f"within {distance:.1g} standard errors of the optimum"
            recent = state.history[-_STUCK:, 0]
            if len(recent) == _STUCK and np.all(recent == misfit):
                rounding = np.finfo(state.best.residuals.dtype).eps * misfit
                away = f"{distance:.1g} standard errors from the optimum"
                if distance**2 < rounding:
                    return True, f"to within the rounding of the misfit, {away}"
                return False, f"no step lowers the misfit, {away}"
            return _out_of_steps(state, self.steps)

        return _run_iteration(_Iteration(state, take_step, stop_reason), run, stage, report)

    def describe_method(self, problem):
        return {"method": "LevenbergMarquardt"}


def half_sum_of_squares(residuals: Float[Array, " m"]) -> Float[Array, ""]:
    """½ Σ r², the loss of a least-squares fit."""
    return 0.5 * jnp.sum(residuals**2)


class Gradient(Method):
    """Any optimiser of optax, for any loss of the residuals.

    `Gradient(optax.lbfgs(), 100)`, or `Gradient(optax.adam(0.01), 2000, loss)` with a loss that is
    not moved by outliers. It has converged where no derivative of the loss, with respect to
    parameters in units of their sizes, is above tolerance (1 + loss).

    Args:
        optimizer: from optax.
        steps: the largest number of steps.
        loss: of the residuals, those of the priors last. The errors of the parameters are always
            those of least squares.
    """

    optimizer: "optax.GradientTransformation" = eqx.field(static=True)
    steps: int = 500
    loss: Callable[[Float[Array, " m"]], Float[Array, ""]] = half_sum_of_squares
    tolerance: float | int = eqx.field(default_factory=CONVERGED.of)

    def __check_init__(self):
        _check_positive(steps=self.steps, tolerance=self.tolerance)
        wanted = "an optimiser of optax, such as optax.adam(0.01)"
        check_type("optimizer", self.optimizer, optax.GradientTransformation, wanted)

    def __call__(self, problem, u, run, stage, report):
        nowhere = _infinite_evaluation(problem, u)
        code = f"{problem.code} {digest(trace(self.loss, nowhere.residuals))}"
        optimizer = optax.with_extra_args_support(self.optimizer)
        inner = (optimizer.init(u), jnp.asarray(jnp.inf))
        state = State(u, inner, nowhere, np.zeros((0, 3 + u.size)))

        def take_step(state: State) -> State:
            u, inner, best, row = _optax_step(
                problem, state.u, state.inner, state.best, self, code=code
            )
            return State(u, inner, best, _append_row(state.history, row))

        def stop_reason(state: State) -> tuple[bool, str] | None:
            _, slope, loss = state.history[-1, :3]
            if slope < self.tolerance * (1 + loss):
                return True, f"the largest slope of the loss is {slope:.1g}"
            return _out_of_steps(state, self.steps)

        outcome = _run_iteration(_Iteration(state, take_step, stop_reason), run, stage, report)
        return outcome._replace(lowest=float(np.nanmin(outcome.history[:, 2])))

    def describe_method(self, problem):
        residuals, at = jax.eval_shape(problem.linearise_at, problem.coordinates.start)
        return {
            "method": "Gradient",
            "method.optimizer": str(jax.eval_shape(self.optimizer.init, at.parameters)),
            "method.loss": operations(self.loss, residuals),
        }


class MultiStart(Method):
    """A method from several starts: the one given, and random ones inside the bounds.

    The best is the one with the smallest loss of the method. A random start at which residuals or
    derivatives are not finite is passed over.

    Args:
        method: what goes on from each start.
        number: of starts, the given one included.
        seed: of the random numbers.
    """

    method: Method
    number: int = 10
    seed: int = 0

    def __check_init__(self):
        _check_positive(number=self.number)
        check_method(self.method)

    def __call__(self, problem, u, run, stage, report):
        outcomes: list[Outcome] = []
        for i, start in enumerate(self._random_starts(problem, u)):
            try:
                outcomes.append(self.method(problem, start, run, f"{stage}.{i}", report))
            except NotFinite:
                if not outcomes:
                    raise
                outcomes.append(outcomes[0]._replace(lowest=np.inf, minima=(np.inf,)))
            except KeyboardInterrupt:
                if not outcomes:
                    raise
                outcomes[-1] = outcomes[-1]._replace(interrupted=True)
            if outcomes[-1].interrupted:
                break
        best = min(outcomes, key=lambda outcome: outcome.lowest)
        minima = tuple(min(outcome.minima) for outcome in outcomes)
        return best._replace(minima=minima, interrupted=outcomes[-1].interrupted)

    def describe_method(self, problem):
        inner = self.method.describe_method(problem)
        return {
            "method": f"MultiStart of {inner.pop('method')}",
            "method.seed": str(self.seed),
            **inner,
        }

    def _random_starts(self, problem: LeastSquaresProblem, u) -> list[Float[Array, " n"]]:
        """Return `u` and random starts, uniform in the box of the bounds."""
        low, high = (np.asarray(x) for x in (problem.coordinates.low, problem.coordinates.high))
        for name, *ends in zip(problem.coordinates.names, low, high, strict=True):
            if not is_finite(ends):
                raise ValueError(
                    "Argument `bounds` must have both ends for all parameters of a MultiStart, "
                    f"but does not for {name}."
                )
        random = np.random.default_rng(self.seed)
        inside = random.uniform(low, high, (self.number - 1, len(low)))
        return [u, *map(problem.coordinates.from_parameters, inside)]


class _Iteration(NamedTuple):
    """An iterative method: its first state, one step, and whether it converged and why it stops."""

    start: State
    take_step: Callable[[State], State]
    stop_reason: Callable[[State], tuple[bool, str] | None]


def _run_iteration(iteration: _Iteration, run: PartialSums, stage: str, report: Report) -> Outcome:
    """Take steps until there is a reason to stop, or the user interrupts."""
    done, kept = run.resume(stage, iteration.start)
    state = eqx.tree_at(lambda state: state.history, kept, replace_fn=np.asarray)
    interrupted = False
    try:
        while (found := iteration.stop_reason(state) if done else None) is None:
            state, done = iteration.take_step(state), done + 1
            _check_finite(state.best)
            run.keep(stage, done, state, now=False)
            report(done, *state.history[-1, :2])
    except KeyboardInterrupt:
        if done == 0:
            raise
        found, interrupted = (False, f"interrupted after {done} steps"), True
    run.keep(stage, done, state, now=True)
    converged, reason = found
    misfit = _chi_squared(state.best)
    return Outcome(state.best, state.history, converged, reason, interrupted, misfit / 2, (misfit,))


def _append_row(history, row: Array) -> np.ndarray:
    """Append a row in NumPy, where a new length is no new program."""
    return np.concatenate([np.asarray(history), np.asarray(row)[None]])


def _chi_squared(evaluation: Evaluation) -> float:
    return float(jnp.sum(evaluation.residuals**2))


def _out_of_steps(state: State, steps: int) -> tuple[bool, str] | None:
    return (False, f"not converged after {steps} steps") if len(state.history) >= steps else None


class NotFinite(ValueError):
    """Residuals or derivatives at a start are not finite."""


def _check_finite(found: Evaluation) -> None:
    """Refuse a start that is not finite; later the methods turn back from such places."""
    for what, array in (("residuals", found.residuals), ("derivatives", found.jacobian)):
        if not is_finite(array):
            wrong = int(np.sum(~np.isfinite(np.asarray(array))))
            raise NotFinite(
                f"Argument `start` must give finite {what}, but {wrong} of {array.size} are not."
            )


def check_method(method) -> None:
    """`method` is a method of fitting.

    Raises:
        ValueError: it is not.
    """
    check_type("method", method, Method, "LevenbergMarquardt(), Gradient(...) or MultiStart(...)")


def _check_positive(**arguments) -> None:
    for name, value in arguments.items():
        check_number(name, value, "positive", above=0)


def _infinite_evaluation(problem: LeastSquaresProblem, u) -> Evaluation:
    """An evaluation of the right shapes, infinite throughout."""
    shapes = eqx.filter_eval_shape(problem.linearise_at, u)[1]
    return jax.tree.map(lambda x: jnp.full(x.shape, jnp.inf, x.dtype), shapes)


# --- the compiled steps ---------------------------------------------------------------------------


# Its own criterion would stop where a step is short by chance; ours is that of a fit.
@functools.cache
def _choose_solver():
    return optimistix.LevenbergMarquardt(rtol=1e-15, atol=1e-300)


_NO_TAGS: frozenset = frozenset()


def _solver_state(problem: LeastSquaresProblem, u):
    residuals, aux = jax.eval_shape(problem.linearise_at, u)
    function = lambda u, _: problem.linearise_at(u)  # noqa: E731
    return _choose_solver().init(function, u, None, {"jac": "fwd"}, residuals, aux, _NO_TAGS)


@wide_program
def _damped_step(problem: LeastSquaresProblem, u, inner):
    """One step of optimistix: evaluate where it has gone, accept that or not, and go on.

    What is not an array in its state is made again in each trace: it differs from one fit to the
    next, and every fit would be compiled anew.
    """
    static = eqx.filter(_solver_state(problem, u), eqx.is_array, inverse=True)
    state = eqx.combine(inner, static)
    function = lambda u, _: problem.linearise_at(u)  # noqa: E731
    u, state, _ = _choose_solver().step(function, u, None, {"jac": "fwd"}, state, _NO_TAGS)
    best = state.aux
    distance, step = _distance_to_optimum(problem, best)
    row = jnp.concatenate([_history_row(best, distance), step[None], best.parameters])
    return u, eqx.filter(state, eqx.is_array), best, row


def _distance_to_optimum(
    problem: LeastSquaresProblem, at: Evaluation
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Distance to the optimum of the linear problem, in standard errors and in sizes.

    The first is √(χ² − χ²_min), the length of the residuals within reach of the parameters.
    """
    size = problem.coordinates.size * problem.free_parameters(at)
    left, values, right = jnp.linalg.svd(at.jacobian * size, full_matrices=False)
    known = values > NO_DIRECTION.of(values) * values[0]
    within = jnp.where(known, at.residuals @ left, 0.0)
    step = (within / jnp.where(known, values, 1.0)) @ right
    return jnp.linalg.norm(within), jnp.max(jnp.abs(step))


def _history_row(at: Evaluation, distance) -> Array:
    return jnp.stack([jnp.sum(at.residuals**2), distance])


@wide_program
def _optax_step(problem: LeastSquaresProblem, u, inner, best: Evaluation, method: Gradient):
    """One step of an optimiser of optax."""

    def evaluate_loss(u):
        residuals, at = problem.linearise_at(u)
        return method.loss(residuals), at

    (value, at), slope = jax.value_and_grad(evaluate_loss, has_aux=True)(u)
    state, lowest = inner
    optimizer = optax.with_extra_args_support(method.optimizer)
    about = {"value": value, "grad": slope, "value_fn": lambda u: evaluate_loss(u)[0]}
    change, state = optimizer.update(slope, state, u, **about)
    better = value < lowest
    best = jax.tree.map(lambda a, b: jnp.where(better, a, b), at, best)
    row = jnp.concatenate([_history_row(at, jnp.max(jnp.abs(slope))), value[None], at.parameters])
    return optax.apply_updates(u, change), (state, jnp.minimum(value, lowest)), best, row
