"""Component axes of responses: the flow, the fields that drive it, and labels such as spin."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A component axis: its keyword in `Response.component`, and how it transforms.

    A polar vector has as many components as space has dimensions and goes over into R v with a
    rotation or reflection R. An axial vector has three in any dimension and goes over into
    det(R) R v.
    """

    #: Name in `Response.axes`, in files and in `Response.component(name="x")`.
    name: str
    #: Meaning in words.
    meaning: str
    axial: bool = False

    def size(self, dimension: int) -> int:
        """Number of components in `dimension` dimensions of space."""
        return 3 if self.axial else dimension


FLOW = Axis("flow", "direction in which charge or spin flows")
FIELD = Axis("field", "direction of the electric field")
SECOND_FIELD = Axis("second_field", "direction of the second electric field")
GRADIENT = Axis("gradient", "direction along which the magnetization, or the temperature, changes")
SPIN = Axis("spin", "component of the spin", axial=True)
ORBITAL = Axis("orbital", "component of the orbital moment", axial=True)
MAGNETIZATION = Axis("magnetization", "component of the magnetization", axial=True)

#: Every axis that a response may have, by its name.
AXES = {
    axis.name: axis for axis in (FLOW, FIELD, SECOND_FIELD, GRADIENT, SPIN, ORBITAL, MAGNETIZATION)
}
