"""Many sound files as the recordings of a split: looked at once, in parallel, and kept on disk as int16 where they fit.

What was found out lies in a folder of the cache whose name is a hash of all that it was made from (names, sizes,
times or checksums of the files, rate, channels), so that it can never be out of date. It is written beside its place
and renamed, so that it is whole or not there. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from suffuse.errors import ConfigError, DataError
from suffuse.files import Files, cache_folder, whole_folder
from suffuse.splits import check_choice
from suffuse_audio.data.recording import Facts, Preparation
from suffuse_audio.data.splits import Sound32

__all__ = ["CACHES", "Keeping", "Library", "open_library"]

CACHES = ("auto", "always", "never")
_FORMAT = 1
_BATCH = 64
_FULL = 32767
_IN_MEMORY = 1 << 20
"""Bytes of samples of one file that wait in memory, not on disk, until they are written in their order."""
_PIECE = 1 << 18
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is kept on disk, and how many files may be bad.

    Args:
        cache: ``always`` and ``never`` say so; ``auto`` keeps the samples where they fit.
        cache_limit: what fits, in bytes; two for each sample of each channel.
        cache_dir: where; None for the user's own folder of caches.
        check: look at every sample once even where it is not kept, so that a damaged file cannot stop a run in the
            middle; False looks at the headers alone, and then silence and offsets are not found.
        max_bad_share: the share of bad files that is left out with a warning; more is an error.
    """

    cache: str = "auto"
    cache_limit: int = 1 << 31
    cache_dir: str | Path | None = None
    check: bool = True
    max_bad_share: float = 0.1

    def __post_init__(self) -> None:
        check_choice("cache", self.cache, CACHES)
        if not 0 <= self.max_bad_share <= 1:
            raise ConfigError(f"data.max_bad_share={self.max_bad_share}: a share from 0 to 1")

    @property
    def folder(self) -> Path:
        """Where the cache lies."""
        return cache_folder("audio") if self.cache_dir is None else Path(self.cache_dir).expanduser()

    def fits(self, frames: int, channels: int) -> bool:
        """Whether so many samples are kept."""
        return self.cache == "always" or (self.cache == "auto" and 2 * frames * channels <= self.cache_limit)


@dataclass(frozen=True, eq=False)
class _Index:
    """What is known of each file, by row: facts, or the problem with it."""

    facts: list[Facts | None]
    problems: list[str | None]
    starts: NDArray[np.int64] | None = None
    scales: NDArray[np.float32] | None = None
    """Where the samples of each file begin in the cache, and what its int16 are multiplied with; None if not kept."""

    @property
    def frames(self) -> int:
        return sum(facts.frames for facts in self.facts if facts is not None)


class Library:
    """Recordings from files, or from the cache of their samples."""

    def __init__(
        self,
        files: Files,
        names: Sequence[str],
        preparation: Preparation,
        index: _Index,
        cached: Path | None,
        notices: Sequence[str],
    ) -> None:
        self.problems = index.problems
        self.notices = list(notices)
        self._files, self._names, self._preparation, self._index = files, names, preparation, index
        self._cached = cached
        self._samples: NDArray[np.int16] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A mapping of a file would be sent to a worker as a copy of its content.
        return {**self.__dict__, "_samples": None}

    def facts(self, row: int) -> Facts:
        """What is known of a file that is not bad."""
        facts = self._index.facts[row]
        assert facts is not None
        return facts

    def frames(self, row: int) -> int:
        return self.facts(row).frames

    def read(self, row: int, start: int, count: int) -> Sound32:
        facts = self.facts(row)
        if self._cached is None:
            name = self._names[row]
            return self._preparation.read(self._files.place(name), name, facts, start, count)
        if self._samples is None:
            self._samples = _mapped(self._cached, self._preparation.channels)
        assert self._index.starts is not None
        assert self._index.scales is not None
        first = int(self._index.starts[row])
        stored = self._samples[first + start : first + min(start + count, facts.frames)]
        samples: Sound32 = np.ascontiguousarray(stored.T, dtype=np.float32) * self._index.scales[row]
        return samples


def open_library(files: Files, names: Sequence[str], preparation: Preparation, keeping: Keeping) -> Library:
    """The recordings in the files ``names``; bad ones have a text in ``problems``.

    Raises:
        DataError: the cache cannot be written though ``keeping.cache`` is ``always``.
    """
    key = _key(files, names, preparation)
    place = keeping.folder / key
    index = _load(place, len(names), preparation.channels)
    notices: list[str] = []
    if index is not None and _enough(index, keeping, preparation):
        return Library(files, names, preparation, index, _kept(place, index, keeping), notices)
    index = _look(len(names), lambda row: _probe(files, names[row], preparation))
    keep = keeping.fits(index.frames, preparation.channels)
    try:
        index = _write(place, files, names, preparation, keep=keep, check=keeping.check, headers=index)
    except OSError as error:
        trouble = f"data.cache_dir={keeping.folder}: the cache cannot be written ({error.strerror or error})"
        if keeping.cache == "always":
            raise DataError(trouble) from error
        notices.append(f"{trouble}; files are read anew each time")
        if keeping.check:
            index = _look(len(names), lambda row: _survey(files, names[row], preparation))
    return Library(files, names, preparation, index, _kept(place, index, keeping), notices)


def _kept(place: Path, index: _Index, keeping: Keeping) -> Path | None:
    return place if index.starts is not None and keeping.cache != "never" else None


def _enough(index: _Index, keeping: Keeping, preparation: Preparation) -> bool:
    """Whether an index says all that is wanted now."""
    checked = all(facts is None or facts.peaks is not None for facts in index.facts)
    kept = index.starts is not None
    return (kept or not keeping.fits(index.frames, preparation.channels)) and (checked or not keeping.check)


def _key(files: Files, names: Sequence[str], preparation: Preparation) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {preparation.rate} {preparation.channels}".encode())
    for name in names:
        digest.update(f"\0{name}\0{files.stamp(name)}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _parallel(function: Callable[[int], _T], count: int) -> Iterator[_T]:
    """The results in order, with few of them waiting at any time."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, count, _BATCH):
            yield from pool.map(function, range(start, min(start + _BATCH, count)))


def _look(count: int, function: Callable[[int], tuple[Facts | None, str | None]]) -> _Index:
    pairs = list(_parallel(function, count))
    return _Index([facts for facts, _ in pairs], [problem for _, problem in pairs])


def _probe(files: Files, name: str, preparation: Preparation) -> tuple[Facts | None, str | None]:
    try:
        return preparation.probe(files.place(name), name), None
    except DataError as error:
        return None, str(error)


def _survey(
    files: Files, name: str, preparation: Preparation, keep: IO[bytes] | None = None
) -> tuple[Facts | None, str | None]:
    try:
        return preparation.survey(files.place(name), name, keep), None
    except DataError as error:
        return None, str(error)


def _write(
    place: Path,
    files: Files,
    names: Sequence[str],
    preparation: Preparation,
    *,
    keep: bool,
    check: bool,
    headers: _Index,
) -> _Index:
    """Fill a folder of the cache, and say what is in it."""
    with whole_folder(place) as draft:
        index = headers
        if keep or check:
            index = _write_samples(draft, files, names, preparation, keep)
        known = [facts for facts in index.facts if facts is not None]
        peaks = [facts.peaks for facts in known if facts.peaks is not None]
        np.save(draft / "peaks.npy", np.concatenate(peaks) if peaks else np.zeros(0, np.float32))
        (draft / "index.json").write_text(json.dumps(_to_json(index)), encoding="utf-8")
    return index


def _write_samples(folder: Path, files: Files, names: Sequence[str], preparation: Preparation, keep: bool) -> _Index:
    facts: list[Facts | None] = []
    problems: list[str | None] = []
    starts, scales = np.zeros(len(names), np.int64), np.ones(len(names), np.float32)
    end = 0

    def survey(row: int) -> tuple[Facts | None, str | None, IO[bytes] | None]:
        spool = SpooledTemporaryFile(_IN_MEMORY, dir=str(folder)) if keep else None  # noqa: SIM115 - closed once it is read
        return *_survey(files, names[row], preparation, spool), spool

    with (folder / "samples.i16").open("wb") as stream:
        for row, (found, problem, spool) in enumerate(_parallel(survey, len(names))):
            facts.append(found)
            problems.append(problem)
            starts[row] = end
            with spool or nullcontext():
                if spool is not None and found is not None:
                    assert found.peaks is not None
                    scales[row] = found.peaks.max() / _FULL or 1.0
                    _convert(spool, stream, found, scales[row])
                    end += found.frames
    return _Index(facts, problems, starts, scales) if keep else _Index(facts, problems)


def _convert(spool: IO[bytes], stream: IO[bytes], facts: Facts, scale: np.float32) -> None:
    """Samples of a file from float32 to int16, piece by piece."""
    offsets = np.array(facts.offsets, np.float32)
    spool.seek(0)
    for start in range(0, facts.frames, _PIECE):
        count = min(_PIECE, facts.frames - start) * len(offsets)
        piece = np.frombuffer(spool.read(4 * count), np.float32).reshape(-1, len(offsets))
        stream.write(np.rint((piece - offsets) / scale).astype("<i2").tobytes())


def _to_json(index: _Index) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "facts": [
            facts and [facts.frames, facts.offsets, facts.left, None if facts.peaks is None else len(facts.peaks)]
            for facts in index.facts
        ],
        "problems": index.problems,
        "starts": None if index.starts is None else index.starts.tolist(),
        "scales": None if index.scales is None else index.scales.tolist(),
    }


def _load(place: Path, count: int, channels: int) -> _Index | None:
    """What a folder of the cache says; None where it is not there or not whole."""
    try:
        data = json.loads((place / "index.json").read_text(encoding="utf-8"))
        peaks = np.load(place / "peaks.npy", allow_pickle=False)
        index = _from_json(data, peaks)
        if len(index.facts) != count:
            return None
        if index.starts is not None and (place / "samples.i16").stat().st_size != 2 * channels * index.frames:
            return None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return index


def _from_json(data: dict[str, Any], peaks: NDArray[np.float32]) -> _Index:
    facts: list[Facts | None] = []
    end = 0
    for entry in data["facts"]:
        if entry is None:
            facts.append(None)
            continue
        frames, offsets, left, blocks = entry
        known = None if blocks is None else peaks[end : end + blocks]
        if known is not None and len(known) != blocks:
            raise ValueError("peaks are missing")
        end += blocks or 0
        facts.append(Facts(frames, tuple(offsets), left, known))
    if data["starts"] is None:
        return _Index(facts, data["problems"])
    return _Index(facts, data["problems"], np.array(data["starts"]), np.array(data["scales"], np.float32))


def _mapped(place: Path, channels: int) -> NDArray[np.int16]:
    try:
        return np.memmap(place / "samples.i16", "<i2", "r").reshape(-1, channels)
    except (OSError, ValueError) as error:
        raise DataError(f"{place}: the cache of samples is gone or damaged ({error}); start again") from error
