"""The integrand at one point of a mesh: what it computes, by its trace and by its values."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxspin.band_structure.bands import solve_bands
from jaxspin.engine.checkpoint import describe, round_to_scale
from jaxspin.engine.identity import code_of, digest, operations, trace
from jaxspin.engine.programs import program
from jaxspin.engine.trusted import Unidentified
from jaxspin.meshes.mesh import Mesh
from jaxspin.models.lifted import Needs, Points


def integrand_code(observable, model, mesh: Mesh, degeneracy) -> str:
    """Digest of the user's code in an integrand, by which a compiled sum is known again.

    Numbers of the model and of the mesh are variables of it.

    Raises:
        Unidentified: the code holds a number that jit, grad or vmap are tracing.
    """
    parts = observable, model, mesh.coordinates, degeneracy
    try:
        return code_of(parts)
    except Unidentified:  # an observable or a mesh of the user's
        arrays, rest = eqx.partition(parts, eqx.is_array)
        at = lambda arrays, u: _evaluate_integrand(*eqx.combine(arrays, rest), u=u)  # noqa: E731
        return digest(trace(at, arrays, _cube_centre(mesh)))


def describe_code(observable, model, mesh: Mesh, degeneracy) -> dict[str, str]:
    """Digests of the operations of an integrand, part by part, for a file or another process.

    Raises:
        ValueError: a part calls Python functions that JAX cannot look into.
    """
    k = jax.ShapeDtypeStruct((model.dimension,), jnp.result_type(float))
    tile = jax.ShapeDtypeStruct((model.dimension, 1), jnp.result_type(float))
    needs = Needs(observable.operators)
    parts = {
        "model.__call__": (model, k),
        "model.lift": (lambda k: model.lift(Points(k), needs), tile),
        "integrand": (
            lambda u: _evaluate_integrand(observable, model, mesh.coordinates, degeneracy, u),
            _cube_centre(mesh),
        ),
    }
    return {name: operations(*part) for name, part in parts.items()}


def describe_values(observable, model) -> dict[str, str]:
    """Values of the matrices of a model at a few k, for a file or another process.

    Rounded to 10⁻⁸ of the largest, because another processor rounds differently.
    """
    values = jax.tree.leaves(_lifted_values(observable, model))
    return describe(
        **{"values at three k": [round_to_scale(x, np.max(np.abs(x), initial=0)) for x in values]}
    )


@program
def _lifted_values(observable, model):
    """H(k), its slopes, operators and the connection at a few k."""
    k = jnp.asarray(np.random.default_rng(20231119).uniform(-1, 1, size=(model.dimension, 3)))
    model = model.prepared()
    curl = observable.external_curvature and model.external_terms
    lifted = model.lift(Points(k), Needs(observable.operators, curl))
    operators = [operator.matrices for operator in lifted.operators.values()]
    return lifted.hamiltonian, lifted.slopes, operators, lifted.connection


def _evaluate_integrand(observable, model, coordinates, degeneracy, u):
    """Weights of the bands at one point."""
    model = model.prepared()
    nodes = coordinates([x[None] for x in u], [jnp.ones(1)] * len(u), model.lattice)
    box = [x[None] for x in u] if coordinates.periodic else None
    bands = solve_bands(model, nodes.k.reshape(-1, 1), degeneracy, box=box, **observable.needs)
    return nodes, bands.levels, observable(bands)


def _cube_centre(mesh: Mesh) -> list[float]:
    return [0.5] * len(mesh.axes)
