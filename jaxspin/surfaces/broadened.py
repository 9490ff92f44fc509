"""Every point of a mesh as a node, with a broadened delta function."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxspin.engine.annotations import Numbers
from jaxspin.engine.small_matrices import join_tiles
from jaxspin.engine.validate import check_integer, check_number
from jaxspin.integration.checks import check_mesh
from jaxspin.meshes.mesh import Mesh, check_product
from jaxspin.surfaces.base import (
    Diagnostic,
    FermiSurface,
    FermiSurfaceRule,
    all_bands,
    edges_of_bands,
    stop_gradients,
)

_TILE = 4096  # k-points whose matrices are in memory at once


class BroadenedSurface(FermiSurfaceRule):
    """Any surface in two or three dimensions: w = w_k δ_width(ε − mu) at every mesh point.

    With x = (ε − mu)/width, a Gaussian e^{−x²}/√π (order 0), and the expansions of Methfessel and
    Paxton, PRB 40, 3616 (1989), of order 1, (3/2 − x²), and 2, (15/8 − 5x²/2 + x⁴/2) times it; 0
    beyond x² = 40, where they are below 10⁻¹⁴. The error falls with width², width⁴ and width⁶, as
    long as the mesh resolves the width.

    Args:
        mesh: `Grid` for a lattice model, `Disk`, `Plane`, `Ball` or `Space` for a continuum model.
        width: eV.
        order: 0, 1 or 2.
    """

    mesh: Mesh
    width: Float[Array, ""]
    order: int = eqx.field(static=True)

    def __init__(self, mesh: Mesh, width: Numbers, order: int = 0):
        self.mesh = check_product("mesh", mesh)
        check_number("width", width, "a positive energy (eV)", above=0)
        check_integer("order", order, 0, 2, "0, 1 or 2")
        self.width = jnp.array(width, dtype=jnp.result_type(float))
        self.order = int(order)

    def check(self, model):
        check_mesh(model, self.mesh)

    def find(self, model, mu):
        k, weight, energies, change = _bands_on_mesh(model, self.mesh)
        x = (energies - mu) / self.width
        n, points = energies.shape
        surface = FermiSurface(
            k=jnp.tile(k, n),
            band=jnp.repeat(jnp.arange(n), points),
            weight=(weight * _broadened_delta(x, self.order) / self.width).ravel(),
        )
        near = jnp.abs(energies - mu) < jnp.maximum(change, self.width)
        coarse = near & (change > _WIDEST * self.width)
        text = (
            f"is not resolved by the mesh: the energy changes by more than {_WIDEST} times `width` "
            "from point to point. Use more points or a larger `width`."
        )
        where = jnp.broadcast_to(k[:, None], (len(k), n, points))
        bands = jnp.broadcast_to(jnp.arange(n)[:, None], (n, points))
        return surface, (Diagnostic(stop_gradients(coarse), stop_gradients(where), bands, text),)

    def companion(self):
        """A width with three times the error, so that the difference is twice that of `width`."""
        wider = self.width * 3 ** (1 / (2 * self.order + 2))
        return eqx.tree_at(lambda rule: rule.width, self, wider)

    def outline(self, model):
        k, _, energies, _ = _bands_on_mesh(model, self.mesh)
        return edges_of_bands(k, energies)


# A Gaussian e^{-x²} summed in steps of h is wrong by 2 exp(-π²/h²): 0.17 for h = 2, 0.7 for h = 3.
_WIDEST = 2


def _broadened_delta(x: Float[Array, "n K"], order: int) -> Float[Array, "n K"]:
    """Methfessel and Paxton's δ(x): Σ_m (−1)^m/(m! 4^m √π) H_2m(x) e^{−x²}."""
    factors = (1.0, 1.5 - x**2, 1.875 - 2.5 * x**2 + 0.5 * x**4)
    # Points without weight do not count as states, degenerate bands far from mu as no obstacle.
    return jnp.where(x**2 < 40, factors[order] * jnp.exp(-(x**2)) / np.sqrt(np.pi), 0)


def _bands_on_mesh(model, mesh):
    """k (d, K), weights (K,), energies (n, K), and the largest change of each to a neighbour."""
    tiles = -(-mesh.size // _TILE)
    tile = -(-mesh.size // tiles)
    numbers = jnp.minimum(jnp.arange(tiles * tile), mesh.size - 1).reshape(tiles, tile)

    def evaluate_tile(index):
        points = mesh.points(index, model.lattice)
        energies, velocity = all_bands(model, points.k)
        change = jnp.abs(jnp.einsum("inK,ciK->cnK", velocity, points.edges))
        return points.k, points.weight, energies, stop_gradients(change).max(axis=0)

    found = jax.lax.map(evaluate_tile, numbers)
    return jax.tree.map(lambda x: join_tiles(x)[..., : mesh.size], found)
