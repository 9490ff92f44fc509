"""`downfold`, and the checks of its arguments."""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxspin.downfold.block_diagonalization import LeastAction, Perturbation
from jaxspin.downfold.effective import EffectiveModel
from jaxspin.downfold.subspaces import Keep, as_keep
from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.tolerances import ORTHOGONAL, TOUCHING
from jaxspin.engine.validate import is_integer
from jaxspin.models import checks as model_checks
from jaxspin.models.base import Model, hamiltonian_at

_SAMPLES = 5


def downfold(
    model: Model, keep: Keep | Sequence[int], *, order: int | None = None
) -> EffectiveModel:
    """The effective model of a few bands.

    H_eff = T†HT, T†T = 1: with T the kept columns of the rotation of least action, which is the
    unitary nearest to 1 that decouples the kept functions from the rest (16). Its bands are bands
    of `model` exactly where `order` is None.

    Args:
        keep: indices of basis functions, or `BasisFunctions`, `LowestBands`, `EnergyWindow`.
        order: of perturbation theory in what couples the blocks. Errors are of order n + 2 for
            even n and two blocks, and odd orders add nothing.
    Returns:
        `EffectiveModel`, a Model in the basis of the dressed reference functions.
    Raises:
        ValueError: nothing or all is kept; kept and removed bands touch (gap and k are named); with
            an order, unperturbed levels of two blocks touch; without, kept bands are orthogonal to
            the kept functions (the angle and k are named); `model` is downfolded already.

    >>> import jax.numpy as jnp
    >>> import jaxspin as js
    >>> model = js.models.CrystalFieldC4v(gap=1.0, a=0.05, b=0.2, b_inter=0.03, kinetic=0.5)
    >>> two = js.downfold(model, (0, 1))
    >>> print(f"{two(jnp.zeros(2))[0, 0].real:.6f}")
    -0.002244
    """
    model_checks.check_model(model)
    model_checks.check_every_band(model, "effective model of fewer")
    order = _as_order(order)
    keep = as_keep(keep)
    with evaluate_eagerly():  # of a model that is known inside the user's jit
        blocks = keep.assign_blocks(model)
        if not is_traced(model):
            _check_apart(model, keep, blocks, order)
    rotation = LeastAction() if order is None else Perturbation(order)
    return EffectiveModel(model, blocks, rotation)


def _as_order(order) -> int | None:
    if order is None:
        return None
    if not is_integer(order, 0):
        raise ValueError(
            f"Argument `order` must be None or an integer, at least 0, but is {order!r}."
        )
    return int(order)


def _check_apart(model, keep, blocks, order) -> None:
    """Kept and removed bands, and with an order unperturbed levels, are apart at a few k."""
    d = model.dimension
    at = np.zeros(d) if keep.at is None else np.asarray(keep.at)
    random = np.random.default_rng(20231119).uniform(-1, 1, size=(_SAMPLES, d))
    k = np.concatenate([at[None], random])
    hamiltonian = np.stack([np.asarray(hamiltonian_at(model, jnp.asarray(x))) for x in k])
    order_of_bands, frame = np.asarray(blocks.bands), np.asarray(blocks.frame)
    energies, basis = np.linalg.eigh(hamiltonian)
    energies, basis = energies[:, order_of_bands], basis[..., order_of_bands]
    _refuse_touching(energies, blocks.sizes[:1], k, "kept and removed bands")
    if order is None:
        _refuse_orthogonal(frame, basis, blocks.sizes[0], k)
        return
    inside = frame.conj().T @ hamiltonian @ frame
    cuts = itertools.pairwise(np.cumsum([0, *blocks.sizes]))
    levels = [np.linalg.eigvalsh(inside[:, a:b, a:b]) for a, b in cuts]
    what = "unperturbed levels of two blocks"
    _refuse_touching(np.concatenate(levels, axis=1), blocks.sizes[:-1], k, what)


def _refuse_touching(energies, sizes, k, what) -> None:
    """Each of the blocks of these sizes, along the axis of bands, is apart from the later ones."""
    for start, end in itertools.pairwise(np.cumsum([0, *sizes])):
        gaps = np.abs(energies[:, start:end, None] - energies[:, None, end:]).min(axis=(1, 2))
        worst = int(np.argmin(gaps))
        if gaps[worst] <= TOUCHING.of(energies) * np.max(np.abs(energies)):
            raise ValueError(
                f"Argument `keep` must separate bands, but {what} touch: the gap is "
                f"{gaps[worst]:.1e} eV at k = {k[worst]}."
            )


def _refuse_orthogonal(frame, basis, m, k) -> None:
    """The kept bands have a component along each combination of the kept functions."""
    overlap = frame[:, :m].conj().T @ basis[..., :m]
    cosine = np.linalg.svd(overlap, compute_uv=False)[:, -1]
    worst = int(np.argmin(cosine))
    if cosine[worst] < ORTHOGONAL.of(cosine):
        raise ValueError(
            "Argument `keep` must be functions that the kept bands are made of, but the angle "
            f"between functions and bands is {np.arccos(cosine[worst]):.6f} at k = {k[worst]}."
        )
