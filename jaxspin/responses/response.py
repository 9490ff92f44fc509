"""Results of a calculation: numbers with axes, units, formula and error, and files of them."""

import dataclasses
import json
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin import units as unit
from jaxspin.engine import files
from jaxspin.engine.deferred import defer_import
from jaxspin.engine.record import Record
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import printable
from jaxspin.engine.validate import as_path, check_choice
from jaxspin.integration.adaptive import Refinement
from jaxspin.integration.error_estimates import name_rule
from jaxspin.integration.levels import Levels
from jaxspin.quantities.axes import AXES
from jaxspin.responses import schema
from jaxspin.responses.origin import Origin

if TYPE_CHECKING:
    import xarray
else:
    xarray = defer_import("xarray")


_CARTESIAN = ("x", "y", "z")
Label = Literal["x", "y", "z"]


class Response(Record):
    """A response at each level, with what is needed to read it.

    It is a pytree: it passes through jit, vmap and derivatives, and `value` is differentiable.
    """

    #: The response, axes as named in `axes`.
    value: Float[Array, "..."]
    #: Estimated error of `value` (docs/conventions.md, "Error estimate"), same shape; NaN where
    #: there is no estimate.
    error: Float[Array, "..."]
    #: The Fermi energies (eV) and temperatures (K).
    levels: Levels
    #: Numbers met on the way: "smallest_splitting" (eV), "degeneracy_tolerance" (eV), ...
    info: dict[str, Array]
    #: Names of the axes of `value`, e.g. ("mu", "flow", "field", "spin").
    axes: tuple[str, ...] = eqx.field(static=True)
    #: The unit of `value`, e.g. "hbar/2e S/m".
    units: unit.Unit = eqx.field(static=True)
    #: Name of the quantity, with the definition used.
    name: str = eqx.field(static=True)
    #: The formula that was summed.
    formula: str = eqx.field(static=True)
    #: Where the formula comes from.
    source: str = eqx.field(static=True)
    #: Symbol of the quantity in figures, in LaTeX.
    symbol: str = eqx.field(static=True, default="R")
    #: Components that the group of a reduced mesh allows, "xy^z = -yx^z; ...", as
    #: `PointGroup.allowed` prints them: "0" where all vanish, empty where no group is known.
    allowed: str = eqx.field(static=True, default="")
    #: Labels of components already selected, e.g. "z x y".
    selected: str = eqx.field(static=True, default="")
    #: Sign of `value` over the bare sum of `formula` (see `natural`).
    sign: int = eqx.field(static=True, default=1)
    #: Model, mesh, levels, degeneracy, versions and date, as texts.
    origin: Origin = eqx.field(static=True, default=Origin())
    #: Where the points of an adaptive mesh went; a file does not keep it.
    refinement: Refinement | None = None

    @property
    def error_rule(self) -> str:
        """The rule by which `error` was estimated, in words; empty where there is none to name."""
        return name_rule(self.info)

    @property
    def natural(self) -> Float[Array, "..."]:
        """The value as the bare sum of its formula with ħ = e = 1, in eV and Å: without the factor
        of its unit, and without a minus in front of the sum."""
        return self.sign * self.value / unit.per_natural(self.units)

    def to(self, units: unit.Unit) -> "Response":
        """The same response in other units.

        Conductivities: "S/m", "S/cm" in 3D and "S", "e^2/h" in 2D. Spin conductivities:
        "hbar/2e S/m", "hbar/2e S/cm", "hbar/e S/m", "hbar/e S/cm" in 3D and "hbar/2e S",
        "hbar/e S", "hbar/2e e^2/h", "hbar/e e^2/h", "e/8pi", "e/4pi", "e/2pi" in 2D. The other
        quantities: docs/conventions.md. Other spellings of the same unit, those of the figures
        among them, are understood: "(ħ/e) S/cm"; type checkers know those of `jaxspin.units.Unit`
        only. A two-dimensional response never turns into a three-dimensional one: that needs a
        thickness.

        Raises:
            ValueError: `units` does not measure this quantity; the message lists what does.
        """
        factor = unit.conversion(self.units, units)
        value, error = self.value * factor, self.error * factor
        return self.replace(value=value, error=error, units=unit.canonical(units))

    def component(
        self,
        *,
        flow: Label | None = None,
        field: Label | None = None,
        second_field: Label | None = None,
        spin: Label | None = None,
        orbital: Label | None = None,
        gradient: Label | None = None,
        magnetization: Label | None = None,
    ) -> "Response":
        """One Cartesian component: the response without the axes that are named.

        Axes that `jax.vmap` has put in front of those in `axes` stay.

        Raises:
            ValueError: the response has no such axis, or the axis no such component.
        """
        chosen = {
            "flow": flow,
            "field": field,
            "second_field": second_field,
            "spin": spin,
            "orbital": orbital,
            "gradient": gradient,
            "magnetization": magnetization,
        }
        response = self
        for axis, label in chosen.items():
            if label is not None:
                response = response._select_component(axis, label)
        return response

    def _select_component(self, axis: str, label: str) -> "Response":
        if axis not in self.axes:
            raise ValueError(
                f"Argument `{axis}` must be left out, for this response has the axes {self.axes}."
            )
        kept = self.axes.index(axis)
        position = kept - len(self.axes)  # from the end: `vmap` puts its axes in front
        allowed = _CARTESIAN[: self.value.shape[position]]
        check_choice(axis, label, allowed)
        take = lambda array: jnp.take(array, allowed.index(label), axis=position)  # noqa: E731
        axes = self.axes[:kept] + self.axes[kept + 1 :]
        selected = f"{self.selected}, {axis} {label}".strip(", ")
        return self.replace(
            value=take(self.value), error=take(self.error), axes=axes, selected=selected
        )

    def replace(self, **changes) -> "Response":
        """The response with some of its fields changed."""
        return dataclasses.replace(self, **changes)

    def to_xarray(self) -> "xarray.DataArray":
        """The value as a labelled array; units, formula, source and info in its attributes.

        The estimated error is the coordinate "error".

        Raises:
            ValueError: the response is one of many (from `jax.vmap`), or inside jit.
        """
        check_concrete(self)
        error = (self.axes, np.asarray(self.error))
        return xarray.DataArray(
            np.asarray(self.value),
            dims=self.axes,
            coords={**self.coordinates(), "error": error},
            name=self.name,
            attrs=self.attributes(),
        )

    def save(self, path: str | PathLike, *, overwrite: bool = False) -> None:
        """Write a netCDF file with all metadata. `jaxspin.load` reads it back.

        For a table in CSV: `response.to_xarray().to_dataframe("value").to_csv("out.csv")`.

        Args:
            path: ends in .nc, .nc4, .h5 or .hdf5.
            overwrite: replace a file that is there.
        Raises:
            ValueError: another ending, a file that is there, a folder that is not; a response that
                is one of many (from `jax.vmap`), inside jit, or inconsistent.
        """
        write(self, path, overwrite=overwrite)

    def coordinates(self) -> dict[str, tuple]:
        """Labels along each axis, as xarray takes them."""
        size = dict(zip(self.axes, self.value.shape, strict=True))
        labels = {
            axis: (axis, list(_CARTESIAN[: size[axis]])) for axis in size.keys() & AXES.keys()
        }
        numbers = {
            "mu": ("mu", np.asarray(self.levels.mu), {"units": "eV"}),
            "temperature": ("temperature", np.asarray(self.levels.temperatures), {"units": "K"}),
        }
        return labels | {axis: numbers[axis] for axis in self.axes if axis in numbers}

    def attributes(self) -> dict[str, str]:
        """Everything that is not a number of the response itself, as texts of a file."""
        info = {key: np.asarray(value).tolist() for key, value in self.info.items()}
        return {
            "quantity": self.name,
            "units": self.units,
            "formula": self.formula,
            "source": self.source,
            "symbol": self.symbol,
            "selected": self.selected,
            "allowed": self.allowed,
            "sign": json.dumps(self.sign),
            "axes": json.dumps(self.axes),
            "info": json.dumps(info),
            "origin": json.dumps(self.origin.texts),
            "temperature_is_scalar": json.dumps(self.levels.temperature.ndim == 0),
        }

    def __repr__(self) -> str:
        if is_traced(self):
            return f"Response({self.name}, axes={self.axes}, units={self.units!r}, traced)"
        heading = f"{self.name}, {self.selected}" if self.selected else self.name
        axes = _all_axes(self)
        shape = ", ".join(f"{a} {n}" for a, n in zip(axes, self.value.shape, strict=True))
        kelvin = _describe_range(self.levels.temperatures, "K")
        lines = [
            f"{heading}  [{self.units}]",
            f"  formula  {self.formula}",
            f"  source   {self.source}",
            f"  axes     ({shape})",
            f"  levels   {_describe_range(self.levels.mu, 'eV')}; T = {kelvin}",
            f"  largest  {_find_largest(self)}",
            f"  error    {_describe_error(self.error, self.units, self.error_rule)}",
        ]
        if self.allowed:
            lines += [f"  allowed  {_shorten_form(self.allowed)}"]
        lines += [f"  {key}  {shown(value)}" for key, value in self.info.items()]
        return printable("\n".join(lines))

    __str__ = __repr__


def write(
    response: Response,
    path: str | PathLike,
    *,
    overwrite: bool = False,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a response as `Response.save`, with more texts beside it, which the hash leaves out.

    Raises:
        ValueError: as `Response.save`.
    """
    place = schema.check_new_file(path, overwrite)
    check_concrete(response)
    contents = _collect_contents(response)
    try:
        schema.response_fields(contents)
    except files.UnusableFile as error:
        raise ValueError(f"This response cannot be saved, for it {error}.") from error
    texts = {"created_by": "jaxspin", files.HASH: files.content_hash(contents)}
    variables = {name: (contents.axes[name], array) for name, array in contents.arrays.items()}
    texts = {**(notes or {}), **contents.texts, **texts}
    dataset = xarray.Dataset(variables, response.coordinates(), texts)
    dataset["value"].attrs = response.attributes()
    files.write_netcdf(place, dataset)


def load_response(path: str | PathLike) -> Response:
    """Read a response that `Response.save` wrote.

    Raises:
        ValueError: no such file, or none that `Response.save` wrote as it is: another format,
            damaged, changed, or with its numbers elsewhere. The message names the file and says
            what is wrong.
    """
    place = as_path("path", path)
    try:
        contents = files.read_netcdf(place, schema.ARRAYS, (*schema.TEXTS, *schema.STAMPS))
        schema.check_creator(contents.texts.pop("created_by"))
        fields = schema.response_fields(contents)
        schema.check_coordinates(place, fields["axes"], fields["levels"])
        files.verify_hash(contents)
    except files.UnusableFile as error:
        raise ValueError(
            f"Argument `path` must be a file saved by jaxspin (`Response.save`), but {place} "
            f"{error}."
        ) from error
    return Response(**fields)


def check_concrete(response: Response) -> None:
    """Refuse a response that is traced, or one of many.

    Raises:
        ValueError: it is one of these.
    """
    if is_traced(response):
        raise ValueError("A response inside jit, vmap or a derivative has no numbers yet to save.")
    if response.value.ndim != len(response.axes):
        raise ValueError(
            f"A response must have the axes {response.axes}, but this one has shape "
            f"{response.value.shape}. Of many, from `jax.vmap`, take one: "
            "jax.tree.map(lambda leaf: leaf[0], many)."
        )


def _collect_contents(response: Response) -> files.Contents:
    """Contents of the file of a response."""
    arrays, axes = schema.level_arrays(response.levels)
    arrays |= {"value": np.asarray(response.value), "error": np.asarray(response.error)}
    axes |= {"value": response.axes, "error": response.axes}
    return files.Contents(arrays, response.attributes(), axes)


def shown(value) -> str:
    """A number with four digits, or from where to where several are."""
    low, high = f"{np.min(value):.4g}", f"{np.max(value):.4g}"
    return low if low == high else f"from {low} to {high}"


def _describe_error(error, suffix: str, rule: str) -> str:
    if np.all(np.isnan(error)):
        return "not estimated"
    source = f"estimated from {rule}" if rule else "estimated"
    return f"at most {shown(np.nanmax(error))} {suffix} ({source})"


def _shorten_form(allowed: str) -> str:
    """The components that a group allows, or their number where they are many."""
    if len(allowed) <= _WIDTH:
        return allowed
    return f"{len(allowed.split(';'))} relations among components, in `allowed`"


_WIDTH = 90  # characters


def _describe_range(values, suffix: str) -> str:
    text = shown(values)
    several = f"{values.size} " if text.startswith("from") else ""
    return f"{several}{text} {suffix}"


def describe_largest(response: Response) -> str:
    """The largest element with its unit, and where it is."""
    number, _, place = _find_largest(response).partition(" at ")
    unit = "" if number.startswith("no ") else f" {response.units}"
    return f"{number}{unit}" + (f" at {place}" if place else "")


def _all_axes(response: Response) -> tuple[str, ...]:
    """Names of all axes, those of `jax.vmap` too."""
    return ("mapped",) * (response.value.ndim - len(response.axes)) + response.axes


def _find_largest(response: Response) -> str:
    """The largest element and where it is."""
    array, levels = np.asarray(response.value), response.levels
    if np.all(np.isnan(array)):
        return "no finite value"
    where = np.unravel_index(np.nanargmax(np.abs(array)), array.shape)
    names = []
    for axis, i in zip(_all_axes(response), where, strict=True):
        if axis in AXES:
            names.append(f"{axis} {_CARTESIAN[i]}")
        elif axis == "mu":
            names.append(f"mu {shown(levels.mu[..., i])} eV")
        elif axis == "temperature":
            names.append(f"T {shown(levels.temperatures[i])} K")
        else:
            names.append(f"{axis} {i}")
    return f"{array[where]:.8g}" + (f" at {', '.join(names)}" if names else "")
