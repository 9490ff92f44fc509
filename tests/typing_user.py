"""A user's script, in which a type checker must find nothing; `test_typing.py` runs it on it."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxspin as js
from jaxspin.quantities.spin_hall import Definition


class Surface(js.Model):
    """A massive Dirac cone with a term of a user's own."""

    velocity: jax.Array
    mass: jax.Array

    @property
    def dimension(self) -> int:
        return 2

    def __call__(self, k):
        dirac = self.velocity * (k[0] * js.PAULI[2] - k[1] * js.PAULI[1])
        return dirac + self.mass * js.PAULI[3]

    def spin(self):
        return js.PAULI[1:]


def responses() -> list[js.Response]:
    """Responses of models of the user and of the package, on meshes of every kind."""
    cone = Surface(jnp.array(4.0), jnp.array(0.1))
    chern = js.models.QiWuZhang(A=1.0, m=-1.0)
    rashba = js.models.Rashba(kinetic=3.8, velocity=0.5, exchange=0.01)
    plane = js.Plane(0.1, 24, 12)
    grid = js.Grid((12, 12), shift=[0.5, 0.5])
    halved = js.Symmetric(grid, [js.symmetry.INVERSION])
    refined = js.Adaptive(grid, rtol=1e-2)
    levels = js.Levels([-0.1, 0, 0.1], temperature=[100, 300.0])
    definition: Definition = "proper_corrected"
    return [
        js.spin_hall(cone, plane, js.Levels(0.2), definition="conventional").to("hbar/2e e^2/h"),
        js.spin_hall(rashba, plane, levels, definition=definition).to("hbar/e S"),
        js.anomalous_hall(chern, halved, levels).to("e^2/h").component(flow="y", field="x"),
        js.anomalous_hall(chern + 0.1 * chern, refined, js.Levels(0)).component(flow="x"),
        js.carrier_density(rashba, plane, js.Levels(np.linspace(0, 0.3, 4))),
        js.torque_density(rashba, js.Disk(cutoff=0.5, radial=8, angular=8), levels),
        js.spin_hall_pieces(cone, plane, js.Levels(0.2), degeneracy=js.Covariant(1e-4)).J1,
        js.equilibrium_spin_current(rashba, plane, levels, bands=(0,)).total,
    ]


def bands() -> float:
    """Bands, operators and density matrices at wave vectors given as lists and arrays."""
    cone = Surface(jnp.array(4.0), jnp.array(0.1))
    found = js.bands(cone, [[0.0, 0.1], [0.1, 0.0]])
    curvature = js.berry_curvature(cone, np.zeros((3, 2)))
    of_spin = js.spin_berry_curvature(cone, [0.1, 0.2], definition="conventional")
    density = js.density_matrix(cone, jnp.zeros((1, 2)), js.Levels([0.2]))
    velocity = js.operators(cone, (0.1, 0.0)).velocity
    numbers = found.energies, curvature, of_spin, density.equilibrium, velocity
    return float(sum(jnp.sum(jnp.abs(x)) for x in numbers))


def disordered() -> js.Response:
    """A disordered conductor and its torque."""
    model = js.models.MassiveDirac(velocity=1.0, mass=0.3)
    disorder, levels = js.ScalarDisorder(0.1), js.Levels(1.0)
    response = js.disordered_response(model, js.FermiContour(16), levels, disorder)
    torque = response.spin_orbit_torque([0.0, 0.0, 0.3])
    return torque.total.component(field="x")


def downfolded() -> js.Response:
    """An effective model of two bands of four."""
    model = js.models.CrystalFieldC4v(gap=1.0, a=0.5, b=0.1, b_inter=0.2, kinetic=3.8)
    effective = js.downfold(model, [0, 1], order=2)
    others = js.downfold(model, js.LowestBands(2)), js.downfold(model, js.BasisFunctions((0, 1)))
    mesh = js.Disk(0.2, radial=8, angular=8)
    assert all(isinstance(other, js.EffectiveModel) for other in others)
    return js.anomalous_hall(effective, mesh, js.Levels(0.1))


def fitted() -> js.Fit:
    """A fit of a number of a model to a Hall measurement."""
    start = {"m": -1.2}
    parameters = js.fitting.Parameters(js.models.QiWuZhang(A=1.0, m=-1.0), list(start))
    data = js.fitting.Data(
        [0.1, 0.2], [0.01, 0.01], component="yx", mu=[-1.0, 1.0], temperature=600.0, units="e^2/h"
    )

    def residuals(values):
        sigma = js.anomalous_hall(parameters.model(values), js.Grid((8, 8)), data.levels)
        return data.residuals(sigma)

    return js.fit(residuals, start, bounds={"m": (None, -0.1)})


def drawn_and_saved(response: js.Response, folder: str) -> js.Response:
    """A figure of a scan, and a response written and read."""
    axes = js.plot.scan(response)
    axes.set_title(response.name)
    response.save(f"{folder}/response.nc", overwrite=True)
    labelled = response.to_xarray().isel(mu=0)
    print(labelled.attrs["units"], np.asarray(response.value).max())
    return js.load(f"{folder}/response.nc")
