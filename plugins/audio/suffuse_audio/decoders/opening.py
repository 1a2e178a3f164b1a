"""Files that a user gives to a decoder: a sound of any kind, or the marks of a gap in one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from suffuse.errors import DataError
from suffuse_audio.clips import Clip
from suffuse_audio.data.recording import Preparation

__all__ = ["open_marks", "open_sound"]

_TEXT = {".json", ".txt", ".csv", ".tsv"}


def open_sound(path: Path, rate: int, channels: int, length: int, *, centre: bool = True) -> Clip:
    """The beginning of a sound file as ``[channels, length]`` at ``rate``, with silence after its end.

    It is prepared as the files of a folder are: channels are mixed and, to ``centre`` it, a constant offset is taken
    off.

    Raises:
        DataError: it is missing, no sound, damaged, or a run with so many channels cannot take it.
    """
    if channels not in (1, 2):
        raise DataError(f"{path}: this run has clips of {channels} channels; files are read as 1 or 2")
    if not path.is_file():
        raise DataError(f"{path}: {'a folder, not a sound file' if path.is_dir() else 'there is no such file'}")
    preparation = Preparation(rate, channels)
    facts, _ = preparation.survey(str(path), str(path), keep=False)
    facts = facts if centre else replace(facts, offsets=())
    samples = torch.from_numpy(preparation.read(str(path), str(path), facts, 0, length))
    found = samples.shape[1]
    return Clip(torch.nn.functional.pad(samples, (0, length - found)), rate, found)


def open_marks(path: Path, rate: int, length: int) -> Tensor:
    """Which samples of a clip a file marks as a gap, ``[length]`` of bool.

    Raises:
        DataError: it cannot be read, marks nothing, or lies outside of the clip.
    """
    if path.suffix.lower() not in _TEXT:
        marks = open_sound(path, rate, 1, length, centre=False).samples[0] >= 0.5
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
        marks[int(start * rate) : math.ceil(stop * rate)] = True
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
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}: gaps are pairs of seconds, as lines `0.10 0.25` or as JSON [[0.10, 0.25]] ({error})"
        ) from error
