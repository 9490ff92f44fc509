"""States that a field drives, as density matrices in the basis of the model.

A mean Tr(O ρ_E) at one level takes a matrix of each field to the band basis and back. Weights of
each band, which serve any number of levels, take every O there.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

from jaxspin.band_structure.bands import Bands
from jaxspin.engine.hermitian import hermitian
from jaxspin.engine.small_matrices import dagger, matmul
from jaxspin.engine.xla import stored_kernel
from jaxspin.models.lifted import Lifted, LiftedOperator


class ModelMatrices(NamedTuple):
    """Matrices in the basis of the model, by the names that they have in `Bands`."""

    hamiltonian: Complex[Array, "n n K"]
    velocity: Inexact[Array, "d n n K"]
    operators: dict[str, LiftedOperator]

    def operator(self, name: str) -> LiftedOperator:
        """An operator that was asked for."""
        return self.operators[name]


def model_matrices(lifted: Lifted) -> ModelMatrices | None:
    """The matrices of a lifted model; None where more than they and its bands add to a response."""
    operators = lifted.operators.values()
    beyond = any(o.current is not None or o.remote is not None for o in operators)
    if lifted.connection is not None or beyond:
        return None
    return ModelMatrices(lifted.hamiltonian, lifted.slopes, lifted.operators)


def field_states(bands: Bands, difference: Float[Array, "n n K"]) -> Complex[Array, "d n n K"]:
    """ρ_E of each direction of the field per eE, Å/eV, in the basis of the model.

    U ρ U† with ρ_mn = R_mn (f_m - f_n)/(ε_m - ε_n) (6): the half below the diagonal, and its
    Hermitian conjugate.

    Args:
        difference: f_m - f_n, below the diagonal at least.
    """
    two = len(bands.levels) <= 2  # the matrices of the whole integrand fit into registers
    return (_find_states if two else _find_stored_states)(bands, difference)


@stored_kernel
def _find_stored_states(bands, difference):
    return _find_states(bands, difference)


def _find_states(bands, difference):
    n = len(bands.levels)
    below = np.tril(np.ones((n, n), bool), -1)[..., None]
    filling = jnp.where(below, difference, 0) * bands.inverse_gap
    half = bands.connection * filling
    half = matmul(matmul(bands.basis, half), dagger(bands.basis))
    return hermitian(half + dagger(half))
