"""Named responses of one computation: a mapping with units, components, files and printing."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import equinox as eqx
import numpy as np
from jaxtyping import Array

from jaxspin import units as unit
from jaxspin.engine import files
from jaxspin.engine.deferred import defer_import
from jaxspin.engine.record import Record
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import printable
from jaxspin.engine.validate import as_path
from jaxspin.integration.levels import Levels
from jaxspin.responses import schema
from jaxspin.responses.origin import Origin
from jaxspin.responses.response import (
    Label,
    Response,
    check_concrete,
    describe_largest,
    load_response,
    shown,
)

if TYPE_CHECKING:
    import xarray
else:
    xarray = defer_import("xarray")


class Components(TypedDict, total=False):
    """One letter for each axis that is taken away, as in `Response.component`."""

    flow: Label
    field: Label
    second_field: Label
    spin: Label
    orbital: Label
    gradient: Label
    magnetization: Label


class ResponseSet(Record):
    """Responses that belong together, by name.

    Each is an attribute and an item, `found.skew` is `found["skew"]`, and may be a set itself.
    `for name, part in found.items()` goes through them. A set is a pytree, as a `Response` is.
    """

    @property
    def title(self) -> str:
        """Name of the set, the first line of its printed form."""
        return type(self).__name__

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong to the numbers, printed after them."""
        return ()

    @property
    def numbers(self) -> dict[str, Array]:
        """Numbers beside the responses, by name: those of `info` and other arrays."""
        found = {}
        for name, value in self._field_values():
            if isinstance(value, Mapping):
                found |= value
            elif eqx.is_array(value):
                found[name] = value
        return found

    @property
    def origin(self) -> Origin:
        """Model, mesh or surface, levels, versions and date, as texts."""
        return next(iter(self.flatten().values())).origin

    def _field_values(self) -> Iterator[tuple[str, Any]]:
        for field in dataclasses.fields(self):
            yield field.name, getattr(self, field.name)

    def keys(self) -> tuple[str, ...]:
        """Names of the responses, and of the sets inside, in their order."""
        members = (Response, ResponseSet)
        return tuple(name for name, value in self._field_values() if isinstance(value, members))

    def values(self) -> tuple[Any, ...]:
        """The responses and sets, in the order of their names."""
        return tuple(self[name] for name in self.keys())

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Pairs of a name and its response or set."""
        return tuple((name, self[name]) for name in self.keys())

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            raise KeyError(f"{name!r} is none of {', '.join(map(repr, self.keys()))}")
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return len(self.keys())

    def flatten(self) -> dict[str, Response]:
        """Every response by its path, such as "skew.conductivity"."""
        found = {}
        for name, member in self.items():
            if isinstance(member, ResponseSet):
                found |= {f"{name}.{path}": response for path, response in member.flatten().items()}
            else:
                found[name] = member
        return found

    def to(self, units: unit.Unit) -> "NamedResponses":
        """The set with every response that `units` measures in these units, the others as before.

        Raises:
            ValueError: `units` measures none of them.
        """

        def convert_unit(response: Response) -> Response:
            return response.to(units) if unit.is_convertible(response.units, units) else response

        leaves = list(self.flatten().values())
        if not any(unit.is_convertible(response.units, units) for response in leaves):
            leaves[0].to(units)  # raises, and says what measures it
        return self.map(convert_unit)

    def component(self, **labels: Unpack[Components]) -> "NamedResponses":
        """One Cartesian component of every response that has these axes, the others as before.

        Raises:
            ValueError: no response has them, or an axis has no such component.
        """

        def select_component(response: Response) -> Response:
            return response.component(**labels) if labels.keys() <= {*response.axes} else response

        axes = {response.axes for response in self.flatten().values()}
        if not any(labels.keys() <= {*some} for some in axes):
            raise ValueError(
                f"Argument `{', '.join(labels)}` must name axes of one of the responses, "
                f"but they have {' and '.join(map(str, sorted(axes)))}."
            )
        return self.map(select_component)

    def map(self, change: Callable[[Response], Response]) -> "NamedResponses":
        """The set with every response changed; without the methods of its former class."""
        changed: dict[str, Response | ResponseSet] = {
            name: member.map(change) if isinstance(member, ResponseSet) else change(member)
            for name, member in self.items()
        }
        return NamedResponses(changed, self.numbers, self.title, self.notes)

    def to_xarray(self) -> "xarray.Dataset":
        """One labelled array for each response, by its path; its error is "<path>.error".

        Raises:
            ValueError: the set is one of many (from `jax.vmap`), inside jit, or of several levels.
        """
        _check_one_set(self)
        variables, coordinates = {}, {}
        for path, response in self.flatten().items():
            variables[path] = (response.axes, np.asarray(response.value), response.attributes())
            variables[f"{path}.error"] = (response.axes, np.asarray(response.error))
            coordinates |= response.coordinates()
        return xarray.Dataset(variables, coordinates, {"title": self.title})

    def save(self, path: str | PathLike, *, overwrite: bool = False) -> None:
        """Write one netCDF file with all responses and numbers.

        `jaxspin.load` reads it back, as a set without the methods of its class.

        Args:
            path: ends in .nc, .nc4, .h5 or .hdf5.
            overwrite: replace a file that is there.
        Raises:
            ValueError: as `Response.save`; responses of several levels.
        """
        place = schema.check_new_file(path, overwrite)
        _check_one_set(self)
        contents = _collect_contents(self)
        try:
            _read_responses(contents)
        except files.UnusableFile as error:
            raise ValueError(f"This set cannot be saved, because it {error}.") from error
        dataset = self.to_xarray()
        for name in schema.LEVEL_ARRAYS:
            dataset[name] = (contents.axes[name], contents.arrays[name])
        stamps = {"created_by": "jaxspin", files.HASH: files.content_hash(contents)}
        files.write_netcdf(place, dataset.assign_attrs({**contents.texts, **stamps}))

    def summary(self) -> list[str]:
        """Lines of the printed form: each response with its largest element and unit."""
        leaves = self.flatten()
        width = max(map(len, leaves))
        return [f"  {path:{width}}  {describe_largest(leaves[path])}" for path in leaves]

    def __repr__(self) -> str:
        if is_traced(self):
            return f"{type(self).__name__}(traced)"
        lines = [self.title, *self.summary()]
        lines += [f"  {key}  {shown(value)}" for key, value in self.numbers.items()]
        return printable("\n".join([*lines, *(f"  {note}" for note in self.notes)]))

    __str__ = __repr__


class NamedResponses(ResponseSet):
    """A set of any responses: from `to`, `component` or a file, or put together by a user.

    >>> import jaxspin as js
    >>> model, mesh, levels = js.models.QiWuZhang(1.0, -1.0), js.Grid((8, 8)), js.Levels(0.0)
    >>> hall, density = (f(model, mesh, levels) for f in (js.anomalous_hall, js.carrier_density))
    >>> both = NamedResponses({"hall": hall, "density": density})
    >>> round(float(both.to("e^2/h").hall.component(flow="y", field="x").value[0]), 2)
    1.02
    """

    responses: dict[str, Response | ResponseSet]
    #: Numbers beside the responses.
    info: dict[str, Array] = dataclasses.field(default_factory=dict)
    heading: str = eqx.field(static=True, default="responses")
    remarks: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        wrong = [name for name in self.responses if not _is_name(name)]
        if wrong or not self.responses:
            raise ValueError(
                "Argument `responses` must have at least one response, each by a name without "
                f"dots and blanks, but has {wrong or 'none'}."
            )

    @property
    def title(self) -> str:
        return self.heading

    @property
    def notes(self) -> tuple[str, ...]:
        return self.remarks

    @property
    def numbers(self) -> dict[str, Array]:
        return dict(self.info)

    def keys(self) -> tuple[str, ...]:
        return tuple(self.responses)

    def __getattr__(self, name: str) -> Any:
        responses = vars(self).get("responses", {})
        if name in responses:
            return responses[name]
        raise AttributeError(
            f"This set has no {name!r}, but {', '.join(responses)}. Methods of a result must be "
            "called before `to` and `component`, and before it is saved."
        )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier() and not name.startswith("_")


# --- files ----------------------------------------------------------------------------------------

# Texts of a file: attributes of each response by its path, and what there is beside them in each
# set by its path, both in JSON.
_RESPONSES, _SETS = "responses", "sets"


def load(path: str | PathLike) -> Any:
    """Read a file that `Response.save` or `ResponseSet.save` wrote.

    Returns:
        The `Response`, or a `ResponseSet` with the names, responses and numbers of the saved one.
    Raises:
        ValueError: no such file, or none that jaxspin wrote as it is: another format, damaged,
            changed, or with its numbers elsewhere. The message names the file and says what is
            wrong.
    """
    place = as_path("path", path)
    if files.read_text(place, _RESPONSES) is None:
        return load_response(place)
    try:
        texts = (_RESPONSES, _SETS, *schema.STAMPS)
        listed = _list_responses(files.read_netcdf(place, (), texts))
        names = [name for path in listed for name in (path, f"{path}.error")]
        contents = files.read_netcdf(place, (*names, *schema.LEVEL_ARRAYS), texts)
        schema.check_creator(contents.texts.pop("created_by"))
        responses = _read_responses(contents)
        for response in responses.values():
            schema.check_coordinates(place, response.axes, response.levels)
        found = _nest_responses(responses, schema.parse_table(contents.texts[_SETS]))
        files.verify_hash(contents)
    except files.UnusableFile as error:
        raise ValueError(
            f"Argument `path` must be a file saved by jaxspin (`ResponseSet.save`), but {place} "
            f"{error}."
        ) from error
    return found


def _collect_contents(found: ResponseSet) -> files.Contents:
    """Contents of the file of a set."""
    leaves = found.flatten()
    levels = next(iter(leaves.values())).levels
    arrays, axes = schema.level_arrays(levels)
    for path, response in leaves.items():
        for name, array in ((path, response.value), (f"{path}.error", response.error)):
            arrays[name], axes[name] = np.asarray(array), response.axes
    attributes = {path: response.attributes() for path, response in leaves.items()}
    texts = {_RESPONSES: json.dumps(attributes), _SETS: json.dumps(_collect_numbers(found))}
    return files.Contents(arrays, texts, axes)


def _collect_numbers(found: ResponseSet, path: str = "") -> dict[str, dict]:
    """Title, notes and numbers of a set and of those inside it, by their paths."""
    numbers = {name: np.asarray(value).tolist() for name, value in found.numbers.items()}
    table = {path: {"title": found.title, "notes": found.notes, "numbers": numbers}}
    for name, member in found.items():
        if isinstance(member, ResponseSet):
            table |= _collect_numbers(member, f"{path}.{name}".strip("."))
    return table


def _list_responses(contents: files.Contents) -> dict[str, dict[str, str]]:
    """The texts of each response of a file by its path."""
    table = schema.parse_table(contents.texts[_RESPONSES])
    for path in table:
        if not all(map(_is_name, path.split("."))):
            raise files.UnusableFile(f"has a response with the name {path!r:.60}")
    return {path: schema.check_texts(texts) for path, texts in table.items()}


def _read_responses(contents: files.Contents) -> dict[str, Response]:
    """The responses of a file by their paths."""
    responses = {}
    for path, texts in _list_responses(contents).items():
        entries = {"value": path, "error": f"{path}.error"}
        entries |= {name: name for name in schema.LEVEL_ARRAYS}
        arrays = {name: contents.arrays[entry] for name, entry in entries.items()}
        axes = {name: contents.axes[entry] for name, entry in entries.items()}
        fields = schema.response_fields(files.Contents(arrays, texts, axes))
        responses[path] = Response(**fields)
    return responses


def _nest_responses(responses: Mapping[str, Response], sets: Mapping[str, Any], path: str = ""):
    """The set of these responses, with sets inside for paths with a dot."""
    members: dict[str, Response | ResponseSet] = {}
    for name in dict.fromkeys(path.split(".")[0] for path in responses):
        inner = {p.partition(".")[2]: r for p, r in responses.items() if p.split(".")[0] == name}
        whole = inner.pop("", None)
        if whole is not None and inner:
            raise files.UnusableFile(f"has a response and a set of the name {name}")
        members[name] = whole or _nest_responses(inner, sets, f"{path}.{name}".strip("."))
    title, notes, numbers = schema.check_beside(sets.get(path))
    if not members:
        raise files.UnusableFile("has no response")
    return NamedResponses(members, numbers, title, notes)


def _check_one_set(found: ResponseSet) -> None:
    """Refuse a set that is traced, mapped or of several levels."""
    leaves = list(found.flatten().values())
    for response in leaves:
        check_concrete(response)
        if not _are_equal(response.levels, leaves[0].levels):
            raise ValueError(
                "A set must have responses at the same levels to be one file or dataset, but "
                "does not. Save them one by one."
            )


def _are_equal(levels: Levels, others: Levels) -> bool:
    same = np.array_equal(levels.mu, others.mu)
    return same and np.array_equal(levels.temperature, others.temperature)
