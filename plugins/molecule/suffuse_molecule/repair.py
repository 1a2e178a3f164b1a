"""Repairs of graphs that are no molecules. Off unless asked for, and never counted as what the network drew."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from suffuse_molecule.graphs import Bonds, build, sanitise
from suffuse_molecule.molecule import Molecule

__all__ = ["Repair", "repaired"]

Repair: TypeAlias = Literal["none", "fragment", "valence"]


def repaired(molecule: Molecule, how: Repair) -> Molecule:
    """The same value, with what the repair makes of it where it is invalid."""
    if how == "none" or molecule.valid or molecule.reason in ("empty", "unfinished", "too_large", "tangled"):
        return molecule
    bonds = molecule.bonds if how == "fragment" else _lowered(molecule)
    if bonds is None:
        return molecule
    found = _largest(replace(molecule, bonds=bonds))
    return replace(molecule, repaired=found) if found.valid else molecule


def _lowered(molecule: Molecule) -> Bonds | None:
    """The bonds with the highest order of each overcrowded atom lowered by one until RDKit accepts every atom."""
    bonds = molecule.bonds.copy()
    for _ in range(3 * len(bonds) + 1):
        mol = build(molecule.atoms, bonds, molecule.explicit).GetMol()
        with rdBase.BlockLogs():
            problems = Chem.DetectChemistryProblems(mol)
        crowded = [problem.GetAtomIdx() for problem in problems if problem.GetType() == "AtomValenceException"]
        if not crowded:
            return bonds if sanitise(molecule.atoms, bonds, molecule.explicit)[0] is not None else None
        own = np.flatnonzero((bonds[:, :2] == crowded[0]).any(1))
        if not len(own):
            return None
        worst = own[int(bonds[own, 2].argmax())]
        bonds[worst, 2] -= 1
        bonds = bonds[bonds[:, 2] > 0]
    return None


def _largest(molecule: Molecule) -> Molecule:
    """The fragment with the most atoms; the first of several."""
    label: NDArray[np.int64] = np.arange(len(molecule.atoms))
    for first, second, _ in molecule.bonds:
        label[label == label[second]] = label[first]
    names, counts = np.unique(label, return_counts=True)
    chosen = label == names[counts.argmax()]
    place = np.cumsum(chosen) - 1
    bonds = molecule.bonds[chosen[molecule.bonds[:, 0]]].copy()
    bonds[:, :2] = place[bonds[:, :2]]
    return Molecule(molecule.atoms[chosen], bonds, molecule.explicit)
