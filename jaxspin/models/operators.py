"""Named Hermitian operators of a model: the spin, and what else it has."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from jaxspin.engine.validate import check_is_method

#: An operator in the basis of H(k): one matrix (n, n), several (c, n, n), or a function that
#: returns them at one k. Matrices may be nested lists.
Operator = Callable[[Array], Any] | Any

#: What `BandStructure.operator` knows of every model; no operator of a model is named so.
RESERVED = ("velocity", "spin_current", "torque")


def named_operators(model) -> dict[str, Operator]:
    """All operators of a model by name, the spin included.

    Raises:
        ValueError: `model.operators` is no method, or gives no mapping from names to operators.
    """
    name = type(model).__name__
    check_is_method("model", model, "operators")
    found = model.operators()
    if not isinstance(found, Mapping):
        raise ValueError(
            "Argument `model` must give its operators as a mapping from names to matrices, "
            f"but {name}.operators returns one of type {type(found).__name__}."
        )
    check_names("model", found)
    return dict(found) if "spin" in found else {**find_spin(model), **found}


def check_names(argument: str, operators: Mapping) -> None:
    """The keys of `operators` are names that an operator may have.

    Raises:
        ValueError: one is not a text, or is the name of what every model has.
    """
    for name in operators:
        if not isinstance(name, str) or not name or name in RESERVED:
            raise ValueError(
                f"Argument `{argument}` must name its operators by texts other than "
                f"{', '.join(map(repr, RESERVED))}, but has one named {name!r}."
            )


def find_spin(model) -> dict[str, Operator]:
    """The constant spin operator of a model by its name; empty if it has none."""
    with suppress(ValueError):
        operator = model.spin()
        if operator is not None:
            return {"spin": operator}
    return {}


def operator_at(model, name: str, k: Float[Array, "d K"]) -> Inexact[Array, "*c n n _"]:
    """An operator of a model at many k, the k axis last; of length 1 where all k have the same.

    Raises:
        ValueError: the model has none of this name.
    """
    known, kind = named_operators(model), type(model).__name__
    if name in known:
        return evaluate_operator(known[name], k)
    if name == "spin":
        model.spin()  # may raise an error in the words of the model
        raise ValueError(
            "Argument `model` must have a spin operator for this quantity, "
            f"but {kind}.spin returns None."
        )
    raise ValueError(
        f"Argument `model` must have an operator {name!r} for this quantity, but the operators "
        f"of {kind} are {', '.join(map(repr, known)) or 'none'}."
    )


def evaluate_operator(operator: Operator, k: Inexact[Array, "d K"]) -> Inexact[Array, "*c n n _"]:
    """An operator at many k, the k axis last; of length 1 where all k have the same."""
    if callable(operator):
        return jax.vmap(lambda k: _as_matrices(operator(k)), in_axes=-1, out_axes=-1)(k)
    return _as_matrices(operator)[..., None]


def _as_matrices(operator: Any) -> Inexact[Array, "*c n n"]:
    """Matrices that may be given as nested lists, or in integers."""
    matrices = jnp.asarray(operator)
    inexact = jnp.issubdtype(matrices.dtype, jnp.inexact)
    return matrices if inexact else matrices.astype(float)
