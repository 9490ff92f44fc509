"""Tolerances by the precision of the numbers that are compared.

Rounding leaves 10⁻¹⁶ of a number in double precision, and 10⁻⁷ in single precision. A tolerance
that tells rounding from a difference that means something is therefore two numbers. Those of single
precision are such that the models of tests/oracles/every_response.py pass.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike


class Tolerance(NamedTuple):
    """A tolerance for each precision.

    >>> import numpy as np
    >>> HERMITIAN.of(np.zeros(3, np.complex64))
    0.0001
    """

    double: float
    single: float

    def of(self, *arrays: ArrayLike) -> float:
        """Return the tolerance for the precision of some numbers; without any, for that of JAX."""
        bits = jnp.finfo(jnp.result_type(float, *arrays)).bits
        return self.double if bits >= 64 else self.single


# --- input ----------------------------------------------------------------------------------------

#: |A − A†| of a matrix, relative to its largest element; symmetries of energies and tensors.
HERMITIAN = Tolerance(1e-8, 1e-4)
#: |R Rᵀ − 1|, and other elements, of a rotation that is given.
ROTATION = Tolerance(1e-10, 1e-6)
#: Elements of a rotation in coordinates of the lattice or of the mesh.
ALIKE = Tolerance(1e-9, 1e-5)
#: Elements of an operation of a lattice in its own coordinates, from integers: files write lattice
#: vectors with six digits.
LATTICE = Tolerance(1e-5, 1e-4)
#: Products of spin matrices.
SPIN_ALGEBRA = Tolerance(1e-6, 1e-5)
#: Bands, and averages over disorder, at k + G and at k: phases k·r of order 10 to 100.
PERIODIC = Tolerance(1e-5, 1e-4)
PERIODIC_DISORDER = Tolerance(1e-6, 1e-4)
#: W(q) and W(−q).
EVEN = Tolerance(1e-8, 1e-4)

# --- energies -------------------------------------------------------------------------------------

#: A splitting that is zero, of the largest energy.
DEGENERATE = Tolerance(1e-12, 1e-5)
#: A splitting of states at the Fermi energy, eV.
DEGENERATE_ON_SHELL = Tolerance(1e-10, 1e-5)
#: A gap that is zero where near degeneracies are searched, of the largest energy.
NO_GAP = Tolerance(1e-13, 1e-5)
#: A gap between kept and removed bands, of the largest energy.
TOUCHING = Tolerance(1e-9, 1e-5)
#: Cosine of an angle of eigenvectors from π/2.
ORTHOGONAL = Tolerance(1e-8, 1e-4)
#: Square of what a perturbation changes inside a degenerate group, of that of all it changes.
UNSPLIT = Tolerance(1e-12, 1e-8)

# --- sums -----------------------------------------------------------------------------------------

#: Carrier densities that are the same, of their size, and the range of energies, in widths of the
#: bands, at whose ends they are compared. Sums in single precision are off by 10⁻⁶.
SAME_DENSITY = Tolerance(1e-10, 1e-5)
PROBE = Tolerance(1e-7, 1e-4)
#: Two rules for one cell that agree, of the largest cell.
SAME_RULES = Tolerance(1e-11, 1e-6)
#: A torque density that is not zero, of the response.
TORQUE = Tolerance(1e-6, 1e-4)
#: What a component that is zero has left far from k = 0: in natural units, and of the largest one.
#: For Bi2Se3 on `Space` of scales 0.1 to 1 rounding in single precision leaves 10⁻⁷ and 10⁻⁵.
TAIL = Tolerance(1e-9, 1e-6)
TAIL_SHARE = Tolerance(1e-5, 1e-4)
#: The last third of the Fourier series of dt/dθ on a Fermi contour; its square is in the period.
SERIES = Tolerance(1e-6, 1e-4)

# --- kinetic equations ----------------------------------------------------------------------------

#: A relaxation rate that is zero, of 2Γ; rounding leaves 10⁻¹⁵ and 10⁻⁶.
CONSERVED = Tolerance(1e-10, 1e-5)
#: One of the spin, of 1/τ. Conserved modes were found with up to 10⁻¹⁵ and 10⁻⁷; the T1 of Bi2Se3
#: 5 meV above the band edge is 2·10⁻⁵.
CONSERVED_SPIN = Tolerance(500 * float(np.finfo(np.float64).eps), 2e-6)
#: Residual of the collision integral, of its largest source.
COLLISION = Tolerance(1e-12, 1e-5)
#: Errors of responses that vanish by symmetry, of the Drude term.
ZERO_BY_SYMMETRY = Tolerance(1e-10, 1e-5)

# --- fits -----------------------------------------------------------------------------------------

#: Two levels of measurements that are the same: far above rounding, far below what one measures.
SAME_LEVEL = Tolerance(1e-9, 1e-5)
#: Distance from the optimum of a least-squares fit, in standard errors and in sizes of parameters.
#: Residuals of data with errors of 10⁻³ have rounding errors of 10⁻³ in single precision.
CONVERGED = Tolerance(1e-4, 1e-2)
#: Singular values of the Jacobian that are zero, of the largest (columns in units of the sizes of
#: the parameters). Jacobians of responses are exact to about 10⁻¹² and 10⁻⁶; two parameters of
#: which the data know the sum alone came out at 10⁻¹⁷ to 10⁻¹⁴ in double precision.
UNDETERMINED = Tolerance(1e-10, 1e-5)
#: The same where only the distance to the optimum is asked.
NO_DIRECTION = Tolerance(1e-12, 1e-6)
#: A parameter at a bound, of its size and in standard errors.
AT_BOUND = Tolerance(1e-5, 1e-4)
AT_BOUND_IN_ERRORS = Tolerance(1e-3, 1e-2)
