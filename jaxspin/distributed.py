"""Several processes, on one or many hosts: each sums its share of the k-points.

Every process runs the same script. After `start()` the segments of every sum are dealt out to the
processes in turn, the partial sums are added at the end in the order of the processes, and each
process returns the whole result.
"""

import jax


def start(
    coordinator: str | None = None, processes: int | None = None, rank: int | None = None
) -> None:
    """Join the processes of this run; to be called before anything is computed.

    Under SLURM or Open MPI (`srun`, `mpirun`) nothing needs to be said. Elsewhere each process
    says where the first one listens ("host:port"), how many there are, and which it is (from 0).

    Raises:
        ValueError: only some of the arguments are given, or no launcher is found.
    """
    given = [argument is not None for argument in (coordinator, processes, rank)]
    if any(given) and not all(given):
        raise ValueError(
            "Arguments `coordinator`, `processes` and `rank` must be given together or not at "
            f"all, but are {coordinator!r}, {processes!r}, {rank!r}."
        )
    if all(given) and not 0 <= rank < processes:
        raise ValueError(f"Argument `rank` must be from 0 to {processes - 1}, but is {rank!r}.")
    jax.distributed.initialize(coordinator, processes, rank)


def size() -> int:
    """Number of processes."""
    return jax.process_count()


def rank() -> int:
    """Number of this process, from 0."""
    return jax.process_index()


def total(sums):
    """(sums, smallest splitting) of all processes together."""
    if size() == 1:
        return sums
    raise NotImplementedError
