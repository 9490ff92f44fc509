"""Models to and from other codes, one module a code."""

from jaxspin.interop import (
    pymablock as pymablock,
    pythtb as pythtb,
    sisl as sisl,
    tbmodels as tbmodels,
    wannier90 as wannier90,
    wannierberri as wannierberri,
)
