"""Prepared molecules on disk: compact arrays that are mapped into memory, in a folder named by what they are made from.

The name of the folder is a hash of the files' contents, the rules and the versions, so that nothing stale is ever read;
it is filled under another name and moved into place when it is whole. ``preprocess.json`` in it counts what was left
out and why, and ``rejects.tsv`` names every line.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from rdkit import rdBase

from suffuse.errors import ConfigError, DataError
from suffuse.files import cache_folder, whole_folder
from suffuse.progress import Progress
from suffuse_molecule.data.packed import check_whole
from suffuse_molecule.data.standard import REJECTIONS, Entry, Standard, prepare
from suffuse_molecule.graphs import Packed, Unfit, name_of
from suffuse_molecule.molecule import key_of
from suffuse_molecule.workers import Workers

__all__ = ["Library", "Preparing", "Row", "Table", "open_library", "prepare_all"]

_FORMAT = 3
_CHUNK = 500
_BLOCK = 1 << 16
_EXAMPLES = 5
_DAMAGE = ("unparsable", "valence", "kekulize", "sanitize", "timeout", "crash", "too_long")
"""Reasons that speak of a damaged file, or of a wrong column; the others are choices."""


class Row(NamedTuple):
    """One record of a file.

    Args:
        line: its number in the file, from 1.
        text: SMILES, or an SDF block.
        numbers: of the columns asked for; NaN where there is none.
        part: of the column that says which split it belongs to.
    """

    line: int
    text: str
    numbers: tuple[float, ...] = ()
    part: str = ""


class Table(Protocol):
    """A file of molecules that is read from beginning to end."""

    path: Path
    kind: str
    """``smiles`` or ``sdf``."""
    columns: tuple[str, ...]
    """Names of the numbers of each row."""
    texts: Counter[str]
    """For each column how many of its cells are text and no numbers; complete when all rows were read."""

    def identity(self) -> Mapping[str, Any]:
        """What the rows are a function of, beside the file's content."""
        ...

    def rows(self, progress: Callable[[int], None]) -> Iterator[Row]:
        """Every record; ``progress`` is told how many bytes of the file are behind."""
        ...


@dataclass(frozen=True, kw_only=True)
class Preparing:
    """How files are prepared, whatever the rules.

    Args:
        cache_dir: where prepared molecules lie; None for the user's own folder of caches.
        processes: that prepare them; None is one for each core, 0 works in this process, without protection from
            molecules that hang or crash RDKit.
        seconds: of work that one molecule may take.
        min_count: atom kinds seen in fewer molecules are rare, and their molecules are left out.
        max_bad_share: the share of unreadable molecules that is left out; more is an error.
    """

    cache_dir: str | Path | None = None
    processes: int | None = None
    seconds: float = 2.0
    min_count: int = 1
    max_bad_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad_share <= 1:
            raise ConfigError(f"data.max_bad_share={self.max_bad_share}: a share from 0 to 1")
        if self.processes is not None and self.processes < 0:
            raise ConfigError(f"data.processes={self.processes}: a whole number from 0, or null")
        if not self.seconds > 0:
            raise ConfigError(f"data.seconds={self.seconds}: must be above 0")

    @property
    def folder(self) -> Path:
        """Where prepared molecules lie."""
        return cache_folder("molecule") if self.cache_dir is None else Path(self.cache_dir).expanduser()


class Library:
    """The molecules of one file, mapped into memory. Safe to send to other processes, which map it for themselves.

    Args:
        folder: that `open_library` filled.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: Mapping[str, Any] = json.loads((folder / "preprocess.json").read_text(encoding="utf-8"))
        arrays: dict[str, Any] = {name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="r") for name in _ARRAYS}
        self._atoms, self._bonds, self._smiles = arrays["atoms"], arrays["bonds"], arrays["smiles"]
        self._starts = {name: arrays[f"{name}_starts"] for name in _RAGGED}
        self.numbers, self.parts, self.kept = arrays["numbers"], arrays["parts"], arrays["kept"]
        self.keys = arrays["keys"]
        self._pages = [array.base for array in arrays.values() if isinstance(array.base, mmap.mmap)]

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    @property
    def codes(self) -> list[int]:
        """The atom kinds of the molecules that are kept, in order."""
        return [int(each) for each in self.facts["codes"]]

    @property
    def stereo(self) -> float:
        """The share of the molecules of the file, those with duplicates too, that had stereo marks."""
        return round(int(self.facts["accepted_with_stereo"]) / max(1, len(self.parts)), 4)

    def sizes(self, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """Atoms of some molecules."""
        starts, sizes = self._starts["atoms"], np.empty(len(rows), np.int32)
        for place in range(0, len(rows), _BLOCK):
            block = rows[place : place + _BLOCK]
            sizes[place : place + _BLOCK] = starts[block + 1] - starts[block]
        self._let_go()
        return sizes

    def graphs(self, rows: NDArray[np.integer]) -> Packed:
        """Some molecules."""
        atoms, counts = self._ragged("atoms", self._atoms, rows)
        bonds, bond_counts = self._ragged("bonds", self._bonds, rows)
        if len(rows) > 1:
            self._let_go()
        return Packed(atoms, counts, bonds, bond_counts)

    def smiles(self, rows: NDArray[np.integer]) -> list[str]:
        """Their canonical SMILES, without stereo."""
        text, counts = self._ragged("smiles", self._smiles, rows)
        self._let_go()
        ends = counts.cumsum()
        whole = text.tobytes()
        return [whole[end - count : end].decode("ascii") for end, count in zip(ends, counts, strict=True)]

    def _let_go(self) -> None:
        """Leave what was read to the system's cache: mapped pages count as this process's, up to the whole file."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for pages in self._pages:
                pages.madvise(mmap.MADV_DONTNEED)

    def _ragged(self, name: str, values: Any, rows: NDArray[np.integer]) -> tuple[Any, NDArray[np.int64]]:
        starts = self._starts[name]
        first = np.asarray(starts[rows])
        counts = np.asarray(starts[rows + 1]) - first
        places = np.arange(counts.sum()) + np.repeat(first - (counts.cumsum() - counts), counts)
        return values[places], counts


_RAGGED = ("atoms", "bonds", "smiles")
_ARRAYS = (
    "atoms",
    "atoms_starts",
    "bonds",
    "bonds_starts",
    "smiles",
    "smiles_starts",
    "numbers",
    "parts",
    "kept",
    "keys",
)


def prepare_all(texts: list[str], kind: str, standard: Standard) -> list[Entry | str]:
    """An entry, or the code of the rejection, for each text; what the child processes run."""
    found: list[Entry | str] = []
    for text in texts:
        try:
            found.append(prepare(text, kind, standard))
        except Unfit as refusal:
            found.append(refusal.reason)
    return found


def open_library(table: Table, standard: Standard, preparing: Preparing) -> Library:
    """The molecules of a file, prepared now or before.

    Raises:
        DataError: the file cannot be read, no molecule is left, too many are damaged, or the cache cannot be written.
    """
    place = preparing.folder / _key(table, standard, preparing)
    library = _whole(place)
    if library is not None:
        return library
    try:
        with whole_folder(place) as draft:
            _fill(draft, table, standard, preparing)
        library = Library(place)
    except OSError as error:
        raise DataError(f"data.cache_dir={preparing.folder}: cannot be used ({error.strerror or error})") from error
    print(f"{_told(library.facts)}; see {place / 'preprocess.json'}", file=sys.stderr, flush=True)
    return library


def _whole(place: Path) -> Library | None:
    """The library at a place, unless there is none or it is damaged."""
    try:
        return Library(place)
    except (OSError, ValueError):
        return None


def _key(table: Table, standard: Standard, preparing: Preparing) -> str:
    digest = hashlib.sha256()
    try:
        with table.path.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise DataError(f"data.path={table.path}: cannot be read ({error.strerror})") from error
    identity = {
        "format": _FORMAT,
        "content": digest.hexdigest(),
        "table": dict(table.identity()),
        "standard": asdict(standard),
        "min_count": preparing.min_count,
        "rdkit": rdBase.rdkitVersion,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _fill(folder: Path, table: Table, standard: Standard, preparing: Preparing) -> None:
    check_whole(table.path)
    size = max(1, table.path.stat().st_size // 1024)
    with (
        _Writer(folder, len(table.columns), standard.max_atoms < 256) as writer,
        Progress(size, "kB") as bar,
        Workers(
            "suffuse_molecule.data.library:prepare_all",
            table.kind,
            standard,
            processes=preparing.processes,
            seconds=preparing.seconds,
        ) as workers,
    ):
        read = [0]

        def progress(position: int) -> None:
            read[0] = position

        chunks: list[list[Row]] = []
        texts = _texts(table.rows(progress), chunks)
        for results in workers.map(texts):
            for row, result in zip(chunks.pop(0), results, strict=True):
                writer.add(row, result)
            bar.update(min(size - 1, read[0] // 1024), f"{writer.accepted:,} molecules")
        bar.update(size, f"{writer.accepted:,} molecules")
    _finish(folder, writer, table, preparing)


def _texts(rows: Iterator[Row], chunks: list[list[Row]]) -> Iterator[list[str]]:
    """Chunks of texts for the workers; their rows are left in ``chunks`` for when the results are back."""
    while chunk := list(islice(rows, _CHUNK)):
        chunks.append(chunk)
        yield [row.text for row in chunk]


class _Writer:
    """Takes results in order and streams them into files, so that memory does not grow with them."""

    def __init__(self, folder: Path, columns: int, small: bool) -> None:
        self.folder = folder
        self.types = {
            "atoms": (np.dtype(np.int16), ()),
            "bonds": (np.dtype(np.uint8 if small else np.int16), (3,)),
            "smiles": (np.dtype(np.uint8), ()),
            "numbers": (np.dtype(np.float64), (columns,)),
            "parts": (np.dtype(np.int16), ()),
            "keys": (np.dtype(np.uint64), ()),
            **{f"{name}_starts": (np.dtype(np.int64), ()) for name in _RAGGED},
        }
        self.accepted = self.stereo = self.total = 0
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, list[dict[str, Any]]] = {}
        self.ends = dict.fromkeys(_RAGGED, 0)
        self.part_names: dict[str, int] = {}
        self.streams: dict[str, IO[bytes]] = {}
        self.rejects: IO[str] = (folder / "rejects.tsv").open("w", encoding="utf-8")

    def __enter__(self) -> _Writer:
        for name in self.types:
            self.streams[name] = (self.folder / f"{name}.raw").open("wb")
        for name in _RAGGED:
            self.streams[f"{name}_starts"].write(np.int64(0).tobytes())
        self.rejects.write("line\treason\ttext\n")
        return self

    def __exit__(self, *error: object) -> None:
        for stream in self.streams.values():
            stream.close()
        self.rejects.close()

    def add(self, row: Row, result: Entry | str) -> None:
        self.total += 1
        if isinstance(result, str):
            self.reject(row.line, str(result), row.text)
            return
        text = result.smiles.encode("ascii")
        self.streams["atoms"].write(result.atoms.tobytes())
        self.streams["bonds"].write(result.bonds.astype(self.types["bonds"][0]).tobytes())
        self.streams["smiles"].write(text)
        self.streams["numbers"].write(np.asarray(row.numbers, np.float64).tobytes())
        part = self.part_names.setdefault(row.part, len(self.part_names))
        self.streams["parts"].write(np.int16(part).tobytes())
        self.streams["keys"].write(np.uint64(key_of(result.smiles)).tobytes())
        for name, count in zip(_RAGGED, (len(result.atoms), len(result.bonds), len(text)), strict=True):
            self.ends[name] += count
            self.streams[f"{name}_starts"].write(np.int64(self.ends[name]).tobytes())
        self.stereo += result.stereo
        self.accepted += 1

    def reject(self, line: int, reason: str, text: str) -> None:
        self.reasons[reason] += 1
        shown = " ".join(text.split())[:80]
        self.rejects.write(f"{line}\t{reason}\t{shown}\n")
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append({"line": line, "text": shown})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every file as a mapped array, once all is written."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, (dtype, shape) in self.types.items():
            raw = self.folder / f"{name}.raw"
            whole = (raw.stat().st_size // max(1, dtype.itemsize * int(np.prod(shape, dtype=np.int64))), *shape)
            if name in ("numbers", "parts"):
                whole = (self.accepted, *shape)
            with raw.open("rb") as source, (self.folder / f"{name}.npy").open("wb") as target:
                np.lib.format.write_array_header_2_0(
                    target, {"descr": dtype.str, "fortran_order": False, "shape": whole}
                )
                shutil.copyfileobj(source, target, 1 << 20)
            raw.unlink()
            arrays[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return arrays


def _finish(folder: Path, writer: _Writer, table: Table, preparing: Preparing) -> None:
    """Leave out duplicates and rare atoms, and count everything."""
    arrays = writer.arrays()
    kept = np.sort(np.unique(arrays["keys"], return_index=True)[1]).astype(np.int64)
    left = {"duplicate": writer.accepted - len(kept)}
    kinds = _kinds(arrays, kept)
    rare = [each for each, count in kinds.items() if count < preparing.min_count]
    if rare:
        owners = np.repeat(np.arange(writer.accepted), np.diff(arrays["atoms_starts"]))
        out = np.unique(owners[np.isin(arrays["atoms"], rare)])
        before, kept = len(kept), np.setdiff1d(kept, out)
        left["rare"] = before - len(kept)
    np.save(folder / "kept.npy", kept)
    reasons = {**writer.reasons, **{name: count for name, count in left.items() if count}}
    sizes = np.diff(arrays["atoms_starts"])[kept]
    facts = {
        "file": str(table.path),
        "rdkit": rdBase.rdkitVersion,
        "read": writer.total,
        "kept": len(kept),
        "left_out": {
            name: {"count": count, "meaning": REJECTIONS[name], "first": writer.examples.get(name, [])}
            for name, count in sorted(reasons.items(), key=lambda pair: -pair[1])
        },
        "accepted_with_stereo": writer.stereo,
        "atoms": {name_of(each): count for each, count in sorted(kinds.items(), key=lambda pair: -pair[1])},
        "codes": sorted(each for each in kinds if each not in rare),
        "sizes": {str(size): int(count) for size, count in zip(*np.unique(sizes, return_counts=True), strict=True)},
        "columns": list(table.columns),
        "text_in_columns": {name: count for name, count in table.texts.items() if count},
        "parts": list(writer.part_names),
    }
    _judge(facts, preparing)
    (folder / "preprocess.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")


def _kinds(arrays: Mapping[str, NDArray[Any]], kept: NDArray[np.int64]) -> dict[int, int]:
    """In how many of the molecules each kind of atom occurs."""
    starts, atoms = arrays["atoms_starts"], arrays["atoms"]
    found: Counter[int] = Counter()
    for block in range(0, len(kept), 1 << 16):
        rows = kept[block : block + (1 << 16)]
        counts = starts[rows + 1] - starts[rows]
        places = np.arange(counts.sum()) + np.repeat(starts[rows] - (counts.cumsum() - counts), counts)
        pairs = np.unique(np.repeat(np.arange(len(rows)), counts) * (1 << 15) + atoms[places])
        found.update(
            dict(zip(*(part.tolist() for part in np.unique(pairs % (1 << 15), return_counts=True)), strict=True))
        )
    return dict(found)


def _judge(facts: Mapping[str, Any], preparing: Preparing) -> None:
    """
    Raises:
        DataError: too much was left out.
    """
    path, read, kept, left = facts["file"], facts["read"], facts["kept"], facts["left_out"]
    if not read:
        raise DataError(f"data.path={path}: there is no molecule in it")
    shown = _shown(left)
    if not kept:
        raise DataError(f"data.path={path}: none of its {read:,} molecules is left: {shown}")
    damaged = sum(left[name]["count"] for name in _DAMAGE if name in left)
    if damaged > preparing.max_bad_share * read:
        raise DataError(
            f"data.path={path}: {damaged:,} of {read:,} rows are no molecules (data.max_bad_share="
            f"{preparing.max_bad_share}; is it the right column?): {shown}"
        )


def _told(facts: Mapping[str, Any]) -> str:
    """One line on what was left out."""
    parts = [f"{facts['file']}: {facts['kept']:,} of {facts['read']:,} molecules kept"]
    if facts["left_out"]:
        parts.append(f"left out: {_shown(facts['left_out'])}")
    for name, count in facts["text_in_columns"].items():
        parts.append(f"{count:,} cells of column {name} hold text and count as missing")
    if facts["accepted_with_stereo"]:
        parts.append(f"{facts['accepted_with_stereo']:,} have stereo marks, which are dropped")
    return "; ".join(parts)


def _shown(left: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {each['count']:,}{_place(name, each['first'])}" for name, each in left.items())


def _place(reason: str, first: Sequence[Mapping[str, Any]]) -> str:
    shown = reason in _DAMAGE and first
    return f" (line {first[0]['line']:,}: {first[0]['text'][:40]!r})" if shown else ""
