"""Small matrices as scalars: functions of a tile of k-points with a lane for each element.

A compiled loop over an array (n, n, K) has a thread for each element and writes every product to
memory. Over arrays (K,), one for each element of the matrices, XLA keeps whole stages in the
registers of a thread. `in_lanes` rewrites a function so: it traces the function at one k, and
carries out the operations of the trace with an array (K,), or a number that is known, for each
scalar. Zeros and ones that are known disappear, and only what is real is computed of what is real.
Physics is written once, in arrays.
"""

import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jaxtyping import Array

from jaxspin.engine.derivative_rules import with_derivative
from jaxspin.engine.forward_mode import push_forward

Objects = np.ndarray  # of `Lane`


class NotInLanes(Exception):
    """An operation that has no rule, or too many; the function is computed in arrays."""


def in_lanes(function: Callable, most: int) -> Callable:
    """A function (fixed, tile) -> results, computed with a lane for each element of its matrices.

    Its derivative is that of `function`. A function with an operation that has no rule here, or
    with more scalars than `most`, is computed as it is.

    Args:
        function: of what is the same at all k-points, and of arrays whose last axis is k, each in
            any containers; each k-point apart. The last axis of all results is k.
    """

    def differentiate(primals, tangents):
        return push_forward(function, primals, tangents)

    @with_derivative(differentiate)
    def compute(fixed, tile):
        try:
            return _evaluate_in_lanes(function, most, fixed, tile)
        except NotInLanes:
            return function(fixed, tile)

    return lambda fixed, tile: compute(fixed, jax.tree.map(_keep_known, tile))


# Whether what is traced or carried out is for a kernel, and not for XLA.
_for_kernel = ContextVar("for_kernel", default=False)


def is_for_kernel() -> bool:
    """Tell if what is traced now is to be one kernel of a GPU (`fused`)."""
    return _for_kernel.get()


def evaluate_in_kernel(function: Callable, fixed, tile) -> tuple[Callable, list[Array], Any]:
    """A function (see `in_lanes`) of lanes, to be carried out inside a kernel.

    Returns:
        (fixed lanes, lanes of the tile) -> lanes of the results, all in the order of their leaves
        and without an axis of k; the fixed arrays; and the shapes of the results.
    """
    token = _for_kernel.set(True)
    try:
        program, shapes, arrays = _trace_at_one(function, fixed, tile)
    finally:
        _for_kernel.reset(token)

    def evaluate(fixed: list[Objects], tile: list[Objects]) -> list[Objects]:
        token = _for_kernel.set(True)
        try:
            arguments = [*fixed, *(x[..., None] for x in tile)]
            results = _run(program.jaxpr, program.consts, arguments)
        finally:
            _for_kernel.reset(token)
        return [result[..., 0] for result in results]

    return evaluate, jax.tree.leaves(arrays), shapes


def count_scalars(function: Callable, fixed, tile) -> int:
    """Number of scalars that a function (see `in_lanes`) computes at one k."""
    return _count_results(_trace_at_one(function, fixed, tile)[0].jaxpr)


def _count_results(jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = _inner_program(equation)
        results = sum(math.prod(x.aval.shape) for x in equation.outvars)
        if equation.primitive.name == "dot_general":
            (summed, _), _ = equation.params["dimension_numbers"]
            results *= math.prod(equation.invars[0].aval.shape[i] for i in summed)
        total += results if inner is None else _count_results(getattr(inner, "jaxpr", inner))
    return total


def _keep_known(leaf):
    """Numbers that are known and the same at all k, as an array that no transformation traces."""
    known = leaf.shape[-1] == 1 and not isinstance(leaf, jax.core.Tracer)
    return np.asarray(leaf) if known else leaf


def _evaluate_in_lanes(function: Callable, most: int, fixed, tile):
    program, shapes, arrays = _trace_at_one(function, fixed, tile)
    if _count_results(program.jaxpr) > most:
        raise NotInLanes(f"more than {most} scalars")
    leaves = jax.tree.leaves(tile)
    points = max(leaf.shape[-1] for leaf in leaves)
    numbers: list[Any] = jax.tree.leaves(arrays)
    numbers += [x if x.shape[-1] < points else _split_elements(x)[..., None] for x in leaves]
    results = _run(program.jaxpr, program.consts, numbers)
    joined = [
        _join_elements(result[..., 0], points, shape.dtype)
        for result, shape in zip(results, jax.tree.leaves(shapes), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(shapes), joined)


def _trace_at_one(function: Callable, fixed, tile):
    """The trace of a function at one k, the shapes of its results, and its fixed arrays."""
    arrays, rest = eqx.partition(fixed, eqx.is_array)
    at_one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*x.shape[:-1], 1), x.dtype), tile)
    trace = jax.make_jaxpr(
        lambda arrays, tile: function(eqx.combine(arrays, rest), tile), return_shape=True
    )
    return *trace(arrays, at_one), arrays


# --- one scalar -----------------------------------------------------------------------------------


class Lane:
    """A scalar of each k: real and imaginary part are arrays (K,), or numbers that are known."""

    __slots__ = ("imag", "real")

    def __init__(self, real: Any, imag: Any = 0):
        self.real, self.imag = real, imag

    def __add__(self, other: "Lane") -> "Lane":
        return Lane(_add(self.real, other.real), _add(self.imag, other.imag))

    def __neg__(self) -> "Lane":
        return Lane(_negate(self.real), _negate(self.imag))

    def __sub__(self, other: "Lane") -> "Lane":
        return self + (-other)

    def __mul__(self, other: "Lane") -> "Lane":
        a, b, c, d = self.real, self.imag, other.real, other.imag
        return Lane(_subtract(_times(a, c), _times(b, d)), _add(_times(a, d), _times(b, c)))

    def __truediv__(self, other: "Lane") -> "Lane":
        if _is_zero(other.imag):
            return Lane(_divide(self.real, other.real), _divide(self.imag, other.real))
        square = _add(_times(other.real, other.real), _times(other.imag, other.imag))
        return self * Lane(other.real, _negate(other.imag)) / Lane(square)

    @property
    def is_known(self) -> bool:
        """Whether the scalar is a number that the trace knows."""
        return not (_is_array(self.real) or _is_array(self.imag))


def _is_array(x) -> bool:
    return isinstance(x, jax.Array)


def _is_zero(x) -> bool:
    return not _is_array(x) and x == 0


def _add(x, y):
    return y if _is_zero(x) else x if _is_zero(y) else x + y


def _negate(x):
    return 0 if _is_zero(x) else -x


def _subtract(x, y):
    return x if _is_zero(y) else _negate(y) if _is_zero(x) else x - y


def _times(x, y):
    if _is_zero(x) or _is_zero(y):
        return 0
    for known, other in ((x, y), (y, x)):
        if not _is_array(known) and abs(known) == 1:
            return other if known == 1 else -other
    return x * y


def _divide(x, y):
    return 0 if _is_zero(x) else x if not _is_array(y) and y == 1 else x / y


# --- arrays of scalars ----------------------------------------------------------------------------


def _fill(shape: tuple[int, ...], lanes: Sequence[Lane]) -> Objects:
    array = np.empty(len(lanes), dtype=object)
    array[:] = lanes
    return array.reshape(shape)


def _split_elements(array: Array) -> Objects:
    """The elements of an array whose last axis is k."""
    rows = array.reshape(-1, array.shape[-1])
    lanes = [_lane_of(rows[i]) for i in range(len(rows))]
    return _fill(array.shape[:-1], lanes)


def _lane_of(x: Array) -> Lane:
    return Lane(jnp.real(x), jnp.imag(x)) if jnp.iscomplexobj(x) else Lane(x)


def _split_known(array) -> Objects:
    """The elements of an array without an axis of k, as numbers where they are known."""
    if isinstance(array, jax.core.Tracer):
        flat = array.reshape(-1)
        return _fill(array.shape, [_lane_of(flat[i]) for i in range(flat.size)])
    known = np.asarray(array)
    return _fill(known.shape, [_lane_of_number(x) for x in known.ravel().tolist()])


def _lane_of_number(x) -> Lane:
    return Lane(x.real, x.imag) if isinstance(x, complex) else Lane(x)


def _join_elements(objects: Objects, points: int, dtype) -> Array:
    """An array whose last axis is k."""
    part = _part_type(dtype)
    as_lane = lambda x: jnp.broadcast_to(jnp.asarray(x, part), (points,))  # noqa: E731

    def join(parts):
        return jnp.stack([as_lane(x) for x in parts]).reshape(*objects.shape, points)

    lanes = objects.ravel().tolist()
    joined = join([lane.real for lane in lanes])
    if not _is_complex(dtype):
        return joined
    return jax.lax.complex(joined, join([lane.imag for lane in lanes]))


# --- the trace ------------------------------------------------------------------------------------


def _run(jaxpr, constants, arguments) -> list[Objects]:
    """Carry out a trace; arrays without an axis of k are taken apart when they are used."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    known |= zip(jaxpr.invars, arguments, strict=True)

    def read(variable) -> Objects:
        if isinstance(variable, Literal):
            return _split_known(variable.val)
        value = known[variable]
        if not (isinstance(value, np.ndarray) and value.dtype == object):
            value = known[variable] = _split_known(value)
        return value

    for equation in jaxpr.eqns:
        results = _carry_out(equation, [read(x) for x in equation.invars])
        known |= zip(equation.outvars, results, strict=True)
    return [read(x) for x in jaxpr.outvars]


def _carry_out(equation, operands: list[Objects]) -> list[Objects]:
    name, parameters = equation.primitive.name, equation.params
    inner = _inner_program(equation)
    if name in ("scan", "while"):
        return (_repeat if name == "scan" else _repeat_while)(parameters, operands)
    if name in _CALLS and inner is not None and not parameters.get("batches"):
        return _run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), operands)
    if name in _RULES:
        results = _RULES[name](parameters, *operands)
        results = results if isinstance(results, list) else [results]
        return [np.asarray(x, dtype=object) for x in results]  # of no axes NumPy gives a Lane
    if name in _MOVING:
        return [_move(equation.primitive, parameters, operands)]
    if name in _ELEMENTWISE:
        return [_map(partial(_apply, equation.primitive, parameters), *operands)]
    raise NotInLanes(name)


def _inner_program(equation):
    return next((equation.params[key] for key in _PROGRAMS if key in equation.params), None)


_PROGRAMS = ("jaxpr", "call_jaxpr", "call", "program", "fun_jaxpr")
_CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "custom_vmap_call"}
_CALLS |= {"with_derivative", "remat", "checkpoint", "core_call"}


def _repeat(parameters, operands: list[Objects]) -> list[Objects]:
    """A loop of known count without inputs and outputs of its own for each turn."""
    first, carried = parameters["num_consts"], parameters["num_carry"]
    closed = parameters["jaxpr"]
    alone = len(operands) == first + carried and len(closed.out_avals) == carried
    if not alone or parameters["reverse"]:
        raise NotInLanes("scan")
    constants, state = operands[:first], _Carried(closed.out_avals, operands[first:])

    def step(_, numbers):
        return state.flatten(_run(closed.jaxpr, closed.consts, [*constants, *state.fill(numbers)]))

    turns = parameters["length"]
    return state.fill(jax.lax.fori_loop(0, turns, step, state.flatten(state.start)))


def _repeat_while(parameters, operands: list[Objects]) -> list[Objects]:
    """A loop until its condition holds for no lane of a block."""
    if not is_for_kernel():
        raise NotInLanes("while")
    body, condition = parameters["body_jaxpr"], parameters["cond_jaxpr"]
    of_condition, rest = np.split(np.arange(len(operands)), [parameters["cond_nconsts"]])
    of_body, start = np.split(rest, [parameters["body_nconsts"]])
    take = lambda numbers: [operands[i] for i in numbers]  # noqa: E731
    state = _Carried(body.out_avals, take(start))

    def is_unfinished(numbers):
        arguments = [*take(of_condition), *state.fill(numbers)]
        (flag,) = _run(condition.jaxpr, condition.consts, arguments)
        return jnp.max(flag.item().real.astype(jnp.int32)) > 0

    def step(numbers):
        arguments = [*take(of_body), *state.fill(numbers)]
        return state.flatten(_run(body.jaxpr, body.consts, arguments))

    return state.fill(jax.lax.while_loop(is_unfinished, step, state.flatten(state.start)))


class _Carried:
    """What a loop carries: arrays of lanes, and the numbers (K,) that they are made of."""

    def __init__(self, types, start: list[Objects]):
        self.start, self.types = start, [aval.dtype for aval in types]
        lanes = (lane.real for objects in start for lane in objects.ravel())
        self.length = jnp.broadcast_shapes(*(x.shape for x in lanes if _is_array(x)))

    def flatten(self, state: list[Objects]) -> list[Array]:
        """The numbers of arrays of lanes."""
        return [
            jnp.broadcast_to(jnp.asarray(x, _part_type(kind)), self.length)
            for objects, kind in zip(state, self.types, strict=True)
            for lane in objects.ravel()
            for x in _parts(lane, kind)
        ]

    def fill(self, numbers: list[Array]) -> list[Objects]:
        """The arrays of lanes of numbers."""
        rest, state = iter(numbers), []
        for objects, kind in zip(self.start, self.types, strict=True):
            width = 2 if _is_complex(kind) else 1
            lanes = [Lane(*(next(rest) for _ in range(width))) for _ in range(objects.size)]
            state.append(_fill(objects.shape, lanes))
        return state


def _is_complex(dtype) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.complexfloating))


def _part_type(dtype):
    return jnp.finfo(dtype).dtype if _is_complex(dtype) else dtype


#: Operations that only move elements, and which of their operands are elements.
_MOVING = {"gather": (0,), "dynamic_slice": (0,), "scatter": (0, 2), "pad": (0, 1)}
_MOVING |= {"dynamic_update_slice": (0, 1)}


def _move(primitive, parameters, operands: list[Objects]) -> Objects:
    """Carry out on the numbers of the elements what is done to the elements."""
    moved, elements, arguments = _MOVING[primitive.name], [], []
    for i, objects in enumerate(operands):
        if i in moved:
            numbers = len(elements) + np.arange(objects.size).reshape(objects.shape)
            elements += objects.ravel().tolist()
        elif all(lane.is_known for lane in objects.ravel()):
            numbers = np.vectorize(lambda lane: lane.real, otypes=[int])(objects)
        else:
            raise NotInLanes(f"{primitive.name} to where k decides")
        arguments.append(numbers)
    with jax.ensure_compile_time_eval():
        found = np.asarray(primitive.bind(*map(jnp.asarray, arguments), **parameters))
    return _fill(found.shape, [elements[i] for i in found.ravel()])


# --- rules ----------------------------------------------------------------------------------------


def _map(function: Callable, *operands: Objects) -> Objects:
    """Apply a function of lanes to the elements of arrays that broadcast together."""
    return np.asarray(np.frompyfunc(function, len(operands), 1)(*operands), dtype=object)


def _apply(primitive, parameters, *lanes: Lane) -> Lane:
    """An operation on real scalars; of known ones its result is known too."""
    if any(_is_array(lane.imag) or lane.imag != 0 for lane in lanes):
        raise NotInLanes(f"{primitive.name} of complex numbers")
    if all(lane.is_known for lane in lanes):
        with jax.ensure_compile_time_eval():
            known = primitive.bind(*(jnp.asarray(lane.real) for lane in lanes), **parameters)
        return Lane(np.asarray(known).item())
    kind = next(lane.real.dtype for lane in lanes if _is_array(lane.real))
    shape = jnp.broadcast_shapes(*(jnp.shape(lane.real) for lane in lanes))
    real = [jnp.broadcast_to(jnp.asarray(lane.real, kind), shape) for lane in lanes]
    return Lane(primitive.bind(*real, **parameters))


def _select(which: Lane, *cases: Lane) -> Lane:
    if which.is_known:
        return cases[int(which.real)]
    no, yes = cases

    def choose(a, b):
        if not (_is_array(a) or _is_array(b)) and a == b:
            return a
        return jnp.where(which.real, b, a)

    return Lane(choose(no.real, yes.real), choose(no.imag, yes.imag))


def _logic(name: str) -> Callable[[Lane, Lane], Lane]:
    """AND and OR of truth values, of which one that is known may decide."""
    decisive = name == "or"

    def combine(a: Lane, b: Lane) -> Lane:
        for known, other in ((a, b), (b, a)):
            if known.is_known and isinstance(known.real, bool):
                return known if known.real == decisive else other
        return Lane(a.real | b.real if decisive else a.real & b.real)

    return combine


def _convert(parameters, x: Objects) -> Objects:
    kind = parameters["new_dtype"]

    def convert(lane: Lane) -> Lane:
        if lane.is_known:
            return Lane(*(np.asarray(part, _part_type(kind)).item() for part in _parts(lane, kind)))
        return Lane(*(_as_type(part, _part_type(kind)) for part in _parts(lane, kind)))

    return _map(convert, x)


def _parts(lane: Lane, kind) -> tuple:
    return (lane.real, lane.imag) if _is_complex(kind) else (lane.real,)


def _as_type(part, kind):
    return part.astype(kind) if _is_array(part) else part


def _power(parameters, x: Objects) -> Objects:
    exponent = parameters["y"]
    if exponent < 1:
        raise NotInLanes(f"power {exponent}")
    result = x
    for _ in range(exponent - 1):
        result = result * x
    return result


def _broadcast(parameters, x: Objects, *_) -> Objects:
    shape, where = parameters["shape"], parameters["broadcast_dimensions"]
    spread = [1] * len(shape)
    for axis, size in zip(where, x.shape, strict=True):
        spread[axis] = size
    return np.broadcast_to(x.reshape(spread), shape)


def _slice(parameters, x: Objects) -> Objects:
    steps = parameters["strides"] or (1,) * x.ndim
    bounds = zip(parameters["start_indices"], parameters["limit_indices"], steps, strict=True)
    return x[tuple(slice(*bound) for bound in bounds)]


def _split(parameters, x: Objects) -> list[Objects]:
    return np.split(x, np.cumsum(parameters["sizes"])[:-1], axis=parameters["axis"])


def _reduce(function: Callable) -> Callable:
    """A rule that combines the elements along some axes one after the other."""

    def reduce(parameters, x: Objects) -> Objects:
        for axis in sorted(parameters["axes"], reverse=True):
            rows = list(np.moveaxis(x, axis, 0))
            total = rows[0]
            for row in rows[1:]:
                total = function(total, row)
            x = np.asarray(total, dtype=object)
        return x

    return reduce


def _accumulate(parameters, x: Objects) -> Objects:
    axis = parameters["axis"]
    x = np.flip(x, axis) if parameters["reverse"] else x
    rows = list(np.moveaxis(x, axis, 0))
    for i in range(1, len(rows)):
        rows[i] = rows[i - 1] + rows[i]
    found = np.stack(rows, axis=axis)
    return np.flip(found, axis) if parameters["reverse"] else found


def _contract(parameters, a: Objects, b: Objects) -> Objects:
    """A general product: batched axes first, then those of each operand that are left."""
    (summed_a, summed_b), (batch_a, batch_b) = parameters["dimension_numbers"]
    left_a = [i for i in range(a.ndim) if i not in (*summed_a, *batch_a)]
    left_b = [i for i in range(b.ndim) if i not in (*summed_b, *batch_b)]
    batch = [a.shape[i] for i in batch_a]
    rows, columns = [a.shape[i] for i in left_a], [b.shape[i] for i in left_b]
    size = math.prod(a.shape[i] for i in summed_a)
    first = a.transpose(*batch_a, *left_a, *summed_a).reshape(math.prod(batch), -1, 1, size)
    second = b.transpose(*batch_b, *left_b, *summed_b).reshape(math.prod(batch), 1, -1, size)
    total = first[..., 0] * second[..., 0]
    for i in range(1, size):
        total = total + first[..., i] * second[..., i]
    return total.reshape(*batch, *rows, *columns)


def _conjugate(lane: Lane) -> Lane:
    return Lane(lane.real, _negate(lane.imag))


def _mirror_triangle(_, x: Objects) -> Objects:
    """Hermitian matrices from their triangles below the diagonal."""
    found = x.copy()
    for i in range(x.shape[-2]):
        found[..., i, i, :] = _map(lambda lane: Lane(lane.real), x[..., i, i, :])
        for j in range(i):
            found[..., j, i, :] = _map(_conjugate, x[..., i, j, :])
    return found


def _store(operands: Sequence[Objects]) -> list[Objects]:
    """Have the lanes stand in memory, but for those of a kernel."""
    if is_for_kernel():
        return list(operands)
    lanes = [lane for objects in operands for lane in objects.ravel()]
    numbers = [x for lane in lanes for x in (lane.real, lane.imag)]
    stored = iter(jax.lax.optimization_barrier([x for x in numbers if _is_array(x)]))
    found = iter([next(stored) if _is_array(x) else x for x in numbers])
    restore = lambda x: [Lane(next(found), next(found)) for _ in range(x.size)]  # noqa: E731
    return [_fill(x.shape, restore(x)) for x in operands]


def _compare_with(function: Callable) -> Callable:
    """A rule that compares real scalars."""
    return lambda _, a, b: _map(lambda x, y: Lane(function(x.real, y.real)), a, b)


_COMPARISONS = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


def _extreme(name: str) -> Callable[[Lane, Lane], Lane]:
    known, array = (max, jnp.maximum) if name == "max" else (min, jnp.minimum)

    def choose(a: Lane, b: Lane) -> Lane:
        both = a.is_known and b.is_known
        return Lane(known(a.real, b.real) if both else array(a.real, b.real))

    return choose


def _absolute(lane: Lane) -> Lane:
    if not _is_zero(lane.imag):
        raise NotInLanes("abs of complex numbers")
    return Lane(abs(lane.real))


def _negate_truth(lane: Lane) -> Lane:
    return Lane(not lane.real) if lane.is_known else Lane(~lane.real)


_RULES: dict[str, Callable] = {
    "add": lambda _, a, b: a + b,
    "add_any": lambda _, a, b: a + b,
    "sub": lambda _, a, b: a - b,
    "mul": lambda _, a, b: a * b,
    "div": lambda _, a, b: a / b,
    "neg": lambda _, a: -a,
    "integer_pow": _power,
    "square": lambda _, a: a * a,
    "real": lambda _, a: _map(lambda x: Lane(x.real), a),
    "imag": lambda _, a: _map(lambda x: Lane(x.imag), a),
    "conj": lambda _, a: _map(_conjugate, a),
    "complex": lambda _, a, b: _map(lambda x, y: Lane(x.real, y.real), a, b),
    "abs": lambda _, a: _map(_absolute, a),
    "max": lambda _, a, b: _map(_extreme("max"), a, b),
    "min": lambda _, a, b: _map(_extreme("min"), a, b),
    "select_n": lambda _, which, *cases: _map(_select, which, *cases),
    "and": lambda _, a, b: _map(_logic("and"), a, b),
    "or": lambda _, a, b: _map(_logic("or"), a, b),
    "not": lambda _, a: _map(_negate_truth, a),
    "convert_element_type": _convert,
    "stop_gradient": lambda _, a: a,
    "copy": lambda _, a: a,
    "hermitian": _mirror_triangle,
    "optimization_barrier": lambda _, *a: _store(a),
    "broadcast_in_dim": _broadcast,
    "reshape": lambda p, a: a.reshape(p["new_sizes"]),
    "squeeze": lambda p, a: np.squeeze(a, p["dimensions"]),
    "expand_dims": lambda p, a: np.expand_dims(a, p["dimensions"]),
    "transpose": lambda p, a: a.transpose(p["permutation"]),
    "rev": lambda p, a: np.flip(a, p["dimensions"]),
    "slice": _slice,
    "split": _split,
    "concatenate": lambda p, *a: np.concatenate(a, axis=p["dimension"]),
    "stack": lambda p, *a: np.stack(a, axis=p["axis"]),
    "unstack": lambda p, a: list(np.moveaxis(a, p["axis"], 0)),
    "iota": lambda p: _split_known(_count_up(p)),
    "dot_general": _contract,
    "cumsum": _accumulate,
    "reduce_sum": _reduce(lambda a, b: a + b),
    "reduce_max": _reduce(lambda a, b: _map(_extreme("max"), a, b)),
    "reduce_min": _reduce(lambda a, b: _map(_extreme("min"), a, b)),
    "reduce_and": _reduce(lambda a, b: _map(_logic("and"), a, b)),
    "reduce_or": _reduce(lambda a, b: _map(_logic("or"), a, b)),
}
_RULES |= {name: _compare_with(function) for name, function in _COMPARISONS.items()}

#: Operations on real scalars that are carried out as they are.
_ELEMENTWISE = {
    *("sqrt", "rsqrt", "exp", "exp2", "log", "log1p", "expm1", "logistic", "erf", "pow", "rem"),
    *("sin", "cos", "tan", "asin", "acos", "atan2", "sinh", "cosh", "tanh", "sign", "floor"),
    *("ceil", "round", "is_finite", "clamp", "bitcast_convert_type", "nextafter"),
}


def _count_up(parameters) -> np.ndarray:
    shape, axis = parameters["shape"], parameters["dimension"]
    spread = [-1 if i == axis else 1 for i in range(len(shape))]
    numbers = np.arange(shape[axis]).astype(parameters["dtype"])
    return np.broadcast_to(numbers.reshape(spread), shape)
