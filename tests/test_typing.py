"""The type checker: nothing in the package and in a user's script, each mistake in another."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from runpy import run_path
from typing import get_args

import pytest

from jaxspin import units
from jaxspin.quantities.spin_hall import DEFINITIONS, Definition
from jaxspin.responses.response import Label

ROOT = Path(__file__).parent.parent
MISTAKES = ROOT / "tests" / "typing_mistakes.py"


@cache
def find_errors() -> dict[str, dict[int, str]]:
    """The errors that pyright finds, by file and line, all files in one run.

    Pyright is a program for Node.js, which it downloads where there is none: skipped without.
    """
    pytest.importorskip("pyright", reason="the type checker is not installed")
    files = ["jaxspin", "tests/typing_user.py", "tests/typing_mistakes.py"]
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    try:
        done = subprocess.run(
            [*command, *files],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        pytest.skip(f"the type checker does not start: {type(error).__name__}")
    found: dict[str, dict[int, str]] = {}
    for one in report["generalDiagnostics"]:
        file = Path(one["file"]).relative_to(ROOT).as_posix()
        line = one["range"]["start"]["line"] + 1
        found.setdefault(file, {})[line] = one["message"]
    return found


def test_nothing_is_found_in_the_package_and_in_a_users_script():
    found = find_errors()
    errors = {
        f"{file}:{line}": message
        for file, lines in found.items()
        for line, message in lines.items()
        if not file.endswith(MISTAKES.name)
    }
    assert errors == {}


def test_each_mistake_is_found_and_nothing_else():
    found = find_errors()[MISTAKES.relative_to(ROOT).as_posix()]
    lines = MISTAKES.read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if re.search("# wrong: ", line)}
    assert len(wrong) > 20
    assert {line: lines[line - 1] for line in found.keys() ^ wrong} == {}


def test_type_checkers_know_every_definition():
    assert set(get_args(Definition)) == set(DEFINITIONS)


def test_type_checkers_know_every_unit_and_no_other():
    families = run_path(units.__file__)["_FAMILIES"]  # without what other tests have added
    every = [unit for family in families.values() for unit in family]
    assert list(get_args(units.Unit)) == list(dict.fromkeys(every))
    assert all(units.canonical(unit) == unit for unit in get_args(units.Unit))


def test_type_checkers_know_every_label():
    assert get_args(Label) == ("x", "y", "z")


def test_type_checkers_are_told_that_the_package_has_types():
    assert (ROOT / "jaxspin" / "py.typed").is_file()
