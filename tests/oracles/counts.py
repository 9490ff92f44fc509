"""Counts of the package's names, docstrings and functions, with the limits of CONTRIBUTING.md.

`python tests/oracles/counts.py` prints them by room, and what is above a limit one by one.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2] / "jaxspin"

#: Most that is allowed: shares of all names and of all docstrings, and numbers of each function.
ONE_WORD, PARTICIPLES, QUESTIONS = 0.35, 0.02, 0.02
POSITIONAL, LINES = 5, 50

_PARTICIPLE = re.compile(
    r"\w{2,}(ed|ing)|begun|bound|built|chosen|drawn|found|given|gone|held|hidden|kept|known|laid"
    r"|left|lost|made|met|seen|sent|shown|spun|taken|thrown|told|torn|worn|written"
)
_NOUN = re.compile(
    "embedding|heading|scattering|screening|setting|smearing|spacing|speed|splitting|string"
)
_QUESTION = re.compile(r"(What|How|Where|Whether)\b")


@dataclass(frozen=True)
class Definition:
    """A function, class or module of the package."""

    room: str
    place: str
    node: ast.FunctionDef | ast.ClassDef | ast.Module

    @property
    def is_function(self) -> bool:
        """True for functions with a name of their own choice, methods and properties too."""
        return isinstance(self.node, ast.FunctionDef) and not self.node.name.startswith("__")

    @property
    def word(self) -> str | None:
        """The name without underscores in front, if it is a single word."""
        name = self.node.name.strip("_")
        return None if "_" in name else name

    @property
    def positional(self) -> int:
        """Arguments that may be given by position."""
        arguments = self.node.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
        return len([name for name in names if name not in ("self", "cls")])

    @property
    def lines(self) -> int:
        """Lines from `def` to the end, with the docstring."""
        return self.node.end_lineno - self.node.lineno + 1

    @property
    def docstring(self) -> str | None:
        return ast.get_docstring(self.node)


def is_participle(word: str) -> bool:
    """True for `seen`, `turned`, `leaving`: a name that says neither what is done nor to what."""
    return bool(_PARTICIPLE.fullmatch(word)) and not _NOUN.fullmatch(word)


def read_definitions(root: Path = ROOT) -> list[Definition]:
    """Every function, class and module below a folder."""

    def of_file(path: Path) -> Iterator[Definition]:
        place = path.relative_to(root)
        syntax = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(syntax):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                name = getattr(node, "name", "module")
                yield Definition(place.with_suffix("").parts[0], f"{place}: {name}", node)

    return [found for path in sorted(root.rglob("*.py")) for found in of_file(path)]


@dataclass(frozen=True)
class Counts:
    """What is counted of some definitions, each as the list of the offenders and of all."""

    functions: list[Definition]
    documented: list[Definition]

    @classmethod
    def of(cls, definitions: list[Definition]) -> "Counts":
        functions = [found for found in definitions if found.is_function]
        return cls(functions, [found for found in definitions if found.docstring])

    @property
    def one_word(self) -> list[Definition]:
        return [found for found in self.functions if found.word]

    @property
    def participles(self) -> list[Definition]:
        return [found for found in self.one_word if is_participle(found.word)]

    @property
    def questions(self) -> list[Definition]:
        """Docstrings that begin with a question's word and not with what is returned or done."""
        return [found for found in self.documented if _QUESTION.match(found.docstring)]

    @property
    def crowded(self) -> list[Definition]:
        return [found for found in self.functions if found.positional > POSITIONAL]

    @property
    def long(self) -> list[Definition]:
        return [found for found in self.functions if found.lines > LINES]

    def share_of(self, name: str) -> float:
        everything = self.documented if name == "questions" else self.functions
        return len(getattr(self, name)) / max(len(everything), 1)


def describe(counts: Counts) -> str:
    """The counts in one line."""
    shares = " ".join(
        f"{counts.share_of(name):10.1%}" for name in ("one_word", "participles", "questions")
    )
    return f"{len(counts.functions):6d} {shares} {len(counts.crowded):8d} {len(counts.long):6d}"


def main() -> None:
    definitions = read_definitions()
    title = f"{'functions':>9} {'one word':>10} {'participle':>10} {'questions':>10}"
    print(f"{'':15} {title} {'crowded':>8} {'long':>6}")
    for room in sorted({found.room for found in definitions}):
        inside = Counts.of([found for found in definitions if found.room == room])
        print(f"{room:18} {describe(inside)}")
    everything = Counts.of(definitions)
    print(f"{'all':18} {describe(everything)}")
    for name in ("crowded", "long", "questions", "participles"):
        for found in getattr(everything, name):
            print(f"{name:12} {found.place}")


if __name__ == "__main__":
    main()
