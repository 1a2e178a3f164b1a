"""Text files that may be packed with gzip, and may come from anybody."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from suffuse.errors import DataError

__all__ = ["Text", "check_whole", "opened"]

_RATIO = 200
"""How many times its size a file may unpack to; SMILES do to five, SDF records without coordinates to some twenty."""
_SMALL = 1 << 26
"""Bytes that any file may unpack to."""
_PIECE = 1 << 20


class Text:
    """The lines of an open file.

    Args:
        name: of the file, for messages.
        raw: its bytes as they lie on the disk.
    """

    def __init__(self, name: str, raw: IO[bytes]) -> None:
        self._name, self._raw = name, raw
        self.packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast(IO[bytes], gzip.open(raw) if self.packed else raw)  # noqa: SIM115 - closed with its file
        self._text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")
        self._unpacked = 0

    def line(self, longest: int) -> str:
        """The next line, or a part of it of so many characters; empty at the end.

        Raises:
            DataError: far more is packed into the file than a table of molecules holds.
        """
        return self._counted(self._text.readline(longest))

    def piece(self) -> str:
        """As `line`, of many lines."""
        return self._counted(self._text.read(_PIECE))

    def _counted(self, text: str) -> str:
        self._unpacked += len(text)
        if self.packed and self._unpacked > _SMALL and self._unpacked > _RATIO * self.tell():
            raise DataError(f"{self._name}: unpacks to more than {_RATIO} times its size; is it a table of molecules?")
        return text

    def tell(self) -> int:
        """How many bytes of the file are behind."""
        return self._raw.tell()


@contextmanager
def opened(path: Path) -> Iterator[Text]:
    """A file of text, read from its beginning.

    Raises:
        DataError: it cannot be read, is damaged, or ends in the middle.
    """
    try:
        with path.open("rb") as raw:
            yield Text(f"data.path={path}", raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"data.path={path}: cannot be read to its end ({error})") from error


def check_whole(path: Path) -> None:
    """Read a packed file to its end, that what is wrong there is not found after hours of work on the rest.

    Raises:
        DataError: as `opened`.
    """
    with opened(path) as text:
        while text.packed and text.piece():
            pass
