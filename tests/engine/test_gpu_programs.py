"""Programs for a GPU, lowered without one; `benchmarks/gpu_compile.py` compiles them."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import jaxspin as js
from jaxspin import models
from jaxspin.engine import tile_sizes
from jaxspin.engine.refusals import refuse_if

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from gpu_sums import as_on_gpu, capture_program, split_arrays

LEVELS, SCAN = js.Levels(0.1, 300.0), js.Levels(np.linspace(-1, 1, 201))
QWZ, RASHBA = models.QiWuZhang(1.0, -1.0), models.Rashba(4.0, 1.0, 0.1)
GRID, DISK = js.Grid((12, 12)), js.Disk(0.9, 8, 12)


@pytest.fixture
def on_gpu():
    with as_on_gpu():
        yield


def lower_sum(call) -> str:
    """StableHLO of the loop over the tiles that a call runs, for CUDA."""
    function, arrays = split_arrays(*capture_program(call))
    return export.export(jax.jit(function), platforms=["cuda"])(arrays).mlir_module()


CALLS = {
    "anomalous Hall": lambda: js.anomalous_hall(QWZ, GRID, LEVELS),
    "scan": lambda: js.anomalous_hall(QWZ, GRID, SCAN),
    "carrier density": lambda: js.carrier_density(QWZ, GRID, LEVELS),
    "density of states": lambda: js.density_of_states(QWZ, GRID, SCAN),
    "torque density": lambda: js.torque_density(RASHBA, DISK, LEVELS),
    "nonlinear Hall": lambda: js.nonlinear_hall(QWZ, GRID, SCAN),
    "intrinsic nonlinear Hall": lambda: js.intrinsic_nonlinear_hall(QWZ, GRID, LEVELS),
    "anomalous Nernst": lambda: js.anomalous_nernst(QWZ, GRID, LEVELS),
    "thermal Hall": lambda: js.thermal_hall(QWZ, GRID, js.Levels(SCAN.mu, 300.0)),
    "magnetic spin Hall": lambda: js.spin_drude(RASHBA, DISK, LEVELS),
    "equilibrium spin current": lambda: js.equilibrium_spin_current(RASHBA, DISK, LEVELS),
    **{
        definition: lambda name=definition: js.spin_hall(RASHBA, DISK, LEVELS, definition=name)
        for definition in ("conventional", "proper_published", "proper_corrected", "kubo")
    },
}


@pytest.mark.parametrize("name", CALLS)
def test_sums_lower_for_a_gpu(name, on_gpu):
    """And call back to nobody, with no LAPACK."""
    text = lower_sum(CALLS[name])
    assert "stablehlo.while" in text or "stablehlo.reduce" in text
    for word in ("callback", "lapack", "syev"):
        assert word not in text


def test_a_model_of_many_bands_calls_the_library_of_the_gpu(on_gpu):
    blocks = np.random.default_rng(0).normal(size=(3, 14, 14)) + 0j
    blocks[0] += blocks[0].T
    blocks[2] = blocks[1].conj().T
    model = js.HoppingModel(np.eye(2), [(0, 0), (1, 1), (-1, -1)], blocks, np.zeros((14, 2)), None)
    text = lower_sum(lambda: js.carrier_density(model, GRID, LEVELS))
    assert "cusolver" in text
    assert "lapack" not in text


def test_a_batch_of_models_lowers_for_a_gpu(on_gpu):
    def hall(mass):
        return js.anomalous_hall(models.QiWuZhang(1.0, mass), GRID, LEVELS).value

    program = export.export(jax.jit(jax.vmap(hall)), platforms=["cuda"])
    text = program(jax.ShapeDtypeStruct((3,), float)).mlir_module()
    assert "lapack" not in text
    assert "callback" not in text


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.grad])
@pytest.mark.parametrize("number", [1, 3])
def test_derivatives_lower_for_a_gpu(derivative, number, on_gpu):
    """Without the call of the host that refuses to split degenerate bands: that is NaN there."""

    def hall(x):
        model = models.QiWuZhang(1.0, x[0]) if number == 1 else models.QiWuZhang(x[1], x[0])
        levels = LEVELS if number == 1 else js.Levels(x[2], 300.0)
        return js.anomalous_hall(model, GRID, levels).value.reshape(-1)[1]

    program = export.export(jax.jit(derivative(hall)), platforms=["cuda"])
    text = program(jax.ShapeDtypeStruct((number,), float)).mlir_module()
    assert "lapack" not in text
    assert "callback" not in text


def test_what_is_refused_is_an_error_on_a_cpu_and_nan_on_a_gpu():
    refuse = jax.jit(lambda x: refuse_if(x > 1, x, "too large"))
    assert float(refuse(0.5)) == 0.5
    with pytest.raises((RuntimeError, ValueError), match="too large"):  # by the version of JAX
        jax.block_until_ready(refuse(1.5))
    with pytest.raises(RuntimeError, match="too large"):  # outside of jit, on any device
        refuse_if(jnp.asarray(True), jnp.ones(2), "too large")
    assert float(jax.grad(lambda x: refuse_if(x > 1, 2 * x, "too large"))(0.5)) == 2.0
    text = export.export(refuse, platforms=["cuda"])(jax.ShapeDtypeStruct((), float)).mlir_module()
    assert "callback" not in text
    assert "0x7FF8000000000000" in text  # NaN


@pytest.mark.parametrize("bands", [1, 2, 4, 5, 8, 12, 18, 60, 400])
def test_sizes_on_a_gpu(bands, on_gpu):
    """Threads that hold what they compute, and matrices of a tile of at most 128 MB."""
    sizes = tile_sizes.sizes_for(bands, periodic=False)
    assert sizes.tile <= 2**18
    assert sizes.segment % sizes.tile == 0
    assert bands <= 4 or sizes.tile * bands**2 <= 2**23
    assert sizes.fixed
    assert not sizes.apart


def test_lanes_with_bins_of_their_own():
    """A whole part of the tile, as many as the memory holds; none where they would be few."""
    assert tile_sizes.lanes_with_bins(2**29, 202 * 9, 2**18) == 2**18
    assert tile_sizes.lanes_with_bins(2**29, 2048 * 27, 2**18) == 2**13
    assert tile_sizes.lanes_with_bins(2**29, 2**20, 2**18) == 0
    assert tile_sizes.lanes_with_bins(2**29, 10, 16) == 16
    assert tile_sizes.lanes_with_bins(0, 10, 16) == 0


def test_sizes_on_a_cpu_fit_its_cache():
    assert tile_sizes.sizes_for(4, periodic=False).tile == 64
    assert not tile_sizes.sizes_for(4, periodic=False).fixed
