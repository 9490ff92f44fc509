"""Devices and CPU cores of this process, on which the segments of a long sum run.

A segment is a computation of a fraction of a second that needs no other. A lane runs one segment
after the other: there are two for each GPU, and on a CPU one for each core. No device ever waits
for another inside a computation. Results come back in the order of the segments, whichever lane
was faster, so that sums do not depend on the number of lanes.
"""

import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias, TypeVar

import jax

from jaxspin.engine import eigensolvers
from jaxspin.engine.blas import limit_threads

#: `jax.Device`, which type checkers do not know for a class.
Device: TypeAlias = Any
S = TypeVar("S")
T = TypeVar("T")


def workers(bands: int) -> list[Device]:
    """Return the device of each lane for models of so many bands.

    All local devices, or the one that `jax.default_device` names. A single CPU device stands for
    as many lanes as there are cores, or as the environment variable JAXSPIN_THREADS says. Where
    its eigensolver is LAPACK a CPU has one lane: LAPACK spreads over the cores by itself, and two
    at once wait for each other for ever, those of two virtual CPU devices too (seen in
    4 of 4 runs, jax 0.10.2). A GPU has two lanes: while it computes a segment it has the next.
    """
    return library_workers() if eigensolvers.is_library(bands) else _all_workers()


def library_workers() -> list[Device]:
    """Return the device of each lane for what calls LAPACK, in linear systems for example."""
    lanes = _all_workers()
    return lanes[:1] if jax.default_backend() == "cpu" else lanes


def _all_workers() -> list[Device]:
    # JAX makes the attributes of its configuration at run time.
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(chosen, str):  # the name of a backend
        chosen = jax.local_devices(backend=chosen)[0]
    devices = jax.local_devices() if chosen is None else [chosen]
    if jax.default_backend() != "cpu":
        return list(devices) * 2
    return list(devices) if len(devices) > 1 else list(devices) * threads()


def limited_library(bands: int) -> AbstractContextManager:
    """Return the context in which sums of so many bands run: of LAPACK with one thread."""
    library = jax.default_backend() == "cpu" and eigensolvers.is_library(bands)
    return limit_threads() if library else nullcontext()


def threads() -> int:
    """Number of cores a sum may use on a CPU.

    Raises:
        ValueError: JAXSPIN_THREADS is not a positive integer.
    """
    asked = os.environ.get("JAXSPIN_THREADS", "")
    if not asked:
        known = hasattr(os, "sched_getaffinity")
        return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    if not asked.isdigit() or int(asked) < 1:
        raise ValueError(f"JAXSPIN_THREADS must be a positive integer, but is {asked!r}.")
    return int(asked)


def in_order(
    compute: Callable[[S, Device], T], items: Iterable[S], workers: list[Device]
) -> Iterator[T]:
    """Yield compute(item, device) in the order of the items, computed on all lanes at once.

    At most two results for each lane wait to be taken.
    """
    if len(workers) == 1:
        for item in items:
            yield compute(item, workers[0])
        return
    free: queue.SimpleQueue[Device] = queue.SimpleQueue()
    for device in workers:
        free.put(device)

    def run_item(item: S) -> T:
        device = free.get()
        try:
            return compute(item, device)
        finally:
            free.put(device)

    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            for item in items:
                if len(waiting) == 2 * len(workers):
                    yield waiting.popleft().result()
                waiting.append(pool.submit(run_item, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
