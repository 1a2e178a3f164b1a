"""Bad sounds beside good ones: headers that lie, and samples that are none."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.hostile_inputs.case import Case
from benchmarks.hostile_inputs.entries import source
from benchmarks.hostile_inputs.files import RATE, pcm, tone, wav

__all__ = ["sounds"]


def sounds() -> Iterator[Case]:
    """A folder with two good sounds and a bad one."""
    whole = tone()
    noise = np.where(np.arange(2000) == 500, np.nan, 0.1)
    contents: dict[str, tuple[int | None, str, Callable[[], bytes]]] = {
        "an empty file": (23, "wav", lambda: b""),
        "a header alone": (24, "wav", lambda: wav(b"")),
        "said to have 4 GB": (25, "wav", lambda: wav(size=2**32 - 5)),
        "a WAV cut short": (26, "wav", lambda: file_of(whole)[:3000]),
        "a rate of 0": (27, "wav", lambda: wav(rate=0)),
        "a rate of 2^31": (28, "wav", lambda: wav(rate=2**31)),
        "no channels": (29, "wav", lambda: wav(channels=0)),
        "65,535 channels": (30, "wav", lambda: wav(channels=65_535, bits=8)),
        "samples that are not numbers": (32, "wav", lambda: file_of(noise, subtype="FLOAT")),
        "infinite samples": (32, "wav", lambda: file_of(np.nan_to_num(noise, nan=np.inf), subtype="FLOAT")),
        "an ID3 tag and nothing": (35, "mp3", lambda: b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(5000)),
        "silence": (36, "wav", lambda: file_of(np.zeros(4000))),
        "full-scale DC": (37, "wav", lambda: file_of(np.full(4000, 0.9999))),
        "a thousand times as loud as full scale": (None, "wav", lambda: file_of(1000 * whole, subtype="FLOAT")),
        "a FLAC cut short": (None, "flac", lambda: file_of(whole, format="FLAC")[:2000]),
        "text named .ogg": (None, "ogg", lambda: b"hello\n"),
        "three hours of silence in a small FLAC": (None, "flac", quiet_flac),
    }
    odd: dict[str, tuple[int | None, Callable[[], bytes]]] = {
        "an odd number of bytes": (31, lambda: wav(pcm(whole) + b"\0")),
        "24 bits": (33, lambda: file_of(whole, subtype="PCM_24")),
        "stereo": (34, lambda: file_of(np.stack([whole, whole], 1))),
        "a stream without a length": (25, lambda: wav(pcm(whole), size=0xFFFFFFFF)),
    }

    def write(content: Callable[[], bytes], name: str, folder: Path) -> None:
        (folder / "s").mkdir()
        for index in range(2):
            (folder / "s" / f"{index}.wav").write_bytes(file_of(tone(300.0 + 200 * index)))
        (folder / "s" / name).write_bytes(content())

    def meet(folder: Path) -> int:
        words = (f"data.cache_dir={folder / 'cache'}", "data.max_bad_share=0.5")
        return source(folder, "audio", "folder", "s", *words)

    make = partial(Case, kind="sounds", meet=meet, good=2)
    for name, (item, suffix, content) in contents.items():
        yield make(name=name, item=item, write=partial(write, content, f"bad.{suffix}"))
    for name, (item, content) in odd.items():
        yield make(name=name, item=item, write=partial(write, content, "bad.wav"), sound=True)


def file_of(samples: np.ndarray[Any, Any], **options: Any) -> bytes:
    """As a file of a kind, a WAV where none is named."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, **{"format": "WAV", **options})
    return stream.getvalue()


def quiet_flac() -> bytes:
    """86 million zeros, of which FLAC makes little."""
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", RATE, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(3 * 36):
            file.write(np.zeros(100 * RATE, np.int16))
    return stream.getvalue()
