"""The spin operator of a seedname: from `.chk` and `.spn`, or σ on each orbital."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from jaxspin.engine.validate import check_choice
from jaxspin.interop.wannier90 import assembly, spin
from jaxspin.interop.wannier90.chk import Chk
from jaxspin.interop.wannier90.findings import (
    ROUNDED,
    Companions,
    FileOperators,
    Findings,
    SpinOrder,
)
from jaxspin.interop.wannier90.geometry import Win
from jaxspin.interop.wannier90.text import Cell, file_error

_ORDERS = ("interlaced", "block", "unknown")
# |S² − 1| worth a warning. Wannier functions of entangled bands reach some tenths (platinum: 0.58);
# an operator in units of ħ instead of ħ/2 has 0.75, and a state without spin has 1.
_INCOMPLETE = 0.7
_SAME_PLACE = 1e-6  # Å, as for models


class FoundSpin(NamedTuple):
    """The spin operator, where it is from, and |S² − 1| on the mesh."""

    operator: Complex[np.ndarray, "r 3 n n"] | Complex[np.ndarray, "3 n n"] | None
    origin: str
    square_deviation: float | None


def check_order(order: SpinOrder | None) -> None:
    """Check that the order is one that a user can give."""
    if order is not None:
        check_choice("spin_order", order, _ORDERS, "None")


def find_spin(
    found: Findings,
    companions: Companions,
    operators: FileOperators,
    centres: Float[np.ndarray, "n 3"],
) -> FoundSpin:
    """Find the spin operator: from `.spn` where it can be used, else σ on each orbital."""
    order = found.given.spin_order
    spn = next((name for name in (".spn", ".spn.fmt") if found.has_files(name)), None)
    if order is None and spn is not None and companions.chk is not None:
        return _spin_of_bands(found, spn, companions.chk, operators)
    operator = _spin_without_bands(found, order, companions.win, operators, centres)
    if spn is not None and order is not None:
        found.notes.append(f"{found.path_of(spn).name} is not used: `spin_order` is given")
    elif spn is not None:
        found.warnings.append(
            f"{found.path_of(spn).name} is not used, for there is no {found.path_of('.chk').name}; "
            f"the spin operator is {operator.origin}"
        )
    return operator


def _spin_without_bands(
    found: Findings,
    order: SpinOrder | None,
    win: Win,
    operators: FileOperators,
    centres: Float[np.ndarray, "n 3"],
) -> FoundSpin:
    if order is None and win.spinors:
        detected = spin.detect_order(operators.hamiltonian, centres)
        return _spin_of_order(found, detected, "detected", operators, centres)
    if order is None or order == "unknown":
        return FoundSpin(None, "none: charge quantities only", None)
    return _spin_of_order(found, order, "given", operators, centres)


def _spin_of_bands(found: Findings, spn: str, chk: Chk, operators: FileOperators) -> FoundSpin:
    """The spin operator of the bands, in the Wannier functions of the checkpoint."""
    path, shifting = found.use_file(spn, "spin operator"), operators.shifting
    if operators.mesh is not None and operators.is_folded:
        images = assembly.count_images(operators.raw, operators.mesh)
        shifting = shifting._replace(degeneracies=images)
    if not found.has_files(".eig"):
        found.notes.append(
            f"no {found.path_of('.eig').name}: that the Wannier functions of {chk.path.name} are "
            "those of H(R) is not checked, but by their centres where another file has them"
        )
    on_mesh = spin.projected_spin(chk, path)
    deviation = spin.square_deviation(on_mesh)
    if deviation > _INCOMPLETE:
        found.warnings.append(
            f"the spin operator from {path.name} has |S^2 - 1| up to {deviation:.2g}: the "
            "Wannier functions do not hold both spins of all their states, or it is not in hbar/2"
        )
    operator = shifting.assemble_operator(spin.spin_blocks(chk, on_mesh, operators.raw))
    violation, cell = assembly.make_hermitian(operator)
    if violation > ROUNDED:  # S(k) is Hermitian, so it can only be the shifts
        expected = "shifts with T for R, m, n and -T for -R, n, m"
        raise file_error(shifting.path, None, expected, f"others at R = {cell}")
    return FoundSpin(operator.blocks, f"{path.name} and {chk.path.name}", deviation)


def _spin_of_order(
    found: Findings,
    order: str,
    how: str,
    operators: FileOperators,
    centres: Float[np.ndarray, "n 3"],
) -> FoundSpin:
    """σ on each orbital."""
    _check_even(order, len(centres))
    measures = spin.order_measures(order, operators.hamiltonian, centres)
    if spin.unlike_partners(measures):
        found.warnings.append(
            f"in the order {order} the two spins of an orbital are unlike: "
            f"{spin.describe_measures(measures)}; spin quantities need a .spn file"
        )
    operator = _pure_spin(order, operators.hamiltonian.cells, centres)
    return FoundSpin(operator, f"σ on each orbital, order {order} ({how})", None)


def check_state(found: Findings, chk: Chk | None, sigma: FoundSpin) -> None:
    """Note that the run of the checkpoint has not ended; warn where the spin is from it."""
    if chk is None or chk.state == "postwann":
        return
    text = f"{chk.path.name} is of the state {chk.state!r}, not postwann"
    if sigma.square_deviation is None:
        found.notes.append(text)
    else:
        found.warnings.append(
            f"{text}: its Wannier functions, and with them the spin operator, may not be those "
            "of H(R)"
        )


def _check_even(order: str, size: int) -> None:
    if size % 2:
        raise ValueError(
            f"Argument `spin_order` must be 'unknown' or None for {size} Wannier functions, an odd "
            f"number, but is {order!r}."
        )


def _pure_spin(order: str, cells: list[Cell], centres: Float[np.ndarray, "n 3"]) -> np.ndarray:
    """Spin operator: local if both spins of each orbital share a place, else in the home cell."""
    local = spin.pure_spin(order, len(centres))
    if spin.partner_distance(order, centres) < _SAME_PLACE:
        return local
    return spin.home_only(local, cells)
