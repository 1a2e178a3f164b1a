"""What a network can be given of a clip, so that it makes the rest: the mel spectrogram, or the lower half of the band.

Each is a field beside the one that is made, with the same frames. In training it is computed from the clip itself; a
user's file is turned into it in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from suffuse_audio.decoders.framing import framed
from suffuse_audio.pair import load_torchaudio

__all__ = ["NEEDS", "Given", "Giving", "LogMel", "LowBand"]

Given: TypeAlias = Literal["none", "mel", "low"]
"""The name of such a field, or none."""

NEEDS: Mapping[str, Given] = {"vocode": "mel", "extend": "low"}
"""The field that a task starts from."""

_BANDS = 40
_FLOOR = 1e-4
_LEAST_WINDOW = 256
_SECONDS = 0.03
"""Of a window, at least: it tells 40 bands apart, the lowest of which lie 36 Hz from one another at 8 kHz."""
_CROSSINGS = 32
"""Zeros of the low-pass filter's impulse response to each side: up to 0.9 of half the band it lets all but 0.4 %
through.
"""
_PASSES = 0.97
"""The cut-off of that filter, of half the band: its slope has to end where the rows do."""


class Giving(Protocol):
    """What a given field is, and what it says of a sound exactly."""

    def __call__(self, samples: Tensor) -> Tensor:
        """Samples ``[B, C, T]`` to the values of the field ``[B, channels, rows, ceil(T / hop)]``."""
        ...

    def restore(self, made: Tensor, known: Tensor) -> Tensor:
        """Made samples ``[C, T]`` with that of the known ones which the field says exactly."""
        ...


class LogMel:
    """The logarithm of the magnitudes in 40 mel bands ``[B, C, 40, frames]``, from -1 (the floor) to about 1.

    It says nothing of phases. Its window is longer than that of the spectrogram, which could not tell the bands apart.

    Args:
        rate: of the clips, in Hz.
        hop: from one frame to the next, in samples.

    Raises:
        PluginError: torchaudio is missing or does not load beside the installed torch.
    """

    def __init__(self, rate: int, hop: int) -> None:
        self._hop = hop
        self._window = 2 ** math.ceil(math.log2(max(_LEAST_WINDOW, 2 * hop, _SECONDS * rate)))
        self._taper = torch.hann_window(self._window)
        functional = load_torchaudio("decoder.given=mel").functional
        self._filters: Tensor = functional.melscale_fbanks(self._window // 2 + 1, 0.0, rate / 2, _BANDS, rate)

    def __call__(self, samples: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(framed(samples, self._window, self._hop) * self._taper)
        bands = spectrum.abs() * (2 / self._taper.sum()) @ self._filters
        values: Tensor = 1 - 2 * bands.clamp_min(_FLOOR).log().transpose(-1, -2) / math.log(_FLOOR)
        return values

    def restore(self, made: Tensor, known: Tensor) -> Tensor:
        """Nothing: no sample follows from magnitudes."""
        return made


class LowBand:
    """The spectrogram of the clip without its upper half, whose rows are zero: a clip of half the rate, resampled.

    Args:
        analyse: samples to a spectrogram ``[B, 2 C, rows, frames]``, in the lowest row of which every second channel
            holds the highest frequency.
    """

    def __init__(self, analyse: Callable[[Tensor], Tensor]) -> None:
        self._analyse = analyse
        reach = torch.arange(-2 * _CROSSINGS, 2 * _CROSSINGS + 1, dtype=torch.float64)
        kernel = torch.sinc(reach * _PASSES / 2) * torch.hann_window(len(reach) + 2, False, dtype=torch.float64)[1:-1]
        self._kernel = (kernel / kernel.sum()).float()

    def __call__(self, samples: Tensor) -> Tensor:
        values = self._analyse(self._smooth(samples))
        values[:, :, -(-values.shape[2] // 2) :] = 0
        values[:, 1::2, 0] = 0
        return values

    def restore(self, made: Tensor, known: Tensor) -> Tensor:
        """All that the filter lets through."""
        return made + self._smooth((known - made)[None])[0]

    def _smooth(self, samples: Tensor) -> Tensor:
        lines = samples.flatten(0, 1).unsqueeze(1)
        kernel = self._kernel.to(lines).view(1, 1, -1)
        return torch.nn.functional.conv1d(lines, kernel, padding=2 * _CROSSINGS).view_as(samples)
