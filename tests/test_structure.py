"""The shape of the package: imports run downwards, public names say what they are, no prints."""

import ast
from pathlib import Path

import pytest

import jaxspin

ROOT = Path(jaxspin.__file__).parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")
}

#: Lowest first; a module may import from lower layers, and from its own.
LAYERS = (
    (
        "compiled",
        "identity",
        "programs",
        "units",
        "algebra",
        "tolerances",
        "tracing",
        "forward",
        "derivative_rules",
        "progress",
        "distributed",
        "files",
        "terminal",
        "reference",
        "descriptions",
    ),
    ("lattice", "spectrum", "eigensolvers", "unsplit", "rotations"),
    ("models", "meshes", "levels", "symmetry"),
    ("geometry", "quantities", "band_structure", "band_operators", "density_matrices", "checks"),
    ("devices", "checkpoint", "cells", "error_estimates", "near_degeneracies", "integrand"),
    ("problem", "grading", "origin"),
    ("adaptive",),
    ("integrate",),
    ("results", "schema", "resolution"),
    ("responses",),
    (
        "crystal_field_currents",
        "disorder",
        "downfold",
        "filling",
        "spin_transfer",
        "surfaces",
    ),
    ("fitting", "plot", "interop"),
    ("inputs",),
    ("cli",),
)
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}


def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def imports(syntax: ast.AST) -> set[str]:
    """The modules of jaxspin that are imported anywhere, inside functions too."""
    found = set()
    for node in ast.walk(syntax):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "jaxspin":
                found.add(module_of(parts[1:]))
    return found


def module_of(parts: list[str]) -> str:
    """The module that `jaxspin.<parts>` is or is a name of."""
    for length in range(len(parts), 0, -1):
        for name in (".".join(parts[:length]), ".".join([*parts[:length], "__init__"])):
            if name in FILES:
                return name
    return "__init__"


GRAPH = {name: imports(tree(name)) - {name} for name in FILES}


def cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """A cycle of imports, if there is one."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        for other in sorted(graph[name]):
            found = walk(other, [*path, name])
            if found:
                return found
        done.add(name)
        return None

    return next((found for name in sorted(graph) if (found := walk(name, []))), None)


def test_no_cycle():
    assert cycle(GRAPH) is None


def test_a_cycle_is_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def layer(name: str) -> int:
    return LAYER[name.split(".")[0]]


@pytest.mark.parametrize("name", sorted(set(FILES) - {"__init__", "__main__"}))
def test_imports_run_downwards(name):
    """Through the package itself nothing is imported, for it imports everything."""
    assert "__init__" not in GRAPH[name] or imports_only_submodules(name)
    upward = {other for other in GRAPH[name] - {"__init__"} if layer(other) > layer(name)}
    assert not upward


@pytest.mark.parametrize("name", [name for name in sorted(FILES) if name.startswith("reference.")])
def test_reference_shares_nothing_with_what_it_checks(name):
    """A model is called as H(k) there; units and its own modules are all it imports."""
    others = {other for other in GRAPH[name] if other.split(".")[0] not in ("reference", "units")}
    assert not others


def imports_only_submodules(name: str) -> bool:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ImportFrom) and node.module == "jaxspin":
            folders = {file.split(".")[0] for file in FILES}
            return all(alias.name in folders for alias in node.names)
    return False


def test_an_upward_import_is_found():
    assert layer("cli") > layer("responses.fermi_sea") > layer("integrate") > layer("models.base")
    upward = imports(ast.parse("def f():\n    from jaxspin.cli import app"))
    assert layer(upward.pop()) > layer("levels")


def public(body: list[ast.stmt], prefix: str = ""):
    """The public functions and classes, and the methods of public classes that define a name."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node


DEFINITIONS = [
    pytest.param(node, id=f"{name}.{label}")
    for name in sorted(FILES)
    for label, node in public(tree(name).body)
]


@pytest.mark.parametrize("node", DEFINITIONS)
def test_has_a_docstring_that_begins_with_a_sentence(node):
    text = ast.get_docstring(node)
    assert text, f"{node.name} has no docstring"
    assert text.splitlines()[0].strip()


@pytest.mark.parametrize("name", sorted(FILES))
def test_module_has_a_docstring(name):
    assert ast.get_docstring(tree(name))


def prints(syntax: ast.AST) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(syntax)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]


@pytest.mark.parametrize("name", sorted(set(FILES) - {"cli"}))
def test_no_prints(name):
    assert not prints(tree(name))


def test_a_print_is_found():
    assert prints(ast.parse("def f():\n    print(1)")) == [2]


def test_public_names_are_listed_one_by_one():
    """`__init__` is the index: every public name is imported there as itself."""
    syntax = tree("__init__")
    own = [n for n in ast.walk(syntax) if isinstance(n, ast.ImportFrom) and "jaxspin" in n.module]
    names = [alias for node in own for alias in node.names]
    assert names
    assert all(alias.asname == alias.name for alias in names)
    assert all(hasattr(jaxspin, alias.name) for alias in names)
