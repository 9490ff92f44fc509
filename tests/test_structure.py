"""The shape of the package: imports run downwards, public names say what they are, no prints."""

import ast
import re
from pathlib import Path

import counts
import pytest

import jaxspin

ROOT = Path(jaxspin.__file__).parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")
}

#: The rooms, lowest first, and what each knows. A room imports rooms above it in this table only.
ROOMS = {
    "engine": "compiled programs, small matrices, tolerances, files, devices; no physics",
    "units": "constants and units",
    "meshes": "points of k-space and their weights",
    "models": "H(k): models, what they are made of, and the checks of a user's model",
    "band_structure": "the bands at one k: degenerate groups, geometry, density matrix",
    "quantities": "the weights of each band, and everything that is said of a response",
    "symmetry": "magnetic point groups, meshes reduced by them, and the forms that they allow",
    "integration": "problem, levels, and the sum over a mesh with its error",
    "responses": "the public functions, the results and their files",
    "surfaces": "points on Fermi surfaces, and thermal averages over them",
    "downfold": "effective models of fewer bands",
    "disorder": "responses of disordered conductors by mechanism",
    "spin_transfer": "spin-transfer torque, and its way into micromagnetics",
    "reference": "slow solvers that import nothing but units, to check the others against",
    "fitting": "fits to measurements",
    "interop": "other codes and their files",
    "plot": "figures",
    "cli": "the command line and its input files",
}
LEVEL = {room: level for level, room in enumerate(ROOMS)}


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


def level(name: str) -> int:
    return LEVEL[name.split(".")[0]]


@pytest.mark.parametrize("name", sorted(set(FILES) - {"__init__", "__main__"}))
def test_imports_run_downwards(name):
    """Through the package itself nothing is imported, for it imports everything."""
    assert "__init__" not in GRAPH[name] or imports_only_submodules(name)
    upward = {other for other in GRAPH[name] - {"__init__"} if level(other) > level(name)}
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
    assert level("cli") > level("responses.fermi_sea") > level("integration.integrate")
    upward = imports(ast.parse("def f():\n    from jaxspin.cli import app"))
    assert level(upward.pop()) > level("integration.levels")


def table_of_rooms() -> str:
    rows = (f"| `{room}` | {known} |" for room, known in ROOMS.items())
    return "\n".join(("| room | what it knows |", "|---|---|", *rows))


def test_every_folder_is_a_room():
    assert {name.split(".")[0] for name in FILES} - {"__init__"} == set(ROOMS)


def test_contributing_has_the_table_of_rooms():
    page = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert table_of_rooms() in page, f"CONTRIBUTING.md must have\n{table_of_rooms()}"


HINTS = {"compute_once", "materialize", "separate_kernel", "single_kernel", "stored_kernel"}


def hints_in_code(syntax: ast.Module) -> list[int]:
    """Lines where a hint to the compiler, or an option of its own, stands and is no decorator."""
    decorators = {
        id(part)
        for node in ast.walk(syntax)
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        for part in ast.walk(decorator)
    }
    return [
        node.lineno
        for node in ast.walk(syntax)
        if id(node) not in decorators
        and (
            (isinstance(node, ast.Name) and node.id in HINTS)
            or (isinstance(node, ast.Constant) and str(node.value).startswith("xla_"))
        )
    ]


@pytest.mark.parametrize("name", [n for n in sorted(FILES) if not n.startswith("engine.")])
def test_physics_does_not_speak_of_the_compiler(name):
    """The package's own `__init__` sets the flags with which the compiler starts."""
    assert not hints_in_code(tree(name)) or name == "__init__"


def test_a_hint_in_code_is_found():
    code = "@separate_kernel\ndef f(x):\n    return materialize(x), {'xla_fast': 1}"
    assert hints_in_code(ast.parse(code)) == [3, 3]


def comparisons_with_the_adjoint(syntax: ast.AST) -> list[str]:
    """Calls such as `abs(a - a.conj().T)`."""
    calls = (ast.unparse(node) for node in ast.walk(syntax) if isinstance(node, ast.Call))
    comparison = re.compile(r"(\w+\.)?(abs|allclose|isclose)\(")
    adjoint = re.compile(r"dagger\(|conj(ugate)?\(.*\)\.(T\b|swapaxes|transpose)")
    return [call for call in calls if comparison.match(call) and adjoint.search(call)]


def test_hermitian_matrices_are_recognised_in_one_place():
    """The solvers of `reference` share nothing, and have their own."""
    found = {name for name in FILES if comparisons_with_the_adjoint(tree(name))}
    assert found == {"engine.validate", "reference.hamiltonians"}


def test_a_comparison_with_the_adjoint_is_found():
    for code in ("np.abs(a - a.conj().T)", "jnp.allclose(a, dagger(a))"):
        assert comparisons_with_the_adjoint(ast.parse(code))


def repeated_classes(trees: dict[str, ast.AST]) -> dict[str, list[str]]:
    """Names that several classes have, with or without an underscore in front."""
    places: dict[str, list[str]] = {}
    for name, syntax in trees.items():
        for node in ast.walk(syntax):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(name)
    return {word: found for word, found in places.items() if len(found) > 1}


def test_every_class_has_a_name_of_its_own():
    """So that a name in an error, or in a search, means one thing."""
    assert not repeated_classes({name: tree(name) for name in FILES})


def test_a_name_of_two_classes_is_found():
    trees = {"a": ast.parse("class Sum: pass"), "b": ast.parse("def f():\n    class _Sum: pass")}
    assert repeated_classes(trees) == {"Sum": ["a", "b"]}


#: Checks that have one function in `engine.validate`: calls in what guards an error, ...
_ASKED = re.compile(
    r"\b(isfinite|isnan|isinf|issubdtype|iscomplexobj|isrealobj|can_cast|callable)\("
    r"|\.dtype\.kind\b"
    r"|isinstance\([^()]*, [^()]*\b(int|float|integer|floating|number|Integral|Real)\b"
    r"|type\([^()]*\) is (not )?(int|float)\b"
    r"|isinstance\(.*but is of type"
    r"|\b(allclose|isclose)\(.*\.T\b|\.is_dir\(|linalg\.det\("
)
#: ... a sign, in an error that speaks of it, ...
_SIGN = re.compile(r"(?<![\w.])[<>]=? 0\b|(?<![\w.])0 [<>]=? ")
_SIGN_IN_WORDS = re.compile(r"\b(positive|negative|at least 0)\b")
#: ... and the words of the error.
_WORDS = re.compile(r"must (be one of (?!the )|have shape )")
_ARGUMENT = re.compile(r"(Argument|Key) `.*must")


def written_text(node: ast.AST) -> str:
    """The text of an error, without what is filled in."""
    parts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return "".join(part for part in parts if isinstance(part, str))


def expand_names(test: ast.expr, function: ast.AST) -> str:
    """A condition, with what its names were last given in the function."""
    given = {
        target.id: ast.unparse(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    return " ".join([ast.unparse(test), *(given[name] for name in sorted(names & given.keys()))])


def home_made_checks(syntax: ast.AST) -> list[int]:
    """Lines of errors for a property for which `engine.validate` has a check."""
    found = set()
    for function in (n for n in ast.walk(syntax) if isinstance(n, ast.FunctionDef)):
        for node in (n for n in ast.walk(function) if isinstance(n, ast.If)):
            errors = [x for x in node.body if isinstance(x, ast.Raise)]
            text = written_text(errors[0]) if errors else ""
            test = f"{expand_names(node.test, function)} {text}"
            sign = _SIGN.search(ast.unparse(node.test)) and _SIGN_IN_WORDS.search(text)
            if _ARGUMENT.search(text) and (_ASKED.search(test) or sign or _WORDS.search(text)):
                found.add(node.lineno)
    return sorted(found)


#: `small_matrices` is below `validate`; units and the solvers of `reference` share nothing.
_OWN_CHECKS = {"engine.validate", "engine.small_matrices", "units"}


@pytest.mark.parametrize("name", sorted(set(FILES) - _OWN_CHECKS))
def test_a_property_is_checked_in_one_place(name):
    lines = [] if name.startswith("reference.") else home_made_checks(tree(name))
    assert not lines, f"lines {lines} of {name}: use a function of engine/validate.py"


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("not np.all(np.isfinite(x))", "Argument `x` must be finite"),
        ("not isinstance(x, int | np.integer)", "Argument `x` must be an integer"),
        ("x.dtype.kind not in 'iuf'", "Argument `x` must be real"),
        ("x <= 0", "Argument `x` must be positive"),
        ("not np.allclose(x @ x.T, np.eye(3))", "Argument `x` must be a rotation"),
        ("x not in NAMES", "Argument `x` must be one of 'a', 'b'"),
        ("x.shape != (3,)", "Argument `x` must have shape (3,)"),
        ("wrong", "Argument `x` must be finite"),
    ],
)
def test_a_home_made_check_is_found(condition, text):
    error = f"        raise ValueError({text!r})"
    code = f"def f(x):\n    wrong = ~np.isfinite(x)\n    if {condition}:\n{error}"
    assert home_made_checks(ast.parse(code)) == [3]


def test_a_check_of_another_property_is_none():
    code = (
        "def f(x):\n    if len(x) < 2:\n        raise ValueError('Argument `x` must have two ends')"
    )
    assert not home_made_checks(ast.parse(code))


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


@pytest.mark.parametrize("name", sorted(set(FILES) - {"cli.commands"}))
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


def test_counts_find_what_they_count():
    line = "def _seen(a, b, c, d, e, f):\n    'Where it goes.'\n"
    written = ast.parse(line + "    pass\n" * 50).body[0]
    found = counts.Counts.of([counts.Definition("room", "file: _seen", written)])
    for name in ("one_word", "participles", "questions", "crowded", "long"):
        assert len(getattr(found, name)) == 1


COUNTED = counts.Counts.of(counts.read_definitions(ROOT))


def places(name: str) -> list[str]:
    return [found.place for found in getattr(COUNTED, name)]


def test_names_say_more_than_one_word():
    """`python tests/oracles/counts.py` counts by room."""
    assert COUNTED.share_of("one_word") <= counts.ONE_WORD
    assert COUNTED.share_of("participles") <= counts.PARTICIPLES, places("participles")


def test_docstrings_say_what_is_returned_or_done():
    assert COUNTED.share_of("questions") <= counts.QUESTIONS, places("questions")


def test_functions_take_few_arguments_by_position():
    assert not places("crowded")


def test_functions_are_short():
    assert not places("long")


def test_names_of_test_files_differ():
    """Folders of tests are no packages: of two files of one name only one can be imported."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert len(names) > 50
    assert sorted(names) == sorted(set(names))
