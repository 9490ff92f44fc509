"""Lattice models with a formula: Qi-Wu-Zhang, Haldane, Kane-Mele, Bernevig-Hughes-Zhang.

The lattice constant is 1 Å. On the honeycomb the direct vectors are a_1 = (1, 0) and
a_2 = (1/2, √3/2), and the orbitals A and B sit at (a_1 + a_2)/3 and 2(a_1 + a_2)/3. Positions of
the orbitals stand in the Bloch phase, so that ∂H/∂k is the velocity.
"""

import dataclasses
from functools import partial

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxspin.engine.small_matrices import PAULI, Constant
from jaxspin.engine.validate import check_number
from jaxspin.models.base import Model, copy_as_float

# `highest`: in single precision a GPU would by default leave three digits of a phase.
_dot = partial(jnp.dot, precision="highest")
_SQUARE = np.eye(2)
_HONEYCOMB = np.array([[1, 0], [1 / 2, np.sqrt(3) / 2]])
# The three bonds from A to its neighbours B, and of the six second neighbours ±d three 120° apart.
_BONDS = np.array([_HONEYCOMB.sum(axis=0) / 3 - cell for cell in (0, _HONEYCOMB[0], _HONEYCOMB[1])])
_SQUARE_LATTICE, _HONEYCOMB_LATTICE = Constant(_SQUARE), Constant(_HONEYCOMB)
_SECOND = np.array([_HONEYCOMB[0], _HONEYCOMB[1] - _HONEYCOMB[0], -_HONEYCOMB[1]])
_TWO_ORBITAL_SPIN = np.array([np.kron(np.eye(2), sigma) for sigma in PAULI[1:]])


class QiWuZhang(Model):
    """Qi-Wu-Zhang model of a Chern insulator on the square lattice, basis (up, down).

    H = A sin k_x σ_x + A sin k_y σ_y + (m + cos k_x + cos k_y) σ_z + t0 (cos k_x + cos k_y)

    Energies in eV, lattice constant 1 Å. The Chern number of the lower band is +1 for
    −2 < m < 0, −1 for 0 < m < 2, and 0 for |m| > 2, whatever t0.

    Source: Qi, Wu and Zhang, Phys. Rev. B 74, 085308 (2006).

    >>> print(QiWuZhang(A=1.0, m=-1.0)(jnp.zeros(2)).real)
    [[ 1.  0.]
     [ 0. -1.]]
    """

    A: Float[Array, ""] = eqx.field(converter=copy_as_float)
    m: Float[Array, ""] = eqx.field(converter=copy_as_float)
    t0: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)

    def __check_init__(self):
        _check_parameters(self)

    @property
    def dimension(self) -> int:
        return 2

    @property
    def lattice(self) -> Float[Array, "2 2"]:
        return _SQUARE_LATTICE.array

    def __call__(self, k: Float[Array, "2"]) -> Complex[Array, "2 2"]:
        identity, x, y, z = PAULI
        cosines = jnp.sum(jnp.cos(k))
        plane = self.A * (jnp.sin(k[0]) * x + jnp.sin(k[1]) * y)
        return plane + (self.m + cosines) * z + self.t0 * cosines * identity

    def spin(self) -> Complex[Array, "3 2 2"]:
        return jnp.asarray(PAULI[1:])


class Haldane(Model):
    """Haldane model on the honeycomb lattice, spinless, basis (A, B).

    H_AA, H_BB = ±onsite + 2 next_hopping Σ_d cos(k·d ± phase),  H_AB = hopping Σ_b e^{ik·b}

    with b the three bonds from A to B and d = a_1, a_2 − a_1, −a_2 the second neighbours. Energies
    in eV, phase in radians, lattice constant 1 Å. The Chern number of the lower band is −1 for
    0 < phase < π and |onsite| < 3√3 next_hopping sin(phase), so that σ_xy = +e²/h.

    The model that WannierBerri and the PythTB examples use is
    `Haldane(onsite=-0.2, hopping=-1.0, next_hopping=0.15, phase=pi / 2)`: they put −δ on A. The
    sign of `onsite` turns the lattice by 180°, and leaves the Hall conductivity as it is.

    Source: Haldane, Phys. Rev. Lett. 61, 2015 (1988).

    >>> model = Haldane(onsite=0.5, hopping=-1.0, next_hopping=0.0, phase=0.0)
    >>> print(model(jnp.zeros(2)).real)
    [[ 0.5 -3. ]
     [-3.  -0.5]]
    """

    onsite: Float[Array, ""] = eqx.field(converter=copy_as_float)
    hopping: Float[Array, ""] = eqx.field(converter=copy_as_float)
    next_hopping: Float[Array, ""] = eqx.field(converter=copy_as_float)
    phase: Float[Array, ""] = eqx.field(converter=copy_as_float)

    def __check_init__(self):
        _check_parameters(self)

    @property
    def dimension(self) -> int:
        return 2

    @property
    def lattice(self) -> Float[Array, "2 2"]:
        return _HONEYCOMB_LATTICE.array

    def __call__(self, k: Float[Array, "2"]) -> Complex[Array, "2 2"]:
        bond = self.hopping * jnp.sum(jnp.exp(1j * _dot(_BONDS, k)))
        angles = _dot(_SECOND, k)
        on_a = self.onsite + 2 * self.next_hopping * jnp.sum(jnp.cos(angles + self.phase))
        on_b = -self.onsite + 2 * self.next_hopping * jnp.sum(jnp.cos(angles - self.phase))
        return jnp.array([[on_a, bond], [jnp.conj(bond), on_b]])

    def spin(self) -> Complex[Array, "3 2 2"]:
        raise ValueError(
            "Argument `model` must be one with spin, but the Haldane model has no spin operator: "
            "its electrons are spinless. Take one such as KaneMele."
        )

    def operators(self):
        """ "sublattice": 1 on A, −1 on B."""
        return {"sublattice": PAULI[3]}


class KaneMele(Model):
    """Kane-Mele model on the honeycomb lattice, basis (A up, A down, B up, B down).

    H_AA = −H_BB = onsite − 2 spin_orbit σ_z Σ_d sin(k·d)
    H_AB = Σ_b e^{ik·b} [hopping + i rashba (σ_x b̂_y − σ_y b̂_x)]

    with b the three bonds from A to B, b̂ their directions, and d = a_1, a_2 − a_1, −a_2 the second
    neighbours. Energies in eV, lattice constant 1 Å. Without `rashba` the spin is conserved and the
    model is a topological insulator for |onsite| < 3√3 |spin_orbit|.

    The model that WannierBerri and the PythTB examples use is
    `KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25)`, called "odd" (topological),
    and the same with onsite=2.5, called "even".

    Source: Kane and Mele, Phys. Rev. Lett. 95, 146802 (2005).

    >>> model = KaneMele(onsite=0.5, hopping=1.0, spin_orbit=0.3)
    >>> print(model(jnp.zeros(2)).real[::2, ::2])
    [[ 0.5  3. ]
     [ 3.  -0.5]]
    """

    onsite: Float[Array, ""] = eqx.field(converter=copy_as_float)
    hopping: Float[Array, ""] = eqx.field(converter=copy_as_float)
    spin_orbit: Float[Array, ""] = eqx.field(converter=copy_as_float)
    rashba: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)

    def __check_init__(self):
        _check_parameters(self)

    @property
    def dimension(self) -> int:
        return 2

    @property
    def lattice(self) -> Float[Array, "2 2"]:
        return _HONEYCOMB_LATTICE.array

    def __call__(self, k: Float[Array, "2"]) -> Complex[Array, "4 4"]:
        identity, x, y, z = PAULI
        phases = jnp.exp(1j * _dot(_BONDS, k))
        direction_x, direction_y = _dot(phases, _BONDS) * np.sqrt(3)  # bonds are 1/√3 Å long
        spin_flip = 1j * self.rashba * (direction_y * x - direction_x * y)
        bond = self.hopping * jnp.sum(phases) * identity + spin_flip
        sines = jnp.sum(jnp.sin(_dot(_SECOND, k)))
        site = self.onsite * identity - 2 * self.spin_orbit * sines * z
        return jnp.block([[site, bond], [bond.conj().T, -site]])

    def spin(self) -> Complex[Array, "3 4 4"]:
        return jnp.asarray(_TWO_ORBITAL_SPIN)

    def operators(self):
        """The spin, and "sublattice": 1 on A, −1 on B."""
        return {"spin": self.spin(), "sublattice": np.kron(PAULI[3], PAULI[0])}


class BernevigHughesZhang(Model):
    """Bernevig-Hughes-Zhang model on the square lattice, with terms that break spin conservation.

    H = A (sin k_x τ_x σ_z + sin k_y τ_y) + (u + cos k_x + cos k_y) τ_z + C (cos k_x + cos k_y)
        + rashba (sin k_x σ_y − sin k_y σ_x) (1 + τ_z)/2 + mixing τ_x σ_x

    τ are the Pauli matrices of the two orbitals and σ of spin, basis (orbital, spin): (1 up,
    1 down, 2 up, 2 down). Energies in eV, lattice constant 1 Å.

    With `rashba` and `mixing` zero the electrons with spin up are `QiWuZhang(A, u, C)`, those with
    spin down its time reversed, and the model is a topological insulator for 0 < |u| < 2. The
    Rashba term acts on the first orbital and breaks inversion τ_z; `mixing` breaks inversion and
    time reversal iσ_y K each, but not the two together.

    Source: Bernevig, Hughes and Zhang, Science 314, 1757 (2006), on a lattice.

    >>> model = BernevigHughesZhang(u=-1.0, A=1.0, C=0.25)
    >>> print(jnp.diag(model(jnp.zeros(2))).real)
    [ 1.5  1.5 -0.5 -0.5]
    """

    u: Float[Array, ""] = eqx.field(converter=copy_as_float)
    A: Float[Array, ""] = eqx.field(converter=copy_as_float)
    C: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)
    rashba: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)
    mixing: Float[Array, ""] = eqx.field(converter=copy_as_float, default=0.0)

    def __check_init__(self):
        _check_parameters(self)

    @property
    def dimension(self) -> int:
        return 2

    @property
    def lattice(self) -> Float[Array, "2 2"]:
        return _SQUARE_LATTICE.array

    def __call__(self, k: Float[Array, "2"]) -> Complex[Array, "4 4"]:
        identity, x, y, z = PAULI
        sine_x, sine_y = jnp.sin(k)
        cosines = jnp.sum(jnp.cos(k))
        inverted = self.A * (sine_x * np.kron(x, z) + sine_y * np.kron(y, identity))
        mass = (self.u + cosines) * np.kron(z, identity) + self.C * cosines * np.eye(4)
        return inverted + mass + self._spin_flips(sine_x, sine_y)

    def _spin_flips(
        self, sine_x: Float[Array, ""], sine_y: Float[Array, ""]
    ) -> Complex[Array, "4 4"]:
        _, x, y, _ = PAULI
        first_orbital = np.diag([1, 0])
        rashba = sine_x * np.kron(first_orbital, y) - sine_y * np.kron(first_orbital, x)
        return self.rashba * rashba + self.mixing * np.kron(x, x)

    def spin(self) -> Complex[Array, "3 4 4"]:
        return jnp.asarray(_TWO_ORBITAL_SPIN)


def _check_parameters(model: Model) -> None:
    """Each parameter is one finite number, where its value is known."""
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        check_number(field.name, value, "one finite number")
