"""What models of all other codes are made of: pairs of hops, and spin on each orbital."""

import equinox as eqx
import numpy as np
import pytest
from systems import random_hopping

from jaxspin.engine.packages import require_package
from jaxspin.engine.small_matrices import PAULI
from jaxspin.interop.orbitals import hermitian_blocks, to_model, to_orbitals, with_conjugates
from jaxspin.interop.pythtb import to_pythtb
from jaxspin.interop.sisl import to_sisl
from jaxspin.interop.tbmodels import to_tbmodels
from jaxspin.interop.wannierberri import to_wannierberri


def with_spin(model, order):
    """The model with σ of four states in a given order."""
    spin = {"orbital": lambda s: np.kron(np.eye(2), s), "spin": lambda s: np.kron(s, np.eye(2))}
    operator = np.array([spin[order](sigma) for sigma in PAULI[1:]])
    return eqx.tree_at(lambda model: model.spin_operator, model, operator)


def test_conjugates_are_added(rng):
    block = rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2))
    home = rng.normal(size=(2, 2)).astype(complex)
    full = with_conjugates({(0,): home, (3,): block})
    np.testing.assert_array_equal(full[3,], block)
    np.testing.assert_array_equal(full[-3,], block.conj().T)
    np.testing.assert_array_equal(full[0,], home + home.T)


def test_both_of_a_pair_are_added():
    full = with_conjugates({(1,): np.array([[1j]]), (-1,): np.array([[2j]])})
    assert full == {(1,): -1j, (-1,): 1j}


@pytest.mark.parametrize("call", [hermitian_blocks, to_orbitals, to_wannierberri])
@pytest.mark.parametrize(("change", "kind"), [(lambda m: 2.0 * m, "Scaled"), (str, "str")])
def test_other_models_are_refused(call, change, kind, unchecked_annotations):
    message = f"Argument `model` must be a HoppingModel, but is of type {kind}."
    with pytest.raises(ValueError, match=message):
        call(change(random_hopping(2, 3, seed=1)))


@pytest.mark.parametrize(
    ("call", "package"), [(to_pythtb, "pythtb"), (to_tbmodels, "tbmodels"), (to_sisl, "sisl")]
)
def test_other_models_are_not_handed_on(call, package, unchecked_annotations):
    pytest.importorskip(package)
    with pytest.raises(ValueError, match="must be a HoppingModel, but is of type Scaled"):
        call(2.0 * random_hopping(2, 3, seed=1))


def test_blocks_are_the_models():
    model = random_hopping(4, 3, seed=1)
    blocks = hermitian_blocks(model)
    for cell, block in zip(model.cells, model.blocks, strict=True):
        np.testing.assert_allclose(blocks[cell], block, atol=1e-15)


@pytest.mark.parametrize("spin", [True, False])
def test_there_and_back(spin):
    model = random_hopping(4, 2, seed=1)
    model = (
        with_spin(model, "orbital")
        if spin
        else eqx.tree_at(lambda model: model.spin_operator, model, None)
    )
    again = to_model(to_orbitals(model))
    assert (again.spin_operator is None) == (not spin)
    assert to_orbitals(model).centres.shape == (2 if spin else 4, 2)
    k = np.array([0.3, -0.8])
    np.testing.assert_allclose(again(k), model(k), atol=1e-14)


def test_states_in_the_order_of_spins_are_refused():
    with pytest.raises(ValueError, match="spin operator sigma on each orbital"):
        to_orbitals(with_spin(random_hopping(4, 2, seed=1), "spin"))


@pytest.mark.parametrize("convert", [to_orbitals, hermitian_blocks])
def test_spin_operator_of_other_cells_is_refused(convert):
    model = with_spin(random_hopping(4, 2, seed=1), "orbital")
    cells = np.stack([model.spin_operator] * len(model.cells))
    model = eqx.tree_at(lambda model: model.spin_operator, model, cells)
    with pytest.raises(ValueError, match=r"local spin operator of shape \(3, n, n\)"):
        convert(model)


@pytest.mark.parametrize("convert", [to_orbitals, hermitian_blocks])
def test_position_elements_are_refused(convert):
    model = with_spin(random_hopping(4, 2, seed=1), "orbital")
    object.__setattr__(model, "position", np.zeros((len(model.cells), 2, 4, 4)))
    with pytest.raises(ValueError, match="no elements of the position operator"):
        convert(model)


def test_missing_package():
    with pytest.raises(ImportError, match=r"`f` needs no_such_package: pip install no_such_packag"):
        require_package("no_such_package", "f")
