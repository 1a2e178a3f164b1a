"""The split that all sources of sound share: windows of recordings, and their level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from suffuse.conditions import Condition
from suffuse.data import Batch, Item, Split
from suffuse.errors import ConfigError
from suffuse.splits import check_choice
from suffuse_audio.clips import Clip

__all__ = ["ENDINGS", "LEVELS", "AudioSplit", "Level", "LevelName", "Memory", "Recordings", "Sound32"]

Sound32 = NDArray[np.float32]
"""Samples as ``[C, T]`` of float32."""

ENDINGS = ("unknown", "silence")
LevelName: TypeAlias = Literal["none", "peak", "rms"]
LEVELS = get_args(LevelName)
_TRIES = 8


class Recordings(Protocol):
    """Sounds of any length at one rate and with one number of channels."""

    def frames(self, row: int) -> int:
        """The length of one of them in samples."""
        ...

    def read(self, row: int, start: int, count: int) -> Sound32:
        """A part of one: ``[C, n]``, where n is less than ``count`` only at its end.

        Raises:
            DataError: it cannot be read; the message names the file.
        """
        ...


class Memory:
    """Recordings ``[N, C, T]`` of one length that lie in memory."""

    def __init__(self, sounds: Sound32) -> None:
        self.sounds = sounds

    def frames(self, row: int) -> int:
        return int(self.sounds.shape[-1])

    def read(self, row: int, start: int, count: int) -> Sound32:
        return self.sounds[row, :, start : start + count]


@dataclass(frozen=True, kw_only=True)
class Level:
    """How loud clips are made. Silence is never made loud: quieter than `silence` stays as it is.

    Args:
        level: ``none`` leaves it; ``peak`` brings the peak to `PEAK`; ``rms`` brings the root mean square to `RMS`,
            or to less where the peak would pass `PEAK`.
        max_gain: the most that a quiet clip is raised, in decibels.
        silence: a clip whose peak is lower, in decibels below full scale, holds nothing.
    """

    PEAK = 0.95
    RMS = 0.1

    level: str = "rms"
    max_gain: float = 40.0
    silence: float = -60.0

    def __post_init__(self) -> None:
        check_choice("level", self.level, LEVELS)
        if not 0 <= self.max_gain <= 120:
            raise ConfigError(f"data.max_gain={self.max_gain}: decibels from 0 to 120")
        if not -200 <= self.silence < 0:
            raise ConfigError(f"data.silence={self.silence}: decibels below full scale, from -200 to less than 0")

    @property
    def threshold(self) -> float:
        """The peak below which a clip holds nothing."""
        return float(10 ** (self.silence / 20))

    def gain(self, samples: Sound32) -> float:
        """What brings the samples ``[C, T]`` to their level."""
        peak = float(np.abs(samples).max(initial=0.0))
        if self.level == "none" or peak < self.threshold:
            return 1.0
        gain = self.PEAK / peak
        if self.level == "rms":
            gain = min(gain, self.RMS / float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))
        return float(min(gain, 10 ** (self.max_gain / 20)))

    def apply(self, samples: Sound32) -> Sound32:
        """The samples ``[C, T]`` at their level."""
        return samples * np.float32(self.gain(samples))


class AudioSplit(Split):
    """Windows of some recordings, each a `Clip` of one length; short ones are filled up with silence.

    Args:
        recordings: where the samples are.
        windows: ``[N, 2]``: a recording and the sample at which the window starts, for each item.
        length: samples of every clip.
        rate: samples in a second.
        conditions: what the items may carry.
        columns: for each condition a value for each recording, None where it is missing.
        level: how loud clips are made.
        wander: in training each window starts anywhere in its recording, as its generator says; windows of silence
            are drawn again up to eight times before the item's own is taken.
        invert: in training the sign of the samples is turned in half the cases; it sounds the same.
        ending: what comes after a recording that is shorter than its clip: ``silence``, which is part of the clip, or
            ``unknown``, so that ``valid`` tells what fills the clip up.
    """

    def __init__(
        self,
        *,
        recordings: Recordings,
        windows: NDArray[np.int64],
        length: int,
        rate: int,
        conditions: Mapping[str, Condition],
        columns: Mapping[str, Sequence[Any]],
        level: Level,
        wander: bool = False,
        invert: bool = False,
        ending: str = "unknown",
    ) -> None:
        self.conditions = dict(conditions)
        self.length, self.rate = length, rate
        self.level, self.wander, self.invert, self.ending = level, wander, invert, ending
        self._recordings = recordings
        self._windows = np.asarray(windows, dtype=np.int64).reshape(-1, 2)
        rows = self._windows[:, 0].tolist()
        self._columns = {name: [columns[name][row] for row in rows] for name in self.conditions}
        self._collated = {name: kind.collate(self._columns[name]) for name, kind in self.conditions.items()}

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> Item:
        row, start = self._windows[index].tolist()
        known = {name: values[index] for name, values in self._columns.items() if values[index] is not None}
        return Item(self._clip(self._recordings.read(row, start, self.length)), known)

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """The sign turned in half the cases. Where windows wander, `gather` draws them before."""
        if not self.invert or rng.random() < 0.5:
            return item
        clip: Clip = item.value
        return item._replace(value=Clip(-clip.samples, clip.rate, clip.valid))

    def gather(self, indices: Sequence[int], rngs: Sequence[np.random.Generator] | None = None) -> Batch:
        """``values`` is a list of `Clip`."""
        chosen = [int(index) for index in indices]
        conditions = {name: value[torch.tensor(chosen, dtype=torch.long)] for name, value in self._collated.items()}
        if rngs is None or not (self.wander or self.invert):
            return Batch([self[index].value for index in chosen], conditions)
        return Batch([self._drawn(index, rng) for index, rng in zip(chosen, rngs, strict=True)], conditions)

    def _drawn(self, index: int, rng: np.random.Generator) -> Clip:
        item = self._elsewhere(index, rng) if self.wander else self[index]
        clip: Clip = self.augment(item, rng).value
        return clip

    def _elsewhere(self, index: int, rng: np.random.Generator) -> Item:
        row = int(self._windows[index, 0])
        spare = self._recordings.frames(row) - self.length
        for _ in range(_TRIES if spare > 0 else 0):
            samples = self._recordings.read(row, int(rng.integers(spare + 1)), self.length)
            if np.abs(samples).max(initial=0.0) >= self.level.threshold:
                return Item(self._clip(samples), {})
        return self[index]

    def _clip(self, samples: Sound32) -> Clip:
        valid = samples.shape[1]
        padded = np.zeros((samples.shape[0], self.length), np.float32)
        padded[:, :valid] = self.level.apply(samples)
        whole = valid == self.length or self.ending == "silence"
        return Clip(torch.from_numpy(padded), self.rate, None if whole else valid)
