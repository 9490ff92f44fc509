"""Effective models as problems for pymablock, which does perturbation theory with symbols too.

pymablock's definition of the rotation is the same, that of least action: its terms, order by order,
are those of `downfold(model, keep, order=n)`.
"""

import itertools
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from jaxspin.downfold import EffectiveModel
from jaxspin.engine.validate import check_type


def to_pymablock(model: EffectiveModel, k: Float[Array, " d"]) -> dict[str, Any]:
    """The arguments of `pymablock.block_diagonalize` for an effective model at one k.

    Returns:
        "hamiltonian": the parts H', inside the blocks, and H'', between them, in eV and the basis
        of the full model; "subspace_eigenvectors": eigenvectors of H' of each block, the kept one
        first, in whose basis pymablock's results are.
    Raises:
        ValueError: `model` is not from `downfold`.

    ```python
    problem = js.interop.pymablock.to_pymablock(two, k)
    h_effective, u, u_adjoint = pymablock.block_diagonalize(**problem)
    second_order = h_effective[0, 0, 2]
    ```
    """
    check_type("model", model, EffectiveModel, "an EffectiveModel, as `downfold` makes it")
    hamiltonian, frame = np.asarray(model.model(k)), np.asarray(model.blocks.frame)
    edges = itertools.pairwise(np.cumsum([0, *model.blocks.sizes]))
    blocks = [frame[:, a:b] for a, b in edges]
    inside = sum(_project_operator(hamiltonian, block) for block in blocks)
    vectors = [block @ np.linalg.eigh(block.conj().T @ hamiltonian @ block)[1] for block in blocks]
    return {"hamiltonian": [inside, hamiltonian - inside], "subspace_eigenvectors": vectors}


def _project_operator(operator, block):
    projector = block @ block.conj().T
    return projector @ operator @ projector
