"""Effective Hamiltonians of a few bands, and the operators that go with them.

`downfold` rotates H(k) such that kept and removed functions decouple, exactly or order by order,
and gives the kept block as a model. Every operator is rotated with it: the spin then depends on k,
the velocity is ∂H_eff − i[A, H_eff] with A the Berry connection of the rotated functions, and the
spin current has a part that no product of the two contains. The theory is that of Samokhin, Sigrist
and Fischer (2025); numbers in brackets are its equations. docs/downfolding.md has the derivation.
"""

from jaxspin.downfold.downfold import downfold as downfold
from jaxspin.downfold.effective import (
    EffectiveModel as EffectiveModel,
    SpinCurrent as SpinCurrent,
    UndressedModel as UndressedModel,
)
from jaxspin.downfold.subspaces import (
    BasisFunctions as BasisFunctions,
    EnergyWindow as EnergyWindow,
    Keep as Keep,
    LowestBands as LowestBands,
)
from jaxspin.downfold.validity import Validity as Validity
