"""Tables of drawn molecules: every draw is a row, valid or not, with all that a team asks of it.

What is known of a draw by itself is written in parts, as draws are finished. What needs all of them (which is a copy of
which, what is new, what is nearest) is worked out when the parts are joined.
"""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor

from suffuse.data import DataSource
from suffuse.errors import DataError
from suffuse.files import whole
from suffuse.progress import Progress
from suffuse_molecule.data.library import Preparing
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.descriptors import BITS
from suffuse_molecule.files import KEYWORD, sdf_entry, write_whole
from suffuse_molecule.molecule import key_of
from suffuse_molecule.neighbours import nearest
from suffuse_molecule.page import COMPARED, render_page
from suffuse_molecule.scoring import MEASURED, Asked, Marks
from suffuse_molecule.workers import Lost, Workers

__all__ = ["Tables", "told", "write_part"]

_HIDDEN = ("fingerprint", "block", "isomers", "record")
"""Columns of the parts that the tables do not have."""
_SOME = 2000
"""Training molecules whose distributions are shown."""
_CHUNK = 100

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
    _parquet(rows, path, {})


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
        ("seed_key", "reason", "smiles", "inchikey", "scaffold", "conformer", "nearest", "block", "record"),
        pyarrow.string(),
    ),
}
"""Types of the columns; all others are numbers."""


def _parquet(rows: Sequence[Row], path: Path, facts: Mapping[str, str]) -> None:
    schema = pyarrow.schema([(name, _KINDS.get(name, pyarrow.float64())) for name in rows[0]], metadata=facts)
    with whole(path) as draft:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema), draft)


@dataclass(frozen=True)
class Tables:
    """All draws of a session.

    Args:
        rows: in the order of samples, with the hidden columns.
        summary: what became of them, in numbers.
        training: descriptors of some training molecules, by name; empty where there are none to be had.
    """

    rows: Sequence[Row]
    summary: Mapping[str, Any]
    training: Mapping[str, Sequence[float]]

    @classmethod
    def of(
        cls, paths: Sequence[Path], looked: Asked, data: Callable[[], DataSource], search: bool, processes: int | None
    ) -> Tables:
        """The parts joined.

        Args:
            paths: of the parts.
            looked: for what.
            data: opens the training data; without it nothing is said of what is new.
            search: whether the nearest training molecules are looked for.
            processes: that compute fingerprints of the training molecules.

        Raises:
            DataError: a part cannot be read.
        """
        try:
            rows = [row for path in paths for row in pyarrow.parquet.read_table(path).to_pylist()]
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{paths[0].parent}: a part of the table cannot be read ({error})") from error
        rows.sort(key=lambda row: int(row["sample"]))
        _mark_copies(rows)
        summary = _count(rows, looked)
        train = _training(data)
        _mark_new(rows, train, summary)
        _mark_nearest(rows, train if search else None, processes)
        return cls([_ordered(row) for row in rows], summary, {} if train is None else _described(train, processes))

    def write(self, folder: Path, rank: str = "", page: int = 0) -> None:
        """The files of a session.

        Args:
            folder: of the files.
            rank: the number by which molecules are ordered, highest first, or lowest first with a minus before it.
            page: so many molecules are on the page at most; 0 writes none.

        Raises:
            DataError: one cannot be written.
        """
        shown = [{name: value for name, value in row.items() if name not in _HIDDEN} for row in self.rows]
        common = {key: value for key, value in json.loads(self.rows[0]["record"]).items() if key != "sample"}
        _parquet(shown, folder / "molecules.parquet", {KEYWORD: json.dumps(common)})
        write_whole(folder / "molecules.csv", _csv(shown))
        distinct = _distinct(self.rows, rank)
        entries = (_entry(row) for row in distinct if row["passes"] is not False)
        write_whole(folder / "molecules.sdf", "".join(entries))
        write_whole(folder / "summary.json", json.dumps(self.summary, indent=1) + "\n")
        isomers = [{"sample": row["sample"], "smiles": each} for row in self.rows for each in row["isomers"]]
        if isomers:
            write_whole(folder / "stereoisomers.csv", _csv(isomers))
        if page:
            text = render_page(distinct, self.summary, self.training, common, page, rank)
            write_whole(folder / "molecules.html", text)


def told(summary: Mapping[str, Any]) -> str:
    """The summary in a few lines."""
    counts = {name: summary[name] for name in ("valid", "distinct", "new", "passing") if summary.get(name) is not None}
    lines = [f"{summary['draws']:,} draws: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())]
    for name, found in summary["asked"].items():
        lines.append(
            f"{name}: asked {found['least']:.4g} to {found['most']:.4g}, achieved within it by {found['within']:.1%}; "
            f"mean absolute difference {found['mae']:.3g}"
        )
    if "conformers" in summary:
        lines.append("conformers: " + ", ".join(f"{count:,} {word}" for word, count in summary["conformers"].items()))
    if "stereoisomers" in summary:
        found = summary["stereoisomers"]
        shown = f"{found['listed']:,} of {found['molecules']:,} molecules"
        lines.append(f"stereoisomers: {shown}, {found['several']:,} of which have several")
    if "training_stereo" in summary:
        lines.append(f"{summary['training_stereo']:.1%} of the training molecules came with stereo marks, all dropped")
    return "\n".join(lines)


def _mark_copies(rows: Sequence[Row]) -> None:
    """Each valid molecule that came before is a copy of the first draw of it."""
    first: dict[str, int] = {}
    for row in rows:
        found = first.setdefault(row["smiles"], row["sample"]) if row["valid"] else row["sample"]
        row["duplicate_of"] = None if found == row["sample"] else found


def _training(data: Callable[[], DataSource]) -> MoleculeSplit | None:
    try:
        train = data().train
    except DataError as error:
        warnings.warn(f"nothing is said of what is new, for the training data cannot be opened: {error}", stacklevel=2)
        return None
    return train if isinstance(train, MoleculeSplit) else None


def _mark_new(rows: Sequence[Row], train: MoleculeSplit | None, summary: dict[str, Any]) -> None:
    known = None if train is None else np.isin(_keys(rows), train.keys())
    for place, row in enumerate(rows):
        row["novel"] = None if known is None or not row["valid"] else not known[place]
    if train is not None:
        summary["training_stereo"] = train.library.stereo
        summary["new"] = sum(bool(row["novel"]) and row["duplicate_of"] is None for row in rows)


def _described(train: MoleculeSplit, processes: int | None) -> dict[str, list[float]]:
    """Descriptors of evenly spaced training molecules."""
    places = np.unique(np.linspace(0, len(train) - 1, min(len(train), _SOME)).astype(np.int64))
    texts = train.smiles(places)
    chunks = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
    with Workers("suffuse_molecule.descriptors:describe_all", list(COMPARED), processes=processes) as workers:
        found = [each for results in workers.map(chunks) for each in results if not isinstance(each, Lost)]
    return {name: [row[place] for row in found] for place, name in enumerate(COMPARED)}


def _keys(rows: Sequence[Row]) -> NDArray[np.uint64]:
    return np.array([key_of(row["smiles"] or "") for row in rows], np.uint64)


def _mark_nearest(rows: Sequence[Row], train: MoleculeSplit | None, processes: int | None) -> None:
    for row in rows:
        row["nearest"] = row["tanimoto"] = None
    found = {row["smiles"]: row["fingerprint"] for row in rows if row["valid"]}
    if train is None or not found:
        return
    prints = train.fingerprints(Preparing(processes=processes))
    mine = np.frombuffer(b"".join(found.values()), np.uint8).reshape(-1, BITS // 8)
    with Progress(len(mine) * len(prints), "comparison") as bar:
        places, similarities = nearest(mine, prints, bar.update)
    answers = dict(zip(found, zip(train.smiles(places), similarities.tolist(), strict=True), strict=True))
    for row in rows:
        if row["valid"]:
            row["nearest"], row["tanimoto"] = answers[row["smiles"]]


def _count(rows: Sequence[Row], looked: Asked) -> dict[str, Any]:
    valid = [row for row in rows if row["valid"]]
    distinct = [row for row in valid if row["duplicate_of"] is None]
    summary: dict[str, Any] = {
        "draws": len(rows),
        "valid": len(valid),
        "distinct": len(distinct),
        "reasons": dict(Counter(row["reason"] for row in rows if row["reason"]).most_common()),
    }
    if looked.filters:
        summary["passing"] = sum(row["passes"] for row in distinct)
        summary["alerts"] = dict(Counter(alert for row in distinct for alert in row["alerts"]).most_common(50))
    if looked.conformers:
        summary["conformers"] = dict(Counter(row["conformer"] for row in distinct).most_common())
    if looked.isomers:
        counts = [row["stereoisomers"] for row in distinct if row["stereoisomers"] is not None]
        summary["stereoisomers"] = {
            "listed": sum(counts),
            "molecules": len(counts),
            "several": sum(count > 1 for count in counts),
            "at_limit": sum(count == looked.isomers for count in counts),
        }
    summary["asked"] = {}
    for name in (column.removeprefix("asked_") for column in rows[0] if column.startswith("asked_")):
        pairs = [(row[f"asked_{name}"], row.get(name)) for row in valid]
        known = np.array([pair for pair in pairs if None not in pair], np.float64).reshape(-1, 2)
        if len(known):
            wanted, achieved = known.T
            inside = (wanted.min() <= achieved) & (achieved <= wanted.max())
            summary["asked"][name] = {
                "least": float(wanted.min()),
                "most": float(wanted.max()),
                "within": float(inside.mean()),
                "mae": float(np.abs(achieved - wanted).mean()),
            }
    return summary


def _ordered(row: Row) -> Row:
    """The columns in the order of reading."""
    early = ("sample", "seed_key", "valid", "reason", "connected", "smiles", "inchikey", "duplicate_of", "novel")
    return {name: row[name] for name in (*early, *(name for name in row if name not in early))}


def _distinct(rows: Sequence[Row], rank: str) -> list[Row]:
    """One row for each valid molecule, the best first."""
    kept = [row for row in rows if row["valid"] and row["duplicate_of"] is None]
    name = rank.removeprefix("-")
    if name:
        sign = 1 if rank.startswith("-") else -1
        kept.sort(key=lambda row: (row[name] is None, sign * (row[name] or 0), row["sample"]))
    return kept


def _entry(row: Row) -> str:
    """A record of the SDF file, in space where a conformer was found and else in the plane."""
    block = row["block"]
    if not block:
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(row["smiles"])
            rdDepictor.Compute2DCoords(mol)
            block = Chem.MolToMolBlock(mol)
    shown = {name: value for name, value in row.items() if name not in _HIDDEN}
    return sdf_entry(block, {**_flat(shown), KEYWORD: row["record"]})


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_flat, rows))
    return text.getvalue()


def _flat(row: Row) -> Row:
    return {name: "; ".join(value) if isinstance(value, list) else value for name, value in row.items()}
