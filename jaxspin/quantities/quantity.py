"""A response as one record: what is summed, and everything that is said of it elsewhere."""

import dataclasses
import math
from collections.abc import Callable

import equinox as eqx

from jaxspin.engine.record import Record
from jaxspin.quantities.axes import Axis
from jaxspin.quantities.observable import Observable


class Quantity(Record):
    """A response: its observable, axes, unit, symbol, formula, source and parity.

    Printing, files, figures, input files and the check of symmetries read this record; nothing
    about a response is written down anywhere else. Under a rotation or reflection each axis
    transforms by itself, so the parity under inversion is (-1)^(number of polar axes).
    """

    #: The weights of each band, with components in the order of `axes`.
    observable: Observable
    #: Name of the response, e.g. "anomalous Hall conductivity".
    name: str = eqx.field(static=True)
    #: Component axes in their order, e.g. (FLOW, FIELD, SPIN).
    axes: tuple[Axis, ...] = eqx.field(static=True)
    #: Unit of the response in `dimension` dimensions; one that `jaxspin.units` knows.
    unit: Callable[[int], str] = eqx.field(static=True)
    #: Symbol in figures, in LaTeX.
    symbol: str = eqx.field(static=True)
    #: The formula that is summed.
    formula: str = eqx.field(static=True)
    #: Paper and equation of the formula.
    source: str = eqx.field(static=True)
    #: Sign that the response takes with time reversal, that of a spin included; None if that is not
    #: known, and then no operation with time reversal can reduce a mesh.
    time_reversal: int | None = eqx.field(static=True, default=None)
    #: Sign that it takes when its first two axes change places; 0 where it has none.
    exchange: int = eqx.field(static=True, default=0)
    #: Sign of the response over the sum of its observable: -1 where the formula begins with one.
    sign: int = eqx.field(static=True, default=1)
    #: Lowest dimension of space in which it exists.
    least_dimension: int = eqx.field(static=True, default=1)

    def replace(self, **changes) -> "Quantity":
        """The record with some of its fields changed."""
        return dataclasses.replace(self, **changes)

    def shape(self, dimension: int) -> tuple[int, ...]:
        """Number of components along each axis."""
        return tuple(axis.size(dimension) for axis in self.axes)

    def size(self, dimension: int) -> int:
        """Number of components."""
        return math.prod(self.shape(dimension))
