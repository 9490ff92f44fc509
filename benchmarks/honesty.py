"""Coverage of the estimated errors: how often the true error exceeds the claimed one.

Goal: for each response of metals at T = 0 and T > 0, in two and three dimensions, at most 1 % of
the values are further from the truth than their error says, at most 0.1 % three times as far, and
the median error is less than 10 times the true one. The rows of a dimension take its meshes
together and are what the goal is for: the script ends with an error where one misses it. In the
rows of each mesh alone one value is 0.1 to 0.3 %; docs/conventions.md says which miss it.

Models: random hopping on lattices of 1, 2 and 3 dimensions, of 2 to 4 bands, every third of those
of 4 with the two spins degenerate, and random continuum models on `Disk`, `Ball`, `Plane` and
`Space`; metals, and insulators where the levels lie in a gap. Levels: five energies at which random
k have a band, and the middle of the largest gap between neighbouring bands, at 0, 100 and 300 K.
The constants of the error estimate were chosen on seeds below 302 and 1002 to 1081, and the seeds
here begin at 2002. The claimed error is that of the public functions, with what near degeneracies
between the nodes may hide; of the components at one level the worst stands for all. Values that
are zero by symmetry, rounding aside, do not count.

Truth: at T = 0 by another rule, cells that are filled gradually, on 12 times (1D: 300 times, 3D: 5
to 8 times) as many nodes along each axis, with a shift of its own; at T > 0 the same mesh. Its
error falls with the square of the spacing, while that of counted points falls with the power
(d + 1)/2. Of `Disk`, `Ball` and `Grid` in three dimensions half to three quarters as many nodes
along an axis were too few: truths of some densities of states and spin Hall conductivities were
off by as much as the sums they judge.

    python benchmarks/honesty.py [--quick] [--kept FOLDER]

The sums take about an hour on one core. With `--kept` they are written to a folder, one file for
each model, and taken from there the next time: a changed estimate is judged in minutes.
"""

import argparse
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from record import on_one_core, write

import jaxspin as js
from jaxspin.integration.error_estimates import (
    Extremes,
    MeshSums,
    coarser_meshes,
    estimate_error,
    has_fermi_surface,
    is_noisy,
    levels_at_edges,
    noise_law,
)
from jaxspin.integration.integrate import Sums, sum_over_meshes
from jaxspin.integration.problem import Problem
from jaxspin.integration.resolution import include_unresolved
from jaxspin.meshes.mesh import Mesh
from jaxspin.quantities import charge, combine, spin
from jaxspin.quantities.observable import Observable
from jaxspin.quantities.quantity import Quantity
from jaxspin.quantities.spin_hall import DEFINITIONS

TEMPERATURES = (0.0, 100.0, 300.0)
FIRST_SEED = 2002
ROUNDING = 1e-11  # of the largest value of a response: what sums over 10^5 nodes do not resolve
ZERO = 1e-13  # smaller values, in units of eV and Å, are zero by symmetry


class Sample(NamedTuple):
    """The claimed and the true error of one response of one model at one level."""

    study: str
    dimension: int
    response: str
    temperature: float
    metal: bool
    claimed: float
    true: float


class Filled(Mesh):
    """The nodes of a grid, each standing for its cell at T = 0, as on the other meshes."""

    grid: Mesh

    @property
    def shape(self):
        return self.grid.shape

    @property
    def dimension(self):
        return self.grid.dimension

    @property
    def domain(self):
        return "bounded"

    @property
    def rules(self):
        return self.grid.rules

    @property
    def coordinates(self):
        return self.grid.coordinates

    def coarser(self):
        return Filled(self.grid.coarser())


class RandomContinuum(js.Model):
    """H = k² D + Σ_i k_i H_i + H_0 with random Hermitian matrices and D > 0 diagonal."""

    curvature: Float[Array, "n n"]
    slopes: Float[Array, "d n n"]
    constant: Float[Array, "n n"]
    operator: Float[Array, "3 n n"]

    @property
    def dimension(self):
        return self.slopes.shape[0]

    def __call__(self, k):
        linear = sum(x * slope for x, slope in zip(k, self.slopes, strict=True))
        return self.constant + linear + (k @ k) * self.curvature

    def spin(self):
        return self.operator


def hermitian(random: np.random.Generator, *shape: int) -> np.ndarray:
    matrix = random.normal(size=shape) + 1j * random.normal(size=shape)
    return (matrix + matrix.conj().swapaxes(-1, -2)) / 2


def spins(random: np.random.Generator, n: int) -> np.ndarray:
    """Pauli matrices in a random basis on each pair of orbitals, shape (3, n, n)."""
    pauli = np.array(js.PAULI[1:])
    basis = np.linalg.qr(hermitian(random, 2, 2))[0]
    return np.stack([np.kron(np.eye(n // 2), basis @ x @ basis.conj().T) for x in pauli])


def random_lattice(dimension: int, bands: int, seed: int) -> js.HoppingModel:
    """Random hopping to the nearest cells; every third model with degenerate spins."""
    random = np.random.default_rng([dimension, bands, seed])
    twice = bands == 4 and seed % 3 == 0
    n = bands // 2 if twice else bands
    spread = (0.5, 1.0, 3.0)[seed % 3 if not twice else seed % 2]
    cells = np.concatenate([np.eye(dimension, dtype=int), np.ones((1, dimension), int)])
    if dimension == 1:
        cells = np.array([[1], [2]])
    home = spread * np.diag(np.arange(n)) + 0.3 * hermitian(random, n, n)
    hops = 0.2 * (
        random.normal(size=(len(cells), n, n)) + 1j * random.normal(size=(len(cells), n, n))
    )
    blocks = np.concatenate([home[None], hops, hops.conj().swapaxes(1, 2)])
    centres = np.repeat(random.uniform(size=(bands // 2, dimension)), 2, axis=0)
    return js.HoppingModel(
        lattice=np.eye(dimension) + 0.15 * random.normal(size=(dimension, dimension)),
        cells=np.concatenate([np.zeros((1, dimension), int), cells, -cells]),
        blocks=np.kron(blocks, np.eye(2)) if twice else blocks,
        centres=centres,
        spin=spins(random, bands),
    )


def random_continuum(dimension: int, bands: int, seed: int) -> RandomContinuum:
    """Random matrices on the scale of 1 eV and 1 Å."""
    random = np.random.default_rng([10 + dimension, bands, seed])
    spread = (0.3, 1.0, 2.0)[seed % 3]
    return RandomContinuum(
        jnp.diag(jnp.asarray(random.uniform(0.5, 2.0, bands) + 0j)),
        jnp.asarray(0.5 * hermitian(random, dimension, bands, bands)),
        jnp.asarray(spread * np.diag(np.arange(bands)) + 0.1 * hermitian(random, bands, bands)),
        jnp.asarray(spins(random, bands)),
    )


def responses(dimension: int) -> dict[str, Observable]:
    """What every response sums, by its name."""
    every = {
        "carrier_density": charge.CarrierNumber(),
        "density_of_states": charge.DensityOfStates(),
        "equilibrium_spin_current": combine.Stacked(
            (spin.TrivialSpinCurrent(), spin.TopologicalSpinCurrent())
        ),
        "torque_density": spin.Torque(),
    }
    if dimension > 1:
        every |= {"anomalous_hall": charge.AnomalousHall()}
        every |= {f"spin_hall {name}": d.observable for name, d in DEFINITIONS.items()}
    return every


def lengths(dimension: int) -> list[int]:
    """Numbers of components of the responses."""
    d = dimension
    return [1, 1, 6 * d, 3 * d, *([d * d] + [3 * d * d] * 4 if d > 1 else [])]


def levels_of(model: js.Model, seed: int) -> js.Levels:
    """Five energies of bands at random k, and the middle of the largest gap between bands."""
    random = np.random.default_rng([99, seed])
    size = 4.0 if model.lattice is not None else 0.6
    k = random.uniform(-size, size, (400, model.dimension))
    bands = np.linalg.eigvalsh(np.stack([np.asarray(model(x)) for x in k]))
    inside = random.choice(np.sort(bands.ravel())[: -bands.size // 10], 5)
    gaps = np.min(bands[:, 1:], axis=0) - np.max(bands[:, :-1], axis=0)
    widest = int(np.argmax(gaps))
    middle = (np.min(bands[:, widest + 1]) + np.max(bands[:, widest])) / 2
    return js.Levels([*inside, middle], TEMPERATURES)


def pose(observable: Observable, model: js.Model, mesh: Mesh, levels: js.Levels) -> Problem:
    """The problem of an observable of which nothing but its sums is wanted."""
    quantity = Quantity(observable, "", (), js.units.density, "R", "", "")
    return Problem(quantity, model, mesh, levels)


def claim(problem: Problem, extremes, at_edges, fine, *coarse) -> Float[Array, "t e c"]:
    """The error of a sum as the public functions claim it; the arguments as in `KeptSums`."""
    mesh, levels = problem.mesh, problem.levels
    metal = has_fermi_surface(*extremes, levels, mesh.domain == "periodic")
    noisy = is_noisy(fine, coarse[0], metal, levels)
    law = noise_law(problem.observable, problem.weights)
    used = len(coarse) if np.any(noisy) else 1
    at_edges = at_edges if levels_at_edges(mesh, *extremes, levels) else None
    summed = MeshSums(fine, coarse[:used], noisy, used, *extremes, at_edges)
    error = estimate_error(mesh, summed, levels, law)
    sums = Sums(jnp.asarray(fine), jnp.asarray(error), jnp.asarray(extremes[0].splitting))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of gaps that the mesh does not resolve
        sums = include_unresolved(sums, problem)
    return np.asarray(sums.error)


class KeptSums(NamedTuple):
    """Sums of all responses of one model, laid end to end."""

    exact: Float[Array, "t e c"]
    #: Over the mesh and the coarser ones.
    sums: Float[Array, "m t e c"]
    #: On the nodes of the mesh and of the first coarser one.
    extremes: tuple[Extremes, Extremes]
    #: Over the first coarser mesh, at `levels_at_edges`, or at the levels where there are none.
    at_edges: Float[Array, "t e c"]


def sum_all(model: js.Model, mesh: Mesh, truth: Mesh, levels: js.Levels) -> KeptSums:
    """The sums of every response over a mesh, the coarser ones and the truth."""
    together = pose(
        combine.Stacked(tuple(responses(model.dimension).values())), model, mesh, levels
    )
    found = sum_over_meshes(together, (mesh, *coarser_meshes(mesh)))
    exact = np.asarray(sum_over_meshes(together.replace(mesh=truth), (truth,))[0][0])
    extremes = [jax.tree.map(np.asarray, x) for _, x in found[:2]]
    moved = levels_at_edges(mesh, *extremes, levels) or levels
    at_edges = sum_over_meshes(together.replace(levels=moved), coarser_meshes(mesh)[:1])[0][0]
    sums = np.stack([np.asarray(x) for x, _ in found])
    return KeptSums(exact, sums, tuple(extremes), np.asarray(at_edges))


def load_or_sum(path: Path | None, *arguments) -> KeptSums:
    """The sums of `sum_all`, kept in a file."""
    if path is not None and path.exists():
        kept = np.load(path)
        extremes = (Extremes(*(kept[f"{x}{i}"] for x in Extremes._fields)) for i in (0, 1))
        return KeptSums(kept["exact"], kept["sums"], tuple(extremes), kept["at_edges"])
    found = sum_all(*arguments)
    if path is not None:
        edges = {
            f"{x}{i}": getattr(e, x) for i, e in enumerate(found.extremes) for x in Extremes._fields
        }
        np.savez(path, exact=found.exact, sums=found.sums, at_edges=found.at_edges, **edges)
    return found


def compare(
    study: str, model: js.Model, mesh: Mesh, truth: Mesh, seed: int, folder: Path | None
) -> Iterator[Sample]:
    """Claimed and true errors of every response of a model."""
    levels, every = levels_of(model, seed), responses(model.dimension)
    path = None if folder is None else folder / f"{study} {seed}.npz"
    exact, sums, extremes, at_edges = load_or_sum(path, model, mesh, truth, levels)
    metal = has_fermi_surface(*extremes, levels, mesh.domain == "periodic")
    edges = np.cumsum(lengths(model.dimension))[:-1]
    split = [np.split(x, edges, axis=-1) for x in (exact, at_edges, *sums)]
    for (name, observable), (right, edge, fine, *coarse) in zip(
        every.items(), zip(*split, strict=True), strict=True
    ):
        problem = pose(observable, model, mesh, levels)
        error = claim(problem, extremes, edge, fine, *coarse)
        least = ROUNDING * np.max(np.abs(right))
        claimed, true = np.max(error, axis=-1) + least, np.max(np.abs(fine - right), axis=-1)
        counts = np.maximum(np.max(np.abs(fine), axis=-1), true) > ZERO
        for i, j in np.argwhere(counts | ~metal):
            temperature = TEMPERATURES[i]
            where = (study, model.dimension, name, temperature, bool(metal[i, j]))
            yield Sample(*where, claimed[i, j], true[i, j])


def grids(dimension: int, number: int, fine: int, models: int):
    """A study of lattice models of 2 and 4 bands on a `Grid`."""

    def samples(count: int, folder: Path | None = None) -> Iterator[Sample]:
        for seed in range(FIRST_SEED, FIRST_SEED + min(count, models)):
            model = random_lattice(dimension, (2, 4)[seed % 2], seed)
            shift = (0.0, 0.5, 0.23)[seed % 3]
            mesh = js.Grid((number,) * dimension, shift)
            truth = Filled(js.Grid((fine,) * dimension, 0.37))
            yield from compare(f"Grid {dimension}D", model, mesh, truth, seed, folder)

    return samples


def continua(mesh: Mesh, truth: Mesh, models: int, bands: tuple[int, ...]):
    """A study of continuum models."""

    def samples(count: int, folder: Path | None = None) -> Iterator[Sample]:
        for seed in range(FIRST_SEED, FIRST_SEED + min(count, models)):
            model = random_continuum(mesh.dimension, bands[seed % len(bands)], seed)
            yield from compare(type(mesh).__name__, model, mesh, truth, seed, folder)

    return samples


#: Each gives the samples of so many of its random models. Further studies (other meshes, other
#: responses) are added here.
STUDIES: tuple[Callable[..., Iterator[Sample]], ...] = (
    grids(1, 64, 20011, 60),
    grids(2, 32, 400, 80),
    grids(3, 12, 80, 60),
    continua(js.Disk(1.0, 24, 16), js.Disk(1.0, 601, 192), 80, (2, 4)),
    continua(js.Ball(1.0, 16, 10, 12), js.Ball(1.0, 120, 64, 60), 80, (2,)),
    continua(js.Plane(1.0, 32, 16), js.Plane(1.0, 301, 96), 30, (2, 4)),
    continua(js.Space(1.0, 24, 10, 12), js.Space(1.0, 96, 48, 40), 16, (2,)),
)


def row(samples: list[Sample], **names: str) -> dict:
    """How often the errors of some samples hold, and how large they are."""
    claimed, true = np.array([(x.claimed, x.true) for x in samples]).T
    part = lambda factor: f"{100 * np.mean(true > factor * claimed):.2f}"  # noqa: E731
    over = np.median(claimed / np.maximum(true, 1e-12 * claimed))
    beyond = {f"beyond {n}x, %": part(n) for n in (1, 3, 10)}
    return {**names, "values": len(samples), **beyond, "median overestimate": f"{over:.3g}"}


def table(samples: list[Sample]) -> list[dict]:
    """Coverage by study or dimension, response, temperature and phase; of all responses; of all."""
    groups = defaultdict(list)
    for x in samples:
        cold = "T = 0" if x.temperature == 0 else "T > 0"
        phase = "metal" if x.metal else "insulator"
        for names in (
            (x.study, x.response, cold, phase),
            (x.study, "all", cold, phase),
            (f"all of {x.dimension}D", x.response, cold, phase),
            ("all", x.response, cold, phase),
            ("all", "all", cold, "all"),
        ):
            groups[names].append(x)
    keys = ("study", "response", "temperature", "phase")
    order = lambda item: (item[0][0] == "all", item[0][0].startswith("all"), item[0][1] == "all")  # noqa: E731
    found = sorted(groups.items(), key=order)
    return [row(some, **dict(zip(keys, names, strict=True))) for names, some in found]


def meets_goal(row: dict) -> bool:
    """Whether a row has at most 1 % beyond its error, 0.1 % beyond three times, median below 10."""
    one, three = (float(row[f"beyond {n}x, %"]) for n in (1, 3))
    return one <= 1 and three <= 0.1 and float(row["median overestimate"]) < 10


def main(quick: bool, folder: Path | None) -> None:
    if folder is not None:
        folder.mkdir(exist_ok=True)
    samples = [x for study in STUDIES for x in study(2 if quick else 1000, folder)]
    if quick:  # too few for the table
        print(row(samples))
        return
    rows = table(samples)
    write("honesty", rows)
    metals = [x for x in rows if x["phase"] == "metal" and x["response"] != "all"]
    for studies in (("all of 2D", "all of 3D"), ("Grid 2D", "Disk", "Grid 3D", "Ball")):
        some = [x for x in metals if x["study"] in studies]
        missed = [x for x in some if not meets_goal(x)]
        print(
            f"{', '.join(studies)}: {len(missed)} of {len(some)} rows miss the goal",
            *missed,
            sep="\n",
        )
        if studies[0].startswith("all") and missed:
            raise SystemExit("rows of a whole dimension miss the goal")


if __name__ == "__main__":
    on_one_core()
    options = argparse.ArgumentParser(description="Coverage of the estimated errors.")
    options.add_argument("--quick", action="store_true", help="two models of each study, no table")
    options.add_argument("--kept", type=Path, help="folder in which sums are kept and found")
    chosen = options.parse_args()
    main(chosen.quick, chosen.kept)
