"""Prepared crystals on disk: arrays that are mapped into memory, in a folder named by what they are made from.

The name of the folder is a hash of the files, the rules and the versions, so that nothing stale is ever read; it is
filled under another name and moved into place when it is whole. ``preprocess.json`` in it counts what was left out and
why, and ``rejects.tsv`` names every record.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from suffuse.errors import ConfigError, DataError
from suffuse.files import cache_folder, whole_folder
from suffuse.progress import Progress
from suffuse_crystal.cells import Cells
from suffuse_crystal.data.standard import DAMAGE, REJECTIONS, Entry, Standard, Unfit, prepare
from suffuse_crystal.descriptors import CLASSES, NUMBERS

__all__ = ["Library", "Preparing", "Records", "Row", "open_library"]

_FORMAT = 1
_CHUNK = 64
_FEW = 512
"""Records that are prepared sooner here than other processes start."""
_EXAMPLES = 5
_ARRAYS = ("numbers", "positions", "counts", "lattices")


class Row(NamedTuple):
    """One crystal of a file.

    Args:
        name: where it stands, for messages.
        text, kind: of `suffuse_crystal.data.standard.prepare`.
        facts: what is known of it beside its own text, by column.
    """

    name: str
    text: str
    kind: str
    facts: Mapping[str, str]


class Records(Protocol):
    """Crystals in the files of a user, read from beginning to end."""

    origin: str
    """Where they come from, for messages."""
    columns: tuple[str, ...]
    """The facts that are kept."""

    def identity(self) -> Mapping[str, Any]:
        """What the rows are a function of: plain data that changes when they do."""
        ...

    def count(self) -> int:
        """About how many records there are."""
        ...

    def rows(self) -> Iterator[Row]:
        """Every record."""
        ...


@dataclass(frozen=True, kw_only=True)
class Preparing:
    """How files are prepared, whatever the rules.

    Args:
        cache_dir: where prepared crystals lie; None for the user's own folder of caches.
        processes: that prepare them; None is one for each core, 0 works in this process.
        max_bad_share: the share of unreadable records that is left out; more is an error.
    """

    cache_dir: str | Path | None = None
    processes: int | None = None
    max_bad_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad_share <= 1:
            raise ConfigError(f"data.max_bad_share={self.max_bad_share}: a share from 0 to 1")
        if self.processes is not None and self.processes < 0:
            raise ConfigError(f"data.processes={self.processes}: a whole number from 0, or null")

    @property
    def folder(self) -> Path:
        """Where prepared crystals lie."""
        return cache_folder("crystal") if self.cache_dir is None else Path(self.cache_dir).expanduser()


class Library:
    """The crystals of some files, mapped into memory. Safe to send to other processes, which map it for themselves.

    Args:
        folder: that `open_library` filled.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary: Mapping[str, Any] = json.loads((folder / "preprocess.json").read_text(encoding="utf-8"))
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        self.facts: Mapping[str, Sequence[str]] = facts["columns"]
        self.descriptors: Mapping[str, Sequence[str]] = facts["descriptors"]
        self.keys: Sequence[str] = facts["keys"]
        self._numbers, self._positions, self.counts, self._lattices = (
            np.lib.format.open_memmap(folder / f"{name}.npy", mode="r") for name in _ARRAYS
        )
        self._ends = np.cumsum(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that occur, in order."""
        return [int(each) for each in np.unique(self._numbers)]

    def cells(self, rows: NDArray[np.int64]) -> Cells:
        """Some crystals."""
        counts = np.asarray(self.counts[rows])
        first = self._ends[rows] - counts
        places = np.arange(counts.sum()) + np.repeat(first - (counts.cumsum() - counts), counts)
        return Cells(self._numbers[places], self._positions[places], counts, np.asarray(self._lattices[rows]))


def open_library(records: Records, standard: Standard, preparing: Preparing) -> Library:
    """The crystals of some files, prepared now or before.

    Raises:
        DataError: a file cannot be read, no crystal is left, too many are damaged, or the cache cannot be written.
    """
    identity = {
        "format": _FORMAT,
        "records": dict(records.identity()),
        "columns": records.columns,
        "standard": asdict(standard),
        "versions": [version("pymatgen"), version("spglib")],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode("utf-8", "surrogateescape"))
    place = preparing.folder / digest.hexdigest()[:32]
    try:
        return Library(place)
    except (OSError, EOFError, ValueError, KeyError):
        pass  # there is none, or it is damaged
    try:
        with whole_folder(place) as draft:
            summary = _fill(draft, records, standard, preparing)
        library = Library(place)
    except OSError as error:
        raise DataError(f"data.cache_dir={preparing.folder}: cannot be used ({error.strerror or error})") from error
    left = f"; left out: {_shown(summary['left_out'])}" if summary["left_out"] else ""
    print(
        f"{records.origin}: {summary['kept']:,} of {summary['read']:,} crystals kept{left}; "
        f"see {place / 'preprocess.json'}",
        file=sys.stderr,
        flush=True,
    )
    return library


def _fill(folder: Path, records: Records, standard: Standard, preparing: Preparing) -> dict[str, Any]:
    entries: list[Entry] = []
    reasons: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    keys: dict[str, None] = {}
    total, about = 0, max(1, records.count())
    rejects = (folder / "rejects.tsv").open("w", encoding="utf-8", errors="replace")
    with rejects, Progress(about, "crystals") as bar:
        rejects.write("record\treason\n")
        for row, result in _prepared(records.rows(), standard, preparing.processes):
            total += 1
            bar.update(min(total, about))
            if isinstance(result, Entry):
                if (key := _key(result)) not in keys:
                    keys[key] = None
                    entries.append(result._replace(facts={**row.facts, **result.facts}))
                    continue
                result = "duplicate"
            reasons[result] += 1
            if len(examples.setdefault(result, [])) < _EXAMPLES:
                examples[result].append(row.name)
            rejects.write(f"{' '.join(row.name.split())}\t{result}\n")
    summary = {
        "origin": records.origin,
        "read": total,
        "kept": len(entries),
        "left_out": {
            name: {"count": count, "meaning": REJECTIONS[name], "first": examples[name]}
            for name, count in reasons.most_common()
        },
    }
    _judge(summary, preparing)
    cells = Cells.of(entry.cell for entry in entries)
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(cells, name))
    facts = {
        "columns": {name: [entry.facts.get(name, "") for entry in entries] for name in records.columns},
        "keys": list(keys),
        "descriptors": {name: [entry.descriptors[name] for entry in entries] for name in (*NUMBERS, *CLASSES)},
    }
    for name, content in (("facts", facts), ("preprocess", summary)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    return summary


def _prepared(rows: Iterator[Row], standard: Standard, processes: int | None) -> Iterator[tuple[Row, Entry | str]]:
    """Each row with what became of it, in order."""
    import joblib

    first = list(islice(rows, _FEW))
    if processes == 0 or len(first) < _FEW:
        for row in chain(first, rows):
            yield row, _prepare(row, standard)
        return
    whole = chain(first, rows)
    chunks: Iterator[list[Row]] = iter(lambda: list(islice(whole, _CHUNK)), [])
    parallel = joblib.Parallel(n_jobs=processes or -1, return_as="generator", pre_dispatch="4 * n_jobs")
    for results in parallel(joblib.delayed(_prepare_all)(chunk, standard) for chunk in chunks):
        yield from results


def _prepare_all(rows: list[Row], standard: Standard) -> list[tuple[Row, Entry | str]]:
    """What the other processes run."""
    return [(row, _prepare(row, standard)) for row in rows]


def _prepare(row: Row, standard: Standard) -> Entry | str:
    try:
        return prepare(row.text, row.kind, standard)
    except Unfit as refusal:
        return refusal.reason


def _key(entry: Entry) -> str:
    """Equal for equal cells; the last digits, in which programs differ, do not count."""
    numbers, positions, lattice = entry.cell
    parts = (numbers, np.round(positions, 3) % 1.0, np.round(lattice @ lattice.T, 2))
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()[:32]


def _judge(summary: Mapping[str, Any], preparing: Preparing) -> None:
    """
    Raises:
        DataError: too much was left out.
    """
    origin, read, kept, left = (summary[key] for key in ("origin", "read", "kept", "left_out"))
    if not read:
        raise DataError(f"{origin}: there is no crystal in it")
    if not kept:
        raise DataError(f"{origin}: none of its {read:,} crystals is left: {_shown(left)}")
    damaged = sum(left[name]["count"] for name in DAMAGE if name in left)
    if damaged > preparing.max_bad_share * read:
        raise DataError(
            f"{origin}: {damaged:,} of {read:,} records are no crystals (data.max_bad_share="
            f"{preparing.max_bad_share}): {_shown(left)}"
        )


def _shown(left: Mapping[str, Any]) -> str:
    parts = (
        f"{name} {each['count']:,}" + (f" (such as {each['first'][0]!r})" if name in DAMAGE else "")
        for name, each in left.items()
    )
    return ", ".join(parts)
