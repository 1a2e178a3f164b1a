"""A large set of samples made part by part, by any number of processes on machines that share a folder.

A shard is a range of the samples, known beforehand. Its files are written to a hidden folder, flushed and renamed, and
its manifest comes last: a shard is there when its manifest is. So whoever is killed leaves either a whole shard or one
that is made again, and to go on is to repeat the command. What is made of all shards together, if anything, comes after
them in the same way, with the manifest of the whole.

Processes divide the work by claims, files that only one of them can create. A claim counts as long as its owner lives,
which its beat shows, a file that it touches now and then. Nothing but time depends on claims: a shard that two
processes make, because one of them was thought dead, is the same in every bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suffuse.disk import facts, flush, flush_all
from suffuse.documents import read_json
from suffuse.errors import RunError
from suffuse.runs import write_json, write_text

__all__ = ["Shard", "Shards", "content"]

_BEAT = 10.0
"""Seconds between two signs of life."""
_DEAD = 60.0
"""Seconds without one, after which what a process of another machine has claimed is free."""
_LOOK = 0.5
"""Seconds between two looks at what other processes are making."""
_WORK = ".unfinished"
_MANIFEST = "samples.json"
_COUNTS = ("count", "invalid")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A part that this process is to make.

    Args:
        number: from 0.
        indices: of its samples.
        draft: an empty folder for its files.
    """

    number: int
    indices: Sequence[int]
    draft: Path


class Shards:
    """The folder of one request for samples.

    Args:
        folder: where they go; what is in it must come from the same request.
        indices: of all samples.
        size: samples of a shard. One shard lies in the folder itself, several have folders of their own.
        request: plain data that decides every bit of the samples.
        about: more plain data for the manifests.
    """

    def __init__(
        self, folder: Path, indices: Sequence[int], size: int, request: Mapping[str, Any], about: Mapping[str, Any]
    ) -> None:
        self.folder, self.indices, self.size = folder, indices, size
        self.count = -(-len(indices) // size)
        self.made: dict[int, dict[str, Any]] = {}
        self._work = folder / _WORK
        self._me = secrets.token_hex(8)
        self.header = self._settle(json.loads(json.dumps({**about, **request})), list(request))

    @property
    def done(self) -> int:
        """Samples that are there, as far as is known."""
        return sum(part["count"] for part in self.made.values())

    def todo(self, join: Callable[[Sequence[Path], Path], object] | None = None) -> Generator[Shard, None, None]:
        """The shards that are left for this process, one after another, until all are there.

        Each is to be given to `commit` before the next is asked for. Waits for what other processes have claimed. Close
        it, so that a claim does not outlive an error.

        Args:
            join: makes files of several shards together: from the folder of each, in order, into an empty one.

        Raises:
            RunError: the folder cannot be written.
        """
        with self._beating():
            while not all(map(self._there, range(self.count))):
                busy = False
                for number in range(self.count):
                    if self._there(number):
                        continue
                    if not self._claim(number):
                        busy = True
                        continue
                    try:
                        if not self._there(number):  # nor was made since we looked
                            yield from self._one(number)
                    finally:
                        self._release(number)
                if busy:
                    time.sleep(_LOOK)
            while self.count > 1 and not self._finished():
                if not self._claim(self.count):
                    time.sleep(_LOOK)
                    continue
                try:
                    if not self._finished():
                        self._finish(join)
                finally:
                    self._release(self.count)

    def commit(self, shard: Shard, part: Mapping[str, Any]) -> list[Path]:
        """Put the files of a shard in their place, and then its manifest: the header, ``part``, and the files.

        Returns:
            Where the files lie.

        Raises:
            RunError: they cannot be written; the shard is not there then.
        """
        return self._put(shard.draft, self._place(shard.number), part)

    def _put(self, draft: Path, place: Path, part: Mapping[str, Any]) -> list[Path]:
        try:
            files = {file.name: facts(file) for file in sorted(draft.iterdir())}
            manifest = {**self.header, **part, "files": files}
            (draft / _MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
            place.mkdir(exist_ok=True)
            flush_all([draft / name for name in (*files, _MANIFEST)])
            for name in files:
                (draft / name).replace(place / name)
            flush(place)
            (draft / _MANIFEST).replace(place / _MANIFEST)
            flush(place)
            return [place / name for name in files]
        except OSError as error:
            raise RunError(f"{place}: the samples cannot be written ({error.strerror})") from error

    def _settle(self, header: dict[str, Any], decisive: Sequence[str]) -> dict[str, Any]:
        """The header of whoever began this folder.

        Raises:
            RunError: it was begun for something else, or for nothing of ours.
        """
        for file in (self.folder / _MANIFEST, self._work / "request.json"):
            if file.is_file():
                begun = _read(file)
                break
        else:
            if self.folder.exists() and any(path.name != _WORK for path in self.folder.iterdir()):
                raise RunError(f"out={self.folder}: is not empty; nothing is overwritten, take another folder")
            begun = self._begin(header)
        for key in decisive:
            if begun.get(key) != header[key]:
                raise RunError(
                    f"out={self.folder}: holds samples of {key}={_short(begun.get(key))}, not {_short(header[key])}; "
                    "take another folder"
                )
        return {key: begun[key] for key in header}

    def _begin(self, header: dict[str, Any]) -> dict[str, Any]:
        """Record the header, unless another process was quicker: the times in it are those of all samples."""
        draft, file = self._work / f"request-{self._me}", self._work / "request.json"
        try:
            self._work.mkdir(parents=True, exist_ok=True)
            write_json(draft, header)
            try:
                os.link(draft, file)
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                draft.replace(file)
            draft.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"out={self.folder}: cannot be made ({error.strerror})") from error
        return _read(file)

    def _one(self, number: int) -> Iterator[Shard]:
        with self._draft(number) as draft:
            yield Shard(number=number, indices=self._range(number), draft=draft)

    @contextmanager
    def _draft(self, number: int) -> Iterator[Path]:
        draft = self._work / f"draft-{number}-{self._me}"
        try:
            draft.mkdir()
        except OSError as error:
            raise RunError(f"{draft}: cannot be made ({error.strerror})") from error
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _range(self, number: int) -> Sequence[int]:
        return self.indices[number * self.size : (number + 1) * self.size]

    def _place(self, number: int) -> Path:
        return self.folder if self.count == 1 else self.folder / f"shard-{number:06d}"

    def _there(self, number: int) -> bool:
        """Whether a shard is made, and all its files are."""
        if number in self.made:
            return True
        place = self._place(number)
        found = _whole(place)
        try:
            counts = {key: int(found[key]) for key in _COUNTS}
        except (ValueError, KeyError, TypeError):
            return False
        first = int(self._range(number)[0])
        self.made[number] = {"folder": place.name, "first": first, **counts, **facts(place / _MANIFEST)}
        return True

    def _finished(self) -> bool:
        """Whether the manifest of all these shards is there, and the files that it lists are."""
        return _whole(self.folder).get("shards") == self._parts()

    def _parts(self) -> list[dict[str, Any]]:
        return [self.made[number] for number in range(self.count)]

    def _claim(self, number: int) -> bool:
        """Whether a shard is ours now."""
        file = self._work / f"claim-{number}"
        for _ in range(2):
            try:
                with file.open("x", encoding="utf-8") as claim:
                    claim.write(self._me)
                return True
            except FileExistsError:
                owner = _text(file)
                if owner is None or self._alive(owner, file):
                    return False
                shutil.rmtree(self._work / f"draft-{number}-{owner}", ignore_errors=True)
                file.unlink(missing_ok=True)
            except OSError as error:
                raise RunError(f"{file}: cannot be made ({error.strerror})") from error
        return False

    def _release(self, number: int) -> None:
        file = self._work / f"claim-{number}"
        if _text(file) == self._me:
            file.unlink(missing_ok=True)

    def _alive(self, owner: str, claim: Path) -> bool:
        """By its process, on this machine; by its last sign of life, as the clock of the folder has it, on another."""
        sign = self._beat(owner) if owner else claim  # a claim without a name was made this moment
        try:
            last, text = sign.stat().st_mtime, sign.read_text(encoding="utf-8")
        except OSError:
            return False
        machine, _, process = text.partition(" ")
        if machine == platform.node() and process.isdecimal() and not _runs(int(process)):
            return False
        clock = self._work / f"clock-{self._me}"
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink()
        return now - last < _DEAD

    def _beat(self, owner: str) -> Path:
        return self._work / f"process-{owner}"

    @contextmanager
    def _beating(self) -> Iterator[None]:
        """Give signs of life, from a thread, until the block ends."""
        mine, over = self._beat(self._me), threading.Event()
        write_text(mine, f"{platform.node()} {os.getpid()}")

        def beat() -> None:
            while not over.wait(_BEAT):
                with suppress(OSError):
                    os.utime(mine)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with suppress(OSError):
                mine.unlink()
                self._leave()

    def _leave(self) -> None:
        """Tidy up, as the last one who works here: one that was thought dead may still be writing."""
        if any(self._alive(beat.name.removeprefix("process-"), beat) for beat in self._work.glob("process-*")):
            return
        if (self.folder / _MANIFEST).is_file():
            shutil.rmtree(self._work)
        elif os.listdir(self.folder) == [_WORK]:  # nothing was made
            shutil.rmtree(self.folder)

    def _finish(self, join: Callable[[Sequence[Path], Path], object] | None) -> None:
        places = [self._place(number) for number in range(self.count)]
        samples = (sample["sha256"] for place in places for sample in _read(place / _MANIFEST)["samples"])
        totals = {key: sum(part[key] for part in self._parts()) for key in _COUNTS}
        part = {**totals, "content": content(samples), "shards": self._parts()}
        with self._draft(self.count) as draft:
            if join is not None:
                join(places, draft)
            self._put(draft, self.folder, part)


def content(samples: Iterable[str]) -> str:
    """One SHA-256 for the samples of a request, from those of each in the order of the indices."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(bytes.fromhex(sample))
    return digest.hexdigest()


def _whole(place: Path) -> dict[str, Any]:
    """The manifest of a folder; nothing where it cannot be read, or a file that it lists is missing."""
    try:
        found = json.loads((place / _MANIFEST).read_text(encoding="utf-8"))
        return dict(found) if found["files"].keys() <= set(os.listdir(place)) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return None


def _read(file: Path) -> dict[str, Any]:
    data = read_json(file)
    if not isinstance(data, dict):
        raise RunError(f"{file}: not a JSON object")
    return data


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
