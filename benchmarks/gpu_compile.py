"""Public responses compiled for a GPU that is not there: launches, bytes, spills, waits.

XLA compiles for an H200 that it is told the properties of. Nothing runs on a GPU: the times are
predictions,

    launches * 3 us + bytes / 4.8 TB/s + flops / 34 TFlop/s,

pessimistic where copies and arithmetic overlap, optimistic about latency, occupancy, spills,
contended atomics, and operands that the blocks of a reduction read again. Flops are two for each
double-precision instruction of the machine code times the threads of its launch, where nvdisasm is
found; loops inside a kernel count once.

The compiler alone suffices, 1.4 GB: `pip install -e '.[gpu-compile]'`, and no GPU.

    python benchmarks/gpu_compile.py [--check] [NAME ...]

`--check` writes nothing, and ends with an error where a program exceeds its limits: of those that
have some, where none is named.
"""

import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
os.environ["JAX_PLATFORMS"] = ""

import jax
import jax.numpy as jnp
import numpy as np
from anomalous_hall import random_model
from gpu_hlo import Traffic, read_traffic
from gpu_sums import as_on_gpu, capture_program, split_arrays
from record import three, write

import jaxspin as js
from jaxspin.engine import fused
from jaxspin.engine.tile_sizes import sizes_for
from jaxspin.integration.cubature import _choose_rules
from jaxspin.integration.occupation_sums import StepSum

LAUNCH, BANDWIDTH, FLOPS = 3e-6, 4.8e12, 34e12

H200 = """
gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 threads_per_core_limit: 2048
  core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 4814000000000 l2_cache_size: 62914560
  clock_rate_ghz: 1.98 device_memory_size: 150121545728 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536 }
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 13 minor: 0 patch: 0 }
device_description_str: "NVIDIA H200"
"""


# --------------------------------------------------------------------------- compilation


def described_gpu():
    """A device to compile for.

    Raises:
        RuntimeError: the compiler for GPUs is not installed.
    """
    from jax._src import xla_bridge
    from jax.experimental import topologies

    known = xla_bridge.canonicalize_platform

    def canonicalize(platform):
        try:
            return known(platform)
        except RuntimeError:  # "cuda" is unknown where no GPU was found
            return "cuda"

    with mock.patch.object(xla_bridge, "canonicalize_platform", canonicalize):
        return topologies.get_topology_desc(
            platform="cuda", target_config=H200, topology="1x1x1"
        ).devices[0]


# XLA of jax 0.10.2 ends with "Couldn't find output tile sizes" for a product of 27 x 27 and 27 x 6
# numbers in the spin-transfer torque, which it wants to write in Triton.
_NO_TRITON = {"xla_gpu_enable_triton_gemm": False}


def compile_for_gpu(function: Callable, arguments: tuple, dump: Path):
    """A function, compiled for one GPU; what is no array is a constant of the program."""
    place = jax.sharding.SingleDeviceSharding(described_gpu())
    function, arrays = split_arrays(function, arguments)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), arrays)
    with as_on_gpu():
        lowered = jax.jit(function).lower(shapes)
    options = {"xla_dump_to": str(dump), "xla_dump_hlo_as_text": True}
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if "tile sizes" not in str(error):
            raise
        return lowered.compile(compiler_options=options | _NO_TRITON)


# --------------------------------------------------------------------------- machine code


@dataclass
class MachineCode:
    """What ptxas says of the kernels of one file of PTX."""

    #: Spilled bytes of a thread, by kernel.
    spills: dict[str, int] = field(default_factory=dict)
    registers: dict[str, int] = field(default_factory=dict)
    #: Double-precision instructions of a thread, by kernel, where nvdisasm is found.
    instructions: dict[str, int] = field(default_factory=dict)


def find_tool(name: str) -> str | None:
    """A program of NVIDIA's, from its wheel or the path."""
    spec = find_spec("nvidia")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(folder).glob(f"*/bin/{name}"):
            return str(path)
    return shutil.which(name)


def read_machine_code(ptx: Path) -> MachineCode:
    """Registers, spills and instructions of the kernels in a file."""
    code = MachineCode()
    assembler = find_tool("ptxas")
    if assembler is None or ".entry" not in ptx.read_text():
        return code
    with tempfile.NamedTemporaryFile(suffix=".cubin") as out:
        command = [assembler, "-v", "-arch=sm_90a", str(ptx), "-o", out.name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        parts = done.stderr.split("Compiling entry function '")[1:]
        for part in parts:
            name = part.split("'")[0]
            spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part)
            used = re.search(r"Used (\d+) registers", part)
            code.spills[name] = sum(map(int, spilled.groups())) if spilled else 0
            code.registers[name] = int(used.group(1)) if used else 0
        if disassembler := find_tool("nvdisasm"):
            command = [disassembler, "-c", out.name]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
            code.instructions |= _count_double(done.stdout)
    return code


def _count_double(text: str) -> dict[str, int]:
    """Double-precision instructions of each kernel in the output of nvdisasm."""
    parts = re.split(r"\n\s*\.section\s+\.text\.", text)[1:]
    double = r"\bD(?:FMA|ADD|MUL|SETP)\b"
    return {re.match(r"[\w.$]+", part).group(): len(re.findall(double, part)) for part in parts}


def _count_threads(dump: Path) -> dict[str, int]:
    """Threads of each launch, from XLA's list of what it runs."""
    pattern = r"(\S+) grid: \[([\d, ]+)\] threads: \[([\d, ]+)\]"
    found = (re.findall(pattern, path.read_text()) for path in dump.glob("*thunk_sequence.txt"))
    return {
        name: math.prod(map(int, f"{grid},{block}".split(",")))
        for launches in found
        for name, grid, block in launches
    }


# --------------------------------------------------------------------------- cost


@dataclass
class Cost:
    """What a program costs on a GPU by its compiled form."""

    points: int
    tiles: int
    traffic: Traffic
    flops: float
    spill: int
    registers: int
    #: Additions of double precision to shared bins, whose order is not fixed.
    atomics: int
    temporary: int
    seconds_to_compile: float

    @property
    def rate(self) -> float:
        """k-points a second, predicted."""
        seconds = self.traffic.launches * LAUNCH + self.traffic.bytes / BANDWIDTH
        return self.points / (seconds + self.flops / FLOPS)

    def as_row(self) -> dict[str, Any]:
        """A row of the table."""
        calls = ", ".join(f"{number} {name}" for name, number in self.traffic.calls.items())
        return {
            "k in the program": self.points,
            "launches a tile": three(self.traffic.launches / self.tiles),
            "bytes a k": three(self.traffic.bytes / self.points),
            "flop a k": three(self.flops / self.points),
            "predicted Mk/s": three(self.rate / 1e6),
            "spill, bytes a thread": self.spill,
            "registers": self.registers,
            "atomics": self.atomics,
            "waits for the host": self.traffic.waits,
            "callbacks": self.traffic.callbacks,
            "temporary MB": three(self.temporary / 1e6),
            "compilation, s": three(self.seconds_to_compile),
            "library calls": calls,
        }


def measure_cost(function: Callable, arguments: tuple, points: int, tiles: int = 1) -> Cost:
    """The cost of one run of a function over so many k-points in so many tiles."""
    with tempfile.TemporaryDirectory() as folder:
        dump, start = Path(folder), time.process_time()
        program = compile_for_gpu(function, arguments, dump)
        seconds = time.process_time() - start
        traffic, sources = read_traffic(program.as_text()), list(dump.glob("*.ptx"))
        code = [read_machine_code(ptx) for ptx in sources]
        atomics = sum(len(re.findall(r"\b(?:atom|red)\.[\w.]*f64", x.read_text())) for x in sources)
        return Cost(
            points,
            tiles,
            traffic,
            _count_flops(traffic, code, _count_threads(dump)),
            max((n for x in code for n in x.spills.values()), default=0),
            max((n for x in code for n in x.registers.values()), default=0),
            atomics,
            program.memory_analysis().temp_size_in_bytes,
            seconds,
        )


def _count_flops(traffic: Traffic, code: list[MachineCode], threads: dict[str, int]) -> float:
    instructions = {name: n for part in code for name, n in part.instructions.items()}
    total = 0.0
    for kernel in traffic.kernels:
        name = kernel.ptx or re.sub(r"[.\-]", "_", kernel.name)
        total += 2 * kernel.times * instructions.get(name, 0) * threads.get(name, 0)
    return total


# --------------------------------------------------------------------------- the table


class Limits(NamedTuple):
    """What a program may cost; None where nothing is asked."""

    launches_a_tile: float
    bytes_a_k: float
    flops_a_k: float
    spill: int = 64
    atomics: int | None = None


BI2SE3, QWZ = js.models.TopologicalInsulator.bi2se3(), js.models.QiWuZhang(1.0, -1.0)
SCALE = (0.0793, 0.0793, 0.2020)
SPACE, SQUARE = js.Space(SCALE, 64, 64, 64), js.Grid((512, 512))
# What a scan does once a segment, such as the sum over lanes, is to be spread over many tiles.
LARGE_SPACE, LARGE_SQUARE = js.Space(SCALE, 256, 256, 256), js.Grid((4096, 4096))
CUBE, DISK = js.Grid((64, 64, 64)), js.Disk(0.9, 512, 512)
ONE, SCAN = js.Levels(0.0, 300.0), js.Levels(np.linspace(-0.5, 0.5, 201))
WARM_SCAN = js.Levels(np.linspace(-0.5, 0.5, 201), 300.0)


def spin_hall(definition: str, levels: js.Levels, mesh=SPACE):
    return lambda: js.spin_hall(BI2SE3, mesh, levels, definition=definition, progress=False)


def hall(n: int, levels: js.Levels = ONE):
    return lambda: js.anomalous_hall(random_model(n), CUBE, levels, progress=False)


#: Sums over a mesh: what is compiled is one segment.
SUMS = {
    "anomalous Hall, QWZ, n = 2": lambda: js.anomalous_hall(QWZ, SQUARE, ONE, progress=False),
    "carrier density, QWZ": lambda: js.carrier_density(QWZ, SQUARE, ONE, progress=False),
    "density of states, QWZ": lambda: js.density_of_states(QWZ, LARGE_SQUARE, SCAN, progress=False),
    "spin Hall, conventional, n = 4": spin_hall("conventional", ONE),
    "spin Hall, proper published, n = 4": spin_hall("proper_published", ONE),
    "spin Hall, proper corrected, n = 4": spin_hall("proper_corrected", ONE),
    "spin Hall, kubo, n = 4": spin_hall("kubo", ONE),
    "spin Hall, 201 levels, T = 0": spin_hall("conventional", SCAN, LARGE_SPACE),
    "spin Hall, 201 levels, 300 K": spin_hall("conventional", WARM_SCAN, LARGE_SPACE),
    "anomalous Hall, QWZ, 201 levels, T = 0": lambda: js.anomalous_hall(
        QWZ, LARGE_SQUARE, SCAN, progress=False
    ),
    "equilibrium spin current": lambda: js.equilibrium_spin_current(
        BI2SE3, SPACE, ONE, progress=False
    ),
    "torque density": lambda: js.torque_density(BI2SE3, SPACE, ONE, progress=False),
    "anomalous Hall, 81 hoppings, n = 4": hall(4),
    "anomalous Hall, 81 hoppings, n = 8": hall(8),
    "anomalous Hall, 81 hoppings, n = 18": hall(18),
}

DIRAC, WARM = js.models.MassiveDirac(velocity=3.3, mass=0.05), js.Levels(0.15, 300.0)


def hall_of_parameters(x):
    """The anomalous Hall conductivity by three numbers, a whole call inside jit."""
    response = js.anomalous_hall(js.models.QiWuZhang(x[0], x[1]), SQUARE, js.Levels(x[2], 300.0))
    return response.value[0, 0, 1]


#: Other programs: their names in the package, the calls that run them, and their numbers of k.
OTHERS = {
    "Berry curvature at given k, QWZ": (
        "_solve_and_apply",
        lambda: js.berry_curvature(QWZ, np.zeros((2**18, 2))),
        2**18,
    ),
    "adaptive cells, anomalous Hall, QWZ": (
        "integrals",
        lambda: js.anomalous_hall(QWZ, js.Adaptive(js.Grid((64, 64)), rtol=1e-3), ONE),
        None,
    ),
    "disorder, massive Dirac, 64 rays": (
        "_respond_at_energies",
        lambda: js.disordered_response(DIRAC, js.FermiContour(64), WARM, js.ScalarDisorder(0.5)),
        64,
    ),
    "spin-transfer torque, Bi2Se3, 512 rays": (
        "_respond_at_levels",
        lambda: js.spin_transfer_torque(
            js.spin_transfer.ConductionBand(BI2SE3),
            js.FermiShell(16, 32),
            js.Levels(0.2767),
            [0, 0, 0.00125],
            scattering_time=0.1,
        ),
        512,
    ),
}
DERIVATIVES = {
    "derivatives by 3 numbers, forward, QWZ": jax.jacfwd(hall_of_parameters),
    "derivatives by 3 numbers, backward, QWZ": jax.grad(hall_of_parameters),
}


def measure_other(name: str) -> Cost:
    """The cost of a program that is no segment of a sum."""
    if name in DERIVATIVES:
        return measure_cost(DERIVATIVES[name], (np.array([1.0, -1.0, 0.1]),), SQUARE.size)
    program, call, points = OTHERS[name]
    function, arguments = capture_program(call, program)
    return measure_cost(function, arguments, points or _count_nodes(*arguments))


def _count_nodes(job, boxes) -> int:
    """Nodes of the cells of an adaptive mesh."""
    nodes, *_ = _choose_rules(boxes)
    return len(boxes.lower) * math.prod(x.shape[-1] for x in nodes)


LEVELS_ALONE = "201 levels of 9 components, n = 4, alone"


def measure_levels() -> Cost:
    """The additions of a segment to the bins of 201 levels at T = 0, the weights being given."""
    scan, tiles, points = StepSum(np.linspace(-0.5, 0.5, 201), np.arange(201), 1), 256, 2**18
    start = jnp.zeros(scan.shape(9, 1))

    def add_all(energies, weights):
        def add_tile(i, opened):
            return scan.add(opened, energies[i], energies[i], weights[i])

        opened = scan.open(start, points, sizes_for(4, False).owned)
        return scan.close(start, jax.lax.fori_loop(0, tiles, add_tile, opened))

    shapes = (tiles, 4, points), (tiles, 9, 4, points)
    arrays = tuple(jax.ShapeDtypeStruct(shape, float) for shape in shapes)
    return measure_cost(add_all, arrays, tiles * points, tiles)


#: Sums in one kernel (`JAXSPIN_FUSED_KERNEL=1`).
KERNELS = {
    "one kernel, spin Hall, conventional, n = 2": lambda: js.spin_hall(
        js.models.Rashba(4.0, 1.0, 0.1), DISK, ONE, definition="conventional", progress=False
    ),
    "one kernel, spin Hall, conventional, n = 4": spin_hall("conventional", ONE),
    "one kernel, anomalous Hall, QWZ, n = 2": SUMS["anomalous Hall, QWZ, n = 2"],
}

#: Limits of what is compiled for an H200. Launches are those of a program of one tile, with what is
#: done once a segment; of 4 bands 16 sweeps of the eigensolver are made.
LIMITS = {
    "anomalous Hall, QWZ, n = 2": Limits(20, 200, 1_100, atomics=0),
    "one kernel, spin Hall, conventional, n = 2": Limits(11, 100, 1_400, atomics=0),
    "one kernel, spin Hall, conventional, n = 4": Limits(11, 110, 12_500, 1_000, atomics=0),
    LEVELS_ALONE: Limits(11, 2_000, 1_000, 0, atomics=0),
    "density of states, QWZ": Limits(40, 2_500, 2_000, atomics=0),
    "spin Hall, 201 levels, T = 0": Limits(700, 52_000, 50_000, atomics=0),
    "spin Hall, 201 levels, 300 K": Limits(520, 43_000, 50_000, atomics=0),
    "spin Hall, conventional, n = 4": Limits(40, 5_000, 16_000, atomics=0),
    "spin Hall, proper corrected, n = 4": Limits(60, 18_000, 21_000, atomics=0),
    "anomalous Hall, 81 hoppings, n = 8": Limits(450, 110_000, 130_000, 256, atomics=0),
}


def measure_sum(call: Callable[[], Any]) -> Cost:
    """The cost of one segment of a sum over a mesh."""
    function, arguments = capture_program(call)
    job, *_, tiles = arguments
    tiles = int(tiles)
    return measure_cost(function, arguments, tiles * math.prod(job.box), tiles)


ALL = (*SUMS, *KERNELS, LEVELS_ALONE, *OTHERS, *DERIVATIVES)


def measure(name: str) -> Cost:
    """The cost of a program of the table."""
    if name in SUMS:
        return measure_sum(SUMS[name])
    if name in KERNELS:
        with mock.patch.object(fused, "ENABLED", True):
            return measure_sum(KERNELS[name])
    return measure_levels() if name == LEVELS_ALONE else measure_other(name)


def find_excess(name: str, cost: Cost) -> Iterator[str]:
    """What of a program is beyond its limits."""
    found = {
        "launches a tile": cost.traffic.launches / cost.tiles,
        "bytes a k": cost.traffic.bytes / cost.points,
        "flop a k": cost.flops / cost.points,
        "spilled bytes": cost.spill,
        "atomic additions": cost.atomics,
    }
    wanted = dict(zip(found, LIMITS.get(name, ()), strict=False))
    wanted |= {"waits for the host": 0, "callbacks": 0}
    found |= {"waits for the host": cost.traffic.waits, "callbacks": cost.traffic.callbacks}
    for what, limit in wanted.items():
        if limit is not None and found[what] > limit:
            yield f"{name}: {found[what]:.0f} {what}, at most {limit:.0f}"


def main() -> None:
    names = [name for name in sys.argv[1:] if name != "--check"]
    if not names:
        names = list(LIMITS if "--check" in sys.argv else ALL)
    rows, excess = [], []
    for name in names:
        cost = measure(name)
        rows.append({"program": name, **cost.as_row()})
        print(name, flush=True)
        excess += find_excess(name, cost)
    if "--check" not in sys.argv:
        write("gpu_compile", rows)
    elif excess:
        raise SystemExit("\n".join(excess))


if __name__ == "__main__":
    main()
