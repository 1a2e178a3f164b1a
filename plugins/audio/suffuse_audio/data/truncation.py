"""Whether a sound file ends before its own header says: libsndfile plays the part that is there and does not tell."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

__all__ = ["missing_bytes"]

_UNKNOWN = 0x7FFF0000
"""Programs that write WAV to a pipe cannot know its length and write a number above this one."""
_MOST_CHUNKS = 1000
_PAGE = 65_307
"""The longest page of an Ogg file."""


def missing_bytes(stream: BinaryIO) -> int:
    """How many bytes of a WAV, AIFF or Ogg file are missing at its end; 0 for a whole one and for other formats.

    The others need no such look: their decoders notice. For Ogg the answer is at least 1.
    """
    stream.seek(0)
    head = stream.read(12)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE":
        return _chunks(stream, ">" if head[:4] == b"RIFX" else "<", b"data")
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        return _chunks(stream, ">", b"SSND")
    if head[:4] == b"OggS":
        return _ogg(stream)
    return 0


def _chunks(stream: BinaryIO, order: str, wanted: bytes) -> int:
    end = stream.seek(0, os.SEEK_END)
    stream.seek(12)
    long_size, align = None, 1
    for _ in range(_MOST_CHUNKS):
        head = stream.read(8)
        if len(head) < 8:
            return 0
        name, size = head[:4], struct.unpack(f"{order}I", head[4:])[0]
        here = stream.tell()
        if name == b"ds64":
            long_size = struct.unpack("<Q", stream.read(16)[8:].ljust(8, b"\0"))[0]
        elif name == b"fmt ":
            align = max(struct.unpack(f"{order}H", stream.read(14)[12:].ljust(2, b"\0"))[0], 1)
        elif name == wanted:
            if size == 0xFFFFFFFF and long_size is not None:
                size = long_size
            elif size >= _UNKNOWN:
                return 0
            missing = here + size - end
            return missing if missing >= align else 0
        stream.seek(here + size + size % 2)
    return 0


def _ogg(stream: BinaryIO) -> int:
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(end - 2 * _PAGE, 0))
    tail = stream.read()
    place = tail.rfind(b"OggS")
    page = tail[place:] if place >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26]:
        return 1
    missing = 27 + page[26] + sum(page[27 : 27 + page[26]]) - len(page)
    last = page[5] & 4
    return max(missing, 0 if last else 1)
