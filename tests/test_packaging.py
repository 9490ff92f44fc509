"""What is declared: every import has its requirement, every requirement its use and a bound."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

#: Where the module has another name than its package.
MODULES = {"pillow": "PIL", "pytest-timeout": "pytest_timeout", "pytest-xdist": "xdist"}
#: Used through another package, a command or a plugin: xarray's engine, pytest's plugins.
NOT_IMPORTED = {"h5netcdf", "pytest_timeout", "xdist", "beartype"}
#: Named by `interop` and imported where they are, which no test of the package needs.
OPTIONAL = {"wannierberri"}


def modules(requirements: list[str]) -> set[str]:
    names = [re.match(r"[\w-]+", text)[0] for text in requirements]
    return {MODULES.get(name, name) for name in names}


def imported(source: str) -> set[str]:
    """Top-level modules that are not of the standard library, imported anywhere in a source."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return {name.split(".")[0] for name in found} - set(sys.stdlib_module_names) - {"jaxspin"}


def imports_in(*folders: str) -> set[str]:
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    own = {path.stem for path in files}
    texts = (path.read_text(encoding="utf-8") for path in files)
    return set().union(*map(imported, texts)) - own


def test_imports_are_found():
    source = "import lineax.solvers\ndef f():\n    from PIL import Image\n    import os, jaxspin"
    assert imported(source) == {"lineax", "PIL"}


def test_the_package_imports_what_it_declares():
    declared = modules(PROJECT["dependencies"])
    found = imports_in("jaxspin") - OPTIONAL - modules(EXTRAS["interop"]) - {"pymablock"}
    assert found == declared - NOT_IMPORTED


def test_tests_examples_and_benchmarks_import_what_is_declared():
    declared = modules([*PROJECT["dependencies"], *EXTRAS["test"], *EXTRAS["interop"]])
    assert imports_in("tests", "examples", "benchmarks") - OPTIONAL <= declared


@pytest.mark.parametrize("text", [*PROJECT["dependencies"], *EXTRAS["test"], *EXTRAS["interop"]])
def test_every_requirement_has_a_lower_bound_and_no_upper_one(text):
    assert re.fullmatch(r"[\w-]+>=[\d.]+", text)


def test_the_accelerator_extras_ask_for_the_same_jax():
    base = next(text for text in PROJECT["dependencies"] if text.startswith("jax>="))
    for extra in ("cuda12", "cuda13"):
        assert EXTRAS[extra] == [base.replace("jax", f"jax[{extra}]", 1)]


LATER = ("matplotlib", "xarray", "pandas", "optimistix", "lineax", "optax", "rich", "h5py")
IMPORTED = f"""
import sys, jaxspin
print([name for name in {LATER} if name in sys.modules])
print("plot" in dir(jaxspin), jaxspin.plot.scan.__name__, "matplotlib" in sys.modules)
"""


def test_what_takes_long_to_import_is_imported_at_first_use():
    """Negative control: `js.plot`, which completion of names knows, imports matplotlib."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[]", "True scan True"], done.stderr
