"""Derivatives: automatic ones against finite differences, at degenerate bands too."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import central_difference
from systems import CONVENTIONAL, KUBO, A, B, SquareLattice, measure

import jaxspin as js
from jaxspin import models
from jaxspin.band_structure.eigensystem import eigensystem
from jaxspin.engine.small_matrices import PAULI
from jaxspin.meshes.mesh import Mesh

# --- Responses by parameters ----------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A model as a function of its parameters, and what is differentiated."""

    build: Callable[..., js.Model]
    parameters: dict[str, float]
    mesh: Mesh
    mu: tuple[float, ...]
    temperature: float
    quantities: tuple[str, ...]

    def __call__(self, values, mu, temperature):
        model = self.build(**dict(zip(self.parameters, values, strict=True)))
        return measure(model, self.mesh, js.Levels(mu, temperature), self.quantities)

    @property
    def start(self):
        """Parameters, Fermi energies and temperature, as one vector and as the three."""
        return jnp.array([*self.parameters.values(), *self.mu, self.temperature])

    def each(self, vector):
        """The quantities by name."""
        n = len(self.parameters)
        return self(vector[:n], vector[n:-1], vector[-1])

    def of(self, vector):
        """The same in one array."""
        return jnp.concatenate([value.reshape(-1) for value in self.each(vector).values()])

    def scales(self, slopes):
        """The largest derivative of the quantity that each number of `of` belongs to.

        At least a thousandth of the largest of all: some derivatives vanish but for rounding.
        """
        sizes = [value.size for value in jax.eval_shape(self.each, self.start).values()]
        parts = np.split(np.abs(slopes), np.cumsum(sizes)[:-1])
        return np.repeat(
            [max(np.max(part), 1e-3 * np.max(np.abs(slopes))) for part in parts], sizes
        )


def bi2se3(**changes):
    return models.TopologicalInsulator.bi2se3(**changes)


def bi2se3_with_exchange(x, z, M0):
    return bi2se3(exchange=jnp.stack([x, 0.0 * x, z]), M0=M0)


def hopping(t, phase, onsite):
    """A square lattice given by complex matrices: more of them than forward mode is used for."""
    along_x = 0.5 * t * jnp.exp(1j * phase) * jnp.array([[1.0, 1j], [1j, -1.0]])
    along_y = 0.5 * t * jnp.exp(0.3j * phase) * jnp.array([[1.0, 1.0], [-1.0, -1.0]])
    home = jnp.diag(jnp.stack([onsite, -onsite]))
    blocks = [home, along_x, along_x.conj().T, along_y, along_y.conj().T]
    return hopping_model([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], blocks, PAULI[1:])


def chain(t, phase):
    """One orbital, hopping t e^{i phase}: complex matrices, and few of them."""
    value = t * jnp.exp(1j * phase)
    blocks = jnp.stack([value, value.conj()])[:, None, None]
    return hopping_model([[1, 0], [-1, 0]], blocks, None)


def hopping_model(cells, blocks, spin):
    centres = np.zeros((len(blocks[0]), 2))
    return models.HoppingModel(np.eye(2), cells, jnp.stack(list(blocks)), centres, spin)


SPACE = js.Space((0.0793, 0.0793, 0.2020), 8, 5, 4)
CASES = {
    "Bi2Se3, Kramers pairs": Case(
        bi2se3, {"M0": -0.28, "A0": 3.33, "C2": 30.4}, SPACE, (0.35,), 900.0, (A, CONVENTIONAL)
    ),
    "Bi2Se3, exchange": Case(
        bi2se3_with_exchange,
        {"x": 0.003, "z": 0.004, "M0": -0.28},
        SPACE,
        (0.35,),
        900.0,
        ("anomalous_hall", B),
    ),
    "Haldane": Case(
        models.Haldane,
        {"onsite": -0.2, "hopping": -1.0, "next_hopping": 0.15, "phase": 1.3},
        js.Grid((9, 9)),
        (0.5, -1.0),
        2000.0,
        ("anomalous_hall",),
    ),
    "complex matrices": Case(
        hopping,
        {"t": 0.9, "phase": 0.4, "onsite": -0.6},
        js.Grid((7, 7), 0.2),
        (0.3,),
        2000.0,
        ("anomalous_hall", CONVENTIONAL, "number"),
    ),
    "few complex matrices": Case(
        chain, {"t": 0.9, "phase": 0.4}, js.Grid((5, 4), 0.2), (0.3,), 2000.0, ("number", "states")
    ),
    "Kane-Mele": Case(
        models.KaneMele,
        {"onsite": 1.0, "hopping": 1.0, "spin_orbit": 0.3, "rashba": 0.25},
        js.Grid((7, 7), 0.2),
        (1.5,),
        2000.0,
        (CONVENTIONAL, "equilibrium"),
    ),
    "massive Dirac": Case(
        models.MassiveDirac,
        {"velocity": 1.0, "mass": 0.1, "warping": 0.2},
        js.Disk(1.0, 10, 8),
        (0.3,),
        900.0,
        ("anomalous_hall", A),
    ),
    "Rashba": Case(
        models.Rashba,
        {"kinetic": 0.5, "velocity": 0.3, "exchange": 0.1},
        js.Disk(1.6, 10, 6),
        (0.3,),
        900.0,
        (KUBO, "torque", "number", "states"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_and_level(name):
    """By all parameters, the Fermi energies and the temperature, to 1e-6."""
    case = CASES[name]
    value = jax.jit(case.of)
    jacobian = jax.jit(jax.jacfwd(case.of))(case.start)
    for i, parameter in enumerate(case.start):
        unit = jnp.zeros(len(case.start)).at[i].set(1.0)
        step = 3e-3 * float(abs(parameter))
        difference = central_difference(
            lambda x, unit=unit: value(case.start + x * unit), 0.0, step
        )
        scales = case.scales(difference)
        assert np.all(scales > 1e-12)
        np.testing.assert_array_less(np.abs(jacobian[:, i] - difference), 1e-6 * scales)


def hall(phase):
    """One number of one number, by the public function: σ_yx of Haldane's model, e²/h."""
    model = models.Haldane(onsite=-0.2, hopping=-1.0, next_hopping=0.15, phase=phase)
    response = js.anomalous_hall(model, js.Grid((9, 9)), js.Levels(0.5, 2000.0))
    return response.to("e^2/h").component(flow="y", field="x").value[0]


@pytest.fixture(scope="module")
def slope():
    """dσ/dphase by a finite difference of whole calculations."""
    return central_difference(lambda x: float(hall(x)), 1.3, 1e-2)


def test_reverse_mode_where_no_bands_are_degenerate(slope):
    assert float(jax.grad(hall)(1.3)) == pytest.approx(slope, rel=1e-6)


class Band(SquareLattice):
    """t (cos k_x + cos k_y), its field as it comes: a user's own model may not convert it."""

    t: jax.Array

    def __call__(self, k):
        return jnp.sum(self.t * jnp.cos(k))[None, None]

    def spin(self):
        return None


def test_a_parameter_of_single_precision():
    """Its derivative is single too; the sum is double."""

    def number(t):
        return js.carrier_density(Band(t), js.Grid((5, 4)), js.Levels(0.3, 2000.0)).value[0]

    single, double = (jax.jit(jax.grad(number))(t) for t in (jnp.float32(0.5), jnp.float64(0.5)))
    assert single.dtype == jnp.float32
    assert float(single) == pytest.approx(float(double), rel=1e-5)


@pytest.mark.parametrize("name", ["complex matrices", "few complex matrices"])
def test_reverse_mode_by_complex_matrices(name):
    case = CASES[name]
    mixture = jnp.cos(jnp.arange(len(case.of(case.start))))
    forward = jax.jit(jax.jacfwd(case.of))(case.start)
    reverse = jax.jit(jax.grad(lambda x: mixture @ case.of(x)))(case.start)
    np.testing.assert_allclose(reverse, mixture @ forward, rtol=1e-10)


def test_jit_and_vmap_over_a_parameter():
    phases = jnp.array([1.3, 0.4, -0.7])
    many = jax.jit(jax.vmap(hall))(phases)
    np.testing.assert_allclose(many, [float(hall(phase)) for phase in phases], rtol=1e-11)


class PlainFields(js.Model):
    """A model whose parameters are whatever it is given."""

    mass: jax.Array
    along_x: jax.Array
    along_y: jax.Array
    dimension = property(lambda self: 2)
    lattice = property(lambda self: np.eye(2))

    def __call__(self, k):
        mass = self.mass + self.along_x * jnp.cos(k[0]) + self.along_y * jnp.cos(k[1])
        x, y, z = js.PAULI[1:]
        return jnp.sin(k[0]) * x + jnp.sin(k[1]) * y + mass * z


def test_reverse_mode_by_plain_floats():
    """Three numbers that are floats of Python: their gradients were 0."""

    def of(mass, along):
        model = PlainFields(mass, along, along)
        response = js.anomalous_hall(model, js.Grid((6, 6)), js.Levels(-0.6, 900.0))
        return response.value[0, 0, 1]

    backwards = jax.grad(of, (0, 1))(-1.0, 1.0)
    np.testing.assert_allclose(backwards, jax.jacfwd(of, (0, 1))(-1.0, 1.0), rtol=1e-10)
    assert np.all(np.abs(backwards) > 1e-6)


def test_plain_floats_in_batches_and_along_one():
    """They failed: a tangent that is a plain number, and numbers that a batch shares."""

    def of(mass, along):
        model = PlainFields(mass, along, along)
        response = js.anomalous_hall(model, js.Grid((6, 6)), js.Levels(-0.6, 900.0))
        return response.value[0, 0, 1]

    by_mass = jax.jvp(lambda mass: of(mass, 1.0), (-1.0,), (1.0,))[1]
    wanted = [jax.grad(of, (0, 1))(mass, 1.0) for mass in (-1.0, -0.8)]
    assert float(by_mass) == pytest.approx(float(wanted[0][0]), rel=1e-10)
    together = lambda along: jax.vmap(lambda mass: of(mass, along))(jnp.array([-1.0, -0.8]))  # noqa: E731
    summed = jax.grad(lambda along: jnp.sum(together(along)))(1.0)
    assert float(summed) == pytest.approx(float(wanted[0][1] + wanted[1][1]), rel=1e-10)
    backwards = jax.jacrev(lambda along: jnp.stack([of(-1.0, along), of(-0.8, along)]))(1.0)
    np.testing.assert_allclose(backwards, [wanted[0][1], wanted[1][1]], rtol=1e-10)


@pytest.mark.parametrize("function", [hall, jax.grad(hall)])
def test_memory_of_a_batch_does_not_grow_with_its_members(function):
    """Less than 1 kB for each, where the tile of one takes 29 kB, and 56 kB with its gradient."""
    compiled = lambda n: jax.jit(jax.vmap(function)).lower(jnp.linspace(0.2, 1.2, n)).compile()  # noqa: E731
    needed = [compiled(n).memory_analysis().temp_size_in_bytes for n in (256, 2048)]
    assert needed[1] - needed[0] < 1000 * (2048 - 256)


def test_vmap_of_forward_mode(slope):
    derivatives = jax.vmap(jax.jacfwd(hall))(jnp.array([1.3, 0.4]))
    assert float(derivatives[0]) == pytest.approx(slope, rel=1e-6)


# --- What has no derivative -----------------------------------------------------------------------


def test_zero_temperature_has_none():
    def cold(mass):
        model = models.QiWuZhang(A=1.0, m=mass)
        return js.anomalous_hall(model, js.Grid((4, 4)), js.Levels(0.0)).value

    with pytest.raises(ValueError, match=r"temperature 0 .*Argument `temperature`.* must be posit"):
        jax.jvp(cold, (-1.0,), (1.0,))


def with_exchange(z):
    model = bi2se3(exchange=jnp.array([0.0, 0.0, 1.0]) * z)
    return measure(model, SPACE, js.Levels(0.35, 900.0), (A,))[A]


def test_splitting_a_kramers_pair_is_refused():
    with pytest.raises(RuntimeError, match="splits bands which are degenerate"):
        jax.block_until_ready(jax.jvp(with_exchange, (0.0,), (1.0,)))


def test_reverse_mode_at_kramers_pairs():
    def total(mass):
        return jnp.sum(measure(bi2se3(M0=mass), SPACE, js.Levels(0.35, 900.0), (A,))[A] ** 2)

    forward = jax.jit(jax.jacfwd(total))(-0.28)
    assert float(jax.jit(jax.grad(total))(-0.28)) == pytest.approx(float(forward), rel=1e-12)


def test_splitting_a_kramers_pair_is_refused_in_reverse_mode():
    total = lambda z: jnp.sum(with_exchange(z))  # noqa: E731
    with pytest.raises(RuntimeError, match="splits bands which are degenerate"):
        jax.block_until_ready(jax.jit(jax.grad(total))(0.0))


# --- Eigensystems ---------------------------------------------------------------------------------

BHZ = models.BernevigHughesZhang(u=-1.0, A=1.0, C=0.3)
K = jnp.array([0.37, -1.21])


def projector(u, solver):
    """On the lower pair of bands, for the model with this u."""
    model = models.BernevigHughesZhang(u=u, A=1.0, C=0.3)
    return projector_of(solver(model(K))[1])


def projector_of(basis):
    return basis[:, :2] @ basis[:, :2].conj().T


def ours(h):
    energies, basis = eigensystem(h[..., None], js.Covariant())
    return energies[:, 0], basis[:, :, 0]


def test_projector_on_degenerate_bands():
    _, derivative = jax.jvp(lambda u: projector(u, ours), (-1.0,), (1.0,))
    difference = central_difference(lambda u: projector(u, jnp.linalg.eigh), -1.0, 1e-2)
    np.testing.assert_allclose(derivative, difference, atol=1e-11)


def test_eigenvectors_of_jax_give_no_number_there():
    """Negative control, at k = 0, where the pairs are degenerate to the last digit."""

    def lower(u, solver):
        model = models.BernevigHughesZhang(u=u, A=1.0, C=0.3)
        return projector_of(solver(model(jnp.zeros(2)))[1])

    _, derivative = jax.jvp(lambda u: lower(u, jnp.linalg.eigh), (-1.0,), (1.0,))
    assert not np.all(np.isfinite(derivative))
    _, derivative = jax.jvp(lambda u: lower(u, ours), (-1.0,), (1.0,))
    np.testing.assert_allclose(derivative, 0, atol=1e-15)


def test_energies():
    model = models.KaneMele(onsite=1.0, hopping=1.0, spin_orbit=0.3, rashba=0.25)
    slopes = jnp.einsum("imm->im", js.bands(model, K).velocity)
    for i, axis in enumerate(jnp.eye(2)):
        along = lambda x, axis=axis: jnp.linalg.eigvalsh(model(K + x * axis))  # noqa: E731
        difference = central_difference(along, 0.0, 1e-2)
        np.testing.assert_allclose(slopes[i], difference, atol=1e-11)


# --- k in a smooth gauge --------------------------------------------------------------------------


def smooth_basis(model, near, groups):
    """k -> eigenvectors that turn as little as they can from those at `near`.

    With the blocks of U(near)†U(k) inside the groups made positive, the Berry connection has no
    part inside the groups at `near`.
    """

    def eigenvectors(k):
        return np.linalg.eigh(np.asarray(model(jnp.asarray(k))))[1]

    origin = eigenvectors(near)

    def basis(k):
        vectors = eigenvectors(k)
        for group in groups:
            left, _, right = np.linalg.svd(vectors[:, group].conj().T @ origin[:, group])
            vectors[:, group] = vectors[:, group] @ left @ right
        return vectors

    return basis


SMOOTH = {
    "bands apart": (models.KaneMele(1.0, 1.0, 0.3, 0.25), ([0], [1], [2], [3])),
    "pairs": (BHZ, ([0, 1], [2, 3])),
}


def operator(k):
    """A Hermitian matrix that depends on k."""
    matrix = jnp.arange(16.0).reshape(4, 4) * (1 + 0.3j)
    return jnp.cos(k[0]) * (matrix + matrix.conj().T) + k[1] ** 2 * jnp.diag(jnp.arange(4.0))


@pytest.mark.parametrize("name", SMOOTH)
def test_covariant_derivative(name):
    """∂X - i[R, X] with R = i U†∂U by finite differences in a smooth gauge.

    Compared through the basis, as U (DX/Dk) U†, for the bands of `covariant_derivative` come in
    some other gauge.
    """
    model, groups = SMOOTH[name]
    basis = smooth_basis(model, np.asarray(K), groups)
    here = basis(K)

    def in_bands(k):
        return basis(k).conj().T @ np.asarray(operator(k)) @ basis(k)

    value = js.covariant_derivative(operator, model)(K)
    unitary = np.asarray(js.bands(model, K).basis)
    for i, axis in enumerate(np.eye(2)):
        along = lambda f, axis=axis: central_difference(lambda x: f(K + x * axis), 0.0, 1e-2)  # noqa: E731
        r = 1j * here.conj().T @ along(basis)
        expected = along(in_bands) - 1j * (r @ in_bands(K) - in_bands(K) @ r)
        np.testing.assert_allclose(
            unitary @ value[i] @ unitary.conj().T, here @ expected @ here.conj().T, atol=1e-9
        )


def test_without_the_connection_it_is_another_matrix():
    """Negative control: the plain derivative of X in the band basis."""
    model, groups = SMOOTH["bands apart"]
    basis = smooth_basis(model, np.asarray(K), groups)
    axis = np.eye(2)[0]
    plain = central_difference(
        lambda x: (
            basis(K + x * axis).conj().T @ np.asarray(operator(K + x * axis)) @ basis(K + x * axis)
        ),
        0.0,
        1e-2,
    )
    value = js.covariant_derivative(operator, model)(K)[0]
    assert np.max(np.abs(np.abs(plain) - np.abs(value))) > 0.1


@pytest.mark.parametrize("name", SMOOTH)
def test_covariant_derivative_of_the_hamiltonian_is_the_velocity(name):
    model, _ = SMOOTH[name]
    value = js.covariant_derivative(model, model)(K)
    np.testing.assert_allclose(value, js.bands(model, K).velocity, atol=1e-12)


def test_covariant_derivative_of_a_constant_vanishes():
    constant = jnp.asarray(np.arange(16.0).reshape(4, 4), complex)
    value = js.covariant_derivative(lambda k: constant, BHZ)(K)
    np.testing.assert_array_equal(value, 0)


def test_berry_curvature_is_the_curl_of_the_connection():
    """Ω_xy = ∂_x A_y - ∂_y A_x, by the phase around a small square, for each band."""
    model, size = SMOOTH["bands apart"][0], 1e-3
    corners = np.asarray(K) + size * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    vectors = [np.linalg.eigh(np.asarray(model(jnp.asarray(k))))[1] for k in corners]
    links = [np.sum(vectors[j - 1].conj() * vectors[j], axis=0) for j in range(4)]
    flux = -np.angle(np.prod(links, axis=0)) / size**2
    np.testing.assert_allclose(js.berry_curvature(model, K)[:, 0, 1], flux, atol=1e-5)


def test_second_derivative_at_kramers_pairs():
    """By M0 of Bi2Se3, against a difference of first derivatives."""

    def hall(mass):
        model = js.models.TopologicalInsulator.bi2se3(M0=mass)
        levels, mesh = js.Levels(0.35, 300.0), js.Space((0.08, 0.08, 0.2), 10, 6, 6)
        return js.spin_hall(model, mesh, levels, definition="conventional").value[0, 2, 0, 1]

    slope = jax.jit(jax.jacfwd(hall))
    step = 1e-4
    difference = (slope(-0.28 + step) - slope(-0.28 - step)) / (2 * step)
    assert abs(jax.jit(jax.jacfwd(jax.jacfwd(hall)))(-0.28) / difference - 1) < 1e-6


def test_mu_at_zero_temperature_on_a_grid():
    """The response is a staircase there: an error, not a slope of zero."""

    def hall(mu):
        return js.anomalous_hall(js.models.QiWuZhang(1.0, -1.0), js.Grid((4, 4)), js.Levels(mu))

    with pytest.raises(ValueError, match="temperature"):
        jax.jvp(hall, (1.2,), (1.0,))
