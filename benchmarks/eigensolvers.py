"""Eigensolvers against LAPACK, by the number of bands: the table of `engine.eigensolvers`.

Random Hermitian matrices in tiles of 256, double precision; processor time, medians of alternated
runs. It fails if a solver is less accurate than 1e-14. A * marks the solver in use.

    python benchmarks/eigensolvers.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from record import cpu_time, on_one_core, write

from jaxspin.engine import eigensolvers

BANDS = (2, 3, 4, 6, 8, 10, 12, 16, 18, 20, 24, 32)
TILE = 256
SOLVERS = (
    eigensolvers.closed_form,
    eigensolvers.householder_ql,
    eigensolvers.looped_ql,
    eigensolvers.library,
)
UNROLLED = 12  # bands, beyond which it compiles too long
SECONDS, ROUNDS = 0.3, 5


def matrices(n: int, tiles: int) -> jax.Array:
    """Random Hermitian matrices, (tiles, n, n, TILE)."""
    rng = np.random.default_rng(n)
    parts = rng.normal(size=(2, tiles, n, n, TILE))
    matrix = parts[0] + 1j * parts[1]
    return jnp.asarray((matrix + matrix.conj().swapaxes(1, 2)) / 2)


def usable(solver, n: int) -> bool:
    """Whether a solver is for n bands at all."""
    if solver is eigensolvers.householder_ql and n > UNROLLED:
        return False
    return (solver is eigensolvers.closed_form) == (n <= 2) or solver is eigensolvers.library


def compiled(solver, tiles):
    """The solver applied to tile after tile, and the processor seconds that compiling it took."""
    start = cpu_time()
    function = jax.jit(lambda tiles: jax.lax.map(solver, tiles)).lower(tiles).compile()
    return function, cpu_time() - start


def accuracy(function, tiles) -> float:
    """The larger of |HU - UE|/|H| and |U†U - 1|."""
    energies, basis = (np.moveaxis(x, -1, 1) for x in function(tiles))
    tiles = np.moveaxis(tiles, -1, 1)
    residual = tiles @ basis - basis * energies[..., None, :]
    overlap = basis.conj().swapaxes(-2, -1) @ basis - np.eye(basis.shape[-1])
    norm = np.linalg.norm(tiles, axis=(-2, -1))[..., None, None]
    return max(np.max(abs(residual) / norm), np.max(abs(overlap)))


def seconds(function, tiles) -> float:
    """Processor seconds of one call."""
    start, calls = cpu_time(), 0
    while cpu_time() - start < SECONDS:
        jax.block_until_ready(function(tiles))
        calls += 1
    return (cpu_time() - start) / calls


def main():
    rows = []
    for n in BANDS:
        tiles = matrices(n, max(1, 200 // n**2))
        solvers = [solver for solver in SOLVERS if usable(solver, n)]
        ready = [compiled(solver, tiles) for solver in solvers]
        errors = [accuracy(function, tiles) for function, _ in ready]
        if max(errors) > 1e-14:
            raise SystemExit(f"n = {n}: errors {errors}")
        rounds = [[seconds(function, tiles) for function, _ in ready] for _ in range(ROUNDS)]
        times = np.median(rounds, axis=0)
        used = eigensolvers.solver(n, jax.default_backend())
        for solver, error, (_, compile_time), time_ in zip(
            solvers, errors, ready, times, strict=True
        ):
            rows.append(
                {
                    "bands": n,
                    "solver": "* " * (solver is used) + solver.__name__,
                    "thousand a cpu second": f"{len(tiles) * TILE / time_ / 1e3:.0f}",
                    "to the library": f"{times[-1] / time_:.1f}",
                    "compile, cpu s": f"{compile_time:.1f}",
                    "error": f"{error:.1e}",
                }
            )
    write("eigensolvers", rows)


if __name__ == "__main__":
    on_one_core()  # the threads of LAPACK spin
    jax.config.update("jax_enable_x64", True)
    main()
