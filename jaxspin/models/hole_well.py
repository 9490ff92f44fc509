"""Holes in a quantum well: the spin-3/2 Luttinger Hamiltonian between envelope functions.

Energies are those of holes, positive and rising with k; what is occupied lies below the Fermi
energy. Basis: |+3/2⟩, |-3/2⟩, |+1/2⟩, |-1/2⟩ of J_z, each with the subbands of its kind.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Complex, Float

from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import program
from jaxspin.engine.small_matrices import is_traced, spin_matrices
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.validate import (
    are_numbers,
    check_choice,
    check_type,
    is_finite,
    is_hermitian,
    is_integer,
    is_positive,
    shortened,
)
from jaxspin.models.envelopes import Legendre, Subbands, galerkin, variational
from jaxspin.models.matrix_sum import MatrixSum
from jaxspin.units import FREE_ELECTRON

if TYPE_CHECKING:  # else a checker takes an abstract attribute for an argument of the constructor
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

#: Luttinger parameters (γ1, γ2, γ3), Liu, Cullen and Culcer, PRB 108, 195434 (2023), Table I, which
#: names Winkler (2003) as its source. In the row of Ge the table has digits of γ2 and γ3 in each
#: other's place: "Ge" is Winkler's germanium, and the row as printed is "Ge (Liu 2023)".
materials: dict[str, tuple[float, float, float]] = {
    "GaAs": (6.85, 2.10, 2.90),
    "InAs": (20.40, 8.30, 9.10),
    "InSb": (37.10, 16.50, 17.70),
    "Ge": (13.38, 4.24, 5.69),
    "Ge (Liu 2023)": (13.38, 5.24, 4.69),
}


def _hermitian_matrix(elements: dict[tuple[int, int], complex]) -> np.ndarray:
    """The Hermitian 4x4 matrix with these elements above the diagonal."""
    matrix = np.zeros((4, 4), complex)
    for place, value in elements.items():
        matrix[place] = value
    return matrix + matrix.conj().T


#: 2J_x, 2J_y, 2J_z in the order of this basis: m = 3/2, -3/2, 1/2, -1/2.
SPIN = spin_matrices(3)[:, [[0], [3], [1], [2]], [0, 3, 1, 2]]
_HEAVY, _LIGHT = np.diag([1.0, 1, 0, 0]), np.diag([0, 0, 1.0, 1])
# The elements L ∝ k_- k_z and -L† of Eq. (11), for k_x and k_y. k_z = -i d/dz acts on the
# envelopes: the adjoint of -i⟨h|d/dz|l⟩k_- has the other sign than its complex conjugate.
_LINEAR_X, _LINEAR_Y = (
    _hermitian_matrix({(0, 2): 1j, (1, 3): -1j}),
    _hermitian_matrix({(0, 2): 1, (1, 3): 1}),
)
# The elements M and M*, for k_x² - k_y² and 2 k_x k_y.
_WARPED_X, _WARPED_Y = (
    _hermitian_matrix({(0, 3): 1, (1, 2): 1}),
    _hermitian_matrix({(0, 3): -1j, (1, 2): 1j}),
)


class Masses(NamedTuple):
    """In-plane masses at k = 0 in units of the free electron's, one for each subband."""

    heavy: Float[Array, " a"]
    light: Float[Array, " b"]


class LuttingerWell(MatrixSum):
    """Subbands of heavy and light holes and their coupling by the Luttinger Hamiltonian.

    With A = ħ²/2m₀, k_± = k_x ± i k_y, and h_a, l_b the envelopes (Eq. (11) of Liu, Cullen and
    Culcer, PRB 108, 195434 (2023), with k_z = -i d/dz between them):

        ⟨±3/2 a|H|±3/2 a⟩ = E_ha + A(γ1 + γ2)k²,   ⟨±1/2 b|H|±1/2 b⟩ = E_lb + A(γ1 - γ2)k²
        ⟨+3/2 a|H|+1/2 b⟩ = +2√3 i A γ3 ⟨h_a|d/dz|l_b⟩ k_-
        ⟨-3/2 a|H|-1/2 b⟩ = -2√3 i A γ3 ⟨h_a|d/dz|l_b⟩ k_+
        ⟨+3/2 a|H|-1/2 b⟩ = ⟨h_a|l_b⟩ M,   ⟨-3/2 a|H|+1/2 b⟩ = ⟨h_a|l_b⟩ M*
        M = -√3 A [γ2 (k_x² - k_y²) - 2i γ3 k_x k_y]

    and a Zeeman matrix. `axial` replaces γ2 and γ3 in M alone by their mean, which makes the bands
    circles. The spin operator is 2J, its elements between heavy and light holes times ⟨h_a|l_b⟩.

    Every response is the sum over occupied holes with this H, which is minus that of the electrons
    (docs/hole-wells.md#which-carriers-count): `anomalous_hall` is -1 times that of the electrons.
    """

    gammas: AbstractVar[Float[Array, " 3"]]
    width: AbstractVar[Float[Array, ""]]
    zeeman: AbstractVar[Complex[Array, "4 4"]]
    axial: AbstractVar[bool]

    @abstractmethod
    def solve(self) -> Subbands:
        """The subbands at k = 0, as a function to compile."""

    @property
    @abstractmethod
    def bottom(self) -> Float[Array, ""]:
        """Lowest potential energy in the well, eV."""

    @property
    def subbands(self) -> Subbands:
        """The subbands at k = 0."""
        return _solve_subbands(self)

    @property
    def dimension(self) -> int:
        return 2

    @property
    def matrices(self):
        return self.prepared().matrices

    def coefficients(self, k):
        return _in_plane_functions(k)

    def prepared(self) -> "PreparedWell":
        return _prepare_well(self)

    def spin(self):
        return self.prepared().spin()

    @property
    def heavy_hole_edge(self) -> Float[Array, ""]:
        """Energy of the lowest heavy-hole subband at k = 0 without Zeeman energy, eV.

        The zero of energies is the zero of V. For a Fermi energy measured from this edge:
        `Levels(well.heavy_hole_edge + 0.015)`.
        """
        return self.subbands.heavy[0]

    @property
    def masses(self) -> Masses:
        """In-plane masses at k = 0 without Zeeman energy, the limit k -> 0 of ħ²k²/2(E - E_0).

        Exact for these subbands. Negative where a subband close by bends the band downwards.

        1/m_a = γ1 + γ2 + 12 A γ3² Σ_b ⟨h_a|d/dz|l_b⟩²/(E_ha - E_lb) for heavy holes, and
        1/m_b = γ1 - γ2 - 12 A γ3² Σ_a ⟨h_a|d/dz|l_b⟩²/(E_ha - E_lb) for light ones.
        """
        gamma1, gamma2, gamma3 = self.gammas
        bands = self.subbands
        gaps = bands.heavy[:, None] - bands.light[None, :]
        mixing = 12 * FREE_ELECTRON * gamma3**2 * bands.derivative**2 / gaps
        heavy, light = gamma1 + gamma2 + mixing.sum(1), gamma1 - gamma2 - mixing.sum(0)
        return Masses(1 / heavy, 1 / light)

    @property
    def cubic_rashba(self) -> Float[Array, ""]:
        """α3 ≥ 0 of the lowest heavy holes: E_+ - E_- = 2 α3 k³ without Zeeman energy, eV Å³.

        α3 = 12 A² γ3 (γ2 + γ3)/2 |Σ_b ⟨h_1|d/dz|l_b⟩⟨h_1|l_b⟩/(E_lb - E_h1)|: of second order in
        the coupling to light holes, of third in k; the part that is the same in all directions.
        """
        _, gamma2, gamma3 = self.gammas
        bands = self.subbands
        coupling = bands.derivative[0] * bands.overlap[0] / (bands.light - bands.heavy[0])
        return 6 * FREE_ELECTRON**2 * gamma3 * (gamma2 + gamma3) * jnp.abs(jnp.sum(coupling))

    def cutoff(self, mu: ArrayLike) -> Float[Array, ""]:
        """A radius outside of which no hole lies below `mu`, for a `Disk`, 1/Å.

        Bulk holes are no lower than A(γ1 - 2 max(|γ2|, |γ3|))(k² + k_z²), which holds for their
        projection on any envelopes too, where ⟨k_z²⟩ ≥ (π/d)²; the potential and the Zeeman
        energy are no lower than their minima. Nothing finite for warm levels: add 40 kT to `mu`.

        Args:
            mu: eV; of several, the largest counts.
        Raises:
            ValueError: no hole lies below `mu`, as far as the bound can tell.
        """
        stiffness = FREE_ELECTRON * _heaviest_inverse_mass(self.gammas)
        lowest = self.bottom + jnp.linalg.eigvalsh(self.zeeman)[0]
        room = (jnp.max(jnp.asarray(mu)) - lowest) / stiffness - (jnp.pi / self.width) ** 2
        if not is_traced(room) and not room > 0:
            raise ValueError(
                f"Argument `mu` must be above the bottom of the well, {float(lowest):.6g} eV, by "
                f"the energy of confinement, but is {shortened(mu)}."
            )
        return jnp.sqrt(room)


class PreparedWell(MatrixSum):
    """A well whose subbands are solved."""

    terms: Complex[Array, "j n n"]
    operator: Complex[Array, "3 n n"]

    @property
    def dimension(self) -> int:
        return 2

    @property
    def matrices(self):
        return self.terms

    def coefficients(self, k):
        return _in_plane_functions(k)

    def spin(self):
        return self.operator


def _in_plane_functions(k):
    kx, ky = k
    return 1.0, kx**2 + ky**2, kx, ky, kx**2 - ky**2, 2 * kx * ky


@program
def _solve_subbands(well: LuttingerWell) -> Subbands:
    return well.solve()


@program
def _prepare_well(well: LuttingerWell) -> PreparedWell:
    """The matrices of the six functions of k."""
    a, (gamma1, gamma2, gamma3), bands = FREE_ELECTRON, well.gammas, well.solve()
    in_x, in_y = ((gamma2 + gamma3) / 2,) * 2 if well.axial else (gamma2, gamma3)
    linear, quadratic = 2 * math.sqrt(3) * a * gamma3, -math.sqrt(3) * a
    energies = jnp.concatenate([jnp.tile(bands.heavy, 2), jnp.tile(bands.light, 2)])
    kinetic = a * ((gamma1 + gamma2) * _HEAVY + (gamma1 - gamma2) * _LIGHT)
    terms = [
        jnp.diag(energies) + _expand_in_envelopes(well.zeeman, bands.overlap),
        _expand_in_envelopes(kinetic, bands.overlap),
        linear * _expand_in_envelopes(_LINEAR_X, bands.derivative),
        linear * _expand_in_envelopes(_LINEAR_Y, bands.derivative),
        quadratic * in_x * _expand_in_envelopes(_WARPED_X, bands.overlap),
        quadratic * in_y * _expand_in_envelopes(_WARPED_Y, bands.overlap),
    ]
    spin = [_expand_in_envelopes(component, bands.overlap) for component in SPIN]
    return PreparedWell(jnp.stack(terms), jnp.stack(spin))


def _expand_in_envelopes(
    matrix: ArrayLike, envelopes: Float[Array, "a b"]
) -> Complex[Array, "n n"]:
    """A 4x4 matrix with its elements between heavy and light holes times ⟨h_a|...|l_b⟩."""
    matrix, (a, b) = jnp.asarray(matrix, dtype=complex), envelopes.shape
    heavy, light = jnp.kron(matrix[:2, :2], jnp.eye(a)), jnp.kron(matrix[2:, 2:], jnp.eye(b))
    upper, lower = jnp.kron(matrix[:2, 2:], envelopes), jnp.kron(matrix[2:, :2], envelopes.T)
    return jnp.block([[heavy, upper], [lower, light]])


class HoleWell(LuttingerWell):
    """A hole well in a perpendicular field, with one variational envelope of each kind.

    V = -e field z for |z| < width/2 and infinite outside; four bands, every matrix element in
    closed form (`envelopes.variational`, `LuttingerWell`). The energy of HH1 is too high by 0.12 to
    0.19 meV at 10⁶ V/m and 2.5 meV at 10⁷ V/m in a well of 250 Å. It lacks the second heavy-hole
    subband: at Fermi energies above that, use `HoleWellKP`.

    Args:
        material: a name in `materials`, or (γ1, γ2, γ3).
        width: of the well, Å.
        field: V/m.
        zeeman: m in m J_z, eV, or any Hermitian 4x4 matrix in the basis above.
        axial: bands that are circles (`LuttingerWell`).
    Raises:
        ValueError: γ's that make a mass negative or the holes alike (γ2 = 0), a width or field that
            cannot be in Å and V/m, a `zeeman` that is not Hermitian.

    >>> well = HoleWell("GaAs", width=250.0, field=1e6, zeeman=1e-3)
    >>> print(f"{1e3 * well.heavy_hole_edge:.5f} meV, {well.cubic_rashba:.2f} eV Å³")
    -1.42346 meV, 704.00 eV Å³
    """

    gammas: Float[Array, " 3"]
    width: Float[Array, ""]  # Å
    field: Float[Array, ""]  # V/m
    zeeman: Complex[Array, "4 4"]  # eV
    axial: bool = eqx.field(static=True)

    @evaluate_eagerly()
    def __init__(
        self,
        material: str | Sequence[float] | Float[Array, " 3"],
        width: ArrayLike,
        field: ArrayLike,
        zeeman: ArrayLike = 0.0,
        axial: bool = False,
    ):
        self.gammas = _luttinger_parameters(material)
        self.width, self.field = _as_width(width), _as_field(field)
        self.zeeman, self.axial = _zeeman_matrix(zeeman), bool(axial)

    def solve(self) -> Subbands:
        return variational(*_along_z(self.gammas), self.width, self.field / _PER_METRE)

    @property
    def bottom(self) -> Float[Array, ""]:
        return -jnp.abs(self.field) / _PER_METRE * self.width / 2


class HoleWellKP(LuttingerWell):
    """A hole well of any potential, with as many subbands as a basis resolves.

    V = potential(z) - e field z for |z| < width/2 and infinite outside. Bands: twice the number of
    heavy-hole subbands plus twice that of light-hole subbands.

    Args:
        material, width, field, zeeman, axial: as of `HoleWell`.
        basis: the envelopes that the subbands are solved in, `Legendre(number)`.
        subbands: how many heavy-hole and light-hole subbands, the lowest; at most those that the
            basis resolves (`Legendre.resolved`). None: all functions of the basis, of which the
            upper half are no subbands of the well, but complete what the lower ones become at k.
        potential: V(z) of a hole, eV, z in Å; smooth. A function of a module rather than a lambda,
            or an `equinox.Module` with parameters to scan, so that nothing is compiled twice.
    Raises:
        ValueError: as `HoleWell`; more subbands than the basis resolves; a potential that is not
            a finite number at each z.

    It warns where twice as many functions (at most 60) change the energy of a subband by more than
    0.1 meV: of those in `subbands`, or of HH1 and LH1 where that is None.

    >>> well = HoleWellKP("GaAs", width=250.0, field=1e6, subbands=(3, 2))
    >>> print(1e3 * well.subbands.heavy)  # meV
    [-1.61141246  6.68985497 15.02048198]
    """

    gammas: Float[Array, " 3"]
    width: Float[Array, ""]  # Å
    field: Float[Array, ""]  # V/m
    zeeman: Complex[Array, "4 4"]  # eV
    basis: Legendre
    potential: Callable[[Float[Array, ""]], Float[Array, ""]] | None
    axial: bool = eqx.field(static=True)
    kept: tuple[int, int] = eqx.field(static=True)

    @evaluate_eagerly()
    def __init__(
        self,
        material: str | Sequence[float] | Float[Array, " 3"],
        width: ArrayLike,
        field: ArrayLike = 0.0,
        zeeman: ArrayLike = 0.0,
        axial: bool = False,
        *,
        basis: Legendre = Legendre(16),  # noqa: B008  (immutable)
        subbands: tuple[int, int] | None = None,
        potential: Callable | None = None,
    ):
        self.gammas = _luttinger_parameters(material)
        self.width, self.field = _as_width(width), _as_field(field)
        self.zeeman, self.axial = _zeeman_matrix(zeeman), bool(axial)
        self.basis, self.kept = basis, _check_subbands(subbands, basis)
        self.potential = potential

    @evaluate_eagerly()
    def __check_init__(self):
        if self.potential is not None:
            value = eqx.filter_eval_shape(self.potential, jnp.zeros(()))
            if value.shape != () or not are_numbers(value, "iuf"):
                raise ValueError(
                    "Argument `potential` must give one real number (eV) for one z (Angstrom), "
                    f"but gives {value.dtype} of shape {value.shape}."
                )
        values = self._potential_at_nodes(self.basis)
        if is_traced(values, self.gammas, self.width):
            return
        if not is_finite(values):
            raise ValueError("Argument `potential` must be finite inside the well, but is not.")
        self._warn_of_a_small_basis()

    def _warn_of_a_small_basis(self):
        bases = self.basis, self.basis.finer
        error = 0.0
        for kinetic, kept in zip(_along_z(self.gammas), self.kept, strict=True):
            count = kept if kept <= self.basis.resolved else 1
            here, finer = (self._subband_energies(basis, kinetic)[:count] for basis in bases)
            error = max(error, np.max(np.abs(here - finer)))
        if error > _RESOLVED:
            warn_user(
                f"A subband at k = 0 is off by {1e3 * error:.3g} meV in {bases[0]}, against "
                f"{bases[1]}. Give a larger basis, or fewer subbands."
            )

    def _subband_energies(self, basis, kinetic) -> np.ndarray:
        potential = np.asarray(self._potential_at_nodes(basis))
        return np.linalg.eigvalsh(basis.hamiltonian(float(kinetic), float(self.width), potential))

    def solve(self) -> Subbands:
        masses, potential = _along_z(self.gammas), self._potential_at_nodes(self.basis)
        return galerkin(self.basis, masses, self.width, potential, self.kept)

    @property
    def bottom(self) -> Float[Array, ""]:
        return jnp.min(self._potential_at_nodes(self.basis))

    def _potential_at_nodes(self, basis) -> Float[Array, " q"]:
        """V where a basis takes it, eV."""
        z = basis.positions(self.width)
        tilted = -self.field / _PER_METRE * z
        return tilted if self.potential is None else tilted + jax.vmap(self.potential)(z)


_PER_METRE = 1e10  # Å in a metre
_RESOLVED = 1e-4  # eV, a tenth of the Zeeman energies and of the least Fermi energies of interest


def _along_z(gammas) -> tuple[Array, Array]:
    """ħ²/2m of heavy and light holes along z, eV Å²."""
    return FREE_ELECTRON * (gammas[0] - 2 * gammas[1]), FREE_ELECTRON * (gammas[0] + 2 * gammas[1])


def _heaviest_inverse_mass(gammas):
    """m₀/m of the heaviest bulk hole: along a cube axis or a diagonal of the cube."""
    return gammas[0] - 2 * jnp.max(jnp.abs(gammas[1:]))


# --- checks ---------------------------------------------------------------------------------------


def _luttinger_parameters(material) -> Float[Array, " 3"]:
    if isinstance(material, str):
        check_choice("material", material, materials, "the three Luttinger parameters")
        material = materials[material]
    gammas = jnp.array(material, dtype=jnp.result_type(float))
    if gammas.shape != (3,):
        raise ValueError(
            "Argument `material` must be a name or the three Luttinger parameters, "
            f"but has shape {gammas.shape}."
        )
    if is_traced(gammas):
        return gammas
    if not is_finite(gammas) or gammas[1] == 0:
        raise ValueError(
            "Argument `material` must be finite numbers with gamma2 != 0, for otherwise heavy and "
            f"light holes are the same at k = 0, but is {shortened(material)}."
        )
    if not is_positive(_heaviest_inverse_mass(gammas)):
        raise ValueError(
            "Argument `material` must have gamma1 > 2|gamma2| and gamma1 > 2|gamma3|, for "
            "otherwise the mass of the heavy holes is negative along some direction, "
            f"but is {shortened(material)}."
        )
    return gammas


def _as_width(value) -> Float[Array, ""]:
    width = _as_number("width", value)
    if not is_traced(width) and not _NARROWEST <= width <= _WIDEST:
        hint = ""
        if 1 <= width < _NARROWEST:
            hint = f" It looks like nanometres: {value} nm are {10 * width:g} Angstrom."
        if 0 < width < 1e-6:
            hint = f" It looks like metres: {value} m are {_PER_METRE * width:g} Angstrom."
        raise ValueError(
            f"Argument `width` must be from {_NARROWEST:g} to {_WIDEST:g} Angstrom, "
            f"but is {shortened(value)}.{hint}"
        )
    return width


def _as_field(value) -> Float[Array, ""]:
    field = _as_number("field", value)
    size = 0.0 if is_traced(field) else abs(float(field))
    if not (size == 0 or _WEAKEST <= size <= _STRONGEST):
        hint = ""
        if 1e-6 <= size < _WEAKEST:
            hint = (
                " It looks like MV/m, kV/cm or V/Angstrom: 1 MV/m is 1e6 V/m, "
                f"1 V/Angstrom is {_PER_METRE:g}."
            )
        raise ValueError(
            f"Argument `field` must be 0 or from {_WEAKEST:g} to {_STRONGEST:g} V/m in magnitude, "
            f"but is {shortened(value)}.{hint}"
        )
    return field


# A well of less than 40 Å has no envelopes, and one of a micrometre no subbands of a meV; 40
# nanometres or more cannot be told from Å. 10³ V/m are 25 µeV across a 250 Å well, and 10⁹ V/m
# break any crystal; fields in MV/m, kV/cm and V/Å are below 10³.
_NARROWEST, _WIDEST = 40.0, 1e4
_WEAKEST, _STRONGEST = 1e3, 1e9


def _as_number(name: str, value) -> Float[Array, ""]:
    number = jnp.array(value, dtype=jnp.result_type(float))
    if number.shape != ():
        raise ValueError(f"Argument `{name}` must be one number, but has shape {number.shape}.")
    return number


def _zeeman_matrix(value) -> Complex[Array, "4 4"]:
    matrix = jnp.array(value, dtype=complex)
    if matrix.shape == ():
        matrix = matrix * SPIN[2] / 2
    if matrix.shape != (4, 4):
        raise ValueError(
            "Argument `zeeman` must be one energy or a 4x4 matrix (eV), "
            f"but has shape {matrix.shape}."
        )
    if not is_hermitian(matrix):
        raise ValueError(f"Argument `zeeman` must be real or Hermitian, but is {shortened(value)}.")
    return matrix


def _check_subbands(subbands, basis) -> tuple[int, int]:
    check_type("basis", basis, Legendre, "a Legendre(number)")
    if subbands is None:
        return basis.number, basis.number
    counts = tuple(subbands)
    if len(counts) != 2 or not all(is_integer(n, 1) for n in counts):
        raise ValueError(
            "Argument `subbands` must be two positive integers, those of heavy and of light "
            f"holes, but is {shortened(subbands)}."
        )
    if max(counts) > basis.resolved:
        raise ValueError(
            f"Argument `subbands` must be at most {basis.resolved} of each kind, those that "
            f"{basis} resolves, but is {shortened(subbands)}."
        )
    return int(counts[0]), int(counts[1])
