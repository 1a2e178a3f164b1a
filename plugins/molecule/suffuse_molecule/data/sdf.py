"""Molecules of SDF files, in two dimensions or three; the graph is what is read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from suffuse.data import DataSource
from suffuse.errors import ConfigError, DataError, suggest
from suffuse.fitting import Range
from suffuse_molecule.data.library import Preparing, Row
from suffuse_molecule.data.packed import opened
from suffuse_molecule.data.source import read_splits
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.data.standard import Standard
from suffuse_molecule.data.tables import number_in

__all__ = ["Sdf", "SdfTable"]

Count = Annotated[int, Range(least=1)]

_LONGEST = 2_000_000
"""Characters of the longest record that is looked at."""
_FIELD = re.compile(r">.*<(.+)>")


class SdfTable:
    """The records of an SDF file, gzip or not.

    Args:
        path: of the file.
        numbers: data fields that are numbers.
        split_column: the data field that says to which part a molecule belongs.

    Raises:
        DataError: the file is missing or empty.
        ConfigError: none of the first hundred records has such a field.
    """

    kind = "sdf"

    def __init__(self, path: Path, numbers: Sequence[str] = (), split_column: str | None = None) -> None:
        self.path = path
        self.columns = tuple(numbers)
        self.texts: Counter[str] = Counter()
        self._split_column = split_column
        if not path.is_file():
            raise DataError(f"data.path={path}: no such file")
        first = list(islice(self._records(lambda position: None), 100))
        if not first:
            raise DataError(f"data.path={path}: the file is empty")
        known = sorted({name for _, text in first for name in _fields(text)})
        for key, name in (*(("numbers", each) for each in numbers), ("split_column", split_column)):
            if name is not None and name not in known:
                has = f"they have {', '.join(known)}" if known else "they have none"
                raise ConfigError(
                    f"data.{key}={name}: none of the first {len(first)} records of {path} has such a field; {has}"
                    f"{suggest(name, known)}"
                )

    def identity(self) -> Mapping[str, Any]:
        """Which fields are read."""
        return {"suffix": "sdf", "numbers": list(self.columns), "split_column": self._split_column}

    def rows(self, progress: Callable[[int], None]) -> Iterator[Row]:
        """Every record, with the number of its first line.

        Raises:
            DataError: the file ends in the middle.
        """
        self.texts.clear()
        for line, text in self._records(progress):
            fields = _fields(text)
            numbers = tuple(number_in(fields.get(name), name, self.texts) for name in self.columns)
            yield Row(line, text.partition("M  END")[0] + "M  END\n", numbers, fields.get(self._split_column or "", ""))

    def _records(self, progress: Callable[[int], None]) -> Iterator[tuple[int, str]]:
        with opened(self.path) as text:
            first, size, lines = 1, 0, list[str]()
            for number, line in enumerate(iter(partial(text.line, _LONGEST), ""), 1):  # a line may be endless
                if line.startswith("$$$$"):
                    progress(text.tell())
                    yield first, "".join(lines)
                    first, size, lines = number + 1, 0, []
                elif (size := size + len(line)) < _LONGEST:
                    lines.append(line)
            if size >= _LONGEST or any(line.strip() for line in lines):
                yield first, "".join(lines)


def _fields(text: str) -> dict[str, str]:
    """The data fields of a record: the first line of each."""
    found = {}
    lines = text.partition("M  END")[2].split("\n")
    for line, after in zip(lines, lines[1:], strict=False):
        if match := _FIELD.match(line):
            found[match[1]] = after.strip()
    return found


class Sdf(DataSource):
    """An SDF file, gzip or not. Positions are not used: a molecule is its graph.

    Args:
        path: of the file.
        numbers: data fields that become conditions; a record without one, or with text in it, has a missing value.
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
        split_column: of a given split, the data field: ``train``, ``ignore``, or anything else for held out.
        heldout_path: of a given split: the file of held-out molecules.
        heldout: the share that training never sees, where the split is not given.
        cache_dir: where prepared molecules lie; None for the user's own folder of caches.
        processes: that prepare them; None is one for each core, 0 works in this process, without protection from
            molecules that hang or crash RDKit.
        seconds: of work that one molecule may take.
        max_bad_share: the share of unreadable records that is left out; more is an error.

    Raises:
        DataError: the file cannot be read, or nothing is left of it.
        ConfigError: a setting or a field does not exist.
    """

    train: MoleculeSplit
    heldout: MoleculeSplit

    def __init__(
        self,
        *,
        path: str | Path,
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
        tables = [SdfTable(Path(path).expanduser(), columns, split_column)]
        if heldout_path is not None:
            tables.append(SdfTable(Path(heldout_path).expanduser(), columns))
        self.train, self.heldout = read_splits(tables, standard, preparing, split, heldout, descriptors)
