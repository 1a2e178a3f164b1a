"""Scaffolds with attachment points: what a chemist fixes of every molecule, and where new atoms may go.

A scaffold is a SMILES in which each ``*`` stands for something to be made: ``c1ccc(*)cc1`` is decorated, and
``*c1ccccc1.*C1CCNCC1`` are two fragments to be joined. The bond of each ``*`` is part of the scaffold; beside it a
scaffold gets no further bond, so that nothing of it changes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

from suffuse.errors import ConfigError
from suffuse_molecule.graphs import LARGEST, Atoms, Bonds, Unfit, atoms_of, graph_of

__all__ = ["Scaffold", "read_all", "read_scaffold"]

_LONGEST = 4000
"""Characters of the longest SMILES that is parsed."""


@dataclass(frozen=True, eq=False)
class Scaffold:
    """A graph with open bonds.

    Args:
        text: as it was typed.
        atoms: codes of its k atoms.
        bonds: between them, ``[M, 3]``.
        hosts: the atom that each attachment point hangs on, ``[J]``.
        orders: of the open bonds, ``[J]``.
        fragments: how many pieces it has.
    """

    text: str
    atoms: Atoms
    bonds: Bonds
    hosts: NDArray[np.int64]
    orders: NDArray[np.int64]
    fragments: int

    @property
    def least(self) -> int:
        """New atoms without which the points of one host would fall together."""
        return max(Counter(self.hosts.tolist()).values())

    def ends(self, new: int) -> NDArray[np.int64]:
        """Which of ``new`` atoms each point is bonded to: one of its own or, where there are too few, a shared one."""
        if new >= len(self.hosts):
            return np.arange(len(self.hosts))
        seen: Counter[int] = Counter()
        places = []
        for host in self.hosts.tolist():
            places.append(seen[host])
            seen[host] += 1
        return np.array(places)


def read_all(texts: list[str], explicit: bool) -> list[Scaffold | str]:
    """The scaffold of each SMILES, or what is wrong with it; what a child process runs."""
    found: list[Scaffold | str] = []
    for text in texts:
        try:
            found.append(read_scaffold(text, explicit))
        except ConfigError as error:
            found.append(str(error))
    return found


def read_scaffold(text: str, explicit: bool = False) -> Scaffold:
    """A scaffold from its SMILES.

    Args:
        text: with a ``*`` for each attachment point.
        explicit: whether hydrogens are atoms of the graphs.

    Raises:
        ConfigError: it cannot be read, has no attachment point, or one that hangs on no atom or on several.
    """
    mol = _read(text)
    if explicit:
        mol = Chem.AddHs(mol)
    stars = [atom for atom in atoms_of(mol) if not atom.GetAtomicNum()]
    if not stars:
        raise ConfigError(f"scaffold={text}: has no attachment point; write * where something shall grow, c1ccc(*)cc1")
    for star in stars:
        neighbours = star.GetNeighbors()
        if len(neighbours) != 1 or not neighbours[0].GetAtomicNum():
            raise ConfigError(f"scaffold={text}: each * needs exactly one bond, to an atom of the scaffold")
    pieces = Chem.GetMolFrags(mol)
    open_ends = {star.GetIdx() for star in stars}
    if any(open_ends.isdisjoint(piece) for piece in pieces):
        raise ConfigError(f"scaffold={text}: a fragment has no attachment point, so nothing could join it; give it a *")
    try:
        atoms, bonds = graph_of(_filled(mol))
    except Unfit as refusal:
        raise ConfigError(f"scaffold={text}: cannot be fixed: {refusal.reason}") from None
    kept = np.array([place for place in range(len(atoms)) if place not in open_ends], np.int64)
    place = np.full(len(atoms), -1)
    place[kept] = np.arange(len(kept))
    ends = place[bonds[:, :2]]
    inside = (ends >= 0).all(1)
    # In the order of the stars: the one end that is kept, and the bond's order.
    rows = {int(min(bond[:2], key=lambda end: place[end])): bond for bond in bonds[~inside]}
    hosts = [place[bond[:2]].max() for bond in (rows[star.GetIdx()] for star in stars)]
    orders = [rows[star.GetIdx()][2] for star in stars]
    return Scaffold(
        text,
        atoms[kept],
        np.concatenate([ends[inside], bonds[inside, 2:]], 1).astype(np.int16),
        np.array(hosts, np.int64),
        np.array(orders, np.int64),
        len(pieces),
    )


def _read(text: str) -> Chem.Mol:
    if len(text) > _LONGEST:
        raise ConfigError(f"scaffold={text[:40]}…: too long for a molecule ({len(text):,} characters)")
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(text)
    if mol is None or not 0 < mol.GetNumAtoms() <= LARGEST:
        raise ConfigError(f"scaffold={text}: RDKit cannot read it as a molecule")
    Chem.RemoveStereochemistry(mol)
    return mol


def _filled(mol: Chem.Mol) -> Chem.Mol:
    """The molecule with an element in place of each star, so that it is one: by the number of bonds that it takes."""
    filled = Chem.RWMol(mol)
    for atom in atoms_of(mol):
        if not atom.GetAtomicNum():
            (bond,) = atom.GetBonds()
            fitting = Chem.Atom({1.0: 9, 2.0: 8}.get(bond.GetBondTypeAsDouble(), 7))
            filled.ReplaceAtom(atom.GetIdx(), fitting)
    with rdBase.BlockLogs():
        if Chem.SanitizeMol(filled, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
            raise Unfit("sanitize")
    return filled.GetMol()
