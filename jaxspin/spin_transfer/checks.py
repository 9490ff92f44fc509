"""Checks at the door of spin-transfer torque: what is refused before anything is calculated.

What is being traced (inside jit, grad or vmap) is not known and is left out.
"""

import jax.numpy as jnp
import numpy as np

from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.programs import program
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.validate import check_number, check_type, is_hermitian
from jaxspin.integration.checks import check_levels
from jaxspin.integration.levels import Levels
from jaxspin.spin_transfer.exchange_models import ExchangeModel, ScalarBand
from jaxspin.spin_transfer.slow_modes import SlowModes
from jaxspin.surfaces.base import check_surface


@evaluate_eagerly()
def check_input(model, surface, levels) -> None:
    """An exchange model, a rule for its surface, and levels.

    Raises:
        ValueError: naming what is not.
    """
    wanted = "an exchange-split band (ConductionBand, ParabolicBand, Ferromagnet or SplitBands)"
    check_type("model", model, ExchangeModel, wanted)
    check_surface(surface)
    surface.check(ScalarBand(model))
    if not is_traced(model):
        _check_splitting(model)
    check_levels(levels)


def check_one_level(levels: Levels) -> None:
    """One mu and one temperature.

    Raises:
        ValueError: there are several.
    """
    if levels.mu.size * levels.temperatures.size != 1:
        raise ValueError(
            "Argument `levels` must have one mu and one temperature for a texture, but has "
            f"{levels.mu.size} and {levels.temperatures.size}."
        )


def check_collisions(time, relaxation_time, slow_modes) -> None:
    """Positive times and a choice for the slow modes.

    Raises:
        ValueError: naming what is not.
    """
    check_number("scattering_time", time, "a positive time (ps)", above=0)
    if relaxation_time is not None:
        check_number("spin_relaxation_time", relaxation_time, "a positive time (ps)", above=0)
    check_type("slow_modes", slow_modes, SlowModes, "KeepSlowModes() or DropSlowModes()")


def _check_splitting(model) -> None:
    """h Hermitian and without trace, the spins Hermitian, at one k."""
    splitting, spin, bare = map(np.asarray, _sample_operators(model))
    n = splitting.shape[-1]
    size = np.abs(splitting).max() + np.abs(np.trace(splitting))
    if spin.shape != (3, n, n) or bare.shape != (3, n, n):
        raise ValueError(
            f"Argument `model` must have spins of shape {(3, n, n)}, as its splitting, "
            f"but has {spin.shape} and {bare.shape}."
        )
    if not all(map(is_hermitian, (splitting, spin, bare))):
        raise ValueError("Argument `model` must have a Hermitian splitting and spin, but does not.")
    if abs(np.trace(splitting)) > _ROUNDING * size:
        raise ValueError(
            "Argument `model` must have a splitting without trace, "
            f"but has one with {np.trace(splitting):.4g} eV."
        )


_ROUNDING = 1e-5  # relative: above single precision, below what a forgotten trace would be


@program
def _sample_operators(model):
    k = jnp.asarray([0.031, -0.017, 0.023])[: model.dimension]
    m = jnp.asarray([0.001, -0.002, 0.003])
    return model.splitting(k, m), model.spin(k), model.bare_spin()
