"""A Fermi-surface rule of few lines: rays from one centre, all roots of every band."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxspin.surfaces import FermiSurface, Surface


class Rays(Surface):
    """Two dimensions; `roots` slots for each angle and band, up to `reach` from the centre."""

    angles: int = eqx.field(static=True)
    reach: float = eqx.field(static=True, default=4.0)
    roots: int = eqx.field(static=True, default=2)
    centre: tuple = eqx.field(static=True, default=(0.0, 0.0))

    def nodes(self, model, mu):
        theta = 2 * np.pi * (np.arange(self.angles) + 0.3) / self.angles
        direction = jnp.array([np.cos(theta), np.sin(theta)])
        bands = jax.eval_shape(model, jnp.zeros(2)).shape[0]
        found = [self._band(model, mu, direction, band) for band in range(bands)]
        return jax.tree.map(lambda *x: jnp.concatenate(x, axis=-1), *found)

    def _band(self, model, mu, direction, band):
        centre = jnp.array(self.centre)[:, None]

        def energy(radius):
            k = centre + radius * direction
            hamiltonian = jax.vmap(model, in_axes=-1)(k)
            return jnp.linalg.eigvalsh(hamiltonian)[:, band] - mu

        def slope(radius):
            return jax.jvp(energy, (radius,), (jnp.ones_like(radius),))[1]

        edges = jnp.linspace(1e-6, self.reach, 129)
        samples = jax.lax.stop_gradient(jax.vmap(energy)(edges[:, None] + jnp.zeros(self.angles)))
        changes = (samples[1:] > 0) != (samples[:-1] > 0)
        slots = []
        for slot in range(self.roots):
            place = jnp.argmax(changes & (jnp.cumsum(changes, axis=0) == slot + 1), axis=0)
            exists = jnp.sum(changes, axis=0) > slot
            low, high = edges[place], edges[place + 1]
            rising = jnp.take_along_axis(samples, place[None] + 1, axis=0)[0] > 0

            def halve(_, bracket, rising=rising):
                low, high = bracket
                middle = (low + high) / 2
                above = (jax.lax.stop_gradient(energy(middle)) > 0) == rising
                return jnp.where(above, low, middle), jnp.where(above, middle, high)

            low, high = jax.lax.fori_loop(0, 30, halve, (low, high))
            radius = jax.lax.stop_gradient((low + high) / 2)
            for _ in range(2):
                steep = jnp.where(exists, slope(radius), 1.0)
                radius = radius - jnp.where(exists, energy(radius), 0.0) / steep
                # The last step alone carries the derivative.
            weight = radius / jnp.abs(jnp.where(exists, slope(radius), 1.0)) / self.angles
            weight = jnp.where(exists, weight / (2 * np.pi), 0.0)
            k = centre + radius * direction
            slots.append(FermiSurface(k, jnp.full(self.angles, band), weight))
        return jax.tree.map(lambda *x: jnp.concatenate(x, axis=-1), *slots)
