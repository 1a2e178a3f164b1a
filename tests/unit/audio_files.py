"""Small sound files, good and bad, and short views of a source, for the tests of the audio plugin."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from data_files import everything, one_line, size
from numpy.typing import NDArray

from suffuse_audio.clips import Clip
from suffuse_audio.data import Folder

__all__ = ["RATE", "clips", "encoded", "everything", "folder", "one_line", "raw_wav", "size", "tone", "tree", "write"]

RATE = 8000


def tone(frequency: float = 440.0, seconds: float = 0.3, rate: int = RATE, level: float = 0.5) -> NDArray[np.float32]:
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def write(path: Path, samples: NDArray[Any], rate: int = RATE, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(samples, rate, **{"format": "WAV", **options}))
    return path


def encoded(samples: NDArray[Any], rate: int = RATE, **options: Any) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, **options)
    return stream.getvalue()


def raw_wav(
    data: bytes = bytes(200), *, rate: int = RATE, channels: int = 1, bits: int = 16, size: int | None = None
) -> bytes:
    align = channels * bits // 8
    layout = struct.pack("<HHIIHH", 1, channels, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    said = len(data) if size is None else size
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + layout
    return head + b"data" + struct.pack("<I", said) + data


def tree(root: Path, count: int = 12, kinds: tuple[str, ...] = ("low", "high")) -> Path:
    for index in range(count):
        place = root / kinds[index % len(kinds)] if kinds else root
        write(place / f"{index}.wav", tone(200 + 40 * index))
    return root


def folder(path: Path, **settings: Any) -> Folder:
    """A source whose cache lies beside its files, so that tests leave nothing behind."""
    return Folder(**{"path": path, "cache_dir": path.parent / "cache", "invert": False, **settings})


def clips(source: Any) -> list[Clip]:
    return [item.value for item in everything(source)]
