"""Crystals in files: CIF, POSCAR and extxyz in a folder or a zip archive."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from suffuse.data import DataSource
from suffuse.errors import DataError
from suffuse.files import Files, common_folder, open_files
from suffuse.splits import check_choice
from suffuse.tables import check_column, read_table
from suffuse_crystal.data.library import Preparing, Row
from suffuse_crystal.data.source import Count, Place, read_splits
from suffuse_crystal.data.splits import CrystalSplit, Rule
from suffuse_crystal.data.standard import SUFFIXES, Standard, kind_of

__all__ = ["Folder"]


class Folder(DataSource):
    """The files ``.cif``, ``.vasp``, ``.poscar``, ``.extxyz`` and those named POSCAR or CONTCAR, at every depth.

    An extxyz file may hold many crystals. What is known of a crystal comes from a table, or from the second line of its
    extxyz frame.

    Args:
        path: of the folder or a zip archive.
        labels: a CSV or JSONL table whose rows name files.
        numbers: columns, or keys of extxyz frames, that become conditions as numbers.
        classes: columns or keys that become conditions as classes.
        descriptors: computed ones that become conditions.
        min_sites, max_sites: atoms in the cell; crystals with fewer or more are left out.
        elements: crystals with others are left out; empty for all.
        primitive: whether a cell that repeats itself is cut down to a primitive one.
        niggli: whether cells are reduced to that of Niggli.
        split: ``random``, or ``formula`` (crystals of one formula stay together).
        heldout: the share that training never sees.
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
        labels: Place | None = None,
        numbers: Sequence[str] = (),
        classes: Sequence[str] = (),
        descriptors: Sequence[str] = (),
        min_sites: Count = 1,
        max_sites: Count = 20,
        elements: Sequence[str] = (),
        primitive: bool = True,
        niggli: bool = True,
        split: Rule = "random",
        heldout: float = 0.1,
        cache_dir: Place | None = None,
        processes: int | None = None,
        max_bad_share: float = 0.1,
    ) -> None:
        check_choice("split", split, ("random", "formula"))
        files = _Files(Path(path), None if labels is None else Path(labels), (*numbers, *classes))
        self.train, self.heldout = read_splits(
            [files],
            Standard(
                min_sites=min_sites, max_sites=max_sites, elements=tuple(elements), primitive=primitive, niggli=niggli
            ),
            Preparing(cache_dir=cache_dir, processes=processes, max_bad_share=max_bad_share),
            split=split,
            heldout=heldout,
            numbers=numbers,
            classes=classes,
            descriptors=descriptors,
        )


class _Files:
    """The crystals of a folder, file by file.

    Args:
        path: of the folder.
        labels: the table of what is known of them.
        columns: that are kept of it.
    """

    def __init__(self, path: Path, labels: Path | None, columns: Sequence[str]) -> None:
        self.origin = f"data.path={path}"
        self.columns = tuple(dict.fromkeys(columns))
        self.files: Files = open_files(path, (*SUFFIXES, ""), "crystal")
        self.names = [name for name in self.files.names if kind_of(name) is not None]
        if not self.names:
            raise DataError(f"{self.origin}: no crystals in it (looked for {', '.join(SUFFIXES)} and POSCAR)")
        self._known: list[Mapping[str, str]] = [{}] * len(self.names)
        if labels is not None:
            table = read_table(labels, None)
            for column in self.columns:
                check_column(column, table.columns, "numbers or data.classes", str(labels))
            found, notices = table.align(self.names, common_folder(self.names), "crystal")
            self._known = list(found)
            for notice in notices:
                print(notice, file=sys.stderr)

    def identity(self) -> Mapping[str, Any]:
        stamps = [self.files.stamp(name) for name in self.names]
        known = [[facts.get(column, "") for column in self.columns] for facts in self._known]
        return {"names": self.names, "stamps": stamps, "known": known}

    def count(self) -> int:
        return len(self.names)

    def rows(self) -> Iterator[Row]:
        for name, facts in zip(self.names, self._known, strict=True):
            kind = str(kind_of(name))
            try:
                text = self.files.read(name).decode("utf-8", "replace")
            except DataError:
                yield Row(name, "", kind, {})
                continue
            if kind != "extxyz":
                yield Row(name, text, kind, facts)
                continue
            for number, frame in enumerate(_frames(text), 1):
                yield Row(f"{name} frame {number}", frame, kind, facts)


def _frames(text: str) -> Iterator[str]:
    """The frames of an extxyz file; what follows a line that is no number of atoms is one frame, which will not do."""
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        head = lines[place].strip()
        if not head:
            place += 1
            continue
        count = int(head) if head.isdigit() and len(head) < 8 else len(lines)
        yield "\n".join(lines[place : place + count + 2]) + "\n"
        place += count + 2
