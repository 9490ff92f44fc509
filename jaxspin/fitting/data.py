"""Measured conductivities: a table of values with errors, and how calculated ones compare."""

import csv
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxspin import units as unit
from jaxspin.engine.deferred import defer_import
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.tolerances import SAME_LEVEL
from jaxspin.engine.validate import (
    as_numbers,
    check_choice,
    check_finite,
    check_type,
    is_not_negative,
    is_positive,
)
from jaxspin.fitting.conversion import Gate, fermi_energies, interpolate
from jaxspin.integration.levels import Levels
from jaxspin.responses.response import Response

if TYPE_CHECKING:
    import xarray
else:
    xarray = defer_import("xarray")


_CARTESIAN = "xyz"
_SUBSCRIPTS = ("flow", "field", "spin")
# What a measurement is made against, with its unit; that of densities is a choice.
_ABSCISSAE = {"mu": "eV", "density": None, "gate": "V"}
_DENSITIES = ("1/Angstrom^2", "1/cm^2", "1/Angstrom^3", "1/cm^3")


class Curve(NamedTuple):
    """A response along the abscissa of the data, for one component and temperature."""

    component: str
    temperature: float
    #: Which rows of the data belong to it.
    rows: Bool[np.ndarray, " r"]
    x: Float[np.ndarray, " e"]
    y: Float[np.ndarray, " e"]


class Data(eqx.Module):
    """Measurements of one quantity: a row for each value.

    Args:
        value: what was measured, in `units`.
        error: its standard error, in the same.
        component: "yx" (flow, field) or "zx^y" (flow, field ^ spin), one for all or one a row.
        mu, density, gate: one of them: Fermi energy (eV), density of electrons (in
            `density_units`), or gate voltage (V).
        temperature: K, one for all or one a row.
        units: of `value`, any that `Response.to` knows for the quantity.
        density_units: "1/cm^2", "1/Angstrom^2", "1/cm^3" or "1/Angstrom^3".
    Raises:
        ValueError: NaN anywhere, errors that are not positive, columns of different lengths,
            none or several of mu, density and gate, unknown labels of components.

    >>> import jaxspin as js
    >>> hall = js.fitting.Data([0.9, 0.8], [0.05, 0.05], "yx", mu=[0.0, 0.1], units="e^2/h")
    >>> hall.levels.mu.tolist()
    [0.0, 0.1]
    """

    value: Float[np.ndarray, " r"]
    error: Float[np.ndarray, " r"]
    #: mu (eV), density (Å^-d) or gate voltage (V), as `against` says.
    place: Float[np.ndarray, " r"]
    temperature: Float[np.ndarray, " r"]
    component: tuple[str, ...] = eqx.field(static=True)
    against: str = eqx.field(static=True)
    units: unit.Unit = eqx.field(static=True)
    density_units: str = eqx.field(static=True)

    def __init__(
        self,
        value,
        error,
        component: str | Sequence[str],
        *,
        mu=None,
        density=None,
        gate=None,
        temperature: Any = 0.0,
        units: str,
        density_units: str = "1/cm^2",
    ):
        self.against, place = _single_choice(mu=mu, density=density, gate=gate)
        self.value = _check_column("value", value, np.size(value))
        rows = len(self.value)
        self.error = _check_column("error", error, rows)
        self.place = _check_column(self.against, place, rows)
        self.temperature = _check_column("temperature", temperature, rows)
        labels = [component] * rows if np.ndim(component) == 0 else component
        self.component = tuple(map(_component_label, labels))
        self.units, self.density_units = unit.canonical(units), unit.canonical(density_units)
        self._check_rows(rows)
        if self._is_density:
            self.place = self.place * _per_angstrom(self.density_units)

    def _check_rows(self, rows: int) -> None:
        if rows == 0:
            raise ValueError("Argument `value` must hold at least one measurement, but is empty.")
        if len(self.component) != rows or len(set(map(len, self.component))) != 1:
            raise ValueError(
                f"Argument `component` must be one label or {rows} of one length, "
                f"but is {self.component!r}."
            )
        if not is_positive(self.error):
            raise ValueError(
                f"Argument `error` must be positive, but is {np.min(self.error):g} in row "
                f"{int(np.argmin(self.error))}."
            )
        if not is_not_negative(self.temperature):
            raise ValueError("Argument `temperature` must not be negative (K), but is.")

    @staticmethod
    def read(path: str | PathLike, units: str | None = None) -> "Data":
        """Measurements in a CSV file.

        The first line names the columns, with units in brackets, in any order:

            mu [eV], temperature [K], component, value [hbar/e S/cm], error

        `density [1/cm^2]` or `gate [V]` stands in the place of mu; without a temperature it is 0 K;
        lines that begin with # are comments.

        Args:
            units: of value and error, where the file does not say.
        Raises:
            ValueError: an unknown, missing or repeated column, a number that is none (with its
                line), units that are missing or contradict each other; what `Data` refuses.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"Argument `path` must be a text in UTF-8, but {path} is none: {error}."
            ) from error
        rows = [(i, line) for i, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
        if len(rows) < 2:
            raise ValueError(
                f"Argument `path` must be a table of measurements, but {path} is none."
            )
        (_, heading), *body = zip(
            [i for i, _ in rows],
            csv.reader([line for _, line in rows], skipinitialspace=True),
            strict=True,
        )
        names, kinds = zip(*map(_parse_heading, heading), strict=True)
        columns = {name: [] for name in names}
        if len(columns) != len(names):
            raise ValueError(
                f"Argument `path` must name each column once, but has {', '.join(names)}."
            )
        for number, row in body:
            _append_row(columns, names, row, f"line {number} of {path}")
        return _from_columns(columns, dict(zip(names, kinds, strict=True)), units, "path")

    def write(self, path: str | PathLike) -> None:
        """Write a CSV file that `read` reads, with all digits."""
        heading = [f"{self.against} [{self.kind}]", "temperature [K]", "component"]
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow([*heading, f"value [{self.units}]", "error"])
            columns = (self.x, self.temperature, self.component, self.value, self.error)
            table.writerows(zip(*(map(_format_cell, column) for column in columns), strict=True))

    @staticmethod
    def from_xarray(table: "xarray.Dataset", units: str | None = None) -> "Data":
        """Measurements in a Dataset with the variables value, error, component, and the others.

        Variables may have any dimensions; they are broadcast against each other, so that a map over
        mu and temperature needs no table. Rows with NaN in `value` are left out. Units are the
        attribute "units" of each variable.

        Raises:
            ValueError: as `read`.
        """
        check_type("table", table, xarray.Dataset, "an xarray.Dataset")
        known = [str(name) for name in table.variables if _is_column(str(name))]
        arrays = dict(zip(known, xarray.broadcast(*(table[name] for name in known)), strict=True))
        if "value" not in arrays:
            raise ValueError(_missing_column("table", "value", known))
        there = np.ravel(arrays["value"].notnull().values)
        columns = {name: list(np.ravel(array.values)[there]) for name, array in arrays.items()}
        kinds = {name: table[name].attrs.get("units") for name in known}
        return _from_columns(columns, kinds, units, "table")

    def to_xarray(self) -> "xarray.Dataset":
        """A row for each measurement, dimension "row"; `from_xarray` reads it."""
        return xarray.Dataset(
            {
                self.against: ("row", self.x, {"units": self.kind}),
                "temperature": ("row", self.temperature, {"units": "K"}),
                "component": ("row", list(self.component)),
                "value": ("row", self.value, {"units": self.units}),
                "error": ("row", self.error, {"units": self.units}),
            }
        )

    @property
    def x(self) -> Float[np.ndarray, " r"]:
        """The abscissa of the data, in the units of `kind`."""
        return self.place / _per_angstrom(self.density_units) if self._is_density else self.place

    @property
    def kind(self) -> str:
        """The unit of `x`."""
        return self.density_units if self._is_density else _ABSCISSAE[self.against]

    @property
    def _is_density(self) -> bool:
        return self.against == "density"

    @property
    def levels(self) -> Levels:
        """The Fermi energies and temperatures of the data, for a response to compare with.

        Raises:
            ValueError: the data are against density or gate voltage: see `levels_on`.
        """
        if self.against != "mu":
            raise ValueError(
                "Argument `mu` must be given for data against density or gate voltage: "
                "use `levels_on(mu)` with a table of Fermi energies that covers the data."
            )
        return Levels(np.unique(self.place), np.unique(self.temperature))

    def levels_on(self, mu) -> Levels:
        """The temperatures of the data at other Fermi energies (eV), with those of the data.

        For data against density or gate voltage: a table that covers them, with steps of at most
        kT / 2 (docs/fitting.md). For others: more points, to draw a curve.
        """
        own = self.place if self.against == "mu" else ()
        return Levels(np.union1d(np.ravel(mu), own), np.unique(self.temperature))

    def calculated(
        self, response: Response, *, density: Any = None, gate: Gate | None = None
    ) -> Float[Array, " r"]:
        """The value of a response for each row, in the units of the data.

        Args:
            response: at `levels`, or at any that hold them; for data against density or gate
                voltage at `levels_on(mu)`.
            density: for data against density or gate voltage: electrons at each level of the
                response, (temperature, mu). A `carrier_density`, in any of its units, or an array,
                per Å^d, where they are to be counted from somewhere else.
            gate: for data against gate voltage, how it makes a density.
        Raises:
            ValueError: levels, components or units that are not those of the data; a density that
                is not at the levels of the response.
        """
        table = self._response_rows(response)
        if self.against == "mu":
            mu = _match_levels("Fermi energies (eV)", response.levels.mu, self.place)
            return table[jnp.arange(len(self.place)), mu]
        mu = np.asarray(response.levels.mu)
        return interpolate(self.fermi_energies(response, density, gate), mu, table)

    def fermi_energies(self, response: Response, density, gate: Gate | None = None):
        """The Fermi energy of each row, eV, of data against density or gate voltage.

        NaN where the table of the response does not reach.

        Raises:
            ValueError: no density; no gate for gate voltages; levels that are not ascending.
        """
        number = self._density_table(response, density, gate)
        mu = np.asarray(response.levels.mu)
        wanted = self.place if gate is None else gate.density(self.place)
        return fermi_energies(jnp.asarray(wanted), mu, number[self._temperature_indices(response)])

    def _density_table(self, response: Response, density, gate) -> Float[Array, "t e"]:
        """The density at each level of the response, checked."""
        if density is None or (self.against == "gate") != (gate is not None):
            raise ValueError(
                "Arguments `density` and, against gate voltage alone, `gate` must be given, "
                f"but are {type(density).__name__} and {type(gate).__name__} for data against "
                f"{self.against}."
            )
        mu = np.asarray(response.levels.mu)
        if len(mu) < 2 or np.any(np.diff(mu) <= 0):
            raise ValueError(
                f"Argument `response` must have two or more ascending Fermi energies, but has {mu}."
            )
        if isinstance(density, Response):
            _check_same_levels(density, response)
            density = density.to(unit.density(self._density_dimension)).value
        shape = (len(response.levels.temperatures), len(mu))
        if jnp.shape(density) not in (shape, shape[1:]):
            raise ValueError(
                f"Argument `density` must be one number for each level of the response, {shape}, "
                f"but has the shape {jnp.shape(density)}."
            )
        return jnp.broadcast_to(jnp.asarray(density), shape)

    @property
    def _density_dimension(self) -> int:
        """Dimension d of densities per Å^d; a gate makes one per area."""
        return int(self.density_units[-1]) if self._is_density else 2

    def residuals(
        self, response: Response, *, density: Any = None, gate: Gate | None = None
    ) -> Float[Array, " r"]:
        """(calculated − measured) / error of each row, which `fit` minimises.

        Args and errors are those of `calculated`.
        """
        return (self.calculated(response, density=density, gate=gate) - self.value) / self.error

    def curves(
        self, response: Response, *, density: Any = None, gate: Gate | None = None
    ) -> list[Curve]:
        """The response along the abscissa of the data, to draw it: all its levels.

        Args and errors are those of `calculated`.
        """
        table = np.asarray(self._response_rows(response))
        x = np.broadcast_to(np.asarray(response.levels.mu), table.shape)
        if self.against != "mu":
            number = self._density_table(response, density, gate)[
                self._temperature_indices(response)
            ]
            x = number / _per_angstrom(self.density_units) if gate is None else gate.voltage(number)
        labels = list(zip(self.component, self.temperature.tolist(), strict=True))
        first = {label: labels.index(label) for label in labels}
        return [
            Curve(
                *label, np.array([other == label for other in labels]), np.asarray(x[i]), table[i]
            )
            for label, i in first.items()
        ]

    def _response_rows(self, response: Response) -> Float[Array, "r e"]:
        """The response at temperature and component of each row, in the units of the data."""
        check_type("response", response, Response, "a Response")
        axes, value = response.axes, response.to(self.units).value
        rows = zip(*(label.replace("^", "") for label in self.component), strict=True)
        letters: dict[str, tuple[str, ...]] = dict(zip(_SUBSCRIPTS, rows, strict=False))
        present = [axis for axis in axes if axis in _SUBSCRIPTS]
        if present and present != list(letters):
            raise ValueError(
                f"Argument `response` must have the components of the data, {self.component[0]!r}, "
                f"but has the axes {axes}."
            )
        _check_selected(response.selected, letters, self.component)
        for i, axis in enumerate(("temperature", "mu")):
            value = value if axis in axes else jnp.expand_dims(value, i)
        which = [np.array([_CARTESIAN.index(letter) for letter in letters[a]]) for a in present]
        _check_components(which, value.shape[2:], self.component)
        return jnp.moveaxis(value, 1, -1)[(self._temperature_indices(response), *which)]

    def _temperature_indices(self, response: Response) -> np.ndarray:
        """Index of the temperature of each row in the response."""
        return _match_levels("temperatures (K)", response.levels.temperatures, self.temperature)


def _match_levels(what: str, available, wanted: np.ndarray) -> np.ndarray:
    """Return the index of each number among those of a response."""
    if is_traced(available):
        raise ValueError(f"Argument `response` must have {what} that are known, but is traced.")
    available = np.asarray(available)
    distance = np.abs(available[None, :] - wanted[:, None])
    nearest = np.argmin(distance, axis=1)
    missing = np.min(distance, axis=1) > SAME_LEVEL.of() * np.maximum(1.0, np.abs(wanted))
    if np.any(missing):
        raise ValueError(
            f"Argument `response` must have the {what} of the data, but lacks "
            f"{wanted[missing][0]:g}; compute it at `data.levels`."
        )
    return nearest


def _check_same_levels(density: Response, response: Response) -> None:
    pairs = [(levels.mu, levels.temperatures) for levels in (density.levels, response.levels)]
    if is_traced(pairs):
        return
    if not all(map(np.array_equal, *pairs)):
        raise ValueError(
            "Argument `density` must be at the levels of the response, but is at others."
        )


def _check_selected(selected: str, letters: Mapping[Any, tuple], labels) -> None:
    """The components that were chosen from a response, "flow x, field y", are those of the data."""
    for axis, letter in re.findall(r"(\w+) (\w)", selected):
        wrong = [i for i, wanted in enumerate(letters.get(axis, labels)) if wanted != letter]
        if wrong:
            raise ValueError(
                "Argument `response` must have the components of the data, such as "
                f"{labels[wrong[0]]!r}, but is that of {selected}."
            )


def _check_components(which, sizes, labels) -> None:
    for index, size in zip(which, sizes, strict=True):
        if np.any(index >= size):
            raise ValueError(
                f"Argument `response` must have all components of the data, but lacks "
                f"{labels[int(np.argmax(index >= size))]!r}."
            )


def _single_choice(**choices) -> tuple[str, Any]:
    given = {name: value for name, value in choices.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"Exactly one of the arguments {', '.join(f'`{name}`' for name in choices)} must be "
            f"given, but there are {len(given)}."
        )
    return next(iter(given.items()))


def _check_column(name: str, values, rows: int) -> Float[np.ndarray, " r"]:
    column = np.ravel(as_numbers(name, values))
    if column.size not in (1, rows):
        raise ValueError(
            f"Argument `{name}` must be one number or {rows}, one a row, but has {column.size}."
        )
    check_finite(name, column, place="in row")
    return np.broadcast_to(column, (rows,)).copy()


def _component_label(label: Any) -> str:
    """Return the label of a component in the form "yx" or "zx^y"."""
    letters = re.sub(r"[\s^]", "", str(label))
    if not re.fullmatch(f"[{_CARTESIAN}]{{2,3}}", letters):
        raise ValueError(
            "Argument `component` must be of labels as 'yx' (flow, field) or 'zx^y' "
            f"(flow, field ^ spin), but has {label!r}."
        )
    return letters if len(letters) == 2 else f"{letters[:2]}^{letters[2]}"


def _per_angstrom(units: str) -> float:
    """Return one of these units of density in 1/Å^d."""
    check_choice("density_units", units, _DENSITIES)
    return unit.conversion(units, f"1/Angstrom^{units[-1]}")


_COLUMNS = (*_ABSCISSAE, "temperature", "component", "value", "error")


def _is_column(name: str) -> bool:
    return name in _COLUMNS


def _parse_heading(text: str) -> tuple[str, str | None]:
    """Return name and units of a column, from "value [S/cm]"."""
    match = re.fullmatch(r"\s*(\w+)\s*(?:\[(.*)\])?\s*", text)
    if match is None or not _is_column(match[1]):
        raise ValueError(
            f"Argument `path` must have columns of {', '.join(_COLUMNS)}, with units in brackets, "
            f"but has {text!r}."
        )
    return match[1], match[2]


def _append_row(
    columns: dict[str, list], names: Sequence[str], row: Sequence[str], where: str
) -> None:
    if len(row) != len(names):
        raise ValueError(
            f"Argument `path` must have {len(names)} columns, but has {len(row)} in {where}."
        )
    for name, text in zip(names, row, strict=True):
        try:
            columns[name].append(text if name == "component" else float(text))
        except ValueError as error:
            raise ValueError(
                f"Argument `path` must have numbers for {name}, but has {text!r} in {where}."
            ) from error


def _from_columns(
    columns: Mapping[str, list], kinds: Mapping[str, str | None], units: str | None, argument: str
) -> Data:
    """Data of the columns of a file or a Dataset, which is the `argument` of that name."""
    for name in ("value", "error", "component"):
        if name not in columns:
            raise ValueError(_missing_column(argument, name, columns))
    found = units or kinds["value"]
    if not found:
        raise ValueError("Argument `units` must be given, because the data do not name theirs.")
    known = {"mu": "eV", "gate": "V", "temperature": "K", "value": found, "error": found}
    for name, expected in known.items():
        given = kinds.get(name)
        if given is not None and unit.canonical(given) != unit.canonical(expected):
            raise ValueError(
                f"Argument `{argument}` must have {name} in {expected}, but has it in {given}."
            )
    if "density" in columns and not kinds["density"]:
        raise ValueError(
            f"Argument `{argument}` must have density with its units, {', '.join(_DENSITIES)}, "
            "but does not say in which it is."
        )
    density: dict[str, Any] = {"density_units": kinds["density"]} if "density" in columns else {}
    return Data(**columns, units=found, **density)


def _missing_column(argument: str, name: str, columns) -> str:
    return f"Argument `{argument}` must have a column {name}, but has {', '.join(columns)}."


def _format_cell(value: Any) -> str:
    return value if isinstance(value, str) else repr(float(value))
