"""Forms of response tensors: which components a group allows, and which are multiples of which."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

from jaxspin.engine.validate import check_choice, check_type
from jaxspin.quantities.axes import FIELD, FLOW, SECOND_FIELD, SPIN, Axis
from jaxspin.symmetry.operations import Operation
from jaxspin.symmetry.tensors import Tensor, mean_over_elements


@dataclass(frozen=True)
class TensorKind:
    """Transformation behaviour of a response: its axes, and its signs as in a `Quantity`."""

    name: str
    axes: tuple[Axis, ...]
    #: Sign that it takes with time reversal, that of a spin included.
    time_reversal: int
    #: Sign that it takes when its first two axes change places; 0 where it has none.
    exchange: int = 0

    def size(self, dimension: int) -> int:
        """Number of components."""
        return int(np.prod([axis.size(dimension) for axis in self.axes]))


#: Responses by name. What a field drives has two parts: "spin hall" and "edelstein" keep their sign
#: with time reversal, spin included, as the intrinsic spin Hall and the Edelstein effect of a
#: relaxation time do; the magnetic ones change it, and vanish in every group with time reversal.
#: By Onsager's relation the part of a conductivity that keeps its sign is symmetric, the other
#: (anomalous Hall) antisymmetric.
KINDS = {
    kind.name: kind
    for kind in (
        TensorKind("carrier density", (), 1),
        TensorKind("density of states", (), 1),
        TensorKind("spin density", (SPIN,), -1),
        TensorKind("conductivity", (FLOW, FIELD), 1, exchange=1),
        TensorKind("anomalous hall", (FLOW, FIELD), -1, exchange=-1),
        TensorKind("spin hall", (FLOW, FIELD, SPIN), 1),
        TensorKind("magnetic spin hall", (FLOW, FIELD, SPIN), -1),
        TensorKind("edelstein", (SPIN, FIELD), 1),
        TensorKind("magnetic edelstein", (SPIN, FIELD), -1),
        TensorKind("torque density", (SPIN, FIELD), 1),
        TensorKind("equilibrium spin current", (FLOW, SPIN), 1),
        TensorKind("second-order conductivity", (FLOW, FIELD, SECOND_FIELD), 1),
        TensorKind("magnetic second-order conductivity", (FLOW, FIELD, SECOND_FIELD), -1),
    )
}


def find_kind(quantity: str | Tensor) -> Tensor:
    """The record of a name; a record as it is.

    Raises:
        ValueError: there is no such name, or it is no record.
    """
    if not isinstance(quantity, str):
        check_type("quantity", quantity, Tensor, "the name of a response or a Quantity")
        return quantity
    check_choice("quantity", quantity, tuple(KINDS))
    return KINDS[quantity]


@dataclass(frozen=True, repr=False)
class TensorForm:
    """The independent components of a tensor, and the others as multiples of them.

    Components are written with the letters of polar axes first, then those of axial ones:
    xy^z of a spin Hall conductivity flows along x, the field is along y, the spin along z.
    """

    name: str
    #: For each component that is allowed, its factors of the independent ones, by name.
    multiples: dict[str, dict[str, float]]

    @property
    def independent(self) -> tuple[str, ...]:
        """The independent components: the first ones in the order of the tensor."""
        return tuple(name for name, factors in self.multiples.items() if factors == {name: 1.0})

    def __len__(self) -> int:
        """Number of independent components."""
        return len(self.independent)

    def __repr__(self) -> str:
        return f"<{self.name}: {self}>"

    def __str__(self) -> str:
        several = {name: x for name, x in self.multiples.items() if len(x) > 1}
        chains = []
        for first in self.independent:
            alone = {name: x for name, x in self.multiples.items() if list(x) == [first]}
            chains.append(" = ".join(_multiply(1 / x[first], name) for name, x in alone.items()))
        sums = [f"{name} = {_add(factors)}" for name, factors in several.items()]
        return "; ".join([*chains, *sums]) or "0"


def _multiply(factor: float, name: str) -> str:
    """A multiple in words: -xy, 0.5 zz."""
    plain = {"1": "", "-1": "-"}.get(f"{factor:.6g}")
    return f"{factor:.6g} {name}" if plain is None else f"{plain}{name}"


def _add(factors: dict[str, float]) -> str:
    text = " + ".join(_multiply(x, name) for name, x in factors.items())
    return text.replace("+ -", "- ")


def find_form(group: Sequence[Operation], tensor: Tensor, dimension: int) -> TensorForm:
    """The form of a tensor that each element of a group leaves as it is."""
    mean = mean_over_elements(group, tensor, dimension)
    allowed = _reduce_rows((mean @ _exchange_axes(tensor, dimension)).T)
    names = _name_components(tensor, dimension)
    independent = [names[int(np.argmax(np.abs(row) > _ZERO))] for row in allowed]
    multiples = {
        name: {first: float(x) for first, x in zip(independent, column, strict=True) if x}
        for name, column in zip(names, allowed.T, strict=True)
    }
    return TensorForm(tensor.name, {name: x for name, x in multiples.items() if x})


def _exchange_axes(tensor: Tensor, dimension: int) -> Float[np.ndarray, "c c"]:
    """The projector on tensors that are symmetric or antisymmetric in their first two axes."""
    size = tensor.size(dimension)
    if tensor.exchange == 0:
        return np.eye(size)
    shape = [axis.size(dimension) for axis in tensor.axes]
    swapped = np.swapaxes(np.arange(size).reshape(shape), 0, 1).ravel()
    return (np.eye(size) + tensor.exchange * np.eye(size)[swapped]) / 2


_ZERO = 1e-9  # an element of a mean over a group that is zero


def _reduce_rows(matrix: Float[np.ndarray, "r c"]) -> Float[np.ndarray, "p c"]:
    """The reduced row echelon form, without its rows of zeros and with exact zeros."""
    rows, done = matrix.copy(), 0
    for column in range(rows.shape[1]):
        if done == len(rows):
            break
        largest = done + int(np.argmax(np.abs(rows[done:, column])))
        if abs(rows[largest, column]) < _ZERO:
            continue
        rows[[done, largest]] = rows[[largest, done]]
        rows[done] /= rows[done, column]
        others = np.arange(len(rows)) != done
        rows[others] -= rows[others, column, None] * rows[done]
        done += 1
    return np.where(np.abs(rows[:done]) < _ZERO, 0, rows[:done]).round(10)


def _name_components(tensor: Tensor, dimension: int) -> list[str]:
    names = []
    for index in product(*(range(axis.size(dimension)) for axis in tensor.axes)):
        pairs = list(zip(index, tensor.axes, strict=True))
        polar = "".join("xyz"[i] for i, axis in pairs if not axis.axial)
        axial = "".join("xyz"[i] for i, axis in pairs if axis.axial)
        names.append(f"{polar}^{axial}" if polar and axial else polar + axial or tensor.name)
    return names
