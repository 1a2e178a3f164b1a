"""Molecules as numbers: atoms of (element, formal charge) and kekulised bonds, from RDKit and back.

No aromatic bond is a class of its own: an aromatic nitrogen with a hydrogen and one without it would look the same, and
one real molecule in ten could not be read back. Hydrogens are implicit unless they are atoms of the graph themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase

__all__ = [
    "BONDS",
    "LARGEST",
    "NUMBERS",
    "Atoms",
    "Bonds",
    "Packed",
    "Unfit",
    "atoms_of",
    "bonds_of",
    "build",
    "code",
    "code_of",
    "graph_of",
    "name_of",
    "sanitise",
]

Atoms: TypeAlias = NDArray[np.int16]
"""A code for each atom, ``[N]``; see `code`."""
Bonds: TypeAlias = NDArray[np.int16]
"""First atom, second atom and order (1 to 3) of each bond, ``[M, 3]``."""

BONDS = ("none", "single", "double", "triple")
"""The classes of a pair of atoms; a bond's order is its class."""

LARGEST = 1000
"""Atoms of the largest graph that is given to RDKit: its SMILES writer descends a chain in recursion, and one of
18,000 atoms ends the process."""
_MOST_RINGS = 150
"""Independent cycles of the most tangled graph that is given to RDKit; a fullerene of 60 atoms has 31."""

_CHARGES = 32
_NAME = re.compile(r"([A-Z][a-z]?)(?:([+-])(\d*))?")
_TABLE = Chem.GetPeriodicTable()
NUMBERS = {str(_TABLE.GetElementSymbol(number)): number for number in range(1, 119)}
"""Atomic numbers of the elements by symbol."""
_TYPES = (None, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
_ORDERS = {kind: order for order, kind in enumerate(_TYPES) if kind is not None}
_FAILURES = {
    Chem.SanitizeFlags.SANITIZE_PROPERTIES: "valence",
    Chem.SanitizeFlags.SANITIZE_KEKULIZE: "kekulize",
}


class Unfit(ValueError):  # noqa: N818 - it is a verdict on a molecule
    """A molecule that has no place among these graphs; ``reason`` is its code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def code(number: int, charge: int) -> int:
    """One number for an element and its formal charge.

    Raises:
        Unfit: no such charge has a place.
    """
    if not -_CHARGES // 2 <= charge < _CHARGES // 2:
        raise Unfit("charge")
    return number * _CHARGES + charge + _CHARGES // 2


def name_of(code: int) -> str:
    """The atom's name, such as ``C``, ``N+`` or ``Fe+2``."""
    number, rest = divmod(int(code), _CHARGES)
    charge = rest - _CHARGES // 2
    size = abs(charge) if abs(charge) > 1 else ""
    return f"{_TABLE.GetElementSymbol(number)}{'' if not charge else '+' if charge > 0 else '-'}{size}"


def code_of(name: str) -> int:
    """The inverse of `name_of`.

    Raises:
        ValueError: it is no such name.
    """
    match = _NAME.fullmatch(name)
    number = NUMBERS.get(match[1]) if match else None
    if match is None or number is None:
        raise ValueError(f"{name!r} is no element with a charge, such as C, N+ or O-")
    return code(number, int(f"{match[2]}{match[3] or 1}") if match[2] else 0)


def atoms_of(mol: Chem.Mol) -> list[Chem.Atom]:
    """The atoms, several times as fast as by ``GetAtoms``."""
    return [mol.GetAtomWithIdx(place) for place in range(mol.GetNumAtoms())]


def bonds_of(mol: Chem.Mol) -> list[Chem.Bond]:
    """The bonds, several times as fast as by ``GetBonds``."""
    return [mol.GetBondWithIdx(place) for place in range(mol.GetNumBonds())]


def graph_of(mol: Chem.Mol) -> tuple[Atoms, Bonds]:
    """The graph of a sanitised molecule.

    Raises:
        Unfit: ``dummy`` (an atom of no element), ``radical`` or ``bond`` (of another kind than single to triple, such
            as a dative one): the graph has no place for it.
    """
    plain = Chem.Mol(mol)
    Chem.Kekulize(plain, clearAromaticFlags=True)
    codes = []
    for atom in atoms_of(plain):
        if not atom.GetAtomicNum():
            raise Unfit("dummy")
        if atom.GetNumRadicalElectrons():
            raise Unfit("radical")
        codes.append(code(atom.GetAtomicNum(), atom.GetFormalCharge()))
    bonds = []
    for bond in bonds_of(plain):
        order = _ORDERS.get(bond.GetBondType())
        if order is None:
            raise Unfit("bond")
        bonds.append((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), order))
    return np.array(codes, np.int16), np.array(bonds, np.int16).reshape(-1, 3)


def build(atoms: Sequence[int] | Atoms, bonds: Bonds, explicit: bool = False) -> Chem.RWMol:
    """The molecule as it is drawn, right or wrong; nothing is checked or completed.

    Args:
        atoms: codes; 0 becomes a dummy atom.
        bonds: between them.
        explicit: whether hydrogens are atoms of the graph, so that none may be added.
    """
    mol = Chem.RWMol()
    for each in np.asarray(atoms).tolist():
        number, rest = divmod(each, _CHARGES)
        atom = Chem.Atom(number)
        if number:
            atom.SetFormalCharge(rest - _CHARGES // 2)
        if explicit:
            atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for first, second, order in np.asarray(bonds).tolist():
        mol.AddBond(first, second, _TYPES[order])
    return mol


def sanitise(atoms: Atoms, bonds: Bonds, explicit: bool = False) -> tuple[Chem.Mol | None, str | None]:
    """The molecule if RDKit accepts it, and the code of what is wrong with it, if anything.

    ``empty``, ``unfinished`` (an atom or bond has no class yet), ``too_large``, ``tangled`` (more rings than any
    molecule), ``valence``, ``kekulize``, ``sanitize`` (anything else that RDKit refuses) and ``radical`` leave no
    molecule; ``disconnected`` (several fragments) leaves one.
    """
    if not len(atoms):
        return None, "empty"
    if not np.all(atoms) or (len(bonds) and int(np.max(bonds[:, 2])) >= len(BONDS)):
        return None, "unfinished"
    if len(atoms) > LARGEST:
        return None, "too_large"
    if len(bonds) - len(atoms) >= _MOST_RINGS:
        return None, "tangled"
    mol = build(atoms, bonds, explicit).GetMol()
    with rdBase.BlockLogs():
        failed = Chem.SanitizeMol(mol, catchErrors=True)
    if failed != Chem.SanitizeFlags.SANITIZE_NONE:
        return None, _FAILURES.get(failed, "sanitize")
    if any(atom.GetNumRadicalElectrons() for atom in atoms_of(mol)):
        return None, "radical"
    if len(Chem.GetMolFrags(mol)) > 1:
        return mol, "disconnected"
    return mol, None


@dataclass(frozen=True, eq=False)
class Packed:
    """Several graphs one after another, as they lie in files and in a batch.

    Args:
        atoms: codes, ``[sum N]``.
        counts: atoms of each graph, ``[B]``.
        bonds: numbered within their own graph, ``[sum M, 3]``.
        bond_counts: bonds of each graph, ``[B]``.
    """

    atoms: NDArray[np.int16]
    counts: NDArray[np.int64]
    bonds: NDArray[np.integer]
    bond_counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)

    @classmethod
    def of(cls, graphs: Sequence[tuple[Atoms, Bonds]]) -> Packed:
        """Joined."""
        return cls(
            np.concatenate([np.zeros(0, np.int16), *(atoms for atoms, _ in graphs)]),
            np.array([len(atoms) for atoms, _ in graphs], np.int64),
            np.concatenate([np.zeros((0, 3), np.int16), *(bonds for _, bonds in graphs)]),
            np.array([len(bonds) for _, bonds in graphs], np.int64),
        )

    def graphs(self) -> Iterator[tuple[Atoms, Bonds]]:
        """One by one."""
        ends, bond_ends = self.counts.cumsum(), self.bond_counts.cumsum()
        for end, count, bond_end, bond_count in zip(ends, self.counts, bond_ends, self.bond_counts, strict=True):
            yield self.atoms[end - count : end], self.bonds[bond_end - bond_count : bond_end].astype(np.int16)
