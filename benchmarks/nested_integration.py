"""Metals at T = 0: nested one-dimensional integration against cells of all dimensions at once.

Nested: the integral along the first axis for given other coordinates is itself the integrand along
the second axis, and so on, each refined to the tolerance (Kaye et al., SciPost Phys. 15, 062
(2023), for integrands that are smooth but sharp). Along the innermost axis panels of five nodes are
cut where the energy, as a polynomial, passes mu; the outer ones are halved by the difference of the
Kronrod and the Gauss rule of 15 and 7 nodes, which meets the square roots of the places where the
surface is tangent to a line. It is told the value that its tolerance is relative to.

    python benchmarks/nested_integration.py [--number 6] --kept FOLDER

Models and truths are those of `metals_tolerance.py`; those of two bands alone. The table has the
points of both and their true errors. A few minutes.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from metals_tolerance import FIRST, TOLERANCES, Case, draw_metal, find_known, refine
from record import on_one_core, three, write

from jaxspin.band_structure.bands import solve_bands
from jaxspin.integration.cut_cells import UNIT_NODES, UNIT_WIDTHS, CutCells
from jaxspin.meshes.lattice import cell_volume, reciprocal_vectors

# Gauss-Kronrod rule of 15 nodes on [-1, 1] with the Gauss rule of 7 (Piessens et al., QUADPACK).
_HALF = (0.991455371120812639206, 0.949107912342758524526, 0.864864423359769072789,
         0.741531185599394439864, 0.586087235467691130294, 0.405845151377397166907,
         0.207784955007898467601, 0.0)  # fmt: skip
_KRONROD = (0.022935322010529224964, 0.063092092629978553291, 0.104790010322250183840,
            0.140653259715525918745, 0.169004726639267902827, 0.190350578064785409913,
            0.204432940075298892414, 0.209482141084727828013)  # fmt: skip
_GAUSS = (0.129484966168869693271, 0.279705391489276667901, 0.381830050505118944950,
          0.417959183673469387755)  # fmt: skip
NODES = (1 + np.array([*[-x for x in _HALF], *_HALF[-2::-1]])) / 2
KRONROD = np.array([*_KRONROD, *_KRONROD[-2::-1]]) / 2
GAUSS = np.zeros(15)
GAUSS[1::2] = np.array([*_GAUSS, *_GAUSS[-2::-1]]) / 2

_PANELS = 512  # innermost panels at once
_DEEPEST = 2.0**-20


class Nested:
    """∫ Σ_m θ(mu - ε_m) W_m over the unit cube of a case, to an absolute tolerance."""

    def __init__(self, case: Case, tolerance: float, most: int):
        self.tolerance, self.points, self.most = tolerance, 0, most
        problem, model = case.problem, case.model
        self.dimension = model.dimension
        observable, reciprocal = problem.observable, reciprocal_vectors(model.lattice)
        cuts = CutCells(1, False, jnp.zeros(_PANELS, bool), None)
        scale = 1 / cell_volume(model.lattice)

        @jax.jit
        def integrate_panels(others, lower, width):
            u = jnp.concatenate(
                [
                    (lower[:, None] + width[:, None] * UNIT_NODES)[..., None],
                    jnp.broadcast_to(others[:, None], (_PANELS, 5, others.shape[1])),
                ],
                axis=-1,
            )
            bands = solve_bands(
                model, (u.reshape(-1, u.shape[-1]) @ reciprocal).T, problem.degeneracy,
                **observable.needs,
            )  # fmt: skip
            weights = observable(bands).sea
            energies = bands.levels.reshape(-1, _PANELS, 5)
            weights = weights.reshape(-1, len(energies), _PANELS, 5)
            filled = jax.vmap(cuts.fill, 0, 1)(energies - case.mu)  # (rule, n, B, 5)
            each = UNIT_WIDTHS * width[:, None] * scale
            return jnp.einsum("rnBq,cnBq,Bq->rBc", filled, weights, each)

        self.integrate_panels = integrate_panels

    def innermost(self, others, lower, width):
        """Values and errors of panels, (P, c) each."""
        self.points += 5 * len(lower)
        found = []
        for first in range(0, len(lower), _PANELS):
            index = np.minimum(np.arange(first, first + _PANELS), len(lower) - 1)
            part = np.asarray(self.integrate_panels(others[index], lower[index], width[index]))
            found.append(part[:, : len(lower) - first])
        value, change = np.concatenate(found, axis=1)
        return value, np.abs(change)

    def outer(self, others, lower, width):
        """The same along an outer axis: values of the Kronrod rule, differences from Gauss."""
        u = lower[:, None] + width[:, None] * NODES
        rest = np.repeat(others, 15, axis=0)
        inner = self(np.concatenate([u.reshape(-1, 1), rest], axis=1))
        inner = inner.reshape(len(lower), 15, -1) * width[:, None, None]
        kronrod = np.einsum("q,Pqc->Pc", KRONROD, inner)
        return kronrod, np.abs(kronrod - np.einsum("q,Pqc->Pc", GAUSS, inner))

    def __call__(self, others: np.ndarray) -> np.ndarray:
        """The integrals over the axes that are left at some values of the others, (P, c)."""
        number, known = others.shape
        rule = self.innermost if known == self.dimension - 1 else self.outer
        start = 3 if known == self.dimension - 1 else 1
        owner = np.repeat(np.arange(number), start)
        lower, width = np.tile(np.arange(start) / start, number), np.full(len(owner), 1 / start)
        value, error = rule(others[owner], lower, width)
        while self.points < self.most:
            worst = np.max(error, axis=1)
            total = np.bincount(owner, worst, number)
            # Of an integral beyond its tolerance, the intervals with more than their mean of it.
            mean = 0.5 * total / np.bincount(owner, minlength=number)
            split = (total[owner] > self.tolerance) & (worst >= mean[owner]) & (width > _DEEPEST)
            if not np.any(split):
                break
            half = width[split] / 2
            born = (
                np.tile(owner[split], 2),
                np.concatenate([lower[split], lower[split] + half]),
                np.tile(half, 2),
            )
            fresh = rule(others[born[0]], *born[1:])
            keep = ~split
            owner, lower, width, value, error = (
                np.concatenate([old[keep], new])
                for old, new in zip(
                    (owner, lower, width, value, error), (*born, *fresh), strict=True
                )
            )
        result = np.zeros((number, value.shape[1]))
        np.add.at(result, owner, value)
        return result


def compare(case: Case, seed: int, path: Path) -> list[dict]:
    """One row for each tolerance."""
    known, rows = find_known(case, path), []
    size = np.max(np.abs(known.truth))
    for tolerance in TOLERANCES:
        nested = Nested(case, tolerance * size, 5_000_000)
        value = np.asarray(case.problem.weights.complete(nested(np.zeros((1, 0)))))[0]
        sums, _ = refine(case, FIRST[case.model.dimension], tolerance)
        wrong = lambda x: three(np.max(np.abs(x - known.truth)) / size)  # noqa: E731
        rows.append(
            {
                "metal": f"{case.name} {case.model.dimension}D",
                "seed": seed,
                "tolerance": tolerance,
                "nested: points": nested.points,
                "nested: true error": wrong(value),
                "cells: points": sums.refinement.points,
                "cells: true error": wrong(np.asarray(sums.value)[0]),
            }
        )
    return rows


def main(number: int, first: int, folder: Path) -> None:
    rows = []
    for dimension in (2, 3):
        for seed in range(first, first + 2 * number):
            case = draw_metal(dimension, seed)
            if case.model.matrix_size == 2:
                rows += compare(case, seed, folder / f"{dimension} {seed}.npz")
                print(*(tuple(row.values()) for row in rows[-2:]), flush=True)
    write("nested_integration", rows)


if __name__ == "__main__":
    on_one_core()
    options = argparse.ArgumentParser(description="Nested integration against cells.")
    options.add_argument("--number", type=int, default=4, help="metals of each dimension")
    options.add_argument("--first", type=int, default=5000, help="seed of the first")
    options.add_argument("--kept", type=Path, required=True, help="folder of the truths")
    chosen = options.parse_args()
    main(chosen.number, chosen.first, chosen.kept)
