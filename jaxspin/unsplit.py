"""A check in the derivative rule of eigensystems: a change of H must not split a group of bands.

The rule is exact only then. A derivative rule must be linear, and a check is not, so the check is
a primitive of its own that JAX is told to be linear: forward mode runs it on the change itself,
and its transpose, in reverse mode, on what can be known there.
"""

import equinox as eqx
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Complex

_SPLITS = (
    "The derivative was asked with respect to a parameter that splits bands which are degenerate "
    "(within the tolerance of `Covariant`). The rule for derivatives covers parameters that keep "
    "the degeneracy. Differentiate at a point where the bands are split by more than the "
    "tolerance, or use a finite difference."
)
_REVERSE = (
    "Reverse-mode differentiation was asked at degenerate bands, where it cannot be checked that "
    "the parameters keep the degeneracy. Use forward mode (jax.jvp, jax.jacfwd)."
)


def unsplit(
    change: Complex[Array, "*b n n K"], same: Bool[Array, "*b n n K"]
) -> Complex[Array, "*b n n K"]:
    """`change` (dH in the band basis) unaltered, with a run-time error if it splits a group.

    Inside each group of degenerate bands (`same`) dH must be a multiple of the identity, to 1e-6
    of its largest element on the tile. Each dH of a batch is measured by itself, for parameters
    have units of their own. In reverse mode dH is not known, and any degenerate group is an error.
    """
    return _unsplit.bind(change, same)


def _checked(change, same):
    diagonal = jnp.einsum("...mmk->...mk", change).real
    members = jnp.sum(same, axis=-2)
    mean = jnp.sum(jnp.where(same, diagonal[..., None, :, :], 0), axis=-2) / members
    identity = jnp.eye(same.shape[-2])[..., None]
    splitting = jnp.where(same, change - identity * mean[..., None, :], 0)
    tile = (-3, -2, -1)
    lifted = jnp.max(jnp.abs(splitting), axis=tile) > 1e-6 * jnp.max(jnp.abs(change), axis=tile)
    return eqx.error_if(change, jnp.any(lifted) & jnp.any(members > 1), _SPLITS)


def _checked_transposed(cotangent, same):
    return eqx.error_if(cotangent, jnp.any(jnp.sum(same, axis=-2) > 1), _REVERSE)


_unsplit = Primitive("unsplit")
_unsplit.def_impl(_checked)
_unsplit.def_abstract_eval(lambda change, same: change)
mlir.register_lowering(_unsplit, mlir.lower_fun(_checked, multiple_results=False))


def _jvp(primals, tangents):
    change, same = primals
    return unsplit(change, same), unsplit(ad.instantiate_zeros(tangents[0]), same)


def _transpose(cotangent, change, same):
    return _checked_transposed(ad.instantiate_zeros(cotangent), same), None


def _batch(arguments, axes):
    size = next(x.shape[a] for x, a in zip(arguments, axes, strict=True) if a is not None)
    front = (
        jnp.broadcast_to(x, (size, *x.shape)) if a is None else jnp.moveaxis(x, a, 0)
        for x, a in zip(arguments, axes, strict=True)
    )
    return unsplit(*front), 0


ad.primitive_jvps[_unsplit] = _jvp
ad.primitive_transposes[_unsplit] = _transpose
batching.primitive_batchers[_unsplit] = _batch
