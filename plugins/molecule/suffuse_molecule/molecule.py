"""The value that people get: a graph, the molecule that it is, or the reason why it is none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from rdkit import Chem, rdBase

from suffuse_molecule.graphs import Atoms, Bonds, atoms_of, graph_of, sanitise

__all__ = ["REASONS", "Molecule", "canonical", "key_of", "reread"]

REASONS: Mapping[str, str] = {
    "empty": "no atoms",
    "unfinished": "an atom or a bond has no class yet",
    "too_large": "more atoms than RDKit can be given safely",
    "tangled": "more rings than any molecule has",
    "valence": "an atom with more bonds than its element and charge allow",
    "kekulize": "aromatic rings without an arrangement of double bonds",
    "sanitize": "refused by RDKit for another reason",
    "radical": "unpaired electrons",
    "disconnected": "several fragments",
    "reparse": "its SMILES does not give the same molecule back",
}
"""What can be wrong with a graph that was drawn, by code."""


@dataclass(frozen=True, eq=False)
class Molecule:
    """A graph and what RDKit makes of it, worked out when it is first asked for.

    Args:
        atoms: codes of `suffuse_molecule.graphs`, ``[N]``.
        bonds: first atom, second atom, order, ``[M, 3]``.
        explicit: whether hydrogens are atoms of the graph.
        repaired: what a repair made of it, where one was asked for; the graph itself stays as it was drawn.
    """

    atoms: Atoms
    bonds: Bonds
    explicit: bool = False
    repaired: Molecule | None = None

    @classmethod
    def of(cls, mol: Chem.Mol, explicit: bool = False) -> Molecule:
        """The graph of a sanitised molecule.

        Raises:
            Unfit: it has none.
        """
        return cls(*graph_of(mol), explicit)

    @cached_property
    def _verdict(self) -> tuple[Chem.Mol | None, str | None, str]:
        mol, reason = sanitise(self.atoms, self.bonds, self.explicit)
        if mol is None:
            return None, reason, ""
        smiles = canonical(mol)
        if reason is None and reread(smiles) != smiles:
            reason = "reparse"
        return mol, reason, smiles

    @property
    def mol(self) -> Chem.Mol | None:
        """The sanitised molecule, perhaps in several fragments; None where RDKit refuses the graph."""
        return self._verdict[0]

    @property
    def reason(self) -> str | None:
        """The code in `REASONS` of what is wrong with it; None for a valid and connected molecule."""
        return self._verdict[1]

    @property
    def smiles(self) -> str:
        """Canonical, without stereo; empty where there is no molecule."""
        return self._verdict[2]

    @property
    def valid(self) -> bool:
        """Accepted by RDKit, in one piece, and the same after a way through its SMILES."""
        return self.reason is None


def canonical(mol: Chem.Mol) -> str:
    """Canonical SMILES without stereo, hydrogens implicit."""
    with rdBase.BlockLogs():
        light = Chem.RemoveHs(mol, sanitize=False) if any(atom.GetAtomicNum() == 1 for atom in atoms_of(mol)) else mol
        return str(Chem.MolToSmiles(light, isomericSmiles=False))


def key_of(smiles: str) -> int:
    """64 bits that stand for a canonical SMILES."""
    return int.from_bytes(hashlib.blake2b(smiles.encode(), digest_size=8).digest(), "big")


def reread(smiles: str) -> str | None:
    """The canonical SMILES of a SMILES; None if RDKit cannot read it."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    return None if mol is None else canonical(mol)
