"""k-points per second of the main integrands, against a vectorised NumPy of the same sum.

Run: python benchmarks/throughput.py
"""

import time

import jax
import numpy as np
from record import cpu_time, write

import jaxspin as js

MODEL = js.models.TopologicalInsulator.bi2se3()
MESH = js.Space((0.0793, 0.0793, 0.2020), 96, 64, 8)
LEVELS = js.Levels(0.1, 300.0)
DEFINITIONS = ("conventional", "proper_corrected", "proper_published", "kubo")


def numpy_conventional() -> np.ndarray:
    """What a good user writes: NumPy, vectorised over the mesh in chunks."""
    total = np.zeros((3, 3, 3))
    spin = np.asarray(MODEL.spin())
    lift = jax.jit(jax.vmap(lambda k: (MODEL(k), jax.jacfwd(MODEL)(k))))
    thermal = 8.617333262e-5 * 300.0
    for first in range(0, MESH.size, 8192):
        nodes = MESH.points(np.arange(first, min(first + 8192, MESH.size)), None)
        h, dh = (np.asarray(x) for x in lift(nodes.k.T))
        energy, u = np.linalg.eigh(h)
        v = np.stack([u.conj().swapaxes(1, 2) @ dh[..., i] @ u for i in range(3)])
        s = np.stack([u.conj().swapaxes(1, 2) @ m @ u for m in spin])
        gap = energy[:, :, None] - energy[:, None, :]
        inverse = np.where(np.abs(gap) > 1e-6, 1 / np.where(np.abs(gap) > 1e-6, gap, 1) ** 2, 0)
        f = 1 / (1 + np.exp(np.clip((energy - 0.1) / thermal, -500, 500)))
        weight = np.asarray(nodes.weight)[:, None] * f
        for a in range(3):
            for c in range(3):
                j = 0.5 * (s[c] @ v[a] + v[a] @ s[c])
                for b in range(3):
                    omega = -2 * np.imag(j * v[b].swapaxes(1, 2) * inverse).sum(2)
                    total[a, b, c] += np.sum(weight * omega)
    return total * 2434134.80728


def timed(function) -> tuple[float, float, np.ndarray]:
    wall, cpu = time.perf_counter(), cpu_time()
    value = np.asarray(function())
    return time.perf_counter() - wall, cpu_time() - cpu, value


def main() -> None:
    jobs = {
        d: (lambda d=d: js.spin_hall(MODEL, MESH, LEVELS, definition=d, progress=False).value[0])
        for d in DEFINITIONS
    }
    jobs["conventional, NumPy"] = numpy_conventional
    first = {name: timed(job) for name, job in jobs.items()}
    np.testing.assert_allclose(first["conventional"][2], first["conventional, NumPy"][2], atol=1e-5)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(3):
        for name, job in jobs.items():
            samples[name].append(timed(job)[:2])
    rows = []
    for name, pairs in samples.items():
        wall, cpu = np.median(pairs, axis=0)
        rows.append(
            {
                "integrand": name,
                "first call s": round(first[name][0], 2),
                "thousand k per cpu second": round(MESH.size / cpu / 1e3, 1),
                "thousand k per second": round(MESH.size / wall / 1e3, 1),
            }
        )
    write("throughput", rows)


if __name__ == "__main__":
    main()
