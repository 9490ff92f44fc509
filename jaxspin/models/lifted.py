"""Models at many k: the points, what is needed there, and H, its slopes and operators."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

from jaxspin.engine.small_matrices import dagger, matmul
from jaxspin.models.remote import RemoteStates


class Points(NamedTuple):
    """Wave vectors, the k axis last: scattered, or a box of a grid."""

    #: 1/Å.
    k: Float[Array, "d K"]
    #: Of a box k = Σ_i u_i b_i, b_i the reciprocal lattice vectors, the values of each u_i: the k
    #: are all combinations, the last axis fastest. None for scattered k.
    box: Sequence[Float[Array, " _"]] | None = None


class Needs(NamedTuple):
    """Parts of a `Lifted` that are wanted beside H and its slopes."""

    #: Names of operators.
    operators: tuple[str, ...] = ()
    #: Whether the curl of the connection of the basis functions is wanted.
    curl: bool = False
    #: Whether what goes through the remote bands of a downfolded model is wanted.
    remote: bool = False


#: H and its slopes alone.
NOTHING_ELSE = Needs()


class BasisConnection(NamedTuple):
    """Berry connection of the basis functions of a model, beyond the phases of their centres.

    `connection`: A_mn = i⟨m|∂n⟩, Å, (d, n, n, K), Hermitian. `curl`: ∂_a A_b − ∂_b A_a of the pairs
    a < b, Å², (p, n, n, K); covariant derivatives where the phases are left out of the basis.
    """

    connection: Complex[Array, "d n n K"]
    curl: Complex[Array, "p n n K"] | None

    def velocity(
        self, hamiltonian: Complex[Array, "n n K"], slopes: Inexact[Array, "d n n K"]
    ) -> Complex[Array, "d n n K"]:
        """ħ times the velocity, ∂H − i[A, H], eV Å."""
        product = matmul(self.connection, hamiltonian)
        return slopes - 1j * (product - dagger(product))

    def curvature(self) -> Complex[Array, "p n n K"]:
        """That of the space of the basis functions, ∂_a A_b − ∂_b A_a − i[A_a, A_b], Å².

        It is what a sum over all states has beyond the sum over the bands of the model: the terms
        Ω̄ and, with the others, A x A of Wang et al., PRB 74, 195118 (2006), Eq. (27).
        """
        a, b = np.triu_indices(len(self.connection), 1)
        product = matmul(self.connection[a], self.connection[b])
        curl: Any = self.curl  # wherever a curvature is asked for
        return curl - 1j * (product - dagger(product))


class LiftedOperator(NamedTuple):
    """An operator O at many k, the k axis last, or of length 1 where all k have the same.

    `current` and `remote` have the components of O as an axis, of length 1 for a single matrix.
    """

    matrices: Inexact[Array, "*c n n _"]
    #: The current of O less ½{O, v}, eV Å, (d, c, n, n, K): what is lost where O and v are
    #: projected on a part of the states. None where nothing is, or where it is not known.
    current: Complex[Array, "d c n n K"] | None = None
    #: Only from a downfolded model, and where it was asked for.
    remote: RemoteStates | None = None

    @property
    def components(self) -> Inexact[Array, "c n n _"]:
        """The matrices with an axis of components, of length 1 for a single matrix."""
        return self.matrices if self.matrices.ndim == 4 else self.matrices[None]


class Lifted(NamedTuple):
    """A model at many k, the k axis last."""

    #: H, eV, and ∂H/∂k_i, eV Å.
    hamiltonian: Inexact[Array, "n n K"]
    slopes: Inexact[Array, "d n n K"]
    #: Those that were asked for, by name.
    operators: dict[str, LiftedOperator]
    #: None where the model has no elements of the position operator.
    connection: BasisConnection | None = None
    #: Only from a downfolded model: the smallest gap between kept and removed bands, eV.
    remote_gap: Float[Array, " K"] | None = None
