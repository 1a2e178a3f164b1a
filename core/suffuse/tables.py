"""What is known of each sample: the columns of a CSV or JSONL manifest, as classes and numbers."""

from __future__ import annotations

import csv
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from suffuse.conditions import ClassLabel, Condition, Scalar
from suffuse.errors import ConfigError, DataError, suggest

__all__ = [
    "Known",
    "Table",
    "check_column",
    "class_labels",
    "column_names",
    "condition_name",
    "conditions_of",
    "gaps_in",
    "number_scale",
    "parse_number",
    "read_table",
    "shorten",
]

Known: TypeAlias = Mapping[str, str]
"""Facts of one sample by column; a gap is missing or empty."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A manifest: ``rows`` by the name of the file, each a mapping from all ``columns`` to text."""

    path: Path
    file_column: str
    columns: tuple[str, ...]
    rows: Mapping[str, Known]

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns but that of the names."""
        return tuple(column for column in self.columns if column != self.file_column)

    def check(self, columns: Sequence[str], key: str) -> None:
        """See `check_column`."""
        for column in columns:
            check_column(column, self.columns, key, str(self.path))

    def align(self, names: Sequence[str], shared: str, what: str) -> tuple[list[Known], list[str]]:
        """The row of each file (empty where it has none), and notices about rows that name no file.

        Args:
            names: of the files.
            shared: the folder that all of them share; rows may name files with or without it.
            what: a noun for one of them in messages, such as ``picture``.

        Raises:
            DataError: no row names any of the files.
        """
        found: list[Known] = []
        used = set()
        for name in names:
            options = (_normal(name), _normal(name.removeprefix(shared)))
            key = next((option for option in options if option in self.rows), None)
            found.append({} if key is None else self.rows[key])
            used.add(key)
        unknown = [name for name in self.rows if name not in used]
        if len(unknown) == len(self.rows):
            example = f"its first row names {unknown[0]!r}" if unknown else "it has no rows"
            raise DataError(f"{self.path}: no row names a {what} ({example}, the first {what} is {names[0]!r})")
        if not unknown:
            return found, []
        return found, [f"{self.path}: {len(unknown)} rows name no {what} and are left out: {shorten(unknown)}"]


def check_column(column: str, known: Sequence[str], key: str, origin: str) -> None:
    """Raises:
    ConfigError: ``origin`` has no such column; the message names ``data.key`` and the columns that it has.
    """
    if column not in known:
        hint = suggest(column, known)
        raise ConfigError(f"data.{key}={column}: {origin} has no such column; it has {', '.join(known)}{hint}")


def column_names(value: Sequence[str] | str) -> tuple[str, ...]:
    """A setting that names columns; one needs no list."""
    return (value,) if isinstance(value, str) else tuple(value)


def shorten(names: Sequence[str], most: int = 3) -> str:
    """The first few names for a message, each in quotes."""
    return ", ".join(map(repr, names[:most])) + (", …" if len(names) > most else "")


def _normal(name: str) -> str:
    """A file's name in one spelling: ``/`` between folders, accents composed (macOS stores them apart)."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/").removeprefix("./"))


def read_table(path: Path, file_column: str | None) -> Table:
    """A CSV file with a header, or a JSONL file of an object a line; names of files are in its first column.

    Args:
        path: of the file, the setting ``data.labels``; JSONL ends in ``.jsonl``, all else is CSV.
        file_column: another column of names.

    Raises:
        DataError: the file is missing, cannot be read as such in UTF-8, or names a file twice.
        ConfigError: there is no such column.
    """
    kind, needed = ("JSONL", "a row") if path.suffix.lower() == ".jsonl" else ("CSV", "a header")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            if kind == "JSONL":
                lines = _json_lines(stream, path)
                columns = tuple(dict.fromkeys(key for line in lines for key in line))
            else:
                reader = csv.DictReader(stream)
                lines = list(reader)
                columns = tuple(reader.fieldnames or ())
    except FileNotFoundError:
        raise DataError(f"data.labels={path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.labels={path}: not a {kind} file in UTF-8 ({error})") from error
    if len(columns) < 2:
        raise DataError(f"data.labels={path}: {needed} with a column of file names and one of labels is needed")
    names = columns[0] if file_column is None else file_column
    rows: dict[str, Known] = {}
    table = Table(path=path, file_column=names, columns=columns, rows=rows)
    table.check([names], "file_column")
    for line in lines:
        row = {column: _text(line.get(column)) for column in columns}
        name = _normal(row[names])
        if name in rows:
            raise DataError(f"{path}: {name!r} has two rows; leave one of them")
        rows[name] = row
    return table


def _json_lines(stream: Iterable[str], path: Path) -> list[dict[str, Any]]:
    lines = []
    for number, text in enumerate(stream, 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"data.labels={path}: line {number} is not JSON ({error})") from error
        if not isinstance(line, dict):
            raise DataError(f"data.labels={path}: line {number} is not an object with names and values")
        lines.append(line)
    return lines


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def class_labels(texts: Sequence[str | None]) -> tuple[ClassLabel, list[int | None]]:
    """Class names in order (by value, where all are whole numbers), and each text's place among them."""
    names = {text for text in texts if text}
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        ordered = sorted(names, key=lambda name: (int(name), name))
    else:
        ordered = sorted(names)
    places = {name: place for place, name in enumerate(ordered)}
    return ClassLabel(tuple(ordered)), [places[text] if text else None for text in texts]


def parse_number(text: str | None, where: str) -> float | None:
    """A number, or None for a gap.

    Raises:
        DataError: it is neither; the message begins with ``where``.
    """
    if text is None or text.lower() in ("", "nan", "na"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise DataError(f"{where} is {text!r}, not a number")
    return value


def number_scale(values: Sequence[float | None], rows: NDArray[np.int64]) -> Scalar:
    """The distribution of the values that are known in ``rows``."""
    return Scalar.of(value for value in (values[row] for row in rows) if value is not None)


def condition_name(column: str) -> str:
    """A column's name as it can be typed after ``condition.``: letters, digits and ``_``."""
    return re.sub(r"\W+", "_", column.strip()).strip("_") or "label"


def conditions_of(
    known: Sequence[Known],
    classes: Sequence[str],
    numbers: Sequence[str],
    train: NDArray[np.int64],
    *,
    names: Sequence[str],
    origin: str,
    what: str,
) -> tuple[dict[str, Condition], dict[str, list[Any]]]:
    """The conditions in some columns, and their value for each sample (None where it is missing).

    Args:
        known: facts of every sample.
        classes: columns that become classes.
        numbers: columns that become numbers, standardised on the ``train`` samples.
        train: rows to train on.
        names: of the samples, for messages.
        origin: of the facts, for messages.
        what: a noun for a sample in messages, such as ``picture``.

    Raises:
        ConfigError: two columns give conditions of one name.
        DataError: a column is empty for all samples, or a cell of a column of numbers is no number.
    """
    keys = [condition_name(column) for column in (*classes, *numbers)]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"data.classes and data.numbers give two conditions of one name: {', '.join(keys)}")
    conditions: dict[str, Condition] = {}
    columns: dict[str, list[Any]] = {}
    for key, column in zip(keys, (*classes, *numbers), strict=True):
        texts = [facts.get(column) for facts in known]
        if not any(texts):
            raise DataError(f"{origin}: the column {column} is empty for every {what}")
        if column in classes:
            conditions[key], columns[key] = class_labels(texts)
        else:
            pairs = zip(texts, names, strict=True)
            values = [parse_number(text, f"{origin}: {column} of {name!r}") for text, name in pairs]
            conditions[key], columns[key] = number_scale(values, train), values
    return conditions, columns


def gaps_in(columns: Mapping[str, Sequence[Any]], rows: NDArray[np.int64], origin: str) -> list[str]:
    """A notice that counts the samples of ``rows`` without each condition; none where nothing is missing."""
    gaps = {name: sum(values[row] is None for row in rows) for name, values in columns.items()}
    parts = [f"{count} of {len(rows)} have no {name!r}" for name, count in gaps.items() if count]
    return [f"{origin}: {', '.join(parts)}; they train without it"] if parts else []
