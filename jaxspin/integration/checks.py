"""Checks at the door: what a user may hand in wrongly, found before any long calculation starts.

Every check is made on a few k-points with a fixed seed. Inside the user's jit what does not depend
on what is traced is computed at once (`evaluate_eagerly`), and checked. Where the model
itself is traced its numbers are not known, and the checks on them are left out; shapes are known.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex

from jaxspin.band_structure.bands import solve_bands
from jaxspin.band_structure.degeneracy import Covariant, Degeneracy, Strict
from jaxspin.engine import tolerances
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import known_by_identity, plain_program, program
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.validate import check_type, is_integer, shortened
from jaxspin.integration.levels import Levels, fermi
from jaxspin.meshes.mesh import Mesh
from jaxspin.meshes.point_set import PointSet
from jaxspin.models.base import as_float, number_of_bands
from jaxspin.models.checks import check_periodic, sample_hamiltonians, sample_points
from jaxspin.models.lifted import Points
from jaxspin.symmetry.symmetric import fixed_mesh
from jaxspin.units import BOLTZMANN


@evaluate_eagerly()
def check_mesh(model, mesh) -> None:
    """`mesh` has the dimension of the model and the kind of domain the model lives on.

    Raises:
        ValueError: naming what does not fit and what would.
    """
    mesh = fixed_mesh(mesh)
    kinds = "Grid, Disk, Ball, Plane, Space, PointSet, Adaptive or Symmetric"
    check_type("mesh", mesh, Mesh, f"a mesh ({kinds})")
    if mesh.dimension != model.dimension:
        raise ValueError(
            f"Argument `mesh` must have dimension {model.dimension}, as the model has, "
            f"but is a {type(mesh).__name__} of dimension {mesh.dimension}."
        )
    _check_domain(model, mesh)
    if model.lattice is not None and not is_traced(model):
        check_periodic(model)


def _check_domain(model, mesh: Mesh) -> None:
    """A Brillouin zone for a lattice model, and only for one."""
    periodic = model.lattice is not None
    if periodic == (mesh.domain == "periodic"):
        return
    if not mesh.is_product:
        given = "with" if periodic else "without"
        wanted = "a lattice model" if periodic else "a continuum model"
        raise ValueError(
            f"Argument `mesh` must be a PointSet {'without' if periodic else 'with'} `volume` for "
            f"{wanted}, but is one {given} it."
        )
    if periodic:
        raise ValueError(
            "Argument `mesh` must be a Grid for a lattice model, "
            f"but is a {type(mesh).__name__}, which is for continuum models."
        )
    names = {1: "none yet", 2: "Disk or Plane", 3: "Ball or Space"}[model.dimension]
    raise ValueError(
        f"Argument `mesh` must be a mesh for continuum models ({names}), "
        "but is a Grid, and the model has no lattice."
    )


@evaluate_eagerly()
def check_point_set(problem) -> None:
    """The sum over a `PointSet` can be compared, and has what the levels ask of its points.

    Raises:
        ValueError: naming what the set lacks.
    """
    mesh = fixed_mesh(problem.mesh)
    if not isinstance(mesh, PointSet):
        return
    mesh.check_comparable()
    temperatures = problem.levels.temperatures
    cold = not is_traced(temperatures) and np.any(temperatures == 0)
    if cold and not mesh.has_cells and problem.weights.surface is not None:
        raise ValueError(
            "Argument `temperature` must be positive for a Fermi-surface term on a PointSet "
            "without `grid`, but is 0, where only cells around the points hold a Fermi surface. "
            "Give a temperature, or PointSet(..., grid=Grid(...))."
        )


def check_levels(levels) -> None:
    """`levels` is a Levels.

    Raises:
        ValueError: it is not.
    """
    check_type("levels", levels, Levels, "a jaxspin.Levels(mu, temperature)")


def check_warm(levels: Levels, name: str) -> None:
    """All temperatures are positive, for what is zero at T = 0.

    Raises:
        ValueError: one is not.
    """
    if not levels.warm:
        raise ValueError(
            f"Argument `temperature` of `Levels` must be positive for the {name}, which is zero at "
            f"T = 0, but is {shortened(levels.temperature)}. "
            "For its slope at T = 0 take a temperature that the mesh resolves."
        )


def choose_degeneracy(model, degeneracy) -> Degeneracy:
    """`degeneracy` with a tolerance that fits the bands, where none was given.

    Raises:
        ValueError: it is no `Covariant` or `Strict`.
    """
    check_type("degeneracy", degeneracy, Degeneracy, "Covariant(tolerance) or Strict()")
    if not isinstance(degeneracy, Covariant):
        return degeneracy
    if degeneracy.tolerance is not None:  # an array, for which another number compiles nothing
        return Covariant(as_float(degeneracy.tolerance))
    if is_traced(model):
        return degeneracy.for_bands(sample_hamiltonians(model))
    with evaluate_eagerly():
        return _usual_degeneracy(model)[0]


@partial(known_by_identity, capacity=64)
def _usual_degeneracy(model) -> tuple[Covariant, str]:
    """The tolerance that is taken where none is given, and the warning of it."""
    hamiltonians = sample_hamiltonians(model)
    usual = Covariant().for_bands(hamiltonians)
    return usual, _judge_tolerance(hamiltonians, usual)


@evaluate_eagerly()
def check_tolerance(model, degeneracy) -> None:
    """Warn of a tolerance that is a sizeable part of the energies that the bands span."""
    if is_traced(model, degeneracy) or not isinstance(degeneracy, Covariant):
        return
    usual, advice = _usual_degeneracy(model)
    if degeneracy is not usual:
        advice = _judge_tolerance(sample_hamiltonians(model), degeneracy)
    if advice:
        warn_user(advice)


def _judge_tolerance(hamiltonians: Complex[np.ndarray, "K n n"], degeneracy: Covariant) -> str:
    """The warning of a tolerance; empty if there is none."""
    if hamiltonians.shape[-1] == 1:
        return ""
    energies = np.linalg.eigvalsh(hamiltonians)
    tolerance, width = float(cast(float, degeneracy.tolerance)), float(np.ptp(energies))
    splittings = np.diff(energies)
    if np.all(splittings <= tolerances.DEGENERATE.of(energies) * np.max(np.abs(energies))):
        return ""  # one band, degenerate by symmetry: there is nothing to take apart
    if np.all(splittings <= tolerance):
        what = "all bands for one group, and nothing runs between them"
    elif tolerance > _SIZEABLE * width:
        what = f"bands for one group that are {tolerance / width:.0%} of their whole width apart"
    else:
        return ""
    return (
        f"Argument `degeneracy` has a tolerance of {tolerance:.3g} eV, which takes {what} "
        f"(the bands span {width:.3g} eV). Give Covariant(...) a smaller one."
    )


_SIZEABLE = 0.25  # of the width of all bands


@evaluate_eagerly()
def check_degeneracy(model, degeneracy) -> None:
    """`Strict()` is not asked of a model whose bands are exactly degenerate.

    Raises:
        ValueError: naming the splitting, the k and `Covariant`.
    """
    if not isinstance(degeneracy, Strict) or is_traced(model):
        return
    sampled = zip(sample_points(model), np.asarray(sample_hamiltonians(model)), strict=True)
    for k, hamiltonian in sampled:
        energies = np.linalg.eigvalsh(hamiltonian)
        splitting = np.min(np.diff(energies)) if len(energies) > 1 else np.inf
        smallest = tolerances.DEGENERATE.of(energies) * np.max(np.abs(energies))
        if splitting <= smallest:
            raise ValueError(
                "Argument `degeneracy` must be Covariant(...) where bands are degenerate, but is "
                f"Strict(), and two bands are split by {splitting:.1e} eV at k = {np.asarray(k)}."
            )


def check_finite_bands(result, model, k) -> None:
    """Check that a result at k (d, K), with the k axis last, is finite.

    Raises:
        ValueError: naming the first k where it is not, and the bands.
    """
    if is_traced(result, model, k):
        return
    arrays = [
        np.asarray(x) for x in jax.tree.leaves(result) if jnp.issubdtype(x.dtype, jnp.inexact)
    ]
    finite = [np.all(np.isfinite(x), axis=tuple(range(x.ndim - 1))) for x in arrays]
    bad = np.flatnonzero(~np.all(np.broadcast_arrays(*finite), axis=0))
    if len(bad):
        _raise_not_finite(model, np.asarray(k)[:, bad[0]])


@evaluate_eagerly()
def check_finite_sums(sums, model, mesh) -> None:
    """A sum over a mesh, and over the coarser one of its error, is finite.

    Raises:
        ValueError: naming the k that spoils it, and the bands.
    """
    if is_traced(sums, model, mesh):
        return
    if np.all(np.isfinite(sums.value)) and np.all(np.isfinite(sums.error)):
        return
    for k in _iterate_nodes(mesh, model.lattice, sums.refinement):
        spoilt = ~np.all(
            [np.all(np.isfinite(x), (0, 1)) for x in _matrix_elements(model, k)], axis=0
        )
        if np.any(spoilt):
            _raise_not_finite(model, np.asarray(k)[:, int(np.argmax(spoilt))])
    raise ValueError(
        "Argument `model` must contribute finite numbers at every k of the mesh, but the sum is "
        "not finite, although H(k) and its slopes are."
    )


def _iterate_nodes(mesh, lattice, refinement):
    """The k of a mesh and of the coarser one, some thousand at a time, (d, K)."""
    if refinement is not None:
        yield refinement.nodes()
        return
    for part in (mesh, mesh.coarser()):
        for first in range(0, part.size, _PORTION):
            index = jnp.minimum(jnp.arange(first, first + _PORTION), part.size - 1)
            yield part.points(index, lattice).k


_PORTION = 4096


@program
def _matrix_elements(model, k):
    """H (n, n, K), and each of its slopes."""
    lifted = model.lift(Points(k))
    return lifted.hamiltonian, *lifted.slopes


def _raise_not_finite(model, k):
    """Raise the error that names k, what is not finite there, and in which bands."""
    h, *slopes = (np.asarray(x)[..., 0] for x in _matrix_elements(model, jnp.asarray(k)[:, None]))
    names = ["H(k)", *(f"dH/dk_{i}" for i in "xyz")]
    wrong = [n for n, x in zip(names, (h, *slopes), strict=False) if not np.all(np.isfinite(x))]
    bands = range(len(h))
    if wrong and wrong[0] != "H(k)":
        row, column = np.nonzero(~np.all(np.isfinite(slopes), axis=0))
        weight = np.abs(np.linalg.eigh(h)[1][np.union1d(row, column)]).max(axis=0)
        bands = np.flatnonzero(weight > tolerances.HERMITIAN.of(weight))
    listed = ", ".join(str(int(i)) for i in bands)
    raise ValueError(
        f"Argument `model` must be finite, with its slopes, but {wrong[0] if wrong else 'a sum'} "
        f"is not at k = {k}, in bands {listed}. A square root or a norm that vanishes there has no "
        "slope: write H(k) without it, or shift the mesh."
    )


@evaluate_eagerly()
def check_splitting(smallest, degeneracy) -> None:
    """No two bands that count as different were met degenerate on the mesh.

    With `Covariant`, bands within the tolerance do not count as different. Those of a downfolded
    model and those that were removed do, and then its basis functions do not exist.

    Raises:
        ValueError: naming `Covariant`, or removed bands, and the shift of the mesh as a way out.
    """
    if is_traced(smallest):
        return
    tolerance = float(cast(float, getattr(degeneracy, "tolerance", 0.0)))
    if isinstance(degeneracy, Covariant) and float(smallest) <= tolerance:
        raise ValueError(
            "Argument `model` must have kept and removed bands apart by more than the tolerance of "
            f"{tolerance:g} eV on the mesh, but is downfolded, and the smallest gap is "
            f"{float(smallest):.1e} eV. `model.validity(mesh)` says where; a shifted mesh may "
            "avoid it."
        )
    if float(smallest) == 0:
        raise ValueError(
            "Argument `degeneracy` must be Covariant(...) where bands are degenerate, but is "
            "Strict(), and the mesh has a k where two bands are split by 0 eV. A shifted mesh "
            "may avoid a degenerate point."
        )


@evaluate_eagerly()
def check_bands(model, bands, degeneracy) -> tuple[int, ...] | None:
    """`bands` are valid band indices that do not cut a degenerate group in two.

    Raises:
        ValueError: naming the index.
    """
    if bands is None:
        return None
    n = number_of_bands(model)
    indices = tuple(bands) if np.iterable(bands) else ()
    if not indices or not all(is_integer(i, 0, n - 1) for i in indices):
        raise ValueError(
            f"Argument `bands` must be band indices from 0 to {n - 1}, but is {shortened(bands)}."
        )
    chosen = np.isin(np.arange(n), indices)
    sampled = () if is_traced(model) else sample_hamiltonians(model)
    for k, hamiltonian in zip(sample_points(model), sampled, strict=False):
        energies = np.linalg.eigvalsh(np.asarray(hamiltonian))
        threshold = float(degeneracy.threshold(energies[:, None])[0])
        cut = (np.diff(energies) <= threshold) & (chosen[1:] != chosen[:-1])
        if np.any(cut):
            i = int(np.argmax(cut))
            raise ValueError(
                "Argument `bands` must keep degenerate bands together, "
                f"but is {shortened(bands)}, and "
                f"bands {i} and {i + 1} are degenerate at k = {np.asarray(k)}."
            )
    return tuple(int(i) for i in indices)


@evaluate_eagerly()
def check_tail(observable, model, mesh, levels, degeneracy) -> None:
    """On an infinite domain the integral exists.

    Far out, in every direction, the same number of bands must lie below the Fermi energies, and
    the integrand must fall off faster than |k|^-d. Only its part even in k counts, for a mesh takes
    k and -k together.

    Raises:
        ValueError: with the advice to use a cutoff (Disk or Ball).
    """
    mesh = fixed_mesh(mesh)
    if mesh.domain != "infinite" or is_traced(model, mesh, levels):
        return
    integrand = partial(_sample_at_distance, observable, model, mesh, levels, degeneracy)
    problem = _find_tail_problem(integrand, mesh.dimension, _FAR)
    if problem and not _find_tail_problem(integrand, mesh.dimension, _FARTHER):
        return
    if problem and not _find_tail_problem(integrand, mesh.dimension, _FARTHEST):
        _warn_of_a_small_scale(mesh)
    elif problem:
        bounded = {2: "Disk(cutoff, ...)", 3: "Ball(cutoff, ...)"}[mesh.dimension]
        raise ValueError(
            f"Argument `mesh` must not be a {type(mesh).__name__} for this model: {problem} "
            f"Use a cutoff, {bounded}, and say which in your results."
        )


def _find_tail_problem(integrand: Callable, dimension: int, distance: float) -> str | None:
    """Reason for which the integral does not exist, by what is at a distance and at twice that."""
    near, far = (integrand(distance=r) for r in (distance, 2 * distance))
    if np.any(near[0].min(axis=-1) != near[0].max(axis=-1)):
        return (
            "its Fermi sea has no end, for far from k = 0 a band is below a Fermi energy in some "
            "directions and above it in others."
        )
    here, there = (np.abs(integrand).max(axis=-1) for _, integrand in (near, far))
    negligible = max(tolerances.TAIL.of(here), tolerances.TAIL_SHARE.of(here) * here.max())
    if np.any(there > np.maximum(0.75 * here, negligible)):
        return (
            f"far from k = 0 the integrand does not fall off faster than |k|^-{dimension}, "
            "and the integral does not converge."
        )
    return None


def _warn_of_a_small_scale(mesh) -> None:
    warn_user(
        f"The structure of the bands is far outside of the `scale` of the {type(mesh).__name__}: "
        f"the integrand falls off only beyond {_FARTHER:g} times it, where the mesh has few "
        "points. Take a `scale` of the order of (gap)/(velocity)."
    )


_FAR = 50.0  # in units of the scale of the mesh

# Where to look again, for the scale may be too small. For a massive Dirac cone on a Plane of 8 to
# 100 radial nodes the error estimate held with a scale 100 times too small, not with 1000 times.
_FARTHER, _FARTHEST = 20 * _FAR, 1e4 * _FAR


def _sample_at_distance(observable, model, mesh, levels, degeneracy, *, distance: float):
    """Occupied bands (mu, direction) and integrand times |k|^d (mu and component, direction)."""
    d = mesh.dimension
    random = np.random.default_rng(0).normal(size=(40, d))
    directions = np.concatenate([np.eye(d), random])
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    directions = np.concatenate([directions, -directions])
    k = jnp.asarray((directions * np.asarray(mesh.scale) * distance).T)
    energies, weights = map(
        np.asarray, _weigh_bands(observable, model, k, degeneracy, levels.window)
    )
    mu = np.array([levels.mu.min(), levels.mu.max()])[:, None, None]
    thermal = BOLTZMANN * max(levels.temperatures.max(), 1e-3)
    volume = np.prod(np.asarray(mesh.scale)) * distance**d
    filled = fermi(energies, mu, thermal, moment=observable.moment)
    density = np.einsum("enK,cnK->ecK", filled, weights) * volume
    even = density + np.roll(density, len(directions) // 2, axis=-1)
    return (energies < mu).sum(axis=1), even.reshape(-1, len(directions)) / 2


@plain_program
def _weigh_bands(observable, model, k, degeneracy, window):
    bands = solve_bands(model, k, degeneracy, **observable.needs).restrict_to_window(*window)
    return bands.levels, observable(bands).sea.reshape(-1, *bands.levels.shape)
