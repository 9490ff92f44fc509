"""Systems whose responses are known exactly, and helpers that evaluate many quantities at once.

`SYSTEMS` is one table: a model, its mesh and levels, tags, and exact values with their source.
`measure` sums all that is asked of a system in one pass, so that each system compiles once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

import jaxspin as js
from jaxspin import models, units
from jaxspin.band_structure.degeneracy import Degeneracy
from jaxspin.integration.integrate import integrate
from jaxspin.integration.problem import Problem, Run
from jaxspin.meshes.mesh import Mesh
from jaxspin.quantities import charge, combine, spin
from jaxspin.quantities.quantity import Quantity
from jaxspin.quantities.spin_hall import DEFINITIONS


class SquareLattice(js.Model):
    """What a model on a square lattice, side 1 Å, has in common with others."""

    @property
    def dimension(self):
        return 2

    @property
    def lattice(self):
        return jnp.eye(2)


#: The four definitions of the spin Hall current, as `spin_hall` knows them.
CONVENTIONAL, A, B, KUBO = "conventional", "proper_published", "proper_corrected", "kubo"

#: Quantities by name: the observable, and the lengths of its component axes (-1 is the dimension).
QUANTITIES = {
    "anomalous_hall": (charge.AnomalousHall(), (-1, -1)),
    **{name: (chosen.observable, (-1, -1, 3)) for name, chosen in DEFINITIONS.items()},
    "torque": (spin.Torque(), (3, -1)),
    "equilibrium": (
        combine.Stacked((spin.TrivialSpinCurrent(), spin.TopologicalSpinCurrent())),
        (2, -1, 3),
    ),
    "number": (charge.CarrierNumber(), ()),
    "states": (charge.DensityOfStates(), ()),
}
SEA = ("anomalous_hall", CONVENTIONAL, A, B, "torque", "equilibrium", "number")

#: One e²/h, ħ/e · e²/h = e/2π, e/8π, e/16π in natural units (e²/ħ for charge, e/2 for spin).
CHARGE_QUANTUM = 1 / (2 * math.pi)
SPIN_QUANTUM = 1 / math.pi
E_8PI = 1 / (4 * math.pi)
E_16PI = 1 / (8 * math.pi)


class OneRule(Mesh):
    """A mesh that is its own coarser mesh: compiles once, and estimates the error as zero."""

    mesh: Mesh

    @property
    def shape(self):
        return self.mesh.shape

    @property
    def scale(self):
        return self.mesh.scale

    @property
    def dimension(self):
        return self.mesh.dimension

    @property
    def domain(self):
        return self.mesh.domain

    @property
    def rules(self):
        return self.mesh.rules

    @property
    def coordinates(self):
        return self.mesh.coordinates

    def coarser(self):
        return self


def as_quantity(observable) -> Quantity:
    """A record for an observable of which nothing but its sum is wanted."""
    return Quantity(observable, "test", (), units.density, "R", "", "")


def total(observable, model, mesh, levels, degeneracy=js.Covariant()):  # noqa: B008
    """The sums of an observable, without a look at the door."""
    problem = Problem(as_quantity(observable), model, mesh, levels, degeneracy)
    return integrate(problem, Run(progress=False))


def measure(
    model: js.Model,
    mesh: Mesh,
    levels: js.Levels,
    quantities: Sequence[str] = SEA,
    degeneracy: Degeneracy = js.Covariant(),  # noqa: B008  (immutable)
) -> dict[str, jnp.ndarray]:
    """The quantities in natural units, ħ = e = 1, eV, Å: {name: (*levels, *components)}."""
    chosen = [QUANTITIES[name] for name in quantities]
    several = combine.Stacked(tuple(observable for observable, _ in chosen))
    observable = several if len(chosen) > 1 else chosen[0][0]
    sums = total(observable, model, OneRule(mesh), levels, degeneracy)
    shapes = [tuple(model.dimension if n == -1 else n for n in shape) for _, shape in chosen]
    edges = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    pieces = jnp.split(sums.value, edges, axis=-1)
    return {
        name: piece.reshape(*levels.shape, *shape)
        for name, piece, shape in zip(quantities, pieces, shapes, strict=True)
    }


def random_hermitian(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random Hermitian matrices, shape (..., n, n)."""
    matrix = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return (matrix + matrix.conj().swapaxes(-1, -2)) / 2


def random_unitary(rng: np.random.Generator, n: int) -> np.ndarray:
    """A random unitary matrix, shape (n, n)."""
    return np.linalg.qr(rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)))[0]


def random_hopping(n: int, d: int, seed: int, spread: float = 1.0) -> js.HoppingModel:
    """Random hopping between n orbitals, two a site, with any spin operator of each site.

    A spin operator between sites would not be the same in the next Brillouin zone.

    Args:
        spread: how far the levels are apart, against hoppings of about 0.3.
    """
    rng = np.random.default_rng(seed)
    lattice = np.eye(d) + 0.2 * rng.normal(size=(d, d))
    half = np.array([(1, 0, 0), (0, 1, 0), (1, 1, 0), (0, -1, 1)])[: d + 1, :d]
    site = np.arange(n) // 2
    home = spread * np.diag(np.arange(n)) + 0.3 * random_hermitian(rng, n, n)
    hops = 0.2 * (rng.normal(size=(d + 1, n, n)) + 1j * rng.normal(size=(d + 1, n, n)))
    return js.HoppingModel(
        lattice=lattice,
        cells=np.concatenate([np.zeros((1, d), int), half, -half]),
        blocks=np.concatenate([home[None], hops, hops.conj().swapaxes(1, 2)]),
        centres=(rng.uniform(size=(n, d)) @ lattice)[site],
        spin=random_hermitian(rng, 3, n, n) * (site[:, None] == site),
    )


@dataclass(frozen=True)
class Exact:
    """What one component of a quantity is at each level, in units of `unit` natural units."""

    quantity: str
    component: tuple[int, ...]
    values: Sequence[float]
    unit: float = 1.0
    tolerance: float = 1e-8
    source: str = ""


@dataclass(frozen=True)
class System:
    """A model on its mesh, and what is known of it."""

    model: js.Model
    mesh: Mesh
    mu: tuple[float, ...]
    exact: tuple[Exact, ...]
    tags: frozenset[str]
    temperature: float = 0.0
    degeneracy: Degeneracy = field(default_factory=js.Covariant)
    #: What is summed: equal for systems that may then share one compilation.
    quantities: tuple[str, ...] = ()

    @property
    def levels(self) -> js.Levels:
        """The Fermi energies and the temperature."""
        return js.Levels(np.array(self.mu), self.temperature)

    def measured(self) -> dict[str, np.ndarray]:
        """Every quantity that has an exact value, and those in `quantities`."""
        known = (exact.quantity for exact in self.exact)
        names = self.quantities or tuple(dict.fromkeys(known))
        values = measure(self.model, self.mesh, self.levels, names, self.degeneracy)
        return {name: np.asarray(value) for name, value in values.items()}


def _each(quantities, component, values, **more) -> tuple[Exact, ...]:
    """The same values for several quantities."""
    return tuple(Exact(quantity, component, values, **more) for quantity in quantities)


YX, XY, YX_Z = (1, 0), (0, 1), (1, 0, 2)
SPIN_HALL = (CONVENTIONAL, A, B, KUBO)


def _qi_wu_zhang(m: float, chern: int) -> System:
    """σ_yx = +C e²/h; the proper spin Hall effect of two bands is a total derivative."""
    exact = (
        Exact("anomalous_hall", YX, (chern,), CHARGE_QUANTUM, 1e-12, "Chern number"),
        *_each((A, B), YX_Z, (0.0,), tolerance=1e-13, source="two bands, traceless spin"),
    )
    model = models.QiWuZhang(A=1.0, m=m)
    return System(model, js.Grid((48, 48), 0.5), (0.0,), exact, frozenset({"lattice"}))


def _haldane_phase(onsite: float, chern: int) -> System:
    model = models.Haldane(onsite=onsite, hopping=1.0, next_hopping=0.15, phase=np.pi / 2)
    exact = (Exact("anomalous_hall", YX, (chern,), CHARGE_QUANTUM, 1e-6, "Chern number"),)
    return System(model, js.Grid((60, 60)), (0.0,), exact, frozenset({"lattice"}))


def _haldane_scan() -> System:
    model = models.Haldane(onsite=-0.2, hopping=-1.0, next_hopping=0.15, phase=np.pi / 2)
    exact = Exact(
        "anomalous_hall",
        XY,
        (0.010416, 0.064881, 0.58922335, 0.772880, 1.0, 0.58922335),
        CHARGE_QUANTUM,
        5.1e-7,
        "WannierBerri 26.10 and an independent sum on the same k-points",
    )
    mu = (-2.0, -1.5, -1.0, -0.8, 0.0, 1.0)
    return System(model, js.Grid((60, 60)), mu, (exact,), frozenset({"lattice", "peer"}))


_KANE_MELE_MU = (-2.0, -1.0, 0.0, 1.0, 2.0)


def _kane_mele(onsite, rashba, zxy, xxx, mu=(0.0,), tolerance=5.1e-7) -> System:
    """σ^z_xy and σ^x_xx, whose other components follow from the threefold axis and a mirror."""
    source = "WannierBerri 26.10 and an independent sum on the same k-points"
    how = {"unit": SPIN_QUANTUM, "tolerance": tolerance, "source": source}
    exact = [
        Exact(CONVENTIONAL, (0, 1, 2), zxy, **how),
        Exact(CONVENTIONAL, (1, 0, 2), tuple(-x for x in zxy), **how),
        Exact("anomalous_hall", XY, (0.0,) * len(mu), tolerance=1e-12, source="time reversal"),
    ]
    if xxx is not None:
        opposite = tuple(-x for x in xxx)
        for component, values in {
            (0, 0, 0): xxx,
            (1, 1, 0): opposite,
            (0, 1, 1): opposite,
            (1, 0, 1): opposite,
        }.items():
            exact.append(Exact(CONVENTIONAL, component, values, **how))
    model = models.KaneMele(onsite=onsite, hopping=1.0, spin_orbit=0.3, rashba=rashba)
    return System(model, js.Grid((60, 60)), mu, tuple(exact), frozenset({"lattice", "peer"}))


def _bernevig_hughes_zhang(quantities, values, degeneracy=None, **terms) -> System:
    model = models.BernevigHughesZhang(u=-1.0, A=1.0, C=0.3, **terms)
    exact = tuple(
        Exact(q, YX_Z, (v,), SPIN_QUANTUM, 2e-12, "finite differences of the flux on a lattice")
        for q, v in zip(quantities, values, strict=True)
    )
    tags = frozenset({"lattice"} if terms else {"lattice", "degenerate"})
    degeneracy = js.Covariant() if degeneracy is None else degeneracy
    mesh = js.Grid((64, 64), 0.5)
    return System(model, mesh, (-0.3,), exact, tags, degeneracy=degeneracy)


def _massive_dirac() -> System:
    """v (k_x σ_y - k_y σ_x) + M σ_z is k_x σ_x + k_y σ_y + M σ_z with the spins turned about z.

    At mu in a band the other band adds (1 - M²/μ²) to A and B, and its surface as much to K.
    """
    m, mu = 0.1, np.array([0.0, 0.05, 0.2, 0.4])
    ratio = m / np.maximum(m, mu)
    how = {"unit": E_16PI, "tolerance": 2e-5, "source": "closed form"}
    exact = (
        Exact("anomalous_hall", YX, 0.5 * ratio, CHARGE_QUANTUM, 2e-6, "closed form"),
        Exact(A, YX_Z, -(2 - ratio**2), **how),
        Exact(B, YX_Z, 2 - ratio**2, **how),
        Exact(CONVENTIONAL, YX_Z, 0 * ratio, **how),
        Exact(KUBO, YX_Z, 1 - ratio**2, E_16PI, 1e-3, "closed form"),
    )
    model = models.MassiveDirac(velocity=1.0, mass=m)
    tags = frozenset({"continuum", "infinite sea"})
    return System(model, js.Plane(0.1, 1000, 8), tuple(mu), exact, tags)


def rashba_radii(mass, alpha, exchange, mu) -> tuple[np.ndarray, np.ndarray]:
    """Fermi wave numbers squared of the two bands, mu above the upper edge."""
    middle = 2 * mass * mu + 2 * (mass * alpha) ** 2
    root = 2 * mass * np.sqrt((mass * alpha**2) ** 2 + 2 * mass * mu * alpha**2 + exchange**2)
    return middle + root, middle - root


def _rashba(exchange: float) -> System:
    """m = 1, α = 0.3, both bands occupied. σ^z_yx in e/8π, see Shi et al. (2006) for K."""
    m, alpha, mu = 1.0, 0.3, np.array([0.2, 0.5])
    k2 = np.array(rashba_radii(m, alpha, exchange, mu))
    lam = np.sqrt(alpha**2 * k2 + exchange**2)
    b = (2 - np.sum((exchange / lam) ** 2, axis=0)) / 2 if exchange else 0 * mu
    how = {"unit": E_8PI, "tolerance": 2e-5, "source": "closed form"}
    exact = [
        Exact(B, YX_Z, b, **how),
        Exact(A, YX_Z, -b, **how),
        Exact("number", (), np.sum(k2, axis=0) / (4 * np.pi), tolerance=1e-6, source="area"),
    ]
    if exchange:
        exact += [
            Exact(CONVENTIONAL, YX_Z, [0.7826087, 0.9], **how),
            Exact(KUBO, YX_Z, [-0.8593, -0.9162], E_8PI, 2e-4, "closed form"),
        ]
    else:
        kappa2 = 2 * m * mu + (m * alpha) ** 2
        split = np.sqrt(k2[0]) - np.sqrt(k2[1])
        trivial, topological, source = _spin_current_of_rashba(m, alpha, mu)
        exact += [
            Exact(CONVENTIONAL, YX_Z, 1 + 0 * mu, **how),
            Exact(KUBO, YX_Z, -1 + 0 * mu, **how),
            Exact("torque", (1, 0), split / (4 * np.pi), tolerance=1e-6, source="Edelstein"),
            Exact("states", (), m / np.pi + 0 * kappa2, tolerance=1e-4, source="constant"),
            Exact("equilibrium", (0, 0, 1), trivial, tolerance=1e-6, source=source),
            Exact("equilibrium", (1, 0, 1), topological, tolerance=1e-6, source=source),
            Exact("equilibrium", (0, 1, 0), -trivial, tolerance=1e-6, source=source),
            Exact("equilibrium", (1, 1, 0), -topological, tolerance=1e-6, source=source),
        ]
    model = models.Rashba(kinetic=1 / (2 * m), velocity=alpha, exchange=exchange)
    tags = frozenset({"continuum"} | (set() if exchange else {"gapless"}))
    mesh = js.Plane(0.5, *_GAS_NODES)
    return System(model, mesh, tuple(mu), tuple(exact), tags, quantities=_OF_A_GAS)


_GAS_NODES = (2000, 8)
_OF_A_GAS = (*SPIN_HALL, "torque", "equilibrium", "number", "states")


def _spin_current_of_rashba(m, alpha, mu):
    """The flow along x of spin y, mu > 0: trivial and topological part.

    Samokhin et al. write the coupling with the other sign, α (k_y σ_x - k_x σ_y), and name the
    spin first; (J_xy - J_yx)/2 of theirs is the flow along x of spin y here.
    """
    k2 = 2 * m * mu
    trivial = -k2 * alpha / (4 * np.pi) - m**2 * alpha**3 / (6 * np.pi)
    topological = k2 * alpha / (4 * np.pi) + m**2 * alpha**3 / (2 * np.pi)
    return trivial, topological, "Samokhin, Sigrist and Fischer (2025)"


def _rashba_below_the_crossing() -> System:
    """α = 0.3, one point with only the lower band occupied and one with both."""
    trivial = (-5.931354528477e-04, -2.530563595161e-02)
    topological = (3.202931445377e-03, 2.817042492727e-02)
    source = "Samokhin, Sigrist and Fischer (2025), evaluated for k along x"
    exact = (
        Exact("equilibrium", (0, 0, 1), trivial, tolerance=2e-6, source=source),
        Exact("equilibrium", (1, 0, 1), topological, tolerance=2e-6, source=source),
    )
    model, mesh = models.Rashba(kinetic=0.5, velocity=0.3), js.Plane(0.5, *_GAS_NODES)
    tags = frozenset({"continuum", "gapless"})
    return System(model, mesh, (-0.02, 0.5), exact, tags, quantities=_OF_A_GAS)


def _parabolic_gas(temperature: float) -> System:
    """Two spins of H = k²/2m: n = (m/π) T ln(1 + exp(μ/T)), states m/π · 1/(1 + exp(-μ/T))."""
    m, mu = 0.5, np.array([-0.02, 0.1])
    thermal = js.units.BOLTZMANN * temperature
    number = m / np.pi * (thermal * np.logaddexp(0, mu / thermal) if thermal else mu.clip(0))
    states = m / np.pi * (1 / (1 + np.exp(-mu / thermal)) if thermal else mu > 0)
    exact = (
        Exact("number", (), number, tolerance=5e-6, source="closed form"),
        Exact("states", (), states, tolerance=1e-4, source="closed form"),
        Exact("torque", (1, 0), 0 * mu, tolerance=1e-12, source="no coupling"),
    )
    model = models.Rashba(kinetic=1 / (2 * m), velocity=0.0)
    tags = frozenset({"continuum", "degenerate"})
    mesh, quantities = js.Plane(0.3, *_GAS_NODES), () if temperature else _OF_A_GAS
    return System(model, mesh, tuple(mu), exact, tags, temperature, quantities=quantities)


SYSTEMS: dict[str, System] = {
    "Qi-Wu-Zhang, C = 1": _qi_wu_zhang(-1.0, 1),
    "Qi-Wu-Zhang, C = -1": _qi_wu_zhang(1.0, -1),
    "Qi-Wu-Zhang, C = 0": _qi_wu_zhang(3.0, 0),
    "Haldane, C = -1": _haldane_phase(0.0, -1),
    "Haldane, C = -1, sublattices differ": _haldane_phase(0.5, -1),
    "Haldane, C = 0": _haldane_phase(2.0, 0),
    "Haldane, scan": _haldane_scan(),
    "Kane-Mele, scan": _kane_mele(
        1.0,
        0.25,
        (-0.246834, -0.467530, -1.02715808, -0.389416, 0.059487),
        (-0.473559, -0.092818, -0.09107067, -0.003756, 0.237356),
        _KANE_MELE_MU,
    ),
    "Kane-Mele, gap": _kane_mele(1.0, 0.25, (-1.02715808,), (-0.09107067,), tolerance=5.1e-9),
    "Kane-Mele, trivial": _kane_mele(2.5, 0.25, (-0.00053222,), (0.0050025,), tolerance=2e-8),
    "Kane-Mele, weak Rashba coupling": _kane_mele(1.0, 0.1, (-1.004413,), None),
    "Kane-Mele, spin conserved": _kane_mele(1.0, 0.0, (-1.0,), (0.0,), tolerance=1e-8),
    "Kane-Mele, spin conserved, trivial": _kane_mele(2.5, 0.0, (0.0,), (0.0,), tolerance=1e-8),
    "BHZ, spin conserved": _bernevig_hughes_zhang(SPIN_HALL, (-1.0,) * 4),
    "BHZ, mixed, bands apart": _bernevig_hughes_zhang(
        SPIN_HALL, (-0.954802625798, 0.0, 0.0, -0.925894161647), rashba=0.5, mixing=0.2
    ),
    "BHZ, mixed, pairs as groups": _bernevig_hughes_zhang(
        (A, B), (-0.931118829905,) * 2, js.Covariant(1.2), rashba=0.5, mixing=0.2
    ),
    "BHZ, mixed, strict": _bernevig_hughes_zhang(
        (A, B), (0.0, 0.0), js.Strict(), rashba=0.5, mixing=0.2
    ),
    "massive Dirac": _massive_dirac(),
    "Rashba": _rashba(0.0),
    "Rashba, exchange": _rashba(0.1),
    "Rashba, below the crossing": _rashba_below_the_crossing(),
    "parabolic gas, T = 0": _parabolic_gas(0.0),
    "parabolic gas, T = 300 K": _parabolic_gas(300.0),
}
