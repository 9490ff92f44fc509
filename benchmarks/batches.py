"""Claim: a model costs about the same under vmap as in a loop, or less, in memory of a few.

Processor time of one model of a batch, as `vmap` of the function computes it and as a loop over
the models does, each in one program; and memory that the program of `vmap` needs beside its
arguments, of all models and of an eighth of them. One core.

    python benchmarks/batches.py
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from record import alternated, on_one_core, same, three, write

import jaxspin as js

GRID, BALL = js.Grid((16, 16)), js.Ball(0.3, 8, 12, 6)
SCAN = np.linspace(-0.5, 0.5, 51)


def hall(parameters, mu=0.1):
    """σ_yx of a Chern insulator."""
    model = js.models.QiWuZhang(A=parameters[0], m=parameters[1], t0=parameters[2])
    levels = js.Levels(mu, 300.0)
    response = js.anomalous_hall(model, GRID, levels, progress=False)
    return response.component(flow="y", field="x").value


def spin_hall(parameters):
    """σ_zx^y of Bi2Se3 in an exchange field along z."""
    numbers = dict(zip(("M0", "A0"), parameters, strict=False))
    exchange = 0.02 * jnp.eye(3)[2] * (1 + parameters[2])
    model = js.models.TopologicalInsulator.bi2se3(**numbers, exchange=exchange)
    levels = js.Levels(0.35, 300.0)
    response = js.spin_hall(model, BALL, levels, definition="conventional", progress=False)
    return response.component(flow="z", field="x", spin="y").value


def gradient(function: Callable) -> Callable:
    """Its gradient by the three parameters."""
    return jax.grad(lambda parameters: jnp.sum(function(parameters)))


def by_mass(parameters):
    """The derivative by one parameter."""
    return jax.grad(lambda mass: jnp.sum(hall(parameters.at[1].set(mass))))(parameters[1])


CHERN, BI2SE3 = jnp.array([1.0, -1.0, 0.1]), jnp.array([-0.28, 2.2, 0.1])
JOBS = {
    "Hall, 2 bands, 256 k": (hall, CHERN, 512),
    "Hall, 51 levels": (lambda x: hall(x, SCAN), CHERN, 256),
    "Hall, derivative by the mass": (by_mass, CHERN, 256),
    "Hall, gradient by 3 parameters": (gradient(hall), CHERN, 256),
    "spin Hall, 4 bands, 576 k": (spin_hall, BI2SE3, 64),
    "spin Hall, gradient by 3 parameters": (gradient(spin_hall), BI2SE3, 32),
}


def megabytes(function: Callable, models) -> str:
    """Memory of the compiled program of a batch, beside arguments and results."""
    program = jax.jit(jax.vmap(function)).lower(models).compile()
    return three(program.memory_analysis().temp_size_in_bytes / 2**20)


def row(name: str, function: Callable, center, number: int) -> dict[str, object]:
    """The figures of one batch."""
    models = center * jnp.linspace(0.95, 1.05, number)[:, None]
    mapped, looped = jax.jit(jax.vmap(function)), jax.jit(lambda x: jax.lax.map(function, x))
    timings = alternated({"vmap": lambda: mapped(models), "loop": lambda: looped(models)}, 5)
    same(timings["vmap"].value, timings["loop"].value, 1e-9)
    us = {key: 1e6 * timing.cpu / number for key, timing in timings.items()}
    return {
        "a model of a batch": name,
        "models": number,
        "vmap, us": three(us["vmap"]),
        "loop, us": three(us["loop"]),
        "vmap / loop": three(us["vmap"] / us["loop"]),
        "memory, MiB": megabytes(function, models),
        "of an eighth, MiB": megabytes(function, models[: number // 8]),
        "first call, s": three(timings["vmap"].first_cpu),
    }


def main() -> None:
    on_one_core()
    write("batches", [row(name, *job) for name, job in JOBS.items()])


if __name__ == "__main__":
    main()
