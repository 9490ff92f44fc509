"""Parameters of a fit: leaves of a model by name, and coordinates without bounds.

A fit works with one flat array of numbers, each of which has a name: that of its place in the
pytree the user gave, "M0", "exchange[2]", "gate.neutral".
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.validate import check_shape, finite_reals
from jaxspin.models.base import Model

#: From below to above; None is an open end.
Interval = tuple[float | int | None, float | int | None]


def _as_tuple(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise ValueError(f"Argument `names` must be a list of names, but is {names!r}.")
    return tuple(names)


class Parameters(eqx.Module):
    """Some of the numbers of a model, chosen by the names of its fields, to fit them.

    An array is chosen as a whole, "exchange", or one element, "exchange[2]"; a field of a model
    inside another one with a dot, "first.velocity".

    Args:
        model: any model; the numbers that are not chosen stay as they are.
        names: of the numbers to fit.
    Raises:
        ValueError: no names, an unknown one (the error lists what there is), or one twice.

    >>> import jaxspin as js
    >>> model = js.models.TopologicalInsulator.bi2se3()
    >>> parameters = js.fitting.Parameters(model, ["M0", "exchange[2]"])
    >>> parameters.start
    {'M0': -0.28, 'exchange[2]': 0.0}
    >>> changed = parameters.model({"M0": -0.2, "exchange[2]": 0.01})
    >>> float(changed.M0), changed.exchange.tolist()
    (-0.2, [0.0, 0.0, 0.01])
    """

    base: Model
    names: tuple[str, ...] = eqx.field(static=True, converter=_as_tuple)

    def __check_init__(self):
        if not self.names:
            raise ValueError("Argument `names` must name at least one parameter, but is empty.")
        numbers = numbers_of(self.base)
        for name in self.names:
            leaf, index = _split_index(name)
            if leaf not in numbers or not _is_inside(index, np.shape(numbers[leaf])):
                raise ValueError(
                    _unknown_name("names", name, numbers) + _explain_refusal(self.base, leaf)
                )
        repeated = [
            x
            for x in self.names
            if self.names.count(x) > 1 or _split_index(x)[0] in self._other_names(x)
        ]
        if repeated:
            raise ValueError(
                f"Argument `names` must name each number once, but has {repeated[0]!r} twice."
            )

    def _other_names(self, name: str) -> list[str]:
        return [other for other in self.names if other != name]

    @property
    def start(self) -> dict[str, Any]:
        """The chosen numbers as they are in the model, the start of a fit."""
        numbers = numbers_of(self.base)
        found = {
            name: np.asarray(numbers[_split_index(name)[0]])[_split_index(name)[1]]
            for name in self.names
        }
        return {name: value.item() if value.ndim == 0 else value for name, value in found.items()}

    def model(self, values: Mapping[str, Any]) -> Model:
        """The model with these values of the chosen numbers.

        Raises:
            ValueError: a name is missing, or was not chosen; a value of another shape.
        """
        if values.keys() != set(self.names):
            raise ValueError(
                f"Argument `values` must have the names {', '.join(self.names)}, "
                f"but has {', '.join(values)}."
            )
        leaves, structure = jax.tree_util.tree_flatten_with_path(self.base)
        changed = {_leaf_label(path): leaf for path, leaf in leaves}
        for name, value in values.items():
            leaf, index = _split_index(name)
            shape = () if index else np.shape(changed[leaf])
            check_shape("values", value, shape, of=name)
            changed[leaf] = jnp.asarray(changed[leaf], float).at[index].set(value)
        return jax.tree_util.tree_unflatten(structure, changed.values())


def numbers_of(model: Model) -> dict[str, Any]:
    """The real numbers of a model by name, those that can be fitted."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(model)
    return {_leaf_label(path): leaf for path, leaf in leaves if _is_real(leaf)}


class ParameterCoordinates(eqx.Module):
    """One flat array for a pytree of parameters, and coordinates in which it has no bounds.

    Without bounds p = s u, with s the size of the start value (1 where that is 0). With them

        low ≤ p:         p = low + s (√(1 + u²) − 1)
        p ≤ high:        p = high − s (√(1 + u²) − 1)
        low ≤ p ≤ high:  p = low + (high − low) (1 + sin u) / 2

    as in MINUIT. A bound is at a finite u, where p is stationary: where the optimum lies beyond it,
    the misfit has a minimum there. Maps that put the bound at infinity (log(1 + e^u), a sigmoid)
    were tried: the steps towards it become shorter and shorter.
    """

    start: Float[Array, " n"]
    #: The size of each parameter: of its start value, or of its interval.
    size: Float[Array, " n"]
    low: Float[Array, " n"]
    high: Float[Array, " n"]
    names: tuple[str, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def to_tree(self, flat: Float[Array, " n"]) -> Any:
        """Return the parameters as the pytree that was given."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        leaves = [
            x.reshape(shape) for x, shape in zip(jnp.split(flat, ends), self.shapes, strict=True)
        ]
        return jax.tree.unflatten(self.structure, leaves)

    def to_parameters(self, u: Float[Array, " n"]) -> Float[Array, " n"]:
        """The parameters at coordinates without bounds."""
        above, below = jnp.isfinite(self.low), jnp.isfinite(self.high)
        low, high = jnp.where(above, self.low, 0.0), jnp.where(below, self.high, 0.0)
        choices = (
            (above & below, low + (high - low) * (1 + jnp.sin(u)) / 2),
            (above, low + self.size * (jnp.sqrt(1 + u**2) - 1)),
            (below, high - self.size * (jnp.sqrt(1 + u**2) - 1)),
        )
        conditions, values = zip(*choices, strict=True)
        return jnp.select(conditions, values, self.size * u)

    def from_parameters(self, p: Float[Array | np.ndarray, " n"]) -> Float[Array, " n"]:
        """The inverse of `to_parameters`, for parameters inside their bounds."""
        p, low, high, size = (np.asarray(x) for x in (p, self.low, self.high, self.size))
        above, below = np.isfinite(low), np.isfinite(high)
        away = lambda distance: np.sqrt((distance / size + 1) ** 2 - 1)  # noqa: E731
        with np.errstate(invalid="ignore"):
            choices = (
                (above & below, np.arcsin(2 * (p - low) / (high - low) - 1)),
                (above, away(p - low)),
                (below, away(high - p)),
            )
        conditions, values = zip(*choices, strict=True)
        return jnp.asarray(np.select(conditions, values, p / size))


def make_coordinates(start: Any, bounds: Mapping[str, Interval] | None) -> ParameterCoordinates:
    """The coordinates of a fit that begins at `start`.

    Raises:
        ValueError: `start` is empty, not finite or outside of the bounds; bounds of unknown names,
            or not in order.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(start)
    labelled = [(_leaf_label(path) or "parameter", leaf) for path, leaf in leaves]
    for name, leaf in labelled:
        if is_traced(leaf) or not finite_reals(leaf):
            raise ValueError(
                f"Argument `start` must be finite real numbers, but {name} is {leaf!r}."
            )
    shapes = tuple(np.shape(leaf) for _, leaf in labelled)
    names = tuple(
        name for label, leaf in labelled for name in _element_names(label, np.shape(leaf))
    )
    if len(set(names)) < len(names):
        raise ValueError(
            f"Argument `start` must have one name for each number, but has {', '.join(names)}."
        )
    if not names:
        raise ValueError(f"Argument `start` must hold at least one number, but is {start!r}.")
    flat = np.concatenate([np.ravel(leaf).astype(float) for _, leaf in labelled])
    low, high = _read_bounds(names, bounds)
    _check_inside(names, flat, low, high)
    both = np.isfinite(low) & np.isfinite(high)
    size = np.where(flat == 0, 1.0, np.abs(flat))
    return ParameterCoordinates(
        start=jnp.asarray(flat),
        size=jnp.asarray(np.where(both, high - low, size)),
        low=jnp.asarray(low),
        high=jnp.asarray(high),
        names=names,
        structure=structure,
        shapes=shapes,
    )


def find_parameters(argument: str, names: Sequence[str], wanted: str) -> list[int]:
    """Return the indices of the parameters of a name: one number, or all elements of an array.

    Raises:
        ValueError: there are none; the error lists what there is.
    """
    where = [i for i, name in enumerate(names) if name == wanted or name.startswith(f"{wanted}[")]
    if not where:
        raise ValueError(_unknown_name(argument, wanted, names))
    return where


def pairs_of(
    argument: str,
    what: str,
    names: Sequence[str],
    given: Mapping[str, Any] | None,
    absent: tuple[float, float],
) -> Iterator[tuple[str, list[int], np.ndarray]]:
    """Pairs of numbers given by name: the name, which parameters it means, and a pair for each.

    Args:
        what: the pair is called, for messages.
        absent: what None stands for.
    Raises:
        ValueError: an unknown name, a value that is no pair of numbers.
    """
    if not isinstance(given, Mapping | None):
        raise ValueError(f"Argument `{argument}` must be {what} by name, but is {given!r}.")
    for name, pair in (given or {}).items():
        where = find_parameters(argument, names, name)
        try:
            ends = [y if x is None else x for x, y in zip(pair, absent, strict=True)]
            columns = np.stack([np.broadcast_to(np.ravel(x), len(where)) for x in ends])
            numbers = columns.astype(float, casting="same_kind")
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Argument `{argument}` must be {what} of real numbers, one or {len(where)}, "
                f"but is {pair!r} for {name}."
            ) from error
        yield name, where, numbers


def _read_bounds(names: Sequence[str], bounds: Mapping[str, Interval] | None):
    low, high = np.full(len(names), -np.inf), np.full(len(names), np.inf)
    open_ends = (-np.inf, np.inf)
    for name, where, ends in pairs_of("bounds", "(low, high)", names, bounds, open_ends):
        low[where], high[where] = ends
        if not np.all(low[where] < high[where]):
            raise ValueError(
                f"Argument `bounds` must be (low, high) with low < high, "
                f"but is {(bounds or {})[name]!r} for {name}."
            )
    return low, high


def _check_inside(names, start, low, high) -> None:
    for name, value, lower, upper in zip(names, start, low, high, strict=True):
        if not lower < value < upper:
            raise ValueError(
                f"Argument `start` must be inside the bounds, between {lower:g} and {upper:g} "
                f"for {name}, but is {value:g}."
            )


def _unknown_name(argument: str, name: str, valid) -> str:
    small = {label.lower(): label for label in valid}
    close = difflib.get_close_matches(name.lower(), small, n=1)
    hint = f" Did you mean {small[close[0]]!r}?" if close else ""
    return f"Argument `{argument}` must be of {', '.join(valid)}, but has {name!r}.{hint}"


def _leaf_label(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _element_names(label: str, shape: tuple[int, ...]) -> list[str]:
    if not shape:
        return [label]
    return [f"{label}[{','.join(map(str, index))}]" for index in np.ndindex(shape)]


def _split_index(name: str) -> tuple[str, tuple[int, ...]]:
    """Split "leaf[1,2]" into the name of the leaf and the index of an element, () for all."""
    match = re.fullmatch(r"(.+)\[(\d+(?:,\d+)*)\]", name)
    return (name, ()) if match is None else (match[1], tuple(map(int, match[2].split(","))))


def _is_inside(index: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return not index or (
        len(index) == len(shape) and all(i < n for i, n in zip(index, shape, strict=True))
    )


def _is_real(leaf) -> bool:
    return eqx.is_inexact_array_like(leaf) and not np.iscomplexobj(leaf)


def _is_number(leaf) -> bool:
    """A real number or real numbers, written as integers or not."""
    return eqx.is_array_like(leaf) and np.asarray(leaf).dtype.kind in "iuf"


def _explain_refusal(model: Model, name: str) -> str:
    """Return the reason why a leaf of a model cannot be fitted, or nothing."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(model)
    leaf = {_leaf_label(path): leaf for path, leaf in leaves}.get(name)
    if leaf is not None and np.iscomplexobj(leaf):
        return f" {name} is complex; fit real numbers of which it is made."
    if _is_number(leaf) and not _is_real(leaf):
        return f" {name} is of integers; make the model with 1.0 for 1."
    return ""
