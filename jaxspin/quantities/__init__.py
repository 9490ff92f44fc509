"""The responses that jaxspin knows, each as one record: `Quantity`.

A file holds the observables of one kind, the weights of each band at one k, and below them the
records: name, axes, unit, symbol, formula, source and parity.
"""

from jaxspin.quantities.axes import AXES as AXES, Axis as Axis
from jaxspin.quantities.observable import (
    Observable as Observable,
    OfOperator as OfOperator,
    Weights as Weights,
)
from jaxspin.quantities.quantity import Quantity as Quantity
