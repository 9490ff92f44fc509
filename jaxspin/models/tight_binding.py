"""Tight binding from real-space blocks: what Wannier90 and PythTB files become."""

from collections import Counter
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float
from numpy.typing import ArrayLike

from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.validate import (
    are_numbers,
    asymmetry,
    check_finite,
    check_shape,
    shortened,
    spans_volume,
)
from jaxspin.engine.xla import materialize, separate_kernel
from jaxspin.models import bloch_sums
from jaxspin.models.base import Derived, Model, lift_operators
from jaxspin.models.lifted import (
    NOTHING_ELSE,
    BasisConnection,
    Lifted,
    LiftedOperator,
    Points,
)

# Largest allowed |X(R) - X(-R)†|, eV, Å or ħ/2: Wannier90's `_hr.dat` prints six decimals.
_HERMITICITY = 1e-5
# Two orbitals farther apart than this, Å, are at different places, and an element of the spin
# operator larger than this, ħ/2, couples them: the first above the digits of files, the second
# above rounding.
_APART, _COUPLED = 1e-6, 1e-10
# Largest distance of a centre from the diagonal of the position operator, Å. Different formulas for
# the same centre differ by 1e-4; other units, or other orbitals, by far more.
_ON_CENTRE = 1e-2


class HoppingModel(Model):
    """Tight binding from the blocks H_mn(R) = ⟨0, m|H|R, n⟩ between the cells 0 and R.

    H_mn(k) = Σ_R e^{ik·(R + τ_n − τ_m)} H_mn(R)

    The positions τ of the orbitals stand in the phase, so that ∂H/∂k is the velocity of a model
    whose position operator is diagonal in the orbitals. With elements of the position operator
    between orbitals, r_mn(R) = ⟨0, m|r|R, n⟩, the velocity is

    v = ∂H/∂k − i[A, H],    A_mn(k) = Σ_R e^{ik·(R + τ_n − τ_m)} (r_mn(R) − τ_n δ_mn δ_R0):

    the external terms of Wang, Yates, Souza and Vanderbilt, PRB 74, 195118 (2006), Eq. (31).

    Parameters:
        lattice: direct lattice vectors a_i as rows (d, d), Å.
        cells: integer coordinates of the cells (r, d), R = cells @ lattice. With every R comes −R.
        blocks: H(R) in eV, (r, n, n), with H(−R) = H(R)†.
        centres: positions τ of the orbitals, Cartesian, (n, d), Å. They stay where they are when
            `vectors` is varied; `reduced @ lattice` turns reduced coordinates into these.
        spin: the spin operator in units of ħ/2. A local one, (3, n, n), is the same at every k,
            and has no elements between orbitals at different places (they would depend on the
            choice of the Brillouin zone). Blocks S(R) = ⟨0, m|σ|R, n⟩ on `cells`, (r, 3, n, n),
            with S(−R) = S(R)†, make one that depends on k. None for orbitals without spin.
        position: r(R) = ⟨0, m|r|R, n⟩ on `cells`, (r, d, n, n), Å, with r(−R) = r(R)†; the
            diagonal of the home cell holds the centres. None for orbitals whose position operator
            is diagonal.

    `vectors`, `blocks`, `centres`, `spin_operator` and `position` are arrays that can be scanned
    and differentiated; `cells` is static. H(k) is the Hermitian part of the sum, so that it stays
    Hermitian through the rounding of a file and the steps of a fit.

    Raises:
        ValueError: an argument has the wrong shape, is not finite, repeats a cell, lacks the
            partner of a cell, or breaks hermiticity by more than 1e-5 (eV, Å, ħ/2); the diagonal
            of `position` in the home cell is not `centres`; a local spin operator couples orbitals
            at different places.

    A chain with one orbital and hopping −1 eV, H(k) = −2 cos k:

    >>> chain = HoppingModel([[1.0]], [[1], [-1]], [[[-1.0]], [[-1.0]]], [[0.0]], spin=None)
    >>> print(chain(jnp.zeros(1)).real)
    [[-2.]]
    """

    vectors: Float[Array, "d d"]
    cells: bloch_sums.Cells = eqx.field(static=True)
    blocks: Complex[Array, "r n n"]
    centres: Float[Array, "n d"]
    spin_operator: Complex[Array, "3 n n"] | Complex[Array, "r 3 n n"] | None
    position: Complex[Array, "r d n n"] | None

    @evaluate_eagerly()
    def __init__(
        self,
        lattice: ArrayLike,
        cells: ArrayLike,
        blocks: ArrayLike,
        centres: ArrayLike,
        spin: ArrayLike | None,
        *,
        position: ArrayLike | None = None,
    ):
        self.vectors = _as_array("lattice", lattice, float)
        self.blocks = _as_array("blocks", blocks, complex)
        self.centres = _as_array("centres", centres, float)
        self.spin_operator = None if spin is None else _as_array("spin", spin, complex)
        self.position = None if position is None else _as_array("position", position, complex)
        _check_lattice(self.vectors)
        self.cells = _as_cells(cells, self.dimension)
        _check_shapes(self)
        _check_values(self)

    @property
    def dimension(self) -> int:
        return self.vectors.shape[0]

    @property
    def lattice(self) -> Float[Array, "d d"]:
        return self.vectors

    @property
    def lifts_boxes(self) -> bool:
        return True

    @property
    def external_terms(self) -> bool:
        return self.position is not None

    def without_external_terms(self) -> "HoppingModel":
        """The same model with a position operator that is diagonal in the orbitals."""
        return eqx.tree_at(lambda m: m.position, self, None, is_leaf=lambda x: x is None)

    def __call__(self, k: Float[Array, " d"]) -> Complex[Array, "n n"]:
        angles = bloch_sums.dot(jnp.array(self.cells, float), bloch_sums.dot(self.vectors, k))
        cell_phase = jnp.exp(1j * angles)
        site_phase = jnp.exp(1j * bloch_sums.dot(self.centres, k))
        total = bloch_sums.dot(cell_phase, self.blocks)
        total = (total + total.conj().T) / 2
        return site_phase.conj()[:, None] * total * site_phase[None, :]

    def prepared(self) -> "PreparedHopping":
        return PreparedHopping(self)

    def lift(self, points, needs=NOTHING_ELSE):
        return self.prepared().lift(points, needs)

    def spin(self) -> Complex[Array, "3 n n"]:
        if self.spin_operator is None:
            raise ValueError(
                "Argument `model` must be one with spin, but this HoppingModel has no spin "
                "operator; give it one by the argument `spin`, shape (3, n, n), in units of hbar/2."
            )
        if self.spin_operator.ndim == 4:
            raise ValueError(
                "The spin operator of this HoppingModel depends on k: `spin_at(k)` gives it, "
                "and `spin_operator` holds its blocks S(R)."
            )
        return self.spin_operator

    def operators(self):
        if self.spin_operator is None:
            return {}
        if self.spin_operator.ndim == 3:
            return {"spin": self.spin_operator}
        spins = self.prepared().lift_spin
        return {"spin": lambda k: spins(Points(k[:, None]))[..., 0]}


class PreparedHopping(Derived):
    """A HoppingModel and the matrices of its Bloch sums.

    On a box everything is in the basis without the site phases e^{ik·τ}, in which
    H'_mn(k) = Σ_R e^{ik·R} H_mn(R) and the slopes are the covariant derivatives
    ∂H'_mn + i H'_mn (τ_n − τ_m). Matrices that turn out not to be used are not computed by a
    compiled function.
    """

    model: HoppingModel
    by_cell: Float[Array, "j c n n"]
    by_axis: Float[Array, "*j n n"]
    spins: bloch_sums.BlochSum | None
    connection: bloch_sums.BlochSum | None
    connection_and_curl: bloch_sums.BlochSum | None

    def __init__(self, model: HoppingModel):
        self.model, cells, d = model, model.cells, model.dimension
        blocks = bloch_sums.half_of_blocks(cells, model.blocks)[:, None]
        slopes = 1j * _orbital_distances(model, bloch_sums.half(cells)) * blocks
        self.by_cell = bloch_sums.matrices_of_waves(jnp.concatenate([blocks, slopes], axis=1))
        self.by_axis = bloch_sums.matrices_of_products(cells, model.blocks)
        self.spins = self.connection = self.connection_and_curl = None
        if model.spin_operator is not None and model.spin_operator.ndim == 4:
            self.spins = bloch_sums.BlochSum(cells, model.spin_operator)
        if model.position is not None:
            home = cells.index((0,) * d)
            sites = jnp.stack([jnp.diag(tau) for tau in model.centres.T])
            a = model.position.at[home].add(-sites)
            i, j = np.triu_indices(d, 1)
            steps = _orbital_distances(model, cells)
            curl = 1j * (steps[:, i] * a[:, j] - steps[:, j] * a[:, i])
            self.connection = bloch_sums.BlochSum(cells, a)
            self.connection_and_curl = bloch_sums.BlochSum(
                cells, jnp.concatenate([a, curl], axis=1)
            )

    def __call__(self, k):
        return self.model(k)

    def spin(self):
        return self.model.spin()

    def operators(self):
        return self.model.operators()

    def lift(self, points, needs=NOTHING_ELSE):
        @separate_kernel
        def lift_hamiltonian(points):
            return self._lift_hamiltonian(points)

        @separate_kernel
        def lift_connection(points):
            return self._lift_connection(needs.curl, points)

        @separate_kernel
        def lift_spin(points):
            return self.lift_spin(points)

        hamiltonian, slopes = lift_hamiltonian(points)
        connection = lift_connection(points) if self.external_terms else None
        of_blocks = () if self.spins is None else ("spin",)
        local = [name for name in needs.operators if name not in of_blocks]
        operators = lift_operators(self, local, points.k)
        if len(local) < len(needs.operators):
            operators["spin"] = LiftedOperator(lift_spin(points))
        return Lifted(hamiltonian, slopes, operators, connection)

    def _lift_hamiltonian(self, points: Points):
        """H(k) and its slopes."""
        model, u = self.model, points.box
        if u is None:
            sums = bloch_sums.scattered(
                model.cells, self.by_cell, self._reduced_coordinates(points.k)
            )
            matrices = self._with_site_phases(sums, points.k)
        elif bloch_sums.separable(model.cells, [x.size for x in u]):
            geometry = model.vectors, model.centres
            matrices = bloch_sums.box_with_slopes(model.cells, self.by_axis, *geometry, u)
        else:
            matrices = bloch_sums.scattered(model.cells, self.by_cell, bloch_sums.grid(u))
        return matrices[0], matrices[1:]

    def lift_spin(self, points: Points) -> Complex[Array, "3 n n K"]:
        """The spin operator from its blocks S(R)."""
        return self._evaluate_sums(self.spins, points)

    def _lift_connection(self, curl: bool, points: Points) -> BasisConnection:
        if not curl:
            return BasisConnection(self._evaluate_sums(self.connection, points), None)
        sums = self._evaluate_sums(self.connection_and_curl, points)
        return BasisConnection(sums[: self.dimension], sums[self.dimension :])

    def _reduced_coordinates(self, k: Float[Array, "d K"]) -> list[Float[Array, " K"]]:
        """The u_i of k = Σ_i u_i b_i."""
        return list(bloch_sums.dot(self.model.vectors, k) / (2 * jnp.pi))

    def _evaluate_sums(self, sums: Any, points: Points) -> Complex[Array, "c n n K"]:
        """Bloch sums, on a box in its basis."""
        if points.box is not None:
            return sums.box(points.box)
        scattered = sums.scattered(self._reduced_coordinates(points.k))
        return self._with_site_phases(scattered, points.k)

    def _with_site_phases(self, matrices: Complex[Array, "c n n K"], k: Float[Array, "d K"]):
        """Matrices of the basis of a box in the basis of scattered points."""
        site_phase = _phases_at_sites(self.model.centres, k)
        return site_phase.conj()[:, None] * matrices * site_phase[None, :]


@materialize
def _phases_at_sites(centres: Float[Array, "n d"], k: Float[Array, "d K"]):
    """e^{ik·τ_n} of each orbital."""
    return jnp.exp(1j * bloch_sums.dot(centres, k))


def _orbital_distances(model: HoppingModel, cells: bloch_sums.Cells) -> Float[Array, "r d n n"]:
    """From orbital m in the home cell to orbital n in another, R + τ_n − τ_m."""
    sites = model.centres[None, :] - model.centres[:, None]
    steps = bloch_sums.dot(jnp.array(cells, float), model.vectors)[:, None, None] + sites
    return jnp.moveaxis(steps, -1, 1)


def _as_array(name: str, values: ArrayLike, kind: type) -> Array:
    try:
        if not are_numbers(values):
            raise TypeError("not numbers")
        return jnp.array(values, kind)  # a copy
    except (TypeError, ValueError) as error:
        what = "complex" if kind is complex else "real"
        raise ValueError(
            f"Argument `{name}` must be an array of {what} numbers, but is {shortened(values)}."
        ) from error


def _as_cells(cells: ArrayLike, dimension: int) -> bloch_sums.Cells:
    """The cells as a hashable value, so that jit compiles once for equal cells."""
    values = np.asarray(cells)
    check_shape("cells", values, ("r", dimension))
    integers = np.rint(values).astype(int)
    if not np.array_equal(integers, values):
        raise ValueError(f"Argument `cells` must be integers, but holds {_first_odd(values)}.")
    return tuple(map(tuple, integers.tolist()))


def _first_odd(values: np.ndarray) -> tuple[float, ...]:
    """The first row that is not made of integers."""
    return tuple(values[np.any(values != np.rint(values), axis=1)][0].tolist())


def _check_lattice(vectors: Float[Array, "..."]) -> None:
    check_shape("lattice", vectors, (1, 1), (2, 2), (3, 3))
    if is_traced(vectors):
        return
    rows = np.asarray(vectors)
    check_finite("lattice", rows)
    if not spans_volume(rows):
        volume, box = abs(np.linalg.det(rows)), np.prod(np.linalg.norm(rows, axis=1))
        raise ValueError(
            f"Argument `lattice` must span a volume, but has a cell of volume {volume:.3g} "
            f"with edges of product {box:.3g}."
        )


def _check_shapes(model: HoppingModel) -> None:
    check_shape("centres", model.centres, ("n", model.dimension))
    r, n = len(model.cells), len(model.centres)
    shapes = {
        "blocks": (model.blocks, [(r, n, n)]),
        "spin": (model.spin_operator, [(3, n, n), (r, 3, n, n)]),
        "position": (model.position, [(r, model.dimension, n, n)]),
    }
    for name, (array, expected) in shapes.items():
        if array is not None:
            check_shape(name, array, *expected, of=f"{r} cells and {n} orbitals")
    home = (0,) * model.dimension
    if model.position is not None and home not in model.cells:
        raise ValueError(
            f"Argument `cells` must hold the home cell {home}, where `position` has the centres, "
            "but does not."
        )


def _check_values(model: HoppingModel) -> None:
    _check_pairs(model.cells)
    arrays = {
        "blocks": model.blocks,
        "centres": model.centres,
        "spin": model.spin_operator,
        "position": model.position,
    }
    known = {
        name: np.asarray(array)
        for name, array in arrays.items()
        if array is not None and not is_traced(array)
    }
    for name, array in known.items():
        check_finite(name, array)
    if "blocks" in known:
        _check_hermitian_blocks("blocks", "H", "eV", model.cells, known["blocks"])
    if "position" in known:
        _check_hermitian_blocks("position", "r", "Angstrom", model.cells, known["position"])
    if {"position", "centres"} <= known.keys():
        _check_centres(model.cells, known["position"], known["centres"])
    if "spin" in known and known["spin"].ndim == 4:
        _check_hermitian_blocks("spin", "S", "hbar/2", model.cells, known["spin"])
    elif "spin" in known:
        _check_hermitian_spin(known["spin"])
        if "centres" in known:
            _check_local_spin(known["spin"], known["centres"])


def _check_pairs(cells: bloch_sums.Cells) -> None:
    cell, count = Counter(cells).most_common(1)[0]
    if count > 1:
        raise ValueError(
            f"Argument `cells` must not repeat a cell, but holds {cell} {count} times."
        )
    present = set(cells)
    for cell in cells:
        if bloch_sums.opposite(cell) not in present:
            raise ValueError(
                f"Argument `cells` must hold -R with every R, but has {cell} without "
                f"{bloch_sums.opposite(cell)}."
            )


def _check_hermitian_blocks(
    name: str,
    symbol: str,
    unit: str,
    cells: bloch_sums.Cells,
    blocks: Complex[np.ndarray, "r *c n n"],
) -> None:
    """Cell by cell, because the blocks of a large model should not be held twice."""
    index = {cell: i for i, cell in enumerate(cells)}
    for cell, i in index.items():
        partner = blocks[index[bloch_sums.opposite(cell)]].conj().swapaxes(-1, -2)
        violation = np.max(np.abs(blocks[i] - partner))
        if violation > _HERMITICITY:
            raise ValueError(
                f"Argument `{name}` must obey {symbol}(-R) = {symbol}(R)^dagger, but is off by "
                f"{violation:.3g} {unit} at R = {cell}."
            )


def _check_centres(
    cells: bloch_sums.Cells,
    position: Complex[np.ndarray, "r d n n"],
    centres: Float[np.ndarray, "n d"],
) -> None:
    home = (0,) * centres.shape[1]
    diagonal = np.einsum("dnn->nd", position[cells.index(home)])
    distance = np.max(np.abs(diagonal - centres))
    if distance > _ON_CENTRE:
        raise ValueError(
            "Argument `position` must have the centres on the diagonal of the home cell, but is "
            f"off by {distance:.3g} Angstrom."
        )


def _check_hermitian_spin(spin: Complex[np.ndarray, "3 n n"]) -> None:
    if asymmetry(spin) > _HERMITICITY:
        raise ValueError(
            "Argument `spin` must be three Hermitian matrices, but is off by "
            f"{asymmetry(spin):.3g}."
        )


def _check_local_spin(
    spin: Complex[np.ndarray, "3 n n"], centres: Float[np.ndarray, "n d"]
) -> None:
    apart = np.linalg.norm(centres[:, None] - centres[None, :], axis=-1) > _APART
    coupled = np.argwhere(apart & (np.max(np.abs(spin), axis=0) > _COUPLED))
    if len(coupled):
        m, n = coupled[0].tolist()
        raise ValueError(
            "Argument `spin` must not couple orbitals at different places, but couples the "
            f"orbitals {m} and {n}."
        )
