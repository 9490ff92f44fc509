"""The identity of a computation: the digest of the operations and constants that it consists of.

Three things rest on it: which compiled program serves a call (`programs`), whether a file is of
the run that would go on from it (`checkpoint`), and whether several processes add parts of the
same sum (`distributed`). A user's model may read a module global, an attribute of its class, a
closure or a default argument; none of these is a field, all of them are in what JAX traces.
"""

import contextlib
import dataclasses
import enum
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxspin.engine.recent import Recent
from jaxspin.engine.snapshots import take_snapshot
from jaxspin.engine.trusted import Unidentified, is_trusted, is_trusted_attribute, is_trusted_class

# --- the digest of a traced function --------------------------------------------------------------


def trace(function: Callable, *arguments) -> ClosedJaxpr:
    """Trace a function anew: JAX would take an earlier trace of the same function for it.

    Programs that it calls are traced as a part of it (`is_tracing`): their own identity could be
    that of the function, without end.
    """
    token = _TRACING.set(True)
    try:
        return jax.make_jaxpr(lambda *arguments: function(*arguments))(*arguments)
    finally:
        _TRACING.reset(token)


_TRACING = ContextVar("whether a function is traced for its digest", default=False)


def is_tracing() -> bool:
    """Tell if a function is being traced for its digest."""
    return _TRACING.get()


def digest(traced: ClosedJaxpr) -> str:
    """Digest (SHA-256) of operations and constants, those of inner programs included.

    The same in every process, but for callbacks, which count by the object that is called.

    Raises:
        Unidentified: a constant is being traced by a surrounding jit, grad or vmap.
    """
    return _digest_program(traced)


def operations(function: Callable, *arguments) -> str:
    """Digest of a function at arguments, as a file or another process can compare it.

    Raises:
        ValueError: it calls Python functions that JAX cannot look into.
    """
    traced = trace(function, *arguments)
    called = sorted(set(callback_names(traced)))
    if called:
        raise ValueError(
            "Argument `checkpoint` must be None, and the number of processes 1, for a computation "
            f"that calls Python functions while it runs ({', '.join(called)}): what they return "
            "cannot be compared with that of another run. Write them with JAX operations, or give "
            "their values as an array."
        )
    return digest(traced)


def callback_names(traced: ClosedJaxpr) -> Iterator[str]:
    """Names of the Python functions whose values a traced function depends on."""
    for equation in _walk_equations(traced.jaxpr):
        name = equation.primitive.name
        if name.endswith("callback") and not name.startswith("debug"):
            called = equation.params.get("callback")
            function = getattr(called, "callback_func", called)
            yield f"{name} of {getattr(function, '__qualname__', type(function).__qualname__)}"


def _walk_equations(jaxpr: Jaxpr) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inner_programs(tuple(equation.params.values())):
            yield from _walk_equations(inner.jaxpr)


def _inner_programs(value) -> Iterator[ClosedJaxpr]:
    """The programs within the parameters of an operation."""
    if isinstance(value, ClosedJaxpr):
        yield value
    elif isinstance(value, Jaxpr):
        yield ClosedJaxpr(value, ())
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _inner_programs(item)


#: Digests of inner programs that JAX keeps, such as those of the functions of jax.numpy.
_known: WeakKeyDictionary[ClosedJaxpr, str] = WeakKeyDictionary()


def _digest_program(traced: ClosedJaxpr) -> str:
    found = _known.get(traced)
    if found is None:
        found = _short_hash(
            "\n".join([*map(_constant_text, traced.consts), _program_text(traced.jaxpr)])
        )
        if not _holds_arrays(traced):  # an array of NumPy may change
            _known[traced] = found
    return found


def _holds_arrays(traced: ClosedJaxpr) -> bool:
    inner = (x for e in traced.jaxpr.eqns for x in _inner_programs(tuple(e.params.values())))
    return bool(traced.consts) or any(map(_holds_arrays, inner))


def _program_text(jaxpr: Jaxpr) -> str:
    names: dict[Any, int] = {}

    def variable_text(variable) -> str:
        if isinstance(variable, Literal):
            return f"{_type_text(variable.aval)}={_constant_text(variable.val)}"
        return f"{_type_text(variable.aval)}{names.setdefault(variable, len(names))}"

    lines = [" ".join(map(variable_text, (*jaxpr.constvars, *jaxpr.invars)))]
    for equation in jaxpr.eqns:
        primitive, parameters = equation.primitive.name, equation.params
        if primitive == "jit":  # the name of a function is none of its operations
            parameters = {k: v for k, v in parameters.items() if k != "name"}
        inputs, outputs = (
            " ".join(map(variable_text, x)) for x in (equation.invars, equation.outvars)
        )
        lines.append(f"{outputs} = {primitive} {_parameter_text(parameters)} {inputs}")
    return "\n".join([*lines, " ".join(map(variable_text, jaxpr.outvars))])


def _type_text(aval) -> str:
    if not hasattr(aval, "dtype"):
        return str(aval)
    return f"{aval.dtype}{aval.shape}{'~' if getattr(aval, 'weak_type', False) else ''}:"


def _parameter_text(value) -> str:
    """Write a parameter of an operation as text."""
    if isinstance(value, ClosedJaxpr):
        return _digest_program(value)
    if isinstance(value, Jaxpr):
        return _short_hash(_program_text(value))
    if eqx.is_array(value):
        return _constant_text(value)
    if isinstance(value, enum.Enum | type):
        return str(value)
    if isinstance(value, tuple | list):
        return f"({', '.join(_parameter_text(item) for item in value)})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_parameter_text(value[key])}' for key in sorted(value))}}}"
    if hasattr(value, "callback_func"):
        return _identity_of_function(value.callback_func)
    if callable(value):  # rules of derivatives and batches, traced where they are used
        return type(value).__qualname__
    return without_addresses(repr(value))


def _identity_of_function(function) -> str:
    """Code and closure of a Python function, which stay alive as long as their trace is kept."""
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    parts = (getattr(function, "__code__", function), *cells)
    return " ".join(str(id(part)) for part in parts)


def _constant_text(value) -> str:
    if isinstance(value, jax.core.Tracer):
        raise Unidentified
    if jnp.issubdtype(getattr(value, "dtype", type(value)), jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    if array.dtype == object:
        return without_addresses(repr(value))
    text = array.tobytes().hex() if array.size <= 4 else _short_hash(np.ascontiguousarray(array))
    return f"{array.dtype}{array.shape}{text}"


def _short_hash(data: Any) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:16]


def without_addresses(text: str) -> str:
    """Remove addresses, so that the text is the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


# --- the digest of what a user wrote --------------------------------------------------------------


@functools.singledispatch
def run_operations(part, unit) -> Any:
    """Run what a part of an argument may be asked for, to be traced; registered by its class.

    Args:
        unit: 1.0, as a traced number, from which traced arguments are made.
    """
    raise Unidentified


def code_of(arguments) -> str:
    """Digest of what user's code among the arguments of a program does; empty if there is none.

    The numbers that they hold are variables of it: other ones are the same code.

    Raises:
        Unidentified: there is code for which no trace is known but that of the whole program.
    """
    known = _KNOWN.get()
    if known is None:
        return _join_digests(arguments)
    return " ".join(known.find_code(argument) for argument in arguments)


def _join_digests(value) -> str:
    return " ".join(_digest_part(part) for part in _foreign_parts(value))


class _KnownCode:
    """The code of the arguments that one call has met."""

    def __init__(self):
        self._trusted: dict[type, bool] = {}
        self._codes: dict[int, tuple[object, str]] = {}  # with the argument, so that its id is its

    def is_trusted_class(self, kind: type) -> bool:
        """Tell if a class and all of its present methods are of trusted packages."""
        if kind not in self._trusted:
            self._trusted[kind] = is_trusted_class(kind)
        return self._trusted[kind]

    def find_code(self, argument) -> str:
        """Return the digest of the user's code in an argument, computed once."""
        if id(argument) not in self._codes:
            self._codes[id(argument)] = argument, _join_digests(argument)
        return self._codes[id(argument)][1]


_KNOWN: ContextVar[_KnownCode | None] = ContextVar("code met in a call of the user's", default=None)


@contextlib.contextmanager
def code_is_fixed() -> Iterator[None]:
    """Take the user's code for unchanged inside: one call of the user's, which reads it once."""
    token = _KNOWN.set(_KNOWN.get() or _KnownCode())
    try:
        yield
    finally:
        _KNOWN.reset(token)


def _digest_part(part) -> str:
    """Digest of a part, from an earlier trace if the code and all that it reads are as then."""
    try:
        key = take_snapshot(part), jnp.result_type(float)
    except Unidentified:
        return _trace_part(part)
    return _digests.find(key, lambda: _trace_part(part))


#: Digests by snapshots, which keep the constants that they hold alive.
_digests = Recent(128)


def _trace_part(part) -> str:
    arrays, rest = eqx.partition(part, eqx.is_array)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)
    known = []

    def run_part(arrays, unit):
        found = jax.tree.leaves(run_operations(eqx.combine(arrays, rest), unit))
        known.extend(x for x in found if not eqx.is_array(x))
        return [x for x in found if eqx.is_array(x)]

    traced = trace(run_part, shapes, 1.0)
    texts = [digest(traced), *known]
    if any(
        equation.primitive.name.startswith("custom_") for equation in _walk_equations(traced.jaxpr)
    ):
        slope = lambda arrays, x: jax.jvp(lambda x: run_part(arrays, x), (x,), (1.0,))  # noqa: E731
        texts.append(digest(trace(slope, shapes, 1.0)))
    return " ".join(map(str, texts))


def _foreign_parts(value) -> Iterator[Any]:
    """Yield the parts of an argument with code from outside the package, outermost first."""
    if value is None or isinstance(value, str | bytes | int | float | complex | np.dtype):
        return
    if eqx.is_array(value) or isinstance(value, enum.Enum | type | jax.ShapeDtypeStruct):
        return
    if isinstance(value, tuple | list):
        for item in value:
            yield from _foreign_parts(item)
    elif isinstance(value, Mapping):
        yield from _foreign_parts(list(value.values()))
    elif isinstance(value, functools.partial):
        yield from _foreign_parts((value.func, value.args, value.keywords))
    elif dataclasses.is_dataclass(value):
        yield from _foreign_parts_of_module(value)
    elif not is_trusted(value):
        raise Unidentified


def is_trusted_now(kind: type) -> bool:
    """Tell if a class is trusted, asked once in a call of the user's."""
    known = _KNOWN.get()
    return is_trusted_class(kind) if known is None else known.is_trusted_class(kind)


def _foreign_parts_of_module(module) -> Iterator[Any]:
    """Yield a module where its class is foreign or the trace of its fields is not known."""
    inner, traceable = [], is_traceable(module)
    fields = [getattr(module, field.name, None) for field in dataclasses.fields(module)]
    foreign = not is_trusted_now(type(module))
    for field in fields:
        try:
            inner.extend(_foreign_parts(field))
        except Unidentified:
            if not traceable:
                raise
            foreign = True
    if foreign:
        if not traceable:
            raise Unidentified
        yield module
    yield from inner


def is_traceable(part) -> bool:
    """Tell if the operations of a part are known (`run_operations`)."""
    return run_operations.dispatch(type(part)) is not run_operations.dispatch(object)


def is_overridden(part, name: str) -> bool:
    """Tell if a method or property of a module is defined outside the package."""
    return not is_trusted_attribute(getattr(type(part), name))
