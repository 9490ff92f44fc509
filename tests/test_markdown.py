"""Every Python block of README, CONTRIBUTING and docs/ runs, and prints what the page says."""

import contextlib
import io
import math
import re
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import pytest

import jaxspin

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

#: A page marks with this comment a block that needs what a reader has and a test has not.
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*$")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Other processors and versions round differently: of the printed numbers, half a unit of the fourth
# digit; and what is zero but for rounding.
RELATIVE, ZERO = 5e-4, 1e-9
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?|\binf\b|\bnan\b")


class Block(NamedTuple):
    """Python in a page, and what stands below it as its output; None if nothing does."""

    line: int
    code: str
    output: str | None
    runs: bool


def blocks(page: str) -> list[Block]:
    fences = list(FENCE.finditer(page))
    found = []
    for i, fence in enumerate(fences):
        if fence[1] != "python":
            continue
        line = page.count("\n", 0, fence.start()) + 2
        following = fences[i + 1] if i + 1 < len(fences) else None
        output = None
        if following and not following[1] and not page[fence.end() : following.start()].strip():
            output = following[2]
        runs = not NOT_RUN.search(page[: fence.start()])
        found.append(Block(line, fence[2], output, runs))
    return found


def same_output(printed: str, expected: str) -> bool:
    """Equal texts with about equal numbers; spaces do not count."""
    texts = ("".join(NUMBER.sub("#", text).split()) for text in (printed, expected))
    if len(set(texts)) > 1:
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(expected), strict=True)
    return all(
        math.isclose(float(a), float(b), rel_tol=RELATIVE, abs_tol=ZERO)
        or (math.isnan(float(a)) and math.isnan(float(b)))
        for a, b in pairs
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page, tmp_path, monkeypatch):
    """Its blocks one after the other in one namespace, from an empty folder."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if not block.runs:
            continue
        place = f"{page.name}, line {block.line}"
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, namespace)
        if block.output is not None:
            text = printed.getvalue()
            assert same_output(text, block.output), f"{place} prints\n{text}"


def test_blocks_and_their_outputs_are_found():
    page = (
        "```python\nprint(1)\n```\n```\n1\n```\nText.\n"
        "```python\nx = 1\n```\nText.\n```\nother\n```\n"
        "<!-- not run: needs Pt -->\n```python\ny\n```\n```bash\nls\n```\n"
    )
    assert blocks(page) == [
        Block(2, "print(1)\n", "1\n", True),
        Block(9, "x = 1\n", None, True),
        Block(17, "y\n", None, False),
    ]


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("a 1.00000 b", "a 1.0001 b", True),
        ("a 1.0 b", "a 1.01 b", False),
        ("a 1.0 b", "a 1.0 c", False),
        ("[1e-17 2.]", "[ 5e-12 2. ]", True),
        ("1 2", "1 2 3", False),
        ("nan", "nan", True),
        ("nan", "1", False),
        ("-1", "1", False),
    ],
)
def test_same_output(printed, expected, same):
    assert same_output(printed, expected) == same


def look_up(name: str):
    return reduce(getattr, name.split("."), jaxspin)


def test_names_of_the_glossary_exist():
    """Properties of classes too."""
    names = re.findall(r"`js\.([\w.]+)", (ROOT / "docs" / "glossary.md").read_text("utf-8"))
    assert len(names) > 50
    for name in names:
        look_up(name)
    with pytest.raises(AttributeError):
        look_up("BandStructure.berry")
