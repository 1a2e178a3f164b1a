"""Lattices as six numbers: one to one with the metric, blind to a turn, and even in the number of atoms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("pymatgen")

from crystal_files import PEROVSKITE, QUARTZ, turned
from pymatgen.core import Lattice

from suffuse_crystal.cells import cell_of, structure_of
from suffuse_crystal.lattices import LOGS, basis, logs_of, metric_logs, polar_of


def some(count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    lattices = 4 * torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)
    return lattices, torch.randint(1, 20, (count,), generator=generator)


def metric(lattices: torch.Tensor) -> torch.Tensor:
    return lattices @ lattices.mT


def test_the_basis_is_orthonormal_and_symmetric() -> None:
    matrices = basis(torch.zeros(1, dtype=torch.float64))
    assert torch.allclose(torch.einsum("aij,bij->ab", matrices, matrices), torch.eye(LOGS, dtype=torch.float64))
    assert torch.equal(matrices, matrices.mT)


def test_the_metric_comes_back() -> None:
    lattices, counts = some()
    back = polar_of(logs_of(lattices, counts), counts)
    assert torch.allclose(metric(back), metric(lattices), rtol=1e-8)
    assert torch.allclose(back, back.mT)
    assert (torch.linalg.det(back) > 0).all()


def test_any_six_numbers_are_a_lattice() -> None:
    six = torch.randn(50, LOGS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    counts = torch.full((50,), 7)
    assert torch.allclose(logs_of(polar_of(six, counts), counts), six, atol=1e-8)
    wild = polar_of(1e9 * six, counts)
    assert wild.isfinite().all()


def test_a_turn_changes_nothing() -> None:
    lattices, counts = some()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    assert torch.allclose(logs_of(lattices @ turn, counts), logs_of(lattices, counts), atol=1e-8)


def test_lengths_alone_would_be_noticed() -> None:
    """Six numbers say the angles too: a skew cell with the lengths of a cube is another one."""
    cube, skew = (
        torch.tensor(Lattice.from_parameters(4, 4, 4, *angles).matrix.copy())[None]
        for angles in ((90, 90, 90), (70, 80, 100))
    )
    one = torch.ones(1, dtype=torch.long)
    assert (logs_of(cube, one) - logs_of(skew, one)).abs().max() > 0.1


def test_the_volume_is_counted_for_an_atom() -> None:
    """Twice as many atoms in twice the volume of the same shape is the same lattice for the network."""
    lattices, counts = some()
    assert torch.allclose(logs_of(2 ** (1 / 3) * lattices, 2 * counts), logs_of(lattices, counts))
    volume = torch.linalg.det(polar_of(torch.zeros(1, LOGS, dtype=torch.float64), torch.tensor([5])))
    assert volume.item() == pytest.approx(5 * 16)
    logs = metric_logs(logs_of(lattices, counts), counts)
    trace = logs.diagonal(dim1=1, dim2=2).sum(1)
    assert torch.allclose(trace, torch.linalg.det(lattices).abs().log(), atol=1e-8)


@pytest.mark.parametrize("name", ["PEROVSKITE", "QUARTZ"])
def test_left_handed_vectors_are_the_same_crystal(name: str) -> None:
    """Also of one that differs from its mirror image, of which the metric alone knows nothing."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    crystal = {"PEROVSKITE": PEROVSKITE, "QUARTZ": QUARTZ}[name]
    left = crystal.copy()
    left.make_supercell([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    numbers, positions, lattice = cell_of(left)
    assert np.linalg.det(left.lattice.matrix) < 0 < np.linalg.det(lattice)
    assert positions.min() >= 0
    assert positions.max() < 1
    assert _handed(structure_of(numbers, positions, lattice)) == _handed(crystal)
    assert StructureMatcher().fit(structure_of(numbers, positions, lattice), crystal)


def test_keeping_the_positions_would_be_noticed() -> None:
    """To exchange two vectors without turning the positions round makes the other hand of quartz."""
    left = QUARTZ.copy()
    left.make_supercell([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    numbers, positions, lattice = cell_of(left)
    assert _handed(structure_of(numbers, -positions, lattice)) != _handed(QUARTZ)


def _handed(crystal: object) -> int:
    """The number of the space group: the two hands of quartz have two."""
    from suffuse_crystal.descriptors import space_group

    return space_group(crystal)


def test_turned_crystals_have_equal_numbers() -> None:
    for crystal in (PEROVSKITE, QUARTZ):
        pair = [torch.tensor(cell_of(each)[2].copy())[None] for each in (crystal, turned(crystal))]
        count = torch.tensor([len(crystal)])
        assert torch.allclose(logs_of(pair[0], count), logs_of(pair[1], count), atol=1e-8)
