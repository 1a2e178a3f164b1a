"""Files that a user gives to a decoder: a sound of any kind, or the marks of a gap in one."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from suffuse.errors import ConfigError, DataError
from suffuse_audio.clips import Given
from suffuse_audio.data.recording import Preparation
from suffuse_audio.data.splits import Level

__all__ = ["open_marks", "open_sound", "samples_of"]

_TEXT = {".json", ".txt", ".csv", ".tsv"}
_LONGEST = 24 * 3600.0
"""Seconds that a person may ask for; a slip of the unit shall not fill the memory."""


def samples_of(length: str, rate: int) -> int:
    """Samples in a length as a person writes it: ``2.5s``, ``800ms`` or, in seconds, ``2.5``.

    Raises:
        ConfigError: it is no such length, or none that a clip can have.
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(s|ms|)\s*", length)
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else 0.0
    if not 0 < seconds <= _LONGEST or round(seconds * rate) < 1:
        raise ConfigError(f"length={length}: seconds such as 2.5s, or 800ms, up to {_LONGEST:g}s")
    return round(seconds * rate)


def open_sound(path: Path, rate: int, channels: int, least: int, level: str = "none") -> Given:
    """A sound file as ``[channels, T]`` at ``rate``, with silence after its end where it has less than ``least``.

    It is prepared as the files of a folder are: channels are mixed, a constant offset is taken off, and it is brought
    to the ``level`` of the training.

    Raises:
        DataError: it is missing, no sound, damaged, or a run with so many channels cannot take it.
    """
    if channels not in (1, 2):
        raise DataError(f"{path}: this run has clips of {channels} channels; files are read as 1 or 2")
    if not path.is_file():
        raise DataError(f"{path}: {'a folder, not a sound file' if path.is_dir() else 'there is no such file'}")
    preparation = Preparation(rate, channels)
    facts = preparation.survey(str(path), str(path))
    whole = replace(facts, offsets=())
    original = torch.from_numpy(preparation.read(str(path), str(path), whole, 0, whole.frames))
    offset = torch.tensor(facts.offsets or (0.0,) * channels)[:, None]
    sound = original - offset
    gain = Level(level=level).gain(sound.numpy())
    room = (0, max(0, least - whole.frames))
    samples, original = (torch.nn.functional.pad(part, room) for part in (sound * gain, original))
    return Given(samples, rate, whole.frames, original=original, gain=gain, offset=offset)


def open_marks(path: Path, rate: int, length: int) -> Tensor:
    """Which samples of a clip a file marks as a gap, ``[length]`` of bool.

    Raises:
        DataError: it cannot be read, marks nothing, or lies outside of the clip.
    """
    if path.suffix.lower() not in _TEXT:
        marks = open_sound(path, rate, 1, length).original[0, :length] >= 0.5
        if not marks.any():
            raise DataError(f"{path}: this mask marks nothing; its samples are 1 where a sound is to be made anew")
        return marks
    marks = torch.zeros(length, dtype=torch.bool)
    for start, stop in _gaps(path):
        if not 0 <= start < stop or start * rate >= length:
            raise DataError(
                f"{path}: the gap from {start:g} to {stop:g} s does not lie in the clip of {length / rate:g} s; "
                "a gap is its start and its end in seconds"
            )
        marks[int(start * rate) : math.ceil(min(stop * rate, length))] = True
    if not marks.any():
        raise DataError(f"{path}: this mask marks nothing; write the start and the end of a gap in seconds")
    return marks


def _gaps(path: Path) -> list[tuple[float, float]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    try:
        if path.suffix.lower() == ".json":
            pairs = json.loads(text)
        else:
            lines = (line.partition("#")[0].replace(",", " ").split() for line in text.splitlines())
            pairs = [line for line in lines if line]
        return [(float(start), float(stop)) for start, stop in pairs]
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: gaps are pairs of seconds, as lines `0.10 0.25` or as JSON [[0.10, 0.25]] ({error})"
        ) from error
