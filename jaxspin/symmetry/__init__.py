"""Symmetries of a crystal, and meshes reduced by them.

Nothing is reduced unless it is asked for: `Symmetric(mesh, operations)` sums one node of each set
of nodes that the operations take into each other, as often as the set has members, and averages
the result over the group. Every operation is first compared with the model at random k.
"""

from jaxspin.symmetry.crystals import of_crystal as of_crystal, of_lattice as of_lattice
from jaxspin.symmetry.detect import find as find
from jaxspin.symmetry.groups import (
    PointGroup as PointGroup,
    group as group,
    point_group as point_group,
)
from jaxspin.symmetry.operations import (
    INVERSION as INVERSION,
    TIME_REVERSAL as TIME_REVERSAL,
    Operation as Operation,
    mirror as mirror,
    rotation as rotation,
)
from jaxspin.symmetry.sites import move_centres as move_centres
from jaxspin.symmetry.symmetric import Symmetric as Symmetric
