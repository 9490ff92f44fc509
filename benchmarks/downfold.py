"""Downfolding against diagonalising: what the effective Hamiltonian of a few bands costs.

100,000 k-points of the 6-band crystal-field model. "diagonalise" makes H(k) and solves it;
"downfold" gives the exact effective Hamiltonian of the lower two bands, all from the same tiles of
256 k on one core. The last rows are all that responses use. It fails if the bands of H_eff are
wrong, or if downfolding takes more than twice the time of diagonalising.

    python benchmarks/downfold.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from record import alternated, on_one_core, same, three, write

import jaxspin as js
from jaxspin.band_structure.bands import solve_bands
from jaxspin.band_structure.degeneracy import Covariant
from jaxspin.engine.eigensolvers import eigh
from jaxspin.models.lifted import Points

POINTS, TILE, LIMIT = 100_096, 256, 2.0


def tiled(function):
    """The function on tile after tile, compiled."""
    return eqx.filter_jit(lambda model, k: jax.lax.map(lambda tile: function(model, tile), k))


def hamiltonian(model, k):
    """H(k) alone, as the models lift it, (n, n, K)."""
    return model.lift(Points(k)).hamiltonian.astype(complex)


def diagonalise(model, k):
    """Energies and eigenvectors."""
    return eigh(hamiltonian(model, k))


def downfold(model, k):
    """The exact effective Hamiltonian."""
    two = js.downfold(model, (0, 1))
    return two.effective_hamiltonian(hamiltonian(model, k))


def bands_of_all(model, k):
    """Energies, velocity and spin of the six bands."""
    bands = solve_bands(model, k, Covariant())
    return bands.energies, bands.velocity, bands.spin


def bands_of_two(model, k):
    """The same of the effective model, with the spin current."""
    bands = solve_bands(js.downfold(model, (0, 1)), k, Covariant())
    return bands.energies, bands.velocity, bands.operators["spin"]


def main():
    model = js.models.CrystalFieldC4v(gap=2.0, a=1.0, b=0.3, b_inter=0.1, kinetic=3.8)
    k = np.random.default_rng(0).uniform(-0.5, 0.5, size=(POINTS // TILE, 2, TILE))
    k = jnp.asarray(k)
    functions = (diagonalise, downfold, bands_of_all, bands_of_two)
    compiled = {f.__name__: tiled(f) for f in functions}
    timings = alternated({name: lambda f=f: f(model, k) for name, f in compiled.items()}, 5)
    energies = np.asarray(timings["diagonalise"].value[0])[:, :2]
    found = np.linalg.eigvalsh(np.moveaxis(np.asarray(timings["downfold"].value), -1, 1))
    difference = same(np.moveaxis(found, -1, 1), energies, 1e-12)
    base = timings["diagonalise"].cpu
    write(
        "downfold",
        [
            {
                "job": name,
                "cpu s": three(timing.cpu),
                "to diagonalising": f"{timing.cpu / base:.2f}",
                "first call, cpu s": three(timing.first_cpu),
                "difference": f"{difference:.0e}" if name == "downfold" else "",
            }
            for name, timing in timings.items()
        ],
    )
    if timings["downfold"].cpu > LIMIT * base:
        raise SystemExit(f"downfolding takes more than {LIMIT} times as long as diagonalising")


if __name__ == "__main__":
    on_one_core()
    main()
