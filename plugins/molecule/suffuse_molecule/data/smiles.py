"""A person's own molecules: a file of SMILES of any size, with any number of columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from suffuse.data import DataSource
from suffuse.fitting import Range
from suffuse_molecule.data.library import Preparing
from suffuse_molecule.data.source import read_splits
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.data.standard import Standard
from suffuse_molecule.data.tables import SmilesTable

__all__ = ["Smiles"]

Count = Annotated[int, Range(least=1)]


class Smiles(DataSource):
    """A CSV, TSV or Parquet file, or a plain list of SMILES, gzip or not.

    Molecules are prepared once, in parallel, and kept in a cache; a second run with the same file and rules starts at
    once. What is left out is counted by reason in the cache's ``preprocess.json`` and named by line in ``rejects.tsv``.

    Args:
        path: of the file.
        column: of the SMILES; None for the one with a usual name, such as ``smiles``.
        numbers: columns that become conditions; an empty cell, or text, is a missing value.
        min_atoms, max_atoms: of the molecules that are taken.
        elements: others are left out with their molecules; empty for all.
        salts: ``reject`` what has several fragments, or take the ``largest``.
        charges: ``keep``, ``neutralise``, or ``reject`` a net charge.
        isotopes: ``drop`` the marks, or ``reject``.
        stereo: ``drop`` the marks, which the graph has no place for, or ``reject``.
        hydrogens: ``implicit``, or ``explicit`` as atoms of the graph.
        min_count: atom kinds seen in fewer molecules are left out with them.
        descriptors: that become conditions, such as ``[logp, qed]``.
        split: ``random``, ``scaffold`` (molecules with one Bemis-Murcko scaffold stay together), or ``given``.
        split_column: of a given split: ``train``, ``ignore``, or anything else for held out.
        heldout_path: of a given split: the file of held-out molecules, with the same columns.
        heldout: the share that training never sees, where the split is not given.
        cache_dir: where prepared molecules lie; None for the user's own folder of caches.
        processes: that prepare them; None is one for each core, 0 works in this process, without protection from
            molecules that hang or crash RDKit.
        seconds: of work that one molecule may take.
        max_bad_share: the share of unreadable rows that is left out; more is an error.

    Raises:
        DataError: the file cannot be read, or nothing is left of it.
        ConfigError: a setting or a column does not exist.
    """

    train: MoleculeSplit
    heldout: MoleculeSplit

    def __init__(
        self,
        *,
        path: str | Path,
        column: str | None = None,
        numbers: Sequence[str] | str = (),
        min_atoms: Count = 1,
        max_atoms: Count = 64,
        elements: Sequence[str] = (),
        salts: Literal["reject", "largest"] = "reject",
        charges: Literal["keep", "neutralise", "reject"] = "keep",
        isotopes: Literal["drop", "reject"] = "drop",
        stereo: Literal["drop", "reject"] = "drop",
        hydrogens: Literal["implicit", "explicit"] = "implicit",
        min_count: Count = 1,
        descriptors: Sequence[str] | str = (),
        split: Literal["random", "scaffold", "given"] = "random",
        split_column: str | None = None,
        heldout_path: str | Path | None = None,
        heldout: float = 0.1,
        cache_dir: str | Path | None = None,
        processes: int | None = None,
        seconds: float = 2.0,
        max_bad_share: float = 0.1,
    ) -> None:
        standard = Standard(
            min_atoms=min_atoms,
            max_atoms=max_atoms,
            elements=tuple(elements),
            salts=salts,
            charges=charges,
            isotopes=isotopes,
            stereo=stereo,
            hydrogens=hydrogens,
        )
        preparing = Preparing(
            cache_dir=cache_dir,
            processes=processes,
            seconds=seconds,
            min_count=min_count,
            max_bad_share=max_bad_share,
        )
        columns = (numbers,) if isinstance(numbers, str) else tuple(numbers)
        tables = [SmilesTable(Path(path).expanduser(), column, columns, split_column)]
        if heldout_path is not None:
            tables.append(SmilesTable(Path(heldout_path).expanduser(), column, columns))
        self.train, self.heldout = read_splits(tables, standard, preparing, split, heldout, descriptors)
