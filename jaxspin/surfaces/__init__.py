"""Quadratures on Fermi surfaces: Σ_k δ(mu − ε_k) g as a sum over nodes.

Rays from one point (`FermiContour`, `FlowContour`, `FermiShell`), cells of a periodic mesh
(`MarchingSquares`), or every point of a mesh with a broadened delta function (`BroadenedSurface`).
"""

from jaxspin.surfaces.base import FermiSurface as FermiSurface, FermiSurfaceRule as FermiSurfaceRule
from jaxspin.surfaces.broadened import BroadenedSurface as BroadenedSurface
from jaxspin.surfaces.cyclotron import FlowContour as FlowContour
from jaxspin.surfaces.marching import MarchingSquares as MarchingSquares
from jaxspin.surfaces.star_shaped import FermiContour as FermiContour, FermiShell as FermiShell
