"""Which crystals are taken and in which cell, and why others are left out."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from pymatgen.core import Structure
from pymatgen.io.cif import CifParser

from suffuse.errors import ConfigError, suggest
from suffuse_crystal.cells import ELEMENTS, Cell, cell_of
from suffuse_crystal.descriptors import describe

__all__ = [
    "DAMAGE",
    "REJECTIONS",
    "SUFFIXES",
    "Entry",
    "Standard",
    "Unfit",
    "in_standard_cell",
    "kind_of",
    "prepare",
    "read_structure",
]

REJECTIONS: Mapping[str, str] = {
    "unparsable": "pymatgen cannot read it",
    "too_long": "a text of more than 2,000,000 characters",
    "empty": "no atoms",
    "disordered": "a site that several elements share, or that is partly empty",
    "element": "an atom of no element",
    "not_listed": "an element that data.elements does not list",
    "too_small": "fewer sites than data.min_sites",
    "too_large": "more sites than data.max_sites",
    "overlap": "two atoms nearer than 0.5 Å",
    "volume": "less than 1 or more than 1000 Å^3 for an atom",
    "cell": "no primitive or Niggli-reduced cell can be found",
    "duplicate": "the same cell as an earlier one",
}
"""Why a crystal of the data is left out, by code."""

DAMAGE = ("unparsable", "too_long", "empty", "element", "overlap", "volume", "cell")
"""Reasons that speak of a damaged file, or of a wrong column; the others are choices."""

SUFFIXES: Mapping[str, str] = {
    ".cif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
}
"""Of files of crystals, and what they hold; a file may also be named POSCAR or CONTCAR."""

_LONGEST = 2_000_000
_NEAREST = 0.5
_VOLUMES = (1.0, 1000.0)


class Unfit(ValueError):  # noqa: N818 - it is a verdict on a crystal
    """A crystal that is left out; ``reason`` is its code in `REJECTIONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Entry(NamedTuple):
    """A crystal that was accepted, what its own text says of it, and what can be computed."""

    cell: Cell
    facts: Mapping[str, str]
    descriptors: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Standard:
    """Which crystals are taken, and in which cell.

    Args:
        min_sites, max_sites: atoms in the cell.
        elements: symbols that may occur; empty for all.
        primitive: whether a cell that repeats itself is cut down to a primitive one.
        niggli: whether the lattice vectors are the shortest ones, in the order of Niggli.
    """

    min_sites: int = 1
    max_sites: int = 20
    elements: tuple[str, ...] = ()
    primitive: bool = True
    niggli: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.min_sites <= self.max_sites:
            raise ConfigError(
                f"data.min_sites={self.min_sites}, data.max_sites={self.max_sites}: must be rising numbers from 1"
            )
        for symbol in self.elements:
            if symbol not in ELEMENTS:
                raise ConfigError(f"data.elements: {symbol!r} is no element{suggest(symbol, ELEMENTS)}")


def prepare(text: str, kind: str, standard: Standard) -> Entry:
    """One record of a file as arrays.

    Args:
        text: of a CIF, a POSCAR, one frame of an extxyz file, or JSON of pymatgen.
        kind: ``cif``, ``poscar``, ``extxyz`` or ``json``.
        standard: the rules.

    Raises:
        Unfit: it is left out.
    """
    if len(text) > _LONGEST:
        raise Unfit("too_long")
    structure = read_structure(text, kind)
    if not len(structure):
        raise Unfit("empty")
    if not structure.is_ordered:
        raise Unfit("disordered")
    if any(getattr(site.specie, "symbol", None) not in ELEMENTS for site in structure):
        raise Unfit("element")
    if standard.elements and any(site.specie.symbol not in standard.elements for site in structure):
        raise Unfit("not_listed")
    if len(structure) > 50 * standard.max_sites:
        raise Unfit("too_large")
    if not _VOLUMES[0] <= structure.volume / len(structure) <= _VOLUMES[1]:
        raise Unfit("volume")
    if not structure.is_valid(tol=_NEAREST):
        raise Unfit("overlap")
    facts = {name: str(value) for name, value in structure.properties.items()}
    structure = in_standard_cell(structure, standard)
    if len(structure) < standard.min_sites:
        raise Unfit("too_small")
    if len(structure) > standard.max_sites:
        raise Unfit("too_large")
    return Entry(cell_of(structure), facts, describe(structure))


def kind_of(name: str) -> str | None:
    """What a file of that name holds, as `prepare` calls it; None for no crystal."""
    file = PurePosixPath(name).name.lower()
    if file.startswith(("poscar", "contcar")):
        return "poscar"
    return SUFFIXES.get(PurePosixPath(file).suffix)


def read_structure(text: str, kind: str) -> Structure:
    """A text as a structure, with what an extxyz file says of it among its properties.

    Raises:
        Unfit: it cannot be read as such.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _READERS[kind](text)
    except Exception as error:  # each parser has errors of its own for what a stranger's file may hold
        raise Unfit("unparsable") from error


def in_standard_cell(structure: Structure, standard: Standard) -> Structure:
    """The same crystal in the cell that the rules ask for.

    Raises:
        Unfit: none can be found.
    """
    plain = Structure(
        structure.lattice, [site.specie.symbol for site in structure], structure.frac_coords, to_unit_cell=True
    )
    try:
        if standard.primitive:
            plain = plain.get_primitive_structure(tolerance=0.1)
        if standard.niggli:
            plain = plain.get_reduced_structure("niggli")
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise Unfit("cell") from error
    return plain


def _cif(text: str) -> Structure:
    return CifParser(io.StringIO(text), check_cif=False).parse_structures(primitive=False)[0]


def _extxyz(text: str) -> Structure:
    import ase.io
    from pymatgen.io.ase import AseAtomsAdaptor

    _check_count([int(text.partition("\n")[0])], text)
    atoms = ase.io.read(io.StringIO(text), format="extxyz")
    if not atoms.pbc.all():
        raise ValueError("not periodic")
    known: dict[str, Any] = dict(atoms.info)
    if atoms.calc is not None:
        known.update(atoms.calc.results)
    atoms.calc = None
    structure = AseAtomsAdaptor.get_structure(atoms)
    structure.properties = {name: value for name, value in known.items() if isinstance(value, str | int | float)}
    return structure


def _poscar(text: str) -> Structure:
    words = [word for line in text.splitlines()[5:7] for word in line.split()]
    _check_count([int(word) for word in words if word.isdecimal()], text)
    return Structure.from_str(text, fmt="poscar")


def _check_count(counts: Sequence[int], text: str) -> None:
    """Parsers make room for as many atoms as a file says it has."""
    if sum(counts) > text.count("\n"):
        raise ValueError("more atoms than lines")


def _json(text: str) -> Structure:
    return Structure.from_str(text, fmt="json")


_READERS: Mapping[str, Callable[[str], Structure]] = {
    "cif": _cif,
    "poscar": _poscar,
    "extxyz": _extxyz,
    "json": _json,
}
