"""Disordered conductors. Goals: the collision operator of 4,000 states in milliseconds, at least
500 times faster than the matrix of all pairs; 200 Fermi energies x 50 magnetizations in one call.

Massive Dirac cone and scalar disorder, compiled, one core. The dense rows build the matrix of all
pairs and solve with it, for the same sources. The low-rank solve is the mean of 200 in a row: one
alone, with the dense matrix in the caches before it, takes milliseconds.

    python benchmarks/disorder.py
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from record import Timing, alternated, on_one_core, same, three, write

import jaxspin as js
from jaxspin.disorder.collision import DenseScattering
from jaxspin.disorder.contributions import sum_mechanisms
from jaxspin.disorder.fermi_states import find_states
from jaxspin.disorder.results import ALWAYS_MEASURED

STATES, SPEEDUP = 4000, 500
REPEATS = 200
DISORDER = js.ScalarDisorder(1e-3)


def circle_of_states(number: int):
    """The states of the isotropic cone at mu = 1, all of them exact."""
    model = js.models.MassiveDirac(velocity=1.0, mass=0.3)
    theta = 2 * np.pi * np.arange(number) / number
    k = np.sqrt(1 - 0.3**2) * np.array([np.cos(theta), np.sin(theta)])
    weight = np.full(number, 1 / (2 * np.pi * number))
    surface = js.FermiSurface(jnp.asarray(k), jnp.ones(number, int), jnp.asarray(weight))
    find = lambda: find_states(model, surface, ALWAYS_MEASURED, has_groups=False)  # noqa: E731
    return eqx.filter_jit(find)()


def of_pairs(states) -> DenseScattering:
    correlation = jnp.full((states.weight.size,) * 2, DISORDER.strength)
    return DenseScattering(states, jnp.eye(4), correlation)


def collision_operator() -> list[dict]:
    states = circle_of_states(STATES)
    scattering = of_pairs(states)
    source = -states.velocity[:, None] * scattering.vectors
    local = eqx.filter_jit(lambda states: DISORDER.scattering(states).solve_collisions(source))
    pairs = eqx.filter_jit(lambda scattering: scattering.solve_collisions(source))

    def repeated():  # one solve is shorter than what a machine does now and then on the side
        for _ in range(REPEATS - 1):
            jax.block_until_ready(local(states))
        return local(states)

    times = alternated({"low rank": repeated, "pairs": lambda: pairs(scattering)})
    times["low rank"] = _each(times["low rank"], REPEATS)
    difference = same(times["low rank"].value, times["pairs"].value, 1e-10)
    ratio = times["pairs"].wall / times["low rank"].wall
    everything = eqx.filter_jit(lambda states: sum_mechanisms(states, DISORDER.scattering(states)))
    whole = alternated({"all mechanisms": lambda: everything(states)})["all mechanisms"]
    hall = 2 * np.pi * float(whole.value.skew[1, 0])
    same(hall, 1.5 * 0.3 * (1 - 0.09) ** 2 / (1 + 0.27) ** 2, 1e-12)
    if ratio < SPEEDUP:
        raise SystemExit(f"{ratio:.0f} times faster than all pairs, below {SPEEDUP}")
    return [
        _row("J0, low rank", STATES, times["low rank"], f"{difference:.0e}", three(ratio)),
        _row("J0, all pairs", STATES, times["pairs"], "", ""),
        _row("all mechanisms on the surface", STATES, whole, "", ""),
    ]


def scan() -> list[dict]:
    """200 x 50 responses, sea and surface search included."""
    mu, masses = jnp.linspace(0.6, 1.2, 200), jnp.linspace(0.05, 0.5, 50)
    surface, sea = js.FermiContour(12), js.Plane(0.5, 40, 8)

    def response(mass):
        model = js.models.MassiveDirac(velocity=1.0, mass=mass)
        found = js.disordered_response(model, surface, js.Levels(mu), DISORDER, sea=sea)
        return found.total.conductivity.value - found.drude.conductivity.value

    mapped = jax.jit(jax.vmap(response))
    time = alternated({"scan": lambda: mapped(masses)}, rounds=1)["scan"]
    m, level = np.asarray(masses)[:, None], np.asarray(mu)
    x = (m / level) ** 2
    exact = 4 * m / level * (1 + x) / (1 + 3 * x) ** 2 / (2 * np.pi)
    difference = same(time.value[..., 1, 0], exact, 1e-8)
    return [_row("200 mu x 50 M, one vmapped call", 10_000 * 12, time, f"{difference:.0e}", "")]


def _each(time: Timing, repeats: int) -> Timing:
    return dataclasses.replace(time, wall=time.wall / repeats, cpu=time.cpu / repeats)


def _row(name, states, time, difference, ratio) -> dict:
    return {
        "what": name,
        "states": states,
        "first call s": three(time.first_wall),
        "wall s": three(time.wall),
        "cpu s": three(time.cpu),
        "times faster": ratio,
        "difference": difference,
    }


if __name__ == "__main__":
    on_one_core()
    write("disorder", [*collision_operator(), *scan()])
