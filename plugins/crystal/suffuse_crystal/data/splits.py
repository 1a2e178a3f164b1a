"""The two parts of a source of crystals, and what is known of each crystal as conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from suffuse.conditions import Condition
from suffuse.data import Batch, Item, Split
from suffuse.errors import ConfigError, DataError
from suffuse.splits import check_choice, check_share, held_out_by_key
from suffuse.tables import conditions_of
from suffuse_crystal.cells import Cells, structure_of
from suffuse_crystal.data.library import Library
from suffuse_crystal.descriptors import CLASSES, NUMBERS

__all__ = ["CrystalSplit", "Rule", "split_libraries"]

Rule: TypeAlias = Literal["random", "formula", "given"]
"""How crystals are held out."""
_TRAINING = ("train", "training")


class CrystalSplit(Split):
    """Some crystals of a library.

    Args:
        library: of prepared crystals.
        rows: those that belong to this split.
        elements: atomic numbers of the data, of this split and of others.
        conditions: what is known of them.
        columns: for each condition a value for each row of this split, None where it is missing.
    """

    def __init__(
        self,
        *,
        library: Library,
        rows: NDArray[np.int64],
        elements: Sequence[int],
        conditions: Mapping[str, Condition],
        columns: Mapping[str, Sequence[Any]],
    ) -> None:
        self.library = library
        self.elements = tuple(elements)
        self.conditions = dict(conditions)
        self._rows = np.asarray(rows, np.int64)
        self._columns = columns

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item:
        (cell,) = self.cells([index])
        known = {name: values[index] for name, values in self._columns.items() if values[index] is not None}
        return Item(structure_of(*cell), known)

    def sizes(self) -> list[int]:
        """Atoms in the cell of each crystal."""
        sizes: list[int] = self.library.counts[self._rows].tolist()
        return sizes

    def gather(self, indices: Sequence[int], rngs: Sequence[np.random.Generator] | None = None) -> Batch:
        """``values`` is `Cells`. In training each is turned inside out or not, which its energy does not notice."""
        cells = self.cells(indices)
        if rngs is not None:
            signs = np.array([1.0 if rng.random() < 0.5 else -1.0 for rng in rngs])
            turned = cells.positions * np.repeat(signs, cells.counts)[:, None]
            cells = Cells(cells.numbers, turned, cells.counts, cells.lattices)
        known = [{name: values[int(i)] for name, values in self._columns.items()} for i in indices]
        return Batch(cells, self.collate(known))

    def cells(self, indices: Sequence[int] | NDArray[np.int64]) -> Cells:
        """Some crystals, without their conditions."""
        return self.library.cells(self._rows[np.asarray(indices, np.int64)])

    def descriptors(self, name: str) -> list[str]:
        """One of the descriptors of each crystal, as text."""
        values = self.library.descriptors[name]
        return [values[row] for row in self._rows.tolist()]


def split_libraries(
    library: Library,
    other: Library | None,
    *,
    split: Rule,
    split_column: str | None,
    heldout: float,
    classes: Sequence[str],
    numbers: Sequence[str],
    descriptors: Sequence[str],
) -> tuple[CrystalSplit, CrystalSplit]:
    """The training part and the held-out part.

    Args:
        library, other: of the data, and of a file of held-out crystals if there is one.
        split: ``random``, ``formula`` (crystals of one formula stay together), or ``given``.
        split_column: of a given split: ``train``, or anything else for held out.
        heldout: the share that is held out where the data do not say it.
        classes, numbers: columns that become conditions.
        descriptors: that become conditions.

    Raises:
        ConfigError: an unknown descriptor, a split that the data do not give, two conditions of one name.
        DataError: a part is empty, or a column of numbers holds text.
    """
    for name in descriptors:
        check_choice("descriptors", name, (*CLASSES, *NUMBERS))
    held = _held_out(library, other, split, split_column, check_share(heldout))
    every = np.arange(len(library))
    parts = [(library, every[~held]), (library, every[held]) if other is None else (other, np.arange(len(other)))]
    if not len(parts[0][1]):
        raise DataError(f"{library.summary['origin']}: no crystal is left to train on; see data.split and data.heldout")
    known = [facts for each, rows in parts for facts in _known(each, rows)]
    conditions, columns = conditions_of(
        known,
        [*classes, *(name for name in descriptors if name in CLASSES)],
        [*numbers, *(name for name in descriptors if name in NUMBERS)],
        np.arange(len(parts[0][1])),
        names=[facts["formula"] for facts in known],
        origin=str(library.summary["origin"]),
        what="crystal",
    )
    elements = sorted({number for each, _ in parts for number in each.elements})
    middle = len(parts[0][1])
    train, held_out = (
        CrystalSplit(
            library=each,
            rows=rows,
            elements=elements,
            conditions=conditions,
            columns={name: values[place] for name, values in columns.items()},
        )
        for (each, rows), place in zip(parts, (slice(middle), slice(middle, None)), strict=True)
    )
    return train, held_out


def _held_out(
    library: Library, other: Library | None, split: Rule, split_column: str | None, share: float
) -> NDArray[np.bool_]:
    if other is not None:
        return np.zeros(len(library), bool)
    if split == "given":
        if split_column is None:
            raise ConfigError("data.split=given needs data.split_column or data.heldout_path")
        return np.array([word.lower() not in _TRAINING for word in library.facts[split_column]])
    if split == "formula":
        return held_out_by_key(library.descriptors["formula"], share)
    return held_out_by_key(library.keys, share)


def _known(library: Library, rows: NDArray[np.int64]) -> list[dict[str, str]]:
    both = {**library.descriptors, **library.facts}
    return [{name: values[row] for name, values in both.items()} for row in rows.tolist()]
