"""Fits of five parameters of Bi2Se3 to 100 synthetic data. Goals: honest errors, cheap Jacobians.

Synthetic spin Hall curves (corrected proper definition, xy^z and yz^x, 25 Fermi energies, 150 and
300 K) with noise of 1 % of the largest value of each component.

1. Of 100 fits with different noise, at least 90 have each true value within 2 standard errors, and
   χ² is on average the number of degrees of freedom.
2. The Jacobian of the 100 data by the 5 parameters costs less than 8 evaluations, and no more
   memory at 64³ points than at 16³.
3. Value and gradient of χ² compile in less than 20 s, and a second fit compiles nothing.

    python benchmarks/fitting.py
"""

import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from record import alternated, cpu_time, on_one_core, peak_memory, same, three, write

import jaxspin as js

NAMES = ["A0", "B0", "M0", "M1", "M2"]
PARAMETERS = js.fitting.Parameters(js.models.TopologicalInsulator.bi2se3(), NAMES)
TRUE, TREE = ravel_pytree(PARAMETERS.start)
SEEDS = 100
MU, KELVIN, LABELS = (
    grid.ravel()
    for grid in np.meshgrid(np.linspace(-0.4, 0.6, 25), [150.0, 300.0], ["xy^z", "yz^x"])
)
# Where the data are; the values come with the seeds.
PLACES = js.fitting.Data(
    0.0 * MU, 1.0, list(LABELS), mu=MU, temperature=KELVIN, units="hbar/2e S/m"
)
MESH = (24, 16, 5)
LARGE, MEMORY = (40, 24, 16), ((16, 16, 16), (64, 64, 64))
LIMITS = {"cost": 8.0, "growth": 1.2, "compile": 20.0, "inside": 90}


def calculated(numbers, counts=MESH):
    mesh = js.Space([0.0793, 0.0793, 0.2020], *counts)
    model = PARAMETERS.model(TREE(numbers))
    sigma = js.spin_hall(model, mesh, PLACES.levels, definition="proper_corrected")
    return PLACES.calculated(sigma)


class Curves(eqx.Module):
    """Residuals of one set of data. As a module it is compiled once for all of them."""

    measured: jax.Array
    error: jax.Array

    def __call__(self, parameters):
        return (calculated(ravel_pytree(parameters)[0]) - self.measured) / self.error


def jacobian(numbers, counts):
    along = lambda unit: jax.jvp(lambda x: calculated(x, counts), (numbers,), (unit,))  # noqa: E731
    return jax.vmap(along, out_axes=(None, -1))(jnp.eye(len(NAMES)))


WIDE = {"compiler_options": {"xla_cpu_prefer_vector_width": 512}}  # as in a fit
JOBS = {"value": calculated, "jacobian": jacobian}


class Compilations:
    """Counts what XLA compiles."""

    def __init__(self):
        self.number = 0
        jax.monitoring.register_event_duration_secs_listener(self)

    def __call__(self, event: str, seconds: float, **about):
        self.number += event.endswith("backend_compile_duration")


def statistics() -> list[dict]:
    """Fits of the same curves with different noise."""
    exact = np.asarray(jax.jit(calculated)(TRUE))
    error = 0.01 * np.array([np.max(np.abs(exact[label == LABELS])) for label in LABELS])
    start = TREE(TRUE * np.array([1.1, 0.9, 1.1, 0.9, 1.1]))
    noises = [np.random.default_rng(seed).normal(size=len(exact)) for seed in range(SEEDS)]
    compilations, counts, fits = Compilations(), [], []
    for noise in noises:
        before = compilations.number
        fits.append(js.fit(Curves(jnp.asarray(exact + error * noise), jnp.asarray(error)), start))
        counts.append(compilations.number - before)
    away = np.array([(fit.values - TRUE) / fit.standard_errors for fit in fits])
    inside = np.sum(np.abs(away) < 2, axis=0)
    chi2 = np.array([fit.reduced_chi2 for fit in fits])
    steps = [len(fit.history.misfit) for fit in fits]
    if not all(fit.converged for fit in fits) or np.min(inside) < LIMITS["inside"]:
        raise SystemExit(f"not honest: {inside} of {SEEDS} within 2 standard errors")
    if sum(counts[1:]):
        raise SystemExit(f"compiled again: {counts}")
    rows = [
        {"what": f"{name} within 2 standard errors, fits", "measured": int(number)}
        for name, number in zip(sorted(NAMES), inside, strict=True)
    ]
    spread = np.sqrt(np.mean(away**2))
    return [
        {"what": "fits", "measured": SEEDS},
        *rows,
        {"what": "rms of (fitted - true) / standard error", "measured": three(spread)},
        {"what": "relative standard errors, %", "measured": _percent(fits[0])},
        {"what": "mean of reduced chi2", "measured": three(np.mean(chi2))},
        {"what": "its standard error", "measured": three(np.std(chi2) / np.sqrt(SEEDS))},
        {"what": "mean square of the noise drawn", "measured": three(np.mean(np.square(noises)))},
        {"what": "steps of a fit, at most", "measured": max(steps)},
        {"what": "compilations in the first fit", "measured": counts[0]},
        {"what": "compilations in all others", "measured": sum(counts[1:])},
    ]


def _percent(fit: js.Fit) -> str:
    return " ".join(f"{x:.2f}" for x in 100 * fit.standard_errors / np.abs(fit.values))


def cost() -> list[dict]:
    """The Jacobian against one evaluation, in the same run.

    The evaluation is the one inside jit. As one calls it, with all checks and compiled piece by
    piece, it takes longer on a mesh as small as this.
    """
    compiled = {name: jax.jit(job, static_argnums=1, **WIDE) for name, job in JOBS.items()}
    jobs = {
        "plain": lambda: calculated(TRUE, LARGE),
        **{name: lambda job=job: job(TRUE, LARGE) for name, job in compiled.items()},
    }
    times = alternated(jobs, rounds=7)
    value, slopes = times["jacobian"].value
    same(value, times["plain"].value, 1e-10)
    # Inside jit without a derivative levels have no histogram, which interpolates to 6e-8.
    same(times["value"].value, value, 6e-8)
    step = 1e-5 * jnp.eye(len(NAMES))[2]
    high, low = (compiled["value"](TRUE + sign * step, LARGE) for sign in (1, -1))
    same(slopes[:, 2], (high - low) / 2e-5, 1e-5)
    ratio = times["jacobian"].cpu / times["value"].cpu
    memory = {counts: memory_elsewhere("jacobian", counts) for counts in MEMORY}
    growth = memory[MEMORY[1]] / memory[MEMORY[0]]
    if not (ratio < LIMITS["cost"] and growth < LIMITS["growth"]):
        raise SystemExit(f"too much: {ratio:.2f} evaluations, memory {memory}")
    return [
        {"what": "evaluation of 100 data, 15,360 points, s", "measured": three(times["value"].cpu)},
        {"what": "the same outside of jit, s", "measured": three(times["plain"].cpu)},
        {"what": "Jacobian by 5 parameters, evaluations", "measured": three(ratio)},
        {"what": "its memory at 16^3 points, MiB", "measured": three(memory[MEMORY[0]])},
        {"what": "its memory at 64^3 points, MiB", "measured": three(memory[MEMORY[1]])},
    ]


def compilation() -> list[dict]:
    """Value and gradient of χ² in reverse mode, from nothing."""
    misfit = lambda numbers: jnp.sum(calculated(numbers) ** 2)  # noqa: E731
    wall, cpu = time.perf_counter(), cpu_time()
    lowered = jax.jit(jax.value_and_grad(misfit)).lower(TRUE)
    traced_cpu = cpu_time()
    lowered.compile()
    took = cpu_time() - cpu
    if not took < LIMITS["compile"]:
        raise SystemExit(f"value_and_grad compiles in {took:.1f} s")
    return [
        {"what": "value_and_grad: traced in cpu s", "measured": three(traced_cpu - cpu)},
        {"what": "value_and_grad: traced and compiled in cpu s", "measured": three(took)},
        {
            "what": "value_and_grad: traced and compiled in s",
            "measured": three(time.perf_counter() - wall),
        },
    ]


def memory(mode: str, counts) -> float:
    """Peak memory of this process, MiB."""
    jax.block_until_ready(jax.jit(JOBS[mode], static_argnums=1)(TRUE, counts))
    return peak_memory()


def memory_elsewhere(mode: str, counts) -> float:
    command = [sys.executable, __file__, mode, *map(str, counts)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3600)
    return float(output.stdout.split()[-1])


if __name__ == "__main__":
    on_one_core()
    if len(sys.argv) > 1:
        print(memory(sys.argv[1], tuple(int(x) for x in sys.argv[2:])))
    else:
        write("fitting", [*compilation(), *cost(), *statistics()])
