"""Models to and from other codes, one module a code."""

from jaxspin.interop import pythtb as pythtb, wannier90 as wannier90
