"""Immutable objects of the package, which JAX takes apart and puts together."""

from typing import TYPE_CHECKING

import equinox as eqx


class Record(eqx.Module):
    """As `equinox.Module`, with plain methods.

    Equinox makes each method that is looked up an object that JAX can take apart, so that one may
    be an argument of `jax.jit`. Nobody does that with a mesh or a problem, and it took a quarter of
    a warm call on 256 k-points.
    """

    if not TYPE_CHECKING:  # a type checker would take every attribute for one of any type
        __getattribute__ = object.__getattribute__
