"""Responses on Fermi surfaces at every level of a scan, with progress and a checkpoint."""

from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxspin.engine.checkpoint import describe
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.identity import code_is_fixed, operations
from jaxspin.engine.programs import program
from jaxspin.engine.progress import Bar
from jaxspin.engine.segments import ItemMap, OneProgram, SegmentedRun
from jaxspin.engine.small_matrices import is_traced
from jaxspin.integration.levels import Levels
from jaxspin.integration.problem import Run
from jaxspin.surfaces.base import Diagnostic
from jaxspin.surfaces.thermal import Findings, ThermalLevels, thermal_energies

#: Results and diagnostics at all mu of one temperature, evaluated by a map over items.
Respond = Callable[[ItemMap, ThermalLevels], tuple[Any, tuple[Diagnostic, ...]]]


def scan_levels(
    respond: Respond, levels: Levels, run: Run, bar: Bar, **inputs: Any
) -> tuple[Any, Findings]:
    """Results at every level, temperatures outermost, on one leading axis.

    In segments, each a compiled program; where numbers are traced, in one program a temperature.

    Args:
        respond: a `jax.tree_util.Partial`, so that the arrays it holds are variables of programs.
        inputs: what the results depend on beside the levels, by the name that a message gives it.
    Raises:
        ValueError: a checkpoint of another computation, or of one that is traced.
        RuntimeError: of several processes one has died.
    """
    if is_traced(respond, levels):
        run.refuse_checkpoint()
        return _scan_temperatures(partial(_respond_at_once, respond), levels)
    with evaluate_eagerly(), code_is_fixed():
        about = cache(partial(_describe_scan, respond, levels, inputs))
        segmented = SegmentedRun(bar, run.checkpoint, about)
        solution = _scan_temperatures(partial(respond, segmented), levels)
        segmented.finish()
    return solution


@program
def _respond_at_once(respond: Respond, levels: ThermalLevels):
    return respond(OneProgram(), levels)


def _scan_temperatures(
    respond: Callable[[ThermalLevels], tuple[Any, tuple[Diagnostic, ...]]], levels: Levels
) -> tuple[Any, Findings]:
    mu = jnp.asarray(levels.mu, dtype=jnp.result_type(float))
    every = [respond(ThermalLevels(mu, thermal)) for thermal in thermal_energies(levels)]
    results, findings = zip(*every, strict=True)
    if len(results) == 1:
        return results[0], findings
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *results), findings


def _describe_scan(respond: Respond, levels: Levels, inputs: dict[str, Any]) -> dict[str, str]:
    """Description of a scan, in which a checkpoint and other processes must agree."""
    kinds: dict[bool, Array | None] = {kT is None: kT for kT in thermal_energies(levels)}
    whole, one = partial(_respond_at_once, respond), jnp.zeros(1)
    codes = {
        f"response at T {'=' if cold else '>'} 0": operations(whole, ThermalLevels(one, kT))
        for cold, kT in kinds.items()
    }
    return {"jaxspin": version("jaxspin"), **describe(**inputs, levels=levels), **codes}
