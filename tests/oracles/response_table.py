"""Models of the tables of independent sums in `tests/responses`: seeded, and known lattices."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

import jaxspin as js

RESPONSES = Path(__file__).parent.parent / "responses"
TABLE = json.loads((RESPONSES / "fermi_surface.json").read_text(encoding="utf-8"))


@lru_cache
def tabled(name: str) -> js.HoppingModel:
    """The model of an entry, from its hopping blocks."""
    given = TABLE["models"][name]["model"]
    blocks, spin = (
        None if given[key] is None else np.array(given[key]["re"]) + 1j * np.array(given[key]["im"])
        for key in ("blocks", "spin")
    )
    return js.HoppingModel(
        given["lattice"], given["cells"], blocks, given["centres_cartesian"], spin
    )
