"""Matrix elements of the operators of spin transport in the band basis, together."""

import equinox as eqx
from jaxtyping import Array, Complex

from jaxspin.band_structure.band_structure import BandStructure


class Operators(eqx.Module):
    """Velocity, spin, spin current and torque at k of shape (*batch, d), in the band basis.

        ħv_a    = ∂_aH − i[A_a, H]        eV Å, with A = 0 but for models with external terms
        s       = the spin operator       units of ħ/2
        j^s_a   = ½{s, v_a}               conventional spin current, ħ/2 times eV Å/ħ
        t       = (i/ħ)[H, s]             torque ds/dt, ħ/2 times eV/ħ; t_mn = i (ε_m − ε_n) s_mn

    Inside the package ħ = 1 (docs/conventions.md). Elements are ⟨m|O|n⟩, and the axes of the batch
    come first. Phases, and the basis inside degenerate groups, are those of `bands.basis`; only
    matrices of one `BandStructure` share them. Without a spin operator the last three are None.
    `bands.current(name)` and `bands.rate(name)` are ½{O, v} and i[H, O] of any operator in `named`.

    >>> import jaxspin as js
    >>> found = js.operators(js.models.Rashba(kinetic=0.5, velocity=0.3), [[0.1, 0.2], [0.3, 0.0]])
    >>> found.velocity.shape, found.spin_current.shape, found.torque.shape
    ((2, 2, 2, 2), (2, 2, 3, 2, 2), (2, 3, 2, 2))
    """

    #: ħ times the velocity, eV Å, (*batch, d, n, n).
    velocity: Complex[Array, "*batch d n n"]
    #: Spin, units of ħ/2, (*batch, 3, n, n).
    spin: Complex[Array, "*batch 3 n n"] | None
    #: ½{s, ħv}, eV Å, (*batch, d, 3, n, n): flow first, spin last.
    spin_current: Complex[Array, "*batch d 3 n n"] | None
    #: i[H, s], eV, (*batch, 3, n, n).
    torque: Complex[Array, "*batch 3 n n"] | None
    #: All operators of the model by name (`Model.operators`), (*batch, c, n, n) or (*batch, n, n).
    named: dict[str, Complex[Array, "*batch_c n n"]]
    #: The bands that are the basis.
    bands: BandStructure


def collect_operators(bands: BandStructure) -> Operators:
    """All operators in the basis of given bands."""
    named = {name: bands.operator(name) for name in bands.operators}
    return Operators(bands.velocity, bands.spin, bands.spin_current, bands.torque, named, bands)
