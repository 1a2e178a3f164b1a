"""Files of SMILES: plain lists, CSV, TSV and Parquet, gzip or not, read row by row."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from suffuse.errors import ConfigError, DataError, PluginError, suggest
from suffuse_molecule.data.library import Row
from suffuse_molecule.data.packed import Text, opened

__all__ = ["SmilesTable", "number_in"]

_LONGEST = 100_000
"""Characters of the longest line that is looked at; a hostile one is passed over as too long."""
_LONG = "\0"
_KNOWN = ("smiles", "canonical_smiles", "smile", "structure", "canonicalsmiles", "isosmiles")
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_GAPS = ("", "nan", "na", "n/a", "none", "null")


class SmilesTable:
    """A file with one molecule in a row.

    The kind of the file is told by its name, ``.gz`` aside: ``.csv``, ``.tsv``, ``.parquet``, or else a list: a SMILES
    at the start of each line, and perhaps other columns after blanks.

    Args:
        path: of the file.
        column: of the SMILES; None for the one with a usual name.
        numbers: columns of numbers.
        split_column: which says to which part a molecule belongs.

    Raises:
        DataError: the file is missing, empty or not of its kind.
        ConfigError: there is no such column.
    """

    kind = "smiles"

    def __init__(
        self, path: Path, column: str | None = None, numbers: Sequence[str] = (), split_column: str | None = None
    ) -> None:
        self.path = path
        self.columns = tuple(numbers)
        self.texts: Counter[str] = Counter()
        if not path.is_file():
            raise DataError(f"data.path={path}: no such file")
        names = path.name.lower().removesuffix(".gz")
        self._suffix = next((end for end in (".csv", ".tsv", ".tab", ".parquet") if names.endswith(end)), "")
        header = self._header()
        self._header_lines = 0 if header is None else 1
        known = header or []
        for key, each in (("column", column), *(("numbers", name) for name in numbers), ("split_column", split_column)):
            if each is not None and each not in known:
                has = f"it has {', '.join(known)}" if known else "it has no header"
                raise ConfigError(f"data.{key}={each}: {path} has no such column; {has}{suggest(each, known)}")
        if column is None and known:
            column = next((name for name in known if name.strip().lower() in _KNOWN), None)
            if column is None:  # to take the first would lose a molecule where the header is one
                raise ConfigError(
                    f"data.column: {path} has no column smiles; which of {', '.join(known)} is it? (a list without a "
                    "header is named .smi)"
                )
        self.column = column
        self._split_column = split_column
        self._places = [0 if column is None else known.index(column), *(known.index(name) for name in numbers)]
        self._part = None if split_column is None else known.index(split_column)

    def identity(self) -> Mapping[str, Any]:
        """Which columns are read."""
        return {
            "suffix": self._suffix,
            "column": self.column,
            "numbers": list(self.columns),
            "split_column": self._split_column,
        }

    def rows(self, progress: Callable[[int], None]) -> Iterator[Row]:
        """Every row, with its line number (of a Parquet file, the row's number).

        Raises:
            DataError: the file ends in the middle, or is not of its kind.
        """
        cells = self._parquet(progress) if self._suffix == ".parquet" else self._lines(progress)
        self.texts.clear()
        for line, row in cells:
            if not row or row == [""]:
                continue
            text = row[self._places[0]] if self._places[0] < len(row) else ""
            numbers = tuple(
                number_in(row[place] if place < len(row) else "", name, self.texts)
                for place, name in zip(self._places[1:], self.columns, strict=True)
            )
            part = row[self._part] if self._part is not None and self._part < len(row) else ""
            yield Row(line, "x" * _LONGEST if row[0] == _LONG else str(text or "").strip(), numbers, str(part))

    def _header(self) -> list[str] | None:
        if self._suffix == ".parquet":
            return [str(name) for name in self._parquet_file().schema_arrow.names]
        first = next(self._cells(lambda position: None), None)
        if first is None:
            raise DataError(f"data.path={self.path}: the file is empty")
        named = any(cell.strip().lower() in _KNOWN for cell in first[1])
        return [cell.strip() for cell in first[1]] if self._suffix or named else None

    def _lines(self, progress: Callable[[int], None]) -> Iterator[tuple[int, list[str]]]:
        cells = self._cells(progress)
        for _ in range(self._header_lines):
            next(cells, None)
        return cells

    def _cells(self, progress: Callable[[int], None]) -> Iterator[tuple[int, list[str]]]:
        try:
            with opened(self.path) as text:
                lines = _short(text, progress)
                if self._suffix in _DELIMITERS:
                    reader = csv.reader(lines, delimiter=_DELIMITERS[self._suffix])
                    for row in reader:
                        yield reader.line_num, row
                else:
                    for number, line in enumerate(lines, 1):
                        yield number, line.rstrip("\n").split("\t") if "\t" in line else line.split()
        except csv.Error as error:
            raise DataError(f"data.path={self.path}: cannot be read to its end ({error})") from error

    def _parquet_file(self) -> Any:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise PluginError(
                f'data.path={self.path}: Parquet needs pyarrow: pip install "suffuse[molecule]"'
            ) from error
        try:
            return pyarrow.parquet.ParquetFile(self.path)
        except (OSError, pyarrow.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"data.path={self.path}: not a Parquet file ({reason})") from error

    def _parquet(self, progress: Callable[[int], None]) -> Iterator[tuple[int, list[Any]]]:
        """Every row; columns that nobody asked for are not read, and empty."""
        file = self._parquet_file()
        names = list(file.schema_arrow.names)
        places = sorted({*self._places, *(() if self._part is None else (self._part,))})
        size, number = self.path.stat().st_size, 0
        batches = file.iter_batches(batch_size=4096, columns=[names[place] for place in places])
        while (batch := self._next(batches)) is not None:
            columns = [batch.column(names[place]).to_pylist() for place in places]
            for values in zip(*columns, strict=True):
                number += 1
                row: list[Any] = [""] * len(names)
                for place, value in zip(places, values, strict=True):
                    row[place] = value
                yield number, row
            progress(size * number // file.metadata.num_rows)

    def _next(self, batches: Iterator[Any]) -> Any:
        import pyarrow

        try:
            return next(batches, None)
        except (OSError, pyarrow.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"data.path={self.path}: cannot be read to its end ({reason})") from error


def _short(text: Text, progress: Callable[[int], None]) -> Iterator[str]:
    """The lines, none of them endless."""
    while line := text.line(_LONGEST):
        if len(line) == _LONGEST and not line.endswith("\n"):
            while line and not line.endswith("\n"):
                line = text.line(_LONGEST)
            line = f"{_LONG}\n"
        progress(text.tell())
        yield line


def number_in(cell: Any, name: str, texts: Counter[str]) -> float:
    """The number in a cell, NaN for a gap; text is a gap too, and counted in ``texts`` under the column's name."""
    if cell is None or str(cell).strip().lower() in _GAPS:
        return math.nan
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.inf
    if math.isinf(value):
        texts[name] += 1
        return math.nan
    return value
