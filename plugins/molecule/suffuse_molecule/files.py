"""Files of molecules: SDF and SMILES with the record of how they were made, and what a user gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase

from suffuse.errors import DataError
from suffuse.files import whole
from suffuse_molecule.data.standard import REJECTIONS, Standard
from suffuse_molecule.drawing import layout
from suffuse_molecule.graphs import LARGEST, build
from suffuse_molecule.molecule import Molecule
from suffuse_molecule.workers import alone

__all__ = ["KEYWORD", "first_molecule", "read_record", "sdf_entry", "write_sdf", "write_smiles", "write_whole"]

KEYWORD = "suffuse"
"""Of the SDF property that holds the provenance record as JSON."""


def write_sdf(value: Molecule, path: Path, record: Mapping[str, Any]) -> None:
    """A molecule drawn in the plane, with its SMILES and the record as properties.

    A graph that is no molecule is written as it was drawn, with the property ``reason``.

    Raises:
        DataError: the file cannot be written.
    """
    mol = layout(value)
    if mol is None:
        mol = build(value.atoms, value.bonds, True).GetMol()
        mol.UpdatePropertyCache(strict=False)
    with rdBase.BlockLogs():
        block = Chem.MolToMolBlock(mol, kekulize=value.mol is not None, forceV3000=len(value.atoms) > 999)
    properties = {"SMILES": value.smiles, "reason": value.reason, KEYWORD: json.dumps(record, default=str)}
    write_whole(path, sdf_entry(block, properties))


def sdf_entry(block: str, properties: Mapping[str, Any]) -> str:
    """One record of an SDF file; properties without a value are left out."""
    shown = {name: str(value) for name, value in properties.items() if value not in (None, "")}
    lines = [f">  <{name}>\n{text}\n\n" for name, text in shown.items()]
    return block + "".join(lines) + "$$$$\n"


def write_smiles(value: Molecule, path: Path, record: Mapping[str, Any]) -> None:
    """A line with the SMILES (``invalid:REASON`` where there is none), and the record after a tab.

    Raises:
        DataError: the file cannot be written.
    """
    write_whole(path, f"{value.smiles or f'invalid:{value.reason}'}\t{json.dumps(record, default=str)}\n")


def write_whole(path: Path, text: str) -> None:
    """A file that is there as a whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """The provenance record inside a file that `write_sdf` or `write_smiles` wrote.

    Raises:
        DataError: the file is missing, or carries no record.
    """
    text = _read(path)
    if path.suffix.lower() == ".smi":
        found = text.partition("\t")[2]
    else:
        _, _, rest = text.partition(f">  <{KEYWORD}>\n")
        found = rest.partition("\n")[0]
    if not found:
        raise DataError(f"{path}: no provenance record in it; a program that saved it again may have dropped it")
    try:
        record = json.loads(found)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: its provenance record is damaged ({error})") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: its provenance record is damaged (a {type(record).__name__})")
    return record


def first_molecule(path: Path, explicit: bool) -> Molecule:
    """The first molecule of a SMILES or SDF file.

    Raises:
        DataError: there is none, or it has no place among these graphs.
    """
    text = _read(path)
    kind = "sdf" if path.suffix.lower() in (".sdf", ".mol", ".sd") else "smiles"
    if kind == "sdf":
        text = text.partition("$$$$")[0]
    else:
        text = next((line.split()[0] for line in text.splitlines() if line.strip()), "")
    standard = Standard(max_atoms=LARGEST, hydrogens="explicit" if explicit else "implicit")
    found = alone("suffuse_molecule.data.library:prepare_all", text, kind, standard)
    if isinstance(found, str):
        reason = REJECTIONS[found].split(" (data.")[0].replace("data.seconds", "10 seconds")
        raise DataError(f"{path}: cannot be used as a molecule: {reason}")
    return Molecule(found.atoms, found.bonds, explicit)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
