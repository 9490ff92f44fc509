"""Operations of point groups, with and without time reversal."""

from collections.abc import Callable, Sequence

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float

from jaxspin.engine.validate import (
    as_numbers,
    check_choice,
    check_finite,
    check_integer,
    check_shape,
    is_orthogonal,
)


class Operation(eqx.Module):
    """A rotation, reflection or inversion of the crystal, with or without time reversal.

    `matrix` is orthogonal, 3 by 3, and acts on positions, flows and fields; in one and two
    dimensions its first rows act on k, and all of it on spin. The wave vector goes to `matrix` k,
    with time reversal to −`matrix` k. Spin goes to det(`matrix`) `matrix` s, because spin is axial.

    >>> import numpy as np
    >>> print(Operation("mirror z", np.diag([1.0, 1.0, -1.0])).on_spin.diagonal())
    [-1. -1.  1.]
    """

    #: How errors call it.
    name: str = eqx.field(static=True)
    matrix: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    time_reversal: bool = eqx.field(static=True)
    #: The translation that belongs to it in a crystal, Cartesian, Å. Responses do not see it.
    translation: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        matrix: Sequence[Sequence[float]] | np.ndarray,
        time_reversal: bool = False,
        *,
        translation: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0),
    ):
        array = as_numbers("matrix", matrix, "of shape (3, 3)")
        shift = as_numbers("translation", translation, "of shape (3,), in Angstrom")
        check_shape("translation", shift, (3,))
        if array.shape != (3, 3) or not is_orthogonal(np.asarray(matrix)):
            raise ValueError(
                f"Argument `matrix` must be an orthogonal matrix of shape (3, 3), but is {matrix}."
            )
        self.name, self.time_reversal = name, bool(time_reversal)
        self.matrix = tuple(tuple(float(x) for x in row) for row in array)
        self.translation = tuple(shift.tolist())

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def on_space(self, dimension: int) -> Float[np.ndarray, "d d"]:
        """The matrix that acts on flows and fields."""
        return np.array(self.matrix)[:dimension, :dimension]

    def on_k(self, dimension: int) -> Float[np.ndarray, "d d"]:
        """The matrix that acts on wave vectors."""
        return self.on_space(dimension) * (-1 if self.time_reversal else 1)

    @property
    def on_spin(self) -> Float[np.ndarray, "3 3"]:
        """The matrix that acts on spin, without the sign of time reversal."""
        matrix = np.array(self.matrix)
        return np.linalg.det(matrix).round() * matrix


#: k -> -k and s -> -s.
TIME_REVERSAL = Operation("time reversal", np.eye(3), time_reversal=True)

#: k -> -k, spin as it is.
INVERSION = Operation("inversion", -np.eye(3))


def mirror(axis: str | ArrayLike, *, time_reversal: bool = False) -> Operation:
    """The reflection 1 − 2 n nᵀ in the plane normal to n: "x", "y", "z", or a Cartesian direction.

    Raises:
        ValueError: `axis` is no direction.

    >>> print(mirror("x", time_reversal=True).name)
    mirror x with time reversal
    >>> print(mirror([1, -1, 0]).matrix)
    ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    """
    n, name = _as_direction(axis)
    matrix = _settle(np.eye(3) - 2 * np.outer(n, n))
    return Operation(_name_operation(f"mirror {name}", time_reversal), matrix, time_reversal)


def rotation(order: int, axis: str | ArrayLike = "z", *, time_reversal: bool = False) -> Operation:
    """The rotation by 2π/order about n: "x", "y", "z", or a Cartesian direction.

    With the angle φ = 2π/order, R = cos φ + (1 − cos φ) n nᵀ + sin φ n×.

    Raises:
        ValueError: `order` is not a positive integer, `axis` is no direction.

    >>> print(rotation(3).name)
    rotation of order 3 about z
    >>> print(rotation(3, [1, 1, 1]).matrix)
    ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    """
    check_integer("order", order, 1)
    n, axis_name = _as_direction(axis)
    angle = 2 * np.pi / order
    cross = np.array([[0, -n[2], n[1]], [n[2], 0, -n[0]], [-n[1], n[0], 0]])
    turned = np.cos(angle) * np.eye(3) + np.sin(angle) * cross
    matrix = _settle(turned + (1 - np.cos(angle)) * np.outer(n, n))
    name = f"rotation of order {order} about {axis_name}"
    return Operation(_name_operation(name, time_reversal), matrix, time_reversal)


def _as_direction(axis: str | ArrayLike) -> tuple[Float[np.ndarray, " 3"], str]:
    """The unit vector of an axis, and its name."""
    if isinstance(axis, str):
        check_choice("axis", axis, "xyz", "a direction such as [1, 1, 1]")
        return np.eye(3)["xyz".index(axis)], axis
    vector = as_numbers("axis", axis, "of shape (3,), or 'x', 'y' or 'z'")
    check_shape("axis", vector, (3,))
    check_finite("axis", vector)
    length = np.linalg.norm(vector)
    if length == 0:
        raise ValueError("Argument `axis` must be a direction, but is zero.")
    return vector / length, _name_axis(vector / np.max(np.abs(vector)))


def _settle(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """Without rounding where entries are halves, as in lattices they are but for √3/2."""
    halves = np.round(2 * matrix) / 2
    return np.where(np.abs(matrix - halves) < 1e-15, halves, matrix) + 0.0


def _name_operation(name: str, time_reversal: bool) -> str:
    return f"{name} with time reversal" if time_reversal else name


def generate_group(
    identity, generators, product: Callable, key: Callable, most: int = 4096
) -> list:
    """The group generated by some elements.

    Raises:
        ValueError: it has more than `most` elements.
    """
    group, fresh = {key(identity): identity}, [identity]
    while fresh:
        products = [product(g, element) for g in generators for element in fresh]
        fresh = list({key(p): p for p in products if key(p) not in group}.values())
        group |= {key(p): p for p in fresh}
        if len(group) > most:
            raise ValueError(
                "Argument `operations` must generate a finite group, but their products are more "
                f"than {most}. Give angles that are whole parts of a turn, to rounding."
            )
    return list(group.values())


def identify(operation: Operation) -> tuple:
    """The key of an operation, whatever its name and translation."""
    return key_of(np.array(operation.matrix), operation.time_reversal)


def key_of(matrix: Float[np.ndarray, "3 3"], time_reversal: bool) -> tuple:
    """The key of an operation: six digits of its matrix, and its time reversal."""
    return (matrix.round(6) + 0.0).tobytes(), time_reversal


def name_operation(matrix: Float[np.ndarray, "3 3"], time_reversal: bool = False) -> Operation:
    """An operation with the name that its matrix has.

    >>> name_operation(np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]))
    <rotation of order 3 about [1 1 1]>
    """
    proper = round(float(np.linalg.det(matrix))) * matrix
    name = _name_matrix(matrix, proper)
    if time_reversal:
        name = "time reversal" if name == "identity" else _name_operation(name, True)
    return Operation(name, matrix, time_reversal)


def _name_matrix(matrix: np.ndarray, proper: np.ndarray) -> str:
    reflects = bool(np.linalg.det(matrix) < 0)
    cosine = np.clip((np.trace(proper) - 1) / 2, -1, 1)
    turn = np.arccos(cosine) / (2 * np.pi)
    if turn < _NO_TURN:
        return "inversion" if reflects else "identity"
    axis = _name_axis(_find_axis(proper))
    if reflects and turn > 0.5 - _NO_TURN:
        return f"mirror {axis}"
    order = round(1 / turn)
    kind = "rotoinversion" if reflects else "rotation"
    if abs(order * turn - 1) > 1e-5:
        return f"{kind} by {360 * turn:.4g} degrees about {axis}"
    return f"{kind} of order {order} about {axis}"


_NO_TURN = 1e-6  # part of a full turn


def _find_axis(proper: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 3"]:
    """The axis about which a rotation by less than half a turn is positive.

    R + Rᵀ − (tr R − 1) is n nᵀ times a number, and R − Rᵀ has the direction of n.
    """
    dyad = proper + proper.T - (np.trace(proper) - 1) * np.eye(3)
    axis = dyad[:, np.argmax(np.abs(np.diag(dyad)))]
    sense = np.array([proper[2, 1], proper[0, 2], proper[1, 0]]) - np.array(
        [proper[1, 2], proper[2, 0], proper[0, 1]]
    )
    if np.max(np.abs(sense)) < 1e-6:  # half a turn has no sense: the first component is positive
        sense = np.where(np.arange(3) == np.argmax(np.abs(axis) > 1e-6), 1.0, 0.0)
    axis = axis if sense @ axis > 0 else -axis
    return axis / np.max(np.abs(axis))


def _name_axis(axis: Float[np.ndarray, " 3"]) -> str:
    if np.sum(np.abs(axis) > 1e-6) == 1:
        which = int(np.argmax(np.abs(axis)))
        return ("-" if axis[which] < 0 else "") + "xyz"[which]
    return "[" + " ".join(f"{x:.3g}" for x in np.round(axis, 6) + 0.0) + "]"
