"""Models: a Hamiltonian H(k) at one k, and the operators that go with it."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

from jaxspin.engine.descriptions import describe_fields
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.identity import is_overridden, run_operations
from jaxspin.engine.programs import known_by_shape
from jaxspin.engine.small_matrices import is_traced, on_device
from jaxspin.engine.validate import check_is_property, check_number, check_type, is_integer
from jaxspin.engine.xla import separate_kernel
from jaxspin.models.lifted import NOTHING_ELSE, Lifted, LiftedOperator, Needs, Points
from jaxspin.models.operators import (
    Operator,
    find_spin,
    named_operators,
    operator_at,
)


class Model(eqx.Module):
    """A Hamiltonian H(k). Subclass it, and everything in jaxspin works on your own model.

    A model gives H(k) at *one* wave vector; jaxspin lifts it to meshes. Parameters that one may
    scan, fit or differentiate are fields that hold arrays.

    ```python
    class Rashba(js.Model):
        mass: jax.Array
        alpha: jax.Array

        @property
        def dimension(self):
            return 2

        def __call__(self, k):
            kinetic = k @ k / (2 * self.mass) * PAULI[0]
            return kinetic + self.alpha * (k[0] * PAULI[2] - k[1] * PAULI[1])

        def spin(self):
            return PAULI[1:]
    ```

    A continuum model (k.p) leaves `lattice` alone. A periodic model overrides it with the
    direct lattice vectors, which is what `Grid` needs. H(k) is computed with jax.numpy and without
    branches on k, because JAX traces it; H(k), the lattice and the operators may be nested lists.
    A model without spin leaves `spin` alone, and one with other operators, such as a valley or an
    orbital moment, adds them to `operators`.
    """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of components of k: 1, 2 or 3."""

    @abstractmethod
    def __call__(self, k: Float[Array, " d"]) -> Complex[Any, "n n"]:
        """H(k) in eV, Hermitian; k in 1/Å, Cartesian."""

    def spin(self) -> Complex[Any, "3 n n"] | None:
        """Spin operator in units of ħ/2 (Pauli matrices for spin 1/2, 2J for spin J).

        The short way to `operators()["spin"]`; None for a model without spin.
        """
        given = {} if type(self).operators is Model.operators else self.operators()
        operator = given.get("spin")
        if callable(operator):
            raise ValueError(
                f"The spin operator of {type(self).__name__} depends on k: `spin_at(k)` gives it."
            )
        return operator

    def operators(self) -> Mapping[str, Operator]:
        """Hermitian operators in the basis of H(k), by name: "spin", and others of a subclass.

        An operator is one matrix (n, n), several (c, n, n), or a function that returns them at one
        k. Observables ask for it by its name (`of=`), `bands(model, k).operator(name)` gives its
        matrix elements.

        ```python
        def operators(self):
            return {**super().operators(), "valley": np.kron(PAULI[3], PAULI[0])}
        ```
        """
        return {} if type(self).spin is Model.spin else find_spin(self)

    @property
    def lattice(self) -> Float[Any, "d d"]:
        """Direct lattice vectors as rows, Å; None for a continuum model."""
        return None

    def prepared(self) -> "Model":
        """The same model, with what does not depend on k computed; called once before a loop."""
        return self

    def lift(self, points: Points, needs: Needs = NOTHING_ELSE) -> Lifted:
        """H, its slopes and what else is needed, at many k: all that the bands are made of.

        This form serves every model: `__call__` and its forward-mode derivative, vectorised over
        k, and the `operators`. A model that has a faster one, or elements of the position operator,
        overrides it. On a box (`Points.box`) all of it may be in another basis, with slopes that
        are the matrices of the same velocity; models made of several take the points one by one,
        because their parts need not agree on that basis.
        """

        @separate_kernel
        def lift_matrices(k):
            return lift_hamiltonian(self, k)

        hamiltonian, slopes = lift_matrices(points.k)
        return Lifted(hamiltonian, slopes, lift_operators(self, needs.operators, points.k))

    def spin_at(self, k: Float[Array, "d K"]) -> Complex[Array, "3 n n K"]:
        """The spin operator at many k, the k axis last; of length 1 where all k have the same.

        Raises:
            ValueError: the model has no spin operator.
        """
        return operator_at(self, "spin", k)

    @property
    def matrix_size(self) -> int:
        """Size of the largest matrices that H(k) is made of, by which tiles are cut.

        That of H(k) itself, but for models that have larger ones inside.
        """
        return number_of_bands(self)

    @property
    def lifts_boxes(self) -> bool:
        """True if `lift` shares work between the k of a box (`Points.box`), and is to get boxes."""
        return False

    @property
    def downfolded(self) -> bool:
        """True if bands of the crystal were removed from the model (`downfold`)."""
        return False

    @property
    def external_terms(self) -> bool:
        """True if the position operator has elements between the basis functions."""
        return False

    def __add__(self, other: "Model") -> "Sum":
        return Sum(self, other)

    __radd__ = __add__

    def __repr__(self) -> str:
        return describe_fields(self)

    def __mul__(self, scale: float | Float[Array, ""]) -> "Scaled":
        return Scaled(self, scale)

    __rmul__ = __mul__


@run_operations.register
def _run_model(model: Model, unit):
    """H(k), and what a user's class has instead of the methods that derive from it."""
    k = unit * jnp.linspace(0.1, 0.3, model.dimension)
    points = Points(k[:, None])
    found = [
        hamiltonian_at(model, k),
        model.dimension,
        model.lattice,
        model.downfolded,
        model.external_terms,
    ]
    names = ()
    with suppress(Exception):  # bad operators, which are refused where they are needed
        names = tuple(sorted(named_operators(model)))
        found += [operator_at(model, name, points.k) for name in names]
    if is_overridden(model, "prepared"):
        found.append(jax.tree.leaves(model.prepared()))
    if is_overridden(model, "lift"):
        needs = Needs(names, curl=model.external_terms)
        found.append(model.lift(points, needs))
        found.append(model.lift(points._replace(box=[x[None] for x in k]), needs))
    return found


def lift_hamiltonian(
    model: Model, k: Float[Array, "d K"]
) -> tuple[Inexact[Array, "n n K"], Inexact[Array, "d n n K"]]:
    """H(k) and its slopes ∂H/∂k_i at many k, the k axis last, from `__call__` alone."""
    at = lambda k: hamiltonian_at(model, k)  # noqa: E731
    at_one = lambda k: (at(k), jax.jacfwd(at)(k))  # noqa: E731
    hamiltonian, slopes = jax.vmap(at_one, in_axes=-1, out_axes=-1)(k)
    return hamiltonian, jnp.moveaxis(slopes, 2, 0)


def lift_operators(
    model: Model, names: Iterable[str], k: Float[Array, "d K"]
) -> dict[str, LiftedOperator]:
    """Operators of a model at many k, by name, from `operators` alone."""

    def lift_operator(name: str) -> LiftedOperator:
        @separate_kernel
        def matrices(k):
            return operator_at(model, name, k)

        return LiftedOperator(matrices(k))

    return {name: lift_operator(name) for name in names}


def hamiltonian_at(model: Model, k: Float[Array, " d"]) -> Inexact[Array, "n n"]:
    """H(k) of a model as an array, which it may give as nested lists or in integers."""
    hamiltonian = jnp.asarray(model(k))
    inexact = jnp.issubdtype(hamiltonian.dtype, jnp.inexact)
    return hamiltonian if inexact else hamiltonian.astype(float)


@known_by_shape
def number_of_bands(model: Model) -> int:
    """Number of bands of a model, the size of H(k)."""
    at = lambda k: hamiltonian_at(model, k)  # noqa: E731  (JAX would print the model to name it)
    return jax.eval_shape(at, jax.ShapeDtypeStruct((model.dimension,), float)).shape[0]


def parameter(default: Any = ...) -> Any:
    """A real model parameter: a field stored as a floating-point array, so that it can be
    differentiated, scanned and fitted.

    A type checker takes the constructor to want an array; with the longer
    `eqx.field(converter=copy_as_float)` it lets numbers pass as well.
    """
    if default is ...:
        return eqx.field(converter=copy_as_float)
    return eqx.field(converter=copy_as_float, default=default)


def _as_scale(scale: Any) -> Array:
    check_number("scale", scale)
    return as_float(scale)


@evaluate_eagerly()
def copy_as_float(value: Any) -> Array:
    """A number or an array of the user's, copied: JAX may share the memory of a NumPy array."""
    if is_traced(value):
        return jnp.array(value, dtype=jnp.result_type(float))
    return on_device(np.array(value, dtype=jnp.result_type(float)))


def as_float(value: object) -> Array:
    """An array, with a known value inside the user's jit too."""
    if is_traced(value):
        return jnp.asarray(value, dtype=jnp.result_type(float))
    return on_device(np.asarray(value, dtype=jnp.result_type(float)))


class Derived(Model):
    """A model made of another one, `model`, with the facts of that."""

    model: eqx.AbstractVar[Model]

    @property
    def dimension(self) -> int:
        return self.model.dimension

    @property
    def lattice(self):
        return self.model.lattice

    @property
    def matrix_size(self) -> int:
        return self.model.matrix_size

    @property
    def downfolded(self) -> bool:
        return self.model.downfolded

    @property
    def external_terms(self) -> bool:
        return self.model.external_terms


class Sum(Model):
    """H = H_first + H_second; the basis functions, with their spin and position operators, and the
    lattice are those of the first.

    Raises:
        ValueError: the two differ in dimension, in the number of bands or in their lattice; the
            second has elements of the position operator, which would be lost; one is downfolded.
    """

    first: Model
    second: Model

    @evaluate_eagerly()
    def __check_init__(self):
        a, b = self.first, self.second
        check_type("other", b, Model, "a Model", "A constant shift of all energies is one of `mu`.")
        if a.downfolded or b.downfolded:
            raise ValueError(
                "Argument `other` must be added before downfolding, for it couples kept and "
                "removed bands, but one of the two models is downfolded."
            )
        if a.dimension != b.dimension:
            raise ValueError(
                "Argument `other` must be a model of the same dimension "
                f"{a.dimension}, but has dimension {b.dimension}."
            )
        if number_of_bands(a) != number_of_bands(b):
            raise ValueError(
                f"Argument `other` must have {number_of_bands(a)} bands, "
                f"but has {number_of_bands(b)}."
            )
        if not _same_lattice(a.lattice, b.lattice):
            raise ValueError("Argument `other` must have the same lattice as the first model.")
        if b.external_terms:
            raise ValueError(
                "Argument `other` must not have elements of the position operator, but has; "
                "give the model with them first."
            )

    @property
    def dimension(self) -> int:
        return self.first.dimension

    @property
    def lattice(self):
        return self.first.lattice

    @property
    def matrix_size(self) -> int:
        return max(self.first.matrix_size, self.second.matrix_size)

    def prepared(self):
        return Sum(self.first.prepared(), self.second.prepared())

    def __call__(self, k):
        return hamiltonian_at(self.first, k) + hamiltonian_at(self.second, k)

    def spin(self):
        return self.first.spin()

    def operators(self):
        return named_operators(self.first)

    @property
    def external_terms(self) -> bool:
        return self.first.external_terms

    def lift(self, points, needs=NOTHING_ELSE):
        scattered = Points(points.k)
        lifted, other = self.first.lift(scattered, needs), self.second.lift(scattered)
        return lifted._replace(
            hamiltonian=lifted.hamiltonian + other.hamiltonian, slopes=lifted.slopes + other.slopes
        )


def _same_lattice(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None:
        return a is b
    return is_traced(a, b) or np.allclose(a, b)


class Scaled(Derived):
    """H = scale · H_model, same spin operator."""

    model: Model
    scale: Float[Array, ""] = eqx.field(converter=lambda scale: _as_scale(scale))

    @property
    def lifts_boxes(self) -> bool:
        return self.model.lifts_boxes

    def prepared(self):
        return Scaled(self.model.prepared(), self.scale)

    def __call__(self, k):
        return self.scale * hamiltonian_at(self.model, k)

    def spin(self):
        return self.model.spin()

    def operators(self):
        return named_operators(self.model)

    def lift(self, points, needs=NOTHING_ELSE):
        lifted = self.model.lift(points, needs)
        gap = lifted.remote_gap
        return lifted._replace(
            hamiltonian=self.scale * lifted.hamiltonian,
            slopes=self.scale * lifted.slopes,
            operators={
                name: operator._replace(
                    current=None if operator.current is None else self.scale * operator.current
                )
                for name, operator in lifted.operators.items()
            },
            remote_gap=None if gap is None else jnp.abs(self.scale) * gap,
        )


def check_is_model(model) -> None:
    """`model` is a Model of one, two or three dimensions.

    Raises:
        ValueError: it is not.
    """
    check_type("model", model, Model, "a jaxspin.Model")
    dimension = model.dimension
    check_is_property("model", model, "dimension")
    if not is_integer(dimension, 1, 3):
        raise ValueError(f"Argument `model` must have dimension 1, 2 or 3, but has {dimension!r}.")
