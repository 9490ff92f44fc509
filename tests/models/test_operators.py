"""Named operators of a model: valley and orbital moment with closed forms, and the spin by name."""

import dataclasses
import re
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gauge import over_groups, random_gauge
from systems import random_hermitian, random_hopping

import jaxspin as js
from jaxspin import models, units
from jaxspin.band_structure.bands import Bands, solve_bands
from jaxspin.engine.small_matrices import PAULI
from jaxspin.integration.problem import Problem
from jaxspin.models.lifted import Needs, Points
from jaxspin.models.operators import named_operators
from jaxspin.quantities import Quantity
from jaxspin.quantities.axes import FIELD, FLOW, SPIN
from jaxspin.quantities.spin import EQUILIBRIUM_SPIN_CURRENT, TORQUE_DENSITY
from jaxspin.quantities.spin_hall import DEFINITIONS, PIECES, ConventionalSpinHall
from jaxspin.responses.compute import compute

ONE, X, Y, Z = PAULI
VELOCITY, MASS = 3.0, 0.2


class Valleys(js.Model):
    """H = v (τ_z k_x σ_x + k_y σ_y) + m σ_z: massive Dirac cones of two valleys, without spin.

    In valley τ = ±1 both bands have the orbital moment −τ v² m/2E², in (e/ħ) eV Å², and the Berry
    curvature ∓τ v² m/2E³, with E² = v² k² + m².
    """

    mass: jax.Array = eqx.field(converter=jnp.asarray, default=MASS)

    @property
    def dimension(self):
        return 2

    def __call__(self, k):
        plane = k[0] * np.kron(Z, X) + k[1] * np.kron(ONE, Y)
        return VELOCITY * plane + self.mass * np.kron(ONE, Z)

    def operators(self):
        return {"valley": np.kron(Z, ONE), "orbital moment": self.moment}

    def moment(self, k):
        energy_squared = VELOCITY**2 * k @ k + self.mass**2
        return -(VELOCITY**2) * self.mass / (2 * energy_squared) * np.kron(Z, ONE)


def hall_of(name: str) -> Quantity:
    """The Hall response of a single matrix, as a package of its own would write it."""
    return Quantity(
        observable=ConventionalSpinHall(of=name),
        name=f"{name} Hall conductivity",
        axes=(FLOW, FIELD),
        unit=units.charge_conductivity,
        symbol=r"\sigma",
        formula="σ_ab = -2 (e²/ħ) Σ f_m Im Σ_n <m|½{O,v_a}|n><n|v_b|m> ħ²/(ε_m-ε_n)²",
        source="this test",
        least_dimension=2,
    )


def respond(quantity, model, temperature=0.0):
    mesh = js.Plane(MASS / VELOCITY, 24, 8)
    return compute(Problem(quantity, model, mesh, js.Levels(0.0, temperature)))[0]


def test_valley_hall_conductivity_of_dirac_cones():
    """(e²/h) sgn(m): each valley has half a quantum. Xiao, Yao, Niu, PRL 99, 236809 (2007)."""
    for mass in (MASS, -MASS):
        found = respond(hall_of("valley"), Valleys(mass)).to("e^2/h")
        expected = np.sign(mass) * np.array([[0, 1], [-1, 0]])
        np.testing.assert_allclose(found.value[0], expected, atol=1e-9)
    assert found.axes == ("mu", "flow", "field")
    assert found.name == "valley Hall conductivity"


def test_without_the_valley_nothing_flows():
    """Negative control: charge flows the opposite way in the two valleys."""
    charge = models.WithOperators(Valleys(), {"valley": np.eye(4)})
    np.testing.assert_allclose(respond(hall_of("valley"), charge).value, 0, atol=1e-12)


def test_orbital_hall_conductivity_of_dirac_cones():
    """2 ∫ d²k/(2π)² (−v² m/2E²)(v² m/2E³) = −v²/(12π|m|), an operator that depends on k."""
    found = respond(hall_of("orbital moment"), Valleys()).to("e^2/hbar")
    expected = -(VELOCITY**2) / (12 * np.pi * MASS)
    np.testing.assert_allclose(found.component(flow="x", field="y").value, expected, rtol=1e-9)


def test_derivative_by_a_parameter_of_an_operator():
    """∂/∂m of −v²/(12π m) is v²/(12π m²); the operator itself depends on m. kT is m/80."""
    moment = hall_of("orbital moment")
    response = lambda m: respond(moment, Valleys(m), 30.0).value[0, 0, 1]  # noqa: E731
    natural = units.per_natural(units.charge_conductivity(2))
    slope = jax.jvp(response, (MASS,), (1.0,))[1] / natural
    np.testing.assert_allclose(slope, VELOCITY**2 / (12 * np.pi * MASS**2), rtol=1e-8)


def test_orbital_moment_is_that_of_the_bands():
    """js.orbital_moment is a sum over bands; the operator is a closed form."""
    k = np.array([[0.03, 0.05], [-0.1, 0.02]])
    model = Valleys()
    matrices = js.bands(model, k).operator("orbital moment")
    # One of the two valleys alone has bands that are not degenerate.
    single = js.orbital_moment(models.MassiveDirac(velocity=VELOCITY, mass=MASS), k)[..., 0, 1]
    expected = np.linalg.eigvalsh(matrices)
    np.testing.assert_allclose(expected[:, :2], single, rtol=1e-12)
    np.testing.assert_allclose(expected[:, 2:], -single, rtol=1e-12)


# --- The spin under another name ------------------------------------------------------------------

OBSERVABLES = {
    name: quantity.observable
    for name, quantity in (
        *DEFINITIONS.items(),
        *PIECES.items(),
        *EQUILIBRIUM_SPIN_CURRENT.items(),
        ("torque", TORQUE_DENSITY),
    )
}


def with_copy(model):
    return models.WithOperators(model, {"copy": model.spin()})


def in_copy(observable):
    return dataclasses.replace(observable, of="copy")


@pytest.fixture(scope="module")
def solved() -> Bands:
    model = with_copy(models.KaneMele(0.3, 1.0, 0.2, 0.1))
    k = jnp.array([[0.3, -0.7, 1.1], [0.2, 0.5, -0.4]])
    return solve_bands(model, k, js.Covariant(), operators=("spin", "copy"))


@pytest.mark.parametrize("name", OBSERVABLES)
def test_an_operator_equal_to_the_spin_has_its_weights(name, solved):
    observable = OBSERVABLES[name]
    assert in_copy(observable).operators == ("copy",)
    np.testing.assert_array_equal(in_copy(observable)(solved).full, observable(solved).full)


def test_an_operator_equal_to_the_spin_has_its_response():
    model, mesh = with_copy(models.KaneMele(0.3, 1.0, 0.2, 0.1)), js.Grid((6, 6))
    spin = DEFINITIONS["proper_corrected"]
    both = (spin, spin.replace(observable=in_copy(spin.observable)))
    one, other = compute(Problem(both, model, mesh, js.Levels([-1.0, 0.0])))
    scale = np.max(np.abs(one.value))
    assert scale > 1e-6
    np.testing.assert_allclose(one.value, other.value, rtol=0, atol=1e-15 * scale)


@pytest.fixture(scope="module")
def downfolded():
    full = with_copy(models.CrystalFieldC4v(gap=1.0, a=0.05, b=0.2, b_inter=0.03, kinetic=0.5))
    return js.downfold(full, (0, 1))


def test_downfolding_dresses_every_operator(downfolded):
    """Current and remote bands included: those of a copy of the spin are those of the spin."""
    k = jnp.array([[0.2], [0.1]])
    needs = Needs(("spin", "copy"), remote=True)
    lifted = downfolded.lift(Points(k), needs).operators
    assert lifted["spin"].matrices.shape == (3, 2, 2, 1)
    for one, other in zip(*map(jax.tree.leaves, lifted.values()), strict=True):
        np.testing.assert_array_equal(one, other)
    found = downfolded.operators()["copy"](k[:, 0])
    np.testing.assert_allclose(found, lifted["copy"].matrices[..., 0], atol=1e-14)
    bare = named_operators(downfolded.undressed())
    np.testing.assert_allclose(bare["copy"](k[:, 0]), bare["spin"](k[:, 0]), atol=1e-15)


# --- What users get at k --------------------------------------------------------------------------

K = np.array([[0.3, 0.2], [-0.7, 0.5], [1.1, -0.4]])
HONEYCOMB = models.KaneMele(0.0, 1.0, 0.2, 0.0)  # every band twice


def test_operators_at_k_are_their_definitions():
    given = {"pair": random_hermitian(np.random.default_rng(3), 2, 4, 4)}
    model = models.WithOperators(HONEYCOMB, given)
    found = js.operators(model, K)
    bands = found.bands
    assert set(found.named) == {"spin", "sublattice", "pair"}
    h = np.stack([model(k) for k in K])
    v = np.moveaxis(np.stack([jax.jacfwd(model)(k) for k in K]), -1, 1)
    for name, o in (("sublattice", np.kron(Z, ONE)), ("pair", given["pair"])):
        o, spread = np.asarray(o), (3, *(1,) * (np.ndim(o) - 2), 4, 4)
        np.testing.assert_allclose(
            bands.to_orbitals(bands.operator(name)), np.broadcast_to(o, (3, *o.shape)), atol=1e-13
        )
        hamiltonian = h.reshape(spread)
        rate = 1j * (hamiltonian @ o - o @ hamiltonian)
        np.testing.assert_allclose(bands.to_orbitals(bands.rate(name)), rate, atol=1e-13)
        slopes = v.reshape(3, 2, *spread[1:])
        current = (slopes @ o + o @ slopes) / 2
        np.testing.assert_allclose(bands.to_orbitals(bands.current(name)), current, atol=1e-13)


def test_gauge():
    """Unitaries inside the pairs change no trace over a group, and do change single bands."""
    given = {"pair": random_hermitian(np.random.default_rng(3), 2, 4, 4)}
    model = models.WithOperators(HONEYCOMB, given)
    bands = solve_bands(model, jnp.asarray(K.T), js.Covariant(), operators=("pair",))
    same = np.asarray(bands.degenerate)
    assert np.all(same.sum(axis=1) == 2)
    w = random_gauge(np.random.default_rng(7), same)
    turn = lambda x: jnp.einsum("abk,...ack,cdk->...bdk", w.conj(), x, w)  # noqa: E731
    places = lambda b: (b.velocity, b.operators["pair"].matrices)  # noqa: E731
    other = eqx.tree_at(places, bands, tuple(map(turn, places(bands))))
    here, there = (ConventionalSpinHall(of="pair")(b).full for b in (bands, other))
    scale = np.max(np.abs(here))
    assert scale > 1e-3
    np.testing.assert_allclose(over_groups(same, there), over_groups(same, here), atol=1e-12)
    assert np.max(np.abs(there - here)) > 1e-3 * scale  # negative control


def test_local_operators_of_a_hopping_model():
    """In the basis without site phases, which a grid takes, they are the same."""
    model = random_hopping(4, 2, seed=3)
    sites = np.diag([1.0, 1.0, -1.0, -1.0])
    named = models.WithOperators(model, {"site": sites})
    u = [jnp.array([0.1, 0.4]), jnp.array([0.2, 0.3, 0.7])]
    k = jnp.stack([x.ravel() for x in jnp.meshgrid(*u, indexing="ij")])
    k = 2 * jnp.pi * jnp.linalg.solve(model.lattice, k)
    lift = partial(solve_bands, named, k, js.Covariant(), operators=("site", "spin"))
    for one, other in zip(*map(_diagonals, (lift(), lift(box=u))), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def _diagonals(bands):
    return [jnp.einsum("...mmk->...mk", o.matrices).real for o in bands.operators.values()]


# --- Where the spin comes from --------------------------------------------------------------------


class Wire(js.Model):
    """A wire along x; its spin is given as one of the subclasses says."""

    dimension = property(lambda self: 1)

    def __call__(self, k):
        return k[0] ** 2 * ONE + k[0] * Z


class BySpin(Wire):
    def spin(self):
        return PAULI[1:]


class ByName(Wire):
    def operators(self):
        return {"spin": PAULI[1:]}


class ByBoth(BySpin):
    def operators(self):
        return {**super().operators(), "parity": X}


class Beside(BySpin):
    def operators(self):
        return {"parity": X}


class ByFunction(Wire):
    def operators(self):
        return {"spin": lambda k: jnp.cos(k[0]) * PAULI[1:]}


@pytest.mark.parametrize("kind", [BySpin, ByName, ByBoth, Beside])
def test_the_spin_is_an_operator(kind):
    model, k = kind(), jnp.array([[0.3, 0.4]])
    np.testing.assert_array_equal(named_operators(model)["spin"], PAULI[1:])
    np.testing.assert_array_equal(model.spin(), PAULI[1:])
    np.testing.assert_array_equal(model.spin_at(k)[..., 0], PAULI[1:])
    assert js.bands(model, [0.3]).spin.shape == (3, 2, 2)


def test_a_spin_operator_that_depends_on_k():
    model, k = ByFunction(), jnp.array([[0.3, 0.4]])
    expected = np.cos(0.4) * PAULI[1:]
    np.testing.assert_allclose(model.spin_at(k)[..., 1], expected, atol=1e-15)
    np.testing.assert_allclose(named_operators(model)["spin"](k[:, 1]), expected, atol=1e-15)
    with pytest.raises(ValueError, match="depends on k"):
        model.spin()


def test_a_model_without_operators():
    model = Wire()
    assert model.spin() is None
    assert named_operators(model) == {}
    bands = js.bands(model, [0.3])
    assert bands.spin is None
    assert bands.current_beyond is None


@pytest.mark.parametrize("model", [0.5 * Valleys(), Valleys() + Valleys(), Valleys().prepared()])
def test_models_made_of_others_have_their_operators(model):
    assert set(named_operators(model)) == {"valley", "orbital moment"}
    assert js.bands(model, [0.1, 0.0]).operator("valley").shape == (4, 4)


# --- Bad input ------------------------------------------------------------------------------------


def named(**found):
    """A model with these operators."""
    kind = type("Named", (Valleys,), {"operators": lambda self: found})
    return kind()


class ByProperty(Valleys):
    operators = property(lambda self: {"valley": np.eye(4)})


class ByList(Valleys):
    def operators(self):
        return [np.eye(4)]


def ask(model, name="valley"):
    return lambda: Problem(hall_of(name), model, js.Plane(1.0, 8, 8), js.Levels(0.0)).check()


WRONG = {
    "another name": (
        ask(Valleys(), "vally"),
        "`model` must have an operator 'vally' .* of Valleys are 'valley', 'orbital moment'",
    ),
    "no operators": (ask(named()), "of Named are none"),
    "no spin": (ask(Valleys(), "spin"), "must have a spin operator"),
    "size": (ask(named(valley=np.eye(2))), r"of shape \(4, 4\) or \(c, 4, 4\), .* \(2, 2\)"),
    "axes": (ask(named(valley=np.ones((2, 2, 4, 4)))), r"has shape \(2, 2, 4, 4\)"),
    "not Hermitian": (ask(named(valley=np.triu(np.ones((4, 4))))), "a Hermitian operator 'valley'"),
    "not finite": (ask(named(valley=np.full((4, 4), np.nan))), "a finite operator 'valley'"),
    "text": (ask(named(valley="up")), "must give its operator 'valley' as matrices"),
    "NumPy of k": (ask(named(valley=lambda k: np.cos(k[0]) * np.eye(4))), "Write jnp.cos"),
    "property": (ask(ByProperty()), "`operators` as a method"),
    "list": (ask(ByList()), "as a mapping from names to matrices, .* type list"),
    "reserved": (ask(named(velocity=np.eye(4))), "other than 'velocity', .* named 'velocity'"),
    "axes of the quantity": (
        lambda: respond(hall_of("valley").replace(axes=(FLOW, FIELD, SPIN)), Valleys()),
        r"must have axes .* 4 in 2 dimensions, but \['flow', 'field', 'spin'\] have 12",
    ),
    "WithOperators: list": (lambda: models.WithOperators(Valleys(), [np.eye(4)]), "of type list"),
    "WithOperators: function": (
        lambda: models.WithOperators(Valleys(), {"valley": lambda k: k}),
        "`given` must have matrices of numbers as 'valley'",
    ),
    "WithOperators: size": (
        lambda: models.WithOperators(Valleys(), {"valley": np.eye(3)}),
        r"`given` must have shape \(4, 4\) or .* for 'valley'",
    ),
    "WithOperators: not Hermitian": (
        lambda: models.WithOperators(Valleys(), {"valley": 1j * np.eye(4)}),
        "Hermitian matrices as 'valley'",
    ),
    "operator of bands": (
        lambda: js.bands(Valleys(), [0.1, 0.2]).operator("spin"),
        r"`name` must be one of .* \('velocity', .*'valley'.*\), but is 'spin'",
    ),
    "current of bands": (
        lambda: js.bands(Valleys(), [0.1, 0.2]).current("spin"),
        r"`of` must be one of .* but is 'spin'",
    ),
    "not asked for": (
        lambda: ConventionalSpinHall()(
            solve_bands(Valleys(), jnp.zeros((2, 1)), js.Covariant(), operators=())
        ),
        "`name` must be an operator that was asked for",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_operator_is_one_line(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=f"^Argument .*{message}") as error:
        call()
    assert len(str(error.value).splitlines()) == 1
    assert re.search(message, str(error.value))
