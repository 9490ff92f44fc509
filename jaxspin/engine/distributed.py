"""Several processes, on one or many hosts: each sums its share of the k-points.

Every process runs the same script. After `start()` the segments of every sum are dealt out to the
processes in turn, the partial sums are added at the end in the order of the processes, and each
process returns the whole result.

Nothing is communicated inside a computation. The partial sums go through the key-value store that
process 0 holds, and so does, every second, a sign of life of each process. A process that waits
for another waits as long as that one lives; that one died, or ended early, is an error within
`timeout` seconds, in the midst of a sum too.
"""

import atexit
import io
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")

_BEAT = 1.0  # seconds between two signs of life
_PIECE = 2**20  # bytes in one message; those of the store are limited to a few million
_ROOT = "jaxspin"
_LEFT = "left"
#: What Open MPI, MPICH and SLURM tell each process: how many there are, and which it is.
_LAUNCHERS = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
    ("SLURM_NTASKS", "SLURM_PROCID"),
)


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    rank: int | None = None,
    *,
    timeout: float | int = 60.0,
) -> None:
    """Join the processes of this run; to be called before anything is computed.

    Under SLURM (`srun`) and Open MPI 4 (`mpirun`) nothing needs to be said. Under Open MPI 5 and
    MPICH `coordinator` is needed. Elsewhere each process says all three.

    Args:
        coordinator: where the first process listens, "host:port", the same for all.
        processes: how many there are.
        rank: which this one is, from 0.
        timeout: seconds without a sign of life after which a process counts as dead.
    Raises:
        ValueError: only some of the arguments are given, no launcher is found, or the port of
            `coordinator` is in use.
        RuntimeError: called twice, or after something was computed.
    """
    global _group
    if _group is not None:
        raise RuntimeError("`jaxspin.distributed.start` must be called once, but was before.")
    if not timeout >= 5 * _BEAT:
        raise ValueError(f"Argument `timeout` must be at least {5 * _BEAT}, but is {timeout!r}.")
    coordinator, processes, rank = _complete_arguments(coordinator, processes, rank)
    if coordinator is not None and rank == 0:
        _check_port(coordinator)
    # Without this the death of any process aborts the others with a core dump.
    jax.config.update("jax_enable_recoverability", True)
    try:
        jax.distributed.initialize(coordinator, processes, rank)
    except ValueError as error:
        raise ValueError(
            "Arguments `coordinator`, `processes` and `rank` must be given where no launcher "
            f"(SLURM, Open MPI) is found: {error}"
        ) from error
    _group = _Group(jax.process_index(), jax.process_count(), timeout)


def _check_port(coordinator: str) -> None:
    """Check that the port is free on this host, that of process 0: JAX crashes if it is in use."""
    port = int(coordinator.rpartition(":")[2])
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", port))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"Argument `coordinator` must have a free port, but {port} cannot be used: {error}."
            ) from error


def size() -> int:
    """Number of processes."""
    return 1 if _group is None else _group.size


def rank() -> int:
    """Number of this process, from 0."""
    return 0 if _group is None else _group.rank


def check() -> None:
    """Check that the other processes still run; to be called now and then during a sum.

    Raises:
        RuntimeError: one has died or ended.
    """
    if _group is not None:
        _group.check()


def total(sums: T, add: Callable[[T, T], T], about: Callable[[], Mapping[str, str]]) -> T:
    """Add the sums of all processes in their order; every process gets the same total.

    Args:
        about: says what is summed, to be compared between the processes.
    Raises:
        RuntimeError: a process has died or ended, or is at another sum.
    """
    if _group is None:
        return sums
    everyone = _group.exchange(sums, about())
    result = everyone[0]
    for part in everyone[1:]:
        result = add(result, part)
    return result


def first_difference(a: Mapping[str, str], b: Mapping[str, str]) -> str | None:
    """Return the first name under which two descriptions differ, a part before its whole."""
    names = [*a, *(name for name in b if name not in a)]
    return next((name for name in names if a.get(name) != b.get(name)), None)


def _complete_arguments(coordinator, processes, rank):
    """Complete the arguments of `start` from the environment of a launcher."""
    if coordinator is not None and processes is None and rank is None:
        for names in _LAUNCHERS:
            if all(name in os.environ for name in names):
                processes, rank = (int(os.environ[name]) for name in names)
                break
    given = [argument is not None for argument in (coordinator, processes, rank)]
    if any(given) and not all(given):
        raise ValueError(
            "Arguments `coordinator`, `processes` and `rank` must be given together or not at "
            f"all, but are {coordinator!r}, {processes!r}, {rank!r}."
        )
    if rank is not None and processes is not None and not 0 <= rank < processes:
        raise ValueError(f"Argument `rank` must be from 0 to {processes - 1}, but is {rank!r}.")
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise ValueError(f'Argument `coordinator` must be "host:port", but is {coordinator!r}.')
    return coordinator, processes, rank


class _Group:
    """This process among the others."""

    def __init__(self, rank: int, size: int, timeout: float | int):
        self.rank, self.size, self.timeout = rank, size, timeout
        self._store: Any = _key_value_store()
        self._others = [other for other in range(size) if other != rank]
        #: The last sign of life of each, and when it came.
        self._signs = dict.fromkeys(self._others, ("", time.monotonic()))
        self._exchanges = 0
        self._leaving = threading.Event()
        self._watch = threading.Thread(target=self._exchange_signs, daemon=True)
        self._watch.start()
        atexit.register(self._announce_end)

    def check(self) -> None:
        lost = self._describe_losses()
        if lost:
            raise RuntimeError(lost)

    def exchange(self, sums: T, about: Mapping[str, str]) -> list[T]:
        """Return the sums of every process, in order."""
        self._exchanges += 1
        self._post_sums(sums, about)
        everyone = [self._receive_sums(other, sums, about) for other in range(self.size)]
        # That all have posted says that all are done with what was posted before.
        self._store.key_value_delete(f"{_ROOT}/sums/{self._exchanges - 1}/{self.rank}")
        return everyone

    def _post_sums(self, sums, about) -> None:
        file = io.BytesIO()
        texts = {f"about.{name}": np.asarray(text) for name, text in about.items()}
        leaves = {f"sums.{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(sums))}
        arrays: dict[str, Any] = {**texts, **leaves}
        np.savez(file, **arrays)
        data, place = file.getvalue(), self._sums_of(self.rank)
        for i, first in enumerate(range(0, len(data), _PIECE)):
            self._store.key_value_set_bytes(f"{place}/{i}", data[first : first + _PIECE])
        self._store.key_value_set(f"{place}/pieces", str(-(-len(data) // _PIECE)))

    def _receive_sums(self, other: int, like: T, about: Mapping[str, str]) -> T:
        place = self._sums_of(other)
        pieces = int(self._wait_for_key(self._store.blocking_key_value_get, f"{place}/pieces"))
        get = self._store.blocking_key_value_get_bytes
        data = b"".join(self._wait_for_key(get, f"{place}/{i}") for i in range(pieces))
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            content = dict(archive)
        texts = {k.removeprefix("about."): str(v) for k, v in content.items() if "about." in k}
        name = first_difference(about, texts)
        if name is not None:
            raise RuntimeError(
                f"Processes must all compute the same, but `{name}` is {about.get(name)} in "
                f"process {self.rank} and {texts.get(name)} in process {other}."
            )
        leaves, structure = jax.tree.flatten(like)
        saved = [jnp.asarray(content[f"sums.{i}"]) for i in range(len(leaves))]
        return jax.tree.unflatten(structure, saved)

    def _wait_for_key(self, get: Callable[[str, int], T], key: str) -> T:
        """Wait for what another process posts, as long as all are alive."""
        while True:
            lost = (
                self._describe_losses()
            )  # before the last look: who ended in order has posted before
            try:
                return get(key, int(1000 * _BEAT))
            except jax.errors.JaxRuntimeError as error:
                if lost:
                    raise RuntimeError(lost) from error
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise

    def _sums_of(self, other: int) -> str:
        return f"{_ROOT}/sums/{self._exchanges}/{other}"

    def _describe_losses(self) -> str:
        """Error message that names the processes that died or ended; empty if there are none."""
        now = time.monotonic()
        reasons = []
        for other, (sign, since) in self._signs.items():
            if sign == _LEFT:
                reasons.append(f"process {other} of {self.size} has ended")
            elif now - since > self.timeout:
                silence = f"has given no sign of life for {self.timeout:g} s"
                reasons.append(f"process {other} of {self.size} {silence}")
        if not reasons:
            return ""
        return (
            f"The sum cannot be completed: {', '.join(reasons)}. Start all processes again; where "
            "`checkpoint` was given, the sums so far are in the file of each process, and the run "
            "goes on from there."
        )

    def _exchange_signs(self) -> None:
        """Give a sign of life every second, and look for those of the others."""
        beats = 0
        while not self._leaving.wait(_BEAT):
            beats += 1
            self._give_sign(str(beats))
            self._read_signs()

    def _give_sign(self, text: str) -> None:
        try:
            self._store.key_value_set(f"{_ROOT}/alive/{self.rank}", text, allow_overwrite=True)
        except jax.errors.JaxRuntimeError:
            return  # the others notice the silence

    def _read_signs(self) -> None:
        try:
            signs = dict(self._store.key_value_dir_get(f"{_ROOT}/alive/"))
        except jax.errors.JaxRuntimeError:
            return
        for other in self._others:
            sign = signs.get(f"{_ROOT}/alive/{other}", "")
            if sign != self._signs[other][0]:
                self._signs[other] = sign, time.monotonic()

    def _announce_end(self) -> None:
        """Announce the end of this process. The first has the store, and waits for the others."""
        self._leaving.set()
        self._watch.join(2 * self.timeout)
        self._give_sign(_LEFT)
        while self.rank == 0 and any(self._is_here(other) for other in self._others):
            time.sleep(_BEAT / 2)
            self._read_signs()

    def _is_here(self, other: int) -> bool:
        sign, since = self._signs[other]
        return sign != _LEFT and time.monotonic() - since <= self.timeout


def _key_value_store():
    """The key-value store of the run, which JAX does not make public."""
    from jax._src.distributed import global_state

    return global_state.client


_group: _Group | None = None
