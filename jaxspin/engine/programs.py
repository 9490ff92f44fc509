"""Compiled programs: one for each function, structure of its arguments and code that these run.

`jax.jit` knows a program again by the class and the static fields of its arguments. It would go on
with the one of a model whose module global or class attribute has since changed. Here what a
user's code does (`identity`) is part of the key. The programs used last are kept, as many as the
process has room for.
"""

import ctypes
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property, partial, update_wrapper, wraps
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jaxspin.engine.identity import code_of, digest, is_tracing, is_trusted_now
from jaxspin.engine.recent import Recent
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.trusted import Unidentified

#: Number of compiled programs that are kept, at most.
CAPACITY = 128
#: Number of memory mappings of the process beyond which the oldest programs are dropped. A sum over
#: a mesh has 170 to 240, one for each part of its machine code; Linux allows 65530 in all.
MAPPINGS = 4000
#: Number of programs that are kept whatever other mappings the process has: those of a few calls.
LEAST = 16


class Program:
    """A function compiled at its first call, and again for arguments that need another program.

    Arrays among the arguments are variables; anything else is constant.

    Args:
        options: of `jax.jit`.
    """

    def __init__(self, function: Callable, **options: Any):
        update_wrapper(self, function)
        self._function, self._options = function, options

    def __call__(self, *arguments, code: str | None = None):
        """Call the function.

        Args:
            code: digest of the user's code that the arguments run, where it is known already.
        """
        if is_tracing():
            return self._function(*arguments)
        structure, arrays, rest = _split_arrays(arguments)
        fresh = _Compiled(self._function, structure, rest, self._options)
        return self._find_compiled(fresh, arguments, arrays, code)(arrays)

    def _find_compiled(self, fresh: "_Compiled", arguments, arrays, code) -> "_Compiled":
        """Find the program of an earlier call that does the same."""
        kinds = tuple(map(_kind_of, arrays))
        try:
            code = code_of(arguments) if code is None else code
            key = (self, fresh.structure, fresh.constants, kinds, code)
            hash(key)
        except (Unidentified, TypeError):  # code of unknown kind, or a constant that may change
            return self._find_by_trace(fresh, arrays, kinds)
        return _programs.keep(key, fresh)

    def _find_by_trace(self, fresh: "_Compiled", arrays, kinds) -> "_Compiled":
        """Find the program of an earlier call by the trace of the whole function."""
        try:
            key = (self, kinds, digest(fresh.jit_function.trace(arrays).jaxpr))
        except Unidentified:
            return fresh
        found = _programs.keep(key, fresh)
        found.result = fresh.result  # constants that no operation depends on
        return found


def _split_arrays(arguments) -> tuple[Any, list, list]:
    """The structure of arguments, their arrays, and their other leaves, None for each array."""
    leaves, structure = jax.tree.flatten(arguments)
    flags = list(map(eqx.is_array, leaves))
    arrays = [leaf for leaf, is_array in zip(leaves, flags, strict=True) if is_array]
    return structure, arrays, [None if x else leaf for leaf, x in zip(leaves, flags, strict=True)]


def _kind_of(array: Any) -> tuple:
    """What a program is compiled for; of an array of NumPy without making a type of JAX."""
    return array.shape, array.dtype, getattr(array, "weak_type", False)


def _typed_constants(rest: list) -> tuple:
    """Constants with their types, for 1 and True are equal."""
    return tuple((type(x), x) for x in rest)


class _Compiled:
    """One program: a function of a list of arrays."""

    def __init__(self, function: Callable, structure, rest: list, options: dict[str, Any]):
        self.structure = structure
        self.constants = _typed_constants(rest)
        self._function, self._rest, self._options = function, rest, options
        #: Structure and constants of the result, known once it is traced.
        self.result: Any = None

    @cached_property
    def jit_function(self) -> Any:
        """The function for `jax.jit`."""

        def flat_function(arrays):
            numbers = iter(arrays)
            leaves = [next(numbers) if x is None else x for x in self._rest]
            result = self._function(*jax.tree.unflatten(self.structure, leaves))
            variables, rest = eqx.partition(result, eqx.is_array)
            numbers, structure = jax.tree.flatten(variables)
            self.result = structure, rest
            return numbers

        flat_function.__name__ = flat_function.__qualname__ = self._function.__name__
        return jax.jit(flat_function, **self._options)

    def __call__(self, arrays: list):
        numbers = self.jit_function(arrays)
        structure, rest = self.result
        return eqx.combine(jax.tree.unflatten(structure, numbers), rest)


class _Programs:
    """The programs used last, those of all functions together."""

    def __init__(self):
        self._kept: OrderedDict[Hashable, _Compiled] = OrderedDict()
        self._lock = threading.Lock()  # sums call from several threads

    def keep(self, key: Hashable, fresh: _Compiled) -> _Compiled:
        """Return the program kept under the key, or keep the fresh one."""
        with self._lock:
            if key not in self._kept:
                self._make_room()
            found = self._kept.setdefault(key, fresh)
            self._kept.move_to_end(key)
            return found

    def _make_room(self) -> None:
        """Drop the oldest programs if there is no room for one more."""
        number = len(self._kept)
        while number >= CAPACITY or (number >= LEAST and count_mappings() > MAPPINGS):
            _, oldest = self._kept.popitem(last=False)
            oldest.jit_function.clear_cache()
            number = len(self._kept)
            _return_freed_memory()


def _return_freed_memory() -> None:
    """Give memory that was freed back to the system, where its C library (that of GNU) can.

    Compilers take and free it in pieces of all sizes: without this, 270 programs that had been
    dropped one by one left 140 MB behind.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def count_mappings() -> int:
    """Number of memory mappings of this process; 0 where the system does not tell."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0


_programs = _Programs()


def program(function: Callable | None = None, **options: Any):
    """Decorate a function to be compiled (`Program`), with options of `jax.jit`."""
    return partial(program, **options) if function is None else Program(function, **options)


#: The same for what runs once or on little: without optimisation, compiled in a third of the time.
plain_program = partial(program, compiler_options={"xla_backend_optimization_level": 0})


def wide_program(function: Callable) -> Callable:
    """Decorate a long sum to be compiled, on a CPU with the widest vectors of the processor."""
    elsewhere = Program(function)
    on_cpu = Program(function, compiler_options={"xla_cpu_prefer_vector_width": 512})

    @wraps(function)
    def call(*arguments, **code: str | None):
        chosen = on_cpu if jax.default_backend() == "cpu" else elsewhere
        return chosen(*arguments, **code)

    return call


def known_by_shape(function: Callable) -> Callable:
    """Decorate a function of the shapes and the structure of its arguments, and of user's code.

    It is called once for each of these; the numbers of its arguments must not matter.
    """
    return _keep_results(function, lambda array: (array.shape, array.dtype), 256)


def known_by_value(function: Callable, capacity: int = 256) -> Callable:
    """Decorate a function of the numbers of its arguments too; called each time for long arrays."""
    return _keep_results(function, _short_value, capacity)


def _short_value(array) -> Hashable:
    if array.size > _SHORT or is_traced(array):
        raise Unidentified
    return _value_of(array)


def _value_of(array) -> Hashable:
    known = np.asarray(array)
    return known.shape, known.dtype, known.tobytes()


_SHORT = 16


def known_by_object(function: Callable, capacity: int = 64) -> Callable:
    """Decorate a function of one immutable object of the package, such as a mesh, which is known
    again by being the same object, and of arguments that can be hashed.
    """
    results = Recent(capacity)

    @wraps(function)
    def call(thing, *rest):
        if is_traced(thing) or not is_trusted_now(type(thing)):
            return function(thing, *rest)
        key = id(thing), rest, jax.config.read("jax_enable_x64")
        return results.find(key, lambda: (function(thing, *rest), thing))[0]  # the id stays its

    return call


def known_by_identity(function: Callable, capacity: int) -> Callable:
    """Decorate a function of the numbers of its arguments, where a long array is known again by
    being the same object: nothing changes an array of JAX. Those of some calls are kept alive.
    """
    return _keep_results(function, _identity_or_value, capacity)


def _identity_or_value(array) -> Hashable:
    if is_traced(array):
        raise Unidentified
    if array.size <= _LONG:
        return _value_of(array)
    if isinstance(array, np.ndarray):  # its numbers may change
        raise Unidentified
    return _ArrayItself(array)


_LONG = 256  # numbers: those of a model of a few bands are compared


class _ArrayItself:
    """A key that equals that of the same array alone."""

    def __init__(self, array):
        self._array = array

    def __hash__(self) -> int:
        return id(self._array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ArrayItself) and self._array is other._array


def _keep_results(
    function: Callable, key_of_array: Callable[[Any], Hashable], capacity: int
) -> Callable:
    results = Recent(capacity)

    @wraps(function)
    def call(*arguments):
        if is_tracing():  # for the digest of the code itself
            return function(*arguments)
        try:
            structure, arrays, rest = _split_arrays(arguments)
            kinds = tuple(map(key_of_array, arrays))
            precision = jax.config.read("jax_enable_x64")
            key = structure, kinds, _typed_constants(rest), code_of(arguments), precision
            hash(key)
        except Exception:  # nothing is known of it, or it fails, and then in its own words
            return function(*arguments)
        return results.find(key, lambda: function(*arguments))

    return call
