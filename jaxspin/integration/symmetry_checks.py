"""Whether a model and its observables have the operations of a `Symmetric` mesh, at random k."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from jaxspin.band_structure.bands import solve_bands
from jaxspin.engine import tolerances
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.forward_mode import along_each, push_forward, split_complex, which_move
from jaxspin.engine.programs import known_by_identity, program
from jaxspin.engine.refusals import refuse_tangent
from jaxspin.engine.small_matrices import as_arrays, is_traced
from jaxspin.models.checks import SAMPLES
from jaxspin.models.tight_binding import HoppingModel
from jaxspin.symmetry.detect import lift_matrices
from jaxspin.symmetry.operations import Operation
from jaxspin.symmetry.symmetric import Symmetric, fixed_mesh
from jaxspin.symmetry.tensors import Tensor, on_components


@evaluate_eagerly()
def check_symmetry(
    observable, tensors: tuple[Tensor, ...], model, mesh: Symmetric, degeneracy
) -> None:
    """The operations of `mesh` are symmetries of the model and of the observable.

    At random k and their images: the energies are the same, and what the filled states contribute
    at the image is the transformed tensor, for several Fermi energies.

    Raises:
        ValueError: naming the operation that is not, and where.
    """
    if not is_traced(model, mesh):
        weights = observable, tensors, degeneracy
        _check_images(weights, model, mesh.operations, _place_images(mesh, model))


@partial(known_by_identity, capacity=8)
def _check_images(weights, model, operations: tuple[Operation, ...], place) -> None:
    for image in _compare_images(weights, model, operations, place):
        _check_energies(image, _advise_repair(model))
        _check_tensors(image, weights[1])


def has_symmetry(
    observable, tensors: tuple[Tensor, ...], model, mesh: Symmetric, degeneracy
) -> Bool[Array, ""]:
    """Tell the same where the model or the mesh is traced: numbers are known in the program."""
    model = jax.tree.map(jax.lax.stop_gradient, model)
    weights, place = (observable, tensors, degeneracy), _place_images(mesh, model)
    kept = [jnp.asarray(True)]
    for image in _compare_images(weights, model, mesh.operations, place):
        kept.append(jnp.all(image.energies <= image.allowed))
        kept += [jnp.max(change) <= jnp.max(noise) for change, noise in image.tensors]
    return jnp.all(jnp.stack(kept))


def refuse_broken_derivative(value: Array, model, mesh) -> Array:
    """`value` unaltered; its derivative is NaN along a change of the model that breaks an operation
    of the mesh.

    At random k and their images: traces of smooth functions of H with the velocity and the spin,
    which have derivatives where bands are degenerate too. Backwards the direction is not known, and
    the derivative by a number is NaN if no change that keeps the group changes that number; of
    models of many numbers, as the blocks of a `HoppingModel`, nothing is refused there.
    """
    if not isinstance(mesh, Symmetric) or not is_traced(model):
        return value
    return _watch_derivative(value, model, mesh.operations, _place_images(mesh, model))


@eqx.filter_custom_jvp
def _watch_derivative(value, model, operations, place):
    del model, operations, place
    return value


@_watch_derivative.def_jvp
def _watch_rule(primals, tangents):
    (value, model, operations, place), (moved, changes, *_) = primals, tangents
    moved = jnp.zeros_like(value) if moved is None else moved
    if not jax.tree.leaves(changes):
        return value, moved
    watch = lambda model: _trace_violations(model, operations, place)  # noqa: E731
    _, (broken, elements) = push_forward(watch, (model,), (changes,))
    numbers, _ = ravel_pytree(split_complex(changes))
    kept = jnp.ones(numbers.shape, bool)
    if numbers.size <= _FEW:
        kept = _find_kept(watch, model, changes)
    return value, refuse_tangent(moved, broken, elements, numbers, kept)


_FEW = 16  # numbers of a model, each of which is a parameter


def _find_kept(watch: Callable, model, changes) -> Bool[Array, " n"]:
    """True for the numbers that some change of the model with all operations changes: those whose
    unit vectors are not spanned by the rows of ∂(violations)/∂(numbers)."""
    moves, fixed = eqx.partition(model, which_move(changes))
    _, (slopes, sizes) = along_each(lambda moves: watch(eqx.combine(moves, fixed)), moves)
    return _find_unspanned(slopes, sizes)


@jax.jit
def _find_unspanned(slopes, sizes) -> Bool[Array, " n"]:
    scale = jnp.max(jnp.abs(sizes), axis=0)
    _, values, rows = jnp.linalg.svd(slopes / jnp.where(scale > 0, scale, 1), full_matrices=False)
    spanned = jnp.sum(jnp.where(values[:, None] > 1e-7, rows**2, 0), axis=0)
    return spanned < 1 - 1e-6


@program
def _trace_violations(model, operations, place) -> tuple[Array, Array]:
    """What the operations change of traces at random k, and the elements of their matrices."""
    here, images = place
    scales = jax.tree.map(jax.lax.stop_gradient, _measure_scales(model, here))
    original, elements = _trace_functions(model, here, scales)
    broken = []
    for operation, there in zip(operations, images, strict=True):
        found, _ = _trace_functions(model, there, scales)
        expected = _turn_traces(original, operation)
        broken += [one - other for one, other in zip(found, expected, strict=True)]
    split = lambda arrays: jnp.concatenate(  # noqa: E731
        [part.ravel() for one in arrays for part in (one.real, one.imag)]
    )
    return split(broken), split(elements)


def _measure_scales(model, k):
    """Mean and width of the bands, and the largest velocity."""
    h, velocity, _ = lift_matrices(model, k)
    mean = jnp.einsum("mmK->", h).real / (len(h) * h.shape[-1])
    width = jnp.sqrt(jnp.mean(jnp.abs(h - mean * jnp.eye(len(h))[..., None]) ** 2) * len(h))
    return mean, width + 1e-12, jnp.max(jnp.abs(velocity)) + 1e-12


def _trace_functions(model, k, scales):
    """Traces of powers of H, and of products with S and V; and the matrices that they are of."""
    mean, width, speed = scales
    h, velocity, spin = lift_matrices(model, k)
    h, velocity, spin = (jnp.moveaxis(x, -1, 0) for x in (h, velocity, spin))
    h, velocity = (h - mean * jnp.eye(h.shape[-1])) / width, velocity / speed
    square = h @ h
    first, second = h / 2 + square, square / 3 - h  # any two functions
    powers = jnp.stack([jnp.einsum("Kmn,Knm->K", x, y) for x, y in ((h, h), (h, square))])
    powers = jnp.concatenate([jnp.einsum("Kmm->K", h)[None], powers])
    driven = velocity + second[:, None] @ velocity  # (1 + B) V
    filled = lambda x: x + first[:, None] @ x  # noqa: E731
    velocities = jnp.einsum("Kamn,Kbnm->abK", filled(velocity), driven)
    spins = jnp.einsum("Ksmm->sK", filled(spin))
    product = velocity[:, :, None] @ spin[:, None]
    current = (product + product.conj().swapaxes(-1, -2)) / 2
    flat = current.reshape(len(h), -1, *h.shape[1:])
    currents = jnp.einsum("Kcmn,Kbnm->cbK", filled(flat), driven)
    currents = currents.reshape(*current.shape[1:3], *currents.shape[1:])
    return (powers, velocities, spins, currents), (h, velocity, spin)


def _turn_traces(traces, operation: Operation):
    """The traces at the image of k, if the operation is a symmetry."""
    powers, velocities, spins, currents = traces
    sign = -1 if operation.time_reversal else 1
    turn = jnp.conj if operation.time_reversal else jnp.asarray
    space = operation.on_space(len(velocities))
    spin = operation.on_spin if len(spins) else np.zeros((0, 0))
    velocities = jnp.einsum("ac,bd,cdK->abK", space, space, turn(velocities))
    currents = jnp.einsum("ac,se,bd,cedK->asbK", space, spin, space, turn(currents))
    return powers, velocities, sign * spin @ turn(spins), sign * currents


class _Image(NamedTuple):
    """What an operation changes at random k."""

    operation: Operation
    k: Float[Array, "d K"]
    #: The largest change of an energy at each k, and what rounding allows, eV.
    energies: Float[Array, " K"]
    allowed: Float[Array, ""]
    #: The change of each tensor, (mu, component, K), and how large noise makes each component.
    tensors: list[tuple[Array, Array]]


@evaluate_eagerly()  # a lattice that depends on nothing traced stays known
def _place_images(mesh: Symmetric, model) -> tuple[Array, Array]:
    """Random k inside the domain of a mesh, (d, K), and at their images, (operation, d, K)."""
    lattice = model.lattice
    here, maps = _random_k(mesh, lattice), mesh.maps_of_k(lattice)
    return jnp.asarray(here), jnp.stack([jnp.asarray(one @ here) for one in maps])


def _compare_images(
    weights, model, operations: tuple[Operation, ...], place: tuple[Array, Array]
) -> Iterator[_Image]:
    """What each operation changes between random k and their images.

    Args:
        weights: the observable, its tensors and the treatment of degenerate bands.
    """
    (observable, tensors, degeneracy), (here, images) = weights, place
    xp: Any = jnp if is_traced(model, place) else np
    sample = lambda k: map(  # noqa: E731  (as many k in each call, for which one program serves)
        xp.asarray, _sum_filled(observable, model, k, degeneracy)
    )
    energy, tensor, size = sample(here)
    rounding = tolerances.HERMITIAN.of(energy)
    # The floor, in natural units, is for responses that are zero but for rounding.
    noise = 100 * rounding * size.max(axis=(0, 2)) + rounding
    edges = np.cumsum([one.size(model.dimension) for one in tensors])[:-1]
    for operation, there in zip(operations, images, strict=True):
        energy_there, tensor_there, _ = sample(there)
        turned = on_components(operation, tensors, model.dimension)
        change = xp.abs(tensor_there - xp.einsum("dc,ecK->edK", turned, tensor))
        parts = zip(xp.split(change, edges, axis=1), xp.split(noise, edges), strict=True)
        moved, allowed = xp.abs(energy_there - energy), rounding * xp.max(xp.abs(energy))
        yield _Image(operation, here, moved.max(axis=0), allowed, list(parts))


def _advise_repair(model) -> str:
    """What may help a model that breaks a symmetry of its crystal."""
    wannier = isinstance(model, HoppingModel)
    return " `symmetrised(model, group)` makes a model that has it." if wannier else ""


def _check_energies(image: _Image, advice: str) -> None:
    operation, k, change = image.operation, image.k, image.energies
    if np.max(change) > image.allowed:
        worst = int(np.argmax(change))
        raise ValueError(
            "Argument `mesh` must be reduced by symmetries of the model only, but "
            f"{operation.name} changes its bands by {change[worst]:.1e} eV at k = {k[:, worst]}."
            f"{advice}"
        )


def _check_tensors(image: _Image, tensors: tuple[Tensor, ...]) -> None:
    for tensor, (difference, allowed) in zip(tensors, image.tensors, strict=True):
        worst = difference.max(axis=(0, 1))
        if np.max(worst) > np.max(allowed):
            raise ValueError(
                "Argument `mesh` must be reduced by symmetries of the model only, but "
                f"{image.operation.name} does not carry the {tensor.name} at "
                f"k = {image.k[:, int(np.argmax(worst))]} into that at its image."
            )


def _random_k(mesh: Symmetric, lattice) -> Float[Array, "d K"]:
    """A few k inside the domain of a mesh, the same at every call."""
    coordinates, axes = fixed_mesh(mesh).coordinates, mesh.dimension
    u = np.random.default_rng(20231119).uniform(0.1, 0.9, size=(axes, SAMPLES))
    k = coordinates(list(jnp.asarray(u)), [jnp.ones(())] * axes, lattice).k
    return as_arrays(k)[1][0]


@program
def _sum_filled(observable, model, k, degeneracy):
    """Energies; what filled states contribute, (mu, component, K); and the size of its terms.

    For three Fermi energies between the typical bands, at a tenth of their spread.
    """
    bands = solve_bands(model, k, degeneracy, **observable.needs)
    weights = observable(bands)
    mu = jnp.quantile(bands.levels, jnp.array([0.3, 0.5, 0.7]))[:, None, None]
    thermal = 0.1 * jnp.std(bands.levels)
    filling = jax.nn.sigmoid((mu - bands.levels) / thermal)
    slope = -filling * (1 - filling)  # ∂f/∂ε times kT
    terms = filling[:, None] * weights.full
    if weights.surface is not None:
        surface = eqx.tree_at(lambda w: w.sea, weights, weights.surface).full
        terms = terms + slope[:, None] * surface
    return bands.energies, terms.sum(axis=2), jnp.abs(terms).sum(axis=2)
