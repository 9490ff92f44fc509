"""Immutable objects of the package, which JAX takes apart and puts together."""

import dataclasses
from typing import TYPE_CHECKING, dataclass_transform

import equinox as eqx
import jax


class Record(eqx.Module):
    """As `equinox.Module`, with plain methods.

    Equinox makes each method that is looked up an object that JAX can take apart, so that one may
    be an argument of `jax.jit`. Nobody does that with a mesh or a problem, and it took a quarter of
    a warm call on 256 k-points.
    """

    if not TYPE_CHECKING:  # a type checker would take every attribute for one of any type
        __getattribute__ = object.__getattribute__


@dataclass_transform(
    eq_default=False, frozen_default=True, field_specifiers=(dataclasses.field, eqx.field)
)
def plain_record(cls):
    """Decorate the class of an object that lives as long as one call.

    It is made in a tenth of the 50 µs that Equinox takes for one of eight fields, because nothing
    is converted or checked. Fields are those of Equinox: `eqx.field(static=True)` is a constant.
    """
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, eq=False)(cls))
