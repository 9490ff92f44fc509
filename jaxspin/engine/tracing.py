"""Trace of a user's function by JAX, checked before it becomes part of a long calculation.

A function that cannot be traced fails deep inside JAX, and an index beyond the end of an array does
not fail at all, for JAX takes the last element instead. Here both are errors in the user's words.
"""

import os
import sysconfig
import traceback
from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.core
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

_ARRAYS = (
    "must compute {what} with jax.numpy, because JAX traces it, but {where} makes a plain number "
    "or a NumPy array of a traced one. Write jnp.cos for np.cos and math.cos, jnp.array for "
    "np.array, x for float(x)."
)
_BRANCHES = (
    "must compute {what} without branches on traced numbers, but {where} has one (`if`, `and`, "
    "`while`). Write jnp.where(condition, a, b)."
)
_INDEX = (
    "must compute {what} from elements that its arrays have, but {where} takes index {index} of an "
    "axis of length {length}, for which JAX would silently take another element or none."
)


def look_at(
    function: Callable, *arguments, argument: str, what: str, where: str, wanted: str
) -> ClosedJaxpr:
    """Trace `function(*arguments)`, and check every index in the program.

    Arrays inside the arguments are traced, as they are in the compiled program.

    Args:
        argument, what, where: how errors call the argument that has the function, what the
            function computes, and the function itself.
        wanted: what errors say that the argument must do, where the function fails.
    Raises:
        ValueError: the function cannot be traced, fails, or takes an index beyond the end.
    """
    arrays, rest = eqx.partition(arguments, _is_traced_later)
    call = lambda arrays: function(*eqx.combine(arrays, rest))  # noqa: E731
    with jax.ensure_compile_time_eval():  # so that the indices are numbers
        try:
            program = jax.make_jaxpr(call)(arrays)
        except Exception as error:
            raise refusal(error, argument, what, where, wanted) from error
    beyond = next(_indices_beyond(program.jaxpr, _known_constants(program)), None)
    if beyond:
        index, length = beyond
        problem = _INDEX.format(what=what, where=where, index=index, length=length)
        raise ValueError(f"Argument `{argument}` {problem}")
    return program


def _is_traced_later(leaf: object) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def refusal(error: Exception, argument: str, what: str, where: str, wanted: str) -> ValueError:
    """Return the error to raise for one of a user's function; arguments as of `look_at`."""
    text = str(error)
    if text.startswith("Argument `"):
        return ValueError(text)
    place = f"{where}{_line_of(error)}"
    if isinstance(error, jax.errors.TracerBoolConversionError):
        problem = _BRANCHES.format(what=what, where=place)
    elif isinstance(error, jax.errors.JAXTypeError) or "array element with a sequence" in text:
        problem = _ARRAYS.format(what=what, where=place)
    else:
        first = text.splitlines()[0] if text else ""
        problem = f"{wanted}, but {place} fails there: {type(error).__name__}: {first}"
    return ValueError(f"Argument `{argument}` {problem}")


_LIBRARIES = (
    *(os.path.dirname(os.path.abspath(file)) + os.sep for file in (jax.__file__, np.__file__)),
    os.path.dirname(os.path.abspath(eqx.__file__)) + os.sep,
    os.path.dirname(os.path.abspath(__file__)) + os.sep,
    sysconfig.get_path("stdlib") + os.sep,
)


_LONGEST = 60  # characters of a line of code in a message


def _line_of(error: Exception) -> str:
    """Line of the user's code in which an error arose, as text to append to a name."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    if not inside:
        return ""
    line = inside[-1].line or ""
    code = f": {line if len(line) < _LONGEST else line[:_LONGEST] + ' ...'}" if line else ""
    return f" (line {inside[-1].lineno}{code})"


def _indices_beyond(program: Jaxpr, known: dict[Var, np.ndarray]) -> Iterator[tuple[int, int]]:
    """Yield the known indices beyond the end of an axis, with its length."""
    for equation in program.eqns:
        for index, size, length in _taken_indices(equation, known):
            low, high = int(np.min(index)), int(np.max(index))
            if low < 0 or high > length - size:
                yield (low - length if low < 0 else high + size - 1), length
        for inner in equation.params.values():
            for closed in inner if isinstance(inner, tuple) else (inner,):
                if isinstance(closed, ClosedJaxpr):
                    yield from _indices_beyond(closed.jaxpr, _known_inside(closed, equation, known))


def _taken_indices(equation, known: dict[Var, np.ndarray]) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield known first indices of an operation, the number it takes, the length of the axis."""
    name, parameters = equation.primitive.name, equation.params
    if name == "dynamic_slice":
        operand, *starts = equation.invars
        axes, sizes = range(len(starts)), parameters["slice_sizes"]
        values = [_known_value(start, known) for start in starts]
    elif name == "gather" or name.startswith("scatter"):
        operand, starts = equation.invars[:2]
        numbers, found = parameters["dimension_numbers"], _known_value(starts, known)
        gathers = name == "gather"
        axes = numbers.start_index_map if gathers else numbers.scatter_dims_to_operand_dims
        sizes = parameters["slice_sizes"] if gathers else [1] * len(operand.aval.shape)
        values = [None] * len(axes) if found is None else list(np.moveaxis(found, -1, 0))
    else:
        return
    for axis, value in zip(axes, values, strict=True):
        if value is not None and value.size:
            yield value, sizes[axis], operand.aval.shape[axis]


def _known_value(variable: Var | Literal, known: dict[Var, np.ndarray]) -> np.ndarray | None:
    if isinstance(variable, Literal):
        return np.asarray(variable.val)
    return known.get(variable)


def _known_constants(closed: ClosedJaxpr) -> dict[Var, np.ndarray]:
    return {
        variable: np.asarray(value)
        for variable, value in zip(closed.jaxpr.constvars, closed.consts, strict=True)
        if not isinstance(value, jax.core.Tracer) and np.asarray(value).dtype.kind in "iu"
    }


def _known_inside(closed: ClosedJaxpr, equation, known) -> dict[Var, np.ndarray]:
    """Known values of an inner program whose arguments are the last ones of the operation."""
    inner = closed.jaxpr.invars
    outer = equation.invars[len(equation.invars) - len(inner) :]
    found = _known_constants(closed)
    if len(outer) == len(inner) and equation.primitive.name not in ("scan", "while"):
        values = (
            (variable, _known_value(x, known)) for variable, x in zip(inner, outer, strict=True)
        )
        found |= {variable: value for variable, value in values if value is not None}
    return found
