"""The bands at wave vectors of a user: the k axes first, whatever their number.

Inside the package the k axis is last (`bands.Bands`); here nothing depends on where it is.
"""

import dataclasses
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float, Inexact, Int

from jaxspin.band_structure import geometry
from jaxspin.band_structure.bands import Bands
from jaxspin.engine.small_matrices import is_traced
from jaxspin.models.lifted import LiftedOperator


class BandStructure(eqx.Module):
    """Bands at k of shape (*batch, d): the axes of the batch come first in every array.

    n is the number of bands, d the dimension. A batch may have any number of axes, none included,
    and `jax.vmap` adds its own in front. Bands within the degeneracy tolerance form a group: what
    refers to single bands of a group depends on an arbitrary choice of its basis.

    >>> import jaxspin as js
    >>> js.bands(js.models.MassiveDirac(velocity=3.3, mass=0.05), [[0.01, 0.02], [0.03, -0.01]])
    2 bands at 2 k
      energies            -0.1157 to 0.1157 eV
      smallest splitting  0.1783 eV
    """

    #: Energies in ascending order, eV, (*batch, n).
    energies: Float[Array, "*batch n"]
    #: Mean energy of the degenerate group of each band, eV, (*batch, n).
    levels: Float[Array, "*batch n"]
    #: Column m is the eigenvector of band m, (*batch, n, n).
    basis: Complex[Array, "*batch n n"]
    #: Whether two bands belong to one degenerate group, (*batch, n, n).
    degenerate: Bool[Array, "*batch n n"]
    #: ħ times the velocity in the band basis, ∂H/∂k − i[A, H], eV Å, (*batch, d, n, n).
    velocity: Complex[Array, "*batch d n n"]
    #: Operators of the model in the band basis by name; `operator` gives their matrices.
    operators: dict[str, LiftedOperator]
    #: Berry curvature of states beyond the basis functions for the pairs a < b of directions, Å²,
    #: (*batch, p, n, n); None without elements of the position operator.
    external_curvature: Complex[Array, "*batch p n n"] | None
    #: Smallest gap to the removed bands of a downfolded model, eV, (*batch); None elsewhere.
    remote_gap: Float[Array, "*batch"] | None

    @property
    def spin(self) -> Complex[Array, "*batch 3 n n"] | None:
        """Spin in the band basis, units of ħ/2, (*batch, 3, n, n); None without a spin operator."""
        return self.operators["spin"].matrices if "spin" in self.operators else None

    @property
    def current_beyond(self) -> Complex[Array, "*batch d 3 n n"] | None:
        """Spin current less ½{s, v} of a downfolded model, eV Å, (*batch, d, 3, n, n).

        None of other models and without a spin operator.
        """
        return self.operators["spin"].current if "spin" in self.operators else None

    @property
    def groups(self) -> Int[Array, "*batch n"]:
        """Index of the degenerate group of each band, from 0 upwards, (*batch, n)."""
        begins = jnp.argmax(self.degenerate, axis=-1) == jnp.arange(self.energies.shape[-1])
        return jnp.cumsum(begins, axis=-1) - 1

    @property
    def gap(self) -> Float[Array, "*batch n n"]:
        """ε_m − ε_n between groups, and 0 inside a group, eV, (*batch, n, n)."""
        return self._evaluate_bands(lambda bands: bands.gap)

    @property
    def inverse_gap(self) -> Float[Array, "*batch n n"]:
        """1/(ε_m − ε_n) between groups, and 0 inside a group, 1/eV, (*batch, n, n)."""
        return self._evaluate_bands(lambda bands: bands.inverse_gap)

    @property
    def splitting(self) -> Float[Array, "*batch"]:
        """The smallest gap between two groups, or from one to a removed band, eV, (*batch)."""
        return self._evaluate_bands(lambda bands: bands.splitting)

    @property
    def berry_connection(self) -> Complex[Array, "*batch d n n"]:
        """Berry connection between groups, −i ħv_mn/(ε_m − ε_n), Å, (*batch, d, n, n)."""
        return self._evaluate_bands(lambda bands: bands.connection)

    @property
    def connection(self) -> Complex[Array, "*batch d n n"]:
        """`berry_connection`."""
        return self.berry_connection

    @property
    def active_connection(self) -> Complex[Array, "*batch d n n"]:
        """Berry connection of the pairs that a field can mix: all of them, without occupations."""
        return self.berry_connection

    @property
    def berry_curvature(self) -> Float[Array, "*batch n d d"]:
        """Ω_ab of each band, Å², averaged over its group, (*batch, n, d, d): `berry_curvature`."""
        return self._evaluate_bands(geometry.GroupMean(geometry.berry_curvature))

    @property
    def spin_current(self) -> Complex[Array, "*batch d 3 n n"] | None:
        """Conventional spin current ½{s, ħv}, eV Å with s in units of ħ/2, (*batch, d, 3, n, n).

        Of a downfolded model with what the removed bands add; None without a spin operator.
        """
        return None if self.spin is None else self.current("spin")

    @property
    def torque(self) -> Complex[Array, "*batch 3 n n"] | None:
        """Spin torque i[H, s], eV with s in units of ħ/2, (*batch, 3, n, n): i (ε_m − ε_n) s_mn.

        The rate ds/dt is this times 1/ħ. None without a spin operator.
        """
        return None if self.spin is None else self.rate("spin")

    def operator(self, name: str) -> Complex[Array, "*batch_c n n"]:
        """Matrix elements of an operator in the band basis, by name.

        Args:
            name: one of `Model.operators`, such as "spin"; "velocity", or "spin_current" and
                "torque", as the fields of that name.
        Returns:
            One matrix, (*batch, n, n), or as many components as the operator of the model has,
            (*batch, c, n, n), in its units.
        Raises:
            ValueError: the model has no operator of this name.

        >>> import jaxspin as js
        >>> bands = js.bands(js.models.Rashba(kinetic=0.5, velocity=0.3), [[0.1, 0.2]])
        >>> bands.operator("spin_current").shape  # k, flow, spin, band, band
        (1, 2, 3, 2, 2)
        """
        of_spin = ("spin_current", "torque") if "spin" in self.operators else ()
        if name in ("velocity", *of_spin):
            return getattr(self, name)
        return self._find(name, "velocity", *of_spin).matrices

    def current(self, of: str) -> Complex[Array, "*batch d c n n"]:
        """Conventional current ½{O, ħv} of an operator of the model, (*batch, d, c, n, n).

        In units of the operator times eV Å; without the axis c where it is a single matrix. Of a
        downfolded model with what the removed bands add.

        Raises:
            ValueError: the model has no operator of this name.
        """
        found = self._find(of)
        single = found.matrices.ndim == self.basis.ndim
        matrices = found.matrices[..., None, :, :] if single else found.matrices
        operator, velocity = matrices[..., None, :, :, :], self.velocity[..., :, None, :, :]
        current = (
            _multiply_matrices(operator, velocity) + _multiply_matrices(velocity, operator)
        ) / 2
        if found.current is not None:
            current = current + found.current
        return current[..., 0, :, :] if single else current

    def rate(self, of: str) -> Complex[Array, "*batch_c n n"]:
        """Rate of change i[H, O] of an operator of the model: i (ε_m − ε_n) O_mn, times ħ.

        In units of the operator times eV; the torque for the spin.

        Raises:
            ValueError: the model has no operator of this name.
        """
        matrices = self._find(of).matrices
        difference = self.energies[..., :, None] - self.energies[..., None, :]
        components = (1,) * (matrices.ndim - self.basis.ndim)
        return (
            1j
            * difference.reshape(*self._batch_shape, *components, *self.basis.shape[-2:])
            * matrices
        )

    def _find(self, name: str, *others: str) -> LiftedOperator:
        if name not in self.operators:
            names = ", ".join(map(repr, (*others, *self.operators))) or "none"
            raise ValueError(
                f"Argument `{'name' if others else 'of'}` must be one of the operators of the "
                f"model ({names}), but is {name!r}."
            )
        return self.operators[name]

    def to_orbitals(self, operator: Inexact[Array, "*batch_c n n"]) -> Array:
        """An operator in the band basis, in the basis in which the model gives H(k): U X U†.

        The columns of U inside a degenerate group, and their phases, are one arbitrary choice, on
        which this does not depend.

        Raises:
            ValueError: `operator` lacks the axes of the batch in front, or is no (n, n) matrix.
        """
        operator = self._check_batch(operator)
        others = (1,) * (operator.ndim - self.basis.ndim)
        basis = self.basis.reshape(*self._batch_shape, *others, *self.basis.shape[-2:])
        return _multiply_matrices(
            _multiply_matrices(basis, operator), jnp.conj(jnp.swapaxes(basis, -1, -2))
        )

    def intraband(self, operator: Inexact[Array, "*batch_c n n"]) -> Inexact[Array, "*batch_c n n"]:
        """The part of an operator inside the degenerate groups.

        Raises:
            ValueError: `operator` lacks the axes of the batch in front, or is no (n, n) matrix.
        """
        return self._evaluate_bands(lambda bands: bands.intraband(self._to_last_axis(operator)))

    def interband(self, operator: Inexact[Array, "*batch_c n n"]) -> Inexact[Array, "*batch_c n n"]:
        """The part of an operator between the degenerate groups.

        Raises:
            ValueError: `operator` lacks the axes of the batch in front, or is no (n, n) matrix.
        """
        return self._evaluate_bands(lambda bands: bands.interband(self._to_last_axis(operator)))

    def _evaluate_bands(self, function: Callable[[Bands], Array]) -> Array:
        """`function` of the bands with one k axis, the last, with the k axes moved to the front."""
        flat = jax.tree.map(lambda x: _flatten_batch(x, self._batch_shape), vars(self))
        return move_k_first(function(Bands(active=~flat["degenerate"], **flat)), self._batch_shape)

    def _to_last_axis(self, operator: Inexact[Array, "*batch_c n n"]) -> Array:
        return _flatten_batch(self._check_batch(operator), self._batch_shape)

    def _check_batch(self, operator) -> Array:
        operator, shape = jnp.asarray(operator), self.degenerate.shape
        axes = len(self._batch_shape)
        if operator.shape[:axes] != shape[:axes] or operator.shape[axes:][-2:] != shape[-2:]:
            raise ValueError(
                f"Argument `operator` must have the k axes {shape[:axes]} in front and the bands "
                f"{shape[-2:]} at the end, but has shape {operator.shape}."
            )
        return operator

    @property
    def _batch_shape(self) -> tuple[int, ...]:
        return self.energies.shape[:-1]

    def __repr__(self) -> str:
        points = " x ".join(map(str, self._batch_shape)) or "one"
        title = f"{self.energies.shape[-1]} bands at {points} k"
        if is_traced(self.energies) or self.energies.size == 0:
            return title
        low, high = float(jnp.min(self.energies)), float(jnp.max(self.energies))
        splitting = float(jnp.min(self.splitting))
        return "\n".join(
            [
                title,
                f"  energies            {low:.4g} to {high:.4g} eV",
                f"  smallest splitting  {splitting:.4g} eV",
            ]
        )

    __str__ = __repr__


def _multiply_matrices(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")


def from_bands(bands: Bands, batch: tuple[int, ...]) -> BandStructure:
    """The bands of a tile of k-points that stand for a batch of this shape."""
    fields = {field.name: getattr(bands, field.name) for field in dataclasses.fields(BandStructure)}
    return BandStructure(**move_k_first(fields, batch))


def move_k_first(tree, batch: tuple[int, ...]):
    """Arrays with one k axis at the end, as arrays with the axes of the batch in front."""
    move = lambda x: jnp.moveaxis(x, -1, 0).reshape(*batch, *x.shape[:-1])  # noqa: E731
    return jax.tree.map(move, tree)


def _flatten_batch(x: Array, batch: tuple[int, ...]) -> Array:
    """An array with the axes of the batch in front, as one with a single k axis at the end."""
    rest = x.shape[len(batch) :]
    return jnp.moveaxis(x.reshape(math.prod(batch), *rest), 0, -1)
