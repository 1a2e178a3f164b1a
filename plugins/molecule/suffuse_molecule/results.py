"""Tables of drawn molecules: every draw is a row, valid or not, with all that a team asks of it.

What is known of a draw by itself is written in parts, as draws are finished. What needs all of them (which is a copy of
which, what is new, which is best) is worked out when the parts are joined: they are read once for a few numbers of each
draw, and a second time, batch by batch, to write the tables. So a million draws need hardly more memory than a
thousand.
"""

from __future__ import annotations

import csv
import json
import tempfile
import warnings
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor

from suffuse.data import DataSource
from suffuse.errors import DataError
from suffuse.progress import Progress
from suffuse_molecule.census import Tally, take_census
from suffuse_molecule.data.library import Preparing
from suffuse_molecule.data.splits import MoleculeSplit
from suffuse_molecule.descriptors import BITS
from suffuse_molecule.files import KEYWORD, sdf_entry, write_whole
from suffuse_molecule.neighbours import nearest
from suffuse_molecule.page import COMPARED, render_page
from suffuse_molecule.parts import Row, arrow_table, read_parts
from suffuse_molecule.scoring import Asked
from suffuse_molecule.workers import Lost, Workers

__all__ = ["join_parts", "told"]

_HIDDEN = ("fingerprint", "block", "isomers", "record")
"""Columns of the parts that the tables do not have."""
_SOME = 2000
"""Training molecules whose distributions are shown."""
_CHUNK = 100
_BATCH = 2000
"""Draws that are held at once; the borders of parts are not those of batches."""


def join_parts(
    paths: Sequence[Path],
    folder: Path,
    looked: Asked,
    data: Callable[[], DataSource],
    *,
    search: bool = True,
    processes: int | None = None,
    rank: str = "",
    page: int = 0,
) -> dict[str, Any]:
    """The files of a session, out of its parts. Returns what became of the draws, in numbers.

    Args:
        paths: of the parts, in the order of the table.
        folder: of the files.
        looked: for what.
        data: opens the training data; without it nothing is said of what is new.
        search: whether the nearest training molecules are looked for.
        processes: that compute fingerprints of the training molecules.
        rank: the number by which molecules are ordered, highest first, or lowest first with a minus before it.
        page: so many molecules are on the page at most; 0 writes none.

    Raises:
        DataError: a part cannot be read, or a file cannot be written.
    """
    train = _training(data)
    census = take_census(paths, train, rank)
    prints = train.fingerprints(Preparing(processes=processes)) if train is not None and search else None
    tally, shown, repaired = Tally(looked), dict[int, Row](), 0
    rows = read_parts(paths)
    each = 1 if prints is None else max(1, len(prints))  # steps of the bar: nearly all time goes into comparisons
    unit = "row" if prints is None else "comparison"
    try:
        with _Writers(folder) as writers, Progress(len(census.samples) * each, unit) as bar:
            for start in range(0, len(census.samples), _BATCH):
                batch = list(islice(rows, _BATCH))
                for place, row in enumerate(batch, start):
                    census.mark(place, row)
                _mark_nearest(batch, train, prints, lambda done, start=start: bar.update(start * each + done))  # type: ignore[misc]
                batch = [_ordered(row) for row in batch]
                for place, row in enumerate(batch, start):
                    order = int(census.order[place])
                    tally.add(row, order >= 0)
                    if order >= 0 and row["passes"] is not False:
                        writers.entry(order, _entry(row))
                    if 0 <= order < page:
                        shown[order] = row
                repaired += sum(row["repaired"] is not None for row in batch)
                writers.rows(batch)
                bar.update((start + len(batch)) * each)
        summary = tally.summary()
        summary["repaired"] = repaired
        if train is not None:
            summary["training_stereo"] = train.library.stereo
            summary["new"] = int((census.novel & (census.order >= 0)).sum())
        write_whole(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
        if page:
            text = render_page(
                [shown[order] for order in sorted(shown)],
                summary,
                {name: tally.numbers[name] for name in COMPARED},
                {} if train is None else _described(train, processes),
                tally.scaffolds,
                _common(writers.first),
                rank,
            )
            write_whole(folder / "molecules.html", text)
    except OSError as error:
        raise DataError(f"{folder}: the tables cannot be written ({error.strerror or error})") from error
    return summary


class _Writers:
    """``molecules.parquet``, ``.csv`` and ``.sdf``, and ``stereoisomers.csv`` once there is one, batch by batch.

    The entries of the SDF file come in the order of draws and leave in that of their rank.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first: Row = {}
        self._open = ExitStack()
        self._spool: IO[bytes] = self._open.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 closed with all others
        self._entries = array("q")
        self._parquet: Any = None
        self._tables: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            if kind is None:
                self._write_sdf()

    def rows(self, rows: Sequence[Row]) -> None:
        shown = [{name: value for name, value in row.items() if name not in _HIDDEN} for row in rows]
        self.first = self.first or rows[0]
        table = arrow_table(shown, {KEYWORD: json.dumps(_common(self.first))})
        if self._parquet is None:
            writer = pyarrow.parquet.ParquetWriter(self.folder / "molecules.parquet", table.schema)
            self._parquet = self._open.enter_context(writer)
        self._parquet.write_table(table)
        self._csv("molecules.csv", shown)
        self._csv(
            "stereoisomers.csv", [{"sample": row["sample"], "smiles": each} for row in rows for each in row["isomers"]]
        )

    def _csv(self, name: str, rows: Sequence[Row]) -> None:
        if rows and name not in self._tables:
            stream = self._open.enter_context((self.folder / name).open("w", encoding="utf-8", newline=""))
            self._tables[name] = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            self._tables[name].writeheader()
        if rows:
            self._tables[name].writerows(map(_flat, rows))

    def entry(self, order: int, text: str) -> None:
        start, length = self._spool.tell(), self._spool.write(text.encode())
        self._entries.extend((order, start, length))

    def _write_sdf(self) -> None:
        entries = np.asarray(self._entries, np.int64).reshape(-1, 3)
        with (self.folder / "molecules.sdf").open("wb") as target:
            for _, start, length in entries[entries[:, 0].argsort()].tolist():
                self._spool.seek(start)
                target.write(self._spool.read(length))


def told(summary: Mapping[str, Any]) -> str:
    """The summary in a few lines."""
    counts = {name: summary[name] for name in ("valid", "distinct", "new", "passing") if summary.get(name) is not None}
    lines = [f"{summary['draws']:,} draws: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())]
    for name, found in summary["asked"].items():
        within = f", achieved within it by {found['within']:.1%}" if "within" in found else ""
        lines.append(f"{name}: asked {found['asked']}{within}; mean absolute difference {found['mae']:.3g}")
    if "conformers" in summary:
        lines.append("conformers: " + ", ".join(f"{count:,} {word}" for word, count in summary["conformers"].items()))
    if summary["repaired"]:
        lines.append(f"{summary['repaired']:,} invalid draws repaired, in a column of their own")
    if "stereoisomers" in summary:
        found = summary["stereoisomers"]
        shown = f"{found['listed']:,} of {found['molecules']:,} molecules"
        lines.append(f"stereoisomers: {shown}, {found['several']:,} of which have several")
    if "training_stereo" in summary:
        lines.append(f"{summary['training_stereo']:.1%} of the training molecules came with stereo marks, all dropped")
    return "\n".join(lines)


def _training(data: Callable[[], DataSource]) -> MoleculeSplit | None:
    try:
        train = data().train
    except DataError as error:
        warnings.warn(f"nothing is said of what is new, for the training data cannot be opened: {error}", stacklevel=2)
        return None
    return train if isinstance(train, MoleculeSplit) else None


def _described(train: MoleculeSplit, processes: int | None) -> dict[str, list[float]]:
    """Descriptors of evenly spaced training molecules."""
    places = np.unique(np.linspace(0, len(train) - 1, min(len(train), _SOME)).astype(np.int64))
    texts = train.smiles(places)
    chunks = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
    with Workers("suffuse_molecule.descriptors:describe_all", list(COMPARED), processes=processes) as workers:
        found = [each for results in workers.map(chunks) for each in results if not isinstance(each, Lost)]
    return {name: [row[place] for row in found] for place, name in enumerate(COMPARED)}


def _mark_nearest(
    rows: Sequence[Row],
    train: MoleculeSplit | None,
    prints: NDArray[np.uint8] | None,
    progress: Callable[[int], None],
) -> None:
    for row in rows:
        row["nearest"] = row["tanimoto"] = None
    found = {row["smiles"]: row["fingerprint"] for row in rows if row["valid"]}
    if train is None or prints is None or not found:
        return
    mine = np.frombuffer(b"".join(found.values()), np.uint8).reshape(-1, BITS // 8)
    places, similarities = nearest(mine, prints, progress)
    answers = dict(zip(found, zip(train.smiles(places), similarities.tolist(), strict=True), strict=True))
    for row in rows:
        if row["valid"]:
            row["nearest"], row["tanimoto"] = answers[row["smiles"]]


def _common(row: Row) -> Row:
    """What the records of all draws say alike."""
    return {key: value for key, value in json.loads(row["record"]).items() if key != "sample"}


def _ordered(row: Row) -> Row:
    """The columns in the order of reading."""
    early = ("sample", "seed_key", "valid", "reason", "connected", "smiles", "inchikey", "duplicate_of", "novel")
    return {name: row[name] for name in (*early, *(name for name in row if name not in early))}


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


def _flat(row: Row) -> Row:
    return {name: "; ".join(value) if isinstance(value, list) else value for name, value in row.items()}
