"""PoseBusters (extra ``posebusters``): whether a molecule can be built in space without bad geometry."""

from __future__ import annotations

import logging
from functools import lru_cache

from posebusters import PoseBusters
from rdkit import Chem, rdBase

from suffuse_molecule.scoring import fold

__all__ = ["failed", "failed_all"]


def failed_all(texts: list[str]) -> list[tuple[str, ...]]:
    """What a conformer of each SMILES fails, ``not embedded`` where none is found; what the child processes run."""
    with rdBase.BlockLogs():
        found = [fold(Chem.MolFromSmiles(text)) for text in texts]
        return [failed(block) if block else (word,) for word, block in found]


def failed(block: str) -> tuple[str, ...]:
    """The names of the checks that a MOL block with hydrogens does not pass, those that cannot be made too.

    References:
        Buttenschoen et al. 2024, "PoseBusters".
    """
    row = _checks().bust([Chem.MolFromMolBlock(block, removeHs=False)]).iloc[0]
    return tuple(row.index[~row.isin([True])])


@lru_cache(maxsize=1)
def _checks() -> PoseBusters:
    logging.getLogger("posebusters").setLevel(logging.ERROR)  # its warnings are the failed checks once more
    checks = PoseBusters("mol")
    for module in checks.config["modules"]:
        if module["function"] == "energy_ratio":
            module.setdefault("parameters", {})["num_threads"] = 1  # else all cores, in each worker
    return checks
