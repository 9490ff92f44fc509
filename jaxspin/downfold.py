"""Effective Hamiltonians of a few bands, and the operators that go with them.

`downfold` rotates H(k) such that kept and removed functions decouple, exactly or order by order,
and gives the kept block as a model. Every operator is rotated with it: the spin then depends on k,
the velocity is ∂H_eff − i[A, H_eff] with A the Berry connection of the rotated functions, and the
spin current has a part that no product of the two contains. The theory is that of Samokhin, Sigrist
and Fischer (2025); numbers in brackets are its equations. docs/downfolding.md has the derivation.
"""

import itertools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxspin import checks
from jaxspin.algebra import anticommutator, commutator, dagger, is_traced, matmul, sandwich
from jaxspin.compiled import staged
from jaxspin.eigensolvers import eigh
from jaxspin.meshes import Mesh
from jaxspin.models.base import BasisConnection, Lifted, Model, number_of_bands
from jaxspin.rotations import Blocks, LeastAction, Perturbation, Rotation, isometry, spectrum

_TOUCH = 1e-9  # gap, relative to the largest |H|, below which two blocks cannot be told apart
_SAMPLES = 5

Operator = Callable[[Float[Array, " d"]], Array] | Array | np.ndarray


class Keep(eqx.Module):
    """What stays in an effective model: functions of the basis, or bands."""

    @abstractmethod
    def blocks(self, model: Model) -> Blocks:
        """The reference functions of the kept and the other blocks, and their bands."""


class Functions(Keep):
    """Functions of the basis of the model, by index. At `at` they are what the bands consist of.

    The kept bands are those with most weight on the kept functions at the wave vector `at` (1/Å;
    k = 0 where it is not given), and the same ones, counted from the lowest, at every k.

    `others` are further blocks, which perturbation theory treats apart from each other: what
    couples any two blocks is the perturbation. Functions that are not named are one more block.
    """

    kept: tuple[int, ...] = eqx.field(static=True, converter=lambda indices: tuple(indices))
    others: tuple[tuple[int, ...], ...] = eqx.field(static=True, default=())
    at: Float[Array, " d"] | None = None

    def blocks(self, model):
        n = number_of_bands(model)
        groups = _partition([self.kept, *self.others], n)
        order = [i for group in groups for i in group]
        weights = jnp.abs(_bands_at(model, self.at)[1]) ** 2
        free, bands = jnp.ones(n, bool), []
        for group in groups:
            weight = jnp.where(free, jnp.sum(weights[np.array(group)], axis=0), -1.0)
            chosen = jnp.sort(jnp.argsort(-weight)[: len(group)])
            free = free.at[chosen].set(False)
            bands.append(chosen)
        frame = jnp.eye(n, dtype=complex)[:, np.array(order)]
        return Blocks(frame, jnp.concatenate(bands), tuple(map(len, groups)))


class Lowest(Keep):
    """The lowest bands. Their eigenvectors at `at` (1/Å; k = 0) are the reference functions."""

    number: int = eqx.field(static=True)
    at: Float[Array, " d"] | None = None

    def blocks(self, model):
        n = number_of_bands(model)
        _check_number(self.number, n)
        return _of_bands(model, np.arange(n), self.number, self.at)


class Window(Keep):
    """The bands with energies from `low` to `high` (eV) at `at` (1/Å; k = 0), at every k.

    Their eigenvectors there are the reference functions.
    """

    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    at: Float[Array, " d"] | None = None

    def blocks(self, model):
        if is_traced(model):
            raise ValueError(
                "Argument `keep` must be Lowest(m) or indices inside jit, grad and vmap, where "
                "the number of bands in a Window is not known, but is a Window."
            )
        energies = np.asarray(_bands_at(model, self.at)[0])
        inside = (energies >= self.low) & (energies <= self.high)
        _check_number(int(inside.sum()), len(energies))
        order = np.concatenate([np.flatnonzero(inside), np.flatnonzero(~inside)])
        return _of_bands(model, order, int(inside.sum()), self.at)


def downfold(model: Model, keep, *, order: int | None = None) -> "EffectiveModel":
    """The effective model of a few bands.

    H_eff = T†HT, T†T = 1: with T the kept columns of the rotation of least action, which is the
    unitary nearest to 1 that decouples the kept functions from the rest (16). Its bands are bands
    of `model` exactly where `order` is None.

    Args:
        keep: indices of basis functions, or `Functions`, `Lowest`, `Window`.
        order: of perturbation theory in what couples the blocks. Errors are of order n + 2 for
            even n and two blocks, and odd orders add nothing.
    Returns:
        `EffectiveModel`, a Model in the basis of the dressed reference functions.
    Raises:
        ValueError: nothing or all is kept; kept and removed bands touch (gap and k are named); with
            an order, unperturbed levels of two blocks touch.

    >>> import jaxspin as js
    >>> model = js.models.CrystalFieldC4v(gap=1.0, a=0.05, b=0.2, b_inter=0.03, kinetic=0.5)
    >>> two = js.downfold(model, (0, 1))
    >>> print(f"{two(jnp.zeros(2))[0, 0].real:.6f}")
    -0.002244
    """
    checks.check_model(model)
    _check_order(order)
    keep = keep if isinstance(keep, Keep) else Functions(_as_indices(keep))
    blocks = keep.blocks(model)
    if not is_traced(model):
        _check_apart(model, keep, blocks, order)
    rotation = LeastAction() if order is None else Perturbation(order)
    return EffectiveModel(model, blocks, rotation)


class EffectiveModel(Model):
    """The kept block of a model, with everything rotated to it; made by `downfold`."""

    model: Model
    blocks: Blocks
    rotation: Rotation

    @property
    def dimension(self) -> int:
        return self.model.dimension

    @property
    def lattice(self):
        return self.model.lattice

    @property
    def matrix_size(self) -> int:
        return self.model.matrix_size

    def __call__(self, k: Float[Array, " d"]) -> Complex[Array, "m m"]:
        return self._dressed(self.model(k).astype(complex)[..., None], k)[..., 0]

    def spin(self):
        raise ValueError(
            "The spin operator of a downfolded model depends on k: `spin_at(k)` gives it."
        )

    def prepared(self) -> "EffectiveModel":
        return EffectiveModel(self.model.prepared(), self.blocks, self.rotation)

    def dress(self, operator: Operator) -> Callable[[Float[Array, " d"]], Complex[Array, "..."]]:
        """An operator of the full model in the effective one, O_eff = T†OT (22), (23).

        Args:
            operator: k -> (..., n, n) in the basis of the full model, or an array of that shape.
        Returns:
            k -> (..., m, m), in the units of the operator. The spin current is no product of the
            dressed spin and the dressed velocity: dress the product.
        Raises:
            ValueError: the operator has another shape.

        >>> import jaxspin as js
        >>> model = js.models.CrystalFieldC4v(gap=1.0, a=0.05, b=0.2, b_inter=0.03, kinetic=0.5)
        >>> spin = js.downfold(model, (0, 1)).dress(model.spin())
        >>> spin(jnp.array([0.3, 0.0])).shape
        (3, 2, 2)
        """
        at = operator if callable(operator) else lambda k: operator
        shape = jax.eval_shape(at, jax.ShapeDtypeStruct((self.dimension,), float)).shape
        n = number_of_bands(self.model)
        if len(shape) < 2 or shape[-2:] != (n, n):
            raise ValueError(
                f"Argument `operator` must have shape (..., {n}, {n}), but has {shape}."
            )
        return lambda k: self._dressed(jnp.asarray(at(k))[..., None], k)[..., 0]

    def columns(self, k: Float[Array, " d"]) -> Complex[Array, "n m"]:
        """T: the dressed functions as columns in the basis of the full model."""
        columns = self._columns(self.model(k).astype(complex)[..., None])
        return self.rotation.total(columns, self.blocks)[..., 0]

    def spin_current(self, k: Float[Array, " d"]) -> "SpinCurrent":
        """The dressed spin current and what the standard definition makes of it, at one k."""
        k = jnp.asarray(k)[:, None]
        lifted = self.lift(k, spin=True, curl=False)
        slopes, connection = lifted.slopes, lifted.connection.connection
        velocity = slopes - 1j * commutator(connection, lifted.hamiltonian)
        total = lifted.current + 0.5 * anticommutator(lifted.spin, velocity[:, None])
        frame = self.blocks.frame[:, : self.blocks.sizes[0]]
        bare = sandwich(frame[..., None], self.model.spin_at(k))
        standard, renormalised = (
            0.5 * anticommutator(spin, slopes[:, None]) for spin in (bare, lifted.spin)
        )
        return SpinCurrent(*(x[..., 0] for x in (total, standard, renormalised)))

    def undressed(self) -> "UndressedModel":
        """H_eff with the spin operator of the bare functions: what (2) is computed with."""
        return UndressedModel(self)

    def effective(self, hamiltonian: Complex[Array, "n n K"]) -> Complex[Array, "m m K"]:
        """H_eff from H at many k, the k axis last."""
        return self._effective(hamiltonian)[1]

    # --- tiles: what responses use ---------------------------------------------------------------

    def tile(self, k):
        hamiltonian, slopes = self._full(k)
        (_, effective), (_, changes) = self._derivatives(hamiltonian, slopes)
        return effective, changes

    def spin_at(self, k, box=None):
        columns = self._columns(self._full(k)[0])
        return self.rotation.dress(columns, self.model.spin_at(k), self.blocks)

    @property
    def external_terms(self) -> bool:
        return True

    def basis_connection(self, k, box=None, *, curl=False):
        return self.lift(k, spin=False, curl=curl).connection

    def lift(self, k, box=None, *, spin, curl):
        return staged(partial(self._lift, spin=spin, curl=curl))(k)

    def _lift(self, k, spin, curl):
        hamiltonian, slopes = self._full(k)
        (columns, effective), (changes, effective_slopes) = self._derivatives(hamiltonian, slopes)
        own = self.model.basis_connection(k, curl=curl) if self.model.external_terms else None
        connection = self._connection(columns, changes, own, curl)
        lifted = Lifted(effective, effective_slopes, None, connection)
        if not spin:
            return lifted
        dress = partial(self.rotation.dress, columns, blocks=self.blocks)
        full_spin = self.model.spin_at(k)
        current = dress(self._current(hamiltonian, slopes, full_spin, own))
        dressed_spin = dress(full_spin)
        velocity = effective_slopes - 1j * commutator(connection.connection, effective)
        product = 0.5 * anticommutator(dressed_spin, velocity[:, None])
        return lifted._replace(spin=dressed_spin, current=current - product)

    # --- pieces ----------------------------------------------------------------------------------

    def _full(self, k):
        hamiltonian, slopes = self.model.tile(k)
        return hamiltonian.astype(complex), slopes.astype(complex)

    def _columns(self, hamiltonian):
        return self.rotation.columns(hamiltonian, self.blocks)

    def _dressed(self, operator, k):
        columns = self._columns(self.model(k).astype(complex)[..., None])
        return self.rotation.dress(columns, operator, self.blocks)

    def _effective(self, hamiltonian):
        """T and H_eff."""
        columns = self._columns(hamiltonian)
        dressed = self.rotation.dress(columns, hamiltonian, self.blocks)
        return columns, (dressed + dagger(dressed)) / 2

    def _derivatives(self, hamiltonian, slopes):
        """T and H_eff, and their derivatives along the components of k, which lead."""
        along = lambda slope: jax.jvp(self._effective, (hamiltonian,), (slope,))  # noqa: E731
        return jax.vmap(along, out_axes=(None, 0))(slopes)

    @staticmethod
    def _current(hamiltonian, slopes, spin, own):
        """½{s, v} of the full model, v = ∂H − i[A, H], (d, 3, n, n, K)."""
        if own is not None:
            slopes = slopes - 1j * commutator(own.connection, hamiltonian)
        return 0.5 * anticommutator(spin, slopes[:, None])

    def _connection(self, columns, changes, own, curl) -> BasisConnection:
        """A = iT†∂T + T†A_full T, and its curl from the curvature of the kept space.

        That is i(X_a†X_b − X_b†X_a), X_a = (1 − TT†)(∂_a − iA_full,a)T.
        """
        connection = 1j * self.rotation.overlap(columns, changes)
        if own is not None:
            connection = connection + self.rotation.dress(columns, own.connection, self.blocks)
        if not curl:
            return BasisConnection(connection, None)
        a, b = np.triu_indices(self.dimension, 1)
        t = self.rotation.total(columns, self.blocks)
        x = self.rotation.total(changes, self.blocks)
        if own is not None:
            x = x - 1j * matmul(own.connection, t)
        x = x - matmul(t, matmul(dagger(t), x))
        curvature = 1j * (matmul(dagger(x[a]), x[b]) - matmul(dagger(x[b]), x[a]))
        if own is not None:
            beyond = own.curl - 1j * commutator(own.connection[a], own.connection[b])
            curvature = curvature + self.rotation.dress(columns, beyond, self.blocks)
        return BasisConnection(
            connection, curvature + 1j * commutator(connection[a], connection[b])
        )


class SpinCurrent(eqx.Module):
    """The spin current of an effective model at one k, and the standard definition, eV Å.

    Axes (flow, spin, m, m); times 1/ħ it is a current, spin in units of ħ/2.
    """

    #: The dressed spin current T†½{s, ∂H}T (20).
    total: Complex[Array, "d 3 m m"]
    #: ½{∂H_eff, s} with the spin of the bare functions: the first term of (26) and (27).
    standard: Complex[Array, "d 3 m m"]
    #: ½{∂H_eff, s_eff}, with the dressed spin.
    renormalised: Complex[Array, "d 3 m m"]

    @property
    def correction(self) -> Complex[Array, "d 3 m m"]:
        """δJ of (27): what the standard definition leaves out."""
        return self.total - self.standard


class UndressedModel(Model):
    """H_eff with the bare spin operator and velocity ∂H_eff, as if it were a model of its own.

    Responses of it follow the standard definition (2). They are not those of the crystal.
    """

    effective: EffectiveModel

    @property
    def dimension(self) -> int:
        return self.effective.dimension

    @property
    def lattice(self):
        return self.effective.lattice

    @property
    def matrix_size(self) -> int:
        return self.effective.matrix_size

    def __call__(self, k):
        return self.effective(k)

    def tile(self, k):
        return self.effective.tile(k)

    def prepared(self):
        return UndressedModel(self.effective.prepared())

    def spin(self):
        return self.spin_at(jnp.zeros((self.dimension, 1)))[..., 0]

    def spin_at(self, k, box=None):
        frame = self.effective.blocks.frame[:, : self.effective.blocks.sizes[0]]
        return sandwich(frame[..., None], self.effective.model.spin_at(k))


# --- validity -------------------------------------------------------------------------------------


class Validity(eqx.Module):
    """How well kept and removed bands are apart along some k, and what an order leaves out."""

    #: Smallest gap between kept and removed bands, eV, and where it is, 1/Å.
    gap: Float[Array, ""]
    gap_at: Float[Array, " d"]
    #: Largest angle between kept bands and reference functions, radians: the size of the generator
    #: Q. Near π/2 the effective basis ceases to exist.
    angle: Float[Array, ""]
    #: Estimated error of the bands of H_eff, eV: the largest change from this order to the next
    #: that adds something (order + 2). Zero for the exact rotation.
    error: Float[Array, ""]

    def __repr__(self) -> str:
        return (
            f"gap between kept and removed bands at least {float(self.gap):.4g} eV, at k = "
            f"{np.asarray(self.gap_at)}\nangle of the generator at most {float(self.angle):.3g}\n"
            f"error of the bands about {float(self.error):.2g} eV (estimated)"
        )

    __str__ = __repr__


def validity(model: EffectiveModel, k: Mesh | Float[Array, "*batch d"]) -> Validity:
    """Whether an effective model holds, on a mesh or at given k (1/Å, shape (..., d)).

    Raises:
        ValueError: `model` is not from `downfold`; `k` has another dimension.
    """
    if not isinstance(model, EffectiveModel):
        raise ValueError(
            "Argument `model` must be an EffectiveModel, as `downfold` makes it, "
            f"but is of type {type(model).__name__}."
        )
    points = _points(model, k)
    gaps, angles = _apartness(model.model, model.blocks, points)
    worst = jnp.argmin(gaps)
    return Validity(gaps[worst], points[:, worst], jnp.max(angles), _order_error(model, points))


def _points(model, k) -> Float[Array, "d K"]:
    if isinstance(k, Mesh):
        checks.check_mesh(model.model, k)
        return k.points(jnp.arange(k.size), model.lattice).k
    k = jnp.asarray(k, dtype=jnp.result_type(float))
    if k.ndim == 0 or k.shape[-1] != model.dimension:
        raise ValueError(
            f"Argument `k` must be a mesh or have a last axis of length {model.dimension}, "
            f"but has shape {k.shape}."
        )
    return k.reshape(-1, model.dimension).T


@eqx.filter_jit
def _apartness(model, blocks, k):
    """Gap and angle between kept and removed at each k."""
    bands = spectrum(model.tile(k)[0].astype(complex), blocks.bands)
    m = blocks.sizes[0]
    gaps = jnp.abs(bands.energies[:m, None] - bands.energies[None, m:])
    overlap = matmul(dagger(bands.basis[:, :m]), blocks.frame[:, :m, None])
    cosines = jnp.sqrt(jnp.clip(eigh(matmul(dagger(overlap), overlap))[0][0], 0, 1))
    return jnp.min(gaps, axis=(0, 1)), jnp.arccos(cosines)


@eqx.filter_jit
def _order_error(model, k):
    better = eqx.tree_at(lambda m: m.rotation, model, model.rotation.refined())
    here, there = (eigh(m.effective(m._full(k)[0]))[0] for m in (model, better))
    return jnp.max(jnp.abs(here - there))


# --- reference functions and their bands ----------------------------------------------------------


def _bands_at(model, at):
    """Energies and eigenvectors at one k, as constants."""
    k = jnp.zeros(model.dimension) if at is None else jnp.asarray(at, float)
    if not is_traced(model):  # LAPACK, for there is nothing to compile
        return tuple(map(jnp.asarray, np.linalg.eigh(np.asarray(model(k)))))
    energies, basis = spectrum(model(k).astype(complex)[..., None])
    return energies[..., 0], basis[..., 0]


def _of_bands(model, order, number, at) -> Blocks:
    """Eigenvectors at one k as reference functions, in this order of the bands.

    They follow a change of the model by the rotation of least action.
    """
    frame = _bands_at(model, at)[1][:, order]
    if is_traced(model):
        k = jnp.zeros(model.dimension) if at is None else jnp.asarray(at, float)
        hamiltonian = model(k).astype(complex)[..., None]
        turned = np.roll(order, -number)
        frame = jnp.concatenate(
            [
                isometry(hamiltonian, part, spectrum(hamiltonian, jnp.asarray(bands)))[..., 0]
                for part, bands in ((frame[:, :number], order), (frame[:, number:], turned))
            ],
            axis=1,
        )
    return Blocks(frame, jnp.asarray(order), (number, len(order) - number))


def _partition(groups: Sequence[Sequence[int]], n: int) -> list[tuple[int, ...]]:
    """The groups, and what is in none of them."""
    named = [i for group in groups for i in group]
    whole = all(isinstance(i, int | np.integer) and 0 <= i < n for i in named)
    if not whole or len(set(named)) < len(named) or not all(groups):
        raise ValueError(
            f"Argument `keep` must be different indices of basis functions from 0 to {n - 1}, "
            f"but is {groups[0]!r}" + (f" with others {groups[1:]!r}." if groups[1:] else ".")
        )
    _check_number(len(groups[0]), n)
    rest = tuple(i for i in range(n) if i not in named)
    return [tuple(map(int, group)) for group in groups] + ([rest] if rest else [])


def _as_indices(keep) -> tuple[int, ...]:
    try:
        return tuple(keep)
    except TypeError:
        raise ValueError(
            "Argument `keep` must be indices of basis functions, or Functions, Lowest or Window, "
            f"but is {keep!r}."
        ) from None


# --- checks ---------------------------------------------------------------------------------------


def _check_number(number, n) -> None:
    if not isinstance(number, int) or not 0 < number < n:
        raise ValueError(
            f"Argument `keep` must leave at least one band and remove at least one of {n}, "
            f"but keeps {number}."
        )


def _check_order(order) -> None:
    if order is not None and (isinstance(order, bool) or not isinstance(order, int) or order < 0):
        raise ValueError(
            f"Argument `order` must be None or an integer, at least 0, but is {order!r}."
        )


def _check_apart(model, keep, blocks, order) -> None:
    """Kept and removed bands, and with an order unperturbed levels, are apart at a few k."""
    d = model.dimension
    at = np.zeros(d) if keep.at is None else np.asarray(keep.at)
    random = np.random.default_rng(20231119).uniform(-1, 1, size=(_SAMPLES, d))
    k = np.concatenate([at[None], random])
    hamiltonian = np.stack([np.asarray(model(x)) for x in k])
    energies = np.linalg.eigvalsh(hamiltonian)[:, np.asarray(blocks.bands)]
    _refuse_touching(energies, (blocks.sizes[0],), k, "kept and removed bands")
    if order is None:
        return
    frame = np.asarray(blocks.frame)
    inside = frame.conj().T @ hamiltonian @ frame
    cuts = itertools.pairwise(np.cumsum([0, *blocks.sizes]))
    levels = [np.linalg.eigvalsh(inside[:, a:b, a:b]) for a, b in cuts]
    what = "unperturbed levels of two blocks"
    _refuse_touching(np.concatenate(levels, axis=1), blocks.sizes[:-1], k, what)


def _refuse_touching(energies, sizes, k, what) -> None:
    """Each of the blocks of these sizes, along the axis of bands, is apart from the later ones."""
    for start, end in itertools.pairwise(np.cumsum([0, *sizes])):
        gaps = np.abs(energies[:, start:end, None] - energies[:, None, end:]).min(axis=(1, 2))
        worst = int(np.argmin(gaps))
        if gaps[worst] <= _TOUCH * np.max(np.abs(energies)):
            raise ValueError(
                f"Argument `keep` must separate bands, but {what} touch: the gap is "
                f"{gaps[worst]:.1e} eV at k = {k[worst]}."
            )
