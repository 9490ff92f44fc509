"""Lattice models made symmetric: the average of H, S and r over a group."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Complex, Float

from jaxspin.engine.eager import evaluate_eagerly
from jaxspin.engine.small_matrices import is_traced
from jaxspin.engine.terminal import warn_user
from jaxspin.engine.validate import check_type
from jaxspin.models.tight_binding import HoppingModel
from jaxspin.symmetry.corepresentations import (
    SiteBlocks,
    complete_representation,
    fit_representation,
    make_exact,
    turn_vectors,
)
from jaxspin.symmetry.groups import PointGroup
from jaxspin.symmetry.operations import Operation, identify
from jaxspin.symmetry.projections import AtomicOrbitals, Projection, read_projections
from jaxspin.symmetry.sites import Sites, find_sites, map_sites
from jaxspin.symmetry.torus import check_mesh, fold_blocks, unfold_blocks


class SymmetryReport(NamedTuple):
    """By how much a model was changed to make it symmetric."""

    group: PointGroup
    #: ‖X − X_sym‖/‖X‖ of H(R), S(R) and r(R); 0 where there is none.
    hamiltonian: float
    spin: float
    position: float
    #: Largest element of the change of H(R), eV.
    largest: float
    #: Largest and root-mean-square change of the bands at random k, eV.
    bands: float
    bands_rms: float
    #: λ₁/λ₀ of the least certain generator: how unique the found representation is; None where
    #: projections gave it.
    uniqueness: float | None
    #: Number of cells before and after.
    cells: tuple[int, int]

    def __str__(self) -> str:
        """A few lines."""
        origin = "representation of the projections"
        if self.uniqueness is not None:
            origin = (
                f"representation found from the model, next best {self.uniqueness:.3g} times worse"
            )
        return (
            f"{self.group!r}: H(R) changed by {self.hamiltonian:.2%} (at most "
            f"{1e3 * self.largest:.3g} meV), S(R) by {self.spin:.2%}, r(R) by {self.position:.2%}\n"
            f"bands moved by at most {1e3 * self.bands:.3g} meV, {1e3 * self.bands_rms:.3g} meV rms"
            f"; {self.cells[0]} cells became {self.cells[1]}\n{origin}"
        )


class Symmetrised(NamedTuple):
    """A symmetric model, and by how much it differs from the one it was made of."""

    model: HoppingModel
    report: SymmetryReport


@evaluate_eagerly()
def symmetrised(
    model: HoppingModel,
    group: PointGroup,
    positions: ArrayLike | None = None,
    *,
    projections: Sequence[Projection] | None = None,
    mesh: Sequence[int] | None = None,
) -> Symmetrised:
    """A lattice model averaged over a group: X(WR + L_b − L_a) <- T_g D^a X_ab(R)^(*) D^b†.

    T_g is 1 for H, det(O) O for the spin (reversed by time reversal), O for r measured from the
    sites. How the orbitals transform is found from H(R) and S(R) themselves, so that no
    `projections` of a file need be trusted; the result has the group to rounding. It is symmetric,
    not more accurate: how far it has moved stands in the report.

    Args:
        model: of Wannier90 files, or any `HoppingModel`.
        group: as `symmetry.of_crystal` gives it, with the translations of the crystal.
        positions: of the atoms, in units of the lattice vectors, (n, d); each orbital belongs to
            the one next to its centre. None where every centre is at its atom.
        projections: atomic orbitals that the model consists of, in their order, as pairs of a
            position and names of Wannier90, ([0, 0, 0], "s;p;d"), in place of what H(R) says.
            Maximally localised functions are none of these, whatever their files say.
        mesh: the ab initio mesh, (4, 4, 4), for files whose R are not shifted to the closest
            images (`_wsvec.dat`): their blocks are given the images by centres before the average.

    Raises:
        ValueError: the group does not take the atoms to each other; no representation fits the
            model, or several do; projections that the group does not take into each other; a mesh
            that is not that of the model; the model would change by more than a tenth.

    >>> import jaxspin as js
    >>> graphene = js.models.HoppingModel(
    ...     [[1.0]], [[0], [1], [-1]], [[[0.0]], [[-1.0]], [[-1.0]]], [[0.0]], spin=None
    ... )
    >>> chain = js.symmetrised(graphene, js.symmetry.group([js.symmetry.INVERSION]))
    >>> chain.report.largest
    0.0
    """
    check_type("model", model, HoppingModel, "a HoppingModel")
    check_type("group", group, PointGroup, "a group of jaxspin.symmetry")
    if is_traced(model):
        raise ValueError("Argument `model` must have numbers that are known, but is being traced.")
    if positions is not None and projections is not None:
        raise ValueError("Argument `positions` must be None where `projections` have positions.")
    orbitals = None if projections is None else read_projections(model, projections)
    sites = find_sites(model, positions) if orbitals is None else orbitals.sites
    return _average_model(model, group, sites, orbitals, mesh)


def _average_model(
    model: HoppingModel,
    group: PointGroup,
    sites: Sites,
    orbitals: AtomicOrbitals | None,
    mesh: Sequence[int] | None,
) -> Symmetrised:
    """The average over the group, with the report on it."""
    raw = _measure_from_sites(model, sites)
    torus = None if mesh is None else fold_blocks(raw, check_mesh(mesh, raw.cells))
    if orbitals is None:
        matrices, uniqueness = _find_representation(torus or raw, sites, group)
    else:
        matrices = np.array([orbitals.represent(map_sites(one, sites)) for one in group])
        uniqueness = None
    centres = np.asarray(model.centres)
    blocks = raw if torus is None else unfold_blocks(torus, centres, sites.lattice)
    averaged = _average_blocks(blocks, sites, list(group), matrices)
    report = _compare(blocks, averaged, group, uniqueness)
    _judge(report)
    return Symmetrised(_as_model(model, averaged, sites), report)


def _measure_from_sites(model: HoppingModel, sites: Sites) -> SiteBlocks:
    """H, S and r of a model, r from the site of each orbital."""
    d, n, cells = model.dimension, len(model.centres), list(model.cells)
    home = (0,) * d
    blocks = np.array(model.blocks)
    if home not in cells:
        cells, blocks = [*cells, home], np.concatenate([blocks, np.zeros((1, n, n))])
    at = cells.index(home)
    spin = np.zeros((len(cells), 0, n, n), complex)
    if model.spin_operator is not None:
        spin = np.zeros((len(cells), 3, n, n), complex)
        given = np.asarray(model.spin_operator)
        where = at if given.ndim == 3 else slice(len(given))
        spin[where] = given
    position = np.zeros((len(cells), d, n, n), complex)
    if model.position is not None:
        position[: len(model.cells)] = np.asarray(model.position)
    else:
        position[at][:, np.arange(n), np.arange(n)] = np.asarray(model.centres).T
    position[at][:, np.arange(n), np.arange(n)] -= sites.of_orbitals.T
    return SiteBlocks(tuple(cells), blocks[:, None], spin, position)


def _find_representation(
    blocks: SiteBlocks, sites: Sites, group: PointGroup
) -> tuple[Complex[np.ndarray, "g n n"], float]:
    """D of all elements, exact, and how unique those of the generators are."""
    found, uniqueness = {}, np.inf
    for one in group.generators:
        fitted = fit_representation(blocks, sites, map_sites(one, sites))
        floor = np.finfo(float).eps
        ratio = fitted.next_misfit / max(fitted.misfit, floor) if fitted.next_misfit > floor else 0
        if len(blocks.hamiltonian[0, 0]) == 1:
            ratio = np.inf  # a number is a phase
        if ratio < _UNIQUE:
            raise ValueError(
                f"Argument `model` must say how its orbitals transform with the {one.name}, but "
                f"the best matrix is off by {fitted.misfit:.2g} and the next by "
                f"{fitted.next_misfit:.2g} of H(R) squared: the group is not that of the model, "
                "or parts of it are not coupled, or centres are off their atoms: give `positions`."
            )
        found[identify(one)], uniqueness = fitted.matrix, min(uniqueness, ratio)
    elements = list(group)
    return make_exact(complete_representation(found, elements), elements), float(uniqueness)


# λ1/λ0 of what is accepted. Of platinum it is 26 with H alone and 173 with the spin, of random
# models with noise of 0.3 % above 1000, of wrong images of cells 0.02.
_UNIQUE = 10.0


def _average_blocks(
    blocks: SiteBlocks, sites: Sites, elements: list[Operation], matrices: np.ndarray
) -> SiteBlocks:
    """The mean over the group; cells that images need are added."""
    cells = np.array(blocks.cells)
    pairs = list(np.ndindex(len(sites.members), len(sites.members)))
    maps = [map_sites(one, sites) for one in elements]
    targets = [one.move_cells(cells, a, b) for one in maps for a, b in pairs]
    reached, inverse = np.unique(np.concatenate(targets), axis=0, return_inverse=True)
    index = iter(np.split(inverse.ravel(), len(targets)))
    parts = blocks.hamiltonian, blocks.spin, blocks.position
    means = [np.zeros((len(reached), *part.shape[1:]), complex) for part in parts]
    for one, d in zip(maps, matrices, strict=True):
        turned = _turn_parts(parts, one.operation)
        for a, b in pairs:
            to, rows, columns = next(index), sites.members[a], sites.members[b]
            image_rows, image_columns = (sites.members[one.images[x]] for x in (a, b))
            left, right = d[image_rows[:, None], rows], d[image_columns[:, None], columns]
            for mean, part in zip(means, turned, strict=True):
                moved = left @ part[:, :, rows[:, None], columns] @ right.conj().T
                mean[
                    to[:, None, None, None],
                    np.arange(part.shape[1])[:, None, None],
                    image_rows[:, None],
                    image_columns,
                ] += moved / len(elements)
    h, spin, position = means
    return SiteBlocks(tuple(map(tuple, reached.tolist())), h, spin, position)


def _turn_parts(parts, operation: Operation) -> list[np.ndarray]:
    h, spin, position = (part.conj() if operation.time_reversal else part for part in parts)
    return [h, turn_vectors(spin, operation, True), turn_vectors(position, operation, False)]


def _as_model(model: HoppingModel, blocks: SiteBlocks, sites: Sites) -> HoppingModel:
    """The blocks as a model, with the sites added back and the centres from r(0)."""
    n, home = len(model.centres), blocks.cells.index((0,) * model.dimension)
    position = blocks.position.copy()
    position[home][:, np.arange(n), np.arange(n)] += sites.of_orbitals.T
    centres = np.einsum("dnn->nd", position[home]).real.copy()
    beyond = position.copy()
    beyond[home][:, np.arange(n), np.arange(n)] = 0
    local = model.position is None and np.max(np.abs(beyond)) < _NOTHING
    spin = blocks.spin
    if model.spin_operator is not None and model.spin_operator.ndim == 3 and local:
        spin = spin[home]
    return HoppingModel(
        model.vectors,
        blocks.cells,
        blocks.hamiltonian[:, 0],
        centres,
        None if model.spin_operator is None else spin,
        position=None if local else position,
    )


_NOTHING = 1e-10  # Å: elements of r(R) that are rounding


def _compare(
    before: SiteBlocks, after: SiteBlocks, group: PointGroup, uniqueness: float | None
) -> SymmetryReport:
    energies = [_energies_at_random_k(blocks) for blocks in (before, after)]
    moved = np.abs(energies[0] - energies[1])
    changes = [
        _change(before.cells, x, after.cells, y)
        for x, y in zip(before[1:4], after[1:4], strict=True)
    ]
    return SymmetryReport(
        group=group,
        hamiltonian=changes[0][0],
        spin=changes[1][0],
        position=changes[2][0],
        largest=changes[0][1],
        bands=float(np.max(moved)),
        bands_rms=float(np.sqrt(np.mean(moved**2))),
        uniqueness=uniqueness,
        cells=(len(before.cells), len(after.cells)),
    )


def _energies_at_random_k(blocks: SiteBlocks) -> Float[np.ndarray, "K n"]:
    """Bands in eV at k = Σ_i u_i b_i."""
    cells, h = np.array(blocks.cells), blocks.hamiltonian[:, 0]
    u = np.random.default_rng(20231119).uniform(size=(_SAMPLES, cells.shape[1]))
    return np.linalg.eigvalsh(np.tensordot(np.exp(2j * np.pi * u @ cells.T), h, axes=1))


_SAMPLES = 100  # random k


def _change(cells, blocks: np.ndarray, others, means: np.ndarray) -> tuple[float, float]:
    """‖X − Y‖/‖X‖, and the largest element of X − Y, over the cells of both."""
    if blocks.shape[1] == 0:
        return 0.0, 0.0
    difference = dict(zip(others, means, strict=True))
    for cell, block in zip(cells, blocks, strict=True):
        difference[cell] = difference.get(cell, 0) - block
    values = np.array(list(difference.values()))
    size = np.linalg.norm(blocks)
    return float(np.linalg.norm(values) / size) if size else 0.0, float(np.max(np.abs(values)))


def _judge(report: SymmetryReport) -> None:
    """Warn of a sizeable change, and refuse a large one."""
    text = f"{report.hamiltonian:.1%} of H(R), and its bands by up to {1e3 * report.bands:.3g} meV"
    if report.hamiltonian > _TOO_LARGE:
        raise ValueError(
            f"Argument `group` must be that of the model, nearly, but its average changes {text}: "
            f"{report.group!r} is not its group, orbitals lie between the atoms, or are not those "
            "of `projections`."
        )
    if report.hamiltonian > _SIZEABLE:
        warn_user(f"Symmetrising the model changes {text}.")


# Of ‖H(R)‖: platinum changes by 0.6 %, wrong representations change it by 33 to 39 %.
_SIZEABLE, _TOO_LARGE = 0.01, 0.1
