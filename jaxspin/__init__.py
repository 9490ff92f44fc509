"""Spin and charge transport of electrons in crystals, from a Hamiltonian H(k).

Build a model (`models.TopologicalInsulator.bi2se3()`, or subclass `Model` with your own H(k)),
a mesh (`Space`, `Grid`, ...) and `Levels(mu, temperature)`; hand the three to a response such as
`spin_hall`, and print, plot or save the `Response` that comes back.

Importing jaxspin switches JAX to double precision, unless the environment variable
JAXSPIN_ENABLE_X64 is 0, and asks XLA to compile loops on the CPU as one piece of code, unless
JAXSPIN_WHOLE_LOOPS is 0 or XLA_FLAGS already sets such options.
"""

import importlib
import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import jax

if os.environ.get("JAXSPIN_ENABLE_X64", "1") != "0":
    jax.config.update("jax_enable_x64", True)

# A loop over a tile of k-points becomes one function of machine code instead of a hundred, each
# called by an interpreter: twice as fast. XLA must not share a long result inside among threads
# (256 kB and more), for such a function is not linked ("Symbols not found:
# __xla_cpu_runtime_ParallelForkJoin"). Read by XLA when its backend starts, harmless later.
_flags = os.environ.get("XLA_FLAGS", "")
_taken = any(name in _flags for name in ("backend_extra_options", "disable_hlo_passes"))
if os.environ.get("JAXSPIN_WHOLE_LOOPS", "1") != "0" and not _taken:
    _whole = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1000000000"
    _unshared = "--xla_disable_hlo_passes=cpu-parallel-task-assigner"
    os.environ["XLA_FLAGS"] = f"{_flags} {_whole} {_unshared}".strip()

__version__ = version("jaxspin")

from jaxspin import (
    disorder as disorder,
    fitting as fitting,
    interop as interop,
    models as models,
    reference as reference,
    spin_transfer as spin_transfer,
    symmetry as symmetry,
    units as units,
)
from jaxspin.band_structure.band_structure import BandStructure as BandStructure
from jaxspin.band_structure.degeneracy import Covariant as Covariant, Strict as Strict
from jaxspin.band_structure.density_matrix import DensityMatrix as DensityMatrix
from jaxspin.band_structure.geometry import covariant_derivative as covariant_derivative
from jaxspin.band_structure.operators import Operators as Operators
from jaxspin.disorder import (
    FiniteRangeDisorder as FiniteRangeDisorder,
    MatrixDisorder as MatrixDisorder,
    ScalarDisorder as ScalarDisorder,
    disordered_response as disordered_response,
)
from jaxspin.downfold import (
    BasisFunctions as BasisFunctions,
    EffectiveModel as EffectiveModel,
    EnergyWindow as EnergyWindow,
    LowestBands as LowestBands,
    downfold as downfold,
)
from jaxspin.engine import distributed as distributed
from jaxspin.engine.checkpoint import Checkpoint as Checkpoint
from jaxspin.engine.small_matrices import PAULI as PAULI
from jaxspin.fitting import Fit as Fit, fit as fit, sensitivity as sensitivity
from jaxspin.integration.levels import Levels as Levels
from jaxspin.meshes.mesh import (
    Adaptive as Adaptive,
    Ball as Ball,
    Disk as Disk,
    Grid as Grid,
    Plane as Plane,
    Space as Space,
)
from jaxspin.meshes.path import Path as Path
from jaxspin.meshes.point_set import PointSet as PointSet
from jaxspin.models.base import Model as Model
from jaxspin.models.tight_binding import HoppingModel as HoppingModel
from jaxspin.responses.at_k import (
    bands as bands,
    berry_curvature as berry_curvature,
    orbital_moment as orbital_moment,
    quantum_metric as quantum_metric,
    spin_berry_curvature as spin_berry_curvature,
)
from jaxspin.responses.converge import Convergence as Convergence, converge as converge
from jaxspin.responses.fermi_energy import fermi_energy as fermi_energy
from jaxspin.responses.fermi_sea import (
    anomalous_hall as anomalous_hall,
    carrier_density as carrier_density,
    density_of_states as density_of_states,
    equilibrium_spin_current as equilibrium_spin_current,
    spin_hall as spin_hall,
    spin_hall_pieces as spin_hall_pieces,
    torque_density as torque_density,
)
from jaxspin.responses.fermi_surface import (
    berry_dipole as berry_dipole,
    drude as drude,
    edelstein as edelstein,
    intrinsic_nonlinear_hall as intrinsic_nonlinear_hall,
    nonlinear_hall as nonlinear_hall,
    spin_berry_dipole as spin_berry_dipole,
    spin_drude as spin_drude,
)
from jaxspin.responses.operators_at_k import (
    density_matrix as density_matrix,
    operators as operators,
)
from jaxspin.responses.response import Response as Response
from jaxspin.responses.response_set import ResponseSet as ResponseSet, load as load
from jaxspin.responses.thermal import (
    anomalous_nernst as anomalous_nernst,
    spin_nernst as spin_nernst,
    thermal_hall as thermal_hall,
)
from jaxspin.spin_transfer import spin_transfer_torque as spin_transfer_torque
from jaxspin.surfaces import (
    BroadenedSurface as BroadenedSurface,
    FermiContour as FermiContour,
    FermiShell as FermiShell,
    FermiSurface as FermiSurface,
    FermiSurfaceRule as FermiSurfaceRule,
    FlowContour as FlowContour,
    MarchingSquares as MarchingSquares,
)
from jaxspin.symmetry.symmetric import Symmetric as Symmetric
from jaxspin.symmetry.symmetrised import symmetrised as symmetrised

if TYPE_CHECKING:
    from jaxspin import plot as plot
else:

    def __getattr__(name: str) -> Any:
        """Import `plot` at its first use: matplotlib takes as long as the rest."""
        if name == "plot":
            return importlib.import_module("jaxspin.plot")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), "plot"})
