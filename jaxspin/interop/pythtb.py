"""Tight-binding models to and from PythTB, versions 1.8 and 2.

Both codes put the positions of the orbitals into the Bloch phase, so H(k) is the same matrix.
With spin the basis is (orbital 1 up, orbital 1 down, orbital 2 up, ...). Lengths and energies keep
their numbers: give PythTB's lattice in Å and its energies in eV.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Complex, Float, Inexact

from jaxspin.engine.packages import require_package
from jaxspin.interop.orbitals import (
    Cell,
    Orbitals,
    to_model,
    to_orbitals,
    with_conjugates,
)
from jaxspin.models.bloch_sums import opposite
from jaxspin.models.tight_binding import HoppingModel


class _Hop(NamedTuple):
    """H between orbital i in the cell 0 and orbital j in another, one of each conjugate pair."""

    amplitude: Complex[np.ndarray, "s s"]
    i: int
    j: int
    cell: Cell


class _Terms(NamedTuple):
    """Terms of a model of either version of PythTB; s = 1 without spin and 2 with."""

    lattice: Float[np.ndarray, "d d"]
    centres: Float[np.ndarray, "o d"]  # reduced coordinates
    onsite: Inexact[np.ndarray, "o s s"]
    hops: list[_Hop]


def from_pythtb(tb: Any) -> HoppingModel:
    """The model H(k) of a PythTB model.

    The spin operator is σ on each orbital for a model with spin (`nspin=2`, `spinful=True`), and
    absent for one without.

    Parameters:
        tb: `pythtb.tb_model` (1.8) or `pythtb.TBModel` (2), periodic in all its directions.
    Raises:
        ValueError: `tb` is something else, has open directions, or (PythTB 2) has symbolic
            parameters without a number.
    """
    terms = _read_terms(tb)
    return to_model(Orbitals(terms.lattice, terms.centres @ terms.lattice, _assemble_blocks(terms)))


def to_pythtb(model: HoppingModel) -> Any:
    """The PythTB model with the same H(k), of the class of the installed version.

    Returns:
        `pythtb.tb_model` (1.8) or `pythtb.TBModel` (2).
    Raises:
        ImportError: PythTB is not installed.
        ValueError: the model is no HoppingModel, or has matrix elements of the position or a spin
            operator other than σ on each orbital in the basis (orbital, spin), or the two spins of
            an orbital sit at different places.
    """
    pythtb = require_package("pythtb", "to_pythtb")
    terms = _collect_terms(to_orbitals(model))
    tb = _make_empty_model(pythtb, terms)
    tb.set_onsite([_as_amplitude(energy) for energy in terms.onsite])
    for hop in terms.hops:
        tb.set_hop(_as_amplitude(hop.amplitude), hop.i, hop.j, list(hop.cell))
    return tb


def _make_empty_model(pythtb: ModuleType, terms: _Terms) -> Any:
    """Make a PythTB model of this geometry, without energies, of the installed version."""
    d, spinful = len(terms.lattice), terms.onsite.shape[1] == 2
    if not hasattr(pythtb, "TBModel"):
        return pythtb.tb_model(d, d, terms.lattice, terms.centres, nspin=1 + spinful)
    geometry = pythtb.Lattice(
        lat_vecs=terms.lattice, orb_vecs=terms.centres, periodic_dirs=list(range(d))
    )
    return pythtb.TBModel(geometry, spinful=spinful)


def _as_amplitude(
    block: Inexact[np.ndarray, "s s"],
) -> float | complex | Complex[np.ndarray, "2 2"]:
    """Convert a block to a number, or to a matrix for a model with spin."""
    return block.item() if block.shape == (1, 1) else block


def _read_terms(tb: Any) -> _Terms:
    if hasattr(tb, "hoppings") and hasattr(tb, "lat_vecs"):
        return _read_version_2(tb)
    if hasattr(tb, "_hoppings") and hasattr(tb, "_lat"):
        return _read_version_1(tb)
    raise ValueError(
        "Argument `tb` must be a model of PythTB 1.8 (`tb_model`) or 2 (`TBModel`), "
        f"but is a {type(tb).__name__}."
    )


def _read_version_1(tb: Any) -> _Terms:
    _check_periodic(tb._dim_k, tb._dim_r)
    s = tb._nspin
    hops = [_make_hop(amplitude, i, j, cell, s) for amplitude, i, j, cell in tb._hoppings]
    return _Terms(
        np.array(tb._lat), np.array(tb._orb), _onsite_matrices(tb._site_energies, s), hops
    )


def _read_version_2(tb: Any) -> _Terms:
    _check_periodic(tb.dim_k, tb.dim_r)
    missing = sorted({name for term in tb.parameters for name in term["names"]})
    if missing:
        raise ValueError(
            "Argument `tb` must have a number for each of its parameters, but has none for "
            f"{', '.join(missing)}; see its `set_parameters`."
        )
    s, home = tb.nspin, (0,) * tb.dim_r
    hops = [
        _make_hop(
            hop["amplitude"],
            hop["from_orbital"],
            hop["to_orbital"],
            hop.get("lattice_vector", home),
            s,
        )
        for hop in tb.hoppings
    ]
    return _Terms(tb.lat_vecs, tb.orb_vecs, _onsite_matrices(tb.onsite, s), hops)


def _check_periodic(dim_k: int, dim_r: int) -> None:
    if dim_k != dim_r:
        raise ValueError(
            f"Argument `tb` must be periodic in all of its {dim_r} directions, "
            f"but is periodic in {dim_k}."
        )


def _onsite_matrices(energies: Any, s: int) -> Complex[np.ndarray, "o s s"]:
    return np.asarray(energies, complex).reshape(-1, s, s)


def _make_hop(amplitude: Any, i: int, j: int, cell: Any, s: int) -> _Hop:
    return _Hop(np.asarray(amplitude, complex).reshape(s, s), i, j, tuple(int(c) for c in cell))


def _assemble_blocks(terms: _Terms) -> dict[Cell, Complex[np.ndarray, "o s o s"]]:
    """H(R) of each cell R: the on-site terms, and each hop with its Hermitian conjugate."""
    o, s, _ = terms.onsite.shape
    home = (0,) * len(terms.lattice)
    half = {R: np.zeros((o, s, o, s), complex) for R in (home, *(hop.cell for hop in terms.hops))}
    for i, energy in enumerate(terms.onsite):
        half[home][i, :, i] += energy / 2
    for hop in terms.hops:
        half[hop.cell][hop.i, :, hop.j] += hop.amplitude
    blocks = with_conjugates({R: block.reshape(o * s, o * s) for R, block in half.items()})
    return {R: block.reshape(o, s, o, s) for R, block in blocks.items()}


def _collect_terms(orbitals: Orbitals) -> _Terms:
    """The terms of a model in PythTB's form."""
    lattice, centres, blocks = orbitals
    o, s, _, _ = next(iter(blocks.values())).shape
    home = blocks.get((0,) * len(lattice), np.zeros((o, s, o, s), complex))
    onsite = np.array([home[i, :, i] for i in range(o)])
    onsite = np.real(onsite) if s == 1 else onsite  # PythTB wants real numbers, without spin
    return _Terms(
        lattice, centres @ np.linalg.inv(lattice), onsite, list(_independent_hops(blocks))
    )


def _independent_hops(blocks: dict[Cell, Complex[np.ndarray, "o s o s"]]) -> Iterator[_Hop]:
    """The nonzero hops, one of each Hermitian-conjugate pair."""
    for cell, block in blocks.items():
        if cell < opposite(cell):
            continue
        for i, j in np.argwhere(np.any(block != 0, axis=(1, 3))).tolist():
            if any(cell) or i < j:
                yield _Hop(block[i, :, j], i, j, cell)
