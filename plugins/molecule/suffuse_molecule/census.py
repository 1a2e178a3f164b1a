"""Draws among each other: which is a copy of which, what is new, which is best, and how many there are of each kind."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from suffuse.conditions import Span
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.molecule import key_of
from suffuse_molecule.page import COMPARED
from suffuse_molecule.parts import Row, read_parts
from suffuse_molecule.scoring import Asked

__all__ = ["Census", "Tally", "take_census"]


class Census(NamedTuple):
    """What each draw is among the others, ``[N]`` each.

    Args:
        samples: their numbers.
        first: the place of the first draw of the same molecule; its own for what is no molecule.
        novel: whether no training molecule is the same; nowhere where there are none to be had.
        order: its place among distinct valid molecules, the best first; -1 for all else.
        known: whether there are training molecules.
        valid: whether it is a molecule.
    """

    samples: NDArray[np.int64]
    first: NDArray[np.int64]
    novel: NDArray[np.bool_]
    order: NDArray[np.int64]
    known: bool
    valid: NDArray[np.bool_]

    def mark(self, place: int, row: Row) -> None:
        """Set ``duplicate_of`` and ``novel`` of the draw at a place."""
        first = int(self.first[place])
        row["duplicate_of"] = None if first == place else int(self.samples[first])
        row["novel"] = bool(self.novel[place]) if self.known and self.valid[place] else None


def take_census(paths: Sequence[Path], train: MoleculeSplit | None, rank: str) -> Census:
    """Read all parts for a few numbers of each draw.

    Args:
        paths: of the parts.
        train: molecules that are not new.
        rank: a column by which molecules are ordered, highest first, or lowest first with a minus before it.
    """
    name = rank.removeprefix("-")
    samples, keys, valid, numbers = array("q"), array("Q"), array("b"), array("d")
    for row in read_parts(paths, ["sample", "valid", "smiles", *filter(None, [name])]):
        samples.append(row["sample"])
        keys.append(key_of(row["smiles"] or ""))
        valid.append(row["valid"])
        found = row[name] if name else None
        numbers.append(math.nan if found is None else found)
    hashes, good = np.asarray(keys, np.uint64), np.asarray(valid, np.bool_)
    first = np.arange(len(good))
    places = np.flatnonzero(good)
    _, begins, inverse = np.unique(hashes[places], return_index=True, return_inverse=True)
    first[places] = places[begins[inverse]]
    distinct = places[first[places] == places]
    values = np.asarray(numbers)[distinct] * (1 if rank.startswith("-") else -1)
    order = np.full(len(good), -1)
    order[distinct[np.argsort(values, kind="stable")]] = np.arange(len(distinct))  # what has no number comes last
    novel = good & ~np.isin(hashes, train.keys()) if train is not None else np.zeros(len(good), np.bool_)
    return Census(np.asarray(samples, np.int64), first, novel, order, train is not None, good)


class Tally:
    """Counts draws as they come; ``scaffolds`` and ``numbers``, descriptors, are of distinct molecules.

    Args:
        looked: for what.
    """

    def __init__(self, looked: Asked) -> None:
        self._looked = looked
        self._counts = Counter[str]()
        self._by = {name: Counter[str]() for name in ("reasons", "alerts", "conformers")}
        self._isomers = Counter[int]()
        self._asked: dict[str, array[float]] = {}
        self.scaffolds = Counter[str]()
        self.numbers = {name: array("d") for name in COMPARED}

    def add(self, row: Row, distinct: bool) -> None:
        """One more draw."""
        self._counts["draws"] += 1
        if not row["valid"]:
            self._by["reasons"][row["reason"]] += 1
            return
        self._counts["valid"] += 1
        for column in row:
            if column.startswith("asked_"):
                wanted, achieved = row[column], row.get(column.removeprefix("asked_"))
                pairs = self._asked.setdefault(column.removeprefix("asked_"), array("d"))
                if wanted is not None and achieved is not None:
                    pairs.extend((wanted, achieved))
        if distinct:
            self._add_distinct(row)

    def _add_distinct(self, row: Row) -> None:
        self._counts["distinct"] += 1
        self._counts["passing"] += bool(row["passes"])
        self._by["alerts"].update(row["alerts"] or ())
        self._by["conformers"][row["conformer"] or ""] += 1
        if row["stereoisomers"] is not None:
            self._isomers[row["stereoisomers"]] += 1
        if row["scaffold"]:
            self.scaffolds[row["scaffold"]] += 1
        for name, numbers in self.numbers.items():
            if row[name] is not None:
                numbers.append(row[name])

    def summary(self) -> dict[str, Any]:
        """What became of them, in numbers."""
        counts = {name: self._counts[name] for name in ("draws", "valid", "distinct")}
        summary: dict[str, Any] = {**counts, "reasons": dict(self._by["reasons"].most_common())}
        if self._looked.filters:
            summary["passing"] = self._counts["passing"]
            summary["alerts"] = dict(self._by["alerts"].most_common(50))
        if self._looked.conformers:
            summary["conformers"] = dict(self._by["conformers"].most_common())
        if self._looked.isomers:
            summary["stereoisomers"] = {
                "listed": sum(count * times for count, times in self._isomers.items()),
                "molecules": self._isomers.total(),
                "several": sum(times for count, times in self._isomers.items() if count > 1),
                "at_limit": self._isomers[self._looked.isomers],
            }
        spans = {name: Span(low, high) for name, low, high in self._looked.spans}
        summary["asked"] = {
            name: _achieved(pairs, spans.get(name)) for name, pairs in self._asked.items() if len(pairs)
        }
        return summary


def _achieved(pairs: array[float], span: Span | None) -> dict[str, Any]:
    """The range that was asked for, or that of the values, and how near the molecules are."""
    wanted, achieved = np.asarray(pairs).reshape(-1, 2).T
    asked = Span(float(wanted.min()), float(wanted.max())) if span is None else span
    found: dict[str, Any] = {"asked": str(asked), "mae": float(np.abs(achieved - wanted).mean())}
    if span is not None:
        found["within"] = float(((span.low <= achieved) & (achieved <= span.high)).mean())
    return found
