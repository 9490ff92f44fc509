"""Symmetries of a model, found from H(k) and the spin alone, and by how much it breaks others.

Numbers that no basis changes are compared at random k and their images: energies, and traces of
the velocity V = ∂H − i[A, H] and the spin S with two smooth functions of H,

    tr ρ₁ S,    tr ρ₁ V_a ρ₂ V_b,    tr ρ₁ ½{S, V_a} ρ₂ V_b,    ρ = 1/(1 + e^{(H − μ)/w}).

With time reversal V and S change their sign and traces are conjugated.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex, Float

from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import program
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.validate import check_integer, check_number, check_type
from jaxspin.meshes.lattice import reciprocal_vectors
from jaxspin.meshes.mesh import Grid
from jaxspin.models.checks import check_model
from jaxspin.models.lifted import Needs, Points
from jaxspin.models.operators import named_operators
from jaxspin.symmetry.crystals import of_lattice
from jaxspin.symmetry.groups import PointGroup, group, point_group
from jaxspin.symmetry.operations import TIME_REVERSAL, Operation, identify
from jaxspin.symmetry.orbits import (
    GridImages,
    find_map,
    find_matrix,
    leaves_plane,
    map_of_k,
    reduced_matrix,
)


class Violation(NamedTuple):
    """By how much a model breaks an operation at random k."""

    operation: Operation
    #: Largest and root-mean-square difference of energies at k and at its image, eV.
    energy: float
    energy_rms: float
    #: Largest difference of energies, and of the traces in units of the largest of each.
    relative: float
    #: Largest difference of energies on the mesh that was given, eV; NaN without one.
    on_mesh: float


class Detection(NamedTuple):
    """Symmetry group of a model, and the violation of each operation that was tried."""

    #: The symmetries of the model, a group.
    group: PointGroup
    #: Every operation that was tried, the worst first.
    tried: tuple[Violation, ...]

    def __str__(self) -> str:
        """Table of the operations that the model breaks, and by how much."""
        kept = set(map(identify, self.group))
        broken = [one for one in self.tried if identify(one.operation) not in kept]
        head = f"{self.group!r} of {len(self.tried)} operations that were tried"
        with_mesh = any(np.isfinite(one.on_mesh) for one in broken)
        columns = ["energies, meV: largest", "rms", *["on the mesh"] * with_mesh, "all, relative"]
        rows = [" | ".join(["broken", *columns])] if broken else []
        for one in broken[:_SHOWN]:
            numbers = [1e3 * one.energy, 1e3 * one.energy_rms, *[1e3 * one.on_mesh] * with_mesh]
            texts = [f"{x:.3g}" for x in (*numbers, one.relative)]
            rows.append(" | ".join([one.operation.name, *texts]))
        more = [f"and {len(broken) - _SHOWN} more in `tried`"] if len(broken) > _SHOWN else []
        return "\n".join([head, *rows, *more])


_SHOWN = 12  # rows of a printed table


@evaluate_eagerly()
def find(
    model,
    tolerance: float = 1e-6,
    *,
    candidates: PointGroup | None = None,
    mesh: Grid | None = None,
    points: int = 8,
) -> Detection:
    """The symmetries of a model, by its energies, velocities and spin at random k.

    Of 8 k.p models and a random lattice model of each of the 122 groups, symmetries agreed to
    2·10⁻⁸ and what was none differed by 10⁻³ or more. What a model has for any angle about an axis
    shows as more than one group: the largest is taken.

    Args:
        model: any `Model`.
        tolerance: largest difference that counts as none, in units of the width of all bands, and
            of the largest trace of each kind; no element of the group differs by more.
        candidates: operations to try, each with and without time reversal; those of the lattice,
            or m-3m and 6/mmm for a continuum model, if None.
        mesh: a `Grid` on which energies are compared as well: that of the ab initio calculation,
            whose symmetry Wannier functions may break between its points alone.
        points: number of random k.

    Raises:
        ValueError: `model` is none, or is being traced; `mesh` is not kept by an operation.

    >>> import jaxspin as js
    >>> print(js.symmetry.find(js.models.Rashba(4.0, 1.0, 0.1)).group)
    <6mm(6), 12 elements>
    """
    check_model(model)
    check_number("tolerance", tolerance, "a positive number", above=0)
    check_integer("points", points, 1)
    if is_traced(model):
        raise ValueError(
            "Argument `model` must have numbers that are known, but is being traced by jit, grad "
            "or vmap."
        )
    families = _choose_candidates(model, candidates)
    sample, on_grid = _Sample(model, points), _compare_on_grid(model, mesh)
    each = {identify(one): one for family in families for one in family}
    tried = {key: sample.compare(one, on_grid(one)) for key, one in each.items()}
    order = sorted(tried.values(), key=lambda one: -one.relative)
    found = [_group_within(family, tried, tolerance) for family in families]
    return Detection(max(found, key=len), tuple(order))


def _group_within(
    family: list[Operation], tried: dict[tuple, Violation], tolerance: float
) -> PointGroup:
    """A group whose elements are all within the tolerance. Operations are added in order of their
    violation; one that has a broken product with those before it is left out."""
    kept = [one for one in family if tried[identify(one)].relative <= tolerance]
    keys, found = set(map(identify, kept)), group([])
    for one in sorted(kept, key=lambda one: tried[identify(one)].relative):
        larger = found if one in found else group([*found.generators, one])
        found = larger if keys.issuperset(map(identify, larger)) else found
    return found


def _choose_candidates(model, candidates: PointGroup | None) -> list[list[Operation]]:
    """Groups of operations to try, with and without time reversal; on a line and in a plane those
    that do not leave it."""
    if candidates is not None:
        check_type("candidates", candidates, PointGroup, "a group of jaxspin.symmetry")
        families = [candidates]
        _check_candidates(model, candidates)
    elif model.lattice is not None:
        families = [of_lattice(model.lattice)]
    else:
        families = [point_group("m-3m"), point_group("6/mmm")]
    grey = [group([*family, TIME_REVERSAL]) for family in families]
    return [[one for one in family if not leaves_plane(one, model.dimension)] for family in grey]


def _check_candidates(model, candidates: PointGroup) -> None:
    for one in candidates if model.lattice is not None else ():
        inside = not leaves_plane(one, model.dimension)
        if inside and find_matrix(one, model.dimension, model.lattice) is None:
            raise ValueError(
                "Argument `candidates` must take the lattice of the model to itself, but "
                f"{one.name} does not. `symmetry.of_lattice(lattice)` has those that do."
            )


class _Traces(NamedTuple):
    """Energies (n, K), and traces with the spin, two velocities, and a spin current (or None)."""

    energies: Float[np.ndarray, "n K"]
    spin: Complex[np.ndarray, "3 K"] | None
    velocities: Complex[np.ndarray, "d d K"]
    current: Complex[np.ndarray, "d d 3 K"] | None

    def at_image(self, operation: Operation) -> "_Traces":
        """Energies and traces at the image of k, if the operation is a symmetry."""
        space, spin = operation.on_space(len(self.velocities)), operation.on_spin
        sign = -1 if operation.time_reversal else 1
        turn = np.conj if operation.time_reversal else np.asarray
        velocities = np.einsum("ac,bd,cdK->abK", space, space, turn(self.velocities))
        if self.spin is None or self.current is None:
            return _Traces(self.energies, None, velocities, None)
        current = np.einsum("ac,bd,se,cdeK->absK", space, space, spin, turn(self.current))
        return _Traces(self.energies, sign * spin @ self.spin, velocities, sign * current)


class _Sample:
    """The numbers of a model at a few random k, and their comparison with those at images."""

    def __init__(self, model, points: int):
        self.model = model
        draw = np.random.default_rng(20231119).uniform(-1, 1, size=(model.dimension, points))
        lattice = model.lattice
        self.k = draw if lattice is None else np.asarray(reciprocal_vectors(lattice)).T @ draw / 2
        levels = np.linalg.eigvalsh(np.moveaxis(np.asarray(self._lift(self.k)[0]), -1, 0))
        self.width = max(float(np.ptp(levels)), float(np.finfo(float).tiny))
        #: μ₁, μ₂ and w of the two functions of H.
        self.scales = (*np.quantile(levels, [0.35, 0.7]), 0.2 * np.std(levels) + 1e-9 * self.width)
        self.here = self.measure(self.k)

    def _lift(self, k):
        return lift_matrices(self.model, jnp.asarray(k))

    def measure(self, k: Float[np.ndarray, "d K"]) -> _Traces:
        """Energies and traces at some k."""
        hamiltonian, velocity, spin = (np.moveaxis(np.asarray(x), -1, 0) for x in self._lift(k))
        energies, states = np.linalg.eigh(hamiltonian)
        first, second, width = self.scales
        fill = lambda mu: 1 / (1 + np.exp(np.clip((energies - mu) / width, -700, 700)))  # noqa: E731
        smooth = [
            (states * fill(mu)[:, None]) @ states.conj().swapaxes(1, 2) for mu in (first, second)
        ]
        driven = smooth[1][:, None] @ velocity
        velocities = _trace_products(smooth[0][:, None] @ velocity, driven)
        if spin.shape[1] == 0:
            return _Traces(energies.T, None, velocities, None)
        product = velocity[:, :, None] @ spin[:, None]
        currents = (product + product.conj().swapaxes(-1, -2)) / 2
        pairs = currents.reshape(len(currents), -1, *currents.shape[-2:])  # flow and spin
        current = _trace_products(smooth[0][:, None] @ pairs, driven)
        current = current.reshape(*currents.shape[1:3], *current.shape[1:])
        spins = np.einsum("Kmn,Ksnm->sK", smooth[0], spin)
        return _Traces(energies.T, spins, velocities, np.swapaxes(current, 1, 2))

    def compare(self, operation: Operation, on_mesh: float) -> Violation:
        """By how much an operation is broken."""
        turn = map_of_k(operation, self.model.dimension, self.model.lattice)
        here, there = self.here, self.measure(turn @ self.k)
        expected = here.at_image(operation)
        change = np.abs(there.energies - expected.energies)
        size = np.max(np.abs(here.velocities)) or 1.0
        relative = [
            np.max(change) / self.width,
            _differ(there.velocities, expected.velocities) / size,
        ]
        if here.spin is not None and here.current is not None:
            largest = max(1.0, float(np.max(np.abs(here.spin))))
            relative.append(_differ(there.spin, expected.spin) / largest)
            relative.append(_differ(there.current, expected.current) / (size * largest))
        rms = float(np.sqrt(np.mean(change**2)))
        return Violation(operation, float(np.max(change)), rms, float(max(relative)), on_mesh)


def _trace_products(
    first: Complex[np.ndarray, "K p n n"], second: Complex[np.ndarray, "K q n n"]
) -> Complex[np.ndarray, "p q K"]:
    """tr X Y of all pairs."""
    rows = first.reshape(*first.shape[:2], -1)
    columns = second.swapaxes(-1, -2).reshape(*second.shape[:2], -1)
    return np.moveaxis(rows @ columns.swapaxes(-1, -2), 0, -1)


def _differ(one, other) -> float:
    return float(np.max(np.abs(one - other)))


@program
def lift_matrices(model, k):
    """H (n, n, K), V (d, n, n, K) and S (3, n, n, K), or none (0, n, n, K)."""
    has_spin = "spin" in named_operators(model)
    lifted = model.lift(Points(k), Needs(operators=("spin",) if has_spin else ()))
    h, slopes = lifted.hamiltonian, lifted.slopes
    velocity = slopes if lifted.connection is None else lifted.connection.velocity(h, slopes)
    spin = lifted.operators["spin"].matrices if has_spin else jnp.zeros((0, *h.shape))
    return h, velocity, jnp.broadcast_to(spin, (len(spin), *h.shape))


def _compare_on_grid(model, mesh: Grid | None) -> Callable[[Operation], float]:
    """Largest difference of energies at the points of a grid and at their images, eV."""
    if mesh is None:
        return lambda operation: np.nan
    check_type("mesh", mesh, Grid, "a Grid")
    if model.lattice is None:
        raise ValueError(
            f"Argument `mesh` must be None for a model without a lattice, but is {mesh!r}."
        )
    if mesh.dimension != model.dimension:
        raise ValueError(
            f"Argument `mesh` must have the dimension of the model, {model.dimension}, "
            f"but is {mesh!r}."
        )
    index = jnp.arange(mesh.size)
    k = mesh.points(index, model.lattice).k
    hamiltonian = np.moveaxis(np.asarray(lift_matrices(model, k)[0]), -1, 0)
    energies, nodes = (
        np.linalg.eigvalsh(hamiltonian),
        np.unravel_index(np.arange(mesh.size), mesh.shape),
    )

    def compare(operation: Operation) -> float:
        one = find_map(reduced_matrix(operation, model.dimension, model.lattice), mesh)
        if one is None:
            raise ValueError(
                f"Argument `mesh` must be kept by all operations, but {operation.name} takes nodes "
                f"of {mesh!r} to where there is none."
            )
        return _differ(energies, energies[GridImages(one, mesh.shape).index(nodes)])

    return compare
