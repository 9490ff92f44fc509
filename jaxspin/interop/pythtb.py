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

from jaxspin.algebra import PAULI
from jaxspin.models.hopping import HoppingModel

_SAME = 1e-9  # Å and ħ/2: two numbers closer than this are the same, far above rounding


class _Hop(NamedTuple):
    """H between orbital i in the cell 0 and orbital j in another, one of each conjugate pair."""

    amplitude: Complex[np.ndarray, "s s"]
    i: int
    j: int
    cell: tuple[int, ...]


class _Terms(NamedTuple):
    """What both versions of PythTB hold, in one form; s = 1 without spin and 2 with."""

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
    terms = _read(tb)
    n_orbitals, s, _ = terms.onsite.shape
    blocks = _blocks(terms)
    spin = [np.kron(np.eye(n_orbitals), sigma) for sigma in PAULI[1:]] if s == 2 else None
    return HoppingModel(
        lattice=terms.lattice,
        cells=list(blocks),
        blocks=np.array(list(blocks.values())),
        centres=np.repeat(terms.centres, s, axis=0) @ terms.lattice,
        spin=spin,
    )


def to_pythtb(model: HoppingModel) -> Any:
    """The PythTB model with the same H(k), of the class of the installed version.

    Returns:
        `pythtb.tb_model` (1.8) or `pythtb.TBModel` (2).
    Raises:
        ImportError: PythTB is not installed.
        ValueError: the spin operator is not σ on each orbital in the basis (orbital, spin), or the
            two spins of an orbital sit at different places.
    """
    try:
        import pythtb
    except ImportError as error:
        raise ImportError("`to_pythtb` needs PythTB: pip install pythtb") from error
    terms = _terms(model)
    tb = _empty(pythtb, terms)
    tb.set_onsite([_amplitude(energy) for energy in terms.onsite])
    for hop in terms.hops:
        tb.set_hop(_amplitude(hop.amplitude), hop.i, hop.j, list(hop.cell))
    return tb


def _empty(pythtb: ModuleType, terms: _Terms) -> Any:
    """A PythTB model of this geometry, without energies, of the installed version."""
    d, spinful = len(terms.lattice), terms.onsite.shape[1] == 2
    if not hasattr(pythtb, "TBModel"):
        return pythtb.tb_model(d, d, terms.lattice, terms.centres, nspin=1 + spinful)
    geometry = pythtb.Lattice(
        lat_vecs=terms.lattice, orb_vecs=terms.centres, periodic_dirs=list(range(d))
    )
    return pythtb.TBModel(geometry, spinful=spinful)


def _amplitude(block: Inexact[np.ndarray, "s s"]) -> float | complex | Complex[np.ndarray, "2 2"]:
    """A number without spin, a matrix with."""
    return block.item() if block.shape == (1, 1) else block


def _read(tb: Any) -> _Terms:
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
    hops = [_hop(amplitude, i, j, cell, s) for amplitude, i, j, cell in tb._hoppings]
    return _Terms(np.array(tb._lat), np.array(tb._orb), _onsite(tb._site_energies, s), hops)


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
        _hop(
            hop["amplitude"],
            hop["from_orbital"],
            hop["to_orbital"],
            hop.get("lattice_vector", home),
            s,
        )
        for hop in tb.hoppings
    ]
    return _Terms(tb.lat_vecs, tb.orb_vecs, _onsite(tb.onsite, s), hops)


def _check_periodic(dim_k: int, dim_r: int) -> None:
    if dim_k != dim_r:
        raise ValueError(
            f"Argument `tb` must be periodic in all of its {dim_r} directions, "
            f"but is periodic in {dim_k}."
        )


def _onsite(energies: Any, s: int) -> Complex[np.ndarray, "o s s"]:
    return np.asarray(energies, complex).reshape(-1, s, s)


def _hop(amplitude: Any, i: int, j: int, cell: Any, s: int) -> _Hop:
    return _Hop(np.asarray(amplitude, complex).reshape(s, s), i, j, tuple(int(c) for c in cell))


def _blocks(terms: _Terms) -> dict[tuple[int, ...], Complex[np.ndarray, "n n"]]:
    """H(R) of each cell R: the on-site terms, and each hop with its Hermitian conjugate."""
    n_orbitals, s, _ = terms.onsite.shape
    home = (0,) * len(terms.lattice)
    cells = dict.fromkeys(c for hop in terms.hops for c in (hop.cell, _opposite(hop.cell)))
    blocks = {c: np.zeros((n_orbitals, s, n_orbitals, s), complex) for c in {home: None} | cells}
    for o, energy in enumerate(terms.onsite):
        blocks[home][o, :, o] += energy
    for hop in terms.hops:
        blocks[hop.cell][hop.i, :, hop.j] += hop.amplitude
        blocks[_opposite(hop.cell)][hop.j, :, hop.i] += hop.amplitude.conj().T
    n = n_orbitals * s
    return {cell: block.reshape(n, n) for cell, block in blocks.items()}


def _opposite(cell: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-c for c in cell)


def _terms(model: HoppingModel) -> _Terms:
    """The terms of a model in PythTB's form."""
    s = 1 if model.spin_operator is None else 2
    if s == 2:
        _check_spin_basis(model)
    lattice, centres = np.asarray(model.vectors), np.asarray(model.centres)[::s]
    n_orbitals = len(centres)
    blocks = {
        cell: np.asarray(block).reshape(n_orbitals, s, n_orbitals, s)
        for cell, block in zip(model.cells, model.blocks, strict=True)
    }
    home = np.zeros((n_orbitals, s, n_orbitals, s), complex)
    home = blocks.get((0,) * len(lattice), home)
    onsite = np.array([home[o, :, o] for o in range(n_orbitals)])
    onsite = onsite.real if s == 1 else onsite  # PythTB wants real numbers, without spin
    return _Terms(lattice, centres @ np.linalg.inv(lattice), onsite, list(_half(blocks)))


def _half(blocks: dict[tuple[int, ...], Complex[np.ndarray, "o s o s"]]) -> Iterator[_Hop]:
    """The nonzero hops, one of each Hermitian-conjugate pair."""
    for cell, block in blocks.items():
        if cell < _opposite(cell):
            continue
        for i, j in np.argwhere(np.any(block != 0, axis=(1, 3))).tolist():
            if any(cell) or i < j:
                yield _Hop(block[i, :, j], i, j, cell)


def _check_spin_basis(model: HoppingModel) -> None:
    spin, centres = np.asarray(model.spin_operator), np.asarray(model.centres)
    expected = [np.kron(np.eye(len(centres) // 2), sigma) for sigma in PAULI[1:]]
    if len(centres) % 2 or not np.allclose(spin, expected, atol=_SAME):
        raise ValueError(
            "Argument `model` must have the spin operator σ on each orbital, basis (orbital, "
            "spin), but has another."
        )
    distance = np.max(np.abs(centres[::2] - centres[1::2]))
    if distance > _SAME:
        raise ValueError(
            "Argument `model` must have the two spins of each orbital at one place, but has "
            f"them up to {distance:.3g} Å apart."
        )
