"""Models: what H(k) is.

Start from `TopologicalInsulator.bi2se3()`, `Rashba` or `KaneMele`, or subclass `Model`.
"""

from jaxspin.models.base import (
    MatrixSum as MatrixSum,
    Model as Model,
    Scaled as Scaled,
    Sum as Sum,
    WithSpin as WithSpin,
)
from jaxspin.models.continuum import (
    MassiveDirac as MassiveDirac,
    Rashba as Rashba,
    TopologicalInsulator as TopologicalInsulator,
)
from jaxspin.models.crystal_field import CrystalFieldC4v as CrystalFieldC4v
from jaxspin.models.hopping import HoppingModel as HoppingModel
from jaxspin.models.lattice import (
    BernevigHughesZhang as BernevigHughesZhang,
    Haldane as Haldane,
    KaneMele as KaneMele,
    QiWuZhang as QiWuZhang,
)
