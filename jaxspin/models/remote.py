"""Field responses through the remote (removed) bands of a downfolded model."""

from typing import NamedTuple

from jaxtyping import Array, Complex


class RemoteStates(NamedTuple):
    """Field response of an operator through the remote bands, projected onto the kept ones.

    Matrices whose diagonal in the band basis adds to the sums over pairs of bands (`quantities`).
    """

    #: Generation of the operator, Å: what pairs with removed bands are in `Torque`.
    torque: Complex[Array, "d c n n K"]
    #: Its current, Å², (flow, field, c, n, n, K): the same in `ConventionalSpinHall`.
    current: Complex[Array, "d d c n n K"]
