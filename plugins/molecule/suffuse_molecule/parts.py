"""What is known of a draw by itself, in a Parquet file for each part of a request, as draws are finished."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from suffuse.errors import DataError
from suffuse.files import whole
from suffuse_molecule.scoring import MEASURED, Asked, Marks

__all__ = ["Row", "arrow_table", "read_parts", "write_part"]

_BATCH = 2000

Row = dict[str, Any]


def write_part(
    marks: Sequence[Marks],
    records: Sequence[Mapping[str, Any]],
    asked: Sequence[Mapping[str, Any]],
    looked: Asked,
    path: Path,
) -> None:
    """Some draws as a Parquet file.

    Raises:
        DataError: it cannot be written.
    """
    rows = [_row(*each, looked) for each in zip(marks, records, asked, strict=True)]
    with whole(path) as draft:
        pyarrow.parquet.write_table(arrow_table(rows, {}), draft)


def _row(mark: Marks, record: Mapping[str, Any], asked: Mapping[str, Any], looked: Asked) -> Row:
    names = (*MEASURED, *looked.described)
    numbers = mark.numbers or (math.nan,) * len(names)
    valid = mark.reason is None
    return {
        "sample": int(record["sample"]),
        "seed_key": record["seed_key"],
        "valid": valid,
        "reason": mark.reason,
        "connected": True if valid else False if mark.reason == "disconnected" else None,
        "smiles": mark.smiles or None,
        "repaired": mark.repaired or None,
        "inchikey": mark.key or None,
        **{name: None if math.isnan(number) else number for name, number in zip(names, numbers, strict=True)},
        "scaffold": mark.scaffold or None,
        **{f"asked_{name}": value for name, value in asked.items()},
        "alerts": list(mark.alerts) if valid and looked.filters else None,
        "passes": not mark.alerts if valid and looked.filters else None,
        "conformer": mark.conformer or None,
        "stereoisomers": len(mark.isomers) if mark.isomers else None,
        "fingerprint": mark.fingerprint,
        "block": mark.block,
        "isomers": list(mark.isomers),
        "record": json.dumps(record, default=str),
    }


_KINDS: Mapping[str, Any] = {
    "sample": pyarrow.int64(),
    "valid": pyarrow.bool_(),
    "connected": pyarrow.bool_(),
    "passes": pyarrow.bool_(),
    "novel": pyarrow.bool_(),
    "duplicate_of": pyarrow.int64(),
    "stereoisomers": pyarrow.int64(),
    "alerts": pyarrow.list_(pyarrow.string()),
    "isomers": pyarrow.list_(pyarrow.string()),
    "fingerprint": pyarrow.binary(),
    **dict.fromkeys(
        ("seed_key", "reason", "smiles", "repaired", "inchikey", "scaffold", "conformer", "nearest", "block", "record"),
        pyarrow.string(),
    ),
}
"""Types of the columns; all others are numbers."""


def arrow_table(rows: Sequence[Row], facts: Mapping[str, str]) -> pyarrow.Table:
    schema = pyarrow.schema([(name, _KINDS.get(name, pyarrow.float64())) for name in rows[0]], metadata=facts)
    return pyarrow.Table.from_pylist(list(rows), schema)


def read_parts(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[Row]:
    """All draws.

    Raises:
        DataError: a part cannot be read.
    """
    for path in paths:
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(_BATCH, columns=columns):
                    yield from batch.to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{path}: a part of the table cannot be read ({error})") from error
