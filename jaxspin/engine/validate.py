"""One check for each property of an argument, with the words in which it is refused.

What is being traced (inside jit, grad or vmap) has no known values and passes; its shape is known.
A test finds checks of these properties that are written elsewhere (tests/test_structure.py).
"""

import os
from collections.abc import Iterable
from pathlib import Path
from types import EllipsisType
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Inexact

from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.tolerances import HERMITIAN, ROTATION

# Volume of a cell to the product of its edges: far below any crystal (a sheared cell of angle 0.1°
# has 2e-3), far above rounding in either precision.
_FLAT = 1e-5


class _NotGiven:
    """Stands for an argument without which a function does not go, so that an error names it."""

    def __repr__(self) -> str:
        return "not given"


#: The value of an argument that a caller has not given.
NOT_GIVEN: Any = _NotGiven()

# --- questions ------------------------------------------------------------------------------------


def is_finite(values: object) -> bool:
    """Tell if numbers of any kind are all finite."""
    return is_traced(values) or bool(np.all(np.isfinite(np.asarray(values))))


def are_numbers(value: object, kinds: str = "iufc") -> bool:
    """Tell if `value` is a number or an array of them, of some kinds; no text, no None."""
    known = getattr(value, "dtype", None)  # of arrays that are traced, and of shapes, too
    if isinstance(known, np.dtype):
        return known.kind in kinds
    if is_traced(value):
        return True
    try:
        return np.asarray(value).dtype.kind in kinds
    except ValueError:  # rows of different lengths
        return False


def finite_reals(value: object) -> bool:
    """Tell if `value` is a real number or an array of them, all finite; no text, no None."""
    return are_numbers(value, "iuf") and is_finite(value)


def is_positive(value: Any) -> bool:
    """Tell if real numbers are all finite and above 0."""
    return is_traced(value) or (finite_reals(value) and bool(np.all(np.asarray(value) > 0)))


def is_not_negative(value: Any) -> bool:
    """Tell if real numbers are all finite and at least 0."""
    return is_traced(value) or (finite_reals(value) and bool(np.all(np.asarray(value) >= 0)))


def is_integer(value: object, least: int | None = None, most: int | None = None) -> bool:
    """Tell if `value` is one integer, of Python or NumPy, in this range; True is none."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        return False
    return bool((least is None or value >= least) and (most is None or value <= most))


def has_shape(value: Any, *shapes: tuple[int | str | EllipsisType, ...]) -> bool:
    """Tell if an array has one of some shapes: a name for any length but 0, ... for any axes."""
    found = np.shape(value)
    return any(_fits_shape(found, shape) for shape in shapes)


def _fits_shape(found: tuple[int, ...], shape: tuple[int | str | EllipsisType, ...]) -> bool:
    if shape[:1] == (...,):
        shape = shape[1:]
        found = found[max(0, len(found) - len(shape)) :]
    return len(found) == len(shape) and all(
        length > 0 if isinstance(wanted, str) else length == wanted
        for length, wanted in zip(found, shape, strict=True)
    )


def is_square(array: Any) -> bool:
    """Tell if the last two axes are those of a square matrix, of at least one row."""
    shape = np.shape(array)
    return len(shape) >= 2 and 0 not in shape and shape[-1] == shape[-2]


def is_zero(values: object) -> bool:
    """Tell if numbers are known, and all 0."""
    return not is_traced(values) and not np.any(np.asarray(values))


def asymmetry(matrices: Inexact[np.ndarray, "*c n n"]) -> float:
    """The largest element of A - A^dagger, of any of the matrices."""
    return float(np.max(np.abs(matrices - np.conj(matrices).swapaxes(-1, -2)), initial=0.0))


def is_hermitian(matrices: object) -> bool:
    """True for finite matrices A (..., n, n) with A = A^dagger to rounding, of the largest element.

    True also where the values are traced, and not known.
    """
    if is_traced(matrices):
        return True
    known = np.asarray(matrices)
    size = np.max(np.abs(known), initial=0.0)
    return bool(is_finite(size) and asymmetry(known) <= HERMITIAN.of(known) * size)


def is_orthogonal(matrix: Any) -> bool:
    """Tell if R Rᵀ = 1 to rounding, for a matrix R of real numbers."""
    known = np.asarray(matrix)
    return np.allclose(known @ known.T, np.eye(len(known)), atol=ROTATION.of(known))


def spans_volume(rows: Any) -> bool:
    """Tell if vectors (d, d), one in each row, are finite and span a volume."""
    known = np.asarray(rows)
    with np.errstate(all="ignore"):
        volume, box = abs(np.linalg.det(known)), np.prod(np.linalg.norm(known, axis=1))
        return bool(volume > _FLAT * box)


# --- refusals -------------------------------------------------------------------------------------


def check_number(
    name: str,
    value: Any,
    what: str = "one finite real number",
    *,
    above: float = -np.inf,
    at_least: float = -np.inf,
    below: float = np.inf,
) -> None:
    """Check that `value` is one finite real number in a range.

    Args:
        what: it must be, for the error: the range and the unit.
    Raises:
        ValueError: it is not.
    """
    right = finite_reals(value) and np.ndim(value) == 0
    if right and not is_traced(value):
        number = float(np.asarray(value))  # the array may be one of JAX, inside the user's jit
        right = above < number < below and number >= at_least
    if not right:
        raise ValueError(f"Argument `{name}` must be {what}, but is {shortened(value)}.")


def check_energy(mu) -> None:
    """Check that `mu` is one finite energy; a ValueError if not."""
    check_number("mu", mu, "one finite energy (eV; jax.vmap takes several)")


def check_temperature(temperature) -> None:
    """Check that `temperature` is one number, not negative; a ValueError if not."""
    check_number("temperature", temperature, "one number, at least 0 (K)", at_least=0)


def check_vector(name: str, value, size: int, what: str) -> None:
    """Check that `value` is that many finite real numbers.

    Raises:
        ValueError: it is not.
    """
    if not finite_reals(value) or np.shape(value) != (size,):
        raise ValueError(f"Argument `{name}` must be {what}, but is {shortened(value)}.")


def check_integer(
    name: str, value: Any, least: int, most: int | None = None, what: str = ""
) -> int:
    """Return `value`, an integer in a range, as an int.

    Args:
        what: it must be, for the error, where that is more than an integer of this range.
    Raises:
        ValueError: it is none.
    """
    if not is_integer(value, least, most):
        wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"
        wanted = wanted if most is None else f"an integer from {least} to {most}"
        raise ValueError(f"Argument `{name}` must be {what or wanted}, but is {shortened(value)}.")
    return int(value)


def check_finite(name: str, values: Any, unit: str = "", place: str = "at index") -> None:
    """Check that numbers are finite; the error shows the first that is not, and its index.

    Raises:
        ValueError: one is not.
    """
    if is_finite(values):
        return
    array = np.asarray(values)
    index = np.argwhere(~np.isfinite(array))[0].tolist()
    found = f"{array[tuple(index)]}"
    if index:
        found += f" {place} {index[0] if len(index) == 1 else tuple(index)}"
    raise ValueError(f"Argument `{name}` must be finite{unit and f' ({unit})'}, but is {found}.")


def check_shape(
    name: str, value: Any, *shapes: tuple[int | str | EllipsisType, ...], of: str = ""
) -> None:
    """Check that an array has one of some shapes, as `has_shape` reads them.

    Args:
        of: what the shape is that of, for the error.
    Raises:
        ValueError: it has another.
    """
    if not has_shape(value, *shapes):
        wanted = " or ".join(map(_shape_text, shapes))
        raise ValueError(
            f"Argument `{name}` must have shape {wanted}{of and f' for {of}'}, "
            f"but has shape {np.shape(value)}."
        )


def _shape_text(shape: tuple[int | str | EllipsisType, ...]) -> str:
    lengths = ["..." if length is ... else str(length) for length in shape]
    return f"({', '.join(lengths)}{',' * (len(lengths) == 1)})"


def check_choice(name: str, value: object, allowed: Iterable[str], others: str = "") -> None:
    """Check that `value` is one of some names.

    Args:
        others: what else the argument may be, for the error.
    Raises:
        ValueError: it is none of them; the error lists them.
    """
    allowed = list(allowed)
    if not isinstance(value, str) or value not in allowed:
        names = ", ".join(map(repr, allowed))
        raise ValueError(
            f"Argument `{name}` must be one of {names}{others and f', or {others}'}, "
            f"but is {shortened(value)}."
        )


def check_type(name: str, value: object, kind: Any, wanted: str, advice: str = "") -> None:
    """Check that `value` is an instance of a class.

    Args:
        wanted: the class in words, for the error.
        advice: a sentence after it.
    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, kind):
        found = f"of type {type(value).__name__}."
        if isinstance(value, type):
            found = f"the class {value.__name__}: make one, {value.__name__}(...)."
        elif isinstance(value, str | int | float):
            found = f"of type {type(value).__name__}: {shortened(value)}."
        raise ValueError(
            f"Argument `{name}` must be {wanted}, but is {found}{advice and ' ' + advice}"
        )


def check_function(name: str, value: object, wanted: str) -> None:
    """Check that `value` can be called.

    Raises:
        ValueError: it cannot.
    """
    if not callable(value):
        raise ValueError(
            f"Argument `{name}` must be {wanted}, but is of type {type(value).__name__}."
        )


def check_is_method(argument: str, owner: object, name: str) -> None:
    """Check that an attribute of an argument can be called.

    Raises:
        ValueError: it is a property or a field.
    """
    if not callable(getattr(owner, name)):
        raise ValueError(
            f"Argument `{argument}` must have `{name}` as a method, but {type(owner).__name__}."
            f"{name} is a property or a field. Write `def {name}(self)` without @property."
        )


def check_is_property(argument: str, owner: object, name: str) -> None:
    """Check that an attribute of an argument is a value.

    Raises:
        ValueError: it is a method.
    """
    if callable(getattr(owner, name)):
        raise ValueError(
            f"Argument `{argument}` must have `{name}` as a property, but {type(owner).__name__}."
            f"{name} is a method. Write @property above it."
        )


def as_path(name: str, path: object, what: str = "the path of a file") -> Path:
    """Convert the path of a file.

    Raises:
        ValueError: it is no path.
    """
    if isinstance(path, str | os.PathLike) and str(path):
        return Path(path)
    raise ValueError(f"Argument `{name}` must be {what}, but is {shortened(path)}.")


def check_place(name: str, path: Path) -> None:
    """Check that a file may be written there.

    Raises:
        ValueError: it is a folder, or there is no such folder.
    """
    if not path.parent.is_dir():
        raise ValueError(f"Argument `{name}` must be in an existing folder, but is {str(path)!r}.")
    if path.is_dir():
        raise ValueError(f"Argument `{name}` must be a file, but {str(path)!r} is a folder.")


def as_numbers(name: str, value: object, wanted: str = "") -> Float[np.ndarray, "..."]:
    """Convert `value` to an array of real numbers.

    Args:
        name, wanted: how errors call it, and what else it must be.
    Raises:
        ValueError: text, None, complex numbers, rows of different lengths.
    """
    if not are_numbers(value, "iuf"):
        raise ValueError(
            f"Argument `{name}` must be real numbers{' ' * bool(wanted)}{wanted}, "
            f"but is {shortened(value)}."
        )
    return np.asarray(value).astype(float)


def shortened(value: object) -> str:
    """Write `value` in a few words, for an error in one line."""
    if isinstance(value, np.generic | np.ndarray | jax.Array) and not is_traced(value):
        value = np.asarray(value).tolist()
    text = " ".join(repr(value).split())
    return text if len(text) < 80 else f"of type {type(value).__name__}"
