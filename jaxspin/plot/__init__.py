"""Figures of responses, bands, Berry curvature, Fermi surfaces, fits and textures.

Axes in, axes out: each function draws on the `axes` it is given, or makes a figure that fits one
column of a journal, and returns the axes. Nothing is shown or saved, no global setting is touched.
`STYLE` is the look of the figures made here.
"""

from jaxspin.plot.band_structures import bands as bands, bands_against as bands_against
from jaxspin.plot.convergence import convergence as convergence
from jaxspin.plot.distributions import distribution as distribution
from jaxspin.plot.fits import fit as fit
from jaxspin.plot.maps import curvature_map as curvature_map
from jaxspin.plot.mechanisms import contributions as contributions
from jaxspin.plot.meshes import refinement as refinement
from jaxspin.plot.scans import scan as scan
from jaxspin.plot.style import PALETTE as PALETTE, STYLE as STYLE
from jaxspin.plot.surfaces import fermi_surface as fermi_surface
from jaxspin.plot.texts import component_labels as component_labels
from jaxspin.plot.textures import texture_torque as texture_torque
