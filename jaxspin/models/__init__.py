"""Models: what H(k) is.

Start from `TopologicalInsulator.bi2se3()`, `Rashba` or `KaneMele`, or subclass `Model`.
"""

from jaxspin.models.base import (
    Model as Model,
    Scaled as Scaled,
    Sum as Sum,
)
from jaxspin.models.crystal_field import CrystalFieldC4v as CrystalFieldC4v
from jaxspin.models.envelopes import Legendre as Legendre
from jaxspin.models.hole_well import (
    HoleWell as HoleWell,
    HoleWellKP as HoleWellKP,
    materials as materials,
)
from jaxspin.models.kp import (
    MassiveDirac as MassiveDirac,
    Rashba as Rashba,
    TopologicalInsulator as TopologicalInsulator,
)
from jaxspin.models.lattice import (
    BernevigHughesZhang as BernevigHughesZhang,
    Haldane as Haldane,
    KaneMele as KaneMele,
    QiWuZhang as QiWuZhang,
)
from jaxspin.models.matrix_sum import MatrixSum as MatrixSum
from jaxspin.models.tight_binding import HoppingModel as HoppingModel
from jaxspin.models.with_operators import WithOperators as WithOperators, WithSpin as WithSpin
