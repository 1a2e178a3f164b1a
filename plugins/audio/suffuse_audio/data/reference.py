"""A voice as a condition: a clip of somebody, by whose voice others are to be spoken.

What makes a voice is learned with the rest of the network: a small encoder looks at the clip's log-mel spectrogram
wherever it is not silent, and gives one vector of the mean and the spread of what it finds there. A sum over time
cannot tell what was said when, and in training it was another word; so what is left is who said it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suffuse.conditions import Condition
from suffuse.errors import ConfigError, DataError
from suffuse_audio.clips import Clip
from suffuse_audio.data.recording import Preparation
from suffuse_audio.pair import load_torchaudio

__all__ = ["Reference"]

_SHORTEST = 0.1
"""Seconds of sound in which a voice can be heard."""
_SILENCE = 0.001
"""The peak below which there is nothing to be heard: -60 dB."""
_WINDOW = 0.032
_BANDS, _WIDTH = 40, 64
_FLOOR = 1e-4
_HEARD = 0.03
"""Frames are looked at whose magnitude is above this share of the loudest one's: 30 dB."""


@dataclass(frozen=True)
class Reference(Condition):
    """A clip of the voice that is wanted; NaN throughout is missing.

    Args:
        rate: of the clips, in Hz.
        length: of the clips, in samples: shorter ones are filled with silence, of longer ones the loudest stretch is
            taken.
    """

    rate: int
    length: int

    def collate(self, values: Sequence[Clip | None]) -> Tensor:
        """``[B, length]``, the mean of the channels."""
        rows = torch.full((len(values), self.length), math.nan)
        for row, clip in zip(rows, values, strict=True):
            if clip is not None:
                samples = clip.samples.float().mean(0)[: self.length]
                row[: len(samples)] = samples
                row[len(samples) :] = 0
        return rows

    def parse(self, value: Any, name: str) -> Clip:
        """A sound file of any rate and number of channels, or a `Clip`."""
        if isinstance(value, Clip):
            if value.rate != self.rate:
                raise ConfigError(f"condition.{name}: a clip of {value.rate} Hz; this run has {self.rate} Hz")
            return value
        if not isinstance(value, str | Path):
            raise ConfigError(f"condition.{name}={value}: must be a sound file, of the voice that is wanted")
        path = Path(value).expanduser()
        if not path.is_file():
            what = "a folder, not a sound file" if path.is_dir() else "there is no such file"
            raise ConfigError(f"condition.{name}={value}: {what}")
        try:
            return self._loudest(path, f"condition.{name}={value}")
        except DataError as error:
            raise ConfigError(f"condition.{name}: {error}") from error

    def present(self, value: Tensor) -> Tensor:
        return ~value.isnan().any(1)

    def drop(self, value: Tensor, where: Tensor) -> Tensor:
        return value.masked_fill(where[:, None], math.nan)

    def encoder(self, dim: int) -> nn.Module:
        return _Listener(self.rate, dim)

    def _loudest(self, path: Path, what: str) -> Clip:
        """The stretch of a file with the most in it, by the peaks of its tenths of a second."""
        preparation = Preparation(self.rate, 1)
        facts = preparation.survey(str(path), str(path))
        assert facts.peaks is not None
        if facts.peaks.max() < _SILENCE:
            raise ConfigError(f"{what}: there is nothing to be heard in it")
        if facts.frames < _SHORTEST * self.rate:
            seconds = facts.frames / self.rate
            raise ConfigError(f"{what}: {seconds:.2g} s are too short to know a voice by; {_SHORTEST:g} s are enough")
        blocks = min(max(1, round(self.length / preparation.block)), len(facts.peaks))
        energy = np.convolve(facts.peaks.astype(np.float64) ** 2, np.ones(blocks), "valid")
        start = max(0, min(int(energy.argmax()) * preparation.block, facts.frames - self.length))
        samples = preparation.read(str(path), str(path), facts, start, self.length)
        return Clip(torch.from_numpy(samples), self.rate)


class _Listener(nn.Module):
    """From samples ``[B, T]`` at any level to ``[B, dim]``."""

    taper: Tensor
    filters: Tensor

    def __init__(self, rate: int, dim: int) -> None:
        super().__init__()
        self.window = 2 ** max(6, round(math.log2(_WINDOW * rate)))
        filters = load_torchaudio("condition.reference").functional.melscale_fbanks(
            self.window // 2 + 1, 0.0, rate / 2, min(_BANDS, self.window // 4), rate
        )
        self.register_buffer("taper", torch.hann_window(self.window), persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        self.body = nn.Sequential(
            nn.Conv1d(filters.shape[1], _WIDTH, 5, padding=2),
            nn.SiLU(),
            nn.Conv1d(_WIDTH, _WIDTH, 5, padding=4, dilation=2),
            nn.SiLU(),
        )
        self.head = nn.Sequential(
            nn.LayerNorm(2 * _WIDTH), nn.Linear(2 * _WIDTH, dim), nn.SiLU(), nn.Linear(dim, dim), nn.LayerNorm(dim)
        )

    def forward(self, samples: Tensor) -> Tensor:
        padded = nn.functional.pad(samples, (0, max(0, self.window - samples.shape[1])))
        frames = padded.unfold(1, self.window, self.window // 2)
        bands = torch.fft.rfft(frames * self.taper).abs() @ self.filters
        strength = bands.sum(2)
        loudest = strength.amax(1, keepdim=True).clamp_min(1e-9)
        heard = (strength > _HEARD * loudest).to(bands.dtype)
        share = (heard / heard.sum(1, keepdim=True).clamp_min(1))[:, None]
        # Silence is 0, as is what convolutions see beyond the ends: how long it lasts makes no difference.
        levels = 1 - (bands / loudest[:, :, None]).clamp_min(_FLOOR).log() / math.log(_FLOOR)
        seen: Tensor = self.body(levels.mT)
        mean = (seen * share).sum(2)
        spread = ((seen - mean[:, :, None]).square() * share).sum(2).add(1e-4).sqrt()
        out: Tensor = self.head(torch.cat([mean, spread], 1))
        return out
