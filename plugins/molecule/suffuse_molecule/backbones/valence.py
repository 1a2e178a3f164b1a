"""What RDKit says of an atom with bonds of a given total order: how many hydrogens it takes, or that it refuses.

The table is asked of RDKit itself, case by case, and not written down: tables of valences in code are where well-known
programs went wrong, and this one stays right for every element, every charge and the next version of RDKit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from rdkit import Chem, rdBase
from torch import Tensor

from suffuse.errors import ConfigError
from suffuse_molecule.graphs import build, code_of

__all__ = ["MOST", "REFUSED", "hydrogens", "valence_table"]

MOST = 8
"""The largest total bond order that is told apart; no element takes more."""

REFUSED = -1
"""In place of a number of hydrogens: the atom cannot have such bonds."""


@lru_cache(maxsize=4096)
def hydrogens(name: str, valence: int) -> int:
    """How many hydrogens RDKit adds to an atom such as ``N+`` whose bonds have this total order, or `REFUSED`.

    Raises:
        ConfigError: it is no name of an atom.
    """
    try:
        center = code_of(name)
    except ValueError as error:
        raise ConfigError(f"a class of the field atoms: {error}") from error
    star = [(0, neighbour, 1) for neighbour in range(1, valence + 1)]
    mol = build([center] + [code_of("F")] * valence, np.array(star, np.int16).reshape(-1, 3))
    with rdBase.BlockLogs():
        try:
            mol.UpdatePropertyCache(strict=True)
        except Chem.AtomValenceException:
            return REFUSED
    return int(mol.GetAtomWithIdx(0).GetTotalNumHs())


def valence_table(names: Sequence[str]) -> Tensor:
    """`hydrogens` of every atom at every total bond order from 0 to `MOST`, ``[K, MOST + 1]``."""
    return torch.tensor([[hydrogens(name, valence) for valence in range(MOST + 1)] for name in names])
