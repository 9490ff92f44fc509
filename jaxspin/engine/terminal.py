"""Text for terminals that lack Greek letters and signs, and warnings at the line of the user."""

import sys
import unicodedata
import warnings

_SIGNS = {
    "ħ": "hbar",
    "Σ": "Sum",
    "Å": "Angstrom",
    "²": "^2",
    "³": "^3",
    "₃": "_3",
    "−": "-",
    "–": "-",
    "·": " ",
    "×": "x",
    "±": "+-",
    "½": "1/2",
    "∂": "d",
    "⟨": "<",
    "⟩": ">",
    "†": "^dagger",
    "≠": "!=",
    "≤": "<=",
    "≥": ">=",
    "√": "sqrt",
    "∞": "inf",
    "→": "->",
    "°": " degrees",
}


def printable(text: str, stream=None) -> str:
    """Return a text as a stream can print it: what its encoding lacks is spelt out.

    Args:
        stream: standard output if None.

    >>> import io
    >>> printable("σ_ab = (e²/ħ) Σ f_m Ω_ab", io.TextIOWrapper(io.BytesIO(), "latin-1"))
    'sigma_ab = (e²/hbar) Sum f_m Omega_ab'
    """
    encoding = getattr(sys.stdout if stream is None else stream, "encoding", None) or "utf-8"
    if _can_encode(encoding, text):
        return text
    return "".join(sign if _can_encode(encoding, sign) else _spell_out(sign) for sign in text)


def warn_user(text: str) -> None:
    """Warn, as at the line of the user's code that called the package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(printable(text, sys.stderr), stacklevel=level)


_INSIDE = ("jaxspin", "contextlib", "equinox", "jax")  # packages that are not the user's


def _can_encode(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _spell_out(sign: str) -> str:
    """A sign in ASCII: from the table, a Greek letter by its name, others without their accents."""
    name = unicodedata.name(sign, "")
    if sign not in _SIGNS and name.startswith("GREEK") and " LETTER " in name:
        letter = name.split()[-1]
        return letter.capitalize() if "CAPITAL" in name else letter.lower()
    plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    accent = unicodedata.combining(sign) != 0
    return _SIGNS.get(sign, plain or ("" if accent else "?"))
