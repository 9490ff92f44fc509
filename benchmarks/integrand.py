"""The spin Hall integrand of Bi2Se3, all 27 components, against naive JAX and vectorised NumPy.

Claims: 12 times the k-points per second of naive JAX (vmap of one k: `eigh`, `jacfwd`, `einsum`),
and 20 % of the operations the core can do. One core, double precision, one level.

jaxspin computes its error estimate besides, and the torque density, 9 more components, of all but
the conventional one.

    python benchmarks/integrand.py
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from record import alternated, on_one_core, same, three, timed, write

import jaxspin as js

# The exchange field splits the Kramers pairs by up to 2 meV, for the naive code has no groups. The
# levels lie in the gap: where pairs cross it would divide differences of occupations by nothing.
MODEL = js.models.TopologicalInsulator.bi2se3(exchange=(0.0, 0.0, 1e-3))
MESH = js.Space((0.0793, 0.0793, 0.2020), 320, 192, 16)
PEERS = js.Space((0.0793, 0.0793, 0.2020), 64, 48, 8)
MU, KELVIN = 0.1, 50.0
THERMAL = js.units.BOLTZMANN * KELVIN
CHUNK = 4096
FACTOR = js.units.per_natural("hbar/2e S/m")
DEFINITIONS = ("proper_corrected", "conventional", "proper_published", "kubo")

# Floating-point operations at one k for `proper_corrected`, counted by hand for n = 4: an addition,
# multiplication, division or root of real numbers is one, a complex multiply-add eight.
FLOPS = {
    "H and its 3 slopes": 4 * 6 * 16,
    "tridiagonal form, 4n³/3 complex multiply-adds": 8 * 4 * 64 // 3,
    "QL, 9 rotations of 4-vectors and its shifts": 9 * (6 * 4 + 30),
    "eigenvectors back, n²(n-1)/2 complex multiply-adds, twice": 2 * 8 * 24,
    "U†OU for 3 slopes and 3 spins, its half": 6 * 8 * (64 + 40),
    "connections, 6 pairs": 6 * (3 * 2 + 2),
    "(R^a R^b)_mm' for 3 pairs of directions": 3 * 8 * 48,
    "s_mm Ω_m and sums over bands, 9 components": 9 * 4 * 4,
    "torque, 9 components": 9 * 4 * 4 * 4,
}


def jaxspin(definition: str, mesh):
    levels = js.Levels(MU, KELVIN)
    return js.spin_hall(MODEL, mesh, levels, definition=definition, progress=False).value[0]


def naive(observable, k):
    """Σ_m f_m W_m at one k, (flow, field, spin): the formula as one would write it down."""
    energies, basis = jnp.linalg.eigh(MODEL(k))
    slopes = jnp.moveaxis(jax.jacfwd(MODEL)(k), -1, 0)
    velocity = jnp.einsum("pm,ipq,qn->imn", basis.conj(), slopes, basis)
    spin = jnp.einsum("pm,spq,qn->smn", basis.conj(), MODEL.spin(), basis)
    gap = energies[:, None] - energies[None, :] + jnp.diag(jnp.full(len(energies), jnp.inf))
    return observable(velocity, spin, gap, jax.nn.sigmoid((MU - energies) / THERMAL))


def conventional(v, s, gap, f):
    current = (jnp.einsum("spq,aqr->aspr", s, v) + jnp.einsum("apq,sqr->aspr", v, s)) / 2
    return -jnp.einsum("asmn,bnm,mn->abs", current, v, (f[:, None] - f[None, :]) / gap**2).imag


def proper_corrected(v, s, gap, f):
    curvature = -2 * jnp.einsum("amn,bnm,mn->abm", v, v, 1 / gap**2).imag
    return jnp.einsum("m,smm,abm->abs", f, s.real, curvature)


def chunks(mesh):
    """k-points and weights, chunk by chunk, the last filled up with points of no weight."""
    for first in range(0, mesh.size, CHUNK):
        index = np.arange(first, first + CHUNK)
        nodes = mesh.points(np.minimum(index, mesh.size - 1), None)
        yield nodes.k.T, jnp.where(index < mesh.size, nodes.weight, 0)


@partial(jax.jit, static_argnums=0)
def naive_chunk(observable, k, weight):
    return jnp.einsum("k,kabs->abs", weight, jax.vmap(partial(naive, observable))(k))


def naive_jax(observable, parts):
    return sum(naive_chunk(observable, k, weight) for k, weight in parts) * FACTOR


def numpy_conventional(parts) -> np.ndarray:
    """What a good user writes with NumPy; H and its slopes are linear in 9 functions of k."""
    total, spin = np.zeros((3, 3, 3)), np.asarray(MODEL.spin())
    lift = jax.jit(jax.vmap(lambda k: (MODEL(k), jax.jacfwd(MODEL)(k))))
    for k, weight in parts:
        h, slopes = map(np.asarray, lift(k))
        energy, u = np.linalg.eigh(h)
        bra = u.conj().swapaxes(1, 2)
        v = [bra @ slopes[..., i] @ u for i in range(3)]
        s = [bra @ matrix @ u for matrix in spin]
        gap = energy[:, :, None] - energy[:, None, :] + np.diag(np.full(4, np.inf))
        f = 1 / (1 + np.exp(np.clip((energy - MU) / THERMAL, -500, 500)))
        driven = weight[:, None, None] * (f[:, :, None] - f[:, None, :]) / gap**2
        scaled = [x.swapaxes(1, 2) * driven for x in v]
        for a, c in np.ndindex(3, 3):
            current = (s[c] @ v[a] + v[a] @ s[c]) / 2
            total[a, :, c] += [-np.vdot(current.conj(), x).imag for x in scaled]
    return total * FACTOR


def peak() -> float:
    """Operations per processor second of chains of multiply-adds: what XLA can get of the core."""
    chains, steps, repeats, size = 12, 24, 20_000, 256  # independent chains hide the latency

    def step(_, x):
        ends = []
        for i in range(chains):
            y = x + i
            for _ in range(steps):
                y = y * x + 0.5
            ends.append(y)
        return sum(ends) * 1e-3

    options = {"xla_cpu_prefer_vector_width": 512}
    chain = jax.jit(lambda x: jax.lax.fori_loop(0, repeats, step, x), compiler_options=options)
    x = jnp.linspace(0.1, 0.2, size)
    chain(x)
    cpu = [timed(lambda: chain(x))[1] for _ in range(9)]
    return 2 * chains * (steps + 1) * repeats * size / min(cpu)


def main() -> None:
    parts = list(chunks(PEERS))
    jobs = {name: partial(jaxspin, name, MESH) for name in DEFINITIONS}
    jobs |= {
        "proper_corrected, naive JAX": lambda: naive_jax(proper_corrected, parts),
        "conventional, naive JAX": lambda: naive_jax(conventional, parts),
        "conventional, NumPy": lambda: numpy_conventional(parts),
    }
    times = alternated(jobs)
    differences = {}
    for name in jobs:
        definition, _, peer = name.partition(", ")
        if peer:
            differences[name] = same(times[name].value, jaxspin(definition, PEERS), 1e-6)
    points = {name: PEERS.size if "," in name else MESH.size for name in jobs}
    rates = {name: points[name] / time.cpu for name, time in times.items()}
    rows = [
        {
            "integrand": name,
            "k-points": points[name],
            "first call s": three(time.first_wall),
            "cpu s": three(time.cpu),
            "thousand k per cpu second": three(rates[name] / 1e3),
            "jaxspin is faster by": three(rates[name.partition(",")[0]] / rates[name]),
            "difference": f"{differences[name]:.0e}" if name in differences else "",
        }
        for name, time in times.items()
    ]
    write("integrand", rows)
    flops, best = sum(FLOPS.values()), peak()
    rate = rates["proper_corrected"]
    row = {
        "integrand": "proper_corrected",
        "operations per k": flops,
        "Gflop/s": three(flops * rate / 1e9),
        "peak Gflop/s": three(best / 1e9),
        "fraction of the peak": three(flops * rate / best),
    }
    write("peak", [row])


if __name__ == "__main__":
    on_one_core()
    main()
