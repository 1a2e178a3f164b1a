"""Files of crystals: CIF and extxyz with the record of how they were made, and what a user gives."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.cif import CifWriter

from suffuse.errors import DataError
from suffuse.files import whole
from suffuse_crystal.cells import ELEMENTS
from suffuse_crystal.data.standard import REJECTIONS, Standard, Unfit, in_standard_cell, kind_of, read_structure

__all__ = ["KEYWORD", "first_structure", "read_record", "write_cif", "write_extxyz"]

KEYWORD = "suffuse_record"
"""Of the item of a CIF, or of the second line of an extxyz, that holds the provenance record as JSON."""
_MOST = 1000


def write_cif(value: Structure, path: Path, record: Mapping[str, Any]) -> None:
    """A CIF in P1 with the record as a text item.

    Raises:
        DataError: the file cannot be written.
    """
    text = json.dumps(record, default=str, indent=1)  # no line of it begins with a semicolon or is longer than allowed
    with whole(path) as draft:
        draft.write_text(f"{CifWriter(value)}\n_{KEYWORD}\n;\n{text}\n;\n", encoding="utf-8")


def write_extxyz(value: Structure, path: Path, record: Mapping[str, Any]) -> None:
    """An extxyz with the record in its second line.

    Raises:
        DataError: the file cannot be written.
    """
    import ase.io
    from ase import Atoms

    symbols = [site.specie.symbol for site in value]
    atoms = Atoms(
        [symbol if symbol in ELEMENTS else "X" for symbol in symbols],
        cell=value.lattice.matrix,
        scaled_positions=value.frac_coords,
        pbc=True,
        # Readers of extxyz differ in what they make of a backslash.
        info={KEYWORD: json.dumps(record, default=str).replace("%", "%25").replace("\\", "%5C")},
    )
    stream = io.StringIO()
    ase.io.write(stream, atoms, format="extxyz")
    with whole(path) as draft:
        draft.write_text(stream.getvalue(), encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """The provenance record inside a file that `write_cif` or `write_extxyz` wrote.

    Raises:
        DataError: the file is missing, or carries no record.
    """
    text = _read(path)
    if kind_of(path.name) == "extxyz":
        import ase.io

        found = ase.io.read(io.StringIO(text), format="extxyz").info.get(KEYWORD)
        found = unquote(found) if isinstance(found, str) else None
    else:
        match = re.search(rf"^_{KEYWORD}\n;\n(.*?)\n;$", text, re.M | re.S)
        found = match[1] if match else None
    if found is None:
        raise DataError(f"{path}: no provenance record in it; a program that saved it again may have dropped it")
    try:
        record = json.loads(found)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: its provenance record is damaged ({error})") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: its provenance record is damaged (a {type(record).__name__})")
    return record


def first_structure(path: Path, formula: bool = False) -> Structure:
    """The first structure of a CIF, POSCAR or extxyz file, in its Niggli cell with the atoms in their order.

    Args:
        path: of the file.
        formula: whether a text file with a chemical formula will do. What it does not say is of no meaning.

    Raises:
        DataError: there is none.
    """
    text = _read(path)
    kind = kind_of(path.name)
    if kind is None:
        if formula:
            return _of_formula(text, path)
        raise DataError(f"{path}: a crystal is a file .cif, .vasp, .extxyz, or one whose name begins with POSCAR")
    if kind == "extxyz":
        count = text.split("\n", 1)[0].strip()
        text = "\n".join(text.split("\n")[: int(count) + 2]) if count.isdigit() else text
    try:
        structure = read_structure(text, kind)
        if not structure.is_ordered or not len(structure):
            raise Unfit("disordered" if len(structure) else "empty")
        if any(getattr(site.specie, "symbol", None) not in ELEMENTS for site in structure):
            raise Unfit("element")
        return in_standard_cell(structure, Standard(primitive=False))
    except Unfit as refusal:
        raise DataError(f"{path}: cannot be used as a crystal: {REJECTIONS[refusal.reason]}") from None


def _of_formula(text: str, path: Path) -> Structure:
    try:
        composition = Composition(text.strip())
        amounts = {element.symbol: amount for element, amount in composition.items()}
        whole = all(float(amount).is_integer() for amount in amounts.values())
    except Exception as error:  # pymatgen has several
        raise DataError(f"{path}: {text.strip()[:40]!r} is no chemical formula") from error
    if not whole or not amounts or sum(amounts.values()) > _MOST:
        raise DataError(f"{path}: a formula of the atoms in the cell is needed, 1 to {_MOST} in whole numbers")
    symbols = [symbol for symbol, amount in amounts.items() for _ in range(int(amount))]
    return Structure(Lattice.cubic(2.5 * len(symbols) ** (1 / 3)), symbols, np.zeros((len(symbols), 3)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
