"""Crystals in a table: a CSV file with a CIF in each row."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from suffuse.data import DataSource
from suffuse.errors import ConfigError, DataError
from suffuse.tables import check_column
from suffuse_crystal.data.library import Preparing, Row
from suffuse_crystal.data.source import Count, Place, read_splits
from suffuse_crystal.data.splits import CrystalSplit, Rule
from suffuse_crystal.data.standard import Standard

__all__ = ["Table"]

_CHUNK = 512


class Table(DataSource):
    """A CSV file with a column of CIF texts, as CDVAE and others publish their sets.

    Args:
        path: of the file.
        column: of the CIF texts.
        numbers: columns that become conditions as numbers, such as energies and band gaps; empty cells are missing.
        classes: columns that become conditions as classes.
        descriptors: computed ones that become conditions.
        min_sites, max_sites: atoms in the cell; crystals with fewer or more are left out.
        elements: crystals with others are left out; empty for all.
        primitive: whether a cell that repeats itself is cut down to a primitive one.
        niggli: whether cells are reduced to that of Niggli.
        split: ``random``, ``formula`` (crystals of one formula stay together), or ``given``.
        split_column: of a given split: ``train``, or anything else for held out.
        heldout_path: of a given split: the file of held-out crystals, with the same columns.
        heldout: the share that training never sees, where the split is not given.
        cache_dir: where prepared crystals lie; None for the user's own folder of caches.
        processes: that prepare them; None is one for each core, 0 none but the main one.
        max_bad_share: the share of unreadable crystals that is left out; more is an error.
    """

    train: CrystalSplit
    heldout: CrystalSplit

    def __init__(
        self,
        *,
        path: Place,
        column: str = "cif",
        numbers: Sequence[str] = (),
        classes: Sequence[str] = (),
        descriptors: Sequence[str] = (),
        min_sites: Count = 1,
        max_sites: Count = 20,
        elements: Sequence[str] = (),
        primitive: bool = True,
        niggli: bool = True,
        split: Rule = "random",
        split_column: str | None = None,
        heldout_path: Place | None = None,
        heldout: float = 0.1,
        cache_dir: Place | None = None,
        processes: int | None = None,
        max_bad_share: float = 0.1,
    ) -> None:
        kept = {"numbers": numbers, "classes": classes, "split_column": [split_column] if split_column else []}
        paths = [("path", path), *([("heldout_path", heldout_path)] if heldout_path is not None else [])]
        if heldout_path is not None and split_column is not None:
            raise ConfigError("data.split_column and data.heldout_path both say what is held out; leave one of them")
        self.train, self.heldout = read_splits(
            [_Rows(Path(file), key, column, kept) for key, file in paths],
            Standard(
                min_sites=min_sites, max_sites=max_sites, elements=tuple(elements), primitive=primitive, niggli=niggli
            ),
            Preparing(cache_dir=cache_dir, processes=processes, max_bad_share=max_bad_share),
            split=split,
            split_column=split_column,
            heldout=heldout,
            numbers=numbers,
            classes=classes,
            descriptors=descriptors,
        )


class _Rows:
    """The rows of one file.

    Args:
        path, key: of the file, and the setting that names it.
        column: of the CIF texts.
        kept: other columns, by the setting that names them.
    """

    def __init__(self, path: Path, key: str, column: str, kept: Mapping[str, Sequence[str]]) -> None:
        self.path, self.key, self.column = path, key, column
        self.origin = f"data.{key}={path}"
        self.columns = tuple(dict.fromkeys(name for names in kept.values() for name in names))
        if not path.is_file():
            raise DataError(f"{self.origin}: no such file")
        header = [str(name) for name in next(self._chunks()).columns]
        check_column(column, header, "column", str(path))
        for setting, names in kept.items():
            for name in names:
                check_column(name, header, setting, str(path))

    def identity(self) -> Mapping[str, Any]:
        with self.path.open("rb") as stream:
            return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "column": self.column}

    def count(self) -> int:
        return sum(map(len, self._chunks([self.column])))

    def rows(self) -> Iterator[Row]:
        number = 0
        for chunk in self._chunks():
            for cells in chunk.to_dict("records"):
                number += 1
                facts = {name: str(cells[name]).strip() for name in self.columns}
                yield Row(f"row {number}", str(cells[self.column]), "cif", facts)

    def _chunks(self, columns: Sequence[str] | None = None) -> Iterator[pandas.DataFrame]:
        options: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding_errors": "replace"}
        try:
            with pandas.read_csv(self.path, chunksize=_CHUNK, usecols=columns, **options) as reader:
                yield from reader
        except (OSError, EOFError, ValueError, zlib.error) as error:  # what pandas raises is a ValueError
            reason = str(error).splitlines()[0]
            raise DataError(f"{self.origin}: cannot be read as CSV ({reason})") from error
