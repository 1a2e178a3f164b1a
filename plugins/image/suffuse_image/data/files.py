"""The picture files of a folder or of a zip archive, by their relative names."""

from __future__ import annotations

import itertools
import os
import threading
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from suffuse.errors import DataError
from suffuse_image.data.pictures import SUFFIXES

__all__ = ["Archive", "Files", "Tree", "common_folder", "open_files"]

_MOST_BYTES = 1 << 29


class Files(Protocol):
    """Picture files. ``names`` are sorted, relative, with ``/`` between the folders."""

    names: list[str]

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            DataError: it cannot be read.
        """
        ...


def open_files(path: Path) -> Files:
    """The picture files below a folder or in a zip archive; hidden ones are passed over.

    Raises:
        DataError: ``path`` is missing, neither of the two, or holds no pictures.
    """
    if path.is_dir():
        files: Files = Tree(path)
    elif not path.exists():
        raise DataError(f"data.path={path}: no such folder or zip archive")
    elif zipfile.is_zipfile(path):
        files = Archive(path)
    else:
        raise DataError(f"data.path={path}: neither a folder nor a zip archive")
    if not files.names:
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(f"data.path={path}: no pictures in it (looked for {kinds} at every depth)")
    return files


def common_folder(names: list[str]) -> str:
    """The folder, with its closing ``/``, that all names share, or the empty string."""
    folders = [PurePosixPath(name).parent.parts for name in (min(names), max(names))]
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*folders, strict=False))
    return "".join(f"{part}/" for part, _ in pairs)


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


class Tree:
    """A folder and all below it. Links to files are followed, links to folders are not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = sorted(
            name
            for folder, _, files in os.walk(root)
            for name in (Path(folder, file).relative_to(root).as_posix() for file in files)
            if _wanted(name) and (root / name).is_file()
        )

    def read(self, name: str) -> bytes:
        path = self.root / name
        try:
            _check_size(path.stat().st_size, name)
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{name!r} cannot be read ({error.strerror})") from error


class Archive:
    """A zip archive. Safe in threads, after a fork and when pickled: each process opens it for itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        try:
            self.names = sorted(name for name in self._zip().namelist() if _wanted(name))
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"data.path={path}: a damaged zip archive ({error})") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "names": self.names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.names = state["path"], state["names"]
        self._lock, self._opened = threading.Lock(), None

    def _zip(self) -> zipfile.ZipFile:
        # A file position is shared with the parent process after a fork, so a handle serves one process only.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), zipfile.ZipFile(self.path))
        return self._opened[1]

    def read(self, name: str) -> bytes:
        try:
            with self._lock:
                archive = self._zip()
                _check_size(archive.getinfo(name).file_size, name)
                return archive.read(name)
        except DataError:
            raise
        except Exception as error:  # a wrong CRC, a password, an unknown compression: zipfile has an error for each
            raise DataError(f"{name!r} cannot be read from {self.path.name} ({error})") from error


def _check_size(size: int, name: str) -> None:
    if size > _MOST_BYTES:
        raise DataError(f"{name!r} is a file of {size} bytes, more than the {_MOST_BYTES} that a picture may have")
