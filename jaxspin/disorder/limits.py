"""The limit in which a response took bands that are close together, in words.

Splittings Δ of bands against their level width ħ/τ: Δ ≪ ħ/τ, groups that count as degenerate;
Δ ≫ ħ/τ, each band by itself; anything between, pair by pair (docs/disorder.md).
"""

from typing import Literal

import numpy as np
from jaxtyping import Array

from jaxspin.engine.small_matrices import is_traced

#: In the order of Δ τ/ħ.
Limit = Literal["group", "pairwise", "separate"]


def find_limit(info: dict[str, Array]) -> Limit:
    """The limit of a `DisorderedResponse`: "group" if any states at the Fermi energy are degenerate
    with others, else "separate".

    Raises:
        ValueError: inside jit, grad or vmap, where it is not known.
    """
    size = info["group_size"]
    if is_traced(size):
        raise ValueError(
            "Attribute `limit` must be read outside of jit, grad and vmap, but the response is "
            'traced. Inside, `info["group_size"]` has the same.'
        )
    return "group" if np.any(np.asarray(size) > 1) else "separate"


def describe_limit(info: dict[str, Array]) -> tuple[str, ...]:
    """One line that says the limit, and what would give the other; none where it is not known, or
    where no state at the Fermi energy has another band at its k."""
    if is_traced(info):
        return ()
    if find_limit(info) == "group":
        size = int(np.max(np.asarray(info["group_size"])))
        return (
            f"limit: group, up to {size} bands as degenerate (splitting << hbar/tau); with a "
            "splitting in the model, disorder.quasi_degenerate_response has all limits",
        )
    ratio = np.min(np.asarray(info["gap_over_width"]))
    if np.isinf(ratio):
        return ()
    return (
        f"limit: separate, every band by itself (splitting >> hbar/tau; smallest {ratio:.3g}); "
        "the model without what splits its bands has the other, which may differ grossly",
    )


def describe_pairs(info: dict[str, Array]) -> tuple[str, ...]:
    """The same of a `QuasiDegenerateResponse`."""
    if is_traced(info):
        return ()
    least, most = (
        find(np.asarray(info[f"{name}_splitting_over_width"]))
        for name, find in (("smallest", np.min), ("largest", np.max))
    )
    return (
        f"limit: pairwise, any splitting, here {least:.3g} to {most:.3g} level widths; "
        "disordered_response of the model has that far above the width, and of the model without "
        "what splits its bands that far below",
    )
