"""Validity of an effective model: gap to the removed bands, and error of perturbation theory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.downfold.block_diagonalization import fixed_spectrum
from jaxspin.engine.annotations import Numbers
from jaxspin.engine.eigensolvers import eigh
from jaxspin.engine.programs import program
from jaxspin.engine.small_matrices import dagger, matmul
from jaxspin.integration import checks
from jaxspin.meshes.mesh import Mesh
from jaxspin.models.base import hamiltonian_at


class Validity(eqx.Module):
    """Smallest gap, largest angle of the rotation and largest error of the bands over some k."""

    #: Smallest gap between kept and removed bands, eV, and where it is, 1/Å.
    gap: Float[Array, ""]
    gap_at: Float[Array, " d"]
    #: Largest angle between kept bands and reference functions, radians: the size of the generator
    #: Q. Near π/2 the effective basis ceases to exist.
    angle: Float[Array, ""]
    #: Largest error of the bands of H_eff, eV, against those of the full model; rounding for the
    #: exact rotation.
    error: Float[Array, ""]

    def __repr__(self) -> str:
        return (
            f"gap between kept and removed bands at least {float(self.gap):.4g} eV, at k = "
            f"{np.asarray(self.gap_at)}\nangle of the generator at most {float(self.angle):.3g}\n"
            f"error of the bands at most {float(self.error):.2g} eV"
        )

    __str__ = __repr__


def measure_validity(model, k: Mesh | Numbers) -> Validity:
    """Return the validity of an `EffectiveModel`: the worst over a mesh, or over given k."""
    points = _wave_vectors(model, k)
    gaps, angles, errors = _measure_each(model, points)
    worst = jnp.argmin(gaps)
    return Validity(gaps[worst], points[worst], jnp.max(angles), jnp.max(errors))


def _wave_vectors(model, k) -> Float[Array, "K d"]:
    if isinstance(k, Mesh):
        checks.check_mesh(model, k)
        return k.points(jnp.arange(k.size), model.lattice).k.T
    k = jnp.asarray(k, dtype=jnp.result_type(float))
    if k.ndim == 0 or k.shape[-1] != model.dimension or k.size == 0:
        raise ValueError(
            "Argument `k` must be a mesh or at least one k, with a last axis of length "
            f"{model.dimension}, but has shape {k.shape}."
        )
    return k.reshape(-1, model.dimension)


@program
def _measure_each(model, points):
    """Gap, angle and error of the bands at one k after the other, because memory is limited."""
    return jax.lax.map(lambda k: _measure_at(model, k), points)


def _measure_at(model, k):
    hamiltonian = hamiltonian_at(model.model, k).astype(complex)[..., None]
    bands = fixed_spectrum(hamiltonian, model.blocks.bands)
    gap, cosine = _gap_and_cosine(bands, model.blocks)
    kept = jnp.sort(bands.energies[: model.blocks.sizes[0]], axis=0)
    error = jnp.max(jnp.abs(eigh(model.effective_hamiltonian(hamiltonian))[0] - kept))
    return gap, jnp.arccos(cosine), error


def _gap_and_cosine(bands, blocks):
    """Gap between kept and removed bands, and smallest cosine of the angles to the functions."""
    m = blocks.sizes[0]
    overlap = matmul(dagger(bands.basis[:, :m]), blocks.frame[:, :m, None])
    squares = eigh(matmul(dagger(overlap), overlap))[0]
    gaps = jnp.abs(bands.energies[:m, None] - bands.energies[None, m:])
    return jnp.min(gaps), jnp.sqrt(jnp.clip(squares[0, 0], 0, 1))
