"""The files of a folder or of a zip archive, by their relative names: what a source of a person's own data reads.

Files come from strangers: an archive is never unpacked to disk, nothing larger than a limit is read into memory, and
every failure is one line that names the file.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeAlias

from suffuse.disk import flush_all
from suffuse.errors import DataError

__all__ = [
    "Archive",
    "Files",
    "Place",
    "Tree",
    "cache_folder",
    "common_folder",
    "open_files",
    "top_folder",
    "whole",
    "whole_folder",
]

Place: TypeAlias = str | bytes | BinaryIO
"""Where a library finds a file that it opens by itself: a path of the system, or bytes in memory."""
_MOST_BYTES = 1 << 29


class Files(Protocol):
    """Some files. ``names`` are sorted, relative, with ``/`` between the folders."""

    names: list[str]

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            DataError: it cannot be read, or is too large.
        """
        ...

    def place(self, name: str) -> Place:
        """Where one of them can be opened; a file of a folder is not read for that and may have any size.

        Raises:
            DataError: it cannot be read.
        """
        ...

    def stamp(self, name: str) -> str:
        """A text that changes when the file does.

        Raises:
            DataError: the file is gone.
        """
        ...


def open_files(path: Path, suffixes: Collection[str], what: str, most_bytes: int = _MOST_BYTES) -> Files:
    """The files below a folder or in a zip archive that end in one of ``suffixes``; hidden ones are passed over.

    Args:
        path: the folder or the archive, the setting ``data.path``.
        suffixes: in lower case, with the dot.
        what: a noun for one of them in messages, such as ``picture``.
        most_bytes: larger files are not read into memory.

    Raises:
        DataError: ``path`` is missing, neither of the two, or holds no such files.
    """
    if path.is_dir():
        files: Files = Tree(path, suffixes, what, most_bytes)
    elif not path.exists():
        raise DataError(f"data.path={path}: no such folder or zip archive")
    elif zipfile.is_zipfile(path):
        files = Archive(path, suffixes, what, most_bytes)
    else:
        raise DataError(f"data.path={path}: neither a folder nor a zip archive")
    if not files.names:
        kinds = ", ".join(sorted(suffixes))
        raise DataError(f"data.path={path}: no {what}s in it (looked for {kinds} at every depth)")
    return files


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A hidden file beside ``path`` to write to, which takes its place if nothing fails; else what was there stays.

    ``with whole(path) as draft: draft.write_text(text)``

    Raises:
        DataError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            yield draft
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """A hidden folder to fill with files, which becomes ``place`` if nothing fails; else there is nothing of it.

    It is for what can be made again, such as prepared data in a `cache_folder` under a name that says what it was made
    from: what lay there goes, as it was damaged or held less. Where another process was faster, its folder stays.

    ``with whole_folder(place) as draft: np.save(draft / "values.npy", values)``

    Raises:
        OSError: it cannot be written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".", ignore_cleanup_errors=True) as hidden:
        draft = Path(hidden) / "whole"
        draft.mkdir()
        yield draft
        flush_all([path for path in draft.rglob("*") if path.is_file()])
        shutil.rmtree(place, ignore_errors=True)
        try:
            draft.replace(place)
        except OSError:
            if not place.is_dir():
                raise


def cache_folder(name: str) -> Path:
    """Where a plugin keeps what it can make again, by the XDG rules: ``suffuse/NAME`` in the user's caches."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "suffuse" / name


def common_folder(names: Collection[str]) -> str:
    """The folder, with its closing ``/``, that all names share, or the empty string."""
    folders = [PurePosixPath(name).parent.parts for name in (min(names), max(names))]
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*folders, strict=False))
    return "".join(f"{part}/" for part, _ in pairs)


def top_folder(name: str, shared: str) -> str:
    """The first folder of a name below the ``shared`` one, or the empty string where it lies in none."""
    folder, slash, _ = name.removeprefix(shared).partition("/")
    return folder if slash else ""


def _wanted(name: str, suffixes: Collection[str]) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in suffixes and not hidden


class Tree:
    """A folder and all below it. Links to files are followed, links to folders are not. See `open_files`."""

    def __init__(self, root: Path, suffixes: Collection[str], what: str, most_bytes: int = _MOST_BYTES) -> None:
        self.root, self.what, self.most_bytes = root, what, most_bytes
        self.names = sorted(
            name
            for folder, _, files in os.walk(root)
            for name in (Path(folder, file).relative_to(root).as_posix() for file in files)
            if _wanted(name, suffixes) and (root / name).is_file()
        )

    def read(self, name: str) -> bytes:
        size = self._status(name).st_size
        if size > self.most_bytes:
            raise DataError(
                f"{name!r} is a file of {size} bytes, more than the {self.most_bytes} that a {self.what} may have"
            )
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise DataError(f"{name!r} cannot be read ({error.strerror})") from error

    def place(self, name: str) -> Place:
        path = self.root / name
        # Bytes are the only spelling that holds every name of a POSIX system; Windows wants text.
        return os.fsencode(path) if os.name == "posix" else str(path)

    def stamp(self, name: str) -> str:
        status = self._status(name)
        return f"{status.st_size} {status.st_mtime_ns}"

    def _status(self, name: str) -> os.stat_result:
        try:
            return (self.root / name).stat()
        except OSError as error:
            raise DataError(f"{name!r} cannot be read ({error.strerror})") from error


class Archive:
    """A zip archive. Safe in threads, after a fork and when pickled: each process opens it for itself.

    See `open_files`.
    """

    def __init__(self, path: Path, suffixes: Collection[str], what: str, most_bytes: int = _MOST_BYTES) -> None:
        self.path, self.what, self.most_bytes = path, what, most_bytes
        self._lock = threading.Lock()
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        try:
            self.names = sorted(name for name in self._zip().namelist() if _wanted(name, suffixes))
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"data.path={path}: a damaged zip archive ({error})") from error

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_lock", "_opened")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _opened=None)

    def _zip(self) -> zipfile.ZipFile:
        # A file position is shared with the parent process after a fork, so a handle serves one process only.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), zipfile.ZipFile(self.path))
        return self._opened[1]

    def read(self, name: str) -> bytes:
        try:
            with self._lock:
                archive = self._zip()
                size = archive.getinfo(name).file_size
                if size <= self.most_bytes:
                    return archive.read(name)
        except Exception as error:  # a wrong CRC, a password, an unknown compression: zipfile has an error for each
            raise DataError(f"{name!r} cannot be read from {self.path.name} ({error})") from error
        raise DataError(f"{name!r} unpacks to {size} bytes; a {self.what} in an archive may have {self.most_bytes}")

    def place(self, name: str) -> Place:
        return io.BytesIO(self.read(name))

    def stamp(self, name: str) -> str:
        with self._lock:
            member = self._zip().getinfo(name)
        return f"{member.file_size} {member.CRC}"
