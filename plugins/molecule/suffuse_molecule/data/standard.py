"""From a person's SMILES or SDF record to a graph, by rules that the person chooses; whatever is refused has a code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from suffuse.errors import ConfigError, suggest
from suffuse_molecule.graphs import LARGEST, NUMBERS, Atoms, Bonds, Unfit, atoms_of, bonds_of, graph_of, sanitise
from suffuse_molecule.molecule import canonical

__all__ = ["REJECTIONS", "Entry", "Salts", "Standard", "prepare"]

Salts: TypeAlias = Literal["reject", "largest"]

_ALLOWED = {
    "salts": ("reject", "largest"),
    "charges": ("keep", "neutralise", "reject"),
    "isotopes": ("drop", "reject"),
    "stereo": ("drop", "reject"),
    "hydrogens": ("implicit", "explicit"),
}

REJECTIONS: Mapping[str, str] = {
    "unparsable": "RDKit cannot read it",
    "too_long": "the text is too long for a molecule of this size",
    "empty": "no atoms",
    "valence": "an atom with more bonds than its element and charge allow",
    "kekulize": "aromatic rings without an arrangement of double bonds",
    "sanitize": "refused by RDKit for another reason",
    "dummy": "an atom of no element: a polymer, an R-group or a query",
    "mixture": "several fragments: a salt, a solvate or a mixture (data.salts)",
    "isotope": "a marked isotope (data.isotopes)",
    "stereo": "specified stereo (data.stereo)",
    "charged": "a net charge (data.charges)",
    "element": "an element that data.elements does not list",
    "radical": "unpaired electrons",
    "bond": "a bond of another kind than single, double and triple, such as a dative one",
    "charge": "a formal charge beyond 15",
    "hydrogen": "a hydrogen that cannot be implicit, such as a hydride",
    "too_small": "fewer atoms than data.min_atoms",
    "too_large": "more atoms than data.max_atoms",
    "inexact": "the graph does not give the same molecule back",
    "duplicate": "the same molecule as an earlier one",
    "rare": "an atom kind seen less often than data.min_count",
    "timeout": "RDKit took longer than data.seconds",
    "crash": "RDKit ended the process",
}
"""Why a molecule of the data is left out, by code."""

_CHARACTERS = 40
"""Of text for each atom that is allowed, and a few more: longer texts are not even parsed."""


class Entry(NamedTuple):
    """A molecule that was accepted: its graph, its canonical SMILES without stereo, and what was dropped of it."""

    atoms: Atoms
    bonds: Bonds
    smiles: str
    stereo: bool


@dataclass(frozen=True, kw_only=True)
class Standard:
    """Which molecules are taken, and in which form.

    Args:
        min_atoms, max_atoms: of the graph.
        elements: symbols that may occur; empty for all.
        salts: ``reject`` what has several fragments, or take the ``largest`` (organic before inorganic).
        charges: ``keep`` them, ``neutralise`` what protons can, or ``reject`` molecules with a net charge.
        isotopes: ``drop`` the marks, or ``reject``.
        stereo: ``drop`` the marks, which the graph has no place for, or ``reject``.
        hydrogens: ``implicit``, or ``explicit`` as atoms of the graph.
    """

    min_atoms: int = 1
    max_atoms: int = 64
    elements: tuple[str, ...] = ()
    salts: str = "reject"
    charges: str = "keep"
    isotopes: str = "drop"
    stereo: str = "drop"
    hydrogens: str = "implicit"

    def __post_init__(self) -> None:
        for key, allowed in _ALLOWED.items():
            value = getattr(self, key)
            if value not in allowed:
                raise ConfigError(f"data.{key}={value}: allowed are {', '.join(allowed)}{suggest(value, allowed)}")
        if not 1 <= self.min_atoms <= self.max_atoms <= LARGEST:
            raise ConfigError(
                f"data.min_atoms={self.min_atoms}, data.max_atoms={self.max_atoms}: must be rising numbers from 1 to "
                f"{LARGEST}"
            )
        for symbol in self.elements:
            if symbol not in NUMBERS:
                raise ConfigError(f"data.elements: {symbol!r} is no element{suggest(symbol, NUMBERS)}")

    @cached_property
    def numbers(self) -> frozenset[int]:
        """Atomic numbers of the elements that may occur, hydrogen always."""
        return frozenset(NUMBERS[symbol] for symbol in (*self.elements, "H"))

    @property
    def explicit(self) -> bool:
        """Whether hydrogens are atoms of the graph."""
        return self.hydrogens == "explicit"


def prepare(text: str, kind: str, standard: Standard) -> Entry:
    """One record of a file as a graph.

    Args:
        text: a SMILES, or a block of an SDF file.
        kind: ``smiles`` or ``sdf``.
        standard: the rules.

    Raises:
        Unfit: it is left out, with a code of `REJECTIONS`.
    """
    with rdBase.BlockLogs():
        mol = _read(text, kind, standard)
        if mol.GetNumAtoms() == 0:
            raise Unfit("empty")
        if mol.GetNumAtoms() > 10 * LARGEST:
            raise Unfit("too_large")
        failed = Chem.SanitizeMol(mol, catchErrors=True)
        if failed != Chem.SanitizeFlags.SANITIZE_NONE:
            raise Unfit(
                {
                    Chem.SanitizeFlags.SANITIZE_PROPERTIES: "valence",
                    Chem.SanitizeFlags.SANITIZE_KEKULIZE: "kekulize",
                }.get(failed, "sanitize")
            )
        if kind == "sdf":  # of coordinates and wedges, RDKit tells stereo only where it sanitises by itself
            mol = Chem.MolFromMolBlock(text, removeHs=False, strictParsing=False) or mol
        try:
            return _accept(mol, standard)
        except Unfit:
            raise
        except (ValueError, RuntimeError) as error:  # RDKit's own, each of another kind
            raise Unfit("sanitize") from error


def _read(text: str, kind: str, standard: Standard) -> Chem.Mol:
    if kind == "sdf":
        mol = Chem.MolFromMolBlock(text, sanitize=False, removeHs=False, strictParsing=False)
    else:
        if len(text) > 200 + _CHARACTERS * standard.max_atoms:
            raise Unfit("too_long")
        mol = Chem.MolFromSmiles(text, sanitize=False) if text else Chem.Mol()
    if mol is None:
        raise Unfit("unparsable")
    return mol


def _accept(mol: Chem.Mol, standard: Standard) -> Entry:
    if any(not atom.GetAtomicNum() for atom in atoms_of(mol)):
        raise Unfit("dummy")
    mol = _one_fragment(mol, standard)
    marked = [atom for atom in atoms_of(mol) if atom.GetIsotope()]
    if marked and standard.isotopes == "reject":
        raise Unfit("isotope")
    for atom in marked:
        atom.SetIsotope(0)
    if any(atom.GetAtomicNum() == 1 for atom in atoms_of(mol)):
        mol = Chem.RemoveHs(mol)  # sanitised again: else the count of hydrogens is stale, and rings lose double bonds
    if mol.GetNumAtoms() > standard.max_atoms:
        raise Unfit("too_large")
    stereo = _has_stereo(mol)
    if stereo and standard.stereo == "reject":
        raise Unfit("stereo")
    Chem.RemoveStereochemistry(mol)
    if standard.charges == "neutralise":
        mol = rdMolStandardize.Uncharger().uncharge(mol)
    elif standard.charges == "reject" and Chem.GetFormalCharge(mol):
        raise Unfit("charged")
    if standard.explicit:
        mol = Chem.AddHs(mol)
    found = {atom.GetAtomicNum() for atom in atoms_of(mol)}
    if 1 in found and not standard.explicit:
        raise Unfit("hydrogen")
    if standard.elements and not found <= standard.numbers:
        raise Unfit("element")
    if mol.GetNumAtoms() < standard.min_atoms:
        raise Unfit("too_small")
    if mol.GetNumAtoms() > standard.max_atoms:
        raise Unfit("too_large")
    atoms, bonds = graph_of(mol)
    back, reason = sanitise(atoms, bonds, standard.explicit)
    smiles = canonical(mol)
    if back is None or reason is not None or canonical(back) != smiles:
        raise Unfit("inexact")
    return Entry(atoms, bonds, smiles, stereo)


def _one_fragment(mol: Chem.Mol, standard: Standard) -> Chem.Mol:
    if len(Chem.GetMolFrags(mol)) == 1:
        return mol
    if standard.salts == "reject":
        raise Unfit("mixture")
    return rdMolStandardize.LargestFragmentChooser(preferOrganic=True).choose(mol)


def _has_stereo(mol: Chem.Mol) -> bool:
    Chem.AssignStereochemistry(mol, cleanIt=True, force=True)  # takes away marks that tell nothing apart
    none = (Chem.BondStereo.STEREONONE, Chem.BondStereo.STEREOANY)
    return any(atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED for atom in atoms_of(mol)) or any(
        bond.GetStereo() not in none for bond in bonds_of(mol)
    )
