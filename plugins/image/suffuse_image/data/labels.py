"""What is known of each picture: classes by subfolder, or columns of a CSV file as classes and numbers."""

from __future__ import annotations

import csv
import math
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suffuse.conditions import ClassLabel, Condition, Scalar
from suffuse.errors import ConfigError, DataError, suggest

__all__ = [
    "Table",
    "class_labels",
    "condition_name",
    "conditions_of",
    "number_scale",
    "parse_number",
    "read_table",
    "subfolders",
    "warn_of_gaps",
]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A CSV file of labels: ``rows`` by the name of the picture, each a mapping from column to text."""

    path: Path
    file_column: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]

    def check(self, columns: Sequence[str], key: str) -> None:
        """Raises:
        ConfigError: the file has no such column; the message names those that it has.
        """
        for column in columns:
            if column not in self.columns:
                known = ", ".join(self.columns)
                hint = suggest(column, self.columns)
                raise ConfigError(f"data.{key}={column}: {self.path} has no such column; it has {known}{hint}")

    def align(self, names: Sequence[str], shared: str) -> list[Mapping[str, str] | None]:
        """The row of each picture, None where it has none.

        Args:
            names: of the pictures.
            shared: the folder that all of them share; rows may name files with or without it.

        Raises:
            DataError: no row names any of the pictures.
        """
        found: list[Mapping[str, str] | None] = []
        used = set()
        for name in names:
            options = (_normal(name), _normal(name.removeprefix(shared)))
            key = next((option for option in options if option in self.rows), None)
            found.append(None if key is None else self.rows[key])
            used.add(key)
        unknown = [name for name in self.rows if name not in used]
        if len(unknown) == len(self.rows):
            example = f"its first row names {unknown[0]!r}" if unknown else "it has no rows"
            raise DataError(f"{self.path}: no row names a picture ({example}, the first picture is {names[0]!r})")
        if unknown:
            shown = ", ".join(map(repr, unknown[:3])) + (", …" if len(unknown) > 3 else "")
            warnings.warn(f"{self.path}: {len(unknown)} rows name no picture and are left out: {shown}", stacklevel=3)
        return found


def _normal(name: str) -> str:
    """A file's name in one spelling: ``/`` between folders, accents composed (macOS stores them apart)."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/").removeprefix("./"))


def read_table(path: Path, file_column: str | None) -> Table:
    """A CSV file with a header; the column of file names is the first one unless it is named.

    Raises:
        DataError: the file is missing, is no CSV in UTF-8, or names a picture twice.
        ConfigError: there is no such column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="")
            lines = list(reader)
            columns = tuple(reader.fieldnames or ())
    except FileNotFoundError:
        raise DataError(f"data.labels={path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.labels={path}: not a CSV file in UTF-8 ({error})") from error
    if len(columns) < 2:
        raise DataError(f"data.labels={path}: a header with a column of file names and one of labels is needed")
    names = columns[0] if file_column is None else file_column
    rows: dict[str, Mapping[str, str]] = {}
    table = Table(path=path, file_column=names, columns=columns, rows=rows)
    table.check([names], "file_column")
    for line in lines:
        name = _normal(line[names])
        if name in rows:
            raise DataError(f"{path}: {name!r} has two rows; leave one of them")
        rows[name] = {column: line[column].strip() for column in columns}
    return table


def subfolders(names: Sequence[str], shared: str) -> list[str | None]:
    """The top folder of each name below the ``shared`` one; None where it lies in no folder."""
    parts = [name.removeprefix(shared).split("/") for name in names]
    return [part[0] if len(part) > 1 else None for part in parts]


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
    """A Scalar with the mean and standard deviation of the values that are known in ``rows``."""
    known = [value for value in (values[row] for row in rows) if value is not None]
    if not known:
        return Scalar()
    std = float(np.std(known))
    return Scalar(mean=float(np.mean(known)), std=std if std > 0 else 1.0)


def condition_name(column: str) -> str:
    """A column's name as it can be typed after ``condition.``: letters, digits and ``_``."""
    return re.sub(r"\W+", "_", column.strip()).strip("_") or "label"


def warn_of_gaps(origin: str, columns: Mapping[str, Sequence[Any]], rows: NDArray[np.int64]) -> None:
    """One warning that counts the samples of ``rows`` without each condition."""
    gaps = {name: sum(values[row] is None for row in rows) for name, values in columns.items()}
    parts = [f"{count} of {len(rows)} have no {name!r}" for name, count in gaps.items() if count]
    if parts:
        warnings.warn(f"{origin}: {', '.join(parts)}; they train without it", stacklevel=4)


def conditions_of(
    table: Table,
    matched: Sequence[Mapping[str, str] | None],
    classes: Sequence[str],
    numbers: Sequence[str],
    train: NDArray[np.int64],
) -> tuple[dict[str, Condition], dict[str, list[Any]]]:
    """The conditions in columns of a table, and their value for each picture (None where it is missing).

    Raises:
        ConfigError: a column is missing, or two give conditions of one name.
        DataError: a column is empty for all pictures, or a cell of a column of numbers is no number.
    """
    table.check(classes, "classes")
    table.check(numbers, "numbers")
    names = [condition_name(column) for column in (*classes, *numbers)]
    if len(set(names)) < len(names):
        raise ConfigError(f"data.classes and data.numbers give two conditions of one name: {', '.join(names)}")
    for column in (*classes, *numbers):
        if not any(row and row[column] for row in matched):
            raise DataError(f"{table.path}: the column {column} is empty for every picture")
    conditions: dict[str, Condition] = {}
    columns: dict[str, list[Any]] = {}
    for column in classes:
        name = condition_name(column)
        conditions[name], columns[name] = class_labels([row[column] if row else None for row in matched])
    for column in numbers:
        values = [
            parse_number(row[column], f"{table.path}: {column} of {row[table.file_column]!r}") if row else None
            for row in matched
        ]
        name = condition_name(column)
        conditions[name], columns[name] = number_scale(values, train), values
    return conditions, columns
