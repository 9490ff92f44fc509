"""Types of the arguments of public functions, for type checkers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, ArrayLike

#: What public functions take as numbers: one, an array, or (nested) lists and tuples of them.
Numbers = (
    ArrayLike
    | Sequence[float]
    | Sequence[Sequence[float]]
    | Sequence[Sequence[Sequence[float]]]
    | Sequence[Array]
    | Sequence[np.ndarray]
)
