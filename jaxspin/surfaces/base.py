"""Fermi surfaces as nodes and weights, and rules that find them.

Every rule finds its nodes with Newton's iteration, which is not differentiated; one more step of
it, which is, then gives the nodes the right first derivative (`newton_step`).
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jaxspin.band_structure.bands import DEGENERATE_TO_ROUNDING
from jaxspin.band_structure.eigensystem import eigensystem
from jaxspin.engine.derivative_rules import differentiate_once
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import program
from jaxspin.engine.roots import newton_or_bisect
from jaxspin.engine.small_matrices import dagger, diagonal_of_product, is_traced, matmul
from jaxspin.engine.validate import check_energy, check_type
from jaxspin.engine.xla import repeat
from jaxspin.models.base import Model, number_of_bands
from jaxspin.models.checks import check_model
from jaxspin.models.lifted import Points


class FermiSurface(eqx.Module):
    """The nodes of a Fermi surface: Σ_k δ(mu − ε_k) g = Σ_a weight_a g(k_a, band_a).

    Which slots hold a node depends on the model and on mu, how many slots there are does not. One
    without a node has weight 0 and repeats the k and the band of another.
    """

    #: Wave vectors, 1/Å, (d, a).
    k: Float[Array, "d a"]
    #: Index of the band, 0 the lowest, (a,).
    band: Int[Array, " a"]
    #: Weights with the (2π)^-d of Σ_k, 1/(eV Å^d), (a,).
    weight: Float[Array, " a"]


class Diagnostic(eqx.Module):
    """A property of a surface that makes a rule wrong on it, at each place that was checked."""

    found: Bool[Array, "*a"]
    k: Float[Array, "d *a"]
    band: Int[Array, "*a"]
    #: What to tell the user, as a sentence about "the Fermi surface of band ... at k = ...".
    text: str = eqx.field(static=True)

    def refuse_if_found(self, reason: str = "") -> None:
        """Raise if the property was found anywhere.

        Args:
            reason: a sentence that says why a surface was looked at that nobody asked for.
        Raises:
            ValueError: naming the band and the k.
        """
        found = np.asarray(self.found).ravel()
        if not found.any():
            return
        worst = int(np.argmax(found))
        band = np.asarray(self.band).ravel()[worst]
        k = np.asarray(self.k).reshape(len(self.k), -1)[:, worst].round(4)
        raise ValueError(
            f"The Fermi surface of band {band} near k = {k} (1/Angstrom) {self.text}{reason}"
        )


class Outline(eqx.Module):
    """Numbers that change where a Fermi surface appears, disappears or gains a sheet."""

    #: One number for each sheet, (c,).
    number: Int[Array, " c"]
    #: A k and a band for each: near an extremum of the band where its number is about to change.
    k: Float[Array, "d c"]
    band: Int[Array, " c"]
    #: Whether there is any Fermi surface.
    crossed: Bool[Array, ""]


class FermiSurfaceRule(eqx.Module):
    """A rule for sums over the Fermi surface."""

    @abstractmethod
    def check(self, model: Model) -> None:
        """The rule is one for this kind of model.

        Raises:
            ValueError: naming what does not fit and what would.
        """

    @abstractmethod
    def find(
        self, model: Model, mu: Float[Array, ""]
    ) -> tuple[FermiSurface, tuple[Diagnostic, ...]]:
        """The nodes, and what to look at before one trusts them; in jit, vmap and derivatives."""

    def companion(self) -> "FermiSurfaceRule | None":
        """A rule of the same shape and accuracy with other nodes, for an estimate of the error.

        None, as here, leaves the error of the nodes unknown.
        """
        return None

    def outline(self, model: Model) -> Callable[[Float[Array, ""]], Outline]:
        """The outline of the surface of a model as a function of mu; here: which bands have nodes.

        Thermal averages look for the energies at which it changes, with many mu: what does not
        depend on mu is best computed beforehand.
        """

        def outline_at(mu):
            nodes, _ = self.find(model, mu)
            bands = jnp.arange(number_of_bands(model))
            used = (nodes.band == bands[:, None]) & (nodes.weight != 0)
            k = nodes.k[:, jnp.argmax(used, axis=1)]
            return Outline(used.any(axis=1).astype(int), k, bands, used.any())

        return outline_at

    def nodes(self, model: Model, mu: ArrayLike) -> FermiSurface:
        """The nodes of the surface ε = mu, mu in eV; all weights are 0 where there is none.

        Works in `jit`, in `vmap` over mu and model parameters, and under first derivatives.

        Raises:
            ValueError: a model, a mu or a surface that the rule cannot do. Inside jit, grad or
                vmap, where a surface that it cannot do is not known, its weights are NaN.
        """
        check_energy(mu)
        check_model(model)
        with evaluate_eagerly():  # for a model that is known where mu is traced
            self.check(model)
        surface, findings = _find_surface(
            self, model, jnp.asarray(mu, dtype=jnp.result_type(float))
        )
        if is_traced(surface, findings):
            return nan_if_found(surface, findings)
        for finding in findings:
            finding.refuse_if_found()
        return surface


@program
def _find_surface(surface, model, mu):
    return surface.find(model.prepared(), mu)


def nan_if_found(surface: FermiSurface, findings: tuple[Diagnostic, ...]) -> FermiSurface:
    """The same nodes, with weights NaN if anything was found."""
    wrong = jnp.array([jnp.any(finding.found) for finding in findings], bool).any()
    weight = jnp.where(wrong, jnp.nan, surface.weight)
    return FermiSurface(surface.k, surface.band, weight)


def check_surface(surface) -> None:
    """`surface` is a rule for the Fermi surface.

    Raises:
        ValueError: it is not.
    """
    rules = "FermiContour, FlowContour, MarchingSquares, FermiShell or BroadenedSurface"
    check_type("surface", surface, FermiSurfaceRule, f"a Fermi-surface rule ({rules})")


def edges_of_bands(k: Float[Array, "d K"], energies: Float[Array, "n K"]):
    """The outline on a mesh, as a function of mu: edges of each band below mu."""
    at = jnp.stack([jnp.argmin(energies, axis=1), jnp.argmax(energies, axis=1)], axis=1).ravel()
    band = jnp.repeat(jnp.arange(len(energies)), 2)
    edges = energies[band, at]

    def outline_at(mu):
        below = edges <= mu
        crossed = jnp.any(below[::2] & ~below[1::2])
        return Outline(1 + below.astype(int), k[:, at], band, crossed)

    return outline_at


def extrema_below(k: Float[Array, "d N M"], energies: Float[Array, "n N M"]):
    """The outline on a periodic mesh of the plane, as a function of mu: minima and maxima of each
    band below mu, among the eight neighbours of a point."""
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    others = jnp.stack([jnp.roll(energies, shift, axis=(1, 2)) for shift in around])
    extreme = [jnp.all(energies <= others, axis=0), jnp.all(energies >= others, axis=0)]
    extreme = jnp.stack(extreme, axis=1).reshape(2 * len(energies), -1)
    values = jnp.repeat(energies.reshape(len(energies), -1), 2, axis=0)
    band = jnp.repeat(jnp.arange(len(energies)), 2)

    def outline_at(mu):
        number = jnp.sum(extreme & (values <= mu), axis=1)
        nearest = jnp.argmin(jnp.where(extreme, jnp.abs(values - mu), jnp.inf), axis=1)
        crossed = jnp.any((values <= mu).any(axis=1) & (values > mu).any(axis=1))
        return Outline(1 + number, k.reshape(len(k), -1)[:, nearest], band, crossed)

    return outline_at


def stop_gradients(tree):
    """Return the same tree, constant to derivatives."""
    values, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(jax.lax.stop_gradient, values), rest)


def all_bands(
    model: Model, k: Float[Array, "d *a"]
) -> tuple[Float[Array, "n *a"], Float[Array, "d n *a"]]:
    """Energies ε (eV) and their slopes ∂ε/∂k (eV Å) of all bands at k of any shape."""
    lifted = model.lift(Points(k.reshape(len(k), -1)))
    energies, basis = eigensystem(lifted.hamiltonian.astype(complex), DEGENERATE_TO_ROUNDING)
    velocity = diagonal_of_product(dagger(basis), matmul(lifted.slopes, basis)).real
    n = len(energies)
    return energies.reshape(n, *k.shape[1:]), velocity.reshape(len(k), n, *k.shape[1:])


def one_band(
    model: Model, k: Float[Array, "d *a"], band: Int[Array, "*a"]
) -> tuple[Float[Array, "*a"], Float[Array, "d *a"]]:
    """Energy (eV) and its slope (eV Å) of the given band at each k."""
    energies, velocity = all_bands(model, k)
    energy = jnp.take_along_axis(energies, band[None], axis=0)[0]
    return energy, jnp.take_along_axis(velocity, band[None, None], axis=1)[:, 0]


def safe_divisor(x: Float[Array, "*a"]) -> Float[Array, "*a"]:
    """Return `x` with 1 in place of 0, to divide by."""
    return jnp.where(x == 0, 1, x)


#: A function on lines, one for each slot: x -> (f(x), f'(x)).
Lines = Callable[[Float[Array, "*a"]], tuple[Float[Array, "*a"], Float[Array, "*a"]]]

# From a bracket of 1/64 of the range the error of Newton's iteration squares: 6 steps to rounding.
# The others are for bisections where bands cross and slopes jump.
_STEPS = 16


def bracketed_roots(
    lines: Lines,
    start: Float[Array, "*a"],
    low: Float[Array, "*a"],
    high: Float[Array, "*a"],
    rising: Bool[Array, "*a"],
) -> Float[Array, "*a"]:
    """The root of f on each line, by Newton steps that a bisection replaces where they leave
    [low, high]; `rising` where f goes from negative to positive there."""

    step = partial(newton_or_bisect, lines, rising)
    return repeat(_STEPS, step, (start, low, high))[0]


def newton_step(lines: Lines, x: Float[Array, "*a"]) -> Float[Array, "*a"]:
    """One step of Newton's iteration from the constant x: at a root, its first derivative too.

    Its second derivative would be another number than that of the root, and is an error.
    """
    x = jax.lax.stop_gradient(x)
    value, slope = lines(x)
    return differentiate_once(x - value / safe_divisor(slope))


def is_unconverged(
    value: Array, slope: Array, length: Array, mu: Float[Array, ""]
) -> Bool[Array, "..."]:
    """Mask of the roots that one more Newton step does not reach, from f and f' there and the
    length on which f is smooth.

    Next to a band edge f is rounded to more than that; a root good to 10⁻⁴ of the length will do,
    because its error is in the difference to the companion of the rule.
    """
    eps = jnp.finfo(value.dtype).eps
    allowed = jnp.sqrt(eps) * length * jnp.abs(slope)
    rounding = jnp.minimum(16 * eps * jnp.abs(mu), 1e-4 * length * jnp.abs(slope))
    return ~(jnp.abs(value) <= jnp.maximum(allowed, rounding))


def first_used(used: Bool[Array, " a"]) -> Int[Array, " a"]:
    """For each slot itself if it is used, else the first one that is."""
    return jnp.where(used, jnp.arange(len(used)), jnp.argmax(used))


# Where |∂ε| falls to a hundredth of its largest value, the weight 1/|∂ε| rises a hundredfold within
# a hundredth of the surface, and no rule with fewer nodes than hundreds can follow it.
_STANDING = 0.01
VAN_HOVE = (
    "comes close to a van Hove point: |d epsilon/dk| falls below 1/100 of its largest value there, "
    "and the density of states is singular. Use another `mu`, or BroadenedSurface."
)


def is_near_van_hove(
    speed: Float[Array, "*a"], used: Bool[Array, "*a"], axis: int | tuple[int, ...]
) -> Bool[Array, "*a"]:
    """Mask of the nodes whose speed |∂ε| is negligible against the largest one along an axis."""
    fastest = jnp.max(jnp.where(used, speed, 0), axis=axis, keepdims=True)
    return used & (speed < _STANDING * fastest)
