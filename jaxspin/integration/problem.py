"""The problem, with its checks at the door, and the run."""

import dataclasses
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxspin.band_structure.bands import solve_bands
from jaxspin.band_structure.degeneracy import Covariant, Degeneracy
from jaxspin.engine.checkpoint import Checkpoint, CheckpointLike, as_checkpoint
from jaxspin.engine.programs import known_by_shape
from jaxspin.engine.record import plain_record
from jaxspin.integration import checks, symmetry_checks
from jaxspin.integration.levels import Levels
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model
from jaxspin.quantities.combine import stack
from jaxspin.quantities.observable import Observable, Weights
from jaxspin.quantities.quantity import Quantity
from jaxspin.symmetry.symmetric import Symmetric


def _as_tuple(quantities: "Quantity | tuple[Quantity, ...]") -> "tuple[Quantity, ...]":
    return (quantities,) if isinstance(quantities, Quantity) else quantities


@plain_record
class Problem:
    """Quantities of a model, summed over a mesh at some levels, in one pass.

    >>> import jaxspin as js
    >>> from jaxspin.quantities.charge import ANOMALOUS_HALL
    >>> model = js.models.QiWuZhang(A=1.0, m=-1.0)
    >>> problem = Problem(ANOMALOUS_HALL, model, js.Grid((8, 8)), js.Levels(0.0)).check()
    >>> problem.quantities[0].name, problem.observable.operators
    ('anomalous Hall conductivity', ())
    """

    quantities: tuple[Quantity, ...] = eqx.field(converter=_as_tuple)
    model: Model
    mesh: Any  #: any of `AnyMesh`; each step of the sum checks which
    levels: Levels
    degeneracy: Degeneracy = Covariant()
    #: Quantities that are summed beside those asked for, and need not converge where these do.
    beside: tuple[Quantity, ...] = ()
    #: The tolerance of degeneracy that the model has where none is given; `check` finds it.
    usual: Covariant = Covariant()

    def __post_init__(self):
        object.__setattr__(self, "quantities", _as_tuple(self.quantities))

    @property
    def all_quantities(self) -> tuple[Quantity, ...]:
        """Those asked for, then those beside: the order of the components of the sums."""
        return self.quantities + self.beside

    @cached_property
    def observable(self) -> Observable:
        """The weights of all quantities, laid end to end."""
        return stack(quantity.observable for quantity in self.all_quantities)

    @cached_property
    def observable_asked_for(self) -> Observable:
        """The weights of the quantities that are asked for."""
        return stack(quantity.observable for quantity in self.quantities)

    def replace(self, **changes) -> "Problem":
        """The problem with some of its fields changed."""
        return dataclasses.replace(self, **changes)

    def observe(self, observable: Observable) -> "Problem":
        """The problem with one quantity, of another observable."""
        quantity = self.quantities[0].replace(observable=observable)
        return self.replace(quantities=(quantity,), beside=())

    @cached_property
    def weights(self) -> Weights:
        """Shapes of the weights, without computing them."""
        return _trace_weights(self.observable, self.model, self.degeneracy)

    def check(self) -> "Problem":
        """The problem with its tolerance of degeneracy chosen, after every check at the door.

        Raises:
            ValueError: naming the argument, for bad input of any kind.
        """
        model, mesh, observable = self.model, self.mesh, self.observable
        model_checks.check_model(model)
        checks.check_mesh(model, mesh)
        checks.check_levels(self.levels)
        self._check_quantities()
        model_checks.check_operators(model, observable.operators)
        usual = checks.choose_degeneracy(model, Covariant())
        own = not isinstance(self.degeneracy, Covariant) or self.degeneracy.tolerance is not None
        degeneracy = checks.choose_degeneracy(model, self.degeneracy) if own else usual
        checks.check_degeneracy(model, degeneracy)
        checks.check_tolerance(model, degeneracy)
        checks.check_tail(self.observable_asked_for, model, mesh, self.levels, degeneracy)
        checks.check_point_set(self.replace(degeneracy=degeneracy))
        if isinstance(mesh, Symmetric):
            symmetry_checks.check_symmetry(observable, self.all_quantities, model, mesh, degeneracy)
        return self.replace(degeneracy=degeneracy, usual=usual)

    def _check_quantities(self) -> None:
        """The model has the dimension, and the bands, that each quantity needs."""
        if len({quantity.observable.moment for quantity in self.all_quantities}) > 1:
            raise ValueError(
                "Argument `quantities` must all be summed with the same power of the energy, but "
                f"are {[quantity.name for quantity in self.all_quantities]}. Compute them apart."
            )
        for quantity in self.all_quantities:
            if quantity.observable.every_band:
                model_checks.check_every_band(self.model, quantity.name)
            if quantity.observable.moment:
                checks.check_warm(self.levels, quantity.name)
            if quantity.observable.complete:
                model_checks.check_complete(self.model, quantity.name)
            allowed = range(quantity.least_dimension, 4)
            model_checks.check_dimension(self.model, allowed, f"the {quantity.name}")


@known_by_shape
def _trace_weights(observable: Observable, model: Model, degeneracy: Degeneracy) -> Weights:
    k = jax.ShapeDtypeStruct((model.dimension, 1), jnp.result_type(float))
    return eqx.filter_eval_shape(
        lambda k: observable(solve_bands(model, k, degeneracy, **observable.needs)), k
    )


@dataclasses.dataclass(frozen=True)
class Run:
    """Progress bar and checkpoint of a computation."""

    #: Show a progress bar; None shows it where standard error is a terminal.
    progress: bool | None = None
    #: Where the sums so far are kept, to go on from after an interruption (docs/running.md).
    checkpoint: Checkpoint | None = None

    @classmethod
    def of(cls, progress: bool | None, checkpoint: CheckpointLike) -> "Run":
        """The run with a progress bar and a checkpoint as public functions take them.

        Raises:
            ValueError: `checkpoint` is neither a path, nor a `Checkpoint`, nor None.
        """
        return cls(progress, as_checkpoint(checkpoint))

    def refuse_checkpoint(self) -> None:
        """Check that there is no checkpoint, where numbers are traced.

        Raises:
            ValueError: there is one.
        """
        if self.checkpoint is not None:
            raise ValueError(
                "Argument `checkpoint` must be None inside jit, grad and vmap, "
                f"but is {self.checkpoint!r}."
            )
