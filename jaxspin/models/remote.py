"""Field responses through the remote (removed) bands of a downfolded model."""

from typing import NamedTuple

from jaxtyping import Array, Complex


class RemoteStates(NamedTuple):
    """What a field drives through the bands that a downfolded model has not, on those it has.

    Operators whose diagonal in the band basis adds to the sums over pairs of bands (`quantities`).
    """

    #: Spin generated, Å: what pairs with removed bands are in `Torque`.
    torque: Complex[Array, "d 3 n n K"]
    #: Spin current, Å², (flow, field, spin, n, n, K): the same in `ConventionalSpinHall`.
    current: Complex[Array, "d d 3 n n K"]
