"""Operators whose response is measured in a disordered conductor.

An operator is Hermitian matrices O(k) in the basis of H(k), made of H, its slopes and the named
operators of the model. ħ = 1, the force on an electron is −E and ⟨O⟩ = χ_Oj E_j.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxspin import units
from jaxspin.engine.identity import run_operations
from jaxspin.engine.small_matrices import anticommutator, commutator, is_traced
from jaxspin.engine.validate import check_type, is_finite, is_hermitian
from jaxspin.models.base import Model, number_of_bands
from jaxspin.models.lifted import Lifted, Needs, Points
from jaxspin.models.operators import evaluate_operator, named_operators
from jaxspin.quantities.axes import FLOW, ORBITAL, SPIN, Axis


class MeasuredOperator(eqx.Module):
    """An operator whose response is measured."""

    #: Symbol in figures, in LaTeX, and the operator in formulas.
    symbol: ClassVar[str]
    formula: ClassVar[str]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the operators of the model that it is made of."""
        return ()

    @abstractmethod
    def __call__(self, lifted: Lifted, k: Float[Array, "d a"]) -> Complex[Array, "*shape n n a"]:
        """The matrices at many k; of what flows the axis of the flow comes first."""

    @abstractmethod
    def unit(self, dimension: int) -> str:
        """Unit of ⟨O⟩ per volume and field."""

    def axes(self, shape: tuple[int, ...]) -> tuple[Axis, ...]:
        """The axes of components, of these lengths, of the operator itself."""
        return _label_axis(shape)


class Current(MeasuredOperator):
    """The charge current −ev: −∂H/∂k, so that χ is σ_ij of j_i = σ_ij E_j."""

    symbol: ClassVar[str] = r"\sigma"
    formula: ClassVar[str] = "−∂H"

    def __call__(self, lifted, k):
        return -lifted.slopes

    def unit(self, dimension):
        return units.natural_conductivity(dimension)

    def axes(self, shape):
        return (FLOW,)


class _OfModel(MeasuredOperator):
    #: Name of an operator of the model.
    of: str = eqx.field(static=True, default="spin")

    @property
    def needs(self):
        return (self.of,)

    def matrices(self, lifted: Lifted) -> Complex[Array, "*c n n _"]:
        """The operator of the model."""
        return lifted.operators[self.of].matrices

    def axes(self, shape):
        return _label_axis(shape, ORBITAL if "orbital" in self.of else SPIN)


class Density(_OfModel):
    """An operator of the model itself: the spin, in units of ħ/2, if no other is named by `of`."""

    symbol: ClassVar[str] = "s"
    formula: ClassVar[str] = "s"

    def __call__(self, lifted, k):
        return self.matrices(lifted)

    def unit(self, dimension):
        if self.of == "spin":
            return units.spin_polarization(dimension)
        return units.operator_density(dimension)


class CurrentOf(_OfModel):
    """The conventional current ½{s, ∂H} of the spin, or of another operator of the model.

    Its response is the spin conductivity σ^s_ab of J^s_a = σ^s_ab E_b, as that of `js.spin_hall`.
    """

    symbol: ClassVar[str] = r"\sigma"
    formula: ClassVar[str] = "½{s, ∂H}"

    def __call__(self, lifted, k):
        operator = self.matrices(lifted)
        slopes = lifted.slopes[:, None] if operator.ndim == 4 else lifted.slopes
        return anticommutator(operator, slopes) / 2

    def unit(self, dimension):
        if self.of == "spin":
            return units.spin_conductivity(dimension)
        return units.natural_conductivity(dimension)  # of what carries e times the operator

    def axes(self, shape):
        return (FLOW, *super().axes(shape[1:]))


class TorqueOn(_OfModel):
    """i[H, s], the rate at which H alone changes the spin, or another operator of the model.

    What impurities that do not commute with s add, ⟨i[U, s]⟩, is not in it.
    """

    symbol: ClassVar[str] = r"\tau"
    formula: ClassVar[str] = "i[H, s]"

    def __call__(self, lifted, k):
        return 1j * commutator(lifted.hamiltonian, self.matrices(lifted))

    def unit(self, dimension):
        return (units.spin_generation if self.of == "spin" else units.torque)(dimension)


class OperatorOfK(MeasuredOperator):
    """A function of one k that gives a Hermitian matrix (n, n), or three of them."""

    symbol: ClassVar[str] = "O"
    formula: ClassVar[str] = "O"

    function: Callable[[Float[Array, " d"]], Any]

    def __call__(self, lifted, k):
        return evaluate_operator(self.function, k)

    def unit(self, dimension):
        return units.operator_density(dimension)


@run_operations.register
def _run_function(operator: OperatorOfK, unit):
    """The function in each dimension in which it can be asked for."""
    values = []
    for dimension in (1, 2, 3):
        with suppress(Exception):
            values.append(operator.function(unit * jnp.ones(dimension)))
    return values


def _label_axis(shape: tuple[int, ...], label: Axis = SPIN) -> tuple[Axis, ...]:
    return (label,) if shape else ()


#: Operators that every model with a spin has, by the texts that stand for them.
_KNOWN: dict[str, MeasuredOperator] = {
    "current": Current(),
    "spin_current": CurrentOf(),
    "torque": TorqueOn(),
}


def as_operators(measure: Mapping[str, Any] | None, model: Model) -> dict[str, MeasuredOperator]:
    """The operators of a user by name.

    Raises:
        ValueError: no mapping; a name that is no identifier; an operator that the model does not
            have, that is not Hermitian, not finite or of another size than H(k).
    """
    if measure is None:
        return {}
    check_type("measure", measure, Mapping, "a mapping from names to operators")
    found = {name: _as_operator(name, value, model) for name, value in measure.items()}
    for name, operator in found.items():
        _check_matrices(name, operator, model)
    return found


def _as_operator(name: Any, value: Any, model: Model) -> MeasuredOperator:
    if not (isinstance(name, str) and name.isidentifier() and not name.startswith("_")):
        raise ValueError(
            "Argument `measure` must name each operator by letters, digits and underscores, for "
            f"its response is an attribute of that name, but has the name {name!r}."
        )
    if isinstance(value, MeasuredOperator):
        return value
    if isinstance(value, str):
        named = value in named_operators(model) or value not in _KNOWN
        return Density(value) if named else _KNOWN[value]
    if callable(value):
        return OperatorOfK(value)
    raise ValueError(
        "Argument `measure` must give each operator as 'current', 'spin_current', 'torque', the "
        "name of an operator of the model, an operator of js.disorder such as CurrentOf('valley'), "
        f"or a function of k, but has {value!r:.60} as {name!r}."
    )


def _check_matrices(name: str, operator: MeasuredOperator, model: Model) -> None:
    known = named_operators(model)
    for needed in operator.needs:
        if needed not in known:
            raise ValueError(
                f"Argument `measure` must have operators of the model, but {name!r} needs "
                f"{needed!r}, and those of {type(model).__name__} are "
                f"{', '.join(map(repr, known)) or 'none'}."
            )
    n, d = number_of_bands(model), model.dimension
    k = jnp.asarray(np.random.default_rng(20261130).normal(size=(d, 2)))
    try:
        shape = jax.eval_shape(lambda: evaluate(operator, model, k)).shape
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"Argument `measure` must have functions of k of shape ({d},), but {name!r} fails "
            f"there: {error}"
        ) from error
    sizes = [(axis.size(d),) for axis in operator.axes(shape[:-3])]
    wanted = (*(size for (size,) in sizes), n, n)
    if len(shape) > 6 or shape[:-1] != wanted:
        raise ValueError(
            f"Argument `measure` must have operators of one matrix ({n}, {n}) as H(k), or of "
            f"three, but {name!r} has shape {shape[:-1]}. Measure other sets one by one."
        )
    if is_traced(model, operator):
        return
    matrices = np.moveaxis(np.asarray(evaluate(operator, model, k)), -1, 0)
    if not is_finite(matrices):
        raise ValueError(f"Argument `measure` must be finite, but {name!r} is not.")
    if not is_hermitian(matrices):
        raise ValueError(f"Argument `measure` must be Hermitian, but {name!r} is not.")


def component_shape(operator: MeasuredOperator, model: Model) -> tuple[int, ...]:
    """Numbers of components of an operator."""
    k = jnp.zeros((model.dimension, 1))
    return jax.eval_shape(lambda: evaluate(operator, model, k)).shape[:-3]


def evaluate(
    operator: MeasuredOperator, model: Model, k: Float[Array, "d a"]
) -> Complex[Array, "*shape n n a"]:
    """An operator of a model at many k."""
    lifted = model.lift(Points(k), Needs(operator.needs))
    return jnp.broadcast_to(*_on_all(operator(lifted, k), k))


def measure_operators(
    operators: tuple[MeasuredOperator, ...], lifted: Lifted, k: Float[Array, "d a"]
) -> Complex[Array, "o n n a"]:
    """The matrices of all operators, their components on one axis."""
    n = lifted.hamiltonian.shape[0]
    every = [jnp.broadcast_to(*_on_all(operator(lifted, k), k)) for operator in operators]
    none = [jnp.zeros((0, n, n, k.shape[1]))]
    return jnp.concatenate([x.reshape(-1, *x.shape[-3:]) for x in every or none]).astype(complex)


def _on_all(matrices, k):
    """Matrices that may be the same at all k, and their shape at each."""
    return matrices, (*matrices.shape[:-1], k.shape[1])
