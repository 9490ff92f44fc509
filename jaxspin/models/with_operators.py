"""Models with operators that are given to them: another spin, a valley, an orbital moment."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Complex

from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.validate import are_numbers, check_shape, check_type, is_hermitian
from jaxspin.models.base import Derived, Model, check_is_model, lift_operators, number_of_bands
from jaxspin.models.lifted import NOTHING_ELSE, Needs, Points
from jaxspin.models.operators import check_names, named_operators


class WithOperators(Derived):
    """The same H(k) with further operators, or others in place of those of the same name.

    Args:
        given: matrices by name, (n, n) or (c, n, n), Hermitian. An operator that depends on k is
            one of a class of your own, with `operators` as a method.
    Raises:
        ValueError: an operator has another shape or is not Hermitian; the model is downfolded.

    >>> import numpy as np
    >>> import jaxspin as js
    >>> mirror = {"mirror": np.diag([1, -1, 1, -1])}
    >>> model = WithOperators(js.models.KaneMele(0.5, 1.0, 0.3), mirror)
    >>> list(model.operators())
    ['spin', 'sublattice', 'mirror']
    """

    model: Model
    given: Mapping[str, Complex[Array, "*c n n"]] = eqx.field(converter=lambda x: _as_matrices(x))

    def __check_init__(self):
        check_is_model(self.model)
        check_names("given", self.given)
        _check_not_downfolded(self.model, "its operators")
        n = number_of_bands(self.model)
        for name, matrices in self.given.items():
            check_shape("given", matrices, (n, n), ("c", n, n), of=repr(name))
            if not is_hermitian(matrices):
                raise ValueError(
                    f"Argument `given` must have Hermitian matrices as {name!r}, but does not."
                )

    def __call__(self, k):
        return self.model(k)

    def prepared(self):
        return WithOperators(self.model.prepared(), self.given)

    def operators(self):
        return {**named_operators(self.model), **self.given}

    def lift(self, points, needs=NOTHING_ELSE):
        return _replace_operators(self, tuple(self.given), points, needs)


class WithSpin(Derived):
    """The same H(k) with another spin operator (3, n, n), in units of ħ/2.

    Raises:
        ValueError: the operator has another shape than the model's, or is not Hermitian; the model
            is downfolded.
    """

    model: Model
    operator: Complex[Array, "3 n n"] = eqx.field(converter=lambda x: _as_matrix("operator", x))

    def __check_init__(self):
        check_is_model(self.model)
        _check_not_downfolded(self.model, "its spin operator")
        n = number_of_bands(self.model)
        check_shape("operator", self.operator, (3, n, n))
        if not is_hermitian(self.operator):
            raise ValueError("Argument `operator` must be three Hermitian matrices, but is not.")

    def __call__(self, k):
        return self.model(k)

    def prepared(self):
        return WithSpin(self.model.prepared(), self.operator)

    def spin(self):
        return self.operator

    def operators(self):
        return {**named_operators(self.model), "spin": self.operator}

    def lift(self, points, needs=NOTHING_ELSE):
        return _replace_operators(self, ("spin",), points, needs)


def _replace_operators(model: Derived, names: tuple[str, ...], points: Points, needs: Needs):
    """Lift the inner model, with the operators of these names from `model` itself."""
    others = tuple(name for name in needs.operators if name not in names)
    lifted = model.model.lift(Points(points.k), needs._replace(operators=others))
    own = lift_operators(model, [name for name in needs.operators if name in names], points.k)
    return lifted._replace(operators={**lifted.operators, **own})


@evaluate_eagerly()
def _as_matrices(given: Any) -> dict[str, Array]:
    """Operators of the user's by name, copied."""
    check_type("given", given, Mapping, "a mapping from names to matrices")
    return {name: _as_matrix("given", matrices, name) for name, matrices in given.items()}


@evaluate_eagerly()
def _as_matrix(argument: str, matrices: Any, name: Any = "spin") -> Array:
    """An operator of the user's, copied."""
    try:
        if not are_numbers(matrices):
            raise TypeError("not numbers")
        return jnp.array(matrices, dtype=complex)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Argument `{argument}` must have matrices of numbers as {name!r}, but has one of type "
            f"{type(matrices).__name__}. An operator that depends on k is one of a class of your "
            "own, with `operators` as a method."
        ) from error


def _check_not_downfolded(model: Model, what: str) -> None:
    if model.downfolded:
        raise ValueError(
            f"Argument `model` must get {what} before downfolding, which dresses operators, "
            "but is downfolded."
        )
