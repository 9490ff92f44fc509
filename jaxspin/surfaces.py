"""Fermi surfaces: nodes and weights on them."""

from abc import abstractmethod

import equinox as eqx
from jaxtyping import Array, Float, Int

from jaxspin.models.base import Model


class FermiSurface(eqx.Module):
    """Nodes on a Fermi surface."""

    k: Float[Array, "d a"]
    band: Int[Array, " a"]
    weight: Float[Array, " a"]


class Surface(eqx.Module):
    """A rule that puts nodes on the Fermi surface of a model."""

    @abstractmethod
    def nodes(self, model: Model, mu: Float[Array, ""]) -> FermiSurface:
        """The nodes."""
