"""Every public response on small models and meshes, as a program that prints its numbers as JSON.

`JAXSPIN_ENABLE_X64=0 python tests/oracles/every_response.py` does it in single precision. Warnings
other than that of a torque density, which is not zero in these models, are errors.
"""

import json
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np

import jaxspin as js
from jaxspin import models
from jaxspin.quantities.spin_hall import DEFINITIONS

COLD, WARM = js.Levels(0.1), js.Levels([-0.2, 0.3], 600.0)
CHERN, GRID = models.QiWuZhang(1.0, -1.0), js.Grid((12, 12), 0.3)
RASHBA, DISK = models.Rashba(4.0, 1.0, 0.1), js.Disk(0.9, 8, 12)
BI2SE3 = models.TopologicalInsulator.bi2se3()
DIRAC = models.MassiveDirac(velocity=1.0, mass=0.3)
K, K3 = jnp.array([[0.3, 0.2], [-0.7, 1.1]]), jnp.array([[0.1, 0.02, 0.05]])


def hopping(spin=None):
    """A Hermitian four-band model without any symmetry."""
    random = np.random.default_rng(0)
    home, x, y = (random.normal(size=(4, 4)) + 1j * random.normal(size=(4, 4)) for _ in range(3))
    cells = [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]
    blocks = [home + home.conj().T, x, x.conj().T, y, y.conj().T]
    return js.HoppingModel(
        np.eye(2), cells, blocks, np.repeat(random.uniform(size=(2, 2)), 2, axis=0), spin
    )


def fermi_sea():
    """Sums over filled states: lattice and continuum, T = 0 and T > 0, of every kind of mesh."""
    for levels in (COLD, WARM):
        yield "anomalous Hall", js.anomalous_hall(CHERN, GRID, levels)
    yield "hopping", js.carrier_density(hopping(), js.Grid((8, 8)), js.Levels(0.0, 300.0))
    yield "equilibrium spin current", js.equilibrium_spin_current(RASHBA, DISK, WARM).total
    yield "torque density", js.torque_density(RASHBA, DISK, WARM)
    yield "density of states", js.density_of_states(CHERN, GRID, js.Levels(1.5))
    adaptive = js.Adaptive(js.Grid((8, 8)), rtol=1e-3)
    yield "adaptive", js.anomalous_hall(CHERN, adaptive, js.Levels(0.0))
    turned = js.Symmetric(DISK, [js.symmetry.rotation(3)])
    yield "symmetric", js.anomalous_hall(RASHBA, turned, WARM)
    k = np.array([[1, 1], [1, 3], [3, 1], [3, 3]]) / 8
    wedge = js.PointSet(k, [4, 4, 4, 4], grid=js.Grid((4, 4), 0.5))
    yield "point set", js.anomalous_hall(CHERN, wedge, WARM)


def spin_hall():
    """Every definition, and an integral over all of space."""
    for definition in DEFINITIONS:
        yield definition, js.spin_hall(RASHBA, DISK, WARM, definition=definition)
    yield "pieces", js.spin_hall_pieces(RASHBA, DISK, WARM).J2
    mesh, levels = js.Space((0.1, 0.1, 0.1), 10, 6, 6), js.Levels([0.1, 0.35])
    yield "space", js.spin_hall(BI2SE3, mesh, levels, definition="conventional")


def fermi_surface():
    """Constant relaxation time, first and second order."""
    yield "drude", js.drude(RASHBA, DISK, WARM, relaxation_time=10.0)
    crystal = hopping(np.array([np.kron(np.eye(2), s) for s in js.PAULI[1:]]))
    for respond in (
        js.edelstein,
        js.spin_drude,
        js.berry_dipole,
        js.nonlinear_hall,
        js.spin_berry_dipole,
        js.intrinsic_nonlinear_hall,
    ):
        yield respond.__name__, respond(crystal, js.Grid((8, 8)), js.Levels(0.3, 3000.0))


def thermal():
    """Flows that a gradient of temperature drives."""
    for respond in (js.anomalous_nernst, js.thermal_hall, js.spin_nernst):
        yield respond.__name__, respond(RASHBA, DISK, WARM)


def at_k():
    """Bands and their geometry, of degenerate bands too."""
    yield "bands", js.bands(BI2SE3, K3).energies
    yield "quantum metric", js.quantum_metric(BI2SE3, K3)
    for tensor in (js.berry_curvature, js.orbital_moment):
        yield tensor.__name__, tensor(CHERN, K)
    for definition in ("conventional", "proper_published", "proper_corrected"):
        yield definition, js.spin_berry_curvature(RASHBA, K, definition=definition)
    yield "strict", js.berry_curvature(CHERN, K, degeneracy=js.Strict())
    moved = (BI2SE3,), (models.TopologicalInsulator.bi2te3(),)
    yield "derivative", jax.jvp(lambda model: js.quantum_metric(model, K3), *moved)[1]


def fillings():
    """Fermi energies in a gap at T = 0, and in a band at T > 0."""
    yield "gap", js.fermi_energy(CHERN, GRID, 1.0) + 1
    yield "warm", js.fermi_energy(CHERN, GRID, 0.7, temperature=2000.0)


def disordered():
    """Mechanisms and relaxation rates, on two rules for Fermi surfaces."""
    matrices = js.MatrixDisorder([np.diag([0.1, 0.05])])
    yield "response", js.disordered_response(DIRAC, js.FlowContour(24), js.Levels(0.7), matrices)
    ranged = js.FiniteRangeDisorder(js.disorder.GaussianCorrelator(0.01, 2.0))
    yield "relaxation", js.disorder.relaxation(DIRAC, js.FermiContour(16), 1.0, ranged)


def spin_transfer():
    """The first example of the documentation, whose spin along m is nearly conserved."""
    band = js.spin_transfer.ConductionBand(BI2SE3)
    m = [0, 0, 0.00125]
    torque = js.spin_transfer_torque(band, js.FermiShell(8, 8), js.Levels(0.2767), m, 0.1)
    projection = torque.dressed.projection()
    yield "adiabatic", projection.adiabatic
    yield "nonadiabatic", projection.nonadiabatic


def effective():
    """Downfolded models, exact and by perturbation theory."""
    exact, second = (js.downfold(BI2SE3, (0, 1), order=order) for order in (None, 2))
    yield "bands", js.bands(exact, K3).energies
    yield "second order", js.bands(second, K3).energies
    yield "angle", exact.validity(K3).angle


def hole_wells():
    """Subbands and bands of one well."""
    well = models.HoleWell("GaAs", width=250.0, field=1e6, zeeman=1e-3)
    yield "edge", well.heavy_hole_edge
    yield "alpha", well.cubic_rashba
    yield "bands", js.bands(well, K / 100).energies
    several = models.HoleWellKP("GaAs", width=250.0, field=1e6, subbands=(3, 2))
    yield "subbands", several.subbands.heavy


def fits():
    """A mass from a Hall conductivity measured in double precision, two parameters of which the
    data know the sum alone, and an optimum beyond a bound."""
    levels = js.Levels([0.3, 0.7, 1.1], 600.0)
    data = js.fitting.Data(
        [0.5, 0.45, 0.4], 1e-3 * np.ones(3), ["yx"] * 3,
        mu=[0.3, 0.7, 1.1], temperature=600.0 * np.ones(3), units="e^2/h",
    )  # fmt: skip
    hall = lambda p: js.anomalous_hall(models.QiWuZhang(1.0, p["m"]), GRID, levels)  # noqa: E731
    fit = js.fit(lambda p: data.residuals(hall(p)), {"m": -1.3})
    yield "mass", fit.values
    yield "converged", jnp.array(fit.converged, float)
    x = np.linspace(0.1, 1.0, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = js.fit(
            lambda p: 300 * ((p["a"] + p["b"]) * x + p["c"] - np.sin(x)),
            {"a": 0.3, "b": 0.4, "c": 0.1},
        )
    yield "undetermined", jnp.array([fit.converged, len(fit.undetermined)], float)
    yield "sum", jnp.array([fit.values[0] + fit.values[1], fit.values[2]])
    line = lambda p: 300 * (p["slope"] * x + p["offset"] - np.sin(x))  # noqa: E731
    fit = js.fit(line, {"slope": 1.0, "offset": 0.3}, bounds={"offset": (0.1, 1.0)})
    yield "bound", jnp.array([*fit.values, fit.converged, "offset" in fit.at_bound], float)


def refusals():
    """Negative controls: what is wrong by more than rounding is an error in any precision."""
    space, levels = js.Space((0.1, 0.1, 0.1), 4, 4, 4), js.Levels(0.35)
    ball = js.Ball(0.4, 4, 4, 4)
    warped = models.TopologicalInsulator.bi2se3(warping=True)
    skew = np.array([[0.1, 1e-4], [0.0, 0.1]])
    folded = js.Symmetric(DISK, [js.symmetry.TIME_REVERSAL])
    calls = {
        "tail": lambda: js.spin_hall(warped, space, levels, definition="conventional"),
        "symmetry": lambda: js.anomalous_hall(RASHBA, folded, WARM),
        "matrix": lambda: js.MatrixDisorder([skew]),
        "rotation": lambda: js.symmetry.Operation("none", np.diag([1, 1, 1.001])),
        "touching": lambda: js.downfold(BI2SE3, js.LowestBands(1)),
        "strict": lambda: js.anomalous_hall(BI2SE3, ball, levels, degeneracy=js.Strict()),
    }
    for name, call in calls.items():
        try:
            call()
        except ValueError:
            yield name, jnp.ones(())
        else:
            yield name, jnp.zeros(())


GROUPS = (
    fermi_sea,
    spin_hall,
    fermi_surface,
    thermal,
    at_k,
    fillings,
    disordered,
    spin_transfer,
    effective,
    hole_wells,
    fits,
    refusals,
)


def numbers(result) -> dict[str, list]:
    """The values of a response, or all numbers of another result, by name."""
    if isinstance(result, js.Response):
        return {"value": np.asarray(result.value).ravel().tolist()}
    if isinstance(result, js.disorder.DisorderedResponse):
        names = result.MECHANISMS
        return {n: numbers(getattr(result, n).conductivity)["value"] for n in names}
    leaves = jax.tree_util.tree_flatten_with_path(result)[0]
    return {jax.tree_util.keystr(p): np.asarray(x).ravel().tolist() for p, x in leaves}


def main() -> None:
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message="The torque density is not zero")
    found = {"precision": [8 * jnp.zeros(()).dtype.itemsize]}
    found |= {
        f"{group.__name__}: {name} {i}: {part}": values
        for group in GROUPS
        for i, (name, result) in enumerate(group())
        for part, values in numbers(result).items()
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
