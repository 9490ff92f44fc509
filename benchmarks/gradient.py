"""Value and gradient by 13 parameters. Goal: at most 3.5 times a value, memory flat in k.

Bi2Se3 in an exchange field at 300 K, corrected proper spin Hall conductivity. Forward mode carries
13 tangents along; reverse mode is a loop of its own over the mesh, which adds the gradients of the
tiles, beside that of the value where it is wanted. One core; memory is the peak of a process of its
own.

    python benchmarks/gradient.py
"""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from record import alternated, on_one_core, peak_memory, same, three, write

import jaxspin as js

NAMES = ("A0", "A2", "B0", "B2", "C0", "C1", "C2", "M0", "M1", "M2")
MODEL = js.models.TopologicalInsulator.bi2se3(exchange=(0.01, 0.02, 0.03))
MESHES = ((16, 12, 8), (40, 24, 16))  # a tenth, and one


def value(parameters, counts):
    numbers = dict(zip(NAMES, parameters[:10], strict=True))
    model = js.models.TopologicalInsulator(**numbers, exchange=parameters[10:])
    mesh = js.Ball(0.3, *counts)
    levels = js.Levels(0.35, temperature=300.0)
    sigma = js.spin_hall(model, mesh, levels, definition="proper_corrected", progress=False)
    return sigma.component(flow="z", field="x", spin="y").value[0]


PARAMETERS = jnp.concatenate([jnp.stack([getattr(MODEL, n) for n in NAMES]), MODEL.exchange])
MODES = {
    "value": value,
    "forward": jax.jacfwd(value),
    "reverse": jax.grad(value),
    "value and reverse": jax.value_and_grad(value),
}


def compiled(mode: str, counts):
    function = jax.jit(MODES[mode], static_argnums=1)
    return lambda: function(PARAMETERS, counts)


def memory(mode: str, counts) -> float:
    """Peak memory of this process, MiB."""
    jax.block_until_ready(compiled(mode, counts)())
    return peak_memory()


def memory_elsewhere(mode: str, counts) -> float:
    command = [sys.executable, __file__, mode, *map(str, counts)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3600)
    return float(output.stdout.split()[-1])


def main() -> None:
    small, large = MESHES
    times = alternated({mode: compiled(mode, large) for mode in MODES})
    difference = same(times["reverse"].value, times["forward"].value, 1e-8)
    step = jnp.zeros(13).at[NAMES.index("M0")].set(1e-5)
    job = jax.jit(value, static_argnums=1)
    slope = (job(PARAMETERS + step, large) - job(PARAMETERS - step, large)) / 2e-5
    same(times["forward"].value[NAMES.index("M0")], slope, 1e-5)
    rows = [
        {
            "mode": mode,
            "k-points": int(np.prod(large)),
            "first call s": three(time.first_wall),
            "cpu s": three(time.cpu),
            "cost of a value": three(time.cpu / times["value"].cpu),
            "memory MiB": three(memory_elsewhere(mode, large)),
            f"memory MiB, {np.prod(small)} k-points": three(memory_elsewhere(mode, small)),
            "difference": f"{difference:.0e}" if mode == "reverse" else "",
        }
        for mode, time in times.items()
    ]
    write("gradient", rows)


if __name__ == "__main__":
    on_one_core()
    if len(sys.argv) > 1:
        print(memory(sys.argv[1], tuple(int(x) for x in sys.argv[2:])))
    else:
        main()
