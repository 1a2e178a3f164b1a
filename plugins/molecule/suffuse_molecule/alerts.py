"""Rules by which chemists turn molecules away: catalogues of substructures, and bounds on what can be counted.

A filter says what it found by name and removes nothing by itself.
"""

from __future__ import annotations

import csv
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem import Crippen, Descriptors, Lipinski, rdMolDescriptors
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

from suffuse.errors import ConfigError, suggest
from suffuse_molecule.graphs import atoms_of

__all__ = ["FILTERS", "alerts_of", "check_filters", "moses_patterns", "passes_moses", "passes_moses_all"]

_CATALOGUES = {
    "pains": "PAINS",
    "brenk": "BRENK",
    "nih": "NIH",
    "zinc": "ZINC",
    "glaxo": "CHEMBL_Glaxo",
    "dundee": "CHEMBL_Dundee",
    "bms": "CHEMBL_BMS",
    "surechembl": "CHEMBL_SureChEMBL",
    "mlsmr": "CHEMBL_MLSMR",
    "inpharmatica": "CHEMBL_Inpharmatica",
    "lint": "CHEMBL_LINT",
}
"""Of RDKit, by our name."""

_BOUNDS: Mapping[str, Mapping[str, tuple[Callable[[Chem.Mol], float], float]]] = {
    "lipinski": {
        "MW": (Descriptors.MolWt, 500),
        "logP": (Crippen.MolLogP, 5),
        "HBD": (Lipinski.NumHDonors, 5),
        "HBA": (Lipinski.NumHAcceptors, 10),
    },
    "veber": {
        "TPSA": (rdMolDescriptors.CalcTPSA, 140),
        "rotatable bonds": (rdMolDescriptors.CalcNumRotatableBonds, 10),
    },
}
"""Lipinski et al. 2001, the rule of five; Veber et al. 2002: the most that a molecule may have."""

FILTERS = (*_CATALOGUES, *_BOUNDS)
"""Baell and Holloway 2010 (pains), Brenk et al. 2008, and the others that RDKit has; then bounds."""


def check_filters(names: Sequence[str]) -> None:
    """
    Raises:
        ConfigError: a filter is unknown, or named twice.
    """
    for name in names:
        if name not in FILTERS:
            raise ConfigError(f"filters={name}: unknown; known are {', '.join(FILTERS)}{suggest(name, FILTERS)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"filters={list(names)}: one of them is named twice")


def alerts_of(mol: Chem.Mol, names: Sequence[str]) -> list[str]:
    """What each filter has against a sanitised molecule, as ``FILTER: ALERT``."""
    found = []
    for name in names:
        if name in _CATALOGUES:
            found += [f"{name}: {entry.GetDescription()}" for entry in _catalogue(name).GetMatches(mol)]
        else:
            for label, (measure, most) in _BOUNDS[name].items():
                if measure(mol) > most:
                    found.append(f"{name}: {label} above {most:g}")
    return found


_MOSES_ELEMENTS = frozenset((1, 6, 7, 8, 9, 16, 17, 35))
_MOSES_RING = 8


def passes_moses(mol: Chem.Mol) -> bool:
    """Whether a molecule keeps the rules by which those of MOSES were chosen.

    The elements C, N, S, O, F, Cl and Br, no charge, rings of at most seven atoms, none of PAINS and, where
    `moses_patterns` knows them, none of its own patterns.

    References:
        Polykovskiy et al. 2020, "Molecular sets (MOSES): a benchmarking platform for molecular generation models".
    """
    atoms = atoms_of(mol)
    return (
        all(atom.GetAtomicNum() in _MOSES_ELEMENTS and not atom.GetFormalCharge() for atom in atoms)
        and all(len(ring) < _MOSES_RING for ring in mol.GetRingInfo().AtomRings())
        and not _catalogue("pains").HasMatch(mol)
        and not any(mol.HasSubstructMatch(pattern) for pattern in moses_patterns())
    )


def passes_moses_all(texts: list[str]) -> list[bool]:
    """`passes_moses` of each SMILES; what the child processes run."""
    with rdBase.BlockLogs():
        mols = [Chem.MolFromSmiles(text) for text in texts]
        return [mol is not None and passes_moses(mol) for mol in mols]


@lru_cache(maxsize=1)
def moses_patterns() -> tuple[Chem.Mol, ...]:
    """The medicinal chemistry filters of MOSES, out of its package ``molsets`` where that is installed; else none."""
    try:
        files = importlib.metadata.files("molsets") or []
    except importlib.metadata.PackageNotFoundError:
        return ()
    table = next((file for file in files if file.name == "mcf.csv"), None)
    if table is None:
        return ()
    rows = csv.DictReader(str(table.read_text(encoding="utf-8")).splitlines())
    return tuple(Chem.MolFromSmarts(row["smarts"]) for row in rows)


@lru_cache(maxsize=len(_CATALOGUES))
def _catalogue(name: str) -> FilterCatalog:
    params = FilterCatalogParams()
    params.AddCatalog(getattr(FilterCatalogParams.FilterCatalogs, _CATALOGUES[name]))
    return FilterCatalog(params)
