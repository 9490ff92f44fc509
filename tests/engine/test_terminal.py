"""Printing where the terminal lacks Greek letters."""

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from example_response import response

import jaxspin as js
from jaxspin.engine.terminal import printable, warn_user


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize(
    ("text", "encoding", "printed"),
    [
        ("σ_ab = (e²/ħ) Σ f Ω_ab", "utf-8", "σ_ab = (e²/ħ) Σ f Ω_ab"),
        ("σ_ab = (e²/ħ) Σ f Ω_ab", "latin-1", "sigma_ab = (e²/hbar) Sum f Omega_ab"),
        ("σ_ab = (e²/ħ) Σ f Ω_ab", "ascii", "sigma_ab = (e^2/hbar) Sum f Omega_ab"),
        ("½⟨ψ|∂H|ψ⟩ ≠ 1 ± 2", "ascii", "1/2<psi|dH|psi> != 1 +- 2"),
        ("m̂ · Γ, Drude–Lorentz, é", "ascii", "m   Gamma, Drude-Lorentz, e"),
        ("Φ 電", "ascii", "Phi ?"),
        ("plain", "ascii", "plain"),
        ("σ", "cp1252", "sigma"),
        ("σ", "cp437", "σ"),
    ],
)
def test_printable(text, encoding, printed):
    assert printable(text, stream(encoding)) == printed


def test_a_stream_without_encoding_takes_all(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert printable("σ") == "σ"
    monkeypatch.setattr(sys, "stdout", None)
    assert printable("σ") == "σ"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_response_prints_in_latin_letters(monkeypatch, encoding):
    """Alone and in a list; ASCII is what the least terminal has."""
    terminal = stream(encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        print(response())
        print([response()])
    terminal.flush()
    assert terminal.buffer.getvalue().decode(encoding).count("sigma = Sum f Omega") == 2
    assert "σ = Σ f Ω" in str(response())


def texts_of_methods():
    """The methods that print an object, with their source."""
    package = Path(js.__file__).parent
    for path in package.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and node.name in ("__repr__", "__str__"):
                yield (
                    f"{path.relative_to(package)}:{node.lineno}",
                    ast.get_source_segment(source, node),
                )


def test_what_prints_signs_spells_them_out():
    found = dict(texts_of_methods())
    assert len(found) > 8
    assert [
        place for place, text in found.items() if not text.isascii() and "printable" not in text
    ] == []


def texts_of_messages(source: str) -> dict[tuple[int, int], str]:
    """The texts that errors and warnings are made of, by line and column; also those handed to a
    function that makes an error, such as `file_error`."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        called = getattr(node, "func", None)
        name = getattr(called, "attr", getattr(called, "id", ""))
        if isinstance(node, ast.Raise) or name.endswith(("Error", "Warning", "warn", "warn_user")):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    found[part.lineno, part.col_offset] = part.value
    return found


def test_errors_and_warnings_are_ascii():
    """Python prints \\u0127 for ħ in an error where the terminal lacks the letter."""
    bad = 'def f(x):\n    raise ValueError(f"must be in Å{x}")\nwarn_user("µ")\n"""Å"""'
    assert sorted(texts_of_messages(bad).values()) == ["must be in Å", "µ"]
    package, number, found = Path(js.__file__).parent, 0, []
    for path in package.rglob("*.py"):
        texts = texts_of_messages(path.read_text(encoding="utf-8"))
        number += len(texts)
        found += [(path.name, at[0], text) for at, text in texts.items() if not text.isascii()]
    assert number > 500
    assert found == []


def test_traced_results_print_in_ascii(monkeypatch):
    terminal = stream("ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    jax.jit(lambda r: print(r) or r.value)(response())


FILM = """
[model]
name = "QiWuZhang"
A = 1.0
m = -1.0
[mesh]
type = "Grid"
shape = [8, 8]
[levels]
mu = [0.0, 0.5]
[quantity]
name = "torque_density"
[output]
path = "σ"
"""


@pytest.mark.parametrize("arguments", [["scan", "in.toml"], ["scan"]])
def test_command_line(tmp_path, arguments):
    (tmp_path / "in.toml").write_text(FILM, encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "jaxspin.cli", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=300,
        check=False,
    )
    printed, complained = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert done.returncode == (2 if arguments == ["scan"] else 0), complained
    if arguments == ["scan", "in.toml"]:
        assert "formula  Tr t rho_E = (e/2) Sum f_m 2 Im Sum_n s_nm R^b_mn" in printed
        assert "wrote sigma.nc and sigma.png" in printed
        assert (tmp_path / "σ.nc").exists()


def test_warning_in_the_letters_of_the_terminal(monkeypatch):
    """Python would write \\u03c4 in place of τ; the line is that of the caller."""
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), "latin-1"))
    with pytest.warns(UserWarning, match=r"^rates of 1/tau, in ²$") as caught:
        warn_user("rates of 1/τ, in ²")
    assert caught[0].filename == __file__
