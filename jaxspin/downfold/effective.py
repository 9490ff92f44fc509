"""The effective model: the kept block of a rotated H(k), with every operator rotated to it."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

from jaxspin.downfold.block_diagonalization import (
    Blocks,
    Rotation,
    apply_resolvent,
    fixed_spectrum,
    project_out,
)
from jaxspin.downfold.validity import Validity, measure_validity
from jaxspin.engine.annotations import Numbers
from jaxspin.engine.small_matrices import anticommutator, commutator, dagger, matmul, sandwich
from jaxspin.engine.validate import check_shape
from jaxspin.engine.xla import separate_kernel
from jaxspin.meshes.mesh import Mesh
from jaxspin.models.base import Derived, Model, hamiltonian_at, number_of_bands
from jaxspin.models.lifted import (
    NOTHING_ELSE,
    BasisConnection,
    Lifted,
    LiftedOperator,
    Needs,
    Points,
)
from jaxspin.models.operators import Operator, evaluate_operator, named_operators
from jaxspin.models.remote import RemoteStates


class EffectiveModel(Derived):
    """The kept block of a model, with everything rotated to it; made by `downfold`."""

    model: Model
    blocks: Blocks
    rotation: Rotation

    @property
    def downfolded(self) -> bool:
        return True

    def __call__(self, k: Float[Array, " d"]) -> Complex[Array, "m m"]:
        return self.effective_hamiltonian(self._full_hamiltonian(k))[..., 0]

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
        found = jax.eval_shape(at, jax.ShapeDtypeStruct((self.dimension,), float))
        n = number_of_bands(self.model)
        check_shape("operator", found, (..., n, n))

        def dress_at(k):
            self._check_wave_vector(k)
            columns = self._kept_columns(self._full_hamiltonian(k))
            return self._dress_operator(columns, jnp.asarray(at(k))[..., None])[..., 0]

        return dress_at

    def columns(self, k: Float[Array, " d"]) -> Complex[Array, "n m"]:
        """T: the dressed functions as columns in the basis of the full model."""
        self._check_wave_vector(k)
        columns = self._kept_columns(self._full_hamiltonian(k))
        return self.rotation.sum_orders(columns, self.blocks)[..., 0]

    def spin_current(self, k: Float[Array, " d"]) -> "SpinCurrent":
        """The dressed spin current and that of the standard definition, at one k."""
        self._check_wave_vector(k)
        k = jnp.asarray(k)[:, None]
        lifted = self.lift(Points(k), Needs(("spin",)))
        velocity = lifted.connection.velocity(lifted.hamiltonian, lifted.slopes)
        bare, dressed = self.undressed().spin_at(k), lifted.operators["spin"]
        spin = dressed.matrices
        pairs = ((spin, velocity), (bare, lifted.slopes), (spin, lifted.slopes))
        product, standard, renormalised = (
            _WithCurrent.from_velocity(*pair).current for pair in pairs
        )
        total = product + dressed.current
        return SpinCurrent(*(x[..., 0] for x in (total, standard, renormalised)))

    def undressed(self) -> "UndressedModel":
        """H_eff with the spin operator of the bare functions, the one that (2) takes."""
        return UndressedModel(self)

    def validity(self, k: Mesh | Numbers) -> Validity:
        """Return the gap to the removed bands, the angle of the rotation, and the error of bands.

        Args:
            k: a mesh, or wave vectors in 1/Å, shape (..., d).
        Raises:
            ValueError: `k` has another dimension.

        >>> import jaxspin as js
        >>> model = js.models.CrystalFieldC4v(gap=1.0, a=0.05, b=0.2, b_inter=0.03, kinetic=0.5)
        >>> report = js.downfold(model, (0, 1)).validity(js.Disk(0.8, 4, 4))
        >>> print(f"{report.gap:.3f} eV, {report.angle:.3f}")
        0.801 eV, 0.088
        """
        return measure_validity(self, k)

    def effective_hamiltonian(
        self, hamiltonian: Complex[Array, "n n K"]
    ) -> Complex[Array, "m m K"]:
        """H_eff from H at many k, the k axis last."""
        return self._dress_hamiltonian(hamiltonian)[1]

    # --- tiles: what responses use ---------------------------------------------------------------

    def operators(self):
        return {name: self.dress(full) for name, full in named_operators(self.model).items()}

    @property
    def external_terms(self) -> bool:
        return True

    def lift(self, points, needs=NOTHING_ELSE):
        @separate_kernel
        def lift_tile(k):
            return self._lift_tile(needs, k)

        return lift_tile(points.k)

    def _lift_tile(self, needs: Needs, k) -> Lifted:
        full = self.model.lift(Points(k), needs._replace(remote=False))
        hamiltonian, slopes = full.hamiltonian.astype(complex), full.slopes.astype(complex)
        own = full.connection
        (columns, effective), (changes, effective_slopes) = self._differentiate_dressing(
            hamiltonian, slopes
        )
        connection = self._berry_connection(columns, changes, own)
        leaving = self._remote_derivatives(columns, changes, own)
        curl = self._connection_curl(columns, connection, leaving, own) if needs.curl else None
        changing = BasisConnection(connection, curl)
        full_velocity = slopes if own is None else own.velocity(hamiltonian, slopes)
        velocity = changing.velocity(effective, effective_slopes)

        def dress(operator: LiftedOperator) -> LiftedOperator:
            full = _WithCurrent.from_velocity(operator.components, full_velocity)
            dressed = _WithCurrent(*(self._dress_operator(columns, bare) for bare in full))
            current = _WithCurrent.from_velocity(dressed.operator, velocity).current
            states = (hamiltonian, columns, leaving, full)
            return LiftedOperator(
                dressed.operator.reshape(*operator.matrices.shape[:-3], *effective.shape),
                current=dressed.current - current,
                remote=self._remote_states(*states) if needs.remote else None,
            )

        return Lifted(
            effective,
            effective_slopes,
            {name: dress(operator) for name, operator in full.operators.items()},
            changing,
            remote_gap=self.rotation.smallest_denominator(hamiltonian, self.blocks),
        )

    # --- pieces ----------------------------------------------------------------------------------

    def _check_wave_vector(self, k) -> None:
        check_shape("k", k, (self.dimension,))

    def _full_hamiltonian(self, k):
        """H of the full model at one k, as a tile."""
        return hamiltonian_at(self.model, k).astype(complex)[..., None]

    def _kept_columns(self, hamiltonian):
        return self.rotation.kept_columns(hamiltonian, self.blocks)

    def _dress_operator(self, columns, operator):
        return self.rotation.dress_operator(columns, operator, self.blocks)

    def _dress_hamiltonian(self, hamiltonian):
        """T and H_eff."""
        columns = self._kept_columns(hamiltonian)
        dressed = self._dress_operator(columns, hamiltonian)
        return columns, (dressed + dagger(dressed)) / 2

    def _differentiate_dressing(self, hamiltonian, slopes):
        """T and H_eff, and their derivatives along the components of k, which lead."""
        along = lambda slope: jax.jvp(self._dress_hamiltonian, (hamiltonian,), (slope,))  # noqa: E731
        return jax.vmap(along, out_axes=(None, 0))(slopes)

    def _berry_connection(self, columns, changes, own):
        """A = iT†∂T + T†A_full T."""
        connection = 1j * self.rotation.derivative_overlap(columns, changes)
        if own is not None:
            connection = connection + self._dress_operator(columns, own.connection)
        return connection

    def _remote_derivatives(self, columns, changes, own):
        """X_a = (1 − TT†)(∂_a − iA_full,a)T, derivative of the kept states into removed ones."""
        t = self.rotation.sum_orders(columns, self.blocks)
        x = self.rotation.sum_orders(changes, self.blocks)
        if own is not None:
            x = x - 1j * matmul(own.connection, t)
        return project_out(t, x)

    def _connection_curl(self, columns, connection, leaving, own):
        """Curl of A, from the curvature of the kept states, i(X_a†X_b − X_b†X_a)."""
        a, b = np.triu_indices(self.dimension, 1)
        half = matmul(dagger(leaving[a]), leaving[b])
        curvature = 1j * (half - dagger(half))
        if own is not None:
            curvature = curvature + self._dress_operator(columns, own.curvature())
        return curvature + 1j * commutator(connection[a], connection[b])

    def _remote_states(self, hamiltonian, columns, leaving, full: "_WithCurrent") -> RemoteStates:
        """Field response through the remote (removed) bands, projected onto the kept ones.

        With Y of HY − YH_eff = X, ⟨r|Y|m⟩ = −⟨r|v|m⟩/(ε_m − ε_r)² for r removed:
        −X†sT − T†sX is 2 Im s R, and −i(T†jY − Y†j T) is −2 Im j v/(ε_m − ε_r)². With an order Y
        is from the basis E of the kept bands, E E†T: only of these the equation has a solution.
        """
        t = self.rotation.sum_orders(columns, self.blocks)
        kept = self.rotation.exact_columns(columns, hamiltonian, self.blocks)
        part = matmul(dagger(kept), t)
        source = project_out(kept, matmul(leaving, dagger(part)))
        bands = fixed_spectrum(hamiltonian, self.blocks.bands)
        y = matmul(apply_resolvent(hamiltonian, kept, source, bands), part)
        torque = -matmul(dagger(t), matmul(full.operator, leaving[:, None]))
        current = -1j * matmul(dagger(t), matmul(full.current[:, None], y[None, :, None]))
        return RemoteStates(torque + dagger(torque), current + dagger(current))


class _WithCurrent(NamedTuple):
    """An operator O of c components, and its current ½{O, v}."""

    operator: Inexact[Array, "c n n K"]
    current: Inexact[Array, "d c n n K"]

    @classmethod
    def from_velocity(cls, operator, velocity) -> "_WithCurrent":
        return cls(operator, 0.5 * anticommutator(operator, velocity[:, None]))


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
        """δJ of (27), the part that the standard definition leaves out."""
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

    def prepared(self):
        return UndressedModel(self.effective.prepared())

    def spin(self):
        spin = jnp.asarray(self.effective.model.spin())
        return self._project_on_functions(spin[..., None])[..., 0]

    def operators(self):
        full = named_operators(self.effective.model)
        return {name: partial(self._project_at, operator) for name, operator in full.items()}

    def lift(self, points, needs=NOTHING_ELSE):
        full = self.effective.model.lift(Points(points.k), Needs(needs.operators)).operators
        bare = {
            name: LiftedOperator(self._project_on_functions(operator.matrices))
            for name, operator in full.items()
        }
        return self.effective.lift(points)._replace(connection=None, operators=bare)

    def _project_at(self, operator: Operator, k: Float[Array, " d"]) -> Complex[Array, "*c m m"]:
        return self._project_on_functions(evaluate_operator(operator, k[:, None]))[..., 0]

    def _project_on_functions(
        self, operator: Inexact[Array, "*c n n K"]
    ) -> Complex[Array, "*c m m K"]:
        frame = self.effective.blocks.frame[:, : self.effective.blocks.sizes[0]]
        return sandwich(frame[..., None], operator)
