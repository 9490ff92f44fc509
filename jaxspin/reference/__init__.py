"""Slow solvers that share nothing with the rest of the package, to check its formulas against.

`torque_dipole` and `LiouvilleEquation` solve the quantum Liouville equation at a finite wave vector
by finite differences; `correlations` and its relatives are the Kubo-Streda formula by brute force.
They take a Hamiltonian H(k) as a function of NumPy arrays (`batch_hamiltonian` makes one of a
model) and import nothing else of jaxspin, so that no error can be common to both sides.
"""

from jaxspin.reference.finite_q import (
    LiouvilleEquation as LiouvilleEquation,
    TorqueDipole as TorqueDipole,
    differentiate as differentiate,
    torque_dipole as torque_dipole,
)
from jaxspin.reference.hamiltonians import batch_hamiltonian as batch_hamiltonian
from jaxspin.reference.kubo_streda import (
    correlations as correlations,
    dirac_cone_with_range as dirac_cone_with_range,
    disk_nodes as disk_nodes,
    extrapolate_to_no_disorder as extrapolate_to_no_disorder,
    find_crossing as find_crossing,
    pauli_hamiltonian as pauli_hamiltonian,
    refine_rays as refine_rays,
    square_zone_nodes as square_zone_nodes,
)
