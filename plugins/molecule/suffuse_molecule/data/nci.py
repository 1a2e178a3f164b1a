"""The embedded data: real molecules of the National Cancer Institute that come inside RDKit; nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from rdkit import RDConfig

from suffuse.data import DataSource
from suffuse.errors import DataError
from suffuse.fitting import Range
from suffuse_molecule.data.library import Preparing
from suffuse_molecule.data.source import read_splits
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.data.standard import Standard
from suffuse_molecule.data.tables import SmilesTable

__all__ = ["Nci"]

Count = Annotated[int, Range(least=1)]


class Nci(DataSource):
    """Small organic molecules, as a list of 4,999 SMILES.

    Source: the first 5,000 of the open database of the National Cancer Institute, as RDKit's ``Data/NCI/first_5K.smi``.

    Args:
        max_atoms: larger molecules are left out.
        elements: others are left out with their molecules; empty for all.
        salts: ``reject`` what has several fragments, or take the ``largest``.
        charges: ``keep``, ``neutralise``, or ``reject`` a net charge.
        hydrogens: ``implicit``, or ``explicit`` as atoms of the graph.
        min_count: atom kinds seen in fewer molecules are left out with them.
        descriptors: that become conditions, such as ``[logp, qed]``.
        split: ``random``, or ``scaffold``, where molecules with one Bemis-Murcko scaffold stay together.
        heldout: the share that training never sees.
        cache_dir: where prepared molecules lie; None for the user's own folder of caches.
        processes: that prepare them; None is one for each core.
    """

    train: MoleculeSplit
    heldout: MoleculeSplit

    def __init__(
        self,
        *,
        max_atoms: Count = 16,
        elements: Sequence[str] = ("C", "N", "O", "F", "S", "Cl", "Br", "P", "I"),
        salts: Literal["reject", "largest"] = "reject",
        charges: Literal["keep", "neutralise", "reject"] = "keep",
        hydrogens: Literal["implicit", "explicit"] = "implicit",
        min_count: Count = 1,
        descriptors: Sequence[str] | str = (),
        split: Literal["random", "scaffold"] = "random",
        heldout: float = 0.1,
        cache_dir: str | Path | None = None,
        processes: int | None = None,
    ) -> None:
        path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
        if not path.is_file():
            raise DataError(f"data=nci: this RDKit comes without its data ({path}); install the rdkit wheel of PyPI")
        standard = Standard(
            max_atoms=max_atoms, elements=tuple(elements), salts=salts, charges=charges, hydrogens=hydrogens
        )
        preparing = Preparing(cache_dir=cache_dir, processes=processes, min_count=min_count)
        self.train, self.heldout = read_splits([SmilesTable(path)], standard, preparing, split, heldout, descriptors)
