"""Input files: TOML to a model, a mesh, levels and a quantity, ready to run.

```toml
[model]
name = "TopologicalInsulator.bi2se3"   # a class of jaxspin.models, or one of its constructors
exchange = [0.0, 0.0, 0.01]            # its arguments by name
# or a class of your own: file = "my_model.py" (next to this file) and class = "MyModel"
# or Wannier90 files: wannier90 = "Pt" (next to this file), with lattice, centres and spin_order
# where they do not say it
# and with symmetrise = "auto" for their average over the group of the crystal

[mesh]
type = "Space"                         # Grid, Disk, Ball, Plane, Space, PointSet
scale = [0.0793, 0.0793, 0.2020]       # its arguments by name
radial = 192
polar = 96
azimuthal = 8
# or type = "PointSet" and file = "points.txt": a line of coordinates and weight for each point
# rtol = 1e-3                          # refined to it, as by `Adaptive`; also atol, max_points
# operations = ["inversion", "rotation 3 z", "mirror x with time reversal"]   # as of `Symmetric`
# or operations = "group m-3m1'": a magnetic point group, its axis of highest order along z

[levels]
mu = { start = -0.3, stop = 0.6, number = 181 }   # eV; or a number, or a list
temperature = [0, 300]                 # K; a number or a list

[quantity]
name = "spin_hall"
definition = "proper_corrected"        # arguments by name; a list gives one result each
degeneracy = { type = "Covariant", tolerance = 1e-6 }
units = "hbar/2e S/m"

[output]                               # may be left out
path = "bi2se3"                        # bi2se3.nc and bi2se3.png
components = ["zx^y", "xy^z"]          # flow field ^ spin; what the figure shows

[path]                                 # for `jaxspin bands`
points = [[0.2, 0.0, 0.0], [0.0, 0.0, 0.0]]
labels = ["$k_x = 0.2$", "G"]
number = 300
```

Which keys a table takes follows from the signature of what it constructs. Whatever is wrong is a
`ValueError` that names the key, its table, and what is allowed.
"""

import dataclasses
import difflib
import functools
import hashlib
import importlib.util
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path as FilePath
from types import ModuleType
from typing import Any

import jax
import numpy as np

from jaxspin import models, plot, units
from jaxspin.band_structure.degeneracy import Covariant, Strict
from jaxspin.engine.validate import check_integer, is_integer
from jaxspin.integration.levels import Levels
from jaxspin.interop import wannier90
from jaxspin.meshes import mesh as meshes
from jaxspin.meshes.mesh import Adaptive, Mesh
from jaxspin.meshes.path import Path as KPath
from jaxspin.meshes.point_set import PointSet
from jaxspin.models.base import Model
from jaxspin.quantities.quantity import Quantity
from jaxspin.quantities.spin_hall import DEFINITIONS
from jaxspin.responses.listed import RESPONSES, Listed
from jaxspin.responses.response import Response
from jaxspin.symmetry.groups import point_group, point_groups
from jaxspin.symmetry.operations import INVERSION, TIME_REVERSAL, Operation, mirror, rotation
from jaxspin.symmetry.symmetric import AnyMesh, Symmetric

#: The built-in examples, by name.
EXAMPLES = {
    "bi2se3": """\
# Spin Hall conductivity of bulk Bi2Se3 against the Fermi energy.
#     jaxspin scan bi2se3.toml
#     jaxspin bands bi2se3.toml

[model]
name = "TopologicalInsulator.bi2se3"
# Any argument by name, for example a Zeeman energy (eV):
# exchange = [0.0, 0.0, 0.01]

[mesh]
# All of k-space. The scale (1/angstrom) is where the bands have their structure:
# sqrt(|M0|/M2) in the plane and sqrt(|M0|/M1) along z.
type = "Space"
scale = [0.0793, 0.0793, 0.2020]
radial = 192
polar = 96
azimuthal = 8

[levels]
mu = { start = -0.3, stop = 0.6, number = 181 } # eV
temperature = [0, 300]                          # K

[quantity]
name = "spin_hall"
# "conventional", "proper_published", "proper_corrected", "kubo", or a list of them.
definition = "proper_corrected"
units = "hbar/2e S/m"

[output]
path = "bi2se3"               # bi2se3.nc and bi2se3.png
components = ["zx^y", "xy^z"] # flow field ^ spin

[path]
# 1/angstrom for a continuum model, units of the reciprocal vectors for a lattice model.
points = [[0.15, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.3]]
labels = ["$k_x$ = 0.15/Å", "G", "$k_z$ = 0.3/Å"]
"""
}


@dataclasses.dataclass(frozen=True)
class Source:
    """An input file: its tables, and what is needed to find the files it names."""

    text: str
    tables: Mapping[str, Any]
    #: Where files named in it are looked for.
    folder: FilePath
    #: Path of the results without their ending, where [output] does not say.
    stem: str


@dataclasses.dataclass(frozen=True)
class Job:
    """A scan that is ready to run."""

    model: Model
    mesh: AnyMesh
    #: Number of k-points of the mesh; the most that an `Adaptive` takes.
    points: int
    levels: Levels
    #: The function of jaxspin to call.
    function: Callable[..., Response]
    #: Its keyword arguments, once for each result, by the ending of the result's name.
    runs: Mapping[str, Mapping[str, Any]]
    #: Units of the results.
    units: units.Unit
    #: What the figure shows; None leaves the choice to `plot.scan`.
    components: list[str] | None
    #: Path of the results without their ending.
    stem: str
    #: The input, and the file of the user's own model if there is one, for the results to carry.
    record: str


_TABLES = ("model", "mesh", "levels", "quantity", "output", "path")
_PRODUCTS = ("Grid", "Disk", "Ball", "Plane", "Space")
_MESHES = {**{name: getattr(meshes, name) for name in _PRODUCTS}, "PointSet": PointSet}
_DEGENERACIES = {"Covariant": Covariant, "Strict": Strict}


def read_input(path: FilePath) -> Source:
    """Read the input file at `path`.

    Raises:
        ValueError: no such file, no TOML in it, unknown tables.
    """
    if not path.is_file():
        raise ValueError(f"Argument `file` must be an input file, but {path} is not there.")
    try:
        text = path.read_text(encoding="utf-8")
        return _parse_source(text, path.parent, path.stem)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"Argument `file` must be TOML, but {path} is not: {error}.") from error


def load_example(name: str) -> Source:
    """Return a built-in example.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in EXAMPLES:
        raise ValueError(
            f"Argument `example` must be {_one_of(EXAMPLES)}, but is {name!r}."
            + _did_you_mean(name, EXAMPLES)
        )
    return _parse_source(EXAMPLES[name], FilePath(), name)


def prepare_scan(source: Source) -> Job:
    """Prepare the run of `jaxspin scan`, and check everything that can be checked without the sum.

    Raises:
        ValueError: a missing table, an unknown key, a wrong value.
    """
    tables = source.tables
    model, code = _read_model(_require_table(tables, "model"), source.folder)
    listed, runs, unit = _read_quantity(_require_table(tables, "quantity"), model)
    stem, components = _read_output(tables.get("output", {}), source.stem)
    _check_components(components, listed.quantity, model)
    mesh = _read_mesh(_require_table(tables, "mesh"), source.folder)
    return Job(
        model=model,
        mesh=mesh,
        points=_rename_errors("mesh", lambda: _count_points(mesh, model)),
        levels=_read_levels(_require_table(tables, "levels")),
        function=lambda *inputs, **keywords: listed.part(listed.function(*inputs, **keywords)),
        runs=runs,
        units=unit,
        components=components,
        stem=stem,
        record=source.text + code,
    )


def prepare_bands(source: Source) -> tuple[Model, KPath, int, str, str]:
    """Prepare `jaxspin bands`: model, path, number of k-points, stem of the files, record.

    Raises:
        ValueError: a missing table, an unknown key, a wrong value.
    """
    model, code = _read_model(_require_table(source.tables, "model"), source.folder)
    entries = dict(_require_table(source.tables, "path"))
    number = entries.pop("number", 300)
    if not is_integer(number, 2):
        raise ValueError(
            f"Key `number` in table [path] must be an integer above 1, but is {number!r}."
        )
    path = _construct_from_table("path", KPath, entries, more=("number",))
    stem, _ = _read_output(source.tables.get("output", {}), source.stem)
    return model, path, number, stem, source.text + code


# --- tables ---------------------------------------------------------------------------------------


def _parse_source(text: str, folder: FilePath, stem: str) -> Source:
    tables = tomllib.loads(text)
    for name, entries in tables.items():
        if name not in _TABLES:
            raise ValueError(
                f"Table [{name}] is unknown.{_did_you_mean(name, _TABLES)} "
                f"Allowed: {', '.join(f'[{table}]' for table in _TABLES)}."
            )
        if not isinstance(entries, dict):
            raise ValueError(f"[{name}] must be a table, but is {entries!r}.")
    return Source(text, tables, folder, stem)


def _require_table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if name not in tables:
        raise ValueError(f"The input file must have a table [{name}], but has none.")
    return tables[name]


def _read_model(entries: Mapping[str, Any], folder: FilePath) -> tuple[Model, str]:
    """Return the model, and what identifies it beyond the input.

    That is the code of the user's own file, or the digest of Wannier90 files.
    """
    rest = dict(entries)
    if "wannier90" in rest:
        return _read_wannier90(rest, folder)
    if "file" not in rest:
        if "class" in rest:
            raise ValueError("Key `class` in table [model] needs the key `file` beside it.")
        constructors = _model_constructors()
        constructor = _take_option("model", rest, "name", constructors)
        return _construct_from_table("model", constructor, rest, more=("name",)), ""
    if "name" in rest:
        raise ValueError("Table [model] must have either `name` or `file`, but has both.")
    path = folder / _check_text("model", "file", rest.pop("file"))
    if not path.is_file():
        raise ValueError(f"Key `file` in table [model] must be a file, but {path} is not there.")
    constructor = _take_option("model", rest, "class", _own_models(_import_file(path), path))
    model = _construct_from_table("model", constructor, rest, more=("file", "class"))
    return model, f"\n# {path.name}\n{path.read_text(encoding='utf-8')}"


def _read_wannier90(entries: dict[str, Any], folder: FilePath) -> tuple[Model, str]:
    for key in entries:
        _check_known("model", key, ("wannier90", "lattice", "centres", "spin_order", "symmetrise"))
    seed = folder / _check_text("model", "wannier90", entries["wannier90"])
    choices: Any = {key: value for key, value in entries.items() if key != "wannier90"}
    try:
        model = _rename_errors("model", lambda: wannier90.read(seed, **choices))
    except FileNotFoundError as error:
        raise ValueError(f"Key `wannier90` in table [model]: {error}") from error
    digest = hashlib.sha256()
    for array in jax.tree.leaves(model):
        digest.update(np.ascontiguousarray(array).data)
    return model, f"\n# {seed.name}: sha256 of the model {digest.hexdigest()}\n"


def _model_constructors() -> dict[str, Callable[..., Model]]:
    """List the models of jaxspin that an input file can describe, and their named constructors."""
    found: dict[str, Callable[..., Model]] = {}
    for name, cls in vars(models).items():
        if not (inspect.isclass(cls) and issubclass(cls, Model)) or inspect.isabstract(cls):
            continue
        if cls in (
            models.Sum,
            models.Scaled,
            models.WithOperators,
            models.WithSpin,
        ):  # made of other models
            continue
        found[name] = cls
        for attribute, value in vars(cls).items():
            if isinstance(value, classmethod) and not attribute.startswith("_"):
                found[f"{name}.{attribute}"] = getattr(cls, attribute)
    return found


def _import_file(path: FilePath) -> ModuleType:
    """Import the user's file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(
            f"Key `file` in table [model] must be a Python file, but is {path.name!r}."
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        raise ValueError(
            f"Key `file` in table [model]: {path} fails with {type(error).__name__}: {error}."
        ) from error
    return module


def _own_models(module: ModuleType, path: FilePath) -> dict[str, type[Model]]:
    found = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Model)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    }
    if not found:
        raise ValueError(
            f"Key `file` in table [model] must hold a subclass of jaxspin.Model that defines "
            f"dimension, __call__ and spin, but {path} holds none."
        )
    return found


def _read_mesh(entries: Mapping[str, Any], folder: FilePath) -> AnyMesh:
    """Mesh, refined to the tolerance and reduced by the operations that the table names."""
    rest = dict(entries)
    names = rest.pop("operations", None)
    tolerance = {key: rest.pop(key) for key in _TOLERANCE if key in rest}
    whole = _read_whole_mesh(rest, folder)
    if tolerance:
        tolerance = {"rtol": 0.0, **tolerance}
        whole = _rename_errors("mesh", lambda: Adaptive(whole, **tolerance))
    if names is None:
        return whole
    listed = names if isinstance(names, list) else [names]
    operations = [one for name in listed for one in _parse_operations(name)]
    return _rename_errors("mesh", lambda: Symmetric(whole, operations))


# Keys of a mesh that is refined: the arguments of `Adaptive`.
_TOLERANCE = ("rtol", "atol", "max_points")


def _count_points(mesh: AnyMesh, model: Model) -> int:
    """The number of points that are summed, of an `Adaptive` at most."""
    if isinstance(mesh, Adaptive):
        return mesh.max_points
    if not isinstance(mesh, Symmetric):
        return mesh.size
    if isinstance(mesh.mesh, Adaptive):
        mesh.wedge(model.lattice)  # refuses what cannot be reduced
        return mesh.mesh.max_points
    return mesh.folded(model.lattice).size


def _parse_operations(name: Any) -> tuple[Operation, ...]:
    """The operation of a name, or generators of a point group, "group m-3m1'"."""
    label = str(name).removeprefix("group ")
    if label == str(name):
        return (_parse_operation(name),)
    if label not in point_groups():
        raise ValueError(
            "Key `operations` in table [mesh] must name one of the 122 magnetic point groups, such "
            f'as "group m-3m1\'" or "group 4/mmm(4/m)", but is {name!r}.'
        )
    return point_group(label).generators


def _parse_operation(name: Any) -> Operation:
    """Operation of a name such as "rotation 3 z" or "mirror x with time reversal"."""
    text = str(name)
    plain = text.removesuffix(" with time reversal")
    turned = plain != text
    match plain.split():
        case ["time", "reversal"] if not turned:
            return TIME_REVERSAL
        case ["inversion"]:
            return Operation(text, INVERSION.matrix, turned)
        case ["mirror", ("x" | "y" | "z") as axis]:
            return mirror(axis, time_reversal=turned)
        case ["rotation", order, ("x" | "y" | "z") as axis] if order.isdecimal() and int(order):
            return rotation(int(order), axis, time_reversal=turned)
    raise ValueError(
        'Key `operations` in table [mesh] must be names such as "time reversal", "inversion", '
        '"rotation 3 z", "mirror x with time reversal" and "group m-3m", '
        f"but is {name!r}."
    )


def _read_whole_mesh(entries: Mapping[str, Any], folder: FilePath) -> Mesh:
    """Mesh; the points of a `PointSet` stand in the table or in a file next to it."""
    if entries.get("type") != "PointSet":
        return _construct_typed("mesh", entries, _MESHES)
    rest = {key: value for key, value in entries.items() if key not in ("type", "comparison")}
    comparison = None
    if "comparison" in entries:
        comparison = _read_point_set("mesh.comparison", entries["comparison"], folder)
    return _read_point_set("mesh", rest, folder, comparison)


def _read_point_set(table: str, entries: Any, folder: FilePath, comparison=None) -> PointSet:
    if not isinstance(entries, dict):
        raise ValueError(f"[{table}] must be a table, but is {entries!r}.")
    rest = dict(entries)
    if "file" in rest:
        points = _read_points(table, folder / _check_text(table, "file", rest.pop("file")))
        rest |= {"k_points": points[:, :-1].tolist(), "weights": points[:, -1].tolist()}
    constructor = functools.partial(PointSet, comparison=comparison)
    return _construct_from_table(table, constructor, rest, more=("type", "file"))


def _read_points(table: str, path: FilePath) -> np.ndarray:
    """Coordinates and weight of each point, a line each; what follows a # is left out."""
    try:
        points = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Key `file` in table [{table}] must be a file of numbers, a line of coordinates and "
            f"weight for each point, but {path} is not: {error}."
        ) from error
    if points.shape[0] == 0 or points.shape[1] < 2:
        raise ValueError(
            f"Key `file` in table [{table}] must have coordinates and a weight in each line, "
            f"but {path} holds numbers of shape {points.shape}."
        )
    return points


def _read_levels(entries: Mapping[str, Any]) -> Levels:
    rest = dict(entries)
    mu = rest.get("mu")
    if isinstance(mu, dict):
        rest["mu"] = _construct_from_table("levels.mu", _evenly_spaced, mu)
    return _construct_from_table("levels", Levels, rest)


def _evenly_spaced(start: float, stop: float, number: int) -> list[float]:
    check_integer("number", number, 1)
    return np.linspace(start, stop, number).tolist()


def _read_quantity(
    entries: Mapping[str, Any], model: Model
) -> tuple[Listed, dict[str, dict[str, Any]], units.Unit]:
    """Return the quantity, its keyword arguments for each run, and its units."""
    rest = dict(entries)
    listed = _take_option("quantity", rest, "name", RESPONSES)
    default = listed.quantity.unit(model.dimension)
    if "relaxation_time" in rest:
        default = units.times_femtoseconds(default)
    unit: Any = _check_text("quantity", "units", rest.pop("units", default))
    _rename_errors("quantity", lambda: units.conversion(default, unit))
    known = {
        name: parameter
        for name, parameter in inspect.signature(listed.function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in ("progress", "checkpoint")
    }
    _check_keys("quantity", rest, known, ("name", "units"))
    if "degeneracy" in rest:
        rest["degeneracy"] = _construct_typed(
            "quantity.degeneracy", rest["degeneracy"], _DEGENERACIES
        )
    if "bands" in rest:
        rest["bands"] = _check_indices("quantity", "bands", rest["bands"])
    if "definition" not in known:
        return listed, {"": rest}, unit
    definitions = rest.pop("definition", None)
    several = definitions if isinstance(definitions, list) else [definitions]
    for definition in several:
        _look_up("quantity", "definition", definition, DEFINITIONS)
    if not several or len(set(several)) < len(several):
        raise ValueError(
            "Key `definition` in table [quantity] must hold each definition once, "
            f"but is {definitions!r}."
        )
    ending = (lambda d: f"_{d}") if isinstance(definitions, list) else (lambda d: "")
    return listed, {ending(d): {"definition": d, **rest} for d in several}, unit


def _read_output(entries: Mapping[str, Any], stem: str) -> tuple[str, list[str] | None]:
    for key in entries:
        _check_known("output", key, ("path", "components"))
    components = entries.get("components")
    return _check_text("output", "path", entries.get("path", stem)), components


def _check_components(components, quantity: Quantity, model: Model) -> None:
    if components is None:
        return
    axes = tuple(axis.name for axis in quantity.axes)
    allowed = plot.component_labels(axes, model.dimension)
    if not quantity.axes:
        raise ValueError(
            "Key `components` in table [output] must be left out: this quantity has none."
        )
    if not isinstance(components, list) or not components:
        raise ValueError(
            "Key `components` in table [output] must be a list of labels such as "
            f"{list(allowed)[1]!r}, but is {components!r}."
        )
    for label in components:
        _look_up("output", "components", label, allowed)


# --- keys and values ------------------------------------------------------------------------------


def _construct_typed(table: str, entries: Any, types: Mapping[str, Callable[..., Any]]) -> Any:
    """Construct the object that a table with the key `type` describes."""
    if not isinstance(entries, dict):
        raise ValueError(f"[{table}] must be a table with the key `type`, but is {entries!r}.")
    rest = dict(entries)
    return _construct_from_table(
        table, _take_option(table, rest, "type", types), rest, more=("type",)
    )


def _construct_from_table(
    table: str,
    constructor: Callable[..., Any],
    entries: Mapping[str, Any],
    more: tuple[str, ...] = (),
) -> Any:
    """Call the constructor with the entries of a table, after checking them.

    Args:
        more: keys of the table that are not for the constructor, for the message.
    """
    known = _constructor_parameters(constructor)
    _check_keys(table, entries, known, more)
    for key, value in entries.items():
        _check_kind(table, key, value, known[key])
    return _rename_errors(table, lambda: constructor(**entries))


def _constructor_parameters(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the arguments that a constructor takes by name.

    One that passes the rest on to its class (`**changes`) takes the arguments of the class too.
    """
    parameters = inspect.signature(constructor).parameters
    named = {k: p for k, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    if len(named) < len(parameters):
        fields = inspect.signature(getattr(constructor, "__self__")).parameters  # noqa: B009
        given = {k: p.replace(default=None) for k, p in fields.items() if p.default is p.empty}
        named = {**fields, **given, **named}
    return named


def _check_keys(table: str, entries, known: Mapping[str, inspect.Parameter], more) -> None:
    for key in entries:
        _check_known(table, key, (*more, *known))
    needed = [key for key, parameter in known.items() if parameter.default is parameter.empty]
    for key in needed:
        if key not in entries:
            raise ValueError(
                f"Table [{table}] must have the key `{key}`, but does not. "
                f"Needed: {', '.join((*more[:1], *needed))}."
            )


def _check_known(table: str, key: str, allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    if key not in allowed:
        raise ValueError(
            f"Key `{key}` in table [{table}] is unknown.{_did_you_mean(key, allowed)} "
            f"Allowed: {', '.join(allowed)}."
        )


def _check_kind(table: str, key: str, value: Any, parameter: inspect.Parameter) -> None:
    """Check that text, true/false and numbers stand where they belong.

    What belongs follows from the annotation and the default; numbers where those say nothing.
    """
    words = set(re.findall(r"\w+", str(parameter.annotation))) | {type(parameter.default).__name__}
    kinds: dict[str, tuple[type, ...]] = {}
    if "str" in words:
        kinds["text"] = (str,)
    if "bool" in words:
        kinds["true or false"] = (bool,)
    if not kinds or words & {"int", "float", "Array", "ArrayLike"}:
        kinds["a number or a list of numbers"] = (int, float)
    leaves = list(_list_leaves(value))
    if any(all(type(leaf) in types for leaf in leaves) for types in kinds.values()):
        return
    expected = " or ".join(kinds)
    raise ValueError(f"Key `{key}` in table [{table}] must be {expected}, but is {value!r}.")


def _list_leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _list_leaves(item)
    else:
        yield value


def _take_option(table: str, entries: dict[str, Any], key: str, options: Mapping[str, Any]) -> Any:
    """Take `key` out of the entries and look its value up."""
    if key not in entries:
        raise ValueError(
            f"Table [{table}] must have the key `{key}`, but does not. "
            f"Allowed: {_list_options(options)}."
        )
    return _look_up(table, key, entries.pop(key), options)


def _look_up(table: str, key: str, value: Any, options: Mapping[str, Any]) -> Any:
    if not isinstance(value, str) or value not in options:
        raise ValueError(
            f"Key `{key}` in table [{table}] must be {_one_of(options)}, but is {value!r}."
            + _did_you_mean(value, options)
        )
    return options[value]


def _check_text(table: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"Key `{key}` in table [{table}] must be text, but is {value!r}.")
    return value


def _check_indices(table: str, key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(map(is_integer, value)):
        raise ValueError(
            f"Key `{key}` in table [{table}] must be a list of integers, but is {value!r}."
        )
    return tuple(value)


def _rename_errors(table: str, call: Callable[[], Any]) -> Any:
    """Call, with errors about an argument turned into errors about a key of the table."""
    try:
        return call()
    except ValueError as error:
        message = re.sub(r"^Argument (`\w+`)", rf"Key \1 in table [{table}]", str(error))
        prefix = "" if message.startswith("Key ") else f"Table [{table}]: "
        raise ValueError(prefix + message) from error
    except TypeError as error:
        raise ValueError(f"Table [{table}]: {error}") from error


def _list_options(options: Iterable[str]) -> str:
    return ", ".join(map(repr, options))


def _one_of(options: Iterable[str]) -> str:
    options = list(options)
    return f"one of {_list_options(options)}" if len(options) > 1 else _list_options(options)


def _did_you_mean(word: Any, options: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(word), list(options), n=1)
    return f" Did you mean `{close[0]}`?" if close else ""
