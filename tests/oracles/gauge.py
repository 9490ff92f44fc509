"""Gauge: random unitaries inside degenerate groups, and what does not depend on them."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from systems import (
    random_unitary,
)

from jaxspin.band_structure.bands import Bands


def traces(bands):
    """Tr P_m V_a P_n V_b and Tr P_m S_s P_n V_b of all pairs of bands."""
    v, s = bands.velocity, bands.spin
    return (
        jnp.einsum("amnk,bnmk->abmnk", v, v),
        jnp.einsum("smnk,bnmk->sbmnk", s, v),
        bands.energies,
    )


def rotated(bands, w) -> Bands:
    """The same bands in the basis U W, for W that acts inside the groups."""

    def turn(operator):
        return jnp.einsum("abk,...ack,cdk->...bdk", w.conj(), operator, w)

    turned = eqx.tree_at(
        lambda b: (b.basis, b.velocity, b.spin),
        bands,
        (jnp.einsum("abk,bck->ack", bands.basis, w), turn(bands.velocity), turn(bands.spin)),
    )
    if bands.external_curvature is None:
        return turned
    return eqx.tree_at(lambda b: b.external_curvature, turned, turn(bands.external_curvature))


def random_gauge(rng, same) -> np.ndarray:
    """A random unitary inside each group of bands (n, n, K); a phase where a band is alone."""
    n, _, count = same.shape
    w = np.zeros((n, n, count), complex)
    for k in range(count):
        for group in np.unique(same[:, :, k], axis=0):
            members = np.flatnonzero(group)
            w[np.ix_(members, members, [k])] = random_unitary(rng, len(members))[:, :, None]
    return w


def over_groups(same, weight) -> np.ndarray:
    return np.einsum("mnk,...nk->...mk", same, weight)
